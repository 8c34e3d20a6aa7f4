"""Inequality by period and its parts within and between groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from spatial_zb.core.dispersion import dagum_gini
from spatial_zb.data.concentration import theil
from spatial_zb.data.panel import Panel
from spatial_zb.dynamics.values import cells, group_labels, refuse_negative, usable
from spatial_zb.errors import DataError, listed, listed_zh
from spatial_zb.printing import Printed

__all__ = ["Decomposition", "dagum_decomposition", "theil_decomposition"]


@dataclass(frozen=True, eq=False, repr=False)
class Decomposition(Printed):
    """An index of inequality by period, its parts, and what each group or pair of groups gives.

    ``parts`` names the columns of the table that add up to ``total``.
    """

    index: str
    variable: str
    parts: tuple[str, ...]
    frame: pd.DataFrame
    by_group: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """One row per ``period``: ``total``, the parts, and each part's share ``share_<part>`` of the total."""
        return self.frame.copy()

    tidy = table

    def glance(self) -> pd.DataFrame:
        """What was computed, in one row."""
        return pd.DataFrame(
            {"index": [self.index], "variable": [self.variable], "periods": [len(self.frame)]}
        )

    def groups(self) -> pd.DataFrame:
        """Long table of groups (Theil) or pairs of groups (Dagum)."""
        return self.by_group.copy()


def theil_decomposition(
    panel: Panel, variable: str, groups: Mapping[str, object] | pd.Series, population: str | None = None
) -> Decomposition:
    """Theil's T in every period, within and between groups of units.

    T = Σ_i s_i ln(s_i/p_i) with s and p shares of the variable and of the population;
    T = Σ_g S_g T_g + Σ_g S_g ln(S_g/P_g).

    Parameters
    ----------
    groups
        Group of each unit, e.g. its province.
    population
        A variable of the panel; by default every unit counts as one.

    Returns
    -------
    Decomposition with parts ``within, between``. ``groups()`` has ``period, group, theil, share`` (S_g) and
    ``contribution`` (S_g T_g), which add up to ``within``.

    Raises
    ------
    DataError
        A blank or negative value, all zero in a period, a population that is not positive.
    AlignmentError
        A unit without group.

    Examples
    --------
    Values 1, 3 | 4, 4: only the first group is uneven, T_a = (1/4)ln(1/2) + (3/4)ln(3/2) = 0.1308, and it
    has 4 of 12. Between: (1/3)ln(2/3) + (2/3)ln(4/3) = 0.0566.

    >>> panel = Panel([[[1.0], [3.0], [4.0], [4.0]]], (2019,), pd.Index(list("wxyz")), ("v",))
    >>> theil_decomposition(panel, "v", dict(w="a", x="a", y="b", z="b")).table().round(4).iloc[0].tolist()
    [2019.0, 0.1002, 0.0436, 0.0566, 0.435, 0.565]
    """
    values = usable(panel, variable)
    refuse_negative(panel, variable, values)
    people = np.ones_like(values) if population is None else usable(panel, population)
    if (people <= 0).any():
        raise DataError(
            f"{population!r} is not positive at {listed(cells(panel, people <= 0))}.",
            f"{population!r}在{listed_zh(cells(panel, people <= 0))}不为正。",
        )
    labels = group_labels(panel, groups)
    rows, by_group = [], []
    for period, x, n in zip(panel.periods, values, people, strict=True):
        whole = theil(x, n, labels)
        rows.append((period, whole.total, whole.within, whole.between))
        for name in dict.fromkeys(labels):
            inside = np.array([label == name for label in labels])
            share = x[inside].sum() / x.sum()
            own = theil(x[inside], n[inside]).total if share > 0 else np.nan
            by_group.append((period, name, own, share, share * own if share > 0 else 0.0))
    columns = ["period", "group", "theil", "share", "contribution"]
    return _decomposition(
        "Theil", variable, ("within", "between"), rows, pd.DataFrame(by_group, columns=columns)
    )


def dagum_decomposition(
    panel: Panel, variable: str, groups: Mapping[str, object] | pd.Series
) -> Decomposition:
    """Gini coefficient in every period, split within groups, between them (net), and by their overlap.

    Parameters
    ----------
    groups
        Group of each unit, e.g. its province.

    Returns
    -------
    Decomposition with parts ``within, between, transvariation``. ``groups()`` has ``period, group, other,
    gini`` (of one group where both names are the same) and ``affluence`` (D, NaN there).

    Raises
    ------
    DataError
        A blank or negative value, or all zero in a period.
    AlignmentError
        A unit without group.

    Notes
    -----
    Dagum (1997); formulas and an example in :func:`spatial_zb.core.dispersion.dagum_gini`.
    """
    values = usable(panel, variable)
    refuse_negative(panel, variable, values)
    labels = group_labels(panel, groups)
    rows, pairs = [], []
    for period, x in zip(panel.periods, values, strict=True):
        d = dagum_gini(x, labels)
        rows.append((period, d.total, d.within, d.between, d.transvariation))
        for j, group in enumerate(d.groups):
            for h, other in enumerate(d.groups[: j + 1]):
                pairs.append((period, group, other, d.ginis[j, h], d.affluence[j, h] if j != h else np.nan))
    table = pd.DataFrame(pairs, columns=["period", "group", "other", "gini", "affluence"])
    return _decomposition("Dagum Gini", variable, ("within", "between", "transvariation"), rows, table)


def _decomposition(
    index: str, variable: str, parts: tuple[str, ...], rows: list[tuple], by_group: pd.DataFrame
) -> Decomposition:
    frame = pd.DataFrame(rows, columns=["period", "total", *parts])
    total = frame["total"].where(frame["total"] > 0)
    return Decomposition(
        index, variable, parts, frame.assign(**{f"share_{p}": frame[p] / total for p in parts}), by_group
    )
