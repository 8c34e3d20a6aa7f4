"""Fits side by side, single equations and systems."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from spatial_zb.base.errors import SpecificationError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.report.tables.layouts.common import (
    ERROR_COLUMN,
    ERROR_HEAD,
    LAG,
    MISSING,
    NOT_CONVERGED,
    SHARED,
    WITHOUT_BIAS,
    Glanced,
    Heading,
    Label,
    Record,
    Tidied,
    degrees_note,
    errors_note,
    estimate_cells,
    estimate_pair,
    facts_of,
    flat,
    headed,
    in_words,
    joined,
    label_of,
    named_line,
    paragraph,
    plain_word,
    real,
    shared_notes,
    stars_note,
    term_label,
    titled,
    transform_note,
    whole,
    word_of,
)
from spatial_zb.report.tables.table import (
    PLAIN,
    RULE,
    Cell,
    Enclosure,
    HeaderCell,
    Number,
    Row,
    Table,
    TableLook,
    TableStyle,
    body,
    section,
)
from spatial_zb.report.words import (
    EFFECTS,
    ESTIMATORS,
    FACTS,
    MODELS,
    OF_A_LIKELIHOOD,
    PARAMETERS,
    RARE_FACTS,
    WORDS,
    has_effects,
    other_effects,
)

if TYPE_CHECKING:
    import pandas as pd


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
            return WORDS["not_computed"], ""
        return estimate_cells(record, style, stars=term != "sigma2")


def regression_table(
    fits: Sequence[tuple[Label, Glanced] | Glanced] | Mapping[str, Glanced],
    terms: Sequence[str] | None = None,
    *,
    effects: Sequence[Tidied | None] = (),
    tests: Mapping[Heading, Sequence[tuple[float, float] | None]] | None = None,
    controls: Sequence[str] = (),
    dependent: Label | None = None,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out fits side by side: X, W × X, spatial parameters, effects, tests, then sample and fit.

    A fit whose frames have the column ``equation`` (a system) gives a column for each equation. A fit that
    did not converge is printed "n.c." without stars.

    Parameters
    ----------
    fits
        Pairs of heading and fit, in the order of the columns; or fits by name, or alone: (1), (2), ….
    terms
        Regressors to show, in this order, without the prefix ``W_``; None shows all. What is left out is
        named in the notes.
    look
        Words around the table, among them ``words`` for variables and, for systems, equations.
    effects
        Direct, indirect and total effects (``spatial_effects(fit)``) of each column, None where there are
        none; printed for the regressors that are shown.
    tests
        Words → statistic and p-value of each column, None where the test does not apply; such as the LR and
        Wald tests of the SDM against SAR and SEM.
    controls
        Regressors that share one row, "Controls: yes", instead of rows of their own.
    dependent
        Words for the dependent variable; None takes ``y`` of ``glance()``.

    Raises
    ------
    SpecificationError
        Without fits, for a term that no fit has, for a fit that gives a term twice, or where effects or
        tests are not one for each column.
    """
    style, (pairs, labels) = look.style, headed(fits, look.words)
    columns = [column for header, fit in pairs for column in _columns(Text.of(header), fit, labels)]
    if not columns:
        raise SpecificationError("A regression table needs at least one fit.", "回归表至少要有一个估计结果。")
    wanted, hidden = _regressors(columns, terms, controls)
    _refuse_unlike(columns, effects, tests or {})
    plain = [name for name in wanted if any(name in column.terms for column in columns)]
    lagged = [LAG + name for name in wanted if any(LAG + name in column.terms for column in columns)]
    rows = [
        *_estimate_rows("X", plain, columns, labels, style),
        *_estimate_rows("W × X", lagged, columns, labels, style),
        *([RULE] if plain or lagged else []),
        *_parameter_rows(columns, labels, style),
        *_effect_rows(effects, wanted, labels, style),
        *_test_rows(tests or {}, style),
        RULE,
        *_control_row(columns, controls, style),
        *_fact_rows(columns, labels, style),
    ]
    return Table(
        title=titled(look, "Estimates", "估计结果"),
        key=look.key or "regression",
        header=_regression_header(columns, style),
        rows=tuple(rows),
        notes=(
            paragraph(_regression_notes(columns, hidden, labels, dependent, bool(tests), style)),
            *map(Text.of, look.notes),
        ),
    )


regression = regression_table  #: The short name, ``zb.tables.regression``.


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
        raise SpecificationError(
            f"The fit {header.en!r} gives {listed(names)} more than once.",
            f"{header.zh!r}中{listed_zh(names)}出现不止一次。",
        )
    return {str(record["term"]): record for record in frame.to_dict("records")}


