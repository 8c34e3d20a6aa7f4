r"""Test statistics of single-equation panels, on arrays.

Every fixed-effects transform Q is an orthogonal projection: off unit means, off period means, or both. With
period means taken out the weights act as A = JWJ on n − 1 dimensions, J = I − ιι'/n, and tr A = −1 even for a
row-normalised W with a zero diagonal: quadratic forms in residuals are then *not* centred at zero, and the
formulas for unit effects must not be used. :class:`WeightMoments` carries what is needed, so that one set of
formulas serves all effects.

Arrays are (T, n) or (T, n, k), already transformed, unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize, sparse, stats

from spatial_zb.core.covariance import Residuals, information
from spatial_zb.core.lag import spatial_lag
from spatial_zb.core.traces import Traces
from spatial_zb.core.within import FixedEffects, TransformedSample, demean

__all__ = [
    "LagErrorTests",
    "MoranMoments",
    "RandomEffects",
    "WeightMoments",
    "bsk_error_given_random",
    "bsk_marginal",
    "bsk_random_given_error",
    "chi_square_bar",
    "condition_number",
    "hausman",
    "lm_lag_error",
    "mundlak",
    "pesaran_cd",
    "quadratic_form",
    "random_effects_ml",
    "residual_moran",
    "residuals",
    "score_test",
    "sum_of_squares",
    "swamy_arora",
    "variance_inflation",
    "weight_moments",
    "within_regression",
]

Array = NDArray[np.float64]

#: Parts of a regressor or of a mean below this share of it are rounding.
NOTHING = 1e-10
#: Where the search for ln(1 + Tφ) of the random-effects likelihood ends.
S_MAX = 20.0


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


def quadratic_form(value: Array, variance: Array) -> float:
    """d'V⁻¹d after scaling V to unit diagonal; NaN when V is not positive definite. Never a pseudo-inverse."""
    value, variance = np.atleast_1d(value), np.atleast_2d(variance)
    diagonal = np.diag(variance)
    if not (np.all(np.isfinite(variance)) and np.all(diagonal > 0)):
        return float("nan")
    scale = 1 / np.sqrt(diagonal)
    try:
        factor = linalg.cholesky(variance * np.outer(scale, scale), lower=True)
    except linalg.LinAlgError:
        return float("nan")
    if np.diag(factor).min() < 1e-7:  # singular up to rounding: no direction to divide by
        return float("nan")
    root = linalg.solve_triangular(factor, value * scale, lower=True)
    return float(root @ root)


def sum_of_squares(columns: Array, values: Array) -> float:
    """Sum of squared residuals of values (M,) on columns (M, k)."""
    off = residuals(columns, values)
    return float(off @ off)


def residuals(columns: Array, values: Array) -> Array:
    """Least-squares residuals of values (M,) on columns (M, k), projected twice to keep them orthogonal."""
    if not columns.shape[1]:
        return values
    basis = np.linalg.qr(columns / np.sqrt((columns**2).sum(axis=0)))[0]
    values = values - basis @ (basis.T @ values)
    return values - basis @ (basis.T @ values)


def _flat(values: Array) -> Array:
    return values.reshape(-1, *values.shape[2:])


# --- LM tests from OLS residuals


@dataclass(frozen=True, slots=True)
class LagErrorTests:
    """χ² statistics: one degree of freedom each, two for ``joint``; the robust ones NaN without regressors."""

    lag: float
    error: float
    robust_lag: float
    robust_error: float
    joint: float


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
        (T, n) residuals and the transformed spatial lags of u and y.
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
    u, Wu, Wy, Z = map(_flat, (u, Wu, Wy, Z))
    s2 = float(u @ u) / observations
    centre, D = periods * moments.trace, periods * moments.variance
    r_e, r_y = float(u @ Wu) / s2 - centre, float(u @ Wy) / s2 - centre
    mean = Wy - Wu
    off = residuals(Z, mean)
    extra = float(off @ off) / s2
    if float(off @ off) <= NOTHING**2 * float(Wy @ Wy):
        nan = float("nan")
        return LagErrorTests(r_y**2 / D, r_e**2 / D, nan, nan, nan)
    J = extra + D
    robust_lag = (r_y - r_e) ** 2 / extra
    robust_error = (r_e - D / J * r_y) ** 2 / (D * (1 - D / J))
    return LagErrorTests(r_y**2 / J, r_e**2 / D, robust_lag, robust_error, robust_lag + r_e**2 / D)


