"""Simulated panels: what no process has is refused, whatever function draws it; moments are those of theory."""

from __future__ import annotations

import numpy as np
import pytest
from small_examples import circle, directed_knn

import spatial_zb as zb
from spatial_zb import AlignmentError, DataError, DurbinSpec, Equation, SpecificationError, SystemSpec
from spatial_zb.simulate import durbin as simulate_durbin
from spatial_zb.simulate import panel as simulate_panel
from spatial_zb.simulate import power as power_study
from spatial_zb.simulate import system as simulate_system

W = circle(8)
SPEC = DurbinSpec("y", ["a"], fixed_effects="unit")
SYSTEM = SystemSpec({"p": Equation("p", endog=["q"], x=["a"]), "q": Equation("q", endog=["p"], x=["b"])})


@pytest.mark.parametrize("value", [1.0, 1.5, -1.01])
@pytest.mark.parametrize("name", ["rho", "lam"])
def test_no_process_has_a_coefficient_outside_the_interval(name, value):
    """I − W is singular for a row-normalised W; what rounding leaves of it gave numbers of 1e16."""
    error_model = DurbinSpec("y", ["a"], lag_y=name == "rho", lag_error=name == "lam", fixed_effects="unit")
    with pytest.raises(SpecificationError, match="admissible interval"):
        simulate_durbin(W, 3, {"a": 1.0}, rng=0, **{name: value})
    with pytest.raises(SpecificationError, match="admissible interval"):
        simulate_panel(error_model, W, 3, {name: value}, rng=0)
    with pytest.raises(SpecificationError, match="admissible interval"):
        power_study(error_model, W, 3, {name: value}, replicates=20, rng=0)


def test_the_interval_is_that_of_the_eigenvalues():
    """Unscaled weights of a circle: 1/ω is ±0.5."""
    raw = circle(8).matrix * 2
    wide = type(W)(raw, W.ids, "raw")
    assert simulate_durbin(wide, 3, {"a": 1.0}, rho=-0.49, rng=0).values.shape == (3, 8, 2)
    with pytest.raises(SpecificationError, match=r"-0.500, 0.500"):
        simulate_durbin(wide, 3, {"a": 1.0}, rho=-0.51, rng=0)


