"""Weights and composite indices of a study, built as its tables say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from spatial_zb import weights as build
from spatial_zb.base.errors import DataError, listed, listed_zh
from spatial_zb.base.text import Text, cell_of
from spatial_zb.core.indices.composite import (
    CouplingCoordination,
    EntropyWeights,
    coordination_grade,
    coupling_coordination,
    entropy_weights,
    topsis,
)
from spatial_zb.data.panel import Panel
from spatial_zb.study import (
    Combination,
    Contiguity,
    Coupling,
    EconomicDistance,
    Gravity,
    Index,
    Study,
    WeightsFile,
)
from spatial_zb.weights.build.islands import settle
from spatial_zb.weights.matrix import Weights

#: Keys of a weights table that its builder does not take.
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
    source = task.source(recipe)
    mass = task.base().rename(source.pop("variable"))
    return build.gravity(task.polygons, mass, **source, **task.options(recipe))


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


def with_indices(study: Study, panel: Panel) -> Panel:
    """Add the scores of ``[indices]`` and the coordination degrees of ``[coupling]`` to the panel.

    Entropy weights pool all units and periods of the study, so that scores compare across both.

    Raises
    ------
    DataError
        A variable of an index has blank cells, or is constant.
    """
    for index in study.indices.values():
        panel = panel.with_columns(
            {index.name: _weighed(study, panel, index).scores}, {index.name: index.label}
        )
    for pair in study.coupling.values():
        degree = _coupled(panel, pair).coordination
        panel = panel.with_columns({pair.name: degree}, {pair.name: pair.label})
    return panel


def _weighed(study: Study, panel: Panel, index: Index) -> EntropyWeights:
    place = study.place(f"indices.{index.name}")
    values = panel.array(index.columns)
    blank = np.isnan(values)
    if blank.any():
        cells = [
            cell_of(panel.units[i], panel.periods[t], index.columns[k]) for t, i, k in np.argwhere(blank)
        ]
        raise DataError(
            f"{place.en} has {len(cells)} blank cell(s): {listed(cells, 4)}. Leave the column out of the index, "
            "or give it a rule in [[missing]].",
            f"{place.zh}有{len(cells)}处空缺：{listed_zh(cells, 4)}。请将该列移出指数，或在[[missing]]中给出规则。",
        )
    directions: list[Literal["more", "less"]] = [
        "less" if name in index.less else "more" for name in index.columns
    ]
    try:
        # The last digit of a weighted sum may pass 1, which a score does not.
        found = entropy_weights(values, directions)
        scores = np.clip(found.scores, 0.0, 1.0)
        if index.method == "topsis":
            scores = topsis(values, found.weights, directions)
        return EntropyWeights(found.weights, found.entropy, scores, found.zeros)
    except DataError as error:
        raise DataError(f"{place.en}: {error}", f"{place.zh}：{error.zh}") from None


def _coupled(panel: Panel, pair: Coupling) -> CouplingCoordination:
    return coupling_coordination(panel.array(pair.first), panel.array(pair.second), alpha=pair.alpha)


def index_definition(study: Study, name: str) -> Text | None:
    """What an index or a coordination degree is made of; None for any other variable."""
    if name in study.indices:
        index = study.indices[name]
        parts = [f"{column} (−)" if column in index.less else column for column in index.columns]
        how = {
            "entropy": Text("entropy-weighted", "熵权法"),
            "topsis": Text("entropy-weighted TOPSIS", "熵权TOPSIS法"),
        }
        words = how[index.method]
        return Text(f"{words.en}: {', '.join(parts)}", f"{words.zh}：{'、'.join(parts)}")
    if name in study.coupling:
        pair = study.coupling[name]
        return Text(
            f"coupling coordination of {pair.first} and {pair.second}, α = {pair.alpha:g}",
            f"{pair.first}与{pair.second}的耦合协调度，α = {pair.alpha:g}",
        )
    return None


def index_weights_frame(study: Study, panel: Panel, index: Index) -> pd.DataFrame:
    found = _weighed(study, panel, index)
    return pd.DataFrame(
        {
            "index": index.name,
            "variable": index.columns,
            "direction": ["less" if name in index.less else "more" for name in index.columns],
            "entropy": found.entropy,
            "weight": found.weights,
        }
    )


def graded_frame(panel: Panel, pair: Coupling) -> pd.DataFrame:
    """One row per unit and period with U₁, U₂, C, T, D and the grade in words."""
    found = _coupled(panel, pair)
    columns = {
        pair.first: panel.array(pair.first),
        pair.second: panel.array(pair.second),
        "coupling": found.coupling,
        "level": found.level,
        "coordination": found.coordination,
    }
    frame = panel.frame()[["unit", "period"]]
    for name, values in columns.items():
        frame[name] = values.ravel()
    grades = [coordination_grade(degree) for degree in frame["coordination"]]
    return frame.assign(grade_en=[g.en for g in grades], grade_zh=[g.zh for g in grades])
