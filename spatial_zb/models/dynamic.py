"""Lags in time: the likelihood given the first period, the correction of its bias, and stability."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import special

from spatial_zb.base.errors import ConvergenceError, SpecificationError
from spatial_zb.base.notes import Note
from spatial_zb.base.results import Row, TestTable
from spatial_zb.base.text import Text
from spatial_zb.core import Array
from spatial_zb.core.likelihood import Maximum, spatial_values
from spatial_zb.core.likelihood.covariance import information, inverse_or_nan
from spatial_zb.core.likelihood.dynamic import (
    Bias,
    Recursion,
    bias_slope,
    carry_over_radius,
    corrected,
    limit_bias,
    score_bias,
)
from spatial_zb.core.transforms import TransformedSample
from spatial_zb.models.certainty import estimated, evaluated, likelihood_covariance
from spatial_zb.models.design import Design
from spatial_zb.models.fit import Fit
from spatial_zb.models.ml import assembled, cross_products_of, likelihood_maximum, notes_at
from spatial_zb.models.notes import not_corrected, not_stable, persistent_and_short, root_taken_out
from spatial_zb.models.spec import Covariance, DurbinSpec, Estimator

#: With fewer explained periods than SMALL_T and τ̂ above HIGH_TAU, η̂ is off by 0.02 to 0.04 after the correction
#: (docs/validation/dynamic.md: T = 10 and τ of 0.6 and 0.8; at T = 20 it is less than 0.02).
SMALL_T, HIGH_TAU = 15, 0.5


def fit_dynamic(
    design: Design, estimator: Estimator, covariance: Covariance, bandwidth: int | None = None
) -> Fit:
    """Estimate with y_{t−1} and Wy_{t−1} among the regressors, given the first period.

    ``lee_yu``: maximum of the likelihood after the transform, plus the correction of order 1/T; ``yang``: root of the
    score whose bias is taken out at the given T; ``uncorrected``: the maximum itself. Standard errors of the first two
    count that the correction is estimated too.

    Raises
    ------
    ConvergenceError
        With ``yang``: the corrected score has no root.
    """
    sample = design.sample()
    best, found, jacobian = dynamic_estimate(design, sample, estimator)
    at = evaluated(design, estimator, best, sample)
    certain = likelihood_covariance(at, covariance, bandwidth)
    if jacobian is not None:
        certain = replace(certain, cov=jacobian @ certain.cov @ jacobian.T)
    notes = notes_at(at, covariance, certain)
    best = replace(best, log_likelihood=found.log_likelihood)  # of the maximum: what AIC and LR compare
    fit = assembled(replace(at, best=best), covariance, certain)
    fit = _with_dynamics(fit, found, jacobian is not None)
    return replace(fit, notes=(*notes, *_notes_on_persistence(fit)))


def dynamic_estimate(
    design: Design, sample: TransformedSample, estimator: Estimator
) -> tuple[Maximum, Maximum, Array | None]:
    """The estimate, the maximum before the correction, and the derivative of the one in the other (None: the same).

    The design may be of more periods than ``sample`` counts: one long sample with the squares that are expected.
    """
    weights, found = design.weights, likelihood_maximum(design, sample)
    model = Recursion(weights.matrix, weights.logdet, sample.n_periods, sample.centred)
    best, jacobian = _corrected(design, found, sample, model, estimator)
    return best, found, jacobian


def carried(spec: DurbinSpec, values: Array) -> tuple[float, float]:
    """τ and η among coefficients in the order of ``spec.terms``; zero for those not in the model."""
    place = {term: i for i, term in enumerate(spec.terms)}
    tau, eta = (float(values[place[name]]) if name in place else 0.0 for name in ("tau", "eta"))
    return tau, eta


def _corrected(
    design: Design,
    found: Maximum,
    sample: TransformedSample,
    model: Recursion,
    estimator: Estimator,
) -> tuple[Maximum, Array | None]:
    """The corrected estimate, and its derivative in the uncorrected one; None where nothing is corrected."""
    spec = design.spec
    if estimator == "uncorrected" or found.at_bound:
        return found, None
    if estimator == "lee_yu":
        tau, eta = carried(spec, found.delta)
        steady = carry_over_radius(tau, eta, found.rho, model.logdet, model.centred) < 1
        return _one_step(design, found, sample, model) if steady else (found, None)
    lags = (bool(spec.time_lag), bool(spec.lag_time_lag), bool(spec.lag_y), bool(spec.lag_error))
    best = corrected(cross_products_of(design), found, sample, model, lags)
    if best is None:
        raise ConvergenceError(
            f"The corrected score of the {spec.title} of {spec.y!r} has no root: {model.periods} periods do not tell its "
            'persistence from a unit root. Use estimator="lee_yu", or more periods.',
            f"{spec.y!r}的{spec.title}校正得分没有根：{model.periods}个时期无法区分其持续性与单位根。"
            '请用estimator="lee_yu"，或更多时期。',
        )
    change = _inverse_information(design, best, sample) @ _slope(design, best, score_bias, model)
    return best, np.asarray(np.linalg.inv(np.eye(len(change)) - change), float)


def _one_step(
    design: Design, found: Maximum, sample: TransformedSample, model: Recursion
) -> tuple[Maximum, Array]:
    """θ̂ + I(θ̂)⁻¹b(θ̂), and I + I(θ̂)⁻¹ ∂b/∂θ."""
    spec, k = design.spec, len(found.delta)
    inverse = _inverse_information(design, found, sample)
    b = np.zeros(len(inverse))
    where, which = _biased(spec)
    b[where] = limit_bias(*carried(spec, found.delta), found.rho, model)[which]
    values = np.array([*found.delta, found.rho, found.lam, found.sigma2])
    values[estimated(spec)] += inverse @ b
    best = replace(
        found, delta=values[:k], rho=float(values[k]), lam=float(values[k + 1]), sigma2=float(values[k + 2])
    )
    return best, np.eye(len(b)) + inverse @ _slope(design, found, limit_bias, model)


def _biased(spec: DurbinSpec) -> tuple[list[int], list[int]]:
    """Where (τ, η, ρ) stand among the estimated parameters, and which of them there are."""
    there = (spec.time_lag, spec.lag_time_lag, spec.lag_y)
    first = len(spec.terms) - len(spec.time_terms)
    which = [i for i, on in enumerate(there) if on]
    return list(range(first, first + len(which))), which


def _inverse_information(design: Design, best: Maximum, sample: TransformedSample) -> Array:
    """Inverse of the expected information of the estimated parameters; NaN where it is not positive definite."""
    at, active = evaluated(design, "lee_yu", best, sample), estimated(design.spec)
    matrix = information(at.parts, at.traces, best.sigma2, sample)
    return inverse_or_nan(matrix[np.ix_(active, active)])[0]


def _slope(design: Design, best: Maximum, bias: Bias, model: Recursion) -> Array:
    """∂b/∂θ over the estimated parameters."""
    spec = design.spec
    where, which = _biased(spec)
    out = np.zeros((len(estimated(spec)),) * 2)
    found = bias_slope(bias, *carried(spec, best.delta), best.rho, model)
    out[np.ix_(where, where)] = found[np.ix_(which, which)]
    return out


def _with_dynamics(fit: Fit, found: Maximum, is_corrected: bool) -> Fit:
    """The fit with what there is to know of its persistence."""
    spec = fit.spec
    before = pd.Series(
        [*found.delta, *spatial_values(spec, found)], index=fit.params.index[:-1], name="uncorrected"
    )
    tau, eta = carried(spec, fit.params.to_numpy())
    rho, timed = float(fit.params.get("rho", 0.0)), fit.spec.transform == "two_way"
    radius, off_means = (
        float(carry_over_radius(tau, eta, rho, fit.weights.logdet, c)) for c in (False, timed)
    )
    convergence = replace(
        fit.convergence,
        corrected=is_corrected,
        uncorrected=before,
        radius=radius,
        radius_off_means=off_means,
    )
    return replace(fit, convergence=convergence)


#: The test of stability_test.
UNIT_ROOT = Text("Wald unit root", "Wald 检验（单位根）")


def stability_test(fit: Fit) -> TestTable:
    """Wald test of a unit root, τ + (ρ + η)ω_max = 1, against stability; ω_max = 1 where rows of W sum to one.

    Returns
    -------
    TestTable of one row with the one-sided ``p_value`` (small: stable); ``tidy()`` has beside ``persistence``
    τ + (ρ + η)ω_max, its ``std_error``, ``radius``, the largest modulus of an eigenvalue of (I − ρW)⁻¹(τI + ηW), and
    ``stable``, whether it is below one. Near a unit root the statistic is not normal: read the p-value as a guide.

    Raises
    ------
    SpecificationError
        A fit without a lag in time.
    """
    if not fit.spec.dynamic or fit.spec.regimes:
        raise SpecificationError(
            f"{fit!r} has no lag in time: there is no persistence to test.",
            f"{fit!r}没有时间滞后：没有可检验的持续性。",
        )
    top = 1 / fit.weights.logdet.interval[1]
    gradient = pd.Series({"tau": 1.0, "rho": top, "eta": top})
    gradient = gradient[[name for name in gradient.index if name in fit.params.index]]
    names = list(gradient.index)
    persistence = float(gradient @ fit.claimed[names])
    std_error = float(np.sqrt(gradient @ fit.cov.loc[names, names] @ gradient))
    statistic = (persistence - 1) / std_error
    radius = fit.convergence.radius if fit.converged else np.nan
    p_value = float(special.ndtr(statistic))
    beside = {"persistence": persistence, "std_error": std_error, "radius": radius, "stable": radius < 1}
    names = ["persistence", "std_error", "statistic", "p_value", "radius", "stable"]
    old = pd.DataFrame([{**beside, "statistic": statistic, "p_value": p_value}])[names]
    row = Row(UNIT_ROOT.en, statistic, 1, p_value, more=beside)
    return TestTable((row,), fit.facts, {UNIT_ROOT.en: UNIT_ROOT}, old=old)


def _notes_on_persistence(fit: Fit) -> list[Note]:
    notes: list[Note] = []
    facts = fit.convergence
    if fit.converged and facts.radius >= 1:
        found = stability_test(fit).rows[0].more
        notes.append(not_stable(found["persistence"], found["radius"]))
        if facts.radius_off_means < 1:
            notes.append(root_taken_out())
    T = len(fit.panel.periods)
    if (
        facts.corrected
        and T < SMALL_T
        and fit.params.get("tau", 0.0) > HIGH_TAU
        and "eta" in fit.params.index
    ):
        notes.append(persistent_and_short(T, fit.params["tau"]))
    if fit.estimator == "lee_yu" and fit.converged and not facts.corrected:
        notes.append(not_corrected())
    return notes
