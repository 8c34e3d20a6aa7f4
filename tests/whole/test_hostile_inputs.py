"""What a stranger may hand in: the right result, or a refusal that names the culprit; nothing outside is touched or asked.

Every case is a function of a folder that holds the small study. It gives True where the input is right after all, or
is refused with the words beside it.
"""

from __future__ import annotations

import json
import os
import struct
import threading
import warnings
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from small_study import HEADINGS, IDS, TEXT, rows, squares, write_study, write_table

import spatial_zb as zb
from spatial_zb.base.errors import SpatialZbError
from spatial_zb.data.expressions import compile_expression, derive
from spatial_zb.data.read import read_table
from spatial_zb.pipeline.prepare import prepare
from spatial_zb.report import folder as output
from spatial_zb.study import load_study


class Case(NamedTuple):
    """What is done in a folder, and what the refusal names; ``right`` where there is none."""

    do: Callable[[Path], Any]
    names: str


RIGHT = "right"
CASES: dict[str, Case] = {}


def study(old: str, new: str, then: Callable[[Path], Any] | None = None) -> Callable[[Path], Any]:
    """The study with one thing in its text changed is loaded, or checked with its data."""

    def do(folder: Path) -> None:
        assert old in TEXT
        (folder / "studies/tiny.toml").write_text(TEXT.replace(old, new, 1), encoding="utf-8")
        load_study(folder / "studies/tiny.toml")
        if then:
            then(folder)

    return do


def content(part: str, bytes_: bytes, then: Callable[[Path], Any] | None = None) -> Callable[[Path], Any]:
    """A file of the study has another content, and the study is checked."""

    def do(folder: Path) -> None:
        (folder / part).write_bytes(bytes_)
        (then or check)(folder)

    return do


def check(folder: Path) -> None:
    prepare(load_study(folder / "studies/tiny.toml"))


def pipe(part: str) -> Callable[[Path], Any]:
    """A pipe, for which a reader would wait without end, stands in place of a file."""

    def do(folder: Path) -> None:
        (folder / part).unlink()
        os.mkfifo(folder / part)
        check(folder)

    return do


def link(part: str, target: str) -> Callable[[Path], Any]:
    def do(folder: Path) -> None:
        (folder / part).unlink()
        (folder / part).symlink_to(target)
        check(folder)

    return do


def linked_results(folder: Path) -> None:
    """The folder of the study's results is a link to one elsewhere, where files would be replaced."""
    (folder / "results").mkdir()
    (folder / "results/tiny").symlink_to(folder.parent)
    load_study(folder / "studies/tiny.toml")


