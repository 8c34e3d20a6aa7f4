"""Findings in one sentence: who leads whom."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spatial_zb.base.text import Text
from spatial_zb.report.verdict import leads_sentence


@pytest.mark.parametrize(
    ("p", "clustered", "word"),
    [
        ((0.6, 0.9), (0.6, 0.9), "Neither is seen to lead"),
        ((0.01, 0.9), (0.02, 0.9), "the reverse is not seen"),
        ((0.01, 0.9), (0.2, 0.9), "Neither is seen to lead"),
        ((0.01, 0.02), (np.nan, np.nan), "each help to foresee the other"),
    ],
)
def test_who_leads_whom_takes_both_tests(p, clustered, word):
    """A likelihood ratio alone is not enough where the clustered test disagrees."""
    names = {"one": Text("Industry", "产业"), "two": Text("Talent", "人才")}
    rows = {
        "source": ["two", "one"],
        "response": ["one", "two"],
        "part": "both",
        "p_value": p,
        "p_cluster": clustered,
    }
    said = leads_sentence(pd.DataFrame(rows), names)
    assert word in said.en
    assert len(said.en.split()) <= 25
    assert leads_sentence(pd.DataFrame(rows | {"p_value": [np.nan, 0.1]}), names) is None
