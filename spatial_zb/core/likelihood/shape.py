r"""The likelihood of one equation written for a panel of any shape: scores with expectation zero.

Rows that exist, W_t and V_t by period, any effects D: with S = I − ρW and B = I − λV, both block-diagonal by period,

    S y = Zδ + Dα + u,  B u = ε;   M the annihilator of BD,  ê = M(BSy − BZδ̂),  σ̂² = ê'ê/(N − rank D),

and, with F = B G B⁻¹, G = WS⁻¹, H = VB⁻¹,

    ψ_ρ = (BWy)'ê/σ̂² − tr(MF),    ψ_λ = ê'Hê/σ̂² − tr(MH),

δ by least squares. Given ρ and λ, M takes the effects out exactly, and the traces are what the quadratic forms expect of
independent errors: no W is asked to be constant or row-normalised, no unit to be there in every period. On balanced panels
with a constant row-normalised W the traces are those of the determinant of Lee & Yu (2010, eqs 10 and 24), and the root is
their estimate.

With D orthonormal, A = D'B'BD and P = I − M, tr(PH) = tr(A⁻¹D'B'VD) = −½ ∂ln|A|/∂λ: many effects need no dense columns,
since A is sparse but for the effects that units share. tr(PF) = tr(A⁻¹D'B'BGD) has all pairs of units in it, and is known
from ±1 probes z of z'A⁻¹D'B'BGDz − z'D'GDz, whose second part has a known mean, tr G less tr(MG) at λ = 0. Where F maps BD
into itself the difference is zero for every z, elsewhere small.

The derivation is our own: ψ is the score with dummies less its expectation (Neyman & Scott 1948; McCullagh & Tibshirani
1990, J. Royal Statistical Society B 52: 325-344).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from spatial_zb.core import Array, Values
from spatial_zb.core.likelihood import inner_interval
from spatial_zb.core.likelihood.shape_rows import RowFilter, RowWeights, TraceCurve, moved_effects
from spatial_zb.core.likelihood.surface import falls, pair_roots, polished
from spatial_zb.core.logdet.factors import Bordered, BorderedPencil, random_signs
from spatial_zb.core.logdet.interpolated import Nodes
from spatial_zb.core.transforms import ColumnBasis, EffectSpace, column_basis

#: Points at which the sign of a score of one coefficient is read.
SCAN = 201
#: Points from which a dear score is interpolated there: periods of up to FEW units, more, and too many for dense filters.
NODES, FEW = (19, 11, 9), 100
#: Effects are held as dense columns beside λ while they times rows are at most so many numbers.
DENSE_EFFECTS = 2e7
#: Probes of tr(MF) where they are not, at least and at most, and how many numbers they are in all.
SIGNS, SIGNED = (48, 192), 2e5
#: Columns that a filter goes over at a time: large arrays that come and go leave memory in pieces.
AT_ONCE = 16
#: Parts of a model at this many λ are kept, or fewer where they are large: so many numbers in all.
KEPT, KEPT_SIZE = 48, 1.5e7


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

    @property
    def active(self) -> list[int]:
        """Which of (δ, ρ, λ, σ²) are estimated."""
        k = self.Z.shape[1]
        return [*range(k), *([k] if self.W else []), *([k + 1] if self.V else []), k + 2]

    @cached_property
    def curve(self) -> TraceCurve:
        """tr(MG(ρ)) at λ = 0."""
        assert self.W is not None, "there is a lag of y"
        return TraceCurve(self.W, self.effects)

    @cached_property
    def few(self) -> bool:
        """Whether filters, and effects beside λ, are few enough to be dense; else traces of the second order are probed."""
        lags = [W for W in (self.W, self.V) if W is not None]
        held = self.V is None or len(self.Z) * max(self.effects.rank, 1) <= DENSE_EFFECTS
        return held and all(W.dense for W in lags)

    @cached_property
    def directions(self) -> Array:
        """Z (r, m) with E ZZ' = I: the unit vectors of the effects, or ±1 over the root of their number."""
        r = self.effects.rank
        m = min(max(SIGNS[0], int(SIGNED / max(r, 1))), SIGNS[1])
        return np.eye(r) if self.few else random_signs(np.random.default_rng(r), (r, m)) / m**0.5

    @cached_property
    def moved(self) -> BorderedPencil:
        """D'B'BD of an orthonormal D at every λ: dense, or sparse within the effects that units have alone."""
        assert self.V is not None, "the error is spatial"
        return moved_effects(self.V.matrix, self.effects, self.few)

    def at(self, lam: float) -> Filtered:
        """What depends on λ alone; kept for the last few."""
        if lam not in self._kept:
            _make_room(self._kept, self._room)
            self._kept[lam] = Filtered(self._bare, lam)
        return self._kept[lam]

    @cached_property
    def _bare(self) -> Shape:
        """The same without what is kept, which would else hold itself in a circle and stay when a fit is let go."""
        bare = replace(self, _kept={})
        if self.W is not None:
            bare.__dict__["curve"] = self.curve
        return bare

    @cached_property
    def _room(self) -> int:
        """For how many coefficients there is room to keep what depends on them: sparse factors are quickly made again."""
        blocks = sum(V.shape[0] ** 2 for V in self.V.distinct) if self.V is not None else 0
        return (
            max(2, min(KEPT, int(KEPT_SIZE / (3 * (self.effects.rank**2 + blocks) + 1)))) if self.few else 3
        )

    @cached_property
    def rough_curve(self) -> tuple[Nodes, Array]:
        """Points of ρ, and tr(MG) there, damped, where it is dear."""
        assert self.W is not None, "there is a lag of y"
        nodes = Nodes(inner_interval(self.W.interval), NODES[1 if self.W.dense else 2])
        return nodes, np.asarray(self.curve.at(nodes.places)) * nodes.damp(nodes.places)

    @cached_property
    def rough_traces(self) -> tuple[Nodes, Nodes | None, Array, Array | None]:
        """Points of λ and ρ, tr(MH) there, and tr(MF), damped in ρ, at all pairs (ρ, λ)."""
        assert self.V is not None, "the error is spatial"
        wide = int(max(V.shape[0] for V in self.V.distinct) > FEW) if self.few else 2
        lam = Nodes(inner_interval(self.V.interval), NODES[wide])
        rho = None if self.W is None else Nodes(inner_interval(self.W.interval), NODES[wide])
        lagged = [] if rho is None else [self.lagged(float(a)) for a in rho.places]
        trace_h, trace_f = [], []
        for b in lam.places:
            here = self.at(float(b))
            trace_h.append(here.trace_h)
            trace_f.append([here.trace_of(*known) for known in lagged])
        if rho is None:
            return lam, None, np.array(trace_h), None
        return lam, rho, np.array(trace_h), np.array(trace_f).T * rho.damp(rho.places)[:, None]

    def lagged(self, rho: float) -> tuple[float, Array]:
        """What tr(MF) of any λ is made of: a part without λ; D'GDz, D'(V + V')GDz, D'V'VGDz (3, r, m), z the directions."""
        if rho in self._lagged:
            return self._lagged[rho]
        assert self.W is not None, "both lags"
        assert self.V is not None, "both lags"
        _make_room(self._lagged, self._room)
        found, V, parts = RowFilter(self.W, rho), self.V.matrix, []
        for first in range(0, self.directions.shape[1], AT_ONCE):
            GD = found.ahead(self.effects.spread(self.directions[:, first : first + AT_ONCE]))
            VGD = V @ GD
            parts.append([self.effects.onto(part) for part in (GD, VGD + V.T @ GD, V.T @ VGD)])
        inner = np.concatenate(parts, axis=2) if parts else np.zeros((3, 0, 0))
        known = (
            found.trace() if self.few else self.curve.of(found) + float(np.vdot(self.directions, inner[0]))
        )
        self._lagged[rho] = known, inner
        return self._lagged[rho]


