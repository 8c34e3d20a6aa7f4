"""Who leads whom: likelihood ratios against separate fits, and p-values from panels drawn under the null."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from small_examples import directed_knn

import spatial_zb as zb
from spatial_zb.hypotheses.nested import likelihood_ratio

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")

SPEC = zb.SystemSpec(
    {"industry": zb.Equation("ind", x=["x"]), "talent": zb.Equation("tal")}, time_lag=True, lag_time_lag=True
)
TRUTH = {
    ("industry", "L_ind"): 0.5,
    ("talent", "L_tal"): 0.4,
    ("talent", "L_ind"): 0.3,
    ("talent", "L_W_ind"): 0.3,
}


@pytest.fixture(scope="module")
def W():
    return directed_knn(24)


@pytest.fixture(scope="module")
def panel(W):
    return zb.simulate.system(SPEC, W, 12, TRUTH, rng=6)


@pytest.fixture(scope="module")
def fit(W, panel):
    return zb.fit_system(SPEC, panel, W, covariance="cluster")


def test_the_ratio_is_that_of_two_separate_fits(fit, W, panel):
    found = zb.granger(fit).tidy().set_index(["source", "response", "part"])
    lags = {"own": {"time_lag": ["tal"]}, "neighbours": {"lag_time_lag": ["tal"]}}
    lags["both"] = lags["own"] | lags["neighbours"]
    for part, change in lags.items():
        equations = dict(SPEC.equations) | {"talent": replace(SPEC.equations["talent"], **change)}
        small = zb.fit_system(replace(SPEC, equations=equations), panel, W)
        (row,) = likelihood_ratio(small, fit).rows
        mine = found.loc[("industry", "talent", part)]
        assert mine["ratio"] == pytest.approx(row.statistic, abs=1e-6)
        assert mine["p_ratio"] == pytest.approx(row.p_value, abs=1e-8)
        assert mine["df"] == (2 if part == "both" else 1)


def test_the_direction_that_is_there_is_found_and_the_other_is_not(fit):
    found = zb.granger(fit).tidy().set_index(["source", "response", "part"])
    assert found.loc[("industry", "talent", "both"), "p_value"] < 0.001
    assert found.loc[("industry", "talent", "both"), "p_cluster"] < 0.01
    assert found.loc[("talent", "industry", "both"), "p_value"] > 0.05


def test_f_is_that_of_the_curvature(fit, W, panel):
    """By the covariance of a fit with information errors; N observations and the terms of one equation."""
    row = zb.granger(fit).tidy().set_index(["source", "response", "part"]).loc[("industry", "talent", "both")]
    plain = zb.fit_system(SPEC, panel, W, covariance="information")
    names = [("talent", "L_ind"), ("talent", "L_W_ind")]
    value, V = plain.params[names].to_numpy(), plain.cov.loc[names, names].to_numpy()
    N, k = 23 * 10, len(SPEC.terms("talent"))
    F = value @ np.linalg.solve(V, value) * (N - k) / N / 2
    assert row["statistic"] == pytest.approx(F, rel=1e-6)
    assert row["df_denominator"] == N - k
    assert row["p_value"] == pytest.approx(stats.f.sf(F, 2, N - k), rel=1e-5)


def test_the_wald_test_is_that_of_the_clustered_covariance(fit):
    row = zb.granger(fit).tidy().set_index(["source", "response", "part"]).loc[("industry", "talent", "both")]
    names = [("talent", "L_ind"), ("talent", "L_W_ind")]
    value, V, n = fit.params[names].to_numpy(), fit.cov.loc[names, names].to_numpy(), 24
    wald = value @ np.linalg.solve(V, value)
    assert row["f_cluster"] == pytest.approx(wald * (n - 2) / (2 * (n - 1)))
    assert row["p_cluster"] == pytest.approx(stats.f.sf(row["f_cluster"], 2, n - 2))
    again = zb.granger(replace(fit, covariance="information")).tidy()
    assert again["p_cluster"].tolist() == pytest.approx(zb.granger(fit).tidy()["p_cluster"].tolist())


def test_names_in_both_languages(fit):
    table = zb.granger(fit)
    assert table.tidy("zh")["test"].iloc[0] == "talent → industry：本地区"
    assert len(table) == 6


def test_p_values_from_panels_under_the_null():
    W = directed_knn(12)
    few = {"a": zb.Equation("a", lag_y=False, time_lag=["a"]), "b": zb.Equation("b", lag_y=False)}
    spec = zb.SystemSpec(few, time_lag=True)
    panel = zb.simulate.system(spec, W, 14, {("a", "L_a"): 0.4, ("b", "L_a"): 0.8}, rng=1)
    fit = zb.fit_system(spec, panel, W)
    (row,) = zb.granger(fit, replicates=99, rng=2).rows
    assert row.test == "a → b: own city"
    assert row.p_bootstrap == pytest.approx(0.01)
    null = zb.simulate.system(spec, W, 14, {("a", "L_a"): 0.4}, rng=3)
    found = zb.granger(zb.fit_system(spec, null, W), replicates=99, rng=2)
    assert found.rows[0].p_bootstrap > 0.05
    assert found.tidy()["p_bootstrap"].iloc[0] == found.rows[0].p_bootstrap


def test_where_little_of_the_correction_is_carried_there_is_no_ratio(fit):
    less = replace(fit, convergence=replace(fit.convergence, weight=0.25))
    found = zb.granger(less).tidy()
    assert found["ratio"].isna().all()
    assert found[["p_value", "p_cluster"]].notna().all(axis=None)
    assert found["note"].str.contains("correction").all()


def test_refusals(fit, W, panel):
    alone = zb.fit_system(zb.SystemSpec({"a": zb.Equation("ind")}, time_lag=True), panel, W)
    with pytest.raises(zb.SpecificationError, match="nothing to test"):
        zb.granger(alone)
    with pytest.raises(zb.SpecificationError, match="fit_system"):
        zb.granger("fit")
    with pytest.raises(zb.SpecificationError, match="unit"):
        zb.granger(fit, replicates=99, scheme="unit")
    with pytest.raises(zb.SpecificationError, match="replicates"):
        zb.granger(fit, replicates=5)
