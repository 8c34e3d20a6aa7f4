"""Neighbours by a common border or a common group such as a province, and which polygons touch.

Polygons touch where they have a vertex in common, or come within a tolerance where borders are not drawn once. Two
polygons of a clean coverage that meet share vertices, bit for bit, so a hash finds all contacts without
geometry. A border segment that belongs to exactly two polygons is *matched*. A polygon all of whose segments
are matched has no gap, overlap or odd vertex anywhere on its border, so its contacts are complete. The others
("loose": along the outline of the layer, and at every defect) are compared with everything near them by
distance. No separate check of the topology is needed, and a layer with one defect pays for one defect.

Every builder takes regions and gives :class:`Weights` not yet normalised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.base.errors import WeightsError, listed, listed_zh, not_one_of
from spatial_zb.base.notes import warn
from spatial_zb.base.text import Text
from spatial_zb.weights.build import finish, layer_ids, need_crs, need_memory
from spatial_zb.weights.build.islands import Islands, check_islands, settle
from spatial_zb.weights.matrix import Weights, text_ids

if TYPE_CHECKING:
    import geopandas as gpd


Rule = Literal["queen", "rook"]
#: Rook neighbours of a loose border share at least this length of it (metres).
ROOK_METRES = 1.0
#: Odd 64-bit constants that spread the bits of x and y (golden ratio; splitmix64).
MIX_X, MIX_Y = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)


class Pairs(NamedTuple):
    """Unordered pairs of polygons by position, i < j; each array is (m,)."""

    i: NDArray[np.intp]
    j: NDArray[np.intp]


class _Segments(NamedTuple):
    """Border segments of all polygons: vertex ids of their ends, and the polygon each belongs to."""

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    owner: NDArray[np.int64]
    vertices: int


def touching(shapes: NDArray[Any], rule: Rule, tolerance: float) -> sparse.csr_array:
    """Binary first-order contiguity, (n, n), of polygons on a plane whose unit is the metre.

    ``rule`` is ``"queen"`` (a shared point) or ``"rook"`` (a shared stretch of border); borders nearer than
    ``tolerance`` metres meet where they are not drawn with equal vertices.
    """
    segments = _segments(shapes)
    exact = shared_pairs(segments, rule, len(shapes))
    near = near_pairs(shapes, loose_polygons(segments), rule, tolerance)
    i, j = np.concatenate([exact.i, near.i]), np.concatenate([exact.j, near.j])
    links = sparse.coo_array((np.ones(2 * len(i)), (np.r_[i, j], np.r_[j, i])), shape=(len(shapes),) * 2)
    matrix = sparse.csr_array(links)
    matrix.data[:] = 1.0
    return matrix


def shared_pairs(segments: _Segments, rule: Rule, n: int) -> Pairs:
    """Pairs that have an equal vertex (queen) or an equal segment (rook)."""
    if rule == "queen":
        places, count = segments.start, segments.vertices
    else:
        places, count = _segment_ids(segments)
    incidence = sparse.csr_array(
        (np.ones(len(places), dtype=np.int32), (segments.owner, places)), shape=(n, count)
    )
    common = sparse.triu(incidence @ incidence.T, k=1, format="coo")
    return Pairs(common.row.astype(np.intp), common.col.astype(np.intp))


def loose_polygons(segments: _Segments) -> NDArray[np.intp]:
    """Positions of polygons with a segment that is not shared with exactly one other polygon."""
    ids, count = _segment_ids(segments)
    uses = np.bincount(ids, minlength=count)
    # A segment that one polygon uses twice is no border with a neighbour.
    owners = np.bincount(ids, weights=segments.owner, minlength=count)
    unmatched = (uses[ids] != 2) | (owners[ids] == 2 * segments.owner)
    return np.unique(segments.owner[unmatched]).astype(np.intp)


def near_pairs(shapes: NDArray[Any], which: NDArray[np.intp], rule: Rule, tolerance: float) -> Pairs:
    """Pairs of a polygon of ``which`` and any other whose borders are within ``tolerance`` metres."""
    import shapely

    if not len(which):
        return Pairs(which, which)
    source, other = shapely.STRtree(shapes).query(shapes[which], predicate="dwithin", distance=tolerance)
    source = which[source]
    i, j = np.minimum(source, other), np.maximum(source, other)
    i, j = np.unique(np.stack([i, j])[:, i < j], axis=1)
    if rule == "rook" and len(i):
        keep = _common_length(shapes, i, j, tolerance) > ROOK_METRES + 4 * tolerance
        i, j = i[keep], j[keep]
    return Pairs(i, j)


def _common_length(
    shapes: NDArray[Any], i: NDArray[np.intp], j: NDArray[np.intp], tolerance: float
) -> NDArray[np.float64]:
    """Length of the border of j inside a strip along the border of i (metres), for each pair."""
    import shapely

    first, place = np.unique(i, return_inverse=True)
    strips = shapely.buffer(
        shapely.boundary(shapes[first]), max(tolerance, 1e-6), cap_style="flat", quad_segs=2
    )
    return shapely.length(shapely.intersection(strips[place], shapely.boundary(shapes[j])))


def _segments(shapes: NDArray[Any]) -> _Segments:
    """Take polygons apart into border segments with numbered vertices."""
    import shapely

    shapes = shapely.force_2d(shapes) if shapely.has_z(shapes).any() else shapes
    plain = (shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON) & (
        shapely.get_num_interior_rings(shapes) == 0
    )
    parts = [(_plain_rings, np.flatnonzero(plain)), (_all_rings, np.flatnonzero(~plain))]
    found = [(*rings(shapes[at]), at) for rings, at in parts if len(at)]
    ids, count = _vertex_ids(np.concatenate([points for points, *_ in found]))
    owner = np.concatenate([np.repeat(at[of], sizes) for _, sizes, of, at in found])
    starts = np.ones(len(ids), dtype=bool)
    starts[np.cumsum(np.concatenate([sizes for _, sizes, *_ in found])) - 1] = False  # repeats the first
    at = np.flatnonzero(starts)
    return _Segments(ids[at], ids[at + 1], owner[at], count)


def _plain_rings(shapes: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Points (N, 2), ring sizes and the polygon of each ring, of polygons with one ring each."""
    import shapely

    return shapely.get_coordinates(shapes), shapely.get_num_coordinates(shapes), np.arange(len(shapes))


