"""The bootstrap of models with lags in time: the recursion, its population, and what it is for."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from small_examples import ring

import spatial_zb as zb
from spatial_zb.core.laws.bootstrap import recursive_parts
from spatial_zb.inference.bootstrap import source_of
from spatial_zb.models.design import stacked

#: Two ways to one number.
SAME = 1e-8
SDM = {"time_lag": True, "lag_time_lag": True}
SEM = {"time_lag": True, "lag_y": False, "lag_error": True, "lag_x": [], "fixed_effects": "unit"}
SAC = {"lag_time_lag": True, "lag_error": True, "lag_x": []}
PLAIN = {"time_lag": True, "lag_y": False, "lag_x": [], "fixed_effects": "unit"}


def example(options: dict, estimator: str = "lee_yu", n: int = 20, T: int = 9, tau: float = 0.4, **fit):
    W = ring(n)
    panel = zb.simulate.durbin(
        W,
        T,
        {"a": 1.0, "b": -0.5},
        theta={"a": 0.4},
        rho=0.3,
        process=zb.simulate.Process(tau=tau, eta=-0.1),
        rng=5,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        return panel, zb.fit_durbin(zb.DurbinSpec("y", ["a", "b"], **options), panel, W, estimator, **fit)


@pytest.mark.parametrize("estimator", ["lee_yu", "yang", "uncorrected"])
@pytest.mark.parametrize("options", [SDM, SEM, SAC, PLAIN])
def test_arrays_that_have_moved_are_those_of_a_panel_that_has(options, estimator):
    panel, fit = example(options, estimator)
    source = source_of(fit)
    drawn = source.draw("residual", np.random.default_rng(1))
    y = panel.array("y").copy()
    y[1:] += drawn
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        whole = zb.fit_durbin(fit.spec, panel.with_columns({"y": y}), fit.weights, estimator)
    again = source.estimate(drawn)
    assert np.allclose(again.params, whole.params, atol=SAME)
    assert np.allclose(again.cov, whole.cov, atol=SAME)
    assert np.allclose(again.panel.array("y"), y[1:])


@pytest.mark.parametrize("options", [SDM, SEM, SAC])
def test_the_recursion_written_out(options):
    """Period by period in levels, with the effects that the data leave once the errors are taken out."""
    panel, fit = example(options)
    params = fit.params
    value = {name: float(params.get(name, 0.0)) for name in ("tau", "eta", "rho", "lam")}
    W, eye = fit.weights.matrix.toarray(), np.eye(20)
    S, B = eye - value["rho"] * W, eye - value["lam"] * W
    X = {name: panel.array(name) for name in ("a", "b")}
    xb = sum(
        params[name] * x + params.get(f"W_{name}", 0.0) * (W @ x[..., None])[..., 0] for name, x in X.items()
    )
    y, carry = panel.array("y"), value["tau"] * eye + value["eta"] * W
    errors = np.random.default_rng(2).standard_normal(fit.residuals.shape)
    expected = [y[0]]
    for t in range(1, len(y)):
        effects = S @ y[t] - carry @ y[t - 1] - xb[t] - np.linalg.solve(B, fit.residuals[t - 1])
        right = carry @ expected[-1] + xb[t] + effects + np.linalg.solve(B, errors[t - 1])
        expected.append(np.linalg.solve(S, right))
    d = source_of(fit)._moved((errors - fit.residuals)[None])[0]
    assert np.allclose(y[1:] + d, np.array(expected)[1:], atol=SAME)


@pytest.mark.parametrize("scheme", ["wild", "period"])
def test_parts_have_the_squares_that_are_expected(scheme):
    """E ε*_it ε*_js of sign flips by cell, and of periods drawn with replacement."""
    pool = np.random.default_rng(0).standard_normal((4, 3))
    pool -= pool.mean(axis=0)
    parts = recursive_parts(pool, scheme).reshape(-1, 12)
    expected = np.diag(pool.ravel() ** 2) if scheme == "wild" else np.kron(np.eye(4), pool.T @ pool / 4)
    assert np.allclose(parts.T @ parts, expected)


@pytest.mark.parametrize("scheme", ["wild", pytest.param("period", marks=pytest.mark.slow)])
def test_the_population_is_where_its_squares_are(scheme):
    """Cross-products averaged over many draws give the estimate that the long sample gives."""
    _, fit = example(SDM, "uncorrected", n=12, T=8)
    source = source_of(fit)
    R, grams = 1000, 0.0
    for seed in np.random.SeedSequence(1).spawn(R):
        again = source.estimate(source.draw(scheme, np.random.default_rng(seed))).design
        columns = np.column_stack([stacked(again.y), stacked(again.Wy), stacked(again.Z)])
        grams = grams + columns.T @ columns / R
    rows = np.linalg.cholesky(grams).T  # any rows with these squares
    sample = source.sample
    omega = np.linalg.eigvals(fit.weights.matrix.toarray()).real
    omega = np.delete(omega, np.argmin(np.abs(omega - 1)))

    def height(rho: float) -> float:
        left = rows[:, 0] - rho * rows[:, 1]
        off = left - rows[:, 2:] @ np.linalg.lstsq(rows[:, 2:], left, rcond=None)[0]
        return sample.periods * np.log(1 - rho * omega).sum() - sample.observations / 2 * np.log(off @ off)

    grid = np.linspace(-0.5, 0.8, 2601)
    rho = grid[np.argmax([height(c) for c in grid])]
    pools = source._population(recursive_parts(_pool(source, scheme), scheme))
    assert pools[fit.params.index.get_loc("rho")] == pytest.approx(rho, abs=0.01)


def _pool(source, scheme: str) -> np.ndarray:
    from spatial_zb.core.laws.bootstrap import error_pool

    kind = "residual" if scheme == "wild" else "period"
    return error_pool(source.fit.residuals, kind, source.sample, "two_way")


@pytest.mark.parametrize("scheme", ["residual", "wild", "period", "parametric"])
def test_replicates_lie_around_their_centre(scheme):
    _, fit = example(SDM, n=30, T=13)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        result = zb.bootstrap(fit, 299, scheme, rng=1)
    apart = (result.draws.mean(axis=0) - result.centre) / fit.bse
    assert np.abs(apart[:-1]).max() < 4 / np.sqrt(299) + 0.1
    if scheme in ("residual", "parametric"):
        assert np.array_equal(result.centre, fit.params)
        ratio = result.draws.std(axis=0) / fit.bse
        assert np.abs(ratio - 1).max() < 4 / np.sqrt(2 * 299) + 0.06


def test_it_finds_the_bias_that_the_formula_takes_out():
    """The maximum less the bias of its replicates is what Lee & Yu's correction gives."""
    panel, fit = example(SDM, "uncorrected", n=30, T=9)
    corrected = zb.fit_durbin(fit.spec, panel, fit.weights)
    found = zb.bootstrap(fit, 499, rng=1).bias_corrected()
    moved = corrected.params["tau"] - fit.params["tau"]
    assert moved > fit.bse["tau"]
    # the bias at the uncorrected τ is a little smaller than at the corrected one
    assert found["tau"] - fit.params["tau"] == pytest.approx(moved, rel=0.25)


