"""Indices of concentration as functions on arrays: how unevenly is a sector, or any amount, spread over units?

Every formula has its home here once; the examples in the docstrings can be checked by hand and are tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from spatial_zb.base.errors import DataError
from spatial_zb.base.text import Text
from spatial_zb.core.indices.specialisation import Floats, amounts, refuse, shares_along, unit_table


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
    employment = unit_table(employment, "employment")
    shares = shares_along(employment, 0)
    spread = _reference_shares(employment, reference)
    refuse(spread == 0, Text("a unit has no employment in the reference", "有地区在参照中没有就业"))
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
    employment = unit_table(employment, "employment")
    spread = _reference_shares(employment, reference)
    lumpiness = _plant_hhi(plant_hhi, employment.shape[1])
    unevenness = np.sum((shares_along(employment, 0) - spread[:, None]) ** 2, axis=0)
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
    employment = unit_table(employment, "employment")
    if employment.shape[1] < 2:
        raise DataError("Co-agglomeration needs at least two sectors.", "协同集聚至少需要两个行业。")
    lumpiness = _plant_hhi(plant_hhi, employment.shape[1])
    spread = _reference_shares(employment, reference)
    size = shares_along(employment.sum(axis=0), -1)
    gamma = ellison_glaeser(employment, lumpiness, spread)
    unevenness = np.sum((shares_along(employment.sum(axis=1), -1) - spread) ** 2)
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
    shares = shares_along(unit_table(employment, "employment"), 0)
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
    values = amounts(values, "values").ravel()
    population = np.ones_like(values) if population is None else amounts(population, "population").ravel()
    labels = (
        np.zeros(values.size, int)
        if groups is None
        else np.unique([str(g) for g in groups], return_inverse=True)[1]
    )
    if not values.size == population.size == labels.size:
        raise DataError(
            f"{values.size} values, {population.size} populations and {labels.size} groups do not match.",
            f"取值{values.size}个，人口{population.size}个，分组{labels.size}个，数目不一致。",
        )
    refuse(population <= 0, Text("a population is not positive", "人口不为正"))
    total = _divergence(shares_along(values, -1), shares_along(population, -1))
    of_groups = [np.bincount(labels, amount).astype(float) for amount in (values, population)]
    between = _divergence(*(shares_along(sums, -1) for sums in of_groups))
    return Theil(total, between, total - between)


def _divergence(shares: Floats, expected: Floats) -> float:
    some = shares > 0  # s ln s tends to 0 with s
    return float(np.sum(shares[some] * np.log(shares[some] / expected[some])))


# --- checks ----------------------------------------------------------------------------------------------


def _reference_shares(employment: Floats, reference: ArrayLike | None) -> Floats:
    total = employment.sum(axis=1) if reference is None else amounts(reference, "reference")
    if total.shape != employment.shape[:1]:
        raise DataError(
            f"The reference has the shape {total.shape}, but there are {len(employment)} units.",
            f"参照的形状为{total.shape}，而地区有{len(employment)}个。",
        )
    return shares_along(total, -1)


def _plant_hhi(plant_hhi: ArrayLike, sectors: int) -> Floats:
    lumpiness = np.atleast_1d(amounts(plant_hhi, "plant_hhi"))
    if lumpiness.shape != (sectors,):
        raise DataError(
            f"{sectors} sectors need as many plant indices, not the shape {lumpiness.shape}.",
            f"{sectors}个行业须有同样多的企业指数，而不是形状{lumpiness.shape}。",
        )
    refuse(
        lumpiness >= 1,
        Text(
            "a plant index is not below 1, so the sector is a single plant",
            "企业指数不小于1，即该行业只有一家企业",
        ),
    )
    return lumpiness


def _room(spread: Floats) -> float:
    """``1 - Σx²``: zero where one unit has everything, the highest possible concentration."""
    room = 1.0 - float(np.sum(spread**2))
    if room <= 0:
        raise DataError(
            "All of the reference is in one unit; concentration against it is not defined.",
            "参照全部集中在一个地区，相对于它的集中度没有定义。",
        )
    return room
