"""LaTeX: a ``table`` with booktabs rules and threeparttable notes, for XeLaTeX or LuaLaTeX with ctex."""

from __future__ import annotations

import re
import unicodedata

from spatial_zb.base.text import display_width
from spatial_zb.report.tables.table import Cell, Row, Table, TableStyle
from spatial_zb.report.tables.text import (
    column_widths,
    continues,
    note_paragraphs,
    shown,
    starts,
    title_lines,
    words,
)

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}",
    '"': r"\textquotedbl{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # After a line end these would be taken for its optional argument or star.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
} | {ch: f"\\{ch}" for ch in "&%$#_{}"}


def _greek(letter: str) -> str:
    """Give the command of a Greek letter, from its Unicode name (which spells "lamda")."""
    name = unicodedata.name(letter).split()[-1].replace("LAMDA", "LAMBDA")
    return f"\\{name.lower() if letter.islower() else name.capitalize()}"


# Text fonts often lack these; mathematics has them all.
_MATHS = {
    "−": "-",
    "×": r"\times",
    "±": r"\pm",
    "·": r"\cdot",
    "≤": r"\le",
    "≥": r"\ge",
    "≠": r"\ne",
    "≈": r"\approx",
    "∞": r"\infty",
    "∑": r"\sum",
    "√": r"\surd",
    "²": "{}^{2}",
    "³": "{}^{3}",
    "¹": "{}^{1}",
} | {letter: _greek(letter) for letter in "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ"}
_ESCAPES = str.maketrans(_SPECIAL | {ch: f"${code}$" for ch, code in _MATHS.items()})
# Portrait text is about this many characters wide at normal size; sideways about half as many again.
_PORTRAIT, _SIDEWAYS = 84, 130
_WRAP = 30
# Words among numbers, such as the name of a weights matrix, take a second line beyond this width.
_NARROW = 20
_PAGE_LINES = 60
_PACKAGES = (
    r"% \usepackage{booktabs, threeparttable, array, rotating, longtable} and, for Chinese, \usepackage{ctex}"
)
_SIZES = ((1.0, r"\small"), (1.15, r"\footnotesize"), (1.3, r"\scriptsize"))


def render(table: Table, style: TableStyle) -> str:
    """Print a table as a fragment for ``\\input``; its first line names the packages it needs.

    A wide table is turned sideways, one longer than a page becomes a ``longtable``.
    """
    widths = column_widths(table, style, widest=_WRAP, narrow=_NARROW)
    width = sum(widths) + 2 * len(widths)
    columns = f"@{{}}{''.join(_columns(table, style, widths))}@{{}}"
    caption = " ".join(escape(line) for line in title_lines(table, style))
    label = re.sub(r"[^A-Za-z0-9:_-]", "-", table.label or f"tab:{table.key}")
    caption = rf"\caption{{{caption}}}\label{{{label}}}"
    layout = _long if _height(table, style, widths) > _PAGE_LINES else _floating
    lines = [_PACKAGES, *layout(table, style, widths, columns, caption, width)]
    return "\n".join(lines) + "\n"


