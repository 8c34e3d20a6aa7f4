"""Moran scatter plots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spatial_zb.base.errors import AlignmentError, DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.core.statistics import bivariate_moran, moran_i
from spatial_zb.report.drawing.frame import (
    LABEL_PAD,
    PLAIN,
    ChartFrame,
    Look,
    Page,
    Words,
    chart_sheet,
    items,
    line_height,
    lines_in,
    open_page,
    panel_letter,
    period_words,
    to_mm,
)
from spatial_zb.report.drawing.placement import AROUND, box_of, halo_text, place, root_figure
from spatial_zb.report.drawing.places import NAME_LIMIT, unique_ids
from spatial_zb.report.drawing.style import GREY, INK, Drawing, FigureStyle, fix_ticks, new_figure, words
from spatial_zb.weights.matrix import Weights, match_units, named_weights
from spatial_zb.weights.periods import PeriodWeights, any_weights, weights_at

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


STANDARDISED = Text("{} (standardised)", "{}（标准化）")
SPATIAL_LAG = Text("Spatial lag", "空间滞后项")
SCALED_LAG = Text("Spatial lag × n/S₀", "空间滞后项 × n/S₀")
THE_VARIABLE = Text("Variable", "变量")
LAG_OF = Text("Spatial lag of {} (standardised)", "{}的空间滞后项（标准化）")
SCALED_LAG_OF = Text("Spatial lag of {} (standardised) × n/S₀", "{}的空间滞后项（标准化）× n/S₀")
MORAN = Text("Moran's I = {}", "莫兰指数 I = {}")
MORAN_OF = Text("Moran's I of {}", "{}的莫兰指数 I")
BIVARIATE = Text("Bivariate I = {}", "双变量莫兰指数 I = {}")
WITHOUT = Text("Not shown, no neighbours: {}.", "未绘出（无邻接单元）：{}。")

#: Quadrants of the scatter: words, colour, marker; the likes are filled, the others hollow.
QUADRANTS: dict[str, tuple[Text, str, str, bool]] = {
    "HH": (Text("High–high", "高—高"), "#a50f15", "o", True),
    "LL": (Text("Low–low", "低—低"), "#3182bd", "s", True),
    "HL": (Text("High–low", "高—低"), "#a50f15", "^", False),
    "LH": (Text("Low–high", "低—高"), "#3182bd", "v", False),
}


def moran_scatter(
    values: pd.Series | pd.DataFrame,
    W: Any,
    *,
    label: Words | tuple[Words, Words] = THE_VARIABLE,
    other: pd.Series | pd.DataFrame | None = None,
    notable: int | Sequence[str] = 6,
    p_values: Sequence[float] | None = None,
    look: Look = PLAIN,
    ax: Axes | None = None,
) -> Drawing:
    """Plot standardised values against their spatial lag; the slope of the line is Moran's I.

    With z the values less their mean in population standard deviations, the plot shows z against
    (n/S₀) W z, with n the units that have neighbours and S₀ the sum of all weights. The factor is one for a
    row-normalised W; the axis says so when it is not. With it the slope of the line, z'(n/S₀)Wz / z'z, is
    Moran's I of :func:`~spatial_zb.core.statistics.moran_i` for any W (Anselin 1996, in Fischer, Scholten & Unwin,
    Spatial Analytical Perspectives on GIS, pp. 111-125).

    Parameters
    ----------
    values
        One finite value for each unit, by id in any order: a Series, or a frame with one column for each period, each
        of which has a panel with common axes.
    W
        Weights, or anything :func:`~spatial_zb.weights.matrix.as_weights` takes, with the same ids. A W by period
        (:func:`spatial_zb.weights.by_period`) shows in each panel the units of its W.
        Islands count in the mean, in the deviation and in I, but have no lag: they are left out of the
        dots and told in a note and in ``Drawing.left_out``.
    label
        Words for the variable, or a pair of words for it and for ``other``.
    other
        A second variable, of the same form: its lag is plotted then, and the slope is the bivariate I of the
        value of a unit and the other variable of its neighbours (Anselin, Syabri & Smirnov 2002).
    notable
        Ids to name, in order of priority, or how many of those farthest from the origin. A name without a
        free place is left out and told in ``Drawing.unlabelled``.
    p_values
        One for each panel, told beside its I.
    look
        Style and words, among them ``words`` by unit id for the names; the ids themselves without it.
    ax
        Axes to draw in, without title, note and legend.

    Raises
    ------
    AlignmentError
        Ids of values, W and notable units differ.
    DataError
        Missing, infinite or constant values; no column.
    SpecificationError
        ``ax`` for several panels.
    """
    weights = any_weights(W)
    frame, second = _matched(values, weights), None if other is None else _matched(other, weights)
    _require_room(frame, ax)
    labels = label if isinstance(label, tuple) else (label, THE_VARIABLE)
    clouds = [
        _cloud(frame.iloc[:, number], weights_at(weights, period), None if second is None else second[period])
        for number, period in enumerate(frame.columns)
    ]
    with open_page(look, "journal_single" if len(clouds) == 1 else "journal_double") as page:
        sides = _sides(clouds, labels, second is not None, page)
        headings = _headings(list(frame.columns), clouds, p_values, second is not None, page)
        called = {
            unit: page.say(look.words.get(unit, unit), limit=NAME_LIMIT) or unit for unit in weights.ids
        }
        if ax is None:
            figure, panels = _scatter_sheet(headings, sides, _around(clouds, called, page), page)
        else:
            figure, panels = root_figure(ax), [ax]
            ax.set(xlabel=sides[0], ylabel=sides[1])
        _common_limits(panels, clouds)
        told = [
            _draw_cloud(panel, cloud, notable, called, page.style)
            for panel, cloud in zip(panels, clouds, strict=True)
        ]
        fix_ticks(figure)
    lost = dict.fromkeys(unit for _, dropped in told for unit in dropped)
    kept = dict.fromkeys(unit for done, _ in told for unit in done)
    return Drawing(figure, tuple(panels), None, tuple(kept), tuple(lost), _islands(clouds))


def _require_room(frame: pd.DataFrame, ax: Axes | None) -> None:
    if not len(frame.columns):
        raise DataError(
            "The frame has no column to plot: give one column for each period.",
            "表中没有可绘制的列：请每个时期给一列。",
        )
    if ax is not None and len(frame.columns) > 1:
        raise SpecificationError(
            f"These are {len(frame.columns)} panels: leave ax away, or choose one of them.",
            f"共有{len(frame.columns)}幅：请不要给ax，或只选其中一幅。",
        )


def _sides(clouds: Sequence[_Cloud], labels: tuple[Words, Words], two: bool, page: Page) -> tuple[str, str]:
    """Words of both axes."""
    scaled = not all(math.isclose(_factor(cloud.weights), 1.0) for cloud in clouds)
    if two:
        upward = page.say(SCALED_LAG_OF if scaled else LAG_OF, page.say(labels[1]))
    else:
        upward = page.say(SCALED_LAG if scaled else SPATIAL_LAG)
    return page.say(STANDARDISED, page.say(labels[0])), upward


def _headings(
    periods: list, clouds: list[_Cloud], p_values: Sequence[float] | None, two: bool, page: Page
) -> list[str]:
    """Period and I of each panel."""
    chances = [None] * len(clouds) if p_values is None else p_values
    told = [_told(cloud.slope, p) for cloud, p in zip(clouds, chances, strict=True)]
    return [
        _heading(number, period, len(clouds), _fill(BIVARIATE if two else MORAN, value), page.style)
        for number, (period, value) in enumerate(zip(periods, told, strict=True))
    ]


def _islands(clouds: Sequence[_Cloud]) -> tuple[str, ...]:
    """Units without neighbours in some panel."""
    return tuple(dict.fromkeys(unit for cloud in clouds for unit in cloud.weights.islands))


def _around(clouds: Sequence[_Cloud], called: Mapping[str, str], page: Page) -> tuple[str, str]:
    """Title and note."""
    alone = items((called[unit] for unit in _islands(clouds)), page.language)
    return page.title, page.note(page.say(WITHOUT, alone) if alone else "")


@dataclass(frozen=True, slots=True)
class _Cloud:
    """Points of one scatter: (n,) value and lag in the order of the weights, the slope, and the weights."""

    z: np.ndarray
    lag: np.ndarray
    slope: float
    weights: Weights


def _factor(weights: Weights) -> float:
    """n/S₀ with n the units that have neighbours."""
    return (weights.n - len(weights.islands)) / weights.matrix.sum()


def _matched(values: pd.Series | pd.DataFrame, weights: Weights | PeriodWeights) -> pd.DataFrame:
    """Values by period in the order of the weights."""
    frame = values.to_frame(name="") if isinstance(values, pd.Series) else values
    ids = unique_ids(frame.index)
    match_units(ids, weights.ids, Text("values", "数值"), named_weights(weights.label))
    return frame.set_axis(ids).loc[weights.ids]


def _cloud(values: pd.Series, weights: Weights, other: pd.Series | None = None) -> _Cloud:
    """z against (n/S₀) Wz, or against the lag of another variable's z."""
    values = values.loc[weights.ids]
    z = _standardised(values)
    a = z if other is None else _standardised(other.loc[weights.ids])
    if other is None:
        slope = moran_i(values.to_numpy(dtype=float), weights.matrix).value
    else:
        slope = bivariate_moran(z, a, weights.matrix).value
    return _Cloud(z, _factor(weights) * (weights.matrix @ a), slope, weights)


