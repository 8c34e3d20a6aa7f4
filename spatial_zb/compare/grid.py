"""Specification × weights × sample × period × estimator × covariance: every cell a fit, every failure a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from spatial_zb.base.arguments import renamed
from spatial_zb.base.errors import SpatialZbError, SpecificationError, listed, listed_zh
from spatial_zb.base.execute import Execution, by_execution, run_tasks
from spatial_zb.base.printing import Drawn, Printed
from spatial_zb.base.threads import one_thread
from spatial_zb.compare.cells import Block, fit_block, shares_moments
from spatial_zb.compare.family import SpecFamily
from spatial_zb.compare.moments import Option
from spatial_zb.data.panel import Panel
from spatial_zb.models.design import check_kinds
from spatial_zb.models.spec import COVARIANCES, Covariance, DurbinSpec, Estimator
from spatial_zb.weights.matrix import Weights
from spatial_zb.weights.periods import PeriodWeights, any_weights, of_units

#: Seconds of work below which no other process is started; seconds of a cell, and of a row of one that is fitted alone.
START, A_FIT, A_ROW = 5.0, 2e-3, 1e-6
#: Columns that say which cell a row is, in every grid; families and periods add theirs.
CHOICES = ("spec", "weights", "sample", "estimator", "covariance")
#: So many cells that are fitted one by one make a task.
SINGLE_CELLS = 8


@dataclass(frozen=True, eq=False, repr=False)
class Grid(Drawn, Printed):
    """All cells of a grid.

    Attributes
    ----------
    cells
        One row per cell: the choices, what ``Fit.glance()`` says, ``notes`` (warnings) and ``reason`` (why a
        cell has no result; empty otherwise).
    estimates, effects
        One row per cell and term, and per cell, term and effect, with the choices in front. ``role`` is the term, or,
        for a variable that stands in for another one (``x_swaps`` of :func:`spec_family`), that of the other one.
    choices
        Names of the columns that are choices.
    """

    pictures = ("curve",)

    cells: pd.DataFrame
    estimates: pd.DataFrame
    effects: pd.DataFrame
    choices: tuple[str, ...] = CHOICES

    def _body(self) -> pd.DataFrame:
        return self.glance()

    def glance(self) -> pd.DataFrame:
        """One row per cell."""
        return self.cells.copy()

    def tidy(self) -> pd.DataFrame:
        """One row per cell and term; failed cells have one row without a term, and their reason."""
        failed = self.cells.loc[self.cells["reason"] != "", [*self.choices, "reason"]]
        return pd.concat([self.estimates, failed], ignore_index=True)

    def table(self) -> pd.DataFrame:
        """One row per cell with the choices, the facts, and the estimates and effects of every term as columns.

        Columns are ``<term>``, ``<term>:std_error``, ``<term>:p_value`` and ``<term>:<effect>`` with the same
        endings.
        """
        wide = [self.cells.set_index(list(self.choices))]
        if len(self.estimates):
            wide.append(self._spread(self.estimates, self.estimates["term"]))
        if len(self.effects):
            names = self.effects["term"] + ":" + self.effects["effect"]
            wide.append(self._spread(self.effects, names))
        return pd.concat(wide, axis=1).reset_index()

    @renamed(level="alpha")
    def shares(self, term: str, effect: str | None = None, alpha: float = 0.05) -> pd.Series:
        """How one coefficient, or one effect, fares over the cells that have it, or a variable in its role.

        Cells whose effect is blank, because it has no bound or the fit did not converge, are not counted.

        Returns
        -------
        Series with ``cells``, ``positive``, ``significant`` and ``significant_positive`` (shares), ``median``,
        ``lowest``, ``highest``.

        Raises
        ------
        SpecificationError
            No cell has it.
        """
        frame = self.estimates if effect is None else self.effects[self.effects["effect"] == effect]
        rows = frame[(frame["term"] == term) | (frame["role"] == term)]
        if rows.empty:
            raise SpecificationError(
                f"No cell has an estimate of {term!r}; terms are {listed(frame['term'].unique())}.",
                f"没有设定含{term!r}的估计值；变量有{listed_zh(frame['term'].unique())}。",
            )
        rows = rows[rows["estimate"].notna()]
        positive, significant = rows["estimate"] > 0, rows["p_value"] < alpha
        return pd.Series(
            {
                "cells": len(rows),
                "positive": positive.mean(),
                "significant": significant.mean(),
                "significant_positive": (positive & significant).mean(),
                "median": rows["estimate"].median(),
                "lowest": rows["estimate"].min(),
                "highest": rows["estimate"].max(),
            }
        )

    def _spread(self, frame: pd.DataFrame, names: pd.Series) -> pd.DataFrame:
        """Long → wide: a column for every name, and its error and p-value."""
        parts = []
        for column, ending in (("estimate", ""), ("std_error", ":std_error"), ("p_value", ":p_value")):
            named = frame.assign(_name=names + ending)
            pivot = named.pivot(index=list(self.choices), columns="_name", values=column)
            parts.append(pivot.rename_axis(columns=None))
        return pd.concat(parts, axis=1)


@dataclass(frozen=True)
class Choices:
    """What a specification curve runs over; the parts are those of :func:`specification_grid`."""

    panel: Panel
    specs: Sequence[DurbinSpec] | Mapping[str, DurbinSpec]
    weights: Mapping[str, Any]
    samples: Mapping[str, Any] | None = None
    estimators: Sequence[Estimator] = ("lee_yu",)
    covariances: Sequence[Covariance] = ("information",)


@by_execution
@one_thread
def specification_grid(
    panel: Panel,
    specs: Sequence[DurbinSpec] | Mapping[str, DurbinSpec],
    weights: Mapping[str, Any],
    samples: Mapping[str, Any] | None = None,
    *,
    periods: Mapping[str, Sequence[int]] | None = None,
    estimators: Sequence[Estimator] = ("lee_yu",),
    covariances: Sequence[Covariance] = ("information",),
    workers: int | Execution = 1,
) -> Grid:
    """Fit every combination; a cell that cannot be fitted is a row with its reason.

    Parameters
    ----------
    panel
        The panel that holds all units, periods and variables.
    specs
        Specifications, by name or in a list (then named "1 SDM two_way", …), or a :func:`spec_family`, whose choices
        become columns.
    weights
        Weights by name, of all units of the panel, one or by period. A sample of fewer units uses the rows and columns of
        its units, normalised again in the same way; a unit left without neighbours is said in the cell.
    samples
        By name: a list of unit ids, or a mapping with ``units`` and/or ``periods``; all units and periods
        under the name "all" without it.
    periods
        Sub-periods by name, as lists of periods: a further choice (column ``period``).
    estimators, covariances
        As :func:`fit_durbin` takes them. ``robust_score`` has clustered errors, whatever is asked of the others.
    workers
        Processes, or an :class:`spatial_zb.Execution`; numbers do not depend on it. A task is one W with all cells that
        share their work, or a few cells that are fitted one by one. Work of a few seconds is done in this process, since
        others would take as long to start.

    Raises
    ------
    SpecificationError
        Nothing to combine, an argument that is not a specification or not given by name, or an invalid sample.
    AlignmentError
        Weights that do not belong to the panel, or a sample with unknown units or periods.
    OutputError
        A store that cannot be written.

    Notes
    -----
    Log-determinants are computed once per W and set of units. Maximum likelihood of OLS, SLX, SAR, SDM, SEM and SDEM with
    fixed effects and the covariances ``"information"`` and ``"hessian"`` is computed from moments that all cells of one
    W, sample and kind of effects share (:mod:`spatial_zb.compare.moments`); the numbers are those of single fits.
    """
    named = named_specs(specs)
    for spec in named.values():
        check_kinds(spec, DurbinSpec, panel)
    for argument, given in (("weights", weights), ("samples", samples), ("periods", periods)):
        _check_named(argument, given)
    if not named or not weights:
        raise SpecificationError(
            "A grid needs at least one specification and one weights matrix.",
            "网格至少需要一个设定和一个权重矩阵。",
        )
    everywhere = {name: any_weights(W, label=name).align(panel.units) for name, W in weights.items()}
    parts = _parts(panel, samples or {"all": {}}, periods)
    ways = estimator_ways(estimators, covariances)
    options = [Option(spec, e, c) for spec, (e, c) in product(named.values(), ways)]
    labels = [(name, e, c) for name, (e, c) in product(named, ways)]
    places = list(product(parts, everywhere))
    keys = [(spec, name, *where, e, c) for where, name in places for spec, e, c in labels]
    first = {place: i * len(options) for i, place in enumerate(places)}
    tasks, cells = [], []
    refused: dict[int, str] = {}
    for name, W in everywhere.items():
        for group in _same_units(parts):
            begin = {where: first[where, name] for where in group}
            try:
                own = weights_of(W, next(iter(group.values())).units)
            except SpatialZbError as error:
                lost = [start + i for start in begin.values() for i in range(len(options))]
                refused |= dict.fromkeys(lost, str(error))
                continue
            for which, chosen, block in _blocks(group, own, options):
                tasks.append(block)
                cells.append(np.array([begin[where] + i for where in which for i in chosen]))
    results = run_tasks(fit_block, tasks, workers=_worth(Execution.of(workers), tasks))
    return _assemble(_choices(keys, periods is not None, specs), cells, results, refused, specs)


def weights_of(W: Weights | PeriodWeights, units: pd.Index) -> Weights | PeriodWeights:
    """W of the units of a sample."""
    return W.subset(units) if isinstance(W, Weights) else of_units(W, units)


def _worth(how: Execution, tasks: Sequence[Block]) -> Execution:
    """Processes of this machine only where the work is more than their start: each loads the package and makes its own W."""
    seconds = sum(
        len(task.options)
        * sum(A_FIT + (not task.shared) * A_ROW * part.values[..., 0].size for part in task.panels)
        for task in tasks
    )
    return how if how.scheduler is not None or seconds > START else replace(how, workers=1)


def estimator_ways(
    estimators: Sequence[Estimator], covariances: Sequence[Covariance]
) -> list[tuple[Estimator, Covariance]]:
    """Every estimator with every covariance; the robust score once, with its own."""
    own: dict[str, Sequence[Covariance]] = {"robust_score": COVARIANCES["robust_score"][:1]}
    return [(e, c) for e in estimators for c in own.get(e, covariances)]


def named_specs(specs: Sequence[DurbinSpec] | Mapping[str, DurbinSpec]) -> dict[str, DurbinSpec]:
    """The specifications by name; those of a list by their place, family and effects."""
    if isinstance(specs, Mapping):
        return dict(specs)
    if isinstance(specs, str) or not isinstance(specs, Iterable):
        raise SpecificationError(
            f"specs must be a list of DurbinSpec, or one by name, not {specs!r}.",
            f"specs须为DurbinSpec的列表，或按名称给出，而不是{specs!r}。",
        )
    return {
        f"{i} {spec.family} {spec.fixed_effects}" if isinstance(spec, DurbinSpec) else f"{i}": spec
        for i, spec in enumerate(specs, 1)
    }


def _check_named(argument: str, given: Any) -> None:
    if given is not None and not isinstance(given, Mapping):
        raise SpecificationError(
            f'{argument} must be given by name, {{"name": …}}, not as {type(given).__name__}.',
            f'{argument}须按名称给出，即{{"name": …}}，而不是{type(given).__name__}。',
        )


def _parts(
    panel: Panel, samples: Mapping[str, Any], periods: Mapping[str, Sequence[int]] | None
) -> dict[tuple[str, ...], Panel]:
    """Panels by sample, or by sample and period."""
    picked: dict[tuple[str, ...], Panel] = {
        (name,): sample_of(panel, name, choice) for name, choice in samples.items()
    }
    if periods is None:
        return picked
    twice = [name for name, choice in samples.items() if isinstance(choice, Mapping) and "periods" in choice]
    if twice:
        raise SpecificationError(
            f"Samples {listed(twice)} have periods of their own: leave these out, or the periods of the grid.",
            f"样本{listed_zh(twice)}自有时期：请去掉这些时期，或网格的时期。",
        )
    return {
        (*name, period): part.select(periods=list(chosen))
        for (name, part), (period, chosen) in product(picked.items(), periods.items())
    }


def sample_of(panel: Panel, name: str, choice: Any) -> Panel:
    """The units and periods of one sample: ``{units, periods}``, or units alone."""
    if not isinstance(choice, Mapping):
        choice = {"units": choice}
    unknown = set(choice) - {"units", "periods"}
    if unknown:
        raise SpecificationError(
            f"Sample {name!r} may have units and periods, not {listed(sorted(unknown))}.",
            f"样本{name!r}可有units和periods，而不是{listed_zh(sorted(unknown))}。",
        )
    return panel.select(units=choice.get("units"), periods=choice.get("periods"))


def _same_units(parts: Mapping[tuple[str, ...], Panel]) -> list[dict[tuple[str, ...], Panel]]:
    """Parts of the panel that have the same units and so the same W, together."""
    groups: dict[tuple[str, ...], dict[tuple[str, ...], Panel]] = {}
    for where, part in parts.items():
        groups.setdefault(tuple(part.units), {})[where] = part
    return list(groups.values())


def _blocks(
    group: Mapping[tuple[str, ...], Panel], weights: Weights | PeriodWeights, options: list[Option]
) -> list[tuple[list[tuple[str, ...]], list[int], Block]]:
    """Tasks of one W: all cells that share moments, and the others a few at a time; with their parts and options.

    The division does not depend on the number of workers, so that neither do the numbers.
    """
    shortest = min(len(part.periods) for part in group.values())
    shared = [i for i, option in enumerate(options) if shares_moments(option, weights, shortest)]
    alone = sorted(set(range(len(options))) - set(shared))
    out = []
    if shared:
        block = Block(tuple(group.values()), weights, tuple(options[i] for i in shared), True)
        out.append((list(group), shared, block))
    for (where, part), k in product(group.items(), range(0, len(alone), SINGLE_CELLS)):
        some = alone[k : k + SINGLE_CELLS]
        out.append(([where], some, Block((part,), weights, tuple(options[i] for i in some), False)))
    return out


def _choices(keys: list[tuple[str, ...]], timed: bool, specs: Any) -> pd.DataFrame:
    """One row per cell: its choices."""
    columns = ["spec", "weights", "sample", *(["period"] if timed else []), "estimator", "covariance"]
    frame = pd.DataFrame(keys, columns=columns)
    if isinstance(specs, SpecFamily):
        varied = specs.choices.loc[frame["spec"]].reset_index(drop=True)
        frame = pd.concat([frame[["spec"]], varied, frame.drop(columns="spec")], axis=1)
    return frame


def _assemble(
    choices: pd.DataFrame,
    cells: list[np.ndarray],
    results: list[dict[str, pd.DataFrame]],
    refused: Mapping[int, str],
    specs: Any,
) -> Grid:
    """Put the choices in front of the rows of all tasks, in the order of the cells."""
    frames = {}
    for kind in ("cells", "estimates", "effects"):
        found = [r[kind].assign(cell=place[r[kind]["cell"].to_numpy(int)])
                 for place, r in zip(cells, results, strict=True)]  # fmt: skip
        if kind == "cells" and refused:
            why = {"converged": False, "notes": "", "reason": list(refused.values())}
            found.append(pd.DataFrame({"cell": list(refused), **why}))
        found.sort(key=lambda f: -f.shape[1])  # the columns of a cell that could be fitted come first
        frame = pd.concat([f for f in found if len(f)] or found, ignore_index=True)
        frame = frame.sort_values("cell", kind="stable", ignore_index=True)
        where = frame["cell"].to_numpy(int)
        own = frame.drop(columns=["cell", *(c for c in choices.columns if c in frame.columns)])
        if kind != "cells":
            own.insert(1, "role", _roles(own["term"], specs))
        frames[kind] = pd.concat([choices.iloc[where].reset_index(drop=True), own], axis=1)
    return Grid(frames["cells"], frames["estimates"], frames["effects"], tuple(choices.columns))


def _roles(terms: pd.Series, specs: Any) -> pd.Series:
    roles = specs.roles if isinstance(specs, SpecFamily) else {}
    return terms.replace({**roles, **{f"W_{a}": f"W_{b}" for a, b in roles.items()}}) if roles else terms
