"""Drawing on maps: polygons by class, thick outlines, labels that find a free place."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spatial_zb.base.errors import AlignmentError, DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.data.panel import Panel
from spatial_zb.report.drawing.frame import Country, LabelChoice, Page, Words, chosen_periods
from spatial_zb.report.drawing.placement import AROUND, ON, box_of, halo_text, place, root_figure
from spatial_zb.report.drawing.places import (
    NAME_LIMIT,
    PROVINCES,
    checked,
    label_point,
    place_names,
    project,
    thinned,
    unique_ids,
)
from spatial_zb.report.drawing.sheet import (
    BESIDE,
    Inset,
    draw_country,
    lay_out,
    mainland,
    nominal_scale,
    outline_path,
    set_extent,
)
from spatial_zb.report.drawing.style import (
    GREY,
    HATCH,
    INK,
    MM_PER_INCH,
    Drawing,
    FigureStyle,
    fix_ticks,
    words,
)
from spatial_zb.weights.matrix import match_units, text_ids

if TYPE_CHECKING:
    from geopandas import GeoDataFrame, GeoSeries
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


#: Up to this many units "auto" names each of them, beyond it the groups inside thick outlines.
AUTO_LABELS = 45
# Outlines of parts below this share of the largest group would fill small islands with ink.
SMALL_PART = 0.005

NO_DATA = Text("No data", "无数据")
NOT_STUDIED = Text("Not in the study", "未纳入研究")
PROVINCE = Text("Provincial boundary", "省级界线")
#: Ground of a map whose units have no classes.
LAND = "#efefef"
#: Dots of the print below whose square a corner of a border is left out: nobody sees it.
OFF = 1.0


@dataclass(frozen=True, slots=True)
class MapClass:
    """One entry of the legend and the look of its polygons."""

    label: str
    colour: str
    hatch: str = ""


@dataclass(frozen=True, slots=True)
class MapKey:
    """What the codes of units mean: classes by number, and what −1 is.

    ``inset`` is drawn beside the legend; ``breaks`` are the edges of the classes where they have some.
    """

    classes: Sequence[MapClass]
    missing: Text = NO_DATA
    inset: Inset | None = None
    breaks: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Overlay:
    """What is drawn over the polygons at points in them, and named beside these points.

    ``draw`` takes axes, projected polygons and the style, and gives the boxes that no name may cover; ``handles`` explain it
    in the legend; ``first`` are the units that are named whatever else is.
    """

    draw: Callable[[Axes, GeoDataFrame, FigureStyle], list[np.ndarray]]
    handles: Sequence[Artist]
    first: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Mapped:
    """Values by unit id and period that is drawn, all values that classes are found of, and words for the variable."""

    frame: pd.DataFrame
    every: np.ndarray
    label: Words = ""


def values_by_period(
    values: Panel | pd.DataFrame | pd.Series,
    variable: str | None,
    periods: Sequence | None,
    regions: GeoDataFrame,
) -> Mapped:
    """What is mapped, by unit id and period, and words for it.

    Of a panel all regions have a row, blank where the panel has none; a panel of one period has no heading. Classes are of
    all periods that there are, whichever are drawn: maps of other years have the same ones.

    Raises
    ------
    SpecificationError
        A panel without the name of a variable, a variable or a period that is not there.
    """
    if isinstance(values, Panel):
        if variable is None:
            raise SpecificationError(
                f"Name the variable to map; the panel has {listed(values.columns)}.",
                f"请指定要绘制的变量；面板数据有{listed_zh(values.columns)}。",
            )
        chosen = chosen_periods(values.periods, periods, Text("map", "地图"))
        table = pd.DataFrame(values.select(periods=chosen).array(variable).T, values.units, chosen)
        everywhere = unique_ids(regions.index).union(values.units, sort=False)
        table = table if len(values.periods) > 1 else table.set_axis([""], axis=1)
        return Mapped(table.reindex(everywhere), values.array(variable), values.label(variable))
    if variable is not None:
        if isinstance(values, pd.Series) or variable not in values.columns:
            known = [values.name] if isinstance(values, pd.Series) else values.columns
            raise SpecificationError(
                f"There is no variable {variable!r}; there are {listed(known)}.",
                f"没有变量{variable!r}；已有{listed_zh(known)}。",
            )
        values = values[variable]
    if isinstance(values, pd.Series):
        return Mapped(values.to_frame(name=""), values.to_numpy(float))
    drawn = values[chosen_periods(list(values.columns), periods, Text("map", "地图"))]
    return Mapped(drawn, values.to_numpy(float))


def require_panels(frame: pd.DataFrame, ax: Axes | None) -> None:
    """Refuse a frame without a column to map, and one of several for one pair of axes.

    Raises
    ------
    DataError
        No column.
    SpecificationError
        ``ax`` for more than one.
    """
    number = len(frame.columns)
    if not number:
        raise DataError(
            "The frame has no column to map: give one column for each period.",
            "表中没有可绘制的列：请每个时期给一列。",
        )
    if ax is not None and number > 1:
        raise SpecificationError(
            f"These are {number} maps: leave ax away, or draw one of them.",
            f"共有{number}幅地图：请不要给ax，或只绘其中一幅。",
        )


def preset_of(codes: pd.DataFrame) -> str:
    """One map fits a column of print, several need the page."""
    return "journal_single" if len(codes.columns) == 1 else "journal_double"


def draw_panels(
    regions: GeoDataFrame,
    codes: pd.DataFrame,
    key: MapKey,
    page: Page,
    overlay: Overlay | None = None,
    ax: Axes | None = None,
) -> Drawing:
    """Draw all panels; ``codes`` (unit id × panel) are numbers of the classes of ``key``, −1 for missing.

    Borders have as many vertices as the print can show.
    """
    shapes = project(checked(regions), page.look.crs)
    match_units(unique_ids(codes.index), shapes.index, Text("values", "数值"), Text("regions", "底图"))
    codes = codes.set_axis(text_ids(codes.index)).loc[shapes.index]
    shapes, country = _for_print_all(shapes, len(codes.columns), page, ax)
    blank = codes.index[(codes < 0).any(axis=1)]
    codes = codes.where(codes >= 0, len(key.classes))
    classes = [*key.classes, MapClass(page.say(key.missing), "white", HATCH)]
    if ax is None:
        handles = _handles(classes if len(blank) else classes[:-1], page, shapes, overlay)
        figure, panels = lay_out(mainland(shapes, country), list(codes.columns), handles, page, key.inset)
    else:
        figure, panels = root_figure(ax), [ax]
        set_extent(ax, mainland(shapes, country))
    told = [
        _draw_panel(panel, shapes, codes.iloc[:, number].to_numpy(), classes, page, (country, overlay))
        for number, panel in enumerate(panels)
    ]
    fix_ticks(figure)
    dropped = dict.fromkeys(name for _, lost in told for name in lost)
    return Drawing(
        figure=figure,
        axes=tuple(panels),
        breaks=key.breaks,
        labelled=tuple(name for name in told[0][0] if name not in dropped),
        unlabelled=tuple(dropped),
        left_out=tuple(blank),
    )


def _for_print_all(
    shapes: GeoDataFrame, panels: int, page: Page, ax: Axes | None
) -> tuple[GeoDataFrame, Country | None]:
    """The polygons with the vertices that are seen, and the rest of the country with them: borders stay common to both."""
    country = page.look.country
    if country is None:
        return for_print(shapes, panels, page, ax), None
    both = pd.concat([shapes, project(checked(country.around), shapes.crs)])
    thin = for_print(both, panels, page, ax)
    return thin.iloc[: len(shapes)], replace(country, around=thin.iloc[len(shapes) :])


def for_print(shapes: GeoDataFrame, panels: int, page: Page, ax: Axes | None = None) -> GeoDataFrame:
    """The polygons with the vertices that so many panels can show."""
    if ax is None:
        metres = 1000 * nominal_scale(shapes, panels, page) * MM_PER_INCH / page.style.dpi
    else:
        left, _, right, _ = shapes.total_bounds
        metres = (right - left) * shapes.crs.axis_info[0].unit_conversion_factor / max(ax.bbox.width, 1.0)
    return thinned(shapes, OFF * metres / shapes.crs.axis_info[0].unit_conversion_factor)


def _draw_panel(
    axes: Axes,
    shapes: GeoDataFrame,
    codes: np.ndarray,
    classes: list[MapClass],
    page: Page,
    beside: tuple[Country | None, Overlay | None],
) -> tuple[list[str], list[str]]:
    """Draw one map, of a country or not, with an overlay or not; returns the keys of labels written and of those left out
    for want of room.
    """
    country, overlay = beside
    whole = shapes if country is None else pd.concat([shapes, country.around])
    groups = group_shapes(whole, page.look.outlines)

    def draw_units(into: Axes) -> None:
        draw_polygons(into, shapes.geometry, codes, classes, page.style)
        if groups is not None:
            draw_outlines(into, groups.geometry, page.style)

    draw_units(axes)
    if country is not None:
        draw_country(axes, country, shapes.crs, draw_units, page.style)
    nodes = [] if overlay is None else overlay.draw(axes, shapes, page.style)
    return draw_labels(axes, shapes, page, nodes, overlay)


def draw_labels(
    axes: Axes,
    shapes: GeoDataFrame,
    page: Page,
    obstacles: Sequence[np.ndarray] = (),
    overlay: Overlay | None = None,
) -> tuple[list[str], list[str]]:
    """Name units or groups where there is room; returns the keys of labels written and of those left out."""
    style, labels = page.style, "auto" if page.look.labels is None else page.look.labels
    groups = group_shapes(shapes, page.look.outlines)
    if groups is not None and not _names_groups(labels, len(shapes)):
        groups = None
    by_group, named = groups is not None, shapes if groups is None else groups
    first = () if overlay is None else overlay.first
    names = _unit_names(shapes, labels, style, first) if groups is None else _group_names(groups, style)
    homes = named.geometry.loc[list(names)]
    points = style.base_pt if by_group else style.small_pt
    artists = [
        halo_text(axes, point.x, point.y, name, fontsize=points, color=INK)
        for name, point in zip(names.values(), map(label_point, homes), strict=True)
    ]
    limits = box_of(axes.patch)
    if overlay is None:
        placed = place(artists, limits, ON, obstacles, _at_home(axes, shapes.geometry, list(homes)))
    else:
        placed = place(artists, limits, AROUND, obstacles)
    told = dict(zip(map(str, names), placed, strict=True))
    return [key for key, done in told.items() if done], [key for key, done in told.items() if not done]


def _at_home(axes: Axes, shapes: GeoSeries, homes: list) -> Callable[[int, np.ndarray], bool]:
    """Rule for a label's middle: in its own polygon or in none, since elsewhere it names the wrong one."""
    from shapely import Point, STRtree

    tree = STRtree(shapes.to_numpy())
    to_data = axes.transData.inverted()

    def allowed(number: int, pixel: np.ndarray) -> bool:
        point = Point(to_data.transform(pixel))
        return not len(tree.query(point, predicate="intersects")) or homes[number].covers(point)

    return allowed


