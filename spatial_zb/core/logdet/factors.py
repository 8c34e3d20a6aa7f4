"""Factors of I − ρW, one ρ or one for each regime of units, the memory they need, and bounds of eigenvalues of a large W.

What a sparse factorisation of I − ρW will need, before it is made, and how much memory there is.

The fill of a factorisation comes from separators: sets of units that cut the map in two. Their size is seen from the levels
of a breadth-first search (units at one, two, three … links from a unit at the edge): a level of the middle is such a cut.
With s its size, ½ nnz(I + W) log₂ n + 0.7 s² entries come within a factor of about two of what SuperLU makes of
triangulations, nearest neighbours and random graphs (tests/core/test_logdet_large.py).

Lipton, R., Rose, D. & Tarjan, R. (1979), Generalized nested dissection, SIAM J. Numer. Anal. 16: 346-358 (n log n entries
for planar graphs, s² in general).

What is known of the eigenvalues of a large sparse W without computing them all.

And factors of symmetric matrices that are sparse but for a few rows and columns.

Reference: Paige (1980), Linear Algebra Appl. 34: 235-258 (Lanczos without orthogonalising again).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import ArpackNoConvergence, eigs, splu

from spatial_zb.base.errors import WeightsError
from spatial_zb.core import Array
from spatial_zb.core.transforms import lower_factor

#: Bytes per entry of the factors: value, index, and the room that SuperLU takes while it grows them.
ENTRY_BYTES = 24
#: A step into the complex plane for a derivative: its square is below rounding.
TINY = 1e-30
#: A dense front of so many units takes a minute to factorise, and a fit takes eight factorisations.
HEAVY_FRONT = 5_000
#: Up to this many units every factorisation is quick, whatever the links.
ALWAYS_LIGHT = 5_000
#: With a ρ for each regime: up to this many units, and for a W as dense as DENSE_SHARE, factors are dense.
SMALL_UNITS, DENSE_SHARE = 500, 0.05
#: Step of the derivative of its sparse log-determinant.
STEP = 1e-5


@dataclass(frozen=True, slots=True)
class Fill:
    """Expected size of the factors of I − ρW.

    ``entries`` of both factors, ``front`` the units of a middle level of the search, ``levels`` their number.
    """

    n: int
    entries: int
    front: int
    levels: int

    @property
    def bytes(self) -> int:
        """Memory of one factorisation."""
        return ENTRY_BYTES * self.entries

    @property
    def heavy(self) -> bool:
        """Whether links reach everywhere within a few steps, so that the factors become dense and slow."""
        return self.n > ALWAYS_LIGHT and self.front > HEAVY_FRONT and self.levels < 2 * math.log2(self.n)


def expected_fill(matrix: sparse.csr_array) -> Fill:
    """Estimate the fill of I − ρW from the levels of a breadth-first search of the largest component."""
    n = matrix.shape[0]
    _, component = csgraph.connected_components(matrix, directed=False)
    start = int(np.argmax(component == np.bincount(component).argmax()))
    far = _levels(matrix, start)[0][-1]
    order, depth = _levels(matrix, int(far))
    sizes = np.bincount(depth[order])
    front = int(sizes[np.searchsorted(np.cumsum(sizes), order.size / 2)])
    entries = (matrix.nnz + n) * math.log2(max(n, 2)) / 2 + 0.7 * front**2
    return Fill(n, int(min(entries, n * n)), front, sizes.size)


def _levels(matrix: sparse.csr_array, start: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Units in the order of the search, and for all units the links from the start (0 where not reached)."""
    order, before = csgraph.breadth_first_order(matrix, start, directed=False)
    parent = np.arange(matrix.shape[0])
    parent[order[1:]] = before[order[1:]]
    depth = np.zeros(matrix.shape[0], dtype=np.intp)
    depth[order[1:]] = 1
    while np.any(parent != parent[parent]):  # each round doubles the length of path that is summed
        depth, parent = depth + depth[parent], parent[parent]
    return order, depth


