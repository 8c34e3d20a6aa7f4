r"""The likelihood of one equation written for a panel of any shape: scores with expectation zero.

Rows that exist, W_t and V_t by period, any effects D: with S = I − ρW and B = I − λV, both block-diagonal by period,

    S y = Zδ + Dα + u,  B u = ε;   M the annihilator of BD,  ê = M(BSy − BZδ̂),  σ̂² = ê'ê/(N − rank D),

and, with F = B G B⁻¹, G = WS⁻¹, H = VB⁻¹,

    ψ_ρ = (BWy)'ê/σ̂² − tr(MF),    ψ_λ = ê'Hê/σ̂² − tr(MH),

δ by least squares. Given ρ and λ, M takes the effects out exactly, and the traces are what the quadratic forms expect of
independent errors: no W is asked to be constant or row-normalised, no unit to be there in every period. On balanced panels
with a constant row-normalised W the traces are those of the determinant of Lee & Yu (2010, eqs 10 and 24), and the root is
their estimate.

The derivation is our own: ψ is the score with dummies less its expectation (Neyman & Scott 1948; McCullagh & Tibshirani
1990, J. Royal Statistical Society B 52: 325-344).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from scipy import linalg, optimize
from scipy.linalg import lapack

from spatial_zb.core import Array, Values
from spatial_zb.core.likelihood import inner_interval
from spatial_zb.core.likelihood.shape_rows import EffectSpace, RowFilter, RowWeights, TraceCurve
from spatial_zb.core.transforms import ColumnBasis, column_basis

#: Points at which the sign of a score is read: where it is cheap, and where each costs factorisations.
SCAN, DEAR_SCAN = 201, 13
#: The same for λ, where every point is a regression, and by coordinate for both: up to that many units of a period, above.
ERROR_SCAN, PAIR_SCAN, FEW = (41, 13), (9, 6), 100
#: Roots of both are one when they are this near; a root is one when scores by row are this small.
SAME_ROOT, ZERO = 1e-6, 1e-9
#: Points of the integral of the score between two roots.
PATH = 12
#: Parts of a model at this many λ are kept.
KEPT = 48


@dataclass(frozen=True, eq=False)
class Shape:
    """A model without its y: rows, regressors, effects, lags.

    ``Z`` (N, k), ``unit`` (N,) the number of the unit of each row, ``starts`` (T + 1,) where periods begin, ``W`` of the lag
    of y and ``V`` of the error, None where the model has none. Traces depend on no more than this: panels of one shape
    share it.
    """

    Z: Array
    unit: NDArray[np.intp]
    starts: tuple[int, ...]
    effects: EffectSpace
    W: RowWeights | None
    V: RowWeights | None
    _kept: dict[float, Filtered] = field(default_factory=dict, repr=False)
    _lagged: dict[float, tuple[float, Array]] = field(default_factory=dict, repr=False)

    @property
    def free(self) -> int:
        """N − rank D: what the effects leave."""
        return len(self.Z) - self.effects.rank

    @cached_property
    def curve(self) -> TraceCurve:
        """tr(MG(ρ)) at λ = 0."""
        assert self.W is not None, "there is a lag of y"
        return TraceCurve(self.W, self.effects)

    @cached_property
    def moved(self) -> tuple[Array, Array]:
        """D'VD and D'V'VD for an orthonormal D, (r, r): BD of any λ is made of them."""
        assert self.V is not None, "the error is spatial"
        VD = self.V.matrix @ self.effects.full
        return self.effects.onto(VD), VD.T @ VD

    def at(self, lam: float) -> Filtered:
        """What depends on λ alone; kept for the last few."""
        if lam not in self._kept:
            if len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[lam] = Filtered(self, lam)
        return self._kept[lam]

    def lagged(self, rho: float) -> tuple[float, Array]:
        """tr G and (3, r, r): D'GD, D'(V + V')GD and D'V'VGD, of which tr(MF) of any λ is made."""
        if rho not in self._lagged:
            assert self.W is not None, "both lags"
            assert self.V is not None, "both lags"
            if len(self._lagged) >= KEPT:
                del self._lagged[next(iter(self._lagged))]
            found, V = RowFilter(self.W, rho), self.V.matrix
            GD = found.ahead(self.effects.full)
            VGD = V @ GD
            parts = GD, VGD + V.T @ GD, V.T @ VGD
            self._lagged[rho] = found.trace(), np.array([self.effects.onto(part) for part in parts])
        return self._lagged[rho]


