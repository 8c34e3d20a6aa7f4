"""The robust score of λ: as that of ρ in :mod:`spatial_zb.core.likelihood.score`, for errors that spread.

With B = I − λW, H = WB⁻¹ and M(λ) the matrix that takes out effects and the filtered regressors BZ, e(λ) = M B y is Mε at
the truth, and

    ψ(λ) = e'He − Σ_i e_i' K_i(λ) e_i

has mean tr[(MHM − MKM) Ω], zero for every Ω = blockdiag(Ω_i) where the own blocks of the symmetric part of MHM − MKM are.
MHM differs from MG in that U is lagged either way: JHU + H'U − U sym(U'HU) stands for G'U. Under effects of periods rows of
W sum to one, so that JHJ = JH.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spatial_zb.core import Array
from spatial_zb.core.likelihood.score import AtRoot, Filters, Form, ScoreSample, blocks_of, pair_sum
from spatial_zb.core.transforms import column_basis

#: Step of the derivative of the score and of δ̂ in λ, of which rounding and curvature are then equal.
STEP = 1e-4


@dataclass(frozen=True, slots=True)
class ErrorSample:
    """``y``, ``Wy`` (n, S) and ``Z``, ``WZ`` (n, S, k) off the effects, in a basis of the periods; G is that of W."""

    y: Array
    Wy: Array
    Z: Array
    WZ: Array
    centred: bool
    filters: Filters

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, S, k)."""
        return self.Z.shape


@dataclass(frozen=True, slots=True)
class ErrorPoint:
    """At one λ: residuals in ``sample``, K, the lagged rows, δ̂ (k,), what turns U'e into δ (k, k), and ψ."""

    sample: ScoreSample
    K: Array
    lagged: Array
    delta: Array
    back: Array
    value: float


@dataclass(frozen=True, slots=True)
class ErrorScore:
    """ψ(λ) of one form; NaN where its equations have no solution."""

    sample: ErrorSample
    form: Form

    @property
    def filters(self) -> Filters:
        """H at any λ."""
        return self.sample.filters

    def value(self, lam: float) -> float:
        """ψ(λ)."""
        point = error_point(self, lam)
        return np.nan if point is None else point.value

    def values(self, lam: Array) -> Array:
        """ψ at many λ."""
        return np.array([self.value(float(at)) for at in lam])


def error_point(score: ErrorScore, lam: float) -> ErrorPoint | None:
    """Least squares of the filtered data, K and ψ at λ; None where K has no solution."""
    s, filters = score.sample, score.filters
    n, S, k = s.shape
    y = s.y - lam * s.Wy
    basis = column_basis((s.Z - lam * s.WZ).reshape(n * S, k))
    U, back = basis.Q.reshape(n, S, k), np.linalg.inv(basis.R) / basis.scale[:, None]
    along = basis.Q.T @ y.ravel()
    e = y - (basis.Q @ along).reshape(n, S)
    again = basis.Q.T @ e.ravel()  # keeps Q'e at rounding level
    e = e - (basis.Q @ again).reshape(n, S)
    sample = ScoreSample(e, e, U, s.centred, filters.matrix)
    ahead = filters.ahead(lam, np.concatenate([U.reshape(n, -1), e], axis=1))
    HU, He = ahead[:, : S * k].reshape(U.shape), ahead[:, S * k :]
    inner = np.tensordot(U, HU, ((0, 1), (0, 1)))
    HU = HU - s.centred * HU.mean(axis=0)
    moved = filters.moved(lam, np.column_stack([U.reshape(n, -1), np.ones(n)]))
    lagged = HU + moved[:, :-1].reshape(U.shape) - U @ ((inner + inner.T) / 2)
    K = blocks_of(sample, score.form, filters.diagonal(lam) - sample.share * moved[:, -1], lagged)
    if K is None:
        return None
    value = float(np.vdot(e, He)) - float(np.einsum("ns,nst,nt->", e, K, e))
    return ErrorPoint(sample, K, lagged, back @ (along + again), back, value)


def error_at_root(score: ErrorScore, lam: float, errors: Array | None = None) -> tuple[AtRoot, Array] | None:
    """Slope and pairs at a root, as :func:`spatial_zb.core.likelihood.score.at_root`, and dδ̂/dλ (k,)."""
    point, below, above = (error_point(score, lam + step) for step in (0.0, -STEP, STEP))
    if point is None or below is None or above is None:
        return None
    sums = score.filters.moved(lam, np.ones((score.filters.n, 1)))[:, 0]
    e = point.sample.y if errors is None else errors
    pairs, _ = pair_sum(point.sample, score.filters, lam, sums, point.K, point.lagged, e)
    known = AtRoot((below.value - above.value) / (2 * STEP), pairs)
    return known, (above.delta - below.delta) / (2 * STEP)


def error_covariance(point: ErrorPoint, known: AtRoot, shift: Array, errors: Array, factor: float) -> Array:
    """Covariance (k + 1, k + 1) of (δ, λ), clustered by unit.

    Unit i moves δ̂ by (Z_B'Z_B)⁻¹Z_B,i'e_i; λ̂ has the pairs of units alone, q/h², and moves δ̂ by ``shift`` = dδ̂/dλ.

    Parameters
    ----------
    errors, factor
        As for :func:`spatial_zb.core.likelihood.score.score_covariance`.
    """
    influence = np.einsum("nsk,ns->nk", point.sample.rows, errors) @ point.back.T
    cov, both = np.zeros((len(shift) + 1,) * 2), np.append(shift, 1.0)
    cov[:-1, :-1] = factor * influence.T @ influence
    return cov + known.pairs * (factor / known.slope) ** 2 * np.outer(both, both)
