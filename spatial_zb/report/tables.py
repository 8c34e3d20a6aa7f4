"""One neutral table: what is said and where, before any file format.

A :class:`Table` holds bilingual words and unrounded numbers. A layout (``layouts.py``) makes one from tidy
frames, a writer (``writers/``) prints it; neither knows the other.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from numbers import Integral
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Literal

from spatial_zb.errors import SpecificationError, not_one_of
from spatial_zb.report.files import output_error, slug, write_atomic
from spatial_zb.text import LANGUAGES, Language, Text

__all__ = [
    "FORMATS",
    "JOURNALS",
    "RULE",
    "Cell",
    "HeaderCell",
    "Number",
    "Row",
    "Shown",
    "Table",
    "TableStyle",
    "body",
    "clean",
    "journal_style",
    "note_paragraphs",
    "section",
    "shown",
    "title_lines",
    "words",
    "write_table",
]

DASH = "–"  # en dash: not available
MINUS = "−"
_WRITERS = {
    "csv": "delimited",
    "tex": "latex",
    "md": "markdown",
    "docx": "word",
    "xlsx": "excel",
    "html": "web",
}
FORMATS: tuple[str, ...] = tuple(_WRITERS)
_NOTES = Text("Notes: ", "注：")
_SOURCES = ("Source", "资料来源", "数据来源")  # lines that need no other word before them
ENCLOSURES = {"none": ("", ""), "paren": ("(", ")"), "bracket": ("[", "]")}


@dataclass(frozen=True, slots=True)
class Number:
    """A number as a table shows it; the value itself is never rounded.

    Attributes
    ----------
    value
        NaN means not available and is shown as an en dash, without stars or parentheses.
    digits
        Decimals; None takes those of the style.
    stars
        How many stars follow (0–3).
    enclosure
        ``"none"``, ``"paren"`` or ``"bracket"``.
    notation
        ``"fixed"``: a value that would round to zero is shown in powers of ten.
        ``"rounded"``: such a value is shown as ``0.000`` or ``−0.000``, where the scale is known (Moran's I).
        ``"p_value"``: such a value is shown as ``<0.001``.
    """

    value: float
    digits: int | None = None
    stars: int = 0
    enclosure: Literal["none", "paren", "bracket"] = "none"
    notation: Literal["fixed", "rounded", "p_value"] = "fixed"


Cell = None | str | Text | int | Number


@dataclass(frozen=True, slots=True)
class HeaderCell:
    """One heading over ``span`` columns."""

    text: str | Text = ""
    span: int = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One line: ``"body"`` with a cell per column, ``"section"`` with one heading, or ``"rule"``."""

    cells: tuple[Cell, ...] = ()
    kind: Literal["body", "section", "rule"] = "body"


def body(*cells: Cell) -> Row:
    """Make a line of cells."""
    return Row(cells)


def section(text: str | Text) -> Row:
    """Make a heading inside the table."""
    return Row((text,), "section")


RULE = Row((), "rule")


@dataclass(frozen=True)
class Table:
    """A table without a file format.

    Attributes
    ----------
    title, key
        The caption, and the stem of file names.
    header
        Levels from top to bottom; the spans of each level add up to the number of columns.
    rows
        Lines of the body; the first column names the line.
    alignment
        ``"l"``, ``"c"`` or ``"r"`` for each column; empty gives left for the first, centre for the rest.
    notes
        Sentences below the table, each a paragraph.
    label
        Cross-reference name in LaTeX; empty gives ``tab:<key>``.

    Raises
    ------
    SpecificationError
        When spans, cells or alignments do not fit the columns, or a cell is of another kind (a bare float
        has no digits: wrap it in :class:`Number`).
    """

    title: str | Text
    key: str
    header: tuple[tuple[HeaderCell, ...], ...]
    rows: tuple[Row, ...]
    alignment: tuple[str, ...] = ()
    notes: tuple[str | Text, ...] = ()
    label: str = ""

    def __post_init__(self) -> None:
        for name in ("rows", "notes", "alignment"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "header", tuple(tuple(level) for level in self.header))
        if not self.header or not self.header[-1]:
            raise SpecificationError(
                f"Table {self.key!r} needs at least one header level with one column.",
                f"表{self.key!r}至少要有一层表头和一列。",
            )
        if not self.alignment:
            object.__setattr__(self, "alignment", ("l",) + ("c",) * (self.n_columns - 1))
        _check(self)

    @property
    def n_columns(self) -> int:
        """Count the columns."""
        return sum(cell.span for cell in self.header[-1])


def _check(table: Table) -> None:
    """Refuse a table whose parts do not fit together."""
    n = table.n_columns
    for i, level in enumerate(table.header):
        if sum(cell.span for cell in level) != n or any(cell.span < 1 for cell in level):
            raise SpecificationError(
                f"Header level {i + 1} of table {table.key!r} does not cover {n} columns; check its spans.",
                f"表{table.key!r}的第{i + 1}层表头没有覆盖{n}列；请核对跨列数。",
            )
    if len(table.alignment) != n or not set(table.alignment) <= {"l", "c", "r"}:
        raise SpecificationError(
            f"Table {table.key!r} needs an alignment l, c or r for each of {n} columns.",
            f"表{table.key!r}的{n}列各须有对齐方式l、c或r。",
        )
    for i, row in enumerate(table.rows):
        _check_row(table.key, i, row, n)


def _check_row(key: str, i: int, row: Row, n: int) -> None:
    """Refuse a row with too few cells or cells of an unknown kind."""
    needed = {"body": n, "section": 1, "rule": 0}.get(row.kind)
    if needed is None or len(row.cells) != needed:
        raise SpecificationError(
            f"Row {i + 1} of table {key!r} ({row.kind}) has {len(row.cells)} cells, not {needed}.",
            f"表{key!r}的第{i + 1}行（{row.kind}）有{len(row.cells)}个单元格，而不是{needed}个。",
        )
    for cell in row.cells:
        known = cell is None or isinstance(cell, str | Text | Number | Integral)
        if not known or isinstance(cell, bool):
            raise SpecificationError(
                f"Row {i + 1} of table {key!r} holds {cell!r}; use None, text, an integer or Number(...).",
                f"表{key!r}的第{i + 1}行含{cell!r}；请用None、文字、整数或Number(...)。",
            )


@dataclass(frozen=True, slots=True)
class TableStyle:
    """How tables are printed.

    Attributes
    ----------
    language
        ``"en"``, ``"zh"``, or ``"both"`` (English followed by Chinese wherever they differ).
    digits
        Decimals of numbers that do not bring their own.
    stars, thresholds
        Whether to mark p < thresholds[0], [1], [2] by one, two and three stars (strictly below).
    errors
        What accompanies an estimate: ``"std_error"``, ``"t"`` (estimate / standard error) or ``"p"``.
    error_position
        ``"below"`` in parentheses, or in a ``"column"`` of its own.
    """

    language: Literal["en", "zh", "both"] = "en"
    digits: int = 3
    stars: bool = True
    thresholds: tuple[float, float, float] = (0.10, 0.05, 0.01)
    errors: Literal["std_error", "t", "p"] = "std_error"
    error_position: Literal["below", "column"] = "below"

    def __post_init__(self) -> None:
        _one_of("language", self.language, (*LANGUAGES, "both"))
        _one_of("errors", self.errors, ("std_error", "t", "p"))
        _one_of("error_position", self.error_position, ("below", "column"))
        if not isinstance(self.digits, Integral) or not 0 <= self.digits <= 15:
            raise SpecificationError(
                f"digits must be an integer from 0 to 15, not {self.digits!r}.",
                f"digits须为0至15的整数，而不是{self.digits!r}。",
            )
        levels = tuple(self.thresholds)
        object.__setattr__(self, "thresholds", levels)
        if len(levels) != 3 or not 1 > levels[0] > levels[1] > levels[2] > 0:
            raise SpecificationError(
                f"thresholds must be three falling levels in (0, 1), not {levels!r}.",
                f"thresholds须为(0, 1)内递减的三个水平，而不是{levels!r}。",
            )

    @property
    def languages(self) -> tuple[Language, ...]:
        """Give the languages in the order they are printed."""
        return LANGUAGES if self.language == "both" else (self.language,)

    def count_stars(self, p_value: float) -> int:
        """Count the stars of a p-value; NaN, None and a style without stars give 0."""
        if not self.stars or p_value is None or math.isnan(p_value):
            return 0
        return sum(p_value < level for level in self.thresholds)


def _one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise not_one_of(name, value, allowed)


#: Habits of journals: ``default`` (stars, standard errors below), ``aea`` (American Economic Association: no
#: stars), ``t_ratios`` (many Chinese journals: ratios of estimate to error instead of errors), ``columns``
#: (regional science: errors in a column of their own).
JOURNALS: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "default": {},
        "aea": {"stars": False},
        "t_ratios": {"errors": "t"},
        "columns": {"error_position": "column"},
    }
)


