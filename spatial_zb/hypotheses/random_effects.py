"""Random or fixed unit effects, without spatial lags."""

from __future__ import annotations

import numpy as np
from scipy import stats

from spatial_zb.chain_table import Row
from spatial_zb.core import random_effects as core
from spatial_zb.core.within import demean
from spatial_zb.errors import DataError
from spatial_zb.hypotheses.case import Case, common_means, period_words, varies
from spatial_zb.hypotheses.rows import Step
from spatial_zb.text import Text

__all__ = ["random_effects"]


def random_effects(case: Case) -> list[Step]:
    """Hausman's test and Mundlak's."""
    if case.T == 1:
        return []
    return [(("Hausman", "Mundlak"), lambda: _hausman(case))]


def _hausman(case: Case) -> list[Row]:
    y, X = common_means(case)
    varying = varies(X, demean(X, "unit"))
    left = case.n - 1 - X.shape[2]
    if left <= 0:
        raise DataError(
            f"{case.n} units cannot carry a regression of unit means on {X.shape[2]} regressors. Drop regressors.",
            f"{case.n}个单元不足以把个体均值对{X.shape[2]}个自变量回归。请减少自变量。",
        )
    if not varying.any():
        raise DataError("no regressor changes over time.", "没有随时间变化的自变量。")
    random = core.swamy_arora(y, X, varying, case.period_means)
    fixed, cov = core.within_regression(
        demean(y, "unit"), demean(X, "unit")[:, :, varying], case.period_means
    )
    pick = np.ix_(varying, varying)
    difference = fixed - random.beta[varying]
    one_variance = cov * random.variance / random.sigma2
    value = core.hausman(difference, one_variance, random.cov[pick])
    usual = core.hausman(difference, cov, random.cov[pick])
    q = int(varying.sum())
    wald = core.mundlak(y, X, random, varying)
    return [_hausman_row(case, value, usual, q, left), _mundlak_row(case, wald, q, left)]


def _hausman_row(case: Case, value: float, usual: float, q: int, left: int) -> Row:
    means = period_words(case)
    own = Text(f"{usual:.2f}", f"{usual:.2f}") if np.isfinite(usual) else Text("undefined", "无定义")
    note = Text(
        f"within against Swamy-Arora GLS, no spatial lags, {means.en}, both with the σ² of GLS; H/{q} read from "
        f"F({q}, {left}); with a σ² of each, as software prints by default: {own.en}",
        f"组内估计与 Swamy-Arora GLS 之比较，无空间滞后，{means.zh}，均用 GLS 的 σ²；H/{q} 按 F({q}, {left})；"
        f"各用自身 σ²（软件的默认做法）：{own.zh}",
    )
    return Row("Hausman", value, float(q), float(stats.f.sf(value / q, q, left)), note)


def _mundlak_row(case: Case, wald: float, q: int, left: int) -> Row:
    means = period_words(case)
    F = wald / q
    note = Text(
        f"unit means of x add nothing (correlated random effects), {means.en}; never negative; F({q}, {left})",
        f"x 的个体均值系数为零（相关随机效应），{means.zh}；不会为负；F({q}, {left})",
    )
    return Row("Mundlak", F, float(q), float(stats.f.sf(F, q, left)), note)
