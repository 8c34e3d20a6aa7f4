"""A whole study, checked and frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from spatial_zb.base.text import Language, Text
from spatial_zb.study.entries import place_of
from spatial_zb.study.sections import (
    LISTS,
    NAMED,
    Claim,
    Compare,
    Concentration,
    Constant,
    Coupling,
    Data,
    Dynamics,
    Figures,
    General,
    IdsOfTable,
    Index,
    Maps,
    Missing,
    Model,
    Moran,
    Output,
    Regions,
    Sample,
    Scenario,
    Suspect,
    System,
    Variable,
    Weight,
    WeightsFile,
)
from spatial_zb.study.sections.inputs import Rule
from spatial_zb.study.values import STUDY_VERSION, Section


@dataclass(frozen=True, slots=True)
class Study:
    """A checked study: what its file says, where the file is, and which bytes it had.

    Attributes
    ----------
    path, root : Path
        The study file and the project folder that its paths start from.
    sha256 : str
        Of the bytes of the study file.
    general, regions, data, moran, concentration, dynamics, compare, maps, figures, output
        The single tables (``[study]`` is ``general``); ``regions``, ``moran``, ``compare``, ``maps`` and ``figures`` are
        None where absent.
    constants, variables, indices, coupling, weights, samples, models, systems, scenarios
        Read-only mappings by name, in the order of the file; every item knows its ``name``.
    missing, suspect, claims
        Tuples of :class:`Missing`, :class:`Suspect` and :class:`Claim`, in the order of the file.
    lines : mapping of str to int
        Line of every dotted place, for messages: see :meth:`place`.
    """

    path: Path
    root: Path
    sha256: str
    general: General
    regions: Regions | None
    data: Data
    constants: Mapping[str, Constant]
    variables: Mapping[str, Variable]
    indices: Mapping[str, Index]
    coupling: Mapping[str, Coupling]
    weights: Mapping[str, Weight]
    samples: Mapping[str, Sample]
    models: Mapping[str, Model]
    systems: Mapping[str, System]
    scenarios: Mapping[str, Scenario]
    missing: tuple[Missing, ...]
    suspect: tuple[Suspect, ...]
    claims: tuple[Claim, ...]
    moran: Moran | None
    concentration: Concentration | None
    dynamics: Dynamics | None
    compare: Compare | None
    maps: Maps | None
    figures: Figures | None
    output: Output
    lines: Mapping[str, int] = field(repr=False)

    def __repr__(self) -> str:
        parts = {
            "weights": self.weights,
            "samples": self.samples,
            "models": self.models,
            "systems": self.systems,
        }
        named = "; ".join(f"{part} {', '.join(of)}" for part, of in parts.items() if of)
        return f"Study({self.general.name!r}; {named})"

    @property
    def name(self) -> str:
        """Slug of the study: the name of its results folder."""
        return self.general.name

    @property
    def table_name(self) -> str:
        """The table of the data, for messages: its file, or the polygons whose attributes it is."""
        return self.data.file or ", ".join(self.regions.files if self.regions else ())

    @property
    def mapped(self) -> bool:
        """Whether it has polygons, and so maps."""
        return self.regions is not None

    @property
    def spoken(self) -> Language:
        """Language of what is said on the way: Chinese for a study in Chinese alone, else English."""
        return "zh" if self.general.language == "zh" else "en"

    @property
    def main_sample(self) -> str:
        """Name of the sample used where a table names none."""
        return self.general.sample or next(iter(self.samples))

    @property
    def review_number(self) -> str | None:
        """审图号 of the maps: None where it is still to be given, blank where no line is wanted."""
        given = (self.maps.review_number if self.maps else None) or (
            self.regions.review_number if self.regions else ""
        )
        number = (given or "").strip()
        return "" if number.lower() == "none" else number or None

    def own_period(self, variable: str) -> int | None:
        """The period that the figures of a variable are of, where it is not that of the row."""
        return self.variables[variable].of_period if variable in self.variables else None

    def samples_of(self, part: Moran | Model | System | Compare) -> tuple[str, ...]:
        """Names of the samples of a Moran table or model: those it lists, else the main sample."""
        return part.samples or (self.main_sample,)

    def weights_of(self, part: Moran | Model | System | Compare) -> tuple[str, ...]:
        """Names of the weights it lists; else all for Moran tables and comparisons, the first of the file for a model."""
        every = tuple(self.weights)
        return part.weights or (every if isinstance(part, Moran | Compare) else every[:1])

    @property
    def results(self) -> Path:
        """Folder that the results go to."""
        return self.root / self.output.folder / self.general.name

    def file(self, relative: str) -> Path:
        """Where a file named in the study is on disk."""
        return self.root / relative

    def with_language(self, language: Literal["en", "zh", "both"]) -> Study:
        """Give the same study with its tables and figures in another language."""
        return replace(self, general=self.general.model_copy(update={"language": language}))

    def files(self) -> dict[str, Path]:
        """Input files by role: regions (regions.2 … where there are several), lines, data, reference (reference.2 …),
        codebook, flags, events, weights.<name>.
        """
        named: dict[str, str | None] = _numbered("regions", self.regions.files if self.regions else ())
        named |= {"lines": self.regions.lines if self.regions else None, "data": self.data.file}
        named |= _numbered("reference", self.data.references)
        named |= {"codebook": self.data.codebook, "flags": self.data.flags, "events": self.data.events}
        files = {n: w for n, w in self.weights.items() if isinstance(w, WeightsFile)}
        named |= {f"weights.{n}": w.file for n, w in files.items()}
        named |= {f"weights.{n}.ids": w.ids.file for n, w in files.items() if isinstance(w.ids, IdsOfTable)}
        return {role: self.file(text) for role, text in named.items() if text is not None}

    def rules(self) -> dict[str, Rule]:
        """Rule for blank cells by column, as :func:`spatial_zb.data.missing.fill_missing` takes it."""
        return {column: entry.rule for entry in self.missing if not entry.units for column in entry.columns}

    def exceptions(self) -> dict[tuple[str, str], Rule]:
        """Rule for blank cells by column and unit, where it is not that of the column."""
        return {
            (column, unit): entry.rule
            for entry in self.missing
            for column in entry.columns
            for unit in entry.units
        }

    def place(self, dotted: str) -> Text:
        """Say where a setting is, for a message: ``"variables.talent.expression (line 41)"``."""
        return place_of(dotted, self.lines)

    def settings(self) -> dict[str, Any]:
        """Give all settings, defaults included, as plain dicts, lists and numbers for the manifest."""
        single: dict[str, Section | None] = {
            "study": self.general,
            "regions": self.regions,
            "data": self.data,
            "output": self.output,
        }
        single |= {
            "moran": self.moran,
            "concentration": self.concentration,
            "dynamics": self.dynamics,
            "compare": self.compare,
            "maps": self.maps,
        }
        single |= {"figures": self.figures}
        plain: dict[str, Any] = {"version": STUDY_VERSION}
        plain |= {key: part.model_dump(mode="json") for key, part in single.items() if part is not None}
        for key in LISTS:
            plain[key] = [part.model_dump(mode="json") for part in getattr(self, key)]
        for key in NAMED:
            named = getattr(self, key)
            if key in ("indices", "coupling", "scenarios") and not named:
                continue
            plain[key] = {
                name: part.model_dump(mode="json", exclude={"name"}) for name, part in named.items()
            }
        return plain


def _numbered(role: str, files: tuple[str, ...]) -> dict[str, str | None]:
    """Files of one role: the first under its name, the second as ``role.2``."""
    return {f"{role}.{i}" if i > 1 else role: text for i, text in enumerate(files, 1)}
