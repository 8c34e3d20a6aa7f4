"""Rows of a test chain: tests by name in English and Chinese, how one runs, and what it says when it cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from spatial_zb.base.errors import SpatialZbError
from spatial_zb.base.text import Text
from spatial_zb.core.transforms import FixedEffects

#: Every test of the chain, by its name in the table, in English and Chinese; VIF and Moran rows add a label.
TESTS: dict[str, Text] = {
    name: Text(name, zh)
    for name, zh in {
        "VIF": "方差膨胀因子",
        "Condition number": "条件数",
        "LM lag": "LM 检验（空间滞后）",
        "LM error": "LM 检验（空间误差）",
        "LM lag, robust": "稳健 LM 检验（空间滞后）",
        "LM error, robust": "稳健 LM 检验（空间误差）",
        "LM lag and error, joint": "LM 联合检验（滞后与误差）",
        "F Durbin terms, OLS to SLX": "F 检验（杜宾项，OLS → SLX）",
        "LM Durbin terms from SAR": "LM 检验（SAR 之上的杜宾项）",
        "LM common factor from SEM": "LM 检验（SEM 的公因子约束）",
        "LM error from SAR": "LM 检验（SAR 之上的空间误差）",
        "LM lag from SEM": "LM 检验（SEM 之上的空间滞后）",
        "LM error from SDM": "LM 检验（SDM 之上的空间误差）",
        "Wald SDM to SAR": "Wald 检验（SDM → SAR）",
        "LR SDM to SAR": "LR 检验（SDM → SAR）",
        "Wald SDM to SEM": "Wald 检验（SDM → SEM）",
        "LR SDM to SEM": "LR 检验（SDM → SEM）",
        "F unit effects": "F 检验（个体效应）",
        "LR unit effects": "LR 检验（个体效应）",
        "F time effects": "F 检验（时间效应）",
        "LR time effects": "LR 检验（时间效应）",
        "F unit and time effects": "F 检验（个体与时间效应）",
        "LR unit and time effects": "LR 检验（个体与时间效应）",
        "Hausman": "Hausman 检验",
        "Mundlak": "Mundlak 检验",
        "Hausman, spatial": "空间 Hausman 检验",
        "Mundlak, spatial": "空间 Mundlak 检验",
        "LM random effects (Breusch-Pagan)": "LM 检验（随机效应，Breusch-Pagan）",
        "LM random effects and spatial error, joint (BSK)": "LM 联合检验（随机效应与空间误差，BSK）",
        "LM random effects, marginal (BSK)": "LM 边际检验（随机效应，BSK）",
        "LM spatial error, marginal (BSK)": "LM 边际检验（空间误差，BSK）",
        "LM spatial error given random effects (BSK)": "LM 条件检验（给定随机效应的空间误差，BSK）",
        "LM random effects given spatial error (BSK)": "LM 条件检验（给定空间误差的随机效应，BSK）",
        "CD (Pesaran)": "CD 检验（Pesaran）",
        "Moran of residuals": "残差 Moran 检验",
    }.items()
}
#: In words, what each transform takes out.
EFFECTS_WORDS: dict[FixedEffects, Text] = {
    "none": Text("no effects, an intercept", "无效应，含截距"),
    "unit": Text("unit effects", "个体效应"),
    "time": Text("time effects", "时间效应"),
    "two_way": Text("two-way effects", "双向效应"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; ``p_value`` NaN where the number is not a test or could not be computed.

    ``p_bootstrap`` is the share of panels drawn under the null whose statistic is as far out; NaN without a bootstrap.
    """

    test: str
    statistic: float
    df: float
    p_value: float
    note: Text
    of: str = ""
    p_bootstrap: float = float("nan")

    @property
    def p(self) -> float:
        """The p-value to read: the bootstrap's where there is one."""
        return self.p_bootstrap if np.isfinite(self.p_bootstrap) else self.p_value

    @property
    def name(self) -> Text:
        """The test's name, with the variable or period it is of."""
        return self.named({})

    def named(self, labels: Mapping[str, Text]) -> Text:
        """The test's name, with its variable in the words of ``labels``, a spatial lag as W × them."""
        words, of = TESTS[self.test], Text.of(self.of) if self.of else Text("", "")
        if self.of == "pooled":
            of = Text("pooled", "（混合）")
        elif self.of in labels:
            of = labels[self.of]
        elif self.of.removeprefix("W_") in labels:
            label = labels[self.of.removeprefix("W_")]
            of = Text(f"W × {label.en}", f"W × {label.zh}")
        return Text(f"{words.en} {of.en}".strip(), f"{words.zh} {of.zh}".strip())


#: Names of tests, and what computes their rows.
Step = tuple[tuple[str, ...], Callable[[], list[Row]]]
NAN = float("nan")


def attempt(names: tuple[str, ...], run: Callable[[], list[Row]]) -> list[Row]:
    """The rows of a test, or one row per name that says why it is not available."""
    try:
        return run()
    except SpatialZbError as error:
        note = Text(f"not available: {error}", f"无法计算：{error.zh}")
        return [Row(name, NAN, NAN, NAN, note) for name in names]


def chi2_row(test: str, statistic: float, df: int, note: Text) -> Row:
    """A test of a χ² statistic."""
    return Row(test, float(statistic), float(df), float(stats.chi2.sf(statistic, df)), note)


def normal_row(test: str, statistic: float, note: Text, of: str = "") -> Row:
    """A two-sided test of a standard normal statistic."""
    return Row(test, float(statistic), NAN, float(2 * stats.norm.sf(abs(statistic))), note, of)
