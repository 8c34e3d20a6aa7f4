"""Layout of the claims of a theory: what is measured for each, and what it says."""

from __future__ import annotations

import math

import pandas as pd

from spatial_zb.base.text import Text
from spatial_zb.report.tables.layouts.common import MISSING, Record, real, titled
from spatial_zb.report.tables.table import (
    PLAIN,
    Cell,
    HeaderCell,
    Link,
    Links,
    Number,
    Row,
    Table,
    TableLook,
    body,
    section,
)
from spatial_zb.report.tables.text import shown

#: What a measure says to its claim, best news first.
VERDICTS = {
    "supported": Text("supported", "支持"),
    "unsupported": Text("not supported", "未获支持"),
    "contradicted": Text("contradicted", "相反"),
    "unmeasurable": Text("not measurable with these data", "这些数据无法测度"),
}


#: Before the letter of a table, and of a figure, that a row rests on.
EXHIBITS = {"table": Text("Table ", "表"), "figure": Text("Figure ", "图")}
SEE = Text("See", "参见")


def claims_table(found: pd.DataFrame, level: float = 0.95, *, look: TableLook = PLAIN) -> Table:
    """Lay out claims: a section for each, a row for each of its measures with the table and figure to look at.

    These have letters, as they come; a note says what files they are. A report links to them.

    Parameters
    ----------
    found
        ``claim, measure, detail`` (texts), ``estimate, conf_low, conf_high, percent, verdict, table, figure`` (stems of
        files, blank for none), in the order of the page.
    level
        Of the limits.
    """
    rows: list[Row] = []
    said, links = None, _links(found)
    for record, see in zip(found.to_dict("records"), links, strict=True):
        if record["claim"] != said:
            said = record["claim"]
            rows.append(section(Text.of(said)))
        rows.append(_row(record, see, look))
    percent = f"{100 * level:g}"
    heads = (
        Text("Measure", "测度"),
        Text("Number", "数值"),
        Text(f"{percent} % interval", f"{percent}%区间"),
        Text("Verdict", "判断"),
        SEE,
    )
    return Table(
        title=titled(look, "What the theory says, and what the figures say to it", "理论论断与数据的对照"),
        key=look.key or "claims",
        header=([HeaderCell(head) for head in heads],),
        rows=tuple(rows),
        alignment=("l", "r", "r", "l", "l"),
        notes=(*map(Text.of, look.notes), *_key(links), MISSING),
    )


def _links(found: pd.DataFrame) -> list[Links]:
    """What each row names, lettered in the order of the rows."""
    letters: dict[tuple[str, str], Text] = {}
    count = dict.fromkeys(EXHIBITS, 0)
    rows = []
    for record in found[list(EXHIBITS)].to_dict("records"):
        named = [(kind, str(record[kind])) for kind in EXHIBITS if record[kind]]
        for kind, stem in named:
            if (kind, stem) not in letters:
                letter, word = _letter(count[kind]), EXHIBITS[kind]
                letters[kind, stem] = Text(f"{word.en}{letter}", f"{word.zh}{letter}")
                count[kind] += 1
        rows.append(Links(tuple(Link(letters[one], one[1], one[0] == "figure") for one in named)))
    return rows


def _letter(number: int) -> str:
    """A … Z, AA, AB …"""
    return (_letter(number // 26 - 1) if number >= 26 else "") + chr(ord("A") + number % 26)


def _key(rows: list[Links]) -> list[Text]:
    """Which files the letters are, tables before figures."""
    named = {(link.figure, link.key): Text.of(link.text) for row in rows for link in row.parts}
    if not named:
        return []
    parts = [
        Text(f"{text.en} {stem}", f"{text.zh} {stem}")
        for (_, stem), text in sorted(named.items(), key=_place)
    ]
    return [
        Text(
            f"Files of the tables and figures named: {'; '.join(part.en for part in parts)}.",
            f"所列图表的文件名：{'；'.join(part.zh for part in parts)}。",
        )
    ]


def _place(item: tuple[tuple[bool, str], Text]) -> tuple[bool, int, str]:
    (figure, _), text = item
    return figure, len(text.en), text.en


def rules_note(level: float, often: float, seldom: float) -> Text:
    """From where on a claim is supported or contradicted; all three are shares."""
    sure, most, few = (f"{100 * share:g}" for share in (level, often, seldom))
    return Text(
        f"Supported: the {sure} % interval lies on the side that the claim says. Contradicted: it lies on the other side. "
        "Not supported: it holds zero (or the number compared with). Ranks: supported where the units named are among the "
        f"first in {most} % of unit-years or more, contradicted in {few} % or fewer. Falls: supported where at least "
        "half of the units fell. Intervals of correlations, means and trends treat units as independent.",
        f"支持：{sure}%区间位于论断所指的一侧；相反：位于另一侧；未获支持：区间包含零（或所比较的数）。"
        f"排名：所列地区在{most}%以上的地区-年份居于前列为支持，不超过{few}%为相反。"
        "下降：至少半数地区下降为支持。相关系数、均值与趋势的区间以地区相互独立为前提。",
    )


def _row(record: Record, see: Links, look: TableLook) -> Row:
    measure, detail = Text.of(record["measure"]), Text.of(record["detail"])
    words = measure
    if detail.en:
        words = (
            detail
            if measure.en == "–"
            else Text(f"{measure.en} ({detail.en})", f"{measure.zh}（{detail.zh}）")
        )
    value = real(record["estimate"])
    number: Cell = Number(value, look.style.digits, notation="rounded")
    if record["percent"] and math.isfinite(value):
        number = f"{100 * value:.0f} %"
    limits = [real(record[name]) for name in ("conf_low", "conf_high")]
    interval = None
    if all(map(math.isfinite, limits)):
        low, high = (
            shown(Number(limit, look.style.digits, notation="rounded"), look.style).text for limit in limits
        )
        interval = f"[{low}, {high}]"
    return body(words, number, interval, VERDICTS[str(record["verdict"])], see)
