"""Specification × weights × sample × estimator × covariance: every cell a fit, every failure a row."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pandas as pd

from spatial_zb.data.panel import Panel
from spatial_zb.effects import spatial_effects
from spatial_zb.errors import SpatialZbError, SpatialZbWarning, SpecificationError, listed
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.weights.matrix import Weights, as_weights

__all__ = ["Grid", "specification_grid"]

#: Columns that say which cell a row is.
CHOICES = ("spec", "weights", "sample", "estimator", "covariance")


@dataclass(frozen=True, eq=False)
class Grid:
    """All cells of a grid.

    Attributes
    ----------
    cells
        One row per cell: the choices, what ``Fit.glance()`` says, ``notes`` (warnings) and ``reason`` (why a
        cell has no result; empty otherwise).
    estimates, effects
        One row per cell and term, and per cell, term and effect, with the choices in front.
    """

    cells: pd.DataFrame
    estimates: pd.DataFrame
    effects: pd.DataFrame

    def glance(self) -> pd.DataFrame:
        """One row per cell."""
        return self.cells.copy()

    def tidy(self) -> pd.DataFrame:
        """One row per cell and term; failed cells have one row without a term, and their reason."""
        failed = self.cells.loc[self.cells["reason"] != "", [*CHOICES, "reason"]]
        return pd.concat([self.estimates, failed], ignore_index=True)

    def table(self) -> pd.DataFrame:
        """One row per cell with the choices, the facts, and the estimates and effects of every term as columns.

        Columns are ``<term>``, ``<term>:std_error``, ``<term>:p_value`` and ``<term>:<effect>`` with the same
        endings.
        """
        wide = [self.cells.set_index(list(CHOICES))]
        if len(self.estimates):
            wide.append(_spread(self.estimates, self.estimates["term"]))
        if len(self.effects):
            wide.append(_spread(self.effects, self.effects["term"] + ":" + self.effects["effect"]))
        return pd.concat(wide, axis=1).reset_index()

    def shares(self, term: str, effect: str | None = None, level: float = 0.05) -> pd.Series:
        """How one coefficient, or one effect, fares over the cells that have it.

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
        rows = frame[frame["term"] == term]
        if rows.empty:
            raise SpecificationError(
                f"No cell has an estimate of {term!r}; terms are {listed(frame['term'].unique())}."
            )
        positive, significant = rows["estimate"] > 0, rows["p_value"] < level
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


