"""Words for readers in two languages: every label a reader sees is English and Chinese."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from spatial_zb.base.errors import SpecificationError, listed, listed_zh, not_one_of

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


@functools.lru_cache(maxsize=4096)
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


# --- Names in lists


def refuse_repeats(names: tuple[str, ...], named: str | Text) -> None:
    """Refuse a list of ``named`` that has a name twice."""
    twice, what = sorted({name for name in names if names.count(name) > 1}), Text.of(named)
    if twice:
        raise SpecificationError(
            f"{what.en} names {listed(twice)} more than once.", f"{what.zh}重复列出{listed_zh(twice)}。"
        )


def refuse_strangers(names: Sequence[str], known: Sequence[str], what: str, where: Text) -> None:
    """Refuse names in option ``what`` that are not among those ``known``."""
    strangers = [name for name in names if name not in known]
    if strangers:
        raise SpecificationError(
            f"{what} names {listed(strangers)}, not among {where.en} ({listed(known)}). Add to {where.en} or drop.",
            f"{what}列出的{listed_zh(strangers)}不在{where.zh}（{listed_zh(known)}）之中。请加入{where.zh}或去掉。",
        )


class ListedEffects(str):
    """Effects that a list named one by one, as one text, which is read again as it is."""

    __slots__ = ()


def named_effects(given: Any, words: tuple[str, ...]) -> str:
    """Effects as one text: a word that has a meaning of its own, else the names of a list."""
    if isinstance(given, ListedEffects):
        return given
    if isinstance(given, str):
        if given not in words:
            raise not_one_of("fixed_effects", given, words)
        return given
    if not isinstance(given, Iterable) or not all(isinstance(name, str) and name.strip() for name in given):
        raise SpecificationError(
            f'fixed_effects must be one of {listed(words)}, or a list such as ["unit", "province*period"], not '
            f"{given!r}.",
            f'fixed_effects须为{listed_zh(words)}之一，或列表如["unit", "province*period"]，而不是{given!r}。',
        )
    names = ["*".join(part.strip() for part in name.split("*")) for name in given]
    names = ["period" if name == "time" else name for name in names]
    refuse_repeats(tuple(names), "fixed_effects")
    if any(name in words and name != "unit" for name in names):
        raise SpecificationError(
            f'fixed_effects lists {listed(names)}: a list names effects one by one, as "unit" and "period". A word such '
            'as "two_way" stands alone, without a list.',
            f'fixed_effects列出了{listed_zh(names)}：列表中逐一写出效应，如"unit"和"period"；"two_way"等词单独使用，不放入列表。',
        )
    if names and all("trend" in name.split("*") for name in names):
        raise SpecificationError(
            f"fixed_effects lists trends alone ({listed(names)}): the model would have no level. List the effects too, such "
            'as ["unit", "unit*trend"].',
            f'fixed_effects只列出了趋势（{listed_zh(names)}），模型便没有水平项。请同时列出效应，如["unit", "unit*trend"]。',
        )
    known = {(): "none", ("unit",): "unit", ("period",): "time", ("period", "unit"): "two_way"}
    return known.get(tuple(sorted(names)), ListedEffects(" + ".join(names)))
