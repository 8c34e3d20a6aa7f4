"""Rows of the table: how a test runs, and what it says when it cannot."""

from __future__ import annotations

from collections.abc import Callable

from scipy import stats

from spatial_zb.errors import (
    SpatialZbError,
)
from spatial_zb.recommendation import Row
from spatial_zb.text import Text

__all__ = ["NAN", "Step", "attempt", "chi2_row", "normal_row"]

#: Names of tests, and what computes their rows.
Step = tuple[tuple[str, ...], Callable[[], list[Row]]]
NAN = float("nan")


def attempt(names: tuple[str, ...], run: Callable[[], list[Row]]) -> list[Row]:
    try:
        return run()
    except SpatialZbError as error:
        note = Text(f"not available: {error}", f"无法计算：{error}")
        return [Row(name, NAN, NAN, NAN, note) for name in names]


def chi2_row(test: str, statistic: float, df: int, note: Text) -> Row:
    return Row(test, float(statistic), float(df), float(stats.chi2.sf(statistic, df)), note)


def normal_row(test: str, statistic: float, note: Text, one_sided: bool = False, of: str = "") -> Row:
    tail = stats.norm.sf(statistic) if one_sided else 2 * stats.norm.sf(abs(statistic))
    return Row(test, float(statistic), NAN, float(tail), note, of)
