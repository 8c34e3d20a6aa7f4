"""Line charts with intervals: panels of series over one axis, with ticks that fit and one legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spatial_zb.base.errors import DataError, SpecificationError
from spatial_zb.report.drawing.frame import LABEL_PAD, ChartFrame, chart_sheet, line_height, lines_in, to_mm
from spatial_zb.report.drawing.placement import root_figure, text_size
from spatial_zb.report.drawing.style import (
    GREY,
    MARKERS,
    MM_PER_INCH,
    SERIES,
    Drawing,
    FigureStyle,
    fix_ticks,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


#: Dashes of the series, so that lines without markers are told apart in greyscale.
DASHES = (
    "-",
    (0, (4, 1.5)),
    (0, (1, 1.2)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (7, 2)),
    (0, (3, 1.2, 1, 1.2, 1, 1.2)),
)
#: Height of a panel over its width, and its least height in millimetres.
ASPECT, LOWEST = 0.72, 28.0
#: Room beyond the outermost values, as a share of their range.
MARGIN = 0.06
#: Width of the group of points of all series at one place, as a share of the least step between places.
DODGE = 0.36
MOST_DECIMALS = 8


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a panel.

    ``x, y, low, high`` (m,); without limits no interval. ``filled`` (m,) says which markers are filled, None
    that all are. ``look`` numbers colour, marker and dash. ``interval`` is drawn as bars or as a band.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    look: int = 0
    interval: Literal["bars", "band"] = "bars"
    marker: bool = True
    line: bool = True
    filled: np.ndarray | None = None
    colour: str = ""


@dataclass(frozen=True, slots=True)
class LinePanel:
    """One panel: its heading, its series, and the heights of reference lines."""

    heading: str
    series: tuple[Series, ...]
    references: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """What stands around the panels and how their axes run.

    ``x_label, y_label, title, note`` in the language of the figure; ``columns`` panels side by side;
    ``shared`` one scale of y for all panels; ``x_ticks`` the places to number, None for round numbers;
    ``floor`` the lower end of y where it is known.
    """

    x_label: str
    y_label: str
    title: str = ""
    note: str = ""
    columns: int = 1
    shared: bool = True
    x_ticks: Sequence[float] | None = None
    floor: float | None = None
    aspect: float = ASPECT


def draw_chart(
    panels: Sequence[LinePanel], chart: Chart, style: FigureStyle, ax: Axes | None = None
) -> Drawing:
    """Draw all panels, on a sheet of their own or the only one in ``ax``.

    Raises
    ------
    DataError
        No finite point in a panel.
    SpecificationError
        ``ax`` for more than one panel.
    """
    if not panels or not all(panel.series for panel in panels):
        raise DataError(
            "There is nothing to plot: the frame has no row that was asked for.",
            "没有可绘制的内容：表中没有所要求的行。",
        )
    if ax is not None and len(panels) > 1:
        raise SpecificationError(
            f"These are {len(panels)} panels: leave ax away, or choose one of them.",
            f"共有{len(panels)}幅：请不要给ax，或只选其中一幅。",
        )
    spans = [_span(panel, chart) for panel in panels]
    if chart.shared:
        low, high = min(low for low, _ in spans), max(high for _, high in spans)
        spans = [(low, high)] * len(panels)
    across = _padded(*_x_range(panels))
    if ax is None:
        figure, axes = _sheet(panels, chart, spans, across, style)
    else:
        figure, axes = root_figure(ax), [ax]
        ax.set(xlabel=chart.x_label, ylabel=chart.y_label, xlim=across, ylim=spans[0])
    for panel, one in zip(panels, axes, strict=True):
        _draw_panel(one, panel, style)
    fix_ticks(figure)
    return Drawing(figure, tuple(axes))


def ticks_between(low: float, high: float, most: int) -> np.ndarray:
    """At most so many round numbers (at least two where possible) within the limits."""
    from matplotlib.ticker import MaxNLocator

    for count in range(max(most - 1, 1), 0, -1):
        found = np.asarray(MaxNLocator(count, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))
        slack = 1e-9 * (high - low)
        found = found[(found >= low - slack) & (found <= high + slack)]
        if len(found) <= most:
            return found
    return np.array([low, high])[:most]


def tick_words(places: Sequence[float] | np.ndarray) -> list[str]:
    """Numbers with as few decimals as they all need."""
    ticks = np.asarray(places, dtype=float)
    size = max(np.abs(ticks).max(initial=0.0), 1e-300)
    for decimals in range(MOST_DECIMALS + 1):
        if np.allclose(np.round(ticks, decimals), ticks, rtol=0, atol=1e-6 * size):
            break
    if decimals == MOST_DECIMALS:
        return [f"{tick:.2g}".replace("-", "−") for tick in ticks]
    signed = [f"{tick + 0.0:.{decimals}f}" for tick in np.round(ticks, decimals)]
    return [word.replace("-", "−") for word in signed]


# --------------------------------------------------------------------------------------------------------


def _span(panel: LinePanel, chart: Chart) -> tuple[float, float]:
    """Limits of y of one panel, with a margin; references inside."""
    values: list[Sequence[float] | np.ndarray] = [panel.references]
    for one in panel.series:
        values += [part for part in (one.y, one.low, one.high) if part is not None]
    found = np.concatenate([np.ravel(np.asarray(part, dtype=float)) for part in values])
    found = found[np.isfinite(found)]
    if not len(found):
        raise DataError(
            f"Panel {panel.heading!r} has no finite number to plot.",
            f"{panel.heading!r}一幅没有可绘制的有限数值。",
        )
    low, high = _padded(found.min(), found.max())
    return (low if chart.floor is None else chart.floor), high


def _padded(low: float, high: float) -> tuple[float, float]:
    room = MARGIN * (high - low) or 0.5 * max(abs(high), 1e-6)
    return low - room, high + room


def _x_range(panels: Sequence[LinePanel]) -> tuple[float, float]:
    every = np.concatenate([np.asarray(one.x, dtype=float) for panel in panels for one in panel.series])
    return every.min(), every.max()


def _sheet(
    panels: Sequence[LinePanel],
    chart: Chart,
    spans: list[tuple[float, float]],
    across: tuple[float, float],
    style: FigureStyle,
) -> tuple[Figure, list[Axes]]:
    measure = new_figure(style, style.height_mm)
    columns = max(1, min(chart.columns, len(panels)))
    line = line_height(style.small_pt, 1)
    room = _tick_room(measure, spans, style)
    between = room + 2.0 if not chart.shared else 4.0
    pad = to_mm(LABEL_PAD)
    frame = ChartFrame(columns, room + pad + line_height(style.base_pt, 1), 0.0, between)
    height = max(LOWEST, chart.aspect * frame.width(style))
    upward = lines_in(measure, chart.y_label, style.base_pt, height)
    left = room + pad + line_height(style.base_pt, max(1, len(upward)))
    frame = ChartFrame(columns, left, 0.0, between)
    below = lines_in(measure, chart.x_label, style.base_pt, frame.width(style))
    frame = ChartFrame(columns, left, 1.7 * line + pad + line_height(style.base_pt, len(below)), between)
    handles = _handles(panels, style)
    headings = [panel.heading for panel in panels]
    figure, axes = chart_sheet(headings, frame, height, (chart.title, chart.note), handles, style)
    for number, (one, span) in enumerate(zip(axes, spans, strict=True)):
        one.set(xlim=across, ylim=span)
        one.set_xlabel("\n".join(below), labelpad=LABEL_PAD)
        _number_axes(one, chart, frame.width(style), style)
        if number % columns == 0:
            one.set_ylabel("\n".join(upward), labelpad=LABEL_PAD)
        elif chart.shared:
            one.tick_params(labelleft=False)
    return figure, axes


def _tick_room(figure: Figure, spans: list[tuple[float, float]], style: FigureStyle) -> float:
    """Millimetres for the numbers at the left and their ticks."""
    labels = [word for span in spans for word in tick_words(ticks_between(*span, 6))]
    widest = max(text_size(figure, word, style.small_pt)[0] for word in labels)
    return widest / figure.dpi * MM_PER_INCH + 2.2


def _number_axes(axes: Axes, chart: Chart, width: float, style: FigureStyle) -> None:
    """Numbers at round places, so few that they stand clear of each other."""
    heights = ticks_between(*axes.get_ylim(), 6)
    axes.set_yticks(heights, tick_words(heights))
    low, high = axes.get_xlim()
    if chart.x_ticks is None:
        for most in range(8, 1, -1):
            places = ticks_between(low, high, most)
            if _fits(axes, places, tick_words(places), width, style):
                break
    else:
        places = np.asarray(chart.x_ticks, dtype=float)
        step = 1
        while len(places[::step]) > 2 and not _fits(
            axes, places[::step], tick_words(places[::step]), width, style
        ):
            step += 1
        places = places[::step]
    axes.set_xticks(places, tick_words(places))


def _fits(axes: Axes, places: np.ndarray, labels: Sequence[str], width: float, style: FigureStyle) -> bool:
    figure = root_figure(axes)
    low, high = axes.get_xlim()
    if len(places) < 2:
        return True
    step = np.min(np.diff(places)) / (high - low) * width
    widest = max(text_size(figure, word, style.small_pt)[0] for word in labels) / figure.dpi * MM_PER_INCH
    return bool(step >= 1.25 * widest)


def _draw_panel(axes: Axes, panel: LinePanel, style: FigureStyle) -> None:
    low, high = axes.get_ylim()
    for height in dict.fromkeys((0.0, *panel.references)):
        if low < height < high:
            dash = "-" if height == 0 else (0, (3, 2))
            gid = "zero" if height == 0 else "reference"
            axes.axhline(height, color=GREY, linewidth=0.7 * style.line_pt, linestyle=dash, zorder=1, gid=gid)
    shifts = _shifts(panel)
    for one, shift in zip(panel.series, shifts, strict=True):
        _draw_series(axes, one, shift, style)


def _shifts(panel: LinePanel) -> list[float]:
    """Side steps that keep the bars of several series apart."""
    barred = [n for n, one in enumerate(panel.series) if one.interval == "bars" and one.low is not None]
    out = [0.0] * len(panel.series)
    if len(barred) < 2:
        return out
    places = np.unique(np.concatenate([panel.series[n].x for n in barred]))
    step = np.min(np.diff(places)) if len(places) > 1 else 1.0
    for place, n in enumerate(barred):
        out[n] = DODGE * step * ((place + 0.5) / len(barred) - 0.5)
    return out


def _draw_series(axes: Axes, one: Series, shift: float, style: FigureStyle) -> None:
    x = np.asarray(one.x, dtype=float) + shift
    y = np.asarray(one.y, dtype=float)
    look = _look(one, style)
    if one.low is not None and one.high is not None:
        if one.interval == "band":
            axes.fill_between(x, one.low, one.high, color=look["color"], alpha=0.18, linewidth=0, gid="band")
        else:
            known = np.isfinite(one.low) & np.isfinite(one.high)
            bar = {"color": look["color"], "linewidth": 1.1 * style.line_pt, "zorder": 2, "gid": "interval"}
            axes.vlines(x[known], np.asarray(one.low)[known], np.asarray(one.high)[known], **bar)
    dots = {**look, "linestyle": ""}
    if one.line:
        axes.plot(x, y, zorder=3, gid="line", **{**look, "marker": ""})
    if one.marker:
        full = np.ones(len(x), dtype=bool) if one.filled is None else np.asarray(one.filled, dtype=bool)
        axes.plot(x[full], y[full], zorder=4, gid="point", **dots)
        axes.plot(x[~full], y[~full], zorder=4, gid="hollow", **{**dots, "markerfacecolor": "white"})


def _look(one: Series, style: FigureStyle) -> dict[str, Any]:
    number = one.look
    colour = one.colour or SERIES[number % len(SERIES)]
    # One step further in each round, so that the eighth series does not look like the first.
    marker = MARKERS[(number + number // len(SERIES)) % len(MARKERS)]
    return {
        "color": colour,
        "linestyle": DASHES[number % len(DASHES)] if one.line else "",
        "linewidth": 1.2 * style.line_pt,
        "marker": marker if one.marker else "",
        "markersize": 4.2 * style.line_pt,
        "markerfacecolor": colour,
        "markeredgecolor": colour,
        "markeredgewidth": 0.8 * style.line_pt,
    }


def _handles(panels: Sequence[LinePanel], style: FigureStyle) -> list[Artist]:
    """One entry for each name; none when there is only one."""
    from matplotlib.lines import Line2D

    named = {one.name: one for panel in panels for one in panel.series if one.name}
    if len(named) < 2:
        return []
    return [Line2D([], [], label=name, **_look(one, style)) for name, one in named.items()]


def columns_for(panels: int, style: FigureStyle) -> int:
    """Panels side by side: as many as keep 45 mm each, in rows of equal length."""
    most = max(1, min(panels, int(style.width_mm // 55)))
    return math.ceil(panels / math.ceil(panels / most))
