"""The gate: a long table of any order becomes one array, matched by id."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_zb import AlignmentError, DataError, Panel, SpatialZbWarning, build_panel
from spatial_zb.base.text import Text

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


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(DataError, match="no column 'income'; it has unit, period, y, x"):
        build_panel(table(), columns=["y", "income"])


@pytest.mark.parametrize("key", ["unit", "period"])
def test_a_column_that_tells_rows_apart_is_no_variable(key):
    with pytest.raises(DataError, match=f"'{key}' tells the unit or the period"):
        build_panel(table(), columns=["y", key])


#: Factor of one cell over the others of its unit, spread of these, number of periods → whether it is mentioned.
SLIPS = {
    "a slip": (400.0, 1.2, 5, True),
    "large and no slip": (250.0, 1.2, 5, False),
    "the others differ too": (400.0, 40.0, 5, False),
    "the others differ somewhat": (400.0, 25.0, 5, True),
    "just enough periods to tell": (400.0, 1.2, 4, True),
    "too few periods to tell": (400.0, 1.2, 3, False),
}


@pytest.mark.parametrize("case", SLIPS)
def test_a_value_is_mentioned_beside_others_of_its_unit_that_are_alike(case, recwarn):
    factor, spread, T, mentioned = SLIPS[case]
    own = np.linspace(1.0, spread, T)
    own[1] = factor * own.max()
    large = np.full(T, 1e6)  # so that the cell does not stand out of all cells
    rows = [(u, 2000 + t, v[t]) for u, v in (("a", own), ("b", large)) for t in range(T)]
    build_panel(pd.DataFrame(rows, columns=["unit", "period", "y"]))
    assert (
        any("y stands out" in str(note.message) and "a in 2001" in str(note.message) for note in recwarn)
        == mentioned
    )


DAYS = pd.Series(pd.date_range("2020-01-01", periods=12))
NO_AMOUNTS = {
    "dates": (DAYS, "dates.*033 2003.*year"),
    "dates as objects": (DAYS.astype(object), "dates.*year"),
    "days of a time zone": (DAYS.dt.tz_localize("UTC"), "dates.*year"),
    "months": (DAYS.dt.to_period("M"), "dates.*year"),
    "spans of time": (DAYS - DAYS[0], "spans of time.*days"),
    "spans as objects": ((DAYS - DAYS[0]).astype(object), "spans of time.*days"),
    "complex numbers": (pd.Series(np.arange(12) + 1j), "complex.*033 2003.*real part"),
    "complex objects": (pd.Series(np.arange(12) + 1j).astype(object), "complex.*real part"),
}


@pytest.mark.parametrize("case", NO_AMOUNTS)
def test_columns_that_are_no_amounts_are_refused_when_asked_for(case):
    column, words = NO_AMOUNTS[case]
    with pytest.raises(DataError, match=f"'v'.*{words}"):
        build_panel(table().assign(v=column), columns=["y", "v"])


def test_a_complex_column_is_refused_and_a_date_left_out_where_none_is_asked_for():
    assert build_panel(table().assign(v=DAYS)).columns == ("y", "x")
    with pytest.raises(DataError, match="complex"):
        build_panel(table().assign(v=1j))


AB = pd.Index(["a", "b"])
NO_PANELS = {
    "two axes": ((np.zeros((1, 2)), (1,), AB, ("x",)), DataError, r"\(1, 2\)"),
    "too few periods": (
        (np.zeros((2, 2, 1)), (1,), AB, ("x",)),
        DataError,
        "2 × 2 × 1.*1 period.*2 unit.*1 var",
    ),
    "too many units": ((np.zeros((1, 3, 1)), (1,), AB, ("x",)), DataError, "1 × 3 × 1.*2 unit"),
    "too few names": ((np.zeros((1, 2, 2)), (1,), AB, ("x",)), DataError, "1 × 2 × 2.*1 variable"),
    "a name alone": ((np.zeros((1, 2, 1)), (1,), AB, "x"), DataError, r"columns.*'x'.*\('x',\)"),
    "a year alone": ((np.zeros((1, 2, 1)), 2003, AB, ("x",)), DataError, r"periods.*2003.*\(2003,\)"),
    "a unit alone": ((np.zeros((1, 1, 1)), (1,), "a", ("x",)), DataError, "units.*'a'"),
    "names that are none": ((np.zeros((1, 2, 1)), (1,), AB, (1,)), DataError, "text.*1"),
    "years as text": ((np.zeros((1, 2, 1)), ("2003",), AB, ("x",)), DataError, "whole numbers.*'2003'"),
    "a unit twice": ((np.zeros((1, 2, 1)), (1,), pd.Index(["a", "a"]), ("x",)), AlignmentError, "twice: a"),
    "a period twice": ((np.zeros((2, 2, 1)), (1, 1), AB, ("x",)), DataError, "ascend.*1, 1"),
    "periods backwards": ((np.zeros((2, 2, 1)), (2, 1), AB, ("x",)), DataError, "ascend.*2, 1"),
    "a variable twice": ((np.zeros((1, 2, 2)), (1,), AB, ("x", "x")), DataError, "twice: x"),
    "words": (([[["a"], ["b"]]], (1,), AB, ("x",)), DataError, "numbers"),
    "ragged": (([[[1.0], [2.0, 3.0]]], (1,), AB, ("x",)), DataError, "numbers"),
    "complex": ((np.ones((1, 2, 1)) * 1j, (1,), AB, ("x",)), DataError, "complex"),
    "dates": ((np.zeros((1, 2, 1), "datetime64[D]"), (1,), AB, ("x",)), DataError, "numbers"),
}


@pytest.mark.parametrize("case", NO_PANELS)
def test_values_and_labels_that_do_not_fit_are_refused(case):
    given, error, words = NO_PANELS[case]
    with pytest.raises(error, match=words):
        Panel(*given)


def test_labels_may_be_lists():
    panel = Panel(np.zeros((2, 2, 1)), [2003, np.int64(2004)], ["a", "b"], ["x"])
    assert (panel.periods, list(panel.units), panel.columns) == ((2003, 2004), ["a", "b"], ("x",))
    assert panel.select(units=["b"]).array("x").shape == (2, 1)


COLUMNS = {
    "one number": (1.0, r"'z'.*\(3, 4\).*one number"),
    "one axis": (np.ones(4), r"'z'.*\(3, 4\).*shape \(4,\)"),
    "turned": (np.ones((4, 3)), r"'z'.*\(3, 4\).*shape \(4, 3\)"),
    "text": ("high", "'z'.*numbers"),
    "words": (np.full((3, 4), "high"), "'z'.*numbers"),
    "complex": (np.ones((3, 4)) * 1j, "'z'.*complex"),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_new_columns_that_do_not_fit_are_refused(case):
    given, words = COLUMNS[case]
    with pytest.raises(DataError, match=words):
        build_panel(table()).with_columns({"z": given})


def test_a_selection_names_each_once_and_may_be_empty():
    panel = build_panel(table())
    with pytest.raises(AlignmentError, match="twice: 11"):
        panel.select(units=["11", "2", "11"])
    with pytest.raises(AlignmentError, match="twice: 2003"):
        panel.select(periods=[2003, 2003])
    with pytest.raises(AlignmentError, match=r"list.*\['11'\]"):
        panel.select(units="11")
    with pytest.raises(AlignmentError, match=r"list.*\[2003\]"):
        panel.select(periods=2003)
    assert repr(panel.select(units=[])) == "Panel(0 units × 3 periods 2003–2006, 2 variables)"
    assert repr(panel.select(periods=[])) == "Panel(4 units × 0 periods, 2 variables)"


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


def test_polygons_by_row_number_are_told_which_column_has_the_ids():
    regions = pd.DataFrame({"name": ["a", "b", "c", "d"], "code": UNITS})
    with pytest.raises(AlignmentError, match=r"set_index\('code'\)") as refused:
        build_panel(table(), "unit", "period", units=regions)
    assert "行号" in refused.value.zh
    assert list(build_panel(table(), "unit", "period", units=regions.set_index("code")).units) == UNITS
