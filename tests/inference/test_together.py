"""Panels that are estimated together have the estimates that they have alone."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from small_examples import twelve_units

import spatial_zb as zb
from spatial_zb.base.arguments import child_of, seed_of
from spatial_zb.base.execute import Execution
from spatial_zb.inference.bootstrap import all_at_once, one_by_one, source_of
from spatial_zb.inference.bootstrap import system as systems

#: Maxima are climbed to within 1e-11 of ρ and λ, and sums differ by rounding.
SAME, SAME_COVARIANCE = 1e-8, 1e-6
SAC, GNS = {"lag_x": [], "lag_error": True}, {"lag_error": True}
RANDOM = {"fixed_effects": "random"}
LAGS = {"time_lag": True, "lag_time_lag": True}


def fitted(
    W: zb.Weights, spec: dict, estimator: str = "lee_yu", seed: int = 1, T: int = 7, **drawn
) -> zb.Fit:
    """A fit of one equation on a simulated panel."""
    panel = zb.simulate.durbin(W, T, {"a": 1.0}, theta={"a": 0.4}, rho=0.3, rng=seed, **drawn)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        return zb.fit_durbin(
            zb.DurbinSpec("y", ["a"], **({"fixed_effects": "two_way"} | spec)), panel, W, estimator
        )


def compare(fit: zb.Fit, scheme: str, replicates: int = 6):
    """The same replicates one by one and together."""
    source, how = source_of(fit), Execution.of(1)
    assert source.together
    alone = one_by_one(source, scheme, replicates, seed_of(1), how)
    many = all_at_once(source, scheme, replicates, seed_of(1), how)
    assert (alone.at_bound == many.at_bound).all()
    scale = np.abs(alone.draws).max(axis=0)
    assert np.allclose(many.draws / scale, alone.draws / scale, atol=SAME, equal_nan=True)
    size = np.sqrt(np.nanmedian(np.einsum("rii->ri", alone.covariances), axis=0))
    size = np.where(np.isfinite(size) & (size > 0), size, 1.0)
    both = np.outer(size, size)
    assert np.allclose(
        many.covariances / both, alone.covariances / both, atol=SAME_COVARIANCE, equal_nan=True
    )
    return source, alone


@pytest.mark.parametrize(
    ("kind", "spec", "estimator", "scheme"),
    [
        ("symmetric", SAC, "lee_yu", "residual"),
        ("asymmetric", GNS, "direct", "wild"),
        ("dense", SAC | {"fixed_effects": "unit"}, "lee_yu", "period"),
        ("asymmetric", LAGS, "lee_yu", "residual"),
        ("dense", LAGS | GNS, "lee_yu", "period"),
        ("symmetric", LAGS | SAC | {"lag_y": False}, "lee_yu", "wild"),
        ("symmetric", {"time_lag": True, "fixed_effects": "unit"}, "uncorrected", "parametric"),
        ("asymmetric", RANDOM, "lee_yu", "residual"),
        ("dense", RANDOM | {"lag_x": []}, "lee_yu", "unit"),
    ],
)
def test_together_as_alone(kind, spec, estimator, scheme):
    compare(fitted(twelve_units(kind), spec, estimator), scheme)


def test_panels_without_an_interior_maximum_are_looked_at_alone():
    """A dense W: edges of the square come near the top, and some panels have no maximum inside."""
    source, alone = compare(fitted(twelve_units("dense"), SAC, seed=3), "residual", 12)
    rngs = [np.random.default_rng(child_of(seed_of(1), i)) for i in range(12)]
    _, settled = source.all_at_once("residual", rngs)
    assert not settled.all()
    assert not settled[alone.at_bound].any()


def test_no_variance_between_units_has_no_error():
    fit = fitted(twelve_units("symmetric"), RANDOM, unit_effects=0.0)
    _, alone = compare(fit, "parametric", 12)
    phi = alone.draws[:, list(fit.params.index).index("phi")]
    assert 0 < (phi == 0).sum() < 12


# Instruments and systems ------------------------------------------------------------------------------------

ENDOGENOUS = {"endog": ["w"], "instruments": ["z"]}


@pytest.mark.parametrize(
    ("kind", "spec", "scheme", "correct"),
    [
        ("symmetric", {}, "residual", None),
        ("asymmetric", {"lag_x": [], "fixed_effects": "unit"}, "wild", None),
        ("asymmetric", ENDOGENOUS | {"lag_x": ["a", "w"]}, "unit", None),
        ("symmetric", ENDOGENOUS | {"lag_y": False, "fixed_effects": "none"}, "period", False),
    ],
)
def test_by_instruments_together_as_alone(kind, spec, scheme, correct):
    W, rng = twelve_units(kind), np.random.default_rng(1)
    panel = zb.simulate.durbin(W, 7, {"a": 1.0}, theta={"a": 0.4}, rho=0.3, rng=1)
    z = rng.standard_normal((7, 12))
    w = z + 0.5 * rng.standard_normal((7, 12))
    panel = panel.with_columns({"z": z, "w": w, "y": panel.array("y") + 0.5 * w})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        spec = zb.DurbinSpec("y", ["a"], **({"fixed_effects": "two_way"} | spec))
        fit = zb.fit_durbin(spec, panel, W, "gmm", bias_correction=correct)
    compare(fit, scheme)


def system(W: zb.Weights, method: str, lag_error: bool, **options) -> zb.SystemFit:
    """Two equations, each with the other and the lag of its own."""
    spec = zb.SystemSpec(
        {
            "one": zb.Equation("y1", x=["a", "c"], endog=["y2"], lag_y=True, lag_error=lag_error),
            "two": zb.Equation("y2", x=["b", "d"], endog=["y1"], lag_y=True),
        }
    )
    truth = {("one", "a"): 1.0, ("one", "c"): -1.0, ("one", "y2"): 0.3, ("one", "W_y1"): 0.3}
    truth |= {("two", "b"): 1.0, ("two", "d"): 0.7, ("two", "y1"): 0.2, ("two", "W_y2"): 0.2}
    panel = zb.simulate.system(spec, W, 7, truth, rng=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        return zb.fit_system(spec, panel, W, method, **options)


@pytest.mark.parametrize(
    ("kind", "method", "scheme", "options"),
    [
        ("symmetric", "fiml", "residual", {}),
        ("asymmetric", "fiml", "wild", {"sigma": "diagonal"}),
        ("dense", "fiml", "residual", {"lag_error": True}),
        ("symmetric", "2sls", "unit", {}),
        ("symmetric", "3sls", "period", {}),
        ("asymmetric", "3sls", "residual", {"bias_correction": False}),
    ],
)
def test_systems_together_as_alone(kind, method, scheme, options):
    options = {"lag_error": False} | options
    fit = system(twelve_units(kind), method, **options)
    generator = systems._generator(fit)
    assert systems._together(fit)
    seeds = [child_of(seed_of(1), i) for i in range(6)]
    alone = [systems._refit(fit, generator, scheme, i, seed) for i, seed in enumerate(seeds)]
    rngs = [np.random.default_rng(seed) for seed in seeds]
    many, settled = systems._all_at_once(fit, generator, scheme, rngs)
    assert settled.sum() >= 3
    assert not any(alone[i]["at_bound"] for i in np.flatnonzero(settled))
    for i in np.flatnonzero(settled):
        assert np.allclose(many.draws[i], alone[i]["params"], atol=SAME)
        assert np.allclose(many.covariances[i], alone[i]["cov"], rtol=SAME_COVARIANCE, atol=SAME)
    found = zb.bootstrap(fit, 99, scheme, rng=1)
    assert np.allclose(found.draws[:6], [one["params"] for one in alone], atol=SAME)
