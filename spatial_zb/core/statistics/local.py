"""Local Moran, its bivariate form, and Getis-Ord G on arrays, and what they are where values are dealt at random.

For a given unit, local statistics are increasing or decreasing functions of its lag L_i = Σ_j w_ij y_j, so that one
reference distribution serves them all, the values of all *other* units dealt to its neighbours: tails by permutation, and
exact moments.

Anselin, L. (1995), Geographical Analysis 27: 93-115; Sokal, Oden & Thomson (1998), Geographical Analysis 30:
331-354; Ord & Getis (1995), Geographical Analysis 27: 286-306.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.core import Array
from spatial_zb.core.statistics import Alternative

#: Permutations drawn from one random stream. Part of the definition of the result, not a tuning knob.
BLOCK = 1_000
#: Numbers held at once in the kernel for unequal weights, few enough for a processor's cache; any value gives
#: the same result.
CHUNK = 800_000
#: Sums that differ by less than this, relative to their terms, are ties.
TIE = 1e-12
#: Weights of a row that differ by less than this, relative to the largest, are equal.
EQUAL_WEIGHTS = 1e-12
#: A conditional variance below this share of its terms is rounding: the lag cannot vary.
FLAT = 1e-12


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


# --- values dealt at random


@dataclass(frozen=True, slots=True)
class Tails:
    """How often the permuted lag of each unit was at least (``above``) or at most (``below``) the observed.

    ``above, below`` (n,) integers, ties in both; ``observed`` (n,) the lag; ``permutations`` behind each unit;
    ``alone`` (n,) True for units without neighbours, whose counts mean nothing.
    """

    observed: Array
    above: NDArray[np.int64]
    below: NDArray[np.int64]
    permutations: int
    alone: NDArray[np.bool_]

    @property
    def high(self) -> NDArray[np.bool_]:
        """(n,) whether the observed lag lies in the upper half of its permutations: the side that p-values are of."""
        return self.above < self.below

    def p_values(self, sign: Array | float, alternative: Alternative) -> Array:
        """p-values (n,) of a statistic that rises (sign > 0) or falls (sign < 0) with the lag; NaN if alone.

        (1 + count) / (1 + permutations), two-sided twice the smaller tail and at most one. Where the sign is
        zero the statistic does not depend on the lag at all: every permutation ties, and p is one.
        """
        if not self.permutations:
            return np.full(len(self.above), np.nan)
        sign = np.broadcast_to(sign, self.above.shape)
        high = np.where(sign > 0, self.above, np.where(sign < 0, self.below, self.permutations))
        low = np.where(sign > 0, self.below, np.where(sign < 0, self.above, self.permutations))
        counts = {"greater": high, "less": low, "two-sided": np.minimum(high, low)}[alternative]
        p = (1.0 + counts) / (1.0 + self.permutations)
        if alternative == "two-sided":
            p = np.minimum(1.0, 2 * p)
        return np.where(self.alone, np.nan, p)


def conditional_tails(
    values: Array, matrix: sparse.csr_array, permutations: int, seed: np.random.SeedSequence
) -> Tails:
    """Permute the values of all other units among the neighbours of each unit, and count both tails.

    Parameters
    ----------
    values
        (n,) y of L_i = Σ_j w_ij y_j.
    matrix
        W (n, n) with a zero diagonal.
    permutations
        Random deals; they are shared by all units.
    seed
        Its children seed blocks of :data:`BLOCK` permutations, so the counts do not depend on memory, order
        or number of workers.

    Notes
    -----
    A deal is K + 1 different units u_0 … u_K in random order, K the largest number of neighbours. A unit with
    k neighbours gets u_0 … u_{k-1}; where it is itself among them, u_k takes its place. Taking i out of a
    random order leaves a random order of the others, so this is exactly the conditional permutation. Rows
    with equal weights compare sums, and all of them with the same k share one sorted sample: only the deals
    that hold the unit itself, about a share k/n, are corrected one by one.
    """
    degrees = np.diff(matrix.indptr)
    equal = _equal_rows(matrix, degrees)
    unequal = (degrees > 0) & ~equal
    groups = [np.flatnonzero(unequal & (degrees == k)) for k in np.unique(degrees[unequal])]
    rows = _equal_sample(values, matrix, degrees, equal)
    observed = matrix @ values
    above, below = np.zeros(len(values), np.int64), np.zeros(len(values), np.int64)
    sums = []
    for deals in _blocks(len(values), int(degrees.max()) + 1, permutations, seed):
        drawn = values[deals]
        if len(rows.sizes):
            sums.append(np.cumsum(drawn, axis=1)[:, rows.sizes - 1].T)
            _correct_own(values, rows, (deals, drawn), sums[-1], (above, below))
        own = _dealt_to_themselves(deals, np.where(unequal, degrees, 0))
        for members in groups:
            _count_unequal(values, (matrix, observed), drawn, members, own, (above, below))
    if sums:
        _count_equal(rows, np.sort(np.concatenate(sums, axis=1), axis=1), (above, below))
    return Tails(observed, above, below, permutations, degrees == 0)


def conditional_moments(values: Array, matrix: sparse.csr_array) -> tuple[Array, Array]:
    """Exact mean and standard deviation (n,) of the lag under conditional permutation.

    E L_i = w_i. m_i and Var L_i = s_i² (N/(N−1)) (Σ_j w_ij² − w_i.²/N), m_i and s_i² the mean and variance of
    the N = n−1 other values (Sokal et al. 1998; the moments of Ord & Getis 1995). NaN for units without
    neighbours, and where the lag cannot vary (all others are neighbours with the same weight).
    """
    n = len(values)
    others = n - 1
    mean = (values.sum() - values) / others
    centred = values - values.mean()
    spread = (centred @ centred) / others - centred**2 / others - (centred / others) ** 2
    rows = np.asarray(matrix.sum(axis=1)).ravel()
    squares = np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel()
    room = squares - rows**2 / others
    variance = spread * room * others / (others - 1)
    flat = (room <= FLAT * squares) | (spread <= FLAT * (centred @ centred) / others)
    alone = np.diff(matrix.indptr) == 0
    return (
        np.where(alone, np.nan, rows * mean),
        np.sqrt(np.where(alone | flat, np.nan, np.maximum(variance, 0))),
    )


Totals = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class _EqualSample:
    """Rows with equal weights, compared by the plain sum of their neighbours' values.

    ``sizes`` (g,) the numbers of neighbours that occur; ``sample`` (n,) which of them a unit has, −1 for
    other rows; ``reach`` (n,) the number itself, 0 for other rows; ``low, high`` (n,) the observed sum less
    and plus what counts as a tie.
    """

    sizes: NDArray[np.intp]
    sample: NDArray[np.intp]
    reach: NDArray[np.intp]
    low: Array
    high: Array


def _equal_sample(values: Array, matrix: sparse.csr_array, degrees: NDArray, equal: NDArray) -> _EqualSample:
    sizes = np.unique(degrees[equal])
    links = sparse.csr_array((np.ones(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)
    total, slack = links @ values, TIE * degrees * np.abs(values).max()
    sample = np.where(equal, np.searchsorted(sizes, degrees), -1)
    return _EqualSample(sizes, sample, np.where(equal, degrees, 0), total - slack, total + slack)


def _correct_own(
    values: Array, rows: _EqualSample, deal: tuple[NDArray, Array], sums: Array, totals: Totals
) -> None:
    """Replace a unit's own value, where it was dealt to itself, by the next one drawn."""
    deals, drawn = deal
    own = _dealt_to_themselves(deals, rows.reach)
    unit, row = own.unit, own.row
    before = sums[rows.sample[unit], row]
    after = before - values[unit] + drawn[row, rows.reach[unit]]
    low, high = rows.low[unit], rows.high[unit]
    for total, then, now in (
        (totals[0], before >= low, after >= low),
        (totals[1], before <= high, after <= high),
    ):
        total += np.bincount(unit[now & ~then], minlength=len(values))
        total -= np.bincount(unit[then & ~now], minlength=len(values))


