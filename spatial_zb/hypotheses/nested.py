"""Tests of restrictions from one fit: SDM against SAR and SEM, equal regimes, and restrictions on a system."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.base.errors import ConvergenceError, SpatialZbWarning, SpecificationError, listed, listed_zh
from spatial_zb.base.results import NOTHING, Row, TestTable
from spatial_zb.base.text import Text
from spatial_zb.core import Array, chi2_tail
from spatial_zb.core.likelihood.covariance import inverse_or_nan
from spatial_zb.core.likelihood.tests import (
    cluster_p_value,
    common_factor_wald,
    likelihood_ratio_p_value,
    quadratic_form,
    wald_p_value,
)
from spatial_zb.core.system.fiml import SigmaForm
from spatial_zb.core.system.scores import with_error_covariances
from spatial_zb.hypotheses.case import TESTS
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.fit import Fit
from spatial_zb.models.regimes import regime_contrast
from spatial_zb.models.spec import CLUSTERED, DurbinSpec
from spatial_zb.models.system import fit_system, system_likelihood
from spatial_zb.models.system.fit import SystemFit
from spatial_zb.models.system.spec import SystemSpec


def wald_no_lags(fit: Fit) -> tuple[float, int]:
    """θ'[Var θ̂]⁻¹θ and its degrees of freedom: SDM → SAR, by the covariance of the fit."""
    names = [f"W_{name}" for name in fit.spec.lag_x]
    theta = fit.params[names].to_numpy()
    return float(quadratic_form(theta, fit.cov.loc[names, names].to_numpy())), len(names)


def wald_common_factor(fit: Fit) -> tuple[float, int]:
    """Wald statistic of θ + ρβ = 0 (SDM → SEM) by the covariance of the fit, and its degrees of freedom."""
    x = list(fit.spec.lag_x)
    lags = [f"W_{name}" for name in x]
    rho, beta, theta = fit.params["rho"], fit.params[x].to_numpy(), fit.params[lags].to_numpy()
    order = [*x, *lags, "rho"]
    return float(common_factor_wald(beta, theta, rho, fit.cov.loc[order, order].to_numpy())), len(x)


#: Of a ratio of likelihoods where a score stands for them.
NO_LIKELIHOOD = Text(
    "the adjusted score of a panel of this shape has no likelihood: read the Wald test",
    "此形态面板的调整得分没有似然：请看Wald检验",
)


def can_be_simplified(fit: Fit) -> bool:
    """Whether the fit is an SDM that :func:`simplification_tests` can test."""
    spec = fit.spec
    plain = not (spec.dynamic or spec.regimes or spec.endog) and spec.fixed_effects != "random"
    known = ("lee_yu", "direct", "adjusted_score")
    return spec.family == "SDM" and fit.estimator in known and plain and fit.converged


