"""Tests over time: whether one variable leads another, in its own city or from its neighbours, and whether errors last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatial_zb.base.arguments import Rng, check_count, seed_of
from spatial_zb.base.errors import SpecificationError, not_one_of
from spatial_zb.base.execute import Execution, run_tasks
from spatial_zb.base.results import NOTHING, Row, TestTable
from spatial_zb.base.text import Text
from spatial_zb.core import Array, chi2_tail, f_tail
from spatial_zb.core.laws.bootstrap import Scheme, draw_errors
from spatial_zb.core.likelihood.errors import Errors, autocorrelation
from spatial_zb.core.likelihood.errors import serial_correlation as lm_star
from spatial_zb.core.likelihood.tests import cluster_p_value, quadratic_form
from spatial_zb.core.system import within_residuals
from spatial_zb.core.system.dynamic import Carried, CarriedGenerator, follow, follow_restricted
from spatial_zb.core.unit_rows import RowErrors
from spatial_zb.hypotheses.case import TESTS, t_row
from spatial_zb.inference.bootstrap.system import GIVEN_THE_PAST
from spatial_zb.models.fit import Fit
from spatial_zb.models.ml import HIGHEST, errors_of_fit
from spatial_zb.models.system.dynamic import array_order, carried_fit, dynamic_covariance
from spatial_zb.models.system.dynamic import serial_correlation as serial_correlation_given_the_past
from spatial_zb.models.system.fit import SystemFit

#: What is tested: the source's value of the period before in the same city, in its neighbours, and both.
PARTS = {
    "own": Text("own city", "本地区"),
    "neighbours": Text("neighbours", "邻接地区"),
    "both": Text("both", "两者"),
}
FEWEST = 99

#: Ratios at a smaller share of the correction are not shown.
LEAST_WEIGHT = 0.5
LESS = Text(
    "no likelihood ratio: the data carry less than half of the correction for few periods",
    "没有似然比：数据能承受的短时期校正不足一半",
)


def _part(weight: float) -> Text:
    return Text(
        f"the likelihood ratio is at {weight:.2g} of the correction for few periods, all that both likelihoods carry, and "
        "rejects too often there",
        f"似然比按短时期校正的{weight:.2g}计算，两个似然最多承受这些；此时似然比拒绝过多",
    )


def granger(
    fit: SystemFit,
    *,
    replicates: int = 0,
    scheme: Scheme = "residual",
    rng: Rng = None,
    workers: int | Execution = 1,
) -> TestTable:
    """Whether a variable of the period before helps to explain another, its own past being there (Granger causality).

    For every source and every other variable, lags in the ``own`` city (τ_gl = 0), in the ``neighbours`` (η_gl = 0), and
    ``both``. First Wald's F by the curvature of the adjusted likelihood, F = (N − k)/N · θ'V⁻¹θ/q against F(q, N − k), of
    N transformed observations and the k terms of the equation (``statistic``, ``p_value``). Beside it the ratio of the
    adjusted likelihoods, 2(ℓ_a − ℓ_a restricted) against χ²(q), at the whole correction or as much as both carry
    (``ratio``, ``p_ratio``, ``path_weight``), and the Wald test by the covariance clustered by unit against F(q, n − q)
    after Hotelling's factor, which bears errors that last or have unequal variances (``f_cluster``, ``p_cluster``). On
    request F's p-value from panels drawn under the null.

    Parameters
    ----------
    fit
        A system with lags in time.
    replicates
        Panels drawn under each null (0, or at least 99), given the first period.
    scheme
        How their errors are drawn: ``"residual"`` or ``"parametric"``, see ``zb.bootstrap``.
    rng
        Seed of the panels.
    workers
        Processes, or an :class:`spatial_zb.Execution`; no number depends on it.

    Returns
    -------
    TestTable; ``tidy()`` has beside statistic, df and p_value the columns response, source, part, df_denominator, ratio,
    p_ratio, path_weight, f_cluster, p_cluster and p_bootstrap. A ratio is NaN, with a note, where the data carry less than
    half of the correction.

    Raises
    ------
    SpecificationError
        A system without lags in time or of one equation, too few replicates, an unknown scheme.

    Notes
    -----
    Granger (1969), Econometrica 37: 424-438. In simulations F rejects 5.3 % of true hypotheses at 5 % on average (2.5 to
    8.5 in 54 cells), likelihood ratios 1–14 %, the clustered F 0–6 %. Errors that last mislead all where one variable
    does lead the other: the reverse is then found in 7–46 % from 41 units on; look at zb.tests.serial_correlation
    (spatial-zb docs validation/dynamic_system).

    Examples
    --------
    >>> import spatial_zb as zb, scipy.sparse as sp
    >>> ring = sp.csr_array(sp.diags_array([1.0, 1.0, 1.0, 1.0], offsets=[1, -1, 39, -39], shape=(40, 40)))
    >>> W = zb.Weights(ring, [f"c{i:02d}" for i in range(40)], "ring").standardise()
    >>> spec = zb.SystemSpec({"industry": zb.Equation("ind"), "talent": zb.Equation("tal")}, time_lag=True,
    ...                      lag_time_lag=True)
    >>> truth = {("industry", "L_ind"): 0.6, ("talent", "L_tal"): 0.5, ("talent", "L_ind"): 0.3}
    >>> fit = zb.fit_system(spec, zb.simulate.system(spec, W, 14, truth, rng=1), W)
    >>> found = zb.granger(fit).tidy().set_index(["source", "response", "part"])["p_value"]
    >>> bool(found["industry", "talent", "own"] < 0.001), bool(found["talent", "industry", "own"] > 0.05)
    (True, True)
    """
    if not isinstance(fit, SystemFit):
        what = type(fit).__name__
        raise SpecificationError(
            f"granger takes a system by fit_system, not {what}: one equation has no other variable that could lead.",
            f"granger的对象是fit_system估计的系统，而不是{what}：单个方程没有可能领先的其他变量。",
        )
    carried = carried_fit(fit)
    asked = list(_asked(fit, carried))
    if not asked:
        raise SpecificationError(
            f"{fit!r} has no lag in time of one variable in the equation of another: there is nothing to test. Leave "
            "time_lag and lag_time_lag to the system.",
            f"{fit!r}没有一个变量在另一方程中的时间滞后：没有可检验的内容。请由系统设定time_lag与lag_time_lag。",
        )
    if scheme not in GIVEN_THE_PAST:
        raise not_one_of("scheme", scheme, GIVEN_THE_PAST)
    if replicates:
        check_count(replicates, "replicates", FEWEST)
    tests = _Tests.of(fit, carried)
    rows = [_row(tests, one) for one in asked]
    if replicates:
        root = seed_of(rng)
        rows = [
            replace(row, p_bootstrap=_drawn(fit, carried, one, row, scheme, replicates, seed, workers))
            for row, one, seed in zip(rows, asked, root.spawn(len(rows)), strict=True)
        ]
    words = {one.name.en: one.name for one in asked}
    return TestTable(tuple(rows), fit.facts, words, replicates=replicates)


@dataclass(frozen=True, slots=True)
class _Asked:
    """One hypothesis: ``places`` in the order of the arrays are zero."""

    response: str
    source: str
    part: str
    places: NDArray[np.intp]

    @property
    def name(self) -> Text:
        return Text(
            f"{self.source} → {self.response}: {PARTS[self.part].en}",
            f"{self.source} → {self.response}：{PARTS[self.part].zh}",
        )


def _asked(fit: SystemFit, carried: Carried) -> Iterator[_Asked]:
    names, links = fit.spec.names, carried.links
    for g, response in enumerate(names):
        for l, source in enumerate(names):
            if l == g:
                continue
            here = (links.row == g) & (links.column == l)
            own, lagged = links.position[here & ~links.lagged], links.position[here & links.lagged]
            parts = {"own": own, "neighbours": lagged, "both": np.concatenate([own, lagged])}
            for part, places in parts.items():
                if len(places) and (part != "both" or (len(own) and len(lagged))):
                    yield _Asked(response, source, part, places)


def _theta(fit: SystemFit) -> Array:
    return fit.params.to_numpy()[array_order(fit)]


def _ratio(
    carried: Carried, theta: Array, weight: float, adjusted: float, places: NDArray[np.intp]
) -> tuple[float, float]:
    """2(ℓ_a − ℓ_a restricted) at the largest weight of the correction that both carry, and this weight."""
    less = follow_restricted(carried, theta, places, weight)
    if less.weight < weight:
        full = follow_restricted(carried, theta, np.empty(0, int), less.weight)
        adjusted, weight = full.adjusted, less.weight
    if weight < LEAST_WEIGHT or not less.solved:
        return np.nan, weight
    return max(0.0, 2 * (adjusted - less.adjusted)), weight


@dataclass(frozen=True, eq=False)
class _Tests:
    """What all hypotheses of a fit share: the estimate, its covariances by information and by clusters."""

    fit: SystemFit
    carried: Carried
    theta: Array
    information: Array
    clustered: Array

    @classmethod
    def of(cls, fit: SystemFit, carried: Carried) -> _Tests:
        """NaN in both covariances without an estimate."""
        theta = _theta(fit)
        if not fit.converged:
            nothing = np.full((len(theta),) * 2, np.nan)
            return cls(fit, carried, theta, nothing, nothing)
        kinds = ("information", "cluster")
        return cls(fit, carried, theta, *(_covariance(fit, carried, theta, kind) for kind in kinds))


def _covariance(fit: SystemFit, carried: Carried, theta: Array, kind: str) -> Array:
    """In the order of the arrays, whichever the fit has."""
    if fit.covariance == kind:
        order = array_order(fit)
        return fit.cov.to_numpy()[np.ix_(order, order)]
    return dynamic_covariance(carried, theta, fit.convergence.weight, kind).cov


def wald_f(carried: Carried, theta: Array, V: Array, places: NDArray[np.intp]) -> tuple[float, int]:
    """F = (N − k)/N · θ'V⁻¹θ/q of coefficients that stand in one equation, and N − k; V is D⁻¹, whose σ² divides by N."""
    arrays, q = carried.likelihood.arrays, len(places)
    g = int(np.searchsorted(arrays.bounds, places[0], side="right")) - 1
    left = arrays.sample.observations - arrays.Z[g].shape[1]
    wald = float(quadratic_form(theta[places], V[np.ix_(places, places)]))
    return wald * left / (arrays.sample.observations * q), left


