"""Tables from files: codes stay text, and damaged files raise our own errors only."""

from __future__ import annotations

import warnings
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from openpyxl import Workbook
from pyarrow import feather, parquet

import spatial_zb as zb
from spatial_zb.base.errors import DataError, SpatialZbError, SpatialZbWarning
from spatial_zb.data import cells
from spatial_zb.data.read import read_table

TABLE = pd.DataFrame(
    {"code": ["0330", "1100"], "city": ["杭州", "温州"], "gdp": [1.5, np.nan], "year": [2019, 2020]}
)


def written(folder, kind: str):
    path = folder / f"table.{kind}"
    match kind:
        case "csv":
            TABLE.to_csv(path, index=False, encoding="utf-8")
        case "xlsx":
            TABLE.to_excel(path, index=False)
        case "dta":
            TABLE.to_stata(path, write_index=False, version=118)
        case "parquet":
            TABLE.to_parquet(path)
        case "feather":
            TABLE.to_feather(path)
    return path


@pytest.mark.parametrize("kind", ["csv", "xlsx", "dta", "parquet", "feather"])
def test_codes_stay_text_and_numbers_are_numbers(tmp_path, kind):
    found = read_table(written(tmp_path, kind), ["code"])
    assert list(found["code"]) == ["0330", "1100"]
    assert list(found["city"]) == ["杭州", "温州"]
    assert found["gdp"].dtype == float
    assert found["gdp"].isna().tolist() == [False, True]
    assert found["year"].tolist() == [2019, 2020]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_utf8_with_and_without_mark(tmp_path, encoding):
    path = tmp_path / "t.csv"
    path.write_text("code,城市\n01,杭州\n", encoding=encoding)
    assert list(read_table(path, ["code"]).columns) == ["code", "城市"]


def test_gb18030_is_read_with_a_warning(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("code,城市\n01,杭州\n", encoding="gb18030")
    with pytest.warns(SpatialZbWarning, match=r"t\.csv.*GB18030.*UTF-8"):
        assert read_table(path, ["code"])["城市"].tolist() == ["杭州"]


@pytest.mark.parametrize(("cell", "text"), [(330102, "330102"), (330102.0, "330102"), ("0330", "0330")])
def test_codes_in_workbook_cells(tmp_path, cell, text):
    book = Workbook()
    for row in (["code", "y"], [cell, 1], [None, 2]):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = read_table(tmp_path / "t.xlsx", ["code"])
    assert found["code"].iloc[0] == text
    assert found["code"].isna().tolist() == [False, True]


def test_a_named_sheet(tmp_path):
    book = Workbook()
    second = book.create_sheet("数据")
    second.append(["y"])
    second.append([3])
    book.save(tmp_path / "t.xlsx")
    assert read_table(tmp_path / "t.xlsx", sheet="数据")["y"].tolist() == [3]
    with pytest.raises(DataError, match=r"no sheet 'x'.*数据"):
        read_table(tmp_path / "t.xlsx", sheet="x")


REFUSED = {
    "nothing": (b"  \n", "is empty"),
    "short line": (b"a,b\n1,2\n3\n", "Line 3 .* 1 cell.*cut-off"),
    "long line": (b"a,b\n1,2,3\n", "Line 2 .* 3 cell"),
    "twice": (b"a,a\n1,2\n", "named twice: a"),
    "twice after cleaning": (b"a,a \n1,2\n", "named twice: a"),
    "no heading": (b"a,\n1,2\n", "no heading over column 2"),
    "zero bytes": (b"a,b\0\n1,2\n", "not plain text"),
    "other text": (b"a,b\n\xff\xff,2\n", "neither UTF-8 nor GB18030"),
    "open quote": (b'a,b\n"1,2\n', "cannot be read"),
    "no such column": (b"a,b\n1,2\n", "no column 'code'; it has a, b"),
    "fraction": (b"code\n1.5\n", None),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path, case):
    content, words = REFUSED[case]
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    if words is None:  # text is text: what a code looks like is for the gate to judge
        assert read_table(path, ["code"])["code"].tolist() == ["1.5"]
        return
    with pytest.raises(DataError, match=words):
        read_table(path, ["code"])


def test_files_that_are_not_there_too_large_or_of_another_kind(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="no file"):
        read_table(tmp_path / "t.csv")
    with pytest.raises(DataError, match=r"\.csv.*\.xlsx"):
        read_table(tmp_path / "t.doc")
    path = written(tmp_path, "xlsx")
    monkeypatch.setattr(cells, "MAX_BYTES", path.stat().st_size + 10)
    with pytest.raises(DataError, match="bytes, unpacked"):
        read_table(path)
    monkeypatch.setattr(cells, "MAX_BYTES", 10)
    with pytest.raises(DataError, match="more than 10 bytes"):
        read_table(path)


@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_an_index_with_a_name_is_a_column(tmp_path, kind):
    """As ``to_parquet`` of a frame indexed by code leaves it; an index without a name is a row number."""
    path = tmp_path / f"t.{kind}"
    table = pa.Table.from_pandas(TABLE.set_index("code"))
    parquet.write_table(table, path) if kind == "parquet" else feather.write_feather(table, path)
    found = read_table(path, ["code"])
    assert found["code"].tolist() == ["0330", "1100"]
    TABLE.set_axis([5, 7]).to_parquet(tmp_path / "u.parquet")
    assert list(read_table(tmp_path / "u.parquet").columns) == list(TABLE.columns)


KINDS = {
    "dictionary of text": pa.array(["0330", "1100", None]).dictionary_encode(),
    "large text": pa.array(["0330", "1100", None], pa.large_string()),
    "whole numbers": pa.array([330, 1100, None], pa.int32()),
}


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_codes_in_any_column_type_of_parquet(tmp_path, kind):
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"code": KINDS[kind]}), path)
    found = read_table(path, ["code"])["code"]
    assert found.tolist()[:2] in (["0330", "1100"], ["330", "1100"])
    assert found.isna().tolist() == [False, False, True]


