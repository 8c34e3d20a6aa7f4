"""The robust score of λ, alone or with ρ, and the covariance at a root of any of them.

As that of ρ in :mod:`spatial_zb.core.likelihood.score`, for errors that spread. With B = I − λW, H = WB⁻¹ and M(λ) the
matrix that takes out effects and the filtered regressors BZ, e(ρ, λ) = M B (y − ρWy) is Mε at the truth, and

    ψ_λ = e'He − Σ_i e_i' K_i(λ) e_i

has mean tr[(MHM − MKM) Ω], zero for every Ω = blockdiag(Ω_i) where the own blocks of the symmetric part of MHM − MKM are.
MHM differs from MG in that U is lagged either way: JHU + H'U − U sym(U'HU) stands for G'U. Under effects of periods rows of
W sum to one, so that JHJ = JH.

With ρ beside λ, B and G = W(I − ρW)⁻¹ commute, so that BWy = BG(mean) + Gε: ψ_ρ is the score of ρ for the data filtered
by B, with M(λ) for M. Given λ it needs its K solved for once for all ρ, and ψ_λ is a quadratic in ρ; given both, δ̂ is
least squares of the filtered data. λ = 0 gives the score of ρ, ρ = 0 that of λ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from spatial_zb.core import Array, Values
from spatial_zb.core.likelihood.score import (
    STEP,
    Form,
    Score,
    ScoreSample,
    beside_ones,
    blocks_of,
    robust_score,
)
from spatial_zb.core.likelihood.surface import pair_roots
from spatial_zb.core.logdet.entries import PAIR_UNITS, Filters, linked_pairs, probed_products
from spatial_zb.core.logdet.interpolated import Nodes
from spatial_zb.core.transforms import column_basis

#: Values of either coefficient between which both scores are interpolated where their roots are looked for: with a dense G,
#: and where each needs a factorisation.
PAIR_NODES, WIDE_PAIR_NODES = 19, 9
#: A step towards a root this short is the last: conjugate gradients leave that much in the scores.
LAST_STEP = 1e-9
#: Points (λ) that are kept.
KEPT = 4


@dataclass(frozen=True, slots=True)
class ErrorSample:
    """``y``, ``Wy`` (n, S) and ``Z``, ``WZ`` (n, S, k) off the effects, in a basis of the periods; G is that of W.

    ``WWy`` (n, S) where ρ is estimated too.
    """

    y: Array
    Wy: Array
    Z: Array
    WZ: Array
    centred: bool
    filters: Filters
    WWy: Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, S, k)."""
        return self.Z.shape


@dataclass(frozen=True, slots=True)
class ErrorPoint:
    """At one λ: residuals of By and BWy in ``sample``, the form of λ, and what follows for any ρ.

    ``along`` (k, 2): the coefficients of both on U; ``back`` (k, k) turns such into coefficients on Z; ``forms`` (3,): ψ_λ
    is forms_0 − 2ρ forms_1 + ρ² forms_2.
    """

    sample: ScoreSample
    own: Weighed
    along: Array
    back: Array
    forms: Array

    def residuals(self, rho: float = 0.0) -> Array:
        """e (n, S)."""
        return self.sample.y - rho * self.sample.Wy

    def delta(self, rho: float = 0.0) -> Array:
        """δ̂ (k,)."""
        return self.back @ (self.along @ [1.0, -rho])

    def value(self, rho: Values = 0.0) -> Values:
        """ψ_λ."""
        return self.forms[0] - 2 * rho * self.forms[1] + np.square(rho) * self.forms[2]


