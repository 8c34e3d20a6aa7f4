"""Layouts of the sample: definitions, descriptive statistics, filled cells, correlations and weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from spatial_zb.base.text import UNDATED, Text
from spatial_zb.core.statistics.dispersion import within_sd
from spatial_zb.core.transforms import variance_inflation
from spatial_zb.report.tables.layouts.common import (
    MISSING,
    Heading,
    Label,
    PanelLike,
    label_of,
    paragraph,
    period_cell,
    real,
    stars_note,
    text_cell,
    titled,
    whole,
)
from spatial_zb.report.tables.table import PLAIN, Cell, HeaderCell, Number, Table, TableLook, TableStyle, body
from spatial_zb.report.words import ABSENCES, NORMALISATIONS, RULES, WORDS

if TYPE_CHECKING:
    import pandas as pd


def definitions_table(
    rows: Iterable[Mapping[str, Label]],
    *,
    look: TableLook = PLAIN,
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
        title=titled(look, "Variables and definitions", "变量定义"),
        key=look.key or "definitions",
        header=([HeaderCell(heads[name]) for name in used],),
        rows=tuple(body(*(text_cell(entry.get(name)) for name in used)) for entry in entries),
        alignment=("l",) * len(used),
        notes=tuple(map(Text.of, look.notes)),
    )


def missing_table(
    filled: pd.DataFrame | Iterable[Mapping[str, object]],
    *,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out the cells that were blank in the source or are treated so: ``unit, period, variable, rule, value``.

    ``printed`` is a column of its own where a printed figure was set aside. A value that stays missing is an en dash.
    ``look.words`` name units, variables and rules.
    """
    style, labels = look.style, look.words
    records = filled.to_dict("records") if hasattr(filled, "to_dict") else list(filled)
    known = labels
    put_aside = any(math.isfinite(real(record.get("printed"))) for record in records)
    numbers = ("printed", "value") if put_aside else ("value",)
    when = [r for r in records if r["period"] != UNDATED]
    rows = [
        body(
            label_of(known, record["unit"]),
            *([period_cell(record["period"])] if when else []),
            label_of(known, record["variable"]),
            label_of({**RULES, **known}, record["rule"]),
            *(
                Number(real(record.get(name)), _decimals_of_cell(real(record.get(name)), style))
                for name in numbers
            ),
        )
        for record in records
    ]
    names = ("unit", *(["period"] if when else []), "variable", "rule", *numbers)
    return Table(
        title=titled(look, "Cells filled and left blank", "缺失值及其处理"),
        key=look.key or "missing",
        header=([HeaderCell(WORDS[name]) for name in names],),
        rows=tuple(rows),
        alignment=("l", *(["c"] if when else []), "l", "l", *("r" for _ in numbers)),
        notes=tuple(map(Text.of, look.notes)),
    )


def absences_table(absent: pd.DataFrame, *, look: TableLook = PLAIN) -> Table:
    """Lay out ``panel.absent()``: when units are not there, and why, one row for each stretch of periods.

    ``look.words`` name units.
    """
    rows = [
        body(
            label_of(look.words, record["unit"]),
            period_cell(record["first"])
            if record["first"] == record["last"]
            else f"{record['first']}–{record['last']}",
            ABSENCES[record["absence"]],
            text_cell(record["why"]),
        )
        for record in absent.to_dict("records")
    ]
    return Table(
        title=titled(look, "Units absent in some periods", "部分时期不存在的地区"),
        key=look.key or "absences",
        header=([HeaderCell(WORDS[name]) for name in ("unit", "absent_periods", "absence", "why")],),
        rows=tuple(rows),
        alignment=("l", "c", "l", "l"),
        notes=tuple(map(Text.of, look.notes)),
    )


