"""Tests of random unit effects on arrays: Hausman, Mundlak, and those of Baltagi, Song & Koh (2003), for few units too.

Arrays are (T, n) or (T, n, k), off the grand mean or off the period means.

Period effects leave a random-effects likelihood in that n units become n − 1 coordinates that no period mean moves:
F (n, n − 1) is an orthonormal basis of what is orthogonal to ι. With Wι = ι, F'W = (F'WF)F', so that F'y_t follows
the same model under F'WF, without period effects, and with ln|I − ρF'WF| = ln|I − ρW| − ln(1 − ρ); random effects
and errors keep their laws. This is the transform of Lee & Yu (2010, J. Econometrics 154: 165-185, section 3.2) for random
unit effects; dummies of periods in their place bias ρ̂, strongly so when W is dense.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, sparse, special

from spatial_zb.core import Array, chi2_tail
from spatial_zb.core.likelihood import follow_roots
from spatial_zb.core.likelihood.tests import WeightMoments, flat, quadratic_form, sum_of_squares
from spatial_zb.core.logdet import LogDet
from spatial_zb.core.logdet.traces import Traces
from spatial_zb.core.random import Mixed
from spatial_zb.core.transforms import column_basis

#: Where ln(1 + Tφ) of the random-effects likelihood is looked for.
S_POINTS = np.linspace(0.0, 20.0, 41)


@dataclass(frozen=True, slots=True)
class RandomEffects:
    """GLS with random unit effects.

    ``beta`` (k,), ``cov`` (k, k) with ``variance``, that of the residuals of the GLS regression; ``sigma2`` of ε;
    ``sigma2_one`` = σ² + Tσ²_μ; ``between_df`` of the regression of unit means; ``residuals`` (T, n).
    """

    beta: Array
    cov: Array
    variance: float
    sigma2: float
    sigma2_one: float
    between_df: int
    residuals: Array

    @property
    def keep(self) -> float:
        """Share of the unit means that GLS leaves in: σ/σ₁."""
        return float(np.sqrt(self.sigma2 / self.sigma2_one))


def _split(values: Array) -> tuple[Array, Array]:
    """Time means (n, …) and deviations from them (T, n, …)."""
    mean = values.mean(axis=0)
    return mean, values - mean


def _partial(values: Array, keep: float) -> Array:
    """Deviations plus ``keep`` times the unit means, stacked."""
    mean, deviation = _split(values)
    return flat(deviation + keep * mean)


def _least_squares(X: Array, y: Array) -> tuple[Array, Array, float]:
    """β, (X'X)⁻¹ and SSR of stacked arrays; columns are brought to unit length first."""
    if not X.shape[1]:
        return np.zeros(0), np.zeros((0, 0)), float(y @ y)
    scale = np.sqrt((X**2).sum(axis=0))
    Q, R = np.linalg.qr(X / scale)
    beta = linalg.solve_triangular(R, Q.T @ y) / scale
    root = linalg.solve_triangular(R, np.eye(len(scale))) / scale[:, None]
    residual = y - X @ beta
    return beta, root @ root.T, float(residual @ residual)


def swamy_arora(y: Array, X: Array, varying: NDArray[np.bool_], period_means: bool) -> RandomEffects:
    """Random-effects GLS with the variance components of Swamy & Arora (1972, Econometrica 40).

    Parameters
    ----------
    y, X
        (T, n), (T, n, k), off the grand mean, or off the period means when ``period_means``: no intercept.
    varying
        (k,) which regressors change over time.
    """
    T, n, k = X.shape
    (my, dy), (mX, dX) = _split(y), _split(X)
    inner = (n - period_means) * (T - 1)
    outer = n - 1 - k
    sigma2 = _least_squares(flat(dX[:, :, varying]), flat(dy))[2] / (inner - int(varying.sum()))
    sigma2_one = max(T * _least_squares(mX, my)[2] / outer, sigma2)
    keep = np.sqrt(sigma2 / sigma2_one)
    beta, inverse, ssr = _least_squares(_partial(X, keep), _partial(y, keep))
    variance = ssr / (inner + outer)
    return RandomEffects(beta, variance * inverse, variance, sigma2, sigma2_one, outer, y - X @ beta)


def within_regression(y: Array, X: Array, period_means: bool) -> tuple[Array, Array]:
    """β (k,) and its covariance from arrays off unit means, and off period means when ``period_means``."""
    T, n, k = X.shape
    beta, inverse, ssr = _least_squares(flat(X), flat(y))
    return beta, ssr / ((n - period_means) * (T - 1) - k) * inverse


def hausman(difference: Array, cov_fixed: Array, cov_random: Array) -> float:
    """d'(V_FE − V_RE)⁻¹d, NaN where the difference of variances is not positive definite.

    Hausman (1978, Econometrica 46).
    """
    return float(quadratic_form(difference, cov_fixed - cov_random))


def mundlak(y: Array, X: Array, random: RandomEffects, varying: NDArray[np.bool_]) -> float:
    """Wald statistic of the unit means of the time-varying regressors in the random-effects regression.

    Mundlak (1978, Econometrica 46). Arrays as in :func:`swamy_arora`. It is the Hausman statistic with one
    σ² for both estimators, and cannot be negative.
    """
    means = np.broadcast_to(X.mean(axis=0)[None], X.shape)[:, :, varying]
    both = np.concatenate([X, means], axis=2)
    beta, inverse, _ = _least_squares(_partial(both, random.keep), _partial(y, random.keep))
    k = X.shape[2]
    return float(quadratic_form(beta[k:], random.sigma2 * inverse[k:, k:]))


def hausman_mundlak(
    y: Array, X: Array, varying: NDArray[np.bool_], period_means: bool
) -> tuple[Array, Array]:
    """Statistics of Hausman and Wald statistics of Mundlak (R,) by the components of Swamy and Arora.

    Of y (R, T, n), X (T, n, k) as :func:`swamy_arora` takes them. Mundlak's is by how much
    means of units lower the sum of squares: with them, deviations and means are two regressions.
    """
    (T, n, k), q = X.shape, int(varying.sum())
    X = X[:, :, np.argsort(varying, kind="stable")]  # those that vary are last on the basis
    basis = column_basis(X.reshape(T * n, k))
    mixed = Mixed.of(basis, y)
    means, centre = y.mean(axis=1), X.mean(axis=0)
    own = (X - centre)[:, :, k - q :].reshape(T * n, q)
    deviations = (y - means[:, None]).reshape(len(y), -1)
    inner, outer = (n - period_means) * (T - 1), n - 1 - k
    within, between = sum_of_squares(own, deviations), T * sum_of_squares(centre, means)
    sigma2 = within / (inner - q)
    keep = sigma2 / np.maximum(between / outer, sigma2)
    products, found, gram = mixed.at(keep)
    ssr = products[:, 0, 0]
    last, Q = mixed.turn[k - q :], basis.Q.reshape(T, n, k)[:, :, k - q :]
    spread = (Q - Q.mean(axis=0)).reshape(T * n, q)
    inverse = np.linalg.inv(spread.T @ spread)
    fixed = (deviations - (mixed.onto[:, 0, k - q :] @ spread.T)) @ spread @ inverse
    variance = inverse - (last / gram[:, None]) @ last.T
    scale = (ssr / (inner + outer))[:, None, None]
    hausman = quadratic_form(fixed - found[:, 0] @ last.T, scale * variance)
    return hausman, (ssr - within - keep * between) / sigma2


def random_effects_ml(y: Array, X: Array, units: int) -> tuple[Array, Array, Array]:
    """Residuals (R, T, n), σ² and σ₁² = σ² + Tσ²_μ (R,) at the maximum of the likelihood with random unit effects.

    ln L = −(UT/2) ln SSR(s) − (U/2)s + …, s = ln(σ₁²/σ²) ≥ 0, U = ``units``, of each y (R, T, n) on X (T, n, k); arrays may
    be off period means (U = n − 1) or contain the intercept (U = n). Its slope is followed to the fall through zero.
    """
    (T, n, k), R = X.shape, len(y)
    basis = column_basis(X.reshape(T * n, k))
    mixed = Mixed.of(basis, y)

    def slope(s: Array) -> Array:
        q = np.exp(-s)
        products, *parts = mixed.at(q)
        return T / 2 * q * mixed.slopes(*parts)[0][:, 0, 0] / products[:, 0, 0] - 0.5

    ssr = np.stack([mixed.at(np.full(R, q))[0][:, 0, 0] for q in np.exp(-S_POINTS)], axis=1)
    near = np.argmin(T / 2 * np.log(ssr) + S_POINTS / 2, axis=1)
    low, high = S_POINTS[np.maximum(near - 1, 0)], S_POINTS[np.minimum(near + 1, len(S_POINTS) - 1)]
    at_low, at_high = slope(low), slope(high)
    falls = (at_low > 0) & (at_high <= 0)
    # where the likelihood only falls, or only rises, it is highest at an end
    root = follow_roots(slope, low, high, np.where(falls, at_low, 1.0), np.where(falls, at_high, -1.0))
    s = np.where(falls, root, np.where(at_low <= 0, low, high))
    products, found, _ = mixed.at(np.exp(-s))
    sigma2 = products[:, 0, 0] / (units * T)
    u = y.reshape(R, -1) - mixed.coefficients(found, np.ones((R, 1))) @ basis.Q.T
    return u.reshape(y.shape), sigma2, sigma2 * np.exp(s)


@dataclass(frozen=True, slots=True)
class CentredLogDet:
    """ln|I − ρF'WF| and its slope, from those of W."""

    inner: LogDet

    @property
    def interval(self) -> tuple[float, float]:
        """Admissible values of ρ, those of W."""
        return self.inner.interval

    @property
    def rough(self) -> CentredLogDet:
        """An approximation where there is one, else itself."""
        return self if self.inner.rough is self.inner else CentredLogDet(self.inner.rough)

    def cover(self, low: float, high: float) -> None:
        """Make the answers between two values of ρ ready."""
        self.inner.cover(low, high)

    def value(self, rho: ArrayLike) -> Array:
        """ln|I − ρW| − ln(1 − ρ)."""
        return self.inner.value(rho, centred=True)

    def first(self, rho: ArrayLike) -> Array:
        """Its derivative."""
        return self.inner.first(rho, centred=True)


def period_basis(n: int) -> Array:
    """F (n, n − 1), the Helmert contrasts."""
    return linalg.helmert(n).T


def rotated(values: Array, basis: Array) -> Array:
    """F' applied to the units of (T, n) or (T, n, k)."""
    return np.moveaxis(np.tensordot(values, basis, axes=(1, 0)), -1, 1)


def centred_weights(matrix: sparse.csr_array, basis: Array) -> sparse.csr_array:
    """F'WF; dense, (n − 1)² numbers."""
    return sparse.csr_array(basis.T @ (matrix @ basis))


def bsk_marginal(u: Array, Wu: Array, moments: WeightMoments) -> tuple[Array, Array]:
    """Marginal LM tests (…), standard normal under no random effects and no spatial error: (effects, error).

    Baltagi, Song & Koh (2003, J. Econometrics 117: 123-150), LM1 and LM2, of residuals and their lags (…, T, n). The
    square of the first is the test of Breusch & Pagan (1980); the sum of squares is their joint LM test, also with period
    effects taken out, since the information between both parameters is zero once σ² is concentrated out.
    """
    T, U = u.shape[-2], moments.dimension
    total = (u**2).sum(axis=(-2, -1))
    G = (u.sum(axis=-2) ** 2).sum(axis=-1) / total - 1
    s2 = total / (U * T)
    r_e = (u * Wu).sum(axis=(-2, -1)) / s2 - T * moments.trace
    return np.sqrt(U * T / (2 * (T - 1))) * G, r_e / np.sqrt(T * moments.variance)


def bsk_error_given_random(
    u: Array, matrix: sparse.csr_array, sigma2: ArrayLike, sigma2_one: ArrayLike, moments: WeightMoments
) -> Array:
    """Conditional LM test (…) of a spatial error, random effects present; standard normal.

    ½u'[σ⁻²E⊗(W+W') + σ²σ₁⁻⁴ J̄⊗(W+W')]u − (T − 1 + r) tr A over √[(T − 1 + r²) T_w], r = σ²/σ₁², at the
    random-effects maximum. Baltagi, Song & Koh (2003), conditional test for λ. Residuals u are (…, T, n).
    """
    T, sigma2 = u.shape[-2], np.asarray(sigma2)
    r = sigma2 / np.asarray(sigma2_one)
    u = u / np.sqrt(sigma2)[..., None, None]  # before anything is multiplied: free of the unit of measurement
    mean = u.mean(axis=-2)
    deviation = u - mean[..., None, :]
    within = (deviation * _lagged(matrix, deviation)).sum(axis=(-2, -1))
    between = T * (mean * _lagged(matrix, mean)).sum(axis=-1) * r**2
    score = within + between - (T - 1 + r) * moments.trace
    return score / np.sqrt((T - 1 + r**2) * moments.variance)


def _lagged(matrix: sparse.csr_array, values: Array) -> Array:
    """W applied to (…, n)."""
    return (matrix @ values.reshape(-1, values.shape[-1]).T).T.reshape(values.shape)


def bsk_random_given_error(
    e: Array,
    matrix: sparse.csr_array,
    lam: ArrayLike,
    sigma2: ArrayLike,
    traces: Traces,
    moments: WeightMoments,
) -> Array:
    """Conditional LM test (…) of random effects, spatial error present; standard normal, large when effects are there.

    Score of σ²_μ at the spatial-error maximum, −T tr(B'B)/(2σ²) + |B'Σ_tε_t|²/(2σ⁴), over the root of its
    information given (σ², λ). Baltagi, Song & Koh (2003), conditional test for σ²_μ.

    Parameters
    ----------
    e
        (…, T, n) ε̂ = B(y − Zβ̂), transformed; λ and σ² are (…).
    traces
        Of H = W(I − λW)⁻¹, centred like ``moments``; with period effects W must be row-normalised.
    """
    T, lam = e.shape[-2], np.asarray(lam)
    sums = e.sum(axis=-2) / np.sqrt(np.asarray(sigma2))[..., None]  # before it is squared: free of the unit
    pulled = sums - lam[..., None] * _lagged(matrix.T, sums)
    score = ((pulled**2).sum(axis=-1) - T * _spread(lam, moments)) / 2
    return score / _score_deviation(matrix, lam, traces, moments, T)


def _score_deviation(
    matrix: sparse.csr_array, lam: Array, traces: Traces, moments: WeightMoments, T: int
) -> Array:
    """Standard deviation (…), times σ², of the score of σ²_μ given (σ², λ)."""
    U = moments.dimension
    first, second = T * _spread(lam, moments) / 2, T * (moments.trace - lam * moments.cross)
    s, h, hh = U * T / 2, T * traces.h, T * (traces.hh + traces.hth)
    # (first, second) over the information [[s, h], [h, hh]] of the others
    taken = (hh * first**2 - 2 * h * first * second + s * second**2) / (s * hh - h**2)
    own = T**2 * _squared_spread(matrix, lam, matrix.shape[0] > U) / 2
    return np.sqrt(own - taken)


def _spread(lam: Array, moments: WeightMoments) -> Array:
    """tr BB' (…), off period means like ``moments``."""
    return moments.dimension - 2 * lam * moments.trace + lam**2 * moments.cross


def random_given_error_p_value(
    value: float, basis: Array, matrix: sparse.csr_array, lam: float, traces: Traces, moments: WeightMoments
) -> float:
    """One-sided p-value of :func:`bsk_random_given_error` when there are few units.

    The statistic less its mean given λ, (UT/2)(tr MD/tr M − tr BB'/U) over its deviation, with D = J_T ⊗ BB' and
    M = I − PP', as in :func:`unit_share_p_value`; read from the law of a share of as many unit squares as BB' counts,
    (tr BB')²/tr(BB')².

    Parameters
    ----------
    value
        Of :func:`bsk_random_given_error`.
    basis
        (T, n, k) orthonormal basis P of the filtered regressors BZ.
    """
    T, n, k = basis.shape
    at = np.asarray(lam)
    U, spread = moments.dimension, float(_spread(at, moments))
    sums = basis.sum(axis=0)
    pulled = sums - lam * (matrix.T @ sums)
    mean = (T * spread - float((pulled**2).sum())) / (U * T - k)
    shift = U * T / 2 * (mean - spread / U) / float(_score_deviation(matrix, at, traces, moments, T))
    return unit_share_tail(value - shift, spread**2 / float(_squared_spread(matrix, at, n > U)), T)


def _squared_spread(matrix: sparse.csr_array, lam: Array, centred: bool) -> Array:
    """tr[(B'B)²] (…); tr[(B'JB)²] when centred, W being row-normalised then, so that JBJ = JB.

    B'B = I − λ(W + W') + λ²W'W, so that the trace is a polynomial in λ.
    """
    n = matrix.shape[0]
    parts = sparse.eye_array(n, format="csr"), -sparse.csr_array(matrix + matrix.T), matrix.T @ matrix
    total: Array = np.zeros_like(lam, dtype=float)
    for i, one in enumerate(parts):
        for j, other in enumerate(parts):
            total = total + lam ** (i + j) * float(one.multiply(other).sum())
    if not centred:
        return total
    v = 1 - lam[..., None] * np.asarray(matrix.sum(axis=0)).ravel()
    Bv = v - lam[..., None] * _lagged(matrix, v)
    return total - 2 * (Bv**2).sum(axis=-1) / n + (v**2).sum(axis=-1) ** 2 / n**2


def unit_share_p_value(u: Array, basis: Array, dimension: int) -> float:
    """P of a larger share of the unit sums, Σ_i(Σ_t u_it)²/Σu², in residuals without random effects; one-sided.

    The share is g = u'Du/u'u with D = J_T ⊗ I. For normal errors, M = I − PP' and N = tr M,

        E g = tr(DM)/N,   Var g = 2[N tr(DM)² − (tr DM)²] / [N²(N + 2)],

    are exact (Moulton & Randolph 1989, Econometrica 57: 685-693, who standardise the test of Breusch & Pagan with them).
    g/T is read from the beta law with these moments, which is exact without regressors; the normal law misses that a
    sum of few squares is skewed.

    Parameters
    ----------
    u
        (T, n) least-squares residuals.
    basis
        (T, n, k) orthonormal basis P of the regressors, the constant among them unless period means are out.
    dimension
        n, or n − 1 with period means out.
    """
    T, k = len(u), basis.shape[2]
    sums = basis.sum(axis=0)
    inner = sums.T @ sums
    N = dimension * T - k
    first = T * dimension - np.trace(inner)
    second = T**2 * dimension - 2 * T * np.trace(inner) + (inner**2).sum()
    mean = first / N / T
    variance = 2 * (N * second - first**2) / (N**2 * (N + 2)) / T**2
    size = mean * (1 - mean) / variance - 1
    share = float((u.sum(axis=0) ** 2).sum() / (u**2).sum()) / T
    return float(special.betaincc(mean * size, (1 - mean) * size, share))


def unit_share_tail(z: float, units: float, periods: int) -> float:
    """P of a larger standardised share of unit sums: the law of :func:`unit_share_p_value` without regressors."""
    a, b = units / 2, units * (periods - 1) / 2
    mean = a / (a + b)
    share = mean + z * np.sqrt(mean * (1 - mean) / (a + b + 1))
    return float(special.betaincc(a, b, min(max(share, 0.0), 1.0)))


def chi_square_bar(statistic: float) -> float:
    """P(½χ²₁ + ½χ²₂ > statistic): one parameter of two cannot be negative (Gourieroux, Holly & Monfort 1982)."""
    return float(chi2_tail(statistic, 1) + chi2_tail(statistic, 2)) / 2
