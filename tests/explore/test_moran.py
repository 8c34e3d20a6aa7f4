"""Moran's I by period against esda, and what its table promises."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from spatial_zb import (
    AlignmentError,
    DataError,
    Panel,
    SpatialZbWarning,
    SpecificationError,
    Weights,
    local_moran,
    moran,
    weights,
)
from spatial_zb.explore import geary, general_g, local_g, pooled_moran
from spatial_zb.simulate import durbin as simulate_durbin

COLUMNS = ["period", "I", "expected", "std_dev", "z", "p_value", "p_sim"]
#: Permutation p-values of two programs with 9,999 draws each: four standard errors of their difference.
NOISE = 4 * np.sqrt(2 * 0.25 / 9999)


@pytest.fixture(scope="module")
def W(delta):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        return weights.contiguity(delta, islands="nearest").standardise("row")


@pytest.fixture(scope="module")
def panel(W):
    return simulate_durbin(W, 5, {"a": 1.0}, rho=0.5, rng=3)


def peer(x: np.ndarray, W: Weights, permutations: int = 0):
    import esda

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return esda.Moran(
            x, W.to_graph().to_W(), transformation="O", permutations=permutations, two_tailed=True
        )


def test_equals_esda(panel, W):
    table = moran(panel, "y", W, permutations=0).table()
    assert list(table.columns) == COLUMNS
    assert list(table["period"]) == list(panel.periods)
    for x, (_, row) in zip(panel.array("y"), table.iterrows(), strict=True):
        other = peer(x, W)
        assert row["I"] == pytest.approx(other.I, rel=1e-10)
        assert row["expected"] == pytest.approx(other.EI, rel=1e-10)
        assert row["std_dev"] == pytest.approx(other.seI_rand, rel=1e-10)
        assert row["z"] == pytest.approx(other.z_rand, rel=1e-10)
        assert row["p_value"] == pytest.approx(other.p_rand, rel=1e-8)


@pytest.mark.parametrize("how", ["none", "spectral", "minmax"])
def test_equals_esda_under_other_normalisations(panel, delta, how):
    W = weights.inverse_distance(delta).standardise(how)
    row = moran(panel, "y", W, permutations=0).table().iloc[2]
    other = peer(panel.array("y")[2], W)
    assert row["I"] == pytest.approx(other.I, rel=1e-10)
    assert row["z"] == pytest.approx(other.z_rand, rel=1e-10)


@pytest.mark.parametrize("statistic", [moran, geary, general_g, local_g])
def test_one_sided_normal_p_values_are_in_the_tables(statistic, panel, W):
    positive = panel.with_columns({"a": panel.array("a") - panel.array("a").min()})
    one = positive.select(periods=panel.periods[:1])
    options = {"permutations": 0} | ({"adjust": None} if statistic is local_g else {})
    for side, tail in (("greater", norm.sf), ("less", norm.cdf)):
        table = statistic(one, "a", W, alternative=side, **options).table()
        np.testing.assert_allclose(table["p_value"], tail(table["z"]), rtol=1e-12)


def test_permutation_p_values_agree_with_esda(panel, W):
    """esda's p_sim is one-sided, the smaller tail; here one-sided is asked by name."""
    np.random.seed(1)  # noqa: NPY002 - esda draws from the global generator
    for t in (0, 3):
        one = panel.select(periods=[panel.periods[t]])
        row = moran(one, "a", W, permutations=9999, rng=1)
        tails = [
            moran(one, "a", W, permutations=9999, rng=1, alternative=s).table()["p_sim"][0]
            for s in ("greater", "less")
        ]
        assert min(tails) == pytest.approx(peer(one.array("a")[0], W, 9999).p_sim, abs=NOISE)
        assert row.table()["p_sim"][0] == pytest.approx(min(1, 2 * min(tails)))


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
def test_islands_are_left_out_of_n_and_named(panel, delta):
    with_island = weights.contiguity(delta, islands="zero").standardise("row")
    with pytest.warns(SpatialZbWarning, match="330900"):
        row = moran(panel, "y", with_island, permutations=99, rng=1).table().iloc[0]
    assert row["expected"] == pytest.approx(
        -(40 / 41) / 40
    )  # I counts the 40 units with neighbours, values move over 41
    pooled = pooled_moran(panel.select(periods=panel.periods[:1]), "y", with_island, permutations=0).table()
    for name in ("I", "expected", "std_dev"):
        assert row[name] == pytest.approx(pooled[name][0], rel=1e-12)
    assert np.isfinite(row["p_sim"])


def test_p_is_never_zero_and_nan_without_permutations(panel, W):
    strong = panel.with_columns({"s": np.tile(np.arange(41.0), (5, 1))})
    chain = np.diag(np.ones(40), 1) + np.diag(np.ones(40), -1)
    line = Weights(chain, W.ids, "line").standardise("row")
    table = moran(strong, "s", line, permutations=99, rng=0).table()
    assert (table["p_sim"] == 2 / 100).all()
    assert moran(strong, "s", line, permutations=0).table()["p_sim"].isna().all()


