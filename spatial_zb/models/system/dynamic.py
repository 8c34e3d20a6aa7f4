"""Systems given the period before: where its coefficients stand, what their errors are, and what speaks against them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spatial_zb.base.errors import SpecificationError
from spatial_zb.base.notes import Kind, Note, quoted
from spatial_zb.base.results import Row, TestTable
from spatial_zb.base.text import Text
from spatial_zb.core import Array
from spatial_zb.core.clusters import Clusters
from spatial_zb.core.likelihood.covariance import inverse_or_nan
from spatial_zb.core.likelihood.tests import cluster_p_value, quadratic_form
from spatial_zb.core.system import Links, within_residuals
from spatial_zb.core.system.dynamic import Carried, CarriedGenerator
from spatial_zb.core.system.fiml import SigmaForm, SystemLikelihood, slopes_of
from spatial_zb.core.system.scores import (
    clustered_covariance,
    likelihood_clusters,
    quasi_covariance,
    unit_scores,
)
from spatial_zb.models.spec import corrects_leverage
from spatial_zb.models.system.design import SystemDesign
from spatial_zb.models.system.fit import SystemFit
from spatial_zb.models.system.spec import SystemSpec
from spatial_zb.weights.matrix import weights_eigenvalues

#: A test with a smaller p-value is said to reject.
REJECTED = 0.05
#: Own persistence from which, with few units, or more but few periods, what is left of its bias is said, and the least
#: curvature of a likelihood that tells its coefficients apart (docs/validation/dynamic_system.md).
HIGH_PERSISTENCE, FEW_UNITS, ENOUGH_UNITS, ENOUGH_PERIODS, HARDLY_TOLD = 0.7, 30, 60, 10, 0.005
OVER_TIME = "spatial-zb docs validation/dynamic_system"


def carried_links(spec: SystemSpec) -> Links:
    """Which parameters of the system stand before variables of the period before, and before which."""
    rows, start = [], 0
    for g, name in enumerate(spec.names):
        start += len(spec.terms(name))
        own, spatial = spec.carried(name)
        first = start - len(own) - len(spatial)
        for offset, variable in enumerate((*own, *spatial)):
            rows.append((first + offset, g, spec.endogenous.index(variable), offset >= len(own)))
    table = np.array(rows, dtype=int).reshape(-1, 4)
    return Links(table[:, 0], table[:, 1], table[:, 2], table[:, 3].astype(bool))


def carried_of(design: SystemDesign, omega: NDArray, sigma_form: SigmaForm) -> Carried:
    """The likelihood of a design with lags in time, and the places of these; ``omega`` are the eigenvalues of W."""
    return Carried(SystemLikelihood(design.arrays, omega, sigma_form), carried_links(design.spec))


def carried_fit(fit: SystemFit) -> Carried:
    """The likelihood that a fit maximised.

    Raises
    ------
    SpecificationError
        A system without lags in time.
    """
    if not fit.spec.dynamic:
        raise SpecificationError(
            f"{fit!r} has no lags in time, so that nothing is said about what comes first. Estimate it with "
            "SystemSpec(..., time_lag=True, lag_time_lag=True).",
            f"{fit!r}没有时间滞后，无从判断先后。请用SystemSpec(..., time_lag=True, lag_time_lag=True)估计。",
        )
    omega = weights_eigenvalues(fit.weights) if fit.spec.uses_weights else np.empty(0)
    return carried_of(fit.design, omega, fit.sigma_form)


def array_order(fit: SystemFit) -> NDArray[np.intp]:
    """Where the parameters in the order of the arrays, (δ, λ), stand among ``fit.params``."""
    where = fit.coefficient_positions
    return np.concatenate([where, np.setdiff1d(np.arange(len(fit.params)), where)])


def least_squares(design: SystemDesign) -> Array:
    """Least squares without interaction."""
    arrays = design.arrays
    alone = np.zeros(int(arrays.bounds[-1]) + sum(arrays.lag_error))
    for g in range(arrays.m):
        exogenous = arrays.Z[g][:, arrays.endogenous[g] :]
        place = arrays.block(g).start + arrays.endogenous[g]
        alone[place : place + exogenous.shape[1]] = np.linalg.lstsq(exogenous, arrays.y[:, g], rcond=None)[0]
    return alone


def starts_over_time(design: SystemDesign) -> list[Array]:
    """Least squares, and with lag or error in front where both are spatial: the likelihood may have two peaks."""
    alone, arrays = least_squares(design), design.arrays
    active = np.flatnonzero(arrays.lag_error)
    links, K = arrays.links, int(arrays.bounds[-1])
    own = links.lagged & (links.row == links.column) & np.isin(links.row, active)
    if not own.any():
        return [alone]
    starts = [alone]
    for c in (0.5, -0.5):
        start = alone.copy()
        start[links.position[own]] = c
        start[K:] = -c
        starts.append(start)
    return starts


def adjusted_curvature(carried: Carried, theta: Array, weight: float) -> Array:
    """D = −∂²(ℓ + w·a)/∂θ∂θ', (p, p)."""
    hessian = -carried.likelihood.derivatives(theta)[1]
    return hessian - weight * carried.adjustment_derivatives(theta)[1] if weight else hessian


