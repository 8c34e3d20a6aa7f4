"""What the residuals of a fit say of its errors: dependence over time, variances of units, dependence between units.

The errors of unit i are known through its T residuals e_i = Σ_j M_ij ε_j, M = A⊗J − UU': A and J take the means of units
and of periods out (each the identity where they stay), U is an orthonormal basis of the regressors and of the derivative
of the mean in ρ. Under independent errors of variance σ_i², e_i'Qe_i has the mean σ_i² tr(QM_ii) up to terms that the
other units share, and tr(QM_ii) = J_ii tr(QA) − Σ_k U_ik'QU_ik: every statistic here is made of such forms, with what the
estimated coefficients took out put back.

The first axes of residuals may be many samples; U then has a part that they share.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse, special

from spatial_zb.core import Array
from spatial_zb.core.logdet.traces import DENSE_SOLVE, filter_applier, remembered
from spatial_zb.core.transforms import FixedEffects, demean
from spatial_zb.core.unit_rows import RowErrors

#: Coefficients between which that of the errors is read; a unit root lies outside.
GRID = np.linspace(-0.9, 0.98, 48)
#: Powers of W of which the diagonal of G is made where n solves would cost more than the fit.
POWERS = 3
#: Most products in a power of W, for each of its entries; a W that fills up keeps its square only.
FILL = 40
#: Numbers of simulated residuals held at once.
CHUNK = 2_000_000
#: Variances of periods differ when theirs is this many times that of chance.
CHANCE = 3.0
#: Squares below this share of the total are rounding.
NOTHING = 1e-12


@dataclass(frozen=True, eq=False)
class Errors:
    """Residuals and what the estimated coefficients took out of them.

    Attributes
    ----------
    e
        (…, T, n) residuals after the effects, of one sample or of many.
    shared
        (T, n, k) orthonormal basis of the transformed regressors.
    own
        (…, T, n) the derivative of the mean in ρ off that basis, at unit length; zero where there is none.
    effects
        What was taken out.
    """

    e: Array
    shared: Array
    own: Array
    effects: FixedEffects

    @property
    def T(self) -> int:
        return self.e.shape[-2]

    @property
    def n(self) -> int:
        return self.e.shape[-1]

    @property
    def within(self) -> bool:
        """Whether the means of units are out."""
        return self.effects in ("unit", "two_way")

    @property
    def A(self) -> Array:
        """(T, T)."""
        return np.eye(self.T) - (1.0 / self.T if self.within else 0.0)

    @property
    def kept(self) -> float:
        """J_ii."""
        return 1 - 1 / self.n if self.effects in ("time", "two_way") else 1.0

    def form(self, Q: Array) -> tuple[Array, Array]:
        """e_i'Qe_i and tr(QM_ii), each (…, n)."""
        value = _quadratic(self.e, Q)
        shared = (np.tensordot(Q, self.shared, (1, 0)) * self.shared).sum(axis=(0, 2))
        trace = self.kept * float((Q * self.A).sum()) - shared - _quadratic(self.own, Q)
        return value, trace

    @cached_property
    def squares(self) -> tuple[Array, Array]:
        """e_i'e_i and tr M_ii, each (…, n)."""
        shared = np.einsum("tik,tik->i", self.shared, self.shared)
        own = np.einsum("...ti,...ti->...i", self.own, self.own)
        left = self.kept * (self.T - self.within) - shared - own
        return np.einsum("...ti,...ti->...i", self.e, self.e), left

    @property
    def variances(self) -> Array:
        """(…, n) e_i'e_i / tr M_ii, the variance of each unit's errors."""
        value, left = self.squares
        return value / left

    @property
    def units(self) -> slice:
        """Which units there are: all."""
        return slice(None)

    @property
    def sizes(self) -> Array:
        """(n,) what the errors of a unit are drawn with, of one sample."""
        return np.sqrt(self.squares[0])

    @property
    def grid(self) -> Array:
        """(…, T, n) the residuals."""
        return self.e

    @property
    def lag_form(self) -> Array:
        """:func:`lag_form` of these periods."""
        return lag_form(self.T, self.within)

    @property
    def crossing_form(self) -> Array:
        """:func:`crossing_form` of these periods."""
        return crossing_form(self.T)

    def left_over(self, form: Array) -> Array:
        """z_i = e_i'Qe_i − e_i'e_i tr(QM_ii)/tr M_ii (…, n)."""
        value, trace = self.form(form)
        square, left = self.squares
        return value - square * trace / left

    def by_shift(self) -> tuple[float, Array, Array]:
        """Σe_te_{t−1}/Σe² as seen, and what both have as mean where errors s periods apart alone go together, by s."""
        T, e, A, L = self.T, self.e, self.A, lag_form(self.T, False)
        U = np.concatenate([self.shared, self.own[..., None]], axis=2)
        P = np.tensordot(U, U, ((1, 2), (1, 2)))
        inner = np.tensordot(np.tensordot(L, U, (1, 0)), U, ((0, 1), (0, 1)))
        gram, copies = np.tensordot(U, U, ((0, 1), (0, 1))), self.n * self.kept
        ahead, total = np.empty(T), np.empty(T)
        for s in range(T):
            D = np.eye(T, k=s) + (np.eye(T, k=-s) if s else 0.0)
            shifted = np.tensordot(U[: T - s], U[s:], ((0, 1), (0, 1)))
            shifted = shifted + (shifted.T if s else 0.0)
            spread = A @ D
            ahead[s] = (
                copies * (L * (spread @ A)).sum() - 2 * (L * (spread @ P)).sum() + (shifted * inner).sum()
            )
            total[s] = copies * np.trace(spread @ A) - 2 * (spread * P).sum() + (shifted * gram).sum()
        return float((e[1:] * e[:-1]).sum() / (e * e).sum()), ahead, total

    def taken_out(self, u: Array) -> Array:
        """M of errors (T, n, B)."""
        U = np.concatenate([self.shared, self.own[..., None]], axis=2).reshape(self.T * self.n, -1)
        flat = demean(u, self.effects).reshape(len(U), -1)
        return (flat - U @ (U.T @ flat)).reshape(u.shape)


