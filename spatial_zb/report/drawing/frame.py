"""What every map and figure starts from: the caller's look, writing in millimetres, and the sheet around charts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.text import UNDATED, Language, Text
from spatial_zb.report.drawing.placement import box_of, root_figure, text_size, wrap
from spatial_zb.report.drawing.style import INK, MM_PER_INCH, FigureStyle, Palette, context, new_figure, words

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.legend import Legend


Words = str | Mapping[str, str] | Text


#: Which units or groups a map names, see :class:`Look`.
LabelChoice = Literal["auto", "all", "groups", "none"] | Sequence[str]


@dataclass(frozen=True, slots=True, eq=False)
class Country:
    """What a map of the whole country shows beside its units.

    The map then ends south of Hainan, and the islands and lines in the South China Sea stand in an inset.

    Attributes
    ----------
    around
        Polygons of the country that are not among those mapped; with them they are the whole country.
    lines
        Lines in the sea, such as the broken line in the South China Sea.
    """

    around: GeoDataFrame
    lines: GeoDataFrame


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """How a map or a figure looks, and the words around it: one object for all of them.

    What a kind of figure does not have, it does not read: a chart has no outlines. Words are text,
    ``{"en": ..., "zh": ...}`` or :class:`~spatial_zb.base.text.Text`.

    Parameters
    ----------
    title, note, source
        Words above and below.
    legend
        Title of the legend of a map.
    review_number
        审图号, which maps published in China carry. None says on maps of places in China that it is still to be given;
        ``""`` leaves the line away.
    words
        Words by name: of a variable, an equation, a measure, a choice or its value, or a unit.
    labels
        What a map names: ``"all"`` units, ``"groups"`` (the names in the column ``outlines``), ``"none"``, or ids
        of units in order of priority. ``"auto"`` is "all" up to 45 units, then "groups". With "all" larger units
        come first. A label keeps to its place or just beside it; the one that finds no free place is left out and
        told in ``Drawing.unlabelled``. None is what the map usually names.
    outlines
        Column whose groups get thick outlines on a map; None, or a column that is not there, for none.
    crs
        Projected CRS of a map. By default that of the regions when projected, else EPSG:4549 near 120° E and an
        equal-area projection about the middle elsewhere.
    locator
        Polygons of a wider area: a small map below the scale bar then shows where in it the regions are.
    country
        The rest of the country, on a map of all of China: its other polygons, and an inset of the South China Sea.
    palette, center
        Colours of classes, see :func:`~spatial_zb.report.maps.classes.classify`: without them blue turns red at zero
        where the variable has values on both sides of it, and else colours grow darker. ``palette="sequential"`` never
        parts them; ``center`` parts them elsewhere.
    columns
        Maps or scatter plots side by side, at most.
    style
        Preset (``"journal_single"``, ``"journal_double"``, ``"slide"``) or FigureStyle; None is that of the figure.
    language
        Language of names and words, ``"en"`` or ``"zh"``; that of the style without it.

    Examples
    --------
    >>> look = Look(title="Industry", style="slide", labels="none")
    >>> look.title
    'Industry'
    """

    title: Words = ""
    note: Words = ""
    legend: Words = ""
    source: Words = ""
    review_number: str | None = None
    words: Mapping[str, Words] = field(default_factory=dict)
    labels: LabelChoice | None = None
    outlines: str | None = "prov"
    crs: Any = None
    locator: GeoDataFrame | None = None
    country: Country | None = None
    palette: Palette | None = None
    center: float | None = None
    columns: int = 2
    style: str | FigureStyle | None = None
    language: Language | None = None


#: The look of a figure whose caller asks for none.
PLAIN = Look()
SOURCE = Text("Source: ", "资料来源：")


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """A look in one language: its style, and its title and note in words."""

    style: FigureStyle
    look: Look
    title: str = ""
    own_note: str = ""

    @property
    def language(self) -> Language:
        """Language of all words of the figure."""
        return self.style.language

    def say(self, text: Words, *values: object, limit: int | None = None) -> str:
        """One line in the language of the figure; ``values`` fill the places of a pattern."""
        said = Text.of(text).pick(self.language)
        return words(said.format(*values) if values else said, self.language, limit)

    @property
    def source(self) -> str:
        """Where the data are from, in a sentence of its own."""
        said = self.say(self.look.source)
        return SOURCE.pick(self.language) + said if said else ""

    def note(self, *told: str) -> str:
        """What the figure itself must tell, then the caller's note and source."""
        return joined((*told, self.own_note, self.source), self.language)


