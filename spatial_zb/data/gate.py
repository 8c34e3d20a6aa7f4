"""The one gate through which a table becomes arrays: ids matched, holes and blanks named, nothing repaired in silence."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.base.arguments import gathered, need_columns
from spatial_zb.base.errors import AlignmentError, DataError, listed, listed_zh, not_one_of
from spatial_zb.base.notes import warn
from spatial_zb.base.text import Text
from spatial_zb.data.cells import numbers_of, period_numbers, unit_ids, without_marks
from spatial_zb.data.panel import Panel
from spatial_zb.data.units import region_names, suggested

#: Names that tables and formulas keep for parameters.
RESERVED = frozenset({"rho", "lam", "tau", "eta", "sigma2", "(Intercept)"})
HOW = ("strict", "inner")
BALANCE = ("error", "keep", "drop_units", "drop_periods")
#: A value this many times the others was probably entered in another unit of measurement.
OUTLIER = 300.0
#: ... if the others do not differ more than this among themselves.
SPREAD = 30.0


@gathered(
    "frame", lambda frame, thousands: without_marks(frame, thousands) if thousands else frame, "thousands"
)
def build_panel(
    frame: pd.DataFrame,
    unit: str = "unit",
    period: str = "period",
    units: Sequence[str] | pd.Index | pd.DataFrame | None = None,
    *,
    columns: Sequence[str] | None = None,
    labels: Mapping[str, Text] | None = None,
    how: Literal["strict", "inner"] = "strict",
    balance: Literal["error", "keep", "drop_units", "drop_periods"] = "error",
) -> Panel:
    """Turn a long table into a Panel, matching units by id.

    Parameters
    ----------
    frame
        One row per unit and period, in any order.
    unit, period
        Names of the id column (text) and of the period column (whole numbers).
    units
        Ids the panel must hold, and their order, e.g. ``W.ids``; polygons indexed by id serve as well, and let
        messages suggest codes for names. Without it: the ids of the table, sorted. An id of the table that
        differs from exactly one of them by lost leading zeros takes its form, with a warning.
    columns
        Variables to keep; all numeric columns without it. Numbers stored as text are read where they are named, and left
        out with a warning where they are not; for ``"1,234"`` see :func:`~spatial_zb.data.cells.without_marks`.
    how
        ``"strict"``: the table and ``units`` must hold the same ids. ``"inner"``: keep the common ones, with
        a warning; the caller then subsets W as well.
    balance
        What to do with units that miss a period: refuse, keep them as absent there (``panel.present``, and
        ``panel.absent()`` lists them; blank cells then are left out where they are used instead of refused), drop those
        units, or drop those periods.

    Raises
    ------
    DataError
        A missing column, a duplicate unit-period, holes, text, dates, complex or infinite values in a variable, a reserved
        or repeated column name, an empty table, another word for ``how`` or ``balance``.
    AlignmentError
        Units of the table and ``units`` differ.
    """
    if how not in HOW:
        raise not_one_of("how", how, HOW, kind=DataError)
    if balance not in BALANCE:
        raise not_one_of("balance", balance, BALANCE, kind=DataError)
    _check_header(frame, unit, period)
    variables = _numeric(frame, unit, period, columns)
    names = region_names(units)
    if isinstance(units, pd.DataFrame):
        _refuse_numbered(units, frame[unit])
    units = units.index if isinstance(units, pd.DataFrame) else units
    keys = pd.DataFrame({"unit": unit_ids(frame[unit], units), "period": period_numbers(frame[period])})
    _refuse_duplicates(keys)
    wanted = _wanted_units(pd.Index(keys["unit"].unique()).sort_values(), units, how, names)
    inside = keys["unit"].isin(wanted).to_numpy()
    periods = sorted(keys.loc[inside, "period"].unique())
    wide = variables.set_axis(pd.MultiIndex.from_frame(keys)).loc[inside]
    wanted, periods = _balance(wide.index, wanted, periods, balance)
    full = pd.MultiIndex.from_product([periods, wanted], names=["period", "unit"])
    ordered = wide.reorder_levels(["period", "unit"]).reindex(full)
    values = ordered.to_numpy(float).reshape(len(periods), len(wanted), -1)
    _mention_outliers(values, wanted, periods, variables.columns)
    present = full.isin(wide.reorder_levels(["period", "unit"]).index).reshape(values.shape[:2])
    held, years = tuple(variables.columns), tuple(int(p) for p in periods)
    return Panel(values, years, wanted, held, labels or {}, present, balance == "keep")


def _check_header(frame: pd.DataFrame, unit: str, period: str) -> None:
    if not isinstance(frame, pd.DataFrame) or frame.empty:
        raise DataError(
            "The table has no rows. Give a DataFrame with one row per unit and period.",
            "表中没有数据行。请给出每个地区每个时期一行的DataFrame。",
        )
    twice = frame.columns[_cleaned(frame.columns).duplicated()].unique()
    if len(twice):
        raise DataError(
            f"The table has columns named twice: {listed(twice)}. Blanks around a name and full-width letters "
            "make no difference. Rename one of each.",
            f"表中有重名的列：{listed_zh(twice)}。名称前后的空格和全角字母不作区分。请改名。",
        )
    need_columns(frame, (unit, period))


def _cleaned(names: pd.Index) -> pd.Index:
    return pd.Index(
        [unicodedata.normalize("NFKC", str(name)).replace("\ufeff", "").strip() for name in names]
    )


def _numeric(frame: pd.DataFrame, unit: str, period: str, columns: Sequence[str] | None) -> pd.DataFrame:
    """Take the variables as floats; text that is asked for by name is refused with its cells."""
    body = frame.drop(columns=[unit, period])
    if columns is None:
        chosen = [
            c for c in body if pd.api.types.is_numeric_dtype(body[c]) or pd.api.types.is_bool_dtype(body[c])
        ]
        _mention_left_out(body, [c for c in body if c not in chosen])
    else:
        keys = [c for c in columns if c in (unit, period)]
        if keys:
            raise DataError(
                f"{listed(map(repr, keys))} tells the unit or the period of a row and cannot be a variable too. For a "
                "trend, copy it into a column of another name.",
                f"{listed_zh(map(repr, keys))}列表明每行的地区或时期，不能同时作变量。"
                "若要时间趋势，请将其复制为另一名称的列。",
            )
        need_columns(frame, columns)
        chosen = list(columns)
    if not chosen:
        raise DataError("The table has no numeric column.", "表中没有数值列。")
    clean = _cleaned(pd.Index(chosen))
    taken = [c for c, name in zip(chosen, clean, strict=True) if name in RESERVED or name.startswith("W_")]
    if taken:
        raise DataError(
            f"Variables may not be called {listed(taken)}: these names stand for parameters. Rename them.",
            f"变量不能命名为{listed_zh(taken)}：这些名称代表参数。请改名。",
        )
    return pd.DataFrame({c: numbers_of(frame, c, unit, period) for c in chosen})


def _mention_left_out(body: pd.DataFrame, columns: Sequence[str]) -> None:
    """Warn of columns that hold numbers among text and so are no variables unless they are named."""
    held = [c for c in columns if any(map(_tells_a_number, body[c].astype(object)))]
    if held:
        warn(
            f"Columns that hold numbers as text, or beside text, were left out: {listed(held)}. To read them, name the "
            "variables with columns=[...].",
            f"以下列的数字存为文本，或与文本混在一列，未纳入：{listed_zh(held)}。如需读取，请用columns=[...]列出变量。",
        )


def _tells_a_number(cell: object) -> bool:
    if not isinstance(cell, str):
        return isinstance(cell, int | float | np.number) and cell == cell
    return bool(re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*", cell, re.IGNORECASE))


def _mention_outliers(
    values: NDArray[np.float64], units: pd.Index, periods: Sequence[int], columns: Sequence[str]
) -> None:
    """Warn of values a thousand times those of the same unit, or of all cells; they are never altered."""
    if values.shape[0] * values.shape[1] < 4:
        return
    for k, column in enumerate(columns):
        sizes = np.abs(values[:, :, k])
        found = _stands_out(sizes.reshape(-1, 1), spread=np.inf).reshape(sizes.shape)
        if len(sizes) >= 4:
            found = found | _stands_out(sizes, SPREAD)
        cells = [f"{units[i]} in {periods[t]} ({values[t, i, k]:g})" for t, i in np.argwhere(found)]
        if cells:
            warn(
                f"{column} stands out by a factor of {OUTLIER:g} or more: {listed(cells, 4)}. Check the unit of "
                "measurement; the value was kept.",
                f"{column}有数值是其他数值的{OUTLIER:g}倍以上：{listed_zh(cells, 4)}。请核对计量单位；数值未作改动。",
            )


def _stands_out(sizes: NDArray[np.float64], spread: float) -> NDArray[np.bool_]:
    """The largest of each column, if it is many times the second and the others are alike; (m, k) → (m, k)."""
    known = np.where(np.isfinite(sizes), sizes, -1.0)
    order = np.sort(known, axis=0)
    largest, second = order[-1], order[-2]
    least = np.where(known >= 0, known, np.inf).min(axis=0)
    alike = np.isinf(spread) | (second <= least * min(spread, SPREAD))
    return (known == largest) & (second > 0) & (largest >= OUTLIER * second) & alike


def _refuse_duplicates(keys: pd.DataFrame) -> None:
    twice = keys[keys.duplicated(keep=False)].drop_duplicates()
    if len(twice):
        pairs = [f"{u} {p}" for u, p in twice.itertuples(index=False)]
        raise DataError(
            f"{len(twice)} unit-period(s) appear more than once: {listed(pairs)}. Keep one row for each.",
            f"{len(twice)}个地区-时期重复出现：{listed_zh(pairs)}。请各保留一行。",
        )


def _refuse_numbered(regions: pd.DataFrame, ids: pd.Series) -> None:
    """Refuse polygons whose index counts rows where the ids stand in one of their columns."""
    if not isinstance(regions.index, pd.RangeIndex):
        return
    known = set(ids.dropna().astype(str))
    shares = {c: len(known & set(regions[c].astype(str))) for c in regions if c != "geometry"}
    column = max(shares, key=lambda name: shares[name], default=None)
    if column is not None and shares[column] > len(known & set(regions.index.astype(str))):
        raise AlignmentError(
            f"The polygons are indexed by the number of their row, and their ids stand in {column!r}: give "
            f"regions.set_index({column!r}).",
            f"底图以行号为索引，而地区编码在{column!r}列：请用regions.set_index({column!r})。",
        )


def _wanted_units(
    found: pd.Index, units: Sequence[str] | pd.Index | None, how: str, names: Mapping[str, str]
) -> pd.Index:
    if units is None:
        return pd.Index(found, dtype=str)
    wanted = pd.Index([str(u) for u in units], dtype=str)
    if wanted.has_duplicates:
        raise AlignmentError(
            f"The list of units names some twice: {listed(wanted[wanted.duplicated()])}.",
            f"地区名单中有重复：{listed_zh(wanted[wanted.duplicated()])}。",
        )
    missing, extra = wanted.difference(found), found.difference(wanted)
    if how == "inner":
        common = wanted[wanted.isin(found)]
        if not len(common):
            raise AlignmentError(
                "The table and the list of units have no unit in common. Do both use the same codes?",
                "表与地区名单没有共同的地区。两者用的是同一套编码吗？",
            )
        if len(missing) or len(extra):
            warn(
                f"{len(common)} units are in both; left out: {listed([*missing, *extra])}.",
                f"两者共有的地区{len(common)}个；未纳入：{listed_zh([*missing, *extra])}。",
            )
        return common
    if len(missing) or len(extra):
        raise AlignmentError(
            f"The table and the list of units (weights or polygons) differ: {len(missing)} unit(s) have no rows in "
            f"the table ({listed(missing) or 'none'}), {len(extra)} unit(s) of the table are not in the list "
            f"({listed(extra) or 'none'}).{likely_meant(extra, wanted, names).en} Add or drop them, or pass how='inner' to "
            "keep the common ones.",
            f"表与地区名单（权重矩阵或底图）不一致：{len(missing)}个地区在表中没有数据（{listed_zh(missing) or '无'}），"
            f"表中{len(extra)}个地区不在名单中（{listed_zh(extra) or '无'}）。{likely_meant(extra, wanted, names).zh}"
            "请补充或剔除，或用how='inner'只保留共同的地区。",
        )
    return wanted


def likely_meant(extra: pd.Index, wanted: Sequence[str], names: Mapping[str, str]) -> Text:
    """A sentence that says which of the ``wanted`` codes unknown ids may stand for; empty where none is near.

    ``names`` gives the code of every known name.
    """
    near = {unit: suggested(unit, list(wanted), names) for unit in extra[:20]}
    pairs = [(unit, code) for unit, code in near.items() if code]
    if not pairs:
        return Text("", "")
    return Text(
        f" {listed((f'{unit} may be {code}' for unit, code in pairs), 5)}.",
        f"{listed_zh((f'{unit}可能是{code}' for unit, code in pairs), 5)}。",
    )


def _balance(
    index: pd.MultiIndex, units: pd.Index, periods: list[int], balance: str
) -> tuple[pd.Index, list[int]]:
    full = pd.MultiIndex.from_product([units, periods])
    holes = full.difference(index)
    if not len(holes) or balance == "keep":
        return units, periods
    if balance == "drop_units":
        gone = holes.get_level_values(0).unique()
        warn(
            f"{len(gone)} unit(s) without all periods were dropped: {listed(gone)}.",
            f"剔除时期不全的地区{len(gone)}个：{listed_zh(gone)}。",
        )
        return _non_empty(units[~units.isin(gone)], Text("unit", "地区")), periods
    if balance == "drop_periods":
        gone = holes.get_level_values(1).unique()
        warn(
            f"{len(gone)} period(s) without all units were dropped: {listed(gone)}.",
            f"剔除地区不全的时期{len(gone)}个：{listed_zh(gone)}。",
        )
        kept = [p for p in periods if p not in gone]
        return units, list(_non_empty(kept, Text("period", "时期")))
    pairs = [f"{u} {p}" for u, p in holes]
    raise DataError(
        f"The panel has {len(holes)} hole(s): {listed(pairs)}. A unit that exists in some years only was often "
        'reorganised: sum it within constant boundaries, keep it as absent in the others with balance="keep", or pass '
        'balance="drop_units" or "drop_periods".',
        f"面板有{len(holes)}处缺行：{listed_zh(pairs)}。只在部分年份存在的地区多因区划调整：请按不变边界合并，"
        '用balance="keep"保留（其余时期记为不存在），或用balance="drop_units"、"drop_periods"。',
    )


def _non_empty(kept: Any, what: Text) -> Any:
    if not len(kept):
        raise DataError(
            f"No {what.en} is complete, so nothing is left after balancing.",
            f"没有数据完整的{what.zh}，平衡后一无所剩。",
        )
    return kept
