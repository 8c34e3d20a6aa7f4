"""The bootstrap of two regimes: draws, their population, effects and differences by regime."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pytest
from small_examples import ring

import spatial_zb as zb
from spatial_zb.inference.bootstrap import source_of
from spatial_zb.models.design import stacked
from spatial_zb.models.regimes import regime_lags

SAME = 1e-8


@cache
def example(effects: str = "two_way", n: int = 24, T: int = 10, lag_y: bool = True):
    """ρ, β and θ of 0.2, 1.0, 0.5 in the rest and 0.5, 0.5, 0.0 in the core, every third unit."""
    W = ring(n)
    core = (np.arange(n) % 3 == 0).astype(float)
    panel = zb.simulate.durbin(W, T, {"a": 0.0}, rng=4)
    rng = np.random.default_rng(1)
    a = panel.array("a")
    rho, beta, theta = 0.2 + 0.3 * core, 1 - 0.5 * core, 0.5 - 0.5 * core
    common = rng.standard_normal((T, 1)) * (effects == "two_way")
    right = a * beta + (W.matrix @ a.T).T * theta + common + rng.standard_normal((T, n))
    y = np.linalg.solve(np.eye(n) - rho[:, None] * W.matrix.toarray(), right.T).T
    panel = panel.with_columns({"y": y, "core": np.tile(core, (T, 1))})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        spec = zb.DurbinSpec("y", ["a"], lag_y=lag_y, fixed_effects=effects, regimes="core")
        return zb.fit_durbin(spec, panel, W)


@cache
def resampled(scheme: str = "residual", replicates: int = 199, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        return zb.bootstrap(example(**options), replicates, scheme, rng=1)


@pytest.mark.parametrize("effects", ["unit", "two_way"])
def test_draws_solve_the_model_with_the_effects_of_the_data(effects):
    fit = example(effects)
    drawn = source_of(fit).draw("residual", np.random.default_rng(3))["y"]
    rho = fit.params.to_numpy()[-3:-1]
    core = fit.panel.array("core")[0].astype(int)
    S = np.eye(24) - rho[core][:, None] * fit.weights.matrix.toarray()
    y = fit.panel.array("y")
    errors = (S @ (drawn - y).T).T + fit.residuals  # what stands where the residuals stood
    pool = np.sort(np.unique(np.round(errors, 9)))
    scale = np.sqrt(240 / fit.nobs)
    assert np.isin(np.round(pool, 6), np.round(fit.residuals.ravel() * scale, 6)).all()


SCHEMES = [
    *((scheme, "unit") for scheme in ("residual", "period", "unit", "wild", "parametric")),
    ("period", "two_way"),
    *(
        pytest.param(scheme, "two_way", marks=pytest.mark.slow)
        for scheme in ("residual", "unit", "wild", "parametric")
    ),
]


@pytest.mark.parametrize(("scheme", "effects"), SCHEMES)
def test_replicates_lie_around_their_centre(scheme, effects):
    result = resampled(scheme, effects=effects)
    apart = (result.draws.mean(axis=0) - result.centre) / result.fit.bse
    assert np.abs(apart[:-1]).max() < 4 / np.sqrt(199) + 0.1
    if scheme in ("residual", "unit", "parametric"):
        assert np.array_equal(result.centre, result.fit.params)


def test_parametric_errors_agree_with_the_covariance():
    result = resampled("parametric")
    ratio = result.tidy().set_index("term")["std_error"] / result.fit.bse
    assert np.abs(ratio - 1).max() < 4 / np.sqrt(2 * 199) + 0.08


def test_the_population_has_the_squares_that_are_expected():
    """Of y and its two lags over many draws by sign flips, against the mean and the parts of each unit."""
    fit = example(n=12, T=6)
    source = source_of(fit)
    R, grams = 2000, 0.0
    for seed in np.random.SeedSequence(2).spawn(R):
        y = source.draw("wild", np.random.default_rng(seed))["y"]
        lags = regime_lags(fit.spec, y, source.regimes)
        off = y - y.mean(axis=0)
        columns = np.column_stack(
            [stacked(off - off.mean(axis=1, keepdims=True)), lags, stacked(fit.design.Z)]
        )
        grams = grams + columns.T @ columns / R
    off = grams[:3, :3] - grams[:3, 3:] @ np.linalg.solve(grams[3:, 3:], grams[3:, :3])
    centre = source.centre("wild")
    k, rho = fit.design.Z.shape[2], centre[-3:-1]
    delta = np.linalg.solve(grams[3:, 3:], grams[3:, :3] @ [1.0, *-rho])
    assert np.allclose(delta, centre[:k], atol=0.05)
    assert np.array([1.0, *-rho]) @ off @ [1.0, *-rho] / fit.nobs == pytest.approx(centre[-1], rel=0.05)


def test_effects_and_differences_are_those_of_every_replicate():
    result = resampled()
    fit, table = result.fit, result.effects()
    point = zb.spatial_effects(fit).tidy()
    assert list(table["term"]) == list(point["term"])
    assert np.allclose(table["estimate"], point["estimate"])
    names = list(fit.params.index)
    difference = result.differences().set_index(["term", "effect"])
    rho = result.draws[:, names.index("rho[core=1]")] - result.draws[:, names.index("rho[core=0]")]
    row = difference.loc[("rho", "coefficient")]
    assert row["conf_high"] == pytest.approx(np.quantile(rho, 0.975))
    tests = zb.tests.regime_tests(fit).tidy().set_index("term")["difference"].drop("all")
    own = difference.xs("coefficient", level="effect")["estimate"]
    assert np.allclose(own, tests[own.index])
    by = table.set_index(["term", "effect"])["estimate"]
    assert difference.loc[("a", "total"), "estimate"] == pytest.approx(
        by[("a[core=1]", "total")] - by[("a[core=0]", "total")]
    )


def test_every_interval_of_effects_exists_and_delta_errors_are_those_of_the_fit():
    result = resampled()
    for interval in ("basic", "bca", "studentised"):
        assert np.isfinite(result.effects(interval)[["conf_low", "conf_high"]]).all(axis=None), interval
        assert np.isfinite(result.differences(interval)[["conf_low", "conf_high"]]).all(axis=None), interval
    from spatial_zb.inference.bootstrap.record import differences_of, effects_of

    fit = result.fit
    at = fit.params.to_numpy()[None], fit.cov.to_numpy()[None]
    assert np.allclose(effects_of(fit, "short").errors(*at)[0], zb.spatial_effects(fit).tidy()["std_error"])
    tests = zb.tests.regime_tests(fit).tidy()["std_error"].iloc[:-1]
    assert np.allclose(differences_of(fit).errors(*at)[0][: len(tests)], tests)


def test_without_a_spatial_lag():
    result = resampled("residual", 99, effects="unit", lag_y=False)
    assert np.isfinite(result.tidy()["conf_low"]).all()
    assert np.allclose(result.bias_corrected(), result.fit.params, atol=4 * result.fit.bse / np.sqrt(99))
