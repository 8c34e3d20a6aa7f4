"""How a distribution moves: kernel densities by period, as lines or as ridges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd

from spatial_zb.errors import DataError, SpecificationError, listed
from spatial_zb.report.chart import ChartFrame, chart_sheet, wrapped_labels
from spatial_zb.report.lines import (
    Chart,
    LinePanel,
    Series,
    draw_chart,
    tick_words,
    ticks_between,
)
from spatial_zb.report.pen import line_height, lines_in
from spatial_zb.report.placement import root_figure
from spatial_zb.report.style import GREY, INK, Drawing, FigureStyle, context, new_figure, words
from spatial_zb.text import Language, Text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["density_figure"]

Words = str | Mapping[str, str] | Text
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
        raise SpecificationError(f"kind must be one of {', '.join(get_args(Kind))}, not {kind!r}.")
    with context(style, language) as look:
        texts = [words(part, look.language) for part in (label, title, note)]
        if kind == "ridges":
            return _ridges(chosen, texts, look, ax)
        return _lines(chosen, texts, look, ax)


def _wanted(frame: pd.DataFrame, periods: Sequence[int] | None) -> dict[object, pd.DataFrame]:
    """Rows by period, in order of their values."""
    lacking = [name for name in ("period", "value", "density") if name not in frame.columns]
    if lacking:
        raise DataError(f"The frame of densities has no column {listed(lacking)}.")
    known = sorted(frame["period"].unique())
    unknown = [period for period in periods or () if period not in known]
    if unknown:
        raise SpecificationError(f"There is no density of {listed(unknown)}; there are {listed(known)}.")
    density = frame["density"].to_numpy(dtype=float)
    if not len(density) or not np.all(density >= 0):
        raise DataError("Densities must be numbers that are not negative, at least one.")
    parts = {period: part.sort_values("value") for period, part in frame.groupby("period", sort=False)}
    return {period: parts[period] for period in (known if periods is None else periods)}


def _tones(count: int) -> list[str]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colour) for colour in colormaps["viridis"](np.linspace(FIRST_TONE, LAST_TONE, count))]


def _period_words(period: object, language: Language) -> str:
    name = str(period)
    return name + "年" if language == "zh" and name.isdigit() and len(name) == 4 else name


def _lines(
    parts: Mapping[object, pd.DataFrame], texts: Sequence[str], style: FigureStyle, ax: Axes | None
) -> Drawing:
    series = tuple(
        Series(
            _period_words(period, style.language),
            part["value"].to_numpy(float),
            part["density"].to_numpy(float),
            look=number,
            marker=False,
            colour=tone,
        )
        for number, ((period, part), tone) in enumerate(zip(parts.items(), _tones(len(parts)), strict=True))
    )
    chart = Chart(texts[0], words(DENSITY, style.language), texts[1], texts[2], floor=0.0)
    drawing = draw_chart([LinePanel("", series)], chart, style, ax)
    if ax is not None and len(series) > 1:
        named = {one.name: line for one, line in zip(series, ax.get_lines()[-len(series) :], strict=True)}
        ax.legend(named.values(), named.keys(), frameon=False)
    return drawing


def _ridges(
    parts: Mapping[object, pd.DataFrame], texts: Sequence[str], style: FigureStyle, ax: Axes | None
) -> Drawing:
    rows = [_period_words(period, style.language) for period in parts]
    values = np.concatenate([part["value"].to_numpy(float) for part in parts.values()])
    highest = max(part["density"].max() for part in parts.values())
    if ax is None:
        labels, left = wrapped_labels(rows, style, 0.3 * style.width_mm)
        measure = new_figure(style, style.height_mm)
        frame = ChartFrame(1, left + 2.5, 0.0)
        below = lines_in(measure, texts[0], style.base_pt, frame.width(style))
        under = 1.9 * line_height(style.small_pt, 1) + line_height(style.base_pt, len(below))
        frame = ChartFrame(1, left + 2.5, under)
        height = RIDGE_STEP * (len(rows) - 1 + RIDGE_HEIGHT + 0.4)
        figure, (axes,) = chart_sheet([""], frame, height, (texts[1], texts[2]), [], style)
        axes.set_xlabel("\n".join(below), labelpad=1)
    else:
        figure, axes, labels = root_figure(ax), ax, rows
        axes.set_xlabel(texts[0])
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
