"""Resampled panels as arrays: of static models, of models with lags in time, and of random unit effects.

A sample is drawn from the transformed model, y* = (I − ρ̂W)⁻¹[Z̃δ̂ + (I − λ̂W)⁻¹ε*], where Z̃ are the regressors after
the fixed-effects transform: the estimators do not depend on the effects, so none need be invented.

What is estimated from such samples in the limit is θ̂ itself where the score at θ̂ has mean zero over draws, for which
E*[ε*] = 0 and E*[ε*'Gε*] = σ̂² T* tr(G). Draws of single residuals and of whole units have it. Sign flips by unit have it
only if all units have one variance, since E*[ε*'Gε*] = Σ_i g_ii Σ_t e_it²; draws of whole periods keep Σ_t e_t'Ge_t, which
the first-order condition puts to σ̂² T* tr(G) − (GZδ̂)'e. Their population value (:func:`population_value`) is what their
replicates are to be compared with.

References: Davison & Hinkley (1997), Bootstrap Methods and their Application, ch. 5-6; Efron & Tibshirani
(1993), An Introduction to the Bootstrap, ch. 14 (BCa).

With y_{t−1} or Wy_{t−1} among the regressors the first period is given, and panels differ by what their errors differ by:
with S = I − ρW, B = I − λW,

    y*_t = y_t + d_t,   d_t = S⁻¹[(τI + ηW) d_{t−1} + B⁻¹(ε*_t − ε̂_t)],   d_0 = 0,

so that no effect has to be invented: each keeps what the data give it, ε̂ being what the transform leaves. This is the
recursive design of Gonçalves & Kaffo (2015), J. Econometrics 186: 407-426, and of Everaert & Pozzi (2007), J. Economic
Dynamics and Control 31: 1160-1184, with spatial lags.

Errors must be independent over time given the past, as those of the model are. Sign flips are therefore by unit and period
(their "wild"): flipped as a whole, the series of a unit keeps the products of its errors at two dates, whose variance is
that of τ̂.

With random unit effects errors are e = μ + ε of each unit and period where both spread alike (KKP, or no spatial error),
and μ besides ε where only ε spreads (Baltagi). What is estimated of μ and ε is shrunk or mixed; for the draws to have the
variances φσ² and σ² that were estimated it is centred and brought to them (Carpenter, Goldstein & Rasbash 2003, J. Royal
Statistical Society C 52: 431-443; for error components Andersson & Karlsson 2001, Computational Statistics 16: 221-231).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import sparse, special

from spatial_zb.core import Array, Values
from spatial_zb.core.laws import SampleModel
from spatial_zb.core.likelihood import maximise, spatial_values
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.core.transforms import FixedEffects, TransformedSample, cross_products, demean, spatial_lag

Scheme = Literal["residual", "period", "unit", "wild", "parametric"]


def draw_errors(
    residuals: Array,
    scheme: Scheme,
    sigma: Values,
    sample: TransformedSample,
    effects: FixedEffects,
    rng: np.random.Generator,
) -> Array:
    """One set of errors ε* of the shape of ``residuals``, (T, n), or (T, n, m) for m equations.

    ``"residual"`` draws single residuals (of all equations together), ``"period"`` whole periods (keeps what correlates
    units), ``"unit"`` whole series (keeps what correlates years), ``"wild"`` flips the sign of each unit's series (keeps
    heteroskedasticity and serial correlation), ``"parametric"`` draws N(0, Σ) with ``sigma`` (m, m), or a variance.
    """
    T, n = residuals.shape[:2]
    if scheme == "parametric":
        noise = rng.standard_normal(residuals.shape)
        return noise * np.sqrt(sigma) if residuals.ndim == 2 else noise @ np.linalg.cholesky(sigma).T
    pool = error_pool(residuals, scheme, sample, effects)
    if scheme == "residual":
        return pool.reshape(T * n, -1)[rng.integers(T * n, size=T * n)].reshape(pool.shape)
    if scheme == "period":
        return pool[rng.integers(T, size=T)]
    if scheme == "unit":
        return pool[:, rng.integers(n, size=n)]
    return pool * rng.choice([-1.0, 1.0], n).reshape(1, n, *[1] * (pool.ndim - 2))


def error_pool(residuals: Array, scheme: Scheme, sample: TransformedSample, effects: FixedEffects) -> Array:
    """Residuals (T, n, …) from which errors are drawn: centred over what is drawn, with the variance that was estimated.

    Residuals have lost degrees of freedom to the effects, and the errors drawn from them lose some again: single
    residuals those of both effects, whole periods only those of unit effects, whole units of time effects. Whole periods
    are centred by unit and whole units by period, which takes as much where no effect has done so.
    """
    T, n = sample.n_periods, sample.n_units
    unit, time = effects in ("unit", "two_way"), effects in ("time", "two_way")
    periods, units = T - unit, n - time
    left = {
        "residual": 1.0,
        "period": units / n * (1.0 if unit else T / max(T - 1, 1)),
        "unit": periods / T * (1.0 if time else n / (n - 1)),
        "wild": periods / T,
    }[scheme]
    over = {"period": 0, "unit": 1}.get(scheme, (0, 1))
    centred = residuals - residuals.mean(axis=over, keepdims=True)
    return centred * np.sqrt(T * n / sample.observations * left)


def independent_parts(pool: Array, scheme: Scheme, effects: FixedEffects) -> Array | None:
    """Parts (K, T, n, …) of errors whose squares add up to those expected; None where θ̂ needs none.

    Sign flips by unit: what each unit adds. Whole periods: all of the pool at once, since a period keeps its products and
    no two periods have any; unit effects take one of T periods out of a sample of them, and nothing out of the pool.
    """
    T, n = pool.shape[:2]
    if scheme == "wild":
        parts = np.zeros((n, *pool.shape))
        parts[np.arange(n), :, np.arange(n)] = np.moveaxis(pool, 1, 0)
        return parts
    if scheme == "period":
        return pool[None] * np.sqrt((T - 1) / T if effects in ("unit", "two_way") else 1.0)
    return None


@dataclass(frozen=True, slots=True)
class Generator:
    """The fitted model as a source of panels: ``delta`` (k,), ``rho``, ``lam`` the estimates."""

    model: SampleModel
    delta: Array
    rho: float
    lam: float

    def panels(self, errors: Array) -> Array:
        """Turn errors (R, T, n) into y* (R, T, n), not yet transformed."""
        outer = filter_solver(self.model.matrix, self.rho) if self.rho else lambda v: v
        inner = filter_solver(self.model.matrix, self.lam) if self.lam else lambda v: v
        R, T, n = errors.shape
        noise = inner(errors.reshape(R * T, n).T).T.reshape(R, T, n)
        mean = self.model.Z @ self.delta
        return outer((mean + noise).reshape(R * T, n).T).T.reshape(R, T, n)


def population_value(generator: Generator, parts: Array) -> Array:
    """(δ, [ρ], [λ], σ²) that maximise the expected likelihood over errors made of independent ``parts`` (K, T, n).

    Expected squares of a sample are the square of its mean plus those of what the parts add: one long sample, whose parts
    have no regressors.
    """
    model, (K, T, n) = generator.model, parts.shape
    centre = generator.panels(np.zeros((1, T, n)))
    Y = np.concatenate([centre, generator.panels(parts) - centre])

    def transformed(values: Array) -> Array:
        return np.concatenate([demean(one, model.effects) for one in values]).ravel()

    def padded(columns: Array) -> Array:
        return np.vstack([columns.reshape(T * n, -1), np.zeros((K * T * n, columns.shape[2]))])

    Wy = np.array([spatial_lag(model.matrix, one) for one in Y])
    lagged = None
    if model.WZ is not None:
        WWy = np.array([spatial_lag(model.matrix, one) for one in Wy])
        lagged = padded(model.WZ), transformed(Wy), transformed(WWy)
    products = cross_products(padded(model.Z), transformed(Y), transformed(Wy), lagged)
    best = maximise(products, model.logdet, model.sample, model.lag_y, model.lag_error)
    return np.array([*best.delta, *spatial_values(model, best), best.sigma2])


def bca_limits(point: Array, replicates: Array, jackknife: Array | None, alpha: float) -> Array:
    """Bias-corrected and accelerated limits (2, …) of statistics (…) from replicates (R, …).

    ``jackknife`` (J, …) gives the acceleration; None sets it to zero (bias-corrected limits).
    """
    share = (np.sum(replicates < point, axis=0) + 0.5 * np.sum(replicates == point, axis=0)) / len(replicates)
    z0 = special.ndtri(np.clip(share, 1 / (2 * len(replicates)), 1 - 1 / (2 * len(replicates))))
    acceleration = np.zeros_like(point)
    if jackknife is not None:
        off = jackknife.mean(axis=0) - jackknife
        spread = (off**2).sum(axis=0)
        acceleration = np.divide((off**3).sum(axis=0), 6 * spread**1.5, out=acceleration, where=spread > 0)
    limits = []
    for level in (alpha / 2, 1 - alpha / 2):
        z = z0 + special.ndtri(level)
        adjusted = special.ndtr(z0 + z / (1 - acceleration * z))
        limits.append(_columnwise_quantile(replicates, adjusted))
    return np.array(limits)


def _columnwise_quantile(replicates: Array, levels: Array) -> Array:
    flat, wanted = replicates.reshape(len(replicates), -1), np.ravel(levels)
    found = [np.quantile(column, level) for column, level in zip(flat.T, wanted, strict=True)]
    return np.reshape(found, np.shape(levels))


def studentised_limits(point: Array, error: Array, deviations: Array, errors: Array, alpha: float) -> Array:
    """Limits (2, …) θ̂ − q se with q the quantiles of t* = deviation/se* over replicates (R, …).

    Replicates without a standard error are left out; the limit of a statistic without any is NaN. One that cannot vary
    (the indirect effect of a SEM) is its own limit.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        t = deviations / errors
    t = np.where(np.isfinite(t), t, np.nan)
    t[(deviations == 0) & (errors == 0)] = 0.0
    levels: Sequence[float] = (1 - alpha / 2, alpha / 2)
    some = np.isfinite(t).any(axis=0)
    q = np.full((2, *point.shape), np.nan)
    q[:, some] = np.nanquantile(t[:, some], levels, axis=0)
    return point - q * error


