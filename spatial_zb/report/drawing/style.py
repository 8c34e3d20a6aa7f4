"""How figures look: sizes, fonts and colours of print, set only while a figure of this package is made."""

from __future__ import annotations

import functools
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from spatial_zb.base.errors import SpecificationError, listed, listed_zh, not_one_of
from spatial_zb.base.notes import warn
from spatial_zb.base.text import Language, Text
from spatial_zb.report.files import atomic_path, output_error, slug

if TYPE_CHECKING:
    from matplotlib.figure import Figure


FONT_PATH = Path(__file__).parents[1] / "fonts" / "ZBSansSC-Regular.ttf"
FONT_FAMILY = "ZB Sans SC"
# Shipped with matplotlib itself; takes over where the shipped font has no glyph.
FALLBACK_FAMILY = "DejaVu Sans"

MM_PER_INCH = 25.4
#: Smallest type in a printed figure, in points.
MIN_PT = 7.0
GREY, INK = "#8c8c8c", "#1a1a1a"
HATCH = "////"
# Okabe & Ito (2008), ordered so that neighbours differ in lightness too; with its marker each is also
# told apart in greyscale.
SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

Palette = Literal["sequential", "diverging"]


@dataclass(frozen=True, slots=True)
class FigureStyle:
    """Size and type of a figure as printed.

    Parameters
    ----------
    name
        Name of the preset it comes from.
    width_mm, height_mm
        Width, and the greatest height, in millimetres.
    base_pt, small_pt, title_pt
        Type sizes in points: axis labels and legends; tick labels and place names; titles.
    line_pt
        Width of main lines in points.
    dpi
        Resolution of raster formats.
    language
        ``"en"`` or ``"zh"``.

    Raises
    ------
    SpecificationError
        Type below 7 points, a size that is not positive, or an unknown language.
    """

    name: str
    width_mm: float
    height_mm: float
    base_pt: float = 8.0
    small_pt: float = 7.0
    title_pt: float = 9.0
    line_pt: float = 0.8
    dpi: int = 300
    language: Language = "en"

    def __post_init__(self) -> None:
        if min(self.base_pt, self.small_pt, self.title_pt) < MIN_PT:
            raise SpecificationError(
                f"Figure style {self.name!r} has type below {MIN_PT:g} points.",
                f"图形样式{self.name!r}的字号小于{MIN_PT:g}磅。",
            )
        if min(self.width_mm, self.height_mm, self.line_pt, self.dpi) <= 0:
            raise SpecificationError(
                f"Figure style {self.name!r} has a size that is not positive.",
                f"图形样式{self.name!r}的尺寸不为正。",
            )
        Text("", "").pick(self.language)


