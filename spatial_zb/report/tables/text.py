"""Words and numbers of a table as every format prints them, and what the writers of paged formats share."""

from __future__ import annotations

import io
import math
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from numbers import Integral

from spatial_zb.base.text import Text, display_width
from spatial_zb.report.tables.table import Cell, HeaderCell, Links, Number, Row, Table, TableStyle

DASH = "–"  # en dash: not available
MINUS = "−"
ENCLOSURES = {"none": ("", ""), "paren": ("(", ")"), "bracket": ("[", "]")}
_NOTES = Text("Notes: ", "注：")
_SOURCES = ("Source", "资料来源", "数据来源")  # lines that need no other word before them


@dataclass(frozen=True, slots=True)
class Shown:
    """A cell in print: its text (numbers with a true minus sign), its stars, and whether it is a number."""

    text: str
    stars: str = ""
    numeric: bool = False


@lru_cache(maxsize=8192, typed=True)
def shown(cell: Cell, style: TableStyle) -> Shown:
    """Print one cell; the text is not yet escaped for any format.

    Kept, since every writer measures what it prints several times.
    """
    if cell is None:
        return Shown(DASH)
    if isinstance(cell, Number):
        return _shown_number(cell, style)
    if isinstance(cell, Integral):
        return Shown(str(int(cell)).replace("-", MINUS), numeric=True)
    if isinstance(cell, Links):
        parts = [words(part.text, style) for part in cell.parts]
        return Shown(between(style).join(parts) or DASH)
    assert isinstance(cell, str | Text), "Table refuses other cells"
    return Shown(words(cell, style))


def between(style: TableStyle) -> str:
    """What stands between words in a list."""
    return "、" if style.language == "zh" else ", "


def _shown_number(cell: Number, style: TableStyle) -> Shown:
    value = float(cell.value)
    if math.isnan(value):
        return Shown(DASH)
    before, after = ENCLOSURES[cell.enclosure]
    text = _digits(value, style.digits if cell.digits is None else cell.digits, cell.notation)
    return Shown(f"{before}{text}{after}", "*" * cell.stars, numeric=True)


def _digits(value: float, digits: int, notation: str) -> str:
    """Print a float; a value lost in rounding keeps its size (1.2e-06), becomes ``<0.001``, or its sign."""
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    small = vanishes(value, digits) or (
        value == 0 and notation == "p_value"
    )  # no p-value is zero, but it may underflow
    if small and notation != "rounded":
        text = f"<{10.0**-digits:.{digits}f}" if notation == "p_value" else f"{value:.1e}"
    else:
        text = f"{value:,.{digits}f}" if value else f"{0:.{digits}f}"  # zero itself has no sign
    return text.replace("-", MINUS)


def vanishes(value: float, digits: int) -> bool:
    """Say whether a value that is not zero would be printed as zero."""
    return value != 0 and float(f"{value:.{digits}f}") == 0


def words(text: str | Text, style: TableStyle) -> str:
    """Give the words in the language of the style, on one line and free of control characters."""
    text = Text.of(text)
    picked = dict.fromkeys(clean(text.pick(language)) for language in style.languages)
    return " ".join(part for part in picked if part)


@lru_cache(maxsize=8192)
def clean(text: str) -> str:
    """Put text on one line: blanks become single, what no document can hold or should hide is removed.

    Removed are control characters, lone surrogates, noncharacters and invisible format marks (those that
    reorder text would let a name disguise a whole line). Joiners stay, scripts need them; so do private-use
    characters, which hold rare Chinese characters in older tables.
    """
    line = " ".join(text.split())
    if line.isascii() and line.isprintable():
        return line
    return "".join(ch for ch in line if _visible(ch)).strip()


def _visible(ch: str) -> bool:
    code = ord(ch)
    if 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE:
        return False
    return ch in "\u200c\u200d" or unicodedata.category(ch) not in ("Cc", "Cf", "Cs")


_APOSTROPHE = re.compile(r"(?<=\w)'(?=\w)|(?<=s)'(?=\s)")
_QUOTED = re.compile(r'"([^"]*)"')


def typeset(text: str) -> str:
    """Curly apostrophes and quotation marks for the straight ones of a keyboard, as in the rest of a document."""
    return _QUOTED.sub("“\\1”", _APOSTROPHE.sub("’", text))


def title_lines(table: Table, style: TableStyle) -> list[str]:
    """Give the caption, one line for each language."""
    return _paragraphs(Text.of(table.title), style)


