"""A study with its data read, checked, filled and derived: what every stage starts from."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spatial_zb.data.expressions import compile_expression, derive
from spatial_zb.data.missing import fill_missing
from spatial_zb.data.panel import Panel, build_panel
from spatial_zb.data.regions import read_regions, select_regions
from spatial_zb.errors import (
    AlignmentError,
    DataError,
    SpatialZbWarning,
    SpecificationError,
    listed,
)
from spatial_zb.pipeline.words import source_note
from spatial_zb.study import Study
from spatial_zb.text import Text
from spatial_zb.weights import Weights, contiguity, inverse_distance, knn

__all__ = ["Prepared", "build_weights", "prepare", "read_table"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A study with its data read and checked: what every stage starts from.

    ``panel`` holds the union of all samples, with raw and derived variables; ``filled`` the cells that were
    blank in print and how each was filled.
    """

    study: Study
    regions: Any
    panel: Panel
    samples: Mapping[str, tuple[str, ...]]
    filled: pd.DataFrame
    flags: pd.DataFrame
    _weights: dict[tuple[str, str], Weights] = field(default_factory=dict, repr=False)

    def sample(self, name: str) -> Panel:
        """The panel of one sample."""
        return self.panel.select(units=self.samples[name])

    def polygons(self, sample: str):
        """The polygons of one sample."""
        return select_regions(self.regions, self.samples[sample])

    def weights(self, name: str, sample: str) -> Weights:
        """Weights of one sample, built from its own polygons, once."""
        key = name, sample
        if key not in self._weights:
            self._weights[key] = build_weights(self.study, name, self.polygons(sample))
        return self._weights[key]

    @cached_property
    def labels(self) -> dict[str, Text]:
        """Words for every variable and its spatial lag."""
        return dict(self.panel.labels)

    @property
    def sources(self) -> tuple[Text, ...]:
        """Source lines for the notes of tables and the foot of figures."""
        data = self.study.data.source
        limits = [source_note(data)] if data is not None else []
        if len(self.filled):
            limits.append(
                Text(
                    f"{len(self.filled)} blank cells were filled by stated rules (table “missing”).",
                    f"{len(self.filled)}个空缺数据按说明的规则补齐（见“missing”表）。",
                )
            )
        return tuple(limits)


def prepare(study: Study) -> Prepared:
    """Read polygons and tables, match them by id, fill and derive variables.

    Raises
    ------
    SpatialZbError
        Whatever the readers, the gate or an expression refuse, with the names concerned.
    """
    regions = read_regions(study.file(study.regions.file), id=study.regions.id)
    samples = {name: _members(study, name, regions) for name in study.samples}
    units = [i for i in regions.index if any(i in members for members in samples.values())]
    table = _estimation_table(study, units)
    used = _columns_used(study, table)
    blanked = _blank_suspects(study, table)
    filled_table, filled = fill_missing(
        blanked, study.rules(), unit=study.data.unit, period=study.data.period, columns=used
    )
    units = [i for i in units if i in set(filled_table[study.data.unit])]
    panel = build_panel(filled_table, study.data.unit, study.data.period, units, columns=used)
    samples = {name: tuple(i for i in members if i in set(units)) for name, members in samples.items()}
    flags = _flags(study, table)
    return Prepared(study, regions, _with_derived(study, panel), samples, filled, flags)


def build_weights(study: Study, name: str, polygons: Any) -> Weights:
    """Build and normalise one of the study's weights matrices on the given polygons."""
    recipe = study.weights[name]
    options = recipe.model_dump(exclude={"name", "label", "kind", "normalisation", "rule"})
    if recipe.kind == "contiguity":
        built = contiguity(polygons, recipe.rule, label=name, **options)
    elif recipe.kind == "knn":
        built = knn(polygons, label=name, **options)
    else:
        built = inverse_distance(polygons, label=name, **options)
    return built.standardise(recipe.normalisation)


