"""Excel: numbers stay numbers with full precision, shown by number formats; text is never a formula."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from numbers import Integral
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from spatial_zb.report.tables.table import Cell, Number, Row, Table, TableStyle
from spatial_zb.report.tables.text import (
    ENCLOSURES,
    MINUS,
    column_widths,
    display_width,
    note_paragraphs,
    same_bytes,
    shown,
    starts,
    title_lines,
    vanishes,
    words,
)

if TYPE_CHECKING:
    from openpyxl import Workbook
    from openpyxl.cell import Cell as SheetCell
    from openpyxl.styles.cell_style import StyleArray
    from openpyxl.worksheet.worksheet import Worksheet


_SIDES = {"l": "left", "c": "center", "r": "right"}
_WIDEST, _PADDING = 40, 3  # characters
_LONGEST = 32767  # characters of one Excel cell
# Typed as text already; the prefix keeps it text when somebody edits the cell.
_FORMULA = tuple("=+-@")


def render(table: Table, style: TableStyle) -> bytes:
    """Print a table as a workbook with one sheet: caption, header, body, notes."""
    from openpyxl import Workbook

    book = Workbook()
    sheet = book.active
    sheet.title = "table"
    line = 1
    for title in title_lines(table, style):
        _text(sheet, line, 1, title, _Type(bold=True))
        line += 1
    top = line
    line = _header(sheet, line, table, style)
    sheet.freeze_panes = sheet.cell(line, 2)
    _rule(sheet, top, table, top="medium")
    _rule(sheet, line - 1, table, bottom="thin")
    widths = column_widths(table, style, widest=_WIDEST)
    for row in table.rows:
        line = _row(sheet, line, row, table, style, widths)
    _rule(sheet, line - 1, table, bottom="medium")
    for note in note_paragraphs(table, style):
        _note(sheet, line, note, widths)
        line += 1
    _page(sheet, top, table, widths)
    return _bytes(book)


def _header(sheet: Worksheet, line: int, table: Table, style: TableStyle) -> int:
    for i, level in enumerate(table.header):
        for start, cell in zip(starts(level), level, strict=True):
            text = words(cell.text, style)
            side = "c" if cell.span > 1 else table.alignment[start]
            _text(sheet, line + i, start + 1, text, _Type(side=side, upright="bottom", wrap=True))
            if cell.span > 1:
                last = start + cell.span
                sheet.merge_cells(
                    start_row=line + i, end_row=line + i, start_column=start + 1, end_column=last
                )
                if text:
                    _rule(sheet, line + i, table, bottom="thin", columns=range(start + 1, last + 1))
    return line + len(table.header)


def _row(
    sheet: Worksheet, line: int, row: Row, table: Table, style: TableStyle, widths: Sequence[int]
) -> int:
    if row.kind == "rule":
        _rule(sheet, line - 1, table, bottom="thin")
        return line
    if row.kind == "section":
        _text(sheet, line, 1, shown(row.cells[0], style).text, _Type(italic=True))
        return line + 1
    wide = zip(row.cells, widths, strict=True)
    broken = any(display_width(shown(cell, style).text) > width for cell, width in wide)
    # Beside a name of several lines numbers stand at its first; else in the middle, since Chinese lines are higher.
    upright = "top" if broken else "center"
    for j, (cell, side) in enumerate(zip(row.cells, table.alignment, strict=True), start=1):
        _value(sheet, line, j, cell, side, upright, style)
    return line + 1


def _value(
    sheet: Worksheet, line: int, column: int, cell: Cell, side: str, upright: str, style: TableStyle
) -> None:
    """Put a number as a number, everything else as text."""
    if isinstance(cell, Number) and math.isfinite(cell.value):
        target = _text(sheet, line, column, "", _Type(side=side, upright=upright))
        target.value = float(cell.value)
        target.number_format = number_format(cell, style)
    elif isinstance(cell, Integral):
        target = _text(sheet, line, column, "", _Type(side=side, upright=upright))
        target.value = int(cell)
        target.number_format = "0"
    else:
        _text(sheet, line, column, shown(cell, style).text, _Type(side=side, upright=upright, wrap=True))


def number_format(cell: Number, style: TableStyle) -> str:
    """Give the Excel format that shows a number as the table does, enclosure and stars included."""
    digits = style.digits if cell.digits is None else cell.digits
    thousands = "#,##0" if abs(cell.value) >= 1000 else "0"
    decimals = f"{thousands}.{'0' * digits}" if digits else thousands
    before, after = ENCLOSURES[cell.enclosure]
    after = _literal(after + "*" * cell.stars)
    if vanishes(float(cell.value), digits) and cell.notation != "rounded":
        if cell.notation == "p_value":
            return f"{_literal(f'{before}<{10.0**-digits:.{digits}f}')}{after}"
        decimals = "0.0E+00"
    # Two parts, or Excel would put the minus sign before the parenthesis.
    return f"{_literal(before)}{decimals}{after};{_literal(before + MINUS)}{decimals}{after}"


def _literal(text: str) -> str:
    return f'"{text}"' if text else ""


@dataclass(frozen=True, slots=True)
class _Type:
    """How the text of a cell stands."""

    side: str = "l"
    upright: str = "top"
    bold: bool = False
    italic: bool = False
    size: float = 10.5
    wrap: bool = False


_PLAIN = _Type()
#: Numbers of the looks of a sheet among the styles of its workbook.
_LOOKS: WeakKeyDictionary[Worksheet, dict[_Type, StyleArray]] = WeakKeyDictionary()


def _text(sheet: Worksheet, line: int, column: int, text: str, look: _Type = _PLAIN) -> SheetCell:
    """Put text that stays text, whatever it looks like."""
    cell = sheet.cell(line, column)
    # The workbook finds a style by all of its fields: once for each look is enough, its numbers are copied.
    looks = _LOOKS.setdefault(sheet, {})
    if look not in looks:
        looks[look] = _styled(cell, look)
    cell._style = copy(looks[look])
    if text:
        cell.value = text[:_LONGEST]
        cell.data_type = "s"
        if text.startswith(_FORMULA):
            cell.quotePrefix = True
    return cell


def _styled(cell: SheetCell, look: _Type) -> StyleArray:
    """Give a cell its look, and the numbers of it."""
    from openpyxl.styles import Alignment, Font

    cell.font = Font(name="Times New Roman", size=look.size, bold=look.bold, italic=look.italic)
    cell.alignment = Alignment(horizontal=_SIDES[look.side], vertical=look.upright, wrap_text=look.wrap)
    return copy(cell._style)


def _note(sheet: Worksheet, line: int, note: str, widths: Sequence[int]) -> None:
    """Put a paragraph across the table; Excel does not fit the height of merged cells, so it is set."""
    _text(sheet, line, 1, note, _Type(size=9, wrap=True))
    sheet.merge_cells(start_row=line, end_row=line, start_column=1, end_column=len(widths))
    room = sum(widths) + _PADDING * len(widths)
    sheet.row_dimensions[line].height = 13 * math.ceil(0.8 * display_width(note) / room)


def _rule(
    sheet: Worksheet,
    line: int,
    table: Table,
    *,
    top: str | None = None,
    bottom: str | None = None,
    columns: range | None = None,
) -> None:
    """Draw a rule above or below a line, keeping what is drawn already."""
    from openpyxl.styles import Border, Side

    for j in columns or range(1, table.n_columns + 1):
        cell = sheet.cell(line, j)
        cell.border = Border(
            top=Side(top) if top else cell.border.top,
            bottom=Side(bottom) if bottom else cell.border.bottom,
        )


def _page(sheet: Worksheet, top: int, table: Table, widths: Sequence[int]) -> None:
    """Set widths and print: one page wide, header repeated."""
    from openpyxl.utils import get_column_letter

    for j, width in enumerate(widths, start=1):
        sheet.column_dimensions[get_column_letter(j)].width = width + _PADDING
    sheet.sheet_view.showGridLines = False
    sheet.print_title_rows = f"{top}:{top + len(table.header) - 1}"
    sheet.page_setup.orientation = "landscape" if table.n_columns > 7 else "portrait"
    sheet.page_setup.paperSize = sheet.PAPERSIZE_A4
    sheet.sheet_properties.pageSetUpPr.fitToPage = True
    sheet.page_setup.fitToHeight = 0


def _bytes(book: Workbook) -> bytes:
    """Save without the time: the usual ``save`` would put it into the file."""
    from openpyxl.writer.excel import ExcelWriter

    book.properties.creator = "spatial_zb"
    book.properties.created = book.properties.modified = datetime(1980, 1, 1)
    stream = io.BytesIO()
    # Stored, since it is compressed when it is written again.
    ExcelWriter(book, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED)).save()
    return same_bytes(stream.getvalue())
