"""Panels with known truth, for tests, documentation and planning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields, replace

import numpy as np

from spatial_zb.base.arguments import Rng, check_count, gathered, random_generator
from spatial_zb.base.errors import SpecificationError, listed, listed_zh
from spatial_zb.core import Array
from spatial_zb.core.laws.bootstrap import carry_over
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.core.transforms import spatial_lag
from spatial_zb.data.panel import Panel
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.models.system.spec import SystemSpec
from spatial_zb.simulate.systems import (
    Truth,
    check_admissible,
    check_numbers,
    check_regressors,
    system,
)
from spatial_zb.weights.matrix import Weights, as_weights

#: Parameters of a single equation besides its coefficients, and what they are when the truth does not name them.
OTHERS = {"rho": 0.0, "lam": 0.0, "tau": 0.0, "eta": 0.0, "sigma2": 1.0, "phi": 1.0}


@dataclass(frozen=True)
class Process:
    """What :func:`durbin` draws besides regressors and spatial lags.

    Parameters
    ----------
    tau, eta
        Coefficients of y_{t−1} and W y_{t−1}.
    sigma, unit_effects, time_effects
        Standard deviations of ε, μ and α.
    intercept
        The mean of y without x.
    burn_in
        With ``tau`` or ``eta``: periods that are drawn before the first one, from y = 0, and left out.

    Examples
    --------
    >>> Process(tau=0.5).sigma
    1.0
    """

    tau: float = 0.0
    eta: float = 0.0
    sigma: float = 1.0
    unit_effects: float = 1.0
    time_effects: float = 1.0
    intercept: float = 0.0
    burn_in: int = 50


@gathered("process", replace, *(part.name for part in fields(Process)))
def durbin(
    W: Weights,
    periods: int,
    beta: Mapping[str, float],
    *,
    theta: Mapping[str, float] | None = None,
    rho: float = 0.0,
    lam: float = 0.0,
    process: Process = Process(),
    rng: Rng = None,
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
    rho, lam
        Coefficients of W y_t and W u_t.
    process
        Lags in time, the sizes of errors and effects, and the intercept.
    rng
        Seed or generator.

    Returns
    -------
    Panel with variables ``y`` and the names of ``beta``.

    Raises
    ------
    SpecificationError
        ρ or λ outside the admissible interval of W, a lag of a regressor that is not in ``beta``, a standard deviation
        below zero, less than one period.
    """
    tau, eta, sigma, unit_effects, time_effects, intercept, burn_in = astuple(process)
    check_count(periods, "periods", 1)
    check_count(burn_in, "burn_in", 0)
    W = as_weights(W)
    check_numbers(beta)
    check_numbers({f"W_{name}": value for name, value in (theta or {}).items()})
    check_numbers({"intercept": intercept, "rho": rho, "lam": lam, "tau": tau, "eta": eta})
    sizes = {"sigma": sigma, "unit_effects": unit_effects, "time_effects": time_effects}
    _refuse_negative(sizes)
    check_admissible(W, {"rho": rho, "lam": lam})
    strangers = [name for name in theta or {} if name not in beta]
    if strangers:
        raise SpecificationError(
            f"theta names {listed(strangers)}, not among beta ({listed(beta)}): give its β, which may be 0.",
            f"theta列出的{listed_zh(strangers)}不在beta（{listed_zh(beta)}）之中：请给出其β，可以为0。",
        )
    generator = random_generator(rng)
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
        y = carry_over(y.T, W.matrix, rho, tau, eta).T
    values = np.concatenate([y.T[:, :, None], X], axis=2)[drawn - periods :]
    return Panel(values, tuple(range(2001, 2001 + periods)), W.ids, ("y", *names))


