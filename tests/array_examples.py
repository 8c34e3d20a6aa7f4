"""Small arrays for tests of core: weights and panels as matrices, without labels."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def weights(n: int = 8, how: str = "row", seed: int = 3) -> sparse.csr_array:
    """Asymmetric, unequal weights, every unit with a neighbour."""
    rng = np.random.default_rng(seed)
    A = rng.uniform(0.5, 2.0, (n, n)) * (rng.random((n, n)) < 0.4)
    A[np.arange(n), (np.arange(n) + 1) % n] = 1.0
    np.fill_diagonal(A, 0.0)
    return sparse.csr_array(A / A.sum(axis=1, keepdims=True) if how == "row" else A / 3)


def data(T: int = 5, n: int = 8, k: int = 2, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((T, n, k)) + rng.standard_normal((n, 1))
    return X @ np.arange(1.0, k + 1) + rng.standard_normal(n) + rng.standard_normal((T, n)), X
