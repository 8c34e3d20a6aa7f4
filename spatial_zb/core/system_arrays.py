"""The arrays of a system of m spatial equations after the fixed-effects transform, and where coefficients stand.

    Γ y + … : Γ = I − [γ_gl], Ψ = [ψ_gl], so that Γ y_t − Ψ W y_t = X_t β + W X_t θ + u_t, u_g = λ_g W u_g + ε_g.

Rows of every array are units of one transformed period after another: row t·n + i, t = 0 … T* − 1. Unit effects
are taken out by forward orthogonal deviations, so that transformed noise stays uncorrelated over time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.core.gmm import forward_deviations
from spatial_zb.core.lag import spatial_lag
from spatial_zb.core.within import TransformedSample

__all__ = ["Links", "SystemArrays", "coefficient_matrices", "lag_stacked", "within_residuals"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Links:
    """Which of the stacked coefficients are γ or ψ: four arrays of one length.

    ``position`` in the stacked δ, ``row`` and ``column`` of the m × m matrix, ``lagged`` True for ψ.
    """

    position: NDArray[np.intp]
    row: NDArray[np.intp]
    column: NDArray[np.intp]
    lagged: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SystemArrays:
    """One system, transformed. M = n·T* rows, K = Σ k_g coefficients.

    ``y`` (M, m); ``Z`` m arrays (M, k_g) in the order [Y, WY, 1, X, WX] of each equation; ``H`` (M, q)
    orthonormal instruments; ``endogenous`` the number of leading columns of Z_g that are endogenous;
    ``Wy`` (M, m) and ``WZ`` m arrays, spatial lags of the former, None unless an error is spatial;
    ``lag_error`` which errors are.
    """

    y: Array
    Z: tuple[Array, ...]
    H: Array
    endogenous: tuple[int, ...]
    links: Links
    lag_error: tuple[bool, ...]
    Wy: Array | None
    WZ: tuple[Array, ...] | None
    matrix: sparse.csr_array
    sample: TransformedSample

    @property
    def m(self) -> int:
        """Number of equations."""
        return len(self.Z)

    @property
    def bounds(self) -> NDArray[np.intp]:
        """Where the coefficients of each equation begin in the stacked δ, and K at the end."""
        return np.concatenate([[0], np.cumsum([block.shape[1] for block in self.Z])])

    def block(self, g: int) -> slice:
        """The coefficients of equation g in the stacked δ."""
        bounds = self.bounds
        return slice(int(bounds[g]), int(bounds[g + 1]))

    def residuals(self, delta: Array) -> Array:
        """u = y − Zδ, (M, m)."""
        parts = [self.y[:, g] - self.Z[g] @ delta[self.block(g)] for g in range(self.m)]
        return np.column_stack(parts)

    def noise(self, delta: Array, lam: Array) -> Array:
        """ε = (I − λ_gW)u, (M, m)."""
        u = self.residuals(delta)
        return u - lam * self.lag(u) if np.any(lam) else u

    def filtered(self, lam: Array) -> tuple[Array, tuple[Array, ...]]:
        """(I − λ_g W) applied to y_g and Z_g: the spatial Cochrane-Orcutt transform."""
        if self.WZ is None or not np.any(lam):
            return self.y, self.Z
        Z = tuple(a - c * b for a, b, c in zip(self.Z, self.WZ, lam, strict=True))
        return self.y - lam * self.Wy, Z

    def lag(self, values: Array) -> Array:
        """W applied to transformed rows; the effects stay out."""
        return lag_stacked(self.matrix, values, self.sample.centred)


def lag_stacked(matrix: sparse.csr_array, values: Array, centred: bool) -> Array:
    """W times stacked (M,) or (M, k) rows of transformed data, off the period effects again when ``centred``.

    W commutes with what takes unit effects out. Under time effects J W J = J W needs W ι = ι, which the design
    has checked.
    """
    cube = values.reshape(-1, matrix.shape[0], *values.shape[1:])
    lagged = spatial_lag(matrix, cube)
    if centred:
        lagged = lagged - lagged.mean(axis=1, keepdims=True)
    return lagged.reshape(values.shape)


def coefficient_matrices(delta: Array, links: Links, m: int) -> tuple[Array, Array]:
    """Γ = I − [γ] and Ψ = [ψ], each (…, m, m), from coefficients (…, K)."""
    shape = (*delta.shape[:-1], m, m)
    gamma = np.broadcast_to(np.eye(m), shape).copy()
    psi = np.zeros(shape)
    values, now = delta[..., links.position], ~links.lagged
    gamma[..., links.row[now], links.column[now]] -= values[..., now]
    psi[..., links.row[~now], links.column[~now]] += values[..., ~now]
    return gamma, psi


def within_residuals(e: Array, sample: TransformedSample) -> Array:
    """Turn rows (M, m) back into all periods, (T, n, m): F'e, with forward deviations F of orthonormal rows."""
    cube = e.reshape(sample.periods, sample.n_units, -1)
    if sample.periods == sample.n_periods:
        return cube
    F = forward_deviations(np.eye(sample.n_periods), "unit")
    return np.einsum("st,snm->tnm", F, cube)