@dataclass(frozen=True, eq=False)
class Filtered:
    """A shape at one λ: the annihilator M of BD, and MBZ."""

    shape: Shape
    lam: float

    def apply(self, values: Array) -> Array:
        """Bv of rows (N,) or (N, m)."""
        if self.shape.V is None or not self.lam:
            return values
        return values - self.lam * (self.shape.V.matrix @ values)

    def _apply_transposed(self, values: Array) -> Array:
        assert self.shape.V is not None, "the error is spatial"
        return values - self.lam * (self.shape.V.matrix.T @ values)

    @cached_property
    def error_filter(self) -> RowFilter:
        """H = VB⁻¹ and B⁻¹."""
        assert self.shape.V is not None, "the error is spatial"
        return RowFilter(self.shape.V, self.lam)

    @cached_property
    def gram(self) -> Array:
        """D'B'BD (r, r) of an orthonormal D."""
        lag, square = self.shape.moved
        return np.eye(len(lag)) - self.lam * (lag + lag.T) + self.lam**2 * square

    @cached_property
    def _factor(self) -> Array:
        return linalg.cholesky(self.gram, lower=True)

    @cached_property
    def basis(self) -> Array:
        """An orthonormal basis of BD, (N, r) dense."""
        BD = self.apply(self.shape.effects.full)
        return BD if not self.lam else lapack.dtrtrs(self._factor, BD.T, lower=True)[0].T

    def off(self, values: Array) -> Array:
        """Mv of rows (N,) or (N, m)."""
        effects = self.shape.effects
        if self.shape.V is None or not self.lam or not effects.rank:
            return effects.off(values)
        onto = effects.onto(self._apply_transposed(values))
        return values - self.apply(effects.spread(linalg.cho_solve((self._factor, True), onto)))

    @cached_property
    def regressors(self) -> ColumnBasis:
        """MBZ, orthonormalised."""
        return column_basis(self.off(self.apply(self.shape.Z)))

    def residual(self, values: Array) -> Array:
        """M_Z v of rows (N,) or (N, m) that are Bv already."""
        out, Q = self.off(values), self.regressors.Q
        for _ in range(2):  # once more: orthogonal to rounding when the fit is very good
            out = out - Q @ (Q.T @ out)
        return out

    def coefficients(self, values: Array) -> Array:
        """δ̂ of values (N,), which are Bv already."""
        basis = self.regressors
        onto = basis.Q.T @ self.off(values)
        return linalg.solve_triangular(basis.R, onto) / basis.scale if onto.size else onto

    @cached_property
    def trace_h(self) -> float:
        """tr(MH)."""
        lag, square = self.shape.moved
        inner = np.vdot(self._inverse, (lag - self.lam * square).T) if len(lag) else 0.0
        return self.error_filter.trace() - float(inner)

    @cached_property
    def _inverse(self) -> Array:
        return linalg.cho_solve((self._factor, True), np.eye(len(self.gram)))

    def trace_f(self, rho: Values) -> Values:
        """tr(MF), at one ρ or, without λ, at many."""
        if self.shape.V is None or not self.lam:
            return self.shape.curve.at(rho)
        trace, parts = self.shape.lagged(float(rho))
        inner = parts[0] - self.lam * parts[1] + self.lam**2 * parts[2]
        return trace - float(np.vdot(self._inverse.T, inner))


@dataclass(frozen=True, eq=False)
class ShapeScore:
    """ψ of one y (N,)."""

    shape: Shape
    y: Array
    _kept: dict[float, tuple[Array, Array]] = field(default_factory=dict, repr=False)

    @cached_property
    def Wy(self) -> Array:
        """Wy (N,), zero without a lag of y."""
        return np.zeros_like(self.y) if self.shape.W is None else self.shape.W.matrix @ self.y

    def parts(self, lam: float) -> tuple[Array, Array]:
        """M_Z By and M_Z BWy."""
        if lam not in self._kept:
            if len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            at = self.shape.at(lam)
            both = at.residual(at.apply(np.column_stack([self.y, self.Wy])))
            self._kept[lam] = both[:, 0], both[:, 1]
        return self._kept[lam]

    def of_rho(self, rho: Values, lam: float = 0.0, trace: Values | None = None) -> Array:
        """ψ_ρ at one ρ or many; ``trace`` tr(MF) where it is known."""
        a, b = self.parts(lam)
        cross, square = b @ a, b @ b
        variance = (a @ a - 2 * rho * cross + np.square(rho) * square) / self.shape.free
        return (cross - rho * square) / variance - (
            self.shape.at(lam).trace_f(rho) if trace is None else trace
        )

    def of_lambda(self, lam: float, rho: float = 0.0) -> float:
        """ψ_λ."""
        at, (a, b) = self.shape.at(lam), self.parts(lam)
        e = a - rho * b
        return float(e @ at.error_filter.ahead(e) / (e @ e / self.shape.free) - at.trace_h)

    def pair(self, both: Array) -> Array:
        """(ψ_ρ, ψ_λ) at (ρ, λ)."""
        rho, lam = float(both[0]), float(both[1])
        return np.array([float(self.of_rho(rho, lam)), self.of_lambda(lam, rho)])


