"""Keys that users look for, each from a study file: what W's rows are, no polygons, no year, attributes, lags in time."""

from __future__ import annotations

import csv
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_study import IDS, TEXT, YEARS, rows, squares, write_study, write_table

import spatial_zb as zb
from spatial_zb import cli
from spatial_zb.base.errors import SpatialZbError, SpatialZbWarning
from spatial_zb.base.text import UNDATED
from spatial_zb.data.read import read_table
from spatial_zb.pipeline import Prepared, prepare, run
from spatial_zb.study import load_study

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
RING = np.roll(np.eye(12), 1, axis=1) + np.roll(np.eye(12), -1, axis=1)


@pytest.fixture
def home(tmp_path) -> Path:
    write_study(tmp_path / "home")
    return tmp_path / "home"


def changed(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new, 1)
    return text


def prepared(home: Path, *pairs: tuple[str, str], text: str = TEXT) -> Prepared:
    path = home / "studies" / "tiny.toml"
    path.write_text(changed(text, *pairs), "utf-8")
    return prepare(load_study(path))


def refusal(home: Path, *pairs: tuple[str, str], text: str = TEXT) -> SpatialZbError:
    with pytest.raises(SpatialZbError) as refused:
        prepared(home, *pairs, text=text).weights("queen", "all")
    assert refused.value.zh != str(refused.value)
    return refused.value


# --- [regions] crs -----------------------------------------------------------------------------------------


def test_crs_says_what_a_layer_without_prj_is_in(home):
    import geopandas as gpd

    gpd.read_file(home / "shapes/a.geojson").to_file(home / "shapes/a.shp")
    (home / "shapes/a.prj").unlink()
    shp = ('"shapes/a.geojson"', '"shapes/a.shp"')
    assert "[regions] crs" in str(refusal(home, shp))
    named = ('id = "adcode"\nnames', 'crs = "EPSG:4326"\nid = "adcode"\nnames')
    assert prepared(home, shp, named).regions.crs.to_epsg() == 4326
    other = ('id = "adcode"\nnames', 'crs = "EPSG:4549"\nid = "adcode"\nnames')
    assert "in 'WGS 84' by its own words" in str(refusal(home, other))  # a GeoJSON names its own
    assert "crs" in str(refusal(home, shp, ('id = "adcode"\nnames', 'crs = "wgs84"\nid = "adcode"\nnames')))


# --- [weights.x] ids, and Stata ----------------------------------------------------------------------------

FILE = ('kind = "contiguity"\nislands = "nearest"', 'kind = "file"\nfile = "data/w.csv"\nKEY')


@pytest.mark.parametrize(
    "key",
    [
        f"ids = {json.dumps(IDS)}",
        'ids = "order of polygons"',
        'ids = "order of table"',
        'ids = "adcode"',
        'ids = { file = "data/order.csv", column = "code" }',
    ],
)
def test_a_matrix_without_ids_is_told_its_units(home, key):
    pd.DataFrame(RING).to_csv(home / "data/w.csv", index=False, header=False)
    write_table(home / "data/order.csv", [[int(unit)] for unit in IDS], ["code"])
    W = prepared(home, (FILE[0], FILE[1].replace("KEY", key))).weights("queen", "all")
    assert list(W.ids) == IDS
    assert np.array_equal(W.matrix.toarray() > 0, RING > 0)


def test_a_matrix_without_ids_is_refused_with_the_key(home):
    pd.DataFrame(RING).to_csv(home / "data/w.csv", index=False, header=False)
    assert "ids of [weights] in a study" in str(refusal(home, (FILE[0], FILE[1].replace("KEY", ""))))
    wrong = FILE[1].replace("KEY", f"ids = {json.dumps(IDS[:-1])}")
    assert "has 12 rows, but 11 ids were given" in str(refusal(home, (FILE[0], wrong)))
    wrong = FILE[1].replace("KEY", 'ids = { file = "data/none.csv", column = "a" }')
    assert "weights.queen.ids" in str(refusal(home, (FILE[0], wrong)))


