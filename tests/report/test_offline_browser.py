"""The offline report in headless Chromium, with name resolution blocked, at desktop and phone width."""

from __future__ import annotations

import csv
import io
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from offline_sample import HOSTILE, PERIODS, small_content

from spatial_zb.report.maps.classes import class_of, classify
from spatial_zb.report.page import write_report
from spatial_zb.report.tables.text import clean

BROWSER = next(
    filter(
        None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))
    ),
    None,
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome on the path")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
#: Told to the test by the page itself before any script of it runs.
WATCH = """
window.broken = [];
addEventListener("securitypolicyviolation", (event) => broken.push(event.violatedDirective + " " + event.blockedURI));
"""
#: Least contrast of text on its ground (WCAG 2, level AA), and of what is drawn.
TEXT_CONTRAST, DRAWN_CONTRAST = 4.5, 3.0


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    return write_report(small_content(), tmp_path_factory.mktemp("报告 page") / "report.html")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, report):
    """Open the page as a reader; at the end nothing was loaded, broken, said in the console or popped up."""

    @contextmanager
    def open_page(size="desktop", language="en-US", colours="light"):
        width, height = SIZES[size]
        context = browser.new_context(
            viewport={"width": width, "height": height}, locale=language, color_scheme=colours
        )
        context.add_init_script(WATCH)
        page = context.new_page()
        page.set_default_timeout(20_000)  # a busy machine is slow, not wrong
        requests, said = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.goto(report.as_uri())
        page.wait_for_selector("html[data-ready]")
        page.evaluate("document.querySelectorAll('details.more').forEach((part) => { part.open = true; })")
        try:
            yield page
            assert page.evaluate("broken") == []
        finally:
            context.close()
        assert said == []
        assert [url for url in requests if not url.startswith("blob:")] == [report.as_uri()]

    return open_page


def fills(page) -> list[str]:
    return page.eval_on_selector_all("#atlas .unit", "units => units.map(u => u.getAttribute('fill'))")


def selected(page, place: str) -> list[str]:
    """Names of the selected units in the map, the scatter or the table, in order."""
    if place == "rows":
        found = page.eval_on_selector_all("#rows input:checked", "boxes => boxes.map(b => b.ariaLabel)")
    else:
        found = page.eval_on_selector_all(
            f"#{place} [role=option][aria-selected=true]",
            "units => units.map(u => u.getAttribute('aria-label'))",
        )
    names = [clean(unit.en) for unit in small_content().atlas.names]
    return sorted(next(name for name in names if text.startswith(name)) for text in found)


