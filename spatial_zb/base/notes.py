"""What a result has to say for itself: facts as data, their words, and the one way to tell them.

A fact is a frozen :class:`Note`; it becomes words where it is read. :func:`tell` warns of notes and :func:`warn` of a
sentence; :func:`merged` says in one sentence what several results are told alike.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, ParamSpec

import numpy as np

from spatial_zb.base.errors import SpatialZbWarning
from spatial_zb.base.text import LANGUAGES, Language, Text

P = ParamSpec("P")
#: A file and a line of it.
Place = tuple[str, int]

# Facts ----------------------------------------------------------------------------------------------------


class Kind(Generic[P]):
    """One kind of fact, made of the function that says it: ``Text`` of its numbers, without the last full stop.

    Called with the numbers it gives a :class:`Note`. The function only writes numbers down: when notes are merged it is
    given a range in place of each number that differs, and all names in place of a tuple of names.

    >>> @Kind
    ... def few_units(units: int) -> Text:
    ...     return Text(f"only {units} units", f"仅{units}个地区")
    >>> str(few_units(8))
    'only 8 units'
    """

    def __init__(self, words: Callable[P, Text]) -> None:
        self.words = words
        self.name = self.__qualname__ = words.__name__
        self.__module__, self.__doc__ = words.__module__, words.__doc__
        self._signature = inspect.signature(words)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Note:
        given = self._signature.bind(*args, **kwargs).arguments
        return Note(self, None, tuple((name, _plain(value)) for name, value in given.items()))

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        return self.name  # found again by its name in its module


def _plain(value: Any) -> Any:
    """Numbers of Python, and tuples in place of lists, so that notes can be compared and kept."""
    if isinstance(value, np.generic):
        return value.item()
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value


@dataclass(frozen=True, slots=True)
class FitWords:
    """What a note about a fit is about: ``SDM of 'y' by GMM under 'queen' (sample: Delta)``.

    ``how`` is with random effects, by GMM, or nothing; ``sample`` is set where a study has several.
    """

    subject: Text
    weights: str
    how: Text | None = None
    sample: Text | None = None

    @property
    def en(self) -> str:
        """All in English."""
        how = "" if self.how is None else f" {self.how.en}"
        sample = "" if self.sample is None else f" (sample: {self.sample.en})"
        return f"{self.subject.en}{how} under {self.weights!r}{sample}"

    @property
    def zh(self) -> str:
        """All in Chinese."""
        how = "" if self.how is None else f"{self.how.zh}，"
        sample = "" if self.sample is None else f"，样本：{self.sample.zh}"
        return f"{self.subject.zh}（{how}{self.weights!r}{sample}）"


def fit_words(kind: str, y: str, weights: str, how: Text | None = None) -> FitWords:
    """What a note about one equation is about."""
    return FitWords(Text(f"{kind} of {y!r}", f"{y!r}的{kind}"), weights, how)


Subject = Text | FitWords | None


@dataclass(frozen=True, slots=True)
class Note:
    """A fact that the reader of a result should know.

    Attributes
    ----------
    kind
        Which fact, ``note.kind.name`` its name.
    subject
        What it is about; None where the words say it.
    numbers
        Pairs of name and value: numbers, text, or tuples of them.
    """

    kind: Kind[...]
    subject: Subject
    numbers: tuple[tuple[str, Any], ...]

    def __getitem__(self, name: str) -> Any:
        return dict(self.numbers)[name]

    def get(self, name: str) -> Any:
        """One of the numbers, None where the kind has none of this name."""
        return dict(self.numbers).get(name)

    @property
    def text(self) -> Text:
        """The fact in words, without its subject and without the full stop."""
        return self.kind.words(**dict(self.numbers))

    @property
    def fact(self) -> tuple[Hashable, ...]:
        """All of it but the numbers: two notes alike in this differ in numbers, or in the names of a list."""
        return self.kind, self.subject, self.shape

    @property
    def shape(self) -> tuple[Hashable, ...]:
        """What of the numbers is fixed when notes are merged: text, and how many there are."""
        return tuple((name, _shape(value)) for name, value in self.numbers)

    def __str__(self) -> str:
        return self.text.en if self.subject is None else f"{self.subject.en}: {self.text.en}"


def about(subject: Subject, notes: Iterable[Note]) -> tuple[Note, ...]:
    """Notes with what they are about."""
    return tuple(Note(note.kind, subject, note.numbers) for note in notes)


# Merging --------------------------------------------------------------------------------------------------


def merged(notes: Sequence[Note]) -> Text:
    """One sentence for notes of one kind and shape, with ranges of the numbers that differ and lists of the names."""
    first = notes[0]
    columns = {name: [note[name] for note in notes] for name, _ in first.numbers}

    def said(language: Language) -> str:
        filled = {name: _joined(values, language) for name, values in columns.items()}
        return first.kind.words(**filled).pick(language)

    return Text(*map(said, LANGUAGES))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_names(value: object) -> bool:
    return isinstance(value, tuple) and bool(value) and all(isinstance(item, str) for item in value)


def _shape(value: Any) -> Hashable:
    if _is_number(value) or _is_names(value):
        return None
    return tuple(map(_shape, value)) if isinstance(value, tuple) else value


def _joined(values: Sequence[Any], language: Language) -> Any:
    """What stands in a merged sentence in place of these values of one shape."""
    first = values[0]
    if _is_number(first):
        return first if len(set(values)) == 1 else Span(tuple(values), language)
    if _is_names(first):
        return tuple(dict.fromkeys(name for value in values for name in value))
    if isinstance(first, tuple):
        return tuple(_joined(column, language) for column in zip(*values, strict=True))
    return first


@dataclass(frozen=True, slots=True)
class Span:
    """Numbers that are written as their range, each end in the format asked for."""

    values: tuple[float, ...]
    language: Language

    def __format__(self, spec: str) -> str:
        ends = dict.fromkeys(format(value, spec) for value in (min(self.values), max(self.values)))
        return (" to " if self.language == "en" else "至").join(ends)


def quoted(names: Sequence[str], language: Language) -> str:
    """Names in quotes, as a list."""
    return (", " if language == "en" else "、").join(map(repr, names))


# Telling --------------------------------------------------------------------------------------------------


class NotesWarning(SpatialZbWarning):
    """The warning that notes of one subject are told by: ``notes`` has them as data, also where it is pickled."""

    notes: tuple[Note, ...]

    @classmethod
    def of(cls, notes: Sequence[Note]) -> NotesWarning:
        """All notes, of one subject, in one message."""
        subject, texts = notes[0].subject, [note.text for note in notes]
        en, zh = ". Also, ".join(text.en for text in texts), "；".join(text.zh for text in texts)
        made = cls(
            f"{en}." if subject is None else f"{subject.en}: {en}.",
            f"{zh}。" if subject is None else f"{subject.zh}：{zh}。",
        )
        made.notes = tuple(notes)
        return made


def tell(notes: Iterable[Note]) -> None:
    """Warn of notes, in one warning for each subject; say nothing where there are none.

    A fact is said once in a process, and notes that differ in their numbers alone once for each line of the caller, so
    that a loop of fits says what is the matter once. ``warnings.simplefilter("always", zb.SpatialZbWarning)`` asks for
    every one, ``"error"`` raises every one, and what records warnings sees every one.
    """
    by_subject: dict[Subject, list[Note]] = {}
    for note in notes:
        by_subject.setdefault(note.subject, []).append(note)
    for group in by_subject.values():
        _issue(NotesWarning.of(group))


def warn(en: str, zh: str) -> None:
    """Warn of a fact in a sentence of both languages, as :func:`tell` does."""
    _issue(SpatialZbWarning(en, zh))


def warn_again(warning: Warning | str) -> None:
    """Repeat a warning that was recorded elsewhere, such as in a worker process, as :func:`tell` does."""
    _issue(UserWarning(warning) if isinstance(warning, str) else warning)


def warn_old(message: str) -> None:
    """Warn, as :func:`tell` does, of an old name that will be removed."""
    _issue(DeprecationWarning(message))


@dataclass(slots=True)
class _Register:
    """Facts told in this process."""

    told: set[Hashable] = field(default_factory=set)

    def news(self, warning: Warning, place: Place) -> Warning | None:
        """The warning less what was told before; None where nothing is left."""
        if not isinstance(warning, NotesWarning):
            return warning if self._is_new(str(warning)) else None
        # both are registered, whichever was known
        new = [note for note in warning.notes if all([self._is_new(note), self._is_new((note.fact, place))])]
        return NotesWarning.of(new) if new else None

    def _is_new(self, fact: Hashable) -> bool:
        known = fact in self.told
        self.told.add(fact)
        return not known


_REGISTER = _Register()


def _issue(warning: Warning) -> None:
    """Warn at the line outside this package that led here."""
    module, file, line = _caller()
    wanted = _action(warning, module, line)
    if wanted == "ignore":
        return
    if wanted not in ("error", "always", "all") and not _recorded():
        news = _REGISTER.news(warning, (file, line))
        if news is None:
            return
        warning = news
    warnings.warn_explicit(warning, None, file, line, module=module, registry={})


def _caller() -> tuple[str, str, int]:
    """Module, file and line that called this package: above its outermost frame, so that what calls back is passed."""
    package = __name__.partition(".")[0]
    own = found = sys._getframe(1)
    for frame in _frames(own):
        if str(frame.f_globals.get("__name__")).partition(".")[0] == package:
            own, found = frame, frame.f_back or frame
    return str(found.f_globals.get("__name__")), found.f_code.co_filename, found.f_lineno


def _frames(frame: Any) -> Iterator[Any]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _action(warning: Warning, module: str, line: int) -> str:
    """What the filters of :mod:`warnings` say should happen to a warning."""
    for action, message, category, where, number in warnings.filters:
        if (
            isinstance(warning, category)
            and _matches(message, str(warning))
            and _matches(where, module)
            and number in (0, line)
        ):
            return action
    return str(warnings.defaultaction)  # type: ignore[attr-defined]  # typeshed does not know it


def _matches(pattern: Any, text: str) -> bool:
    """Whether a part of a filter holds: a pattern, None for any text, or, of those Python starts with, the text."""
    return pattern is None or pattern == text or (not isinstance(pattern, str) and bool(pattern.match(text)))


def _recorded() -> bool:
    """Whether warnings go into a list, by ``catch_warnings(record=True)``, and not to a reader."""
    show = getattr(warnings, "_showwarnmsg_impl", None)
    return getattr(show, "__module__", "warnings") != "warnings"
