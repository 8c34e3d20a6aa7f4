"""Layouts: from tidy frames to the tables a paper prints.

Each function takes results by their protocol (``tidy()``, ``glance()``, ``table()`` frames), never a model
class, and returns a :class:`~spatial_zb.report.tables.Table`. Stars, errors and the notes about them are
settled here, together, so that they cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Protocol

import numpy as np

from spatial_zb.errors import SpecificationError, listed
from spatial_zb.report.tables import RULE, Cell, HeaderCell, Number, Row, Table, TableStyle, body, section
from spatial_zb.report.words import (
    COVARIANCES,
    EFFECTS,
    ESTIMATORS,
    FACTS,
    INSTRUMENTAL_FACTS,
    NORMALISATIONS,
    PARAMETERS,
    RULES,
    WORDS,
)
from spatial_zb.text import Text

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "definitions_table",
    "descriptives_table",
    "effects_table",
    "missing_table",
    "moran_table",
    "regression_table",
]

Label = str | Text | Mapping[str, str]
Record = Mapping[str, object]
_LAG = "W_"
_ERROR_COLUMN = {"std_error": "std_error", "t": "statistic", "p": "p_value"}
_ERROR_NAME = {
    "std_error": Text("Standard errors", "标准误"),
    "t": Text("Ratios of estimate to standard error", "统计量（估计值/标准误）"),
    "p": Text("p-values", "p 值"),
}
_ERROR_HEAD = {
    "std_error": Text("Std. error", "标准误"),
    "t": Text("Ratio", "统计量"),
    "p": Text("p", "p 值"),
}
# More columns than this do not fit a page sideways: Moran tables put variables below one another.
_WIDEST_MORAN = 12


class Tidied(Protocol):
    """A result with one row per term."""

    def tidy(self) -> pd.DataFrame: ...


class Glanced(Tidied, Protocol):
    """A result that also sums itself up in one row."""

    def glance(self) -> pd.DataFrame: ...


class PanelLike(Protocol):
    """A panel: named arrays (T, n, k) with labels."""

    labels: Mapping[str, Text]

    def array(self, names: Sequence[str]) -> np.ndarray: ...


# Descriptives


def descriptives_table(
    panel: PanelLike,
    names: Sequence[str],
    *,
    labels: Mapping[str, Label] | None = None,
    title: Label | None = None,
    key: str = "descriptives",
    notes: Sequence[Label] = (),
    style: TableStyle | None = None,
) -> Table:
    """Lay out N, mean, standard deviations (overall, between, within units) and the five-number ends.

    Cells that are not finite are left out of every column, and N says how many remain.
    """
    style = style or TableStyle()
    columns = ("n", "mean", "overall", "between", "within", "min", "median", "max")
    known = {**panel.labels, **(labels or {})}
    rows = []
    for name in names:
        moments = _moments(panel.array([name])[:, :, 0])
        cells = [_count(moments["n"]), *(Number(moments[column], style.digits) for column in columns[1:])]
        rows.append(body(_label(known, name), *cells))
    return Table(
        title=_title(title, "Descriptive statistics", "描述性统计"),
        key=key,
        header=([HeaderCell(WORDS["variable"]), *(HeaderCell(WORDS[column]) for column in columns)],),
        rows=tuple(rows),
        alignment=("l", *("r" for _ in columns)),
        notes=(
            Text(
                "SD overall over all observations; SD between of the unit means; SD within of the deviations "
                "from the unit means.",
                "总体标准差基于全部观测值；组间标准差为各地区均值的标准差；组内标准差为对地区均值离差的标准差。",
            ),
            *map(Text.of, notes),
        ),
    )


def _moments(values: np.ndarray) -> dict[str, float]:
    """Describe one variable of shape (T, n).

    With N finite cells in n units: overall and within deviations are divided by N − 1, those of the unit
    means by n − 1, as Stata's ``xtsum`` does.
    """
    seen = np.isfinite(values)
    units = seen.any(axis=0)
    filled = np.where(seen, values, 0.0)
    means = filled.sum(axis=0)[units] / seen.sum(axis=0)[units]
    pooled = values[seen]
    n = pooled.size
    within = np.where(seen[:, units], values[:, units] - means, 0.0)
    return {
        "n": n,
        "mean": float(pooled.mean()) if n else math.nan,
        "overall": float(pooled.std(ddof=1)) if n > 1 else math.nan,
        "between": float(means.std(ddof=1)) if means.size > 1 else math.nan,
        "within": math.sqrt(float((within**2).sum()) / (n - 1)) if n > 1 else math.nan,
        "min": float(pooled.min()) if n else math.nan,
        "median": float(np.median(pooled)) if n else math.nan,
        "max": float(pooled.max()) if n else math.nan,
    }


# Moran


def moran_table(
    results: Mapping[str | Text, Mapping[str | Text, pd.DataFrame]],
    *,
    p: str = "p_sim",
    permutations: int | None = None,
    stacked: bool | None = None,
    title: Label | None = None,
    key: str = "moran",
    notes: Sequence[Label] = (),
    style: TableStyle | None = None,
) -> Table:
    """Lay out Moran's I by period: I, z and p for each variable and weights matrix.

    Parameters
    ----------
    results
        Variable label → weights label → frame with ``period, I, z`` and the p-value column.
    p
        ``"p_sim"`` (permutation) or ``"p_value"`` (normal approximation).
    stacked
        Put the variables below one another; None does so when they would not fit side by side.

    Raises
    ------
    SpecificationError
        When ``p`` is another column, a frame lacks a column, or there is nothing to show.
    """
    style = style or TableStyle()
    if p not in ("p_sim", "p_value"):
        raise SpecificationError(f"p must be 'p_sim' or 'p_value', not {p!r}.")
    groups = [(variable, weights) for variable, by in results.items() for weights in by]
    if not groups:
        raise SpecificationError("A Moran table needs at least one variable and one weights matrix.")
    frames = {(v, w): _by_period(frame, p, v, w) for v, by in results.items() for w, frame in by.items()}
    if stacked is None:
        stacked = len(results) > 1 and 3 * len(groups) > _WIDEST_MORAN
    layout = _moran_stacked if stacked else _moran_aside
    header, rows = layout(results, frames, p, style)
    return Table(
        title=_title(title, "Global Moran's I by period", "各时期全局莫兰指数"),
        key=key,
        header=header,
        rows=rows,
        notes=(_running(_moran_notes(groups, frames, p, permutations, style)), *map(Text.of, notes)),
    )


def _by_period(frame: pd.DataFrame, p: str, variable: object, weights: object) -> dict[object, Record]:
    """Index the rows of a frame by period."""
    frame = frame if "period" in frame.columns else frame.reset_index()
    lacking = [name for name in ("period", "I", "z", p) if name not in frame.columns]
    if lacking:
        raise SpecificationError(
            f"The Moran frame of {_plain(variable)} with {_plain(weights)} lacks {listed(lacking)}."
        )
    return {record["period"]: record for record in frame.to_dict("records")}


def _moran_cells(record: Record | None, p: str, style: TableStyle) -> list[Cell]:
    if record is None:
        return [None, None, None]
    stars = style.count_stars(_real(record[p]))
    return [
        Number(_real(record["I"]), style.digits, stars if math.isfinite(_real(record["I"])) else 0),
        Number(_real(record["z"]), style.digits),
        Number(_real(record[p]), style.digits, notation="p_value"),
    ]


_MORAN_HEADS = (HeaderCell("I"), HeaderCell("z"), HeaderCell("p"))
Layout = tuple[tuple[Sequence[HeaderCell], ...], tuple[Row, ...]]


def _moran_aside(results: Mapping, frames: Mapping, p: str, style: TableStyle) -> Layout:
    """Put variable × weights side by side."""
    variables = [HeaderCell(Text.of(v), 3 * len(by)) for v, by in results.items() if by]
    weights = [HeaderCell(Text.of(w), 3) for by in results.values() for w in by]
    stub = HeaderCell(WORDS["period"])
    levels = [[HeaderCell(), *variables], [HeaderCell(), *weights], [stub, *_MORAN_HEADS * len(weights)]]
    if len({_plain(w) for by in results.values() for w in by}) == 1:
        del levels[1]  # the notes name the one matrix
    rows = [
        body(
            _period(t), *(cell for frame in frames.values() for cell in _moran_cells(frame.get(t), p, style))
        )
        for t in _periods(frames.values())
    ]
    return tuple(levels), tuple(rows)


def _moran_stacked(results: Mapping, frames: Mapping, p: str, style: TableStyle) -> Layout:
    """Put weights side by side and variables below one another."""
    weights = list(dict.fromkeys(w for by in results.values() for w in by))
    level = [HeaderCell(), *(HeaderCell(Text.of(w), 3) for w in weights)]
    header = (level, [HeaderCell(WORDS["period"]), *_MORAN_HEADS * len(weights)])
    rows = []
    for variable, by in results.items():
        rows.append(section(Text.of(variable)))
        own = {w: frames[variable, w] for w in by}
        for t in _periods(own.values()):
            cells = [cell for w in weights for cell in _moran_cells(own.get(w, {}).get(t), p, style)]
            rows.append(body(_period(t), *cells))
    return header, tuple(rows)


def _moran_notes(
    groups: Sequence, frames: Mapping, p: str, permutations: int | None, style: TableStyle
) -> list[Text]:
    if p == "p_value":
        basis = Text("p: from the normal approximation of z.", "p 值由 z 的正态近似得到。")
    else:
        en, zh = (f"{permutations} ", f" {permutations} 次") if permutations else ("", "")
        basis = Text(f"p: pseudo p-values from {en}random permutations.", f"p 为{zh}随机置换的伪 p 值。")
    records = [record for frame in frames.values() for record in frame.values()]
    missing = any(math.isnan(_real(record[name])) for record in records for name in ("I", "z", p))
    missing = missing or any(set(frame) != set(_periods(frames.values())) for frame in frames.values())
    names = list(dict.fromkeys(Text.of(weights) for _, weights in groups))
    return [
        *_stars_note(style),
        basis,
        _named(WORDS["weights"], names),
        *([_MISSING] if missing else []),
    ]


# Regressions


@dataclass(frozen=True, slots=True)
class _Column:
    """One estimated equation: its heading, records by term, and the summary row."""

    header: Text
    terms: Mapping[str, Record]
    facts: Mapping[str, object]

    @property
    def converged(self) -> bool:
        return bool(self.facts.get("converged", True))

    def estimate(self, term: str, style: TableStyle) -> tuple[Cell, Cell]:
        """Give the cells of estimate and error; a term the equation does not have leaves both blank."""
        record = self.terms.get(term)
        if record is None:
            return "", ""
        if not self.converged:
            return WORDS["not_converged"], ""
        return _estimate(record, style, stars=term != "sigma2")


def regression_table(
    fits: Sequence[tuple[Label, Glanced]],
    terms: Sequence[str] | None = None,
    labels: Mapping[str, Label] | None = None,
    *,
    dependent: Label | None = None,
    title: Label | None = None,
    key: str = "regression",
    notes: Sequence[Label] = (),
    style: TableStyle | None = None,
) -> Table:
    """Lay out fits side by side: X, W × X, spatial parameters, then effects, sample and fit.

    A fit whose frames have the column ``equation`` (a system) gives a column for each equation. A fit that
    did not converge is printed "n.c." without stars.

    Parameters
    ----------
    fits
        Pairs of heading and fit, in the order of the columns.
    terms
        Regressors to show, in this order, without the prefix ``W_``; None shows all. What is left out is
        named in the notes.
    labels
        Words for variables and, for systems, equations.
    dependent
        Words for the dependent variable; None takes ``y`` of ``glance()``.
    notes
        Further lines, such as sources.

    Raises
    ------
    SpecificationError
        Without fits, for a term that no fit has, or for a fit that gives a term twice.
    """
    style = style or TableStyle()
    labels = labels or {}
    columns = [column for header, fit in fits for column in _columns(Text.of(header), fit, labels)]
    if not columns:
        raise SpecificationError("A regression table needs at least one fit.")
    wanted, hidden = _regressors(columns, terms)
    plain = [name for name in wanted if any(name in column.terms for column in columns)]
    lagged = [_LAG + name for name in wanted if any(_LAG + name in column.terms for column in columns)]
    rows = [
        *_estimate_rows("X", plain, columns, labels, style),
        *_estimate_rows("W × X", lagged, columns, labels, style),
        *([RULE] if plain or lagged else []),
        *_parameter_rows(columns, style),
        RULE,
        *_fact_rows(columns, labels, style),
    ]
    return Table(
        title=_title(title, "Estimates", "估计结果"),
        key=key,
        header=_regression_header(columns, style),
        rows=tuple(rows),
        notes=(_running(_regression_notes(columns, hidden, labels, dependent, style)), *map(Text.of, notes)),
    )


def _columns(header: Text, fit: Glanced, labels: Mapping[str, Label]) -> list[_Column]:
    """Read one fit: one column, or one for each equation of a system."""
    tidy, glance = _flat(fit.tidy()), _flat(fit.glance())
    if "equation" not in tidy.columns:
        return [_Column(header, _by_term(tidy, header), glance.to_dict("records")[0])]
    columns, per_equation = [], _per_equation(fit)
    for name, frame in tidy.groupby("equation", sort=False):
        facts = glance[glance["equation"] == name] if "equation" in glance.columns else glance
        own = _join(header, _label(labels, str(name)))
        facts = {**facts.to_dict("records")[0], **per_equation.get(name, {})}
        columns.append(_Column(own, _by_term(frame, own), facts))
    return columns


def _per_equation(fit: Glanced) -> dict[str, Record]:
    """Facts of single equations (σ², R², J, first-stage F), where the fit has a frame of them."""
    if not hasattr(fit, "equations"):
        return {}
    records = fit.equations().drop(columns="y", errors="ignore").to_dict("records")
    return {record["equation"]: record for record in records}


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Bring named index levels (term, equation) back among the columns."""
    return frame if all(name is None for name in frame.index.names) else frame.reset_index()


