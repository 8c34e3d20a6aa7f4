"""The offline report as text: what may run, what is escaped, how large it is."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from offline_sample import HOSTILE, full_content, small_content, squares
from shapely import box

from spatial_zb.base.errors import OutputError, SpecificationError
from spatial_zb.base.text import Text
from spatial_zb.report.page import Content, Section, UnitEffects, draw_outlines, write_report
from spatial_zb.report.page.content import Words
from spatial_zb.report.page.html import embedded, render
from spatial_zb.report.tables.text import clean

#: The most that a page of 90 units in 20 years may take.
MOST_BYTES = 3_000_000


class Page(HTMLParser):
    """The elements of a page with their attributes; ``raw`` text of scripts and style sheets, and all other text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, dict[str, str | None], str]] = []
        self.texts: list[str] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.inside = tag in ("script", "style")
        if self.inside:
            self.raw.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            tag, attributes, before = self.raw[-1]
            self.raw[-1] = tag, attributes, before + data
        else:
            self.texts.append(data)

    def data(self) -> dict:
        """The embedded numbers and words."""
        (body,) = [text for _, attributes, text in self.raw if attributes.get("type") == "application/json"]
        return json.loads(body)


@pytest.fixture(scope="module")
def text() -> str:
    return render(small_content())


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def policy(page: Page) -> dict[str, str]:
    content = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    return dict(part.strip().split(" ", 1) for part in content.split(";"))


def test_policy_allows_this_script_and_this_style_by_hash_and_nothing_else(page):
    rules = policy(page)
    assert rules["default-src"] == "'none'"
    assert not [rule for rule in rules.values() if "unsafe" in rule or "http" in rule or "*" in rule]
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        (body,) = [t for name, a, t in page.raw if name == tag and a.get("type") != "application/json"]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_nothing_is_loaded_and_no_element_carries_script_or_style(page):
    for tag, attributes in page.elements:
        assert tag not in ("img", "iframe", "object", "embed", "link", "form", "base")
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "src")]
        assert not (attributes.get("href") or "#").startswith(("http", "javascript", "data"))
    script = next(t for name, a, t in page.raw if name == "script" and not a)
    for word in (
        "eval(",
        "new Function",
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "fetch(",
    ):
        assert word not in script


def test_hostile_words_are_text(text, page):
    assert [tag for tag, _ in page.elements].count("script") == 2
    seen = "".join(page.texts)
    for name in HOSTILE:
        assert clean(name) in seen
    assert "A <title> & more" in seen
    assert "\u202e" not in text
    assert "\u2028" not in text


def test_embedded_numbers_read_back(page):
    data = page.data()
    atlas = data["atlas"]
    assert [data["words"]["zh"][i] for i in atlas["names"][:6]] == [clean(f"{name}市") for name in HOSTILE]
    second = atlas["variables"][1]
    assert second["values"][1][5] is None
    assert second["schemes"]["quantile"]["codes"][1][5] == -1
    assert data["effects"][1]["units"] == list(range(8))


def test_classes_are_those_of_the_maps(page):
    from spatial_zb.report.maps.classes import class_of, classify

    values = small_content().atlas.variables[0].values
    for scheme, found in page.data()["atlas"]["variables"][0]["schemes"].items():
        printed = classify(values, scheme, 5)
        assert np.array_equal(found["codes"], class_of(values, printed.breaks))
        assert found["colours"] == printed.colours
        assert len(found["labels"]) == len(printed.colours)


def test_edges_and_colours_of_ones_own_are_on_the_page_too():
    from spatial_zb.report.maps.classes import classify

    content = small_content()
    first, second = content.atlas.variables
    middle = float(np.nanmedian(first.values))
    first = replace(first, breaks=(middle,), center=middle)
    atlas = replace(content.atlas, variables=(first, second), scheme="equal", classes=4)
    shown = Page(render(replace(content, atlas=atlas), ["en"])).data()["atlas"]
    assert shown["scheme"] == "own"
    assert (
        shown["variables"][0]["schemes"]["own"]["colours"]
        == classify(first.values, [middle], center=middle).colours
    )
    equal = classify(second.values, "equal", 4)
    assert shown["variables"][1]["schemes"]["own"]["colours"] == equal.colours
    assert Page(render(content, ["en"])).data()["atlas"]["scheme"] == "quantile"


