"""Words in a figure that do not lie on each other: measuring, wrapping and placing text.

All boxes are (left, bottom, right, top) in pixels of the figure at its own resolution.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.text import Text as Artist


HALO = "halo"
#: Free room kept around each placed label, in points.
PADDING_PT = 0.6

# Shifts of a label's centre in units of (half the width, the height) of the label, nearest first: on its
# place for areas ...
_GRID = [(x, y) for x in (0, -0.3, 0.3, -0.6, 0.6, -0.9, 0.9) for y in (0, 0.4, -0.4, 0.8, -0.8, 1.2, -1.2)]
ON = np.array(sorted(_GRID, key=lambda shift: abs(shift[0]) + abs(shift[1])))
# ... and beside it for points, nearest first.
AROUND = np.array(
    [
        *[(1.15, 0.5), (-1.15, 0.5), (1.15, -0.5), (-1.15, -0.5), (0, 0.95), (0, -0.95), (1.2, 0), (-1.2, 0)],
        *[(1.3, 1.2), (-1.3, 1.2), (1.3, -1.2), (-1.3, -1.2), (0, 1.9), (0, -1.9), (1.6, 2), (-1.6, 2)],
        *[(1.6, -2), (-1.6, -2), (0, 2.8), (0, -2.8), (2.3, 1.2), (-2.3, 1.2), (2.3, -1.2), (-2.3, -1.2)],
    ]
)

# An ideograph, full-width sign or word with the opening signs that may not end a line and the closing signs that
# may not begin one; or blanks.
_TOKEN = re.compile(
    r"(?:（[⺀-鿿]{1,4}）|[（《「【〔]*(?:[⺀-鿿＀-￯]|[^\s⺀-鿿＀-￯]+(?: %)?))[，。、；：？！）》」】〕％]*|\s+"
)


def halo_text(axes: Axes, x: float, y: float, text: str, **properties) -> tuple[Artist, Artist]:
    """Write a text on a white halo; returns the text and its halo.

    The halo is an artist of its own because text with path effects turns into outlines in a PDF.
    """
    from matplotlib.patheffects import Stroke

    options = {"ha": "center", "va": "center", "parse_math": False, "clip_on": False, **properties}
    width = 0.25 * options["fontsize"]
    halo = axes.text(x, y, text, **{**options, "color": "white"}, gid=HALO, zorder=5)
    halo.set_path_effects([Stroke(linewidth=width, foreground="white", joinstyle="round")])
    return axes.text(x, y, text, **options, zorder=6), halo


def text_boxes(figure: Figure) -> list[tuple[Artist, np.ndarray]]:
    """Every visible text of a figure with its box; halos and empty texts are left out."""
    from matplotlib.text import Text as Artist

    if figure.stale:  # words of axes find their place in a drawing
        figure.draw_without_rendering()
    texts = (artist for artist in figure.findobj(Artist) if isinstance(artist, Artist))
    found = [text for text in texts if text.get_text().strip() and text.get_gid() != HALO]
    spare = _spare_ticks(figure)
    return [(text, box_of(text)) for text in found if text.get_visible() and id(text) not in spare]


def _spare_ticks(figure: Figure) -> set[int]:
    """Identities of tick labels that are held but not drawn: of hidden axes, or beyond the view."""
    spare: set[int] = set()
    for axes in figure.axes:
        for which, axis in enumerate((axes.xaxis, axes.yaxis)):
            low, high = sorted(axis.get_view_interval())
            own = {id(artist) for artist in axis.findobj()}
            if axes.axison and axis.get_visible():
                own -= {id(axis.label), id(axis.offsetText)}
                own -= {id(t) for t in axis.get_ticklabels() if low <= t.get_position()[which] <= high}
            spare |= own
    return spare


def root_figure(artist: Any) -> Figure:
    """The whole figure of an artist that may be in a part of one."""
    return artist.get_figure().figure


def box_of(artist: Any) -> np.ndarray:
    """Box of one artist."""
    extent = artist.get_window_extent(_renderer(root_figure(artist).dpi))
    return np.asarray(extent.extents, dtype=float)


@functools.lru_cache(maxsize=8)
def _renderer(dpi: float) -> RendererAgg:
    """Renderer to measure with; its own size does not matter, and no canvas of a user is touched."""
    from matplotlib.backends.backend_agg import RendererAgg

    return RendererAgg(1, 1, dpi)


def overlaps(figure: Figure, slack: float = 1.0) -> list[tuple[str, str]]:
    """Pairs of texts whose boxes share more than ``slack`` pixels both ways."""
    boxes = text_boxes(figure)
    return [
        (boxes[i][0].get_text(), boxes[j][0].get_text())
        for i in range(len(boxes))
        for j in range(i)
        if _hit(boxes[i][1], boxes[j][1][None], -slack)
    ]


def outside(figure: Figure, slack: float = 0.5) -> list[str]:
    """Texts that leave the figure by more than ``slack`` pixels."""
    width, height = figure.get_size_inches() * figure.dpi
    limits = np.array([-slack, -slack, width + slack, height + slack])
    return [text.get_text() for text, box in text_boxes(figure) if not _inside(box, limits)]


def text_size(figure: Figure | SubFigure, text: str, points: float) -> tuple[float, float]:
    """Width and height of one line in pixels."""
    from matplotlib import rcParams

    return _text_size(text, points, figure.dpi, tuple(rcParams["font.family"]))


@functools.lru_cache(maxsize=20_000)
def _text_size(text: str, points: float, dpi: float, families: tuple[str, ...]) -> tuple[float, float]:
    from matplotlib.font_manager import FontProperties

    font = FontProperties(family=list(families), size=points)
    width, height, _ = _renderer(dpi).get_text_width_height_descent(text, font, False)
    return width, height


#: Kerning moves a line's width from the sum of its tokens by less than this share; only near the limit is the
#: line itself measured, which costs more the longer it is.
KERNING = 0.1


def wrap(figure: Figure | SubFigure, text: str, points: float, width: float) -> list[str]:
    """Break a text into lines no wider than ``width`` pixels: at blanks, between ideographs, or in a word."""
    lines, line, span = [], "", 0.0

    def too_wide(candidate: str, about: float) -> bool:
        near = about > (1 - KERNING) * width
        return near and text_size(figure, candidate, points)[0] > width

    for token in _TOKEN.findall(text):
        own = text_size(figure, token, points)[0]
        if line and too_wide(line + token.rstrip(), span + own):
            lines.append(line.rstrip())
            line, span = "", 0.0
        line, span = ((line + token), span + own) if line else (token.lstrip(), own)
        while len(line) > 1 and too_wide(line.rstrip(), span):
            cut = _fitting(figure, line, points, width)
            lines.append(line[:cut])
            line = line[cut:]
            span = text_size(figure, line, points)[0]
    return [*lines, line.rstrip()] if line.strip() else lines


def _fitting(figure: Figure | SubFigure, line: str, points: float, width: float) -> int:
    """Number of leading characters that fit, at least one."""
    low, high = 1, len(line) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if text_size(figure, line[:middle], points)[0] <= width:
            low = middle
        else:
            high = middle - 1
    return low


def place(
    artists: Sequence[tuple[Artist, ...]],
    limits: Sequence[float] | np.ndarray,
    shifts: np.ndarray,
    obstacles: Iterable[Sequence[float] | np.ndarray] = (),
    allowed: Callable[[int, np.ndarray], bool] | None = None,
) -> list[bool]:
    """Move labels to free places, first come first served; those without a free place are removed.

    Parameters
    ----------
    artists
        For each label, in order of priority, its text and the artists that move with it (its halo), all
        at their anchor in data coordinates.
    limits
        Box that labels must stay in.
    shifts
        (m, 2) candidate shifts of the label's centre, in half widths and heights, in order of preference.
    obstacles
        Boxes that no label may touch.
    allowed
        Says of the number of a label and its centre in pixels whether it may stand there.

    Returns
    -------
    list of bool
        Whether each label was placed.
    """
    if not artists:
        return []
    figure = root_figure(artists[0][0])
    pad = PADDING_PT * figure.dpi / 72
    taken = [np.asarray(box, dtype=float) for box in obstacles]
    placed = []
    for number, group in enumerate(artists):
        box = box_of(group[0])
        unit = np.array([(box[2] - box[0]) / 2, box[3] - box[1]])
        fits = None if allowed is None else functools.partial(allowed, number)
        shift = _free_shift(box, np.asarray(limits, dtype=float), shifts * unit, (taken, pad), fits)
        placed.append(shift is not None)
        if shift is None:
            for artist in group:
                artist.remove()
            continue
        taken.append(box + np.tile(shift, 2))
        for artist in group:
            _move(artist, shift)
    return placed


def _free_shift(
    box: np.ndarray,
    limits: np.ndarray,
    shifts: np.ndarray,
    taken: tuple[list[np.ndarray], float],
    allowed: Callable[[np.ndarray], bool] | None,
) -> np.ndarray | None:
    """The first shift to a place inside the limits that is not taken, with room around it, and where it may stand."""
    boxes, middle = np.array(taken[0]) if taken[0] else np.empty((0, 4)), (box[:2] + box[2:]) / 2
    for shift in shifts:
        moved = box + np.tile(shift, 2)
        free = _inside(moved, limits) and not _hit(moved, boxes, taken[1])
        if free and (allowed is None or allowed(middle + shift)):
            return shift
    return None


def _move(artist: Artist, shift: np.ndarray) -> None:
    transform = artist.get_transform()
    x, y = transform.inverted().transform(transform.transform(artist.get_position()) + shift)
    artist.set_position((x, y))


def _inside(box: np.ndarray, limits: np.ndarray) -> bool:
    return bool(np.all(box[:2] >= limits[:2]) and np.all(box[2:] <= limits[2:]))


def _hit(box: np.ndarray, boxes: np.ndarray, pad: float) -> bool:
    apart = np.any((boxes[:, :2] >= box[2:] + pad) | (boxes[:, 2:] <= box[:2] - pad), axis=1)
    return bool(np.any(~apart))
