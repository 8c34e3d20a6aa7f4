"""Many samples of one model estimated and tested at once: maximum likelihood and score tests, vectorised.

The likelihoods are those of :mod:`spatial_zb.core.laws`. The expected information is that of
:func:`spatial_zb.core.likelihood.covariance.information`, with G = W(I − ρW)⁻¹ = P diag(ω/(1 − ρω)) P⁻¹ for all ρ* at once;
tests/core/test_replicates.py holds both to the estimators of single samples.

Score tests are those of :func:`spatial_zb.core.likelihood.tests.score_test`, with samples first;
tests/hypotheses/test_replicated_tests.py holds the statistics to those of single samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spatial_zb.core import Array
from spatial_zb.core.laws import (
    Curves,
    SampleModel,
    Samples,
    inverse_of,
    moments,
    solve_moments,
    spectrum,
    transform_all,
)
from spatial_zb.core.likelihood import inner_interval, spatial_values
from spatial_zb.core.likelihood.covariance import Residuals, information
from spatial_zb.core.likelihood.dynamic import Recursion, bias_slope, carry_over_radius, limit_bias
from spatial_zb.core.likelihood.errors import Errors, errors_of
from spatial_zb.core.likelihood.surface import Surfaces
from spatial_zb.core.likelihood.tests import score_tests
from spatial_zb.core.logdet.traces import NEAR, Traces


@dataclass(frozen=True, slots=True)
class Replicates:
    """Estimates of R samples: ``delta`` (R, k), ``rho``, ``lam``, ``sigma2``, ``at_bound`` (R,).

    ``cov`` (R, p, p) of (δ, [ρ], [λ], σ²) from the expected information, NaN where there is none; None when not asked.
    ``settled`` (R,) says which are estimated: others, with two spatial coefficients, need a look of their own; None: all.
    """

    delta: Array
    rho: Array
    lam: Array
    sigma2: Array
    at_bound: NDArray[np.bool_]
    cov: Array | None
    settled: NDArray[np.bool_] | None = None


def estimate_all(model: SampleModel, Y: Array | Samples, covariance: bool = True) -> Replicates:
    """Estimate the model on each of Y (R, T, n), not transformed; lags are taken before the transform.

    With both spatial lags, or regressors of its own for each sample, by their Gram matrices.
    """
    samples = Y if isinstance(Y, Samples) else Samples(model.matrix, model.effects, Y)
    if (model.lag_y and model.lag_error) or model.Z.ndim == 4:
        delta, rho, lam, sigma2, at_bound, settled = solve_grams(model, gram_matrices(model, samples))
        best = Replicates(delta, rho, lam, sigma2, at_bound, None, settled)
        return replace(best, cov=covariances(model, samples, best)) if covariance else best
    found = moments(model, samples)
    delta, coefficient, sigma2, at_bound = solve_moments(model, found)
    zero = np.zeros(len(samples.Y))
    rho, lam = (coefficient, zero) if model.lag_y else (zero, coefficient)
    cov = None
    if covariance:
        cov = inverses(expected_information(model, samples, delta, coefficient, sigma2))
        cov[at_bound] = np.nan
    return Replicates(delta, rho, lam, sigma2, at_bound, cov)


@dataclass(frozen=True, slots=True)
class Grams:
    """What :class:`spatial_zb.core.transforms.CrossProducts` holds, of R samples whose regressors may differ.

    ``gram0``, ``cross``, ``gram1`` (R, 2 + k, 2 + k): the Gram matrix of B[e_y, e_Wy, Q] is gram0 − λ cross + λ² gram1, the
    last two zero without a spatial error. ``back`` (R, k, 2 + k) turns [1, −ρ, d], d on Q, into δ; ``y_norm`` (R,).
    """

    gram0: Array
    cross: Array
    gram1: Array
    back: Array
    y_norm: Array

    def ssr(
        self, rho: Array, lam: Array, which: NDArray[np.intp] | slice = slice(None)
    ) -> tuple[Array, Array, Array]:
        """SSR (K,), [1, −ρ, −d] (K, 2 + k) with d concentrated out, and ∂SSR/∂(ρ, λ) (K, 2), of chosen samples."""
        at, cross, gram1 = lam[:, None, None], self.cross[which], self.gram1[which]
        gram = self.gram0[which] - at * cross + at**2 * gram1
        lead = np.stack([np.ones_like(rho), -rho], axis=1)
        d = np.linalg.solve(gram[:, 2:, 2:], gram[:, 2:, :2] @ lead[:, :, None])[:, :, 0]
        full = np.concatenate([lead, -d], axis=1)
        residual = (gram @ full[:, :, None])[:, :, 0]
        in_lam = (full * ((2 * at * gram1 - cross) @ full[:, :, None])[:, :, 0]).sum(axis=1)
        return (full * residual).sum(axis=1), full, np.stack([-2 * residual[:, 1], in_lam], axis=1)


def gram_matrices(model: SampleModel, samples: Samples) -> Grams:
    """Reduce samples to their :class:`Grams`; ``Z`` and ``WZ`` of the model are shared, (T, n, k), or (R, T, n, k)."""
    y, Wy = (v.reshape(len(v), -1) for v in (samples.y, samples.Wy))
    R, k = len(y), model.Z.shape[-1]
    if model.Z.ndim == 3:
        Q, scale, inverse = model.basis.Q, model.basis.scale, inverse_of(model.basis)
    else:
        Z = model.Z.reshape(R, -1, k)
        scale = np.sqrt((Z**2).sum(axis=1))
        Q, upper = np.linalg.qr(Z / scale[:, None])
        inverse = np.linalg.inv(upper)
    y_norm = np.sqrt((y**2).sum(axis=1))
    both = np.stack([y, Wy], axis=2) / y_norm[:, None, None]
    across = Q.swapaxes(-1, -2)
    onto = across @ both
    off = both - Q @ onto
    again = across @ off  # as in orthogonal_base
    off, onto = off - Q @ again, onto + again
    unit = np.broadcast_to(np.eye(k), (R, k, k))
    back = inverse @ np.concatenate([onto, unit], axis=2) * (y_norm[:, None] / scale)[:, :, None]
    M = np.concatenate([off, np.broadcast_to(Q, (R, *Q.shape[-2:]))], axis=2)
    gram0 = M.swapaxes(1, 2) @ M
    if not model.lag_error:
        nothing = np.zeros_like(gram0)
        return Grams(gram0, nothing, nothing, back, y_norm)
    WQ = model.lagged.reshape(*model.Z.shape[:-3], -1, k) / scale[..., None, :] @ inverse
    lag = np.stack([Wy, samples.WWy.reshape(R, -1)], axis=2) / y_norm[:, None, None] - WQ @ onto
    L = np.concatenate([lag, np.broadcast_to(WQ, (R, *WQ.shape[-2:]))], axis=2)
    cross = M.swapaxes(1, 2) @ L
    return Grams(gram0, cross + cross.swapaxes(1, 2), L.swapaxes(1, 2) @ L, back, y_norm)


def solve_grams(
    model: SampleModel, found: Grams
) -> tuple[Array, Array, Array, Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """Maximise every profile likelihood with at least one spatial coefficient.

    δ̂ (R, k), ρ̂, λ̂, σ̂² (R,), whether it is at an end, and whether it is settled: with two coefficients some samples need a
    look of their own (:class:`spatial_zb.core.likelihood.surface.Surfaces`).
    """
    R = len(found.y_norm)
    settled, at_bound = np.ones((2, R), dtype=bool) & [[True], [False]]
    if model.lag_y and model.lag_error:
        bounds = inner_interval(model.logdet.interval)
        surfaces = Surfaces(found.gram0, found.cross, found.gram1, model.logdet, model.sample, bounds)
        at, settled = surfaces.best()
        rho, lam = np.where(settled[:, None], at, 0.0).T
    else:
        coefficient, at_bound = Curves(model, _GramProfile(model, found), R).best()
        zero = np.zeros(R)
        rho, lam = (coefficient, zero) if model.lag_y else (zero, coefficient)
    ssr, full, _ = found.ssr(rho, lam)
    full[:, 2:] *= -1
    delta = (found.back @ full[:, :, None])[:, :, 0]
    return delta, rho, lam, ssr * found.y_norm**2 / model.sample.observations, at_bound, settled


class _GramProfile:
    """ln L of many samples in ρ or in λ, whose regressors differ."""

    def __init__(self, model: SampleModel, found: Grams) -> None:
        self.lag_y, self.found = model.lag_y, found

    def ssr(self, at: Array, which: NDArray[np.intp]) -> tuple[Array, Array]:
        """SSR and its derivative at one coefficient of each chosen sample, or at (K, S) of them."""
        if self.lag_y:
            s = self.found.gram0[which]
            s00, s01, s11 = (
                s[:, i, j].reshape(-1, *[1] * (at.ndim - 1)) for i, j in ((0, 0), (0, 1), (1, 1))
            )
            return s00 - 2 * at * s01 + at**2 * s11, 2 * (at * s11 - s01)
        if at.ndim == 2:
            parts = [self.ssr(column, which) for column in at.T]
            return np.stack([p[0] for p in parts], axis=1), np.stack([p[1] for p in parts], axis=1)
        value, _, slope = self.found.ssr(np.zeros_like(at), at, which)
        return value, slope[:, 1]

    def on_grid(self, grid: Array) -> tuple[Array, Array]:
        """The same of all samples on one grid, (R, S)."""
        R = len(self.found.y_norm)
        return self.ssr(np.broadcast_to(grid, (R, len(grid))), np.arange(R))


def covariances(model: SampleModel, samples: Samples, at: Replicates) -> Array:
    """(R, p, p) of (δ, [ρ], [λ], σ²) at any of their values; NaN at an end of the interval."""
    k = model.Z.shape[-1]
    active = [*range(k), *([k] if model.lag_y else []), *([k + 1] if model.lag_error else []), k + 2]
    parts = _residuals(model, samples, at, spectrum(model.matrix))
    whole = information(parts, _traces(model, at), at.sigma2, model.sample)
    cov = inverses(whole[:, active][:, :, active])
    cov[at.at_bound] = np.nan
    return cov


def replicated_correction(
    model: SampleModel,
    samples: Samples,
    found: Replicates,
    carried: tuple[int | None, int | None],
    correct: bool,
) -> tuple[Array, Array]:
    """Estimates (R, p) of (δ, [ρ], [λ], σ²) with lags in time and their covariance, as those of models/dynamic.py.

    θ̂ + I(θ̂)⁻¹b(θ̂) of the maxima ``found`` where ``correct`` and the process is stable, with what that makes of the
    covariance; ``carried`` says where τ and η stand among δ.
    """
    k, R = found.delta.shape[1], len(found.rho)
    tau, eta = (np.zeros(R) if place is None else found.delta[:, place] for place in carried)
    recursion = Recursion(model.matrix, model.logdet, model.sample.n_periods, model.sample.centred)
    values = np.column_stack([found.delta, *spatial_values(model, found), found.sigma2])
    with np.errstate(divide="ignore", invalid="ignore"):
        steady = correct & (carry_over_radius(tau, eta, found.rho, model.logdet, model.sample.centred) < 1)
        steady &= ~found.at_bound & (True if found.settled is None else found.settled)
        tau, eta, rho = (np.where(steady, value, 0.0) for value in (tau, eta, found.rho))
    there = [i for i, on in enumerate((*(place is not None for place in carried), model.lag_y)) if on]
    where = [*(place for place in carried if place is not None), *([k] if model.lag_y else [])]
    inverse = np.where(steady[:, None, None], covariances(model, samples, found), 0.0)
    b, slope = np.zeros((R, values.shape[1])), np.zeros((R, *[values.shape[1]] * 2))
    b[:, where] = limit_bias(tau, eta, rho, recursion)[there].T
    bent = np.moveaxis(bias_slope(limit_bias, tau, eta, rho, recursion), 2, 0)
    slope[np.ix_(range(R), where, where)] = bent[np.ix_(range(R), there, there)]
    values = values + (inverse @ b[:, :, None])[:, :, 0]
    zero = np.zeros(R)
    spatial = iter(values[:, k:-1].T)
    own = [next(spatial) if on else zero for on in (model.lag_y, model.lag_error)]
    best = replace(found, delta=values[:, :k], rho=own[0], lam=own[1], sigma2=values[:, -1])
    change = np.eye(values.shape[1]) + inverse @ slope
    return values, change @ covariances(model, samples, best) @ change.swapaxes(1, 2)


def expected_information(
    model: SampleModel, samples: Samples, delta: Array, coefficient: Array, sigma2: Array
) -> Array:
    """(R, p, p) of (δ, [ρ], [λ], σ²) at any of their values."""
    if model.lag_error:
        return _error_information(model, coefficient, sigma2)
    if not model.lag_y:
        return _plain_information(model, sigma2)
    T, n, k = model.Z.shape
    mean = (delta @ model.Z.reshape(T * n, k).T).reshape(-1, T, n)
    u = samples.y - coefficient[:, None, None] * samples.Wy - mean
    return _lag_information(model, u, samples.Wy, coefficient, sigma2)


def _lag_information(model: SampleModel, u: Array, Wy: Array, rho: Array, sigma2: Array) -> Array:
    """Expected information (R, k + 2, k + 2) of (δ, ρ, σ²) from errors u and lags Wy (R, T, n)."""
    R, k, sample = len(u), model.Z.shape[2], model.sample
    P, inverse, omega = spectrum(model.matrix)
    g = omega / (1 - rho[:, None] * omega)
    # G(mean) as Wy − Gu, as in models/certainty.py
    mean = Wy - np.real((u @ inverse.T * g[:, None, :]) @ P.T)
    flat, Z = transform_all(model, mean).reshape(R, -1), model.Z.reshape(-1, k)
    out = np.zeros((R, k + 2, k + 2))
    out[:, :k, :k] = Z.T @ Z / sigma2[:, None, None]
    out[:, :k, k] = out[:, k, :k] = flat @ Z / sigma2[:, None]
    out[:, k, k] = (flat**2).sum(axis=1) / sigma2 + sample.periods * quadratic_traces(model, rho)
    return _with_variance(model, out, rho, sigma2)


# --- covariances


def _error_information(model: SampleModel, lam: Array, sigma2: Array) -> Array:
    """Expected information (R, k + 2, k + 2) of (δ, λ, σ²)."""
    k, sample = model.Z.shape[2], model.sample
    Z, WZ = model.Z.reshape(-1, k), model.lagged.reshape(-1, k)
    w = lam[:, None, None]
    out = np.zeros((len(lam), k + 2, k + 2))
    cross = Z.T @ WZ
    out[:, :k, :k] = (Z.T @ Z - w * (cross + cross.T) + w**2 * (WZ.T @ WZ)) / sigma2[:, None, None]
    out[:, k, k] = sample.periods * quadratic_traces(model, lam)
    return _with_variance(model, out, lam, sigma2)


def _plain_information(model: SampleModel, sigma2: Array) -> Array:
    """Information (R, k + 1, k + 1) of (δ, σ²) without a spatial lag."""
    k = model.Z.shape[2]
    Z = model.Z.reshape(-1, k)
    out = np.zeros((len(sigma2), k + 1, k + 1))
    out[:, :k, :k] = Z.T @ Z / sigma2[:, None, None]
    out[:, k, k] = model.sample.observations / (2 * sigma2**2)
    return out


def _with_variance(model: SampleModel, out: Array, coefficient: Array, sigma2: Array) -> Array:
    k, sample = model.Z.shape[2], model.sample
    trace = -model.logdet.first(coefficient, sample.centred)
    out[:, k, k + 1] = out[:, k + 1, k] = sample.periods * trace / sigma2
    out[:, k + 1, k + 1] = sample.observations / (2 * sigma2**2)
    return out


def quadratic_traces(model: SampleModel, coefficient: Array) -> Array:
    """tr (JG)² + tr (JG)'(JG)."""
    gtg = product_traces(model, [(coefficient, coefficient)])[0]
    return gtg - model.logdet.second(coefficient, model.sample.centred)


