"""Agglomeration indices as functions on arrays: who has more than its share, and of what.

Every formula has its home here once; the examples in the docstrings can be checked by hand and are tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spatial_zb.errors import DataError, SpecificationError
from spatial_zb.text import Text

__all__ = [
    "COORDINATION_GRADES",
    "CouplingCoordination",
    "EntropyWeights",
    "Theil",
    "coordination_grade",
    "coupling_coordination",
    "density",
    "ellison_glaeser",
    "ellison_glaeser_coagglomeration",
    "entropy_weights",
    "hhi",
    "krugman_specialisation",
    "location_quotient",
    "locational_gini",
    "pairwise_coagglomeration",
    "share",
    "theil",
    "topsis",
]

Floats = NDArray[np.float64]
Direction = Literal["more", "less"]


# --- shares ------------------------------------------------------------------------------------------------


def share(part: ArrayLike, total: ArrayLike) -> Floats:
    """Part of a total, ``part / total``.

    Parameters
    ----------
    part, total : array_like, same unit of measurement
        Broadcast against each other; NaN stays NaN.

    Raises
    ------
    DataError
        A part is negative or a total is not positive.

    Examples
    --------
    >>> share([20.0, 30.0], [100.0, 60.0])
    array([0.2, 0.5])
    """
    part, total = _floats(part, "part"), _floats(total, "total")
    _refuse(part < 0, "a part is negative")
    _refuse(total <= 0, "a total is not positive")
    return part / total


def density(amount: ArrayLike, area: ArrayLike) -> Floats:
    """Amount per unit of area, ``amount / area``; in km² this is the usual employment density.

    Raises
    ------
    DataError
        An amount is negative or an area is not positive.

    Examples
    --------
    >>> density([500.0, 300.0], [250.0, 100.0])
    array([2., 3.])
    """
    amount, area = _floats(amount, "amount"), _floats(area, "area")
    _refuse(amount < 0, "an amount is negative")
    _refuse(area <= 0, "an area is not positive")
    return amount / area


def location_quotient(part: ArrayLike, total: ArrayLike, ref_part: ArrayLike, ref_total: ArrayLike) -> Floats:
    """Location quotient: share of a sector in a unit over its share in the reference region.

    ``LQ_ij = (e_ij / e_i) / (E_j / E)``. Above 1: the unit has more of the sector than the reference region.

    Parameters
    ----------
    part, total : array_like
        Of the unit: the sector and all sectors. NaN stays NaN.
    ref_part, ref_total : array_like
        Of the reference region, shaped to broadcast: for units in columns and periods in rows, (T, 1).

    Raises
    ------
    DataError
        A part is negative, or a total or a reference value is not positive.

    References
    ----------
    Florence, P. S. (1939). Report on the Location of Industry. Political and Economic Planning, London.

    Examples
    --------
    A city with 20 of 100 employees in the sector, in a country with 10 of 100; and one with 5 of 100.

    >>> location_quotient([20.0, 5.0], [100.0, 100.0], 10.0, 100.0)
    array([2. , 0.5])
    """
    reference = share(ref_part, ref_total)
    _refuse(reference == 0, "the sector is absent from the reference region")
    return share(part, total) / reference


# --- concentration and specialisation ----------------------------------------------------------------------


def hhi(values: ArrayLike, axis: int = -1) -> Floats:
    """Herfindahl-Hirschman index ``Σ_i s_i²`` of the shares along one axis, from 1/n (even) to 1.

    Raises
    ------
    DataError
        A value is negative or not a number, or a sum is zero.

    References
    ----------
    Hirschman, A. O. (1964). The paternity of an index. American Economic Review 54(5), 761-762.

    Examples
    --------
    >>> hhi([50.0, 30.0, 20.0]).round(4)
    np.float64(0.38)
    """
    return np.sum(_shares(_whole(values, "values"), axis) ** 2, axis=axis)


def krugman_specialisation(employment: ArrayLike, reference: ArrayLike | None = None) -> Floats:
    """Krugman's specialisation of each unit, ``K_i = Σ_j |s_ij - s_j|``, from 0 (like the rest) towards 2.

    ``s_ij = e_ij / e_i`` is the share of sector j in unit i, ``s_j`` its share in the reference region.

    Parameters
    ----------
    employment : array_like (n, m)
        Units in rows, sectors in columns.
    reference : array_like (m,), optional
        Employment of the reference region by sector. Default: the sum of the units.

    Returns
    -------
    array (n,)

    Raises
    ------
    DataError
        A value is negative or not a number, or a unit has no employment.

    References
    ----------
    Krugman, P. (1991). Geography and Trade. MIT Press, 75-76.

    Examples
    --------
    Shares (0.8, 0.2) and (0.2, 0.8) against (0.5, 0.5):

    >>> krugman_specialisation([[80.0, 20.0], [20.0, 80.0]])
    array([0.6, 0.6])
    """
    employment = _table(employment, "employment")
    total = employment.sum(axis=0) if reference is None else _whole(reference, "reference")
    return np.abs(_shares(employment, 1) - _shares(total, -1)).sum(axis=1)


def locational_gini(employment: ArrayLike, reference: ArrayLike | None = None) -> Floats:
    """Locational Gini of each sector, from 0 (spread like the reference) towards 1 (all in one small unit).

    Units are sorted by ``s_i / x_i`` (share of the sector over share of the reference); the index is one less
    twice the area under the curve of cumulated s over cumulated x:
    ``G = 1 - Σ_i (X_i - X_{i-1})(S_i + S_{i-1})``.

    Parameters
    ----------
    employment : array_like (n, m)
        Units in rows, sectors in columns.
    reference : array_like (n,), optional
        What an even spread means, by unit. Default: the sum over the sectors.

    Returns
    -------
    array (m,)

    Raises
    ------
    DataError
        A value is negative or not a number, a sector is empty, or a unit has no reference.

    References
    ----------
    Krugman, P. (1991). Geography and Trade. MIT Press, chapter 2.

    Examples
    --------
    A sector wholly in one of two equal units: the curve is (0, 0), (0.5, 0), (1, 1), the area under it 0.25.

    >>> locational_gini([[0.0], [10.0]], reference=[50.0, 50.0])
    array([0.5])
    """
    employment = _table(employment, "employment")
    shares = _shares(employment, 0)
    spread = _reference_shares(employment, reference)
    _refuse(spread == 0, "a unit has no employment in the reference")
    order = np.argsort(shares / spread[:, None], axis=0, kind="stable")
    heights = np.cumsum(np.take_along_axis(shares, order, axis=0), axis=0)
    before = np.vstack([np.zeros(shares.shape[1]), heights[:-1]])
    return 1.0 - np.sum(spread[order] * (heights + before), axis=0)


def ellison_glaeser(
    employment: ArrayLike, plant_hhi: ArrayLike, reference: ArrayLike | None = None
) -> Floats:
    """Ellison-Glaeser concentration of each sector beyond what the lumpiness of its plants explains.

    ``γ = [G - (1 - Σx²) H] / [(1 - Σx²)(1 - H)]`` with ``G = Σ_i (s_i - x_i)²``. Expected value 0 where
    plants choose places at random; above 0.05 is called highly concentrated.

    Parameters
    ----------
    employment : array_like (n, m)
        Units in rows, sectors in columns.
    plant_hhi : array_like (m,)
        H, Herfindahl index of plant sizes of each sector, below 1.
    reference : array_like (n,), optional
        Employment that gives the shares x. Default: the sum over the sectors.

    Returns
    -------
    array (m,)

    Raises
    ------
    DataError
        A value is negative or not a number, a sector is empty, H is outside [0, 1), or all of the reference
        is in one unit.

    References
    ----------
    Ellison, G., Glaeser, E. L. (1997). Geographic concentration in U.S. manufacturing industries: a dartboard
    approach. Journal of Political Economy 105(5), 889-927.

    Examples
    --------
    s = (0.8, 0.2), x = (0.5, 0.5): G = 0.18, 1 - Σx² = 0.5, H = 0.1, so γ = (0.18 - 0.05) / 0.45.

    >>> ellison_glaeser([[80.0], [20.0]], [0.1], reference=[50.0, 50.0]).round(4)
    array([0.2889])
    """
    employment = _table(employment, "employment")
    spread = _reference_shares(employment, reference)
    lumpiness = _plant_hhi(plant_hhi, employment.shape[1])
    unevenness = np.sum((_shares(employment, 0) - spread[:, None]) ** 2, axis=0)
    room = _room(spread)
    return (unevenness - room * lumpiness) / (room * (1.0 - lumpiness))


def ellison_glaeser_coagglomeration(
    employment: ArrayLike, plant_hhi: ArrayLike, reference: ArrayLike | None = None
) -> float:
    """Ellison-Glaeser co-agglomeration of a group of sectors, beyond the concentration of each of them.

    ``γ_c = [G/(1 - Σx²) - H - Σ_j γ_j w_j² (1 - H_j)] / (1 - Σ_j w_j²)`` with w_j the share of sector j in
    the group, G the raw concentration of the whole group and ``H = Σ_j w_j² H_j``.

    Parameters
    ----------
    employment : array_like (n, m)
        Units in rows, the m >= 2 sectors of the group in columns.
    plant_hhi : array_like (m,)
        Herfindahl index of plant sizes of each sector.
    reference : array_like (n,), optional
        Employment that gives the shares x. Default: the sum over the sectors.

    Raises
    ------
    DataError
        As :func:`ellison_glaeser`; also for fewer than two sectors.

    References
    ----------
    Ellison and Glaeser (1997), Journal of Political Economy 105(5).

    Examples
    --------
    Two sectors of one size in the same place: s = (1, 0) both, x = (0.5, 0.5), so the pair has
    ``Σ(s - x)² / (1 - Σx²) = 0.5 / 0.5``.

    >>> round(ellison_glaeser_coagglomeration([[10.0, 10.0], [0.0, 0.0]], [0.1, 0.1], [50.0, 50.0]), 6)
    1.0
    """
    employment = _table(employment, "employment")
    if employment.shape[1] < 2:
        raise DataError("Co-agglomeration needs at least two sectors.")
    lumpiness = _plant_hhi(plant_hhi, employment.shape[1])
    spread = _reference_shares(employment, reference)
    size = _shares(employment.sum(axis=0), -1)
    gamma = ellison_glaeser(employment, lumpiness, spread)
    unevenness = np.sum((_shares(employment.sum(axis=1), -1) - spread) ** 2)
    own = np.sum(size**2 * lumpiness) + np.sum(gamma * size**2 * (1.0 - lumpiness))
    return float((unevenness / _room(spread) - own) / (1.0 - np.sum(size**2)))


def pairwise_coagglomeration(employment: ArrayLike, reference: ArrayLike | None = None) -> Floats:
    """Co-agglomeration of every pair of sectors, ``Σ_i (s_ij - x_i)(s_ik - x_i) / (1 - Σ_i x_i²)``.

    Parameters
    ----------
    employment : array_like (n, m)
        Units in rows, sectors in columns.
    reference : array_like (n,), optional
        Employment that gives the shares x. Default: mean share of the sectors in each unit, as in the source.

    Returns
    -------
    array (m, m)
        Symmetric; the diagonal is the raw concentration of each sector in the same units.

    Raises
    ------
    DataError
        A value is negative or not a number, a sector is empty, or all of the reference is in one unit.

    References
    ----------
    Ellison, G., Glaeser, E. L., Kerr, W. R. (2010). What causes industry agglomeration? American Economic
    Review 100(3), 1195-1213.

    Examples
    --------
    s = (1, 0) and (0, 1), x = (0.5, 0.5): the products sum to -0.5, over 0.5.

    >>> pairwise_coagglomeration([[1.0, 0.0], [0.0, 1.0]])
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    shares = _shares(_table(employment, "employment"), 0)
    spread = shares.mean(axis=1) if reference is None else _reference_shares(shares, reference)
    apart = shares - spread[:, None]
    return apart.T @ apart / _room(spread)


