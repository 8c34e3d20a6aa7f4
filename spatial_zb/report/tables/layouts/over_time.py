"""Layouts of systems over time: who leads whom, and what follows a shock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from spatial_zb.base.text import Text
from spatial_zb.report.tables.layouts.common import (
    MISSING,
    Label,
    Record,
    estimate_cells,
    estimate_pair,
    label_of,
    paragraph,
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
from spatial_zb.report.words import RESPONSE_PARTS

PARTS = {
    "own": Text("Own city", "本地区"),
    "neighbours": Text("Neighbours", "邻接地区"),
    "both": Text("Both", "两者"),
}
HEADS = {
    "part": Text("Lags in time of", "滞后项来自"),
    "statistic": Text("LR", "似然比"),
    "df": Text("df", "自由度"),
    "p_value": Text("p", "p 值"),
    "p_bootstrap": Text("p, bootstrap", "自助法 p 值"),
    "f_statistic": Text("F, clustered", "聚类 F"),
    "p_cluster": Text("p, clustered", "聚类 p 值"),
}
RATIOS = Text(
    "LR: likelihood ratio of the adjusted likelihoods. F: by the covariance clustered by unit, against F(q, units − q). "
    "What is tested is whether the period before of one variable helps to explain the other, whose own past is there.",
    "似然比：校正似然之比。F：按地区聚类的协方差，以F(q, 地区数 − q)为准。检验的是：在已含另一变量自身前期的情况下，"
    "某变量的前期是否有助于解释它。",
)
SHOCKED = Text(
    "Responses to a shock of one unit in one city in period 0: of that city, of all others together, and of all. Errors "
    "by the delta method below, in brackets; with a dash, zero by construction.",
    "第0期某一地区受到一单位冲击后的响应：该地区、其他地区合计与全部地区。下方括号内为Delta方法标准误；横线表示按模型设定为零。",
)
HORIZON = Text("Periods after", "期数")


def granger_table(tests: pd.DataFrame, *, look: TableLook = PLAIN) -> Table:
    """Lay out ``zb.granger(fit).tidy()``: a section for each direction.

    Parameters
    ----------
    look
        Words around the table, among them ``words`` for the equations.
    """
    style = look.style
    names = [name for name in HEADS if name in tests.columns]
    rows: list[Row] = []
    for (source, response), own in tests.groupby(["source", "response"], sort=False):
        rows.append(section(_arrow(look.words, str(source), str(response))))
        rows += [_test(record, names, style) for record in own.to_dict("records")]
    lost = tests[names[1:]].isna().to_numpy().any()
    return Table(
        title=titled(look, "Who leads whom", "先后关系检验"),
        key=look.key or "granger",
        header=([HeaderCell(HEADS[name]) for name in names],),
        rows=tuple(rows),
        alignment=("l", *("r" for _ in names[1:])),
        notes=(
            paragraph([*stars_note(style), RATIOS]),
            *([MISSING] if lost else []),
            *map(Text.of, look.notes),
        ),
    )


def _arrow(labels: Mapping[str, Label], source: str, response: str) -> Text:
    a, b = label_of(labels, source), label_of(labels, response)
    return Text(f"{a.en} → {b.en}", f"{a.zh} → {b.zh}")


def _test(record: Record, names: Sequence[str], style: TableStyle) -> Row:
    cells: list[Cell] = []
    for name in names[1:]:
        value = real(record[name])
        if name.startswith("p_"):
            cells.append(Number(value, style.digits, notation="p_value") if value == value else None)
        elif name == "df":
            cells.append(Number(value, 0))
        else:
            p = real(record["p_value" if name == "statistic" else "p_cluster"])
            cells.append(Number(value, style.digits, style.count_stars(p)) if value == value else None)
    return body(PARTS[str(record["part"])], *cells)


def responses_table(
    responses: pd.DataFrame, *, horizons: Sequence[int] | None = None, look: TableLook = PLAIN
) -> Table:
    """Lay out ``zb.impulse_responses(fit).tidy()``: a section for each source and response, a row for each horizon.

    Parameters
    ----------
    horizons
        Which are shown; all without it.
    look
        Words around the table, among them ``words`` for the equations.
    """
    style = look.style
    kinds = list(dict.fromkeys(responses["effect"]))
    rows: list[Row] = []
    for (source, response), own in responses.groupby(["source", "response"], sort=False):
        rows.append(section(_arrow(look.words, str(source), str(response))))
        for horizon, part in own.groupby("horizon", sort=True):
            if horizons is not None and horizon not in horizons:
                continue
            records = {record["effect"]: record for record in part.to_dict("records")}
            cells = [estimate_cells(records[kind], style) for kind in kinds]
            rows += estimate_pair(Text.of(str(horizon)), cells, style)
    return Table(
        title=titled(look, "What follows a shock", "冲击响应"),
        key=look.key or "responses",
        header=([HeaderCell(HORIZON), *(HeaderCell(RESPONSE_PARTS[kind]) for kind in kinds)],),
        rows=tuple(rows),
        alignment=("l", *("r" for _ in kinds)),
        notes=(paragraph([*stars_note(style), SHOCKED]), *map(Text.of, look.notes)),
    )