def test_every_control_image_and_region_has_a_name(page):
    for tag, attributes in page.elements:
        if attributes.get("role") in ("region", "group"):
            assert attributes.get("data-label-en")
            assert attributes.get("data-label-zh")
        if tag == "section":
            assert f"{attributes['id']}-title" == attributes["aria-labelledby"]
    ids = [a["id"] for _, a in page.elements if a.get("id")]
    assert len(ids) == len(set(ids))
    tags = [tag for tag, _ in page.elements]
    assert {"header", "nav", "main", "footer", "h1"} <= set(tags)
    assert tags.count("caption") == 2 * 6
    assert next(a for _, a in page.elements if a.get("class") == "skip")["href"] == "#main"


def test_a_figure_is_in_the_page_in_each_language_without_styles_and_ids_of_others(page):
    charts = [a for tag, a in page.elements if tag == "div" and "chart" in (a.get("class") or "").split()]
    assert [a["class"].split()[0] for a in charts] == ["en", "zh"]
    assert {a["data-label-en"] for a in charts} == {clean(HOSTILE[2])}
    drawn = [a for tag, a in page.elements if tag == "svg" and a.get("role") == "img"]
    assert [a["aria-label"] for a in drawn[:2]] == [HOSTILE[2]] * 2
    assert "<b>one</b>" in page.texts


def test_size_of_a_simulated_study(tmp_path):
    page = write_report(full_content(), tmp_path / "full.html")
    assert 500_000 < page.stat().st_size <= MOST_BYTES


def test_the_same_content_gives_the_same_bytes(tmp_path, text):
    assert write_report(small_content(), tmp_path / "a.html").read_bytes() == text.encode()


def test_one_language_has_no_switch_and_no_words_of_the_other():
    page = Page(render(small_content(), ["zh"]))
    (button,) = [a for _, a in page.elements if a.get("id") == "language"]
    assert "hidden" in button
    assert list(page.data()["words"]) == ["zh"]
    assert "Made for a test" not in "".join(page.texts)


def test_a_page_without_a_map(tmp_path):
    section = Section("data", Text("Data", "数据"), Text("", ""))
    content = Content("bare", Text("Bare", "无图"), Text("", ""), (section,))
    assert 'id="atlas"' not in write_report(content, tmp_path / "bare.html").read_text("utf-8")


def test_refusals(tmp_path):
    content = small_content()
    with pytest.raises(SpecificationError, match="fr"):
        write_report(content, tmp_path / "a.html", ["fr"])
    with pytest.raises(OutputError, match="folder"):
        write_report(content, tmp_path / "absent" / "a.html")
    one = np.ones(1)
    lost = UnitEffects({}, ("999",), one, one, one, Text("", ""))
    section = Section("models", Text("", ""), Text("", ""), (), (lost,))
    with pytest.raises(SpecificationError, match="999"):
        Content("x", Text("", ""), Text("", ""), (section,), content.atlas)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("number", "line"), [(None, "not given"), (" GS(2024)<0650> ", "GS(2024)<0650>.")])
def test_the_review_number_stands_below_the_map_and_at_the_end(number, line):
    page = Page(render(replace(small_content(), review_number=number), ["en"]))
    data = page.data()
    assert line in data["words"]["en"][data["review"]]
    assert line in "".join(page.texts)


def test_an_atlas_whose_parts_do_not_fit_is_refused():
    atlas = small_content().atlas
    first = atlas.variables[0]
    with pytest.raises(SpecificationError, match="12 units"):
        replace(atlas, names=atlas.names[:3])
    with pytest.raises(SpecificationError, match="'first' have the shape"):
        replace(atlas, variables=(replace(first, values=first.values[:2]),))
    with pytest.raises(SpecificationError, match="weights 'rook'"):
        replace(atlas, weights={})


