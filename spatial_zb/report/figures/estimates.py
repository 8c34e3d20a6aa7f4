"""Effects and coefficients with their intervals, side by side for several models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.text import Language, Text
from spatial_zb.core.statistics.dispersion import within_sd
from spatial_zb.report.drawing.frame import (
    PLAIN,
    ChartFrame,
    Look,
    Page,
    Words,
    chart_sheet,
    items,
    line_height,
    open_page,
    require_columns,
    wrapped_labels,
)
from spatial_zb.report.drawing.places import NAME_LIMIT
from spatial_zb.report.drawing.style import GREY, MARKERS, SERIES, Drawing, FigureStyle, fix_ticks, words
from spatial_zb.report.words import EFFECTS, PARAMETERS, WORDS

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


INTERVALS = Text(
    "Bars: {:g} % confidence intervals. Hollow: the interval holds zero.",
    "误差线为{:g}%置信区间；空心点：置信区间包含零。",
)
NO_INTERVAL = Text("Crosses: no interval available: {}.", "叉号：无置信区间：{}。")
#: What the effects are of, and the change behind the words of a row.
OF_UNIT = Text("Effects of one more unit of each variable.", "各变量增加一个单位的效应。")
OF_CHANGE = Text("Effects of the change beside each variable{}.", "各变量变动所标数值的效应{}。")
OF_SD = Text(", its standard deviation within units", "（所标数值为其组内标准差）")
OF_ONE_SD = Text(", its standard deviation", "（所标数值为其标准差）")  # one period has none within units
ESTIMATE = Text("Estimate", "估计值")
ALL_UNITS = Text("All units", "全部地区")
#: Whose effect is drawn: of one standard deviation within units, of one unit, or of changes by term.
Per = Literal["sd", "unit"] | Mapping[str, float]
#: Terms of a fit that a coefficient plot leaves out unless asked for.
NUISANCE = frozenset({"(Intercept)", "sigma2"})


def effects(
    results: Mapping[str, Any],
    *,
    terms: Sequence[str] | None = None,
    models: Mapping[str, Words] | None = None,
    per: Per = "sd",
    confidence: float = 0.95,
    look: Look = PLAIN,
) -> Drawing:
    """Plot direct, indirect and total effects with their intervals, one panel for each, on one scale.

    Parameters
    ----------
    results
        By model: an object with ``tidy()`` or the tidy frame itself (term, effect, estimate, conf_low,
        conf_high).
    terms
        Variables to show, from top to bottom; all, in the order they first come, without it.
    models
        Words for models.
    per
        The change of each variable whose effect is drawn: ``"sd"``, its standard deviation within units in the panel of
        the first result (:func:`~spatial_zb.core.statistics.dispersion.within_sd`), so that variables in different units
        can be compared; ``"unit"``, one more unit; or changes by term. A bare frame knows no panel: then it is one unit.
        The change stands beside the words of the variable, and the note says which it is.
    confidence
        Level of the intervals in the frames, for the note.
    look
        Style and words, among them ``words`` by term.

    Notes
    -----
    A marker is hollow where the interval holds zero. An estimate without an interval is a cross and told in the note; one
    that is missing is not drawn. ``Drawing.left_out`` lists both as "model: term, effect".

    Raises
    ------
    DataError
        No model, missing columns, or nothing to draw.
    SpecificationError
        A term that no model has; a ``per`` of another kind, or a change that is not a positive number.
    """
    frames = _tidy_frames(results, ("term", "effect", "estimate", "conf_low", "conf_high"))
    sizes = _changes(per, next(iter(results.values())))
    frames = {name: _of_change(frame, sizes) for name, frame in frames.items()}
    with open_page(look, "journal_double") as page:
        panel = getattr(getattr(next(iter(results.values())), "fit", None), "panel", None)
        sd = OF_SD if panel is None or len(panel.periods) > 1 else OF_ONE_SD
        said = page.say(OF_CHANGE, page.say(sd) if per == "sd" else "") if sizes else page.say(OF_UNIT)
        rows = _Rows(frames, terms, models or {}, confidence, sizes, said)
        return _intervals(rows, list(EFFECTS.items()), page)


def _changes(per: Per, result: Any) -> dict[str, float]:
    """Size of the change by term; empty for one unit of each."""
    if isinstance(per, Mapping):
        wrong = [name for name, size in per.items() if not (np.isfinite(size) and size > 0)]
        if wrong:
            raise SpecificationError(
                f"The change of {listed(wrong)} must be a positive number.",
                f"{listed_zh(wrong)}的变动须为正数。",
            )
        return {str(name): float(size) for name, size in per.items()}
    if per not in ("sd", "unit"):
        raise SpecificationError(
            f'per must be "sd", "unit" or changes by term, not {per!r}.',
            f'per须为"sd"、"unit"或各变量的变动，而不是{per!r}。',
        )
    panel = getattr(getattr(result, "fit", None), "panel", None)
    if per == "unit" or panel is None:
        return {}
    sizes = {name: within_sd(panel.array(name)) for name in panel.columns}
    return {name: size for name, size in sizes.items() if size > 0}  # not a regime, which never changes


def _of_change(frame: pd.DataFrame, sizes: Mapping[str, float]) -> pd.DataFrame:
    """Estimates and limits times the change of their term."""
    if not sizes:
        return frame
    size = frame["term"].map(sizes).fillna(1.0).to_numpy(float)
    numbers = ["estimate", "conf_low", "conf_high"]
    return frame.assign(**{name: frame[name].to_numpy(float) * size for name in numbers})


def regimes(
    result: Any,
    *,
    terms: Sequence[str] | None = None,
    names: Mapping[str, Words] | None = None,
    per: Per = "sd",
    confidence: float = 0.95,
    look: Look = PLAIN,
) -> Drawing:
    """Plot effects by regime side by side, one panel each for direct, indirect and total effects.

    Parameters
    ----------
    result
        Effects of a fit with regimes, or their tidy frame, whose terms are ``"x[core=0]"``, ``"x[core=1]"`` and,
        for all units, ``"x"``.
    terms
        Variables (``"x"``) to show; all without it.
    names
        Words by regime, such as ``{"core=1": "Core cities"}``; ``""`` are all units.

    The other parameters, notes and errors are those of :func:`effects`.
    """
    (frame,) = _tidy_frames({"": result}, ("term", "effect", "estimate", "conf_low", "conf_high")).values()
    split = frame["term"].str.extract(r"^(?P<term>.*?)(?:\[(?P<regime>[^\]]*)\])?$").fillna({"regime": ""})
    frame = frame.assign(term=split["term"], regime=split["regime"])
    # Regimes first, all units last, whatever the order of the frame.
    order = sorted(dict.fromkeys(frame["regime"]), key=lambda regime: not regime)
    given = {"": ALL_UNITS, **(names or {})}
    return effects(
        {regime: frame[frame["regime"] == regime] for regime in order},
        terms=terms,
        models={regime: given.get(regime, regime) for regime in order},
        # The parts are bare frames: what they are of is known here.
        per=_changes(per, result) or "unit",
        confidence=confidence,
        look=look,
    )


def coefficients(
    fits: Mapping[str, Any],
    *,
    terms: Sequence[str] | None = None,
    models: Mapping[str, Words] | None = None,
    confidence: float = 0.95,
    look: Look = PLAIN,
) -> Drawing:
    """Plot coefficients of several fits with their intervals.

    ``fits`` holds by model an object with ``tidy()`` or the tidy frame itself; without ``terms`` the
    intercept and the variance are left out. The other parameters, notes and errors are those of
    :func:`effects`.
    """
    frames = _tidy_frames(fits, ("term", "estimate", "conf_low", "conf_high"))
    if terms is None:
        frames = {name: frame[~frame["term"].isin(NUISANCE)] for name, frame in frames.items()}
    frames = {name: frame.assign(effect="") for name, frame in frames.items()}
    with open_page(look, "journal_single") as page:
        return _intervals(_Rows(frames, terms, models or {}, confidence), [("", ESTIMATE)], page)


def _tidy_frames(results: Mapping[str, Any], columns: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    if not results:
        raise DataError(
            "There is no model to plot: give at least one result.", "没有可绘制的模型：请至少给出一个结果。"
        )
    frames = {
        str(name): item if isinstance(item, pd.DataFrame) else item.tidy() for name, item in results.items()
    }
    for name, frame in frames.items():
        require_columns(frame, columns, Text(f"tidy frame of {name!r}", f"{name!r}的估计表"))
    return frames


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Frames by model, the terms wanted, words of models, the level, changes by term and what to say of them."""

    frames: dict[str, pd.DataFrame]
    terms: Sequence[str] | None
    models: Mapping[str, Words]
    confidence: float
    sizes: Mapping[str, float] = field(default_factory=dict)
    said: str = ""


