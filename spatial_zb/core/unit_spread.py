"""How unit effects and spatial errors mix between units: K = I + c BB', B = I − λW, its solver and ln|K|."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import splu

__all__ = ["Spread", "apply_between", "make_spread"]

Array = NDArray[np.float64]
Matrix = Array | sparse.csr_array

#: Up to this many units K is factorised as a dense matrix, and ∂ln|K| is exact.
DENSE_FACTOR = 300
#: A product WW' with more than this share of its cells filled is factorised as a dense matrix.
FULL = 0.2
#: Step of the central difference of ln|K| for large n.
STEP = 1e-5


@dataclass(frozen=True, slots=True)
class Spread:
    """BB' = I − λ(W + W') + λ²WW', dense up to DENSE_FACTOR units or where WW' is nearly full, else sparse."""

    eye: Matrix
    both: Matrix
    product: Matrix

    @property
    def dense(self) -> bool:
        """Whether matrices are dense arrays."""
        return isinstance(self.both, np.ndarray)

    def value(self, lam: float) -> Matrix:
        """BB'."""
        return self.eye - lam * self.both + lam**2 * self.product

    def dense_value(self, lam: float) -> Array:
        """BB' as a dense array."""
        found = self.value(lam)
        return found if self.dense else found.toarray()

    def slope(self, lam: float) -> Matrix:
        """∂BB'/∂λ."""
        return 2 * lam * self.product - self.both

    def factor(self, lam: float, c: float) -> tuple[Callable[[Array], Array], float]:
        """Solver of K = I + c BB', which is positive definite, and ln|K|."""
        K = self.eye + c * self.value(lam)
        if self.dense:
            L, info = linalg.lapack.dpotrf(K, lower=1)
            if info:
                raise np.linalg.LinAlgError(f"leading minor {info} of K is not positive")
            return partial(_solve_with, L), float(2 * np.log(L.diagonal()).sum())
        options = {"SymmetricMode": True}
        lu = splu(K.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
        return lu.solve, float(np.log(np.abs(lu.U.diagonal())).sum())

    def log_slopes(self, lam: float, s: float, solve: Callable[[Array], Array]) -> tuple[float, float]:
        """∂ln|K| in λ and s: traces of K⁻¹∂K, or central differences where K⁻¹ would be too large."""
        c = np.expm1(s)
        if not self.dense:
            up, down = (self.factor(lam + h, c)[1] for h in (STEP, -STEP))
            above, below = (self.factor(lam, np.expm1(s + h))[1] for h in (STEP, -STEP))
            return (up - down) / (2 * STEP), (above - below) / (2 * STEP)
        inverse = solve(self.eye)
        return c * float((inverse * self.slope(lam)).sum()), np.exp(s) * float(
            (inverse * self.value(lam)).sum()
        )


def _solve_with(L: Array, right: Array) -> Array:
    """(LL')⁻¹ applied to (n,) or (n, p); LAPACK itself, whose wrappers take longer than small systems do."""
    return linalg.lapack.dpotrs(L, right, lower=1)[0]


def make_spread(W: sparse.csr_array) -> Spread:
    """Prepare BB' for every λ."""
    n = W.shape[0]
    parts = sparse.eye_array(n, format="csr"), sparse.csr_array(W + W.T), sparse.csr_array(W @ W.T)
    if n <= DENSE_FACTOR or parts[2].nnz > FULL * n**2:
        return Spread(*(part.toarray() for part in parts))
    return Spread(*parts)


def apply_between(values: Array, spread: Spread | None, lam: float, phi: float, periods: int) -> Array:
    """K⁻¹ applied to (n,) or (n, p)."""
    if spread is None:
        return values / (1 + periods * phi)
    return spread.factor(lam, periods * phi)[0](values)
