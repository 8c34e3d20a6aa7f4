"""The weights of a study, built on the polygons of a sample, as its tables say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from spatial_zb import weights as build
from spatial_zb.data.cells import unit_ids
from spatial_zb.study import Combination, EconomicDistance, Gravity, Study, WeightsFile
from spatial_zb.weights.build.islands import settle
from spatial_zb.weights.matrix import Weights, as_weights

#: Keys of a weights table that its builder does not take.
OUTSIDE = frozenset({"name", "label", "kind", "normalisation", "variable", "periods"})


def build_weights(
    study: Study,
    name: str,
    polygons: Any,
    bases: Mapping[str, pd.Series | pd.DataFrame] | None = None,
    rows: Mapping[str, pd.Index] | None = None,
) -> Any:
    """Build and normalise one of the study's weights on the given polygons: a Weights, or a PeriodWeights.

    Under the name of the weights, ``bases`` holds the variable of economic ones by unit id, with a column for each period
    where each has a W of its own, and ``rows`` the ids of the rows of a file without any.
    """
    base = (bases or {}).get(name)
    if not isinstance(base, pd.DataFrame):
        return _one_w(_Task(study, name, polygons, bases or {}, rows or {}))
    found = {}
    for period, values in base.items():
        known = values.dropna()
        there = polygons.loc[polygons.index.isin(known.index)]
        found[int(str(period))] = _one_w(_Task(study, name, there, {name: known}, {}))
    return build.by_period(found, label=name)


@dataclass(frozen=True, slots=True)
class _Task:
    """One table of weights, and what it may need."""

    study: Study
    name: str
    polygons: Any
    bases: Mapping[str, Any]
    rows: Mapping[str, pd.Index]

    def options(self, recipe: Any, *without: str) -> dict[str, Any]:
        """Keys of the table as arguments of its builder."""
        return {**recipe.model_dump(exclude=OUTSIDE | set(without)), "label": self.name}

    def base(self) -> pd.Series:
        """The variable of economic weights for the units of this sample."""
        values = self.bases[self.name]
        return values[values.index.isin(self.polygons.index)]

    def source(self, recipe: EconomicDistance | Gravity) -> dict[str, Any]:
        """What a builder keeps about its variable."""
        periods = self.study.data.span if recipe.periods in ("mean", "each") else recipe.periods
        return {"variable": recipe.variable, "periods": list(periods)}


def _one_w(task: _Task) -> Weights:
    recipe = task.study.weights[task.name]
    built = _BUILDERS[recipe.kind](task, recipe)
    return replace(built, label=task.name).standardise(recipe.normalisation)


def _from_polygons(builder: Callable[..., Weights]) -> Callable[[_Task, Any], Weights]:
    """Builders whose arguments are the keys of their table."""
    return lambda task, recipe: builder(task.polygons, **task.options(recipe))


def _economic_distance(task: _Task, recipe: EconomicDistance) -> Weights:
    values = task.base().reindex(task.polygons.index)
    return build.economic_distance(values, **task.source(recipe), **task.options(recipe))


def _gravity(task: _Task, recipe: Gravity) -> Weights:
    source = task.source(recipe)
    mass = task.base().rename(source.pop("variable"))
    return build.gravity(task.polygons, mass, **source, **task.options(recipe))


def _combine(task: _Task, recipe: Combination) -> Weights:
    parts = (build_weights(task.study, part, task.polygons, task.bases, task.rows) for part in recipe.parts)
    a, b = map(as_weights, parts)
    return build.combine(a, b, **task.options(recipe, "parts"))


def _file(task: _Task, recipe: WeightsFile) -> Weights:
    """The units of the sample out of the file."""
    path = task.study.file(recipe.file)
    rows, negative = task.rows.get(task.name), recipe.allow_negative
    whole = build.read(path, rows, name=recipe.sheet, label=task.name, allow_negative=negative)
    ids = unit_ids(pd.Series(whole.ids), task.polygons.index)
    part = replace(whole, ids=pd.Index(ids, dtype=str)).subset(task.polygons.index)
    settled = settle(part.matrix, part.ids, recipe.islands)
    return replace(part, recipe={**part.recipe, **settled.record})


_BUILDERS: Mapping[str, Callable[[_Task, Any], Weights]] = {
    "contiguity": lambda task, own: build.contiguity(task.polygons, own.rule, **task.options(own, "rule")),
    "knn": _from_polygons(build.knn),
    "distance_band": _from_polygons(build.distance_band),
    "inverse_distance": _from_polygons(build.inverse_distance),
    "exponential_decay": _from_polygons(build.exponential_decay),
    "block": _from_polygons(build.block),
    "economic_distance": _economic_distance,
    "gravity": _gravity,
    "combine": _combine,
    "file": _file,
}
