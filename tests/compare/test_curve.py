"""The joint test of a specification curve: the null is what it says, the statistics are, and sizes by simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from small_examples import ring

import spatial_zb as zb
from spatial_zb.compare import curve as module
from spatial_zb.compare.curve import curve_test
from spatial_zb.compare.grid import Choices

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

N = 25
IDS = [f"u{i:02d}" for i in range(N)]
FAMILIES = {
    "SLX": zb.DurbinSpec("y", ["a", "b"], lag_y=False),
    "SAR": zb.DurbinSpec("y", ["a", "b"], lag_x=[]),
    "SDM": zb.DurbinSpec("y", ["a", "b"]),
    "SDEM": zb.DurbinSpec("y", ["a", "b"], lag_y=False, lag_error=True),
}


WEIGHTS = {"near": ring(IDS), "far": ring(IDS, 2)}
SAMPLES = {"all": {}, "late": {"periods": range(2003, 2009)}, "some": IDS[:18]}


@pytest.fixture(scope="module")
def panel():
    return zb.simulate.durbin(WEIGHTS["near"], 8, {"a": 0.0, "b": -0.5}, rho=0.4, rng=4)


@pytest.fixture(scope="module")
def tested(panel):
    return curve_test(
        Choices(panel, FAMILIES, WEIGHTS, SAMPLES), term="a", effect="total", replicates=19, rng=1
    )


@pytest.mark.parametrize("covariance", ["information", "cluster"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("effects", ["two_way", "none"])
def test_a_replicate_is_the_fit_of_its_panel(panel, family, covariance, effects):
    """The short way (design kept, y exchanged) gives what fit_durbin gives on the panel with that y."""
    spec = zb.DurbinSpec(**{**_options(FAMILIES[family]), "fixed_effects": effects})
    cell = module._cell(spec, panel, WEIGHTS["near"], "lee_yu", covariance, "a")
    signs = np.random.default_rng(3).choice([-1.0, 1.0], N)
    short = cell.under_null(signs)
    y = _y_under_null(cell, signs, WEIGHTS["near"])
    long = zb.fit_durbin(spec, panel.with_columns({"y": y}), WEIGHTS["near"], covariance=covariance)
    assert np.allclose(short.params, long.params, rtol=1e-8)
    assert np.allclose(short.bse, long.bse, rtol=1e-7)


@pytest.mark.parametrize("family", ["SLX", "SDM", "SDEM"])
def test_cells_of_any_shape_are_those_of_complete_panels(panel, family):
    """A W by period that is one W takes the rows, with the effects in them: the same replicate."""
    same = zb.weights.by_period(dict.fromkeys(panel.periods, WEIGHTS["near"]), absent="keep")
    cells = [
        module._cell(FAMILIES[family], panel, W, "lee_yu", "cluster", "a") for W in (WEIGHTS["near"], same)
    ]
    assert [cell.fit.estimator for cell in cells] == ["lee_yu", "adjusted_score"]
    signs = np.random.default_rng(3).choice([-1.0, 1.0], N)
    one, other = (cell.under_null(signs) for cell in cells)
    np.testing.assert_allclose(other.params, one.params, rtol=1e-8)
    np.testing.assert_allclose(other.bse[:-1], one.bse[:-1], rtol=1e-7)


def _options(spec: zb.DurbinSpec) -> dict:
    return {name: getattr(spec, name) for name in ("y", "x", "lag_y", "lag_x", "lag_error")}


def _y_under_null(cell, signs: np.ndarray, W: zb.Weights) -> np.ndarray:
    dense, eye = W.matrix.toarray(), np.eye(N)
    u = np.linalg.solve(eye - cell.lam * dense, (cell.residuals * signs).T)
    return np.linalg.solve(eye - cell.rho * dense, cell.mean.T + u).T


@pytest.mark.parametrize("family", FAMILIES)
def test_under_the_null_y_is_the_panel_without_what_x_does(panel, family):
    """No flips: y* = y − S⁻¹(β a + θ W a), and residuals on the scale of √(nT/N), once the effects are removed."""
    cell = module._cell(FAMILIES[family], panel, WEIGHTS["near"], "lee_yu", "information", "a")
    dense, params = WEIGHTS["near"].matrix.toarray(), cell.fit.params
    made = panel.array("a") * params["a"] + params.get("W_a", 0.0) * panel.array("a") @ dense.T
    root = np.linalg.inv(np.eye(N) - cell.rho * dense)
    scale = np.sqrt(8 * N / cell.fit.nobs)
    extra = np.linalg.solve(np.eye(N) - cell.lam * dense, ((scale - 1) * cell.fit.residuals).T)
    want = panel.array("y") - made @ root.T + (root @ extra).T
    off = lambda v: v - v.mean(0) - v.mean(1, keepdims=True) + v.mean()  # noqa: E731
    assert np.allclose(off(_y_under_null(cell, np.ones(N), WEIGHTS["near"])), off(want))


def test_observed_statistics_are_those_of_the_grid(panel, tested):
    grid = zb.specification_grid(panel, FAMILIES, WEIGHTS, SAMPLES)
    shares = grid.shares("a", "total")
    assert tested.observed["median"] == pytest.approx(shares["median"], rel=1e-8)
    assert tested.observed["dominant_sign"] == pytest.approx(max(shares["positive"], 1 - shares["positive"]))
    assert len(tested.curve) == shares["cells"] == 24


def test_statistics_by_hand():
    estimate, p = np.array([0.2, -0.5, -0.1, -0.3]), np.array([0.01, 0.04, np.nan, 0.2])
    assert module._statistics(estimate, p, 0.05) == (-0.2, 0.25, 0.75)


def test_p_counts_the_observed_curve_among_the_others(tested):
    table = tested.tidy().set_index("statistic")
    beyond = (tested.draws["median"].abs() >= abs(tested.observed["median"])).sum()
    assert table.loc["median", "p_value"] == pytest.approx((1 + beyond) / 20)
    assert table["p_value"].between(1 / 20, 1).all()


@pytest.mark.slow
def test_workers_do_not_change_a_number_and_seeds_do(panel, tested):
    arguments = {"term": "a", "effect": "total", "replicates": 19}
    two = curve_test(Choices(panel, FAMILIES, WEIGHTS, SAMPLES), rng=1, workers=2, **arguments)
    pd.testing.assert_frame_equal(two.draws, tested.draws)
    other = curve_test(Choices(panel, FAMILIES, {"near": WEIGHTS["near"]}), rng=2, **arguments)
    assert not np.allclose(other.draws["median"], tested.draws["median"])


def test_the_order_of_units_does_not_matter(panel):
    turned = zb.Panel(panel.values[:, ::-1], panel.periods, panel.units[::-1], panel.columns)
    one, other = (
        curve_test(Choices(p, FAMILIES, {"near": WEIGHTS["near"]}), term="a", replicates=19, rng=1)
        for p in (panel, turned)
    )
    np.testing.assert_allclose(one.draws, other.draws, rtol=1e-5)


def test_a_replicate_without_any_estimate_counts_against_the_curve(tested):
    assert tested.tidy()["p_value"].min() < 0.5
    lost = replace(tested, draws=tested.draws * np.nan)
    lost.draws.iloc[0] = 0.0
    assert (lost.tidy()["p_value"] >= len(lost.draws) / (1 + len(lost.draws))).all()


def test_an_effect_is_found(panel):
    a = panel.array("a")
    strong = panel.with_columns({"y": panel.array("y") + a})
    found = curve_test(Choices(strong, FAMILIES, WEIGHTS), term="a", replicates=39, scheme="period", rng=1)
    assert (found.tidy().set_index("statistic").loc[["median", "significant"], "p_value"] <= 0.05).all()
    assert found.glance()["cells"].item() == 8


def test_other_measures_are_followed_in_the_place_of_the_term(panel):
    from spatial_zb.compare.family import spec_family

    twin = panel.with_columns({"a2": panel.array("a") ** 3})
    family = spec_family(FAMILIES["SAR"], x_swaps={"a": ["a2"]})
    found = curve_test(Choices(twin, family, {"near": WEIGHTS["near"]}), term="a", replicates=19, rng=1)
    assert set(found.curve["term"]) == {"a", "a2"}


def test_a_cell_that_fails_has_its_reason(panel):
    flat = panel.with_columns({"c": np.ones((8, N))})
    specs = {"good": FAMILIES["SAR"], "bad": zb.DurbinSpec("y", ["a", "c"], lag_x=[])}
    found = curve_test(Choices(flat, specs, {"near": WEIGHTS["near"]}), term="a", replicates=19, rng=1)
    reasons = found.curve.set_index("spec")["reason"]
    assert reasons["good"] == ""
    assert "constant" in reasons["bad"]


REFUSED = {
    "no such term": ({"term": "c"}, "'c'"),
    "effect": ({"effect": "all"}, "effect"),
    "scheme": ({"scheme": "wild"}, "scheme"),
    "few": ({"replicates": 10}, "19"),
    "alpha": ({"alpha": 5}, "alpha"),
    "random": ({"specs": [zb.DurbinSpec("y", ["a"], fixed_effects="random")]}, "random effects"),
    "nothing can be estimated": ({"samples": {"one": ["u00", "u10"]}}, "No cell"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_say_why(panel, case):
    changes, words = REFUSED[case]
    options = {"term": "a", "replicates": 19} | {
        k: v for k, v in changes.items() if k not in ("specs", "samples")
    }
    parts = {"specs": FAMILIES, "weights": WEIGHTS} | {k: v for k, v in changes.items() if k not in options}
    with pytest.raises(zb.SpecificationError, match=words):
        curve_test(Choices(panel, **parts), **options)


@pytest.mark.slow
def test_size_of_the_joint_test():
    """x correlated with the effects but without an effect: each statistic rejects in about 5 % of panels."""
    rejected = []
    for rng in range(100):
        made = zb.simulate.durbin(WEIGHTS["near"], 6, {"a": 0.0, "b": -0.5}, rho=0.4, rng=rng)
        found = curve_test(
            Choices(made, {k: FAMILIES[k] for k in ("SAR", "SDM")}, WEIGHTS), "a", replicates=39, rng=rng
        )
        rejected.append(found.tidy().set_index("statistic")["p_value"] <= 0.05)
    shares = pd.DataFrame(rejected).mean()
    assert shares["median"] < 0.12  # 5 % + 3 standard errors of 100 panels
    assert shares["significant"] < 0.12
