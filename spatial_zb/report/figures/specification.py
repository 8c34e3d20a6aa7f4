"""Specification curve: one estimate under every choice, sorted, and below it which choices made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spatial_zb.base.arguments import renamed
from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.report.drawing.frame import (
    EDGE,
    GAP,
    LABEL_PAD,
    PLAIN,
    Look,
    Page,
    Pen,
    fitted_legend,
    legend_height,
    line_height,
    lines_in,
    open_page,
    require_columns,
)
from spatial_zb.report.drawing.placement import text_size
from spatial_zb.report.drawing.style import INK, MM_PER_INCH, Drawing, fix_ticks, new_figure, words
from spatial_zb.report.figures.lines import tick_words, ticks_between
from spatial_zb.report.words import CHOICE_WORDS, EFFECTS, PARAMETERS, VALUE_WORDS, YES_NO

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from spatial_zb.report.drawing.style import FigureStyle


STRONG, WEAK = "#0072B2", "#a6a6a6"
#: Millimetres: least height of the curve, and its height when there is room; least pitch of the rows.
LOW_CURVE, CURVE = 32.0, 52.0
#: Greatest share of the width for the names of choices.
NAMES_SHARE = 0.32
#: From this many points of width on, estimates have markers with a form; below it they are fine dots.
LEGIBLE_STEP = 2.4


#: Most characters of a name; what the sheet has no room for is cut there.
LIMIT = 60

SORTED = Text("Specifications, sorted by estimate (n = {:,})", "按估计值排序的设定（n = {:,}）")
SIGNIFICANT = Text("Significant at {:g} %", "在{:g}%水平上显著")
NOT_SIGNIFICANT = Text("Not significant", "不显著")
MEDIAN = Text("Median", "中位数")
MAIN = Text("Main specification", "基准设定")
BARS = Text("Bars: {:g} % confidence intervals.", "竖线为{:g}%置信区间。")
COUNTS = Text(
    "Of {:,} estimates {:,} are positive; {:,} are significant at {:g} %, {:,} of them positive.",
    "共{:,}个估计值，其中{:,}个为正；{:,}个在{:g}%水平上显著，其中{:,}个为正。",
)
BARE = Text("Without interval: {:,}.", "无置信区间：{:,}个。")
BEYOND = Text(
    "Beyond the axis (triangles): {:,}, from {} to {}.", "超出坐标范围（三角形）：{:,}个，介于{}与{}之间。"
)


@dataclass(frozen=True, slots=True)
class CurveWords:
    """What is said of the estimates of one term, in the language of the page."""

    page: Page
    term: str
    effect: str | None
    level: float

    @property
    def axis(self) -> str:
        """Words for the estimate."""
        name = Text.of(self.page.look.words.get(self.term) or PARAMETERS.get(self.term) or self.term)
        if self.effect is not None:
            kind = EFFECTS.get(self.effect, Text.of(self.effect))
            name = Text(f"{kind.en} effect of {name.en}", f"{name.zh}的{kind.zh}")
        return self.page.say(name, limit=80)

    @property
    def strong(self) -> str:
        """Words for an estimate that passes the level."""
        return self.page.say(SIGNIFICANT, 100 * self.level)

    def sorted(self, count: int) -> str:
        """Words below the axis of the cells."""
        return self.page.say(SORTED, count)

    def column(self, name: str) -> str:
        """Words for a choice."""
        return self.page.say(self.page.look.words.get(name) or CHOICE_WORDS.get(name) or name, limit=LIMIT)

    def value(self, column: str, value: str) -> str:
        """Words for one value of a choice."""
        given = self.page.look.words.get(f"{column}={value}") or self.page.look.words.get(value)
        usual = VALUE_WORDS.get(column, {}).get(value) or YES_NO.get(value)
        return self.page.say(given or usual or value, limit=LIMIT) or "—"

    def below(self, estimate: np.ndarray, strong: np.ndarray, bounded: np.ndarray, beyond: np.ndarray) -> str:
        """The note: counts of estimates, signs, significance, and of those without interval or beyond the axis.

        All arrays are (n,).
        """
        positive, percent = estimate > 0, 100 * self.level
        counts = (len(positive), positive.sum(), strong.sum(), percent, (positive & strong).sum())
        bare = int((~bounded).sum())
        told = [self.page.say(COUNTS, *counts), self.page.say(BARS, 100 - percent)]
        told.append(self.page.say(BARE, bare) if bare else "")
        if beyond.any():
            ends = (f"{v:.3g}".replace("-", "−") for v in (estimate[beyond].min(), estimate[beyond].max()))
            told.append(self.page.say(BEYOND, int(beyond.sum()), *ends))
        return self.page.note(*told)


@dataclass(frozen=True, slots=True)
class _Curve:
    """Sorted cells: (n,) estimate, limits, significance, which is the main one; choices and their levels."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    strong: np.ndarray
    main: np.ndarray
    choices: pd.DataFrame
    levels: Mapping[str, Sequence[str]]

    @property
    def bounded(self) -> np.ndarray:
        """Which cells have an interval."""
        return np.isfinite(self.low) & np.isfinite(self.high)

    @property
    def beyond(self) -> np.ndarray:
        """Which cells lie beyond the axis."""
        low, high = _limits(self)
        return (self.estimate < low) | (self.estimate > high)


