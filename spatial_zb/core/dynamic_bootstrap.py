r"""Resampled panels of a model with y_{t−1} and Wy_{t−1} among the regressors: arrays only.

Given the first period, panels differ by what their errors differ by: with S = I − ρW, B = I − λW,

    y*_t = y_t + d_t,   d_t = S⁻¹[(τI + ηW) d_{t−1} + B⁻¹(ε*_t − ε̂_t)],   d_0 = 0,

so that no effect has to be invented: each keeps what the data give it, ε̂ being what the transform leaves. This is the
recursive design of Gonçalves & Kaffo (2015), J. Econometrics 186: 407-426, and of Everaert & Pozzi (2007), J. Economic
Dynamics and Control 31: 1160-1184, with spatial lags.

Errors must be independent over time given the past, as those of the model are. Sign flips are therefore by unit and period
(their "wild"): flipped as a whole, the series of a unit keeps the products of its errors at two dates, whose variance is
that of τ̂.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.core.traces import filter_solver

__all__ = ["carry_over", "moved_panels", "one_variance_parts", "recursive_parts"]

Array = NDArray[np.float64]


def carry_over(alone: Array, matrix: sparse.csr_array, rho: float, tau: float, eta: float) -> Array:
    """y_t = a_t + S⁻¹(τI + ηW) y_{t−1} from y_0 = a_0: ``alone`` a (T, n) or (T, n, R), what a period adds of its own."""
    solve = filter_solver(matrix, rho) if rho else lambda right: right
    out = alone.copy()
    for t in range(1, len(out)):
        before = out[t - 1]
        out[t] += solve(tau * before + eta * (matrix @ before))
    return out


def moved_panels(
    changes: Array, matrix: sparse.csr_array, rho: float, lam: float, tau: float, eta: float
) -> Array:
    """d (R, T, n) of changes of the errors (R, T, n) in the T explained periods."""
    R, T, n = changes.shape
    columns = changes.transpose(2, 1, 0).reshape(n, T * R)
    for coefficient in (lam, rho):
        columns = filter_solver(matrix, coefficient)(columns) if coefficient else columns
    alone = columns.reshape(n, T, R).swapaxes(0, 1)
    start = np.zeros((1, n, R))
    return carry_over(np.concatenate([start, alone]), matrix, rho, tau, eta)[1:].transpose(2, 0, 1)


def one_variance_parts(variance: float, shape: tuple[int, int]) -> Array:
    """Parts (Tn, T, n) of independent errors of one variance: each cell alone."""
    T, n = shape
    return np.sqrt(variance) * np.eye(T * n).reshape(T * n, T, n)


def recursive_parts(pool: Array, scheme: str) -> Array:
    """Parts (K, T, n) of errors drawn from ``pool`` (T, n), whose squares add up to those expected.

    ``"wild"``: each cell alone, with its own error; ``"period"``: in each period each period's errors, over √T.
    """
    T, n = pool.shape
    if scheme == "wild":
        return pool.reshape(T * n, 1, 1) * np.eye(T * n).reshape(T * n, T, n)
    parts = np.zeros((T, T, T, n))
    parts[np.arange(T), :, np.arange(T)] = pool / np.sqrt(T)
    return parts.reshape(T * T, T, n)
