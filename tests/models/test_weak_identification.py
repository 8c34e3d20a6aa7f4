"""A dense W says little about ρ: the fit says so, and the validation table is where the threshold comes from."""

from __future__ import annotations

import warnings
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import Point

import spatial_zb as zb
from spatial_zb.models.durbin import WEAK_SPATIAL_ERROR

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def points() -> gpd.GeoDataFrame:
    spots = np.random.default_rng(0).uniform(0, 3e5, (30, 2))
    return gpd.GeoDataFrame(
        geometry=[Point(x, y).buffer(1) for x, y in spots],
        index=[f"u{i}" for i in range(30)],
        crs="EPSG:4549",
    )


def messages(W: zb.Weights, **options) -> str:
    panel = zb.simulate_durbin(W, 11, {"a": 1.0}, theta={"a": 0.5}, rho=0.3, rng=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = zb.fit_durbin(zb.DurbinSpec("y", ["a"], **options), panel, W)
    assert fit.bse["rho" if fit.spec.lag_y else "lam"] > 0
    return " ".join(str(w.message) for w in caught)


@pytest.mark.parametrize("options", [{}, {"lag_y": False, "lag_error": True}])
def test_dense_weights_are_called_weak_and_sparse_ones_are_not(points, options):
    dense = zb.weights.inverse_distance(points).standardise()
    sparse = zb.weights.knn(points, 4).standardise()
    assert "say little about the spatial coefficient" in messages(dense, **options)
    assert "say little about the spatial coefficient" not in messages(sparse, **options)


def test_threshold_is_the_one_of_the_validation_table():
    table = pd.read_csv(ROOT / "docs/validation/small_sample.csv")
    rows = table[(table["estimator"] == "lee_yu") & table["parameter"].isin(["rho", "lam"])]
    silent = rows[(rows["median_std_error"] < 0.9 * WEAK_SPATIAL_ERROR)]
    assert len(silent) >= 12
    assert (silent["bias"].abs() <= 0.025).all()
