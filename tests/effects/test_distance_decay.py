"""Moran's I and effects by distance: slow sums over pairs, weights built by hand, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from dense_matrices import distances_km

import spatial_zb as zb
from spatial_zb import (
    AlignmentError,
    DataError,
    DurbinSpec,
    SpecificationError,
    Weights,
    fit_durbin,
    spatial_effects,
    weights,
)
from spatial_zb.data.panel import Panel
from spatial_zb.explore import distance

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

EDGES = [0, 100, 200, 300]
#: Sums of a few hundred numbers in another order.
ROUNDING = 1e-10


def moran_by_distance(*args, **options) -> pd.DataFrame:
    return distance.moran_by_distance(*args, **options).tidy()


def effects_by_distance(*args, **options) -> pd.DataFrame:
    return distance.effects_by_distance(*args, **options).tidy()


@pytest.fixture(scope="module")
def panel(delta) -> Panel:
    """Two variables and y, smooth in space, by two more regressors; made up."""
    rng = np.random.default_rng(7)
    near = np.exp(-distances_km(delta) / 150)
    root = np.linalg.cholesky(near + 1e-6 * np.eye(len(delta)))
    values = np.stack([root @ rng.normal(size=(len(delta), 3)) for _ in range(5)])
    return Panel(values, (2015, 2016, 2017, 2018, 2019), delta.index, ("y", "a", "b"))


@pytest.mark.parametrize("cumulative", [False, True])
def test_by_pairs(panel, delta, cumulative):
    frame = moran_by_distance(
        panel, delta, "a", bands=zb.explore.Bands(edges=EDGES, cumulative=cumulative), permutations=99, rng=1
    )
    km = distances_km(delta)
    for row in frame.itertuples():
        x = panel.array("a")[panel.periods.index(row.period)]
        z = x - x.mean()
        linked, total, count, reach = set(), 0.0, 0, 0.0
        for i in range(len(x)):
            for j in range(len(x)):
                if i != j and (row.from_km if row.from_km else -1) < km[i, j] <= row.to_km:
                    total, count, reach = total + z[i] * z[j], count + 1, reach + km[i, j]
                    linked.add(i)
        # Units without a pair count in the mean and variance only.
        assert pytest.approx(len(linked) / count * total / (z @ z), abs=ROUNDING) == row.I
        assert row.pairs == count / 2
        assert row.km == pytest.approx(reach / count)
    starts = [0, 0, 0] if cumulative else [0, 100, 200]
    assert frame.groupby("period")["from_km"].apply(list).tolist() == [starts] * 5


def test_the_envelope_holds_its_share_of_what_is_random(delta):
    """Values without any pattern are inside a 90 per cent envelope about nine times in ten."""
    rng = np.random.default_rng(3)
    noise = Panel(rng.normal(size=(60, len(delta), 1)), tuple(range(60)), delta.index, ("x",))
    frame = moran_by_distance(noise, delta, "x", bands=[0, 150, 300], permutations=199, level=0.9, rng=2)
    inside = (frame["I"] > frame["env_low"]) & (frame["I"] < frame["env_high"])
    # Four standard deviations of a share of 120, and the granularity of 199 permutations.
    assert inside.mean() == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / 120) + 0.01)


def test_a_smooth_variable_decays(panel, delta):
    frame = moran_by_distance(panel, delta, "a", permutations=99, rng=1)
    mean = frame.groupby("to_km")["I"].mean()
    assert mean.iloc[0] > 0.2
    assert mean.iloc[0] > mean.iloc[2] > mean.iloc[-1]
    steps = np.unique(np.diff(sorted(frame["to_km"].unique())))
    assert len(steps) == 1
    assert frame["pairs"].min() >= 10


def test_seeds_and_orders(panel, delta):
    one = moran_by_distance(panel, delta, "a", bands=EDGES, permutations=99, rng=5)
    pd.testing.assert_frame_equal(
        one, moran_by_distance(panel, delta, "a", bands=EDGES, permutations=99, rng=5)
    )
    turned = moran_by_distance(panel, delta[::-1], "a", bands=EDGES, permutations=99, rng=5)
    pd.testing.assert_frame_equal(one, turned)
    upside = Panel(panel.values[:, ::-1], panel.periods, panel.units[::-1], panel.columns)
    pd.testing.assert_frame_equal(
        one,
        moran_by_distance(upside, delta, "a", bands=EDGES, permutations=99, rng=5),
    )
    held = np.random.SeedSequence(5)
    for _ in range(2):
        again = moran_by_distance(panel, delta, "a", bands=EDGES, permutations=99, rng=held)
        pd.testing.assert_frame_equal(one, again)


def test_residuals_and_one_series(panel, delta):
    W = weights.knn(delta, 4).standardise("row")
    fit = fit_durbin(DurbinSpec("y", ["a"], fixed_effects="unit"), panel, W)
    by_fit = moran_by_distance(fit, delta, bands=EDGES, permutations=99, rng=1)
    row = pd.Series(fit.residuals[0], index=panel.units)
    alone = moran_by_distance(row[::-1], delta, bands=EDGES, permutations=99, rng=1)
    first = by_fit[by_fit["period"] == by_fit["period"].iloc[0]]
    assert alone["I"].to_numpy() == pytest.approx(first["I"].to_numpy(), abs=ROUNDING)


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        pytest.param({"edges": [0, 0, 5]}, SpecificationError, "increasing", id="edges fall"),
        pytest.param({"edges": [5]}, SpecificationError, "two", id="one edge"),
        pytest.param({"permutations": 9}, SpecificationError, "99", id="few permutations"),
        pytest.param({"periods": [1999]}, SpecificationError, "1999", id="unknown period"),
        pytest.param({"variable": None}, SpecificationError, "variable", id="no variable"),
    ],
)
def test_moran_by_distance_refuses(panel, delta, change, error, word):
    options = {"variable": "a", "edges": EDGES} | change
    with pytest.raises(error, match=word):
        moran_by_distance(panel, delta, **options)


def test_moran_by_distance_refuses_values_and_units(panel, delta):
    values = pd.Series(panel.array("a")[0], index=panel.units)
    with pytest.raises(DataError, match="330100"):
        moran_by_distance(values.where(values.index != "330100"), delta)
    with pytest.raises(DataError, match="same"):
        moran_by_distance(values * 0, delta)
    with pytest.raises(AlignmentError, match="330100"):
        moran_by_distance(values, delta.drop("330100"))


# -- Effects ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reach", ["within", "beyond"])
def test_effects_are_those_of_the_weights_made_by_hand(panel, delta, reach):
    spec = DurbinSpec("y", ["a"], fixed_effects="two_way")
    frame = effects_by_distance(
        spec, panel, delta, [200.0], reach=reach, estimator=zb.Estimation(covariance="cluster")
    )
    km = distances_km(delta)
    keep = (km <= 200 if reach == "within" else km >= 200) & ~np.eye(len(km), dtype=bool)
    matrix = np.where(keep, 1 / np.where(km > 0, km, 1), 0)
    W = Weights(matrix, delta.index).standardise("row")
    whole = spatial_effects(fit_durbin(spec, panel, W, covariance="cluster")).tidy()
    for name in ("estimate", "std_error", "conf_low"):
        assert frame[name].to_numpy() == pytest.approx(whole[name].to_numpy(), abs=1e-8, nan_ok=True)
    assert frame["links"].iloc[0] == pytest.approx(keep.sum() / len(km))


def test_thresholds_that_cannot_be_estimated_say_why(panel, delta):
    spec = DurbinSpec("y", ["a"], fixed_effects="two_way")
    frame = effects_by_distance(spec, panel, delta, [150, 9000])
    last = frame[frame["km"] == 9000]
    assert len(last) == 1
    assert last["reason"].iloc[0]
    assert (frame.loc[frame["km"] == 150, "reason"] == "").all()
    for thresholds in ([], [0], [np.nan]):
        with pytest.raises(SpecificationError):
            effects_by_distance(spec, panel, delta, thresholds)
    with pytest.raises(SpecificationError, match="near"):
        effects_by_distance(spec, panel, delta, [100], reach="near")
