"""fit_durbin against the dense likelihood: estimates, ln L, observed and expected information."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from dense_oracle import MODELS, dense_system
from small_examples import directed_knn, unequal_circle

import spatial_zb as zb
from spatial_zb import DurbinSpec, SpecificationError, fit_durbin
from spatial_zb.simulate import durbin as simulate_durbin

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

SPATIAL = ["SAR", "SDM", "SEM", "SDEM", "SAC", "GNS"]
EFFECTS = ["none", "unit", "time", "two_way"]
SEED = 4
#: The search is polished by Newton's method; what is left is the rounding of its Hessian.
PARAMS, LIKELIHOOD, COVARIANCE = 1e-6, 1e-8, 1e-6


W_OF = {
    "knn": directed_knn(9, seed=5),
    "row": unequal_circle(6, "row"),
    "spectral": unequal_circle(6, "spectral"),
    "none": unequal_circle(7, "none"),
    "minmax": unequal_circle(6, "minmax"),
}
CASES = [
    pytest.param(estimator, w, effects, model, id=f"{estimator}-{w}-{effects}-{model}")
    for estimator, ws, kinds in (
        ("lee_yu", ["knn"], EFFECTS),
        ("lee_yu", ["none"], ["none", "unit"]),
        ("direct", ["row"], ["unit", "time", "two_way"]),
        ("direct", ["spectral"], ["unit"]),
        ("direct", ["minmax"], ["time", "two_way"]),
    )
    for w in ws
    for effects in kinds
    for model in (SPATIAL if w != "minmax" else ["SAR", "SDM"])
]


def sample(w: str, model: str = "SDM"):
    """Data of the model itself; small, since the oracle is slow; little noise, for an interior maximum."""
    W = W_OF[w]
    lag_y, lag_x, lag_error = MODELS[model]
    theta = {"a": 0.6 / W.matrix.sum() * W.n, "b": 0.4 / W.matrix.sum() * W.n} if lag_x else {}
    rho, lam = (share * W.logdet.interval[1] for share in (0.3 * lag_y, 0.2 * lag_error))
    beta = {"a": 1.0, "b": -0.7}
    return W, simulate_durbin(
        W, 4, beta, theta=theta, rho=rho, lam=lam, process=zb.simulate.Process(sigma=0.3), rng=SEED
    )


def spec_of(model: str, effects: str) -> DurbinSpec:
    lag_y, lag_x, lag_error = MODELS[model]
    return DurbinSpec("y", ["a", "b"], lag_y, lag_x, lag_error, effects)


@pytest.mark.parametrize(("estimator", "w", "effects", "model"), CASES)
def test_equals_the_dense_likelihood(estimator, w, effects, model):
    W, panel = sample(w, model)
    dense = dense_system(panel, W, ["a", "b"], model, effects, estimator)
    theta, log_likelihood = dense.maximise()
    kept = [*theta[: dense.k], *theta[dense.Z.shape[1] :]]
    observed = fit_durbin(spec_of(model, effects), panel, W, estimator, covariance="hessian")
    assert observed.converged
    np.testing.assert_allclose(observed.params, kept, rtol=PARAMS, atol=PARAMS)
    assert observed.log_likelihood == pytest.approx(log_likelihood, abs=LIKELIHOOD)
    assert observed.nobs == len(dense.y)
    expected = dense.reported(np.linalg.inv(-dense.hessian(theta)))
    close_covariance(observed.cov, expected)
    information = fit_durbin(spec_of(model, effects), panel, W, estimator, covariance="information")
    close_covariance(information.cov, dense.reported(np.linalg.inv(dense.expected_information(theta))))


@pytest.mark.parametrize("model", ["SEM", "SAC"])
def test_direct_error_models_with_time_effects_need_a_row_normalised_W(model):
    """u = y − ρWy − Zδ − α_t ι is filtered by B, so that ε has α_t Bι in it, which is no multiple of ι: demeaning
    would fit another model, whose likelihood is not the dense one."""
    W, panel = sample("minmax", model)
    with pytest.raises(SpecificationError, match=r"spatial error.*row-normalised"):
        fit_durbin(spec_of(model, "time"), panel, W, "direct")


def close_covariance(found: pd.DataFrame, expected: np.ndarray) -> None:
    """Same to a share of the standard errors: an element may be zero."""
    sizes = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(
        found.to_numpy() / np.outer(sizes, sizes), expected / np.outer(sizes, sizes), atol=COVARIANCE
    )


def test_the_oracle_can_tell_models_apart():
    """The same oracle with another model gives another answer: the comparison above is able to fail."""
    W, panel = sample("knn")
    right = dense_system(panel, W, ["a", "b"], "SDM", "two_way").maximise()[1]
    naive = dense_system(panel, W, ["a", "b"], "SDM", "two_way", "direct").maximise()[1]
    fit = fit_durbin(spec_of("SDM", "two_way"), panel, W)
    assert fit.log_likelihood == pytest.approx(right, abs=LIKELIHOOD)
    assert abs(fit.log_likelihood - naive) > 1


@pytest.mark.parametrize("estimator", ["lee_yu", "direct"])
@pytest.mark.parametrize("model", ["OLS", "SLX"])
@pytest.mark.parametrize("effects", EFFECTS)
def test_without_a_spatial_lag_the_likelihood_is_that_of_least_squares(effects, model, estimator):
    W, panel = sample("knn")
    dense = dense_system(panel, W, ["a", "b"], model, effects, estimator)
    delta = np.linalg.lstsq(dense.Z, dense.y, rcond=None)[0]
    e = dense.y - dense.Z @ delta
    fit = fit_durbin(spec_of(model, effects), panel, W, estimator)
    np.testing.assert_allclose(fit.params.iloc[: dense.k], delta[: dense.k], rtol=1e-10)
    N = len(e)
    assert fit.log_likelihood == pytest.approx(-N / 2 * (np.log(2 * np.pi * e @ e / N) + 1), abs=1e-9)
    df = panel.array("y").size - np.linalg.matrix_rank(
        dense_system(panel, W, ["a", "b"], model, effects, "direct").Z
    )
    assert fit.df_resid == df
    assert fit.sigma2 == pytest.approx(e @ e / df, rel=1e-10)
