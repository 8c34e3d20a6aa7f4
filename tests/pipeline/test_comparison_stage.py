"""Stage compare: what it writes are the numbers of the functions; sections, samples and failures; readings in words."""

from __future__ import annotations

import csv
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import spatial_zb as zb
from spatial_zb.base.text import Text
from spatial_zb.pipeline.running import run
from spatial_zb.report import reading
from spatial_zb.report.tables.layouts.comparison import by_weights_table, criteria_table, nonnested_table
from spatial_zb.report.tables.layouts.tests import robustness_table
from spatial_zb.report.tables.table import Number, TableLook, TableStyle
from spatial_zb.study import Probabilities

BAY = Path(__file__).parents[2] / "studies" / "bay_area.toml"
#: Numbers written to csv and read back.
WRITTEN = 1e-12


@pytest.fixture(scope="module")
def study():
    found = zb.load_study(BAY)
    output = found.output.model_copy(
        update={"tables": ("csv",), "figures": ("svg",), "report": False, "dpi": 72}
    )
    small = found.compare.model_copy(
        update={
            "models": ("SAR", "SDM"),
            "weights": ("queen", "inverse"),
            "samples": ("delta", "zhejiang"),
            "curve": found.compare.curve.model_copy(update={"replicates": 19}),
        }
    )
    return replace(found, output=output, compare=small)


