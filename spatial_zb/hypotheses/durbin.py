"""Durbin terms, and what is left of lag and error beside them: score, Wald and likelihood-ratio tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from spatial_zb.base.errors import SpecificationError, listed, listed_zh
from spatial_zb.base.results import NAN, Row
from spatial_zb.base.text import Text
from spatial_zb.core import Array, f_tail
from spatial_zb.core.likelihood import Maximum
from spatial_zb.core.likelihood import tests as core
from spatial_zb.core.likelihood.shape import Shape, ShapeEstimate, ShapeScore, estimate_at
from spatial_zb.core.likelihood.shape_covariance import ShapePoint
from spatial_zb.core.likelihood.shape_rows import RowFilter, row_feedback, row_places
from spatial_zb.core.transforms import FixedEffects
from spatial_zb.core.unit_rows import row_moran
from spatial_zb.hypotheses.case import Case, Likelihood, Step, chi2_row, effects_words, quiet_design
from spatial_zb.hypotheses.nested import counts, likelihood_ratio_of, wald_common_factor, wald_no_lags
from spatial_zb.models.certainty import estimated, evaluated
from spatial_zb.models.design import Design, stacked
from spatial_zb.models.fit import Fit
from spatial_zb.models.shape import DENSE_EFFECTS, Lags, ShapeDesign, build_shape, fit_shape
from spatial_zb.models.spec import DurbinSpec


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


def _likelihood_note(case: Case, what: Text) -> Text:
    if case.T == 1 and not isinstance(case, ShapeCase):
        return Text(f"{what.en}; likelihood with an intercept", f"{what.zh}；含截距的似然")
    words = case.words
    if isinstance(case, ShapeCase):
        return Text(f"{what.en}; adjusted score, {words.en}", f"{what.zh}；调整得分，{words.zh}")
    label = {"lee_yu": Text("Lee-Yu", "Lee-Yu"), "direct": Text("direct", "直接")}[case.estimator]
    en = f"{what.en}; {label.en} likelihood, {words.en}"
    zh = f"{what.zh}；{label.zh}似然，{words.zh}"
    if case.estimator == "direct" and case.period_means:
        en += "; direct ML with time effects is biased, prefer lee_yu"
        zh += "；含时间效应的直接极大似然有偏，宜用 lee_yu"
    return Text(en, zh)


def _slx(case: Case) -> list[Row]:
    Z, q = rows_of(case, case.model(lag_x=case.lagged))[0], len(case.lagged)
    df = case.observations - Z.shape[1]
    smaller = float((case.flat[0] ** 2).sum())
    larger = core.sum_of_squares(Z, rows_of(case)[1])
    F = (smaller - larger) / q / (larger / df)
    note = Text(
        f"all θ = 0 in OLS with W_x; exact when errors are normal and ρ = λ = 0; F({q}, {df})",
        f"含 W_x 的 OLS 中全部 θ = 0；误差正态且 ρ = λ = 0 时精确；F({q}, {df})",
    )
    return [Row("F Durbin terms, OLS to SLX", F, float(q), float(f_tail(F, q, df)), note)]


def _score(case: Case, larger: DurbinSpec, fit: Fit, delta: Array, rho: float, lam: float) -> float:
    """LM statistic of a restricted estimate in a larger model."""
    if isinstance(case, ShapeCase):
        return _score_of_rows(case, larger, fit)
    design = quiet_design(case, larger)
    best = Maximum(rho, lam, delta, fit.sigma2, NAN, False, 0.0, ())
    at = evaluated(design, case.estimator, best, design.sample(case.estimator))
    return float(core.score_test(at.parts, at.traces, fit.sigma2, at.sample, estimated(larger)))


def _coefficients(fit: Fit) -> Array:
    return fit.params[list(fit.spec.terms)].to_numpy()


def _durbin_from_sar(case: Case) -> list[Row]:
    fit, q = case.sar, len(case.lagged)
    delta = np.append(_coefficients(fit), np.zeros(q))
    larger = case.model(lag_y=True, lag_x=case.lagged)
    value = _score(case, larger, fit, delta, float(fit.params["rho"]), 0.0)
    note = _likelihood_note(
        case, Text("θ = 0, score of SDM at the SAR estimate", "θ = 0，在 SAR 估计处的 SDM 得分")
    )
    return [chi2_row("LM Durbin terms from SAR", value, q, note)]


def need_nested_sem(case: Case) -> None:
    """Refuse where SEM is not a case of SDM."""
    if set(case.lagged) != set(case.spec.x):
        missing = [name for name in case.spec.x if name not in case.lagged]
        raise SpecificationError(
            f"SEM is a case of SDM only when every regressor is lagged; {listed(missing)} is not. Lag all of x.",
            f"只有全部自变量都有空间滞后时，SEM才是SDM的特例；{listed_zh(missing)}没有。请为全部x加入空间滞后。",
        )
    if isinstance(case, ShapeCase):
        if case.lags.x is not case.lags.y:
            raise SpecificationError(
                "SEM is a case of SDM only when x and y have one W, and here x has its own. Drop W_x.",
                "只有x与y共用一个W时，SEM才是SDM的特例；此处x另有W。请去掉W_x。",
            )
        return
    if case.effects != "unit" and not case.weights.row_normalised:
        raise SpecificationError(
            f"SEM is a case of SDM only when W maps the effects into themselves; {case.weights.label!r} is not "
            'row-normalised. Use W.standardise("row"), or unit effects only.',
            f"只有W把效应映射为自身时，SEM才是SDM的特例；{case.weights.label!r}未按行标准化。"
            '请用W.standardise("row")，或只含个体效应。',
        )


def _common_factor_from_sem(case: Case) -> list[Row]:
    need_nested_sem(case)
    fit, q = case.sem, len(case.spec.x)
    if isinstance(case, ShapeCase) and not _keeps_effects(case, fit):
        raise SpecificationError(
            "W does not map the effects of this panel into themselves: SEM is no case of SDM. Read the Wald test.",
            "W不把此面板的效应映射为自身，SEM因而不是SDM的特例。请看Wald检验。",
        )
    lam = float(fit.params["lam"])
    beta = fit.params[list(case.spec.x)]
    constant = [(1 - lam) * fit.params["(Intercept)"]] if "(Intercept)" in fit.spec.terms else []
    delta = np.concatenate([constant, beta, -lam * beta[list(case.lagged)]])
    larger = case.model(lag_y=True, lag_x=case.lagged)
    value = _score(case, larger, fit, delta, lam, 0.0)
    note = _likelihood_note(
        case, Text("θ + ρβ = 0, score of SDM at the SEM estimate", "θ + ρβ = 0，在 SEM 估计处的 SDM 得分")
    )
    return [chi2_row("LM common factor from SEM", value, q, note)]


def _error_from_sar(case: Case) -> list[Row]:
    fit = case.sar
    larger = case.model(lag_y=True, lag_error=True)
    value = _score(case, larger, fit, _coefficients(fit), float(fit.params["rho"]), 0.0)
    note = _likelihood_note(
        case, Text("λ = 0 given ρ, at the SAR estimate", "给定 ρ 时 λ = 0，在 SAR 估计处")
    )
    return [chi2_row("LM error from SAR", value, 1, note)]


def _lag_from_sem(case: Case) -> list[Row]:
    fit = case.sem
    larger = case.model(lag_y=True, lag_error=True)
    value = _score(case, larger, fit, _coefficients(fit), 0.0, float(fit.params["lam"]))
    note = _likelihood_note(
        case, Text("ρ = 0 given λ, at the SEM estimate", "给定 λ 时 ρ = 0，在 SEM 估计处")
    )
    return [chi2_row("LM lag from SEM", value, 1, note)]


def _error_from_sdm(case: Case) -> list[Row]:
    fit = case.sdm
    larger = case.model(lag_y=True, lag_x=case.lagged, lag_error=True)
    value = _score(case, larger, fit, _coefficients(fit), float(fit.params["rho"]), 0.0)
    note = _likelihood_note(
        case, Text("λ = 0 given ρ and θ, at the SDM estimate", "给定 ρ、θ 时 λ = 0，在 SDM 估计处")
    )
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
    words = _likelihood_note(case, RESTRICTION[to])
    if to == "SEM" and isinstance(case, ShapeCase):
        spread = Text("of an SEM whose effects spread as its errors do", "对应效应与误差同样扩散的SEM")
        words = Text(f"{words.en}; {spread.en}", f"{words.zh}；{spread.zh}")
    note = Text(
        f"{words.en}; {left}/{N}/{q} Wald read from F({q}, {left})",
        f"{words.zh}；{left}/{N}/{q} Wald 按 F({q}, {left})",
    )
    return [Row(f"Wald SDM to {to}", value, float(q), core.wald_p_value(value, q, N, left), note)]


def _ratio(case: Case, to: str) -> list[Row]:
    """2(sup ln L − sup ln L₀) over the admissible interval: it needs neither an interior maximum nor a covariance."""
    if isinstance(case, ShapeCase):
        raise SpecificationError(
            "The adjusted score has no likelihood on a panel of this shape. Read the Wald test.",
            "此形态面板的调整得分没有似然。请看Wald检验。",
        )
    if to == "SEM":
        need_nested_sem(case)
    larger, smaller = case.highest_sdm, case.highest_sar if to == "SAR" else case.highest_sem
    (N, left), q = counts(larger), len(case.lagged)
    ratio = likelihood_ratio_of(larger, smaller)
    words = _likelihood_note(case, RESTRICTION[to])
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


# --- panels of any shape, by the adjusted score


@dataclass(frozen=True, eq=False, kw_only=True)
class ShapeCase(Case):
    """The same on a panel of any shape, by the adjusted score: statistics on rows (N,), W of each period and lag."""

    lags: Lags
    reasons: tuple[str, ...]
    #: Of which this is a redraw.
    first: ShapeCase | None = None

    @property
    def n(self) -> int:
        return len(self.panel.units)

    @property
    def rows(self) -> int:
        return len(self.shape.Z)

    @property
    def observations(self) -> int:
        return self.shape.free

    @property
    def shape(self) -> Shape:
        """That of least squares."""
        return self.own(self.design).shape

    @property
    def words(self) -> Text:
        return effects_words(str(self.design.spec.fixed_effects))

    @property
    def within(self) -> bool:
        return bool(self.shape.effects.own)

    @property
    def period_means(self) -> bool:
        """Whether effects of periods are among the effects, alone or in a product."""
        return any("period" in name.split("*") for name in self.design.spec.effects)

    @staticmethod
    def own(design: Design) -> ShapeDesign:
        assert isinstance(design, ShapeDesign), "of any shape"
        return design

    def model(self, lag_y: bool = False, lag_x: Sequence[str] = (), lag_error: bool = False) -> DurbinSpec:
        fixed = self.design.spec.fixed_effects
        return DurbinSpec(self.spec.y, self.spec.x, lag_y, lag_x, lag_error, fixed_effects=fixed)

    def made(self, spec: DurbinSpec) -> ShapeDesign:
        if self.first is None:
            return build_shape(spec, self.panel, self.lags, self.reasons)
        return replace(self.first.shaped(spec), values=self.own(self.design).values)

    def shaped(self, spec: DurbinSpec) -> ShapeDesign:
        """A model on these rows."""
        return self.own(quiet_design(self, spec))

    def fitted(self, spec: DurbinSpec, estimator: Likelihood) -> Fit:
        """By the adjusted score, errors by the information."""
        return fit_shape(self.shaped(spec), "information", noted=False)

    @cached_property
    def flat(self) -> tuple[Array, Array]:
        design = self.own(self.design)
        at = self.shape.at(0.0)
        return at.residual(design.values), self.shape.effects.off(self.shape.Z)

    @cached_property
    def taken(self) -> Array:
        """An orthonormal basis (N, r + k) of effects and regressors.

        Raises
        ------
        SpecificationError
            More of them than can be held beside so many rows.
        """
        effects = self.shape.effects
        if len(self.shape.Z) * effects.rank > DENSE_EFFECTS:
            raise SpecificationError(
                "too many rows and effects for this test.", "行数与效应过多，不能作此检验。"
            )
        return np.hstack([effects.full, self.shape.at(0.0).regressors.Q])

    def places(self) -> tuple[Array, Array]:
        design = self.shaped(self.model(lag_y=True, lag_x=self.lagged))
        assert design.shape.W is not None, "a lag of y"
        W, unit, effects = design.shape.W, design.shape.unit, self.shape.effects
        feedback = row_feedback(RowFilter(W, self.rho), unit, effects.U, effects.others)
        return row_places(W, unit, self.period_means), feedback

    def redrawn(self, y: Array) -> ShapeCase:
        """The same with another y (N,): what depends on the shape alone is asked of this one."""
        return replace(self, design=replace(self.own(self.design), values=y), first=self.first or self)


def rows_of(case: Case, spec: DurbinSpec | None = None) -> tuple[Array, Array]:
    """Regressors (N, k) of a model, by default that of least squares, and y (N,): both after the effects."""
    design = case.design if spec is None else quiet_design(case, spec)
    if isinstance(case, ShapeCase):
        return case.shape.effects.off(case.own(design).shape.Z), case.shape.effects.off(
            case.own(design).values
        )
    return stacked(design.Z), stacked(design.y)


def _point(case: ShapeCase, spec: DurbinSpec, rho: float, lam: float, e: Array) -> ShapePoint:
    """A model at an estimate of a smaller one, whose residuals are e (N,)."""
    design = case.shaped(spec)
    score, free = ShapeScore(design.shape, design.values), design.shape.free
    delta = np.zeros(design.shape.Z.shape[1])  # what a test needs of it is in e
    return ShapePoint(ShapeEstimate(score, rho, lam, delta, float(e @ e) / free, e, True, ()))


def _at(case: ShapeCase, fit: Fit) -> ShapePoint:
    own, (rho, lam) = case.own(fit.design), (float(fit.params.get(name, 0.0)) for name in ("rho", "lam"))
    return ShapePoint(estimate_at(ShapeScore(own.shape, own.values), rho, lam))


def _score_of_rows(case: ShapeCase, larger: DurbinSpec, fit: Fit) -> float:
    found = _at(case, fit)
    rho, lam = found.found.rho, found.found.lam
    factor = fit.spec.lag_error and not larger.lag_error  # an SEM seen as an SDM
    point = _point(case, larger, *((lam, 0.0) if factor else (rho, lam)), found.found.e)
    active, k = point.found.score.shape.active, point.k
    less = [i for i, term in enumerate(larger.terms) if term not in fit.spec.terms]
    less += [k] * (larger.lag_y and not fit.spec.lag_y) + [k + 1] * (
        larger.lag_error and not fit.spec.lag_error
    )
    tested = active if factor else less
    others = [i for i in active if i not in tested]
    return core.adjusted_score_test(point, tested, others, found.traces.excess)


def _keeps_effects(case: ShapeCase, fit: Fit) -> bool:
    """Whether W maps the effects into themselves, by what the spatial filter of a fit makes of them."""
    return _at(case, fit).traces.likelihood


def lag_error_of_rows(case: ShapeCase) -> core.LagErrorTests:
    """As :func:`spatial_zb.core.likelihood.tests.lm_lag_error`; where λ is not to be had, that of the lag alone."""
    e = case.flat[0]
    try:
        point = _point(case, case.model(lag_y=True, lag_error=True), 0.0, 0.0, e)
    except SpecificationError:
        point = _point(case, case.model(lag_y=True), 0.0, 0.0, e)
    k = point.k
    linear = [*range(k), k + 2]

    def of(tested: list[int], beside: list[int]) -> Array:
        return np.asarray(core.adjusted_score_test(point, tested, [*linear, *beside]))

    if point.found.score.shape.V is None:
        return core.LagErrorTests(of([k], []), *[np.asarray(NAN)] * 4)
    robust = of([k], [k + 1]), of([k + 1], [k])
    return core.LagErrorTests(of([k], []), of([k + 1], []), *robust, of([k, k + 1], []))


def dummies_of_rows(case: ShapeCase, effects: FixedEffects) -> tuple[float, int]:
    """Squared residuals, and how many coefficients there are, with dummies of units and periods alone."""
    design = case.own(case.design)
    own = case.shaped(replace(case.design.spec, fixed_effects=effects))
    off = own.shape.effects.off(np.column_stack([design.values, own.shape.Z]))
    return float(core.sum_of_squares(off[:, 1:], off[:, 0])), own.shape.effects.rank + own.shape.Z.shape[1]


def moran_of_rows(case: ShapeCase) -> list[tuple[str, core.MoranMoments]]:
    """Moran's I of least-squares residuals, pooled and by period, under the W of y."""
    u, _ = case.flat
    design = case.shaped(case.model(lag_y=True))
    W = design.shape.W
    assert W is not None, "a lag of y"
    parts = [("pooled", slice(None), W.matrix)]
    parts += [
        (str(t), rows, W.distinct[at]) for t, (at, rows) in zip(case.panel.periods, W.slices(), strict=True)
    ]
    out = []
    for label, rows, matrix in parts:
        if matrix.nnz and matrix.shape[0] > 2:
            value, expected, deviation = row_moran(u[rows], case.taken[rows], matrix)
            out.append((label, core.MoranMoments(np.asarray(value), expected, deviation)))
    return out
