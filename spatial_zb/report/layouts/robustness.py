"""Layouts of robustness: the joint test of a specification curve, the battery, and units left out one at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from spatial_zb.report.layouts.common import (
    ERROR_HEAD,
    MISSING,
    Label,
    Record,
    label_of,
    paragraph,
    real,
    stars_note,
    titled,
    whole,
)
from spatial_zb.report.table_style import TableStyle
from spatial_zb.report.tables import Cell, HeaderCell, Number, Row, Table, body, section
from spatial_zb.report.words import COVARIANCES, FACTS, WORDS
from spatial_zb.text import Text

__all__ = ["curve_table", "influence_table", "robustness_table"]

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
    title: Label | None = None,
    key: str = "compare_curve",
    notes: Sequence[Label] = (),
    style: TableStyle | None = None,
) -> Table:
    """Lay out the joint test of a specification curve.

    Parameters
    ----------
    tests
        ``statistic, observed, null_mean, null_95, p_value`` of :meth:`CurveTest.tidy`.
    cells, replicates
        How many estimates make the curve, and how many curves were drawn without effect.
    """
    style = style or TableStyle()
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
        title=titled(title, "Joint test of the specification curve", "设定曲线联合检验"),
        key=key,
        header=(heads,),
        rows=tuple(rows),
        alignment=("l", "r", "r", "r", "r"),
        notes=(own, *map(Text.of, notes)),
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
}
_LAGGED = Text("Regressors one period earlier", "解释变量滞后一期")


def robustness_table(
    frame: pd.DataFrame,
    labels: Mapping[str, Label] | None = None,
    *,
    title: Label | None = None,
    key: str = "compare_robustness",
    notes: Sequence[Label] = (),
    style: TableStyle | None = None,
) -> Table:
    """Lay out the robustness battery: a line for each variant, grouped by what was changed.

    Parameters
    ----------
    frame
        :meth:`Robustness.tidy`, in the language of the table for its reasons.
    labels
        Words for weights, variables, groups of units and periods, by their names.
    """
    style, labels = style or TableStyle(), labels or {}
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
        title=titled(title, "Robustness", "稳健性检验"),
        key=key,
        header=([HeaderCell(head) for head in heads],),
        rows=tuple(rows),
        alignment=("l", "r", "r", "c", "r", "r"),
        notes=(*([paragraph(own)] if own else []), *reasons, *map(Text.of, notes)),
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
    return label_of(labels, name)


def influence_table(
    influence: pd.DataFrame,
    labels: Mapping[str, Label] | None = None,
    *,
    shown: int = 10,
    title: Label | None = None,
    key: str = "compare_influence",
    notes: Sequence[Label] = (),
    style: TableStyle | None = None,
) -> Table:
    """Lay out the units whose absence moves the estimate most.

    Parameters
    ----------
    influence
        ``unit, estimate, std_error, change, change_se`` of :attr:`Robustness.influence`.
    """
    style, labels = style or TableStyle(), labels or {}
    ordered = influence.loc[influence["change_se"].abs().sort_values(ascending=False, kind="stable").index]
    rows = [
        body(
            label_of(labels, r["unit"]),
            *(Number(real(r[c]), style.digits) for c in ("estimate", "std_error", "change", "change_se")),
        )
        for r in ordered.head(shown).to_dict("records")
    ]
    heads = [
        Text("Unit left out", "剔除地区"),
        WORDS["estimate"],
        ERROR_HEAD["std_error"],
        Text("Change", "变化"),
        Text("Change / base std. error", "变化/基准标准误"),
    ]
    own = Text(
        f"The {len(rows)} of {len(influence)} units whose absence moves the estimate most.",
        f"列出{len(influence)}个地区中剔除后估计值变化最大的{len(rows)}个。",
    )
    return Table(
        title=titled(title, "Leaving out one unit at a time", "逐一剔除地区"),
        key=key,
        header=([HeaderCell(head) for head in heads],),
        rows=tuple(rows),
        alignment=("l", *("r" for _ in heads[1:])),
        notes=(own, *map(Text.of, notes)),
    )
