"""Tables as plain text: CSV for spreadsheets and Markdown.

CSV for people: the rounded numbers of the table, in UTF-8 with a mark so that Excel shows Chinese.

One header line (levels joined by ``": "``) and the body; title and notes are in the other formats.
"""

from __future__ import annotations

import csv
import io
import re

from spatial_zb.report.tables.table import Cell, Table, TableStyle
from spatial_zb.report.tables.text import MINUS, note_paragraphs, shown, starts, title_lines, words

# A spreadsheet takes such a cell for a formula, full-width signs included.
_FORMULA = tuple("=+-@＝＋－＠")
_PLAIN_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?%?")


def render_csv(table: Table, style: TableStyle) -> bytes:
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
        return printed.text.replace(MINUS, "-").replace(",", "") + printed.stars
    return harmless(printed.text)


def harmless(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would calculate; plain numbers stay."""
    if text.startswith(_FORMULA) and not _PLAIN_NUMBER.fullmatch(text):
        return f"'{text}"
    return text


_MARKS = {"l": ":---", "c": ":---:", "r": "---:"}
# As entities: what cell splitting, HTML, links by bare address, mathematics or a backslash could still see.
_ENTITIES = {ch: f"&#{ord(ch)};" for ch in "|\\<>$@"} | {"&": "&amp;"}
_ESCAPES = str.maketrans(_ENTITIES | {ch: f"\\{ch}" for ch in "`*_{}[]#!~^"})


def render_markdown(table: Table, style: TableStyle) -> str:
    """Print a table as GitHub Markdown. Rules inside the body have no counterpart and are left out."""
    lines = [f"**{escape(line)}**\n" for line in title_lines(table, style)]
    lines.append(_line(_pipe_header(table, style)))
    lines.append(_line([_MARKS[side] for side in table.alignment]))
    for row in table.rows:
        if row.kind == "body":
            lines.append(_line([_cell(cell, style) for cell in row.cells]))
        elif row.kind == "section":
            heading = f"**{_cell(row.cells[0], style)}**"
            lines.append(_line([heading] + [""] * (table.n_columns - 1)))
    lines += [f"\n{escape_start(escape(note))}" for note in note_paragraphs(table, style)]
    return "\n".join(lines) + "\n"


def _pipe_header(table: Table, style: TableStyle) -> list[str]:
    names: list[list[str]] = [[] for _ in range(table.n_columns)]
    for level in table.header:
        for start, cell in zip(starts(level), level, strict=True):
            for j in range(start, start + cell.span):
                names[j].append(escape(words(cell.text, style)))
    return ["<br>".join(part for part in name if part) for name in names]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell, style: TableStyle) -> str:
    printed = shown(cell, style)
    return escape(printed.text + printed.stars)


def escape(text: str) -> str:
    """Keep Markdown, HTML, mathematics and automatic links from reading anything into the text."""
    # GitHub links bare addresses, with a scheme or with "www.".
    return text.translate(_ESCAPES).replace("://", "&#58;//").replace("www.", "www&#46;")


def escape_start(text: str) -> str:
    """Keep a paragraph from becoming a list, a rule or a heading."""
    return f"\\{text}" if text[:1] in "-+=" else text