def _quadratic(values: Array, Q: Array) -> Array:
    """Σ_ts v_ti Q_ts v_si (…, n)."""
    return (values * (Q @ values)).sum(axis=-2)


def errors_of(e: Array, shared: Array, derivative: Array, effects: FixedEffects) -> Errors:
    """The derivative (…, T, n) of the mean in ρ enters by its part off the regressors, if it has one."""
    k = shared.shape[2]
    P = shared.reshape(e.shape[-2] * e.shape[-1], k)
    flat = derivative.reshape(*derivative.shape[:-2], len(P))
    off = flat - (flat @ P) @ P.T
    size = (off * off).sum(axis=-1, keepdims=True)
    new = size > NOTHING * (flat * flat).sum(axis=-1, keepdims=True)
    off = np.where(new, off / np.sqrt(np.where(new, size, 1.0)), 0.0)
    return Errors(e, shared, off.reshape(derivative.shape), effects)


# --- over time


def lag_form(T: int, within: bool) -> Array:
    """Q with e_i'Qe_i = Σ_t e_t e_{t−1}, and with unit effects Σ_{t<T} e_t²/(T − 1) more: of mean zero but for U."""
    Q = np.eye(T, k=-1)
    if within:
        Q[np.arange(T - 1), np.arange(T - 1)] = 1 / (T - 1)
    return (Q + Q.T) / 2


def crossing_form(T: int) -> Array:
    """Q with e_i'Qe_i = Σ_{t=3}^{T−1} (e_t − mean of e_t … e_T)(e_{t−1} − mean of e_1 … e_{t−1}), symmetric.

    The two factors share no error: the mean is zero under any variances over time, in what the regressors leave.
    """
    Q = np.zeros((T, T))
    for t in range(2, T - 1):
        ahead, behind = np.zeros(T), np.zeros(T)
        ahead[t], behind[t - 1] = 1, 1
        ahead[t:] -= 1 / (T - t)
        behind[:t] -= 1 / t
        Q += np.outer(ahead, behind)
    return (Q + Q.T) / 2


