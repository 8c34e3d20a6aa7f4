"""A small Monte Carlo: the two-way SDM on the 41 cities over 13 periods finds the truth it was given."""

from __future__ import annotations

import numpy as np
import pytest

from spatial_zb import DurbinSpec, fit_durbin, spatial_effects, weights
from spatial_zb.simulate import durbin as simulate_durbin

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

REPLICATIONS = 150
TRUTH = {"x": 1.0, "W_x": 0.5, "rho": 0.3, "sigma2": 1.0}


@pytest.fixture(scope="module")
def draws(delta):
    """Estimates and standard errors, (replications, 2, terms), with the total effect as last term."""
    W = weights.contiguity(delta, islands="nearest").standardise("row")
    spec = DurbinSpec("y", ["x"])
    out = []
    for seed in range(REPLICATIONS):
        panel = simulate_durbin(W, 13, {"x": 1.0}, theta={"x": 0.5}, rho=0.3, rng=[5, seed])
        fit = fit_durbin(spec, panel, W)
        total = spatial_effects(fit).tidy().iloc[2]
        out.append(
            [[*fit.params[list(TRUTH)], total["estimate"]], [*fit.bse[list(TRUTH)], total["std_error"]]]
        )
    return np.array(out)


@pytest.mark.parametrize("position", range(5), ids=[*TRUTH, "total"])
def test_unbiased_and_covered(draws, position):
    true = [*TRUTH.values(), 1.5 / 0.7][position]
    estimate, error = draws[:, 0, position], draws[:, 1, position]
    noise = estimate.std() / np.sqrt(REPLICATIONS)
    assert abs(estimate.mean() - true) < 4 * noise + 0.02  # Monte Carlo noise, and a bias of order 1/(nT)
    coverage = np.mean(np.abs(estimate - true) < 1.96 * error)
    assert abs(coverage - 0.95) < 4 * np.sqrt(0.95 * 0.05 / REPLICATIONS)
    assert error.mean() == pytest.approx(estimate.std(), rel=0.25)  # 4 s.e. of a standard deviation


def test_direct_ml_with_time_effects_is_biased(delta):
    """Why the default is not direct ML (Lee & Yu 2010): with dense W the bias is several standard errors."""
    W = weights.inverse_distance(delta).standardise("row")
    spec = DurbinSpec("y", ["x"], lag_x=[])
    found = {"lee_yu": [], "direct": []}
    for seed in range(40):
        panel = simulate_durbin(W, 13, {"x": 1.0}, rho=0.3, rng=[6, seed])
        for estimator, values in found.items():
            values.append(fit_durbin(spec, panel, W, estimator).params["rho"])
    noise = np.std(found["lee_yu"]) / np.sqrt(40)
    assert abs(np.mean(found["lee_yu"]) - 0.3) < 4 * noise + 0.05
    assert np.mean(found["direct"]) < 0.3 - 4 * noise
