"""Claims of a theory: each measure beside its own small computation, verdicts, and what a study file may not say."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from small_study import IDS, TEXT, write_study

import spatial_zb as zb
from spatial_zb.core.statistics.dispersion import Interval
from spatial_zb.pipeline.running import run
from spatial_zb.pipeline.stages.claims import verdict_of
from spatial_zb.study import load_study

CLAIMS = f"""
[[claims]]
claim = {{ en = "They go together", zh = "二者相伴" }}
measure = "correlation"
variables = ["ly", "x1"]
[[claims]]
claim = {{ en = "They go together", zh = "二者相伴" }}
measure = "correlation"
variables = ["ly", "x1"]
weights = "queen"
within = true
[[claims]]
claim = "x1 raises y"
measure = "effect"
model = "m"
term = "x1"
[[claims]]
claim = "The first two lead"
measure = "rank"
variables = "x1"
units = ["{IDS[0]}", "{IDS[1]}"]
top = 3
[[claims]]
claim = "x2 is above one half"
measure = "level"
variables = "x2"
against = 0.5
[[claims]]
claim = "y falls"
measure = "trend"
variables = "ly"
expected = "negative"
[[claims]]
claim = "Both fall"
measure = "fall"
variables = ["ly", "x1"]
[[claims]]
claim = "Policy helps"
measure = "none"
reason = "no dates of policies"
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("claims")
    study = load_study(write_study(place, TEXT + CLAIMS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = run(study, ["models", "claims"], out=place / "out")
        panel = zb.prepare(study).panel
    return outcome, pd.read_csv(outcome.folder / "tidy" / "claims.csv"), panel


def test_every_measure_has_a_row_and_a_verdict(made):
    outcome, rows, panel = made
    assert rows["claim"].nunique() == 7
    assert set(rows["verdict"]) <= {"supported", "unsupported", "contradicted", "unmeasurable"}
    ly, x1, x2 = (panel.array(name) for name in ("ly", "x1", "x2"))
    assert rows["estimate"].iloc[0] == pytest.approx(np.corrcoef(ly.ravel(), x1.ravel())[0, 1])
    rank = (np.argsort(np.argsort(-x1, axis=1), axis=1)[:, :2] < 3).mean()
    assert rows["estimate"].iloc[3] == pytest.approx(rank)
    assert rows["estimate"].iloc[4] == pytest.approx(x2.mean())
    slopes = [np.polyfit(np.arange(8.0), ly[:, i], 1)[0] for i in range(12)]
    assert rows["estimate"].iloc[5] == pytest.approx(np.mean(slopes))
    assert rows["estimate"].iloc[6] == pytest.approx(((ly[-1] < ly[0]) & (x1[-1] < x1[0])).mean())
    assert rows["verdict"].iloc[7] == "unmeasurable"
    assert "no dates" in rows["detail"].iloc[7]
    assert (outcome.folder / "tables" / "claims.md").is_file()
    assert any("7 claims" in line.en for line in outcome.reading)


def test_rows_name_the_table_and_figure_that_show_more(made):
    outcome, rows, _ = made
    assert rows["table"].iloc[2] == "effects_m"
    tables = {path.stem for path in (outcome.folder / "tables").iterdir()}
    assert set(rows["table"].dropna()) <= tables
    text = (outcome.folder / "tables" / "claims.md").read_text("utf-8")
    assert "Table A" in text
    assert "Table A effects\\_m" in text


def test_effects_are_those_of_the_run(made):
    outcome, rows, _ = made
    effects = pd.read_csv(outcome.folder / "tidy" / "effects_m.csv")
    own = effects[(effects["term"] == "x1") & (effects["effect"] == "total")].iloc[0]
    assert rows["estimate"].iloc[2] == pytest.approx(own["estimate"])


@pytest.mark.parametrize(
    ("low", "high", "expected", "verdict"),
    [
        (0.1, 0.3, "positive", "supported"),
        (0.1, 0.3, "negative", "contradicted"),
        (-0.1, 0.3, "positive", "unsupported"),
        (-0.3, -0.1, "negative", "supported"),
        (np.nan, np.nan, "positive", "unmeasurable"),
        (-np.inf, 0.3, "positive", "unmeasurable"),
    ],
)
def test_a_verdict_is_where_the_interval_lies(low, high, expected, verdict):
    assert verdict_of(Interval((low + high) / 2, low, high), expected) == verdict


@pytest.mark.parametrize(
    ("entry", "culprit"),
    [
        ('measure = "rank"\nvariables = "x1"', "units"),
        ('measure = "none"\nreason = "r"\nterm = "x1"', "term"),
        ('measure = "correlation"\nvariables = ["x1"]', "2 variable"),
        ('measure = "effect"\nmodel = "m"\nterm = "x9"', "x9"),
        ('measure = "effect"\nmodel = "n"\nterm = "x1"', "'n'"),
        ('measure = "trend"\nvariables = "x1"\nperiods = [1999]', "1999"),
    ],
)
def test_what_a_measure_cannot_use_is_refused(tmp_path, entry, culprit):
    with pytest.raises(zb.SpecificationError, match=culprit):
        load_study(write_study(tmp_path, f'{TEXT}\n[[claims]]\nclaim = "c"\n{entry}\n'))


def test_claims_alone_make_the_fits_they_need_and_write_none_of_their_files(tmp_path):
    study = load_study(write_study(tmp_path, TEXT + CLAIMS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = run(study, ["claims"], out=tmp_path / "out")
    rows = pd.read_csv(outcome.folder / "tidy" / "claims.csv")
    assert np.isfinite(rows["estimate"].iloc[2])
    assert [path.name for path in sorted((outcome.folder / "tidy").iterdir())] == ["claims.csv"]
