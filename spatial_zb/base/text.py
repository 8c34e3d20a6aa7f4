"""Words for readers in two languages: every label a reader sees is English and Chinese."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from spatial_zb.base.errors import SpecificationError, not_one_of

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
#: The period of a cross-section without a date: a number for arrays and files within, and no word for readers.
UNDATED = 0


@dataclass(frozen=True, slots=True)
class Text:
    """One label in English and Chinese.

    Raises
    ------
    SpecificationError
        By :meth:`of` when the object is neither text nor a mapping with ``en`` and/or ``zh``, and by
        :meth:`pick` for a language other than ``"en"`` or ``"zh"``.
    """

    en: str
    zh: str

    @classmethod
    def of(cls, value: str | Mapping[str, str] | Text) -> Text:
        """Make a Text of a plain string (same in both languages), a mapping, or a Text."""
        if isinstance(value, Text):
            return value
        if isinstance(value, str):
            return cls(value, value)
        if isinstance(value, Mapping) and value and set(value) <= {"en", "zh"}:
            return cls(value.get("en") or value["zh"], value.get("zh") or value["en"])
        raise SpecificationError(
            f"A label must be text or {{en = ..., zh = ...}}, not {value!r}.",
            f"标签须为文字或{{en = ..., zh = ...}}，而不是{value!r}。",
        )

    def pick(self, language: Language) -> str:
        """Give the words in one language."""
        if language not in LANGUAGES:
            raise not_one_of("language", language, LANGUAGES)
        return self.en if language == "en" else self.zh


def shown_path(path: object) -> str:
    """A path as a message names it: one that is too long to be read by its beginning and its length."""
    text = str(path)
    return text if len(text) <= 300 else f"{text[:80]}… ({len(text):,} characters)"


def display_width(text: str) -> int:
    """Count character cells: a Chinese character is as wide as two Latin ones."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def dated(words: Text, period: object) -> Text:
    """Words with their period behind a comma, ``"Unemployment, 2019"``; bare where the period is of no date."""
    return words if period == UNDATED else Text(f"{words.en}, {period}", f"{words.zh}，{period}年")


def period_runs(periods: Iterable[int], dash: str) -> str:
    """Periods as runs: ``2011–2013, 2015``."""
    runs: list[list[int]] = []
    for p in sorted(set(periods)):
        if runs and p == runs[-1][-1] + 1:
            runs[-1].append(p)
        else:
            runs.append([p])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}{dash}{run[-1]}" for run in runs)


def cell_of(unit: object, period: object, name: str = "") -> Text:
    """Words for one cell of a panel: ``"gdp of 330100 in 2011"``, ``"330100的gdp（2011）"``; without a name, its place."""
    if period == UNDATED:
        return Text(f"{name} of {unit}", f"{unit}的{name}") if name else Text.of(str(unit))
    if not name:
        return Text(f"{unit} in {period}", f"{unit}（{period}）")
    return Text(f"{name} of {unit} in {period}", f"{unit}的{name}（{period}）")
