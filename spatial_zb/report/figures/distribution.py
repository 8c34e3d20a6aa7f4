"""Figures of distributions and distance: densities as lines or ridges, correlogram, effects by distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd

from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh, not_one_of
from spatial_zb.base.text import Language, Text
from spatial_zb.report.drawing.frame import (
    LABEL_PAD,
    PLAIN,
    ChartFrame,
    Look,
    Page,
    Words,
    chart_sheet,
    chosen_periods,
    items,
    line_height,
    lines_in,
    open_page,
    period_words,
    require_rows,
    to_mm,
    wrapped_labels,
)
from spatial_zb.report.drawing.placement import root_figure
from spatial_zb.report.drawing.style import GREY, INK, Drawing, FigureStyle, fix_ticks, new_figure
from spatial_zb.report.figures.lines import (
    Chart,
    LinePanel,
    Series,
    columns_for,
    draw_chart,
    tick_words,
    ticks_between,
)
from spatial_zb.report.words import EFFECTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


Kind = Literal["lines", "ridges"]
DENSITY = Text("Kernel density", "核密度")
THE_VARIABLE = Text("Variable", "变量")
#: Part of the colour map in use, from the first period to the last: growing darker, never too pale for print.
FIRST_TONE, LAST_TONE = 0.82, 0.0
#: Millimetres from ridge to ridge, and height of the highest ridge in such steps.
RIDGE_STEP, RIDGE_HEIGHT = 5.5, 2.4


def density(
    frame: pd.DataFrame,
    *,
    kind: Kind = "lines",
    periods: Sequence[int] | None = None,
    label: Words = THE_VARIABLE,
    look: Look = PLAIN,
    ax: Axes | None = None,
) -> Drawing:
    """Draw kernel densities by period.

    Parameters
    ----------
    frame
        Columns period, value, density, as ``kernel_densities(...).tidy()`` gives them.
    kind
        ``"lines"`` over one another, each later one darker and with a dash of its own; or ``"ridges"`` below
        one another from the first period to the last, which stay legible for many periods.
    periods
        Those to draw, in order; all without it.
    label
        Words for the variable.
    look
        Words around the figure, style and language.
    ax
        Axes to draw in, without title and note; lines then explain themselves by the legend of these axes.

    Raises
    ------
    DataError
        A missing column, no row, or a density that is missing or negative.
    SpecificationError
        An unknown kind, or a period that is not in the frame.
    """
    chosen = _wanted(frame, periods)
    if kind not in get_args(Kind):
        raise not_one_of("kind", kind, get_args(Kind))
    with open_page(look, "journal_single") as page:
        draw = _ridges if kind == "ridges" else _lines
        return draw(chosen, page.say(label), page, ax)


def _wanted(frame: pd.DataFrame, periods: Sequence[int] | None) -> dict[object, pd.DataFrame]:
    """Rows by period, in order of their values."""
    require_rows(frame, ("period", "value", "density"), Text("frame of densities", "密度表"))
    drawn = chosen_periods(sorted(frame["period"].unique()), periods, Text("density", "密度"))
    if not np.all(frame["density"].to_numpy(dtype=float) >= 0):
        raise DataError("Densities must be numbers that are not negative.", "密度须为非负数值。")
    parts = {period: part.sort_values("value") for period, part in frame.groupby("period", sort=False)}
    return {period: parts[period] for period in drawn}


def _tones(count: int) -> list[str]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colour) for colour in colormaps["viridis"](np.linspace(FIRST_TONE, LAST_TONE, count))]


def _lines(parts: Mapping[object, pd.DataFrame], label: str, page: Page, ax: Axes | None) -> Drawing:
    series = tuple(
        Series(
            period_words(period, page.language),
            part["value"].to_numpy(float),
            part["density"].to_numpy(float),
            look=number,
            marker=False,
            colour=tone,
        )
        for number, ((period, part), tone) in enumerate(zip(parts.items(), _tones(len(parts)), strict=True))
    )
    chart = Chart(label, page.say(DENSITY), page.title, page.note(), floor=0.0)
    drawing = draw_chart([LinePanel("", series)], chart, page.style, ax)
    if ax is not None and len(series) > 1:
        named = {one.name: line for one, line in zip(series, ax.get_lines()[-len(series) :], strict=True)}
        ax.legend(named.values(), named.keys(), frameon=False)
    return drawing


def _ridges(parts: Mapping[object, pd.DataFrame], label: str, page: Page, ax: Axes | None) -> Drawing:
    style = page.style
    rows = [period_words(period, page.language) for period in parts]
    values = np.concatenate([part["value"].to_numpy(float) for part in parts.values()])
    highest = max(part["density"].max() for part in parts.values())
    if ax is None:
        labels, left = wrapped_labels(rows, style, 0.3 * style.width_mm)
        measure = new_figure(style, style.height_mm)
        frame = ChartFrame(1, left + 2.5, 0.0)
        below = lines_in(measure, label, style.base_pt, frame.width(style))
        under = (
            1.7 * line_height(style.small_pt, 1) + to_mm(LABEL_PAD) + line_height(style.base_pt, len(below))
        )
        frame = ChartFrame(1, left + 2.5, under)
        height = RIDGE_STEP * (len(rows) - 1 + RIDGE_HEIGHT + 0.4)
        figure, (axes,) = chart_sheet([""], frame, height, (page.title, page.note()), [], style)
        axes.set_xlabel("\n".join(below), labelpad=LABEL_PAD)
    else:
        figure, axes, labels = root_figure(ax), ax, rows
        axes.set_xlabel(label)
    for row, (part, tone) in enumerate(zip(parts.values(), _tones(len(parts)), strict=True)):
        _ridge(axes, part, row, highest, tone, style)
    axes.set(xlim=(values.min(), values.max()), ylim=(len(rows) - 0.6, -RIDGE_HEIGHT - 0.1))
    axes.set_yticks(range(len(rows)), labels)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    marks = ticks_between(values.min(), values.max(), 6)
    axes.set_xticks(marks, tick_words(marks))
    fix_ticks(figure)
    return Drawing(figure, (axes,))


def _ridge(axes: Axes, part: pd.DataFrame, row: int, highest: float, tone: str, style: FigureStyle) -> None:
    """One period: the later ones stand before the earlier."""
    x = part["value"].to_numpy(float)
    y = row - RIDGE_HEIGHT * part["density"].to_numpy(float) / highest
    order = 2 + 0.01 * row
    axes.axhline(row, color=GREY, linewidth=0.4 * style.line_pt, zorder=order - 0.006, gid="base")
    axes.fill_between(x, row, y, facecolor="white", linewidth=0, zorder=order - 0.004)
    axes.fill_between(x, row, y, facecolor=tone, alpha=0.45, linewidth=0, zorder=order - 0.002, gid="ridge")
    axes.plot(x, y, color=INK, linewidth=style.line_pt, zorder=order, gid="line")


DISTANCE = Text("Distance between units (km)", "地区间距离（km）")
MORAN = Text("Moran's I", "莫兰指数 I")
ENVELOPE = Text(
    "Grey: {:g} % of random assignments of the values to the units. Hollow: within it.",
    "灰色区域：将数值随机分配给各地区时{:g}%的范围；空心点位于其中。",
)
EFFECT = Text("Effect", "效应")
THRESHOLD = Text("Distance threshold (km)", "距离阈值（km）")
INTERVALS = Text(
    "Bars: {:g} % confidence intervals. Hollow: the interval holds zero.",
    "误差线为{:g}%置信区间；空心点：置信区间包含零。",
)
NOT_ESTIMATED = Text("Not estimated at {} km.", "在{} km处无法估计。")


def correlogram(
    frame: pd.DataFrame,
    *,
    periods: Sequence[int] | None = None,
    level: float = 0.95,
    label: Words = MORAN,
    look: Look = PLAIN,
    ax: Axes | None = None,
) -> Drawing:
    """Draw Moran's I by distance with its permutation envelope, one panel for each period.

    Parameters
    ----------
    frame
        Columns period, km, I, env_low, env_high, as
        :func:`~spatial_zb.explore.distance.moran_by_distance` gives them.
    periods
        Those to draw; all without it.
    level
        Share of the permutations inside the envelope, for the note.
    label
        Words for the statistic.
    look
        Words around the figure, style and language.
    ax
        Axes for the only panel of one period.

    Raises
    ------
    DataError
        A missing column, or no finite number.
    SpecificationError
        An unknown period, or ``ax`` for more than one.
    """
    require_rows(
        frame,
        ("period", "km", "I", "env_low", "env_high"),
        Text("frame of Moran's I by distance", "按距离的莫兰指数表"),
    )
    drawn = chosen_periods(list(dict.fromkeys(frame["period"])), periods, Text("Moran's I", "莫兰指数"))
    with open_page(look, "journal_double") as page:
        panels = []
        for period in drawn:
            part = frame[(frame["period"] == period) & np.isfinite(frame["I"].to_numpy(float))]
            panels.append(_correlogram_panel(part.sort_values("km"), period, page.language))
        chart = Chart(
            page.say(DISTANCE),
            page.say(label),
            page.title,
            page.note(page.say(ENVELOPE, 100 * level)),
            columns=columns_for(len(panels), page.style),
        )
        return draw_chart(panels, chart, page.style, ax)


def effects_by_distance(
    frame: pd.DataFrame,
    term: str,
    *,
    effects: Sequence[str] = ("indirect",),
    confidence: float = 0.95,
    label: Words | None = None,
    look: Look = PLAIN,
    ax: Axes | None = None,
) -> Drawing:
    """Draw effects of one variable, estimated anew under each threshold of distance, with their intervals.

    Parameters
    ----------
    frame
        Columns km, term, effect, estimate, conf_low, conf_high, as
        :func:`~spatial_zb.explore.distance.effects_by_distance` gives them.
    term
        The variable.
    effects
        One panel each.
    confidence
        Level of the intervals in the frame, for the note.
    label
        Words for the axis of the effect.
    look
        Words around the figure, style and language.
    ax
        Axes for the only panel.

    Notes
    -----
    Thresholds at which the model could not be estimated are told in the note and in ``Drawing.left_out``.

    Raises
    ------
    DataError
        A missing column, or no finite estimate.
    SpecificationError
        A term or effect that the frame does not have, or ``ax`` for more than one panel.
    """
    require_rows(
        frame,
        ("km", "term", "effect", "estimate", "conf_low", "conf_high"),
        Text("frame of effects by distance", "按距离的效应表"),
    )
    rows = frame[frame["term"] == term]
    kinds = list(dict.fromkeys(rows["effect"]))
    unknown = [effect for effect in effects if effect not in kinds]
    if unknown or not effects:
        what, what_zh = (listed(unknown), listed_zh(unknown)) if kinds else (f"of {term!r}", repr(term))
        raise SpecificationError(
            f"There is no effect {what}; there are {listed(frame['term'].dropna().unique())}.",
            f"没有效应{what_zh}；已有{listed_zh(frame['term'].dropna().unique())}。",
        )
    lost = sorted(set(frame["km"]) - set(rows.loc[np.isfinite(rows["estimate"].to_numpy(float)), "km"]))
    with open_page(look, "journal_single") as page:
        panels = [
            LinePanel(page.say(EFFECTS.get(e, e)), (_effect_series(rows[rows["effect"] == e]),))
            for e in effects
        ]
        gone = page.say(NOT_ESTIMATED, items((f"{d:g}" for d in lost), page.language)) if lost else ""
        chart = Chart(
            page.say(THRESHOLD),
            page.say(EFFECT if label is None else label),
            page.title,
            page.note(page.say(INTERVALS, 100 * confidence), gone),
            columns=columns_for(len(panels), page.style),
        )
        drawing = draw_chart(panels, chart, page.style, ax)
    return Drawing(drawing.figure, drawing.axes, left_out=tuple(f"{d:g} km" for d in lost))


# --------------------------------------------------------------------------------------------------------


def _correlogram_panel(part: pd.DataFrame, period: object, language: Language) -> LinePanel:
    x, found, low, high = (part[name].to_numpy(dtype=float) for name in ("km", "I", "env_low", "env_high"))
    outside = (found < low) | (found > high)
    middle = Series(
        "", x, (low + high) / 2, low, high, interval="band", marker=False, line=False, colour=GREY
    )
    return LinePanel(period_words(period, language), (middle, Series("", x, found, filled=outside)))


def _effect_series(rows: pd.DataFrame) -> Series:
    rows = rows[np.isfinite(rows["estimate"].to_numpy(float))].sort_values("km")
    x, y, low, high = (
        rows[name].to_numpy(dtype=float) for name in ("km", "estimate", "conf_low", "conf_high")
    )
    return Series("", x, y, low, high, filled=(low > 0) | (high < 0))
