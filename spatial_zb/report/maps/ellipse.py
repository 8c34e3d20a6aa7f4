"""Where a quantity is: standard deviational ellipses on the map, and the path of its centre of gravity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spatial_zb.base.errors import DataError, SpecificationError
from spatial_zb.base.text import Text
from spatial_zb.core.statistics.dispersion import Ellipse, ellipse_outline
from spatial_zb.report.drawing.frame import (
    PLAIN,
    Look,
    Page,
    chosen_periods,
    open_page,
    period_words,
    require_rows,
)
from spatial_zb.report.drawing.placement import AROUND, box_of, halo_text, place, root_figure, text_size
from spatial_zb.report.drawing.places import checked, project
from spatial_zb.report.drawing.sheet import lay_out, nice_length, set_extent
from spatial_zb.report.drawing.style import GREY, HATCH, INK, MARKERS, Drawing, FigureStyle, fix_ticks, words
from spatial_zb.report.maps.drawing import (
    LAND,
    NO_DATA,
    MapClass,
    draw_labels,
    draw_outlines,
    draw_polygons,
    for_print,
    group_shapes,
    outline_handles,
)

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.typing import LineStyleType


COLUMNS = ("period", "lon", "lat", "semi_major_km", "semi_minor_km", "angle")
ELLIPSES = Text("Standard deviational ellipses", "标准差椭圆")
PATH = Text("Path of the centre of gravity", "重心移动轨迹")
CENTRE = Text("Centre of gravity", "重心")
#: Colours and dashes of the ellipses; the colours differ in lightness, the dashes are for greyscale.
LOOKS: tuple[tuple[str, LineStyleType], ...] = (
    ("#0072B2", "-"),
    ("#D55E00", (0, (4, 1.5))),
    ("#009E73", (0, (1, 1.2))),
    ("#000000", (0, (5, 1.5, 1, 1.5))),
    ("#CC79A7", (0, (7, 2))),
    ("#56B4E9", (0, (2, 1))),
)
#: Room around the path in its panel, and the least width of that panel, as shares of the longer side.
PATH_MARGIN = 0.22
#: Points of an outline.
OUTLINE = 181
#: Column of the polygons: whether a unit is left out.
BLANK = "_blank"


def ellipses(
    frame: Any,
    *,
    regions: GeoDataFrame,
    periods: Sequence[int] | None = None,
    units: Sequence[str] | pd.Index | None = None,
    look: Look = PLAIN,
    ax: Axes | None = None,
) -> Drawing:
    """Draw deviation ellipses of some periods on the map, and beside it the path of the centre in all of them.

    Parameters
    ----------
    frame
        The :class:`~spatial_zb.explore.dynamics.EllipsePath` of ``deviation_ellipses``, or its table (period, lon, lat,
        semi_major_km, semi_minor_km, angle). With the table alone the ellipses are laid out about each centre
        from true north, which within a few hundred kilometres is the same to the width of the line.
    regions
        Polygons indexed by unit id.
    periods
        Those whose ellipse is drawn, at most six; the first and the last without it. The path has all.
    units
        Ids of those that count; other polygons are hatched. All without it.
    look
        As in :func:`~spatial_zb.report.maps.shaded.choropleth`; by default what the thick outlines enclose is named.
    ax
        Draw the map with ellipses and path only, in these axes, and leave panel (b), legend and words away.

    Raises
    ------
    DataError
        A missing column, no row, or numbers that are not finite.
    SpecificationError
        A period that is not in the frame, or more than six of them.
    """
    table = _table(frame)
    drawn = _drawn(table, periods)
    look = replace(look, labels="groups" if look.labels is None else look.labels)
    with open_page(look, "journal_double") as page:
        shapes = for_print(project(checked(regions), look.crs), 2, page, ax)
        here = pd.Index(shapes.index if units is None else units).astype(str)
        shapes = shapes.assign(**{BLANK: ~shapes.index.isin(here)})
        rings, centres = _projected(table, shapes.crs, getattr(frame, "crs", None))
        rings = {period: rings[period] for period in drawn}
        if ax is not None:
            set_extent(ax, _extended(shapes, rings))
            lost = _draw_map(ax, shapes, rings, centres, page)
            figure, axes = root_figure(ax), [ax]
        else:
            handles = _handles(rings, shapes, page)
            figure, axes = lay_out(_extended(shapes, rings), [ELLIPSES, PATH], handles, _side_by_side(page))
            lost = _draw_map(axes[0], shapes, rings, centres, page)
            lost += _draw_path(axes[1], shapes, centres, page)
        fix_ticks(figure)
    return Drawing(figure, tuple(axes), unlabelled=tuple(dict.fromkeys(lost)))


def _side_by_side(page: Page) -> Page:
    """Both panels in a row where the page is wide enough for two."""
    return replace(page, look=replace(page.look, columns=2 if page.style.width_mm >= 140 else 1))


def _table(frame: Any) -> pd.DataFrame:
    table = frame if isinstance(frame, pd.DataFrame) else frame.table()
    require_rows(table, COLUMNS, Text("frame of ellipses", "椭圆表"))
    if not np.isfinite(table[list(COLUMNS[1:])].to_numpy(dtype=float)).all():
        raise DataError("The frame of ellipses must have finite numbers.", "椭圆表须为有限的数值。")
    return table


def _drawn(table: pd.DataFrame, periods: Sequence[int] | None) -> list:
    known = list(table["period"])
    ends = [known[0], known[-1]] if periods is None else periods
    wanted = list(dict.fromkeys(chosen_periods(known, ends, Text("ellipse", "椭圆"))))
    if len(wanted) > len(LOOKS):
        raise SpecificationError(
            f"{len(wanted)} ellipses on one map hide each other: choose at most six.",
            f"一幅地图上{len(wanted)}个椭圆相互遮挡：最多选六个。",
        )
    return wanted


def _projected(table: pd.DataFrame, crs: Any, own: Any) -> tuple[dict[Any, np.ndarray], pd.DataFrame]:
    """Outlines by period and centres (x, y by period), in the CRS of the map."""
    from pyproj import Transformer

    centre = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    x, y = centre.transform(table["lon"].to_numpy(), table["lat"].to_numpy())
    rings = {}
    for row in table.itertuples(index=False):
        shape = (row.semi_major_km, row.semi_minor_km, row.angle)
        if own is None:
            local = f"+proj=laea +lat_0={row.lat} +lon_0={row.lon} +ellps=GRS80 +units=m"
            source, ellipse = local, Ellipse(0.0, 0.0, *shape)
        else:
            source, ellipse = own, Ellipse(row.x_km, row.y_km, *shape)
        place_on = Transformer.from_crs(source, crs, always_xy=True)
        outline = 1000 * ellipse_outline(ellipse, OUTLINE)
        rings[row.period] = np.column_stack(place_on.transform(*outline.T))
    return rings, pd.DataFrame({"x": x, "y": y}, index=table["period"])


def _extended(shapes: GeoDataFrame, rings: dict[Any, np.ndarray]) -> GeoDataFrame:
    """Polygons and ellipses, for the extent of the map."""
    import geopandas
    from shapely import Polygon

    parts = [*shapes.geometry, *(Polygon(ring) for ring in rings.values())]
    return geopandas.GeoDataFrame(geometry=parts, crs=shapes.crs)


def _draw_map(
    axes: Axes,
    shapes: GeoDataFrame,
    rings: dict[Any, np.ndarray],
    centres: pd.DataFrame,
    page: Page,
) -> list[str]:
    """Polygons, ellipses with their centres, names of groups; returns the names without room."""
    style = page.style
    _draw_land(axes, shapes, page)
    for (period, ring), (colour, dash) in zip(rings.items(), LOOKS, strict=False):
        axes.plot(
            *ring.T, color=colour, linestyle=dash, linewidth=1.4 * style.line_pt, zorder=4, gid="ellipse"
        )
        axes.plot(*centres.loc[period], zorder=4.5, gid="centre", **_dot(colour, MARKERS[0], style))
    spots = axes.transData.transform(centres.loc[list(rings)].to_numpy())
    half = _dot(INK, "o", style)["markersize"] * root_figure(axes).dpi / 144
    return draw_labels(axes, shapes, page, [np.r_[spot - half, spot + half] for spot in spots])[1]


def _draw_land(axes: Axes, shapes: GeoDataFrame, page: Page) -> None:
    looks = [MapClass("", LAND), MapClass("", "white", HATCH)]
    draw_polygons(axes, shapes.geometry, shapes[BLANK].to_numpy().astype(int), looks, page.style)
    groups = group_shapes(shapes, page.look.outlines)
    if groups is not None:
        draw_outlines(axes, groups.geometry, page.style)


def _draw_path(axes: Axes, shapes: GeoDataFrame, centres: pd.DataFrame, page: Page) -> list[str]:
    """The way of the centre at a scale of its own, framed, with a bar of its own; returns years without room."""
    xy, style = centres.to_numpy(), page.style
    _frame_path(axes, xy)
    _draw_land(axes, shapes, page)
    axes.plot(*xy.T, color=INK, linewidth=style.line_pt, zorder=4, gid="path")
    axes.plot(*xy.T, zorder=5, gid="centres", **_dot(INK, MARKERS[0], style))
    metres = shapes.crs.axis_info[0].unit_conversion_factor
    obstacles = _draw_own_bar(axes, metres, style)
    spots = axes.transData.transform(xy)
    half = 0.5 * _dot(INK, "o", style)["markersize"] * root_figure(axes).dpi / 72
    # First and last year first: they must find a place.
    order = [0, len(xy) - 1, *range(1, len(xy) - 1)] if len(xy) > 1 else [0]
    names = [str(period) for period in centres.index]
    artists = [
        halo_text(axes, xy[n][0], xy[n][1], names[n], fontsize=style.small_pt, color=INK) for n in order
    ]
    boxes = [np.r_[spot - half, spot + half] for spot in spots]
    placed = place(artists, box_of(axes.patch), AROUND, [*boxes, *obstacles])
    return [names[n] for n, done in zip(order, placed, strict=True) if not done]


def _frame_path(axes: Axes, xy: np.ndarray) -> None:
    """Limits with the shape of the axes around the path."""
    box = axes.get_window_extent()
    aspect = box.height / box.width
    low, high = xy.min(axis=0), xy.max(axis=0)
    middle, (wide, tall) = (low + high) / 2, high - low
    wide = max(wide, tall / aspect, 1.0) * (1 + 2 * PATH_MARGIN)
    half = np.array([wide, wide * aspect]) / 2
    axes.set(xlim=(middle[0] - half[0], middle[0] + half[0]), ylim=(middle[1] - half[1], middle[1] + half[1]))
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.set_axis_on()
    for spine in axes.spines.values():
        spine.set(visible=True, color=GREY)


def _draw_own_bar(axes: Axes, metres: float, style: FigureStyle) -> list[np.ndarray]:
    """Scale bar in the lower left corner, on white; returns the box no label may touch."""
    from matplotlib.patches import Rectangle

    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    km = nice_length(0.3 * (right - left) * metres / 1000)
    length = 1000 * km / metres
    pad, up = 0.03 * (right - left), 0.03 * (top - bottom)
    figure = root_figure(axes)
    word = f"{km:g} km"
    pixels = np.array(text_size(figure, word, style.small_pt))
    tall = 1.2 * pixels[1] / axes.get_window_extent().height * (top - bottom)
    wide = max(length, pixels[0] / axes.get_window_extent().width * (right - left))
    ground = Rectangle(
        (left, bottom), wide + 2 * pad, tall + 2.6 * up, fc="white", ec="none", alpha=0.9, zorder=5.5
    )
    axes.add_patch(ground)
    axes.plot(
        [left + pad, left + pad + length],
        [bottom + up] * 2,
        color=INK,
        linewidth=2.2 * style.line_pt,
        solid_capstyle="butt",
        zorder=6,
        gid="own bar",
    )
    axes.text(
        left + pad,
        bottom + 1.7 * up,
        word,
        fontsize=style.small_pt,
        color=INK,
        va="bottom",
        zorder=6,
        parse_math=False,
    )
    corners = axes.transData.transform([(left, bottom), (left + wide + 2 * pad, bottom + tall + 2.6 * up)])
    return [corners.ravel()]


def _dot(colour: str, marker: str, style: FigureStyle) -> dict[str, Any]:
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.5 * style.line_pt}
    return {
        "linestyle": "",
        "marker": marker,
        "markersize": 5 * style.line_pt,
        "markerfacecolor": colour,
        **edge,
    }


def _handles(rings: dict[Any, np.ndarray], shapes: GeoDataFrame, page: Page) -> list[Artist]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    style = page.style
    out: list[Artist] = [
        Line2D(
            [],
            [],
            color=colour,
            linestyle=dash,
            linewidth=1.4 * style.line_pt,
            label=period_words(period, style.language),
        )
        for period, (colour, dash) in zip(rings, LOOKS, strict=False)
    ]
    centre = Line2D([], [], label=words(CENTRE, style.language), **_dot(INK, MARKERS[0], style))
    if shapes[BLANK].any():
        hatched: dict[str, Any] = {"edgecolor": GREY, "linewidth": 0.4 * style.line_pt, "hatch": HATCH}
        out.append(Patch(facecolor="white", label=words(NO_DATA, style.language), **hatched))
    return [*out, centre, *outline_handles(shapes, page.look.outlines, style)]
