"""The panel: frozen arrays, checked on entry, labelled by period, unit and variable; units may come and go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from operator import index
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.base.errors import AlignmentError, DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.printing import Drawn, shown_in_html
from spatial_zb.base.text import Text
from spatial_zb.data.cells import real_values
from spatial_zb.data.units import absences, everywhere, presence


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


def _check_fit(shape: tuple[int, ...], T: int, n: int, p: int) -> None:
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


@dataclass(frozen=True, eq=False)
class Panel(Drawn):
    """Variables of units and periods; every unit in every period, unless ``present`` says otherwise.

    Attributes
    ----------
    values
        (T, n, p), read-only; NaN marks a blank cell, and every cell of a unit-period that is absent.
    periods, units, columns
        Labels of the three axes: T ordered periods, n string ids, p variable names.
    labels
        Words for the variables in English and Chinese, where known.
    present
        (T, n), read-only: whether the unit exists in the period. A city that is not yet founded is absent; a figure that
        is not known is a blank cell of a unit that is present.
    uneven
        Whether what is absent or blank is left out where it is used; else it is refused. ``build_panel(balance="keep")``
        says so, and a panel with absent unit-periods always is.

    Raises
    ------
    DataError
        Values that are not real numbers, or not as many as labels; periods that are not ascending whole numbers; names
        that are not text, or repeated; ``present`` of another shape or kind, values where a unit is absent.
    AlignmentError
        Repeated units.
    """

    pictures = ("path", "map")

    values: NDArray[np.float64]
    periods: tuple[int, ...]
    units: pd.Index
    columns: tuple[str, ...]
    labels: Mapping[str, Text] = field(default_factory=dict)
    present: NDArray[np.bool_] = field(default_factory=everywhere)
    uneven: bool = False

    def __post_init__(self) -> None:
        values = real_values(self.values, Text("Values of a panel", "面板的数值"))
        values.flags.writeable = False
        periods, columns = period_labels(self.periods), variable_names(self.columns)
        units = unit_labels(self.units)
        _check_fit(values.shape, len(periods), len(units), len(columns))
        present = presence(self.present, values, periods, units)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "periods", periods)
        object.__setattr__(self, "units", units)
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "labels", MappingProxyType(dict(self.labels)))
        object.__setattr__(self, "present", present)
        object.__setattr__(self, "uneven", bool(self.uneven or not present.all()))

    def __repr__(self) -> str:
        T, n, p = self.values.shape
        span = f" {self.periods[0]}–{self.periods[-1]}" if T else ""
        rows = "" if self.balanced else f", {self.present.sum():,} of {T * n:,} unit-periods present"
        return f"Panel({n} units × {T} periods{span}, {p} variables{rows})"

    def _repr_html_(self) -> str:
        seen, words = np.isfinite(self.values), [self.label(name).en for name in self.columns]
        numbers = {"variable": self.columns, "label": words, "values": seen.sum(axis=(0, 1))}
        for name, of in (("mean", np.nanmean), ("min", np.nanmin), ("max", np.nanmax)):
            columns = (self.values[:, :, at] for at in range(len(self.columns)))
            numbers[name] = [of(part) if np.isfinite(part).any() else np.nan for part in columns]
        return shown_in_html("Panel", repr(self), pd.DataFrame(numbers))

    def __reduce__(self) -> tuple:
        parts = (
            self.values,
            self.periods,
            self.units,
            self.columns,
            dict(self.labels),
            self.present,
            self.uneven,
        )
        return Panel, parts

    @property
    def balanced(self) -> bool:
        """Whether every unit is present in every period."""
        return bool(self.present.all())

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

    def rows(self, names: str | Sequence[str]) -> NDArray[np.bool_]:
        """Where (T, n) a unit is present and none of these variables is blank."""
        wanted = [names] if isinstance(names, str) else list(names)
        return self.present & ~np.isnan(self.array(wanted)).any(axis=2)

    def label(self, name: str) -> Text:
        """Label of a variable; its name where it has no label."""
        return self.labels.get(name, Text.of(name))

    def select(self, units: Sequence[str] | None = None, periods: Sequence[int] | None = None) -> Panel:
        """Keep some units and/or periods, in the order of the panel.

        Raises
        ------
        AlignmentError
            A unit or period the panel does not have, or one that is named twice.
        """
        rows = chosen_labels(pd.Index(self.periods), periods, Text("period", "时期"))
        cols = chosen_labels(self.units, units, Text("unit", "地区"))
        return self._picked(rows, cols)

    def by_id(self) -> Panel:
        """The panel in the order of its ids."""
        if self.units.is_monotonic_increasing:
            return self
        return self._picked(np.arange(len(self.periods)), np.argsort(self.units.to_numpy()))

    def _picked(self, rows: NDArray[np.intp], cols: NDArray[np.intp]) -> Panel:
        return replace(
            self,
            values=self.values[rows][:, cols],
            periods=tuple(self.periods[i] for i in rows),
            units=self.units[cols],
            present=self.present[rows][:, cols],
        )

    def with_columns(
        self, new: Mapping[str, NDArray[np.float64]], labels: Mapping[str, Text] | None = None
    ) -> Panel:
        """Add variables given as (T, n) arrays in the order of this panel; an old name is replaced.

        What an array holds for a unit that is absent in a period is left out.

        Raises
        ------
        DataError
            An array of another shape, or one that does not hold real numbers.
        """
        kept = [c for c in self.columns if c not in new]
        stacked = [self.array(kept), *(self._new(name, v)[:, :, None] for name, v in new.items())]
        return replace(
            self,
            values=np.concatenate(stacked, axis=2),
            columns=(*kept, *new),
            labels={**self.labels, **(labels or {})},
        )

    def frame(self) -> pd.DataFrame:
        """The panel as a long table with columns ``unit``, ``period`` and the variables; a row for all that is present."""
        periods, units = np.nonzero(self.present)
        index = {"unit": self.units.to_numpy()[units], "period": np.asarray(self.periods, dtype=int)[periods]}
        return pd.DataFrame(index).join(pd.DataFrame(self.values[self.present], columns=list(self.columns)))

    def absent(self, events: pd.DataFrame | None = None) -> pd.DataFrame:
        """When units are absent, and why: one row for each stretch of periods of the panel without the unit.

        Parameters
        ----------
        events
            What became of units: columns ``unit``, ``period`` and ``event`` (text). An event is told where it falls within
            the stretch, or into the period of the panel before it or after it.

        Returns
        -------
        DataFrame with ``unit, first, last`` (periods), ``periods`` (how many), ``absence`` (``"enters late"``,
        ``"leaves"``, ``"gap"``, ``"never there"``) and ``why`` (events as ``"2011: dissolved"``, or blank).

        Raises
        ------
        DataError
            ``events`` without one of its columns.

        Examples
        --------
        >>> frame = pd.DataFrame({"unit": ["a", "a", "b"], "period": [2010, 2011, 2011], "x": [1.0, 2.0, 3.0]})
        >>> from spatial_zb.data.gate import build_panel
        >>> build_panel(frame, balance="keep").absent()[["unit", "first", "last", "absence"]].values.tolist()
        [['b', 2010, 2010, 'enters late']]
        """
        return absences(self.present, self.periods, self.units, events)

    def _new(self, name: str, given: Any) -> NDArray[np.float64]:
        what = Text(f"Values of {name!r}", f"{name!r}的数值")
        values, shape = real_values(given, what), self.values.shape[:2]
        if values.shape != shape:
            seen, seen_zh = (
                (f"an array of the shape {values.shape}", f"形状为{values.shape}的数组")
                if values.ndim
                else ("one number", "一个数")
            )
            raise DataError(
                f"{what.en} must be an array of periods × units, {shape}, not {seen}. numpy.broadcast_to({name}, {shape}) "
                "repeats one.",
                f"{what.zh}须为时期 × 地区的数组{shape}，而不是{seen_zh}。numpy.broadcast_to({name}, {shape})可重复其值。",
            )
        values[~self.present] = np.nan
        return values

    def _position(self, name: str) -> int:
        try:
            return self.columns.index(name)
        except ValueError:
            from difflib import get_close_matches

            near = get_close_matches(name, self.columns, 3)
            hint = (
                Text(f"Did you mean {listed(near)}?", f"是否应为{listed_zh(near)}？")
                if near
                else Text(
                    f"It has {listed(self.columns)}. (Columns of text enter a panel only where build_panel is given their "
                    "names with columns=.)",
                    f"已有{listed_zh(self.columns)}。（文本列须由build_panel的columns=列出方可纳入面板。）",
                )
            )
            raise DataError(
                f"The panel has no variable {name!r}. {hint.en}", f"面板中没有变量{name!r}。{hint.zh}"
            ) from None


def require_complete(panel: Panel, need: Text) -> None:
    """Refuse a panel in which units are absent in some periods.

    Parameters
    ----------
    panel
        The panel; its blank cells are another matter.
    need
        What needs a complete panel, as the subject of the message.

    Raises
    ------
    DataError
        Naming units and periods that are absent, and how to keep what is complete.
    """
    if panel.balanced:
        return
    spans = [
        f"{row.unit} {row.first}" + (f"–{row.last}" if row.last > row.first else "")
        for row in panel.absent().itertuples()
    ]
    raise DataError(
        f"{need.en} needs every unit in every period, and {(~panel.present).sum():,} unit-periods are absent: "
        f"{listed(spans, 5)}. Keep the units that are always there, "
        "panel.select(units=panel.units[panel.present.all(axis=0)]), or the periods with all units; W then has to be of "
        "the same units (W.subset).",
        f"{need.zh}要求每个地区每期都有数据，而面板缺{(~panel.present).sum():,}个地区-时期：{listed_zh(spans, 5)}。"
        "请只保留各期齐全的地区panel.select(units=panel.units[panel.present.all(axis=0)])，"
        "或地区齐全的时期；权重矩阵须取相同地区（W.subset）。",
    )


def require_panel(panel: object) -> None:
    """Refuse anything but a Panel, such as a table.

    Raises
    ------
    SpecificationError
        It is no :class:`Panel`.
    """
    if not isinstance(panel, Panel):
        raise SpecificationError(
            f"panel must be a Panel, not a {type(panel).__name__}: zb.build_panel(frame, units=W.ids) makes one of a table.",
            f"panel须为Panel，而不是{type(panel).__name__}：zb.build_panel(frame, units=W.ids)可由表格生成。",
        )


LAG_IN_TIME = Text("A lag in time", "时间滞后")


def require_consecutive(panel: Panel, need: Text | str = LAG_IN_TIME) -> int:
    """Refuse a panel whose periods are not equally far apart, and give their distance.

    Years 2000, 2010, 2020 are consecutive with the distance 10: a lag is then one of ten years.

    Parameters
    ----------
    panel
        The panel whose periods are to be lagged or differenced.
    need
        What needs it, as the subject of the message.

    Raises
    ------
    DataError
        A single period; a gap, which is named with the periods that would fill it and the longest stretch
        without one.
    """
    need, periods = Text.of(need), panel.periods
    if len(periods) < 2:
        raise DataError(
            f"{need.en} needs two or more periods; the panel has only {listed(periods)}.",
            f"{need.zh}至少需要两个时期；面板只有{listed_zh(periods)}。",
        )
    distances = np.diff(periods)
    step = int(distances.min())
    if (distances == step).all():
        return step
    wide = np.flatnonzero(distances != step)
    gaps = [f"{periods[i + 1]} follows {periods[i]}" for i in wide]
    gaps_zh = [f"{periods[i]}之后为{periods[i + 1]}" for i in wide]
    absent = [p for i in wide for p in range(periods[i] + step, periods[i + 1], step)]
    whole = (distances % step == 0).all()
    fill = f"Add {listed(absent)}, or keep" if whole else "Keep"
    fill_zh = f"请补上{listed_zh(absent)}，或只保留" if whole else "请只保留"
    edges = [0, *(wide + 1), len(periods)]
    start, stop = max(pairwise(edges), key=lambda edge: edge[1] - edge[0])
    select = f"panel.select(periods=range({periods[start]}, {periods[stop - 1] + 1}, {step}))"
    raise DataError(
        f"{need.en} needs periods without gaps, {step} apart as {periods[start]}–{periods[stop - 1]} are; but "
        f"{listed(gaps, 4)}. {fill} a stretch without gaps: {select}.",
        f"{need.zh}要求时期无间断，如{periods[start]}—{periods[stop - 1]}那样间隔{step}；但{listed_zh(gaps_zh, 4)}。"
        f"{fill_zh}无间断的一段：{select}。",
    )
