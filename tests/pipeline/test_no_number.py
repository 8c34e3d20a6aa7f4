"""No number of a fit that did not converge, or of effects that are not computed, is in any output of a study."""

from __future__ import annotations

import re
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import spatial_zb as zb
from spatial_zb.pipeline import running
from spatial_zb.pipeline.stages.models import spec_of
from spatial_zb.pipeline.stages.systems import system_spec
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
effects = "fieller"
[systems.apart]
title = { en = "Apart", zh = "无极大值" }
weights = ["queen"]
methods = ["fiml"]
[systems.apart.equations]
one = { y = "p", endog = ["q"], x = ["a"], lag_endog = [] }
two = { y = "q", endog = ["p"], x = ["b"], lag_endog = [], lag_y = false }
[systems.alike]
title = { en = "Alike", zh = "无界" }
weights = ["queen"]
methods = ["fiml"]
[systems.alike.equations]
one = { y = "r", endog = ["s"], x = ["a"], lag_endog = [] }
two = { y = "s", endog = ["r"], x = ["b"], lag_endog = [], lag_y = false }
[figures]
effects = ["plain.x"]
[compare]
model = "plain"
weights = ["flat", "queen"]
models = ["SDM", "SAR"]
term = "x"
[output]
tables = ["md", "csv", "tex", "docx", "xlsx"]
figures = ["png"]
dpi = 72
"""
#: A number as tables, notes, readings and frames write it.
WRITTEN = re.compile(r"[-−]?\d+\.\d{3,}(?:e[-−+]?\d+)?")


def numbers_of(fit: zb.Fit) -> np.ndarray:
    """All that could be printed of a fit: estimates, likelihood, criteria, effects at the estimate."""
    from spatial_zb.effects.static import average_effects_at

    effects = average_effects_at(fit, fit.params.to_numpy()).ravel()
    fitted = 1 - (fit.residuals**2).sum() / (fit.design.y**2).sum()
    criteria = [-2 * fit.log_likelihood + penalty * fit.n_parameters for penalty in (2, np.log(fit.nobs))]
    return np.array([*fit.params, *effects, fit.log_likelihood, *criteria, fitted])


def numbers_of_system(fit: zb.SystemFit) -> np.ndarray:
    """Of a system without a maximum: estimates, variances, likelihood, effects; of one that is unbounded, effects."""
    from spatial_zb.effects.system import average_system_effects, sources_of

    effects = average_system_effects(fit, sources_of(fit.spec)[1], fit.delta).ravel()
    if fit.converged:
        return effects
    return np.array([*fit.params, *np.diag(fit.sigma), fit.log_likelihood, *effects])


def text_of(path: Path) -> str:
    """What a file says, without its marks; numbers in cells of a workbook as they are kept there."""
    if path.suffix not in (".docx", ".xlsx"):
        return path.read_text("utf-8")
    with zipfile.ZipFile(path) as parts:
        inside = [name for name in parts.namelist() if name.endswith(".xml") and "style" not in name]
        return " ".join(re.sub(r"<[^>]+>", " ", parts.read(name).decode("utf-8")) for name in inside)


def broken_panel(seed: int) -> pd.DataFrame:
    """Noise that sums to zero in space: with a flat W its likelihood rises to the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        regions = zb.read_regions(ROOT / "shapefiles" / "delta_cities.shp")
        W = zb.weights.contiguity(regions, islands="nearest").standardise("row")
    panel = zb.simulate.durbin(W, 6, {"x": 0.7}, theta={"x": 0.4}, rho=0.2, rng=seed)
    return panel.with_columns({**pair("p", "q", W, 0.0, 33), **pair("r", "s", W, 0.1, 6)}).frame()


def pair(first: str, second: str, W: zb.Weights, beta: float, seed: int) -> dict[str, np.ndarray]:
    """Two variables that hold each other, which a and b, the same for all pairs, hardly tell apart."""
    rng, own = np.random.default_rng(2), np.random.default_rng(seed)
    a, b = rng.standard_normal((2, 6, W.n))
    errors = own.standard_normal((2, 6, W.n))
    eye = np.eye(W.n)
    S = np.block([[eye - 0.3 * W.matrix.toarray(), -0.25 * eye], [-0.2 * eye, eye]])
    y = np.linalg.solve(S, np.hstack([beta * a + errors[0], beta * b + errors[1]]).T).T
    return {first: y[:, : W.n], second: y[:, W.n :], "a": a, "b": b}


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
        systems = []
        for name in ("apart", "alike"):
            spec = system_spec(study.systems[name])
            W = prepared.weights("queen", study.main_sample)
            systems.append(zb.fit_system(spec, panel, W, "fiml"))
        outcome = running.run(study, ("models", "systems", "compare", "maps"), out=folder / "out")
    return outcome, bad, systems


def test_the_study_is_broken_as_it_should_be(made):
    assert [fit.converged for fit in made[1]] == [False, False]
    assert [fit.converged for fit in made[2]] == [False, True]
    assert made[2][1].convergence.unbounded


def test_no_number_of_it_is_in_any_file(made):
    """Every number of every text file: to all digits in frames, as printed elsewhere."""
    outcome, bad, systems = made
    own = np.concatenate([*map(numbers_of, bad), *map(numbers_of_system, systems)])
    own = own[np.abs(own) > 0.05]  # what is nearly zero is nearly anything
    found = []
    for path in sorted(outcome.folder.rglob("*")):
        if path.suffix not in (".csv", ".md", ".html", ".txt", ".json", ".tex", ".docx", ".xlsx"):
            continue
        for text in set(WRITTEN.findall(text_of(path))):
            value = float(text.replace("−", "-"))
            digits = len(text.partition(".")[2].partition("e")[0])
            if digits >= 3 and (np.abs(own - value) < 0.51 * 10.0**-digits).any():
                found.append((path.name, text))
    assert not [one for one in found if len(one[1].partition(".")[2]) > 4]
    of_these = (
        "sdm_",
        "effects_",
        "compare_weights",
        "fit_",
        "system_apart",
        "system_effects_",
        "system_alike_effects",
    )
    assert not [one for one in found if one[0].startswith(of_these)]


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
