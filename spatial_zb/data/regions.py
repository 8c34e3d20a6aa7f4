"""Polygons, read and checked, indexed by string id."""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from spatial_zb.base.errors import AlignmentError, DataError, listed, listed_zh
from spatial_zb.base.notes import warn
from spatial_zb.base.text import Text, shown_path
from spatial_zb.data.read import check_layer_kind, dbf_length

if TYPE_CHECKING:
    import geopandas as gpd


#: Parts that overlap by less than this share of the smaller unit touch, up to the rounding of a reprojection.
TOUCH = 1e-6


#: A coordinate beyond this, in metres or feet, is on no map of the earth.
FARTHEST = 1e9


def read_regions(
    path: str | Path | Sequence[str | Path], id: str = "adcode", *, crs: str | None = None
) -> gpd.GeoDataFrame:
    """Read a polygon layer, or the parts of one, and index it by unit id.

    Parameters
    ----------
    path
        A shapefile, GeoPackage or GeoJSON file on this machine; or several, such as one for each province, which
        :func:`join_regions` lays side by side.
    id
        Column of the unit ids; they are kept as text, so that leading zeros stay.
    crs
        Code of the reference system of layers that name none, such as ``"EPSG:4326"`` for a shapefile without its .prj.

    Returns
    -------
    GeoDataFrame indexed by string ids, in the order of the file.

    Raises
    ------
    DataError
        The file is missing or unreadable, has no such column, no coordinate reference system, no polygon, a
        point or line, an empty geometry, coordinates that look like swapped latitude and longitude, or the
        same id twice; a layer names another system than ``crs``, or ``crs`` is no code of one.
    """
    if isinstance(path, str | Path):
        return _read_layer(Path(path), id, crs)
    return _joined([(Path(part).name, _read_layer(Path(part), id, crs)) for part in path])


def read_layer(path: Path) -> gpd.GeoDataFrame:
    """Read a polygon file as it is: without an index, and its reference system may be missing.

    Raises
    ------
    DataError
        The file is missing, of another kind, damaged, or holds no geometry.
    """
    import geopandas

    if str(path).startswith(("/vsi", "http:", "https:")) or not os.path.isfile(
        path
    ):  # is_file raises if it is too long
        raise DataError(
            f"There is no polygon file {shown_path(path)}. Give the path of a .shp, .gpkg or .geojson file on this machine.",
            f"没有底图文件{shown_path(path)}。请给出本机.shp、.gpkg或.geojson文件的路径。",
        )
    check_layer_kind(path)
    _check_parts(path)
    try:
        with _with_index(path) as whole:
            layer = geopandas.read_file(whole, **_encoding(path))
    except Exception as error:  # GDAL raises many kinds; all of them mean the same to the user
        raise DataError(
            f"{path.name} cannot be read as polygons: {str(error).partition(';')[0]}. Export it again from its source.",
            f"{path.name}无法按多边形读取：{str(error).partition(';')[0]}。请从来源重新导出。",
        ) from error
    if not isinstance(layer, geopandas.GeoDataFrame):
        raise DataError(
            f"{path.name} holds no geometry. Give a polygon layer.",
            f"{path.name}不含几何图形。请给出多边形图层。",
        )
    return layer


def with_system(layer: gpd.GeoDataFrame, name: str, crs: str) -> gpd.GeoDataFrame:
    """A layer that names no reference system, in the one that is said; one that names another is refused."""
    from pyproj import CRS

    try:
        said = CRS.from_user_input(crs)
    except Exception:  # pyproj raises kinds of its own
        raise DataError(
            f"{crs!r} is no code of a coordinate reference system, such as EPSG:4326.",
            f"{crs!r}不是坐标系代码，如EPSG:4326。",
        ) from None
    if layer.crs is not None and not layer.crs.equals(said, ignore_axis_order=True):
        raise DataError(
            f"{name} is in {layer.crs.name!r} by its own words, not in {crs} ({said.name}): leave crs out, or correct the "
            "file.",
            f"{name}自带的坐标系为{layer.crs.name!r}，而不是{crs}（{said.name}）：请删去crs，或更正文件。",
        )
    return layer if layer.crs is not None else layer.set_crs(said)


def _read_layer(path: Path, id: str, crs: str | None) -> gpd.GeoDataFrame:
    layer = read_layer(path)
    layer = layer if crs is None else with_system(layer, path.name, crs)
    if id not in layer and path.suffix.lower() == ".shp" and len(id) > 10 and id[:10] in layer:
        warn(
            f"{path.name}: a shapefile keeps ten characters of a name; {id!r} was read from {id[:10]!r}.",
            f"{path.name}：shapefile的字段名只保留前10个字符，{id!r}取自{id[:10]!r}。",
        )
        layer = layer.rename(columns={id[:10]: id})
    if id not in layer:
        columns = listed(c for c in layer.columns if c != "geometry")
        raise DataError(
            f"{path.name} has no column {id!r}; it has {columns}. Name the id column with id=.",
            f"{path.name}没有{id!r}列；现有{columns}。请用id指明地区编码所在的列。",
        )
    layer = layer.set_index(_ids_as_text(layer[id], path.name)).drop(columns=id)
    layer.index.name = id
    return _checked(layer, path.name)