@dataclass(frozen=True, slots=True)
class Spread:
    """Covariance (p, p) of the estimate, whether it exists, what CR2 needs of every unit, and as ``probe_error`` the largest
    relative error that random signs leave in a standard error."""

    cov: Array
    positive: bool
    clusters: Clusters | None = None
    probe_error: float = 0.0


def clustered_spread(likelihood: SystemLikelihood, theta: Array, inverse: Array, few: bool) -> Spread:
    """D⁻¹MD⁻¹ of scores by unit and by pairs of units, by CR2 where units are ``few``."""
    clusters = likelihood_clusters(likelihood, theta) if few else None
    cov, error = clustered_covariance(likelihood, theta, inverse, clusters)
    return Spread(cov, True, clusters, error)


def dynamic_covariance(carried: Carried, theta: Array, weight: float, kind: str) -> Spread:
    """Covariance of θ̂ (p,) at the end of the path, D the curvature of ℓ + w·a and H that of ℓ.

    ``information``: D⁻¹, since in simulations D and not H is the variance of the adjusted score (decision 0029).
    ``sandwich``: D⁻¹(H + C)D⁻¹, C the cumulants of errors that are not normal. ``cluster``: D⁻¹MD⁻¹ of scores by unit.
    """
    likelihood = carried.likelihood
    hessian = likelihood.derivatives(theta)[1]
    inverse, positive = inverse_or_nan(adjusted_curvature(carried, theta, weight))
    if not positive or kind == "information":
        return Spread(inverse, positive)
    if kind == "sandwich":
        own = quasi_covariance(likelihood, theta, inverse) - inverse
        cov = inverse @ -hessian @ inverse + own
        return Spread((cov + cov.T) / 2, True)
    return clustered_spread(
        likelihood, theta, inverse, corrects_leverage(kind, likelihood.arrays.sample.n_units)
    )


def carried_generator(fit: SystemFit) -> CarriedGenerator:
    """The fitted system as a source of samples given the first period."""
    levels = fit.design.levels
    assert levels is not None, "of a system with lags in time"
    theta, lam = fit.params.to_numpy()[array_order(fit)], np.asarray(fit.convergence.lam, float)
    return CarriedGenerator(carried_fit(fit), fit.spec.transform, theta, lam, levels, fit.residuals)


# What speaks against it -----------------------------------------------------------------------------------

#: Name of the test in both languages.
SERIAL = Text("Serial correlation", "序列相关")
ALL = "all"


def serial_correlation(fit: SystemFit) -> TestTable:
    """Whether errors of a period go with those of the one before: a test for each equation, and of all together.

    r_g = Σ_it e_it e_i,t−1 + κσ̂²_g, κ = (n − 1)(T − 1)/T (n(T − 1)/T without time effects), has mean zero for independent
    errors though residuals are demeaned. Its variance is that of its sums by unit, in which θ̂ moves along, against
    F(1, n − 1), of all m against Hotelling's F(m, n − m).

    Returns
    -------
    TestTable, one row ``of`` each equation and one of ``all``; ``tidy()`` has beside ``autocorrelation``, r_g as a share.

    Raises
    ------
    SpecificationError
        A system without lags in time.

    Notes
    -----
    Errors with a correlation of 0.3 put the persistence τ of a variable 0.1 to 0.25 too high under every correction and
    covariance, and where one variable leads the other its reverse is found too (spatial-zb docs validation/dynamic_system).
    """
    carried, arrays = carried_fit(fit), fit.design.arrays
    sample, m = arrays.sample, arrays.m
    n = sample.n_units
    theta = fit.params.to_numpy()[array_order(fit)]
    statistic, shares = np.full(m + 1, np.nan), np.full(m, np.nan)
    if fit.converged:
        r, influence = _serial_pieces(carried, theta, fit.convergence.weight)
        shares = r / np.diag(fit.sigma) / ((n - sample.centred) * (sample.n_periods - 1))
        influence = influence - influence.mean(axis=0)
        V = influence.T @ influence * (n / (n - 1))
        statistic[:m], statistic[m] = r**2 / np.diag(V), quadratic_form(r, V)
    rows = [
        Row(
            SERIAL.en,
            float(statistic[g]),
            1,
            cluster_p_value(statistic[g], 1, n),
            of=name,
            more={"autocorrelation": float(shares[g])},
        )
        for g, name in enumerate(fit.spec.names)
    ]
    if m > 1:
        p = cluster_p_value(statistic[m], m, n)
        rows.append(Row(SERIAL.en, float(statistic[m]), m, p, of=ALL, more={"autocorrelation": np.nan}))
    return TestTable(tuple(rows), fit.facts, {SERIAL.en: SERIAL})