PRESETS: dict[str, FigureStyle] = {
    "journal_single": FigureStyle("journal_single", 88, 220),
    "journal_double": FigureStyle("journal_double", 178, 225),
    "slide": FigureStyle("slide", 254, 143, base_pt=14, small_pt=12, title_pt=18, line_pt=1.5, dpi=200),
}


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure and what a caption must know about it.

    ``axes`` holds the panels in reading order; ``breaks`` the k + 1 class edges common to them; ``labelled``
    the unit ids (or group names) written beside their place; ``unlabelled`` those asked for that found no
    free place in at least one panel; ``left_out`` the units or terms that are not drawn as the others are
    (no data, no neighbours).
    """

    figure: Figure
    axes: tuple
    breaks: np.ndarray | None = None
    labelled: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def save(self, path: str | Path) -> Path:
        """Write the figure to one file at its printed size; the ending is the format: pdf, png, svg or tiff.

        Raises
        ------
        SpecificationError
            Another ending.
        OutputError
            The file cannot be written.
        """
        path = Path(path)
        return save_figure(self.figure, path.parent, path.stem, (path.suffix.removeprefix("."),))[0]

    def _repr_png_(self) -> bytes:
        """The picture of a notebook cell."""
        stream = io.BytesIO()
        with context("journal_single"):
            self.figure.savefig(stream, format="png", dpi=SCREEN_DPI, metadata=_METADATA["png"])
        return stream.getvalue()


#: Dots to an inch in a notebook.
SCREEN_DPI = 130


def resolve_style(style: str | FigureStyle, language: Language | None = None) -> FigureStyle:
    """Give the preset of that name, or the style itself, in the language asked for."""
    if not isinstance(style, FigureStyle):
        if style not in PRESETS:
            raise not_one_of("style", style, PRESETS)
        style = PRESETS[style]
    return style if language is None else replace(style, language=language)


@contextmanager
def context(style: str | FigureStyle, language: Language | None = None) -> Iterator[FigureStyle]:
    """Set matplotlib to a style inside the block and put every setting back after it."""
    import matplotlib

    style = resolve_style(style, language)
    _register_font()
    with matplotlib.rc_context():
        # From the defaults, so that a user's own matplotlibrc does not change a figure.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_settings(style))
        yield style


def _settings(style: FigureStyle) -> dict[Any, Any]:
    return {
        "font.family": [FONT_FAMILY, FALLBACK_FAMILY],
        "font.size": style.base_pt,
        "axes.labelsize": style.base_pt,
        "axes.titlesize": style.base_pt,
        "figure.titlesize": style.title_pt,
        "legend.fontsize": style.small_pt,
        "legend.title_fontsize": style.small_pt,
        "xtick.labelsize": style.small_pt,
        "ytick.labelsize": style.small_pt,
        "axes.linewidth": 0.6 * style.line_pt,
        "xtick.major.width": 0.6 * style.line_pt,
        "ytick.major.width": 0.6 * style.line_pt,
        "lines.linewidth": style.line_pt,
        "hatch.linewidth": 0.4 * style.line_pt,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.unicode_minus": True,
        "text.parse_math": False,
        "text.usetex": False,
        "figure.dpi": style.dpi,
        "savefig.dpi": "figure",
        "savefig.bbox": None,
        # TrueType outlines stay type that can be searched and edited; Type 3 is refused by some journals.
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "svg.hashsalt": "spatial_zb",
    }


@functools.lru_cache(maxsize=1)
def _register_font() -> None:
    from matplotlib import font_manager

    font_manager.fontManager.addfont(FONT_PATH)


@functools.lru_cache(maxsize=1)
def _known_characters() -> frozenset[str]:
    from matplotlib import font_manager

    paths = (FONT_PATH, font_manager.findfont(FALLBACK_FAMILY))
    return frozenset(chr(code) for path in paths for code in font_manager.get_font(path).get_charmap())


def missing_glyphs(text: str) -> str:
    """Give the characters of a text that neither the shipped font nor its fallback can draw."""
    return "".join(sorted({ch for ch in text if not ch.isspace()} - _known_characters()))


def words(text: str | Mapping[str, str] | Text, language: Language, limit: int | None = None) -> str:
    """Make one line of plain text that can be drawn in one language.

    Line breaks and blanks become one blank, control characters go, a character without a glyph becomes □
    with a warning, and text longer than ``limit`` characters ends in an ellipsis.
    """
    line = unicodedata.normalize("NFC", Text.of(text).pick(language))
    line = re.sub(r"\s+", " ", "".join(ch if _drawable(ch) else " " for ch in line)).strip()
    if language == "en":  # in a Chinese font these are as wide as an ideograph
        line = line.translate(str.maketrans("‘’“”", "''\"\""))
    missing = missing_glyphs(line)
    if missing:
        warn(
            f"No glyph for {listed(missing)} in {line[:40]!r}; drawn as □.",
            f"字体中没有{listed_zh(missing)}（见{line[:40]!r}），以□代替。",
        )
        line = "".join("□" if ch in missing else ch for ch in line)
    return line if limit is None or len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _drawable(character: str) -> bool:
    # Controls, direction marks, lone surrogates, private use and unassigned code points.
    return unicodedata.category(character)[0] != "C"


def class_colours(
    breaks: Sequence[float] | np.ndarray, palette: Palette = "sequential", center: float = 0.0
) -> list[str]:
    """Give one colour for each class between ``breaks`` (k + 1 edges).

    Sequential colours grow darker with the value. Diverging colours are blue below ``center`` and red above
    it, with a near-white class where ``center`` lies inside a class; the two sides are not equally dark, so
    that all classes stay different in greyscale, and red and blue are told apart by colour-blind readers.
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    if palette not in get_args(Palette):
        raise not_one_of("palette", palette, get_args(Palette))
    edges = np.asarray(breaks, dtype=float)
    if palette == "sequential":
        return [to_hex(colour) for colour in colormaps["YlGnBu"](np.linspace(0.08, 0.95, len(edges) - 1))]
    # A class of one value, the centre itself, is on neither side.
    below = int(np.sum((edges[:-1] < center) & (edges[1:] <= center)))
    above = int(np.sum((edges[:-1] >= center) & (edges[1:] > center)))
    middle = len(edges) - 1 - below - above
    depths = np.r_[-np.arange(below, 0, -1) / max(below, 1), np.arange(1, above + 1) / max(above, 1)]
    # The deeper the darker, each class with a lightness of its own; of equal depth blue is the darker one.
    order = np.lexsort((depths, -np.abs(depths)))
    tones = np.empty(len(depths))
    tones[order] = np.linspace(DARKEST, LIGHTEST, len(depths)) if len(depths) > 1 else 50.0
    colours = [_diverging(tone, depth > 0) for tone, depth in zip(tones, depths, strict=True)]
    return [*colours[:below], *[_diverging(100.0, True)] * middle, *colours[below:]]


