"""Test statistics of single-equation panels, on arrays.

Every fixed-effects transform Q is an orthogonal projection: off unit means, off period means, or both. With
period means taken out the weights act as A = JWJ on n − 1 dimensions, J = I − ιι'/n, and tr A = −1 even for a
row-normalised W with a zero diagonal: quadratic forms in residuals are then *not* centred at zero, and the
formulas for unit effects must not be used. :class:`WeightMoments` carries what is needed, so that one set of
formulas serves all effects.

Arrays are (T, n) or (T, n, k), already transformed, unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, sparse

from spatial_zb.core import Array, chi2_tail, f_tail
from spatial_zb.core.likelihood.covariance import Residuals, information
from spatial_zb.core.likelihood.shape_covariance import ShapePoint, expected_derivative, score_variance
from spatial_zb.core.logdet.traces import Traces
from spatial_zb.core.statistics import Result
from spatial_zb.core.transforms import FixedEffects, TransformedSample, demean, spatial_lag

#: A variance whose smallest eigenvalue or pivot, at unit diagonal, is below these is singular up to rounding.
ROUNDING, SINGULAR = 1e-15, 1e-7
#: Parts of a regressor or of a mean below this share of it are rounding.
NOTHING = 1e-10


# --- building blocks


@dataclass(frozen=True, slots=True)
class WeightMoments:
    """tr A, tr A² and tr A'A of A = JWJ (or of W itself), and the dimension A acts on."""

    dimension: int
    trace: float
    square: float
    cross: float

    @property
    def variance(self) -> float:
        """tr A² + tr A'A − 2 (tr A)²/dimension: variance per period of u'Au/s², s² estimated."""
        return self.square + self.cross - 2 * self.trace**2 / self.dimension


def weight_moments(matrix: sparse.csr_array, centred: bool) -> WeightMoments:
    """Moments of W, or of JWJ when period effects are taken out; sparse products only, any normalisation."""
    n = matrix.shape[0]
    trace = float(matrix.diagonal().sum())
    square, cross = float((matrix.multiply(matrix.T)).sum()), float((matrix.multiply(matrix)).sum())
    if not centred:
        return WeightMoments(n, trace, square, cross)
    rows, columns = (np.asarray(matrix.sum(axis=a)).ravel() for a in (1, 0))
    mean = rows.sum() / n
    return WeightMoments(
        n - 1,
        trace - mean,
        square - 2 * float(columns @ rows) / n + mean**2,
        cross - float(rows @ rows + columns @ columns) / n + mean**2,
    )


def quadratic_form(value: Array, variance: Array) -> Array:
    """d'V⁻¹d (…) of d (…, q) and V (…, q, q) after scaling V to unit diagonal; NaN when V is not positive definite.

    Never a pseudo-inverse.
    """
    value, variance = np.atleast_1d(value), np.atleast_2d(variance)
    diagonal = np.diagonal(variance, axis1=-2, axis2=-1)
    good = np.logical_and(np.isfinite(variance).all(axis=(-2, -1)), (diagonal > 0).all(axis=-1))
    scale = 1 / np.sqrt(np.where(good[..., None], diagonal, 1.0))
    scaled = np.where(
        good[..., None, None], variance * scale[..., None] * scale[..., None, :], np.eye(value.shape[-1])
    )
    good &= np.linalg.eigvalsh(scaled)[..., 0] > ROUNDING
    factor = np.linalg.cholesky(np.where(good[..., None, None], scaled, np.eye(value.shape[-1])))
    # singular up to rounding: no direction to divide by
    good &= np.diagonal(factor, axis1=-2, axis2=-1).min(axis=-1) >= SINGULAR
    root = np.linalg.solve(factor, (value * scale)[..., None])[..., 0]
    return np.where(good, (root * root).sum(axis=-1), np.nan)[()]


def common_factor_wald(beta: Array, theta: Array, rho: ArrayLike, cov: Array) -> Array:
    """Wald statistic (…) of θ + ρβ = 0 of β, θ (…, q), ρ (…) with covariance (…, 2q + 1, 2q + 1) of (β, θ, ρ).

    Gradient [ρI, I, β]. Anselin (1988), Spatial Econometrics, ch. 13.
    """
    rho, one = np.asarray(rho)[..., None], np.eye(beta.shape[-1])
    gradient = np.concatenate([rho[..., None] * one, one + 0 * rho[..., None], beta[..., None]], axis=-1)
    return quadratic_form(theta + rho * beta, gradient @ cov @ np.swapaxes(gradient, -1, -2))


