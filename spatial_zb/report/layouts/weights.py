"""Layouts of weights: what each matrix is like, and how far they share links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from spatial_zb.report.layouts.common import label_of, real
from spatial_zb.report.table_style import TableStyle
from spatial_zb.report.tables import HeaderCell, Number, Table, body
from spatial_zb.report.words import NORMALISATIONS
from spatial_zb.text import Text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["overlap_table", "weights_table"]

MATRIX = Text("Weights matrix", "空间权重矩阵")


def weights_table(
    overview: pd.DataFrame,
    labels: Mapping[str, Text],
    *,
    notes: Sequence[Text] = (),
    style: TableStyle | None = None,
) -> Table:
    """Lay out facts of weights, a row for each: the rows of ``W.report().glance()``, one below the other."""
    style = style or TableStyle()
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
                int(fact["links"]),
                Number(fact["density"], 3),
                int(fact["islands"]),
                int(fact["components"]),
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
        title=Text("Spatial weights", "空间权重矩阵概况"),
        key="weights",
        header=([HeaderCell(head) for head in heads],),
        rows=tuple(rows),
        alignment=("l", "l", *("r" for _ in heads[2:])),
        notes=(said, *notes),
    )


def overlap_table(
    pairs: pd.DataFrame,
    labels: Mapping[str, Text],
    *,
    notes: Sequence[Text] = (),
    style: TableStyle | None = None,
) -> Table:
    """Lay out pairs of weights: columns ``a, b, links_common, jaccard, correlation, near_equal``.

    Below the diagonal stands the share of common links, above it the correlation of all entries.
    """
    style = style or TableStyle()
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
        title=Text("How far weights agree", "空间权重矩阵之间的异同"),
        key="weights_overlap",
        header=(header,),
        rows=tuple(rows),
        alignment=("l", "l", *("r" for _ in names)),
        notes=(said, *notes),
    )
