"""Full-information maximum likelihood of a spatial system, Σ concentrated out.

With 𝐒 = Γ⊗I − Ψ⊗W, B_g = I − λ_gW and the transformed sample (N, T*) of :mod:`spatial_zb.core.transforms`,

    ln L = −(N/2)[m ln 2π + m + ln|E'E/N|] + T*[Σ_i ln|det(Γ − ω_iΨ)| + Σ_g ln|B_g|],  e_g = B_g(y_g − Z_gδ_g),

where ln|𝐒| needs m × m determinants over the eigenvalues ω_i of W only; with time effects the eigenvalue of ι
is left out. Newton's method with the exact gradient and Hessian over all of (δ, λ): given γ, ψ, λ and Σ the
likelihood is quadratic in β, so β needs no concentration of its own. Steps never leave the region around
Γ = I, Ψ = 0 in which no det(Γ − ω_iΨ) changes sign.

Reference: Yang & Lee (2017), J. Econometrics 196: 196-214; Lee & Yu (2010), J. Econometrics 154: 165-185.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spatial_zb.core import Array
from spatial_zb.core.logdet import UNIT_ROOT_TOLERANCE
from spatial_zb.core.system import (
    SystemArrays,
    coefficient_matrices,
)
from spatial_zb.core.system.instrumental import scaled_inverse

SigmaForm = Literal["full", "diagonal"]

#: Newton stops when the next step promises to raise ln L by less than half of this.
DECREMENT = 1e-11
MAX_STEPS = 200
#: A step goes at most this share of the way to the edge of the admissible region.
EDGE = 0.9
#: Determinants, and eigenvalues of the correlation of ε between equations, below this are called zero.
SINGULAR = 1e-8
#: Curvature below this share of the largest is treated as flat while climbing.
FLAT = 1e-10
#: A coefficient of another y of so many ratios of their spreads is on its way to infinity.
FURTHEST = 1e3
#: Where climbs from a ridge start: γ_gl in ratios of spreads, and γ_gl γ_lg.
RIDGES, ON_RIDGE = (1.0, 3.0, 1 / 3), 0.9


@dataclass(frozen=True, slots=True)
class SystemLikelihood:
    """The concentrated log-likelihood as a function of θ = (δ, λ of the equations with spatial errors).

    ``omega`` (n,) are the eigenvalues of W; empty when no spatial lag of an endogenous variable and no
    spatial error is estimated.
    """

    arrays: SystemArrays
    omega: NDArray
    sigma_form: SigmaForm = "full"

    @property
    def active(self) -> NDArray[np.intp]:
        """Equations with a λ."""
        return np.flatnonzero(self.arrays.lag_error)

    def split(self, theta: Array) -> tuple[Array, Array]:
        """Split into δ (…, K) and λ (…, m); λ is zero for an equation without spatial errors."""
        K = sum(block.shape[1] for block in self.arrays.Z)
        lam = np.zeros((*theta.shape[:-1], self.arrays.m))
        lam[..., self.active] = theta[..., K:]
        return theta[..., :K], lam

    @property
    def determinant_eigenvalues(self) -> NDArray:
        """Eigenvalues that the transformed determinant has: without that of ι under time effects."""
        if not self.omega.size:  # no lag of y: every eigenvalue counts the same
            return np.zeros(self.arrays.sample.n_units - self.arrays.sample.centred)
        if self.arrays.sample.centred:
            return np.delete(self.omega, np.argmin(np.abs(self.omega - 1)))
        return self.omega

    @property
    def real(self) -> Array:
        """Real eigenvalues, all of them: 𝐒 must be regular whatever the transform leaves out."""
        return real_eigenvalues(self.omega) if self.omega.size else np.zeros(1)

    def residuals(self, theta: Array) -> Array:
        """ε (M, m)."""
        delta, lam = self.split(theta)
        y, Z = self.arrays.filtered(lam)
        return np.column_stack([y[:, g] - Z[g] @ delta[self.arrays.block(g)] for g in range(self.arrays.m)])

    def sigma(self, e: Array) -> Array:
        """Σ̂ = E'E/N, its off-diagonal cut when Σ is diagonal by assumption."""
        sigma = e.T @ e / self.arrays.sample.observations
        return np.diag(np.diag(sigma)) if self.sigma_form == "diagonal" else sigma

    def at_edge(self, theta: Array) -> bool:
        """Whether some det(Γ − ω_iΨ) is zero, errors of the equations are multiples of each other, or a γ or ψ runs to ∞.

        At the second the equations are one relation: ln|Σ| and ln|𝐒| run to −∞ and cancel, and the likelihood of
        a weakly identified system can rise towards such an edge without a maximum. At the third an equation is one of
        another y than its own, of which it holds nothing: ln L is flat there.
        """
        links, spread = self.arrays.links, self.arrays.y.std(axis=0)
        size = np.abs(theta[links.position]) * spread[links.column] / spread[links.row]
        if size.max(initial=0.0) > FURTHEST:
            return True
        gamma, psi = coefficient_matrices(self.split(theta)[0], self.arrays.links, self.arrays.m)
        smallest = np.abs(np.linalg.det(gamma - self.real[:, None, None] * psi)).min()
        return smallest < SINGULAR or smallest_correlation(self.sigma(self.residuals(theta))) < SINGULAR

    def value(self, theta: Array) -> float:
        """ln L with all constants."""
        return float(self.height(theta, self.sigma(self.residuals(theta))))

    def height(self, theta: Array, sigma: Array) -> Array:
        """The same (…) of θ (…, p) and the Σ̂ (…, m, m) there."""
        delta, lam = self.split(theta)
        N, m = self.arrays.sample.observations, self.arrays.m
        gamma, psi = coefficient_matrices(delta, self.arrays.links, m)
        omega = self.determinant_eigenvalues
        at_each = gamma[..., None, :, :] - omega[:, None, None] * psi[..., None, :, :]
        determinants = np.linalg.slogdet(at_each)[1].sum(axis=-1)
        errors = np.log(np.abs(1 - lam[..., self.active, None] * omega)).sum(axis=(-2, -1))
        likely = m * (np.log(2 * np.pi) + 1) + np.linalg.slogdet(sigma)[1]
        return -N / 2 * likely + self.arrays.sample.periods * (determinants + errors)

    def derivatives(self, theta: Array) -> tuple[Array, Array]:
        """Gradient (p,) and Hessian (p, p) of :meth:`value`, exact."""
        gradient, hessian = self._data_derivatives(theta)
        d_gradient, d_hessian = self.determinant_derivatives(theta)
        T = self.arrays.sample.periods
        return gradient + T * d_gradient, hessian + T * d_hessian

    def _data_derivatives(self, theta: Array) -> tuple[Array, Array]:
        """Derivatives of −(N/2) ln|Σ̂|: slopes D = −∂e, v = e'D."""
        arrays, K = self.arrays, int(self.arrays.bounds[-1])
        e = self.residuals(theta)
        P = scaled_inverse(self.sigma(e))
        D, owner = slopes_of(self, theta)
        eP = e @ P
        v = e.T @ D  # (m, p)
        gradient = np.einsum("ma,ma->a", D, eP[:, owner])
        same = P[np.ix_(owner, owner)]
        hessian = -same * (D.T @ D) + self.concentration(P, v, owner)
        for row, g in enumerate(self.active):  # ∂²e/∂δ∂λ = WZ
            cross = arrays.lagged[1][g].T @ eP[:, g]
            block = arrays.block(g)
            hessian[block, K + row] -= cross
            hessian[K + row, block] -= cross
        return gradient, hessian

    def concentration(self, P: Array, v: Array, owner: NDArray[np.intp]) -> Array:
        """What moving Σ̂ along adds to the Hessian, (…, p, p)."""
        N = self.arrays.sample.observations
        if self.sigma_form == "diagonal":
            own = np.diagonal(P, axis1=-2, axis2=-1)[..., owner] * v[..., owner, np.arange(len(owner))]
            return 2 / N * own[..., :, None] * own[..., None, :] * (owner[:, None] == owner)
        Pv = P @ v
        swap = Pv[..., owner, :].swapaxes(-1, -2)  # [a, b] = (P v_a)_{g(b)}
        same = P[..., owner[:, None], owner]
        return (swap * swap.swapaxes(-1, -2) + same * (v.swapaxes(-1, -2) @ Pv)) / N

    def lagged_residuals(self, theta: Array) -> list[Array]:
        """W u_g = −∂e_g/∂λ_g, for the equations with a λ."""
        delta, _ = self.split(theta)
        arrays = self.arrays
        if not len(self.active):
            return []
        Wy, WZ = arrays.lagged
        return [(Wy[:, g] - WZ[g] @ delta[arrays.block(g)])[:, None] for g in self.active]

    def determinant_derivatives(self, theta: Array) -> tuple[Array, Array]:
        """∂M/∂γ_gl = −ι_gι_l', ∂M/∂ψ_gl = −ω ι_gι_l' for M = Γ − ωΨ; traces of M⁻¹∂M, summed over ω; θ (…, p)."""
        delta, lam = self.split(theta)
        links, K, p = self.arrays.links, int(self.arrays.bounds[-1]), theta.shape[-1]
        gradient, hessian = np.zeros(theta.shape), np.zeros((*theta.shape, p))
        gamma, psi = coefficient_matrices(delta, links, self.arrays.m)
        omega = self.determinant_eigenvalues
        inverse = np.linalg.inv(gamma[..., None, :, :] - omega[:, None, None] * psi[..., None, :, :])
        load = np.where(links.lagged, omega[:, None], 1.0)  # (n, links)
        gradient[..., links.position] = -np.real(inverse[..., links.column, links.row] * load).sum(axis=-2)
        mixed = inverse[..., links.column[:, None], links.row[None, :]]  # [a, b] = M⁻¹ at (l_a, g_b)
        second = mixed * mixed.swapaxes(-1, -2) * load[:, :, None] * load[:, None, :]
        hessian[..., links.position[:, None], links.position] = -np.real(second.sum(axis=-3))
        ratio = omega / (1 - lam[..., self.active, None] * omega)
        gradient[..., K:] = -np.real(ratio.sum(axis=-1))
        hessian[..., np.arange(K, p), np.arange(K, p)] = -np.real((ratio**2).sum(axis=-1))
        return gradient, hessian

    def room(self, theta: Array, step: Array) -> Array:
        """How far along ``step`` (…, p) the first det(Γ − ω_iΨ) or I − λ_gW becomes singular, (…); inf when none does."""
        (delta, lam), (d_delta, d_lam) = self.split(theta), self.split(step)
        links, m, real = self.arrays.links, self.arrays.m, self.real[:, None, None]
        gamma, psi = (part[..., None, :, :] for part in coefficient_matrices(delta, links, m))
        d_gamma, d_psi = (part[..., None, :, :] for part in coefficient_matrices(d_delta, links, m))
        nearest = first_crossing(gamma - real * psi, d_gamma - np.eye(m) - real * d_psi)
        if not len(self.active):
            return nearest
        slope = d_lam[..., self.active, None] * self.real
        left = 1 - lam[..., self.active, None] * self.real
        ratio = np.divide(left, slope, out=np.full_like(left, np.inf), where=slope > 0)
        return np.minimum(nearest, ratio.min(axis=(-2, -1)))