@dataclass(frozen=True, slots=True)
class ErrorScore:
    """ψ_λ and, where the sample has WWy, ψ_ρ, of one form; NaN where its equations have no solution."""

    sample: ErrorSample
    form: Form
    _kept: dict[float, ErrorPoint | None] = field(default_factory=dict, repr=False)

    @property
    def filters(self) -> Filters:
        """G and H at any coefficient."""
        return self.sample.filters

    def at(self, lam: float) -> ErrorPoint | None:
        """What is known at λ."""
        if lam not in self._kept:
            if len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[lam] = error_point(self, lam)
        return self._kept[lam]

    def value(self, lam: float) -> float:
        """ψ_λ at ρ = 0."""
        point = self.at(lam)
        return np.nan if point is None else float(point.value())

    def values(self, lam: Array) -> Array:
        """ψ_λ at ρ = 0 and many λ."""
        return np.array([self.value(float(at)) for at in lam])

    def raw(self, both: Array) -> Array:
        """(ψ_ρ, ψ_λ) at (ρ, λ)."""
        rho, lam = map(float, both)
        point = self.at(lam)
        known = None if point is None else weighed_by_rho(point.sample, self.filters, self.form, rho)
        if point is None or known is None:
            return np.full(2, np.nan)
        e = point.residuals(rho)
        of_rho = np.vdot(point.sample.Wy, e) - np.einsum("ns,nst,nt->", e, known.K, e)
        return np.array([float(of_rho), float(point.value(rho))])

    def pair(self, both: Array) -> Array:
        """The same over the mean square of the residuals."""
        point = self.at(float(both[1]))
        if point is None:
            return np.full(2, np.nan)
        return self.raw(both) / np.mean(point.residuals(float(both[0])) ** 2)


def error_point(score: ErrorScore, lam: float) -> ErrorPoint | None:
    """Least squares of the filtered data, K and ψ_λ at λ; None where K has no solution."""
    s, filters = score.sample, score.filters
    n, S, k = s.shape
    y = np.zeros((n * S, 2))
    y[:, 0] = (s.y - lam * s.Wy).ravel()
    if s.WWy is not None:
        y[:, 1] = (s.Wy - lam * s.WWy).ravel()
    basis = column_basis((s.Z - lam * s.WZ).reshape(n * S, k))
    U, back = basis.Q.reshape(n, S, k), np.linalg.inv(basis.R) / basis.scale[:, None]
    along = basis.Q.T @ y
    e = y - basis.Q @ along
    again = basis.Q.T @ e  # keeps Q'e at rounding level
    e -= basis.Q @ again
    own, lagged = np.ascontiguousarray(e.T).reshape(2, n, S)
    sample = ScoreSample(own, lagged, U, s.centred, filters.matrix)
    ahead = filters.ahead(lam, np.concatenate([U.reshape(n, -1), own, lagged], axis=1))
    HU, He = ahead[:, : S * k].reshape(U.shape), ahead[:, S * k :].reshape(n, 2, S)
    inner = np.tensordot(U, HU, ((0, 1), (0, 1)))
    HU = HU - s.centred * HU.mean(axis=0)
    moved = filters.moved(lam, beside_ones(U))
    rows = HU + moved[:, :-1].reshape(U.shape) - U @ ((inner + inner.T) / 2)
    K = blocks_of(sample, score.form, filters.diagonal(lam) - sample.share * moved[:, -1], rows)
    if K is None:
        return None
    both = np.stack([own, lagged], axis=1)
    forms = np.einsum("nas,nbs->ab", both, He - np.einsum("nst,nat->nas", K, both))
    three = np.array([forms[0, 0], (forms[0, 1] + forms[1, 0]) / 2, forms[1, 1]])
    return ErrorPoint(sample, Weighed(lam, moved[:, -1], rows, K), along + again, back, three)


# --- Roots of both


def score_pairs(
    score: ErrorScore, bounds: tuple[float, float]
) -> tuple[list[tuple[float, float]], tuple[float, float]]:
    """Every (ρ, λ) at which both scores are zero and fall, the highest first, and where they are nearest to it."""
    rough = _between_nodes(score, bounds)
    if rough is None:
        return [], (0.0, 0.0)
    return pair_roots(rough, score.pair, [bounds, bounds], score.sample.y.size, LAST_STEP)


def _between_nodes(
    score: ErrorScore, bounds: tuple[float, float]
) -> Callable[[Values, Values], Array] | None:
    """Both scores as polynomials through their values at a few ρ and λ; None where one of these has no solution."""
    filters = score.filters
    nodes = Nodes(bounds, PAIR_NODES if filters.dense is not None else WIDE_PAIR_NODES)
    of_rho, of_lambda, squares = [], [], []
    for lam in map(float, nodes.places):
        point = score.at(lam)
        given = None if point is None else robust_score(point.sample, score.form, filters)
        if point is None or given is None:
            return None
        of_rho.append(given.values(nodes.places) * nodes.damp(nodes.places))
        of_lambda.append(point.forms * nodes.damp(lam))
        own, lagged = point.sample.y, point.sample.Wy
        squares.append([np.vdot(own, own), np.vdot(own, lagged), np.vdot(lagged, lagged)])
    along = np.hstack([of_lambda, squares])

    def rough(rho: Values, lam: Values) -> Array:
        weights, rho = nodes.weights(lam), np.asarray(rho)
        a, b, c, aa, ab, bb = np.moveaxis(weights @ along, -1, 0)
        upper = np.einsum("...i,ij,...j->...", weights, np.array(of_rho), nodes.weights(rho)) / nodes.damp(
            rho
        )
        lower = (a - 2 * rho * b + rho**2 * c) / nodes.damp(lam)
        return np.array([upper, lower]) * score.sample.y.size / (aa - 2 * rho * ab + rho**2 * bb)

    return rough


