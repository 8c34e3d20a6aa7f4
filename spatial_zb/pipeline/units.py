"""Units of a study and their weights: who is in a sample, what the rows of a weights file are, and the matrices built."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from spatial_zb import weights as build
from spatial_zb.base.errors import AlignmentError, SpecificationError, listed, listed_zh
from spatial_zb.base.notes import warn
from spatial_zb.base.text import LANGUAGES, Text
from spatial_zb.data.cells import cells_among, unit_ids
from spatial_zb.data.read import read_table
from spatial_zb.data.regions import read_regions
from spatial_zb.pipeline.words import saying_where
from spatial_zb.study import (
    OF_POLYGONS,
    OF_TABLE,
    Combination,
    EconomicDistance,
    Gravity,
    IdsOfTable,
    Study,
    WeightsFile,
)
from spatial_zb.weights.build.islands import settle
from spatial_zb.weights.matrix import Weights, as_weights


def named(study: Study, regions: Any) -> Any:
    """Polygons with ``name_en`` and ``name_zh``: the columns that the study names, or those of the layer.

    One of the two serves for both languages.
    """
    given = study.regions.names if study.regions is not None else None
    if given is None:
        there = [name for name in ("name_en", "name_zh") if name in regions]
        given = Text(there[0], there[-1]) if there else None
    if given is None:
        return regions
    absent = [name for name in dict.fromkeys((given.en, given.zh)) if name not in regions]
    if absent:
        place, known = study.place("regions.names"), [c for c in regions if c != regions.geometry.name]
        raise SpecificationError(
            f"{place.en}: the polygons have no column {listed(map(repr, absent))}; they have {listed(known)}.",
            f"{place.zh}：底图没有列{listed_zh(map(repr, absent))}；已有{listed_zh(known)}。",
        )
    ids = pd.Series(regions.index, regions.index)
    chosen = {language: regions[given.pick(language)] for language in LANGUAGES}
    return regions.assign(
        **{f"name_{language}": c.where(c.notna(), ids).astype(str) for language, c in chosen.items()}
    )


class Units(NamedTuple):
    """Ids of units and their Chinese names, for messages; without names where the polygons have none.

    ``polygons`` are the ids of all polygons, in the samples or not, ``attributes`` their columns without the shapes, and
    ``id`` the name of the column of ids.
    """

    ids: tuple[str, ...]
    names: Mapping[str, str]
    polygons: tuple[str, ...]
    attributes: pd.DataFrame
    id: str

    @classmethod
    def of(cls, regions: Any, ids: Iterable[str]) -> Units:
        ids, every = tuple(ids), tuple(regions.index)
        known = "name_zh" in regions
        names = {i: str(regions.at[i, "name_zh"]) for i in ids} if known else {}
        shapes = [regions.geometry.name] if hasattr(regions, "geom_type") else []
        return cls(ids, names, every, pd.DataFrame(regions.drop(columns=shapes)), str(regions.index.name))

    def named(self, ids: Iterable[str], join: Callable[[Iterable[str]], str] = listed) -> str:
        return join(f"{i} ({self.names[i]})" if i in self.names else i for i in ids)


def units_of(study: Study) -> Any:
    """The polygons by unit id; without any, the columns of the table that are the same in all rows of a unit."""
    if study.regions is not None:
        layers = [study.file(file) for file in study.regions.files]
        one = layers[0] if len(layers) == 1 else layers
        return read_regions(one, id=study.regions.id, crs=study.regions.crs)
    file, unit = study.data.file, study.data.unit
    assert file is not None and unit is not None, "a study without polygons has a table"  # noqa: PT018
    table = read_table(study.file(file), [unit])
    with saying_where(file):
        ids = unit_ids(table[unit])
    groups = table.drop(columns=unit).groupby(ids, sort=False)
    same = groups.nunique(dropna=False).eq(1).all()
    found = groups.first()[list(same.index[same])]
    found.index = pd.Index([str(i) for i in found.index], dtype=str, name=unit)
    return found


def members(study: Study, name: str, regions: Any) -> tuple[str, ...]:
    """Unit ids of a sample, in the order of the polygons."""
    sample = study.samples[name]
    place = study.place(f"samples.{name}")
    keep = np.ones(len(regions), dtype=bool)
    if sample.units is not None:
        unknown = [u for u in sample.units if u not in regions.index]
        if unknown:
            raise AlignmentError(
                f"{place.en} names unit(s) that have no polygon: {listed(unknown)}.",
                f"{place.zh}中有底图没有的地区：{listed_zh(unknown)}。",
            )
        keep &= regions.index.isin(sample.units)
    for column, wanted in (sample.where or {}).items():
        if column not in regions:
            raise SpecificationError(
                f"{place.en}: the polygons have no column {column!r}; they have {listed(regions.columns)}.",
                f"{place.zh}：底图没有列{column!r}；已有{listed_zh(regions.columns)}。",
            )
        each = cells_among(regions[column], wanted)
        unknown = [value for value, cells in each.items() if not cells.any()]
        if unknown:  # misspelt, or of another column
            texts, lost = dict.fromkeys(regions[column].astype(str)), list(map(repr, unknown))
            raise SpecificationError(
                f"{place.en}: no unit has {listed(lost)} in column {column!r}; its values are {listed(texts, 8)}.",
                f"{place.zh}：列{column!r}中没有{listed_zh(lost)}；其值有{listed_zh(texts, 8)}。",
            )
        keep &= np.any(list(each.values()), axis=0)
    if not keep.any():
        raise SpecificationError(f"{place.en} holds no unit at all.", f"{place.zh}不含任何地区。")
    return tuple(regions.index[keep])


#: Columns of ids and of periods where the study names none, in signs that no heading has.
ID, PERIOD = "(unit)", "(period)"


def keys_of(study: Study) -> tuple[str, str]:
    """Columns of units and of periods in the table of the data."""
    return study.data.unit or ID, study.data.period or PERIOD


def check_strays(study: Study, ids: pd.Series, found: set[str], polygons: Collection[str]) -> None:
    """Refuse rows whose id has no polygon, by name, unless the study lists the id; say how many rows that leaves out."""
    data = study.data
    place, known = study.place("data.ignore"), set(polygons)
    wrong = [i for i in data.ignore if i in known or i not in found]
    if wrong:
        raise AlignmentError(
            f"{place.en} is for ids of {data.file} that have no polygon; these have one, or are not in the table: "
            f"{listed(wrong)}. Take them out of the list.",
            f"{place.zh}只列{data.file}中没有底图的编码；以下编码有底图，或不在表中：{listed_zh(wrong)}。请从中删去。",
        )
    rows = ids[~ids.isin(known)].value_counts(sort=False)
    strays = rows[~rows.index.isin(data.ignore)]
    if len(strays):
        raise AlignmentError(
            f"{data.file} has {strays.sum()} row(s) of id(s) without a polygon: {listed(strays.index)}. Correct the ids, "
            f"add their polygons, or leave the rows out knowingly: {_listing('ignore', strays.index)} in [data].",
            f"{data.file}中有{strays.sum()}行的编码没有底图：{listed_zh(strays.index)}。请更正编码、补充底图，或在[data]中写"
            f"{_listing('ignore', strays.index)}，明确剔除这些行。",
        )
    if len(rows):
        warn(
            f"{data.file}: {rows.sum()} row(s) without a polygon are left out, as [data] ignore says: {listed(rows.index)}.",
            f"{data.file}：按[data]的ignore，剔除没有底图的{rows.sum()}行：{listed_zh(rows.index)}。",
        )


def _listing(key: str, ids: Iterable[str]) -> str:
    """How a list of ids is written in a study file."""
    return f"{key} = [{', '.join(f'{chr(34)}{i}{chr(34)}' for i in ids)}]"


def rows_of(study: Study, name: str, weights: WeightsFile, regions: Any) -> pd.Index:
    """Ids of the rows of a weights file, as ``ids`` of its table says."""
    asked, place = weights.ids, study.place(f"weights.{name}.ids")
    if asked == OF_POLYGONS or asked == regions.index.name:
        return regions.index
    if isinstance(asked, tuple):
        column = pd.Series(asked)
    elif isinstance(asked, str) and asked != OF_TABLE and asked in regions:
        column = regions[asked]
    else:
        file = asked.file if isinstance(asked, IdsOfTable) else study.data.file
        wanted = (
            asked.column if isinstance(asked, IdsOfTable) else study.data.unit if asked == OF_TABLE else asked
        )
        if file is None or wanted is None:
            raise SpecificationError(
                f"{place.en}: the polygons have no column {asked!r}, and the study has no table; write "
                f"{OF_POLYGONS!r}, or one of {listed(regions.columns)}.",
                f"{place.zh}：底图没有列{asked!r}，研究也没有数据表；请写{OF_POLYGONS!r}，或{listed_zh(regions.columns)}之一。",
            )
        with saying_where(place):
            column = read_table(study.file(file), [wanted])[wanted].drop_duplicates()
    with saying_where(place):
        return pd.Index(unit_ids(column.reset_index(drop=True), regions.index), dtype=str)


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


def unit_names(prepared: Any) -> dict[str, Text]:
    """Names of the units of a prepared study, where its polygons have them in both languages."""
    regions = prepared.regions
    if not {"name_en", "name_zh"} <= set(regions.columns):
        return {}
    return {
        i: Text(en, zh)
        for i, en, zh in zip(regions.index, regions["name_en"], regions["name_zh"], strict=True)
    }
