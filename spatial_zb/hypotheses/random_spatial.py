"""Random or fixed unit effects beside spatial lags: Hausman's test and Mundlak's by maximum likelihood."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from spatial_zb.chain_table import Row
from spatial_zb.core.covariance import information, inverse_or_nan
from spatial_zb.core.diagnostics import quadratic_form
from spatial_zb.core.orthogonal import orthogonal_base
from spatial_zb.core.random_centred import CentredLogDet, centred_weights, period_basis, rotated
from spatial_zb.core.random_effects import hausman
from spatial_zb.core.random_information import random_information
from spatial_zb.core.random_ml import RandomMaximum, maximise_random
from spatial_zb.core.random_profile import random_profile
from spatial_zb.core.spatial_ml import Maximum
from spatial_zb.core.traces import DENSE_UNITS, filter_traces
from spatial_zb.core.unit_spread import make_spread
from spatial_zb.core.within import transformed_sample
from spatial_zb.errors import ConvergenceError, DataError, SpecificationError
from spatial_zb.hypotheses.case import Array, Case, quiet_design, quiet_fit
from spatial_zb.hypotheses.rows import NAN, Step, chi2_row
from spatial_zb.models.design import stacked
from spatial_zb.models.fit import Fit
from spatial_zb.models.ml import filtered_mean, residual_arrays
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.text import Text

__all__ = ["RandomEstimate", "random_estimate", "random_spatial", "spatial_hausman", "within_covariance"]


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


def random_estimate(case: Case, mundlak: tuple[str, ...] = ()) -> RandomEstimate:
    """Estimate the specification with random unit effects and, if asked, unit means of its regressors."""
    _need_transform(case)
    spec, W, logdet = _unit_model(case, "random", mundlak), case.weights.matrix, case.weights.logdet
    design = quiet_design(case, spec)
    y, Wy, Z, lags, terms = design.y, design.Wy, design.Z, (design.WZ, design.Wy, design.WWy), spec.terms
    if case.period_means:
        F = period_basis(case.n)
        Z, terms = Z[:, :, 1:], terms[1:]  # the intercept is a period effect
        lags = (None if design.WZ is None else design.WZ[:, :, 1:], design.Wy, design.WWy)
        lags = tuple(None if values is None else rotated(values, F) for values in lags)
        y, Wy, Z = (rotated(values, F) for values in (y, Wy, Z))
        W, logdet = centred_weights(W, F), CentredLogDet(logdet)
    lagged = None if lags[0] is None else tuple(map(stacked, lags))
    spread = make_spread(W) if spec.lag_error and spec.error_structure == "baltagi" else None
    base = orthogonal_base(stacked(Z), stacked(y), stacked(Wy), lagged)
    best = maximise_random(random_profile(base, y.shape, spread, logdet), spec.lag_y, spec.lag_error)
    BZ = Z if lags[0] is None else Z - best.lam * lags[0]
    mean = Z @ best.delta
    slope = filtered_mean(W, mean, best.rho, best.lam) if spec.lag_y else np.zeros_like(mean)
    k = len(terms)
    on = (spec.lag_y, spec.lag_error, not best.at_zero, True)
    active = [*range(k), *(k + i for i in range(4) if on[i])]
    info = random_information(BZ, slope, W, best, spread)
    cov, positive = inverse_or_nan(info[np.ix_(active, active)])
    if best.at_bound or not positive:
        raise ConvergenceError(
            f"the {spec.family} fit with random effects has no interior maximum or no covariance.",
            f"{spec.family}的随机效应拟合没有内部极大值，或没有协方差。",
        )
    return RandomEstimate(terms, best, cov[:k, :k])


def _need_transform(case: Case) -> None:
    if case.n > DENSE_UNITS:
        raise SpecificationError(
            f"the information of random effects needs dense {case.n} × {case.n} matrices and stops at {DENSE_UNITS} units.",
            f"随机效应的信息矩阵需要{case.n} × {case.n}的稠密矩阵，至多{DENSE_UNITS}个单元。",
        )
    if case.period_means and not case.weights.row_normalised:
        raise SpecificationError(
            f"period effects are transformed away only under a row-normalised W, and {case.weights.label!r} is not. Use "
            'W.standardise("row"), or unit effects only.',
            f"只有W按行标准化时才能以变换消去时间效应，而{case.weights.label!r}不是。"
            '请用W.standardise("row")，或只含个体效应。',
        )


def _unit_model(case: Case, effects: str, mundlak: tuple[str, ...] = ()) -> DurbinSpec:
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
    fixed = quiet_fit(case, _unit_model(case, "two_way" if case.period_means else "unit"), "lee_yu")
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
    sample = transformed_sample(case.n, case.T, fixed.spec.transform, "lee_yu")
    traces = filter_traces(case.weights.matrix, case.weights.logdet, best.rho, best.lam, sample.centred)
    info = information(residual_arrays(fixed.design, at), traces, best.sigma2, sample)
    k = len(terms)
    active = [*range(k), *([k] if case.spec.lag_y else []), *([k + 1] if case.spec.lag_error else []), k + 2]
    return inverse_or_nan(info[np.ix_(active, active)])[0][:k, :k]


def _spatial_mundlak(case: Case) -> list[Row]:
    means = [term for term in _unit_model(case, "random", case.spec.x).terms if term.startswith("mean_")]
    q, left = len(means), case.n - 1 - len(means)
    if left < 1:
        raise DataError(
            f"{case.n} units cannot carry {q} unit means. Drop regressors or lags.",
            f"{case.n}个单元不足以估计{q}个个体均值的系数。请减少自变量或空间滞后。",
        )
    wald = quadratic_form(*random_estimate(case, case.spec.x).of(means))
    # Maximum likelihood divides the variance between units by their number; its degrees of freedom are those of the means.
    units = case.n - case.period_means
    F = wald / q * left / units
    words = _spatial_words(case)
    note = Text(
        f"unit means of x and W_x add nothing to random effects, {words.en}; never negative; Wald × {left}/{units}/{q} "
        f"read from F({q}, {left})",
        f"x 与 W_x 的个体均值系数为零（相关随机效应），{words.zh}；不会为负；Wald × {left}/{units}/{q}，"
        f"按 F({q}, {left})",
    )
    return [Row("Mundlak, spatial", F, float(q), float(stats.f.sf(F, q, left)), note)]