def test_what_stata_exports_is_read_with_its_ids(home):
    """The form of ``spmatrix export``: the number of units, then a line of id and weights for each."""
    order = IDS[::-1]
    lines = [f"{unit} " + " ".join(f"{w:g}" for w in row) for unit, row in zip(order, RING, strict=True)]
    (home / "data/w.txt").write_text("12\n" + "\n".join(lines) + "\n")
    text = FILE[1].replace("KEY", "").replace("w.csv", "w.txt")
    W = prepared(home, (FILE[0], text)).weights("queen", "all")
    assert np.array_equal(W.matrix.toarray() > 0, (RING > 0)[::-1, ::-1])


def test_lost_zeros_of_ids_in_a_weights_file_are_put_back(home):
    for path in (home / "data/a.csv", home / "shapes/a.geojson"):
        path.write_text(path.read_text("utf-8").replace("3301", "0301"), "utf-8")
    ids = [unit.replace("3301", "301") for unit in IDS]
    zb.weights.write(zb.as_weights(RING, ids), home / "data/w.csv")
    W = prepared(home, (FILE[0], FILE[1].replace("KEY", ""))).weights("queen", "all")
    assert list(W.ids) == [f"0{unit}" for unit in ids]


# --- where, and lists ---------------------------------------------------------------------------------------


def test_where_takes_numbers_and_text(home):
    made = squares()
    for k, feature in enumerate(made["features"]):
        feature["properties"] |= {"zone": k % 3 + 0.0, "east": k > 5, "prov": "甲" if k < 8 else "乙"}
    (home / "shapes/a.geojson").write_text(json.dumps(made), "utf-8")
    for where, kept in {
        "{ zone = 1 }": [1, 4, 7, 10],
        "{ zone = [0, 2.0], prov = '甲' }": [0, 2, 3, 5, 6],
        "{ east = true }": range(6, 12),
    }.items():
        sample = ("[output]", f"[samples.some]\nwhere = {where}\n[output]")
        found = prepared(home, sample)
        assert found.samples["some"] == tuple(IDS[k] for k in kept)
    sample = ("[output]", "[samples.some]\nwhere = { zone = [1, 9] }\n[output]")
    assert "no unit has 9 in column 'zone'; its values are 0.0, 1.0, 2.0" in str(refusal(home, sample))


def test_one_value_stands_for_a_list_and_a_list_of_one_for_a_value(home):
    found = prepared(
        home,
        ('name = "tiny"', 'name = ["tiny"]'),
        ("periods = [2010, 2017]", "periods = 2012"),
        ('variables = ["ly"]', 'variables = "ly"'),
        ('x = ["x1", "x2"]', 'x = "x1"\nfixed_effects = "none"'),
    )
    assert found.study.name == "tiny"
    assert found.panel.periods == (2012,)
    assert (found.study.models["m"].x, found.study.moran.variables) == (("x1",), ("ly",))
    assert "study.name" in str(refusal(home, ('name = "tiny"', 'name = ["tiny", "other"]')))


# --- attributes and expressions -------------------------------------------------------------------------------