def _count_equal(rows: _EqualSample, sums: Array, totals: Totals) -> None:
    """Add the tails of the sorted samples ``sums`` (g, permutations)."""
    for number, sample in enumerate(sums):
        members = np.flatnonzero(rows.sample == number)
        members = members[np.argsort(rows.low[members])]  # searching in order is faster
        totals[0][members] += len(sample) - np.searchsorted(sample, rows.low[members], "left")
        totals[1][members] += np.searchsorted(sample, rows.high[members], "right")


@dataclass(frozen=True, slots=True)
class _Own:
    """Where a unit is among the values dealt to it: the deal, the place in it, and the unit, each (q,)."""

    row: NDArray[np.intp]
    place: NDArray[np.intp]
    unit: NDArray[np.intp]

    def among(self, members: NDArray[np.intp], n: int) -> _Own:
        """Those of some of the n units, which are numbered as in ``members``, in the order of units."""
        number = np.full(n, -1)
        number[members] = np.arange(len(members))
        unit = number[self.unit]
        mine = np.flatnonzero(unit >= 0)
        mine = mine[np.argsort(unit[mine], kind="stable")]
        return _Own(self.row[mine], self.place[mine], unit[mine])

    def between(self, start: int, stop: int) -> _Own:
        """Those of units ``start`` to ``stop``, numbered from there; self must be in the order of units."""
        part = slice(*np.searchsorted(self.unit, [start, stop]))
        return _Own(self.row[part], self.place[part], self.unit[part] - start)


