"""A study of two variables over time: its tables, frames, figures, words and the page's slider."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_study import IDS, TEXT, write_study, write_table

from spatial_zb.cli import main
from spatial_zb.study import load_study

SYSTEM = """[systems.duo]
title = {{ en = "Over time", zh = "先后关系" }}
time_lag = true
lag_time_lag = true
responses = 3
shocks = ["330105"]
{more}
[systems.duo.equations.industry]
y = "y1"
[systems.duo.equations.talent]
y = "y2"
x = ["x1"]
[[claims]]
claim = {{ en = "Industry draws talent", zh = "产业带动人才" }}
measure = "granger"
system = "duo"
source = "industry"
response = "talent"
part = "own"
[output]
report = true
"""


def written(folder: Path, more: str = "") -> Path:
    text = TEXT.replace('language = "en"', 'language = "both"').replace(
        "periods = [2010, 2017]", "periods = [2010, 2021]"
    )
    cut = text.index("[moran]"), text.index("[output]")
    path = write_study(folder, text[: cut[0]] + SYSTEM.format(more=more) + text[cut[1] + len("[output]\n") :])
    rng, n, T = np.random.default_rng(1), len(IDS), 32
    y, e, x = np.zeros((T, n, 2)), rng.normal(size=(T, n, 2)), rng.normal(size=(T, n))
    for t in range(1, T):
        y[t, :, 0] = 0.5 * y[t - 1, :, 0] + e[t, :, 0]
        y[t, :, 1] = 0.4 * y[t - 1, :, 1] + 0.6 * y[t - 1, :, 0] + 0.4 * x[t] + e[t, :, 1]
    lines = [
        [unit, 2010 + t, *(repr(float(v)) for v in (np.exp(x[20 + t, i]), x[20 + t, i], 0.0, *y[20 + t, i]))]
        for i, unit in enumerate(IDS)
        for t in range(12)
    ]
    write_table(folder / "data/a.csv", lines, ("adcode", "year", "y", "x1", "x2", "y1", "y2"))
    return path


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("duo")
    path = written(folder / "a")
    assert main(["run", str(path)]) == 0
    return folder / "a" / "results" / "tiny"


def test_tables_say_who_leads_whom_in_both_languages(results):
    for language, words in (("en", ("Own city", "LR")), ("zh", ("本地区", "似然比"))):
        text = (results / "tables" / language / "system_duo_all_queen_granger.md").read_text("utf-8")
        assert all(word in text for word in words)
        responses = (results / "tables" / language / "system_duo_all_queen_responses.csv").read_text("utf-8")
        assert ("Own city" if language == "en" else "本地区") in responses
    own = (results / "tables/en/system_duo_all_queen.md").read_text("utf-8")
    assert "period before" in own
    assert "Spectral radius" in own


def test_frames_hold_what_the_tables_show(results):
    tests = pd.read_csv(results / "tidy/system_duo_all_queen_granger.csv")
    lead = tests.set_index(["source", "response", "part"])["p_value"]
    assert lead["industry", "talent", "both"] < 0.01
    frame = pd.read_csv(results / "tidy/system_duo_all_queen_responses.csv")
    assert set(frame["horizon"]) == {0, 1, 2, 3}
    by_city = pd.read_csv(results / "tidy/system_duo_all_queen_shock_330105.csv", dtype={"unit": str})
    assert set(by_city["unit"]) == set(IDS)
    shares = pd.read_csv(results / "tidy/system_duo_all_queen_variance_shares.csv")
    assert shares["share_high"].between(0, 1).all()
    row = shares[(shares["horizon"] == 3) & (shares["place"] == "own")].iloc[0]
    limits = f"{100 * row['conf_low']:.0f}–{100 * row['conf_high']:.0f}"
    assert limits in (results / "tables/zh/system_duo_all_queen_variance_shares.csv").read_text("utf-8")


def test_a_claim_has_the_p_value_of_the_table_that_it_names(results):
    row = pd.read_csv(results / "tidy/claims.csv").iloc[0]
    tests = pd.read_csv(results / f"tidy/{row['table']}.csv").set_index(["source", "response", "part"])
    assert row["p_value"] == tests.loc[("industry", "talent", "own"), ["p_value", "p_cluster"]].max()
    assert (results / "figures/en" / f"{row['figure']}.svg").exists()
    page = (results / "report.html").read_text("utf-8")
    for anchor in (f"table-{row['table']}", f"figure-{row['figure']}"):
        assert page.count(f'id="{anchor}"') == 1
        assert page.count(f'href="#{anchor}"') == 2  # in either language


def test_words_and_figures(results):
    said = (results / "tables/en/system_duo_all_queen_reading.txt").read_text("utf-8")
    assert "y1 of the period before helps to foresee y2" in said
    assert "y2 of the period before is not seen to help to foresee y1" in said
    assert "有助于预测" in (results / "tables/zh/system_duo_all_queen_reading.txt").read_text("utf-8")
    assert (results / "figures/en/system_duo_all_queen_responses_industry.svg").exists()
    assert (results / "figures/zh/system_duo_all_queen_shock_330105_industry_talent_map.svg").exists()


@pytest.mark.parametrize(
    ("more", "culprit"),
    [
        ('methods = ["gs3sls"]', "methods"),
        ('fixed_effects = "time"', "fixed_effects"),
        ("sets = true", "sets"),
        ("granger = 5", "granger"),
        ("responses = -1", "responses"),
    ],
)
def test_keys_that_make_no_sense_are_refused(tmp_path, more, culprit, capsys):
    path = written(tmp_path / "a", more)
    assert main(["check", str(path)]) != 0
    assert culprit in capsys.readouterr().err


def test_the_method_is_that_of_lags_in_time(tmp_path):
    study = load_study(written(tmp_path / "a"))
    assert study.systems["duo"].methods == ("fiml",)
    assert study.systems["duo"].covariance == "cluster"
    assert len(list(csv.reader((tmp_path / "a/data/a.csv").open(encoding="utf-8")))) == 1 + 12 * len(IDS)