def score_test(
    r: Residuals, traces: Traces, sigma2: float, sample: TransformedSample, active: list[int]
) -> float:
    """LM statistic s'ℐ⁻¹s of a restricted estimate, from the score and expected information of the larger model.

    Parameters
    ----------
    r, traces, sigma2
        Of the larger model, evaluated at the restricted maximum.
    active
        Positions in (δ, ρ, λ, σ²) of the parameters the larger model has.
    """
    k, t = r.BZ.shape[1], sample.periods
    score = np.empty(k + 3)
    score[:k] = r.BZ.T @ r.e / sigma2
    score[k] = r.BWy @ r.e / sigma2 - t * traces.g
    score[k + 1] = r.Wu @ r.e / sigma2 - t * traces.h
    score[k + 2] = (r.e @ r.e / sigma2 - sample.observations) / (2 * sigma2)
    info = information(r, traces, sigma2, sample)
    return quadratic_form(score[active], info[np.ix_(active, active)])


# --- random effects without spatial lags


@dataclass(frozen=True, slots=True)
class RandomEffects:
    """GLS with random unit effects.

    ``beta`` (k,), ``cov`` (k, k) with the residual variance of the GLS regression; ``sigma2`` of ε;
    ``sigma2_one`` = σ² + Tσ²_μ; ``between_df`` of the regression of unit means; ``residuals`` (T, n).
    """

    beta: Array
    cov: Array
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
    return _flat(deviation + keep * mean)


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
    sigma2 = _least_squares(_flat(dX[:, :, varying]), _flat(dy))[2] / (inner - int(varying.sum()))
    sigma2_one = max(T * _least_squares(mX, my)[2] / outer, sigma2)
    keep = np.sqrt(sigma2 / sigma2_one)
    beta, inverse, ssr = _least_squares(_partial(X, keep), _partial(y, keep))
    return RandomEffects(beta, ssr / (inner + outer) * inverse, sigma2, sigma2_one, outer, y - X @ beta)


def within_regression(y: Array, X: Array, period_means: bool) -> tuple[Array, Array]:
    """β (k,) and its covariance from arrays off unit means, and off period means when ``period_means``."""
    T, n, k = X.shape
    beta, inverse, ssr = _least_squares(_flat(X), _flat(y))
    return beta, ssr / ((n - period_means) * (T - 1) - k) * inverse


def hausman(difference: Array, cov_fixed: Array, cov_random: Array) -> float:
    """d'(V_FE − V_RE)⁻¹d, NaN where the difference of variances is not positive definite.

    Hausman (1978, Econometrica 46).
    """
    return quadratic_form(difference, cov_fixed - cov_random)


def mundlak(y: Array, X: Array, random: RandomEffects, varying: NDArray[np.bool_]) -> float:
    """Wald statistic of the unit means of the time-varying regressors in the random-effects regression.

    Mundlak (1978, Econometrica 46). Arrays as in :func:`swamy_arora`. It is the Hausman statistic with one
    σ² for both estimators, and cannot be negative.
    """
    means = np.broadcast_to(X.mean(axis=0)[None], X.shape)[:, :, varying]
    both = np.concatenate([X, means], axis=2)
    beta, inverse, _ = _least_squares(_partial(both, random.keep), _partial(y, random.keep))
    k = X.shape[2]
    return quadratic_form(beta[k:], random.sigma2 * inverse[k:, k:])


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