def specification_grid(
    panel: Panel,
    specs: Sequence[DurbinSpec] | Mapping[str, DurbinSpec],
    weights: Mapping[str, Any],
    samples: Mapping[str, Any] | None = None,
    *,
    estimators: Sequence[str] = ("lee_yu",),
    covariances: Sequence[str] = ("information",),
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Grid:
    """Fit every combination; a cell that cannot be fitted is a row with its reason.

    Parameters
    ----------
    panel
        The panel that holds all units, periods and variables.
    specs
        Specifications, by name or in a list (then named "1 SDM two_way", …).
    weights
        Weights by name, of all units of the panel. A sample of fewer units uses the rows and columns of its
        units, normalised again in the same way; a unit left without neighbours is said in the cell.
    samples
        By name: a list of unit ids, or a mapping with ``units`` and/or ``periods``; all units and periods
        under the name "all" without it.
    estimators, covariances
        As :func:`fit_durbin` takes them.
    workers
        Processes. Cells that share W and sample go to one process, so that the log-determinant is computed
        once; numbers do not depend on ``workers``.
    progress
        Called with (groups done, groups).

    Raises
    ------
    SpecificationError
        Nothing to combine, or a sample that is not understood.
    AlignmentError
        Weights that do not belong to the panel, or a sample with unknown units or periods.
    """
    named = _named_specs(specs)
    if not named or not weights:
        raise SpecificationError("A grid needs at least one specification and one weights matrix.")
    everywhere = {name: as_weights(W, label=name).align(panel.units) for name, W in weights.items()}
    picked = {name: _sample(panel, name, choice) for name, choice in (samples or {"all": {}}).items()}
    options = list(product(named.items(), estimators, covariances))
    groups = [
        (W, sample, part, everywhere[W], options) for (sample, part), W in product(picked.items(), everywhere)
    ]
    rows = [row for group in _computed(groups, workers, progress) for row in group]
    order = [(s, W, p, e, c) for W, p, _, _, o in groups for (s, _), e, c in o]
    return _assemble(dict(zip(order, rows, strict=True)))


def _named_specs(specs: Sequence[DurbinSpec] | Mapping[str, DurbinSpec]) -> dict[str, DurbinSpec]:
    if isinstance(specs, Mapping):
        return dict(specs)
    return {f"{i} {spec.family} {spec.fixed_effects}": spec for i, spec in enumerate(specs, 1)}


def _sample(panel: Panel, name: str, choice: Any) -> Panel:
    if not isinstance(choice, Mapping):
        choice = {"units": choice}
    unknown = set(choice) - {"units", "periods"}
    if unknown:
        raise SpecificationError(
            f"Sample {name!r} may have units and periods, not {listed(sorted(unknown))}."
        )
    return panel.select(units=choice.get("units"), periods=choice.get("periods"))


def _computed(groups: list, workers: int, progress: Callable[[int, int], None]) -> list[list[dict[str, Any]]]:
    if workers == 1:
        out = []
        for group in groups:
            out.append(_group(*group))
            progress(len(out), len(groups))
        return out
    from joblib import Parallel, delayed

    jobs = Parallel(n_jobs=workers, return_as="generator")(delayed(_group)(*group) for group in groups)
    out = []
    for done in jobs:
        out.append(done)
        progress(len(out), len(groups))
    return out


def _group(W: str, sample: str, part: Panel, weights: Weights, options: list) -> list[dict[str, Any]]:
    """All cells that share a W and a sample."""
    try:
        own = weights.subset(part.units)
    except SpatialZbError as error:
        return [{"reason": str(error)} for _ in options]
    return [_cell(spec, part, own, estimator, covariance) for (_, spec), estimator, covariance in options]


def _cell(spec: DurbinSpec, panel: Panel, W: Weights, estimator: str, covariance: str) -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpatialZbWarning)
        try:
            fit = fit_durbin(spec, panel, W, estimator, covariance)
            effects = spatial_effects(fit).tidy()
        except SpatialZbError as error:
            return {"reason": str(error)}
    notes = "; ".join(
        dict.fromkeys(str(n.message) for n in caught if issubclass(n.category, SpatialZbWarning))
    )
    facts = fit.glance().drop(columns=list({*CHOICES} & {*fit.glance().columns})).iloc[0].to_dict()
    return {"reason": "", "notes": notes, "facts": facts, "estimates": fit.tidy(), "effects": effects}


def _assemble(cells: Mapping[tuple[str, ...], dict[str, Any]]) -> Grid:
    facts, estimates, effects = [], [], []
    for key, cell in cells.items():
        choices = dict(zip(CHOICES, key, strict=True))
        facts.append(
            choices | cell.get("facts", {}) | {"notes": cell.get("notes", ""), "reason": cell["reason"]}
        )
        for kind, into in (("estimates", estimates), ("effects", effects)):
            if kind in cell:
                frame = cell[kind]
                into.append(
                    pd.concat([pd.DataFrame([choices] * len(frame)), frame.reset_index(drop=True)], axis=1)
                )
    none = pd.DataFrame(columns=[*CHOICES, "term"])
    return Grid(
        pd.DataFrame(facts),
        pd.concat(estimates, ignore_index=True) if estimates else none,
        pd.concat(effects, ignore_index=True) if effects else none.assign(effect=[]),
    )


def _spread(frame: pd.DataFrame, names: pd.Series) -> pd.DataFrame:
    """Long → wide: a column for every name, and its error and p-value."""
    parts = []
    for column, ending in (("estimate", ""), ("std_error", ":std_error"), ("p_value", ":p_value")):
        pivot = frame.assign(name=names + ending).pivot(index=list(CHOICES), columns="name", values=column)
        parts.append(pivot.rename_axis(columns=None))
    return pd.concat(parts, axis=1)
