"""Each format says what the table says, nothing in a name gets through as code, same table same bytes."""

import csv
import io
import math
import re
import shutil
import subprocess
import time
import zipfile
from html.parser import HTMLParser

import docx
import openpyxl
import pytest
from docx.oxml.ns import qn
from markdown_it import MarkdownIt

from spatial_zb.base.errors import SpecificationError
from spatial_zb.base.text import Text
from spatial_zb.report.tables.table import (
    RULE,
    HeaderCell,
    Link,
    Links,
    Number,
    Table,
    TableStyle,
    body,
    journal_style,
    section,
)
from spatial_zb.report.tables.text import column_parts, shown, typeset
from spatial_zb.report.tables.writers import FORMATS, excel, latex, markup, word, write_table

EN, ZH = TableStyle(), TableStyle(language="zh")
HOSTILE = {
    "formula": "=cmd|' /C calc'!A0",
    "full-width formula": "＝1+1",
    "minus formula": "-2+3+cmd|' /C calc'!A0",
    "at": "@SUM(1+1)",
    "script": "</script><script>alert(1)</script>",
    "attribute": "\" onmouseover='x' a=\"",
    "input": r"\input{/etc/passwd}",
    "pipes": "| a | b",
    "lines": "one\n| two |\r\n# three",
    "specials": "$x_1%&#{}~^\\",
    "backslash pipe": "a\\|b",
    "optional": "[b]",
    "star": "*a*",
    "dashes": "a---b",
    "link": "![x](http://a.b) www.a.b <http://a.b>",
    "entity": "&lt;b&gt;",
    "control": "a\x00\x0bb",
    "Chinese": "义乌“小商品”",
}
LED = Table(
    "Claims",
    "claims",
    [[HeaderCell("Claim"), HeaderCell("See")]],
    [
        body("c", Links((Link(Text("Table A", "表A"), "one"), Link(Text("<B>", "图A"), "one", figure=True)))),
        body("d", Links(())),
    ],
)
NAMES = [pytest.param(text, id=name) for name, text in HOSTILE.items()]


def plain(text):
    """What a reader should see: the text on one line."""
    return shown(text, EN).text


def table_of(text):
    return Table(
        title=text,
        key="hostile",
        header=([HeaderCell(), HeaderCell(text, 2)], [HeaderCell(text), HeaderCell(text), HeaderCell("n")]),
        rows=[section(text), body(text, text, Number(-1.5, 2, 2))],
        notes=["First.", text],
    )


@pytest.fixture
def table():
    return Table(
        title=Text("Estimates", "估计结果"),
        key="estimates",
        header=(
            [HeaderCell(), HeaderCell("SDM", 2)],
            [HeaderCell(Text("Variable", "变量")), HeaderCell("(1)"), HeaderCell("(2)")],
        ),
        rows=[
            section("X"),
            body(Text("Talent", "人才"), Number(-0.12345, 3, 3), Number(math.nan, 3, 3)),
            body("", Number(0.04, 3, 0, "paren"), None),
            RULE,
            body(Text("Units", "地区数"), 11, Text("n.c.", "未收敛")),
        ],
        notes=[Text("Standard errors.", "标准误。")],
    )


GRID_EN = [
    ["Talent", "−0.123***", "–"],
    ["", "(0.040)", "–"],
    ["Units", "11", "n.c."],
]


# CSV


def read_csv(data):
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def test_csv_is_read_back(table):
    data = markup.render_csv(table, EN)
    assert data.startswith(b"\xef\xbb\xbf")
    rows = read_csv(data)
    assert rows[0] == ["Variable", "SDM: (1)", "SDM: (2)"]
    assert rows[1] == ["X", "", ""]
    assert rows[2:] == [[cell.replace("−", "-") for cell in row] for row in GRID_EN]


def test_csv_in_chinese(table):
    assert read_csv(markup.render_csv(table, ZH))[2][0] == "人才"


@pytest.mark.parametrize("name", NAMES)
def test_csv_never_holds_a_formula(name):
    rows = read_csv(markup.render_csv(table_of(name), EN))
    assert all(len(row) == 3 for row in rows)
    assert rows[2][0].lstrip("'") == plain(name)
    for cell in (cell for row in rows for cell in row):
        assert cell[:1] not in set("=+@＝＋－＠\t\r\n")
        assert cell[:1] != "-" or re.fullmatch(r"-\d+\.\d+\**", cell)


