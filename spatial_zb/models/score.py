"""Fixed effects: the score that unequal variances and correlation over time do not bias (``estimator="robust_score"``)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from spatial_zb.base.errors import SpecificationError
from spatial_zb.base.notes import Kind, Note
from spatial_zb.base.text import Text
from spatial_zb.core import Array
from spatial_zb.core.likelihood import Maximum, inner_interval
from spatial_zb.core.likelihood.error_score import (
    ErrorSample,
    ErrorScore,
    at_root,
    error_at_root,
    score_covariance,
    score_pairs,
)
from spatial_zb.core.likelihood.score import (
    ROBUST_FORMS,
    Form,
    Roots,
    ScoreSample,
    period_basis,
    robust_score,
    score_roots,
)
from spatial_zb.core.likelihood.surface import climb
from spatial_zb.core.logdet.entries import Filters
from spatial_zb.core.logdet.traces import Traces
from spatial_zb.core.transforms import Base, orthogonal_base
from spatial_zb.models.certainty import Certainty, Evaluated, residual_arrays
from spatial_zb.models.design import Design, stacked
from spatial_zb.models.fit import Fit
from spatial_zb.models.ml import (
    SMALL_N,
    assembled,
    errors_at,
    fit_ml,
    likelihood_maximum,
    notes_on_dependence,
    notes_on_shortfall,
)
from spatial_zb.models.notes import BOOTSTRAP, few_units, gns_weak, no_root
from spatial_zb.models.spec import Covariance, corrects_leverage

Pairs = tuple[tuple[float, float], ...]
#: Two roots (ρ, λ) are not told apart where the integral of the scores between them is less than a likelihood falls on the
#: border of a joint 95 % region of two coefficients, half of the 95 % point of χ²(2).
NEAR = 3.0


@dataclass(frozen=True, slots=True)
class _Found:
    """Roots (ρ, λ) of one form, that of the estimate first, slopes (r, r) and covariance of δ and the r of these.

    The latter two are NaN without a root. ``rivals`` are roots that the data do not tell from the first; ``probed``: the
    largest share of a standard error that random signs leave in it.
    """

    form: Form
    roots: Pairs
    at: Evaluated
    slope: Array
    cov: Array
    rivals: Pairs = ()
    probed: float = 0.0

    @property
    def claimed(self) -> bool:
        """Whether the score falls at the root in every direction and the covariance is one."""
        falls = bool(np.linalg.det(self.slope) > 0 and np.trace(self.slope) > 0)
        return (
            falls
            and not self.rivals
            and bool(np.isfinite(self.cov).all() and (self.cov.diagonal() > 0).all())
        )


def fit_score(design: Design, covariance: Covariance) -> Fit:
    """Estimate ρ, λ or both by the robust score and δ by least squares given them, with errors clustered by unit.

    Without either this is least squares, and the same as ``"lee_yu"``. The score has a block of weights for each unit where
    its equations have a solution; else one weight for each unit (a note says which).

    Raises
    ------
    SpecificationError
        So few units that no form of the score has a solution.
    """
    spec = design.spec
    if not spec.spatial_terms:
        return fit_ml(design, "robust_score", covariance)
    found = (_of_lambda if spec.lag_error else _of_rho)(design, covariance)
    cov = np.full((len(found.cov) + 1,) * 2, np.nan)
    if found.claimed:
        cov[:-1, :-1] = found.cov
    fit = assembled(found.at, covariance, Certainty(cov, found.claimed, probe_error=found.probed))
    roots = tuple(rho if spec.lag_y else lam for rho, lam in found.roots)
    record = replace(fit.convergence, form=found.form, roots=roots)
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
        found = _nothing_yet(form, tuple((root, 0.0) for root in roots.found), _evaluated(design, best))
        if roots.found:
            errors, factor = _errors(found.at, covariance, base.y_norm)
            known = at_root(score, rho, errors)
            if known is None:
                continue
            means, back = by_unit(found.at.parts.BGm / base.y_norm, design), base.back
            cov, probed = score_covariance(sample, known, means, errors, back[:, 2:], -back[:, 1:2], factor)
            found = replace(found, slope=known.slope, cov=cov, probed=probed)
        return found
    raise _nothing(design)


# --- λ, alone or with ρ


def error_sample(design: Design, unit: float) -> ErrorSample:
    """What the score of λ looks at, y in units of ``unit``."""
    both = design.spec.lag_y
    parts = design.y / unit, design.Wy / unit, design.Z, *design.lags[: 1 + both]
    y, Wy, Z, WZ, *more = (by_unit(stacked(values), design) for values in parts)
    filters = Filters(design.weights.matrix)
    return ErrorSample(y, Wy, Z, WZ, timed(design), filters, more[0] / unit if both else None)


def _of_lambda(design: Design, covariance: Covariance) -> _Found:
    unit, both = float(np.sqrt((design.y**2).sum())), design.spec.lag_y
    sample, bounds = error_sample(design, unit), inner_interval(design.weights.logdet.interval)
    for form in ROBUST_FORMS:
        score = ErrorScore(sample, form)
        if score.at(0.0) is None:
            continue
        pairs, last = _error_pairs(score, bounds, design)
        rho, lam = pairs[0] if pairs else last
        point = score.at(lam)
        if point is None:
            continue
        best = _estimate(design, point.delta(rho) * unit, bool(pairs), rho, lam)
        found = _nothing_yet(form, pairs, _evaluated(design, best))
        if pairs:
            errors, factor = _errors(found.at, covariance, unit)
            known = error_at_root(score, lam, errors, rho if both else None)
            if known is None:
                continue
            means = by_unit(found.at.parts.BGm / unit, design) if both else None
            cov, probed = score_covariance(
                point.sample, known[0], means, errors, point.back, known[1], factor
            )
            scale = np.append(np.full(sample.shape[2], unit), np.ones(1 + both))
            rivals = tuple(root for root in pairs[1:] if both and climb(score.pair, root, pairs[0]) < NEAR)
            cov *= np.outer(scale, scale)
            found = replace(found, slope=known[0].slope, cov=cov, rivals=rivals, probed=probed)
        return found
    raise _nothing(design)


def _error_pairs(
    score: ErrorScore, bounds: tuple[float, float], design: Design
) -> tuple[Pairs, tuple[float, float]]:
    """Roots (ρ, λ), that of the estimate first, and where the score points to without one; ρ is zero in a SEM."""
    if design.spec.lag_y:
        pairs, last = score_pairs(score, bounds)
        return tuple(pairs), last
    roots = _ordered(score_roots(score, bounds), design)
    return tuple((0.0, root) for root in roots.found), (0.0, roots.end)


# --- Either


def _ordered(roots: Roots, design: Design) -> Roots:
    """Several roots by their distance from maximum likelihood, which variances bias little where they are near."""
    if len(roots.found) < 2:
        return roots
    like = likelihood_maximum(design, design.sample())
    value = like.rho if design.spec.lag_y else like.lam
    return replace(roots, found=tuple(sorted(roots.found, key=lambda root: abs(root - value))))


def _nothing_yet(form: Form, roots: Pairs, at: Evaluated) -> _Found:
    """An estimate of which nothing is claimed."""
    spec = at.design.spec
    r, size = len(spec.spatial_terms), len(spec.terms) + len(spec.spatial_terms)
    return _Found(form, roots, at, np.full((r, r), np.nan), np.full((size, size), np.nan))


def _estimate(design: Design, delta: Array, solved: bool, rho: float = 0.0, lam: float = 0.0) -> Maximum:
    u = design.y - rho * design.Wy - design.Z @ delta
    if lam:
        WZ, WWy = design.lags
        u = u - lam * (design.Wy - rho * WWy - WZ @ delta)
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
    spec = found.at.design.spec
    if not found.roots:
        notes.append(no_root())
    if found.rivals:
        notes.append(roots_alike((found.roots[0], *found.rivals)))
    elif len(found.roots) > 1:
        notes.append(score_has_roots(found.roots, bool(spec.lag_y), bool(spec.lag_error)))
    if spec.family == "GNS":
        notes.append(gns_weak())
    if found.form != "block":
        notes.append(simpler_score(found.form))
    if found.claimed:
        errors = errors_at(found.at.design, found.at.best, found.at.parts)
        notes += notes_on_shortfall(found.at, covariance, errors)
    if sample.n_units <= SMALL_N:
        cells = sample.n_units * sample.n_periods
        notes.append(few_units(sample.n_units, cells, BOOTSTRAP, "spatial-zb docs validation/robust_score"))
    return tuple(notes)


@Kind
def score_has_roots(roots: tuple[tuple[float, float], ...], lag_y: bool, lag_error: bool) -> Text:
    """Several (ρ, λ) at which the robust score is zero; the first is the estimate."""
    both = lag_y and lag_error
    name = "(ρ, λ)" if both else "ρ" if lag_y else "λ"
    shown = ", ".join(f"({r:.3f}, {s:.3f})" if both else f"{r if lag_y else s:.3f}" for r, s in roots)
    one, one_zh = (
        ("uphill of the others", "得分积分最高")
        if both
        else ("nearest to maximum likelihood", "最接近极大似然估计")
    )
    return Text(
        f"the robust score is zero at {len(roots)} values of {name} ({shown}): the one {one} is shown, and standard "
        "errors do not cover the choice between them",
        f"稳健得分在{name}的{len(roots)}个值处为零（{shown}）：此处取{one_zh}者，标准误不反映这一选择",
    )


@Kind
def roots_alike(roots: Pairs) -> Text:
    """Pairs (ρ, λ) at which the robust score is zero and which the data do not tell apart."""
    shown = ", ".join(f"({rho:.3f}, {lam:.3f})" for rho, lam in roots)
    return Text(
        f"the robust score is zero at {len(roots)} pairs (ρ, λ), {shown}, and the data do not tell which is right: no "
        "numbers are claimed. Drop lag_error (an SDM has the SEM as a special case) or lag_y",
        f"稳健得分在{len(roots)}组(ρ, λ)处为零：{shown}，数据无法分辨何者为真，不给出数值。"
        "请去掉lag_error（SDM以SEM为特例）或lag_y",
    )


@Kind
def simpler_score(form: str) -> Text:
    """The robust score without a block of weights for each unit."""
    taken, taken_zh = {
        "scalar": (
            "it is exact for regressors only if errors are uncorrelated over time",
            "仅当误差无时间相关时对解释变量精确",
        ),
        "bare": ("it leaves out what regressors take from residuals", "未计入解释变量对残差的影响"),
    }[form]
    return Text(
        "the robust score has one weight for each unit here, since weights for each pair of its periods have no solution: "
        f"{taken}",
        f"此处稳健得分对每个地区只用一个权重，因为按各对时期分设的权重无解：{taken_zh}",
    )