#: Beyond this condition of the eigenvectors G itself is made: the error of the kernel grows with the square.
SOUND = 1e4
#: Numbers of the G of many samples held at once.
CHUNK = 4_000_000


def product_traces(model: SampleModel, pairs: Sequence[tuple[Array, Array]]) -> list[Array]:
    """tr (JG)'(JH) (R,) of G and H at the coefficients (R,) of each pair.

    In the eigenbasis, where G = P diag(g) P⁻¹, it is g'[P'JP ∘ (P⁻¹P⁻ᵀ)']h. A directed W (nearest neighbours) may have
    next to no eigenbasis.
    """
    P, inverse, omega = spectrum(model.matrix)
    if np.linalg.cond(P) > SOUND:
        return [_product_traces(model, *pair) for pair in pairs]
    left = P - P.mean(axis=0) if model.sample.centred else P
    kernel = (left.conj().T @ left) * (inverse @ inverse.conj().T).T
    values = [[omega / (1 - c[:, None] * omega) for c in pair] for pair in pairs]
    return [np.real(((g.conj() @ kernel) * h).sum(axis=1)) for g, h in values]


def _product_traces(model: SampleModel, a: Array, b: Array) -> Array:
    W, n = model.matrix.toarray(), model.matrix.shape[0]

    def filtered(at: Array) -> Array:
        G = np.linalg.solve(np.eye(n) - at[:, None, None] * W, W) if at.any() else W[None]
        return G - G.mean(axis=1, keepdims=True) if model.sample.centred else G

    out, size = [], max(1, CHUNK // n**2)
    for first in range(0, len(a), size):
        one, other = a[first : first + size], b[first : first + size]
        G = filtered(one)
        H = G if a is b else filtered(other)
        out.append(np.broadcast_to((G * H).sum(axis=(1, 2)), one.shape))
    return np.concatenate(out)


def inverses(information: Array) -> Array:
    """Inverses (R, p, p) of positive definite matrices, their diagonals brought to one first; NaN for the others."""
    diagonal = np.einsum("rii->ri", information)
    good = np.isfinite(information).all(axis=(1, 2)) & (diagonal > 0).all(axis=1)
    scale = 1 / np.sqrt(np.where(good[:, None], diagonal, 1.0))
    both = scale[:, :, None] * scale[:, None, :]
    scaled = np.where(good[:, None, None], information * both, np.eye(information.shape[1]))
    good &= np.linalg.eigvalsh(scaled)[:, 0] > 0
    scaled[~good] = np.eye(information.shape[1])
    out = np.linalg.inv(scaled) * both
    out[~good] = np.nan
    return out


def replicated_score_tests(
    model: SampleModel, samples: Samples, at: Replicates, active: Sequence[Sequence[int]]
) -> list[Array]:
    """LM statistics (R,) of restricted estimates in larger models.

    Parameters
    ----------
    model
        With both spatial lags and all regressors that a larger model has.
    at
        Restricted estimates, ``delta`` (R, k) on the Z of ``model``.
    active
        For each larger model the positions in (δ, ρ, λ, σ²) of its parameters.
    """
    basis = spectrum(model.matrix)
    parts = _residuals(model, samples, at, basis)
    return score_tests(parts, _traces(model, at), at.sigma2, model.sample, active)


def _residuals(
    model: SampleModel, samples: Samples, at: Replicates, basis: tuple[Array, Array, Array]
) -> Residuals:
    """As ``residual_arrays`` of one fit (models/certainty.py)."""
    rho, lam = at.rho[:, None, None], at.lam[:, None, None]
    u = samples.y - rho * samples.Wy - means(model.Z, at.delta)
    BZ, BWy, e, Wu = model.Z, samples.Wy, u, np.zeros((1, 1))
    if model.WZ is not None:
        Wu = samples.Wy - rho * samples.WWy - means(model.lagged, at.delta)
    if at.lam.any():
        BZ, BWy, e = BZ - lam[..., None] * model.lagged, BWy - lam * samples.WWy, u - lam * Wu
    BGm = _mean_in_rho(model, u, BWy, at, basis)
    flat = [v.reshape(len(v), -1) for v in (BGm, BWy, Wu, e)]
    rows = BZ.reshape(*BZ.shape[:-3], -1, BZ.shape[-1])
    return Residuals(rows, flat[0], flat[1], flat[2], None, None, flat[3])


def _mean_in_rho(
    model: SampleModel, u: Array, BWy: Array, at: Replicates, basis: tuple[Array, Array, Array]
) -> Array:
    """BG(mean) (R, T, n) after the transform, as B(Wy − Gu)."""
    P, inverse, omega = basis
    g = omega * (1 - at.lam[:, None] * omega) / (1 - at.rho[:, None] * omega)
    return transform_all(model, BWy - np.real((u @ inverse.T * g[:, None, :]) @ P.T))


def replicated_errors(model: SampleModel, samples: Samples, at: Replicates) -> tuple[Errors, Array]:
    """Residuals of a model with a spatial lag of y, as :func:`errors_of` gives them, and the diagonal (R, n) of JG."""
    basis = spectrum(model.matrix)
    P, inverse, omega = basis
    u = samples.y - at.rho[:, None, None] * samples.Wy - means(model.Z, at.delta)
    derivative = _mean_in_rho(model, u, samples.Wy, at, basis)
    left = P - P.mean(axis=0) if model.effects in ("time", "two_way") else P
    feedback = np.real((omega / (1 - at.rho[:, None] * omega)) @ (left * inverse.T).T)
    return errors_of(u, model.basis.Q.reshape(model.Z.shape), derivative, model.effects), feedback


def filtered_errors(model: SampleModel, samples: Samples, at: Replicates) -> tuple[Array, Traces]:
    """ε = (I − λW)(y − Zδ) (R, T, n) of a model with a spatial error, and the traces of its filter."""
    lam, Wu = at.lam[:, None, None], samples.Wy - means(model.lagged, at.delta)
    return samples.y - means(model.Z, at.delta) - lam * Wu, _traces(model, at)


def means(Z: Array, delta: Array) -> Array:
    """Zδ (R, T, n)."""
    if Z.ndim == 4:
        return (Z @ delta[:, None, :, None])[..., 0]
    T, n, k = Z.shape
    return (delta @ Z.reshape(T * n, k).T).reshape(-1, T, n)


def _traces(model: SampleModel, at: Replicates) -> Traces:
    """Traces (R,) of G and H."""
    logdet, centred, rho, lam = model.logdet, model.sample.centred, at.rho, at.lam
    own = [-logdet.first(c, centred) for c in (rho, lam)]
    squares = [-logdet.second(c, centred) for c in (rho, lam)]
    apart = rho - lam
    near = np.abs(apart) < NEAR
    middle = -logdet.second((rho + lam) / 2, centred)
    product = np.where(near, middle, (own[0] - own[1]) / np.where(near, 1.0, apart))
    gtg, gth, hth = product_traces(model, [(rho, rho), (rho, lam), (lam, lam)])
    return Traces(own[0], own[1], squares[0], product, squares[1], gtg, gth, hth, 0.0)
