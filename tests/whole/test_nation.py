"""The second study: cities of the nation that come and go, its numbers, and all of it from its file in a slow test."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import pandas as pd
import pytest

import spatial_zb as zb
from spatial_zb.pipeline.running import run

ROOT = Path(__file__).parents[2]
X = ["ln_pgdp", "ln_wage", "sci_share", "tertiary_share"]
#: Seconds of computing that the whole study may take.
LONGEST = 90


@pytest.fixture(scope="module")
def nation():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prepared = zb.prepare(zb.load_study(ROOT / "studies" / "nation.toml"))
        yield prepared


def test_cities_come_and_go_as_printed_and_suspect_cells_are_blank(nation):
    panel = nation.sample("nation")
    assert panel.present.shape == (13, 296)
    assert panel.present.sum() == 3762
    assert panel.rows(["industry", "talent", *X]).sum() == 3679
    absent = nation.absences.set_index("unit")
    assert set(absent["absence"]) == {"enters late"}
    assert absent.loc["520500", "why"] == "2011: prefecture becomes a city"
    blank = nation.filled.set_index(["unit", "period", "variable"])
    assert blank.loc[("211100", 2018, "share_tertiary"), "printed"] == 4139
    assert (nation.filled["rule"] == "blank").all()


def test_the_economic_w_of_a_year_has_the_cities_of_that_year(nation):
    W, panel = nation.weights("economic", "nation"), nation.sample("nation")
    for t, period in enumerate(panel.periods):
        assert set(W.at(period).ids) == set(panel.units[panel.rows("ln_pgdp")[t]])


def test_the_nation_and_the_delta_differ(nation):
    """Numbers of the README, so that it cannot grow old."""
    found = {}
    for sample in ("nation", "delta"):
        panel, W = nation.sample(sample), nation.weights("queen", sample)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = zb.fit_durbin(zb.DurbinSpec("industry", ["talent", *X]), panel, W, covariance="cluster")
            table = zb.spatial_effects(fit).tidy()
        found[sample] = table[table["term"] == "talent"].set_index("effect")[["estimate", "std_error"]]
    nation_wide, delta = found["nation"], found["delta"]
    assert nation_wide.loc["direct"].round(2).tolist() == [-0.11, 0.03]
    assert nation_wide.loc["indirect"].round(3).tolist() == pytest.approx([-0.120, 0.055], abs=1e-9)
    assert abs(delta.loc["direct", "estimate"]) < delta.loc["direct", "std_error"]
    assert delta.loc["indirect", "estimate"] < -2 * delta.loc["indirect", "std_error"]


@pytest.mark.slow
def test_the_whole_study_runs_in_its_time(tmp_path):
    text = (ROOT / "studies" / "nation.toml").read_text("utf-8")
    text = text.replace('folder = "results"', f'folder = "{tmp_path.as_posix()}"')
    (tmp_path / "nation.toml").write_text(text, "utf-8")
    begin = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = run(zb.load_study(tmp_path / "nation.toml", root=ROOT, allow_outside=True))
    assert time.process_time() - begin < LONGEST
    effects = pd.read_csv(result.folder / "tidy" / "effects_industry_provinces.csv")
    rows = effects[(effects["term"] == "talent") & (effects["method"] == "delta")].set_index("effect")
    assert rows.loc["indirect", ["estimate", "std_error"]].astype(float).round(2).tolist() == [-0.06, 0.07]
    assert (result.folder / "figures" / "en" / "clusters_industry.png").exists()
