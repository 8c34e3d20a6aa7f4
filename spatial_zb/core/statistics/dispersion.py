"""How a quantity is spread over places and groups, and means, trends and correlations with intervals over the units.

Deviation ellipse, Theil and Gini with their parts. For the intervals units are independent draws: values of one unit in
two years are not. Neighbours resemble each other too, which these intervals leave out: where that is the question,
Moran's I is the statistic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from spatial_zb.base.errors import DataError
from spatial_zb.base.text import Text
from spatial_zb.core import Array
from spatial_zb.core.indices import Floats, amounts, refuse, shares_along

#: Axes that differ by less than this, relative to the longer, have no direction.
ROUND = 1e-9


@dataclass(frozen=True, slots=True)
class Ellipse:
    """A standard deviational ellipse.

    ``x, y`` centre of gravity; ``semi_major, semi_minor`` semi-axes in the units of the points;
    ``angle`` of the major axis in degrees clockwise from north, in [0, 180), NaN for a circle.
    """

    x: float
    y: float
    semi_major: float
    semi_minor: float
    angle: float

    @property
    def area(self) -> float:
        """π · a · b."""
        return float(np.pi * self.semi_major * self.semi_minor)


def deviation_ellipse(points: ArrayLike, weights: ArrayLike, scale: float = 2**0.5) -> Ellipse:
    """Centre of gravity and standard deviational ellipse of weighted points.

    With w_i the weights as shares, the centre is Σ w_i (x_i, y_i), and the axes are the eigenvectors of the
    weighted covariance with semi-axes ``scale`` · √eigenvalue.

    Parameters
    ----------
    points
        (n, 2) x to the east and y to the north, projected.
    weights
        (n,) not negative.
    scale
        √2, as ArcGIS draws it, or 1 for the standard deviations along the axes.

    Raises
    ------
    DataError
        A negative weight, or none that is positive.

    References
    ----------
    Lefever, D.W. (1926), American J. Sociology 32: 88-94; Yuill, R.S. (1971), Geografiska Annaler B 53: 28-39.

    Examples
    --------
    Two units of weight 1 at either side of a point, 3 to the east and west; the ellipse is a line of
    semi-axis 3 that runs east:

    >>> e = deviation_ellipse([[-3, 5], [3, 5]], [1, 1], scale=1)
    >>> e.x, e.y, round(e.semi_major, 6), round(e.semi_minor, 6), round(e.angle, 6)
    (0.0, 5.0, 3.0, 0.0, 90.0)
    """
    xy, w = np.asarray(points, float), np.asarray(weights, float)
    if (w < 0).any() or not w.sum() > 0:
        raise DataError(
            "Weights of an ellipse must not be negative, and some must be positive.",
            "椭圆的权重不能为负，且须有正值。",
        )
    w = w / w.sum()
    centre = w @ xy
    apart = xy - centre
    values, vectors = np.linalg.eigh((apart * w[:, None]).T @ apart)
    minor, major = scale * np.sqrt(np.maximum(values, 0))
    east, north = vectors[:, 1]
    angle = np.degrees(np.arctan2(east, north)) % 180
    if major - minor <= ROUND * major:
        angle = np.nan
    return Ellipse(float(centre[0]), float(centre[1]), float(major), float(minor), float(angle))


def ellipse_outline(ellipse: Ellipse, points: int = 181) -> Array:
    """Points (points, 2) on the ellipse, the first again as the last.

    Examples
    --------
    >>> ellipse_outline(Ellipse(0, 0, 2, 1, 90.0), 5).round(6) + 0.0
    array([[ 2.,  0.],
           [ 0., -1.],
           [-2.,  0.],
           [ 0.,  1.],
           [ 2.,  0.]])
    """
    turn = np.linspace(0, 2 * np.pi, points)
    angle = np.radians(np.nan_to_num(ellipse.angle))
    along, across = ellipse.semi_major * np.cos(turn), ellipse.semi_minor * np.sin(turn)
    east = along * np.sin(angle) + across * np.cos(angle)
    north = along * np.cos(angle) - across * np.sin(angle)
    return np.column_stack([ellipse.x + east, ellipse.y + north])


def within_sd(values: ArrayLike) -> float:
    """Standard deviation within units of values (T, n), NaN for what is missing: the usual size of a change.

    Deviations are from the means of the units, and their sum of squares is divided by one less than the number of values,
    as ``xtsum`` of Stata does. In one period there is nothing within units: then it is that over units.

    Examples
    --------
    Two units that move by ±1 around 10 and 20: √(4 / 3).

    >>> round(within_sd([[9.0, 19.0], [11.0, 21.0]]), 4)
    1.1547
    """
    x = np.asarray(values, dtype=float)
    seen = np.isfinite(x)
    if seen.sum() < 2:
        return float("nan")
    x = np.where(seen, x, 0.0)
    means = x.sum() / seen.sum() if len(x) == 1 else x.sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    return float(np.sqrt((np.where(seen, x - means, 0.0) ** 2).sum() / (seen.sum() - 1)))


@dataclass(frozen=True, slots=True)
class Theil:
    """Theil index of unevenness and its parts between and within groups (``total = between + within``)."""

    total: float
    between: float
    within: float


def theil(
    values: ArrayLike, population: ArrayLike | None = None, groups: Sequence[object] | None = None
) -> Theil:
    """Theil's T, ``Σ_i s_i ln(s_i / p_i)``: 0 where every unit has its share of the population.

    s and p are shares of the values and of the population. Between groups the same formula with the groups'
    shares; within: ``Σ_g S_g T_g``.

    Parameters
    ----------
    values, population : array_like (n,)
        Population default: one for every unit.
    groups : sequence (n,), optional
        Default: one group.

    Raises
    ------
    DataError
        A value is negative or not a number, a sum is zero, a population is not positive, or lengths differ.

    References
    ----------
    Theil, H. (1967). Economics and Information Theory. North-Holland.

    Examples
    --------
    All of it in one of two units: ln 2.

    >>> round(theil([10.0, 0.0]).total, 4)
    0.6931
    """
    values = amounts(values, "values").ravel()
    population = np.ones_like(values) if population is None else amounts(population, "population").ravel()
    labels = (
        np.zeros(values.size, int)
        if groups is None
        else np.unique([str(g) for g in groups], return_inverse=True)[1]
    )
    if not values.size == population.size == labels.size:
        raise DataError(
            f"{values.size} values, {population.size} populations and {labels.size} groups do not match.",
            f"取值{values.size}个，人口{population.size}个，分组{labels.size}个，数目不一致。",
        )
    refuse(population <= 0, Text("a population is not positive", "人口不为正"))
    total = _divergence(shares_along(values, -1), shares_along(population, -1))
    of_groups = [np.bincount(labels, amount).astype(float) for amount in (values, population)]
    between = _divergence(*(shares_along(sums, -1) for sums in of_groups))
    return Theil(total, between, total - between)


def _divergence(shares: Floats, expected: Floats) -> float:
    some = shares > 0  # s ln s tends to 0 with s
    return float(np.sum(shares[some] * np.log(shares[some] / expected[some])))


def gini(values: ArrayLike) -> float:
    """Gini coefficient Σ_i Σ_j |x_i − x_j| / (2 n² x̄), in O(n log n).

    Examples
    --------
    All of it in one of four units: (n − 1)/n.

    >>> gini([0, 0, 0, 8])
    0.75
    """
    x = _amounts(values)
    return float(_mean_excess(x, x)[0] / x.mean())


@dataclass(frozen=True, slots=True)
class DagumGini:
    """Dagum's decomposition, ``total = within + between + transvariation``.

    Attributes
    ----------
    groups
        g names, in order of first appearance.
    ginis
        (g, g) G_jh: within groups on the diagonal, between them elsewhere; symmetric.
    affluence
        (g, g) D_jh in [0, 1], relative economic affluence between two groups; 0 on the diagonal.
    """

    total: float
    within: float
    between: float
    transvariation: float
    groups: tuple[str, ...]
    ginis: Array
    affluence: Array


def dagum_gini(values: ArrayLike, groups: Sequence[object]) -> DagumGini:
    """Split the Gini coefficient within groups, between groups (net), and by their overlap.

    With population shares p_j, shares of the total s_j, Δ_jh the mean absolute difference between groups,
    G_jh = Δ_jh/(x̄_j + x̄_h), d_jh and o_jh the mean excess of the richer and of the poorer group, and
    D_jh = (d_jh − o_jh)/(d_jh + o_jh): within Σ_j G_jj p_j s_j; between Σ_{j<h} G_jh (p_j s_h + p_h s_j) D_jh;
    transvariation the same with 1 − D_jh.

    Raises
    ------
    DataError
        A value is negative or not a number, all are zero, or lengths differ.

    References
    ----------
    Dagum, C. (1997), A new approach to the decomposition of the Gini income inequality ratio, Empirical
    Economics 22: 515-531.

    Examples
    --------
    Groups that do not overlap have no transvariation. Values 1, 3 | 5, 7: differences between the groups
    average 4, so G_12 = 4/(2 + 6) = 0.5.

    >>> d = dagum_gini([1, 3, 5, 7], ["a", "a", "b", "b"])
    >>> d.ginis[0, 1].item(), d.affluence[0, 1].item(), d.transvariation
    (0.5, 1.0, 0.0)
    >>> round(d.total, 6), round(d.within + d.between, 6)
    (0.3125, 0.3125)
    """
    x = _amounts(values)
    names = [str(group) for group in groups]
    if len(names) != len(x):
        raise DataError(
            f"{len(x)} values and {len(names)} groups do not match.",
            f"{len(x)}个取值与{len(names)}个分组不匹配。",
        )
    order = tuple(dict.fromkeys(names))
    member = np.array([order.index(name) for name in names])
    parts = [x[member == j] for j in range(len(order))]
    p = np.array([len(part) / len(x) for part in parts])
    s = np.array([part.sum() / x.sum() for part in parts])
    ginis, affluence = _pairwise(parts)
    cross = np.outer(p, s) * ginis
    within, between = float(np.trace(cross)), float(np.sum(cross * affluence))
    transvariation = float(np.sum(cross * (1 - affluence))) - within
    return DagumGini(gini(x), within, between, transvariation, order, ginis, affluence)


def _pairwise(parts: list[Array]) -> tuple[Array, Array]:
    """G_jh and D_jh of every two groups."""
    g = len(parts)
    ginis, affluence = np.zeros((g, g)), np.zeros((g, g))
    for j in range(g):
        for h in range(j + 1):
            one, other = _mean_excess(parts[j], parts[h])
            means = parts[j].mean() + parts[h].mean()
            ginis[j, h] = ginis[h, j] = (one + other) / means if means > 0 else 0.0
            if j != h and one + other > 0:
                affluence[j, h] = affluence[h, j] = abs(one - other) / (one + other)
    return ginis, affluence


def _mean_excess(x: Array, y: Array) -> tuple[float, float]:
    """Means over all pairs of max(x − y, 0) and of max(y − x, 0), by sorting."""
    ordered = np.sort(y)
    below = np.searchsorted(ordered, x, "left")
    sums = np.concatenate([[0.0], np.cumsum(ordered)])[below]
    excess = float(np.sum(x * below - sums) / (len(x) * len(y)))
    return excess, max(0.0, excess - float(x.mean() - y.mean()))


def _amounts(values: ArrayLike) -> Array:
    x = np.asarray(values, float).ravel()
    if not np.isfinite(x).all() or (x < 0).any() or not x.sum() > 0:
        raise DataError(
            "A Gini coefficient needs finite values, none negative and some positive.",
            "基尼系数要求数值有限、非负，且至少有一个为正。",
        )
    return x


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

    >>> mean_over_units(np.array([1.0, 2.0, 3.0]), 0.95)  # doctest: +ELLIPSIS
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
