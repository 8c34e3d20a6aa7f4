"""Weights that a study file asks for, on the delivered data: base periods, combinations, files, samples."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spatial_zb import pipeline
from spatial_zb import weights as zw
from spatial_zb.base.errors import AlignmentError, SpatialZbWarning
from spatial_zb.study import load_study

ROOT = Path(__file__).parents[2]
KINDS = """
[weights.now]
kind = "economic_distance"
variable = "ln_pgdp"
[weights.before]
kind = "economic_distance"
variable = "ln_pgdp"
periods = [2003, 2006]
[weights.mass]
kind = "gravity"
variable = "gdp_10k"
periods = 2005
[weights.joined]
kind = "combine"
parts = ["inverse", "before"]
[weights.mixed]
kind = "combine"
parts = ["queen", "before"]
how = "mix"
alpha = 0.3
[weights.own]
kind = "file"
file = "FILE"
islands = "zero"
normalisation = "none"

"""


@pytest.fixture(scope="module")
def prepared(delta, tmp_path_factory):
    """The shipped study with more kinds of weights."""
    folder = tmp_path_factory.mktemp("study")
    zw.write(zw.knn(delta, 3), folder / "own.gwt")
    text = (ROOT / "studies/bay_area.toml").read_text("utf-8")
    kinds = KINDS.replace("FILE", (folder / "own.gwt").as_posix())
    (folder / "s.toml").write_text(text.replace("[samples.delta]", f"{kinds}[samples.delta]"), "utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        yield pipeline.prepare(load_study(folder / "s.toml", root=ROOT, allow_outside=True))


def printed(column: str, first: int, last: int) -> pd.DataFrame:
    table = pd.read_csv(ROOT / "data/delta_city_panel_2003_2019.csv", dtype={"adcode": str})
    table = table[table["year"].between(first, last)]
    return table.pivot(index="adcode", columns="year", values=column)


def test_base_periods_before_the_sample_are_read_from_the_data(prepared) -> None:
    y = np.log(printed("gdp_10k", 2003, 2006) / printed("pop_registered_10k", 2003, 2006)).mean(axis=1)
    W = prepared.weights("before", "delta")
    v = y.loc[W.ids].to_numpy()
    gap = np.abs(v[:, None] - v)
    np.fill_diagonal(gap, np.inf)
    expected = (1 / gap) / (1 / gap).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(W.matrix.toarray(), expected, rtol=1e-9)
    assert W.recipe["periods"] == [2003, 2006]
    assert W.variables == ("ln_pgdp",)
    assert prepared.panel.periods == tuple(range(2007, 2020))


def test_the_mean_of_the_sample_comes_from_its_panel(prepared) -> None:
    expected = zw.unit_means(prepared.panel, "ln_pgdp")
    pd.testing.assert_series_equal(prepared.bases["now"], expected)
    assert prepared.weights("now", "delta").recipe["periods"] == [2007, 2019]


def test_one_base_period_and_a_column_no_model_uses(prepared) -> None:
    mass = printed("gdp_10k", 2005, 2005)[2005]
    W = prepared.weights("mass", "zhejiang")
    expected = zw.gravity(prepared.polygons("zhejiang"), mass.loc[W.ids]).standardise()
    np.testing.assert_allclose(W.matrix.toarray(), expected.matrix.toarray(), rtol=1e-12)


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
def test_parts_of_combinations_are_normalised_as_their_own_tables_say(prepared) -> None:
    parts = {
        name: prepared.weights(name, "delta").matrix.toarray() for name in ("queen", "inverse", "before")
    }
    mixed = prepared.weights("mixed", "delta")
    np.testing.assert_allclose(
        mixed.matrix.toarray(), 0.3 * parts["queen"] + 0.7 * parts["before"], rtol=1e-9
    )
    assert mixed.normalisation == "row"
    product = parts["inverse"] * parts["before"]
    nested = prepared.weights("joined", "delta").matrix.toarray()
    np.testing.assert_allclose(nested, product / product.sum(axis=1, keepdims=True), rtol=1e-9)


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
def test_a_file_gives_the_units_of_each_sample(prepared, delta) -> None:
    whole = zw.knn(delta, 3)
    for sample in ("delta", "zhejiang", "bay"):
        W = prepared.weights("own", sample)
        assert list(W.ids) == list(prepared.polygons(sample).index)
        assert abs(W.matrix - whole.subset(W.ids).matrix).max() == 0
        assert W.recipe["file"] == "own.gwt"
    assert prepared.study.files()["weights.own"].name == "own.gwt"


def test_a_file_of_other_units_is_refused(prepared, tmp_path) -> None:
    from dataclasses import replace

    zw.write(zw.as_weights(np.ones((3, 3)) - np.eye(3), list("abc")), tmp_path / "w.csv")
    own = prepared.study.weights["own"].model_copy(update={"file": str(tmp_path / "w.csv")})
    study = replace(prepared.study, weights={"own": own})
    with pytest.raises(AlignmentError, match="no unit 310000"):
        pipeline.build_weights(study, "own", prepared.polygons("delta"))