def draw_polygons(
    axes: Axes, shapes: GeoSeries, codes: np.ndarray, classes: list[MapClass], style: FigureStyle
) -> None:
    """One compound path for each unit, one collection for each class in use."""
    from matplotlib.collections import PathCollection

    paths = [outline_path(shape) for shape in shapes]
    for number, item in enumerate(classes):
        members = [path for path, code in zip(paths, codes, strict=True) if code == number]
        if not members:
            continue
        polygons = PathCollection(
            members,
            facecolor=item.colour,
            edgecolor=GREY,
            hatch=item.hatch or None,
            linewidth=0.4 * style.line_pt,
            joinstyle="round",
            zorder=1,
            label=item.label,
            gid="regions",
        )
        axes.add_collection(polygons, autolim=False)


#: Groups of the last layers that were drawn: a study draws dozens of maps of two or three.
_DISSOLVED: dict[bytes, GeoDataFrame] = {}
MOST_LAYERS = 8


def group_shapes(shapes: GeoDataFrame, column: str | None) -> GeoDataFrame | None:
    """Polygons of the groups in a column, or None when there is at most one."""
    if column is None or column not in shapes.columns or shapes[column].nunique() < 2:
        return None
    # By what they are and not by which object holds them: a layer may be changed between two maps.
    key = hashlib.blake2b(repr((column, str(shapes.crs), [*shapes[column]])).encode())
    for shape in shapes.geometry.to_wkb():
        key.update(shape)
    found = _DISSOLVED.pop(key.digest(), None)
    if found is None:
        found = shapes[[column, "geometry"]].dissolve(column)
    _DISSOLVED[key.digest()] = found
    while len(_DISSOLVED) > MOST_LAYERS:
        del _DISSOLVED[next(iter(_DISSOLVED))]
    return found


