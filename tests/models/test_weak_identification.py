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
from spatial_zb.models.durbin import WEAK_RANDOM_ERROR, WEAK_SPATIAL_ERROR

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def points() -> gpd.GeoDataFrame:
    spots = np.random.default_rng(0).uniform(0, 3e5, (30, 2))
    return gpd.GeoDataFrame(
        geometry=[Point(x, y).buffer(1) for x, y in spots],
        index=[f"u{i}" for i in range(30)],
        crs="EPSG:4549",
    )


def messages(W: zb.Weights, estimator: str = "lee_yu", **options) -> str:
    panel = zb.simulate.durbin(W, 11, {"a": 1.0}, theta={"a": 0.5}, rho=0.3, rng=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = zb.fit_durbin(zb.DurbinSpec("y", ["a"], **options), panel, W, estimator)
    if fit.converged:
        assert fit.bse["rho" if fit.spec.lag_y else "lam"] > 0
    return " ".join(str(w.message) for w in caught)


@pytest.mark.parametrize("options", [{}, {"lag_y": False, "lag_error": True}])
def test_dense_weights_are_called_weak_and_sparse_ones_are_not(points, options):
    dense = zb.weights.inverse_distance(points).standardise()
    sparse = zb.weights.knn(points, 4).standardise()
    assert "say little about the spatial coefficient" in messages(dense, **options)
    assert "say little about the spatial coefficient" not in messages(sparse, **options)


@pytest.mark.parametrize("options", [{"lag_x": []}, {}, {"lag_y": False, "lag_error": True}])
def test_random_effects_lean_under_dense_weights_and_say_so(points, options):
    dense = zb.weights.inverse_distance(points).standardise()
    sparse = zb.weights.knn(points, 4).standardise()
    options = {"fixed_effects": "random", **options}
    assert "zb.median_unbiased(fit)" in messages(dense, **options)
    assert "is imprecise" in messages(dense, **options)
    assert "is imprecise" not in messages(sparse, **options)
    assert "zb.bootstrap(fit)" in messages(dense, **{**options, "lag_y": True, "lag_error": True})


def test_instruments_that_say_little_are_named_with_limits_that_hold(points):
    dense = zb.weights.inverse_distance(points).standardise()
    assert "zb.anderson_rubin(fit)" in messages(dense, "gmm")
    assert "zb.anderson_rubin(fit)" in messages(dense, "gmm", lag_x=[])
    assert "anderson_rubin" not in messages(dense, "gmm", lag_x=[], lag_error=True)
    assert "next to nothing" in messages(dense, "gmm") or "outside" in messages(dense, "gmm")


def test_every_random_effects_cell_that_is_off_warns():
    """Bias beyond 0.025 (0.02 and the error of the simulation) is under a dense W, or above the threshold."""
    table = pd.read_csv(ROOT / "docs/validation/small_sample.csv")
    rows = table[(table["estimator"] == "random") & table["parameter"].isin(["rho", "lam"])]
    silent = rows[(rows["weights"] == "contiguity") & (rows["median_std_error"] < WEAK_RANDOM_ERROR)]
    assert len(silent) >= 12
    assert (silent["bias"].abs() <= 0.025).all()


def test_threshold_is_the_one_of_the_validation_table():
    table = pd.read_csv(ROOT / "docs/validation/small_sample.csv")
    rows = table[(table["estimator"] == "lee_yu") & table["parameter"].isin(["rho", "lam"])]
    silent = rows[(rows["median_std_error"] < 0.9 * WEAK_SPATIAL_ERROR)]
    assert len(silent) >= 12
    assert (silent["bias"].abs() <= 0.025).all()
