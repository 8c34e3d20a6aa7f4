"""Two variables on one map: three classes of each, one colour for each pair of classes."""

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
from spatial_zb.report.drawing.style import GREY, INK, MM_PER_INCH, Drawing, FigureStyle, new_figure
from spatial_zb.report.maps.classes import Scheme, class_breaks, class_of, edge_words
from spatial_zb.report.maps.drawing import MapClass, MapKey, draw_panels, require_panels

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from matplotlib.axes import Axes


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
