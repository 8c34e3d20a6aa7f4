"""A study whose units come and go: the file says so, tables list it, maps hatch it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from small_study import IDS, TEXT, YEARS, rows, write_study, write_table

import spatial_zb as zb
from spatial_zb.base.text import Text
from spatial_zb.pipeline.job import Made
from spatial_zb.pipeline.running import run
from spatial_zb.pipeline.stages.models import fit_model
from spatial_zb.pipeline.words import effect_words, shares_of_one_total
from spatial_zb.report.words import other_effects

#: The second unit enters in 2012, the third leaves after 2015; x1 of the fifth is not known in 2014.
LATE, GONE, BLANK = IDS[1], IDS[2], IDS[4]
UNEVEN = (
    TEXT.replace(
        "periods = [2010, 2017]", 'periods = [2010, 2017]\nbalance = "keep"\nevents = "data/events.csv"'
    )
    .replace(
        "[moran]\n",
        """[weights.near]
kind = "economic_distance"
variable = "ly"
periods = "each"
[moran]
weights = ["queen", "near"]
""",
    )
    .replace(
        "[models.m]\n",
        """[[missing]]
columns = ["x1"]
rule = "blank"
reason = "not printed"
[maps]
variables = ["ly"]
periods = [2010, 2017]
clusters = "queen"
[scenarios.push]
title = "Push"
of = "m"
changes = { 330101 = { x1 = 0.5 } }
[models.m]
""",
    )
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = write_study(tmp_path_factory.mktemp("uneven"), UNEVEN)
    table = [
        [*row[:3], "" if (row[0], row[1]) == (BLANK, 2014) else row[3], row[4]]
        for row in rows()
        if not (row[0] == LATE and row[1] < 2012) and not (row[0] == GONE and row[1] > 2015)
    ]
    write_table(path.parents[1] / "data/a.csv", table)
    events = [[LATE, 2012, "founded"], [GONE, 2016, "dissolved"]]
    write_table(path.parents[1] / "data/events.csv", events, ("adcode", "year", "event"))
    return path


def test_the_panel_of_a_study_keeps_what_is_absent_and_blank(study):
    prepared = zb.prepare(zb.load_study(study))
    panel = prepared.panel
    assert panel.uneven
    assert (~panel.present).sum() == 4
    assert prepared.absences[["unit", "first", "last", "why"]].values.tolist() == [
        [LATE, 2010, 2011, "2012: founded"],
        [GONE, 2016, 2017, "2016: dissolved"],
    ]
    assert panel.rows(["ly", "x1"]).sum() == 12 * len(YEARS) - 5
    W = prepared.weights("near", "all")
    assert W.periods == tuple(YEARS)
    assert [W.at(year).n for year in YEARS] == [11, 11, 12, 12, 12, 12, 11, 11]
    alone = zb.weights.economic_distance(
        prepared.panel.select(periods=[2012]).frame().set_index("unit")["ly"]
    )
    found, expected = W.at(2012), alone.standardise("row").align(W.at(2012).ids)
    assert abs(found.matrix - expected.matrix).max() < 1e-14
    assert prepared.filled[["unit", "period", "variable", "rule"]].values.tolist() == [
        [BLANK, 2014, "x1", "blank"]
    ]


def test_a_study_of_a_complete_table_refuses_absent_rows(study, tmp_path):
    path = write_study(tmp_path, UNEVEN.replace('balance = "keep"\n', ""))
    (path.parents[1] / "data/a.csv").write_text((study.parents[1] / "data/a.csv").read_text("utf-8"), "utf-8")
    (path.parents[1] / "data/events.csv").write_text("adcode,year,event\n", "utf-8")
    with pytest.raises(zb.DataError, match=f"{LATE}.*2010"):
        zb.prepare(zb.load_study(path))


def test_tables_list_absences_and_w_by_period_and_maps_are_drawn(study):
    result = run(zb.load_study(study), stages=["data", "moran", "maps", "report"])
    folder = result.folder
    absences = pd.read_csv(folder / "tidy/absences.csv", dtype={"unit": str})
    assert absences["unit"].tolist() == [LATE, GONE]
    by_period = pd.read_csv(folder / "tidy/weights_by_period.csv")
    near = by_period[by_period["weights"] == "near"]
    assert near["matrix"].tolist() == list(range(1, 9))
    assert near["rows_losing"].sum() == 0  # each has the units of its year only
    by_period = by_period[by_period["weights"] == "queen"]
    assert by_period["units"].tolist() == [11, 11, 12, 12, 12, 12, 11, 11]
    assert by_period["rows_losing"].gt(0).tolist() == [True] * 2 + [False] * 4 + [True] * 2
    assert "founded" in (folder / "tables/absences.md").read_text("utf-8")
    moran = pd.read_csv(folder / "tidy/moran.csv")
    assert moran["units"].tolist() == 2 * by_period["units"].tolist()
    page = (folder / "report.html").read_text("utf-8")
    atlas = json.loads(re.search(r'<script[^>]*>(\{[^<]*"atlas".*?\})</script>', page, re.S)[1])["atlas"]
    scatter = next(v for v in atlas["variables"] if v["name"] == "ly")["moran"]["queen"]["lag"]
    late = atlas["units"].index(LATE)
    assert [lags[late] is None for lags in scatter[:3]] == [True, True, False]
    assert [sum(lag is not None for lag in lags) for lags in scatter] == [11, 11, 12, 12, 12, 12, 11, 11]
    local = pd.read_csv(folder / "tidy/local_moran.csv", dtype={"unit": str})
    assert LATE not in set(local.loc[local["period"] == 2010, "unit"])
    assert list(folder.glob("figures/*clusters_ly*"))
    drawn = {path.stem: path.read_text("utf-8") for path in folder.rglob("*.svg")}
    assert "absent in these" in drawn["clusters_ly"]
    assert "absent in these" not in drawn["weights_queen"]  # it shows no years
    scenario = pd.read_csv(folder / "tidy/scenario_push.csv", dtype={"unit": str})
    assert GONE not in set(scenario["unit"])  # of 2017, when it has left
    assert len(scenario) == 11
    assert "2017" in (folder / "tables/scenario_push.md").read_text("utf-8")


def test_models_of_a_study_have_effects_one_by_one_and_a_w_for_each_lag(study, tmp_path):
    """A list in the list of effects is those of one column; W_x names weights; tables say all of it."""
    own = 'W_x = "near"\nfixed_effects = ["unit", ["unit", "unit*trend", "period"]]\n'
    path = study.with_name("own.toml")
    path.write_text(study.read_text("utf-8").replace("[models.m]\n", f"[models.m]\n{own}"), "utf-8")
    prepared = zb.prepare(zb.load_study(path))
    model = prepared.study.models["m"]
    sample, weights = prepared.study.samples_of(model)[0], prepared.study.weights_of(model)[0]
    one, two = (fit_model(prepared, model, effects, sample, weights) for effects in model.fixed_effects)
    assert one.spec.fixed_effects == "unit"
    assert effect_words(two.spec.fixed_effects, {}).en == "Effects of unit, unit × trend, period"
    row = two.glance().iloc[0]
    assert row["estimator"] == "adjusted_score"
    assert "W_x: " in row["weights"]
    table = zb.tables.regression_table([("one", one), ("two", two)])
    words = [str(cell) for line in table.rows for cell in line.cells]
    assert any("unit × trend" in word for word in words)


def test_the_chain_and_effects_of_an_uneven_study(study):
    """From its file to tables: fits by the adjusted score, the chain of tests and what it points to."""
    path = study.with_name("whole.toml")
    path.write_text(study.read_text("utf-8").replace('name = "tiny"', 'name = "whole"'), "utf-8")
    folder = run(zb.load_study(path), stages=["models", "tests"]).folder
    chain = pd.read_csv(folder / "tidy/tests_m.csv").set_index("test")
    assert chain.loc["LM lag", "p_value"] > 0
    assert "adjusted score" in chain.loc["LM Durbin terms from SAR", "note"]
    assert "Wald" in (folder / "tables/tests_m_reading.txt").read_text("utf-8")
    assert "LM lag" in (folder / "tables/tests_m.md").read_text("utf-8")
    assert "half the units late" in (folder / "tables/tests_m.md").read_text("utf-8")
    assert pd.read_csv(folder / "tidy/effects_m.csv")["estimate"].notna().all()


INSTRUMENTS = """[variables.square]
label = "x1 squared"
expression = "x1 * x1"
[models.moments]
title = "By instruments"
y = "ly"
x = ["x1", "x2"]
lag_x = []
estimator = "gmm"
covariance = "cluster"
[systems.duo]
title = "Both ways"
[systems.duo.equations]
one = { y = "ly", endog = ["x2"], x = ["x1"] }
two = { y = "x2", endog = ["ly"], x = ["square"] }
[output]
"""


def test_instruments_and_systems_on_the_rows_of_an_uneven_study(study):
    """2SLS and 3SLS of the file: the rows that exist with every variable, and tables of both."""
    path = study.with_name("moments.toml")
    text = study.read_text("utf-8").replace('name = "tiny"', 'name = "moments"')
    path.write_text(text.replace("[output]\n", INSTRUMENTS), "utf-8")
    outcome = run(zb.load_study(path), stages=["models", "systems"])
    fit = pd.read_csv(outcome.folder / "tidy/fit_moments.csv").iloc[0]
    assert (fit["estimator"], fit["rows"]) == ("gmm", 12 * len(YEARS) - 5)
    assert pd.read_csv(outcome.folder / "tidy/effects_moments.csv")["estimate"].notna().all()
    system = pd.read_csv(outcome.folder / "tidy/system_duo.csv")
    assert set(system["equation"]) == {"one", "two"}
    assert system["estimate"].notna().all()
    shown = (outcome.folder / "tables/system_duo_all_queen.md").read_text("utf-8")
    assert f"{12 * len(YEARS) - 5}" in shown


def test_the_nation_says_what_ties_its_shares_and_names_its_effects():
    """Two location quotients of one total are told of, once whichever is y; an effect has the label of its column."""
    nation = zb.load_study(Path(__file__).parents[2] / "studies/nation.toml")
    one, two = (
        shares_of_one_total(nation, names)
        for names in (("industry", "talent", "ln_wage"), ("talent", "industry"))
    )
    assert one == two
    assert "Industry agglomeration and Talent agglomeration" in one[0].en
    assert shares_of_one_total(nation, ("industry", "ln_wage")) == []
    labels = {name: variable.label for name, variable in nation.variables.items()}
    facts = {"fixed_effects": "unit + prov*period"}
    assert other_effects(facts, labels) == Text("province × period", "省份×时间")
    assert effect_words("unit + prov*period", labels).zh == "个体、省份×时间固定"


def test_a_note_belongs_to_the_stage_that_warned(monkeypatch):
    """Stages that had nothing to say begin at the same warning as the one that said it."""
    made = Made(warned=[object(), object()], began={"prepare": 0, "systems": 1, "compare": 1, "maps": 1})
    told = [SimpleNamespace(number=0), SimpleNamespace(number=1)]
    monkeypatch.setattr("spatial_zb.pipeline.job.remarks", lambda warned: told)
    found = made.remarks({name: Text(name, name) for name in made.began})
    assert {words.en: notes for words, notes in found.items()} == {"prepare": [told[0]], "maps": [told[1]]}
