"""Weights from polygons. Every builder takes regions and gives a :class:`Weights` that is not normalised."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from spatial_zb.errors import SpatialZbWarning, WeightsError, listed
from spatial_zb.weights.matrix import Weights, text_ids

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["contiguity", "distances_km", "inverse_distance", "knn"]

Islands = Literal["error", "nearest", "zero"]
#: Borders this near (metres) touch: digitised borders differ by centimetres, districts never by metres.
TOUCH_METRES = 1.0
#: Rook neighbours share at least this length of border (metres).
ROOK_METRES = 1.0


def contiguity(
    regions: gpd.GeoDataFrame,
    kind: Literal["queen", "rook"] = "queen",
    *,
    order: int = 1,
    islands: Islands | Sequence[tuple[str, str]] = "error",
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
    order
        Neighbours up to this many steps away, all with weight one.
    islands
        What to do with units without neighbours: ``"error"``; ``"nearest"`` links each with the unit whose
        centroid is nearest, in both directions; ``"zero"`` keeps the empty row; a list of (id, id) pairs
        builds those bridges. Everything done is said in a warning and kept in ``recipe``.
    tolerance
        Borders nearer than this many metres meet: gaps and overlaps of centimetres do not cut neighbours.

    Raises
    ------
    WeightsError
        Unknown option, an order below one, an island under ``islands="error"``, an unknown id in a bridge.
    """
    if kind not in ("queen", "rook"):
        raise WeightsError(f"kind must be queen or rook, not {kind!r}.")
    if order < 1:
        raise WeightsError(f"order must be 1 or more, not {order}.")
    ids = _ids(regions)
    first = _touching(_metres(regions), kind, tolerance)
    first, record = _bridge(first, regions, ids, islands)
    matrix = _up_to_order(first, order)
    recipe = {"kind": "contiguity", "rule": kind, "order": order, "tolerance_m": tolerance, **record}
    return Weights(matrix, ids, label or kind, recipe=recipe)


def knn(regions: gpd.GeoDataFrame, k: int = 4, *, label: str | None = None) -> Weights:
    """Neighbours are the k units with the nearest centroids; the relation is not symmetric.

    Raises
    ------
    WeightsError
        k below one or not below the number of units, or two units at the same point.
    """
    ids = _ids(regions)
    n = len(ids)
    if not 1 <= k < n:
        raise WeightsError(f"k must be between 1 and {n - 1} for {n} units, not {k}.")
    distance = distances_km(regions)
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :k]
    matrix = sparse.csr_array((np.ones(n * k), (np.repeat(np.arange(n), k), nearest.ravel())), shape=(n, n))
    return Weights(matrix, ids, label or f"knn{k}", recipe={"kind": "knn", "k": k})


def inverse_distance(
    regions: gpd.GeoDataFrame,
    power: float = 1.0,
    *,
    cutoff_km: float | None = None,
    islands: Islands | Sequence[tuple[str, str]] = "error",
    label: str | None = None,
) -> Weights:
    """w_ij = d_ij^(−power), d in kilometres between centroids; zero beyond ``cutoff_km``.

    ``islands`` says what happens to units with nobody within the cut-off, as in :func:`contiguity`; a bridge
    has the weight of its own distance.

    Raises
    ------
    WeightsError
        A power or cut-off that is not positive, two units with the same centroid, or an island under
        ``islands="error"``.
    """
    if not power > 0:
        raise WeightsError(f"power must be positive, not {power}.")
    if cutoff_km is not None and not cutoff_km > 0:
        raise WeightsError(f"cutoff_km must be a positive number of kilometres, not {cutoff_km}.")
    ids = _ids(regions)
    distance = distances_km(regions)
    _refuse_coincident(distance, ids)
    np.fill_diagonal(distance, np.inf)
    full = distance**-power
    near = sparse.csr_array(np.where(distance <= (cutoff_km or np.inf), full, 0.0))
    joined, record = _bridge(near, regions, ids, islands, full)
    recipe = {"kind": "inverse_distance", "power": power, "cutoff_km": cutoff_km, **record}
    return Weights(joined, ids, label or "inverse distance", recipe=recipe)


def distances_km(regions: gpd.GeoDataFrame) -> np.ndarray:
    """Great-ellipse distances between centroids, (n, n), in kilometres.

    Centroids are taken on an equal-area projection of the layer, distances on the ellipsoid, so that no
    degree is ever taken for a length.
    """
    from pyproj import Geod

    _need_crs(regions)
    points = regions.geometry.to_crs(_local_equal_area(regions)).centroid.to_crs("EPSG:4326")
    lon, lat = points.x.to_numpy(), points.y.to_numpy()
    geod = Geod(ellps="GRS80")
    i, j = np.triu_indices(len(lon), 1)
    out = np.zeros((len(lon), len(lon)))
    out[i, j] = geod.inv(lon[i], lat[i], lon[j], lat[j])[2] / 1000
    return out + out.T