def _dealt_to_themselves(deals: NDArray, reach: NDArray) -> _Own:
    """Look for units among the first ``reach`` (n,) places of deals (permutations, K + 1)."""
    row, place = np.nonzero(np.arange(deals.shape[1]) < reach[deals])
    return _Own(row, place, deals[row, place])


def _count_unequal(
    values: Array,
    lag: tuple[sparse.csr_array, Array],
    drawn: Array,
    members: NDArray[np.intp],
    own: _Own,
    totals: Totals,
) -> None:
    """Tails of rows with unequal weights and the same number of neighbours.

    A matrix product in single precision settles all units but those for which some deal comes as near to the
    observed lag as its rounding; these are counted in double precision, so that the counts are exact.
    """
    matrix, observed = lag
    k = int(matrix.indptr[members[0] + 1] - matrix.indptr[members[0]])
    centre = values.mean()
    reach = np.abs(values - centre).max() or 1.0
    single = _Single(((drawn[:, : k + 1] - centre) / reach).astype(np.float32), centre, reach)
    doubtful = [members[:0]]
    mine = own.among(members, len(values))
    done = 0
    for part in _parts(members, max(len(drawn), k)):
        rows = _unequal_rows(matrix, observed, part, k)
        above, sure = _count_single(single, rows, mine.between(done, done + len(part)))
        done += len(part)
        totals[0][part[sure]] += above[sure]
        totals[1][part[sure]] += len(drawn) - above[sure]
        doubtful.append(part[~sure])
    for part in _parts(np.concatenate(doubtful), max(len(drawn), k)):
        rows = _unequal_rows(matrix, observed, part, k)
        tails = _count_double(values, drawn, rows, own.among(part, len(values)))
        for total, found in zip(totals, tails, strict=True):
            total[part] += found


@dataclass(frozen=True, slots=True)
class _UnequalRows:
    """``weights`` (m, k) of rows with k neighbours, their ``observed`` lags (m,) and Σ|w_ij| ``size`` (m,)."""

    weights: Array
    observed: Array
    size: Array


def _unequal_rows(
    matrix: sparse.csr_array, observed: Array, members: NDArray[np.intp], k: int
) -> _UnequalRows:
    weights = matrix.data[matrix.indptr[members][:, None] + np.arange(k)]
    return _UnequalRows(weights, observed[members], np.abs(weights).sum(axis=1))


