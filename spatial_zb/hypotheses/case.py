"""One specification on one panel, and what the tests of it share."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Literal, cast

import numpy as np
from scipy import special

from spatial_zb.base.errors import ConvergenceError, SpatialZbError, SpatialZbWarning, SpecificationError
from spatial_zb.base.results import NAN, Row
from spatial_zb.base.text import Text
from spatial_zb.core import Array, chi2_tail
from spatial_zb.core.likelihood import Maximum
from spatial_zb.core.likelihood import tests as core
from spatial_zb.core.likelihood.errors import Errors, own_feedback, places
from spatial_zb.core.transforms import (
    FixedEffects,
    TransformedSample,
    demean,
    spatial_lag,
    transformed_sample,
    varies,
)
from spatial_zb.core.unit_rows import RowErrors
from spatial_zb.data.panel import Panel
from spatial_zb.inference.bootstrap.static import draw_each
from spatial_zb.models.certainty import estimated, evaluated
from spatial_zb.models.design import Design, build_design, stacked
from spatial_zb.models.durbin import check_weights, fit_durbin
from spatial_zb.models.fit import Fit
from spatial_zb.models.ml import errors_of_fit
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.weights.matrix import Weights

Likelihood = Literal["lee_yu", "direct"]
#: Every test of the chain, by its name in the table, in English and Chinese; VIF and Moran rows add a label.
TESTS: dict[str, Text] = {
    name: Text(name, zh)
    for name, zh in {
        "VIF": "方差膨胀因子",
        "Condition number": "条件数",
        "LM lag": "LM 检验（空间滞后）",
        "LM error": "LM 检验（空间误差）",
        "LM lag, robust": "稳健 LM 检验（空间滞后）",
        "LM error, robust": "稳健 LM 检验（空间误差）",
        "LM lag and error, joint": "LM 联合检验（滞后与误差）",
        "F Durbin terms, OLS to SLX": "F 检验（杜宾项，OLS → SLX）",
        "LM Durbin terms from SAR": "LM 检验（SAR 之上的杜宾项）",
        "LM common factor from SEM": "LM 检验（SEM 的公因子约束）",
        "LM error from SAR": "LM 检验（SAR 之上的空间误差）",
        "LM lag from SEM": "LM 检验（SEM 之上的空间滞后）",
        "LM error from SDM": "LM 检验（SDM 之上的空间误差）",
        "Wald SDM to SAR": "Wald 检验（SDM → SAR）",
        "LR SDM to SAR": "LR 检验（SDM → SAR）",
        "Wald SDM to SEM": "Wald 检验（SDM → SEM）",
        "LR SDM to SEM": "LR 检验（SDM → SEM）",
        "F unit effects": "F 检验（个体效应）",
        "LR unit effects": "LR 检验（个体效应）",
        "F time effects": "F 检验（时间效应）",
        "LR time effects": "LR 检验（时间效应）",
        "F unit and time effects": "F 检验（个体与时间效应）",
        "LR unit and time effects": "LR 检验（个体与时间效应）",
        "Hausman": "Hausman 检验",
        "Mundlak": "Mundlak 检验",
        "Hausman, spatial": "空间 Hausman 检验",
        "Mundlak, spatial": "空间 Mundlak 检验",
        "LM random effects (Breusch-Pagan)": "LM 检验（随机效应，Breusch-Pagan）",
        "LM random effects and spatial error, joint (BSK)": "LM 联合检验（随机效应与空间误差，BSK）",
        "LM random effects, marginal (BSK)": "LM 边际检验（随机效应，BSK）",
        "LM spatial error, marginal (BSK)": "LM 边际检验（空间误差，BSK）",
        "LM spatial error given random effects (BSK)": "LM 条件检验（给定随机效应的空间误差，BSK）",
        "LM random effects given spatial error (BSK)": "LM 条件检验（给定空间误差的随机效应，BSK）",
        "Serial correlation (LM*)": "序列相关检验（LM*）",
        "Serial correlation, forward and backward": "序列相关检验（前后向离差）",
        "Variances and diagonal of G": "方差与 G 对角元的关系",
        "Variances and place in W": "方差与在 W 中位置的关系",
        "Largest to smallest error sd of units": "各单元误差标准差之最大最小比",
        "Breusch-Pagan": "Breusch-Pagan 异方差检验",
        "Koenker-Bassett": "Koenker-Bassett 异方差检验",
        "Jarque-Bera": "Jarque-Bera 正态性检验",
        "Cross-section dependence": "截面相关检验（时间效应之后）",
        "CD (Pesaran)": "CD 检验（Pesaran）",
        "Moran of residuals": "残差 Moran 检验",
    }.items()
}
#: In words, what each transform takes out.
EFFECTS_WORDS: dict[FixedEffects, Text] = {
    "none": Text("no effects, an intercept", "无效应，含截距"),
    "unit": Text("unit effects", "个体效应"),
    "time": Text("time effects", "时间效应"),
    "two_way": Text("two-way effects", "双向效应"),
}


def effects_words(effects: str) -> Text:
    """What is taken out, of any kind, in words."""
    known = EFFECTS_WORDS.get(cast(FixedEffects, effects))
    return known or Text(f"effects {effects.replace(' + ', ', ')}", f"效应 {effects.replace(' + ', '、')}")


@dataclass(frozen=True, eq=False)
class Case:
    """One specification on one panel, and what tests ask of it; fits are made once, when a test first asks for them.

    Here of a complete panel under one W, by likelihood. A case of another kind answers the same questions
    (:class:`spatial_zb.hypotheses.ShapeCase`), so that no test asks which it has. ``design`` is that of the model without
    spatial terms, and without lags of x.
    """

    spec: DurbinSpec
    estimator: Likelihood
    design: Design
    #: Of the draws that a test is read from, the same in every call that does not give one.
    seed: np.random.SeedSequence = field(default_factory=lambda: np.random.SeedSequence(0))
    #: Tests without theory for panels of this kind, which are left out of the chain.
    left_out: ClassVar[frozenset[str]] = frozenset()
    #: Tests whose null hypothesis is not that of the model that panels are drawn from.
    undrawn: ClassVar[frozenset[str]] = frozenset()
    #: Whether panels can be tested together where they have few enough units.
    together: ClassVar[bool] = True
    #: The Wald test of SEM is one of this model, where that is not the SEM which is fitted.
    spread: ClassVar[Text] = Text("", "")

    def __getstate__(self) -> dict[str, Any]:
        """What is sent to another process: not the fits that tests have made."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @cached_property
    def designs(self) -> dict[DurbinSpec, Design]:
        """Those of models that a test has asked for."""
        return {}

    @property
    def panel(self) -> Panel:
        return self.design.panel

    @property
    def weights(self) -> Weights:
        return self.design.weights

    @property
    def effects(self) -> FixedEffects:
        """What the transform takes out; those of units with random effects."""
        return self.design.spec.transform

    @property
    def T(self) -> int:
        return len(self.panel.periods)

    @property
    def n(self) -> int:
        return self.weights.n

    @property
    def dense(self) -> bool:
        """Whether more than half of all pairs are linked."""
        return self.weights.dense

    @property
    def period_means(self) -> bool:
        return self.effects in ("time", "two_way")

    @property
    def lagged(self) -> Sequence[str]:
        return self.spec.lag_x or self.spec.x

    @property
    def words(self) -> Text:
        """What the transform takes out, in words."""
        return EFFECTS_WORDS[self.effects]

    @property
    def after(self) -> Text:
        """Where residuals are taken."""
        return Text(f"after {self.words.en}", f"去除{self.words.zh}后")

    @property
    def by(self) -> str:
        """The estimator, as a fact of the table."""
        return self.estimator

    @property
    def likelihood_words(self) -> Text:
        """What the tests at an estimate are made of."""
        if self.T == 1:
            return Text("likelihood with an intercept", "含截距的似然")
        label = {"lee_yu": Text("Lee-Yu", "Lee-Yu"), "direct": Text("direct", "直接")}[self.estimator]
        en, zh = f"{label.en} likelihood, {self.words.en}", f"{label.zh}似然，{self.words.zh}"
        if self.estimator == "direct" and self.period_means:
            en += "; direct ML with time effects is biased, prefer lee_yu"
            zh += "；含时间效应的直接极大似然有偏，宜用 lee_yu"
        return Text(en, zh)

    @property
    def score_words(self) -> Text:
        """How the score tests from least-squares residuals are made, as the end of a note."""
        if not self.period_means:
            return Text("", "")
        en, zh = self.words.en, self.words.zh
        return Text(f"; centred for {en} (JWJ in place of W)", f"；已按{zh}中心化（以 JWJ 代替 W）")

    @property
    def within(self) -> bool:
        """Whether means of units are out."""
        return self.effects in ("unit", "two_way")

    @property
    def rows(self) -> int:
        """Unit-periods."""
        return self.n * self.T

    @property
    def observations(self) -> int:
        """What effects leave of them."""
        return self.sample.observations

    @cached_property
    def sample(self) -> TransformedSample:
        """Counts of the transform, which the residual-based tests use whatever the estimator."""
        return self.design.sample()

    @cached_property
    def moments(self) -> core.WeightMoments:
        return core.weight_moments(self.weights.matrix, self.period_means)

    @cached_property
    def basis(self) -> Array:
        """Orthonormal basis of the transformed regressors, (T, n, k)."""
        Z = stacked(self.design.Z)
        return np.linalg.qr(Z / np.sqrt((Z**2).sum(axis=0)))[0].reshape(self.design.Z.shape)

    @cached_property
    def residuals(self) -> Array:
        """(T, n) least-squares residuals of y on x after the transform."""
        y, P = stacked(self.design.y), stacked(self.basis)
        u = y - P @ (P.T @ y)
        return (u - P @ (P.T @ u)).reshape(self.T, self.n)

    def model(self, lag_y: bool = False, lag_x: Sequence[str] = (), lag_error: bool = False) -> DurbinSpec:
        return DurbinSpec(self.spec.y, self.spec.x, lag_y, lag_x, lag_error, fixed_effects=self.effects)

    @cached_property
    def highest_sar(self) -> Fit:
        """SAR where its likelihood is highest, which may be an end of the admissible interval."""
        return highest_fit(self, self.model(lag_y=True))

    @cached_property
    def highest_sem(self) -> Fit:
        return highest_fit(self, self.model(lag_error=True))

    @cached_property
    def highest_sdm(self) -> Fit:
        return highest_fit(self, self.model(lag_y=True, lag_x=self.lagged))

    @property
    def sar(self) -> Fit:
        return converged(self.highest_sar)

    @property
    def sem(self) -> Fit:
        return converged(self.highest_sem)

    @property
    def sdm(self) -> Fit:
        return converged(self.highest_sdm)

    @cached_property
    def errors(self) -> Errors | RowErrors:
        """Those of SDM."""
        return errors_of_fit(self.sdm)

    @property
    def flat(self) -> Array:
        """Least-squares residuals (N,), stacked."""
        return self.residuals.ravel()

    def columns(self, spec: DurbinSpec | None = None) -> tuple[Array, Array]:
        """y (N,) and the regressors (N, k) of a model, by default that of least squares, after the effects."""
        design = self.design if spec is None else quiet_design(self, spec)
        return stacked(design.y), stacked(design.Z)

    def lag_error_tests(self) -> core.LagErrorTests:
        """The five LM statistics from least-squares residuals."""
        return lag_error_with(self, self.moments)

    def score(self, larger: DurbinSpec, fit: Fit, delta: Array, rho: float, lam: float) -> float:
        """LM statistic of a restricted estimate in a larger model, whose coefficients it puts at (δ, ρ, λ)."""
        design = quiet_design(self, larger)
        best = Maximum(rho, lam, delta, fit.sigma2, NAN, False, 0.0, ())
        at = evaluated(design, self.estimator, best, design.sample(self.estimator))
        return float(core.score_test(at.parts, at.traces, fit.sigma2, at.sample, estimated(larger)))

    def dummies(self, effects: FixedEffects) -> tuple[Any, int]:
        """Squared residuals, and how many coefficients there are, with these dummies of units and periods alone."""
        return dummies_of(self, effects, self.panel.array(self.spec.y))

    def moran(self) -> list[tuple[str, core.MoranMoments, Text]]:
        """Label, I with its moments, and where, of least-squares residuals: pooled, then by period."""
        return moran_parts(self, self.residuals)

    def need_nested_weights(self) -> None:
        """Refuse where W makes SEM no case of SDM."""
        if self.effects != "unit" and not self.weights.row_normalised:
            raise SpecificationError(
                "SEM is a case of SDM only when W maps the effects into themselves; "
                f'{self.weights.label!r} is not row-normalised. Use W.standardise("row"), or unit effects only.',
                f"只有W把效应映射为自身时，SEM才是SDM的特例；{self.weights.label!r}未按行标准化。"
                '请用W.standardise("row")，或只含个体效应。',
            )

    def need_nested_effects(self, fit: Fit) -> None:
        """Refuse where the effects of an SEM are not those of an SDM: never where W may be nested."""

    def need_likelihood(self) -> None:
        """Refuse where there is none."""

    @property
    def rho(self) -> float:
        """Of SDM."""
        return float(self.sdm.params["rho"])

    def places(self) -> tuple[Array, Array]:
        """By unit: the columns that variances are held against, and what ties them to ρ̂ of SDM."""
        W, centred = self.weights.matrix, self.period_means
        return places(W, centred), own_feedback(W, self.rho, centred)

    def made(self, spec: DurbinSpec) -> Design:
        """Arrays of a model."""
        return build_design(spec, self.panel, self.weights)

    def fitted(self, spec: DurbinSpec, estimator: Likelihood) -> Fit:
        """By likelihood: these tests know no adjusted score."""
        try:
            check_weights(spec, self.weights, estimator)
        except SpecificationError as error:
            raise SpecificationError(
                f'{error} diagnose(..., estimator="adjusted_score") tests it as it is.',
                f'{error.zh}diagnose(..., estimator="adjusted_score")可直接检验。',
            ) from error
        return fit_durbin(spec, self.panel, self.weights, estimator=estimator)

    def redrawn(self, y: Array) -> Case:
        """The same with another y (T, n)."""
        design = build_design(self.design.spec, self.panel.with_columns({self.spec.y: y}), self.weights)
        return Case(self.spec, self.estimator, design)

    def drawn(self, fit: Fit, streams: Sequence[np.random.Generator]) -> Array:
        """y from a fit and its residuals, one from each stream, in the form in which :meth:`redrawn` takes it."""
        return draw_each(fit, streams)