def _all_rings(shapes: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """The same of any polygons: rings of all parts, holes included."""
    import shapely

    kind, points, (rings, ends, *parts) = shapely.to_ragged_array(shapes)
    of_ring = ends if kind == shapely.GeometryType.POLYGON else ends[parts[0]]
    return points, np.diff(rings), np.repeat(np.arange(len(shapes)), np.diff(of_ring))


def _vertex_ids(coordinates: NDArray[np.float64]) -> tuple[NDArray[np.int64], int]:
    """Number distinct points; equal means equal in every bit (and 0 = −0)."""
    import pandas as pd

    bits = np.ascontiguousarray(coordinates + 0.0).view(np.uint64)
    with np.errstate(over="ignore"):
        key = bits[:, 0] * MIX_X
        key = (key ^ (key >> np.uint64(29)) ^ bits[:, 1]) * MIX_Y
        key ^= key >> np.uint64(32)
    ids, distinct = pd.factorize(key)
    first = np.empty(len(distinct), dtype=np.intp)
    first[ids[::-1]] = np.arange(len(ids))[::-1]
    if np.array_equal(bits[first[ids]], bits):
        return ids, len(distinct)
    exact, ids = np.unique(coordinates + 0.0, axis=0, return_inverse=True)  # two points had one hash
    return ids.ravel(), len(exact)


def _segment_ids(segments: _Segments) -> tuple[NDArray[np.int64], int]:
    """Number distinct segments, whatever their direction."""
    import pandas as pd

    low, high = np.minimum(segments.start, segments.end), np.maximum(segments.start, segments.end)
    ids, distinct = pd.factorize(low * np.int64(segments.vertices) + high)
    return ids, len(distinct)


#: Borders this near (metres) touch: digitised borders differ by centimetres, districts never by metres.
TOUCH_METRES = 1.0
#: Metres per degree of latitude, for the plane on which a geographic layer's borders are compared.
METRES_PER_DEGREE = 111_320.0


def contiguity(
    regions: gpd.GeoDataFrame,
    kind: Literal["queen", "rook"] = "queen",
    *,
    order: int = 1,
    cumulative: bool = True,
    islands: Islands = "error",
    tolerance: float = TOUCH_METRES,
    label: str | None = None,
) -> Weights:
    """Neighbours are units whose borders meet.

    Parameters
    ----------
    regions
        Polygons indexed by unit id, with a CRS.
    kind
        ``"queen"``: a shared point is enough; ``"rook"``: a shared stretch of border is needed.
    order, cumulative
        Neighbours up to ``order`` steps away, all with weight one; with ``cumulative=False`` only those that
        are exactly ``order`` steps away.
    islands
        What to do with units without neighbours: ``"error"``; ``"nearest"`` links each with the unit whose
        centroid is nearest, in both directions; ``"zero"`` keeps the empty row; ``"drop"`` leaves the unit
        out; a list of (id, id) pairs builds those bridges. Everything done is said in a warning and kept in
        ``recipe``.
    tolerance
        Borders nearer than this many metres meet: gaps and overlaps of centimetres do not cut neighbours.
        Borders drawn once, with equal vertices, meet where vertices are equal. On a layer in degrees metres
        are those of its middle latitude.

    Raises
    ------
    WeightsError
        Unknown option, an order below one, an island under ``islands="error"``, an unknown id in a bridge,
        geometry that is not polygons, no CRS.
    """
    if kind not in ("queen", "rook"):
        raise not_one_of("kind", kind, ("queen", "rook"), kind=WeightsError)
    if isinstance(order, bool) or not isinstance(order, int | np.integer) or order < 1:
        raise WeightsError(
            f"order must be a whole number, 1 or more, not {order!r}.",
            f"order须为1或更大的整数，而不是{order!r}。",
        )
    if not (np.isfinite(tolerance) and tolerance >= 0):
        raise WeightsError(
            f"tolerance must be a number of metres, zero or more, not {tolerance!r}.",
            f"tolerance须为非负的米数，而不是{tolerance!r}。",
        )
    check_islands(islands)
    ids = layer_ids(regions)
    first = touching(_on_plane(regions, ids), kind, tolerance)
    matrix, ids, record = settle(first, ids, islands, regions)
    matrix = _steps(matrix, order, cumulative)
    _say_far(matrix, ids, order, islands)
    recipe = {"kind": "contiguity", "rule": kind, "order": order, "cumulative": cumulative}
    return finish(matrix, ids, label or kind, {**recipe, "tolerance_m": tolerance, **record})


def block(
    regions: gpd.GeoDataFrame | pd.DataFrame,
    column: str,
    *,
    islands: Islands = "error",
    label: str | None = None,
) -> Weights:
    """Neighbours are units with the same value of a column of polygons, or of a table by unit id, such as their province.

    Raises
    ------
    WeightsError
        No such column, a blank in it, a unit alone in its block under ``islands="error"``.
    """
    check_islands(islands)
    ids = layer_ids(regions) if hasattr(regions, "geom_type") else text_ids(regions.index)
    shapes = regions.geometry.name if hasattr(regions, "geom_type") else None  # a table of units has none
    if column not in regions.columns or column == shapes:
        known = [c for c in regions.columns if c != shapes]
        raise WeightsError(
            f"The layer has no column {column!r} to group units by; it has {listed(known)}.",
            f"图层没有可用于分组的列{column!r}；已有{listed_zh(known)}。",
        )
    groups = regions[column]
    if groups.isna().any():
        raise WeightsError(
            f"Column {column!r} is blank for {listed(ids[groups.isna().to_numpy()])}.",
            f"列{column!r}在{listed_zh(ids[groups.isna().to_numpy()])}空缺。",
        )
    number, _ = pd.factorize(groups)
    sizes = np.bincount(number).astype(float)
    need_memory(
        (sizes * (sizes - 1)).sum(),
        Text(f"Blocks of {column!r}", f"按{column!r}分块的矩阵"),
        Text("Use a finer grouping.", "请用更细的分组。"),
    )
    member = sparse.csr_array((np.ones(len(ids)), (np.arange(len(ids)), number)))
    matrix, ids, record = settle(_no_diagonal(member @ member.T), ids, islands, regions)
    return finish(matrix, ids, label or column, {"kind": "block", "column": column, **record}, groups=True)


def _steps(first: sparse.csr_array, order: int, cumulative: bool) -> sparse.csr_array:
    """Units up to (or exactly) ``order`` steps away on the graph of first-order neighbours."""
    pattern = sparse.csr_array((first != 0).astype(float))
    if order == 1:
        return first
    reach, before = pattern, pattern
    for _ in range(order - 1):
        before = reach
        reach = _no_diagonal(reach + reach @ pattern)
        reach.data[:] = 1.0
    if cumulative:
        return reach
    exact = sparse.csr_array(reach - before)
    exact.eliminate_zeros()
    return exact


def _say_far(matrix: sparse.csr_array, ids: pd.Index, order: int, islands: Islands) -> None:
    """Units with first-order neighbours may have none at exactly a higher order."""
    alone = np.diff(matrix.indptr) == 0
    if order == 1 or not alone.any() or islands == "zero":
        return
    if alone.all():
        raise WeightsError(
            f"No unit is exactly {order} steps from another; use a lower order.",
            f"没有地区与另一地区恰好相隔{order}步；请降低阶数。",
        )
    warn(
        f"{alone.sum()} unit(s) have nobody exactly {order} steps away: {listed(ids[alone])}. Their lags are zero.",
        f"{alone.sum()}个地区没有恰为{order}阶的邻居：{listed_zh(ids[alone])}，其空间滞后为零。",
    )


def _no_diagonal(matrix: Any) -> sparse.csr_array:
    coo = sparse.coo_array(matrix)
    keep = coo.row != coo.col
    return sparse.csr_array((coo.data[keep], (coo.row[keep], coo.col[keep])), shape=coo.shape)


def _on_plane(regions: gpd.GeoDataFrame, ids: pd.Index) -> NDArray[Any]:
    """Polygons in metres on a plane on which straight borders stay straight.

    A projected layer keeps its plane. Degrees are scaled to metres at the middle latitude and not projected:
    a projection bends a long segment away from a neighbour's vertex that lies on it.
    """
    import shapely

    crs = need_crs(regions)
    shapes = _polygons(regions.geometry.to_numpy(), ids)
    if crs.is_geographic:
        _, south, _, north = regions.total_bounds
        across = METRES_PER_DEGREE * max(np.cos(np.radians((south + north) / 2)), 1e-6)
        return shapely.transform(shapes, lambda xy: xy * np.array([across, METRES_PER_DEGREE]))
    factor = crs.axis_info[0].unit_conversion_factor
    return shapes if factor == 1 else shapely.transform(shapes, lambda xy: xy * factor)


def _polygons(shapes: NDArray[Any], ids: pd.Index) -> NDArray[Any]:
    """The polygons of a layer; lines and points that mending left beside polygons are dropped."""
    import shapely

    shapes = np.asarray(shapes, dtype=object)
    kinds = shapely.get_type_id(shapes)
    flat = (kinds == shapely.GeometryType.POLYGON) | (kinds == shapely.GeometryType.MULTIPOLYGON)
    if flat.all():
        return shapes
    shapes = shapes.copy()
    for at in np.flatnonzero(~flat):
        parts = shapely.get_parts(shapely.get_parts(shapes[at]))
        shapes[at] = shapely.multipolygons(parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON])
    empty = shapely.is_empty(shapes)
    if empty.any():
        raise WeightsError(
            f"Contiguity needs polygons; these units have none: {listed(ids[empty])}.",
            f"邻接须有多边形；这些地区没有：{listed_zh(ids[empty])}。",
        )
    return shapes
