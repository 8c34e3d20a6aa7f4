"""The balanced panel, and the one gate through which a table becomes arrays."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.errors import AlignmentError, DataError, SpatialZbWarning, listed
from spatial_zb.text import Text

__all__ = ["Panel", "build_panel"]

#: Names that tables and formulas keep for parameters.
RESERVED = frozenset({"rho", "lam", "sigma2", "(Intercept)"})


@dataclass(frozen=True, eq=False)
class Panel:
    """A balanced panel: every unit in every period.

    Attributes
    ----------
    values
        (T, n, p), read-only; NaN marks a blank cell, which no estimator accepts.
    periods, units, columns
        Labels of the three axes: T ordered periods, n string ids, p variable names.
    labels
        Words for the variables in English and Chinese, where known.
    """

    values: NDArray[np.float64]
    periods: tuple[int, ...]
    units: pd.Index
    columns: tuple[str, ...]
    labels: Mapping[str, Text] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=float)
        values.flags.writeable = False
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "labels", MappingProxyType(dict(self.labels)))

    def __repr__(self) -> str:
        T, n, p = self.values.shape
        return f"Panel({n} units × {T} periods {self.periods[0]}–{self.periods[-1]}, {p} variables)"

    def __reduce__(self) -> tuple:
        return Panel, (self.values, self.periods, self.units, self.columns, dict(self.labels))

    def array(self, names: str | Sequence[str]) -> NDArray[np.float64]:
        """Values of one variable (T, n), or of several (T, n, k).

        Raises
        ------
        DataError
            A name the panel does not have; the message suggests near ones.
        """
        if isinstance(names, str):
            return self.values[:, :, self._position(names)]
        return self.values[:, :, [self._position(name) for name in names]]

    def label(self, name: str) -> Text:
        """Words for a variable; its name where there are none."""
        return self.labels.get(name, Text.of(name))

    def select(self, units: Sequence[str] | None = None, periods: Sequence[int] | None = None) -> Panel:
        """Keep some units and/or periods, in the order of the panel.

        Raises
        ------
        AlignmentError
            A unit or period the panel does not have.
        """
        rows = _keep(pd.Index(self.periods), periods, "period")
        cols = _keep(self.units, units, "unit")
        return replace(
            self,
            values=self.values[np.ix_(rows, cols)],
            periods=tuple(self.periods[i] for i in rows),
            units=self.units[cols],
        )

    def with_columns(
        self, new: Mapping[str, NDArray[np.float64]], labels: Mapping[str, Text] | None = None
    ) -> Panel:
        """Add variables given as (T, n) arrays in the order of this panel; an old name is replaced."""
        kept = [c for c in self.columns if c not in new]
        stacked = [self.array(kept), *(np.asarray(v, float)[:, :, None] for v in new.values())]
        return replace(
            self,
            values=np.concatenate(stacked, axis=2),
            columns=(*kept, *new),
            labels={**self.labels, **(labels or {})},
        )

    def frame(self) -> pd.DataFrame:
        """The panel as a long table with columns ``unit``, ``period`` and the variables."""
        T, n, p = self.values.shape
        index = {"unit": np.tile(self.units, T), "period": np.repeat(self.periods, n)}
        return pd.DataFrame(index).join(
            pd.DataFrame(self.values.reshape(T * n, p), columns=list(self.columns))
        )

    def _position(self, name: str) -> int:
        try:
            return self.columns.index(name)
        except ValueError:
            from difflib import get_close_matches

            near = get_close_matches(name, self.columns, 3)
            hint = f" Did you mean {listed(near)}?" if near else f" It has {listed(self.columns)}."
            raise DataError(f"The panel has no variable {name!r}.{hint}") from None


def build_panel(
    frame: pd.DataFrame,
    unit: str = "unit",
    period: str = "period",
    units: Sequence[str] | pd.Index | None = None,
    *,
    columns: Sequence[str] | None = None,
    labels: Mapping[str, Text] | None = None,
    how: Literal["strict", "inner"] = "strict",
    balance: Literal["error", "drop_units", "drop_periods"] = "error",
) -> Panel:
    """Turn a long table into a Panel, matching units by id.

    Parameters
    ----------
    frame
        One row per unit and period, in any order.
    unit, period
        Names of the id column (text) and of the period column (whole numbers).
    units
        Ids the panel must hold, and their order, e.g. ``W.ids``. Without it: the ids of the table, sorted.
    columns
        Variables to keep; all numeric columns without it.
    how
        ``"strict"``: the table and ``units`` must hold the same ids. ``"inner"``: keep the common ones, with
        a warning; the caller then subsets W as well.
    balance
        What to do with units that miss a period: refuse, drop those units, or drop those periods.

    Raises
    ------
    DataError
        A missing column, a duplicate unit-period, holes, text or infinite values in a variable, a reserved
        or repeated column name, an empty table.
    AlignmentError
        Units of the table and ``units`` differ.
    """
    _check_header(frame, unit, period)
    variables = _numeric(frame, unit, period, columns)
    keys = pd.DataFrame({"unit": _unit_ids(frame[unit]), "period": _periods(frame[period])})
    _refuse_duplicates(keys)
    wanted = _wanted_units(pd.Index(keys["unit"].unique()).sort_values(), units, how)
    inside = keys["unit"].isin(wanted).to_numpy()
    periods = sorted(keys.loc[inside, "period"].unique())
    wide = variables.set_axis(pd.MultiIndex.from_frame(keys)).loc[inside]
    wanted, periods = _balance(wide.index, wanted, periods, balance)
    full = pd.MultiIndex.from_product([periods, wanted], names=["period", "unit"])
    ordered = wide.reorder_levels(["period", "unit"]).reindex(full)
    values = ordered.to_numpy(float).reshape(len(periods), len(wanted), -1)
    return Panel(values, tuple(int(p) for p in periods), wanted, tuple(variables.columns), labels or {})


def _check_header(frame: pd.DataFrame, unit: str, period: str) -> None:
    if not isinstance(frame, pd.DataFrame) or frame.empty:
        raise DataError("The table has no rows. Give a DataFrame with one row per unit and period.")
    twice = frame.columns[frame.columns.duplicated()].unique()
    if len(twice):
        raise DataError(f"The table has columns named twice: {listed(twice)}. Rename one of each.")
    absent = [c for c in (unit, period) if c not in frame]
    if absent:
        raise DataError(
            f"The table has no column {listed(map(repr, absent))}; it has {listed(frame.columns)}."
        )


def _numeric(frame: pd.DataFrame, unit: str, period: str, columns: Sequence[str] | None) -> pd.DataFrame:
    """Take the variables as floats; text that is asked for by name is refused with its cells."""
    body = frame.drop(columns=[unit, period])
    if columns is None:
        chosen = [
            c for c in body if pd.api.types.is_numeric_dtype(body[c]) or pd.api.types.is_bool_dtype(body[c])
        ]
    else:
        absent = [c for c in columns if c not in body]
        if absent:
            raise DataError(
                f"The table has no column {listed(map(repr, absent))}; it has {listed(frame.columns)}."
            )
        chosen = list(columns)
    if not chosen:
        raise DataError("The table has no numeric column.")
    taken = [c for c in chosen if c in RESERVED or str(c).startswith("W_")]
    if taken:
        raise DataError(
            f"Variables may not be called {listed(taken)}: these names stand for parameters. Rename them."
        )
    return pd.DataFrame({c: _as_float(frame, c, unit, period) for c in chosen})


def _as_float(frame: pd.DataFrame, column: str, unit: str, period: str) -> NDArray[np.float64]:
    raw = frame[column]
    number = pd.to_numeric(raw, errors="coerce").astype(float)
    lost = number.isna() & raw.notna()
    if lost.any():
        raise DataError(
            f"Column {column!r} holds text where numbers are needed: {_cells(frame, lost, unit, period, raw)}."
        )
    if raw.dtype == object or isinstance(raw.dtype, pd.StringDtype):
        _warn(f"Column {column!r} stores its numbers as text; read as numbers.")
    infinite = np.isinf(number)
    if infinite.any():
        raise DataError(f"Column {column!r} is infinite at {_cells(frame, infinite, unit, period, raw)}.")
    return number.to_numpy()


def _cells(frame: pd.DataFrame, where: pd.Series, unit: str, period: str, raw: pd.Series) -> str:
    found = frame.loc[where, [unit, period]].assign(value=raw[where])
    return listed((f"{u} {p} ({v!r})" for u, p, v in found.itertuples(index=False)), 5)


def _unit_ids(column: pd.Series) -> pd.Series:
    if column.isna().any():
        raise DataError(f"Column {column.name!r} has {int(column.isna().sum())} row(s) without a unit id.")
    if pd.api.types.is_float_dtype(column):
        if (column % 1 != 0).any():
            raise DataError(
                f"Unit ids in column {column.name!r} are not whole numbers; read the column as text."
            )
        _warn(f"Unit ids in column {column.name!r} are stored as decimals; read as whole numbers.")
        column = column.astype("int64")
    text = column.astype(str)
    clean = text.str.normalize("NFKC").str.replace("\ufeff", "").str.strip()
    if (clean != text).any():
        _warn(f"Blanks or full-width characters were removed from unit ids in column {column.name!r}.")
    return clean.reset_index(drop=True)


def _periods(column: pd.Series) -> pd.Series:
    number = pd.to_numeric(column, errors="coerce")
    wrong = number.isna() | (number % 1 != 0)
    if wrong.any():
        shown = listed(map(repr, column[wrong].unique()), 3)
        raise DataError(f"Periods must be whole numbers such as 2019; column {column.name!r} has {shown}.")
    return number.astype("int64").reset_index(drop=True)


def _refuse_duplicates(keys: pd.DataFrame) -> None:
    twice = keys[keys.duplicated(keep=False)].drop_duplicates()
    if len(twice):
        pairs = [f"{u} {p}" for u, p in twice.itertuples(index=False)]
        raise DataError(
            f"{len(twice)} unit-period(s) appear more than once: {listed(pairs)}. Keep one row for each."
        )


def _wanted_units(found: pd.Index, units: Sequence[str] | pd.Index | None, how: str) -> pd.Index:
    if units is None:
        return pd.Index(found, dtype=str)
    wanted = pd.Index([str(u) for u in units], dtype=str)
    if wanted.has_duplicates:
        raise AlignmentError(f"The list of units names some twice: {listed(wanted[wanted.duplicated()])}.")
    missing, extra = wanted.difference(found), found.difference(wanted)
    if how == "inner":
        common = wanted[wanted.isin(found)]
        if not len(common):
            raise AlignmentError(
                "The table and the list of units have no unit in common. Do both use the same codes?"
            )
        if len(missing) or len(extra):
            _warn(f"{len(common)} units are in both; left out: {listed([*missing, *extra])}.")
        return common
    if len(missing) or len(extra):
        raise AlignmentError(
            f"The table and the list of units (weights or polygons) differ: {len(missing)} unit(s) have no rows in "
            f"the table ({listed(missing) or 'none'}), {len(extra)} unit(s) of the table are not in the list "
            f"({listed(extra) or 'none'}). Add or drop them, or pass how='inner' to keep the common ones."
        )
    return wanted


def _balance(
    index: pd.MultiIndex, units: pd.Index, periods: list[int], balance: str
) -> tuple[pd.Index, list[int]]:
    full = pd.MultiIndex.from_product([units, periods])
    holes = full.difference(index)
    if not len(holes):
        return units, periods
    if balance == "drop_units":
        gone = holes.get_level_values(0).unique()
        _warn(f"{len(gone)} unit(s) without all periods were dropped: {listed(gone)}.")
        return _non_empty(units[~units.isin(gone)], "unit"), periods
    if balance == "drop_periods":
        gone = holes.get_level_values(1).unique()
        _warn(f"{len(gone)} period(s) without all units were dropped: {listed(gone)}.")
        return units, list(_non_empty([p for p in periods if p not in gone], "period"))
    pairs = [f"{u} {p}" for u, p in holes]
    raise DataError(
        f"The panel has {len(holes)} hole(s): {listed(pairs)}. A unit that exists in some years only was often "
        'reorganised: sum it within constant boundaries, or pass balance="drop_units" or "drop_periods".'
    )


def _non_empty(kept: Any, what: str) -> Any:
    if not len(kept):
        raise DataError(f"No {what} is complete, so nothing is left after balancing.")
    return kept


def _keep(labels: pd.Index, chosen: Sequence | None, what: str) -> NDArray[np.intp]:
    if chosen is None:
        return np.arange(len(labels))
    chosen = pd.Index(chosen)
    missing = chosen.difference(labels)
    if len(missing):
        raise AlignmentError(f"The panel has no {what} {listed(missing)}.")
    return np.flatnonzero(labels.isin(chosen))


def _warn(message: str) -> None:
    warnings.warn(message, SpatialZbWarning, stacklevel=4)