def join_regions(parts: Sequence[gpd.GeoDataFrame]) -> gpd.GeoDataFrame:
    """Lay polygon layers side by side, in the reference system of the first.

    A layer in another system is reprojected, with a warning; borders that met do so up to rounding, which
    contiguity tolerates.

    Parameters
    ----------
    parts
        Layers indexed by unit id, such as those of :func:`read_regions`.

    Raises
    ------
    DataError
        No layer, a layer without reference system, or an id in two of them.
    """
    return _joined([(f"Layer {number}", part) for number, part in enumerate(parts, start=1)])


def select_regions(
    regions: gpd.GeoDataFrame, ids: Sequence[str] | None = None, *, within: gpd.GeoDataFrame | None = None
) -> gpd.GeoDataFrame:
    """Keep the named units, those inside an outline, or those for which both hold, in the order of the layer.

    Parameters
    ----------
    ids
        Ids of units; all without it.
    within
        Another layer, such as the outline of a province: a unit is inside when a point in its interior is. An
        outline in another reference system is reprojected, with a warning.

    Raises
    ------
    AlignmentError
        An id that is not in the layer.
    DataError
        A layer without reference system, or an outline in which no unit lies.
    """
    chosen = regions.index if ids is None else pd.Index(ids)
    missing = chosen.difference(regions.index)
    if len(missing):
        raise AlignmentError(
            f"{len(missing)} unit(s) are not among the polygons: {listed(missing)}.",
            f"{len(missing)}个地区不在底图中：{listed_zh(missing)}。",
        )
    kept = regions.loc[regions.index.isin(chosen)]
    if within is None:
        return kept
    outline = _in_system_of(regions, within, "The outline").geometry.union_all()
    inside = kept.representative_point().within(outline)
    if not inside.any():
        raise DataError(
            "No unit lies inside the outline. Do the two layers show the same place, in the reference systems "
            f"they name ({regions.crs.name}; {within.crs.name})?",
            f"没有地区落在轮廓之内。两个图层是否为同一地方，且坐标系如其所述（{regions.crs.name}；{within.crs.name}）？",
        )
    return kept[inside]


def _joined(parts: Sequence[tuple[str, gpd.GeoDataFrame]]) -> gpd.GeoDataFrame:
    if not parts:
        raise DataError("There is no layer to join. Give at least one.", "没有可合并的图层。请至少给出一个。")
    same = [_in_system_of(parts[0][1], part, name) for name, part in parts]
    whole = pd.concat(same)
    twice = whole.index[whole.index.duplicated()].unique()
    if len(twice):
        raise DataError(
            f"More than one of {listed(name for name, _ in parts)} has polygons for {listed(twice)}. "
            "Keep each unit in one of them.",
            f"{listed_zh(name for name, _ in parts)}中有不止一个图层含{listed_zh(twice)}的多边形。"
            "每个地区请只保留在一个图层中。",
        )
    _mention_overlaps(same)
    return whole


def _in_system_of(first: gpd.GeoDataFrame, other: gpd.GeoDataFrame, name: str) -> gpd.GeoDataFrame:
    """``other`` in the reference system of ``first``; a change is said."""
    both = ((Text("The first layer", "第一个图层"), first), (Text.of(name), other))
    bare = dict.fromkeys(what for what, layer in both if layer.crs is None)
    if bare:
        raise DataError(
            f"{listed(what.en for what in bare)} has no coordinate reference system, so it cannot be laid over "
            "another. Set it, e.g. layer.set_crs(4490).",
            f"{listed_zh(what.zh for what in bare)}没有坐标参照系，无法与另一图层叠放。请设定，如layer.set_crs(4490)。",
        )
    if other.crs == first.crs:
        return other
    warn(
        f"{name} is in {other.crs.name}; it was reprojected to {first.crs.name}, that of the first layer.",
        f"{name}的坐标系为{other.crs.name}，已转换为第一个图层的{first.crs.name}。",
    )
    return other.to_crs(first.crs)


