"""Covariances of the maximum-likelihood estimator, classical and robust; parameters are ordered (δ, ρ, λ, σ²).

Classical: the inverse of the expected or the observed information. Robust: bread × meat × bread, where the bread is
such an inverse and the meat the variance of the score s = (BZ'ε/σ², (BWy)'ε/σ² − T* tr G, (Wu)'ε/σ² − T* tr H,
(ε'ε − Nσ²)/2σ⁴). Since BWy = BGm + Gε and Wu = Hε after the transform, each score is a linear and a quadratic form in
ε, and a meat has to cover both.

References: Anselin (1988), Spatial Econometrics, §6.3; Lee (2004), Econometrica 72: 1899-1925 (QML); Lee & Yu (2010),
J. Econometrics 154, eqs 12 and 27; Driscoll & Kraay (1998), Rev. Econ. Statist. 80: 549-560; Kelejian & Prucha (2007),
J. Econometrics 140: 131-154 (spatial HAC); Conley (1999), J. Econometrics 92: 1-45.

Robust meats take the diagonals of JGJ and JHJ, G = W(I − ρW)⁻¹ and H = W(I − λW)⁻¹, and sums over pairs of their entries
(:mod:`spatial_zb.core.logdet.entries`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.linalg import lapack

from spatial_zb.core import Array
from spatial_zb.core.clusters import BartlettLaw, Clusters, kernel_law
from spatial_zb.core.logdet.traces import Traces
from spatial_zb.core.transforms import FixedEffects, TransformedSample

#: Rows of a projection that are formed at a time.
STRIPE = 256
#: Per parameter, the share of its own information, given the others, that may be rounding alone.
ROUNDING = 4 * np.finfo(float).eps


@dataclass(frozen=True, slots=True)
class Residuals:
    """The stacked, transformed arrays a covariance looks at, all evaluated at the estimate; M rows.

    ``BZ`` (M, k) filtered regressors; ``BGm`` (M,) B·G·Zδ, the derivative of the mean in ρ; ``BWy`` (M,);
    ``Wu`` (M,) lag of u = Ay − Zδ; ``WZ`` (M, k) and ``WWy`` (M,) needed with an error process, else None;
    ``e`` (M,) ε = Bu.
    """

    BZ: Array
    BGm: Array
    BWy: Array
    Wu: Array
    WZ: Array | None
    WWy: Array | None
    e: Array


def information(r: Residuals, traces: Traces, sigma2: ArrayLike, sample: TransformedSample) -> Array:
    """Expected information (…, k + 3, k + 3) of (δ, ρ, λ, σ²); rows of coefficients held at zero are to be cut.

    Of one sample, or of many: arrays, traces and σ² then have their axis first.
    """
    k, T, t, sigma2 = r.BZ.shape[-1], sample.periods, traces, np.asarray(sigma2)
    info = np.zeros((*sigma2.shape, k + 3, k + 3))
    across = np.swapaxes(r.BZ, -1, -2)
    info[..., :k, :k] = across @ r.BZ / sigma2[..., None, None]
    cross = (across @ r.BGm[..., None])[..., 0] / sigma2[..., None]
    info[..., :k, k] = info[..., k, :k] = cross
    info[..., k, k] = (r.BGm * r.BGm).sum(axis=-1) / sigma2 + T * (t.gg + t.gtg)
    info[..., k, k + 1] = info[..., k + 1, k] = T * (t.gh + t.gth)
    info[..., k + 1, k + 1] = T * (t.hh + t.hth)
    info[..., k, k + 2] = info[..., k + 2, k] = T * t.g / sigma2
    info[..., k + 1, k + 2] = info[..., k + 2, k + 1] = T * t.h / sigma2
    info[..., k + 2, k + 2] = sample.observations / (2 * sigma2**2)
    return info


def hessian(r: Residuals, traces: Traces, sigma2: float, sample: TransformedSample) -> Array:
    """Observed information, −∂² ln L, (k + 3, k + 3) of (δ, ρ, λ, σ²), analytic."""
    k, T = r.BZ.shape[1], sample.periods
    slopes = np.column_stack([r.BZ, r.BWy, r.Wu])  # −∂ε/∂(δ, ρ, λ)
    out = np.zeros((k + 3, k + 3))
    out[:-1, :-1] = slopes.T @ slopes / sigma2
    out[k, k] += T * traces.gg
    out[k + 1, k + 1] += T * traces.hh
    if r.WZ is not None:
        assert r.WWy is not None, "both lags or none"
        cross = np.append(r.WZ.T @ r.e, r.WWy @ r.e) / sigma2  # ε'∂²ε/∂λ∂(δ, ρ)
        out[: k + 1, k + 1] += cross
        out[k + 1, : k + 1] += cross
    out[:-1, -1] = out[-1, :-1] = slopes.T @ r.e / sigma2**2
    out[-1, -1] = r.e @ r.e / sigma2**3 - sample.observations / (2 * sigma2**2)
    return out


def inverse_or_nan(information_matrix: Array) -> tuple[Array, bool]:
    """Invert a positive definite matrix after scaling its diagonal to one; NaN and False when it is not.

    Never a pseudo-inverse: a covariance that does not exist is not repaired. A parameter of which the others leave no
    more than rounding has none either, on whichever side of zero the rounding falls.
    """
    diagonal = np.diag(information_matrix)
    if not (np.all(np.isfinite(information_matrix)) and np.all(diagonal > 0)):
        return np.full_like(information_matrix, np.nan), False
    scale = 1 / np.sqrt(diagonal)
    outer = np.outer(scale, scale)
    factor, failed = lapack.dpotrf(information_matrix * outer, lower=True, clean=True)
    if failed or (factor.diagonal() ** 2).min(initial=1.0) <= ROUNDING * len(scale):
        return np.full_like(information_matrix, np.nan), False
    root = lapack.dtrtri(factor, lower=True)[0]
    return (root.T @ root) * outer, True


# --- robust covariances


def robust_covariance(information_matrix: Array, meat: Array) -> tuple[Array, bool]:
    """Bread × meat × bread with the inverse of ``information_matrix`` as bread; NaN and False without an inverse."""
    bread, positive = inverse_or_nan(information_matrix)
    cov = bread @ meat @ bread
    return (cov + cov.T) / 2, positive


def sandwiched(derivative: Array, meat: Array) -> tuple[Array, bool]:
    """𝓗⁻¹Ω𝓗⁻ᵀ, and whether it exists; NaN where it does not: nothing is repaired."""
    blank = np.full_like(meat, np.nan)
    diagonal = np.diag(derivative)
    if not (np.isfinite(derivative).all() and np.isfinite(meat).all() and np.all(diagonal > 0)):
        return blank, False
    scale = 1 / np.sqrt(diagonal)
    unit, inside = derivative * np.outer(scale, scale), meat * np.outer(scale, scale)
    least = 4 * np.finfo(float).eps * len(scale)
    if np.linalg.eigvalsh((unit + unit.T) / 2)[0] <= least or np.linalg.eigvalsh(inside)[0] < -least:
        return blank, False
    bread = np.linalg.inv(unit)
    out = bread @ inside @ bread.T * np.outer(scale, scale)
    return (out + out.T) / 2, bool(np.all(np.diag(out) > 0))


def concentrated(derivative: Array) -> Array:
    """The derivative of the scores of (δ, ρ, λ) with σ² at its estimate for each."""
    return derivative[:-1, :-1] - np.outer(derivative[:-1, -1], derivative[-1, :-1]) / derivative[-1, -1]


@dataclass(frozen=True, slots=True)
class Moments:
    """μ₃ = E ε³ and κ₄ = E ε⁴ − 3σ⁴ of the errors before the transform."""

    third: float
    fourth: float


def error_moments(e: Array, sigma2: float, shape: tuple[int, int], effects: FixedEffects) -> Moments:
    """Third moment and fourth cumulant of ε from transformed residuals e = Qε, (T·n,).

    With m the entries of a row of Q: E e³ = μ₃ Σm³ and E e⁴ = κ₄ Σm⁴ + 3σ⁴(Σm²)². With two periods and unit
    effects Σm³ = 0: μ₃ is not identified, set to zero, and not needed, since it then multiplies sums over time that
    vanish. κ₄ is held at −2σ⁴ + μ₃²/σ² or above, where distributions exist.
    """
    second, third, fourth = (_row_powers(shape, effects, power) for power in (2, 3, 4))
    mu3 = float((e**3).mean()) / third if abs(third) > 1e-10 else 0.0
    kappa4 = (float((e**4).mean()) - 3 * (sigma2 * second) ** 2) / fourth
    return Moments(mu3, max(kappa4, mu3**2 / sigma2 - 2 * sigma2**2))


def row_moments(e: Array, sigma2: float, Q: Array) -> tuple[float, float]:
    """Third cumulant and fourth of errors behind residuals e = (I − QQ')ε (N,), Q (N, r) orthonormal.

    E Σ e³ = μ₃ Σ m_ij³ and E Σ e⁴ = κ₄ Σ m_ij⁴ + 3σ⁴ Σ m_ii², m the entries of I − QQ'.
    """
    cubes = fourths = squares = 0.0
    for first in range(0, len(e), STRIPE):
        m = -Q[first : first + STRIPE] @ Q.T
        m[np.arange(len(m)), first + np.arange(len(m))] += 1.0
        own = m[np.arange(len(m)), first + np.arange(len(m))]
        cubes, fourths, squares = cubes + (m**3).sum(), fourths + (m**4).sum(), squares + (own**2).sum()
    third = float((e**3).sum() / cubes) if abs(cubes) > 1e-8 * len(e) else 0.0
    return third, max(
        float(((e**4).sum() - 3 * sigma2**2 * squares) / fourths), third**2 / sigma2 - 2 * sigma2**2
    )


def _row_powers(shape: tuple[int, int], effects: FixedEffects, power: int) -> float:
    """Σ of powers of the entries of a row of Q = Q_T ⊗ Q_n; every row has the same."""
    out = 1.0
    for size, removed in zip(shape, (("unit", "two_way"), ("time", "two_way")), strict=True):
        if effects in removed:
            out *= (1 - 1 / size) ** power + (size - 1) * (-1 / size) ** power
    return out


def sandwich_meat(
    r: Residuals,
    expected: Array,
    sigma2: float,
    shape: tuple[int, int],
    effects: FixedEffects,
    own: Array,
) -> Array:
    """Variance of the score for independent ε of any distribution: expected information + Ω (Lee 2004, eq 3.3).

    With P the matrices of the quadratic forms in ε (T·n square) only their diagonals enter:
    Cov(c'ε, ε'Pε) = μ₃ Σ c_a P_aa, Cov(ε'Pε, ε'Rε) = κ₄ Σ P_aa R_aa + σ⁴ tr P(R + R').

    Parameters
    ----------
    expected
        :func:`information`.
    own
        (2, n), diagonals of JGJ and JHJ (J = I without time effects).
    """
    T, n = shape
    k = r.BZ.shape[1]
    moments = error_moments(r.e, sigma2, shape, effects)
    in_time = 1 - 1 / T if effects in ("unit", "two_way") else 1.0
    in_space = 1 - 1 / n if effects in ("time", "two_way") else 1.0
    linear = np.zeros((T * n, k + 3))
    linear[:, :k], linear[:, k] = r.BZ / sigma2, r.BGm / sigma2
    quadratic = np.zeros((n, k + 3))
    quadratic[:, k : k + 2] = in_time * own.T / sigma2
    quadratic[:, -1] = in_time * in_space / (2 * sigma2**2)
    mixed = linear.reshape(T, n, -1).sum(axis=0).T @ quadratic
    return expected + moments.third * (mixed + mixed.T) + moments.fourth * T * quadratic.T @ quadratic


def unit_meat(
    r: Residuals,
    sigma2: float,
    shape: tuple[int, int],
    observations: int,
    own: Array,
    pairs: Array,
    root: sparse.csr_array | None = None,
) -> Array:
    """Variance of the score when errors of a unit may be correlated over time and differ in variance.

    Linear forms and the own terms g_ii ε_i'ε_i of the quadratic ones are summed by unit; the terms
    (g_ij + g_ji) ε_i'ε_j of two units are uncorrelated with these and with those of any other pair when units are
    independent, and their squares are summed over pairs. Without ``root``: clusters by unit, times n/(n − 1). With it:
    spatial HAC, Σ_ij K_ij s_i s_j' of the sums s_i, K = RR' (:func:`overlap_kernel`), without a factor.

    Parameters
    ----------
    own
        (2, n), diagonals of JGJ and JHJ.
    pairs
        (3, 3), see :meth:`spatial_zb.core.logdet.entries.QuadraticForms.pair_squares`; those of ε'ε are left out.
    """
    n, k = shape[1], r.BZ.shape[1]
    columns = np.column_stack([r.BZ, r.BGm, np.zeros_like(r.e)])
    sums = unit_scores(columns, r.e.reshape(shape), sigma2, own, observations / n)
    weighted = sums if root is None else root.T @ sums
    meat = weighted.T @ weighted
    meat[k : k + 2, k : k + 2] += pairs[:2, :2] / sigma2**2
    return meat * n / (n - 1) if root is None else meat


def unit_scores(columns: Array, e: Array, sigma2: float, own: Array, expected: float) -> Array:
    """Scores by unit (n, k + c + 1) of residuals e (T, n), without the terms of two units, less their mean.

    ``columns`` and ``own`` as in :func:`few_clusters_meat`; ``expected`` e_i'e_i/σ² for equal variances.
    """
    T, n = e.shape
    size = columns.shape[1]
    square = (e**2).sum(axis=0) / sigma2 - expected
    sums = np.zeros((n, size + 1))
    sums[:, :size] = np.einsum("tnk,tn->nk", columns.reshape(T, n, size), e) / sigma2
    sums[:, size - len(own) : size] += own.T * square[:, None]
    sums[:, -1] = square / (2 * sigma2)
    return sums - sums.mean(axis=0)


def few_clusters_meat(
    columns: Array, e: Array, sigma2: float, own: Array, pairs: Array, clusters: Clusters
) -> Array:
    """Variance of the score by CR2: as :func:`unit_meat`, with what the fit took out of each unit's residuals put back.

    Linear forms, own terms and terms of two units are those of e*_i = M_X,ii^{−1/2} e_i, so that there is no factor.

    Parameters
    ----------
    columns
        (M, k + c): derivatives of the mean in δ and in the c spatial coefficients (ρ and λ, or those of regimes), zero
        where one has none.
    e
        (T, n) residuals.
    own, pairs
        (c, n) and (c + 1, c + 1): ``own`` and, of e*, ``pair_squares`` of
        :class:`spatial_zb.core.logdet.entries.QuadraticForms`.
    """
    sums = few_clusters_scores(columns, clusters.adjusted(e), sigma2, own, clusters.kept)
    meat = sums.T @ sums
    meat[-len(pairs) :, -len(pairs) :] += scaled_pairs(pairs, sigma2)
    return meat


def scaled_pairs(pairs: Array, sigma2: float) -> Array:
    """``pair_squares`` as part of the variance of the scores of spatial coefficients and σ²."""
    scale = np.array([*[1.0] * (len(pairs) - 1), 0.5 / sigma2]) / sigma2
    return pairs * np.outer(scale, scale)


def few_clusters_scores(columns: Array, star: Array, sigma2: float, own: Array, kept: float) -> Array:
    """Scores by unit (n, k + c + 1) of residuals e* (T, n), without the terms of two units.

    The quadratic forms less their share of ε'ε, J(G − kJ)J with k = tr(JG)/tr(J), have own terms that vanish in the sum
    under equal variances but not one by one, and with unequal ones their means are unknown: squares are then summed about
    zero, which errs on the wide side. What goes with ε'ε is centred, since σ̂² has made its sum zero. ``kept``: J_ii.
    """
    T, n = star.shape
    size = columns.shape[1]
    square = (star**2).sum(axis=0) / sigma2
    around = kept * (square - square.mean())
    share = own.mean(axis=1) / kept
    sums = np.zeros((n, size + 1))
    sums[:, :size] = np.einsum("tnk,tn->nk", columns.reshape(T, n, size), star) / sigma2
    sums[:, size - len(own) : size] += (own - kept * share[:, None]).T * square[:, None] + np.outer(
        around, share
    )
    sums[:, -1] = around / (2 * sigma2)
    return sums


def driscoll_kraay_meat(r: Residuals, sigma2: float, shape: tuple[int, int], bandwidth: int) -> Array:
    """Variance of the score from its sums by period, with Bartlett weights over ``bandwidth`` lags.

    Any dependence between units of a period is allowed, dependence over time up to the bandwidth. No finite-sample
    factor. Positive semi-definite.
    """
    columns = np.column_stack([r.BZ, r.BWy, r.Wu, r.e / (2 * sigma2)])
    sums = (columns * (r.e / sigma2)[:, None]).reshape(*shape, -1).sum(axis=1)
    return kernel_sum(sums - sums.mean(axis=0), bandwidth)


@dataclass(frozen=True, eq=False)
class DistanceKernel:
    """Which scores of two units go together: K_ij = 1 − d_ij/L up to L kilometres, zero beyond (Conley 1999).

    ``matrix`` (n, n) is K, with ones on its diagonal; ``reach`` L; ``lags`` of a Bartlett kernel over time, None for all
    periods alike, as errors clustered by unit have it. Without neighbours within L this is clustering by unit.
    """

    matrix: sparse.csr_array
    reach: float
    lags: int | None = None

    @cached_property
    def law(self) -> BartlettLaw:
        """Of a statistic whose variance this kernel sums, where score sums of units are independent.

        The law of few periods (:class:`spatial_zb.core.clusters.BartlettLaw`) with units in place of periods: it has in it
        that scores sum to zero, so that a wide kernel cancels, and that few units are left to average over.
        """
        return kernel_law(self.matrix)

    def of(self, units: NDArray[np.intp]) -> DistanceKernel:
        """The kernel of some of the units."""
        return replace(self, matrix=sparse.csr_array(self.matrix[units][:, units]))

    @property
    def overlap(self) -> float:
        """Mean of all entries of K."""
        return float(self.matrix.sum()) / self.matrix.shape[0] ** 2


def distance_kernel(kilometres: sparse.csr_array, reach: float, lags: int | None = None) -> DistanceKernel:
    """K from distances (n, n) in kilometres, of which pairs that are not stored are farther than ``reach``."""
    near = sparse.coo_array(kilometres)
    row, column = near.coords
    keep = near.data < reach
    links = sparse.coo_array((1 - near.data[keep] / reach, (row[keep], column[keep])), shape=kilometres.shape)
    return DistanceKernel(sparse.csr_array(links + sparse.eye_array(links.shape[0])), float(reach), lags)


def conley_meat(r: Residuals, sigma2: float, shape: tuple[int, int], kernel: DistanceKernel) -> Array:
    """Variance of the score by :func:`conley_sum` of scores less their mean.

    As for Driscoll-Kraay scores are those of (BZ'ε, (BWy)'ε, (Wu)'ε, ε'ε/2σ²), without a factor. Positive on a line; in the
    plane a triangular kernel may be negative, where a covariance has no square root.
    """
    columns = np.column_stack([r.BZ, r.BWy, r.Wu, r.e / (2 * sigma2)])
    scores = (columns * (r.e / sigma2)[:, None]).reshape(*shape, -1)
    return conley_sum(scores - scores.mean(axis=(0, 1)), kernel)


def conley_sum(scores: Array, kernel: DistanceKernel) -> Array:
    """Σ K_ij k(|t − s|) s_it s_js' over all pairs, s_it (T, n, p) that of unit i in period t, zero where there is none."""
    if kernel.lags is None:
        sums = scores.sum(axis=0)
        return sums.T @ (kernel.matrix @ sums)
    near = np.stack([kernel.matrix @ period for period in scores])
    meat = np.tensordot(scores, near, ((0, 1), (0, 1)))
    for lag, weight in _bartlett_weights(len(scores), kernel.lags):
        cross = np.tensordot(scores[lag:], near[:-lag], ((0, 1), (0, 1)))
        meat += weight * (cross + cross.T)
    return meat


def kernel_sum(sums: Array, bandwidth: int) -> Array:
    """Σ over pairs of periods of sums s_t s_s' (T, p), with Bartlett weights."""
    meat = sums.T @ sums
    for lag, weight in _bartlett_weights(len(sums), bandwidth):
        cross = sums[lag:].T @ sums[:-lag]
        meat += weight * (cross + cross.T)
    return meat


def _bartlett_weights(periods: int, bandwidth: int) -> list[tuple[int, float]]:
    """Lags from one, and their weights 1 − lag/(bandwidth + 1)."""
    return [(lag, 1 - lag / (bandwidth + 1)) for lag in range(1, min(bandwidth, periods - 1) + 1)]


def bartlett_bandwidth(periods: int) -> int:
    """⌊4 (T/100)^{2/9}⌋, Newey & West (1994, Rev. Econ. Stud. 61), at most T − 1."""
    return min(int(4 * (periods / 100) ** (2 / 9)), periods - 1)


def overlap_kernel(matrix: sparse.csr_array, order: int) -> sparse.csr_array:
    """R (n, n) with K = RR', K_ij = |N_i ∩ N_j| / √(|N_i| |N_j|), N_i the units within ``order`` links of i.

    A kernel over the graph of W in either direction: one on the diagonal, falling with distance, zero beyond
    2 × order links. A kernel of graph distance itself need not be positive semi-definite; a product is.
    """
    n = matrix.shape[0]
    step = sparse.csr_array(matrix != 0).astype(float)
    step = sparse.csr_array(step + step.T + sparse.eye_array(n, format="csr"))
    reached = sparse.eye_array(n, format="csr")
    for _ in range(order):
        reached = sparse.csr_array(reached @ step)
        reached.data[:] = 1.0
    sizes = np.asarray(reached.sum(axis=1)).ravel()
    return sparse.csr_array(sparse.diags_array(1 / np.sqrt(sizes)) @ reached)


def mean_overlap(root: sparse.csr_array) -> float:
    """Mean of all entries of K = RR'.

    Scores sum to zero, so that s'Ks falls short of what it estimates by this share where units are independent: 1/n for
    clusters of single units, all of it where K is a matrix of ones.
    """
    column_sums = np.asarray(root.sum(axis=0)).ravel()
    return float(column_sums @ column_sums) / root.shape[0] ** 2
