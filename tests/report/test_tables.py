"""The neutral table: what a cell says in print, and which tables are refused."""

import math

import numpy as np
import pytest

from spatial_zb.base.errors import OutputError, SpecificationError
from spatial_zb.base.text import Text
from spatial_zb.report.tables.table import HeaderCell, Number, Row, Table, TableStyle, body
from spatial_zb.report.tables.text import clean, note_paragraphs, shown, title_lines, words
from spatial_zb.report.tables.writers import FORMATS, write_table

EN = TableStyle()
HEAD = ([HeaderCell("a"), HeaderCell("b")],)


def small(**changes):
    return Table(**{"title": "T", "key": "t", "header": HEAD, "rows": [body("x", Number(1.5))]} | changes)


@pytest.mark.parametrize(
    ("cell", "text", "stars"),
    [
        (None, "–", ""),
        ("", "", ""),
        ("x", "x", ""),
        (Text("unit", "地区"), "unit", ""),
        (-12, "−12", ""),
        (np.int64(7), "7", ""),
        (Number(1.23456), "1.235", ""),
        (Number(-1.23456, 2, 3), "−1.23", "***"),
        (Number(0.5, 2, 0, "paren"), "(0.50)", ""),
        (Number(-0.5, 2, 1, "bracket"), "[−0.50]", "*"),
        (Number(-0.0), "0.000", ""),
        (Number(2e-6, 3, 2), "2.0e−06", "**"),
        (Number(-2e-6, 3), "−2.0e−06", ""),
        (Number(-2.9e-4, 3, 1, notation="rounded"), "−0.000", "*"),
        (Number(2.9e-4, 3, notation="rounded"), "0.000", ""),
        (Number(0.0004, 3, notation="p_value"), "<0.001", ""),
        (Number(0.0005001, 3, notation="p_value"), "0.001", ""),
        (Number(0.0, 3, notation="p_value"), "<0.001", ""),
        (Number(1e12, 0), "1,000,000,000,000", ""),
        (Number(math.nan, 3, 3, "paren"), "–", ""),
        (Number(np.float64("nan"), stars=2), "–", ""),
        (Number(math.inf), "∞", ""),
    ],
)
def test_shown(cell, text, stars):
    printed = shown(cell, EN)
    assert (printed.text, printed.stars) == (text, stars)


@pytest.mark.parametrize(
    ("p", "stars"),
    [
        (0.1, 0),
        (np.nextafter(0.1, 0), 1),
        (0.05, 1),
        (np.nextafter(0.05, 0), 2),
        (0.01, 2),
        (np.nextafter(0.01, 0), 3),
        (0.0, 3),
        (1.0, 0),
        (math.nan, 0),
        (None, 0),
    ],
)
def test_stars_are_strictly_below_the_threshold(p, stars):
    assert TableStyle().count_stars(p) == stars
    assert TableStyle(stars=False).count_stars(p) == 0


def test_languages():
    label = Text("Direct", "直接效应")
    assert [words(label, TableStyle(language=code)) for code in ("en", "zh", "both")] == [
        "Direct",
        "直接效应",
        "Direct 直接效应",
    ]
    assert words(Text("AIC", "AIC"), TableStyle(language="both")) == "AIC"


def test_title_and_notes_in_both_languages():
    table = small(title=Text("Title", "标题"), notes=[Text("One.", "一。"), Text("Two.", "二。")])
    both = TableStyle(language="both")
    assert title_lines(table, both) == ["Title", "标题"]
    assert note_paragraphs(table, both) == ["Notes: One.", "Two.", "注：一。", "二。"]
    assert note_paragraphs(small(notes=["Source: x"]), EN) == ["Source: x"]
    assert note_paragraphs(small(), EN) == []


@pytest.mark.parametrize(
    ("dirty", "text"),
    [
        ("a\nb\r\n\tc", "a b c"),
        ("a\x00\x1b[31mb", "a[31mb"),
        ("a\u202eb\u2066c", "abc"),
        ("\ufeffa", "a"),
        ("\ud800a\ufffe", "a"),
        ("𬭛 镕", "𬭛 镕"),
    ],
    ids=["lines", "controls", "bidi", "bom", "not a character", "rare"],
)
def test_clean(dirty, text):
    assert clean(dirty) == text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": [body("x")]}, "has 1 cells, not 2"),
        ({"rows": [body("x", 1.5)]}, "Number"),
        ({"rows": [body("x", True)]}, "holds True"),
        ({"rows": [Row(("x", "y"), "other")]}, "other"),
        ({"header": ()}, "header"),
        ({"header": ([HeaderCell("a", 3)], *HEAD)}, "Header level 1"),
        ({"header": ([HeaderCell("a", 2), HeaderCell("b", 0)], *HEAD)}, "Header level 1"),
        ({"alignment": ("l",)}, "alignment"),
        ({"alignment": ("l", "x")}, "alignment"),
    ],
)
def test_tables_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(SpecificationError, match=message):
        small(**changes)


@pytest.mark.parametrize(
    "setting",
    [
        {"language": "fr"},
        {"errors": "se"},
        {"error_position": "above"},
        {"digits": -1},
        {"digits": 2.5},
        {"thresholds": (0.01, 0.05, 0.1)},
        {"thresholds": (0.1, 0.05)},
    ],
    ids=str,
)
def test_unknown_settings_are_refused(setting):
    with pytest.raises(SpecificationError, match=next(iter(setting))):
        TableStyle(**setting)


def test_tables_are_frozen():
    with pytest.raises(AttributeError):
        small().title = "other"


def test_write_table_makes_the_folder_and_every_format(tmp_path):
    paths = write_table(small(key="a/b: 表"), tmp_path / "new" / "tables")
    assert [path.name for path in paths] == [f"a-b-表.{name}" for name in FORMATS]
    assert sorted(paths) == sorted((tmp_path / "new" / "tables").iterdir())


def test_write_table_refuses_before_it_writes(tmp_path):
    with pytest.raises(SpecificationError, match="pdf"):
        write_table(small(), tmp_path / "out", formats=["csv", "pdf"])
    assert not (tmp_path / "out").exists()


def test_write_table_names_a_file_in_the_way(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(OutputError, match="a file has the name of this folder"):
        write_table(small(), tmp_path / "out")