#: Lightness (CIE L*) of the deepest and the palest diverging class.
DARKEST, LIGHTEST = 30.0, 86.0


def _diverging(tone: float, red: bool) -> str:
    """Colour of that lightness on the red or the blue arm of the diverging map."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    arm = colormaps["RdBu_r"](np.linspace(1.0, 0.5, 128) if red else np.linspace(0.0, 0.5, 128))[:, :3]
    return to_hex(arm[np.argmin(np.abs(lightness(arm) - tone))])


def lightness(rgb: np.ndarray) -> np.ndarray:
    """Give CIE L* (0 to 100), what greyscale printing leaves, of sRGB colours (..., 3) from 0 to 1."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)


def new_figure(style: FigureStyle, height_mm: float) -> Figure:
    """Make an empty figure of the style's width that needs no display and no pyplot state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.width_mm / MM_PER_INCH, height_mm / MM_PER_INCH), dpi=style.dpi)
    FigureCanvasAgg(figure)
    return figure


def fix_ticks(figure: Figure) -> None:
    """Make the ticks of all axes now, while the style is set: matplotlib makes them when it first draws."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            axis.get_ticklabels(which="both")


def save_figure(
    figure: Figure, folder: str | Path, stem: str, formats: Sequence[str] = ("pdf", "png")
) -> tuple[Path, ...]:
    """Write a figure in each format, whole or not at all, at its printed size; returns the paths.

    The bytes depend on the figure only: no date and no program version is written.

    Raises
    ------
    SpecificationError
        A format other than pdf, png, svg or tiff (which some journals ask for; compressed without loss).
    OutputError
        The folder or a file cannot be written.
    """
    unknown = set(formats) - set(_METADATA)
    if unknown:
        raise SpecificationError(
            f"formats may be {', '.join(_METADATA)}, not {listed(sorted(unknown))}.",
            f"formats可为{listed_zh(_METADATA)}，而不是{listed_zh(sorted(unknown))}。",
        )
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    paths = tuple(folder / f"{slug(stem)}.{suffix}" for suffix in formats)
    with context("journal_single"), _font_read_once():
        for path, suffix in zip(paths, formats, strict=True):
            with atomic_path(path) as temporary:
                options: dict[str, Any] = {"pil_kwargs": _PACKED[suffix]} if suffix in _PACKED else {}
                figure.savefig(
                    temporary, format=suffix, dpi=figure.dpi, metadata=_METADATA[suffix], **options
                )
                if suffix == "svg":
                    temporary.write_bytes(_PATH.sub(_short_path, temporary.read_bytes()))
    return paths


#: How pixels are packed, without loss; at 300 dots an inch level 3 is as small as 6, in two thirds of the time.
_PACKED = {"png": {"compress_level": 3}, "tiff": {"compression": "tiff_lzw"}}


@contextmanager
def _font_read_once() -> Iterator[None]:
    """Let every PDF take its glyphs out of the same reading of the shipped font.

    Matplotlib reads the whole font for each PDF: most of the time goes into the names of thousands of glyphs that are then
    dropped, and into distances of pairs of letters, which no reader of a PDF looks at, since each letter has its place.
    """
    from fontTools import subset

    load_font = subset.load_font

    def load(file: Any, options: Any, *args: Any, **more: Any) -> Any:
        font = load_font(file, options, *args, **more)
        return _as_read(font) if Path(str(file)) == FONT_PATH else font

    subset.load_font = load
    try:
        yield
    finally:
        subset.load_font = load_font


def _as_read(font: Any) -> Any:
    """A font that was just opened, with the names of its glyphs and its characters as they were read before."""
    names, characters = _names_and_characters()
    font.setGlyphOrder([*names])
    table = copy(characters)
    table.tables = [copy(part) for part in characters.tables]
    font["cmap"] = table
    del font["GPOS"]
    return font


@functools.lru_cache(maxsize=1)
def _names_and_characters() -> tuple[list[str], Any]:
    from fontTools.ttLib import TTFont

    font = TTFont(FONT_PATH, lazy=True)
    names, characters = font.getGlyphOrder(), font["cmap"]
    for table in characters.tables:
        table.ensureDecompiled()
    return names, characters


#: Outlines in an SVG, and numbers in them of more than two decimals: a hundredth of a point cannot be seen.
_PATH, _LONG = re.compile(rb'(?<= d=")[^"]*'), re.compile(rb"-?\d+\.\d{3,}")


def _short_path(found: re.Match[bytes]) -> bytes:
    return _LONG.sub(lambda number: b"%.2f" % float(number[0]), found[0])


_METADATA = {
    "pdf": {"Creator": "spatial_zb", "Producer": "matplotlib", "CreationDate": None},
    "png": {"Software": "spatial_zb"},
    "svg": {"Creator": "spatial_zb", "Date": None},
    "tiff": None,
}