@pytest.mark.parametrize("text", ["-5", "-0.25", "+3", "-1.5e-3", "-12%"])
def test_csv_leaves_numbers_in_text_alone(text):
    assert markup.harmless(text) == text


# Excel


def read_xlsx(data):
    return openpyxl.load_workbook(io.BytesIO(data)).active


def test_xlsx_holds_numbers(table):
    sheet = read_xlsx(excel.render(table, EN))
    rows = [[cell.value for cell in row] for row in sheet.iter_rows()]
    assert rows[0][0] == "Estimates"
    assert rows[4] == ["Talent", -0.12345, "–"]
    assert rows[5] == [None, 0.04, "–"]
    assert rows[6] == ["Units", 11, "n.c."]
    assert rows[7][0] == "Notes: Standard errors."
    assert "B2:C2" in {str(merged) for merged in sheet.merged_cells.ranges}


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (Number(0.5, 2), '0.00;"−"0.00'),
        (Number(1.6, 0), '0;"−"0'),
        (Number(-0.5, 2, 2), '0.00"**";"−"0.00"**"'),
        (Number(0.5, 3, 1, "paren"), '"("0.000")*";"(−"0.000")*"'),
        (Number(1e-7, 3), '0.0E+00;"−"0.0E+00'),
        (Number(1e-7, 3, notation="p_value"), '"<0.001"'),
    ],
)
def test_xlsx_number_format(number, code):
    assert excel.number_format(number, EN) == code


def test_xlsx_rules(table):
    sheet = read_xlsx(excel.render(table, EN))
    assert [sheet[f"A{i}"].border.top.style for i in (2, 4)] == ["medium", None]
    assert [sheet[f"A{i}"].border.bottom.style for i in (2, 3, 6, 7)] == [None, "thin", "thin", "medium"]


@pytest.mark.parametrize("name", NAMES)
def test_xlsx_never_holds_a_formula(name):
    sheet = read_xlsx(excel.render(table_of(name), EN))
    cells = [cell for row in sheet.iter_rows() for cell in row if cell.value is not None]
    assert {cell.data_type for cell in cells} <= {"s", "n"}
    found = [cell for cell in cells if cell.value == plain(name)]
    assert len(found) == 8  # title, three headings, section, two cells, note
    if plain(name)[0] in "=+-@":
        assert all(cell.quotePrefix for cell in found)


# Word


def read_docx(data):
    document = docx.Document(io.BytesIO(data))
    return document, document.tables[0]


def edge(cell, side):
    borders = cell._tc.find(f"{qn('w:tcPr')}/{qn('w:tcBorders')}/{qn(f'w:{side}')}")
    return None if borders is None else int(borders.get(qn("w:sz")))


def test_docx_is_read_back(table):
    document, grid = read_docx(word.render(table, EN))
    rows = [[cell.text for cell in row.cells] for row in grid.rows]
    assert rows[0] == ["", "SDM", "SDM"]
    assert rows[1] == ["Variable", "(1)", "(2)"]
    assert rows[2] == ["X"] * 3
    assert rows[3:] == GRID_EN
    assert document.paragraphs[0].text == "Estimates"
    assert document.paragraphs[-1].text == "Notes: Standard errors."


def test_docx_has_three_lines_and_no_vertical_ones(table):
    _, grid = read_docx(word.render(table, EN))
    tops = [edge(row.cells[1], "top") for row in grid.rows]
    bottoms = [edge(row.cells[1], "bottom") for row in grid.rows]
    assert tops == [12, None, None, None, None, None]
    assert bottoms == [None, 6, None, None, 6, 12]
    xml = grid._tbl.xml
    assert not re.search(r"<w:(left|right|start|end|insideV|insideH) w:val", xml)
    assert grid._tbl.tblPr.find(qn("w:tblBorders")) is None


def test_docx_rows_repeat_and_do_not_break(table):
    _, grid = read_docx(word.render(table, EN))
    flags = [
        (tr.find(f"{qn('w:trPr')}/{qn('w:tblHeader')}"), tr.find(f"{qn('w:trPr')}/{qn('w:cantSplit')}"))
        for tr in grid._tbl.tr_lst
    ]
    assert [head is not None for head, _ in flags] == [True, True, False, False, False, False]
    assert all(whole is not None for _, whole in flags)
    # A table that has room on one page is not broken, and its notes stay with it.
    assert all(row.cells[1].paragraphs[0].paragraph_format.keep_with_next for row in grid.rows)