@dataclass(frozen=True, slots=True)
class Theil:
    """Theil index of unevenness and its parts between and within groups (``total = between + within``)."""

    total: float
    between: float
    within: float


def theil(
    values: ArrayLike, population: ArrayLike | None = None, groups: Sequence[object] | None = None
) -> Theil:
    """Theil's T, ``Σ_i s_i ln(s_i / p_i)``: 0 where every unit has its share of the population.

    s and p are shares of the values and of the population. Between groups the same formula with the groups'
    shares; within: ``Σ_g S_g T_g``.

    Parameters
    ----------
    values, population : array_like (n,)
        Population default: one for every unit.
    groups : sequence (n,), optional
        Default: one group.

    Raises
    ------
    DataError
        A value is negative or not a number, a sum is zero, a population is not positive, or lengths differ.

    References
    ----------
    Theil, H. (1967). Economics and Information Theory. North-Holland.

    Examples
    --------
    All of it in one of two units: ln 2.

    >>> round(theil([10.0, 0.0]).total, 4)
    0.6931
    """
    values = _whole(values, "values").ravel()
    population = np.ones_like(values) if population is None else _whole(population, "population").ravel()
    labels = (
        np.zeros(values.size, int)
        if groups is None
        else np.unique([str(g) for g in groups], return_inverse=True)[1]
    )
    if not values.size == population.size == labels.size:
        raise DataError(
            f"{values.size} values, {population.size} populations and {labels.size} groups do not match."
        )
    _refuse(population <= 0, "a population is not positive")
    total = _divergence(_shares(values, -1), _shares(population, -1))
    between = _divergence(
        _shares(np.bincount(labels, values), -1), _shares(np.bincount(labels, population), -1)
    )
    return Theil(total, between, total - between)


