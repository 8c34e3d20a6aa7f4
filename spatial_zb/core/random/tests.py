"""Tests of random unit effects on arrays: Hausman, Mundlak, and those of Baltagi, Song & Koh (2003).

Random unit effects without spatial lags: estimates, and the tests of Hausman and Mundlak.

Arrays are (T, n) or (T, n, k), off the grand mean or off the period means.

Period effects out of a random-effects likelihood: n units become n − 1 coordinates that no period mean moves.

F (n, n − 1) is an orthonormal basis of what is orthogonal to ι. With Wι = ι, F'W = (F'WF)F', so that F'y_t follows
the same model under F'WF, without period effects, and with ln|I − ρF'WF| = ln|I − ρW| − ln(1 − ρ); random effects
and errors keep their laws. This is the transform of Lee & Yu (2010, J. Econometrics 154: 165-185, section 3.2) for random
unit effects; dummies of periods in their place bias ρ̂, strongly so when W is dense.

Random unit effects and spatial errors: the tests of Baltagi, Song & Koh (2003), with laws for few units.

Arrays are (T, n) or (T, n, k), off the grand mean or off the period means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, optimize, sparse, stats

from spatial_zb.core import Array
from spatial_zb.core.likelihood.tests import WeightMoments, flat, quadratic_form
from spatial_zb.core.logdet import LogDet
from spatial_zb.core.logdet.traces import Traces
from spatial_zb.core.transforms import spatial_lag

#: Where the search for ln(1 + Tφ) of the random-effects likelihood ends.
S_MAX = 20.0


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


def random_effects_ml(y: Array, X: Array, units: int) -> tuple[Array, float, float]:
    """Residuals (T, n), σ² and σ₁² = σ² + Tσ²_μ at the maximum of the likelihood with random unit effects.

    ln L = −(UT/2) ln SSR(s) − (U/2)s + …, s = ln(σ₁²/σ²) ≥ 0, U = ``units``; arrays may be off period means
    (U = n − 1) or contain the intercept (U = n).
    """
    T = len(y)

    def solve(s: float) -> tuple[float, Array]:
        keep = np.exp(-s / 2)
        beta, _, ssr = _least_squares(_partial(X, keep), _partial(y, keep))
        return ssr, beta

    def loss(s: float) -> float:
        return T / 2 * np.log(solve(s)[0]) + s / 2

    grid = np.linspace(0, S_MAX, 41)
    near = int(np.argmin([loss(s) for s in grid]))
    bounds = grid[max(near - 1, 0)], grid[min(near + 1, 40)]
    s = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-10}).x
    s = 0.0 if near == 0 and loss(0.0) <= loss(s) else float(s)
    ssr, beta = solve(s)
    sigma2 = ssr / (units * T)
    return y - X @ beta, sigma2, sigma2 * float(np.exp(s))


@dataclass(frozen=True, slots=True)
class CentredLogDet:
    """ln|I − ρF'WF| and its slope, from those of W."""

    inner: LogDet

    @property
    def interval(self) -> tuple[float, float]:
        """Admissible values of ρ, those of W."""
        return self.inner.interval

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


def bsk_marginal(u: Array, Wu: Array, moments: WeightMoments) -> tuple[float, float]:
    """Marginal LM tests, standard normal under no random effects and no spatial error: (effects, error).

    Baltagi, Song & Koh (2003, J. Econometrics 117: 123-150), LM1 and LM2. The square of the first is the test
    of Breusch & Pagan (1980); the sum of squares is their joint LM test, also with period effects taken out,
    since the information between both parameters is zero once σ² is concentrated out.
    """
    T, U = len(u), moments.dimension
    total = float((u**2).sum())
    G = float((u.sum(axis=0) ** 2).sum()) / total - 1
    s2 = total / (U * T)
    r_e = float((u * Wu).sum()) / s2 - T * moments.trace
    return float(np.sqrt(U * T / (2 * (T - 1))) * G), float(r_e / np.sqrt(T * moments.variance))