def _touching(metres: gpd.GeoSeries, kind: str, tolerance: float) -> sparse.csr_array:
    """Binary first-order contiguity of polygons on a projected CRS."""
    import shapely

    shapes = metres.to_numpy()
    n = len(shapes)
    i, j = metres.sindex.query(shapes, predicate="dwithin", distance=tolerance)
    keep = i < j
    i, j = i[keep], j[keep]
    if kind == "rook":
        # Half the perimeter of the strip that both borders run through is the length they share.
        near = shapely.buffer(shapely.boundary(shapes), tolerance, cap_style="flat", quad_segs=2)
        shared = shapely.length(shapely.intersection(near[i], shapely.boundary(shapes[j])))
        keep = shared > ROOK_METRES + 4 * tolerance
        i, j = i[keep], j[keep]
    half = sparse.csr_array((np.ones(len(i)), (i, j)), shape=(n, n))
    return sparse.csr_array(half + half.T)


def _bridge(
    first: sparse.csr_array,
    regions: gpd.GeoDataFrame,
    ids: pd.Index,
    islands: Any,
    strength: np.ndarray | None = None,
) -> tuple[sparse.csr_array, dict[str, Any]]:
    """Apply the island policy; give the matrix and what was done.

    ``strength`` (n, n) holds the weight a new link gets; one without it.
    """
    alone = np.flatnonzero(np.diff(first.indptr) == 0)
    names = [_named(regions, ids, i) for i in alone]
    if not isinstance(islands, str):
        pairs = [(_position(ids, a), _position(ids, b)) for a, b in islands]
    elif islands not in ("error", "nearest", "zero"):
        raise WeightsError(f"islands must be error, nearest, zero or a list of id pairs, not {islands!r}.")
    elif not len(alone):
        return first, {"islands": islands, "bridges": []}
    elif islands == "error":
        raise WeightsError(
            f"{len(alone)} unit(s) have no neighbour: {listed(names)}. Say what to do with them: "
            'islands="nearest" links each with its nearest unit, "zero" keeps them without neighbours, '
            "a list of (id, id) pairs builds bridges."
        )
    elif islands == "zero":
        _say(f"{len(alone)} unit(s) keep no neighbour: {listed(names)}. Their spatial lags are zero.")
        return first, {"islands": "zero", "bridges": []}
    else:
        distance = distances_km(regions)
        np.fill_diagonal(distance, np.inf)
        pairs = [(int(i), int(distance[i].argmin())) for i in alone]
    for a, b in pairs:
        _say(f"{_named(regions, ids, a)} is linked with {_named(regions, ids, b)} (bridge, islands policy).")
    rows, cols = np.array(pairs).reshape(-1, 2).T
    weight = np.ones(len(pairs)) if strength is None else strength[rows, cols]
    links = sparse.csr_array((weight, (rows, cols)), shape=first.shape)
    joined = sparse.csr_array(first.maximum(links).maximum(links.T))
    policy = islands if isinstance(islands, str) else "bridges"
    return joined, {"islands": policy, "bridges": [[str(ids[a]), str(ids[b])] for a, b in pairs]}


def _up_to_order(first: sparse.csr_array, order: int) -> sparse.csr_array:
    reach = first
    for _ in range(order - 1):
        reach = sparse.csr_array(((reach + reach @ first) > 0).astype(float))
    reach = sparse.lil_array(reach)
    reach.setdiag(0)
    return sparse.csr_array(reach)


def _metres(regions: gpd.GeoDataFrame) -> gpd.GeoSeries:
    """Geometry in metres: a local equal-area projection unless the layer is projected already."""
    crs = _need_crs(regions)
    if crs.is_projected and crs.axis_info[0].unit_conversion_factor == 1:
        return regions.geometry
    return regions.geometry.to_crs(_local_equal_area(regions))


def _local_equal_area(regions: gpd.GeoDataFrame) -> str:
    west, south, east, north = regions.geometry.to_crs("EPSG:4326").total_bounds
    lat, lon = (south + north) / 2, (west + east) / 2
    return f"+proj=laea +lat_0={lat:.4f} +lon_0={lon:.4f} +ellps=GRS80 +units=m"


def _need_crs(regions: gpd.GeoDataFrame):
    if regions.crs is None:
        raise WeightsError(
            "The polygons have no coordinate reference system; set it, e.g. EPSG:4490 for Chinese data."
        )
    return regions.crs


def _ids(regions: gpd.GeoDataFrame) -> pd.Index:
    return text_ids(regions.index)


def _position(ids: pd.Index, unit: str) -> int:
    if unit not in ids:
        raise WeightsError(f"The bridge names unit {unit!r}, which is not among the polygons.")
    return int(ids.get_loc(unit))


def _named(regions: gpd.GeoDataFrame, ids: pd.Index, i: int) -> str:
    return f"{ids[i]} ({regions['name_en'].iloc[i]})" if "name_en" in regions else str(ids[i])


def _refuse_coincident(distance: np.ndarray, ids: pd.Index) -> None:
    i, j = np.nonzero(np.triu(distance == 0, 1))
    if len(i):
        pairs = [f"{ids[a]} and {ids[b]}" for a, b in zip(i, j, strict=True)]
        raise WeightsError(f"Units at the same point have no inverse distance: {listed(pairs, 5)}.")


def _say(message: str) -> None:
    warnings.warn(message, SpatialZbWarning, stacklevel=4)
