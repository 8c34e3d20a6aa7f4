"""The bootstrap of single-equation fits: identities first, then what it is for."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import sparse

import spatial_zb as zb
from spatial_zb.core.bootstrap import bca_limits, draw_errors
from spatial_zb.core.within import demean, transformed_sample
from spatial_zb.resampling import bootstrap

#: Monte Carlo noise of a standard deviation from R normal replicates, relative: 1/√(2R), times four.
FOUR_SIGMA = 4 / np.sqrt(2 * 999)


def ring(n: int) -> zb.Weights:
    i = np.arange(n)
    rows, cols = np.r_[i, i], np.r_[(i + 1) % n, (i - 1) % n]
    matrix = sparse.csr_array((np.full(2 * n, 0.5), (rows, cols)), shape=(n, n))
    return zb.Weights(matrix, [f"u{k:02d}" for k in i], "ring", "row")


def example(n: int = 30, T: int = 10, seed: int = 3, **options):
    W = ring(n)
    panel = zb.simulate_durbin(W, T, {"a": 1.0, "b": -0.5}, theta={"a": 0.4}, rho=0.3, rng=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        return zb.fit_durbin(zb.DurbinSpec("y", ["a", "b"], **options), panel, W)


@pytest.mark.parametrize("scheme", ["residual", "period", "unit", "wild", "parametric"])
def test_errors_have_the_variance_of_the_fit(scheme):
    """Averaged over many draws, the transformed ε* has mean square σ² per effective observation."""
    sample = transformed_sample(30, 10, "two_way", "lee_yu")
    residuals = demean(np.random.default_rng(0).standard_normal((10, 30)), "two_way")
    sigma2 = (residuals**2).sum() / sample.observations
    rng = np.random.default_rng(1)
    squares = [(draw_errors(residuals, scheme, sigma2, sample, rng) ** 2).mean() for _ in range(2000)]
    assert np.mean(squares) == pytest.approx(sigma2, rel=0.01)


def test_wild_errors_only_change_sign_by_unit():
    sample = transformed_sample(12, 6, "unit", "lee_yu")
    residuals = demean(np.random.default_rng(0).standard_normal((6, 12)), "unit")
    drawn = draw_errors(residuals, "wild", 1.0, sample, np.random.default_rng(2))
    ratio = drawn / residuals
    assert np.allclose(ratio, ratio[0])
    assert np.allclose(np.abs(ratio), np.sqrt(6 / 5))


@pytest.mark.parametrize("effects", ["none", "unit", "time", "two_way"])
def test_parametric_errors_agree_with_the_information_matrix(effects):
    fit = example(fixed_effects=effects)
    result = bootstrap(fit, 999, "parametric", rng=1)
    ratio = result.tidy().set_index("term")["std_error"] / fit.bse
    assert np.all(np.abs(ratio - 1) < FOUR_SIGMA + 0.06)


@pytest.mark.parametrize("options", [{"lag_y": False, "lag_error": True}, {"lag_y": False}, {"lag_x": ["a"]}])
def test_other_families(options):
    fit = example(**options)
    table = bootstrap(fit, 299, "parametric", rng=1).tidy().set_index("term")
    assert list(table.index) == list(fit.params.index)
    assert np.allclose(table["std_error"] / fit.bse, 1, atol=4 / np.sqrt(2 * 299) + 0.06)


def test_effects_are_the_effects_of_every_replicate():
    fit = example()
    result = bootstrap(fit, 99, rng=5)
    beta = result.draws[:, 0]
    theta, rho = result.draws[:, 2], result.draws[:, 4]
    total = (beta + theta) / (1 - rho)
    table = result.effects().set_index(["term", "effect"])
    assert table.loc[("a", "total"), "std_error"] == pytest.approx(total.std(ddof=1))
    assert table.loc[("a", "total"), "conf_low"] == pytest.approx(np.quantile(total, 0.025))
    point = zb.spatial_effects(fit).tidy().set_index(["term", "effect"])["estimate"]
    assert np.allclose(table["estimate"], point)


def test_same_seed_same_numbers_and_streams_do_not_depend_on_their_number():
    fit = example()
    first, second = bootstrap(fit, 99, rng=7), bootstrap(fit, 150, rng=7)
    assert np.array_equal(first.draws, second.draws[:99])
    assert not np.array_equal(first.draws, bootstrap(fit, 99, rng=8).draws)


def test_scale_of_y_only_scales():
    fit = example()
    bigger = fit.panel.with_columns({"y": fit.panel.array("y") * 1e9})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        scaled = zb.fit_durbin(fit.spec, bigger, fit.weights)
    a, b = bootstrap(fit, 99, rng=1).draws, bootstrap(scaled, 99, rng=1).draws
    assert np.allclose(a[:, 4], b[:, 4], atol=1e-7)
    assert np.allclose(a[:, 0] * 1e9, b[:, 0], rtol=1e-6)


def test_bca_without_skewness_is_percentile():
    draws = np.sort(np.random.default_rng(0).standard_normal(9999))
    draws = np.r_[draws, -draws][:, None]
    limits = bca_limits(np.array([0.0]), draws, None, 0.05)
    assert np.allclose(limits.ravel(), np.quantile(draws, [0.025, 0.975]), atol=1e-3)


def test_bca_of_a_biased_estimator_moves_the_right_way():
    draws = np.random.default_rng(0).standard_normal((4999, 1)) - 0.5  # replicates fall below the estimate
    low, high = bca_limits(np.array([0.0]), draws, None, 0.05).ravel()
    assert low > np.quantile(draws, 0.025)
    assert high > np.quantile(draws, 0.975)


def test_wild_errors_see_serial_correlation():
    """With errors that are nearly constant over five-year spells the information errors are too small."""
    W = ring(40)
    rng = np.random.default_rng(4)
    slow = np.repeat(rng.standard_normal((4, 40)), 5, axis=0)
    x = np.repeat(rng.standard_normal((4, 40)), 5, axis=0) + 0.1 * rng.standard_normal((20, 40))
    panel = zb.simulate_durbin(W, 20, {"a": 0.0}, rng=1).with_columns({"y": x + slow, "a": x})
    fit = zb.fit_durbin(zb.DurbinSpec("y", ["a"], lag_x=[], fixed_effects="unit"), panel, W)
    wild = bootstrap(fit, 499, "wild", rng=1).tidy().set_index("term")["std_error"]
    assert wild["a"] > 1.5 * fit.bse["a"]


REFUSED = {
    "scheme": (lambda f: bootstrap(f, 99, "block"), "residual"),
    "replicates": (lambda f: bootstrap(f, 10), "99"),
    "interval": (lambda f: bootstrap(f, 99, rng=1).tidy("normal"), "percentile"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_the_remedy(case):
    call, word = REFUSED[case]
    with pytest.raises(zb.SpecificationError, match=word):
        call(example())
