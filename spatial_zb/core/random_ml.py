r"""Maximum likelihood of the spatial Durbin family with random unit effects, two error structures.

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

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize, sparse
from scipy.sparse.linalg import splu

from spatial_zb.core.logdet import LogDet
from spatial_zb.core.orthogonal import Base
from spatial_zb.core.spatial_ml import MODE_WINDOW, inner_interval
from spatial_zb.core.traces import filter_solver

__all__ = [
    "ErrorStructure",
    "RandomMaximum",
    "RandomProfile",
    "Spread",
    "apply_between",
    "base_jacobian",
    "make_spread",
    "maximise_random",
    "random_hessian",
    "random_information",
    "random_profile",
]

Array = NDArray[np.float64]
Matrix = Array | sparse.csr_array
ErrorStructure = Literal["baltagi", "kkp"]

#: Up to this many units K is factorised as a dense matrix, and ∂ln|K| is exact.
DENSE_FACTOR = 300
#: A product WW' with more than this share of its cells filled is factorised as a dense matrix.
FULL = 0.2
#: Start grid of s = ln(1 + Tφ): from no unit effects to nearly nothing else.
S_GRID = np.array([0.0, 0.7, 1.5, 2.5, 3.5, 5.0, 7.0, 9.0])
#: Largest s looked at; a maximum there means that ε has no variance of its own.
S_MAX = 20.0
#: Points of the start grid along ρ and along λ.
LAG_POINTS = 9
#: Step of the central difference of ln|K| for large n.
STEP = 1e-5


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Weighted cross-products of [e_y, e_Wy, Q], ln|K|, and their slopes in λ and s, at one (λ, s).

    Slopes that were not asked for are zero.
    """

    gram: Array
    gram_lam: Array
    gram_s: Array
    log_k: float
    log_k_lam: float
    log_k_s: float


