"""Maps: classes of a variable by region and period, clusters, and the links of a weights matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from spatial_zb.base.errors import DataError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.report.drawing.frame import PLAIN, Look, Words, open_page
from spatial_zb.report.drawing.places import unique_ids
from spatial_zb.report.drawing.style import Drawing, class_colours
from spatial_zb.report.maps.classes import Scheme, class_breaks, class_labels, class_of
from spatial_zb.report.maps.drawing import (
    LAND,
    NO_DATA,
    MapClass,
    MapKey,
    draw_panels,
    preset_of,
    require_panels,
    values_by_period,
)
from spatial_zb.weights.matrix import as_weights, match_units

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from matplotlib.axes import Axes

    from spatial_zb.data.panel import Panel


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
    values: Panel | pd.DataFrame | pd.Series,
    variable: str | None = None,
    *,
    regions: GeoDataFrame,
    periods: Sequence | None = None,
    scheme: Scheme | Sequence[float] = "quantile",
    k: int = 5,
    look: Look = PLAIN,
    ax: Axes | None = None,
) -> Drawing:
    """Map one variable in classes: one map, or one for each period with common classes and one legend.

    Parameters
    ----------
    values
        A panel; or a Series with one value for each region, by id in any order; or a frame of such columns, one for
        each period. NaN is drawn hatched as "no data", and so are regions that a panel does not have.
    variable
        Which variable of a panel, or which column of a frame alone.
    regions
        Polygons indexed by unit id, with ``name_en`` and ``name_zh`` for labels.
    periods
        Those of a panel, or columns of a frame, to map; all without it.
    scheme, k
        See :func:`~spatial_zb.report.maps.classes.class_breaks`.
    look
        Words, labels, outlines, projection, colours, style. Without a title of the legend, that of a panel is the label
        of the variable.
    ax
        Draw the polygons and labels of the only map, in these axes, and leave legend, scale and words to the caller.

    Raises
    ------
    AlignmentError
        Ids of values and regions differ.
    DataError
        Values that cannot be classified, no column, polygons without a CRS.
    SpecificationError
        An unknown variable, period, scheme or label; a geographic ``crs``; ``ax`` for several maps.

    Examples
    --------
    >>> zb.maps.choropleth(panel, "industry", periods=[2007, 2019], regions=regions)  # doctest: +SKIP
    """
    frame, legend = values_by_period(values, variable, periods, regions)
    require_panels(frame, ax)
    breaks = class_breaks(frame, scheme, k)
    codes = pd.DataFrame(class_of(frame.to_numpy(float), breaks), frame.index, frame.columns)
    colours = class_colours(breaks, look.palette or "sequential", look.center)
    with open_page(replace(look, legend=look.legend or legend), preset_of(codes)) as page:
        labels = class_labels(breaks, page.language)
        classes = [MapClass(label, colour) for label, colour in zip(labels, colours, strict=True)]
        return draw_panels(regions, codes, MapKey(classes, breaks=breaks), page, ax=ax)


def clusters(
    codes: Any,
    *,
    regions: GeoDataFrame,
    names: tuple[Words, Words] | None = None,
    look: Look = PLAIN,
    ax: Axes | None = None,
) -> Drawing:
    """Map clusters of a local statistic in colours that are the same on every map.

    Parameters
    ----------
    codes
        The result of ``local_moran`` or another local statistic; or codes by unit id, a Series for one map or a frame
        with one column for each period: HH, LL, HL, LH, ns of local Moran's I, univariate or bivariate; or hot, cold, ns
        of local G and G*. The words of the column ``cluster`` of a local table are understood as well. ``"no
        neighbours"`` is a class of its own and missing then means no data; without it missing means either.
    regions
        Polygons indexed by unit id.
    names
        Words for the two variables of a bivariate statistic, which say in the legend whose level comes first.
    look, ax
        As in :func:`choropleth`, whose errors are the same.

    Returns
    -------
    Drawing
        ``left_out`` names units without neighbours and without data.

    Raises
    ------
    DataError
        A code other than those of :data:`CLUSTERS` or :data:`HOT_SPOTS`, or codes of both.
    """
    frame = _cluster_codes(codes)
    require_panels(frame, ax)
    given = {str(code) for code in pd.unique(frame.to_numpy().ravel()) if pd.notna(code)}
    family = _family(given - {ISLAND_CODE})
    order = {code: number for number, code in enumerate((*family, ISLAND_CODE))}
    numbers = frame.apply(lambda column: column.map(order)).astype(float).fillna(-1).astype(int)
    alone = frame.index[(frame == ISLAND_CODE).any(axis=1)]
    look = look if names is None else replace(look, legend=_first_second(names))
    with open_page(look, "journal_double") as page:
        classes = [MapClass(page.say(name), colour) for name, colour in family.values()]
        # Codes of islands exist only where there are some; without them the legend stays as short as before.
        if len(alone):
            classes.append(MapClass(page.say(ISLAND), "white", ISLAND_HATCH))
        key = MapKey(classes, NO_DATA if len(alone) else NO_NEIGHBOURS)
        drawing = draw_panels(regions, numbers, key, page, ax=ax)
    return replace(drawing, left_out=tuple(dict.fromkeys([*map(str, alone), *drawing.left_out])))


def _cluster_codes(codes: Any) -> pd.DataFrame:
    """Codes by unit id and period, whatever they came as."""
    if not isinstance(codes, pd.Series | pd.DataFrame):
        codes = codes.table()["cluster"]
    frame = codes.to_frame(name="") if isinstance(codes, pd.Series) else codes
    return frame.apply(lambda column: column.map(lambda code: CLUSTER_WORDS.get(code, code)))


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


def links(W: Any, *, regions: GeoDataFrame, look: Look = PLAIN) -> Drawing:
    """Draw who is whose neighbour: a line for each linked pair, a ring around each unit without neighbours.

    Parameters
    ----------
    W
        A Weights, or anything :func:`~spatial_zb.weights.matrix.as_weights` takes, with the ids of the regions.
    regions
        Polygons indexed by unit id.
    look
        As in :func:`choropleth`; by default no unit is named but islands, which always are and are listed in
        ``Drawing.left_out``.

    Raises
    ------
    AlignmentError
        Ids of W and regions differ.
    """
    weights = as_weights(W)
    ids = unique_ids(regions.index)
    match_units(weights.ids, ids, Text("weights", "权重矩阵"), Text("regions", "底图"))
    codes = pd.DataFrame({"": 0}, ids)
    labels = "none" if look.labels is None else look.labels
    with open_page(replace(look, labels=labels), preset_of(codes)) as page:
        return draw_panels(regions, codes, MapKey([MapClass("", LAND)]), page, weights.align(ids))
