"""How tables are printed: language, decimals, stars, and what stands beside an estimate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from types import MappingProxyType
from typing import Literal

from spatial_zb.errors import SpecificationError, not_one_of
from spatial_zb.text import LANGUAGES, Language

__all__ = ["JOURNALS", "TableStyle", "journal_style"]

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
    if journal not in JOURNALS:
        raise not_one_of("journal", journal, JOURNALS)
    return TableStyle(**{**JOURNALS[journal], **settings})  # type: ignore[arg-type]
