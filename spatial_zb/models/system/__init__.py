"""Simultaneous equations on panels: the specification, instrumental methods, full-information likelihood, the fit.

The algebra of systems lives in :mod:`spatial_zb.core.system`, their effects in :mod:`spatial_zb.effects`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.base.errors import SpecificationError, listed, listed_zh, not_one_of
from spatial_zb.base.notes import tell
from spatial_zb.base.threads import one_thread
from spatial_zb.core.likelihood.covariance import inverse_or_nan
from spatial_zb.core.system import SystemArrays
from spatial_zb.core.system.components import error_components
from spatial_zb.core.system.dynamic import follow
from spatial_zb.core.system.fiml import (
    SINGULAR,
    SigmaForm,
    SystemLikelihood,
    SystemMaximum,
    maximise_system,
    ridge_height,
    smallest_correlation,
)
from spatial_zb.core.system.identification import kind_of
from spatial_zb.core.system.instrumental import InstrumentalEstimate, instrumental
from spatial_zb.core.system.instruments import spectrum_near
from spatial_zb.core.system.scores import quasi_covariance
from spatial_zb.data.panel import Panel, require_complete
from spatial_zb.models.design import check_kinds
from spatial_zb.models.spec import CLUSTERED, Convergence, corrects_leverage
from spatial_zb.models.system.design import SystemDesign, system_design
from spatial_zb.models.system.dynamic import (
    Spread,
    carried_of,
    clustered_spread,
    dynamic_covariance,
    least_squares,
    starts_over_time,
    with_persistence,
)
from spatial_zb.models.system.fit import Method, SystemFit
from spatial_zb.models.system.notes import notes_on
from spatial_zb.models.system.spec import NOT_BY_MOMENTS, SystemSpec, check_system_weights
from spatial_zb.weights.matrix import as_weights, weights_eigenvalues

Covariance = Literal["classical", "robust", "cluster", "cr1", "cr2", "information", "sandwich"]
INSTRUMENTAL: tuple[Covariance, ...] = ("classical", "robust", "cluster", "cr1", "cr2")
LIKELIHOOD: tuple[Covariance, ...] = ("information", "sandwich", "cluster", "cr1", "cr2")


@one_thread
def fit_system(
    spec: SystemSpec,
    panel: Panel,
    W: Any,
    method: Method | None = None,
    *,
    covariance: Covariance | None = None,
    instrument_powers: int | None = None,
    sigma: SigmaForm = "full",
    bias_correction: bool | None = None,
) -> SystemFit:
    r"""Estimate a system of spatial simultaneous equations on a panel.

    y_g = Σ_l γ_gl y_l + Σ_l ψ_gl W y_l + X_g β_g + W X_g θ_g + effects + u_g,  u_g = λ_g W u_g + ε_g,
    Cov(ε) = Σ between equations, g = 1 … m.

    Parameters
    ----------
    spec
        The equations and the fixed effects.
    panel
        n units × T periods.
    W
        Weights of the same units, in any order. By 2SLS and 3SLS without spatial errors or random effects units may come and
        go (``balance="keep"``), and W may be by period.
    method
        ``"2sls"``, ``"3sls"``: instrumental, without spatial errors. ``"gs2sls"``, ``"gs3sls"``: the same with
        λ_g where an equation has ``lag_error``. ``"fiml"``: full-information (quasi) maximum likelihood. With
        random effects the instrumental methods are EC2SLS and EC3SLS (Baltagi & Deng 2015). By default ``"gs3sls"``, with
        lags in time ``"fiml"``, which alone has them: the likelihood is then adjusted for the bias of few periods and
        followed along its path (:mod:`spatial_zb.core.system.dynamic`), given the first period.
    covariance
        Instrumental: ``"classical"`` (default), ``"robust"`` (to variances that differ between units),
        ``"cluster"`` (by unit: to errors that last over time too). FIML: ``"information"`` (default; observed),
        ``"sandwich"`` (to non-normal errors), ``"cluster"`` (by unit, all equations together). With ``"cluster"``
        and fewer than 50 units errors are CR2 and p-values and limits those of Student's t with Bell and McCaffrey's
        degrees of freedom (``"cr2"``); from 50 units on, and with λ by instruments, CR1 and t(n − 1) (``"cr1"``).
    instrument_powers
        Highest power of W among the instruments [X, WX, W²X, …] of all exogenous variables. By default 2 when
        the spatial lag of an endogenous variable enters, else 0: the reduced form then has no other powers.
    sigma
        FIML only: ``"diagonal"`` assumes errors uncorrelated between equations.
    bias_correction
        Instrumental methods: estimates from moments without the bias of many instruments (Liu & Lee 2010), which
        under a dense W is large; with ``lag_error`` the moments of λ are recentred too. By default on when the spatial
        lag of an endogenous variable enters, unless effects are random. False gives the textbook estimators.

    Raises
    ------
    SpecificationError
        Unknown option; an equation that is not identified, by name and with what it lacks; time effects with W
        not row-normalised; spatial errors under 2SLS or 3SLS; singular Σ.
    DataError
        Variables that cannot be used, see :func:`spatial_zb.models.system.design.build_system_design`.
    AlignmentError
        Units of panel and W differ.

    Notes
    -----
    Kelejian & Prucha (2004), J. Econometrics 118: 27-50; Yang & Lee (2017), J. Econometrics 196: 196-214; the
    fixed-effects transform and its log-determinant are those of Lee & Yu (2010), J. Econometrics 154.
    """
    check_kinds(spec, SystemSpec, panel)
    method = _check_method(spec, method)
    covariance = _check_options(spec, method, covariance, instrument_powers, sigma)
    corrected = _check_correction(spec, method, bias_correction)
    powers = instrument_powers if instrument_powers is not None else 2 * spec.lags_endogenous
    if method == "fiml" or not spec.by_moments:
        require_complete(panel, NOT_BY_MOMENTS)
        W = as_weights(W).align(panel.units)
    design = system_design(spec, panel, W, powers, method == "fiml", covariance not in CLUSTERED)
    if design.rows is None:
        check_system_weights(spec, design.weights)
    if design.strata is not None:
        fit = _fit_random(design, method, covariance)
    elif spec.dynamic:
        fit = _fit_dynamic(design, covariance, sigma)
    elif method == "fiml":
        fit = _fit_likelihood(design, covariance, sigma)
    else:
        fit = _fit_instrumental(design, method, covariance, corrected)
    notes = notes_on(fit)
    tell(notes)
    return replace(fit, notes=notes)


#: Half of the 95 % quantile of χ²(1): what ln L falls by at the ends of a likelihood interval.
HALF_CHI2 = 1.9207


def _check_method(spec: SystemSpec, method: Method | None) -> Method:
    method = ("fiml" if spec.dynamic else "gs3sls") if method is None else method
    if spec.dynamic and method in get_args(Method) and method != "fiml":
        raise SpecificationError(
            f'Lags in time go with method="fiml", whose bias over few periods is taken off, not with {method!r}: their '
            "instruments would be the variables of earlier periods, which the effects make endogenous.",
            f'时间滞后项用method="fiml"估计（其短时期偏误得到校正），不能用{method!r}：其工具变量是更早时期的变量，'
            "扣除固定效应后它们成为内生。",
        )
    return method


def _check_options(
    spec: SystemSpec, method: str, covariance: Covariance | None, powers: int | None, sigma: str
) -> Covariance:
    if method not in get_args(Method):
        raise not_one_of("method", method, get_args(Method))
    allowed = LIKELIHOOD if method == "fiml" else INSTRUMENTAL
    covariance = allowed[0] if covariance is None else covariance
    if covariance not in allowed:
        raise SpecificationError(
            f"With {method!r}, covariance must be one of {listed(allowed)}, not {covariance!r}.",
            f"{method!r}的covariance须为{listed_zh(allowed)}之一，而不是{covariance!r}。",
        )
    _check_cr2(spec, method, covariance)
    if powers is not None and (
        isinstance(powers, bool) or not isinstance(powers, int) or not 0 <= powers <= 4
    ):
        raise SpecificationError(
            f"instrument_powers must be a whole number from 0 to 4, not {powers!r}.",
            f"instrument_powers须为0至4的整数，而不是{powers!r}。",
        )
    if spec.fixed_effects == "random" and method == "fiml":
        raise SpecificationError(
            'The likelihood of a system with random effects is not available: use method="3sls", or fixed effects.',
            '含随机效应的系统没有似然：请用method="3sls"，或固定效应。',
        )
    if sigma not in get_args(SigmaForm):
        raise not_one_of("sigma", sigma, get_args(SigmaForm))
    if sigma == "diagonal" and method != "fiml":
        raise SpecificationError(
            'sigma="diagonal" is an assumption of method="fiml"; use "gs2sls" instead of 3SLS.',
            'sigma="diagonal"是method="fiml"的假定；请用"gs2sls"而不是3SLS。',
        )
    spatial = [name for name, equation in spec.equations.items() if equation.lag_error]
    if spatial and method in ("2sls", "3sls"):
        raise SpecificationError(
            f"{method!r} has no spatial error, which {listed(spatial)} asks for: use method='gs{method}', or "
            "lag_error=False.",
            f"{method!r}没有空间误差，而{listed_zh(spatial)}要求空间误差：请用method='gs{method}'，或lag_error=False。",
        )
    return covariance


def _check_cr2(spec: SystemSpec, method: str, covariance: str) -> None:
    """Leverage is not put back where λ comes of moments, in random effects, and with lags in time one word is enough."""
    moments = method != "fiml" and any(equation.lag_error for equation in spec.equations.values())
    without = moments or spec.fixed_effects == "random"
    if (covariance == "cr2" and without) or (covariance in ("cr1", "cr2") and spec.dynamic):
        raise SpecificationError(
            f'covariance="{covariance}" is not available with random effects, spatial errors by instruments (there CR2), or '
            'lags in time: use "cluster".',
            f'covariance="{covariance}"不适用于随机效应、工具变量法下的空间误差（指CR2）或时间滞后：请用"cluster"。',
        )


def _check_correction(spec: SystemSpec, method: str, wanted: bool | None) -> bool:
    """Whether the moments are recentred."""
    if wanted is not None and not isinstance(wanted, bool):
        raise SpecificationError(
            f"bias_correction must be True, False or None, not {wanted!r}.",
            f"bias_correction须为True、False或None，而不是{wanted!r}。",
        )
    possible = method != "fiml" and spec.fixed_effects != "random"
    if wanted and not possible:
        raise SpecificationError(
            "bias_correction is for instrumental methods with fixed effects or without effects, "
            f"not for method={method!r} with {spec.fixed_effects} effects. Leave it out.",
            "bias_correction用于消除含固定效应或不含效应的工具变量方法因工具变量过多产生的偏误："
            f"不适用于method={method!r}、{spec.fixed_effects}效应。请去掉。",
        )
    return possible and (spec.lags_endogenous if wanted is None else wanted)


# Instrumental methods -------------------------------------------------------------------------------------


def _fit_instrumental(
    design: SystemDesign, method: Method, covariance: Covariance, corrected: bool
) -> SystemFit:
    joint = method.endswith("3sls")
    found = _instrumental(design, joint, covariance)
    if corrected:
        design = replace(design, spectrum=spectrum_near(design.arrays, found.delta))
        few = corrects_leverage(covariance, design.arrays.sample.n_units)
        found = instrumental(design.arrays, joint, kind_of(covariance), design.spectrum, leverage=few)
    active = np.flatnonzero(design.arrays.lag_error)
    record = Convergence(
        converged=not found.at_bound,
        at_bound=found.at_bound,
        lam=tuple(found.lam),
        corrected=found.corrected if corrected else None,
    )
    theta = np.concatenate([found.delta, found.lam[active]])
    cov = np.full_like(found.cov, np.nan) if found.at_bound else found.cov
    fit = _assemble(design, method, covariance, theta, cov, found.residuals, found.sigma, record)
    return replace(fit, clusters=None if found.at_bound else found.clusters)


def _fit_random(design: SystemDesign, method: Method, covariance: Covariance) -> SystemFit:
    """EC2SLS or EC3SLS; identification and J are those of the scaled arrays of EC2SLS."""
    assert design.strata is not None, "a design with random effects"
    found = error_components(design.strata, method.endswith("3sls"), kind_of(covariance))
    _refuse_singular(design.spec, found.sigma_noise)
    record = Convergence(
        converged=True, at_bound=False, lam=(0.0,) * design.arrays.m, sigma_unit=found.sigma_unit
    )
    e = design.arrays.residuals(found.delta)
    numbers = found.delta, found.cov, e, found.sigma_noise
    fit = _assemble(design, method, covariance, *numbers, record)
    return replace(fit, design=replace(design, arrays=found.scaled))


def _instrumental(design: SystemDesign, joint: bool, covariance: Covariance) -> InstrumentalEstimate:
    few = corrects_leverage(covariance, design.arrays.sample.n_units)
    first = instrumental(design.arrays, False, kind_of(covariance), leverage=few)
    _refuse_singular(design.spec, first.sigma)
    return instrumental(design.arrays, True, kind_of(covariance), leverage=few) if joint else first


def _refuse_singular(spec: SystemSpec, sigma: NDArray[np.float64]) -> None:
    if smallest_correlation(sigma) < SINGULAR:
        scale = 1 / np.sqrt(np.diag(sigma))
        _, vectors = np.linalg.eigh(sigma * np.outer(scale, scale))
        involved = [spec.names[g] for g in np.flatnonzero(np.abs(vectors[:, 0]) > 1e-3)]
        raise SpecificationError(
            f"The errors of equations {listed(involved)} are linearly dependent, so their covariance is singular: one "
            "equation repeats the others, or an identity is among them. Drop one, or substitute the identity.",
            f"方程{listed_zh(involved)}的误差线性相关，协方差奇异：一个方程重复了其他方程，或其中有恒等式。请去掉一个，"
            "或代入恒等式。",
        )


# Likelihood -----------------------------------------------------------------------------------------------


def _fit_likelihood(design: SystemDesign, covariance: Covariance, sigma_form: SigmaForm) -> SystemFit:
    likelihood = system_likelihood(design, sigma_form)
    best = maximise_system(likelihood, _starts(design))
    e = likelihood.residuals(best.theta)
    sigma = likelihood.sigma(e)
    spread = likelihood_covariance(likelihood, best, covariance)
    cov, positive = spread.cov, spread.positive
    record = Convergence(
        converged=positive and not best.at_bound,
        at_bound=best.at_bound,
        steps=best.steps,
        decrement=best.decrement,
        modes=best.modes,
        edge=max(best.edge, ridge_height(likelihood, best.theta)) if positive else best.edge,
        reach=_reach(likelihood, best, cov) if positive else np.nan,
        probe_error=spread.probe_error,
        lam=tuple(likelihood.split(best.theta)[1]),
    )
    fit = _assemble(design, "fiml", covariance, best.theta, cov, e, sigma, record)
    clusters = spread.clusters if record.converged else None
    return replace(fit, sigma_form=sigma_form, log_likelihood=best.log_likelihood, clusters=clusters)


def _reach(likelihood: SystemLikelihood, best: SystemMaximum, cov: NDArray[np.float64]) -> float:
    """How far ln L falls in a 95 % interval: half of χ²(1), times the largest ratio of a variance of γ to that of ln L."""
    links = likelihood.arrays.links
    ratio = np.diag(cov) / np.diag(inverse_or_nan(-best.hessian)[0])
    return HALF_CHI2 * float(ratio[links.position[~links.lagged]].max(initial=1.0))


def _fit_dynamic(design: SystemDesign, covariance: Covariance, sigma_form: SigmaForm) -> SystemFit:
    """The maximum of the adjusted likelihood by its path, given the first period."""
    omega = weights_eigenvalues(design.weights) if design.spec.uses_weights else np.empty(0)
    carried = carried_of(design, omega, sigma_form)
    found = follow(carried, starts_over_time(design))
    if found.solved:
        spread = dynamic_covariance(carried, found.theta, found.weight, covariance)
    else:
        spread = Spread(np.full((len(found.theta),) * 2, np.nan), False)
    e = carried.likelihood.residuals(found.theta)
    index, order = _index(design.spec, design.arrays)
    record = Convergence(
        converged=spread.positive,
        at_bound=not found.solved,
        steps=found.steps,
        decrement=found.decrement,
        modes=found.modes,
        edge=found.edge,
        lam=tuple(carried.likelihood.split(found.theta)[1]),
        uncorrected=pd.Series(found.before[order], index=index, name="uncorrected"),
        radius=carried.radius(found.theta, False),
        radius_off_means=carried.radius(found.theta, True),
        weight=found.weight,
        adjusted=found.adjusted,
    )
    numbers = found.theta, spread.cov, e, carried.likelihood.sigma(e)
    fit = _assemble(design, "fiml", covariance, *numbers, record)
    clusters = spread.clusters if record.converged else None
    fit = replace(fit, sigma_form=sigma_form, log_likelihood=found.before_value, clusters=clusters)
    return with_persistence(fit)


def system_likelihood(design: SystemDesign, sigma_form: SigmaForm) -> SystemLikelihood:
    """The likelihood of the arrays of a design."""
    spatial = design.spec.lags_endogenous or any(design.arrays.lag_error)
    omega = weights_eigenvalues(design.weights) if spatial else np.empty(0)
    return SystemLikelihood(design.arrays, omega, sigma_form)


def _starts(design: SystemDesign) -> list[NDArray[np.float64]]:
    """GS3SLS and GS2SLS where the instruments allow it, and least squares without interaction."""
    arrays, alone = design.arrays, least_squares(design)
    K, active = int(arrays.bounds[-1]), np.flatnonzero(arrays.lag_error)
    if not all(found.order for found in design.identification.values()):
        u = arrays.residuals(alone[:K])
        _refuse_singular(design.spec, u.T @ u)
        return [alone]
    found = [_instrumental(design, joint, "classical") for joint in (True, False)]
    return [*(np.concatenate([f.delta, f.lam[active]]) for f in found), alone]


def likelihood_covariance(likelihood: SystemLikelihood, best: SystemMaximum, kind: str) -> Spread:
    """Inverse of minus the Hessian, the sandwich or that of scores by unit, and whether it exists."""
    if best.at_bound:
        return Spread(np.full_like(best.hessian, np.nan), False)
    inverse, positive = inverse_or_nan(-best.hessian)
    if positive and kind == "sandwich":
        return Spread(quasi_covariance(likelihood, best.theta, inverse), True)
    if positive and kind in CLUSTERED:
        few = corrects_leverage(kind, likelihood.arrays.sample.n_units)
        return clustered_spread(likelihood, best.theta, inverse, few)
    return Spread(inverse, positive)


# The record -----------------------------------------------------------------------------------------------


def _assemble(
    design: SystemDesign,
    method: Method,
    covariance: str,
    theta: NDArray[np.float64],
    cov: NDArray[np.float64],
    e: NDArray[np.float64],
    sigma: NDArray[np.float64],
    record: Convergence,
) -> SystemFit:
    spec, arrays = design.spec, design.arrays
    index, order = _index(spec, arrays)
    names = pd.Index(spec.names, name="equation")
    return SystemFit(
        design=design,
        method=method,
        covariance=covariance,
        params=pd.Series(theta[order], index=index, name="estimate"),
        cov=pd.DataFrame(cov[np.ix_(order, order)], index=index, columns=index),
        sigma=pd.DataFrame(sigma, index=names, columns=names),
        log_likelihood=np.nan,
        df_resid=arrays.sample.n_units - 1 if covariance in CLUSTERED else None,
        nobs=arrays.sample.observations,
        residuals=design.residuals(e, theta[: int(arrays.bounds[-1])]),
        convergence=record,
    )


def _index(spec: SystemSpec, arrays: SystemArrays) -> tuple[pd.MultiIndex, NDArray[np.intp]]:
    """(equation, term) with ``lam`` after the coefficients of its equation; positions in (δ, λ)."""
    K = int(arrays.bounds[-1])
    labels: list[tuple[str, str]] = []
    order: list[int] = []
    errors = 0
    for g, name in enumerate(spec.names):
        block = arrays.block(g)
        labels += [(name, term) for term in spec.terms(name)]
        order += range(block.start, block.stop)
        if arrays.lag_error[g]:
            labels.append((name, "lam"))
            order.append(K + errors)
            errors += 1
    return pd.MultiIndex.from_tuples(labels, names=["equation", "term"]), np.array(order)