# --- what a complete panel gives, of its own y or of many


def lag_error_with(case: Case, moments: core.WeightMoments) -> core.LagErrorTests:
    """The five LM statistics; moments of W that are not those of the case give the usual, uncentred formulas."""
    Wu = demean(spatial_lag(case.weights.matrix, case.residuals), case.effects)
    periods, own = case.sample.periods, (case.design.Wy, case.design.Z)
    return core.lm_lag_error(case.residuals, Wu, *own, periods, moments.dimension * periods, moments)


def dummies_of(case: Case, effects: FixedEffects, y: Array) -> tuple[Any, int]:
    """SSR (…) of y (T, n, …) and number of free coefficients, with effects, less regressors that these absorb."""
    X = case.panel.array(list(case.spec.x))
    absorbed = transformed_sample(case.n, case.T, effects, "direct").absorbed
    if effects == "none":
        y, X, absorbed = y - y.mean(axis=(0, 1)), X - X.mean(axis=(0, 1)), 1
    kept = stacked(demean(X, effects)[:, :, varies(X, demean(X, effects))])
    return core.sum_of_squares(kept, stacked(demean(y, effects)).T), absorbed + kept.shape[1]


def moran_parts(case: Case, u: Array) -> list[tuple[str, core.MoranMoments, Text]]:
    """Label, I with its moments, and where, of residuals (…, T, n): pooled, then by period."""
    W = case.weights.matrix
    pooled = core.residual_moran(u, case.basis, W, case.moments, case.effects, case.sample.periods)
    if case.T == 1:
        return [("", pooled, case.after)]
    parts = [("pooled", pooled, case.after)]
    share = case.sample.periods / case.T
    kind: FixedEffects = "time" if case.period_means else "none"
    for t, period in enumerate(case.panel.periods):
        one = u[..., t : t + 1, :], case.basis[t : t + 1]
        moments = core.residual_moran(*one, W, case.moments, kind, 1, share)
        parts.append((str(period), moments, Text("of one period", "单独一期")))
    return parts