def test_effects_of_the_long_run_are_those_of_every_replicate():
    _, fit = example(SDM, T=13)
    result = zb.bootstrap(fit, 99, rng=3)
    at = {name: result.draws[:, fit.params.index.get_loc(name)] for name in fit.params.index}
    total = (at["a"] + at["W_a"]) / (1 - at["tau"] - at["eta"] - at["rho"])
    row = result.effects(horizon="long").set_index(["term", "effect"]).loc[("a", "total")]
    assert row["conf_low"] == pytest.approx(np.quantile(total, 0.025))
    point = zb.spatial_effects(fit, horizon="long").tidy()
    assert np.allclose(result.effects(horizon="long")["estimate"], point["estimate"])
    short = result.effects().set_index(["term", "effect"]).loc[("a", "total")]
    assert short["conf_high"] == pytest.approx(np.quantile((at["a"] + at["W_a"]) / (1 - at["rho"]), 0.975))
    for interval in ("basic", "bca"):
        assert np.isfinite(result.effects(interval, horizon="long")["conf_low"]).all(), interval
    with pytest.warns(zb.SpatialZbWarning, match="percentile"):
        assert np.isfinite(result.effects("studentised", horizon="long")["conf_low"]).all()


def test_explosive_replicates_are_counted_and_said():
    _, fit = example(SDM, n=11, T=8, tau=0.55)
    assert fit.convergence.radius < 1
    with pytest.warns(zb.SpatialZbWarning, match="explosive"):
        result = zb.bootstrap(fit, 199, rng=1)
    count = int(result.explosive.sum())
    assert 0 < count == result.glance()["explosive"].iloc[0]
    assert len(result.draws) == 199
    assert result.solved.all()
    with pytest.warns(zb.SpatialZbWarning, match=f"{count} of 199"):
        result.effects(horizon="long")


