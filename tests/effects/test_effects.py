"""Effects against the dense inverse, delta errors against differences, simulation against delta."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from dense_oracle import MODELS

import spatial_zb as zb
from spatial_zb import (
    ConvergenceError,
    DataError,
    DurbinSpec,
    SpecificationError,
    effect_matrix,
    effects_by_order,
    effects_by_unit,
    effects_path,
    fit_durbin,
    spatial_effects,
    weights,
)
from spatial_zb.simulate import durbin as simulate_durbin

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

CASES = [
    ("SAR", [], "row"),
    ("SDM", "all", "row"),
    ("SDM", ["b"], "row"),
    ("SDM", "all", "spectral"),
    ("SDM", ["a"], "none"),
    ("SDM", "all", "minmax"),
    ("SAC", [], "none"),
    ("SLX", "all", "none"),
    ("SLX", ["a"], "row"),
    ("SDEM", "all", "spectral"),
    ("SEM", [], "row"),
    ("OLS", [], "row"),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda c: f"{c[0]}-{'+'.join(c[1]) or 'no'}-{c[2]}")
def fit(request, delta):
    model, lag_x, how = request.param
    W = weights.contiguity(delta.iloc[:20], islands="nearest").standardise(how)
    scale = W.logdet.interval[1]
    theta = dict.fromkeys(["a", "b"] if lag_x == "all" else lag_x, 0.4 * scale)
    panel = simulate_durbin(
        W,
        20,
        {"a": 1.0, "b": -0.5},
        theta=theta,
        rho=0.3 * scale,
        process=zb.simulate.Process(sigma=0.1, time_effects=0),
        rng=2,
    )
    lag_y, _, lag_error = MODELS[model]
    return fit_durbin(DurbinSpec("y", ["a", "b"], lag_y, lag_x, lag_error, "unit"), panel, W)


def dense(fit, params: pd.Series, term: str) -> np.ndarray:
    W = fit.weights.matrix.toarray()
    n = len(W)
    inverse = np.linalg.inv(np.eye(n) - params.get("rho", 0.0) * W)
    E = inverse @ (params[term] * np.eye(n) + params.get(f"W_{term}", 0.0) * W)
    return E


def averages(E: np.ndarray) -> np.ndarray:
    n = len(E)
    direct, total = np.trace(E) / n, E.sum() / n
    return np.array([direct, total - direct, total])


def test_estimates_equal_the_dense_inverse(fit):
    table = spatial_effects(fit).tidy()
    assert list(table["effect"]) == ["direct", "indirect", "total"] * 2
    for term in ("a", "b"):
        found = table.loc[table["term"] == term, "estimate"]
        np.testing.assert_allclose(found, averages(dense(fit, fit.params, term)), rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(effect_matrix(fit, term), dense(fit, fit.params, term), atol=1e-9)


def test_delta_errors_equal_differences_of_the_dense_effects(fit):
    table = spatial_effects(fit).tidy().set_index(["term", "effect"])["std_error"]
    for term in ("a", "b"):
        jacobian = []
        for name in fit.params.index:
            h = 1e-6 * max(1.0, abs(fit.params[name]))
            up, down = fit.params.copy(), fit.params.copy()
            up[name] += h
            down[name] -= h
            jacobian.append((averages(dense(fit, up, term)) - averages(dense(fit, down, term))) / (2 * h))
        J = np.array(jacobian).T
        expected = np.sqrt(np.diag(J @ fit.cov.to_numpy() @ J.T))
        np.testing.assert_allclose(table[term], expected, rtol=1e-5, atol=1e-9)


def test_simulated_errors_are_near_the_delta_errors(fit):
    """Both linearise the same where errors are small, as in these data; quartiles of 1,000 draws know them to 4 %."""
    delta = spatial_effects(fit).tidy()
    drawn = spatial_effects(fit, "simulate", draws=1000, rng=1).tidy()
    np.testing.assert_array_equal(drawn["estimate"], delta["estimate"])  # never the mean of draws
    some = delta["std_error"] > 1e-12
    np.testing.assert_allclose(drawn["std_error"][some], delta["std_error"][some], rtol=0.15)
    again = spatial_effects(fit, "simulate", draws=1000, rng=1).tidy()
    pd.testing.assert_frame_equal(drawn, again)
    assert (drawn["conf_low"] <= drawn["conf_high"]).all()
    assert (drawn["p_value"][some] > 0).all()
    assert drawn["p_value"][~some].isna().all()


def test_orders_add_up_to_the_effects(fit):
    table = effects_by_order(fit, orders=80)
    last = table[table["order"] == 80].set_index(["term", "effect"])["cumulative"]
    whole = spatial_effects(fit).tidy().set_index(["term", "effect"])["estimate"]
    np.testing.assert_allclose(last.loc[whole.index], whole, rtol=1e-6, atol=1e-8)


def test_unit_effects_average_to_the_effects(fit):
    whole = spatial_effects(fit).tidy().set_index(["term", "effect"])["estimate"]
    for term in ("a", "b"):
        units = effects_by_unit(fit, term)
        assert units["direct"].mean() == pytest.approx(whole[term, "direct"], abs=1e-9)
        assert units["received"].mean() == pytest.approx(whole[term, "indirect"], abs=1e-9)
        assert units["emitted"].mean() == pytest.approx(whole[term, "indirect"], abs=1e-9)
        assert list(units.index) == list(fit.panel.units)


def test_without_rho_and_theta_there_is_no_spillover(fit):
    if fit.spec.lag_y:
        pytest.skip("ρ spreads every effect")
    table = spatial_effects(fit).tidy().set_index(["term", "effect"])
    for term in ("a", "b"):
        assert table.loc[(term, "direct"), "estimate"] == fit.params[term]
        assert table.loc[(term, "direct"), "std_error"] == pytest.approx(fit.bse[term], rel=1e-10)
        if term not in fit.spec.lag_x:
            assert table.loc[(term, "indirect"), "estimate"] == 0


@pytest.mark.parametrize("other", [None, "SAR"])
def test_what_is_no_fit_is_refused(other):
    for call in (
        spatial_effects,
        effects_by_order,
        lambda f: effects_by_unit(f, "a"),
        lambda f: effect_matrix(f, "a"),
        effects_path,
    ):
        with pytest.raises(
            SpecificationError, match=f"takes a fit of fit_durbin.*not {type(other).__name__}"
        ):
            call(other)


def test_refusals(fit):
    with pytest.raises(SpecificationError, match="delta"):
        spatial_effects(fit, "bootstrapped")
    for draws in (10, 200.5, "many"):
        with pytest.raises(SpecificationError, match="100"):
            spatial_effects(fit, "simulate", draws=draws)
    for rng in (-1, "seed", 1.5):
        with pytest.raises(SpecificationError, match="rng must be"):
            spatial_effects(fit, "simulate", rng=rng)
    for level in (0, 1, 5, 95):
        with pytest.raises(SpecificationError, match="confidence level"):
            spatial_effects(fit, level=level)
    with pytest.raises(DataError, match=r"'c'.*a, b"):
        effect_matrix(fit, "c")


def test_a_fit_at_the_bound_has_no_effects(delta):
    from dataclasses import replace

    W = weights.contiguity(delta.iloc[:20], islands="nearest").standardise()
    panel = simulate_durbin(W, 5, {"a": 1.0}, rng=2)
    good = fit_durbin(DurbinSpec("y", ["a"], True, [], False, "unit"), panel, W)
    bad = replace(good, cov=good.cov * np.nan, convergence=replace(good.convergence, converged=False))
    for method in ("delta", "simulate", "fieller"):
        with pytest.warns(zb.SpatialZbWarning, match="did not converge"):
            found = spatial_effects(bad, method, rng=1)
        assert np.isnan(found.columns).all()
        assert "did not converge" in found.tidy()["reason"].iloc[0]
    for ask in (lambda: effects_by_unit(bad, "a"), lambda: effects_by_order(bad)):
        with pytest.raises(ConvergenceError, match="did not converge"):
            ask()
