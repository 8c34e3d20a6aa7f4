"""Values and labels of a panel, checked: what does not fit together is refused where the panel is made."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from operator import index
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.errors import AlignmentError, DataError, listed, listed_zh
from spatial_zb.text import Text

__all__ = ["check_fit", "chosen_labels", "period_labels", "real_values", "unit_labels", "variable_names"]


def real_values(values: Any, what: Text) -> NDArray[np.float64]:
    """A copy as floats; blanks of objects are NaN.

    Raises
    ------
    DataError
        Text, dates, complex numbers, or rows of different lengths.
    """
    try:
        found = np.asarray(values)
        if found.dtype.kind == "O" and not any(isinstance(cell, str) for cell in found.flat):
            found = np.where(pd.isna(found), np.nan, found).astype(float)
    except (TypeError, ValueError):
        found = np.array("")
    if found.dtype.kind == "c":
        raise DataError(
            f"{what.en}: complex numbers; real ones are needed. Pass their real part or their modulus, whichever is meant.",
            f"{what.zh}为复数，而此处须为实数。请按本意取实部或模。",
        )
    if found.dtype.kind not in "biuf":
        raise DataError(f"{what.en} must be numbers, blank ones NaN.", f"{what.zh}须为数值，空缺为NaN。")
    return np.array(found, dtype=float)


def period_labels(periods: Any) -> tuple[int, ...]:
    """Periods as whole numbers in ascending order, each once."""
    found = _listed(periods, Text("periods", "periods"))
    try:
        numbers = tuple(index(period) for period in found)
    except TypeError:
        raise DataError(
            f"Periods must be whole numbers such as 2019, not {listed(map(repr, found), 3)}.",
            f"时期须为整数（如2019），而不是{listed_zh(map(repr, found), 3)}。",
        ) from None
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise DataError(
            f"Periods must ascend, each once, not {listed(numbers)}. Sort the values with them; build_panel does it for a "
            "table.",
            f"时期须按升序排列且不重复，而不是{listed_zh(numbers)}。请连同数值一起排序；build_panel会为表格排序。",
        )
    return numbers


def unit_labels(units: Any) -> pd.Index:
    """Ids, each once."""
    found = units if isinstance(units, pd.Index) else pd.Index(_listed(units, Text("units", "units")))
    if found.has_duplicates:
        twice = found[found.duplicated()].unique()
        raise AlignmentError(
            f"The panel names units twice: {listed(twice)}. Every unit has one row in every period.",
            f"面板中有重复的地区：{listed_zh(twice)}。每个地区每期只有一行。",
        )
    return found


def variable_names(columns: Any) -> tuple[str, ...]:
    """Names of variables, each once."""
    found = tuple(_listed(columns, Text("columns", "columns")))
    wrong = [name for name in found if not isinstance(name, str)]
    if wrong:
        raise DataError(
            f"Names of variables must be text, not {listed(map(repr, wrong), 3)}.",
            f"变量名须为文本，而不是{listed_zh(map(repr, wrong), 3)}。",
        )
    twice = {name for name in found if found.count(name) > 1}
    if twice:
        raise DataError(
            f"The panel names variables twice: {listed(sorted(twice))}. Rename one of each.",
            f"面板中有重名的变量：{listed_zh(sorted(twice))}。请改名。",
        )
    return found


def check_fit(shape: tuple[int, ...], T: int, n: int, p: int) -> None:
    """Refuse values (T, n, p) that are not those of so many labels."""
    if len(shape) != 3:
        raise DataError(
            f"Values of a panel have the shape (periods, units, variables), not {shape}. For a table: build_panel.",
            f"面板数值的形状为（时期，地区，变量），而不是{shape}。表格请用build_panel。",
        )
    if shape != (T, n, p):
        sizes = " × ".join(map(str, shape))
        raise DataError(
            f"Values of a panel are periods × units × variables; {sizes} of them do not fit {T} period(s), {n} unit(s) and "
            f"{p} variable(s).",
            f"面板数值为时期 × 地区 × 变量；{sizes}与{T}个时期、{n}个地区、{p}个变量不符。",
        )


def chosen_labels(labels: pd.Index, chosen: Sequence | None, what: Text) -> NDArray[np.intp]:
    """Positions of the labels that are chosen, in the order of the panel; all of them without a choice.

    Raises
    ------
    AlignmentError
        A label the panel does not have or one named twice, a single label in place of a list.
    """
    if chosen is None:
        return np.arange(len(labels))
    if isinstance(chosen, str) or not hasattr(chosen, "__iter__"):
        raise AlignmentError(
            f"Choose {what.en}s by a list such as [{chosen!r}], not by {chosen!r}.",
            f"请以列表选取{what.zh}，如[{chosen!r}]，而不是{chosen!r}。",
        )
    wanted = pd.Index(list(chosen))
    if wanted.has_duplicates:
        twice = wanted[wanted.duplicated()].unique()
        raise AlignmentError(
            f"The list of {what.en}s names some twice: {listed(twice)}. A panel holds each once; name it once.",
            f"{what.zh}名单中有重复：{listed_zh(twice)}。面板中各只有一个，请只写一次。",
        )
    missing = wanted.difference(labels)
    if len(missing):
        raise AlignmentError(
            f"The panel has no {what.en} {listed(missing)}.", f"面板中没有{what.zh}{listed_zh(missing)}。"
        )
    return np.flatnonzero(labels.isin(wanted))


def _listed(given: Any, name: Text) -> list:
    if isinstance(given, str) or not hasattr(given, "__iter__"):
        raise DataError(
            f"{name.en} must be a list, not {given!r}: for a single one, ({given!r},).",
            f"{name.zh}须为列表，而不是{given!r}：只有一个时写({given!r},)。",
        )
    return list(given)
