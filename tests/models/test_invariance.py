"""What must not matter: the order of units and rows, the units of measurement, the order of periods."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from dense_oracle import MODELS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_examples import ring

import spatial_zb as zb
from spatial_zb import DurbinSpec, Panel, Weights, build_panel, fit_durbin, spatial_effects, weights
from spatial_zb.models import random
from spatial_zb.models.design import build_design
from spatial_zb.simulate import durbin as simulate_durbin

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

SPATIAL = ["SAR", "SDM", "SEM", "SDEM", "SAC"]
TOLERANCE = 1e-6
QUICK = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def W(delta):
    return weights.contiguity(delta.iloc[:25], islands="nearest").standardise("row")


@pytest.fixture(scope="module")
def panel(W):
    return simulate_durbin(W, 6, {"a": 1.0, "b": -0.5}, theta={"a": 0.4}, rho=0.3, rng=21)


def fit(panel, W, model, effects="two_way", covariance="information"):
    lag_y, lag_x, lag_error = MODELS[model]
    return fit_durbin(
        DurbinSpec("y", ["a", "b"], lag_y, lag_x, lag_error, effects), panel, W, covariance=covariance
    )


def same(a, b):
    np.testing.assert_allclose(a.params, b.params, rtol=TOLERANCE, atol=TOLERANCE)
    np.testing.assert_allclose(a.bse, b.bse, rtol=TOLERANCE, atol=TOLERANCE)
    assert a.log_likelihood == pytest.approx(b.log_likelihood, abs=TOLERANCE)


def reordered_weights(W: Weights, order: np.ndarray) -> Weights:
    return Weights(W.matrix[order][:, order], W.ids[order], W.label, W.normalisation)


def reordered_panel(panel: Panel, order: np.ndarray) -> Panel:
    return Panel(panel.values[:, order], panel.periods, panel.units[order], panel.columns)


@QUICK
@given(seeds=st.tuples(st.integers(0, 999), st.integers(0, 999)), model=st.sampled_from(SPATIAL))
def test_panel_and_weights_may_stand_in_different_orders(panel, W, seeds, model):
    first, second = (np.random.default_rng(s).permutation(W.n) for s in seeds)
    moved = fit(reordered_panel(panel, first), reordered_weights(W, second), model)
    same(moved, fit(panel, W, model))
    residuals = pd.DataFrame(moved.residuals, columns=moved.panel.units)[list(panel.units)]
    np.testing.assert_allclose(residuals, fit(panel, W, model).residuals, atol=TOLERANCE)


def test_a_matrix_in_another_order_without_new_ids_gives_another_answer(panel, W):
    """The test above is able to fail: order does matter when ids do not move along."""
    order = np.random.default_rng(0).permutation(W.n)
    wrong = Weights(W.matrix[order][:, order], W.ids, "W", "row")
    assert abs(fit(panel, wrong, "SDM").params["rho"] - fit(panel, W, "SDM").params["rho"]) > 0.01


@QUICK
@given(seed=st.integers(0, 999))
def test_rows_of_the_table_may_be_shuffled(panel, W, seed):
    frame = panel.frame().sample(frac=1, random_state=seed)
    again = build_panel(frame, "unit", "period", units=W.ids)
    np.testing.assert_array_equal(again.values, panel.values)
    assert again.periods == panel.periods


@pytest.mark.parametrize("effects", ["none", "unit", "time", "two_way"])
@pytest.mark.parametrize("model", [*SPATIAL, "OLS", "SLX"])
@pytest.mark.parametrize(("column", "factor"), [("y", 1e9), ("y", 1e-9), ("a", 1e9), ("a", 1e-9)])
def test_units_of_measurement(panel, W, column, factor, model, effects):
    scaled = panel.with_columns({column: panel.array(column) * factor})
    plain, other = fit(panel, W, model, effects), fit(scaled, W, model, effects)
    assert other.converged
    change = pd.Series(1.0, index=plain.params.index)
    if column == "y":
        change[~change.index.isin(["rho", "lam", "sigma2"])] = factor
        change["sigma2"] = factor**2
    else:
        change[change.index.isin(["a", "W_a"])] = 1 / factor
    np.testing.assert_allclose(other.params / change, plain.params, rtol=TOLERANCE, atol=TOLERANCE)
    np.testing.assert_allclose(other.bse / change, plain.bse, rtol=TOLERANCE)
    shift = plain.nobs * np.log(factor) if column == "y" else 0.0
    assert other.log_likelihood == pytest.approx(plain.log_likelihood - shift, abs=1e-5)


@pytest.mark.parametrize("factor", [1e9, 1e-9])
def test_units_of_measurement_of_effects(panel, W, factor):
    scaled = panel.with_columns({"a": panel.array("a") * factor})
    plain, other = (spatial_effects(fit(p, W, "SDM")).tidy() for p in (panel, scaled))
    change = np.where(plain["term"] == "a", 1 / factor, 1.0)
    for column in ("estimate", "std_error"):
        np.testing.assert_allclose(other[column] / change, plain[column], rtol=TOLERANCE)


def test_large_levels_do_not_cost_digits(panel, W):
    """GDP in yuan: a level of 1e6 standard deviations in every unit."""
    high = panel.with_columns({"y": panel.array("y") + 1e6, "a": panel.array("a") - 1e6})
    for model in SPATIAL:
        a, b = fit(panel, W, model), fit(high, W, model)
        np.testing.assert_allclose(a.params, b.params, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", SPATIAL)
@pytest.mark.parametrize("effects", ["unit", "time", "two_way"])
def test_periods_may_run_backwards(panel, W, model, effects):
    backwards = Panel(panel.values[::-1], panel.periods, panel.units, panel.columns)
    same(fit(backwards, W, model, effects), fit(panel, W, model, effects))


@pytest.mark.parametrize("model", SPATIAL)
def test_order_of_regressors(panel, W, model):
    lag_y, lag_x, lag_error = MODELS[model]
    other = fit_durbin(DurbinSpec("y", ["b", "a"], lag_y, lag_x, lag_error, "two_way"), panel, W)
    plain = fit(panel, W, model)
    np.testing.assert_allclose(other.params[plain.params.index], plain.params, rtol=TOLERANCE, atol=TOLERANCE)
    np.testing.assert_allclose(
        other.cov.loc[plain.cov.index, plain.cov.columns], plain.cov, rtol=1e-5, atol=1e-8
    )


@pytest.mark.parametrize("model", SPATIAL)
def test_nothing_is_mutated_and_a_second_run_is_the_same(panel, W, model):
    values, data = panel.values.copy(), W.matrix.data.copy()
    first, second = fit(panel, W, model), fit(panel, W, model)
    np.testing.assert_array_equal(first.params, second.params)
    np.testing.assert_array_equal(panel.values, values)
    np.testing.assert_array_equal(W.matrix.data, data)


def test_the_order_of_units_does_not_matter_where_a_zero_eigenvalue_is_negative_in_rounding():
    A = np.zeros((6, 6))
    for i, near in enumerate(([2, 3], [0, 4], [3, 4], [0, 4], [2, 5], [0, 1])):
        A[i, near] = 0.5
    W = Weights(A, pd.Index(list("abcdef")), "two neighbours", "row")
    panel = simulate_durbin(W, 12, {"a": 1.0, "b": -0.5}, rho=0.3, rng=1)
    for model in ("SAR", "SEM", "SAC"):
        first = fit(panel, W, model, "unit")
        assert first.converged
        for seed in range(6):
            order = np.random.default_rng(seed).permutation(6)
            moved = Panel(panel.values[:, order], panel.periods, panel.units[order], panel.columns)
            same(fit(moved, W, model, "unit"), first)


def symmetric_panel(
    truth: tuple[float, float], seed: int, unit_effects: float = 0.0, T: int = 8
) -> tuple[zb.Weights, np.ndarray]:
    """W of a ring of 30 units and y (T, 30) of (I − λW)(I − ρW)y = μ + ε, in which ρ and λ are alike."""
    n, rng = 30, np.random.default_rng(seed)
    W, (rho, lam) = ring(n), truth
    links = W.matrix.toarray()
    filtered = (np.eye(n) - lam * links) @ (np.eye(n) - rho * links)
    errors = rng.normal(size=(n, T)) + unit_effects * rng.normal(size=(n, 1))
    return W, np.linalg.solve(filtered, errors).T


def fits_in_any_order(W: zb.Weights, y: np.ndarray, effects: str) -> list[zb.Fit]:
    """SAC without regressors, units in five orders; random effects with KKP's errors."""
    structure = {"error_structure": "kkp"} if effects == "random" else {}
    spec = zb.DurbinSpec("y", [], lag_x=[], lag_error=True, fixed_effects=effects, **structure)
    rng, out = np.random.default_rng(1), []
    for order in (np.arange(W.n), *(rng.permutation(W.n) for _ in range(4))):
        panel = zb.Panel(y[:, order, None], tuple(range(len(y))), W.ids[order], ("y",))
        with pytest.warns(zb.SpatialZbWarning, match="cannot be told apart") as said:
            out.append(zb.fit_durbin(spec, panel, W.align(panel.units)))
        assert not any("peaks" in str(note.message) for note in said)
    return out


