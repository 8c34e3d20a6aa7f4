"""Where polygons lie on a map and what they are called."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from spatial_zb.base.errors import AlignmentError, DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.text import Language, Text
from spatial_zb.report.drawing.style import words
from spatial_zb.weights.matrix import text_ids

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from pyproj import Transformer


#: CGCS2000, 3-degree Gauss-Krueger zone of 120° E: Zhejiang and the Yangtze River Delta.
DEFAULT_CRS = "EPSG:4549"
# Within these degrees of 120° E its scale error stays below half a per cent.
DEFAULT_CRS_REACH = 6.0
NAME_LIMIT = 30


def checked(regions: GeoDataFrame) -> GeoDataFrame:
    """Regions with text ids, in their own order; refuses what cannot be drawn by id."""
    out = regions.set_axis(unique_ids(regions.index))
    empty = out.index[out.geometry.isna() | out.geometry.is_empty]
    if len(empty):
        raise DataError(
            f"Regions without a geometry: {listed(empty)}. Repair or drop them before mapping.",
            f"有地区没有几何图形：{listed_zh(empty)}。请在绘图前修复或剔除。",
        )
    kinds = set(out.geom_type) - {"Polygon", "MultiPolygon"}
    if kinds:
        raise DataError(
            f"Maps need polygons; the regions hold {listed(sorted(kinds))}.",
            f"绘图须有多边形；底图中是{listed_zh(sorted(kinds))}。",
        )
    return out


def unique_ids(index: pd.Index) -> pd.Index:
    ids = text_ids(index)
    if ids.has_duplicates:
        raise AlignmentError(
            f"Unit ids occur twice: {listed(ids[ids.duplicated()].unique())}.",
            f"有重复的地区编码：{listed_zh(ids[ids.duplicated()].unique())}。",
        )
    return ids


def project(regions: GeoDataFrame, crs: Any = None) -> GeoDataFrame:
    """Give the regions in a projected CRS; see ``crs`` of :func:`choropleth`.

    Raises
    ------
    DataError
        The regions have no CRS.
    SpecificationError
        ``crs`` is not a CRS, or counts in degrees.
    """
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    if regions.crs is None:
        raise DataError(
            'The regions have no CRS; set it with regions.set_crs("EPSG:4490") before mapping.',
            '底图没有坐标参照系；请在绘图前用regions.set_crs("EPSG:4490")设定。',
        )
    if crs is None:
        return regions if regions.crs.is_projected else regions.to_crs(_suggested_crs(regions))
    try:
        wanted = CRS.from_user_input(crs)
    except CRSError as error:
        raise SpecificationError(
            f"{crs!r} is not a coordinate reference system: {error}", f"{crs!r}不是坐标参照系：{error}"
        ) from error
    if not wanted.is_projected:
        raise SpecificationError(
            f"A map needs a projected CRS such as {DEFAULT_CRS}; {crs!r} counts in degrees.",
            f"绘图须用投影坐标系，如{DEFAULT_CRS}；{crs!r}以度为单位。",
        )
    return regions.to_crs(wanted)


def _suggested_crs(regions: GeoDataFrame) -> str:
    west, south, east, north = regions.to_crs("EPSG:4326").total_bounds
    if max(abs(west - 120), abs(east - 120)) <= DEFAULT_CRS_REACH and south > 0:
        return DEFAULT_CRS
    return f"+proj=laea +lat_0={(south + north) / 2:.4f} +lon_0={(west + east) / 2:.4f} +ellps=GRS80 +units=m"


def thinned(shapes: GeoDataFrame, step: float) -> GeoDataFrame:
    """Polygons with no more vertices than a print of ``step`` metres a dot can show, and without specks.

    Borders that two polygons share stay shared (Visvalingam & Whyatt 1993, over all edges at once); the largest part of a
    unit always stays, others from one dot on.
    """
    import shapely

    geometry = shapely.coverage_simplify(shapes.geometry.to_numpy(), step)
    kept = [_without_specks(new, old, step**2) for new, old in zip(geometry, shapes.geometry, strict=True)]
    return shapes.set_geometry(kept, crs=shapes.crs)


def _without_specks(shape: Any, before: Any, least: float) -> Any:
    """A thinned shape without its smallest parts; as it was where nothing would be left."""
    from shapely import get_parts, multipolygons

    parts = [part for part in get_parts(shape) if part.area > 0]
    if not parts:
        return before
    large = [part for part in parts if part.area >= least] or [max(parts, key=lambda part: part.area)]
    return large[0] if len(large) == 1 else multipolygons(large)


#: Rough boxes (west, south, east, north) in degrees: maps whose middle lies in one of them are told of the review number.
CHINA = ((73.0, 28.0, 98.0, 49.0), (98.0, 18.0, 124.0, 42.5), (115.0, 41.0, 135.0, 53.6))


def in_china(shapes: GeoDataFrame) -> bool:
    """Whether the middle of a map lies roughly in China, where published maps carry a review number."""
    left, bottom, right, top = shapes.total_bounds
    lon, lat = _to_degrees(shapes.crs).transform((left + right) / 2, (bottom + top) / 2)
    return any(west <= lon <= east and south <= lat <= north for west, south, east, north in CHINA)


@functools.lru_cache(maxsize=8)
def _to_degrees(crs: Any) -> Transformer:
    """From a projection to degrees; making it takes 15 ms, and a study has one for dozens of maps."""
    from pyproj import Transformer

    return Transformer.from_crs(crs, "EPSG:4326", always_xy=True)


def north_angle(shapes: GeoDataFrame) -> float:
    """Angle of true north at the middle of the map, in radians clockwise from straight up."""
    left, bottom, right, top = shapes.total_bounds
    x, y = (left + right) / 2, (bottom + top) / 2
    there = _to_degrees(shapes.crs)
    lon, lat = there.transform(x, y)
    x1, y1 = there.transform(lon, min(lat + 0.01, 90.0), direction="INVERSE")
    return math.atan2(x1 - x, y1 - y)


def place_names(regions: GeoDataFrame, language: Language) -> dict[str, str]:
    """Names by id in one language; the other language, then the id, where a name is missing.

    "市" is left off where all Chinese names end in it, as on printed maps.
    """
    columns = [f"name_{language}", "name_zh", "name_en"]
    given = regions[[column for column in dict.fromkeys(columns) if column in regions.columns]]
    names = given.bfill(axis=1).iloc[:, 0] if given.shape[1] else pd.Series(regions.index, regions.index)
    names = names.fillna(pd.Series(regions.index, regions.index)).astype(str)
    if all(name.endswith("市") and len(name) > 2 for name in names):
        names = names.str[:-1]
    return {unit: words(name, language, NAME_LIMIT) or str(unit) for unit, name in names.items()}


def label_point(shape: Any):
    """Middle of the largest circle in the largest part: inside even where the centroid is not."""
    from shapely import get_parts
    from shapely.ops import polylabel

    largest = max(get_parts(shape), key=lambda part: part.area)
    return polylabel(largest, tolerance=math.sqrt(largest.area) / 50)


# Names of provinces by the words of the polygon layers, so that an English map has no Chinese on it.
PROVINCES = {
    zh: Text(en, zh.removesuffix("省").removesuffix("市"))
    for zh, en in {
        "北京市": "Beijing",
        "天津市": "Tianjin",
        "河北省": "Hebei",
        "山西省": "Shanxi",
        "内蒙古自治区": "Inner Mongolia",
        "辽宁省": "Liaoning",
        "吉林省": "Jilin",
        "黑龙江省": "Heilongjiang",
        "上海市": "Shanghai",
        "江苏省": "Jiangsu",
        "浙江省": "Zhejiang",
        "安徽省": "Anhui",
        "福建省": "Fujian",
        "江西省": "Jiangxi",
        "山东省": "Shandong",
        "河南省": "Henan",
        "湖北省": "Hubei",
        "湖南省": "Hunan",
        "广东省": "Guangdong",
        "广西壮族自治区": "Guangxi",
        "海南省": "Hainan",
        "重庆市": "Chongqing",
        "四川省": "Sichuan",
        "贵州省": "Guizhou",
        "云南省": "Yunnan",
        "西藏自治区": "Tibet",
        "陕西省": "Shaanxi",
        "甘肃省": "Gansu",
        "青海省": "Qinghai",
        "宁夏回族自治区": "Ningxia",
        "新疆维吾尔自治区": "Xinjiang",
        "香港特别行政区": "Hong Kong",
        "澳门特别行政区": "Macao",
        "台湾省": "Taiwan",
    }.items()
}