def _make_room(kept: dict, room: int) -> None:
    """Let go of the oldest of what is kept."""
    while len(kept) >= room:
        del kept[next(iter(kept))]


@dataclass(frozen=True, eq=False)
class Filtered:
    """A shape at one λ: the annihilator M of BD, and MBZ."""

    shape: Shape
    lam: float

    def apply(self, values: Any) -> Any:
        """Bv of rows (N,) or (N, m), dense or sparse."""
        if self.shape.V is None or not self.lam:
            return values
        return values - self.lam * (self.shape.V.matrix @ values)

    def apply_transposed(self, values: Array) -> Array:
        """B'v."""
        if self.shape.V is None or not self.lam:
            return values
        return values - self.lam * (self.shape.V.matrix.T @ values)

    @cached_property
    def error_filter(self) -> RowFilter:
        """H = VB⁻¹ and B⁻¹."""
        assert self.shape.V is not None, "the error is spatial"
        return RowFilter(self.shape.V, self.lam)

    @cached_property
    def gram(self) -> Bordered:
        """D'B'BD of an orthonormal D."""
        return self.shape.moved.at(self.lam)

    @cached_property
    def basis(self) -> Array:
        """An orthonormal basis of BD, (N, r) dense: where effects are few."""
        BD = self.apply(self.shape.effects.full)
        return linalg.solve_triangular(self.gram.root, BD.T, lower=True).T if self.lam and BD.size else BD

    def off(self, values: Array) -> Array:
        """Mv of rows (N,) or (N, m)."""
        effects = self.shape.effects
        if self.shape.V is None or not self.lam or not effects.rank:
            return effects.off(values)
        onto = effects.onto(self.apply_transposed(values))
        return values - self.apply(effects.spread(self.gram.solve(onto)))

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
        known, some = self._solved if self.shape.few else None, self.shape.effects.rank > 0
        inside = self.shape.moved.log_slope(self.lam, known) / 2 if some else 0.0
        return self.error_filter.trace() + inside

    @cached_property
    def _solved(self) -> Array:
        """(D'B'BD)⁻¹z of the directions."""
        return self.gram.solve(self.shape.directions)

    def trace_f(self, rho: Values) -> Values:
        """tr(MF), at one ρ or, without λ, at many."""
        if self.shape.V is None or not self.lam:
            return self.shape.curve.at(rho)
        return self.trace_of(*self.shape.lagged(float(rho)))

    def trace_of(self, known: float, parts: Array) -> float:
        """tr(MF) from :meth:`Shape.lagged`."""
        return known - float(self._inside(parts).sum())

    def _inside(self, parts: Array) -> Array:
        """z'(D'B'BD)⁻¹D'B'BGDz of each direction."""
        return np.einsum("ij,ij->j", self._solved, parts[0] - self.lam * parts[1] + self.lam**2 * parts[2])

    def trace_error(self, rho: float) -> float:
        """Standard error that probes leave in tr(MF); zero where they are not used."""
        if self.shape.few or self.shape.W is None or self.shape.V is None:
            return 0.0
        parts, z = self.shape.lagged(rho)[1], self.shape.directions
        apart = np.einsum("ij,ij->j", z, parts[0]) - self._inside(parts)
        return float(apart.std(ddof=1) * z.shape[1] ** 0.5)


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
            _make_room(self._kept, max(2, min(KEPT, int(KEPT_SIZE / (2 * len(self.y))))))
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
    grid = np.linspace(*bounds, SCAN)

    def exact(rho: float) -> float:
        return float(score.of_rho(rho))

    if curve.decomposed is not None:
        return falls(grid, score.of_rho(grid), exact)
    nodes, known = score.shape.rough_curve

    def rough(rho: Values) -> Array:
        return score.of_rho(rho, trace=nodes.weights(rho) @ known / nodes.damp(rho))

    found, end = falls(grid, rough(grid), lambda rho: float(rough(rho)))
    return polished(exact, found, bounds, SCAN), end