def _divergence(shares: Floats, expected: Floats) -> float:
    some = shares > 0  # s ln s tends to 0 with s
    return float(np.sum(shares[some] * np.log(shares[some] / expected[some])))


# --- composite indices -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EntropyWeights:
    """Weights of indicators by the spread of their values, and the index they make.

    Attributes
    ----------
    weights : array (p,)
        Sum to 1.
    entropy : array (p,)
        e_j, at most 1.
    scores : array, shape of the values without the last axis
        Weighted sum of the indicators scaled to [0, 1].
    zeros : array (p,)
        Number of scaled values that are 0, where p ln p is taken as its limit 0.
    """

    weights: Floats
    entropy: Floats
    scores: Floats
    zeros: NDArray[np.int64]


def entropy_weights(
    values: ArrayLike, directions: Sequence[Direction] | None = None, *, shift: float = 0.0
) -> EntropyWeights:
    """Weigh indicators by entropy, with all units and periods pooled so that years can be compared.

    Scaled to [0, 1] over the pool, ``p_ij = z_ij / Σ_i z_ij``, ``e_j = -(1/ln N) Σ_i p_ij ln p_ij``,
    ``w_j = (1 - e_j) / Σ_j (1 - e_j)``; score ``Σ_j w_j z_ij``.

    Parameters
    ----------
    values : array_like (..., p)
        Indicators along the last axis, for a panel (T, n, p).
    directions : sequence of "more" | "less", optional
        Whether more of an indicator is better. Default: all "more".
    shift : float
        Added to the scaled values before p is formed, as some authors do; 0 uses the limit of p ln p.

    Raises
    ------
    DataError
        A value is not a number, an indicator is constant, or there are fewer than two rows.
    SpecificationError
        A direction is unknown, their number is wrong, or the shift is negative.

    References
    ----------
    Shannon, C. E. (1948). A mathematical theory of communication. Bell System Technical Journal 27, 379-423;
    Zeleny, M. (1982). Multiple Criteria Decision Making. McGraw-Hill.

    Examples
    --------
    Scaled columns (0, 1, 1) and (0, 0, 1): entropies ln 2/ln 3 = 0.6309 and 0.

    >>> result = entropy_weights([[0.0, 0.0], [2.0, 0.0], [2.0, 5.0]])
    >>> result.entropy.round(4), result.weights.round(4)
    (array([0.6309, 0.    ]), array([0.2696, 0.7304]))
    """
    values = _numbers(values, "values")
    if shift < 0:
        raise SpecificationError(f"shift must not be negative, not {shift}.")
    pool = _scaled(values.reshape(-1, values.shape[-1]), directions)
    parts = _shares(pool + shift, 0)
    logs = np.log(parts, out=np.zeros_like(parts), where=parts > 0)
    entropy = np.abs(-np.sum(parts * logs, axis=0) / np.log(len(parts)))
    spread = 1.0 - entropy
    weights = spread / spread.sum()
    return EntropyWeights(
        weights, entropy, (pool @ weights).reshape(values.shape[:-1]), np.sum(pool == 0, axis=0)
    )


