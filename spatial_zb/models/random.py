"""Random unit effects: maximum likelihood of the whole panel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from spatial_zb.base.errors import SpecificationError
from spatial_zb.base.notes import Note
from spatial_zb.core import Array
from spatial_zb.core.clusters import Clusters, clusters_of
from spatial_zb.core.likelihood.covariance import (
    few_clusters_scores,
    inverse_or_nan,
    scaled_pairs,
    unit_scores,
)
from spatial_zb.core.likelihood.errors import Errors, errors_of, place_test
from spatial_zb.core.logdet.entries import QuadraticForms
from spatial_zb.core.logdet.traces import Traces, filter_traces
from spatial_zb.core.random import RandomProfile, apply_between, make_spread, random_profile
from spatial_zb.core.random.maximum import (
    RandomMaximum,
    even_variances,
    maximise_random,
    random_hessian,
    random_information,
    spread_variances,
)
from spatial_zb.core.transforms import column_basis, demean, orthogonal_base
from spatial_zb.models.certainty import (
    Certainty,
    degrees_of,
    estimated,
    filtered_mean,
    measured_short,
    probe_error,
)
from spatial_zb.models.design import Design, stacked
from spatial_zb.models.fit import Fit, term_index
from spatial_zb.models.ml import (
    CITIES,
    FEW_CITIES,
    HINT,
    INDEPENDENT,
    SMALL_N,
    notes_on_correlation,
)
from spatial_zb.models.notes import (
    BOOTSTRAP,
    MEDIAN_UNBIASED,
    exchangeable,
    few_units_random,
    gns_weak,
    many_peaks,
    no_maximum_random,
    not_flat,
    not_positive,
    skewed_variance,
    zero_variance,
)
from spatial_zb.models.spec import CLUSTERED, Convergence, Covariance, corrects_leverage

#: A slope of the likelihood above this, at what the search gave, is no maximum.
FLAT = 1e-3
#: Up to this many units the standard error of φ is said to be that of a skewed estimate (docs/validation/random_effects.md:
#: 41 units cover 90 %).
SKEWED_N = 60
#: Share of a column's squares that changes over time, below which it is constant but for rounding.
STILL = 1e-16
#: Step of the numerical second derivatives, in standard errors.
STEP = 1e-3


def fit_random(design: Design, covariance: Covariance) -> Fit:
    """Estimate by maximum likelihood with random unit effects, Baltagi's or KKP's error structure."""
    spec, weights = design.spec, design.weights
    if covariance in CLUSTERED and spec.lag_error and spec.error_structure == "baltagi":
        raise SpecificationError(
            f'covariance="{covariance}" with random effects needs errors that are independent between units once filtered, '
            'and in the structure "baltagi" the unit effects are not filtered with them: use error_structure="kkp", or drop '
            "lag_error.",
            f'随机效应下covariance="{covariance}"要求过滤后的误差在地区之间独立，而"baltagi"结构中个体效应未随误差一同过滤：'
            '请用error_structure="kkp"，或去掉lag_error。',
        )
    profile = _profile(design)
    best = maximise_random(profile, spec.lag_y, spec.lag_error)
    found = _covariance(covariance, design, profile, best)
    fit = _assemble(design, profile, covariance, best, found)
    if fit.converged and corrects_leverage(covariance, weights.n):
        fit = replace(fit, clusters=_clusters(design, best))
    notes = _notes_on(design, best, found.exists)
    if fit.converged and covariance in INDEPENDENT:
        errors = _errors_within(design, best)
        notes = (*notes, *notes_on_correlation(errors, covariance), *_by_place(design, best, errors))
    return replace(fit, notes=notes)


def _profile(design: Design) -> RandomProfile:
    spec, W = design.spec, design.weights
    Z, y, Wy = map(stacked, (design.Z, design.y, design.Wy))
    base = orthogonal_base(Z, y, Wy, design.lagged, design.basis)
    apart = spec.lag_error and spec.error_structure == "baltagi"  # ε spreads in space and μ does not
    return random_profile(base, design.y.shape, make_spread(W.matrix) if apart else None, W.logdet)


def _active(design: Design, best: RandomMaximum) -> list[int]:
    """Positions among (δ, ρ, λ, φ, σ²) of parameters with a standard error; φ at its bound of zero has none."""
    k, spec = design.Z.shape[2], design.spec
    switches = (spec.lag_y, spec.lag_error, not best.at_zero, True)
    return [*range(k), *(k + i for i, on in enumerate(switches) if on)]


def _traces(design: Design, best: RandomMaximum) -> Traces:
    W = design.weights
    return filter_traces(W.matrix, W.logdet, best.rho, best.lam, centred=False)


def _covariance(kind: str, design: Design, profile: RandomProfile, best: RandomMaximum) -> Certainty:
    """Covariance (k + 4, k + 4) of (δ, ρ, λ, φ, σ²), NaN for parameters without one, and whether it exists."""
    k = design.Z.shape[2]
    full = np.full((k + 4, k + 4), np.nan)
    if best.at_bound or best.gradient > FLAT:
        return Certainty(full, False)
    active = np.ix_(*2 * [_active(design, best)])
    traces = _traces(design, best) if kind == "information" else None
    if traces is not None:
        matrix = _information(design, profile, best, traces)
    else:
        matrix = random_hessian(profile, best, _steps(design, profile, best))
    bread, positive = inverse_or_nan(matrix[active])
    full[active] = bread
    if kind not in CLUSTERED:
        return Certainty(full, positive, probe_error=traces.probe_error if traces is not None else 0.0)
    meat, error = _meat(kind, design, best)
    full[active] = bread @ meat[active] @ bread
    return Certainty(full, positive, probe_error=probe_error(full[active], bread, error[active]))


def _whitened(values: Array, phi: float) -> Array:
    """Ω^{−1/2} of values (T, …): var v_i = σ²(I + φιι') becomes σ²I."""
    return values - (1 - (1 + len(values) * phi) ** -0.5) * values.mean(axis=0)


def _filtered(design: Design, best: RandomMaximum) -> tuple[Array, Array, Array]:
    """[BZ, BG(mean)] (T, n, k + 1), the second zero without ρ, and v = B(Sy − Zδ) (T, n), after Ω^{−1/2}."""
    spec, W, v = design.spec, design.weights.matrix, design.y - best.rho * design.Wy - design.Z @ best.delta
    BZ = design.Z
    if design.WZ is not None:
        WZ, WWy = design.lags
        BZ, v = BZ - best.lam * WZ, v - best.lam * (design.Wy - best.rho * WWy - WZ @ best.delta)
    mean = design.Z @ best.delta
    slope = filtered_mean(W, mean, best.rho, best.lam) if spec.lag_y else np.zeros_like(mean)
    return _whitened(BZ, best.phi), _whitened(slope, best.phi), _whitened(v, best.phi)


def _errors_within(design: Design, best: RandomMaximum) -> Errors:
    """Filtered residuals less their mean over time, which holds the unit effect, and what the regressors took out."""
    whole, slope, v = _filtered(design, best)
    BZ = demean(whole, "unit")
    moving = (BZ**2).sum(axis=(0, 1)) > STILL * (whole**2).sum(axis=(0, 1))
    basis = column_basis(stacked(BZ[..., moving])).Q.reshape(*v.shape, -1)
    return errors_of(demean(v, "unit"), basis, demean(slope, "unit"), "unit")


def _clusters(design: Design, best: RandomMaximum) -> Clusters:
    BZ, slope, _ = _filtered(design, best)
    return clusters_of(
        np.concatenate([BZ, slope[..., None]], axis=2)[..., : BZ.shape[2] + design.spec.lag_y], "none"
    )


def _meat(kind: Covariance, design: Design, best: RandomMaximum) -> tuple[Array, Array]:
    """Variance (k + 4, k + 4) of the score of (δ, ρ, λ, φ, σ²) by unit, after Ω^{−1/2}, and what random signs leave in it.

    v_i = μ_i + ε_i are independent of one another whatever correlates the ε of a unit over time, and both filters
    commute with Ω^{−1/2}: linear forms and terms of one unit and of two are those of a model without effects.
    The score of φ is T/(2(1 + Tφ)) Σ (T ē_i²/σ² − 1).
    """
    BZ, slope, e = _filtered(design, best)
    (T, n), spatial, sigma2 = e.shape, design.spec.spatial_terms, best.sigma2
    W = design.weights
    forms = QuadraticForms(W.matrix, (best.rho, best.lam), False, W.dissection if spatial else None)
    own = forms.own if spatial else np.zeros((2, n))
    columns = np.column_stack([stacked(BZ), stacked(slope), np.zeros(e.size)])
    few = corrects_leverage(kind, n)
    if few:
        e = _clusters(design, best).adjusted(e)
        sums = few_clusters_scores(columns, e, sigma2, own, 1.0)
    else:
        sums = unit_scores(columns, e, sigma2, own, float(T))
    between = T / (2 * (1 + T * best.phi)) * T * e.mean(axis=0) ** 2 / sigma2
    sums = np.insert(sums, sums.shape[1] - 1, between - between.mean(), axis=1)
    meat = sums.T @ sums
    where = np.ix_(*2 * [np.array([-4, -3, -1])])
    error = np.zeros(meat.shape)
    if spatial:
        pairs, error[where] = (scaled_pairs(part, sigma2) for part in forms.pair_squares(e))
        meat[where] += pairs
    return meat if few else meat * n / (n - 1), error


def _information(design: Design, profile: RandomProfile, best: RandomMaximum, traces: Traces) -> Array:
    W, spec, T = design.weights.matrix, design.spec, profile.T
    BZ = design.Z if design.WZ is None else design.Z - best.lam * design.WZ
    mean = design.Z @ best.delta
    BGm = filtered_mean(W, mean, best.rho, best.lam) if spec.lag_y else np.zeros_like(mean)
    if profile.spread is None:
        variances = even_variances(traces, profile.n, T, best)
    else:
        variances = spread_variances(W, traces, T, best, profile.spread)
    return random_information(BZ, BGm, best, profile.spread, variances)


def _steps(design: Design, profile: RandomProfile, best: RandomMaximum) -> Array:
    """Steps of the parameters of the base, from rough sizes of their standard errors."""
    N, k = profile.observations, design.Z.shape[2]
    sigma2 = best.sigma2 / profile.y_norm**2
    sizes = np.concatenate(
        [np.full(k, np.sqrt(sigma2)), [N**-0.5, N**-0.5, profile.n**-0.5, sigma2 / N**0.5]]
    )
    steps = np.zeros(k + 4)
    steps[_active(design, best)] = STEP * sizes[_active(design, best)]
    return steps


def _residuals(design: Design, profile: RandomProfile, best: RandomMaximum) -> Array:
    """ε̂ (T, n): the filtered residual less the best linear prediction of the (filtered) unit effect."""
    u = design.y - best.rho * design.Wy - design.Z @ best.delta
    if design.WZ is not None:
        WZ, WWy = design.lags
        u = u - best.lam * (design.Wy - best.rho * WWy - WZ @ best.delta)
    mean = u.mean(axis=0)
    return u - mean + apply_between(mean, profile.spread, best.lam, best.phi, len(u))


def _assemble(
    design: Design,
    profile: RandomProfile,
    covariance: Covariance,
    best: RandomMaximum,
    found: Certainty,
) -> Fit:
    spec, k = design.spec, design.Z.shape[2]
    index = term_index((*spec.terms, *spec.spatial_terms, "phi", "sigma2"))
    kept = [*estimated(spec), k + 3]
    values = np.array([*best.delta, best.rho, best.lam, best.phi, best.sigma2])
    return Fit(
        design=design,
        estimator="ml",
        covariance=covariance,
        params=pd.Series(values[kept], index=index, name="estimate"),
        cov=pd.DataFrame(found.cov[np.ix_(kept, kept)], index=index, columns=index),
        log_likelihood=best.log_likelihood,
        nobs=design.y.size,
        absorbed=0,
        residuals=_residuals(design, profile, best),
        df_resid=degrees_of(covariance, design.weights.n),
        convergence=Convergence(
            converged=found.exists and not best.at_bound,
            at_bound=best.at_bound,
            probe_error=found.probe_error,
            phi_at_zero=best.at_zero,
            gradient=best.gradient,
            modes=best.modes,
        ),
    )


def _by_place(design: Design, best: RandomMaximum, errors: Errors) -> list[Note]:
    """Variances that go with the place in W, of up to as many units as were simulated."""
    n, T = design.y.shape[1], design.y.shape[0]
    if not design.spec.lag_y or not FEW_CITIES < n <= CITIES or T < 3:
        return []
    tied = place_test(errors, design.weights.matrix)[3] < HINT
    return [measured_short("random", n, T, best.rho)] if tied else []


def _notes_on(design: Design, best: RandomMaximum, positive: bool) -> tuple[Note, ...]:
    notes: list[Note] = []
    spec, n, one = design.spec, design.weights.n, len(design.spec.spatial_terms) == 1
    if best.at_bound:
        notes.append(no_maximum_random(best.rho, best.lam, best.phi))
    elif best.gradient > FLAT:
        notes.append(not_flat(best.gradient))
    elif not positive:
        notes.append(not_positive())
    if best.at_zero:
        notes.append(zero_variance())
    if best.exchangeable:
        notes.append(exchangeable())
    if len(best.modes) > 1:
        notes.append(many_peaks(best.modes))
    if spec.family == "GNS":
        notes.append(gns_weak())
    if n <= SMALL_N:
        cells = n * len(design.panel.periods)
        notes.append(few_units_random(n, cells, MEDIAN_UNBIASED if one else BOOTSTRAP))
    elif n <= SKEWED_N and one and not best.at_zero:
        notes.append(skewed_variance(n, MEDIAN_UNBIASED))
    return tuple(notes)