def physical_memory() -> int | None:
    """Bytes of memory of this machine; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def readable_bytes(size: float) -> str:
    """``"3.2 GB"``, or in MB below one."""
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{size / 2**20:.0f} MB"


#: Row sums this near to one count as one.
ROW_SUM_TOLERANCE = 1e-10
#: Accuracy of the Lanczos eigenvalue at an end of the interval; what is left is bounded by its residual.
LANCZOS_TOLERANCE = 1e-5
#: Its steps at most, and those between two looks at how accurate it is.
LANCZOS_STEPS, LANCZOS_CHECK = 1000, 12
#: Accuracy of the largest eigenvalue, by which weights are divided.
RADIUS_TOLERANCE = 1e-12
#: A spectral radius below this share of its bound is that of a W without cycles, whose eigenvalues are all zero.
NO_CYCLE = 1e-2


def largest_sums(matrix: sparse.csr_array) -> float:
    """The smaller of the largest absolute row sum and the largest absolute column sum: a bound on every |ω|.

    I − ρW is diagonally dominant, by rows or by columns, while |ρ| times this is below one.
    """
    size = matrix if matrix.data.min(initial=0.0) >= 0 else abs(matrix)
    ones = np.ones(matrix.shape[0])
    return min(float((size @ ones).max()), float((size.T @ ones).max()))


def is_row_normalised(matrix: sparse.csr_array) -> bool:
    """True when every row that has a neighbour sums to one; islands keep empty rows."""
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    return bool(np.all(np.abs(sums[np.diff(matrix.indptr) > 0] - 1) < ROW_SUM_TOLERANCE))


def unit_eigenvalues(matrix: sparse.csr_array) -> int:
    """Multiplicity of the eigenvalue one of a row-normalised non-negative W: its closed classes.

    A strongly connected set of units without a link out of it is a Markov chain of its own; connected components,
    for symmetric links. Islands have none.
    """
    count, label = csgraph.connected_components(matrix, directed=True, connection="strong")
    closed = np.ones(count, dtype=bool)
    row, column = matrix.nonzero()
    closed[label[row[label[row] != label[column]]]] = False
    closed[label[np.diff(matrix.indptr) == 0]] = False  # the row of an island sums to zero
    return int(closed.sum())


def symmetric_form(matrix: sparse.csr_array, d: Array) -> sparse.csr_array:
    """D^{1/2} W D^{-1/2}, symmetric and similar to W, from the d of :func:`spatial_zb.core.logdet.symmetriser`."""
    root = np.sqrt(d)
    form = sparse.diags_array(root) @ matrix @ sparse.diags_array(1 / root)
    return sparse.csr_array((form + form.T) / 2)


def spectral_radius(matrix: sparse.csr_array) -> float:
    """The largest eigenvalue of a large sparse non-negative W, by Arnoldi; at worst its largest row sum."""
    bound = largest_sums(matrix)
    try:
        found = eigs(matrix, 1, which="LR", v0=np.ones(matrix.shape[0]), tol=RADIUS_TOLERANCE)[0]
    except ArpackNoConvergence:
        return bound
    value = float(found[0].real)
    if value < NO_CYCLE * bound:  # links that hardly lead back: the eigenvalue is rounding
        return bound
    return min(value * (1 + 10 * RADIUS_TOLERANCE), bound)


def extreme_eigenvalue(form: sparse.csr_array, which: str) -> float:
    """Smallest ("SA") or largest ("LA") eigenvalue of a symmetric matrix, moved outwards by its residual.

    A Ritz value lies inside the spectrum and within its residual of an eigenvalue: what is given here is outside,
    so that its inverse is an admissible ρ. Without convergence: Gershgorin's bound.
    """
    n = form.shape[0]
    sign = 1.0 if which == "LA" else -1.0
    v = np.random.default_rng(n).standard_normal(n)
    v, before = v / np.sqrt(v @ v), np.zeros(n)
    diagonal, side = [], [0.0]
    for step in range(1, LANCZOS_STEPS + 1):
        w = form @ v - side[-1] * before
        diagonal.append(float(w @ v))
        w -= diagonal[-1] * v
        side.append(float(np.sqrt(w @ w)))
        if step % LANCZOS_CHECK == 0 or side[-1] < LANCZOS_TOLERANCE:
            place = (0, 0) if which == "SA" else (step - 1, step - 1)
            value, weights = linalg.eigh_tridiagonal(diagonal, side[1:-1], select="i", select_range=place)
            residual = side[-1] * abs(weights[-1, 0])  # without the vector itself (Paige 1980)
            if residual <= LANCZOS_TOLERANCE * abs(value[0]):
                return float(value[0] + sign * residual)
        v, before = w / side[-1], v
    return sign * largest_sums(form)


def factorise(system: sparse.csc_array, safe: bool, order: str = "MMD_AT_PLUS_A"):
    """Sparse LU. ``safe`` leaves out pivoting, for diagonally dominant or symmetric positive definite matrices.

    The symmetric ``order`` without pivoting halves the fill and the time; with pivoting it would be slower than
    the default, which is taken where neither property holds.
    """
    try:
        if not safe:
            return splu(system)
        return splu(system, permc_spec=order, diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    except MemoryError as problem:
        n, links = system.shape[0], system.nnz - system.shape[0]
        raise WeightsError(
            f"The sparse factorisation of I − ρW needs more memory than there is ({n} units, {links / n:.0f} links each). "
            "Use weights with fewer or nearer neighbours.",
            f"I−ρW的稀疏分解所需内存超过本机内存（{n}个地区，平均每个{links / n:.0f}条联系）。"
            "请用邻居更少或更近的权重矩阵。",
        ) from problem


def cholmod_module() -> Any | None:
    """CHOLMOD through scikit-sparse, where it is installed: several times faster than SuperLU."""
    try:
        from sksparse import cholmod
    except ImportError:
        return None
    return cholmod if hasattr(cholmod, "analyze") else None


def by_cholesky(cholmod: Any, form: sparse.csr_array, rho: float, kept: list[Any]) -> float:
    """ln|I − ρF| of a symmetric F by Cholesky factors; their order is found once and kept."""
    system = sparse.csc_matrix(system_at(form, rho))
    if not kept:
        kept.append(cholmod.analyze(system))
    return float(kept[0].cholesky(system).logdet())


def system_at(form: sparse.csr_array, rho: complex) -> sparse.csc_array:
    """I − ρW."""
    return sparse.csc_array(sparse.eye_array(form.shape[0], format="csc") - rho * form)


@dataclass(frozen=True, slots=True)
class ShiftedSystem:
    """I − ρF for many ρ: the pattern of I + F once, with the entries of I and of F on it."""

    pattern: sparse.csc_array
    one: Array
    form: Array

    @classmethod
    def of(cls, form: sparse.csr_array) -> ShiftedSystem:
        n = form.shape[0]
        shift = 1 + float(np.abs(form.data).max(initial=0.0))  # no entry of the diagonal may cancel
        pattern = sparse.csc_array(form + shift * sparse.eye_array(n, format="csr"))
        one = (pattern.indices == np.repeat(np.arange(n), np.diff(pattern.indptr))).astype(float)
        return cls(pattern, one, np.where(one > 0, pattern.data - shift, pattern.data))

    def at(self, rho: float) -> sparse.csc_array:
        """I − ρF, sharing the pattern."""
        parts = self.one - rho * self.form, self.pattern.indices, self.pattern.indptr
        return sparse.csc_array(parts, shape=self.pattern.shape)


def weighted_filter_trace(W: sparse.csr_array, c: float, a: Array) -> float | None:
    """Σ a_i G_ii, G = W(I − cW)⁻¹, as −∂ln|I − cW − r diag(a)W|/∂r; None where factors would be dense."""
    if W.shape[0] > ALWAYS_LIGHT and expected_fill(W).heavy:
        return None
    moved = sparse.csr_array(sparse.diags_array(c + 1j * TINY * a) @ W)
    return -_slope(factorise(system_at(moved, 1.0), abs(c) * largest_sums(W) < 1))


def _slope(factors: Any) -> float:
    """∂ln|A(c)|/∂c from factors of A(c + iε), ε = ``TINY``: of pivots u the sum of Im u/(ε Re u), exact to rounding."""
    pivots = factors.U.diagonal()
    return float((pivots.imag / pivots.real).sum() / TINY)


@dataclass(frozen=True, eq=False)
class Bordered:
    """A symmetric positive definite [[K, E], [E', L]]: K (m, m) sparse, E (m, c) and L (c, c) dense; m or c may be zero."""

    K: sparse.csc_array
    E: Array
    L: Array

    @cached_property
    def _factors(self) -> tuple[Any, Array, tuple[Array, bool]]:
        """Those of K, K⁻¹E, and those of L − E'K⁻¹E."""
        inside = factorise(self.K, True) if self.K.shape[0] else None
        KE = inside.solve(self.E) if inside is not None and self.E.size else self.E
        return inside, KE, (lower_factor(self.L - self.E.T @ KE), True)

    @property
    def root(self) -> Array:
        """The lower triangular factor of L, where there is no K."""
        return np.tril(self._factors[2][0])

    def solve(self, values: Array) -> Array:
        """[[K, E], [E', L]]⁻¹v, v (m + c,) or (m + c, k)."""
        m = self.K.shape[0]
        inside, KE, border = self._factors
        below = linalg.cho_solve(border, values[m:] - KE.T @ values[:m])
        if inside is None:
            return below
        return np.concatenate([inside.solve(values[:m]) - KE @ below, below])


@dataclass(frozen=True, eq=False)
class BorderedPencil:
    """A(c) = I − cX + c²Y of symmetric bordered X and Y, such as (D − cVD)'(D − cVD) of an orthonormal D."""

    X: Bordered
    Y: Bordered

    def at(self, c: float | complex) -> Bordered:
        """A(c)."""
        ones = sparse.eye_array(self.X.K.shape[0], format="csc"), 0.0, np.eye(len(self.X.L))
        parts = (
            one - c * x + c**2 * y
            for one, x, y in zip(
                ones, (self.X.K, self.X.E, self.X.L), (self.Y.K, self.Y.E, self.Y.L), strict=True
            )
        )
        K, E, L = parts
        return Bordered(sparse.csc_array(K), E, L)

    def log_slope(self, c: float, inverse: Array | None = None) -> float:
        """∂ln|A(c)|/∂c: by a step into the complex plane, or from A⁻¹ where that is dense."""
        if inverse is not None:
            return float(np.vdot(inverse, 2 * c * self.Y.L - self.X.L))
        at = self.at(c + 1j * TINY)
        inside, left = 0.0, at.L
        if at.K.shape[0]:
            factors = factorise(at.K, True)
            inside = _slope(factors)
            left = left - at.E.T @ factors.solve(at.E) if at.E.size else left
        return inside + float(np.vdot(np.linalg.inv(left.real), left.imag)) / TINY


def random_signs(generator: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Entries −1 and 1 with even chances: the probes of random traces (Hutchinson 1990)."""
    return np.asarray(generator.choice(np.array([-1.0, 1.0]), shape), float)


# --- a ρ for each regime of units

Solver = Callable[[Array], Array]


@dataclass(frozen=True, slots=True)
class Regimes:
    """W (n, n), the regime 0, 1, … of every unit (n,), how many ``groups`` of them there are, and the bound on |ρ_r|.

    ``timed``: whether effects of periods are taken out. ``bound`` is one over the spectral radius of |W|: within it S is
    not singular. ``own``: whether each regime has a ρ of its own.
    """

    matrix: sparse.csr_array
    regime: NDArray[np.intp]
    groups: int
    timed: bool
    bound: float
    own: bool = True

    @property
    def slot(self) -> NDArray[np.intp]:
        """Which ρ is that of a unit (n,)."""
        return self.regime if self.own else np.zeros_like(self.regime)

    @property
    def count(self) -> int:
        """How many ρ there are."""
        return self.groups if self.own else 1

    @property
    def dense(self) -> bool:
        """Whether a dense factorisation is faster than a sparse one."""
        n = self.matrix.shape[0]
        return n <= SMALL_UNITS or self.matrix.nnz > DENSE_SHARE * n**2

    def scaled(self, rho: Array) -> sparse.csr_array:
        """(Σ_r ρ_r D_r)W."""
        return sparse.csr_array(sparse.diags_array(rho[self.slot]) @ self.matrix)

    def part(self, values: Array, r: int) -> Array:
        """D_r times ``values`` (n, …), D_r the units of the r-th ρ."""
        return values * (self.slot == r).reshape(-1, *[1] * (values.ndim - 1))

    def part_of_rows(self, r: int) -> sparse.csr_array:
        """D_rW."""
        return sparse.csr_array(sparse.diags_array((self.slot == r).astype(float)) @ self.matrix)

    def summed(self, values: Array) -> Array:
        """Sums of ``values`` (n,) over the units of each ρ."""
        return np.array([values[self.slot == r].sum() for r in range(self.count)])

    def centre(self, values: Array) -> Array:
        """J times ``values`` (n, …) under effects of periods."""
        return values - values.mean(axis=0) if self.timed else values

    def solver(self, rho: Array) -> tuple[Solver, float]:
        """R ↦ S⁻¹R, and ln|S|."""
        ahead, _, value = self._factors(rho)
        return ahead, value

    def both_ways(self, rho: Array) -> tuple[Solver, Solver]:
        """R ↦ GR and R ↦ G'R, G = WS⁻¹."""
        (ahead, back, _), transposed = self._factors(rho), sparse.csr_array(self.matrix.T)
        return lambda right: self.matrix @ ahead(right), lambda right: back(transposed @ right)

    def _factors(self, rho: Array) -> tuple[Solver, Solver, float]:
        """R ↦ S⁻¹R, R ↦ S⁻ᵀR, and ln|S|."""
        n = self.matrix.shape[0]
        if self.dense:
            dense = np.eye(n) - rho[self.slot][:, None] * self.matrix.toarray()
            factor = linalg.lu_factor(dense, check_finite=False)
            ahead, back = (
                partial(linalg.lu_solve, factor, trans=trans, check_finite=False) for trans in (0, 1)
            )
            return ahead, back, float(np.log(np.abs(np.diag(factor[0]))).sum())
        system = sparse.csc_array(sparse.eye_array(n, format="csc") - self.scaled(rho))
        lu = factorise(system, safe=np.abs(rho).max() * largest_sums(self.matrix) < 1)
        return lu.solve, partial(lu.solve, trans="T"), float(np.log(np.abs(lu.U.diagonal())).sum())

    def height(self, rho: Array) -> float:
        """ln|S|, of which the search starts; near what counts with effects of periods."""
        solve, value = self.solver(rho)
        return value + float(np.log(np.abs(solve(np.ones(len(self.regime))).mean()))) if self.timed else value

    def traces(self, rho: Array) -> Array:
        """tr(J D_r G) for every ρ."""
        n = self.matrix.shape[0]
        solve, _ = self.solver(rho)
        if self.dense:
            G = self.matrix @ solve(np.eye(n))
            own, sums = np.diag(G), G.sum(axis=1) / n
        else:
            steps = STEP * np.eye(self.count)
            ends = [[self.solver(rho + sign * h)[1] for sign in (1, -1)] for h in steps]
            whole = np.array([(down - up) / (2 * STEP) for up, down in ends])
            own, sums = None, self.matrix @ solve(np.ones(n)) / n
        out = whole if own is None else self.summed(own)
        return out - self.timed * self.summed(sums)
