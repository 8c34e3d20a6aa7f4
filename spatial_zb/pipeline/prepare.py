"""A study with its data read, checked, filled and derived: what every stage starts from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from spatial_zb.base.errors import (
    AlignmentError,
    DataError,
    listed,
    listed_zh,
)
from spatial_zb.base.notes import warn
from spatial_zb.base.text import UNDATED, Text
from spatial_zb.data.cells import numbers_of, period_numbers, unit_ids
from spatial_zb.data.expressions import compile_expression, derive
from spatial_zb.data.gate import build_panel, likely_meant
from spatial_zb.data.missing import blanked, fill_missing
from spatial_zb.data.panel import Panel
from spatial_zb.data.read import read_table
from spatial_zb.data.regions import select_regions
from spatial_zb.pipeline.inputs import doubtful_cells, reference_totals, with_indices
from spatial_zb.pipeline.units import (
    ID,
    PERIOD,
    Units,
    build_weights,
    check_strays,
    keys_of,
    members,
    named,
    rows_of,
    units_of,
)
from spatial_zb.pipeline.words import blank_sentence, column_words, saying_where, source_note
from spatial_zb.study import EconomicDistance, Gravity, Model, Study, WeightsFile
from spatial_zb.weights import kilometres, unit_means


@dataclass(frozen=True, eq=False)
class Prepared:
    """A study with its data read and checked: what every stage starts from.

    ``regions`` are the polygons by unit id; of a study without any, the columns of its table that tell units apart.
    ``panel`` holds the union of all samples, with raw and derived variables; ``filled`` the cells that were
    blank in print and how each was filled; ``bases`` the variables of economic weights by unit id, under the
    names of the weights, and ``rows`` the ids of the rows of weights files that have none.
    """

    study: Study
    regions: Any
    panel: Panel
    samples: Mapping[str, tuple[str, ...]]
    filled: pd.DataFrame
    flags: pd.DataFrame
    bases: Mapping[str, pd.Series | pd.DataFrame] = field(default_factory=dict)
    rows: Mapping[str, pd.Index] = field(default_factory=dict)
    _weights: dict[tuple[str, str], Any] = field(default_factory=dict, repr=False)

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
        return tuple(i for i in members(self.study, sample, self.regions) if i not in kept)

    def weights(self, name: str, sample: str) -> Any:
        """Weights of one sample, built from its own polygons, once; a W by period where the study has one of each."""
        key = name, sample
        if key not in self._weights:
            with saying_where(self.study.place(f"weights.{name}")):
                self._weights[key] = self.built(name, self.polygons(sample))
        return self._weights[key]

    def built(self, name: str, polygons: Any) -> Any:
        """Weights on the given polygons, as :meth:`weights` gives them."""
        return build_weights(self.study, name, polygons, self.bases, self.rows)

    def fit_options(self, model: Model, sample: str) -> dict[str, Any]:
        """How ``fit_durbin`` is asked for a model of the study, with the kilometres of its errors."""
        if model.covariance != "conley":
            return model.fit_options
        return model.fit_options | {"bandwidth": kilometres(self.polygons(sample), model.bandwidth_km)}

    @cached_property
    def lines(self) -> Any:
        """Lines in the sea that maps of the whole country show; None where the study names none."""
        regions = self.study.regions
        if regions is None or regions.lines is None:
            return None
        import geopandas

        return geopandas.read_file(self.study.file(regions.lines))

    @cached_property
    def absences(self) -> pd.DataFrame:
        """When units are absent, and what ``[data] events`` says of it, as :meth:`Panel.absent` lists it."""
        data, events = self.study.data, None
        if data.events is not None and data.unit is not None and data.period is not None:
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
            limits.append(blank_sentence(self.filled))
        return tuple(limits)


def prepare(study: Study) -> Prepared:
    """Read polygons and tables, match them by id, fill and derive variables.

    Raises
    ------
    SpatialZbError
        Whatever the readers, the gate or an expression refuse, with the names concerned.
    """
    regions = named(study, units_of(study))
    samples = {name: members(study, name, regions) for name in study.samples}
    members_of_any = set().union(*samples.values())
    units = [i for i in regions.index if i in members_of_any]
    needed = _columns_needed(study, study.variables)
    read = _read_panel(study, Units.of(regions, units), study.data.span, needed, study.variables)
    kept = set(read.panel.units)
    samples = {name: tuple(i for i in members if i in kept) for name, members in samples.items()}
    panel = with_indices(study, read.panel)
    bases = _economic_bases(study, regions, panel)
    rows = {
        name: rows_of(study, name, weights, regions)
        for name, weights in study.weights.items()
        if isinstance(weights, WeightsFile) and weights.ids is not None
    }
    return Prepared(study, regions, panel, samples, read.filled, read.flags, bases, rows)


class _Read(NamedTuple):
    """A panel with its derived variables, the cells that were filled, and the flagged rows."""

    panel: Panel
    filled: pd.DataFrame
    flags: pd.DataFrame


def _read_panel(
    study: Study, units: Units, span: tuple[int, int], columns: set[str], variables: Iterable[str]
) -> _Read:
    """Read, blank, fill, check and derive, for some periods, columns of the file, and derived variables.

    Variables with lags in time are computed apart, with the periods before that they reach back to.
    """
    deep = {name: depth for name in variables if (depth := _depth(study, name))}
    plain = [name for name in variables if name not in deep]
    read = _read_periods(study, units, span, columns, plain)
    if not deep:
        return read
    behind = [v for v in study.variables if any(v in _variables_behind(study, name) for name in deep)]
    earlier = span[0] - max(deep.values()), span[1]
    more = _read_periods(study, units, earlier, _columns_needed(study, behind, []), behind)
    lagged = more.panel.select(periods=read.panel.periods, units=read.panel.units)
    panel = read.panel.with_columns(
        {name: lagged.array(name) for name in deep}, {name: study.variables[name].label for name in deep}
    )
    filled = pd.concat([read.filled, more.filled]).drop_duplicates(["unit", "period", "variable"])
    return _Read(panel, filled.reset_index(drop=True), read.flags)


def _depth(study: Study, name: str) -> int:
    """Periods that a derived variable reaches back, through others that it uses; none for a column."""
    if name not in study.variables or study.variables[name].is_column:
        return 0
    return compile_expression(study.variables[name].expression).reach(lambda used: _depth(study, used))


def _read_periods(
    study: Study, units: Units, span: tuple[int, int], columns: set[str], variables: Iterable[str]
) -> _Read:
    data, (unit, period) = study.data, keys_of(study)
    table = _estimation_table(study, units, span)
    for name in columns - set(table.columns):
        if name in units.attributes:
            table[name] = table[unit].map(units.attributes[name])
    used = [c for c in table.columns if c in columns]
    with saying_where(study.table_name):
        numbers = {c: numbers_of(table, c, unit, period, data.thousands) for c in used}
        for column, values in numbers.items():
            table[column] = values
        doubtful = doubtful_cells(study, table, used, units.polygons)
        keys = {"unit": unit, "period": period}
        blank, printed = blanked(table, doubtful, **keys)
        rules = {column: rule for column, rule in study.rules().items() if column in used}
        filled_table, filled = fill_missing(
            blank, rules, columns=used, exceptions=study.exceptions(), balance=data.balance, **keys
        )
        filled = filled.merge(printed, "left", ["unit", "period", "variable"])
        left = set(filled_table[unit])
        ids = [i for i in units.ids if i in left]
        panel = build_panel(filled_table, unit, period, ids, columns=used, balance=data.balance)
    texts = _texts(study, table, panel, units, variables)
    return _Read(_with_derived(study, panel, variables, texts), filled, _flags(study, table))


def _texts(
    study: Study, table: pd.DataFrame, panel: Panel, units: Units, variables: Iterable[str]
) -> dict[str, np.ndarray]:
    """What expressions may use beside the panel, (T, n): columns compared with text, ids, and the periods as numbers."""
    unit, period = keys_of(study)
    shape = len(panel.periods), len(panel.units)
    compiled = [compile_expression(study.variables[name].expression) for name in variables]
    asked = {name for expression in compiled for name in expression.text_names} - set(study.variables)
    rows = table.set_index([period, unit])
    cells = pd.MultiIndex.from_product([panel.periods, panel.units])
    found: dict[str, np.ndarray] = {}
    for name in asked:
        if name in (unit, units.id):
            column = pd.Series(np.tile(np.asarray(panel.units, dtype=object), shape[0]))
        elif name in rows:
            column = rows[name].reindex(cells)
        elif name in units.attributes:
            column = units.attributes[name].reindex(cells.get_level_values(1))
        else:
            continue
        if pd.api.types.is_numeric_dtype(column):
            found[name] = column.to_numpy(float).reshape(shape)
        else:
            found[name] = (
                column.astype(object).where(column.notna().to_numpy(), None).to_numpy().reshape(shape)
            )
    dates = np.asarray(panel.periods, dtype=float)[:, None]
    return found | ({period: np.broadcast_to(dates, shape)} if study.data.dated else {})


def _economic_bases(study: Study, regions: Any, panel: Panel) -> dict[str, pd.Series | pd.DataFrame]:
    """Mean by unit of the variable of every economic weights table; its values by period where each has a W.

    Base periods within the sample come from its panel. Others (a pre-sample mean) are read from the data file
    by the same rules, with only the columns that the variable needs.
    """
    bases: dict[str, pd.Series | pd.DataFrame] = {}
    for name, recipe in study.weights.items():
        if not isinstance(recipe, EconomicDistance | Gravity):
            continue
        if recipe.periods == "each":
            values = panel.array(recipe.variable).T
            bases[name] = pd.DataFrame(values, index=panel.units, columns=list(panel.periods))
            continue
        span = study.data.span if recipe.periods == "mean" else recipe.periods
        wanted = range(span[0], span[1] + 1)
        part = panel
        if not set(wanted) <= set(panel.periods):
            variables = _variables_behind(study, recipe.variable)
            columns = _columns_needed(study, variables, [recipe.variable])
            part = _read_panel(study, Units.of(regions, panel.units), span, columns, variables).panel
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


def _estimation_table(study: Study, units: Units, span: tuple[int, int]) -> pd.DataFrame:
    """Rows of the study's units and periods; units without any row are refused here, by name, and so are ends of
    the periods that the file does not reach.
    """
    data, (unit, period), file = study.data, keys_of(study), study.table_name
    table = _raw(study, units)
    if period not in table:
        raise DataError(
            f"{file} has no column {period!r}; it has {listed(table.columns)}.",
            f"{file}没有列{period!r}；已有{listed_zh(table.columns)}。",
        )
    if table.empty:
        raise DataError(
            f"{file} has headings and no rows. It needs one row per unit and period.",
            f"{file}只有列名而没有数据。每个地区每个时期须有一行。",
        )
    with saying_where(file):
        keys = {unit: unit_ids(table[unit], units.polygons), period: period_numbers(table[period])}
    table = table.reset_index(drop=True)
    for column, values in keys.items():
        table[column] = values
    first, last = span
    whole = table[table[period].between(first, last)]
    found = table[unit].unique()
    table = whole[whole[unit].isin(units.ids)]
    present = set(table[unit])
    missing = [u for u in units.ids if u not in present]
    if missing:
        others, codes = pd.Index(found).difference(units.ids), {name: i for i, name in units.names.items()}
        meant = likely_meant(others, units.ids, codes)
        when, when_zh = (f" for {first}–{last}", f"其{first}—{last}年") if data.dated else ("", "其")
        raise AlignmentError(
            f"{file} has no rows for {len(missing)} unit(s) of the samples: {units.named(missing)}."
            f"{meant.en} Add their rows{when}, write the ids as the polygons have them, or take these units out of "
            "[samples].",
            f"{file}没有样本中{len(missing)}个地区的数据：{units.named(missing, listed_zh)}。{meant.zh}"
            f"请补充{when_zh}各行，使地区编码与底图一致，或将其从[samples]中剔除。",
        )
    check_strays(study, whole[unit], set(found), units.polygons)
    here = sorted(table[period].unique())
    if (here[0], here[-1]) != (first, last):
        asked = study.place("data.periods")
        raise DataError(
            f"{file} has rows of {here[0]}–{here[-1]}; {asked.en}, lag() or the periods of weights ask "
            f"for {first}–{last}. Add rows, or name the periods that are there.",
            f"{file}只有{here[0]}—{here[-1]}年的数据；{asked.zh}、lag()或权重矩阵的时期要求{first}—{last}年。"
            "请补充数据，或改为已有的时期。",
        )
    twice = table[table.duplicated([unit, period])]
    if len(twice):
        rows = zip(twice[unit], twice[period], strict=True)
        pairs = [f"{u} {p}" if data.dated else u for u, p in rows]
        undated = "" if data.dated else " Where rows are years, name their column as period."
        undated_zh = "" if data.dated else "若各行为不同年份，请以period指明年份列。"
        raise DataError(
            f"{file} has more than one row for {listed(pairs)}. Keep one row for each.{undated}",
            f"{file}中以下地区与年份重复：{listed_zh(pairs)}。每个只保留一行。{undated_zh}",
        )
    return _with_rows(study, table.reset_index(drop=True), units)


def _raw(study: Study, units: Units) -> pd.DataFrame:
    """The table of the data with its columns of ids and periods; the attributes of the polygons where it has no file."""
    data = study.data
    if data.file is None:
        table = units.attributes.rename_axis(ID).reset_index()
    else:
        table = read_table(study.file(data.file), [str(data.unit)])
    return table if data.dated else table.assign(**{PERIOD: UNDATED})


def _with_rows(study: Study, table: pd.DataFrame, units: Units) -> pd.DataFrame:
    """With ``fill_rows``: a row of blank cells for every unit and period that has none, which is said."""
    unit, period = keys_of(study)
    if not study.data.fill_rows:
        return table
    full = pd.MultiIndex.from_product([units.ids, sorted(table[period].unique())], names=[unit, period])
    absent = full.difference(pd.MultiIndex.from_frame(table[[unit, period]]), sort=False)
    if len(absent):
        cells = [f"{u} {p}" for u, p in absent]
        warn(
            f"{study.data.file} has no row for {len(absent)} unit-period(s), which became rows of blank cells, as [data] "
            f"fill_rows says: {listed(cells)}.",
            f"{study.data.file}缺{len(absent)}个地区-时期的行，按[data]的fill_rows补为空行：{listed_zh(cells)}。",
        )
    return pd.concat([table, absent.to_frame(index=False)], ignore_index=True)


def _columns_needed(study: Study, variables: Iterable[str], names: Iterable[str] | None = None) -> set[str]:
    """Names that derived variables use and ``names``; without these, all that any part of the study uses."""
    needed: set[str] = set()
    for variable in variables:
        expression = compile_expression(study.variables[variable].expression)
        needed |= set(expression.names) - set(expression.text_names) - {study.data.period}
    if names is not None:
        return needed | set(names)
    needed |= {
        n for m in study.models.values() for n in (m.y, *m.x, *m.effect_variables, *filter(None, [m.regimes]))
    }
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
    found = table.loc[table[data.flag].notna(), [*keys_of(study), data.flag]]
    return found.set_axis(["unit", "period", "flag"], axis=1)


def _with_derived(
    study: Study, panel: Panel, variables: Iterable[str], texts_of: Mapping[str, np.ndarray]
) -> Panel:
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
        {c: panel.array(c) for c in panel.columns} | dict(texts_of),
        units=list(panel.units),
        periods=list(panel.periods),
        reference=reference_totals(study, panel.periods, asked),
        constants={name: c.values for name, c in study.constants.items() if name in names},
        place=lambda name: study.place(f"variables.{name}.expression"),
    )
    return panel.with_columns(derived, labels)
