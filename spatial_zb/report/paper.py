"""A paper without any format, numbered tables and figures in their order, and its two writers: Word and LaTeX.

A writer escapes all words for its format. A table is that of :mod:`spatial_zb.report.tables`, a figure the file that the
study has written.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from spatial_zb.base.text import Language, Text
from spatial_zb.report.drawing.style import save_figure
from spatial_zb.report.files import slug
from spatial_zb.report.tables.table import Table, TableStyle
from spatial_zb.report.tables.text import clean, is_chinese, same_bytes, typeset

if TYPE_CHECKING:
    from docx.document import Document as Doc
    from docx.shared import Length
    from docx.text.paragraph import Paragraph
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Plate:
    """A figure as a paper takes it: ``png`` to be embedded, and the ``path`` of its file from the folder of the paper."""

    png: bytes
    path: str


@dataclass(frozen=True, slots=True)
class Heading:
    """The title of a part."""

    text: str


@dataclass(frozen=True, slots=True)
class Words:
    """A paragraph: of the text, of a list, or below it."""

    text: str
    kind: Literal["text", "item", "reference"] = "text"


@dataclass(frozen=True, eq=False)
class Exhibit:
    """A table with its style, or a figure with its title; both are numbered by their order."""

    table: Table | None = None
    style: TableStyle | None = None
    title: str = ""
    plate: Plate | None = None


@dataclass(frozen=True, eq=False)
class Paper:
    """Title, a line below it, and the parts in their order."""

    title: str
    line: str
    language: Language
    blocks: tuple[Heading | Words | Exhibit, ...]


#: Before the number of a table, and of a figure.
TABLE, FIGURE = Text("Table ", "表"), Text("Figure ", "图")


def plate_of(figure: Figure, folder: Path, stem: str, formats: Sequence[str], place: Path) -> Plate:
    """A drawn figure for a paper in ``place``; a file that the study does not write is added: LaTeX takes no other.

    ``folder`` has the figures that were written in ``formats``.
    """
    suffix = next((suffix for suffix in ("pdf", "png") if suffix in formats), "pdf")
    path, embedded = folder / f"{slug(stem)}.{suffix}", folder / f"{slug(stem)}.png"
    if not path.is_file():
        save_figure(figure, folder, stem, (suffix,))
    if embedded.is_file():
        return Plate(embedded.read_bytes(), path.relative_to(place).as_posix())
    with tempfile.TemporaryDirectory() as temporary:
        (png,) = save_figure(figure, temporary, stem, ("png",))
        return Plate(png.read_bytes(), path.relative_to(place).as_posix())


# -- Word ------------------------------------------------------------------------------------------------------

#: Widest and highest figure on an A4 page, in centimetres.
_ACROSS, _DOWN = 16.0, 20.0
#: Size of type: of the text and of the notes.
_BODY, _SMALL = 11.0, 9.5


def render_word(paper: Paper) -> bytes:
    """A Word document: figures and tables stand where they are named, wide tables on pages of their own that lie."""
    from docx.enum.text import WD_ALIGN_PARAGRAPH
    from docx.shared import Pt

    from spatial_zb.report.tables.writers import word

    document = word.new_document(title=paper.title)
    _title(document, paper)
    numbers = {TABLE: 0, FIGURE: 0}
    for block in paper.blocks:
        if isinstance(block, Heading):
            _styled(document, block.text, "Heading 1", Pt(13), bold=True)
        elif isinstance(block, Words):
            small = block.kind != "text"
            paragraph = _styled(document, block.text, None, Pt(_SMALL if small else _BODY))
            paragraph.paragraph_format.line_spacing = 1.0 if small else 1.5
            if block.kind == "reference":
                paragraph.paragraph_format.left_indent = Pt(18)
                paragraph.paragraph_format.first_line_indent = Pt(-18)
        elif block.table is not None and block.style is not None:
            numbers[TABLE] += 1
            title = _numbered(
                TABLE, numbers[TABLE], Text.of(block.table.title).pick(paper.language), paper.language
            )
            word.add_on_page(document, replace(block.table, title=title), block.style)
        elif block.plate is not None:
            numbers[FIGURE] += 1
            _picture(document, block.plate.png)
            title = _numbered(FIGURE, numbers[FIGURE], block.title, paper.language)
            caption = _styled(document, title, "Caption", Pt(10.5), bold=True)
            caption.paragraph_format.alignment = WD_ALIGN_PARAGRAPH.CENTER
            caption.paragraph_format.space_after = Pt(12)
    _page_numbers(document)
    stream = io.BytesIO()
    document.save(stream)
    return same_bytes(stream.getvalue())


def _numbered(kind: Text, number: int, title: str, language: Language) -> str:
    return f"{kind.pick(language)}{number}{'. ' if language == 'en' else ' '}{title}"


def _title(document: Doc, paper: Paper) -> None:
    from docx.enum.text import WD_ALIGN_PARAGRAPH
    from docx.shared import Pt

    for text, size, bold in ((paper.title, 16, True), (paper.line, _BODY, False)):
        paragraph = _styled(document, text, None, Pt(size), bold=bold)
        paragraph.paragraph_format.alignment = WD_ALIGN_PARAGRAPH.CENTER


def _styled(document: Doc, text: str, style: str | None, size: Length, *, bold: bool = False) -> Paragraph:
    """A paragraph in black, upright and in the fonts of the document, whatever the style of Word says."""
    from docx.shared import Pt, RGBColor

    from spatial_zb.report.tables.writers import word

    paragraph = document.add_paragraph(style=style)
    run = paragraph.add_run(typeset(clean(text)))
    run.bold, run.italic, run.font.size = bold, False, size
    run.font.color.rgb = RGBColor(0, 0, 0)
    word.name_fonts(run._r.get_or_add_rPr())
    paragraph.paragraph_format.space_after = Pt(6)
    paragraph.paragraph_format.keep_with_next = style == "Heading 1" or None
    return paragraph


def _picture(document: Doc, png: bytes) -> None:
    """Within the page, and on that of its caption."""
    from docx.enum.text import WD_ALIGN_PARAGRAPH
    from docx.shared import Cm

    paragraph = document.add_paragraph()
    paragraph.paragraph_format.alignment = WD_ALIGN_PARAGRAPH.CENTER
    paragraph.paragraph_format.keep_with_next = True
    picture = paragraph.add_run().add_picture(io.BytesIO(png), width=Cm(_ACROSS))
    if picture.height > Cm(_DOWN):
        picture.width, picture.height = round(picture.width * Cm(_DOWN) / picture.height), Cm(_DOWN)


def _page_numbers(document: Doc) -> None:
    """The number of the page in the middle of its foot; all sections share it."""
    from docx.enum.text import WD_ALIGN_PARAGRAPH
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn

    paragraph = document.sections[0].footer.paragraphs[0]
    paragraph.alignment = WD_ALIGN_PARAGRAPH.CENTER
    field = OxmlElement("w:fldSimple")
    field.set(qn("w:instr"), "PAGE")
    paragraph._p.append(field)


# -- LaTeX -----------------------------------------------------------------------------------------------------

#: A long table would overtake floats that wait, and its number theirs; and it does not begin on the last lines of a page.
_BEFORE_LONG = r"""\makeatletter
\newcommand{\beforelong}{\par\begingroup\let\@elt\relax\edef\waiting{\@botlist\@deferlist}%
  \ifx\waiting\@empty\ifdim\dimexpr\pagegoal-\pagetotal<0.35\textheight\clearpage\fi\else\clearpage\fi\endgroup}
