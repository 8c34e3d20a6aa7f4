"""What the stages of one run have made so far: the last stage puts the report together from it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from spatial_zb.pipeline.notes import grouped_notes, notes_of
from spatial_zb.text import Language, Text

if TYPE_CHECKING:
    from spatial_zb.effects import Effects
    from spatial_zb.explore import MoranTable
    from spatial_zb.models.fit import Fit
    from spatial_zb.models.system_fit import SystemFit

__all__ = ["Estimated", "Made", "MadeFigure", "MadeTable", "Prose", "Reading"]


#: Stages whose readings come first in the short one.
OF_MODELS = ("models", "systems", "compare")


@dataclass(frozen=True, eq=False)
class MadeTable:
    """A table of a stage by language with its style there.

    ``choices`` says what sets it apart, such as ``{"weights": Text}``.
    """

    stage: str
    tables: Mapping[Language, Any]
    styles: Mapping[Language, Any]
    choices: Mapping[str, Text] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class MadeFigure:
    """A figure of a stage by language, as an element of the page."""

    stage: str
    title: Text
    drawings: Mapping[Language, str]
    choices: Mapping[str, Text] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prose:
    """What a stage says in paragraphs."""

    stage: str
    title: Text
    paragraphs: tuple[Text, ...]
    choices: Mapping[str, Text] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """One finding in a sentence; its stage says of what kind it is."""

    stage: str
    text: Text


@dataclass(frozen=True, eq=False)
class Estimated:
    """A fit with its average effects (None where it has none), and the words for its choices."""

    stage: str
    title: Text
    choices: Mapping[str, Text]
    fit: Fit | SystemFit
    effects: Effects | None


@dataclass(eq=False)
class Made:
    """Gathered by the jobs of one run, in the order of work.

    Attributes
    ----------
    items
        Tables, figures and paragraphs.
    readings
        Findings in a sentence.
    fits
        What was estimated.
    moran
        By sample, variable and weights.
    clusters
        Codes of local Moran clusters by unit id, under variable and period.
    warned
        Warnings of the run so far.
    """

    items: list[MadeTable | MadeFigure | Prose] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    fits: list[Estimated] = field(default_factory=list)
    moran: dict[tuple[str, str, str], MoranTable] = field(default_factory=dict)
    clusters: dict[tuple[str, int], pd.Series] = field(default_factory=dict)
    warned: list[warnings.WarningMessage] = field(default_factory=list)

    @property
    def stages(self) -> list[str]:
        """Stages that made something to show, in the order of work."""
        return list(dict.fromkeys(part.stage for part in (*self.items, *self.fits, *self.readings)))

    def short_reading(self, lines: int = 3) -> list[Text]:
        """What the models say and how firm it is; what describes the data fills up to three lines."""
        ordered = sorted(self.readings, key=lambda reading: reading.stage not in OF_MODELS)
        return [reading.text for reading in ordered[:lines]]

    @property
    def notes(self) -> list[Text]:
        """This package's warnings in words, each once."""
        return notes_of(self.warned)

    @property
    def short_notes(self) -> list[Text]:
        """The same with what several fits are told alike in one sentence, for readers."""
        return grouped_notes(self.warned)
