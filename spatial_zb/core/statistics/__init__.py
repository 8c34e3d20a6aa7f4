"""Moran's I and its family on arrays: one cross-product, its permutation distribution, and its moments.

Γ = Σ_ij a_ij b_ij of two matrices, and its distribution when units change places at random. One form holds Moran's I
(a = w_ij, b = z_i z_j), Geary's C (a = diag(w_i. + w_.i) − 2W, b = z_i z_j), Getis and Ord's G (a = w_ij, b = x_i x_j off
the diagonal), Lee's L (A = V'V, b_ij = x_i y_j) and the pooled Moran of a panel (b_ij = Σ_t z_ti z_tj, whole histories
change places). Mean and variance are exact for any A and B (Mantel 1967, Cancer Research 27: 209-220; with diagonals Lee
2004, Environment and Planning A 36: 1687-1703). Moments of Moran's I of values and of least-squares residuals, which
know that the residuals were fitted, also of panels with the effects among the regressors: Cliff, A.D. & Ord, J.K. (1981),
Spatial Processes, pp. 42-46 and ch. 8.

Beside it: statistics unit by unit (``local``) and spread over places and groups (``dispersion``). Nothing here is
estimated by a model; labelled results live in :mod:`spatial_zb.explore`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from spatial_zb.core import Array

#: Numbers held at once while permuting; keeps memory near 50 MB whatever n.
CHUNK = 2_000_000
#: A variance below this share of the terms it is summed from is rounding.
FLAT = 1e-13


@dataclass(frozen=True, slots=True)
class Result:
    """A statistic with its mean and standard deviation under the null; NaN where it cannot vary."""

    value: float
    expected: float
    std_dev: float

    @property
    def z(self) -> float:
        """Standard deviate."""
        return (self.value - self.expected) / self.std_dev


@dataclass(frozen=True, slots=True)
class CrossProduct:
    """A statistic ``scale`` · Σ_t left_t' A right_t.

    ``left, right`` (T, n), whose columns change places together; ``matrix`` A (n, n).
    """

    scale: float
    left: Array
    right: Array
    matrix: sparse.csr_array


@dataclass(frozen=True, slots=True)
class PairSums:
    """What the moments need to know of a symmetric (n, n) matrix.

    Sums of the diagonal d_i and of d_i²; of the other entries m_ij and of m_ij²; of the squared row sums r_i²
    (without the diagonal); and of d_i r_i.
    """

    n: int
    diagonal: float
    diagonal_squares: float
    total: float
    squares: float
    row_squares: float
    mixed: float


def matrix_sums(matrix: sparse.csr_array) -> PairSums:
    """Sums of (A + A')/2."""
    half = sparse.csr_array((matrix + matrix.T) / 2)
    d = half.diagonal()
    r = np.asarray(half.sum(axis=1)).ravel() - d
    squares = (half.data**2).sum() - d @ d
    return PairSums(len(d), d.sum(), d @ d, r.sum(), squares, r @ r, d @ r)


def product_sums(left: Array, right: Array) -> PairSums:
    """Sums of b_ij = Σ_t (left_ti right_tj + left_tj right_ti)/2, without forming it; arrays (T, n)."""
    d = np.einsum("ti,ti->i", left, right)
    r = (right.sum(axis=1) @ left + left.sum(axis=1) @ right) / 2 - d
    crossed = right @ left.T
    squares = (np.sum((left @ left.T) * (right @ right.T)) + np.sum(crossed * crossed.T)) / 2 - d @ d
    return PairSums(left.shape[1], d.sum(), d @ d, r.sum(), squares, r @ r, d @ r)


def permutation_moments(a: PairSums, b: PairSums) -> tuple[float, float]:
    """Exact mean and variance of Σ_ij a_ij b_π(i)π(j) over all permutations π of n ≥ 4 units."""
    n = a.n
    mean = a.diagonal * b.diagonal / n + a.total * b.total / (n * (n - 1))
    second = _second_moment(a, b, -1)
    size = _second_moment(_absolute(a), _absolute(b), 1)
    variance = second - mean**2
    return mean, variance if variance > FLAT * size else float("nan")


def _second_moment(a: PairSums, b: PairSums, less: int) -> float:
    """E Γ² with ``less`` = −1; with +1 and absolute sums the size of its terms, which its rounding is a share of."""
    n = a.n
    two, three, four = n * (n - 1), n * (n - 1) * (n - 2), n * (n - 1) * (n - 2) * (n - 3)

    def over(part: Callable[[PairSums], float], places: int) -> float:
        return part(a) * part(b) / places

    on = over(lambda m: m.diagonal_squares, n) + over(
        lambda m: m.diagonal**2 + less * m.diagonal_squares, two
    )
    off = (
        2 * over(lambda m: m.squares, two)
        + 4 * over(lambda m: m.row_squares + less * m.squares, three)
        + over(lambda m: m.total**2 + less * 4 * m.row_squares + 2 * m.squares, four)
    )
    both = 2 * over(lambda m: m.mixed, two) + over(lambda m: m.diagonal * m.total + less * 2 * m.mixed, three)
    return on + off + 2 * both


def _absolute(sums: PairSums) -> PairSums:
    return replace(sums, diagonal=abs(sums.diagonal), total=abs(sums.total), mixed=abs(sums.mixed))


def cross_product(statistic: CrossProduct) -> Result:
    """Value, exact mean and standard deviation."""
    s = statistic
    value = s.scale * np.einsum("ti,it->", s.left, s.matrix @ s.right.T)
    mean, variance = permutation_moments(matrix_sums(s.matrix), product_sums(s.left, s.right))
    return Result(float(value), float(s.scale * mean), float(abs(s.scale) * np.sqrt(variance)))


def cross_product_permutations(statistic: CrossProduct, permutations: int, rng: np.random.Generator) -> Array:
    """The statistic after each of ``permutations`` random exchanges of units, (permutations,)."""
    s = statistic
    T, n = s.left.shape
    out = np.empty(permutations)
    step = max(1, CHUNK // (T * n))
    for start in range(0, permutations, step):
        stop = min(start + step, permutations)
        order = rng.permuted(np.broadcast_to(np.arange(n), (stop - start, n)), axis=1)
        left, right = (np.moveaxis(side[:, order], 2, 0).reshape(n, -1) for side in (s.left, s.right))
        products = np.einsum("ij,ij->j", left, s.matrix @ right)
        out[start:stop] = s.scale * products.reshape(T, -1).sum(axis=0)
    return out


def pooled_moran(z: Array, matrix: sparse.csr_array) -> CrossProduct:
    """I = (m/S₀) Σ_t z_t'Wz_t / Σ_t z_t'z_t of centred z (T, n); m counts the units that have neighbours."""
    m = np.count_nonzero(np.diff(matrix.indptr))
    return CrossProduct(m / (matrix.sum() * np.sum(z * z)), z, z, matrix)


def geary_c(x: Array, matrix: sparse.csr_array) -> CrossProduct:
    """C = (n−1) Σ_ij w_ij (x_i − x_j)² / (2 S₀ z'z), z = x − x̄ (Cliff & Ord 1981, p. 17)."""
    z = x - x.mean()
    ends = np.asarray(matrix.sum(axis=1)).ravel() + np.asarray(matrix.sum(axis=0)).ravel()
    differences = sparse.csr_array(sparse.diags_array(ends) - 2 * matrix)
    return CrossProduct((len(x) - 1) / (2 * matrix.sum() * (z @ z)), z[None], z[None], differences)


def general_g(x: Array, matrix: sparse.csr_array) -> CrossProduct:
    """G = Σ_ij w_ij x_i x_j / Σ_{i≠j} x_i x_j of x ≥ 0 (Getis & Ord 1992, Geographical Analysis 24: 189-206)."""
    return CrossProduct(float(1 / (x.sum() ** 2 - x @ x)), x[None], x[None], matrix)


def lee_l(x: Array, y: Array, matrix: sparse.csr_array) -> CrossProduct:
    """L = (n / Σ_i (Σ_j v_ij)²) Σ_i (Σ_j v_ij a_j)(Σ_j v_ij b_j) / √(a'a b'b), a = x − x̄, b = y − ȳ.

    Lee, S.-I. (2001), J. Geographical Systems 3: 369-385, eq. 18.
    """
    a, b = x - x.mean(), y - y.mean()
    rows = np.asarray(matrix.sum(axis=1)).ravel()
    scale = len(x) / ((rows @ rows) * np.sqrt((a @ a) * (b @ b)))
    return CrossProduct(float(scale), a[None], b[None], sparse.csr_array(matrix.T @ matrix))


def bivariate_moran(x: Array, y: Array, matrix: sparse.csr_array) -> Result:
    """I_xy = (m/S₀) a'Wb / √(a'a b'b), a = x − x̄, b = y − ȳ; its exact moments when y changes places and x not.

    Anselin, Syabri & Smirnov (2002); m as in Moran's I.
    """
    scale, received, b = _bivariate(x, y, matrix)
    variance = received.var() * (b @ b) * len(b) / (len(b) - 1)
    std_dev = scale * np.sqrt(variance if received.var() > FLAT * (received @ received) else np.nan)
    return Result(float(scale * (received @ b)), 0.0, float(std_dev))


def bivariate_moran_permutations(
    x: Array, y: Array, matrix: sparse.csr_array, permutations: int, rng: np.random.Generator
) -> Array:
    """I_xy after random exchanges of the values of y, (permutations,)."""
    scale, received, b = _bivariate(x, y, matrix)
    out = np.empty(permutations)
    step = max(1, CHUNK // len(b))
    for start in range(0, permutations, step):
        stop = min(start + step, permutations)
        out[start:stop] = rng.permuted(np.broadcast_to(b, (stop - start, len(b))), axis=1) @ received
    return scale * out


def _bivariate(x: Array, y: Array, matrix: sparse.csr_array) -> tuple[float, Array, Array]:
    a, b = x - x.mean(), y - y.mean()
    m = np.count_nonzero(np.diff(matrix.indptr))
    return m / (matrix.sum() * np.sqrt((a @ a) * (b @ b))), matrix.T @ a, b


Alternative = Literal["two-sided", "greater", "less"]
#: How p-values are corrected for being many.
Adjustment = Literal["fdr", "bonferroni"]
ADJUSTMENTS: tuple[str, ...] = get_args(Adjustment)


#: erfc(x) elementwise, without scipy.special, whose import would cost a fifth of a cold start.
_erfc = np.frompyfunc(math.erfc, 1, 1)


def normal_p_value(z: ArrayLike, alternative: Alternative = "two-sided") -> Array:
    """p-value of a standard normal deviate; NaN stays NaN."""
    z = np.asarray(z, dtype=float) / math.sqrt(2)
    if alternative == "two-sided":
        return np.asarray(_erfc(np.abs(z)), dtype=float)
    return np.asarray(_erfc(z if alternative == "greater" else -z), dtype=float) / 2


def moran_i(x: Array, matrix: sparse.csr_array) -> Result:
    """I = (m/S₀) z'Wz / z'z with z = x − x̄, and its exact mean and variance when values change places.

    Parameters
    ----------
    x
        (n,) values, not constant.
    matrix
        W (n, n), any normalisation. Units without neighbours count in x̄ but not in m, as in R's spdep. Where there
        are such units the moments are those of the permutations, which move values onto them as well: the mean is
        −(m/n)/(n − 1). R puts m for n into the formulas of Cliff and Ord, which fits no distribution.
    """
    return cross_product(pooled_moran((x - x.mean())[None], matrix))


def moran_permutations(
    x: Array, matrix: sparse.csr_array, permutations: int, rng: np.random.Generator
) -> Array:
    """I of ``permutations`` random assignments of the values to the units, (permutations,)."""
    z = x - x.mean()
    n = float(np.count_nonzero(np.diff(matrix.indptr)))
    scale = n / (matrix.sum() * (z @ z))
    out = np.empty(permutations)
    step = max(1, CHUNK // len(z))
    for start in range(0, permutations, step):
        stop = min(start + step, permutations)
        shuffled = rng.permuted(np.broadcast_to(z, (stop - start, len(z))), axis=1).T
        out[start:stop] = scale * np.einsum("ij,ij->j", shuffled, matrix @ shuffled)
    return out


def permutation_p_value(observed: float, reference: Array, alternative: Alternative = "two-sided") -> float:
    """(1 + number at least as extreme) / (1 + number of permutations), so never zero; NaN for a NaN statistic.

    Two-sided: twice the smaller tail, at most one (North, Curtis & Sham 2002, Am. J. Hum. Genet. 71).
    """
    if not np.isfinite(observed):
        return float("nan")
    # Ties to rounding, on the scale of the statistic: General G with small weights is small itself.
    slack = 1e-12 * max(abs(observed), float(np.abs(reference).max(initial=0.0)))
    above = (1 + np.count_nonzero(reference >= observed - slack)) / (1 + len(reference))
    below = (1 + np.count_nonzero(reference <= observed + slack)) / (1 + len(reference))
    tails = {"greater": above, "less": below, "two-sided": min(1.0, 2 * min(above, below))}
    return float(tails[alternative])


def adjusted_p_values(p: Array, how: Adjustment | None) -> Array:
    """p-values corrected for being many; NaN stays NaN and does not count.

    ``"fdr"``: Benjamini & Hochberg (1995), for local statistics Caldas de Castro & Singer (2006),
    Geographical Analysis 38: 180-208. ``"bonferroni"``: times their number.
    """
    if how is None:
        return p.copy()
    out = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    m = len(tested)
    if how == "bonferroni":
        out[tested] = np.minimum(1.0, m * p[tested])
        return out
    order = tested[np.argsort(p[tested], kind="stable")]
    scaled = p[order] * m / np.arange(1, m + 1)
    out[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return out
