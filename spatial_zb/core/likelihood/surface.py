"""Maxima of the likelihood over (ρ, λ) together: a grid in one solve, then Newton's method with exact derivatives.

With S(λ) the (2, 2) matrix of cross-products of B e_y and B e_Wy off the columns of BQ, and v = (1, −ρ)',

    ln L = T* [D(ρ) + D(λ)] − (N/2) ln SSR + constant,   SSR = v'S(λ)v:

a quadratic in ρ whose coefficients depend on λ alone, so that a grid of a × b points takes b regressions. With
X = (BQ'BQ)⁻¹ (BQ)'B[e_y, e_Wy] and derivatives of the Gram matrix in λ, S′ = [I, −X']G′[I, −X']' and
S″ = [I, −X']G″[I, −X']' − 2 C'(BQ'BQ)⁻¹C, C = G′_qa − G′_qq X.

Surfaces are of one sample, or of many that are climbed together. Estimates that have no likelihood are found here too, where
the scores of one or two coefficients fall through zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from spatial_zb.core import Array
from spatial_zb.core.logdet import LogDet
from spatial_zb.core.transforms import TransformedSample

Point = tuple[float, float]

#: Points of the grid in each direction.
GRID = 21
#: Points of the grid along an edge, on which one coefficient is at an end.
EDGE_GRID = 201
#: A climb that takes more steps than this goes to an end of the interval or nowhere.
CLIMB_STEPS = 40
#: A Newton step that gains less than this needs no check that it gains at all; rounding could deny it.
SURE_GAIN = 1e-6
#: A Newton step this short is the last one.
LAST_STEP = 1e-11
#: Steps shrink slowly towards a top that is nearly flat: it is reached when so little is left to gain.
FLAT_GAIN = 1e-12
#: Determinants between the ends of the interval that may be needed to see that no edge is higher than a maximum.
CEILING = 8
#: No step goes further than this share of the way to an end.
SHARE_OF_WAY = 0.9
#: A climb goes on from a saddle this far to either side.
PUSH = 1e-2
#: Maxima nearer than this are one.
SAME_MODE = 1e-6
#: An edge of the square is no rival when a maximum is higher than its grid by so much per observation.
EDGE_ROOM = 0.01
#: Scores by row are zero when they are so small.
ZERO = 1e-9
#: Points of a grid in each direction on which signs of two scores are read, points of a path between two roots.
PAIR_SCAN, PATH = 61, 12
#: Roots nearer than this are one: exact ones, and those of rough scores.
SAME_ROOT, ALIKE = 1e-6, 1e-3


@dataclass(frozen=True, slots=True)
class Surface:
    """The concentrated log-likelihood on the square of ``bounds``.

    ``gram0``, ``cross``, ``gram1`` (2 + k, 2 + k): the Gram matrix of B[e_y, e_Wy, Q] is gram0 − λ cross + λ² gram1.
    """

    gram0: Array
    cross: Array
    gram1: Array
    logdet: LogDet
    sample: TransformedSample
    bounds: tuple[float, float]

    def values(self, rho: Array, lam: Array) -> Array:
        """ln L up to its constant at all pairs, (a, b)."""
        ssr = _sums(self._moments(lam)[0], rho[:, None])
        d_rho, d_lam = (self.logdet.value(c, self.sample.centred) for c in (rho, lam))
        return self.sample.concentrated(d_rho[:, None] + d_lam, ssr)

    def modes(self) -> list[Point]:
        """Every local maximum: climb from the points of the grid that beat their neighbours.

        A climb along the ridge between two maxima ends on the saddle, and goes on to either side of it.
        """
        found: list[Point] = []
        for start in self._peaks():
            end, curve = self._climb(start)
            ends = [(end, curve)]
            if np.isfinite(curve).all() and not _is_top(curve):
                push = PUSH * np.linalg.eigh(curve)[1][:, 1]
                ends = [self._climb(end + push), self._climb(end - push)]
            for point, bend in ends:
                if _is_top(bend) and not any(np.hypot(*(point - other)) < SAME_MODE for other in found):
                    found.append((float(point[0]), float(point[1])))
        return found

    def edges(self) -> Iterator[tuple[Array, Array, Array]]:
        """ρ, λ and ln L along the four edges."""
        ends, along = np.array(self.bounds), np.linspace(*self.bounds, EDGE_GRID)
        by_lam, by_rho = self.values(ends, along), self.values(along, ends)
        for i, end in enumerate(self.bounds):
            fixed = np.full(along.shape, end)
            yield fixed, along, by_lam[i]
            yield along, fixed, by_rho[:, i]

    def top(self, start: Point) -> Point | None:
        """The maximum that Newton's method reaches from a point; None where it goes elsewhere."""
        end, curve = self._climb(start)
        return (float(end[0]), float(end[1])) if _is_top(curve) else None

    def curve(self, point: Point) -> Array:
        """Second derivatives (2, 2) of ln L at a point."""
        return self._expansion(np.array(point))[2]

    def above_edges(self, mode: Point) -> bool:
        """Whether a maximum is higher than every edge, by a bound that needs few determinants: at both ends, and if that is
        not enough at CEILING points between them.

        A concave D lies below its tangents, at ρ̂, λ̂ and 0, and outside two points below the line through them; SSR is known
        everywhere.
        """
        if not self.logdet.concave:
            return False
        along, top = np.linspace(*self.bounds, EDGE_GRID), self._expansion(np.array(mode))[0]
        S, S_end = self._moments(along)[0], self._moments(np.array(self.bounds))[0]
        ssr = np.array([*(_sums(S, end) for end in self.bounds), *(_sums(here, along) for here in S_end)])
        points = np.array([*self.bounds, *mode, 0.0])
        for more in (0, CEILING):
            points = np.union1d(points, np.linspace(*self.bounds, more + 2))
            values = np.array([float(self.logdet.value(c, self.sample.centred)) for c in points])
            fixed = np.tile(values[[0, -1]], 2)[:, None]
            heights = self.sample.concentrated(fixed + self._ceiling(along, mode, points, values), ssr)
            if heights.max() < top:
                return True
        return False

    def _ceiling(self, at: Array, mode: Point, points: Array, values: Array) -> Array:
        """What D does not exceed, given its values at some points and its slopes at the mode and at zero."""
        slopes = np.diff(values) / np.diff(points)
        lines = values[:-1] + slopes * (at[:, None] - points[:-1])
        between = (at[:, None] > points[:-1]) & (at[:, None] < points[1:])
        touching = np.array([*mode, 0.0])
        value, first = (f(touching, self.sample.centred) for f in (self.logdet.value, self.logdet.first))
        tangents = value + first * (at[:, None] - touching)
        return np.minimum(np.where(between, np.inf, lines).min(axis=1), tangents.min(axis=1))

    def _peaks(self) -> list[Point]:
        grid = np.linspace(*self.bounds, GRID)
        values = self.values(grid, grid)
        padded = np.pad(values, 1, constant_values=-np.inf)
        shifts = [(i, j) for i in (0, 1, 2) for j in (0, 1, 2) if (i, j) != (1, 1)]
        around = np.max([padded[i : i + GRID, j : j + GRID] for i, j in shifts], axis=0)
        return [(float(grid[i]), float(grid[j])) for i, j in np.argwhere(values >= around)]

    def _climb(self, start: ArrayLike) -> tuple[Array, Array]:
        """Where Newton's method uphill ends, and the second derivatives there; NaN at an end of the square."""
        low, high = self.bounds
        margin = 1e-9 * (high - low)
        point = np.clip(start, low + margin, high - margin)
        value, slope, curve = self._expansion(point)
        for _ in range(CLIMB_STEPS):
            step = _uphill(slope, curve)
            room = np.where(step > 0, high - point, point - low) / np.maximum(np.abs(step), 1e-300)
            step = step * min(1.0, SHARE_OF_WAY * float(room.min()))
            sure = _is_top(curve) and slope @ step < SURE_GAIN
            following = self._expansion(point + step)
            while not sure and following[0] < value and np.abs(step).max() > LAST_STEP:
                step = step / 4
                following = self._expansion(point + step)
            point, (value, slope, curve) = point + step, following
            if np.abs(step).max() <= LAST_STEP:
                break
        inside = min(point.min() - low, high - point.max()) > margin
        arrived = inside and slope @ _uphill(slope, curve) < FLAT_GAIN
        return point, curve if arrived else np.full((2, 2), np.nan)

    def _moments(self, lam: Array) -> tuple[Array, Array, Array]:
        """S, S′ and S″ at each λ (b,), (b, 2, 2)."""
        return _partialled(self.gram0, self.cross, self.gram1, lam)

    def _expansion(self, point: Array) -> tuple[float, Array, Array]:
        """ln L up to its constant, its gradient (2,) and its second derivatives (2, 2) at (ρ, λ)."""
        S, S1, S2 = (form[0] for form in self._moments(point[1:]))
        v = np.array([1.0, -point[0]])
        ssr, first = v @ S @ v, np.array([-2 * (S[1] @ v), v @ S1 @ v])
        mixed = -2 * (S1[1] @ v)
        second = np.array([[2 * S[1, 1], mixed], [mixed, v @ S2 @ v]])
        T, half, centred = self.sample.periods, self.sample.observations / 2, self.sample.centred
        value = self.sample.concentrated(self.logdet.value(point, centred).sum(), ssr)
        slope = self.sample.concentrated_score(self.logdet.first(point, centred), ssr, first)
        curve = np.diag(T * self.logdet.second(point, centred)) - half * (
            second / ssr - np.outer(first, first) / ssr**2
        )
        return float(value), slope, curve