def simplification_tests(fit: Fit) -> TestTable:
    """Test a spatial Durbin model against the SAR and the SEM it contains.

    Wald tests use the covariance of the fit, so that they are as robust as its errors; LR tests refit the smaller
    models on the same panel, W, effects and likelihood, and assume independent errors. The adjusted score of panels of
    any shape has no likelihood: its LR rows are NaN, and the note says so.

    Returns
    -------
    TestTable
        Rows ``test`` (``"Wald SDM to SAR"``, ``"LR SDM to SAR"``, ``"Wald SDM to SEM"``, ``"LR SDM to SEM"``),
        ``statistic``, ``df`` (q), ``p_value``: F(q, N − k) of the Wald statistic, or with errors clustered by n units
        Hotelling's T² on F(q, n − q); Bartlett's correction of the ratio (``core/likelihood/tests.py``). The SEM is
        nested only where every regressor is lagged, by the W of y; else its rows are NaN. A likelihood of a smaller model
        that is highest at an end of the admissible interval is taken there.

    Raises
    ------
    SpecificationError
        The fit is not an SDM by maximum likelihood with fixed effects or none, or did not converge.
    """
    if not can_be_simplified(fit):
        raise SpecificationError(
            f"{fit!r} cannot be simplified by these tests: they need a converged SDM by maximum likelihood "
            "with fixed effects, without lags in time or regimes.",
            f"{fit!r}不能由这些检验简化：须为收敛的极大似然SDM，含固定效应，没有时间滞后或区制。",
        )
    spec = fit.spec
    sar, sem = replace(spec, lag_x=()), replace(spec, lag_y=False, lag_x=(), lag_error=True)
    nested = set(spec.lag_x) == set(spec.x) and "W_x" not in fit.design.own_lags
    scored = fit.estimator == "adjusted_score"
    rows = [
        ("Wald SDM to SAR", *wald_no_lags(fit)),
        ("LR SDM to SAR", np.nan if scored else _likelihood_ratio(fit, sar), len(spec.lag_x)),
        ("Wald SDM to SEM", *(wald_common_factor(fit) if nested else (np.nan, len(spec.x)))),
        ("LR SDM to SEM", _likelihood_ratio(fit, sem) if nested and not scored else np.nan, len(spec.x)),
    ]
    p_values = [
        likelihood_ratio_p_value(statistic, df, *counts(fit))
        if test.startswith("LR")
        else wald_p(fit, statistic, df)
        for test, statistic, df in rows
    ]
    tests = [
        Row(*row, p_value, NO_LIKELIHOOD if scored and row[0].startswith("LR") else NOTHING)
        for row, p_value in zip(rows, p_values, strict=True)
    ]
    old = pd.DataFrame(rows, columns=["test", "statistic", "df"]).assign(p_value=p_values)
    return TestTable(tuple(tests), fit.facts, TESTS, old=old)


def wald_p(fit: Fit, statistic: float, q: int) -> float:
    """p-value of a Wald statistic by the covariance of a fit, from as much as that is made of: cells, or clustered units."""
    if fit.covariance in CLUSTERED:
        return cluster_p_value(statistic, q, len(fit.panel.units))
    return wald_p_value(statistic, q, *counts(fit))


def counts(fit: Fit) -> tuple[int, int]:
    """N of the likelihood of a fit, and its degrees of freedom: observations less effects less coefficients."""
    dummies = fit.absorbed if fit.estimator == "direct" else 0  # the Lee-Yu transform has taken them out of N
    return fit.nobs, fit.nobs - dummies - len(fit.spec.terms)


def likelihood_ratio_of(larger: Fit, smaller: Fit) -> float:
    """2(ln L − ln L₀) of nested fits of the same likelihood.

    Raises
    ------
    ConvergenceError
        The larger model has the lower likelihood.
    """
    value = 2 * (larger.log_likelihood - smaller.log_likelihood)
    if value < -1e-6:
        raise ConvergenceError(
            "the larger model has the lower likelihood: one of the fits is not at its maximum.",
            "较大的模型似然反而较低：有一个估计没有到达最大值。",
        )
    return max(value, 0.0)