@dataclass(frozen=True, slots=True)
class RandomProfile:
    """What the likelihood needs of the data.

    ``within`` holds the cross-products (M'M, M'L, L'L) of deviations from time means, M = [e_y, e_Wy, Q] and
    L its spatial lag, each (2 + k, 2 + k); ``means`` and ``mean_lags`` (n, 2 + k) are √T times the time
    means of M and L. Without an error process the lags are zero. ``spread`` gives BB' where K is not a
    multiple of I, else None.
    """

    within: tuple[Array, Array, Array]
    means: Array
    mean_lags: Array
    back: Array
    y_norm: float
    spread: Spread | None
    logdet: LogDet
    n: int
    T: int

    @property
    def observations(self) -> int:
        """N = nT."""
        return self.n * self.T

    def blocks(self, lam: float, s: float, slopes: bool = True) -> _Blocks:
        """Cross-products and ln|K| at (λ, s); without slopes for a third of the price."""
        g0, g01, g1 = self.within
        cross = g01 + g01.T
        gram, slope = g0 - lam * cross + lam**2 * g1, 2 * lam * g1 - cross
        b = self._scalar(lam, s) if self.spread is None else self._spatial(lam, s, slopes)
        return _Blocks(gram + b.gram, slope + b.gram_lam, b.gram_s, b.log_k, b.log_k_lam, b.log_k_s)

    def _scalar(self, lam: float, s: float) -> _Blocks:
        """K = e^s I."""
        R = self.means - lam * self.mean_lags
        gram = np.exp(-s) * (R.T @ R)
        half = np.exp(-s) * (R.T @ self.mean_lags)
        return _Blocks(gram, -half - half.T, -gram, self.n * s, 0.0, float(self.n))

    def _spatial(self, lam: float, s: float, slopes: bool) -> _Blocks:
        """K = I + (e^s − 1) BB'."""
        c = np.expm1(s)
        R = self.means - lam * self.mean_lags
        solve, log_k = self.spread.factor(lam, c)
        V = solve(R)
        if not slopes:
            nothing = np.zeros_like(self.within[0])
            return _Blocks(R.T @ V, nothing, nothing, log_k, 0.0, 0.0)
        cross = self.mean_lags.T @ V
        in_lam = -cross - cross.T - c * V.T @ (self.spread.slope(lam) @ V)
        in_s = -np.exp(s) * V.T @ (self.spread.value(lam) @ V)
        return _Blocks(R.T @ V, in_lam, in_s, log_k, *self.spread.log_slopes(lam, s, solve))

    def value(self, rho: float, lam: float, s: float) -> float:
        """Concentrated log-likelihood, with its constant."""
        b = self.blocks(lam, s, slopes=False)
        return self._value(b, concentrate(b.gram, rho)[0], rho, lam)

    def value_and_score(self, rho: float, lam: float, s: float) -> tuple[float, Array]:
        """:meth:`value` and its gradient in (ρ, λ, s), by the envelope theorem."""
        b = self.blocks(lam, s)
        ssr, full = concentrate(b.gram, rho)
        return self._value(b, ssr, rho, lam), self._slopes(b, full, rho, lam, ssr / self.observations)

    def score(self, rho: float, lam: float, s: float) -> Array:
        """Gradient of :meth:`value` in (ρ, λ, s)."""
        return self.value_and_score(rho, lam, s)[1]

    def full_score(self, delta: Array, rho: float, lam: float, s: float, sigma2: float) -> Array:
        """Gradient of the full log-likelihood in (δ on Q, ρ, λ, s, σ²), y of unit length."""
        b = self.blocks(lam, s)
        full = np.concatenate([[1.0, -rho], -delta])
        residual = b.gram @ full
        variance = float(full @ residual) / (2 * sigma2**2) - self._half / sigma2
        return np.concatenate([residual[2:] / sigma2, self._slopes(b, full, rho, lam, sigma2), [variance]])

    def _slopes(self, b: _Blocks, full: Array, rho: float, lam: float, sigma2: float) -> Array:
        first = self.T * self.logdet.first(np.array([rho, lam]))
        quadratic = np.array([-2 * (b.gram @ full)[1], full @ b.gram_lam @ full, full @ b.gram_s @ full])
        return np.append(first, 0.0) - [0.0, b.log_k_lam / 2, b.log_k_s / 2] - quadratic / (2 * sigma2)

    @property
    def _half(self) -> float:
        return self.observations / 2

    def _value(self, b: _Blocks, ssr: float, rho: float, lam: float) -> float:
        both = sum(float(self.logdet.value(c)) for c in (rho, lam) if c)
        return float(self._constant() + self.T * both - b.log_k / 2 - self._half * np.log(ssr))

    def _constant(self) -> float:
        N = self.observations
        return -N / 2 * (np.log(2 * np.pi) + 1 - np.log(N) + 2 * np.log(self.y_norm))


def random_profile(
    base: Base, shape: tuple[int, int], spread: Spread | None, logdet: LogDet
) -> RandomProfile:
    """Split a stacked base of T·n rows into time means and deviations.

    Parameters
    ----------
    base
        Of :func:`spatial_zb.core.orthogonal.orthogonal_base`, with lags when there is an error process.
    shape
        (T, n).
    spread
        Of :func:`make_spread` when the structure is Baltagi's with an error process; None when K is a
        multiple of I.
    """
    T, n = shape
    M = base.columns.reshape(T, n, -1)
    L = np.zeros_like(M) if base.lags is None else base.lags.reshape(T, n, -1)
    (m, dm), (l, dl) = (_split(values) for values in (M, L))
    return RandomProfile(
        (dm.T @ dm, dm.T @ dl, dl.T @ dl), m, l, base.back, base.y_norm, spread, logdet, n, T
    )


def _split(values: Array) -> tuple[Array, Array]:
    """√T × time means (n, p), and stacked deviations (T·n, p)."""
    mean = values.mean(axis=0)
    return np.sqrt(len(values)) * mean, (values - mean).reshape(-1, values.shape[-1])


