"""Distances between units in kilometres, on the ellipsoid or on the layer's own projection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.base.errors import WeightsError, listed, listed_zh, not_one_of
from spatial_zb.base.text import Text
from spatial_zb.weights.build import layer_ids, need_crs, need_memory

if TYPE_CHECKING:
    import geopandas as gpd


Metric = Literal["geodesic", "projected"]
ELLIPSOID = "GRS80"
#: A straight line through the earth is never longer than the way around; the search radius covers rounding.
RADIUS_MARGIN = 1 + 1e-9
#: Candidates beyond k at first: their order on the ellipsoid may differ from that of the straight lines.
SPARE_NEIGHBOURS = 8


class Links(NamedTuple):
    """Unordered pairs of units by position, i < j, and their distance in kilometres; each (m,)."""

    i: NDArray[np.intp]
    j: NDArray[np.intp]
    km: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Places:
    """Centroids of n units.

    ``points`` (n, 3 or 2) in metres serve the search: earth-centred for geodesic distances, projected else.
    ``lonlat`` (n, 2) in degrees, or None for projected distances. ``rank`` (n,) is the order of the ids: a
    distance is always computed from the lower id, so that it does not depend on the order of the rows.
    """

    points: NDArray[np.float64]
    lonlat: NDArray[np.float64] | None
    rank: NDArray[np.intp]

    @property
    def n(self) -> int:
        """Number of units."""
        return len(self.points)

    def km(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.float64]:
        """Distances between units i and j (positions of equal length)."""
        swap = self.rank[i] > self.rank[j]
        a, b = np.where(swap, j, i), np.where(swap, i, j)
        if self.lonlat is None:
            return np.hypot(*(self.points[a] - self.points[b]).T) / 1000
        from pyproj import Geod

        lon, lat = self.lonlat.T
        return Geod(ellps=ELLIPSOID).inv(lon[a], lat[a], lon[b], lat[b])[2] / 1000

    def all_pairs(self, remedy: Text) -> Links:
        """Every pair; refused where that does not fit into memory."""
        need_memory(
            self.n * (self.n - 1),
            Text(f"A full matrix of {self.n:,} units", f"{self.n:,}个地区的完整矩阵"),
            remedy,
        )
        i, j = np.triu_indices(self.n, 1)
        return Links(i, j, self.km(i, j))

    def within(self, km: float) -> Links:
        """Pairs at most ``km`` apart."""
        tree, radius = self._tree(), km * 1000 * RADIUS_MARGIN
        what = Text(
            f"Links up to {km:g} km between {self.n:,} units", f"{self.n:,}个地区间{km:g}公里以内的联系"
        )
        need_memory(
            tree.count_neighbors(tree, radius),
            what,
            Text("Use a smaller cut-off or knn.", "请缩小距离界限，或用knn。"),
        )
        i, j = tree.query_pairs(radius, output_type="ndarray").T
        distance = self.km(i, j)
        keep = distance <= km
        return Links(i[keep], j[keep], distance[keep])

    def nearest(self, k: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Positions (n, k) of the k nearest units and their distances in kilometres; ties go to the lower id."""
        chosen, km = np.empty((self.n, k), dtype=np.intp), np.empty((self.n, k))
        rows, count = np.arange(self.n), min(self.n, k + 1 + SPARE_NEIGHBOURS)
        what = Text(f"The {k} nearest neighbours of {self.n:,} units", f"{self.n:,}个地区各{k}个最近邻")
        tree = self._tree()
        while len(rows):
            need_memory(len(rows) * count, what, Text("Use a smaller k.", "请减小k。"))
            straight, found = (part.reshape(-1, count) for part in tree.query(self.points[rows], k=count))
            own = np.broadcast_to(rows[:, None], found.shape)
            distance = self.km(own.ravel(), found.ravel()).reshape(found.shape)
            distance[found == own] = np.inf
            order = np.lexsort((self.rank[found], distance), axis=1)[:, :k]
            chosen[rows], km[rows] = (np.take_along_axis(part, order, 1) for part in (found, distance))
            # Who is no candidate is farther than the straight line to the last one, so nobody nearer or tied is left out.
            unsure = straight[:, -1] <= km[rows, -1] * 1000 * RADIUS_MARGIN
            rows = rows[unsure] if count < self.n else rows[:0]
            count = min(self.n, 2 * count)
        return chosen, km

    def _tree(self) -> Any:
        from scipy.spatial import cKDTree

        return cKDTree(self.points)