def note_paragraphs(table: Table, style: TableStyle) -> list[str]:
    """Give the notes as paragraphs, language by language; the first of each starts with the word "Notes"."""
    return list(_notes(table, style))


def _notes(table: Table, style: TableStyle) -> Iterator[str]:
    for language in style.languages:
        lines = [clean(Text.of(note).pick(language)) for note in table.notes]
        for i, line in enumerate(line for line in lines if line):
            yield f"{_NOTES.pick(language)}{line}" if i == 0 and not line.startswith(_SOURCES) else line


def _paragraphs(text: Text, style: TableStyle) -> list[str]:
    lines = dict.fromkeys(clean(text.pick(language)) for language in style.languages)
    return [line for line in lines if line]


# The first moment a zip archive can hold: documents carry no time of writing, so that equal means equal.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def continues(row: Row | None) -> bool:
    """Say whether a row belongs to the one above: it has no name of its own (standard errors)."""
    return row is not None and row.kind == "body" and row.cells[0] == ""


@lru_cache(maxsize=8192)
def is_chinese(text: str) -> bool:
    """Say whether there is a Chinese character: Chinese type has no italics."""
    return any(unicodedata.east_asian_width(sign) in "WF" for sign in text)


def sliced(table: Table, columns: Sequence[int]) -> Table:
    """The table with some of its columns, in their order; headings over several keep what is left of them."""
    chosen = sorted(set(columns))
    header = []
    for level in table.header:
        spans = [
            sum(start <= j < start + cell.span for j in chosen)
            for start, cell in zip(starts(level), level, strict=True)
        ]
        header.append([HeaderCell(cell.text, n) for cell, n in zip(level, spans, strict=True) if n])
    rows = tuple(
        Row(tuple(row.cells[j] for j in chosen)) if row.kind == "body" else row for row in table.rows
    )
    return replace(table, header=header, rows=rows, alignment=tuple(table.alignment[j] for j in chosen))


def column_parts(table: Table, fits: Callable[[Table], bool]) -> list[Table]:
    """Parts of a table that is too wide, each with its first column: what stands below one heading stays together.

    ``fits`` says of a part whether it has room. A heading over more columns than have room is broken all the same, and a
    single column that has none stands alone.
    """
    top = max(table.header, key=lambda level: max((cell.span for cell in level[1:]), default=0))
    blocks = [
        list(range(max(start, 1), start + cell.span))
        for start, cell in zip(starts(top), top, strict=True)
        if start + cell.span > 1
    ]
    parts: list[list[int]] = []
    for block in blocks:
        if parts and fits(sliced(table, [0, *parts[-1], *block])):
            parts[-1] += block
        elif fits(sliced(table, [0, *block])):
            parts.append(block)
        else:
            parts.append(block[:1])
            for column in block[1:]:
                if fits(sliced(table, [0, *parts[-1], column])):
                    parts[-1].append(column)
                else:
                    parts.append([column])
    return [sliced(table, [0, *part]) for part in parts]


def starts(level: Sequence[HeaderCell]) -> list[int]:
    """Give the first column of each heading of a level."""
    return [0, *accumulate(cell.span for cell in level)][:-1]


def column_widths(
    table: Table, style: TableStyle, widest: int = 28, *, narrow: int = 14, wrap_header: bool = True
) -> list[int]:
    """Estimate the width of each column in characters, for text that wraps.

    Columns of text (aligned left) wrap beyond ``widest``, words among numbers beyond ``narrow``, headings
    at about two lines. A heading over several columns widens them evenly when it needs more than they have
    together.
    """
    widths = [2] * table.n_columns
    for row in table.rows:
        for j, cell in enumerate(row.cells if row.kind == "body" else ()):
            printed = shown(cell, style)
            # Superscript stars take about half their width.
            width = display_width(printed.text) + (len(printed.stars) + 1) // 2
            most = widest if table.alignment[j] == "l" else narrow
            widths[j] = max(widths[j], width if printed.numeric else min(width, most))
    for level in reversed(table.header):
        for start, heading in zip(starts(level), level, strict=True):
            columns = range(start, start + heading.span)
            have = sum(widths[j] for j in columns)
            needed = display_width(words(heading.text, style))
            if wrap_header and needed > 12:
                needed = -(-min(needed, widest) * 2 // 3)
            for j in columns:
                widths[j] += -(-max(0, needed - have) // heading.span)
    return widths


def same_bytes(archive: bytes) -> bytes:
    """Rewrite a zip archive (docx, xlsx) without the times and the system it was made on."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as old,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            new.writestr(entry, old.read(name))
    return target.getvalue()
