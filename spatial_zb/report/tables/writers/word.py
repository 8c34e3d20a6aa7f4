"""Word: an editable three-line table (三线表) with the caption above and the notes below.

Thick rules at top and bottom, a thin one under the header, no vertical lines; Times New Roman with 宋体 for
Chinese; header rows repeat on every page and no row breaks across pages.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from spatial_zb.base.text import display_width
from spatial_zb.report.tables.table import HeaderCell, Row, Table, TableStyle
from spatial_zb.report.tables.text import (
    Shown,
    column_widths,
    continues,
    is_chinese,
    note_paragraphs,
    same_bytes,
    shown,
    starts,
    title_lines,
    typeset,
    words,
)

if TYPE_CHECKING:
    from docx.document import Document as Doc
    from docx.oxml.xmlchemy import BaseOxmlElement
    from docx.section import Section
    from docx.text.paragraph import Paragraph


LATIN, CHINESE = "Times New Roman", "宋体"
# Eighths of a point: 1.5 and 0.75 points, the usual rules of a three-line table.
_THICK, _THIN = 12, 6
_PORTRAIT_CM, _LANDSCAPE_CM = 16.0, 24.7  # A4 without margins
_MARGIN_CM = 2.5
# Tried in turn: sideways or not, and the font size in points (五号, 小五, 六号 and below).
_LAYOUTS = ((False, 10.5), (False, 9.0), (True, 9.0), (True, 7.5), (True, 6.5), (True, 5.5))
_LINE = 1.2  # height of a line of a cell, in font sizes
_PADDING = 2  # characters of white space in each column
# Lines on a page, sideways or not, and the last rows that stay together where a table takes more.
_PAGE_LINES, _KEPT = {False: 48, True: 34}, 8
_SIDES = {"l": "LEFT", "c": "CENTER", "r": "RIGHT"}


def render(table: Table, style: TableStyle) -> bytes:
    """Print a table as a Word document of its own."""
    document = new_document(title=" ".join(title_lines(table, style)))
    _turn(document.sections[0], sideways=_layout(table, style)[0])
    add_table(document, table, style)
    stream = io.BytesIO()
    document.save(stream)
    return same_bytes(stream.getvalue())


def new_document(title: str = "") -> Doc:
    """Make an empty A4 document with this package's fonts and without a time of writing."""
    from docx import Document

    document = Document()
    for name in ("Normal", "Caption"):
        name_fonts(document.styles[name].element.get_or_add_rPr())
    properties = document.core_properties
    properties.title, properties.author, properties.comments = title[:255], "spatial_zb", ""
    properties.created = properties.modified = datetime(1980, 1, 1)
    _turn(document.sections[0], sideways=False)
    return document


def add_on_page(document: Doc, table: Table, style: TableStyle) -> None:
    """Append a table to a document of several; one that is wide has pages of its own, sideways."""
    if not _layout(table, style)[0]:
        add_table(document, table, style)
        return
    _turn(document.add_section(), sideways=True)
    add_table(document, table, style)
    _turn(document.add_section(), sideways=False)


def add_table(document: Doc, table: Table, style: TableStyle) -> None:
    """Append caption, table and notes; the section of the document is left as it is."""
    sideways, size = _layout(table, style)
    for line in title_lines(table, style):
        _paragraph(document.add_paragraph(style="Caption"), Shown(line), size, side="c", bold=True, keep=True)
    rows = [row for row in table.rows if row.kind != "rule"]
    levels = len(table.header)
    grid = document.add_table(0, table.n_columns)._tbl
    widths = _frame(grid, column_widths(table, style), " ".join(title_lines(table, style)))
    notes = note_paragraphs(table, style)
    # The page of the last rows, such as N, is that of the notes; a table that has room on one page is not broken.
    loose = max(len(rows) - _KEPT, 0) if _lines(table, style) > _PAGE_LINES[sideways] else 0
    rules = _rules(table)
    lines = [_header(level, table, style, size, widths, rules[i]) for i, level in enumerate(table.header)]
    for i, row in enumerate(rows):
        following = rows[i + 1] if i + 1 < len(rows) else None
        led = continues(following)
        keep = (i >= loose and (following is not None or bool(notes))) or row.kind == "section" or led
        lines.append(_row(row, table, style, size, widths, rules[levels + i], keep=keep, low=led))
    _append(grid, lines)
    for number, note in enumerate(notes, 1):
        last = number == len(notes)
        _paragraph(document.add_paragraph(), Shown(note), max(size - 1.5, 5.5), keep=not last)


