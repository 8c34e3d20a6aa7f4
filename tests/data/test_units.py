"""Matching units by id, and units of constant boundary."""

from __future__ import annotations

from types import SimpleNamespace

import geopandas
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import box

from spatial_zb.base.errors import DataError, SpecificationError
from spatial_zb.data.gate import build_panel
from spatial_zb.data.units import constant_units, match_report, padded

MAP = geopandas.GeoDataFrame(
    {"name_zh": ["杭州市", "宁波市", "温州市"], "name_en": ["Hangzhou", "Ningbo", "Wenzhou"]},
    index=["0330", "0331", "0332"],
    geometry=[box(i, 0, i + 1, 1) for i in range(3)],
    crs=4490,
)


def test_match_report_says_who_is_where():
    frame = pd.DataFrame({"unit": ["330", "0331", "温州", "999"], "period": 2019, "y": 1.0})
    report = match_report(frame, MAP, SimpleNamespace(ids=["0330", "0331", "0777"]))
    assert report.matched == ("0331",)
    assert report.only_in_panel == ("330", "温州", "999")
    assert report.only_on_map == ("0332",)
    assert report.only_in_weights == ("0777",)
    near = report.table.set_index("unit")["nearest"]
    assert near["330"] == "0330"
    assert near["温州"] == "0332 (温州市)"
    assert near["999"] == ""
    assert "3 only in the panel: 330, 温州, 999" in str(report)
    assert "1 missing in the panel only: 0330" in str(report)
    assert "on the map only" not in str(report)
    assert "温州 may be 0332 (温州市)" in str(report)


def test_match_report_of_a_panel():
    panel = build_panel(pd.DataFrame({"unit": list(MAP.index), "period": 1, "y": [1.0, 2.0, 3.0]}))
    report = match_report(panel, MAP)
    assert set(report.matched) == set(MAP.index)
    assert report.table.empty
    with pytest.raises(SpecificationError, match="nothing to compare"):
        match_report(panel)
    with pytest.raises(DataError, match=r"no column 'unit'.*code"):
        match_report(pd.DataFrame({"code": ["1"]}), MAP)


@pytest.mark.parametrize(
    ("found", "wanted", "pairs"),
    [
        (["33"], ["033"], {"33": "033"}),
        (["033"], ["33"], {"033": "33"}),
        (["33"], ["033", "0033"], {}),  # which one?
        (["33", "033"], ["033"], {}),  # 033 is there already
        (["a"], ["0a"], {}),
    ],
)
def test_leading_zeros_are_put_back_only_when_one_code_fits(found, wanted, pairs):
    assert padded(found, wanted) == pairs


PARTS = pd.DataFrame(
    {
        "id": ["a", "b", "c", "a", "b", "c"],
        "year": [2000] * 3 + [2010] * 3,
        "people": [10.0, 30, 5, 20, np.nan, 6],
        "rate": [1.0, 2, 4, 1, 2, 4],
    }
)
WHOLE = {"a": "ab", "b": "ab", "c": "c"}


def test_sums_and_weighted_means_by_period():
    found = constant_units(
        PARTS, WHOLE, unit="id", sums=["people"], weighted_means={"rate": "people"}, by=["year"]
    ).set_index(["constant_unit", "year"])
    assert found.loc[("ab", 2000)].tolist() == [40, 1.75]
    assert found.loc[("c", 2010)].tolist() == [6, 4]
    assert found.loc[("ab", 2010)].isna().all()  # a blank part leaves the whole unknown


def test_blank_parts_are_skipped_only_on_request():
    found = constant_units(
        PARTS,
        WHOLE,
        unit="id",
        sums=["people"],
        weighted_means={"rate": "people"},
        by=["year"],
        blanks="skip",
    ).set_index(["constant_unit", "year"])
    assert found.loc[("ab", 2010)].tolist() == [20, 1]
    all_blank = PARTS.assign(people=np.nan)
    empty = constant_units(all_blank, WHOLE, unit="id", sums=["people"], by=["year"], blanks="skip")
    assert empty["people"].isna().all()


def test_the_total_stays_whatever_the_order_of_rows():
    kept = PARTS[PARTS["year"] == 2000]
    first = constant_units(kept, WHOLE, unit="id", sums=["people"])
    other = constant_units(kept.iloc[::-1], WHOLE, unit="id", sums=["people"])
    pd.testing.assert_frame_equal(first, other)
    assert first["people"].sum() == kept["people"].sum()


REFUSED = {
    "unknown unit": ({"concordance": {"a": "ab"}}, DataError, "no constant unit for b, c"),
    "unit twice": ({"by": []}, DataError, "more than one row for a, b, c"),
    "no variable": ({"sums": []}, SpecificationError, "sums="),
    "declared twice": ({"weighted_means": {"people": "rate"}}, SpecificationError, "people is declared"),
    "no column": ({"sums": ["men"]}, DataError, r"no column 'men'"),
    "text": ({"sums": ["id"], "unit": "id"}, DataError, "'id' holds text"),
    "blanks": ({"blanks": "zero"}, SpecificationError, "blank, skip"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    change, error, words = REFUSED[case]
    options = {"concordance": WHOLE, "unit": "id", "sums": ["people"], "by": ["year"], **change}
    with pytest.raises(error, match=words):
        constant_units(PARTS, **options)


def test_weights_of_a_mean_must_make_sense():
    with pytest.raises(DataError, match="add up to zero in ab, c"):
        constant_units(PARTS[:3].assign(people=0.0), WHOLE, unit="id", weighted_means={"rate": "people"})
    with pytest.raises(DataError, match="negative"):
        constant_units(PARTS[:3].assign(people=-1.0), WHOLE, unit="id", weighted_means={"rate": "people"})
