"""The bias that many instruments leave in the moments of a spatial system, and estimates without it.

Z_g'P ε has no mean of zero: an endogenous column z_j = z̄_j + v_j shares the errors. For y_l (a = 0) or W y_l (a = 1) in
equation g, filtered by I − λ_gW, the reduced form gives

    E[H'v_j ε_h'H] = Σ_k σ_kh N_jk,    N_jk = Σ_t H_t' f_jk(W) H_t,
    f_jk(ω) = ω^a (1 − λ_gω)[(Γ − ωΨ)⁻¹]_lk / (1 − λ_kω),

and the moments that K coefficients are fitted to have the mean

    b_j(δ, Σ) = Σ_kh σ_kh tr(N_jk'Q_gh),   Q = (Φ⊗I)(I − Π),   Π = D(D'(Φ⊗I)D)⁻¹D'(Φ⊗I),   D = diag(H'Z_g).

Estimates solve D'(Φ⊗I)(H'y − Dδ) − b(δ, Σ(δ)) = 0. Without Π this is the bias of Liu & Lee (2010), J. Econometrics
159: 99-115, here across equations; Π takes off what fitting K coefficients uses up, as L − K stands for L
in Nagar's (1959, Econometrica 27) bias of 2SLS and as LIML has it. An exactly identified system is left as it is.

Nothing asks that W or the units be the same in every period: with effects of any kind taken out of H, H'Wy has no effects
in its noise, whatever W does to them, and N_jk = Σ_t H_t' f_jk(W_t) H_t over the rows that exist.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import ArpackError, LinearOperator, eigs

from spatial_zb.core import Array
from spatial_zb.core.logdet import symmetriser
from spatial_zb.core.logdet.factors import largest_sums
from spatial_zb.core.system.arrays import SystemArrays, coefficient_matrices

#: Up to this many units all eigenvectors of W are found; above, powers of W.
EIGEN_UNITS = 400
#: Eigenvectors that are nearer to each other than this are of no use; powers of W are taken instead.
CONDITION = 1e8
#: What is left of the series in W where it is cut.
TAIL = 1e-6
#: Fewest and most powers of W.
FEWEST, MOST = 32, 1024
#: A large W with a larger share of links is multiplied as a dense matrix, and its radius is looked for.
DENSE_SHARE = 0.2
#: Room above the spatial strength of the uncorrected estimate, within which the corrected one is looked for.
ABOVE = 0.1
#: Room outside the largest eigenvalue that Arnoldi's method finds to a thousandth.
ROOM = 1.02
#: Newton stops at a step of this share of a standard error, whose square is left, or after so many steps and halvings.
STEP, STEPS, HALVINGS = 1e-6, 60, 30
#: A solution further from the uncorrected estimate than so many standard errors is not its correction.
NEAR = 10.0


@dataclass(frozen=True, slots=True)
class WeightedSpectrum:
    """Σ_t H_t' f(W) H_t = Re Σ_v loads_v f(nodes_v) for functions of W that are analytic.

    ``nodes`` (V,), ``loads`` (V, q, q): eigenvalues of W and what the instruments hold of their vectors, or a circle of
    points with the powers of W behind them, for systems whose spatial strength is below ``reach``.
    """

    nodes: NDArray
    loads: NDArray
    reach: float


def weighted_spectrum(arrays: SystemArrays, strength: float) -> WeightedSpectrum | None:
    """The spectrum of W as the instruments see it; None where the series in W does not converge.

    ``strength`` is that of the system (the largest eigenvalue of Γ⁻¹Ψ), with some room; it says how many powers of a
    large W are needed. Under time effects W ι = ι, so that W may stand for J W J: instruments have no ι in them.
    """
    few = all(matrix.shape[0] <= EIGEN_UNITS for matrix, _ in arrays.by_weights)
    return (_eigen(arrays) if few else None) or _circle(arrays, strength)


def spectrum_near(arrays: SystemArrays, delta: Array) -> WeightedSpectrum | None:
    """The same, with room for a system stronger than that of an estimate δ (K,)."""
    gamma, psi = coefficient_matrices(delta, arrays.links, arrays.m)
    strength = float(np.abs(np.linalg.eigvals(np.linalg.solve(gamma, psi))).max())
    return weighted_spectrum(arrays, strength + ABOVE)


def _eigen(arrays: SystemArrays) -> WeightedSpectrum | None:
    every, loads = [], []
    for matrix, H in arrays.by_weights:
        d = symmetriser(matrix)
        if d is not None:
            root = np.sqrt(d)
            nodes, U = linalg.eigh(root[:, None] * matrix.toarray() / root)
            right, left = U / root[:, None], U.T * root
        else:
            nodes, right = np.linalg.eig(matrix.toarray())
            if np.linalg.cond(right) > CONDITION:
                return None
            left = np.linalg.inv(right)
        every.append(nodes)
        loads.append(np.einsum("tiq,iv,vj,tjr->vqr", H, right, left, H, optimize=True))
    found = WeightedSpectrum(np.concatenate(every), np.concatenate(loads), np.inf)
    sizes = np.abs(found.loads).max(axis=(1, 2))
    held = sizes > 1e-14 * sizes.max(initial=0.0)
    return WeightedSpectrum(found.nodes[held], found.loads[held], np.inf)


def _circle(arrays: SystemArrays, strength: float) -> WeightedSpectrum | None:
    """J points on the circle around the eigenvalues: exact for polynomials of a degree below J."""
    q, centred = arrays.H.shape[1], arrays.sample.centred
    dense = [
        matrix.toarray() if matrix.nnz > DENSE_SHARE * matrix.shape[0] ** 2 else matrix
        for matrix, _ in arrays.by_weights
    ]
    radius = max(_radius(matrix, W, centred) for (matrix, _), W in zip(arrays.by_weights, dense, strict=True))
    if strength * radius >= TAIL ** (1 / MOST):
        return None
    needed = np.log(TAIL) / np.log(max(strength * radius, 1e-3))
    count = int(2 ** np.ceil(np.log2(np.clip(needed, FEWEST, MOST))))
    moments = np.zeros((count, q, q))
    for (_, H), W in zip(arrays.by_weights, dense, strict=True):
        n = H.shape[1]
        turned = np.ascontiguousarray(np.moveaxis(H, 1, 0)).reshape(n, -1)
        for power in range(count):
            if power:
                turned = (W @ turned) / radius
                turned = turned - turned.mean(axis=0) if centred else turned
            pairs = np.matmul(H.transpose(0, 2, 1), np.moveaxis(turned.reshape(n, -1, q), 1, 0))
            moments[power] += pairs.sum(axis=0)
    nodes = np.exp(2j * np.pi * np.arange(count) / count)
    loads = np.fft.fft(moments, axis=0) / count
    return WeightedSpectrum(radius * nodes, loads, TAIL ** (1 / count) / radius)


def _radius(matrix: sparse.csr_array, W: Array | sparse.csr_array, centred: bool) -> float:
    """A bound on the eigenvalues of J W, which under a dense W are far below one; ``W`` is ``matrix``, maybe dense."""
    n, bound = matrix.shape[0], largest_sums(matrix) or 1.0

    def applied(v: Array) -> Array:
        turned = W @ v
        return turned - turned.mean(axis=0) if centred else turned

    if n <= EIGEN_UNITS:
        found = np.linalg.eigvals(applied(np.eye(n)))
    elif isinstance(W, np.ndarray):
        operator, start = LinearOperator(W.shape, matvec=applied, dtype=float), np.cos(np.arange(n))
        try:
            found = eigs(operator, 1, v0=start - start.mean(), tol=1e-3, return_eigenvectors=False)
        except ArpackError:
            return bound
    else:
        return bound
    return min(bound, ROOM * float(np.abs(found).max()) or bound)


def recentred(
    arrays: SystemArrays, lam: Array, weight: Array, spectrum: WeightedSpectrum, start: Array
) -> Array | None:
    """δ̂ (K,) of the recentred moments of the data filtered with λ (m,), weighted by Φ⊗I; None without one near.

    Newton's method with exact derivatives from ``start``, the estimate without a correction or of another λ or Φ.
    """
    try:
        problem = _Recentred(arrays, lam, weight, spectrum)
    except np.linalg.LinAlgError:  # instruments that hardly tell the coefficients apart
        return None
    delta, here = start, problem.at(start)
    for _ in range(STEPS):
        step = problem.step(here)
        if step is None:
            return None
        if problem.length(step) < STEP:
            return delta + step if problem.length(delta + step - start) < NEAR else None
        share = 1.0
        while not (there := problem.at(delta + share * step)).size < here.size:
            share /= 2
            if share < 2.0**-HALVINGS:
                return None
        delta, here = delta + share * step, there
    return None


@dataclass(frozen=True, slots=True)
class _Point:
    """f(δ) on the scale of the coefficients, −∂f/∂δ, and |f| in standard errors, infinite where b is not defined."""

    value: Array
    slope: Array
    size: float


class _Recentred:
    """f(δ) = D'(Φ⊗I)(H'y − Dδ) − b(δ, Σ(δ)) and its derivatives."""

    def __init__(self, arrays: SystemArrays, lam: Array, weight: Array, spectrum: WeightedSpectrum) -> None:
        self.arrays, self.spectrum = arrays, spectrum
        y, Z = arrays.filtered(lam)
        m, q = arrays.m, arrays.H.shape[1]
        self.D = np.zeros((m, q, int(arrays.bounds[-1])))
        for g, block in enumerate(Z):
            self.D[g, :, arrays.block(g)] = arrays.H.T @ block
        weighted = np.einsum("gl,lqk->gqk", weight, self.D)
        flat = weighted.reshape(m * q, -1)
        self.left = self.D.reshape(m * q, -1).T @ flat
        self.right = flat.T @ (arrays.H.T @ y).T.ravel()
        self.scale = 1 / np.sqrt(np.diag(self.left))
        self.factor = linalg.cholesky(self.left * np.outer(self.scale, self.scale), lower=True)
        self.overlap = self._overlap(weight, weighted)
        w = spectrum.nodes[:, None]
        self.ratio = (1 - w * lam)[:, :, None] / (1 - w * lam)[:, None, :]  # (V, g, k)
        self.products = self._products(y, Z)

    def _overlap(self, weight: Array, weighted: Array) -> NDArray:
        """⟨loads_v, [(Φ⊗I)(I − Π)]_gk⟩, (V, m, m)."""
        m, q, _ = weighted.shape
        half = linalg.solve_triangular(self.factor, (weighted * self.scale).reshape(m * q, -1).T, lower=True)
        rest = -(half.T @ half).reshape(m, q, m, q)
        rest += weight[:, None, :, None] * np.eye(q)[None, :, None, :]
        loads = self.spectrum.loads.reshape(-1, q * q)
        return (loads @ rest.transpose(1, 3, 0, 2).reshape(q * q, m * m)).reshape(-1, m, m)

    def _products(self, y: Array, Z: tuple[Array, ...]) -> list[list[Array]]:
        """[y_g, Z_g]'[y_l, Z_l] / N, from which Σ(δ) follows."""
        both = [np.column_stack([y[:, g], block]) for g, block in enumerate(Z)]
        return [[a.T @ b / self.arrays.sample.observations for b in both] for a in both]

    def length(self, step: Array) -> float:
        """√(step' D'(Φ⊗I)D step): a step in standard errors."""
        return float(np.sqrt(step @ self.left @ step))

    def at(self, delta: Array) -> _Point:
        """f and its slopes at δ."""
        try:
            bias, slopes = self._bias(delta)
        except np.linalg.LinAlgError:
            return _Point(np.empty(0), np.empty(0), np.inf)
        value = self.scale * (self.right - self.left @ delta - bias)
        whitened = linalg.solve_triangular(self.factor, value, lower=True, check_finite=False)
        size = float(np.sqrt(whitened @ whitened))
        return _Point(value, self.left + slopes, size if np.isfinite(size) else np.inf)

    def step(self, point: _Point) -> Array | None:
        """Newton's step."""
        if not np.isfinite(point.size):
            return None
        try:
            jacobian = point.slope * np.outer(self.scale, self.scale)
            step = self.scale * np.linalg.solve(jacobian, point.value)
        except np.linalg.LinAlgError:
            return None
        return step if np.isfinite(step).all() else None

    def _bias(self, delta: Array) -> tuple[Array, Array]:
        """b (K,) and ∂b/∂δ (K, K), zero rows where a column is exogenous."""
        links, nodes = self.arrays.links, self.spectrum.nodes
        bias, slope = np.zeros(len(delta)), np.zeros((len(delta), len(delta)))
        gamma, psi = coefficient_matrices(delta, links, self.arrays.m)
        if np.abs(np.linalg.eigvals(np.linalg.solve(gamma, psi))).max() >= self.spectrum.reach:
            bias[:] = np.inf
            return bias, slope
        inverse = np.linalg.inv(gamma - nodes[:, None, None] * psi)  # (V, m, m)
        lagged = np.where(links.lagged, nodes[:, None], 1.0)  # (V, p)
        own = lagged[:, :, None] * self.ratio[:, links.row]  # (V, p, k)
        overlap = self.overlap[:, links.row]
        sigma, residual = self._sigma(delta)
        per_sigma = np.real(_over_nodes(overlap, own * inverse[:, links.column]))
        bias[links.position] = np.einsum("phk,hk->p", per_sigma, sigma)
        reached = own * (overlap @ sigma)  # (V, p, k)
        into = inverse[:, links.column][:, :, links.row]  # (V, p, a): ∂inverse along link a, first factor
        out = reached @ inverse[:, links.column].transpose(0, 2, 1)
        moved = np.real((into * lagged[:, None, :] * out).sum(axis=0))
        slope[np.ix_(links.position, links.position)] = moved
        symmetric = per_sigma + per_sigma.transpose(0, 2, 1)
        for g in range(self.arrays.m):
            block = self.arrays.block(g)
            slope[links.position, block] -= symmetric[:, g] @ residual[block].T
        return bias, slope

    def _sigma(self, delta: Array) -> tuple[Array, Array]:
        """Σ(δ) = e'e/N (m, m), and Z_g'e_l/N (K, m)."""
        arrays, m = self.arrays, self.arrays.m
        full = [np.concatenate([[1.0], -delta[arrays.block(g)]]) for g in range(m)]
        crossed = [[self.products[g][l] @ full[l] for l in range(m)] for g in range(m)]
        sigma = np.array([[full[g] @ crossed[g][l] for l in range(m)] for g in range(m)])
        residual = np.vstack([np.column_stack([row[1:] for row in crossed[g]]) for g in range(m)])
        return sigma, residual


def _over_nodes(a: NDArray, b: NDArray) -> NDArray:
    """Σ_v a_vph b_vpk, (p, h, k)."""
    return a.transpose(1, 2, 0) @ b.transpose(1, 0, 2)
