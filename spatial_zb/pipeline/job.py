"""The running study as its stages see it: inputs, where results go, and what earlier stages made."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from spatial_zb.base.errors import SpatialZbError, SpatialZbWarning
from spatial_zb.base.execute import Execution
from spatial_zb.base.notes import warn_again
from spatial_zb.base.results import TestTable
from spatial_zb.base.text import LANGUAGES, Language, Text
from spatial_zb.base.threads import Beside
from spatial_zb.data.regions import select_regions
from spatial_zb.pipeline.prepare import Prepared
from spatial_zb.pipeline.remarks import (
    AskedFigure,
    MadeFigure,
    MadeTable,
    Prose,
    Reading,
    Remark,
    Verdict,
    notes_of,
    remarks,
)
from spatial_zb.pipeline.units import unit_names
from spatial_zb.pipeline.words import paper_figures, source_note, span_words
from spatial_zb.report.drawing.frame import Country, Look
from spatial_zb.report.tables.table import Table, TableLook, journal_style
from spatial_zb.study import Study

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

    from spatial_zb.effects.table import Effects
    from spatial_zb.explore.checks import MoranTable
    from spatial_zb.models.fit import Fit
    from spatial_zb.models.system.fit import SystemFit
    from spatial_zb.report.drawing.style import Drawing
    from spatial_zb.report.page import UnitPaths
    from spatial_zb.report.paper import Plate


AnyFit = TypeVar("AnyFit", "Fit", "SystemFit")


Section = TypeVar("Section")


def present(section: Section | None) -> Section:
    """A section of the study file, in a step that runs only where the study has it."""
    assert section is not None, "this step is of a section that the study has"
    return section


@dataclass(frozen=True, eq=False)
class Estimated:
    """A fit with its average effects (None where it has none), and the words for its choices.

    ``key``: names of its model or system, sample and weights, then its fixed effects or its method.
    """

    key: tuple[str, ...]
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
    verdicts
        Findings that can be said aloud, one for each model.
    readings
        What the stages say at more length.
    fits
        What was estimated.
    refused
        Why there is no fit, by the key that it would have.
    moran
        By sample, variable and weights.
    leads
        Tests of who leads whom by system, sample and weights.
    clusters
        Codes of local Moran clusters by unit id, under variable and period.
    warned
        Warnings of the run so far.
    paths
        Scenarios for the map of the report, each with its stage.
    titles
        Of the figures, by the stem of their files.
    plates
        Figures of the paper by stem and language, each with its title.
    began
        How many of them there were before each stage.
    beside, given
        The second process that writes tables and figures, where there is one; stage and taker of each of its tasks.
    stage_of
        The stage of each of their files.
    """

    items: list[MadeTable | MadeFigure | Prose] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    fits: list[Estimated] = field(default_factory=list)
    refused: dict[tuple[str, ...], SpatialZbError] = field(default_factory=dict)
    moran: dict[tuple[str, str, str], MoranTable] = field(default_factory=dict)
    leads: dict[tuple[str, str, str], TestTable] = field(default_factory=dict)
    clusters: dict[tuple[str, int], pd.Series] = field(default_factory=dict)
    warned: list[warnings.WarningMessage] = field(default_factory=list)
    paths: list[tuple[str, UnitPaths]] = field(default_factory=list)
    titles: dict[str, Text] = field(default_factory=dict)
    plates: dict[str, dict[Language, tuple[str, Plate]]] = field(default_factory=dict)
    began: dict[str, int] = field(default_factory=lambda: {"prepare": 0})
    beside: Beside | None = None
    given: list[tuple[str, Callable[[Any], None]]] = field(default_factory=list)
    stage_of: dict[str, str] = field(default_factory=dict)

    def gather(self) -> None:
        """Wait for tables and figures that are being written, and take what they gave where they were asked for."""
        if self.beside is None:
            return
        given, self.given[:] = list(self.given), []
        for (stage, take), done in zip(given, self.beside.collect(), strict=True):
            for note in done.notes:
                self._told(stage, note)
            take(done.value)

    def _told(self, stage: str, note: SpatialZbWarning) -> None:
        """Put a warning of a second process where its stage would have said it."""
        warn_again(note)
        later = [name for name, first in self.began.items() if first > self.began[stage]]
        at = min((self.began[name] for name in later), default=len(self.warned) - 1)
        self.warned.insert(at, self.warned.pop())
        self.began |= {name: self.began[name] + 1 for name in later}

    @property
    def stages(self) -> list[str]:
        """Stages that made something to show, in the order of work."""
        return list(dict.fromkeys(part.stage for part in (*self.items, *self.fits, *self.readings)))

    def estimated(self, kind: type[AnyFit], *key: str) -> tuple[AnyFit, Effects | None] | None:
        """A fit of this kind of an earlier stage of this run, with its effects; None where there is none."""
        for found in self.fits:
            if found.key == key and isinstance(found.fit, kind):
                return found.fit, found.effects
        return None

    def short_reading(self, lines: int = 3) -> list[Text]:
        """What the models say, each followed by how firm it is; what describes the data where there is no such finding."""
        if self.verdicts:
            order = {
                name: place
                for place, name in enumerate(dict.fromkeys(v.about for v in self.verdicts if not v.rank))
            }
            ordered = sorted(self.verdicts, key=lambda v: (order.get(v.about, len(order)), v.rank))
            return list(dict.fromkeys(verdict.text for verdict in ordered))
        return [reading.text for reading in self.readings[:lines]]

    @property
    def notes(self) -> list[Text]:
        """This package's warnings in words, each once."""
        return notes_of(self.warned)

    def remarks(self, words: Mapping[str, Text]) -> dict[Text, list[Remark]]:
        """The same, said once what several fits are told alike, by the words for the stage that said it first."""
        starts = [(first, stage) for stage, first in self.began.items()]  # in the order in which they ran
        found: dict[Text, list[Remark]] = {}
        for remark in remarks(self.warned):
            stage = [stage for first, stage in starts if first <= remark.number][-1]
            found.setdefault(words[stage], []).append(remark)
        return found


