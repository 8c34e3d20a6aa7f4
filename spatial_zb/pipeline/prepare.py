"""A study with its data read, checked, filled and derived: what every stage starts from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from spatial_zb.base.errors import (
    AlignmentError,
    DataError,
    SpecificationError,
    listed,
    listed_zh,
)
from spatial_zb.base.notes import warn
from spatial_zb.base.text import LANGUAGES, Text
from spatial_zb.data.cells import numbers_of, period_numbers, unit_ids
from spatial_zb.data.expressions import compile_expression, derive
from spatial_zb.data.gate import build_panel, likely_meant
from spatial_zb.data.missing import blanked, fill_missing
from spatial_zb.data.panel import Panel
from spatial_zb.data.read import read_table
from spatial_zb.data.regions import read_regions, select_regions
from spatial_zb.pipeline.inputs import build_weights, doubtful_cells, reference_totals, with_indices
from spatial_zb.pipeline.words import column_words, saying_where, source_note
from spatial_zb.study import EconomicDistance, Gravity, Study
from spatial_zb.weights import unit_means
from spatial_zb.weights.matrix import Weights


@dataclass(frozen=True, eq=False)
class Prepared:
    """A study with its data read and checked: what every stage starts from.

    ``panel`` holds the union of all samples, with raw and derived variables; ``filled`` the cells that were
    blank in print and how each was filled; ``bases`` the variables of economic weights by unit id, under the
    names of the weights.
    """

    study: Study
    regions: Any
    panel: Panel
    samples: Mapping[str, tuple[str, ...]]
    filled: pd.DataFrame
    flags: pd.DataFrame
    bases: Mapping[str, pd.Series] = field(default_factory=dict)
    _weights: dict[tuple[str, str], Weights] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        samples = ", ".join(f"{name} ({len(units)} units)" for name, units in self.samples.items())
        return f"Prepared({self.study.general.name!r}; {self.panel!r}; samples {samples})"

    def sample(self, name: str) -> Panel:
        """The panel of one sample."""
        return self.panel.select(units=self.samples[name])

    def polygons(self, sample: str):
        """The polygons of one sample."""
        return select_regions(self.regions, self.samples[sample])

    def left_out(self, sample: str) -> tuple[str, ...]:
        """Units the study file puts in a sample that a rule for blank cells took out of it."""
        kept = set(self.samples[sample])
        return tuple(i for i in _members(self.study, sample, self.regions) if i not in kept)

    def weights(self, name: str, sample: str) -> Weights:
        """Weights of one sample, built from its own polygons, once."""
        key = name, sample
        if key not in self._weights:
            with saying_where(self.study.place(f"weights.{name}")):
                self._weights[key] = build_weights(self.study, name, self.polygons(sample), self.bases)
        return self._weights[key]

    @cached_property
    def absences(self) -> pd.DataFrame:
        """When units are absent, and what ``[data] events`` says of it, as :meth:`Panel.absent` lists it."""
        data, events = self.study.data, None
        if data.events is not None:
            table = read_table(self.study.file(data.events), [data.unit])
            with saying_where(data.events):
                events = pd.DataFrame(
                    {
                        "unit": unit_ids(table[data.unit], list(self.panel.units)),
                        "period": period_numbers(table[data.period]),
                        "event": table["event"],
                    }
                )
        return self.panel.absent(events)

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
                    f"Blank cells treated by stated rules: {len(self.filled)} (table “Cells filled and left blank”).",
                    f"按说明的规则处理的空缺数据：{len(self.filled)}个（见“缺失值及其处理”表）。",
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
    layers = [study.file(file) for file in study.regions.files]
    regions = read_regions(layers[0] if len(layers) == 1 else layers, id=study.regions.id)
    regions = _named(study, regions)
    samples = {name: _members(study, name, regions) for name in study.samples}
    members_of_any = set().union(*samples.values())
    units = [i for i in regions.index if i in members_of_any]
    needed = _columns_needed(study, study.variables)
    read = _read_panel(study, _Units.of(regions, units), study.data.periods, needed, study.variables)
    kept = set(read.panel.units)
    samples = {name: tuple(i for i in members if i in kept) for name, members in samples.items()}
    panel = with_indices(study, read.panel)
    bases = _economic_bases(study, regions, panel)
    return Prepared(study, regions, panel, samples, read.filled, read.flags, bases)


def _named(study: Study, regions: Any) -> Any:
    """Polygons with ``name_en`` and ``name_zh``: the columns that the study names, or those of the layer.

    One of the two serves for both languages.
    """
    given = study.regions.names
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


class _Units(NamedTuple):
    """Ids of units and their Chinese names, for messages; without names where the polygons have none.

    ``polygons`` are the ids of all polygons, in the samples or not.
    """

    ids: tuple[str, ...]
    names: Mapping[str, str]
    polygons: tuple[str, ...]

    @classmethod
    def of(cls, regions: Any, ids: Iterable[str]) -> _Units:
        ids, every = tuple(ids), tuple(regions.index)
        known = "name_zh" in regions
        return cls(ids, {i: str(regions.at[i, "name_zh"]) for i in ids} if known else {}, every)

    def named(self, ids: Iterable[str], join: Callable[[Iterable[str]], str] = listed) -> str:
        return join(f"{i} ({self.names[i]})" if i in self.names else i for i in ids)


class _Read(NamedTuple):
    """A panel with its derived variables, the cells that were filled, and the flagged rows."""

    panel: Panel
    filled: pd.DataFrame
    flags: pd.DataFrame


def _read_panel(
    study: Study, units: _Units, span: tuple[int, int], columns: set[str], variables: Iterable[str]
) -> _Read:
    """Read, blank, fill, check and derive, for some periods, columns of the file, and derived variables."""
    data = study.data
    table = _estimation_table(study, units, span)
    used = [c for c in table.columns if c in columns]
    with saying_where(data.file):
        numbers = {c: numbers_of(table, c, data.unit, data.period, data.thousands) for c in used}
        for column, values in numbers.items():
            table[column] = values
        doubtful = doubtful_cells(study, table, used, units.polygons)
        keys = {"unit": data.unit, "period": data.period}
        blank, printed = blanked(table, doubtful, **keys)
        rules = {column: rule for column, rule in study.rules().items() if column in used}
        filled_table, filled = fill_missing(
            blank, rules, columns=used, exceptions=study.exceptions(), balance=data.balance, **keys
        )
        filled = filled.merge(printed, "left", ["unit", "period", "variable"])
        left = set(filled_table[data.unit])
        ids = [i for i in units.ids if i in left]
        panel = build_panel(filled_table, data.unit, data.period, ids, columns=used, balance=data.balance)
    return _Read(_with_derived(study, panel, variables), filled, _flags(study, table))


def _economic_bases(study: Study, regions: Any, panel: Panel) -> dict[str, pd.Series]:
    """Mean by unit of the variable of every economic weights table.

    Base periods within the sample come from its panel. Others (a pre-sample mean) are read from the data file
    by the same rules, with only the columns that the variable needs.
    """
    bases = {}
    for name, recipe in study.weights.items():
        if not isinstance(recipe, EconomicDistance | Gravity):
            continue
        span = study.data.periods if recipe.periods == "mean" else recipe.periods
        wanted = range(span[0], span[1] + 1)
        part = panel
        if not set(wanted) <= set(panel.periods):
            variables = _variables_behind(study, recipe.variable)
            columns = _columns_needed(study, variables, [recipe.variable])
            part = _read_panel(study, _Units.of(regions, panel.units), span, columns, variables).panel
        bases[name] = unit_means(part, recipe.variable, [p for p in part.periods if p in wanted])
    return bases


def _variables_behind(study: Study, name: str) -> list[str]:
    """A derived variable and those it uses, in the order of the file; none for a column of the data."""
    found: set[str] = set()
    open_names = {name}
    while open_names:
        now = open_names.pop()
        if now in study.variables and now not in found:
            found.add(now)
            open_names |= set(compile_expression(study.variables[now].expression).names)
    return [variable for variable in study.variables if variable in found]


def _members(study: Study, name: str, regions: Any) -> tuple[str, ...]:
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
        keep &= regions[column].astype(str).isin([str(w) for w in wanted]).to_numpy()
    if not keep.any():
        raise SpecificationError(f"{place.en} holds no unit at all.", f"{place.zh}不含任何地区。")
    return tuple(regions.index[keep])


def _estimation_table(study: Study, units: _Units, span: tuple[int, int]) -> pd.DataFrame:
    """Rows of the study's units and periods; units without any row are refused here, by name, and so are ends of
    the periods that the file does not reach.
    """
    data = study.data
    table = read_table(study.file(data.file), [data.unit])
    if data.period not in table:
        raise DataError(
            f"{data.file} has no column {data.period!r}; it has {listed(table.columns)}.",
            f"{data.file}没有列{data.period!r}；已有{listed_zh(table.columns)}。",
        )
    if table.empty:
        raise DataError(
            f"{data.file} has headings and no rows. It needs one row per unit and period.",
            f"{data.file}只有列名而没有数据。每个地区每个时期须有一行。",
        )
    with saying_where(data.file):
        keys = {
            data.unit: unit_ids(table[data.unit], units.polygons),
            data.period: period_numbers(table[data.period]),
        }
    table = table.reset_index(drop=True)
    for column, values in keys.items():
        table[column] = values
    first, last = span
    whole = table[table[data.period].between(first, last)]
    found = table[data.unit].unique()
    table = whole[whole[data.unit].isin(units.ids)]
    present = set(table[data.unit])
    missing = [u for u in units.ids if u not in present]
    if missing:
        others, codes = pd.Index(found).difference(units.ids), {name: i for i, name in units.names.items()}
        meant = likely_meant(others, units.ids, codes)
        raise AlignmentError(
            f"{data.file} has no rows for {len(missing)} unit(s) of the samples: {units.named(missing)}."
            f"{meant.en} Add their rows for {first}–{last}, write the ids as the "
            "polygons have them, or take these units out of [samples].",
            f"{data.file}没有样本中{len(missing)}个地区的数据：{units.named(missing, listed_zh)}。{meant.zh}"
            f"请补充其{first}—{last}年各行，使地区编码与底图一致，或将其从[samples]中剔除。",
        )
    _check_strays(study, whole[data.unit], set(found), units.polygons)
    here = sorted(table[data.period].unique())
    if (here[0], here[-1]) != (first, last):
        asked = study.place("data.periods")
        raise DataError(
            f"{data.file} has rows of {here[0]}–{here[-1]}; {asked.en} or the periods of weights ask "
            f"for {first}–{last}. Add rows, or name the periods that are there.",
            f"{data.file}只有{here[0]}—{here[-1]}年的数据；{asked.zh}或权重矩阵的时期要求{first}—{last}年。"
            "请补充数据，或改为已有的时期。",
        )
    twice = table[table.duplicated([data.unit, data.period])]
    if len(twice):
        pairs = [f"{u} {p}" for u, p in zip(twice[data.unit], twice[data.period], strict=True)]
        raise DataError(
            f"{data.file} has more than one row for {listed(pairs)}. Keep one row for each.",
            f"{data.file}中以下地区与年份重复：{listed_zh(pairs)}。每个只保留一行。",
        )
    return table.reset_index(drop=True)


def _check_strays(study: Study, ids: pd.Series, found: set[str], polygons: Collection[str]) -> None:
    """Refuse rows whose id has no polygon, by name, unless the study lists the id; say how many rows that leaves out."""
    data = study.data
    place = study.place("data.ignore")
    known = set(polygons)
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


def _columns_needed(study: Study, variables: Iterable[str], names: Iterable[str] | None = None) -> set[str]:
    """Names that derived variables use and ``names``; without these, all that any part of the study uses."""
    needed = {n for v in variables for n in compile_expression(study.variables[v].expression).names}
    if names is not None:
        return needed | set(names)
    needed |= {n for m in study.models.values() for n in (m.y, *m.x, *filter(None, [m.regimes]))}
    needed |= {n for s in study.systems.values() for e in s.equations.values() for n in (e.y, *e.endog, *e.x)}
    needed |= {w.variable for w in study.weights.values() if isinstance(w, EconomicDistance | Gravity)}
    needed |= {n for index in study.indices.values() for n in index.columns}
    for part in (study.moran, study.concentration, study.dynamics, study.maps):
        needed |= set(part.variables) if part else set()
    needed |= {name for pair in (study.moran.bivariate if study.moran else ()) for name in pair}
    if study.compare is not None:
        swapped = [*study.compare.controls.values()]
        swapped += [study.compare.y, *study.compare.x.values()]
        if study.compare.robustness is not None:
            swapped += [study.compare.robustness.y, *study.compare.robustness.x.values()]
        needed |= {name for names in swapped for name in names}
    return needed


def _flags(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    data = study.data
    if data.flag is None or data.flag not in table:
        return pd.DataFrame(columns=["unit", "period", "flag"])
    found = table.loc[table[data.flag].notna(), [data.unit, data.period, data.flag]]
    return found.set_axis(["unit", "period", "flag"], axis=1)


def _with_derived(study: Study, panel: Panel, variables: Iterable[str]) -> Panel:
    labels = {name: Text.of(name) for name in panel.columns}
    labels |= {name: words for name, words in column_words(study).items() if name in labels}
    labels |= {name: study.variables[name].label for name in variables}
    computed = [name for name in variables if not study.variables[name].is_column]
    texts = {name: study.variables[name].expression for name in computed}
    compiled = [compile_expression(text) for text in texts.values()]
    names = {n for expression in compiled for n in (*expression.names, *expression.reference_names)}
    asked = {n for expression in compiled for n in expression.reference_names}
    derived = derive(
        texts,
        {c: panel.array(c) for c in panel.columns},
        units=list(panel.units),
        periods=list(panel.periods),
        reference=reference_totals(study, panel.periods, asked),
        constants={name: c.values for name, c in study.constants.items() if name in names},
        place=lambda name: study.place(f"variables.{name}.expression"),
    )
    return panel.with_columns(derived, labels)