def _row(tests: _Tests, one: _Asked) -> Row:
    fit, carried, theta, places = tests.fit, tests.carried, tests.theta, one.places
    q, n = len(places), len(fit.panel.units)
    F, left = wald_f(carried, theta, tests.information, places)
    wald = float(quadratic_form(theta[places], tests.clustered[np.ix_(places, places)]))
    ratio = common = np.nan
    if fit.converged:
        ratio, common = _ratio(carried, theta, fit.convergence.weight, fit.convergence.adjusted, places)
    beside: dict[str, Any] = {"response": one.response, "source": one.source, "part": one.part}
    beside |= {
        "df_denominator": left,
        "ratio": ratio,
        "p_ratio": float(chi2_tail(ratio, q)),
        "path_weight": common,
    }
    beside |= {"f_cluster": wald * (n - q) / (q * (n - 1)), "p_cluster": cluster_p_value(wald, q, n)}
    note = NOTHING
    if fit.converged and common < 1:
        note = _part(common) if np.isfinite(ratio) else LESS
    return Row(one.name.en, F, q, float(f_tail(F, q, left)), note, more=beside)


def _drawn(
    fit: SystemFit,
    carried: Carried,
    one: _Asked,
    row: Row,
    scheme: Scheme,
    replicates: int,
    seed: np.random.SeedSequence,
    workers: int | Execution,
) -> float:
    """(1 + F as large under the null) / (1 + F that there are)."""
    if not np.isfinite(row.statistic):
        return np.nan
    null = follow_restricted(carried, _theta(fit), one.places)
    e = carried.likelihood.residuals(null.theta)
    sample, levels = fit.design.arrays.sample, fit.design.levels
    assert levels is not None, "of a system with lags in time"
    residuals = within_residuals(e, sample)
    lam = carried.likelihood.split(null.theta)[1]
    generator = CarriedGenerator(carried, fit.spec.transform, null.theta, lam, levels, residuals)
    task = partial(_once, generator, one.places, scheme, carried.likelihood.sigma(e))
    found = np.array(run_tasks(task, range(replicates), seed=seed, workers=workers))
    known = found[np.isfinite(found)]
    return float((1 + (known >= row.statistic).sum()) / (1 + len(known)))


def _once(
    generator: CarriedGenerator,
    places: NDArray[np.intp],
    scheme: Scheme,
    sigma: Array,
    _: int,
    seed: np.random.SeedSequence,
) -> float:
    """F of one panel drawn under the null."""
    sample, rng = generator.arrays.sample, np.random.default_rng(seed)
    errors = draw_errors(generator.residuals, scheme, sigma, sample, generator.effects, rng)
    arrays = generator.sample(errors)
    drawn = replace(generator.carried, likelihood=replace(generator.carried.likelihood, arrays=arrays))
    full = follow(drawn, [generator.theta])
    if not full.solved:
        return np.nan
    V = dynamic_covariance(drawn, full.theta, full.weight, "information").cov
    return wald_f(drawn, full.theta, V, places)[0]


# --- errors that last

SERIAL = ("Serial correlation (LM*)", "Serial correlation, forward and backward")


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
