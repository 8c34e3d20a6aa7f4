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
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.core import Array, Values
from spatial_zb.core.logdet.entries import Dissection, dissect, filter_diagonal
from spatial_zb.core.logdet.traces import BLOCK, filter_applier, unit_columns

#: What K is for each unit: a symmetric block over its periods; one number; one number, as if nothing but the effects had
#: been taken out; one number for all units, which is maximum likelihood.
Form = Literal["block", "scalar", "bare", "equal"]
#: Forms that no variances bias, from the one that allows most.
ROBUST_FORMS: tuple[Form, ...] = ("block", "scalar", "bare")
#: Up to this many units G is held as a dense matrix.
DENSE_FILTER = 150
#: Points at which the sign of the score is read before its roots are bracketed; fewer where each needs a factorisation.
SCAN, WIDE_SCAN = 33, 13
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


# --- G


class Filters:
    """G at any ρ of the admissible interval: dense for few units, else by factorisation."""

    def __init__(self, matrix: sparse.csr_array) -> None:
        self.matrix, self.n = matrix, matrix.shape[0]
        self.dense = matrix.toarray() if self.n <= DENSE_FILTER else None
        self.transposed = sparse.csr_array(matrix.T)

    @cached_property
    def tree(self) -> Dissection | None:
        """W along a dissection of its graph."""
        return dissect(self.matrix)

    def full(self, rho: Values) -> Array:
        """G (…, n, n) at one ρ or at many, for few units."""
        assert self.dense is not None, "few units"
        at = np.asarray(rho)[..., None, None]
        return np.linalg.solve(
            np.eye(self.n) - at * self.dense, np.broadcast_to(self.dense, (*at.shape[:-2], *self.dense.shape))
        )

    def diagonal(self, rho: float) -> Array:
        """diag G (n,)."""
        return (
            self.full(rho).diagonal()
            if self.dense is not None
            else filter_diagonal(self.matrix, rho, self.tree)
        )

    def moved(self, rho: float, right: Array) -> Array:
        """G'R for R (n, …)."""
        flat = right.reshape(self.n, -1)
        out = (
            self.full(rho).T @ flat if self.dense is not None else filter_applier(self.transposed, rho)(flat)
        )
        return out.reshape(right.shape)

    def ahead(self, rho: float, right: Array) -> Array:
        """GR for R (n, …)."""
        flat = right.reshape(self.n, -1)
        out = self.full(rho) @ flat if self.dense is not None else filter_applier(self.matrix, rho)(flat)
        return out.reshape(right.shape)

    def columns(self, rho: float) -> Iterator[tuple[NDArray[np.intp], Array, Array]]:
        """Columns of G and of G', (n, b) at a time, with their positions."""
        if self.dense is not None:
            G = self.full(rho)
            yield np.arange(self.n), G, G.T
            return
        one, other = (filter_applier(W, rho) for W in (self.matrix, self.transposed))
        for first in range(0, self.n, BLOCK):
            unit = unit_columns(self.n, first, min(self.n, first + BLOCK))
            yield np.arange(first, first + unit.shape[1]), one(unit), other(unit)


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
        moved = self.filters.moved(rho, _beside(self.sample.seen(self.form)))
        return self.weighed(self.filters.diagonal(rho), moved)

    def slope(self, rho: float, G: tuple[Array, Array], square: tuple[Array, Array]) -> float:
        """h = −ψ′(ρ) from :meth:`weighed` of G and of G², which is the derivative of G."""
        Wy, first, second = self.sample.Wy, self.weighed(*G), self.weighed(*square)
        inside = second[0] - 2 * rho * second[1] + rho**2 * second[2]
        return float(np.vdot(Wy, Wy) - 2 * first[1] + 2 * rho * first[2] + inside)

    def weighed(self, diagonal: Array, moved: Array) -> Array:
        """The three forms from diag G (n,) and G'[U, ι] (n, S·k + 1)."""
        inside = self.moved.reshape(3, -1) @ moved[:, :-1].ravel()
        return self.own @ (diagonal - self.sample.share * moved[:, -1]) - inside


def robust_score(sample: ScoreSample, form: Form) -> Score | None:
    """The score of a form; None where its equations have no solution (too few units, a regressor of one unit alone)."""
    a, b, n = sample.y, sample.Wy, len(sample.y)
    pairs = np.stack([_outer(a, a), (_outer(a, b) + _outer(b, a)) / 2, _outer(b, b)])
    weights = solve_blocks(pairs, sample, form)
    if weights is None:
        return None
    filters, U = Filters(sample.matrix), sample.seen(form)
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
    grid = np.linspace(*bounds, SCAN if score.filters.dense is not None else WIDE_SCAN)
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


# --- At a root


@dataclass(frozen=True, slots=True)
class AtRoot:
    """``slope`` h = −ψ′ at a root and ``pairs`` q = 2 Σ_{i≠j} Y_ij², Y the symmetric part of e_i'(MG − MKM)_ij e_j."""

    slope: float
    pairs: float


