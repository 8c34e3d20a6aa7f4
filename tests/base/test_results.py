"""A table of tests, and results that were bare frames in the last release."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest

from spatial_zb import SpecificationError
from spatial_zb.base.results import ResultTable, Row, TestTable
from spatial_zb.base.text import Text

ROWS = (
    Row("Wald", 4.2, 1, 0.04, Text("one sided", "单侧"), of="a", more={"radius": 0.5}),
    Row("LR", 3.9, 2, float("nan"), more={"radius": 0.6}),
)
TABLE = TestTable(ROWS, {"y": "industry"}, {"Wald": Text("Wald", "瓦尔德")})


def test_columns_are_those_of_the_contract_then_what_a_test_has_beside():
    frame = TABLE.tidy()
    assert list(frame) == ["test", "statistic", "df", "p_value", "note", "radius"]
    assert list(frame["test"]) == ["Wald a", "LR"]
    assert frame["df"].dtype == np.int64
    assert list(TestTable(()).tidy()) == ["test", "statistic", "df", "p_value", "note"]
    assert TABLE.glance().to_dict("records") == [{"y": "industry", "tests": 2}]
    assert TABLE.row("LR").statistic == 3.9
    assert TABLE.row("F") is None
    assert len(TABLE) == 2
    assert repr(TABLE).startswith("TestTable\ny industry · tests 2")


def test_names_are_in_the_language_of_the_reader():
    frame = TABLE.tidy("zh", {"a": Text("wage", "工资")})
    assert list(frame["test"]) == ["瓦尔德 工资", "LR"]
    assert list(frame["note"]) == ["单侧", ""]


def test_only_a_chain_points_to_a_model():
    with pytest.raises(SpecificationError, match="diagnose"):
        TABLE.recommend()


@pytest.mark.parametrize(
    "read",
    [
        lambda r: r["p_value"].iloc[0],
        lambda r: r.loc[0, "p_value"],
        lambda r: r.set_index("statistic").p_value.iloc[0],
        lambda r: dict(zip(r, r.iloc[0], strict=True))["p_value"],
    ],
)
def test_a_result_that_was_a_frame_answers_like_it_and_warns_at_the_caller(read):
    frame = pd.DataFrame({"statistic": [2.0], "p_value": [0.3]})
    for result in (ResultTable(frame, {"y": "a"}), TestTable(ROWS, old=frame)):
        with pytest.warns(DeprecationWarning, match=r"tidy\(\)") as caught:
            assert read(result) == 0.3
        assert caught[0].filename == __file__


def test_what_it_never_was_is_refused():
    with pytest.raises(TypeError, match="tidy"):
        TABLE["p_value"]
    with pytest.raises(AttributeError, match="no attribute 'p_values'"):
        TABLE.p_values  # noqa: B018
    with pytest.raises(AttributeError):
        ResultTable(pd.DataFrame()).nothing_like_it  # noqa: B018


def test_a_frame_that_was_handed_out_may_be_changed_and_results_can_be_sent():
    result = ResultTable(pd.DataFrame({"a": [1.0]}))
    result.tidy()["a"] = 2.0
    for again in (result, copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        assert list(again.tidy()["a"]) == [1.0]
