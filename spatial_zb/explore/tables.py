"""What the statistics of spatial association give: labelled tables, with what was computed in one row."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from spatial_zb.core.local_statistics import Adjustment
from spatial_zb.core.moran import Alternative
from spatial_zb.printing import Printed

__all__ = ["MAP_CODES", "NOT_SIGNIFICANT", "NO_NEIGHBOURS", "LocalTable", "MoranTable", "StatisticTable"]

NOT_SIGNIFICANT, NO_NEIGHBOURS = "not significant", "no neighbours"
#: Words of `cluster` → codes of :func:`spatial_zb.report.maps.cluster_map`, where missing means no neighbours.
MAP_CODES = {NOT_SIGNIFICANT: "ns", NO_NEIGHBOURS: None}


@dataclass(frozen=True, eq=False, repr=False)
class MoranTable(Printed):
    """Global Moran's I of one variable in every period."""

    variable: str
    weights: str
    permutations: int
    alternative: Alternative
    frame: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """One row per ``period``: ``I, expected, std_dev, z, p_value, p_sim``."""
        return self.frame.copy()

    tidy = table

    def glance(self) -> pd.DataFrame:
        """What was computed, in one row."""
        return pd.DataFrame(
            {
                "variable": [self.variable],
                "weights": [self.weights],
                "permutations": [self.permutations],
                "alternative": [self.alternative],
            }
        )


@dataclass(frozen=True, eq=False, repr=False)
class StatisticTable(Printed):
    """Another global statistic, named ``statistic``, of one or two variables."""

    statistic: str
    variables: tuple[str, ...]
    weights: str
    permutations: int
    alternative: Alternative
    frame: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """One row per ``period``: the statistic, ``expected, std_dev, z, p_value, p_sim``."""
        return self.frame.copy()

    tidy = table

    def glance(self) -> pd.DataFrame:
        """What was computed, in one row."""
        return pd.DataFrame(
            {
                "statistic": [self.statistic],
                "variables": [", ".join(self.variables)],
                "weights": [self.weights],
                "permutations": [self.permutations],
                "alternative": [self.alternative],
            }
        )


@dataclass(frozen=True, eq=False, repr=False)
class LocalTable(Printed):
    """A local statistic of every unit in one period.

    ``frame`` is indexed by unit, in the order of the panel; units without neighbours have NaN and the cluster
    ``"no neighbours"``.
    """

    statistic: str
    variables: tuple[str, ...]
    period: int
    weights: str
    permutations: int
    alternative: Alternative
    adjust: Adjustment | None
    alpha: float
    frame: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """One row per unit."""
        return self.frame.copy()

    def tidy(self) -> pd.DataFrame:
        """The same with the unit as a column."""
        return self.frame.reset_index()

    def glance(self) -> pd.DataFrame:
        """What was computed, in one row, with the number of units in each cluster."""
        row = {
            "statistic": self.statistic,
            "variables": ", ".join(self.variables),
            "period": self.period,
            "weights": self.weights,
            "permutations": self.permutations,
            "alternative": self.alternative,
            "adjust": self.adjust or "none",
            "alpha": self.alpha,
        }
        return pd.DataFrame([row | {str(k): v for k, v in self.frame["cluster"].value_counts().items()}])

    def codes(self) -> pd.Series:
        """Clusters by unit as the maps name them: ``"ns"`` for not significant, missing for no neighbours."""
        return self.frame["cluster"].map(lambda word: MAP_CODES.get(word, word)).astype(object)