def _mention_overlaps(parts: Sequence[gpd.GeoDataFrame]) -> None:
    """Warn of units of different parts that lie over each other."""
    import shapely

    pairs = []
    for number, part in enumerate(parts):
        for later in parts[number + 1 :]:
            left, right = later.sindex.query(part.geometry, predicate="intersects")
            a, b = part.geometry.to_numpy()[left], later.geometry.to_numpy()[right]
            common = shapely.area(shapely.intersection(a, b))
            large = common > TOUCH * np.minimum(shapely.area(a), shapely.area(b))
            pairs += [
                f"{part.index[i]} and {later.index[j]}"
                for i, j in zip(left[large], right[large], strict=True)
            ]
    if pairs:
        warn(
            f"Polygons of different layers overlap: {listed(pairs)}. Was a unit drawn in two of them?",
            f"不同图层的多边形相互重叠：{listed_zh(pairs)}。是否有地区在两个图层中重复绘制？",
        )


def _check_parts(path: Path) -> None:
    """A shapefile needs its .dbf, and both must be as long as their headings say."""
    if path.suffix.lower() != ".shp":
        return
    table = _part(path, ".dbf")
    if table is None:
        raise DataError(
            f"{path.name} comes without its .dbf file, which holds the ids. Copy all parts of the shapefile.",
            f"{path.name}缺少.dbf文件，地区编码在其中。请复制shapefile的全部组成文件。",
        )
    with path.open("rb") as stream:
        head = stream.read(28)
    expected = 2 * struct.unpack(">i", head[24:28])[0] if len(head) == 28 else 100
    for part, least in ((path, expected), (table, dbf_length(table.read_bytes()[:12]))):
        size = part.stat().st_size
        if size < least:
            raise DataError(
                f"{part.name} is cut off: {size} of {least} bytes. Copy the shapefile again.",
                f"{part.name}被截断：{size}字节，应有{least}字节。请重新复制shapefile。",
            )


def _part(path: Path, suffix: str) -> Path | None:
    found = [path.with_suffix(s) for s in (suffix, suffix.upper()) if path.with_suffix(s).is_file()]
    return found[0] if found else None


def _encoding(path: Path) -> dict[str, str]:
    """The encoding of a .dbf that comes without a .cpg, as its bytes tell."""
    table = _part(path, ".dbf") if path.suffix.lower() == ".shp" else None
    if table is None or _part(path, ".cpg") is not None:
        return {}
    content = table.read_bytes()
    text = content[struct.unpack("<H", content[8:10])[0] :]
    if text.isascii():
        return {}
    for encoding in ("utf-8", "gb18030"):
        try:
            text.decode(encoding)
        except UnicodeDecodeError:
            continue
        warn(
            f"{path.name} comes without a .cpg file; its names were read as {encoding.upper()}.",
            f"{path.name}没有.cpg文件，其中文字按{encoding.upper()}读取。",
        )
        return {"encoding": encoding}
    raise DataError(
        f"The names in {table.name} are neither UTF-8 nor GB18030. Add a .cpg file that says which.",
        f"{table.name}中的名称既不是UTF-8也不是GB18030。请加一个.cpg文件说明编码。",
    )


@contextmanager
def _with_index(path: Path) -> Iterator[Path]:
    """The path of a shapefile that has its .shx; a lost one is made again in a copy, not beside the original."""
    if path.suffix.lower() != ".shp" or _part(path, ".shx") is not None:
        yield path
        return
    import pyogrio

    warn(
        f"{path.name} comes without its .shx file, which was made again for reading.",
        f"{path.name}缺少.shx文件，读取时已临时重建。",
    )
    with tempfile.TemporaryDirectory() as folder:
        for part in path.parent.glob(f"{path.stem}.*"):
            shutil.copy(part, folder)
        before = pyogrio.get_gdal_config_option("SHAPE_RESTORE_SHX")
        pyogrio.set_gdal_config_options({"SHAPE_RESTORE_SHX": "YES"})
        try:
            yield Path(folder) / path.name
        finally:
            pyogrio.set_gdal_config_options({"SHAPE_RESTORE_SHX": before})


def _ids_as_text(column: pd.Series, name: str) -> pd.Index:
    blank = column.isna() | (column.astype(str).str.strip() == "")
    if blank.any():
        raise DataError(
            f"{name} has {int(blank.sum())} polygon(s) without an id in column {column.name!r}. "
            "Give them ids or remove them.",
            f"{name}有{int(blank.sum())}个多边形在列{column.name!r}中没有编码。请补上编码或删去这些多边形。",
        )
    if pd.api.types.is_float_dtype(column):
        if (column % 1 != 0).any():
            raise DataError(
                f"The ids in column {column.name!r} of {name} are not whole numbers.",
                f"{name}的列{column.name!r}中的编码不是整数。",
            )
        warn(
            f"The ids in column {column.name!r} of {name} are stored as decimals; read as whole numbers.",
            f"{name}中{column.name!r}列的编码存为小数，已按整数读取。",
        )
        column = column.astype("int64")
    text = column.astype(str).str.strip()
    if text.duplicated().any():
        twice = listed(text[text.duplicated()].unique())
        raise DataError(
            f"{name} has more than one polygon for {twice}. Dissolve the layer by its id first.",
            f"{name}中{twice}有多个多边形。请先按编码融合（dissolve）。",
        )
    return pd.Index(text.to_numpy(), dtype=str)


