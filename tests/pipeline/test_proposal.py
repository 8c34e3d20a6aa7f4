"""``init --from``: a study file proposed for a user's own files is sound, or one sentence says what to change."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from scipy import sparse

import spatial_zb as zb
from spatial_zb import cli
from spatial_zb.pipeline.proposal import propose

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
ROWS, COLUMNS = 3, 4
N = ROWS * COLUMNS
CITIES = [f"{sign}市" for sign in "甲乙丙丁戊己庚辛壬癸子丑"]


def layer(path: Path, side: float, west: float, south: float, crs: int, columns: dict, **options) -> Path:
    """Twelve squares in a grid as a file of polygons."""
    boxes = [
        shapely.box(west + i * side, south + j * side, west + (i + 1) * side, south + (j + 1) * side)
        for j in range(ROWS)
        for i in range(COLUMNS)
    ]
    gpd.GeoDataFrame(columns, geometry=boxes, crs=crs).to_file(path, **options)
    return path


def rows(ids: list, periods: list, names: list[str]) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        [(i, t, *rng.normal(5, 1, len(names) - 2)) for i in ids for t in periods], columns=names
    )


def test_polygons_of_states_without_prj(tmp_path):
    columns = {"STATE": [f"State {c}" for c in "ABCDEFGHIJKL"], "FIPS": [f"{k:02d}" for k in range(1, N + 1)]}
    states = layer(tmp_path / "us48.shp", 6, -120, 28, 4326, columns)
    states.with_suffix(".prj").unlink()
    table = tmp_path / "cigar.csv"
    rows(list(range(1, N + 1)), [1963, 1964, 1965], ["state", "year", "sales", "price"]).to_csv(
        table, index=False
    )
    with pytest.raises(
        zb.DataError, match=r"look like degrees: say which, as in --crs EPSG:4326\.$"
    ) as refused:
        propose([states, table], tmp_path)
    assert "us48.shp没有坐标系" in refused.value.zh
    path, checked = propose([states, table], tmp_path / "new", crs="EPSG:4326")
    study = zb.load_study(path)
    assert (study.regions.id, study.regions.names.en, study.data.unit) == ("FIPS", "STATE", "state")
    assert (study.regions.projected_crs, study.regions.crs) == ("EPSG:5070", "EPSG:4326")
    assert list(checked.prepared.panel.units) == columns["FIPS"]  # lost zeros are put back
    assert not states.with_suffix(".prj").exists()  # the user's own file stays as it was
    with pytest.raises(zb.DataError, match="EPSG:1"):
        propose([states, table], tmp_path / "other", crs="EPSG:1")


def test_a_gbk_shapefile_with_a_chinese_workbook(tmp_path, monkeypatch, capsys):
    cities = layer(tmp_path / "市.shp", 0.5, 119, 27, 4490, {"市名": CITIES}, encoding="GB18030")
    cities.with_suffix(".cpg").unlink()
    table = rows(CITIES, ["2018年", "2019年"], ["城市", "年份", "生产总值（亿元）", "人口", "rho", "2年均值"])
    table.loc[3, "人口"] = np.nan
    table.to_excel(tmp_path / "数据.xlsx", index=False)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["init", "--from", "市.shp", "数据.xlsx", "--language", "zh"]) == 0
    assert "study.toml可以运行：12个地区，2个时期" in capsys.readouterr().out
    study = zb.load_study(tmp_path / "study.toml")
    assert study.regions.projected_crs == "EPSG:4549"
    assert study.data.file == "数据.xlsx"  # inside the folder: as it is, no copy
    assert list(study.variables) == ["生产总值_亿元", "v2"]
    assert "#   人口：1处空缺\n#   rho：改名后可用" in study.path.read_text("utf-8")
    assert not (tmp_path / "data").exists()
    assert (
        cli.main(["init", "--from", "市.shp", "数据.xlsx", "--language", "zh"]) == 1
    )  # nothing is written over
    assert "已有study.toml" in capsys.readouterr().err


def test_a_stata_panel_with_more_units_than_polygons(tmp_path):
    ids = [f"{k:05d}" for k in range(1, N + 1)]
    polygons = layer(tmp_path / "p.gpkg", 40_000, 300_000, 3_000_000, 4549, {"id": ids})
    table = rows([float(k) for k in range(1, N + 2)], [2001, 2002], ["id", "year", "y", "x"])
    table = table[:-4].assign(twice=lambda t: 2 * t["x"])  # the last polygon has no rows of 2002
    table.loc[len(table)] = [float(N + 1), 2001, 0.0, 0.0, 0.0]
    table.loc[len(table)] = [float(N + 1), 2002, 0.0, 0.0, 0.0]
    table.to_stata(tmp_path / "panel.dta", write_index=False)
    path, checked = propose([polygons, tmp_path / "panel.dta"], tmp_path)
    study = zb.load_study(path)
    assert study.data.ignore == (str(N + 1),)
    assert list(checked.prepared.panel.units) == ids[:-1]
    assert (study.models["main"].y, study.models["main"].x) == ("y", ("x",))  # twice x is x


def test_a_cross_section_in_the_attributes(tmp_path):
    values = rows(list(range(1, N + 1)), [1], ["POLYID", "t", "HOVAL", "INC"]).drop(columns="t")
    polygons = layer(tmp_path / "columbus.geojson", 0.02, -83, 39.9, 4326, dict(values), driver="GeoJSON")
    assert (
        cli.main(["init", "--from", str(polygons), str(tmp_path / "new"), "--quiet"]) == 0
    )  # a folder may follow
    study = zb.load_study(tmp_path / "new" / "columbus.toml")
    assert (study.data.file, study.data.dated) == (None, False)
    assert "period" not in study.path.read_text("utf-8")
    assert study.models["main"].fixed_effects == ("none",)
    assert zb.prepare(study).panel.frame()["HOVAL"].to_numpy() == pytest.approx(values["HOVAL"].to_numpy())


@pytest.fixture
def squares(tmp_path):
    return layer(
        tmp_path / "a.geojson", 0.3, 119, 29, 4490, {"id": [f"u{k}" for k in range(N)]}, driver="GeoJSON"
    )


NAMES = ["id", "year", "y", "x"]
UNITS = [f"u{k}" for k in range(N)]
WRONG = {
    "other ids": (rows([f"v{k}" for k in range(N)], [2001, 2002], NAMES), "has the ids of the polygons"),
    "no years": (rows(UNITS, ["a", "b"], ["id", "group", "y", "x"]), "several rows for u0"),
    "a gap": (rows(UNITS, [2001, 2003], NAMES), "without a gap"),
    "no rows": (rows([], [], NAMES), "headings and no rows"),
    "no numbers": (rows(UNITS, [2001, 2002], NAMES)[["id", "year"]], "no column of numbers"),
}


def test_units_that_come_and_go_are_kept(squares, tmp_path):
    """No unit is dropped for a year that it lacks; blank cells have the rule that leaves their rows out."""
    table = rows(UNITS, [2001, 2002, 2003], ["id", "year", "y", "x", "z"])
    table.loc[7, "x"] = np.nan
    table[~(table["id"].isin(UNITS[:8]) & (table["year"] == 2001))].to_csv(tmp_path / "t.csv", index=False)
    path, checked = propose([squares, tmp_path / "t.csv"], tmp_path, language="zh")
    study = zb.load_study(path)
    assert study.data.balance == "keep"
    panel = checked.prepared.panel
    assert list(panel.units) == UNITS
    assert (~panel.present).sum() == 8
    assert {"y", "x", "z"} <= set(panel.columns)
    assert np.isnan(panel.array("x")).sum() == 8 + 1
    assert "units = " not in path.read_text("utf-8")


@pytest.mark.parametrize("case", WRONG)
def test_what_is_missing_is_one_sentence(case, squares, tmp_path):
    table, said = WRONG[case]
    table.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(zb.DataError, match=said) as refused:
        propose([squares, tmp_path / "t.csv"], tmp_path)
    assert refused.value.zh != str(refused.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.geojson", "t.csv"]


RING = np.roll(np.eye(N), 1, axis=1) + np.roll(np.eye(N), -1, axis=1)


def write_matrix(path: Path) -> Path:
    """A ring of twelve units: bare numbers in a workbook, else with ids."""
    if path.suffix == ".xlsx":
        pd.DataFrame(RING).to_excel(path, index=False, header=False)
    else:
        zb.weights.write(zb.Weights(sparse.csr_array(RING), UNITS, "ring"), path)
    return path


@pytest.mark.parametrize("name", ["W.xlsx", "W.csv", "W.gal"])
def test_a_table_and_a_matrix_need_no_polygons(name, tmp_path, capsys):
    """Whichever of the two comes first; a matrix without ids takes the order of the table only where it is said."""
    rows(UNITS, [2001, 2002, 2003], NAMES).to_csv(tmp_path / "panel.csv", index=False)
    matrix = write_matrix(tmp_path / name)
    said = [] if name != "W.xlsx" else ["--ids", "order of table"]
    files = [str(matrix), str(tmp_path / "panel.csv"), str(tmp_path / "new")]
    assert cli.main(["init", "--language", "en", "--from", *files, *said]) == 0
    assert "12 units, 3 periods (2001-2003)" in capsys.readouterr().out
    study = zb.load_study(tmp_path / "new" / "panel.toml")
    assert (study.regions, study.maps) == (None, None)
    prepared = zb.prepare(study)
    np.testing.assert_allclose(prepared.weights("own", "all").align(UNITS).matrix.toarray(), RING / 2)
    assert f"data/{name}" in study.files().values() or (tmp_path / "new" / "data" / name).is_file()


def test_a_matrix_stands_beside_the_neighbours_of_polygons(squares, tmp_path):
    rows(UNITS, [2001, 2002], NAMES).to_csv(tmp_path / "t.csv", index=False)
    path, _ = propose([squares, tmp_path / "t.csv", write_matrix(tmp_path / "W.csv")], tmp_path)
    assert list(zb.load_study(path).weights) == ["own", "queen"]


def test_a_matrix_without_ids_is_never_guessed(squares, tmp_path):
    matrix = write_matrix(tmp_path / "W.xlsx")
    table = tmp_path / "t.csv"
    rows(UNITS, [2001, 2002], NAMES).to_csv(table, index=False)
    with pytest.raises(zb.DataError, match=r"12 × 12 numbers without ids.*--ids 'order of polygons'"):
        propose([squares, matrix], tmp_path)
    with pytest.raises(zb.DataError, match=r"--ids 'order of table'"):
        propose([table, matrix], tmp_path)
    with pytest.raises(zb.DataError, match="Leave out --ids"):
        propose([squares, table], tmp_path, ids="order of table")
    rows(UNITS[:9], [2001, 2002], NAMES).to_csv(table, index=False)
    with pytest.raises(zb.DataError, match=r"no column of t\.csv has 12 units"):
        propose([table, matrix], tmp_path, ids="order of table")
    with pytest.raises(zb.DataError, match="or a table and a W"):
        propose([table], tmp_path)
    assert cli.main(["init", "--ids", "order of table"]) == 1


def test_a_reference_system_is_for_files_of_ones_own(capsys):
    assert cli.main(["init", "--crs", "EPSG:4326"]) == 1
    assert "--from" in capsys.readouterr().err


def test_what_the_check_refuses_leaves_nothing_behind(squares, tmp_path, monkeypatch):
    rows(UNITS, [2001, 2002], NAMES).to_csv(tmp_path / "t.csv", index=False)

    def refuse(study):
        raise zb.DataError("no", "否")

    monkeypatch.setattr("spatial_zb.pipeline.proposal.check", refuse)
    with pytest.raises(zb.DataError, match="no"):
        propose([squares, tmp_path / "t.csv"], tmp_path / "new")
    assert not [path for path in (tmp_path / "new").rglob("*") if path.is_file()]
