"""The spatial lag of stacked arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["spatial_lag"]


def spatial_lag(matrix: sparse.csr_array, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Apply W to every period: ``out[t] = W @ values[t]``.

    Parameters
    ----------
    matrix
        W, (n, n).
    values
        (T, n) or (T, n, k).

    Returns
    -------
    ndarray of the shape of ``values``; computed as one sparse product on (n, T·k), never as I_T ⊗ W.
    """
    units_first = np.moveaxis(values, 1, 0)
    lagged = matrix @ units_first.reshape(units_first.shape[0], -1)
    return np.moveaxis(lagged.reshape(units_first.shape), 0, 1)
