"""Average effects against the dense E = (I − ρW)⁻¹(βI + θW), and their gradients against differences."""

from __future__ import annotations

import numpy as np
import pytest
from dense_matrices import ROW_NORMALISED, all_matrices

from spatial_zb.core.likelihood.impacts import average_effects, multipliers, no_multipliers, order_multipliers
from spatial_zb.core.logdet import make_logdet

MATRICES = all_matrices()
BETA, THETA = np.array([1.5, -0.4]), np.array([0.0, 0.9])


def dense_effects(W: np.ndarray, rho: float, beta: float, theta: float) -> np.ndarray:
    n = len(W)
    E = np.linalg.inv(np.eye(n) - rho * W) @ (beta * np.eye(n) + theta * W)
    direct, total = np.trace(E) / n, E.sum() / n
    return np.array([direct, total - direct, total])


def rhos(name: str) -> list[float]:
    low, high = make_logdet(MATRICES[name]).interval
    return [0.0, 0.5 * high, 0.95 * high, 0.5 * low, 0.95 * low]


@pytest.mark.parametrize("name", MATRICES)
def test_effects_equal_the_dense_inverse(name):
    W = MATRICES[name]
    logdet = make_logdet(W)
    for rho in rhos(name):
        m = multipliers(rho, W, logdet, name in ROW_NORMALISED)
        found, _ = average_effects(BETA, THETA, m)
        for k in range(2):
            expected = dense_effects(W.toarray(), rho, BETA[k], THETA[k])
            np.testing.assert_allclose(found[k], expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", MATRICES)
def test_gradients_equal_finite_differences(name):
    W = MATRICES[name]
    logdet = make_logdet(W)
    for rho in rhos(name):
        _, gradient = average_effects(BETA, THETA, multipliers(rho, W, logdet, name in ROW_NORMALISED))
        for k in range(2):
            point = np.array([BETA[k], THETA[k], rho])
            for j in range(3):
                h = np.zeros(3)
                h[j] = 1e-6
                up, down = (dense_effects(W.toarray(), v[2], v[0], v[1]) for v in (point + h, point - h))
                slope = (up - down) / 2e-6
                np.testing.assert_allclose(gradient[k, :, j], slope, rtol=1e-5, atol=1e-6)


def test_many_rho_at_once_equal_one_by_one():
    for name in ("row", "symmetric", "knn_complex"):
        W, logdet = MATRICES[name], make_logdet(MATRICES[name])
        values = np.array(rhos(name))
        together, _ = average_effects(
            np.tile(BETA, (5, 1)),
            np.tile(THETA, (5, 1)),
            multipliers(values, W, logdet, name in ROW_NORMALISED),
        )
        for i, rho in enumerate(values):
            one, _ = average_effects(BETA, THETA, multipliers(rho, W, logdet, name in ROW_NORMALISED))
            np.testing.assert_allclose(together[i], one, rtol=1e-12)


def test_row_normalised_total_is_beta_plus_theta_over_one_minus_rho():
    W = MATRICES["row"]
    effects, _ = average_effects(BETA, THETA, multipliers(0.4, W, make_logdet(W), True))
    np.testing.assert_allclose(effects[:, 2], (BETA + THETA) / 0.6, rtol=1e-12)
    general, _ = average_effects(BETA, THETA, multipliers(0.4, W, make_logdet(W), False))
    np.testing.assert_allclose(effects, general, rtol=1e-10)


@pytest.mark.parametrize("name", MATRICES)
def test_without_rho_the_indirect_effect_is_theta_times_the_mean_row_sum(name):
    W = MATRICES[name]
    effects, gradient = average_effects(BETA, THETA, no_multipliers(W))
    np.testing.assert_allclose(effects[:, 0], BETA)
    np.testing.assert_allclose(effects[:, 1], THETA * W.sum() / W.shape[0])
    assert np.all(gradient[..., 2] == 0)


@pytest.mark.parametrize("name", MATRICES)
def test_orders_equal_dense_powers(name):
    W = MATRICES[name].toarray()
    n, rho = len(W), 0.3 * make_logdet(MATRICES[name]).interval[1]
    terms = order_multipliers(rho, MATRICES[name], 4)
    for j, found in enumerate(terms):
        P = np.linalg.matrix_power(W, j) * rho**j
        expected = np.array([np.trace(P), np.trace(P @ W), P.sum(), (P @ W).sum()]) / n
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["row", "symmetric", "knn_complex"])
def test_the_series_tends_to_the_full_multipliers(name):
    W = MATRICES[name]
    rho = 0.3 * make_logdet(W).interval[1]
    m = multipliers(rho, W, make_logdet(W), False)
    series = order_multipliers(rho, W, 60).sum(axis=0)
    np.testing.assert_allclose(series, [m.a, m.b, m.p, m.q], rtol=1e-10)
