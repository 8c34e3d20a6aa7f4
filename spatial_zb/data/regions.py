"""Polygons, read and checked, indexed by string id."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from spatial_zb.errors import AlignmentError, DataError, SpatialZbWarning, listed

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["read_regions", "select_regions"]


def read_regions(path: str | Path, id: str = "adcode") -> gpd.GeoDataFrame:
    """Read a polygon layer and index it by unit id.

    Parameters
    ----------
    path
        A shapefile, GeoPackage or GeoJSON file on this machine.
    id
        Column of the unit ids; they are kept as text, so that leading zeros stay.

    Returns
    -------
    GeoDataFrame indexed by string ids, in the order of the file.

    Raises
    ------
    DataError
        The file is missing or unreadable, has no such column, no coordinate reference system, no polygon, a
        point or line, an empty geometry, coordinates that look like swapped latitude and longitude, or the
        same id twice.
    """
    import geopandas

    path = Path(path)
    if str(path).startswith(("/vsi", "http:", "https:")) or not path.is_file():
        raise DataError(
            f"There is no polygon file {path}. Give the path of a .shp, .gpkg or .geojson file on this machine."
        )
    _need_siblings(path)
    try:
        layer = geopandas.read_file(path)
    except Exception as error:  # GDAL raises many kinds; all of them mean the same to the user
        raise DataError(
            f"{path.name} cannot be read as polygons: {error}. Export it again from its source."
        ) from error
    if id not in layer:
        columns = listed(c for c in layer.columns if c != "geometry")
        raise DataError(f"{path.name} has no column {id!r}; it has {columns}. Name the id column with id=.")
    layer = layer.set_index(_ids_as_text(layer[id], path.name)).drop(columns=id)
    layer.index.name = id
    return _checked(layer, path.name)


def select_regions(regions: gpd.GeoDataFrame, ids: Sequence[str]) -> gpd.GeoDataFrame:
    """Keep the named units, in the order of the layer.

    Raises
    ------
    AlignmentError
        An id that is not in the layer.
    """
    missing = [i for i in ids if i not in regions.index]
    if missing:
        raise AlignmentError(f"{len(missing)} unit(s) are not among the polygons: {listed(missing)}.")
    return regions.loc[regions.index.isin(list(ids))]


def _need_siblings(path: Path) -> None:
    if path.suffix.lower() == ".shp" and not any(path.with_suffix(s).exists() for s in (".dbf", ".DBF")):
        raise DataError(
            f"{path.name} comes without its .dbf file, which holds the ids. Copy all parts of the shapefile."
        )


def _ids_as_text(column: pd.Series, name: str) -> pd.Index:
    if column.isna().any():
        raise DataError(
            f"{name} has {int(column.isna().sum())} polygon(s) without an id in column {column.name!r}."
        )
    if pd.api.types.is_float_dtype(column):
        if (column % 1 != 0).any():
            raise DataError(f"The ids in column {column.name!r} of {name} are not whole numbers.")
        _warn(f"The ids in column {column.name!r} of {name} are stored as decimals; read as whole numbers.")
        column = column.astype("int64")
    text = column.astype(str).str.strip()
    if text.duplicated().any():
        twice = listed(text[text.duplicated()].unique())
        raise DataError(f"{name} has more than one polygon for {twice}. Dissolve the layer by its id first.")
    return pd.Index(text.to_numpy(), dtype=str)


def _checked(layer: gpd.GeoDataFrame, name: str) -> gpd.GeoDataFrame:
    import shapely

    if layer.crs is None:
        raise DataError(
            f"{name} has no coordinate reference system (a .prj file is missing). "
            f"{_guess_crs(layer)} Write it into the file before use."
        )
    empty = layer.geometry.isna() | layer.geometry.is_empty
    if empty.any():
        raise DataError(
            f"{name} has no geometry for {listed(layer.index[empty])}. Remove or mend these rows."
        )
    other = ~layer.geom_type.isin(["Polygon", "MultiPolygon"])
    if other.any():
        raise DataError(
            f"{name} has {listed(layer.geom_type[other].unique())} where polygons are needed: {listed(layer.index[other])}."
        )
    _, south, _, north = layer.total_bounds
    if layer.crs.is_geographic and (south < -90 or north > 90):
        raise DataError(
            f"Coordinates of {name} run to latitude {max(north, -south):.1f}: latitude and longitude are swapped."
        )
    geometry = layer.geometry
    if geometry.has_z.any():
        geometry = geometry.force_2d()
    broken = ~geometry.is_valid
    if broken.any():
        _warn(
            f"{name}: the borders of {listed(layer.index[broken])} cross themselves and were mended (make_valid)."
        )
        geometry = geometry.where(~broken, geometry.make_valid())
    if not shapely.coverage_is_valid(geometry.to_numpy()):
        bad = ~shapely.is_empty(shapely.coverage_invalid_edges(geometry.to_numpy()))
        _warn(
            f"{name}: borders of {listed(layer.index[bad])} overlap or leave gaps; contiguity tolerates up to a metre."
        )
    return layer.set_geometry(geometry)


def _guess_crs(layer: gpd.GeoDataFrame) -> str:
    west, south, east, north = layer.total_bounds
    if west >= -180 and east <= 180 and south >= -90 and north <= 90:
        return "Its coordinates look like degrees: EPSG:4490 (CGCS2000) for Chinese sources, EPSG:4326 (WGS 84) for others."
    return "Its coordinates are not degrees; ask the source which projection was used."


def _warn(message: str) -> None:
    warnings.warn(message, SpatialZbWarning, stacklevel=3)
