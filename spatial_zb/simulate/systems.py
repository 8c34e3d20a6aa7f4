"""Systems with known truth, for tests, documentation and planning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spatial_zb.base.arguments import Rng, check_count, gathered, random_generator, renamed
from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh
from spatial_zb.core.logdet.factors import largest_sums
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.core.system import system_solver
from spatial_zb.core.transforms import spatial_lag
from spatial_zb.data.panel import Panel
from spatial_zb.models.system.spec import SystemSpec
from spatial_zb.weights.matrix import Weights, as_weights

#: The ends of the admissible interval are known but for rounding.
INSIDE = 1 - 1e-9


@dataclass(frozen=True)
class Truth:
    """The law that panels are drawn from: what functions take as ``truth`` where true values do not say it all.

    Parameters
    ----------
    values
        True values by term, as in ``Fit.params`` (``x``, ``W_x``, ``rho``, ``lam``, ``tau``, ``eta``, ``sigma2``, ``phi``)
        or by (equation, term), as in ``SystemFit.params``. What is left out is zero; σ² and φ = σ²_μ/σ² one.
    regressors
        A panel of the same units and T periods whose x is used; without it x is standard normal plus half of the (first)
        unit effect, so that estimators without fixed effects are inconsistent (random effects without ``mundlak``: of
        nothing).
    sigma
        (m, m) covariance of the errors ε of a system between equations; the identity without it.
    unit_effects, time_effects
        Standard deviations of fixed effects: without them one for those that the model takes out, zero for others.
    burn_in
        With lags in time: periods that are drawn before the first one and left out.

    Examples
    --------
    >>> Truth({"x": 1.0, "rho": 0.4}, unit_effects=0).burn_in
    50
    """

    values: Mapping[Any, float]
    regressors: Panel | None = None
    sigma: ArrayLike | None = None
    unit_effects: float | None = None
    time_effects: float | None = None
    burn_in: int = 50

    @classmethod
    def of(cls, truth: Mapping | Truth, **more: Any) -> Truth:
        """Of true values, or a truth as it is; ``more`` replaces some of it."""
        return replace(truth if isinstance(truth, Truth) else Truth(truth), **more)


@gathered("truth", Truth.of, "sigma", "unit_effects", "time_effects", "regressors")
@renamed(coefficients="truth")
def system(
    spec: SystemSpec,
    W: Weights,
    periods: int,
    truth: Mapping[tuple[str, str], float] | Truth,
    *,
    rng: Rng = None,
) -> Panel:
    """Draw a panel from the reduced form of a system; simulated data.

    Parameters
    ----------
    spec
        The system; its fixed effects say nothing here, effects of size one are drawn where the truth has none.
    W
        Weights of the n units.
    periods
        T; with lags in time the first one is among them, which a fit takes as given.
    truth
        True values by (equation, term), as in ``SystemFit.params``, what is left out being zero; or a :class:`Truth`. With
        lags in time ``burn_in`` periods are drawn before the first one, with the regressors of that one where they are
        given.
    rng
        Seed or generator.

    Returns
    -------
    Panel with the endogenous and exogenous variables of the system.
    """
    check_count(periods, "periods", 1)
    law = Truth.of(truth)
    coefficients, sigma, regressors = law.values, law.sigma, law.regressors
    unit_effects = 1.0 if law.unit_effects is None else law.unit_effects
    time_effects = 1.0 if law.time_effects is None else law.time_effects
    check_numbers({**coefficients, "unit_effects": unit_effects, "time_effects": time_effects})
    W = as_weights(W)
    _check(spec, coefficients)
    check_count(law.burn_in, "burn_in", 0)
    check_regressors(regressors, W, periods)
    for name in spec.names:
        check_admissible(W, {"lam": coefficients.get((name, "lam"), 0.0)})
    generator = random_generator(rng)
    m, n, names = len(spec.names), W.n, spec.exogenous
    root = np.eye(m) if sigma is None else _root(sigma, m)
    mu = unit_effects * generator.standard_normal((n, m))
    first = law.burn_in if spec.dynamic else 0
    total = first + periods
    alpha = time_effects * generator.standard_normal((total, 1, m))
    X = generator.standard_normal((total, n, len(names))) + 0.5 * mu[None, :, :1]
    if regressors is not None:
        given = regressors.array(list(names))
        X = np.concatenate([np.repeat(given[:1], first, axis=0), given])
    u = generator.standard_normal((total, n, m)) @ root.T
    gamma, psi, tau, eta = np.eye(m), *(np.zeros((m, m)) for _ in range(3))
    right = mu + alpha + np.zeros((total, n, m))
    for g, name in enumerate(spec.names):
        value = {
            term: coefficients.get((name, term), 0.0) for term in (*spec.terms(name), "lam", "(Intercept)")
        }
        equation = spec.equations[name]
        for other in equation.endog:
            gamma[g, spec.endogenous.index(other)] -= value[other]
        for other in equation.lagged:
            psi[g, spec.endogenous.index(other)] += value[f"W_{other}"]
        for matrix, lags, start in zip((tau, eta), spec.carried(name), ("L_", "L_W_"), strict=True):
            for other in lags:
                matrix[g, spec.endogenous.index(other)] += value[start + other]
        for x in equation.x:
            right[:, :, g] += value[x] * X[:, :, names.index(x)]
        for x in equation.lag_x:
            right[:, :, g] += value[f"W_{x}"] * spatial_lag(W.matrix, X[:, :, names.index(x)])
        noise = u[:, :, g].T
        right[:, :, g] += value["(Intercept)"]
        right[:, :, g] += (filter_solver(W.matrix, value["lam"])(noise) if value["lam"] else noise).T
    flat = right.transpose(2, 1, 0).reshape(m * n, total)
    y = _solved(gamma, psi, W, flat).reshape(m, n, total).transpose(2, 1, 0)
    if spec.dynamic:
        solve = system_solver(gamma, psi, W.matrix)
        for t in range(1, total):
            carry = y[t - 1] @ tau.T + (W.matrix @ y[t - 1]) @ eta.T
            y[t] += solve(carry.T.ravel()).reshape(m, n).T
    values = np.concatenate([y, X], axis=2)[first:]
    years = regressors.periods if regressors is not None else tuple(range(2001, 2001 + periods))
    return Panel(values, years, W.ids, (*spec.endogenous, *names))


def check_numbers(values: Mapping[Any, Any]) -> None:
    """Refuse true values that are not finite numbers: every cell drawn from them would be blank.

    Raises
    ------
    SpecificationError
        Naming the first of them.
    """
    for name, value in values.items():
        if not (isinstance(value, Real) and np.isfinite(float(value))):
            shown = " ".join(name) if isinstance(name, tuple) else name
            raise SpecificationError(
                f"The true value of {shown} must be a finite number, not {value!r}.",
                f"{shown}的真值须为有限的数，而不是{value!r}。",
            )


def check_admissible(W: Weights, truth: Mapping[str, float]) -> None:
    """Refuse ρ or λ at which I − ρW is singular, or beyond such a value.

    Raises
    ------
    SpecificationError
        ``rho`` or ``lam`` of the truth lies outside the admissible interval of W.
    """
    for name in ("rho", "lam"):
        value = truth.get(name, 0.0)
        if abs(value) * largest_sums(W.matrix) < 1:  # diagonally dominant; the interval takes eigenvalues
            continue
        low, high = W.logdet.interval
        if not INSIDE * low < value < INSIDE * high:
            raise SpecificationError(
                f"{name} = {value} lies outside the admissible interval ({low:.3f}, {high:.3f}) of {W.label!r}: no process "
                "has it. Take a value inside.",
                f"{name} = {value}在{W.label!r}的容许区间({low:.3f}, {high:.3f})之外：不存在这样的过程。请取区间内的值。",
            )


def check_regressors(regressors: Panel | None, W: Weights, periods: int) -> None:
    """Refuse regressors of other units or another number of periods."""
    if regressors is None:
        return
    if not regressors.units.equals(W.ids) or len(regressors.periods) != periods:
        raise DataError(
            f"regressors must cover the {W.n} units of {W.label!r}, in their order, and {periods} periods; they cover "
            f"{len(regressors.units)} units and {len(regressors.periods)} periods.",
            f"regressors须为{W.label!r}的{W.n}个地区（次序相同）和{periods}个时期；实为{len(regressors.units)}"
            f"个地区和{len(regressors.periods)}个时期。",
        )


def _root(sigma: ArrayLike, m: int) -> NDArray[np.float64]:
    """Lower triangle L with LL' = Σ."""
    matrix = np.asarray(sigma, float)
    if matrix.shape == (m, m) and np.allclose(matrix, matrix.T):
        try:
            return np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError:
            pass
    raise SpecificationError(
        f"sigma must be a covariance of {m} errors: a symmetric, positive definite {m} × {m} matrix.",
        f"sigma须为{m}个误差的协方差：对称正定的{m} × {m}矩阵。",
    )


def _solved(
    gamma: NDArray[np.float64], psi: NDArray[np.float64], W: Weights, right: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The reduced form; a system that has none is refused."""
    try:
        return system_solver(gamma, psi, W.matrix)(right)
    except (RuntimeError, np.linalg.LinAlgError):
        raise SpecificationError(
            f"With these coefficients the system has no reduced form under {W.label!r}: Γ⊗I − Ψ⊗W is singular.",
            f"在{W.label!r}下，这组系数的系统没有简化式：Γ⊗I − Ψ⊗W奇异。",
        ) from None


def _check(spec: SystemSpec, coefficients: Mapping[tuple[str, str], float]) -> None:
    known = {(name, term) for name in spec.names for term in (*spec.terms(name), "(Intercept)", "lam")}
    strangers = [key for key in coefficients if key not in known]
    if strangers:
        raise SpecificationError(
            f"The system has no coefficient {listed(strangers)}; it has {listed(sorted(known))}.",
            f"系统没有系数{listed_zh(strangers)}；已有{listed_zh(sorted(known))}。",
        )
