"""Intervals that invert the likelihood-ratio test."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import optimize, stats
from small_examples import durbin_fit, ring

import spatial_zb as zb
from spatial_zb.inference.intervals import profile_interval


def test_a_restricted_fit_at_the_limits_has_lost_half_the_critical_value():
    """Slow and independent: ln L of least squares of y − ρWy on the regressors, with ln|I − ρW| from numpy."""
    fit = durbin_fit(lag_x=["a"], fixed_effects="unit")
    found = profile_interval(fit)
    W, T = fit.weights.matrix.toarray(), len(fit.panel.periods)

    def value(rho: float) -> float:
        y = (fit.design.y - rho * fit.design.Wy).ravel()
        Z = fit.design.Z.reshape(len(y), -1)
        e = y - Z @ np.linalg.lstsq(Z, y, rcond=None)[0]
        return (T - 1) * np.linalg.slogdet(np.eye(len(W)) - rho * W)[1] - fit.nobs / 2 * np.log(e @ e)

    for limit in ("conf_low", "conf_high"):
        assert 2 * (value(found.estimate) - value(getattr(found, limit))) == pytest.approx(
            stats.chi2.ppf(0.95, 1)
        )
    assert found.is_open == (False, False)


def test_large_samples_agree_with_the_standard_error():
    fit = durbin_fit(n=60, T=30, lag_x=[])
    (interval,) = profile_interval(fit).pieces
    expected = fit.conf_int().loc["rho"]
    assert np.allclose(interval, expected, atol=0.1 * fit.bse["rho"])


def test_an_interval_without_an_interior_maximum_is_open():
    """All nearly linked to all: the likelihood rises to the end, and the interval says so."""
    rng = np.random.default_rng(0)
    links = 1 + 0.05 * rng.random((8, 8))
    np.fill_diagonal(links, 0)
    W = zb.as_weights(links, ids=list("abcdefgh")).standardise("row")
    for seed in range(40):
        panel = zb.simulate.durbin(W, 5, {"a": 1.0}, rho=0.6, rng=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", zb.SpatialZbWarning)
            fit = zb.fit_durbin(zb.DurbinSpec("y", ["a"], lag_x=[]), panel, W)
        if not fit.converged:
            break
    assert not fit.converged
    found = profile_interval(fit)
    assert True in found.is_open
    low, high = fit.weights.logdet.interval
    assert low <= found.conf_low < found.conf_high <= high


def test_bootstrap_critical_values_are_near_chi_square_where_the_likelihood_is_regular():
    found = profile_interval(durbin_fit(n=60, T=20, lag_x=[]), replicates=999, rng=1)
    # standard error of a 95 % quantile of 999 draws of χ²₁: √(0.05·0.95/999)/f(3.84) = 0.23; three of them
    assert found.critical == pytest.approx(stats.chi2.ppf(0.95, 1), abs=0.7)


REFUSED = {
    "both": (lambda: profile_interval(durbin_fit(lag_error=True, lag_x=[])), "bootstrap"),
    "none": (lambda: profile_interval(durbin_fit(lag_y=False)), "rho, lam"),
    "term": (lambda: profile_interval(durbin_fit(), "lam"), "rho"),
    "few": (lambda: profile_interval(durbin_fit(), replicates=10), "99"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    call, word = REFUSED[case]
    with pytest.raises(zb.SpecificationError, match=word):
        call()


def test_units_of_y_do_not_matter():
    fit = durbin_fit(lag_x=[])
    panel = fit.panel.with_columns({"y": fit.panel.array("y") * 1e9})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        scaled = zb.fit_durbin(fit.spec, panel, ring(30))
    assert np.allclose(profile_interval(fit).pieces, profile_interval(scaled).pieces)


@pytest.mark.parametrize("effect", ["direct", "indirect", "total"])
@pytest.mark.parametrize("how", ["row", "spectral"])
def test_limits_of_effects_are_where_a_constrained_maximum_has_lost_half_the_critical_value(effect, how):
    """Slow and independent: ln L highest over ρ and δ with the effect held, by dense inverses and a search over ρ."""
    rng = np.random.default_rng(4)
    links = (rng.random((12, 12)) < 0.3) * 1.0
    links = np.triu(links, 1) + np.triu(links, 1).T + np.roll(np.eye(12), 1, 1) + np.roll(np.eye(12), -1, 1)
    W = zb.as_weights(links * (1 - np.eye(12)), ids=list("abcdefghijkl")).standardise(how)
    panel = zb.simulate.durbin(W, 5, {"a": 1.0}, theta={"a": 0.4}, rho=0.5, rng=3)
    fit = zb.fit_durbin(zb.DurbinSpec("y", ["a"], fixed_effects="unit"), panel, W)
    dense, n, T = W.matrix.toarray(), 12, 5
    Z, y, Wy = fit.design.Z.reshape(n * T, -1), fit.design.y.ravel(), fit.design.Wy.ravel()

    def held(rho: float, c: float | None) -> float:
        S = np.linalg.inv(np.eye(n) - rho * dense)
        ones = np.ones(n) / n
        whole = np.array([ones @ S @ np.ones(n), ones @ S @ dense @ np.ones(n)])
        own = np.array([np.trace(S), np.trace(S @ dense)]) / n
        g = {"direct": own, "total": whole, "indirect": whole - own}[effect]
        inverse = np.linalg.inv(Z.T @ Z)
        b = inverse @ Z.T @ (y - rho * Wy)
        if c is not None:
            b = b - inverse @ g * (g @ b - c) / (g @ inverse @ g)
        e = y - rho * Wy - Z @ b
        return (T - 1) * np.linalg.slogdet(np.eye(n) - rho * dense)[1] - fit.nobs / 2 * np.log(e @ e)

    def highest(c: float | None) -> float:
        low, high = (0.999 * end for end in W.logdet.interval)
        values = [held(r, c) for r in np.linspace(low, high, 120)]
        at = np.linspace(low, high, 120)[int(np.argmax(values))]
        step = 1.5 * (high - low) / 119
        inside = (max(low, at - step), min(high, at + step))
        return -optimize.minimize_scalar(lambda r: -held(r, c), bounds=inside, method="bounded").fun

    found = profile_interval(fit, "a", effect)
    for end in (found.conf_low, found.conf_high):
        assert 2 * (highest(None) - highest(end)) == pytest.approx(stats.chi2.ppf(0.95, 1), abs=1e-3)
    table = zb.spatial_effects(fit).tidy().set_index("effect")
    assert found.estimate == pytest.approx(table.loc[effect, "estimate"])


def test_limits_of_effects_are_unbounded_where_rho_is():
    """Under effects of periods, which take the root at ρ = 1 out of the determinant."""
    W = ring(8)
    for seed in range(40):
        panel = zb.simulate.durbin(W, 2, {"a": 0.3}, rho=0.9, rng=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", zb.SpatialZbWarning)
            fit = zb.fit_durbin(zb.DurbinSpec("y", ["a"], lag_x=[]), panel, W)
        if profile_interval(fit).is_open[1]:
            break
    assert profile_interval(fit).is_open[1]
    found = profile_interval(fit, "a", "total")
    assert np.isinf([found.conf_low, found.conf_high]).any()
    with pytest.raises(zb.SpecificationError, match="effect"):
        profile_interval(fit, "a", "all")