def topsis(values: ArrayLike, weights: ArrayLike, directions: Sequence[Direction] | None = None) -> Floats:
    """Closeness to the ideal, ``C_i = d⁻ / (d⁺ + d⁻)``, from 0 (worst in all) to 1 (best in all).

    Indicators are divided by their root sum of squares over the pool and weighted; d⁺ and d⁻ are the
    Euclidean distances to the best and the worst value of each indicator.

    Parameters
    ----------
    values : array_like (..., p)
        Indicators along the last axis; all other axes are pooled.
    weights : array_like (p,)
        Not negative; scaled to sum 1.
    directions : sequence of "more" | "less", optional
        Default: all "more".

    Returns
    -------
    array, shape of the values without the last axis

    Raises
    ------
    DataError
        A value is not a number, an indicator is constant, or there are fewer than two rows.
    SpecificationError
        A direction is unknown, or the number of directions or weights is wrong.

    References
    ----------
    Hwang, C.-L., Yoon, K. (1981). Multiple Attribute Decision Making. Springer.

    Examples
    --------
    The first is best in both, the last worst in both, the middle one half way.

    >>> topsis([[4.0, 8.0], [3.0, 6.0], [2.0, 4.0]], [0.5, 0.5])
    array([1. , 0.5, 0. ])
    """
    values = _numbers(values, "values")
    pool = values.reshape(-1, values.shape[-1])
    weights = _whole(weights, "weights")
    if weights.shape != pool.shape[1:]:
        raise SpecificationError(f"{pool.shape[1]} indicators need as many weights, not {weights.size}.")
    sign = _signs(directions, pool.shape[1])
    _refuse_constant(pool)
    weighted = sign * _shares(weights, -1) * pool / np.sqrt(np.sum(pool**2, axis=0))
    to_best = np.linalg.norm(weighted - weighted.max(axis=0), axis=1)
    to_worst = np.linalg.norm(weighted - weighted.min(axis=0), axis=1)
    return (to_worst / (to_best + to_worst)).reshape(values.shape[:-1])


