"""Random effects and spatial errors: Baltagi, Song and Koh."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import stats

from spatial_zb.chain_table import Row
from spatial_zb.core import bsk as core
from spatial_zb.core.diagnostics import residual_moran, residuals
from spatial_zb.core.lag import spatial_lag
from spatial_zb.core.random_effects import random_effects_ml
from spatial_zb.core.traces import filter_traces
from spatial_zb.core.within import FixedEffects
from spatial_zb.hypotheses.case import Array, Case, common_means, period_words, quiet_fit
from spatial_zb.hypotheses.rows import NAN, Step, normal_row
from spatial_zb.models.design import stacked
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


def _bsk_note(case: Case, en: str, zh: str) -> Text:
    means = period_words(case)
    centred = (
        Text("; centred for time effects", "；已按时间效应中心化") if case.period_means else Text("", "")
    )
    return Text(f"{en}, {means.en}{centred.en}", f"{zh}，{means.zh}{centred.zh}")


def _bsk_marginal(case: Case) -> list[Row]:
    """Statistics of the paper; p-values by the exact mean and variance of both quadratic forms in the residuals."""
    y, X = common_means(case)
    u = residuals(stacked(X), stacked(y)).reshape(y.shape)
    effects, error = core.bsk_marginal(u, spatial_lag(case.weights.matrix, u), case.moments)
    basis = _basis(case, X)
    p = core.unit_share_p_value(u, basis, case.moments.dimension)
    kind: FixedEffects = "time" if case.period_means else "none"
    z = residual_moran(u, basis, case.weights.matrix, case.moments, kind, case.T).z
    both = max(float(stats.norm.isf(p)), 0.0) ** 2 + z**2
    beta = Text(
        "p from the beta law with the exact mean and variance", "p 值取自具有精确均值与方差的 beta 分布"
    )
    notes = (
        _bsk_note(case, f"pooled residuals, two-sided; {beta.en}", f"混合回归残差，双侧；{beta.zh}"),
        _bsk_note(
            case,
            "p from ½χ²(1) + ½χ²(2) of both marginal tests as normal scores: a variance is not negative",
            "p 值取自两个边际检验正态得分的 ½χ²(1) + ½χ²(2)：方差非负",
        ),
        _bsk_note(case, f"one-sided; {beta.en}", f"单侧；{beta.zh}"),
        _bsk_note(
            case,
            "normal with the exact mean and variance, two-sided",
            "具有精确均值与方差的正态分布，双侧",
        ),
    )
    values = (effects**2, max(effects, 0.0) ** 2 + error**2, effects, error)
    laws = (2 * min(p, 1 - p), core.chi_square_bar(both), p, 2 * float(stats.norm.sf(abs(z))))
    df = (1.0, 2.0, NAN, NAN)
    return [Row(*parts) for parts in zip(MARGINAL, values, df, laws, notes, strict=True)]


def _basis(case: Case, X: Array) -> Array:
    """Orthonormal basis of the regressors (T, n, k), and of the constant unless period means are out."""
    if not case.period_means:
        X = np.concatenate([X, np.ones((*X.shape[:2], 1))], axis=2)
    return _orthonormal(X)


def _orthonormal(X: Array) -> Array:
    columns = stacked(X)
    return np.linalg.qr(columns / np.sqrt((columns**2).sum(axis=0)))[0].reshape(X.shape)


def _bsk_error(case: Case) -> list[Row]:
    y, X = common_means(case)
    u, sigma2, sigma2_one = random_effects_ml(y, X, case.moments.dimension)
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
        case,
        "at the pooled SEM estimate, one-sided; p from the beta law of a sum of unit squares with its mean given λ",
        "混合 SEM 估计处，单侧；p 值取自个体平方和的 beta 分布（均值为给定 λ 时的均值）",
    )
    basis = _orthonormal(fit.design.Z - lam * fit.design.WZ)
    p = core.random_given_error_p_value(value, basis, W.matrix, lam, traces, case.moments)
    return [Row("LM random effects given spatial error (BSK)", value, NAN, p, note)]