def sum_of_squares(columns: Array, values: Array) -> Array:
    """Sum of squared residuals (…) of values (…, M) on columns (M, k)."""
    off = residuals(columns, values)
    return (off * off).sum(axis=-1)


def residuals(columns: Array, values: Array) -> Array:
    """Least-squares residuals of values (…, M) on columns (M, k), projected twice to keep them orthogonal."""
    if not columns.shape[1]:
        return values
    basis = np.linalg.qr(columns / np.sqrt((columns**2).sum(axis=0)))[0]
    values = values - (values @ basis) @ basis.T
    return values - (values @ basis) @ basis.T


def flat(values: Array) -> Array:
    """(T, n, …) → (T·n, …)."""
    return values.reshape(-1, *values.shape[2:])


# --- p-values in small samples


def likelihood_ratio_p_value(ratio: float, tested: int, observations: int, left: int) -> float:
    """P(χ²_q > (df + q/2 − 1)/N · LR), Bartlett's correction of LR = N ln(SSR₀/SSR).

    It holds the level of q linear restrictions in a normal regression to order N⁻², where χ² of LR itself rejects too
    often by order q/N. Exact restrictions are those at known ρ and λ; at estimated ones it is an approximation.

    Parameters
    ----------
    tested, observations, left
        q; N of the likelihood; df = observations less all coefficients of the larger model.

    Anderson (2003), An Introduction to Multivariate Statistical Analysis, §8.5, one variate.
    """
    return float(chi2_tail(ratio * (left + tested / 2 - 1) / observations, tested))


def wald_p_value(wald: float, tested: int, observations: int, left: int) -> float:
    """P(F(q, df) > (df/N) · Wald/q): σ² with its degrees of freedom, and the law that an estimated σ² has.

    Exact for linear restrictions in a normal regression, hence at known ρ and λ. Arguments as above.
    """
    return float(f_tail(wald / tested * left / observations, tested, left))


def cluster_p_value(wald: float, tested: int, clusters: int) -> float:
    """P(F(q, G − q) > W (G − q)/(q (G − 1))): a Wald statistic whose covariance is made of the scores of G clusters.

    Hotelling's T², exact for the mean of normal scores of one covariance; NaN unless G > q. χ²(q) rejects true
    restrictions the more often the nearer q is to G.
    """
    if clusters <= tested:
        return float("nan")
    return float(f_tail(wald * (clusters - tested) / (tested * (clusters - 1)), tested, clusters - tested))


# --- LM tests from OLS residuals


@dataclass(frozen=True, slots=True)
class LagErrorTests:
    """χ² statistics (…): one degree of freedom each, two for ``joint``; the robust ones NaN without regressors."""

    lag: Array
    error: Array
    robust_lag: Array
    robust_error: Array
    joint: Array