def _height(table: Table, style: TableStyle, widths: list[int]) -> int:
    """Lines that the rows take; names that are wider than their column take more than one."""
    lines = 0
    for row in table.rows:
        cells = zip(row.cells if row.kind == "body" else (), widths, strict=False)
        needed = (-(-display_width(shown(cell, style).text) // width) for cell, width in cells)
        lines += max(needed, default=1)
    return lines


def _floating(
    table: Table, style: TableStyle, widths: list[int], columns: str, caption: str, width: int
) -> list[str]:
    """Put the table where LaTeX finds room for it."""
    sideways = width > 1.45 * _PORTRAIT
    environment, room = ("sidewaystable", _SIDEWAYS) if sideways else ("table", _PORTRAIT)
    return [
        rf"\begin{{{environment}}}[{'p' if sideways else 'htbp'}]",
        r"\centering",
        _size(width / room),
        r"\begin{threeparttable}",
        caption,
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *_header(table, style, widths),
        r"\midrule",
        *(_row(row, table, style, widths) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        *_notes(table, style),
        r"\end{threeparttable}",
        rf"\end{{{environment}}}",
    ]


def _long(
    table: Table, style: TableStyle, widths: list[int], columns: str, caption: str, width: int
) -> list[str]:
    """Let the table run over pages, its header repeated."""
    head = [r"\toprule", *_header(table, style, widths), r"\midrule"]
    return [
        rf"\begingroup{_size(width / _PORTRAIT)}",
        rf"\begin{{longtable}}{{{columns}}}",
        rf"{caption}\\",
        *head,
        r"\endfirsthead",
        *head,
        r"\endhead",
        *(_row(row, table, style, widths) for row in table.rows),
        r"\bottomrule",
        r"\end{longtable}",
        *(rf"{{\footnotesize\noindent {escape(note)}\par}}" for note in note_paragraphs(table, style)),
        r"\endgroup",
    ]


def _size(ratio: float) -> str:
    return next((size for limit, size in _SIZES if ratio <= limit), r"\tiny")


def _columns(table: Table, style: TableStyle, widths: list[int]) -> list[str]:
    """Give the column types; a column of long text gets a width, in which it wraps."""
    longest = [0] * table.n_columns
    for row in table.rows:
        for j, cell in enumerate(row.cells if row.kind == "body" else ()):
            longest[j] = max(longest[j], display_width(shown(cell, style).text))
    room = max(sum(widths) + 2 * len(widths), _PORTRAIT)
    # Numbers stand beside the last line of a name where errors follow below.
    kind = "b" if any(map(continues, table.rows)) else "p"
    return [
        rf">{{\raggedright\arraybackslash}}{kind}{{{widths[j] / room:.2f}\linewidth}}"
        if table.alignment[j] == "l" and longest[j] > _WRAP
        else table.alignment[j]
        for j in range(table.n_columns)
    ]


def _header(table: Table, style: TableStyle, widths: list[int]) -> list[str]:
    """Print the levels, each heading that spans columns with a short rule below."""
    lines = []
    for level in table.header:
        places = zip(starts(level), level, strict=True)
        cells, rules = [], []
        for start, cell in places:
            room = sum(widths[start : start + cell.span])
            text = _within(
                words(cell.text, style), room, "c" if cell.span > 1 else table.alignment[start], "b"
            )
            if cell.span > 1:
                cells.append(rf"\multicolumn{{{cell.span}}}{{c}}{{{text}}}")
                rules += [rf"\cmidrule(lr){{{start + 1}-{start + cell.span}}}"] if text else []
            else:
                cells.append(text)
        lines.append(" & ".join(cells) + r" \\")
        lines += [" ".join(rules)] if rules else []
    return lines


def _row(row: Row, table: Table, style: TableStyle, widths: list[int]) -> str:
    if row.kind == "rule":
        return r"\midrule"
    if row.kind == "section":
        heading = escape(shown(row.cells[0], style).text)
        # The star keeps a heading from ending a page.
        return rf"\addlinespace \multicolumn{{{table.n_columns}}}{{@{{}}l}}{{\textit{{{heading}}}}} \\*"
    cells = zip(row.cells, widths, table.alignment, strict=True)
    return " & ".join(_cell(cell, style, width, side) for cell, width, side in cells) + r" \\"


def _cell(cell: Cell, style: TableStyle, width: int, side: str) -> str:
    printed = shown(cell, style)
    stars = f"$^{{{printed.stars}}}$" if printed.stars else ""
    if printed.numeric or side == "l":  # a column of long text wraps by itself
        return escape(printed.text) + stars
    return _within(printed.text, max(width, _NARROW), side, "t") + stars


def _within(text: str, width: int, side: str, hold: str) -> str:
    """Text that takes more lines where it is wider than ``width`` characters, held at its top or bottom line."""
    longest = max(map(display_width, text.split()), default=0) if text.isascii() else 2
    if display_width(text) <= max(width, longest):
        return escape(text)
    turn = {"l": r"\raggedright", "r": r"\raggedleft"}.get(side, r"\centering")
    return rf"\parbox[{hold}]{{{0.5 * max(width, longest) + 0.5:.1f}em}}{{{turn} {escape(text)}}}"


def _notes(table: Table, style: TableStyle) -> list[str]:
    notes = note_paragraphs(table, style)
    if not notes:
        return []
    items = [rf"\item {escape(note)}" for note in notes]
    return [r"\begin{tablenotes}[flushleft]\footnotesize", *items, r"\end{tablenotes}"]


def escape(text: str) -> str:
    """Make text that LaTeX prints as it is: no command, no mathematics, no ligature."""
    text = text.translate(_ESCAPES)
    for pair in ("--", "''", ",,"):
        text = text.replace(pair, f"{pair[0]}{{}}{pair[1]}{{}}")
    return text