def _serial_pieces(carried: Carried, theta: Array, weight: float) -> tuple[Array, Array]:
    """r (m,) and its influence by unit (n, m)."""
    likelihood = carried.likelihood
    sample = likelihood.arrays.sample
    n, T, N = sample.n_units, sample.n_periods, sample.observations
    residuals = likelihood.residuals(theta)
    e = within_residuals(residuals, sample)
    kappa = (n - sample.centred) * (T - 1) / T
    own = (e[1:] * e[:-1]).sum(axis=0) + kappa / N * (e**2).sum(axis=0)  # (n, m)
    D, owner = slopes_of(likelihood, theta)
    slopes = within_residuals(D, sample)
    behind = e[..., owner]
    moved = (slopes[1:] * behind[:-1] + slopes[:-1] * behind[1:]).sum(axis=(0, 1))
    moved = -moved - 2 * kappa / N * (slopes * behind).sum(axis=(0, 1))  # (p,)
    gradient = np.where(np.arange(e.shape[2])[:, None] == owner, moved, 0.0)  # (m, p)
    inverse, _ = inverse_or_nan(adjusted_curvature(carried, theta, weight))
    scores = unit_scores(likelihood, theta)
    return own.sum(axis=0), own + (scores - scores.mean(axis=0)) @ inverse @ gradient.T


def with_persistence(fit: SystemFit) -> SystemFit:
    """The fit with what there is to know of its lags in time: see :class:`spatial_zb.models.spec.Convergence`."""
    if not fit.converged:
        return fit
    order = array_order(fit)
    slope = carried_fit(fit).radius_slope(fit.params.to_numpy()[order])
    error = float(np.sqrt(slope @ fit.cov.to_numpy()[np.ix_(order, order)] @ slope))
    serial = tuple(row.p_value for row in serial_correlation(fit).rows)
    record = replace(fit.convergence, radius_error=error, serial=serial, curvature=least_curvature(fit))
    return replace(fit, convergence=record)


def least_curvature(fit: SystemFit) -> float:
    """Smallest eigenvalue of the curvature at the estimate, its diagonal brought to one: how well θ is told apart."""
    carried, theta = carried_fit(fit), fit.params.to_numpy()[array_order(fit)]
    hessian = adjusted_curvature(carried, theta, fit.convergence.weight)
    scale = 1 / np.sqrt(np.abs(np.diag(hessian)))
    return float(np.linalg.eigvalsh(hessian * np.outer(scale, scale))[0])


def notes_over_time(fit: SystemFit) -> list[Note]:
    """Of a system with lags in time."""
    found, notes = fit.persistence, list[Note]()
    n, T = len(fit.panel.units), len(fit.panel.periods)
    if found["path_weight"] < 1:
        notes.append(part_of_the_correction(found["path_weight"]))
    serial = [row for row in serial_correlation(fit).rows if row.p_value < REJECTED]
    if serial:
        own = [row for row in serial if row.of in fit.spec.names]
        names = tuple(row.of for row in own) or fit.spec.names
        notes.append(errors_last(names, min(row.p_value for row in own or serial)))
    own_lags = [fit.params.get((name, f"L_{e.y}"), 0.0) for name, e in fit.spec.equations.items()]
    few = n < FEW_UNITS or (n < ENOUGH_UNITS and T < ENOUGH_PERIODS)
    if max(own_lags) > HIGH_PERSISTENCE and few:
        notes.append(persistence_too_low(max(own_lags), n, T))
    if found["radius_high"] >= 1:
        notes.append(no_long_run(found["radius"], found["radius_low"], found["radius_high"]))
    if fit.convergence.curvature < HARDLY_TOLD:
        notes.append(hardly_told(fit.convergence.curvature))
    return notes


