"""Weights matrices of every kind the algebra has to survive, small enough for dense checks, and distances of all pairs."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
from scipy import sparse
from small_examples import rook

from spatial_zb.base.text import Text
from spatial_zb.weights.build import places


def _grid(rows: int, columns: int) -> np.ndarray:
    return rook(rows, columns).toarray()


def _row(A: np.ndarray) -> np.ndarray:
    sums = A.sum(axis=1, keepdims=True)
    return np.divide(A, sums, out=np.zeros_like(A), where=sums > 0)


def _knn(n: int, k: int) -> np.ndarray:
    points = np.random.default_rng(4).random((n, 2))
    distance = np.linalg.norm(points[:, None] - points[None], axis=2) + 9 * np.eye(n)
    A = np.zeros((n, n))
    np.put_along_axis(A, np.argsort(distance, axis=1)[:, :k], 1.0, axis=1)
    return A


def _inverse_distance(n: int) -> np.ndarray:
    points = np.random.default_rng(6).random((n, 2))
    return 1 / (np.linalg.norm(points[:, None] - points[None], axis=2) + np.diag(np.full(n, np.inf)))


def _blocks(*parts: np.ndarray) -> np.ndarray:
    return sparse.block_diag(parts).toarray()


def all_matrices() -> dict[str, sparse.csr_array]:
    """Name → W."""
    triangle = np.ones((3, 3)) - np.eye(3)
    dense = {
        "symmetric": _grid(4, 3),
        "row": _row(_grid(4, 3)),
        "scaled": _grid(4, 3) / 7.0,
        "weighted_row": _row(_inverse_distance(10)),
        "dense_symmetric": _inverse_distance(10) / 30,
        "knn_complex": _row(_knn(13, 3)),
        "disconnected_row": _row(_blocks(_grid(3, 2), triangle, _grid(2, 2))),
        "islands_row": _row(_blocks(_grid(3, 3), np.zeros((2, 2)))),
        "islands_symmetric": _blocks(np.zeros((1, 1)), _grid(3, 3)),
        "directed_cycle": np.roll(np.eye(5), 1, axis=1),
        "equal": (np.ones((6, 6)) - np.eye(6)) / 5,
    }
    return {name: sparse.csr_array(A) for name, A in dense.items()}


#: Every row sums to one, so that Wι = ι.
ROW_NORMALISED = ("row", "weighted_row", "knn_complex", "disconnected_row", "directed_cycle", "equal")


def distances_km(regions: gpd.GeoDataFrame, metric: str = "geodesic") -> np.ndarray:
    """Distances between centroids, (n, n), in kilometres, filled in pair by pair."""
    measured = places(regions, metric).all_pairs(Text.of(""))
    out = np.zeros((len(regions),) * 2)
    out[measured.i, measured.j] = measured.km
    return out + out.T
