"""Local Moran, its bivariate form, and Getis-Ord G on arrays, and p-values corrected for being many.

Their reference distribution is that of :mod:`spatial_zb.core.statistics.permutation`.

Anselin, L. (1995), Geographical Analysis 27: 93-115; Ord & Getis (1995), Geographical Analysis 27: 286-306.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.core import Array
from spatial_zb.core.statistics.moran import Alternative
from spatial_zb.core.statistics.permutation import EQUAL_WEIGHTS, FLAT, conditional_moments, conditional_tails

Adjustment = Literal["fdr", "bonferroni"]
ADJUSTMENTS: tuple[str, ...] = get_args(Adjustment)


@dataclass(frozen=True, slots=True)
class LocalMoran:
    """``I``, its standard deviate ``z`` and permutation p-value ``p_sim``, each (n,); NaN for islands.

    ``high, high_lag`` (n,): above the mean, and neighbours above the mean; ``alone`` (n,): no neighbours.
    """

    I: Array
    z: Array
    p_sim: Array
    high: NDArray[np.bool_]
    high_lag: NDArray[np.bool_]
    alone: NDArray[np.bool_]


def local_moran_i(
    x: Array,
    y: Array,
    matrix: sparse.csr_array,
    permutations: int,
    seed: np.random.SeedSequence,
    alternative: Alternative = "two-sided",
) -> LocalMoran:
    """I_i = (n−1) a_i Σ_j w_ij b_j / √(a'a · b'b), with a = x − x̄ and b = y − ȳ; y is x for the univariate.

    The sum of I_i is (n−1)/n · S₀ · I. z has the exact moments of the conditional permutation.
    """
    a, b = x - x.mean(), y - y.mean()
    scale = (len(x) - 1) / np.sqrt((a @ a) * (b @ b))
    tails = conditional_tails(b, matrix, permutations, seed)
    lag = tails.observed
    mean, std_dev = conditional_moments(b, matrix)
    z = np.sign(a) * (lag - mean) / std_dev
    z[a == 0] = np.nan  # I_i is zero whatever the neighbours
    I = np.where(tails.alone, np.nan, scale * a * lag)
    return LocalMoran(I, z, tails.p_values(np.sign(a), alternative), a > 0, lag > 0, tails.alone)


def local_g(
    x: Array,
    matrix: sparse.csr_array,
    star: bool,
    permutations: int,
    seed: np.random.SeedSequence,
    alternative: Alternative = "two-sided",
) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """G_i = Σ_j w_ij x_j / Σ_j x_j over j ≠ i; with ``star`` G*_i, in which the unit itself counts too.

    Gives (G, z, p_sim, high), each (n,); the first three NaN for islands. z follows Ord & Getis (1995): for G the
    moments given the unit's own value, for G* those of all n values. The permutations keep the own value in place
    for both, as in GeoDa and esda, so that p_sim of G* is that of G; ``high`` is the side of them that p_sim is of.
    """
    tails = conditional_tails(x, matrix, permutations, seed)
    p_sim = tails.p_values(1.0, alternative)
    if not star:
        mean, std_dev = conditional_moments(x, matrix)
        G = np.where(tails.alone, np.nan, tails.observed / (x.sum() - x))
        return G, (tails.observed - mean) / std_dev, p_sim, tails.high
    full = with_self(matrix)
    lag, n = full @ x, len(x)
    rows = np.asarray(full.sum(axis=1)).ravel()
    squares = np.asarray(full.multiply(full).sum(axis=1)).ravel()
    room = squares - rows**2 / n
    variance = x.var() * n / (n - 1) * np.where(room <= FLAT * squares, np.nan, room)
    alone = np.where(tails.alone, np.nan, 1.0)
    z = alone * (lag - rows * x.mean()) / np.sqrt(variance)
    return alone * lag / x.sum(), z, p_sim, tails.high


def with_self(matrix: sparse.csr_array) -> sparse.csr_array:
    """W with every unit its own neighbour, with the largest weight of its row; rows that sum to 1 stay so."""
    rows = np.asarray(matrix.sum(axis=1)).ravel()
    own = matrix.max(axis=1).toarray().ravel()
    full = sparse.csr_array(matrix + sparse.diags_array(own))
    normalised = np.abs(rows[rows > 0] - 1).max() < EQUAL_WEIGHTS * 100
    if not normalised:
        return full
    return sparse.csr_array(sparse.diags_array(1 / np.where(rows > 0, rows + own, 1.0)) @ full)


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
