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
from spatial_zb.core.laws.samples import (
    SampleModel,
    Samples,
    moments,
    solve_moments,
    to_columns,
    transform_all,
)
from spatial_zb.core.likelihood import inner_interval
from spatial_zb.core.likelihood.covariance import Residuals
from spatial_zb.core.likelihood.errors import Errors, errors_of
from spatial_zb.core.likelihood.tests import score_tests
from spatial_zb.core.logdet import symmetriser
from spatial_zb.core.logdet.traces import NEAR, Traces
from spatial_zb.core.random.maximum import LAG_POINTS, S_GRID, S_MAX
from spatial_zb.core.random.profile import Mixed


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
        cov = inverses(expected_information(model, samples, delta, coefficient, sigma2))
        cov[at_bound] = np.nan
    return Replicates(delta, rho, lam, sigma2, at_bound, cov)


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
    out[:, k, k] = (flat**2).sum(axis=1) / sigma2 + sample.periods * _quadratic_traces(model, rho)
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
    out[:, k, k] = sample.periods * _quadratic_traces(model, lam)
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


def _quadratic_traces(model: SampleModel, coefficient: Array) -> Array:
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
    return score_tests(parts, _traces(model, at), at.sigma2, model.sample, active)


def _residuals(
    model: SampleModel, samples: Samples, at: Replicates, basis: tuple[Array, Array, Array]
) -> Residuals:
    """As ``residual_arrays`` of one fit (models/certainty.py)."""
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


def filtered_errors(model: SampleModel, samples: Samples, at: Replicates) -> tuple[Array, Traces]:
    """ε = (I − λW)(y − Zδ) (R, T, n) of a model with a spatial error, and the traces of its filter."""
    lam, Wu = at.lam[:, None, None], samples.Wy - _mean(model.lagged, at.delta)
    return samples.y - _mean(model.Z, at.delta) - lam * Wu, _traces(model, at)


def _mean(Z: Array, delta: Array) -> Array:
    """Zδ (R, T, n)."""
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


# --- random unit effects


#: Newton steps of the climb at most, halvings of one; steps this small need no look at the height; where it ends.
ROUNDS, HALVINGS, SMALL, DONE = 100, 40, 1e-6, 1e-12


@dataclass(frozen=True, slots=True)
class RandomReplicates:
    """Estimates of R samples with random unit effects and a spatial lag of y.

    ``delta`` (R, k), its ``cov`` (R, k, k) with all other parameters estimated, NaN where there is none; ``rho``, ``phi``,
    ``sigma2``, ``at_bound`` (R,).
    """

    delta: Array
    cov: Array
    rho: Array
    phi: Array
    sigma2: Array
    at_bound: NDArray[np.bool_]


def estimate_random(model: SampleModel, samples: Samples) -> RandomReplicates:
    """What :func:`spatial_zb.core.random.maximum.maximise_random` finds, of samples with a spatial lag of y.

    The transform of ``model`` takes nothing, or period means as Lee and Yu do.
    """
    mixed = Mixed.of(model.basis, samples.y, samples.Wy)
    surface = _RandomSurface(model, mixed)
    at, at_bound = surface.best()
    rho, s = at.T
    products, found, _ = mixed.at(np.exp(-s))
    lead = np.stack([np.ones_like(rho), -rho], axis=1)
    sigma2 = np.einsum("ri,rij,rj->r", lead, products, lead) / model.sample.observations
    delta = mixed.coefficients(found, lead) @ to_columns(model.basis)
    cov = inverses(_random_information(model, delta, rho, s, sigma2))[:, : delta.shape[1], : delta.shape[1]]
    cov[at_bound] = np.nan
    return RandomReplicates(delta, cov, rho, np.expm1(s) / model.sample.n_periods, sigma2, at_bound)


