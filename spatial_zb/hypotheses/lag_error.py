"""Spatial lag and spatial error from least-squares residuals."""

from __future__ import annotations

import numpy as np

from spatial_zb.chain_table import EFFECTS_WORDS, Row
from spatial_zb.core import diagnostics as core
from spatial_zb.core.lag import spatial_lag
from spatial_zb.core.within import demean
from spatial_zb.hypotheses.case import Case
from spatial_zb.hypotheses.rows import Step, chi2_row
from spatial_zb.text import Text

__all__ = ["lag_error", "lag_error_tests"]

LAG_ERROR = ("LM lag", "LM error", "LM lag, robust", "LM error, robust", "LM lag and error, joint")


def lag_error(case: Case) -> list[Step]:
    """The five LM tests."""
    return [(LAG_ERROR, lambda: _lag_error_rows(case))]


def _lag_error_rows(case: Case) -> list[Row]:
    tests = lag_error_tests(case)
    note = _residual_note(case)
    undefined = Text(
        "undefined: W times the fitted values lies in the span of the regressors, so that lag and error look alike; "
        + note.en,
        f"无定义：W 乘以拟合值落在自变量张成的空间内，滞后与误差无法区分；{note.zh}",
    )
    values = (tests.lag, tests.error, tests.robust_lag, tests.robust_error, tests.joint)
    return [
        chi2_row(name, value, 2 if "joint" in name else 1, note if np.isfinite(value) else undefined)
        for name, value in zip(LAG_ERROR, values, strict=True)
    ]


def lag_error_tests(case: Case, moments: core.WeightMoments | None = None) -> core.LagErrorTests:
    """The five statistics; other ``moments`` give the usual, uncentred formulas for comparison."""
    Wu = spatial_lag(case.weights.matrix, case.residuals)
    moments = moments or case.moments
    units = moments.dimension
    return core.lm_lag_error(
        case.residuals,
        demean(Wu, case.effects),
        case.design.Wy,
        case.design.Z,
        case.sample.periods,
        units * case.sample.periods,
        moments,
    )


def _residual_note(case: Case) -> Text:
    words, N = EFFECTS_WORDS[case.effects], case.sample.observations
    en, zh = f"least-squares residuals after {words.en}, N = {N}", f"去除{words.zh}后的最小二乘残差，N = {N}"
    if case.period_means:
        en, zh = (
            f"{en}; centred for {words.en} (JWJ in place of W)",
            f"{zh}；已按{words.zh}中心化（以 JWJ 代替 W）",
        )
    return Text(en, zh)
