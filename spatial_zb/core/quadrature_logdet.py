"""ln|I − ρW| roughly, everywhere at once: Krylov quadrature of a few random vectors.

Reference: Ubaru, Chen & Saad (2017), SIAM J. Matrix Anal. Appl. 38: 1075-1099 (stochastic Lanczos quadrature).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

__all__ = ["QuadratureLogDet", "unit_part"]

Array = NDArray[np.float64]

#: Probes and steps of the quadrature that finds where to look.
PROBES, STEPS = 4, 16


@dataclass(frozen=True, eq=False)
class QuadratureLogDet:
    """Approximate log-determinant Σ_j w_j ln(1 − ρθ_j) from Krylov quadrature of a few random vectors.

    ``nodes`` θ (q,) and ``weights`` w (q,) may be complex; tr W and tr W² are right, ``units`` unit eigenvalues are
    exact. For the start of a search only: the error is about √(2n/probes).
    """

    n: int
    interval: tuple[float, float]
    nodes: NDArray
    weights: NDArray
    units: int
    correction: tuple[float, float]

    @classmethod
    def of(
        cls,
        form: sparse.csr_array,
        interval: tuple[float, float],
        live: int,
        units: int,
        off_unit_vectors: Callable[[Array], Array],
    ) -> QuadratureLogDet:
        """Arnoldi from ``PROBES`` sign vectors off the eigenvectors of one.

        ``live`` counts the units that are not islands, whose eigenvalues are zero.
        """
        n = form.shape[0]
        generator = np.random.default_rng(n)
        pairs = [
            _krylov(form, off_unit_vectors(generator.choice([-1.0, 1.0], n)), min(STEPS, n - 1))
            for _ in range(PROBES)
        ]
        nodes = np.concatenate([theta for theta, _ in pairs])
        weights = np.concatenate([share for _, share in pairs]) * (live - units) / PROBES
        exact = float(form.trace()) - units, float(form.multiply(form.T).sum()) - units
        found = (float(np.real(weights @ nodes**k)) for k in (1, 2))
        one, two = (a - b for a, b in zip(exact, found, strict=True))
        return cls(n, interval, nodes, weights, units, (one, two))

    @property
    def rough(self) -> QuadratureLogDet:
        """Itself."""
        return self

    @property
    def concave(self) -> bool:
        """Not known of an approximation."""
        return False

    def cover(self, low: float, high: float) -> None:
        """Nothing to prepare."""

    def value(self, rho: ArrayLike, centred: bool = False) -> Array:
        """ln|I − ρW|, roughly."""
        rho = np.asarray(rho, float)
        logs = np.log(np.abs(1 - rho[..., None] * self.nodes))
        one, two = self.correction
        return (
            logs @ np.real(self.weights)
            + unit_part(rho, self.units - centred, 0)
            - one * rho
            - two * rho**2 / 2
        )

    def first(self, rho: ArrayLike, centred: bool = False) -> Array:
        """−tr G, roughly."""
        rho = np.asarray(rho, float)
        ratio = self.nodes / (1 - rho[..., None] * self.nodes)
        one, two = self.correction
        return -np.real(ratio @ self.weights) + unit_part(rho, self.units - centred, 1) - one - two * rho

    def second(self, rho: ArrayLike, centred: bool = False) -> Array:
        """−tr G², roughly."""
        rho = np.asarray(rho, float)
        ratio = self.nodes / (1 - rho[..., None] * self.nodes)
        return (
            -np.real(ratio**2 @ self.weights) + unit_part(rho, self.units - centred, 2) - self.correction[1]
        )


def unit_part(rho: Array | float, count: int, derivative: int) -> Array | float:
    """count · ln(1 − ρ), or a derivative of it; zero without such eigenvalues, whatever ρ."""
    if not count:
        return 0.0
    return count * np.log1p(-rho) if derivative == 0 else -count / (1 - rho) ** derivative


def _krylov(form: sparse.csr_array, probe: Array, steps: int) -> tuple[NDArray, NDArray]:
    """Ritz values and weights with probe'f(W)probe/probe'probe ≈ Σ w f(θ); orthogonalised twice."""
    basis = np.empty((steps + 1, len(probe)))
    H = np.zeros((steps + 1, steps))
    basis[0] = probe / np.sqrt(probe @ probe)
    size = steps
    for j in range(steps):
        v = form @ basis[j]
        for _ in range(2):
            along = basis[: j + 1] @ v
            v -= along @ basis[: j + 1]
            H[: j + 1, j] += along
        H[j + 1, j] = np.sqrt(v @ v)
        if H[j + 1, j] < 1e-10:
            size = j + 1
            break
        basis[j + 1] = v / H[j + 1, j]
    theta, X = np.linalg.eig(H[:size, :size])
    return theta, X[0] * np.linalg.solve(X, np.eye(size)[0])
