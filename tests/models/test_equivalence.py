"""Theorems: one model is another one, restricted or rewritten."""

from __future__ import annotations

import linearmodels
import numpy as np
import pandas as pd
import pytest
from dense_oracle import MODELS

import spatial_zb as zb
from spatial_zb import DurbinSpec, Panel, fit_durbin, weights
from spatial_zb.simulate import durbin as simulate_durbin

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

EXACT = 1e-8  # two routes to the same optimum
EFFECTS = ["none", "unit", "time", "two_way"]


@pytest.fixture(scope="module")
def W(delta):
    return weights.contiguity(delta, islands="nearest").standardise("row")


@pytest.fixture(scope="module")
def panel(W):
    beta, theta = {"a": 1.0, "b": -0.5}, {"a": 0.4}
    return simulate_durbin(W, 5, beta, theta=theta, rho=0.3, lam=0.2, rng=1)


def fit(panel, W, model, effects="two_way", x=("a", "b"), lag_x=None, **options):
    lag_y, default, lag_error = MODELS[model]
    lagged = default if lag_x is None else lag_x
    return fit_durbin(DurbinSpec("y", list(x), lag_y, lagged, lag_error, effects), panel, W, **options)


@pytest.mark.parametrize("model", ["SLX", "SDM", "SDEM", "GNS"])
def test_a_lag_of_x_is_a_regressor_made_by_hand(panel, W, model):
    lagged = np.stack([W.matrix @ v for v in panel.array("a")])
    by_hand = panel.with_columns({"Wa": lagged})
    inside = fit(panel, W, model, lag_x=["a"])
    outside = fit(by_hand, W, model, x=("a", "b", "Wa"), lag_x=[])
    np.testing.assert_allclose(inside.params, outside.params, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(inside.cov, outside.cov, rtol=1e-5, atol=1e-9)
    assert inside.log_likelihood == pytest.approx(outside.log_likelihood, abs=EXACT)


@pytest.mark.parametrize("effects", EFFECTS)
def test_a_larger_model_is_never_less_likely(panel, W, effects):
    log_likelihood = {m: fit(panel, W, m, effects).log_likelihood for m in MODELS}
    nested = ["OLS SLX", "OLS SAR", "OLS SEM", "SLX SDM", "SLX SDEM", "SAR SDM", "SAR SAC", "SEM SDEM"]
    nested += ["SEM SAC", "SEM SDM", "SDM GNS", "SDEM GNS", "SAC GNS"]  # SEM is SDM with θ = −ρβ
    for small, large in map(str.split, nested):
        assert log_likelihood[large] >= log_likelihood[small] - EXACT, (small, large)


def test_the_error_model_is_the_durbin_model_with_theta_minus_rho_beta(panel, W):
    """Write the SEM optimum as an SDM: same residuals, hence the same likelihood, and SDM finds no less."""
    sem = fit(panel, W, "SEM")
    d = fit(panel, W, "SDM").design
    rho, beta = sem.params["lam"], sem.params[["a", "b"]].to_numpy()
    durbin = d.y - rho * d.Wy - d.Z @ np.concatenate([beta, -rho * beta])
    np.testing.assert_allclose(durbin, sem.residuals, atol=1e-10)


def test_data_with_theta_minus_rho_beta_gives_the_common_factor_back(W):
    """Generated as SEM with little noise: the SDM estimates satisfy θ̂ ≈ −ρ̂β̂."""
    data = simulate_durbin(
        W, 40, {"a": 1.0, "b": -0.5}, lam=0.5, process=zb.simulate.Process(sigma=0.3), rng=3
    )
    found = fit(data, W, "SDM")
    for x in ("a", "b"):
        gap = found.params[f"W_{x}"] + found.params["rho"] * found.params[x]
        assert abs(gap) < 4 * found.bse[f"W_{x}"]
    assert found.params["rho"] == pytest.approx(0.5, abs=4 * found.bse["rho"])


@pytest.mark.parametrize("effects", EFFECTS)
@pytest.mark.parametrize("estimator", ["lee_yu", "direct"])
def test_without_spatial_lags_it_is_linearmodels_panel_ols(panel, W, effects, estimator):
    found = fit(panel, W, "OLS", effects, estimator=estimator)
    frame = panel.frame().set_index(["unit", "period"])
    exog = frame[["a", "b"]].assign(const=1.0) if effects == "none" else frame[["a", "b"]]
    unit, time = effects in ("unit", "two_way"), effects in ("time", "two_way")
    peer = linearmodels.PanelOLS(frame["y"], exog, entity_effects=unit, time_effects=time).fit(
        cov_type="unadjusted"
    )
    for name in ("a", "b"):
        assert found.params[name] == pytest.approx(peer.params[name], rel=EXACT)
        assert found.bse[name] == pytest.approx(peer.std_errors[name], rel=EXACT)
        assert found.pvalues[name] == pytest.approx(peer.pvalues[name], rel=1e-6, abs=1e-14)
    assert found.sigma2 == pytest.approx(peer.s2, rel=EXACT)


def test_two_way_is_least_squares_with_dummies(panel, W):
    frame = panel.frame()
    dummies = pd.get_dummies(frame[["unit", "period"]].astype(str), dtype=float).iloc[:, 1:]
    lagged = np.concatenate([W.matrix @ v for v in panel.array("a")])
    X = np.column_stack([frame[["a", "b"]], lagged, dummies])
    found = fit(panel, W, "SLX", lag_x=["a"])
    coefficients, residual, rank, _ = np.linalg.lstsq(X, frame["y"].to_numpy(), rcond=None)
    assert rank == X.shape[1]
    np.testing.assert_allclose(found.params.iloc[:3], coefficients[:3], rtol=EXACT)
    assert found.sigma2 == pytest.approx(residual[0] / (len(X) - rank), rel=EXACT)


@pytest.mark.parametrize("model", ["SAR", "SDM", "SEM", "SDEM", "SAC"])
def test_lee_yu_unit_effects_are_direct_ones_with_another_sigma2(panel, W, model):
    """Lee & Yu (2010), section 3.1: same ρ̂, β̂; σ̂² larger by T/(T − 1), variances of β̂ with it."""
    a, b = (fit(panel, W, model, "unit", estimator=e) for e in ("lee_yu", "direct"))
    T = len(panel.periods)
    same = [t for t in a.params.index if t != "sigma2"]
    np.testing.assert_allclose(a.params[same], b.params[same], rtol=1e-7, atol=1e-8)
    assert a.sigma2 / b.sigma2 == pytest.approx(T / (T - 1), rel=EXACT)
    np.testing.assert_allclose(
        a.cov.loc[same, same], b.cov.loc[same, same] * T / (T - 1), rtol=1e-6, atol=1e-12
    )


@pytest.mark.parametrize("model", ["SAR", "SEM", "SDM"])
def test_lee_yu_equals_direct_where_there_is_nothing_to_transform(panel, W, model):
    a, b = (fit(panel, W, model, "none", estimator=e) for e in ("lee_yu", "direct"))
    np.testing.assert_array_equal(a.params, b.params)
    assert a.log_likelihood == b.log_likelihood


def test_two_periods_with_unit_effects_are_the_cross_section_of_differences(W):
    """T = 2: the transform is one difference, so the panel is a cross-section of (y₂ − y₁)/√2."""
    two = simulate_durbin(
        W, 2, {"a": 1.0}, theta={"a": 0.5}, rho=0.4, process=zb.simulate.Process(time_effects=0.0), rng=8
    )
    change = Panel((two.values[1:] - two.values[:1]) / np.sqrt(2), (2,), two.units, two.columns)
    within = fit(two, W, "SDM", "unit", x=("a",))
    d = fit(change, W, "SDM", "none", x=("a",)).design
    e = d.y - within.params["rho"] * d.Wy - d.Z[..., 1:] @ within.params[["a", "W_a"]].to_numpy()
    assert (e**2).sum() / W.n == pytest.approx(within.sigma2, rel=EXACT)
    assert within.nobs == W.n


def test_cross_section_is_a_panel_of_one_period(panel, W):
    one = panel.select(periods=[2003])
    found = fit(one, W, "SDM", "none")
    assert found.nobs == W.n
    assert "(Intercept)" in found.params


def test_time_effects_of_one_common_period_shock_do_not_matter(panel, W):
    """Adding a constant to y in one period, or to a unit in all periods, changes no two-way estimate."""
    y = panel.array("y").copy()
    y[2] += 50
    y[:, 7] -= 30
    moved = panel.with_columns({"y": y})
    for model in ("SAR", "SDM", "SEM", "SAC"):
        np.testing.assert_allclose(
            fit(moved, W, model).params, fit(panel, W, model).params, rtol=1e-6, atol=1e-7
        )


def test_weights_without_normalisation_only_rescale_rho(panel, W):
    """cW with ρ/c: the same model, the same likelihood."""
    from dataclasses import replace

    small = replace(W, matrix=W.matrix / 4, normalisation="none")
    for model in ("SAR", "SEM", "SAC"):
        a, b = fit(panel, W, model, "unit"), fit(panel, small, model, "unit")
        assert b.log_likelihood == pytest.approx(a.log_likelihood, abs=1e-7)
        for term in ("rho", "lam"):
            if term in a.params:
                assert b.params[term] == pytest.approx(4 * a.params[term], rel=1e-6)
