"""Two regimes of units, such as core cities and the rest: ρ, β and θ of their own, and tests of equality."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg

from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.notes import Note
from spatial_zb.base.results import Row, TestTable
from spatial_zb.base.text import Text, cell_of
from spatial_zb.core import Array, chi2_tail
from spatial_zb.core.clusters import Clusters, clusters_of
from spatial_zb.core.likelihood.covariance import (
    Residuals,
    bartlett_bandwidth,
    driscoll_kraay_meat,
    inverse_or_nan,
)
from spatial_zb.core.likelihood.regimes import (
    RegimeMaximum,
    Regimes,
    regime_maximum,
    regime_moments,
    unit_scores_meat,
)
from spatial_zb.core.logdet.factors import largest_sums
from spatial_zb.core.logdet.traces import DENSE_UNITS
from spatial_zb.core.transforms import ColumnBasis, TransformedSample, demean, spatial_lag
from spatial_zb.data.panel import Panel
from spatial_zb.models.certainty import degrees_of
from spatial_zb.models.design import Design, build_design, stacked
from spatial_zb.models.fit import Fit, term_index
from spatial_zb.models.ml import SMALL_N, notes_on_dependence
from spatial_zb.models.notes import (
    BOOTSTRAP,
    few_units_by_regime,
    no_root,
    not_positive,
)
from spatial_zb.models.spec import CLUSTERED, Convergence, Covariance, DurbinSpec, corrects_leverage
from spatial_zb.weights.matrix import Weights

#: Fewest units of a regime: with fewer its coefficients rest on single units.
FEWEST_UNITS = 2


def regime_design(spec: DurbinSpec, panel: Panel, weights: Weights) -> Design:
    """The arrays of y on D_r x and D_r Wx, made as variables of their own and so checked as any other.

    Raises
    ------
    DataError
        A regime column that is blank, changes over time, or has not two values of two units each; variables that
        :func:`spatial_zb.models.design.build_design` refuses.
    """
    values, regime = regime_split(spec, panel)
    labels = regime_labels(spec, values)
    columns = {name: panel.array(name) for name in spec.x}
    columns |= {f"W_{name}": spatial_lag(weights.matrix, panel.array(name)) for name in spec.lag_x}
    parts = {
        f"{name}{label}": column * (regime == r)
        for name, column in columns.items()
        for r, label in enumerate(labels)
    }
    plain = DurbinSpec(spec.y, list(parts), spec.lag_y, [], fixed_effects=spec.fixed_effects)
    return replace(build_design(plain, panel.with_columns(parts), weights), spec=spec, panel=panel)


def fit_regimes(design: Design, covariance: Covariance, bandwidth: int | None = None) -> Fit:
    """Estimate ρ_r, β_r and θ_r by regime r of the receiving unit, with unit or two-way effects.

    y_it = ρ_{r(i)} (Wy_t)_i + x_it β_{r(i)} + (Wx_t)_i θ_{r(i)} + μ_i + α_t + ε_it. The design is that of
    :func:`regime_design`.

    Raises
    ------
    SpecificationError
        ``covariance="cluster"`` with more units than its exact form allows.
    """
    spec, weights, panel = design.spec, design.weights, design.panel
    if covariance in CLUSTERED and weights.n > DENSE_UNITS:
        raise SpecificationError(
            f'covariance="{covariance}" of regimes stops at {DENSE_UNITS} units; take "information" or "driscoll_kraay".',
            f'区制的covariance="{covariance}"上限为{DENSE_UNITS}个地区；请用"information"或"driscoll_kraay"。',
        )
    values, regime = regime_split(spec, panel)
    regimes = regimes_of(weights, regime, spec.fixed_effects == "two_way")
    sample = design.sample()
    lags = regime_lags(spec, panel.array(spec.y), regimes)
    Z, y = stacked(design.Z), stacked(design.y)
    best = estimate_regimes(spec, y, lags, Z, design.basis, regimes, sample)
    at = _Evaluated(design, regimes, best, sample, lags, y - lags @ best.rho - Z @ best.delta)
    if bandwidth is None:
        bandwidth = bartlett_bandwidth(sample.n_periods)
    cov, positive, clusters = _covariance(at, covariance, bandwidth)
    notes = _notes_on(at, covariance, positive)
    return replace(_assembled(at, covariance, cov, positive, values), clusters=clusters, notes=notes)


@dataclass(frozen=True, slots=True)
class _Evaluated:
    """An estimate, and the arrays at it: D_rWy (M, 2) and ε̂ (M,)."""

    design: Design
    regimes: Regimes
    best: RegimeMaximum
    sample: TransformedSample
    lags: Array
    e: Array


def regime_split(spec: DurbinSpec, panel: Panel) -> tuple[Array, NDArray[np.intp]]:
    """The two values of the regime column, the smaller first, and the regime 0 or 1 of every unit (n,)."""
    name = str(spec.regimes)
    column = panel.array(name)
    blank = np.argwhere(np.isnan(column))
    if len(blank):
        cells = [cell_of(panel.units[i], panel.periods[t]) for t, i in blank]
        raise DataError(
            f"The regime column {name!r} is blank for {listed(cells)}.",
            f"区制列{name!r}在{listed_zh(cells)}空缺。",
        )
    changed = panel.units[np.ptp(column, axis=0) > 0]
    if len(changed):
        raise DataError(
            f"The regime column {name!r} changes over time for {listed(changed)}. A unit stays in one regime: use its value "
            "of one period for all, or interactions of x with it (zb.marginal_effects).",
            f"区制列{name!r}在{listed_zh(changed)}随时间变化。一个地区始终属于一个区制：请各时期用同一时期的值，"
            "或用x与它的交互项（zb.marginal_effects）。",
        )
    values, regime = np.unique(column[0], return_inverse=True)
    if len(values) != 2:
        raise DataError(
            f"The regime column {name!r} has the values {listed(f'{v:g}' for v in values)}; two are needed.",
            f"区制列{name!r}的取值为{listed_zh(f'{v:g}' for v in values)}；须恰有两个。",
        )
    few = [
        f"{value:g}" for value, size in zip(values, np.bincount(regime), strict=True) if size < FEWEST_UNITS
    ]
    if few:
        raise DataError(
            f"Regime {name} = {listed(few)} has fewer than {FEWEST_UNITS} units: it cannot be estimated.",
            f"区制{name} = {listed_zh(few)}少于{FEWEST_UNITS}个地区，无法估计。",
        )
    return values, regime


def regimes_of(weights: Weights, regime: NDArray[np.intp], timed: bool) -> Regimes:
    """W and its regimes; for W ≥ 0 the spectral radius is its largest eigenvalue, else it is bounded by sums."""
    positive = weights.matrix.data.min(initial=0.0) >= 0
    bound = weights.logdet.interval[1] if positive else 1 / largest_sums(weights.matrix)
    return Regimes(weights.matrix, regime, timed, float(bound))


def regime_labels(spec: DurbinSpec, values: Iterable[float]) -> tuple[str, str]:
    """``[core=0]`` and ``[core=1]``, which end the names of coefficients."""
    first, second = (f"[{spec.regimes}={value:g}]" for value in values)
    return first, second


def regime_lags(spec: DurbinSpec, y: Array, regimes: Regimes) -> Array:
    """D_rWy of y (T, n) after the transform, stacked (M, 2): first multiplied, then demeaned."""
    Wy = spatial_lag(regimes.matrix, y)
    parts = [demean(Wy * (regimes.regime == r), spec.transform) for r in (0, 1)]
    return np.column_stack([stacked(part) for part in parts])


def estimate_regimes(
    spec: DurbinSpec,
    y: Array,
    lags: Array,
    Z: Array,
    basis: ColumnBasis,
    regimes: Regimes,
    sample: TransformedSample,
) -> RegimeMaximum:
    """The estimate from stacked arrays after the transform, with ``basis`` that of Z.

    They may have more rows than ``sample`` counts: one long sample with the squares that are expected.
    """
    if spec.lag_y:
        return regime_maximum(y, lags, Z, basis, regimes, sample)
    delta = linalg.solve_triangular(basis.R, basis.Q.T @ y) / basis.scale
    e = y - Z @ delta
    sigma2, N = float(e @ e) / sample.observations, sample.observations
    value = -N / 2 * (np.log(2 * np.pi * sigma2) + 1)
    return RegimeMaximum(np.zeros(2), delta, sigma2, False, 0.0, float(value))


def _covariance(at: _Evaluated, kind: str, bandwidth: int) -> tuple[Array, bool, Clusters | None]:
    """K⁻¹ Ω K⁻ᵀ in (δ, ρ₁, ρ₂, σ²), Ω as ``kind`` says, and whether it exists; without ρ where there is none.

    Under CR2 the clusters as well.
    """
    Z, lags, best, regimes, sample = stacked(at.design.Z), at.lags, at.best, at.regimes, at.sample
    k, e, shape = Z.shape[1], at.e, at.design.y.shape
    kept = np.ix_(*2 * [[*range(k + 3)] if at.design.spec.lag_y else [*range(k), k + 2]])
    nothing = np.full((k + 3, k + 3), np.nan)[kept]
    if best.at_bound:
        return nothing, False, None
    means = lags - _moved(e.reshape(shape), best.rho, at.design, regimes)
    moments = regime_moments(Z, means, best.rho, best.sigma2, regimes, sample)
    jacobian = moments.jacobian[kept]  # what is held at zero takes no precision from the others
    if not inverse_or_nan((jacobian + jacobian.T) / 2)[1]:
        return nothing, False, None
    clusters = None
    if kind == "information":
        meat = moments.variance
    elif kind in CLUSTERED:
        if corrects_leverage(kind, shape[1]):
            columns = np.column_stack([Z, means]) if at.design.spec.lag_y else Z
            clusters = clusters_of(columns.reshape(*shape, columns.shape[1]), at.design.spec.transform)
        meat = unit_scores_meat(
            Z, means, e, best.rho, best.sigma2, shape, regimes, sample.observations, clusters
        )
    else:
        parts = Residuals(Z, means[:, 0], lags[:, 0], lags[:, 1], None, None, e)
        meat = driscoll_kraay_meat(parts, best.sigma2, shape, bandwidth)
    units = 1 / np.sqrt(np.diag(jacobian))  # of measurement: K is solved with a diagonal of ones
    scaled = jacobian * np.outer(units, units)
    half = np.linalg.solve(scaled, meat[kept] * np.outer(units, units))
    cov = np.linalg.solve(scaled, half.T) * np.outer(units, units)
    return (cov + cov.T) / 2, True, clusters


def _moved(e: Array, rho: Array, design: Design, regimes: Regimes) -> Array:
    """D_rG e of every period after the transform, stacked (M, 2)."""
    solve, _ = regimes.solver(rho)
    moved = regimes.matrix @ solve(e.T)
    parts = [demean(regimes.part(moved, r).T, design.spec.transform) for r in (0, 1)]
    return np.column_stack([stacked(part) for part in parts])


def _assembled(at: _Evaluated, covariance: Covariance, cov: Array, positive: bool, values: Array) -> Fit:
    design, best, sample = at.design, at.best, at.sample
    spec, labels = design.spec, regime_labels(design.spec, values)
    rho = list(best.rho) if spec.lag_y else []
    terms = (*spec.x, *(f"W_{name}" for name in spec.lag_x), *(["rho"] if spec.lag_y else []))
    index = term_index((*(f"{term}{label}" for term in terms for label in labels), "sigma2"))
    return Fit(
        design=design,
        estimator="lee_yu",
        covariance=covariance,
        params=pd.Series([*best.delta, *rho, best.sigma2], index=index, name="estimate"),
        cov=pd.DataFrame(cov, index=index, columns=index),
        log_likelihood=best.log_likelihood,
        nobs=sample.observations,
        absorbed=sample.absorbed,
        residuals=at.e.reshape(design.y.shape),
        df_resid=degrees_of(covariance, sample.n_units),
        convergence=Convergence(
            converged=positive and not best.at_bound,
            at_bound=best.at_bound,
            gradient=best.gradient,
            regimes=tuple(float(v) for v in values),
        ),
    )


def _notes_on(at: _Evaluated, covariance: str, positive: bool) -> tuple[Note, ...]:
    notes = notes_on_dependence(covariance, at.sample, 0.0)
    if at.best.at_bound:
        notes.append(no_root())
    elif not positive:
        notes.append(not_positive())
    if at.sample.n_units <= SMALL_N:
        first, second = np.bincount(at.regimes.regime).tolist()
        notes.append(few_units_by_regime(first, second, BOOTSTRAP))
    return tuple(notes)


#: The test of regime_tests.
EQUAL_REGIMES = Text("Wald equal regimes", "Wald 检验（两区制相等）")


def regime_tests(fit: Fit) -> TestTable:
    """Wald tests that the two regimes are equal: ρ, every β and θ, and all of them together.

    Returns
    -------
    TestTable of χ² tests, of ρ and each coefficient, and ``"all"`` of them at once; ``tidy()`` has term, difference
    (second regime less first) and its std_error beside. ``row("Wald equal regimes", "rho")`` is one of them.

    Raises
    ------
    SpecificationError
        A fit without regimes.
    """
    names, contrast = regime_contrast(fit)
    difference = contrast @ fit.claimed.to_numpy()
    cov = contrast @ fit.cov.to_numpy() @ contrast.T
    std_error = np.sqrt(np.diag(cov))
    joint = float(difference @ np.linalg.solve(cov, difference)) if fit.converged else np.nan
    statistic = np.append((difference / std_error) ** 2, joint)
    df = np.append(np.ones(len(names), int), len(names))
    frame = pd.DataFrame(
        {
            "term": [*names, "all"],
            "difference": np.append(difference, np.nan),
            "std_error": np.append(std_error, np.nan),
            "statistic": statistic,
            "df": df,
            "p_value": chi2_tail(statistic, df),
        }
    )
    rows = [
        Row(
            EQUAL_REGIMES.en,
            record["statistic"],
            record["df"],
            record["p_value"],
            of=record["term"],
            more={name: record[name] for name in ("term", "difference", "std_error")},
        )
        for record in frame.to_dict("records")
    ]
    return TestTable(tuple(rows), fit.facts, {EQUAL_REGIMES.en: EQUAL_REGIMES}, old=frame)


def regime_contrast(fit: Fit) -> tuple[list[str], Array]:
    """Names of the coefficients that have two regimes, and the (q, p) matrix of second less first.

    Raises
    ------
    SpecificationError
        A fit without regimes.
    """
    if not fit.spec.regimes:
        raise SpecificationError(
            f"{fit!r} has one regime: name a column in DurbinSpec(regimes=...).",
            f"{fit!r}只有一个区制：请在DurbinSpec(regimes=...)中指定列。",
        )
    first, second = regime_labels(fit.spec, fit.convergence.regimes)
    names = [name.removesuffix(first) for name in fit.params.index if name.endswith(first)]
    rows = {name: {f"{name}{second}": 1.0, f"{name}{first}": -1.0} for name in names}
    return names, pd.DataFrame(rows).T.reindex(columns=fit.params.index).fillna(0.0).to_numpy()
