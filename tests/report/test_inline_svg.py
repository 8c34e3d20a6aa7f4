"""A figure inside a page: no styles, ids of its own, its words as type, the same text each time."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from spatial_zb.report.drawing.style import PRESETS, context
from spatial_zb.report.figures.lines import Chart, LinePanel, Series, draw_chart
from spatial_zb.report.page.outlines import inline_svg

NAMES = ('"><script>alert(1)</script>', "a & b", "{0} $x$", "能源消费")


def drawn(preset: str = "journal_double"):
    series = tuple(
        Series(name, np.arange(4.0), np.arange(4.0) * k / 3, look=k) for k, name in enumerate(NAMES)
    )
    with context(PRESETS[preset], "zh") as style:
        return draw_chart([LinePanel("标题 <b>", series, (0.5,))], Chart("年份", "y"), style).figure


@pytest.fixture(scope="module")
def text() -> str:
    return inline_svg(drawn(), NAMES[0], "mark")


def test_it_is_well_formed_and_its_words_are_text(text):
    root = ElementTree.fromstring(text)
    said = [element.text for element in root.iter() if element.tag == "text"]
    assert {*NAMES, "标题 <b>", "年份"} <= set(said)
    assert root.attrib["aria-label"] == NAMES[0]
    assert "script" not in {element.tag for element in root.iter()}


def test_nothing_in_it_is_refused_by_a_strict_page(text):
    for element in ElementTree.fromstring(text).iter():
        assert not {"style", "src"} & set(element.attrib)
        assert not [key for key in element.attrib if key.startswith("on")]
        assert element.attrib.get("href", "#").startswith("#")
    assert "http" not in text


def test_ids_are_its_own_and_every_reference_is_there(text):
    root = ElementTree.fromstring(text)
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids)) > 0
    assert all(one.startswith("mark-") for one in ids)
    assert set(re.findall(r"#(mark-[0-9]+)", text)) == set(ids)


def test_the_same_figure_gives_the_same_text(text):
    assert inline_svg(drawn(), NAMES[0], "mark") == text


@pytest.mark.parametrize(("preset", "kind"), [("journal_double", "broad"), ("journal_single", "narrow")])
def test_its_width_is_that_of_print(preset, kind):
    found = ElementTree.fromstring(inline_svg(drawn(preset), "x", "m")).attrib
    assert found["class"] == kind
    assert float(found["width"]) == pytest.approx(PRESETS[preset].width_mm / 25.4 * 96, abs=0.5)
