"""Tables as text: CSV for spreadsheets, Markdown, and HTML as a page of its own or a fragment for a report.

CSV for people: the rounded numbers of the table, in UTF-8 with a mark so that Excel shows Chinese.
One header line (levels joined by ``": "``) and the body; title and notes are in the other formats."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
from collections.abc import Collection
from html import escape
from itertools import zip_longest

from spatial_zb.report.files import slug
from spatial_zb.report.tables.table import Cell, Links, Row, Table, TableStyle
from spatial_zb.report.tables.text import (
    MINUS,
    between,
    continues,
    note_paragraphs,
    shown,
    starts,
    title_lines,
    words,
)

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
    lines = [f"**{escape_markdown(line)}**\n" for line in title_lines(table, style)]
    lines.append(_line(_pipe_header(table, style)))
    lines.append(_line([_MARKS[side] for side in table.alignment]))
    for row in table.rows:
        if row.kind == "body":
            lines.append(_line([_cell(cell, style) for cell in row.cells]))
        elif row.kind == "section":
            heading = f"**{_cell(row.cells[0], style)}**"
            lines.append(_line([heading] + [""] * (table.n_columns - 1)))
    lines += [f"\n{escape_start(escape_markdown(note))}" for note in note_paragraphs(table, style)]
    return "\n".join(lines) + "\n"


def _pipe_header(table: Table, style: TableStyle) -> list[str]:
    names: list[list[str]] = [[] for _ in range(table.n_columns)]
    for level in table.header:
        for start, cell in zip(starts(level), level, strict=True):
            for j in range(start, start + cell.span):
                names[j].append(escape_markdown(words(cell.text, style)))
    return ["<br>".join(part for part in name if part) for name in names]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell, style: TableStyle) -> str:
    printed = shown(cell, style)
    return escape_markdown(printed.text + printed.stars)


def escape_markdown(text: str) -> str:
    """Keep Markdown, HTML, mathematics and automatic links from reading anything into the text."""
    # GitHub links bare addresses, with a scheme or with "www.".
    return text.translate(_ESCAPES).replace("://", "&#58;//").replace("www.", "www&#46;")


def escape_start(text: str) -> str:
    """Keep a paragraph from becoming a list, a rule or a heading."""
    return f"\\{text}" if text[:1] in "-+=" else text


CSS = """
.zb-table { margin: 1.5rem 0; overflow-x: auto; }
.zb-table table { border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid;
  font: 15px/1.45 "Times New Roman", "Songti SC", SimSun, "Noto Serif CJK SC", serif; }
.zb-table caption { font-weight: bold; padding: 0 0 .5rem; text-align: center; }
.zb-table th, .zb-table td { padding: .12rem .7rem; font-weight: normal; vertical-align: top; }
.zb-table .l { text-align: left; } .zb-table .c { text-align: center; } .zb-table .r { text-align: right; }
.zb-table td.c, .zb-table td.r { white-space: nowrap; font-variant-numeric: lining-nums tabular-nums; }
.zb-table tr.low td { vertical-align: bottom; }
.zb-table thead { border-bottom: 1px solid; }
.zb-table thead th { vertical-align: bottom; }
.zb-table thead th[scope=colgroup] span { display: block; border-bottom: 1px solid; }
.zb-table tbody.rule { border-top: 1px solid; }
.zb-table tr.section th { font-style: italic; padding-top: .45rem; }
.zb-table sup { line-height: 0; }
.zb-table .notes { font: 13px/1.45 "Times New Roman", "Songti SC", SimSun, "Noto Serif CJK SC", serif;
  max-width: 60rem; }
