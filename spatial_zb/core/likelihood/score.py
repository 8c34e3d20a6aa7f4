"""The robust score of ρ: unbiased whatever the variances of the errors and their correlation within a unit.

After the effects are taken out, e(ρ) = e_y − ρ e_W is what regressors leave of Sy, S = I − ρW, and w = e_W what they
leave of Wy. With G = WS⁻¹ and M the matrix that takes out effects and regressors,

    ψ(ρ) = w'e − Σ_i e_i' K_i(ρ) e_i,   w = MG(mean) + MGu,   e = Mu,

so that E ψ = tr[(MG − MKM) Ω], which is zero for every Ω = blockdiag(Ω_1 … Ω_n) if the own blocks of units of the
symmetric part of MG − MKM are. Maximum likelihood is K_i = κI with only the sum of their traces zero, which needs equal
variances. K is linear in G and symmetric in what it weighs, so that e'K[G]e is the inner product of G with a quadratic in
ρ that is solved for once (:class:`Score`).

Errors are those of (T, n) arrays in an orthonormal basis of the periods off their mean (:func:`period_basis`), S of them.

Derived here. The score for equal variances is that of Lee & Yu (2010), J. Econometrics 154: 165-185; a score made robust to
unequal variances by the diagonal of G is in Liu & Yang (2015), Regional
Science and Urban Economics 52: 50-70 (a cross-section).

Beside it stands what the root of the adjusted score of any shape leans by in few rows (:class:`Lean`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import scipy
from scipy import sparse

from spatial_zb.core import Array, Values
from spatial_zb.core.likelihood.shape import ShapeEstimate
from spatial_zb.core.likelihood.shape_rows import RowFilter
from spatial_zb.core.likelihood.surface import falls, polished
from spatial_zb.core.logdet.entries import Filters
from spatial_zb.core.logdet.factors import random_signs
from spatial_zb.core.logdet.interpolated import Nodes

Operator = Callable[[Array], Array]

#: What K is for each unit: a symmetric block over its periods; one number; one number, as if nothing but the effects had
#: been taken out; one number for all units, which is maximum likelihood.
Form = Literal["block", "scalar", "bare", "equal"]
#: Forms that no variances bias, from the one that allows most.
ROBUST_FORMS: tuple[Form, ...] = ("block", "scalar", "bare")
#: Points at which the sign of the score is read before its roots are bracketed.
SCAN = 33
#: Above, values at so many of Chebyshev's points tell a polynomial whose sign is read at so many.
WIDE_NODES, WIDE_SCAN = 9, 201
#: Step of derivatives, of which rounding and curvature are then about equal.
STEP = 1e-4
#: Relative residual at which conjugate gradients stop, and steps after which the equations are taken to have no solution.
EXACT, STEPS = 1e-11, 300


@dataclass(frozen=True, slots=True)
class ScoreSample:
    """What the score of n units knows: ``y`` and ``Wy`` (n, S) off effects and regressors, and W.

    ``rows`` (n, S, k): the rows U_i of an orthonormal basis of the regressors. ``centred``: periods have effects, so that
    the matrix of the units is J = I − ιι'/n, else I.
    """

    y: Array
    Wy: Array
    rows: Array
    centred: bool
    matrix: sparse.csr_array

    @property
    def share(self) -> float:
        """1/n with effects of periods, else zero."""
        return self.centred / len(self.rows)

    def seen(self, form: Form) -> Array:
        """The rows that a form takes account of."""
        return self.rows if form in ("block", "scalar") else self.rows[:, :, :0]


def period_basis(periods: int, within: bool) -> Array:
    """Orthonormal columns (T, S): off the mean of the periods where it was taken out (``within``), else all of them."""
    if not within:
        return np.eye(periods)
    later = np.arange(1, periods)
    out = np.where(np.arange(periods)[:, None] < later, 1.0, 0.0)
    out[later, later - 1] = -later
    return out / np.sqrt(later * (later + 1.0))


# --- K


def own_blocks(K: Array, U: Array, share: float) -> Array:
    """Own blocks of MKM, (b, n, S, S), for block-diagonal K of the same shape; M = J ⊗ I − UU'.

    Σ_j M_ij K_j M_ji without forming M: O(n S² k).
    """
    out = (1 - 2 * share) * K
    if share:
        out += share**2 * K.sum(axis=1, keepdims=True)
    if not U.shape[2]:
        return out
    across = K @ U
    flat = across.reshape(len(K), -1, U.shape[2])
    inner = U.reshape(-1, U.shape[2]).T @ flat  # Σ U_j'K_jU_j
    if share:
        across = across - share * across.sum(axis=1, keepdims=True)
    half = (across - 0.5 * (U.reshape(-1, U.shape[2]) @ inner).reshape(across.shape)) @ U.swapaxes(1, 2)
    return out - half - half.swapaxes(-1, -2)


def _restricted(K: Array, form: Form) -> Array:
    """The nearest K of a form."""
    if form == "block":
        return K
    numbers = np.einsum("...ss->...", K) / K.shape[-1]
    if form == "equal":
        numbers = np.broadcast_to(numbers.mean(axis=1, keepdims=True), numbers.shape)
    return numbers[..., None, None] * np.eye(K.shape[-1])


def solve_blocks(right: Array, sample: ScoreSample, form: Form) -> Array | None:
    """K of a form whose own blocks of MKM are ``right`` (b, n, S, S) as far as the form can; None without a solution.

    Conjugate gradients; each of the b sides has steps of its own.
    """
    U, share = sample.seen(form), sample.share
    left = _restricted(right, form)
    K, step = np.zeros_like(left), left.copy()
    size = first = _squares(left)
    for _ in range(STEPS):
        if np.all(size <= EXACT**2 * first):
            return K
        image = _restricted(own_blocks(step, U, share), form)
        curvature = np.einsum("bnst,bnst->b", step, image)
        if not np.all(curvature[size > EXACT**2 * first] > 0):
            return None
        length = np.divide(size, curvature, out=np.zeros_like(size), where=curvature > 0)
        K += length[:, None, None, None] * step
        left -= length[:, None, None, None] * image
        before, size = size, _squares(left)
        step = (
            left
            + np.divide(size, before, out=np.zeros_like(size), where=before > 0)[:, None, None, None] * step
        )
    return None


def _squares(values: Array) -> Array:
    return np.einsum("bnst,bnst->b", values, values)


def blocks_of(sample: ScoreSample, form: Form, own: Array, lagged: Array) -> Array | None:
    """K (n, S, S) of a form for own blocks ``own``_i I − sym(U_i ``lagged``_i'), as the form sees M."""
    U = sample.seen(form)
    right = own[:, None, None] * np.eye(U.shape[1])
    if U.shape[2]:
        cross = U @ lagged.swapaxes(1, 2)
        right = right - (cross + cross.swapaxes(1, 2)) / 2
    solved = solve_blocks(right[None], sample, form)
    return None if solved is None else solved[0]


# --- The score


@dataclass(frozen=True, slots=True)
class Score:
    """ψ of one form, with what its quadratic part weighs solved for.

    Σ e_i'K_i[G]e_i of two residuals a and b is Σ_i own_i (JG)_ii − Σ moved_i · (G'U)_i, with ``own`` (3, n) and ``moved``
    (3, n, S, k) for the pairs (e_y, e_y), (e_y, e_W) and (e_W, e_W); ``whole`` (3, n, n) are these as weights of G, where it
    is dense.
    """

    sample: ScoreSample
    form: Form
    own: Array
    moved: Array
    whole: Array | None
    filters: Filters

    def value(self, rho: float) -> float:
        """ψ(ρ)."""
        return float(self._of(rho, self._forms(rho)))

    def values(self, rho: Array) -> Array:
        """ψ at many ρ."""
        if self.whole is None:
            return np.array([self.value(float(at)) for at in rho])
        G = self.filters.full(rho).reshape(len(rho), -1)
        return self._of(rho, (G @ self.whole.reshape(3, -1).T).T)

    def _of(self, rho: Any, forms: Array) -> Any:
        """w'e less the quadratic part, from the three ``forms`` Σ a_i'K_i[G]b_i."""
        y, Wy = self.sample.y, self.sample.Wy
        return np.vdot(Wy, y) - rho * np.vdot(Wy, Wy) - (forms[0] - 2 * rho * forms[1] + rho**2 * forms[2])

    def _forms(self, rho: float) -> Array:
        """Σ a_i'K_i[G]b_i of the three pairs, (3,)."""
        if self.whole is not None:
            return self.whole.reshape(3, -1) @ self.filters.full(rho).ravel()
        moved = self.filters.moved(rho, beside_ones(self.sample.seen(self.form)))
        inside = self.moved.reshape(3, -1) @ moved[:, :-1].ravel()
        return self.own @ (self.filters.diagonal(rho) - self.sample.share * moved[:, -1]) - inside

    def slope(self, rho: float) -> float:
        """h = −ψ′(ρ): exact of a dense G, whose derivative is G², else from a value on either side."""
        if self.whole is None:
            return (self.value(rho - STEP) - self.value(rho + STEP)) / (2 * STEP)
        G, Wy = self.filters.full(rho), self.sample.Wy
        first, second = (self.whole.reshape(3, -1) @ X.ravel() for X in (G, G @ G))
        inside = second[0] - 2 * rho * second[1] + rho**2 * second[2]
        return float(np.vdot(Wy, Wy) - 2 * first[1] + 2 * rho * first[2] + inside)


def robust_score(sample: ScoreSample, form: Form, filters: Filters | None = None) -> Score | None:
    """The score of a form; None where its equations have no solution (too few units, a regressor of one unit alone).

    ``filters`` are those of W, where there are some already.
    """
    a, b, n = sample.y, sample.Wy, len(sample.y)
    pairs = np.stack([_outer(a, a), (_outer(a, b) + _outer(b, a)) / 2, _outer(b, b)])
    weights = solve_blocks(pairs, sample, form)
    if weights is None:
        return None
    filters, U = filters or Filters(sample.matrix), sample.seen(form)
    own, moved, whole = np.einsum("bnss->bn", weights), weights @ U, None
    if filters.dense is not None:
        whole = own[:, :, None] * np.eye(n) - sample.share * own[:, None, :]
        whole -= U.reshape(n, -1) @ moved.reshape(3, n, -1).swapaxes(1, 2) if U.shape[2] else 0.0
    return Score(sample, form, own, moved, whole, filters)


def _outer(a: Array, b: Array) -> Array:
    return a[:, :, None] * b[:, None, :]


@dataclass(frozen=True, slots=True)
class Roots:
    """Where the score falls through zero, in ascending order; ``end`` is where it points to without such a root."""

    found: tuple[float, ...]
    end: float


class Curve(Protocol):
    """What roots are looked for in."""

    @property
    def filters(self) -> Filters: ...
    def value(self, rho: float) -> float: ...
    def values(self, rho: Array) -> Array: ...


def score_roots(score: Curve, bounds: tuple[float, float]) -> Roots:
    """Every fall of ψ through zero between ``bounds``: estimates of ρ.

    Its sign is read at evenly spaced points, and where it comes near zero between two of the same sign; each fall is then
    bracketed.
    """
    if score.filters.dense is None:
        return _roots_between_nodes(score, bounds)
    grid = np.linspace(*bounds, SCAN)
    values = score.values(grid)
    for middle in _near_zero(values):
        sign, limits = np.sign(values[middle]), (float(grid[middle - 1]), float(grid[middle + 1]))
        lowest = scipy.optimize.minimize_scalar(
            lambda at, sign=sign: sign * score.value(at),
            bounds=limits,
            method="bounded",
            options={"xatol": 1e-4},
        )
        if lowest.fun < 0:
            place = np.searchsorted(grid, lowest.x)
            grid, values = np.insert(grid, place, lowest.x), np.insert(values, place, sign * lowest.fun)
    falls = np.flatnonzero((values[:-1] > 0) & (values[1:] <= 0))
    found = (scipy.optimize.brentq(score.value, grid[i], grid[i + 1], xtol=1e-13, rtol=1e-14) for i in falls)
    return Roots(tuple(map(float, found)), float(grid[-1] if values[-1] > 0 else grid[0]))


def _roots_between_nodes(score: Curve, bounds: tuple[float, float]) -> Roots:
    """The same where a value is dear: the falls of a polynomial through a few of them, each then exact."""
    nodes, grid = Nodes(bounds, WIDE_NODES), np.linspace(*bounds, WIDE_SCAN)
    known = score.values(nodes.places) * nodes.damp(nodes.places)

    def rough(rho: Values) -> Array:
        return nodes.weights(rho) @ known / nodes.damp(rho)

    near, end = falls(grid, rough(grid), lambda rho: float(rough(rho)))
    return Roots(tuple(sorted(polished(score.value, near, bounds, WIDE_SCAN))), end)


def _near_zero(values: Array) -> list[int]:
    """Points nearer to zero than both neighbours, all three of the same sign, from the right."""
    size, sign = np.abs(values), np.sign(values)
    inner = (
        (size[1:-1] < size[:-2])
        & (size[1:-1] < size[2:])
        & (sign[1:-1] == sign[:-2])
        & (sign[1:-1] == sign[2:])
    )
    return [int(i) + 1 for i in np.flatnonzero(inner)[::-1]]


def beside_ones(U: Array) -> Array:
    """[U, ι] (n, S·k + 1)."""
    return np.concatenate([U.reshape(len(U), -1), np.ones((len(U), 1))], axis=1)


# --- What the root of an adjusted score leans by

#: Rows up to which traces of the second order are exact, and the probes of more rows.
EXACT_ROWS, LEAN_PROBES = 600, 64


@dataclass(frozen=True, slots=True)
class Lean:
    """Bias ``of`` a root ĉ, ρ̂ or λ̂, to the second order, its standard deviation ``error``, and the bias of ``delta`` (k,).

    e = M_Z ε given c has N − r − k degrees of freedom, and ψ = −(N − r)Q'/2Q − T with Q(c) = |M_Z B S y|², whose j-th
    derivative is a quadratic form q_j in e and T = tr MF or tr MH. With h = −Eψ',

        E(ĉ − c) ≈ Eψ/h + Cov(ψ, ψ')/h² + Eψ'' Var ψ/2h³

    (Rilstone, Srivastava & Ullah 1996, J. Econometrics 75: 369-395). Eψ is what the k estimated coefficients do; the others
    are the curve of ψ, of moments of q_j/q_0 under normal errors. δ̂ leans by what ρ̂ − ρ takes along and by what ρ̂ shares
    with the error in Wy; given λ̂ it does not. The moments were derived here.
    """

    of: float
    error: float
    delta: Array


@dataclass(frozen=True, slots=True)
class _Forms:
    """Moments of q_1, q_2, q_3 in units of σ²: means, Var q_1, Cov(q_1, q_2), and the trace of the form in q_2 alone."""

    means: tuple[float, float, float]
    variance: float
    covariance: float
    quadratic: float

    def lean(self, free: int, left: int, trace: Array) -> tuple[float, float, float]:
        """Bias, √Var ψ/h and h; ``trace`` (3,) T, T' and T'', ``free`` N − r, ``left`` N − r − k; NaN where ψ rises."""
        x, y, z = (mean / left for mean in self.means)
        spread = (self.variance - 2 * left * x**2) / left**2
        shared = (self.covariance - 2 * x * self.quadratic) / left**2
        h = free / 2 * (y - x**2 - spread) + trace[1]
        if not (h > 0 and spread > 0):
            return np.nan, np.nan, np.nan
        curve = -free / 2 * (z - 3 * x * y + 2 * x**3) - trace[2]
        both, variance = free**2 / 4 * (shared - 2 * x * spread), free**2 / 4 * spread
        lean = (-free / 2 * x - trace[0]) / h + both / h**2 + curve * variance / (2 * h**3)
        return lean, float(np.sqrt(variance)) / h, h


def lean_of(found: ShapeEstimate) -> Lean:
    """Of an estimate with one spatial lag; traces are exact up to EXACT_ROWS rows, of probes above."""
    at, shape, (N, k) = found.at, found.score.shape, found.score.shape.Z.shape
    assert (shape.W is None) != (shape.V is None), "one spatial lag"
    some = N <= EXACT_ROWS
    z = np.eye(N) if some else random_signs(np.random.default_rng(N), (N, LEAN_PROBES))
    v, share, left, q = at.residual(z), (1.0 if some else 1 / LEAN_PROBES), shape.free - k, at.regressors.Q
    if shape.W is None:
        assert shape.V is not None, "the error is spatial"
        trace = _derivatives(lambda c: shape.at(c).trace_h, found.lam, shape.V.interval)
        H = at.error_filter
        form = trace[0] - float(np.vdot(q, H.ahead(q)))
        forms = _forms_of_error(v, share, form, H, at.residual)
        return Lean(*forms.lean(shape.free, left, trace)[:2], np.zeros(k))
    trace = _derivatives(lambda c: float(np.asarray(shape.curve.at(c))), found.rho, shape.W.interval)
    G, sd = RowFilter(shape.W, found.rho), float(np.sqrt(found.e @ found.e / left))
    mean = found.score.Wy - G.ahead(found.e)
    eta = at.residual(mean) / sd
    form = trace[0] - float(np.vdot(q, G.ahead(q)))
    lean, error, h = _forms_of_lag(v, share, form, eta, G, at.residual).lean(shape.free, left, trace)
    shared = shape.free / left / h * sd * at.coefficients(G.ahead(eta))
    return Lean(lean, error, -lean * at.coefficients(mean) - shared)


def _forms_of_lag(
    v: Array, share: float, form: float, eta: Array, G: RowFilter, residual: Operator
) -> _Forms:
    """q_1 = −2e'(η + Ae) and q_2 = 2|η + Ae|², A = M_Z G M_Z, η what is estimated of it; ``form`` tr A."""
    back = residual(G.back(v))
    square, third = share * float(np.vdot(back, back)), share * float(np.vdot(back, G.ahead(back)))
    own = float(eta @ eta)
    variance = own + square + share * float(np.vdot(back, G.ahead(v)))
    bent = float(eta @ G.ahead(eta)) + third
    return _Forms((-2 * form, 2 * (own + square), 0.0), 4 * variance, -8 * bent, 2 * square)


def _forms_of_error(v: Array, share: float, form: float, H: RowFilter, residual: Operator) -> _Forms:
    """q_j = e'K_j e of the Schur complement K(c) in X'X, X = I − cH, of what effects and regressors take out.

    With L = H + H' and P = I − M_Z: K_1 = −M_Z L M_Z, K_2 = 2M_Z(H'H − LPL)M_Z, K_3 = 6M_Z(LPH'H + H'HPL − LPLPL)M_Z.
    ``form``: tr M_Z H.
    """

    def both(values: Array) -> Array:
        return H.ahead(values) + H.back(values)

    Lv, Hv = both(v), H.ahead(v)
    first, second = residual(Lv), residual(H.back(Hv))
    inside = Lv - first
    second -= residual(both(inside))
    norm, left = float(np.vdot(Hv, Hv)), float(np.vdot(inside, inside))
    third = 2 * float(np.vdot(H.ahead(inside), Hv)) - float(np.vdot(inside, both(inside)))
    means = -2 * form, 2 * share * (norm - left), 6 * share * third
    variance, covariance = (
        2 * share * float(np.vdot(first, first)),
        -4 * share * float(np.vdot(first, second)),
    )
    return _Forms(means, variance, covariance, means[1])


def _derivatives(curve: Callable[[float], float], at: float, bounds: tuple[float, float]) -> Array:
    """A curve with poles at the ends of an interval, and its first two derivatives."""
    step = 1e-2 * min(at - bounds[0], bounds[1] - at)
    low, here, high = (curve(at + way * step) for way in (-1, 0, 1))
    return np.array([here, (high - low) / (2 * step), (high - 2 * here + low) / step**2])