def _members(study: Study, name: str, regions: Any) -> tuple[str, ...]:
    """Unit ids of a sample, in the order of the polygons."""
    sample = study.samples[name]
    place = study.place(f"samples.{name}")
    keep = np.ones(len(regions), dtype=bool)
    if sample.units is not None:
        unknown = [u for u in sample.units if u not in regions.index]
        if unknown:
            raise AlignmentError(f"{place} names unit(s) that have no polygon: {listed(unknown)}.")
        keep &= regions.index.isin(sample.units)
    for column, wanted in (sample.where or {}).items():
        if column not in regions:
            raise SpecificationError(
                f"{place}: the polygons have no column {column!r}; they have {listed(regions.columns)}."
            )
        keep &= regions[column].astype(str).isin([str(w) for w in wanted]).to_numpy()
    if not keep.any():
        raise SpecificationError(f"{place} holds no unit at all.")
    return tuple(regions.index[keep])


def read_table(path: Path, text_columns: Sequence[str]) -> pd.DataFrame:
    """Read a csv with its id columns as text, so that leading zeros stay."""
    try:
        return pd.read_csv(path, dtype=dict.fromkeys(text_columns, str), encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(
            f"{path.name} cannot be read as a table: {error}. Save it as CSV in UTF-8."
        ) from error


def _estimation_table(study: Study, units: Sequence[str]) -> pd.DataFrame:
    """Rows of the study's units and periods; units without any row are refused here, by name."""
    data = study.data
    table = read_table(study.file(data.file), [data.unit])
    first, last = data.periods
    table = table[table[data.unit].isin(units) & table[data.period].between(first, last)]
    missing = [u for u in units if u not in set(table[data.unit])]
    if missing:
        raise AlignmentError(
            f"{data.file} has no rows for {len(missing)} unit(s) of the samples: {listed(missing)}. "
            f"Add their rows for {first}–{last}, or take them out of [samples]."
        )
    twice = table[table.duplicated([data.unit, data.period])]
    if len(twice):
        pairs = [f"{u} {p}" for u, p in zip(twice[data.unit], twice[data.period], strict=True)]
        raise DataError(f"{data.file} has more than one row for {listed(pairs)}. Keep one row for each.")
    return table.reset_index(drop=True)


def _columns_used(study: Study, table: pd.DataFrame) -> list[str]:
    """Columns of the data file that a variable or a model needs, in the order of the file."""
    named = {n for v in study.variables.values() for n in compile_expression(v.expression).names}
    named |= {n for m in study.models.values() for n in (m.y, *m.x)}
    for part in (study.moran, study.maps):
        named |= set(part.variables) if part else set()
    return [c for c in table.columns if c in named]


def _blank_suspects(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Blank the printed figures that the study file calls suspect, so that its rules treat them as missing."""
    table = table.copy()
    for entry in study.suspect:
        here = (table[study.data.unit] == entry.unit) & (table[study.data.period] == entry.period)
        if not here.any():
            continue
        old = table.loc[here, entry.column].iloc[0]
        table.loc[here, entry.column] = np.nan
        warnings.warn(
            f"{entry.column} of {entry.unit} in {entry.period}, printed as {old:g}, is treated as missing: "
            f"{entry.reason.en}.",
            SpatialZbWarning,
            stacklevel=2,
        )
    return table


def _flags(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    data = study.data
    if data.flag is None or data.flag not in table:
        return pd.DataFrame(columns=["unit", "period", "flag"])
    found = table.loc[table[data.flag].notna(), [data.unit, data.period, data.flag]]
    return found.set_axis(["unit", "period", "flag"], axis=1)


def _with_derived(study: Study, panel: Panel) -> Panel:
    reference = None
    if study.data.reference is not None:
        totals = read_table(study.file(study.data.reference), []).set_index(study.data.period)
        absent = [p for p in panel.periods if p not in totals.index]
        if absent:
            raise DataError(
                f"{study.data.reference} has no row for {listed(absent)}; every period needs its totals."
            )
        totals = totals.loc[list(panel.periods)].select_dtypes("number")
        reference = {c: totals[c].to_numpy(float) for c in totals}
    derived = derive(
        {name: v.expression for name, v in study.variables.items()},
        {c: panel.array(c) for c in panel.columns},
        units=list(panel.units),
        periods=list(panel.periods),
        reference=reference,
        constants={name: c.values for name, c in study.constants.items()},
        place=lambda name: study.place(f"variables.{name}.expression"),
    )
    return panel.with_columns(derived, {name: v.label for name, v in study.variables.items()})
