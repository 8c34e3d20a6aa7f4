"""Plain words say what the numbers say, and no more."""

from __future__ import annotations

import pandas as pd
import pytest

from spatial_zb.base.text import Text
from spatial_zb.report.reading import effect_reading, moran_reading, system_reading

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


@pytest.mark.parametrize("weak", [True, False])
def test_a_system_says_whether_its_instruments_are_weak(weak):
    frame = effects((0.2, 0.1, 0.3), (0.1, -0.2, 0.4)).assign(source="shock:x", response="y")
    text = system_reading(frame, NAMES, WHERE, weak)
    assert ("descriptive" in text.en) is weak
    assert ("描述性" in text.zh) is weak
    assert "excludes zero" in text.en
    assert "not distinguishable" in text.en
