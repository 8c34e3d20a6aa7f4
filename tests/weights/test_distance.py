"""Distance weights against loops over all pairs, on layers with ties and far corners of the earth."""

import geopandas as gpd
import numpy as np
import pytest
from pyproj import Geod

from spatial_zb import weights

#: Vectors of one length, 5² · 13 = 325: a ring of exact ties larger than the first set of candidates.
RING = [(a, b) for a in range(-18, 19) for b in range(-18, 19) if a * a + b * b == 325]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


def layer(points, crs, rng) -> gpd.GeoDataFrame:
    ids = np.array([f"u{i:02d}" for i in range(len(points))])
    order = rng.permutation(len(points))
    return gpd.GeoDataFrame(
        geometry=gpd.points_from_xy(*np.asarray(points, float)[order].T), index=ids[order], crs=crs
    )


def pairs(layer) -> np.ndarray:
    """Geodesic kilometres of every pair, one by one; infinite on the diagonal."""
    geod, x, y = Geod(ellps="GRS80"), layer.geometry.x, layer.geometry.y
    n = len(layer)
    km = [
        [geod.inv(x.iloc[i], y.iloc[i], x.iloc[j], y.iloc[j])[2] / 1000 for j in range(n)] for i in range(n)
    ]
    return np.array(km) + np.diag(np.full(n, np.inf))


@pytest.mark.filterwarnings("ignore:Weights .knn1. fall")
@pytest.mark.parametrize("k", [1, 2, 5, 23])
def test_ties_beyond_the_first_candidates_go_to_the_lower_id(rng, k):
    assert len(RING) == 24
    ring = layer([(0, 0), *RING], "EPSG:4549", rng)
    ring.geometry = ring.scale(1000, 1000, origin=(0, 0))
    chosen = weights.knn(ring, k, metric="projected").align(sorted(ring.index)).matrix.toarray()[0]
    assert np.flatnonzero(chosen).tolist() == list(range(1, k + 1))


@pytest.mark.filterwarnings("ignore:Weights .knn1. fall")
@pytest.mark.parametrize("west", [70.0, 175.0])
def test_nearest_and_bands_are_those_of_all_pairs(rng, west):
    """A dense cluster, one unit far away, and the line of dates for one of the layers."""
    lon = west + np.append(rng.uniform(0, 8, 60), -35.0)
    lon = np.where(lon > 180, lon - 360, lon)
    spread = layer(np.column_stack([lon, np.append(rng.uniform(30, 50, 60), -20.0)]), "EPSG:4490", rng)
    km = pairs(spread)
    for k in (1, 4, 30):
        nearest = np.argsort(km, axis=1)[:, :k]
        found = weights.knn(spread, k).matrix
        assert (np.sort(found.indices.reshape(-1, k)) == np.sort(nearest)).all()
    band = weights.distance_band(spread).matrix.toarray()
    np.testing.assert_array_equal(band, km <= km.min(axis=1).max())