@dataclass(frozen=True, slots=True)
class _Single:
    """``drawn`` (permutations, k + 1) values in single precision, less their ``centre``, over their ``reach``."""

    drawn: NDArray[np.float32]
    centre: float
    reach: float


def _count_single(
    single: _Single, rows: _UnequalRows, own: _Own
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Deals (m,) whose lag is above the observed, and whether rounding leaves no doubt about any of them.

    Scaled as they are, terms are at most one in size and one threshold serves all rows.
    """
    k = rows.weights.shape[1]
    scaled = (rows.weights / rows.size[:, None]).T.astype(np.float32)
    lags = single.drawn[:, :k] @ scaled
    row, place, unit = own.row, own.place, own.unit
    lags[row, unit] += scaled[place, unit] * (single.drawn[row, k] - single.drawn[row, place])
    observed = (rows.observed - rows.weights.sum(axis=1) * single.centre) / (rows.size * single.reach)
    doubt = 4 * (k + 8) * np.finfo(np.float32).eps
    above = _true_by_column(lags > (observed + doubt).astype(np.float32))
    return above, above == _true_by_column(lags > (observed - doubt).astype(np.float32))


def _count_double(
    values: Array, drawn: Array, rows: _UnequalRows, own: _Own
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Deals (m,) whose lag is at least and at most the observed, ties in both."""
    k = rows.weights.shape[1]
    lags = drawn[:, :k] @ rows.weights.T
    row, place, unit = own.row, own.place, own.unit
    lags[row, unit] += rows.weights[unit, place] * (drawn[row, k] - drawn[row, place])
    slack = TIE * rows.size * np.abs(values).max()
    return (
        _true_by_column(lags >= rows.observed - slack),
        _true_by_column(lags <= rows.observed + slack),
    )


def _true_by_column(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of True in each column; single bytes are added, which is faster than counting along an axis."""
    parts = [mask[start : start + 255].view(np.uint8) for start in range(0, len(mask), 255)]
    return np.sum([part.sum(axis=0, dtype=np.uint8) for part in parts], axis=0, dtype=np.int64)


def _equal_rows(matrix: sparse.csr_array, degrees: NDArray) -> NDArray[np.bool_]:
    """Rows that have neighbours, all with the same weight."""
    equal = degrees > 0
    starts = matrix.indptr[:-1][equal]
    high, low = np.maximum.reduceat(matrix.data, starts), np.minimum.reduceat(matrix.data, starts)
    equal[equal] = high - low <= EQUAL_WEIGHTS * high
    return equal


def _parts(members: NDArray[np.intp], width: int) -> list[NDArray[np.intp]]:
    step = max(1, CHUNK // max(width, 1))
    return [members[start : start + step] for start in range(0, len(members), step)]


def _blocks(n: int, size: int, permutations: int, seed: np.random.SeedSequence) -> Iterator[NDArray]:
    """Deals in blocks, (≤ BLOCK, size); the seed is left as it was, so that a second call deals the same."""
    fresh = np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key, pool_size=seed.pool_size)
    starts = range(0, permutations, BLOCK)
    for start, child in zip(starts, fresh.spawn(len(starts)), strict=True):
        yield deal(n, size, min(BLOCK, permutations - start), np.random.default_rng(child))


def deal(n: int, size: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``count`` times ``size`` different units out of n in random order, (count, size)."""
    if size * size > n:
        return rng.permuted(np.broadcast_to(np.arange(n), (count, n)), axis=1)[:, :size]
    deals = rng.integers(n, size=(count, size))
    again = np.arange(count)
    while True:  # a row with a repeat is drawn anew, which leaves rows without repeats equally likely
        ordered = np.sort(deals[again], axis=1)
        again = again[(ordered[:, 1:] == ordered[:, :-1]).any(axis=1)]
        if not len(again):
            return deals
        deals[again] = rng.integers(n, size=(len(again), size))
