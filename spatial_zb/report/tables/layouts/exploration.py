"""Layouts of exploration: Moran's I by period; entropy weights, coordination degrees, concentration, specialisation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from spatial_zb.base.errors import SpecificationError, listed, listed_zh, not_one_of
from spatial_zb.base.text import UNDATED, Text, dated
from spatial_zb.core.indices.composite import COORDINATION_GRADES
from spatial_zb.report.tables.layouts.common import (
    MISSING,
    Heading,
    Record,
    label_of,
    named_line,
    paragraph,
    period_cell,
    periods_of,
    plain_word,
    real,
    stars_note,
    titled,
)
from spatial_zb.report.tables.table import (
    PLAIN,
    Cell,
    HeaderCell,
    Number,
    Row,
    Table,
    TableLook,
    TableStyle,
    body,
    section,
)
from spatial_zb.report.words import WORDS

if TYPE_CHECKING:
    import pandas as pd


# More columns than this do not fit a page sideways: Moran tables put variables below one another.
_WIDEST_MORAN = 12


def moran_table(
    results: Mapping[Heading, Mapping[Heading, pd.DataFrame]],
    *,
    p: str = "p_sim",
    permutations: int | None = None,
    stacked: bool | None = None,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out Moran's I by period: I, z and p for each variable and weights matrix.

    Parameters
    ----------
    results
        Variable label → weights label → frame with ``period, I, z`` and the p-value column. The period ``"pooled"``
        is I of all periods together.
    p
        ``"p_sim"`` (permutation) or ``"p_value"`` (normal approximation).
    stacked
        Put the variables below one another; None does so when they would not fit side by side.

    Raises
    ------
    SpecificationError
        When ``p`` is another column, a frame lacks a column, or there is nothing to show.
    """
    style = look.style
    if p not in ("p_sim", "p_value"):
        raise not_one_of("p", p, ("p_sim", "p_value"))
    groups = [(variable, weights) for variable, by in results.items() for weights in by]
    if not groups:
        raise SpecificationError(
            "A Moran table needs at least one variable and one weights matrix.",
            "莫兰指数表至少要有一个变量和一个权重矩阵。",
        )
    frames = {(v, w): _by_period(frame, p, v, w) for v, by in results.items() for w, frame in by.items()}
    if stacked is None:
        stacked = len(results) > 1 and 3 * len(groups) > _WIDEST_MORAN
    layout = _moran_stacked if stacked else _moran_aside
    header, rows = layout(results, frames, p, style)
    return Table(
        title=titled(look, "Global Moran's I", "全局莫兰指数")
        if _undated(frames)
        else titled(look, "Global Moran's I by period", "各时期全局莫兰指数"),
        key=look.key or "moran",
        header=header,
        rows=rows,
        notes=(paragraph(_moran_notes(groups, frames, p, permutations, style)), *map(Text.of, look.notes)),
    )


def _by_period(frame: pd.DataFrame, p: str, variable: object, weights: object) -> dict[object, Record]:
    """Index the rows of a frame by period."""
    frame = frame if "period" in frame.columns else frame.reset_index()
    lacking = [name for name in ("period", "I", "z", p) if name not in frame.columns]
    if lacking:
        raise SpecificationError(
            f"The Moran frame of {plain_word(variable)} with {plain_word(weights)} lacks {listed(lacking)}.",
            f"{plain_word(variable)}与{plain_word(weights)}的莫兰指数表缺少{listed_zh(lacking)}。",
        )
    return {record["period"]: record for record in frame.to_dict("records")}


def _undated(frames: Mapping) -> bool:
    """Whether all are of a cross-section without a date."""
    return set(periods_of(frames.values())) == {UNDATED}


def _moran_cells(record: Record | None, p: str, style: TableStyle) -> list[Cell]:
    if record is None:
        return [None, None, None]
    stars = style.count_stars(real(record[p]))
    return [
        Number(
            real(record["I"]),
            style.digits,
            stars if math.isfinite(real(record["I"])) else 0,
            notation="rounded",
        ),
        Number(real(record["z"]), style.digits, notation="rounded"),
        Number(real(record[p]), style.digits, notation="p_value"),
    ]


