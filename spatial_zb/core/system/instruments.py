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
from spatial_zb.core.system import SystemArrays, coefficient_matrices

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


@dataclass(frozen=True, slots=True)
class SystemProducts:
    """Products of the columns [y_0, Z_0, y_1, Z_1, …] of R samples of a system: all that its estimators need of the data.

    ``gram`` (R, Q, Q) of the columns, or of these and behind them their spatial lags; ``onto`` (R, q, Q) H' times them.
    """

    gram: Array
    onto: Array

    def __getitem__(self, which: NDArray) -> SystemProducts:
        return SystemProducts(self.gram[which], self.onto[which])


def products_of(columns: Array, H: Array) -> SystemProducts:
    """Products of columns (R, M, Q) and the instruments (M, q)."""
    return SystemProducts(columns.swapaxes(1, 2) @ columns, H.T @ columns)


def own_products(arrays: SystemArrays, lam: Array) -> SystemProducts:
    """Those of one sample, filtered with λ (m,)."""
    y, Z = arrays.filtered(lam)
    columns = np.column_stack([column for g, block in enumerate(Z) for column in (y[:, g], block)])
    return products_of(columns[None], arrays.H)


def places(arrays: SystemArrays) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where the y_g (m,) and the columns of Z (K,) stand among [y_0, Z_0, y_1, …]."""
    bounds, m = arrays.bounds, arrays.m
    return bounds[:-1] + np.arange(m), np.concatenate(
        [np.arange(bounds[g], bounds[g + 1]) + g + 1 for g in range(m)]
    )


def many_columns(arrays: SystemArrays, Y: Array, WY: Array) -> Array:
    """Those columns (R, M, Q) of samples with responses Y (M, R, m) and their lags, all else as in ``arrays``."""
    y_places, z_places = places(arrays)
    out = np.empty((Y.shape[1], len(Y), len(y_places) + len(z_places)))
    out[:, :, z_places] = np.column_stack(arrays.Z)
    out[:, :, y_places] = np.moveaxis(Y, 1, 0)
    links = arrays.links
    for a, l, lagged in zip(links.position, links.column, links.lagged, strict=True):
        out[:, :, z_places[a]] = (WY if lagged else Y)[:, :, l].T
    return out


def recentred(
    arrays: SystemArrays, lam: Array, weight: Array, spectrum: WeightedSpectrum, start: Array
) -> Array | None:
    """δ̂ (K,) of the recentred moments of the data filtered with λ (m,), weighted by Φ⊗I; None without one near.

    Newton's method with exact derivatives from ``start``, the estimate without a correction or of another λ or Φ.
    """
    found, near = recentred_many(arrays, own_products(arrays, lam), lam, weight[None], spectrum, start[None])
    return found[0] if near[0] else None


def recentred_many(
    arrays: SystemArrays,
    products: SystemProducts,
    lam: Array,
    weight: Array,
    spectrum: WeightedSpectrum,
    start: Array,
) -> tuple[Array, NDArray[np.bool_]]:
    """The same (R, K) of many samples, with weights (R, m, m), and whether there is one near each start (R, K)."""
    near = np.zeros(len(start), dtype=bool)
    try:
        problem = _Recentred(arrays, products, lam, weight, spectrum)
    except np.linalg.LinAlgError:  # instruments that hardly tell the coefficients apart
        return start, near
    delta, left = start.copy(), np.arange(len(start))
    here = problem.at(delta, left)
    for _ in range(STEPS):
        step, good = problem.step(here, left)
        left, here, step = left[good], here[good], step[good]
        done = problem.length(step, left) < STEP
        ended = left[done]
        delta[ended] += step[done]
        near[ended] = problem.length(delta[ended] - start[ended], ended) < NEAR
        left, here, step = left[~done], here[~done], step[~done]
        if not len(left):
            break
        there = problem.at(delta[left] + step, left)
        for _ in range(HALVINGS):
            rises = ~(there.size < here.size)
            if not rises.any():
                break
            step[rises] /= 2
            shorter = problem.at(delta[left[rises]] + step[rises], left[rises])
            for old, new in zip(
                (there.value, there.slope, there.size),
                (shorter.value, shorter.slope, shorter.size),
                strict=True,
            ):
                old[rises] = new
        falls = there.size < here.size
        left, here = left[falls], there[falls]
        delta[left] += step[falls]
    return delta, near


@dataclass(frozen=True, slots=True)
class _Points:
    """f(δ) on the scale of the coefficients, −∂f/∂δ, and |f| in standard errors, infinite where b is not defined."""

    value: Array
    slope: Array
    size: Array

    def __getitem__(self, which: NDArray) -> _Points:
        return _Points(self.value[which], self.slope[which], self.size[which])


def onto_instruments(arrays: SystemArrays, products: SystemProducts) -> Array:
    """diag(H'Z_g) (R, m, q, K)."""
    _, z_places = places(arrays)
    out = np.zeros((len(products.onto), arrays.m, products.onto.shape[1], len(z_places)))
    for g in range(arrays.m):
        out[:, g, :, arrays.block(g)] = products.onto[:, :, z_places[arrays.block(g)]]
    return out


class _Recentred:
    """f(δ) = D'(Φ⊗I)(H'y − Dδ) − b(δ, Σ(δ)) and its derivatives, of R samples."""

    def __init__(
        self,
        arrays: SystemArrays,
        products: SystemProducts,
        lam: Array,
        weight: Array,
        spectrum: WeightedSpectrum,
    ) -> None:
        self.arrays, self.spectrum, self.gram = arrays, spectrum, products.gram / arrays.sample.observations
        (R, q, _), m, K = products.onto.shape, arrays.m, int(arrays.bounds[-1])
        self.y_places, self.z_places = places(arrays)
        D = onto_instruments(arrays, products)
        weighted = np.einsum("rgl,rlqk->rgqk", weight, D)
        across = weighted.reshape(R, m * q, K).swapaxes(1, 2)
        self.left = across @ D.reshape(R, m * q, K)
        right = across @ products.onto[:, :, self.y_places].swapaxes(1, 2).reshape(R, m * q, 1)
        self.right = right[:, :, 0]
        self.scale = 1 / np.sqrt(np.einsum("rkk->rk", self.left))
        self.factor = np.linalg.cholesky(self.left * self.scale[:, :, None] * self.scale[:, None])
        self.overlap = self._overlap(weight, weighted)
        w = spectrum.nodes[:, None]
        self.ratio = (1 - w * lam)[:, :, None] / (1 - w * lam)[:, None, :]  # (V, g, k)

    def _overlap(self, weight: Array, weighted: Array) -> NDArray:
        """⟨loads_v, [(Φ⊗I)(I − Π)]_gk⟩, (R, V, m, m)."""
        R, m, q, K = weighted.shape
        scaled = (weighted * self.scale[:, None, None]).reshape(R, m * q, K).swapaxes(1, 2)
        half = np.linalg.solve(self.factor, scaled)
        rest = -(half.swapaxes(1, 2) @ half).reshape(R, m, q, m, q)
        rest += weight[:, :, None, :, None] * np.eye(q)[None, None, :, None, :]
        loads = self.spectrum.loads.reshape(-1, q * q)
        return (loads @ rest.transpose(0, 2, 4, 1, 3).reshape(R, q * q, m * m)).reshape(R, -1, m, m)

    def length(self, step: Array, which: NDArray[np.intp]) -> Array:
        """√(step' D'(Φ⊗I)D step): a step in standard errors."""
        return np.sqrt(np.einsum("rk,rkl,rl->r", step, self.left[which], step))

    def at(self, delta: Array, which: NDArray[np.intp]) -> _Points:
        """f and its slopes at δ (K, k) of chosen samples."""
        left, scale = self.left[which], self.scale[which]
        try:
            bias, slopes = self._bias(delta, which)
        except np.linalg.LinAlgError:
            return _Points(np.zeros_like(delta), left, np.full(len(delta), np.inf))
        value = scale * (self.right[which] - (left @ delta[:, :, None])[:, :, 0] - bias)
        whitened = np.linalg.solve(self.factor[which], np.where(np.isfinite(value), value, 0.0)[:, :, None])
        size = np.sqrt((whitened**2).sum(axis=(1, 2)))
        size[~np.isfinite(value).all(axis=1)] = np.inf
        return _Points(value, left + slopes, size)

    def step(self, point: _Points, which: NDArray[np.intp]) -> tuple[Array, NDArray[np.bool_]]:
        """Newton's steps, and where there is one."""
        scale, good = self.scale[which], np.isfinite(point.size)
        jacobian = point.slope * scale[:, :, None] * scale[:, None]
        jacobian[~good] = np.eye(scale.shape[1])
        value = np.where(good[:, None], point.value, 0.0)
        try:
            step = scale * np.linalg.solve(jacobian, value[:, :, None])[:, :, 0]
        except np.linalg.LinAlgError:
            return value, np.zeros_like(good)
        return step, good & np.isfinite(step).all(axis=1)

    def _bias(self, delta: Array, which: NDArray[np.intp]) -> tuple[Array, Array]:
        """b (K, k) and ∂b/∂δ (K, k, k), zero rows where a column is exogenous."""
        links, nodes, m = self.arrays.links, self.spectrum.nodes, self.arrays.m
        bias, slope = np.zeros(delta.shape), np.zeros((*delta.shape, delta.shape[1]))
        gamma, psi = coefficient_matrices(delta, links, m)
        inverse = np.linalg.inv(gamma[:, None] - nodes[:, None, None] * psi[:, None])  # (R, V, m, m)
        lagged = np.where(links.lagged, nodes[:, None], 1.0)  # (V, p)
        own = lagged[:, :, None] * self.ratio[:, links.row]  # (V, p, k)
        overlap = self.overlap[which][:, :, links.row]  # (R, V, p, h)
        to_column = inverse[:, :, links.column]  # (R, V, p, k)
        sigma, residual = self._sigma(delta, which)
        per_sigma = np.real(_over_nodes(overlap, own * to_column))
        bias[:, links.position] = np.einsum("rphk,rhk->rp", per_sigma, sigma)
        reached = own * (overlap @ sigma[:, None])
        into = to_column[:, :, :, links.row]  # (R, V, p, a): ∂inverse along link a, first factor
        out = reached @ to_column.swapaxes(2, 3)
        moved = np.real((into * lagged[:, None, :] * out).sum(axis=1))
        slope[:, links.position[:, None], links.position] = moved
        symmetric = per_sigma + per_sigma.swapaxes(2, 3)
        for g in range(m):
            block = self.arrays.block(g)
            slope[:, links.position, block] -= symmetric[:, :, g] @ residual[:, block].swapaxes(1, 2)
        if np.isfinite(self.spectrum.reach):
            strength = np.abs(np.linalg.eigvals(np.linalg.solve(gamma, psi))).max(axis=1)
            bias[strength >= self.spectrum.reach] = np.inf
        return bias, slope

    def _sigma(self, delta: Array, which: NDArray[np.intp]) -> tuple[Array, Array]:
        """Σ(δ) = e'e/N (R, m, m), and Z_g'e_l/N (R, K, m)."""
        full = residual_maker(self.arrays, delta)
        crossed = self.gram[which] @ full
        return full.swapaxes(1, 2) @ crossed, crossed[:, self.z_places]


def residual_maker(arrays: SystemArrays, delta: Array) -> Array:
    """(R, Q, m): the columns [y_0, Z_0, y_1, …] times this are y − Zδ, equation by equation."""
    y_places, z_places = places(arrays)
    out = np.zeros((len(delta), len(y_places) + len(z_places), arrays.m))
    out[:, y_places, np.arange(arrays.m)] = 1.0
    for g in range(arrays.m):
        block = arrays.block(g)
        out[:, z_places[block], g] = -delta[:, block]
    return out


def _over_nodes(a: NDArray, b: NDArray) -> NDArray:
    """Σ_v a_rvph b_rvpk, (R, p, h, k)."""
    return a.transpose(0, 2, 3, 1) @ b.transpose(0, 2, 1, 3)
