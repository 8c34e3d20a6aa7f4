"""One cell of the study of systems over time again, and what its page claims."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from validation import dynamic_system as study

TABLE = Path(__file__).parents[2] / "docs" / "validation" / "dynamic_system.csv"


@pytest.fixture(scope="module")
def table():
    return pd.read_csv(TABLE)


@pytest.fixture(scope="module")
def tests():
    return pd.read_csv(TABLE.with_name("dynamic_system_tests.csv"))


def test_every_cell_is_published(table, tests):
    assert set(tests[["n", "T", "tau", "ar"]].itertuples(index=False, name=None)) == {
        cell.keys for cell in study.cells()
    }
    found = set(table[["n", "T", "tau", "ar"]].itertuples(index=False, name=None))
    assert found == {cell.keys for cell in study.cells()}


def test_what_the_page_says_of_independent_errors(table):
    free = table[table["ar"] == 0]
    lags = free[(free["kind"] == "coefficient")].set_index(["tau", "n", "T", "of"])
    for tau in (0.5, 0.9):
        for n in (41, 90):
            row = lags.loc[(tau, n, 13, "a: L_a")]
            assert abs(row["bias"]) <= 0.02
            assert row["bias_uncorrected"] < -0.1
    cross = free[free["of"].isin(["a: L_b", "b: L_a", "a: L_W_b", "b: L_W_a"])]
    assert cross["cover_information"].mean() == pytest.approx(0.948, abs=0.01)
    answers = free[free["kind"] == "response"]
    assert (answers["cover_cluster"] >= 0.92).mean() > 0.95
    assert answers.groupby(["n", "T", "tau"])["cover_cluster"].mean().min() >= 0.95
    assert answers[["cover_information", "cover_cluster"]].min().tolist() == [0.79, 0.865]


def test_what_the_page_says_of_who_leads_whom(tests):
    free = tests[tests["ar"] == 0]
    null, led = free[free["truth"] == 0], free[free["truth"] == 1]
    assert null["reject_f"].mean() == pytest.approx(0.053, abs=0.001)
    assert null[null["n"] >= 41]["reject_f"].std() < 0.011
    assert sorted(null["reject_f"])[-3:] == [0.07, 0.08333, 0.085]
    assert null["reject_ratio"].max() > 0.14
    assert null["reject_f_and_cluster"].max() <= 0.055
    both = led[led["of"].str.endswith("both")].groupby(["n", "T"])["reject_f"]
    assert both.min()[41, 8] == 0.6
    assert both.max()[11, 13] < 0.36


def test_what_the_page_says_of_errors_that_last(table, tests):
    lasting = table[(table["ar"] > 0) & (table["n"] >= 41)]
    reverse = tests[(tests["ar"] > 0) & (tests["n"] >= 41) & (tests["of"] == "a leads b, both")]
    assert reverse["reject_f"].between(0.07, 0.46).all()
    assert lasting[lasting["of"] == "serial correlation"]["reject_cluster"].min() >= 0.69


def test_p_values_of_a_small_cell():
    rows = study.tested(study.Cell(11, 8, 0.5, 0.0), 0, False)
    assert [row["of"] for row in rows][:3] == ["a leads b, own", "a leads b, neighbours", "a leads b, both"]
    assert all(0 <= row["f"] <= 1 and 0 <= row["cluster"] <= 1 and np.isnan(row["ratio"]) for row in rows)


def test_a_replicate_of_a_small_cell():
    found = study.replicate(study.Cell(11, 8, 0.5, 0.0), 0)
    truth = study.theta_of(study.Cell(11, 8, 0.5, 0.0).truth)
    assert found["theta"].shape == truth.shape
    assert np.all(np.isfinite(found["se"]["cluster"]))


@pytest.mark.slow
def test_a_cell_again(table):
    cell = study.Cell(41, 13, 0.5, 0.0)
    again = study.run_cell(cell, 60).set_index("of")
    published = table[(table[["n", "T", "tau", "ar"]] == list(cell.keys)).all(axis=1)].set_index("of")
    for term in ("a: L_a", "a: L_b", "b: L_a"):
        assert again.loc[term, "bias"] == pytest.approx(published.loc[term, "bias"], abs=0.02)