def period_weights_table(report: pd.DataFrame, *, look: TableLook = PLAIN) -> Table:
    """Lay out ``zb.weights.report_by_period(W, panel).tidy()``: what W is among the units present in each period."""
    heads = {
        "period": WORDS["period"],
        "units": Text("Units", "地区数"),
        "links": Text("Links", "连接数"),
        "islands": Text("Islands", "孤立单元"),
        "islands_by_absence": Text("Islands by absence", "因缺席而孤立"),
        "rows_losing": Text("Rows losing neighbours", "失去邻居的行"),
        "renormalised": Text("Rows scaled again", "重新标准化的行"),
    }
    rows = [
        body(*(period_cell(fact[name]) if name == "period" else int(fact[name]) for name in heads))
        for fact in report.to_dict("records")
    ]
    return Table(
        title=titled(look, "Spatial weights by period", "各时期的空间权重矩阵"),
        key=look.key or "weights_by_period",
        header=([HeaderCell(head) for head in heads.values()],),
        rows=tuple(rows),
        alignment=("c", *("r" for _ in range(len(heads) - 1))),
        notes=tuple(map(Text.of, look.notes)),
    )


def descriptives_table(
    panel: PanelLike,
    names: Sequence[str],
    *,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out N, mean, standard deviations (overall, between, within units) and the five-number ends.

    Cells that are not finite are left out of every column, and N says how many remain.
    """
    style = look.style
    several = len(panel.array(names[:1])) > 1
    spreads = ("overall", "between", "within") if several else ("overall",)
    columns = ("n", "mean", *spreads, "min", "median", "max")
    heads = {name: WORDS[name] for name in columns} | ({} if several else {"overall": WORDS["sd"]})
    known = {**panel.labels, **look.words}
    rows = []
    for name in names:
        moments = _moments(panel.array([name])[:, :, 0])
        digits = _decimals([moments["min"], moments["max"]], style)
        cells = [whole(moments["n"]), *(Number(moments[column], digits) for column in columns[1:])]
        rows.append(body(label_of(known, name), *cells))
    return Table(
        title=titled(look, "Descriptive statistics", "描述性统计"),
        key=look.key or "descriptives",
        header=([HeaderCell(WORDS["variable"]), *(HeaderCell(heads[column]) for column in columns)],),
        rows=tuple(rows),
        alignment=("l", *("r" for _ in columns)),
        notes=(*([_SPREADS] if several else []), *map(Text.of, look.notes)),
    )


_SPREADS = Text(
    "SD overall over all observations; SD between of the unit means; SD within of the deviations from the unit means.",
    "总体标准差基于全部观测值；组间标准差为各地区均值的标准差；组内标准差为对地区均值离差的标准差。",
)


def _decimals(values: Sequence[float], style: TableStyle) -> int:
    """Decimals of the style, fewer where numbers would have more than seven figures: 2194300, not 2194300.000."""
    largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    figures = len(str(int(largest)))
    return min(style.digits, max(0, 7 - figures))


def _decimals_of_cell(value: float, style: TableStyle) -> int:
    """Counts of persons or yuan have no decimals, whether printed or filled in: 143000, not 143000.0."""
    return 0 if abs(value) >= 1000 else _decimals([value], style)


def _moments(values: np.ndarray) -> dict[str, float]:
    """Describe one variable of shape (T, n).

    With N finite cells in n units: overall and within deviations are divided by N − 1, those of the unit
    means by n − 1, as Stata's ``xtsum`` does.
    """
    seen = np.isfinite(values)
    unit = math.ldexp(1.0, int(np.frexp(np.abs(values[seen]).max(initial=0.0))[1]) - 1)
    values = values / unit  # a power of two changes no digit, and squares stay in the range of numbers
    units = seen.any(axis=0)
    filled = np.where(seen, values, 0.0)
    means = filled.sum(axis=0)[units] / seen.sum(axis=0)[units]
    pooled = values[seen]
    n = pooled.size
    found = {
        "mean": float(pooled.mean()) if n else math.nan,
        "overall": float(pooled.std(ddof=1)) if n > 1 else math.nan,
        "between": float(means.std(ddof=1)) if means.size > 1 else math.nan,
        "within": within_sd(values) if len(values) > 1 else 0.0 if n > 1 else math.nan,
        "min": float(pooled.min()) if n else math.nan,
        "median": float(np.median(pooled)) if n else math.nan,
        "max": float(pooled.max()) if n else math.nan,
    }
    return {"n": n, **{what: value * unit for what, value in found.items()}}


def correlations_table(
    panel: PanelLike,
    names: Sequence[str],
    regressors: Sequence[str] | Mapping[Heading, Sequence[str]] = (),
    *,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out Pearson correlations of pooled observations below the diagonal, and VIFs in the last column.

    Stars are those of t = r √((N − 2)/(1 − r²)) with N − 2 degrees of freedom. VIF_k = 1/(1 − R²_k) of each
    regressor on the others and a constant, over the same pooled observations; a variable that is not among
    ``regressors`` has none. Several models give a column each: ``{words: regressors}``. Observations with a
    value that is not finite are left out of the pair, or of the regression, that needs it.

    Raises
    ------
    SpecificationError
        A name that the panel does not hold.
    """
    style = look.style
    known = {**panel.labels, **look.words}
    pooled = panel.array(list(names)).reshape(-1, len(names))
    r, p = _correlations(pooled)
    models = regressors if isinstance(regressors, Mapping) else {"VIF": regressors} if regressors else {}
    factors = [_factors(panel, list(own)) for own in models.values()]
    rows = []
    for i, name in enumerate(names):
        cells: list[Cell] = [
            Number(r[i, j], style.digits, style.count_stars(p[i, j])) if j < i else (1 if j == i else "")
            for j in range(len(names))
        ]
        label = label_of(known, name)
        own = [Number(found[name], 2) if name in found else "" for found in factors]
        rows.append(body(Text(f"({i + 1}) {label.en}", f"({i + 1}) {label.zh}"), *cells, *own))
    heads: list[str | Text] = [*(f"({i + 1})" for i in range(len(names))), *map(Text.of, models)]
    undefined = [r[i, j] for i in range(len(names)) for j in range(i)]
    undefined += [value for found in factors for value in found.values()]
    pearson = Text(
        "Pearson correlations of pooled observations.", "表中为混合观测值的皮尔逊（Pearson）相关系数。"
    )
    inflation = Text(
        "VIF: variance inflation factor among the regressors; above 10 is high.",
        "VIF 为解释变量的方差膨胀因子，大于 10 表示共线性严重。",
    )
    sentences = [pearson, *stars_note(style), *([inflation] if models else [])]
    return Table(
        title=titled(look, "Correlations", "相关系数矩阵"),
        key=look.key or "correlations",
        header=([HeaderCell(WORDS["variable"]), *map(HeaderCell, heads)],),
        rows=tuple(rows),
        alignment=("l", *("r" for _ in heads)),
        notes=(
            paragraph([*sentences, *([MISSING] if np.isnan(undefined).any() else [])]),
            *map(Text.of, look.notes),
        ),
    )


def _correlations(pooled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlations and two-sided p-values (k, k) of the columns of (M, k), pair by pair."""
    from scipy.stats import pearsonr

    k = pooled.shape[1]
    r, p = np.full((k, k), np.nan), np.full((k, k), np.nan)
    for i in range(k):
        for j in range(i):
            seen = np.isfinite(pooled[:, [i, j]]).all(axis=1)
            a, b = pooled[seen, i], pooled[seen, j]
            if len(a) > 2 and np.ptp(a) > 0 and np.ptp(b) > 0:
                found = pearsonr(a, b)
                r[i, j], p[i, j] = found.statistic, found.pvalue
    return r, p


def _factors(panel: PanelLike, regressors: Sequence[str]) -> dict[str, float]:
    """VIF by regressor; not available where one is constant or an exact combination of the others."""
    X = panel.array(list(regressors)).reshape(-1, len(regressors))
    X = X[np.isfinite(X).all(axis=1)]
    centred = X - X.mean(axis=0)
    if (
        np.linalg.matrix_rank(centred / np.maximum(np.abs(centred).max(axis=0), np.finfo(float).tiny))
        < X.shape[1]
    ):
        return dict.fromkeys(regressors, float("nan"))
    return dict(zip(regressors, map(float, variance_inflation(centred)), strict=True))


MATRIX = Text("Weights matrix", "空间权重矩阵")


def weights_table(
    overview: pd.DataFrame,
    *,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out facts of weights, a row for each: the rows of ``W.report().glance()``, one below the other."""
    labels = look.words
    heads = (
        MATRIX,
        Text("Scale", "标准化"),
        Text("Links", "连接数"),
        Text("Density", "密度"),
        Text("Islands", "孤立单元"),
        Text("Components", "连通分量"),
        Text("Neighbours", "邻居数"),
        Text("ρ interval", "ρ 的取值区间"),
    )
    rows = []
    for fact in overview.to_dict("records"):
        low, high = (f"{real(fact[k]):.2f}".replace("-", "−") for k in ("rho_low", "rho_high"))
        spread = f"{fact['neighbours_min']}–{fact['neighbours_mean']:.1f}–{fact['neighbours_max']}"
        rows.append(
            body(
                label_of(labels, fact["weights"]),
                NORMALISATIONS[fact["normalisation"]],
                whole(fact["links"]),
                Number(fact["density"], 3),
                whole(fact["islands"]),
                whole(fact["components"]),
                spread,
                "–" if "nan" in low else f"({low}, {high})",
            )
        )
    said = Text(
        "Density: links over n(n − 1). Components: groups of units with no link to others. Neighbours: least, mean, most. "
        "ρ interval: between the inverse of the least and of the largest eigenvalue.",
        "密度为连接数与n(n−1)之比；连通分量之间无连接；邻居数依次为最少、平均、最多；ρ区间为最小、最大特征值的倒数之间。",
    )
    return Table(
        title=titled(look, "Spatial weights", "空间权重矩阵概况"),
        key=look.key or "weights",
        header=([HeaderCell(head) for head in heads],),
        rows=tuple(rows),
        alignment=("l", "l", *("r" for _ in heads[2:])),
        notes=(said, *map(Text.of, look.notes)),
    )


def overlap_table(
    pairs: pd.DataFrame,
    *,
    look: TableLook = PLAIN,
) -> Table:
    """Lay out pairs of weights: columns ``a, b, links_common, jaccard, correlation, near_equal``.

    Below the diagonal stands the share of common links, above it the correlation of all entries.
    """
    style, labels = look.style, look.words
    names = list(dict.fromkeys([*pairs["a"], *pairs["b"]]))
    by_pair = {(row["a"], row["b"]): row for row in pairs.to_dict("records")}
    rows = []
    for i, row_name in enumerate(names):
        cells: list[Number | str] = []
        for j, column_name in enumerate(names):
            if i == j:
                cells.append("")
            elif i < j:
                cells.append(Number(by_pair[row_name, column_name]["correlation"], style.digits))
            else:
                cells.append(Number(by_pair[column_name, row_name]["jaccard"], style.digits))
        rows.append(body(f"({i + 1})", label_of(labels, row_name), *cells))
    header = [HeaderCell(), HeaderCell(MATRIX), *(HeaderCell(f"({i + 1})") for i in range(len(names)))]
    said = Text(
        "Above the diagonal: correlation over all pairs of units, as the weights are scaled; a dash where a matrix has "
        "all weights equal. Below: common links over links of either (Jaccard).",
        "对角线以上为全部地区对的权重相关系数（按所用标准化），权重全等者为“–”；以下为共同连接占并集的比重（Jaccard）。",
    )
    return Table(
        title=titled(look, "How far weights agree", "空间权重矩阵之间的异同"),
        key=look.key or "weights_overlap",
        header=(header,),
        rows=tuple(rows),
        alignment=("l", "l", *("r" for _ in names)),
        notes=(said, *map(Text.of, look.notes)),
    )
