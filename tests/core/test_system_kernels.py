"""Kernels of the system against finite differences, dense algebra and textbook statistics."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from small_examples import weights_of

from spatial_zb.core.logdet import eigenvalues
from spatial_zb.core.system import (
    Sources,
    average_impacts,
    coefficient_matrices,
    impact_gradient,
    order_impacts,
    system_solver,
    unit_impacts,
)
from spatial_zb.core.system.fiml import SystemLikelihood, first_crossing, maximise_system
from spatial_zb.core.system.identification import (
    exclusions,
    generic_rank,
    instrument_strength,
)
from spatial_zb.core.system.scores import score_diagonals
from spatial_zb.models.system.design import build_system_design
from spatial_zb.models.system.spec import Equation, SystemSpec
from spatial_zb.simulate import system as simulate_system
from spatial_zb.weights.matrix import Weights

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")

STEP = 1e-5  # central differences: error ~ STEP² × third derivative
ROUNDING = 1e-9


def asymmetric(n: int, seed: int = 0) -> Weights:
    """Three neighbours each, drawn at random: complex eigenvalues."""
    rng = np.random.default_rng(seed)
    matrix = np.zeros((n, n))
    for i in range(n):
        others = np.delete(np.arange(n), i)
        matrix[i, rng.choice(others, 3, replace=False)] = rng.uniform(0.5, 1.5, 3)
    return weights_of(matrix, "random")


def system(fixed_effects: str, lag_error: bool) -> SystemSpec:
    return SystemSpec(
        {
            "one": Equation("y1", ["y2"], ["a", "b"], lag_endog=["y2"], lag_x=["a"], lag_error=lag_error),
            "two": Equation("y2", ["y1", "y3"], ["c"], lag_endog=["y1"]),
            "three": Equation("y3", ["y1"], ["a", "d"], lag_y=True, lag_error=lag_error),
        },
        fixed_effects,
    )


def likelihood_of(
    fixed_effects: str, lag_error: bool, sigma: str = "full"
) -> tuple[SystemLikelihood, np.ndarray]:
    W, spec = asymmetric(9), system(fixed_effects, lag_error)
    panel = simulate_system(spec, W, 5, {("one", "a"): 1.0, ("two", "c"): 1.0, ("three", "d"): 1.0}, rng=3)
    arrays = build_system_design(spec, panel, W, 2, True).arrays
    theta = 0.1 * np.random.default_rng(5).standard_normal(arrays.bounds[-1] + sum(arrays.lag_error))
    return SystemLikelihood(arrays, eigenvalues(W.matrix), sigma), theta


@pytest.mark.parametrize("sigma", ["full", "diagonal"])
@pytest.mark.parametrize("lag_error", [False, True], ids=["plain", "spatial-error"])
@pytest.mark.parametrize("fixed_effects", ["none", "unit", "two_way"])
def test_gradient_and_hessian_are_those_of_the_value(fixed_effects, lag_error, sigma):
    likelihood, theta = likelihood_of(fixed_effects, lag_error, sigma)
    gradient, hessian = likelihood.derivatives(theta)
    for j in range(len(theta)):
        step = np.zeros(len(theta))
        step[j] = STEP
        up, down = theta + step, theta - step
        slope = (likelihood.value(up) - likelihood.value(down)) / (2 * STEP)
        column = (likelihood.derivatives(up)[0] - likelihood.derivatives(down)[0]) / (2 * STEP)
        assert gradient[j] == pytest.approx(slope, abs=1e-5)
        np.testing.assert_allclose(hessian[:, j], column, atol=1e-5, rtol=1e-6)


def test_determinant_sum_is_the_dense_determinant():
    W, rng = asymmetric(8), np.random.default_rng(1)
    gamma, psi = np.eye(3) - 0.2 * rng.standard_normal((3, 3)), 0.2 * rng.standard_normal((3, 3))
    omega = eigenvalues(W.matrix)
    over_eigenvalues = np.linalg.slogdet(gamma - omega[:, None, None] * psi)[1].sum()
    dense = np.linalg.slogdet(np.kron(gamma, np.eye(8)) - np.kron(psi, W.matrix.toarray()))[1]
    assert over_eigenvalues == pytest.approx(dense, abs=ROUNDING)


def test_first_crossing_is_where_the_determinant_vanishes():
    start, slope = np.eye(2)[None], np.array([[[-2.0, 0.0], [0.0, -0.5]]])
    assert first_crossing(start, slope) == pytest.approx(0.5)
    assert first_crossing(start, -slope) == np.inf


def test_the_climb_stays_in_the_region_of_the_identity():
    likelihood, theta = likelihood_of("unit", False)
    links = likelihood.arrays.links
    far = theta.copy()
    far[links.position] = 3.0  # det(Γ − ωΨ) changes sign on the way there
    best = maximise_system(likelihood, [far])
    gamma, psi = coefficient_matrices(best.theta, links, 3)
    omega = likelihood.omega
    real = omega.real[np.abs(omega.imag) < 1e-9]
    assert np.all(np.linalg.det(gamma - real[:, None, None] * psi) > 0)
    assert not best.at_bound


# Effects --------------------------------------------------------------------------------------------------


def impact_case(row_normalised: bool):
    W = asymmetric(7)
    if not row_normalised:
        W = Weights(W.matrix * 0.8 + sparse.csr_array(np.diag(np.full(6, 0.1), 1)), W.ids)
    likelihood, _ = likelihood_of("unit", False)
    links, K = likelihood.arrays.links, int(likelihood.arrays.bounds[-1])
    delta = 0.15 * np.random.default_rng(2).standard_normal(K)
    b = np.array([[5, -1, -1], [-1, 11, -1], [3, -1, -1]])
    t = np.array([[6, -1, -1], [-1, -1, -1], [-1, 4, -1]])
    constant = np.zeros((3, 3))
    constant[1, 2] = 1.0
    return W, delta, links, Sources(b, t, constant)


def dense_blocks(W, delta, links, sources):
    gamma, psi = coefficient_matrices(delta, links, 3)
    n = W.n
    inverse = np.linalg.inv(np.kron(gamma, np.eye(n)) - np.kron(psi, W.matrix.toarray()))
    b, t = sources.coefficients(delta)
    for k in range(b.shape[1]):
        full = inverse @ (np.kron(b[:, [k]], np.eye(n)) + np.kron(t[:, [k]], W.matrix.toarray()))
        for g in range(3):
            yield g, k, full[g * n : (g + 1) * n]


@pytest.mark.parametrize("row_normalised", [True, False])
def test_average_effects_are_those_of_the_dense_inverse(row_normalised):
    W, delta, links, sources = impact_case(row_normalised)
    out = average_impacts(delta, links, sources, eigenvalues(W.matrix), W.matrix, row_normalised)
    for g, k, block in dense_blocks(W, delta, links, sources):
        assert out[g, k, 0] == pytest.approx(np.trace(block) / W.n, abs=ROUNDING)
        assert out[g, k, 1] == pytest.approx(block.sum() / W.n, abs=ROUNDING)


@pytest.mark.parametrize("row_normalised", [True, False])
def test_effect_gradients_are_finite_differences(row_normalised):
    W, delta, links, sources = impact_case(row_normalised)
    arguments = (links, sources, eigenvalues(W.matrix), W.matrix, row_normalised)
    gradient = impact_gradient(delta, *arguments)
    for j in range(len(delta)):
        step = np.zeros(len(delta))
        step[j] = STEP
        both = average_impacts(np.stack([delta + step, delta - step]), *arguments)
        np.testing.assert_allclose(gradient[..., j], (both[0] - both[1]) / (2 * STEP), atol=1e-8)


def test_unit_effects_are_diagonal_row_and_column_sums():
    W, delta, links, sources = impact_case(False)
    gamma, psi = coefficient_matrices(delta, links, 3)
    b, t = sources.coefficients(delta)
    for g, k, block in dense_blocks(W, delta, links, sources):
        diagonal, rows, columns = unit_impacts(gamma, psi, b[:, k], t[:, k], g, W.matrix)
        np.testing.assert_allclose(diagonal, np.diag(block), atol=ROUNDING)
        np.testing.assert_allclose(rows, block.sum(axis=1), atol=ROUNDING)
        np.testing.assert_allclose(columns, block.sum(axis=0), atol=ROUNDING)


def test_orders_add_up_to_the_effects():
    W, delta, links, sources = impact_case(False)
    omega = eigenvalues(W.matrix)
    by_order = order_impacts(delta, links, sources, W.matrix, omega, 200)
    full = average_impacts(delta, links, sources, omega, W.matrix, False)
    np.testing.assert_allclose(by_order.sum(axis=0), full, atol=1e-8)


def test_score_diagonals_are_those_of_the_dense_products():
    likelihood, theta = likelihood_of("two_way", True)
    found, owner = score_diagonals(likelihood, theta)
    arrays = likelihood.arrays
    delta, lam = likelihood.split(theta)
    W, n, m = arrays.matrix.toarray(), arrays.sample.n_units, arrays.m
    gamma, psi = coefficient_matrices(delta, arrays.links, m)
    inverse = np.linalg.inv(np.kron(gamma, np.eye(n)) - np.kron(psi, W))
    J = np.eye(n) - 1 / n
    B = [np.eye(n) - c * W for c in lam]
    links = arrays.links
    for a, g, l, lagged in zip(links.position, links.row, links.column, links.lagged, strict=True):
        assert owner[a] == g
        for h in range(m):
            block = inverse[l * n : (l + 1) * n, h * n : (h + 1) * n] @ np.linalg.inv(B[h])
            own = np.diag(J @ B[g] @ (W @ block if lagged else block))
            np.testing.assert_allclose(found[:, a, h], own - own.mean(), atol=1e-10)


def test_solver_rows_go_equation_by_equation():
    W = asymmetric(6)
    gamma, psi = np.array([[1.0, -0.3], [-0.1, 1.0]]), np.array([[0.2, 0.1], [0.0, 0.3]])
    right = np.random.default_rng(0).standard_normal(12)
    dense = np.kron(gamma, np.eye(6)) - np.kron(psi, W.matrix.toarray())
    np.testing.assert_allclose(system_solver(gamma, psi, W.matrix)(right), np.linalg.solve(dense, right))


# Strength -------------------------------------------------------------------------------------------------


def first_stage(seed: int = 0, p: int = 1):
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((200, 4))
    X = rng.standard_normal((200, 2))
    Y = Z[:, :p] * 0.3 + X[:, :1] + rng.standard_normal((200, p))
    H = np.linalg.qr(np.column_stack([X, Z]))[0]
    return Y, X, Z, H


def test_one_endogenous_regressor_has_the_first_stage_f():
    Y, X, Z, H = first_stage()
    found = instrument_strength(Y, X, H, 200, 20, "classical")

    def ssr(columns):
        return np.linalg.lstsq(columns, Y[:, 0], rcond=None)[1][0]

    expected = ((ssr(X) - ssr(np.column_stack([X, Z]))) / 4) / (ssr(np.column_stack([X, Z])) / (200 - 6))
    assert found.sw_f[0] == pytest.approx(expected)
    assert found.cragg_donald == pytest.approx(expected)


def test_robust_rank_statistic_of_one_regressor_is_the_robust_wald():
    Y, X, Z, H = first_stage()
    found = instrument_strength(Y, X, H, 200, 20, "robust")
    full = np.column_stack([X, Z])
    b = np.linalg.lstsq(full, Y[:, 0], rcond=None)[0]
    e = Y[:, 0] - full @ b
    bread = np.linalg.inv(full.T @ full)
    V = bread @ (full * e[:, None] ** 2).T @ full @ bread * 200 / 194
    wald = b[2:] @ np.linalg.solve(V[2:, 2:], b[2:])
    assert found.kleibergen_paap == pytest.approx(wald / 4)


def test_a_regressor_without_an_instrument_of_its_own_is_weak_conditionally():
    """Two regressors driven by one instrument: each alone looks strong, together neither is."""
    rng = np.random.default_rng(1)
    Z = rng.standard_normal((500, 3))
    Y = Z[:, [0, 0]] + 0.5 * rng.standard_normal((500, 2))
    H = np.linalg.qr(Z)[0]
    found = instrument_strength(Y, np.empty((500, 0)), H, 500, 50, "classical")
    alone = instrument_strength(Y[:, :1], np.empty((500, 0)), H, 500, 50, "classical")
    assert alone.sw_f[0] > 100
    assert np.all(found.sw_f < 10)
    assert found.cragg_donald < 10


def test_j_is_zero_when_residuals_are_orthogonal_and_none_when_just_identified():
    Y, X, _, H = first_stage()
    e = np.random.default_rng(2).standard_normal(200)
    e -= H @ (H.T @ e)
    Z = np.column_stack([X, Y])
    y = Z @ [1.0, -1.0, 0.5] + e
    assert exclusions(e, y, Z, H, 200, 20, "classical").test()[0] == pytest.approx(0)
    assert exclusions(e, Y[:, 0], H @ np.eye(6), H, 200, 20, "classical").test()[1] == 0


@pytest.mark.parametrize(
    ("present", "excluded", "rank"),
    [
        pytest.param([[1, 1, 1, 0], [1, 1, 0, 1]], 1, 1, id="one-own-variable-each"),
        pytest.param([[1, 1, 1, 1], [1, 1, 1, 1]], 0, 0, id="nothing-left-out"),
        pytest.param([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0]], 1, 1, id="order-fails"),
        pytest.param([[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0]], 1, 1, id="absent-everywhere-does-not-count"),
    ],
)
def test_rank_condition(present, excluded, rank):
    assert generic_rank(np.array(present, bool), 0) == (excluded, rank)
