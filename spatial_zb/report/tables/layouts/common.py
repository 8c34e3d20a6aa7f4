"""What layouts share: results by their protocol, words of labels, cells of numbers, notes about stars and errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from spatial_zb.base.text import UNDATED, Text
from spatial_zb.report.tables.table import Cell, Label, Number, Row, TableLook, TableStyle, body
from spatial_zb.report.tables.text import shown
from spatial_zb.report.words import COVARIANCES, FACTS, NORMALISATIONS, WORDS

if TYPE_CHECKING:
    import pandas as pd


#: A heading that is the key of a mapping: text, or a Text. (Hints of mappings do not take a union as their key.)
Heading = Any
#: One row of a frame, by column.
Record = Mapping[str, Any]
LAG = "W_"
#: What begins the name of a variable of the period before, in systems.
BEFORE = "L_"
ERROR_COLUMN = {"std_error": "std_error", "t": "statistic", "p": "p_value"}
_ERROR_NAME = {
    "std_error": Text("Standard errors", "标准误"),
    "t": Text("Ratios of estimate to standard error", "统计量（估计值/标准误）"),
    "p": Text("p-values", "p 值"),
}
ERROR_HEAD = {
    "std_error": Text("Std. error", "标准误"),
    "t": Text("Ratio", "统计量"),
    "p": Text("p", "p 值"),
}


class Tidied(Protocol):
    """A result with one row per term."""

    def tidy(self) -> pd.DataFrame: ...


class Glanced(Tidied, Protocol):
    """A result that also sums itself up in one row."""

    def glance(self) -> pd.DataFrame: ...


class PanelLike(Protocol):
    """A panel: named arrays (T, n, k) with labels."""

    @property
    def labels(self) -> Mapping[str, Text]: ...
    def array(self, names: Sequence[str]) -> np.ndarray: ...


def flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Bring named index levels (term, equation) back among the columns."""
    return frame if all(name is None for name in frame.index.names) else frame.reset_index()


def estimate_pair(label: Text, cells: Sequence[tuple[Cell, Cell]], style: TableStyle) -> list[Row]:
    """Print estimates with their errors, below or beside them."""
    if style.error_position == "column":
        return [body(label, *(cell for pair in cells for cell in pair))]
    rows = [body(label, *(estimate for estimate, _ in cells))]
    errors = [error for _, error in cells]
    return rows if all(error == "" for error in errors) else [*rows, body("", *errors)]


def estimate_cells(record: Record, style: TableStyle, *, stars: bool = True) -> tuple[Cell, Cell]:
    """Give estimate and error; no stars without a finite standard error, which a p-value needs.

    A record that has a ``reason`` is not computed; one with ``gap_low`` is by Fieller, its set in the place of an error.
    """
    if isinstance(record.get("reason"), str) and record["reason"]:
        return WORDS["not_computed"], ""
    if "gap_low" in record:
        return _estimate_and_set(record, style, stars=stars)
    value, spread = real(record.get("estimate")), real(record.get("std_error", 0.0))
    sure = stars and math.isfinite(value) and math.isfinite(spread)
    count = style.count_stars(real(record.get("p_value"))) if sure else 0
    error = Number(
        real(record.get(ERROR_COLUMN[style.errors])),
        style.digits,
        enclosure="paren" if style.error_position == "below" else "none",
        notation="p_value" if style.errors == "p" else "fixed",
    )
    return Number(value, style.digits, count), error


def _estimate_and_set(record: Record, style: TableStyle, *, stars: bool) -> tuple[Cell, Cell]:
    """Estimate with its stars, and the values that are not rejected: an interval, two rays, or the whole line."""
    count = style.count_stars(real(record.get("p_value"))) if stars else 0
    value = Number(real(record.get("estimate")), style.digits, count)
    if style.errors != "std_error":
        notation: Any = "p_value" if style.errors == "p" else "fixed"
        return value, Number(real(record.get(ERROR_COLUMN[style.errors])), style.digits, notation=notation)
    names = ("conf_low", "gap_low", "gap_high", "conf_high")
    low, first, last, high = (real(record.get(name)) for name in names)
    if not math.isfinite(low) and math.isfinite(first):
        return value, f"(−∞, {plainly(first, style)}] ∪ [{plainly(last, style)}, ∞)"
    if math.isinf(low):
        return value, "(−∞, ∞)"
    return value, "–" if math.isnan(low) else f"[{plainly(low, style)}, {plainly(high, style)}]"


