"""Figures of comparisons: how often a test finds an effect, and how probable each model is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spatial_zb.base.errors import DataError, listed, listed_zh, not_one_of
from spatial_zb.base.text import Language, Text
from spatial_zb.report.drawing.frame import (
    PLAIN,
    ChartFrame,
    Look,
    Words,
    chart_sheet,
    line_height,
    open_page,
    require_columns,
    require_rows,
    wrapped_labels,
)
from spatial_zb.report.drawing.placement import root_figure, text_size
from spatial_zb.report.drawing.style import INK, Drawing, FigureStyle, fix_ticks, lightness, words
from spatial_zb.report.figures.lines import Chart, LinePanel, Series, columns_for, draw_chart
from spatial_zb.report.words import PARAMETERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


#: Measures of a study of size and power: words, and the value that is right where there is one.
MEASURES: dict[str, tuple[Text, float | None]] = {
    "power": (Text("Power", "检验功效"), None),
    "size": (Text("Size", "检验水平"), 0.05),
    "rejects": (Text("Share of tests that reject", "拒绝率"), 0.05),
    "coverage": (Text("Coverage of the 95 % interval", "95%置信区间覆盖率"), 0.95),
    "bias": (Text("Bias", "偏误"), 0.0),
    "rmse": (Text("Root mean square error", "均方根误差"), None),
}
#: Words of what sets the lines apart.
SERIES_WORDS = {
    "n": Text("{} units", "{}个地区"),
    "periods": Text("{} periods", "{}期"),
    "weights": Text("{}", "{}"),
}
TRUTH = Text("True value", "真实值")
SIMULATED = Text("Simulated data.", "模拟数据。")
REFERENCE = Text("Simulated data. Dashed: nominal value.", "模拟数据。虚线：名义值。")
EACH_CELL = Text(
    "Numbers are posterior probabilities (%); they sum to 100.", "数字为后验概率（%），合计为100。"
)
LESS = "<0.1"
#: Part of the greys in use, from probability zero to the largest.
PALEST, DARKEST = 0.0, 0.75
#: Least height of a row in millimetres.
ROW = 7.0


def power(
    frame: pd.DataFrame,
    *,
    measures: Sequence[str] = ("power", "coverage"),
    parameter: str | None = None,
    x: str = "truth",
    by: str = "n",
    label: Words = TRUTH,
    look: Look = PLAIN,
    ax: Axes | None = None,
) -> Drawing:
    """Draw results of a simulation study against the size of the true effect, one line for each sample size.

    Parameters
    ----------
    frame
        One row for each setting: columns parameter (where there are several), ``x``, ``by`` and the measures.
    measures
        Columns to draw, one panel each: power, size, rejects, coverage, bias, rmse or any other number.
    parameter
        The parameter, where the frame has several.
    x, by
        Columns of the horizontal axis and of what sets the lines apart, such as n, periods or weights.
    label
        Words for the horizontal axis.
    look
        Style and words, among them ``words`` by measure and by value of ``by``.
    ax
        Axes for the only panel of one measure.

    Raises
    ------
    DataError
        A missing column, no finite number, or two rows for the same point of a line.
    SpecificationError
        An unknown parameter, or several without ``parameter``; ``ax`` for more than one measure.
    """
    rows = _power_rows(frame, measures, parameter, x, by)
    with open_page(look, "journal_double") as page:
        panels = [_power_panel(rows, measure, (x, by), look.words, page.language) for measure in measures]
        said = page.say(REFERENCE if any(panel.references for panel in panels) else SIMULATED)
        columns = columns_for(len(panels), page.style)
        chart = Chart(page.say(label), "", page.title, page.note(said), columns, shared=False)
        return draw_chart(panels, chart, page.style, ax)


def _power_rows(
    frame: pd.DataFrame, measures: Sequence[str], parameter: str | None, x: str, by: str
) -> pd.DataFrame:
    if not measures:
        raise DataError(
            f"Name measures to draw, such as {listed(MEASURES)}.",
            f"请指定要绘制的指标，如{listed_zh(MEASURES)}。",
        )
    require_columns(frame, (x, by, *measures), Text("frame of the study", "功效研究表"))
    if "parameter" in frame.columns:
        known = list(dict.fromkeys(frame["parameter"]))
        chosen = known[0] if parameter is None and len(known) == 1 else parameter
        if chosen not in known:
            raise not_one_of("parameter", parameter, known)
        frame = frame[frame["parameter"] == chosen]
    twice = frame.duplicated([x, by])
    if twice.any():
        row = frame.loc[twice, [x, by]].iloc[0]
        raise DataError(
            f"Several rows have {x} = {row[x]} and {by} = {row[by]}: choose rows, so that each point is one setting.",
            f"{x} = {row[x]}、{by} = {row[by]}有不止一行：请选取行，使每一点为一种设定。",
        )
    return frame.sort_values(x)


def _power_panel(
    rows: pd.DataFrame, measure: str, axes: tuple[str, str], labels: Mapping[str, Words], language: Language
) -> LinePanel:
    x, by = axes
    pattern = SERIES_WORDS.get(by, SERIES_WORDS["weights"]).pick(language)
    series = []
    for number, (value, part) in enumerate(rows.groupby(by, sort=True)):
        name = words(labels.get(str(value), pattern.format(value)), language, 60)
        series.append(Series(name, part[x].to_numpy(float), part[measure].to_numpy(float), look=number))
    usual, nominal = MEASURES.get(measure, (Text.of(measure), None))
    references = () if nominal is None else (nominal,)
    return LinePanel(words(labels.get(measure, usual), language, 80), tuple(series), references)


def probabilities(frame: pd.DataFrame, *, look: Look = PLAIN, ax: Axes | None = None) -> Drawing:
    """Draw posterior probabilities of models (columns) under weights (rows) as a shaded table of per cents.

    Parameters
    ----------
    frame
        Columns model, weights, probability; one row for each pair. Where there is no column weights, one row of
        cells.
    look
        Style and words, among them ``words`` by model and by weights.
    ax
        Axes to draw in, without title and note.

    Raises
    ------
    DataError
        A missing column, a pair twice, or a probability outside [0, 1].
    """
    table = _probabilities(frame)
    with open_page(look, "journal_single") as page:
        names = [
            [page.say(look.words.get(str(v), PARAMETERS.get(str(v), str(v))), limit=60) for v in side]
            for side in (table.index, table.columns)
        ]
        around = page.title, page.note(page.say(EACH_CELL))
        axes = _cell_axes(names, around, page.style) if ax is None else ax
        _draw_cells(axes, table.to_numpy(dtype=float), names, page.style)
        figure = root_figure(axes)
        fix_ticks(figure)
    return Drawing(figure, (axes,))


def _probabilities(frame: pd.DataFrame) -> pd.DataFrame:
    require_rows(frame, ("model", "probability"), Text("frame of probabilities", "概率表"))
    rows = frame if "weights" in frame.columns else frame.assign(weights="")
    numbers = rows["probability"].to_numpy(dtype=float)
    wrong = numbers[~((numbers >= 0) & (numbers <= 1 + 1e-9))]
    if len(wrong):
        raise DataError(
            f"Probabilities lie between 0 and 1; the frame has {listed(wrong)}.",
            f"概率在0与1之间；表中有{listed_zh(wrong)}。",
        )
    if rows.duplicated(["model", "weights"]).any():
        raise DataError(
            "The frame of probabilities has a pair of model and weights twice.",
            "概率表中同一模型与权重矩阵出现两次。",
        )
    table = rows.pivot(index="weights", columns="model", values="probability")
    return table.loc[rows["weights"].unique(), rows["model"].unique()]


def _cell_axes(names: list[list[str]], around: tuple[str, str], style: FigureStyle) -> Axes:
    labels, left = wrapped_labels(names[0], style, 0.32 * style.width_mm)
    frame = ChartFrame(1, left + 2.5, 0.0)
    wide = frame.width(style) / len(names[1])
    heads, _ = wrapped_labels(names[1], style, wide - 1.0)
    names[0][:], names[1][:] = labels, heads
    under = line_height(style.small_pt, max(head.count("\n") + 1 for head in heads)) + 2.0
    tallest = max(label.count("\n") + 1 for label in labels)
    high = max(ROW, line_height(style.small_pt, tallest) + 2.0)
    frame = ChartFrame(1, left + 2.5, under)
    _, (axes,) = chart_sheet([""], frame, high * len(labels), around, [], style)
    return axes


def _draw_cells(axes: Axes, values: np.ndarray, names: list[list[str]], style: FigureStyle) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    top = max(float(np.nanmax(values)), 1e-12)
    rows, columns = values.shape
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    axes.set_xticks(np.arange(columns) + 0.5, names[1])
    axes.set_yticks(np.arange(rows) + 0.5, names[0])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    room = axes.get_window_extent().width / columns
    for row, column in np.ndindex(rows, columns):
        value = float(values[row, column])
        known = np.isfinite(value)
        tone = PALEST + (DARKEST - PALEST) * value / top if known else 0.0
        colour: Any = colormaps["Blues"](tone) if known else "white"
        cell = Rectangle((column, row), 1, 1, fc=colour, ec="white", lw=1.2 * style.line_pt, gid="cell")
        axes.add_patch(cell)
        word = _percent(value) if known else "—"
        if text_size(axes.figure, word, style.small_pt)[0] > 0.95 * room:
            continue
        dark = known and lightness(np.array(colour[:3])) < 55
        axes.text(column + 0.5, row + 0.5, word, ha="center", va="center", fontsize=style.small_pt,
                  color="white" if dark else INK, parse_math=False)  # fmt: skip


def _percent(value: float) -> str:
    return LESS if 0 < value < 0.0005 else f"{100 * value:.1f}"