@dataclass(frozen=True, eq=False)
class ShapeEstimate:
    """A root of ψ and what follows from it.

    ``solved``: there is a root; else ρ and λ are where the search ended, and nothing is to be claimed. ``roots`` lists every
    (ρ, λ) that was found, that of the estimate first. ``e`` (N,) ê, ``delta`` (k,).
    """

    score: ShapeScore
    rho: float
    lam: float
    delta: Array
    sigma2: float
    e: Array
    solved: bool
    roots: tuple[tuple[float, float], ...]

    @property
    def at(self) -> Filtered:
        """The shape at λ̂."""
        return self.score.shape.at(self.lam)


def shape_estimate(shape: Shape, y: Array) -> ShapeEstimate:
    """Solve ψ = 0 for the coefficients that the shape has.

    Of several roots the one to which the score leads furthest uphill: its integral from one root to another tells which is
    higher, as the likelihood would where there is one.
    """
    score = ShapeScore(shape, y)
    if shape.W is not None and shape.V is not None:
        found, last = _pairs(score)
    elif shape.W is not None:
        roots, end = _line(score)
        found, last = [(root, 0.0) for root in roots], (end, 0.0)
    elif shape.V is not None:
        roots, end = _error_line(score)
        found, last = [(0.0, root) for root in roots], (0.0, end)
    else:
        found, last = [(0.0, 0.0)], (0.0, 0.0)
    return estimate_at(score, *(found[0] if found else last), solved=bool(found), roots=tuple(found))


def estimate_at(
    score: ShapeScore,
    rho: float,
    lam: float,
    solved: bool = False,
    roots: tuple[tuple[float, float], ...] = (),
) -> ShapeEstimate:
    """δ, σ² and residuals given ρ and λ, a root or a value that is tested."""
    (a, b), at = score.parts(lam), score.shape.at(lam)
    e = a - rho * b
    delta = at.coefficients(at.apply(score.y - rho * score.Wy))
    return ShapeEstimate(score, rho, lam, delta, float(e @ e) / score.shape.free, e, solved, roots)


# --- Roots


def _line(score: ShapeScore) -> tuple[list[float], float]:
    """Roots of ψ_ρ at λ = 0, the highest first, and where it points to without one."""
    assert score.shape.W is not None, "there is a lag of y"
    bounds, curve = inner_interval(score.shape.W.interval), score.shape.curve
    if curve.decomposed is not None:
        grid = np.linspace(*bounds, SCAN)
        return _falls(grid, score.of_rho(grid), lambda rho: float(score.of_rho(rho)))
    series = _interpolated(curve.at, bounds)
    grid = np.linspace(*bounds, SCAN)
    rough, end = _falls(
        grid, score.of_rho(grid, trace=series(grid)), lambda c: float(score.of_rho(c, trace=series(c)))
    )
    step = (bounds[1] - bounds[0]) / SCAN
    exact = [_polished(lambda rho: float(score.of_rho(rho)), c, step, bounds) for c in rough]
    return [root for root in exact if root is not None], end


def _interpolated(
    function: Callable[[Array], Values], bounds: tuple[float, float]
) -> Callable[[Values], Array]:
    """A dear function with poles just beyond ``bounds``, from a few points: near enough to see where it falls."""
    low, high = bounds
    nodes = (low + high) / 2 + (high - low) / 2 * np.cos(np.pi * (np.arange(DEAR_SCAN) + 0.5) / DEAR_SCAN)
    wide = (high - low) * 1e-2

    def damp(at: Values) -> Array:
        return (np.asarray(at) - low + wide) * (high + wide - np.asarray(at))

    series = chebyshev.Chebyshev.fit(nodes, function(nodes) * damp(nodes), DEAR_SCAN - 1, domain=[low, high])
    return lambda at: series(at) / damp(at)


def _polished(
    value: Callable[[float], float], start: float, step: float, bounds: tuple[float, float]
) -> float | None:
    """The exact fall near an approximate one; None where there is none within a few steps."""
    low, high = start, start
    for _ in range(6):
        low, high = max(bounds[0], low - step), min(bounds[1], high + step)
        if value(low) > 0 >= value(high):
            return float(optimize.brentq(value, low, high, xtol=1e-14, rtol=1e-14))
        step *= 2
    return None


