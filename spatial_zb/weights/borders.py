"""Which polygons touch: equal vertices where borders are drawn once, a tolerance where they are not.

Two polygons of a clean coverage that meet share vertices, bit for bit, so a hash finds all contacts without
geometry. A border segment that belongs to exactly two polygons is *matched*. A polygon all of whose segments
are matched has no gap, overlap or odd vertex anywhere on its border, so its contacts are complete. The others
("loose": along the outline of the layer, and at every defect) are compared with everything near them by
distance. No separate check of the topology is needed, and a layer with one defect pays for one defect.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["loose_polygons", "near_pairs", "shared_pairs", "touching"]

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
