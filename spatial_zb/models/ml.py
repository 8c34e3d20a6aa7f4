"""Fixed effects: (quasi) maximum likelihood of the transformed data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from spatial_zb.base.notes import Kind, Note
from spatial_zb.base.text import Text
from spatial_zb.core.likelihood import Maximum, maximise, spatial_values
from spatial_zb.core.likelihood.covariance import (
    DistanceKernel,
    Residuals,
    information,
    inverse_or_nan,
)
from spatial_zb.core.likelihood.errors import (
    Errors,
    autocorrelation,
    correlation_test,
    errors_of,
    own_feedback,
    place_of,
    place_test,
    shift_without_equal_variances,
)
from spatial_zb.core.likelihood.score import lean_of
from spatial_zb.core.likelihood.shape import ShapeScore, estimate_at
from spatial_zb.core.likelihood.shape_covariance import ShapePoint, expected_derivative, score_variance
from spatial_zb.core.likelihood.shape_rows import RowFilter
from spatial_zb.core.transforms import (
    CrossProducts,
    TransformedSample,
    column_basis,
    cross_products,
)
from spatial_zb.core.unit_rows import RowErrors, left_of_some, row_errors, row_feedback, row_places
from spatial_zb.models.certainty import (
    Certainty,
    Evaluated,
    degrees_of,
    estimated,
    evaluated,
    least_squares,
    likelihood_covariance,
    measured_short,
    residual_arrays,
)
from spatial_zb.models.design import Design, stacked
from spatial_zb.models.fit import Fit, term_index
from spatial_zb.models.notes import (
    BOOTSTRAP,
    MEDIAN_UNBIASED,
    PROFILE,
    ROBUST_SCORE,
    correlated_over_time,
    direct_bias,
    exchangeable,
    few_clusters,
    few_units,
    gns_weak,
    many_peaks,
    no_maximum,
    not_positive,
    variances_tied,
    wide_kernel,
)
from spatial_zb.models.spec import (
    CLUSTERED,
    Convergence,
    Covariance,
    DurbinSpec,
    Estimator,
    corrects_leverage,
)
from spatial_zb.weights.matrix import Weights

#: Units that are looked at for correlation over time where it takes solves for each.
SEEN = 300
#: Up to this many units the size of n itself is worth a warning (docs/validation/study.md: n = 11 covers 90–94 %).
SMALL_N = 30


#: With fewer clusters (units, or periods for Driscoll-Kraay) robust standard errors are too small.
FEW_CLUSTERS = 10
#: Mean entry of a kernel above which its standard errors are said to be small.
WIDE_OVERLAP = 0.2
#: Covariances that take the errors of a unit as independent over time.
INDEPENDENT = ("information", "hessian", "sandwich")
#: Errors are said to be correlated over time where LM* has a p-value below the first and their coefficient, with what
#: effects and coefficients take out put back, is at least the second (docs/validation/errors.md).
CORRELATED_P, CORRELATED = 0.02, 0.25
#: From here on a few periods do not tell how near to one that coefficient is.
HIGHEST = 0.9
#: Variances are said to be tied to the place in W where F has a p-value below the first, and ρ̂ or λ̂ would move by so many
#: standard errors without equal variances (docs/validation/errors.md).
TIED_P, TIED_SHIFT = 0.05, 0.25
#: Panels like those whose intervals fell short in simulations without a word (docs/validation/lifelike.md): so few units, or
#: so strong a ρ, with errors that last so long; so few periods of up to so many units, where variances by place have a
#: p-value below the last, however little they seem to move ρ̂. And ρ and λ together of up to UNITS_OF_BOTH units with errors
#: that last so long (docs/validation/robust_score.md).
FEW_CITIES, STRONG, LASTING, SHORT, CITIES, HINT = 20, 0.75, 0.5, 4, 100, 0.04
UNITS_OF_BOTH = 60
#: Share of a standard error that random probes may leave in an estimate before it is said.
PROBED = 0.01
#: Bias of ρ̂ or λ̂ from which it is said: in simulations θ̂ is off by 0.02 from there (docs/validation/shape.md).
LEAN = 0.01
#: How many times these p-values the screen lets pass, which knows residuals less exactly.
MARGIN = 3.0
#: The same of variances where λ alone is estimated, whose residuals do not depend on what is left aside.
LESS_MARGIN = 1.5


def fit_ml(
    design: Design,
    estimator: Estimator,
    covariance: Covariance,
    bandwidth: int | None = None,
    kernel: DistanceKernel | None = None,
) -> Fit:
    """Estimate by maximum likelihood after the Lee-Yu transform (``lee_yu``) or with dummies (``direct``)."""
    sample = design.sample(estimator)
    at = evaluated(design, estimator, likelihood_maximum(design, sample), sample)
    found = likelihood_covariance(at, covariance, bandwidth, kernel)
    fit = replace(assembled(at, covariance, found), notes=notes_at(at, covariance, found))
    return fit if kernel is None else replace(fit, convergence=replace(fit.convergence, kernel=kernel))


def likelihood_maximum(design: Design, sample: TransformedSample) -> Maximum:
    """Where the likelihood of the design is highest; ``sample`` counts its observations."""
    spec = design.spec
    return maximise(cross_products_of(design), design.logdet, sample, spec.lag_y, spec.lag_error)


def cross_products_of(design: Design) -> CrossProducts:
    """What the likelihood knows of the data."""
    Z, y, Wy = map(stacked, (design.Z, design.y, design.Wy))
    return cross_products(Z, y, Wy, design.lagged, design.basis)


def assembled(at: Evaluated, covariance: Covariance, found: Certainty) -> Fit:
    """The record of a fit, with classical degrees of freedom where no spatial coefficient is estimated.

    ``found`` is that of :func:`likelihood_covariance`.
    """
    design, best, sample = at.design, at.best, at.sample
    spec, (T, n), k = design.spec, design.y.shape, len(design.spec.terms)
    few, cov, positive = corrects_leverage(covariance, n), found.cov, found.exists
    df, sigma2 = None, best.sigma2
    if not spec.spatial_terms:  # ordinary least squares: classical degrees of freedom
        sigma2, cov, df = least_squares(sample, k, sigma2, cov, few)
    df = degrees_of(covariance, n, df)
    index = term_index((*spec.terms, *spec.spatial_terms, "sigma2"))
    return Fit(
        design=design,
        estimator=at.estimator,
        covariance=covariance,
        params=pd.Series(
            np.array([*best.delta, *spatial_values(spec, best), sigma2]), index=index, name="estimate"
        ),
        cov=pd.DataFrame(cov, index=index, columns=index),
        log_likelihood=best.log_likelihood,
        nobs=sample.observations,
        absorbed=sample.absorbed,
        residuals=at.parts.e.reshape(T, n),
        df_resid=df,
        clusters=at.clusters if few and positive else None,
        convergence=Convergence(
            converged=positive and not best.at_bound,
            at_bound=best.at_bound,
            gradient=best.gradient,
            modes=best.modes,
            probe_error=found.probe_error,
        ),
    )


def notes_at(at: Evaluated, covariance: Covariance, found: Certainty) -> tuple[Note, ...]:
    """What a reader of a fit should know; the arguments are what :func:`likelihood_covariance` takes and gives."""
    of_model = notes_on(at.design.spec, at.design.weights, at.estimator, at.best, at.sample, found.exists)
    of_errors = notes_on_errors(at, covariance) if found.exists and not at.best.at_bound else []
    return (*notes_on_dependence(covariance, at.sample, found.overlap), *of_model, *of_errors)


def errors_at(design: Design, best: Maximum, parts: Residuals) -> Errors:
    """Residuals of an estimate and what its coefficients took out of them."""
    shape = design.y.shape
    basis = column_basis(parts.BZ) if best.lam else design.basis
    e, derivative = parts.e.reshape(shape), parts.BGm.reshape(shape)
    return errors_of(e, basis.Q.reshape(*shape, basis.Q.shape[1]), derivative, design.spec.transform)


def notes_on_errors(at: Evaluated, covariance: str) -> list[Note]:
    """Where residuals say that errors are not what the covariance, or the estimate itself, takes them to be.

    Only the covariances that take errors as independent are wrong under correlation over time. Variances that go with
    the place in W make ρ̂ or λ̂ inconsistent, whatever its standard error.
    """
    errors, spec = errors_at(at.design, at.best, at.parts), at.design.spec
    notes = notes_on_correlation(errors, covariance) if covariance in INDEPENDENT else []
    tied = spec.spatial_terms and 1 + errors.within < errors.T
    found = _tied(at, errors) if tied else []
    return [*notes, *found, *notes_on_shortfall(at, covariance, errors, bool(found))]


def notes_on_shortfall(at: Evaluated, covariance: str, errors: Errors, tied: bool = False) -> list[Note]:
    """Where the fit is one of those whose intervals were measured to fall short, and no other note says it.

    ``tied``: variances that go with the place in W are spoken of already.
    """
    n, T, rho = errors.n, errors.T, at.best.rho
    if not at.design.spec.lag_y or 1 + errors.within >= T:
        return []
    few, strong, both = n <= FEW_CITIES, rho >= STRONG, at.design.spec.lag_error and n <= UNITS_OF_BOTH
    if covariance in CLUSTERED and (few or strong or both):
        lasting = correlation_test(errors)[1] < CORRELATED_P and autocorrelation(errors) >= LASTING
        case = "few" if few else "strong" if strong else "both"
        return [measured_short(case, n, T, rho)] if lasting else []
    if covariance in INDEPENDENT and few and T <= SHORT:
        return [measured_short("short", n, T, rho)]
    if covariance in INDEPENDENT and not tied and hints_of_hubs(errors, at.design.weights.matrix):
        return [measured_short("hubs", n, T, rho)]
    return []


def hints_of_hubs(errors: Errors, W: sparse.csr_array) -> bool:
    """Whether variances go with the place in W where there are too few periods to see how far that moves ρ̂."""
    if errors.T > SHORT or not FEW_CITIES < errors.n <= CITIES:
        return False
    return bool(place_test(errors, W)[3] < HINT)


def may_be_unusual(errors: Errors, spec: DurbinSpec, W: sparse.csr_array) -> bool:
    """Whether :func:`notes_on_errors` may have something to say: a screen for many fits.

    What the coefficients took out of the residuals may be left aside in ``errors``: it moves the tests by less than MARGIN.
    """
    if 1 + errors.within >= errors.T:
        return False
    if correlation_test(errors)[1] < MARGIN * CORRELATED_P:
        return True
    if spec.lag_y and errors.n <= FEW_CITIES and errors.T <= SHORT:
        return True
    margin = MARGIN if spec.lag_y else LESS_MARGIN
    return bool(spec.spatial_terms) and bool(place_test(errors, W)[3] < margin * TIED_P)


def notes_on_correlation(errors: Errors | RowErrors, covariance: str) -> list[Note]:
    """Whether errors of a unit are correlated over time, which ``covariance`` does not allow for."""
    if 1 + errors.within >= errors.T:
        return []
    t, p = correlation_test(errors)
    if p < CORRELATED_P and (a := autocorrelation(errors)) >= CORRELATED:
        return [correlated_over_time(t, p, min(a, HIGHEST), covariance)]
    return []


def errors_of_rows(point: ShapePoint) -> RowErrors:
    """The same of a panel of any shape; of some units where λ mixes the effects of very many."""
    shape, at = point.found.score.shape, point.found.at
    period = np.repeat(np.arange(len(shape.starts) - 1), np.diff(shape.starts))
    X = np.column_stack([point.BZ, point.mean])
    if point.found.lam and not shape.few:
        none = np.zeros((len(period), 0))
        left = left_of_some(shape.unit, SEEN, at.apply(shape.effects.entries), at.gram.solve)
        return row_errors(shape.unit, period, point.found.e, X, (none.astype(np.intp), none), none, left)
    space = point.space
    return row_errors(shape.unit, period, point.found.e, X, (space.columns, space.values), space.others)


def notes_on_rows(point: ShapePoint, covariance: str) -> list[Note]:
    """As :func:`notes_on_errors`, of a panel of any shape."""
    errors, shape = errors_of_rows(point), point.found.score.shape
    notes = notes_on_lean(point) + notes_on_probes(point)
    lasting, counts = notes_on_correlation(errors, covariance), np.unique(shape.unit, return_counts=True)[1]
    notes += lasting if covariance in INDEPENDENT else []
    if lasting and shape.V is not None and np.ptp(counts):
        notes.append(lasting_moves(min(autocorrelation(errors), HIGHEST), "ρ" if shape.W else "λ"))
    W, found = shape.W or shape.V, point.found
    if (shape.W is None) == (shape.V is None) or W is None or 1 + errors.within >= errors.T or not shape.few:
        return notes
    columns = row_places(W.matrix, shape.unit, shape.effects.others.shape[1] > 0)
    F, q, left, p = place_of(errors, columns[errors.units])
    if not p < TIED_P:
        return notes
    U = sparse.csr_array((len(found.e), 0)) if found.lam else shape.effects.U
    C = np.hstack([point.space.others, found.at.regressors.Q])
    feedback = row_feedback(RowFilter(W, found.rho if shape.W is not None else found.lam), shape.unit, U, C)
    squares, free = errors.squares
    own = feedback[errors.units] * free
    k = np.linalg.solve(errors.overlaps(), own)
    expected = expected_derivative(point)[np.ix_(shape.active, shape.active)]
    variance = inverse_or_nan((expected + expected.T) / 2)[0][-2, -2]
    shift = float((own.sum() / free.sum() - k) @ squares / found.sigma2 * variance)
    share = abs(shift) / variance**0.5
    name = "ρ" if shape.W is not None else "λ"
    return [*notes, tied_in_rows(F, q, left, p, shift, share, name)] if share >= TIED_SHIFT else notes


def notes_on_lean(point: ShapePoint) -> list[Note]:
    """Whether few rows and many coefficients move ρ̂ or λ̂ by more than LEAN, where a model has one of them."""
    shape, found = point.found.score.shape, point.found
    if (shape.W is None) == (shape.V is None):
        return []
    place = point.k + (shape.W is None)
    if not may_lean(1 / float(expected_derivative(point)[place, place]), point.k):
        return []
    lean = lean_of(found)
    if not abs(lean.of) > LEAN:
        return []
    return [leans("λ" if shape.W is None else "ρ", lean.of, abs(lean.of) / lean.error)]


def may_lean(variance: float, coefficients: int) -> bool:
    """Whether the lean of ρ̂ or λ̂ can be more than LEAN: with four coefficients it is one to two variances."""
    return not 0 <= variance * (coefficients + 2) <= 4 * LEAN


@Kind
def leans(of: str, by: float, share: float) -> Text:
    """The bias of a spatial coefficient in a panel of few rows, by the expansion of its score."""
    beside, page = "zb.bootstrap(fit).bias_corrected()", "spatial-zb docs validation/shape"
    with_it = (
        Text(", and the other coefficients with it", "，其他系数随之偏移") if of == "ρ" else Text("", "")
    )
    return Text(
        f"with so few rows for its coefficients {of} leans by about {by:+.2f} ({share:.1f} standard errors){with_it.en}; "
        f"{beside} takes it off ({page})",
        f"相对于系数个数，行数偏少：{of}约有{by:+.2f}的偏误（{share:.1f}个标准误）{with_it.zh}；{beside}可消去此偏误（{page}）",
    )


def notes_on_probes(point: ShapePoint) -> list[Note]:
    """Whether random probes of tr(MF) leave more than PROBED of a standard error in ρ̂ and λ̂."""
    left = point.found.at.trace_error(point.found.rho)
    share = left / float(score_variance(point)[point.k, point.k]) ** 0.5 if left else 0.0
    return [probed_score(share)] if share > PROBED else []


@Kind
def probed_score(share: float) -> Text:
    """What random probes of a trace in the score leave in the estimates."""
    return Text(
        f"in a panel this large ρ and λ are found with random probes, which leave {share:.1%} of a standard error in them",
        f"面板很大，ρ与λ借助随机探针求得，由此带来的误差为标准误的{share:.1%}",
    )


@Kind
def lasting_moves(coefficient: float, of: str) -> Text:
    """Errors that last move a root with λ where units are unevenly present, at any number of units."""
    return Text(
        f"errors of a unit last (first-order correlation about {coefficient:.1f}) and units are unevenly present: with λ in "
        f"the model this moves {of}, by 0.02 at a correlation of 0.7 in simulations, and standard errors do not show it. "
        "Compare with an SDM (spatial-zb docs validation/shape)",
        f"同一地区的误差持续（一阶相关约{coefficient:.1f}）且各地区期数不一：含λ的模型中这使{of}偏移（模拟中相关0.7时为0.02），"
        "标准误不反映。请与SDM比较（spatial-zb docs validation/shape）",
    )


@Kind
def tied_in_rows(F: float, q: int, left: int, p: float, shift: float, share: float, of: str) -> Text:
    """Variances of units that go with their place in W, under the adjusted score, which takes them as equal."""
    return Text(
        f"variances of the errors go with the place of units in W (F({q}, {left}) = {F:.1f}, p = {p:.2g}). The adjusted "
        f"score takes them as equal: without that {of} would move by about {shift:+.2f} ({share:.1f} standard errors). "
        f"Compare with {ROBUST_SCORE} of the units that are always there",
        f"误差方差随地区在W中的位置而变（F({q}, {left})={F:.1f}，p={p:.2g}）。调整得分假定方差相等：若不作此假定，{of}"
        f"约变动{shift:+.2f}（{share:.1f}个标准误）。请与各期齐全地区的{ROBUST_SCORE}比较",
    )


def errors_of_fit(fit: Fit) -> Errors | RowErrors:
    """Residuals of a fit, and what least squares with its regressors takes out of them."""
    rho, lam = (float(fit.params.get(name, 0.0)) for name in ("rho", "lam"))
    if (
        fit.design.shape_facts
    ):  # given ρ exogenous coefficients are those of least squares, by instruments too
        design: Any = fit.design
        return errors_of_rows(ShapePoint(estimate_at(ShapeScore(design.shape, design.values), rho, lam)))
    delta = fit.params[list(fit.spec.terms)].to_numpy()
    best = Maximum(rho, lam, delta, fit.sigma2, np.nan, False, 0.0, ())
    return errors_at(fit.design, best, residual_arrays(fit.design, best))


def _tied(at: Evaluated, errors: Errors) -> list[Note]:
    W, centred = at.design.weights.matrix, errors.kept < 1
    F, q, left, p = place_test(errors, W)
    if not p < TIED_P:
        return []
    spec, best = at.design.spec, at.best
    active, first = estimated(spec), len(spec.terms)
    expected = information(at.parts, at.traces, best.sigma2, at.sample)[np.ix_(active, active)]
    variance = inverse_or_nan(expected)[0][first:-1, first:-1]
    excess = [
        shift_without_equal_variances(errors, own_feedback(W, value, centred), best.sigma2)
        for value in spatial_values(spec, best)
    ]
    shift, errors_of = variance @ excess, variance.diagonal() ** 0.5
    most = int(np.argmax(np.abs(shift) / errors_of))
    share, name = abs(shift[most]) / errors_of[most], {"rho": "ρ", "lam": "λ"}[spec.spatial_terms[most]]
    return [variances_tied(F, q, left, p, shift[most], share, name)] if share >= TIED_SHIFT else []


def notes_on_dependence(covariance: str, sample: TransformedSample, overlap: float) -> list[Note]:
    """Where a covariance that allows dependence has few clusters, or a kernel that is wide."""
    units = (sample.n_units, "units")
    clusters = {"cr1": units, "spatial_hac": units}
    if covariance not in clusters:
        return []
    number, what = clusters[covariance]
    notes = [few_clusters(number, what, covariance)] if number < FEW_CLUSTERS else []
    if overlap > WIDE_OVERLAP:
        notes.append(wide_kernel(overlap, 1 - (1 - overlap) ** 0.5, what, covariance))
    return notes


def notes_on(
    spec: DurbinSpec,
    weights: Weights,
    estimator: Estimator,
    best: Maximum,
    sample: TransformedSample,
    positive: bool,
) -> tuple[Note, ...]:
    """What a reader of this estimate should know, whatever its covariance; ``positive``: whether there is one."""
    notes: list[Note] = []
    n, T = sample.n_units, sample.n_periods
    exact = estimator == "lee_yu" and not spec.dynamic
    if best.at_bound:
        needless = MEDIAN_UNBIASED if estimator == "lee_yu" else PROFILE
        notes.append(no_maximum(*weights.logdet.interval, None if spec.dynamic else needless))
    elif not positive:
        notes.append(not_positive())
    if best.exchangeable:
        notes.append(exchangeable())
    if len(best.modes) > 1:
        notes.append(many_peaks(best.modes))
    if spec.family == "GNS":
        notes.append(gns_weak())
    if estimator == "direct" and spec.fixed_effects in ("time", "two_way") and spec.spatial_terms:
        notes.append(direct_bias())
    if n <= SMALL_N and spec.spatial_terms:
        beside = MEDIAN_UNBIASED if exact and len(spec.spatial_terms) == 1 else BOOTSTRAP
        notes.append(few_units(n, n * T, beside, "spatial-zb docs validation/study"))
    return tuple(notes)
