"""Maps: classes of a variable or of two by region and period, clusters, and the links of a weights matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spatial_zb.base.errors import AlignmentError, DataError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.report.drawing.frame import PLAIN, Look, Words, line_height, open_page, to_mm
from spatial_zb.report.drawing.placement import text_size
from spatial_zb.report.drawing.places import unique_ids
from spatial_zb.report.drawing.sheet import Inset
from spatial_zb.report.drawing.style import (
    GREY,
    INK,
    MM_PER_INCH,
    Drawing,
    FigureStyle,
    class_colours,
    new_figure,
)
from spatial_zb.report.maps.classes import Scheme, class_breaks, class_labels, class_of, edge_words
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


#: Classes of each variable.
K = 3
#: Colours by class of the first (columns) and of the second variable (rows), both from low to high: grey where
#: both are alike, blue where the first is ahead, orange where the second is. Blue and orange are told apart by
#: colour-blind readers, and each of the nine has a lightness of its own for greyscale (evenly spaced in CIE L*).
BIVARIATE: tuple[tuple[str, ...], ...] = (
    ("#ebebeb", "#88c0f5", "#027dbb"),
    ("#ffc7a0", "#8d8d8d", "#03517b"),
    ("#ea8d3f", "#855733", "#393939"),
)
#: Least side of a cell of the key, in millimetres.
CELL = 6.0


def bivariate(
    first: pd.Series | pd.DataFrame,
    second: pd.Series | pd.DataFrame,
    *,
    regions: GeoDataFrame,
    names: tuple[Words, Words],
    scheme: Scheme | Sequence[float] | tuple[Sequence[float], Sequence[float]] = "quantile",
    look: Look = PLAIN,
    ax: Axes | None = None,
) -> Drawing:
    """Map two variables at once, in 3 × 3 classes that are common to all periods.

    Parameters
    ----------
    first, second
        Values by unit id in any order: a Series each for one map, a frame each with the same columns (periods)
        for one panel by period. A unit that lacks either value is drawn hatched as "no data".
    regions
        Polygons indexed by unit id.
    names
        Words for the two variables; they stand over the key, the first across and the second upwards.
    scheme
        How each variable is cut into three, see :func:`~spatial_zb.report.maps.classes.class_breaks`; or a pair of
        lists, the two inner edges of the first and of the second variable.
    look
        As in :func:`~spatial_zb.report.maps.shaded.choropleth`, without ``legend`` and colours.
    ax
        Draw one map in these axes, and leave key and words to the caller.

    Returns
    -------
    Drawing
        ``breaks`` is the array (2, 4) of class edges.

    Raises
    ------
    AlignmentError
        Units or periods of the two variables differ, or units differ from the regions.
    DataError
        Nothing to map, or a variable whose ties leave fewer than three classes.
    """
    one, two = (v.to_frame(name="") if isinstance(v, pd.Series) else v for v in (first, second))
    require_panels(one, ax)
    one, two = _same_cells(one, two)
    breaks = np.stack([_three(v, s, n) for v, s, n in zip((one, two), _schemes(scheme), names, strict=True)])
    # Nine entries without words: the key explains them.
    classes = [MapClass("", colour) for row in BIVARIATE for colour in row]
    with open_page(replace(look, legend=_key_words(names)), "journal_double") as page:
        key = MapKey(classes, inset=_key(breaks, page.style), breaks=breaks)
        return draw_panels(regions, _codes(one, two, breaks), key, page, ax=ax)


def _same_cells(one: pd.DataFrame, two: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both frames with text ids, the second in the order of the first."""
    one, two = (frame.set_axis(unique_ids(frame.index)) for frame in (one, two))
    apart = [*one.index.symmetric_difference(two.index), *one.columns.symmetric_difference(two.columns)]
    if apart:
        raise AlignmentError(
            f"Only one of the two variables has {listed(apart)}: give both the same cells.",
            f"两个变量中只有一个有{listed_zh(apart)}：请使两者的单元格一致。",
        )
    return one, two.loc[one.index, one.columns]


def _schemes(scheme: Any) -> tuple[Any, Any]:
    pair = isinstance(scheme, Sequence) and not isinstance(scheme, str) and len(scheme) == 2
    return tuple(scheme) if pair and not np.isscalar(scheme[0]) else (scheme, scheme)


def _three(values: pd.DataFrame, scheme: Any, name: Words) -> np.ndarray:
    breaks = class_breaks(values, scheme, K)
    if len(breaks) != K + 1:
        raise DataError(
            f"{Text.of(name).en!r} falls into {len(breaks) - 1} classes, not 3 (ties, or edges beyond the values): "
            "give two inner edges as scheme.",
            f"{Text.of(name).zh!r}分为{len(breaks) - 1}级而不是3级（有相同值，或界限超出取值）："
            "请用scheme给出两个内部界限。",
        )
    return breaks


def _codes(one: pd.DataFrame, two: pd.DataFrame, breaks: np.ndarray) -> pd.DataFrame:
    """Positions in :data:`BIVARIATE` row by row; −1 where either value is missing."""
    across, up = (class_of(v.to_numpy(float), edges) for v, edges in zip((one, two), breaks, strict=True))
    return pd.DataFrame(np.where((across < 0) | (up < 0), -1, K * up + across), one.index, one.columns)


def _key_words(names: tuple[Words, Words]) -> Text:
    across, up = map(Text.of, names)
    return Text(f"Across (→): {across.en}. Up (↑): {up.en}.", f"横向（→）：{across.zh}；纵向（↑）：{up.zh}。")


def _key(breaks: np.ndarray, style: FigureStyle) -> Inset:
    """The square of nine colours with the inner class edges at its sides."""
    figure = new_figure(style, style.height_mm)
    across, up = (edge_words(edges)[1:-1] for edges in breaks)
    wide = {
        word: text_size(figure, word, style.small_pt)[0] / figure.dpi * MM_PER_INCH for word in (*across, *up)
    }
    gap, line = 0.5 * to_mm(style.small_pt), line_height(style.small_pt, 1)
    side = max(CELL, 1.1 * line, *(wide[word] + gap for word in across))
    left = max(wide[word] for word in up) + gap

    def draw(axes: Axes) -> None:
        from matplotlib.patches import Rectangle

        axes.set(xlim=(0, left + K * side + gap), ylim=(K * side + line + gap, 0), label="key")
        axes.set_axis_off()
        for row, colours in enumerate(BIVARIATE):
            for column, colour in enumerate(colours):
                corner = (left + column * side, (K - 1 - row) * side + gap)
                axes.add_patch(Rectangle(corner, side, side, fc=colour, ec=GREY, lw=0.4 * style.line_pt))
        write: dict[str, Any] = {"fontsize": style.small_pt, "color": INK, "parse_math": False}
        for number in range(1, K):
            x, y = left + number * side, (K - number) * side + gap
            axes.text(x, K * side + 1.3 * gap, across[number - 1], ha="center", va="top", **write)
            axes.text(left - 0.6 * gap, y, up[number - 1], ha="right", va="center", **write)

    return Inset(left + K * side + gap, K * side + line + gap, draw)