@renamed(level="alpha")
def specification_curve(
    grid: Any,
    term: str,
    effect: str | None = None,
    *,
    choices: Sequence[str] | None = None,
    main: Mapping[str, object] | None = None,
    alpha: float = 0.05,
    look: Look = PLAIN,
) -> Drawing:
    """Sort the estimates of all cells of a grid, and show below each which choices it rests on.

    Parameters
    ----------
    grid
        A :class:`~spatial_zb.compare.grid.Grid`, or one of its frames: columns of choices in front, then term
        (and effect), estimate, conf_low, conf_high and p_value.
    term, effect
        The coefficient; or the effect ("direct", "indirect", "total") of that variable. Where a frame has a column
        ``role``, other measures of the variable count as the variable.
    choices
        Columns to show below the curve, from top to bottom; all that vary, without it.
    main
        Value by choice of the main specification, which is marked.
    alpha
        Level of significance. An estimate that passes it is dark, with a filled marker, and has a mark in the
        first row below the curve, so that it is told apart without colour too.
    look
        Style and words, among them ``words`` by column, by value, or by ``"column=value"`` where a value has two
        meanings; and for the term. The note also counts estimates, signs and significance.

    Returns
    -------
    Drawing
        ``axes`` are the curve and the choices; ``left_out`` names cells without an interval.

    Raises
    ------
    SpecificationError
        No cell has the term or effect; an unknown choice; more rows of choices than the page holds.
    DataError
        A missing column, or no finite estimate.
    """
    rows = _rows(grid, term, effect)
    known = _choice_columns(grid, rows)
    unknown = [name for name in (*(choices or ()), *(main or ())) if name not in known]
    if unknown:
        raise SpecificationError(
            f"The grid has no choice {listed(unknown)}; it has {listed(known)}.",
            f"网格中没有选择项{listed_zh(unknown)}；已有{listed_zh(known)}。",
        )
    shown = list(choices) if choices is not None else [c for c in known if rows[c].nunique() > 1]
    curve = _curve(rows, shown, main or {}, alpha)
    with open_page(look, "journal_double") as page:
        figure, axes = _sheet(curve, CurveWords(page, term, effect, alpha), page)
        fix_ticks(figure)
    bare = rows.loc[~np.isfinite(rows[["conf_low", "conf_high"]].to_numpy(float)).all(axis=1), known]
    return Drawing(figure, axes, left_out=tuple(" / ".join(map(str, row)) for row in bare.to_numpy()))


