"""Spatial autocorrelation of a variable, period by period."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd

from spatial_zb.core.moran import Alternative, moran_i, moran_permutations, permutation_p_value
from spatial_zb.data.panel import Panel
from spatial_zb.errors import DataError, SpatialZbWarning, SpecificationError, listed
from spatial_zb.weights.matrix import Weights, as_weights

__all__ = ["MoranTable", "moran"]


@dataclass(frozen=True, eq=False)
class MoranTable:
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


def moran(
    panel: Panel,
    variable: str,
    W: Any,
    *,
    permutations: int = 999,
    rng: int | np.random.SeedSequence | None = None,
    alternative: Alternative = "two-sided",
) -> MoranTable:
    """Moran's I of a variable in every period, with analytic and permutation p-values.

    Parameters
    ----------
    panel, variable
        The panel and the name of one of its variables.
    W
        Weights, or anything :func:`as_weights` takes; units are matched by id.
    permutations
        Random assignments of values to units behind ``p_sim``; 0 leaves ``p_sim`` NaN.
    rng
        Seed. Each period draws from its own stream, so that results do not depend on the order of work.
    alternative
        ``"two-sided"`` (default), ``"greater"`` (clustering) or ``"less"`` (dispersion), for both p-values.

    Raises
    ------
    DataError
        A blank cell or a constant variable, naming unit and period.
    SpecificationError
        An unknown alternative or a negative number of permutations.
    """
    if alternative not in get_args(Alternative):
        raise SpecificationError(
            f"alternative must be one of {listed(get_args(Alternative))}, not {alternative!r}."
        )
    if permutations < 0:
        raise SpecificationError(f"permutations must be zero or more, not {permutations}.")
    weights = as_weights(W).align(panel.units)
    values = panel.array(variable)
    _refuse_unusable(panel, variable, values)
    _mention_islands(weights)
    seeds = (rng if isinstance(rng, np.random.SeedSequence) else np.random.SeedSequence(rng)).spawn(
        len(panel.periods)
    )
    rows = [
        _row(period, x, weights, permutations, seed, alternative)
        for period, x, seed in zip(panel.periods, values, seeds, strict=True)
    ]
    return MoranTable(variable, weights.label, permutations, alternative, pd.DataFrame(rows))


def _row(
    period: int,
    x: np.ndarray,
    W: Weights,
    permutations: int,
    seed: np.random.SeedSequence,
    alternative: Alternative,
) -> dict[str, float]:
    result = moran_i(x, W.matrix)
    p_sim = float("nan")
    if permutations:
        reference = moran_permutations(x, W.matrix, permutations, np.random.default_rng(seed))
        p_sim = permutation_p_value(result.I, reference, alternative)
    return {
        "period": period,
        "I": result.I,
        "expected": result.expected,
        "std_dev": result.std_dev,
        "z": result.z,
        "p_value": result.p_value(alternative),
        "p_sim": p_sim,
    }


def _refuse_unusable(panel: Panel, variable: str, values: np.ndarray) -> None:
    blank = np.argwhere(np.isnan(values))
    if len(blank):
        cells = [f"{panel.units[i]} {panel.periods[t]}" for t, i in blank]
        raise DataError(
            f"{variable!r} is blank at {listed(cells)}. Fill these cells by a stated rule, or drop the units."
        )
    flat = [p for p, x in zip(panel.periods, values, strict=True) if np.ptp(x) == 0]
    if flat:
        raise DataError(
            f"{variable!r} is the same for all units in {listed(flat)}: Moran's I is not defined."
        )
    if values.shape[1] < 4:
        raise DataError(
            f"Moran's I needs at least 4 units for its variance; the panel has {values.shape[1]}."
        )


def _mention_islands(W: Weights) -> None:
    if len(W.islands):
        warnings.warn(
            f"Units without neighbours do not count in Moran's I under {W.label!r}: {listed(W.islands)}.",
            SpatialZbWarning,
            stacklevel=3,
        )
