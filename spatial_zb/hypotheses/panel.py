"""Tests from least-squares residuals: spatial lag and error, fixed effects, collinearity, what residuals still hold."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy import stats

from spatial_zb.base.errors import DataError
from spatial_zb.base.results import NAN, Row
from spatial_zb.base.text import Text
from spatial_zb.core import Array
from spatial_zb.core.likelihood import tests as core
from spatial_zb.core.transforms import FixedEffects, demean, spatial_lag, transformed_sample
from spatial_zb.hypotheses.case import EFFECTS_WORDS, Case, Step, chi2_row, normal_row, quiet_design, varies
from spatial_zb.models.design import Design, stacked

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
        chi2_row(name, float(value), 2 if "joint" in name else 1, note if np.isfinite(value) else undefined)
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


def effects(case: Case) -> list[Step]:
    """F and LR of dummies, without spatial lags."""
    if case.T == 1:
        return []
    pairs: list[tuple[str, FixedEffects, Text]] = [
        ("unit effects", "time", Text("given time effects", "给定时间效应")),
        ("time effects", "unit", Text("given unit effects", "给定个体效应")),
        ("unit and time effects", "none", Text("against an intercept alone", "相对于只有截距")),
    ]
    return [((f"F {n}", f"LR {n}"), partial(_effects_rows, case, n, s, w)) for n, s, w in pairs]


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
    return float(core.sum_of_squares(kept, stacked(demean(y, effects)))), absorbed + kept.shape[1]


def collinearity(case: Case) -> list[Step]:
    """Variance inflation of each regressor, and the condition number of all."""
    return [(("VIF",), lambda: _inflation(case)), (("Condition number",), lambda: _condition(case))]


def _own_design(case: Case) -> Design:
    return quiet_design(case, case.model(lag_x=case.spec.lag_x))


def _inflation(case: Case) -> list[Row]:
    design = _own_design(case)
    terms = [i for i, term in enumerate(design.spec.terms) if term != "(Intercept)"]
    columns = stacked(design.Z)[:, terms]
    words = EFFECTS_WORDS[case.effects]
    note = Text(
        f"share of its variance shared with the other regressors, after {words.en}; above 10 is high",
        f"去除{words.zh}之后；大于 10 表示共线性严重",
    )
    values = core.variance_inflation(columns - columns.mean(axis=0))
    return [
        Row("VIF", float(v), NAN, NAN, note, design.spec.terms[i]) for i, v in zip(terms, values, strict=True)
    ]


def _condition(case: Case) -> list[Row]:
    note = Text(
        "of the transformed regressors at unit length; above 30 is high",
        "变换后单位长度的自变量；大于 30 为高",
    )
    return [Row("Condition number", core.condition_number(stacked(_own_design(case).Z)), NAN, NAN, note)]


def dependence(case: Case) -> list[Step]:
    """Pesaran's CD and Moran's I, pooled and by period."""
    steps: list[Step] = [(("CD (Pesaran)",), lambda: _cd(case))] if case.T > 2 else []
    return [*steps, (("Moran of residuals",), lambda: _moran_rows(case))]


def _cd(case: Case) -> list[Row]:
    y, X = (demean(case.panel.array(v), "unit") for v in (case.spec.y, list(case.spec.x)))
    X = X[:, :, varies(case.panel.array(list(case.spec.x)), X)]
    u = core.residuals(stacked(X), stacked(y)).reshape(y.shape)
    en, zh = (
        "correlation of units over time, residuals after unit effects",
        "个体间跨期相关，去除个体效应后的残差",
    )
    if case.period_means:
        en += "; common period shocks count, since after time effects CD has no meaning"
        zh += "；包含共同时期冲击，因为去除时间效应后 CD 无意义"
    return [normal_row("CD (Pesaran)", core.pesaran_cd(u), Text(en, zh))]


def moran_parts(case: Case, u: Array) -> list[tuple[str, core.MoranMoments, Text]]:
    """Label, I with its moments, and where, of residuals (…, T, n): pooled, then by period."""
    W = case.weights.matrix
    pooled = core.residual_moran(u, case.basis, W, case.moments, case.effects, case.sample.periods)
    words = EFFECTS_WORDS[case.effects]
    where = Text(f"after {words.en}", f"去除{words.zh}后")
    if case.T == 1:
        return [("", pooled, where)]
    parts = [("pooled", pooled, where)]
    share = case.sample.periods / case.T
    kind: FixedEffects = "time" if case.period_means else "none"
    for t, period in enumerate(case.panel.periods):
        one = u[..., t : t + 1, :], case.basis[t : t + 1]
        moments = core.residual_moran(*one, W, case.moments, kind, 1, share)
        parts.append((str(period), moments, Text("of one period", "单独一期")))
    return parts


def _moran_rows(case: Case) -> list[Row]:
    return [_moran_row(moments, label, where) for label, moments, where in moran_parts(case, case.residuals)]


def _moran_row(m: core.MoranMoments, of: str, where: Text) -> Row:
    note = Text(
        f"I = {m.I:.4f}, expected {m.expected:.4f}; least-squares residuals {where.en}; standard deviate, two-sided",
        f"I = {m.I:.4f}，期望 {m.expected:.4f}；最小二乘残差，{where.zh}；标准化值，双侧",
    )
    return normal_row("Moran of residuals", float(m.z), note, of=of)
