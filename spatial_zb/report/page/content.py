"""What the offline report shows, without any format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from spatial_zb.base.errors import SpecificationError, listed, listed_zh
from spatial_zb.base.text import Language, Text
from spatial_zb.report.drawing.style import Palette
from spatial_zb.report.maps.classes import Scheme
from spatial_zb.report.page.outlines import Outlines
from spatial_zb.report.tables.table import Table, TableStyle

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
    """A figure in each language, as ``outlines.inline_svg`` gives it; it is not escaped again."""

    title: Text
    drawings: Mapping[Language, str]
    choices: Mapping[str, Text] = field(default_factory=dict)


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
    """A part of the page under a heading; ``name`` is its anchor. Maps of effects and of scenarios go below its items."""

    name: str
    title: Text
    intro: Text
    items: tuple[TableItem | ChartItem | Paragraphs, ...] = ()
    effects: tuple[UnitEffects, ...] = ()
    paths: tuple[UnitPaths, ...] = ()


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
