"""Tests of random against fixed unit effects, with and without spatial lags, and with spatial errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from spatial_zb.base.errors import ConvergenceError, DataError, SpecificationError
from spatial_zb.base.results import NAN, Row
from spatial_zb.base.text import Text
from spatial_zb.core import Array, f_tail
from spatial_zb.core.laws import solve_all
from spatial_zb.core.likelihood import Maximum
from spatial_zb.core.likelihood.covariance import information, inverse_or_nan
from spatial_zb.core.likelihood.tests import quadratic_form, residual_moran, residuals
from spatial_zb.core.logdet.traces import DENSE_UNITS, filter_traces
from spatial_zb.core.random import PlainLogDet, make_spread, random_profile
from spatial_zb.core.random import tests as core
from spatial_zb.core.random.maximum import (
    RandomMaximum,
    even_variances,
    maximise_random,
    random_information,
    spread_variances,
)
from spatial_zb.core.random.tests import (
    CentredLogDet,
    centred_weights,
    hausman,
    period_basis,
    random_effects_ml,
    rotated,
)
from spatial_zb.core.transforms import FixedEffects, demean, orthogonal_base, spatial_lag, varies
from spatial_zb.hypotheses.case import (
    Case,
    Step,
    chi2_row,
    normal_row,
    quiet_design,
    quiet_fit,
)
from spatial_zb.models.certainty import estimated, evaluated, filtered_mean
from spatial_zb.models.design import stacked
from spatial_zb.models.fit import Fit
from spatial_zb.models.spec import DurbinSpec, Effects

#: Tests from residuals without unit effects.
MARGINAL = (
    "LM random effects (Breusch-Pagan)",
    "LM random effects and spatial error, joint (BSK)",
    "LM random effects, marginal (BSK)",
    "LM spatial error, marginal (BSK)",
)


@dataclass(frozen=True, slots=True)
class RandomSource:
    """Panels y* (R, T, n) from a mean (T, n), normal unit effects and normal errors, spread by ρ, and by λ.

    ``whole`` says that the unit effects spread as the errors do (Kapoor, Kelejian & Prucha).
    """

    mean: Array
    unit: float
    noise: float
    matrix: Any = None
    rho: float = 0.0
    lam: float = 0.0
    whole: bool = False

    def each(self, streams: Sequence[np.random.Generator]) -> Array:
        """One from each stream."""
        n = self.mean.shape[1]
        drawn = [(rng.standard_normal((1, n)), rng.standard_normal(self.mean.shape)) for rng in streams]
        mu, e = self.unit * np.array([one for one, _ in drawn]), self.noise * np.array([e for _, e in drawn])
        e = solve_all(self.matrix, self.lam, e)
        mu = solve_all(self.matrix, self.lam, mu) if self.whole else mu
        return solve_all(self.matrix, self.rho, self.mean + mu + e)


def common_means(case: Case) -> tuple[Array, Array]:
    """y (T, n) and X (T, n, k), off the period means where the specification has time effects, else the mean."""
    y, X = case.panel.array(case.spec.y), case.panel.array(list(case.spec.x))
    if case.period_means:
        return demean(y, "time"), demean(X, "time")
    return y - y.mean(), X - X.mean(axis=(0, 1))


def period_words(case: Case) -> Text:
    """What :func:`common_means` took out."""
    if case.period_means:
        return Text("period means taken out", "已去除各期均值")
    return Text("without time effects", "不含时间效应")


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
    lagged = spatial_lag(case.weights.matrix, u)
    effects, error = map(float, core.bsk_marginal(u, lagged, case.moments))
    basis = _basis(case, X)
    p = core.unit_share_p_value(u, basis, case.moments.dimension)
    kind: FixedEffects = "time" if case.period_means else "none"
    z = float(residual_moran(u, basis, case.weights.matrix, case.moments, kind, case.T).z)
    both = max(float(-special.ndtri(p)), 0.0) ** 2 + z**2
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
    laws = (2 * min(p, 1 - p), core.chi_square_bar(float(both)), p, 2 * float(special.ndtr(-abs(z))))
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
    u, sigma2, sigma2_one = (found[0] for found in random_effects_ml(y[None], X, case.moments.dimension))
    value = float(core.bsk_error_given_random(u, case.weights.matrix, sigma2, sigma2_one, case.moments))
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
    value = float(core.bsk_random_given_error(fit.residuals, W.matrix, lam, fit.sigma2, traces, case.moments))
    note = _bsk_note(
        case,
        "at the pooled SEM estimate, one-sided; p from the beta law of a sum of unit squares with its mean given λ",
        "混合 SEM 估计处，单侧；p 值取自个体平方和的 beta 分布（均值为给定 λ 时的均值）",
    )
    basis = _orthonormal(fit.design.Z - lam * fit.design.lags[0])
    p = core.random_given_error_p_value(value, basis, W.matrix, lam, traces, case.moments)
    return [Row("LM random effects given spatial error (BSK)", value, NAN, p, note)]


def random_effects(case: Case) -> list[Step]:
    """Hausman's test and Mundlak's."""
    if case.T == 1:
        return []
    return [(("Hausman", "Mundlak"), lambda: _hausman(case))]


def _hausman(case: Case) -> list[Row]:
    y, X = common_means(case)
    varying, left = need_varying(case, X), case.n - 1 - X.shape[2]
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


def need_varying(case: Case, X: Array) -> NDArray[np.bool_]:
    """(k,) which regressors (T, n, k) change over time; refuse where none does, or where units are too few."""
    if case.n - 1 - X.shape[2] <= 0:
        raise DataError(
            f"{case.n} units cannot carry a regression of unit means on {X.shape[2]} regressors. Drop regressors.",
            f"{case.n}个单元不足以把个体均值对{X.shape[2]}个自变量回归。请减少自变量。",
        )
    varying = varies(X, demean(X, "unit"))
    if not varying.any():
        raise DataError("no regressor changes over time.", "没有随时间变化的自变量。")
    return varying


def _hausman_row(case: Case, value: float, usual: float, q: int, left: int) -> Row:
    means = period_words(case)
    own = Text(f"{usual:.2f}", f"{usual:.2f}") if np.isfinite(usual) else Text("undefined", "无定义")
    note = Text(
        f"within against Swamy-Arora GLS, no spatial lags, {means.en}, both with the σ² of GLS; H/{q} read from "
        f"F({q}, {left}); with a σ² of each, as software prints by default: {own.en}",
        f"组内估计与 Swamy-Arora GLS 之比较，无空间滞后，{means.zh}，均用 GLS 的 σ²；H/{q} 按 F({q}, {left})；"
        f"各用自身 σ²（软件的默认做法）：{own.zh}",
    )
    return Row("Hausman", value, float(q), float(f_tail(value / q, q, left)), note)


def _mundlak_row(case: Case, wald: float, q: int, left: int) -> Row:
    means = period_words(case)
    F = wald / q
    note = Text(
        f"unit means of x add nothing (correlated random effects), {means.en}; never negative; F({q}, {left})",
        f"x 的个体均值系数为零（相关随机效应），{means.zh}；不会为负；F({q}, {left})",
    )
    return Row("Mundlak", F, float(q), float(f_tail(F, q, left)), note)


def random_spatial(case: Case) -> list[Step]:
    """Both tests, where the specification has a spatial lag or error."""
    if case.T == 1 or not case.spec.spatial_terms:
        return []
    return [
        (("Hausman, spatial",), lambda: spatial_hausman(case)),
        (("Mundlak, spatial",), lambda: _spatial_mundlak(case)),
    ]


@dataclass(frozen=True)
class RandomEstimate:
    """Maximum likelihood with random unit effects; period effects, where there are any, transformed away.

    ``terms`` (k) without the intercept when they are; ``cov`` (k, k) of the coefficients, with all others estimated.
    """

    terms: tuple[str, ...]
    best: RandomMaximum
    cov: Array

    def of(self, names: list[str]) -> tuple[Array, Array]:
        """Coefficients of some terms and their covariance."""
        at = [self.terms.index(name) for name in names]
        return self.best.delta[at], self.cov[np.ix_(at, at)]


def random_estimate(case: Case, mundlak: Sequence[str] = ()) -> RandomEstimate:
    """Estimate the specification with random unit effects and, if asked, unit means of its regressors."""
    spec, weights = unit_model(case, "random", mundlak), case.weights
    apart, units = spec.lag_error and spec.error_structure == "baltagi", case.n  # μ does not spread with ε
    need_transform(case, apart)
    logdet: PlainLogDet = weights.logdet
    design = quiet_design(case, spec)
    y, Wy, Z, W, terms = design.y, design.Wy, design.Z, weights.matrix, spec.terms
    lags = design.lags if spec.lag_error else None
    if case.period_means:
        F = period_basis(case.n) if apart else None
        off = partial(demean, effects="time") if F is None else partial(rotated, basis=F)
        W = W if F is None else centred_weights(W, F)
        units, Z, terms = units - 1, Z[:, :, 1:], terms[1:]  # the intercept is a period effect
        lags = lags and (off(lags[0][:, :, 1:]), off(lags[1]))
        y, Wy, Z, logdet = off(y), off(Wy), off(Z), CentredLogDet(weights.logdet)
    lagged = None if lags is None else (stacked(lags[0]), stacked(Wy), stacked(lags[1]))
    spread = make_spread(W) if apart else None
    base = orthogonal_base(stacked(Z), stacked(y), stacked(Wy), lagged)
    profile = replace(random_profile(base, y.shape, spread, logdet), n=units)
    best = maximise_random(profile, spec.lag_y, spec.lag_error)
    BZ = Z if lags is None else Z - best.lam * lags[0]
    mean = Z @ best.delta
    slope = filtered_mean(W, mean, best.rho, best.lam) if spec.lag_y else np.zeros_like(mean)
    if case.period_means and not apart:
        slope = demean(slope, "time")
    k = len(terms)
    on = (spec.lag_y, spec.lag_error, not best.at_zero, True)
    active = [*range(k), *(k + i for i in range(4) if on[i])]
    traces = filter_traces(weights.matrix, weights.logdet, best.rho, best.lam, case.period_means)
    if spread is None:
        variances = even_variances(traces, units, case.T, best)
    else:
        variances = spread_variances(W, traces, case.T, best, spread)
    info = random_information(BZ, slope, best, spread, variances)
    cov, positive = inverse_or_nan(info[np.ix_(active, active)])
    if best.at_bound or not positive:
        raise ConvergenceError(
            f"the {spec.family} fit with random effects has no interior maximum or no covariance.",
            f"{spec.family}的随机效应拟合没有内部极大值，或没有协方差。",
        )
    return RandomEstimate(terms, best, cov[:k, :k])


def need_transform(case: Case, apart: bool = True) -> None:
    """Refuse what the transform of random effects cannot do; ``apart``: unit effects do not spread with the errors."""
    if case.period_means and apart and case.n > DENSE_UNITS:
        raise SpecificationError(
            "period effects beside random unit effects that do not spread with the errors need dense "
            f"{case.n} × {case.n} matrices and stop at {DENSE_UNITS} units.",
            f"个体效应不随误差扩散时，消去时间效应需要{case.n} × {case.n}的稠密矩阵，至多{DENSE_UNITS}个单元。",
        )
    if case.period_means and not case.weights.row_normalised:
        raise SpecificationError(
            f"period effects are transformed away only under a row-normalised W, and {case.weights.label!r} is not. Use "
            'W.standardise("row"), or unit effects only.',
            f"只有W按行标准化时才能以变换消去时间效应，而{case.weights.label!r}不是。"
            '请用W.standardise("row")，或只含个体效应。',
        )


def unit_model(case: Case, effects: Effects, mundlak: Sequence[str] = ()) -> DurbinSpec:
    """The specification with other effects, and unit means of some regressors."""
    s = case.spec
    return DurbinSpec(
        s.y,
        s.x,
        s.lag_y,
        s.lag_x,
        s.lag_error,
        fixed_effects=effects,
        error_structure=s.error_structure,
        mundlak=mundlak,
    )


def _spatial_words(case: Case) -> Text:
    en, zh = f"{case.spec.family} by maximum likelihood", f"{case.spec.family}，极大似然"
    if case.period_means:
        en, zh = f"{en}, time effects transformed away", f"{zh}，时间效应已变换消去"
    return Text(en, zh)


def spatial_hausman(case: Case) -> list[Row]:
    """d'(V_FE − V_RE)⁻¹d of the coefficients of x and W_x, both variances at the random-effects estimate."""
    random = random_estimate(case)
    fixed = quiet_fit(case, unit_model(case, "two_way" if case.period_means else "unit"), "lee_yu")
    names = [*case.spec.x, *(f"W_{name}" for name in case.spec.lag_x)]
    delta, cov = random.of(names)
    difference = fixed.params[names].to_numpy() - delta
    value = hausman(difference, within_covariance(case, fixed, random), cov)
    words = _spatial_words(case)
    note = Text(
        f"coefficients of x and W_x, fixed against random unit effects, both variances at the latter, {words.en}",
        f"x 与 W_x 的系数，固定与随机个体效应之比较，两个方差均取随机效应估计处，{words.zh}",
    )
    if not np.isfinite(value):
        note = Text(
            f"undefined: V_FE − V_RE is not positive definite; read the spatial Mundlak test; {note.en}",
            f"无定义：V_FE − V_RE 非正定；请看空间 Mundlak 检验；{note.zh}",
        )
    return [chi2_row("Hausman, spatial", value, len(names), note)]