@contextmanager
def open_page(look: Look, preset: str) -> Iterator[Page]:
    """Set matplotlib to the style of a look, or to a preset, inside the block; gives the page to write on."""
    with context(look.style or preset, look.language) as style:
        yield Page(style, look, words(look.title, style.language), words(look.note, style.language))


def joined(sentences: Sequence[str], language: Language) -> str:
    """Sentences one after the other; Chinese has no blank between them."""
    return (" " if language == "en" else "").join(part for part in sentences if part)


def period_words(period: object, language: Language) -> str:
    """A period as a heading: a year is 2019年 in Chinese; nothing where the data have no date."""
    name = "" if isinstance(period, Integral) and period == UNDATED else str(period)
    return f"{name}年" if language == "zh" and name.isdigit() and len(name) == 4 else name


def items(names: Iterable[object], language: Language) -> str:
    """``"a, b and 3 more"``, in Chinese ``"a、b等5项"``."""
    return listed(names) if language == "en" else listed_zh(names)


def panel_letter(number: int, total: int) -> str:
    """``"(a) "`` before the heading of the first of several panels."""
    return f"({chr(ord('a') + number)}) " if 1 < total <= 26 else ""


def chosen_periods(known: Sequence, wanted: Sequence | None, what: Text) -> list:
    """Those wanted, all by default.

    Raises
    ------
    SpecificationError
        A period for which there is no ``what``.
    """
    unknown = [period for period in wanted or () if period not in known]
    if unknown:
        raise SpecificationError(
            f"There is no {what.en} of {listed(unknown)}; there are {listed(known)}.",
            f"没有{listed_zh(unknown)}的{what.zh}；已有{listed_zh(known)}。",
        )
    return list(known if wanted is None else wanted)


def require_columns(frame: pd.DataFrame, columns: Sequence[str], what: Text) -> None:
    """Refuse a frame that lacks columns.

    Raises
    ------
    DataError
        It says ``"The {what} has no column …"``.
    """
    lacking = [name for name in columns if name not in frame.columns]
    if lacking:
        raise DataError(
            f"The {what.en} has no column {listed(lacking)}.", f"{what.zh}没有列{listed_zh(lacking)}。"
        )


def require_rows(frame: pd.DataFrame, columns: Sequence[str], what: Text) -> None:
    """Refuse a frame that lacks columns or has no rows."""
    require_columns(frame, columns, what)
    if frame.empty:
        raise DataError(f"The {what.en} has no row.", f"{what.zh}没有数据行。")


# Millimetres from the edge of the sheet, and between its parts.
EDGE, GAP = 2.0, 3.0
LINE_SPACING = 1.35


def to_mm(points: float) -> float:
    """Convert points to millimetres."""
    return points * MM_PER_INCH / 72


def line_height(points: float, lines: int) -> float:
    """Height of a number of lines of type, in millimetres."""
    return lines * LINE_SPACING * to_mm(points)


def lines_in(figure: Figure | SubFigure, text: str, points: float, width: float) -> list[str]:
    """Break a text into lines of at most ``width`` millimetres."""
    return wrap(figure, text, points, width / MM_PER_INCH * figure.dpi)


