"""What the offline report shows, without any format, and the same as numbers that its scripts read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np

from spatial_zb.base.errors import SpecificationError, listed, listed_zh
from spatial_zb.base.text import Language, Text
from spatial_zb.report.drawing.style import Palette
from spatial_zb.report.maps.classes import Scheme, class_labels, class_of, classify, round_edges
from spatial_zb.report.page.outlines import Outlines
from spatial_zb.report.tables.table import Table, TableStyle
from spatial_zb.report.tables.text import clean

NO_REVIEW = Text(
    "Map review number: not given. Maps of China need one before they are published.",
    "审图号：未填写。公开发表地图前须取得审图号。",
)


@dataclass(frozen=True, eq=False)
class MoranSeries:
    """Moran's I of one variable under one W, and the scatter behind it.

    Attributes
    ----------
    lag
        (T, n) spatial lag of the standardised variable, NaN for units without neighbours.
    statistic, p_value
        (T,) I and its permutation p-value, NaN where it was not tested.
    """

    lag: np.ndarray
    statistic: np.ndarray
    p_value: np.ndarray


@dataclass(frozen=True, eq=False)
class Variable:
    """A mapped variable: ``values`` (T, n), NaN for no data.

    ``moran`` by the name of the weights; ``clusters`` by period, one code (HH, LL, HL, LH, ns) or None for
    each unit. ``breaks`` are inner edges of the caller's own, ``palette`` and ``center`` the colours of the printed map:
    see :func:`~spatial_zb.report.maps.classes.classify`. ``of_period`` is the period of its figures where it is not that of
    the row.
    """

    name: str
    label: Text
    values: np.ndarray
    moran: Mapping[str, MoranSeries] = field(default_factory=dict)
    clusters: Mapping[int, tuple[str | None, ...]] = field(default_factory=dict)
    breaks: tuple[float, ...] | None = None
    palette: Palette | None = None
    center: float | None = None
    of_period: int | None = None


@dataclass(frozen=True, eq=False)
class Atlas:
    """Units, their outlines, and what is known of them by period.

    ``scheme`` and ``classes`` are those of the printed maps, which the page shows first.

    Raises
    ------
    SpecificationError
        Names, outlines or values do not fit the units and periods.
    """

    units: tuple[str, ...]
    names: tuple[Text, ...]
    outlines: Outlines
    periods: tuple[int, ...]
    variables: tuple[Variable, ...]
    weights: Mapping[str, Text] = field(default_factory=dict)
    clusters_note: Text | str = ""
    scheme: Scheme = "quantile"
    classes: int = 5

    def __post_init__(self) -> None:
        n, shape = len(self.units), (len(self.periods), len(self.units))
        if len(self.names) != n or len(self.outlines.paths) != n:
            raise SpecificationError(
                f"An atlas of {n} units needs as many names and outlines.",
                f"{n}个地区的地图集须有同样多的名称和轮廓。",
            )
        for variable in self.variables:
            if np.shape(variable.values) != shape:
                raise SpecificationError(
                    f"Values of {variable.name!r} have the shape {np.shape(variable.values)}, not {shape}.",
                    f"{variable.name!r}的取值形状为{np.shape(variable.values)}，而不是{shape}。",
                )
            for name, series in variable.moran.items():
                if name not in self.weights or np.shape(series.lag) != shape:
                    raise SpecificationError(
                        f"Moran's I of {variable.name!r} does not fit weights {name!r}.",
                        f"{variable.name!r}的莫兰指数与权重矩阵{name!r}不相符。",
                    )


@dataclass(frozen=True, eq=False)
class UnitEffects:
    """Effects of one regressor unit by unit: (n,) own on own, received from and emitted to all others.

    ``choices`` are the words that set them apart (model, sample, weights, term); ``reading`` says what the
    averages amount to and how sure that is.
    """

    choices: Mapping[str, Text]
    units: tuple[str, ...]
    direct: np.ndarray
    received: np.ndarray
    emitted: np.ndarray
    reading: Text


@dataclass(frozen=True, eq=False)
class UnitPaths:
    """What changes in some units do to all of them, in steps of a slider: periods after them, or sizes of the change.

    ``values``, ``low`` and ``high`` are (S, n) for S ``steps``, of which ``start`` is shown first; ``reading`` says what
    they amount to.
    """

    choices: Mapping[str, Text]
    title: Text
    slider: Text
    steps: tuple[Text, ...]
    start: int
    units: tuple[str, ...]
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    reading: Text


@dataclass(frozen=True, eq=False)
class TableItem:
    """A table in each language with its style there; the reader sees one choice at a time."""

    tables: Mapping[Language, Table]
    styles: Mapping[Language, TableStyle] = field(default_factory=dict)
    choices: Mapping[str, Text] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ChartItem:
    """A figure in each language, as ``outlines.inline_svg`` gives it; it is not escaped again.

    ``stem`` is the name of its files, by which tables link to it.
    """

    title: Text
    drawings: Mapping[Language, str]
    choices: Mapping[str, Text] = field(default_factory=dict)
    stem: str = ""


@dataclass(frozen=True, eq=False)
class Paragraphs:
    """A reading in paragraphs."""

    title: Text
    paragraphs: tuple[Text, ...]
    choices: Mapping[str, Text] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Remarks:
    """What a reader should know, folded under a title with their number."""

    title: Text
    texts: tuple[Text, ...]


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the page under a heading; ``name`` is its anchor. Maps of effects and of scenarios go below its items.

    ``more`` is folded.
    """

    name: str
    title: Text
    intro: Text
    items: tuple[TableItem | ChartItem | Paragraphs, ...] = ()
    effects: tuple[UnitEffects, ...] = ()
    paths: tuple[UnitPaths, ...] = ()
    more: tuple[TableItem | ChartItem | Paragraphs, ...] = ()


