"""Layouts of indices: entropy weights, coordination degrees, concentration and specialisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from spatial_zb.base.text import Text
from spatial_zb.core.indices.composite import COORDINATION_GRADES
from spatial_zb.report.tables.layouts.common import label_of, titled
from spatial_zb.report.tables.table import (
    PLAIN,
    HeaderCell,
    Number,
    Table,
    TableLook,
    body,
    section,
)

if TYPE_CHECKING:
    import pandas as pd


_DIRECTIONS = {"more": Text("positive", "正向"), "less": Text("negative", "负向")}


def entropy_table(
    weights: pd.DataFrame,
    *,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out the weights of indices: columns ``index, variable, direction, entropy, weight``."""
    labels = look.words
    heads = [
        Text("Indicator", "指标"),
        Text("Direction", "方向"),
        Text("Entropy", "信息熵"),
        Text("Weight", "权重"),
    ]
    rows = []
    for index, part in weights.groupby("index", sort=False):
        rows.append(section(label_of(labels, str(index))))
        for line in part.itertuples():
            name = label_of(labels, line.variable)
            cells = (_DIRECTIONS[line.direction], Number(line.entropy, 4), Number(line.weight, 4))
            rows.append(body(name, *cells))
    pooled = Text(
        "Indicators scaled to 0–1 over all units and periods together; weights proportional to one less entropy.",
        "指标按全部地区与年份统一极差标准化；权重与差异系数（1减信息熵）成比例。",
    )
    return Table(
        title=titled(look, "Entropy weights of the indices", "指标熵权"),
        key=look.key or "entropy_weights",
        header=([HeaderCell(head) for head in heads],),
        rows=tuple(rows),
        alignment=("l", "c", "r", "r"),
        notes=(pooled, *map(Text.of, look.notes)),
    )


def coordination_table(
    frame: pd.DataFrame,
    *,
    look: TableLook = PLAIN,
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
        name = label_of(look.words, unit)
        rows.append(body(name, *(Number(degrees.loc[unit, p]) for p in periods)))
        marks = [Number(numbers[grades.loc[unit, p]], 0, enclosure="bracket") for p in periods]
        rows.append(body("", *marks))
    return Table(
        title=titled(look, "Coupling coordination", "耦合协调度"),
        key=look.key or "coordination",
        header=([HeaderCell(Text("Unit", "地区")), *(HeaderCell(str(p)) for p in periods)],),
        rows=tuple(rows),
        alignment=("l", *("r" for _ in periods)),
        notes=(_grades_note(), *map(Text.of, look.notes)),
    )


def _grades_note() -> Text:
    en = [f"[{n}] {words.en}" for n, (_, words) in enumerate(COORDINATION_GRADES, start=1)]
    zh = [f"[{n}]{words.zh}" for n, (_, words) in enumerate(COORDINATION_GRADES, start=1)]
    return Text(
        f"Grades in brackets, each a tenth of the range (Liao 1999): {', '.join(en)}.",
        f"方括号内为协调等级，每级宽0.1（廖重斌，1999）：{'、'.join(zh)}。",
    )


Labels = Mapping[str, Text]
HEADS = {
    "hhi": Text("HHI", "赫芬达尔指数"),
    "gini": Text("Gini", "区位基尼系数"),
    "gamma": Text("γ (EG)", "EG 指数 γ"),
}


def sectors_table(
    found: Mapping[str, pd.DataFrame],
    reference: Text | None = None,
    *,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out indices of sectors: by index (``hhi, gini, gamma``) a frame period × sector.

    ``reference`` says what Gini and γ are measured against; by default the sum of the sectors.
    """
    style, labels = look.style, look.words
    against = reference or Text("the sum of these sectors", "所列行业合计")
    first = next(iter(found.values()))
    over = [HeaderCell(), *(HeaderCell(label_of(labels, sector), len(found)) for sector in first)]
    header = [HeaderCell(Text("Period", "时期")), *(HeaderCell(HEADS[k]) for _ in first for k in found)]
    rows = [
        body(
            str(period),
            *(
                Number(frame.loc[period, sector], style.digits)
                for sector in first
                for frame in found.values()
            ),
        )
        for period in first.index
    ]
    said = Text(
        f"HHI: sum of squared shares of the units in the sector. Gini: locational; reference: {against.en}.",
        f"赫芬达尔指数为各地区占该行业份额的平方和；区位基尼系数以“{against.zh}”为参照。",
    )
    if "gamma" in found:
        said = Text(
            f"{said.en} γ: Ellison and Glaeser (1997), with the plant indices of the study file.",
            f"{said.zh}γ为Ellison–Glaeser（1997）指数，企业规模赫芬达尔指数见研究文件。",
        )
    return Table(
        title=titled(look, "Concentration of sectors by period", "各时期行业集聚程度"),
        key=look.key or "concentration",
        header=(over, header),
        rows=tuple(rows),
        notes=(said, *map(Text.of, look.notes)),
    )


def pairs_table(
    pairs: pd.DataFrame,
    period: int,
    *,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out the co-agglomeration of pairs of sectors in one period: rows (period, sector), columns sectors."""
    style, labels = look.style, look.words
    table = pairs.xs(period, level="period")
    numbers = [f"({i})" for i in range(1, len(table) + 1)]
    rows = [
        body(
            numbers[i],
            label_of(labels, sector),
            *(Number(table.iloc[i, j], style.digits) if j <= i else "" for j in range(len(table))),
        )
        for i, sector in enumerate(table.index)
    ]
    said = Text(
        "Ellison, Glaeser and Kerr (2010), against the mean share of the sectors in each unit; on the diagonal the raw "
        "concentration of the sector.",
        "Ellison、Glaeser与Kerr（2010）指数，以各地区行业份额均值为参照；对角线为该行业的原始集中度。",
    )
    return Table(
        title=titled(look, f"Co-agglomeration of sectors, {period}", f"行业共同集聚，{period}年"),
        key=look.key or "coagglomeration",
        header=([HeaderCell(), HeaderCell(Text("Sector", "行业")), *map(HeaderCell, numbers)],),
        rows=tuple(rows),
        alignment=("l", "l", *("r" for _ in numbers)),
        notes=(said, *map(Text.of, look.notes)),
    )


def units_table(
    units: pd.DataFrame,
    total: Text | None = None,
    *,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out Krugman's specialisation: units in rows, periods in columns.

    ``total`` names the amount whose rest counts as one more sector.
    """
    style = look.style
    rows = [
        body(label_of(look.words, unit), *(Number(value, style.digits) for value in values))
        for unit, *values in units.itertuples()
    ]
    said = Text(
        "Krugman’s index: sum of absolute differences between the unit’s sector shares and those of all units together, "
        "from 0 to 2.",
        "Krugman专业化指数：地区行业份额与全部地区合计份额之差的绝对值之和，取值0至2。",
    )
    if total is not None:
        said = Text(
            f"{said.en} The rest of “{total.en}” counts as one more sector.",
            f"{said.zh}“{total.zh}”的其余部分计为一个行业。",
        )
    return Table(
        title=titled(look, "Specialisation of units", "地区专业化程度"),
        key=look.key or "specialisation",
        header=([HeaderCell(Text("Unit", "地区")), *(HeaderCell(str(p)) for p in units)],),
        rows=tuple(rows),
        alignment=("l", *("r" for _ in units.columns)),
        notes=(said, *map(Text.of, look.notes)),
    )
