"""The test chain of a single-equation panel: which spatial lags, which effects, what is left in the residuals."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from spatial_zb.core import diagnostics as core
from spatial_zb.core.lag import spatial_lag
from spatial_zb.core.spatial_ml import Maximum
from spatial_zb.core.traces import filter_traces
from spatial_zb.core.within import FixedEffects, TransformedSample, demean, transformed_sample
from spatial_zb.data.panel import Panel
from spatial_zb.errors import (
    ConvergenceError,
    DataError,
    SpatialZbError,
    SpatialZbWarning,
    SpecificationError,
    listed,
)
from spatial_zb.measured_sizes import with_measured_sizes
from spatial_zb.models.design import Design, build_design, stacked
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.fit import Fit
from spatial_zb.models.ml import residual_arrays
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.recommendation import EFFECTS_WORDS, TESTS, Row, TestTable
from spatial_zb.simplification import likelihood_ratio_of, wald_common_factor, wald_no_lags
from spatial_zb.text import Text
from spatial_zb.weights.matrix import Weights, as_weights

if TYPE_CHECKING:
    from spatial_zb.result_store import ResultStore

__all__ = ["TESTS", "TestTable", "diagnose"]

Array = NDArray[np.float64]
Likelihood = Literal["lee_yu", "direct"]
NAN = float("nan")


def diagnose(
    spec: DurbinSpec,
    panel: Panel,
    W: Any,
    estimator: Likelihood = "lee_yu",
    *,
    bootstrap: int = 0,
    rng: int | np.random.SeedSequence | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    store: ResultStore | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> TestTable:
    """Run the whole test chain of a single-equation panel (or cross-section).

    Collinearity; LM tests for a spatial lag and error from the least-squares residuals with the effects of the
    specification; Durbin terms (LM, Wald, LR); fixed effects (F, LR); random against fixed effects (Hausman,
    Mundlak); random effects and spatial errors (Breusch-Pagan, Baltagi-Song-Koh); what residuals still hold
    (Pesaran's CD, Moran's I).

    Parameters
    ----------
    spec
        y, x and the effects. The chain compares OLS, SAR, SEM and SDM whatever lags it switches on; the
        Durbin terms are those of ``lag_x``, all of x where that is empty. ``"random"`` is tested as ``"unit"``.
    panel, W
        The panel and the weights of its units, matched by id.
    estimator
        The likelihood of the Wald, LR and score tests: ``"lee_yu"`` or ``"direct"``.
    bootstrap, rng
        Replicates (none, or at least 99) for p-values under the null hypothesis of each test, see
        :mod:`spatial_zb.null_panels`, and their seed.
    workers, scheduler, store, progress
        Of the replicates, as in :func:`spatial_zb.execute.run_tasks`; they change no number.

    Returns
    -------
    TestTable with a row for every test that is defined for this panel. A test that cannot be computed has a
    NaN statistic, and its note says why.

    Raises
    ------
    SpecificationError
        Endogenous regressors; lags in time or regimes; an unknown estimator; no regressor.
    DataError
        Variables that cannot be used, see :func:`spatial_zb.models.design.build_design`.
    AlignmentError
        Units of panel and W differ.

    Warns
    -----
    SpatialZbWarning
        Tests whose measured size at this number of units is not near 5 %, and what to read instead.
    """
    case = _case(spec, panel, W, estimator)
    rows = _rows(case, tuple(GROUPS))
    table = TestTable(
        tuple(rows),
        spec,
        case.weights.label,
        estimator,
        case.effects,
        case.weights.n,
        len(panel.periods),
        dense=case.weights.dense,
    )
    if bootstrap:
        from spatial_zb.null_panels import bootstrap_p_values

        options = {"workers": workers, "scheduler": scheduler, "store": store, "progress": progress}
        table = bootstrap_p_values(case, table, bootstrap, rng, options)
    return with_measured_sizes(table)


# --- the case: what all tests share


@dataclass(frozen=True, eq=False)
class _Case:
    """One specification on one panel; fits are made once, when a test first asks for them."""

    spec: DurbinSpec
    panel: Panel
    weights: Weights
    estimator: Likelihood
    effects: FixedEffects
    design: Design

    @property
    def T(self) -> int:
        return len(self.panel.periods)

    @property
    def n(self) -> int:
        return self.weights.n

    @property
    def period_means(self) -> bool:
        return self.effects in ("time", "two_way")

    @property
    def lagged(self) -> tuple[str, ...]:
        return self.spec.lag_x or self.spec.x

    @cached_property
    def sample(self) -> TransformedSample:
        """Counts of the transform, which the residual-based tests use whatever the estimator."""
        return transformed_sample(self.n, self.T, self.effects, "lee_yu")

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

    def model(self, lag_y: bool = False, lag_x: tuple[str, ...] = (), lag_error: bool = False) -> DurbinSpec:
        return DurbinSpec(
            self.spec.y,
            self.spec.x,
            lag_y=lag_y,
            lag_x=lag_x,
            lag_error=lag_error,
            fixed_effects=self.effects,
        )

    @cached_property
    def sar(self) -> Fit:
        return _fit(self, self.model(lag_y=True))

    @cached_property
    def sem(self) -> Fit:
        return _fit(self, self.model(lag_error=True))

    @cached_property
    def sdm(self) -> Fit:
        return _fit(self, self.model(lag_y=True, lag_x=self.lagged))


def _case(spec: DurbinSpec, panel: Panel, W: Any, estimator: str) -> _Case:
    if estimator not in get_args(Likelihood):
        raise SpecificationError(
            f"estimator must be one of {listed(get_args(Likelihood))}, not {estimator!r}."
        )
    if spec.endog:
        raise SpecificationError(
            f"The chain tests models whose regressors are exogenous; {listed(spec.endog)} are not. Drop them, or "
            'read the tests of fit_durbin(..., estimator="gmm").'
        )
    if spec.dynamic or spec.regimes:
        raise SpecificationError(
            f"The chain tests static models with one regime, and this is a {spec.title}. Test it without time_lag, "
            "lag_time_lag and regimes; of the fit itself, read its own tests (stability_test, regime_tests)."
        )
    if not spec.x:
        raise SpecificationError("The chain needs at least one regressor in x.")
    effects = "unit" if spec.fixed_effects == "random" else spec.fixed_effects
    weights = as_weights(W).align(panel.units)
    plain = DurbinSpec(spec.y, spec.x, lag_y=False, lag_x=[], fixed_effects=effects)
    with warnings.catch_warnings():  # near collinearity has its own rows in the table
        warnings.simplefilter("ignore", SpatialZbWarning)
        design = build_design(plain, panel, weights)
    return _Case(spec, panel, weights, estimator, effects, design)


def _fit(case: _Case, spec: DurbinSpec, panel: Panel | None = None) -> Fit:
    """Fit, in silence: what a fit would warn of is in the notes or makes the test unavailable."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        fit = fit_durbin(spec, panel or case.panel, case.weights, estimator=case.estimator)
    if not fit.converged:
        raise ConvergenceError(f"the {spec.family} fit has no interior maximum or no covariance.")
    return fit