def within_covariance(case: Case, fixed: Fit, random: RandomEstimate) -> Array:
    """Covariance of the fixed-effects coefficients (in the order of the fit) at the random-effects estimate.

    The likelihood with random effects is that of the deviations times that of the means, so that at one point its
    information is larger by that of the means, and V_FE − V_RE is positive definite.
    """
    best, terms = random.best, fixed.spec.terms
    at = Maximum(best.rho, best.lam, random.of(list(terms))[0], best.sigma2, NAN, False, 0.0, ())
    found = evaluated(fixed.design, "lee_yu", at, fixed.design.sample())
    info = information(found.parts, found.traces, best.sigma2, found.sample)
    k, active = len(terms), estimated(fixed.spec)
    return inverse_or_nan(info[np.ix_(active, active)])[0][:k, :k]


def _spatial_mundlak(case: Case) -> list[Row]:
    means = [term for term in unit_model(case, "random", case.spec.x).terms if term.startswith("mean_")]
    q, left, units = len(means), case.n - 1 - len(means), case.n - case.period_means
    if left < 1:
        raise DataError(
            f"{case.n} units cannot carry {q} unit means. Drop regressors or lags.",
            f"{case.n}个单元不足以估计{q}个个体均值的系数。请减少自变量或空间滞后。",
        )
    F = float(mundlak_f(case, quadratic_form(*random_estimate(case, case.spec.x).of(means)), q))
    words = _spatial_words(case)
    note = Text(
        f"unit means of x and W_x add nothing to random effects, {words.en}; never negative; Wald × {left}/{units}/{q} "
        f"read from F({q}, {left})",
        f"x 与 W_x 的个体均值系数为零（相关随机效应），{words.zh}；不会为负；Wald × {left}/{units}/{q}，"
        f"按 F({q}, {left})",
    )
    return [Row("Mundlak, spatial", F, float(q), float(f_tail(F, q, left)), note)]


def mundlak_f(case: Case, wald: Array, means: int) -> Array:
    """F (…) of so many unit means from their Wald statistic (…) by maximum likelihood.

    It divides the variance between units by their number; its degrees of freedom are those of the means.
    """
    return wald / means * (case.n - 1 - means) / (case.n - case.period_means)