@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_a_table_that_unpacks_to_too_much_is_not_opened(tmp_path, monkeypatch, kind):
    path = tmp_path / f"t.{kind}"
    zeros = pa.table({"x": np.zeros(1_000_000)})
    if kind == "parquet":
        parquet.write_table(zeros, path, use_dictionary=False, compression="zstd")
    else:
        feather.write_feather(zeros, path, compression="zstd")
    monkeypatch.setattr(cells, "MAX_BYTES", 1_000_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match="bytes, unpacked"):
        read_table(path)


def test_a_panel_from_parquet_equals_the_one_from_csv(tmp_path):
    paths = [Path(__file__).parents[2] / "data" / "zhejiang_innovation_2017_2022.csv", tmp_path / "t.parquet"]
    first = read_table(paths[0], ["adcode"])
    first.to_parquet(paths[1])
    pd.testing.assert_frame_equal(read_table(paths[1], ["adcode"]), first)


@pytest.mark.parametrize("kind", ["csv", "xlsx", "dta", "parquet", "feather"])
def test_damaged_files_raise_our_errors_only(tmp_path, kind):
    whole = written(tmp_path, kind).read_bytes()
    rng = np.random.default_rng(1)
    cuts = [whole[:size] for size in np.linspace(0, len(whole) - 1, 25, dtype=int)]
    noisy = []
    for _ in range(40):
        bytes_ = bytearray(whole)
        for place in rng.integers(0, len(whole), 6):
            bytes_[place] = rng.integers(0, 256)
        noisy.append(bytes(bytes_))
    noise = [rng.bytes(300) for _ in range(10)]
    path = tmp_path / f"damaged.{kind}"
    refused = 0
    for content in (*cuts, *noisy, *noise):
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read_table(path, ["code"])
            except DataError:
                refused += 1
    assert refused > 25


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_many_equal_rows_in_a_small_file_are_not_unpacked(tmp_path, suffix):
    table = pa.table({"year": np.zeros(cells.MAX_CELLS + 1, np.int8)})
    path = tmp_path / f"bomb.{suffix}"
    (parquet.write_table if suffix == "parquet" else feather.write_feather)(table, path, compression="zstd")
    assert path.stat().st_size < 1_000_000
    with pytest.raises(DataError, match=r"30,000,001 rows × 1 columns"):
        read_table(path)


