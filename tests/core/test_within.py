"""The fixed-effects transform and the lag against explicit projections and Kronecker products."""

from __future__ import annotations

import numpy as np
import pytest
from dense_matrices import all_matrices
from dense_oracle import eigen_basis, helmert

from spatial_zb.core.transforms import demean, spatial_lag, transformed_sample

T, n, k = 4, 6, 3
EFFECTS = ["none", "unit", "time", "two_way"]


def projector(effects: str) -> np.ndarray:
    J_T = np.eye(T) - (effects in ("unit", "two_way")) * np.full((T, T), 1 / T)
    J_n = np.eye(n) - (effects in ("time", "two_way")) * np.full((n, n), 1 / n)
    return np.kron(J_T, J_n)


@pytest.mark.parametrize("effects", EFFECTS)
def test_demean_equals_the_kronecker_projection(effects):
    values = np.random.default_rng(0).standard_normal((T, n, k))
    before = values.copy()
    found = demean(values, effects)
    expected = projector(effects) @ values.reshape(T * n, k)
    np.testing.assert_allclose(found.reshape(T * n, k), expected, atol=1e-12)
    np.testing.assert_array_equal(values, before)
    np.testing.assert_allclose(demean(found, effects), found, atol=1e-12)
    np.testing.assert_allclose(demean(values[:, :, 0], effects), found[:, :, 0], atol=1e-12)


@pytest.mark.parametrize("effects", EFFECTS)
def test_demeaned_products_equal_those_of_the_orthonormal_transform(effects):
    """Z'Z after demeaning is Z'FF'Z, and N is the rank of the projection."""
    F_T = helmert(T) if effects in ("unit", "two_way") else np.eye(T)
    F_n = eigen_basis(n) if effects in ("time", "two_way") else np.eye(n)
    F = np.kron(F_T, F_n)
    np.testing.assert_allclose(F @ F.T, projector(effects), atol=1e-12)
    sample = transformed_sample(n, T, effects, "lee_yu")
    assert sample.observations == F.shape[1] == round(np.trace(projector(effects)))
    assert sample.periods == F_T.shape[1]
    assert sample.centred == (effects in ("time", "two_way"))
    assert sample.absorbed == n * T - F.shape[1]
    direct = transformed_sample(n, T, effects, "direct")
    assert (direct.observations, direct.periods, direct.centred) == (n * T, T, False)
    assert direct.absorbed == sample.absorbed


def test_demeaning_before_multiplying_by_W_is_not_the_same():
    W = all_matrices()["row"]
    y = np.random.default_rng(1).standard_normal((3, 12))
    after = demean(spatial_lag(W, y), "two_way")
    before = spatial_lag(W, demean(y, "two_way"))
    assert np.abs(after - before).max() > 0.01


@pytest.mark.parametrize("name", all_matrices())
def test_lag_equals_the_kronecker_product(name):
    W = all_matrices()[name]
    m = W.shape[0]
    values = np.random.default_rng(2).standard_normal((T, m, k))
    expected = np.kron(np.eye(T), W.toarray()) @ values.reshape(T * m, k)
    np.testing.assert_allclose(spatial_lag(W, values).reshape(T * m, k), expected, atol=1e-12)
    np.testing.assert_allclose(spatial_lag(W, values[:, :, 1]), spatial_lag(W, values)[:, :, 1], atol=1e-12)
