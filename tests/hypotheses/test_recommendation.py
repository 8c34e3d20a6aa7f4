"""The chain in sentences, and the model it points to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_examples import directed_knn

from spatial_zb import DurbinSpec, SpecificationError, diagnose
from spatial_zb.base.results import Row, TestTable
from spatial_zb.base.text import Text
from spatial_zb.hypotheses.table import decide, recommend
from spatial_zb.simulate import durbin as simulate_durbin

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

W9 = directed_knn(9)
SPEC = DurbinSpec("y", ["a", "b"])


def table_of(more: dict[str, float] | None = None, effects: str = "two_way", **p_values: float) -> TestTable:
    """A table with the p-values that a decision reads, and of tests by name; the rest is silent."""
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
    rows += tuple(Row(name, 1.0, 1.0, p, Text("note", "注")) for name, p in (more or {}).items())
    facts = {"y": SPEC.y, "fixed_effects": effects, "weights": "queen", "n_units": 41, "n_periods": 11}
    return TestTable(rows, facts, reading=recommend)


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
    with pytest.raises(SpecificationError, match="language must be one of en, zh, both"):
        recommend(table, "fr")


def test_names_get_the_words_there_are_for_them() -> None:
    table = table_of()
    vif = Row("VIF", 3.0, NONE, NONE, Text("note", "注"), "W_b")
    table = replace(table, rows=(*table.rows, vif))
    labels = {SPEC.y: Text("Output", "产出"), "b": Text("Wage", "工资"), "queen": Text("Contiguity", "邻接")}
    english, chinese = (table.recommend(language, labels) for language in ("en", "zh"))
    assert "Tests of Output: two-way effects, W = Contiguity, 41 units" in english
    assert "(highest: W × Wage, VIF = 3.0)" in english
    assert "产出 的检验：" in chinese
    assert "（最大：W × 工资，VIF = 3.0）" in chinese
    assert "(highest: W_b, VIF = 3.0)" in table.recommend()


def test_silence_is_not_called_proof() -> None:
    text = recommend(table_of())
    assert "No sign of a spatial lag" in text
    assert "with caution" in text
    assert "not available" not in text
    assert "LM lag 1.00, p = 0.070 (not significant)" in recommend(table_of(lag=0.07))
    assert "LM lag 1.00, p = 0.030 (significant)" in recommend(table_of(lag=0.03))
    assert "could not be tested" in recommend(table_of(sar=NONE, wsar=NONE, lag=YES))


#: p-values of tests by name or key → what the step says in English, and in Chinese.
STEPS = {
    "no spatial dependence": (
        {},
        "No sign of a spatial lag or a spatial error",
        "没有空间滞后或空间误差的迹象",
    ),
    "a lag": (
        {"lag": YES, "error": YES, "rlag": YES},
        "They point to a spatial lag of y",
        "指向被解释变量的空间滞后",
    ),
    "an error": ({"lag": YES, "error": YES, "rerror": YES}, "They point to a spatial error", "指向空间误差"),
    "only the lag": ({"lag": YES}, "these tests do not tell a lag from an error", "不能区分滞后与误差"),
    "only the error": ({"error": YES}, "these tests do not tell a lag from an error", "不能区分滞后与误差"),
    "both": (
        {"lag": YES, "error": YES, "rlag": YES, "rerror": YES},
        "these tests do not tell a lag from an error",
        "不能区分滞后与误差",
    ),
    "LR and Wald disagree": (
        {"sar": YES, "wsar": NO},
        "To SAR: rejected (LR SDM to SAR 1.00, p = 0.001; Wald SDM to SAR 1.00, p = 0.400, the two tests disagree)",
        "两个检验不一致",
    ),
    "effects as specified": (
        {"F unit effects": YES, "F time effects": YES},
        "They point to two-way effects, as specified",
        "结果指向双向固定效应，与设定一致",
    ),
    "other effects": (
        {"F unit effects": YES, "F time effects": NO},
        "They point to unit effects, unlike the specification",
        "结果指向个体固定效应，与设定不同",
    ),
    "effects of time": (
        {"F unit effects": NO, "F time effects": YES},
        "They point to time effects",
        "指向时间固定效应",
    ),
    "no effects": (
        {"F unit effects": NO, "F time effects": NO},
        "They point to no fixed effects",
        "指向不加固定效应",
    ),
    "fixed effects": (
        {"Hausman": YES, "Mundlak": YES},
        "fixed effects, not random ones",
        "应取固定效应而非随机效应",
    ),
    "random effects": (
        {"Hausman": NO, "Mundlak": NO},
        "No sign that random effects would be biased",
        "没有迹象表明",
    ),
    "no Mundlak": ({"Hausman": NO, "Mundlak": NONE}, "Fixed effects are the safe choice", "固定效应较为稳妥"),
    "no Hausman": ({"Hausman": NONE, "Mundlak": NO}, "Hausman undefined; Mundlak 1.00", "Hausman 检验无定义"),
    "the spatial ones first": (
        {"Hausman": NO, "Mundlak": NO, "Hausman, spatial": YES, "Mundlak, spatial": YES},
        "Mundlak, spatial 1.00, p = 0.001 (significant). Unit effects go with the regressors",
        "个体效应与自变量相关",
    ),
    "an error is left": (
        {"LM error from SDM": YES},
        "Spatial dependence is left after SDM: look for an omitted variable",
        "SDM 之后仍有空间依赖",
    ),
}


@pytest.mark.parametrize("case", STEPS)
def test_each_step_says_what_its_tests_found(case: str) -> None:
    given, en, zh = STEPS[case]
    keys = {name: p for name, p in given.items() if name.isalpha() and name.islower()}
    table = table_of({name: p for name, p in given.items() if name not in keys}, **keys)
    assert en in recommend(table)
    assert zh in recommend(table, "zh")


def test_what_errors_still_hold_is_said_with_the_remedy() -> None:
    found = recommend(table_of({"CD (Pesaran)": YES}, "unit"))
    assert "CD (Pesaran) 1.00" in found
    assert "add time effects" in found
    found = recommend(table_of({"Cross-section dependence": YES}))
    assert "beyond time effects" in found
    table = table_of({"Serial correlation (LM*)": YES, "Variances and place in W": YES})
    for language in ("en", "zh"):
        assert 'covariance="cluster"' in recommend(table, language)
        assert 'estimator="robust_score"' in recommend(table, language)
    assert "cluster" not in recommend(table_of({"Serial correlation (LM*)": NO}))
    assert "sandwich" in recommend(table_of({"Koenker-Bassett": YES}))


def test_lm_statistics_have_no_sign_and_negative_dependence_is_said() -> None:
    rows = (Row("Moran of residuals", -2.5, float("nan"), 0.01, Text("", "")),)
    table = table_of(lag=YES, rlag=YES)
    told = replace(table, rows=table.rows + rows)
    assert "Residuals of neighbours are unlike, not alike (Moran, z = -2.50)" in recommend(told)
    assert "unlike" not in recommend(table)


@pytest.mark.parametrize(
    ("worst", "words"), [(9.9, "not a concern (highest: b, VIF = 9.9)"), (10.1, "is high (b, VIF")]
)
def test_collinearity_is_that_of_the_worst_regressor(worst: float, words: str) -> None:
    rows = tuple(
        Row("VIF", v, NONE, NONE, Text("", ""), of) for v, of in ((2.0, "a"), (worst, "b"), (3.0, "c"))
    )
    table = replace(table_of(), rows=table_of().rows + rows)
    assert words in recommend(table)
