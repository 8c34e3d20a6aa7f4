"""Panels with known truth, for tests, documentation and planning."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spatial_zb.core.traces import filter_solver
from spatial_zb.data.panel import Panel
from spatial_zb.weights.matrix import Weights

__all__ = ["simulate_durbin"]


def simulate_durbin(
    W: Weights,
    periods: int,
    beta: Mapping[str, float],
    *,
    theta: Mapping[str, float] | None = None,
    rho: float = 0.0,
    lam: float = 0.0,
    sigma: float = 1.0,
    unit_effects: float = 1.0,
    time_effects: float = 1.0,
    intercept: float = 0.0,
    rng: int | np.random.Generator | None = None,
) -> Panel:
    """Draw a panel from y_t = ρWy_t + X_t β + W X_t θ + μ + α_t ι + u_t, u_t = λWu_t + ε_t; simulated data.

    Parameters
    ----------
    W
        Weights of the n units.
    periods
        T.
    beta, theta
        Coefficients by regressor name; x is standard normal plus half of the unit effect, so that x and the
        effects are correlated and estimators without fixed effects are inconsistent.
    sigma, unit_effects, time_effects
        Standard deviations of ε, μ and α.
    rng
        Seed or generator.

    Returns
    -------
    Panel with variables ``y`` and the names of ``beta``.
    """
    generator = np.random.default_rng(rng)
    n, names = W.n, list(beta)
    mu = unit_effects * generator.standard_normal(n)
    alpha = time_effects * generator.standard_normal((periods, 1))
    X = generator.standard_normal((periods, n, len(names))) + 0.5 * mu[None, :, None]
    mean = intercept + mu + alpha + X @ np.array([beta[name] for name in names])
    for name, value in (theta or {}).items():
        mean = mean + value * (W.matrix @ X[:, :, names.index(name)].T).T
    noise = sigma * generator.standard_normal((periods, n))
    u = filter_solver(W.matrix, lam)(noise.T) if lam else noise.T
    y = filter_solver(W.matrix, rho)(mean.T + u) if rho else mean.T + u
    values = np.concatenate([y.T[:, :, None], X], axis=2)
    return Panel(values, tuple(range(2001, 2001 + periods)), W.ids, ("y", *names))