def places(regions: gpd.GeoDataFrame, metric: Metric = "geodesic") -> Places:
    """Centroids of a layer, ready to be measured between.

    Raises
    ------
    WeightsError
        An unknown metric, no CRS, or ``"projected"`` for a layer whose coordinates are not metres.
    """
    ids, crs = layer_ids(regions), need_crs(regions)
    rank = np.empty(len(ids), dtype=np.intp)
    rank[np.argsort(ids.to_numpy(dtype=object))] = np.arange(len(ids))
    if metric == "projected":
        if not (crs.is_projected and crs.axis_info[0].unit_conversion_factor == 1):
            raise WeightsError(
                f"The layer is in {crs.name}, whose coordinates are not metres. Project it first "
                '(regions.to_crs("EPSG:4549")), or measure on the ellipsoid (metric="geodesic").',
                f'图层的坐标系为{crs.name}，坐标不以米为单位。请先投影（regions.to_crs("EPSG:4549")），'
                '或按椭球面量距（metric="geodesic"）。',
            )
        centroids = regions.geometry.centroid
        return Places(np.column_stack([centroids.x, centroids.y]), None, rank)
    if metric != "geodesic":
        raise not_one_of("metric", metric, ("geodesic", "projected"), kind=WeightsError)
    centroids = regions.geometry.to_crs(local_equal_area(regions)).centroid.to_crs("EPSG:4326")
    lonlat = np.column_stack([centroids.x, centroids.y])
    return Places(_earth_centred(lonlat), lonlat, rank)


def distances_km(regions: gpd.GeoDataFrame, metric: Metric = "geodesic") -> np.ndarray:
    """Distances between centroids, (n, n), in kilometres.

    Centroids are taken on an equal-area projection of the layer, distances on the ellipsoid, so that no
    degree is ever taken for a length; ``metric="projected"`` takes both on the layer's own projection.
    """
    measured = places(regions, metric).all_pairs(
        Text("Measure within a cut-off instead.", "请改为在距离界限内量取。")
    )
    out = np.zeros((len(regions),) * 2)
    out[measured.i, measured.j] = measured.km
    return out + out.T


def local_equal_area(regions: gpd.GeoDataFrame) -> str:
    """An equal-area projection centred on the layer."""
    west, south, east, north = regions.geometry.to_crs("EPSG:4326").total_bounds
    lat, lon = (south + north) / 2, (west + east) / 2
    return f"+proj=laea +lat_0={lat:.4f} +lon_0={lon:.4f} +ellps={ELLIPSOID} +units=m"


def refuse_coincident(links: Links, ids: pd.Index, what: Text) -> None:
    """Refuse pairs at distance zero, by name."""
    at = np.flatnonzero(links.km == 0)
    if len(at):
        pairs = [f"{ids[links.i[m]]} and {ids[links.j[m]]}" for m in at]
        raise WeightsError(
            f"Units at the same point have no {what.en}: {listed(pairs, 5)}. Merge them, or use a band.",
            f"位于同一点的地区没有{what.zh}：{listed_zh(pairs, 5)}。请合并，或用距离带。",
        )


def _earth_centred(lonlat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cartesian coordinates (n, 3), in metres, of points on the ellipsoid."""
    from pyproj import Geod

    geod = Geod(ellps=ELLIPSOID)
    lon, lat = np.radians(lonlat).T
    normal = geod.a / np.sqrt(1 - geod.es * np.sin(lat) ** 2)
    flat = normal * np.cos(lat)
    return np.column_stack([flat * np.cos(lon), flat * np.sin(lon), normal * (1 - geod.es) * np.sin(lat)])