def _standardised(values: pd.Series) -> np.ndarray:
    x = values.to_numpy(dtype=float)
    bad = values.index[~np.isfinite(x)]
    where, where_zh = (f" in {values.name}", f"{values.name}：") if str(values.name) else ("", "")
    if len(bad):
        raise DataError(
            f"Values are missing or infinite for {listed(bad)}{where}: fill or drop them first.",
            f"{where_zh}{listed_zh(bad)}的数值缺失或为无穷大：请先填补或剔除。",
        )
    if np.ptp(x) == 0:
        raise DataError(
            f"The values are the same for all units{where}: Moran's I is not defined.",
            f"{where_zh}各地区的数值相同：莫兰指数没有定义。",
        )
    return (x - x.mean()) / x.std()


def _told(slope: float, p_value: float | None) -> Text:
    """I with three decimals, and its p-value where there is one."""
    value = f"{slope:.3f}".replace("-", "−")
    if p_value is None:
        return Text.of(value)
    said = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
    return Text(f"{value} ({said})", f"{value}（{said}）")


def _fill(pattern: Text, value: str | Text) -> Text:
    value = Text.of(value)
    return Text(pattern.en.format(value.en), pattern.zh.format(value.zh))


def _scatter_sheet(
    headings: Sequence[str],
    sides: tuple[str, str],
    around: tuple[str, str],
    page: Page,
) -> tuple[Figure, list[Axes]]:
    style, columns = page.style, max(1, min(page.look.columns, len(headings)))
    ticks = line_height(style.small_pt, 1)
    # Room for an axis label of one line, then for the lines it needs in a panel of that width.
    pad = to_mm(LABEL_PAD)
    guess = ChartFrame(columns, 2.1 * ticks + pad + line_height(style.base_pt, 1), 0)
    measure = new_figure(style, style.height_mm)
    across = lines_in(measure, sides[0], style.base_pt, guess.width(style))
    upward = lines_in(measure, sides[1], style.base_pt, SCATTER_ASPECT * guess.width(style))
    left = guess.left + line_height(style.base_pt, len(upward) - 1)
    frame = ChartFrame(columns, left, 2.0 * ticks + pad + line_height(style.base_pt, len(across)))
    handles = _quadrant_handles(style)
    figure, axes = chart_sheet(headings, frame, SCATTER_ASPECT * frame.width(style), around, handles, style)
    for number, panel in enumerate(axes):
        panel.set_xlabel("\n".join(across), labelpad=LABEL_PAD)
        panel.tick_params(labelleft=number % columns == 0)
        if number % columns == 0:
            panel.set_ylabel("\n".join(upward), labelpad=LABEL_PAD)
    return figure, axes


