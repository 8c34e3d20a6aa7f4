"""Random unit effects: maximum likelihood of the whole panel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from spatial_zb.base.errors import SpecificationError
from spatial_zb.base.notes import Note
from spatial_zb.core import Array
from spatial_zb.core.likelihood.covariance import inverse_or_nan
from spatial_zb.core.logdet.traces import DENSE_UNITS
from spatial_zb.core.random.maximum import RandomMaximum, maximise_random, random_hessian, random_information
from spatial_zb.core.random.profile import RandomProfile, apply_between, make_spread, random_profile
from spatial_zb.core.transforms import orthogonal_base
from spatial_zb.models.design import Design, stacked
from spatial_zb.models.fit import Fit, term_index
from spatial_zb.models.ml import SMALL_N, estimated, filtered_mean
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
from spatial_zb.models.spec import Convergence, Covariance

#: A slope of the likelihood above this, at what the search gave, is no maximum.
FLAT = 1e-3
#: Up to this many units the standard error of φ is said to be that of a skewed estimate (docs/validation/random_effects.md:
#: 41 units cover 90 %).
SKEWED_N = 60
#: Step of the numerical second derivatives, in standard errors.
STEP = 1e-3


def fit_random(design: Design, covariance: Covariance) -> Fit:
    """Estimate by maximum likelihood with random unit effects, Baltagi's or KKP's error structure."""
    spec, weights = design.spec, design.weights
    if covariance == "information" and weights.n > DENSE_UNITS:
        raise SpecificationError(
            f"The expected information of random effects needs dense {weights.n} × {weights.n} matrices and stops at "
            f'{DENSE_UNITS} units; use covariance="hessian".',
            f"随机效应的期望信息需要{weights.n} × {weights.n}的稠密矩阵，上限为{DENSE_UNITS}个地区；"
            '请用covariance="hessian"。',
        )
    profile = _profile(design)
    best = maximise_random(profile, spec.lag_y, spec.lag_error)
    cov, positive = _covariance(covariance, design, profile, best)
    fit = _assemble(design, profile, covariance, best, cov, positive and not best.at_bound)
    return replace(fit, notes=_notes_on(design, best, positive))


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


def _covariance(kind: str, design: Design, profile: RandomProfile, best: RandomMaximum) -> tuple[Array, bool]:
    """Covariance (k + 4, k + 4) of (δ, ρ, λ, φ, σ²), NaN for parameters without one, and whether it exists."""
    k = design.Z.shape[2]
    full = np.full((k + 4, k + 4), np.nan)
    if best.at_bound or best.gradient > FLAT:
        return full, False
    active = np.ix_(*2 * [_active(design, best)])
    if kind == "information":
        matrix = _information(design, profile, best)
    else:
        matrix = random_hessian(profile, best, _steps(design, profile, best))
    full[active], positive = inverse_or_nan(matrix[active])
    return full, positive


def _information(design: Design, profile: RandomProfile, best: RandomMaximum) -> Array:
    W, spec = design.weights.matrix, design.spec
    BZ = design.Z if design.WZ is None else design.Z - best.lam * design.WZ
    mean = design.Z @ best.delta
    BGm = filtered_mean(W, mean, best.rho, best.lam) if spec.lag_y else np.zeros_like(mean)
    return random_information(BZ, BGm, W, best, profile.spread)


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
    cov: Array,
    converged: bool,
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
        cov=pd.DataFrame(cov[np.ix_(kept, kept)], index=index, columns=index),
        log_likelihood=best.log_likelihood,
        nobs=design.y.size,
        absorbed=0,
        residuals=_residuals(design, profile, best),
        df_resid=None,
        convergence=Convergence(
            converged=converged,
            at_bound=best.at_bound,
            phi_at_zero=best.at_zero,
            gradient=best.gradient,
            modes=best.modes,
        ),
    )


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
