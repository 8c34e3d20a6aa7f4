"""Random unit effects without spatial lags: estimates, and the tests of Hausman and Mundlak.

Arrays are (T, n) or (T, n, k), off the grand mean or off the period means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

from spatial_zb.core.diagnostics import flat, quadratic_form

__all__ = [
    "RandomEffects",
    "hausman",
    "mundlak",
    "random_effects_ml",
    "swamy_arora",
    "within_regression",
]

Array = NDArray[np.float64]

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
