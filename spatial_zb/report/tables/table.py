"""One neutral table (what it says, before any file format), and the style in which tables are printed.

One neutral table: what is said and where, before any file format.

A :class:`Table` holds bilingual words and unrounded numbers. A layout (``layouts/``) makes one from tidy frames, a writer
(``writers/``) prints it; neither knows the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from spatial_zb.base import through_door
from spatial_zb.base.errors import SpecificationError, not_one_of
from spatial_zb.base.text import LANGUAGES, Language, Text

_CHOICES = {
    "language": (*LANGUAGES, "both"),
    "errors": ("std_error", "t", "p"),
    "error_position": ("below", "column"),
}


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
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise not_one_of(name, getattr(self, name), allowed)
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


Label = str | Text | Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class TableLook:
    """The words around a table, and its style: one object for all layouts.

    Parameters
    ----------
    title
        The caption; each layout has one of its own.
    key
        The stem of file names; each layout has one of its own.
    notes
        Further lines below the table, such as sources.
    words
        Words by name: of a variable, an equation, a unit, a weights matrix, a rule.
    style
        How it is printed.

    Examples
    --------
    >>> look = TableLook(title="Industry", words={"ln_pgdp": "GDP per head (log)"}, style=TableStyle(digits=4))
    >>> look.style.digits
    4
    """

    title: Label = ""
    key: str = ""
    notes: Sequence[Label] = ()
    words: Mapping[str, Label] = field(default_factory=dict)
    style: TableStyle = TableStyle()


#: The look of a table whose caller asks for none.
PLAIN = TableLook()

#: Habits of journals: ``default`` (stars, standard errors below), ``aea`` (American Economic Association: no
#: stars), ``t_ratios`` (many Chinese journals: ratios of estimate to error instead of errors), ``columns``
#: (regional science: errors in a column of their own).
JOURNALS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "default": {},
        "aea": {"stars": False},
        "t_ratios": {"errors": "t"},
        "columns": {"error_position": "column"},
    }
)


def journal_style(journal: str = "default", **settings: Any) -> TableStyle:
    """Give the style of a journal, with any of the settings of :class:`TableStyle` changed.

    Raises
    ------
    SpecificationError
        For an unknown journal, or a setting that :class:`TableStyle` refuses.
    """
    if journal not in JOURNALS:
        raise not_one_of("journal", journal, JOURNALS)
    return TableStyle(**{**JOURNALS[journal], **settings})


Enclosure = Literal["none", "paren", "bracket"]


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
    enclosure: Enclosure = "none"
    notation: Literal["fixed", "rounded", "p_value"] = "fixed"


@dataclass(frozen=True, slots=True)
class Link:
    """Words that lead to the table of a ``key``, or to the ``figure`` whose files have it as their stem."""

    text: str | Text
    key: str
    figure: bool = False


@dataclass(frozen=True, slots=True)
class Links:
    """What a line rests on. A report makes links of those that it shows; every other format prints the words."""

    parts: tuple[Link, ...]


Cell = None | str | Text | int | Number | Links


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
    header: Sequence[Sequence[HeaderCell]]
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

    def write(self, path: str | Path, style: TableStyle | None = None) -> Path:
        """Write the table to one file; the ending is the format: docx, xlsx, tex, md, csv or html.

        ``style`` has language and digits; stars and errors were settled by the layout.

        Raises
        ------
        SpecificationError
            Another ending.
        OutputError
            The file cannot be written.

        Examples
        --------
        >>> zb.tables.regression([fit]).write("models.docx")  # doctest: +SKIP
        """
        return through_door("write", "write_file")(self, path, style or TableStyle())

    def _repr_html_(self) -> str:
        return through_door("write", "shown")(self)


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
        known = cell is None or isinstance(cell, str | Text | Number | Integral | Links)
        if not known or isinstance(cell, bool):
            raise SpecificationError(
                f"Row {i + 1} of table {key!r} holds {cell!r}; use None, text, an integer or Number(...).",
                f"表{key!r}的第{i + 1}行含{cell!r}；请用None、文字、整数或Number(...)。",
            )
