"""Systems with known truth, for tests, documentation and planning."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from spatial_zb.core.lag import spatial_lag
from spatial_zb.core.system_impacts import system_solver
from spatial_zb.core.traces import filter_solver
from spatial_zb.data.panel import Panel
from spatial_zb.errors import SpecificationError, listed, listed_zh
from spatial_zb.models.system_spec import SystemSpec
from spatial_zb.weights.matrix import Weights

__all__ = ["simulate_system"]


def simulate_system(
    spec: SystemSpec,
    W: Weights,
    periods: int,
    coefficients: Mapping[tuple[str, str], float],
    *,
    sigma: ArrayLike | None = None,
    unit_effects: float = 1.0,
    time_effects: float = 1.0,
    regressors: Panel | None = None,
    rng: int | np.random.Generator | None = None,
) -> Panel:
    """Draw a panel from the reduced form of a system; simulated data.

    Parameters
    ----------
    spec
        The system; its fixed effects say nothing here, effects are always drawn.
    W
        Weights of the n units.
    periods
        T.
    coefficients
        True values by (equation, term), as in ``SystemFit.params``; what is left out is zero.
    sigma
        (m, m) covariance of ε between equations; the identity without it.
    unit_effects, time_effects
        Standard deviations of the effects; x is standard normal plus half of the first unit effect, so that
        estimators without fixed effects are inconsistent.
    regressors
        A panel of the same units and T periods whose exogenous variables are used instead.
    rng
        Seed or generator.

    Returns
    -------
    Panel with the endogenous and exogenous variables of the system.
    """
    _check(spec, coefficients)
    generator = np.random.default_rng(rng)
    m, n, names = len(spec.names), W.n, spec.exogenous
    root = np.linalg.cholesky(np.eye(m) if sigma is None else np.asarray(sigma, float))
    mu = unit_effects * generator.standard_normal((n, m))
    alpha = time_effects * generator.standard_normal((periods, 1, m))
    X = generator.standard_normal((periods, n, len(names))) + 0.5 * mu[None, :, :1]
    if regressors is not None:
        X = regressors.array(list(names))
    u = generator.standard_normal((periods, n, m)) @ root.T
    gamma, psi = np.eye(m), np.zeros((m, m))
    right = mu + alpha + np.zeros((periods, n, m))
    for g, name in enumerate(spec.names):
        value = {
            term: coefficients.get((name, term), 0.0) for term in (*spec.terms(name), "lam", "(Intercept)")
        }
        equation = spec.equations[name]
        for other in equation.endog:
            gamma[g, spec.endogenous.index(other)] -= value[other]
        for other in equation.lagged:
            psi[g, spec.endogenous.index(other)] += value[f"W_{other}"]
        for x in equation.x:
            right[:, :, g] += value[x] * X[:, :, names.index(x)]
        for x in equation.lag_x:
            right[:, :, g] += value[f"W_{x}"] * spatial_lag(W.matrix, X[:, :, names.index(x)])
        noise = u[:, :, g].T
        right[:, :, g] += value["(Intercept)"]
        right[:, :, g] += (filter_solver(W.matrix, value["lam"])(noise) if value["lam"] else noise).T
    flat = right.transpose(2, 1, 0).reshape(m * n, periods)
    y = system_solver(gamma, psi, W.matrix)(flat).reshape(m, n, periods).transpose(2, 1, 0)
    values = np.concatenate([y, X], axis=2)
    years = regressors.periods if regressors is not None else tuple(range(2001, 2001 + periods))
    return Panel(values, years, W.ids, (*spec.endogenous, *names))


def _check(spec: SystemSpec, coefficients: Mapping[tuple[str, str], float]) -> None:
    known = {(name, term) for name in spec.names for term in (*spec.terms(name), "(Intercept)", "lam")}
    strangers = [key for key in coefficients if key not in known]
    if strangers:
        raise SpecificationError(
            f"The system has no coefficient {listed(strangers)}; it has {listed(sorted(known))}.",
            f"系统没有系数{listed_zh(strangers)}；已有{listed_zh(sorted(known))}。",
        )