# --- At a root of either


@dataclass(frozen=True, slots=True)
class AtRoot:
    """What the variance of r coefficients, ρ or λ or both, is made of at a root; each (r, r).

    ``slope`` h = −∂ψ/∂(ρ, λ)'; ``pairs`` q = 2 Σ_{i≠j} Y_ij Y_ij', where Y is the symmetric part of e_i'(MXM − MKM)_ij e_j,
    X = G for ρ and H for λ; ``error`` the standard errors that random signs leave in q (zero for few units).
    """

    slope: Array
    pairs: Array
    error: Array


@dataclass(frozen=True, slots=True)
class Weighed:
    """A quadratic form of the errors: the coefficient of its X, X'ι (n,), lagged rows (n, S, k) and K (n, S, S)."""

    coefficient: float
    sums: Array
    lagged: Array
    K: Array


def weighed_by_rho(sample: ScoreSample, filters: Filters, form: Form, rho: float) -> Weighed | None:
    """The form of ρ; None where K has no solution."""
    moved = filters.moved(rho, beside_ones(sample.rows))
    lagged = moved[:, :-1].reshape(sample.rows.shape)
    K = blocks_of(sample, form, filters.diagonal(rho) - sample.share * moved[:, -1], lagged)
    return None if K is None else Weighed(rho, moved[:, -1], lagged, K)


def at_root(score: Score, rho: float, errors: Array | None = None) -> AtRoot | None:
    """Slope of the score and the variance of its quadratic part; None where K has no solution at ρ.

    Parameters
    ----------
    errors
        (n, S) residuals of which products are taken, e(ρ) without them.
    """
    sample, filters = score.sample, score.filters
    known = weighed_by_rho(sample, filters, score.form, rho)
    if known is None:
        return None
    e = sample.y - rho * sample.Wy if errors is None else errors
    return AtRoot(np.array([[score.slope(rho)]]), *pair_sums(sample, filters, [known], e))


def error_at_root(
    score: ErrorScore, lam: float, errors: Array | None = None, rho: float | None = None
) -> tuple[AtRoot, Array] | None:
    """Slopes and pairs at a root of ψ_λ or, with ``rho``, of both; and ∂δ̂/∂(ρ, λ)' (k, r).

    ``errors`` as for :func:`at_root`.
    """
    given = 0.0 if rho is None else rho
    point, below, above = (score.at(lam + step) for step in (0.0, -STEP, STEP))
    if point is None or below is None or above is None:
        return None
    shift = ((above.delta(given) - below.delta(given)) / (2 * STEP))[:, None]
    if rho is None:
        slope = np.array([[(float(below.value()) - float(above.value())) / (2 * STEP)]])
        forms: list[Weighed | None] = [point.own]
    else:
        sides = [score.raw(np.array([rho, lam]) + step) for step in STEP * np.vstack([-np.eye(2), np.eye(2)])]
        slope = np.column_stack([sides[0] - sides[2], sides[1] - sides[3]]) / (2 * STEP)
        shift = np.column_stack([-point.back @ point.along[:, 1], shift])
        forms = [weighed_by_rho(point.sample, score.filters, score.form, rho), point.own]
    known = [form for form in forms if form is not None]
    if len(known) < len(forms) or not np.isfinite(slope).all():
        return None
    e = point.residuals(given) if errors is None else errors
    return AtRoot(slope, *pair_sums(point.sample, score.filters, known, e)), shift