def _rows(grid: Any, term: str, effect: str | None) -> pd.DataFrame:
    frame = grid if isinstance(grid, pd.DataFrame) else (grid.estimates if effect is None else grid.effects)
    needed = ["term", "estimate", "conf_low", "conf_high", *(["effect"] if effect is not None else [])]
    require_columns(frame, needed, Text("frame of the grid", "网格表"))
    keep = frame["term"] == term
    if "role" in frame.columns:
        keep |= frame["role"] == term
    if effect is not None:
        keep &= frame["effect"] == effect
    rows = frame[keep]
    if rows.empty:
        what = term if effect is None else f"{effect} effect of {term}"
        what_zh = term if effect is None else f"{term}的{effect}效应"
        raise SpecificationError(
            f"No cell has the {what}; terms are {listed(frame['term'].unique())}.",
            f"没有设定含{what_zh}；变量有{listed_zh(frame['term'].unique())}。",
        )
    rows = rows[np.isfinite(rows["estimate"].to_numpy(dtype=float))]
    if rows.empty:
        raise DataError(
            f"No cell has a finite estimate of {term!r}.", f"{term!r}在各设定中都没有有限的估计值。"
        )
    return rows


def _choice_columns(grid: Any, rows: pd.DataFrame) -> list[str]:
    """The choices of a grid, or the columns in front of the term of a frame."""
    if not isinstance(grid, pd.DataFrame) and hasattr(grid, "choices"):
        return list(grid.choices)
    return [str(name) for name in rows.columns[: list(rows.columns).index("term")]]


def _curve(rows: pd.DataFrame, shown: list[str], main: Mapping[str, object], alpha: float) -> _Curve:
    levels = {name: _levels(rows[name].astype(str)) for name in shown}
    rows = rows.sort_values("estimate", kind="stable")
    estimate, low, high = (rows[name].to_numpy(dtype=float) for name in ("estimate", "conf_low", "conf_high"))
    tested = "p_value" in rows.columns
    strong = rows["p_value"].to_numpy(dtype=float) < alpha if tested else (low > 0) | (high < 0)
    choices = rows[shown].astype(str).reset_index(drop=True)
    is_main = np.full(len(rows), bool(main))
    for name, value in main.items():
        is_main &= (rows[name].astype(str) == str(value)).to_numpy()
    return _Curve(estimate, low, high, strong, is_main, choices, levels)


# --- drawing -------------------------------------------------------------------------------------------


def _sheet(curve: _Curve, said: CurveWords, page: Page) -> tuple[Figure, tuple[Axes, Axes]]:
    style = page.style
    figure = new_figure(style, style.height_mm)
    inner = style.width_mm - 2 * EDGE
    lines = _choice_lines(curve, said)
    title = lines_in(figure, page.title, style.title_pt, inner)
    told = said.below(curve.estimate, curve.strong, curve.bounded, curve.beyond)
    note = lines_in(figure, told, style.small_pt, inner)
    left = _name_room(figure, lines, style)
    width = inner - left - 1.0
    legend = fitted_legend(figure, _handles(curve, said.strong, width, style), "", inner)
    axis = lines_in(figure, said.sorted(len(curve.estimate)), style.base_pt, width)

    pitch = line_height(style.small_pt, 1)
    above = line_height(style.title_pt, len(title)) + (GAP if title else 0)
    under = line_height(style.base_pt, len(axis)) + 1 + legend_height(legend) + GAP
    fixed = 2 * EDGE + above + under + line_height(style.small_pt, len(note)) + GAP + pitch * len(lines)
    curve_mm = min(CURVE, style.height_mm - fixed)
    if curve_mm < LOW_CURVE:
        raise SpecificationError(
            f"{len(lines)} rows of choices do not fit below a curve on {style.height_mm:g} mm: name fewer in choices.",
            f"{len(lines)}行选择项在{style.height_mm:g}毫米高的图中放不下：请在choices中少列几项。",
        )
    pen = Pen(figure, style.width_mm, fixed + curve_mm)
    pen.resize()
    pen.lines(title, EDGE, EDGE, style.title_pt)
    top = pen.axes(EDGE + left, EDGE + above, width, curve_mm)
    y = EDGE + above + curve_mm + GAP
    bottom = pen.axes(EDGE + left, y, width, pitch * len(lines))
    _draw_curve(top, curve, said.axis, left, width, style)
    _draw_choices(bottom, curve, lines, pen, (EDGE, y, pitch, width), style)
    y += pitch * len(lines) + 1
    pen.lines(axis, EDGE + left + width / 2, y, style.base_pt, "center")
    y += line_height(style.base_pt, len(axis)) + GAP / 2
    pen.put(legend, y)
    pen.lines(note, EDGE, y + legend_height(legend) + GAP / 2, style.small_pt)
    return figure, (top, bottom)


