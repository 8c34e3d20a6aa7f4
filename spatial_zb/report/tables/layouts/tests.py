"""Layouts of tests: the test chain, identification of systems, robustness, and the same by other programs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from spatial_zb.base.text import Text
from spatial_zb.report.tables.layouts.common import (
    ERROR_HEAD,
    MISSING,
    Label,
    Record,
    label_of,
    paragraph,
    real,
    stars_note,
    term_label,
    titled,
    whole,
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
from spatial_zb.report.words import COVARIANCES, ESTIMATORS, FACTS, PARAMETERS, PROPERTIES, WORDS


def chain_table(
    tests: pd.DataFrame | Sequence[tuple[Label, pd.DataFrame]],
    *,
    replicates: int | None = None,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out a chain of tests: ``test, statistic, df, p_value``; a test that is not defined has dashes.

    Pairs of heading and frame, as :func:`spatial_zb.hypotheses.sizes.by_section` gives them, get a section each.
    With ``p_bootstrap`` the bootstrap's p-values get a column of their own, and the stars go by them; ``replicates``
    says in the notes from how many panels.
    """
    style = look.style
    parts: list[tuple[Label | None, Any]] = [(None, tests)] if hasattr(tests, "columns") else list(tests)
    resampled = any("p_bootstrap" in frame.columns for _, frame in parts)
    rows: list[Row] = []
    for heading, frame in parts:
        rows += [] if heading is None else [section(Text.of(heading))]
        rows += [_test_row(record, resampled, style) for record in frame.to_dict("records")]
    heads = [WORDS["test"], WORDS["statistic"], WORDS["df"], Text("p", "p 值")]
    heads += [Text("p, bootstrap", "自助法 p 值")] if resampled else []
    return Table(
        title=titled(look, "Specification tests", "设定检验"),
        key=look.key or "tests",
        header=([HeaderCell(head) for head in heads],),
        rows=tuple(rows),
        alignment=("l", *("r" for _ in heads[1:])),
        notes=(
            *stars_note(style),
            *([_resampled(replicates)] if resampled else []),
            MISSING,
            *map(Text.of, look.notes),
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
    """A p-value; a dash where it is missing, an empty cell where the row is not a test (a VIF)."""
    if math.isfinite(value):
        return Number(value, style.digits, notation="p_value")
    return None if is_test else ""


def identification_table(
    reports: Sequence[tuple[Label, pd.DataFrame]],
    *,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out how well the equations of systems are identified: a section for each system.

    Parameters
    ----------
    reports
        Pairs of heading and ``SystemFit.identification()``.
    look
        Words around the table, among them ``words`` for equations.
    """
    style, labels = look.style, look.words
    rows: list[Row] = []
    for heading, frame in reports:
        rows.append(section(Text.of(heading)))
        for record in frame.to_dict("records"):
            yes = WORDS["yes" if record["identified"] else "no"]
            counts = (
                f"{record['rank']}/{record['rank_needed']}",
                f"{record['outside']}/{record['endogenous']}",
            )
            numbers = [Number(real(record[name]), 2) for name in ("effective_f", "sw_f_min", "kp_f", "j")]
            p_value = Number(real(record["j_p"]), style.digits, notation="p_value")
            rows.append(body(label_of(labels, record["equation"]), yes, *counts, *numbers, p_value))
    names = ("equation", "identified", "rank", "order", "effective_f", "sw_f", "kp_f", "j", "j_p")
    return Table(
        title=titled(look, "Identification", "识别检验"),
        key=look.key or "identification",
        header=([HeaderCell(WORDS[name]) for name in names],),
        rows=tuple(rows),
        alignment=("l", *("c" for _ in names[1:])),
        notes=(
            Text(
                "Rank: coefficients that the exogenous variables tell apart / coefficients. Order: instruments outside the "
                "equation / endogenous regressors. Effective F (Montiel Olea and Pflueger): below 10 is weak. First-stage "
                "F: smallest Sanderson–Windmeijer. Under clustered errors both F beside it are rescaled, and blank with "
                "less than three units for each direction. FIML uses no instruments: there F says what the "
                f"exogenous variables contribute. J, weighted by the residuals of each estimate: {_kinds(reports).en}; a "
                "small p rejects the exclusions.",
                "秩：外生变量可区分的系数个数/系数个数。阶：方程外工具变量数/内生变量数。"
                "有效F（Montiel Olea与Pflueger）小于10为弱。"
                "第一阶段F为最小的Sanderson–Windmeijer统计量。聚类标准误下后两个F已调整，每个方向不足三个地区时留空。"
                f"FIML不用工具变量，其F说明外生变量的贡献。J（以各估计的残差加权）：{_kinds(reports).zh}；p值小表示排除约束被拒绝。",
            ),
            *map(Text.of, look.notes),
        ),
    )


#: Which J it is, as ``identification()`` names it.
J_KINDS = {
    "Sargan": Text(
        "Sargan's, for errors of one variance, independent over time", "Sargan（误差同方差且时间上独立）"
    ),
    "Hansen": Text("Hansen's, for errors independent over time", "Hansen（误差时间上独立）"),
    "Hansen, by unit": Text(
        "Hansen's by unit, for errors that may last over time", "按地区的Hansen（误差可在时间上相关）"
    ),
}


def _kinds(reports: Sequence[tuple[Label, pd.DataFrame]]) -> Text:
    """Which J the table has; where they differ, in which section each stands."""
    found: dict[str, list[Text]] = {}
    for heading, frame in reports:
        for kind in dict.fromkeys(frame["j_test"]):
            found.setdefault(kind, []).append(Text.of(heading))
    if len(found) == 1:
        return J_KINDS[next(iter(found))]
    parts = [
        Text(
            f"{J_KINDS[kind].en} ({', '.join(h.en for h in where)})",
            f"{J_KINDS[kind].zh}（{'、'.join(h.zh for h in where)}）",
        )
        for kind, where in found.items()
    ]
    return Text("; ".join(p.en for p in parts), "；".join(p.zh for p in parts))


_P = HeaderCell("p")

_STATISTICS = {
    "median": Text("Median estimate (size)", "估计值中位数（绝对值）"),
    "significant": Text("Share significant with the dominant sign", "显著且与主导符号一致的比例"),
    "dominant_sign": Text("Share with the dominant sign", "与主导符号一致的比例"),
}


def curve_table(
    tests: pd.DataFrame,
    cells: int,
    replicates: int,
    *,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out the joint test of a specification curve.

    Parameters
    ----------
    tests
        ``statistic, observed, null_mean, null_95, p_value`` of :meth:`CurveTest.tidy`.
    cells, replicates
        How many estimates make the curve, and how many curves were drawn without effect.
    """
    style = look.style
    rows = [
        body(
            _STATISTICS[str(r["statistic"])],
            *(Number(real(r[c]), style.digits) for c in ("observed", "null_mean", "null_95")),
            Number(real(r["p_value"]), style.digits, notation="p_value"),
        )
        for r in tests.to_dict("records")
    ]
    heads = [
        HeaderCell(WORDS["statistic"]),
        HeaderCell(Text("Observed", "观测值")),
        HeaderCell(Text("Mean without effect", "无效应时均值")),
        HeaderCell(Text("95 % without effect", "无效应时95%分位")),
        _P,
    ]
    own = Text(
        f"{cells} specifications. p: share of {replicates} curves, from panels drawn so that the variable has no effect, "
        "that are at least as far out (Simonsohn, Simmons & Nelson 2020; signs of whole residual series flipped at random).",
        f"共{cells}个设定。p值为{replicates}条无效应模拟曲线中不小于观测统计量的比例（Simonsohn、Simmons和Nelson，2020；"
        "按序列随机翻转残差符号）。",
    )
    return Table(
        title=titled(look, "Joint test of the specification curve", "设定曲线联合检验"),
        key=look.key or "compare_curve",
        header=(heads,),
        rows=tuple(rows),
        alignment=("l", "r", "r", "r", "r"),
        notes=(own, *map(Text.of, look.notes)),
    )


_KINDS = {
    "weights": Text("Other weights matrix", "更换空间权重矩阵"),
    "lag_x": Text("Timing", "滞后处理"),
    "periods": Text("Sub-period", "分时段"),
    "drop": Text("Units left out", "剔除部分地区"),
    "y": Text("Other measure of the dependent variable", "替换被解释变量"),
    "x": Text("Other measure of the regressor", "替换核心解释变量"),
    "winsorise": Text("Winsorised", "缩尾处理"),
    "covariance": Text("Other standard errors", "更换标准误"),
    "estimator": Text("Other estimator", "更换估计方法"),
}
_LAGGED = Text("Regressors one period earlier", "解释变量滞后一期")


def robustness_table(
    frame: pd.DataFrame,
    *,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out the robustness battery: a line for each variant, grouped by what was changed.

    Parameters
    ----------
    frame
        :meth:`Robustness.tidy`, in the language of the table for its reasons.
    look
        Words around the table, among them ``words`` for weights, variables, groups of units and periods.
    """
    style, labels = look.style, look.words
    rows: list[Row] = []
    for kind, part in frame.groupby("kind", sort=False):
        rows += [section(_KINDS[str(kind)])] if str(kind) in _KINDS else []
        rows += [_variant(record, labels, style) for record in part.to_dict("records")]
    heads = [
        Text("Variant", "检验内容"),
        WORDS["estimate"],
        ERROR_HEAD["std_error"],
        Text("95 % interval", "95%置信区间"),
        FACTS["n_units"],
        FACTS["n_periods"],
    ]
    failed = [r for r in frame.to_dict("records") if r["reason"]]
    own = stars_note(style)
    if failed:
        own.append(MISSING)
    reasons = [
        Text(
            f"{_variant_words(r, labels).en}: {_reason(r['reason']).en.rstrip('.')}.",
            f"{_variant_words(r, labels).zh}：{_reason(r['reason']).zh.rstrip('.。')}。",
        )
        for r in failed
    ]
    return Table(
        title=titled(look, "Robustness", "稳健性检验"),
        key=look.key or "compare_robustness",
        header=([HeaderCell(head) for head in heads],),
        rows=tuple(rows),
        alignment=("l", "r", "r", "c", "r", "r"),
        notes=(*([paragraph(own)] if own else []), *reasons, *map(Text.of, look.notes)),
    )


def _reason(words: str) -> Text:
    return Text(words, "未收敛") if words == "not converged" else Text.of(words)


def _variant(record: Record, labels: Mapping[str, Label], style: TableStyle) -> Row:
    value, spread = real(record["estimate"]), real(record["std_error"])
    stars = style.count_stars(real(record["p_value"])) if math.isfinite(spread) else 0
    limits = [real(record[c]) for c in ("conf_low", "conf_high")]
    interval: Cell = None
    if all(map(math.isfinite, limits)):
        interval = "[" + ", ".join(f"{v:.{style.digits}f}".replace("-", "−") for v in limits) + "]"
    return body(
        _variant_words(record, labels),
        Number(value, style.digits, stars),
        Number(spread, style.digits),
        interval,
        whole(record["n_units"]) if math.isfinite(real(record["n_units"])) else None,
        whole(record["n_periods"]) if math.isfinite(real(record["n_periods"])) else None,
    )


def _variant_words(record: Record, labels: Mapping[str, Label]) -> Text:
    kind, name = str(record["kind"]), str(record["variant"])
    if kind == "base":
        return Text("Base model", "基准模型")
    if kind == "lag_x":
        return _LAGGED
    if kind == "winsorise":
        low, high = f"{100 * float(name):g}", f"{100 - 100 * float(name):g}"
        return Text(f"At {low} % and {high} %", f"在{low}%与{high}%分位缩尾")
    if kind == "covariance":
        how = COVARIANCES.get(name, Text.of(name))
        return Text(how.en[:1].upper() + how.en[1:], how.zh)
    if kind == "estimator":
        return ESTIMATORS.get(name, Text.of(name))
    return label_of(labels, name)


#: What stands over the numbers of two programs.
_QUANTITIES = {
    "estimate": Text("Estimates", "估计值"),
    "std_error": Text("Standard errors", "标准误"),
    "log_likelihood": Text("Log-likelihood", "对数似然值"),
    "statistic": Text("Statistics", "统计量"),
    "property": Text("Properties", "性质"),
}
#: Of Moran's I, behind what it is of.
_OF_MORAN = {
    "expected": Text("expectation", "期望值"),
    "std_dev": Text("standard deviation", "标准差"),
    "p_sim": Text("pseudo p", "伪p值"),
}
_APART = Text("Difference", "差异"), Text("Reason", "原因")
#: Of more numbers of a kind only these are printed: those that differ most.
_MOST = 12


def crosscheck_table(found: Any, *, look: TableLook = PLAIN) -> Table:
    """Lay out the record of ``zb.crosscheck``: both programs' numbers, and a letter for the reason of each difference.

    Of many numbers of a kind, such as a local statistic of every unit, those that differ most.
    """
    letters = {note: chr(ord("a") + k) for k, note in enumerate(found.reasons)}
    rows: list[Row] = []
    before, digits, lines = "", look.style.digits + 1, _most_apart(found.lines)
    for line in lines:
        label = PROPERTIES.get(line.term) or PARAMETERS.get(line.term) or term_label(look.words, line.term)
        if line.quantity not in _QUANTITIES:
            what = _OF_MORAN.get(line.quantity, Text.of(line.quantity))
            label = Text(f"{label.en}: {what.en}", f"{label.zh}：{what.zh}")
        elif line.quantity != before:
            rows.append(section(_QUANTITIES[line.quantity]))
        before, ours, theirs = line.quantity, line.ours, line.theirs
        marks = ", ".join(letters[note] for note in line.reasons)
        rest = Number(ours - theirs if marks else round(ours - theirs, digits) + 0.0, digits)  # not −0.0000
        counts = line.quantity == "property" and ours == round(ours) and theirs == round(theirs)
        cells = [whole(value) if counts else Number(value, digits) for value in (ours, theirs)]
        rows.append(body(label, *cells, whole(ours - theirs) if counts else rest, marks))
    notes = [
        Text(
            f"{found.program}: {found.call}. Differences without a letter are rounding, below a thousandth of a standard "
            "error or of the number.",
            f"{found.program}：{found.call}。未标字母的差异为舍入误差，不足标准误或数值本身的千分之一。",
        )
    ]
    if len(lines) < len(found.lines):
        n, kept = len(found.lines), len(lines)
        notes.append(
            Text(
                f"Of {n} numbers the {kept} that differ most; a study has all in tidy/crosscheck.csv.",
                f"共{n}个数，仅列差异最大的{kept}个；研究结果的tidy/crosscheck.csv列出全部。",
            )
        )
    reasons = [Text(f"{mark}: {n.text.en}.", f"{mark}：{n.text.zh}。") for n, mark in letters.items()]
    heads = [WORDS["variable"], *map(Text.of, ("spatial_zb", f"{found.program} {found.version}")), *_APART]
    return Table(
        title=titled(look, f"Beside {found.program}", f"与{found.program}对照"),
        key=look.key or "crosscheck",
        header=(list(map(HeaderCell, heads)),),
        rows=tuple(rows),
        alignment=("l", "r", "r", "r", "c"),
        notes=(*notes, *reasons, *map(Text.of, look.notes)),
    )


def _most_apart(lines: Sequence[Any]) -> list[Any]:
    """Lines in their order; of the numbers of a kind beyond ``_MOST`` pairs of terms those that differ most."""
    kept: set[int] = set()
    for kind in dict.fromkeys(line.quantity for line in lines):
        own = [k for k, line in enumerate(lines) if line.quantity == kind]
        if len(own) > 4 * _MOST:
            own = sorted(own, key=lambda k: -abs(lines[k].ours - lines[k].theirs))[:_MOST]
        kept |= set(own)
    return [line for k, line in enumerate(lines) if k in kept]