def _intervals(given: _Rows, panels: list[tuple[str, Text]], page: Page) -> Drawing:
    frames, rows = given.frames, _wanted_terms(given.frames, given.terms)
    style, labels = page.style, page.look.words
    called = [
        _term_words(term, labels, page.language) + _change(given.sizes.get(term), page) for term in rows
    ]
    names = {name: page.say(given.models.get(name, name), limit=2 * NAME_LIMIT) for name in frames}
    bare = _without_interval(frames, rows, [key for key, _ in panels])
    cells = items((_cell(key, names, labels, page.language) for key in bare), page.language)
    lacking = page.say(NO_INTERVAL, cells) if bare else ""
    around = page.title, page.note(given.said, page.say(INTERVALS, 100 * given.confidence), lacking)
    figure, axes = _interval_sheet(panels, called, names, around, style)
    for panel, (key, _) in zip(axes, panels, strict=True):
        panel.axvline(0, color=GREY, linewidth=0.8 * style.line_pt, zorder=1, gid="zero")
        for number, frame in enumerate(frames.values()):
            part = frame[frame["effect"] == key].drop_duplicates("term").set_index("term").reindex(rows)
            _draw_series(panel, part, number, len(frames), style)
    _one_scale(axes)
    fix_ticks(figure)
    told = tuple(f"{model}: {term}{', ' + effect if effect else ''}" for model, term, effect in bare)
    return Drawing(figure, tuple(axes), left_out=told)