@pytest.mark.parametrize("effects", ["none", "unit", "time", "random"])
@pytest.mark.parametrize("truth", [(0.6, -0.3), (-0.3, 0.6)])
def test_rho_and_lambda_without_regressors_are_said_to_be_one_pair_and_do_not_depend_on_the_order(
    effects, truth
):
    """Exchanging the two changes nothing, and which comes first must not be rounding."""
    found = fits_in_any_order(*symmetric_panel(truth, 4, effects == "random"), effects)
    for fit in found:
        assert fit.params["rho"] > 0 > fit.params["lam"]
        np.testing.assert_allclose(fit.params, found[0].params, rtol=1e-6)


@pytest.mark.parametrize("effects", ["none", "unit", "time", "random"])
def test_a_pair_of_equal_estimates_has_no_standard_errors_in_any_order(effects):
    """Where ρ̂ = λ̂ their scores are one: the information is singular, whatever rounding makes of it."""
    for fit in fits_in_any_order(*symmetric_panel((0.4, 0.4), 9, effects == "random"), effects):
        assert fit.params["rho"] == pytest.approx(fit.params["lam"], abs=1e-6)
        assert not fit.converged
        assert fit.bse.isna().all()


def test_the_maximum_of_a_pair_is_not_the_saddle_between_its_twins():
    """The only start of the climb has ρ = λ here, where a symmetric likelihood has no slope across that line."""
    W, y = symmetric_panel((0.34, 0.16), 16, 1.0, T=60)
    spec = zb.DurbinSpec("y", [], lag_x=[], lag_error=True, fixed_effects="random", error_structure="kkp")
    panel = zb.Panel(y[:, :, None], tuple(range(len(y))), W.ids, ("y",))
    with pytest.warns(zb.SpatialZbWarning, match="cannot be told apart"):
        fit = zb.fit_durbin(spec, panel, W)
    profile = random._profile(build_design(spec, panel, W))
    grid, s = np.linspace(-0.9, 0.9, 37), np.log1p(len(y) * fit.params["phi"])
    assert fit.log_likelihood >= max(profile.along_rho(grid, lam, s).max() for lam in grid)
    assert fit.params["rho"] - fit.params["lam"] > 0.3