def _partialled(gram0: Array, cross: Array, gram1: Array, lam: Array) -> tuple[Array, Array, Array]:
    """S, S′ and S″ (b, 2, 2) at each λ (b,), of one set of Gram matrices or of one (b, 2 + k, 2 + k) for each λ."""
    at = lam[:, None, None]
    G = gram0 - at * cross + at**2 * gram1
    G1, G2 = 2 * at * gram1 - cross, 2 * gram1
    X = np.linalg.solve(G[:, 2:, 2:], G[:, 2:, :2])
    Xt = X.swapaxes(1, 2)
    S = G[:, :2, :2] - Xt @ G[:, 2:, :2]
    E = np.concatenate([np.broadcast_to(np.eye(2), (len(lam), 2, 2)), -X], axis=1)
    C = (G1 @ E)[:, 2:]
    Et = E.swapaxes(1, 2)
    S2 = Et @ G2 @ E - 2 * C.swapaxes(1, 2) @ np.linalg.solve(G[:, 2:, 2:], C)
    return S, Et @ G1 @ E, S2


def _sums(S: Array, rho: ArrayLike) -> Array:
    """SSR = v'Sv, v = (1, −ρ)', of S (…, 2, 2)."""
    r = np.asarray(rho)
    return S[..., 0, 0] - 2 * r * S[..., 0, 1] + r**2 * S[..., 1, 1]


