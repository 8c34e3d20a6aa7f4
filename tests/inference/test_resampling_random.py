"""The bootstrap of random effects: both error processes, what is drawn whole, what is refused."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pytest
from small_examples import ring

import spatial_zb as zb
from spatial_zb.core.laws.bootstrap import draw_whole_units, reflated
from spatial_zb.inference.bootstrap import source_of

TRUTH = {"(Intercept)": 1.0, "a": 1.0, "W_a": 0.3, "rho": 0.3, "lam": 0.4, "sigma2": 1.0, "phi": 0.6}
BALTAGI = (("lag_y", False), ("lag_error", True))
KKP = (*BALTAGI, ("error_structure", "kkp"))
SDM = ()
SAC = (("lag_x", ()), ("lag_error", True))


def uneven(n: int) -> zb.Weights:
    """W that is not symmetric, nor similar to one that is."""
    links = (np.random.default_rng(0).random((n, n)) < 0.4).astype(float)
    np.fill_diagonal(links, 0)
    links[np.arange(n), (np.arange(n) + 1) % n] = 1
    return zb.as_weights(links, ids=[f"u{k:02d}" for k in range(n)]).standardise("row")


@cache
def example(options: tuple = SDM, n: int = 30, T: int = 7, seed: int = 3, uneven_weights: bool = False):
    W = uneven(n) if uneven_weights else ring(n)
    spec = zb.DurbinSpec("y", ["a"], fixed_effects="random", **dict(options))
    known = (*spec.terms, *spec.spatial_terms, "sigma2", "phi")
    panel = zb.simulate.panel(spec, W, T, {k: v for k, v in TRUTH.items() if k in known}, rng=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        return zb.fit_durbin(spec, panel, W)


@cache
def resampled(options: tuple = SDM, scheme: str = "residual", replicates: int = 149):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        return zb.bootstrap(example(options), replicates, scheme, rng=1)


@pytest.mark.parametrize(
    ("options", "scheme"),
    [
        (BALTAGI, "residual"),
        pytest.param(BALTAGI, "parametric", marks=pytest.mark.slow),
        pytest.param(KKP, "residual", marks=pytest.mark.slow),
        (KKP, "unit"),
        (SAC, "residual"),
    ],
)
def test_draws_have_the_covariance_of_the_model(options, scheme):
    """Over many draws: B⁻¹B⁻ᵀ and ιι' of units and periods, from dense matrices; W is not symmetric."""
    n, T, R = 12, 3, 3000
    fit = example(options, n=n, T=T, uneven_weights=True)
    W, eye = fit.weights.matrix.toarray(), np.eye(n)
    rho, lam, phi = (float(fit.params.get(name, 0.0)) for name in ("rho", "lam", "phi"))
    A, spread = np.linalg.inv(eye - rho * W), np.linalg.inv(eye - lam * W)
    effect = eye if fit.spec.error_structure == "baltagi" else spread
    rngs = map(np.random.default_rng, np.random.SeedSequence(1).spawn(R))
    source = source_of(fit)
    draws = np.array([source.draw(scheme, rng)["y"].ravel() for rng in rngs])
    mean = (A @ (fit.design.Z @ fit.params[list(fit.spec.terms)].to_numpy()).T).T.ravel()
    one, every = A @ spread, A @ effect
    expected = fit.sigma2 * (
        np.kron(np.eye(T), one @ one.T) + phi * np.kron(np.ones((T, T)), every @ every.T)
    )
    assert np.abs(draws.mean(axis=0) - mean).max() < 6 * np.sqrt(expected.diagonal().max() / R)
    found = np.cov(draws.T)
    if (
        scheme == "unit"
    ):  # dates of a unit keep what the data have: only sums over them are those of the model
        shape = (T, n, T, n)
        assert np.allclose(
            np.einsum("titj->ij", found.reshape(shape)),
            np.einsum("titj->ij", expected.reshape(shape)),
            atol=0.1 * expected.max(),
        )
        found, expected = (v.reshape(shape).sum(axis=(0, 2)) for v in (found, expected))
    assert np.abs(found - expected).max() < 0.13 * expected.max()  # five errors of a variance from R draws