class _Rough:
    """ψ_λ, or (ψ_ρ, ψ_λ), from their parts at a few λ and ρ: near enough to see where they vanish."""

    def __init__(self, score: ShapeScore) -> None:
        shape = score.shape
        self.free = shape.free
        self.lam, self.rho, trace_h, self.traces = shape.rough_traces
        parts = [self._parts(score, float(lam)) for lam in self.lam.places]
        self.known = np.column_stack([np.array(parts), trace_h])
        self.known[:, 3:] *= self.lam.damp(self.lam.places)[:, None]

    @staticmethod
    def _parts(score: ShapeScore, lam: float) -> list[float]:
        """a'a, a'b, b'b; a'Ha, a'(H + H')b and b'Hb, of a = M_Z By and b = M_Z BWy."""
        at, (a, b) = score.shape.at(lam), score.parts(lam)
        Ha, Hb = at.error_filter.ahead(np.column_stack([a, b])).T
        return [a @ a, a @ b, b @ b, a @ Ha, a @ Hb + b @ Ha, b @ Hb]

    def __call__(self, rho: Values, lam: Values) -> Array:
        """ψ_ρ and ψ_λ (2, …)."""
        weights, rho = self.lam.weights(lam), np.asarray(rho)
        aa, ab, bb, *rest = np.moveaxis(weights @ self.known, -1, 0)
        own, cross, square, trace_h = (part / self.lam.damp(lam) for part in rest)
        variance = (aa - 2 * rho * ab + rho**2 * bb) / self.free
        of_lambda = (own - rho * cross + rho**2 * square) / variance - trace_h
        if self.rho is None:
            return np.array([np.zeros_like(of_lambda), of_lambda])
        assert self.traces is not None, "both lags"
        trace_f = np.einsum("...i,ij,...j->...", self.rho.weights(rho), self.traces, weights)
        return np.array([(ab - rho * bb) / variance - trace_f / self.rho.damp(rho), of_lambda])


def _error_line(score: ShapeScore) -> tuple[list[float], float]:
    """Roots of ψ_λ at ρ = 0."""
    rough = _Rough(score)
    grid = np.linspace(*rough.lam.bounds, SCAN)
    found, end = falls(grid, rough(0.0, grid)[1], lambda lam: float(rough(0.0, lam)[1]))
    return polished(score.of_lambda, found, rough.lam.bounds, SCAN), end


def _pairs(score: ShapeScore) -> tuple[list[tuple[float, float]], tuple[float, float]]:
    """Roots of (ψ_ρ, ψ_λ), the highest first, and where they are nearest to zero without one."""
    rough = _Rough(score)
    assert rough.rho is not None, "both lags"
    intervals = [rough.rho.bounds, rough.lam.bounds]
    return pair_roots(rough, score.pair, intervals, len(score.y), 1e-13 if score.shape.few else 1e-9)