def _by_term(frame: pd.DataFrame, header: Text) -> dict[str, Record]:
    if frame["term"].duplicated().any():
        names = frame["term"][frame["term"].duplicated()].unique()
        raise SpecificationError(f"The fit {header.en!r} gives {listed(names)} more than once.")
    return {str(record["term"]): record for record in frame.to_dict("records")}


def _regressors(columns: Sequence[_Column], terms: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Give the regressors to show and those left out, both without ``W_``, the constant last."""
    found = dict.fromkeys(
        term.removeprefix(_LAG) for column in columns for term in column.terms if term not in PARAMETERS
    )
    if terms is None:
        return sorted(found, key=lambda name: name == "(Intercept)"), []
    unknown = [name for name in terms if name not in found]
    if unknown:
        raise SpecificationError(f"No fit has the term {listed(unknown)}; there are {listed(found)}.")
    return list(terms), [name for name in found if name not in terms]


def _estimate_rows(
    heading: str, terms: Sequence[str], columns: Sequence[_Column], labels: Mapping, style: TableStyle
) -> list[Row]:
    rows = [section(heading)] if terms else []
    for term in terms:
        rows += _pair(_term_label(labels, term), [column.estimate(term, style) for column in columns], style)
    return rows


def _parameter_rows(columns: Sequence[_Column], style: TableStyle) -> list[Row]:
    """Print ρ, λ and their kin where any fit has them, and σ²."""
    rows = []
    for term, label in PARAMETERS.items():
        if any(term in column.terms for column in columns):
            rows += _pair(label, [column.estimate(term, style) for column in columns], style)
    if not any("sigma2" in column.terms for column in columns):
        rows += [_fact_row(PARAMETERS["sigma2"], columns, _fact("sigma2", style), style)]
    return rows


def _pair(label: Text, cells: Sequence[tuple[Cell, Cell]], style: TableStyle) -> list[Row]:
    """Print estimates with their errors, below or beside them."""
    if style.error_position == "column":
        return [body(label, *(cell for pair in cells for cell in pair))]
    rows = [body(label, *(estimate for estimate, _ in cells))]
    errors = [error for _, error in cells]
    return rows if all(error == "" for error in errors) else [*rows, body("", *errors)]


def _estimate(record: Record, style: TableStyle, *, stars: bool = True) -> tuple[Cell, Cell]:
    """Give estimate and error; no stars without a finite standard error, which a p-value needs."""
    value, spread = _real(record.get("estimate")), _real(record.get("std_error", 0.0))
    sure = stars and math.isfinite(value) and math.isfinite(spread)
    count = style.count_stars(_real(record.get("p_value"))) if sure else 0
    error = Number(
        _real(record.get(_ERROR_COLUMN[style.errors])),
        style.digits,
        enclosure="paren" if style.error_position == "below" else "none",
        notation="p_value" if style.errors == "p" else "fixed",
    )
    return Number(value, style.digits, count), error


def _regression_header(columns: Sequence[_Column], style: TableStyle) -> tuple[Sequence[HeaderCell], ...]:
    span = 2 if style.error_position == "column" else 1
    numbers = [HeaderCell(f"({i})", span) for i in range(1, len(columns) + 1)]
    names = [HeaderCell(column.header, span) for column in columns]
    stub = HeaderCell() if span == 2 else HeaderCell(WORDS["variable"])
    levels = [[HeaderCell(), *numbers], [stub, *names]]
    if span == 2:
        pair = (HeaderCell(WORDS["estimate"]), HeaderCell(_ERROR_HEAD[style.errors]))
        levels.append([HeaderCell(WORDS["variable"]), *pair * len(columns)])
    return tuple(levels)


def _fact_rows(columns: Sequence[_Column], labels: Mapping, style: TableStyle) -> list[Row]:
    """Print effects, sample, fit and estimator; what all fits share in words goes to the notes."""
    rows = [
        _fact_row(WORDS["unit_effects"], columns, lambda facts: _has_effects(facts, "unit"), style),
        _fact_row(WORDS["time_effects"], columns, lambda facts: _has_effects(facts, "time"), style),
    ]
    rows += [
        _fact_row(label, columns, _fact(name, style), style)
        for name, label in FACTS.items()
        if name not in INSTRUMENTAL_FACTS or any(name in column.facts for column in columns)
    ]
    if len({column.facts.get("y") for column in columns}) > 1:
        rows.append(_fact_row(WORDS["dependent"], columns, lambda facts: _named_y(facts, labels), style))
    models = [str(column.facts.get("model", "")) for column in columns]
    if any(model != "system" and model not in c.header.en for model, c in zip(models, columns, strict=True)):
        rows.append(_fact_row(WORDS["model"], columns, _coded("model", {}), style))
    rows.append(_fact_row(WORDS["estimator"], columns, _coded("estimator", ESTIMATORS), style))
    for name, read in _SHARED.items():
        if len({read(column.facts) for column in columns}) > 1:
            rows.append(_fact_row(WORDS[name], columns, read, style))
    return rows


def _named_y(facts: Mapping, labels: Mapping) -> Cell:
    y = _word(facts.get("y"), {})
    return None if y is None else _label(labels, y)


def _fact_row(label: Text, columns: Sequence[_Column], read: Callable, style: TableStyle) -> Row:
    cells = [read(column.facts) for column in columns]
    if style.error_position == "column":
        cells = [cell for fact in cells for cell in (fact, "")]
    return body(label, *cells)


_OF_THE_SOLUTION = {"log_likelihood", "aic", "r2_within", "sigma2"}


def _fact(name: str, style: TableStyle) -> Callable[[Mapping], Cell]:
    """Read a number of ``glance()``; what only a solution has is "n.c." without one."""

    def read(facts: Mapping) -> Cell:
        if name in _OF_THE_SOLUTION and not facts.get("converged", True):
            return WORDS["not_converged"]
        value = facts.get(name)
        if name.startswith("n"):
            return _count(value)
        return Number(_real(value), style.digits, notation="p_value" if name.endswith("_p") else "fixed")

    return read


def _coded(name: str, codes: Mapping[str, Text]) -> Callable[[Mapping], Cell]:
    """Read a word of ``glance()`` in both languages; a word without a translation stays as it is."""
    return lambda facts: _word(facts.get(name), codes)


def _word(value: object, codes: Mapping[str, Text]) -> Text | str | None:
    if isinstance(value, Text):
        return value
    if value is None or (isinstance(value, Real) and math.isnan(value)) or value == "":
        return None
    return codes.get(str(value), str(value))


def _in_words(facts: Mapping, labels: Mapping) -> dict[str, object]:
    """Replace the name of the weights matrix by its words, where ``labels`` has them."""
    name = facts.get("weights")
    return {**facts, "weights": Text.of(labels[name])} if name in labels else dict(facts)


def _has_effects(facts: Mapping, kind: str) -> Cell:
    value = str(facts.get("fixed_effects", "none"))
    if value == "random" and kind == "unit":
        return WORDS["random"]
    return WORDS["yes" if value in (kind, "two_way") else "no"]


def _regression_notes(
    columns: Sequence[_Column],
    hidden: Sequence[str],
    labels: Mapping,
    dependent: Label | None,
    style: TableStyle,
) -> list[Text]:
    notes = [_errors_note(style), *_stars_note(style)]
    names = dict.fromkeys(_label(labels, c.facts["y"]) for c in columns if c.facts.get("y") is not None)
    if dependent is not None or names:
        notes.append(_named(WORDS["dependent"], [Text.of(dependent)] if dependent is not None else [*names]))
    notes += _shared_notes([_in_words(column.facts, labels) for column in columns])
    if any(_transformed(column.facts) for column in columns):
        notes.append(
            Text(
                "Observations and log-likelihood are those of the data after the fixed-effects transform.",
                "观测值与对数似然值以固定效应变换后的数据计。",
            )
        )
    if hidden:
        names = [_label(labels, name) for name in hidden]
        notes.append(_named(Text("Also estimated, not shown", "另有估计但未列出"), names))
    if not all(column.converged for column in columns):
        notes.append(Text("n.c.: not converged.", "“未收敛”表示估计未收敛，不予报告。"))
    records = [record for column in columns if column.converged for record in column.terms.values()]
    spoilt = any(
        math.isnan(_real(r.get(c))) for r in records for c in ("estimate", _ERROR_COLUMN[style.errors])
    )
    spoilt = spoilt or any(
        math.isnan(_real(column.facts.get(name))) for column in columns if column.converged for name in FACTS
    )
    return [*notes, *([_MISSING] if spoilt else [])]


def _transformed(facts: Mapping) -> bool:
    """Say whether fewer observations count than units times periods, as with the Lee–Yu transform."""
    nobs, n_units, n_periods = (_real(facts.get(name)) for name in ("nobs", "n_units", "n_periods"))
    return nobs < n_units * n_periods


def _shared_notes(facts: Sequence[Mapping]) -> list[Text]:
    """Name the covariance and the weights matrix, once where all agree."""
    notes = []
    for name, read in _SHARED.items():
        found = [read(row) for row in facts]
        names = list(dict.fromkeys(Text.of(word) for word in found if word is not None))
        notes.append(_named(WORDS[name], names or [WORDS["anonymous"]]))
    return notes


def _covariance(facts: Mapping) -> Text | str | None:
    return _word(facts.get("covariance"), COVARIANCES)


def _weights(facts: Mapping) -> Text | str | None:
    """Name the weights matrix and, where it is known, how it was normalised."""
    name, kind = (_word(facts.get(key), {}) for key in ("weights", "normalisation"))
    if name is None or kind is None:
        return name
    label, how = Text.of(name), Text.of(NORMALISATIONS.get(kind, kind))
    return Text(f"{label.en} ({how.en})", f"{label.zh}（{how.zh}）")


_SHARED = {"covariance": _covariance, "weights": _weights}


# Effects


def effects_table(
    effects: Sequence[tuple[Label, Tidied]],
    terms: Sequence[str] | None = None,
    labels: Mapping[str, Label] | None = None,
    *,
    weights: Label | None = None,
    covariance: Label | None = None,
    method: Label | None = None,
    title: Label | None = None,
    key: str = "effects",
    notes: Sequence[Label] = (),
    style: TableStyle | None = None,
) -> Table:
    """Lay out direct, indirect and total effects, a group of three columns for each model.

    Effects of a system (columns ``response`` and ``source``) get a section for each response.

    Parameters
    ----------
    weights, covariance, method
        For the notes; None takes them of ``glance()`` where the results have it.

    Raises
    ------
    SpecificationError
        Without effects, for an unknown term, or when a result gives a term and effect more than once
        (select one horizon or order first).
    """
    style = style or TableStyle()
    labels = labels or {}
    if not effects:
        raise SpecificationError("An effects table needs at least one result.")
    groups = [(Text.of(header), _by_effect(Text.of(header), result)) for header, result in effects]
    found = dict.fromkeys(place[:2] for _, records in groups for place in records)
    names = dict.fromkeys(term for _, term in found)
    unknown = [name for name in terms or () if name not in names]
    if unknown:
        raise SpecificationError(f"No result has effects of {listed(unknown)}; there are {listed(names)}.")
    rows = []
    for response in dict.fromkeys(response for response, _ in found):
        rows += [section(_effect_on(_label(labels, response)))] if response else []
        for term in terms or names:
            if (response, term) in found:
                cells = [
                    _effect(records.get((response, term, kind)), style)
                    for _, records in groups
                    for kind in EFFECTS
                ]
                rows += _pair(_source_label(labels, term), cells, style)
    facts = [_in_words(_effect_facts(result, weights, covariance), labels or {}) for _, result in effects]
    records = [record for _, group in groups for record in group.values()]
    return Table(
        title=_title(title, "Direct, indirect and total effects", "直接效应、间接效应与总效应"),
        key=key,
        header=_effects_header([header for header, _ in groups], style),
        rows=tuple(rows),
        notes=(_running(_effects_notes(records, facts, method, style)), *map(Text.of, notes)),
    )


def _effects_notes(
    records: Sequence[Record], facts: Sequence[Mapping], method: Label | None, style: TableStyle
) -> list[Text]:
    methods = [method] if method is not None else [_word(row.get("method"), {}) for row in facts]
    how = [_method(word) for word in dict.fromkeys(methods) if word is not None]
    how = [_named(Text("Standard errors of the effects", "效应标准误"), how)] if how else []
    columns = ("estimate", _ERROR_COLUMN[style.errors])
    missing = any(math.isnan(_real(record.get(column))) for record in records for column in columns)
    return [
        _errors_note(style),
        *_stars_note(style),
        *how,
        *_shared_notes(facts),
        *([_MISSING] if missing else []),
    ]


def _by_effect(header: Text, result: Tidied) -> dict[tuple[str, str, str], Record]:
    """Index records by response ("" outside systems), term and effect."""
    records: dict[tuple[str, str, str], Record] = {}
    for record in _flat(result.tidy()).to_dict("records"):
        term = record["source"] if "source" in record else record["term"]
        place = (str(record.get("response", record.get("equation", ""))), str(term), str(record["effect"]))
        if place in records:
            raise SpecificationError(
                f"The effects {header.en!r} give the {place[2]} effect of {place[1]} more than once; "
                "select one horizon or order first."
            )
        records[place] = record
    return records


def _effect(record: Record | None, style: TableStyle) -> tuple[Cell, Cell]:
    return ("", "") if record is None else _estimate(record, style)


def _effects_header(headers: Sequence[Text], style: TableStyle) -> tuple[Sequence[HeaderCell], ...]:
    wide = style.error_position == "column"
    span = 2 if wide else 1
    models = [HeaderCell(header, 3 * span) for header in headers]
    kinds = [HeaderCell(EFFECTS[kind], span) for _ in headers for kind in EFFECTS]
    if not wide:
        return [HeaderCell(), *models], [HeaderCell(WORDS["variable"]), *kinds]
    pair = (HeaderCell(WORDS["estimate"]), HeaderCell(_ERROR_HEAD[style.errors]))
    pairs = [HeaderCell(WORDS["variable"]), *pair * (3 * len(headers))]
    return [HeaderCell(), *models], [HeaderCell(), *kinds], pairs


def _effect_facts(result: Tidied, weights: Label | None, covariance: Label | None) -> dict[str, object]:
    """Give what the notes need: of the caller first, then of ``glance()``."""
    glance = getattr(result, "glance", None)
    facts = dict(_flat(glance()).to_dict("records")[0]) if callable(glance) else {}
    given = {"weights": weights, "covariance": covariance}
    return facts | {
        name: COVARIANCES.get(value, Text.of(value)) if isinstance(value, str) else Text.of(value)
        for name, value in given.items()
        if value is not None
    }


def _method(method: Label) -> Text:
    return COVARIANCES[method] if isinstance(method, str) and method in COVARIANCES else Text.of(method)


def _effect_on(label: Text) -> Text:
    return Text(f"Effect on {label.en}", f"对{label.zh}的效应")


def _source_label(labels: Mapping[str, Label], term: str) -> Text:
    """Name an exogenous variable or ``shock:<equation>``."""
    if term in labels or not term.startswith("shock:"):
        return _label(labels, term)
    equation = _label(labels, term.removeprefix("shock:"))
    return Text(f"Shock to {equation.en}", f"{equation.zh}冲击")


# Variables and gaps


def definitions_table(
    rows: Iterable[Mapping[str, Label]],
    *,
    title: Label | None = None,
    key: str = "definitions",
    notes: Sequence[Label] = (),
) -> Table:
    """Lay out a codebook: rows with ``name`` and any of ``label, definition, unit, source``.

    A column that no row fills is left out.
    """
    heads = {
        "variable": WORDS["variable"],
        "definition": WORDS["definition"],
        "unit": WORDS["unit_of_measure"],
        "source": WORDS["source"],
    }
    entries = [{"variable": row.get("label") or row["name"], **row} for row in rows]
    used = [name for name in heads if name == "variable" or any(entry.get(name) for entry in entries)]
    return Table(
        title=_title(title, "Variables and definitions", "变量定义"),
        key=key,
        header=([HeaderCell(heads[name]) for name in used],),
        rows=tuple(body(*(_given(entry.get(name)) for name in used)) for entry in entries),
        alignment=("l",) * len(used),
        notes=tuple(map(Text.of, notes)),
    )


def missing_table(
    filled: pd.DataFrame | Iterable[Mapping[str, object]],
    labels: Mapping[str, Label] | None = None,
    *,
    title: Label | None = None,
    key: str = "missing",
    notes: Sequence[Label] = (),
    style: TableStyle | None = None,
) -> Table:
    """Lay out the cells that were blank in the source: ``unit, period, variable, rule, value``.

    A value that stays missing is an en dash. ``labels`` names units, variables and rules.
    """
    style = style or TableStyle()
    records = filled.to_dict("records") if hasattr(filled, "to_dict") else list(filled)
    known = labels or {}
    rows = [
        body(
            _label(known, record["unit"]),
            _period(record["period"]),
            _label(known, record["variable"]),
            _label({**RULES, **known}, record["rule"]),
            Number(_real(record.get("value")), style.digits),
        )
        for record in records
    ]
    names = ("unit", "period", "variable", "rule", "value")
    return Table(
        title=_title(title, "Cells filled and left blank", "缺失值及其处理"),
        key=key,
        header=([HeaderCell(WORDS[name]) for name in names],),
        rows=tuple(rows),
        alignment=("l", "c", "l", "l", "r"),
        notes=tuple(map(Text.of, notes)),
    )


# Tests


def chain_table(
    tests: pd.DataFrame,
    *,
    title: Label | None = None,
    key: str = "tests",
    notes: Sequence[Label] = (),
    style: TableStyle | None = None,
) -> Table:
    """Lay out a chain of tests: ``test, statistic, df, p_value``; a test that is not defined has dashes."""
    style = style or TableStyle()
    rows = []
    for record in tests.to_dict("records"):
        statistic, p_value, df = (_real(record[name]) for name in ("statistic", "p_value", "df"))
        stars = style.count_stars(p_value) if math.isfinite(statistic) else 0
        cells = (
            Number(statistic, style.digits, stars),
            Number(df, 0) if math.isfinite(df) else "",
            Number(p_value, style.digits, notation="p_value") if math.isfinite(p_value) else None,
        )
        rows.append(body(Text.of(record["test"]), *cells))
    heads = (WORDS["test"], WORDS["statistic"], WORDS["df"], Text("p", "p 值"))
    return Table(
        title=_title(title, "Specification tests", "设定检验"),
        key=key,
        header=([HeaderCell(head) for head in heads],),
        rows=tuple(rows),
        alignment=("l", "r", "r", "r"),
        notes=(*_stars_note(style), _MISSING, *map(Text.of, notes)),
    )


def identification_table(
    reports: Sequence[tuple[Label, pd.DataFrame]],
    labels: Mapping[str, Label] | None = None,
    *,
    title: Label | None = None,
    key: str = "identification",
    notes: Sequence[Label] = (),
    style: TableStyle | None = None,
) -> Table:
    """Lay out how well the equations of systems are identified: a section for each system.

    Parameters
    ----------
    reports
        Pairs of heading and ``SystemFit.identification()``.
    labels
        Words for equations.
    """
    style = style or TableStyle()
    rows: list[Row] = []
    for heading, frame in reports:
        rows.append(section(Text.of(heading)))
        for record in frame.to_dict("records"):
            yes = WORDS["yes" if record["identified"] else "no"]
            counts = (
                f"{record['rank']}/{record['rank_needed']}",
                f"{record['outside']}/{record['endogenous']}",
            )
            numbers = [Number(_real(record[name]), 2) for name in ("sw_f_min", "kp_f", "j")]
            p_value = Number(_real(record["j_p"]), style.digits, notation="p_value")
            rows.append(body(_label(labels or {}, record["equation"]), yes, *counts, *numbers, p_value))
    names = ("equation", "identified", "rank", "order", "sw_f", "kp_f", "j", "j_p")
    return Table(
        title=_title(title, "Identification", "识别检验"),
        key=key,
        header=([HeaderCell(WORDS[name]) for name in names],),
        rows=tuple(rows),
        alignment=("l", *("c" for _ in names[1:])),
        notes=(
            Text(
                "Rank: rank found / needed. Order: instruments outside the equation / endogenous regressors. First-stage F: "
                "smallest Sanderson–Windmeijer; below 10 is weak. J: Sargan's, or Hansen's under robust errors; a small p "
                "rejects the exclusions.",
                "秩：实际秩/所需秩。阶：方程外工具变量数/内生变量数。第一阶段F为最小的Sanderson–Windmeijer统计量，小于10为弱工具变量。"
                "J为Sargan统计量（稳健标准误时为Hansen），p值小表示排除约束被拒绝。",
            ),
            *map(Text.of, notes),
        ),
    )


# Words and values

_MISSING = Text("A dash (–) marks what is not available.", "“–”表示无法得到。")


def _errors_note(style: TableStyle) -> Text:
    name = _ERROR_NAME[style.errors]
    if style.error_position == "below":
        return Text(f"{name.en} in parentheses.", f"括号内为{name.zh}。")
    return Text(f"{name.en} beside the estimates.", f"估计值右侧为{name.zh}。")


def _stars_note(style: TableStyle) -> list[Text]:
    if not style.stars:
        return []
    levels = [f"{'*' * (i + 1)} p < {_level(level)}" for i, level in enumerate(style.thresholds)]
    return [Text(f"{', '.join(levels)}.", f"{'，'.join(levels)}。")]


def _level(level: float) -> str:
    """Print a threshold with two decimals, or with all it has."""
    return f"{level:.2f}" if float(f"{level:.2f}") == level else f"{level:g}"


def _running(notes: Sequence[Text]) -> Text:
    """Join sentences to one paragraph."""
    return Text(" ".join(note.en for note in notes), "".join(note.zh for note in notes))


def _named(name: Text, values: Sequence[Text]) -> Text:
    """Make a line such as "Weights matrix: queen; knn4."."""
    english = "; ".join(value.en for value in values)
    chinese = "；".join(value.zh for value in values)
    return Text(f"{name.en}: {english}.", f"{name.zh}：{chinese}。")


def _title(title: Label | None, en: str, zh: str) -> Text:
    return Text(en, zh) if title is None else Text.of(title)


def _label(labels: Mapping[str, Label], name: object) -> Text:
    """Name a variable, unit or rule; what has no label, or is one, stays as it is."""
    if isinstance(name, Text):
        return name
    return Text.of(labels.get(name, str(name)))


def _term_label(labels: Mapping[str, Label], term: str) -> Text:
    """Name a regressor or its spatial lag."""
    if term in labels:
        return Text.of(labels[term])
    if term == "(Intercept)":
        return WORDS["constant"]
    if term.startswith(_LAG):
        label = _label(labels, term.removeprefix(_LAG))
        return Text(f"W × {label.en}", f"W × {label.zh}")
    return _label(labels, term)


def _join(header: Text, name: Text) -> Text:
    """Put the name of an equation behind that of its system."""
    return Text(f"{header.en}: {name.en}", f"{header.zh}：{name.zh}") if header.en else name


def _given(value: object) -> Cell:
    return Text.of(value) if value else None


def _plain(value: object) -> str:
    return value.en if isinstance(value, Text) else str(value)


def _real(value: object) -> float:
    """Read a number; None, NA and text are not available."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _count(value: object) -> Cell:
    """Read a whole number that may come as a float from a frame."""
    number = _real(value)
    return int(number) if math.isfinite(number) and number == int(number) else Number(number, 0)


def _periods(frames: Iterable[Mapping]) -> list:
    """Give all periods in order."""
    return sorted({t for frame in frames for t in frame}, key=lambda t: (isinstance(t, str), t))


def _period(value: object) -> Cell:
    if isinstance(value, Integral) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    return value if isinstance(value, Text) else str(value)
