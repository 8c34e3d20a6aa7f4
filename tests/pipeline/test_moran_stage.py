"""``[moran]`` of a study: pooled and bivariate tables are those of the functions, settings are checked."""

from __future__ import annotations

import csv
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import spatial_zb as zb
from spatial_zb.pipeline.job import Job, MadeFigure
from spatial_zb.pipeline.stages.exploration import autocorrelation

STUDIES = Path(__file__).parents[2] / "studies"
#: Numbers written to csv and read back.
WRITTEN = 1e-12
PAIRS = (("industry", "talent"), ("talent", "industry"))


@pytest.fixture(scope="module")
def bay():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return zb.prepare(zb.load_study(STUDIES / "bay_area.toml"))


def stage(bay, place: Path, **changes) -> Job:
    study = bay.study
    study = replace(
        study,
        general=study.general.model_copy(update={"permutations": 99}),
        output=study.output.model_copy(update={"tables": ("csv",)}),
        moran=study.moran.model_copy(update={"weights": ("queen",), **changes}),
    )
    job = Job(replace(bay, study=study), place, lambda step: None, "moran")
    autocorrelation(job)
    return job


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig") as stream:
        return list(csv.reader(stream))


def test_pooled_and_bivariate_rows_are_those_of_the_functions(bay, tmp_path):
    stage(bay, tmp_path, pooled=True, bivariate=PAIRS)
    panel, W = bay.sample("delta"), bay.weights("queen", "delta")
    tidy = pd.read_csv(tmp_path / "tidy" / "moran.csv", dtype={"period": str}).set_index(
        ["variable", "period"]
    )
    for name in ("industry", "talent"):
        expected = zb.explore.pooled_moran(panel, name, W, permutations=0).table().iloc[0]
        found = tidy.loc[(name, "pooled")]
        np.testing.assert_allclose(found["I"], expected["I"], rtol=WRITTEN)
        np.testing.assert_allclose(found["z"], expected["z"], rtol=WRITTEN)
        assert 0 < found["p_sim"] <= 1
    tidy = pd.read_csv(tmp_path / "tidy" / "moran_bivariate.csv").set_index("variable")
    for x, y in PAIRS:
        expected = zb.explore.bivariate_moran(panel, x, y, W, permutations=0).table()
        np.testing.assert_allclose(tidy.loc[f"{x}, W_{y}", "I"], expected["I"], rtol=WRITTEN)
    for language, pooled, neighbours in (
        ("en", "All periods", "of the neighbours"),
        ("zh", "各时期合并", "邻居的"),
    ):
        last = [row for row in rows_of(tmp_path / "tables" / language / "moran.csv") if row[:1] == [pooled]]
        assert len(last) == 1
        table = rows_of(tmp_path / "tables" / language / "moran_bivariate.csv")
        assert sum(neighbours in " ".join(row) for row in table) >= 1
        assert any("2019" in row[:1] for row in table)


def test_a_study_without_them_has_neither(bay, tmp_path):
    stage(bay, tmp_path, pooled=False, bivariate=(), samples=("delta", "zhejiang"))
    assert {path.stem for path in (tmp_path / "tidy").iterdir()} == {"moran_delta", "moran_zhejiang"}
    assert "pooled" not in set(pd.read_csv(tmp_path / "tidy" / "moran_delta.csv")["period"].astype(str))


WRONG = {
    "an unknown variable": ('[["industry", "talet"]]', "moran.bivariate .*did you mean 'talent'"),
    "one variable": ('[["industry"]]', "must be pairs of two variables"),
    "three variables": ('[["industry", "talent", "ict"]]', "must be pairs of two variables"),
    "a variable with itself": ('[["industry", "industry"]]', "must be pairs of two variables"),
    "a pair twice": ('[["industry", "talent"], ["industry", "talent"]]', "more than once"),
    "a name": ('"industry"', "moran.bivariate"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_in_pairs_are_named(case, tmp_path):
    value, words = WRONG[case]
    text = (STUDIES / "bay_area.toml").read_text(encoding="utf-8")
    kept = [line for line in text.splitlines() if not line.startswith("bivariate = [[")]
    kept.insert(kept.index("[moran]") + 1, f"bivariate = {value}")
    (tmp_path / "bay.toml").write_text("\n".join(kept), encoding="utf-8")
    with pytest.raises(zb.SpecificationError, match=words):
        zb.load_study(tmp_path / "bay.toml", root=STUDIES.parent)


def test_one_pair_may_stand_without_outer_brackets(tmp_path):
    text = (STUDIES / "bay_area.toml").read_text(encoding="utf-8")
    text = text.replace('[["industry", "talent"], ["talent", "industry"]]', '["industry", "talent"]')
    (tmp_path / "bay.toml").write_text(text, encoding="utf-8")
    assert zb.load_study(tmp_path / "bay.toml", root=STUDIES.parent).moran.bivariate == PAIRS[:1]


def test_each_pair_has_its_scatter_in_the_files_and_in_the_page(bay, tmp_path):
    made = stage(bay, tmp_path, bivariate=PAIRS[:1]).made
    (drawn,) = [item for item in made.items if isinstance(item, MadeFigure)]
    panel, W = bay.sample("delta"), bay.weights("queen", "delta")
    first = zb.explore.bivariate_moran(panel, *PAIRS[0], W, permutations=0).table()["I"].iloc[0]
    for language, words in (("en", "Bivariate I = "), ("zh", "双变量莫兰指数 I = ")):
        assert f"{words}{first:.3f}".replace("-", "−") in drawn.drawings[language]
        assert (tmp_path / "figures" / language / "moran_bivariate_industry_talent.png").is_file()
