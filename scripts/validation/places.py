"""Where the simulated panels live: real maps of Zhejiang and of the Yangtze River Delta, and the design they share."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import spatial_zb as zb

__all__ = ["KINDS", "LEVEL", "OUT", "PERIODS", "ROOT", "SIZES", "weights"]

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "docs" / "validation"
#: Cities of Zhejiang, cities of the delta, counties of Zhejiang.
SIZES = (11, 41, 90)
KINDS = ("contiguity", "inverse distance")
PERIODS = 11
LEVEL = 0.95


@cache
def weights(n: int, kind: str) -> zb.Weights:
    """Row-normalised W of the cities of Zhejiang (11), of the delta (41) or of the counties (90)."""
    regions = zb.read_regions(
        ROOT / "shapefiles" / ("zhejiang_counties.shp" if n == 90 else "delta_cities.shp")
    )
    if n == 11:
        regions = regions[regions["prov"] == "浙江省"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)  # bridges to the islands
        if kind == "contiguity":
            return zb.weights.contiguity(regions, islands="nearest").standardise("row")
    return zb.weights.inverse_distance(regions).standardise("row")