def test_rho_and_lambda_are_a_pair_under_unit_effects_that_do_not_spread_only_where_these_have_no_variance():
    spec = zb.DurbinSpec("y", [], lag_x=[], lag_error=True, fixed_effects="random")
    for size in (1.0, 0.0):
        W, y = symmetric_panel((0.6, -0.3), 4, size)
        with pytest.warns(zb.SpatialZbWarning) as said:
            fit = zb.fit_durbin(spec, zb.Panel(y[:, :, None], tuple(range(len(y))), W.ids, ("y",)), W)
        told = any("cannot be told apart" in str(note.message) for note in said)
        assert told == (fit.params["phi"] == 0) == (size == 0)


@pytest.mark.parametrize("seed", [0, 3, 6])
def test_near_twins_under_unit_effects_that_hardly_vary_are_two_peaks_each_where_it_is(seed):
    """With φ near zero the likelihood is nearly symmetric, and one of its two peaks may have φ = 0."""
    W, y = symmetric_panel((0.6, -0.3), seed)
    spec = zb.DurbinSpec("y", [], lag_x=[], lag_error=True, fixed_effects="random")
    panel = zb.Panel(y[:, :, None], tuple(range(len(y))), W.ids, ("y",))
    with pytest.warns(zb.SpatialZbWarning, match="2 peaks of nearly the same height") as said:
        fit = zb.fit_durbin(spec, panel, W)
    assert not any("cannot be told apart" in str(note.message) for note in said)
    (rho, lam, phi, first), (other, last, lower_phi, second) = fit.convergence.modes
    assert (rho, lam, phi, first) == (*fit.params[["rho", "lam", "phi"]], fit.log_likelihood)
    assert (other, last) == pytest.approx((lam, rho), abs=0.05)
    assert first - 2 < second < first
    profile = random._profile(build_design(spec, panel, W))
    score = profile.score(other, last, np.log1p(len(y) * lower_phi))
    assert np.abs(score[:2]).max() < 1e-6
    assert score[2] < 0 if lower_phi == 0 else abs(score[2]) < 1e-6


def test_rho_and_lambda_beside_a_regressor_are_not_called_one_pair(recwarn):
    W = ring(30)
    panel = zb.simulate.durbin(W, 8, {"a": 1.0}, rho=0.4, rng=1)
    zb.fit_durbin(zb.DurbinSpec("y", ["a"], lag_x=[], lag_error=True), panel, W)
    assert not any("told apart" in str(note.message) for note in recwarn)
