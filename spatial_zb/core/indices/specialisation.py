"""Specialisation indices on arrays (does a unit have more than its share?), and checks of amounts for all indices.

Indices of specialisation as functions on arrays: of what does a unit have more than its share?

Every formula has its home here once; the examples in the docstrings can be checked by hand and are tests.
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