def slopes_of(likelihood: SystemLikelihood, theta: Array) -> tuple[Array, NDArray[np.intp]]:
    """−∂e/∂θ (M, p), each in the equation that ``owner`` (p,) names."""
    _, lam = likelihood.split(theta)
    _, Z = likelihood.arrays.filtered(lam)
    owner = [np.repeat(np.arange(likelihood.arrays.m), [block.shape[1] for block in Z]), likelihood.active]
    lagged = likelihood.lagged_residuals(theta)
    return np.column_stack([*Z, *lagged]), np.concatenate(owner).astype(int)


def smallest_correlation(sigma: Array) -> float:
    """Smallest eigenvalue of the correlation matrix of a covariance (m, m)."""
    scale = 1 / np.sqrt(np.diag(sigma))
    return float(np.linalg.eigvalsh(sigma * np.outer(scale, scale))[0])


def real_eigenvalues(omega: NDArray) -> Array:
    """The real ones: only they can make a real system singular on a path."""
    if not np.iscomplexobj(omega):
        return omega
    return omega.real[np.abs(omega.imag) <= UNIT_ROOT_TOLERANCE * np.abs(omega).max()]


def first_crossing(start: Array, slope: Array) -> Array:
    """Smallest s > 0 at which det(A_i + s D_i) = 0 for some i; A, D are (…, n, m, m), A non-singular."""
    roots = np.linalg.eigvals(np.linalg.solve(start, slope))
    size = np.abs(roots)
    blocking = (np.abs(roots.imag) <= 1e-9 * np.maximum(size, 1e-300)) & (roots.real < 0)
    at = np.divide(-1.0, roots.real, out=np.full(roots.shape, np.inf), where=blocking)
    return at.min(axis=(-2, -1), initial=np.inf)