def test_a_unit_smaller_than_a_point_keeps_a_path():
    shapes = squares(1, 2)
    shapes.loc["001", "geometry"] = box(600_000, 3_290_000, 600_001, 3_290_001)
    outlines = draw_outlines(shapes, crs="EPSG:4549")
    assert all(path.startswith("M") and path.endswith("z") for path in outlines.paths)


def test_a_failed_write_leaves_the_old_page(tmp_path, monkeypatch):
    target = write_report(small_content(), tmp_path / "a.html")
    before = target.read_bytes()
    monkeypatch.setattr("spatial_zb.report.files.os.replace", _full_disk)
    with pytest.raises(OutputError, match="disk is full"):
        write_report(small_content(), target, ["en"])
    assert target.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]


def _full_disk(*_):
    raise OSError(28, "No space left on device")


def test_the_same_words_have_one_number():
    words = Words(["en", "zh"])
    numbers = [words.number(t) for t in (Text("a", "甲"), "b", Text("a", "甲"), Text("a", "乙"))]
    assert numbers == [0, 1, 0, 2]
    assert words.table() == {"en": ["a", "b", "a"], "zh": ["甲", "b", "乙"]}


def test_embedded_json_cannot_end_its_element():
    hostile = "</script><!-- & \u2028"
    assert "<" not in embedded(hostile)
    assert json.loads(embedded(hostile)) == hostile


# -- outlines ----------------------------------------------------------------------------------------------


def rings(path: str) -> list[list[tuple[int, int]]]:
    """Vertices of a path of relative lines, by a slow reading of the grammar."""
    found = []
    for part in path.split("M")[1:]:
        numbers = [int(n) for n in re.findall(r"-?\d+", part)]
        x, y = numbers[:2]
        ring = [(x, y)]
        for dx, dy in zip(numbers[2::2], numbers[3::2], strict=True):
            x, y = x + dx, y + dy
            ring.append((x, y))
        found.append(ring)
    return found


def test_outlines_of_squares_are_exact():
    outlines = draw_outlines(squares(2, 2), crs="EPSG:4549")
    assert outlines.size == (4000, 4000)
    assert {frozenset(rings(path)[0]) for path in outlines.paths} == {
        frozenset((x + a, y + b) for a in (0, 2000) for b in (0, 2000)) for x in (0, 2000) for y in (0, 2000)
    }
    assert outlines.centres == ((1000, 1000), (3000, 1000), (1000, 3000), (3000, 3000))
    assert sorted(map(sorted, rings(outlines.borders))) in (
        [[(2000, 0), (2000, 2000)], [(2000, 2000), (2000, 4000)]],
        [[(2000, 0), (2000, 2000), (2000, 4000)]],
    )
    assert outlines.bar == (10.0, 1000)


def test_neighbours_keep_one_border_and_their_area(delta):
    """No city changes its size, and cities drawn one by one leave no gaps between them and do not overlap."""
    from shapely import Polygon, get_parts, make_valid, union_all

    projected = delta.to_crs("EPSG:4549")
    outlines = draw_outlines(delta, crs="EPSG:4549")
    metres = (projected.total_bounds[3] - projected.total_bounds[1]) / 4000
    units = [union_all([make_valid(Polygon(ring)) for ring in rings(path)]) for path in outlines.paths]
    areas = np.array([unit.area for unit in units])
    change = np.abs(areas * metres**2 / projected.area.to_numpy() - 1)
    assert change.max() < MOST_CHANGE
    assert np.median(change) < USUAL_CHANGE
    whole = union_all(units)
    gaps = sum(len(part.interiors) for part in get_parts(whole) if part.geom_type == "Polygon")
    assert gaps <= MOST_GAPS
    assert areas.sum() - whole.area < MOST_OVERLAP * whole.area


#: The archipelago of Zhoushan loses its specks, a few per cent of it; other cities only vertices within a point.
MOST_CHANGE, USUAL_CHANGE = 0.1, 0.005
#: Where a vertex of one city lies on a straight border of the other, rounding leaves a sliver; each city thinned for
#: itself leaves two hundred, and seven times the overlap.
MOST_GAPS, MOST_OVERLAP = 20, 2e-4
