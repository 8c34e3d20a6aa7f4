"""Spatial two-stage least squares and generalised moments, and the notes on such a fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from spatial_zb.base.errors import SpecificationError, listed, listed_zh
from spatial_zb.base.notes import Note
from spatial_zb.base.text import Text
from spatial_zb.core import Array
from spatial_zb.core.clusters import Clusters, clusters_of
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.core.system.identification import Covariance as Kind
from spatial_zb.core.system.identification import exclusions, instrument_strength, kind_of
from spatial_zb.core.system.instrumental import INSIDE, instrumental
from spatial_zb.core.system.instruments import spectrum_near
from spatial_zb.core.system.moments import (
    ErrorEstimate,
    ErrorMoments,
    Meat,
    Projected,
    by_unit,
    classical_moments,
    error_covariance,
    kelejian_prucha,
    linear_covariance,
    moment_variance,
    robust_moments,
    solve_lambda,
    white,
)
from spatial_zb.core.unit_rows import RowClusters, row_clusters
from spatial_zb.models.certainty import degrees_of, measured_short
from spatial_zb.models.design import Design
from spatial_zb.models.fit import Fit
from spatial_zb.models.gmm_sample import GmmSample, gmm_sample, left_of, system_of
from spatial_zb.models.ml import CITIES, SMALL_N, STRONG, errors_of_fit, notes_on_correlation
from spatial_zb.models.notes import (
    ANDERSON_RUBIN,
    BOOTSTRAP,
    few_units,
    instruments_left_out,
    many_instruments,
    moments_at_end,
    rho_outside,
    textbook_moments,
    weak_instruments,
)
from spatial_zb.models.shape import REASONS, ShapeDesign
from spatial_zb.models.spec import CLUSTERED, Convergence, Covariance, corrects_leverage
from spatial_zb.weights.matrix import Weights

#: First-stage F below which instruments are called weak (Staiger & Stock 1997, Econometrica 65).
WEAK = 10.0
#: More instruments than this share of the observations bias 2SLS towards least squares.
MANY = 0.1


def is_inside(rho: float, design: Design) -> bool:
    """Whether ρ lies in the interval where the model has an equilibrium."""
    low, high = design.interval
    return low < rho < high


def limits_that_hold(fit: Fit) -> str:
    """What has limits of ρ where those by standard errors do not hold."""
    spec = fit.spec
    exact = spec.lag_y and not (spec.lag_error or spec.endog) and fit.covariance == "information"
    return ANDERSON_RUBIN if exact else BOOTSTRAP


def _notes_on(fit: Fit) -> tuple[Note, ...]:
    """Everything that a reader of the fit should know."""
    notes: list[Note] = []
    spec, record, N, units = fit.spec, fit.convergence, fit.nobs, len(fit.panel.units)
    rho = float(fit.params.get("rho", 0.0))
    interval = fit.design.interval if spec.spatial_terms else (-1.0, 1.0)
    if record.at_bound:
        notes.append(moments_at_end(*interval))
    if spec.lag_y and not is_inside(rho, fit.design):
        exact = limits_that_hold(fit)  # a bootstrap needs an estimate inside
        notes.append(rho_outside(rho, *interval, exact if exact == ANDERSON_RUBIN else None))
    if record.corrected is False:
        notes.append(textbook_moments())
    strengths = [(f"W_{spec.y}" if k == "rho" else k, f) for k, f in record.first_stage.items()]
    if np.isnan([f for _, f in strengths]).any():  # too few units for each: the smallest of all is known
        strengths = [(name, record.effective_f) for name, _ in strengths]
    weak = tuple((name, f) for name, f in strengths if f < WEAK)
    if weak:
        notes.append(weak_instruments(weak, fit.bias_correction))
    count = len(record.instruments)
    if count > MANY * N:
        notes.append(many_instruments(count, N))
    if record.dropped_instruments:
        notes.append(instruments_left_out(record.dropped_instruments))
    if units <= SMALL_N and spec.spatial_terms:  # n = 11: those of ρ beside λ cover 90 %
        cells = int(np.isfinite(fit.residuals).sum())
        notes.append(few_units(units, cells, BOOTSTRAP, "spatial-zb docs validation/gmm"))
    if record.converged and spec.lag_y and rho >= STRONG and units <= CITIES:
        notes.append(measured_short("instruments", units, len(fit.panel.periods), rho))
    if record.converged and fit.covariance not in CLUSTERED and not spec.lag_error and not spec.endog:
        notes += notes_on_correlation(errors_of_fit(fit), fit.covariance)
    return tuple(notes)


FIRST, FILTERED = Text("first stage", "第一阶段"), Text("filtered stage", "滤波阶段")


def fit_gmm(design: Design, covariance: Covariance, powers: int, bias_correction: bool | None) -> Fit:
    """Estimate by 2SLS (without λ), or by 2SLS, moments for λ, and 2SLS of the filtered data (with λ).

    ``covariance="information"``: one variance, the moments of Kelejian & Prucha (1999). ``"robust"``: any
    heteroskedasticity, the moments of Kelejian & Prucha (2010), λ̂ weighted by their inverse variance.
    ``"cluster"``: 2SLS only, noise of one unit correlated over time; CR2 adjusts for the leverage of Ẑ.
    ``bias_correction``: as in ``fit_durbin``.
    """
    spec, weights, n = design.spec, design.weights, len(design.panel.units)
    if isinstance(design, ShapeDesign):
        _check_shape(design, covariance)
    if covariance in CLUSTERED and spec.lag_error:
        raise SpecificationError(
            f'covariance="{covariance}" is that of two-stage least squares: with lag_error use "robust", or drop lag_error, '
            "since errors clustered by unit need no model of λ over time.",
            f'covariance="{covariance}"属于两阶段最小二乘：含lag_error时请用"robust"，或去掉lag_error，'
            "因为按地区聚类的误差不需要λ的时间模型。",
        )
    if not isinstance(powers, int) or powers < 1:
        raise SpecificationError(
            f"powers must be a whole number from 1, not {powers!r}.",
            f"powers须为1或更大的整数，而不是{powers!r}。",
        )
    corrected = _check_correction(design, bias_correction)
    sample = gmm_sample(design, powers, covariance not in CLUSTERED)
    meat = {"information": None, "robust": white}.get(covariance, by_unit(n))
    found = plain = _textbook(sample, weights, meat)
    if corrected:
        found = _without_bias(sample, design, covariance, meat, plain) or plain
    outside = spec.lag_y and not is_inside(found.stage.delta[-1], design)
    record = Convergence(
        converged=not (found.at_bound or outside),
        at_bound=found.at_bound,
        lam_first=found.lam_first,
        corrected=found is not plain if corrected else None,
        **_diagnostics(sample, found.stage, found.lam, kind_of(covariance)),
    )
    clusters = None
    if covariance in CLUSTERED:
        found, clusters = _clustered(design, sample, found, covariance)
    fit = _assemble(design, covariance, sample, found, record)
    fit = replace(fit, clusters=clusters if record.converged else None)
    return replace(fit, notes=_notes_on(fit))


@dataclass(frozen=True, slots=True)
class _Found:
    """λ̂, the last stage with δ̂, the covariance of both, whether λ̂ is at an end of its interval, and λ̂ of the step before."""

    lam: float
    stage: Projected
    cov: Array
    at_bound: bool
    lam_first: float = np.nan


def _clustered(
    design: Design, sample: GmmSample, found: _Found, covariance: Covariance
) -> tuple[_Found, Clusters | RowClusters | None]:
    """The estimate with errors of CR1, or of CR2 and its clusters: those of least squares on Ẑ."""
    stage, (T, n) = found.stage, sample.shape
    if not corrects_leverage(covariance, n):
        return replace(found, cov=found.cov * n / (n - 1)), None
    fitted, e = stage.fitted.reshape(T, n, -1), stage.residuals.reshape(T, n)
    clusters: Clusters | RowClusters
    if isinstance(design, ShapeDesign):
        there, effects = design.present, design.shape.effects
        clusters = row_clusters(
            design.shape.unit, fitted[there], (effects.columns, effects.values), effects.others
        )
        adjusted = np.zeros((T, n))
        adjusted[there] = clusters.adjusted(e[there])
    else:  # unit effects went with the first period
        clusters = clusters_of(fitted, "time" if sample.centred else "none")
        adjusted = clusters.adjusted(e)
    cov = linear_covariance(replace(stage, residuals=adjusted.ravel()), 0.0, by_unit(n))
    return replace(found, cov=cov), clusters


def _check_shape(design: ShapeDesign, covariance: Covariance) -> None:
    """Refuse what has no theory here on panels of any shape: moments of λ, and errors row by row beside trends of units."""
    if design.spec.lag_error:
        found = [REASONS[name] for name in design.reasons]
        why, why_zh = listed(text.en for text in found), listed_zh(text.zh for text in found)
        raise SpecificationError(
            f"The moments of λ are those of a complete panel under one W, and here {why}. Drop lag_error: 2SLS needs "
            'no model of λ, and covariance="cluster" allows for errors that are correlated over time; with exogenous '
            'regressors leave out estimator="gmm".',
            f"λ的矩条件要求面板完整且W唯一，而此处{why_zh}。请去掉lag_error："
            '两阶段最小二乘无需λ，covariance="cluster"允许误差跨期相关；解释变量均为外生时请去掉estimator="gmm"。',
        )
    trends = [name for name in design.spec.effects if name.startswith("unit*")]
    if covariance == "robust" and trends:
        raise SpecificationError(
            f'covariance="robust" takes rows of a unit as uncorrelated, which {listed(trends)} leave correlated. Use '
            '"cluster".',
            f'covariance="robust"假定同一地区各行不相关，而扣除{listed_zh(trends)}后它们相关。请用"cluster"。',
        )


def _check_correction(design: Design, wanted: bool | None) -> bool:
    """Whether moments are less the bias of many instruments; by default where the lag of an endogenous variable enters."""
    if wanted is not None and not isinstance(wanted, bool):
        raise SpecificationError(
            f"bias_correction must be True, False or None, not {wanted!r}.",
            f"bias_correction须为True、False或None，而不是{wanted!r}。",
        )
    spec, weights = design.spec, design.weights
    if isinstance(design, ShapeDesign):  # its effects meet no W
        two = "W_x" in design.own_lags and spec.lag_y and any(name in spec.lag_x for name in spec.endog)
        if wanted and two:
            raise SpecificationError(
                f"bias_correction needs one W of y and of {listed(spec.endog)}: leave W_x or bias_correction out.",
                f"bias_correction要求y与{listed_zh(spec.endog)}用同一个W：请去掉W_x或bias_correction。",
            )
        possible = not two
    else:
        timed = spec.transform in ("time", "two_way")
        possible = weights.row_normalised or not timed or not spec.spatial_terms
    if wanted and not possible:
        raise SpecificationError(
            f"With time effects bias_correction needs a row-normalised W; {weights.label!r} is not. "
            'Use W.standardise("row"), unit effects only, or leave it out.',
            f'含时间效应时bias_correction需要行标准化的W；{weights.label!r}不是。请用W.standardise("row")，'
            "只用地区效应，或去掉它。",
        )
    lags = spec.lag_y or any(name in spec.lag_x for name in spec.endog)
    default = possible and lags
    return bool(spec.lag_y or spec.endog) and (default if wanted is None else wanted)


def _textbook(sample: GmmSample, weights: Weights, meat: Meat | None) -> _Found:
    first = sample.stage(0.0, FIRST)
    if sample.lag_Z is None:
        return _Found(0.0, first, _covariance_of(sample, first, meat), False)
    return _with_error(sample, weights, first, meat is not None)


def _without_bias(
    sample: GmmSample, design: Design, covariance: Covariance, meat: Meat | None, plain: _Found
) -> _Found | None:
    """The same from moments without the bias of many instruments, as for a system; None where they have no solution."""
    arrays = system_of(sample, design)
    k, reduced = len(sample.names), (arrays.H.T @ arrays.y[:, 1:]).T.ravel()
    spectrum = spectrum_near(arrays, np.concatenate([plain.stage.delta, reduced]))
    if spectrum is None:
        return None
    low, high = design.interval
    kind = "cluster" if covariance in CLUSTERED else covariance
    found = instrumental(arrays, False, kind_of(kind), spectrum, (INSIDE * low, INSIDE * high))
    if not found.corrected:
        return None
    lam = float(found.lam[0])
    y, Z = sample.filtered(lam)
    textbook = plain.stage if lam == plain.lam else sample.stage(lam, FILTERED)
    stage = replace(textbook, delta=found.delta[:k], residuals=y - Z @ found.delta[:k])
    if sample.lag_Z is None:
        return _Found(lam, stage, _covariance_of(sample, stage, meat), False)
    places = [*range(k), len(found.cov) - 1]
    return _Found(lam, stage, found.cov[np.ix_(places, places)], found.at_bound)


def _covariance_of(sample: GmmSample, fit: Projected, meat: Meat | None) -> Array:
    return linear_covariance(
        fit, float(fit.residuals @ fit.residuals) / sample.instruments.observations, meat
    )


def _with_error(sample: GmmSample, weights: Weights, first: Projected, robust: bool) -> _Found:
    """λ̂ by moments of the residuals, δ̂ by 2SLS of the filtered data, their joint covariance."""
    W, N = weights.matrix, sample.instruments.observations
    moments = (robust_moments if robust else classical_moments)(W, sample.centred)
    u, lag = sample.residuals(first.delta)
    g, G = kelejian_prucha(moments, u, lag, N)
    start, at_bound = solve_lambda(g, G, moments.weight, weights.logdet.interval)
    second = sample.stage(start, FILTERED)
    if not robust:
        behind = _unfiltered(W, start, first.fitted @ first.bread, sample.shape)
        cov = _joint(sample, moments, G, second, second, start, behind, moments.weight)
        return _Found(start, second, cov, at_bound)
    u, lag = sample.residuals(second.delta)
    g, G = kelejian_prucha(moments, u, lag, N)
    psi, _ = moment_variance(moments, _estimate(sample, second, second, start, None), True)
    lam, at_bound = solve_lambda(g, G, np.asarray(np.linalg.inv(psi), float), weights.logdet.interval)
    cov = _joint(sample, moments, G, second, sample.stage(lam, FILTERED), lam, None, None)
    return _Found(lam, second, cov, at_bound, start)


def _joint(
    sample: GmmSample,
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
    sample: GmmSample, fit: Projected, at_lam: Projected, lam: float, behind: Array | None
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


def _diagnostics(sample: GmmSample, last: Projected, lam: float, kind: Kind) -> dict[str, Any]:
    names = [sample.names[j] for j in sample.endogenous]
    if not names:
        return {}
    found, N, n = sample.instruments, sample.instruments.observations, sample.shape[1]
    endogenous = sample.Z[:, sample.endogenous]
    strength = instrument_strength(endogenous, found.included, found.basis, N, n, kind)
    y, Z = sample.filtered(lam)
    J, df, p_value = exclusions(y - Z @ last.delta, y, Z, found.basis, N, n, kind).test()
    return {
        "instruments": sample.used,
        "dropped_instruments": sample.dropped,
        "first_stage": dict(zip(names, strength.sw_f.tolist(), strict=True)),
        "effective_f": strength.effective,
        "j_statistic": J,
        "j_df": df,
        "j_p_value": p_value,
    }


def _assemble(
    design: Design,
    covariance: Covariance,
    sample: GmmSample,
    found: _Found,
    record: Convergence,
) -> Fit:
    spec, delta, lam, cov = design.spec, found.stage.delta, found.lam, found.cov
    residuals = _residuals(design, delta, lam)
    N = sample.instruments.observations
    index = pd.Index([*spec.terms, *spec.spatial_terms, "sigma2"], name="term")
    full = np.full((len(index), len(index)), np.nan)
    if record.converged:
        full[: len(cov), : len(cov)] = cov
    values = [*delta, *([lam] if spec.lag_error else []), float(np.nansum(residuals**2)) / N]
    return Fit(
        design=design,
        estimator="gmm",
        covariance=covariance,
        params=pd.Series(values, index=index, name="estimate"),
        cov=pd.DataFrame(full, index=index, columns=index),
        log_likelihood=np.nan,
        nobs=N,
        absorbed=left_of(design).absorbed,
        residuals=residuals,
        df_resid=degrees_of(covariance, sample.shape[1]),
        convergence=record,
    )


def _residuals(design: Design, delta: Array, lam: float) -> Array:
    """ε̂ (T, n) of the demeaned data."""
    k = design.Z.shape[2]
    rho = delta[k] if design.spec.lag_y else 0.0
    u = design.y - rho * design.Wy - design.Z @ delta[:k]
    if design.WZ is None:
        return u
    WZ, WWy = design.lags
    return u - lam * (design.Wy - rho * WWy - WZ @ delta[:k])