@dataclass(frozen=True, eq=False)
class Content:
    """The whole page.

    Attributes
    ----------
    name
        Slug of the study, the stem of downloads.
    title, facts
        Heading, and the sample in a line.
    findings
        The short reading.
    headline
        The figure that stands below the map.
    limits
        What is a proxy, simulated or filled.
    warnings
        What the program noted while it ran.
    sources, review_number
        Sources of data and polygons; 审图号, None where it is to be given, blank for no line about it.
    colophon
        Version and seed.
    choice_words
        Words for the names of choices.

    Raises
    ------
    SpecificationError
        Effects of units that are not in the atlas.
    """

    name: str
    title: Text
    facts: Text
    sections: tuple[Section, ...]
    atlas: Atlas | None = None
    findings: tuple[Text, ...] = ()
    headline: ChartItem | None = None
    limits: tuple[Remarks, ...] = ()
    warnings: tuple[Remarks, ...] = ()
    sources: tuple[Text, ...] = ()
    review_number: str | None = None
    colophon: Text | str = ""
    choice_words: Mapping[str, Text] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = set(self.atlas.units) if self.atlas else set()
        parts: list[UnitEffects | UnitPaths] = []
        for section in self.sections:
            parts += [*section.effects, *section.paths]
        for part in parts:
            unknown = [unit for unit in part.units if unit not in known]
            if unknown:
                raise SpecificationError(
                    f"Effects of units without an outline: {listed(unknown)}.",
                    f"有效应的地区没有轮廓：{listed_zh(unknown)}。",
                )

    @property
    def review_line(self) -> Text:
        """Line with the map review number, or a line that says it is missing."""
        if self.review_number is None:
            return NO_REVIEW
        number = self.review_number.strip()
        if not number:
            return Text("", "")
        return Text(f"Map review number: {number}.", f"审图号：{number}。")


# -- as the scripts of the page read it -------------------------------------------------------------------------

CLASSES = 6
#: Significant digits of values, and decimals of standardised lags (a hundredth of a dot on the screen).
DIGITS, LAG_DECIMALS = 6, 3

SCHEME_WORDS: Mapping[str, Text] = {
    "quantile": Text("Quantiles", "分位数"),
    "natural": Text("Natural breaks", "自然断点"),
    "equal": Text("Equal intervals", "等间距"),
    "std": Text("Standard deviations", "标准差"),
}
#: The classes of the printed maps where their edges were chosen; what another variable has in their place.
OWN, OWN_SCHEME = "own", Text("As printed", "与印刷图相同")
CLUSTER_SCHEME = Text("Local Moran clusters", "局部莫兰聚类")


class Words:
    """Every text once, called by its number."""

    def __init__(self, languages: Sequence[Language]) -> None:
        self.languages = tuple(languages)
        self._numbers: dict[tuple[str, ...], int] = {}

    def number(self, text: Text | str) -> int:
        """Number of a text; the same text has the same number."""
        key = tuple(clean(Text.of(text).pick(language)) for language in self.languages)
        return self._numbers.setdefault(key, len(self._numbers))

    def numbers(self, choices: Mapping[str, Text]) -> dict[str, int]:
        return {name: self.number(text) for name, text in choices.items()}

    def table(self) -> dict[Language, list[str]]:
        """All texts by language, in the order of their numbers."""
        return {language: [key[i] for key in self._numbers] for i, language in enumerate(self.languages)}


def atlas_data(atlas: Atlas, words: Words) -> dict[str, Any]:
    outlines = atlas.outlines
    return {
        "size": outlines.size,
        "bar": outlines.bar,
        "north": outlines.north,
        "borders": outlines.borders,
        "units": list(atlas.units),
        "names": [words.number(name) for name in atlas.names],
        "paths": list(outlines.paths),
        "centres": list(outlines.centres),
        "periods": [int(period) for period in atlas.periods],
        "weights": words.numbers(atlas.weights),
        "schemes": words.numbers({OWN: OWN_SCHEME, **SCHEME_WORDS, "clusters": CLUSTER_SCHEME}),
        "scheme": OWN if any(variable.breaks for variable in atlas.variables) else atlas.scheme,
        "clustersNote": words.number(atlas.clusters_note),
        "variables": [_variable(variable, atlas, words) for variable in atlas.variables],
    }


