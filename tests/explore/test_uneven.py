"""Statistics of association where units come and go, or W changes: each period is that of the units present."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from small_examples import ring, ring_with_chords

import spatial_zb as zb
from spatial_zb import DataError, SpatialZbWarning
from spatial_zb.explore import bivariate_moran, geary, general_g, lee, local_bivariate_moran, local_g

UNITS = [f"u{i:02d}" for i in range(12)]
YEARS = [2018, 2019, 2020]
GONE = {2018: ["u01", "u05"], 2019: [], 2020: ["u07"]}


def panel_of(blank: bool = False) -> zb.Panel:
    rng = np.random.default_rng(2)
    rows = [(u, p, *rng.gamma(2.0, size=2)) for p in YEARS for u in UNITS if u not in GONE[p]]
    frame = pd.DataFrame(rows, columns=["unit", "period", "x", "y"])
    if blank:
        frame.loc[(frame["unit"] == "u10") & (frame["period"] == 2019), "x"] = np.nan
    return zb.build_panel(frame, units=UNITS, balance="keep")


def alone(panel: zb.Panel, year: int, W: zb.Weights, gone: list[str]) -> tuple[zb.Panel, zb.Weights]:
    """The units of one year as a panel of its own, and their W."""
    here = [u for u in UNITS if u not in gone]
    frame = panel.select(units=here, periods=[year]).frame()
    return zb.build_panel(frame, units=here), W.subset(here)


STATISTICS = {
    "moran": lambda p, W: zb.moran(p, "x", W, permutations=0),
    "geary": lambda p, W: geary(p, "x", W, permutations=0),
    "general_g": lambda p, W: general_g(p, "x", W, permutations=0),
    "bivariate": lambda p, W: bivariate_moran(p, "x", "y", W, permutations=0),
    "lee": lambda p, W: lee(p, "x", "y", W, include_self=True, permutations=0),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_each_period_is_that_of_the_units_present(name):
    panel, W = panel_of(), ring(UNITS)
    with pytest.warns(SpatialZbWarning, match="rows in 2 period"):
        table = STATISTICS[name](panel, W).table()
    assert table["units"].tolist() == [10, 12, 11]
    for at, year in enumerate(YEARS):
        expected = STATISTICS[name](*alone(panel, year, W, GONE[year])).table()
        found = table.iloc[[at]].drop(columns="units").reset_index(drop=True)
        pd.testing.assert_frame_equal(found, expected, rtol=1e-12)


def test_blank_cells_are_left_out_and_said():
    panel, W = panel_of(blank=True), ring(UNITS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = zb.moran(panel, "x", W, permutations=0).table()
    assert any("x blank in 1 unit-period" in str(w.message) for w in caught)
    assert table["units"].tolist() == [10, 11, 11]
    own, among = alone(panel, 2019, W, ["u10"])
    assert table["I"][1] == pytest.approx(
        zb.moran(own, "x", among, permutations=0).table()["I"][0], rel=1e-12
    )


def test_a_complete_panel_gives_the_same_with_a_w_by_period_that_does_not_change():
    panel = panel_of().select(units=UNITS[8:] + UNITS[2:5])
    W = ring(UNITS).subset(panel.units)
    by_period = zb.weights.by_period(dict.fromkeys(YEARS, W))
    one = zb.moran(panel, "x", W, permutations=99, rng=3).table()
    other = zb.moran(panel, "x", by_period, permutations=99, rng=3).table()
    pd.testing.assert_frame_equal(one, other)


def test_w_of_its_own_in_each_period():
    panel, early, late = panel_of(), ring(UNITS), ring_with_chords(12)
    W = zb.weights.by_period({2018: early, 2019: late, 2020: late})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = zb.moran(panel, "x", W, permutations=0).table()["I"]
    for at, (year, own) in enumerate(zip(YEARS, (early, late, late), strict=True)):
        one, among = alone(panel, year, own, GONE[year])
        assert found[at] == pytest.approx(
            zb.moran(one, "x", among, permutations=0).table()["I"][0], rel=1e-12
        )


@pytest.mark.parametrize("statistic", [zb.local_moran, local_g])
def test_a_local_statistic_has_the_units_of_its_period(statistic):
    panel, W = panel_of(), ring(UNITS)
    with pytest.warns(SpatialZbWarning, match="absent"):
        table = statistic(panel, "x", W, period=2018, permutations=199, rng=1).table()
    assert list(table.index) == [u for u in UNITS if u not in GONE[2018]]
    own, among = alone(panel, 2018, W, GONE[2018])
    expected = statistic(own, "x", among, permutations=199, rng=1).table()
    pd.testing.assert_frame_equal(table, expected, check_names=False)


def test_a_local_statistic_of_two_variables():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = local_bivariate_moran(
            panel_of(blank=True), "x", "y", ring(UNITS), period=2019, permutations=0
        )
    assert "u10" not in table.table().index


def test_a_blank_cell_of_a_panel_that_is_not_kept_uneven_is_refused():
    frame = panel_of(blank=True).frame()
    frame = frame[~frame["unit"].isin([u for gone in GONE.values() for u in gone])]
    panel = zb.build_panel(frame)
    with pytest.raises(DataError, match="u10 2019"):
        zb.moran(panel, "x", ring(list(panel.units)))