def _checked(layer: gpd.GeoDataFrame, name: str) -> gpd.GeoDataFrame:
    import shapely

    if layer.crs is None:
        guess = _guess_crs(layer)
        raise DataError(
            f"{name} has no coordinate reference system (its .prj file is missing or not understood). "
            f"{guess.en} Write it into the file, or say it: crs of read_regions, [regions] crs of a study.",
            f"{name}没有坐标系（缺少.prj文件，或其内容无法识别）。{guess.zh}请写入文件，或以read_regions的crs、"
            "研究文件[regions]的crs说明。",
        )
    empty = layer.geometry.isna() | layer.geometry.is_empty
    if empty.any():
        raise DataError(
            f"{name} has no geometry for {listed(layer.index[empty])}. Remove or mend these rows.",
            f"{name}中{listed_zh(layer.index[empty])}没有几何图形。请删去或修复这些行。",
        )
    other = ~layer.geom_type.isin(["Polygon", "MultiPolygon"])
    if other.any():
        raise DataError(
            f"{name} has {listed(layer.geom_type[other].unique())} where polygons are needed: {listed(layer.index[other])}.",
            f"{name}应为多边形，却有{listed_zh(layer.geom_type[other].unique())}：{listed_zh(layer.index[other])}。",
        )
    far = layer.bounds.abs().max(axis=1, skipna=False)
    outside = ~(far <= (360 if layer.crs.is_geographic else FARTHEST))
    if outside.any():
        unit, size = layer.index[outside][0], far[outside].iloc[0]
        raise DataError(
            f"{name}: {unit} has a coordinate of size {size:.3g}, which is nowhere on the earth in {layer.crs.name!r}. Mend "
            "its polygon, or write the right reference system into the file.",
            f"{name}：{unit}的坐标达{size:.3g}，在{layer.crs.name!r}中不在地球上。请修正该多边形，或在文件中写入正确的坐标系。",
        )
    west, south, east, north = layer.total_bounds
    if layer.crs.is_geographic and (south < -90 or north > 90):
        raise DataError(
            f"Coordinates of {name} run to latitude {max(north, -south):.1f}: latitude and longitude are swapped.",
            f"{name}的纬度达到{max(north, -south):.1f}：经度与纬度颠倒了。",
        )
    if "China" in (layer.crs.name or "") and layer.crs.is_geographic and 15 < west < east < 56 and south > 70:
        raise DataError(
            f"Coordinates of {name} run from {south:.1f} to {north:.1f} in latitude, outside China: latitude and "
            "longitude are swapped.",
            f"{name}的纬度坐标为{south:.1f}至{north:.1f}，在中国之外：经纬度颠倒了。",
        )
    geometry = layer.geometry
    if geometry.has_z.any():
        geometry = geometry.force_2d()
    broken = ~geometry.is_valid
    if broken.any():
        warn(
            f"{name}: the borders of {listed(layer.index[broken])} cross themselves and were mended (make_valid).",
            f"{name}：{listed_zh(layer.index[broken])}的边界自相交，已修复（make_valid）。",
        )
        geometry = geometry.where(~broken, geometry.make_valid().map(_polygons_of))
    if not shapely.coverage_is_valid(geometry.to_numpy()):
        bad = ~shapely.is_empty(shapely.coverage_invalid_edges(geometry.to_numpy()))
        warn(
            f"{name}: borders of {listed(layer.index[bad])} overlap or leave gaps; contiguity tolerates up to a metre.",
            f"{name}：{listed_zh(layer.index[bad])}的边界有重叠或缝隙；判断邻接时容许一米以内的偏差。",
        )
    return layer.set_geometry(geometry)


def _polygons_of(shape):
    """The polygons of a mended shape, without the lines and points that mending may leave."""
    import shapely

    parts = [part for part in shapely.get_parts(shape) if part.geom_type in ("Polygon", "MultiPolygon")]
    return shape if shape.geom_type in ("Polygon", "MultiPolygon") else shapely.union_all(parts)


def _guess_crs(layer: gpd.GeoDataFrame) -> Text:
    west, south, east, north = layer.total_bounds
    if west >= -180 and east <= 180 and south >= -90 and north <= 90:
        return Text(
            "Its coordinates look like degrees: EPSG:4490 (CGCS2000) for Chinese sources, EPSG:4326 (WGS 84) for others.",
            "坐标似为经纬度：中国资料多为EPSG:4490（CGCS2000），其他多为EPSG:4326（WGS 84）。",
        )
    return Text(
        "Its coordinates are not degrees; ask the source which projection was used.",
        "坐标不是经纬度，请向资料来源核实投影。",
    )
