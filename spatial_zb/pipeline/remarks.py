"""What the stages of a run hand on: tables, figures and words, and warnings said once, in full and in brief."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spatial_zb.base.errors import SpatialZbError, SpatialZbWarning
from spatial_zb.base.notes import FitWords, Note, NotesWarning, merged
from spatial_zb.base.text import Language, Text
from spatial_zb.models.notes import MEDIAN_UNBIASED
from spatial_zb.report.drawing.frame import Look

if TYPE_CHECKING:
    from spatial_zb.report.drawing.style import Drawing, FigureStyle
    from spatial_zb.report.paper import Plate


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
    """A figure of a stage by language, as an element of the page; ``stem`` is that of its files."""

    stage: str
    title: Text
    drawings: dict[Language, str]
    choices: Mapping[str, Text] = field(default_factory=dict)
    stem: str = ""


@dataclass(frozen=True, eq=False)
class AskedFigure:
    """A figure as it can be sent to another process: what draws it, in which look, and what is made of it.

    ``draw`` takes the look as ``look``. ``styles`` and ``folders`` by language; ``formats`` to be written, none where only
    the page or the paper has it. ``mark``: beginning of the ids in the page, where it is ``shown``; ``place``: folder of
    the paper that has it.
    """

    stem: str
    draw: Callable[..., Drawing]
    look: Look
    styles: Mapping[Language, FigureStyle]
    folders: Mapping[Language, Path]
    written: bool
    formats: tuple[str, ...]
    shown: Text | None = None
    mark: str = ""
    place: Path | None = None

    def make(self) -> tuple[dict[Language, str], dict[Language, Plate], list[Path]]:
        """Draw, write, and give the drawings for the page, the plates for the paper, and the files.

        Raises
        ------
        SpatialZbError
            It names the figure.
        """
        from spatial_zb.report.drawing.style import save_figure
        from spatial_zb.report.page.outlines import inline_svg
        from spatial_zb.report.paper import plate_of

        drawings: dict[Language, str] = {}
        plates: dict[Language, Plate] = {}
        files: list[Path] = []
        try:
            for language, style in self.styles.items():
                figure, folder = (
                    self.draw(look=replace(self.look, style=style)).figure,
                    self.folders[language],
                )
                if self.written:
                    files += save_figure(figure, folder, self.stem, self.formats)
                if self.place is not None:
                    plates[language] = plate_of(figure, folder, self.stem, self.formats, self.place)
                    files.append(self.place / plates[language].path)
                if self.shown is not None:
                    drawings[language] = inline_svg(
                        figure, self.shown.pick(language), f"{self.mark}{language}"
                    )
        except SpatialZbError as error:
            raise type(error)(f"Figure {self.stem}: {error}", f"图{self.stem}：{error.zh}") from error
        return drawings, plates, files


@dataclass(frozen=True, slots=True)
class Prose:
    """What a stage says in paragraphs."""

    stage: str
    title: Text
    paragraphs: tuple[Text, ...]
    choices: Mapping[str, Text] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """One finding in a sentence; its stage says of what kind it is, ``about`` of which model.

    ``aside``: of another sample or W than the first, which the paper says and the page has among its sentences alone.
    """

    stage: str
    text: Text
    about: str = ""
    aside: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """A finding that can be said aloud.

    ``about``: the model, system or variable it is of. ``rank``: 0 for a finding, 1 for how firm that of the same name is,
    which follows it, 2 for the same model in other samples or under other W.
    """

    about: str
    text: Text
    rank: int = 0


#: How a fit was made that says nothing of it, beside others that do.
_BY_ML = Text("by ML", "极大似然")
#: What the notes of a fit call by its name in Python.
IN_A_STUDY = Text(
    "What these notes call zb.median_unbiased(fit) a study prints below its tables with bootstrap = 999 in [study].",
    "以上提示中的zb.median_unbiased(fit)，在研究文件中即[study]的bootstrap = 999，结果列于表下。",
)


def notes_of(caught: Iterable[warnings.WarningMessage]) -> list[Text]:
    """This package's warnings in words, each once."""
    own = (w.message for w in caught if isinstance(w.message, SpatialZbWarning))
    return list(dict.fromkeys(Text(str(message), message.zh) for message in own))


@dataclass(frozen=True, slots=True)
class Remark:
    """A note to the reader: in full, in brief, and the number of the warning that first said it."""

    text: Text
    brief: Text
    number: int


def grouped_notes(caught: Iterable[warnings.WarningMessage]) -> list[Text]:
    """The same in fewer sentences: :func:`remarks`, in full."""
    return [remark.text for remark in remarks(caught)]


