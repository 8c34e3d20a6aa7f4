"""Fits side by side, single equations and systems."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spatial_zb.errors import SpecificationError, listed
from spatial_zb.report.layouts.common import (
    _SHARED,
    ERROR_COLUMN,
    ERROR_HEAD,
    LAG,
    MISSING,
    Glanced,
    Label,
    Record,
    errors_note,
    estimate_cells,
    estimate_pair,
    flat,
    in_words,
    joined,
    label_of,
    named_line,
    paragraph,
    real,
    shared_notes,
    stars_note,
    term_label,
    titled,
    whole,
    word_of,
)
from spatial_zb.report.tables import RULE, Cell, HeaderCell, Number, Row, Table, TableStyle, body, section
from spatial_zb.report.words import ESTIMATORS, FACTS, INSTRUMENTAL_FACTS, PARAMETERS, WORDS
from spatial_zb.text import Text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["regression_table"]


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
        return estimate_cells(record, style, stars=term != "sigma2")


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
    lagged = [LAG + name for name in wanted if any(LAG + name in column.terms for column in columns)]
    rows = [
        *_estimate_rows("X", plain, columns, labels, style),
        *_estimate_rows("W × X", lagged, columns, labels, style),
        *([RULE] if plain or lagged else []),
        *_parameter_rows(columns, style),
        RULE,
        *_fact_rows(columns, labels, style),
    ]
    return Table(
        title=titled(title, "Estimates", "估计结果"),
        key=key,
        header=_regression_header(columns, style),
        rows=tuple(rows),
        notes=(paragraph(_regression_notes(columns, hidden, labels, dependent, style)), *map(Text.of, notes)),
    )


def _columns(header: Text, fit: Glanced, labels: Mapping[str, Label]) -> list[_Column]:
    """Read one fit: one column, or one for each equation of a system."""
    tidy, glance = flat(fit.tidy()), flat(fit.glance())
    if "equation" not in tidy.columns:
        return [_Column(header, _by_term(tidy, header), glance.to_dict("records")[0])]
    columns, per_equation = [], _per_equation(fit)
    for name, frame in tidy.groupby("equation", sort=False):
        facts = glance[glance["equation"] == name] if "equation" in glance.columns else glance
        own = joined(header, label_of(labels, str(name)))
        facts = {**facts.to_dict("records")[0], **per_equation.get(name, {})}
        columns.append(_Column(own, _by_term(frame, own), facts))
    return columns


def _per_equation(fit: Glanced) -> dict[str, Record]:
    """Facts of single equations (σ², R², J, first-stage F), where the fit has a frame of them."""
    if not hasattr(fit, "equations"):
        return {}
    records = fit.equations().drop(columns="y", errors="ignore").to_dict("records")
    return {record["equation"]: record for record in records}


def _by_term(frame: pd.DataFrame, header: Text) -> dict[str, Record]:
    if frame["term"].duplicated().any():
        names = frame["term"][frame["term"].duplicated()].unique()
        raise SpecificationError(f"The fit {header.en!r} gives {listed(names)} more than once.")
    return {str(record["term"]): record for record in frame.to_dict("records")}


def _regressors(columns: Sequence[_Column], terms: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Give the regressors to show and those left out, both without ``W_``, the constant last."""
    found = dict.fromkeys(
        term.removeprefix(LAG) for column in columns for term in column.terms if term not in PARAMETERS
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
        rows += estimate_pair(
            term_label(labels, term), [column.estimate(term, style) for column in columns], style
        )
    return rows


def _parameter_rows(columns: Sequence[_Column], style: TableStyle) -> list[Row]:
    """Print ρ, λ and their kin where any fit has them, and σ²."""
    rows = []
    for term, label in PARAMETERS.items():
        if any(term in column.terms for column in columns):
            rows += estimate_pair(label, [column.estimate(term, style) for column in columns], style)
    if not any("sigma2" in column.terms for column in columns):
        rows += [_fact_row(PARAMETERS["sigma2"], columns, _fact("sigma2", style), style)]
    return rows


def _regression_header(columns: Sequence[_Column], style: TableStyle) -> tuple[Sequence[HeaderCell], ...]:
    span = 2 if style.error_position == "column" else 1
    numbers = [HeaderCell(f"({i})", span) for i in range(1, len(columns) + 1)]
    names = [HeaderCell(column.header, span) for column in columns]
    stub = HeaderCell() if span == 2 else HeaderCell(WORDS["variable"])
    levels = [[HeaderCell(), *numbers], [stub, *names]]
    if span == 2:
        pair = (HeaderCell(WORDS["estimate"]), HeaderCell(ERROR_HEAD[style.errors]))
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
    y = word_of(facts.get("y"), {})
    return None if y is None else label_of(labels, y)


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
            return whole(value)
        return Number(real(value), style.digits, notation="p_value" if name.endswith("_p") else "fixed")

    return read


def _coded(name: str, codes: Mapping[str, Text]) -> Callable[[Mapping], Cell]:
    """Read a word of ``glance()`` in both languages; a word without a translation stays as it is."""
    return lambda facts: word_of(facts.get(name), codes)


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
    notes = [errors_note(style), *stars_note(style)]
    names = dict.fromkeys(label_of(labels, c.facts["y"]) for c in columns if c.facts.get("y") is not None)
    if dependent is not None or names:
        notes.append(
            named_line(WORDS["dependent"], [Text.of(dependent)] if dependent is not None else [*names])
        )
    notes += shared_notes([in_words(column.facts, labels) for column in columns])
    if any(_transformed(column.facts) for column in columns):
        notes.append(
            Text(
                "Observations and log-likelihood are those of the data after the fixed-effects transform.",
                "观测值与对数似然值以固定效应变换后的数据计。",
            )
        )
    if hidden:
        names = [label_of(labels, name) for name in hidden]
        notes.append(named_line(Text("Also estimated, not shown", "另有估计但未列出"), names))
    if not all(column.converged for column in columns):
        notes.append(Text("n.c.: not converged.", "“未收敛”表示估计未收敛，不予报告。"))
    records = [record for column in columns if column.converged for record in column.terms.values()]
    spoilt = any(
        math.isnan(real(r.get(c))) for r in records for c in ("estimate", ERROR_COLUMN[style.errors])
    )
    spoilt = spoilt or any(
        math.isnan(real(column.facts.get(name))) for column in columns if column.converged for name in FACTS
    )
    return [*notes, *([MISSING] if spoilt else [])]


def _transformed(facts: Mapping) -> bool:
    """Say whether fewer observations count than units times periods, as with the Lee–Yu transform."""
    nobs, n_units, n_periods = (real(facts.get(name)) for name in ("nobs", "n_units", "n_periods"))
    return nobs < n_units * n_periods