def _falls(grid: Array, values: Array, value: Callable[[float], float]) -> tuple[list[float], float]:
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
    roots = [float(optimize.brentq(value, grid[i], grid[i + 1], xtol=1e-14, rtol=1e-14)) for i in ranked]
    return roots, float(grid[-1] if values[-1] > 0 else grid[0])


def _few(score: ShapeScore) -> int:
    """Zero where periods have few units, else one: how finely is scanned."""
    weights = score.shape.V
    assert weights is not None, "the error is spatial"
    return int(max(W.shape[0] for W in weights.distinct) > FEW)


def _error_line(score: ShapeScore) -> tuple[list[float], float]:
    """Roots of ψ_λ at ρ = 0."""
    assert score.shape.V is not None, "the error is spatial"
    grid = np.linspace(*inner_interval(score.shape.V.interval), ERROR_SCAN[_few(score)])
    return _falls(grid, np.array([score.of_lambda(float(lam)) for lam in grid]), score.of_lambda)


def _pairs(score: ShapeScore) -> tuple[list[tuple[float, float]], tuple[float, float]]:
    """Roots of (ψ_ρ, ψ_λ), the highest first, from every cell of a grid in which both may vanish."""
    assert score.shape.W is not None, "both lags"
    assert score.shape.V is not None, "both lags"
    m = PAIR_SCAN[_few(score)]
    turns = np.cos(np.pi * (np.arange(m)[::-1] + 0.5) / m)
    intervals = [inner_interval(weights.interval) for weights in (score.shape.W, score.shape.V)]
    rhos, lams = ((low + high) / 2 + (high - low) / 2 * turns for low, high in intervals)
    values = np.array([[score.pair(np.array([rho, lam])) for lam in lams] for rho in rhos])
    sign = np.sign(values)
    corners = np.stack([sign[:-1, :-1], sign[1:, :-1], sign[:-1, 1:], sign[1:, 1:]])
    cells = np.argwhere((np.abs(corners.sum(axis=0)) < 4).all(axis=-1))
    starts = [((rhos[i] + rhos[i + 1]) / 2, (lams[j] + lams[j + 1]) / 2) for i, j in cells]
    scaled = np.abs(values).max(axis=2) if values.size else values
    best = np.unravel_index(int(np.argmin(scaled)), scaled.shape)
    nearest = float(rhos[best[0]]), float(lams[best[1]])
    roots: list[tuple[float, float]] = []
    for start in [*starts, nearest]:
        root = _pair_root(score, start, intervals)
        if root is not None and all(max(abs(root[0] - r), abs(root[1] - s)) > SAME_ROOT for r, s in roots):
            roots.append(root)
    heights = [0.0, *(_climb(score, roots[0], root) for root in roots[1:])]
    return [
        roots[i] for i in np.argsort([-height for height in heights][: len(roots)], kind="stable")
    ], nearest


def _pair_root(
    score: ShapeScore, start: tuple[float, float], intervals: list[tuple[float, float]]
) -> tuple[float, float] | None:
    """A root from a start, inside the intervals, at which the score falls in every direction; None without one."""
    low, high = np.array(intervals).T
    rows = len(score.y)

    def inside(both: Array) -> Array:
        held = np.clip(both, low, high)
        # Beyond the intervals, where filters may be singular: the value at the border, and a push back.
        return score.pair(held) / rows - 10.0 * (both - held)

    found = optimize.root(inside, np.array(start), method="hybr", tol=1e-13)
    at = found.x
    if np.abs(found.fun).max() > ZERO or np.any(at <= low) or np.any(at >= high):
        return None
    step = 1e-5 * np.minimum(1.0, np.minimum(high - at, at - low))
    slopes = np.column_stack(
        [(score.pair(at + h) - score.pair(at - h)) / (2 * h.max()) for h in np.diag(step)]
    )
    falls = np.linalg.det(slopes) > 0 and np.trace(slopes) < 0
    return (float(at[0]), float(at[1])) if falls else None


def _climb(score: ShapeScore, one: tuple[float, float], other: tuple[float, float]) -> float:
    """∫ψ along the straight line from one root to another."""
    nodes, weights = np.polynomial.legendre.leggauss(PATH)
    start, way = np.array(one), np.array(other) - np.array(one)
    return float(
        sum(
            w / 2 * (score.pair(start + (x + 1) / 2 * way) @ way) for x, w in zip(nodes, weights, strict=True)
        )
    )
