"""Moran's I by period, variable and weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from spatial_zb.base.errors import SpecificationError, listed, listed_zh, not_one_of
from spatial_zb.base.text import Text
from spatial_zb.report.tables.layouts.common import (
    MISSING,
    Heading,
    Record,
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
        title=titled(look, "Global Moran's I by period", "各时期全局莫兰指数"),
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
    stub = HeaderCell(WORDS["period"])
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
    header = (level, [HeaderCell(WORDS["period"]), *_MORAN_HEADS * len(weights)])
    rows = []
    for variable, by in results.items():
        rows.append(section(Text.of(variable)))
        own = {w: frames[variable, w] for w in by}
        for t in periods_of(own.values()):
            cells = [cell for w in weights for cell in _moran_cells(own.get(w, {}).get(t), p, style)]
            rows.append(body(_period(t), *cells))
    return header, tuple(rows)


def _period(period: object) -> Cell:
    return WORDS["pooled"] if period == "pooled" else period_cell(period)


def _moran_notes(
    groups: Sequence, frames: Mapping, p: str, permutations: int | None, style: TableStyle
) -> list[Text]:
    if p == "p_value":
        basis = Text("p: from the normal approximation of z.", "p 值由 z 的正态近似得到。")
    else:
        en, zh = (f"{permutations} ", f" {permutations} 次") if permutations else ("", "")
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
