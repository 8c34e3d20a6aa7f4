"""Tests from least-squares residuals: spatial lag and error, fixed effects, collinearity, what residuals still hold."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from spatial_zb.base.errors import DataError, SpecificationError
from spatial_zb.base.results import NAN, Row, TestTable
from spatial_zb.base.text import Text
from spatial_zb.core import Array, f_tail
from spatial_zb.core.likelihood import tests as core
from spatial_zb.core.likelihood.errors import (
    Errors,
    autocorrelation,
    tied_variances,
    variances_by_place,
    within,
)
from spatial_zb.core.likelihood.errors import dependence as between_units
from spatial_zb.core.likelihood.errors import serial_correlation as lm_star
from spatial_zb.core.transforms import (
    FixedEffects,
    condition_number,
    demean,
    variance_inflation,
)
from spatial_zb.core.unit_rows import RowErrors
from spatial_zb.hypotheses.case import (
    TESTS,
    Case,
    Step,
    chi2_row,
    normal_row,
    quiet_design,
    t_row,
    varies,
)
from spatial_zb.models.design import Design, stacked
from spatial_zb.models.fit import Fit
from spatial_zb.models.ml import HIGHEST, errors_of_fit
from spatial_zb.models.system.dynamic import serial_correlation as serial_correlation_given_the_past
from spatial_zb.models.system.fit import SystemFit

LAG_ERROR = ("LM lag", "LM error", "LM lag, robust", "LM error, robust", "LM lag and error, joint")


def lag_error(case: Case) -> list[Step]:
    """The five LM tests."""
    return [(LAG_ERROR, lambda: _lag_error_rows(case))]


def _lag_error_rows(case: Case) -> list[Row]:
    tests = case.lag_error_tests()
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


def _residual_note(case: Case) -> Text:
    words, N, made = case.words, case.observations, case.score_words
    return Text(
        f"least-squares residuals after {words.en}, N = {N}{made.en}",
        f"去除{words.zh}后的最小二乘残差，N = {N}{made.zh}",
    )


#: What tests of effects are against, by their names.
WITHOUT: dict[str, FixedEffects] = {
    "unit effects": "time",
    "time effects": "unit",
    "unit and time effects": "none",
}
_GIVEN = {
    "time": Text("given time effects", "给定时间效应"),
    "unit": Text("given unit effects", "给定个体效应"),
    "none": Text("against an intercept alone", "相对于只有截距"),
}


def effects(case: Case) -> list[Step]:
    """F and LR of dummies, without spatial lags."""
    if case.T == 1:
        return []
    return [((f"F {name}", f"LR {name}"), partial(_effects_rows, case, name)) for name in WITHOUT]


def _effects_rows(case: Case, name: str) -> list[Row]:
    without = WITHOUT[name]
    given = _GIVEN[without]
    F, lr, q, df = effects_tests(case, without, case.dummies)
    N = case.rows
    note = Text(
        f"{given.en}, model without spatial lags; exact when errors are normal; F({q}, {df})",
        f"{given.zh}，无空间滞后的模型；误差正态时精确；F({q}, {df})",
    )
    factor = f"{(df + q / 2 - 1) / N:.3f}"
    lr_note = Text(
        f"{given.en}, model without spatial lags, direct likelihoods; {q} dummies: p from χ²({q}) of {factor} LR (Bartlett)",
        f"{given.zh}，无空间滞后的模型，直接似然；虚拟变量有 {q} 个：p 值取自 {factor} LR 的 χ²({q})（Bartlett 校正）",
    )
    p = core.likelihood_ratio_p_value(float(lr), q, N, df)
    return [
        Row(f"F {name}", float(F), float(q), float(f_tail(F, q, df)), note),
        Row(f"LR {name}", float(lr), float(q), p, lr_note),
    ]


def effects_tests(
    case: Case, without: FixedEffects, dummies: Callable[[FixedEffects], tuple[Any, int]]
) -> tuple[Array, Array, int, int]:
    """F and LR (…) of two-way effects against some of them, restrictions and what is left.

    ``dummies`` gives the squared residuals (…) with some effects, and how many coefficients there are.
    """
    smaller, larger = dummies(without), dummies("two_way")
    N = case.rows
    q, df = larger[1] - smaller[1], N - larger[1]
    if q <= 0 or df <= 0:
        raise DataError("too few observations for two-way effects.", "观测值太少，无法估计双向效应。")
    F = (smaller[0] - larger[0]) / q / (larger[0] / df)
    return F, N * np.log(smaller[0] / larger[0]), q, df


def collinearity(case: Case) -> list[Step]:
    """Variance inflation of each regressor, and the condition number of all."""
    return [(("VIF",), lambda: _inflation(case)), (("Condition number",), lambda: _condition(case))]


def _own_design(case: Case) -> Design:
    return quiet_design(case, case.model(lag_x=case.spec.lag_x))


def _columns(case: Case) -> Array:
    """Transformed regressors (N, k) of the rows that there are."""
    Z = stacked(_own_design(case).Z)
    return Z[~np.isnan(Z).any(axis=1)]


def _inflation(case: Case) -> list[Row]:
    design = _own_design(case)
    terms = [i for i, term in enumerate(design.spec.terms) if term != "(Intercept)"]
    columns = _columns(case)[:, terms]
    words = case.words
    note = Text(
        f"share of its variance shared with the other regressors, after {words.en}; above 10 is high",
        f"去除{words.zh}之后；大于 10 表示共线性严重",
    )
    values = variance_inflation(columns - columns.mean(axis=0))
    return [
        Row("VIF", float(v), NAN, NAN, note, design.spec.terms[i]) for i, v in zip(terms, values, strict=True)
    ]


def _condition(case: Case) -> list[Row]:
    note = Text(
        "of the transformed regressors at unit length; above 30 is high",
        "变换后单位长度的自变量；大于 30 为高",
    )
    return [Row("Condition number", condition_number(_columns(case)), NAN, NAN, note)]


def dependence(case: Case) -> list[Step]:
    """Pesaran's CD where period means are in, and Moran's I, pooled and by period."""
    steps: list[Step] = (
        [(("CD (Pesaran)",), lambda: _cd(case))] if case.T > 2 and not case.period_means else []
    )
    return [*steps, (("Moran of residuals",), lambda: _moran_rows(case))]


def _cd(case: Case) -> list[Row]:
    note = Text(
        "correlation of units over time, residuals after unit effects", "个体间跨期相关，去除个体效应后的残差"
    )
    return [normal_row("CD (Pesaran)", float(cd_statistic(case, case.panel.array(case.spec.y))), note)]


def cd_statistic(case: Case, y: Array) -> Array:
    """CD (…) of y (T, n, …)."""
    before = case.panel.array(list(case.spec.x))
    X = demean(before, "unit")
    u = core.residuals(stacked(X[:, :, varies(before, X)]), stacked(demean(y, "unit")).T)
    return core.pesaran_cd(u.reshape(*u.shape[:-1], case.T, case.n))


# --- errors

#: Tests of the errors of the spatial Durbin model in a panel, and of the least-squares residuals of a cross-section.
SERIAL = ("Serial correlation (LM*)", "Serial correlation, forward and backward")
VARIANCES = ("Variances and diagonal of G", "Variances and place in W")
SPREAD, BETWEEN = "Largest to smallest error sd of units", "Cross-section dependence"
CROSS_SECTION = ("Breusch-Pagan", "Koenker-Bassett", "Jarque-Bera")
#: Draws that dependence between units is read from: p to 0.005.
DRAWS = 199


def errors(case: Case) -> list[Step]:
    """What a panel says of the errors of SDM, a cross-section of those of least squares."""
    if case.T == 1:
        return [(CROSS_SECTION, lambda: _cross_section_rows(case))]
    if not case.lagged or 2 + case.within > case.T:
        return []
    steps: list[Step] = [
        (SERIAL, lambda: serial_rows(case.errors, Text("SDM", "SDM"))),
        (VARIANCES, lambda: _variance_rows(case)),
        ((SPREAD,), lambda: [_spread_row(case)]),
    ]
    return [*steps, ((BETWEEN,), lambda: [_between_row(case)])] if case.period_means else steps


def serial_correlation(fit: Fit | SystemFit) -> TestTable:
    """Test whether the errors of a fit are correlated over time: LM* by its own residuals, of a system by equation.

    As :func:`spatial_zb.diagnose` tests the spatial Durbin model (spatial-zb docs test-chain): Σ_i z_i over its
    spread between units, against t(n − 1). Of a system what the coefficients took out is counted from the regressors as the
    instruments give them.

    Parameters
    ----------
    fit
        By maximum likelihood or the robust score, with fixed effects or none and without lags in time or regimes; or a
        system without random effects. With lags in time the test is that of
        :func:`spatial_zb.models.system.dynamic.serial_correlation`.

    Raises
    ------
    SpecificationError
        Another fit; fewer than three periods with unit effects, or two without.
    """
    if isinstance(fit, SystemFit):
        if fit.spec.dynamic:
            return serial_correlation_given_the_past(fit)
        if fit.design.strata is not None:
            raise SpecificationError(
                "Serial correlation is tested for systems with fixed effects or none; random effects correlate errors over "
                "time by themselves.",
                "序列相关检验用于固定效应或无效应的方程组；随机效应本身即使误差跨期相关。",
            )
        found: dict[str, Errors | RowErrors] = {**fit.errors}
    else:
        random, kind = fit.spec.fixed_effects == "random", fit.estimator
        if random or fit.spec.dynamic or fit.spec.regimes or kind in ("gmm", "ml"):
            raise SpecificationError(
                "Serial correlation is tested for static fits with fixed effects by maximum likelihood or the robust "
                "score, and for systems. Use diagnose for the model without what this fit has beside.",
                "序列相关检验用于固定效应的静态极大似然或稳健得分估计，以及方程组。其他模型请先用diagnose检验其静态形式。",
            )
        found = {"": errors_of_fit(fit)}
    first = next(iter(found.values()), None)
    if first is None or 2 + first.within > first.T:
        raise SpecificationError(
            "Correlation over time needs three periods with unit effects, two without.",
            "检验跨期相关：有个体效应时至少需三期，无则两期。",
        )
    label = "the system" if isinstance(fit, SystemFit) else fit.spec.family
    model = Text(label, "方程组" if isinstance(fit, SystemFit) else label)
    rows = [row for of, errors in found.items() for row in serial_rows(errors, model, of)]
    return TestTable(tuple(rows), fit.facts, TESTS)


def serial_rows(found: Errors | RowErrors, model: Text, of: str = "") -> list[Row]:
    """Correlation over time: LM*, and with unit effects the form that variances may move under."""
    words = Text(
        f"residuals of {model.en}, less what effects and coefficients give",
        f"{model.zh} 残差，扣除效应与系数所致部分",
    )
    rows = [_serial_row(SERIAL[0], found, found.lag_form, _with_coefficient(found, words), of)]
    if not found.within or found.T < 4:
        return rows
    crossing = Text(
        f"{words.en}; whatever variances do over time, but blind to long swings",
        f"{words.zh}；方差随时间变化时仍成立，但对长期波动不敏感",
    )
    return [*rows, _serial_row(SERIAL[1], found, found.crossing_form, crossing, of)]


def _with_coefficient(found: Errors | RowErrors, words: Text) -> Text:
    a = autocorrelation(found)
    shown = f"{a:.2f}" if a < HIGHEST else f"{HIGHEST:.1f} or more"
    shown_zh = f"{a:.2f}" if a < HIGHEST else f"{HIGHEST:.1f}或更高"
    if not found.within:
        words = Text(
            f"{words.en}; no unit effects: lasting differences between units count",
            f"{words.zh}；无个体效应：单元间的持久差异也计入",
        )
    return Text(
        f"{words.en}; first-order correlation of the errors {shown}", f"{words.zh}；误差一阶相关 {shown_zh}"
    )


def _serial_row(name: str, found: Errors | RowErrors, form: Array, note: Text, of: str) -> Row:
    return t_row(name, float(lm_star(found, form)), len(found.left_over(form)) - 1, note, of)


def _variance_rows(case: Case) -> list[Row]:
    """Whether variances of units go with what ties them to ρ̂, and with the columns that it begins with."""
    found = case.errors
    columns, feedback = (part[found.units] for part in case.places())
    q = columns.shape[1]
    left = found.n - q - 1
    if not q or left < 1:
        raise DataError(
            "W has the same (W²)_ii and column sum for every unit: variances cannot go with them.",
            "W对每个单元的(W²)_ii与列和都相同：方差不可能随之变化。",
        )
    t = tied_variances(found.variances, feedback)
    note = Text(
        "correlation of units' variances with the diagonal of W(I − ρW)⁻¹; the estimate of ρ is off where they go together",
        "各单元方差与 W(I − ρW)⁻¹ 对角元的相关；两者相关时 ρ 的估计有偏",
    )
    F = float(variances_by_place(found.variances, columns))
    beside = Text(" and column sums of W", "与 W 的列和") if q > 1 else Text("", "")
    words = Text(
        f"cube roots of units' variances on the diagonal of W²{beside.en}; F({q}, {left})",
        f"各单元方差的立方根对 W² 对角元{beside.zh}的回归；F({q}, {left})",
    )
    return [
        t_row(VARIANCES[0], float(t), found.n - 2, note),
        Row(VARIANCES[1], F, float(q), float(f_tail(F, q, left)), words),
    ]


def _spread_row(case: Case) -> Row:
    """No test: of equality of all variances none keeps its level under serial correlation or heavy tails."""
    left = case.errors.squares[1]
    known = left >= left.max() / 2  # of few rows a variance says little
    sd, units = np.sqrt(case.errors.variances[known]), case.panel.units[case.errors.units][known]
    low, high = int(np.argmin(sd)), int(np.argmax(sd))
    shown = f"{sd[low]:.3g} ({units[low]}) – {sd[high]:.3g} ({units[high]})"
    of = (
        Text("", "")
        if known.all()
        else Text("; units with half the rows or more", "；限行数达一半以上的单元")
    )
    note = Text(
        f"{shown}{of.en}; a description: no test of equal variances holds under serial correlation or heavy tails",
        f"{shown}{of.zh}；仅作描述：序列相关或厚尾时没有可靠的等方差检验",
    )
    return Row(SPREAD, float(sd[high] / sd[low]), NAN, NAN, note)


def _between_row(case: Case) -> Row:
    found = within(case.errors)
    a = autocorrelation(found)
    size, usual, p = between_units(found, a, np.random.default_rng(case.seed), DRAWS)
    note = Text(
        f"root mean square correlation between units, {usual:.3f} where they are independent; p from {DRAWS} draws of "
        f"independent errors with first-order correlation {a:.2f}",
        f"单元间相关系数的均方根，独立时为 {usual:.3f}；p 值取自 {DRAWS} 次一阶相关为 {a:.2f} 的独立误差抽样",
    )
    return Row(BETWEEN, size, NAN, p, note)


def _cross_section_rows(case: Case) -> list[Row]:
    e, (_, Z) = case.flat, case.columns()
    bp, kb = core.heteroskedasticity(e, Z)
    df = int((Z.std(axis=0) > 0).sum())
    on = Text("squared least-squares residuals on the regressors", "最小二乘残差平方对自变量的回归")
    notes = (
        Text(f"{on.en}; errors taken as normal", f"{on.zh}；假定误差正态"),
        Text(f"{on.en}; N R², errors of any law", f"{on.zh}；N R²，不要求误差正态"),
        Text("skewness and kurtosis of the least-squares residuals", "最小二乘残差的偏度与峰度"),
    )
    values, restrictions = (float(bp), float(kb), core.normality(e)), (df, df, 2)
    return [chi2_row(*row) for row in zip(CROSS_SECTION, values, restrictions, notes, strict=True)]


def _moran_rows(case: Case) -> list[Row]:
    return [_moran_row(moments, label, where) for label, moments, where in case.moran()]


def _moran_row(m: core.MoranMoments, of: str, where: Text) -> Row:
    note = Text(
        f"I = {m.I:.4f}, expected {m.expected:.4f}; least-squares residuals {where.en}; standard deviate, two-sided",
        f"I = {m.I:.4f}，期望 {m.expected:.4f}；最小二乘残差，{where.zh}；标准化值，双侧",
    )
    return normal_row("Moran of residuals", float(m.z), note, of=of)
