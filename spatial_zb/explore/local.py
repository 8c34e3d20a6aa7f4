"""Local statistics of spatial association: one period, unit by unit."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import numpy as np
import pandas as pd

from spatial_zb.base.arguments import Rng
from spatial_zb.base.errors import SpecificationError, listed, listed_zh
from spatial_zb.base.notes import warn_old
from spatial_zb.base.text import Text
from spatial_zb.base.threads import one_thread
from spatial_zb.core.statistics import Alternative, normal_p_value
from spatial_zb.core.statistics import local as core
from spatial_zb.data.panel import Panel
from spatial_zb.explore.checks import (
    NO_NEIGHBOURS,
    LocalTable,
    Options,
    Slice,
    refuse_negative,
    refuse_negative_weights,
    slices,
)

P = ParamSpec("P")
SPOTS = np.array(["cold", "hot"], dtype=object)
#: The unit first, its neighbours second, by 2 · (unit above the mean) + (neighbours above the mean).
QUADRANTS = np.array(["LL", "LH", "HL", "HH"], dtype=object)


def _by_adjusted(function: Callable[P, LocalTable]) -> Callable[P, LocalTable]:
    """Take ``adjust`` and ``alpha``, now those of ``LocalTable.adjusted``, as the last release did."""

    @functools.wraps(function)
    def called(*args: P.args, **given: P.kwargs) -> LocalTable:
        old: dict[str, Any] = {name: given.pop(name) for name in ("adjust", "alpha") if name in given}
        table = function(*args, **given)
        if not old:
            return table
        warn_old(
            f"{function.__name__}({', '.join(f'{name}=…' for name in old)}) is now {function.__name__}(…).adjusted(…).",
        )
        return table.adjusted(**old)

    return called


@_by_adjusted
@one_thread
def local_moran(
    panel: Panel,
    variable: str,
    W: Any,
    *,
    period: int | None = None,
    permutations: int = 9999,
    rng: Rng = None,
    alternative: Alternative = "two-sided",
) -> LocalTable:
    """Local Moran's I of every unit in one period.

    I_i = (n−1) z_i Σ_j w_ij z_j / Σ_i z_i², as in GeoDa and esda, so that Σ I_i = (n−1)/n · S₀ · I. (R's spdep
    has n in place of n−1.)

    Parameters
    ----------
    panel, variable, W
        As in :func:`moran`; units that are absent in the period are not in the table.
    period
        May be left out when the panel has only one.
    permutations
        Deals of the other units' values to a unit's neighbours, its own value in place. All units share them;
        0 leaves p-values NaN and clusters empty.
    rng
        Seed. The stream belongs to the position of the period in the panel: results do not depend on what else
        is computed, nor in which order.
    alternative
        ``"two-sided"`` (default), ``"greater"`` (like its neighbours) or ``"less"`` (unlike them).

    Returns
    -------
    LocalTable with ``I, z, p_sim, p_adjusted, quadrant, cluster``. ``z`` has the exact moments of the
    permutation distribution. ``quadrant`` is HH, LL, HL or LH, the unit first, its neighbours second, high
    meaning above the mean; ``cluster`` is the quadrant, "not significant" or "no neighbours". The mean is that of
    all units, as is usual, while ``z`` and ``p_sim`` compare the neighbours with the *other* units: beside an
    extreme value of its own a unit can be HL (I below zero) with ``z`` above zero. Then read ``z``. P-values are
    corrected for their number by the false discovery rate, and a cluster is significant at 5 %;
    ``.adjusted("bonferroni", alpha=0.01)`` gives the table by another rule.

    Raises
    ------
    DataError, SpecificationError, AlignmentError
        As in :func:`moran`; a period the panel does not have, or none named.

    Notes
    -----
    Anselin, L. (1995), Geographical Analysis 27: 93-115.
    """
    return _local_moran(panel, (variable,), W, period, Options(permutations, rng, alternative))


@_by_adjusted
def local_bivariate_moran(
    panel: Panel,
    x: str,
    y: str,
    W: Any,
    *,
    period: int | None = None,
    permutations: int = 9999,
    rng: Rng = None,
    alternative: Alternative = "two-sided",
) -> LocalTable:
    """Is x of this unit associated with y of its neighbours? Local bivariate Moran's I in one period.

    I_i = (n−1) a_i Σ_j w_ij b_j / √(a'a b'b), a and b deviations of x and y. The values of y of all other units
    are dealt to the neighbours. Quadrants are x of the unit first, y of its neighbours second: HL is a unit
    high in x among neighbours low in y. Everything else as in :func:`local_moran`.
    """
    return _local_moran(panel, (x, y), W, period, Options(permutations, rng, alternative))


@_by_adjusted
def local_g(
    panel: Panel,
    variable: str,
    W: Any,
    *,
    period: int | None = None,
    star: bool = False,
    permutations: int = 9999,
    rng: Rng = None,
    alternative: Alternative = "two-sided",
) -> LocalTable:
    """Getis and Ord's local G of every unit in one period, or G* with ``star``: hot and cold spots.

    G_i = Σ_j w_ij x_j / Σ_j x_j over j ≠ i. In G*_i the unit itself counts, with the largest weight of its
    row; a row that sums to one keeps that sum. The other parameters are those of :func:`local_moran`.

    Returns
    -------
    LocalTable with ``G, z, p_value, p_sim, p_adjusted, cluster``; ``cluster`` is "hot", "cold", "not
    significant" or "no neighbours". ``z`` and ``p_value`` follow Ord & Getis (1995). ``p_sim`` keeps the
    unit's own value in place, as GeoDa and esda do, so that it is the same for G and G*; it is what
    ``p_adjusted`` starts from. Hot is a unit whose neighbours are higher than most deals of the other units'
    values, cold one whose neighbours are lower: the tail that ``p_sim`` is of. ``z`` of G* counts the unit's own
    value, and its sign can differ.

    Raises
    ------
    DataError
        As in :func:`general_g`.
    WeightsError
        Negative weights with ``star``.
    """
    options = Options(permutations, rng, alternative)
    one, seed = _local_inputs(panel, (variable,), W, period, options, "Local G")
    refuse_negative(panel.select(periods=[one.period]), variable)
    if star:
        refuse_negative_weights(one.weights, "G*")
    G, z, p_sim, high = core.local_g(one.values[0], one.weights.matrix, star, permutations, seed, alternative)
    frame = pd.DataFrame(
        {"G": G, "z": z, "p_value": normal_p_value(z, alternative), "p_sim": p_sim},
        index=one.ids.rename("unit"),
    )
    words = SPOTS[high.astype(int)]
    return _local_table("G*" if star else "G", (variable,), one, options, frame, words, panel.units)


def _local_moran(
    panel: Panel, names: tuple[str, ...], W: Any, period: int | None, options: Options
) -> LocalTable:
    one, seed = _local_inputs(panel, names, W, period, options, "Local Moran's I")
    x, y = one.values[0], one.values[-1]
    result = core.local_moran_i(x, y, one.weights.matrix, options.permutations, seed, options.alternative)
    index = one.ids.rename("unit")
    frame = pd.DataFrame({"I": result.I, "z": result.z, "p_sim": result.p_sim}, index=index)
    quadrant = QUADRANTS[2 * result.high + result.high_lag]
    shown = quadrant.copy()
    shown[result.alone] = np.nan
    frame["quadrant"] = pd.Series(shown, index)
    return _local_table("I", names, one, options, frame, quadrant, panel.units)


def _local_inputs(
    panel: Panel, names: tuple[str, ...], W: Any, period: int | None, options: Options, what: str
) -> tuple[Slice, np.random.SeedSequence]:
    """Check everything; give this period, its units and W by id, and the period's own seed."""
    if period is None and len(panel.periods) > 1:
        raise SpecificationError(
            f"Name one period: {listed(panel.periods)}.", f"请指定一个时期：{listed_zh(panel.periods)}。"
        )
    alone = panel.select(periods=[panel.periods[0] if period is None else period])
    (one,) = slices(alone, names, W, what, Text(f"have no {what}", f"没有{what}"))
    return one, options.streams(panel.periods)[panel.periods.index(one.period)]


def _local_table(
    statistic: str,
    names: tuple[str, ...],
    one: Slice,
    options: Options,
    frame: pd.DataFrame,
    words: np.ndarray,
    units: pd.Index,
) -> LocalTable:
    """The table in the order of ``units``, of those in this period; ``cluster`` holds the ``words`` that are significant
    after correction.
    """
    frame["p_adjusted"] = np.nan
    shown = pd.Series(words, frame.index, dtype=object)
    shown[np.diff(one.weights.matrix.indptr) == 0] = NO_NEIGHBOURS
    units = units[units.isin(frame.index)]
    if not frame.index.equals(units):
        frame, shown = frame.loc[units].rename_axis("unit"), shown.loc[units]
    order = [name for name in frame if name != "quadrant"] + [name for name in frame if name == "quadrant"]
    table = LocalTable(
        statistic,
        names,
        one.period,
        one.weights.label,
        options.permutations,
        options.alternative,
        frame[order],
        shown,
    )
    return table.adjusted()
