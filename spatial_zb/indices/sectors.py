"""Indices of tables of employment by unit and sector: who has more than its share, and of what."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from spatial_zb.data import agglomeration as arrays
from spatial_zb.errors import DataError, listed, listed_zh, not_one_of
from spatial_zb.indices.tables import (
    PERIOD,
    UNIT_TOTAL,
    along,
    amounts_table,
    by_period,
    matched,
    numeric_series,
    periods_of,
)
from spatial_zb.text import Text

__all__ = [
    "coagglomeration",
    "density",
    "ellison_glaeser",
    "herfindahl",
    "krugman_specialisation",
    "location_quotients",
    "locational_gini",
    "pairwise_coagglomeration",
    "shares",
]


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
    if (found > 1 + 1e-9).to_numpy().any():
        over = [str(c) for c in found if (found[c] > 1 + 1e-9).any()]
        raise DataError(
            f"{listed(over)} is larger than {total!r} in some rows: the total does not contain it.",
            f"有的行中{listed_zh(over)}大于{total!r}：合计不包含它。",
        )
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
        As :func:`shares`; also a sector that the reference does not have.
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
    table = _full(employment, rows=of == "units", columns=of == "sectors")
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
    table = _full(employment, rows=True)
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


def locational_gini(employment: pd.DataFrame, reference: pd.Series | None = None) -> pd.Series | pd.DataFrame:
    """Locational Gini of each sector, from zero (spread like the reference) towards one.

    G = 1 − Σ_i (X_i − X_{i−1})(S_i + S_{i−1}) over units sorted by s_i/x_i, S and X the cumulated shares of the
    sector and of the reference.

    Parameters
    ----------
    employment
        Units, or (unit, period), in rows, sectors in columns.
    reference
        What an even spread means, by unit or by row of the table. By default the sum of the sectors.

    Returns
    -------
    Series by sector, or a DataFrame with a row for each period.

    Raises
    ------
    DataError
        As :func:`shares`; also an empty sector, or a unit without reference.
    AlignmentError
        A unit missing in the reference.

    Notes
    -----
    Krugman, P. (1991), Geography and Trade. MIT Press, chapter 2.

    Examples
    --------
    A sector wholly in one of two equal units: the area under the curve (0, 0), (0.5, 0), (1, 1) is 0.25.

    >>> table = pd.DataFrame({"ict": [0.0, 10.0]}, index=["hz", "nb"])
    >>> locational_gini(table, pd.Series({"nb": 50.0, "hz": 50.0})).to_dict()
    {'ict': 0.5}
    """
    table = _full(employment, columns=True)
    return along(
        table,
        lambda period, part: pd.Series(
            arrays.locational_gini(part, _unit_reference(part, period, reference)), part.columns
        ),
    )


def ellison_glaeser(
    employment: pd.DataFrame, plant_hhi: pd.Series, reference: pd.Series | None = None
) -> pd.Series | pd.DataFrame:
    """Ellison and Glaeser's γ of each sector: concentration beyond what the lumpiness of its plants explains.

    γ = [G − (1 − Σx²)H]/[(1 − Σx²)(1 − H)], G = Σ_i (s_i − x_i)².

    Parameters
    ----------
    employment
        Units, or (unit, period), in rows, sectors in columns.
    plant_hhi
        H by sector, below one.
    reference
        Employment that gives x, as in :func:`locational_gini`.

    Returns
    -------
    Series by sector, or a DataFrame with a row for each period.

    Raises
    ------
    DataError, AlignmentError
        As :func:`locational_gini`; also a sector without H, or an H of one and more.

    Notes
    -----
    Ellison, G. & Glaeser, E.L. (1997), J. Political Economy 105: 889-927.

    Examples
    --------
    s = (0.8, 0.2), x = (0.5, 0.5), H = 0.1: (0.18 − 0.05)/0.45.

    >>> table = pd.DataFrame({"ict": [80.0, 20.0]}, index=["hz", "nb"])
    >>> even = pd.Series({"hz": 50.0, "nb": 50.0})
    >>> ellison_glaeser(table, pd.Series({"ict": 0.1}), even).round(4).to_dict()
    {'ict': 0.2889}
    """
    table = _full(employment, columns=True)
    lumpiness = _plants(table, plant_hhi)
    return along(
        table,
        lambda period, part: pd.Series(
            arrays.ellison_glaeser(part, lumpiness, _unit_reference(part, period, reference)), part.columns
        ),
    )


def coagglomeration(
    employment: pd.DataFrame, plant_hhi: pd.Series, reference: pd.Series | None = None
) -> float | pd.Series:
    """Ellison and Glaeser's γ_c: does a group of sectors settle together beyond what each does by itself?

    γ_c = [G/(1 − Σx²) − H − Σ_j γ_j w_j²(1 − H_j)]/(1 − Σ_j w_j²), w_j the share of sector j in the group.

    Parameters
    ----------
    employment
        As in :func:`ellison_glaeser`, the columns being the two or more sectors of the group.
    plant_hhi, reference
        As in :func:`ellison_glaeser`.

    Returns
    -------
    A number, or a Series by period.

    Raises
    ------
    DataError, AlignmentError
        As :func:`ellison_glaeser`; also fewer than two sectors.

    Examples
    --------
    Two sectors of one size, both wholly in the first of two equal units:

    >>> table = pd.DataFrame({"ict": [10.0, 0.0], "rd": [10.0, 0.0]}, index=["hz", "nb"])
    >>> even = pd.Series({"hz": 50.0, "nb": 50.0})
    >>> round(coagglomeration(table, pd.Series({"ict": 0.1, "rd": 0.1}), even), 6)
    1.0
    """
    table = _full(employment, columns=True)
    lumpiness = _plants(table, plant_hhi)
    return along(
        table,
        lambda period, part: arrays.ellison_glaeser_coagglomeration(
            part, lumpiness, _unit_reference(part, period, reference)
        ),
    )


def pairwise_coagglomeration(employment: pd.DataFrame, reference: pd.Series | None = None) -> pd.DataFrame:
    """Co-agglomeration of every pair of sectors, Σ_i (s_ij − x_i)(s_ik − x_i)/(1 − Σ_i x_i²).

    Parameters
    ----------
    employment
        Units, or (unit, period), in rows, sectors in columns.
    reference
        As in :func:`locational_gini`; by default the mean share of the sectors in each unit, as in the source.

    Returns
    -------
    DataFrame sector × sector, with periods in front of the rows where there are some. The diagonal is the raw
    concentration of each sector.

    Raises
    ------
    DataError, AlignmentError
        As :func:`locational_gini`.

    Notes
    -----
    Ellison, G., Glaeser, E.L. & Kerr, W.R. (2010), American Economic Review 100: 1195-1213.

    Examples
    --------
    s = (1, 0) and (0, 1), x = (0.5, 0.5): the products sum to −0.5, over 0.5.

    >>> table = pd.DataFrame({"ict": [1.0, 0.0], "rd": [0.0, 1.0]}, index=["hz", "nb"])
    >>> pairwise_coagglomeration(table).loc["ict", "rd"].item()
    -1.0
    """
    table = _full(employment, columns=True)
    found = {}
    for period, part in by_period(table):
        x = None if reference is None else _unit_reference(part, period, reference)
        found[period] = pd.DataFrame(arrays.pairwise_coagglomeration(part, x), part.columns, part.columns)
    return found[None] if None in found else pd.concat(found, names=[PERIOD, "sector"])


# --- what they share ---------------------------------------------------------------------------------------


def _full(employment: pd.DataFrame, *, rows: bool = False, columns: bool = False) -> pd.DataFrame:
    """The checked table; units (``rows``) or, in some period, sectors (``columns``) without employment are refused."""
    table = amounts_table(employment)
    if rows and (table.sum(axis=1) == 0).any():
        empty = [" ".join(map(str, np.atleast_1d(i))) for i in table.index[table.sum(axis=1) == 0]]
        raise DataError(
            f"employment is zero in all sectors of {listed(empty)}. Leave these rows out.",
            f"{listed_zh(empty)}所有行业的就业都为零。请剔除这些行。",
        )
    for period, part in by_period(table) if columns else ():
        empty = part.columns[part.sum() == 0]
        if len(empty):
            when = "" if period is None else f" in {period}"
            when_zh = "" if period is None else f"{period}年"
            raise DataError(
                f"No unit has any {listed(empty)}{when}. Leave these sectors out.",
                f"{when_zh}没有地区有{listed_zh(empty)}。请剔除这些行业。",
            )
    return table


def _parts(employment: pd.DataFrame, total: str | None) -> tuple[pd.DataFrame, pd.Series]:
    """The sectors, and the employment of each row that their shares are of."""
    if total is None:
        table = _full(employment, rows=True)
        return table, table.sum(axis=1)
    table = amounts_table(employment)
    if total not in table:
        raise DataError(
            f"The table has no column {total!r} for the total; it has {listed(table.columns)}.",
            f"表中没有合计列{total!r}；已有{listed_zh(table.columns)}。",
        )
    if (table[total] == 0).any():
        empty = [" ".join(map(str, np.atleast_1d(i))) for i in table.index[table[total] == 0]]
        raise DataError(
            f"{total!r} is zero at {listed(empty)}: nothing has a share of it.",
            f"{total!r}在{listed_zh(empty)}为零，没有份额可言。",
        )
    return table.drop(columns=total), table[total]


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
    found = given.drop(columns=total or []).div(whole, axis=0)
    absent = found.columns[(found == 0).any()]
    if len(absent) and not zeros:
        raise DataError(
            f"The reference region has no {listed(absent)}: no share of it can be compared.",
            f"参照区域没有{listed_zh(absent)}，无法比较份额。",
        )
    return found


def _unit_reference(part: pd.DataFrame, period: object, reference: pd.Series | None) -> pd.Series | None:
    """The reference by unit of this period, in the order of its rows; its own sums where none is given."""
    if reference is None:
        given = part.sum(axis=1)
    else:
        given = numeric_series(reference, "reference")
        if given.index.nlevels == 2:
            given = given[periods_of(given.index) == period].droplevel(PERIOD)
        given = matched(given, part.index, "reference", Text("a unit", "地区"))
    if (given == 0).any():
        raise DataError(
            f"The reference is zero in {listed(given.index[given == 0])}. Leave these units out.",
            f"参照在{listed_zh(given.index[given == 0])}为零。请剔除这些地区。",
        )
    return given


def _plants(table: pd.DataFrame, plant_hhi: pd.Series) -> pd.Series:
    found = matched(
        numeric_series(plant_hhi, "plant_hhi"), table.columns, "plant_hhi", Text("a sector", "行业")
    )
    if (found >= 1).any():
        raise DataError(
            f"plant_hhi is one or more for {listed(found.index[found >= 1])}: a single plant.",
            f"{listed_zh(found.index[found >= 1])}的plant_hhi为1或更大，即只有一家企业。",
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
