"""The gate: a long table of any order becomes one array, matched by id."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_zb import AlignmentError, DataError, Panel, SpatialZbWarning, build_panel
from spatial_zb.text import Text

UNITS = ["033", "11", "2", "杭州"]
PERIODS = [2003, 2004, 2006]


def table() -> pd.DataFrame:
    rows = [(u, p, 100 * i + p - 2000, -i) for p in PERIODS for i, u in enumerate(UNITS)]
    return pd.DataFrame(rows, columns=["unit", "period", "y", "x"])


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 9999), order=st.permutations(UNITS))
def test_values_stand_where_their_labels_say(seed, order):
    panel = build_panel(table().sample(frac=1, random_state=seed), "unit", "period", units=order)
    assert list(panel.units) == list(order)
    assert panel.periods == tuple(PERIODS)
    for t, period in enumerate(PERIODS):
        for i, unit in enumerate(order):
            assert panel.array("y")[t, i] == 100 * UNITS.index(unit) + period - 2000
    back = panel.frame().sort_values(["period", "unit"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(
        back, table().sort_values(["period", "unit"]).reset_index(drop=True), check_dtype=False
    )


def test_without_a_list_units_are_sorted_and_leading_zeros_stay():
    assert list(build_panel(table(), "unit", "period").units) == sorted(UNITS)


def test_array_of_one_name_and_of_several():
    panel = build_panel(table(), "unit", "period")
    assert panel.array("y").shape == (3, 4)
    assert panel.array(["x", "y"]).shape == (3, 4, 2)
    np.testing.assert_array_equal(panel.array(["x", "y"])[..., 1], panel.array("y"))
    assert panel.array([]).shape == (3, 4, 0)
    with pytest.raises(DataError, match=r"'yy'.*y"):
        panel.array("yy")


def test_select_keeps_the_order_of_the_panel():
    panel = build_panel(table(), "unit", "period", units=UNITS)
    part = panel.select(units=["2", "033"], periods=[2006, 2003])
    assert list(part.units) == ["033", "2"]
    assert part.periods == (2003, 2006)
    np.testing.assert_array_equal(part.array("y"), panel.array("y")[np.ix_([0, 2], [0, 2])])
    with pytest.raises(AlignmentError, match="unit 99"):
        panel.select(units=["99"])
    with pytest.raises(AlignmentError, match="period 1999"):
        panel.select(periods=[1999])


def test_columns_are_added_to_a_new_panel():
    panel = build_panel(table(), "unit", "period", labels={"y": Text("output", "产出")})
    new = panel.with_columns({"z": panel.array("y") * 2, "x": panel.array("x") + 1})
    assert panel.columns == ("y", "x")
    assert set(new.columns) == {"y", "x", "z"}
    np.testing.assert_array_equal(new.array("x"), panel.array("x") + 1)
    np.testing.assert_array_equal(new.array("y"), panel.array("y"))
    assert new.label("y").pick("zh") == "产出"
    assert new.label("z").pick("en") == "z"


def test_frozen_and_copied():
    source = table()
    panel = build_panel(source, "unit", "period")
    with pytest.raises(ValueError, match="read-only"):
        panel.values[0] = 0
    with pytest.raises(AttributeError):
        panel.units = None
    values = np.zeros((1, 2, 1))
    made = Panel(values, (1,), pd.Index(["a", "b"]), ("x",))
    values[:] = 5
    assert made.values.max() == 0
    pd.testing.assert_frame_equal(source, table())
    again = pickle.loads(pickle.dumps(panel))
    np.testing.assert_array_equal(again.values, panel.values)
    assert again.columns == panel.columns


def test_balance_drops_what_is_asked_and_says_so():
    holed = table().drop(index=[1, 6])  # 11 in 2003, 2 in 2004
    with pytest.raises(DataError, match=r"2 hole\(s\): 11 2003, 2 2004.*constant boundaries"):
        build_panel(holed, "unit", "period")
    with pytest.warns(SpatialZbWarning, match=r"2 unit.*11, 2"):
        assert list(build_panel(holed, "unit", "period", balance="drop_units").units) == ["033", "杭州"]
    with pytest.warns(SpatialZbWarning, match="2 period.*2003, 2004"):
        assert build_panel(holed, "unit", "period", balance="drop_periods").periods == (2006,)
    everywhere = table().drop(index=[1, 6, 11, 0, 5, 10])
    with (
        pytest.warns(SpatialZbWarning),
        pytest.raises(DataError, match="nothing is left"),
    ):
        build_panel(everywhere, "unit", "period", balance="drop_periods")


PERIOD_CASES = {"07": "07", "half": 2003.5, "date": "2003-01-01", "missing": None}


@pytest.mark.parametrize("case", PERIOD_CASES)
def test_11_periods_that_are_not_whole_numbers(case):
    bad = table().astype({"period": object})
    bad.loc[3, "period"] = PERIOD_CASES[case]
    with pytest.raises(DataError, match=r"whole numbers.*'period'"):
        build_panel(bad, "unit", "period")


IDS = {
    "blank": (lambda f: f.assign(unit=f["unit"].where(f["unit"] != "2")), DataError, "3 row"),
    "fraction": (lambda f: f.assign(unit=1.5), DataError, "not whole numbers"),
    "absent column": (lambda f: f.rename(columns={"unit": "code"}), DataError, "'unit'.*code"),
    "not a table": (lambda f: f.to_dict(), DataError, "DataFrame"),
    "no numbers": (lambda f: f[["unit", "period"]], DataError, "no numeric column"),
}


@pytest.mark.parametrize("case", IDS)
def test_tables_refused(case):
    change, error, words = IDS[case]
    with pytest.raises(error, match=words):
        build_panel(change(table()), "unit", "period")


def test_units_named_twice_or_none_in_common():
    with pytest.raises(AlignmentError, match="twice: 11"):
        build_panel(table(), "unit", "period", units=["11", "11"])
    with pytest.raises(AlignmentError, match="same codes"):
        build_panel(table(), "unit", "period", units=["a", "b"], how="inner")


def test_whole_number_ids_are_text_afterwards():
    frame = table().assign(unit=lambda f: f["unit"].map({u: 330100 + i for i, u in enumerate(UNITS)}))
    assert list(build_panel(frame, "unit", "period").units) == ["330100", "330101", "330102", "330103"]


def test_5_a_lost_leading_zero_is_put_back_only_where_one_code_fits():
    with pytest.warns(SpatialZbWarning, match="33 → 033"):
        found = build_panel(table().replace({"unit": {"033": "33"}}), "unit", "period", units=UNITS)
    np.testing.assert_array_equal(found.array("y"), build_panel(table(), "unit", "period", UNITS).array("y"))
    with pytest.raises(AlignmentError, match=r"033.*33|33.*033"):
        build_panel(table().replace({"unit": {"033": "33"}}), "unit", "period", units=[*UNITS, "0033"])
