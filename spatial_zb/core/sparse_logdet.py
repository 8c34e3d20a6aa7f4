r"""ln|I − ρW| of a large sparse W: exact factorisations at a few ρ, interpolated in between.

The variable of interpolation is u = ln[(ρ − low)/(high − ρ)] on the admissible interval (low, high). Every ρ at which
I − ρW is singular lies outside the interval and so has Im u = π (any ρ of modulus beyond −low = high, for complex
eigenvalues, has |Im u| ≥ π/2): ln|I − ρW| is analytic in a strip of that half-width, and Chebyshev interpolation over
a window of half-length L in u gains log[s + √(s² + 1)] in digits per node, s = strip/L. Seven or eight nodes do for
six standard errors either side of an estimate, some sixty for the whole interval.

Known unit eigenvalues, one per closed class of a row-normalised W, are taken out first and put back exactly.

References: Pace & Barry (1997), Geogr. Analysis 29: 232-247 (sparse determinants); Pace & LeSage (2004), Comput.
Statist. Data Anal. 45: 179-196 (Chebyshev); Trefethen (2013), Approximation Theory and Approximation Practice, ch. 8;
Ubaru, Chen & Saad (2017), SIAM J. Matrix Anal. Appl. 38: 1075-1099 (stochastic Lanczos quadrature); Paige (1980),
Linear Algebra Appl. 34: 235-258 (Lanczos without orthogonalising again).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import ArpackNoConvergence, eigs, splu

from spatial_zb.errors import WeightsError

__all__ = [
    "QuadratureLogDet",
    "SparseLogDet",
    "factorise",
    "is_row_normalised",
    "largest_sums",
    "spectral_radius",
    "symmetric_form",
    "unit_eigenvalues",
]

Array = NDArray[np.float64]

#: Row sums this near to one count as one.
ROW_SUM_TOLERANCE = 1e-10
#: Nodes are counted so that a window is this exact, times √n; it turns out 1,000 times better on planar W.
NODE_ACCURACY = 1e-11
#: Above so many units, where a factorisation takes a quarter of a minute, this is enough: an error of 1e-5 in ln L at worst,
#: and 1e-9 in ρ̂, whose information is then above 1e5.
MANY_UNITS, MANY_UNITS_ACCURACY = 200_000, 1e-8
#: Half-length in u of a window that is asked for at a single point.
LOCAL_REACH = 0.1
#: Points further apart than this in u, a third of the whole interval, are served by one interpolant over all of it.
WIDE = 6.0
#: So many windows may be built before the whole interval is.
WINDOWS = 4
#: So many values outside every window are factorised one by one.
SINGLE_VALUES = 2
#: The interpolant of the whole interval ends this share of the interval's length before its ends.
MARGIN = 5e-5
#: Probes and steps of the quadrature that finds where to look.
PROBES, STEPS = 4, 16
#: Accuracy of the Lanczos eigenvalue at an end of the interval; what is left is bounded by its residual.
LANCZOS_TOLERANCE = 1e-5
#: Its steps at most, and those between two looks at how accurate it is.
LANCZOS_STEPS, LANCZOS_CHECK = 1000, 12
#: Accuracy of the largest eigenvalue, by which weights are divided.
RADIUS_TOLERANCE = 1e-12
#: A spectral radius below this share of its bound is that of a W without cycles, whose eigenvalues are all zero.
NO_CYCLE = 1e-2


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
            "Use weights with fewer or nearer neighbours."
        ) from problem


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


def _cholmod() -> Any | None:
    """CHOLMOD through scikit-sparse, where it is installed: several times faster than SuperLU."""
    try:
        from sksparse import cholmod
    except ImportError:
        return None
    return cholmod if hasattr(cholmod, "analyze") else None


def _by_cholesky(cholmod: Any, form: sparse.csr_array, rho: float, kept: list[Any]) -> float:
    """ln|I − ρF| of a symmetric F by Cholesky factors; their order is found once and kept."""
    system = sparse.csc_matrix(_system(form, rho))
    if not kept:
        kept.append(cholmod.analyze(system))
    return float(kept[0].cholesky(system).logdet())


def _system(form: sparse.csr_array, rho: float) -> sparse.csc_array:
    """I − ρW."""
    return sparse.csc_array(sparse.eye_array(form.shape[0], format="csc") - rho * form)


@dataclass(frozen=True, slots=True)
class _Shifted:
    """I − ρF for many ρ: the pattern of I + F once, with the entries of I and of F on it."""

    pattern: sparse.csc_array
    one: Array
    form: Array

    @classmethod
    def of(cls, form: sparse.csr_array) -> _Shifted:
        n = form.shape[0]
        shift = 1 + float(np.abs(form.data).max(initial=0.0))  # no entry of the diagonal may cancel
        pattern = sparse.csc_array(form + shift * sparse.eye_array(n, format="csr"))
        one = (pattern.indices == np.repeat(np.arange(n), np.diff(pattern.indptr))).astype(float)
        return cls(pattern, one, np.where(one > 0, pattern.data - shift, pattern.data))

    def at(self, rho: float) -> sparse.csc_array:
        """I − ρF, sharing the pattern."""
        parts = self.one - rho * self.form, self.pattern.indices, self.pattern.indptr
        return sparse.csc_array(parts, shape=self.pattern.shape)


@dataclass(frozen=True, slots=True)
class _Window:
    """Chebyshev series of h(u) on [centre − reach, centre + reach], and of its first two derivatives."""

    centre: float
    reach: float
    series: tuple[Array, Array, Array]

    def holds(self, u: Array) -> NDArray[np.bool_]:
        return np.abs(u - self.centre) <= self.reach * (1 + 1e-12)

    def at(self, u: float, derivative: int) -> float:
        """The series, or a derivative of it in u, at one point."""
        series = self.series[derivative]
        angle = math.acos(min(max((u - self.centre) / self.reach, -1.0), 1.0))
        return float(np.cos(angle * np.arange(series.size)) @ series) / self.reach**derivative

    def __call__(self, u: Array, derivative: int) -> Array:
        series = self.series[derivative]
        angle = np.arccos(np.clip((u - self.centre) / self.reach, -1, 1))
        # T_j(cos φ) = cos jφ: for a few points much quicker than a recursion over j
        return np.cos(angle[..., None] * np.arange(series.size)) @ series / self.reach**derivative


@dataclass(frozen=True, eq=False)
class SparseLogDet:
    """Log-determinant of a sparse W from factorisations of I − ρW, made when they are first needed and kept.

    Parameters
    ----------
    matrix
        W (n, n), non-negative.
    symmetriser
        d > 0 (n,) with diag(d) W symmetric, or None where there is none. With it I − ρW, in the form
        D^{1/2} W D^{-1/2}, is positive definite on the whole admissible interval and needs no pivoting.

    Notes
    -----
    ``first`` and ``second`` are the derivatives of the interpolant: −tr G and −tr G² without an inverse. All answers
    are NaN outside ``interval``. ``centred=True`` needs Wι = ι.
    """

    matrix: sparse.csr_array
    symmetriser: Array | None
    _windows: list[_Window] = field(default_factory=list, repr=False)
    _known: dict[float, float] = field(default_factory=dict, repr=False)
    _order: list[Any] = field(default_factory=list, repr=False)

    @property
    def n(self) -> int:
        """Number of units."""
        return self.matrix.shape[0]

    @cached_property
    def units(self) -> int:
        """Unit eigenvalues that are known and taken out."""
        return unit_eigenvalues(self.matrix) if is_row_normalised(self.matrix) else 0

    @cached_property
    def _form(self) -> sparse.csr_array:
        """W, or the symmetric matrix similar to it."""
        if self.symmetriser is None:
            return self.matrix
        return symmetric_form(self.matrix, self.symmetriser)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The admissible interval of ρ.

        Symmetric links: (1/ω_min, 1/ω_max) by Lanczos, each end drawn in by the bound on its error; the upper end
        is one exactly for a row-normalised W. Otherwise (−1/r, 1/r) with r the spectral radius: one for a
        row-normalised W, else by Arnoldi. Below −1/r there may be further admissible ρ, which are not searched.
        """
        if self.symmetriser is None:
            end = 1.0 if self.units else 1 / spectral_radius(self.matrix)
            return -end, end
        low = 1 / _extreme_eigenvalue(self._form, "SA")
        return low, 1.0 if self.units else 1 / _extreme_eigenvalue(self._form, "LA")

    @cached_property
    def rough(self) -> QuadratureLogDet:
        """An approximation that is cheap everywhere: where to look for a maximum, not where it is."""
        if self.symmetriser is None or not self.units:
            return QuadratureLogDet.of(self._form, self.interval, self.n, 0, lambda probe: probe)
        _, component = csgraph.connected_components(self.matrix, directed=False)
        root = np.sqrt(self.symmetriser)
        norms = np.bincount(component, root**2)

        def off_unit_vectors(probe: Array) -> Array:
            return probe - root * (np.bincount(component, root * probe) / norms)[component]

        live = self.n - (len(norms) - self.units)  # an island is a component without a unit eigenvalue
        return QuadratureLogDet.of(self._form, self.interval, live, self.units, off_unit_vectors)

    @property
    def concave(self) -> bool:
        """True where W is similar to a symmetric matrix."""
        return self.symmetriser is not None

    def cover(self, low: float, high: float) -> None:
        """Make the answers between two values of ρ ready, with one set of factorisations."""
        ends = self._u(np.clip([low, high], *self._inner))
        if not any(window.holds(ends).all() for window in self._windows):
            self._add(ends)

    def value(self, rho: ArrayLike, centred: bool = False) -> Array:
        """ln|I − ρW|."""
        rho = np.asarray(rho, float)
        return self._smooth(rho, 0) + _unit_part(rho, self.units - centred, 0)

    def first(self, rho: ArrayLike, centred: bool = False) -> Array:
        """d′(ρ) = −tr G."""
        rho = np.asarray(rho, float)
        return self._smooth(rho, 1) + _unit_part(rho, self.units - centred, 1)

    def second(self, rho: ArrayLike, centred: bool = False) -> Array:
        """d″(ρ) = −tr G²."""
        rho = np.asarray(rho, float)
        return self._smooth(rho, 2) + _unit_part(rho, self.units - centred, 2)

    def _smooth(self, rho: Array, derivative: int) -> Array:
        """h = ln|I − ρW| less the unit eigenvalues, or a derivative of it in ρ, in the shape of ρ."""
        if rho.ndim == 0:
            known = self._known_at(float(rho), derivative)
            if known is not None:
                return np.float64(known)
        flat = rho.ravel()
        low, high = self.interval
        inside = (flat > low) & (flat < high) & (flat != 0)
        out = np.where(flat == 0, self._at_zero[derivative], np.nan)
        if inside.any():
            out[inside] = self._inside(flat[inside], derivative)
        return out.reshape(rho.shape)

    def _known_at(self, rho: float, derivative: int) -> float | None:
        """:meth:`_smooth` at one ρ inside a window, as searches ask for it again and again; else None."""
        low, high = self.interval
        if rho == 0 or not low < rho < high:
            return None
        u = math.log((rho - low) / (high - rho))
        holding = [w for w in self._windows if abs(u - w.centre) <= w.reach]
        if not holding:
            return None
        window = min(holding, key=lambda w: w.reach)
        left, right = 1 / (rho - low), 1 / (high - rho)
        if derivative < 2:
            return window.at(u, derivative) * (left + right) ** derivative
        return window.at(u, 2) * (left + right) ** 2 + window.at(u, 1) * (right**2 - left**2)

    @cached_property
    def _at_zero(self) -> tuple[float, float, float]:
        W = self.matrix
        square = float(W.multiply(W.T).sum())
        return 0.0, self.units - float(W.trace()), self.units - square

    def _inside(self, rho: Array, derivative: int) -> Array:
        u = self._u(rho)
        left = ~np.any([window.holds(u) for window in self._windows], axis=0) & np.ones(u.shape, bool)
        out = np.empty(u.shape)
        if left.any() and derivative == 0 and np.unique(rho[left]).size <= SINGLE_VALUES:
            out[left] = [self._factorised(r) for r in rho[left]]
        elif left.any():
            self._add(u[left])
            left[:] = False
        if left.all():
            return out
        v, du, d2u = u[~left], *self._slopes(rho[~left])
        if derivative == 0:
            out[~left] = self._interpolate(v, 0)
        elif derivative == 1:
            out[~left] = self._interpolate(v, 1) * du
        else:
            out[~left] = self._interpolate(v, 2) * du**2 + self._interpolate(v, 1) * d2u
        return out

    def _interpolate(self, u: Array, derivative: int) -> Array:
        """From the narrowest window that holds each point, which must have one."""
        out = np.empty(u.shape)
        left = np.ones(u.shape, bool)
        for window in sorted(self._windows, key=lambda w: w.reach):
            here = left & window.holds(u)
            if here.any():
                out[here] = window(u[here], derivative)
                left &= ~here
        return out

    def _add(self, u: Array) -> None:
        """Build the window that serves points u: around them, or the whole interval."""
        low, high = float(u.min()), float(u.max())
        if high - low > WIDE or len(self._windows) >= WINDOWS:
            ends = self._u(np.array(self._inner))
            low, high = min(low, ends[0]), max(high, ends[1])
        centre, reach = (low + high) / 2, max((high - low) / 2, LOCAL_REACH)
        self._windows.append(self._window(centre, reach))

    def _window(self, centre: float, reach: float) -> _Window:
        strip = math.pi / (1 if self.symmetriser is not None else 2) / reach
        accuracy = NODE_ACCURACY if self.n <= MANY_UNITS else MANY_UNITS_ACCURACY
        count = math.ceil(-math.log(accuracy) / math.asinh(strip)) + 1
        nodes = chebyshev.chebpts1(count)
        values = np.array([self._factorised(rho) for rho in self._rho(centre + reach * nodes)])
        basis = chebyshev.chebvander(nodes, count - 1)
        series = basis.T @ values * (2 / count)
        series[0] /= 2
        slope = chebyshev.chebder(series)
        return _Window(centre, reach, (series, slope, chebyshev.chebder(slope)))

    def _factorised(self, rho: float) -> float:
        """h at one ρ, from one factorisation."""
        rho = float(rho)
        if rho not in self._known:
            self._known[rho] = float(self._determinant(rho) - _unit_part(rho, self.units, 0))
        return self._known[rho]

    def _determinant(self, rho: float) -> float:
        cholmod = _cholmod() if self.symmetriser is not None else None
        if cholmod is not None:
            return _by_cholesky(cholmod, self._form, rho, self._order)
        safe = self.symmetriser is not None or abs(rho) * self._largest_sums < 1
        pivots = self._ordered(rho) if safe else factorise(_system(self._form, rho), False).U.diagonal()
        return float(np.log(np.abs(pivots)).sum())

    def _ordered(self, rho: float) -> Array:
        """Pivots of I − ρW without pivoting; the first factorisation finds the order of all others."""
        if not self._order:
            factor = factorise(_system(self._form, rho), True)
            order = np.argsort(factor.perm_c)
            self._order.append(_Shifted.of(sparse.csr_array(self._form[order][:, order])))
            return factor.U.diagonal()
        return factorise(self._order[0].at(rho), True, "NATURAL").U.diagonal()

    @cached_property
    def _largest_sums(self) -> float:
        return largest_sums(self.matrix)

    @cached_property
    def _inner(self) -> tuple[float, float]:
        low, high = self.interval
        margin = MARGIN * (high - low)
        return low + margin, high - margin

    def _u(self, rho: Array) -> Array:
        low, high = self.interval
        return np.log((rho - low) / (high - rho))

    def _rho(self, u: Array) -> Array:
        low, high = self.interval
        return low + (high - low) / (1 + np.exp(-u))

    def _slopes(self, rho: Array) -> tuple[Array, Array]:
        """du/dρ and d²u/dρ²."""
        low, high = self.interval
        left, right = 1 / (rho - low), 1 / (high - rho)
        return left + right, right**2 - left**2


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
            + _unit_part(rho, self.units - centred, 0)
            - one * rho
            - two * rho**2 / 2
        )

    def first(self, rho: ArrayLike, centred: bool = False) -> Array:
        """−tr G, roughly."""
        rho = np.asarray(rho, float)
        ratio = self.nodes / (1 - rho[..., None] * self.nodes)
        one, two = self.correction
        return -np.real(ratio @ self.weights) + _unit_part(rho, self.units - centred, 1) - one - two * rho

    def second(self, rho: ArrayLike, centred: bool = False) -> Array:
        """−tr G², roughly."""
        rho = np.asarray(rho, float)
        ratio = self.nodes / (1 - rho[..., None] * self.nodes)
        return (
            -np.real(ratio**2 @ self.weights) + _unit_part(rho, self.units - centred, 2) - self.correction[1]
        )


def _unit_part(rho: Array | float, count: int, derivative: int) -> Array | float:
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


def _extreme_eigenvalue(form: sparse.csr_array, which: str) -> float:
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