def test_an_explosive_fit_has_replicates_and_no_long_run():
    _, fit = example(SDM, n=11, T=8, tau=0.7)
    assert fit.convergence.radius >= 1
    with pytest.warns(zb.SpatialZbWarning, match="explosive"):
        result = zb.bootstrap(fit, 99, rng=1)
    assert np.isfinite(result.effects()["conf_low"]).all()
    with pytest.raises(zb.ConvergenceError, match="no long run"):
        result.effects(horizon="long")


def test_replicates_without_a_root_are_counted_and_said():
    _, fit = example(SAC, "yang", n=20, T=9)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = zb.bootstrap(fit, 99, rng=1)
    missing = int((~result.solved).sum())
    said = [str(w.message) for w in caught if "no solution" in str(w.message)]
    assert bool(said) == bool(missing)
    assert result.glance()["unsolved"].iloc[0] == missing
    assert np.isfinite(result.tidy()["conf_low"]).all()


def test_leaving_out_a_period_keeps_it_as_the_one_before():
    """Least squares with dummies on the other rows of the same data."""
    panel, fit = example(PLAIN, "uncorrected")
    y = panel.array("y")
    kept = np.arange(8) != 3
    columns = [y[:-1], *(panel.array(name)[1:] for name in ("a", "b"))]
    dummies = np.tile(np.eye(20), (7, 1))
    Z = np.column_stack([c[kept].ravel() for c in columns] + [dummies])
    expected = np.linalg.lstsq(Z, y[1:][kept].ravel(), rcond=None)[0][:3]
    found = pd.Series(source_of(fit).without(kept), index=fit.params.index)
    assert np.allclose(found[["tau", "a", "b"]], expected, atol=SAME)


def test_options_of_the_fit_go_with_every_replicate():
    panel, fit = example(SDM, covariance="driscoll_kraay", bandwidth=4)
    source = source_of(fit)
    drawn = source.draw("residual", np.random.default_rng(1))
    y = panel.array("y").copy()
    y[1:] += drawn
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        whole = zb.fit_durbin(
            fit.spec,
            panel.with_columns({"y": y}),
            fit.weights,
            covariance="driscoll_kraay",
            bandwidth=4,
        )
    assert np.allclose(source.estimate(drawn).cov, whole.cov, atol=SAME)


def test_what_makes_no_sense_is_refused_by_name():
    _, fit = example(SDM)
    with pytest.raises(zb.SpecificationError, match="another unit"):
        zb.bootstrap(fit, 99, "unit")
    static = zb.fit_durbin(zb.DurbinSpec("y", ["a"]), *_static())
    with pytest.raises(zb.SpecificationError, match="time_lag"):
        zb.bootstrap(static, 99, rng=1).effects(horizon="long")
    with pytest.raises(zb.SpecificationError, match="regimes"):
        zb.bootstrap(static, 99, rng=1).differences()


def _static():
    W = ring(40)
    return zb.simulate.durbin(W, 5, {"a": 1.0}, rng=1), W
