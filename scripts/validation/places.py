"""Where the simulated panels live: real maps of Zhejiang and of the Yangtze River Delta, and the design they share."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.spatial import Delaunay, cKDTree

import spatial_zb as zb

__all__ = ["KINDS", "LARGE", "LEVEL", "OUT", "PERIODS", "ROOT", "SIZES", "complete", "maybe", "weights"]

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "docs" / "validation"
#: Cities of Zhejiang, cities of the delta, counties of Zhejiang.
SIZES = (11, 41, 90)
#: Places of a plane, for what is of more units than there are cities.
LARGE = 1000
KINDS = ("contiguity", "inverse distance")
PERIODS = 11
LEVEL = 0.95


@cache
def weights(n: int, kind: str) -> zb.Weights:
    """Row-normalised W of the cities of Zhejiang (11), of the delta (41) or of the counties (90).

    ``kind``: one of :data:`KINDS`, or ``nearest 4``, which is not symmetric. Of :data:`LARGE` units: places drawn in a
    square, neighbours by triangles or the nearest four.
    """
    if n == LARGE:
        return _of_places(kind).standardise("row")
    regions = zb.read_regions(
        ROOT / "shapefiles" / ("zhejiang_counties.shp" if n == 90 else "delta_cities.shp")
    )
    if n == 11:
        regions = regions[regions["prov"] == "浙江省"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)  # bridges to the islands
        if kind == "contiguity":
            return zb.weights.contiguity(regions, islands="nearest").standardise("row")
        if kind.startswith("nearest"):
            return zb.weights.knn(regions, int(kind.split()[1])).standardise("row")
    return zb.weights.inverse_distance(regions).standardise("row")


def _of_places(kind: str) -> zb.Weights:
    places = np.random.default_rng(LARGE).uniform(size=(LARGE, 2))
    if kind.startswith("nearest"):
        near = cKDTree(places).query(places, int(kind.split()[1]) + 1)[1][:, 1:]
        starts, ends = np.arange(LARGE + 1) * near.shape[1], near.ravel()
    else:
        starts, ends = Delaunay(places).vertex_neighbor_vertices
    links = sparse.csr_array((np.ones(len(ends)), ends, starts), shape=(LARGE, LARGE))
    return zb.as_weights(links, ids=[f"u{i:04d}" for i in range(LARGE)], label=kind)


def complete(
    table: Path,
    keys: Sequence[str],
    cells: dict[tuple, Any],
    compute: Callable[[Any], pd.DataFrame],
    kept: Callable[[pd.DataFrame], Any],
    decimals: str = "%.6g",
) -> pd.DataFrame:
    """Compute the cells that a table lacks, and write it after each, so that an interrupted study goes on.

    ``cells`` by the values of ``keys``; ``kept`` says which rows of the table still count.
    """
    parts: dict[tuple, pd.DataFrame] = {}
    if table.exists():
        done = pd.read_csv(table)
        if "of" in done:  # a label that may be empty is no blank
            done["of"] = done["of"].fillna("")
        done = done[kept(done)]
        parts = {key: rows for key, rows in done.groupby(list(keys), sort=False) if key in cells}
    for key, cell in cells.items():
        if key not in parts:
            parts[key] = compute(cell)
            there = [parts[k] for k in cells if k in parts]
            pd.concat(there, ignore_index=True).to_csv(table, index=False, float_format=decimals)
            print(*key, flush=True)
    return pd.concat([parts[key] for key in cells], ignore_index=True)


def maybe(name: str) -> pd.DataFrame | None:
    """A table of the study, none where its part has not been run."""
    path = OUT / name
    return pd.read_csv(path) if path.exists() else None
