"""Tables of employment by unit and sector, read along the rows: of what does a unit have more than its share?"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from spatial_zb.base.errors import DataError, listed, listed_zh, not_one_of
from spatial_zb.base.text import Text
from spatial_zb.core import indices as arrays
from spatial_zb.indices.tables import (
    PERIOD,
    UNIT_TOTAL,
    along,
    amounts_table,
    by_period,
    employment_table,
    matched,
    numeric_series,
    periods_of,
    row_label,
)


def shares(employment: pd.DataFrame, total: str | None = None) -> pd.DataFrame:
    """Share of every sector in its unit, s_ij = e_ij/e_i.

    Parameters
    ----------
    employment
        Units, or (unit, period), in rows, sectors in columns.
    total
        The column that holds e_i, when the sectors are not all there are; it is left out of the result. By
        default e_i is the sum of the columns.

    Raises
    ------
    DataError
        Blank, negative or text cells, a unit without employment, a share above one.

    Examples
    --------
    >>> table = pd.DataFrame({"ict": [20.0, 5.0], "all": [100.0, 50.0]}, index=["hz", "nb"])
    >>> shares(table, total="all")["ict"].tolist()
    [0.2, 0.1]
    """
    table, whole = _parts(employment, total)
    found = table.div(whole, axis=0)
    _refuse_above(found, total)
    return found


def density(amounts: pd.DataFrame, area: pd.Series) -> pd.DataFrame:
    """Amounts per unit of area; with km² and employees, employment density.

    Parameters
    ----------
    amounts
        Units, or (unit, period), in rows.
    area
        By unit, the same in all periods.

    Raises
    ------
    DataError
        As :func:`shares`; also an area that is not positive.
    AlignmentError
        A unit without area.

    Examples
    --------
    >>> jobs = pd.DataFrame({"jobs": [500.0, 300.0]}, index=["hz", "nb"])
    >>> density(jobs, pd.Series({"nb": 100.0, "hz": 250.0}))["jobs"].tolist()
    [2.0, 3.0]
    """
    table = amounts_table(amounts, "amounts")
    units = _units(table.index)
    area = matched(numeric_series(area, "area"), units.unique(), "area", Text("a unit", "地区"))
    if (area <= 0).any():
        raise DataError(
            f"area is not positive for {listed(area.index[area <= 0])}.",
            f"{listed_zh(area.index[area <= 0])}的面积不为正。",
        )
    return table.div(area.loc[units].to_numpy(), axis=0)


def location_quotients(
    employment: pd.DataFrame, reference: pd.Series | pd.DataFrame | None = None, total: str | None = None
) -> pd.DataFrame:
    """Location quotients LQ_ij = (e_ij/e_i)/(E_j/E); above one, the unit has more of the sector than the reference.

    A sector that a unit does not have gives zero, which has no logarithm.

    Parameters
    ----------
    employment
        Units, or (unit, period), in rows, sectors in columns.
    reference
        Employment of the reference region: a Series by sector, or a DataFrame with a row for each period. By default
        the units of the table together, in each period. ``result.attrs["reference"]`` says which.
    total
        The column that holds e_i (and, in the reference, E); by default the sum of the columns.

    Raises
    ------
    DataError
        As :func:`shares`, of the table and of the reference; also a sector that the reference does not have.
    AlignmentError
        A sector or period missing in the reference.

    Notes
    -----
    Florence, P.S. (1939), Report on the Location of Industry. Political and Economic Planning, London.

    Examples
    --------
    20 of 100 employees against 10 of 100 in the reference, and 5 of 100.

    >>> table = pd.DataFrame({"ict": [20.0, 5.0], "rest": [80.0, 95.0]}, index=["hz", "nb"])
    >>> location_quotients(table, pd.Series({"ict": 10.0, "rest": 90.0}))["ict"].tolist()
    [2.0, 0.5]
    """
    own = shares(employment, total)
    against = _reference_shares(amounts_table(employment), reference, total)[own.columns]
    rows = against.loc[own.index.get_level_values(PERIOD)] if len(against) > 1 else against
    out = own / rows.to_numpy()
    out.attrs["reference"] = UNIT_TOTAL if reference is None else "given"
    return out


def herfindahl(
    employment: pd.DataFrame, of: Literal["units", "sectors"] = "units"
) -> pd.Series | pd.DataFrame:
    """Herfindahl-Hirschman index Σ s², from 1/m (even) to one.

    Parameters
    ----------
    employment
        Units, or (unit, period), in rows, sectors in columns.
    of
        ``"units"``: how specialised each unit is, over its sectors, a Series by row. ``"sectors"``: how
        concentrated each sector is, over units, a Series by sector, or a DataFrame with a row for each period.

    Raises
    ------
    DataError
        As :func:`shares`; also a unit or sector without any employment.
    SpecificationError
        Another word for ``of``.

    Notes
    -----
    Hirschman, A.O. (1964), American Economic Review 54: 761-762.

    Examples
    --------
    Shares 0.5, 0.3, 0.2: 0.25 + 0.09 + 0.04.

    >>> table = pd.DataFrame({"a": [50.0], "b": [30.0], "c": [20.0]}, index=["hz"])
    >>> herfindahl(table).round(4).tolist()
    [0.38]
    """
    if of not in ("units", "sectors"):
        raise not_one_of("of", of, ("units", "sectors"))
    table = employment_table(employment, rows=of == "units", columns=of == "sectors")
    if of == "units":
        return pd.Series(arrays.hhi(table, axis=1), table.index, name="hhi")
    return along(table, lambda _, part: pd.Series(arrays.hhi(part, axis=0), part.columns, name="hhi"))


def krugman_specialisation(
    employment: pd.DataFrame, reference: pd.Series | pd.DataFrame | None = None
) -> pd.Series:
    """Krugman's specialisation of each unit, K_i = Σ_j |s_ij − s_j|, from zero (like the reference) towards two.

    Parameters
    ----------
    employment, reference
        As in :func:`location_quotients`; the columns are all sectors.

    Raises
    ------
    DataError, AlignmentError
        As :func:`location_quotients`.

    Notes
    -----
    Krugman, P. (1991), Geography and Trade. MIT Press, 75-76.

    Examples
    --------
    Shares (0.8, 0.2) and (0.2, 0.8) against (0.5, 0.5):

    >>> table = pd.DataFrame({"a": [80.0, 20.0], "b": [20.0, 80.0]}, index=["hz", "nb"])
    >>> krugman_specialisation(table).round(4).to_dict()
    {'hz': 0.6, 'nb': 0.6}
    """
    table = employment_table(employment, rows=True)
    against = _reference_shares(table, reference, None, zeros=True)[table.columns]
    parts = [
        pd.Series(
            arrays.krugman_specialisation(part, against.iloc[0 if len(against) == 1 else number]), part.index
        )
        for number, (_, part) in enumerate(by_period(table))
    ]
    out = _by_row(table, parts, "krugman")
    out.attrs["reference"] = UNIT_TOTAL if reference is None else "given"
    return out


# --- what they share ---------------------------------------------------------------------------------------


def _parts(employment: pd.DataFrame, total: str | None) -> tuple[pd.DataFrame, pd.Series]:
    """The sectors, and the employment of each row that their shares are of."""
    if total is None:
        table = employment_table(employment, rows=True)
        return table, table.sum(axis=1)
    table = amounts_table(employment)
    if total not in table:
        raise DataError(
            f"The table has no column {total!r} for the total; it has {listed(table.columns)}.",
            f"表中没有合计列{total!r}；已有{listed_zh(table.columns)}。",
        )
    if (table[total] == 0).any():
        empty = [row_label(i) for i in table.index[table[total] == 0]]
        raise DataError(
            f"{total!r} is zero at {listed(empty)}: nothing has a share of it.",
            f"{total!r}在{listed_zh(empty)}为零，没有份额可言。",
        )
    if len(table.columns) == 1:
        raise DataError(
            f"The table has no column but the total {total!r}: no sector has a share of it.",
            f"表中除合计{total!r}外没有其他列：没有行业可计算份额。",
        )
    return table.drop(columns=total), table[total]


def _refuse_above(shares: pd.DataFrame, total: str | None) -> None:
    over = [str(c) for c in shares if (shares[c] > 1 + 1e-9).any()]
    if over:
        raise DataError(
            f"{listed(over)} is larger than {total!r} in some rows: the total does not contain it.",
            f"有的行中{listed_zh(over)}大于{total!r}：合计不包含它。",
        )


def _reference_shares(
    table: pd.DataFrame, reference: pd.Series | pd.DataFrame | None, total: str | None, zeros: bool = False
) -> pd.DataFrame:
    """Shares of the sectors in the reference region: one row, or one for each period."""
    if reference is None:
        periods = periods_of(table.index)
        given = table.sum().to_frame().T if periods is None else table.groupby(periods).sum()
    elif isinstance(reference, pd.Series):
        given = numeric_series(reference, "reference").to_frame().T
    else:
        given = amounts_table(reference, "reference")
        periods = periods_of(table.index)
        wanted = pd.Index([]) if periods is None else pd.Index(sorted(periods.unique()))
        if periods is None:
            raise DataError(
                "The table has no periods, so its reference must be a Series by sector.",
                "表中没有时期，因此参照须为按行业的Series。",
            )
        given = given.apply(
            lambda column: matched(column, wanted, "reference", Text("a period", "时期"))
        ).loc[wanted]
    sectors = pd.Index(table.columns)
    given = given.T.apply(lambda column: matched(column, sectors, "reference", Text("a column", "列"))).T
    whole = given[total] if total is not None else given.sum(axis=1)
    if (whole == 0).any():
        raise DataError(
            "The reference region has no employment: no share of it can be compared.",
            "参照区域没有就业，无法比较份额。",
        )
    found = given.drop(columns=total or []).div(whole, axis=0)
    _refuse_above(found, total)
    absent = found.columns[(found == 0).any()]
    if len(absent) and not zeros:
        raise DataError(
            f"The reference region has no {listed(absent)}: no share of it can be compared.",
            f"参照区域没有{listed_zh(absent)}，无法比较份额。",
        )
    return found


def _units(index: pd.Index) -> pd.Index:
    periods_of(index)
    return index if index.nlevels == 1 else index.droplevel(PERIOD)


def _by_row(table: pd.DataFrame, parts: list[pd.Series], name: str) -> pd.Series:
    """Values of each period put back into the rows of the table."""
    periods = periods_of(table.index)
    if periods is None:
        return parts[0].rename(name)
    out = pd.Series(np.nan, table.index, name=name)
    for period, part in zip(sorted(periods.unique()), parts, strict=True):
        out[periods == period] = part.to_numpy()
    return out
