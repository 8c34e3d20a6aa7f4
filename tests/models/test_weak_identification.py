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
from spatial_zb.models.system.notes import near_edge

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


def weak_pair(beta: float, seed: int) -> tuple[zb.Panel, zb.Weights, zb.SystemSpec]:
    """Two variables that hold each other, told apart by a and b of size ``beta``."""
    n, T = 20, 6
    W = zb.as_weights(np.roll(np.eye(n), 1, 1) + np.roll(np.eye(n), -1, 1), [f"u{i:02d}" for i in range(n)])
    W = W.standardise("row")
    rng, eye = np.random.default_rng(seed), np.eye(n)
    a, b, u, v = rng.standard_normal((4, T, n))
    S = np.block([[eye - 0.3 * W.matrix.toarray(), -0.25 * eye], [-0.2 * eye, eye]])
    y = np.linalg.solve(S, np.hstack([beta * a + u, beta * b + v]).T).T
    panel = zb.Panel(np.stack([y[:, :n], y[:, n:], a, b], axis=2), tuple(range(T)), W.ids, tuple("pqab"))
    equations = {"one": zb.Equation("p", ["q"], ["a"]), "two": zb.Equation("q", ["p"], ["b"], lag_y=False)}
    return panel, W, zb.SystemSpec(equations, "two_way")


def test_a_system_whose_likelihood_hardly_falls_to_an_edge_has_no_effects_and_says_so():
    """Weak exclusions: on the way to equations that are one, ln L falls by less than χ²/2; strong ones: by much more."""
    said = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        for seed in range(4):
            panel, W, spec = weak_pair(0.1, seed)
            fit = zb.fit_system(spec, panel, W, "fiml")
            links = fit.params[[("one", "q"), ("two", "p")]].abs().max()
            if not fit.converged:
                assert fit.params.notna().all()
                continue
            assert links < 1e3  # beyond, a coefficient is on its way to infinity and no maximum is claimed
            near = [note for note in fit.notes if note.kind is near_edge]
            assert bool(near) == fit.convergence.unbounded
            if near:
                said.append(near[0])
                effects = zb.spatial_effects(fit, "fieller") if fit.stability().stable else None
                assert effects is None or effects.tidy()["estimate"].isna().all()
        strong = zb.fit_system(*(lambda p, w, s: (s, p, w))(*weak_pair(1.5, 0)), "fiml")
    assert said
    assert 0 <= said[0]["below"] < said[0]["reach"] == pytest.approx(1.9207)
    assert "趋于同一关系" in said[0].text.zh
    assert not strong.convergence.unbounded
    assert strong.convergence.edge < strong.log_likelihood - 10
