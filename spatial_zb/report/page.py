"""What every figure opens with: its style and language, the caller's words around it, and a frame that has what it needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pandas as pd

from spatial_zb.errors import DataError, SpecificationError, listed, listed_zh
from spatial_zb.report.style import FigureStyle, context, words
from spatial_zb.text import Language, Text

__all__ = [
    "Page",
    "Words",
    "chosen_periods",
    "items",
    "joined",
    "open_page",
    "panel_letter",
    "period_words",
    "require_columns",
    "require_rows",
]

Words = str | Mapping[str, str] | Text


@dataclass(frozen=True, slots=True)
class Page:
    """The style of a figure, and the title and note the caller gave, in its language."""

    style: FigureStyle
    title: str = ""
    own_note: str = ""

    @property
    def language(self) -> Language:
        """Language of all words of the figure."""
        return self.style.language

    def say(self, text: Words, *values: object, limit: int | None = None) -> str:
        """One line in the language of the figure; ``values`` fill the places of a pattern."""
        said = Text.of(text).pick(self.language)
        return words(said.format(*values) if values else said, self.language, limit)

    def note(self, *told: str) -> str:
        """What the figure itself must tell, then the caller's note."""
        return joined((*told, self.own_note), self.language)


@contextmanager
def open_page(
    style: str | FigureStyle, language: Language | None, title: Words = "", note: Words = ""
) -> Iterator[Page]:
    """Set matplotlib to the style inside the block; gives the page to write on."""
    with context(style, language) as chosen:
        yield Page(chosen, words(title, chosen.language), words(note, chosen.language))


def joined(sentences: Sequence[str], language: Language) -> str:
    """Sentences one after the other; Chinese has no blank between them."""
    return (" " if language == "en" else "").join(part for part in sentences if part)


def period_words(period: object, language: Language) -> str:
    """A period as a heading: a year is 2019年 in Chinese."""
    name = str(period)
    return f"{name}年" if language == "zh" and name.isdigit() and len(name) == 4 else name


def items(names: Iterable[object], language: Language) -> str:
    """``"a, b and 3 more"``, in Chinese ``"a、b等5项"``."""
    return listed(names) if language == "en" else listed_zh(names)


def panel_letter(number: int, total: int) -> str:
    """``"(a) "`` before the heading of the first of several panels."""
    return f"({chr(ord('a') + number)}) " if 1 < total <= 26 else ""


def chosen_periods(known: Sequence, wanted: Sequence | None, what: Text) -> list:
    """Those wanted, all by default.

    Raises
    ------
    SpecificationError
        A period of which there is no ``what``.
    """
    unknown = [period for period in wanted or () if period not in known]
    if unknown:
        raise SpecificationError(
            f"There is no {what.en} of {listed(unknown)}; there are {listed(known)}.",
            f"没有{listed_zh(unknown)}的{what.zh}；已有{listed_zh(known)}。",
        )
    return list(known if wanted is None else wanted)


def require_columns(frame: pd.DataFrame, columns: Sequence[str], what: Text) -> None:
    """Refuse a frame that lacks columns.

    Raises
    ------
    DataError
        It says ``"The {what} has no column …"``.
    """
    lacking = [name for name in columns if name not in frame.columns]
    if lacking:
        raise DataError(
            f"The {what.en} has no column {listed(lacking)}.", f"{what.zh}没有列{listed_zh(lacking)}。"
        )


def require_rows(frame: pd.DataFrame, columns: Sequence[str], what: Text) -> None:
    """Refuse a frame that lacks columns or has no row, as :func:`require_columns` does."""
    require_columns(frame, columns, what)
    if frame.empty:
        raise DataError(f"The {what.en} has no row.", f"{what.zh}没有数据行。")
