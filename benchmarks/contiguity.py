"""Contiguity of many polygons against libpysal's Graph, both in one run on the same layer.

    python benchmarks/contiguity.py [--units 10000 100000] [--repeat 3]

The layer is a planar coverage of Voronoi cells. ``shared`` is the shared-vertex join with its own check of
borders, ``tolerant`` the same on a layer whose cells are all drawn 10 cm too small, so that no vertex is
shared; ``contiguity`` is the public function, with ids, islands and components. libpysal compares vertices
and finds no neighbours on the layer with gaps. Times are the best of ``--repeat`` runs.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from libpysal.graph import Graph

from spatial_zb import SpatialZbWarning
from spatial_zb.weights import contiguity
from spatial_zb.weights.build import adjacency as borders

CELL_METRES = 10_000.0


def coverage(n: int, seed: int = 1) -> gpd.GeoDataFrame:
    """A planar coverage of n Voronoi cells of about 10 km, in metres."""
    points = np.random.default_rng(seed).uniform(0, CELL_METRES * np.sqrt(n), (n, 2))
    box = shapely.box(*points.min(axis=0), *points.max(axis=0))
    cells = shapely.voronoi_polygons(shapely.multipoints(points), extend_to=box, ordered=True)
    return gpd.GeoDataFrame(geometry=list(cells.geoms), index=[f"u{i}" for i in range(n)], crs="EPSG:4549")


def best(work: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    """Shortest time in seconds, and the answer."""
    times = []
    for _ in range(repeat):
        begun = time.perf_counter()
        answer = work()
        times.append(time.perf_counter() - begun)
    return min(times), answer


def compare(n: int, repeat: int) -> None:
    """Time one size and check that both give the same links."""
    layer = coverage(n)
    shapes = layer.geometry.to_numpy()
    apart = shapely.buffer(shapes, -0.1, join_style="mitre")
    check, clean = best(lambda: shapely.coverage_is_valid(shapes), 1)
    print(f"\n{n:,} polygons; GEOS calls the coverage {'clean' if clean else 'unclean'} after {check:.2f} s")
    for rule in ("queen", "rook"):
        peer, graph = best(lambda rule=rule: Graph.build_contiguity(layer, rook=rule == "rook"), repeat)
        shared, ours = best(lambda rule=rule: borders.touching(shapes, rule, 1.0), repeat)
        public, W = best(lambda rule=rule: contiguity(layer, rule), repeat)
        tolerant, gaps = best(lambda rule=rule: borders.touching(apart, rule, 1.0), 1)
        equal = abs(graph.sparse - ours).sum() == 0 and abs(W.matrix - ours).sum() == 0
        print(
            f"  {rule:5}  libpysal {peer:6.3f} s   shared {shared:6.3f} s ({peer / shared:4.1f}×)   "
            f"contiguity {public:6.3f} s ({peer / public:4.1f}×)   tolerant {tolerant:6.3f} s   "
            f"links equal: {equal}; links that differ with gaps: {abs(gaps - ours).nnz} of {ours.nnz}"
        )


def main() -> None:
    """Run all sizes."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--units", type=int, nargs="+", default=[10_000, 100_000])
    options.add_argument("--repeat", type=int, default=3)
    chosen = options.parse_args()
    warnings.simplefilter("ignore", SpatialZbWarning)
    for n in chosen.units:
        compare(n, chosen.repeat)


if __name__ == "__main__":
    main()