def _rows(case: _Case, groups: tuple[str, ...]) -> list[Row]:
    """Run groups of tests; a group or test that cannot be computed says why."""
    return [row for group in groups for names, run in GROUPS[group](case) for row in _attempt(names, run)]


Step = tuple[tuple[str, ...], Callable[[], list[Row]]]


def _attempt(names: tuple[str, ...], run: Callable[[], list[Row]]) -> list[Row]:
    try:
        return run()
    except SpatialZbError as error:
        note = Text(f"not available: {error}", f"无法计算：{error}")
        return [Row(name, NAN, NAN, NAN, note) for name in names]


def _chi2(test: str, statistic: float, df: int, note: Text) -> Row:
    return Row(test, float(statistic), float(df), float(stats.chi2.sf(statistic, df)), note)


def _normal(test: str, statistic: float, note: Text, one_sided: bool = False, of: str = "") -> Row:
    tail = stats.norm.sf(statistic) if one_sided else 2 * stats.norm.sf(abs(statistic))
    return Row(test, float(statistic), NAN, float(tail), note, of)


# --- collinearity


def _collinearity(case: _Case) -> list[Step]:
    return [(("VIF",), lambda: _inflation(case)), (("Condition number",), lambda: _condition(case))]


def _own_design(case: _Case) -> Design:
    spec = case.model(lag_x=case.spec.lag_x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        return build_design(spec, case.panel, case.weights)


def _inflation(case: _Case) -> list[Row]:
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


def _condition(case: _Case) -> list[Row]:
    note = Text(
        "of the transformed regressors at unit length; above 30 is high",
        "变换后单位长度的自变量；大于 30 为高",
    )
    return [Row("Condition number", core.condition_number(stacked(_own_design(case).Z)), NAN, NAN, note)]


# --- spatial lag and spatial error from least-squares residuals

LAG_ERROR = ("LM lag", "LM error", "LM lag, robust", "LM error, robust", "LM lag and error, joint")


def _lag_error(case: _Case) -> list[Step]:
    return [(LAG_ERROR, lambda: _lag_error_rows(case))]


def _lag_error_rows(case: _Case) -> list[Row]:
    tests = lag_error_tests(case)
    note = _residual_note(case)
    undefined = Text(
        "undefined: W times the fitted values lies in the span of the regressors, so that lag and error look alike; "
        + note.en,
        f"无定义：W 乘以拟合值落在自变量张成的空间内，滞后与误差无法区分；{note.zh}",
    )
    values = (tests.lag, tests.error, tests.robust_lag, tests.robust_error, tests.joint)
    return [
        _chi2(name, value, 2 if "joint" in name else 1, note if np.isfinite(value) else undefined)
        for name, value in zip(LAG_ERROR, values, strict=True)
    ]


def lag_error_tests(case: _Case, moments: core.WeightMoments | None = None) -> core.LagErrorTests:
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


def _residual_note(case: _Case) -> Text:
    words, N = EFFECTS_WORDS[case.effects], case.sample.observations
    en, zh = f"least-squares residuals after {words.en}, N = {N}", f"去除{words.zh}后的最小二乘残差，N = {N}"
    if case.period_means:
        en, zh = (
            f"{en}; centred for {words.en} (JWJ in place of W)",
            f"{zh}；已按{words.zh}中心化（以 JWJ 代替 W）",
        )
    return Text(en, zh)


# --- Durbin terms


def _durbin(case: _Case) -> list[Step]:
    return [
        (("F Durbin terms, OLS to SLX",), lambda: _slx(case)),
        (("LM Durbin terms from SAR",), lambda: _durbin_from_sar(case)),
        (("LM common factor from SEM",), lambda: _common_factor_from_sem(case)),
        (("LM error from SAR",), lambda: _error_from_sar(case)),
        (("LM lag from SEM",), lambda: _lag_from_sem(case)),
        (("LM error from SDM",), lambda: _error_from_sdm(case)),
        (("Wald SDM to SAR", "LR SDM to SAR"), lambda: _sdm_to_sar(case)),
        (("Wald SDM to SEM", "LR SDM to SEM"), lambda: _sdm_to_sem(case)),
    ]


def _likelihood_note(case: _Case, what: Text) -> Text:
    label = {"lee_yu": Text("Lee-Yu", "Lee-Yu"), "direct": Text("direct", "直接")}[case.estimator]
    words = EFFECTS_WORDS[case.effects]
    en = f"{what.en}; {label.en} likelihood, {words.en}"
    zh = f"{what.zh}；{label.zh}似然，{words.zh}"
    if case.estimator == "direct" and case.period_means:
        en += "; direct ML with time effects is biased, prefer lee_yu"
        zh += "；含时间效应的直接极大似然有偏，宜用 lee_yu"
    return Text(en, zh)


def _slx(case: _Case) -> list[Row]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        Z = stacked(build_design(case.model(lag_x=case.lagged), case.panel, case.weights).Z)
    q = len(case.lagged)
    df = case.sample.observations - Z.shape[1]
    smaller = float((case.residuals**2).sum())
    larger = core.sum_of_squares(Z, stacked(case.design.y))
    F = (smaller - larger) / q / (larger / df)
    note = Text(
        f"all θ = 0 in OLS with W_x; exact when errors are normal and ρ = λ = 0; F({q}, {df})",
        f"含 W_x 的 OLS 中全部 θ = 0；误差正态且 ρ = λ = 0 时精确；F({q}, {df})",
    )
    return [Row("F Durbin terms, OLS to SLX", F, float(q), float(stats.f.sf(F, q, df)), note)]


def _score(case: _Case, larger: DurbinSpec, delta: Array, rho: float, lam: float, sigma2: float) -> float:
    """LM statistic of a restricted estimate in a larger model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        design = build_design(larger, case.panel, case.weights)
    sample = transformed_sample(case.n, case.T, case.effects, case.estimator)
    at = Maximum(rho, lam, delta, sigma2, NAN, False, 0.0, ())
    parts = residual_arrays(design, at)
    traces = filter_traces(case.weights.matrix, case.weights.logdet, rho, lam, sample.centred)
    k = len(larger.terms)
    active = [*range(k), *([k] if larger.lag_y else []), *([k + 1] if larger.lag_error else []), k + 2]
    return core.score_test(parts, traces, sigma2, sample, active)


def _coefficients(fit: Fit) -> Array:
    return fit.params[list(fit.spec.terms)].to_numpy()


def _durbin_from_sar(case: _Case) -> list[Row]:
    fit, q = case.sar, len(case.lagged)
    delta = np.append(_coefficients(fit), np.zeros(q))
    larger = case.model(lag_y=True, lag_x=case.lagged)
    value = _score(case, larger, delta, float(fit.params["rho"]), 0.0, fit.sigma2)
    note = _likelihood_note(
        case, Text("θ = 0, score of SDM at the SAR estimate", "θ = 0，在 SAR 估计处的 SDM 得分")
    )
    return [_chi2("LM Durbin terms from SAR", value, q, note)]


def _need_nested_sem(case: _Case) -> None:
    if set(case.lagged) != set(case.spec.x):
        missing = [name for name in case.spec.x if name not in case.lagged]
        raise SpecificationError(
            f"SEM is a case of SDM only when every regressor is lagged; {listed(missing)} is not. Lag all of x."
        )
    if case.effects != "unit" and not case.weights.row_normalised:
        raise SpecificationError(
            f"SEM is a case of SDM only when W maps the effects into themselves; {case.weights.label!r} is not "
            'row-normalised. Use W.standardise("row"), or unit effects only.'
        )


def _common_factor_from_sem(case: _Case) -> list[Row]:
    _need_nested_sem(case)
    fit, q = case.sem, len(case.spec.x)
    lam = float(fit.params["lam"])
    beta = fit.params[list(case.spec.x)]
    constant = [(1 - lam) * fit.params["(Intercept)"]] if "(Intercept)" in fit.spec.terms else []
    delta = np.concatenate([constant, beta, -lam * beta[list(case.lagged)]])
    larger = case.model(lag_y=True, lag_x=case.lagged)
    value = _score(case, larger, delta, lam, 0.0, fit.sigma2)
    note = _likelihood_note(
        case, Text("θ + ρβ = 0, score of SDM at the SEM estimate", "θ + ρβ = 0，在 SEM 估计处的 SDM 得分")
    )
    return [_chi2("LM common factor from SEM", value, q, note)]


def _error_from_sar(case: _Case) -> list[Row]:
    fit = case.sar
    larger = case.model(lag_y=True, lag_error=True)
    value = _score(case, larger, _coefficients(fit), float(fit.params["rho"]), 0.0, fit.sigma2)
    note = _likelihood_note(
        case, Text("λ = 0 given ρ, at the SAR estimate", "给定 ρ 时 λ = 0，在 SAR 估计处")
    )
    return [_chi2("LM error from SAR", value, 1, note)]


def _lag_from_sem(case: _Case) -> list[Row]:
    fit = case.sem
    larger = case.model(lag_y=True, lag_error=True)
    value = _score(case, larger, _coefficients(fit), 0.0, float(fit.params["lam"]), fit.sigma2)
    note = _likelihood_note(
        case, Text("ρ = 0 given λ, at the SEM estimate", "给定 λ 时 ρ = 0，在 SEM 估计处")
    )
    return [_chi2("LM lag from SEM", value, 1, note)]


def _error_from_sdm(case: _Case) -> list[Row]:
    fit = case.sdm
    larger = case.model(lag_y=True, lag_x=case.lagged, lag_error=True)
    value = _score(case, larger, _coefficients(fit), float(fit.params["rho"]), 0.0, fit.sigma2)
    note = _likelihood_note(
        case, Text("λ = 0 given ρ and θ, at the SDM estimate", "给定 ρ、θ 时 λ = 0，在 SDM 估计处")
    )
    return [_chi2("LM error from SDM", value, 1, note)]


def _sdm_to_sar(case: _Case) -> list[Row]:
    what = Text("θ = 0", "θ = 0")
    wald, df = wald_no_lags(case.sdm)
    return [
        _chi2("Wald SDM to SAR", wald, df, _likelihood_note(case, what)),
        _likelihood_ratio(case, "LR SDM to SAR", case.sdm, case.sar, df, what),
    ]


def _sdm_to_sem(case: _Case) -> list[Row]:
    _need_nested_sem(case)
    what = Text("common factor θ + ρβ = 0", "公因子约束 θ + ρβ = 0")
    wald, df = wald_common_factor(case.sdm)
    return [
        _chi2("Wald SDM to SEM", wald, df, _likelihood_note(case, what)),
        _likelihood_ratio(case, "LR SDM to SEM", case.sdm, case.sem, df, what),
    ]


def _likelihood_ratio(case: _Case, test: str, larger: Fit, smaller: Fit, df: int, what: Text) -> Row:
    return _chi2(test, likelihood_ratio_of(larger, smaller), df, _likelihood_note(case, what))


# --- fixed effects, none or some


def _effects(case: _Case) -> list[Step]:
    if case.T == 1:
        return []
    pairs: list[tuple[str, FixedEffects, Text]] = [
        ("unit effects", "time", Text("given time effects", "给定时间效应")),
        ("time effects", "unit", Text("given unit effects", "给定个体效应")),
        ("unit and time effects", "none", Text("against an intercept alone", "相对于只有截距")),
    ]
    return [((f"F {n}", f"LR {n}"), lambda p=(n, s, w): _effects_rows(case, *p)) for n, s, w in pairs]


def _effects_rows(case: _Case, name: str, without: FixedEffects, given: Text) -> list[Row]:
    smaller, larger = _dummies(case, without), _dummies(case, "two_way")
    q, df = larger[1] - smaller[1], case.n * case.T - larger[1]
    if q <= 0 or df <= 0:
        raise DataError("too few observations for two-way effects.")
    F = (smaller[0] - larger[0]) / q / (larger[0] / df)
    lr = case.n * case.T * np.log(smaller[0] / larger[0])
    note = Text(
        f"{given.en}, model without spatial lags; exact when errors are normal; F({q}, {df})",
        f"{given.zh}，无空间滞后的模型；误差正态时精确；F({q}, {df})",
    )
    lr_note = Text(
        f"{given.en}, model without spatial lags, direct likelihoods; {q} dummies make it reject too often: read the F test",
        f"{given.zh}，无空间滞后的模型，直接似然；虚拟变量有 {q} 个，过度拒绝，应以 F 检验为准",
    )
    row = Row(f"F {name}", F, float(q), float(stats.f.sf(F, q, df)), note)
    return [row, _chi2(f"LR {name}", lr, q, lr_note)]


def _dummies(case: _Case, effects: FixedEffects) -> tuple[float, int]:
    """SSR and number of free coefficients, effects included; regressors that the effects absorb are left out."""
    y, X = case.panel.array(case.spec.y), case.panel.array(list(case.spec.x))
    absorbed = transformed_sample(case.n, case.T, effects, "direct").absorbed
    if effects == "none":
        y, X, absorbed = y - y.mean(), X - X.mean(axis=(0, 1)), 1
    kept = stacked(demean(X, effects)[:, :, _varies(X, demean(X, effects))])
    return core.sum_of_squares(kept, stacked(demean(y, effects))), absorbed + kept.shape[1]


def _varies(before: Array, after: Array) -> NDArray[np.bool_]:
    return np.abs(after).max(axis=(0, 1)) > 1e-9 * np.abs(before).max(axis=(0, 1))


# --- random effects


def _random(case: _Case) -> list[Step]:
    if case.T == 1:
        return []
    marginal = (
        "LM random effects (Breusch-Pagan)",
        "LM random effects and spatial error, joint (BSK)",
        "LM random effects, marginal (BSK)",
        "LM spatial error, marginal (BSK)",
    )
    return [
        (("Hausman", "Mundlak"), lambda: _hausman(case)),
        (marginal, lambda: _bsk_marginal(case, marginal)),
        (("LM spatial error given random effects (BSK)",), lambda: _bsk_error(case)),
        (("LM random effects given spatial error (BSK)",), lambda: _bsk_random(case)),
    ]


def _random_spatial(case: _Case) -> list[Step]:
    if case.T == 1 or not case.spec.spatial_terms:
        return []
    return [
        (("Hausman, spatial",), lambda: _spatial_hausman(case)),
        (("Mundlak, spatial",), lambda: _spatial_mundlak(case)),
    ]


def _common_means(case: _Case) -> tuple[Array, Array]:
    """y (T, n) and X (T, n, k), off the period means where the specification has time effects, else the mean."""
    y, X = case.panel.array(case.spec.y), case.panel.array(list(case.spec.x))
    if case.period_means:
        return demean(y, "time"), demean(X, "time")
    return y - y.mean(), X - X.mean(axis=(0, 1))


def _period_words(case: _Case) -> Text:
    if case.period_means:
        return Text("period means taken out", "已去除各期均值")
    return Text("without time effects", "不含时间效应")


def _hausman(case: _Case) -> list[Row]:
    y, X = _common_means(case)
    varying = _varies(X, demean(X, "unit"))
    left = case.n - 1 - X.shape[2]
    if left <= 0:
        raise DataError(
            f"{case.n} units cannot carry a regression of unit means on {X.shape[2]} regressors. Drop regressors."
        )
    if not varying.any():
        raise DataError("no regressor changes over time.")
    random = core.swamy_arora(y, X, varying, case.period_means)
    fixed, cov = core.within_regression(
        demean(y, "unit"), demean(X, "unit")[:, :, varying], case.period_means
    )
    pick = np.ix_(varying, varying)
    value = core.hausman(fixed - random.beta[varying], cov, random.cov[pick])
    q = int(varying.sum())
    wald = core.mundlak(y, X, random, varying)
    return [_hausman_row(case, "Hausman", value, q), _mundlak_row(case, wald, q, left)]


def _hausman_row(case: _Case, test: str, value: float, q: int) -> Row:
    means = _period_words(case)
    note = Text(
        f"within against Swamy-Arora GLS, no spatial lags, {means.en}",
        f"组内估计与 Swamy-Arora GLS 之比较，无空间滞后，{means.zh}",
    )
    if not np.isfinite(value):
        note = Text(
            f"undefined: V_FE − V_RE is not positive definite; read the Mundlak test; {note.en}",
            f"无定义：V_FE − V_RE 非正定；请看 Mundlak 检验；{note.zh}",
        )
    return _chi2(test, value, q, note)


def _mundlak_row(case: _Case, wald: float, q: int, left: int) -> Row:
    means = _period_words(case)
    F = wald / q
    note = Text(
        f"unit means of x add nothing (correlated random effects), {means.en}; never negative; F({q}, {left})",
        f"x 的个体均值系数为零（相关随机效应），{means.zh}；不会为负；F({q}, {left})",
    )
    return Row("Mundlak", F, float(q), float(stats.f.sf(F, q, left)), note)


def _with_period_dummies(case: _Case) -> tuple[Panel, tuple[str, ...]]:
    """The panel with a column per period but the first, where the specification has time effects."""
    if not case.period_means:
        return case.panel, ()
    names = tuple(f"in_{period}" for period in case.panel.periods[1:])
    ones = np.ones((case.T, case.n))
    marks = {
        name: np.where(np.arange(case.T)[:, None] == t, ones, 0.0) for t, name in enumerate(names, start=1)
    }
    return case.panel.with_columns(marks), names


def _unit_model(
    case: _Case, effects: str, dummies: tuple[str, ...], mundlak: tuple[str, ...] = ()
) -> DurbinSpec:
    s = case.spec
    return DurbinSpec(
        s.y,
        (*s.x, *dummies),
        s.lag_y,
        s.lag_x,
        s.lag_error,
        fixed_effects=effects,
        error_structure=s.error_structure,
        mundlak=mundlak,
    )


def _spatial_words(case: _Case) -> Text:
    en, zh = f"{case.spec.family} by maximum likelihood", f"{case.spec.family}，极大似然"
    if case.period_means:
        en, zh = f"{en}, time effects as dummies on both sides", f"{zh}，双方均含时间虚拟变量"
    return Text(en, zh)


def _spatial_hausman(case: _Case) -> list[Row]:
    panel, dummies = _with_period_dummies(case)
    fixed = _fit(case, _unit_model(case, "unit", dummies), panel)
    random = _fit(case, _unit_model(case, "random", dummies), panel)
    terms = [*case.spec.x, *(f"W_{name}" for name in case.spec.lag_x), *(("rho",) * case.spec.lag_y)]
    difference = (fixed.params[terms] - random.params[terms]).to_numpy()
    value = core.hausman(
        difference, fixed.cov.loc[terms, terms].to_numpy(), random.cov.loc[terms, terms].to_numpy()
    )
    words = _spatial_words(case)
    note = Text(f"fixed against random unit effects, {words.en}", f"固定与随机个体效应之比较，{words.zh}")
    if not np.isfinite(value):
        note = Text(
            f"undefined: V_FE − V_RE is not positive definite; read the spatial Mundlak test; {note.en}",
            f"无定义：V_FE − V_RE 非正定；请看空间 Mundlak 检验；{note.zh}",
        )
    return [_chi2("Hausman, spatial", value, len(terms), note)]


def _spatial_mundlak(case: _Case) -> list[Row]:
    panel, dummies = _with_period_dummies(case)
    spec = _unit_model(case, "random", dummies, case.spec.x)
    means = [term for term in spec.terms if term.startswith("mean_")]
    q, left = len(means), case.n - 1 - len(means)
    if left < 1:
        raise DataError(f"{case.n} units cannot carry {q} unit means. Drop regressors or lags.")
    fit = _fit(case, spec, panel)
    wald = core.quadratic_form(fit.params[means].to_numpy(), fit.cov.loc[means, means].to_numpy())
    # Maximum likelihood divides the variance between units by n; its degrees of freedom are those of the means.
    F = wald / q * left / case.n
    words = _spatial_words(case)
    note = Text(
        f"unit means of x and W_x add nothing to random effects, {words.en}; never negative; Wald × {left}/{case.n}/{q} "
        f"read from F({q}, {left})",
        f"x 与 W_x 的个体均值系数为零（相关随机效应），{words.zh}；不会为负；Wald × {left}/{case.n}/{q}，按 F({q}, {left})",
    )
    return [Row("Mundlak, spatial", F, float(q), float(stats.f.sf(F, q, left)), note)]


def _pooled_residuals(case: _Case) -> Array:
    y, X = _common_means(case)
    return core.residuals(stacked(X), stacked(y)).reshape(y.shape)


def _bsk_note(case: _Case, en: str, zh: str) -> Text:
    means = _period_words(case)
    centred = (
        Text("; centred for time effects", "；已按时间效应中心化") if case.period_means else Text("", "")
    )
    return Text(f"{en}, {means.en}{centred.en}", f"{zh}，{means.zh}{centred.zh}")


def _bsk_marginal(case: _Case, names: tuple[str, ...]) -> list[Row]:
    u = _pooled_residuals(case)
    effects, error = core.bsk_marginal(u, spatial_lag(case.weights.matrix, u), case.moments)
    joint = max(effects, 0.0) ** 2 + error**2
    return [
        _chi2(names[0], effects**2, 1, _bsk_note(case, "pooled residuals, two-sided", "混合回归残差，双侧")),
        Row(
            names[1],
            joint,
            2.0,
            core.chi_square_bar(joint),
            _bsk_note(
                case,
                "p from ½χ²(1) + ½χ²(2): a variance is not negative",
                "p 值取自 ½χ²(1) + ½χ²(2)：方差非负",
            ),
        ),
        _normal(
            names[2], effects, _bsk_note(case, "standard normal, one-sided", "标准正态，单侧"), one_sided=True
        ),
        _normal(names[3], error, _bsk_note(case, "standard normal, two-sided", "标准正态，双侧")),
    ]


def _bsk_error(case: _Case) -> list[Row]:
    y, X = _common_means(case)
    u, sigma2, sigma2_one = core.random_effects_ml(y, X, case.moments.dimension)
    value = core.bsk_error_given_random(u, case.weights.matrix, sigma2, sigma2_one, case.moments)
    note = _bsk_note(
        case,
        "at the random-effects ML estimate, standard normal, two-sided",
        "随机效应极大似然估计处，标准正态，双侧",
    )
    return [_normal("LM spatial error given random effects (BSK)", value, note)]


def _bsk_random(case: _Case) -> list[Row]:
    kind: FixedEffects = "time" if case.period_means else "none"
    spec = replace(case.model(lag_error=True), fixed_effects=kind)
    fit = _fit(replace(case, estimator="lee_yu"), spec)  # the likelihood whose score this is
    lam, W = float(fit.params["lam"]), case.weights
    traces = filter_traces(W.matrix, W.logdet, 0.0, lam, case.period_means)
    value = core.bsk_random_given_error(fit.residuals, W.matrix, lam, fit.sigma2, traces, case.moments)
    note = _bsk_note(
        case, "at the pooled SEM estimate, standard normal, one-sided", "混合 SEM 估计处，标准正态，单侧"
    )
    return [_normal("LM random effects given spatial error (BSK)", value, note, one_sided=True)]


# --- what residuals still hold


def _dependence(case: _Case) -> list[Step]:
    steps: list[Step] = [(("CD (Pesaran)",), lambda: _cd(case))] if case.T > 2 else []
    return [*steps, (("Moran of residuals",), lambda: _moran_rows(case))]


def _cd(case: _Case) -> list[Row]:
    y, X = (demean(case.panel.array(v), "unit") for v in (case.spec.y, list(case.spec.x)))
    X = X[:, :, _varies(case.panel.array(list(case.spec.x)), X)]
    u = core.residuals(stacked(X), stacked(y)).reshape(y.shape)
    en, zh = (
        "correlation of units over time, residuals after unit effects",
        "个体间跨期相关，去除个体效应后的残差",
    )
    if case.period_means:
        en += "; common period shocks count, since after time effects CD has no meaning"
        zh += "；包含共同时期冲击，因为去除时间效应后 CD 无意义"
    return [_normal("CD (Pesaran)", core.pesaran_cd(u), Text(en, zh))]


def _moran_rows(case: _Case) -> list[Row]:
    W, u = case.weights.matrix, case.residuals
    pooled = core.residual_moran(u, case.basis, W, case.moments, case.effects, case.sample.periods)
    words = EFFECTS_WORDS[case.effects]
    label = "" if case.T == 1 else "pooled"
    rows = [_moran_row(pooled, label, Text(f"after {words.en}", f"去除{words.zh}后"))]
    if case.T == 1:
        return rows
    share = case.sample.periods / case.T
    kind: FixedEffects = "time" if case.period_means else "none"
    for t, period in enumerate(case.panel.periods):
        one = core.residual_moran(u[t : t + 1], case.basis[t : t + 1], W, case.moments, kind, 1, share)
        rows.append(_moran_row(one, str(period), Text("of one period", "单独一期")))
    return rows


def _moran_row(m: core.MoranMoments, of: str, where: Text) -> Row:
    note = Text(
        f"I = {m.I:.4f}, expected {m.expected:.4f}; least-squares residuals {where.en}; standard deviate, two-sided",
        f"I = {m.I:.4f}，期望 {m.expected:.4f}；最小二乘残差，{where.zh}；标准化值，双侧",
    )
    return _normal("Moran of residuals", m.z, note, of=of)


#: The parts of the chain, in the order of the table.
GROUPS: dict[str, Callable[[_Case], list[Step]]] = {
    "collinearity": _collinearity,
    "lag_error": _lag_error,
    "durbin": _durbin,
    "effects": _effects,
    "random": _random,
    "random_spatial": _random_spatial,
    "dependence": _dependence,
}
