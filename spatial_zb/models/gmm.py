"""Spatial two-stage least squares and generalised moments, on cross-sections and transformed panels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.core.gmm import (
    ErrorEstimate,
    ErrorMoments,
    Instruments,
    Meat,
    Projected,
    by_unit,
    classical_moments,
    error_covariance,
    first_stage,
    forward_deviations,
    independent_columns,
    kelejian_prucha,
    linear_covariance,
    moment_variance,
    over_identification,
    robust_moments,
    solve_lambda,
    two_stage,
    white,
)
from spatial_zb.core.lag import spatial_lag
from spatial_zb.core.traces import filter_solver
from spatial_zb.core.within import demean, transformed_sample
from spatial_zb.data.panel import Panel
from spatial_zb.errors import SpecificationError, listed, listed_zh
from spatial_zb.models.design import ABSORBED, Design, build_design, stacked
from spatial_zb.models.fit import Fit
from spatial_zb.models.notes import fit_words, warn_together
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.text import Text
from spatial_zb.weights.matrix import Weights

__all__ = ["fit_gmm", "reduced_form_residuals"]

Array = NDArray[np.float64]

#: First-stage F below which instruments are called weak (Staiger & Stock 1997, Econometrica 65).
WEAK = 10.0
#: More instruments than this share of the observations bias 2SLS towards least squares.
MANY = 0.1


@dataclass(frozen=True, slots=True)
class _Sample:
    """Stacked arrays without effects: y (M,), Z (M, k) with Wy last, and the spatial lags of both.

    The lags are None without an error process. ``names`` are the terms of Z, ``endogenous`` positions among
    them; ``used`` and ``dropped`` are names of instruments; ``shape`` is (T*, n); ``centred`` says that each
    period was demeaned.
    """

    y: Array
    Z: Array
    lag_y: Array | None
    lag_Z: Array | None
    names: tuple[str, ...]
    endogenous: tuple[int, ...]
    instruments: Instruments
    used: tuple[str, ...]
    dropped: tuple[str, ...]
    shape: tuple[int, int]
    centred: bool

    def filtered(self, lam: float) -> tuple[Array, Array]:
        """y* and Z*."""
        if self.lag_Z is None:
            return self.y, self.Z
        return self.y - lam * self.lag_y, self.Z - lam * self.lag_Z

    def stage(self, lam: float, what: str) -> Projected:
        """2SLS of the filtered data; exogenous Z are their own instruments."""
        y, Z = self.filtered(lam)
        basis = self.instruments.basis if self.endogenous else np.linalg.qr(Z)[0]
        fit = two_stage(y, Z, basis)
        if fit is None:
            raise SpecificationError(
                f"The instruments do not identify {listed(self.names[j] for j in self.endogenous)} in the {what}: "
                f"{self.instruments.count} independent instruments ({listed(self.used)}) for {len(self.names)} "
                "coefficients. Add instruments, or raise powers."
            )
        return fit

    def residuals(self, delta: Array) -> tuple[Array, Array]:
        """u = y − Zδ and its spatial lag, (T*, n)."""
        u, lag = self.y - self.Z @ delta, self.lag_y - self.lag_Z @ delta
        return u.reshape(self.shape), lag.reshape(self.shape)


def fit_gmm(spec: DurbinSpec, panel: Panel, weights: Weights, covariance: str, powers: int) -> Fit:
    """Estimate by 2SLS (without λ), or by 2SLS, moments for λ, and 2SLS of the filtered data (with λ).

    ``covariance="information"``: one variance, the moments of Kelejian & Prucha (1999). ``"robust"``: any
    heteroskedasticity, the moments of Kelejian & Prucha (2010), λ̂ weighted by their inverse variance.
    ``"cluster"``: 2SLS only, noise of one unit correlated over time.
    """
    if covariance == "cluster" and spec.lag_error:
        raise SpecificationError(
            'covariance="cluster" is that of two-stage least squares: with lag_error use "robust", or drop lag_error, '
            "since errors clustered by unit need no model of λ over time."
        )
    if not isinstance(powers, int) or powers < 1:
        raise SpecificationError(f"powers must be a whole number from 1, not {powers!r}.")
    design = build_design(spec, panel, weights)
    sample = _sample(design, panel, powers)
    meat = {"information": None, "robust": white, "cluster": by_unit(weights.n)}[covariance]
    first = sample.stage(0.0, "first stage")
    record: dict[str, Any] = {"at_bound": False}
    lam, last = 0.0, first
    N = sample.instruments.observations
    cov = linear_covariance(first, float(first.residuals @ first.residuals) / N, meat)
    if spec.lag_error:
        lam, last, cov, record = _with_error(sample, weights, first, meat is not None)
    record |= _diagnostics(sample, last, lam, meat)
    outside = spec.lag_y and not _inside(last.delta[-1], weights)
    record["converged"] = not (record["at_bound"] or outside)
    _say_what_matters(spec, weights, last, lam, record, N)
    return _assemble(panel, design, covariance, sample, last, lam, cov, record)


def _sample(design: Design, panel: Panel, powers: int) -> _Sample:
    spec, effects = design.spec, design.spec.transform
    T, n = design.y.shape
    names = (*spec.terms, *(("rho",) if spec.lag_y else ()))

    def columns(Z: Array, Wy: Array) -> Array:
        both = np.concatenate([Z, Wy[:, :, None]], axis=2) if spec.lag_y else Z
        return stacked(forward_deviations(both, effects))

    lags = (None, None)
    if design.WZ is not None:
        lags = stacked(forward_deviations(design.Wy, effects)), columns(design.WZ, design.WWy)
    Z = columns(design.Z, design.Wy)
    endogenous_names = {*spec.endog, *(f"W_{name}" for name in spec.endog), "rho"}
    endogenous = tuple(j for j, name in enumerate(names) if name in endogenous_names)
    included = np.delete(Z, endogenous, axis=1)
    N = transformed_sample(n, T, effects, "lee_yu").observations
    used, dropped, basis = _instruments(design, panel, powers, included, bool(endogenous))
    kept = tuple(name for j, name in enumerate(names) if j not in endogenous)
    return _Sample(
        y=stacked(forward_deviations(design.y, effects)),
        Z=Z,
        lag_y=lags[0],
        lag_Z=lags[1],
        names=names,
        endogenous=endogenous,
        instruments=Instruments(basis, included, N),
        used=(*kept, *used),
        dropped=dropped,
        shape=(len(Z) // n, n),
        centred=effects in ("time", "two_way"),
    )


def _instruments(
    design: Design, panel: Panel, powers: int, included: Array, needed: bool
) -> tuple[tuple[str, ...], tuple[str, ...], Array]:
    """Excluded instruments used, those dropped as collinear, and an orthonormal basis of all."""
    if not needed:
        return (), (), np.linalg.qr(included)[0]
    names, raw = _candidates(design.spec, panel, design.weights, powers)
    candidates = stacked(forward_deviations(raw, design.spec.transform))
    absorbed = np.abs(candidates).max(axis=0, initial=0) <= ABSORBED * np.abs(raw).max(axis=(0, 1), initial=0)
    candidates = np.where(absorbed, 0.0, candidates)
    keep = independent_columns(included, candidates)
    basis = np.hstack([included, candidates[:, keep]])
    basis = np.linalg.qr(basis / np.sqrt((basis**2).sum(axis=0)))[0]
    used = tuple(names[j] for j in keep)
    return used, tuple(name for name in names if name not in used), basis


def _candidates(
    spec: DurbinSpec, panel: Panel, weights: Weights, powers: int
) -> tuple[tuple[str, ...], Array]:
    """Lags of the exogenous variables that are not regressors, the excluded instruments, and their lags.

    A variable whose lag is itself a regressor goes one power further, so that the instruments are always the
    exogenous regressors times I, W, …, W^powers. Never a lag of y or of an endogenous regressor.
    """
    order = powers if spec.spatial_terms else 0
    one_more = any(name in spec.lag_x for name in spec.endog)
    columns: dict[str, Array] = {}
    sources = {name: panel.array(name) for name in (*spec.x, *spec.instruments)}
    highest = {name: order + (name in spec.lag_x) for name in spec.x}
    highest |= dict.fromkeys(spec.instruments, order + one_more)
    if spec.transform == "none" and not weights.row_normalised:
        sources["(Intercept)"] = np.ones(panel.values.shape[:2])
        highest["(Intercept)"] = order
    for name, values in sources.items():
        regressors = 0 if name in spec.instruments else 1 + (name in spec.lag_x)
        for power in range(highest[name] + 1):
            if power >= regressors:
                columns[_lag_name(name, power)] = values
            values = spatial_lag(weights.matrix, values)
    if not columns:
        return (), np.empty((*panel.values.shape[:2], 0))
    return tuple(columns), np.stack(list(columns.values()), axis=2)


def reduced_form_residuals(fit: Fit) -> Array:
    """v̂ (T, n, q) = w − HΠ̂ of the q endogenous regressors, without effects, H the instruments of the fit.

    Π̂ comes from the regression of w on H and the structural residuals ε̂: what ε̂ tells of v makes it efficient (Davidson &
    MacKinnon 2010, J. Business & Economic Statistics 28: 128-144, section 2).
    """
    spec, design, effects = fit.spec, fit.design, fit.spec.transform
    names, raw = _candidates(spec, fit.panel, fit.weights, fit.convergence["asked"]["powers"])
    used = fit.convergence["instruments"]
    excluded = demean(raw[:, :, [j for j, name in enumerate(names) if name in used]], effects)
    included = design.Z[:, :, [j for j, name in enumerate(spec.terms) if name in used]]
    H = stacked(np.concatenate([included, excluded], axis=2))
    w = design.Z[:, :, [spec.terms.index(name) for name in spec.endog]]
    columns = np.column_stack([H, fit.residuals.ravel()])
    scale = np.sqrt((columns**2).sum(axis=0))
    slopes = np.linalg.lstsq(columns / scale, stacked(w), rcond=None)[0]
    return w - (H / scale[:-1] @ slopes[:-1]).reshape(w.shape)


def _lag_name(name: str, power: int) -> str:
    """x, W_x, W2_x, …"""
    return name if power == 0 else f"W{power if power > 1 else ''}_{name}"


def _with_error(
    sample: _Sample, weights: Weights, first: Projected, robust: bool
) -> tuple[float, Projected, Array, dict[str, Any]]:
    """λ̂ by moments of the residuals, δ̂ by 2SLS of the filtered data, their joint covariance."""
    W, N = weights.matrix, sample.instruments.observations
    moments = (robust_moments if robust else classical_moments)(W, sample.centred)
    u, lag = sample.residuals(first.delta)
    g, G = kelejian_prucha(moments, u, lag, N)
    start, at_bound = solve_lambda(g, G, moments.weight, weights.logdet.interval)
    second = sample.stage(start, "filtered stage")
    if not robust:
        behind = _unfiltered(W, start, first.fitted @ first.bread, sample.shape)
        cov = _joint(sample, moments, G, second, second, start, behind, moments.weight)
        return start, second, cov, {"at_bound": at_bound}
    u, lag = sample.residuals(second.delta)
    g, G = kelejian_prucha(moments, u, lag, N)
    psi, _ = moment_variance(moments, _estimate(sample, second, second, start, None), True)
    lam, at_bound = solve_lambda(g, G, np.linalg.inv(psi), weights.logdet.interval)
    cov = _joint(sample, moments, G, second, sample.stage(lam, "filtered stage"), lam, None, None)
    return lam, second, cov, {"at_bound": at_bound, "lam_first": start}


def _joint(
    sample: _Sample,
    moments: ErrorMoments,
    G: Array,
    fit: Projected,
    at_lam: Projected,
    lam: float,
    behind: Array | None,
    weight: Array | None,
) -> Array:
    estimate = _estimate(sample, fit, at_lam, lam, behind)
    return error_covariance(moments, estimate, G @ [1.0, 2 * lam], weight is None, weight)


def _estimate(
    sample: _Sample, fit: Projected, at_lam: Projected, lam: float, behind: Array | None
) -> ErrorEstimate:
    """Residuals from ``fit``, influence from the data filtered at λ; ``behind`` is the same where None."""
    u, lag = sample.residuals(fit.delta)
    slope = sample.filtered(lam)[1] if sample.endogenous else None
    influence = at_lam.fitted @ at_lam.bread
    return ErrorEstimate(
        u - lam * lag,
        influence,
        influence if behind is None else behind,
        slope,
        sample.instruments.observations,
    )


def _unfiltered(W: sparse.csr_array, lam: float, influence: Array, shape: tuple[int, int]) -> Array:
    """(I − λW')⁻¹ applied to every period of (T*·n, k): influence of ε, where that of u = B⁻¹ε is given."""
    T, n = shape
    by_unit = np.moveaxis(influence.reshape(T, n, -1), 1, 0).reshape(n, -1)
    solved = filter_solver(sparse.csr_array(W.T), lam)(by_unit)
    return np.moveaxis(solved.reshape(n, T, -1), 0, 1).reshape(T * n, -1)


def _diagnostics(sample: _Sample, last: Projected, lam: float, meat: Meat | None) -> dict[str, Any]:
    names = [sample.names[j] for j in sample.endogenous]
    if not names:
        return {}
    strength = first_stage(sample.Z[:, sample.endogenous], sample.instruments, meat)
    y, Z = sample.filtered(lam)
    at_last = two_stage(y, Z, sample.instruments.basis)
    test = over_identification(y, Z, at_last or last, sample.instruments, meat)
    return {
        "instruments": sample.used,
        "dropped_instruments": sample.dropped,
        "first_stage": dict(zip(names, strength.tolist(), strict=True)),
        "j_statistic": test.statistic,
        "j_df": test.df,
        "j_p_value": test.p_value,
    }


def _inside(rho: float, weights: Weights) -> bool:
    low, high = weights.logdet.interval
    return low < rho < high


def _say_what_matters(
    spec: DurbinSpec, weights: Weights, last: Projected, lam: float, record: Mapping[str, Any], N: int
) -> None:
    notes: list[Text] = []
    low, high = weights.logdet.interval if spec.spatial_terms else (-1.0, 1.0)
    if record["at_bound"]:
        notes.append(
            Text(
                f"the moments are nearest to zero at an end of the admissible interval of λ ({low:.3f}, {high:.3f}): no "
                "standard error is claimed",
                f"矩条件在λ容许区间({low:.3f}, {high:.3f})的端点处最接近零，不给出标准误",
            )
        )
    if spec.lag_y and not _inside(last.delta[-1], weights):
        rho = last.delta[-1]
        notes.append(
            Text(
                f"ρ = {rho:.3f} lies outside the admissible interval ({low:.3f}, {high:.3f}), where the model has no "
                "equilibrium: no standard error is claimed",
                f"ρ={rho:.3f}落在容许区间({low:.3f}, {high:.3f})之外，模型无均衡，不给出标准误",
            )
        )
    weak = {k: f for k, f in record.get("first_stage", {}).items() if f < WEAK}
    if weak:
        shown = [f"{'W_' + spec.y if k == 'rho' else k} (F = {f:.1f})" for k, f in weak.items()]
        notes.append(
            Text(
                f"instruments are weak for {listed(shown)}: estimates lean towards least squares and intervals are too "
                "short",
                f"{listed_zh(shown)}的工具变量较弱：估计值偏向最小二乘，区间偏窄",
            )
        )
    count = len(record.get("instruments", ()))
    if count > MANY * N:
        notes.append(
            Text(
                f"{count} instruments for {N} observations are many: fewer powers or regressors lean less",
                f"{N}个观测值用了{count}个工具变量，过多：减少W的幂次或解释变量可减小偏误",
            )
        )
    if record.get("dropped_instruments"):
        gone = record["dropped_instruments"]
        notes.append(
            Text(
                f"collinear instruments were left out: {listed(gone)}",
                f"共线的工具变量已剔除：{listed_zh(gone)}",
            )
        )
    about = fit_words(spec.family, spec.y, weights.label, Text("by GMM", "GMM"))
    warn_together(about, notes, stacklevel=4)


def _assemble(
    panel: Panel,
    design: Design,
    covariance: str,
    sample: _Sample,
    last: Projected,
    lam: float,
    cov: Array,
    record: Mapping[str, Any],
) -> Fit:
    spec = design.spec
    residuals = _residuals(design, last.delta, lam)
    N = sample.instruments.observations
    index = pd.Index([*spec.terms, *spec.spatial_terms, "sigma2"], name="term")
    full = np.full((len(index), len(index)), np.nan)
    if record["converged"]:
        full[: len(cov), : len(cov)] = cov
    values = [*last.delta, *([lam] if spec.lag_error else []), float((residuals**2).sum()) / N]
    return Fit(
        spec=spec,
        weights=design.weights,
        panel=panel,
        design=design,
        estimator="gmm",
        covariance=covariance,
        params=pd.Series(values, index=index, name="estimate"),
        cov=pd.DataFrame(full, index=index, columns=index),
        log_likelihood=np.nan,
        nobs=N,
        absorbed=transformed_sample(*reversed(design.y.shape), spec.transform, "lee_yu").absorbed,
        residuals=residuals,
        df_resid=None,
        convergence=record,
    )


def _residuals(design: Design, delta: Array, lam: float) -> Array:
    """ε̂ (T, n) of the demeaned data."""
    k = design.Z.shape[2]
    rho = delta[k] if design.spec.lag_y else 0.0
    u = design.y - rho * design.Wy - design.Z @ delta[:k]
    if design.WZ is None:
        return u
    return u - lam * (design.Wy - rho * design.WWy - design.WZ @ delta[:k])
