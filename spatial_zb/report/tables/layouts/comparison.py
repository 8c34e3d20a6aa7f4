"""Layouts of comparisons: models side by side, one model by W, tests between models, posterior probabilities.

Like its neighbours: tidy frames in, a :class:`~spatial_zb.report.tables.table.Table` out, in the words of the
frames' columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from spatial_zb.base.errors import SpecificationError
from spatial_zb.base.text import Text
from spatial_zb.report.tables.layouts.common import (
    ERROR_HEAD,
    MISSING,
    Label,
    Record,
    errors_note,
    estimate_cells,
    estimate_pair,
    facts_of,
    label_of,
    paragraph,
    real,
    stars_note,
    term_label,
    titled,
    transform_note,
    whole,
)
from spatial_zb.report.tables.table import (
    PLAIN,
    RULE,
    Cell,
    HeaderCell,
    Number,
    Row,
    Table,
    TableLook,
    TableStyle,
    body,
    section,
)
from spatial_zb.report.words import COVARIANCES, EFFECTS, PARAMETERS, WORDS

_P = HeaderCell("p")
_STATISTIC, _DF = HeaderCell(WORDS["statistic"]), HeaderCell(WORDS["df"])


# Models side by side


def criteria_table(
    fits: pd.DataFrame,
    *,
    probabilities: pd.DataFrame | None = None,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out models × W: parameters, ln L, AIC, BIC, distance from the best AIC, Akaike weight, and probability.

    Parameters
    ----------
    fits
        ``model, weights, parameters, log_likelihood, aic, bic, delta_aic, akaike_weight`` of
        :meth:`Comparison.glance`.
    probabilities
        ``model, weights, probability`` of the same models, for a last column.
    """
    style, labels = look.style, look.words
    posterior = {} if probabilities is None else _by_cell(probabilities, "probability")
    heads: list[str | Text] = [
        WORDS["model"],
        WORDS["weights"],
        Text("Parameters", "参数个数"),
        "ln L",
        "AIC",
        "BIC",
        Text("ΔAIC", "ΔAIC"),
        Text("Akaike weight", "Akaike 权重"),
        *([Text("Posterior probability", "后验概率")] if posterior else []),
    ]
    rows = []
    for record in fits.to_dict("records"):
        name = (str(record["model"]), str(record["weights"]))
        cells: list[Cell] = [
            "" if record["weights"] == "" else label_of(labels, record["weights"]),
            whole(record["parameters"]),
            *(Number(real(record[c]), 2) for c in ("log_likelihood", "aic", "bic", "delta_aic")),
            Number(real(record["akaike_weight"]), style.digits, notation="p_value"),
        ]
        if posterior:
            cells.append(_probability(posterior.get(name, math.nan), style))
        rows.append(body(name[0], *cells))
    own = [
        Text(
            "AIC = −2 ln L + 2k and BIC = −2 ln L + k ln N, of the same y, sample, effects and likelihood; Akaike weight "
            "= exp(−ΔAIC/2), scaled to sum to one.",
            "AIC=−2lnL+2k，BIC=−2lnL+k·lnN，各模型被解释变量、样本、固定效应与似然函数相同；Akaike权重为exp(−ΔAIC/2)的归一化值。",
        )
    ]
    if posterior:
        own.append(PRIOR_NOTE)
    return Table(
        title=titled(look, "Models and weights side by side", "不同模型与空间权重的比较"),
        key=look.key or "compare_models",
        header=([HeaderCell(head) for head in heads],),
        rows=tuple(rows),
        alignment=("l", "l", *("r" for _ in heads[2:])),
        notes=(paragraph([*own, MISSING] if _gaps(rows) else own), *map(Text.of, look.notes)),
    )


PRIOR_NOTE = Text(
    "Posterior probability: among the models of the table of probabilities, from marginal likelihoods with Zellner’s g "
    "prior and a flat prior of ρ or λ; equal prior probability of the families, and of the weights within each.",
    "后验概率：在后验概率表所列模型之间，由边际似然计算；系数取Zellner g先验，ρ、λ取均匀先验；"
    "各模型族先验概率相等，族内各权重矩阵相等。",
)


