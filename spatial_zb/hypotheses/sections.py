"""The test chain as it is printed: parts by what they ask, what is read first first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from spatial_zb.chain_table import TestTable
from spatial_zb.text import Language, Text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SECTIONS", "by_section"]

#: Headings with their tests, in the order of print; within one, rows keep the order of the chain.
SECTIONS: dict[Text, tuple[str, ...]] = {
    Text("Spatial dependence of the least-squares residuals", "最小二乘残差的空间依赖性"): (
        "LM lag",
        "LM error",
        "LM lag, robust",
        "LM error, robust",
        "LM lag and error, joint",
    ),
    Text("Which spatial model", "空间模型的选择"): (
        "F Durbin terms, OLS to SLX",
        "LM Durbin terms from SAR",
        "LM error from SAR",
        "LM lag from SEM",
        "LM error from SDM",
        "Wald SDM to SAR",
        "LR SDM to SAR",
    ),
    Text("Common factor (SDM or SEM)", "公因子约束（SDM 或 SEM）"): (
        "LM common factor from SEM",
        "Wald SDM to SEM",
        "LR SDM to SEM",
    ),
    Text("Unit and time effects", "个体与时间效应"): (
        "F unit effects",
        "LR unit effects",
        "F time effects",
        "LR time effects",
        "F unit and time effects",
        "LR unit and time effects",
    ),
    Text("Fixed or random effects", "固定效应或随机效应"): (
        "Hausman",
        "Mundlak",
        "Hausman, spatial",
        "Mundlak, spatial",
    ),
    Text("Random effects and spatial errors", "随机效应与空间误差"): (
        "LM random effects (Breusch-Pagan)",
        "LM random effects and spatial error, joint (BSK)",
        "LM random effects, marginal (BSK)",
        "LM spatial error, marginal (BSK)",
        "LM spatial error given random effects (BSK)",
        "LM random effects given spatial error (BSK)",
    ),
    Text("Dependence left between units", "地区间剩余的相关性"): ("CD (Pesaran)", "Moran of residuals"),
    Text("Collinearity (no tests)", "共线性（非检验）"): ("VIF", "Condition number"),
}


def by_section(
    table: TestTable, language: Language = "en", labels: Mapping[str, Text] | None = None
) -> list[tuple[Text, pd.DataFrame]]:
    """Pairs of heading and rows of the table as :meth:`~spatial_zb.chain_table.TestTable.tidy` gives them.

    Every row is in one of them; a section without rows is left out.
    """
    parts = {
        heading: tuple(row for row in table.rows if row.test in tests) for heading, tests in SECTIONS.items()
    }
    return [
        (heading, replace(table, rows=rows).tidy(language, labels)) for heading, rows in parts.items() if rows
    ]
