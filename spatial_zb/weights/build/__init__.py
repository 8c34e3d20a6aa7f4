"""Builders of weights, and what they share: units of a layer, distances between them, memory, the final checks.

Every builder has the same shape. What becomes of islands stands in ``islands``; reading and writing files is next door.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.base.errors import AlignmentError, WeightsError, listed, listed_zh, not_one_of
from spatial_zb.base.notes import warn
from spatial_zb.base.text import Text
from spatial_zb.weights.matrix import Weights, text_ids

if TYPE_CHECKING:
    import geopandas as gpd


Metric = Literal["geodesic", "projected"]
ELLIPSOID = "GRS80"
#: A straight line through the earth is never longer than the way around; the search radius covers rounding.
RADIUS_MARGIN = 1 + 1e-9
#: Candidates beyond k at first: their order on the ellipsoid may differ from that of the straight lines.
SPARE_NEIGHBOURS = 8
#: A builder that would need more memory than this is refused before it starts.
LIMIT_BYTES = 2 * 1024**3
#: Peak bytes per link while a matrix is built: positions, distance, weight, and their copies in csr.
BYTES_PER_LINK = 64


def finish(
    matrix: sparse.csr_array,
    ids: pd.Index,
    label: str,
    recipe: Mapping[str, Any],
    *,
    groups: bool = False,
) -> Weights:
    """Make the Weights, and say what a reader must know: separate components, weights all equal.

    ``groups=True``: separate components are what was asked for, so nothing is said about them.
    """
    weights = Weights(matrix, ids, label, recipe=recipe)
    linked = weights.components[~weights.ids.isin(weights.islands)]
    sizes = linked.value_counts()
    if len(sizes) > 1 and not groups:
        parts = [(size, linked.index[linked == c][0]) for c, size in sizes.sort_index().items()]
        en = listed((f"{size} unit(s) around {unit}" for size, unit in parts), 5)
        zh = listed_zh((f"{unit}所在的{size}个地区" for size, unit in parts), 5)
        warn(
            f"Weights {label!r} fall into {len(sizes)} components without a link between them: {en}.",
            f"权重矩阵{label!r}分为{len(sizes)}个互不相连的部分：{zh}。",
        )
    if weights.all_equal and weights.n > 2:
        warn(
            f"Weights {label!r} link every unit with every other equally, so rho is not identified "
            "where a constant or time effects are in the model. Use a cut-off, fewer neighbours, or distances.",
            f"权重矩阵{label!r}中任意两个地区的权重都相同，模型含常数项或时间效应时ρ不可识别。请设距离上限、减少邻居数，或按距离赋权。",
        )
    return weights


def layer_ids(regions: gpd.GeoDataFrame) -> pd.Index:
    """Ids of a layer as text, once each; its geometry must be there.

    Raises
    ------
    AlignmentError
        Ids that are not text, or repeated.
    WeightsError
        Not a layer, a layer without units, a unit without geometry.
    """
    if not hasattr(regions, "geometry") or not hasattr(regions, "crs"):
        raise WeightsError(
            f"Weights are built from a GeoDataFrame indexed by unit id, not from a {type(regions).__name__}.",
            f"权重矩阵由以地区编码为索引的GeoDataFrame构建，而不是{type(regions).__name__}。",
        )
    ids = text_ids(regions.index)
    if ids.has_duplicates:
        raise AlignmentError(
            f"The layer has more than one polygon for {listed(ids[ids.duplicated()].unique())}. "
            "Dissolve it by id first.",
            f"图层中{listed_zh(ids[ids.duplicated()].unique())}有不止一个多边形。请先按编码合并。",
        )
    if len(ids) < 2:
        raise WeightsError(
            f"Weights need at least two units; the layer has {len(ids)}.",
            f"权重矩阵至少需要两个地区；图层中只有{len(ids)}个。",
        )
    empty = (regions.geometry.isna() | regions.geometry.is_empty).to_numpy()
    if empty.any():
        raise WeightsError(
            f"There is no geometry for {listed(ids[empty])}. Remove or mend these rows.",
            f"{listed_zh(ids[empty])}没有几何图形。请删去或修复这些行。",
        )
    return ids


def need_crs(regions: gpd.GeoDataFrame):
    """The coordinate reference system of a layer; without one no length means anything."""
    if regions.crs is None:
        raise WeightsError(
            "The polygons have no coordinate reference system; set it, e.g. EPSG:4490 for Chinese data.",
            "底图没有坐标参照系；请设定，中国数据如EPSG:4490。",
        )
    return regions.crs


def named(regions: gpd.GeoDataFrame | None, ids: pd.Index, i: int) -> Text:
    """A unit as messages call it: its id, and its name where the layer has one."""
    if regions is None or "name_en" not in regions:
        return Text.of(str(ids[i]))
    name = Text(*(regions[c if c in regions else "name_en"].iloc[i] for c in ("name_en", "name_zh")))
    return Text(f"{ids[i]} ({name.en})", f"{ids[i]}（{name.zh}）")


def need_memory(links: float, what: Text, remedy: Text) -> None:
    """Refuse a matrix of ``links`` stored weights that would not fit, before it is built."""
    needed = links * BYTES_PER_LINK
    if needed > LIMIT_BYTES:
        raise WeightsError(
            f"{what.en} would hold {links:,.0f} weights and need about {needed / 1024**3:.1f} GB of memory; "
            f"the limit is {LIMIT_BYTES / 1024**3:.1f} GB. {remedy.en}",
            f"{what.zh}共有{links:,.0f}个权重，约需内存{needed / 1024**3:.1f} GB，上限为{LIMIT_BYTES / 1024**3:.1f} GB。"
            f"{remedy.zh}",
        )


def unit_values(values: pd.Series, what: Text, *, positive: bool = False) -> pd.Series:
    """Check one number per unit: a Series of finite floats indexed by text ids.

    Raises
    ------
    WeightsError
        Not a Series, text, blank or infinite numbers, with ``positive`` also numbers not above zero.
    AlignmentError
        Ids that are not text, or repeated.
    """
    if not isinstance(values, pd.Series):
        raise WeightsError(
            f"{what.en} needs a Series indexed by unit id, not a {type(values).__name__}.",
            f"{what.zh}需要以地区编码为索引的Series，而不是{type(values).__name__}。",
        )
    ids = text_ids(values.index)
    if ids.has_duplicates:
        raise AlignmentError(
            f"{what.en}: units named twice: {listed(ids[ids.duplicated()].unique())}.",
            f"{what.zh}：有重复的地区：{listed_zh(ids[ids.duplicated()].unique())}。",
        )
    try:
        numbers = pd.Series(values.to_numpy(dtype=float, na_value=np.nan), index=ids, name=values.name)
    except (TypeError, ValueError):
        raise WeightsError(
            f"{what.en}: {values.name or 'the variable'} is not numeric. Convert it to numbers first.",
            f"{what.zh}：{values.name or '变量'}不是数值。请先转为数值。",
        ) from None
    wrong = ~np.isfinite(numbers.to_numpy())
    if wrong.any():
        raise WeightsError(
            f"{what.en}: no finite value of {values.name or 'the variable'} for {listed(ids[wrong])}. "
            "Fill them, or leave these units out.",
            f"{what.zh}：{values.name or '变量'}在{listed_zh(ids[wrong])}没有有限的数值。请填补，或剔除这些地区。",
        )
    if positive and (numbers <= 0).any():
        raise WeightsError(
            f"{what.en}: {values.name or 'the variable'} must be positive, but is not for "
            f"{listed(ids[(numbers <= 0).to_numpy()])}. Use a variable in levels, not in logs or differences.",
            f"{what.zh}：{values.name or '变量'}须为正，但在{listed_zh(ids[(numbers <= 0).to_numpy()])}不为正。"
            "请用水平值，不要用对数或差分。",
        )
    return numbers


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


def local_equal_area(regions: gpd.GeoDataFrame) -> str:
    """An equal-area projection centred on the layer."""
    west, south, east, north = regions.geometry.to_crs("EPSG:4326").total_bounds
    lat, lon = (south + north) / 2, (west + east) / 2
    return f"+proj=laea +lat_0={lat:.4f} +lon_0={lon:.4f} +ellps={ELLIPSOID} +units=m"


def _earth_centred(lonlat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cartesian coordinates (n, 3), in metres, of points on the ellipsoid."""
    from pyproj import Geod

    geod = Geod(ellps=ELLIPSOID)
    lon, lat = np.radians(lonlat).T
    normal = geod.a / np.sqrt(1 - geod.es * np.sin(lat) ** 2)
    flat = normal * np.cos(lat)
    return np.column_stack([flat * np.cos(lon), flat * np.sin(lon), normal * (1 - geod.es) * np.sin(lat)])
