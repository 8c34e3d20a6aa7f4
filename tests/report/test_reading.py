"""Plain words say what the numbers say, and no more."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from spatial_zb.base.text import Text
from spatial_zb.report.reading import effect_reading, moran_reading, system_reading, system_verdict

NAMES = {"x": Text("talent", "人才"), "y": Text("industry", "产业")}
WHERE = Text("Delta", "长三角")


def effects(direct: tuple[float, float, float], indirect: tuple[float, float, float]) -> pd.DataFrame:
    rows = [("x", kind, *values) for kind, values in (("direct", direct), ("indirect", indirect))]
    return pd.DataFrame(rows, columns=["term", "effect", "estimate", "conf_low", "conf_high"])


NAN = float("nan")
JUDGED = {
    "positive": ((0.2, 0.1, 0.3), "excludes zero", "不含零"),
    "negative": ((-0.2, -0.3, -0.1), "excludes zero", "不含零"),
    "unsure": ((0.2, -0.1, 0.5), "not distinguishable", "无显著差异"),
    "touching": ((0.2, 0.0, 0.4), "not distinguishable", "无显著差异"),
    "no interval": ((0.2, NAN, NAN), "no interval", "无法给出"),
}


@pytest.mark.parametrize("case", JUDGED)
def test_an_effect_is_hedged_by_its_interval(case):
    values, english, chinese = JUDGED[case]
    text = effect_reading(effects(values, (9.0, 8.0, 10.0)), "x", NAMES["y"], NAMES, WHERE)
    home_en, home_zh = text.en.split("and with")[0], text.zh.split("其他地区")[0]
    assert english in home_en
    assert chinese in home_zh
    assert f"{values[0]:+.3f}".replace("-", "−") in home_en


def test_effects_without_standard_errors_are_not_read():
    """What did not converge has numbers, of which nothing may be said."""
    text = effect_reading(effects((-133.3, NAN, NAN), (-3057.2, NAN, NAN)), "x", NAMES["y"], NAMES, WHERE)
    for said in (text.en, text.zh):
        assert "133" not in said
        assert "nan" not in said
    assert "nothing is said" in text.en
    assert "不作解读" in text.zh


def test_what_is_not_computed_says_why():
    why = Text("effects are n.c.: ρ reaches one", "效应未计算：ρ触及1")
    text = effect_reading(effects((NAN, NAN, NAN), (NAN, NAN, NAN)), "x", NAMES["y"], NAMES, WHERE, why=why)
    assert text.en.endswith("effects are n.c.: ρ reaches one.")
    assert text.zh.endswith("效应未计算：ρ触及1。")


@pytest.mark.parametrize("found", [(0.4, 0.3, 0.5), None])
def test_a_model_without_spillovers_tests_none(found):
    """FINDINGS B7: an SEM said "+0.000 [+0.000, +0.000], not distinguishable from zero", which no data can change."""
    spatial = None
    if found is not None:
        spatial = pd.DataFrame([("lam", *found)], columns=["term", "estimate", "conf_low", "conf_high"])
    text = effect_reading(
        effects((0.2, 0.1, 0.3), (0.0, 0.0, 0.0)), "x", NAMES["y"], NAMES, WHERE, spatial=spatial
    )
    assert "0.000" not in text.en + text.zh
    assert "by construction" in text.en
    assert "按构造" in text.zh
    assert ("λ = +0.400 [+0.300, +0.500]" in text.en) == (found is not None)


def test_a_small_effect_is_not_called_zero():
    text = effect_reading(effects((2e-5, 1e-5, 3e-5), (0.0, -1.0, 1.0)), "x", NAMES["y"], NAMES, WHERE)
    assert "+2.0e−05 [+1.0e−05, +3.0e−05]" in text.en
    assert "+0.000 [−1.000, +1.000]" in text.en


def moran(*p_values: float) -> pd.DataFrame:
    rows = [(2001 + t, 0.5 - t, p) for t, p in enumerate(p_values)]
    return pd.DataFrame(rows, columns=["period", "I", "p_sim"])


def test_moran_counts_significant_years_and_shows_the_ends():
    text = moran_reading(moran(0.0004, 0.2, 0.04), NAMES["y"], WHERE)
    assert "in 2 of 3 years" in text.en
    assert "2001: I = 0.500, p < 0.001; 2003: I = −1.500, p = 0.040" in text.en
    assert "2001年" in text.zh


@pytest.mark.parametrize(
    ("p", "english", "chinese"), [(0.01, " is spatially", "水平上显著"), (0.3, "is not", "不显著")]
)
def test_a_single_year_is_said_once(p, english, chinese):
    text = moran_reading(moran(p), NAMES["y"], WHERE)
    assert english in text.en
    assert chinese in text.zh
    assert text.en.count("2001") == 1


def identified(**values) -> pd.DataFrame:
    usual = {"effective_f": [20.0, 30.0], "unidentified": False, "weak": False, "j_p": [0.4, 0.5]}
    return pd.DataFrame({"equation": ["x", "y"]} | usual | values)


NO_TESTS = pd.DataFrame({"equation": [], "variable": [], "p_value": []})


@pytest.mark.parametrize(
    ("values", "method", "english", "chinese"),
    [
        pytest.param(
            {"effective_f": [1.2, 2.1], "weak": True, "unidentified": True},
            "3sls",
            "Not identified: .* x and of y.*1.2 to 2.1.*descriptive",
            "不可识别",
            id="weak",
        ),
        pytest.param(
            {"effective_f": [1.2, 30.0], "weak": [True, False], "unidentified": [True, False]},
            "fiml",
            "Not identified: .*independent over space",
            "不可识别",
            id="fiml",
        ),
        pytest.param({"unidentified": [False, True]}, "fiml", "Not identified: ", "不可识别", id="rank"),
        pytest.param(
            {"effective_f": [20.0, 7.0], "weak": [False, True]},
            "3sls",
            "Weakly identified: .*7.0.*too short",
            "识别性弱",
            id="weakly",
        ),
    ],
)
def test_a_system_that_is_not_identified_says_so_first(values, method, english, chinese):
    frame = effects((0.2, 0.1, 0.3), (0.1, -0.2, 0.4)).assign(source="shock:x", response="y")
    names = NAMES | {"x": Text("x", "甲"), "y": Text("y", "乙")}
    verdict = system_verdict(identified(**values), NO_TESTS, method, names, {})
    text = system_reading(frame, names, WHERE, verdict)
    assert re.match(rf"{WHERE.en}\. {english}", text.en)
    assert text.zh.startswith(f"{WHERE.zh}。{chinese}")


def test_rejected_exclusions_stand_in_the_reading():
    tests = pd.DataFrame({"equation": "y", "variable": ["a", "b"], "p_value": [0.2, 0.001]})
    names = {"x": Text("x", "甲"), "y": Text("y", "乙")}
    labels = {"b": Text("Foreign investment", "外资")}
    verdict = system_verdict(identified(j_p=[0.3, 0.0002]), tests, "3sls", names, labels)
    assert (
        "reject exclusions from the equation of y (J, p < 0.001), most clearly that of “Foreign investment”"
        in verdict.en
    )
    assert "乙方程的排除约束" in verdict.zh
    assert "外资" in verdict.zh


def test_a_system_that_is_identified_has_no_verdict():
    frame = effects((0.2, 0.1, 0.3), (0.1, -0.2, 0.4)).assign(source="shock:x", response="y")
    verdict = system_verdict(identified(), NO_TESTS, "3sls", NAMES, {})
    assert verdict == Text("", "")
    text = system_reading(frame, NAMES, WHERE, verdict)
    assert "descriptive" not in text.en
    assert "excludes zero" in text.en
    assert "not distinguishable" in text.en
