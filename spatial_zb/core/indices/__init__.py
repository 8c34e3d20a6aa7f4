"""Indices of agglomeration on arrays: of what does a unit have more than its share, and how unevenly is a sector spread?

Tables have units in rows and sectors in columns. Every formula has its home here once, with an example that can be checked
by hand; so have the checks of amounts, which the composite indices beside it use too. Tables with labels live in
:mod:`spatial_zb.indices`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spatial_zb.base.errors import DataError
from spatial_zb.base.text import Text

Floats = NDArray[np.float64]


def floats(values: ArrayLike, name: str) -> Floats:
    """Numbers; NaN stays, an infinite value is refused."""
    try:
        found = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise DataError(f"{name} must be numbers.", f"{name}须为数值。") from None
    refuse(np.isinf(found), Text(f"{name} holds an infinite value", f"{name}含无穷大值"))
    return found


def numbers(values: ArrayLike, name: str) -> Floats:
    """Numbers without blanks: an index over a set with holes is an index of another set."""
    found = floats(values, name)
    refuse(np.isnan(found), Text(f"{name} holds a blank cell", f"{name}含空缺值"))
    return found


def amounts(values: ArrayLike, name: str) -> Floats:
    """Numbers that are neither blank nor negative."""
    found = numbers(values, name)
    refuse(found < 0, Text(f"{name} holds a negative value", f"{name}含负值"))
    return found


def unit_table(values: ArrayLike, name: str) -> Floats:
    """A table of amounts, units in rows and sectors in columns."""
    table = amounts(values, name)
    if table.ndim != 2:
        raise DataError(
            f"{name} must have units in rows and sectors in columns, not the shape {table.shape}.",
            f"{name}须以地区为行、行业为列，而不是形状{table.shape}。",
        )
    return table


def refuse(wrong: ArrayLike, said: Text) -> None:
    """Raise with the number of wrong places and the first of them."""
    where = np.argwhere(np.atleast_1d(wrong))
    if len(where):
        at = ", ".join(str(position) for position in where[0])
        raise DataError(
            f"In {len(where)} place(s), the first at index {at}: {said.en}.",
            f"有{len(where)}处（首处下标{at}）：{said.zh}。",
        )


def shares_along(values: Floats, axis: int) -> Floats:
    """Shares along an axis; a sum of zero is refused."""
    total = values.sum(axis=axis, keepdims=True)
    refuse(total <= 0, Text("the total that shares are computed from is zero", "计算份额的合计为零"))
    return values / total


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
    part, total = floats(part, "part"), floats(total, "total")
    refuse(part < 0, Text("a part is negative", "部分为负"))
    refuse(total <= 0, Text("a total is not positive", "合计不为正"))
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
    amount, area = floats(amount, "amount"), floats(area, "area")
    refuse(amount < 0, Text("an amount is negative", "数量为负"))
    refuse(area <= 0, Text("an area is not positive", "面积不为正"))
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
    refuse(reference == 0, Text("the sector is absent from the reference region", "参照区域没有该行业"))
    return share(part, total) / reference


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
    return np.sum(shares_along(amounts(values, "values"), axis) ** 2, axis=axis)


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
    employment = unit_table(employment, "employment")
    total = employment.sum(axis=0) if reference is None else amounts(reference, "reference")
    return np.abs(shares_along(employment, 1) - shares_along(total, -1)).sum(axis=1)


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
