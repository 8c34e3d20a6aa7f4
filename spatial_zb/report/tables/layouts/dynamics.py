"""Layouts of distribution dynamics (peaks, ellipses, inequality and its parts, convergence) and of systems over time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from spatial_zb.base.text import Text
from spatial_zb.report.tables.layouts.common import (
    ERROR_COLUMN,
    MISSING,
    Label,
    Record,
    errors_note,
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
    RULE,
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

if TYPE_CHECKING:
    import pandas as pd


Labels = Mapping[str, Text]
PERIOD = HeaderCell(Text("Period", "时期"))


def density_table(
    frames: Mapping[str, pd.DataFrame],
    *,
    relative: bool = False,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out the peaks of densities: by variable a frame with ``period, mode, height, peaks, bandwidth``."""
    style = look.style
    heads = (Text("Mode", "众数"), Text("Height", "峰值"), Text("Peaks", "峰数"), Text("Bandwidth", "带宽"))
    said = Text(
        "Gaussian kernel, one bandwidth by Scott’s rule for each period; mode and height are those of the highest peak.",
        "高斯核，各时期带宽按Scott准则；众数与峰值指最高的峰。",
    )
    if relative:
        said = paragraph(
            [said, Text("Values are relative to the mean of their period.", "数值为与当期均值之比。")]
        )

    def cells(row: Mapping) -> list[Cell]:
        sizes = [Number(real(row[k]), style.digits) for k in ("mode", "height")]
        return [*sizes, int(row["peaks"]), Number(real(row["bandwidth"]), style.digits)]

    title = titled(look, "Kernel densities by period", "核密度估计的逐期特征")
    around = replace(look, title=title, key=look.key or "densities", notes=[said, *look.notes])
    return _by_period(frames, heads, cells, around)