def concentrate(gram: Array, rho: float) -> tuple[float, Array]:
    """Give SSR and [1, −ρ, −δ] with δ minimising it."""
    lead = np.array([1.0, -rho])
    full = np.concatenate([lead, -_coefficients(gram) @ lead])
    return float(full @ gram @ full), full


def _coefficients(gram: Array) -> Array:
    """Coefficients of e_y and e_Wy on Q, (k, 2), by Cholesky after scaling the diagonal of Q'Q to one.

    Where means carry next to no weight, the columns that only differ between units are next to nothing.
    """
    if len(gram) == 2:
        return np.zeros((0, 2))
    scale = 1 / np.sqrt(gram.diagonal()[2:])
    scaled = gram[2:, 2:] * (scale[:, None] * scale)
    _, solution, info = linalg.lapack.dposv(scaled, scale[:, None] * gram[2:, :2], lower=1)
    if info:
        raise np.linalg.LinAlgError(f"leading minor {info} of the cross-products is not positive")
    return scale[:, None] * solution


@dataclass(frozen=True, slots=True)
class Spread:
    """BB' = I − λ(W + W') + λ²WW', dense up to DENSE_FACTOR units or where WW' is nearly full, else sparse."""

    eye: Matrix
    both: Matrix
    product: Matrix

    @property
    def dense(self) -> bool:
        """Whether matrices are dense arrays."""
        return isinstance(self.both, np.ndarray)

    def value(self, lam: float) -> Matrix:
        """BB'."""
        return self.eye - lam * self.both + lam**2 * self.product

    def slope(self, lam: float) -> Matrix:
        """∂BB'/∂λ."""
        return 2 * lam * self.product - self.both

    def factor(self, lam: float, c: float) -> tuple[Callable[[Array], Array], float]:
        """Solver of K = I + c BB', which is positive definite, and ln|K|."""
        K = self.eye + c * self.value(lam)
        if self.dense:
            L, info = linalg.lapack.dpotrf(K, lower=1)
            if info:
                raise np.linalg.LinAlgError(f"leading minor {info} of K is not positive")
            return partial(_solve_with, L), float(2 * np.log(L.diagonal()).sum())
        options = {"SymmetricMode": True}
        lu = splu(K.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
        return lu.solve, float(np.log(np.abs(lu.U.diagonal())).sum())

    def log_slopes(self, lam: float, s: float, solve: Callable[[Array], Array]) -> tuple[float, float]:
        """∂ln|K| in λ and s: traces of K⁻¹∂K, or central differences where K⁻¹ would be too large."""
        c = np.expm1(s)
        if not self.dense:
            up, down = (self.factor(lam + h, c)[1] for h in (STEP, -STEP))
            above, below = (self.factor(lam, np.expm1(s + h))[1] for h in (STEP, -STEP))
            return (up - down) / (2 * STEP), (above - below) / (2 * STEP)
        inverse = solve(self.eye)
        return c * float((inverse * self.slope(lam)).sum()), np.exp(s) * float(
            (inverse * self.value(lam)).sum()
        )


def _solve_with(L: Array, right: Array) -> Array:
    """(LL')⁻¹ applied to (n,) or (n, p); LAPACK itself, whose wrappers take longer than small systems do."""
    return linalg.lapack.dpotrs(L, right, lower=1)[0]


def make_spread(W: sparse.csr_array) -> Spread:
    """Prepare BB' for every λ."""
    n = W.shape[0]
    parts = sparse.eye_array(n, format="csr"), sparse.csr_array(W + W.T), sparse.csr_array(W @ W.T)
    if n <= DENSE_FACTOR or parts[2].nnz > FULL * n**2:
        return Spread(*(part.toarray() for part in parts))
    return Spread(*parts)


@dataclass(frozen=True, slots=True)
class RandomMaximum:
    """Where the likelihood is highest.

    ``phi`` = σ²_μ/σ²_ε. ``delta_q`` (k,) are coefficients on the orthonormal base, ``delta`` on Z.
    ``at_zero``: the maximum has φ = 0, there is no variance between units left. ``at_bound``: the likelihood
    still rises at an end of the interval of ρ or λ, or for φ → ∞. ``modes`` lists (ρ, λ, φ, ln L).
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


def maximise_random(profile: RandomProfile, lag_y: bool, lag_error: bool) -> RandomMaximum:
    """Climb from every local maximum of a grid over (ρ, λ, s), by L-BFGS-B, and finish with Newton steps."""
    inner = inner_interval(profile.logdet.interval)
    bounds = [inner if lag_y else (0.0, 0.0), inner if lag_error else (0.0, 0.0), (0.0, S_MAX)]
    modes: list[Array] = []
    for start in _starts(profile, bounds):
        found = _climb(profile, start, bounds)
        if not any(np.abs(found - other).max() < 1e-5 for other in modes):
            modes.append(found)
    return _finish(profile, modes, bounds)


def _starts(profile: RandomProfile, bounds: list[tuple[float, float]]) -> list[Array]:
    rhos, lams = (np.unique(np.linspace(*b, LAG_POINTS)) for b in bounds[:2])
    values = np.empty((len(rhos), len(lams), len(S_GRID)))
    for j, lam in enumerate(lams):
        for m, s in enumerate(S_GRID):
            values[:, j, m] = _along_rho(profile, rhos, lam, s)
    padded = np.pad(values, 1, constant_values=-np.inf)
    near = np.lib.stride_tricks.sliding_window_view(padded, (3, 3, 3)).max(axis=(3, 4, 5))
    return [np.array([rhos[i], lams[j], S_GRID[m]]) for i, j, m in np.argwhere(values >= near)]


def _along_rho(profile: RandomProfile, rhos: Array, lam: float, s: float) -> Array:
    """Concentrated likelihood for many ρ at one (λ, s): SSR is a quadratic in ρ."""
    b = profile.blocks(lam, s, slopes=False)
    gram = b.gram
    schur = gram[:2, :2] - gram[:2, 2:] @ _coefficients(gram)
    ssr = schur[0, 0] - 2 * rhos * schur[0, 1] + rhos**2 * schur[1, 1]
    determinants = profile.T * (profile.logdet.value(rhos) + profile.logdet.value(lam)) - b.log_k / 2
    return determinants - profile.observations / 2 * np.log(ssr)


def _climb(profile: RandomProfile, start: Array, bounds: list[tuple[float, float]]) -> Array:
    scale = profile.observations  # likelihood per observation, so that tolerances do not depend on N

    def loss(values: Array) -> tuple[float, Array]:
        value, slope = profile.value_and_score(*values)
        return -value / scale, -slope / scale

    found = optimize.minimize(
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
    polished[free] = optimize.root(score, found[free], tol=1e-13).x
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


def apply_between(values: Array, spread: Spread | None, lam: float, phi: float, periods: int) -> Array:
    """K⁻¹ applied to (n,) or (n, p)."""
    if spread is None:
        return values / (1 + periods * phi)
    return spread.factor(lam, periods * phi)[0](values)


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
    mean, deviation = _split(np.concatenate([BZ, BGm[:, :, None]], axis=2))
    info = np.zeros((k + 4, k + 4))
    weighted = apply_between(mean, spread, best.lam, best.phi, T)
    info[: k + 1, : k + 1] = (deviation.T @ deviation + mean.T @ weighted) / sigma2
    eye, dense = np.eye(n), W.toarray()
    G, H = (filter_solver(W, c)(dense) if c else dense for c in (best.rho, best.lam))
    by_phi = T * (eye if spread is None else _dense(spread.value(best.lam)))
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


def _dense(matrix: Matrix) -> Array:
    return matrix if isinstance(matrix, np.ndarray) else matrix.toarray()


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
