"""ln|I − ρW| from random vectors, with its error: Chebyshev polynomials, and Krylov quadrature as a first look.

For graphs that no factorisation can take. For W similar to a symmetric matrix with eigenvalues in [−r, r], x = W/r and
z = ρr/(1 + √(1 − ρ²r²)),

    ln|I − ρW| = −n ln(1 + z²) − 2 Σ_k z^k tr T_k(x)/k,

with Chebyshev polynomials T_k; for any other W ln|I − ρW| = −Σ_k (ρr)^k tr(x^k)/k. Traces of low order are exact, those of
higher order are means of v'T_k(x)v over ±1 vectors v (Hutchinson 1990); eigenvalues of one that are known are taken out of
the vectors and put back exactly. The spread between vectors gives the error.

References: Barry & Pace (1999), Linear Algebra Appl. 289: 41-54; Pace & LeSage (2004), Comput. Statist. Data Anal. 45:
179-196; Hutchinson (1990), Commun. Statist. Simul. 19: 433-450. The generating function ln(1 − 2zx + z²) = −2 Σ z^k T_k(x)/k
is Abramowitz & Stegun 22.9.8.

The first look, rough and at all ρ at once, is Krylov quadrature of a few random vectors: Ubaru, Chen & Saad (2017), SIAM
J. Matrix Anal. Appl. 38: 1075-1099 (stochastic Lanczos quadrature).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse import csgraph

from spatial_zb.core import Array
from spatial_zb.core.logdet.factors import (
    is_row_normalised,
    random_signs,
    spectral_radius,
    symmetric_form,
    unit_eigenvalues,
)

#: Random vectors, and how many are multiplied at a time.
PROBES, BLOCK = 64, 16
#: Orders of the two series: the last terms at ρr = 0.9 are below 1e-10 of n.
CHEBYSHEV_ORDER, POWER_ORDER = 128, 256
#: W is squared for exact traces of third and fourth order when that takes no more than so many products.
SQUARE_WORK = 3e8
#: Residual at which (I − cW)x = b is solved, relative to b, and the steps after which it is given up.
SOLVED, STEPS = 1e-13, 5_000


@dataclass(frozen=True, eq=False)
class StochasticLogDet:
    """Log-determinant from traces of W that are partly estimated.

    Attributes
    ----------
    exact
        (K + 1,) traces of T_k(x), or of x^k, over the eigenvalues that are not known; NaN where they are estimated.
    drawn
        (K + 1, probes) estimates of the same.
    radius
        r.
    units, live
        Number of unit eigenvalues taken out, and of all others that may differ from zero.
    """

    n: int
    radius: float
    units: int
    live: int
    chebyshev: bool
    exact: Array
    drawn: Array

    @classmethod
    def of(cls, matrix: sparse.csr_array, symmetriser: Array | None) -> StochasticLogDet:
        """Draw the vectors (the same for every W of n units) and multiply them through."""
        n, chebyshev = matrix.shape[0], symmetriser is not None
        normalised = is_row_normalised(matrix)
        radius = 1.0 if normalised else spectral_radius(matrix)
        form = matrix if symmetriser is None else symmetric_form(matrix, symmetriser)
        form = form if normalised else sparse.csr_array(form / radius)
        units = unit_eigenvalues(matrix) if normalised else 0
        project, live = _off_units(matrix, symmetriser, units)
        generator = np.random.default_rng(n)
        order = CHEBYSHEV_ORDER if chebyshev else POWER_ORDER
        parts = []
        for _ in range(0, PROBES, BLOCK):
            v = project(random_signs(generator, (n, BLOCK)))
            moments = _chebyshev_moments(form, v, order) if chebyshev else _power_moments(form, v, order)
            parts.append(moments * (live / np.einsum("ij,ij->j", v, v)))
        return cls(n, radius, units, live, chebyshev, _low_traces(form, units, live, chebyshev, order),
                   np.concatenate(parts, axis=1) - (0 if chebyshev else units))  # fmt: skip

    @property
    def interval(self) -> tuple[float, float]:
        """(−1/r, 1/r); there may be further admissible ρ below, which are not searched."""
        return -1 / self.radius, 1 / self.radius

    @property
    def rough(self) -> StochasticLogDet:
        """Itself."""
        return self

    @property
    def concave(self) -> bool:
        """True where W is similar to a symmetric matrix."""
        return self.chebyshev

    def cover(self, low: float, high: float) -> None:
        """Nothing to prepare."""

    def value(self, rho: ArrayLike, centred: bool = False) -> Array:
        """ln|I − ρW|, estimated."""
        return self._answer(rho, 0, centred)

    def first(self, rho: ArrayLike, centred: bool = False) -> Array:
        """−tr G, the derivative of :meth:`value`."""
        return self._answer(rho, 1, centred)

    def second(self, rho: ArrayLike, centred: bool = False) -> Array:
        """−tr G², the derivative of :meth:`first`."""
        return self._answer(rho, 2, centred)

    def error(self, rho: ArrayLike, derivative: int = 0) -> Array:
        """Standard error of :meth:`value` (or of a derivative), and the size of what the series leaves out."""
        rho = np.asarray(rho, float)
        terms, _ = self._terms(rho, derivative)
        estimated = np.where(np.isnan(self.exact), 1.0, 0.0)
        spread = (terms * estimated) @ self.drawn
        sampling = spread.std(axis=-1, ddof=1) / np.sqrt(self.drawn.shape[1])
        size = np.abs(terms[..., -2:] * self._moments[-2:]).max(axis=-1)
        ratio = np.abs(self._variable(rho))
        return sampling + size * ratio / (1 - ratio)

    @property
    def _moments(self) -> Array:
        return np.where(np.isnan(self.exact), self.drawn.mean(axis=1), self.exact)

    def _answer(self, rho: ArrayLike, derivative: int, centred: bool) -> Array:
        rho = np.asarray(rho, float)
        inside = np.abs(rho) * self.radius < 1
        with np.errstate(all="ignore"):
            terms, rest = self._terms(np.where(inside, rho, 0.0), derivative)
            known = self.units - centred
            unit = np.log1p(-rho) if derivative == 0 else -1 / (1 - rho) ** derivative
            answer = rest + terms @ self._moments + (known * unit if known else 0.0)
        return np.where(inside, answer, np.nan)

    def _variable(self, rho: Array) -> Array:
        """z, or ρr."""
        scaled = rho * self.radius
        return scaled / (1 + np.sqrt(1 - scaled**2)) if self.chebyshev else scaled

    def _terms(self, rho: Array, derivative: int) -> tuple[Array, Array]:
        """What multiplies each trace, (…, K + 1), and the rest, in ρ."""
        t = self._variable(rho)
        k = np.arange(self.exact.size, dtype=float)
        powers = [_powers(t, k, d) for d in range(derivative + 1)]
        if not self.chebyshev:
            return -powers[derivative] * self.radius**derivative, np.zeros_like(rho)
        logs = (np.log1p(t**2), 2 * t / (1 + t**2), 2 * (1 - t**2) / (1 + t**2) ** 2)
        if derivative == 0:
            return -2 * powers[0], -self.live * logs[0]
        slope = (1 + t**2) ** 2 / (2 * (1 - t**2))  # dz/d(ρr)
        if derivative == 1:
            factor = slope * self.radius
            return -2 * powers[1] * factor[..., None], -self.live * logs[1] * factor
        bend = t * (1 + t**2) * (3 - t**2) / (1 - t**2) ** 2 * slope  # d²z/d(ρr)²
        both = powers[2] * slope[..., None] ** 2 + powers[1] * bend[..., None]
        return -2 * both * self.radius**2, -self.live * self.radius**2 * (logs[2] * slope**2 + logs[1] * bend)


def _powers(t: Array, k: Array, derivative: int) -> Array:
    """t^k/k, or a derivative of it in t, (…, K + 1); zero for k = 0."""
    t = np.asarray(t)[..., None]
    factor = np.ones_like(k) if derivative else 1 / np.maximum(k, 1)
    if derivative == 2:
        factor = k - 1
    exponent = np.maximum(k - derivative, 0)
    return np.where(k >= max(derivative, 1), factor * t**exponent, 0.0)


def _chebyshev_moments(form: sparse.csr_array, v: Array, order: int) -> Array:
    """v'T_k(x)v for k = 0 … order, (order + 1, probes): T_2j = 2T_j² − 1 and T_2j+1 = 2T_jT_j+1 − T_1 save half."""
    dot = lambda a, b: np.einsum("ij,ij->j", a, b)  # noqa: E731
    out = np.empty((order + 1, v.shape[1]))
    before, now = v, form @ v
    out[0], out[1] = dot(v, v), dot(v, now)
    for j in range(1, order // 2 + 1):
        out[2 * j] = 2 * dot(now, now) - out[0]
        if 2 * j + 1 <= order:
            before, now = now, 2 * (form @ now) - before
            out[2 * j + 1] = 2 * dot(before, now) - out[1]
    return out


def _power_moments(form: sparse.csr_array, v: Array, order: int) -> Array:
    """v'x^k v for k = 0 … order, (order + 1, probes)."""
    out = np.empty((order + 1, v.shape[1]))
    now = v
    for k in range(order + 1):
        out[k] = np.einsum("ij,ij->j", v, now)
        now = form @ now
    return out


def _low_traces(form: sparse.csr_array, units: int, live: int, chebyshev: bool, order: int) -> Array:
    """Exact traces up to order two, or four where W can be squared, without the unit eigenvalues; NaN above."""
    transpose = form.T.tocsr()
    square = float(form.multiply(transpose).sum())
    traces = [float(live), float(form.trace()) - units, square - units]
    work = float(np.diff(transpose.indptr) @ np.diff(form.indptr))
    if work <= SQUARE_WORK:
        twice = sparse.csr_array(form @ form)
        traces += [float(twice.multiply(other.T.tocsr()).sum()) - units for other in (form, twice)]
    out = np.full(order + 1, np.nan)
    out[: len(traces)] = traces
    if chebyshev:
        one, two, three, four = out[1:5]
        out[2:5] = 2 * two - live, 4 * three - 3 * one, 8 * four - 8 * two + live
    return out


def _off_units(
    matrix: sparse.csr_array, symmetriser: Array | None, units: int
) -> tuple[Callable[[Array], Array], int]:
    """Take the eigenvectors of one out of vectors (n, m), and count the other eigenvalues.

    Only the symmetric form has them orthogonal; other vectors are left alone, and the count is n.
    """
    n = matrix.shape[0]
    if symmetriser is None or not units:
        return lambda v: v, n
    count, component = csgraph.connected_components(matrix, directed=False)
    root = np.sqrt(symmetriser)
    sums = sparse.csr_array((root, (component, np.arange(n))), shape=(count, n))
    norms = np.bincount(component, root**2)

    def project(v: Array) -> Array:
        return v - root[:, None] * ((sums @ v) / norms[:, None])[component]

    return project, n - count  # of an island nothing is left, and its eigenvalue is zero


def iterative_solver(matrix: sparse.csr_array, coefficient: float, bound: float) -> Callable[[Array], Array]:
    """R ↦ (I − cW)⁻¹R by x ← cWx + R, whose error shrinks by |c|·bound < 1 with every product.

    For right-hand sides (n,) or (n, m). ``bound`` is that of :func:`spatial_zb.core.logdet.factors.largest_sums`.
    """
    rate = abs(coefficient) * bound
    steps = min(STEPS, int(np.ceil(np.log(SOLVED) / np.log(rate))) + 1 if rate else 1)

    def solve(right: Array) -> Array:
        term, total = right, right.copy()
        for _ in range(steps):
            term = coefficient * (matrix @ term)
            total += term
            if np.abs(term).max(initial=0.0) <= SOLVED * np.abs(total).max(initial=0.0) * (1 - rate):
                break
        return total

    return solve


#: Probes and steps of the quadrature that finds where to look.
QUADRATURE_PROBES, QUADRATURE_STEPS = 4, 16


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
            _krylov(form, off_unit_vectors(generator.choice([-1.0, 1.0], n)), min(QUADRATURE_STEPS, n - 1))
            for _ in range(QUADRATURE_PROBES)
        ]
        nodes = np.concatenate([theta for theta, _ in pairs])
        weights = np.concatenate([share for _, share in pairs]) * (live - units) / QUADRATURE_PROBES
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
