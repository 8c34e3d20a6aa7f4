"""Every error the package raises on purpose. Nothing else escapes the public API for a bad input."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterable


class _InTwoLanguages(Exception):
    """A message in English and in Chinese: ``str()`` gives the English one, ``zh`` the Chinese.

    A message that has no Chinese yet is its English in both. Both are kept where it is pickled, so that a note of a
    worker process keeps its languages.
    """

    def __init__(self, en: str = "", zh: str | None = None) -> None:
        super().__init__(*((en,) if zh is None else (en, zh)))

    def __str__(self) -> str:
        return str(self.args[0])

    @property
    def zh(self) -> str:
        return str(self.args[-1])


class SpatialZbError(_InTwoLanguages):
    """Base of all errors of this package; its message names the culprit and the remedy."""


class DataError(SpatialZbError):
    """A table, a polygon layer or a value in them cannot be used."""


class AlignmentError(SpatialZbError):
    """Units of two objects do not match by id."""


class WeightsError(SpatialZbError):
    """A spatial weights matrix cannot be built or used."""


class SpecificationError(SpatialZbError):
    """A model, an expression or a study file asks for something that is not defined."""


class ConvergenceError(SpatialZbError):
    """An estimator did not reach a solution that can be reported."""


class OutputError(SpatialZbError):
    """A result cannot be written."""


class WorkerError(SpatialZbError):
    """A worker process died again and again on one task."""


class SpatialZbWarning(_InTwoLanguages, UserWarning):
    """Said once, in words, when a result stands but its reader should know something.

    ``SpatialZbWarning("in English", "中文")``: both at the place that knows the fact, so that a study in Chinese is
    told in Chinese.
    """


def not_one_of(
    name: str,
    value: object,
    allowed: Iterable[object],
    kind: type[SpatialZbError] = SpecificationError,
) -> SpatialZbError:
    """Make the error for an argument or setting whose value is not one of those allowed."""
    words = list(allowed)
    return kind(
        f"{name} must be one of {listed(words)}, not {value!r}.",
        f"{name}须为{listed_zh(words)}之一，而不是{value!r}。",
    )


def listed(items: Iterable[object], limit: int = 8) -> str:
    """Join items for a message: ``"a, b, c and 4 more"``; of an item in two languages, the English."""
    words = [visible(str(getattr(item, "en", item))) for item in items]
    if len(words) <= limit:
        return ", ".join(words)
    return f"{', '.join(words[:limit])} and {len(words) - limit} more"


def listed_zh(items: Iterable[object], limit: int = 8) -> str:
    """Join items for a message in Chinese: ``"a、b、c等7项"``; of an item in two languages, the Chinese."""
    words = [visible(str(getattr(item, "zh", item))) for item in items]
    shown = "、".join(words[:limit])
    return shown if len(words) <= limit else f"{shown}等{len(words)}项"


def visible(text: str) -> str:
    """A text in which signs that a reader cannot see stand as their number.

    Examples
    --------
    >>> visible("330101\\u200b")
    '330101<U+200B>'
    """
    if text.isprintable():
        return text
    unseen = {sign for sign in text if unicodedata.category(sign) in _UNSEEN or sign == "\u00a0"} - {"\n"}
    return "".join(f"<U+{ord(sign):04X}>" if sign in unseen else sign for sign in text)


#: Categories of Unicode without a sign to see: control, format, separators of lines and paragraphs.
_UNSEEN = {"Cc", "Cf", "Zl", "Zp"}


def joined_notes(caught: Iterable[warnings.WarningMessage]) -> str:
    """The warnings of this package among those caught, in English, each once, in one line."""
    said = [str(note.message) for note in caught if issubclass(note.category, SpatialZbWarning)]
    return "; ".join(dict.fromkeys(said))


def numbered(sentences: Iterable[str]) -> str:
    """Sentences as the numbered lines of a list."""
    return "\n".join(f"  {number}. {said}" for number, said in enumerate(sentences, start=1))