def _regressors(
    columns: Sequence[_Column], terms: Sequence[str] | None, controls: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Give the regressors to show and those left out, both without ``W_``, the constant last."""
    found = dict.fromkeys(
        term.removeprefix(LAG) for column in columns for term in column.terms if not _parameter(term)
    )
    unknown = [name for name in (*(terms or ()), *controls) if name not in found]
    if unknown:
        raise SpecificationError(
            f"No fit has the term {listed(unknown)}; there are {listed(found)}.",
            f"没有估计结果含变量{listed_zh(unknown)}；已有{listed_zh(found)}。",
        )
    shown = list(terms) if terms is not None else sorted(found, key=lambda name: name == "(Intercept)")
    shown = [name for name in shown if name not in controls]
    return shown, [name for name in found if name not in shown]


def _refuse_unlike(columns: Sequence[_Column], effects: Sequence, tests: Mapping[Heading, Sequence]) -> None:
    """Refuse effects and tests unless there is one for each column."""
    given = {
        Text.of("effects"): effects,
        **{
            Text(f"The test {plain_word(name)!r}", f"检验{plain_word(name)!r}"): values
            for name, values in tests.items()
        },
    }
    for name, values in given.items():
        if len(values) not in (0, len(columns)):
            raise SpecificationError(
                f"{name.en}: {len(values)} given for {len(columns)} columns; give one for each, None where there is none.",
                f"{name.zh}：给出{len(values)}个，而表有{len(columns)}列；请每列给一个，没有的给None。",
            )


def _effect_rows(
    effects: Sequence[Tidied | None], wanted: Sequence[str], labels: Mapping, style: TableStyle
) -> list[Row]:
    """Print direct, indirect and total effects, a heading for each kind."""
    indexed = [
        {} if e is None else {(r["term"], r["effect"]): r for r in flat(e.tidy()).to_dict("records")}
        for e in effects
    ]
    rows: list[Row] = []
    for kind, heading in EFFECTS.items():
        names = [name for name in wanted if any((name, kind) in records for records in indexed)]
        rows += [RULE, section(Text(f"{heading.en} effects", heading.zh))] if names else []
        for name in names:
            found = [records.get((name, kind)) for records in indexed]
            cells = [("", "") if r is None else estimate_cells(r, style) for r in found]
            rows += estimate_pair(term_label(labels, name), cells, style)
    return rows


def _test_rows(tests: Mapping[Heading, Sequence[tuple[float, float] | None]], style: TableStyle) -> list[Row]:
    """Print statistics with their stars, p-values below or beside them."""
    rows: list[Row] = [RULE] if tests else []
    enclosure: Enclosure = "bracket" if style.error_position == "below" else "none"
    for name, values in tests.items():
        cells = [
            ("", "")
            if value is None
            else (
                Number(value[0], style.digits, style.count_stars(value[1])),
                Number(value[1], style.digits, enclosure=enclosure, notation="p_value"),
            )
            for value in values
        ]
        rows += estimate_pair(Text.of(name), cells, style)
    return rows


def _control_row(columns: Sequence[_Column], controls: Sequence[str], style: TableStyle) -> list[Row]:
    """Say which columns hold all controls, some (how many), or none."""
    if not controls:
        return []
    cells: list[Cell] = []
    for column in columns:
        held = sum(name in column.terms for name in controls)
        some = Text(f"{held} of {len(controls)}", f"{len(controls)}个中的{held}个")
        cells.append({len(controls): WORDS["yes"], 0: WORDS["no"]}.get(held, some))
    if style.error_position == "column":
        cells = [cell for fact in cells for cell in (fact, "")]
    return [body(WORDS["controls"], *cells)]


def _estimate_rows(
    heading: str, terms: Sequence[str], columns: Sequence[_Column], labels: Mapping, style: TableStyle
) -> list[Row]:
    rows = [section(heading)] if terms else []
    for term in terms:
        rows += estimate_pair(
            term_label(labels, term), [column.estimate(term, style) for column in columns], style
        )
    return rows


def _parameter(term: str) -> str:
    """The parameter that a term is, ``rho`` of ``rho[core=1]``; blank for a regressor."""
    name = term.partition("[")[0]
    return name if name in PARAMETERS else ""


def _parameter_rows(columns: Sequence[_Column], labels: Mapping[str, Label], style: TableStyle) -> list[Row]:
    """Print ρ, λ and their kin where any fit has them, those of regimes as well, and σ²."""
    rows = []
    found = dict.fromkeys(term for column in columns for term in column.terms if _parameter(term))
    for name, label in PARAMETERS.items():
        for term in (t for t in found if _parameter(t) == name):
            cells = [column.estimate(term, style) for column in columns]
            rows += estimate_pair(label if term == name else term_label(labels, term), cells, style)
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
    facts = facts_of(_facts_shown(columns), [column.facts for column in columns])
    rows = []
    if "n_periods" in facts:  # a cross-section has no effects to speak of
        for kind in ("unit", "time"):
            rows.append(_fact_row(WORDS[f"{kind}_effects"], columns, partial(has_effects, kind=kind), style))
    further = partial(other_effects, labels=labels)
    if any(further(column.facts) != WORDS["no"] for column in columns):
        rows.append(_fact_row(WORDS["other_effects"], columns, further, style))
    rows += [_fact_row(label, columns, _fact(name, style), style) for name, label in facts.items()]
    if len({column.facts.get("y") for column in columns}) > 1:
        rows.append(_fact_row(WORDS["dependent"], columns, lambda facts: _named_y(facts, labels), style))
    models = [str(column.facts.get("model", "")) for column in columns]
    if any(model != "system" and model not in c.header.en for model, c in zip(models, columns, strict=True)):
        rows.append(_fact_row(WORDS["model"], columns, _coded("model", MODELS), style))
    rows.append(_fact_row(WORDS["estimator"], columns, _estimator, style))
    for name, read in SHARED.items():
        if len({read(column.facts) for column in columns}) > 1:
            rows.append(
                _fact_row(WORDS[name], columns, lambda facts, read=read: read(in_words(facts, labels)), style)
            )
    return rows


def _facts_shown(columns: Sequence[_Column]) -> list[str]:
    """Those that only some estimators have (a likelihood, instruments) where a column has them."""
    return [name for name in FACTS if any(_has(column, name) for column in columns)]


def _has(column: _Column, name: str) -> bool:
    if name in OF_A_LIKELIHOOD:
        return not column.converged or not math.isnan(real(column.facts.get(name)))
    return name not in RARE_FACTS or name in column.facts


def _named_y(facts: Mapping, labels: Mapping) -> Cell:
    y = word_of(facts.get("y"), {})
    return None if y is None else label_of(labels, y)


def _fact_row(label: Text, columns: Sequence[_Column], read: Callable, style: TableStyle) -> Row:
    cells = [read(column.facts) for column in columns]
    if style.error_position == "column":
        cells = [cell for fact in cells for cell in (fact, "")]
    return body(label, *cells)


_OF_THE_SOLUTION = {*OF_A_LIKELIHOOD, "r2_within", "sigma2"}


def _fact(name: str, style: TableStyle) -> Callable[[Mapping], Cell]:
    """Read a number of ``glance()``; what only a solution has is "n.c." without one."""

    def read(facts: Mapping) -> Cell:
        if name in _OF_THE_SOLUTION and not facts.get("converged", True):
            return WORDS["not_computed"]
        value = facts.get(name)
        if name.startswith("n") or name == "rows":
            return whole(value)
        return Number(real(value), style.digits, notation="p_value" if name.endswith("_p") else "fixed")

    return read


def _coded(name: str, codes: Mapping[str, Text]) -> Callable[[Mapping], Cell]:
    """Give a word of ``glance()`` in both languages; a word without a translation stays unchanged."""
    return lambda facts: word_of(facts.get(name), codes)


def _estimator(facts: Mapping) -> Cell:
    """Without a spatial lag of y or the errors maximum likelihood, of data without their fixed effects, is least squares."""
    likelihood = facts.get("estimator") in ("lee_yu", "direct") and facts.get("fixed_effects") != "random"
    if likelihood and facts.get("model") in ("OLS", "SLX"):
        return ESTIMATORS["ols"]
    if likelihood and real(facts.get("n_periods")) == 1:
        return ESTIMATORS["ml"]  # nothing is transformed where there is one period
    return _coded("estimator", ESTIMATORS)(facts)


def _regression_notes(
    columns: Sequence[_Column],
    hidden: Sequence[str],
    labels: Mapping,
    dependent: Label | None,
    tests: bool,
    style: TableStyle,
) -> list[Text]:
    notes = [errors_note(style), *stars_note(style)]
    names = dict.fromkeys(label_of(labels, c.facts["y"]) for c in columns if c.facts.get("y") is not None)
    said = [*names] if dependent is None else [Text.of(dependent)]
    notes += [named_line(WORDS["dependent"], said)] if said else []
    notes += shared_notes([in_words(column.facts, labels) for column in columns])
    notes += degrees_note(column.terms.values() if column.converged else () for column in columns)
    notes += transform_note([column.facts for column in columns])
    if any(column.facts.get("bias_correction") for column in columns):
        notes.append(WITHOUT_BIAS)
    if tests and style.error_position == "below":
        notes.append(Text("p-values of tests in brackets.", "方括号内为检验的 p 值。"))
    if hidden:
        others = [label_of(labels, name) for name in hidden]
        notes.append(named_line(Text("Also estimated, not shown", "另有估计但未列出"), others))
    if not all(column.converged for column in columns):
        notes.append(NOT_CONVERGED)
    records = [record for column in columns if column.converged for record in column.terms.values()]
    spoilt = any(
        math.isnan(real(r.get(c))) for r in records for c in ("estimate", ERROR_COLUMN[style.errors])
    )
    spoilt = spoilt or any(
        math.isnan(real(column.facts.get(name)))
        for column in columns
        if column.converged
        for name in _facts_shown(columns)
    )
    return [*notes, *([MISSING] if spoilt else [])]
