"""Pages of the offline report for tests: a small one with hostile words, and a simulated one of full size."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
from shapely import box

from spatial_zb.base.text import Text
from spatial_zb.report.page import (
    Atlas,
    ChartItem,
    Content,
    MoranSeries,
    Paragraphs,
    Remarks,
    Section,
    TableItem,
    UnitEffects,
    UnitPaths,
    Variable,
    draw_outlines,
)
from spatial_zb.report.tables.table import HeaderCell, Link, Links, Number, Table, TableStyle, body
from spatial_zb.report.tables.text import clean

#: Names that would run, break out of their element, turn the line round or be calculated, if anything let them.
HOSTILE = (
    "<img src=x onerror=\"alert('name')\">",
    "</script><script>alert('script')</script>",
    "\"'><svg onload=alert('quote')>",
    '=HYPERLINK("http://example.org","click")',
    "\u202eevil\u202c שלום",
    "line\u2028separator\u2029and {{braces}} $title ${title}",
)
PLAIN = ("Alpha", "Beta", "Gamma", "Delta", "Epsilon", "Zeta")
PERIODS = (2001, 2002, 2003)


def squares(rows: int, columns: int, side: float = 20_000.0) -> gpd.GeoDataFrame:
    """Squares by rows from the top, in metres, in two provinces: the left half and the right half."""
    shapes, provinces = [], []
    for i in range(rows):
        for j in range(columns):
            x, y = 500_000 + j * side, 3_300_000 - i * side
            shapes.append(box(x, y - side, x + side, y))
            provinces.append("left" if j < columns / 2 else "right")
    ids = [f"{i:03d}" for i in range(rows * columns)]
    return gpd.GeoDataFrame({"prov": provinces}, geometry=shapes, index=ids, crs="EPSG:4549")


def rook(rows: int, columns: int) -> np.ndarray:
    """Row-normalised weights of squares that share a side."""
    n = rows * columns
    place = np.array([(i, j) for i in range(rows) for j in range(columns)])
    near = np.abs(place[:, None] - place[None]).sum(axis=2) == 1
    return near / near.sum(axis=1, keepdims=True) if n > 1 else near.astype(float)


def series(values: np.ndarray, W: np.ndarray) -> MoranSeries:
    """The scatter of every period, with I as the slope."""
    z = (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)
    lag = z @ W.T
    return MoranSeries(lag, (z * lag).mean(axis=1), np.full(len(values), 0.012))


def table(key: str, title: str, rows: list[tuple[str, float]]) -> TableItem:
    """A table of names and numbers in both languages."""
    tables = {
        language: Table(
            title=f"{title} ({language})",
            key=key,
            header=((HeaderCell("Unit"), HeaderCell("Value")),),
            rows=tuple(body(name, Number(value, 3)) for name, value in rows),
        )
        for language in ("en", "zh")
    }
    return TableItem(tables, {language: TableStyle(language=language) for language in tables})


def led() -> TableItem:
    """A table that leads to one that other choices hide, to a figure, and to what the page does not have."""
    links = Links(
        (Link("Table A", "three"), Link("Figure <A>", "drawn", figure=True), Link("Table B", "gone"))
    )
    head = ((HeaderCell("Claim"), HeaderCell("See")),)
    tables = {one: Table(f"Claims ({one})", "led", head, (body("c", links),)) for one in ("en", "zh")}
    return TableItem(tables, {one: TableStyle(language=one) for one in tables})


def chosen(item: TableItem, **choices: str) -> TableItem:
    return TableItem(
        item.tables, item.styles, {key: Text(f"{word} en", f"{word} zh") for key, word in choices.items()}
    )


def chart(label: str, **choices: str) -> ChartItem:
    """A line with its words in both languages."""
    from spatial_zb.report.drawing.style import context
    from spatial_zb.report.figures.lines import Chart, LinePanel, Series, draw_chart
    from spatial_zb.report.page.outlines import inline_svg

    drawings = {}
    for language in ("en", "zh"):
        with context("journal_double", language) as style:
            panel = LinePanel(clean(label), (Series("", np.arange(3.0), np.arange(3.0)),))
            drawing = draw_chart([panel], Chart("<b>one</b>", "y"), style)
        drawings[language] = inline_svg(drawing.figure, label, f"chart-{language}")
    words = {key: Text(f"{word} en", f"{word} zh") for key, word in choices.items()}
    return ChartItem(Text(label, label), drawings, words, "drawn")


def small_content(rows: int = 3, columns: int = 4) -> Content:
    """Twelve squares in three years; half of the names are hostile, and so are all other words."""
    n = rows * columns
    W, polygons = rook(rows, columns), squares(rows, columns)
    names = (HOSTILE + PLAIN)[:n]
    first = np.array(
        [np.arange(n) ** 1.5 + 3 * t + (np.arange(n) % 3) * t for t in range(len(PERIODS))], float
    )
    second = first[:, ::-1].copy()
    second[1, 5] = np.nan
    codes = ("HH", "LL", "HL", "LH", "ns", None) * 2
    atlas = Atlas(
        units=tuple(polygons.index),
        names=tuple(Text(name, f"{name}市") for name in names),
        outlines=draw_outlines(polygons, crs="EPSG:4549"),
        periods=PERIODS,
        variables=(
            Variable(
                "first",
                Text("First <b>variable</b>", "第一变量"),
                first,
                {"rook": series(first, W)},
                {2003: codes[:n]},
            ),
            Variable("second", Text("Second variable", "第二变量"), second),
        ),
        weights={"rook": Text("Rook contiguity", "邻接（Rook）")},
        clusters_note=Text("Simulated codes.", "模拟代码。"),
    )
    effects = tuple(
        UnitEffects(
            {"model": Text("Model", "模型"), "term": Text(f"{term} en", f"{term} zh")},
            tuple(polygons.index)[:part],
            np.linspace(0.1, 0.2, part),
            np.linspace(-0.3, 0.3, part) * scale,
            np.linspace(0.3, -0.2, part) * scale,
            Text(f"Reading of {term} </script>", f"{term}的解读"),
        )
        for term, part, scale in (("talent", n, 1.0), ("wage", n - 4, 2.0))
    )
    level = np.linspace(-0.3, 0.3, n)
    growing = np.array([step * level for step in (1.0, 2.0, 3.0)])
    paths = (
        UnitPaths(
            {"scenario": Text("One up <b>", "一市提高")},
            Text("Scenario <i>", "情景"),
            Text("Periods", "期数"),
            (Text("0", "0"), Text("1", "1"), Text("2", "2")),
            0,
            tuple(polygons.index),
            growing,
            growing - 0.2,
            growing + 0.2,
            Text("Who gains </script>", "谁受益"),
        ),
    )
    models = (
        chosen(table("one", "Queen, all", [("a", 1.0)]), model="m", sample="all", weights="queen"),
        chosen(table("two", "Inverse, all", [("b", 2.0)]), model="m", sample="all", weights="inverse"),
        chosen(table("three", "Queen, part", [("c", 3.0)]), model="m", sample="part", weights="queen"),
        chosen(table("four", "Of the model", [("d", 4.0)]), model="m"),
        chart(HOSTILE[2], model="m"),
    )
    return Content(
        name="sample",
        title=Text("A <title> & more", "标题<title>"),
        facts=Text("12 units, simulated", "12个地区，模拟数据"),
        sections=(
            Section(
                "data",
                Text("Data", "数据"),
                Text("About <i>data</i>", "关于数据"),
                (table("names", HOSTILE[1], [*((name, 1.0) for name in names), ("-1+1", 2.0)]),),
            ),
            Section("models", Text("Models", "模型"), Text("", ""), models, effects, paths),
            Section(
                "map",
                Text("Named as the map", "与地图同名"),
                Text("", ""),
                (Paragraphs(Text("Said", "说明"), (Text("One\nTwo", "一\n二"),)), led()),
            ),
        ),
        atlas=atlas,
        findings=(Text("A finding", "结论一"),),
        limits=(
            Remarks(Text("Limits <b>", "局限"), (Text("All data are simulated.", "全部数据为模拟数据。"),)),
        ),
        warnings=(Remarks(Text("Models", "模型"), (Text.of("A note <script>alert('note')</script>"),)),),
        sources=(Text("Made up", "虚构"),),
        colophon=Text("Made for a test", "测试用"),
        choice_words={
            "model": Text("Model", "模型"),
            "sample": Text("Sample", "样本"),
            "weights": Text("W", "矩阵"),
            "term": Text("Change in", "变动的变量"),
        },
    )


def full_content(n_periods: int = 20, n_variables: int = 12, n_matrices: int = 4) -> Content:
    """90 simulated squares over 20 years with a dozen variables, four W, 40 tables and 60 maps of effects."""
    rng = np.random.default_rng(1)
    rows, columns = 9, 10
    n = rows * columns
    W, polygons = rook(rows, columns), squares(rows, columns)
    matrices = {f"w{m}": Text(f"Matrix {m}", f"矩阵{m}") for m in range(n_matrices)}
    variables = []
    for k in range(n_variables):
        values = rng.normal(size=(n_periods, n)) * 10.0**k
        moran = {name: series(values, W) for name in matrices}
        variables.append(Variable(f"v{k}", Text(f"Variable {k}", f"变量{k}"), values, moran))
    units = tuple(polygons.index)
    atlas = Atlas(
        units,
        tuple(Text(f"Place number {i}", f"第{i}号地区") for i in range(n)),
        draw_outlines(polygons, crs="EPSG:4549"),
        tuple(range(2000, 2000 + n_periods)),
        tuple(variables),
        matrices,
    )
    effects = tuple(
        UnitEffects(
            {"term": Text(f"Term {k}", f"变量{k}")},
            units,
            *rng.normal(size=(3, n)),
            Text("Reading " * 30, "解读" * 60),
        )
        for k in range(60)
    )
    long = [(f"Row {i}", float(i)) for i in range(60)]
    tables = tuple(table(f"t{k}", f"Table {k}", long) for k in range(40))
    panel = table(
        "panel", "Panel", [(f"Row {i}", float(v)) for i, v in enumerate(rng.normal(size=n * n_periods))]
    )
    section = Section("models", Text("Models", "模型"), Text("", ""), (*tables, panel), effects)
    return Content("full", Text("Simulated", "模拟"), Text("90 × 20", "90 × 20"), (section,), atlas)