@dataclass(frozen=True, slots=True)
class CouplingCoordination:
    """Coupling C, joint level T and coordination D of two systems, each with the shape of the inputs."""

    coupling: Floats
    level: Floats
    coordination: Floats


def coupling_coordination(first: ArrayLike, second: ArrayLike, *, alpha: float = 0.5) -> CouplingCoordination:
    """Coupling coordination of two indices in [0, 1].

    ``C = 2 √(U₁U₂) / (U₁ + U₂)``, ``T = α U₁ + (1 - α) U₂``, ``D = √(C T)``.

    Parameters
    ----------
    first, second : array_like, same shape
        U₁ and U₂, for example scores of :func:`entropy_weights`. Both 0 gives C = D = 0.
    alpha : float
        Weight of the first system.

    Raises
    ------
    DataError
        An index is outside [0, 1] or not a number, or the shapes differ.
    SpecificationError
        alpha is outside [0, 1].

    References
    ----------
    Liao, C. (1999). Quantitative judgement and classification system for coordinated development of
    environment and economy. Tropical Geography 19(2), 171-177 (廖重斌, 热带地理).

    Examples
    --------
    0.64 and 0.16: C = 2 · 0.32 / 0.8 = 0.8, T = 0.4, D = √0.32.

    >>> result = coupling_coordination([0.64], [0.16])
    >>> result.coupling.round(4), result.level.round(4), result.coordination.round(4)
    (array([0.8]), array([0.4]), array([0.5657]))
    """
    first, second = _numbers(first, "first"), _numbers(second, "second")
    if first.shape != second.shape:
        raise DataError(f"The two indices have different shapes, {first.shape} and {second.shape}.")
    if not 0 <= alpha <= 1:
        raise SpecificationError(f"alpha must be between 0 and 1, not {alpha}.")
    _refuse((first < 0) | (first > 1) | (second < 0) | (second > 1), "an index lies outside 0 to 1")
    both = first + second
    coupling = np.divide(2 * np.sqrt(first * second), both, out=np.zeros_like(both), where=both > 0)
    level = alpha * first + (1 - alpha) * second
    return CouplingCoordination(coupling, level, np.sqrt(coupling * level))


# Liao (1999), ten grades of equal width; each with its lower bound.
COORDINATION_GRADES: tuple[tuple[float, Text], ...] = (
    (0.0, Text("extreme imbalance", "极度失调")),
    (0.1, Text("severe imbalance", "严重失调")),
    (0.2, Text("moderate imbalance", "中度失调")),
    (0.3, Text("mild imbalance", "轻度失调")),
    (0.4, Text("near imbalance", "濒临失调")),
    (0.5, Text("barely coordinated", "勉强协调")),
    (0.6, Text("primary coordination", "初级协调")),
    (0.7, Text("intermediate coordination", "中级协调")),
    (0.8, Text("good coordination", "良好协调")),
    (0.9, Text("high-quality coordination", "优质协调")),
)


