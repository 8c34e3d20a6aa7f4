"""The sheet around maps: panel grid, titles, legend, scale bar, north arrow and source lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spatial_zb.base.text import Language, Text
from spatial_zb.report.drawing.frame import (
    EDGE,
    GAP,
    Country,
    Page,
    Pen,
    fitted_legend,
    legend_height,
    line_height,
    lines_in,
    panel_letter,
    period_words,
    to_mm,
)
from spatial_zb.report.drawing.placement import root_figure, text_size
from spatial_zb.report.drawing.places import in_china, north_angle
from spatial_zb.report.drawing.style import GREY, INK, MM_PER_INCH, FigureStyle, new_figure, words

if TYPE_CHECKING:
    from geopandas import GeoDataFrame, GeoSeries
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path


REVIEW = Text("Map review number: ", "审图号：")
NO_NUMBER = Text("to be given", "待填")
NORTH = Text("N", "北")

#: Greatest height of the small map of the wider area, in millimetres.
LOCATOR = 22.0
#: Width kept for scale bar and north arrow, and the longest bar, in heights of small type.
SCALE_ROOM, LONGEST_BAR = 14.0, 8.3


@dataclass(frozen=True, slots=True)
class Inset:
    """A key of its own beside the legend: its size in millimetres, and what draws it in axes of that size."""

    width: float
    height: float
    draw: Callable[[Axes], None]


def lay_out(
    shapes: GeoDataFrame,
    panels: Sequence[object],
    handles: Sequence[Artist],
    page: Page,
    inset: Inset | None = None,
) -> tuple[Figure, list[Axes]]:
    """Make the figure, as high as its panels need, with all but the maps in it.

    Parameters
    ----------
    shapes
        Projected polygons; every panel shows all of them at one scale.
    panels
        Names of the panels; an empty name for a map without a heading.
    handles
        Entries of the legend.
    inset
        A key below the title of the legend and left of its entries.
    """
    style, look, locator = page.style, page.look, page.look.locator
    figure = new_figure(style, style.height_mm)
    inner = style.width_mm - 2 * EDGE
    columns = max(1, min(look.columns, len(panels)))
    rows = math.ceil(len(panels) / columns)
    title = lines_in(figure, page.title, style.title_pt, inner)
    foot = [line for part in _foot(page, shapes) for line in lines_in(figure, part, style.small_pt, inner)]
    room = inner - SCALE_ROOM * to_mm(style.small_pt)
    key = lines_in(figure, words(look.legend, style.language), style.small_pt, room)
    aside = inset.width + GAP if inset else 0.0
    legend = fitted_legend(figure, handles, "" if inset else "\n".join(key), room - aside)
    over = line_height(style.small_pt, len(key)) if inset else 0.0
    head = line_height(style.base_pt, 1) + 0.5 if any(str(panel) for panel in panels) else 0.0
    above = line_height(style.title_pt, len(title)) + GAP if title else 0.0
    keyed = over + max(legend_height(legend), inset.height if inset else 0.0)
    scale_mm = 3.2 * to_mm(style.small_pt)
    wider = None if locator is None else _wider(shapes, locator)
    small = (0.0, 0.0) if wider is None else _panel_size(wider, SCALE_ROOM * to_mm(style.small_pt), LOCATOR)
    strip = max(
        keyed, 2.6 * line_height(style.small_pt, 1), scale_mm + small[1] if wider is not None else 0.0
    )
    below = strip + (line_height(style.small_pt, len(foot)) + GAP / 2 if foot else 0.0)

    free = style.height_mm - 2 * EDGE - above - below
    wide, high = _panel_size(shapes, (inner - (columns - 1) * GAP) / columns, free / rows - head - GAP)
    step = head + high + GAP
    pen = Pen(figure, style.width_mm, 2 * EDGE + above + rows * step + below)
    pen.resize()
    pen.lines(title, EDGE, EDGE, style.title_pt)
    left = (style.width_mm - columns * wide - (columns - 1) * GAP) / 2
    axes = []
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        x, y = left + column * (wide + GAP), EDGE + above + row * step
        if head:
            heading = _panel_title(number, panel, len(panels), style.language)
            pen.lines([heading], x + wide / 2, y, style.base_pt, "center")
        axes.append(pen.axes(x, y + head, wide, high))
        set_extent(axes[-1], shapes)
    y = EDGE + above + rows * step
    pen.put(legend, y + over, EDGE + aside)
    if inset is not None:
        pen.lines(key, EDGE, y, style.small_pt)
        inset.draw(pen.axes(EDGE, y + over, inset.width, inset.height))
    nominal = nominal_scale(shapes, len(panels), page)
    _draw_scale(pen, y, shapes, (wide, nominal), style)
    if wider is not None:
        corner = style.width_mm - EDGE - small[0], y + scale_mm
        _draw_locator(pen.axes(*corner, *small), shapes, wider, style)
    pen.lines(foot, EDGE, y + strip + GAP / 2, style.small_pt)
    return figure, axes


def set_extent(axes: Axes, shapes: GeoDataFrame) -> None:
    """Let the axes show all polygons at equal scales, without frame and ticks."""
    left, bottom, right, top = _extent(shapes)
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    axes.set_axis_off()


#: A map of the country ends here, in degrees of latitude, and the inset shows what is in this box, in degrees.
SEA_NORTH, SEA = 17.5, (105.5, 2.0, 123.0, 25.0)
#: Width of the inset in widths of the map, and the latitude south of which the land must stay clear of it.
SEA_WIDTH, SEA_CLEAR = 0.13, 27.0
#: Land that is not among the units of a map.
BESIDE = "#e6e6e6"


def mainland(shapes: GeoDataFrame, country: Country | None) -> GeoDataFrame:
    """What sets the extent of a map: its polygons; of a country all that do not lie in the South China Sea, and room for it.

    The inset stands in the lower right corner, east of Taiwan, so that nothing lies under it.
    """
    import geopandas
    import pandas as pd
    from shapely.geometry import box

    if country is None:
        return shapes
    both = pd.concat([shapes.geometry, country.around.geometry.to_crs(shapes.crs)], ignore_index=True)
    land = both[both.representative_point().to_crs(4326).y > SEA_NORTH]
    left, bottom, right, _ = _extent(land.to_frame("geometry"))
    marks = pd.concat([land, country.lines.geometry.to_crs(shapes.crs).explode()], ignore_index=True)
    clear = marks[marks.representative_point().to_crs(4326).y.between(SEA_NORTH, SEA_CLEAR)].total_bounds[2]
    end = max(
        right, (clear - SEA_WIDTH * left) / (1 - SEA_WIDTH)
    )  # the inset then begins where that land ends
    room = geopandas.GeoSeries([box(clear, bottom, end, bottom + 1)], crs=shapes.crs)
    return geopandas.GeoDataFrame(geometry=pd.concat([land, room], ignore_index=True), crs=shapes.crs)


def draw_country(
    axes: Axes, country: Country, crs: Any, draw: Callable[[Axes], None], style: FigureStyle
) -> None:
    """Draw the rest of the country below the units, its lines, and the South China Sea in an inset.

    ``draw`` puts the units of the map into axes.
    """
    import geopandas
    from shapely.geometry import box

    around, lines = country.around.to_crs(crs), country.lines.to_crs(crs)
    sea = geopandas.GeoSeries([box(*SEA).segmentize(1.0)], crs=4326).to_crs(crs).total_bounds
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    high = SEA_WIDTH * (sea[3] - sea[1]) / (sea[2] - sea[0]) * (right - left) / (top - bottom)
    small = axes.inset_axes((1 - SEA_WIDTH, 0, SEA_WIDTH, high), zorder=6, label="South China Sea")
    small.set(xlim=sea[[0, 2]], ylim=sea[[1, 3]], aspect="auto", xticks=[], yticks=[])
    for spine in small.spines.values():
        spine.set(linewidth=0.6 * style.line_pt, color=GREY, visible=True)
    draw(small)
    for one in (axes, small):
        draw_area(one, around.geometry, BESIDE, 0.5, GREY, 0.3 * style.line_pt)
        _draw_lines(one, lines.geometry, style)


def _draw_lines(axes: Axes, geometry: GeoSeries, style: FigureStyle) -> None:
    from matplotlib.collections import LineCollection
    from shapely import get_parts

    parts = [np.asarray(part.coords)[:, :2] for shape in geometry for part in get_parts(shape)]
    axes.add_collection(
        LineCollection(parts, colors=INK, linewidths=style.line_pt, zorder=4, label="lines in the sea"),
        autolim=False,
    )


def nice_length(longest: float) -> float:
    """Give the largest 1, 2, 4 or 5 × 10^m that is not above ``longest``: its half is a plain number too."""
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step * power for step in (1, 2, 4, 5) if step * power <= longest * (1 + 1e-12))


def nominal_scale(shapes: GeoDataFrame, panels: int, page: Page) -> float:
    """Kilometres to a millimetre of the panels if nothing stood around them: the same in all languages."""
    style, columns = page.style, max(1, min(page.look.columns, panels))
    wide = (style.width_mm - 2 * EDGE - (columns - 1) * GAP) / columns
    left, _, right, _ = _extent(shapes)
    metres = shapes.crs.axis_info[0].unit_conversion_factor
    across = _panel_size(shapes, wide, style.height_mm / math.ceil(panels / columns))[0]
    return (right - left) * metres / 1000 / across


def _foot(page: Page, shapes: GeoDataFrame) -> list[str]:
    given = page.look.review_number
    number = page.say(given or "")
    if given is None and in_china(shapes):
        number = NO_NUMBER.pick(page.language)
    review = REVIEW.pick(page.language) + number if number else ""
    return [line for line in (page.own_note, page.source, review) if line]


def _panel_title(number: int, panel: object, total: int, language: Language) -> str:
    name = panel.pick(language) if isinstance(panel, Text) else period_words(panel, language)
    return words(panel_letter(number, total) + name, language, 40)


def _panel_size(shapes: GeoDataFrame, width: float, height: float) -> tuple[float, float]:
    left, bottom, right, top = _extent(shapes)
    aspect = (top - bottom) / (right - left)
    # Words alone may fill a low sheet; a map of a fifth of the width then makes it higher.
    wide = max(min(width, height / aspect), width / 5)
    return wide, wide * aspect


def _extent(shapes: GeoDataFrame) -> np.ndarray:
    """Bounds with a margin of two per cent of the longer side."""
    left, bottom, right, top = shapes.total_bounds
    margin = 0.02 * max(right - left, top - bottom)
    return np.array([left - margin, bottom - margin, right + margin, top + margin])


def _wider(shapes: GeoDataFrame, locator: GeoDataFrame) -> GeoDataFrame:
    """The wider area in the projection of the map, its polygons and those of the map together."""
    import geopandas
    import pandas as pd

    parts = [locator.geometry.to_crs(shapes.crs), shapes.geometry]
    return geopandas.GeoDataFrame(geometry=pd.concat(parts, ignore_index=True), crs=shapes.crs)


def _draw_locator(axes: Axes, shapes: GeoDataFrame, wider: GeoDataFrame, style: FigureStyle) -> None:
    """The wider area in pale grey, the shapes of the map dark, in a frame."""
    from matplotlib.patches import Rectangle

    set_extent(axes, wider)
    axes.set_label("locator")
    for part, face, order in ((wider, "#e3e3e3", 1), (shapes, "#595959", 2)):
        draw_area(axes, part.geometry, face, order)
    frame = Rectangle((0, 0), 1, 1, transform=axes.transAxes, fc="none", ec=GREY, lw=0.6 * style.line_pt)
    axes.add_patch(frame).set_clip_on(False)


def draw_area(
    axes: Axes, geometry: GeoSeries, face: str, order: float, edge: str | None = None, width: float = 0.2
) -> None:
    """Fill polygons in one colour, with borders between them where ``edge`` has a colour; small parts are kept."""
    from matplotlib.collections import PathCollection

    paths = [outline_path(shape) for shape in geometry]
    axes.add_collection(
        PathCollection(paths, facecolor=face, edgecolor=edge or face, linewidth=width, zorder=order),
        autolim=False,
    )


def outline_path(shape: Any) -> Path:
    """Compound path of all rings; holes run against their outer ring, so that they stay empty."""
    from matplotlib.path import Path
    from shapely import get_parts
    from shapely.geometry.polygon import orient

    parts = [orient(part) for part in get_parts(shape)]
    rings = [np.asarray(ring.coords)[:, :2] for part in parts for ring in (part.exterior, *part.interiors)]
    return Path.make_compound_path(*[Path(ring, closed=True) for ring in rings])


def _draw_scale(
    pen: Pen, y: float, shapes: GeoDataFrame, widths: tuple[float, float], style: FigureStyle
) -> None:
    """Draw the bar at the scale of the panels, which is the same in all, and the arrow of true north.

    ``widths`` are that of a panel and the nominal scale, by which the length is chosen: words around the map, which differ
    by language, make it smaller but do not change what the bar says.
    """
    em = to_mm(style.small_pt)
    room = SCALE_ROOM * em
    axes = pen.axes(pen.width - EDGE - room, y, room, 3.2 * em)
    axes.set(xlim=(0, room), ylim=(3.2 * em, 0), label="scale")
    axes.set_axis_off()
    left, _, right, _ = _extent(shapes)
    metres = shapes.crs.axis_info[0].unit_conversion_factor
    _draw_bar(axes, (right - left) * metres / 1000 / widths[0], widths[1], em, style)
    _draw_arrow(axes, np.array([room - 0.9 * em, 2.0 * em]), north_angle(shapes), em, style)


def _draw_bar(axes: Axes, km_per_mm: float, nominal: float, em: float, style: FigureStyle) -> None:
    from matplotlib.patches import Rectangle

    figure = root_figure(axes)

    def width(text: str) -> float:
        return text_size(figure, text, style.small_pt)[0] / figure.dpi * MM_PER_INCH

    km = nice_length(LONGEST_BAR * em * nominal)
    if km / km_per_mm < width("0") + 2 * width(f"{km / 2:g}") + width(f"{km:g}"):  # words would meet
        km = nice_length(LONGEST_BAR * em * km_per_mm)
    bar = km / km_per_mm
    for part, face in enumerate((INK, "white")):
        corner = (em + part * bar / 2, 1.6 * em)
        axes.add_patch(Rectangle(corner, bar / 2, 0.35 * em, fc=face, ec=INK, lw=0.5, label="scale bar"))
    # The unit hangs over, so that the number stays centred on its mark.
    for mark, label, shift in (
        (0, "0", 0),
        (bar / 2, f"{km / 2:g}", 0),
        (bar, f"{km:g} km", width(" km") / 2),
    ):
        _write(axes, em + mark + shift, 1.35 * em, label, style)


def _draw_arrow(axes: Axes, middle: np.ndarray, angle: float, em: float, style: FigureStyle) -> None:
    from matplotlib.patches import Polygon

    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    tip = np.array([[0, -1.0], [0.42, 0.55], [0, 0.2], [-0.42, 0.55]]) * em
    axes.add_patch(Polygon(middle + tip @ turn, fc=INK, ec=INK, lw=0.3, label="north"))
    _write(axes, middle[0], 0.9 * em, words(NORTH, style.language), style)


def _write(axes: Axes, x: float, y: float, text: str, style: FigureStyle) -> None:
    axes.text(x, y, text, fontsize=style.small_pt, ha="center", va="bottom", color=INK, parse_math=False)
