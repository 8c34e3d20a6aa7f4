"""Blank cells: refused unless a written rule says what to do; every filled or dropped cell is reported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.base.arguments import need_columns
from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.notes import warn
from spatial_zb.base.text import Text, cell_of

Rule = Literal["error", "blank", "interpolate", "median_growth", "drop_units", "drop_periods"]
RULES: tuple[Rule, ...] = get_args(Rule)

# The median of fewer growth rates than this is no more than one other unit's story.
MIN_OTHERS = 3

Floats = NDArray[np.float64]


def fill_missing(
    frame: pd.DataFrame,
    rules: Mapping[str, Rule],
    *,
    unit: str,
    period: str,
    columns: Iterable[str] | None = None,
    exceptions: Mapping[tuple[str, str], Rule] | None = None,
    balance: Literal["error", "keep"] = "error",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Apply a rule per column to the blank cells of a long table.

    ``error`` refuses (so does a column without a rule). ``blank`` leaves the cell blank: what uses the variable leaves the
    row out. ``interpolate`` draws a straight line in time between
    the nearest observed periods of the unit and refuses at the ends. ``median_growth`` multiplies the unit's
    nearest observed value (the earlier of two equally near) by the median growth of the other units of the
    table between the two periods. ``drop_units`` and ``drop_periods`` leave out whole units or periods; they
    act first, and a single row is never dropped. Filling starts from printed values only, never from filled
    ones.

    Parameters
    ----------
    frame : DataFrame
        One row for every unit and period of the estimation sample.
    rules : mapping of str to rule
        Rule by column.
    unit, period : str
        Names of the columns that identify a row; periods are numbers.
    columns : iterable of str, optional
        Columns that are used. Default: those of ``rules``.
    exceptions : mapping of (column, unit) to rule, optional
        Rules of single units, which go before that of the column.
    balance : "error" or "keep"
        Whether a row that is not there is refused, or is an absent unit-period, for which nothing is filled.

    Returns
    -------
    filled : DataFrame
        A copy; order and index as they were.
    report : DataFrame
        One row per blank cell: unit, period, variable, rule, value (NaN where it was dropped).

    Warns
    -----
    SpatialZbWarning
        Units or periods were dropped.

    Raises
    ------
    SpecificationError
        A rule is unknown.
    DataError
        A column is absent or holds text, the table is not complete, a blank cell has no rule, or its rule
        cannot fill it; the cells are named.
    """
    used = list(dict.fromkeys(rules if columns is None else columns))
    own = {key: rule for key, rule in (exceptions or {}).items() if key[0] in used}
    _check_request(frame, [*rules.values(), *own.values()], unit, period, used)
    _check_rows(frame, unit, period, complete=balance == "error")
    active = {column: _rules_by_row(frame[unit], column, rules.get(column, "error"), own) for column in used}
    blank = {column: active[column].where(frame[column].isna()) for column in used}
    _refuse_blank(frame, {column: blank[column] == "error" for column in used}, unit, period)
    kept, report = _drop(frame, blank, unit, period)
    if kept.empty:
        raise DataError(
            "The rules for blank cells drop every row; fill instead, or leave the variable out.",
            "空缺处理规则删去了所有行；请改为填补，或不用该变量。",
        )
    filled = kept.copy()
    for column in used:
        if kept[column].isna().any():
            filled[column], rows = _fill(kept, column, blank[column], unit, period)
            report += rows
    table = pd.DataFrame(report, columns=["unit", "period", "variable", "rule", "value"])
    return filled, table.astype({"value": float})


