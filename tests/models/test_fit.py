"""What a fit tells: names, tables, limits, and agreement between its faces."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest
from dense_oracle import MODELS
from scipy import stats

from spatial_zb import DurbinSpec, fit_durbin, weights
from spatial_zb.simulate import durbin as simulate_durbin

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

TIDY = ["term", "estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high"]


@pytest.fixture(scope="module", params=MODELS)
def fit(request, delta):
    W = weights.contiguity(delta, islands="nearest").standardise("row")
    panel = simulate_durbin(W, 4, {"a": 1.0, "b": -0.5}, rho=0.3, rng=4)
    lag_y, lag_x, lag_error = MODELS[request.param]
    return fit_durbin(DurbinSpec("y", ["a", "b"], lag_y, lag_x, lag_error), panel, W)


def test_names_of_parameters(fit):
    expected = ["a", "b", *(["W_a", "W_b"] if fit.spec.lag_x else [])]
    expected += ["rho"] * fit.spec.lag_y + ["lam"] * fit.spec.lag_error + ["sigma2"]
    assert list(fit.params.index) == list(fit.cov.index) == list(fit.cov.columns) == expected
    assert fit.glance()["model"].item() == fit.spec.family


def test_tidy_is_made_of_the_parameters_and_their_covariance(fit):
    table = fit.tidy()
    assert list(table.columns) == TIDY
    np.testing.assert_array_equal(table["estimate"], fit.params)
    np.testing.assert_allclose(table["std_error"] ** 2, np.diag(fit.cov))
    law = stats.norm if fit.df_resid is None else stats.t(fit.df_resid)
    z = table["estimate"] / table["std_error"]
    np.testing.assert_allclose(table["p_value"], 2 * law.sf(np.abs(z)))
    np.testing.assert_allclose(table["conf_high"] - table["estimate"], law.ppf(0.975) * table["std_error"])
    wide, narrow = fit.conf_int(0.01), fit.conf_int(0.2)
    assert (wide["conf_low"] < narrow["conf_low"]).all()


def test_the_covariance_is_symmetric_and_positive_definite(fit):
    np.testing.assert_allclose(fit.cov, fit.cov.T, atol=1e-14)
    assert np.linalg.eigvalsh(fit.cov).min() > 0


def test_information_criteria_count_parameters(fit):
    k = len(fit.params)
    assert fit.aic == pytest.approx(2 * k - 2 * fit.log_likelihood)
    assert fit.bic == pytest.approx(k * np.log(fit.nobs) - 2 * fit.log_likelihood)
    assert fit.nobs == 40 * 3


def test_residuals_sum_to_zero_over_units_and_periods_and_give_sigma2(fit):
    assert fit.residuals.shape == (4, 41)
    np.testing.assert_allclose(fit.residuals.sum(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(fit.residuals.sum(axis=1), 0, atol=1e-9)
    denominator = fit.df_resid or fit.nobs
    assert (fit.residuals**2).sum() / denominator == pytest.approx(fit.sigma2, rel=1e-9)


def test_the_gradient_vanishes(fit):
    assert fit.converged
    assert fit.convergence.gradient < 1e-6


def test_statsmodels_names(fit):
    assert fit.llf == fit.log_likelihood
    np.testing.assert_array_equal(fit.resid, fit.residuals)
    np.testing.assert_allclose(fit.tvalues, fit.params / fit.bse)
    assert list(fit.pvalues.index) == list(fit.params.index)


def test_summary_names_the_model_and_every_term(fit):
    text = fit.summary()
    assert text.startswith(fit.spec.family)
    assert all(term in text for term in fit.params.index)
    assert "n.c." not in text


def test_a_fit_is_frozen_and_survives_pickling(fit):
    with pytest.raises(AttributeError):
        fit.nobs = 3
    again = pickle.loads(pickle.dumps(fit))
    pd.testing.assert_series_equal(again.params, fit.params)
    assert again.log_likelihood == fit.log_likelihood


def test_within_r_squared_is_one_less_the_unexplained_share(fit):
    share = (fit.residuals**2).sum() / (fit.design.y**2).sum()
    assert fit.r2_within == pytest.approx(1 - share)


def test_convergence_is_a_record_that_is_read_by_its_old_keys_for_one_release(fit):
    assert (fit.convergence.converged, fit.convergence.at_bound, fit.convergence.regimes) == (True, False, ())
    with pytest.warns(DeprecationWarning, match=r"is now fit\.convergence\.at_bound"):
        assert fit.convergence["at_bound"] is False
    with pytest.raises(KeyError):
        fit.convergence["shape"]
    with pytest.raises(FrozenInstanceError):
        fit.convergence.converged = False
