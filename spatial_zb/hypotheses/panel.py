"""Tests of a static panel: spatial lag and error, Durbin terms, fixed effects, collinearity, what residuals still hold."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.results import NAN, Row
from spatial_zb.base.text import Text
from spatial_zb.core import Array, f_tail
from spatial_zb.core.likelihood import tests as core
from spatial_zb.core.likelihood.errors import autocorrelation, tied_variances, variances_by_place, within
from spatial_zb.core.likelihood.errors import dependence as between_units
from spatial_zb.core.transforms import FixedEffects, condition_number, demean, variance_inflation, varies
from spatial_zb.hypotheses.case import Case, Step, chi2_row, normal_row, quiet_design, t_row
from spatial_zb.hypotheses.nested import counts, likelihood_ratio_of, wald_common_factor, wald_no_lags
from spatial_zb.hypotheses.over_time import SERIAL, serial_rows
from spatial_zb.models.design import Design, stacked
from spatial_zb.models.fit import Fit

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


# --- Durbin terms, and what is left of lag and error beside them


def durbin(case: Case) -> list[Step]:
    """Each test, the fits it needs made when it is run."""
    return [
        (("F Durbin terms, OLS to SLX",), lambda: _slx(case)),
        (("LM Durbin terms from SAR",), lambda: _durbin_from_sar(case)),
        (("LM common factor from SEM",), lambda: _common_factor_from_sem(case)),
        (("LM error from SAR",), lambda: _error_from_sar(case)),
        (("LM lag from SEM",), lambda: _lag_from_sem(case)),
        (("LM error from SDM",), lambda: _error_from_sdm(case)),
        (("Wald SDM to SAR",), lambda: _wald(case, "SAR")),
        (("LR SDM to SAR",), lambda: _ratio(case, "SAR")),
        (("Wald SDM to SEM",), lambda: _wald(case, "SEM")),
        (("LR SDM to SEM",), lambda: _ratio(case, "SEM")),
    ]


def _note(case: Case, what: Text) -> Text:
    made = case.likelihood_words
    return Text(f"{what.en}; {made.en}", f"{what.zh}；{made.zh}")


def _slx(case: Case) -> list[Row]:
    (y, Z), q = case.columns(case.model(lag_x=case.lagged)), len(case.lagged)
    df = case.observations - Z.shape[1]
    smaller, larger = float((case.flat**2).sum()), core.sum_of_squares(Z, y)
    F = (smaller - larger) / q / (larger / df)
    note = Text(
        f"all θ = 0 in OLS with W_x; exact when errors are normal and ρ = λ = 0; F({q}, {df})",
        f"含 W_x 的 OLS 中全部 θ = 0；误差正态且 ρ = λ = 0 时精确；F({q}, {df})",
    )
    return [Row("F Durbin terms, OLS to SLX", F, float(q), float(f_tail(F, q, df)), note)]


def _coefficients(fit: Fit) -> Array:
    return fit.params[list(fit.spec.terms)].to_numpy()


def _durbin_from_sar(case: Case) -> list[Row]:
    fit, q = case.sar, len(case.lagged)
    delta = np.append(_coefficients(fit), np.zeros(q))
    larger = case.model(lag_y=True, lag_x=case.lagged)
    value = case.score(larger, fit, delta, float(fit.params["rho"]), 0.0)
    note = _note(case, Text("θ = 0, score of SDM at the SAR estimate", "θ = 0，在 SAR 估计处的 SDM 得分"))
    return [chi2_row("LM Durbin terms from SAR", value, q, note)]


def need_nested_sem(case: Case) -> None:
    """Refuse where SEM is not a case of SDM."""
    if set(case.lagged) != set(case.spec.x):
        missing = [name for name in case.spec.x if name not in case.lagged]
        raise SpecificationError(
            f"SEM is a case of SDM only when every regressor is lagged; {listed(missing)} is not. Lag all of x.",
            f"只有全部自变量都有空间滞后时，SEM才是SDM的特例；{listed_zh(missing)}没有。请为全部x加入空间滞后。",
        )
    case.need_nested_weights()


def _common_factor_from_sem(case: Case) -> list[Row]:
    need_nested_sem(case)
    fit, q = case.sem, len(case.spec.x)
    case.need_nested_effects(fit)
    lam = float(fit.params["lam"])
    beta = fit.params[list(case.spec.x)]
    constant = [(1 - lam) * fit.params["(Intercept)"]] if "(Intercept)" in fit.spec.terms else []
    delta = np.concatenate([constant, beta, -lam * beta[list(case.lagged)]])
    larger = case.model(lag_y=True, lag_x=case.lagged)
    value = case.score(larger, fit, delta, lam, 0.0)
    note = _note(
        case, Text("θ + ρβ = 0, score of SDM at the SEM estimate", "θ + ρβ = 0，在 SEM 估计处的 SDM 得分")
    )
    return [chi2_row("LM common factor from SEM", value, q, note)]


def _error_from_sar(case: Case) -> list[Row]:
    fit = case.sar
    larger = case.model(lag_y=True, lag_error=True)
    value = case.score(larger, fit, _coefficients(fit), float(fit.params["rho"]), 0.0)
    note = _note(case, Text("λ = 0 given ρ, at the SAR estimate", "给定 ρ 时 λ = 0，在 SAR 估计处"))
    return [chi2_row("LM error from SAR", value, 1, note)]


def _lag_from_sem(case: Case) -> list[Row]:
    fit = case.sem
    larger = case.model(lag_y=True, lag_error=True)
    value = case.score(larger, fit, _coefficients(fit), 0.0, float(fit.params["lam"]))
    note = _note(case, Text("ρ = 0 given λ, at the SEM estimate", "给定 λ 时 ρ = 0，在 SEM 估计处"))
    return [chi2_row("LM lag from SEM", value, 1, note)]


def _error_from_sdm(case: Case) -> list[Row]:
    fit = case.sdm
    larger = case.model(lag_y=True, lag_x=case.lagged, lag_error=True)
    value = case.score(larger, fit, _coefficients(fit), float(fit.params["rho"]), 0.0)
    note = _note(case, Text("λ = 0 given ρ and θ, at the SDM estimate", "给定 ρ、θ 时 λ = 0，在 SDM 估计处"))
    return [chi2_row("LM error from SDM", value, 1, note)]


#: What θ and ρ satisfy in the smaller model.
RESTRICTION = {
    "SAR": Text("θ = 0", "θ = 0"),
    "SEM": Text("common factor θ + ρβ = 0", "公因子约束 θ + ρβ = 0"),
}


def _wald(case: Case, to: str) -> list[Row]:
    if to == "SEM":
        need_nested_sem(case)
    value, q = (wald_no_lags if to == "SAR" else wald_common_factor)(case.sdm)
    N, left = counts(case.sdm)
    words = _note(case, RESTRICTION[to])
    if to == "SEM":
        words = Text(f"{words.en}{case.spread.en}", f"{words.zh}{case.spread.zh}")
    note = Text(
        f"{words.en}; {left}/{N}/{q} Wald read from F({q}, {left})",
        f"{words.zh}；{left}/{N}/{q} Wald 按 F({q}, {left})",
    )
    return [Row(f"Wald SDM to {to}", value, float(q), core.wald_p_value(value, q, N, left), note)]


def _ratio(case: Case, to: str) -> list[Row]:
    """2(sup ln L − sup ln L₀) over the admissible interval: it needs neither an interior maximum nor a covariance."""
    case.need_likelihood()
    if to == "SEM":
        need_nested_sem(case)
    larger, smaller = case.highest_sdm, case.highest_sar if to == "SAR" else case.highest_sem
    (N, left), q = counts(larger), len(case.lagged)
    ratio = likelihood_ratio_of(larger, smaller)
    words = _note(case, RESTRICTION[to])
    en = f"{words.en}; p with Bartlett's correction, {left} degrees of freedom"
    zh = f"{words.zh}；p 值经 Bartlett 校正，自由度 {left}"
    ends = [fit.spec.family for fit in (larger, smaller) if fit.convergence.at_bound]
    if ends:
        en += f"; likelihood of {listed(ends)} highest at an end of the admissible interval, and taken there"
        zh += f"；{listed_zh(ends)}的似然在容许区间端点处最大，取该处之值"
    return [
        Row(
            f"LR SDM to {to}", ratio, float(q), core.likelihood_ratio_p_value(ratio, q, N, left), Text(en, zh)
        )
    ]


# --- effects, collinearity, dependence

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
