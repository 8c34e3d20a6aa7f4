"""Rows of the table: how a test runs, and what it says when it cannot."""

from __future__ import annotations

from collections.abc import Callable

from scipy import stats

from spatial_zb.chain_table import Row
from spatial_zb.errors import SpatialZbError
from spatial_zb.text import Text

__all__ = ["NAN", "Step", "attempt", "chi2_row", "normal_row"]

#: Names of tests, and what computes their rows.
Step = tuple[tuple[str, ...], Callable[[], list[Row]]]
NAN = float("nan")


def attempt(names: tuple[str, ...], run: Callable[[], list[Row]]) -> list[Row]:
    """The rows of a test, or one row per name that says why it is not available."""
    try:
        return run()
    except SpatialZbError as error:
        note = Text(f"not available: {error}", f"无法计算：{error.zh}")
        return [Row(name, NAN, NAN, NAN, note) for name in names]


def chi2_row(test: str, statistic: float, df: int, note: Text) -> Row:
    """A test of a χ² statistic."""
    return Row(test, float(statistic), float(df), float(stats.chi2.sf(statistic, df)), note)


def normal_row(test: str, statistic: float, note: Text, of: str = "") -> Row:
    """A two-sided test of a standard normal statistic."""
    return Row(test, float(statistic), NAN, float(2 * stats.norm.sf(abs(statistic))), note, of)
