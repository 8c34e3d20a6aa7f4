"""CSV for people: the rounded numbers of the table, in UTF-8 with a mark so that Excel shows Chinese.

One header line (levels joined by ``": "``) and the body; title and notes are in the other formats.
"""

from __future__ import annotations

import csv
import io
import re

from spatial_zb.report.table_style import TableStyle
from spatial_zb.report.table_text import MINUS, shown, words
from spatial_zb.report.tables import Cell, Table
from spatial_zb.report.writers.measure import starts

__all__ = ["render"]

# A spreadsheet takes such a cell for a formula, full-width signs included.
_FORMULA = tuple("=+-@＝＋－＠")
_PLAIN_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?%?")


def render(table: Table, style: TableStyle) -> bytes:
    """Print a table as CSV. Every field is quoted: an unquoted ``;`` would split it in some locales."""
    stream = io.StringIO()
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(_header(table, style))
    for row in table.rows:
        if row.kind == "body":
            writer.writerow([_field(cell, style) for cell in row.cells])
        elif row.kind == "section":
            writer.writerow([_field(row.cells[0], style)] + [""] * (table.n_columns - 1))
    return stream.getvalue().encode("utf-8-sig")


def _header(table: Table, style: TableStyle) -> list[str]:
    """Join the levels over each column into one name."""
    names: list[list[str]] = [[] for _ in range(table.n_columns)]
    for level in table.header:
        for start, cell in zip(starts(level), level, strict=True):
            for j in range(start, start + cell.span):
                names[j].append(words(cell.text, style))
    return [harmless(": ".join(part for part in name if part)) for name in names]


def _field(cell: Cell, style: TableStyle) -> str:
    printed = shown(cell, style)
    if printed.numeric:
        return printed.text.replace(MINUS, "-") + printed.stars
    return harmless(printed.text)


def harmless(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would calculate; plain numbers stay."""
    if text.startswith(_FORMULA) and not _PLAIN_NUMBER.fullmatch(text):
        return f"'{text}"
    return text