def at_root(score: Score, rho: float, errors: Array | None = None) -> AtRoot | None:
    """Slope of the score and the variance of its quadratic part; None where K has no solution at ρ.

    Parameters
    ----------
    errors
        (n, S) residuals of which products are taken, e(ρ) without them.
    """
    sample, filters = score.sample, score.filters
    moved = filters.moved(rho, _beside(sample.rows))
    lagged = moved[:, :-1].reshape(sample.rows.shape)
    own = filters.diagonal(rho) - sample.share * moved[:, -1]
    K = blocks_of(sample, score.form, own, lagged)
    if K is None:
        return None
    e = sample.y - rho * sample.Wy if errors is None else errors
    pairs, diagonals = pair_sum(sample, filters, rho, moved[:, -1], K, lagged, e)
    if not score.moved.shape[-1]:
        moved = moved[:, -1:]
    twice = filters.moved(rho, moved)
    return AtRoot(score.slope(rho, (diagonals[0], moved), (diagonals[1], twice)), pairs)


def blocks_of(sample: ScoreSample, form: Form, own: Array, lagged: Array) -> Array | None:
    """K (n, S, S) of a form for own blocks ``own``_i I − sym(U_i ``lagged``_i'), as the form sees M."""
    U = sample.seen(form)
    right = own[:, None, None] * np.eye(U.shape[1])
    if U.shape[2]:
        cross = U @ lagged.swapaxes(1, 2)
        right = right - (cross + cross.swapaxes(1, 2)) / 2
    solved = solve_blocks(right[None], sample, form)
    return None if solved is None else solved[0]


def pair_sum(
    sample: ScoreSample, filters: Filters, rho: float, sums: Array, K: Array, lagged: Array, e: Array
) -> tuple[float, Array]:
    """2 Σ_{i≠j} Y_ij² of errors e (n, S), and the diagonals of G and G² (2, n); ``sums`` G'ι."""
    rest, squares, diagonals = _Pairs.of(sample, lagged, K, e), 0.0, np.empty((2, len(e)))
    for columns, G, transposed in filters.columns(rho):
        here = np.arange(len(columns))
        diagonals[:, columns] = G[columns, here], np.einsum("ij,ij->j", G, transposed)
        both = (G + transposed - sample.share * (sums[columns] + sums[:, None])) / 2
        Y = both * (e @ e[columns].T) + rest.left @ rest.right[columns].T
        Y[columns, here] = 0.0
        squares += float(np.vdot(Y, Y))
    return 2 * squares, diagonals


def _beside(U: Array) -> Array:
    """[U, ι] (n, S·k + 1)."""
    return np.concatenate([U.reshape(len(U), -1), np.ones((len(U), 1))], axis=1)


def score_covariance(
    sample: ScoreSample, root: AtRoot, means: Array, errors: Array, back: Array, factor: float
) -> Array:
    """Covariance (k + 1, k + 1) of (δ, ρ), clustered by unit.

    The influence of unit i is (Z'Z)⁻¹Z_i'e_i − p_W a_i'e_i/h on δ and a_i'e_i/h on ρ, a = MG(mean); pairs of units add
    q/h². The two are uncorrelated, and no third or fourth moment enters since own blocks are zero.

    Parameters
    ----------
    means
        (n, S) G times the fitted mean, after the transform.
    errors
        (n, S) residuals, or what stands for errors.
    back
        (k, 1 + k): p_W, the coefficients of Wy on the regressors, and what turns coefficients on U into coefficients on Z.
    factor
        n/(n − 1) for residuals as they are: once for sums by unit, twice for pairs.
    """
    flat = sample.rows.reshape(-1, sample.rows.shape[2])
    a = means - (flat @ (flat.T @ means.ravel())).reshape(means.shape)
    own, shift = (a * errors).sum(axis=1) / root.slope, np.append(-back[:, 0], 1.0)
    influence = own[:, None] * shift
    influence[:, :-1] += np.einsum("nsk,ns->nk", sample.rows, errors) @ back[:, 1:].T
    pairs = root.pairs * (factor / root.slope) ** 2
    return factor * influence.T @ influence + pairs * np.outer(shift, shift)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """What Y_ij has beside (JG)_ij e_i'e_j, as left_i · right_j."""

    left: Array
    right: Array

    @classmethod
    def of(cls, sample: ScoreSample, lagged: Array, K: Array, e: Array) -> _Pairs:
        """From U and ``lagged`` (n, S, k), K (n, S, S) and errors (n, S)."""
        U, c = sample.rows, sample.share
        P, R = (np.einsum("nsk,ns->nk", rows, e) for rows in (U, lagged))
        Ke, KU = np.einsum("nst,nt->ns", K, e), K @ U
        Z = np.einsum("nsk,ns->nk", KU, e) - c * e @ KU.sum(axis=0)
        inner = np.tensordot(U, KU, ((0, 1), (0, 1)))
        left = [-P / 2, -R / 2, Z, P, -P @ inner]
        right = [R, P, P, Z, P]
        if c:
            left += [c * Ke, c * e, -(c**2) * e @ K.sum(axis=0)]
            right += [e, Ke, e]
        return cls(np.hstack(left), np.hstack(right))