def journal_style(journal: str = "default", **settings: object) -> TableStyle:
    """Give the style of a journal, with any of the settings of :class:`TableStyle` changed.

    Raises
    ------
    SpecificationError
        For an unknown journal, or a setting that :class:`TableStyle` refuses.
    """
    _one_of("journal", journal, tuple(JOURNALS))
    return TableStyle(**{**JOURNALS[journal], **settings})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Shown:
    """A cell in print: its text (numbers with a true minus sign), its stars, and whether it is a number."""

    text: str
    stars: str = ""
    numeric: bool = False


def shown(cell: Cell, style: TableStyle) -> Shown:
    """Print one cell; the text is not yet escaped for any format."""
    if cell is None:
        return Shown(DASH)
    if isinstance(cell, Number):
        return _shown_number(cell, style)
    if isinstance(cell, Integral):
        return Shown(str(int(cell)).replace("-", MINUS), numeric=True)
    return Shown(words(cell, style))


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
    if vanishes(value, digits) and notation != "rounded":
        text = f"<{10.0**-digits:.{digits}f}" if notation == "p_value" else f"{value:.1e}"
    else:
        text = f"{value:.{digits}f}" if value else f"{0:.{digits}f}"  # zero itself has no sign
    return text.replace("-", MINUS)


def vanishes(value: float, digits: int) -> bool:
    """Say whether a value that is not zero would be printed as zero."""
    return value != 0 and float(f"{value:.{digits}f}") == 0


