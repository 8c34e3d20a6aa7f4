"""Many samples of a system: estimated together by 2SLS, 3SLS and full-information maximum likelihood.

What the estimators need of a sample are products of its columns [y_0, Z_0, y_1, Z_1, …], of their spatial lags, and of the
instruments with them (:class:`spatial_zb.core.system.instruments.SystemProducts`). The equations are those of
:mod:`spatial_zb.core.system.instrumental` and :mod:`spatial_zb.core.system.fiml`, with samples first.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spatial_zb.core import Array
from spatial_zb.core.system import SystemArrays, coefficient_matrices
from spatial_zb.core.system.fiml import (
    DECREMENT,
    EDGE,
    FLAT,
    FURTHEST,
    SINGULAR,
    SystemLikelihood,
    pulled_inside,
)
from spatial_zb.core.system.instruments import (
    SystemProducts,
    WeightedSpectrum,
    many_columns,
    onto_instruments,
    places,
    recentred_many,
    residual_maker,
)

#: Where the smallest eigenvalue of A'A at unit diagonal is below this, samples are looked at one by one.
TOLD_APART = 1e-9
#: Steps of many climbs together, and halvings of one; what takes more is climbed alone.
STEPS_TOGETHER, HALVINGS = 30, 20


def instrumental_many(
    arrays: SystemArrays, products: SystemProducts, joint: bool, spectrum: WeightedSpectrum | None
) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """2SLS or 3SLS of R samples of a system without λ, with classical errors.

    δ̂ (R, K), Σ̂ (R, m, m), the covariance (R, K, K), and which samples are settled: those whose instruments tell the
    coefficients apart, and with a ``spectrum`` those that have a solution near the estimate that is not recentred.
    """
    R, m, lam = len(products.gram), arrays.m, np.zeros(arrays.m)
    identity = np.broadcast_to(np.eye(m), (R, m, m))
    delta, inverse, settled = _projected(arrays, products, identity)
    weight: Array = identity
    for again in range(1 + joint):
        if again:
            weight = np.asarray(np.linalg.inv(_sigma(arrays, products, delta)), float)
            plain, inverse, told = _projected(arrays, products, weight)
            settled &= told
            delta = plain if spectrum is None else delta
        if spectrum is not None:
            sizes = np.eye(m) / np.einsum("rgg->rg", _sigma(arrays, products, delta))[:, None]
            delta, near = recentred_many(arrays, products, lam, weight if again else sizes, spectrum, delta)
            settled &= near
    sigma = _sigma(arrays, products, delta)
    spread = np.linalg.inv(weight) if joint else sigma
    loads = np.einsum("rgl,rgqk->rlkq", weight, onto_instruments(arrays, products))
    cov = inverse @ np.einsum("rgl,rgkq,rljq->rkj", spread, loads, loads, optimize=True) @ inverse
    return delta, sigma, (cov + cov.swapaxes(1, 2)) / 2, settled


def _projected(
    arrays: SystemArrays, products: SystemProducts, weight: Array
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """As :func:`_solve` of R samples, the inverse (R, K, K) of what it divides by, and where that has one to speak of."""
    A, (y_places, _) = onto_instruments(arrays, products), places(arrays)
    R, m, q, K = A.shape
    weighted = np.einsum("rgl,rlqk->rgqk", weight, A).reshape(R, m * q, K).swapaxes(1, 2)
    lhs = weighted @ A.reshape(R, m * q, K)
    rhs = weighted @ products.onto[:, :, y_places].swapaxes(1, 2).reshape(R, m * q, 1)
    scale = 1 / np.sqrt(np.einsum("rkk->rk", lhs))
    scaled = lhs * scale[:, :, None] * scale[:, None]
    told = np.linalg.eigvalsh(scaled)[:, 0] > TOLD_APART
    scaled[~told] = np.eye(K)
    inverse = np.linalg.inv(scaled) * scale[:, :, None] * scale[:, None]
    return (inverse @ rhs)[:, :, 0], inverse, told


def _sigma(arrays: SystemArrays, products: SystemProducts, delta: Array) -> Array:
    full = residual_maker(arrays, delta)
    return full.swapaxes(1, 2) @ products.gram @ full / arrays.sample.observations


# --- Full-information maximum likelihood


def many_lagged_columns(arrays: SystemArrays, Y: Array, lags: tuple[Array, Array]) -> Array:
    """:func:`many_columns` and, where an error is spatial, their lags behind; ``lags`` WY and WWY (M, R, m)."""
    columns = many_columns(arrays, Y, lags[0])
    if arrays.WZ is None:
        return columns
    return np.concatenate([columns, many_columns(replace(arrays, Z=arrays.WZ), *lags)], axis=2)


def maximise_many(
    likelihood: SystemLikelihood, gram: Array, start: Array
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """The maxima θ̂ (R, p) of R samples, climbed to from one start, the Hessians there, and which are settled.

    ``gram`` (R, Q, Q) of :func:`many_lagged_columns`. A sample that comes near an edge, or rises no more before it is flat,
    is not settled: it is to be climbed alone.
    """
    problem, R = _Many(likelihood, gram), len(gram)
    theta = np.tile(pulled_inside(likelihood, start), (R, 1))
    hessian, settled = np.full((*theta.shape, len(start)), np.nan), np.zeros(R, dtype=bool)
    left = np.arange(R)
    value = problem.value(theta, left)
    for _ in range(STEPS_TOGETHER):
        gradient, curve = problem.derivatives(theta[left], left)
        step, decrement, curved = _newton_steps(gradient, curve)
        done = decrement < DECREMENT
        hessian[left[done]], settled[left[done]] = curve[done], curved[done]
        left, step, decrement = left[~done], step[~done], decrement[~done]
        if not len(left):
            break
        length = problem.lengths(theta[left], step)
        trial = problem.value(theta[left] + length[:, None] * step, left)
        for _ in range(HALVINGS):
            low = ~(trial >= value[left] + 1e-4 * length * decrement)
            if not low.any():
                break
            length[low] /= 2
            trial[low] = problem.value(theta[left[low]] + length[low, None] * step[low], left[low])
        rises = trial >= value[left] + 1e-4 * length * decrement
        left = left[rises]
        theta[left] += length[rises, None] * step[rises]
        value[left] = trial[rises]
        left = left[problem.inside(theta[left], left)]
        if not len(left):
            break
    return theta, hessian, settled


class _Many:
    """The likelihoods of R samples, from Gram matrices."""

    def __init__(self, likelihood: SystemLikelihood, gram: Array) -> None:
        self.likelihood, self.gram = likelihood, gram
        arrays = likelihood.arrays
        self.y_places, self.z_places = places(arrays)
        sizes = [block.shape[1] for block in arrays.Z]
        self.owner = np.concatenate([np.repeat(np.arange(arrays.m), sizes), likelihood.active]).astype(int)

    def _makers(self, theta: Array) -> tuple[Array, Array]:
        """What columns are times for ε and for −∂ε/∂θ: (R, Q, m) and (R, Q, p)."""
        arrays, K = self.likelihood.arrays, len(self.z_places)
        delta, lam = self.likelihood.split(theta)
        plain = residual_maker(arrays, delta)
        slopes = np.zeros((*plain.shape[:2], theta.shape[1]))
        slopes[:, self.z_places, np.arange(K)] = 1.0
        if arrays.WZ is None:
            return plain, slopes
        behind = np.zeros_like(slopes)
        behind[:, self.z_places, np.arange(K)] = -lam[:, self.owner[:K]]
        behind[:, :, K:] = plain[:, :, self.likelihood.active]
        return (
            np.concatenate([plain, -lam[:, None] * plain], axis=1),
            np.concatenate([slopes, behind], axis=1),
        )

    def _sigma(self, maker: Array, which: NDArray[np.intp]) -> tuple[Array, Array]:
        """Σ̂ (R, m, m), and products of the columns with ε (R, Q, m)."""
        crossed = self.gram[which] @ maker
        sigma = maker.swapaxes(1, 2) @ crossed / self.likelihood.arrays.sample.observations
        diagonal = self.likelihood.sigma_form == "diagonal"
        return sigma * np.eye(sigma.shape[1]) if diagonal else sigma, crossed

    def value(self, theta: Array, which: NDArray[np.intp]) -> Array:
        """ln L (K,) of chosen samples."""
        return self.likelihood.height(theta, self._sigma(self._makers(theta)[0], which)[0])

    def derivatives(self, theta: Array, which: NDArray[np.intp]) -> tuple[Array, Array]:
        """As :meth:`SystemLikelihood.derivatives`, (K, p) and (K, p, p)."""
        likelihood, owner, p = self.likelihood, self.owner, theta.shape[1]
        maker, slopes = self._makers(theta)
        sigma, crossed = self._sigma(maker, which)
        P = np.asarray(np.linalg.inv(sigma), float)
        across = slopes.swapaxes(1, 2)
        v = across @ crossed  # (K, p, m)
        gradient = (v @ P)[:, np.arange(p), owner]
        same = P[:, owner[:, None], owner]
        hessian = -same * (across @ self.gram[which] @ slopes)
        hessian += likelihood.concentration(P, v.swapaxes(1, 2), owner)
        K, Q = len(self.z_places), len(self.z_places) + len(self.y_places)
        for row, g in enumerate(likelihood.active):  # ∂²e/∂δ∂λ = WZ
            block = likelihood.arrays.block(g)
            cross = (crossed @ P[:, :, [g]])[:, Q + self.z_places[block], 0]
            hessian[:, block, K + row] -= cross
            hessian[:, K + row, block] -= cross
        d_gradient, d_hessian = likelihood.determinant_derivatives(theta)
        T = likelihood.arrays.sample.periods
        return gradient + T * d_gradient, hessian + T * d_hessian

    def lengths(self, theta: Array, step: Array) -> Array:
        """How much of each step (K,) may be taken: all where its size says that nothing is singular on it."""
        likelihood = self.likelihood
        (delta, lam), (d_delta, d_lam) = likelihood.split(theta), likelihood.split(step)
        real, links, m = likelihood.real[:, None, None], likelihood.arrays.links, likelihood.arrays.m
        gamma, psi = (part[:, None] for part in coefficient_matrices(delta, links, m))
        d_gamma, d_psi = (part[:, None] for part in coefficient_matrices(d_delta, links, m))
        moved = np.linalg.solve(gamma - real * psi, d_gamma - np.eye(m) - real * d_psi)
        size = np.sqrt((moved**2).sum(axis=(2, 3))).max(axis=1)
        share = np.abs(d_lam[:, None] * real[:, 0] / (1 - lam[:, None] * real[:, 0])).max(axis=(1, 2))
        out, unsure = np.ones(len(theta)), np.maximum(size, share) >= EDGE
        out[unsure] = np.minimum(1.0, EDGE * likelihood.room(theta[unsure], step[unsure]))
        return out

    def inside(self, theta: Array, which: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether it is well inside what :meth:`SystemLikelihood.at_edge` asks."""
        likelihood, arrays = self.likelihood, self.likelihood.arrays
        links, spread = arrays.links, np.sqrt(np.einsum("rqq->rq", self.gram[which])[:, self.y_places])
        size = np.abs(theta[:, links.position]) * spread[:, links.column] / spread[:, links.row]
        gamma, psi = coefficient_matrices(likelihood.split(theta)[0], links, arrays.m)
        at_each = gamma[:, None] - likelihood.real[:, None, None] * psi[:, None]
        smallest = np.abs(np.linalg.det(at_each)).min(axis=1)
        sigma = self._sigma(self._makers(theta)[0], which)[0]
        scale = 1 / np.sqrt(np.einsum("rgg->rg", sigma))
        apart = np.linalg.eigvalsh(sigma * scale[:, :, None] * scale[:, None])[:, 0]
        far = size.max(axis=1, initial=0.0) < FURTHEST / 10
        return far & (smallest > 10 * SINGULAR) & (apart > 10 * SINGULAR)


def _newton_steps(gradient: Array, hessian: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """As :func:`_newton_step`, (R, p)."""
    scale = 1 / np.sqrt(np.maximum(np.abs(np.einsum("rpp->rp", hessian)), 1e-300))
    values, vectors = np.linalg.eigh(-hessian * scale[:, :, None] * scale[:, None])
    size = np.maximum(np.abs(values), FLAT * np.abs(values).max(axis=1, keepdims=True))
    along = ((scale * gradient)[:, None] @ vectors)[:, 0]
    step = scale * (vectors @ (along / size)[:, :, None])[:, :, 0]
    return step, (along**2 / size).sum(axis=1), values.min(axis=1) > 0
