"""Maps: classes of a variable by region and period, clusters, and the links of a weights matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from spatial_zb.base.errors import DataError, listed, listed_zh
from spatial_zb.base.text import Language, Text
from spatial_zb.report.drawing.frame import Words
from spatial_zb.report.drawing.places import unique_ids
from spatial_zb.report.drawing.sheet import MapText
from spatial_zb.report.drawing.style import Drawing, FigureStyle, Palette, class_colours, context, words
from spatial_zb.report.maps.classes import Scheme, class_breaks, class_labels, class_of
from spatial_zb.report.maps.drawing import NO_DATA, LabelChoice, Look, MapClass, draw_panels
from spatial_zb.weights.matrix import as_weights, match_units

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from matplotlib.axes import Axes


NO_NEIGHBOURS = Text("No neighbours or no data", "无邻接或无数据")
ISLAND = Text("No neighbours", "无邻接单元")
ISLAND_HATCH = "...."
FIRST_SECOND = Text(
    "First: {} of the unit; second: {} of its neighbours", "前者：本地区的{}；后者：邻接地区的{}"
)
NOT_SIGNIFICANT = (Text("Not significant", "不显著"), "#f7f7f7")

#: Codes of local Moran clusters, their words and colours (all different in greyscale), in legend order.
CLUSTERS: dict[str, tuple[Text, str]] = {
    "HH": (Text("High–high", "高—高"), "#a50f15"),
    "LL": (Text("Low–low", "低—低"), "#3182bd"),
    "HL": (Text("High–low", "高—低"), "#fc9272"),
    "LH": (Text("Low–high", "低—高"), "#c6dbef"),
    "ns": NOT_SIGNIFICANT,
}
#: The same for Getis and Ord's local G and G*.
HOT_SPOTS: dict[str, tuple[Text, str]] = {
    "hot": (Text("Hot spot", "热点"), "#a50f15"),
    "cold": (Text("Cold spot", "冷点"), "#3182bd"),
    "ns": NOT_SIGNIFICANT,
}
#: Words of a local table's column ``cluster`` beside these codes.
CLUSTER_WORDS = {"not significant": "ns", "hot spot": "hot", "cold spot": "cold"}
ISLAND_CODE = "no neighbours"


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
    locator: GeoDataFrame | None = None,
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
        See :func:`~spatial_zb.report.drawing.style.class_colours`.
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
    locator
        Polygons of a wider area: a small map below the scale bar then shows where in it the regions are.
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
    look = Look(labels, outlines, crs, text or MapText(), locator=locator)
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
    locator: GeoDataFrame | None = None,
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
        raise DataError(
            "The frame has no column to map: give one column for each period.",
            "表中没有可绘制的列：请每个时期给一列。",
        )
    look = Look(labels, outlines, crs, text or MapText(), locator=locator)
    with context(style, language) as chosen:
        return _choropleth(regions, frame, (scheme, k, palette, center), look, chosen, columns)


def cluster_map(
    regions: GeoDataFrame,
    clusters: pd.Series | pd.DataFrame,
    *,
    names: tuple[Words, Words] | None = None,
    labels: LabelChoice = "auto",
    text: MapText | None = None,
    outlines: str | None = "prov",
    crs: Any = None,
    locator: GeoDataFrame | None = None,
    columns: int = 2,
    style: str | FigureStyle = "journal_double",
    language: Language | None = None,
    ax: Axes | None = None,
) -> Drawing:
    """Map clusters of a local statistic in colours that are the same on every map.

    Parameters
    ----------
    regions
        Polygons indexed by unit id.
    clusters
        Codes by unit id, a Series for one map or a frame with one column for each period: HH, LL, HL, LH, ns of
        local Moran's I, univariate or bivariate; or hot, cold, ns of local G and G*. The words of the column
        ``cluster`` of a local table are understood as well. ``"no neighbours"`` is a class of its own and
        missing then means no data; without it missing means either.
    names
        Words for the two variables of a bivariate statistic, which say in the legend whose level comes first.
    ax
        Draw one map in these axes, and leave legend and words to the caller.

    The other parameters and errors are those of :func:`choropleth_panels`.

    Returns
    -------
    Drawing
        ``left_out`` names units without neighbours and without data.

    Raises
    ------
    DataError
        A code other than those of :data:`CLUSTERS` or :data:`HOT_SPOTS`, or codes of both.
    """
    frame = clusters.to_frame(name="") if isinstance(clusters, pd.Series) else clusters
    frame = frame.apply(lambda column: column.map(lambda code: CLUSTER_WORDS.get(code, code)))
    given = {str(code) for code in pd.unique(frame.to_numpy().ravel()) if pd.notna(code)}
    family = _family(given - {ISLAND_CODE})
    order = {code: number for number, code in enumerate((*family, ISLAND_CODE))}
    codes = frame.apply(lambda column: column.map(order)).astype(float).fillna(-1).astype(int)
    alone = frame.index[(frame == ISLAND_CODE).any(axis=1)]
    given_text = text or MapText()
    if names is not None:
        given_text = replace(given_text, legend=_first_second(names))
    look = Look(labels, outlines, crs, given_text, locator=locator)
    with context(style, language) as chosen:
        classes = [MapClass(words(name, chosen.language), colour) for name, colour in family.values()]
        # Codes of islands exist only where there are some; without them the legend stays as short as before.
        if len(alone):
            classes.append(MapClass(words(ISLAND, chosen.language), "white", ISLAND_HATCH))
        missing = NO_DATA if len(alone) else NO_NEIGHBOURS
        drawing = draw_panels(regions, codes, classes, missing, look, chosen, columns, ax)
    return replace(drawing, left_out=tuple(dict.fromkeys([*map(str, alone), *drawing.left_out])))


def _family(given: set[str]) -> dict[str, tuple[Text, str]]:
    """The kind of clusters that has all these codes."""
    for family in (CLUSTERS, HOT_SPOTS):
        if given <= set(family):
            return family
    strange = sorted(given - set(CLUSTERS) - set(HOT_SPOTS)) or sorted(given)
    known = Text(
        " or ".join(", ".join(family) for family in (CLUSTERS, HOT_SPOTS)),
        "，或".join("、".join(family) for family in (CLUSTERS, HOT_SPOTS)),
    )
    raise DataError(
        f"Clusters are {known.en}, {ISLAND_CODE!r} or missing, not {listed(strange)}.",
        f"集聚类型为{known.zh}、{ISLAND_CODE!r}或缺失，而不是{listed_zh(strange)}。",
    )


def _first_second(names: tuple[Words, Words]) -> Text:
    first, second = map(Text.of, names)
    return Text(FIRST_SECOND.en.format(first.en, second.en), FIRST_SECOND.zh.format(first.zh, second.zh))


def weights_map(
    regions: GeoDataFrame,
    W: Any,
    *,
    labels: LabelChoice = "none",
    text: MapText | None = None,
    outlines: str | None = "prov",
    crs: Any = None,
    locator: GeoDataFrame | None = None,
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
    match_units(weights.ids, ids, Text("weights", "权重矩阵"), Text("regions", "底图"))
    look = Look(labels, outlines, crs, text or MapText(), weights.align(ids), locator=locator)
    with context(style, language) as chosen:
        return draw_panels(
            regions, pd.DataFrame({"": 0}, ids), [MapClass("", "#efefef")], NO_DATA, look, chosen
        )


def _choropleth(
    regions: GeoDataFrame,
    frame: pd.DataFrame,
    classing: tuple,
    look: Look,
    style: FigureStyle,
    columns: int = 1,
    ax: Axes | None = None,
) -> Drawing:
    scheme, k, palette, center = classing
    breaks = class_breaks(frame, scheme, k)
    codes = pd.DataFrame(class_of(frame.to_numpy(float), breaks), frame.index, frame.columns)
    colours = class_colours(breaks, palette, center)
    labels = class_labels(breaks, style.language)
    classes = [MapClass(label, colour) for label, colour in zip(labels, colours, strict=True)]
    return draw_panels(regions, codes, classes, NO_DATA, look, style, columns, ax, breaks)