def words(text: str | Text, style: TableStyle) -> str:
    """Give the words in the language of the style, on one line and free of control characters."""
    text = Text.of(text)
    picked = dict.fromkeys(clean(text.pick(language)) for language in style.languages)
    return " ".join(part for part in picked if part)


def clean(text: str) -> str:
    """Put text on one line: blanks become single, what no document can hold or should hide is removed.

    Removed are control characters, lone surrogates, noncharacters and invisible format marks (those that
    reorder text would let a name disguise a whole line). Joiners stay, scripts need them; so do private-use
    characters, which hold rare Chinese characters in older tables.
    """
    return "".join(ch for ch in " ".join(text.split()) if _visible(ch)).strip()


def _visible(ch: str) -> bool:
    code = ord(ch)
    if 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE:
        return False
    return ch in "\u200c\u200d" or unicodedata.category(ch) not in ("Cc", "Cf", "Cs")


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


def write_table(
    table: Table,
    folder: str | Path,
    formats: Sequence[str] = FORMATS,
    style: TableStyle | None = None,
) -> list[Path]:
    """Write ``<folder>/<key>.<format>`` for each format, each file atomically.

    The folder is made when it is missing. Every format shows the same rounded numbers; Excel keeps the
    full precision behind them. CSV holds one header line and the body only; the tidy frames with full
    precision are files of their own. Same table and style, same bytes.

    Parameters
    ----------
    formats
        Any of ``csv``, ``tex``, ``md``, ``docx``, ``xlsx``, ``html``.
    style
        Language and digits; stars and errors were settled by the layout.

    Raises
    ------
    SpecificationError
        For an unknown format.
    OutputError
        When a file cannot be written.
    """
    style = style or TableStyle()
    formats = [formats] if isinstance(formats, str) else list(formats)
    for name in formats:
        _one_of("A table format", name, FORMATS)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    return [
        write_atomic(folder / f"{slug(table.key)}.{name}", _writer(name).render(table, style))
        for name in formats
    ]


def _writer(name: str) -> ModuleType:
    """Import one writer when it is asked for: Word and Excel are slow to load."""
    return import_module(f"spatial_zb.report.writers.{_WRITERS[name]}")
