"""What a study says of its maps reaches print and page: classes, hatching, clusters, links, a variable of one year."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from small_study import IDS, TEXT, rows, write_study, write_table

import spatial_zb as zb
from spatial_zb.pipeline.running import run
from spatial_zb.pipeline.words import blank_words

MAPPED = (
    TEXT.replace('figures = ["svg"]', 'figures = ["svg"]\ndpi = 100')
    .replace(
        "[models.m]\n",
        """[[missing]]
columns = ["x2"]
rule = "drop_units"
reason = "not known"
[variables.signed]
label = "Signed"
expression = "ly - 1"
[variables.before]
label = "Before"
expression = "x1"
of_period = 1999
[maps]
variables = ["signed", "before"]
periods = [2010, 2017]
breaks = { signed = [0] }
center = { signed = 0 }
clusters = "queen"
adjust = "none"
alpha = 0.1
[weights.dense]
kind = "inverse_distance"
[scenarios.push]
title = "Push"
of = "m"
changes = { 330102 = { x1 = 0.5 } }
[models.m]
""",
    )
    .replace('[moran]\nvariables = ["ly"]', '[moran]\nvariables = ["ly", "before"]')
)


def words(path) -> str:
    """Comments of an SVG hold the texts that its glyphs draw."""
    return " ".join(re.findall(r"<!-- (.*?) -->", path.read_text("utf-8")))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    path = write_study(tmp_path_factory.mktemp("mapped"), MAPPED)
    table = [[*row[:4], "" if row[0] == IDS[0] else row[4]] for row in rows()]
    write_table(path.parents[1] / "data/a.csv", table)
    return run(zb.load_study(path), stages=["moran", "maps", "report"])


def test_every_map_hatches_and_names_what_is_left_out(results):
    made = {path.stem: words(path) for path in results.folder.rglob("*.svg")}
    hatched = (
        "map_signed",
        "map_before",
        "clusters_signed",
        "weights_queen",
        "weights_dense",
        "scenario_push_map",
    )
    for name in hatched:
        assert "Hatched, left out for lack of data:" in made[name], name
        assert "Map review number: to be given" in made[name], name
    assert "Interval holds zero, or unit absent" in made["scenario_push_map"]
    assert "No data" in made["map_signed"]
    assert "Blue below 0, red above" in made["map_signed"]
    assert "each unit at 10%" in made["clusters_signed"]
    assert "permutations" in made["clusters_signed"]
    assert "Weight of a link" in made["weights_dense"]


def test_a_variable_of_one_year_says_its_own(results):
    made = {path.stem: words(path) for path in results.folder.rglob("*.svg")}
    assert "1999, Moran" in made["moran_scatter_before"]
    assert "units; 1999" in made["moran_scatter_before"]
    assert "2017, Moran" in made["moran_scatter_signed"]
    tidy = pd.read_csv(next(results.folder.rglob("moran.csv")) if not list(results.folder.rglob("tidy/moran.csv"))
                       else next(results.folder.rglob("tidy/moran.csv")))  # fmt: skip
    assert set(tidy.loc[tidy["variable"] == "before", "period"]) == {1999}
    assert set(tidy.loc[tidy["variable"] == "ly", "period"]) == set(range(2010, 2018))


def test_the_page_has_the_classes_of_the_print(results):
    page = next(results.folder.rglob("report.html")).read_text("utf-8")
    data = next(
        json.loads(part)
        for part in re.findall(r"<script[^>]*>(\{.*?\})</script>", page, re.S)
        if '"atlas"' in part
    )
    atlas = data["atlas"]
    assert atlas["scheme"] == "own"
    assert {v["name"]: v["ofPeriod"] for v in atlas["variables"]}["before"] == 1999
    signed = next(v for v in atlas["variables"] if v["name"] == "signed")
    values = np.array(signed["values"], dtype=float)
    codes = np.array(signed["schemes"]["own"]["codes"])
    known = np.isfinite(values)
    assert np.array_equal(codes[known], (values[known] > 0).astype(int))
    assert (codes[~known] == -1).all()


def test_units_left_out_are_no_filled_cells():
    filled = pd.DataFrame(
        {
            "unit": ["a", "a", "b", "c", "c"],
            "period": [2010, 2011, 2010, 2010, 2011],
            "rule": ["drop_units", "drop_units", "interpolate", "blank", "drop_periods"],
        }
    )
    said = blank_words(filled)
    assert said.en.endswith("1 filled; 1 left blank; 1 unit(s) left out; 1 period(s) left out")
    assert said.zh.endswith("补齐1处，保留空缺1处，剔除1个地区，剔除1个时期")
    assert blank_words(filled.iloc[:0]).en == "no blank cells"
