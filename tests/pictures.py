"""What every picture must be: its words apart, inside, drawable; its colours apart in grey and to the colour-blind."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgb

from spatial_zb.report.drawing.placement import outside, overlaps, text_boxes
from spatial_zb.report.drawing.style import lightness, missing_glyphs

#: Least type of print, in points.
SMALLEST = 7
#: Least room between the numbers of an axis and its words, in points.
ROOM = 2.0
#: Least difference in lightness (CIE L*, 0 to 100) that keeps two greys of a legend apart.
GREY_STEP = 4.0
#: What protanopes and deuteranopes see, in linear RGB (Viénot, Brettel & Mollon 1999, Color Res. Appl. 24: 243-252).
BLINDNESS = {
    "protanopia": np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
    "deuteranopia": np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
}


def clean(figure) -> None:
    """No word on another, none outside, none too small, no missing glyph."""
    assert overlaps(figure) == []
    assert outside(figure) == []
    texts = text_boxes(figure)
    assert texts
    assert all(text.get_fontsize() >= SMALLEST for text, _ in texts)
    assert missing_glyphs("".join(text.get_text() for text, _ in texts)) == ""
    assert all(room >= ROOM for axes in figure.axes for room in room_of_axis_words(axes))


def room_of_axis_words(axes) -> list[float]:
    """Points between the numbers of each axis and its words, where it has both."""
    out = []
    for axis, near, far in ((axes.xaxis, "y0", "y1"), (axes.yaxis, "x0", "x1")):
        numbers = [tick for tick in axis.get_ticklabels() if tick.get_text() and tick.get_visible()]
        if axis.label.get_text() and numbers and axes.axison:
            nearest = min(getattr(tick.get_window_extent(), near) for tick in numbers)
            end = getattr(axis.label.get_window_extent(), far)
            out.append((nearest - end) * 72 / axes.figure.dpi)
    return out


def words_of(figure) -> str:
    """All that stands on a figure, in one string."""
    return " ".join(text.get_text() for text, _ in text_boxes(figure))


def lines_of(axes, gid: str) -> list:
    return [line for line in axes.lines if line.get_gid() == gid]


def parts_of(axes, gid: str) -> list:
    return [part for part in axes.collections if part.get_gid() == gid]


def grey_steps(colours) -> np.ndarray:
    """Differences in lightness between neighbours in order of lightness."""
    return np.diff(np.sort([float(lightness(np.array(to_rgb(colour)))) for colour in colours]))


def seen_apart(colours, kind: str) -> float:
    """Least distance between two colours (CIE Lab) as somebody with that colour blindness sees them."""
    rgb = np.array([to_rgb(colour) for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = _lab(np.clip(linear @ BLINDNESS[kind].T, 0, 1))
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    return float(apart[np.triu_indices(len(seen), 1)].min())


def _lab(linear: np.ndarray) -> np.ndarray:
    xyz = linear @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    t = xyz / np.array([0.95047, 1.0, 1.08883])
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=-1)
