"""Effects over rounds of feedback and over time, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.text import Language, Text
from spatial_zb.report.drawing.frame import PLAIN, Look, Page, Words, open_page, require_rows
from spatial_zb.report.drawing.style import Drawing, words
from spatial_zb.report.figures.lines import Chart, LinePanel, Series, columns_for, draw_chart
from spatial_zb.report.words import EFFECTS, RESPONSE_PARTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


ORDER = Text("Rounds of feedback", "反馈轮次")
ROUND_0 = Text(
    "Round 0: before any feedback, of the variable of the unit and of its neighbours.",
    "第0轮：尚无反馈，为本地区与邻居的变量本身的效应。",
)
EFFECT = Text("Effect", "效应")
EACH, CUMULATIVE = Text("Each round", "各轮效应"), Text("Up to this round", "累积效应")
INTERVALS = Text("Bars and band: {:g} % confidence intervals.", "误差线与阴影为{:g}%置信区间。")
BAND = Text("Bands: {:g} % confidence intervals.", "阴影为{:g}%置信区间。")
HOLLOW = Text("Hollow: the interval holds zero.", "空心点：置信区间包含零。")
PERIOD = Text("Periods after the change", "冲击后的期数")
LONG_RUN = Text("Dashed: long run.", "虚线：长期效应。")
SHOCK = "shock:"
#: How far right of its round the contribution of a round stands, in rounds.
ASIDE = 0.14


def effects_by_order(
    frame: pd.DataFrame,
    *,
    terms: Sequence[Any] | None = None,
    effects: Sequence[str] = ("direct", "indirect", "total"),
    confidence: float = 0.95,
    look: Look = PLAIN,
    ax: Axes | None = None,
) -> Drawing:
    """Draw effects by round of feedback: what each round adds, and what all rounds up to it amount to.

    Round j is the part ρ^j W^j (β + θW) of the effect: round 0 is the effect of the variable itself, of the unit (β) and of
    its neighbours (θW), before y acts on the y of neighbours; each further round goes once more through them.

    Parameters
    ----------
    frame
        Columns term (or response and source, of a system), effect, order, estimate, cumulative, as
        :func:`~spatial_zb.effects.effects_by_order` gives them; with the intervals of
        :func:`~spatial_zb.effects.effects_by_order` these are drawn too.
    terms
        Variables, or pairs (response, source), one row of panels each; the first of the frame without it.
    effects
        Panels side by side, one for each.
    confidence
        Level of the intervals in the frame, for the note.
    look
        Style and words, among them ``words`` by variable, and by equation of a system.
    ax
        Axes for the only panel of one term and one effect.

    Raises
    ------
    DataError
        A missing column, nothing to draw, or more than one row for an order.
    SpecificationError
        A term or an effect that the frame does not have, or ``ax`` for more than one panel.
    """
    rows = _with_key(frame, ("effect", "order", "estimate", "cumulative"))
    chosen = _chosen(rows, terms, effects)
    _require_one_each(rows, "order", chosen, effects)
    with open_page(look, "journal_double") as page:
        panels, bounded = [], "conf_low" in rows.columns
        for key in chosen:
            for effect in effects:
                part = rows[(rows["key"] == key) & (rows["effect"] == effect)].sort_values("order")
                several = len(chosen) > 1 or isinstance(key, tuple)
                panels.append(_order_panel(part, key, effect, several, page))
        parts = (INTERVALS, HOLLOW) if bounded else ()
        chart = Chart(
            page.say(ORDER),
            page.say(EFFECT),
            page.title,
            page.note(page.say(ROUND_0), *(page.say(part, 100 * confidence) for part in parts)),
            columns=columns_for(len(effects), page.style),
            x_ticks=sorted(rows["order"].unique()),
        )
        return draw_chart(panels, chart, page.style, ax)


def effects_path(
    frame: pd.DataFrame,
    *,
    terms: Sequence[Any] | None = None,
    effects: Sequence[str] = ("direct", "indirect", "total"),
    long_run: pd.DataFrame | None = None,
    confidence: float = 0.95,
    look: Look = PLAIN,
    ax: Axes | None = None,
) -> Drawing:
    """Draw how effects unfold over time, with their intervals: one row of panels for each variable.

    Parameters
    ----------
    frame
        Columns term (or response and source, of a system), effect, period (or horizon), estimate, conf_low, conf_high, as
        :func:`~spatial_zb.effects.dynamic.effects_path` and :func:`spatial_zb.impulse_responses` give them.
    terms
        Variables, or pairs (response, source); the first of the frame without it.
    long_run
        Tidy effects of the long run, drawn as a dashed line.
    effects, confidence, look, ax
        As in :func:`effects_by_order`.

    Raises
    ------
    DataError
        A missing column, nothing to draw, or more than one row for a period.
    SpecificationError
        A term or an effect that the frame does not have, or ``ax`` for more than one panel.
    """
    frame = frame.rename(columns={"horizon": "period"})
    rows = _with_key(frame, ("effect", "period", "estimate", "conf_low", "conf_high"))
    chosen = _chosen(rows, terms, effects)
    _require_one_each(rows, "period", chosen, effects)
    with open_page(look, "journal_double") as page:
        panels = []
        for key in chosen:
            for effect in effects:
                part = rows[(rows["key"] == key) & (rows["effect"] == effect)].sort_values("period")
                line = _series("", part, "period", "estimate", "conf_", look=0, interval="band")
                heading = _heading(key, effect, len(chosen) > 1, page)
                panels.append(LinePanel(heading, (line,), _long_run(long_run, key, effect)))
        parts = (BAND, HOLLOW, *((LONG_RUN,) if long_run is not None else ()))
        chart = Chart(
            page.say(PERIOD),
            page.say(EFFECT),
            page.title,
            page.note(*(page.say(part, 100 * confidence) for part in parts)),
            columns=columns_for(len(effects), page.style),
            x_ticks=sorted(rows["period"].unique()),
        )
        return draw_chart(panels, chart, page.style, ax)


def pair_words(response: str, source: str, labels: Mapping[str, Words], language: Language) -> str:
    """Words for what acts on what in a system; ``shock:talent`` is talent itself."""
    x, y = (Text.of(labels.get(name, name)) for name in (source.removeprefix(SHOCK), response))
    return words(Text(f"{x.en} → {y.en}", f"{x.zh} → {y.zh}"), language, 160)


# --------------------------------------------------------------------------------------------------------


def _with_key(frame: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """The frame with what its rows are about in ``key``: a term, or a pair (response, source)."""
    system = "term" not in frame.columns and {"response", "source"} <= set(frame.columns)
    needed = ("response", "source", *columns) if system else ("term", *columns)
    require_rows(frame, needed, Text("frame of effects", "效应表"))
    if system:
        pairs = list(zip(frame["response"], frame["source"], strict=True))
        return frame.assign(key=pd.Series(pairs, index=frame.index, dtype=object))
    return frame.assign(key=frame["term"])


def _chosen(rows: pd.DataFrame, terms: Sequence[Any] | None, effects: Sequence[str]) -> list[Any]:
    known, kinds = list(dict.fromkeys(rows["key"])), list(dict.fromkeys(rows["effect"]))
    chosen = known[:1] if terms is None else [tuple(t) if isinstance(t, list) else t for t in terms]
    unknown = [t for t in chosen if t not in known]
    if unknown:
        raise SpecificationError(
            f"There are no effects of {listed(unknown)}; there are those of {listed(known)}.",
            f"没有{listed_zh(unknown)}的效应；已有{listed_zh(known)}的效应。",
        )
    strange = [effect for effect in effects if effect not in kinds]
    if strange or not effects:
        raise SpecificationError(
            f"There is no effect {listed(strange)}; there are {listed(kinds)}.",
            f"没有效应{listed_zh(strange)}；已有{listed_zh(kinds)}。",
        )
    return chosen


def _require_one_each(rows: pd.DataFrame, x: str, keys: Sequence[Any], effects: Sequence[str]) -> None:
    """Refuse two rows for one point of a line: they come from different fits, or one was given twice."""
    drawn = rows[rows["key"].isin(keys) & rows["effect"].isin(effects)]
    again = drawn[drawn.duplicated(["key", "effect", x])]
    if not again.empty:
        found = dict.fromkeys(
            f"{effect} of {' → '.join(reversed(key)) if isinstance(key, tuple) else key} ({x} {place})"
            for key, effect, place in again[["key", "effect", x]].itertuples(index=False, name=None)
        )
        raise DataError(
            f"The frame of effects has more than one row for {listed(found)}: give the rows of one fit, each once.",
            f"效应表中{listed_zh(found)}有不止一行：请只给一次估计的各行，每行一次。",
        )


def _order_panel(part: pd.DataFrame, key: Any, effect: str, several: bool, page: Page) -> LinePanel:
    total = _series(
        page.say(CUMULATIVE), part, "order", "cumulative", "cumulative_conf_", look=0, interval="band"
    )
    each = _series(page.say(EACH), part, "order", "estimate", "conf_", look=1, interval="bars", line=False)
    # Beside the line of all rounds, which starts at the same point.
    each = replace(each, x=each.x + ASIDE)
    return LinePanel(_heading(key, effect, several, page), (total, each))


def _series(
    name: str, part: pd.DataFrame, x: str, y: str, limits: str, *, look: int, interval: Any, line: bool = True
) -> Series:
    """One line of a frame; its marker is hollow where the interval holds zero."""
    low, high = (part[f"{limits}{end}"].to_numpy(float) if f"{limits}{end}" in part.columns else None
                 for end in ("low", "high"))  # fmt: skip
    filled = None if low is None or high is None else (low > 0) | (high < 0)
    return Series(
        name,
        part[x].to_numpy(float),
        part[y].to_numpy(float),
        low,
        high,
        look,
        interval,
        line=line,
        filled=filled,
    )


def _heading(key: Any, effect: str, several: bool, page: Page) -> str:
    language, labels = page.language, page.look.words
    kinds = EFFECTS | RESPONSE_PARTS if isinstance(key, tuple) and effect != "total" else EFFECTS
    kind = kinds[effect].pick(language) if effect in kinds else effect
    if not several:
        return words(kind, language)
    if isinstance(key, tuple):
        response, source = key
        name: Words = pair_words(response, source, labels, language)
    else:
        name = labels.get(key, key)
    between = {"en": ": ", "zh": "："}[language]
    # The kind first: the panels of a row are told apart by how their headings begin.
    return words(kind + between + words(name, language, 160), language)


def _long_run(frame: pd.DataFrame | None, key: Any, effect: str) -> tuple[float, ...]:
    if frame is None:
        return ()
    found = frame.loc[(frame["term"] == key) & (frame["effect"] == effect), "estimate"].to_numpy(dtype=float)
    return tuple(found[np.isfinite(found)][:1])