def _change(size: float | None, page: Page) -> str:
    """``", +0.21"`` after the words of a row, of two digits."""
    if size is None:
        return ""
    decimals = max(0, 1 - math.floor(math.log10(size)))
    return {"en": ", ", "zh": "，"}[page.language] + f"+{size:,.{decimals}f}"


def _one_scale(axes: Sequence[Axes]) -> None:
    """The same limits in all panels, so that lengths can be compared."""
    limits = np.array([panel.get_xlim() for panel in axes])
    for panel in axes:
        panel.set_xlim(limits[:, 0].min(), limits[:, 1].max())


def _wanted_terms(frames: dict[str, pd.DataFrame], terms: Sequence[str] | None) -> list[str]:
    known = dict.fromkeys(str(term) for frame in frames.values() for term in frame["term"])
    unknown = [term for term in terms or () if term not in known]
    if unknown:
        raise SpecificationError(
            f"No model has the term {listed(unknown)}; there are {listed(known)}.",
            f"没有模型含变量{listed_zh(unknown)}；已有{listed_zh(known)}。",
        )
    rows = list(dict.fromkeys(terms if terms is not None else known))
    if not rows:
        raise DataError("There is no term to plot.", "没有可绘制的变量。")
    return rows


def _term_words(term: str, labels: Mapping[str, Words], language: Language) -> str:
    if term in labels:
        text = Text.of(labels[term])
    elif term.startswith("W_"):
        base = Text.of(labels.get(term[2:], term[2:]))
        text = Text(f"W × {base.en}", f"W × {base.zh}")
    else:
        text = PARAMETERS.get(term) or (WORDS["constant"] if term == "(Intercept)" else Text.of(term))
    return words(text, language, 80)


def _without_interval(
    frames: dict[str, pd.DataFrame], rows: list[str], keys: list[str]
) -> list[tuple[str, str, str]]:
    """Model, term and effect of what has an estimate or an interval that is not available."""
    return [
        (name, term, effect)
        for name, frame in frames.items()
        for term, effect, *numbers in frame[
            ["term", "effect", "estimate", "conf_low", "conf_high"]
        ].itertuples(index=False)
        if term in rows and effect in keys and not np.all(np.isfinite(np.asarray(numbers, dtype=float)))
    ]