def ellipse_table(
    frame: pd.DataFrame,
    label: Text,
    *,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out centres of gravity and deviation ellipses: the table of an ``EllipsePath``."""
    heads = (
        Text("Longitude", "经度"),
        Text("Latitude", "纬度"),
        Text("Long semi-axis (km)", "长半轴（km）"),
        Text("Short semi-axis (km)", "短半轴（km）"),
        Text("Angle (°)", "转角（°）"),
        Text("Area (km²)", "面积（km²）"),
        Text("Shift (km)", "移动距离（km）"),
        Text("Bearing (°)", "移动方位（°）"),
    )
    names = ("lon", "lat", "semi_major_km", "semi_minor_km", "angle", "area_km2", "shift_km", "bearing")
    digits = (3, 3, 1, 1, 1, 0, 1, 0)
    rows = [
        body(str(row["period"]), *(Number(real(row[n]), d) for n, d in zip(names, digits, strict=True)))
        for row in frame.to_dict("records")
    ]
    said = Text(
        "Units count at their centroid with the value of the variable. Semi-axes are √2 standard deviations (63 % of a "
        "normal distribution); angle of the long axis and bearing of the shift clockwise from north; shift from the "
        "period before.",
        "各地区按质心位置与变量值加权。半轴为√2倍标准差（正态分布下含63%）；转角为长轴方向、方位为重心移动方向，均自正北顺时针；移动距离相对上一时期。",
    )
    return Table(
        title=titled(
            look, f"Centre of gravity and deviation ellipse: {label.en}", f"重心与标准差椭圆：{label.zh}"
        ),
        key=look.key or "ellipse",
        header=([PERIOD, *map(HeaderCell, heads)],),
        rows=tuple(rows),
        notes=(said, *map(Text.of, look.notes)),
    )


def inequality_table(
    theil: pd.DataFrame,
    dagum: pd.DataFrame,
    label: Text,
    *,
    groups: Text,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out Theil's T and Dagum's Gini by period with the shares of their parts, in per cent.

    ``theil`` and ``dagum`` are tables of ``theil_decomposition`` and ``dagum_decomposition``.
    """
    style = look.style
    within, between = Text("Within (%)", "组内（%）"), Text("Between (%)", "组间（%）")
    overlap = Text("Overlap (%)", "超变密度（%）")
    header = (
        [
            HeaderCell(),
            HeaderCell(Text("Theil", "泰尔指数"), 3),
            HeaderCell(Text("Gini (Dagum)", "基尼系数（Dagum）"), 4),
        ],
        [
            PERIOD,
            *map(HeaderCell, (Text("T", "T"), within, between, Text("G", "G"), within, between, overlap)),
        ],
    )
    parts = {"theil": ("within", "between"), "dagum": ("within", "between", "transvariation")}

    def cells(row: Mapping, kind: str) -> list[Cell]:
        shares = [Number(100 * real(row[f"share_{part}"]), 1) for part in parts[kind]]
        return [Number(real(row["total"]), style.digits + 1), *shares]

    rows = [
        body(str(t["period"]), *cells(t, "theil"), *cells(d, "dagum"))
        for t, d in zip(theil.to_dict("records"), dagum.to_dict("records"), strict=True)
    ]
    said = Text(
        f"Groups: {groups.en}. Shares of the total; overlap is what groups have in common although their means differ.",
        f"分组：{groups.zh}。各部分占总体的比重；超变密度为均值不同的组之间的交叠。",
    )
    return Table(
        title=titled(look, f"Inequality and its parts: {label.en}", f"差异及其分解：{label.zh}"),
        key=look.key or "inequality",
        header=header,
        rows=tuple(rows),
        notes=(said, *map(Text.of, look.notes)),
    )


def sigma_table(
    frames: Mapping[str, pd.DataFrame],
    trends: Mapping[str, pd.DataFrame],
    *,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out σ of logarithms and the coefficient of variation by period, with their trends below.

    ``frames`` by variable have ``period, std_dev, cv``; ``trends`` ``term, estimate, std_error, statistic, p_value``.
    """
    style = look.style
    title = titled(look, "σ-convergence: dispersion by period", "σ 收敛：各时期离散程度")
    table = _by_period(
        frames,
        (Text("σ of ln", "对数标准差 σ"), Text("CV", "变异系数")),
        lambda row: [Number(real(row[k]), style.digits + 1) for k in ("std_dev", "cv")],
        replace(look, title=title, key=look.key or "sigma_convergence"),
    )
    if any(len(trend) for trend in trends.values()):
        rows = (*table.rows, RULE, *_trend_rows(trends, style))
        said = paragraph(
            [
                Text(
                    "Trend: least-squares slope on the period; negative is convergence. With so few periods its test is "
                    "a description.",
                    "趋势为对时期的最小二乘斜率，负值为收敛；时期少，检验仅供描述。",
                ),
                errors_note(style),
                *stars_note(style),
            ]
        )
        return Table(table.title, table.key, table.header, rows, notes=(said, *map(Text.of, look.notes)))
    return table


def _trend_rows(trends: Mapping[str, pd.DataFrame], style: TableStyle) -> list[Row]:
    found = [
        trend.set_index("term").loc[term].to_dict() if len(trend) else {}
        for trend in trends.values()
        for term in ("std_dev", "cv")
    ]
    estimates = [
        Number(real(f.get("estimate")), style.digits + 2, style.count_stars(real(f.get("p_value"))))
        for f in found
    ]
    errors = [
        Number(
            real(f.get(ERROR_COLUMN[style.errors])),
            style.digits + 2,
            enclosure="paren",
            notation="p_value" if style.errors == "p" else "fixed",
        )
        for f in found
    ]
    return [body(Text("Trend per period", "每期趋势"), *estimates), body("", *errors)]


def speed_table(
    results: Sequence[tuple[Text, Text, pd.DataFrame]],
    *,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out β, the speed of convergence and the half-life: (variable, model, ``BetaConvergence.tidy()``) each."""
    style = look.style
    heads = (
        Text("Model", "模型"),
        Text("β", "β"),
        Text("Std. error", "标准误"),
        Text("Speed (% a year)", "收敛速度（%/年）"),
        Text("95 % limits", "95%区间"),
        Text("Half-life (years)", "半衰期（年）"),
    )
    rows: list[Row] = []
    for number, (variable, model, tidy) in enumerate(results):
        if not number or results[number - 1][0] != variable:
            rows.append(section(variable))
        found = tidy.set_index("term")
        beta, speed, half = (found.loc[term] for term in ("beta", "speed", "half_life"))
        stars = style.count_stars(real(beta["p_value"]))
        limits = [100 * real(speed[k]) for k in ("conf_low", "conf_high")]
        rows.append(
            body(
                model,
                Number(real(beta["estimate"]), style.digits + 1, stars),
                Number(real(beta["std_error"]), style.digits + 1, enclosure="paren"),
                Number(100 * real(speed["estimate"]), 2),
                _interval(*limits),
                Number(real(half["estimate"]), 1),
            )
        )
    said = Text(
        "β: coefficient of the initial level on growth a year; speed −ln(1 + βs)/s over growth periods of s years. A dash "
        "(–): no convergence, or β beyond −1/s. With unit effects and few periods β leans towards convergence (Nickell).",
        "β为年均增长对期初水平的系数；收敛速度−ln(1+βs)/s，s为增长期年数。“–”表示不收敛或β小于−1/s。含个体固定效应且时期少时，β偏向收敛（Nickell偏误）。",
    )
    return Table(
        title=titled(look, "β-convergence: speed and half-life", "β 收敛：速度与半衰期"),
        key=look.key or "beta_convergence_speed",
        header=([*map(HeaderCell, heads)],),
        rows=tuple(rows),
        alignment=("l", "r", "r", "r", "r", "r"),
        notes=(paragraph([said, *stars_note(style)]), *map(Text.of, look.notes)),
    )


def _interval(low: float, high: float) -> Cell:
    if not (math.isfinite(low) and math.isfinite(high)):
        return Number(math.nan)
    return f"[{low:.2f}, {high:.2f}]".replace("-", "−")


def _by_period(
    frames: Mapping[str, pd.DataFrame],
    heads: Sequence[Text],
    cells: Callable[[Mapping], list[Cell]],
    look: TableLook,
) -> Table:
    """Periods in rows, for every variable the columns ``heads``; title and key are those of ``look``."""
    periods = sorted({period for frame in frames.values() for period in frame["period"]})
    records = {
        name: {row["period"]: row for row in frame.to_dict("records")} for name, frame in frames.items()
    }
    header = [PERIOD, *(HeaderCell(head) for _ in frames for head in heads)]
    over = [HeaderCell(), *(HeaderCell(label_of(look.words, name), len(heads)) for name in frames)]
    rows = [
        body(str(period), *(cell for by in records.values() for cell in cells(by[period])))
        for period in periods
    ]
    notes = tuple(map(Text.of, look.notes))
    return Table(Text.of(look.title), look.key, (over, header), tuple(rows), notes=notes)


# Systems over time --------------------------------------------------------------------------------------

LEAD_PARTS = {
    "own": Text("Own city", "本地区"),
    "neighbours": Text("Neighbours", "邻接地区"),
    "both": Text("Both", "两者"),
}
LEAD_HEADS = {
    "part": Text("Lags in time of", "滞后项来自"),
    "statistic": Text("F", "F"),
    "df": Text("q", "q"),
    "p_value": Text("p", "p 值"),
    "p_bootstrap": Text("p, bootstrap", "自助法 p 值"),
    "ratio": Text("LR", "似然比"),
    "p_ratio": Text("p, LR", "似然比 p 值"),
    "f_cluster": Text("F, clustered", "聚类 F"),
    "p_cluster": Text("p, clustered", "聚类 p 值"),
}
RATIOS = Text(
    "F: of q coefficients, by the curvature of the adjusted likelihood, against F(q, observations − terms). LR: ratio of "
    "the adjusted likelihoods against χ²(q). F, clustered: by the covariance clustered by unit, against F(q, units − q). "
    "What is tested is whether the period before of one variable helps to explain the other, whose own past is there.",
    "F：q个系数，按校正似然的曲率，以F(q, 观测数 − 项数)为准。似然比：校正似然之比，以χ²(q)为准。"
    "聚类F：按地区聚类的协方差，以F(q, 地区数 − q)为准。检验的是：在已含另一变量自身前期的情况下，"
    "某变量的前期是否有助于解释它。",
)
SHOCKED = Text(
    "Responses to a shock of one unit in one city in period 0: of that city, of all others together, and of all. Errors "
    "by the delta method below, in brackets; with a dash, zero by construction.",
    "第0期某一地区受到一单位冲击后的响应：该地区、其他地区合计与全部地区。下方括号内为Delta方法标准误；横线表示按模型设定为零。",
)
SHARED = Text(
    "How much of the forecast error variance of the second variable comes from shocks to the first, in the same city and in "
    "others, so many periods ahead. A range: what shocks of two equations have in common is counted with either.",
    "相应期数的预测误差方差中，来自前一变量冲击的份额：来自本地区与其他地区。取值为区间：两方程冲击的共同部分可归于任一方。",
)
AFTER = Text("Periods after", "期数")


def granger_table(tests: pd.DataFrame, *, look: TableLook = PLAIN) -> Table:
    """Lay out ``zb.granger(fit).tidy()``: a section for each direction.

    Parameters
    ----------
    look
        Words around the table, among them ``words`` for the equations.
    """
    style = look.style
    names = [name for name in LEAD_HEADS if name in tests.columns]
    rows: list[Row] = []
    for (source, response), own in tests.groupby(["source", "response"], sort=False):
        rows.append(section(_arrow(look.words, str(source), str(response))))
        rows += [_test(record, names, style) for record in own.to_dict("records")]
    lost = tests[names[1:]].isna().to_numpy().any()
    return Table(
        title=titled(look, "Who leads whom", "先后关系检验"),
        key=look.key or "granger",
        header=([HeaderCell(LEAD_HEADS[name]) for name in names],),
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
            p = real(record[{"statistic": "p_value", "ratio": "p_ratio"}.get(name, "p_cluster")])
            cells.append(Number(value, style.digits, style.count_stars(p)) if value == value else None)
    return body(LEAD_PARTS[str(record["part"])], *cells)


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
        header=([HeaderCell(AFTER), *(HeaderCell(RESPONSE_PARTS[kind]) for kind in kinds)],),
        rows=tuple(rows),
        alignment=("l", *("r" for _ in kinds)),
        notes=(paragraph([*stars_note(style), SHOCKED]), *map(Text.of, look.notes)),
    )


def shares_table(
    shares: pd.DataFrame, *, horizons: Sequence[int] | None = None, look: TableLook = PLAIN
) -> Table:
    """Lay out ``impulse_responses(fit).variance_shares().tidy()``: shares in per cent as ranges, with their limits.

    ``horizons`` are those that are shown, and ``look`` the words around the table, as in :func:`responses_table`.
    """
    rows: list[Row] = []
    for (source, response), own in shares.groupby(["source", "response"], sort=False):
        rows.append(section(_arrow(look.words, str(source), str(response))))
        for horizon, part in own.groupby("horizon", sort=True):
            if horizons is None or horizon in horizons:
                records = {record["place"]: record for record in part.to_dict("records")}
                cells = [
                    _range(records[place], ends) for place in ("own", "others") for ends in ("share", "conf")
                ]
                rows.append(body(str(horizon), *cells))
    limits = HeaderCell(Text("95 % limits", "95%界限"))
    heads = [cell for place in ("own", "others") for cell in (HeaderCell(RESPONSE_PARTS[place]), limits)]
    return Table(
        title=titled(look, "Shares of what cannot be foreseen (%)", "预测误差方差分解（%）"),
        key=look.key or "variance_shares",
        header=([HeaderCell(AFTER), *heads],),
        rows=tuple(rows),
        alignment=("l", *("r" for _ in heads)),
        notes=(SHARED, *map(Text.of, look.notes)),
    )


def _range(record: Record, ends: str) -> str:
    low, high = (f"{100 * real(record[f'{ends}_{end}']):.0f}" for end in ("low", "high"))
    return low if low == high and ends == "share" else f"{low}–{high}"
