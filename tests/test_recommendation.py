"""The chain in sentences, and the model it points to."""

from __future__ import annotations

import pytest
from small_examples import directed_knn

from spatial_zb import DurbinSpec, SpecificationError, diagnose, simulate_durbin
from spatial_zb.chain_table import Row, TestTable
from spatial_zb.recommendation import decide, recommend
from spatial_zb.text import Text

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

W9 = directed_knn(9)
SPEC = DurbinSpec("y", ["a", "b"])


def table_of(**p_values: float) -> TestTable:
    """A table with the p-values that a decision reads; the rest is silent."""
    keys = {
        "lag": "LM lag",
        "error": "LM error",
        "rlag": "LM lag, robust",
        "rerror": "LM error, robust",
        "slx": "F Durbin terms, OLS to SLX",
        "sar": "LR SDM to SAR",
        "wsar": "Wald SDM to SAR",
        "sem": "LR SDM to SEM",
        "wsem": "Wald SDM to SEM",
    }
    rows = tuple(Row(n, 1.0, 1.0, p_values.get(k, 0.5), Text("note", "注")) for k, n in keys.items())
    return TestTable(rows, SPEC, "queen", "lee_yu", "two_way", 41, 11)


NONE, YES, NO = float("nan"), 0.001, 0.4


@pytest.mark.parametrize(
    ("p", "family", "firm"),
    [
        ({}, "OLS", False),
        ({"lag": YES, "rlag": YES, "sar": YES, "sem": YES}, "SDM", True),
        ({"lag": YES, "rlag": YES, "sar": NO, "sem": YES}, "SAR", True),
        ({"lag": YES, "rerror": YES, "sar": NO, "sem": YES}, "SDM", False),
        ({"error": YES, "rerror": YES, "sar": YES, "sem": NO}, "SEM", True),
        ({"error": YES, "rlag": YES, "sar": YES, "sem": NO}, "SDM", False),
        ({"lag": YES, "rlag": YES, "sar": NO, "sem": NO}, "SAR", False),
        ({"lag": YES, "sar": NO, "sem": NO}, "SDM", False),
        ({"lag": YES, "rlag": YES, "sar": NONE, "wsar": NONE, "sem": NONE, "wsem": NONE}, "SAR", False),
        ({"lag": YES, "rlag": YES, "sar": YES, "sem": NONE, "wsem": NONE}, "SDM", False),
        ({"slx": YES, "sar": YES, "sem": YES}, "SDM", True),
    ],
    ids=str,
)
def test_decisions(p: dict[str, float], family: str, firm: bool) -> None:
    found = decide(table_of(**p))
    assert (found.family, found.firm) == (family, firm)


def test_sentences_carry_the_statistics_and_say_what_is_not_significant() -> None:
    table = diagnose(SPEC, simulate_durbin(W9, 6, {"a": 1.0, "b": -0.5}, rho=0.3, rng=2), W9)
    text = table.recommend()
    for name in ("LM lag", "LM error, robust", "LR SDM to SAR", "Wald SDM to SEM", "F unit effects"):
        assert f"{name} {table.row(name).statistic:.2f}" in text
    assert "not significant" in text
    assert "With 9 units" in text
    assert table.recommend("both") == text + "\n\n" + table.recommend("zh")
    assert "不显著" in table.recommend("zh")
    with pytest.raises(SpecificationError, match="language"):
        recommend(table, "fr")


def test_silence_is_not_called_proof() -> None:
    text = recommend(table_of())
    assert "No sign of a spatial lag" in text
    assert "with caution" in text
    assert "not available" not in text
    assert "LM lag 1.00, p = 0.070 (not significant)" in recommend(table_of(lag=0.07))
    assert "LM lag 1.00, p = 0.030 (significant)" in recommend(table_of(lag=0.03))
    assert "could not be tested" in recommend(table_of(sar=NONE, wsar=NONE, lag=YES))