CASES |= {
    "study: brackets 5,000 deep": Case(
        study("version = 1", "version = 1\nk = " + "[" * 5000 + "]" * 5000), "deep"
    ),
    "study: tables 3,000 deep": Case(
        content("studies/tiny.toml", (TEXT + "\na" + ".a" * 3000 + "=1\n").encode()), "tiny.toml"
    ),
    "study: a number of 5,000 digits": Case(
        study("permutations = 99", "permutations = 99\nseed = " + "9" * 5000), "tiny.toml"
    ),
    "study: seed -1": Case(study("permutations = 99", "permutations = 99\nseed = -1"), "study.seed"),
    "study: permutations nan": Case(study("permutations = 99", "permutations = nan"), "study.permutations"),
    "study: ten thousand million permutations": Case(study("= 99", "= 10000000000"), "study.permutations"),
    "study: a name that climbs": Case(study('name = "tiny"', 'name = "../x"'), "study.name"),
    "study: a name with a zero byte": Case(study('name = "tiny"', 'name = "a\\u0000b"'), "study.name"),
    "study: results elsewhere": Case(study("[output]", '[output]\nfolder = "../../x"'), "output.folder"),
    "study: data elsewhere": Case(study("data/a.csv", "../../../etc/passwd"), "leaves the project folder"),
    "study: data by a link elsewhere": Case(link("data/a.csv", "/etc/passwd"), "leaves the project folder"),
    "study: results by a link elsewhere": Case(linked_results, "leaves the project folder"),
    "study: data at an address": Case(study("data/a.csv", "https://example.org/a.csv"), "not a plain file"),
    "study: a link to itself": Case(link("studies/tiny.toml", "tiny.toml"), "tiny.toml"),
    "study: a pipe": Case(pipe("studies/tiny.toml"), "tiny.toml cannot be read: it is not a file"),
    "study: data are a pipe": Case(pipe("data/a.csv"), "data/a.csv"),
    "study: polygons are a pipe": Case(pipe("shapes/a.geojson"), "shapes/a.geojson"),
    "study: any bytes": Case(content("studies/tiny.toml", bytes(range(256)) * 8), "UTF-8"),
    "study: UTF-16": Case(content("studies/tiny.toml", TEXT.encode("utf-16")), "UTF-8"),
    "study: a Cyrillic letter in a key": Case(study("title", "titlе"), "TOML"),
    "study: a Cyrillic letter in a variable": Case(study('"x1", "x2"', '"х1", "x2"'), "models.m.x"),
    "study: a variable with a sign nobody sees": Case(study('"x1", "x2"', '"x1\u200b", "x2"'), "models.m.x"),
    "study: periods backwards": Case(study("[2010, 2017]", "[2017, 2010]"), "data.periods"),
    "study: periods without end": Case(
        study("[2010, 2017]", "[-9223372036854775809, 99999999999999999999]", lambda folder: check(folder)),
        "data.periods",
    ),
    "study: weights of one another": Case(
        study(
            "[moran]",
            '[weights.a]\nkind="combine"\nparts=["b"]\n[weights.b]\nkind="combine"\nparts=["a"]\n[moran]',
        ),
        "weights.a",
    ),
    "study: an endless rate": Case(
        study('kind = "contiguity"\nislands = "nearest"', 'kind = "exponential_decay"\nrate = inf'),
        "weights.queen.rate",
    ),
    "study: the period in an expression": Case(study("log(y)", "year"), "'year' is the column data.period"),
}

UNITS, PERIODS = ["a", "b"], [2010, 2011]


def expression(text: str, columns: dict[str, float]) -> Callable[[Path], Any]:
    def do(folder: Path) -> Any:
        given = {name: np.full((2, 2), value) for name, value in columns.items()}
        return derive({"v": text}, given, units=UNITS, periods=PERIODS)["v"]

    return do


def is_value(text: str, value: float, columns: dict[str, float]) -> Callable[[Path], bool]:
    return lambda folder: bool((expression(text, columns)(folder) == value).all())


CASES |= {
    f"expression: {text[:30]}": Case(lambda folder, text=text: compile_expression(text), named)
    for text, named in {
        "y.__class__": "attribute",
        "__import__('os')": "__import__",
        "9**9**9": "exponent",
        "(" * 240 + "y" + ")" * 240: "y",
        "-" * 400 + "y": "levels deep",
        "(lambda: y)()": "lambda",
        "f'{y}'": "quotes",
        "`y` + `__import__('os').system('x')` @ y": "@",
        "log(\u200by)": "U+200B",
        "y\0": "null bytes",
    }.items()
}
CASES |= {
    "expression: an overflow": Case(expression("exp(exp(exp(y)))", {"y": 9.0}), "a in 2010"),
    "expression: a quotient by zero": Case(expression("y / (x - x)", {"y": 1.0, "x": 1.0}), "a in 2010"),
    "expression: a Roman numeral is not two letters": Case(
        is_value("产业Ⅱ - 产业II", -1.0, {"产业Ⅱ": 1.0, "产业II": 2.0}), RIGHT
    ),
    "expression: the micro sign is no Greek letter": Case(is_value("2 * µg", 2.0, {"µg": 1.0}), RIGHT),
    "expression: full-width letters": Case(expression("log(ｙ)", {"y": 1.0}), "Did you mean 'y'"),
}


def table(row: int | slice, column: int, value: Any) -> Callable[[Path], Any]:
    """Some cells of the table are another value, and the study is checked."""

    def do(folder: Path) -> None:
        lines = rows()
        for line in lines[row] if isinstance(row, slice) else [lines[row]]:
            line[column] = value
        write_table(folder / "data/a.csv", lines)
        check(folder)

    return do


