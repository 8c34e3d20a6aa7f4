"""Diagonals and pairs of entries of JGJ and JHJ, G = W(I − ρW)⁻¹ and H = W(I − λW)⁻¹, in blocks of columns.

Exact at any n and without an n × n matrix; n solves with a sparse factorisation, for ten thousand units some ten
seconds. Only robust covariances need them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.core.traces import BLOCK, filter_applier, unit_columns

__all__ = ["filter_diagonals", "pair_squares"]

Array = NDArray[np.float64]


def filter_diagonals(matrix: sparse.csr_array, rho: float, lam: float, centred: bool) -> Array:
    """Diagonals of JGJ and JHJ, (2, n); J = I − ιι'/n when centred, else I."""
    out = np.empty((2, matrix.shape[0]))
    for row, coefficient in enumerate((rho, lam)):
        for columns, block in _blocks(matrix, coefficient, centred):
            out[row, columns] = block[columns, np.arange(len(columns))]
    return out


def pair_squares(matrix: sparse.csr_array, rho: float, lam: float, centred: bool, e: Array) -> Array:
    """Σ over pairs i < j of q q', q = [(g_ij + g_ji), (h_ij + h_ji)] ε_i'ε_j, (2, 2), from residuals e (T, n)."""
    transposed = sparse.csr_array(matrix.T)
    out = np.zeros((2, 2))
    sources = [_blocks(W, c, centred) for c in (rho, lam) for W in (matrix, transposed)]
    for parts in zip(*sources, strict=True):
        columns = parts[0][0]
        products = e.T @ e[:, columns]
        products[columns, np.arange(len(columns))] = 0.0
        g, h = ((parts[i][1] + parts[i + 1][1]) * products for i in (0, 2))
        out += [[np.vdot(a, b) for b in (g, h)] for a in (g, h)]
    return out / 2


def _blocks(
    matrix: sparse.csr_array, coefficient: float, centred: bool
) -> Iterator[tuple[NDArray[np.intp], Array]]:
    """Columns of JGJ, (n, ≤ BLOCK) at a time, with their positions."""
    n = matrix.shape[0]
    apply_g = filter_applier(matrix, coefficient)
    row_means = apply_g(np.full((n, 1), 1 / n)) if centred else 0.0
    for first in range(0, n, BLOCK):
        columns = np.arange(first, min(n, first + BLOCK))
        block = apply_g(unit_columns(n, first, columns[-1] + 1))
        if centred:
            block = block - row_means
            block = block - block.mean(axis=0)
        yield columns, block
