"""Labelled tables of amounts: checked, matched by label, and taken apart by period."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from spatial_zb.base.errors import AlignmentError, DataError, listed, listed_zh
from spatial_zb.base.text import Text

#: Name of the level that parts a table into years.
PERIOD = "period"
#: What an index says of its reference where none was given.
UNIT_TOTAL = "sum of the units of the table"


def amounts_table(table: pd.DataFrame, name: str = "employment", *, least: float = 0.0) -> pd.DataFrame:
    """A copy with numbers only, after refusing what no index is defined for.

    Parameters
    ----------
    table
        Units in rows; or (unit, period), the second level called ``period`` or the last of two.
    name
        What it holds, for messages.
    least
        Smallest value allowed; ``-inf`` for indicators that may be negative.

    Raises
    ------
    DataError
        Not a DataFrame, empty, text, a blank, infinite or too small cell (named), a row or column twice.
    """
    if not isinstance(table, pd.DataFrame) or table.empty:
        raise DataError(
            f"{name} must be a DataFrame with units in rows and a column for each sector or indicator.",
            f"{name}须为以地区为行、行业或指标为列的DataFrame。",
        )
    _refuse_twice(table.index, name, Text("rows", "行"))
    _refuse_twice(table.columns, name, Text("columns", "列"))
    periods_of(table.index)
    found = table.apply(lambda column: _floats(column, name))
    cells = found.to_numpy()
    wrong = ~np.isfinite(cells) | (cells < least)
    if wrong.any():
        words = (
            Text("blank, infinite or negative", "空缺、无穷大或为负")
            if least == 0
            else Text("blank or infinite", "空缺或无穷大")
        )
        shown = [f"{row_label(found.index[i])} {found.columns[j]}" for i, j in np.argwhere(wrong)]
        raise DataError(
            f"{name} is {words.en} at {listed(shown)}. Correct these cells, or leave the unit out.",
            f"{name}在{listed_zh(shown)}{words.zh}。请更正数据，或剔除该地区。",
        )
    return found


def employment_table(employment: pd.DataFrame, *, rows: bool = False, columns: bool = False) -> pd.DataFrame:
    """The checked table; units (``rows``) or, in some period, sectors (``columns``) without employment are refused."""
    table = amounts_table(employment)
    if rows and (table.sum(axis=1) == 0).any():
        empty = [row_label(i) for i in table.index[table.sum(axis=1) == 0]]
        raise DataError(
            f"employment is zero in all sectors of {listed(empty)}. Leave these rows out.",
            f"{listed_zh(empty)}所有行业的就业都为零。请剔除这些行。",
        )
    for period, part in by_period(table) if columns else ():
        empty = part.columns[part.sum() == 0]
        if len(empty):
            when = "" if period is None else f" in {period}"
            when_zh = "" if period is None else f"{period}年"
            raise DataError(
                f"No unit has any {listed(empty)}{when}. Leave these sectors out.",
                f"{when_zh}没有地区有{listed_zh(empty)}。请剔除这些行业。",
            )
    return table


def numeric_series(values: pd.Series, name: str, *, least: float = 0.0) -> pd.Series:
    """A Series of numbers with labels; the checks of :func:`amounts_table`."""
    if not isinstance(values, pd.Series):
        raise DataError(
            f"{name} must be a Series with labels, so that it is matched by them and not by order.",
            f"{name}须为带标签的Series，以便按标签而不是按次序对应。",
        )
    return amounts_table(values.to_frame(name), name, least=least)[name]


def matched(values: pd.Series, labels: pd.Index, name: str, of: Text) -> pd.Series:
    """The values in the order of ``labels``; every label needs one, others are left out. Whole numbers match as text.

    Raises
    ------
    AlignmentError
        A label without a value.
    """
    values, wanted = values.set_axis(_as_text(values.index)), _as_text(labels)
    missing = wanted.difference(values.index)
    if len(missing):
        raise AlignmentError(
            f"{name} has no value for {listed(map(row_label, missing))}, {of.en} of the table; it has "
            f"{listed(map(row_label, values.index), 4)}.",
            f"{name}没有{listed_zh(map(row_label, missing))}（表中的{of.zh}）的数值；已有"
            f"{listed_zh(map(row_label, values.index), 4)}。",
        )
    return values.reindex(wanted).set_axis(labels)


def periods_of(index: pd.Index) -> pd.Index | None:
    """The periods of the rows; None for a table of units alone.

    Raises
    ------
    DataError
        More than two levels, two of which none is called ``period``, or periods that have no order.
    """
    if index.nlevels == 1:
        return None
    if index.nlevels > 2 or PERIOD not in index.names:
        raise DataError(
            f"Rows must be units, or units and periods with a level called 'period', not {listed(index.names)}. "
            "Use frame.set_index(['unit', 'period']).",
            f"行须为地区，或地区与名为'period'的时期，而不是{listed_zh(index.names)}。"
            "请用frame.set_index(['unit', 'period'])。",
        )
    periods = index.get_level_values(PERIOD)
    if periods.hasnans or len({isinstance(period, str) for period in periods.unique()}) > 1:
        raise DataError(
            f"Periods must be all numbers or all text, none blank, not {listed(map(repr, periods.unique()))}.",
            f"时期须全为数值或全为文字，且无空缺，而不是{listed_zh(map(repr, periods.unique()))}。",
        )
    return periods


def by_period(table: pd.DataFrame) -> Iterator[tuple[Any, pd.DataFrame]]:
    """(period, table with units alone in rows) in the order of periods; (None, table) without periods."""
    periods = periods_of(table.index)
    if periods is None:
        yield None, table
        return
    for period in sorted(periods.unique()):
        yield period, table[periods == period].droplevel(PERIOD)


def along(table: pd.DataFrame, function: Callable[[Any, pd.DataFrame], pd.Series | float]) -> Any:
    """One Series by label (or number) of each period: as it is without periods, else stacked with a level of periods."""
    found = {period: function(period, part) for period, part in by_period(table)}
    if None in found:
        return found[None]
    if not isinstance(next(iter(found.values())), pd.Series):
        return pd.Series(found).rename_axis(PERIOD)
    return pd.DataFrame(found).T.rename_axis(PERIOD)


def _floats(column: pd.Series, name: str) -> pd.Series:
    number = pd.to_numeric(column, errors="coerce").astype(float)
    text = number.isna() & column.notna()
    if text.any():
        where = [row_label(label) for label in column.index[text]]
        raise DataError(
            f"{name}, column {column.name!r}: text where numbers are needed at {listed(where)}.",
            f"{name}的列{column.name!r}应为数值却含文字：{listed_zh(where)}。",
        )
    return number


def _as_text(labels: pd.Index) -> pd.Index:
    whole = labels.nlevels == 1 and pd.api.types.is_integer_dtype(labels.dtype)
    return labels.astype(str) if whole else labels


def _refuse_twice(labels: pd.Index, name: str, what: Text) -> None:
    if labels.has_duplicates:
        raise DataError(
            f"{name} has {what.en} twice: {listed(map(row_label, labels[labels.duplicated()].unique()))}.",
            f"{name}有重复的{what.zh}：{listed_zh(map(row_label, labels[labels.duplicated()].unique()))}。",
        )


def row_label(label: object) -> str:
    """A unit, or a unit and its period, as text."""
    return " ".join(map(str, label)) if isinstance(label, tuple) else str(label)
