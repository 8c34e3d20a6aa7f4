"""The chain of specification tests, and how well systems are identified."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from spatial_zb.report.layouts.common import MISSING, Label, Record, label_of, real, stars_note, titled
from spatial_zb.report.table_style import TableStyle
from spatial_zb.report.tables import Cell, HeaderCell, Number, Row, Table, body, section
from spatial_zb.report.words import WORDS
from spatial_zb.text import Text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["chain_table", "identification_table"]


def chain_table(
    tests: pd.DataFrame | Sequence[tuple[Label, pd.DataFrame]],
    *,
    title: Label | None = None,
    key: str = "tests",
    replicates: int | None = None,
    notes: Sequence[Label] = (),
    style: TableStyle | None = None,
) -> Table:
    """Lay out a chain of tests: ``test, statistic, df, p_value``; a test that is not defined has dashes.

    Pairs of heading and frame, as :func:`spatial_zb.hypotheses.sections.by_section` gives them, get a section each.
    With ``p_bootstrap`` the bootstrap's p-values get a column of their own, and the stars go by them; ``replicates``
    says in the notes from how many panels.
    """
    style = style or TableStyle()
    parts = [(None, tests)] if hasattr(tests, "columns") else list(tests)
    resampled = any("p_bootstrap" in frame.columns for _, frame in parts)
    rows: list[Row] = []
    for heading, frame in parts:
        rows += [] if heading is None else [section(Text.of(heading))]
        rows += [_test_row(record, resampled, style) for record in frame.to_dict("records")]
    heads = [WORDS["test"], WORDS["statistic"], WORDS["df"], Text("p", "p 值")]
    heads += [Text("p, bootstrap", "自助法 p 值")] if resampled else []
    return Table(
        title=titled(title, "Specification tests", "设定检验"),
        key=key,
        header=([HeaderCell(head) for head in heads],),
        rows=tuple(rows),
        alignment=("l", *("r" for _ in heads[1:])),
        notes=(
            *stars_note(style),
            *([_resampled(replicates)] if resampled else []),
            MISSING,
            *map(Text.of, notes),
        ),
    )


def _test_row(record: Record, resampled: bool, style: TableStyle) -> Row:
    """One test: its statistic with stars, degrees of freedom, and p-values."""
    statistic, p_value, df = (real(record[name]) for name in ("statistic", "p_value", "df"))
    again = real(record["p_bootstrap"]) if resampled else math.nan
    defined = math.isfinite(statistic)
    stars = style.count_stars(again if math.isfinite(again) else p_value) if defined else 0
    is_test = math.isfinite(p_value) or not defined
    cells = [
        Number(statistic, style.digits, stars),
        Number(df, 0) if math.isfinite(df) else "",
        _p_cell(p_value, is_test, style),
    ]
    cells += [_p_cell(again, is_test, style)] if resampled else []
    return body(Text.of(record["test"]), *cells)


def _resampled(replicates: int | None) -> Text:
    """What the bootstrap's p-values are."""
    en, zh = ("", "") if replicates is None else (f"{replicates:,} ", f"{replicates:,}个")
    return Text(
        f"p, bootstrap: share of {en}panels drawn under the null hypothesis whose statistic is at least as far out, the "
        "panel itself counted among them; the stars go by it.",
        f"自助法p值：在原假设下重抽样的{zh}面板（连同样本本身）中，统计量不小于观测值的比例；星号以其为准。",
    )


def _p_cell(value: float, is_test: bool, style: TableStyle) -> Cell:
    """A p-value; a dash where there is none, nothing where the row is no test (a VIF)."""
    if math.isfinite(value):
        return Number(value, style.digits, notation="p_value")
    return None if is_test else ""


def identification_table(
    reports: Sequence[tuple[Label, pd.DataFrame]],
    labels: Mapping[str, Label] | None = None,
    *,
    title: Label | None = None,
    key: str = "identification",
    notes: Sequence[Label] = (),
    style: TableStyle | None = None,
) -> Table:
    """Lay out how well the equations of systems are identified: a section for each system.

    Parameters
    ----------
    reports
        Pairs of heading and ``SystemFit.identification()``.
    labels
        Words for equations.
    """
    style = style or TableStyle()
    rows: list[Row] = []
    for heading, frame in reports:
        rows.append(section(Text.of(heading)))
        for record in frame.to_dict("records"):
            yes = WORDS["yes" if record["identified"] else "no"]
            counts = (
                f"{record['rank']}/{record['rank_needed']}",
                f"{record['outside']}/{record['endogenous']}",
            )
            numbers = [Number(real(record[name]), 2) for name in ("sw_f_min", "kp_f", "j")]
            p_value = Number(real(record["j_p"]), style.digits, notation="p_value")
            rows.append(body(label_of(labels or {}, record["equation"]), yes, *counts, *numbers, p_value))
    names = ("equation", "identified", "rank", "order", "sw_f", "kp_f", "j", "j_p")
    return Table(
        title=titled(title, "Identification", "识别检验"),
        key=key,
        header=([HeaderCell(WORDS[name]) for name in names],),
        rows=tuple(rows),
        alignment=("l", *("c" for _ in names[1:])),
        notes=(
            Text(
                "Rank: rank found / needed. Order: instruments outside the equation / endogenous regressors. First-stage F: "
                "smallest Sanderson–Windmeijer; below 10 is weak. J: Sargan's, or Hansen's under robust errors; a small p "
                "rejects the exclusions.",
                "秩：实际秩/所需秩。阶：方程外工具变量数/内生变量数。第一阶段F为最小的Sanderson–Windmeijer统计量，小于10为弱工具变量。"
                "J为Sargan统计量（稳健标准误时为Hansen），p值小表示排除约束被拒绝。",
            ),
            *map(Text.of, notes),
        ),
    )
