"""Decay over distance: the spatial correlogram, and effects under thresholds of distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from spatial_zb.errors import DataError, SpecificationError, listed
from spatial_zb.report.lines import Chart, LinePanel, Series, columns_for, draw_chart
from spatial_zb.report.style import GREY, Drawing, FigureStyle, context, words
from spatial_zb.report.words import EFFECTS
from spatial_zb.text import Language, Text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["correlogram", "distance_effects_figure"]

Words = str | Mapping[str, str] | Text
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
    _refuse_lacking(frame, ("period", "km", "I", "env_low", "env_high"), "Moran's I by distance")
    known = list(dict.fromkeys(frame["period"]))
    unknown = [period for period in periods or () if period not in known]
    if unknown:
        raise SpecificationError(f"There is no period {listed(unknown)}; there are {listed(known)}.")
    with context(style, language) as look:
        panels = []
        for period in known if periods is None else periods:
            part = frame[(frame["period"] == period) & np.isfinite(frame["I"].to_numpy(float))]
            panels.append(_correlogram_panel(part.sort_values("km"), period, look.language))
        note_words = ENVELOPE.pick(look.language).format(100 * level)
        chart = Chart(
            words(DISTANCE, look.language),
            words(label, look.language),
            words(title, look.language),
            _joined(note_words, words(note, look.language), look.language),
            columns=columns_for(len(panels), look),
        )
        return draw_chart(panels, chart, look, ax)


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
    _refuse_lacking(
        frame, ("km", "term", "effect", "estimate", "conf_low", "conf_high"), "effects by distance"
    )
    rows = frame[frame["term"] == term]
    kinds = list(dict.fromkeys(rows["effect"]))
    unknown = [effect for effect in effects if effect not in kinds]
    if unknown or not effects:
        what = listed(unknown) if kinds else f"of {term!r}"
        raise SpecificationError(
            f"There is no effect {what}; there are {listed(frame['term'].dropna().unique())}."
        )
    lost = sorted(set(frame["km"]) - set(rows.loc[np.isfinite(rows["estimate"].to_numpy(float)), "km"]))
    with context(style, language) as look:
        heads = [words(EFFECTS[e].pick(look.language) if e in EFFECTS else e, look.language) for e in effects]
        panels = [
            LinePanel(head, (_effect_series(rows[rows["effect"] == effect]),))
            for effect, head in zip(effects, heads, strict=True)
        ]
        said = INTERVALS.pick(look.language).format(100 * confidence)
        if lost:
            between = {"en": ", ", "zh": "、"}[look.language]
            gone = NOT_ESTIMATED.pick(look.language).format(between.join(f"{d:g}" for d in lost))
            said = _joined(said, gone, look.language)
        y_words = words(EFFECT if label is None else label, look.language)
        chart = Chart(
            words(THRESHOLD, look.language),
            y_words,
            words(title, look.language),
            _joined(said, words(note, look.language), look.language),
            columns=columns_for(len(panels), look),
        )
        drawing = draw_chart(panels, chart, look, ax)
    return Drawing(drawing.figure, drawing.axes, left_out=tuple(f"{d:g} km" for d in lost))


# --------------------------------------------------------------------------------------------------------


def _refuse_lacking(frame: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    lacking = [name for name in columns if name not in frame.columns]
    if lacking:
        raise DataError(f"The frame of {what} has no column {listed(lacking)}.")
    if frame.empty:
        raise DataError(f"The frame of {what} has no row.")


def _correlogram_panel(part: pd.DataFrame, period: object, language: Language) -> LinePanel:
    x, found, low, high = (part[name].to_numpy(dtype=float) for name in ("km", "I", "env_low", "env_high"))
    outside = (found < low) | (found > high)
    middle = Series(
        "", x, (low + high) / 2, low, high, interval="band", marker=False, line=False, colour=GREY
    )
    head = str(period)
    head += "年" if language == "zh" and head.isdigit() and len(head) == 4 else ""
    return LinePanel(head, (middle, Series("", x, found, filled=outside)))


def _effect_series(rows: pd.DataFrame) -> Series:
    rows = rows[np.isfinite(rows["estimate"].to_numpy(float))].sort_values("km")
    x, y, low, high = (
        rows[name].to_numpy(dtype=float) for name in ("km", "estimate", "conf_low", "conf_high")
    )
    return Series("", x, y, low, high, filled=(low > 0) | (high < 0))


def _joined(first: str, second: str, language: Language) -> str:
    return (" " if language == "en" else "").join(part for part in (first, second) if part)
