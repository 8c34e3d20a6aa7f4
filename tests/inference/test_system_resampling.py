"""The bootstrap of systems: identities first, then what it is for."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from small_examples import ring, star

import spatial_zb as zb
from spatial_zb.effects.system import stable_systems
from spatial_zb.inference.bootstrap.system import _centre, _estimate, _generator

#: Two runs of one estimator on the same arrays.
SAME = 1e-7
#: Monte Carlo noise of a standard deviation from 199 replicates, four of them, and the small-sample bias of errors.
FOUR_SIGMA = 4 / np.sqrt(2 * 199) + 0.06
SIGMA = np.array([[1.0, 0.4], [0.4, 1.0]])
TRUTH = {
    ("industry", "tal"): 0.25,
    ("industry", "W_ind"): 0.3,
    ("industry", "a"): 1.0,
    ("industry", "b"): -0.5,
    ("talent", "ind"): 0.2,
    ("talent", "W_tal"): 0.25,
    ("talent", "c"): 1.0,
}


def example(method: str, lag_error: bool = False, seed: int = 3, W: zb.Weights | None = None, **options):
    W = ring(24) if W is None else W
    spec = zb.SystemSpec(
        {
            "industry": zb.Equation("ind", ["tal"], ["a", "b"], lag_error=lag_error),
            "talent": zb.Equation("tal", ["ind"], ["c"]),
        }
    )
    panel = zb.simulate.system(spec, W, 8, zb.simulate.Truth(TRUTH, sigma=SIGMA), rng=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        return zb.fit_system(spec, panel, W, method, **options)


METHODS = [("2sls", False), ("3sls", False), ("fiml", False), ("gs3sls", True), ("fiml", True)]


@pytest.mark.parametrize(("method", "lag_error"), METHODS)
def test_the_residuals_of_the_fit_give_its_data_back(method, lag_error):
    """Drawing the fitted residuals themselves reproduces the sample, and its estimates."""
    fit = example(method, lag_error)
    arrays = _generator(fit).sample(fit.residuals)
    assert np.allclose(arrays.y, fit.design.arrays.y, atol=SAME)
    for drawn, own in zip(arrays.Z, fit.design.arrays.Z, strict=True):
        assert np.allclose(drawn, own, atol=SAME)
    params, cov, at_bound = _estimate(fit, arrays)
    assert np.allclose(params, fit.params, atol=SAME)
    assert np.allclose(cov, fit.cov, rtol=1e-5)
    assert not at_bound


@pytest.mark.parametrize(
    ("method", "lag_error"),
    [pytest.param(*m, marks=pytest.mark.slow) if m in METHODS[1::2] else m for m in METHODS],
)
def test_parametric_errors_agree_with_the_covariance(method, lag_error):
    fit = example(method, lag_error, W=ring(40))
    result = zb.bootstrap(fit, 199, "parametric", rng=1)
    table = result.tidy().set_index(["equation", "term"])
    assert list(table.index) == list(fit.params.index)
    assert np.all(np.abs(table["std_error"] / fit.bse - 1) < FOUR_SIGMA)


def test_effects_are_those_of_every_replicate():
    fit = example("3sls")
    result = zb.bootstrap(fit, 99, rng=1)
    table = result.effects().set_index(["response", "source", "effect"])
    point = zb.spatial_effects(fit).tidy().set_index(["response", "source", "effect"])
    assert np.allclose(table["estimate"], point["estimate"])
    by = {key: i for i, key in enumerate(fit.params.index)}
    totals = []
    for draw in result.draws[result.stable]:
        gamma = np.array([[1, -draw[by["industry", "tal"]]], [-draw[by["talent", "ind"]], 1]])
        psi = np.diag([draw[by["industry", "W_ind"]], draw[by["talent", "W_tal"]]])
        totals.append(np.linalg.inv(gamma - psi)[0, 1])
    row = table.loc[("industry", "shock:talent", "total")]
    assert row["conf_low"] == pytest.approx(np.quantile(totals, 0.025))
    quartiles = np.quantile(totals, [0.25, 0.75])
    assert row["std_error"] == pytest.approx(np.ptp(quartiles) / 1.3489795)
    for interval in ("basic", "bca", "studentised"):
        other = result.effects(interval).set_index(["response", "source", "effect"])
        assert np.isfinite(other["conf_low"]).all(), interval


def test_wild_population_of_instruments_is_the_estimate():
    """Instruments are exogenous whatever the variances: sign flips move only what needs equal variances."""
    fit = example("3sls")
    assert np.allclose(zb.bootstrap(fit, 99, "wild", rng=1).centre, fit.params, atol=SAME)
    likelihood = example("fiml", W=star())
    centre = zb.bootstrap(likelihood, 99, "wild", rng=1).centre
    assert np.abs((centre - likelihood.params) / likelihood.bse).max() > 0.01
    on_ring = example("fiml")  # every unit has the same place in W: unequal variances do no harm
    assert np.allclose(zb.bootstrap(on_ring, 99, "wild", rng=1).centre, on_ring.params, atol=1e-5)


@pytest.mark.parametrize("method", ["3sls", "fiml"])
def test_whole_periods_lie_around_their_population(method):
    """The likelihood is moved by what whole periods leave out; instruments are not."""
    fit = example(method)
    result = zb.bootstrap(fit, 199, "period", rng=1)
    apart = (result.draws.mean(axis=0) - result.centre) / fit.bse
    assert np.abs(apart).max() < 4 / np.sqrt(199) + 0.15
    moved = np.abs((result.centre - fit.params) / fit.bse).max()
    assert moved > 0.01 if method == "fiml" else moved < 1e-6


def test_the_centre_of_a_scheme_needs_no_sandwich():
    """The population of sign flips, whose rows are no panel, has an estimate whatever the covariance of the fit."""
    plain, robust = example("fiml"), example("fiml", covariance="sandwich")
    centres = [_centre(fit, _generator(fit), "wild", fit.params.to_numpy()[None]) for fit in (plain, robust)]
    assert np.array_equal(*centres)


def test_streams_do_not_depend_on_their_number():
    fit = example("3sls")
    first, second = zb.bootstrap(fit, 99, rng=7), zb.bootstrap(fit, 120, rng=7)
    assert np.array_equal(first.draws, second.draws[:99])


def test_random_effects_are_refused():
    spec = example("3sls").spec
    panel = zb.simulate.system(spec, ring(24), 8, zb.simulate.Truth(TRUTH, time_effects=0), rng=1)
    random = zb.SystemSpec(spec.equations, fixed_effects="random")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        fit = zb.fit_system(random, panel, ring(24), "3sls")
    with pytest.raises(zb.SpecificationError, match="random"):
        zb.bootstrap(fit, 99)


def test_bias_correction_takes_the_bias_off():
    result = zb.bootstrap(example("3sls"), 99, "parametric", rng=1)
    bias = result.tidy().set_index(["equation", "term"])["bias"]
    assert np.allclose(result.bias_corrected(), result.fit.params - bias)
    assert list(result.bias_corrected("median").index) == list(result.fit.params.index)
    with pytest.raises(zb.SpecificationError, match="mean, median"):
        result.bias_corrected("mode")


def test_one_replicate_at_an_edge_does_not_move_the_errors():
    """FINDINGS A8: one of 199 replicates made std_error 59,707,300, and below 5 % nothing was said."""
    from dataclasses import replace

    fit = example("fiml")
    result = zb.bootstrap(fit, 99, rng=1)
    draws, edge = result.draws.copy(), np.zeros(99, bool)
    draws[0] = fit.params
    last = draws[0].copy()
    for share in np.linspace(0, 1, 60):  # as near to instability as a stable system gets
        last[[list(fit.params.index).index(key) for key in (("industry", "W_ind"), ("talent", "W_tal"))]] = (
            share
        )
        if not stable_systems(fit, last[None][:, fit.coefficient_positions])[0]:
            break
        draws[0] = last
    edge[0] = True
    moved = replace(result, draws=draws, at_edge=edge)
    assert moved.at_bound == moved.glance()["at_bound"].iloc[0] == 1
    for table in (lambda r: r.tidy(), lambda r: r.effects()):
        before, after = table(result)["std_error"], table(moved)["std_error"]
        assert after.to_numpy() == pytest.approx(before.to_numpy(), rel=0.1, abs=1e-9)
