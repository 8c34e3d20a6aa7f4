"""Maps: classes of a variable by region and period, clusters, and the links of a weights matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from spatial_zb.errors import AlignmentError, DataError, SpecificationError, listed
from spatial_zb.report.classes import Scheme, class_breaks, class_labels, class_of
from spatial_zb.report.placement import AROUND, ON, box_of, halo_text, place, root_figure
from spatial_zb.report.places import (
    DEFAULT_CRS,
    NAME_LIMIT,
    PROVINCES,
    checked,
    label_point,
    place_names,
    project,
    unique_ids,
)
from spatial_zb.report.sheet import MapText, lay_out, set_extent
from spatial_zb.report.style import (
    GREY,
    HATCH,
    INK,
    Drawing,
    FigureStyle,
    Palette,
    class_colours,
    context,
    words,
)
from spatial_zb.text import Language, Text
from spatial_zb.weights.matrix import Weights, as_weights, match_units, text_ids

if TYPE_CHECKING:
    from geopandas import GeoDataFrame, GeoSeries
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.path import Path

__all__ = [
    "CLUSTERS",
    "DEFAULT_CRS",
    "MapText",
    "Scheme",
    "choropleth",
    "choropleth_panels",
    "class_breaks",
    "cluster_map",
    "project",
    "weights_map",
]

LabelChoice = Literal["auto", "all", "groups", "none"] | Sequence[str]
#: Up to this many units "auto" names each of them, beyond it the groups inside thick outlines.
AUTO_LABELS = 15
# Outlines of parts below this share of the largest group would fill small islands with ink.
SMALL_PART = 0.005

NO_DATA = Text("No data", "无数据")
NO_NEIGHBOURS = Text("No neighbours or no data", "无邻接或无数据")
PROVINCE = Text("Provincial boundary", "省级界线")
LINKS, ISLANDS = Text("Neighbours", "邻接关系"), Text("No neighbours", "无邻接单元")
LINK_COLOUR = "#b2182b"

#: Codes of local Moran clusters, their words and colours (all different in greyscale), in legend order.
CLUSTERS: dict[str, tuple[Text, str]] = {
    "HH": (Text("High–high", "高—高"), "#a50f15"),
    "LL": (Text("Low–low", "低—低"), "#3182bd"),
    "HL": (Text("High–low", "高—低"), "#fc9272"),
    "LH": (Text("Low–high", "低—高"), "#c6dbef"),
    "ns": (Text("Not significant", "不显著"), "#f7f7f7"),
}


@dataclass(frozen=True, slots=True)
class _Class:
    """One entry of the legend and the look of its polygons."""

    label: str
    colour: str
    hatch: str = ""


def choropleth(
    regions: GeoDataFrame,
    values: pd.Series,
    *,
    scheme: Scheme | Sequence[float] = "quantile",
    k: int = 5,
    palette: Palette = "sequential",
    center: float = 0.0,
    labels: LabelChoice = "auto",
    text: MapText | None = None,
    outlines: str | None = "prov",
    crs: Any = None,
    style: str | FigureStyle = "journal_single",
    language: Language | None = None,
    ax: Axes | None = None,
) -> Drawing:
    """Map one variable in classes.

    Parameters
    ----------
    regions
        Polygons indexed by unit id, with ``name_en`` and ``name_zh`` for labels.
    values
        One value for each region, by id in any order; NaN is drawn hatched as "no data".
    scheme, k
        See :func:`class_breaks`.
    palette, center
        See :func:`~spatial_zb.report.style.class_colours`.
    labels
        ``"all"`` names, ``"groups"`` (the names in the column ``outlines``), ``"none"``, or ids in order of
        priority. ``"auto"`` is "all" up to 15 units, then "groups". With "all" larger units come first. A
        label keeps to its place or just beside it; the one that finds no free place is left out and told in
        ``Drawing.unlabelled``.
    text
        Title, legend title, source and review number.
    outlines
        Column whose groups get thick outlines; None, or a column that is not there, for none.
    crs
        Projected CRS of the map. By default that of the regions when projected, else EPSG:4549 near 120° E
        and an equal-area projection about the middle elsewhere.
    style, language
        Preset or FigureStyle; language of names and words.
    ax
        Draw the polygons and labels only, in these axes, and leave legend, scale and words to the caller.

    Raises
    ------
    AlignmentError
        Ids of values and regions differ.
    DataError, SpecificationError
        Values that cannot be classified; polygons without a CRS; a geographic ``crs``.
    """
    frame = values.to_frame(name="")
    look = _Look(labels, outlines, crs, text or MapText())
    with context(style, language) as chosen:
        return _choropleth(regions, frame, (scheme, k, palette, center), look, chosen, ax=ax)


def choropleth_panels(
    regions: GeoDataFrame,
    frame: pd.DataFrame,
    *,
    scheme: Scheme | Sequence[float] = "quantile",
    k: int = 5,
    palette: Palette = "sequential",
    center: float = 0.0,
    labels: LabelChoice = "auto",
    text: MapText | None = None,
    outlines: str | None = "prov",
    crs: Any = None,
    columns: int = 2,
    style: str | FigureStyle = "journal_double",
    language: Language | None = None,
) -> Drawing:
    """Map one variable in several periods with common classes and one legend.

    Parameters
    ----------
    frame
        Values by unit id (rows) and period (columns), one panel each in the order of the columns.
    columns
        Panels side by side.

    The other parameters and errors are those of :func:`choropleth`.
    """
    if not len(frame.columns):
        raise DataError("The frame has no column to map: give one column for each period.")
    look = _Look(labels, outlines, crs, text or MapText())
    with context(style, language) as chosen:
        return _choropleth(regions, frame, (scheme, k, palette, center), look, chosen, columns)


def cluster_map(
    regions: GeoDataFrame,
    clusters: pd.Series | pd.DataFrame,
    *,
    labels: LabelChoice = "auto",
    text: MapText | None = None,
    outlines: str | None = "prov",
    crs: Any = None,
    columns: int = 2,
    style: str | FigureStyle = "journal_double",
    language: Language | None = None,
) -> Drawing:
    """Map clusters of local Moran's I: HH, LL, HL, LH, ns (not significant) or missing (no neighbours).

    ``clusters`` holds codes by unit id, a Series for one map or a frame with one column for each period.

    Raises
    ------
    DataError
        A code other than those of :data:`CLUSTERS`.
    """
    frame = clusters.to_frame(name="") if isinstance(clusters, pd.Series) else clusters
    order = {code: number for number, code in enumerate(CLUSTERS)}
    given = {str(code) for code in pd.unique(frame.to_numpy().ravel()) if pd.notna(code)}
    if given - set(order):
        unknown = listed(sorted(given - set(order)))
        raise DataError(f"Clusters are {', '.join(CLUSTERS)} or missing, not {unknown}.")
    codes = frame.apply(lambda column: column.map(order)).astype(float).fillna(-1).astype(int)
    look = _Look(labels, outlines, crs, text or MapText())
    with context(style, language) as chosen:
        classes = [_Class(words(name, chosen.language), colour) for name, colour in CLUSTERS.values()]
        return _draw(regions, codes, classes, NO_NEIGHBOURS, look, chosen, columns=columns)


def weights_map(
    regions: GeoDataFrame,
    W: Any,
    *,
    labels: LabelChoice = "none",
    text: MapText | None = None,
    outlines: str | None = "prov",
    crs: Any = None,
    style: str | FigureStyle = "journal_single",
    language: Language | None = None,
) -> Drawing:
    """Draw who is whose neighbour: a line for each linked pair, a ring around each unit without neighbours.

    ``W`` is a Weights, or anything :func:`~spatial_zb.weights.matrix.as_weights` takes, with the ids of the
    regions. The other parameters are those of :func:`choropleth`; islands are always named and are listed in
    ``Drawing.left_out``.

    Raises
    ------
    AlignmentError
        Ids of W and regions differ.
    """
    weights = as_weights(W)
    ids = unique_ids(regions.index)
    match_units(weights.ids, ids, "weights", "regions")
    look = _Look(labels, outlines, crs, text or MapText(), weights.align(ids))
    with context(style, language) as chosen:
        return _draw(regions, pd.DataFrame({"": 0}, ids), [_Class("", "#efefef")], NO_DATA, look, chosen)


@dataclass(frozen=True, slots=True)
class _Look:
    """What every map takes: labels, outlines, projection, words, and links to draw."""

    labels: LabelChoice
    outlines: str | None
    crs: Any
    text: MapText
    weights: Weights | None = None


def _choropleth(
    regions: GeoDataFrame,
    frame: pd.DataFrame,
    classing: tuple,
    look: _Look,
    style: FigureStyle,
    columns: int = 1,
    ax: Axes | None = None,
) -> Drawing:
    scheme, k, palette, center = classing
    breaks = class_breaks(frame, scheme, k)
    codes = pd.DataFrame(class_of(frame.to_numpy(float), breaks), frame.index, frame.columns)
    colours = class_colours(breaks, palette, center)
    labels = class_labels(breaks, style.language)
    classes = [_Class(label, colour) for label, colour in zip(labels, colours, strict=True)]
    return _draw(regions, codes, classes, NO_DATA, look, style, columns, ax, breaks)


def _draw(
    regions: GeoDataFrame,
    codes: pd.DataFrame,
    classes: list[_Class],
    missing: Text,
    look: _Look,
    style: FigureStyle,
    columns: int = 1,
    ax: Axes | None = None,
    breaks: np.ndarray | None = None,
) -> Drawing:
    """Draw all panels; ``codes`` (unit id × panel) are numbers of ``classes``, −1 for missing."""
    shapes = project(checked(regions), look.crs)
    match_units(unique_ids(codes.index), shapes.index, "values", "regions")
    codes = codes.set_axis(text_ids(codes.index)).loc[shapes.index]
    blank = codes.index[(codes < 0).any(axis=1)]
    codes = codes.where(codes >= 0, len(classes))
    classes = [*classes, _Class(words(missing, style.language), "white", HATCH)]
    if ax is None:
        handles = _handles(classes if len(blank) else classes[:-1], look, style, shapes)
        figure, panels = lay_out(shapes, list(codes.columns), handles, look.text, columns, style)
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
    classes: list[_Class],
    look: _Look,
    style: FigureStyle,
) -> tuple[list[str], list[str]]:
    """Draw one map; returns the keys of labels written and of those left out for want of room."""
    _draw_polygons(axes, shapes.geometry, codes, classes, style)
    groups = _groups(shapes, look.outlines)
    if groups is not None:
        _draw_outlines(axes, groups.geometry, style)
    nodes = [] if look.weights is None else _draw_links(axes, shapes, look.weights, style)
    by_group = groups is not None and _names_groups(look.labels, len(shapes))
    names = _group_names(groups, style) if by_group else _unit_names(shapes, look, style)
    homes = (groups if by_group else shapes).geometry.loc[list(names)]
    points = style.base_pt if by_group else style.small_pt
    artists = [
        halo_text(axes, point.x, point.y, name, fontsize=points, color=INK)
        for name, point in zip(names.values(), map(label_point, homes), strict=True)
    ]
    limits = box_of(axes.patch)
    if look.weights is None:
        placed = place(artists, limits, ON, allowed=_at_home(axes, shapes.geometry, list(homes)))
    else:
        placed = place(artists, limits, AROUND, nodes)
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


def _draw_polygons(
    axes: Axes, shapes: GeoSeries, codes: np.ndarray, classes: list[_Class], style: FigureStyle
) -> None:
    """One compound path for each unit, one collection for each class in use."""
    from matplotlib.collections import PathCollection

    paths = [_path(shape) for shape in shapes]
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


def _path(shape: Any) -> Path:
    """Compound path of all rings; holes run against their outer ring, so that they stay empty."""
    from matplotlib.path import Path
    from shapely import get_parts
    from shapely.geometry.polygon import orient

    parts = [orient(part) for part in get_parts(shape)]
    rings = [np.asarray(ring.coords)[:, :2] for part in parts for ring in (part.exterior, *part.interiors)]
    return Path.make_compound_path(*[Path(ring, closed=True) for ring in rings])


def _groups(shapes: GeoDataFrame, column: str | None) -> GeoDataFrame | None:
    """Polygons of the groups in a column, or None when there is at most one."""
    if column is None or column not in shapes.columns or shapes[column].nunique() < 2:
        return None
    return shapes[[column, "geometry"]].dissolve(column)


def _draw_outlines(axes: Axes, groups: GeoSeries, style: FigureStyle) -> None:
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


def _handles(classes: list[_Class], look: _Look, style: FigureStyle, shapes: GeoDataFrame) -> list[Artist]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    edge = {"edgecolor": GREY, "linewidth": 0.4 * style.line_pt}
    out: list[Artist] = [
        Patch(facecolor=item.colour, hatch=item.hatch or None, label=item.label, **edge)
        for item in classes
        if item.label
    ]
    if look.weights is not None:
        out += _link_handles(look.weights, style)
    if look.outlines == "prov" and _groups(shapes, look.outlines) is not None:
        label = words(PROVINCE, style.language)
        out.append(Line2D([], [], color=INK, linewidth=style.line_pt, label=label))
    return out


# -- Labels ----------------------------------------------------------------------------------------------


def _names_groups(labels: LabelChoice, units: int) -> bool:
    return isinstance(labels, str) and (labels == "groups" or (labels == "auto" and units > AUTO_LABELS))


def _group_names(groups: GeoDataFrame, style: FigureStyle) -> dict[Any, str]:
    names = {key: PROVINCES.get(str(key), str(key)) for key in groups.index}
    return {key: words(name, style.language, NAME_LIMIT) for key, name in names.items()}


def _unit_names(shapes: GeoDataFrame, look: _Look, style: FigureStyle) -> dict[str, str]:
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
                f"labels must be auto, all, groups, none or a list of ids, not {labels!r}."
            )
        if labels == "all" or (labels == "auto" and len(shapes) <= AUTO_LABELS):
            return list(shapes.area.sort_values(ascending=False, kind="stable").index)
        return []
    unknown = [unit for unit in labels if unit not in shapes.index]
    if unknown:
        raise AlignmentError(f"Labels are asked for units that are not in the regions: {listed(unknown)}.")
    return list(dict.fromkeys(labels))


# -- Links -----------------------------------------------------------------------------------------------


def _draw_links(axes: Axes, shapes: GeoDataFrame, weights: Weights, style: FigureStyle) -> list[np.ndarray]:
    """Draw links and nodes; returns the boxes of the nodes, which no label may cover."""
    from matplotlib.collections import LineCollection

    points = np.array([(point.x, point.y) for point in map(label_point, shapes.geometry)])
    rows, columns = (weights.matrix + weights.matrix.T).nonzero()
    pairs = np.column_stack([rows, columns])[rows < columns]
    lines = LineCollection(points[pairs], colors=LINK_COLOUR, linewidths=style.line_pt, zorder=4, gid="links")
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
