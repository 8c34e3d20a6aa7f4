"""Panels with known truth, for tests, documentation and planning."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

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
    tau: float = 0.0,
    eta: float = 0.0,
    sigma: float = 1.0,
    unit_effects: float = 1.0,
    time_effects: float = 1.0,
    intercept: float = 0.0,
    burn_in: int = 50,
    rng: int | np.random.Generator | None = None,
) -> Panel:
    """Draw a panel from y_t = τy_{t−1} + ρWy_t + ηWy_{t−1} + X_t β + W X_t θ + μ + α_t ι + u_t, u_t = λWu_t + ε_t.

    These are simulated data.

    Parameters
    ----------
    W
        Weights of the n units.
    periods
        T.
    beta, theta
        Coefficients by regressor name; x is standard normal plus half of the unit effect, so that x and the
        effects are correlated and estimators without fixed effects are inconsistent.
    tau, eta
        Coefficients of y_{t−1} and W y_{t−1}.
    sigma, unit_effects, time_effects
        Standard deviations of ε, μ and α.
    burn_in
        With ``tau`` or ``eta``: periods that are drawn before the first one, from y = 0, and left out.
    rng
        Seed or generator.

    Returns
    -------
    Panel with variables ``y`` and the names of ``beta``.
    """
    generator = np.random.default_rng(rng)
    n, names, drawn = W.n, list(beta), periods + (burn_in if tau or eta else 0)
    mu = unit_effects * generator.standard_normal(n)
    alpha = time_effects * generator.standard_normal((drawn, 1))
    X = generator.standard_normal((drawn, n, len(names))) + 0.5 * mu[None, :, None]
    mean = intercept + mu + alpha + X @ np.array([beta[name] for name in names])
    for name, value in (theta or {}).items():
        mean = mean + value * (W.matrix @ X[:, :, names.index(name)].T).T
    noise = sigma * generator.standard_normal((drawn, n))
    u = filter_solver(W.matrix, lam)(noise.T) if lam else noise.T
    y = filter_solver(W.matrix, rho)(mean.T + u) if rho else mean.T + u
    if tau or eta:
        _carry_over(y, W.matrix, rho, tau, eta)
    values = np.concatenate([y.T[:, :, None], X], axis=2)[drawn - periods :]
    return Panel(values, tuple(range(2001, 2001 + periods)), W.ids, ("y", *names))


def _carry_over(y: NDArray[np.float64], W: sparse.csr_array, rho: float, tau: float, eta: float) -> None:
    """Add (I − ρW)⁻¹(τI + ηW) y_{t−1} to every column of y (n, T), in place, the first being the start."""
    solve = filter_solver(W, rho) if rho else lambda right: right
    for t in range(1, y.shape[1]):
        before = y[:, t - 1]
        y[:, t] += solve(tau * before + eta * (W @ before))
