"""Fixed effects: (quasi) maximum likelihood of the transformed data."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.core.covariance import Residuals, hessian, information, inverse_or_nan
from spatial_zb.core.lag import spatial_lag
from spatial_zb.core.spatial_ml import Maximum, cross_products, maximise
from spatial_zb.core.traces import Solver, Traces, filter_solver, filter_traces
from spatial_zb.core.within import TransformedSample, demean, transformed_sample
from spatial_zb.data.panel import Panel
from spatial_zb.errors import SpatialZbWarning
from spatial_zb.models.design import Design, build_design, stacked
from spatial_zb.models.fit import Fit
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.weights.matrix import Weights

__all__ = ["SMALL_N", "filtered_mean", "fit_ml", "residual_arrays"]

#: Up to this many units the size of n itself is worth a warning (see METHODS, small samples).
SMALL_N = 30


def fit_ml(spec: DurbinSpec, panel: Panel, weights: Weights, estimator: str, covariance: str) -> Fit:
    """Estimate by maximum likelihood after the Lee-Yu transform (``lee_yu``) or with dummies (``direct``)."""
    design = build_design(spec, panel, weights)
    T, n = design.y.shape
    sample = transformed_sample(n, T, spec.transform, estimator)
    best = maximise(
        _products(design), weights.logdet if spec.spatial_terms else None, sample, spec.lag_y, spec.lag_error
    )
    solve = filter_solver(weights.matrix, best.rho) if spec.lag_y and best.rho else None
    traces = _traces(spec, weights, best, sample, solve)
    parts = residual_arrays(design, best, solve)
    cov, positive = _covariance(covariance, parts, traces, best, sample, spec)
    converged = positive and not best.at_bound
    _say_what_matters(spec, weights, estimator, best, n, T, positive)
    return _assemble(spec, panel, design, estimator, covariance, best, sample, parts, cov, converged, traces)


def _products(design: Design):
    lagged = None
    if design.WZ is not None:
        lagged = stacked(design.WZ), stacked(design.Wy), stacked(design.WWy)
    return cross_products(stacked(design.Z), stacked(design.y), stacked(design.Wy), lagged)


def _traces(
    spec: DurbinSpec, weights: Weights, best: Maximum, sample: TransformedSample, solve: Solver | None
) -> Traces:
    if not spec.spatial_terms:
        return Traces(*[0.0] * 9)
    return filter_traces(weights.matrix, weights.logdet, best.rho, best.lam, sample.centred, solve)


def residual_arrays(design: Design, best: Maximum, solve: Solver | None = None) -> Residuals:
    """ε and its derivatives at the estimate, stacked, from the transformed design.

    ``solve`` is the :func:`filter_solver` at ρ̂, where there is one already.
    """
    spec, W = design.spec, design.weights.matrix
    rho, lam, delta = best.rho, best.lam, best.delta
    u = design.y - rho * design.Wy - design.Z @ delta
    if design.WZ is None:
        BZ, BWy, Wu, WZ, WWy = design.Z, design.Wy, np.zeros_like(u), None, None
    else:
        BZ, BWy = design.Z - lam * design.WZ, design.Wy - lam * design.WWy
        Wu = design.Wy - rho * design.WWy - design.WZ @ delta
        WZ, WWy = stacked(design.WZ), stacked(design.WWy)
    BGm = (
        demean(filtered_mean(W, design.Z @ delta, rho, lam, solve), spec.transform)
        if spec.lag_y
        else np.zeros_like(u)
    )
    arrays = (BZ, BGm, BWy, Wu)
    return Residuals(*map(stacked, arrays), WZ, WWy, stacked(u - lam * Wu))


def filtered_mean(
    W, mean: NDArray[np.float64], rho: float, lam: float, solve: Solver | None = None
) -> NDArray[np.float64]:
    """(I − λW) W (I − ρW)⁻¹ applied to the mean of every period, (T, n)."""
    solve = solve or (filter_solver(W, rho) if rho else lambda right: right)
    solved = spatial_lag(W, solve(mean.T).T)
    return solved - lam * spatial_lag(W, solved) if lam else solved


def _covariance(
    kind: str, parts: Residuals, traces: Traces, best: Maximum, sample: TransformedSample, spec: DurbinSpec
) -> tuple[NDArray[np.float64], bool]:
    """Covariance of (δ, [ρ], [λ], σ²), and whether it exists."""
    k = parts.BZ.shape[1]
    active = [*range(k), *([k] if spec.lag_y else []), *([k + 1] if spec.lag_error else []), k + 2]
    if best.at_bound:
        return np.full((len(active), len(active)), np.nan), False
    matrix = (information if kind == "information" else hessian)(parts, traces, best.sigma2, sample)
    return inverse_or_nan(matrix[np.ix_(active, active)])


def _assemble(
    spec: DurbinSpec,
    panel: Panel,
    design: Design,
    estimator: str,
    covariance: str,
    best: Maximum,
    sample: TransformedSample,
    parts: Residuals,
    cov: NDArray[np.float64],
    converged: bool,
    traces: Traces,
) -> Fit:
    T, n = design.y.shape
    k = len(spec.terms)
    spatial = [value for value, on in ((best.rho, spec.lag_y), (best.lam, spec.lag_error)) if on]
    df = None
    sigma2 = best.sigma2
    if not spec.spatial_terms:  # ordinary least squares: classical degrees of freedom
        df = n * T - sample.absorbed - k
        inflate = sample.observations / df
        sigma2, cov = sigma2 * inflate, cov * inflate
    index = pd.Index([*spec.terms, *spec.spatial_terms, "sigma2"], name="term")
    return Fit(
        spec=spec,
        weights=design.weights,
        panel=panel,
        design=design,
        estimator=estimator,
        covariance=covariance,
        params=pd.Series([*best.delta, *spatial, sigma2], index=index, name="estimate"),
        cov=pd.DataFrame(cov, index=index, columns=index),
        log_likelihood=best.log_likelihood,
        nobs=sample.observations,
        absorbed=sample.absorbed,
        residuals=parts.e.reshape(T, n),
        df_resid=df,
        convergence={
            "converged": converged,
            "at_bound": best.at_bound,
            "gradient": best.gradient,
            "modes": best.modes,
            "probe_error": traces.probe_error,
        },
    )


def _say_what_matters(
    spec: DurbinSpec, weights: Weights, estimator: str, best: Maximum, n: int, T: int, positive: bool
) -> None:
    notes = []
    if best.at_bound:
        low, high = weights.logdet.interval
        notes.append(
            f"the likelihood still rises at the end of the admissible interval ({low:.3f}, {high:.3f}): "
            "there is no interior maximum and no standard error is claimed"
        )
    elif not positive:
        notes.append("the information matrix is not positive definite: no standard error is claimed")
    if len(best.modes) > 1:
        shown = "; ".join(f"ρ = {r:.3f}, λ = {s:.3f}, ln L = {v:.3f}" for r, s, v in best.modes)
        notes.append(f"the likelihood has {len(best.modes)} peaks of nearly the same height ({shown})")
    if spec.family == "GNS":
        notes.append(
            "GNS is weakly identified: prefer SDM, SDEM or SAC unless theory asks for all three lags"
        )
    if estimator == "direct" and spec.fixed_effects in ("time", "two_way") and spec.spatial_terms:
        notes.append("direct ML with time effects is biased towards negative ρ; lee_yu is not")
    if n <= SMALL_N and spec.spatial_terms:
        notes.append(f"only {n} units ({n * T} unit-periods): read standard errors as approximate")
    if notes:
        warnings.warn(
            f"{spec.family} of {spec.y!r}: " + ". Also, ".join(notes) + ".", SpatialZbWarning, stacklevel=4
        )
