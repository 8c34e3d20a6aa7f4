"""Many samples at once: the same numbers as one at a time."""

from __future__ import annotations

import warnings
from itertools import product

import numpy as np
import pytest
from small_examples import twelve_units

import spatial_zb as zb
from spatial_zb.core.laws import likelihood_ratios, moments, ratio_limits
from spatial_zb.core.laws.replicates import estimate_all, inverses, spectrum
from spatial_zb.core.likelihood import inner_interval
from spatial_zb.inference.bootstrap.static import generator_of

#: Two algorithms for one number: roots are found to 1e-13, sums differ by rounding.
SAME = 1e-9
FAMILIES = {
    "SAR": {"lag_x": []},
    "SDM": {},
    "SEM": {"lag_y": False, "lag_x": [], "lag_error": True},
    "SDEM": {"lag_y": False, "lag_error": True},
    "SLX": {"lag_y": False},
}
N, T, SAMPLES = 12, 6, 6


def samples(kind: str, effects: str, family: str, estimator: str = "lee_yu"):
    """Fits of several y on one X, and the model and y of all of them."""
    W = twelve_units(kind)
    panels = [zb.simulate.durbin(W, T, {"a": 1.0}, theta={"a": 0.4}, rho=0.3, rng=i) for i in range(SAMPLES)]
    spec = zb.DurbinSpec("y", ["a"], fixed_effects=effects, **FAMILIES[family])
    panels = [panels[0].with_columns({"y": panel.array("y")}) for panel in panels]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        fits = [zb.fit_durbin(spec, panel, W, estimator) for panel in panels]
    return fits, generator_of(fits[0]).model, np.stack([panel.array("y") for panel in panels])


CASES = [*product(("symmetric", "asymmetric", "dense"), ("none", "unit", "two_way"), FAMILIES)]


@pytest.mark.parametrize(("kind", "effects", "family"), CASES)
def test_estimates_and_covariances_are_those_of_single_fits(kind, effects, family):
    fits, model, Y = samples(kind, effects, family)
    found = estimate_all(model, Y)
    assert list(found.at_bound) == [fit.convergence.at_bound for fit in fits]
    spatial = [v for v, on in ((found.rho, model.lag_y), (found.lam, model.lag_error)) if on]
    degrees = fits[0].df_resid
    scale = model.sample.observations / degrees if degrees else 1.0
    found.cov[:, -1, -1] *= scale**2
    assert np.allclose(
        np.column_stack([found.delta, *spatial, found.sigma2 * scale]), [f.params for f in fits], atol=SAME
    )
    expected = np.stack([fit.cov.to_numpy() for fit in fits])
    assert np.allclose(found.cov * scale, expected, rtol=1e-7, atol=SAME, equal_nan=True)


def test_direct_likelihood_too():
    fits, model, Y = samples("symmetric", "two_way", "SDM", "direct")
    assert np.allclose(estimate_all(model, Y).rho, [fit.params["rho"] for fit in fits], atol=SAME)


@pytest.mark.parametrize("kind", ["symmetric", "asymmetric"])
def test_the_spectrum_gives_w_back(kind):
    matrix = twelve_units(kind).matrix
    P, inverse, omega = spectrum(matrix)
    assert np.allclose(P @ np.diag(omega) @ inverse, matrix.toarray())


def test_inverses_of_matrices_that_have_one():
    good = np.array([[2.0, 1.0], [1.0, 2.0]])
    bad = np.array([[1.0, 2.0], [2.0, 1.0]])
    found = inverses(np.stack([good, bad, np.full((2, 2), np.nan)]))
    assert np.allclose(found[0], np.linalg.inv(good))
    assert np.isnan(found[1:]).all()


@pytest.mark.parametrize("family", ["SAR", "SDM", "SEM", "SDEM"])
def test_the_likelihood_has_fallen_by_the_critical_value_at_the_limits(family):
    """2[ln L(best) − ln L(limit)], from fits of the data filtered with the limit, is the critical value."""
    fits, model, Y = samples("symmetric", "unit", family)
    found = moments(model, Y)
    limits, is_open = ratio_limits(model, found, 3.0)
    for side in (0, 1):
        closed = ~is_open[:, side]
        assert closed.any()
        assert np.allclose(likelihood_ratios(model, found, limits[:, side])[closed], 3.0, atol=1e-7)
    best = np.array([fit.params[fit.spec.spatial_terms[0]] for fit in fits])
    assert np.all((limits[:, 0] < best) & (best < limits[:, 1]))
    assert np.allclose(likelihood_ratios(model, found, best), 0, atol=1e-9)


@pytest.mark.parametrize("critical", [3.0, 30.0, 100.0, 1e3])
def test_a_limit_is_open_exactly_where_the_likelihood_at_the_end_has_not_fallen_that_far(critical):
    _, model, Y = samples("symmetric", "unit", "SAR")
    found = moments(model, Y)
    limits, is_open = ratio_limits(model, found, critical)
    assert limits.shape == is_open.shape == (len(Y), 2)
    for side, end in enumerate(inner_interval(model.logdet.interval)):
        np.testing.assert_array_equal(is_open[:, side], likelihood_ratios(model, found, end) <= critical)
        closed = ~is_open[:, side]
        reached = likelihood_ratios(model, found, np.where(closed, limits[:, side], 0.0))[closed]
        np.testing.assert_allclose(reached, critical, rtol=1e-6)
        assert np.all(limits[~closed, side] == model.logdet.interval[side])


def test_the_likelihood_ratio_is_that_of_the_fits():
    """At zero it is the ratio of the fit to the one without the lag, direct likelihoods of one sample."""
    fits, model, Y = samples("symmetric", "unit", "SAR")
    plain = zb.DurbinSpec("y", ["a"], lag_y=False, lag_x=[], fixed_effects="unit")
    without = [zb.fit_durbin(plain, fit.panel, fit.weights).log_likelihood for fit in fits]
    expected = [2 * (fit.log_likelihood - other) for fit, other in zip(fits, without, strict=True)]
    assert np.allclose(likelihood_ratios(model, moments(model, Y), 0.0), expected, atol=1e-8)