\makeatother"""


def render_latex(paper: Paper) -> str:
    """A LaTeX document for XeLaTeX or LuaLaTeX; it asks for the figures beside it and for nothing else."""
    from spatial_zb.report.tables.writers import latex

    def said(text: str) -> str:
        """Names of files and columns may break: they have no blanks."""
        code = latex.escape(typeset(clean(text)))
        return code.replace(r"\_", r"\_\allowbreak{}").replace("/", r"/\allowbreak{}")

    body: list[str] = []
    for block in paper.blocks:
        if block is paper.blocks[-1]:  # who made it and from what: not a page for one line
            body.append(r"\enlargethispage{2\baselineskip}")
        if isinstance(block, Heading):
            body.append(rf"\section{{{said(block.text)}}}")
        elif isinstance(block, Words):
            small = {
                "text": "",
                "item": r"\small\singlespacing",
                "reference": r"\small\singlespacing\hangindent=1.5em\noindent",
            }
            form = small[block.kind]
            body.append(rf"{{{form} {said(block.text)}\par}}" if form else said(block.text) + "\n")
        elif block.table is not None and block.style is not None:
            code = "\n".join(latex.render(block.table, block.style).splitlines()[1:])
            body += [*([r"\beforelong"] if r"\begin{longtable}" in code else []), code]
        elif block.plate is not None:
            body += [
                r"\begin{figure}[htbp]",
                r"\centering",
                rf"\includegraphics[width=\linewidth,height=0.8\textheight,keepaspectratio]{{\detokenize{{{block.plate.path}}}}}",
                rf"\caption{{{said(block.title)}}}",
                r"\end{figure}",
            ]
    text = "\n".join(body)
    return "\n".join(
        [
            f"% {'xelatex' if paper.language == 'en' else 'xelatex, ctex'}; run twice",
            r"\documentclass[12pt,a4paper]{article}",
            _type_of(paper.language, paper.title + paper.line + text),
            r"\usepackage[margin=2.5cm]{geometry}",
            r"\usepackage{graphicx, booktabs, array, rotating, longtable, setspace}",
            _BEFORE_LONG,
            rf"\title{{{said(paper.title)}}}",
            r"\author{}",
            rf"\date{{{said(paper.line)}}}",
            r"\begin{document}",
            r"\maketitle",
            r"\onehalfspacing\emergencystretch=3em",
            text,
            r"\end{document}",
            "",
        ]
    )


def _type_of(language: Language, text: str) -> str:
    """Fonts with the characters that occur; an English paper may name places in Chinese."""
    if language == "zh":
        return r"\usepackage{ctex}"
    return r"\usepackage[scheme=plain]{ctex}" if is_chinese(text) else r"\usepackage{fontspec}"