def lm_lag_error(
    u: Array, Wu: Array, Wy: Array, Z: Array, periods: int, observations: int, moments: WeightMoments
) -> LagErrorTests:
    r"""LM tests for a spatial lag and for a spatial error from least-squares residuals.

    With s² = u'u/N, t = ``periods``, c = t tr A, D = t·T_w, T_w = ``moments.variance``:
    R_e = u'Wu/s² − c, R_y = u'Wy/s² − c, J = m'Mm/s² + D with m = QW(y − u), and

        error R_e²/D, lag R_y²/J, robust lag (R_y − R_e)²/(J − D),
        robust error (R_e − (D/J)R_y)²/[D(1 − D/J)], joint = robust lag + error.

    Parameters
    ----------
    u, Wu, Wy
        (…, T, n) residuals and the transformed spatial lags of u and y, of one sample or of many.
    Z
        (T, n, k).
    periods, observations
        t and N of the transformed sample: T − 1 and n(T − 1) with unit effects, T and (n − 1)T with period
        effects, T − 1 and (n − 1)(T − 1) with both, T and nT with none.
    moments
        Centred when period effects are out.

    Notes
    -----
    m is QW applied to the fitted values *with* their effects. It is QWXβ̂ for unit effects or Wι = ι; otherwise
    W spreads the period effects, and what they add to the variance of R_y is in m'Mm.

    Anselin (1988, Geogr. Analysis 20); Anselin, Bera, Florax & Yoon (1996, Reg. Sci. Urban Econ. 26);
    Debarsy & Ertur (2010, Reg. Sci. Urban Econ. 40) for unit effects.
    """
    u, Wu, Wy = (values.reshape(*values.shape[:-2], -1) for values in (u, Wu, Wy))
    s2 = (u * u).sum(axis=-1) / observations
    centre, D = periods * moments.trace, periods * moments.variance
    r_e, r_y = (u * Wu).sum(axis=-1) / s2 - centre, (u * Wy).sum(axis=-1) / s2 - centre
    off = residuals(flat(Z), Wy - Wu)
    squares = (off * off).sum(axis=-1)
    extra = np.where(squares <= NOTHING**2 * (Wy * Wy).sum(axis=-1), np.nan, squares / s2)
    J = np.where(np.isnan(extra), 0.0, extra) + D
    robust_lag = (r_y - r_e) ** 2 / extra
    robust_error = np.where(np.isnan(extra), np.nan, (r_e - D / J * r_y) ** 2) / (D * (1 - D / J))
    return LagErrorTests(r_y**2 / J, r_e**2 / D, robust_lag, robust_error, robust_lag + r_e**2 / D)


def score_test(
    r: Residuals, traces: Traces, sigma2: ArrayLike, sample: TransformedSample, active: Sequence[int]
) -> Array:
    """LM statistic s'ℐ⁻¹s (…) of a restricted estimate, from the score and expected information of the larger model.

    Parameters
    ----------
    r, traces, sigma2
        Of the larger model, evaluated at the restricted maximum; of many samples with their axis first.
    active
        Positions in (δ, ρ, λ, σ²) of the parameters the larger model has.
    """
    return score_tests(r, traces, sigma2, sample, [active])[0]


def score_tests(
    r: Residuals,
    traces: Traces,
    sigma2: ArrayLike,
    sample: TransformedSample,
    active: Sequence[Sequence[int]],
) -> list[Array]:
    """:func:`score_test` of one restricted estimate in several larger models."""
    k, t, sigma2 = r.BZ.shape[-1], sample.periods, np.asarray(sigma2)
    score = np.empty((*sigma2.shape, k + 3))
    score[..., :k] = (np.swapaxes(r.BZ, -1, -2) @ r.e[..., None])[..., 0] / sigma2[..., None]
    score[..., k] = (r.BWy * r.e).sum(axis=-1) / sigma2 - t * traces.g
    score[..., k + 1] = (r.Wu * r.e).sum(axis=-1) / sigma2 - t * traces.h
    score[..., k + 2] = ((r.e * r.e).sum(axis=-1) / sigma2 - sample.observations) / (2 * sigma2)
    info = information(r, traces, sigma2, sample)
    return [quadratic_form(score[..., one], info[..., one, :][..., one]) for one in map(list, active)]


def adjusted_score_test(
    point: ShapePoint, tested: Sequence[int], others: Sequence[int], excess: float | None = None
) -> float:
    """χ² of the scores of ``tested`` parameters, less what the ``others`` tell of them: s'Var(s)⁻¹s.

    With a = 𝓗_to𝓗_oo⁻¹, s = ψ_t − aψ_o and Var(s) = [I, −a]Ω[I, −a]'. At a restricted estimate ψ_o is zero; where it is
    not, as in the robust tests of Anselin et al. (1996), s does not move with small values of the others. On complete
    panels under one row-normalised W this is :func:`score_test`.

    Parameters
    ----------
    point
        The larger model at the restricted estimate.
    tested, others
        Positions in (δ, ρ, λ, σ²).
    excess
        Of the restricted model, see :func:`~spatial_zb.core.likelihood.shape_covariance.score_variance`.
    """
    k, s2, traces, e = point.k, point.found.sigma2, point.traces, point.found.e
    excess = 0.0 if traces.likelihood else excess
    score = np.array([*(point.BZ.T @ e / s2), point.BWy @ e / s2 - traces.f, 0.0, 0.0])
    score[k + 1] = e @ point.He[0] / s2 - traces.h
    derivative, variance = expected_derivative(point, excess), score_variance(point, excess)
    a = np.linalg.solve(derivative[np.ix_(others, others)].T, derivative[np.ix_(tested, others)].T).T
    part = np.zeros((len(tested), len(score)))
    part[:, list(tested)], part[:, list(others)] = np.eye(len(tested)), -a
    return float(quadratic_form(part @ score, part @ variance @ part.T))