@dataclass(frozen=True, eq=False)
class Job:
    """A prepared study and the place its artefacts go to.

    ``made`` gathers what all stages of a run make, for the report. A job that does not write (``writes``)
    works for the report alone: it gathers and leaves the files of earlier runs as they are. ``execution``
    says on how many processes, or on which cluster, many fits are computed.
    """

    prepared: Prepared
    place: Path
    tick: Callable[[str], None]
    stage: str = ""
    made: Made = field(default_factory=Made)
    writes: bool = True
    execution: Execution = field(default_factory=Execution)

    @property
    def study(self) -> Study:
        return self.prepared.study

    @property
    def languages(self) -> tuple[Language, ...]:
        chosen = self.study.general.language
        return LANGUAGES if chosen == "both" else (chosen,)

    @property
    def source(self) -> Text | str:
        """The source of the data, as the note of a figure."""
        source = self.study.data.source
        return source_note(source) if source else ""

    def where(self, kind: str, language: Language) -> Path:
        """``tables`` or ``figures``; a folder of its own for each language when there are two."""
        return self.place / kind / language if len(self.languages) > 1 else self.place / kind

    def table(
        self,
        build: Callable[..., Table],
        look: TableLook,
        choices: Mapping[str, Text] | None = None,
        *,
        report_only: bool = False,
    ) -> None:
        """Write one table, in every format and language, and keep it for the report.

        Parameters
        ----------
        build
            Gives the table in the look of a language.
        look
            The words around it; its style is that of the study.
        choices
            What sets it apart from others of its stage, such as ``{"sample": Text, "weights": Text}``: the
            report shows one choice at a time.
        report_only
            The report shows it, no file holds it.
        """
        from spatial_zb.report.tables.writers import write_table

        settings = self.study.output.table_settings
        styles = {language: journal_style(language=language, **settings) for language in self.languages}
        tables = {language: build(look=replace(look, style=style)) for language, style in styles.items()}
        self.made.items.append(MadeTable(self.stage, tables, styles, choices or {}))
        if self.writes and not report_only:
            for language, table in tables.items():
                place = self.where("tables", language)
                self._later(
                    self._wrote, write_table, table, place, self.study.output.tables, styles[language]
                )

    def prose(
        self,
        stem: str,
        title: Text,
        paragraphs: Sequence[Text],
        choices: Sequence[Mapping[str, Text]] | Mapping[str, Text] | None = None,
    ) -> None:
        """Write paragraphs beside the tables, in every language, and keep them for the report.

        ``choices`` are those of :meth:`table`, for all paragraphs or for each.
        """
        from spatial_zb.report.files import write_atomic

        each = choices if isinstance(choices, Sequence) else [choices or {}] * len(paragraphs)
        for same, group in groupby(zip(each, paragraphs, strict=True), key=itemgetter(0)):
            self.made.items.append(Prose(self.stage, title, tuple(text for _, text in group), same))
        for language in self.languages if self.writes else ():
            target = self.where("tables", language)
            target.mkdir(parents=True, exist_ok=True)
            text = "\n\n".join(paragraph.pick(language) for paragraph in paragraphs)
            write_atomic(target / f"{stem}.txt", text + "\n")

    def tidy(self, name: str, frame: pd.DataFrame) -> None:
        """Write a full-precision frame for further work; Excel knows UTF-8 by a mark, which plain letters do not need."""
        from spatial_zb.report.files import write_atomic

        if not self.writes:
            return
        if not self.study.data.dated:
            frame = _of_a_cross_section(frame)
        target = self.place / "tidy"
        target.mkdir(parents=True, exist_ok=True)
        text = frame.to_csv(index=False, lineterminator="\n")
        write_atomic(target / f"{name}.csv", text if text.isascii() else f"\ufeff{text}")

    def figure(
        self,
        stem: str,
        draw: Callable[[Look], Drawing],
        look: Look,
        *,
        preset: str = "journal_double",
        shown: Text | None = None,
        titled: Text | None = None,
        choices: Mapping[str, Text] | None = None,
    ) -> None:
        """Draw and save one figure, in every format and language: ``look`` in the style of each.

        ``shown``: the report has it too, unless it is heavy, and this is what it is called there; ``titled``: what it is
        called elsewhere; ``choices`` are those of :meth:`table`.
        """
        from spatial_zb.report.drawing.style import PRESETS

        name = self.made.titles[stem] = shown or titled or Text.of(look.title or stem)
        in_page = shown is not None and self.study.output.report
        in_paper = self.study.output.paper and stem in paper_figures(self.study)
        if self.writes or in_page or in_paper:
            output = self.study.output
            asked = AskedFigure(
                stem,
                draw,
                look,
                {code: replace(PRESETS[preset], dpi=output.dpi, language=code) for code in self.languages},
                {code: self.where("figures", code) for code in self.languages},
                self.writes,
                tuple(output.figures),
                shown if in_page else None,
                f"f{len(self.made.titles)}",
                self.place if in_paper else None,
            )
            item = MadeFigure(self.stage, name, {}, choices or {}, stem)
            self.made.items += [item] if in_page else []
            self._later(partial(self._drew, asked, item), asked.make)
        self.tick(stem)

    def _later(self, take: Callable[[Any], None], function: Callable[..., Any], *arguments: Any) -> None:
        """Let tables or figures be made: now, or by a second process, and what they give be taken when all are gathered."""
        if self.made.beside is not None:
            self.made.given.append((self.stage, take))
            self.made.beside.give(function, *arguments)
        else:
            take(function(*arguments))

    def _wrote(self, files: Sequence[Path]) -> None:
        self.made.stage_of |= {path.relative_to(self.place).as_posix(): self.stage for path in files}

    def _drew(self, asked: AskedFigure, item: MadeFigure, made: tuple[Any, Any, Sequence[Path]]) -> None:
        """Keep what a figure gave: for the page unless it is heavy, and for the paper."""
        drawings, plates, files = made
        self._wrote(files)
        item.drawings.update(drawings)
        if asked.shown is not None and max(map(len, drawings.values()), default=0) > MOST_BYTES:
            self.made.items.remove(item)
        if plates:
            self.made.plates[asked.stem] = {code: (item.title.pick(code), p) for code, p in plates.items()}

    def say(self, what: Text, how_far: str) -> None:
        """Tell what is being done, in the language of the run."""
        self.tick(f"{what.pick(self.study.spoken)} · {how_far}")

    def saying(self, what: Text) -> Execution:
        """The execution of the run, which tells how far it is with something."""
        return replace(self.execution, progress=lambda done, total, left: self.say(what, f"{done}/{total}"))

    def seed(self, *key: str) -> np.random.SeedSequence:
        """A stream of its own for every task, whatever the order of work."""
        words = zlib.crc32("/".join(key).encode())
        return np.random.SeedSequence([self.study.general.seed, words])