@gathered("truth", Truth.of, "regressors", "sigma", "unit_effects", "time_effects", "burn_in")
def panel(
    spec: DurbinSpec | SystemSpec,
    W: Weights,
    periods: int,
    truth: Mapping | Truth,
    *,
    rng: Rng = None,
) -> Panel:
    """Draw a panel from any specification with known truth; simulated data.

    Parameters
    ----------
    spec
        A single equation of any family, with fixed or random effects and lags in time, or a system.
    W
        Weights of the n units.
    periods
        T.
    truth
        True values by term, or a :class:`Truth`, which says what they are of and how the rest is drawn.
    rng
        Seed or generator.

    Raises
    ------
    SpecificationError
        A truth that the model has not, ρ or λ outside the admissible interval of W among them; endogenous regressors or
        regimes; less than one period.
    DataError
        Regressors of other units or another number of periods.
    """
    law = Truth.of(truth)
    burn_in, regressors = law.burn_in, law.regressors
    check_count(periods, "periods", 1)
    check_count(burn_in, "burn_in", 0)
    W = as_weights(W)
    check_regressors(regressors, W, periods)
    generator = random_generator(rng)
    removed = {"unit": ("unit", "two_way", "random"), "time": ("time", "two_way")}
    in_model = {kind: float(spec.fixed_effects in names) for kind, names in removed.items()}
    unit_effects = in_model["unit"] if law.unit_effects is None else law.unit_effects
    time_effects = in_model["time"] if law.time_effects is None else law.time_effects
    if isinstance(spec, SystemSpec):
        law = replace(law, unit_effects=unit_effects, time_effects=time_effects)
        return system(spec, W, periods, law, rng=generator)
    value = _values(spec, law.values)
    check_admissible(W, value)
    _refuse_negative({"unit_effects": unit_effects, "time_effects": time_effects})
    first = burn_in if spec.dynamic else 0
    effect_size = np.sqrt(value["phi"] * value["sigma2"]) if spec.fixed_effects == "random" else unit_effects
    mu = effect_size * generator.standard_normal(W.n)
    alpha = time_effects * generator.standard_normal((first + periods, 1))
    X = _regressors(spec, W, periods, first, regressors, mu, generator)
    mean, mu = _mean(spec, W, value, X), _unit_effects(spec, W, value, X, mu)
    noise = np.sqrt(value["sigma2"]) * generator.standard_normal((first + periods, W.n))
    u = filter_solver(W.matrix, value["lam"])(noise.T).T if value["lam"] else noise
    right = (mean + mu + alpha + u).T
    y = filter_solver(W.matrix, value["rho"])(right) if value["rho"] else right
    if value["tau"] or value["eta"]:
        y = carry_over(y.T, W.matrix, value["rho"], value["tau"], value["eta"]).T
    values = np.concatenate([y.T[:, :, None], X], axis=2)[first:]
    years = regressors.periods if regressors is not None else tuple(range(2001, 2001 + periods))
    return Panel(values, years, W.ids, (spec.y, *spec.x))


def _refuse_negative(sizes: Mapping[str, float]) -> None:
    check_numbers(sizes)
    wrong = [name for name, size in sizes.items() if not size >= 0]
    if wrong:
        raise SpecificationError(
            f"{listed(wrong)} must be standard deviations, zero or more.",
            f"{listed_zh(wrong)}为标准差，须不小于零。",
        )


def _values(spec: DurbinSpec, truth: Mapping[str, float]) -> dict[str, float]:
    """The truth by term, complete."""
    if spec.endog or spec.regimes:
        what, what_zh = ("endogenous regressors", "内生解释变量") if spec.endog else ("regimes", "区制")
        raise SpecificationError(
            f"zb.simulate.panel cannot draw {what}: true coefficients do not say how to. Draw the panel yourself.",
            f"zb.simulate.panel不生成{what_zh}，按变量给出的真值没有说明其分布。请自行生成面板。",
        )
    random = ("phi",) if spec.fixed_effects == "random" else ()
    known = (*spec.terms, *spec.spatial_terms, *spec.time_terms, "sigma2", "(Intercept)", *random)
    strangers = [name for name in truth if name not in known]
    if strangers:
        raise SpecificationError(
            f"The model has no parameter {listed(strangers)}; it has {listed(dict.fromkeys(known))}.",
            f"模型没有参数{listed_zh(strangers)}；已有{listed_zh(dict.fromkeys(known))}。",
        )
    check_numbers(truth)
    for name in ("sigma2", "phi"):
        if truth.get(name, 1.0) < 0:
            raise SpecificationError(
                f"{name} is a variance and cannot be {truth[name]}.", f"{name}是方差，不能为{truth[name]}。"
            )
    return {name: float(truth.get(name, OTHERS.get(name, 0.0))) for name in (*known, *OTHERS)}


def _regressors(
    spec: DurbinSpec,
    W: Weights,
    periods: int,
    first: int,
    given: Panel | None,
    mu: Array,
    generator: np.random.Generator,
) -> Array:
    """x (first + T, n, k): those given, the first period repeated before them, or drawn."""
    if given is not None:
        X = given.array(list(spec.x))
        return np.concatenate([np.repeat(X[:1], first, axis=0), X])
    X = generator.standard_normal((first + periods, W.n, len(spec.x)))
    return X if spec.fixed_effects == "random" else X + 0.5 * mu[None, :, None]


def _mean(spec: DurbinSpec, W: Weights, value: Mapping[str, float], X: Array) -> Array:
    mean = value["(Intercept)"] + X @ np.array([value[name] for name in spec.x])
    for name in spec.lag_x:
        mean = mean + value[f"W_{name}"] * spatial_lag(W.matrix, X[:, :, spec.x.index(name)])
    return mean


def _unit_effects(spec: DurbinSpec, W: Weights, value: Mapping[str, float], X: Array, mu: Array) -> Array:
    """Unit effects: spread with the errors where their structure says so, plus what goes with the means of x."""
    if spec.error_structure == "kkp" and spec.fixed_effects == "random" and value["lam"]:
        mu = filter_solver(W.matrix, value["lam"])(mu)
    for name in spec.means:
        mean = X[:, :, spec.x.index(name)].mean(axis=0)
        mu = mu + value[f"mean_{name}"] * mean + value.get(f"mean_W_{name}", 0.0) * (W.matrix @ mean)
    return mu