REFUSED = {
    "theta of a stranger": (lambda: simulate_durbin(W, 3, {"a": 1.0}, theta={"b": 1.0}), ["theta", "b"]),
    "no period": (lambda: simulate_durbin(W, 0, {"a": 1.0}), ["periods", "1"]),
    "half a period": (lambda: simulate_panel(SPEC, W, 2.5, {}), ["periods", "2.5"]),
    "negative burn-in": (
        lambda: simulate_durbin(W, 3, {"a": 1.0}, process=zb.simulate.Process(tau=0.5, burn_in=-1)),
        ["burn_in"],
    ),
    "negative deviation": (
        lambda: simulate_durbin(W, 3, {"a": 1.0}, process=zb.simulate.Process(sigma=-1.0)),
        ["sigma"],
    ),
    "a blank coefficient": (lambda: simulate_durbin(W, 3, {"a": np.nan}), ["a", "nan"]),
    "a blank rho": (lambda: simulate_durbin(W, 3, {"a": 1.0}, rho=np.nan), ["rho", "nan"]),
    "an intercept of text": (
        lambda: simulate_durbin(W, 3, {"a": 1.0}, process=zb.simulate.Process(intercept="1")),
        ["intercept", "'1'"],
    ),
    "a blank deviation": (
        lambda: simulate_durbin(W, 3, {"a": 1.0}, process=zb.simulate.Process(sigma=np.nan)),
        ["sigma", "nan"],
    ),
    "a blank truth": (lambda: simulate_panel(SPEC, W, 3, {"sigma2": np.nan}), ["sigma2", "nan"]),
    "a blank coefficient of a system": (
        lambda: simulate_system(SYSTEM, W, 3, {("p", "q"): np.inf}),
        ["p q", "inf"],
    ),
    "no seed": (lambda: simulate_durbin(W, 3, {"a": 1.0}, rng="seed"), ["rng", "'seed'"]),
    "no seed of a study": (
        lambda: power_study(SPEC, W, 3, {}, replicates=20, rng="seed"),
        ["rng", "'seed'"],
    ),
    "covariance not definite": (
        lambda: simulate_system(SYSTEM, W, 3, zb.simulate.Truth({}, sigma=[[1, 2], [2, 1]])),
        ["sigma", "positive definite"],
    ),
    "covariance not symmetric": (
        lambda: simulate_system(SYSTEM, W, 3, zb.simulate.Truth({}, sigma=[[1, 0.5], [0, 1]])),
        ["sigma", "symmetric"],
    ),
    "covariance of three": (
        lambda: simulate_system(SYSTEM, W, 3, zb.simulate.Truth({}, sigma=np.eye(3))),
        ["sigma", "2 × 2"],
    ),
    "no reduced form": (
        lambda: simulate_system(SYSTEM, W, 3, {("p", "q"): 1.0, ("q", "p"): 1.0}),
        ["reduced form"],
    ),
    "half a replicate": (lambda: power_study(SPEC, W, 3, {}, replicates=20.5), ["replicates", "20.5"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_words(case):
    action, words = REFUSED[case]
    with pytest.raises(SpecificationError) as caught:
        action()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_regressors_of_another_length_are_refused_for_a_system_too():
    other = simulate_system(SYSTEM, W, 4, {}, rng=1)
    with pytest.raises(DataError, match="4 periods"):
        simulate_system(SYSTEM, W, 3, zb.simulate.Truth({}, regressors=other))


def test_a_bare_matrix_has_no_ids():
    with pytest.raises(AlignmentError, match="ids="):
        simulate_durbin(W.matrix, 3, {"a": 1.0})


def test_a_whole_number_of_numpy_is_one():
    assert power_study(SPEC, W, np.int64(4), {"a": 1.0}, replicates=20, rng=1).frame["periods"].eq(4).all()


def assert_moments(draws: np.ndarray, mean: float | np.ndarray, cov: np.ndarray) -> None:
    """Mean and covariance of normal draws (R, p) within five standard errors of what they should be."""
    R, variance = len(draws), np.diag(cov)
    np.testing.assert_array_less(np.abs(draws.mean(axis=0) - mean), 5 * np.sqrt(variance / R))
    spread = np.sqrt((np.outer(variance, variance) + cov**2) / R)
    np.testing.assert_array_less(np.abs(np.cov(draws.T) - cov), 5 * spread)


def test_a_panel_has_the_covariance_of_its_process():
    """S⁻¹[(I + θW)(I + θW)' + σ²(B'B)⁻¹]S⁻ᵀ, from periods that are independent; asymmetric weights."""
    V = directed_knn(6)
    M, eye = V.matrix.toarray(), np.eye(6)
    S, B, X = np.linalg.inv(eye - 0.4 * M), np.linalg.inv(eye + 0.3 * M), eye + 0.5 * M
    gns = DurbinSpec("y", ["a"], lag_y=True, lag_x="all", lag_error=True, fixed_effects="none")
    truth = {"a": 1.0, "W_a": 0.5, "rho": 0.4, "lam": -0.3, "sigma2": 2.0, "(Intercept)": 3.0}
    panel = simulate_panel(gns, V, 20_000, truth, rng=1)
    assert_moments(panel.array("y"), S @ np.full(6, 3.0), S @ (X @ X.T + 2 * B @ B.T) @ S.T)


def test_a_system_has_the_covariance_of_its_reduced_form():
    V = directed_knn(6)
    M, eye, sigma = V.matrix.toarray(), np.eye(6), np.array([[1.0, 0.5], [0.5, 2.0]])
    system = SystemSpec(
        {"p": Equation("p", ["q"], ["a"], lag_endog=["q"], lag_error=True), "q": Equation("q", ["p"], ["b"])}
    )
    truth = {("p", "q"): 0.3, ("p", "W_p"): 0.2, ("p", "W_q"): 0.1, ("p", "a"): 1.0, ("p", "lam"): 0.4}
    truth |= {("q", "p"): -0.2, ("q", "W_q"): 0.3, ("q", "b"): 2.0}
    none = {"unit_effects": 0.0, "time_effects": 0.0}
    panel = simulate_system(system, V, 20_000, zb.simulate.Truth(truth, sigma=sigma), rng=4, **none)
    S = np.kron([[1, -0.3], [0.2, 1]], eye) - np.kron([[0.2, 0.1], [0, 0.3]], M)
    L = np.kron(np.diag([1.0, 0.0]), np.linalg.inv(eye - 0.4 * M)) + np.kron(np.diag([0.0, 1.0]), eye)
    right = np.kron(np.diag([1.0, 4.0]), eye) + L @ np.kron(sigma, eye) @ L.T
    draws = np.concatenate([panel.array("p"), panel.array("q")], axis=1)
    assert_moments(draws, 0.0, np.linalg.inv(S) @ right @ np.linalg.inv(S).T)


def test_the_first_period_of_a_process_in_time_is_already_stationary():
    V = directed_knn(6)
    M, eye = V.matrix.toarray(), np.eye(6)
    spec = DurbinSpec(
        "y", ["a"], lag_y=True, lag_x=(), time_lag=True, lag_time_lag=True, fixed_effects="unit"
    )
    truth = {"rho": 0.3, "tau": 0.4, "eta": 0.1}
    first = [
        simulate_panel(spec, V, 1, zb.simulate.Truth(truth, unit_effects=0.0), rng=seed).array("y")[0]
        for seed in range(1_000)
    ]
    S = np.linalg.inv(eye - 0.3 * M)
    A = S @ (0.4 * eye + 0.1 * M)
    cov = np.linalg.solve(np.eye(36) - np.kron(A, A), (S @ S.T).ravel()).reshape(6, 6)
    assert_moments(np.array(first), 0.0, cov)
