"""Random effects and spatial errors: Baltagi, Song and Koh."""

from __future__ import annotations

from dataclasses import replace

from spatial_zb.core import diagnostics as core
from spatial_zb.core.lag import spatial_lag
from spatial_zb.core.traces import filter_traces
from spatial_zb.core.within import FixedEffects
from spatial_zb.hypotheses.case import Array, Case, common_means, period_words, quiet_fit
from spatial_zb.hypotheses.rows import Step, chi2_row, normal_row
from spatial_zb.models.design import stacked
from spatial_zb.recommendation import Row
from spatial_zb.text import Text

__all__ = ["bsk"]

#: Tests from residuals without unit effects.
MARGINAL = (
    "LM random effects (Breusch-Pagan)",
    "LM random effects and spatial error, joint (BSK)",
    "LM random effects, marginal (BSK)",
    "LM spatial error, marginal (BSK)",
)


def bsk(case: Case) -> list[Step]:
    """Marginal, joint and conditional tests."""
    if case.T == 1:
        return []
    return [
        (MARGINAL, lambda: _bsk_marginal(case)),
        (("LM spatial error given random effects (BSK)",), lambda: _bsk_error(case)),
        (("LM random effects given spatial error (BSK)",), lambda: _bsk_random(case)),
    ]


def _pooled_residuals(case: Case) -> Array:
    y, X = common_means(case)
    return core.residuals(stacked(X), stacked(y)).reshape(y.shape)


def _bsk_note(case: Case, en: str, zh: str) -> Text:
    means = period_words(case)
    centred = (
        Text("; centred for time effects", "；已按时间效应中心化") if case.period_means else Text("", "")
    )
    return Text(f"{en}, {means.en}{centred.en}", f"{zh}，{means.zh}{centred.zh}")


def _bsk_marginal(case: Case) -> list[Row]:
    u = _pooled_residuals(case)
    effects, error = core.bsk_marginal(u, spatial_lag(case.weights.matrix, u), case.moments)
    joint = max(effects, 0.0) ** 2 + error**2
    return [
        chi2_row(
            MARGINAL[0], effects**2, 1, _bsk_note(case, "pooled residuals, two-sided", "混合回归残差，双侧")
        ),
        Row(
            MARGINAL[1],
            joint,
            2.0,
            core.chi_square_bar(joint),
            _bsk_note(
                case,
                "p from ½χ²(1) + ½χ²(2): a variance is not negative",
                "p 值取自 ½χ²(1) + ½χ²(2)：方差非负",
            ),
        ),
        normal_row(
            MARGINAL[2],
            effects,
            _bsk_note(case, "standard normal, one-sided", "标准正态，单侧"),
            one_sided=True,
        ),
        normal_row(MARGINAL[3], error, _bsk_note(case, "standard normal, two-sided", "标准正态，双侧")),
    ]


def _bsk_error(case: Case) -> list[Row]:
    y, X = common_means(case)
    u, sigma2, sigma2_one = core.random_effects_ml(y, X, case.moments.dimension)
    value = core.bsk_error_given_random(u, case.weights.matrix, sigma2, sigma2_one, case.moments)
    note = _bsk_note(
        case,
        "at the random-effects ML estimate, standard normal, two-sided",
        "随机效应极大似然估计处，标准正态，双侧",
    )
    return [normal_row("LM spatial error given random effects (BSK)", value, note)]


def _bsk_random(case: Case) -> list[Row]:
    kind: FixedEffects = "time" if case.period_means else "none"
    spec = replace(case.model(lag_error=True), fixed_effects=kind)
    fit = quiet_fit(replace(case, estimator="lee_yu"), spec)  # the likelihood whose score this is
    lam, W = float(fit.params["lam"]), case.weights
    traces = filter_traces(W.matrix, W.logdet, 0.0, lam, case.period_means)
    value = core.bsk_random_given_error(fit.residuals, W.matrix, lam, fit.sigma2, traces, case.moments)
    note = _bsk_note(
        case, "at the pooled SEM estimate, standard normal, one-sided", "混合 SEM 估计处，标准正态，单侧"
    )
    return [normal_row("LM random effects given spatial error (BSK)", value, note, one_sided=True)]