def _cell(
    key: tuple[str, str, str], names: Mapping[str, str], labels: Mapping[str, Words], language: Language
) -> str:
    """Words for one estimate: model, term and effect."""
    model, term, effect = key
    where = [names[model], _term_words(term, labels, language)]
    where += [EFFECTS[effect].pick(language)] if effect else []
    return " / ".join(where)


def _interval_sheet(
    panels: list[tuple[str, Text]],
    terms: list[str],
    names: Mapping[str, str],
    around: tuple[str, str],
    style: FigureStyle,
) -> tuple[Figure, list[Axes]]:
    """Panels side by side on a wide sheet, below one another on a narrow one; rows are the terms."""
    columns = len(panels) if style.width_mm >= WIDE else 1
    ticks, left = wrapped_labels(terms, style, LABEL_SHARE * style.width_mm)
    frame = ChartFrame(columns, left + 2.5, 2.2 * line_height(style.small_pt, 1))
    lines = [label.count("\n") + 1 for label in ticks]
    pitch = max(line_height(style.small_pt, max(lines)) + 1.0, ROW_OF_MODEL * len(names) + ROW_GAP)
    headings = [words(text, style.language) for _, text in panels]
    handles = [_series_handle(number, name, style) for number, name in enumerate(names.values())]
    handles = handles if len(names) > 1 else []
    figure, axes = chart_sheet(headings, frame, pitch * len(terms), around, handles, style)
    for number, panel in enumerate(axes):
        panel.set_ylim(len(terms) - 0.5, -0.5)
        panel.set_yticks(range(len(terms)), ticks if number % columns == 0 else [""] * len(terms))
        panel.tick_params(axis="y", length=0)
        panel.locator_params(axis="x", nbins=max(3, int(frame.width(style) / (1.6 * style.small_pt))))
        for line in range(1, len(terms)):
            panel.axhline(line - 0.5, color="#e3e3e3", linewidth=0.5 * style.line_pt, zorder=0, gid="row")
    return figure, axes


#: From this width in millimetres on panels stand side by side.
WIDE = 140.0
#: Greatest share of the width for the names of terms.
LABEL_SHARE = 0.3
#: Millimetres for each model in the row of a term, and between rows.
ROW_OF_MODEL, ROW_GAP = 2.4, 2.0


def _draw_series(axes: Axes, part: pd.DataFrame, number: int, total: int, style: FigureStyle) -> None:
    """Draw the estimates of one model; ``part`` is indexed by the terms in the order of the rows."""
    estimate, low, high = (part[name].to_numpy(dtype=float) for name in ("estimate", "conf_low", "conf_high"))
    y = np.arange(len(part)) + 0.7 * ((number + 0.5) / total - 0.5)
    colour = SERIES[number % len(SERIES)]
    known = np.isfinite(estimate) & np.isfinite(low) & np.isfinite(high)
    line: dict[str, Any] = {"color": colour, "linewidth": 1.3 * style.line_pt, "zorder": 2, "gid": "interval"}
    axes.hlines(y[known], low[known], high[known], **line)
    look = _series_look(number, style)
    sure = known & ((low > 0) | (high < 0))
    axes.plot(estimate[sure], y[sure], zorder=3, gid="estimate", **look)
    hollow = {**look, "markerfacecolor": "white"}
    axes.plot(estimate[known & ~sure], y[known & ~sure], zorder=3, gid="hollow", **hollow)
    bare = np.isfinite(estimate) & ~known
    axes.plot(estimate[bare], y[bare], zorder=3, gid="bare", **{**look, "marker": "x"})


def _series_look(number: int, style: FigureStyle) -> dict[str, Any]:
    # One step further in each round, so that the eighth model does not look like the first.
    colour, marker = SERIES[number % len(SERIES)], MARKERS[(number + number // len(SERIES)) % len(MARKERS)]
    size = 4.5 * style.line_pt
    edge = {"markeredgecolor": colour, "markeredgewidth": 0.8 * style.line_pt}
    return {"linestyle": "", "marker": marker, "markersize": size, "markerfacecolor": colour, **edge}


def _series_handle(number: int, name: str, style: FigureStyle) -> Artist:
    from matplotlib.lines import Line2D

    look = _series_look(number, style)
    line = {"linestyle": "-", "linewidth": 1.3 * style.line_pt, "color": look["markeredgecolor"]}
    return Line2D([], [], label=name, **{**look, **line})
