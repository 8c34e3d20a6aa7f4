"""Maps: classes of a variable or of two by region and period, and clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spatial_zb.base.errors import AlignmentError, DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.data.panel import Panel
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
    new_figure,
)
from spatial_zb.report.maps.classes import Scheme, class_breaks, class_labels, class_of, classify, edge_words
from spatial_zb.report.maps.drawing import (
    NO_DATA,
    MapClass,
    MapKey,
    Mapped,
    draw_panels,
    preset_of,
    require_panels,
    values_by_period,
)

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
        See :func:`~spatial_zb.report.maps.classes.classify`; a list is the inner edges of one's own. Classes are of all
        periods, whichever are mapped, so that maps of other years have the same ones.
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
    found = values_by_period(values, variable, periods, regions)
    frame = found.frame
    require_panels(frame, ax)
    classes = classify(found.every, scheme, k, look.palette, look.center)
    codes = pd.DataFrame(class_of(frame.to_numpy(float), classes.breaks), frame.index, frame.columns)
    with open_page(replace(look, legend=look.legend or found.label), preset_of(codes)) as page:
        labels = class_labels(classes.breaks, page.language)
        shown = [MapClass(label, colour) for label, colour in zip(labels, classes.colours, strict=True)]
        return draw_panels(regions, codes, MapKey(shown, breaks=classes.breaks), page, ax=ax)


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
        The result of ``local_moran`` or another local statistic, or results by period; or codes by unit id, a Series for
        one map or a frame with one column for each period: HH, LL, HL, LH, ns of local Moran's I, univariate or
        bivariate; or hot, cold, ns of local G and G*. The words of the column ``cluster`` of a local table are understood
        as well. ``"no neighbours"`` is a class of its own and missing then means no data; without it missing means either.
    regions
        Polygons indexed by unit id; those without a result are hatched.
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

    Examples
    --------
    >>> found = {year: zb.local_moran(panel, "industry", W, period=year) for year in (2007, 2019)}  # doctest: +SKIP
    >>> zb.maps.clusters(found, regions=regions)  # doctest: +SKIP
    """
    frame, known = _cluster_codes(codes, regions)
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
        key = MapKey(classes, NO_DATA if known or len(alone) else NO_NEIGHBOURS)
        drawing = draw_panels(regions, numbers, key, page, ax=ax)
    return replace(drawing, left_out=tuple(dict.fromkeys([*map(str, alone), *drawing.left_out])))


def _cluster_codes(codes: Any, regions: GeoDataFrame) -> tuple[pd.DataFrame, bool]:
    """Codes by unit id and period, whatever they came as, and whether missing can mean nothing but no data.

    Results of a statistic know who has no neighbours, and have no row for regions without data.
    """
    if isinstance(codes, pd.Series | pd.DataFrame):
        frame, known = codes.to_frame(name="") if isinstance(codes, pd.Series) else codes, False
    else:
        tables = codes if isinstance(codes, Mapping) else {"": codes}
        frame = pd.DataFrame({period: table.table()["cluster"] for period, table in tables.items()})
        frame = frame.set_axis(unique_ids(frame.index))
        frame, known = frame.reindex(unique_ids(regions.index).union(frame.index, sort=False)), True
    return frame.apply(lambda column: column.map(lambda code: CLUSTER_WORDS.get(code, code))), known


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
    first: Panel | pd.Series | pd.DataFrame,
    second: Sequence[str] | pd.Series | pd.DataFrame,
    *,
    regions: GeoDataFrame,
    names: tuple[Words, Words] | None = None,
    periods: Sequence | None = None,
    scheme: Scheme | Sequence[float] | tuple[Sequence[float], Sequence[float]] = "quantile",
    look: Look = PLAIN,
    ax: Axes | None = None,
) -> Drawing:
    """Map two variables at once, in 3 × 3 classes that are common to all periods.

    Parameters
    ----------
    first, second
        A panel and the names of two of its variables; or values by unit id in any order: a Series each for one map, a
        frame each with the same columns (periods) for one panel by period. A unit that lacks either value is drawn
        hatched as "no data", and so are regions that a panel does not have.
    regions
        Polygons indexed by unit id.
    names
        Words for the two variables; they stand over the key, the first across and the second upwards. Those of a panel
        are its labels.
    periods
        Those of a panel, or columns of the frames, to map; all without it. Classes are of all.
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
    SpecificationError
        A panel without the names of two variables; a variable or a period that is not there.

    Examples
    --------
    >>> zb.maps.bivariate(panel, ("industry", "talent"), regions=regions, periods=[2019])  # doctest: +SKIP
    """
    one, two = _pair(first, second, periods, regions)
    names = names or (one.label or FIRST, two.label or SECOND)
    require_panels(one.frame, ax)
    across, up = _same_cells(one.frame, two.frame)
    parts = zip((one, two), _schemes(scheme), names, strict=True)
    breaks = np.stack([_three(part.every, how, name) for part, how, name in parts])
    # Nine entries without words: the key explains them.
    classes = [MapClass("", colour) for row in BIVARIATE for colour in row]
    with open_page(replace(look, legend=_key_words(names)), "journal_double") as page:
        key = MapKey(classes, inset=_key(breaks, page.style), breaks=breaks)
        return draw_panels(regions, _codes(across, up, breaks), key, page, ax=ax)


FIRST, SECOND = Text("First variable", "第一个变量"), Text("Second variable", "第二个变量")


def _pair(first: Any, second: Any, periods: Sequence | None, regions: GeoDataFrame) -> tuple[Mapped, Mapped]:
    """Both variables as they are mapped, of a panel or of two frames."""
    if isinstance(first, Panel):
        chosen = [second] if isinstance(second, str) else list(second)
        if len(chosen) != 2 or not all(isinstance(name, str) for name in chosen):
            raise SpecificationError(
                f"Name two variables of the panel, not {listed(chosen)}; it has {listed(first.columns)}.",
                f"请给出面板中的两个变量，而不是{listed_zh(chosen)}；已有{listed_zh(first.columns)}。",
            )
        one, two = (values_by_period(first, name, periods, regions) for name in chosen)
        return one, two
    return values_by_period(first, None, periods, regions), values_by_period(second, None, periods, regions)


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


def _three(values: np.ndarray, scheme: Any, name: Words) -> np.ndarray:
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