def draw_outlines(axes: Axes, groups: GeoSeries, style: FigureStyle) -> None:
    """Draw the groups' borders, but for those of the smallest islands."""
    from matplotlib.collections import LineCollection
    from shapely import get_parts

    parts = [part for shape in groups for part in get_parts(shape)]
    smallest = SMALL_PART * max(part.area for part in parts)
    lines = [
        np.asarray(ring.coords)[:, :2]
        for part in parts
        if part.area >= smallest
        for ring in (part.exterior, *part.interiors)
    ]
    outlines = LineCollection(lines, colors=INK, linewidths=style.line_pt, zorder=3, gid="outlines")
    axes.add_collection(outlines, autolim=False)


def _handles(
    classes: list[MapClass], page: Page, shapes: GeoDataFrame, overlay: Overlay | None
) -> list[Artist]:
    from matplotlib.patches import Patch

    style = page.style
    edge: dict[str, Any] = {"edgecolor": GREY, "linewidth": 0.4 * style.line_pt}
    out: list[Artist] = [
        Patch(facecolor=item.colour, hatch=item.hatch or None, label=item.label, **edge)
        for item in classes
        if item.label
    ]
    if page.look.country is not None:
        out.append(Patch(facecolor=BESIDE, label=page.say(NOT_STUDIED), **edge))
    if overlay is not None:
        out += overlay.handles
    return out + outline_handles(shapes, page.look.outlines, style)