def test_attributes_comparisons_and_lags_in_expressions(home):
    made = squares()
    for k, feature in enumerate(made["features"]):
        feature["properties"] |= {"area": 10.0 + k, "prov": "甲" if k < 6 else "乙"}
    (home / "shapes/a.geojson").write_text(json.dumps(made), "utf-8")
    more = {
        "dense": "y / area",
        "after": "(prov == '甲') and year >= 2013",
        "both": "after * x1",
        "one": "adcode == '330102'",
        "before": "lag(x1)",
        "growth": "log(y) - lag(log(y), 2) + 0 * before",
        "safe": "where(x1 > 0, log(x1), 0)",
        "trend": "year - 2010",
    }
    text = "".join(f"[variables.{name}]\nexpression = {json.dumps(e)}\n" for name, e in more.items())
    panel = prepared(
        home,
        ("periods = [2010, 2017]", "periods = [2012, 2017]"),
        ("[moran]", f"{text}[moran]"),
        ('x = ["x1", "x2"]', 'x = ["x1", "area", "growth"]\nfixed_effects = "time"'),
    ).panel
    assert panel.periods == tuple(range(2012, 2018))
    whole = pd.DataFrame(rows(), columns=["unit", "year", "y", "x1", "x2"]).astype({"y": float, "x1": float})
    wide = {c: whole.pivot(index="year", columns="unit", values=c).to_numpy() for c in ("y", "x1")}
    y, x = wide["y"][2:], wide["x1"][2:]
    area, first = 10.0 + np.arange(12), np.arange(12) < 6
    after = first & (np.arange(2012, 2018)[:, None] >= 2013)
    expected = {
        "dense": y / area,
        "after": after,
        "both": after * x,
        "one": np.broadcast_to(np.arange(12) == 1, y.shape),
        "before": wide["x1"][1:-1],
        "growth": np.log(y / wide["y"][:-2]),
        "safe": np.log(np.where(x > 0, x, 1)),
        "trend": np.broadcast_to(np.arange(2.0, 8)[:, None], y.shape),
        "area": np.broadcast_to(area, y.shape),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(panel.array(name), values, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("lag(x1)", "has rows of 2010–2017; data.periods (line 15), lag\\(\\) or the periods of weights ask for 2009"),
        ("NAME + 1", "NAME"),
        ("name == 'a'", "name 'name' is not known; known here: adcode, year, y, x1, x2, ly, more, NAME"),
        ("year", "tells rows apart"),
    ],
)  # fmt: skip
def test_what_an_expression_of_a_study_cannot_use(home, expression, said):
    import re

    text = f"[variables.more]\nexpression = {json.dumps(expression)}\n[moran]"
    found = str(refusal(home, ("[moran]", text), ('"x2"]', '"x2", "more"]')))
    assert re.search(said.replace("(line 15)", r"\(line 15\)"), found), found


def test_a_dbf_is_a_table(home):
    import geopandas as gpd

    made = squares({unit: f"市{k}" for k, unit in enumerate(IDS)})
    for k, feature in enumerate(made["features"]):
        feature["properties"] |= {"y": 1.5 * k, "n": k}
    layer = gpd.GeoDataFrame.from_features(made, crs=4326)
    layer.to_file(home / "data/b.shp", encoding="GB18030")
    (home / "data/b.cpg").unlink()
    table = read_table(home / "data/b.dbf", ["adcode"])
    assert list(table.columns) == ["adcode", "NAME", "y", "n"]
    assert list(table["adcode"]) == IDS
    assert list(table["NAME"]) == [f"市{k}" for k in range(12)]
    assert list(table["y"]) == [1.5 * k for k in range(12)]
    (home / "data/c.dbf").write_bytes((home / "data/b.dbf").read_bytes()[:-30])
    with pytest.raises(zb.DataError, match=r"c\.dbf is cut off"):
        read_table(home / "data/c.dbf")


# --- fill_rows --------------------------------------------------------------------------------------------------


def test_rows_that_lack_become_blank_cells_for_the_rules(home):
    kept = [row for row in rows() if (row[0], row[1]) not in ((IDS[3], 2012), (IDS[4], 2013))]
    write_table(home / "data/a.csv", kept)
    assert f"no row for {IDS[3]} in 2012" in str(refusal(home))
    rule = '[[missing]]\ncolumns = ["y", "x1", "x2"]\nrule = "interpolate"\nreason = "r"\n[moran]'
    filled = (("periods = [2010, 2017]", "periods = [2010, 2017]\nfill_rows = true"), ("[moran]", rule))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpatialZbWarning)
        found = prepared(home, *filled)
    assert any("has no row for 2 unit-period(s)" in str(w.message) for w in caught)
    assert len(found.filled) == 6
    x = found.panel.array("x1")
    assert x[2, 3] == pytest.approx((x[1, 3] + x[3, 3]) / 2)
    assert "rule" in str(refusal(home, filled[0]))