@pytest.fixture(scope="module")
def outcome(study, tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return run(study, ["compare"], out=tmp_path_factory.mktemp("compare") / "out"), zb.prepare(study)


def frame(outcome, name: str) -> pd.DataFrame:
    return pd.read_csv(outcome[0].folder / "tidy" / f"compare_{name}.csv", dtype={"unit": str})


def test_all_parts_are_made_in_both_languages(outcome):
    made = {p.relative_to(outcome[0].folder).as_posix() for p in outcome[0].files}
    tables = ["models", "weights", "probabilities", "sensitivity", "robustness", "influence", "curve"]
    for language in ("en", "zh"):
        wanted = {f"tables/{language}/compare_{name}.csv" for name in tables}
        wanted |= {f"figures/{language}/compare_{n}.svg" for n in ("curve", "probabilities", "influence")}
        assert wanted | {f"tables/{language}/compare_reading.txt"} <= made
    text = (outcome[0].folder / "tables" / "zh" / "compare_reading.txt").read_text("utf-8")
    assert len(text.strip().split("\n\n")) == 3


def test_the_grid_has_every_choice_and_the_w_of_each_sample(outcome, study):
    effects = frame(outcome, "grid_effects")
    cells = effects[["model", "weights", "sample", "controls"]].drop_duplicates()
    assert len(cells) == 2 * 2 * 2 * 2
    prepared = outcome[1]
    model = study.models["industry"]
    spec = zb.DurbinSpec(model.y, model.x, lag_x=[])
    W = prepared.weights("queen", "zhejiang")  # of the polygons of that sample, not rows of the W of all
    fit = zb.fit_durbin(spec, prepared.sample("zhejiang"), W, covariance="cluster")
    want = zb.spatial_effects(fit).tidy().set_index(["term", "effect"]).loc[("talent", "total")]
    own = effects.query(
        "model == 'SAR' and weights == 'queen' and sample == 'zhejiang' and controls == 'all'"
    )
    got = own.set_index(["term", "effect"]).loc[("talent", "total")]
    assert got["estimate"] == pytest.approx(want["estimate"], rel=1e-6)
    assert got["std_error"] == pytest.approx(want["std_error"], rel=1e-6)


def test_probabilities_are_those_of_the_function(outcome, study):
    prepared, model = outcome[1], study.models["industry"]
    weights = {name: prepared.weights(name, "delta") for name in ("queen", "inverse")}
    want = zb.compare.model_probabilities(prepared.sample("delta"), model.y, model.x, weights)
    got = frame(outcome, "probabilities")
    assert got["probability"].to_numpy() == pytest.approx(want.frame["probability"].to_numpy(), rel=1e-9)


def test_the_battery_starts_from_the_model_of_the_study(outcome, study):
    rows = frame(outcome, "robustness").set_index("variant")
    table = frame(outcome, "weights").set_index(["weights", "term", "effect"])
    base = table.loc[("queen", "talent", "total")]
    assert rows.loc["base", "estimate"] == pytest.approx(base["estimate"], rel=WRITTEN)
    assert rows.loc["base", "std_error"] == pytest.approx(base["std_error"], rel=WRITTEN)
    assert (
        rows.loc["hangzhou_ningbo", "n_units"] == 38
    )  # Zhoushan, whose only neighbour is gone, is linked anew
    assert rows["reason"].fillna("").to_dict()["inverse"] == "not converged"
    assert frame(outcome, "influence")["estimate"].notna().all()


def test_tables_say_units_and_years_in_words(outcome):
    place = outcome[0].folder / "tables" / "zh" / "compare_robustness.csv"
    with place.open(encoding="utf-8-sig", newline="") as stream:
        names = [row[0] for row in csv.reader(stream)]
    assert {"剔除杭州市、宁波市", "2007—2012年", "在1%与99%分位缩尾", "解释变量滞后一期"} <= set(names)


def test_cells_that_did_not_converge_do_not_count(outcome):
    shares = frame(outcome, "grid")
    assert len(shares) > 0
    text = (outcome[0].folder / "tables" / "en" / "compare_reading.txt").read_text("utf-8")
    assert "did not converge" in text
    effects = frame(outcome, "grid_effects").query("term == 'talent' and effect == 'total'")
    sure = effects[effects["std_error"].notna()]
    assert f"Over {len(sure)} specifications" in text


def test_a_study_without_the_section_makes_nothing(study, tmp_path):
    outcome = run(replace(study, compare=None), ["compare"], out=tmp_path / "out")
    assert [p.name for p in outcome.files] == ["index.html", "manifest.json"]


def test_a_part_that_cannot_be_computed_is_left_out_and_said(study, tmp_path):
    model = study.models["industry"].model_copy(
        update={"fixed_effects": ("random",), "covariance": "information"}
    )
    only = study.compare.model_copy(
        update={
            "samples": ("bay",),
            "weights": ("queen",),
            "models": ("SAR",),
            "robustness": None,
            "probabilities": Probabilities(),
            "controls": {},
        }
    )
    changed = replace(study, models={**study.models, "industry": model}, compare=only)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = run(changed, ["compare"], out=tmp_path / "out")
    assert any("No model probabilities" in note.en and "random" in note.en for note in outcome.notes)
    assert any("No test of the curve" in note.en for note in outcome.notes)
    names = {p.stem for p in outcome.files}
    assert "compare_curve" in names  # the figure
    assert not {"compare_probabilities", "compare_robustness"} & names


def test_a_base_with_regimes_is_not_compared(study, tmp_path):
    model = study.models["industry"].model_copy(update={"regimes": "talent_students"})
    changed = replace(study, models={**study.models, "industry": model})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = run(changed, ["compare"], out=tmp_path / "out")
    assert [p.name for p in outcome.files] == ["index.html", "manifest.json"]
    assert any("nothing was compared" in note.en for note in outcome.notes)


# Layouts and words


def cells(table) -> list[list[object]]:
    return [list(row.cells) for row in table.rows]


def test_criteria_take_probabilities_by_model_and_weights():
    fits = pd.DataFrame(
        {
            "model": ["SAR", "OLS"],
            "weights": ["queen", ""],
            "parameters": [4, 3],
            "log_likelihood": [-10.0, -12.0],
            "aic": [28.0, 30.0],
            "bic": [30.0, 31.0],
            "delta_aic": [0.0, 2.0],
            "akaike_weight": [0.73, 0.27],
        }
    )
    posterior = pd.DataFrame({"model": ["SAR", "OLS"], "weights": ["queen", ""], "probability": [0.9, 0.1]})
    rows = cells(
        criteria_table(fits, probabilities=posterior, look=TableLook(words={"queen": Text("Queen", "邻接")}))
    )
    assert rows[0][1] == Text("Queen", "邻接")
    assert (rows[0][-1].value, rows[1][-1].value, rows[1][1]) == (0.9, 0.1, "")


def test_a_column_that_did_not_converge_has_no_numbers():
    records = pd.DataFrame(
        {"term": ["a"], "effect": ["total"], "estimate": [1.0], "std_error": [0.5], "p_value": [0.04]}
    )
    facts = {"nobs": 10, "n_units": 5, "n_periods": 2, "log_likelihood": 1.0, "aic": 2.0, "r2_within": 0.1}
    columns = [("good", records, facts), ("bad", records, facts | {"converged": False})]
    table = by_weights_table(columns, ["a"], others=["a"], effects=["total"])
    assert cells(table)[0] == [Text("a", "a")]  # a section of its own, and among the others a line
    line = cells(table)[1]
    again = next(row for row in cells(table)[2:] if len(row) > 1 and row[0] == Text("a", "a"))
    assert again[1:] == line[1:]
    assert (line[1].value, line[1].stars) == (1.0, 2)
    assert line[2] == Text("n.c.", "未计算")
    assert any("no interior maximum" in note.en for note in map(Text.of, table.notes))
    for style in (TableStyle(error_position="column"), TableStyle(errors="p", language="zh")):
        by_weights_table(columns, ["a"], effects=["total"], look=TableLook(style=style))
    with pytest.raises(zb.SpecificationError, match="at least one"):
        by_weights_table([], ["a"])


def test_tests_and_variants_without_a_number_are_dashes():
    tests = pd.DataFrame(
        [("J", "a", "b", np.nan, 1, np.nan, ""), ("Vuong", "a", "b", 2.5, np.nan, 0.012, "a")],
        columns=["test", "null", "alternative", "statistic", "df", "p_value", "favours"],
    )
    rows = cells(nonnested_table(tests))
    assert np.isnan(rows[1][2].value)
    assert (rows[3][2].stars, rows[3][3]) == (2, "")
    variants = pd.DataFrame(
        [("base", "base", 1.0, 0.4, 0.01, 0.2, 1.8, 9, 3, ""), ("drop", "two", *[np.nan] * 7, "no link is left")],
        columns=["kind", "variant", "estimate", "std_error", "p_value", "conf_low", "conf_high", "n_units",
                 "n_periods", "reason"],
    )  # fmt: skip
    table = robustness_table(variants, look=TableLook(words={"two": Text("Two", "二")}))
    assert cells(table)[0][3] == "[0.200, 1.800]"
    assert isinstance(cells(table)[2][1], Number)
    assert any("no link is left" in Text.of(note).en for note in table.notes)


SHARES = pd.Series({"cells": 20, "positive": 0.9, "significant": 0.5, "significant_positive": 0.5, "median": 0.2,
                    "lowest": -0.1, "highest": 0.4})  # fmt: skip
WHAT, Y = Text("the total effect of “a”", "“a”的总效应"), Text("y", "y")


@pytest.mark.parametrize(
    ("p", "positive", "verdict", "zh", "word"),
    [
        (0.01, 0.9, "Robust in sign", "符号稳健", "rarely"),
        (0.01, 0.8, "Partly robust", "部分稳健", "rarely"),
        (0.2, 0.9, "Not robust", "不稳健", "often"),
    ],
)
def test_the_reading_of_a_curve_follows_its_test(p, positive, verdict, zh, word):
    tests = pd.DataFrame({"statistic": ["median", "significant"], "p_value": [p, 0.01]})
    turned = SHARES.where(SHARES.index != "positive", positive)
    said = reading.curve_reading(turned, tests, WHAT, Y)
    assert (said.en.startswith(verdict), said.zh.startswith(zh)) == (True, True)
    assert reading.curve_reading(SHARES, None, WHAT, Y).en.startswith("Over 20")
    text = reading.curve_reading(SHARES, tests, WHAT, Y, failed=3)
    assert word in text.en
    assert "18 are positive, and 10 are significant" in text.en
    assert "3 more" in text.en
    assert "另有3个" in text.zh


def test_the_reading_of_probabilities_is_hedged_by_the_prior():
    frame = pd.DataFrame({"model": ["SAR", "SDM"], "weights": ["q", "q"], "probability": [0.95, 0.05]})
    labels = {"q": Text("queen", "邻接")}
    same = frame.assign(prior="other")
    assert "clearly" in reading.probability_reading(frame, same, labels).en
    assert "agree" in reading.probability_reading(frame, same, labels).en
    turned = same.assign(probability=[0.2, 0.8])
    text = reading.probability_reading(frame, pd.concat([frame.assign(prior="own"), turned]), labels)
    assert "depends on the prior" in text.en
    assert "邻接下的SDM" in text.zh


def test_the_reading_of_the_battery_names_the_unit_that_matters():
    row = pd.Series({"base": -0.2, "variants": 5, "same_sign": 3, "significant": 1, "failed": 1, "lowest": -0.3,
                     "highest": 0.1, "most_influential": "u1", "largest_change_se": 1.4})  # fmt: skip
    text = reading.battery_reading(row, WHAT, {"u1": Text("Anqing", "安庆市")})
    assert "3 of 4 variants" in text.en
    assert "Anqing" in text.en
    assert "one unit matters" in text.en
    assert "安庆市" in text.zh
    calm = reading.battery_reading(row.drop(["most_influential", "largest_change_se"]), WHAT, {})
    assert "Leaving out" not in calm.en