def outline_handles(shapes: GeoDataFrame, column: str | None, style: FigureStyle) -> list[Artist]:
    """What explains thick outlines of provinces; nothing for other groups."""
    from matplotlib.lines import Line2D

    if column != "prov" or group_shapes(shapes, column) is None:
        return []
    return [Line2D([], [], color=INK, linewidth=style.line_pt, label=words(PROVINCE, style.language))]


# -- Labels ----------------------------------------------------------------------------------------------


def _names_groups(labels: LabelChoice, units: int) -> bool:
    return isinstance(labels, str) and (labels == "groups" or (labels == "auto" and units > AUTO_LABELS))


def _group_names(groups: GeoDataFrame, style: FigureStyle) -> dict[Any, str]:
    names = {key: PROVINCES.get(str(key), str(key)) for key in groups.index}
    return {key: words(name, style.language, NAME_LIMIT) for key, name in names.items()}


def _unit_names(
    shapes: GeoDataFrame, labels: LabelChoice, style: FigureStyle, first: Sequence[str]
) -> dict[str, str]:
    """Names of the units to label, in order of priority: the ``first``, then as asked for."""
    ids = list(dict.fromkeys([*first, *_label_ids(shapes, labels)]))
    names = place_names(shapes, style.language) if ids else {}
    return {unit: names[unit] for unit in ids}


def _label_ids(shapes: GeoDataFrame, labels: LabelChoice) -> list[str]:
    if isinstance(labels, str):
        if labels not in ("auto", "all", "groups", "none"):
            raise SpecificationError(
                f"labels must be auto, all, groups, none or a list of ids, not {labels!r}.",
                f"labels须为auto、all、groups、none或编码列表，而不是{labels!r}。",
            )
        if labels == "all" or (labels == "auto" and len(shapes) <= AUTO_LABELS):
            return list(shapes.area.sort_values(ascending=False, kind="stable").index)
        return []
    unknown = [unit for unit in labels if unit not in shapes.index]
    if unknown:
        raise AlignmentError(
            f"Labels are asked for units that are not in the regions: {listed(unknown)}.",
            f"要求标注的地区不在底图中：{listed_zh(unknown)}。",
        )
    return list(dict.fromkeys(labels))
