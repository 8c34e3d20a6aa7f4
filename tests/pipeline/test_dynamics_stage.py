"""Stage dynamics: tables and figures of a study are those of the functions, and its settings are checked."""

from __future__ import annotations

import csv
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import spatial_zb as zb
from spatial_zb import SpecificationError, load_study, prepare
from spatial_zb.base.text import Text
from spatial_zb.explore.dynamics import beta_convergence, sigma_convergence, theil_decomposition
from spatial_zb.pipeline.running import run
from spatial_zb.report.tables.layouts.dynamics import speed_table
from spatial_zb.report.tables.table import Number

BAY = Path(__file__).parents[2] / "studies" / "bay_area.toml"
#: Numbers written to csv and read back.
WRITTEN = 1e-12


@pytest.fixture(scope="module")
def study():
    found = load_study(BAY)
    output = found.output.model_copy(
        update={"tables": ("csv",), "figures": ("svg",), "report": False, "dpi": 72}
    )
    dynamics = found.dynamics.model_copy(
        update={"densities": ("talent_lq",), "ellipses": ("research",), "beta": ("pgdp",), "sigma": ("pgdp",)}
    )
    return replace(found, output=output, dynamics=dynamics)


@pytest.fixture(scope="module")
def outcome(study, tmp_path_factory):
    place = tmp_path_factory.mktemp("dynamics")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return run(study, ["dynamics"], out=place / "out"), prepare(study)


def test_all_of_the_section_is_made_in_both_languages(outcome):
    made = {p.relative_to(outcome[0].folder).as_posix() for p in outcome[0].files}
    tables = [
        "densities",
        "ellipse_research",
        "inequality_pgdp",
        "sigma_convergence",
        "beta_convergence_pgdp",
    ]
    for language in ("en", "zh"):
        wanted = {f"tables/{language}/{name}.csv" for name in (*tables, "beta_convergence_speed")}
        wanted |= {f"figures/{language}/{name}.svg" for name in ("density_talent_lq", "ellipse_research")}
        assert wanted <= made
    assert len(outcome[0].reading) == 1
    said = outcome[0].reading[0].en  # the speed is that of closing gaps, not a difference of growth
    assert "grew faster (" in said
    assert "; gaps close by 2.2 % a year" in said


def test_numbers_are_those_of_the_functions(outcome):
    result, prepared = outcome
    panel = prepared.sample("delta")
    tidy = result.folder / "tidy"
    groups = prepared.regions.loc[panel.units, "prov"]
    theil = theil_decomposition(panel, "pgdp", groups, "population").table()
    np.testing.assert_allclose(pd.read_csv(tidy / "theil_pgdp.csv"), theil, rtol=WRITTEN)
    sigma = pd.read_csv(tidy / "sigma_convergence.csv").query("group == 'all'")
    np.testing.assert_allclose(
        sigma["std_dev"], sigma_convergence(panel, "pgdp").table()["std_dev"], rtol=WRITTEN
    )
    beta = pd.read_csv(tidy / "beta_convergence.csv")
    spatial = beta_convergence(
        panel,
        "pgdp",
        prepared.weights("queen", "delta"),
        spec=zb.dynamics.growth_spec(lag_y=True, lag_x="all"),
    )
    row = beta[beta["model"].str.startswith("Spatial Durbin") & (beta["term"] == "beta")].iloc[0]
    assert row["estimate"] == pytest.approx(spatial.beta, rel=1e-9)
    assert beta["model"].nunique() == 3


def test_a_model_without_weights_names_none(outcome):
    path = outcome[0].folder / "tables" / "en" / "beta_convergence_pgdp.csv"
    with path.open(encoding="utf-8-sig") as stream:
        row = next(row for row in csv.reader(stream) if row and row[0] == "Weights matrix")
    assert row[1:3] == ["–", "–"]
    assert "ueen" in row[3]


def test_speeds_without_convergence_are_dashes():
    frame = pd.DataFrame(
        {
            "term": ["beta", "speed", "half_life"],
            "estimate": [0.02, -0.019, np.nan],
            "std_error": [0.01, 0.01, np.nan],
            "p_value": [0.03, 0.03, np.nan],
            "conf_low": [0.0, np.nan, np.nan],
            "conf_high": [0.04, np.nan, np.nan],
        }
    )
    table = speed_table([(Text.of("y"), Text.of("m"), frame)])
    cells = table.rows[1].cells
    assert cells[1] == Number(0.02, 4, 2)
    assert np.isnan(cells[4].value)
    assert np.isnan(cells[5].value)


def bay(tmp_path, old: str, new: str):
    """The study of the bay area with one change, in a project folder of its own."""
    text = BAY.read_text("utf-8")
    assert text.count(old) == 1
    path = tmp_path / "bay.toml"
    path.write_text(text.replace(old, new), "utf-8")
    return load_study(path, root=BAY.parents[1])


WRONG = {
    "an unknown variable": ('sigma = ["industry_lq"', 'sigma = ["industri_lq"', "did you mean 'industry_lq'"),
    "unknown weights": (
        'weights = "queen"\n\n[models.industry]',
        'weights = "quen"\n\n[models.industry]',
        "dynamics.weights",
    ),
    "no groups": ('groups = "prov"\n', "", "inequality needs groups"),
    "a period outside": (
        'population = "population"\nsigma',
        'population = "population"\nperiods = [1990]\nsigma',
        "dynamics.periods.*1990 lies outside",
    ),
    "an unknown key": (
        'sigma = ["industry_lq"',
        'sigmas = 1\nsigma = ["industry_lq"',
        "did you mean 'sigma'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_settings_are_checked_by_name(tmp_path, case):
    old, new, words = WRONG[case]
    with pytest.raises(SpecificationError, match=words):
        bay(tmp_path, old, new)


@pytest.mark.filterwarnings("ignore")
def test_groups_must_be_a_column_of_the_polygons(study, tmp_path):
    wrong = replace(study, dynamics=study.dynamics.model_copy(update={"groups": "region"}))
    with pytest.raises(SpecificationError, match=r"dynamics\.groups.*'region'.*name_zh"):
        run(wrong, ["dynamics"], out=tmp_path / "out")