#: A figure of more characters is for print only: the page stays small.
MOST_BYTES = 150_000


def _of_a_cross_section(frame: pd.DataFrame) -> pd.DataFrame:
    """A tidy frame without the columns that tell periods apart, and without their words."""
    frame = frame.drop(columns=["period", "n_periods", "fixed_effects"], errors="ignore")
    if "estimator" in frame:
        frame = frame.assign(estimator=frame["estimator"].replace({"lee_yu": "ml", "direct": "ml"}))
    return frame.rename(columns={"r2_within": "r2"})


def sample_notes(job: Job, *samples: str, year: int | None = None) -> list[Text]:
    """Which units the columns rest on, and which years or the one ``year``: what a reader needs to weigh small samples."""
    names = [(job.study.samples[s].label, len(job.prepared.samples[s])) for s in samples]
    years = span_words(job.prepared.panel.periods if year is None else [year])
    return [
        Text(
            "Sample: " + "; ".join(f"{label.en}, {n} units" for label, n in names) + f"; {years.en}.",
            "样本：" + "；".join(f"{label.zh}{n}个地区" for label, n in names) + f"；{years.zh}。",
        )
    ]


def weights_note(job: Job, name: str) -> Text:
    """Which W a figure or a table rests on."""
    label = job.study.weights[name].label
    return Text(f"Weights matrix: {label.en}.", f"空间权重矩阵：{label.zh}。")


