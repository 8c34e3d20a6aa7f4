"""Models with lags in time, regimes and squares through a study file: tables, frames, notes."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from small_examples import ring_with_chords

import spatial_zb as zb
from spatial_zb import cli
from spatial_zb.base.text import Text
from spatial_zb.pipeline import running
from spatial_zb.pipeline.job import Job
from spatial_zb.pipeline.stages.models import _figure_note, _wald
from spatial_zb.study import load_study

ROOT = Path(__file__).resolve().parents[2]
STUDY = """
version = 1
[study]
name = "lags"
title = { en = "Simulated", zh = "模拟" }
seed = 1
draws = 200
bootstrap = 99
language = "both"
[regions]
file = "shapefiles/delta_cities.shp"
id = "adcode"
source = { en = "Tianditu", zh = "天地图" }
[data]
file = "data.csv"
unit = "unit"
period = "period"
periods = [2001, 2013]
source = { en = "simulated", zh = "模拟数据" }
[variables.x_sq]
label = { en = "x squared", zh = "x平方" }
expression = "x**2"
[variables.product]
label = { en = "x times x", zh = "x乘x" }
expression = "x * x"
[weights.queen]
kind = "contiguity"
label = { en = "Contiguity", zh = "邻接" }
islands = "nearest"
[models.memory]
title = { en = "Memory", zh = "记忆" }
y = "y"
x = ["x"]
weights = "queen"
time_lag = true
lag_time_lag = true
[models.cores]
title = { en = "Cores", zh = "核心" }
y = "y"
x = ["x"]
weights = "queen"
regimes = "core"
[models.plain]
title = { en = "Plain", zh = "静态" }
y = "y"
x = ["x"]
weights = "queen"
[output]
tables = ["md"]
figures = ["png"]
dpi = 72
"""


def write(folder: Path, text: str = STUDY) -> Path:
    (folder / "studies").mkdir(exist_ok=True)
    shutil.copytree(ROOT / "shapefiles", folder / "shapefiles", dirs_exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        regions = zb.read_regions(ROOT / "shapefiles" / "delta_cities.shp")
        W = zb.weights.contiguity(regions, islands="nearest").standardise("row")
    frame = zb.simulate.durbin(
        W, 13, {"x": 1.0}, theta={"x": 0.5}, rho=0.2, process=zb.simulate.Process(tau=0.3, eta=0.1), rng=1
    ).frame()
    frame["core"] = frame["unit"].isin(regions.index[::4]).astype(int)
    frame.to_csv(folder / "data.csv", index=False)
    path = folder / "studies" / "lags.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lags")
    assert cli.main(["estimate", str(write(folder)), "--quiet"]) == 0
    return folder / "results" / "lags"


def test_effects_of_the_short_and_the_long_run(results):
    frame = pd.read_csv(results / "tidy" / "effects_memory.csv")
    assert set(frame["horizon"]) == {"short", "long"}
    by = frame[frame["method"] == "delta"].set_index(["horizon", "effect"])["estimate"]
    path = pd.read_csv(results / "tidy" / "effects_path_memory.csv")
    start = path[(path["period"] == 0) & (path["change"] == "permanent")].set_index("effect")["estimate"]
    assert start["total"] == pytest.approx(by["short", "total"])
    last = path[(path["period"] == 10) & (path["change"] == "permanent")].set_index("effect")["estimate"]
    assert by["short", "total"] < last["total"] < by["long", "total"]
    table = (results / "tables" / "en" / "effects_memory.md").read_text("utf-8")
    assert "long run" in table
    assert "长期" in (results / "tables" / "zh" / "effects_memory.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["effects_memory", "effects_path_memory", "effects_cores"])
def test_figures_are_drawn_in_both_languages(results, name):
    for language in ("en", "zh"):
        assert (results / "figures" / language / f"{name}.png").stat().st_size > 1000


def test_median_unbiased_rho_stands_below_the_table_where_the_study_resamples(results):
    frame = pd.read_csv(results / "tidy" / "median_unbiased_plain.csv")
    row = frame[frame["term"] == "rho"].iloc[0]
    assert row["conf_low"] < row["estimate"] < row["conf_high"]
    assert set(frame["effect"].dropna()) == {"direct", "indirect", "total"}
    shown = f"ρ = {row['estimate']:.3f} [{row['conf_low']:.3f}, {row['conf_high']:.3f}]"
    for language in ("en", "zh"):
        table = (results / "tables" / language / "sdm_plain.md").read_text("utf-8")
        assert shown in table.replace("\\", "")  # Markdown hides brackets from links
    assert not (results / "tidy" / "median_unbiased_memory.csv").exists()
    assert not (results / "tidy" / "median_unbiased_cores.csv").exists()


def test_persistence_stands_below_the_table(results):
    row = pd.read_csv(results / "tidy" / "stability_memory.csv").iloc[0]
    assert row["stable"]
    table = (results / "tables" / "en" / "sdm_memory.md").read_text("utf-8")
    assert f"τ + ρ + η = {row['persistence']:.3f}" in table
    assert "the period before 2002 is the initial one; bias-corrected" in table
    assert "动态 SDM" in (results / "tables" / "zh" / "sdm_memory.md").read_text("utf-8")


def test_regimes_have_names_and_tests(results):
    tests = pd.read_csv(results / "tidy" / "regimes_cores.csv").set_index("term")
    table = (results / "tables" / "en" / "sdm_cores.md").read_text("utf-8")
    assert f"{tests.loc['all', 'statistic']:.2f}" in table
    between = pd.read_csv(results / "tidy" / "regime_spillovers_cores.csv")
    assert set(between["sender"]) == {"core=0", "core=1"}
    assert "Spatial lag ρ (core = 1)" in table
    body = table.split("W × X")[1]
    assert "Spatial lag ρ (core = 0)" in body  # among the parameters, not the regressors
    assert "x (all units)" in (results / "tables" / "en" / "effects_cores.md").read_text("utf-8")


def test_squares_and_products_are_expressions(tmp_path):
    from spatial_zb.pipeline import prepare
    from spatial_zb.study import load_study

    text = STUDY.replace(
        'x = ["x"]\nweights = "queen"\nregimes', 'x = ["x", "x_sq", "product"]\nweights = "queen"\nregimes'
    )
    panel = prepare(load_study(write(tmp_path, text))).panel
    assert np.allclose(panel.array("x_sq"), panel.array("x") ** 2)
    assert np.allclose(panel.array("product"), panel.array("x_sq"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("lag_time_lag = true", 'fixed_effects = "time"', "unit or two_way"),
        ("lag_time_lag = true", 'estimator = "gmm"', "lee_yu, yang or uncorrected"),
        ('regimes = "core"', 'estimator = "yang"', "time_lag = true"),
        ('regimes = "core"', 'regimes = "kore"', "did you mean 'core'"),
        ('regimes = "core"', 'regimes = "core"\nlag_error = true', "regimes go neither"),
        ('regimes = "core"', 'regimes = "core"\ncovariance = "hessian"', "driscoll_kraay"),
    ],
)
def test_the_study_file_names_what_does_not_go_together(tmp_path, old, new, words):
    from spatial_zb.study import load_study

    with pytest.raises(zb.SpecificationError, match=words):
        load_study(write(tmp_path, STUDY.replace(old, new)))


def test_a_figure_of_effects_names_the_columns_it_leaves_out(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prepared = zb.prepare(zb.load_study(ROOT / "studies" / "bay_area.toml"))
    job, model = Job(prepared, tmp_path, lambda step: None, "models"), prepared.study.models["industry"]
    kept, lost = Text("Queen", "邻接"), Text("Inverse", "反距离")
    note = _figure_note(job, model, [kept], [lost])
    assert "Drawn: Queen. Not computed (see the table), not drawn: Inverse." in note.en
    assert "图示：邻接。未计算（见表），未绘出：反距离。" in note.zh
    assert "Inverse" not in _figure_note(job, model, [kept, lost], []).en


FIGURES = """
[variables.core_x]
label = { en = "x of cores", zh = "核心x" }
expression = "core * x"
[systems.pair]
title = { en = "Pair", zh = "联立" }
fixed_effects = "two_way"
methods = ["2sls", "gs2sls"]
sets = true
weights = "queen"
[systems.pair.equations.one]
y = "y"
endog = ["x_sq"]
x = ["x"]
lag_y = false
lag_endog = []
lag_x = []
[systems.pair.equations.two]
y = "x_sq"
endog = ["y"]
x = ["core_x"]
lag_y = false
lag_endog = []
lag_x = []
[scenarios.first]
title = { en = "One city up", zh = "一市提高" }
of = "plain"
changes = { 330100 = { x = 0.5 } }
[scenarios.pushed]
title = { en = "Pushed", zh = "外力" }
of = "pair"
changes = { 330100 = { y = 0.5 } }
[figures]
effects = ["plain.x"]
system_effects = ["pair.one.two"]
orders = 2
[output]
"""


def test_figures_take_the_fits_of_the_models(tmp_path, monkeypatch):
    study = load_study(write(tmp_path, STUDY.replace("[output]", FIGURES).replace('"both"', '"en"')))
    alone = running.run(study, ("maps",), out=tmp_path / "alone").folder

    def again(*args, **kwargs):
        raise AssertionError("fitted again")

    monkeypatch.setattr("spatial_zb.pipeline.stages.effects.fit_model", again)
    monkeypatch.setattr("spatial_zb.pipeline.stages.effects.fit_system", again)
    whole = running.run(study, ("models", "systems", "maps"), out=tmp_path / "whole").folder
    for name in ("effects_by_unit_plain_x", "effects_by_order_plain_x", "effects_by_unit_pair_one_two"):
        assert (whole / "tidy" / f"{name}.csv").read_bytes() == (alone / "tidy" / f"{name}.csv").read_bytes()
    first = pd.read_csv(whole / "tidy" / "scenario_first.csv", dtype={"unit": str}).set_index("unit")
    by_unit = pd.read_csv(whole / "tidy" / "effects_by_unit_plain_x.csv", dtype={"unit": str}).set_index(
        "unit"
    )
    assert first.loc["330100", "change"] == pytest.approx(0.5 * by_unit.loc["330100", "direct"])
    assert first["change"].sum() == pytest.approx(0.5 * by_unit.loc["330100", ["direct", "emitted"]].sum())
    assert set(pd.read_csv(whole / "tidy" / "scenario_pushed.csv")["response"]) == {"one", "two"}
    for name in ("scenario_first_map", "scenario_first", "scenario_pushed_one_map"):
        assert (whole / "figures" / f"{name}.png").exists()
    assert "units gain" in (whole / "tables" / "scenario_first_reading.txt").read_text("utf-8-sig")
    assert "Hangzhou" in (whole / "tables" / "scenario_first.md").read_text("utf-8")
    sets = pd.read_csv(whole / "tidy" / "system_pair_sets.csv")
    assert set(sets["term"]) == {"x_sq", "total:x_sq", "y", "total:y"}
    [table] = (whole / "tables").glob("system_sets_pair_*.md")
    assert "Wald interval" in table.read_text("utf-8")
    assert "no sign is known" in (whole / "tables" / "system_pair_sets_reading.txt").read_text("utf-8-sig")


def test_wald_tests_of_regimes_are_printed_as_their_p_values_are_made():
    W = ring_with_chords(16)
    rng = np.random.default_rng(1)
    y, x = rng.standard_normal((2, 6, 16))
    values = np.stack([y, x, np.broadcast_to(np.arange(16) % 2, (6, 16))], axis=2)
    panel = zb.Panel(values, tuple(range(6)), W.ids, ("y", "x", "group"))
    said = {}
    for covariance in ("information", "cluster"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", zb.SpatialZbWarning)
            fit = zb.fit_durbin(zb.DurbinSpec("y", ["x"], regimes="group"), panel, W, covariance=covariance)
        row = zb.tests.regime_tests(fit).row("Wald equal regimes", "all")
        said[covariance] = _wald(row, fit)
        assert said[covariance].endswith(f"p = {row.p_value:.3f}")
    assert said["information"].startswith("χ²(3) = ")
    found = float(said["cluster"].removeprefix("F(3, 13) = ").partition(",")[0])
    assert float(f"{stats.f.sf(found, 3, 13):.2f}") == pytest.approx(row.p_value, abs=0.01)
