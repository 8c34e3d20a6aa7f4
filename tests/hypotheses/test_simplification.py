"""May the SDM be simplified: the same numbers as the chain of tests, and as the definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import spatial_zb as zb
from spatial_zb.base.errors import ConvergenceError, SpecificationError
from spatial_zb.hypotheses.nested import likelihood_ratio_of

BETA, THETA = {"x": 1.0, "z": -0.5}, {"x": 0.4, "z": 0.2}


@pytest.fixture(scope="module")
def case(delta):
    W = zb.weights.contiguity(delta, islands="nearest").standardise("row")
    return zb.DurbinSpec("y", ["x", "z"]), zb.simulate.durbin(W, 8, BETA, theta=THETA, rho=0.3, rng=4), W


def test_rows_equal_the_chain_of_tests(case):
    spec, panel, W = case
    chain = zb.diagnose(spec, panel, W).tidy().set_index("test")
    found = zb.tests.simplification_tests(zb.fit_durbin(spec, panel, W)).tidy().set_index("test")
    assert list(found.index) == ["Wald SDM to SAR", "LR SDM to SAR", "Wald SDM to SEM", "LR SDM to SEM"]
    for column in ("statistic", "df", "p_value"):
        np.testing.assert_allclose(found[column], chain.loc[found.index, column].astype(float), rtol=1e-9)


def test_likelihood_ratios_and_wald_by_their_definitions(case):
    spec, panel, W = case
    fit = zb.fit_durbin(spec, panel, W)
    sar = zb.fit_durbin(zb.DurbinSpec("y", ["x", "z"], lag_x=[]), panel, W)
    found = zb.tests.simplification_tests(fit).tidy().set_index("test")
    assert found.loc["LR SDM to SAR", "statistic"] == pytest.approx(
        2 * (fit.log_likelihood - sar.log_likelihood), rel=1e-9
    )
    theta, V = fit.params[["W_x", "W_z"]], fit.cov.loc[["W_x", "W_z"], ["W_x", "W_z"]]
    wald = theta @ np.linalg.inv(V) @ theta
    assert found.loc["Wald SDM to SAR", "statistic"] == pytest.approx(wald, rel=1e-8)
    N, left = 40 * 7, 40 * 7 - 4  # what two-way effects leave, less the coefficients
    p = found["p_value"]
    assert p["Wald SDM to SAR"] == pytest.approx(stats.f.sf(wald / 2 * left / N, 2, left), rel=1e-7)
    assert p["LR SDM to SAR"] == pytest.approx(
        stats.chi2.sf(found.loc["LR SDM to SAR", "statistic"] * left / N, 2), rel=1e-7
    )


def test_wald_is_as_robust_as_the_errors_of_the_fit(case):
    spec, panel, W = case
    plain, robust = (
        zb.tests.simplification_tests(zb.fit_durbin(spec, panel, W, covariance=c))
        .tidy()
        .set_index("test")["statistic"]
        for c in ("information", "cluster")
    )
    assert robust["LR SDM to SEM"] == pytest.approx(plain["LR SDM to SEM"], rel=1e-9)
    assert abs(robust["Wald SDM to SEM"] / plain["Wald SDM to SEM"] - 1) > 0.01


def test_clustered_wald_is_hotelling_of_as_many_units(case):
    """Not F of all cells: at eleven units that rejected 12–17 % of true restrictions under correlated errors."""
    spec, panel, W = case
    fit = zb.fit_durbin(spec, panel, W, covariance="cluster")
    row = zb.tests.simplification_tests(fit).row("Wald SDM to SAR")
    theta, V = fit.params[["W_x", "W_z"]], fit.cov.loc[["W_x", "W_z"], ["W_x", "W_z"]]
    wald, n = theta @ np.linalg.inv(V) @ theta, 41
    assert row.statistic == pytest.approx(wald, rel=1e-8)
    assert row.p_value == pytest.approx(stats.f.sf(wald * (n - 2) / (2 * (n - 1)), 2, n - 2), rel=1e-7)


def test_a_partial_durbin_model_holds_no_error_model(case):
    _, panel, W = case
    partial = zb.fit_durbin(zb.DurbinSpec("y", ["x", "z"], lag_x=["x"]), panel, W)
    found = zb.tests.simplification_tests(partial).tidy().set_index("test")
    assert found.loc["Wald SDM to SAR", "df"] == 1
    assert found.loc[["Wald SDM to SEM", "LR SDM to SEM"], ["statistic", "p_value"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("changes", "estimator"),
    [
        ({"lag_y": False}, "lee_yu"),
        ({"lag_x": []}, "lee_yu"),
        ({}, "gmm"),
        ({"fixed_effects": "random"}, "lee_yu"),
    ],
)
def test_other_fits_are_refused(case, changes, estimator):
    _, panel, W = case
    fit = zb.fit_durbin(zb.DurbinSpec("y", ["x", "z"], **changes), panel, W, estimator)
    with pytest.raises(SpecificationError, match="converged SDM"):
        zb.tests.simplification_tests(fit)


def test_a_larger_model_below_the_smaller_is_said_and_not_clamped(case):
    spec, panel, W = case
    larger = zb.fit_durbin(spec, panel, W)
    smaller = zb.fit_durbin(zb.DurbinSpec("y", ["x", "z"], lag_x=[]), panel, W)
    with pytest.raises(ConvergenceError, match="not at its maximum"):
        likelihood_ratio_of(smaller, larger)


def test_panels_of_any_shape_have_the_wald_tests(case):
    """Those of the likelihood on a complete panel; LR says that there is no likelihood; a system has other tests."""
    spec, panel, W = case
    same = zb.weights.by_period(dict.fromkeys(panel.periods, W), absent="keep")
    fit = zb.fit_durbin(spec, panel, same)
    found, usual = (zb.tests.simplification_tests(f).tidy() for f in (fit, zb.fit_durbin(spec, panel, W)))
    for column in ("statistic", "df", "p_value"):
        np.testing.assert_allclose(found[column].iloc[[0, 2]], usual[column].iloc[[0, 2]], rtol=1e-7)
    assert found["statistic"].iloc[[1, 3]].isna().all()
    assert found["note"].iloc[[1, 3]].str.contains("no likelihood").all()
    with pytest.raises(SpecificationError, match="simplification_tests"):
        zb.tests.restriction_tests(fit)
