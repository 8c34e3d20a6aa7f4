"""Maps of weights: who is whose neighbour, and how much each link weighs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from spatial_zb.base.arguments import check_count
from spatial_zb.base.errors import AlignmentError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.report.drawing.frame import PLAIN, Look, Page, open_page
from spatial_zb.report.drawing.placement import root_figure
from spatial_zb.report.drawing.places import label_point, unique_ids
from spatial_zb.report.drawing.style import INK, Drawing, FigureStyle, words
from spatial_zb.report.maps.classes import class_breaks, class_labels, class_of
from spatial_zb.report.maps.drawing import LAND, MapClass, MapKey, Overlay, draw_panels, preset_of
from spatial_zb.weights.matrix import Weights, as_weights

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


LINKS, ISLANDS = Text("Neighbours", "邻居关系"), Text("No neighbours", "无邻接单元")
NOT_IN = Text("Not in the weights matrix", "不在权重矩阵中")
STRENGTH = Text("Weight of a link, mean of both directions", "联系的权重（两个方向的平均）")
DRAWN = Text(
    "Drawn: the {} strongest links of each unit, which hold {:.0f} % of all weight.",
    "仅绘各地区权重最大的{}条联系，占全部权重的{:.0f}%。",
)
#: Colours and widths, in widths of a main line, of the weakest, the middle and the strongest third of the range.
STRENGTHS = (("#e6a39b", 0.5), ("#c8403a", 1.1), ("#7a0414", 2.1))
#: Links of a unit, on average, from which a map of all would be one blot; then these many of each are drawn.
DENSE, STRONGEST = 10, 4


def links(W: Any, *, regions: GeoDataFrame, strongest: int | None = None, look: Look = PLAIN) -> Drawing:
    """Draw who is whose neighbour, the heavier the link the stronger its line, and a ring around each unit without any.

    Parameters
    ----------
    W
        A Weights, or anything :func:`~spatial_zb.weights.matrix.as_weights` takes. The strength of a pair is the mean of
        w_ij and w_ji; three classes by natural breaks, one where all are equal.
    regions
        Polygons indexed by unit id; those that W does not have are hatched.
    strongest
        Draw so many links of each unit: the heaviest of its row. Without it all are drawn up to :data:`DENSE` a unit on
        average, else the :data:`STRONGEST`; the note says so and how much of all weight they hold.
    look
        As in :func:`~spatial_zb.report.maps.shaded.choropleth`; by default no unit is named but islands, which always are
        and are listed in ``Drawing.left_out``.

    Raises
    ------
    AlignmentError
        A unit of W has no polygon.
    SpecificationError
        ``strongest`` below 1.
    """
    weights = as_weights(W)
    ids = unique_ids(regions.index)
    lost = weights.ids.difference(ids)
    if len(lost):
        raise AlignmentError(
            f"{len(lost)} unit(s) of the weights have no polygon: {listed(lost)}.",
            f"权重矩阵中{len(lost)}个地区没有多边形：{listed_zh(lost)}。",
        )
    if strongest is not None:
        check_count(strongest, "strongest", 1)
    drawn = _drawn(weights, strongest)
    codes = pd.DataFrame({"": np.where(ids.isin(weights.ids), 0, -1)}, ids)
    labels = "none" if look.labels is None else look.labels
    look = replace(look, legend=look.legend or ("" if drawn.breaks is None else STRENGTH))
    with open_page(replace(look, labels=labels), preset_of(codes)) as page:
        page = _noted(page, drawn)
        overlay = Overlay(_Web(weights, drawn).draw, _handles(weights, drawn, page), tuple(weights.islands))
        key = MapKey([MapClass("", LAND)], NOT_IN, breaks=drawn.breaks)
        drawing = draw_panels(regions, codes, key, page, overlay)
    return replace(drawing, left_out=tuple(weights.islands))


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """Pairs (m, 2) of positions in W, their class of strength, the edges of the classes (None where all weigh the same), and
    what was left out: how many links of each unit are drawn (None: all) and their share of all weight."""

    pairs: np.ndarray
    codes: np.ndarray
    breaks: np.ndarray | None
    strongest: int | None
    share: float


def _drawn(weights: Weights, strongest: int | None) -> _Drawn:
    matrix = sparse.csr_array(weights.matrix)
    if strongest is None and matrix.nnz > DENSE * weights.n:
        strongest = STRONGEST
    kept = matrix if strongest is None else _heaviest(matrix, strongest)
    both = sparse.coo_array(sparse.triu((kept != 0).maximum((kept != 0).T), 1))
    pairs = np.column_stack([both.row, both.col])
    mean = sparse.csr_array((matrix + matrix.T) / 2)
    strength = np.asarray(mean[pairs[:, 0], pairs[:, 1]]).ravel() if len(pairs) else np.empty(0)
    share = float(abs(kept).sum() / abs(matrix).sum()) if matrix.nnz else 1.0
    if not len(pairs) or np.ptp(strength) <= 1e-9 * np.abs(strength).max():
        return _Drawn(pairs, np.full(len(pairs), 1), None, strongest, share)
    breaks = class_breaks(strength, "natural", len(STRENGTHS))
    return _Drawn(pairs, class_of(strength, breaks), breaks, strongest, share)


def _heaviest(matrix: sparse.csr_array, count: int) -> sparse.csr_array:
    """The heaviest entries of each row."""
    keep = np.zeros(matrix.nnz, dtype=bool)
    for start, stop in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
        order = np.argsort(-np.abs(matrix.data[start:stop]), kind="stable")[:count]
        keep[start + order] = True
    row, column = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)), matrix.indices
    return sparse.csr_array((matrix.data[keep], (row[keep], column[keep])), shape=matrix.shape)


def _noted(page: Page, drawn: _Drawn) -> Page:
    """What the map itself must tell, before the caller's note."""
    if drawn.strongest is None:
        return page
    said = page.say(DRAWN, drawn.strongest, 100 * drawn.share)
    between = " " if page.language == "en" and page.own_note else ""
    return replace(page, own_note=said + between + page.own_note)