SCATTER_ASPECT = 0.9


def _heading(number: int, period: object, total: int, statistic: Text, style: FigureStyle) -> str:
    name = period_words(period, style.language)
    between = {"en": ", ", "zh": "，"}[style.language] if name else ""
    said = panel_letter(number, total) + name + between + statistic.pick(style.language)
    return words(said, style.language, 80)


def _common_limits(panels: list[Axes], clouds: list[_Cloud]) -> None:
    """Same limits in all panels, with the origin inside and room for names at the sides."""
    for side, values in (("x", [cloud.z for cloud in clouds]), ("y", [cloud.lag for cloud in clouds])):
        low, high = min(0.0, *map(np.min, values)), max(0.0, *map(np.max, values))
        room = 0.12 * (high - low) or 1.0
        for panel in panels:
            panel.set(**{f"{side}lim": (low - room, high + room)})


def _draw_cloud(
    axes: Axes,
    cloud: _Cloud,
    notable: int | Sequence[str],
    called: dict[str, str],
    style: FigureStyle,
) -> tuple[list[str], list[str]]:
    """Draw one scatter; returns the ids named and those without room for their name."""
    weights = cloud.weights
    axes.axhline(0, color=GREY, linewidth=0.6 * style.line_pt, zorder=1, gid="zero")
    axes.axvline(0, color=GREY, linewidth=0.6 * style.line_pt, zorder=1, gid="zero")
    axes.axline((0, 0), slope=cloud.slope, color=INK, linewidth=style.line_pt, zorder=2, gid="slope")
    shown = ~weights.ids.isin(weights.islands)
    masks = _quadrants(cloud)
    for name, mask in masks.items():
        axes.plot(cloud.z[mask & shown], cloud.lag[mask & shown], gid=name, zorder=3, **_dot(name, style))
    chosen = _notable(notable, cloud, called, shown)
    spots = axes.transData.transform(np.column_stack([cloud.z, cloud.lag]))
    half = 0.5 * _dot("HH", style)["markersize"] * root_figure(axes).dpi / 72
    artists = [
        halo_text(
            axes, cloud.z[number], cloud.lag[number], called[weights.ids[number]], fontsize=style.small_pt
        )
        for number in chosen
    ]
    limits = box_of(axes.patch)
    placed = place(artists, limits, AROUND, [np.r_[spot - half, spot + half] for spot in spots[shown]])
    for number, artist, done in zip(chosen, artists, placed, strict=True):
        if done:
            _lead(axes, spots[number], box_of(artist[0]), style)
    ids = weights.ids[chosen]
    return list(ids[placed]), list(ids[~np.asarray(placed, dtype=bool)])


