"""Weights of a study: one builder per kind, the island policy and the normalisation of its table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from spatial_zb import weights as build
from spatial_zb.study import Combination, Contiguity, EconomicDistance, Gravity, Study, WeightsFile
from spatial_zb.weights import Weights
from spatial_zb.weights.islands import settle

__all__ = ["build_weights"]

#: Keys of a weights table that are no options of its builder.
OUTSIDE = frozenset({"name", "label", "kind", "normalisation", "variable", "periods"})


def build_weights(
    study: Study, name: str, polygons: Any, bases: Mapping[str, pd.Series] | None = None
) -> Weights:
    """Build and normalise one of the study's weights on the given polygons.

    ``bases`` holds the variable of economic weights by unit id, under the name of the weights.
    """
    recipe = study.weights[name]
    built = _BUILDERS[recipe.kind](_Task(study, name, polygons, bases or {}), recipe)
    return replace(built, label=name).standardise(recipe.normalisation)


@dataclass(frozen=True, slots=True)
class _Task:
    """One table of weights, and what it may need."""

    study: Study
    name: str
    polygons: Any
    bases: Mapping[str, pd.Series]

    def options(self, recipe: Any, *without: str) -> dict[str, Any]:
        """Keys of the table as arguments of its builder."""
        return {**recipe.model_dump(exclude=OUTSIDE | set(without)), "label": self.name}

    def base(self) -> pd.Series:
        """The variable of economic weights for the units of this sample."""
        values = self.bases[self.name]
        return values[values.index.isin(self.polygons.index)]

    def source(self, recipe: EconomicDistance | Gravity) -> dict[str, Any]:
        """What a builder keeps about its variable."""
        periods = recipe.periods if recipe.periods != "mean" else self.study.data.periods
        return {"variable": recipe.variable, "periods": list(periods)}


def _contiguity(task: _Task, recipe: Contiguity) -> Weights:
    return build.contiguity(task.polygons, recipe.rule, **task.options(recipe, "rule"))


def _from_polygons(builder: Callable[..., Weights]) -> Callable[[_Task, Any], Weights]:
    """Builders whose arguments are the keys of their table."""
    return lambda task, recipe: builder(task.polygons, **task.options(recipe))


def _economic_distance(task: _Task, recipe: EconomicDistance) -> Weights:
    values = task.base().reindex(task.polygons.index)
    return build.economic_distance(values, **task.source(recipe), **task.options(recipe))


def _gravity(task: _Task, recipe: Gravity) -> Weights:
    return build.gravity(task.polygons, task.base(), **task.source(recipe), **task.options(recipe))


def _combine(task: _Task, recipe: Combination) -> Weights:
    a, b = (build_weights(task.study, part, task.polygons, task.bases) for part in recipe.parts)
    return build.combine(a, b, **task.options(recipe, "parts"))


def _file(task: _Task, recipe: WeightsFile) -> Weights:
    """The units of the sample out of the file."""
    path = task.study.file(recipe.file)
    whole = build.read(path, name=recipe.sheet, label=task.name, allow_negative=recipe.allow_negative)
    part = whole.subset(task.polygons.index)
    settled = settle(part.matrix, part.ids, recipe.islands)
    return replace(part, recipe={**part.recipe, **settled.record})


_BUILDERS: Mapping[str, Callable[[_Task, Any], Weights]] = {
    "contiguity": _contiguity,
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
