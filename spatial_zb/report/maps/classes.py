"""Classes of a mapped variable: edges common to all panels, and their words."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.text import Language
from spatial_zb.report.drawing.style import Palette, class_colours

Scheme = Literal["quantile", "natural", "equal", "std"]
# Fisher's exact optimum takes n² steps; more values are thinned to as many quantiles.
NATURAL_LIMIT = 1000
MOST_DECIMALS = 12
#: Share of the values on either side of zero from which zero parts the colours unasked.
LEAST_SIDE = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """Classes of a mapped variable, the same on paper and on the page.

    Attributes
    ----------
    breaks
        (k + 1,) increasing edges.
    colours
        k of them, from the lowest class to the highest.
    center
        The value at which blue turns red; None where colours grow darker from one end to the other.
    """

    breaks: np.ndarray
    colours: list[str]
    center: float | None = None


def classify(
    values: Any,
    scheme: Scheme | Sequence[float] = "quantile",
    k: int = 5,
    palette: Palette | None = None,
    center: float | None = None,
) -> Classes:
    """Find classes of all the values given, and their colours.

    Parameters
    ----------
    values, scheme, k
        As in :func:`class_breaks`.
    palette
        ``"sequential"``, ``"diverging"``, or None: diverging where there is a ``center``.
    center
        The value that parts the colours; no class lies across it, but where the edges are the caller's own. None is
        zero where at least :data:`LEAST_SIDE` of the values are below it and as many above, the mean with
        ``scheme="std"``, and else there is none.

    Raises
    ------
    DataError, SpecificationError
        As :func:`class_breaks`; a ``center`` that is not a finite number.
    """
    array = np.asarray(values, dtype=float).ravel()
    array = array[~np.isnan(array)]
    if center is not None and not np.isfinite(center):
        raise SpecificationError(
            f"center must be a finite number, not {center}.", f"center须为有限数值，而不是{center}。"
        )
    if palette == "sequential":
        breaks = class_breaks(array, scheme, k)
        return Classes(breaks, class_colours(breaks, "sequential"))
    about = center if center is not None else 0.0 if palette == "diverging" else _own_center(array, scheme)
    if about is None:
        breaks = class_breaks(array, scheme, k)
        return Classes(breaks, class_colours(breaks, palette or "sequential"))
    if isinstance(scheme, str) and scheme != "std":
        scheme = _parted(array, scheme, k, about)
    breaks = class_breaks(array, scheme, k)
    return Classes(breaks, class_colours(breaks, "diverging", about), about)


def _own_center(array: np.ndarray, scheme: Scheme | Sequence[float]) -> float | None:
    """What parts the colours of these values unasked."""
    if isinstance(scheme, str) and scheme == "std":
        return float(array.mean()) if len(array) and np.isfinite(array).all() else None
    sides = min((array < 0).mean(), (array > 0).mean()) if len(array) else 0.0
    return 0.0 if sides >= LEAST_SIDE else None


def _parted(array: np.ndarray, scheme: Scheme, k: int, center: float) -> Scheme | list[float]:
    """Inner edges of about k classes with one at the centre: either side has classes by its number of values."""
    below, above = array[array < center], array[array > center]
    if not len(below) or not len(above) or k < 2 or not np.isfinite(array).all():
        return scheme
    if scheme == "equal":
        step = np.ptp(array) / k
        inside = 1 - 1e-9  # an edge at an end by rounding would part off an empty class
        down, up = (math.floor(inside * abs(end - center) / step) for end in (array.min(), array.max()))
        return [float(center + step * number) for number in range(-down, up + 1)]
    low = min(max(round(k * len(below) / (len(below) + len(above))), 1), k - 1)
    sides = (_inner_edges(below, scheme, low), _inner_edges(above, scheme, k - low))
    # An edge of a side may be the centre itself, or tie with another.
    return sorted({*map(float, np.concatenate(sides)), float(center)})


def class_breaks(values: Any, scheme: Scheme | Sequence[float] = "quantile", k: int = 5) -> np.ndarray:
    """Find class edges common to all the values given.

    Parameters
    ----------
    values
        Series, frame or array of any shape; NaN are left out.
    scheme
        ``"quantile"``, ``"natural"`` (Fisher–Jenks), ``"equal"`` intervals, ``"std"`` (mean ± whole standard
        deviations), or a list of inner edges.
    k
        Number of classes; fewer come out when values tie. A list or ``"std"`` decides it itself.

    Returns
    -------
    ndarray, shape (k + 1,)
        Increasing edges; the first is the smallest value and the last the largest. A class holds the values
        above its lower and up to its upper edge, the first class its lower edge too.

    Raises
    ------
    DataError
        No finite value, or infinite ones.
    SpecificationError
        Unknown scheme, k below 1, or inner edges that do not increase.
    """
    array = np.asarray(values, dtype=float).ravel()
    array = array[~np.isnan(array)]
    if not len(array):
        raise DataError(
            "There is no value to classify: every value is missing.", "没有可分级的数值：全部缺失。"
        )
    if np.isinf(array).any():
        count = np.isinf(array).sum()
        raise DataError(
            f"{count} values are infinite (log of zero?); replace them before mapping.",
            f"有{count}个无穷大值（是否对零取了对数？）；请在绘图前更正。",
        )
    low, high = array.min(), array.max()
    inner = _inner_edges(array, scheme, k)
    edges = np.array([low, *(edge for edge in inner if low < edge < high), high])
    return edges if low < high else np.array([low, high])


def round_edges(values: Any, k: int = 6) -> list[float]:
    """Inner edges at round numbers, for about k classes of equal width; zero is one where signs differ.

    Colours then follow the size of the values, and no class holds values of both signs.

    Raises
    ------
    DataError
        No finite value.
    SpecificationError
        Fewer than two classes.
    """
    from matplotlib.ticker import MaxNLocator

    array = np.asarray(values, dtype=float).ravel()
    array = array[np.isfinite(array)]
    if not len(array):
        raise DataError(
            "There is no value to classify: every value is missing.", "没有可分级的数值：全部缺失。"
        )
    if k < 2:
        raise SpecificationError(
            f"Round classes need a k of at least 2, not {k}.", f"取整分级的k须至少为2，而不是{k}。"
        )
    low, high = array.min(), array.max()
    found = MaxNLocator(k, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(edge) + 0.0 for edge in found if low < edge < high]


def _inner_edges(array: np.ndarray, scheme: Scheme | Sequence[float], k: int) -> np.ndarray:
    if not isinstance(scheme, str):
        inner = np.asarray(scheme, dtype=float)
        if inner.ndim != 1 or not np.all(np.isfinite(inner)) or np.any(np.diff(inner) <= 0):
            raise SpecificationError(
                f"Class edges must be finite and increase: {listed(np.ravel(inner))}.",
                f"分级界限须有限且递增：{listed_zh(np.ravel(inner))}。",
            )
        return inner
    if k < 1:
        raise SpecificationError(f"k must be at least 1 class, not {k}.", f"k须至少为1级，而不是{k}。")
    if scheme == "quantile":
        return np.unique(np.quantile(array, np.arange(1, k) / k))
    if scheme == "equal":
        return np.linspace(array.min(), array.max(), k + 1)[1:-1]
    if scheme == "std":
        return array.mean() + array.std() * np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    if scheme == "natural":
        return _natural_edges(array, k)
    known = get_args(Scheme)
    raise SpecificationError(
        f"scheme must be one of {listed(known)}, or a list of edges, not {scheme!r}.",
        f"scheme须为{listed_zh(known)}之一或界限列表，而不是{scheme!r}。",
    )


def _natural_edges(array: np.ndarray, k: int) -> np.ndarray:
    """Edges midway between the k classes with the least sum of squares within them.

    Fisher's exact dynamic programme (Fisher 1958, JASA 53: 789-798) over the sorted distinct values.
    """
    if len(array) > NATURAL_LIMIT:
        array = np.quantile(array, np.linspace(0, 1, NATURAL_LIMIT), method="nearest")
    values, counts = np.unique(array, return_counts=True)
    if len(values) <= k:
        return (values[:-1] + values[1:]) / 2
    # Sums over the first m values, of values about their mean to keep the squares small.
    centred = values - array.mean()
    size, total, square = (np.concatenate([[0.0], np.cumsum(counts * centred**power)]) for power in range(3))
    best = np.concatenate([[0.0], square[1:] - total[1:] ** 2 / size[1:]])
    starts = []
    for _ in range(1, k):
        best, start = _one_more_class(best, size, total, square)
        starts.append(start)
    last, edges = len(values), []
    for start in reversed(starts):
        last = start[last]
        edges.append((values[last - 1] + values[last]) / 2)
    return np.array(edges[::-1])


def _one_more_class(
    best: np.ndarray, size: np.ndarray, total: np.ndarray, square: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """From the least sums of squares of the first m values in c classes, those in c + 1 classes.

    Also gives where the last class starts. All arrays have one entry for each m from 0.
    """
    out, start = np.full(len(best), np.inf), np.zeros(len(best), dtype=int)
    for stop in range(1, len(best)):
        first = slice(1, stop) if stop > 1 else slice(0, 1)
        within = square[stop] - square[first] - (total[stop] - total[first]) ** 2 / (size[stop] - size[first])
        whole = best[first] + within
        start[stop] = first.start + int(np.argmin(whole))
        out[stop] = whole.min()
    return out, start


def class_of(values: np.ndarray, breaks: np.ndarray) -> np.ndarray:
    """Number of the class of each value; −1 where it is missing."""
    codes = np.searchsorted(breaks[1:-1], values, side="left")
    return np.where(np.isnan(values), -1, codes)


def class_labels(breaks: np.ndarray, language: Language) -> list[str]:
    """Intervals in words, with as few decimals as keep all edges apart."""
    numbers = edge_words(breaks)
    between = " to " if language == "en" else " ～ "
    return [f"{low}{between}{high}" for low, high in itertools.pairwise(numbers)]


def edge_words(breaks: np.ndarray) -> list[str]:
    """Class edges in figures, with as few decimals as keep them apart."""
    span = float(breaks[-1] - breaks[0])
    # About two significant digits of the range, then more while two edges look the same.
    fewest = 0 if span == 0 else min(max(0, math.ceil(math.log10(50 / span))), MOST_DECIMALS)
    for decimals in range(fewest, MOST_DECIMALS + 1):
        numbers = [f"{edge:,.{decimals}f}" for edge in breaks]
        if len(set(numbers)) == len(numbers) or span == 0:
            break
    signed = [number if float(number.replace(",", "")) else number.lstrip("-") for number in numbers]
    return [number.replace("-", "−") for number in signed]