def _lines(table: Table, style: TableStyle) -> int:
    """Lines that header, rows and notes take; a name that is wider than its column takes more than one."""
    widths = column_widths(table, style)
    across = sum(widths) + _PADDING * len(widths)
    lines = 2 * len(table.header)
    for row in table.rows:
        cells = zip(row.cells if row.kind == "body" else (), widths, strict=False)
        lines += max(
            (-(-display_width(shown(cell, style).text) // width) for cell, width in cells), default=1
        )
    return lines + sum(-(-display_width(note) // across) for note in note_paragraphs(table, style))


def _layout(table: Table, style: TableStyle) -> tuple[bool, float]:
    """Choose page and font size so that the columns fit: upright and large first."""
    widths = column_widths(table, style)
    for sideways, size in _LAYOUTS:
        # A digit of Times is half the font size wide; substitutes on other systems are a little wider.
        needed_cm = (sum(widths) + _PADDING * len(widths)) * 0.52 * size / 72 * 2.54
        if needed_cm <= (_LANDSCAPE_CM if sideways else _PORTRAIT_CM):
            break
    return sideways, size


def _turn(section: Section, *, sideways: bool) -> None:
    """Set A4 and its margins."""
    from docx.enum.section import WD_ORIENT
    from docx.shared import Cm

    short, long = Cm(21.0), Cm(29.7)
    section.orientation = WD_ORIENT.LANDSCAPE if sideways else WD_ORIENT.PORTRAIT
    section.page_width, section.page_height = (long, short) if sideways else (short, long)
    section.left_margin = section.right_margin = section.top_margin = section.bottom_margin = Cm(_MARGIN_CM)


def name_fonts(properties: BaseOxmlElement) -> None:
    """Name both fonts; Word picks by script. Theme fonts would win over names, so they go."""
    from docx.oxml.ns import qn

    fonts = properties.get_or_add_rFonts()
    for attribute in list(fonts.attrib):
        del fonts.attrib[attribute]
    for attribute, name in (("ascii", LATIN), ("hAnsi", LATIN), ("cs", LATIN), ("eastAsia", CHINESE)):
        fonts.set(qn(f"w:{attribute}"), name)
    # Where 宋体 is not installed the language decides which substitute comes: one with simplified characters.
    _child(properties, "lang", val="en-US", eastAsia="zh-CN")


def _frame(grid: BaseOxmlElement, widths: Sequence[int], title: str) -> list[int]:
    """Fix the column widths to fill the line, and give screen readers the caption; gives the widths."""
    from docx.oxml.ns import qn

    properties = grid.tblPr
    _child(properties, "tblW", type="pct", w="5000")
    _child(properties, "tblLayout", type="fixed")
    margins = _child(properties, "tblCellMar")
    for side in ("left", "right"):
        _child(margins, side, w="40", type="dxa")
    _child(properties, "tblCaption", val=title[:255])
    padded = [width + _PADDING for width in widths]
    columns = grid.tblGrid.gridCol_lst
    total = sum(int(column.get(qn("w:w"))) for column in columns)
    twips = [round(total * width / sum(padded)) for width in padded]
    for column, width in zip(columns, twips, strict=True):
        column.set(qn("w:w"), str(width))
    return twips


def _child(parent: BaseOxmlElement, name: str, **attributes: str) -> BaseOxmlElement:
    """Add one element, or change the one that is there, keeping the order Word insists on."""
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn

    child = parent.find(qn(f"w:{name}"))
    if child is None:
        child = OxmlElement(f"w:{name}")
        order = _ORDER.get(parent.tag.split("}")[1], ())
        later = [qn(f"w:{other}") for other in order[order.index(name) + 1 :]] if name in order else []
        place = next((i for i, other in enumerate(parent) if other.tag in later), len(parent))
        parent.insert(place, child)
    for key, value in attributes.items():
        child.set(qn(f"w:{key}"), value)
    return child


# The order the schema (ECMA-376) gives to children that occur here; Word calls another order damaged.
_ORDER = {
    "tblPr": ("tblStyle", "tblW", "jc", "tblLayout", "tblCellMar", "tblLook", "tblCaption"),
    "tcPr": ("tcW", "gridSpan", "vMerge", "tcBorders", "vAlign"),
    "tcBorders": ("top", "bottom"),
    "pPr": ("pStyle", "keepNext", "keepLines", "widowControl", "pBdr", "spacing", "ind", "jc", "rPr"),
}


def _append(grid: BaseOxmlElement, lines: Sequence[str]) -> None:
    """Append lines that are written as markup: python-docx looks for the places of all cells to give one of them."""
    from docx.oxml import parse_xml
    from docx.oxml.ns import nsdecls

    for line in list(parse_xml(f"<w:tbl {nsdecls('w')}>{''.join(lines)}</w:tbl>")):
        grid.append(line)


def _rules(table: Table) -> list[dict[str, int]]:
    """Weights of the rules above (``top``) and below every line: the three, and the thin ones the body asks for."""
    last_header = len(table.header) - 1
    rules: list[dict[str, int]] = [{} for _ in range(last_header + 1)]
    rules[0]["top"] = _THICK
    rules[last_header]["bottom"] = _THIN
    for row in table.rows:
        if row.kind == "rule":
            rules[-1]["bottom"] = _THIN
        else:
            rules.append({})
    rules[-1]["bottom"] = _THICK
    return rules


def _header(
    level: Sequence[HeaderCell],
    table: Table,
    style: TableStyle,
    size: float,
    widths: Sequence[int],
    rules: Mapping[str, int],
) -> str:
    """Print one level of headings; the line repeats on every page."""
    cells = []
    for start, heading in zip(starts(level), level, strict=True):
        text, broad = Shown(words(heading.text, style)), heading.span > 1
        side = "c" if broad else table.alignment[start]
        room = widths[start : start + heading.span]
        ruled = broad and bool(text.text)
        cells.append(_cell(text, room, rules, size, bottom=True, side=side, keep=True, ruled=ruled))
    return f"<w:tr><w:trPr><w:cantSplit/><w:tblHeader/></w:trPr>{''.join(cells)}</w:tr>"


def _row(
    row: Row,
    table: Table,
    style: TableStyle,
    size: float,
    widths: Sequence[int],
    rules: Mapping[str, int],
    *,
    keep: bool,
    low: bool,
) -> str:
    """Print one line; ``low``: numbers stand beside the last line of a name, next to their errors below."""
    if row.kind == "section":
        said = shown(row.cells[0], style)
        upright = is_chinese(said.text)  # Chinese type has no italics: a substitute would be slanted
        cells = [_cell(said, widths, rules, size, italic=not upright, bold=upright, keep=True, above=3)]
    else:
        cells = [
            _cell(shown(value, style), [width], rules, size, side=side, keep=keep, bottom=low and side != "l")
            for value, width, side in zip(row.cells, widths, table.alignment, strict=True)
        ]
    return f"<w:tr><w:trPr><w:cantSplit/></w:trPr>{''.join(cells)}</w:tr>"


def _cell(
    text: Shown,
    widths: Sequence[int],
    rules: Mapping[str, int],
    size: float,
    *,
    bottom: bool = False,
    **options: Any,
) -> str:
    """Markup of a cell over columns of these ``widths``, with its one paragraph."""
    span = f'<w:gridSpan w:val="{len(widths)}"/>' if len(widths) > 1 else ""
    borders = "".join(
        f'<w:{side} w:val="single" w:sz="{weight}" w:space="0" w:color="auto"/>'
        for side, weight in rules.items()
    )
    borders = f"<w:tcBorders>{borders}</w:tcBorders>" if borders else ""
    # Chinese and Latin type have lines of different height: numbers would stand above the name of their row.
    properties, run, stars = _markup(size, line_height=round(_LINE * size, 1), **options)
    runs = "".join(
        f"<w:r>{form}{_written(piece)}</w:r>"
        for piece, form in ((typeset(text.text), run), (text.stars, stars))
        if piece
    )
    return (
        f'<w:tc><w:tcPr><w:tcW w:type="dxa" w:w="{sum(widths)}"/>{span}{borders}'
        f'<w:vAlign w:val="{"bottom" if bottom else "top"}"/></w:tcPr><w:p>{properties}{runs}</w:p></w:tc>'
    )


def _written(text: str) -> str:
    space = ' xml:space="preserve"' if text != text.strip() else ""
    return f"<w:t{space}>{escape(text)}</w:t>"


@lru_cache(maxsize=256)
def _markup(size: float, **options: Any) -> tuple[str, str, str]:
    """Markup of the properties that ``_form`` makes."""
    from lxml import etree

    def bare(form: BaseOxmlElement) -> str:
        return _DECLARED.sub("", etree.tostring(form, encoding="unicode"))

    properties, run, stars = _form(size, None, **options)
    return bare(properties), bare(run.rPr), bare(stars.rPr)


_DECLARED = re.compile(r' xmlns:\w+="[^"]*"')


def _paragraph(paragraph: Paragraph, text: Shown, size: float, **options: Any) -> None:
    """Print text with its stars raised, in the form that ``_form`` makes of the options."""
    style = paragraph._p.pPr.style if paragraph._p.pPr is not None else None
    properties, run, stars = _form(size, style, **options)
    if paragraph._p.pPr is not None:
        paragraph._p.remove(paragraph._p.pPr)
    paragraph._p.insert(0, deepcopy(properties))
    for piece, form in ((typeset(text.text), run), (text.stars, stars)):
        if piece:
            written = deepcopy(form)
            written.text = piece
            paragraph._p.append(written)


@lru_cache(maxsize=256)
def _form(
    size: float,
    style: str | None,
    *,
    side: str = "l",
    bold: bool = False,
    italic: bool = False,
    keep: bool = False,
    line_height: float | None = None,
    above: float = 1,
    ruled: bool = False,
) -> tuple[BaseOxmlElement, BaseOxmlElement, BaseOxmlElement]:
    """Properties of a paragraph, a run without text and one of raised stars, to be copied: many cells have few forms.

    ``keep`` holds a paragraph on the page of what follows; ``line_height`` is in points, single spacing without it, as
    is the white space ``above``. ``ruled``: a line below, on the paragraph and not on the cell, so that neighbours' rules
    do not touch.
    """
    from docx.enum.text import WD_ALIGN_PARAGRAPH
    from docx.oxml import OxmlElement
    from docx.shared import Pt, RGBColor
    from docx.text.paragraph import Paragraph

    paragraph = Paragraph(OxmlElement("w:p"), None)  # type: ignore[arg-type]  # of no document, it is never looked up
    if style:
        paragraph._p.get_or_add_pPr().style = style
    form = paragraph.paragraph_format
    form.alignment = getattr(WD_ALIGN_PARAGRAPH, _SIDES[side])
    form.space_before, form.space_after = Pt(above), Pt(1)
    form.line_spacing = Pt(line_height) if line_height else 1.0
    form.keep_with_next = keep or None
    properties = paragraph._p.get_or_add_pPr()
    if ruled:
        _child(_child(properties, "pBdr"), "bottom", val="single", sz=str(_THIN), space="1", color="auto")
    # The paragraph mark has a size too, and it alone makes the height of an empty cell.
    _child(_child(properties, "rPr"), "sz", val=str(round(2 * size)))
    runs = []
    for raised in (None, True):
        run = paragraph.add_run()
        run.bold, run.italic, run.font.size = bold, italic, Pt(size)
        run.font.color.rgb = RGBColor(0, 0, 0)
        run.font.superscript = raised
        runs.append(run._r)
    return properties, runs[0], runs[1]