def serial_correlation(errors: Errors | RowErrors, Q: Array) -> Array:
    """t (…) of Σ_i z_i, z_i = e_i'Qe_i − e_i'e_i tr(QM_ii)/tr M_ii, over its spread between units: t(n − 1).

    Units may have variances of their own, and errors any law: only the z_i are compared with each other.

    Born & Breitung (2016), Econometric Reviews 35: 1290-1316 (LM*, without the correction for regressors).
    """
    z = errors.left_over(Q)
    n = z.shape[-1]
    spread = ((z - z.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1) * n / (n - 1)
    return z.sum(axis=-1) / np.sqrt(spread)


def autocorrelation(errors: Errors | RowErrors) -> float:
    """First-order coefficient â of the errors of one sample, whose residuals would show Σe_te_{t−1}/Σe² as seen.

    Effects and coefficients make residuals less correlated than the errors: with r(a) = tr(LM̄)/tr M̄ and M̄ = Σ_i
    (M(I⊗R(a))M)_ii, R(a) the correlations of an AR(1), â solves r(â) = r. M̄ is linear in R(a) = Σ_s a^s D_s, so that both
    traces are polynomials in a. Between −0.9 and 0.98.
    """
    seen, ahead, total = errors.by_shift()
    powers = GRID[:, None] ** np.arange(len(ahead))
    expected = (powers @ ahead) / (powers @ total)
    return float(np.interp(seen, np.maximum.accumulate(expected), GRID))


# --- variances of units


def own_feedback(matrix: sparse.csr_array, rho: float, centred: bool) -> Array:
    """Diagonal (n,) of JG, G = W(I − ρW)⁻¹, J = I − ιι'/n when centred, else I: what ties variances to ρ̂.

    Up to DENSE_SOLVE units from G itself. With more, G_ii is the sum of its first powers, ρ(W²)_ii + ρ²(W³)_ii + … to the
    sixth: a test against variances has its level with any fixed column.
    """
    n = matrix.shape[0]
    apply_g = filter_applier(matrix, rho)
    if n <= DENSE_SOLVE:
        G = apply_g(np.eye(n))
        return np.diagonal(G) - (G.mean(axis=0) if centred else 0.0)
    out = matrix.diagonal()
    if rho:
        out = out + sum(rho ** (p - 1) * diagonal for p, diagonal in _diagonals_of_powers(matrix))
    if not centred:
        return out
    return out - filter_applier(sparse.csr_array(matrix.T), rho)(np.full(n, 1 / n))


@remembered
def _diagonals_of_powers(matrix: sparse.csr_array) -> list[tuple[int, Array]]:
    """p ≥ 2 and the diagonal of W^p, of two powers that are held: W^a ∘ (W^b)'."""
    powers = [matrix]
    counts = np.diff(matrix.indptr)
    while len(powers) < POWERS and counts[powers[-1].indices].sum() <= FILL * max(matrix.nnz, 1):
        powers.append(sparse.csr_array(powers[-1] @ matrix))
    across = [sparse.csr_array(power.T) for power in powers]
    halves = [(p // 2, p - p // 2) for p in range(2, 2 * len(powers) + 1)]
    return [(a + b, np.asarray(powers[a - 1].multiply(across[b - 1]).sum(axis=1)).ravel()) for a, b in halves]


def tied_variances(variances: Array, column: Array) -> Array:
    """t (…) of the correlation between variances of units (…, n) and a column (…, n) of theirs: t(n − 2).

    Variances may differ, without relation to the column; kurtosis and serial correlation are in their spread.
    """
    r = _correlation(variances, column)
    n = variances.shape[-1]
    return r * np.sqrt((n - 2) / (1 - r * r))


def _correlation(a: Array, b: Array) -> Array:
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    return (a * b).sum(axis=-1) / np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))


def places(matrix: sparse.csr_array, centred: bool) -> Array:
    """Columns (n, q), off their means, that the diagonal of JG begins with: (W²)_ii, and ι'W with period means out.

    Columns that are constant, of a W that treats units alike, are left out.
    """
    dense = matrix.toarray() if matrix.shape[0] <= DENSE_SOLVE else None
    own = matrix.multiply(matrix.T).sum(axis=1) if dense is None else (dense * dense.T).sum(axis=1)
    columns = [np.asarray(own).ravel()]
    if centred:
        columns.append(np.asarray(matrix.sum(axis=0)).ravel())
    off = [column - column.mean() for column in columns]
    kept = [c for c, column in zip(off, columns, strict=True) if c @ c > NOTHING * (column @ column)]
    return np.stack(kept, axis=1) if kept else np.empty((matrix.shape[0], 0))


def variances_by_place(variances: Array, columns: Array) -> Array:
    """F (…) of cube roots of variances of units (…, n) on columns (n, q) off their means: F(q, n − q − 1).

    Cube roots of χ² are nearly normal (Wilson & Hilferty 1931), so that few units with large variances do not hide
    themselves by their own spread; and no ρ̂, which such variances move, is in the columns.
    """
    n, q = columns.shape
    root = np.cbrt(variances)
    root = root - root.mean(axis=-1, keepdims=True)
    explained = ((root @ np.linalg.qr(columns - columns.mean(axis=0))[0]) ** 2).sum(axis=-1)
    return explained / q / (((root * root).sum(axis=-1) - explained) / (n - q - 1))


def shift_without_equal_variances(errors: Errors, feedback: Array, sigma2: float) -> float:
    """The score of ρ (or λ) at the maximum of the likelihood, if it did not take variances as equal.

    Times the inverse information it is, to first order, by how much estimates would move. The score of maximum likelihood at
    its maximum is w'e − k̄e'e = 0, k̄ = T* tr(JG)/N; with k_i in place of k̄, which has mean zero under any variances of units,
    it is Σ_i(k̄ − k_i)e_i'e_i there. Unit effects: k_i = G_ii. With period means out k_i = n/(n − 2) [g_i − Σg/(n(n − 1))],
    g the diagonal of JG.

    Parameters
    ----------
    feedback
        Of :func:`own_feedback`.
    sigma2
        σ̂².
    """
    n, k = errors.n, feedback
    if errors.kept < 1:
        k = n / (n - 2) * (feedback - feedback.sum() / (n * (n - 1)))
    mean = feedback.sum() / (n * errors.kept)
    return float(((mean - k) @ errors.squares[0]) / sigma2)


# --- between units


def within(errors: Errors | RowErrors) -> Errors | RowErrors:
    """The same off the means of units too: differences between units that last are no dependence between them."""
    if errors.within:
        return errors
    if isinstance(errors, RowErrors):
        return errors.within_units()
    U = np.concatenate([errors.shared, errors.own[..., None]], axis=2)
    U = (U - U.mean(axis=0)).reshape(errors.e.size, -1)
    left, size, _ = np.linalg.svd(U, full_matrices=False)
    shared = left[:, size > NOTHING**0.5].reshape(*errors.e.shape, -1)
    effects: FixedEffects = "two_way" if errors.effects == "time" else "unit"
    return Errors(errors.e - errors.e.mean(axis=0), shared, np.zeros_like(errors.e), effects)


def squared_correlations(e: Array) -> Array:
    """Σ_{i≠j} r_ij² (…) of residuals (…, T, n), r_ij = e_i'e_j/(|e_i||e_j|), by the T × T products: no n × n matrix."""
    unit = e / np.sqrt((e * e).sum(axis=-2, keepdims=True))
    products = unit @ np.swapaxes(unit, -1, -2)
    return (products * products).sum(axis=(-2, -1)) - e.shape[-1]


def period_sizes(errors: Errors | RowErrors) -> Array:
    """(T,) standard deviation of the errors of each period over that of all; ones where they differ by no more than chance.

    The mean square of a period, off the means of units (1 − 2/T)v_t + Σv/T² (errors independent over time), is solved for
    v_t, not below a twentieth of the mean. Chance: CHANCE times what the spread of squares between units gives.
    """
    if isinstance(errors, RowErrors):
        v, chance = errors.by_period()
        return np.ones(len(v)) if v.var() <= CHANCE * chance else np.sqrt(np.maximum(v / v.mean(), 0.05))
    T, n = errors.T, errors.n
    squares = errors.e * errors.e
    squares = squares / squares.mean()
    v = squares.mean(axis=1)
    if T < 3 or v.var() <= CHANCE * float((squares.var(axis=1) / n).mean()):
        return np.ones(T)
    if errors.within:
        v = (v - 1 / T) / (1 - 2 / T)
    v = np.maximum(v / v.mean(), 0.05)
    return np.sqrt(v / v.mean())


def independent_draws(
    errors: Errors | RowErrors, a: float, rng: np.random.Generator, draws: int
) -> Iterator[Array]:
    """Residuals (≤ B, T, n) of errors independent between units, AR(1) with coefficient a.

    Of one sample. Normal, each unit and each period with its own size; effects and coefficients are taken out as those of
    the data are. Without the sizes of periods a year of large errors everywhere would look like dependence.
    """
    T, n = errors.grid.shape
    size = errors.sizes * period_sizes(errors)[:, None]
    for first in range(0, draws, CHUNK // (T * n) + 1):
        count = min(draws - first, CHUNK // (T * n) + 1)
        u = rng.standard_normal((T, n, count))
        u[1:] *= np.sqrt(1 - a * a)
        for t in range(1, T):
            u[t] += a * u[t - 1]
        yield np.moveaxis(errors.taken_out(u * size[..., None]), 2, 0)


def dependence(
    errors: Errors | RowErrors, a: float, rng: np.random.Generator, draws: int
) -> tuple[float, float, float]:
    """√ of the mean r_ij² over pairs of units, the same of independent errors (mean r² of the draws), and p.

    p = (1 + draws with a Σ r_ij² as large)/(1 + draws). After period means are out the sum of r_ij itself says nothing,
    and normal or reshuffled errors do not have the correlation over time that lets r_ij² of independent units be large.
    """
    own = float(squared_correlations(errors.grid))
    drawn = np.concatenate([squared_correlations(part) for part in independent_draws(errors, a, rng, draws)])
    pairs = errors.n * (errors.n - 1)
    p = float((1 + (drawn >= own).sum()) / (1 + draws))
    return (own / pairs) ** 0.5, float(drawn.mean() / pairs) ** 0.5, p


# --- p-values without the cost of a distribution object


def t_p_value(t: ArrayLike, df: float) -> Array:
    """Two-sided, of t with ``df`` degrees of freedom."""
    return 2 * special.stdtr(df, -np.abs(t))


def f_p_value(F: ArrayLike, q: int, df: int) -> Array:
    """Of F(q, df)."""
    return special.fdtrc(q, df, F)


def correlation_test(errors: Errors | RowErrors) -> tuple[float, float]:
    """LM* of one sample, :func:`serial_correlation` with :func:`lag_form`, and its p-value."""
    form = errors.lag_form
    t = float(serial_correlation(errors, form))
    return t, float(t_p_value(t, len(errors.left_over(form)) - 1))


def place_test(errors: Errors | RowErrors, matrix: sparse.csr_array) -> tuple[float, int, int, float]:
    """F of one sample, :func:`variances_by_place`, its degrees of freedom and p-value.

    NaN where W treats all units alike, or there are too few.
    """
    centred = isinstance(errors, RowErrors) or errors.kept < 1
    return place_of(errors, places(matrix, centred)[errors.units])


def place_of(errors: Errors | RowErrors, columns: Array) -> tuple[float, int, int, float]:
    """The same with the columns (n, q) that variances are held against."""
    q = columns.shape[1]
    left = errors.n - q - 1
    if not q or left < 1:
        return np.nan, q, left, np.nan
    F = float(variances_by_place(errors.variances, columns))
    return F, q, left, float(f_p_value(F, q, left))