def carry_over(alone: Array, matrix: sparse.csr_array, rho: float, tau: float, eta: float) -> Array:
    """y_t = a_t + S⁻¹(τI + ηW) y_{t−1} from y_0 = a_0: ``alone`` a (T, n) or (T, n, R), what a period adds of its own."""
    solve = filter_solver(matrix, rho) if rho else lambda right: right
    out = alone.copy()
    for t in range(1, len(out)):
        before = out[t - 1]
        out[t] += solve(tau * before + eta * (matrix @ before))
    return out


def moved_panels(
    changes: Array, matrix: sparse.csr_array, rho: float, lam: float, tau: float, eta: float
) -> Array:
    """d (R, T, n) of changes of the errors (R, T, n) in the T explained periods."""
    R, T, n = changes.shape
    columns = changes.transpose(2, 1, 0).reshape(n, T * R)
    for coefficient in (lam, rho):
        columns = filter_solver(matrix, coefficient)(columns) if coefficient else columns
    alone = columns.reshape(n, T, R).swapaxes(0, 1)
    start = np.zeros((1, n, R))
    return carry_over(np.concatenate([start, alone]), matrix, rho, tau, eta)[1:].transpose(2, 0, 1)


def one_variance_parts(variance: float, shape: tuple[int, int]) -> Array:
    """Parts (Tn, T, n) of independent errors of one variance: each cell alone."""
    T, n = shape
    return np.sqrt(variance) * np.eye(T * n).reshape(T * n, T, n)