def columns(*more: str) -> Callable[[Path], Any]:
    """More columns, copies of x1."""

    def do(folder: Path) -> bool:
        write_table(
            folder / "data/a.csv", [[*line, *[line[3]] * len(more)] for line in rows()], (*HEADINGS, *more)
        )
        check(folder)
        return True

    return do


WHOLE = "\n".join([",".join(HEADINGS), *(",".join(map(str, line)) for line in rows())]).encode()
CASES |= {
    f"table: {value!r} as a figure": Case(table(5, 3, value), "330101 2015")
    for value in ("inf", "1e400", "abc", "12%", "1,234", "1_000", "0x10", "True", "1+2j", "=1+1")
}
CASES |= {
    f"table: {value!r} as a code": Case(table(slice(0, 8), 0, value), shown)
    for value, shown in {
        "330101\u200b": "330101<U+200B>",
        "\u202e330101": "<U+202E>330101",
        "ЗЗ0101": "330101",
        "../../x": "330101",
        "": "adcode",
    }.items()
}
CASES |= {
    f"table: {value!r} as a year": Case(table(slice(0, 96, 8), 1, value), named)
    for value, named in {
        "2010.5": "2010.5",
        "2010-01-01": "2010-01-01",
        "MMX": "MMX",
        "2_010": "2_010",
        "10": "2010",
    }.items()
}
CASES |= {
    "table: a row twice": Case(
        lambda folder: (write_table(folder / "data/a.csv", [*rows(), rows()[3]]), check(folder)),
        "330101 2013",
    ),
    "table: a column twice": Case(columns("x1"), "x1"),
    "table: a column of the name self": Case(columns("self", "cls", "__class__"), RIGHT),
    "table: empty": Case(content("data/a.csv", b""), "empty"),
    "table: cut off": Case(content("data/a.csv", WHOLE[: len(WHOLE) // 2 + 3]), "a.csv"),
    "table: a quote without end": Case(
        content("data/a.csv", WHOLE.replace(b"330103", b'"330103', 1)), "a.csv"
    ),
    "table: a zero byte": Case(
        content("data/a.csv", WHOLE.replace(b"330103", b"33\x000103", 1)), "zero bytes"
    ),
    "table: semicolons": Case(content("data/a.csv", WHOLE.replace(b",", b";")), "semicolons"),
}


def workbook(change: Callable[[Any], None], unit: str = "adcode") -> Callable[[Path], Any]:
    def do(folder: Path) -> Any:
        from openpyxl import Workbook

        book = Workbook()
        for line in [HEADINGS, *([line[0], line[1], *map(float, line[2:])] for line in rows())]:
            book.active.append(list(line))
        change(book.active)
        book.save(folder / "a.xlsx")
        return zb.build_panel(read_table(folder / "a.xlsx", [unit]), unit, "year", columns=["y", "x1"])

    return do


def expanding(folder: Path) -> None:
    """A workbook whose text grows tenfold nine times."""
    workbook(lambda sheet: None)(folder)
    with zipfile.ZipFile(folder / "a.xlsx") as book:
        parts = {name: book.read(name) for name in book.namelist()}
    sheet = parts["xl/worksheets/sheet1.xml"].decode()
    grown = "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9))
    text = '<row r="200"><c r="A200" t="inlineStr"><is><t>&j;</t></is></c></row></sheetData>'
    body = sheet[sheet.index("<worksheet") :].replace("</sheetData>", text)
    parts["xl/worksheets/sheet1.xml"] = (
        f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">{grown}]>{body}'.encode()
    )
    with zipfile.ZipFile(folder / "a.xlsx", "w") as book:
        for name, part in parts.items():
            book.writestr(name, part)
    read_table(folder / "a.xlsx", ["adcode"])


FRAME = pd.DataFrame([(line[0], line[1], *map(float, line[2:])) for line in rows()], columns=list(HEADINGS))


def panel(frame: pd.DataFrame = FRAME, **options: Any) -> zb.Panel:
    return zb.build_panel(frame, "adcode", "year", **options)


def left_out(folder: Path) -> bool:
    """A column of numbers as text is not dropped in silence, and the panel that lacks it says why."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = panel(FRAME.astype({"x1": str}))
    assert any("x1" in str(note.message) and "columns=" in str(note.message) for note in caught)
    made.array("x1")
    return True


def fitted(folder: Path, change: Callable[[pd.DataFrame], pd.Series], **options: Any) -> Any:
    ring = np.roll(np.eye(12), 1, axis=1)
    weights = zb.as_weights(ring + ring.T, ids=IDS).standardise("row")
    name = "y" if options else "x1"
    given = panel(FRAME.assign(**{name: change(FRAME)}), units=weights.ids)
    return zb.fit_durbin(zb.DurbinSpec(y="y", x=["x1", "x2"], **options), given, weights)


CASES |= {
    "workbook: TRUE among figures": Case(
        workbook(lambda sheet: setattr(sheet["D5"], "value", True)), "330101 2013 (True)"
    ),
    "workbook: a column of the name self": Case(
        lambda folder: workbook(lambda sheet: setattr(sheet["F1"], "value", "self"))(folder) is not None,
        RIGHT,
    ),
    "workbook: a cell far away": Case(
        workbook(lambda sheet: setattr(sheet["XFD1048576"], "value", 1)), "cells"
    ),
    "workbook: text that grows": Case(expanding, "a.xlsx"),
    "workbook: it is text": Case(
        lambda folder: content("a.xlsx", b"hello", lambda f: read_table(f / "a.xlsx"))(folder), "a.xlsx"
    ),
    "panel: another word for balance": Case(lambda folder: panel(balance="drop"), "balance"),
    "panel: another word for how": Case(lambda folder: panel(how="outer"), "how"),
    "panel: figures as text": Case(left_out, "columns="),
    "fit: a level of 1e12": Case(
        lambda folder: fitted(folder, lambda frame: frame["x1"] + 1e12), "'x1' varies by only"
    ),
    "fit: a lag in time that effects absorb": Case(
        lambda folder: fitted(folder, lambda frame: 1.5 ** (frame["year"] - 2010), time_lag=True),
        "time_lag=False",
    ),
}


def weights(name: str, given: bytes | str, **options: Any) -> Callable[[Path], Any]:
    def do(folder: Path) -> Any:
        (folder / name).write_bytes(given if isinstance(given, bytes) else given.encode())
        return zb.weights.read(folder / name, **options)

    return do


def npz(**parts: Any) -> Callable[[Path], Any]:
    def do(folder: Path) -> Any:
        plain = {
            "data": np.ones(2),
            "indices": [1, 0],
            "indptr": [0, 1, 2],
            "shape": [2, 2],
            "ids": ["a", "b"],
        }
        np.savez(folder / "a.npz", **{**plain, **parts})
        return zb.weights.read(folder / "a.npz")

    return do


class Evil:
    """An object that would run a command if it were unpickled."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("unpickled",)


HUGE = np.array([[0, 1.6e308, 1.6e308], [1, 0, 1], [5e-324, 5e-324, 0]])
EVEN = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
MTX = "%%MatrixMarket matrix coordinate real general\n"


def private(folder: Path) -> bool:
    """A file is as private as the caller's umask asks."""
    before = os.umask(0o077)
    try:
        made = zb.weights.write(zb.as_weights(EVEN, ids=list("abc")), folder / "w.csv")
    finally:
        os.umask(before)
    return made.stat().st_mode & 0o077 == 0


def layer(folder: Path) -> Any:
    return zb.read_regions(folder / "shapes/a.geojson", id="adcode")


CASES |= {
    "weights: sums beyond the largest number": Case(
        lambda folder: np.allclose(
            zb.as_weights(HUGE, ids=list("abc")).standardise("row").matrix.toarray(), EVEN
        ),
        RIGHT,
    ),
    "weights: 1_0 in gwt": Case(weights("a.gwt", "0 2 l id\na b 1_0\nb a 1\n"), "1_0"),
    "weights: 1_0 in csv": Case(weights("a.csv", "i,j,w\na,b,1_0\nb,a,1\n"), "1_0"),
    "weights: 1_0 in mtx": Case(weights("a.mtx", MTX + "2 2 2\n1 2 1_0\n2 1 1\n", ids=["a", "b"]), "1_0"),
    "weights: infinite": Case(weights("a.csv", "id,a,b\na,0,inf\nb,1,0\n"), "a / b"),
    "weights: other units in columns": Case(weights("a.csv", "id,a,c\na,0,1\nb,1,0\n"), "a.csv"),
    "weights: gal that claims too much": Case(
        weights("a.gal", "0 999999999 l id\na 1\nb\nb 1\na\n"), "999999999"
    ),
    "weights: gal cut off": Case(weights("a.gal", "0 3 l id\na 1\nb\nb 2\na"), "a.gal"),
    "weights: swm that claims too much": Case(
        weights("a.swm", b"id;Unknown\n" + struct.pack("<4i", 1, 1, 7, 2**30)), "a.swm"
    ),
    "weights: mtx that claims too much": Case(
        weights("a.mtx", MTX + "2 2 99999999999\n1 2 1\n", ids=["a", "b"]), "99,999,999,999"
    ),
    "weights: npz with code": Case(npz(data=np.array([Evil()], dtype=object)), "objects"),
    "weights: npz between two cells": Case(npz(indices=[1.5, 0.2]), "whole numbers"),
    "weights: npz outside": Case(npz(indices=[5, -3]), "a.npz"),
    "weights: npz of any size": Case(npz(shape=[2**62, 2**62]), "units"),
    "weights: pickle": Case(weights("a.pkl", b"cos\nsystem\n(S'x'\ntR."), "a.pkl"),
    "weights: all below the smallest number": Case(
        lambda folder: zb.weights.exponential_decay(layer(folder), rate=1e9), "330101"
    ),
    "weights: written for the caller alone": Case(private, RIGHT),
}


class _Asked(BaseHTTPRequestHandler):
    """A host on this machine that notes who asks it."""

    seen: list[str] = []  # noqa: RUF012 - of all requests

    def do_GET(self) -> None:
        self.seen.append(self.path)
        self.send_error(404)

    do_HEAD = do_POST = do_GET

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture(scope="module")
def host():
    """Address of a host on this machine that must not be asked for anything."""
    server = HTTPServer(("127.0.0.1", 0), _Asked)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/a"
    server.shutdown()
    server.server_close()


def polygons(text: str) -> Callable[[Path], Any]:
    """A polygon file of this content; ADDRESS is that of the host, OUTSIDE a layer elsewhere."""

    def do(folder: Path) -> Any:
        outside = folder.parent / "outside.geojson"
        outside.write_text(json.dumps(squares()), encoding="utf-8")
        address = (folder / "address").read_text("utf-8")
        given = text.replace("ADDRESS", address).replace("OUTSIDE", outside.as_posix())
        (folder / "shapes/a.geojson").write_text(given, encoding="utf-8")
        return layer(folder)

    return do


def system(**crs: Any) -> Callable[[Path], Any]:
    return polygons(json.dumps(squares(crs=crs)))


def system_of_a_polygon(**crs: Any) -> Callable[[Path], Any]:
    made = squares()
    made["features"][3]["geometry"]["crs"] = crs
    return polygons(json.dumps(made))


VRT = '<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>{}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>'
CASES |= {
    "polygons: a VRT to a file elsewhere": Case(polygons(VRT.format("OUTSIDE")), "a.geojson"),
    "polygons: a VRT behind a long comment": Case(
        polygons(f"<!--{'x' * 700}-->" + VRT.format("OUTSIDE")), "a.geojson"
    ),
    "polygons: a VRT to an address": Case(polygons(VRT.format("/vsicurl/ADDRESS")), "a.geojson"),
    "polygons: a service": Case(
        polygons("<OGRWFSDataSource><URL>ADDRESS</URL></OGRWFSDataSource>"), "a.geojson"
    ),
    "polygons: a path of the reader behind": Case(
        lambda folder: zb.read_regions("/vsicurl/http://127.0.0.1/a.geojson"), "/vsicurl"
    ),
    "polygons: a system that nobody knows": Case(
        system(type="name", properties={"name": "EPSG:999999"}), "EPSG:999999"
    ),
    "polygons: a system at an address": Case(
        system(type="link", properties={"href": "ADDRESS"}), "coordinate reference system"
    ),
    "polygons: one with a system at an address": Case(
        system_of_a_polygon(type="url", properties={"url": "ADDRESS"}), "coordinate reference system"
    ),
    "polygons: a system named by an address": Case(
        system(type="name", properties={"name": "ADDRESS"}), "coordinate reference system"
    ),
    "polygons: a system in a file": Case(
        system(type="name", properties={"name": "OUTSIDE"}), "coordinate reference system"
    ),
    "polygons: a system that is known": Case(
        lambda folder: (
            system(type="name", properties={"name": "urn:ogc:def:crs:EPSG::4490"})(folder).crs.to_epsg()
            == 4490
        ),
        RIGHT,
    ),
    "polygons: not there": Case(lambda folder: zb.read_regions(folder / "b.geojson"), "b.geojson"),
}


def published(records: list[dict[str, str]]) -> Callable[[Path], bool]:
    """Results are published whose earlier manifest names these files."""

    def do(folder: Path) -> bool:
        results, made = folder / "results", folder / "made"
        made.mkdir()
        (made / "a.csv").write_text("a")
        results.mkdir()
        (results / "manifest.json").write_text(json.dumps({"outputs": records}), encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stale = output.read_manifest(results).get("outputs", [])
        with output.locked(results), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            output.publish(made, results, {}, stale)
        return (results / "a.csv").read_text() == "a" and output.read_manifest(results)["complete"]

    return do


VICTIM = {"sha256": "2be1e2fda5abbb0cbaca0ab8eb3aa63cea1dc1e0e8b4d5c5e7bc3fa1ab7e1c1d"}
CASES |= {
    "manifest: a file elsewhere": Case(
        published([{"path": "../../victim", "stage": "moran", **VICTIM}]), RIGHT
    ),
    "manifest: a file by its whole path": Case(
        published([{"path": "/etc/hostname", "stage": "moran", **VICTIM}]), RIGHT
    ),
    "manifest: records without anything": Case(published([{"stage": "moran"}]), RIGHT),
    "manifest: numbers": Case(published([1, 2]), RIGHT),  # type: ignore[list-item]
}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """The small study, to be copied."""
    home = tmp_path_factory.mktemp("small") / "home"
    write_study(home)
    return home


@pytest.fixture
def home(small, tmp_path, host, monkeypatch) -> Path:
    """A copy of it beside a file that must stay; nothing may be asked of a host."""
    (tmp_path / "victim").write_text("keep")
    there = tmp_path / "home"
    for part in ("data/a.csv", "shapes/a.geojson", "studies/tiny.toml"):
        (there / part).parent.mkdir(parents=True)
        (there / part).write_bytes((small / part).read_bytes())
    (there / "address").write_text(host)
    monkeypatch.chdir(there)
    return there


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_input(name, home):
    if "pipe" in name and not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    case = CASES[name]
    if case.names == RIGHT:
        assert case.do(home) is True
    else:
        with pytest.raises(SpatialZbError) as refused:
            case.do(home)
        assert case.names in str(refused.value)
        assert refused.value.zh != str(refused.value)
    assert (home.parent / "victim").read_text() == "keep"
    assert not (home / "unpickled").exists()
    assert _Asked.seen == []


def test_results_into_an_empty_path_are_refused(home, capsys):
    """As of a variable of the shell that is not set; the folder of the caller would be written to."""
    from spatial_zb.cli import main

    with pytest.raises(SystemExit) as refused:
        main(["run", "studies/tiny.toml", "--out", "", "--language", "zh"])
    assert refused.value.code == 2
    assert "--out：路径为空" in capsys.readouterr().err
    assert not (home / "manifest.json").exists()
