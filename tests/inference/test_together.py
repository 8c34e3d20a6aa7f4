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
