"""Joint test of a specification curve: could all of it come about if x had no effect at all?

What x and its spatial lag do is taken out of y by the estimates of every cell; the residuals keep their size, but the
signs of whole units (or periods) are flipped at random, which makes a new y in which x has no effect; the cell is
estimated on it. Signs are shared by all cells of a replicate, so that the curve moves as one. Simonsohn, Simmons & Nelson
(2020), Nature Human Behaviour 4: 1208-1214, who draw rows again; the flips keep what is correlated within a unit, as in
Cameron, Gelbach & Miller (2008), Review of Economics and Statistics 90: 414-427.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import product
from typing import Any, Literal, ParamSpec, get_args

import numpy as np
import pandas as pd

from spatial_zb.base.arguments import Rng, renamed, seed_of
from spatial_zb.base.errors import (
    ConvergenceError,
    SpatialZbError,
    SpatialZbWarning,
    SpecificationError,
    listed,
    listed_zh,
    not_one_of,
)
from spatial_zb.base.execute import Execution, by_execution, run_tasks
from spatial_zb.base.notes import warn_old
from spatial_zb.base.printing import Printed
from spatial_zb.base.threads import one_thread
from spatial_zb.compare.battery import estimate_of
from spatial_zb.compare.grid import Choices, estimator_ways, named_specs, sample_of, weights_of
from spatial_zb.core import Array
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.core.transforms import demean, spatial_lag
from spatial_zb.data.panel import Panel
from spatial_zb.effects.table import EFFECTS
from spatial_zb.inference.bootstrap.static import ShapeSource
from spatial_zb.models.certainty import evaluated, likelihood_covariance
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.fit import Fit
from spatial_zb.models.ml import assembled, likelihood_maximum
from spatial_zb.models.shape import ShapeDesign
from spatial_zb.models.spec import Covariance, DurbinSpec, Estimator
from spatial_zb.weights.matrix import Weights
from spatial_zb.weights.periods import PeriodWeights, any_weights

Scheme = Literal["unit", "period"]
P = ParamSpec("P")

#: The three statistics of a curve.
STATISTICS = ("median", "significant", "dominant_sign")


@dataclass(frozen=True, eq=False, repr=False)
class CurveTest(Printed):
    """A specification curve against curves under no effect.

    Attributes
    ----------
    curve
        The cells as observed: their choices, ``estimate``, ``p_value`` and ``reason``.
    observed
        ``median`` of the estimates; ``significant``: share that is significant with the sign that most have;
        ``dominant_sign``: share with that sign.
    draws
        The same of every replicate, a row each.
    term, effect, alpha, scheme
        As asked; ``effect`` is blank for a coefficient.
    failed
        Estimates of cells in replicates that could not be made; they are left out of their curve.
    """

    curve: pd.DataFrame
    observed: pd.Series
    draws: pd.DataFrame
    term: str
    effect: str
    alpha: float
    scheme: str
    failed: int

    def tidy(self) -> pd.DataFrame:
        """One row per statistic: ``observed``, ``null_mean`` and ``null_95`` of the replicates, ``p_value``.

        p is the share of curves, the observed one included, that are at least as far out; the median is compared by
        its size, whatever its sign. A replicate of which no cell could be estimated counts as far out.
        """
        rows = []
        for name in STATISTICS:
            null, seen = self.draws[name].abs().to_numpy(), abs(self.observed[name])
            beyond = np.sum(~(null < seen * (1 - 1e-12)))
            rows.append(
                (
                    name,
                    self.observed[name],
                    np.mean(null[~np.isnan(null)]),
                    np.quantile(null[~np.isnan(null)], 0.95),
                    (1 + beyond) / (1 + len(null)),
                )
            )
        return pd.DataFrame(rows, columns=["statistic", "observed", "null_mean", "null_95", "p_value"])

    def glance(self) -> pd.DataFrame:
        """The test in one row."""
        p = self.tidy().set_index("statistic")["p_value"].add_prefix("p_")
        facts = {"term": self.term, "effect": self.effect, "cells": int((self.curve["reason"] == "").sum())}
        facts |= {"replicates": len(self.draws), "scheme": self.scheme, "failed": self.failed}
        return pd.DataFrame([facts | self.observed.to_dict() | p.to_dict()])


@dataclass(frozen=True)
class _Cell:
    """One cell as observed (``fit``), and what y is made of: ``mean`` without x, ``residuals`` (both (T, n)), ρ, λ."""

    fit: Fit
    term: str
    mean: Array
    residuals: Array
    rho: float
    lam: float

    def under_null(self, signs: Array) -> Fit:
        """Estimate the cell on y* = (I − ρW)⁻¹[mean + (I − λW)⁻¹(signs · ε)]; effects need not be added to it."""
        if isinstance(self.fit.design, ShapeDesign):
            return self._on_rows(self.fit.design, signs)
        W, errors = self.fit.weights.matrix, (self.residuals * signs).T
        errors = filter_solver(W, self.lam)(errors) if self.lam else errors
        y = self.mean.T + errors
        y = filter_solver(W, self.rho)(y) if self.rho else y
        if self.fit.estimator in ("lee_yu", "direct"):
            return _refitted(self.fit, y.T)
        panel = self.fit.panel.with_columns({self.fit.spec.y: y.T})
        return fit_durbin(
            self.fit.spec, panel, self.fit.weights, self.fit.estimator_asked, self.fit.covariance
        )

    def _on_rows(self, design: ShapeDesign, signs: Array) -> Fit:
        """The same where units come and go or W changes: the effects stay in it, since W need not keep them apart."""
        source, there = ShapeSource(self.fit, design), design.present
        own = self.fit.params[list(self.fit.spec.terms)].to_numpy().copy()
        own[[name not in (self.term, f"W_{self.term}") for name in self.fit.spec.terms]] = 0.0
        errors = source.spread((self.residuals * signs)[there])
        return source.estimate(source.solve(source.mean - design.shape.Z @ own + errors))


def _by_choices(function: Callable[P, CurveTest]) -> Callable[P, CurveTest]:
    """Take the parts of :class:`Choices` one by one, as the last release did."""
    names = [part.name for part in fields(Choices)]

    @functools.wraps(function)
    def called(*args: Any, **given: Any) -> CurveTest:
        if not (given.keys() & set(names) or (args and isinstance(args[0], Panel))):
            return function(*args, **given)
        warn_old(
            "curve_test(panel, specs, weights, …) is now curve_test(Choices(panel, specs, weights, …), term).",
        )
        parts: dict[str, Any] = {name: given.pop(name) for name in names if name in given}
        given["choices"] = Choices(*args, **parts)
        named: Callable[..., CurveTest] = function
        return named(**given)

    return called


@_by_choices
@renamed(level="alpha")
@by_execution
@one_thread
def curve_test(
    choices: Choices,
    term: str,
    effect: str | None = None,
    *,
    replicates: int = 499,
    scheme: Scheme = "unit",
    alpha: float = 0.05,
    rng: Rng = None,
    workers: int | Execution = 1,
) -> CurveTest:
    """Test a whole specification curve at once, against curves of panels in which x has no effect.

    Parameters
    ----------
    choices
        Panel, specifications, weights, samples, estimators and covariances. With a :func:`spec_family` that exchanges
        the term for other measures, these are followed in its place. Cells without the term take no part.
    term, effect
        A regressor, and ``"direct"``, ``"indirect"`` or ``"total"``; without ``effect`` its coefficient. The null is
        that neither it nor its spatial lag matters.
    replicates
        Panels drawn under the null; at least 19.
    scheme
        What keeps its residuals together while signs are flipped: a ``"unit"`` (errors correlated over time), or a
        ``"period"`` (errors correlated between units).
    alpha
        Of the significance that is counted.
    rng
        Seed.
    workers
        Processes for the replicates, or an :class:`spatial_zb.Execution`; numbers do not depend on it.

    Raises
    ------
    SpecificationError
        No cell has the term, or an option that is not known.
    SpatialZbError
        When no cell can be estimated: the reason of the first.
    """
    _check(effect, replicates, scheme, alpha)
    cells, curve = _cells(choices, term, effect)
    flipped = choices.panel.units if scheme == "unit" else choices.panel.periods
    signs_of = tuple(sorted(map(str, flipped)))  # draws go by id, not by the order of units
    work = partial(_replicate, tuple(cells), signs_of, scheme, effect, alpha)
    drawn = run_tasks(work, list(range(replicates)), workers=workers, seed=seed_of(rng))
    draws = pd.DataFrame([d[:-1] for d in drawn], columns=list(STATISTICS))
    done = curve[curve["reason"] == ""]
    observed = pd.Series(
        _statistics(done["estimate"].to_numpy(), done["p_value"].to_numpy(), alpha), index=list(STATISTICS)
    )
    failed = int(sum(d[-1] for d in drawn))
    return CurveTest(curve, observed, draws, term, effect or "", alpha, scheme, failed)


def _check(effect: str | None, replicates: int, scheme: str, alpha: float) -> None:
    if effect is not None and effect not in EFFECTS:
        raise not_one_of("effect", effect, EFFECTS)
    if scheme not in get_args(Scheme):
        raise not_one_of("scheme", scheme, get_args(Scheme))
    if not isinstance(replicates, int) or replicates < 19:
        raise SpecificationError(
            f"replicates must be at least 19 for a test at 5 %, not {replicates!r}.",
            f"在5%水平检验，replicates至少为19，而不是{replicates!r}。",
        )
    if not 0 < alpha < 1:
        raise SpecificationError(
            f"alpha must lie between 0 and 1, not {alpha!r}.", f"alpha须在0与1之间，而不是{alpha!r}。"
        )


def _cells(choices: Choices, term: str, effect: str | None) -> tuple[list[_Cell], pd.DataFrame]:
    """The cells that have the term and can be estimated, and the curve as observed."""
    panel, specs = choices.panel, choices.specs
    roles = getattr(specs, "roles", {})
    named = {
        name: (spec, own)
        for name, spec in named_specs(specs).items()
        for own in spec.x
        if roles.get(own, own) == term
    }
    if not named:
        raise SpecificationError(f"No specification has {term!r} among its x.", f"没有设定的x中含{term!r}。")
    strange = [name for name, (spec, _) in named.items() if _unlike(spec)]
    if strange:
        raise SpecificationError(
            "The joint test of the curve cannot simulate models with random effects, regimes, endogenous regressors or lags "
            f"in time: {listed(strange)}. Leave them out of the curve.",
            f"曲线的联合检验无法模拟含随机效应、分区制、内生解释变量或时间滞后的模型：{listed_zh(strange)}。请不要列入设定曲线。",
        )
    everywhere = {name: any_weights(W, label=name).align(panel.units) for name, W in choices.weights.items()}
    samples = choices.samples or {"all": {}}
    parts = {name: sample_of(panel, name, choice) for name, choice in samples.items()}
    ways = estimator_ways(choices.estimators, choices.covariances)
    cells: list[_Cell] = []
    rows: list[dict[str, Any]] = []
    refused: SpatialZbError | None = None
    for (sample, part), (W, whole) in product(parts.items(), everywhere.items()):
        for (name, (spec, own)), (e, c) in product(named.items(), ways):
            words = {
                "spec": name,
                "weights": W,
                "sample": sample,
                "estimator": e,
                "covariance": c,
                "term": own,
            }
            row = {"estimate": np.nan, "p_value": np.nan, "reason": ""}
            try:
                cell = _cell(spec, part, weights_of(whole, part.units), e, c, own)
                found, why = estimate_of(cell.fit, own, effect)
                if np.isnan(found[0]):
                    raise ConvergenceError(f"{why.en}.", f"{why.zh}。")
                row |= {"estimate": found[0], "p_value": found[2]}
                cells.append(cell)
            except SpatialZbError as error:
                row["reason"], refused = str(error), error
            rows.append(words | row)
    if not cells and refused is not None:
        raise SpecificationError(f"No cell can be estimated: {refused}", f"没有设定可以估计：{refused.zh}")
    return cells, pd.DataFrame(rows)


def _unlike(spec: DurbinSpec) -> bool:
    return bool(spec.fixed_effects == "random" or spec.endog or spec.dynamic or spec.regimes)


def _cell(
    spec: DurbinSpec,
    panel: Panel,
    W: Weights | PeriodWeights,
    estimator: Estimator,
    covariance: Covariance,
    term: str,
) -> _Cell:
    """Estimate a cell, and take out of its y what x and its lag do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        fit = fit_durbin(spec, panel, W, estimator, covariance)
    if not fit.converged:
        raise SpecificationError("The likelihood has no interior maximum.", "似然函数没有内部最大值。")
    T, n = fit.residuals.shape
    others = fit.params[list(spec.terms)].copy()
    others[[name for name in (term, f"W_{term}") if name in others.index]] = 0.0
    count = len(fit.design.values) if isinstance(fit.design, ShapeDesign) else T * n
    return _Cell(
        fit,
        term,
        fit.design.Z @ others.to_numpy(),
        fit.residuals * np.sqrt(count / fit.nobs),
        float(fit.params.get("rho", 0.0)),
        float(fit.params.get("lam", 0.0)),
    )