def test_reflated_values_have_the_variance_that_is_asked():
    values = np.random.default_rng(0).standard_normal((5, 8)) ** 2
    assert np.mean(reflated(values, 2.5) ** 2) == pytest.approx(2.5)
    assert np.allclose(reflated(values, 1.0, over=1).mean(axis=1), 0.0)
    assert np.array_equal(reflated(np.ones(4), 3.0), np.zeros(4))


def test_whole_units_keep_level_and_path_together():
    errors = np.random.default_rng(0).standard_normal((4, 9))
    drawn = draw_whole_units(errors, 0.5, 1.0, np.random.default_rng(1))
    all_of_them = {tuple(series) for series in np.round(drawn.T, 9)}
    assert 1 < len(all_of_them) < 9
    many = np.array([draw_whole_units(errors, 0.5, 1.0, np.random.default_rng(i)) for i in range(4000)])
    assert np.mean(many.mean(axis=1) ** 2) == pytest.approx(0.5 + 1 / 4, rel=0.03)
    assert np.mean((many - many.mean(axis=1, keepdims=True)) ** 2) == pytest.approx(1 - 1 / 4, rel=0.03)


SLOW = pytest.mark.slow
CASES = [
    (SDM, "residual"),
    pytest.param(SDM, "unit", marks=SLOW),
    (KKP, "unit"),
    pytest.param(BALTAGI, "residual", marks=SLOW),
    (BALTAGI, "parametric"),
]


@pytest.mark.parametrize(("options", "scheme"), CASES)
def test_replicates_lie_around_the_estimate_with_its_errors(options, scheme):
    result = resampled(options, scheme)
    assert np.array_equal(result.centre, result.fit.params)
    apart = (result.draws.mean(axis=0) - result.centre) / result.fit.bse
    assert np.abs(apart[:-2]).max() < 4 / np.sqrt(149) + 0.1
    if scheme == "parametric":
        assert np.abs(result.draws.std(axis=0) / result.fit.bse - 1).max() < 4 / np.sqrt(2 * 149) + 0.06


def test_effects_have_every_interval():
    result = resampled()
    point = zb.spatial_effects(result.fit).tidy()
    for interval in ("percentile", "basic", "bca", "studentised"):
        table = result.effects(interval)
        assert np.allclose(table["estimate"], point["estimate"])
        assert np.isfinite(table[["conf_low", "conf_high"]]).all(axis=None), interval
        assert np.isfinite(result.tidy(interval)["conf_low"]).all()
    assert result.jackknife.shape == (7, len(result.fit.params))


def test_without_unit_effects_it_is_the_pooled_model():
    """φ̂ = 0: no unit effects are drawn, and the replicates do not fail."""
    spec = zb.DurbinSpec("y", ["a"], lag_x=[], fixed_effects="random")
    for seed in range(20):
        panel = zb.simulate.panel(spec, ring(12), 5, {"a": 1.0, "rho": 0.3, "phi": 0.0}, rng=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", zb.SpatialZbWarning)
            fit = zb.fit_durbin(spec, panel, ring(12))
        if fit.convergence.phi_at_zero:
            break
    assert fit.convergence.phi_at_zero
    result = zb.bootstrap(fit, 99, rng=1)
    assert (result.draws[:, fit.params.index.get_loc("phi")] >= 0).all()
    assert np.isfinite(result.tidy()["conf_low"]).all()


@pytest.mark.parametrize(
    ("options", "scheme", "why"),
    [
        (SDM, "wild", "squares"),
        (SDM, "period", "between units"),
        (BALTAGI, "unit", "kkp"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(options, scheme, why):
    with pytest.raises(zb.SpecificationError, match=why) as refused:
        zb.bootstrap(example(options), 99, scheme)
    assert '"residual"' in str(refused.value)
