"""Random unit effects: the concentrated likelihood in (ρ, λ, s), its slopes, and solves with K = I + c BB'.

Model and symbols are those of ``maximum`` beside it, which finds the maximum and its information; ``tests`` tests
such effects. Fixed effects live in :mod:`spatial_zb.core.likelihood`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import splu

from spatial_zb.core import Array, Values
from spatial_zb.core.transforms import Base, ColumnBasis, holds_its_lags

Matrix: TypeAlias = Array | sparse.csr_array

#: Up to this many units K is factorised as a dense matrix, and ∂ln|K| is exact.
DENSE_FACTOR = 300
#: A product WW' with more than this share of its cells filled is factorised as a dense matrix.
FULL = 0.2
#: Step of the central difference of ln|K| for large n.
STEP = 1e-5


class PlainLogDet(Protocol):
    """What random effects ask of a log-determinant."""

    @property
    def interval(self) -> tuple[float, float]: ...
    @property
    def rough(self) -> PlainLogDet: ...
    def cover(self, low: float, high: float) -> None: ...
    def value(self, rho: ArrayLike) -> Array: ...
    def first(self, rho: ArrayLike) -> Array: ...


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
        lu = splu(sparse.csc_array(K), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
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


def apply_between(values: Array, spread: Spread | None, lam: float, phi: float, periods: int) -> Array:
    """K⁻¹ applied to (n,) or (n, p)."""
    if spread is None:
        return values / (1 + periods * phi)
    return spread.factor(lam, periods * phi)[0](values)


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
    logdet: PlainLogDet
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
        assert self.spread is not None, "K is not a multiple of I"
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

    def along_rho(self, rho: Array, lam: float, s: float) -> Array:
        """:meth:`value` at many ρ and one (λ, s): SSR is a quadratic in ρ."""
        b = self.blocks(lam, s, slopes=False)
        schur = b.gram[:2, :2] - b.gram[:2, 2:] @ _coefficients(b.gram)
        ssr = schur[0, 0] - 2 * rho * schur[0, 1] + rho**2 * schur[1, 1]
        return self._height(b, ssr, self.logdet.value(rho) + self.logdet.value(lam))

    @property
    def exchangeable(self) -> bool:
        """Whether ρ and λ enter alike where K is a multiple of I: W maps the space of Z into itself.

        A and B commute, and BZ spans what Z spans, both in deviations and in means: q_w and q_b at (ρ, λ) are those at
        (λ, ρ). K is a multiple of I with KKP's errors, and with Baltagi's where φ = 0.
        """
        _, g01, g1 = self.within
        onto, lags = g01 + self.means.T @ self.mean_lags, g1 + self.mean_lags.T @ self.mean_lags
        return holds_its_lags(onto[2:, 2:], lags[2:, 2:])

    def _value(self, b: _Blocks, ssr: float, rho: float, lam: float) -> float:
        return float(self._height(b, ssr, sum(float(self.logdet.value(c)) for c in (rho, lam) if c)))

    @overload
    def _height(self, b: _Blocks, ssr: float, determinants: float) -> float: ...
    @overload
    def _height(self, b: _Blocks, ssr: Array, determinants: Array) -> Array: ...
    def _height(self, b: _Blocks, ssr: Values, determinants: Values) -> Values:
        return self._constant() + self.T * determinants - b.log_k / 2 - self._half * np.log(ssr)

    def _constant(self) -> float:
        N = self.observations
        return -N / 2 * (np.log(2 * np.pi) + 1 - np.log(N) + 2 * np.log(self.y_norm))


def random_profile(
    base: Base, shape: tuple[int, int], spread: Spread | None, logdet: PlainLogDet
) -> RandomProfile:
    """Split a stacked base of T·n rows into time means and deviations.

    Parameters
    ----------
    base
        Of :func:`spatial_zb.core.transforms.orthogonal_base`, with lags when there is an error process.
    shape
        (T, n).
    spread
        Of :func:`spatial_zb.core.random.make_spread` when the structure is Baltagi's with an error process; None
        when K is a multiple of I.
    """
    T, n = shape
    M = base.columns.reshape(T, n, -1)
    L = np.zeros_like(M) if base.lags is None else base.lags.reshape(T, n, -1)
    (m, dm), (l, dl) = (split_means(values) for values in (M, L))
    return RandomProfile(
        (dm.T @ dm, dm.T @ dl, dl.T @ dl), m, l, base.back, base.y_norm, spread, logdet, n, T
    )


def split_means(values: Array) -> tuple[Array, Array]:
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


# --- many samples


@dataclass(frozen=True, slots=True)
class Mixed:
    """Cross-products of variables of R samples off Z: of deviations from the means of units, and of √T times these means.

    GLS weighs the second by q = σ²/(σ² + Tσ²_μ). ``turn`` (k, k) turns the orthonormal basis of Z so that its own products
    are diagonal: ``share`` (k,) for deviations, 1 − share for means. ``within`` and ``between`` (R, V, V) are of the V
    variables with each other, ``deviations`` and ``means`` (R, V, k) with the turned basis, ``onto`` (R, V, k) their
    coefficients on the basis, which are taken out first.
    """

    turn: Array
    share: Array
    within: Array
    between: Array
    deviations: Array
    means: Array
    onto: Array

    @classmethod
    def of(cls, basis: ColumnBasis, *variables: Array) -> Mixed:
        """Of variables (R, T, n)."""
        R, T, n = variables[0].shape
        Q = basis.Q.reshape(T, n, -1)
        rows = np.stack(variables, axis=1).reshape(R, len(variables), T * n)
        onto = rows @ basis.Q
        off = (rows - onto @ basis.Q.T).reshape(R, -1, T, n)
        mean, centre = off.mean(axis=2), Q.mean(axis=0)
        moved, spread = (off - mean[:, :, None]).reshape(rows.shape), (Q - centre).reshape(T * n, -1)
        share, turn = np.linalg.eigh(spread.T @ spread)
        return cls(
            turn,
            np.clip(share, 0.0, 1.0),
            moved @ np.swapaxes(moved, 1, 2),
            T * mean @ np.swapaxes(mean, 1, 2),
            moved @ (spread @ turn),
            T * mean @ (centre @ turn),
            onto,
        )

    def __getitem__(self, which: NDArray[np.intp]) -> Mixed:
        parts = (self.within, self.between, self.deviations, self.means, self.onto)
        return Mixed(self.turn, self.share, *(part[which] for part in parts))

    def at(self, q: Array) -> tuple[Array, Array, Array]:
        """Residual products (R, V, V), coefficients (R, V, k) and diagonal of Z'Z (R, k) on the turned basis, at q (R,)."""
        gram = self.share + q[:, None] * (1 - self.share)
        onto = self.deviations + q[:, None, None] * self.means
        found, weight = onto / gram[:, None], q[:, None, None]
        return self.within + weight * self.between - onto @ np.swapaxes(found, 1, 2), found, gram

    def slopes(self, found: Array, gram: Array) -> tuple[Array, Array]:
        """First and second derivatives in q (R, V, V) of the residual products."""
        left = self.means - found * (1 - self.share)
        first = self.between - found @ np.swapaxes(self.means, 1, 2) - left @ np.swapaxes(found, 1, 2)
        return first, -2 * left @ np.swapaxes(left / gram[:, None], 1, 2)

    def coefficients(self, found: Array, lead: Array) -> Array:
        """On the basis (R, k), of the combination of variables with the weights ``lead`` (R, V)."""
        return ((self.onto + found @ self.turn.T) * lead[:, :, None]).sum(axis=1)
