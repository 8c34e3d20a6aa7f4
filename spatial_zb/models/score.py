"""Fixed effects: the score that unequal variances and correlation over time do not bias (``estimator="robust_score"``)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from spatial_zb.base.errors import SpecificationError
from spatial_zb.base.notes import Note
from spatial_zb.core import Array
from spatial_zb.core.likelihood import Maximum, inner_interval
from spatial_zb.core.likelihood.error_score import (
    ErrorSample,
    ErrorScore,
    error_at_root,
    error_covariance,
    error_point,
)
from spatial_zb.core.likelihood.score import (
    ROBUST_FORMS,
    Filters,
    Form,
    Roots,
    ScoreSample,
    at_root,
    period_basis,
    robust_score,
    score_covariance,
    score_roots,
)
from spatial_zb.core.logdet.traces import Traces
from spatial_zb.core.transforms import Base, orthogonal_base
from spatial_zb.models.certainty import Certainty, Evaluated, residual_arrays
from spatial_zb.models.design import Design, stacked
from spatial_zb.models.fit import Fit
from spatial_zb.models.ml import SMALL_N, assembled, fit_ml, likelihood_maximum, notes_on_dependence
from spatial_zb.models.notes import BOOTSTRAP, few_units, no_root, score_has_roots, simpler_score
from spatial_zb.models.spec import Covariance, corrects_leverage


@dataclass(frozen=True, slots=True)
class _Found:
    """Roots of one form, that of the estimate first; the slope and covariance of (δ, ρ or λ) there, NaN without any."""

    form: Form
    roots: Roots
    best: Maximum
    at: Evaluated
    slope: float
    cov: Array


def fit_score(design: Design, covariance: Covariance) -> Fit:
    """Estimate ρ (or λ) by the robust score and δ by least squares given it, with errors clustered by unit.

    Without either this is least squares, and the same as ``"lee_yu"``. The score has a block of weights for each unit where
    its equations have a solution; else one weight for each unit (a note says which).

    Raises
    ------
    SpecificationError
        So few units that no form of the score has a solution.
    """
    if not design.spec.spatial_terms:
        return fit_ml(design, "robust_score", covariance)
    found = (_of_rho if design.spec.lag_y else _of_lambda)(design, covariance)
    cov = np.full((len(found.cov) + 1,) * 2, np.nan)
    cov[:-1, :-1] = found.cov
    positive = bool(found.slope > 0 and np.isfinite(found.cov).all())
    fit = assembled(found.at, covariance, Certainty(cov, positive))
    record = replace(fit.convergence, form=found.form, roots=found.roots.found)
    return replace(fit, convergence=record, notes=_notes(found, covariance))


def by_unit(values: Array, design: Design) -> Array:
    """Stacked values (T·n, …) as (n, S, …), S orthonormal combinations of the periods that the effects leave."""
    T, n = design.y.shape
    basis = period_basis(T, design.spec.transform in ("unit", "two_way"))
    moved = np.tensordot(basis, values.reshape(T, n, *values.shape[1:]), (0, 0))
    return np.ascontiguousarray(np.moveaxis(moved, 0, 1))


def timed(design: Design) -> bool:
    """Whether periods have effects."""
    return design.spec.transform in ("time", "two_way")


# --- ρ


def score_sample(design: Design, base: Base) -> ScoreSample:
    """What the score of ρ looks at, in units of y; ``base`` by :func:`orthogonal_base` of the design."""
    y, Wy, rows = (by_unit(base.columns[:, part], design) for part in (0, 1, slice(2, None)))
    return ScoreSample(y, Wy, rows, timed(design), design.weights.matrix)


def _of_rho(design: Design, covariance: Covariance) -> _Found:
    base = orthogonal_base(stacked(design.Z), stacked(design.y), stacked(design.Wy), basis=design.basis)
    sample = score_sample(design, base)
    for form in ROBUST_FORMS:
        score = robust_score(sample, form)
        if score is None:
            continue
        roots = _ordered(score_roots(score, inner_interval(design.weights.logdet.interval)), design)
        rho = roots.found[0] if roots.found else roots.end
        best = _estimate(design, base.back[:, :2] @ [1.0, -rho], bool(roots.found), rho=rho)
        at, slope = _evaluated(design, best), np.nan
        cov = np.full((sample.rows.shape[2] + 1,) * 2, np.nan)
        if roots.found:
            errors, factor = _errors(at, covariance, base.y_norm)
            known = at_root(score, rho, errors)
            if known is None:
                continue
            means = by_unit(at.parts.BGm / base.y_norm, design)
            cov = score_covariance(sample, known, means, errors, base.back[:, 1:], factor)
            slope = known.slope
        return _Found(form, roots, best, at, slope, cov)
    raise _nothing(design)


# --- λ


def error_sample(design: Design, unit: float) -> ErrorSample:
    """What the score of λ looks at, y in units of ``unit``."""
    parts = design.y / unit, design.Wy / unit, design.Z, design.lags[0]
    y, Wy, Z, lags = (by_unit(stacked(values), design) for values in parts)
    return ErrorSample(y, Wy, Z, lags, timed(design), Filters(design.weights.matrix))


def _of_lambda(design: Design, covariance: Covariance) -> _Found:
    unit = float(np.sqrt((design.y**2).sum()))
    sample = error_sample(design, unit)
    for form in ROBUST_FORMS:
        score = ErrorScore(sample, form)
        if error_point(score, 0.0) is None:
            continue
        roots = _ordered(score_roots(score, inner_interval(design.weights.logdet.interval)), design)
        lam = roots.found[0] if roots.found else roots.end
        point = error_point(score, lam)
        if point is None:
            continue
        best = _estimate(design, point.delta * unit, bool(roots.found), lam=lam)
        at, slope = _evaluated(design, best), np.nan
        cov = np.full((sample.shape[2] + 1,) * 2, np.nan)
        if roots.found:
            errors, factor = _errors(at, covariance, unit)
            known = error_at_root(score, lam, errors)
            if known is None:
                continue
            slope, scale = known[0].slope, np.append(np.full(sample.shape[2], unit), 1.0)
            cov = error_covariance(point, *known, errors, factor) * np.outer(scale, scale)
        return _Found(form, roots, best, at, slope, cov)
    raise _nothing(design)


# --- Either


def _ordered(roots: Roots, design: Design) -> Roots:
    """Several roots by their distance from maximum likelihood, which variances bias little where they are near."""
    if len(roots.found) < 2:
        return roots
    like = likelihood_maximum(design, design.sample())
    value = like.rho if design.spec.lag_y else like.lam
    return replace(roots, found=tuple(sorted(roots.found, key=lambda root: abs(root - value))))


def _estimate(design: Design, delta: Array, solved: bool, rho: float = 0.0, lam: float = 0.0) -> Maximum:
    u = design.y - rho * design.Wy - design.Z @ delta
    if lam:
        u = u - lam * (design.Wy - design.lags[0] @ delta)
    return Maximum(
        rho=rho,
        lam=lam,
        delta=delta,
        sigma2=float((u**2).sum()) / design.sample().observations,
        log_likelihood=np.nan,
        at_bound=not solved,
        gradient=np.nan,
        modes=(),
    )


def _errors(at: Evaluated, covariance: Covariance, unit: float) -> tuple[Array, float]:
    """What stands for errors (n, S) in a clustered covariance, in units of y, and its factor."""
    n = at.sample.n_units
    if corrects_leverage(covariance, n):
        star = at.clusters.adjusted(at.parts.e.reshape(at.design.y.shape))
        return by_unit(stacked(star) / unit, at.design), 1.0
    return by_unit(at.parts.e / unit, at.design), n / (n - 1)


def _evaluated(design: Design, best: Maximum) -> Evaluated:
    parts = residual_arrays(design, best)
    return Evaluated(design, "robust_score", best, design.sample(), Traces(*[0.0] * 9), parts)


def _nothing(design: Design) -> SpecificationError:
    n = len(design.weights.ids)
    return SpecificationError(
        f"The robust score has no solution with {n} units and these regressors: use more units or fewer regressors, or "
        'estimator="lee_yu" with covariance="cluster".',
        f'{n}个地区与这些解释变量下稳健得分无解：请增加地区或减少解释变量，或用estimator="lee_yu"与covariance="cluster"。',
    )


def _notes(found: _Found, covariance: str) -> tuple[Note, ...]:
    sample = found.at.sample
    notes = notes_on_dependence(covariance, sample, 0.0)
    if not found.roots.found:
        notes.append(no_root())
    if len(found.roots.found) > 1:
        notes.append(score_has_roots(found.roots.found))
    if found.form != "block":
        notes.append(simpler_score(found.form))
    if sample.n_units <= SMALL_N:
        cells = sample.n_units * sample.n_periods
        notes.append(few_units(sample.n_units, cells, BOOTSTRAP, "spatial-zb docs validation/robust_score"))
    return tuple(notes)
