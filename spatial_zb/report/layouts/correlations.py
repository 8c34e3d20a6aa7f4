"""Correlations of the variables, with the variance inflation factor of each regressor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from spatial_zb.core.diagnostics import variance_inflation
from spatial_zb.report.layouts.common import (
    MISSING,
    Label,
    PanelLike,
    label_of,
    paragraph,
    stars_note,
    titled,
)
from spatial_zb.report.table_style import TableStyle
from spatial_zb.report.tables import Cell, HeaderCell, Number, Table, body
from spatial_zb.report.words import WORDS
from spatial_zb.text import Text

__all__ = ["correlations_table"]


def correlations_table(
    panel: PanelLike,
    names: Sequence[str],
    regressors: Sequence[str] | Mapping[Label, Sequence[str]] = (),
    *,
    labels: Mapping[str, Label] | None = None,
    title: Label | None = None,
    key: str = "correlations",
    notes: Sequence[Label] = (),
    style: TableStyle | None = None,
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
    style = style or TableStyle()
    known = {**panel.labels, **(labels or {})}
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
    heads = [*(f"({i + 1})" for i in range(len(names))), *map(Text.of, models)]
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
        title=titled(title, "Correlations", "相关系数矩阵"),
        key=key,
        header=([HeaderCell(WORDS["variable"]), *map(HeaderCell, heads)],),
        rows=tuple(rows),
        alignment=("l", *("r" for _ in heads)),
        notes=(
            paragraph([*sentences, *([MISSING] if np.isnan(undefined).any() else [])]),
            *map(Text.of, notes),
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
