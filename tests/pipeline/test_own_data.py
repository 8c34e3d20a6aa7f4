"""A user's own tables and polygons, as they come: each is read right, or refused in one sentence with its remedy."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

from spatial_zb import cli, pipeline
from spatial_zb.base.errors import SpatialZbError, SpatialZbWarning
from spatial_zb.study import load_study

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = {
    "adcode": "城市代码",
    "year": "年份",
    "emp_urban_units": "从业人员",
    "emp_manufacturing": "制造业",
    "gdp_10k": "生产总值",
}
STUDY = """
version = 1
[study]
name = "mine"
title = "我的研究"
language = "zh"
[regions]
file = "cities.shp"
id = "adcode"
[data]
file = "own.csv"
unit = "城市代码"
period = "年份"
periods = [2010, 2013]
[variables."产业"]
expression = "log(制造业 / 从业人员)"
label = "产业"
[variables."产值"]
expression = "log(生产总值)"
label = "产值"
[weights.queen]
kind = "contiguity"
rule = "queen"
islands = "nearest"
label = "邻接"
[moran]
variables = ["产业", "产值"]
"""
FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")


@pytest.fixture(scope="module")
def own() -> pd.DataFrame:
    table = pd.read_csv(ROOT / "data" / "delta_city_panel_2003_2019.csv", dtype={"adcode": str})
    chosen = table["adcode"].str.startswith("33") & table["year"].between(2010, 2013)
    return table.loc[chosen, list(COLUMNS)].rename(columns=COLUMNS).reset_index(drop=True)


@pytest.fixture(scope="module")
def cities() -> gpd.GeoDataFrame:
    layer = gpd.read_file(ROOT / "shapefiles" / "delta_cities.shp")
    return layer[layer["prov"] == "浙江省"]


@pytest.fixture(scope="module")
def polygons(tmp_path_factory, cities) -> Path:
    folder = tmp_path_factory.mktemp("polygons")
    cities.to_file(folder / "cities.shp", encoding="utf-8")
    return folder


@pytest.fixture
def project(tmp_path, polygons) -> Path:
    for part in polygons.iterdir():
        shutil.copy(part, tmp_path)
    return tmp_path


def prepared(project: Path, text: str = STUDY) -> tuple[pipeline.Prepared, str]:
    """The study of a project, read and checked, and what was said on the way."""
    (project / "mine.toml").write_text(text, encoding="utf-8")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpatialZbWarning)
        found = pipeline.prepare(load_study(project / "mine.toml"))
        found.weights("queen", found.study.main_sample)
    return found, "\n".join(str(note.message) for note in caught)


def text_cells(frame: pd.DataFrame, column: str, change) -> pd.DataFrame:
    return frame.assign(**{column: [change(value) for value in frame[column]]})


def one_cell(frame: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    out = frame.astype({column: object})
    out.loc[3, column] = value
    return out


#: What a user does to the table → what is said of it; the numbers are those of the plain table.
READ = {
    "as it is": (lambda f: f, ""),
    "ids as decimals": (lambda f: f.assign(城市代码=f["城市代码"].astype(float)), "stored as decimals"),
    "blanks after ids": (lambda f: f.assign(城市代码=f["城市代码"] + " "), "Blanks or full-width"),
    "full-width ids": (
        lambda f: text_cells(f, "城市代码", lambda v: v.translate(FULL_WIDTH)),
        "Blanks or full-width",
    ),
    "full-width numbers": (
        lambda f: text_cells(f, "制造业", lambda v: str(v).translate(FULL_WIDTH)),
        "stores its numbers as text",
    ),
    "years with 年": (lambda f: text_cells(f, "年份", lambda v: f"{v}年"), "were read as years"),
    "full-width years": (
        lambda f: text_cells(f, "年份", lambda v: str(v).translate(FULL_WIDTH)),
        "were read as years",
    ),
    "blanks around headings": (lambda f: f.rename(columns=lambda name: f"　{name} "), ""),
}


@pytest.mark.parametrize("case", READ)
def test_own_table_is_read(case, project, own):
    change, said = READ[case]
    change(own).to_csv(project / "own.csv", index=False)
    found, notes = prepared(project)
    assert found.panel.array("制造业")[3, 0] == own["制造业"][3]
    assert said in notes


def test_a_gbk_table_and_thousands_marks_are_read(project, own):
    table = text_cells(own, "生产总值", lambda v: f"{v:,.0f}")
    table.to_csv(project / "own.csv", index=False, encoding="gbk")
    found, notes = prepared(project, STUDY.replace('period = "年份"', 'period = "年份"\nthousands = ","'))
    assert found.panel.array("生产总值")[3, 0] == round(own["生产总值"][3])
    assert "GB18030" in notes


#: What a user does to the table → words of the refusal: where, and what to do.
REFUSED = {
    "thousands": (
        lambda f: text_cells(f, "生产总值", lambda v: f"{v:,.0f}"),
        "330100 2010",
        'thousands=","',
    ),
    "percent": (lambda f: one_cell(f, "制造业", "12%"), "330100 2013 ('12%')", "write 12% as 12"),
    "dash": (lambda f: one_cell(f, "制造业", "—"), "own.csv: Column '制造业'", "Leave unknown cells blank"),
    "city left out": (lambda f: f[f["城市代码"] != "330700"], "330700 (金华市)", "take these units out"),
    "names for codes": (lambda f: f.assign(城市代码="杭州"), "杭州 may be 330100 (杭州市)", "write the ids"),
    "hole": (lambda f: f.drop(index=5), "own.csv: The table has no row for 330200 in 2011", "Add it"),
    "city-year twice": (lambda f: pd.concat([f, f.iloc[[5]]]), "330200 2011", "Keep one row"),
    "headings alone": (lambda f: f.iloc[:0], "own.csv has headings and no rows", "one row per unit"),
    "too few years": (lambda f: f[f["年份"] < 2013], "2010–2012", "name the periods that are there"),
    "note below": (
        lambda f: pd.concat([f, pd.DataFrame({"城市代码": ["资料来源：年鉴"]})]),
        "'年份' has a blank cell",
        "delete notes below the table",
    ),
    "blank ids": (lambda f: one_cell(f, "城市代码", None), "1 row(s) without a unit id", "fill merged cells"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_own_table_is_refused_with_place_and_remedy(case, project, own):
    change, *words = REFUSED[case]
    change(own).to_csv(project / "own.csv", index=False)
    with pytest.raises(SpatialZbError) as refused:
        prepared(project)
    assert all(word in str(refused.value) for word in words), str(refused.value)
    assert "own.csv" in str(refused.value)


def with_strays(own: pd.DataFrame) -> pd.DataFrame:
    beyond = own[own["城市代码"] == "330700"].assign(城市代码="341400")
    return pd.concat([own, beyond, beyond.assign(年份=beyond["年份"] - 20)], ignore_index=True)


def ignoring(*ids: str) -> str:
    return STUDY.replace('unit = "城市代码"', f'unit = "城市代码"\nignore = {list(ids)}'.replace("'", '"'))


def test_rows_without_a_polygon_are_refused_by_name_unless_they_are_listed(project, own):
    """They were dropped without a word, so that a mistyped id looked like a smaller region."""
    with_strays(own).to_csv(project / "own.csv", index=False)
    with pytest.raises(SpatialZbError) as refused:
        prepared(project)
    assert "4 row(s) of id(s) without a polygon: 341400" in str(refused.value)
    assert 'ignore = ["341400"] in [data]' in str(refused.value)
    assert "341400" in refused.value.zh
    found, notes = prepared(project, ignoring("341400"))
    assert len(found.panel.units) == 11
    assert "own.csv: 4 row(s) without a polygon are left out, as [data] ignore says: 341400." in notes


def test_a_sample_leaves_units_with_polygons_out_without_a_remark(project, own):
    own.to_csv(project / "own.csv", index=False)
    two = '[samples.part]\nunits = ["330100", "330500"]\n[weights.queen]'
    found, notes = prepared(project, STUDY.replace("[weights.queen]", two))
    assert (len(found.panel.units), "ignore" in notes) == (2, False)


@pytest.mark.parametrize("wrong", ["330700", "999999"])
def test_only_ids_without_a_polygon_can_be_ignored(wrong, project, own):
    with_strays(own).to_csv(project / "own.csv", index=False)
    with pytest.raises(SpatialZbError, match=rf"data\.ignore \(line 13\).*: {wrong}\. Take them out"):
        prepared(project, ignoring("341400", wrong))


FLAGGED = """城市代码,年份,column,kind,note
330300,2011,制造业,suspect,
330300,2011,从业人员,spike,often real
330500,2012,制造业,suspect,
330500,2012,生产总值,suspect,
110000,2012,制造业,suspect,elsewhere
330300,1999,制造业,suspect,before the study
"""
FILLED = '[[missing]]\ncolumns = ["制造业", "生产总值"]\nrule = "interpolate"\nreason = "存疑"\n'
KEPT = '[[suspect]]\ncolumns = "生产总值"\nunits = "330500"\nrule = "keep"\nreason = "已核对"\n'


def flagged(project: Path, own: pd.DataFrame, more: str = FILLED, keys: str = "") -> str:
    own.to_csv(project / "own.csv", index=False)
    (project / "flags.csv").write_text(FLAGGED, encoding="utf-8")
    return STUDY.replace('[variables."产业"]', f'flags = "flags.csv"\n{keys}\n{more}[variables."产业"]', 1)


def test_flagged_cells_are_blanks_and_each_is_counted_and_listed(project, own):
    found, notes = prepared(project, flagged(project, own, FILLED + KEPT))
    plain = own.set_index(["城市代码", "年份"])
    rows = found.filled.set_index(["unit", "period"])
    assert sorted(rows.index) == [("330300", 2011), ("330500", 2012)]
    for (unit, period), row in rows.iterrows():
        assert row["printed"] == plain.loc[(unit, period), "制造业"]
        near = [plain.loc[(unit, p), "制造业"] for p in (period - 1, period + 1)]
        assert row["value"] == pytest.approx(sum(near) / 2)
    values = found.panel.frame().set_index(["unit", "period"])
    assert values.loc[("330500", 2012), "生产总值"] == plain.loc[("330500", 2012), "生产总值"]
    assert values.loc[("330300", 2011), "从业人员"] == plain.loc[("330300", 2011), "从业人员"]
    assert (
        "flagged as suspect in flags.csv: 2 printed figure(s) of 制造业: 330300 (2011), 330500 (2012)."
        in notes
    )
    assert (
        "Kept as printed, though suspect: 4 printed figure(s) of 生产总值: 330500 (2010–2013). 已核对."
        in notes
    )


def test_the_run_lists_what_was_set_aside(project, own):
    text = flagged(project, own, FILLED + KEPT).replace(
        'language = "zh"', 'language = "both"\npermutations = 99'
    )
    (project / "mine.toml").write_text(
        text + '[output]\ntables = ["csv"]\nfigures = ["png"]\ndpi = 72\n', encoding="utf-8"
    )
    assert cli.main(["moran", str(project / "mine.toml"), "--quiet"]) == 0
    manifest = json.loads((project / "results" / "mine" / "manifest.json").read_text(encoding="utf-8"))
    assert any(
        "2 printed figure(s)" in note["en"] and "2个刊印值" in note["zh"] for note in manifest["notes"]
    )
    assert {"role": "flags"}.items() <= {
        k: v for k, v in manifest["inputs"][-1].items() if k == "role"
    }.items()


def test_a_flagged_cell_without_a_rule_is_refused_with_both_remedies(project, own):
    text = flagged(project, own, FILLED.replace(', "生产总值"', ""))
    with pytest.raises(SpatialZbError) as refused:
        prepared(project, text)
    said = str(refused.value)
    assert [
        word
        for word in ("flags.csv", "生产总值", "330500", "2012", "[[missing]]", 'rule = "keep"')
        if word not in said
    ] == []


def test_kinds_of_flags_are_chosen_and_must_exist(project, own):
    keys = 'flag_kinds = ["suspect", "spike"]'
    more = FILLED.replace('"生产总值"', '"生产总值", "从业人员"')
    found, _ = prepared(project, flagged(project, own, more, keys))
    assert "从业人员" in set(found.filled["variable"])
    with pytest.raises(SpatialZbError, match=r"data\.flag_kinds.*'spikes'.*spike, suspect"):
        prepared(project, flagged(project, own, more, keys.replace('"spike"', '"spikes"')))


def test_a_column_may_be_called_value_or_unit(project, own):
    named = own.rename(columns={"制造业": "value", "生产总值": "variable"})
    text = flagged(project, named, FILLED + KEPT)
    for old, new in {"制造业": "value", "生产总值": "variable"}.items():
        text = text.replace(old, new)
        flags = (project / "flags.csv").read_text(encoding="utf-8").replace(old, new)
        (project / "flags.csv").write_text(flags, encoding="utf-8")
    found, _ = prepared(project, text)
    assert list(found.filled["variable"]) == ["value", "value"]


def test_a_suspect_unit_without_a_polygon_is_refused(project, own):
    with pytest.raises(SpatialZbError, match=r"suspect\[1\]\.units.*no polygon: 330505"):
        prepared(project, flagged(project, own, FILLED + KEPT.replace("330500", "330505")))


def test_totals_come_from_the_first_table_that_has_them(project, own):
    own.to_csv(project / "own.csv", index=False)
    years = [2010, 2011, 2012, 2013]
    sums = pd.DataFrame({"年份": years, "制造业": 900, "从业人员": 3000})
    sums.to_csv(project / "sums.csv", index=False)
    printed = sums.assign(制造业=[1000, None, 1000, None]).iloc[:3]
    printed.to_csv(project / "printed.csv", index=False)
    text = STUDY.replace("log(制造业 / 从业人员)", "lq(制造业, 从业人员)").replace(
        'file = "own.csv"', 'file = "own.csv"\nreference = ["printed.csv", "sums.csv"]'
    )
    found, notes = prepared(project, text)
    share = found.panel.array("制造业") / found.panel.array("从业人员")
    totals = np.array([1000, 900, 1000, 900])[:, None]
    np.testing.assert_allclose(found.panel.array("产业"), share / (totals / 3000), rtol=1e-12)
    assert (
        "of 制造业 come from more than one table: 2010, 2012 from printed.csv, 2011, 2013 from sums.csv."
        in notes
    )
    assert "从业人员 come from more than one table: 2010–2012 from printed.csv, 2013 from sums.csv." in notes
    sums.assign(制造业=[900, None, 900, 900]).to_csv(project / "sums.csv", index=False)
    with pytest.raises(SpatialZbError, match=r"blank: .*制造业.*2011"):
        prepared(project, text)


@pytest.mark.parametrize(("mark", "word"), [(";", "semicolons"), ("\t", "tabs")])
def test_columns_that_no_comma_parts(mark, word, project, own):
    own.to_csv(project / "own.csv", index=False, sep=mark)
    with pytest.raises(SpatialZbError, match=f"1 mistake.*\n.*parted by {word}; save it as CSV with commas"):
        prepared(project)


def workbook(project: Path, *rows: list[object], first: str | None = None) -> str:
    """A workbook of these rows, behind another sheet if ``first`` names one; gives the study that reads it."""
    from openpyxl import Workbook

    book = Workbook()
    sheet = book.active
    if first is not None:
        sheet.title = first
        sheet.append(["说明"])
        sheet = book.create_sheet("数据")
    for row in rows:
        sheet.append(row)
    book.save(project / "own.xlsx")
    return STUDY.replace("own.csv", "own.xlsx")


def rows_of(own: pd.DataFrame) -> list[list[object]]:
    return [list(own.columns), *own.astype(object).to_numpy().tolist()]


def test_a_workbook_with_text_cells_is_read(project, own):
    rows = [[str(cell) for cell in row] for row in rows_of(own)]
    found, notes = prepared(project, workbook(project, *rows))
    assert found.panel.array("制造业")[3, 0] == own["制造业"][3]
    assert "'制造业' stores its numbers as text" in notes


def test_titles_units_and_other_sheets_of_a_workbook_are_refused(project, own):
    rows = rows_of(own)
    with pytest.raises(SpatialZbError, match=r"own.xlsx has no heading over column 2.*delete title rows"):
        prepared(project, workbook(project, ["浙江省城市数据"], *rows))
    with pytest.raises(SpatialZbError, match=r"own.xlsx.*without a unit id.*units of measurement"):
        prepared(project, workbook(project, rows[0], [None, None, "人", "人", "万元"], *rows[1:]))
    with pytest.raises(SpatialZbError, match="'说明' was read, not 数据: put the table first"):
        prepared(project, workbook(project, *rows, first="说明"))


def test_polygons_in_two_layers_are_laid_side_by_side(project, own, cities):
    own.to_csv(project / "own.csv", index=False)
    whole, _ = prepared(project)
    cities.iloc[:6].to_file(project / "north.shp")
    cities.iloc[6:].to_crs(4549).to_file(project / "south.shp")
    two = STUDY.replace('"cities.shp"', '["north.shp", "south.shp"]')
    parts, notes = prepared(project, two)
    assert "reprojected" in notes
    assert list(parts.panel.units) == list(whole.panel.units)
    assert (parts.weights("queen", "all").matrix != whole.weights("queen", "all").matrix).nnz == 0
    roles = load_study(project / "mine.toml").files()
    assert [roles["regions"].name, roles["regions.2"].name] == ["north.shp", "south.shp"]
    for wrong, words in {
        '["north.shp", "north.shp"]': "names north.shp more than once",
        "[]": "must not be empty",
        '["north.shp", "west.shp"]': "no file 'west.shp'",
    }.items():
        with pytest.raises(SpatialZbError, match=words):
            prepared(project, STUDY.replace('"cities.shp"', wrong))


def test_gbk_names_and_another_projection_give_the_same_weights(project, own, cities):
    own.to_csv(project / "own.csv", index=False)
    whole, _ = prepared(project)
    cities.to_crs(4549).to_file(project / "cities.shp", encoding="gbk")
    (project / "cities.cpg").unlink()
    again, notes = prepared(project)
    assert "its names were read as GB18030" in notes
    assert again.regions.at["330100", "name_zh"] == "杭州市"
    assert (again.weights("queen", "all").matrix != whole.weights("queen", "all").matrix).nnz == 0


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('[variables."产业"]', "[variables.产业]", 'need quotes here: [variables."产业"]'),
        ('id = "adcode"', 'id = "adcode"\nprojected_crs = "4549"', "such as EPSG:4549"),
        ('"own.csv"', '"data\\bown.csv"', "forward slashes"),
        ('islands = "nearest"\n', "", "weights.queen (line "),
    ],
)
def test_slips_in_the_study_file(old, new, words, project, own):
    own.to_csv(project / "own.csv", index=False)
    assert old in STUDY
    with pytest.raises(SpatialZbError) as refused:
        prepared(project, STUDY.replace(old, new))
    assert words in str(refused.value), str(refused.value)


def test_units_are_named_by_a_column_of_the_users_own(project, own, cities):
    layer = cities.drop(columns=["name_en"]).rename(columns={"name_zh": "市名"})
    layer.loc[layer.index[1], "市名"] = None
    layer.to_file(project / "cities.shp", encoding="utf-8")
    own.to_csv(project / "own.csv", index=False)
    found, _ = prepared(project, STUDY.replace('id = "adcode"', 'id = "adcode"\nnames = "市名"'))
    names = found.regions.set_index(found.regions.index)[["name_en", "name_zh"]]
    first, second = layer["adcode"].iloc[:2]
    assert names.loc[first].tolist() == [layer["市名"].iloc[0]] * 2
    assert names.loc[second].tolist() == [second] * 2
    with pytest.raises(
        SpatialZbError, match=r"regions\.names \(line \d+\): the polygons have no column 'NAME'"
    ):
        prepared(project, STUDY.replace('id = "adcode"', 'id = "adcode"\nnames = "NAME"'))


def test_a_study_of_one_year_has_its_tables_and_its_report(project, own):
    own.to_csv(project / "own.csv", index=False)
    text = STUDY.replace("[2010, 2013]", "[2013, 2013]").replace(
        'language = "zh"', 'language = "zh"\npermutations = 99'
    )
    model = '[models.m]\ntitle = "产业"\ny = "产业"\nx = ["产值"]\nfixed_effects = "none"\nlag_x = []\n'
    (project / "mine.toml").write_text(
        text + model + '[output]\ntables = ["csv"]\nfigures = ["png"]\ndpi = 72\n', encoding="utf-8"
    )
    assert cli.main(["run", str(project / "mine.toml"), "--quiet"]) == 0
    page = (project / "results" / "mine" / "report.html").read_text(encoding="utf-8")
    assert "11个地区，2013年；SAR" in page
    tidy = project / "results" / "mine" / "tidy" / "panel.csv"
    assert tidy.read_bytes().startswith(b"\xef\xbb\xbf")  # for Excel
    assert list(pd.read_csv(tidy).columns[:2]) == ["unit", "period"]


def test_a_heading_with_its_unit_stands_between_backticks(project, own, capsys):
    own.rename(columns={"生产总值": "生产总值（万元）"}).to_csv(project / "own.csv", index=False)
    found, _ = prepared(project, STUDY.replace("log(生产总值)", "log(`生产总值（万元）`)"))
    assert np.allclose(found.panel.array("产值")[3, 0], np.log(own["生产总值"][3]))
    (project / "mine.toml").write_text(
        STUDY.replace("log(生产总值)", "log(生产总值（万元）)"), encoding="utf-8"
    )
    assert cli.main(["check", str(project / "mine.toml"), "--language", "zh"]) == 1
    assert "`生产总值（万元）`" in capsys.readouterr().err


def test_a_wide_table_is_called_wide(project, own, capsys):
    wide = own.pivot(index="城市代码", columns="年份", values="制造业").reset_index()
    wide.to_csv(project / "own.csv", index=False)
    (project / "mine.toml").write_text(STUDY, encoding="utf-8")
    assert cli.main(["check", str(project / "mine.toml"), "--language", "zh"]) == 1
    assert "数据表为宽表，每年一列（2010、2011、2012等4项）" in capsys.readouterr().err


#: Part of a study in Chinese → what stands in its place → what the command line says of it.
TOLD = {
    "an exponent": ("log(生产总值)", "生产总值 ** 99", "乘方的指数不是-10至10的数"),
    "a name": ("log(生产总值)", "log(生产总置)", "是否应为'生产总值'？"),
    "a function": ("log(生产总值)", "sin(生产总值)", "未知的函数'sin'"),
    "a zero": ("log(生产总值)", "log(生产总值 - 生产总值)", "variables.产值.expression（第"),
    "a file": ("own.csv", "other.csv", "other.csv"),
}


@pytest.mark.parametrize("case", TOLD)
def test_mistakes_of_a_chinese_study_are_told_in_chinese(case, project, own, capsys):
    part, other, said = TOLD[case]
    own.to_csv(project / "own.csv", index=False)
    (project / "mine.toml").write_text(STUDY.replace(part, other), encoding="utf-8")
    assert cli.main(["check", str(project / "mine.toml"), "--language", "zh"]) == 1
    told = capsys.readouterr().err.removeprefix("读取底图与数据 …\n")
    assert told.startswith("错误：")
    assert said in told
    assert not re.search(r" (is|are|has|the|not|in|of) ", told)


#: How a model takes a column as it is → the words its tables have for it.
COLUMN_OF_A_MODEL = {
    "named alone": ("", "制造业"),
    "with a label": ('[variables."制造业"]\nlabel = "制造业就业"\n', "制造业就业"),
    "an expression that is its name": ('[variables."制造业"]\nexpression = "制造业"\n', "制造业"),
}


@pytest.mark.parametrize("case", COLUMN_OF_A_MODEL)
def test_a_model_takes_columns_as_they_are(case, project, own):
    section, words = COLUMN_OF_A_MODEL[case]
    own.assign(制造业=np.log(own["制造业"])).to_excel(project / "own.xlsx", index=False)
    model = '[models.m]\ntitle = "模型"\ny = "制造业"\nx = ["产值"]\nfixed_effects = "unit"\n'
    output = '[output]\ntables = ["md"]\nfigures = ["png"]\ndpi = 72\nreport = false\n'
    text = STUDY.replace("own.csv", "own.xlsx") + section + model + output
    (project / "mine.toml").write_text(text, encoding="utf-8")
    assert cli.main(["run", str(project / "mine.toml"), "--quiet"]) == 0
    tables = project / "results" / "mine" / "tables"
    assert f"被解释变量：{words}。" in (tables / "sdm_m.md").read_text(encoding="utf-8")
    assert f"被解释变量：{words}。" in (tables / "tests_m.md").read_text(encoding="utf-8")


def test_a_codebook_gives_columns_their_words(project, own):
    own.to_csv(project / "own.csv", index=False)
    text = STUDY.replace("[2010, 2013]", '[2010, 2013]\ncodebook = "book.csv"')
    text = text.replace('variables = ["产业", "产值"]', 'variables = ["产业", "制造业"]')
    book = pd.DataFrame({"name": ["制造业"], "label_en": ["Manufacturing"], "label_zh": ["制造业就业（人）"]})
    book.to_csv(project / "book.csv", index=False)
    found, _ = prepared(project, text)
    assert found.labels["制造业"].zh == "制造业就业（人）"
    assert found.labels["产业"].zh == "产业"
    book.rename(columns={"label_en": "english"}).to_csv(project / "book.csv", index=False)
    with pytest.raises(SpatialZbError, match=r"book\.csv has no column label_en\. A codebook has a row"):
        prepared(project, text)