@dataclass(frozen=True, slots=True)
class SystemMaximum:
    """θ̂ (p,), ln L there, the Hessian (p, p), Newton steps taken and the promise of the next one.

    ``at_bound`` is True when the climb ended at the edge of the admissible region, at equations that have become
    one relation, or without a maximum.
    ``modes`` lists ln L of the distinct maxima found from the starts, highest first; ``edge`` is the highest ln L
    seen where a climb ended without a maximum, −inf when none did.
    """

    theta: Array
    log_likelihood: float
    hessian: Array
    steps: int
    decrement: float
    at_bound: bool
    modes: tuple[float, ...]
    edge: float


def maximise_system(likelihood: SystemLikelihood, starts: list[Array]) -> SystemMaximum:
    """Climb from each start (pulled into the admissible region if outside) and keep the highest maximum."""
    found = [_climb(likelihood, pulled_inside(likelihood, start)) for start in starts]
    interior = [f for f in found if not f.at_bound]
    ranked = sorted(interior or found, key=lambda f: -f.log_likelihood)
    modes: list[float] = []
    for other in ranked:
        if all(abs(other.log_likelihood - value) > 1e-4 for value in modes):
            modes.append(other.log_likelihood)
    edge = max((f.log_likelihood for f in found if f.at_bound), default=-np.inf)
    return replace(ranked[0], modes=tuple(modes), edge=edge)