def nonnested_table(
    tests: pd.DataFrame,
    *,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out tests between models: J tests of each against each, and Vuong's.

    Parameters
    ----------
    tests
        ``test, null, alternative, statistic, df, p_value, favours`` of :attr:`Comparison.nonnested`.
    look
        Words around the table, among them ``words`` for the fits.
    """
    style, labels = look.style, look.words
    rows: list[Row] = []
    for name, part in tests.groupby("test", sort=False):
        rows.append(section(_TEST_HEADS[str(name)]))
        for record in part.to_dict("records"):
            stars = style.count_stars(real(record["p_value"]))
            favours = record.get("favours") or ""
            rows.append(
                body(
                    label_of(labels, record["null"]),
                    label_of(labels, record["alternative"]),
                    Number(real(record["statistic"]), style.digits, stars),
                    "" if math.isnan(real(record["df"])) else whole(record["df"]),
                    Number(real(record["p_value"]), style.digits, notation="p_value"),
                    label_of(labels, favours) if favours else "",
                )
            )
    heads = [
        HeaderCell(Text("Model", "模型")),
        HeaderCell(Text("Against", "对照模型")),
        _STATISTIC,
        _DF,
        _P,
        HeaderCell(Text("Favours", "支持")),
    ]
    own = [
        Text(
            "J: H0, the model leaves nothing out that the other one sees (fitted values of the other as an additional "
            "regressor, two-stage least squares, χ²). A rejection speaks against the model, not for the other.",
            "J检验：H0为该模型未遗漏对照模型所含信息（将对照模型拟合值作为附加变量，两阶段最小二乘，χ²分布）；拒绝H0只否定该模型，并不支持对照模型。",
        ),
        Text(
            "Vuong: H0, both are equally far from the truth (standard normal, AIC-corrected; neighbours may be correlated).",
            "Vuong检验：H0为两模型与真实模型距离相等（标准正态，AIC修正，允许邻近地区相关）。",
        ),
        *stars_note(style),
    ]
    return Table(
        title=titled(look, "Tests between models that are not nested", "非嵌套模型检验"),
        key=look.key or "compare_tests",
        header=(heads,),
        rows=tuple(rows),
        alignment=("l", "l", "r", "r", "r", "c"),
        notes=(paragraph([*own, MISSING] if _gaps(rows) else own), *map(Text.of, look.notes)),
    )


_TEST_HEADS = {
    "J": Text("J tests of the model in the first column", "J检验（检验第一列模型）"),
    "Vuong": Text("Vuong tests", "Vuong检验"),
}


# One model by W


def by_weights_table(
    columns: Sequence[tuple[Label, pd.DataFrame, Mapping[str, object]]],
    terms: Sequence[str],
    *,
    others: Sequence[str] = (),
    effects: Sequence[str] = ("direct", "indirect", "total"),
    look: TableLook = PLAIN,
) -> Table:
    """Lay out one model with a column for each W: effects of some terms, totals of others, ρ and λ, sample and fit.

    Parameters
    ----------
    columns
        Heading; records of effects (``term, effect, estimate, std_error, statistic, p_value``) and of spatial
        coefficients (the same, ``effect`` blank) in one frame; facts as ``glance()`` has them.
    terms
        Regressors with a section each, a line for each of ``effects``.
    others
        Regressors of which the total effect is enough.

    Raises
    ------
    SpecificationError
        Without columns.
    """
    style, labels = look.style, look.words
    if not columns:
        raise SpecificationError(
            "A table by weights needs at least one column.", "按权重矩阵的表至少要有一列。"
        )
    found = [
        {(str(r["term"]), str(r["effect"])): r for r in frame.to_dict("records")} for _, frame, _ in columns
    ]
    sure = [bool(facts.get("converged", True)) for *_, facts in columns]

    def line(term: str, effect: str, label: Text) -> list[Row]:
        cells = [
            _pair(records.get((term, effect)), ok, style) for records, ok in zip(found, sure, strict=True)
        ]
        return estimate_pair(label, cells, style)

    rows: list[Row] = []
    for term in terms:
        rows.append(section(term_label(labels, term)))
        rows += [row for effect in effects for row in line(term, effect, EFFECTS[effect])]
    rows += [section(OTHER_TOTALS)] if others else []
    rows += [row for term in others for row in line(term, "total", term_label(labels, term))]
    spatial = [name for name in ("rho", "lam") if any((name, "") in records for records in found)]
    rows += [RULE, *(row for name in spatial for row in line(name, "", PARAMETERS[name]))]
    rows += [RULE, *_fact_rows([facts for *_, facts in columns], style)]
    span = 2 if style.error_position == "column" else 1
    header: list[list[HeaderCell]] = [
        [HeaderCell(WORDS["weights"]), *(HeaderCell(Text.of(head), span) for head, *_ in columns)]
    ]
    if span == 2:
        pair = (HeaderCell(WORDS["estimate"]), HeaderCell(ERROR_HEAD[style.errors]))
        header.append([HeaderCell(), *pair * len(columns)])
    covariance = str(columns[0][2].get("covariance", ""))
    own = [errors_note(style), *stars_note(style)]
    if covariance in COVARIANCES:
        how = COVARIANCES[covariance]
        own.append(Text(f"Standard errors: {how.en}, delta method.", f"标准误：{how.zh}，效应用Delta方法。"))
    own += transform_note([facts for *_, facts in columns])
    if not all(sure):
        own.append(
            Text(
                "n.c.: not computed, since the likelihood has no interior maximum under this W.",
                "“未计算”：该权重下似然函数无内点极大值，不报告估计。",
            )
        )
    return Table(
        title=titled(look, "Robustness by weights matrix", "更换空间权重矩阵的稳健性检验"),
        key=look.key or "compare_weights",
        header=tuple(header),
        rows=tuple(rows),
        notes=(paragraph(own), *map(Text.of, look.notes)),
    )


OTHER_TOTALS = Text("Total effects of the other regressors", "其他解释变量的总效应")


def _pair(record: Record | None, sure: bool, style: TableStyle) -> tuple[Cell, Cell]:
    if not sure:
        return WORDS["not_computed"], ""
    return ("", "") if record is None else estimate_cells(record, style)


def _fact_rows(facts: Sequence[Mapping[str, object]], style: TableStyle) -> list[Row]:
    rows = []
    names = ("nobs", "n_units", "n_periods", "log_likelihood", "aic", "r2_within")
    for name, label in facts_of(names, facts).items():
        cells: list[Cell] = []
        for one in facts:
            value = one.get(name)
            counted = name in ("nobs", "n_units", "n_periods")
            cells.append(
                whole(value) if counted else Number(real(value), 2 if name != "r2_within" else style.digits)
            )
            cells += [""] if style.error_position == "column" else []
        rows.append(body(label, *cells))
    return rows


# Probabilities


def probabilities_table(
    frame: pd.DataFrame,
    *,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out posterior probabilities: a row for each model, a column for each W, and their sums.

    Parameters
    ----------
    frame
        ``model, weights, probability`` of :meth:`ModelProbabilities.tidy`; the row without W (OLS) counts in the sum only.
    """
    style, labels = look.style, look.words
    names = [name for name in dict.fromkeys(frame["weights"]) if name != ""]
    cells = _by_cell(frame, "probability")
    models = list(dict.fromkeys(map(str, frame["model"])))
    rows = [
        body(
            model,
            *(_blank_or(cells.get((model, W)), style) for W in names),
            _probability(sum(p for (m, _), p in cells.items() if m == model), style),
        )
        for model in models
    ]
    sums = [sum(p for (_, w), p in cells.items() if w == W) for W in names]
    rows += [RULE, body(SUM, *(_probability(value, style) for value in sums), _probability(1.0, style))]
    heads = [HeaderCell(WORDS["model"]), *(HeaderCell(label_of(labels, W)) for W in names), HeaderCell(SUM)]
    return Table(
        title=titled(look, "Posterior probabilities of models and weights", "模型与空间权重的后验概率"),
        key=look.key or "compare_probabilities",
        header=(heads,),
        rows=tuple(rows),
        notes=(paragraph([PRIOR_NOTE, RELATIVE]), *map(Text.of, look.notes)),
    )


SUM = Text("Sum", "合计")
RELATIVE = Text(
    "Probabilities are relative to this list: one model gets most of it even where all are wrong.",
    "概率仅在所列模型之间有意义：即使所有模型都不正确，其中之一仍会获得较大概率。",
)
_PRIORS = {"g = max(N, k²)": Text("g = max(N, k²), uniform ρ", "g = max(N, k²)，ρ均匀")}


def sensitivity_table(
    sensitivity: pd.DataFrame,
    *,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out how probabilities of families and of weights move with the prior: a row for each prior."""
    style, labels = look.style, look.words
    models = list(dict.fromkeys(map(str, sensitivity["model"])))
    names = [name for name in dict.fromkeys(sensitivity["weights"]) if name != ""]
    rows = []
    for prior, part in sensitivity.groupby("prior", sort=False):
        sums = {what: part.groupby(what)["probability"].sum() for what in ("model", "weights")}
        rows.append(
            body(
                _PRIORS.get(str(prior), str(prior)),
                *(_probability(real(sums["model"].get(m)), style) for m in models),
                *(_probability(real(sums["weights"].get(W)), style) for W in names),
            )
        )
    top = [
        HeaderCell(),
        HeaderCell(WORDS["model"], len(models)),
        HeaderCell(WORDS["weights"], len(names)),
    ]
    heads = [HeaderCell(Text("Prior", "先验"))]
    heads += [HeaderCell(m) for m in models] + [HeaderCell(label_of(labels, W)) for W in names]
    own = Text(
        "g: scale of Zellner’s prior of the coefficients; the larger, the less it says and the more it costs a model to "
        "have many. N observations, k coefficients of the largest model. Beta(q, q): prior of ρ and λ.",
        "g为系数Zellner先验的尺度，g越大先验信息越少、对参数多的模型惩罚越重；N为观测数，k为最大模型系数个数。"
        "Beta(q, q)为ρ、λ的先验。",
    )
    return Table(
        title=titled(look, "Posterior probabilities under other priors", "后验概率对先验的敏感性"),
        key=look.key or "compare_sensitivity",
        header=(top, heads),
        rows=tuple(rows),
        notes=(own, *map(Text.of, look.notes)),
    )


def _by_cell(frame: pd.DataFrame, column: str) -> dict[tuple[str, str], float]:
    return {
        (str(m), str(w)): real(p)
        for m, w, p in zip(frame["model"], frame["weights"], frame[column], strict=True)
    }


def _probability(value: float, style: TableStyle) -> Number:
    return Number(value, style.digits, notation="p_value")


def _blank_or(value: float | None, style: TableStyle) -> Cell:
    return "" if value is None else _probability(value, style)


def _gaps(rows: Sequence[Row]) -> bool:
    return any(
        cell is None or (isinstance(cell, Number) and math.isnan(cell.value))
        for row in rows
        for cell in row.cells
    )


def influence_table(
    influence: pd.DataFrame,
    *,
    shown: int = 10,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out the units whose absence moves the estimate most.

    Parameters
    ----------
    influence
        ``unit, estimate, std_error, change, change_se`` of :attr:`Robustness.influence`.
    """
    style, labels = look.style, look.words
    ordered = influence.loc[influence["change_se"].abs().sort_values(ascending=False, kind="stable").index]
    rows = [
        body(
            label_of(labels, r["unit"]),
            *(Number(real(r[c]), style.digits) for c in ("estimate", "std_error", "change", "change_se")),
        )
        for r in ordered.head(shown).to_dict("records")
    ]
    heads = [
        Text("Unit left out", "剔除地区"),
        WORDS["estimate"],
        ERROR_HEAD["std_error"],
        Text("Change", "变化"),
        Text("Change / base std. error", "变化/基准标准误"),
    ]
    own = Text(
        f"The {len(rows)} of {len(influence)} units whose absence moves the estimate most.",
        f"列出{len(influence)}个地区中剔除后估计值变化最大的{len(rows)}个。",
    )
    return Table(
        title=titled(look, "Leaving out one unit at a time", "逐一剔除地区"),
        key=look.key or "compare_influence",
        header=([HeaderCell(head) for head in heads],),
        rows=tuple(rows),
        alignment=("l", *("r" for _ in heads[1:])),
        notes=(own, *map(Text.of, look.notes)),
    )