def coordination_grade(coordination: float) -> Text:
    """Name the grade of a coordination degree in [0, 1]; a bound belongs to the grade above it.

    Raises
    ------
    DataError
        The degree is outside [0, 1] or not a number.

    Examples
    --------
    >>> coordination_grade(0.5657).en
    'barely coordinated'
    """
    if not 0 <= coordination <= 1:
        raise DataError(f"A coordination degree lies between 0 and 1, not {coordination}.")
    return [words for bound, words in COORDINATION_GRADES if coordination >= bound][-1]


# --- checks ------------------------------------------------------------------------------------------------


def _floats(values: ArrayLike, name: str) -> Floats:
    try:
        floats = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise DataError(f"{name} must be numbers.") from None
    _refuse(np.isinf(floats), f"{name} holds an infinite value")
    return floats


def _numbers(values: ArrayLike, name: str) -> Floats:
    """Numbers without blanks: an index over a set with holes is an index of another set."""
    floats = _floats(values, name)
    _refuse(np.isnan(floats), f"{name} holds a blank cell")
    return floats


def _whole(values: ArrayLike, name: str) -> Floats:
    floats = _numbers(values, name)
    _refuse(floats < 0, f"{name} holds a negative value")
    return floats


def _table(values: ArrayLike, name: str) -> Floats:
    table = _whole(values, name)
    if table.ndim != 2:
        raise DataError(
            f"{name} must have units in rows and sectors in columns, not the shape {table.shape}."
        )
    return table


def _refuse(wrong: ArrayLike, said: str) -> None:
    where = np.argwhere(np.atleast_1d(wrong))
    if len(where):
        at = ", ".join(str(position) for position in where[0])
        raise DataError(f"In {len(where)} place(s), the first at index {at}: {said}.")


def _shares(values: Floats, axis: int) -> Floats:
    total = values.sum(axis=axis, keepdims=True)
    _refuse(total <= 0, "a sum that shares are taken of is zero")
    return values / total


def _reference_shares(employment: Floats, reference: ArrayLike | None) -> Floats:
    total = employment.sum(axis=1) if reference is None else _whole(reference, "reference")
    if total.shape != employment.shape[:1]:
        raise DataError(f"The reference has the shape {total.shape}, but there are {len(employment)} units.")
    return _shares(total, -1)


def _plant_hhi(plant_hhi: ArrayLike, sectors: int) -> Floats:
    lumpiness = np.atleast_1d(_whole(plant_hhi, "plant_hhi"))
    if lumpiness.shape != (sectors,):
        raise DataError(f"{sectors} sectors need as many plant indices, not the shape {lumpiness.shape}.")
    _refuse(lumpiness >= 1, "a plant index is not below 1, so the sector is a single plant")
    return lumpiness


def _room(spread: Floats) -> float:
    """``1 - Σx²``: zero where one unit has everything and nothing can be more concentrated."""
    room = 1.0 - float(np.sum(spread**2))
    if room <= 0:
        raise DataError("All of the reference is in one unit; concentration against it is not defined.")
    return room


def _signs(directions: Sequence[Direction] | None, count: int) -> Floats:
    directions = ["more"] * count if directions is None else list(directions)
    unknown = sorted({str(word) for word in directions} - {"more", "less"})
    if unknown or len(directions) != count:
        raise SpecificationError(
            f"directions must be {count} words, each 'more' or 'less', not {list(directions)!r}."
        )
    return np.array([1.0 if word == "more" else -1.0 for word in directions])


def _refuse_constant(pool: Floats) -> None:
    if len(pool) < 2:
        raise DataError("An index needs at least two rows to compare.")
    _refuse(np.ptp(pool, axis=0) == 0, "an indicator is constant and tells nothing apart")


def _scaled(pool: Floats, directions: Sequence[Direction] | None) -> Floats:
    """Indicators on [0, 1] over all rows, 1 the best."""
    sign = _signs(directions, pool.shape[1])
    _refuse_constant(pool)
    scaled = (pool - pool.min(axis=0)) / np.ptp(pool, axis=0)
    return np.where(sign > 0, scaled, 1.0 - scaled)
