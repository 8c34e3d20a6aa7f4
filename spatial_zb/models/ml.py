"""Fixed effects: (quasi) maximum likelihood of the transformed data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.base.errors import SpecificationError
from spatial_zb.base.notes import Note
from spatial_zb.core import Array
from spatial_zb.core.clusters import Clusters, clusters_of
from spatial_zb.core.likelihood import Maximum, maximise, spatial_values
from spatial_zb.core.likelihood.covariance import (
    Residuals,
    bartlett_bandwidth,
    driscoll_kraay_meat,
    few_clusters_meat,
    filter_diagonals,
    hessian,
    information,
    inverse_or_nan,
    mean_overlap,
    overlap_kernel,
    pair_squares,
    robust_covariance,
    sandwich_meat,
    unit_meat,
)
from spatial_zb.core.likelihood.errors import (
    Errors,
    autocorrelation,
    correlation_test,
    errors_of,
    own_feedback,
    place_test,
    shift_without_equal_variances,
)
from spatial_zb.core.logdet.traces import Solver, Traces, filter_solver, filter_traces
from spatial_zb.core.transforms import (
    CrossProducts,
    TransformedSample,
    column_basis,
    cross_products,
    demean,
    spatial_lag,
)
from spatial_zb.models.design import Design, stacked
from spatial_zb.models.fit import Fit, term_index
from spatial_zb.models.notes import (
    BOOTSTRAP,
    MEDIAN_UNBIASED,
    PROFILE,
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

#: Up to this many units the size of n itself is worth a warning (docs/validation/study.md: n = 11 covers 90–94 %).
SMALL_N = 30


#: With fewer clusters (units, or periods for Driscoll-Kraay) robust standard errors are too small.
FEW_CLUSTERS = 10
#: Mean entry of a kernel above which its standard errors are said to be small, and spatial HAC is refused.
WIDE_OVERLAP, WIDEST_OVERLAP = 0.2, 0.5
#: Covariances that take the errors of a unit as independent over time.
INDEPENDENT = ("information", "hessian", "sandwich")
#: Errors are said to be correlated over time where LM* has a p-value below the first and their coefficient, with what
#: effects and coefficients take out put back, is at least the second (docs/validation/errors.md).
CORRELATED_P, CORRELATED = 0.02, 0.25
#: From here on a few periods do not tell how near to one that coefficient is.
HIGHEST = 0.9
#: Variances are said to be tied to the place in W where F has a p-value below the first, and ρ̂ would move by this many
#: standard errors without equal variances (docs/validation/errors.md).
TIED_P, TIED_SHIFT = 0.05, 0.25
#: How many times these p-values the screen lets pass, which knows residuals less exactly.
MARGIN = 3.0


#: A derivative of the mean in ρ of at most this share of BWy is rounding: without regressors there is none.
ROUNDING = 1e-10


@dataclass(frozen=True)
class Evaluated:
    """A likelihood at an estimate: what the covariance, the record and the notes are made of."""

    design: Design
    estimator: Estimator
    best: Maximum
    sample: TransformedSample
    traces: Traces
    parts: Residuals

    @cached_property
    def clusters(self) -> Clusters:
        """What effects and the regressors [BZ, BGm] left of the residuals of each unit; BGm where there is ρ."""
        parts, spec = self.parts, self.design.spec
        slope = parts.BGm * (np.linalg.norm(parts.BGm) > ROUNDING * np.linalg.norm(parts.BWy))
        columns = [parts.BZ, *([slope[:, None]] if spec.lag_y else [])]
        return clusters_of(
            np.hstack(columns).reshape(*self.design.y.shape, len(columns[0].T) + bool(spec.lag_y)),
            spec.transform,
        )


def fit_ml(design: Design, estimator: Estimator, covariance: Covariance, bandwidth: int | None = None) -> Fit:
    """Estimate by maximum likelihood after the Lee-Yu transform (``lee_yu``) or with dummies (``direct``)."""
    sample = design.sample(estimator)
    at = evaluated(design, estimator, likelihood_maximum(design, sample), sample)
    cov, positive, overlap = likelihood_covariance(at, covariance, bandwidth)
    notes = notes_at(at, covariance, positive, overlap)
    return replace(assembled(at, covariance, cov, positive), notes=notes)


def likelihood_maximum(design: Design, sample: TransformedSample) -> Maximum:
    """Where the likelihood of the design is highest; ``sample`` counts its observations."""
    spec = design.spec
    return maximise(cross_products_of(design), design.logdet, sample, spec.lag_y, spec.lag_error)


def cross_products_of(design: Design) -> CrossProducts:
    """What the likelihood knows of the data."""
    Z, y, Wy = map(stacked, (design.Z, design.y, design.Wy))
    return cross_products(Z, y, Wy, design.lagged, design.basis)


def evaluated(design: Design, estimator: Estimator, best: Maximum, sample: TransformedSample) -> Evaluated:
    """Traces, residuals and their derivatives at an estimate; I − ρ̂W is factorised once."""
    spec, W = design.spec, design.weights
    solve = filter_solver(W.matrix, best.rho) if spec.lag_y and best.rho else None
    traces = Traces(*[0.0] * 9)
    if spec.spatial_terms:
        traces = filter_traces(W.matrix, W.logdet, best.rho, best.lam, sample.centred, solve)
    return Evaluated(design, estimator, best, sample, traces, residual_arrays(design, best, solve))


def residual_arrays(design: Design, best: Maximum, solve: Solver | None = None) -> Residuals:
    """ε and its derivatives at the estimate, stacked, from the transformed design.

    ``solve`` is the :func:`filter_solver` at ρ̂, where there is one already.
    """
    spec, W = design.spec, design.weights.matrix
    rho, lam, delta = best.rho, best.lam, best.delta
    u = design.y - rho * design.Wy - design.Z @ delta
    lags: tuple[Array, Array] | tuple[None, None]
    if design.WZ is None:
        BZ, BWy, Wu, lags = design.Z, design.Wy, np.zeros_like(u), (None, None)
    else:
        WZ, WWy = design.lags
        BZ, BWy = design.Z - lam * WZ, design.Wy - lam * WWy
        Wu = design.Wy - rho * WWy - WZ @ delta
        lags = stacked(WZ), stacked(WWy)
    BGm = (
        # BG(mean) as B(Wy − Gu): the dummies are part of the mean, and JGι is zero only when Wι = ι.
        demean(BWy - filtered_mean(W, u, rho, lam, solve), spec.transform) if spec.lag_y else np.zeros_like(u)
    )
    return Residuals(
        stacked(BZ), stacked(BGm), stacked(BWy), stacked(Wu), lags[0], lags[1], stacked(u - lam * Wu)
    )


def filtered_mean(
    W, mean: NDArray[np.float64], rho: float, lam: float, solve: Solver | None = None
) -> NDArray[np.float64]:
    """(I − λW) W (I − ρW)⁻¹ applied to the mean of every period, (T, n)."""
    solve = solve or (filter_solver(W, rho) if rho else lambda right: right)
    solved = spatial_lag(W, solve(mean.T).T)
    return solved - lam * spatial_lag(W, solved) if lam else solved


def likelihood_covariance(
    at: Evaluated, kind: Covariance, bandwidth: int | None = None
) -> tuple[NDArray[np.float64], bool, float]:
    """Covariance of (δ, [ρ], [λ], σ²), whether it exists, and the :func:`hac_overlap` of its kernel.

    The bread of a robust one is the observed information, which the dependence that it allows does not bias; that
    of ``"sandwich"`` the expected one.
    """
    if bandwidth is None:
        bandwidth = bartlett_bandwidth(at.sample.n_periods) if kind == "driscoll_kraay" else 1
    overlap, active = hac_overlap(at.design, kind, bandwidth), estimated(at.design.spec)
    if at.best.at_bound:
        return np.full((len(active), len(active)), np.nan), False, overlap
    expected, chosen = kind in ("information", "sandwich"), np.ix_(active, active)
    matrix = (information if expected else hessian)(at.parts, at.traces, at.best.sigma2, at.sample)
    if kind in ("information", "hessian"):
        return *inverse_or_nan(matrix[chosen]), overlap
    meat = _meat(at, kind, matrix, bandwidth)
    return *robust_covariance(matrix[chosen], meat[chosen]), overlap


def estimated(spec: DurbinSpec) -> list[int]:
    """Which of (δ, ρ, λ, σ²) are estimated."""
    k = len(spec.terms)
    return [*range(k), *([k] if spec.lag_y else []), *([k + 1] if spec.lag_error else []), k + 2]


def _meat(at: Evaluated, kind: str, matrix: NDArray[np.float64], bandwidth: int) -> NDArray[np.float64]:
    """Variance of the score, (k + 3, k + 3)."""
    design, parts, best = at.design, at.parts, at.best
    spec, W, shape = design.spec, design.weights.matrix, design.y.shape
    if kind == "driscoll_kraay":
        return driscoll_kraay_meat(parts, best.sigma2, shape, bandwidth)
    centred = spec.transform in ("time", "two_way")
    forms = (W, best.rho, best.lam, centred)
    own = filter_diagonals(*forms) if spec.spatial_terms else np.zeros((2, shape[1]))
    if kind == "sandwich":
        return sandwich_meat(parts, matrix, best.sigma2, shape, spec.transform, own)
    e = parts.e.reshape(shape)
    if corrects_leverage(kind, shape[1]):
        pairs = pair_squares(*forms, at.clusters.adjusted(e)) if spec.spatial_terms else np.zeros((3, 3))
        columns = np.column_stack([parts.BZ, parts.BGm, np.zeros(e.size)])
        return few_clusters_meat(columns, e, best.sigma2, own, pairs, at.clusters)
    root = _hac_root(design.weights, bandwidth) if kind == "spatial_hac" else None
    pairs = pair_squares(*forms, e) if spec.spatial_terms else np.zeros((3, 3))
    return unit_meat(parts, best.sigma2, shape, at.sample.observations, own, pairs, root)


def hac_overlap(design: Design, covariance: Covariance, bandwidth: int) -> float:
    """Mean entry of the kernel of a covariance that sums over pairs of units; zero for others."""
    if covariance == "spatial_hac":
        return mean_overlap(overlap_kernel(design.weights.matrix, bandwidth))
    return 0.0


def _hac_root(weights: Weights, bandwidth: int) -> sparse.csr_array:
    """Root of the kernel of spatial HAC; refused where it covers so many pairs that scores, which sum to zero, cancel."""
    root = overlap_kernel(weights.matrix, bandwidth)
    share = mean_overlap(root)
    if share > WIDEST_OVERLAP:
        raise SpecificationError(
            f'covariance="spatial_hac": neighbourhoods of {bandwidth} link(s) of {weights.label!r} overlap by '
            f"{share:.0%} on average, and what it sums over them cancels. Use a smaller bandwidth, or covariance="
            '"cluster".',
            f'covariance="spatial_hac"：{weights.label!r}上{bandwidth}步之内的邻域平均重叠{share:.0%}，'
            '其求和会相互抵消。请用较小的bandwidth，或covariance="cluster"。',
        )
    return root


def least_squares(
    sample: TransformedSample, k: int, sigma2: float, cov: NDArray[np.float64], corrected: bool = False
) -> tuple[float, NDArray[np.float64], int]:
    """s² and the covariance of (δ̂, s²) with the degrees of freedom N − k, and these.

    ``corrected``: a covariance that has the leverage of regressors in it needs no such factor.
    """
    df = sample.n_units * sample.n_periods - sample.absorbed - k
    inflate = sample.observations / df
    if not corrected:
        cov = cov * inflate
    scale = np.append(np.ones(len(cov) - 1), inflate)  # Var(s²) = 2σ⁴/df
    return sigma2 * inflate, cov * np.outer(scale, scale), df


def degrees_of(covariance: str, units: int, classical: int | None = None) -> int | None:
    """Degrees of freedom of statistics: clusters less one, at most those of least squares; None where they are normal."""
    return min(units - 1, classical or units) if covariance in CLUSTERED else classical


def assembled(at: Evaluated, covariance: Covariance, cov: NDArray[np.float64], positive: bool) -> Fit:
    """The record of a fit, with classical degrees of freedom where no spatial coefficient is estimated.

    ``cov`` is that of :func:`likelihood_covariance`, and ``positive`` whether it exists.
    """
    design, best, sample = at.design, at.best, at.sample
    spec, (T, n), k = design.spec, design.y.shape, len(design.spec.terms)
    few = corrects_leverage(covariance, n)
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
            probe_error=at.traces.probe_error,
        ),
    )


def notes_at(at: Evaluated, covariance: Covariance, positive: bool, overlap: float) -> tuple[Note, ...]:
    """What a reader of a fit should know; the arguments are what :func:`likelihood_covariance` takes and gives."""
    of_model = notes_on(at.design.spec, at.design.weights, at.estimator, at.best, at.sample, positive)
    of_errors = notes_on_errors(at, covariance) if positive and not at.best.at_bound else []
    return (*notes_on_dependence(covariance, at.sample, overlap), *of_model, *of_errors)


def errors_at(design: Design, best: Maximum, parts: Residuals) -> Errors:
    """Residuals of an estimate and what its coefficients took out of them."""
    shape = design.y.shape
    basis = column_basis(parts.BZ) if best.lam else design.basis
    e, derivative = parts.e.reshape(shape), parts.BGm.reshape(shape)
    return errors_of(e, basis.Q.reshape(*shape, basis.Q.shape[1]), derivative, design.spec.transform)


def notes_on_errors(at: Evaluated, covariance: str) -> list[Note]:
    """Where residuals say that errors are not what the covariance, or the estimate itself, takes them to be.

    Only the covariances that take errors as independent are wrong under correlation over time. Variances that go with
    the place in W make ρ̂ inconsistent, whatever its standard error.
    """
    errors, spec = errors_at(at.design, at.best, at.parts), at.design.spec
    notes = notes_on_correlation(errors, covariance) if covariance in INDEPENDENT else []
    tied = spec.lag_y and not spec.lag_error and 1 + errors.within < errors.T
    return [*notes, *_tied(at, errors)] if tied else notes


def may_be_unusual(errors: Errors, spec: DurbinSpec, W: sparse.csr_array) -> bool:
    """Whether :func:`notes_on_errors` may have something to say: a screen for many fits.

    What the coefficients took out of the residuals may be left aside in ``errors``: it moves the tests by less than MARGIN.
    """
    if 1 + errors.within >= errors.T:
        return False
    if correlation_test(errors)[1] < MARGIN * CORRELATED_P:
        return True
    return spec.lag_y and not spec.lag_error and place_test(errors, W)[3] < MARGIN * TIED_P


def notes_on_correlation(errors: Errors, covariance: str) -> list[Note]:
    """Whether errors of a unit are correlated over time, which ``covariance`` does not allow for."""
    if 1 + errors.within >= errors.T:
        return []
    t, p = correlation_test(errors)
    if p < CORRELATED_P and (a := autocorrelation(errors)) >= CORRELATED:
        return [correlated_over_time(t, p, min(a, HIGHEST), covariance)]
    return []


def errors_of_fit(fit: Fit) -> Errors:
    """Residuals of a fit, and what least squares with its regressors takes out of them."""
    rho, lam = (float(fit.params.get(name, 0.0)) for name in ("rho", "lam"))
    delta = fit.params[list(fit.spec.terms)].to_numpy()
    best = Maximum(rho, lam, delta, fit.sigma2, np.nan, False, 0.0, ())
    return errors_at(fit.design, best, residual_arrays(fit.design, best))


def _tied(at: Evaluated, errors: Errors) -> list[Note]:
    W, centred = at.design.weights.matrix, errors.kept < 1
    F, q, left, p = place_test(errors, W)
    if not p < TIED_P:
        return []
    active, at_rho = estimated(at.design.spec), len(at.design.spec.terms)
    expected = information(at.parts, at.traces, at.best.sigma2, at.sample)[np.ix_(active, active)]
    variance = inverse_or_nan(expected)[0][at_rho, at_rho]
    feedback = own_feedback(W, at.best.rho, centred)
    shift = shift_without_equal_variances(errors, feedback, at.best.sigma2, variance)
    share = abs(shift) / variance**0.5
    return [variances_tied(F, q, left, p, shift, share)] if share >= TIED_SHIFT else []


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