def figure_note(job: Job, *samples: str, said: Text | None = None, year: int | None = None) -> Text:
    """What stands below a figure: what is special to it, its units and years, and the source of the data."""
    parts = [
        *([said] if said else []),
        *sample_notes(job, *samples, year=year),
        *([Text.of(job.source)] if job.source else []),
    ]
    return Text(" ".join(part.en for part in parts), "".join(part.zh for part in parts))


def map_look(job: Job, shown: Any, data: bool = True, **own: Any) -> Look:
    """The look of a map of the polygons ``shown``: ``own`` fields, the sources of the data and of the polygons, projection,
    review number, and the rest of the country where the study has the lines of its sea.
    """
    study, lines, layer = job.study, job.prepared.lines, job.prepared.regions
    country = None if lines is None else Country(layer[~layer.index.isin(shown.index)], lines)
    regions = present(study.regions)
    source, polygons = study.data.source if data else None, regions.source
    if source is not None and polygons is not None:
        source = Text(f"{source.en}; polygons: {polygons.en}.", f"{source.zh}；底图：{polygons.zh}。")
    said, crs = source or polygons or "", regions.projected_crs
    return Look(source=said, review_number=study.review_number, crs=crs, country=country, **own)


NO_TEXT = Text("", "")


def shown_regions(job: Job, sample: str | None = None) -> GeoDataFrame:
    """Polygons of a sample, by default the main one, and of the units that have no data: these are hatched on all maps."""
    prepared, name = job.prepared, sample or job.study.main_sample
    gone = prepared.left_out(name)
    polygons = prepared.polygons(name)
    return select_regions(prepared.regions, [*polygons.index, *gone]) if gone else polygons


def left_out_words(job: Job, sample: str | None = None, by_year: bool = True) -> Text:
    """Why units are hatched on a map, in some years too where it shows years (``by_year``); blank where none are."""
    names = unit_names(job.prepared)
    gone = [names.get(i, Text.of(i)) for i in job.prepared.left_out(sample or job.study.main_sample)]
    said = Text(
        f"Hatched, left out for lack of data: {', '.join(n.en for n in gone)}.",
        f"斜线：因缺数据未纳入（{'、'.join(n.zh for n in gone)}）。",
    )
    absent = Text("Hatched in some years: absent in these.", "仅在部分年份有斜线者：该年份无此地区。")
    uneven = job.prepared.sample(sample or job.study.main_sample).uneven
    parts = [*([said] if gone else []), *([absent] if uneven and by_year else [])]
    return Text(" ".join(part.en for part in parts), "".join(part.zh for part in parts))