def _variable(variable: Variable, atlas: Atlas, words: Words) -> dict[str, Any]:
    values = np.asarray(variable.values, float)
    schemes: dict[str, Any] = {scheme: scheme for scheme in get_args(Scheme)}
    if any(part.breaks for part in atlas.variables):
        schemes[OWN] = variable.breaks or atlas.scheme
    shown = {
        "name": variable.name,
        "label": words.number(variable.label),
        "ofPeriod": variable.of_period,
        "values": [_numbers(row) for row in values],
        "mean": _numbers(_by_period(np.mean, values)),
        "sd": _numbers(_by_period(np.std, values)),
        "schemes": {
            name: classes
            for name, scheme in schemes.items()
            if (classes := _classes(variable, values, (scheme, atlas.classes), words))
        },
        "moran": {name: _series(series) for name, series in variable.moran.items()},
        "clusters": [variable.clusters.get(period) for period in atlas.periods],
    }
    return shown


def _by_period(statistic: Callable[[np.ndarray], float], values: np.ndarray) -> list[float]:
    known = [row[np.isfinite(row)] for row in values]
    return [float(statistic(row)) if len(row) else math.nan for row in known]


def _series(series: MoranSeries) -> dict[str, Any]:
    return {
        "lag": [_numbers(row, lambda v: round(v, LAG_DECIMALS)) for row in np.asarray(series.lag, float)],
        "I": _numbers(series.statistic),
        "p": _numbers(series.p_value),
    }


def _classes(
    variable: Variable, values: np.ndarray, how: tuple[Any, int], words: Words
) -> dict[str, Any] | None:
    """Edges common to all periods with their colours and words; None where there is nothing to classify."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    found = classify(known, *how, variable.palette, variable.center)
    return _legend(found.breaks, found.colours, values, words)


def _legend(edges: np.ndarray, colours: list[str], values: np.ndarray, words: Words) -> dict[str, Any]:
    """Colours and words of the classes, and the class of every value; −1 is no data."""
    languages = [class_labels(edges, language) for language in ("en", "zh")]
    codes = np.where(np.isfinite(values), class_of(values, edges), -1)
    return {
        "colours": colours,
        "labels": [words.number(Text(*pair)) for pair in zip(*languages, strict=True)],
        "codes": codes.tolist(),
    }


def effects_data(part: UnitEffects, units: Mapping[str, int], words: Words) -> dict[str, Any]:
    """One regressor's effects; what is received and what is emitted share their classes."""
    own, given = (np.asarray(part.direct, float), np.array([part.received, part.emitted], float))
    return {
        "choices": words.numbers(part.choices),
        "units": [units[unit] for unit in part.units],
        "reading": words.number(part.reading),
        "values": {
            "received": _numbers(part.received),
            "emitted": _numbers(part.emitted),
            "direct": _numbers(own),
        },
        "classes": {
            **_shared(given, ("received", "emitted"), words),
            **_shared(own[None], ("direct",), words),
        },
    }


def paths_data(part: UnitPaths, units: Mapping[str, int], words: Words) -> dict[str, Any]:
    """A scenario: every step has the classes of all of them, so that colours can be compared."""
    values = np.asarray(part.values, float)
    found = classify(values, round_edges(values, CLASSES), palette="diverging")
    return {
        "choices": words.numbers(part.choices),
        "title": words.number(part.title),
        "slider": words.number(part.slider),
        "steps": [words.number(step) for step in part.steps],
        "start": part.start,
        "units": [units[unit] for unit in part.units],
        "reading": words.number(part.reading),
        **{name: [_numbers(row) for row in getattr(part, of)] for name, of in PATHS.items()},
        "classes": [_legend(found.breaks, found.colours, row, words) for row in values],
    }


#: Names in the script, and attributes of :class:`UnitPaths`.
PATHS = {"value": "values", "low": "low", "high": "high"}


def _shared(values: np.ndarray, names: Iterable[str], words: Words) -> dict[str, Any]:
    """Classes of equal width between round numbers, zero among them, common to all rows: those of the printed maps."""
    found = classify(values, round_edges(values, CLASSES), palette="diverging")
    return {
        name: _legend(found.breaks, found.colours, row, words)
        for name, row in zip(names, values, strict=True)
    }


def _numbers(values: Iterable[float], rounded: Callable[[float], float] | None = None) -> list[float | None]:
    """Rounded numbers; None for what is not a number."""
    shorten = rounded or (lambda v: float(f"{v:.{DIGITS}g}"))
    return [_short(shorten(float(v))) if math.isfinite(v) else None for v in values]


def _short(value: float) -> float | int:
    return int(value) if value == int(value) else value