def test_a_cell_far_from_the_table_is_said_and_costs_no_memory(tmp_path):
    book = Workbook()
    book.active.append(["id", "year", "x"])
    book.active["XFD1048576"] = 1
    book.save(tmp_path / "far.xlsx")
    with pytest.raises(DataError, match=r"far\.xlsx has 1,048,576 rows × 16,384 columns"):
        read_table(tmp_path / "far.xlsx")


ROW = '<row r="{0}"><c r="A{0}"><v>1</v></c></row>'
SHEETS = {
    "a cell far away, prefixed": '<row><x:c xmlns:x="u" s="{pad}" r="XFD1048576"/></row><row r="1048576"/>',
    "no addresses": "<row>" + "<c/>" * 1100 + "</row>",
    "one number for all rows": ROW.format(9) * 1100,
    "rows alone": '<row r="900000"/><row><c/></row>',
}


@pytest.mark.parametrize("sheet", [*SHEETS, "strings", "type definition"])
def test_a_workbook_is_measured_as_it_will_be_read(tmp_path, monkeypatch, sheet):
    """Addresses, counts and names of parts may be anything: what the reader would make of them is counted."""
    path = written(tmp_path, "xlsx")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    first = "xl/worksheets/sheet1.xml"
    if sheet in SHEETS:
        parts[first] = parts[first].replace(b"</sheetData>", SHEETS[sheet].encode() + b"</sheetData>")
    elif sheet == "strings":
        parts["xl/anything"] = b"<sst>" + b"<si/>" * 1100 + b"</sst>"
    else:
        parts[first] = b'<!DOCTYPE x [<!ENTITY a "a">]>' + parts[first].partition(b"?>")[2]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    monkeypatch.setattr(cells, "MAX_CELLS", 1000)
    with pytest.raises(
        DataError, match="document type" if sheet == "type definition" else "more than 1,000 cells"
    ):
        read_table(path)


@pytest.mark.parametrize("shape", ["one list", "one text"])
def test_a_parquet_file_is_measured_by_its_values(tmp_path, monkeypatch, shape):
    """Values that are written once, in lists or as the same text again and again, count as often as they are read."""
    path = tmp_path / "bomb.parquet"
    if shape == "one list":
        parquet.write_table(pa.table({"a": [[7] * 5000]}), path)
        monkeypatch.setattr(cells, "MAX_CELLS", 1000)
    else:
        parquet.write_table(pa.table({"a": pa.array(["x" * 10_000] * 2000)}), path, compression="zstd")
        monkeypatch.setattr(cells, "MAX_BYTES", 1_000_000)
    assert path.stat().st_size < 20_000
    with pytest.raises(DataError, match="more than"):
        read_table(path)


def test_a_long_csv_is_counted_too(tmp_path, monkeypatch):
    path = tmp_path / "long.csv"
    path.write_text("a,b\n" + "1,1\n" * 600)
    monkeypatch.setattr(cells, "MAX_CELLS", 1000)
    with pytest.raises(DataError, match="601 rows × 2 columns"):
        read_table(path)


def test_a_path_too_long_for_the_system_is_named_in_short():
    regions = partial(zb.read_regions, id="a")
    for reader, suffix in (
        (read_table, "csv"),
        (regions, "shp"),
        (zb.weights.read, "csv"),
        (zb.load_study, "toml"),
    ):
        with pytest.raises(SpatialZbError) as refused:
            reader(f"{'x' * 5000}.{suffix}")
        assert len(str(refused.value)) < 400
