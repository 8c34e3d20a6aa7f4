"""The sheet around charts: panels of one size with title, headings, one legend and a note below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spatial_zb.report.pen import EDGE, GAP, Pen, fitted_legend, legend_height, line_height, lines_in
from spatial_zb.report.placement import text_size
from spatial_zb.report.style import MM_PER_INCH, FigureStyle, new_figure

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["LABEL_PAD", "ChartFrame", "chart_sheet", "wrapped_labels"]

#: Millimetres between panels side by side, and right of the last, for half a tick label.
BETWEEN, RIGHT = 6.0, 2.5
#: Points between numbers and words of an axis; Chinese characters fill their line to its edge.
LABEL_PAD = 3.0
#: Panels never become lower than this, whatever stands around them.
LOWEST = 12.0


@dataclass(frozen=True, slots=True)
class ChartFrame:
    """Room around the panels of a chart, in millimetres.

    ``left`` of the first panel of a row and ``below`` each panel, for ticks and words; ``columns`` panels
    side by side, ``between`` them room for what each of them writes at its left.
    """

    columns: int
    left: float
    below: float
    between: float = BETWEEN

    def width(self, style: FigureStyle) -> float:
        """Width of one panel."""
        free = style.width_mm - 2 * EDGE - self.left - RIGHT - (self.columns - 1) * self.between
        return free / self.columns


def chart_sheet(
    headings: Sequence[str],
    frame: ChartFrame,
    height: float,
    words: tuple[str, str],
    handles: Sequence[Artist],
    style: FigureStyle,
) -> tuple[Figure, list[Axes]]:
    """Make the figure with its panels, empty but for what stands around them.

    Parameters
    ----------
    headings
        One for each panel.
    height
        Height of a panel in millimetres; less when the sheet would become higher than the style allows.
    words
        Title above and note below.
    handles
        Entries of the legend, below the panels.
    """
    figure = new_figure(style, style.height_mm)
    inner, wide = style.width_mm - 2 * EDGE, frame.width(style)
    rows = math.ceil(len(headings) / frame.columns)
    title = lines_in(figure, words[0], style.title_pt, inner)
    note = lines_in(figure, words[1], style.small_pt, inner)
    heads = [lines_in(figure, heading, style.base_pt, wide) for heading in headings]
    legend = fitted_legend(figure, handles, "", inner)

    above = line_height(style.title_pt, len(title)) + (GAP if title else 0)
    head = line_height(style.base_pt, max(map(len, heads))) + 1
    legend_mm = legend_height(legend) + (GAP / 2 if legend else 0)
    fixed = 2 * EDGE + above + legend_mm + line_height(style.small_pt, len(note))
    under = frame.below + (GAP / 2 if rows > 1 else 0.0)
    high = max(LOWEST, min(height, (style.height_mm - fixed) / rows - head - under))
    step = head + high + under
    pen = Pen(figure, style.width_mm, fixed + rows * step)
    pen.resize()
    pen.lines(title, EDGE, EDGE, style.title_pt)
    axes = []
    for number, lines in enumerate(heads):
        row, column = divmod(number, frame.columns)
        x, y = EDGE + frame.left + column * (wide + frame.between), EDGE + above + row * step
        pen.lines(lines, x + wide / 2, y, style.base_pt, "center")
        axes.append(pen.axes(x, y + head, wide, high))
    y = EDGE + above + rows * step
    pen.put(legend, y)
    pen.lines(note, EDGE, y + legend_mm, style.small_pt)
    return figure, axes


def wrapped_labels(labels: Sequence[str], style: FigureStyle, most: float) -> tuple[list[str], float]:
    """Break tick labels into lines of at most ``most`` millimetres; also gives the width they need."""
    figure = new_figure(style, style.height_mm)
    broken = [lines_in(figure, label, style.small_pt, most) or [""] for label in labels]
    widest = max(text_size(figure, line, style.small_pt)[0] for lines in broken for line in lines)
    return ["\n".join(lines) for lines in broken], widest / figure.dpi * MM_PER_INCH
