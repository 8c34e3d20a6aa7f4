"""``[concentration]`` and TOPSIS indices of a study: tables are those of the functions, settings are checked."""

from __future__ import annotations

import csv
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spatial_zb import DataError, SpecificationError, indices, load_study, prepare
from spatial_zb.pipeline.inputs import index_definition, with_indices
from spatial_zb.pipeline.job import Job
from spatial_zb.pipeline.stages.exploration import write_concentration

STUDIES = Path(__file__).parents[2] / "studies"
PLANTS = {"manufacturing": 0.01, "ict": 0.05, "research": 0.1}
#: Numbers written to csv and read back.
WRITTEN = 1e-12


def loaded(name: str):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = load_study(STUDIES / name)
        return study, prepare(study)


@pytest.fixture(scope="module")
def bay():
    return loaded("bay_area.toml")


def job_of(bay, place, **changes) -> Job:
    study, prepared = bay
    study = replace(
        study,
        output=study.output.model_copy(update={"tables": ("csv",)}),
        concentration=study.concentration.model_copy(update=changes),
    )
    return Job(replace(prepared, study=study), place, lambda step: None, "data")


def test_tables_are_those_of_the_functions(bay, tmp_path):
    write_concentration(job_of(bay, tmp_path, plant_hhi=PLANTS), {})
    panel = bay[1].sample("delta").frame().set_index(["unit", "period"])
    amounts, total = panel[list(PLANTS)], panel["employees"]
    tidy = pd.read_csv(tmp_path / "tidy" / "concentration.csv").set_index(["index", "period"])
    gamma = indices.ellison_glaeser(amounts, pd.Series(PLANTS), total)
    np.testing.assert_allclose(tidy.loc["gamma"], gamma, rtol=WRITTEN)
    np.testing.assert_allclose(tidy.loc["gini"], indices.locational_gini(amounts, total), rtol=WRITTEN)
    units = pd.read_csv(tmp_path / "tidy" / "specialisation.csv", dtype={"unit": str}).set_index("unit")
    rest = amounts.assign(rest=total - amounts.sum(axis=1))
    expected = indices.krugman_specialisation(rest).unstack("period")
    np.testing.assert_allclose(units, expected.loc[units.index], rtol=WRITTEN)
    with (tmp_path / "tables" / "zh" / "concentration.csv").open(encoding="utf-8-sig") as stream:
        rows = list(csv.reader(stream))
    assert any("EG 指数 γ" in cell for row in rows for cell in row)
    assert f"{gamma.loc[2019, 'ict']:.3f}".replace("-", "−") in next(
        row for row in rows if row[:1] == ["2019"]
    )


def test_sectors_that_are_more_than_their_total_are_named(bay, tmp_path):
    with pytest.raises(DataError, match=r"concentration\.total.*more than 'research' at 310000 2007"):
        write_concentration(job_of(bay, tmp_path, total="research"), {})


WRONG = {
    "an unknown sector": ('"manufacturing", "ict"', '"manufacturing", "itc"', "did you mean 'ict'"),
    "an unknown total": ('total = "employees"', 'total = "employes"', "concentration.total"),
    "plants of one sector": (
        'total = "employees"',
        "plant_hhi = { ict = 0.1 }",
        "one number for each of manufacturing, ict, research",
    ),
    "a single plant": (
        'total = "employees"',
        "plant_hhi = { manufacturing = 0.1, ict = 1, research = 0.1 }",
        "less than 1",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_settings_are_checked_by_name(tmp_path, case):
    old, new, words = WRONG[case]
    text = (STUDIES / "bay_area.toml").read_text("utf-8")
    assert text.count(old) == 1
    path = tmp_path / "bay.toml"
    path.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(SpecificationError, match=words):
        load_study(path, root=STUDIES.parent)


def test_an_index_by_topsis_is_the_closeness_with_entropy_weights():
    study, prepared = loaded("coupling.toml")
    index = study.indices["talent"]
    changed = replace(study, indices={"talent": index.model_copy(update={"method": "topsis"})}, coupling={})
    found = with_indices(changed, prepared.panel).frame().set_index(["unit", "period"])
    expected = indices.topsis(found[list(index.columns)])
    np.testing.assert_allclose(found["talent"], expected, rtol=WRITTEN)
    assert index_definition(changed, "talent").zh.startswith("熵权TOPSIS法")
