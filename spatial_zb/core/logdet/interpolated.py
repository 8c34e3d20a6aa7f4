"""ln|I − ρW| of a large sparse W: exact factorisations at a few ρ, interpolated in between.

The variable of interpolation is u = ln[(ρ − low)/(high − ρ)] on the admissible interval (low, high). Every ρ at which
I − ρW is singular lies outside the interval and so has Im u = π (any ρ of modulus beyond −low = high, for complex
eigenvalues, has |Im u| ≥ π/2): ln|I − ρW| is analytic in a strip of that half-width, and Chebyshev interpolation over
a window of half-length L in u gains log[s + √(s² + 1)] in digits per node, s = strip/L. Seven or eight nodes do for
six standard errors either side of an estimate, some sixty for the whole interval.

Known unit eigenvalues, one per closed class of a row-normalised W, are taken out first and put back exactly.

References: Pace & Barry (1997), Geogr. Analysis 29: 232-247 (sparse determinants); Pace & LeSage (2004), Comput.
Statist. Data Anal. 45: 179-196 (Chebyshev); Trefethen (2013), Approximation Theory and Approximation Practice, ch. 8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse import csgraph

from spatial_zb.core import Array, Values
from spatial_zb.core.logdet.factors import (
    ShiftedSystem,
    by_cholesky,
    cholmod_module,
    extreme_eigenvalue,
    factorise,
    is_row_normalised,
    largest_sums,
    spectral_radius,
    symmetric_form,
    system_at,
    unit_eigenvalues,
)
from spatial_zb.core.logdet.stochastic import QuadratureLogDet, unit_part

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


@dataclass(frozen=True, slots=True)
class _Window:
    """Chebyshev series of h(u) on [centre − reach, centre + reach], and of its first two derivatives."""

    centre: float
    reach: float
    series: tuple[NDArray[np.floating], ...]

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
        low = 1 / extreme_eigenvalue(self._form, "SA")
        return low, 1.0 if self.units else 1 / extreme_eigenvalue(self._form, "LA")

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
        return self._smooth(rho, 0) + unit_part(rho, self.units - centred, 0)

    def first(self, rho: ArrayLike, centred: bool = False) -> Array:
        """d′(ρ) = −tr G."""
        rho = np.asarray(rho, float)
        return self._smooth(rho, 1) + unit_part(rho, self.units - centred, 1)

    def second(self, rho: ArrayLike, centred: bool = False) -> Array:
        """d″(ρ) = −tr G²."""
        rho = np.asarray(rho, float)
        return self._smooth(rho, 2) + unit_part(rho, self.units - centred, 2)

    def _smooth(self, rho: Array, derivative: int) -> Array:
        """h = ln|I − ρW| less the unit eigenvalues, or a derivative of it in ρ, in the shape of ρ."""
        if rho.ndim == 0:
            known = self._known_at(float(rho), derivative)
            if known is not None:
                return np.array(known)
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
            self._known[rho] = float(self._determinant(rho) - unit_part(rho, self.units, 0))
        return self._known[rho]

    def _determinant(self, rho: float) -> float:
        solver = cholmod_module() if self.symmetriser is not None else None
        if solver is not None:
            return by_cholesky(solver, self._form, rho, self._order)
        safe = self.symmetriser is not None or abs(rho) * self._largest_sums < 1
        pivots = self._ordered(rho) if safe else factorise(system_at(self._form, rho), False).U.diagonal()
        return float(np.log(np.abs(pivots)).sum())

    def _ordered(self, rho: float) -> Array:
        """Pivots of I − ρW without pivoting; the first factorisation finds the order of all others."""
        if not self._order:
            factor = factorise(system_at(self._form, rho), True)
            order = np.argsort(factor.perm_c)
            self._order.append(ShiftedSystem.of(sparse.csr_array(self._form[order][:, order])))
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


@dataclass(frozen=True, slots=True)
class Nodes:
    """Chebyshev's points of an interval: a dear function with poles just beyond it, seen from a few of its values."""

    bounds: tuple[float, float]
    count: int

    @property
    def places(self) -> Array:
        (low, high), turns = self.bounds, np.cos(np.pi * (np.arange(self.count) + 0.5) / self.count)
        return (low + high) / 2 + (high - low) / 2 * turns

    def damp(self, at: Values) -> Array:
        """What takes the poles away."""
        (low, high), wide = self.bounds, (self.bounds[1] - self.bounds[0]) * 1e-2
        return (np.asarray(at) - low + wide) * (high + wide - np.asarray(at))

    def weights(self, at: Values) -> Array:
        """What each value counts in the interpolating polynomial (..., count): the barycentric formula."""
        turns = np.pi * (np.arange(self.count) + 0.5) / self.count
        apart = np.asarray(at)[..., None] - self.places
        share = (-1.0) ** np.arange(self.count) * np.sin(turns) / np.where(apart == 0, 1e-300, apart)
        return share / share.sum(axis=-1, keepdims=True)
