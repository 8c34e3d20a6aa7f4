"""Doubtful cells, totals of the reference region and composite indices of a study, as its tables say."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from spatial_zb.base.errors import AlignmentError, DataError, listed, listed_zh
from spatial_zb.base.notes import warn
from spatial_zb.base.text import UNDATED, Text, cell_of, period_runs
from spatial_zb.core.indices.composite import (
    CouplingCoordination,
    EntropyWeights,
    coordination_grade,
    coupling_coordination,
    entropy_weights,
    topsis,
)
from spatial_zb.data.cells import period_numbers, unit_ids
from spatial_zb.data.panel import Panel
from spatial_zb.data.read import read_table
from spatial_zb.pipeline.units import keys_of
from spatial_zb.study import (
    Coupling,
    Index,
    Study,
)

_NO_CELLS = pd.DataFrame({"unit": [], "period": [], "variable": [], "value": []}).astype(
    {"unit": object, "period": "int64", "variable": object}
)


def doubtful_cells(
    study: Study, table: pd.DataFrame, used: Collection[str], polygons: Collection[str]
) -> pd.DataFrame:
    """Cells that the study treats as blank: those of ``[[suspect]]``, and those of ``[data] flags``; said in warnings.

    An entry of ``[[suspect]]`` goes before a flag, so that ``rule = "keep"`` keeps a flagged figure. ``table`` has clean ids
    and periods and numbers in the columns ``used``.

    Returns
    -------
    DataFrame of ``unit, period, variable``; only columns that are used and cells that hold a figure.

    Raises
    ------
    AlignmentError
        An entry names units that have no polygon.
    DataError
        The table of flags has no row of a kind asked for, or a flagged figure has no rule.
    """
    unit, period = keys_of(study)
    parts = [
        pd.DataFrame({"unit": table[unit], "period": table[period], "variable": c, "value": table[c]})
        for c in table.columns
        if c in used
    ]
    cells = pd.concat([_NO_CELLS, *parts], ignore_index=True).dropna(subset="value")
    found, settled = [cells.iloc[:0]], pd.Series(False, index=cells.index)
    for i, entry in enumerate(study.suspect, start=1):
        _check_units(study, f"suspect[{i}].units", entry.units, polygons)
        here = cells["variable"].isin(entry.columns) & ~settled
        here &= cells["unit"].isin(entry.units) if entry.units else True
        here &= cells["period"].isin(entry.periods) if entry.periods else True
        settled |= here
        if not here.any():
            continue
        what = _cells_in_words(cells[here])
        if entry.rule == "keep":
            warn(
                f"Kept as printed, though suspect: {what.en}. {entry.reason.en}.",
                f"存疑但按刊印值保留：{what.zh}。{entry.reason.zh}。",
            )
            continue
        found.append(cells[here])
        warn(
            f"Treated as missing: {what.en}. {entry.reason.en}.",
            f"按空缺处理：{what.zh}。{entry.reason.zh}。",
        )
    for i, rule in enumerate(study.missing, start=1):
        _check_units(study, f"missing[{i}].units", rule.units, polygons)
    if study.data.flags is not None:
        found.append(_flagged(study, cells[~settled]))
    return pd.concat(found)[["unit", "period", "variable"]]


def _check_units(study: Study, key: str, units: Iterable[str], polygons: Collection[str]) -> None:
    unknown = [u for u in units if u not in polygons]
    if unknown:
        place = study.place(key)
        raise AlignmentError(
            f"{place.en} names unit(s) that have no polygon: {listed(unknown)}.",
            f"{place.zh}中有底图没有的地区：{listed_zh(unknown)}。",
        )


def _flagged(study: Study, cells: pd.DataFrame) -> pd.DataFrame:
    """Cells that the table of flags names under one of the kinds asked for; refused where a column has no rule for them."""
    data = study.data
    assert data.flags is not None
    unit = str(data.unit)
    flags = read_table(study.file(data.flags), [unit])
    absent = [kind for kind in data.flag_kinds if kind not in set(flags["kind"])]
    if absent:
        place, known = study.place("data.flag_kinds"), sorted(flags["kind"].dropna().unique())
        raise DataError(
            f"{place.en}: {data.flags} has no flag of the kind {listed(map(repr, absent))}; its kinds are {listed(known)}.",
            f"{place.zh}：{data.flags}中没有{listed_zh(map(repr, absent))}类标记；已有{listed_zh(known)}。",
        )
    flags = flags[flags["kind"].isin(data.flag_kinds) & flags[unit].notna()].reset_index(drop=True)
    named = pd.DataFrame(
        {
            "unit": unit_ids(flags[unit], list(cells["unit"].unique())),
            "period": period_numbers(flags[data.period]) if data.dated else UNDATED,
            "variable": flags["column"],
            "kind": flags["kind"],
        }
    ).drop_duplicates(["unit", "period", "variable"])
    found = cells.merge(named, on=["unit", "period", "variable"])
    rules, own = study.rules(), study.exceptions()
    bare = [
        cell_of(u, p, c)
        for u, p, c in found[["unit", "period", "variable"]].itertuples(index=False, name=None)
        if own.get((c, u), rules.get(c, "error")) == "error"
    ]
    if bare:
        raise DataError(
            f"{data.flags} flags {len(bare)} printed figure(s) for which no rule is written: {listed(bare)}. Write a "
            '[[missing]] rule for the column, or keep the figure by a [[suspect]] entry with rule = "keep" and the reason.',
            f"{data.flags}标记了{len(bare)}个刊印值而没有处理规则：{listed_zh(bare)}。请为该列写[[missing]]规则，"
            '或以[[suspect]]（rule = "keep"）写明理由后保留刊印值。',
        )
    alike: dict[tuple[Hashable, ...], list[pd.DataFrame]] = {}
    for (kind, _), group in found.groupby(["kind", "variable"], sort=False):
        alike.setdefault((kind, *group["unit"], *group["period"]), []).append(group)
    for (kind, *_), groups in alike.items():
        what = _cells_in_words(pd.concat(groups))
        warn(
            f"Treated as missing, being flagged as {kind} in {data.flags}: {what.en}.",
            f"{data.flags}中标记为{kind}，按空缺处理：{what.zh}。",
        )
    return found


def _cells_in_words(cells: pd.DataFrame) -> Text:
    """``24 printed figure(s) of a, b: 341500 (2011–2013, 2015), …``, with the figure where it is one."""
    columns, n = list(dict.fromkeys(cells["variable"])), len(cells)
    units: dict[Text, list[str]] = {}
    for unit, group in cells.groupby("unit", sort=False)["period"]:
        units.setdefault(Text(period_runs(group, "–"), period_runs(group, "—")), []).append(str(unit))
    where = [Text(f"{listed(ids)} ({y.en})", f"{listed_zh(ids)}（{y.zh}年）") for y, ids in units.items()]
    printed = f" ({cells['value'].iloc[0]:,.10g})" if n == 1 else ""
    return Text(
        f"{n} printed figure(s){printed} of {listed(columns)}: {listed(where)}",
        f"{listed_zh(columns)}的{n}个刊印值{printed}：{listed_zh(where)}",
    )


def reference_totals(
    study: Study, periods: Sequence[int], needed: Collection[str]
) -> dict[str, np.ndarray] | None:
    """Totals of the reference region by period, (T,) by column; None for a study without any.

    Of several tables each cell comes from the first that has it. Where a column that is ``needed`` comes from more than
    one, a warning says which periods from which.

    Raises
    ------
    DataError
        A table has no column of periods or a period twice; a period has no row in any; a needed cell is blank in all.
    """
    files = study.data.references
    if not files:
        return None
    tables = [_totals(study, file) for file in files]
    absent = [p for p in periods if not any(p in table.index for table in tables)]
    if absent:
        raise DataError(
            f"{listed(files)} has no row for {listed(absent)}; every period needs its totals.",
            f"{listed_zh(files)}没有{listed_zh(absent)}的行；每个时期都须有合计。",
        )
    tables = [table.reindex(list(periods)) for table in tables]
    totals, *rest = tables
    for table in rest:
        totals = totals.combine_first(table)
    asked = [name for name in totals if name in needed]
    blank = [cell_of(name, p) for name in asked for p in totals.index[totals[name].isna()]]
    if blank:
        raise DataError(
            f"{listed(files)}: {len(blank)} total(s) that lq() or krugman() needs are blank: {listed(blank)}. Fill them in, "
            "or shorten the periods.",
            f"{listed_zh(files)}：lq()或krugman()所需的合计有{len(blank)}处空缺：{listed_zh(blank)}。请补充，或缩短时期。",
        )
    _say_switches(files, tables, asked)
    return {name: totals[name].to_numpy(float) for name in totals}


def _totals(study: Study, file: str) -> pd.DataFrame:
    """A table of the reference region by period, its numbers only."""
    table, period = read_table(study.file(file), []), keys_of(study)[1]
    table = table if study.data.dated else table.assign(**{period: UNDATED})
    if period not in table:
        raise DataError(
            f"{file} has no column {period!r}; it has {listed(table.columns)}.",
            f"{file}没有列{period!r}；已有{listed_zh(table.columns)}。",
        )
    table = table.set_index(period)
    twice = list(table.index[table.index.duplicated()].unique())
    if twice:
        raise DataError(
            f"{file} has more than one row for {listed(twice)}. Keep one row for each.",
            f"{file}中以下时期重复：{listed_zh(twice)}。每个只保留一行。",
        )
    return table.select_dtypes("number")


def _say_switches(files: Sequence[str], tables: Sequence[pd.DataFrame], asked: Iterable[str]) -> None:
    """Say which periods come from which table, once for all columns for which it is the same."""
    alike: dict[tuple[tuple[str, tuple[int, ...]], ...], list[str]] = {}
    for name in asked:
        left, found = set(tables[0].index), []
        for file, table in zip(files, tables, strict=True):
            has = set(table.index[table[name].notna()]) & left if name in table else set()
            left -= has
            if has:
                found.append((file, tuple(sorted(has))))
        if len(found) > 1:
            alike.setdefault(tuple(found), []).append(name)
    for parts, names in alike.items():
        en = ", ".join(f"{period_runs(years, '–')} from {file}" for file, years in parts)
        zh = "，".join(f"{period_runs(years, '—')}年取自{file}" for file, years in parts)
        warn(
            f"Reference totals of {listed(names)} come from more than one table: {en}.",
            f"{listed_zh(names)}的参照合计来自不止一个表：{zh}。",
        )


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
        frame[name] = values[panel.present]
    grades = [coordination_grade(degree) for degree in frame["coordination"]]
    return frame.assign(grade_en=[g.en for g in grades], grade_zh=[g.zh for g in grades])
