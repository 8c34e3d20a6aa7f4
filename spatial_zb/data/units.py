"""Units: which of several objects match, whose boundary did not change, and when they come and go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.base.arguments import need_columns
from spatial_zb.base.errors import (
    DataError,
    SpecificationError,
    listed,
    listed_zh,
    not_one_of,
)
from spatial_zb.base.notes import warn

#: What a stretch without a unit is, by whether it is there before and after it.
ABSENCES = {
    (False, True): "enters late",
    (True, False): "leaves",
    (True, True): "gap",
    (False, False): "never there",
}


# --- matching ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MatchReport:
    """Which units a table, a map and weights have in common.

    Attributes
    ----------
    matched, only_in_panel, only_on_map, only_in_weights
        Ids in all the objects given, and ids of one object that no other has.
    table
        One row per id that is not matched: ``unit, in_panel, on_map, in_weights, nearest``. The last column
        suggests what was meant: a code whose leading zeros were lost, a unit of a similar name or code.
    """

    matched: tuple[str, ...]
    only_in_panel: tuple[str, ...]
    only_on_map: tuple[str, ...]
    only_in_weights: tuple[str, ...]
    table: pd.DataFrame

    def __str__(self) -> str:
        parts = {
            "only in the panel": self.only_in_panel,
            "only on the map": self.only_on_map,
            "only in the weights": self.only_in_weights,
        }
        said = [f"{len(self.matched)} unit(s) matched"]
        said += [f"{len(ids)} {where}: {listed(ids)}" for where, ids in parts.items() if ids]
        where = {"in_panel": "in the panel", "on_map": "on the map", "in_weights": "in the weights"}
        in_two = self.table[self.table[list(where)].sum(axis=1) == 2]
        for column, place in where.items():
            ids = in_two.loc[~in_two[column].astype(bool), "unit"]
            said += [f"{len(ids)} missing {place} only: {listed(ids)}"] if len(ids) else []
        near = self.table.loc[self.table["nearest"] != "", ["unit", "nearest"]]
        said += [f"{unit} may be {nearest}" for unit, nearest in near.itertuples(index=False)]
        return "; ".join(said) + "."


def match_report(panel: Any, regions: Any = None, W: Any = None, *, unit: str = "unit") -> MatchReport:
    """Compare the units of a panel or table with those of a map and of weights.

    Parameters
    ----------
    panel
        A Panel, or a DataFrame with the column ``unit``.
    regions
        Polygons indexed by id; their columns ``name_zh`` and ``name_en`` serve to suggest matches.
    W
        Weights, or anything with ``ids``.

    Raises
    ------
    DataError
        The table has no such column.
    SpecificationError
        Neither a map nor weights are given.
    """
    given: dict[str, list[str]] = {"in_panel": _ids_of(panel, unit)}
    if regions is not None:
        given["on_map"] = [str(i) for i in regions.index]
    if W is not None:
        given["in_weights"] = [str(i) for i in W.ids]
    if len(given) < 2:
        raise SpecificationError(
            "There is nothing to compare with: give regions=, W= or both.",
            "没有可比较的对象：请给出regions=、W=或两者。",
        )
    everything = list(dict.fromkeys(i for ids in given.values() for i in ids))
    frame = pd.DataFrame(
        {key: pd.Index(everything).isin(ids) for key, ids in given.items()}, index=everything
    )
    frame = frame.reindex(columns=["in_panel", "on_map", "in_weights"], fill_value=False)
    common = frame[list(given)].all(axis=1)
    alone = frame[list(given)].sum(axis=1) == 1
    names = region_names(regions)
    rest = [
        {"unit": i, **frame.loc[i].to_dict(), "nearest": _nearest(i, given, names)}
        for i in frame.index[~common]
    ]
    table = pd.DataFrame(rest, columns=["unit", *frame.columns, "nearest"])
    in_panel, on_map, in_weights = (tuple(frame.index[alone & frame[key]]) for key in frame.columns)
    return MatchReport(tuple(frame.index[common]), in_panel, on_map, in_weights, table)


def _ids_of(panel: Any, unit: str) -> list[str]:
    if not isinstance(panel, pd.DataFrame):
        return [str(i) for i in panel.units]
    if unit not in panel:
        raise DataError(
            f"The table has no column {unit!r}; it has {listed(panel.columns)}. Name it with unit=.",
            f"表中没有列{unit!r}；已有{listed_zh(panel.columns)}。请用unit=指明。",
        )
    return [str(i) for i in panel[unit].dropna().unique()]


def _nearest(unit: str, given: Mapping[str, Sequence[str]], names: Mapping[str, str]) -> str:
    others = dict.fromkeys(i for ids in given.values() if unit not in ids for i in ids)
    return suggested(unit, list(others), names)


def region_names(regions: Any) -> dict[str, str]:
    """Names of polygons, Chinese or English, by name: the id they belong to."""
    columns = [c for c in ("name_zh", "name_en") if c in getattr(regions, "columns", ())]
    return {str(name): str(i) for c in columns for i, name in regions[c].dropna().items()}


def suggested(unit: str, ids: Sequence[str], names: Mapping[str, str]) -> str:
    """What a unit that was not found may mean: ``"330100 (杭州市)"``; empty where nothing is near.

    ``names`` gives the id of every known name. A short name (杭州) is that of the one longer name it begins.
    """
    zeros = [i for i in ids if unit.isdigit() and i.isdigit() and i.lstrip("0") == unit.lstrip("0")]
    if zeros:
        return zeros[0]
    near = [name for name in names if name.startswith(unit) or (len(name) > 1 and unit.startswith(name))]
    near = near if len(near) == 1 else get_close_matches(unit, list(names), 1, 0.7)
    if near and names[near[0]] in ids:
        return f"{names[near[0]]} ({near[0]})"
    if unit.isdigit():  # another digit is another place: no guess among codes
        return ""
    return next(iter(get_close_matches(unit, ids, 1, 0.8)), "")


def padded(found: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """Ids of ``found`` that differ from exactly one of ``wanted`` by leading zeros only.

    Examples
    --------
    >>> padded(["33", "11"], ["033", "11"])
    {'33': '033'}
    """
    known, expected = set(found), set(wanted)
    missing = [code for code in expected - known if code.isdigit()]
    extra = [code for code in found if code not in expected and code.isdigit()]
    lost = _once(missing)
    return {code: lost[bare] for bare, code in _once(extra).items() if bare in lost}


def _once(codes: Sequence[str]) -> dict[str, str]:
    """Codes by their form without leading zeros, where no two share it."""
    count = Counter(code.lstrip("0") for code in codes)
    return {code.lstrip("0"): code for code in codes if count[code.lstrip("0")] == 1}


# --- constant boundaries -----------------------------------------------------------------------------------


def constant_units(
    frame: pd.DataFrame,
    concordance: Mapping[str, str] | pd.Series,
    *,
    unit: str,
    sums: Sequence[str] = (),
    weighted_means: Mapping[str, str] | None = None,
    by: Sequence[str] = (),
    blanks: Literal["blank", "skip"] = "blank",
) -> pd.DataFrame:
    """Join units whose boundaries changed into units that did not, so that periods can be compared.

    Parameters
    ----------
    frame
        One row per unit (and per period, named in ``by``).
    concordance
        Constant unit by unit id: a mapping, or a Series indexed by id.
    unit
        Column of the ids.
    sums
        Variables that add up: persons, area, money.
    weighted_means
        Variables that do not (rates, prices): the variable → the column of its weights, such as population.
    by
        Columns kept apart, such as the period.
    blanks
        ``"blank"``: a joined unit with a blank part is blank. ``"skip"``: blank parts count nothing (for parts
        counted in a sibling); a unit of blanks only stays blank.

    Returns
    -------
    DataFrame with the columns ``constant_unit``, those of ``by`` and the variables, sorted by the first two.

    Raises
    ------
    DataError
        A column is missing or not numeric, a unit is not in the concordance or stands twice, or a weight is
        negative or adds up to zero.
    SpecificationError
        No variable is declared, or one is declared twice.

    Examples
    --------
    >>> table = pd.DataFrame({"id": ["a", "b", "c"], "people": [10.0, 30.0, 5.0], "rate": [1.0, 2.0, 4.0]})
    >>> whole = {"a": "ab", "b": "ab", "c": "c"}
    >>> joined = constant_units(table, whole, unit="id", sums=["people"], weighted_means={"rate": "people"})
    >>> joined["people"].tolist(), joined["rate"].tolist()
    ([40.0, 5.0], [1.75, 4.0])
    """
    means = dict(weighted_means or {})
    _check_declared(frame, unit, sums, means, by, blanks)
    target = _targets(frame, concordance, unit, by)
    keys = [target, *(frame[column] for column in by)]
    numbers = {c: _numbers(frame, c) for c in dict.fromkeys([*sums, *means, *means.values()])}
    made = {name: _joined(numbers[name], keys, blanks) for name in sums}
    for name, weight in means.items():
        made[name] = _weighted(numbers[name], numbers[weight], keys, blanks, name, weight)
    return pd.DataFrame(made).reset_index()


def _check_declared(
    frame: pd.DataFrame,
    unit: str,
    sums: Sequence[str],
    means: Mapping[str, str],
    by: Sequence[str],
    blanks: str,
) -> None:
    if blanks not in ("blank", "skip"):
        raise not_one_of("blanks", blanks, ("blank", "skip"))
    if not sums and not means:
        raise SpecificationError(
            "Declare what adds up in sums= and what is averaged in weighted_means=.",
            "请在sums=中声明可加总的列，在weighted_means=中声明取均值的列。",
        )
    twice = [name for name in sums if name in means or list(sums).count(name) > 1]
    if twice:
        raise SpecificationError(
            f"{listed(dict.fromkeys(twice))} is declared more than once.",
            f"{listed_zh(dict.fromkeys(twice))}声明了不止一次。",
        )
    need_columns(frame, (unit, *by, *sums, *means, *means.values()))


def _targets(
    frame: pd.DataFrame, concordance: Mapping[str, str] | pd.Series, unit: str, by: Sequence[str]
) -> pd.Series:
    twice = frame[frame.duplicated([unit, *by])]
    if len(twice):
        raise DataError(
            f"The table has more than one row for {listed(twice[unit].unique())}. Keep one.",
            f"表中{listed_zh(twice[unit].unique())}有不止一行，请各保留一行。",
        )
    target = frame[unit].astype(str).map(dict(concordance))
    unknown = frame.loc[target.isna(), unit].unique()
    if len(unknown):
        raise DataError(
            f"The concordance has no constant unit for {listed(unknown)}. Add them, or drop their rows.",
            f"对照表没有{listed_zh(unknown)}对应的不变地区。请补上，或删去这些行。",
        )
    return target.rename("constant_unit")


def _numbers(frame: pd.DataFrame, column: str) -> pd.Series:
    numbers = pd.to_numeric(frame[column], errors="coerce").astype(float)
    wrong = frame.loc[numbers.isna() & frame[column].notna(), column]
    if len(wrong):
        raise DataError(
            f"Column {column!r} holds text where numbers are needed: {listed(map(repr, wrong), 3)}.",
            f"列{column!r}应为数值却含文字：{listed_zh(map(repr, wrong), 3)}。",
        )
    return numbers


def _joined(values: pd.Series, keys: Sequence[pd.Series], blanks: str) -> pd.Series:
    """Sum by group; NaN where a part, or (skip) every part, is blank."""
    groups = values.groupby(list(keys))
    enough = 1 if blanks == "skip" else groups.size()
    return groups.sum().where(groups.count() >= enough)


def _weighted(
    values: pd.Series, weights: pd.Series, keys: Sequence[pd.Series], blanks: str, name: str, weight: str
) -> pd.Series:
    if (weights < 0).any():
        raise DataError(
            f"Column {weight!r}, the weights of {name!r}, has negative values.",
            f"{name!r}的权数列{weight!r}有负值。",
        )
    known = values.notna() & weights.notna()
    total = _joined(weights.where(known), keys, blanks)
    if (total == 0).any():
        raise DataError(
            f"The weights {weight!r} of {name!r} add up to zero in {listed(total.index[total == 0])}.",
            f"{name!r}的权数{weight!r}在{listed_zh(total.index[total == 0])}合计为零。",
        )
    return _joined((values * weights).where(known), keys, blanks) / total.replace(0.0, np.nan)


def warn_padded(changed: Mapping[str, str], column: object) -> None:
    """Warn that lost leading zeros were put back."""
    pairs = [f"{old} → {new}" for old, new in changed.items()]
    warn(
        f"{len(changed)} unit id(s) in column {column!r} lost leading zeros, which were put back: {listed(pairs)}. "
        "Read the column as text.",
        f"{column!r}列有{len(changed)}个地区编码丢失了前导零，已补回：{listed_zh(pairs)}。请将该列按文本保存。",
    )


# --- units that come and go ---------------------------------------------------------------------------------


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