def drag(page, place: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag a frame between two points given as shares of the drawing."""
    page.locator(f"#{place} svg").scroll_into_view_if_needed()
    box = page.locator(f"#{place} svg").bounding_box()
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*points[0])
    page.mouse.down()
    page.mouse.move(*points[1], steps=4)
    page.mouse.up()


def downloaded(page, button: str) -> tuple[str, list[list[str]]]:
    """Name and cells of what a button saves."""
    with page.expect_download() as caught:
        page.locator(button).click()
    text = Path(caught.value.path()).read_text(encoding="utf-8")
    assert text.startswith("\ufeff")
    return caught.value.suggested_filename, list(csv.reader(io.StringIO(text[1:])))


def test_links_of_a_table_show_what_is_hidden(opened):
    with opened() as page:
        page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = false; })")
        links = page.locator("#table-led .en a")
        assert links.all_inner_texts() == ["Table A", "Figure <A>"]
        assert page.locator("#table-led .en td").inner_text() == "Table A, Figure <A>, Table B"
        assert not page.locator("#table-three").is_visible()
        for _ in range(2):  # the second time the address is the same
            links.first.click()
            page.wait_for_function("!document.getElementById('table-three').hidden")
            assert page.locator("#table-three").is_visible()
            page.select_option("#part-models select[data-dimension=sample]", index=0)
            assert not page.locator("#table-three").is_visible()
        links.last.click()
        assert page.locator("#figure-drawn .en.chart").is_visible()


@pytest.mark.parametrize("size", SIZES)
def test_variable_year_and_classes_change_the_map(opened, size):
    values = small_content().atlas.variables[0].values
    with opened(size) as page:
        assert page.locator("#atlas-title").inner_text() == "First <b>variable</b>, 2003"
        last = fills(page)
        page.select_option("#period", "0")
        assert fills(page) != last
        codes = class_of(values, classify(values, "quantile", 5).breaks)
        colours = fills(page)
        assert all(
            (colours[i] == colours[j]) == (codes[0, i] == codes[0, j]) for i in range(12) for j in range(12)
        )
        page.select_option("#scheme", "equal")
        assert fills(page) != colours
        page.click("#later")
        page.select_option("#variable", "1")
        assert page.locator("#atlas-title").inner_text() == "Second variable, 2002"
        assert fills(page)[5] == "url(#hatch)"
        assert "No data" in page.locator("#legend").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]


def test_clusters_are_a_scheme_where_there_are_any(opened):
    with opened() as page:
        page.select_option("#scheme", "clusters")
        assert fills(page)[:5] == ["#a50f15", "#3182bd", "#fc9272", "#c6dbef", "#f7f7f7"]
        assert "Simulated codes." in page.locator("#atlas-note").inner_text()
        page.select_option("#period", "0")
        assert page.locator("#scheme").input_value() == "quantile"
        assert page.locator("#scheme option[value=clusters]").count() == 0


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_selects_in_map_scatter_and_table(opened, size):
    with opened(size) as page:
        drag(page, "atlas", (0.01, 0.01), (0.5, 0.32))  # the upper left: squares 0 and 1
        first = sorted(clean(HOSTILE[i]) for i in (0, 1))
        assert [selected(page, place) for place in ("atlas", "scatter", "rows")] == [first] * 3
        drag(page, "scatter", (0.01, 0.01), (0.99, 0.99))
        everything = selected(page, "scatter")
        assert len(everything) == 12
        assert selected(page, "atlas") == selected(page, "rows") == everything
        page.click("#clear")
        assert selected(page, "atlas") == selected(page, "scatter") == []
        page.locator("#atlas .unit").nth(7).click()
        page.locator("#rows input").nth(0).check()
        assert len(selected(page, "atlas")) == 2
        page.locator("#atlas .unit").nth(7).click()
        assert len(selected(page, "scatter")) == 1


def test_what_is_pointed_at_is_told_everywhere(opened):
    with opened() as page:
        page.locator("#atlas .unit").nth(8).hover()
        assert page.locator("#details").inner_text().startswith("Gamma, 2003")
        assert page.locator("#scatter .dot.pointed").get_attribute("aria-label").startswith("Gamma, 2003")
        assert page.locator("#rows tr.pointed th").inner_text() == "Gamma"
        assert "Gamma" in page.locator("#scatter .names").text_content()


def test_the_scatter_is_that_of_the_data(opened):
    content = small_content()
    series, values = content.atlas.variables[0].moran["rook"], content.atlas.variables[0].values
    with opened() as page:
        assert (
            f"I = {series.statistic[2]:.3f}".replace("-", "−") in page.locator("#scatter-note").inner_text()
        )
        z = (values[2] - values[2].mean()) / values[2].std()
        order = np.argsort(z, kind="stable")
        spots = page.eval_on_selector_all(
            "#scatter [role=option]",
            "dots => dots.map(d => d.getAttribute('transform').match(/-?[\\d.]+/g).map(Number))",
        )
        x, y = np.array(spots).T
        assert np.corrcoef(x, z[order])[0, 1] == pytest.approx(1, abs=1e-4)
        assert np.corrcoef(y, series.lag[2][order])[0, 1] == pytest.approx(-1, abs=1e-4)
        page.select_option("#variable", "1")
        assert page.locator("#scatter .dot").count() == 0
        assert "no Moran" in page.locator("#scatter-note").inner_text()


def test_language_switch_turns_everything(opened):
    with opened() as page:
        assert page.title() == "A <title> & more"
        page.click("#language")
        assert page.evaluate("document.documentElement.lang") == "zh-CN"
        assert page.title() == "标题<title>"
        assert page.locator("#atlas-title").inner_text() == "第一变量，2003年"
        assert page.locator("#rows th[scope=row]").nth(0).inner_text().endswith("市")
        assert page.locator("label:has(#variable)").inner_text().startswith("变量")
        assert page.locator("nav").get_attribute("aria-label") == "报告目录"
        visible = page.locator("main").inner_text()
        assert "Queen, all (zh)" in visible
        assert "Queen, all (en)" not in visible
        assert page.locator("#part-models .choices option").nth(0).inner_text() == "all zh"
        page.click("#language")
        assert page.locator("#atlas-title").inner_text() == "First <b>variable</b>, 2003"
    with opened(language="zh-CN") as page:
        assert page.evaluate("document.documentElement.lang") == "zh-CN"


def test_tables_switch_by_sample_and_weights(opened):
    with opened() as page:
        shown = page.locator("#part-models .item:visible caption:visible")
        assert shown.all_inner_texts() == ["Queen, all (en)", "Of the model (en)"]
        selects = page.locator("#part-models > .choices select")
        assert selects.count() == 2
        selects.nth(1).select_option(label="inverse en")
        assert shown.all_inner_texts() == ["Inverse, all (en)", "Of the model (en)"]
        selects.nth(0).select_option(label="part en")
        assert shown.all_inner_texts() == ["Queen, part (en)", "Of the model (en)"]
        assert selects.nth(1).locator("option").all_inner_texts() == ["queen en"]


def test_maps_of_effects_switch_and_say_how_sure_they_are(opened):
    with opened() as page:
        place = page.locator(".effects")
        assert place.locator(".reading-line").inner_text() == "Reading of talent </script>"
        emitted = [place.locator(".unit").nth(i).get_attribute("fill") for i in range(12)]
        place.locator("select.kind").select_option("received")
        assert [place.locator(".unit").nth(i).get_attribute("fill") for i in range(12)] != emitted
        place.locator("select[data-dimension=term]").select_option(label="wage en")
        assert place.locator(".unit.outside").count() == 4
        assert place.locator(".rows tbody tr").count() == 8
        place.locator(".unit").nth(9).focus()
        assert place.locator(".details").inner_text() == "Delta, Not in this sample"


def test_a_scenario_slides_over_its_steps(opened):
    with opened() as page:
        place = page.locator(".paths")
        assert place.locator(".reading-line").inner_text() == "Who gains </script>"
        assert place.locator("figcaption").first.inner_text() == "Scenario <i> (0)"
        pale = place.locator(".unit.unsure").count()
        fills = [place.locator(".unit").nth(i).get_attribute("fill") for i in range(12)]
        place.locator("input[type=range]").focus()
        page.keyboard.press("End")
        assert place.locator("output").inner_text() == "2"
        assert place.locator(".unit.unsure").count() < pale  # thrice the change leaves zero
        assert [place.locator(".unit").nth(i).get_attribute("fill") for i in range(12)] != fills
        place.locator(".unit").nth(11).focus()
        assert "0.9 [0.7, 1.1]" in place.locator(".details").inner_text()
        _, rows = downloaded(page, ".save-paths")
        assert len(rows) == 1 + 3 * 12


@pytest.mark.parametrize("size", SIZES)
def test_hostile_words_do_nothing(opened, size):
    with opened(size) as page:
        for name in HOSTILE:
            assert page.get_by_text(clean(name), exact=True).count() >= 1
        assert page.locator("img, iframe, b, i, svg svg").count() == 0
        assert page.locator("script").count() == 2
        page.locator("#rows input").nth(0).check()
        page.locator("#atlas .unit").nth(1).focus()
        assert page.evaluate("typeof data + typeof say") == "undefinedundefined"


def test_keyboard_alone(opened):
    with opened() as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        reached = []
        for _ in range(40):
            page.keyboard.press("Tab")
            reached.append(
                page.evaluate("document.activeElement.id || document.activeElement.getAttribute('role')")
            )
            if reached[-1] == "option":
                break
        assert {"variable", "period", "earlier", "scheme", "weights"} <= set(reached)
        assert (
            page.evaluate("getComputedStyle(document.querySelector('#atlas .active')).strokeWidth") != "0px"
        )
        for key in ("ArrowRight", "ArrowDown", "Enter"):
            page.keyboard.press(key)
        assert selected(page, "atlas") == selected(page, "rows") == [clean(HOSTILE[5])]
        page.keyboard.press("Tab")  # the whole map is one stop: next is the scatter
        assert page.evaluate("document.activeElement.closest('.drawing').id") == "scatter"
        page.keyboard.press("End")
        page.keyboard.press(" ")
        assert len(selected(page, "scatter")) == 2
        page.keyboard.press("Escape")
        assert selected(page, "scatter") == []
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # the button of the first quadrant
        high = small_content().atlas.variables[0].moran["rook"].lag[2] >= 0
        assert 0 < len(selected(page, "atlas")) <= high.sum()
        assert page.locator("#said").inner_text().startswith("Selected: ")


def test_every_control_has_a_name_and_focus_can_be_seen(opened):
    with opened() as page:
        nameless = page.evaluate("""() => [...document.querySelectorAll("button, select, input, [role]")]
            .filter((e) => e.checkVisibility() && !e.closest("label") && !(e.textContent.trim() || e.ariaLabel)
                && e.getAttribute("role") !== "status").map((e) => e.outerHTML.slice(0, 80))""")
        assert nameless == []
        page.locator("#variable").focus()
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_the_link_of_the_part_being_read_is_marked(opened):
    with opened() as page:
        page.locator("nav a[href='#part-models']").click()
        page.wait_for_selector("nav a[aria-current=location][href='#part-models']")
        assert page.locator("nav a[aria-current]").count() == 1


def test_wide_tables_can_be_scrolled_by_keyboard_on_a_phone(opened):
    wide = "[...document.querySelectorAll('#part-data .zb-table')].map(t => [t.scrollWidth > t.clientWidth, t.tabIndex])"
    with opened("phone") as page:
        page.locator("#part-data .zb-table:visible").evaluate("table => { table.style.width = '100px'; }")
        # waiting for a function would evaluate a string, which the page forbids
        page.locator("#part-data .zb-table[tabindex='0']").first.wait_for()
        assert [True, 0] in page.evaluate(wide)
        page.locator("#part-data .zb-table:visible").evaluate("table => { table.style.width = ''; }")


def test_the_table_sorts_by_its_heads(opened):
    with opened() as page:
        button = page.locator("#rows thead button").nth(1)
        button.click()
        assert page.locator("#rows th[aria-sort]").get_attribute("aria-sort") == "descending"
        cells = page.locator("#rows tbody tr td:nth-child(3)").all_inner_texts()
        numbers = [float(c.replace("−", "-")) for c in cells]
        assert numbers == sorted(numbers, reverse=True)
        page.locator("#rows thead button").nth(1).click()
        assert page.locator("#rows th[aria-sort]").get_attribute("aria-sort") == "ascending"


def test_downloads_are_the_data_and_calculate_nothing(opened):
    content = small_content()
    with opened() as page:
        name, rows = downloaded(page, "#save-variable")
        assert name == "sample_first.csv"
        assert rows[0] == ["Id", "Unit", "Year", "Value", "Standardised", "Spatial lag", "Quadrant"]
        values = np.array([float(row[3]) for row in rows[1:]]).reshape(len(PERIODS), 12)
        assert values == pytest.approx(content.atlas.variables[0].values, rel=1e-5)
        assert [row[1] for row in rows[1:7]] == [
            f"'{clean(n)}" if n.startswith("=") else clean(n) for n in HOSTILE
        ]
        assert len(downloaded(page, "#save-view")[1]) == 13
        name, rows = downloaded(page, "#part-data .save")
        assert name == "sample_names_en.csv"
        assert rows[-1] == ["'-1+1", "2.000"]
        _, rows = downloaded(page, ".save-effects")
        assert [float(row[2]) for row in rows[1:]] == pytest.approx(
            content.sections[1].effects[0].emitted, abs=1e-5
        )


CONTRAST = """(pairs) => {
    const light = (colour) => {
        const [r, g, b] = colour.match(/[\\d.]+/g).map((v) => v / 255)
            .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const probe = document.body.appendChild(document.createElement("span"));
    const of = (name) => { probe.style.color = `var(--${name})`; return light(getComputedStyle(probe).color); };
    return pairs.map(([a, b]) => {
        const [x, y] = [of(a), of(b)].sort((p, q) => q - p);
        return (x + 0.05) / (y + 0.05);
    });
}"""
TEXTS = [("ink", "ground"), ("ink", "sheet"), ("soft", "ground"), ("soft", "sheet"), ("accent", "ground"), ("ink", "warm"),
         ("soft", "warm"), ("accent", "warm"), ("on-accent", "accent")]  # fmt: skip
DRAWN = [("edge", "ground"), ("edge", "sheet"), ("focus", "ground"), ("high", "sheet"), ("low", "sheet")]


def test_dark_mode_follows_the_system_and_the_button(opened):
    ground = "getComputedStyle(document.body).backgroundColor"
    with opened(colours="dark") as page:
        dark = page.evaluate(ground)
        assert page.locator("#theme").get_attribute("aria-pressed") == "true"
        assert min(page.evaluate(CONTRAST, TEXTS)) >= TEXT_CONTRAST
        assert min(page.evaluate(CONTRAST, DRAWN)) >= DRAWN_CONTRAST
        page.click("#theme")
        light = page.evaluate(ground)
    with opened(colours="light") as page:
        assert page.evaluate(ground) == light == "rgb(255, 255, 255)"
        assert min(page.evaluate(CONTRAST, TEXTS)) >= TEXT_CONTRAST
        assert min(page.evaluate(CONTRAST, DRAWN)) >= DRAWN_CONTRAST
        page.click("#theme")
        assert page.evaluate(ground) == dark != light


def test_print_shows_paper(opened):
    with opened(colours="dark") as page:
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not page.locator(".bar").is_visible()
        assert page.locator(".save:visible").count() == 0
        assert page.locator("#atlas svg").is_visible()
        assert page.locator("#part-data caption:visible").count() == 1
        assert page.pdf(format="A4").startswith(b"%PDF")


def test_without_scripts_every_table_can_be_read(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("#part-models .item caption:visible").count() == 4
    assert page.locator("noscript p").is_visible()
    assert page.locator("button:visible, select:visible").count() == 0
    context.close()
