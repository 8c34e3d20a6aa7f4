"""The study of sets for weak instruments: its table holds what its page says."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "validation"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(FOLDER / "sets.csv").query("n == 41 or terms == 1")


def test_joint_sets_keep_their_level(table):
    assert table[table["of"] == "joint"]["coverage"].between(0.93, 0.97).all()
    single = table[table["of"] != "joint"]
    assert (single["coverage"] >= 0.93).all()
    assert (single[single["n"] == 41]["coverage_projection"] >= 0.985).all()


def test_useless_instruments_leave_no_bounds_and_strong_ones_do(table):
    single = table[(table["of"] != "joint") & (table["of"] != "total")]
    noise = single[single["strength"] == 0]
    assert (noise[noise["terms"] == 3]["open"] >= 0.99).all()
    assert (noise["open"] >= 0.95 - 0.02).all()
    strong = single[single["strength"] == 1]
    assert (strong["open"] <= 0.01).all()
    assert (strong["median_length"] <= 2).all()
