"""The gate of the dynamics: values by period and unit, and what is refused among them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from spatial_zb.data.panel import Panel
from spatial_zb.errors import AlignmentError, DataError, SpecificationError, listed, listed_zh
from spatial_zb.weights.matrix import text_ids

__all__ = ["cells", "group_labels", "positive", "refuse_negative", "usable"]


def usable(panel: Panel, variable: str) -> np.ndarray:
    """Values (T, n), none blank or infinite."""
    values = panel.array(variable)
    blank = np.isnan(values)
    if blank.any():
        raise DataError(
            f"{variable!r} is blank at {listed(cells(panel, blank))}. Fill these cells by a stated rule, or drop the units.",
            f"{variable!r}在{listed_zh(cells(panel, blank))}空缺。请按明示的规则填补，或剔除这些地区。",
        )
    if not np.isfinite(values).all():
        raise DataError(
            f"{variable!r} is infinite at {listed(cells(panel, ~np.isfinite(values)))}.",
            f"{variable!r}在{listed_zh(cells(panel, ~np.isfinite(values)))}为无穷。",
        )
    return values


def positive(panel: Panel, variable: str) -> np.ndarray:
    """Values (T, n), all above zero."""
    values = usable(panel, variable)
    if (values <= 0).any():
        raise DataError(
            f"{variable!r} is not positive at {listed(cells(panel, values <= 0))}: it has no logarithm there.",
            f"{variable!r}在{listed_zh(cells(panel, values <= 0))}不为正，没有对数。",
        )
    return values


def refuse_negative(panel: Panel, variable: str, values: np.ndarray) -> None:
    """Values (T, n) must be amounts: none negative, and some in every period."""
    if (values < 0).any():
        raise DataError(
            f"{variable!r} is negative at {listed(cells(panel, values < 0))}: it is not an amount.",
            f"{variable!r}在{listed_zh(cells(panel, values < 0))}为负，不是数量。",
        )
    empty = [p for p, row in zip(panel.periods, values, strict=True) if not row.sum() > 0]
    if empty:
        raise DataError(
            f"{variable!r} is zero in all units in {listed(empty)}: there is nothing to spread.",
            f"{variable!r}在{listed_zh(empty)}各地区均为零，没有可分配的总量。",
        )


def cells(panel: Panel, where: np.ndarray) -> list[str]:
    """Unit and period of the cells marked in ``where`` (T, n)."""
    return [f"{panel.units[i]} {panel.periods[t]}" for t, i in np.argwhere(where)]


def group_labels(panel: Panel, groups: Mapping[str, object] | pd.Series) -> list[str]:
    """Group of every unit, in the order of the panel."""
    if not isinstance(groups, Mapping | pd.Series):
        raise SpecificationError(
            f"groups must be a mapping or a Series from unit to group, not a {type(groups).__name__}.",
            f"groups须为从地区到分组的映射或Series，而不是{type(groups).__name__}。",
        )
    series = pd.Series(groups, dtype=object)
    series.index = text_ids(series.index)
    if series.index.has_duplicates:
        twice = series.index[series.index.duplicated()].unique()
        raise AlignmentError(
            f"groups names units twice: {listed(twice)}.", f"groups中有重复的地区：{listed_zh(twice)}。"
        )
    missing = panel.units.difference(series.index[series.notna()])
    if len(missing):
        raise AlignmentError(
            f"{len(missing)} unit(s) have no group: {listed(missing)}.",
            f"{len(missing)}个地区没有分组：{listed_zh(missing)}。",
        )
    return [str(label) for label in series.loc[panel.units]]
