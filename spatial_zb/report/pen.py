"""Paper and pen of all figures: writing in millimetres from the upper left corner, and legends that fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spatial_zb.report.placement import box_of, root_figure, wrap
from spatial_zb.report.style import INK, MM_PER_INCH

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

__all__ = ["EDGE", "GAP", "Pen", "fitted_legend", "legend_height", "line_height", "lines_in", "to_mm"]

# Millimetres from the edge of the sheet, and between its parts.
EDGE, GAP = 2.0, 3.0
LINE_SPACING = 1.35


def to_mm(points: float) -> float:
    """Millimetres of so many points."""
    return points * MM_PER_INCH / 72


def line_height(points: float, lines: int) -> float:
    """Height of so many lines of type, in millimetres."""
    return lines * LINE_SPACING * to_mm(points)


def lines_in(figure: Figure, text: str, points: float, width: float) -> list[str]:
    """Break a text into lines of at most ``width`` millimetres."""
    return wrap(figure, text, points, width / MM_PER_INCH * figure.dpi)


@dataclass(frozen=True, slots=True)
class Pen:
    """Writes on a figure of a size in millimetres."""

    figure: Figure
    width: float
    height: float

    def resize(self) -> None:
        """Give the figure this size."""
        self.figure.set_size_inches(self.width / MM_PER_INCH, self.height / MM_PER_INCH)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Make axes whose upper left corner is at (x, y)."""
        box = (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box)

    def lines(self, lines: Sequence[str], x: float, y: float, points: float, ha: str = "left") -> None:
        """Write lines below one another from (x, y)."""
        for number, line in enumerate(lines):
            where = x / self.width, 1 - (y + line_height(points, number)) / self.height
            self.figure.text(*where, line, fontsize=points, ha=ha, va="top", color=INK, parse_math=False)

    def put(self, legend: Legend | None, y: float, x: float = EDGE) -> None:
        """Move a legend to x, by default the left edge, its top at y."""
        if legend is not None:
            corner = (x / self.width, 1 - y / self.height)
            legend.set_bbox_to_anchor(corner, self.figure.transFigure)


def fitted_legend(figure: Figure, handles: Sequence[Artist], title: str, width: float) -> Legend | None:
    """Legend in as few rows as fit into ``width`` millimetres; None when there is nothing to explain."""
    for rows in range(1, len(handles) + 1):
        legend = figure.legend(
            handles=handles,
            title=title or None,
            ncols=math.ceil(len(handles) / rows),
            loc="upper left",
            frameon=False,
            alignment="left",
            borderpad=0,
            borderaxespad=0,
            handlelength=1.6,
            handleheight=0.9,
            handletextpad=0.6,
            columnspacing=1.2,
            labelspacing=0.35,
        )
        box = box_of(legend)
        if rows == len(handles) or (box[2] - box[0]) / figure.dpi * MM_PER_INCH <= width:
            return legend
        legend.remove()
    return None


def legend_height(legend: Legend | None) -> float:
    """Height in millimetres."""
    if legend is None:
        return 0.0
    box = box_of(legend)
    return (box[3] - box[1]) / root_figure(legend).dpi * MM_PER_INCH
