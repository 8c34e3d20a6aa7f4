"""HTML: a table with a caption, scopes and notes; as a page of its own or a fragment for a report."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from itertools import zip_longest

from spatial_zb.report.tables.table import Cell, Row, Table, TableStyle
from spatial_zb.report.tables.text import continues, note_paragraphs, shown, starts, title_lines, words

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


def render(table: Table, style: TableStyle) -> str:
    """Print a table as a page of its own."""
    return _PAGE.format(
        language=_tag(style),
        digest=_HASH,
        title=escape(" ".join(title_lines(table, style))),
        css=CSS,
        body=fragment(table, style),
    )


def fragment(table: Table, style: TableStyle) -> str:
    """Print a table for a page that has :data:`CSS` in its style sheet."""
    caption = "<br>".join(map(escape, title_lines(table, style)))
    notes = "".join(f"<p>{escape(note)}</p>" for note in note_paragraphs(table, style))
    lines = [
        f'<div class="zb-table" lang="{_tag(style)}">',
        "<table>",
        f"<caption>{caption}</caption>",
        "<thead>",
        *(_level(i, table, style) for i in range(len(table.header))),
        "</thead>",
        *_body(table, style),
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


def _body(table: Table, style: TableStyle) -> list[str]:
    """Print the rows; a rule starts a new row group."""
    lines = ["<tbody>"]
    for row, following in zip_longest(table.rows, table.rows[1:]):
        if row.kind == "rule":
            lines.append('</tbody><tbody class="rule">')
        else:
            lines.append(_row(row, table, style, low=continues(following)))
    return [*lines, "</tbody>"]


def _row(row: Row, table: Table, style: TableStyle, *, low: bool) -> str:
    """One row; ``low``: numbers stand beside the last line of its name, next to their errors below."""
    if row.kind == "section":
        heading = _cell(row.cells[0], style)
        head = f'<th scope="rowgroup" colspan="{table.n_columns}" class="l">{heading}</th>'
        return f'<tr class="section">{head}</tr>'
    cells = []
    for j, (cell, side) in enumerate(zip(row.cells, table.alignment, strict=True)):
        text = _cell(cell, style)
        cells.append(
            f'<th scope="row" class="{side}">{text}</th>'
            if j == 0 and text
            else f'<td class="{side}">{text}</td>'
        )
    kind = ' class="low"' if low else ""
    return f"<tr{kind}>{''.join(cells)}</tr>"


def _cell(cell: Cell, style: TableStyle) -> str:
    printed = shown(cell, style)
    stars = f"<sup>{printed.stars}</sup>" if printed.stars else ""
    return escape(printed.text) + stars
