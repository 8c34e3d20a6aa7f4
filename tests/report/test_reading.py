"""Plain words say what the numbers say, and no more."""

from __future__ import annotations

import re
from dataclasses import replace

import pandas as pd
import pytest

from spatial_zb.base.text import Text
from spatial_zb.report.reading import effect_reading, moran_reading, system_reading, system_verdict
from spatial_zb.report.verdict import (
    LONGEST,
    Step,
    coupling_verdict,
    curve_verdict,
    effect_verdict,
    moran_verdict,
    system_sentence,
)

NAMES = {"x": Text("talent", "人才"), "y": Text("industry", "产业")}
WHERE = Text("Delta", "长三角")
X, Y = (Step(NAMES[name], 1.0, "unit") for name in "xy")
LOG = Step.of_log(Text("GDP per head (log)", "人均GDP（对数）"))


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
    text = effect_reading(effects(values, (9.0, 8.0, 10.0)), "x", X, Y, WHERE)
    home_en, home_zh = text.en.split(", and by")[0], text.zh.split("其他地区")[0]
    assert english in home_en
    assert chinese in home_zh
    assert f"{values[0]:+.3f}".replace("-", "−") in home_en


def test_effects_without_standard_errors_are_not_read():
    """What did not converge has numbers, of which nothing may be said."""
    text = effect_reading(effects((-133.3, NAN, NAN), (-3057.2, NAN, NAN)), "x", X, Y, WHERE)
    for said in (text.en, text.zh):
        assert "133" not in said
        assert "nan" not in said
    assert "nothing is said" in text.en
    assert "不作解读" in text.zh


def test_what_is_not_computed_says_why():
    why = Text("effects are n.c.: ρ reaches one", "效应未计算：ρ触及1")
    text = effect_reading(effects((NAN, NAN, NAN), (NAN, NAN, NAN)), "x", X, Y, WHERE, why=why)
    assert text.en.endswith("effects are n.c.: ρ reaches one.")
    assert text.zh.endswith("效应未计算：ρ触及1。")


@pytest.mark.parametrize("found", [(0.4, 0.3, 0.5), None])
def test_a_model_without_spillovers_tests_none(found):
    """FINDINGS B7: an SEM said "+0.000 [+0.000, +0.000], not distinguishable from zero", which no data can change."""
    spatial = None
    if found is not None:
        spatial = pd.DataFrame([("lam", *found)], columns=["term", "estimate", "conf_low", "conf_high"])
    text = effect_reading(effects((0.2, 0.1, 0.3), (0.0, 0.0, 0.0)), "x", X, Y, WHERE, spatial=spatial)
    assert "0.000" not in text.en + text.zh
    assert "by construction" in text.en
    assert "按构造" in text.zh
    assert ("λ = +0.400 [+0.300, +0.500]" in text.en) == (found is not None)


def test_a_small_effect_is_not_called_zero():
    text = effect_reading(effects((2e-5, 1e-5, 3e-5), (0.0, -1.0, 1.0)), "x", X, Y, WHERE)
    assert "+2.0e−05 [+1.0e−05, +3.0e−05]" in text.en
    assert "+0.000 [−1.000, +1.000]" in text.en
    log = effect_reading(effects((0.00037, -0.17, 0.17), (0.0, -1.0, 1.0)), "x", LOG, LOG, WHERE)
    assert "differs by +0.0035% [−1.6%, +1.6%]" in log.en


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
    text = system_reading(frame, {"x": X, "y": Y}, WHERE, verdict)
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
    text = system_reading(frame, {"x": X, "y": Y}, WHERE, verdict)
    assert "descriptive" not in text.en
    assert "excludes zero" in text.en
    assert "not distinguishable" in text.en


# Sentences that can be said aloud


def said(direct, indirect, x=X, y=Y, **more):
    text = effect_verdict(effects(direct, indirect), x, y, term="x", **more)
    assert len(text.en.split()) <= LONGEST
    return text


CLEAR, UNCLEAR, NONE = (0.2, 0.1, 0.3), (0.2, -0.1, 0.5), (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("direct", "indirect", "english", "chinese"),
    [
        (CLEAR, UNCLEAR, "0.20 (0.10 to 0.30) higher at home, and not clearly different elsewhere", "高0.20"),
        (
            UNCLEAR,
            (-0.2, -0.3, -0.1),
            "but 0.20 (0.10 to 0.30) lower elsewhere in total",
            "合计低0.20（0.10至0.30）",
        ),
        (UNCLEAR, UNCLEAR, "not clearly different, neither at home nor elsewhere", "均无明显差异"),
        (CLEAR, CLEAR, "higher at home and 0.20 (0.10 to 0.30) higher elsewhere in total", "高0.20"),
        (CLEAR, NONE, "higher at home; this model allows nothing elsewhere", "不含对其他地区的影响"),
        (UNCLEAR, NONE, "not clearly different at home; this model", "无明显差异"),
        ((0.2, NAN, NAN), (0.1, NAN, NAN), "has no standard error, so nothing is said of it", "没有标准误"),
    ],
)
def test_a_verdict_has_a_number_only_with_its_interval(direct, indirect, english, chinese):
    text = said(direct, indirect)
    assert english in text.en
    assert chinese in text.zh
    assert text.en.startswith(
        ("With talent one unit higher, industry is ", "The effect of talent on industry")
    )
    assert "0.000" not in text.en + text.zh


