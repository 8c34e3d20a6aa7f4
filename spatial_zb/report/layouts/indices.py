"""Layouts of composite indices: entropy weights, and coordination degrees with their grades."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from spatial_zb.data.composite import COORDINATION_GRADES
from spatial_zb.report.tables import HeaderCell, Number, Table, body, section
from spatial_zb.text import Text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["coordination_table", "entropy_table"]

_DIRECTIONS = {"more": Text("positive", "正向"), "less": Text("negative", "负向")}


def entropy_table(weights: pd.DataFrame, labels: Mapping[str, Text], *, notes: Sequence[Text] = ()) -> Table:
    """Lay out the weights of indices: columns ``index, variable, direction, entropy, weight``."""
    heads = [
        Text("Indicator", "指标"),
        Text("Direction", "方向"),
        Text("Entropy", "信息熵"),
        Text("Weight", "权重"),
    ]
    rows = []
    for index, part in weights.groupby("index", sort=False):
        rows.append(section(labels.get(str(index), Text.of(str(index)))))
        for line in part.itertuples():
            name = labels.get(line.variable, Text.of(line.variable))
            cells = (_DIRECTIONS[line.direction], Number(line.entropy, 4), Number(line.weight, 4))
            rows.append(body(name, *cells))
    pooled = Text(
        "Indicators scaled to 0–1 over all units and periods together; weights proportional to one less entropy.",
        "指标按全部地区与年份统一极差标准化；权重与差异系数（1减信息熵）成比例。",
    )
    return Table(
        title=Text("Entropy weights of the indices", "指标熵权"),
        key="entropy_weights",
        header=([HeaderCell(head) for head in heads],),
        rows=tuple(rows),
        alignment=("l", "c", "r", "r"),
        notes=(pooled, *notes),
    )


def coordination_table(
    frame: pd.DataFrame, names: Mapping[str, Text], *, title: Text, key: str, notes: Sequence[Text] = ()
) -> Table:
    """Lay out degrees by unit and period, the number of the grade in brackets below each.

    ``frame`` has the columns ``unit, period, coordination, grade_en``.
    """
    numbers = {words.en: number for number, (_, words) in enumerate(COORDINATION_GRADES, start=1)}
    periods = sorted(frame["period"].unique())
    degrees = frame.pivot(index="unit", columns="period", values="coordination")
    grades = frame.pivot(index="unit", columns="period", values="grade_en")
    rows = []
    for unit in frame["unit"].drop_duplicates():
        name = names.get(unit, Text.of(unit))
        rows.append(body(name, *(Number(degrees.loc[unit, p]) for p in periods)))
        marks = [Number(numbers[grades.loc[unit, p]], 0, enclosure="bracket") for p in periods]
        rows.append(body("", *marks))
    return Table(
        title=title,
        key=key,
        header=([HeaderCell(Text("Unit", "地区")), *(HeaderCell(str(p)) for p in periods)],),
        rows=tuple(rows),
        alignment=("l", *("r" for _ in periods)),
        notes=(_grades_note(), *notes),
    )


def _grades_note() -> Text:
    en = [f"[{n}] {words.en}" for n, (_, words) in enumerate(COORDINATION_GRADES, start=1)]
    zh = [f"[{n}]{words.zh}" for n, (_, words) in enumerate(COORDINATION_GRADES, start=1)]
    return Text(
        f"Grades in brackets, each a tenth of the range (Liao 1999): {', '.join(en)}.",
        f"方括号内为协调等级，每级宽0.1（廖重斌，1999）：{'、'.join(zh)}。",
    )