POOLED = Text(
    "All periods: deviations from the means of their periods; whole histories of units change places.",
    "各时期合并：取对各期均值的离差，置换时以地区的整段历史为单位。",
)
_MORAN_HEADS = (HeaderCell("I"), HeaderCell("z"), HeaderCell("p"))
Layout = tuple[tuple[Sequence[HeaderCell], ...], tuple[Row, ...]]


def _moran_aside(results: Mapping, frames: Mapping, p: str, style: TableStyle) -> Layout:
    """Put variable × weights side by side."""
    variables = [HeaderCell(Text.of(v), 3 * len(by)) for v, by in results.items() if by]
    weights = [HeaderCell(Text.of(w), 3) for by in results.values() for w in by]
    stub = HeaderCell() if _undated(frames) else HeaderCell(WORDS["period"])
    levels = [[HeaderCell(), *variables], [HeaderCell(), *weights], [stub, *_MORAN_HEADS * len(weights)]]
    if len({plain_word(w) for by in results.values() for w in by}) == 1:
        del levels[1]  # the notes name the one matrix
    rows = [
        body(
            _period(t),
            *(cell for frame in frames.values() for cell in _moran_cells(frame.get(t), p, style)),
        )
        for t in periods_of(frames.values())
    ]
    return tuple(levels), tuple(rows)


def _moran_stacked(results: Mapping, frames: Mapping, p: str, style: TableStyle) -> Layout:
    """Put weights side by side and variables below one another."""
    weights = list(dict.fromkeys(w for by in results.values() for w in by))
    level = [HeaderCell(), *(HeaderCell(Text.of(w), 3) for w in weights)]
    plain = _undated(frames)
    stub = HeaderCell() if plain else HeaderCell(WORDS["period"])
    header = (level, [stub, *_MORAN_HEADS * len(weights)])
    rows = []
    for variable, by in results.items():
        rows += [] if plain else [section(Text.of(variable))]
        own = {w: frames[variable, w] for w in by}
        for t in periods_of(own.values()):
            cells = [cell for w in weights for cell in _moran_cells(own.get(w, {}).get(t), p, style)]
            rows.append(body(Text.of(variable) if plain else _period(t), *cells))
    return header, tuple(rows)


def _period(period: object) -> Cell:
    return WORDS["pooled"] if period == "pooled" else period_cell(period)


def _moran_notes(
    groups: Sequence, frames: Mapping, p: str, permutations: int | None, style: TableStyle
) -> list[Text]:
    if p == "p_value":
        basis = Text("p: from the normal approximation of z.", "p 值由 z 的正态近似得到。")
    else:
        en, zh = (f"{permutations:,} ", f" {permutations:,} 次") if permutations else ("", "")
        basis = Text(f"p: pseudo p-values from {en}random permutations.", f"p 为{zh}随机置换的伪 p 值。")
    records = [record for frame in frames.values() for record in frame.values()]
    missing = any(math.isnan(real(record[name])) for record in records for name in ("I", "z", p))
    missing = missing or any(set(frame) != set(periods_of(frames.values())) for frame in frames.values())
    names = list(dict.fromkeys(Text.of(weights) for _, weights in groups))
    pooled = any("pooled" in frame for frame in frames.values())
    return [
        *stars_note(style),
        basis,
        *([POOLED] if pooled else []),
        named_line(WORDS["weights"], names),
        *([MISSING] if missing else []),
    ]


# --- Indices

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
    heads = {UNDATED: Text("D", "D")}
    rows = []
    for unit in frame["unit"].drop_duplicates():
        name = label_of(look.words, unit)
        rows.append(body(name, *(Number(degrees.loc[unit, p]) for p in periods)))
        marks = [Number(numbers[grades.loc[unit, p]], 0, enclosure="bracket") for p in periods]
        rows.append(body("", *marks))
    return Table(
        title=titled(look, "Coupling coordination", "耦合协调度"),
        key=look.key or "coordination",
        header=([HeaderCell(Text("Unit", "地区")), *(HeaderCell(heads.get(p, str(p))) for p in periods)],),
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
            period_cell(period),
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
    title = dated(Text("Co-agglomeration of sectors", "行业共同集聚"), period)
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
        title=titled(look, title.en, title.zh),
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
