"""Maximum likelihood with random unit effects, two error structures, and its information matrix.

y_t = ρWy_t + Z_t δ + u_t, and with A = I − ρW, B = I − λW

    Baltagi  u_t = μ + B⁻¹ε_t      only ε spreads    (Baltagi, Song & Koh 2003, J. Econometrics 117: 123-150)
    KKP      u_t = B⁻¹(μ + ε_t)    μ spreads as ε    (Kapoor, Kelejian & Prucha 2007, J. Econometrics 140: 97-130)

with var μ_i = φσ², var ε_it = σ². Time means and deviations from them are independent. Filtered by B, the
deviations have variance σ²I and √T times the means have σ²K,

    K = I + Tφ BB'  (Baltagi),      K = (1 + Tφ) I  (KKP, and both when λ = 0),

    ln L = −(nT/2) ln(2πσ²) + T [ln|A| + ln|B|] − ½ ln|K| − (q_w + q_b) / (2σ²),

q_w the sum of squares of the filtered deviations and q_b = b'K⁻¹b of the filtered means. δ and σ² are
concentrated out; what is climbed is a function of (ρ, λ, s), s = ln(1 + Tφ) ≥ 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import scipy
from scipy import sparse

from spatial_zb.core import Array
from spatial_zb.core.likelihood import MODE_WINDOW, WINDOW_ERRORS, inner_interval, larger_first
from spatial_zb.core.logdet.factors import random_signs
from spatial_zb.core.logdet.traces import (
    BLOCK,
    DENSE_UNITS,
    PROBES,
    Traces,
    filter_applier,
    unit_columns,
)
from spatial_zb.core.random import RandomProfile, Spread, apply_between, concentrate, split_means

ErrorStructure = Literal["baltagi", "kkp"]

#: Start grid of s = ln(1 + Tφ): from no unit effects to nearly nothing else.
S_GRID = np.array([0.0, 0.7, 1.5, 2.5, 3.5, 5.0, 7.0, 9.0])
#: Largest s looked at; a maximum there means that ε has no variance of its own.
S_MAX = 20.0
#: Modes are one where ρ, λ and s are this near.
SAME_MODE = 1e-5
#: Points of the start grid along ρ and along λ.
LAG_POINTS = 9


@dataclass(frozen=True, slots=True)
class RandomMaximum:
    """Where the likelihood is highest.

    ``phi`` = σ²_μ/σ²_ε. ``delta_q`` (k,) are coefficients on the orthonormal base, ``delta`` on Z.
    ``at_zero``: the maximum has φ = 0, there is no variance between units left. ``at_bound``: the likelihood
    still rises at an end of the interval of ρ or λ, or for φ → ∞. ``modes`` lists (ρ, λ, φ, ln L).
    ``exchangeable``: the likelihood is the same with ρ and λ exchanged; ρ is then the larger in absolute value.
    """

    rho: float
    lam: float
    phi: float
    delta: Array
    delta_q: Array
    sigma2: float
    log_likelihood: float
    at_zero: bool
    at_bound: bool
    gradient: float
    modes: tuple[tuple[float, float, float, float], ...]
    exchangeable: bool = False


def maximise_random(profile: RandomProfile, lag_y: bool, lag_error: bool) -> RandomMaximum:
    """Climb from every local maximum of a grid over (ρ, λ, s), by L-BFGS-B, and finish with Newton steps."""
    inner = inner_interval(profile.logdet.interval)
    bounds = [inner if lag_y else (0.0, 0.0), inner if lag_error else (0.0, 0.0), (0.0, S_MAX)]
    twins = lag_y and lag_error and profile.exchangeable
    if (lag_y or lag_error) and not twins and profile.logdet.rough is not profile.logdet:
        modes = _modes_near_rough(profile, bounds)
        if modes:
            return _finish(profile, modes, bounds)
    starts = _starts(profile, bounds)
    if not twins:
        return _finish(profile, _apart(_climb(profile, start, bounds) for start in starts), bounds)
    modes = _apart(_climb(profile, _off_the_ridge(start, inner), bounds) for start in starts)
    pairs = _pairs(profile, modes)
    best = _finish(
        profile, _apart(_larger_first(m) if i in pairs else m for i, m in enumerate(modes)), bounds
    )
    return replace(best, exchangeable=bool(pairs))


def _modes_near_rough(profile: RandomProfile, bounds: list[tuple[float, float]]) -> list[Array]:
    """Maxima where determinants are dear: found on an approximate likelihood, climbed again on the exact one.

    Exact determinants are made in a window of six standard errors around each. None where one lies at an end of ρ or λ, or
    is not found again in its window: the whole interval is then searched exactly.
    """
    rough, found = replace(profile, logdet=profile.logdet.rough), []
    for start in _apart(_climb(rough, start, bounds) for start in _starts(rough, bounds)):
        free = [i for i in (0, 1) if bounds[i][0] < bounds[i][1]]
        if any(start[i] in bounds[i] for i in free):
            return []
        windows = list(bounds)
        for i, reach in zip(free, WINDOW_ERRORS * _spread(rough, start, free), strict=True):
            windows[i] = max(bounds[i][0], start[i] - reach), min(bounds[i][1], start[i] + reach)
            profile.logdet.cover(*windows[i])
        top = _climb(profile, start, windows)
        if any(top[i] in windows[i] for i in free):
            return []
        found.append(top)
    return _apart(found)


def _spread(profile: RandomProfile, point: Array, free: list[int]) -> Array:
    """Rough standard errors of the free ones of (ρ, λ), s given: it has next to nothing to do with them."""
    step, steps = 1e-4, np.eye(3)[free]
    slopes = [(profile.score(*(point - step * e)) - profile.score(*(point + step * e)))[free] for e in steps]
    curve = np.array(slopes) / (2 * step)
    try:
        found = np.diag(np.linalg.inv((curve + curve.T) / 2))
    except np.linalg.LinAlgError:
        found = np.zeros(len(free))
    return np.where(found > 0, np.sqrt(np.abs(found)), np.inf)  # no curve of a maximum: all of the interval


def _apart(points: Iterable[Array]) -> list[Array]:
    """Points less those that are the same as one before."""
    kept: list[Array] = []
    for point in points:
        if all(np.abs(point - other).max() >= SAME_MODE for other in kept):
            kept.append(point)
    return kept


def _pairs(profile: RandomProfile, modes: list[Array]) -> set[int]:
    """Places of modes that are as high with ρ and λ exchanged: all where K is always a multiple of I.

    Else only the highest, where it has φ = 0, and its twin: from the twin of a lower mode with φ = 0 the likelihood may
    rise with φ.
    """
    if profile.spread is None:
        return set(range(len(modes)))
    top = max(modes, key=lambda mode: profile.value(*mode))
    if top[2] > 0:
        return set()
    return {i for i, mode in enumerate(modes) if len(_apart([_larger_first(top), _larger_first(mode)])) == 1}


def _larger_first(mode: Array) -> Array:
    return np.array([*larger_first((mode[0], mode[1])), mode[2]])


def _off_the_ridge(start: Array, bounds: tuple[float, float]) -> Array:
    """A start with ρ = λ moved to one side: on that line a symmetric likelihood has no slope across it."""
    if start[0] != start[1]:
        return start
    step = (bounds[1] - bounds[0]) / (LAG_POINTS - 1) / 2
    return np.array([min(start[0] + step, bounds[1]), max(start[1] - step, bounds[0]), start[2]])


def _starts(profile: RandomProfile, bounds: list[tuple[float, float]]) -> list[Array]:
    rhos, lams = (np.unique(np.linspace(*b, LAG_POINTS)) for b in bounds[:2])
    values = np.empty((len(rhos), len(lams), len(S_GRID)))
    for j, lam in enumerate(lams):
        for m, s in enumerate(S_GRID):
            values[:, j, m] = profile.along_rho(rhos, lam, s)
    padded = np.pad(values, 1, constant_values=-np.inf)
    near = np.lib.stride_tricks.sliding_window_view(padded, (3, 3, 3)).max(axis=(3, 4, 5))
    return [np.array([rhos[i], lams[j], S_GRID[m]]) for i, j, m in np.argwhere(values >= near)]


def _climb(profile: RandomProfile, start: Array, bounds: list[tuple[float, float]]) -> Array:
    scale = profile.observations  # likelihood per observation, so that tolerances do not depend on N

    def loss(values: Array) -> tuple[float, Array]:
        value, slope = profile.value_and_score(*values)
        return -value / scale, -slope / scale

    found = scipy.optimize.minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 500},
    ).x
    free = [i for i in range(3) if bounds[i][0] < found[i] < bounds[i][1]]
    if not free:
        return found

    def score(values: Array) -> Array:
        point = found.copy()
        point[free] = values
        return profile.score(*point)[free] / scale

    polished = found.copy()
    polished[free] = scipy.optimize.root(score, found[free], tol=1e-13).x
    inside = all(bounds[i][0] < polished[i] < bounds[i][1] for i in free)
    higher = inside and profile.value(*polished) >= profile.value(*found) - 1e-9
    return polished if higher else found


def _finish(profile: RandomProfile, modes: list[Array], bounds: list[tuple[float, float]]) -> RandomMaximum:
    ranked = sorted(((*map(float, m), profile.value(*m)) for m in modes), key=lambda m: -m[3])
    rho, lam, s, log_likelihood = ranked[0]
    ssr, full = concentrate(profile.blocks(lam, s, slopes=False).gram, rho)
    at_end = [b[0] < b[1] and v in b for v, b in zip((rho, lam), bounds[:2], strict=True)]
    active = [b[0] < v < b[1] for v, b in zip((rho, lam, s), bounds, strict=True)]
    return RandomMaximum(
        rho=rho,
        lam=lam,
        phi=float(np.expm1(s) / profile.T),
        delta=profile.back @ np.concatenate([full[:2], -full[2:]]),
        delta_q=-full[2:],
        sigma2=ssr * profile.y_norm**2 / profile.observations,
        log_likelihood=log_likelihood,
        at_zero=s == 0.0,
        at_bound=any(at_end) or s >= S_MAX,
        gradient=float(np.abs(profile.score(rho, lam, s) * active).max()),
        modes=tuple(
            (r, c, float(np.expm1(t) / profile.T), v)
            for r, c, t, v in ranked
            if v > log_likelihood - MODE_WINDOW
        ),
    )


def random_information(
    BZ: Array, BGm: Array, best: RandomMaximum, spread: Spread | None, variances: Array
) -> Array:
    """Expected information (k + 4, k + 4) of (δ, ρ, λ, φ, σ²).

    Parameters
    ----------
    BZ, BGm
        (T, n, k) filtered regressors and (T, n) BGZδ, the derivative of the mean in ρ.
    spread
        As in :class:`RandomProfile`.
    variances
        (4, 4) that of (ρ, λ, φ, σ²) in the variance, of :func:`even_variances` or :func:`spread_variances`.
    """
    (T, _, k), sigma2 = BZ.shape, best.sigma2
    mean, deviation = split_means(np.concatenate([BZ, BGm[:, :, None]], axis=2))
    info = np.zeros((k + 4, k + 4))
    weighted = apply_between(mean, spread, best.lam, best.phi, T)
    info[: k + 1, : k + 1] = (deviation.T @ deviation + mean.T @ weighted) / sigma2
    info[k:, k:] += variances
    return info


def even_variances(traces: Traces, units: int, periods: int, best: RandomMaximum) -> Array:
    """Information (4, 4) of (ρ, λ, φ, σ²) in the variance where K = κI, κ = 1 + Tφ, of so many (centred) ``units``.

    In coordinates whitened by A⁻¹B⁻¹ the deviations have variance σ²I and the means σ²κI, whose derivatives in ρ and λ,
    over κ, are the same G + G' and H + H'. Each entry is ½ tr of a product, T times; φ is met by the means alone.
    """
    T, sigma2, t = periods, best.sigma2, traces
    per_phi = T / (1 + T * best.phi)
    lags = T * np.array([[t.gg + t.gtg, t.gh + t.gth], [t.gh + t.gth, t.hh + t.hth]])
    single = np.array([t.g, t.h])
    others = units * np.array([[per_phi**2, per_phi / sigma2], [per_phi / sigma2, T / sigma2**2]]) / 2
    cross = np.column_stack([single * per_phi, single * T / sigma2])
    return np.block([[lags, cross], [cross.T, others]])


def spread_variances(
    W: sparse.csr_array, traces: Traces, periods: int, best: RandomMaximum, spread: Spread
) -> Array:
    """Information (4, 4) of (ρ, λ, φ, σ²) in the variance where μ does not spread with ε.

    In coordinates whitened by A⁻¹B⁻¹ the deviations have variance σ²I and the means σ²K, whose derivatives in
    ρ, λ, φ, σ² are P: G + G', H + H', 0, I/σ² and GK + KG', H + H', T BB', K/σ². The entry of two variance
    parameters is ½[(T − 1) tr P_iP_j + tr K⁻¹P_iK⁻¹P_j]. The second trace is exact to DENSE_UNITS units; above, the mean
    over random signs z of (P_iK⁻¹z)'(K⁻¹P_jz), each as near as ``Traces.probe_error`` says of tr G'G.
    """
    n, T, sigma2, t = W.shape[0], periods, best.sigma2, traces
    within = 2 * np.array(
        [
            [t.gg + t.gtg, t.gh + t.gth, 0.0, t.g / sigma2],
            [t.gh + t.gth, t.hh + t.hth, 0.0, t.h / sigma2],
            [0.0, 0.0, 0.0, 0.0],
            [t.g / sigma2, t.h / sigma2, 0.0, n / sigma2**2 / 2],
        ]
    )
    solve, _ = spread.factor(best.lam, T * best.phi)
    BB = spread.value(best.lam)
    turned = sparse.csr_array(W.T)
    G, H = filter_applier(W, best.rho), filter_applier(W, best.lam)
    G_turned, H_turned = filter_applier(turned, best.rho), filter_applier(turned, best.lam)

    def by_K(values: Array) -> Array:
        return values + best.phi * T * (BB @ values)

    def slopes(values: Array) -> list[Array]:
        """P_i applied to (n, m)."""
        means = by_K(values)
        return [
            G(means) + by_K(G_turned(values)),
            H(values) + H_turned(values),
            T * (BB @ values),
            means / sigma2,
        ]

    exact = n <= DENSE_UNITS
    signs = None if exact else random_signs(np.random.default_rng(n), (n, PROBES))
    between, columns = np.zeros((4, 4)), n if exact else PROBES
    for first in range(0, columns, BLOCK):
        last = min(columns, first + BLOCK)
        z = unit_columns(n, first, last) if signs is None else signs[:, first:last]
        left, right = slopes(solve(z)), [solve(P) for P in slopes(z)]
        between += [[np.vdot(a, b) for b in right] for a in left]
    between *= 1.0 if exact else 1 / PROBES
    return ((T - 1) * within + (between + between.T) / 2) / 2


def random_hessian(profile: RandomProfile, best: RandomMaximum, steps: Array) -> Array:
    """Observed information (k + 4, k + 4) of (δ, ρ, λ, φ, σ²): central differences of the analytic score.

    Parameters
    ----------
    steps
        (k + 4,) step of each parameter of the base: δ on Q, ρ, λ, s, and σ² for y of unit length; zero for
        parameters that are not estimated, whose rows stay zero.
    """
    k = best.delta.size
    s = np.log1p(profile.T * best.phi)
    point = np.concatenate([best.delta_q, [best.rho, best.lam, s, best.sigma2 / profile.y_norm**2]])

    def score(values: Array) -> Array:
        return profile.full_score(values[:k], *values[k:])

    out = np.zeros((k + 4, k + 4))
    for i in np.flatnonzero(steps):
        move = np.zeros(k + 4)
        move[i] = steps[i]
        out[i] = (score(point - move) - score(point + move)) / (2 * steps[i])
    inverse = np.linalg.inv(base_jacobian(profile, best))
    return inverse.T @ ((out + out.T) / 2) @ inverse


def base_jacobian(profile: RandomProfile, best: RandomMaximum) -> Array:
    """∂(δ, ρ, λ, φ, σ²) / ∂(δ on Q, ρ, λ, s, σ² for y of unit length), (k + 4, k + 4)."""
    k = best.delta.size
    out = np.eye(k + 4)
    out[:k, :k], out[:k, k] = profile.back[:, 2:], -profile.back[:, 1]
    out[k + 2, k + 2] = (1 + profile.T * best.phi) / profile.T
    out[k + 3, k + 3] = profile.y_norm**2
    return out