def ridge_height(likelihood: SystemLikelihood, theta: Array) -> float:
    """Highest ln L seen where climbs from ridges of θ end without a maximum; −inf when none does.

    Where instruments tell two equations apart only weakly, the likelihood stays high while they become one relation: γ_gl
    and γ_lg grow towards γ_gl γ_lg = 1 with ln L finite. Climbs start near there, the γ of every pair of equations that
    hold each other on either side of zero, at the ratio of their spreads and three times and a third of it.
    """
    arrays, best = likelihood.arrays, -np.inf
    links = arrays.links
    now = {
        (g, l): a
        for a, g, l, lagged in zip(links.position, links.row, links.column, links.lagged, strict=True)
        if not lagged
    }
    spread = arrays.y.std(axis=0)
    for (g, l), place in now.items():
        if g > l or (l, g) not in now:
            continue
        for size in np.outer((1.0, -1.0), RIDGES).ravel() * spread[g] / spread[l]:
            start = np.where(np.arange(len(theta)) < arrays.bounds[-1], 0.0, theta)
            start[place], start[now[l, g]] = size, ON_RIDGE / size
            for h in range(arrays.m):
                block = arrays.block(h)
                exogenous = np.arange(block.start + arrays.endogenous[h], block.stop)
                left = arrays.y[:, h] - arrays.Z[h] @ start[block]
                start[exogenous] = np.linalg.lstsq(arrays.Z[h][:, exogenous - block.start], left, rcond=None)[
                    0
                ]
            found = _climb(likelihood, pulled_inside(likelihood, start))
            best = max(best, found.log_likelihood if found.at_bound else -np.inf)
    return best


def pulled_inside(likelihood: SystemLikelihood, start: Array) -> Array:
    """Pull γ, ψ and λ towards zero until the straight path from there is admissible."""
    moving = np.zeros(len(start), dtype=bool)
    moving[likelihood.arrays.links.position] = True
    moving[int(likelihood.arrays.bounds[-1]) :] = True
    origin = np.where(moving, 0.0, start)
    room = float(likelihood.room(origin, start - origin))
    return origin + min(1.0, EDGE * room) * (start - origin)


def _climb(likelihood: SystemLikelihood, theta: Array) -> SystemMaximum:
    value = likelihood.value(theta)
    decrement, curvature, steps = np.inf, False, 0
    for steps in range(MAX_STEPS):  # noqa: B007 - the count is reported
        gradient, hessian = likelihood.derivatives(theta)
        step, decrement, curvature = _newton_step(gradient, hessian)
        if decrement < DECREMENT:
            break
        moved = _line_search(likelihood, theta, value, step, decrement)
        if moved is None:
            break
        theta, value = moved
        if likelihood.at_edge(theta):
            curvature = False
            break
    _, hessian = likelihood.derivatives(theta)
    settled = decrement < 1e-7 and curvature
    return SystemMaximum(theta, value, hessian, steps, float(decrement), not settled, (value,), -np.inf)


def _newton_step(gradient: Array, hessian: Array) -> tuple[Array, float, bool]:
    """Uphill step with the curvature made positive, g'|H|⁻¹g, and whether the Hessian was negative definite."""
    scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(hessian)), 1e-300))
    values, vectors = np.linalg.eigh(-hessian * np.outer(scale, scale))
    size = np.maximum(np.abs(values), FLAT * np.abs(values).max())
    along = vectors.T @ (scale * gradient)
    step = scale * (vectors @ (along / size))
    return step, float(along @ (along / size)), bool(values.min() > 0)


def _line_search(
    likelihood: SystemLikelihood, theta: Array, value: float, step: Array, decrement: float
) -> tuple[Array, float] | None:
    """Halve the step until ln L rises enough; None when rounding leaves nothing to gain."""
    length = min(1.0, EDGE * float(likelihood.room(theta, step)))
    for _ in range(60):
        trial = theta + length * step
        risen = likelihood.value(trial)
        if np.isfinite(risen) and risen >= value + 1e-4 * length * decrement:
            return trial, risen
        length /= 2
    return None