def plainly(value: float, style: TableStyle) -> str:
    """A number of a table within text."""
    return shown(Number(value, style.digits), style).text


def word_of(value: object, codes: Mapping[str, Text]) -> Text | str | None:
    if isinstance(value, Text):
        return value
    if value is None or (isinstance(value, Real) and math.isnan(value)) or value == "":
        return None
    return codes.get(str(value), str(value))


def in_words(facts: Mapping, labels: Mapping) -> dict[str, object]:
    """Replace the name of the weights matrix by its words, where ``labels`` has them."""
    name = facts.get("weights")
    return {**facts, "weights": Text.of(labels[name])} if name in labels else dict(facts)


def shared_notes(facts: Sequence[Mapping]) -> list[Text]:
    """Name the covariance and the weights matrix, once where all agree."""
    notes = []
    for name, read in SHARED.items():
        found = [read(row) for row in facts]
        names = list(dict.fromkeys(Text.of(word) for word in found if word is not None))
        notes.append(named_line(WORDS[name], names or [WORDS["anonymous"]]))
    return notes


def _covariance(facts: Mapping) -> Text | str | None:
    return word_of(facts.get("covariance"), COVARIANCES)


def _weights(facts: Mapping) -> Text | str | None:
    """Name the weights matrix and, where it is known, how it was normalised."""
    name, kind = word_of(facts.get("weights"), {}), word_of(facts.get("normalisation"), NORMALISATIONS)
    if name is None or kind is None:
        return name
    label, how = Text.of(name), Text.of(kind)
    return Text(f"{label.en} ({how.en})", f"{label.zh}（{how.zh}）")


SHARED = {"covariance": _covariance, "weights": _weights}


#: Their degrees of freedom are no part of what a table is read for.
VARIANCES = ("sigma2", "phi")
MISSING = Text("A dash (–) marks what is not available.", "“–”表示无法得到。")
WITHOUT_BIAS = Text(
    "Instrumental estimates are without the bias of many instruments (Liu and Lee 2010).",
    "工具变量估计已扣除多工具变量偏误（Liu and Lee 2010）。",
)
NOT_CONVERGED = Text(
    "n.c.: not computed, since the estimate did not converge or is at the end of its admissible region.",
    "“未计算”表示估计未收敛，或位于容许区域的端点，不予报告。",
)


def reason_note(header: Text, why: Text) -> Text:
    """Why a column of effects is blank."""
    return Text(f"{header.en}: {why.en}.", f"{header.zh}：{why.zh}。")


def transform_note(facts: Iterable[Mapping]) -> list[Text]:
    """What observations are where fewer count than units times periods, as with the Lee–Yu transform."""
    sizes = [[real(one.get(name)) for name in ("nobs", "n_units", "n_periods")] for one in facts]
    if not any(nobs < units * periods for nobs, units, periods in sizes):
        return []
    return [
        Text(
            "Observations and log-likelihood are those of the data after the fixed-effects transform.",
            "观测值与对数似然值以固定效应变换后的数据计。",
        )
    ]


def degrees_note(groups: Iterable[Iterable[Record]]) -> list[Text]:
    """The range of degrees of freedom of each model's estimates, where each has its own; variances left out."""
    ranges = []
    for records in groups:
        found = [real(r.get("df")) for r in records if r.get("term") not in VARIANCES]
        found = [value for value in found if math.isfinite(value)]
        ranges.append((min(found), max(found)) if found else None)
    if not any(ranges):
        return []
    places = [f"({i}) " if len(ranges) > 1 else "" for i in range(1, len(ranges) + 1)]
    pairs = [(place, *r) for place, r in zip(places, ranges, strict=True) if r is not None]
    said = [
        Text(f"{place}{low:.0f}", f"{place}{low:.0f}")
        if low == high
        else Text(f"{place}{low:.1f} to {high:.1f}", f"{place}{low:.1f}至{high:.1f}")
        for place, low, high in pairs
    ]
    bell = any(low != high for _, low, high in pairs)
    how = (
        Text(" (CR2; Bell and McCaffrey 2002)", "（CR2；Bell and McCaffrey 2002）") if bell else Text("", "")
    )
    name = Text(
        f"Clustered errors go with Student's t, degrees of freedom{how.en}",
        f"聚类标准误按t分布推断，自由度{how.zh}",
    )
    return [named_line(name, said)]


