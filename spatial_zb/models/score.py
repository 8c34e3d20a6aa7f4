"""Fixed effects: the score that unequal variances and correlation over time do not bias (``estimator="robust_score"``)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spatial_zb.base.errors import SpecificationError
from spatial_zb.base.notes import Note
from spatial_zb.core import Array
from spatial_zb.core.likelihood import Maximum, inner_interval
from spatial_zb.core.likelihood.score import (
    ROBUST_FORMS,
    AtRoot,
    Form,
    Roots,
    Score,
    ScoreSample,
    at_root,
    period_basis,
    robust_score,
    score_covariance,
    score_roots,
)
from spatial_zb.core.logdet.traces import Traces
from spatial_zb.core.transforms import Base, orthogonal_base
from spatial_zb.models.design import Design, stacked
from spatial_zb.models.fit import Fit
from spatial_zb.models.ml import (
    SMALL_N,
    Evaluated,
    assembled,
    fit_ml,
    likelihood_maximum,
    notes_on_dependence,
    residual_arrays,
)
from spatial_zb.models.notes import BOOTSTRAP, few_units, no_root, score_has_roots, simpler_score
from spatial_zb.models.spec import Covariance


def fit_score(design: Design, covariance: Covariance) -> Fit:
    """Estimate ρ by the robust score and δ by least squares given ρ, with errors clustered by unit.

    Without ρ this is least squares, and the same as ``"lee_yu"``. The score has a block of weights for each unit where its
    equations have a solution; else one weight for each unit (a note says which).

    Raises
    ------
    SpecificationError
        Two units with effects of periods, of which no form of the score knows anything.
    """
    if not design.spec.lag_y:
        return fit_ml(design, "robust_score", covariance)
    Z, y, Wy = map(stacked, (design.Z, design.y, design.Wy))
    base = orthogonal_base(Z, y, Wy, basis=design.basis)
    sample = score_sample(design, base)
    form, score, roots, known = _solved(design, sample)
    at, best = _evaluated(design, base, roots)
    cov = np.full((base.back.shape[0] + 2,) * 2, np.nan)
    if known is not None and not best.at_bound:
        cov[:-1, :-1] = _covariance(at, base, sample, known)
    positive = bool(np.isfinite(cov[0, 0]) and known is not None and known.slope > 0)
    fit = assembled(at, covariance, cov, positive)
    record = replace(fit.convergence, form=form, roots=roots.found, gradient=abs(score.value(best.rho)))
    return replace(fit, convergence=record, notes=_notes(at, covariance, form, roots))


def score_sample(design: Design, base: Base) -> ScoreSample:
    """What the score looks at, in units of y; :func:`orthogonal_base` of the design."""
    return ScoreSample(
        y=by_unit(base.columns[:, 0], design),
        Wy=by_unit(base.columns[:, 1], design),
        rows=by_unit(base.columns[:, 2:], design),
        centred=design.spec.transform in ("time", "two_way"),
        matrix=design.weights.matrix,
    )


def by_unit(values: Array, design: Design) -> Array:
    """Stacked values (T·n, …) as (n, S, …), S orthonormal combinations of the periods that the effects leave."""
    T, n = design.y.shape
    basis = period_basis(T, design.spec.transform in ("unit", "two_way"))
    return np.ascontiguousarray(
        np.moveaxis(np.tensordot(basis, values.reshape(T, n, *values.shape[1:]), (0, 0)), 0, 1)
    )


def _solved(design: Design, sample: ScoreSample) -> tuple[Form, Score, Roots, AtRoot | None]:
    """The first form whose equations have a solution, its roots, and what its variance is made of at the one taken."""
    bounds = inner_interval(design.weights.logdet.interval)
    for form in ROBUST_FORMS:
        score = robust_score(sample, form)
        if score is None:
            continue
        roots = score_roots(score, bounds)
        if not roots.found:
            return form, score, roots, None
        if len(roots.found) > 1:
            roots = replace(roots, found=_nearest_first(roots.found, design))
        known = at_root(score, roots.found[0])
        if known is not None:
            return form, score, roots, known
    raise SpecificationError(
        f"The robust score has no solution with {len(sample.y)} units: use more units, or "
        'estimator="lee_yu" with covariance="cluster".',
        f'{len(sample.y)}个地区时稳健得分无解：请用更多地区，或estimator="lee_yu"与covariance="cluster"。',
    )


def _nearest_first(found: tuple[float, ...], design: Design) -> tuple[float, ...]:
    """Roots by their distance from the estimate of maximum likelihood, which variances bias little where they are near."""
    like = likelihood_maximum(design, design.sample()).rho
    return tuple(sorted(found, key=lambda root: abs(root - like)))


def _evaluated(design: Design, base: Base, roots: Roots) -> tuple[Evaluated, Maximum]:
    sample, rho = design.sample(), roots.found[0] if roots.found else roots.end
    e = base.columns[:, 0] - rho * base.columns[:, 1]
    best = Maximum(
        rho=rho,
        lam=0.0,
        delta=base.back[:, :2] @ [1.0, -rho],
        sigma2=float(e @ e) * base.y_norm**2 / sample.observations,
        log_likelihood=np.nan,
        at_bound=not roots.found,
        gradient=np.nan,
        modes=(),
    )
    parts = residual_arrays(design, best)
    return Evaluated(design, "robust_score", best, sample, Traces(*[0.0] * 9), parts), best


def _covariance(at: Evaluated, base: Base, sample: ScoreSample, known: AtRoot) -> Array:
    """Covariance of (δ, ρ), clustered by unit."""
    n, rho = len(sample.y), at.best.rho
    means = by_unit(at.parts.BGm / base.y_norm, at.design)
    errors = sample.y - rho * sample.Wy
    return score_covariance(sample, known, means, errors, base.back[:, 1:], n / (n - 1))


def _notes(at: Evaluated, covariance: str, form: Form, roots: Roots) -> tuple[Note, ...]:
    sample = at.sample
    notes = notes_on_dependence(covariance, sample, 0.0)
    if not roots.found:
        notes.append(no_root())
    if len(roots.found) > 1:
        notes.append(score_has_roots(roots.found))
    if form != "block":
        notes.append(simpler_score(form))
    if sample.n_units <= SMALL_N:
        cells = sample.n_units * sample.n_periods
        notes.append(few_units(sample.n_units, cells, BOOTSTRAP, "spatial-zb docs validation/robust_score"))
    return tuple(notes)