def bsk_error_given_random(
    u: Array, matrix: sparse.csr_array, sigma2: float, sigma2_one: float, moments: WeightMoments
) -> float:
    """Conditional LM test of a spatial error, random effects present; standard normal.

    ½u'[σ⁻²E⊗(W+W') + σ²σ₁⁻⁴ J̄⊗(W+W')]u − (T − 1 + r) tr A over √[(T − 1 + r²) T_w], r = σ²/σ₁², at the
    random-effects maximum. Baltagi, Song & Koh (2003), conditional test for λ.
    """
    T = len(u)
    r = sigma2 / sigma2_one
    u = u / np.sqrt(sigma2)  # before anything is multiplied: free of the unit of measurement
    mean = u.mean(axis=0)
    deviation = u - mean
    within = float((deviation * spatial_lag(matrix, deviation)).sum())
    between = T * float(mean @ (matrix @ mean)) * r**2
    score = within + between - (T - 1 + r) * moments.trace
    return float(score / np.sqrt((T - 1 + r**2) * moments.variance))


def bsk_random_given_error(
    e: Array, matrix: sparse.csr_array, lam: float, sigma2: float, traces: Traces, moments: WeightMoments
) -> float:
    """Conditional LM test of random effects, spatial error present; standard normal, large when effects are there.

    Score of σ²_μ at the spatial-error maximum, −T tr(B'B)/(2σ²) + |B'Σ_tε_t|²/(2σ⁴), over the root of its
    information given (σ², λ). Baltagi, Song & Koh (2003), conditional test for σ²_μ.

    Parameters
    ----------
    e
        (T, n) ε̂ = B(y − Zβ̂), transformed.
    traces
        Of H = W(I − λW)⁻¹, centred like ``moments``; with period effects W must be row-normalised.
    """
    T, n = e.shape
    B = sparse.csr_array(sparse.eye_array(n, format="csr") - lam * matrix)
    pulled = B.T @ e.sum(axis=0)
    spread = _spread(lam, moments)
    pulled = pulled / np.sqrt(sigma2)  # before it is squared: free of the unit of measurement
    score = (float(pulled @ pulled) - T * spread) / 2
    return float(score / _score_deviation(B, lam, traces, moments, T))


def _score_deviation(
    B: sparse.csr_array, lam: float, traces: Traces, moments: WeightMoments, T: int
) -> float:
    """Standard deviation, times σ², of the score of σ²_μ given (σ², λ)."""
    U = moments.dimension
    spread = _spread(lam, moments)
    of_others = np.array([[U * T / 2, T * traces.h], [T * traces.h, T * (traces.hh + traces.hth)]])
    across = np.array([T * spread / 2, T * (moments.trace - lam * moments.cross)])
    own = T**2 * _squared_spread(B, B.shape[0] > U) / 2
    return float(np.sqrt(own - across @ np.linalg.solve(of_others, across)))


def _spread(lam: float, moments: WeightMoments) -> float:
    """tr BB', off period means like ``moments``."""
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
    U, spread = moments.dimension, _spread(lam, moments)
    B = sparse.csr_array(sparse.eye_array(n, format="csr") - lam * matrix)
    pulled = B.T @ basis.sum(axis=0)
    mean = (T * spread - float((pulled**2).sum())) / (U * T - k)
    shift = U * T / 2 * (mean - spread / U) / _score_deviation(B, lam, traces, moments, T)
    return unit_share_tail(value - shift, spread**2 / _squared_spread(B, n > U), T)


def _squared_spread(B: sparse.csr_array, centred: bool) -> float:
    """tr[(B'B)²]; tr[(B'JB)²] when centred, W being row-normalised then, so that JBJ = JB."""
    n = B.shape[0]
    BB = sparse.csr_array(B.T @ B)
    total = float((BB.multiply(BB)).sum())
    if not centred:
        return total
    v = np.asarray(B.sum(axis=0)).ravel()
    return total - 2 * float(v @ (BB @ v)) / n + float(v @ v) ** 2 / n**2


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
    return float(stats.beta.sf(share, mean * size, (1 - mean) * size))


def unit_share_tail(z: float, units: float, periods: int) -> float:
    """P of a larger standardised share of unit sums: the law of :func:`unit_share_p_value` without regressors."""
    law = stats.beta(units / 2, units * (periods - 1) / 2)
    return float(law.sf(law.mean() + z * law.std()))


def chi_square_bar(statistic: float) -> float:
    """P(½χ²₁ + ½χ²₂ > statistic): one parameter of two cannot be negative (Gourieroux, Holly & Monfort 1982)."""
    return float(stats.chi2.sf(statistic, 1) + stats.chi2.sf(statistic, 2)) / 2