def kept_rows(table):
    """Of a long table in Word: whether a row stays with what follows."""
    _, grid = read_docx(word.render(table, EN))
    return [bool(row.cells[1].paragraphs[0].paragraph_format.keep_with_next) for row in grid.rows[1:]]


def test_docx_no_page_begins_with_the_notes_alone():
    header = ([HeaderCell("a"), HeaderCell("b")],)
    rows = [body(f"x{i}", i) for i in range(100)]
    assert kept_rows(Table("T", "t", header, rows, notes=["N."])) == [False] * 92 + [True] * 8
    assert not kept_rows(Table("T", "t", header, rows))[-1]


def test_chinese_headings_inside_a_table_are_not_slanted():
    header = ([HeaderCell("a"), HeaderCell("b")],)
    rows = [section("直接效应"), body("x", 1), section("Direct"), body("x", 1)]
    _, grid = read_docx(word.render(Table("T", "t", header, rows), EN))
    fonts = [grid.rows[i].cells[0].paragraphs[0].runs[0].font for i in (1, 3)]
    assert [bool(font.italic) for font in fonts] == [False, True]
    assert [
        r"\textit{" in line for line in latex.render(Table("T", "t", header, rows), EN).splitlines()
    ].count(True) == 1


def test_quotation_marks_of_documents_are_alike():
    table = Table('Moran\'s "I"', "t", ([HeaderCell("a")],), [body("x")], notes=["“Cells” of Huai'an"])
    document, _ = read_docx(word.render(table, EN))
    said = [document.paragraphs[0].text, document.paragraphs[-1].text]
    assert said == ["Moran’s “I”", "Notes: “Cells” of Huai’an"]
    assert "Moran’s “I”" in latex.render(table, EN)


def test_thousands_are_set_apart_but_not_in_csv():
    table = Table("T", "t", ([HeaderCell("a"), HeaderCell("b")],), [body(2007, Number(259479.0, 0))])
    assert [cell.text for cell in read_docx(word.render(table, EN))[1].rows[1].cells] == ["2007", "259,479"]
    assert read_csv(markup.render_csv(table, EN))[1] == ["2007", "259479"]
    assert excel.number_format(Number(259479.0, 0), EN).startswith("#,##0")


def test_docx_fonts_are_named_for_both_scripts(table):
    document, _ = read_docx(word.render(table, ZH))
    for name in ("Normal", "Caption"):
        fonts = document.styles[name].element.rPr.rFonts
        assert fonts.get(qn("w:ascii")) == "Times New Roman"
        assert fonts.get(qn("w:eastAsia")) == "宋体"


def test_lines_of_a_row_stand_level_whatever_their_script(table):
    """Chinese and Latin lines have different heights: Word gets one for all, Excel the middle of the row."""
    _, grid = read_docx(word.render(table, ZH))
    assert (
        len({cell.paragraphs[0].paragraph_format.line_spacing for row in grid.rows for cell in row.cells})
        == 1
    )
    sheet = read_xlsx(excel.render(table, ZH))
    body = [cell.alignment.vertical for row in sheet["A5:C7"] for cell in row]
    assert set(body) == {"center"}
    long = excel.render(table_of("很长的名字" * 20), ZH)
    assert "top" in {cell.alignment.vertical for row in read_xlsx(long)["A3:B6"] for cell in row}


def test_docx_stars_are_raised(table):
    _, grid = read_docx(word.render(table, EN))
    runs = grid.rows[3].cells[1].paragraphs[0].runs
    assert [(run.text, bool(run.font.superscript)) for run in runs] == [("−0.123", False), ("***", True)]


def test_docx_children_are_in_the_order_of_the_schema(table):
    _, grid = read_docx(word.render(table, EN))
    orders = {
        "tblPr": "tblStyle tblW jc tblLayout tblCellMar tblLook tblCaption",
        "tcPr": "tcW gridSpan vMerge tcBorders vAlign",
        "pPr": "pStyle keepNext keepLines pBdr spacing ind jc rPr",
    }
    for tag, order in orders.items():
        for element in grid._tbl.iter(qn(f"w:{tag}")):
            names = [child.tag.split("}")[1] for child in element]
            assert names == sorted(names, key=order.split().index)