def recursive_parts(pool: Array, scheme: str) -> Array:
    """Parts (K, T, n) of errors drawn from ``pool`` (T, n), whose squares add up to those expected.

    ``"wild"``: each cell alone, with its own error; ``"period"``: in each period each period's errors, over √T.
    """
    T, n = pool.shape
    if scheme == "wild":
        return pool.reshape(T * n, 1, 1) * np.eye(T * n).reshape(T * n, T, n)
    parts = np.zeros((T, T, T, n))
    parts[np.arange(T), :, np.arange(T)] = pool / np.sqrt(T)
    return parts.reshape(T * T, T, n)


def reflated(values: Array, variance: float, over: int | None = None) -> Array:
    """Values less their mean (over one axis, or all), with this mean square; zero where they are all alike."""
    centred = values - values.mean(axis=over, keepdims=True)
    size = np.mean(centred**2)
    return centred * np.sqrt(variance / size) if size > 0 else centred


def draw_components(
    mu: Array, noise: Array, phi: float, sigma2: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """μ* (n,) and ε* (T, n), drawn apart with replacement from estimates of either of the same shapes."""
    units, cells = reflated(mu, phi * sigma2), reflated(noise, sigma2).ravel()
    return units[rng.integers(units.size, size=units.size)], cells[
        rng.integers(cells.size, size=cells.size)
    ].reshape(noise.shape)


def draw_whole_units(errors: Array, phi: float, sigma2: float, rng: np.random.Generator) -> Array:
    """e* (T, n): the series of whole units, drawn with replacement from e (T, n).

    Time means are brought to the variance (φ + 1/T)σ² and deviations from them to (1 − 1/T)σ², those of the model.
    """
    T, n = errors.shape
    mean = errors.mean(axis=0)
    between = reflated(mean, (phi + 1 / T) * sigma2)
    within = reflated(errors - mean, (1 - 1 / T) * sigma2, over=1)
    return (between + within)[:, rng.integers(n, size=n)]


def places_among(drawn: Array, statistics: Array) -> Array:
    """Place (K,) of each statistic, not negative, among its draws (K, m), between two of them by their distance.

    Below all it falls to −1, above all it rises to m: no two statistics with the same draws tie.
    """
    m, drawn = drawn.shape[1], np.sort(np.maximum(drawn, 0.0), axis=1)
    below = (drawn < statistics[:, None]).sum(axis=1)
    left, right = (
        np.take_along_axis(drawn, np.clip(at, 0, m - 1)[:, None], axis=1)[:, 0] for at in (below - 1, below)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (statistics - left) / (right - left)
        low, high = statistics / right - 1, 1 - left / statistics
    return np.select([below == 0, below == m], [low, m - 1 + high], below - 1 + between)
