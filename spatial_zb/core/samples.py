"""Many samples of one model: what they share, and their spatial lags, each made once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.core.lag import spatial_lag
from spatial_zb.core.logdet import EigenLogDet, LogDet
from spatial_zb.core.orthogonal import ColumnBasis
from spatial_zb.core.within import FixedEffects, TransformedSample, demean

__all__ = ["SPECTRAL_UNITS", "SampleModel", "Samples", "fast", "lag_all", "transform_all"]

Array = NDArray[np.float64]

#: W of more units than this is inverted sample by sample, which is slower than estimating one at a time.
SPECTRAL_UNITS = 500
#: Up to this many units lags of many samples are products with the dense W.
DENSE_LAG = 150


@dataclass(frozen=True, slots=True)
class SampleModel:
    """What samples share: W, the regressors and the transform.

    ``Z`` and ``WZ`` (T, n, k) transformed, ``WZ`` None without a spatial error; ``basis`` of the stacked Z.
    """

    matrix: sparse.csr_array
    logdet: LogDet | None
    sample: TransformedSample
    effects: FixedEffects
    Z: Array
    WZ: Array | None
    basis: ColumnBasis
    lag_y: bool
    lag_error: bool


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples ``Y`` (R, T, n) and their lags, each made once: ``y``, ``Wy``, ``WWy`` after the transform."""

    matrix: sparse.csr_array
    effects: FixedEffects
    Y: Array

    @cached_property
    def _lag(self) -> Array:
        return lag_all(self.matrix, self.Y)

    @cached_property
    def y(self) -> Array:
        return _transformed(self.Y, self.effects)

    @cached_property
    def Wy(self) -> Array:
        return _transformed(self._lag, self.effects)

    @cached_property
    def WWy(self) -> Array:
        return _transformed(lag_all(self.matrix, self._lag), self.effects)


def fast(matrix: sparse.csr_array, logdet: LogDet | None, lag_y: bool, lag_error: bool) -> bool:
    """Whether the samples of a model can be estimated together: one spatial lag at most, and few enough units."""
    if not (lag_y or lag_error):
        return True
    small = isinstance(logdet, EigenLogDet) and matrix.shape[0] <= SPECTRAL_UNITS
    return small and not (lag_y and lag_error)


def lag_all(matrix: sparse.csr_array, Y: Array) -> Array:
    """WY of (R, T, n)."""
    if matrix.shape[0] <= DENSE_LAG:
        return Y @ matrix.toarray().T
    R, T, n = Y.shape
    return spatial_lag(matrix, Y.reshape(R * T, n)).reshape(R, T, n)


def transform_all(model: SampleModel, Y: Array) -> Array:
    """Fixed effects out of (R, T, n)."""
    return _transformed(Y, model.effects)


def _transformed(Y: Array, effects: FixedEffects) -> Array:
    return np.moveaxis(demean(np.moveaxis(Y, 0, 2), effects), 2, 0)