def pair_sums(sample: ScoreSample, filters: Filters, forms: list[Weighed], e: Array) -> tuple[Array, Array]:
    """2 Σ_{i≠j} Y_ij Y_ij' of r quadratic forms of errors e (n, S), and what random signs leave in it, (r, r) each."""
    n, c = len(e), sample.share
    rest = [_Pairs.of(sample, form, e) for form in forms]
    if n > PAIR_UNITS:
        return _probed_sums(c, filters, forms, rest, e)
    out = np.zeros((len(forms), len(forms)))
    for blocks in zip(*(filters.columns(form.coefficient) for form in forms), strict=True):
        at, Y = blocks[0][0], []
        products = e @ e[at].T
        for (_, X, transposed), form, more in zip(blocks, forms, rest, strict=True):
            both = (X + transposed - c * (form.sums[at] + form.sums[:, None])) / 2
            Y.append(both * products + more.left @ more.right[at].T)
            Y[-1][at, np.arange(len(at))] = 0.0
        out += [[np.vdot(one, other) for other in Y] for one in Y]
    return 2 * out, np.zeros(out.shape)


def _probed_sums(
    share: float, filters: Filters, forms: list[Weighed], rest: list[_Pairs], e: Array
) -> tuple[Array, Array]:
    """The same of many units, whose columns are not formed."""
    size = (e**2).sum(axis=1)

    def images(v: Array) -> Array:
        right, out = e * v[:, None], []
        for form, more in zip(forms, rest, strict=True):
            ahead, back = filters.ways(form.coefficient)
            sums, own = form.sums, filters.diagonal(form.coefficient) - share * form.sums
            both = ahead(right) + back(right)
            both -= share * (np.outer(sums, right.sum(axis=0)) + sums @ right)
            diagonal = own * size + (more.left * more.right).sum(axis=1)
            out.append((e * both).sum(axis=1) / 2 + more.left @ (v @ more.right) - diagonal * v)
        return np.array(out)

    known = linked_pairs(filters.matrix, [form.coefficient for form in forms], e.T)
    values, errors = probed_products(images, [matrix / 2 for matrix in known], len(e))
    return 2 * values, 2 * errors


def score_covariance(
    sample: ScoreSample,
    root: AtRoot,
    means: Array | None,
    errors: Array,
    back: Array,
    shift: Array,
    factor: float,
) -> tuple[Array, float]:
    """Covariance (k + r, k + r) of δ and the r of (ρ, λ), clustered by unit, and the error of its errors by random signs.

    Unit i moves (ρ, λ) by s_i = h⁻¹(a_i'e_i, 0)', a = MG(mean), and δ by (Z'Z)⁻¹Z_i'e_i + D s_i, D = ∂δ̂/∂(ρ, λ)'; pairs of
    units add h⁻¹qh⁻ᵀ. The two are uncorrelated, and no third or fourth moment enters since own blocks are zero.

    Parameters
    ----------
    means
        (n, S) G times the fitted mean, after the transform; None without ρ.
    errors
        (n, S) residuals, or what stands for errors.
    back
        (k, k): what turns coefficients on U into coefficients on Z.
    shift
        D (k, r).
    factor
        n/(n − 1) for residuals as they are: once for sums by unit, twice for pairs.
    """
    inverse, linear = np.linalg.inv(root.slope), np.zeros((len(errors), len(root.slope)))
    if means is not None:
        flat = sample.rows.reshape(-1, sample.rows.shape[2])
        a = means - (flat @ (flat.T @ means.ravel())).reshape(means.shape)
        linear[:, 0] = (a * errors).sum(axis=1)
    both = np.vstack([shift, np.eye(len(inverse))])
    influence = linear @ (both @ inverse).T
    influence[:, : len(shift)] += np.einsum("nsk,ns->nk", sample.rows, errors) @ back.T
    spread = factor * both @ inverse
    cov = factor * influence.T @ influence + spread @ root.pairs @ spread.T
    unsure = np.einsum("ar,rs,as->a", abs(spread), root.error, abs(spread))
    return cov, float(np.max(unsure / (2 * cov.diagonal())))


@dataclass(frozen=True, slots=True)
class _Pairs:
    """What Y_ij has beside (JG)_ij e_i'e_j, as left_i · right_j."""

    left: Array
    right: Array

    @classmethod
    def of(cls, sample: ScoreSample, form: Weighed, e: Array) -> _Pairs:
        """Of a form, for errors (n, S)."""
        U, c, lagged, K = sample.rows, sample.share, form.lagged, form.K
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
