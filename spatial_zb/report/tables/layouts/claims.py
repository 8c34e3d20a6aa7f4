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


def claims_table(found: pd.DataFrame, level: float = 0.95, *, look: TableLook = PLAIN) -> Table:
    """Lay out claims: a section for each, a row for each of its measures.

    Parameters
    ----------
    found
        ``claim, measure, detail`` (texts), ``estimate, conf_low, conf_high, percent, verdict``, in the order of the page.
    level
        Of the limits.
    """
    rows: list[Row] = []
    said = None
    for record in found.to_dict("records"):
        if record["claim"] != said:
            said = record["claim"]
            rows.append(section(Text.of(said)))
        rows.append(_row(record, look))
    percent = f"{100 * level:g}"
    heads = (
        Text("Measure", "测度"),
        Text("Number", "数值"),
        Text(f"{percent} % interval", f"{percent}%区间"),
        Text("Verdict", "判断"),
    )
    return Table(
        title=titled(look, "What the theory says, and what the figures say to it", "理论论断与数据的对照"),
        key=look.key or "claims",
        header=([HeaderCell(head) for head in heads],),
        rows=tuple(rows),
        alignment=("l", "r", "r", "l"),
        notes=(*map(Text.of, look.notes), MISSING),
    )


def _row(record: Record, look: TableLook) -> Row:
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
    return body(words, number, interval, VERDICTS[str(record["verdict"])])
