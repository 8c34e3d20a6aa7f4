"""What a panel holds: numbers of the right shape, and units that come and go, with the stretches without them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.base.errors import DataError, listed, listed_zh
from spatial_zb.base.text import Text


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


def check_fit(shape: tuple[int, ...], T: int, n: int, p: int) -> None:
    """Refuse values (T, n, p) whose shape does not fit the labels."""
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


#: What a stretch without a unit is, by whether it is there before and after it.
ABSENCES = {
    (False, True): "enters late",
    (True, False): "leaves",
    (True, True): "gap",
    (False, False): "never there",
}


def presence(
    given: Any, values: NDArray[np.float64], periods: tuple[int, ...], units: pd.Index
) -> NDArray[np.bool_]:
    """A read-only copy of ``present`` (T, n); where it says absent there may be no value."""
    T, n, _ = values.shape
    present = np.array(given)
    if present.shape == (0, 0):
        present = np.ones((T, n), dtype=bool)
    if present.dtype.kind != "b" or present.shape != (T, n):
        raise DataError(
            f"present must hold True or False for every period and unit, an array of the shape {(T, n)}, not one of "
            f"{present.dtype} of the shape {present.shape}.",
            f"present须为各时期各地区的True或False，形状{(T, n)}，而不是形状{present.shape}的{present.dtype}。",
        )
    filled = np.argwhere(~present & ~np.isnan(values).all(axis=2))
    if len(filled):
        cells = [f"{units[i]} {periods[t]}" for t, i in filled]
        raise DataError(
            f"{len(cells)} unit-period(s) are said to be absent and have values: {listed(cells)}. Blank them (NaN), or "
            "say that they are present.",
            f"{len(cells)}个地区-时期标为不存在却有数值：{listed_zh(cells)}。请置为空缺（NaN），或标为存在。",
        )
    present.flags.writeable = False
    return present


def _told(events: pd.DataFrame | None) -> dict[str, list[tuple[int, str]]]:
    """Events of each unit as pairs of period and words, in the order of time."""
    if events is None:
        return {}
    lacking = [c for c in ("unit", "period", "event") if c not in getattr(events, "columns", ())]
    if lacking:
        raise DataError(
            f"events needs the columns unit, period and event; {listed(lacking)} is not there.",
            f"events须含unit、period、event三列，缺少{listed_zh(lacking)}。",
        )
    told: dict[str, list[tuple[int, str]]] = {}
    for unit, period, event in events.sort_values("period", kind="stable")[
        ["unit", "period", "event"]
    ].itertuples(index=False):
        told.setdefault(str(unit), []).append((int(period), str(event)))
    return told


def everywhere() -> NDArray[np.bool_]:
    """What ``present`` is where it is not given: every unit in every period, whatever their number."""
    return np.ones((0, 0), dtype=bool)


def absences(
    present: NDArray[np.bool_], periods: Sequence[int], units: pd.Index, events: pd.DataFrame | None
) -> pd.DataFrame:
    """The table of :meth:`spatial_zb.Panel.absent`, of ``present`` (T, n)."""
    told = _told(events)
    rows = [
        (str(units[i]), *stretch)
        for i in np.flatnonzero(~present.all(axis=0))
        for stretch in _stretches(present[:, i], periods, told.get(str(units[i]), ()))
    ]
    return pd.DataFrame(rows, columns=["unit", "first", "last", "periods", "absence", "why"])


def _stretches(
    there: NDArray[np.bool_], periods: Sequence[int], told: Sequence[tuple[int, str]]
) -> Iterator[tuple[int, int, int, str, str]]:
    """First and last period, length, kind and events of each stretch without one unit; ``there`` (T,)."""
    T = len(periods)
    edges = np.flatnonzero(np.diff(np.concatenate([[True], there, [True]])))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        low = periods[start - 1] if start else -np.inf
        high = periods[stop] if stop < T else np.inf
        why = "; ".join(f"{when}: {what}" for when, what in told if low <= when <= high)
        kind = ABSENCES[bool(start > 0), bool(stop < T)]
        yield periods[start], periods[stop - 1], int(stop - start), kind, why