@dataclass(frozen=True, slots=True)
class _RandomSurface:
    """T ln|I − ρW| − (U/2)s − (UT/2) ln SSR(ρ, e⁻ˢ) of many samples, as a function of points (K, 2) of (ρ, s)."""

    model: SampleModel
    mixed: Mixed

    @property
    def box(self) -> Array:
        """Lowest and highest (ρ, s)."""
        low, high = inner_interval(self.model.logdet.interval)
        return np.array([[low, 0.0], [high, S_MAX]])

    def height(self, which: NDArray[np.intp], at: Array) -> Array:
        """Values (K,)."""
        products = self.mixed[which].at(np.exp(-at[:, 1]))[0]
        lead = np.stack([np.ones(len(at)), -at[:, 0]], axis=1)
        return self._height(at[:, 0], at[:, 1], np.einsum("ri,rij,rj->r", lead, products, lead))

    def _height(self, rho: Array, s: Array, ssr: Array) -> Array:
        sample = self.model.sample
        determinant = sample.n_periods * self.model.logdet.value(rho, sample.centred)
        N = sample.observations
        return determinant - N / sample.n_periods * s / 2 - N / 2 * np.log(ssr)

    def slopes(self, which: NDArray[np.intp], at: Array) -> tuple[Array, Array]:
        """Gradients (K, 2) and Hessians (K, 2, 2)."""
        (rho, s), mixed = at.T, self.mixed[which]
        q = np.exp(-s)
        products, *parts = mixed.at(q)
        lead = np.stack([np.ones_like(rho), -rho], axis=1)[:, :, None]
        value, first, second = ((form @ lead)[..., 0] for form in (products, *mixed.slopes(*parts)))
        ssr, in_q, in_qq = ((form * lead[..., 0]).sum(axis=1) for form in (value, first, second))
        slope = np.stack([-2 * value[:, 1], -q * in_q], axis=1) / ssr[:, None]
        mixed_slope = 2 * q * first[:, 1]
        curve = np.stack([2 * products[:, 1, 1], mixed_slope, mixed_slope, q * in_q + q**2 * in_qq], axis=1)
        curve = (curve / ssr[:, None]).reshape(-1, 2, 2) - slope[:, :, None] * slope[:, None]
        sample, logdet = self.model.sample, self.model.logdet
        T, N = sample.n_periods, sample.observations
        slope, curve = -N / 2 * slope, -N / 2 * curve
        slope[:, 0] += T * logdet.first(rho, sample.centred)
        slope[:, 1] -= N / T / 2
        curve[:, 0, 0] += T * logdet.second(rho, sample.centred)
        return slope, curve

    def best(self) -> tuple[Array, NDArray[np.bool_]]:
        """Where each is highest (R, 2), climbed to from all local maxima of a grid, and whether that is at an end."""
        low, high = self.box
        rhos = np.linspace(low[0], high[0], LAG_POINTS)
        R = len(self.mixed.within)
        values = np.empty((R, len(rhos), len(S_GRID)))
        for m, s in enumerate(S_GRID):
            P = self.mixed.at(np.full(R, np.exp(-s)))[0]
            ssr = P[:, :1, 0] - 2 * rhos * P[:, :1, 1] + rhos**2 * P[:, 1:, 1]
            values[:, :, m] = self._height(rhos, s, ssr)
        padded = np.pad(values, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
        near = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2)).max(axis=(3, 4))
        which, *place = np.nonzero(values >= near)
        found = self._climb(which, np.stack([rhos[place[0]], S_GRID[place[1]]], axis=1))
        rising = np.argsort(self.height(which, found), kind="stable")  # the highest is written last
        at = np.empty((R, 2))
        at[which[rising]] = found[rising]
        return at, (at[:, 0] <= low[0]) | (at >= high).any(axis=1)

    def _climb(self, which: NDArray[np.intp], at: Array) -> Array:
        """Newton steps, halved until they rise, kept in the box."""
        low, high = self.box
        left = np.arange(len(which))
        for _ in range(ROUNDS):
            here, chosen = at[left], which[left]
            slope, curve = self.slopes(chosen, here)
            held = ((here <= low) & (slope <= 0)) | ((here >= high) & (slope >= 0))
            step, value = _ascent(slope, curve, held), self.height(chosen, here)
            for _ in range(HALVINGS):
                trial = np.clip(here + step, low, high)
                falls = (self.height(chosen, trial) < value) & (np.abs(trial - here).max(axis=1) > SMALL)
                if not falls.any():
                    break
                step[falls] /= 2
            at[left] = trial
            left = left[np.abs(trial - here).max(axis=1) > DONE]
            if not len(left):
                break
        return at


def _ascent(slope: Array, curve: Array, held: NDArray[np.bool_]) -> Array:
    """Newton steps (K, 2) of the coordinates that are not held, upwards also where the surface is not concave."""
    slope, curve = np.where(held, 0.0, slope), np.where(held[:, :, None] | held[:, None], 0.0, curve)
    curve -= held[:, :, None] * np.eye(2)
    sizes, axes = np.linalg.eigh(curve)
    sizes = np.maximum(np.abs(sizes), 1e-8 * np.abs(sizes).max(axis=1, keepdims=True))
    return (axes @ (np.swapaxes(axes, 1, 2) @ slope[..., None] / sizes[..., None]))[..., 0]


def _random_information(model: SampleModel, delta: Array, rho: Array, s: Array, sigma2: Array) -> Array:
    """Expected information (R, k + 3, k + 3) of (δ, ρ, φ, σ²); φ is no parameter where it is zero."""
    (T, n, k), sample = model.Z.shape, model.sample
    P, inverse, omega = spectrum(model.matrix)
    g, U, q = omega / (1 - rho[:, None] * omega), sample.observations / T, np.exp(-s)
    mean = transform_all(model, np.real((_mean(model.Z, delta) @ inverse.T * g[:, None]) @ P.T))
    columns = np.concatenate([np.broadcast_to(model.Z, (len(rho), T, n, k)), mean[..., None]], axis=3)
    centre = columns.mean(axis=1)
    moved = (columns - centre[:, None]).reshape(len(rho), T * n, k + 1)
    gram = np.swapaxes(moved, 1, 2) @ moved + q[:, None, None] * T * np.swapaxes(centre, 1, 2) @ centre
    out = np.zeros((len(rho), k + 3, k + 3))
    out[:, : k + 1, : k + 1] = gram / sigma2[:, None, None]
    out[:, k, k] += T * _quadratic_traces(model, rho)
    trace = -T * model.logdet.first(rho, sample.centred)
    out[:, k, k + 1] = out[:, k + 1, k] = trace * q
    out[:, k, k + 2] = out[:, k + 2, k] = trace / sigma2
    out[:, k + 1, k + 1] = T**2 * U * q**2 / 2
    out[:, k + 1, k + 2] = out[:, k + 2, k + 1] = T * U * q / (2 * sigma2)
    out[:, k + 2, k + 2] = T * U / (2 * sigma2**2)
    none = s == 0
    out[none, k + 1], out[none, :, k + 1] = 0.0, 0.0
    out[none, k + 1, k + 1] = 1.0
    return out
