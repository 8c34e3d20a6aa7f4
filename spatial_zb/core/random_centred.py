"""Period effects out of a random-effects likelihood: n units become n − 1 coordinates that no period mean moves.

F (n, n − 1) is an orthonormal basis of what is orthogonal to ι. With Wι = ι, F'W = (F'WF)F', so that F'y_t follows
the same model under F'WF, without period effects, and with ln|I − ρF'WF| = ln|I − ρW| − ln(1 − ρ); random effects
and errors keep their laws. This is the transform of Lee & Yu (2010, J. Econometrics 154: 165-185, section 3.2) for random
unit effects; dummies of periods in their place bias ρ̂, strongly so when W is dense.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, sparse

from spatial_zb.core.logdet import LogDet

__all__ = ["CentredLogDet", "centred_weights", "period_basis", "rotated"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CentredLogDet:
    """ln|I − ρF'WF| and its slope, from those of W."""

    inner: LogDet

    @property
    def interval(self) -> tuple[float, float]:
        """Admissible values of ρ, those of W."""
        return self.inner.interval

    def value(self, rho: ArrayLike) -> Array:
        """ln|I − ρW| − ln(1 − ρ)."""
        return self.inner.value(rho, centred=True)

    def first(self, rho: ArrayLike) -> Array:
        """Its derivative."""
        return self.inner.first(rho, centred=True)


def period_basis(n: int) -> Array:
    """F (n, n − 1), the Helmert contrasts."""
    return linalg.helmert(n).T


def rotated(values: Array, basis: Array) -> Array:
    """F' applied to the units of (T, n) or (T, n, k)."""
    return np.moveaxis(np.tensordot(values, basis, axes=(1, 0)), -1, 1)


def centred_weights(matrix: sparse.csr_array, basis: Array) -> sparse.csr_array:
    """F'WF; dense, (n − 1)² numbers."""
    return sparse.csr_array(basis.T @ (matrix @ basis))