def _is_top(curve: Array) -> bool:
    """Whether second derivatives are those of a maximum; not when they are NaN."""
    return bool(curve[0, 0] < 0 and curve[0, 0] * curve[1, 1] > curve[0, 1] ** 2)


def _uphill(slope: Array, curve: Array) -> Array:
    """Newton's step, with every curvature turned downwards, so that it rises."""
    sizes, axes = np.linalg.eigh(curve)
    return axes @ ((axes.T @ slope) / np.maximum(np.abs(sizes), 1e-8 * np.abs(sizes).max()))


@dataclass(frozen=True, slots=True)
class Surfaces:
    """The surfaces of R samples, with Gram matrices (R, 2 + k, 2 + k), climbed together."""

    gram0: Array
    cross: Array
    gram1: Array
    logdet: LogDet
    sample: TransformedSample
    bounds: tuple[float, float]

    def best(self) -> tuple[Array, NDArray[np.bool_]]:
        """The highest maximum (R, 2) of each, and whether it is found; NaN, False: the sample needs a look of its own.

        That is where a climb ends on a saddle, where none ends inside, and where an edge of the square comes near the top:
        between points of the grid it is higher than at them by at most an eighth of the squared step times its curvature.
        """
        R, grid = len(self.gram0), np.linspace(*self.bounds, GRID)
        values = self._grid_values(grid)
        padded = np.pad(values, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
        around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2)).max(axis=(3, 4))
        which, *place = np.nonzero(values >= around)
        at, height, curve, inside = self._climb(which, np.stack([grid[place[0]], grid[place[1]]], axis=1))
        top = inside & _are_tops(curve)
        found, highest = np.full((R, 2), np.nan), np.full(R, -np.inf)
        rising = np.argsort(height, kind="stable")
        rising = rising[top[rising]]  # the highest of a sample is written last
        found[which[rising]], highest[which[rising]] = at[rising], height[rising]
        ring = np.concatenate(
            [values[:, [0, -1], :].reshape(R, -1), values[:, :, [0, -1]].reshape(R, -1)], axis=1
        )
        settled = highest > ring.max(axis=1) + EDGE_ROOM * self.sample.observations
        settled[which[inside & ~top]] = False
        found[~settled] = np.nan
        return found, settled

    def _grid_values(self, grid: Array) -> Array:
        """ln L up to its constant at all pairs of each, (R, ρ, λ)."""
        d = self.logdet.value(grid, self.sample.centred)
        values = np.empty((len(self.gram0), len(grid), len(grid)))
        for j, lam in enumerate(grid):
            G = self.gram0 - lam * self.cross + lam**2 * self.gram1
            S = G[:, :2, :2] - G[:, :2, 2:] @ np.linalg.solve(G[:, 2:, 2:], G[:, 2:, :2])
            values[:, :, j] = self.sample.concentrated(d + d[j], _sums(S[:, None], grid))
        return values

    def _climb(self, which: NDArray[np.intp], at: Array) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
        """As :meth:`Surface._climb`: where each ends, ln L and second derivatives there, and whether that is inside."""
        low, high = self.bounds
        margin = 1e-9 * (high - low)
        at = np.clip(at, low + margin, high - margin)
        value, slope, curve = self._expansion(which, at)
        left = np.arange(len(which))
        for _ in range(CLIMB_STEPS):
            here = at[left]
            step = _all_uphill(slope[left], curve[left])
            room = np.where(step > 0, high - here, here - low) / np.maximum(np.abs(step), 1e-300)
            step *= np.minimum(1.0, SHARE_OF_WAY * room.min(axis=1))[:, None]
            sure = _are_tops(curve[left]) & ((slope[left] * step).sum(axis=1) < SURE_GAIN)
            there = self._expansion(which[left], here + step)
            while (falls := ~sure & (there[0] < value[left]) & (np.abs(step).max(axis=1) > LAST_STEP)).any():
                step[falls] /= 4
                for new, old in zip(
                    self._expansion(which[left[falls]], (here + step)[falls]), there, strict=True
                ):
                    old[falls] = new
            at[left] = here + step
            value[left], slope[left], curve[left] = there
            left = left[np.abs(step).max(axis=1) > LAST_STEP]
            if not len(left):
                break
        inside = np.minimum(at - low, high - at).min(axis=1) > margin
        return at, value, curve, inside & ((slope * _all_uphill(slope, curve)).sum(axis=1) < FLAT_GAIN)

    def _expansion(self, which: NDArray[np.intp], at: Array) -> tuple[Array, Array, Array]:
        """As :meth:`Surface._expansion`, at a point (K, 2) of each chosen sample."""
        S, S1, S2 = _partialled(self.gram0[which], self.cross[which], self.gram1[which], at[:, 1])
        v = np.stack([np.ones(len(at)), -at[:, 0]], axis=1)
        Sv, S1v, S2v = ((form @ v[:, :, None])[:, :, 0] for form in (S, S1, S2))
        ssr = (v * Sv).sum(axis=1)
        first = np.stack([-2 * Sv[:, 1], (v * S1v).sum(axis=1)], axis=1)
        mixed = -2 * S1v[:, 1]
        second = np.stack([2 * S[:, 1, 1], mixed, mixed, (v * S2v).sum(axis=1)], axis=1).reshape(-1, 2, 2)
        T, half, centred = self.sample.periods, self.sample.observations / 2, self.sample.centred
        value = self.sample.concentrated(self.logdet.value(at, centred).sum(axis=1), ssr)
        slope = self.sample.concentrated_score(self.logdet.first(at, centred), ssr[:, None], first)
        relative = first / ssr[:, None]
        curve = -half * (second / ssr[:, None, None] - relative[:, :, None] * relative[:, None])
        curve[:, [0, 1], [0, 1]] += T * self.logdet.second(at, centred)
        return value, slope, curve


