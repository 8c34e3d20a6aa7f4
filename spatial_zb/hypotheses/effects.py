"""Fixed effects of units and periods, none or some."""

from __future__ import annotations

import numpy as np
from scipy import stats

from spatial_zb.chain_table import Row
from spatial_zb.core import diagnostics as core
from spatial_zb.core.within import FixedEffects, demean, transformed_sample
from spatial_zb.errors import DataError
from spatial_zb.hypotheses.case import Case, varies
from spatial_zb.hypotheses.rows import Step
from spatial_zb.models.design import stacked
from spatial_zb.text import Text

__all__ = ["effects"]


def effects(case: Case) -> list[Step]:
    """F and LR of dummies, without spatial lags."""
    if case.T == 1:
        return []
    pairs: list[tuple[str, FixedEffects, Text]] = [
        ("unit effects", "time", Text("given time effects", "给定时间效应")),
        ("time effects", "unit", Text("given unit effects", "给定个体效应")),
        ("unit and time effects", "none", Text("against an intercept alone", "相对于只有截距")),
    ]
    return [((f"F {n}", f"LR {n}"), lambda p=(n, s, w): _effects_rows(case, *p)) for n, s, w in pairs]


def _effects_rows(case: Case, name: str, without: FixedEffects, given: Text) -> list[Row]:
    smaller, larger = _dummies(case, without), _dummies(case, "two_way")
    q, df = larger[1] - smaller[1], case.n * case.T - larger[1]
    if q <= 0 or df <= 0:
        raise DataError("too few observations for two-way effects.", "观测值太少，无法估计双向效应。")
    F = (smaller[0] - larger[0]) / q / (larger[0] / df)
    lr = case.n * case.T * np.log(smaller[0] / larger[0])
    note = Text(
        f"{given.en}, model without spatial lags; exact when errors are normal; F({q}, {df})",
        f"{given.zh}，无空间滞后的模型；误差正态时精确；F({q}, {df})",
    )
    factor = f"{(df + q / 2 - 1) / (case.n * case.T):.3f}"
    lr_note = Text(
        f"{given.en}, model without spatial lags, direct likelihoods; {q} dummies: p from χ²({q}) of {factor} LR (Bartlett)",
        f"{given.zh}，无空间滞后的模型，直接似然；虚拟变量有 {q} 个：p 值取自 {factor} LR 的 χ²({q})（Bartlett 校正）",
    )
    p = core.likelihood_ratio_p_value(lr, q, case.n * case.T, df)
    return [
        Row(f"F {name}", F, float(q), float(stats.f.sf(F, q, df)), note),
        Row(f"LR {name}", lr, float(q), p, lr_note),
    ]


def _dummies(case: Case, effects: FixedEffects) -> tuple[float, int]:
    """SSR and number of free coefficients, effects included; regressors that the effects absorb are left out."""
    y, X = case.panel.array(case.spec.y), case.panel.array(list(case.spec.x))
    absorbed = transformed_sample(case.n, case.T, effects, "direct").absorbed
    if effects == "none":
        y, X, absorbed = y - y.mean(), X - X.mean(axis=(0, 1)), 1
    kept = stacked(demean(X, effects)[:, :, varies(X, demean(X, effects))])
    return core.sum_of_squares(kept, stacked(demean(y, effects))), absorbed + kept.shape[1]