@dataclass(frozen=True, slots=True, eq=False)
class _Web:
    """Lines and nodes over the polygons."""

    weights: Weights
    drawn: _Drawn

    def draw(self, axes: Axes, shapes: GeoDataFrame, style: FigureStyle) -> list[np.ndarray]:
        """Draw links, the weakest first, and nodes; gives the boxes of the nodes, which no name may cover."""
        from matplotlib.collections import LineCollection

        ids, drawn = self.weights.ids, self.drawn
        points = np.array([(point.x, point.y) for point in map(label_point, shapes.geometry.loc[ids])])
        for code, (colour, width) in enumerate(STRENGTHS):
            own = drawn.pairs[drawn.codes == code]
            lines = LineCollection(
                list(points[own]),
                colors=colour,
                linewidths=width * style.line_pt,
                zorder=4 + 0.1 * code,
                gid="links",
            )
            if len(own):
                axes.add_collection(lines, autolim=False)
        alone = np.isin(ids, self.weights.islands)
        axes.plot(*points[~alone].T, zorder=4.5, gid="nodes", **_node(style))
        axes.plot(*points[alone].T, zorder=4.5, gid="islands", **_ring(style))
        sizes = np.where(alone, _ring(style)["markersize"], _node(style)["markersize"])
        half = sizes * root_figure(axes).dpi / 144
        spots = axes.transData.transform(points)
        return list(np.column_stack([spots - half[:, None], spots + half[:, None]]))


def _handles(weights: Weights, drawn: _Drawn, page: Page) -> list[Artist]:
    from matplotlib.lines import Line2D

    style = page.style
    if drawn.breaks is None:
        entries = [(words(LINKS, style.language), *STRENGTHS[1])]
    else:
        labels = class_labels(drawn.breaks, style.language)
        entries = [(label, *look) for label, look in zip(labels, STRENGTHS, strict=False)]
    out: list[Artist] = [
        Line2D([], [], label=label, color=colour, linewidth=width * style.line_pt)
        for label, colour, width in entries
    ]
    if len(weights.islands):
        out.append(Line2D([], [], label=words(ISLANDS, style.language), **_ring(style)))
    return out


def _node(style: FigureStyle) -> dict[str, Any]:
    size = 2.6 * style.line_pt
    return {"linestyle": "", "marker": "o", "markerfacecolor": INK, "markeredgewidth": 0, "markersize": size}


def _ring(style: FigureStyle) -> dict[str, Any]:
    edge = {"markerfacecolor": "white", "markeredgecolor": INK, "markeredgewidth": style.line_pt}
    return {"linestyle": "", "marker": "o", "markersize": 5.5 * style.line_pt, **edge}
