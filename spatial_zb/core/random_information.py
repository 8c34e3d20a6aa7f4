"""Information of the likelihood with random unit effects, expected and observed, in (δ, ρ, λ, φ, σ²)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from spatial_zb.core.random_ml import RandomMaximum
from spatial_zb.core.random_profile import RandomProfile, split_means
from spatial_zb.core.traces import filter_solver
from spatial_zb.core.unit_spread import Spread, apply_between

__all__ = ["base_jacobian", "random_hessian", "random_information"]

Array = NDArray[np.float64]


def random_information(
    BZ: Array,
    BGm: Array,
    W: sparse.csr_array,
    best: RandomMaximum,
    spread: Spread | None,
) -> Array:
    """Expected information (k + 4, k + 4) of (δ, ρ, λ, φ, σ²); exact, by dense n × n algebra.

    In coordinates whitened by A⁻¹B⁻¹ the deviations have variance σ²I and the means σ²K, whose derivatives in
    ρ, λ, φ, σ² are P: G + G', H + H', 0, I/σ² and GK + KG', P_λ, ∂K/∂φ, K/σ². The entry of two variance
    parameters is ½[(T − 1) tr P_iP_j + tr K⁻¹P_iK⁻¹P_j]. P_λ is H + H' for Baltagi, whose μ does not spread,
    and HK + KH' for KKP.

    Parameters
    ----------
    BZ, BGm
        (T, n, k) filtered regressors and (T, n) BGZδ, the derivative of the mean in ρ.
    W
        (n, n).
    spread
        As in :class:`RandomProfile`.
    """
    (T, n, k), sigma2 = BZ.shape, best.sigma2
    mean, deviation = split_means(np.concatenate([BZ, BGm[:, :, None]], axis=2))
    info = np.zeros((k + 4, k + 4))
    weighted = apply_between(mean, spread, best.lam, best.phi, T)
    info[: k + 1, : k + 1] = (deviation.T @ deviation + mean.T @ weighted) / sigma2
    eye, dense = np.eye(n), W.toarray()
    G, H = (filter_solver(W, c)(dense) if c else dense for c in (best.rho, best.lam))
    by_phi = T * (eye if spread is None else spread.dense_value(best.lam))
    K = eye + best.phi * by_phi
    within = [G + G.T, H + H.T, np.zeros((n, n)), eye / sigma2]
    of_lam = H @ K if spread is None else H
    between = [G @ K + K @ G.T, of_lam + of_lam.T, by_phi, K / sigma2]
    factor = linalg.cho_factor(K)
    between = [linalg.cho_solve(factor, P) for P in between]
    for i in range(4):
        for j in range(4):
            trace = (T - 1) * (within[i] * within[j]).sum() + (between[i] * between[j].T).sum()
            info[k + i, k + j] += trace / 2
    return info


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
