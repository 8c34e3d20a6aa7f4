"""Durbin terms, and what is left of lag and error beside them: score, Wald and likelihood-ratio tests."""

from __future__ import annotations

import numpy as np

from spatial_zb.base.errors import SpecificationError, listed, listed_zh
from spatial_zb.base.results import Row
from spatial_zb.base.text import Text
from spatial_zb.core import Array, f_tail
from spatial_zb.core.likelihood import tests as core
from spatial_zb.hypotheses.case import Case, Step, chi2_row
from spatial_zb.hypotheses.nested import counts, likelihood_ratio_of, wald_common_factor, wald_no_lags
from spatial_zb.models.fit import Fit


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