# --- without polygons, without a year -------------------------------------------------------------------------

BARE = """version = 1
[study]
name = "bare"
title = "Bare"
permutations = 99
language = "both"
[data]
file = "data/b.csv"
unit = "code"
[weights.w]
kind = "file"
file = "data/w.csv"
[weights.block]
kind = "block"
column = "prov"
[samples.all]
label = "All"
[samples.some]
where = { prov = ["甲", "乙"] }
[variables.core]
expression = "prov == '甲'"
[moran]
variables = ["y", "x"]
[models.m]
y = "y"
x = "x"
[figures]
effects = "m.x"
[output]
tables = ["md", "csv"]
figures = ["png"]
dpi = 72
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """A study of a W and a table: no polygons, no year; run once."""
    home = tmp_path_factory.mktemp("bare")
    (home / "data").mkdir()
    rng = np.random.default_rng(5)
    x = rng.normal(size=12)
    y = np.linalg.solve(np.eye(12) - 0.15 * RING, 1 + x + 0.2 * rng.normal(size=12))
    with (home / "data/b.csv").open("w", encoding="utf-8", newline="") as stream:
        lines = [[unit, "甲乙丙"[k % 3], y[k], x[k]] for k, unit in enumerate(IDS)]
        csv.writer(stream).writerows([["code", "prov", "y", "x"], *lines])
    zb.weights.write(zb.as_weights(RING, IDS), home / "data/w.csv")
    (home / "bare.toml").write_text(BARE, "utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(load_study(home / "bare.toml"))
    return home


def test_a_study_of_a_matrix_and_a_table(bare):
    found = prepare(load_study(bare / "bare.toml"))
    assert found.samples["some"] == tuple(IDS[k] for k in range(12) if k % 3 < 2)
    assert found.panel.periods == (UNDATED,)
    assert np.array_equal(found.panel.array("core")[0], np.arange(12) % 3 == 0)
    fit = zb.fit_durbin(
        zb.DurbinSpec("y", ["x"], fixed_effects="none"), found.sample("all"), found.weights("w", "all")
    )
    tidy = pd.read_csv(bare / "results/bare/tidy/sdm_m.csv")
    np.testing.assert_allclose(tidy["estimate"], fit.params, rtol=1e-9)
    page = (bare / "results/bare/report.html").read_text("utf-8")
    assert "No maps: the study names no polygons" in page
    assert "没有地图：研究文件未给出底图" in page


def test_a_cross_section_says_nothing_of_periods(bare):
    """No number for the year that is not there, and no words of panels."""
    told = {
        path.relative_to(bare): path.read_text("utf-8")
        for path in (bare / "results/bare").rglob("*")
        if path.suffix in (".md", ".csv", ".txt")
    }
    assert len(told) > 20
    for path, text in told.items():
        for word in ("Lee", "lee_yu", "ithin", "组内", "wo-way", "period", "时期", "期", "No effects"):
            assert word not in text.replace("unit-period", ""), (path, word, text)
    page = (bare / "results/bare/report.html").read_text("utf-8")
    assert "within units" not in page
    assert "组内" not in page
    panel = pd.read_csv(bare / "results/bare/tidy/panel.csv")
    assert list(panel.columns) == ["unit", "y", "x", "core"]
    assert "Cross-section" in told[Path("results/bare/tables/en/moran.md")]
    assert "estimator" in told[Path("results/bare/tidy/fit_m.csv")]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('x = "x"\n', 'x = "x"\nfixed_effects = "unit"\n', "a cross-section has no fixed effects"),
        ('x = "x"\n', 'x = "x"\ntime_lag = true\n', "needs periods"),
        ("[figures]", '[dynamics]\nsigma = "y"\n[figures]', "needs periods"),
        ("prov == '甲'", "lag(y)", "needs periods"),
        ("[figures]", '[maps]\nvariables = "y"\n[figures]', "needs polygons"),
        ('kind = "block"\ncolumn = "prov"', 'kind = "knn"\nk = 2', "needs polygons"),
        ('column = "prov"', 'column = "prov"\nislands = "nearest"', "needs polygons"),
        ('file = "data/b.csv"\nunit = "code"', 'source = "a"', "add file, or a section [regions]"),
        ('unit = "code"', 'unit = "code"\nperiod = "year"', "period and periods go together"),
        ('unit = "code"', 'unit = "code"\nfill_rows = true', "fill_rows is for panels"),
    ],
)
def test_what_a_study_without_polygons_or_year_cannot_have(bare, old, new, said):
    (bare / "b.toml").write_text(changed(BARE, (old, new)), "utf-8")
    with pytest.raises(zb.SpecificationError) as refused:
        load_study(bare / "b.toml")
    assert said in str(refused.value)


def test_rows_of_several_years_are_no_cross_section(bare):
    (bare / "data/c.csv").write_text("code,prov,y,x\n1,甲,1,2\n1,甲,2,3\n2,乙,2,3\n", "utf-8")
    (bare / "c.toml").write_text(changed(BARE, ("b.csv", "c.csv")), "utf-8")
    with pytest.raises(zb.DataError, match="name their column as period"):
        prepare(load_study(bare / "c.toml"))


def test_the_attributes_are_the_table(tmp_path):
    made: dict[str, Any] = squares()
    values = np.random.default_rng(2).normal(size=(12, 2))
    for feature, (y, x) in zip(made["features"], values, strict=True):
        feature["properties"] |= {"y": y, "x": x}
    (tmp_path / "a.geojson").write_text(json.dumps(made))
    text = """version = 1
    study = { name = "a", title = "A" }
    regions = { file = "a.geojson", id = "adcode" }
    weights.queen.kind = "contiguity"
    moran.variables = ["y", "x"]
    maps.variables = ["y"]
    """
    (tmp_path / "a.toml").write_text(text)
    study = load_study(tmp_path / "a.toml")
    assert study.maps.periods == (UNDATED,)
    np.testing.assert_array_equal(prepare(study).panel.array(["y", "x"])[0], values)
    (tmp_path / "b.toml").write_text(text.replace('["y", "x"]', '["y", "z"]'))
    with pytest.raises(
        zb.SpecificationError, match="variable 'z' is not known; known here: adcode, NAME, y, x"
    ):
        load_study(tmp_path / "b.toml")


# --- a copy of a study ----------------------------------------------------------------------------------------


def test_a_copy_of_a_study_is_checked(home, tmp_path, capsys, monkeypatch):
    study = home / "studies/tiny.toml"
    assert cli.main(["moran", str(study), "--quiet"]) == 0
    (home / "studies/copy.toml").write_text(TEXT)
    assert (
        cli.main(["check", str(home / "studies/copy.toml")]) == 0
    )  # writes nothing, so nothing is in the way
    assert "has the name 'tiny' too" in capsys.readouterr().out
    assert cli.main(["moran", str(home / "studies/copy.toml")]) == 1
    away = tmp_path / "away.toml"
    away.write_text(TEXT)
    monkeypatch.chdir(home)
    assert cli.main(["check", str(away)]) == 1
    said = capsys.readouterr().err
    assert "--root ." in said
    assert cli.main(["check", str(away), "--root", "."]) == 0


def test_years_are_those_of_the_small_study():
    assert (YEARS[0], YEARS[-1]) == (2010, 2017)