.zb-table .notes p { margin: .15rem 0; }
"""
# Nothing is loaded and nothing runs; the one style sheet is allowed by its hash.
_HASH = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()
_PAGE = """<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-{digest}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{css}</style>
</head>
<body>
{body}
</body>
</html>
"""


def render_html(table: Table, style: TableStyle) -> str:
    """Print a table as a page of its own."""
    return _PAGE.format(
        language=_tag(style),
        digest=_HASH,
        title=escape(" ".join(title_lines(table, style))),
        css=CSS,
        body=fragment(table, style),
    )


def fragment(table: Table, style: TableStyle, targets: Collection[str] = ()) -> str:
    """Print a table for a page that has :data:`CSS` in its style sheet; ``targets``: ids of the page that links may name."""
    caption = "<br>".join(map(escape, title_lines(table, style)))
    notes = "".join(f"<p>{escape(note)}</p>" for note in note_paragraphs(table, style))
    lines = [
        f'<div class="zb-table" lang="{_tag(style)}">',
        "<table>",
        f"<caption>{caption}</caption>",
        "<thead>",
        *(_level(i, table, style) for i in range(len(table.header))),
        "</thead>",
        *_body(table, style, targets),
        "</table>",
        *([f'<div class="notes">{notes}</div>'] if notes else []),
        "</div>",
    ]
    return "\n".join(lines)


def _tag(style: TableStyle) -> str:
    return "zh-CN" if style.language == "zh" else "en"


def _level(i: int, table: Table, style: TableStyle) -> str:
    cells = []
    for start, cell in zip(starts(table.header[i]), table.header[i], strict=True):
        text = escape(words(cell.text, style))
        span = f' colspan="{cell.span}"' if cell.span > 1 else ""
        side = table.alignment[start] if cell.span == 1 else "c"
        if not text:
            cells.append(f"<td{span}></td>")
        elif cell.span > 1:
            cells.append(f'<th scope="colgroup" class="c"{span}><span>{text}</span></th>')
        else:
            cells.append(f'<th scope="col" class="{side}">{text}</th>')
    return f"<tr>{''.join(cells)}</tr>"


def _body(table: Table, style: TableStyle, targets: Collection[str]) -> list[str]:
    """Print the rows; a rule starts a new row group."""
    lines = ["<tbody>"]
    for row, following in zip_longest(table.rows, table.rows[1:]):
        if row.kind == "rule":
            lines.append('</tbody><tbody class="rule">')
        else:
            lines.append(_row(row, table, style, targets, low=continues(following)))
    return [*lines, "</tbody>"]


def _row(row: Row, table: Table, style: TableStyle, targets: Collection[str], *, low: bool) -> str:
    """One row; ``low``: numbers stand beside the last line of its name, next to their errors below."""
    if row.kind == "section":
        heading = _html_cell(row.cells[0], style, targets)
        head = f'<th scope="rowgroup" colspan="{table.n_columns}" class="l">{heading}</th>'
        return f'<tr class="section">{head}</tr>'
    cells = []
    for j, (cell, side) in enumerate(zip(row.cells, table.alignment, strict=True)):
        text = _html_cell(cell, style, targets)
        cells.append(
            f'<th scope="row" class="{side}">{text}</th>'
            if j == 0 and text
            else f'<td class="{side}">{text}</td>'
        )
    kind = ' class="low"' if low else ""
    return f"<tr{kind}>{''.join(cells)}</tr>"


def anchor(key: str, *, figure: bool = False) -> str:
    """Id of a table or a figure in a page, apart from the other ids whatever its key is."""
    return f"{'figure' if figure else 'table'}-{slug(key)}"


def _html_cell(cell: Cell, style: TableStyle, targets: Collection[str]) -> str:
    if isinstance(cell, Links) and cell.parts:
        linked = [(escape(words(p.text, style)), anchor(p.key, figure=p.figure)) for p in cell.parts]
        return between(style).join(
            f'<a href="#{where}">{text}</a>' if where in targets else text for text, where in linked
        )
    printed = shown(cell, style)
    stars = f"<sup>{printed.stars}</sup>" if printed.stars else ""
    return escape(printed.text) + stars