@pytest.mark.parametrize(("columns", "landscape"), [(3, False), (16, True)])
def test_docx_turns_wide_tables(columns, landscape):
    head = [HeaderCell("Variable"), *(HeaderCell("x") for _ in range(columns))]
    wide = Table("T", "t", (head,), [body("x", *(Number(-0.123, 3, 3) for _ in range(columns)))])
    page = read_docx(word.render(wide, EN))[0].sections[0]
    assert (page.page_width > page.page_height) == landscape


@pytest.mark.parametrize("name", NAMES)
def test_docx_says_hostile_names_as_they_are(name):
    document, grid = read_docx(word.render(table_of(name), EN))
    assert grid.rows[3].cells[0].text == typeset(plain(name))
    assert document.paragraphs[0].text == typeset(plain(name))
    assert {"hyperlink", "fldSimple", "instrText", "object"}.isdisjoint(
        element.tag.split("}")[-1] for element in document.element.iter()
    )


# HTML


class Reader(HTMLParser):
    """Collect tags, attributes and the text of cells."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.cells = [], set(), []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag in ("td", "th", "caption"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data.rstrip("\n")


def test_html_is_semantic(table):
    page = markup.render_html(table, ZH)
    assert '<html lang="zh-CN">' in page
    assert "<caption>估计结果</caption>" in page
    assert '<th scope="colgroup" class="c" colspan="2"><span>SDM</span></th>' in page
    assert '<th scope="row" class="l">人才</th><td class="c">−0.123<sup>***</sup></td>' in page
    assert page.count("<tbody") == page.count("</tbody>") == 2


def test_html_allows_its_own_style_sheet_only(table):
    page = markup.render_html(table, EN)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    assert style == markup.CSS
    assert f"default-src 'none'; style-src 'sha256-{markup._HASH}'" in page
    assert "style=" not in page


@pytest.mark.parametrize("name", NAMES)
def test_html_says_hostile_names_as_they_are(name):
    reader, tame = (Reader(markup.render_html(table_of(text), EN)) for text in (name, "tame"))
    assert reader.tags == tame.tags
    assert reader.attributes == tame.attributes
    assert reader.cells.count(plain(name)) == 7  # caption, three headings, section, two cells


# Markdown


@pytest.mark.parametrize("name", NAMES)
def test_markdown_says_hostile_names_as_they_are(name):
    renderer = MarkdownIt("commonmark", {"html": True}).enable("table")
    page = renderer.render(markup.render_markdown(table_of(name), EN))
    reader, tame = (
        Reader(text) for text in (page, renderer.render(markup.render_markdown(table_of("tame"), EN)))
    )
    assert reader.tags == tame.tags
    assert reader.attributes == tame.attributes
    assert reader.cells[-3:-1] == [plain(name)] * 2
    assert "http://" not in markup.render_markdown(table_of(name), EN)  # GitHub would make a link


def test_markdown_is_read_back(table):
    page = MarkdownIt("commonmark").enable("table").render(markup.render_markdown(table, EN))
    cells = [cell.strip() for cell in Reader(page).cells]
    assert cells[3:6] == ["X", "", ""]
    assert cells[6:12] == [*GRID_EN[0], *GRID_EN[1]]
    assert "<br>" in markup.render_markdown(table, EN).splitlines()[2]


# LaTeX


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("$x_1%&#", r"\$x\_1\%\&\#"),
        ("~^", r"\textasciitilde{}\textasciicircum{}"),
        ("[*]", "{[}{*}{]}"),
        ("a---b", "a-{}-{}-b"),
        ("−0.1", "$-$0.1"),
        ("W × ρ σ²", r"W $\times$ $\rho$ $\sigma$${}^{2}$"),
        ("λΣ", r"$\lambda$$\Sigma$"),
        ("杭州", "杭州"),
    ],
)
def test_latex_escape(text, code):
    assert latex.escape(text) == code


@pytest.mark.parametrize("name", NAMES)
def test_latex_keeps_the_same_commands_and_columns(name):
    """Without what escaping itself adds, a hostile table has the commands of a tame one."""
    harmless = re.compile(r"\\(text[a-z]+|[&%$#_{}])(\{\})?")

    def skeleton(text):
        code = harmless.sub("", latex.render(table_of(text), EN))
        size = re.compile(
            r"\\(small|footnotesize|scriptsize|tiny)\b|p\{[\d.]+\\linewidth\}|\\raggedright|\\arraybackslash"
            r"|\\parbox\[[bt]\]\{[\d.]+em\}(\{\\centering|\{\\raggedleft)?"
        )
        return re.findall(r"\\[a-zA-Z]+|\\\\|&", size.sub("", code))

    assert skeleton(name) == skeleton("tame")


def test_latex_layout(table):
    code = latex.render(table, EN)
    assert r" & \multicolumn{2}{c}{SDM} \\" in code
    assert r"\cmidrule(lr){2-3}" in code
    assert r"Talent & $-$0.123$^{***}$ & – \\" in code
    assert [code.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 2, 1]
    assert r"\label{tab:estimates}" in code
    assert "\nNotes: Standard errors.\\par\n" in code


def test_latex_headings_and_words_among_numbers_take_more_lines():
    heading = "GS2SLS: Industry agglomeration (log LQ, manufacturing)"
    header = ([HeaderCell("Variable"), *[HeaderCell(heading)] * 6],)
    rows = [body("a", *[1] * 6), body("Weights", *["Queen contiguity (row-normalised)"] * 6)]
    code = latex.render(Table("T", "t", header, rows), EN)
    assert len(re.findall(rf"\\parbox\[b\]{{[\d.]+em}}{{\\centering {re.escape(heading)}}}", code)) == 6
    assert (
        len(re.findall(r"\\parbox\[t\]{[\d.]+em}{\\centering Queen contiguity \(row-normalised\)}", code))
        == 6
    )
    assert "parbox" not in latex.render(Table("T", "t", ([HeaderCell("a"), HeaderCell("b")],), rows[:0]), EN)


def test_numbers_stand_next_to_their_errors_below_a_long_name(table):
    """``table`` has standard errors below its estimates; a table without them keeps all cells at the top."""
    from docx.enum.table import WD_ALIGN_VERTICAL

    _, grid = read_docx(word.render(table, EN))
    lines = grid.rows
    low = [line.cells[1].vertical_alignment == WD_ALIGN_VERTICAL.BOTTOM for line in lines]
    following = [not line.cells[0].text for line in lines[1:]]
    levels = len(table.header)
    assert low[levels:-1] == following[levels:]
    assert any(low[levels:])
    assert not low[-1]
    assert markup.render_html(table, EN).count('<tr class="low">') == sum(low[levels:])
    plain = Table("T", "t", ([HeaderCell("a"), HeaderCell("b")],), [body("x", 1), body("y", 2)])
    assert '<tr class="low">' not in markup.render_html(plain, EN)


def test_latex_long_tables_run_over_pages():
    code = latex.render(
        Table("T", "t", ([HeaderCell("a"), HeaderCell("b")],), [body("x", i) for i in range(200)]), EN
    )
    assert code.count(r"\begin{longtable}") == 1
    assert r"\begin{table}" not in code


def test_latex_notes_of_a_long_table_stay_with_its_last_rows():
    header = ([HeaderCell("a"), HeaderCell("b")],)
    code = latex.render(Table("T", "t", header, [body("x", i) for i in range(200)], notes=["N."]), EN)
    end = code[: code.index(r"\end{longtable}")].splitlines()
    assert r"\footnotesize\strut Notes: N." in end[-1]
    assert [line.endswith(r"\\*") for line in end[-11:-2]] == [False] * 3 + [True] * 6


def test_latex_does_not_part_a_number_from_its_error_nor_a_heading_from_its_rows():
    rows = [row for i in range(60) for row in (section(f"s{i}"), body(f"x{i}", i), body("", "(0.1)"))]
    code = latex.render(Table("T", "t", ([HeaderCell("a"), HeaderCell("b")],), rows), EN)
    lines = code[code.index(r"\endhead") :].splitlines()[1:]
    ends = {
        kind: {line.endswith(r"\\*") for line in lines[:-12] if mark in line}
        for kind, mark in (("heading", "{s"), ("number", "x"), ("error", "(0.1)"))
    }
    assert ends == {"heading": {True}, "number": {True}, "error": {False}}


def test_a_table_that_has_no_room_is_parted_below_its_headings():
    header = (
        [HeaderCell(), *[HeaderCell(f"W{i}", 3) for i in range(8)]],
        [HeaderCell(c) for c in "v" + "Izp" * 8],
    )
    wide = Table("T", "t", header, [section("S"), body("x", *[Number(-0.1234, 3, 3) for _ in range(24)])])
    parts = column_parts(wide, lambda part: part.n_columns <= 10)
    assert [part.n_columns for part in parts] == [10, 10, 7]
    assert [[cell.text for cell in part.header[0]] for part in parts] == [
        ["", "W0", "W1", "W2"],
        ["", "W3", "W4", "W5"],
        ["", "W6", "W7"],
    ]
    assert [len(part.rows[1].cells) for part in parts] == [10, 10, 7]
    alone = column_parts(wide, lambda part: part.n_columns <= 3)
    assert [part.n_columns for part in alone] == [3, 2] * 8
    assert sum(part.n_columns - 1 for part in alone) == 24
    code = latex.render(wide, EN)
    assert code.count(r"\begin{tabular}") == 4
    assert code.count(r"\caption{") == 1


def shapes():
    """Tables that are wide, long, both, and with much to say below."""
    numbers = [Number(-0.1234, 3, 3) for _ in range(36)]
    name = Text("Talent agglomeration (log LQ, scientific research)", "人才集聚（科研技术服务业区位熵对数）")
    notes = [
        Text("Standard errors in parentheses, clustered by unit. " * 9, "括号内为按地区聚类的标准误。" * 25)
    ]
    three = [HeaderCell(Text("No effects", "无固定效应"), 3)] * 12
    for columns in (3, 9, 18, 36):
        header = (
            [HeaderCell(), *three[: columns // 3]],
            [HeaderCell(Text("Direct", "直接效应"))] * (columns + 1),
        )
        for lines in (6, 50):
            rows = [
                row
                for _ in range(lines // 2)
                for row in (body(name, *numbers[:columns]), body("", *numbers[:columns]))
            ]
            yield Table(name, f"t{columns}-{lines}", header, [section(name), *rows], notes=notes)
    words = [
        HeaderCell(Text("GS2SLS: Industry agglomeration (manufacturing)", "GS2SLS：产业集聚（制造业区位熵）"))
    ] * 9
    yield Table(
        "T",
        "words",
        (words,),
        [body(*[Text("Queen contiguity (row-normalised)", "邻接（Queen）（行标准化）")] * 9)],
    )


def test_latex_parts_of_a_long_table_take_one_number():
    """Every longtable counts up: the second part of table 6 made the next one table 8."""
    words = [HeaderCell("Talent agglomeration, sub-samples of Zhejiang")] * 12
    wide = Table("T", "t", (words,), [body(*[Number(-0.1234, 3, 3)] * 12) for _ in range(70)])
    code = latex.render(wide, EN)
    parts = code.count(r"\begin{longtable}")
    assert parts > 1
    assert code.count(r"\addtocounter{table}{-1}") == parts - 1


def test_latex_columns_below_a_shared_heading_of_a_long_table_are_as_wide_as_planned():
    """At its first run longtable adds the width of a shared heading to the last column below it: 36 points too much."""
    header = (
        [HeaderCell(), HeaderCell("Industry agglomeration: Yangtze River Delta", 3)],
        [HeaderCell(c) for c in "vDIT"],
    )
    rows = [body("x", *[Number(-0.465, 3, 3)] * 3) for _ in range(90)]
    code = latex.render(Table("T", "t", header, rows), EN)
    assert re.search(r"\\begin\{longtable\}\{@\{\}lw\{[rc]\}\{[\d.]+em\}w\{[rc]\}\{[\d.]+em\}w\{[rc]\}", code)
    short = latex.render(Table("T", "t", header, rows[:3]), EN)
    assert "w{" not in short


@pytest.mark.parametrize(("style", "size"), [(EN, 12), (ZH, 11)], ids=["en", "zh"])
def test_latex_tables_fit_the_page(tmp_path, style, size):
    """At 12 points one and a half spaced and, in Chinese, at 11: nothing runs off a page, no type below footnotesize."""
    packages = "booktabs,array,rotating,longtable" + (",ctex" if style is ZH else ",setspace")
    lines = [rf"\documentclass[{size}pt,a4paper]{{article}}", rf"\usepackage{{{packages}}}"]
    lines += [
        r"\usepackage[margin=2.5cm]{geometry}",
        r"\begin{document}",
        "" if style is ZH else r"\onehalfspacing",
    ]
    codes = [latex.render(table, style) for table in shapes()]
    assert not re.search(r"\\(scriptsize|tiny)", "".join(codes))
    log = compiled(tmp_path, [*lines, *codes, r"\end{document}"])
    assert re.findall(r"(?:Float too large|Overfull .hbox).*", log) == []


def compiled(folder, lines):
    """The log of xelatex; skipped where it or a package is not installed."""
    if not shutil.which("xelatex"):
        pytest.skip("xelatex is not installed")
    (folder / "t.tex").write_text("\n".join(lines), encoding="utf-8")
    command = ["xelatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "t.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    log = done.stdout.decode(errors="replace")
    if re.search(r"File `[^']+' not found", log):
        pytest.skip("a LaTeX package is not installed")
    assert done.returncode == 0, log[-2000:]
    return (folder / "t.log").read_text(encoding="utf-8", errors="replace")


@pytest.mark.parametrize("style", [EN, ZH, TableStyle(language="both")], ids=lambda style: style.language)
def test_latex_compiles(tmp_path, table, style):
    """Under xelatex, with ctex where there is Chinese; every character has a glyph."""
    chinese = style is not EN
    packages = "booktabs,array,rotating,longtable" + (",ctex" if chinese else "")
    hostile = [name for name in HOSTILE.values() if chinese or name.isascii()]
    long = Table("T", "t", ([HeaderCell("a"), HeaderCell("b")],), [body("x", i) for i in range(90)])
    lines = [r"\documentclass{article}", rf"\usepackage{{{packages}}}", r"\begin{document}"]
    lines += [latex.render(item, style) for item in (table, long, *map(table_of, hostile))]
    assert "Missing character" not in compiled(tmp_path, [*lines, r"\end{document}"])


# All


@pytest.mark.parametrize("language", ["en", "zh", "both"])
def test_same_table_same_bytes(tmp_path, table, language, monkeypatch):
    style = TableStyle(language=language)
    first = {path.suffix: path.read_bytes() for path in write_table(table, tmp_path, style=style)}
    assert set(first) == {f".{name}" for name in FORMATS}
    later = time.time() + 90_000
    monkeypatch.setattr(time, "time", lambda: later)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(later))
    again = {path.suffix: path.read_bytes() for path in write_table(table, tmp_path, style=style)}
    assert again == first


@pytest.mark.parametrize("name", FORMATS)
def test_a_table_without_rows_or_notes_is_written(tmp_path, name):
    empty = Table("T", "t", ([HeaderCell("a")],), [])
    assert write_table(empty, tmp_path, formats=[name])[0].stat().st_size > 0


# Journals


def test_a_journal_is_a_set_of_settings_that_can_be_changed_one_by_one():
    assert journal_style("aea").stars is False
    assert journal_style("t_ratios", digits=2, language="zh") == TableStyle("zh", 2, errors="t")
    assert journal_style("aea", stars=True) == TableStyle()
    with pytest.raises(SpecificationError, match="journal must be one of default, aea"):
        journal_style("nature")


def test_word_names_simplified_chinese_so_that_a_substitute_font_has_its_characters(tmp_path, table):
    (path,) = write_table(table, tmp_path, "docx", ZH)
    styles = zipfile.ZipFile(path).read("word/styles.xml").decode()
    normal = styles[styles.index('w:styleId="Normal"') :].split("</w:style>")[0]
    assert 'w:eastAsia="zh-CN"' in normal


def test_links_are_words_everywhere_and_anchors_where_a_page_has_the_exhibit():
    for style, said in ((EN, "Table A, <B>"), (ZH, "表A、图A")):
        assert [shown(row.cells[1], style).text for row in LED.rows] == [said, "–"]
        assert said in markup.render_csv(LED, style).decode("utf-8-sig")
        assert "<a" not in markup.render_html(LED, style)
    page = markup.fragment(LED, EN, {"table-one", "table-two"})
    assert '<a href="#table-one">Table A</a>, &lt;B&gt;' in page
    assert page.count("<a ") == 1