def _likelihood_ratio(fit: Fit, smaller: DurbinSpec) -> float:
    """The ratio to the smaller model on the panel and W of the fit, where its likelihood is highest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)  # what there is to say was said of the larger model
        other = fit_durbin(smaller, fit.panel, fit.weights, fit.estimator_asked)
    return likelihood_ratio_of(fit, other)


#: The test of likelihood_ratio.
RATIO = Text("LR", "似然比检验")


def _height(fit: SystemFit) -> float:
    """Of the likelihood at the estimate; with lags in time of the adjusted one, where the data carry all of it."""
    if not fit.spec.dynamic:
        return fit.log_likelihood
    return fit.convergence.adjusted if fit.convergence.weight == 1 else np.nan


def likelihood_ratio(restricted: SystemFit, full: SystemFit) -> TestTable:
    """Likelihood-ratio test of a FIML fit against one that nests it.

    Where the full fit has clustered errors, the ratio is divided by tr[(R V R')(R H⁻¹ R')⁻¹]/q, the mean of the weights that
    its law has then (V clustered, H⁻¹ by information, R the q restrictions), and judged as a Wald test with clusters is.
    With lags in time it is the ratio of the adjusted likelihoods, against χ²; NaN where one of the fits does not carry the
    whole correction (``path_weight`` below one).

    Returns
    -------
    TestTable of one row, ``"LR"``.

    Raises
    ------
    SpecificationError
        Not both FIML, not the same data and weights, or not nested, with what differs.
    """
    if not (isinstance(restricted, SystemFit) and isinstance(full, SystemFit)):
        raise SpecificationError(
            "likelihood_ratio compares two systems. Use zb.tests.simplification_tests(fit) or zb.compare.compare_fits(fits) "
            "for fits of one equation.",
            "likelihood_ratio比较两个系统；单方程的估计请用zb.tests.simplification_tests(fit)或zb.compare.compare_fits(fits)。",
        )
    if {restricted.method, full.method} != {"fiml"}:
        raise SpecificationError(
            'Likelihood ratios compare two fits by method="fiml".', '似然比检验比较两个method="fiml"的估计。'
        )
    _refuse_different_data(restricted, full)
    extra = [key for key in restricted.params.index if key not in full.params.index]
    if extra or (full.sigma_form == "diagonal" and restricted.sigma_form == "full"):
        own = [": ".join(key) for key in extra]
        what = Text(listed(own), listed_zh(own)) if own else Text("a full Σ", "完整的Σ")
        raise SpecificationError(
            f"The fits are not nested: the restricted one has {what.en}, the full one has not.",
            f"两个估计不嵌套：受约束的有{what.zh}，完整的没有。",
        )
    df = full.n_parameters - restricted.n_parameters
    if df <= 0:
        raise SpecificationError(
            "The fits have the same parameters: there is nothing to test.",
            "两个估计的参数相同：没有可检验的内容。",
        )
    dynamic = full.spec.dynamic
    statistic = 2 * (_height(full) - _height(restricted))
    if not (full.converged and restricted.converged):
        statistic = np.nan
    p_value, note = float(chi2_tail(statistic, df)), NOTHING
    if full.covariance in CLUSTERED and np.isfinite(statistic) and not dynamic:
        places = _restricted(full, restricted.spec, restricted.sigma_form)
        _, V, information = _with_sigma(full)
        inside = np.ix_(places, places)
        statistic /= np.trace(np.linalg.solve(information[inside], V[inside])) / df
        p_value, note = cluster_p_value(statistic, df, len(full.panel.units)), SCALED
    row = Row(RATIO.en, float(statistic), df, p_value, note)
    old = pd.Series({"statistic": row.statistic, "df": df, "p_value": row.p_value})
    return TestTable((row,), full.facts, {RATIO.en: RATIO}, old=old)


def _refuse_different_data(a: SystemFit, b: SystemFit) -> None:
    same = (
        a.spec.endogenous == b.spec.endogenous
        and a.spec.names == b.spec.names
        and a.spec.fixed_effects == b.spec.fixed_effects
        and a.panel.periods == b.panel.periods
        and a.panel.units.equals(b.panel.units)
        and (a.weights.matrix != b.weights.matrix).nnz == 0
        and np.array_equal(a.design.arrays.y, b.design.arrays.y)
    )
    if not same:
        raise SpecificationError(
            "The fits differ in equations, effects, sample or weights, so their likelihoods cannot be compared.",
            "两个估计的方程、效应、样本或权重矩阵不同，似然不能比较。",
        )


SCALED = Text("scaled by the clustered covariance", "按聚类协方差调整")


def _with_sigma(fit: SystemFit) -> tuple[Array, Array, Array]:
    """Coefficients and λ, and below them the covariances between equations; their clustered covariance; by information."""
    likelihood = system_likelihood(fit.design, fit.sigma_form)
    positions = fit.coefficient_positions
    order = np.concatenate([positions, np.setdiff1d(np.arange(len(fit.params)), positions)])
    theta = fit.params.to_numpy()[order]
    inverse, _ = inverse_or_nan(-likelihood.derivatives(theta)[1])
    values, V, information = with_error_covariances(likelihood, theta, inverse)
    if fit.clusters is not None:  # CR2, where a test is of coefficients alone
        V[: len(theta), : len(theta)] = fit.cov.to_numpy()[np.ix_(order, order)]
    return values, V, information


def _restricted(fit: SystemFit, spec: SystemSpec, sigma: SigmaForm) -> NDArray[np.intp]:
    """Where what a restricted system leaves out stands in :func:`_with_sigma`."""
    terms = [(name, term) for name in fit.spec.names for term in fit.spec.terms(name)]
    errors = [(name, "lam") for name, e in fit.spec.equations.items() if e.lag_error]
    kept = {(name, term) for name in spec.names for term in spec.terms(name)}
    kept |= {(name, "lam") for name, e in spec.equations.items() if e.lag_error}
    gone = [k for k, key in enumerate([*terms, *errors]) if key not in kept]
    m = len(fit.spec.names)
    if sigma == "diagonal" and fit.sigma_form == "full":
        gone += range(len(fit.params), len(fit.params) + m * (m - 1) // 2)
    return np.array(gone, int)


#: Restrictions that every system may have, by name; those of one variable in one equation are named by these.
RESTRICTIONS = {
    text.en: text
    for text in (
        Text("no cross spillover", "无交叉溢出"),
        Text("no own spillover", "无自身溢出"),
        Text("no feedback", "无当地反馈"),
        Text("uncorrelated errors", "方程误差不相关"),
    )
}
WALD = Text("Wald test by the clustered covariance", "聚类协方差的Wald检验")
NO_MAXIMUM = Text("the restricted system has no maximum", "受约束的系统没有极大值")


def restriction_tests(fit: SystemFit) -> TestTable:
    """Tests of restrictions on a FIML system: likelihood ratios, each by a new fit; Wald tests where errors are clustered.

    ``no cross spillover`` (every ψ_gl = 0, g ≠ l), ``no own spillover`` (ψ_gg = 0), ``no feedback`` (γ = 0),
    ``no <a> → <b>`` (γ and ψ of one variable in one equation: the system is recursive for m = 2), and
    ``uncorrelated errors`` (Σ diagonal).

    A likelihood ratio assumes errors that are independent over time. Under ``covariance="cluster"`` the restricted
    parameters are tested by their clustered covariance (Σ by that of its products of errors, unit by unit) against
    F(q, n − q) after Hotelling's factor (n − q)/(n − 1).

    Returns
    -------
    TestTable; NaN where the restricted system has no maximum or is not identified, said in the note.
    """
    if not isinstance(fit, SystemFit):
        raise SpecificationError(
            "restriction_tests is for a system. Use zb.tests.simplification_tests(fit) for a fit of one equation.",
            "restriction_tests用于方程组；单方程的估计请用zb.tests.simplification_tests(fit)。",
        )
    if fit.method != "fiml":
        raise SpecificationError(
            'Restrictions are tested from a fit by method="fiml".', '约束检验须从method="fiml"的估计出发。'
        )
    if fit.spec.dynamic:
        raise SpecificationError(
            "Restrictions of a system with lags in time are those of its lags: use zb.granger(fit).",
            "含时间滞后的系统，其约束即对滞后项的约束：请用zb.granger(fit)。",
        )
    tests: list[tuple[str, SystemSpec, SigmaForm]] = [
        (*each, fit.sigma_form) for each in _restrictions(fit.spec)
    ]
    if fit.sigma_form == "full" and len(fit.spec.names) > 1:
        tests.append(("uncorrelated errors", fit.spec, "diagonal"))
    clustered = fit.covariance in CLUSTERED
    rows = _wald_rows(fit, tests) if clustered else [_restriction_row(fit, *test) for test in tests]
    table = TestTable(tuple(rows), fit.facts, RESTRICTIONS)
    return replace(table, old=table.tidy())


def _restrictions(spec: SystemSpec) -> list[tuple[str, SystemSpec]]:
    candidates: list[tuple[str, dict[str, dict[str, Any]]]] = [
        ("no cross spillover", {name: {"lag_endog": ()} for name in spec.names}),
        ("no own spillover", {name: {"lag_y": False} for name in spec.names}),
        ("no feedback", {name: {"endog": ()} for name in spec.names}),
    ]
    for target, equation in spec.equations.items():
        for source, other in spec.equations.items():
            if other.y in (*equation.endog, *equation.lag_endog):
                fewer = {
                    "endog": _without(equation.endog, other.y),
                    "lag_endog": _without(equation.lag_endog, other.y),
                }
                candidates.append((f"no {source} → {target}", {target: fewer}))
    out = []
    for name, changes in candidates:
        equations = {key: replace(e, **changes.get(key, {})) for key, e in spec.equations.items()}
        restricted = replace(spec, equations=equations)
        if restricted != spec:
            out.append((name, restricted))
    return out


def _without(names: Sequence[str], dropped: str) -> tuple[str, ...]:
    return tuple(name for name in names if name != dropped)


def _wald_rows(fit: SystemFit, tests: list[tuple[str, SystemSpec, SigmaForm]]) -> list[Row]:
    """Each restriction by the clustered covariance of the parameters it sets to zero."""
    values, V, _ = _with_sigma(fit)
    n, rows = len(fit.panel.units), []
    for name, spec, sigma in tests:
        places = _restricted(fit, spec, sigma)
        wald = np.nan
        if fit.converged:
            wald = float(quadratic_form(values[places], V[np.ix_(places, places)]))
        rows.append(Row(name, wald, len(places), cluster_p_value(wald, len(places), n), WALD))
    return rows


def _restriction_row(fit: SystemFit, name: str, spec: SystemSpec, sigma: SigmaForm) -> Row:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        try:
            restricted = fit_system(spec, fit.panel, fit.weights, "fiml", sigma=sigma)
        except SpecificationError as error:
            return Row(name, np.nan, 0, np.nan, Text(str(error), error.zh))
    (row,) = likelihood_ratio(restricted, fit).rows
    return replace(row, test=name, note=NOTHING if np.isfinite(row.statistic) else NO_MAXIMUM)


#: The test of regime_tests.
EQUAL_REGIMES = Text("Wald equal regimes", "Wald 检验（各区制相等）")


def regime_tests(fit: Fit) -> TestTable:
    """Wald tests that regimes are equal (Chow's): ρ, every β and θ, and all of them together.

    Returns
    -------
    TestTable of χ² tests, of ρ and each coefficient with as many degrees of freedom as regimes less one, and ``"all"`` of
    them at once; of two regimes ``tidy()`` has term, difference (second regime less first) and its std_error beside.
    ``row("Wald equal regimes", "rho")`` is one of them. Of clustered errors p is that of Hotelling's T² by n units.

    Raises
    ------
    SpecificationError
        A fit without regimes.

    Notes
    -----
    Chow (1960), Econometrica 28: 591-605; with spatial lags Anselin (1990), J. Regional Science 30: 185-207.
    """
    names, contrast = regime_contrast(fit)
    own = contrast[:, :-1]  # σ² is the last, and may have no error
    difference, cov = contrast @ fit.claimed.to_numpy(), own @ fit.cov.to_numpy()[:-1, :-1] @ own.T
    terms = list(dict.fromkeys(names))
    groups = {name: np.flatnonzero([other == name for other in names]) for name in terms}
    groups["all"] = np.arange(len(names))
    rows, units = [], len(fit.panel.units)
    for term, at in groups.items():
        part = cov[np.ix_(at, at)]
        statistic = float(difference[at] @ np.linalg.solve(part, difference[at])) if fit.converged else np.nan
        p = (
            cluster_p_value(statistic, len(at), units)
            if fit.covariance in CLUSTERED
            else chi2_tail(statistic, len(at))
        )
        one = len(at) == 1 and term != "all"
        more = {
            "term": term,
            "difference": float(difference[at][0]) if one else np.nan,
            "std_error": float(np.sqrt(part[0, 0])) if one else np.nan,
        }
        rows.append(Row(EQUAL_REGIMES.en, statistic, len(at), float(p), of=term, more=more))
    columns = ["term", "difference", "std_error", "statistic", "df", "p_value"]
    frame = pd.DataFrame(
        [{**row.more, "statistic": row.statistic, "df": row.df, "p_value": row.p_value} for row in rows]
    )[columns]
    return TestTable(tuple(rows), fit.facts, {EQUAL_REGIMES.en: EQUAL_REGIMES}, old=frame)
