"""Moran's I of least-squares residuals, with moments that know the residuals were fitted.

Cliff, A.D. & Ord, J.K. (1981), Spatial Processes, ch. 8; for panels with fixed effects the same quadratic form
with the effects among the regressors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from spatial_zb.core.cross_product import Result
from spatial_zb.core.lag import spatial_lag
from spatial_zb.core.within import FixedEffects, demean

__all__ = ["residual_moran_i"]

Array = NDArray[np.float64]


def residual_moran_i(
    residuals: Array, regressors: Array, matrix: sparse.csr_array, effects: FixedEffects
) -> Result:
    """I = (N/S) e'(I_T ⊗ W)e / e'e with N = T·m, S = T·S₀, and its moments when the errors are normal.

    With M the projection off regressors and effects, d = tr M and A the symmetric part of I_T ⊗ W,
    E e'Ae/e'e = tr(MA)/d and the second moment is [2 tr(MAMA) + tr(MA)²] / (d(d+2)). M is never formed.

    Parameters
    ----------
    residuals
        e (T, n) of least squares after the effects.
    regressors
        (T, n, k), of full rank, after the same effects; an intercept is one of them when there are no effects.
    matrix
        W (n, n); m counts the units that have neighbours.
    effects
        Which effects were taken out.
    """
    T, n = residuals.shape
    m = np.count_nonzero(np.diff(matrix.indptr))
    scale = m / matrix.sum()
    half = sparse.csr_array((matrix + matrix.T) / 2)
    basis, _ = linalg.qr(regressors.reshape(T * n, -1), mode="economic")
    basis = basis.reshape(T, n, -1)
    k = basis.shape[2]
    lagged = spatial_lag(half, basis)
    inner = np.einsum("tij,tik->jk", basis, lagged)
    outer = np.einsum("tij,tij->", lagged, demean(lagged, effects))
    unit, time = effects in ("unit", "two_way"), effects in ("time", "two_way")
    first, second = _effect_traces(half, time)
    trace = (T - unit) * first - np.trace(inner)
    trace_of_square = (T - unit) * second - 2 * outer + np.sum(inner * inner)
    d = (T - unit) * (n - time) - k
    variance = 2 * (trace_of_square * d - trace**2) / (d**2 * (d + 2))
    value = np.sum(residuals * spatial_lag(matrix, residuals)) / np.sum(residuals**2)
    return Result(
        float(scale * value),
        float(scale * trace / d),
        float(scale * np.sqrt(variance if variance > 0 else np.nan)),
    )


def _effect_traces(half: sparse.csr_array, time: bool) -> tuple[float, float]:
    """tr(JA) and tr(JAJA), J the projection off the mean of each period with time effects, else J = I."""
    squares = float((half.data**2).sum())
    if not time:
        return float(half.trace()), squares
    n = half.shape[0]
    rows = np.asarray(half.sum(axis=1)).ravel()
    return float(half.trace() - rows.sum() / n), float(squares - 2 * rows @ rows / n + (rows.sum() / n) ** 2)
