"""Direct, indirect and total effects of fits side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from spatial_zb.base.errors import SpecificationError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.report.tables.layouts.common import (
    ERROR_COLUMN,
    ERROR_HEAD,
    MISSING,
    NOT_CONVERGED,
    Label,
    Record,
    Tidied,
    degrees_note,
    errors_note,
    estimate_cells,
    estimate_pair,
    flat,
    in_words,
    label_of,
    named_line,
    paragraph,
    plainly,
    real,
    reason_note,
    shared_notes,
    stars_note,
    term_label,
    titled,
    word_of,
)
from spatial_zb.report.tables.table import (
    PLAIN,
    Cell,
    HeaderCell,
    Number,
    Table,
    TableLook,
    TableStyle,
    body,
    section,
)
from spatial_zb.report.tables.text import shown
from spatial_zb.report.words import COVARIANCES, EFFECTS, WORDS

if TYPE_CHECKING:
    import pandas as pd

    from spatial_zb.base.results import ConfidenceSet


class Sets(Protocol):
    """Sets of one equation: :class:`spatial_zb.inference.sets.ConfidenceSets`."""

    @property
    def equation(self) -> str: ...
    @property
    def sets(self) -> tuple[ConfidenceSet, ...]: ...
    @property
    def facts(self) -> Mapping[str, Any]: ...
    @property
    def wald(self) -> pd.DataFrame | None: ...


def effects_table(
    effects: Sequence[tuple[Label, Tidied]],
    terms: Sequence[str] | None = None,
    *,
    weights: Label | None = None,
    covariance: Label | None = None,
    method: Label | None = None,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out direct, indirect and total effects, a group of three columns for each model; "n.c." where there are none.

    What is not computed (``reason`` of the effects) is said below; limits by Fieller stand in the place of errors.

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
    style, labels = look.style, look.words
    if not effects:
        raise SpecificationError("An effects table needs at least one result.", "效应表至少要有一个结果。")
    groups = [(Text.of(header), _by_effect(Text.of(header), result)) for header, result in effects]
    found = dict.fromkeys(place[:2] for _, records in groups for place in records)
    names = dict.fromkeys(term for _, term in found)
    unknown = [name for name in terms or () if name not in names]
    if unknown:
        raise SpecificationError(
            f"No result has effects of {listed(unknown)}; there are {listed(names)}.",
            f"没有结果含{listed_zh(unknown)}的效应；已有{listed_zh(names)}。",
        )
    facts = [in_words(_effect_facts(result, weights, covariance), labels) for _, result in effects]
    reasons = [getattr(result, "reason", None) for _, result in effects]
    solved = [
        bool(fact.get("converged", True)) and why is None for fact, why in zip(facts, reasons, strict=True)
    ]
    rows = []
    for response in dict.fromkeys(response for response, _ in found):
        rows += [section(_effect_on(label_of(labels, response)))] if response else []
        for term in terms or names:
            if (response, term) in found:
                cells = [
                    _effect(records.get((response, term, kind)), known, style)
                    for (_, records), known in zip(groups, solved, strict=True)
                    for kind in EFFECTS
                ]
                rows += estimate_pair(_source_label(labels, term), cells, style)
    known_groups = [group for (_, group), known in zip(groups, solved, strict=True) if known]
    records = [record for group in known_groups for record in group.values()]
    said = _effects_notes(records, facts, method, style)
    said += degrees_note(
        group.values() if known else () for (_, group), known in zip(groups, solved, strict=True)
    )
    said += _draws_notes([header for header, _ in groups], facts)
    said += [reason_note(h, why.text) for (h, _), why in zip(groups, reasons, strict=True) if why is not None]
    lost = [not ok and why is None for ok, why in zip(solved, reasons, strict=True)]
    said += [NOT_CONVERGED] if any(lost) else []
    return Table(
        title=titled(look, "Direct, indirect and total effects", "直接效应、间接效应与总效应"),
        key=look.key or "effects",
        header=_effects_header([header for header, _ in groups], style),
        rows=tuple(rows),
        notes=(paragraph(said), *map(Text.of, look.notes)),
    )


def sets_table(results: Sequence[Sets], *, look: TableLook = PLAIN) -> Table:
    """Lay out sets for weak instruments beside estimates and Wald intervals, a section for each equation.

    Parameters
    ----------
    results
        Of :func:`spatial_zb.confidence_set`.
    look
        Words around the table, among them ``words`` for equations and variables.

    Raises
    ------
    SpecificationError
        Without results.
    """
    if not results:
        raise SpecificationError("A table of sets needs at least one result.", "置信集表至少要有一个结果。")
    style, labels, rows, said = look.style, look.words, [], [*SETS_NOTES]
    levels = " / ".join(dict.fromkeys(f"{100 * one.level:g}" for found in results for one in found.sets))
    said.insert(0, Text(f"Sets and intervals of {levels} %.", f"置信水平{levels}%。"))
    names = ("variable", "estimate", "wald", "plug_in", "projection")
    wald = any(found.wald is not None for found in results)
    for found in results:
        name, known = label_of(labels, found.equation), found.wald
        rows.append(section(name))
        for one in found.sets:
            interval: Cell = "–"
            if known is not None and math.isfinite(low := real(known.loc[one.term, "conf_low"])):
                high = real(known.loc[one.term, "conf_high"])
                interval = f"[{plainly(low, style)}, {plainly(high, style)}]"
            cells = [Number(one.estimate, style.digits), interval]
            cells += [pieces_cell(each.pieces, style) for each in (one, one.projection)]
            rows.append(body(_set_label(labels, one.term), *(cells if wald else [cells[0], *cells[2:]])))
        f = found.facts
        strength = f"{f['weakest_f']:.2f}", f"{f['j_p']:.2f}" if math.isfinite(f["j_p"]) else "–"
        said.append(
            Text(
                f"{name.en}: {f['instruments']} instruments, {f['clusters']} units, F of the weakest direction "
                f"{strength[0]}, p of J {strength[1]}.",
                f"{name.zh}：工具变量{f['instruments']}个，地区{f['clusters']}个，"
                f"最弱方向的F为{strength[0]}，J的p值为{strength[1]}。",
            )
        )
    header = [HeaderCell(SET_WORDS[name]) for name in names if wald or name != "wald"]
    return Table(
        title=titled(look, "Sets that hold however weak the instruments", "弱工具变量下仍有效的置信集"),
        key=look.key or "sets",
        header=(header,),
        rows=tuple(rows),
        alignment=("l", *("c" for _ in header[1:])),
        notes=(paragraph(said), *map(Text.of, look.notes)),
    )


def scenario_table(frame: pd.DataFrame, *, most: int = 45, look: TableLook = PLAIN) -> Table:
    """Lay out what a scenario does to every unit, the largest changes first, a section for each response.

    Parameters
    ----------
    frame
        ``zb.scenario(...).tidy()``.
    most
        Units of each response that are shown; of more, those with the largest changes.
    look
        Words around the table, among them ``words`` for responses and units.
    """
    style, labels = look.style, look.words
    horizons = sorted(set(frame["horizon"])) if "horizon" in frame else []
    chosen = [horizons[0], horizons[len(horizons) // 2], horizons[-1]] if horizons else [None]
    chosen, rows, hidden = list(dict.fromkeys(chosen)), [], 0
    largest = float(frame["change"].abs().max())
    digits = min(max(2 - math.floor(math.log10(largest or 1.0)), style.digits), 6)
    for response, own in frame.groupby("response", sort=False):
        last = own if chosen[-1] is None else own[own["horizon"] == chosen[-1]]
        order = last.loc[last["change"].abs().sort_values(ascending=False, kind="stable").index, "unit"]
        hidden = max(hidden, len(order) - most)
        parts = [own if h is None else own[own["horizon"] == h] for h in chosen]
        indexed = [part.set_index("unit") for part in parts]
        rows.append(section(label_of(labels, str(response))))
        for unit in order[:most]:
            cells: list[Cell] = []
            for part in indexed:
                value, low, high = (
                    real(part.loc[unit, name]) for name in ("change", "conf_low", "conf_high")
                )
                ends = [shown(Number(end, digits, notation="rounded"), style).text for end in (low, high)]
                cells += [Number(value, digits, notation="rounded"), f"[{ends[0]}, {ends[1]}]"]
            rows.append(body(label_of(labels, unit), *cells))
    said = [SCENARIO_NOTE]
    if hidden > 0:
        said.append(Text(f"The {most} units with the largest changes.", f"仅列变化最大的{most}个地区。"))
    single = [
        HeaderCell(WORDS["unit"]),
        *(HeaderCell(SCENARIO_WORDS[name]) for _ in chosen for name in SCENARIO_WORDS),
    ]
    heads = [[HeaderCell(""), *(HeaderCell(_after(h), 2) for h in chosen)]] if horizons else []
    return Table(
        title=titled(look, "A scenario by unit", "情景模拟：各地区变化"),
        key=look.key or "scenario",
        header=(*heads, single),
        rows=tuple(rows),
        notes=(paragraph(said), *map(Text.of, look.notes)),
    )


def _after(horizon: object) -> Text:
    """Words for a horizon."""
    return Text(
        "Same period" if horizon == 0 else f"After {horizon}", "当期" if horizon == 0 else f"{horizon}期后"
    )


SCENARIO_WORDS = {"change": Text("Change", "变化"), "interval": Text("Interval", "区间")}
SCENARIO_NOTE = Text(
    "Change of each unit against the path without the scenario, all else as it is; no forecast. Intervals by the delta "
    "method, 95 %.",
    "各地区相对于无该情景时的变化，其他条件不变；并非预测。区间为Delta方法，95%。",
)


def pieces_cell(pieces: Sequence[tuple[float, float]], style: TableStyle) -> str | Text:
    """A set as a formula: [a, b], (−∞, a] ∪ [b, ∞), the whole line; an empty one in a word."""
    parts = []
    for low, high in pieces:
        left = f"[{plainly(low, style)}" if math.isfinite(low) else "(−∞"
        right = f"{plainly(high, style)}]" if math.isfinite(high) else "∞)"
        parts.append(f"{left}, {right}")
    return " ∪ ".join(parts) or Text("none", "空集")


def _set_label(labels: Mapping[str, Label], term: str) -> Text:
    if not term.startswith("total:"):
        return term_label(labels, term)
    name = term_label(labels, term.removeprefix("total:"))
    return Text(f"{EFFECTS['total'].en}: {name.en}", f"{EFFECTS['total'].zh}：{name.zh}")


SET_WORDS = {
    "variable": WORDS["variable"],
    "estimate": WORDS["estimate"],
    "wald": Text("Wald interval", "Wald区间"),
    "plug_in": Text("Set", "置信集"),
    "projection": Text("Guaranteed set", "保守置信集"),
}
SETS_NOTES = (
    Text(
        "A set holds all values that the instruments do not reject, by a statistic clustered by unit, however weak they "
        "are; the guaranteed one (projection) keeps its level in any case. (−∞, ∞): every value is compatible with the "
        "data. Where the set has no bounds the Wald interval beside it is no interval. Total: (γ + ψ)/(1 − ψ of the "
        "equation's own lag), other equations at rest.",
        "置信集为工具变量不拒绝的全部取值（统计量按地区聚类），无论工具变量多弱均有效；"
        "保守置信集（投影法）在任何情形下都保持置信水平。(−∞, ∞)表示任何取值都与数据相容。"
        "置信集无界时，旁边的Wald区间不能当作区间解读。总效应为(γ + ψ)/(1 − 本方程的ψ)，其他方程不变。",
    ),
)


def _effects_notes(
    records: Sequence[Record], facts: Sequence[Mapping], method: Label | None, style: TableStyle
) -> list[Text]:
    methods = [method] if method is not None else [word_of(row.get("method"), {}) for row in facts]
    how = [_method(word) for word in dict.fromkeys(methods) if word is not None]
    sets = any("gap_low" in record for record in records) and style.errors == "std_error"
    name = (
        Text("Limits of the effects", "效应界限")
        if sets
        else Text("Standard errors of the effects", "效应标准误")
    )
    how = [named_line(name, how)] if how else []
    columns = ("estimate", "conf_low" if sets else ERROR_COLUMN[style.errors])
    missing = any(math.isnan(real(record.get(column))) for record in records for column in columns)
    return [
        SETS if sets else errors_note(style),
        *stars_note(style),
        *how,
        *shared_notes(facts),
        *([MISSING] if missing else []),
    ]


#: In the place of the words on standard errors where there are limits by Fieller.
SETS = Text(
    "In brackets all values that the test of the ratio does not reject; a set without bounds says that the data do not "
    "bound the effect.",
    "方括号内为比率检验不能拒绝的全部取值；无界的集合表示数据不足以界定该效应。",
)


def _draws_notes(headers: Sequence[Text], facts: Sequence[Mapping]) -> list[Text]:
    """Which share of the draws has no effects and is not among those that errors come from."""
    shares = [real(row.get("outside", 0.0)) for row in facts]
    some = [(h, f"{100 * share:.1f}") for h, share in zip(headers, shares, strict=True) if share > 0]
    return [
        Text(
            f"{header.en}: {share} % of the draws lie outside the stable region and are left out.",
            f"{header.zh}：{share}%的抽样落在稳定区域之外，已剔除。",
        )
        for header, share in some
    ]


def _by_effect(header: Text, result: Tidied) -> dict[tuple[str, str, str], Record]:
    """Index records by response ("" outside systems), term and effect."""
    records: dict[tuple[str, str, str], Record] = {}
    for record in flat(result.tidy()).to_dict("records"):
        term = record["source"] if "source" in record else record["term"]
        place = (str(record.get("response", record.get("equation", ""))), str(term), str(record["effect"]))
        if place in records:
            raise SpecificationError(
                f"The effects {header.en!r} give the {place[2]} effect of {place[1]} more than once; "
                "select one horizon or order first.",
                f"{header.zh!r}中{place[1]}的{place[2]}效应出现不止一次；请先选定一个horizon或order。",
            )
        records[place] = record
    return records


def _effect(record: Record | None, solved: bool, style: TableStyle) -> tuple[Cell, Cell]:
    if record is None:
        return "", ""
    return estimate_cells(record, style) if solved else (WORDS["not_computed"], "")


def _effects_header(headers: Sequence[Text], style: TableStyle) -> tuple[Sequence[HeaderCell], ...]:
    wide = style.error_position == "column"
    span = 2 if wide else 1
    models = [HeaderCell(header, 3 * span) for header in headers]
    kinds = [HeaderCell(EFFECTS[kind], span) for _ in headers for kind in EFFECTS]
    if not wide:
        return [HeaderCell(), *models], [HeaderCell(WORDS["variable"]), *kinds]
    pair = (HeaderCell(WORDS["estimate"]), HeaderCell(ERROR_HEAD[style.errors]))
    pairs = [HeaderCell(WORDS["variable"]), *pair * (3 * len(headers))]
    return [HeaderCell(), *models], [HeaderCell(), *kinds], pairs


def _effect_facts(result: Tidied, weights: Label | None, covariance: Label | None) -> dict[str, object]:
    """Give what the notes need: of the caller first, then of ``glance()``."""
    glance = getattr(result, "glance", None)
    facts = dict(flat(glance()).to_dict("records")[0]) if callable(glance) else {}
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
        return label_of(labels, term)
    equation = label_of(labels, term.removeprefix("shock:"))
    return Text(f"Shock to {equation.en}", f"{equation.zh}冲击")
