"""Resampled panels from a fitted spatial model, re-estimated: arrays only.

A sample is drawn from the transformed model, ỹ* = (I − ρ̂W)⁻¹[Z̃δ̂ + (I − λ̂W)⁻¹ε*]~, where Z̃ are the regressors
after the fixed-effects transform: the estimators do not depend on the effects, so none need be invented.

References: Davison & Hinkley (1997), Bootstrap Methods and their Application, ch. 5-6; Efron & Tibshirani
(1993), An Introduction to the Bootstrap, ch. 14 (BCa).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats

from spatial_zb.core.lag import spatial_lag
from spatial_zb.core.logdet import LogDet
from spatial_zb.core.spatial_ml import Maximum, cross_products, maximise
from spatial_zb.core.traces import filter_solver
from spatial_zb.core.within import FixedEffects, TransformedSample, demean

__all__ = ["Generator", "Scheme", "bca_limits", "draw_errors", "refit"]

Array = NDArray[np.float64]
Scheme = Literal["residual", "period", "unit", "wild", "parametric"]


def draw_errors(
    residuals: Array, scheme: Scheme, sigma2: float, sample: TransformedSample, rng: np.random.Generator
) -> Array:
    """One set of errors ε* (T, n).

    ``"residual"`` draws single residuals, ``"period"`` whole periods (keeps what correlates units), ``"unit"``
    whole series (keeps what correlates years), ``"wild"`` flips the sign of each unit's series (keeps
    heteroskedasticity and serial correlation), ``"parametric"`` draws N(0, σ²). Residuals are scaled by
    √(nT/N) first: the transform has taken nT − N degrees of freedom out of them.
    """
    T, n = residuals.shape
    if scheme == "parametric":
        return np.sqrt(sigma2) * rng.standard_normal((T, n))
    pool = (residuals - residuals.mean()) * np.sqrt(T * n / sample.observations)
    if scheme == "residual":
        return rng.choice(pool.ravel(), (T, n))
    if scheme == "period":
        return pool[rng.integers(T, size=T)]
    if scheme == "unit":
        return pool[:, rng.integers(n, size=n)]
    return pool * rng.choice([-1.0, 1.0], n)


@dataclass(frozen=True, slots=True)
class Generator:
    """The fitted model as a source of panels.

    ``Z`` (T, n, k) and, with an error process, ``WZ`` are transformed; ``delta`` (k,), ``rho``, ``lam`` the
    estimates; ``effects`` the transform to repeat on what is drawn.
    """

    matrix: sparse.csr_array
    logdet: LogDet | None
    sample: TransformedSample
    effects: FixedEffects
    Z: Array
    WZ: Array | None
    delta: Array
    rho: float
    lam: float
    lag_y: bool
    lag_error: bool

    def panels(self) -> Callable[[Array], Array]:
        """Factorise once; the answer turns errors (T, n) into y* (T, n), not yet transformed."""
        outer = filter_solver(self.matrix, self.rho) if self.rho else lambda v: v
        inner = filter_solver(self.matrix, self.lam) if self.lam else lambda v: v
        mean = (self.Z @ self.delta).T
        return lambda errors: outer(mean + inner(errors.T)).T


def refit(model: Generator, y: Array) -> Maximum:
    """Estimate the model on y* (T, n), lagging before transforming, as for data."""
    stack = lambda v: v.reshape(-1, *v.shape[2:])  # noqa: E731
    Wy = spatial_lag(model.matrix, y)
    lagged = None
    if model.WZ is not None:
        WWy = spatial_lag(model.matrix, Wy)
        lagged = tuple(stack(demean(v, model.effects)) for v in (model.WZ, Wy, WWy))
    products = cross_products(
        stack(model.Z), stack(demean(y, model.effects)), stack(demean(Wy, model.effects)), lagged
    )
    return maximise(products, model.logdet, model.sample, model.lag_y, model.lag_error)


def bca_limits(point: Array, replicates: Array, jackknife: Array | None, alpha: float) -> Array:
    """Bias-corrected and accelerated limits (2, …) of statistics (…) from replicates (R, …).

    ``jackknife`` (J, …) gives the acceleration; None sets it to zero (bias-corrected limits).
    """
    share = (np.sum(replicates < point, axis=0) + 0.5 * np.sum(replicates == point, axis=0)) / len(replicates)
    z0 = stats.norm.ppf(np.clip(share, 1 / (2 * len(replicates)), 1 - 1 / (2 * len(replicates))))
    acceleration = np.zeros_like(point)
    if jackknife is not None:
        off = jackknife.mean(axis=0) - jackknife
        spread = (off**2).sum(axis=0)
        acceleration = np.divide((off**3).sum(axis=0), 6 * spread**1.5, out=acceleration, where=spread > 0)
    limits = []
    for level in (alpha / 2, 1 - alpha / 2):
        z = z0 + stats.norm.ppf(level)
        adjusted = stats.norm.cdf(z0 + z / (1 - acceleration * z))
        limits.append(_columnwise_quantile(replicates, adjusted))
    return np.array(limits)


def _columnwise_quantile(replicates: Array, levels: Array) -> Array:
    flat, wanted = replicates.reshape(len(replicates), -1), np.ravel(levels)
    found = [np.quantile(column, level) for column, level in zip(flat.T, wanted, strict=True)]
    return np.reshape(found, np.shape(levels))