def quiet_design(case: Case, spec: DurbinSpec) -> Design:
    """Arrays of a model; its notes stay with it, near collinearity has its own rows in the table."""
    if spec not in case.designs:
        case.designs[spec] = case.made(spec)
    return case.designs[spec]


def highest_fit(case: Case, spec: DurbinSpec, estimator: Likelihood | None = None) -> Fit:
    """Fit by likelihood, without warnings: what they would say is in the notes or makes the test unavailable."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        return case.fitted(spec, estimator or case.estimator)


def converged(fit: Fit) -> Fit:
    """The fit, if it has an interior maximum and a covariance."""
    if not fit.converged:
        raise ConvergenceError(
            f"the {fit.spec.family} fit has no interior maximum or no covariance.",
            f"{fit.spec.family}的拟合没有内部极大值，或没有协方差。",
        )
    return fit


def quiet_fit(case: Case, spec: DurbinSpec, estimator: Likelihood | None = None) -> Fit:
    """A converged fit, in silence."""
    return converged(highest_fit(case, spec, estimator))


# --- rows

#: Names of tests, and what computes their rows.
Step = tuple[tuple[str, ...], Callable[[], list[Row]]]


def attempt(names: tuple[str, ...], run: Callable[[], list[Row]]) -> list[Row]:
    """The rows of a test, or one row per name that says why it is not available."""
    try:
        return run()
    except SpatialZbError as error:
        note = Text(f"not available: {error}", f"无法计算：{error.zh}")
        return [Row(name, NAN, NAN, NAN, note) for name in names]


def chi2_row(test: str, statistic: float, df: int, note: Text) -> Row:
    """A test of a χ² statistic."""
    return Row(test, float(statistic), float(df), float(chi2_tail(statistic, df)), note)


def t_row(test: str, statistic: float, df: int, note: Text, of: str = "") -> Row:
    """A two-sided test of Student's t; its degrees of freedom go into the note, those of the table are restrictions."""
    words = Text(f"{note.en}; t({df})", f"{note.zh}；t({df})")
    return Row(test, float(statistic), NAN, float(2 * special.stdtr(df, -abs(statistic))), words, of)


def normal_row(test: str, statistic: float, note: Text, of: str = "") -> Row:
    """A two-sided test of a standard normal statistic."""
    return Row(test, float(statistic), NAN, float(2 * special.ndtr(-abs(statistic))), note, of)