def remarks(caught: Iterable[warnings.WarningMessage]) -> list[Remark]:
    """What several fits are told alike said once, with the places it holds for; else each warning once.

    Notes are alike when they differ in numbers or in the names of a list only; those become ranges and longer lists.
    :func:`notes_of` has each as it was said.
    """
    messages: dict[str, tuple[int, SpatialZbWarning]] = {}
    for number, warning in enumerate(caught):
        if isinstance(warning.message, SpatialZbWarning):
            messages.setdefault(str(warning.message), (number, warning.message))
    alike: dict[tuple[Any, ...], list[Note]] = {}
    for note in _of_fits(message for _, message in messages.values()):
        alike.setdefault((note.kind, note.shape), []).append(note)
    found: dict[Text, Remark] = {}

    def add(text: Text, brief: Text, number: int) -> None:
        found.setdefault(text, Remark(text, brief, number))

    for number, message in messages.values():
        notes = list(_of_fits([message]))
        if not notes:
            text = Text(str(message), message.zh)
            add(text, _first_sentence(text), number)
            continue
        groups = [alike[note.kind, note.shape] for note in notes]
        own = [group[0] for group in groups if len(group) == 1]
        if own:
            together = NotesWarning.of(own)
            add(Text(str(together), together.zh), _first_sentence(own[0].text), number)
        for group in groups:
            if len(group) > 1:
                brief, n = merged(group), len(group)
                first = _first_sentence(brief)
                add(_together(group), Text(f"{first.en} ({n} fits)", f"{first.zh}（{n}个估计）"), number)
    if any(note.get("beside") == MEDIAN_UNBIASED for note in _of_fits(m for _, m in messages.values())):
        add(IN_A_STUDY, _first_sentence(IN_A_STUDY), max(number for number, _ in messages.values()))
    return list(found.values())


#: Characters of a remark in brief, of which a line has several.
BRIEF = 110


def _first_sentence(text: Text) -> Text:
    """Up to the first full stop, or less."""
    en = re.split(r"\. (?=[A-Z])|\.$", text.en, maxsplit=1)[0]
    zh = re.split(r"[。；]", text.zh, maxsplit=1)[0]
    return Text(_cut(en, BRIEF), _cut(zh, BRIEF // 2))


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    head = text[: most - 1]
    return (head.rsplit(" ", 1)[0] if text.isascii() else head).rstrip(" ,;:，；：、") + "…"


def brief_lines(found: Mapping[Text, Sequence[Remark]], most: int = 8) -> list[Text]:
    """Remarks by what they are about, in so few lines that a screen holds them.

    All of them in full where they are so few; else a line for each heading with the first of them in brief.
    """
    everything = [remark for group in found.values() for remark in group]
    if len(everything) <= most:
        return [remark.text for remark in everything]
    lines = []
    for heading, group in found.items():
        shown = list(dict.fromkeys(remark.brief for remark in group))[:2]  # alike in brief: once
        more = sum(remark.brief not in shown for remark in group)
        en, zh = "; ".join(brief.en for brief in shown), "；".join(brief.zh for brief in shown)
        lines.append(
            Text(
                f"{heading.en}: {en}" + (f"; and {more} more" if more else "") + ".",
                f"{heading.zh}：{zh}" + (f"；另有{more}条" if more else "") + "。",
            )
        )
    return lines[:most]


def _of_fits(messages: Iterable[Warning | str]) -> Iterator[Note]:
    """Notes about fits among warnings."""
    for message in messages:
        if isinstance(message, NotesWarning):
            yield from (note for note in message.notes if isinstance(note.subject, FitWords))


def _together(group: Sequence[Note]) -> Text:
    """One sentence for all: where it holds, then the note with ranges of its numbers."""
    fits: dict[Text, list[FitWords]] = {}
    for note in group:
        assert isinstance(note.subject, FitWords)
        fits.setdefault(note.subject.subject, []).append(note.subject)
    en = "; ".join(subject.en + _places(own, "en") for subject, own in fits.items())
    zh = "；".join(subject.zh + _places(own, "zh") for subject, own in fits.items())
    said = merged(group)
    return Text(f"{en}: {said.en}.", f"{zh}：{said.zh}。")


def _places(fits: Sequence[FitWords], language: Language) -> str:
    """How, under which matrices and of which samples fits of one subject were made; what they share is said once."""
    plain = _BY_ML.pick(language) if len({fit.how for fit in fits}) > 1 else ""
    made = [
        (
            plain if fit.how is None else fit.how.pick(language),
            repr(fit.weights),
            "" if fit.sample is None else fit.sample.pick(language),
        )
        for fit in fits
    ]
    ways = _gathered(((weights, sample), how) for how, weights, sample in made)
    matrices = _gathered(((how, sample), weights) for (weights, sample), how in ways.items())
    samples = _gathered(((how, weights), sample) for (how, sample), weights in matrices.items())
    parts = [(*map(_named, key), _named(own)) for key, own in samples.items()]
    if language == "en":
        return ", and".join(
            (f" {', '.join(how)}" if how else "")
            + f" under {', '.join(weights)}"
            + (f" (sample{'s' if len(own) > 1 else ''}: {', '.join(own)})" if own else "")
            for how, weights, own in parts
        )
    said = [
        "，".join(
            filter(None, ("、".join(how), "、".join(weights), f"样本：{'、'.join(own)}" if own else ""))
        )
        for how, weights, own in parts
    ]
    return f"（{'；'.join(said)}）" if said else ""


def _gathered(pairs: Iterable[tuple[tuple[Any, ...], Any]]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Values by key, each once, in the order they come."""
    found: dict[tuple[Any, ...], dict[Any, None]] = {}
    for key, value in pairs:
        found.setdefault(key, {})[value] = None
    return {key: tuple(values) for key, values in found.items()}


def _named(words: Iterable[str]) -> list[str]:
    return [word for word in words if word]
