"""LaTeX: a ``table`` with booktabs rules and notes below, for XeLaTeX or LuaLaTeX with ctex."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from spatial_zb.base.text import Text
from spatial_zb.report.tables.table import Cell, Row, Table, TableStyle
from spatial_zb.report.tables.text import (
    column_parts,
    continues,
    is_chinese,
    note_paragraphs,
    shown,
    starts,
    title_lines,
    typeset,
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
_PACKAGES = r"% \usepackage{booktabs, array, rotating, longtable} and, for Chinese, \usepackage{ctex}"

# Rooms are those of A4 with margins of 2.5 cm (455 by 703 points) in a document of 12 points, where type of a given name
# is largest: what fits there fits at 11 and 10 points.
_WIDE, _HIGH = 441.0, 680.0
#: Size of type and height of a line, in points, of the names that a table may have; none is smaller.
_SIZES = {r"\small": (10.95, 13.6), r"\footnotesize": (10.0, 12.0)}
#: White space between two columns, in widths of an M (twice \tabcolsep).
_GAP = 0.8
#: Least widths of names of rows and of words among numbers, in widths of an M: what reads well, what reads, what can be.
_EASY, _FAIR, _TIGHT = (15.0, 6.5), (10.0, 5.0), (5.0, 4.0)
#: No name of a row asks for more than this.
_WIDEST = 30.0


def render(table: Table, style: TableStyle) -> str:
    """Print a table as a fragment for ``\\input``; its first line names the packages it needs.

    A wide table is turned sideways, or parted below its headings where even that leaves no room. One longer than a page
    becomes a ``longtable``. Type is never smaller than ``\\footnotesize``.
    """
    caption = " ".join(_said(line) for line in title_lines(table, style))
    label = re.sub(r"[^A-Za-z0-9:_-]", "-", table.label or f"tab:{table.key}")
    caption = rf"\caption{{{caption}}}\label{{{label}}}"
    lines = [_PACKAGES, *_laid_out(table, style, caption, label)]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _Page:
    """How a table stands: the name of its type, the room across and down in points, sideways or not."""

    size: str
    across: float
    down: float
    sideways: bool = False

    @property
    def room(self) -> float:
        """Across, in widths of an M."""
        return self.across / _SIZES[self.size][0]


_UPRIGHT = [_Page(size, _WIDE, _HIGH) for size in _SIZES]
_TURNED = [_Page(size, _HIGH, _WIDE, sideways=True) for size in _SIZES]
#: Tried in turn.
_WAYS = [
    (page, ease)
    for pages, ease in (
        (_UPRIGHT, _EASY),
        (_UPRIGHT, _FAIR),
        (_TURNED, _EASY),
        (_UPRIGHT, _TIGHT),
        (_TURNED, _TIGHT),
    )
    for page in pages
]


def _laid_out(table: Table, style: TableStyle, caption: str, label: str) -> list[str]:
    """The first way of standing that has room, and where there is none the table in parts."""
    notes = note_paragraphs(table, style)
    for page, ease in _WAYS:
        widths = _widths(table, style, page.room, ease)
        if widths is None:
            continue
        if _height(table, style, widths, page) <= page.down:
            return _floating([(table, widths)], style, caption, page, notes)
        if not page.sideways:
            return _long([(table, widths)], style, caption, label, page, notes)
    page = _UPRIGHT[-1]
    parts = column_parts(table, lambda part: _widths(part, style, page.room, _FAIR) is not None)
    sized = [(part, _widths(part, style, page.room, _FAIR) or _floors(part, style)) for part in parts]
    high = sum(_height(replace(part, notes=(), title=""), style, widths, page) for part, widths in sized)
    if high + _words_height(table, style, page) <= page.down:
        return _floating(sized, style, caption, page, notes)
    return _long(sized, style, caption, label, page, notes)


# -- how wide and how high -----------------------------------------------------------------------------------

_THIN = dict.fromkeys("ijlfI.,;:'()[]|!", 0.32) | dict.fromkeys(" -/rt", 0.41)
_BROAD = dict.fromkeys("mw%−×±≤≥≠≈∞", 0.86) | dict.fromkeys("MW", 1.04)


@lru_cache(maxsize=8192)
def _em(text: str) -> float:
    """How wide text is at most, in widths of an M; fonts of the usual families differ by a few per cent."""
    wide = 0.0
    for sign in text:
        if unicodedata.east_asian_width(sign) in "WF":
            wide += 1.0
        else:
            wide += _THIN.get(sign) or _BROAD.get(sign) or (0.72 if sign.isupper() else 0.53)
    return wide


#: White space that ctex puts between a Chinese character and a Latin letter or digit.
_BETWEEN_SCRIPTS = 0.3


#: A word up to where it may break, or three Chinese characters, with the signs that no line may end or begin with.
_PIECE = re.compile(
    "[（《“‘]*(?:[^\\s\u2e80-\u9fff\uff00-\uffef（《“‘–-]+[–-]?|[–-]|[\u2e80-\u9fff]{1,3})[）》”’，。、：；？！]*"
)


@lru_cache(maxsize=8192)
def _longest(text: str) -> float:
    """The widest piece of a text that does not break."""
    between = _BETWEEN_SCRIPTS if is_chinese(text) else 0.0
    return max((_em(piece) + between for piece in _PIECE.findall(text)), default=0.0)


def _cell_em(cell: Cell, style: TableStyle) -> float:
    printed = shown(cell, style)
    return _em(printed.text) + 0.37 * len(printed.stars)


def _floors(table: Table, style: TableStyle) -> list[float]:
    """The least width of each column that can be."""
    return [least for least, _ in _extents(table, style, _TIGHT)]


def _extents(table: Table, style: TableStyle, ease: tuple[float, float]) -> list[tuple[float, float]]:
    """The least width of each column, and the one at which nothing of it breaks (headings in two lines)."""
    least, most = [1.0] * table.n_columns, [1.0] * table.n_columns
    for row in table.rows:
        for j, cell in enumerate(row.cells if row.kind == "body" else ()):
            wide, printed = _cell_em(cell, style), shown(cell, style)
            if not printed.numeric:
                enough = max(_longest(printed.text), ease[table.alignment[j] != "l"])
                least[j] = max(least[j], min(wide, enough))
            else:
                least[j] = max(least[j], wide)
            most[j] = max(most[j], min(wide, _WIDEST) if table.alignment[j] == "l" else wide)
    for level in reversed(table.header):
        for start, heading in zip(starts(level), level, strict=True):
            text, columns = words(heading.text, style), range(start, start + heading.span)
            between = _GAP * (heading.span - 1)
            for sizes, needed in ((least, _longest(text)), (most, max(_longest(text), _em(text) / 2))):
                lacking = needed - between - sum(sizes[j] for j in columns)
                for j in columns:
                    sizes[j] += max(0.0, lacking) / heading.span
    return [(low, max(low, high)) for low, high in zip(least, most, strict=True)]


def _widths(table: Table, style: TableStyle, room: float, ease: tuple[float, float]) -> list[float] | None:
    """A width for each column, so that all have room together; None where they have not even by breaking words."""
    extents = _extents(table, style, ease)
    spare = room - _GAP * (len(extents) - 1) - sum(least for least, _ in extents)
    if spare < 0:
        return None
    wanted = sum(most - least for least, most in extents)
    share = min(1.0, spare / wanted) if wanted else 0.0
    return [least + share * (most - least) for least, most in extents]


def _lines(wide: float, width: float) -> int:
    """Lines that text takes; broken between words it takes a little more than its width."""
    return 1 if wide <= width else math.ceil(1.12 * wide / width)


def _height(table: Table, style: TableStyle, widths: list[float], page: _Page) -> float:
    """Points that caption, rows and notes take."""
    line = _SIZES[page.size][1]
    total = sum(widths) + _GAP * (len(widths) - 1)
    high = 0.0
    for level in table.header:
        high += 1.3 + max(
            _lines(
                _em(words(cell.text, style)),
                sum(widths[start : start + cell.span]) + _GAP * (cell.span - 1),
            )
            for start, cell in zip(starts(level), level, strict=True)
        )
    for row in table.rows:
        if row.kind == "body":
            needed = (
                _lines(_cell_em(cell, style), width) for cell, width in zip(row.cells, widths, strict=True)
            )
            high += max(needed, default=1)
        elif row.kind == "section":
            high += 0.6 + _lines(_cell_em(row.cells[0], style), total)
        else:
            high += 0.8
    return (high + 2.0) * line + _words_height(table, style, page)


def _words_height(table: Table, style: TableStyle, page: _Page) -> float:
    """Points of the caption, in the type of the text, and of the notes."""
    titles = sum(_lines(_em(line) + 4, page.across / 12.0) for line in title_lines(table, style))
    notes = sum(_lines(_em(note), page.across / 10.0) for note in note_paragraphs(table, style))
    return 15.0 * titles + 12.6 * notes + 14.0


# -- what is printed -----------------------------------------------------------------------------------------

_Sized = tuple[Table, list[float]]


def _floating(
    parts: Sequence[_Sized], style: TableStyle, caption: str, page: _Page, notes: Sequence[str]
) -> list[str]:
    """Put the table where LaTeX finds room for it, its parts below each other."""
    environment = "sidewaystable" if page.sideways else "table"
    lines = [
        rf"\begin{{{environment}}}[{'p' if page.sideways else 'htbp'}]",
        r"\centering\setlength{\abovecaptionskip}{0pt}\setlength{\belowcaptionskip}{6pt}",
        caption,
        _type(page),
    ]
    for number, (table, widths) in enumerate(parts):
        lines += [
            *([r"\par\bigskip"] if number else []),
            rf"\begin{{tabular}}{{{_columns(table, style, widths)}}}",
            r"\toprule",
            *_header(table, style, widths),
            r"\midrule",
            *(_row(row, table, style, widths) for row in table.rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    return [*lines, *_below(notes), rf"\end{{{environment}}}"]


def _long(
    parts: Sequence[_Sized], style: TableStyle, caption: str, label: str, page: _Page, notes: Sequence[str]
) -> list[str]:
    """Let the table run over pages, its header repeated; further parts point to its number."""
    lines = [rf"\begingroup{_type(page)}\setlength{{\LTcapwidth}}{{\linewidth}}"]
    for number, (table, widths) in enumerate(parts):
        again = CONTINUED.pick(style.languages[0]).format(rf"\ref{{{label}}}")
        first = caption if not number else rf"\multicolumn{{{table.n_columns}}}{{c}}{{{again}}}"
        head = [r"\toprule", *_header(table, style, widths), r"\midrule"]
        lines += [
            rf"\begin{{longtable}}{{{_columns(table, style, widths, long=True)}}}",
            rf"{first}\\",
            *head,
            r"\endfirsthead",
            *head,
            r"\endhead",
            *_kept(table.rows, [_row(row, table, style, widths) for row in table.rows]),
            *(_end(table, notes) if number == len(parts) - 1 else [r"\bottomrule"]),
            r"\end{longtable}",
            *([r"\addtocounter{table}{-1}"] if number else []),  # every longtable takes a number
        ]
    return [*lines, r"\endgroup"]


def _kept(rows: Sequence[Row], lines: list[str]) -> list[str]:
    """The last rows stay together and with the notes; a heading with what it heads, a number with its error below."""
    below = [row.kind == "body" and row.cells[0] == "" for row in rows[1:]] + [False]
    stay = [
        own.kind == "section" or error or len(rows) - i <= _KEPT
        for i, (own, error) in enumerate(zip(rows, below, strict=True))
    ]
    return [
        line + "*" if kept and line.endswith(r"\\") else line for line, kept in zip(lines, stay, strict=True)
    ]


def _end(table: Table, notes: Sequence[str]) -> list[str]:
    """The last rule, and notes as a last row, as wide as the page and on the page of the row before.

    ``\\bottomrule`` ends with a space at which a page may break; the rule before notes is drawn without.
    """
    if not notes:
        return [r"\bottomrule"]
    told = "".join(rf"{_said(note)}\par " for note in notes)
    box = rf"\begin{{minipage}}[t]{{\textwidth}}\footnotesize\strut {told}\end{{minipage}}"
    rule = r"\noalign{\nobreak\vskip\aboverulesep\hrule height\heavyrulewidth\nobreak}"
    return [rule, rf"\multicolumn{{{table.n_columns}}}{{c}}{{\makebox[0pt][c]{{{box}}}}}\\"]


#: Rows of a long table that stay with its notes.
_KEPT = 6
#: Above a further part of a table, which has the number of the first.
CONTINUED = Text("Table {}, continued", "续表{}")


def _type(page: _Page) -> str:
    """Size and spacing: a document may have lines one and a half apart, a table has not."""
    return rf"{page.size}\linespread{{1}}\selectfont\setlength{{\tabcolsep}}{{{_GAP / 2:g}em}}\emergencystretch=3em"


def _columns(table: Table, style: TableStyle, widths: list[float], *, long: bool = False) -> str:
    """Give the column types; a column of words that are wider than it gets a width, in which they break.

    In a long table those below a shared heading too: the first run of LaTeX would add all of its width to the last of them.
    """
    spanned = {
        start + j
        for level in (table.header if long else ())
        for start, cell in zip(starts(level), level, strict=True)
        for j in range(cell.span if cell.span > 1 else 0)
    }
    # Numbers stand beside the last line of a name where errors follow below.
    kind = "b" if any(map(continues, table.rows)) else "p"
    types = []
    for j, side in enumerate(table.alignment):
        cells = (row.cells[j] for row in table.rows if row.kind == "body")
        breaks = side == "l" and any(_cell_em(cell, style) > widths[j] for cell in cells)
        fixed = rf"w{{{side}}}{{{widths[j]:.2f}em}}" if j in spanned else side
        types.append(rf">{{\raggedright\arraybackslash}}{kind}{{{widths[j]:.2f}em}}" if breaks else fixed)
    return f"@{{}}{''.join(types)}@{{}}"


def _header(table: Table, style: TableStyle, widths: list[float]) -> list[str]:
    """Print the levels, each heading that spans columns with a short rule below."""
    lines = []
    for level in table.header:
        places = zip(starts(level), level, strict=True)
        cells, rules = [], []
        for start, cell in places:
            room = sum(widths[start : start + cell.span]) + _GAP * (cell.span - 1)
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


def _row(row: Row, table: Table, style: TableStyle, widths: list[float]) -> str:
    if row.kind == "rule":
        return r"\midrule"
    if row.kind == "section":
        heading = shown(row.cells[0], style).text
        printed = _within(heading, sum(widths) + _GAP * (len(widths) - 1), "l", "t")
        printed = printed if is_chinese(heading) else rf"\textit{{{printed}}}"
        # The star keeps a heading from ending a page.
        return rf"\addlinespace \multicolumn{{{table.n_columns}}}{{@{{}}l}}{{{printed}}} \\*"
    cells = zip(row.cells, widths, table.alignment, strict=True)
    return " & ".join(_cell(cell, style, width, side) for cell, width, side in cells) + r" \\"


def _cell(cell: Cell, style: TableStyle, width: float, side: str) -> str:
    printed = shown(cell, style)
    stars = f"$^{{{printed.stars}}}$" if printed.stars else ""
    if printed.numeric or side == "l":  # a column of long text wraps by itself
        return _said(printed.text) + stars
    return _within(printed.text, width, side, "t") + stars


def _within(text: str, width: float, side: str, hold: str) -> str:
    """Text that takes more lines where it is wider than its column, held at its top or bottom line."""
    if _em(text) <= width:
        return _said(text)
    turn = {"l": r"\raggedright", "r": r"\raggedleft"}.get(side, r"\centering")
    broken = _said(text).replace("–", r"–\allowbreak{}")
    return rf"\parbox[{hold}]{{{width:.2f}em}}{{{turn} {broken}}}"


def _below(notes: Sequence[str]) -> list[str]:
    """Notes across the page: below a narrow table they would be a tower."""
    items = [rf"{_said(note)}\par" for note in notes]
    if not items:
        return []
    return [
        r"\par\smallskip\begin{minipage}{\linewidth}\footnotesize\emergencystretch=3em",
        *items,
        r"\end{minipage}",
    ]


def _said(text: str) -> str:
    return escape(typeset(text))


def escape(text: str) -> str:
    """Make text that LaTeX prints as it is: no command, no mathematics, no ligature."""
    text = text.translate(_ESCAPES)
    for pair in ("--", "''", ",,"):
        text = text.replace(pair, f"{pair[0]}{{}}{pair[1]}{{}}")
    return text