def _are_tops(curve: Array) -> NDArray[np.bool_]:
    return (curve[:, 0, 0] < 0) & (curve[:, 0, 0] * curve[:, 1, 1] > curve[:, 0, 1] ** 2)


def _all_uphill(slope: Array, curve: Array) -> Array:
    """As :func:`_uphill`, (K, 2)."""
    sizes, axes = np.linalg.eigh(curve)
    sizes = np.maximum(np.abs(sizes), 1e-8 * np.abs(sizes).max(axis=1, keepdims=True))
    return (axes @ ((axes.swapaxes(1, 2) @ slope[:, :, None]) / sizes[:, :, None]))[:, :, 0]


# --- Roots of scores


def polished(value: Callable[[float], float], rough: list[float], bounds: Point, scan: int) -> list[float]:
    """The exact falls near approximate ones: by secants, and where these lead away between two signs.

    ``scan`` points were looked at between ``bounds`` to find the approximate ones.
    """
    out, step = [], (bounds[1] - bounds[0]) / scan
    for start in rough:
        other = min(start + step / 20, bounds[1])
        root, report = scipy.optimize.newton(
            value, start, x1=other, tol=1e-14, rtol=1e-13, maxiter=12, full_output=True, disp=False
        )
        if not (report.converged and abs(root - start) < 4 * step and bounds[0] < root < bounds[1]):
            low, high = max(bounds[0], start - 8 * step), min(bounds[1], start + 8 * step)
            root = root_between(value, low, high) if value(low) > 0 >= value(high) else np.nan
        out += [] if np.isnan(root) else [float(root)]
    return out