def blanked(
    frame: pd.DataFrame, cells: pd.DataFrame, *, unit: str, period: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Blank the cells that a table of ``unit, period, variable`` names.

    Returns
    -------
    blank : DataFrame
        A copy without these figures.
    printed : DataFrame
        ``unit, period, variable, printed``: the cells that held a figure, and the figure.

    Raises
    ------
    KeyError
        A variable is not a column of the table.
    """
    out = frame.copy()
    rows: list[tuple[object, ...]] = []
    keys = pd.MultiIndex.from_frame(frame[[unit, period]])
    for column, group in cells.groupby("variable", sort=False):
        here = (
            keys.isin(pd.MultiIndex.from_frame(group[["unit", "period"]])) & frame[column].notna().to_numpy()
        )
        found = frame.loc[here, [unit, period, column]]
        rows += [(u, p, column, value) for u, p, value in found.itertuples(index=False, name=None)]
        out[column] = out[column].astype(float).mask(here)
    return out, pd.DataFrame(rows, columns=["unit", "period", "variable", "printed"]).astype(
        {"printed": float}
    )


# --- checks ------------------------------------------------------------------------------------------------


def _check_request(
    frame: pd.DataFrame, rules: Iterable[Rule], unit: str, period: str, used: Sequence[str]
) -> None:
    unknown = sorted(set(map(str, rules)) - set(RULES))
    if unknown:
        raise SpecificationError(
            f"Unknown rule for blank cells: {listed(unknown)}. Rules: {', '.join(RULES)}.",
            f"未知的空缺处理规则：{listed_zh(unknown)}。可用规则：{'、'.join(RULES)}。",
        )
    need_columns(frame, (unit, period, *used))
    text = [name for name in used if not pd.api.types.is_numeric_dtype(frame[name])]
    if text:
        raise DataError(
            f"These columns hold text where numbers belong: {listed(text)}. Leave unknown cells blank and turn the rest "
            "into numbers (pandas.to_numeric).",
            f"这些列应为数值却含文字：{listed_zh(text)}。未知的单元格请留空，其余转为数值（pandas.to_numeric）。",
        )


def _check_rows(frame: pd.DataFrame, unit: str, period: str, *, complete: bool) -> None:
    """One row for each; in a complete table a row that is absent must not be taken for a blank cell."""
    if frame.empty:
        raise DataError("The table has no rows.", "表中没有数据行。")
    if not pd.api.types.is_numeric_dtype(frame[period]) or frame[period].isna().any():
        raise DataError(
            f"The column {period!r} must hold a number in every row.", f"列{period!r}每行都须为数值。"
        )
    keys = pd.MultiIndex.from_frame(frame[[unit, period]])
    if not keys.is_unique:
        twice = [cell_of(u, p) for u, p in keys[keys.duplicated()].unique()]
        raise DataError(f"More than one row for {listed(twice)}.", f"{listed_zh(twice)}有不止一行。")
    if not complete:
        return
    grid = pd.MultiIndex.from_product([frame[unit].unique(), np.sort(frame[period].unique())])
    holes = [cell_of(u, p) for u, p in grid.difference(keys)]
    if holes:
        raise DataError(
            f"The table has no row for {listed(holes)}. Add it, with blank cells and a rule for them where figures are "
            "unknown (in a study, [data] fill_rows = true does), or leave the unit or the period out.",
            f"表中缺少以下各行：{listed_zh(holes)}。请补上这些行（数据未知处留空，并写明处理规则；研究文件中可写[data] "
            "fill_rows = true），或剔除该地区或该时期。",
        )


def _rules_by_row(
    units: pd.Series, column: str, usual: Rule, exceptions: Mapping[tuple[str, str], Rule]
) -> pd.Series:
    """The rule that holds for a column in every row."""
    own = {u: rule for (name, u), rule in exceptions.items() if name == column}
    return units.map(own).astype(object).fillna(usual)


def _refuse_blank(frame: pd.DataFrame, refused: Mapping[str, pd.Series], unit: str, period: str) -> None:
    cells = [
        cell_of(u, p, column)
        for column, here in refused.items()
        for u, p in zip(frame.loc[here, unit], frame.loc[here, period], strict=True)
    ]
    if cells:
        raise DataError(
            f"{len(cells)} blank cell(s) and no rule to fill them: {listed(cells)}. Write a [[missing]] rule "
            f"({', '.join(RULES[1:])}) with its reason, or leave the variable out.",
            f"空缺{len(cells)}处而没有处理规则：{listed_zh(cells)}。请写[[missing]]规则（{', '.join(RULES[1:])}）"
            "及理由，或不用该变量。",
        )


# --- dropping ----------------------------------------------------------------------------------------------


def _drop(
    frame: pd.DataFrame, rules: Mapping[str, pd.Series], unit: str, period: str
) -> tuple[pd.DataFrame, list[tuple[object, ...]]]:
    """Leave out the units, then the periods, that have a blank cell under such a rule; rules of blank cells by row."""
    report: list[tuple[object, ...]] = []
    for rule, key in (("drop_units", unit), ("drop_periods", period)):
        here = {column: (of == rule).reindex(frame.index) for column, of in rules.items()}
        columns = [column for column, cells in here.items() if cells.any()]
        for column in columns:
            blank = frame[here[column]]
            report += [(u, p, column, rule, np.nan) for u, p in zip(blank[unit], blank[period], strict=True)]
        if columns:
            gone = frame.loc[pd.DataFrame({c: here[c] for c in columns}).any(axis=1), key].unique()
            frame = frame[~frame[key].isin(gone)]
            what = Text("unit(s)", "个地区") if rule == "drop_units" else Text("period(s)", "个时期")
            warn(
                f"{len(gone)} {what.en} left out for blank cells in {listed(columns)}: {listed(gone)}.",
                f"因{listed_zh(columns)}有空缺，剔除{len(gone)}{what.zh}：{listed_zh(gone)}。",
            )
    return frame, report


# --- filling -----------------------------------------------------------------------------------------------


def _fill(
    frame: pd.DataFrame, column: str, rules: pd.Series, unit: str, period: str
) -> tuple[pd.Series, list[tuple[object, ...]]]:
    """Fill one column, each blank cell by the rule of its row; give it in the order of the rows, and its report."""
    grid = frame.pivot(index=period, columns=unit, values=column).astype(float)
    values, times = grid.to_numpy(), grid.index.to_numpy(dtype=float)
    filled = values.copy()
    report: list[tuple[object, ...]] = []
    rule_of = rules.reindex(frame.index).set_axis(pd.MultiIndex.from_frame(frame[[period, unit]]))
    for t, i in np.argwhere(np.isnan(values)):
        if (grid.index[t], grid.columns[i]) not in rule_of.index:
            continue  # an absent row, not a blank cell
        cell = cell_of(grid.columns[i], grid.index[t], column)
        rule = rule_of.loc[(grid.index[t], grid.columns[i])]
        if rule == "blank":
            report.append((grid.columns[i], grid.index[t], column, rule, np.nan))
            continue
        fill = _interpolated if rule == "interpolate" else _grown
        filled[t, i] = fill(values, times, int(t), int(i), cell)
        report.append((grid.columns[i], grid.index[t], column, rule, filled[t, i]))
    rows = grid.index.get_indexer(frame[period])
    places = grid.columns.get_indexer(frame[unit])
    return pd.Series(filled[rows, places], index=frame.index), report


def _interpolated(values: Floats, times: Floats, t: int, i: int, cell: Text) -> float:
    """Straight line in time between the nearest observed periods of unit i; values (T, n)."""
    observed = np.flatnonzero(~np.isnan(values[:, i]))
    before, after = observed[observed < t], observed[observed > t]
    if not before.size or not after.size:
        side = Text("after", "之后") if before.size else Text("before", "之前")
        raise DataError(
            f"{cell.en} is blank and nothing is observed {side.en} it, so there is nothing to interpolate between. "
            "Use the rule median_growth for this column, or shorten the periods.",
            f"{cell.zh}空缺，且{side.zh}没有观测值，无法插值。请对该列改用median_growth规则，或缩短时期。",
        )
    a, b = before[-1], after[0]
    part = (times[t] - times[a]) / (times[b] - times[a])
    return float(values[a, i] + part * (values[b, i] - values[a, i]))


def _grown(values: Floats, times: Floats, t: int, i: int, cell: Text) -> float:
    """Nearest observed value of unit i times the median x_t / x_s of the other units; values (T, n)."""
    observed = np.flatnonzero(~np.isnan(values[:, i]))
    if not observed.size:
        raise DataError(
            f"{cell.en} is blank and so is every other period of the unit. Drop the unit instead.",
            f"{cell.zh}空缺，且该地区其他时期也都空缺。请剔除该地区。",
        )
    s = observed[np.argmin(np.abs(times[observed] - times[t]))]
    others = (values[s] > 0) & ~np.isnan(values[t])
    if others.sum() < MIN_OTHERS:
        raise DataError(
            f"{cell.en} is blank and only {int(others.sum())} other unit(s) are observed in both periods; "
            f"the median growth needs {MIN_OTHERS}. Use the rule interpolate, or drop the unit.",
            f"{cell.zh}空缺，且两个时期都有观测的其他地区只有{int(others.sum())}个；增长率中位数法需要{MIN_OTHERS}个。"
            "请用interpolate规则，或剔除该地区。",
        )
    return float(values[s, i] * np.median(values[t, others] / values[s, others]))