@Kind
def part_of_the_correction(weight: float) -> Text:
    """A path that ended before the whole correction: the data are nearly those of a unit root."""
    return Text(
        f"the data carry {weight:.2g} of the correction for few periods; beyond it the likelihood has no maximum, as when a "
        "variable has nearly a unit root. Own persistence (L_) is still too low; use more periods for it. Likelihood "
        f"ratios of zb.granger reject too often then: read its F ({OVER_TIME})",
        f"数据只能承受短时期校正的{weight:.2g}，再多则似然没有极大值，变量接近单位根时如此。自身持续性（L_）仍偏低，需要更多时期。"
        f"此时zb.granger的似然比拒绝过多，请看其F（{OVER_TIME}）",
    )


@Kind
def errors_last(equations: tuple[str, ...], p: float) -> Text:
    """Errors that go with those of the period before."""
    names = quoted(equations, "en"), quoted(equations, "zh")
    return Text(
        f"errors of {names[0]} go with those of the period before (p = {p:.2g}): own persistence (L_) then takes up what "
        "lasts in the errors, 0.1 to 0.25 at a correlation of 0.3, under every covariance, and so do the radius and "
        "responses. "
        "Where one variable leads the other, zb.granger then finds the reverse direction too (7 to 46 % from 41 units on): "
        f"read the weaker of two directions with doubt, and add what lasts to x ({OVER_TIME})",
        f"{names[1]}的误差与前一期误差相关（p = {p:.2g}）：自身持续性（L_）会吸收误差的持续成分，相关为0.3时偏高0.1至0.25，"
        "任何协方差都不能修正，谱半径与响应亦然。若某变量确实领先另一变量，zb.granger此时也会误判反方向"
        f"（41个地区以上为7%至46%）："
        f"两个方向中较弱的一个应存疑，并请把持续的因素加入x（{OVER_TIME}）",
    )


@Kind
def persistence_too_low(tau: float, units: int, periods: int) -> Text:
    """Own persistence near one in a small panel."""
    return Text(
        f"own persistence is {tau:.2f} in a panel of {units} units and {periods} periods: in simulations such an estimate "
        "is still 0.02 to 0.12 too low. Intervals of it and of its responses hold the truth in 79 to 94 %, with "
        'covariance="cluster" in 86 to 98 %: prefer these. zb.bootstrap(fit, scheme="residual").bias_corrected() takes off '
        f"up to half of what is too low, once ({OVER_TIME})",
        f"{units}个地区、{periods}个时期的面板中自身持续性为{tau:.2f}：模拟中这样的估计仍偏低0.02至0.12。"
        '它及其响应的区间覆盖率为79%至94%，covariance="cluster"时为86%至98%，宜用后者。'
        f'zb.bootstrap(fit, scheme="residual").bias_corrected()做一次至多可消除一半（{OVER_TIME}）',
    )


@Kind
def no_long_run(radius: float, low: float, high: float) -> Text:
    """An interval of the spectral radius that holds one."""
    return Text(
        f"the spectral radius is {radius:.2f}, its 95 % interval [{low:.2f}, {high:.2f}] holds 1: the data do not say that "
        "shocks die out. Read responses over a few periods only, and no long run",
        f"谱半径为{radius:.2f}，95%区间[{low:.2f}, {high:.2f}]包含1：数据不能说明冲击会消退。只宜看最初几期的响应，勿谈长期",
    )


@Kind
def hardly_told(curvature: float) -> Text:
    """Coefficients that the likelihood hardly tells apart."""
    return Text(
        f"some coefficients are hardly told apart (least curvature of the likelihood {curvature:.1g}, usually 0.05 and "
        "more): do not read γ and ψ one by one. Leave out endog, or spatial lags of other variables (lag_endog)",
        f"有些系数几乎无法区分（似然的最小曲率为{curvature:.1g}，通常不低于0.05）：请勿逐个解读γ与ψ。"
        "请去掉endog，或其他变量的空间滞后（lag_endog）",
    )
