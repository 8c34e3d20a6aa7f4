"""No number of a fit that did not converge, or of effects that are not computed, is in any output of a study."""

from __future__ import annotations

import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import spatial_zb as zb
from spatial_zb.pipeline import running
from spatial_zb.pipeline.stages.models import spec_of
from spatial_zb.study import load_study

ROOT = Path(__file__).resolve().parents[2]
STUDY = """
version = 1
[study]
name = "broken"
title = { en = "Broken", zh = "失效" }
seed = 1
draws = 200
language = "both"
[regions]
file = "shapefiles/delta_cities.shp"
id = "adcode"
source = { en = "Tianditu", zh = "天地图" }
[data]
file = "data.csv"
unit = "unit"
period = "period"
periods = [2001, 2006]
source = { en = "simulated", zh = "模拟数据" }
[weights.queen]
kind = "contiguity"
label = { en = "Contiguity", zh = "邻接" }
islands = "nearest"
[weights.flat]
kind = "inverse_distance"
power = 0.01
label = { en = "Flat", zh = "均匀" }
[models.plain]
title = { en = "Plain", zh = "静态" }
y = "y"
x = ["x"]
weights = ["flat", "queen"]
[figures]
effects = ["plain.x"]
[compare]
model = "plain"
weights = ["flat", "queen"]
models = ["SDM", "SAR"]
term = "x"
[output]
tables = ["md", "csv"]
figures = ["png"]
dpi = 72
"""
#: A number as tables, notes, readings and frames write it.
WRITTEN = re.compile(r"[-−]?\d+\.\d{3,}(?:e[-−+]?\d+)?")


def numbers_of(fit: zb.Fit) -> np.ndarray:
    """All that could be printed of a fit: estimates, likelihood, criteria, effects at the estimate."""
    from spatial_zb.effects.static import average_effects_at

    effects = average_effects_at(fit, fit.params.to_numpy()).ravel()
    others = [fit.log_likelihood, fit.aic, fit.bic, fit.r2_within]
    return np.array([*fit.params, *effects, *others])


def broken_panel(seed: int) -> pd.DataFrame:
    """Noise that sums to zero in space: with a flat W its likelihood rises to the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        regions = zb.read_regions(ROOT / "shapefiles" / "delta_cities.shp")
        W = zb.weights.contiguity(regions, islands="nearest").standardise("row")
    return zb.simulate.durbin(W, 6, {"x": 0.7}, theta={"x": 0.4}, rho=0.2, rng=seed).frame()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broken")
    (folder / "studies").mkdir()
    shutil.copytree(ROOT / "shapefiles", folder / "shapefiles")
    broken_panel(1).to_csv(folder / "data.csv", index=False)
    path = folder / "studies" / "broken.toml"
    path.write_text(STUDY, encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        study = load_study(path)
        prepared = zb.prepare(study)
        model = study.models["plain"]
        W, panel = (prepared.weights("flat", study.main_sample), prepared.sample(study.main_sample))
        bad = []
        for family in ("SDM", "SAR"):
            spec = spec_of(model, "two_way")
            spec = spec if family == "SDM" else zb.DurbinSpec("y", ["x"], lag_x=[])
            bad.append(zb.fit_durbin(spec, panel, W))
        outcome = running.run(study, ("models", "compare", "maps"), out=folder / "out")
    return outcome, bad


def test_the_study_is_broken_as_it_should_be(made):
    assert [fit.converged for fit in made[1]] == [False, False]


def test_no_number_of_it_is_in_any_file(made):
    """Every number of every text file: to all digits in frames, as printed elsewhere."""
    outcome, bad = made
    own = np.concatenate([numbers_of(fit) for fit in bad])
    own = own[np.abs(own) > 0.05]  # what is nearly zero is nearly anything
    found = []
    for path in sorted(outcome.folder.rglob("*")):
        if path.suffix not in (".csv", ".md", ".html", ".txt", ".json"):
            continue
        for text in set(WRITTEN.findall(path.read_text("utf-8"))):
            value = float(text.replace("−", "-"))
            digits = len(text.partition(".")[2].partition("e")[0])
            if digits >= 3 and (np.abs(own - value) < 0.51 * 10.0**-digits).any():
                found.append((path.name, text))
    assert not [one for one in found if len(one[1].partition(".")[2]) > 4]
    assert not [one for one in found if one[0].startswith(("sdm_", "effects_", "compare_weights", "fit_"))]


def test_tables_say_that_it_is_not_computed(made):
    folder = made[0].folder
    for name in ("sdm_plain", "effects_plain"):
        assert "n.c." in (folder / "tables" / "en" / f"{name}.md").read_text("utf-8")
        assert "未计算" in (folder / "tables" / "zh" / f"{name}.md").read_text("utf-8")
    frame = pd.read_csv(folder / "tidy" / "effects_plain.csv")
    flat = frame[frame["weights"] == "flat"]
    assert flat["estimate"].isna().all()
    assert flat["reason"].str.contains("did not converge").all()
    assert frame.loc[frame["weights"] == "queen", "estimate"].notna().all()


@pytest.mark.slow
def test_no_number_of_it_is_in_the_shipped_study(tmp_path):
    """The study of the bay with the inverse-distance weights, under which its models have no interior maximum."""
    text = (ROOT / "studies" / "bay_area.toml").read_text("utf-8")
    text = text.replace('["queen", "knn4", "inverse"]', '["inverse", "queen"]')
    (tmp_path / "study.toml").write_text(text, encoding="utf-8")
    study = load_study(tmp_path / "study.toml", root=ROOT)
    prepared = zb.prepare(study)
    outcome = running.run(study, ("models", "compare"), out=tmp_path / "out")
    frames = {path.stem: pd.read_csv(path) for path in (outcome.folder / "tidy").glob("*.csv")}
    for model in study.models.values():
        for sample in study.samples_of(model):
            for W in study.weights_of(model):
                fit = zb.fit_durbin(
                    spec_of(model, "two_way"), prepared.sample(sample), prepared.weights(W, sample)
                )
                if fit.converged:
                    continue
                own = numbers_of(fit)
                for name, frame in frames.items():
                    values = frame.select_dtypes("number").to_numpy().ravel()
                    assert not np.isclose(values[:, None], own, rtol=1e-9, atol=0).any(), (name, W)