def errors_note(style: TableStyle) -> Text:
    name = _ERROR_NAME[style.errors]
    if style.error_position == "below":
        return Text(f"{name.en} in parentheses.", f"括号内为{name.zh}。")
    return Text(f"{name.en} beside the estimates.", f"估计值右侧为{name.zh}。")


def stars_note(style: TableStyle) -> list[Text]:
    if not style.stars:
        return []
    levels = [f"{'*' * (i + 1)} p < {_level(level)}" for i, level in enumerate(style.thresholds)]
    return [Text(f"{', '.join(levels)}.", f"{'，'.join(levels)}。")]


def _level(level: float) -> str:
    """Print a threshold with two decimals, or with all it has."""
    return f"{level:.2f}" if float(f"{level:.2f}") == level else f"{level:g}"


def paragraph(notes: Sequence[Text]) -> Text:
    """Join sentences to one paragraph."""
    return Text(" ".join(note.en for note in notes), "".join(note.zh for note in notes))


def named_line(name: Text, values: Sequence[Text]) -> Text:
    """Make a line such as "Weights matrix: queen; knn4."."""
    english = "; ".join(value.en for value in values)
    chinese = "；".join(value.zh for value in values)
    return Text(f"{name.en}: {english}.", f"{name.zh}：{chinese}。")


def titled(look: TableLook, en: str, zh: str) -> Text:
    """The caller's title, or that of the layout."""
    return Text.of(look.title) if look.title else Text(en, zh)


def label_of(labels: Mapping[str, Label], name: object) -> Text:
    """Name a variable, unit or rule; what has no label, or is one, stays as it is."""
    if isinstance(name, Text):
        return name
    return Text.of(labels[name] if isinstance(name, str) and name in labels else str(name))


def term_label(labels: Mapping[str, Label], term: str) -> Text:
    """Name a regressor or its spatial lag."""
    if term in labels:
        return Text.of(labels[term])
    if term == "(Intercept)":
        return WORDS["constant"]
    if term.startswith(BEFORE) and term not in labels:
        label = term_label(labels, term.removeprefix(BEFORE))
        return Text(f"{label.en}, period before", f"{label.zh}（前一期）")
    if term.startswith(LAG):
        label = label_of(labels, term.removeprefix(LAG))
        return Text(f"W × {label.en}", f"W × {label.zh}")
    return label_of(labels, term)


def headed(fits: Any, words: Mapping[str, Label]) -> tuple[list[tuple[Label, Glanced]], dict[str, Label]]:
    """Fits with their headings, numbers in brackets where they have none, and words with the labels of their panels."""
    given = fits.items() if isinstance(fits, Mapping) else fits
    pairs = [one if isinstance(one, tuple) else (f"({n})", one) for n, one in enumerate(given, 1)]
    labels = {k: v for _, fit in pairs for k, v in getattr(getattr(fit, "panel", None), "labels", {}).items()}
    return pairs, {**labels, **words}


def joined(header: Text, name: Text) -> Text:
    """Put the name of an equation behind that of its system."""
    return Text(f"{header.en}: {name.en}", f"{header.zh}：{name.zh}") if header.en else name


def text_cell(value: Any) -> Cell:
    return Text.of(value) if value else None


def plain_word(value: object) -> str:
    return value.en if isinstance(value, Text) else str(value)


def real(value: Any) -> float:
    """Read a number; None, NA and text are not available."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def whole(value: object) -> Cell:
    """A count that may come as a float from a frame; unlike a period it is printed with separators."""
    return Number(real(value), 0)


#: What stands for the period of data without a date, where a word is needed.
CROSS_SECTION = Text("Cross-section", "截面")
#: Facts that tell periods apart, and what they are called where there is one.
_OF_PANELS = {"n_periods": None, "r2_within": Text("R²", "R²")}


def facts_of(names: Iterable[str], fits: Iterable[Mapping]) -> dict[str, Text]:
    """Labels of the facts that a table prints: fits of one period each have no number of periods, and no R² "within"."""
    single = all(real(fit.get("n_periods")) == 1 for fit in fits)
    labels = {name: _OF_PANELS.get(name, FACTS[name]) if single else FACTS[name] for name in names}
    return {name: label for name, label in labels.items() if label is not None}


def periods_of(frames: Iterable[Mapping]) -> list:
    """Give all periods in order."""
    return sorted({t for frame in frames for t in frame}, key=lambda t: (isinstance(t, str), t))


def period_cell(value: object) -> Cell:
    if value == UNDATED:
        return CROSS_SECTION
    if isinstance(value, Integral) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    return value if isinstance(value, Text) else str(value)