def root_between(value: Callable[[float], float], low: float, high: float) -> float:
    """Where a function changes sign; an argument, since what scipy wraps stays in a circle with all that it holds."""
    return float(
        scipy.optimize.brentq(lambda at, of: of(at), low, high, args=(value,), xtol=1e-14, rtol=1e-14)
    )


def falls(grid: Array, values: Array, value: Callable[[float], float]) -> tuple[list[float], float]:
    """Every fall of a score through zero, the highest first, and where it points to without one.

    Where it comes near zero between two points of one sign the grid is made finer: it may dip below and come back.
    """
    size, sign = np.abs(values), np.sign(values)
    near = (
        (size[1:-1] < size[:-2]) & (size[1:-1] < size[2:]) & (np.abs(sign[:-2] + sign[1:-1] + sign[2:]) == 3)
    )
    finer = np.array([np.linspace(grid[i], grid[i + 2], 9)[1:-1] for i in np.flatnonzero(near)]).ravel()
    if finer.size:
        grid, values = np.append(grid, finer), np.append(values, [value(float(c)) for c in finer])
        order = np.argsort(grid)
        grid, values = grid[order], values[order]
    falls = np.flatnonzero((values[:-1] > 0) & (values[1:] <= 0))
    height = np.concatenate([[0.0], np.cumsum(np.diff(grid) * (values[1:] + values[:-1]) / 2)])
    ranked = sorted(falls, key=lambda i: -height[i])
    roots = [root_between(value, grid[i], grid[i + 1]) for i in ranked]
    return roots, float(grid[-1] if values[-1] > 0 else grid[0])


