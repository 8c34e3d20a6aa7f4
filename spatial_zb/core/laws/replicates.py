"""Many samples of one model estimated and tested at once: maximum likelihood and score tests, vectorised.

Estimates of many samples of one model at once: the likelihood of :mod:`spatial_zb.core.likelihood`, vectorised.

The likelihoods are those of :mod:`spatial_zb.core.laws.samples`. The expected information is that of
:func:`spatial_zb.core.likelihood.covariance.information`, with G = W(I − ρW)⁻¹ = P diag(ω/(1 − ρω)) P⁻¹ for all ρ* at once;
tests/core/test_replicates.py holds both to the estimators of single samples.

Score tests of many samples at once: what :func:`spatial_zb.core.likelihood.tests.score_test` takes, with samples first.

As in :mod:`spatial_zb.core.laws.replicates` the samples share Z and W, and G = W(I − ρW)⁻¹ = P diag(ω/(1 − ρω)) P⁻¹ serves
all their ρ and λ. tests/hypotheses/test_replicated_tests.py holds the statistics to those of single samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.core import Array
from spatial_zb.core.laws.samples import SampleModel, Samples, moments, solve_moments, transform_all
from spatial_zb.core.likelihood.covariance import Residuals
from spatial_zb.core.likelihood.errors import Errors, errors_of
from spatial_zb.core.likelihood.tests import score_tests
from spatial_zb.core.logdet import symmetriser
from spatial_zb.core.logdet.traces import NEAR, Traces


@dataclass(frozen=True, slots=True)
class Replicates:
    """Estimates of R samples: ``delta`` (R, k), ``rho``, ``lam``, ``sigma2``, ``at_bound`` (R,).

    ``cov`` (R, p, p) of (δ, [ρ], [λ], σ²) from the expected information, NaN where there is none; None when not asked.
    """

    delta: Array
    rho: Array
    lam: Array
    sigma2: Array
    at_bound: NDArray[np.bool_]
    cov: Array | None


def estimate_all(model: SampleModel, Y: Array | Samples, covariance: bool = True) -> Replicates:
    """Estimate the model on each of Y (R, T, n), not transformed; lags are taken before the transform."""
    samples = Y if isinstance(Y, Samples) else Samples(model.matrix, model.effects, Y)
    found = moments(model, samples)
    delta, coefficient, sigma2, at_bound = solve_moments(model, found)
    zero = np.zeros(len(samples.Y))
    rho, lam = (coefficient, zero) if model.lag_y else (zero, coefficient)
    cov = None
    if covariance:
        cov = inverses(_information(model, samples, delta, coefficient, sigma2))
        cov[at_bound] = np.nan
    return Replicates(delta, rho, lam, sigma2, at_bound, cov)


def _information(
    model: SampleModel, samples: Samples, delta: Array, coefficient: Array, sigma2: Array
) -> Array:
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
    # G(mean) as Wy − Gu, as in models/ml.py
    mean = Wy - np.real((u @ inverse.T * g[:, None, :]) @ P.T)
    flat, Z = transform_all(model, mean).reshape(R, -1), model.Z.reshape(-1, k)
    out = np.zeros((R, k + 2, k + 2))
    out[:, :k, :k] = Z.T @ Z / sigma2[:, None, None]
    out[:, :k, k] = out[:, k, :k] = flat @ Z / sigma2[:, None]
    out[:, k, k] = (flat**2).sum(axis=1) / sigma2 + sample.periods * _quadratic_traces(
        model, rho, g, P, inverse
    )
    return _with_variance(model, out, rho, sigma2)


# --- covariances


def _error_information(model: SampleModel, lam: Array, sigma2: Array) -> Array:
    """Expected information (R, k + 2, k + 2) of (δ, λ, σ²)."""
    k, sample = model.Z.shape[2], model.sample
    Z, WZ = model.Z.reshape(-1, k), model.lagged.reshape(-1, k)
    P, inverse, omega = spectrum(model.matrix)
    w = lam[:, None, None]
    out = np.zeros((len(lam), k + 2, k + 2))
    cross = Z.T @ WZ
    out[:, :k, :k] = (Z.T @ Z - w * (cross + cross.T) + w**2 * (WZ.T @ WZ)) / sigma2[:, None, None]
    g = omega / (1 - lam[:, None] * omega)
    out[:, k, k] = sample.periods * _quadratic_traces(model, lam, g, P, inverse)
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


def _quadratic_traces(model: SampleModel, coefficient: Array, g: Array, P: Array, inverse: Array) -> Array:
    """tr (JG)² + tr (JG)'(JG): the second is g'[P'JP ∘ (P⁻¹P⁻ᵀ)']g in the eigenbasis."""
    kernel = trace_kernel(model, P, inverse)
    gtg = np.real(np.einsum("ri,ij,rj->r", g.conj(), kernel, g, optimize=True))
    return gtg - model.logdet.second(coefficient, model.sample.centred)


def trace_kernel(model: SampleModel, P: Array, inverse: Array) -> Array:
    """P'JP ∘ (P⁻¹P⁻ᵀ)' (n, n): tr (JG)'(JH) is g' times it times h, where G = P diag(g) P⁻¹ and H = P diag(h) P⁻¹."""
    left = P - P.mean(axis=0) if model.sample.centred else P
    return (left.conj().T @ left) * (inverse @ inverse.conj().T).T


def spectrum(matrix: sparse.csr_array) -> tuple[Array, Array, Array]:
    """P (n, n), P⁻¹ and ω (n,) with W = P diag(ω) P⁻¹; P is complex where W has no real eigenbasis."""
    d = symmetriser(matrix)
    dense = matrix.toarray()
    if d is None:
        omega, P = np.linalg.eig(dense)
        return P, np.linalg.inv(P), omega
    root = np.sqrt(d)
    similar = root[:, None] * dense / root
    omega, U = np.linalg.eigh((similar + similar.T) / 2)
    return U / root[:, None], U.T * root, omega


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
    return score_tests(parts, _traces(model, at, basis), at.sigma2, model.sample, active)


def _residuals(
    model: SampleModel, samples: Samples, at: Replicates, basis: tuple[Array, Array, Array]
) -> Residuals:
    """As ``residual_arrays`` of one fit (models/ml.py)."""
    rho, lam = at.rho[:, None, None], at.lam[:, None, None]
    u = samples.y - rho * samples.Wy - _mean(model.Z, at.delta)
    Wu = samples.Wy - rho * samples.WWy - _mean(model.lagged, at.delta)
    BZ, BWy, e = model.Z, samples.Wy, u
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
    u = samples.y - at.rho[:, None, None] * samples.Wy - _mean(model.Z, at.delta)
    derivative = _mean_in_rho(model, u, samples.Wy, at, basis)
    left = P - P.mean(axis=0) if model.effects in ("time", "two_way") else P
    feedback = np.real((omega / (1 - at.rho[:, None] * omega)) @ (left * inverse.T).T)
    return errors_of(u, model.basis.Q.reshape(model.Z.shape), derivative, model.effects), feedback


def _mean(Z: Array, delta: Array) -> Array:
    """Zδ (R, T, n)."""
    T, n, k = Z.shape
    return (delta @ Z.reshape(T * n, k).T).reshape(-1, T, n)


def _traces(model: SampleModel, at: Replicates, basis: tuple[Array, Array, Array]) -> Traces:
    """Traces (R,) of G and H; those of G'H are g'[P'JP ∘ (P⁻¹P⁻ᵀ)']h in the eigenbasis."""
    P, inverse, omega = basis
    logdet, centred = model.logdet, model.sample.centred
    own = [-logdet.first(c, centred) for c in (at.rho, at.lam)]
    squares = [-logdet.second(c, centred) for c in (at.rho, at.lam)]
    apart = at.rho - at.lam
    near = np.abs(apart) < NEAR
    middle = -logdet.second((at.rho + at.lam) / 2, centred)
    product = np.where(near, middle, (own[0] - own[1]) / np.where(near, 1.0, apart))
    kernel = trace_kernel(model, P, inverse)
    g, h = (omega / (1 - c[:, None] * omega) for c in (at.rho, at.lam))
    gtg, gth, hth = (np.real(((a.conj() @ kernel) * b).sum(axis=1)) for a, b in ((g, g), (g, h), (h, h)))
    return Traces(own[0], own[1], squares[0], product, squares[1], gtg, gth, hth, 0.0)
