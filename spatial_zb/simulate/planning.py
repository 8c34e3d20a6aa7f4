"""What a planned study can show: bias, errors, size, power and coverage by n, T, W and the size of the effects."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeGuard

import numpy as np
import pandas as pd
from scipy import special

from spatial_zb.base.arguments import Rng, alpha_of, check_count, check_level, gathered, renamed, seed_of
from spatial_zb.base.errors import SpatialZbError, SpatialZbWarning, SpecificationError, listed_zh
from spatial_zb.base.execute import Execution, by_execution, run_tasks
from spatial_zb.base.printing import Printed
from spatial_zb.base.text import Language, Text
from spatial_zb.core import Array
from spatial_zb.core.likelihood.impacts import average_effects, multipliers, no_multipliers
from spatial_zb.core.system import average_impacts
from spatial_zb.data.panel import Panel
from spatial_zb.effects import spatial_effects
from spatial_zb.effects.system import sources_of
from spatial_zb.effects.table import EFFECTS
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.models.system import fit_system
from spatial_zb.models.system.spec import SystemSpec, system_links
from spatial_zb.simulate.single import panel as draw_panel
from spatial_zb.simulate.systems import Truth
from spatial_zb.weights.matrix import Weights

#: Fewest replications from which a share is worth printing.
FEWEST = 20
#: Headings of the table for readers.
HEADS = {
    "weights": Text("W", "权重"),
    "n": Text("n", "n"),
    "periods": Text("T", "T"),
    "case": Text("case", "情形"),
    "parameter": Text("parameter", "参数"),
    "truth": Text("truth", "真值"),
    "bias": Text("bias", "偏差"),
    "rmse": Text("RMSE", "均方根误差"),
    "power": Text("power", "检验功效"),
    "size": Text("size", "检验水平"),
    "coverage": Text("coverage", "覆盖率"),
    "converged": Text("converged", "收敛比例"),
}


@dataclass(frozen=True, eq=False, repr=False)
class PowerStudy(Printed):
    """Results of a simulation study, one row per weights, number of periods, case and parameter.

    Columns of ``frame``: weights, n, periods, case, parameter, truth; mean, bias, rmse, sd of the estimates and the median
    of their standard errors (``std_error``); ``rejects``, the share of tests of zero that reject, which is ``power``
    where the truth is not zero and ``size`` where it is; ``coverage`` of the intervals; ``converged``, the share of
    replications that the row is read from; replications.
    """

    frame: pd.DataFrame
    spec: DurbinSpec | SystemSpec
    estimator: str
    alpha: float

    def tidy(self) -> pd.DataFrame:
        """The frame, a copy; simulated data."""
        return self.frame.copy()

    def table(self, parameters: Sequence[str] | None = None, language: Language = "en") -> pd.DataFrame:
        """For reading: rounded, shares in per cent, headings in one language; some parameters or all.

        Three decimals, and more where the root mean square error would have fewer than three digits.
        """
        frame = self.frame
        if parameters is not None:
            unknown = [name for name in parameters if name not in set(frame["parameter"])]
            if unknown:
                raise SpecificationError(
                    f"The study has no parameter {unknown[0]!r}; it has {', '.join(dict.fromkeys(frame['parameter']))}.",
                    f"功效研究没有参数{unknown[0]!r}；已有{listed_zh(dict.fromkeys(frame['parameter']))}。",
                )
            frame = frame[frame["parameter"].isin(parameters)]
        out = frame[list(HEADS)].copy()
        places = [_places(value) for value in out["rmse"]]
        for name in ("bias", "rmse", "truth"):
            out[name] = [f"{v:.{p}f}" for v, p in zip(out[name], places, strict=True)]
        for name in ("power", "size", "coverage", "converged"):
            out[name] = [f"{100 * v:.1f} %" if np.isfinite(v) else "–" for v in out[name]]
        return out.rename(columns={name: words.pick(language) for name, words in HEADS.items()})

    def summary(self) -> str:
        """The table as text, for a terminal."""
        frame = self.frame
        noise = 196 * np.sqrt(self.alpha * (1 - self.alpha) / frame["replications"].min())
        head = (
            f"Simulated: {self.estimator}, {frame['replications'].min()} replications, level {100 * self.alpha:g} %; "
            f"chance moves a share of {100 * self.alpha:g} % by ± {noise:.1f} points."
        )
        return f"{head}\n\n{self.table().to_string(index=False)}"


def _places(rmse: float) -> int:
    """Decimals that leave an error three digits, at least three and at most twelve."""
    if not (np.isfinite(rmse) and rmse > 0):
        return 3
    return int(np.clip(2 - np.floor(np.log10(rmse)), 3, 12))


@dataclass(frozen=True)
class Plan:
    """What :func:`power` estimates and reads.

    Parameters
    ----------
    estimator, covariance
        Of :func:`spatial_zb.fit_durbin` (``"lee_yu"`` without it) or the method of :func:`spatial_zb.fit_system`
        (``"gs3sls"``).
    effects
        Whether direct, indirect and total effects are followed besides the coefficients.
    level
        Level of the intervals; one minus it is that of the tests.

    Examples
    --------
    >>> Plan(covariance="cluster").level
    0.95
    """

    estimator: str | None = None
    covariance: str | None = None
    effects: bool = True
    level: float = 0.95

    def with_(self, alpha: float | None = None, **more: Any) -> Plan:
        """This plan with other parts; ``alpha`` is the old name of 1 − ``level``."""
        return replace(self, **more) if alpha is None else replace(self, level=1 - alpha, **more)


@renamed(replications="replicates")
@gathered("plan", Plan.with_, "estimator", "covariance", "effects", "alpha")
@gathered(
    "truth", lambda truth, **old: _joined(truth, old), "regressors", "sigma", "unit_effects", "time_effects"
)
@by_execution
def power(
    spec: DurbinSpec | SystemSpec,
    W: Weights | Mapping[str, Weights],
    periods: int | Sequence[int],
    truth: Mapping | Truth,
    *,
    replicates: int = 500,
    plan: Plan = Plan(),
    rng: Rng = None,
    workers: int | Execution = 1,
) -> PowerStudy:
    """Simulate a study many times before its data are there, and say what it would find.

    Parameters
    ----------
    spec
        What would be estimated: a single equation or a system.
    W
        Weights of the units, or several by name: n is theirs.
    periods
        T, or several.
    truth
        True values, as in :func:`spatial_zb.simulate.single.panel`, or a :class:`Truth`; or several of these by
        name, such as ``{"weak": {...}, "strong": {...}}``. The same random numbers serve all cases.
    replicates
        Panels for each setting, at least 20.
    plan
        Estimator and covariance, whether effects are followed, and the level of the tests.
    rng
        Seed; the numbers do not depend on ``workers``.
    workers
        Processes, or an :class:`spatial_zb.Execution`.

    Raises
    ------
    SpecificationError
        No weights, periods or truth, too few replicates, or a truth that the model has not.
    """
    check_level(plan.level)
    alpha = alpha_of(plan.level)
    weights = {W.label: W} if isinstance(W, Weights) else dict(W)
    spans = (periods,) if isinstance(periods, int | np.integer) else tuple(periods)
    named = truth if _several(truth) else {"": truth}
    cases = {name: Truth.of(one) if isinstance(one, Mapping) else one for name, one in named.items()}
    _check(weights, spans, cases, replicates)
    setting = _Setting(spec, weights, cases, plan, _entropy(rng))
    tasks = [(w, T, case, r) for w in weights for T in spans for case in cases for r in range(replicates)]
    found = run_tasks(partial(_replicate, setting), tasks, workers=workers)
    rows = []
    for first in range(0, len(tasks), replicates):
        w, T, case, _ = tasks[first]
        head = {"weights": w, "n": weights[w].n, "periods": T, "case": case}
        true = _truths(spec, weights[w], cases[case].values, plan.effects)
        rows += _rows(head, true, found[first : first + replicates], alpha)
    return PowerStudy(pd.DataFrame(rows), spec, _estimator(setting), alpha)


@dataclass(frozen=True, slots=True)
class _Setting:
    """Everything a replication needs besides its place."""

    spec: DurbinSpec | SystemSpec
    weights: Mapping[str, Weights]
    cases: Mapping[str, Truth]
    plan: Plan
    entropy: tuple[int, ...]


def _joined(truth: Mapping | Truth, old: Mapping[str, Any]) -> Mapping | Truth:
    """One truth, or each of several, with what was given beside it."""
    if not isinstance(truth, Truth) and _several(truth):
        return {name: Truth.of(one, **old) for name, one in truth.items()}
    return Truth.of(truth, **old)


def _several(truth: Mapping | Truth) -> TypeGuard[Mapping[str, Mapping | Truth]]:
    if isinstance(truth, Truth) or not truth:
        return False
    return all(isinstance(value, Mapping | Truth) for value in truth.values())


def _entropy(rng: Rng) -> tuple[int, ...]:
    """Whole numbers that name the stream of a seed."""
    root = seed_of(rng)
    return tuple(int(word) for word in root.generate_state(4))


def _check(
    weights: Mapping[str, Weights],
    spans: Sequence[int],
    cases: Mapping[str, Any],
    replicates: int,
) -> None:
    if not weights or not spans:
        raise SpecificationError(
            "A power study needs at least one W and one number of periods.",
            "功效研究至少需要一个W和一个时期数。",
        )
    check_count(replicates, "replicates", FEWEST)
    for T in spans:
        check_count(T, "periods", 1)
    if not all(isinstance(case, Truth) and isinstance(case.values, Mapping) for case in cases.values()):
        raise SpecificationError(
            "truth must be a mapping of true values, or several such mappings by name.",
            "truth须为真值的映射，或按名称给出的几个映射。",
        )
    given = any(case.regressors is not None for case in cases.values())
    if given and (len(weights) > 1 or len(spans) > 1):
        raise SpecificationError(
            "With given regressors n and T are theirs: name one W and one number of periods.",
            "给出解释变量时n和T随之确定：请给一个W和一个时期数。",
        )


def _estimator(setting: _Setting) -> Any:
    default = "gs3sls" if isinstance(setting.spec, SystemSpec) else "lee_yu"
    return setting.plan.estimator or default


def _replicate(setting: _Setting, task: tuple[str, int, str, int]) -> dict[str, Array]:
    """(estimate, standard error) by parameter from one panel; nothing where the estimator has no maximum."""
    w, T, case, r = task
    W = setting.weights[w]
    place = list(setting.weights).index(w)
    rng = np.random.default_rng([*setting.entropy, place, T, r])  # not the case: common random numbers
    panel = draw_panel(setting.spec, W, T, setting.cases[case], rng=rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        fit = _fit(setting, panel, W)
        if not fit.converged:
            return {}
        errors = fit.bse
        found = {_name(key): np.array([value, errors[key]]) for key, value in fit.params.items()}
        if setting.plan.effects:
            found |= _effects(fit)
    return found


def _fit(setting: _Setting, panel: Panel, W: Weights) -> Any:
    options: dict[str, Any] = (
        {} if setting.plan.covariance is None else {"covariance": setting.plan.covariance}
    )
    if isinstance(setting.spec, SystemSpec):
        return fit_system(setting.spec, panel, W, method=_estimator(setting), **options)
    return fit_durbin(setting.spec, panel, W, _estimator(setting), **options)


def _name(key: str | tuple[str, str]) -> str:
    return key if isinstance(key, str) else ": ".join(key)


def _effects(fit: Any) -> dict[str, Array]:
    """Effects by name; an unstable system has none."""
    try:
        frame = spatial_effects(fit).tidy()
    except SpatialZbError:
        return {}
    heads = [c for c in frame.columns if c in ("response", "source", "term", "effect")]
    return {
        _effect_name(*row[heads]): np.array([row["estimate"], row["std_error"]])
        for _, row in frame.iterrows()
        if row["std_error"] > 0
    }


def _effect_name(*words: str) -> str:
    """``"x direct"``, ``"talent ← x direct"``."""
    *where, effect = words
    return f"{' ← '.join(where)} {effect}"


def _truths(spec: DurbinSpec | SystemSpec, W: Weights, truth: Mapping, effects: bool) -> dict[str, float]:
    """True value by parameter."""
    if isinstance(spec, SystemSpec):
        return _system_truths(spec, W, truth, effects)
    names = (*spec.terms, *spec.spatial_terms, *spec.time_terms, "sigma2")
    out = {name: float(truth.get(name, 1.0 if name == "sigma2" else 0.0)) for name in names}
    if spec.fixed_effects == "random":
        out["phi"] = float(truth.get("phi", 1.0))
    if not effects:
        return out
    beta = np.array([out[name] for name in spec.x])
    theta = np.array([out.get(f"W_{name}", 0.0) for name in spec.x])
    rho = out.get("rho", 0.0)
    factors = (
        multipliers(rho, W.matrix, W.logdet, W.row_normalised) if spec.lag_y else no_multipliers(W.matrix)
    )
    values = average_effects(beta, theta, factors)[0]
    return out | {
        _effect_name(name, effect): float(values[k, e])
        for k, name in enumerate(spec.x)
        for e, effect in enumerate(EFFECTS)
    }


def _system_truths(spec: SystemSpec, W: Weights, truth: Mapping, effects: bool) -> dict[str, float]:
    keys = [
        (name, term)
        for name in spec.names
        for term in (*spec.terms(name), *(("lam",) if spec.equations[name].lag_error else ()))
    ]
    out = {_name(key): float(truth.get(key, 0.0)) for key in keys}
    if not effects:
        return out
    delta = np.array([out[_name(key)] for key in keys if key[1] != "lam"])
    names, sources = sources_of(spec)
    values = average_impacts(
        delta, system_links(spec), sources, np.linalg.eigvals(W.matrix.toarray()), W.matrix, W.row_normalised
    )
    direct, total = values[..., 0], values[..., 1]
    three = np.stack([direct, total - direct, total], axis=-1)
    return out | {
        _effect_name(response, source, effect): float(three[g, k, e])
        for g, response in enumerate(spec.names)
        for k, source in enumerate(names)
        for e, effect in enumerate(EFFECTS)
    }


def _rows(
    head: Mapping[str, Any], true: Mapping[str, float], found: Sequence[Mapping[str, Array]], alpha: float
) -> list[dict[str, Any]]:
    """One row per parameter of one setting."""
    critical, rows = special.ndtri(1 - alpha / 2), []
    for name, value in true.items():
        pairs = np.array([one[name] for one in found if name in one]).reshape(-1, 2)
        estimate, error = pairs.T
        off = estimate - value
        with np.errstate(invalid="ignore", divide="ignore"):
            rejects = _mean(np.abs(estimate / error) > critical)
        tested = name not in ("sigma2", "phi")
        rows.append(
            dict(head)
            | {
                "parameter": name,
                "truth": value,
                "mean": _mean(estimate),
                "bias": _mean(off),
                "rmse": np.sqrt(_mean(off**2)),
                "sd": estimate.std(ddof=1) if len(estimate) > 1 else np.nan,
                "std_error": np.median(error) if len(error) else np.nan,
                "rejects": rejects if tested else np.nan,
                "power": rejects if tested and value else np.nan,
                "size": rejects if tested and not value else np.nan,
                "coverage": _mean(np.abs(off) <= critical * error),
                "converged": len(pairs) / len(found),
                "replications": len(found),
            }
        )
    return rows


def _mean(values: Array) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
