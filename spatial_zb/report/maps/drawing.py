"""Drawing on maps: polygons by class, thick outlines, labels that find a free place, links of a W."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from spatial_zb.base.errors import AlignmentError, SpecificationError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.report.drawing.placement import AROUND, ON, box_of, halo_text, place, root_figure
from spatial_zb.report.drawing.places import (
    NAME_LIMIT,
    PROVINCES,
    checked,
    label_point,
    place_names,
    project,
    unique_ids,
)
from spatial_zb.report.drawing.sheet import Inset, MapText, lay_out, outline_path, set_extent
from spatial_zb.report.drawing.style import GREY, HATCH, INK, Drawing, FigureStyle, words
from spatial_zb.weights.matrix import Weights, match_units, text_ids

if TYPE_CHECKING:
    from geopandas import GeoDataFrame, GeoSeries
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


LabelChoice = Literal["auto", "all", "groups", "none"] | Sequence[str]
#: Up to this many units "auto" names each of them, beyond it the groups inside thick outlines.
AUTO_LABELS = 15
# Outlines of parts below this share of the largest group would fill small islands with ink.
SMALL_PART = 0.005

NO_DATA = Text("No data", "无数据")
PROVINCE = Text("Provincial boundary", "省级界线")
LINKS, ISLANDS = Text("Neighbours", "邻居关系"), Text("No neighbours", "无邻接单元")
LINK_COLOUR = "#b2182b"
#: Links by unit up to which they have full width; contiguity has at most 3, k nearest neighbours at most k.
MAP_LINKS = 4


@dataclass(frozen=True, slots=True)
class MapClass:
    """One entry of the legend and the look of its polygons."""

    label: str
    colour: str
    hatch: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """What every map takes: labels, outlines, projection, words, links to draw, a key of its own, a wider area."""

    labels: LabelChoice
    outlines: str | None
    crs: Any
    text: MapText
    weights: Weights | None = None
    inset: Inset | None = None
    locator: GeoDataFrame | None = None


def draw_panels(
    regions: GeoDataFrame,
    codes: pd.DataFrame,
    classes: list[MapClass],
    missing: Text,
    look: Look,
    style: FigureStyle,
    columns: int = 1,
    ax: Axes | None = None,
    breaks: np.ndarray | None = None,
) -> Drawing:
    """Draw all panels; ``codes`` (unit id × panel) are numbers of ``classes``, −1 for missing."""
    shapes = project(checked(regions), look.crs)
    match_units(unique_ids(codes.index), shapes.index, Text("values", "数值"), Text("regions", "底图"))
    codes = codes.set_axis(text_ids(codes.index)).loc[shapes.index]
    blank = codes.index[(codes < 0).any(axis=1)]
    codes = codes.where(codes >= 0, len(classes))
    classes = [*classes, MapClass(words(missing, style.language), "white", HATCH)]
    if ax is None:
        handles = _handles(classes if len(blank) else classes[:-1], look, style, shapes)
        keys = look.inset, look.locator
        figure, panels = lay_out(shapes, list(codes.columns), handles, look.text, columns, style, *keys)
    else:
        figure, panels = root_figure(ax), [ax]
        set_extent(ax, shapes)
    told = [
        _draw_panel(panel, shapes, codes.iloc[:, number].to_numpy(), classes, look, style)
        for number, panel in enumerate(panels)
    ]
    # Ticks and texts are made when first drawn: now, while the style is set.
    figure.draw_without_rendering()
    dropped = dict.fromkeys(name for _, lost in told for name in lost)
    return Drawing(
        figure=figure,
        axes=tuple(panels),
        breaks=breaks,
        labelled=tuple(name for name in told[0][0] if name not in dropped),
        unlabelled=tuple(dropped),
        left_out=tuple(blank if look.weights is None else look.weights.islands),
    )


def _draw_panel(
    axes: Axes,
    shapes: GeoDataFrame,
    codes: np.ndarray,
    classes: list[MapClass],
    look: Look,
    style: FigureStyle,
) -> tuple[list[str], list[str]]:
    """Draw one map; returns the keys of labels written and of those left out for want of room."""
    draw_polygons(axes, shapes.geometry, codes, classes, style)
    groups = group_shapes(shapes, look.outlines)
    if groups is not None:
        draw_outlines(axes, groups.geometry, style)
    nodes = [] if look.weights is None else _draw_links(axes, shapes, look.weights, style)
    return draw_labels(axes, shapes, look, style, nodes)


def draw_labels(
    axes: Axes, shapes: GeoDataFrame, look: Look, style: FigureStyle, obstacles: Sequence[np.ndarray] = ()
) -> tuple[list[str], list[str]]:
    """Name units or groups where there is room; returns the keys of labels written and of those left out."""
    groups = group_shapes(shapes, look.outlines)
    if groups is not None and not _names_groups(look.labels, len(shapes)):
        groups = None
    by_group, named = groups is not None, shapes if groups is None else groups
    names = _unit_names(shapes, look, style) if groups is None else _group_names(groups, style)
    homes = named.geometry.loc[list(names)]
    points = style.base_pt if by_group else style.small_pt
    artists = [
        halo_text(axes, point.x, point.y, name, fontsize=points, color=INK)
        for name, point in zip(names.values(), map(label_point, homes), strict=True)
    ]
    limits = box_of(axes.patch)
    if look.weights is None:
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


def group_shapes(shapes: GeoDataFrame, column: str | None) -> GeoDataFrame | None:
    """Polygons of the groups in a column, or None when there is at most one."""
    if column is None or column not in shapes.columns or shapes[column].nunique() < 2:
        return None
    return shapes[[column, "geometry"]].dissolve(column)


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


def _handles(classes: list[MapClass], look: Look, style: FigureStyle, shapes: GeoDataFrame) -> list[Artist]:
    from matplotlib.patches import Patch

    edge: dict[str, Any] = {"edgecolor": GREY, "linewidth": 0.4 * style.line_pt}
    out: list[Artist] = [
        Patch(facecolor=item.colour, hatch=item.hatch or None, label=item.label, **edge)
        for item in classes
        if item.label
    ]
    if look.weights is not None:
        out += _link_handles(look.weights, style)
    return out + outline_handles(shapes, look.outlines, style)


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


def _unit_names(shapes: GeoDataFrame, look: Look, style: FigureStyle) -> dict[str, str]:
    """Names of the units to label, in order of priority: islands, then as asked for."""
    ids = _label_ids(shapes, look.labels)
    if look.weights is not None:
        ids = list(dict.fromkeys([*look.weights.islands, *ids]))
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


# -- Links -----------------------------------------------------------------------------------------------


def _draw_links(axes: Axes, shapes: GeoDataFrame, weights: Weights, style: FigureStyle) -> list[np.ndarray]:
    """Draw links and nodes; returns the boxes of the nodes, which no label may cover."""
    from matplotlib.collections import LineCollection

    points = np.array([(point.x, point.y) for point in map(label_point, shapes.geometry)])
    rows, columns = (weights.matrix + weights.matrix.T).nonzero()
    pairs = np.column_stack([rows, columns])[rows < columns]
    # Many links would be one blot: the more there are beyond those of a planar map, the finer they are.
    width = style.line_pt * min(1.0, MAP_LINKS * len(points) / max(len(pairs), 1))
    lines = LineCollection(points[pairs], colors=LINK_COLOUR, linewidths=width, zorder=4, gid="links")
    axes.add_collection(lines, autolim=False)
    alone = np.isin(shapes.index, weights.islands)
    axes.plot(*points[~alone].T, zorder=4.5, gid="nodes", **_node(style))
    axes.plot(*points[alone].T, zorder=4.5, gid="islands", **_ring(style))
    half = (
        np.where(alone, _ring(style)["markersize"], _node(style)["markersize"]) * root_figure(axes).dpi / 144
    )
    spots = axes.transData.transform(points)
    return list(np.column_stack([spots - half[:, None], spots + half[:, None]]))


def _link_handles(weights: Weights, style: FigureStyle) -> list[Artist]:
    from matplotlib.lines import Line2D

    line = {**_node(style), "linestyle": "-", "linewidth": style.line_pt, "color": LINK_COLOUR}
    out: list[Artist] = [Line2D([], [], label=words(LINKS, style.language), **line)]
    if len(weights.islands):
        out.append(Line2D([], [], label=words(ISLANDS, style.language), **_ring(style)))
    return out


def _node(style: FigureStyle) -> dict[str, Any]:
    size = 2.6 * style.line_pt
    return {"linestyle": "", "marker": "o", "markerfacecolor": INK, "markeredgewidth": 0, "markersize": size}


def _ring(style: FigureStyle) -> dict[str, Any]:
    edge = {"markerfacecolor": "white", "markeredgecolor": INK, "markeredgewidth": style.line_pt}
    return {"linestyle": "", "marker": "o", "markersize": 5.5 * style.line_pt, **edge}