def _choice_lines(curve: _Curve, said: CurveWords) -> list[tuple[str, bool, np.ndarray | None]]:
    """Lines below the curve: words, whether they are a heading, and which cells are marked."""
    out: list[tuple[str, bool, np.ndarray | None]] = [(said.strong, True, curve.strong)]
    for name in curve.choices.columns:
        column = curve.choices[name]
        out.append((said.column(name), True, None))
        out += [
            (said.value(name, value), False, (column == value).to_numpy()) for value in curve.levels[name]
        ]
    return out


def _levels(column: pd.Series) -> list[str]:
    """Values in the order of the grid, numbers by size."""
    values = list(dict.fromkeys(column))
    numbers = pd.to_numeric(pd.Series(values), errors="coerce")
    return list(pd.Series(values)[numbers.argsort()]) if numbers.notna().all() else values


INDENT = 2.0


def _name_room(figure: Figure, lines: Sequence[tuple[str, bool, Any]], style: FigureStyle) -> float:
    """Width of the longest name; names are cut where they would take too much of the sheet."""
    wide = [text_size(figure, word, style.small_pt)[0] / figure.dpi * MM_PER_INCH for word, *_ in lines]
    need = max(w + (0 if head else INDENT) for w, (_, head, _) in zip(wide, lines, strict=True)) + 1.5
    return min(max(need, 14.0), NAMES_SHARE * style.width_mm)


def _fitting(figure: Figure, word: str, points: float, width: float) -> str:
    lines = lines_in(figure, word, points, width)
    while len(lines) > 1 and len(word) > 1:
        word = word.rstrip("…")[:-1].rstrip() + "…"
        lines = lines_in(figure, word, points, width)
    return word