@dataclass(frozen=True, slots=True)
class Pen:
    """Writes on a figure of a size in millimetres."""

    figure: Figure
    width: float
    height: float

    def resize(self) -> None:
        """Give the figure this size."""
        self.figure.set_size_inches(self.width / MM_PER_INCH, self.height / MM_PER_INCH)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Make axes whose upper left corner is at (x, y)."""
        box = (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box)

    def lines(self, lines: Sequence[str], x: float, y: float, points: float, ha: str = "left") -> None:
        """Write lines below one another from (x, y)."""
        for number, line in enumerate(lines):
            where = x / self.width, 1 - (y + line_height(points, number)) / self.height
            self.figure.text(*where, line, fontsize=points, ha=ha, va="top", color=INK, parse_math=False)

    def put(self, legend: Legend | None, y: float, x: float = EDGE) -> None:
        """Move a legend to x, by default the left edge, its top at y."""
        if legend is not None:
            corner = (x / self.width, 1 - y / self.height)
            legend.set_bbox_to_anchor(corner, self.figure.transFigure)


def fitted_legend(figure: Figure, handles: Sequence[Artist], title: str, width: float) -> Legend | None:
    """Legend in as few rows as fit into ``width`` millimetres; None when there is nothing to explain."""
    for rows in range(1, len(handles) + 1):
        legend = figure.legend(
            handles=handles,
            title=title or None,
            ncols=math.ceil(len(handles) / rows),
            loc="upper left",
            frameon=False,
            alignment="left",
            borderpad=0,
            borderaxespad=0,
            handlelength=1.6,
            handleheight=0.9,
            handletextpad=0.6,
            columnspacing=1.2,
            labelspacing=0.35,
        )
        box = box_of(legend)
        if rows == len(handles) or (box[2] - box[0]) / figure.dpi * MM_PER_INCH <= width:
            return legend
        legend.remove()
    return None


def legend_height(legend: Legend | None) -> float:
    """Height in millimetres."""
    if legend is None:
        return 0.0
    box = box_of(legend)
    return (box[3] - box[1]) / root_figure(legend).dpi * MM_PER_INCH


#: Millimetres between panels side by side, and right of the last, for half a tick label.
BETWEEN, RIGHT = 6.0, 2.5
#: Points between numbers and words of an axis; Chinese characters fill their line to its edge.
LABEL_PAD = 3.0
#: Panels never become lower than this, whatever stands around them.
LOWEST = 12.0


@dataclass(frozen=True, slots=True)
class ChartFrame:
    """Room around the panels of a chart, in millimetres.

    ``left`` of the first panel of a row and ``below`` each panel, for ticks and words; ``columns`` panels
    side by side, ``between`` them room for what each of them writes at its left.
    """

    columns: int
    left: float
    below: float
    between: float = BETWEEN

    def width(self, style: FigureStyle) -> float:
        """Width of one panel."""
        free = style.width_mm - 2 * EDGE - self.left - RIGHT - (self.columns - 1) * self.between
        return free / self.columns


def chart_sheet(
    headings: Sequence[str],
    frame: ChartFrame,
    height: float,
    words: tuple[str, str],
    handles: Sequence[Artist],
    style: FigureStyle,
) -> tuple[Figure, list[Axes]]:
    """Make the figure with its panels, empty but for what stands around them.

    Parameters
    ----------
    headings
        One for each panel.
    height
        Height of a panel in millimetres; less when the sheet would become higher than the style allows.
    words
        Title above and note below.
    handles
        Entries of the legend, below the panels.
    """
    figure = new_figure(style, style.height_mm)
    inner, wide = style.width_mm - 2 * EDGE, frame.width(style)
    rows = math.ceil(len(headings) / frame.columns)
    title = lines_in(figure, words[0], style.title_pt, inner)
    note = lines_in(figure, words[1], style.small_pt, inner)
    heads = [lines_in(figure, heading, style.base_pt, wide) for heading in headings]
    legend = fitted_legend(figure, handles, "", inner)

    above = line_height(style.title_pt, len(title)) + (GAP if title else 0)
    head = line_height(style.base_pt, max(map(len, heads))) + 1
    legend_mm = legend_height(legend) + (GAP / 2 if legend else 0)
    fixed = 2 * EDGE + above + legend_mm + line_height(style.small_pt, len(note))
    under = frame.below + (GAP / 2 if rows > 1 else 0.0)
    high = max(LOWEST, min(height, (style.height_mm - fixed) / rows - head - under))
    step = head + high + under
    pen = Pen(figure, style.width_mm, fixed + rows * step)
    pen.resize()
    pen.lines(title, EDGE, EDGE, style.title_pt)
    axes = []
    for number, lines in enumerate(heads):
        row, column = divmod(number, frame.columns)
        x, y = EDGE + frame.left + column * (wide + frame.between), EDGE + above + row * step
        pen.lines(lines, x + wide / 2, y, style.base_pt, "center")
        axes.append(pen.axes(x, y + head, wide, high))
    y = EDGE + above + rows * step
    pen.put(legend, y)
    pen.lines(note, EDGE, y + legend_mm, style.small_pt)
    return figure, axes


def wrapped_labels(labels: Sequence[str], style: FigureStyle, most: float) -> tuple[list[str], float]:
    """Break tick labels into lines of at most ``most`` millimetres; also gives the width they need."""
    figure = new_figure(style, style.height_mm)
    broken = [lines_in(figure, label, style.small_pt, most) or [""] for label in labels]
    widest = max(text_size(figure, line, style.small_pt)[0] for lines in broken for line in lines)
    return ["\n".join(lines) for lines in broken], widest / figure.dpi * MM_PER_INCH
