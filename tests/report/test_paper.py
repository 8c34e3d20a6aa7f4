"""A paper and the index of a folder: numbered, escaped, whole."""

from __future__ import annotations

import io
import shutil
import subprocess

import pytest
from docx import Document
from PIL import Image

from spatial_zb.base.text import Text
from spatial_zb.report.page.html import render_index
from spatial_zb.report.paper import Exhibit, Heading, Paper, Plate, Words, render_latex, render_word
from spatial_zb.report.tables.table import HeaderCell, Table, TableStyle, body

HOSTILE = r"\input{x} <w:b/> & 100% $x_1$ \end{document}"


def png():
    stream = io.BytesIO()
    Image.new("RGB", (400, 300), "white").save(stream, "png")
    return stream.getvalue()


def paper(language="en", columns=3):
    style = TableStyle(language=language)
    header = ([HeaderCell("a")] + [HeaderCell("b")] * (columns - 1),)
    tables = [
        Table(Text(HOSTILE, HOSTILE), f"t{i}", header, [body(HOSTILE, *[1] * (columns - 1))]) for i in (1, 2)
    ]
    blocks = (
        Heading(HOSTILE),
        Words(HOSTILE),
        Exhibit(tables[0], style),
        Exhibit(title=HOSTILE, plate=Plate(png(), "figures/a_b.png")),
        Exhibit(tables[1], style),
        Words(HOSTILE, "reference"),
    )
    return Paper(HOSTILE, HOSTILE, language, blocks)


@pytest.mark.parametrize(("language", "first"), [("en", "Table 1. "), ("zh", "表1 ")])
def test_word_numbers_tables_and_figures_and_says_words_as_they_are(language, first):
    document = Document(io.BytesIO(render_word(paper(language))))
    texts = [p.text for p in document.paragraphs]
    captions = [text for text in texts if text.startswith(("Table ", "Figure ", "表", "图"))]
    assert captions[0] == first + HOSTILE
    assert [text[: len(first)].strip(" .")[-1] for text in captions] == ["1", "1", "2"]
    assert len(document.inline_shapes) == 1
    assert len(document.tables) == 2
    assert render_word(paper(language)) == render_word(paper(language))


def test_a_wide_table_lies_on_pages_of_its_own():
    sections = Document(io.BytesIO(render_word(paper(columns=18)))).sections
    assert [s.page_width > s.page_height for s in sections] == [False, True, False, True, False]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_latex_compiles_whatever_the_words_are(tmp_path, language):
    code = render_latex(paper(language))
    assert code.count(r"\begin{document}") == code.count("\n\\end{document}") == 1
    if not shutil.which("xelatex"):
        pytest.skip("xelatex is not installed")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a_b.png").write_bytes(png())
    (tmp_path / "paper.tex").write_text(code, encoding="utf-8")
    command = ["xelatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    log = done.stdout.decode(errors="replace")
    if "not found" in log and ".sty" in log:
        pytest.skip("a LaTeX package is not installed")
    assert done.returncode == 0, log[-1500:]


def test_a_long_table_in_latex_waits_for_floats_and_begins_with_room(tmp_path):
    style = TableStyle(language="en")
    long = Table("Long", "l", ([HeaderCell("a")],), [body(str(i)) for i in range(90)])
    blocks = [*paper().blocks, Exhibit(long, style), Words("Behind.")]
    code = render_latex(Paper("T", "l", "en", tuple(blocks)))
    assert code.count("\n\\beforelong\n") == 1
    assert code.index("\n\\beforelong\n") < code.index(r"\begin{longtable}")
    assert code.index(r"\newcommand{\beforelong}") < code.index(r"\begin{document}")


def test_the_index_has_a_line_for_every_file_and_no_markup_of_names():
    files = [
        "index<b>.txt",
        "paper.docx",
        "paper.zh.docx",
        "tables/en/t_1.csv",
        "tables/zh/t_1.csv",
        "tidy/a b.csv",
    ]
    text = render_index(Text("<i>Study", "研究"), files, {"t_1": Text("A <b>table", "表")})
    assert "<i>" not in text
    assert "<b>" not in text
    assert "A &lt;b&gt;table · 表" in text
    assert 'href="tables/zh/t_1.csv">zh csv</a>' in text
    assert 'href="tidy/a%20b.csv"' in text
    assert text.count("<li>") == 4
    assert "<script" not in text