def _draw_curve(axes: Axes, curve: _Curve, label: str, left: float, width: float, style: FigureStyle) -> None:
    n = len(curve.estimate)
    x = np.arange(1, n + 1)
    step = width / n * 72 / MM_PER_INCH
    limits = _limits(curve)
    axes.set(xlim=(0.5, n + 0.5), ylim=limits, xticks=[])
    axes.axhline(0, color=INK, linewidth=0.6 * style.line_pt, zorder=2.5, gid="zero")
    axes.axhline(np.median(curve.estimate), color=INK, linestyle=(0, (1, 1.5)), linewidth=0.8 * style.line_pt,
                 zorder=2.6, gid="median")  # fmt: skip
    bar = min(1.3 * style.line_pt, max(0.25, 0.7 * step))
    for mask, colour, gid in (
        (~curve.strong, WEAK, "weak interval"),
        (curve.strong, STRONG, "strong interval"),
    ):
        known = mask & curve.bounded
        axes.vlines(
            x[known], curve.low[known], curve.high[known], color=colour, linewidth=bar, zorder=2, gid=gid
        )
    for strong in (False, True):
        mask = (curve.strong == strong) & ~curve.beyond
        axes.plot(x[mask], curve.estimate[mask], zorder=3 + strong, gid="strong" if strong else "weak",
                  **_dot(strong, step, style))  # fmt: skip
    for mark, edge, mask in (
        ("v", limits[0], curve.estimate < limits[0]),
        ("^", limits[1], curve.estimate > limits[1]),
    ):
        look = {**_dot(False, step, style), "marker": mark}
        axes.plot(x[mask], np.full(mask.sum(), edge), zorder=4, clip_on=False, gid="beyond", **look)
    axes.plot(x[curve.main], curve.estimate[curve.main], zorder=5, gid="main", **_diamond(style))
    ticks = ticks_between(*limits, 6)
    axes.set_yticks(ticks, tick_words(ticks))
    room = (
        max(text_size(axes.figure, word, style.small_pt)[0] for word in tick_words(ticks)) / axes.figure.dpi
    )
    across = max(8.0, left - room * MM_PER_INCH - 4.2)
    height = axes.get_window_extent().height / axes.figure.dpi * MM_PER_INCH
    up = lines_in(axes.figure, label, style.base_pt, height)
    up = up[: max(1, int(across // line_height(style.base_pt, 1)))]
    axes.set_ylabel("\n".join(up), labelpad=LABEL_PAD)


def _limits(curve: _Curve) -> tuple[float, float]:
    """Zero, estimates, and intervals but for the widest hundredth, which would flatten the rest.

    So would an estimate without interval, at the edge of what can be estimated: those with one set the scale.
    """
    low, high = (v[np.isfinite(v)] for v in (curve.low, curve.high))
    scale = curve.estimate[curve.bounded] if curve.bounded.any() else curve.estimate
    ends = [0.0, scale.min(), scale.max()]
    if len(low):
        few = len(low) <= 50
        ends += [low.min() if few else np.quantile(low, 0.01), high.max() if few else np.quantile(high, 0.99)]
    room = 0.05 * (max(ends) - min(ends)) or 1.0
    return min(ends) - room, max(ends) + room


def _draw_choices(
    axes: Axes,
    curve: _Curve,
    lines: Sequence[tuple[str, bool, np.ndarray | None]],
    pen: Pen,
    place: tuple[float, float, float, float],
    style: FigureStyle,
) -> None:
    """One row for each value, a mark for each cell that has it; names at the left."""
    x0, y0, pitch, width = place
    n = len(curve.estimate)
    step = width / n * 72 / MM_PER_INCH
    axes.set(xlim=(0.5, n + 0.5), ylim=(len(lines), 0), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    left = axes.get_position().x0 * pen.width - x0
    for row, (word, heading, mask) in enumerate(lines):
        indent = 0.0 if heading else INDENT
        name = _fitting(pen.figure, word, style.small_pt, left - indent - 1.0)
        pen.lines([name], x0 + indent, y0 + row * pitch, style.small_pt)
        if mask is None:
            continue
        axes.axhline(row + 0.5, color="#eeeeee", linewidth=0.5 * style.line_pt, zorder=0)
        x = np.flatnonzero(mask) + 1
        colours = np.where(curve.strong[mask], STRONG, WEAK).tolist()
        mark = min(3.0 * style.line_pt, max(0.25, 0.75 * step))
        axes.vlines(x, row + 0.2, row + 0.8, colors=colours, linewidth=mark, zorder=2, gid=f"row {row}")


def _dot(strong: bool, step: float, style: FigureStyle) -> dict[str, Any]:
    colour = STRONG if strong else "#6e6e6e"
    if step < LEGIBLE_STEP:
        return {"linestyle": "", "marker": ".", "markersize": 2.2 * style.line_pt, "markeredgewidth": 0,
                "markerfacecolor": INK if strong else colour}  # fmt: skip
    size = min(4.5 * style.line_pt, 0.8 * step + 1.0)
    return {"linestyle": "", "marker": "o", "markersize": size, "markeredgecolor": colour,
            "markerfacecolor": colour if strong else "white", "markeredgewidth": 0.8 * style.line_pt}  # fmt: skip


def _diamond(style: FigureStyle) -> dict[str, Any]:
    return {"linestyle": "", "marker": "D", "markersize": 6 * style.line_pt, "markerfacecolor": "#D55E00",
            "markeredgecolor": "white", "markeredgewidth": 0.8 * style.line_pt}  # fmt: skip


def _handles(curve: _Curve, strong: str, width: float, style: FigureStyle) -> list[Artist]:
    from matplotlib.lines import Line2D

    step = width / len(curve.estimate) * 72 / MM_PER_INCH
    language = style.language
    out: list[Artist] = []
    for flag, name, colour in ((True, strong, STRONG), (False, words(NOT_SIGNIFICANT, language), WEAK)):
        line = {"linestyle": "-", "color": colour, "linewidth": 1.3 * style.line_pt}
        out.append(Line2D([], [], label=name, **{**_dot(flag, step, style), **line}))
    if curve.main.any():
        out.append(Line2D([], [], label=words(MAIN, language), **_diamond(style)))
    dots: dict[str, Any] = {"linestyle": (0, (1, 1.5)), "color": INK, "linewidth": 0.8 * style.line_pt}
    return [*out, Line2D([], [], label=words(MEDIAN, language), **dots)]
