"""What the sample is: definitions, descriptive statistics, cells that were filled."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from spatial_zb.report.layouts.common import (
    Label,
    PanelLike,
    label_of,
    period_cell,
    real,
    text_cell,
    titled,
    whole,
)
from spatial_zb.report.table_style import TableStyle
from spatial_zb.report.tables import HeaderCell, Number, Table, body
from spatial_zb.report.words import RULES, WORDS
from spatial_zb.text import Text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["definitions_table", "descriptives_table", "missing_table"]


def definitions_table(
    rows: Iterable[Mapping[str, Label]],
    *,
    title: Label | None = None,
    key: str = "definitions",
    notes: Sequence[Label] = (),
) -> Table:
    """Lay out a codebook: rows with ``name`` and any of ``label, definition, unit, source``.

    A column that no row fills is left out.
    """
    heads = {
        "variable": WORDS["variable"],
        "definition": WORDS["definition"],
        "unit": WORDS["unit_of_measure"],
        "source": WORDS["source"],
    }
    entries = [{"variable": row.get("label") or row["name"], **row} for row in rows]
    used = [name for name in heads if name == "variable" or any(entry.get(name) for entry in entries)]
    return Table(
        title=titled(title, "Variables and definitions", "变量定义"),
        key=key,
        header=([HeaderCell(heads[name]) for name in used],),
        rows=tuple(body(*(text_cell(entry.get(name)) for name in used)) for entry in entries),
        alignment=("l",) * len(used),
        notes=tuple(map(Text.of, notes)),
    )


def missing_table(
    filled: pd.DataFrame | Iterable[Mapping[str, object]],
    labels: Mapping[str, Label] | None = None,
    *,
    title: Label | None = None,
    key: str = "missing",
    notes: Sequence[Label] = (),
    style: TableStyle | None = None,
) -> Table:
    """Lay out the cells that were blank in the source: ``unit, period, variable, rule, value``.

    A value that stays missing is an en dash. ``labels`` names units, variables and rules.
    """
    style = style or TableStyle()
    records = filled.to_dict("records") if hasattr(filled, "to_dict") else list(filled)
    known = labels or {}
    rows = [
        body(
            label_of(known, record["unit"]),
            period_cell(record["period"]),
            label_of(known, record["variable"]),
            label_of({**RULES, **known}, record["rule"]),
            Number(real(record.get("value")), _decimals([real(record.get("value"))], style)),
        )
        for record in records
    ]
    names = ("unit", "period", "variable", "rule", "value")
    return Table(
        title=titled(title, "Cells filled and left blank", "缺失值及其处理"),
        key=key,
        header=([HeaderCell(WORDS[name]) for name in names],),
        rows=tuple(rows),
        alignment=("l", "c", "l", "l", "r"),
        notes=tuple(map(Text.of, notes)),
    )


def descriptives_table(
    panel: PanelLike,
    names: Sequence[str],
    *,
    labels: Mapping[str, Label] | None = None,
    title: Label | None = None,
    key: str = "descriptives",
    notes: Sequence[Label] = (),
    style: TableStyle | None = None,
) -> Table:
    """Lay out N, mean, standard deviations (overall, between, within units) and the five-number ends.

    Cells that are not finite are left out of every column, and N says how many remain.
    """
    style = style or TableStyle()
    columns = ("n", "mean", "overall", "between", "within", "min", "median", "max")
    known = {**panel.labels, **(labels or {})}
    rows = []
    for name in names:
        moments = _moments(panel.array([name])[:, :, 0])
        digits = _decimals([moments["min"], moments["max"]], style)
        cells = [whole(moments["n"]), *(Number(moments[column], digits) for column in columns[1:])]
        rows.append(body(label_of(known, name), *cells))
    return Table(
        title=titled(title, "Descriptive statistics", "描述性统计"),
        key=key,
        header=([HeaderCell(WORDS["variable"]), *(HeaderCell(WORDS[column]) for column in columns)],),
        rows=tuple(rows),
        alignment=("l", *("r" for _ in columns)),
        notes=(
            Text(
                "SD overall over all observations; SD between of the unit means; SD within of the deviations "
                "from the unit means.",
                "总体标准差基于全部观测值；组间标准差为各地区均值的标准差；组内标准差为对地区均值离差的标准差。",
            ),
            *map(Text.of, notes),
        ),
    )


def _decimals(values: Sequence[float], style: TableStyle) -> int:
    """Decimals of the style, fewer where numbers would have more than seven figures: 2194300, not 2194300.000."""
    largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    figures = len(str(int(largest)))
    return min(style.digits, max(0, 7 - figures))


def _moments(values: np.ndarray) -> dict[str, float]:
    """Describe one variable of shape (T, n).

    With N finite cells in n units: overall and within deviations are divided by N − 1, those of the unit
    means by n − 1, as Stata's ``xtsum`` does.
    """
    seen = np.isfinite(values)
    units = seen.any(axis=0)
    filled = np.where(seen, values, 0.0)
    means = filled.sum(axis=0)[units] / seen.sum(axis=0)[units]
    pooled = values[seen]
    n = pooled.size
    within = np.where(seen[:, units], values[:, units] - means, 0.0)
    return {
        "n": n,
        "mean": float(pooled.mean()) if n else math.nan,
        "overall": float(pooled.std(ddof=1)) if n > 1 else math.nan,
        "between": float(means.std(ddof=1)) if means.size > 1 else math.nan,
        "within": math.sqrt(float((within**2).sum()) / (n - 1)) if n > 1 else math.nan,
        "min": float(pooled.min()) if n else math.nan,
        "median": float(np.median(pooled)) if n else math.nan,
        "max": float(pooled.max()) if n else math.nan,
    }
