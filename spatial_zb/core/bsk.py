"""Random unit effects and spatial errors: the tests of Baltagi, Song & Koh (2003), with laws for few units.

Arrays are (T, n) or (T, n, k), off the grand mean or off the period means.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats

from spatial_zb.core.diagnostics import WeightMoments
from spatial_zb.core.lag import spatial_lag
from spatial_zb.core.traces import Traces

__all__ = [
    "bsk_error_given_random",
    "bsk_marginal",
    "bsk_random_given_error",
    "chi_square_bar",
    "random_given_error_p_value",
    "unit_share_p_value",
    "unit_share_tail",
]

Array = NDArray[np.float64]


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
    mean = u.mean(axis=0)
    deviation = u - mean
    r = sigma2 / sigma2_one
    within = float((deviation * spatial_lag(matrix, deviation)).sum()) / sigma2
    between = T * float(mean @ (matrix @ mean)) * sigma2 / sigma2_one**2
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
    score = -T * spread / (2 * sigma2) + float(pulled @ pulled) / (2 * sigma2**2)
    return float(score * sigma2 / _score_deviation(B, lam, traces, moments, T))


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
