"""Arrays of amounts, checked: what all indices ask of their numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spatial_zb.errors import DataError
from spatial_zb.text import Text

__all__ = ["Floats", "amounts", "floats", "numbers", "refuse", "shares_along", "unit_table"]

Floats = NDArray[np.float64]


def floats(values: ArrayLike, name: str) -> Floats:
    """Numbers; NaN stays, an infinite value is refused."""
    try:
        found = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise DataError(f"{name} must be numbers.", f"{name}须为数值。") from None
    refuse(np.isinf(found), Text(f"{name} holds an infinite value", f"{name}含无穷大值"))
    return found


def numbers(values: ArrayLike, name: str) -> Floats:
    """Numbers without blanks: an index over a set with holes is an index of another set."""
    found = floats(values, name)
    refuse(np.isnan(found), Text(f"{name} holds a blank cell", f"{name}含空缺值"))
    return found


def amounts(values: ArrayLike, name: str) -> Floats:
    """Numbers that are neither blank nor negative."""
    found = numbers(values, name)
    refuse(found < 0, Text(f"{name} holds a negative value", f"{name}含负值"))
    return found


def unit_table(values: ArrayLike, name: str) -> Floats:
    """A table of amounts, units in rows and sectors in columns."""
    table = amounts(values, name)
    if table.ndim != 2:
        raise DataError(
            f"{name} must have units in rows and sectors in columns, not the shape {table.shape}.",
            f"{name}须以地区为行、行业为列，而不是形状{table.shape}。",
        )
    return table


def refuse(wrong: ArrayLike, said: Text) -> None:
    """Raise with the number of wrong places and the first of them."""
    where = np.argwhere(np.atleast_1d(wrong))
    if len(where):
        at = ", ".join(str(position) for position in where[0])
        raise DataError(
            f"In {len(where)} place(s), the first at index {at}: {said.en}.",
            f"有{len(where)}处（首处下标{at}）：{said.zh}。",
        )


def shares_along(values: Floats, axis: int) -> Floats:
    """Shares along an axis; a sum of zero is refused."""
    total = values.sum(axis=axis, keepdims=True)
    refuse(total <= 0, Text("a sum that shares are taken of is zero", "计算份额的合计为零"))
    return values / total