def test_a_verdict_without_computed_effects_says_so():
    text = effect_verdict(None, X, Y, term="x", place=Text("in Zhejiang", "浙江省"))
    assert text.en == "In Zhejiang, the effect of talent on industry cannot be told from these data."
    assert text.zh.startswith("浙江省：")


def test_logarithms_are_said_in_per_cent_and_others_in_standard_deviations():
    """1.10 ** 0.5 is 1.0488; a change of 0.5 of a logarithm is 64.87 per cent."""
    both = said((0.5, 0.4, 0.6), UNCLEAR, LOG, LOG)
    assert "With GDP per head 10% higher, GDP per head is 4.9% (3.9 to 5.9) higher at home" in both.en
    assert "人均GDP高10%时，人均GDP在本地高4.9%（3.9至5.9）" in both.zh
    deviation = Step(Text("Science share (%)", "科技支出占比（%）"), 0.5, "deviation")
    assert "64.9% " not in said((1.0, 0.4, 1.6), UNCLEAR, deviation, LOG).en
    assert "65% (22 to 123) higher" in said((1.0, 0.4, 1.6), UNCLEAR, deviation, LOG).en
    share = said((1.0, 0.4, 1.6), UNCLEAR, LOG, deviation)
    assert "science share is 0.095 points (0.038 to 0.152) higher" in share.en
    assert "0.095个百分点" in share.zh
    assert said(CLEAR, UNCLEAR, replace(X, kind="switch")).en.startswith("With talent 1 instead of 0, ")
    assert "for good" in said(CLEAR, UNCLEAR, lasting=True).en


def test_an_interval_that_excludes_zero_does_not_seem_to_touch_it():
    assert "3.00 (0.01 to 6.00) higher" in said((3.0, 0.011, 6.0), UNCLEAR).en


def test_names_that_are_too_long_are_cut():
    long = Step(Text("One two three four five six seven eight nine ten eleven", "很长"), 1.0, "unit")
    assert "…" in said(CLEAR, CLEAR, long, Y).en
    assert "很长" in said(CLEAR, CLEAR, long, Y).zh


SHARES = pd.Series(
    {"cells": 26, "positive": 4 / 26, "significant": 7 / 26, "significant_positive": 0.0, "median": -0.27}
)


@pytest.mark.parametrize(
    ("positive", "p", "firm", "together"),
    [
        (4 / 26, 0.03, "partly robust: 22 of 26", "jointly different from no effect (p = 0.030)"),
        (1 / 26, 0.03, "robust in sign: 25 of 26", "jointly different"),
        (4 / 26, 0.4, "not robust: 22 of 26", "jointly not different from no effect (p = 0.400)"),
        (4 / 26, None, "not tested jointly: 22 of 26", "7 significantly."),
    ],
)
def test_a_plain_verdict_of_how_firm_a_result_is(positive, p, firm, together):
    tests = (
        None if p is None else pd.DataFrame({"statistic": ["median", "significant"], "p_value": [0.01, p]})
    )
    text = curve_verdict(
        SHARES.where(SHARES.index != "positive", positive), tests, Text("total effect", "总效应")
    )
    assert firm in text.en
    assert together in text.en
    assert len(text.en.split()) <= LONGEST
    assert "总效应" in text.zh


def mutual(*rows):
    return pd.DataFrame(rows, columns=["source", "response", "effect", "estimate", "conf_low", "conf_high"])


def test_a_system_says_which_equation_moves_which_or_that_it_cannot_be_told():
    names = {"x": Text("Talent (log)", "人才"), "y": Text("Industry", "产业")}
    frame = mutual(("shock:x", "y", "direct", 0.4, 0.1, 0.7), ("shock:y", "x", "direct", 0.1, -0.1, 0.3))
    text = system_sentence(identified(), frame, names)
    assert text.en == "At home talent raises industry; industry does not clearly move talent."
    assert "人才提高产业" in text.zh
    weak = system_sentence(identified(weak=True), frame, names)
    assert "weakly identified" in weak.en
    lost = system_sentence(identified(unidentified=True, effective_f=[0.8, 1.9]), frame, names)
    assert "cannot be told" in lost.en
    assert "(effective F 0.8 to 1.9)" in lost.en
    assert "cannot be told" in system_sentence(identified(), None, names).en
    assert all(len(t.en.split()) <= LONGEST for t in (text, weak, lost))


@pytest.mark.parametrize(
    ("p_values", "english"),
    [
        ((0.01,), "Neighbours are alike in industry: Moran’s I is 0.50 (p = 0.010)."),
        ((0.3,), "Neighbours are no more alike in industry than by chance: Moran’s I is 0.50 (p = 0.300)."),
        ((0.01, 0.3, 0.2), "alike in industry in 1 of 3 years: Moran’s I 0.50 in 2001, −1.50 in 2003."),
        ((0.1, 0.3), "than by chance in any year"),
    ],
)
def test_moran_is_said_as_what_neighbours_are(p_values, english):
    assert english in moran_verdict(moran(*p_values), NAMES["y"]).en


def test_coordination_is_said_with_who_is_highest():
    degree = pd.DataFrame([[0.2, 0.4], [0.3, 0.7]], index=[2017, 2022], columns=["a", "b"])
    text = coupling_verdict(degree, Text("Coordination (D)", "协调度"), {"a": Text("Aba", "阿坝")})
    assert text.en == "Coordination rose from 0.30 to 0.50 on average, 2017–2022; b is highest, Aba lowest."
    assert coupling_verdict(degree[:1], Text("D", "D"), {}).en.startswith("D is 0.30 on average")
