"""Blank cells: each rule by hand, every cell reported, nothing else touched, and refusals that name the cell."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spatial_zb.base.errors import DataError, SpatialZbWarning, SpecificationError
from spatial_zb.data.missing import blanked, fill_missing
from spatial_zb.study import load_study

ROOT = Path(__file__).resolve().parents[2]
UNITS, PERIODS = ["a", "b", "c", "d"], [2010, 2011, 2013]

# Growth 2011 -> 2013 of b, c, d: 2, 1.5, 4, so the median is 2; growth 2010 -> 2011: 2, 1, 1.
WAGE = {"a": [10.0, 12.0, 20.0], "b": [1.0, 2.0, 4.0], "c": [2.0, 2.0, 3.0], "d": [1.0, 1.0, 4.0]}


def table(*blank: tuple[str, str, int]) -> pd.DataFrame:
    rows = [(u, p, WAGE[u][t], 100.0 * WAGE[u][t]) for u in UNITS for t, p in enumerate(PERIODS)]
    frame = pd.DataFrame(rows, columns=["unit", "year", "wage", "emp"], index=range(50, 62))
    for column, u, p in blank:
        frame.loc[(frame.unit == u) & (frame.year == p), column] = np.nan
    return frame


def fill(frame: pd.DataFrame, rules: dict, **options: object) -> tuple[pd.DataFrame, pd.DataFrame]:
    return fill_missing(frame, rules, unit="unit", period="year", **options)


def cell(frame: pd.DataFrame, column: str, u: str, p: int) -> float:
    return frame.loc[(frame.unit == u) & (frame.year == p), column].item()


# --- filling -----------------------------------------------------------------------------------------------

FILLED = {
    "between, by time and not by row": ("interpolate", 2011, 10.0 + (20.0 - 10.0) / 3),
    "growth from the nearer period": ("median_growth", 2011, 10.0 * 1.0),
    "growth at the end": ("median_growth", 2013, 12.0 * 2.0),
    "growth at the start, backwards": ("median_growth", 2010, 12.0 * 1.0),
}


@pytest.mark.parametrize(("rule", "period", "value"), FILLED.values(), ids=FILLED.keys())
def test_a_cell_is_filled_and_reported(rule: str, period: int, value: float) -> None:
    frame = table(("wage", "a", period))
    filled, report = fill(frame, {"wage": rule})
    assert cell(filled, "wage", "a", period) == pytest.approx(value, rel=1e-14)
    assert report.to_dict("records") == [
        {
            "unit": "a",
            "period": period,
            "variable": "wage",
            "rule": rule,
            "value": pytest.approx(value, rel=1e-14),
        }
    ]


def test_nothing_but_blank_cells_is_touched() -> None:
    frame = table(("wage", "a", 2011), ("emp", "b", 2013)).sample(frac=1, random_state=3)
    before = frame.copy()
    filled, report = fill(frame, {"wage": "interpolate", "emp": "median_growth"})
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(filled.where(before.notna()), before)
    assert filled.index.equals(frame.index)
    assert not filled.isna().any(axis=None)
    assert len(report) == 2


def test_a_whole_table_stays_as_it_is() -> None:
    filled, report = fill(table(), {"wage": "interpolate", "emp": "drop_units"})
    pd.testing.assert_frame_equal(filled, table())
    assert report.empty
    assert list(report.columns) == ["unit", "period", "variable", "rule", "value"]


def test_filling_starts_from_printed_values_only() -> None:
    """Two blanks of one column: neither fill may change the other."""
    both, _ = fill(table(("wage", "a", 2013), ("wage", "b", 2010)), {"wage": "median_growth"})
    # Without b's value of 2010 its growth 2011 -> 2013 is as before.
    assert cell(both, "wage", "a", 2013) == pytest.approx(24.0, rel=1e-14)
    two, _ = fill(table(("wage", "a", 2011), ("wage", "a", 2013)), {"wage": "median_growth"})
    assert cell(two, "wage", "a", 2013) == pytest.approx(10.0 * 4.0, rel=1e-14)  # from 2010: 4, 1.5, 4


def test_median_growth_does_not_depend_on_the_unit_of_measurement() -> None:
    frame = table(("wage", "a", 2013))
    large = frame.assign(wage=1e6 * frame.wage)
    small, big = (cell(fill(f, {"wage": "median_growth"})[0], "wage", "a", 2013) for f in (frame, large))
    assert big == pytest.approx(1e6 * small, rel=1e-12)


def test_the_order_of_rows_does_not_matter() -> None:
    frame = table(("wage", "a", 2011), ("emp", "c", 2013))
    rules = {"wage": "interpolate", "emp": "median_growth"}
    filled, _ = fill(frame, rules)
    shuffled, _ = fill(frame.sample(frac=1, random_state=5), rules)
    pd.testing.assert_frame_equal(shuffled.sort_index(), filled)


def test_nullable_and_integer_columns_are_filled() -> None:
    frame = table(("wage", "a", 2011))
    frame["wage"] = frame["wage"].astype("Int64")
    assert cell(fill(frame, {"wage": "interpolate"})[0], "wage", "a", 2011) == pytest.approx(40 / 3)


# --- dropping ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "units", "periods"),
    [("drop_units", ["b", "c", "d"], PERIODS), ("drop_periods", UNITS, [2010, 2013])],
)
def test_whole_units_or_periods_are_dropped_with_a_warning(rule: str, units: list, periods: list) -> None:
    with pytest.warns(
        SpatialZbWarning, match=r"1 (unit|period)\(s\) left out for blank cells in wage"
    ) as caught:
        filled, report = fill(table(("wage", "a", 2011)), {"wage": rule})
    assert caught[0].filename == __file__
    assert sorted(filled.unit.unique()) == units
    assert sorted(filled.year.unique()) == periods
    assert len(filled) == len(units) * len(periods)  # still complete
    assert report[["unit", "period", "variable", "rule"]].values.tolist() == [["a", 2011, "wage", rule]]
    assert report["value"].isna().all()


def test_dropping_acts_before_filling() -> None:
    frame = table(("wage", "a", 2011), ("emp", "a", 2013))
    with pytest.warns(SpatialZbWarning):
        filled, report = fill(frame, {"wage": "drop_units", "emp": "interpolate"})  # could not interpolate a
    assert "a" not in set(filled.unit)
    assert report["variable"].tolist() == ["wage"]


# --- refusals ----------------------------------------------------------------------------------------------


def test_a_blank_cell_without_a_rule_is_refused_with_all_cells() -> None:
    frame = table(("wage", "a", 2011), ("wage", "c", 2013), ("emp", "b", 2010))
    with pytest.raises(DataError) as caught:
        fill(frame, {"wage": "error"}, columns=["wage", "emp"])
    for words in (
        "3 blank cell(s)",
        "wage of a in 2011",
        "wage of c in 2013",
        "emp of b in 2010",
        "[[missing]]",
    ):
        assert words in str(caught.value)


def test_blank_cells_of_columns_that_are_not_used_do_not_matter() -> None:
    frame = table(("emp", "b", 2010))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filled, report = fill(frame, {"emp": "drop_units"}, columns=["wage"])
    assert len(filled) == len(frame)
    assert report.empty


def empty_unit(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(wage=frame.wage.where(frame.unit != "a"))


REFUSED = {
    "interpolate at the end": (
        table(("wage", "a", 2013)),
        "interpolate",
        DataError,
        ["wage of a in 2013", "after it", "median_growth"],
    ),
    "interpolate at the start": (
        table(("wage", "a", 2010)),
        "interpolate",
        DataError,
        ["wage of a in 2010", "before it", "median_growth"],
    ),
    "interpolate an empty unit": (empty_unit(table()), "interpolate", DataError, ["wage of a in 2010"]),
    "growth of an empty unit": (
        empty_unit(table()),
        "median_growth",
        DataError,
        ["every other period", "Drop"],
    ),
    "too few others": (
        table(("wage", "a", 2013), ("wage", "b", 2013)),
        "median_growth",
        DataError,
        ["only 2 other unit(s)"],
    ),
    "everything dropped": (
        table(*(("wage", u, 2011) for u in UNITS)),
        "drop_units",
        DataError,
        ["drop every row"],
    ),
    "unknown rule": (table(), "mean", SpecificationError, ["mean", "interpolate", "drop_units"]),
    "text": (table().assign(wage="1,234"), "interpolate", DataError, ["text where numbers", "wage"]),
    "absent column": (table().drop(columns="wage"), "interpolate", DataError, ["'wage'"]),
    "hole": (table().iloc[1:], "interpolate", DataError, ["no row for a in 2010"]),
    "double row": (
        pd.concat([table(), table().iloc[:1]]),
        "interpolate",
        DataError,
        ["More than one row for a in 2010"],
    ),
    "no rows": (table().iloc[:0], "interpolate", DataError, ["no rows"]),
    "period of words": (
        table().assign(year="2010年"),
        "interpolate",
        DataError,
        ["'year' must hold a number"],
    ),
}


@pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")
@pytest.mark.parametrize(("frame", "rule", "error", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refusals(frame: pd.DataFrame, rule: str, error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        fill(frame, {"wage": rule})
    for word in words:
        assert word in str(caught.value)


# --- rules of single units, and figures set aside ----------------------------------------------------------


def test_a_rule_of_one_unit_goes_before_that_of_the_column() -> None:
    frame = table(("wage", "a", 2011), ("wage", "b", 2011))
    own = {("wage", "b"): "drop_units"}
    with pytest.warns(SpatialZbWarning, match=r"1 unit\(s\) left out for blank cells in wage: b\."):
        filled, report = fill(frame, {"wage": "interpolate"}, exceptions=own)
    assert set(filled["unit"]) == {"a", "c", "d"}
    assert dict(zip(report["unit"], report["rule"], strict=True)) == {"b": "drop_units", "a": "interpolate"}
    assert cell(filled, "wage", "a", 2011) == pytest.approx(10 + 10 / 3)
    grown, _ = fill(
        table(("wage", "a", 2011)), {"wage": "interpolate"}, exceptions={("wage", "a"): "median_growth"}
    )
    assert cell(grown, "wage", "a", 2011) == pytest.approx(10.0)


def test_a_rule_of_one_unit_does_not_cover_the_others() -> None:
    frame = table(("wage", "a", 2011), ("wage", "b", 2011))
    with pytest.raises(DataError, match=r"1 blank cell\(s\).*wage of a in 2011|1 blank.*a") as caught:
        fill(frame, {}, columns=["wage"], exceptions={("wage", "b"): "interpolate"})
    assert "of b" not in str(caught.value)


def test_blanked_cells_keep_their_figures_in_a_report() -> None:
    frame = table(("wage", "b", 2011))
    cells = pd.DataFrame(
        [("a", 2010, "wage"), ("b", 2011, "wage"), ("z", 2010, "wage")],
        columns=["unit", "period", "variable"],
    )
    before = frame.copy()
    out, printed = blanked(frame, cells, unit="unit", period="year")
    pd.testing.assert_frame_equal(frame, before)
    assert printed.to_dict("records") == [{"unit": "a", "period": 2010, "variable": "wage", "printed": 10.0}]
    assert out["wage"].isna().sum() == 2
    pd.testing.assert_frame_equal(out.drop(columns="wage"), frame.drop(columns="wage"))


# --- the study's own blank cells ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped():
    from spatial_zb.pipeline import prepare

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpatialZbWarning)
        found = prepare(load_study(ROOT / "studies/bay_area.toml"))
    return found, [str(note.message) for note in caught]


EMPLOYMENT = ("emp_urban_units", "emp_manufacturing", "emp_ict", "emp_scires")
#: Employment of another coverage, for three years at most.
GAPS = {"341800": (2011, 2012, 2013), "330900": (2014, 2015, 2016), "341300": (2015, 2016, 2017)}


def test_the_shipped_study_treats_its_blank_and_doubtful_cells_by_stated_rules(shipped) -> None:
    found, said = shipped
    report = found.filled
    assert "341500" not in found.panel.units
    cells = set(zip(report["unit"], report["period"], report["variable"], strict=True))
    luan = {
        ("341500", p, c) for p in (2011, 2012, 2013, *range(2015, 2020)) for c in EMPLOYMENT if c != "emp_ict"
    }
    sectors = ("share_secondary", "share_tertiary")
    shares = {(u, 2017, c) for u in {*found.panel.units, "341500"} - {"310000"} for c in sectors}
    assert cells == {
        *luan,
        *shares,
        *((u, p, c) for u, periods in GAPS.items() for p in periods for c in EMPLOYMENT),
        ("320800", 2010, "fiscal_exp_10k"),
        ("320700", 2013, "emp_ict"),
        ("341200", 2017, "avg_wage_yuan"),
        ("320700", 2019, "avg_wage_yuan"),
        ("321300", 2019, "univ_teachers"),
    } - {("341500", 2017, c) for c in sectors}  # of a unit that is left out only what made it so is told
    assert any("left out" in note and "341500" in note for note in said)
    assert sum("341800 (2011–2013)" in note and "another coverage" not in note for note in said) == 1
    assert any("imputed" in note and "80 printed figure(s) of share_" in note for note in said)
    assert any("Kept as printed" in note and "331000" in note for note in said)


def test_what_the_shipped_study_fills_in_lies_between_its_neighbours_in_time(shipped) -> None:
    frame = shipped[0].panel.frame()
    for row in shipped[0].filled.query("rule != 'drop_units'").itertuples():
        own = frame[frame["unit"] == row.unit].set_index("period")[row.variable]
        known = [p for p in own.index if p not in GAPS.get(row.unit, (row.period,))]
        near = own[sorted(known, key=lambda p: abs(p - row.period))[:3]]
        assert 0.8 * near.min() < row.value < 1.3 * near.max(), row
        assert own[row.period] == row.value


def test_the_shipped_study_measures_quotients_against_the_printed_totals(shipped) -> None:
    """In 2010 the sum over cities of scientific research is 11.7 % too large, by slips of two cities far away."""
    found, said = shipped
    printed = (
        pd.read_csv(ROOT / "data/national_city_totals_printed_2003_2015.csv").set_index("year").loc[2010]
    )
    row = found.panel.frame().query("unit == '330100' and period == 2010").iloc[0]
    nation = printed["emp_scires"] / printed["emp_urban_units"]
    assert row["talent_lq"] == pytest.approx(row["emp_scires"] / row["emp_urban_units"] / nation, rel=1e-12)
    assert any(
        "emp_scires" in note and "2007–2015 from" in note and "2016–2019 from" in note for note in said
    )
