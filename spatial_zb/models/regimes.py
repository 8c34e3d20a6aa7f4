"""Regimes of units, such as core cities and the rest: ρ, β and θ of their own, in panels of any shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg

from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.notes import Kind, Note
from spatial_zb.base.text import Text, cell_of
from spatial_zb.core import Array
from spatial_zb.core.clusters import Clusters, clusters_of
from spatial_zb.core.likelihood.covariance import (
    Residuals,
    bartlett_bandwidth,
    driscoll_kraay_meat,
    inverse_or_nan,
)
from spatial_zb.core.likelihood.errors import errors_of
from spatial_zb.core.likelihood.regimes import (
    RegimeMaximum,
    RowRegimes,
    regime_maximum,
    regime_moments,
    regime_point,
    unit_scores_meat,
)
from spatial_zb.core.likelihood.shape_rows import DENSE_PERIOD
from spatial_zb.core.logdet.factors import Regimes, largest_sums
from spatial_zb.core.transforms import ColumnBasis, TransformedSample, column_basis, demean, spatial_lag
from spatial_zb.data.panel import Panel
from spatial_zb.models.certainty import Certainty, degrees_of, least_squares, probe_error
from spatial_zb.models.design import Design, build_design, stacked
from spatial_zb.models.fit import Fit, term_index
from spatial_zb.models.ml import (
    INDEPENDENT,
    SMALL_N,
    errors_of_rows,
    notes_on_correlation,
    notes_on_dependence,
)
from spatial_zb.models.notes import BOOTSTRAP, few_units_by_regime, no_root, not_positive
from spatial_zb.models.shape import (
    Lags,
    ShapeDesign,
    assembled,
    build_shape,
    fit_shape,
    placed,
    shape_cov,
    used_rows,
)
from spatial_zb.models.spec import (
    CLUSTERED,
    INTERCEPT,
    Convergence,
    Covariance,
    DurbinSpec,
    corrects_leverage,
)
from spatial_zb.weights.matrix import Weights
from spatial_zb.weights.periods import row_blocks

#: Fewest units of a regime, whose coefficients else rest on single ones; with fewer rows for each ρ their bias is said.
FEWEST_UNITS, FEWEST_ROWS = 2, 50


def regime_design(spec: DurbinSpec, panel: Panel, weights: Weights) -> Design:
    """The arrays of y on D_r x and D_r Wx, made as variables of their own and so checked as any other.

    Without fixed effects each regime has an intercept. What ``spec.common`` names is one column for all regimes.

    Raises
    ------
    DataError
        A regime column that is blank, changes over time, or has not two values or more of two units each; variables that
        :func:`spatial_zb.models.design.build_design` refuses.
    """
    lagged = {f"W_{name}": spatial_lag(weights.matrix, panel.array(name)) for name in spec.lag_x}
    parts = _split(spec, panel, lagged)
    plain = DurbinSpec(spec.y, list(parts), spec.lag_y, [], fixed_effects=spec.fixed_effects)
    design = replace(build_design(plain, panel.with_columns(parts), weights), spec=spec, panel=panel)
    Z = _own_intercepts(design.Z, parts)
    return design if Z is design.Z else replace(design, Z=Z, basis=column_basis(stacked(Z)))


def _split(spec: DurbinSpec, panel: Panel, lagged: Mapping[str, Array]) -> dict[str, Array]:
    """x and Wx (T, n), each as one variable by regime, or as it is where the regimes share its coefficient."""
    values, regime = regime_split(spec, panel)
    labels, parts = regime_labels(spec, values), {}
    apart = spec.fixed_effects == "none" and INTERCEPT not in spec.common
    if apart:  # the first is what is left of that of all
        ones = np.where(panel.present, 1.0, np.nan)
        parts = {f"{INTERCEPT}{label}": ones * (regime == r) for r, label in enumerate(labels) if r}
    for name, column in ({name: panel.array(name) for name in spec.x} | dict(lagged)).items():
        if name in spec.common:
            parts[name] = column
        else:
            parts |= {f"{name}{label}": column * (regime == r) for r, label in enumerate(labels)}
    return parts


def _own_intercepts(Z: Array, parts: Iterable[str]) -> Array:
    """Z (…, k) with the intercept of the first regime in place of that of all, where the others have their own."""
    others, out = sum(name.startswith(INTERCEPT) for name in parts), Z.copy()
    out[..., 0] -= Z[..., 1 : 1 + others].sum(axis=-1)
    return out if others else Z


def fit_regime_rows(
    spec: DurbinSpec,
    panel: Panel,
    lags: Lags,
    reasons: tuple[str, ...],
    covariance: Covariance,
    bandwidth: int | None,
) -> Fit:
    """Regimes in a panel of any shape: the adjusted score of x and Wx of each regime as variables, with one ρ or of each."""
    values, _ = regime_split(spec, panel)
    there = used_rows(spec, panel)
    lagged = {f"W_{name}": np.full(there.shape, np.nan) for name in spec.lag_x}
    for t, W in enumerate(row_blocks(lags.x, panel.units, panel.periods, there)):
        for name in spec.lag_x:
            lagged[f"W_{name}"][t, there[t]] = W @ panel.array(name)[t, there[t]]
    parts = _split(spec, panel, lagged)
    plain = DurbinSpec(spec.y, list(parts), spec.lag_y, [], fixed_effects=spec.fixed_effects)
    made = build_shape(plain, panel.with_columns(parts), lags, reasons)
    Z = _own_intercepts(made.shape.Z, parts)
    if Z is not made.shape.Z:
        shape = replace(made.shape, Z=Z, _kept={}, _lagged={})
        made = replace(made, shape=shape, Z=placed(Z, made.present), basis=column_basis(Z))
    own = panel.select(list(made.panel.units), list(made.panel.periods))
    design = replace(made, spec=spec, panel=own)
    if spec.lag_y and "rho" not in spec.common:
        return estimate_regime_rows(design, covariance, bandwidth)
    fit, index = fit_shape(made, covariance, bandwidth), term_index((*regime_terms(spec, values), "sigma2"))
    convergence = replace(fit.convergence, regimes=tuple(map(float, values)))
    cov = fit.cov.set_axis(index, axis=0).set_axis(index, axis=1)
    return replace(fit, design=design, convergence=convergence, params=fit.params.set_axis(index), cov=cov)


def row_regimes(design: ShapeDesign) -> RowRegimes:
    """The regime of every row and the W of y, of a model with a ρ for each.

    Raises
    ------
    SpecificationError
        Periods of more units than dense filters are made for.
    """
    W, regime = design.shape.W, regime_split(design.spec, design.panel)[1]
    assert W is not None, "there is a lag of y"
    if not W.dense:
        raise SpecificationError(
            f'In this shape of panel ρ by regime is for periods of up to {DENSE_PERIOD} units: take common=["rho"].',
            f'此形态的面板分区制估计ρ时，每期至多{DENSE_PERIOD}个地区：请用common=["rho"]。',
        )
    positive = all(block.data.min(initial=0.0) >= 0 for block in W.distinct)
    bound = W.interval[1] if positive else min(1 / largest_sums(block) for block in W.distinct if block.nnz)
    return RowRegimes(design.shape, regime[design.shape.unit], int(regime.max()) + 1, float(bound))


def estimate_regime_rows(
    design: ShapeDesign, covariance: Covariance, bandwidth: int | None = None, start: Array | None = None
) -> Fit:
    """ρ, β and θ of each regime in a panel of any shape; without notes from ``start``, the ρ of what is redrawn."""
    spec, units = design.spec, len(design.panel.units)
    values, regime = regime_split(spec, design.panel)
    point, best = regime_point(row_regimes(design), design.values, start)
    made = shape_cov(point, covariance, bandwidth) if point.found.solved else (None, False)
    fit = assembled(design, point, covariance, made, (regime_terms(spec, values), best.rho.tolist()))
    convergence = replace(fit.convergence, gradient=best.gradient, regimes=tuple(map(float, values)))
    fit = replace(fit, convergence=convergence)
    if start is not None:
        return fit
    rows = TransformedSample(units, len(design.panel.periods), fit.nobs, 1, False, fit.absorbed)
    notes = notes_on_dependence(covariance, rows, 0.0)
    if made[1] and covariance in INDEPENDENT:
        notes += notes_on_correlation(errors_of_rows(point), covariance)
    notes += [no_root()] if best.at_bound else [] if made[1] else [not_positive()]
    return replace(fit, notes=(*notes, *_few(regime, fit.nobs, len(best.rho))))


def regime_terms(spec: DurbinSpec, values: Iterable[float]) -> tuple[str, ...]:
    """Names of the coefficients but σ², in the order of the parameters: ``x[core=0]``, or ``x`` where all have one."""
    labels = regime_labels(spec, values)
    first = (INTERCEPT,) if spec.fixed_effects == "none" else ()
    names = (*first, *spec.x, *(f"W_{name}" for name in spec.lag_x), *spec.spatial_terms)
    return tuple(
        term for name in names for term in ([name] if name in spec.common else [f"{name}{k}" for k in labels])
    )


def fit_regimes(design: Design, covariance: Covariance, bandwidth: int | None = None) -> Fit:
    """Estimate ρ_r, β_r and θ_r by regime r of the receiving unit, with unit or two-way effects or an intercept for each.

    y_it = ρ_{r(i)} (Wy_t)_i + x_it β_{r(i)} + (Wx_t)_i θ_{r(i)} + μ_i + α_t + ε_it. The design is that of
    :func:`regime_design`.
    """
    spec, weights, panel = design.spec, design.weights, design.panel
    values, regime = regime_split(spec, panel)
    regimes = regimes_of(spec, weights, regime)
    sample = design.sample()
    lags = regime_lags(spec, panel.array(spec.y), regimes)
    Z, y = stacked(design.Z), stacked(design.y)
    best = estimate_regimes(spec, y, lags, Z, design.basis, regimes, sample)
    at = _Evaluated(design, regimes, best, sample, lags, y - lags @ best.rho - Z @ best.delta)
    if bandwidth is None:
        bandwidth = bartlett_bandwidth(sample.n_periods)
    found, clusters = _covariance(at, covariance, bandwidth)
    of_errors = _notes_on_errors(at, covariance) if found.exists else ()
    notes = (*_notes_on(at, covariance, found.exists), *of_errors)
    return replace(_assembled(at, covariance, found, values), clusters=clusters, notes=notes)


@dataclass(frozen=True, slots=True)
class _Evaluated:
    """An estimate, and the arrays at it: D_rWy (M, c) and ε̂ (M,)."""

    design: Design
    regimes: Regimes
    best: RegimeMaximum
    sample: TransformedSample
    lags: Array
    e: Array


def regime_split(spec: DurbinSpec, panel: Panel) -> tuple[Array, NDArray[np.intp]]:
    """The values of the regime column in ascending order, and the regime 0, 1, … of every unit (n,)."""
    name = str(spec.regimes)
    column = panel.array(name)
    blank = np.argwhere(np.isnan(column) & panel.present)
    if len(blank):
        cells = [cell_of(panel.units[i], panel.periods[t]) for t, i in blank]
        raise DataError(
            f"The regime column {name!r} is blank for {listed(cells)}.",
            f"区制列{name!r}在{listed_zh(cells)}空缺。",
        )
    there = panel.present
    low, high = (
        end(np.where(there, column, gap), axis=0) for end, gap in ((np.min, np.inf), (np.max, -np.inf))
    )
    changed = panel.units[high > low]
    if len(changed):
        raise DataError(
            f"The regime column {name!r} changes over time for {listed(changed)}. A unit stays in one regime: use its value "
            "of one period for all, or interactions of x with it (zb.marginal_effects).",
            f"区制列{name!r}在{listed_zh(changed)}随时间变化。一个地区始终属于一个区制：请各时期用同一时期的值，"
            "或用x与它的交互项（zb.marginal_effects）。",
        )
    values, regime = np.unique(high, return_inverse=True)
    if len(values) < 2:
        raise DataError(
            f"The regime column {name!r} has one value, {values[0]:g}, for all units; two or more are needed.",
            f"区制列{name!r}对所有地区只有一个取值{values[0]:g}；至少需要两个。",
        )
    few = [f"{value:g}" for value in values[np.bincount(regime) < FEWEST_UNITS]]
    if few:
        raise DataError(
            f"Regime {name} = {listed(few)} has fewer than {FEWEST_UNITS} units: it cannot be estimated. Put them into "
            "another regime, or leave them out. (Is it a variable of groups?)",
            f"区制{name} = {listed_zh(few)}少于{FEWEST_UNITS}个地区，无法估计。请并入其他区制或剔除。"
            "（该变量是分组变量吗？）",
        )
    return values, regime


def regimes_of(spec: DurbinSpec, weights: Weights, regime: NDArray[np.intp]) -> Regimes:
    """W and the regimes of a model; for W ≥ 0 the spectral radius is its largest eigenvalue, else it is bounded by sums."""
    positive = weights.matrix.data.min(initial=0.0) >= 0
    bound = weights.logdet.interval[1] if positive else 1 / largest_sums(weights.matrix)
    timed = spec.fixed_effects == "two_way"
    groups, own = int(regime.max()) + 1, "rho" not in spec.common
    return Regimes(weights.matrix, regime, groups, timed, float(bound), own)


def regime_labels(spec: DurbinSpec, values: Iterable[float]) -> tuple[str, ...]:
    """``[core=0]``, ``[core=1]``, …, which end the names of coefficients."""
    return tuple(f"[{spec.regimes}={value:g}]" for value in values)


def regime_lags(spec: DurbinSpec, y: Array, regimes: Regimes) -> Array:
    """D_rWy of y (T, n) after the transform, stacked (M, c): first multiplied, then demeaned."""
    return _by_rho(spec, spatial_lag(regimes.matrix, y), regimes)


def _by_rho(spec: DurbinSpec, values: Array, regimes: Regimes) -> Array:
    """D_r of values (T, n) after the transform, stacked (M, c)."""
    parts = [demean(values * (regimes.slot == r), spec.transform) for r in range(regimes.count)]
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
    return RegimeMaximum(np.zeros(regimes.count), delta, sigma2, False, 0.0, float(value))


def _covariance(at: _Evaluated, kind: str, bandwidth: int) -> tuple[Certainty, Clusters | None]:
    """K⁻¹ Ω K⁻ᵀ in (δ, ρ_1 … ρ_c, σ²), Ω as ``kind`` says; without ρ where there is none. Under CR2 the clusters as well."""
    Z, lags, best, regimes, sample = stacked(at.design.Z), at.lags, at.best, at.regimes, at.sample
    k, e, shape = Z.shape[1], at.e, at.design.y.shape
    last = k + regimes.count
    kept = np.ix_(*2 * [[*range(last + 1)] if at.design.spec.lag_y else [*range(k), last]])
    nothing = np.full((last + 1, last + 1), np.nan)[kept]
    if best.at_bound:
        return Certainty(nothing, False), None
    means = lags - _moved(e.reshape(shape), best.rho, at.design, regimes)
    moments = regime_moments(Z, means, best.rho, best.sigma2, regimes, sample)
    jacobian = moments.jacobian[kept]  # what is held at zero takes no precision from the others
    if not inverse_or_nan((jacobian + jacobian.T) / 2)[1]:
        return Certainty(nothing, False), None
    clusters, error = None, np.zeros(moments.variance.shape)
    if kind == "information":
        meat = moments.variance
    elif kind in CLUSTERED:
        if corrects_leverage(kind, shape[1]):
            columns = np.column_stack([Z, means]) if at.design.spec.lag_y else Z
            clusters = clusters_of(columns.reshape(*shape, columns.shape[1]), at.design.spec.transform)
        meat, error = unit_scores_meat(
            Z, means, e, best.rho, best.sigma2, shape, regimes, sample.observations, clusters
        )
    else:
        # each lag as a column: the last stands where λ would not
        columns = np.column_stack([Z, lags[:, :-1]])
        parts = Residuals(columns, means[:, -1], lags[:, -1], np.zeros_like(e), None, None, e)
        used = [*range(last), last + 1]
        meat = driscoll_kraay_meat(parts, best.sigma2, shape, bandwidth)[np.ix_(used, used)]
    units = 1 / np.sqrt(np.diag(jacobian))  # of measurement: K is solved with a diagonal of ones
    scaled = jacobian * np.outer(units, units)
    half = np.linalg.solve(scaled, meat[kept] * np.outer(units, units))
    cov = np.linalg.solve(scaled, half.T) * np.outer(units, units)
    probed = probe_error(cov, np.linalg.inv(scaled) * np.outer(units, units), error[kept])
    return Certainty((cov + cov.T) / 2, True, probe_error=probed), clusters


def _moved(e: Array, rho: Array, design: Design, regimes: Regimes) -> Array:
    """D_rG e of every period after the transform, stacked (M, c)."""
    return _by_rho(design.spec, (regimes.matrix @ regimes.solver(rho)[0](e.T)).T, regimes)


def _assembled(at: _Evaluated, covariance: Covariance, found: Certainty, values: Array) -> Fit:
    design, best, sample, cov = at.design, at.best, at.sample, found.cov
    spec = design.spec
    rho = list(best.rho) if spec.lag_y else []
    index = term_index((*regime_terms(spec, values), "sigma2"))
    df, sigma2 = None, best.sigma2
    if not spec.lag_y:  # ordinary least squares: classical degrees of freedom
        few = corrects_leverage(covariance, design.y.shape[1])
        sigma2, cov, df = least_squares(sample, len(best.delta), sigma2, cov, few)
    return Fit(
        design=design,
        estimator="lee_yu",
        covariance=covariance,
        params=pd.Series([*best.delta, *rho, sigma2], index=index, name="estimate"),
        cov=pd.DataFrame(cov, index=index, columns=index),
        log_likelihood=best.log_likelihood,
        nobs=sample.observations,
        absorbed=sample.absorbed,
        residuals=at.e.reshape(design.y.shape),
        df_resid=degrees_of(covariance, sample.n_units, df),
        convergence=Convergence(
            converged=found.exists and not best.at_bound,
            at_bound=best.at_bound,
            gradient=best.gradient,
            probe_error=found.probe_error,
            regimes=tuple(float(v) for v in values),
        ),
    )


def _notes_on(at: _Evaluated, covariance: str, positive: bool) -> tuple[Note, ...]:
    notes = notes_on_dependence(covariance, at.sample, 0.0)
    if at.best.at_bound:
        notes.append(no_root())
    elif not positive:
        notes.append(not_positive())
    return (*notes, *_few(at.regimes.regime, at.sample.observations, at.regimes.count * at.design.spec.lag_y))


def _few(regime: NDArray[np.intp], rows: int, count: int) -> list[Note]:
    """Few units, or few observations for each of ``count`` ρ."""
    if len(regime) <= SMALL_N:
        return [few_units_by_regime(tuple(np.bincount(regime).tolist()), BOOTSTRAP)]
    return [few_rows_by_regime(rows, count)] if count > 1 and rows < FEWEST_ROWS * count else []


@Kind
def few_rows_by_regime(rows: int, count: int) -> Text:
    """Observations that effects leave for so many ρ (spatial-zb docs validation/regimes)."""
    return Text(
        f"{rows} observations for {count} ρ: in simulations as short they lean low by 0.01 to 0.03, and 5 % tests of equal "
        f"regimes reject 5 to 10 %. See {BOOTSTRAP}.bias_corrected() and spatial-zb docs validation/regimes",
        f"{count}个ρ只有{rows}个观测：如此短的模拟中ρ偏低0.01至0.03，区制相等的5%检验拒绝5%至10%。请看"
        f"{BOOTSTRAP}.bias_corrected()与spatial-zb docs validation/regimes",
    )


def _notes_on_errors(at: _Evaluated, covariance: str) -> list[Note]:
    """Errors that go together over time, where the covariance takes them as independent."""
    if covariance not in INDEPENDENT:
        return []
    shape = at.design.y.shape
    moved = _moved(at.e.reshape(shape), at.best.rho, at.design, at.regimes)
    slopes = (at.lags - moved)[:, : 2 * at.design.spec.lag_y]
    basis = column_basis(np.column_stack([stacked(at.design.Z), slopes])).Q.reshape(*shape, -1)
    e = at.e.reshape(shape)
    return notes_on_correlation(errors_of(e, basis, np.zeros_like(e), at.design.spec.transform), covariance)


def regime_contrast(fit: Fit) -> tuple[list[str], Array]:
    """Names of the coefficients that differ by regime, and the (q, p) matrix of each further regime less the first.

    A name stands once for each regime but the first.

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
    first, *others = regime_labels(fit.spec, fit.convergence.regimes)
    names = [name.removesuffix(first) for name in fit.params.index if name.endswith(first)]
    rows = [(name, {f"{name}{label}": 1.0, f"{name}{first}": -1.0}) for name in names for label in others]
    frame = pd.DataFrame([row for _, row in rows]).reindex(columns=fit.params.index).fillna(0.0)
    return [name for name, _ in rows], frame.to_numpy()