# --- variances and law of least-squares residuals


def heteroskedasticity(e: Array, Z: Array) -> tuple[Array, Array]:
    """Breusch and Pagan's statistic and Koenker and Bassett's, χ² (…) with the rank of Z off the intercept.

    Half the explained sum of squares of e²/σ̂² on Z, and N R² of the same regression, which needs no normality.

    Parameters
    ----------
    e
        (…, N) residuals.
    Z
        (N, q) columns that variances may depend on, with or without an intercept, of full rank.

    Breusch & Pagan (1979), Econometrica 47: 1287-1294; Koenker & Bassett (1982), Econometrica 50: 43-61.
    """
    g = e * e / (e * e).mean(axis=-1, keepdims=True) - 1
    centred = Z - Z.mean(axis=0)
    scale = np.sqrt((centred**2).sum(axis=0))
    basis = np.linalg.qr(centred[:, scale > 0] / scale[scale > 0])[0]
    explained = ((g @ basis) ** 2).sum(axis=-1)
    return explained / 2, explained / (g * g).mean(axis=-1)


def normality(e: Array) -> float:
    """N(S²/6 + (K − 3)²/24) of residuals (N,) with skewness S and kurtosis K; χ²(2) when N is large.

    Jarque & Bera (1980), Economics Letters 6: 255-259.
    """
    second, third, fourth = ((e**p).mean() for p in (2, 3, 4))
    skewness, kurtosis = third / second**1.5, fourth / second**2
    return float(e.size * (skewness**2 / 6 + (kurtosis - 3) ** 2 / 24))


# --- what residuals still hold


@dataclass(frozen=True, slots=True)
class MoranMoments:
    """Moran's I (…) of regression residuals with its mean and standard deviation when ε is independent normal."""

    I: Array
    expected: float
    std_dev: float

    @property
    def z(self) -> Array:
        """Standard deviate."""
        return (self.I - self.expected) / self.std_dev


def residual_moran(
    u: Array,
    basis: Array,
    matrix: sparse.csr_array,
    moments: WeightMoments,
    effects: FixedEffects,
    copies: float,
    share: float = 1.0,
) -> MoranMoments:
    """Moran's I = (n/S₀) Σ u_t'Wu_t / Σ u_t'u_t of residuals with variance Σ = cQ − PP'.

    E = tr(WΣ)/tr Σ and Var = 2 tr[((A − E)Σ)²]/(tr Σ)² · d/(d + 2), A = (W + W')/2, d = (tr Σ)²/tr Σ². Both are
    exact when Σ is a projection, that is for the residuals of a whole regression (the moments of Cliff & Ord
    1981, p. 202, at T = 1); for one period of a panel they are close.

    Parameters
    ----------
    u
        (…, m, n) residuals: all periods, or one.
    basis
        (m, n, k) orthonormal basis P of the transformed regressors, at those periods.
    effects
        Q as it acts on these m periods: for one period of a panel only the period mean.
    copies, share
        tr Q over the dimension of the weights, and c: T − 1 and 1 for a panel with unit effects, 1 and
        1 − 1/T for one of its periods, 1 and 1 for a cross-section.
    """
    c, P = share, flat(basis)
    lag = spatial_lag(matrix, basis) + spatial_lag(sparse.csr_array(matrix.T), basis)
    AP, QAP = flat(lag) / 2, flat(demean(lag, effects)) / 2
    inner, gram = P.T @ AP, P.T @ P
    trace, dimension = copies * moments.trace, copies * moments.dimension
    size = c * dimension - float(np.trace(gram))
    mean = (c * trace - float(np.trace(inner))) / size
    squared = c**2 * dimension - 2 * c * float(np.trace(gram)) + float((gram**2).sum())
    cross = c**2 * trace - 2 * c * float(np.trace(inner)) + float((inner * gram).sum())
    second = c**2 * copies * (moments.square + moments.cross) / 2
    second += float((inner**2).sum()) - 2 * c * float((AP * QAP).sum())
    d = size**2 / squared
    variance = 2 * (second - 2 * mean * cross + mean**2 * squared) / size**2 * d / (d + 2)
    lagged = spatial_lag(matrix, u.reshape(-1, u.shape[-1])).reshape(u.shape)
    observed = (u * lagged).sum(axis=(-2, -1)) / (u**2).sum(axis=(-2, -1))
    scale = matrix.shape[0] / matrix.sum()
    return MoranMoments(scale * observed, scale * mean, float(scale * np.sqrt(variance)))