def pair_root(
    pair: Callable[[Array], Array],
    start: Point,
    intervals: list[Point],
    rows: int,
    last: float = 1e-13,
    near: Callable[[Array], Array] | None = None,
) -> Point | None:
    """A root at which the score falls in every direction, or None; slopes are those of ``near`` where it is given."""
    low, high = np.array(intervals).T

    def inside(both: Array) -> Array:
        # Beyond the intervals, where filters may be singular: the value at the border, and a push back.
        return pair(held := np.clip(both, low, high)) / rows - 10.0 * (both - held)

    def slopes_at(at: Array) -> Array:
        at = np.clip(at, low + ALIKE**2, high - ALIKE**2)
        step, of = 1e-5 * np.minimum(1.0, np.minimum(high - at, at - low)), near or pair
        return np.column_stack([(of(at + h) - of(at - h)) / (2 * h.max()) for h in np.diag(step)])

    jac = (lambda at, _, slopes: slopes(at) / rows) if near else None
    both = inside, slopes_at
    found = scipy.optimize.root(lambda at, of, _: of(at), np.array(start), both, "hybr", jac=jac, tol=last)
    at = found.x
    if np.abs(found.fun).max() > ZERO or np.any(at <= low) or np.any(at >= high):
        return None
    slopes = slopes_at(at)
    return (float(at[0]), float(at[1])) if np.linalg.det(slopes) > 0 > np.trace(slopes) else None


def pair_roots(
    rough: Callable[[Array, Array], Array],
    pair: Callable[[Array], Array],
    intervals: list[Point],
    rows: int,
    last_step: float = 1e-13,
) -> tuple[list[Point], Point]:
    """Roots of (ψ_ρ, ψ_λ), the highest first, and where a grid has them nearest to zero.

    They are looked for where both may vanish in ``rough``, which is near the scores and cheap, then in the scores (``pair``)
    until a step is below ``last_step``. The integral of the scores from one to another tells which is higher.
    """
    rhos, lams = (np.linspace(*bounds, PAIR_SCAN) for bounds in intervals)
    values = rough(*np.meshgrid(rhos, lams, indexing="ij"))
    sign = np.sign(values)
    corners = sign[:, :-1, :-1] + sign[:, 1:, :-1] + sign[:, :-1, 1:] + sign[:, 1:, 1:]
    near, cheap = list[Point](), lambda both: rough(*both)
    for i, j in np.argwhere((np.abs(corners) < 4).all(axis=0)):
        start = (rhos[i] + rhos[i + 1]) / 2, (lams[j] + lams[j + 1]) / 2
        _add_root(near, pair_root(cheap, start, intervals, rows), ALIKE)
    i, j = np.unravel_index(int(np.argmin(np.abs(values).max(axis=0))), values.shape[1:])
    nearest, roots = (float(rhos[i]), float(lams[j])), list[Point]()
    for start in near or [nearest]:
        quick = pair_root(pair, start, intervals, rows, last_step, cheap)
        _add_root(roots, quick or pair_root(pair, start, intervals, rows, last_step), SAME_ROOT)
    heights = [0.0, *(climb(pair, roots[0], root) for root in roots[1:])][: len(roots)]
    return [roots[i] for i in np.argsort([-height for height in heights], kind="stable")], nearest


def _add_root(roots: list[Point], root: Point | None, apart: float) -> None:
    if root is not None and all(max(abs(root[0] - r), abs(root[1] - s)) > apart for r, s in roots):
        roots.append(root)


def climb(pair: Callable[[Array], Array], one: Point, other: Point) -> float:
    """∫ψ along the straight line from one root to another."""
    nodes, weights = np.polynomial.legendre.leggauss(PATH)
    start, way = np.array(one), np.array(other) - np.array(one)
    along = (pair(start + (x + 1) / 2 * way) @ way for x in nodes)
    return float(sum(w / 2 * value for w, value in zip(weights, along, strict=True)))