def test_same_seed_same_table(panel, W):
    first, second, other = (moran(panel, "y", W, permutations=199, rng=r).table() for r in (1, 1, 2))
    pd.testing.assert_frame_equal(first, second)
    assert (first["p_sim"] != other["p_sim"]).any()
    root = np.random.SeedSequence(1)
    moran(panel, "y", W, permutations=9, rng=root)
    pd.testing.assert_frame_equal(moran(panel, "y", W, permutations=199, rng=root).table(), first)


def test_streams_of_periods_do_not_depend_on_each_other(panel, W):
    """Other values in one period leave the p-values of all others as they were."""
    y = panel.array("y").copy()
    y[0] = panel.array("a")[0]
    whole = moran(panel, "y", W, permutations=199, rng=7).table().set_index("period")
    moved = moran(panel.with_columns({"y": y}), "y", W, permutations=199, rng=7).table().set_index("period")
    pd.testing.assert_frame_equal(whole.iloc[1:], moved.iloc[1:])
    first = panel.select(periods=panel.periods[:3])
    pd.testing.assert_frame_equal(
        moran(first, "y", W, permutations=199, rng=7).table().set_index("period"), whole.iloc[:3]
    )


def test_order_of_units_does_not_matter(panel, W):
    order = np.random.default_rng(0).permutation(41)
    moved = Panel(panel.values[:, order], panel.periods, panel.units[order], panel.columns)
    a, b = (moran(p, "y", W, permutations=199, rng=1).table() for p in (panel, moved))
    pd.testing.assert_frame_equal(a, b, rtol=1e-12)


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
def test_refusals(panel, W):
    blank = panel.values.copy()
    blank[2, 5, 0] = np.nan
    with pytest.raises(DataError, match=rf"'y'.*{W.ids[5]} 2003"):
        moran(Panel(blank, panel.periods, panel.units, panel.columns), "y", W)
    flat = panel.with_columns({"c": np.ones((5, 41))})
    with pytest.raises(DataError, match="'c' is the same for all units in 2001"):
        moran(flat, "c", W)
    with pytest.raises(SpecificationError, match="two-sided, greater, less"):
        moran(panel, "y", W, alternative="both")
    with pytest.raises(SpecificationError, match="zero or more"):
        moran(panel, "y", W, permutations=-1)
    with pytest.raises(AlignmentError, match=W.ids[0]):
        moran(panel.select(units=W.ids[1:]), "y", W)
    with pytest.raises(DataError, match="'z'"):
        moran(panel, "z", W)


def test_glance_says_what_was_computed(panel, W):
    row = moran(panel, "y", W, permutations=99, rng=1, alternative="greater").glance().iloc[0]
    assert (row["variable"], row["permutations"], row["alternative"]) == ("y", 99, "greater")


OPTIONS = {
    "alternative": ({"alternative": "both"}, "two-sided, greater, less"),
    "negative": ({"permutations": -1}, "zero or more, not -1"),
    "a fraction": ({"permutations": 99.5}, "whole number.*99.5"),
    "text": ({"permutations": "99"}, "whole number.*'99'"),
    "a seed in words": ({"rng": "one"}, "Generator, not 'one'"),
    "a negative seed": ({"rng": -1}, "from zero.*not -1"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_are_refused_by_every_statistic(panel, W, case):
    options, words = OPTIONS[case]
    for statistic in (moran, geary, general_g, pooled_moran):
        with pytest.raises(SpecificationError, match=words):
            statistic(panel, "y", W, **options)
    with pytest.raises(SpecificationError, match=words):
        local_moran(panel, "y", W, period=panel.periods[0], **options)


def test_a_name_in_place_of_a_panel_is_refused(panel, W):
    for statistic in (moran, geary, general_g, pooled_moran):
        with pytest.raises(SpecificationError, match="panel must be a Panel, not a str"):
            statistic("y", panel, W)


@pytest.mark.parametrize("power", [160, -200, 300])
def test_the_unit_of_measurement_does_not_matter_however_large(panel, W, power):
    """Squares of 1e160 are infinite: Moran's I was no number, and nothing was said."""
    extreme = panel.with_columns({"y": np.exp(panel.array("y")) * 10.0**power})
    usual = panel.with_columns({"y": np.exp(panel.array("y"))})
    for statistic in (
        moran,
        geary,
        pooled_moran,
        lambda *given, **how: local_g(*given, period=panel.periods[0], **how),
    ):
        a, b = (statistic(data, "y", W, permutations=19, rng=1).tidy() for data in (extreme, usual))
        pd.testing.assert_frame_equal(a, b, rtol=1e-10)


def test_permutations_are_a_number(panel, W):
    with pytest.raises(SpecificationError, match="not True"):
        moran(panel, "y", W, permutations=True)
