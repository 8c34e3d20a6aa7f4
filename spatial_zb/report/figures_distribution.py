"""How a distribution moves: kernel densities by period, as lines or as ridges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd

from spatial_zb.errors import DataError, not_one_of
from spatial_zb.report.chart import LABEL_PAD, ChartFrame, chart_sheet, wrapped_labels
from spatial_zb.report.lines import (
    Chart,
    LinePanel,
    Series,
    draw_chart,
    tick_words,
    ticks_between,
)
from spatial_zb.report.page import Page, Words, chosen_periods, open_page, period_words, require_rows
from spatial_zb.report.pen import line_height, lines_in, to_mm
from spatial_zb.report.placement import root_figure
from spatial_zb.report.style import GREY, INK, Drawing, FigureStyle, new_figure
from spatial_zb.text import Language, Text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["density_figure"]

Kind = Literal["lines", "ridges"]
DENSITY = Text("Kernel density", "核密度")
THE_VARIABLE = Text("Variable", "变量")
#: Part of the colour map in use, from the first period to the last: growing darker, never too pale for print.
FIRST_TONE, LAST_TONE = 0.82, 0.0
#: Millimetres from ridge to ridge, and height of the highest ridge in such steps.
RIDGE_STEP, RIDGE_HEIGHT = 5.5, 2.4


def density_figure(
    frame: pd.DataFrame,
    *,
    kind: Kind = "lines",
    periods: Sequence[int] | None = None,
    label: Words = THE_VARIABLE,
    title: Words = "",
    note: Words = "",
    style: str | FigureStyle = "journal_single",
    language: Language | None = None,
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
    title, note
        Words above and below.
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
    with open_page(style, language, title, note) as page:
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
    figure.draw_without_rendering()
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