# --- random effects and spatial errors (BSK)


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
    mean, deviation = _split(u)
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
    U = moments.dimension
    B = sparse.csr_array(sparse.eye_array(n, format="csr") - lam * matrix)
    pulled = B.T @ e.sum(axis=0)
    spread = U - 2 * lam * moments.trace + lam**2 * moments.cross
    score = -T * spread / (2 * sigma2) + float(pulled @ pulled) / (2 * sigma2**2)
    of_others = np.array(
        [[U * T / (2 * sigma2**2), T * traces.h / sigma2], [0.0, T * (traces.hh + traces.hth)]]
    )
    of_others[1, 0] = of_others[0, 1]
    across = np.array([T * spread / (2 * sigma2**2), T * (moments.trace - lam * moments.cross) / sigma2])
    own = T**2 * _squared_spread(B, n > U) / (2 * sigma2**2)
    return float(score / np.sqrt(own - across @ np.linalg.solve(of_others, across)))


def _squared_spread(B: sparse.csr_array, centred: bool) -> float:
    """tr[(B'B)²]; tr[(B'JB)²] when centred, W being row-normalised then, so that JBJ = JB."""
    n = B.shape[0]
    BB = sparse.csr_array(B.T @ B)
    total = float((BB.multiply(BB)).sum())
    if not centred:
        return total
    v = np.asarray(B.sum(axis=0)).ravel()
    return total - 2 * float(v @ (BB @ v)) / n + float(v @ v) ** 2 / n**2


def chi_square_bar(statistic: float) -> float:
    """P(½χ²₁ + ½χ²₂ > statistic): one parameter of two cannot be negative (Gourieroux, Holly & Monfort 1982)."""
    return float(stats.chi2.sf(statistic, 1) + stats.chi2.sf(statistic, 2)) / 2


# --- what residuals still hold


@dataclass(frozen=True, slots=True)
class MoranMoments:
    """Moran's I of regression residuals with its mean and standard deviation when ε is independent normal."""

    I: float
    expected: float
    std_dev: float

    @property
    def z(self) -> float:
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
        (m, n) residuals: all periods, or one.
    basis
        (m, n, k) orthonormal basis P of the transformed regressors, at those periods.
    effects
        Q as it acts on these m periods: for one period of a panel only the period mean.
    copies, share
        tr Q over the dimension of the weights, and c: T − 1 and 1 for a panel with unit effects, 1 and
        1 − 1/T for one of its periods, 1 and 1 for a cross-section.
    """
    c, P = share, _flat(basis)
    lag = spatial_lag(matrix, basis) + spatial_lag(sparse.csr_array(matrix.T), basis)
    AP, QAP = _flat(lag) / 2, _flat(demean(lag, effects)) / 2
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
    observed = float((u * spatial_lag(matrix, u)).sum() / (u**2).sum())
    scale = matrix.shape[0] / matrix.sum()
    return MoranMoments(scale * observed, scale * mean, float(scale * np.sqrt(variance)))


def pesaran_cd(u: Array) -> float:
    """CD = √[2T/(n(n−1))] Σ_{i<j} r_ij of residuals (T, n), r_ij their correlations over time; standard normal.

    Pesaran (2004, CESifo WP 1229); with n large its null is weak dependence (Pesaran 2015, Econometric
    Reviews 34). Σ_{i<j} r_ij comes from the row sum of standardised residuals: O(nT), no n × n matrix.
    """
    T, n = u.shape
    centred = u - u.mean(axis=0)
    unit = centred / np.sqrt((centred**2).sum(axis=0))
    pairs = (float((unit.sum(axis=1) ** 2).sum()) - n) / 2
    return float(np.sqrt(2 * T / (n * (n - 1))) * pairs)


# --- collinearity


def variance_inflation(X: Array) -> Array:
    """1/(1 − R²) of each column (M, k) on the others, columns as they enter the regression (already centred)."""
    basis = X / np.sqrt((X**2).sum(axis=0))
    R = np.linalg.qr(basis, mode="r")
    inverse = linalg.solve_triangular(R, np.eye(R.shape[1]))
    return (inverse**2).sum(axis=1)


def condition_number(X: Array) -> float:
    """Largest over smallest singular value of the columns at unit length (Belsley, Kuh & Welsch 1980)."""
    return float(np.linalg.cond(X / np.sqrt((X**2).sum(axis=0))))
