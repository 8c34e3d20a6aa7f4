"""Derive ``data/zhejiang_constant_units_2000_2010.csv``: census population within constant boundaries.

Population is summed over the counties of each unit; a district that has no census figure of its own
(``in_2010 = 0``) is counted in its siblings, any other blank leaves the unit blank. Areas are those of the
polygons of 2024, on an equal-area projection of the ellipsoid.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from spatial_zb.data.read import read_table
from spatial_zb.data.regions import read_regions
from spatial_zb.data.units import constant_units

ROOT = Path(__file__).resolve().parents[2]

CENSUS = ROOT / "data" / "zhejiang_county_census_2000_2010.csv"
POLYGONS = ROOT / "shapefiles" / "zhejiang_constant_units.shp"
TARGET = ROOT / "data" / "zhejiang_constant_units_2000_2010.csv"
# Albers on CGCS2000 with parallels through Zhejiang: areas are exact on any equal-area projection.
EQUAL_AREA = "+proj=aea +lat_1=27 +lat_2=31 +lat_0=29 +lon_0=120 +ellps=GRS80 +units=m"
POPULATION = ("pop_2000", "pop_2010")


def derive() -> pd.DataFrame:
    """One row per unit: ``constant_unit, year, pop_2000, pop_2010, area_km2``."""
    census = read_table(CENSUS, ["adcode", "constant_unit"])
    counted = census[census["in_2010"] == 1]
    people = constant_units(
        counted, counted.set_index("adcode")["constant_unit"], unit="adcode", sums=POPULATION
    ).set_index("constant_unit")
    polygons = read_regions(POLYGONS, id="unit")
    if set(polygons.index) != set(people.index):
        sys.exit("The census table and the polygons name different constant units.")
    area = polygons.geometry.to_crs(EQUAL_AREA).area / 1e6
    table = people.loc[polygons.index].astype("Int64")
    table.insert(0, "year", 2010)
    return table.assign(area_km2=area.round(1)).rename_axis("constant_unit").reset_index()


def derive_table(check: bool) -> int:
    """Write the table; return 1 when ``check`` finds a difference."""
    fresh = derive().to_csv(index=False, lineterminator="\n").encode()
    if TARGET.is_file() and TARGET.read_bytes() == fresh:
        print(f"{TARGET.name} is up to date.")
        return 0
    if not check:
        TARGET.write_bytes(fresh)
    print(f"{'differs' if check else 'written'}: {TARGET.name}")
    return int(check)