def pesaran_cd(u: Array) -> Array:
    """CD (…) = √[2T/(n(n−1))] Σ_{i<j} r_ij of residuals (…, T, n), r_ij their correlations over time; standard normal.

    Pesaran (2004, CESifo WP 1229); with n large its null is weak dependence (Pesaran 2015, Econometric
    Reviews 34). Σ_{i<j} r_ij comes from the row sum of standardised residuals: O(nT), no n × n matrix.
    """
    T, n = u.shape[-2:]
    centred = u - u.mean(axis=-2, keepdims=True)
    unit = centred / np.sqrt((centred**2).sum(axis=-2, keepdims=True))
    pairs = ((unit.sum(axis=-1) ** 2).sum(axis=-1) - n) / 2
    return np.sqrt(2 * T / (n * (n - 1))) * pairs


def residual_moran_i(
    residuals: Array, regressors: Array, matrix: sparse.csr_array, effects: FixedEffects
) -> Result:
    """I = (N/S) e'(I_T ⊗ W)e / e'e with N = T·m, S = T·S₀, and its moments when the errors are normal.

    With M the projection off regressors and effects, d = tr M and A the symmetric part of I_T ⊗ W,
    E e'Ae/e'e = tr(MA)/d and the second moment is [2 tr(MAMA) + tr(MA)²] / (d(d+2)). M is never formed.

    Parameters
    ----------
    residuals
        e (T, n) of least squares after the effects.
    regressors
        (T, n, k), of full rank, after the same effects; an intercept is one of them when there are no effects.
    matrix
        W (n, n); m counts the units that have neighbours.
    effects
        Which effects were taken out.
    """
    T, n = residuals.shape
    m = np.count_nonzero(np.diff(matrix.indptr))
    scale = m / matrix.sum()
    half = sparse.csr_array((matrix + matrix.T) / 2)
    basis, _ = linalg.qr(regressors.reshape(T * n, -1), mode="economic")
    basis = basis.reshape(T, n, -1)
    k = basis.shape[2]
    lagged = spatial_lag(half, basis)
    inner = np.einsum("tij,tik->jk", basis, lagged)
    outer = np.einsum("tij,tij->", lagged, demean(lagged, effects))
    unit, time = effects in ("unit", "two_way"), effects in ("time", "two_way")
    first, second = _effect_traces(half, time)
    trace = (T - unit) * first - np.trace(inner)
    trace_of_square = (T - unit) * second - 2 * outer + np.sum(inner * inner)
    d = (T - unit) * (n - time) - k
    variance = 2 * (trace_of_square * d - trace**2) / (d**2 * (d + 2))
    value = np.sum(residuals * spatial_lag(matrix, residuals)) / np.sum(residuals**2)
    return Result(
        float(scale * value),
        float(scale * trace / d),
        float(scale * np.sqrt(variance if variance > 0 else np.nan)),
    )


def _effect_traces(half: sparse.csr_array, time: bool) -> tuple[float, float]:
    """tr(JA) and tr(JAJA), J the projection off the mean of each period with time effects, else J = I."""
    squares = float((half.data**2).sum())
    if not time:
        return float(half.trace()), squares
    n = half.shape[0]
    rows = np.asarray(half.sum(axis=1)).ravel()
    return float(half.trace() - rows.sum() / n), float(squares - 2 * rows @ rows / n + (rows.sum() / n) ** 2)