def _refitted(fit: Fit, y: Array) -> Fit:
    """Estimate a maximum-likelihood fit again on another y (T, n), repeating only the checks that depend on y."""
    design, effects, W = fit.design, fit.spec.transform, fit.weights.matrix
    Wy = spatial_lag(W, y)
    WWy = None if design.WZ is None else demean(spatial_lag(W, Wy), effects)
    design = replace(design, y=demean(y, effects), Wy=demean(Wy, effects), WWy=WWy)
    sample = design.sample(fit.estimator)
    at = evaluated(design, fit.estimator_asked, likelihood_maximum(design, sample), sample)
    return assembled(
        at, fit.covariance, likelihood_covariance(at, fit.covariance, kernel=fit.convergence.kernel)
    )


def _replicate(
    cells: tuple[_Cell, ...],
    ids: tuple[str, ...],
    scheme: str,
    effect: str | None,
    alpha: float,
    number: int,
    seed: np.random.SeedSequence,
) -> tuple[float, float, float, int]:
    """The three statistics of one curve under the null, and how many cells failed."""
    drawn = pd.Series(np.random.default_rng(seed).choice([-1.0, 1.0], len(ids)), index=list(ids))
    found = []
    for cell in cells:
        labels = cell.fit.panel.units if scheme == "unit" else cell.fit.panel.periods
        signs = drawn[[str(label) for label in labels]].to_numpy()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SpatialZbWarning)
                fit = cell.under_null(signs if scheme == "unit" else signs[:, None])
                numbers, _ = estimate_of(fit, cell.term, effect)
        except SpatialZbError:
            continue
        if np.isfinite(numbers[0]):
            found.append((numbers[0], numbers[2]))
    if not found:
        return np.nan, np.nan, np.nan, len(cells)
    estimate, p_value = np.array(found).T
    return *_statistics(estimate, p_value, alpha), len(cells) - len(found)


def _statistics(estimate: Array, p_value: Array, alpha: float) -> tuple[float, float, float]:
    """Median; share significant with the dominant sign; share of that sign. A missing p-value is not significant."""
    positive = (estimate > 0).mean()
    sign = 1.0 if positive >= 0.5 else -1.0
    own = sign * estimate > 0
    return float(np.median(estimate)), float((own & (p_value < alpha)).mean()), float(own.mean())
