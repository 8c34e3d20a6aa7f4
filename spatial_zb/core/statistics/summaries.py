"""Means, trends and correlations of a panel with intervals over its units, which are the independent draws.

Values of one unit in two years are not independent; the units are taken to be. Neighbours resemble each other too, which
these intervals leave out: where that is the question, Moran's I is the statistic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from spatial_zb.core import Array

#: A spread below this share of the values is rounding.
FLAT = 1e-12


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its limits at one level; NaN where they are not defined."""

    estimate: float
    low: float
    high: float


NOTHING = Interval(np.nan, np.nan, np.nan)


def mean_over_units(values: Array, level: float) -> Interval:
    """Mean of one value per unit (n,), NaN left out, with Student's interval.

    >>> mean_over_units(np.array([1.0, 2.0, 3.0]), 0.95)
    Interval(estimate=2.0, low=-0.48..., high=4.48...)
    """
    values = values[np.isfinite(values)]
    if values.size < 2:
        return NOTHING
    reach = _critical(level, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size)
    mean = float(values.mean())
    return Interval(mean, mean - float(reach), mean + float(reach))


def trend_over_units(values: Array, times: Array, level: float) -> Interval:
    """Mean over units of their least-squares slopes in time, of values (T, n); units with a gap are left out."""
    whole = values[:, np.isfinite(values).all(axis=0)]
    moved = times - times.mean()
    if whole.shape[1] < 2 or not moved.any():
        return NOTHING
    return mean_over_units(moved @ whole / (moved @ moved), level)


def correlation_over_units(one: Array, other: Array, level: float) -> Interval:
    """Pearson's r of values (T, n) over all unit-periods, its interval by leaving out one unit at a time.

    The jackknife is that of atanh r (Fisher's z), whose limits are turned back; degrees of freedom are the units less one.
    Efron & Tibshirani (1993), An Introduction to the Bootstrap, ch. 11.
    """
    there = np.isfinite(one) & np.isfinite(other)
    units = np.flatnonzero(there.any(axis=0))
    if units.size < 3:
        return NOTHING
    sums = np.array([np.where(there, part, 0.0).sum(axis=0) for part in _powers(one, other)])
    whole = _fisher(sums.sum(axis=1))
    without = _fisher(sums.sum(axis=1)[:, None] - sums[:, units])
    if not (np.isfinite(whole) and np.isfinite(without).all()):
        return NOTHING
    spread = np.sqrt((units.size - 1) / units.size * ((without - without.mean()) ** 2).sum())
    reach = _critical(level, units.size - 1) * spread
    return Interval(*(float(np.tanh(z)) for z in (whole, whole - reach, whole + reach)))


def correlation_tail(one: Array, other: Array, permutations: int, rng: np.random.Generator) -> float:
    """Two-sided pseudo p-value of r between values (n,): the units of the first are dealt at random."""
    there = np.isfinite(one) & np.isfinite(other)
    x, y = (values[there] - values[there].mean() for values in (one, other))
    if x.size < 3 or min(np.abs(x).max(), np.abs(y).max()) == 0:
        return np.nan
    drawn = rng.permuted(np.broadcast_to(x, (permutations, x.size)), axis=1) @ y
    return float((1 + np.sum(np.abs(drawn) >= abs(x @ y) * (1 - FLAT))) / (permutations + 1))


def _powers(one: Array, other: Array) -> tuple[Array, ...]:
    """What r is made of, about the common means so that nothing cancels."""
    there = np.isfinite(one) & np.isfinite(other)
    x, y = (values - values[there].mean() for values in (one, other))
    return np.ones_like(x), x, y, x * x, y * y, x * y


def _fisher(sums: Array) -> Array:
    """atanh r from N, Σx, Σy, Σx², Σy², Σxy; NaN without spread."""
    N, x, y, xx, yy, xy = sums
    with np.errstate(all="ignore"):
        spread = (xx - x * x / N) * (yy - y * y / N)
        r = np.where(spread > FLAT * xx * yy, (xy - x * y / N) / np.sqrt(np.maximum(spread, 0.0)), np.nan)
        return np.arctanh(np.clip(r, -1.0, 1.0))


def _critical(level: float, df: int) -> float:
    return float(special.stdtrit(df, (1 + level) / 2))
