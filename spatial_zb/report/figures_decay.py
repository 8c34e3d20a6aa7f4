"""Decay over distance: the spatial correlogram, and effects under thresholds of distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from spatial_zb.errors import SpecificationError, listed, listed_zh
from spatial_zb.report.lines import Chart, LinePanel, Series, columns_for, draw_chart
from spatial_zb.report.page import Words, chosen_periods, items, open_page, period_words, require_rows
from spatial_zb.report.style import GREY, Drawing, FigureStyle
from spatial_zb.report.words import EFFECTS
from spatial_zb.text import Language, Text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["correlogram", "distance_effects_figure"]

DISTANCE = Text("Distance between units (km)", "地区间距离（km）")
MORAN = Text("Moran's I", "莫兰指数 I")
ENVELOPE = Text(
    "Grey: {:g} % of random assignments of the values to the units. Hollow: within it.",
    "灰色区域：将数值随机分配给各地区时{:g}%的范围；空心点位于其中。",
)
EFFECT = Text("Effect", "效应")
THRESHOLD = Text("Distance threshold (km)", "距离阈值（km）")
INTERVALS = Text(
    "Bars: {:g} % confidence intervals. Hollow: the interval holds zero.",
    "误差线为{:g}%置信区间；空心点：置信区间包含零。",
)
NOT_ESTIMATED = Text("Not estimated at {} km.", "在{} km处无法估计。")


def correlogram(
    frame: pd.DataFrame,
    *,
    periods: Sequence[int] | None = None,
    level: float = 0.95,
    label: Words = MORAN,
    title: Words = "",
    note: Words = "",
    style: str | FigureStyle = "journal_double",
    language: Language | None = None,
    ax: Axes | None = None,
) -> Drawing:
    """Draw Moran's I by distance with its permutation envelope, one panel for each period.

    Parameters
    ----------
    frame
        Columns period, km, I, env_low, env_high, as
        :func:`~spatial_zb.distance_decay.moran_by_distance` gives them.
    periods
        Those to draw; all without it.
    level
        Share of the permutations inside the envelope, for the note.
    label
        Words for the statistic.
    ax
        Axes for the only panel of one period.

    Raises
    ------
    DataError
        A missing column, or no finite number.
    SpecificationError
        An unknown period, or ``ax`` for more than one.
    """
    require_rows(
        frame,
        ("period", "km", "I", "env_low", "env_high"),
        Text("frame of Moran's I by distance", "按距离的莫兰指数表"),
    )
    drawn = chosen_periods(list(dict.fromkeys(frame["period"])), periods, Text("Moran's I", "莫兰指数"))
    with open_page(style, language, title, note) as page:
        panels = []
        for period in drawn:
            part = frame[(frame["period"] == period) & np.isfinite(frame["I"].to_numpy(float))]
            panels.append(_correlogram_panel(part.sort_values("km"), period, page.language))
        chart = Chart(
            page.say(DISTANCE),
            page.say(label),
            page.title,
            page.note(page.say(ENVELOPE, 100 * level)),
            columns=columns_for(len(panels), page.style),
        )
        return draw_chart(panels, chart, page.style, ax)


def distance_effects_figure(
    frame: pd.DataFrame,
    term: str,
    *,
    effects: Sequence[str] = ("indirect",),
    confidence: float = 0.95,
    label: Words | None = None,
    title: Words = "",
    note: Words = "",
    style: str | FigureStyle = "journal_single",
    language: Language | None = None,
    ax: Axes | None = None,
) -> Drawing:
    """Draw effects of one variable, estimated anew under each threshold of distance, with their intervals.

    Parameters
    ----------
    frame
        Columns km, term, effect, estimate, conf_low, conf_high, as
        :func:`~spatial_zb.distance_decay.effects_by_distance` gives them.
    term
        The variable.
    effects
        One panel each.
    confidence
        Level of the intervals in the frame, for the note.
    label
        Words for the axis of the effect.
    ax
        Axes for the only panel.

    Notes
    -----
    Thresholds at which the model could not be estimated are told in the note and in ``Drawing.left_out``.

    Raises
    ------
    DataError
        A missing column, or no finite estimate.
    SpecificationError
        A term or effect that the frame does not have, or ``ax`` for more than one panel.
    """
    require_rows(
        frame,
        ("km", "term", "effect", "estimate", "conf_low", "conf_high"),
        Text("frame of effects by distance", "按距离的效应表"),
    )
    rows = frame[frame["term"] == term]
    kinds = list(dict.fromkeys(rows["effect"]))
    unknown = [effect for effect in effects if effect not in kinds]
    if unknown or not effects:
        what, what_zh = (listed(unknown), listed_zh(unknown)) if kinds else (f"of {term!r}", repr(term))
        raise SpecificationError(
            f"There is no effect {what}; there are {listed(frame['term'].dropna().unique())}.",
            f"没有效应{what_zh}；已有{listed_zh(frame['term'].dropna().unique())}。",
        )
    lost = sorted(set(frame["km"]) - set(rows.loc[np.isfinite(rows["estimate"].to_numpy(float)), "km"]))
    with open_page(style, language, title, note) as page:
        panels = [
            LinePanel(page.say(EFFECTS.get(e, e)), (_effect_series(rows[rows["effect"] == e]),))
            for e in effects
        ]
        gone = page.say(NOT_ESTIMATED, items((f"{d:g}" for d in lost), page.language)) if lost else ""
        chart = Chart(
            page.say(THRESHOLD),
            page.say(EFFECT if label is None else label),
            page.title,
            page.note(page.say(INTERVALS, 100 * confidence), gone),
            columns=columns_for(len(panels), page.style),
        )
        drawing = draw_chart(panels, chart, page.style, ax)
    return Drawing(drawing.figure, drawing.axes, left_out=tuple(f"{d:g} km" for d in lost))


# --------------------------------------------------------------------------------------------------------


def _correlogram_panel(part: pd.DataFrame, period: object, language: Language) -> LinePanel:
    x, found, low, high = (part[name].to_numpy(dtype=float) for name in ("km", "I", "env_low", "env_high"))
    outside = (found < low) | (found > high)
    middle = Series(
        "", x, (low + high) / 2, low, high, interval="band", marker=False, line=False, colour=GREY
    )
    return LinePanel(period_words(period, language), (middle, Series("", x, found, filled=outside)))


def _effect_series(rows: pd.DataFrame) -> Series:
    rows = rows[np.isfinite(rows["estimate"].to_numpy(float))].sort_values("km")
    x, y, low, high = (
        rows[name].to_numpy(dtype=float) for name in ("km", "estimate", "conf_low", "conf_high")
    )
    return Series("", x, y, low, high, filled=(low > 0) | (high < 0))
