"""Tables of employment by unit and sector, read along the columns: does a sector sit in few units, and with which others?"""

from __future__ import annotations

import pandas as pd

from spatial_zb.base.errors import AlignmentError, DataError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.core import indices as arrays
from spatial_zb.indices.tables import (
    PERIOD,
    along,
    by_period,
    employment_table,
    matched,
    numeric_series,
    periods_of,
)


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
    table = employment_table(employment, columns=True)
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
    table = employment_table(employment, columns=True)
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
    table = employment_table(employment, columns=True)
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
    table = employment_table(employment, columns=True)
    found = {}
    for period, part in by_period(table):
        x = None if reference is None else _unit_reference(part, period, reference)
        found[period] = pd.DataFrame(arrays.pairwise_coagglomeration(part, x), part.columns, part.columns)
    return found[None] if None in found else pd.concat(found, names=[PERIOD, "sector"])


# --- what they share ---------------------------------------------------------------------------------------


def _unit_reference(part: pd.DataFrame, period: object, reference: pd.Series | None) -> pd.Series | None:
    """The reference by unit of this period, in the order of its rows; its own sums where none is given."""
    if reference is None:
        given = part.sum(axis=1)
    else:
        given = numeric_series(reference, "reference")
        if given.index.nlevels == 2:
            given = given[periods_of(given.index) == period].droplevel(PERIOD)
            if given.empty:
                raise AlignmentError(
                    f"The reference is by unit and period, but has nothing for {period or 'a table without periods'}.",
                    f"参照按地区和时期给出，但没有{period or '不分时期'}的数值。",
                )
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