def _quadrants(cloud: _Cloud) -> dict[str, np.ndarray]:
    high, above = cloud.z >= 0, cloud.lag >= 0
    return {"HH": high & above, "LL": ~high & ~above, "HL": high & ~above, "LH": ~high & above}


def _dot(quadrant: str, style: FigureStyle) -> dict[str, Any]:
    _, colour, marker, filled = QUADRANTS[quadrant]
    face = colour if filled else "white"
    size = 4.2 * style.line_pt
    edge = {"markeredgecolor": colour, "markeredgewidth": style.line_pt}
    return {"linestyle": "", "marker": marker, "markersize": size, "markerfacecolor": face, **edge}


def _quadrant_handles(style: FigureStyle) -> list[Artist]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], label=words(name, style.language), **_dot(quadrant, style))
        for quadrant, (name, *_) in QUADRANTS.items()
    ]


def _notable(
    notable: int | Sequence[str], cloud: _Cloud, known: Mapping[str, str], shown: np.ndarray
) -> np.ndarray:
    """Positions of the units to name, in order of priority; islands have no dot to name."""
    if isinstance(notable, int):
        far = np.where(shown, np.hypot(cloud.z, cloud.lag), -1.0)
        return np.argsort(-far, kind="stable")[: min(max(notable, 0), int(shown.sum()))]
    unknown = [unit for unit in notable if unit not in known]
    if unknown:
        raise AlignmentError(
            f"Names are asked for units that are not in the weights: {listed(unknown)}.",
            f"要求标注的地区不在权重矩阵中：{listed_zh(unknown)}。",
        )
    ids = cloud.weights.ids
    positions = ids.get_indexer([unit for unit in dict.fromkeys(notable) if unit in ids])
    return positions[shown[positions]]


def _lead(axes: Axes, spot: np.ndarray, box: np.ndarray, style: FigureStyle) -> None:
    """Draw a thin line from a dot to its name where the name is not right beside it."""
    near = np.clip(spot, box[:2], box[2:])
    if np.hypot(*(near - spot)) < 0.9 * (box[3] - box[1]):
        return
    ends = axes.transData.inverted().transform(np.array([spot, near]))
    axes.plot(*ends.T, color=GREY, linewidth=0.5 * style.line_pt, zorder=2.5, gid="leader")
