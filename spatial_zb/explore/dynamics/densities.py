"""Kernel densities by period on one grid, and the checks of values for all of ``dynamics``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from spatial_zb.base.arguments import check_count
from spatial_zb.base.errors import AlignmentError, DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.printing import Drawn, Printed
from spatial_zb.base.text import Text
from spatial_zb.data.panel import Panel, require_complete
from spatial_zb.explore.checks import cells, finite_values
from spatial_zb.weights.matrix import text_ids


def usable(panel: Panel, variable: str) -> np.ndarray:
    """Values (T, n), none blank or infinite."""
    require_complete(panel, Text("This description of a distribution", "该分布描述"))
    return finite_values(panel, variable)


def positive(panel: Panel, variable: str) -> np.ndarray:
    """Values (T, n), all above zero."""
    values = usable(panel, variable)
    if (values <= 0).any():
        raise DataError(
            f"{variable!r} is not positive at {listed(cells(panel, values <= 0))}: it has no logarithm there.",
            f"{variable!r}在{listed_zh(cells(panel, values <= 0))}不为正，没有对数。",
        )
    return values


def refuse_negative(panel: Panel, variable: str, values: np.ndarray) -> None:
    """Values (T, n) must be amounts: none negative, and some in every period."""
    if (values < 0).any():
        raise DataError(
            f"{variable!r} is negative at {listed(cells(panel, values < 0))}: it is not an amount.",
            f"{variable!r}在{listed_zh(cells(panel, values < 0))}为负，不是数量。",
        )
    empty = [p for p, row in zip(panel.periods, values, strict=True) if not row.sum() > 0]
    if empty:
        raise DataError(
            f"{variable!r} is zero in all units in {listed(empty)}: there is nothing to spread.",
            f"{variable!r}在{listed_zh(empty)}各地区均为零，没有可分配的总量。",
        )


def group_labels(panel: Panel, groups: Mapping[str, object] | pd.Series) -> list[str]:
    """Group of every unit, in the order of the panel."""
    if not isinstance(groups, Mapping | pd.Series):
        raise SpecificationError(
            f"groups must be a mapping or a Series from unit to group, not a {type(groups).__name__}.",
            f"groups须为从地区到分组的映射或Series，而不是{type(groups).__name__}。",
        )
    series = pd.Series(groups, dtype=object)
    series.index = text_ids(series.index)
    if series.index.has_duplicates:
        twice = series.index[series.index.duplicated()].unique()
        raise AlignmentError(
            f"groups names units twice: {listed(twice)}.", f"groups中有重复的地区：{listed_zh(twice)}。"
        )
    missing = panel.units.difference(series.index[series.notna()])
    if len(missing):
        raise AlignmentError(
            f"{len(missing)} unit(s) have no group: {listed(missing)}.",
            f"{len(missing)}个地区没有分组：{listed_zh(missing)}。",
        )
    return [str(label) for label in series.loc[panel.units]]


#: Bandwidths beyond the outermost value at which a density is still drawn.
MARGIN = 3.0


@dataclass(frozen=True, eq=False, repr=False)
class Densities(Drawn, Printed):
    """Kernel densities of one variable by period, on one grid.

    ``grid`` (m,); ``density`` (T, m); ``bandwidths`` (T,) in the unit of the variable.
    """

    pictures = ("lines", "ridges")

    variable: str
    periods: tuple[int, ...]
    grid: np.ndarray
    density: np.ndarray
    bandwidths: np.ndarray

    def tidy(self) -> pd.DataFrame:
        """Long table ``period, value, density``."""
        T, m = self.density.shape
        return pd.DataFrame(
            {
                "period": np.repeat(self.periods, m),
                "value": np.tile(self.grid, T),
                "density": self.density.ravel(),
            }
        )

    def glance(self) -> pd.DataFrame:
        """One row per period: ``bandwidth, mode, height`` of the highest peak, and the number of ``peaks``."""
        padded = np.pad(self.density, ((0, 0), (1, 1)))
        rising = np.diff(padded, axis=1) > 0
        top = self.density.argmax(axis=1)
        return pd.DataFrame(
            {
                "period": self.periods,
                "bandwidth": self.bandwidths,
                "mode": self.grid[top],
                "height": self.density.max(axis=1),
                "peaks": (rising[:, :-1] & ~rising[:, 1:]).sum(axis=1),
            }
        )


def kernel_densities(
    panel: Panel,
    variable: str,
    *,
    periods: Sequence[int] | None = None,
    relative: bool = False,
    bandwidth: Literal["scott", "silverman"] | float = "scott",
    points: int = 256,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Densities:
    """Gaussian kernel density of a variable over units, for each period on one common grid.

    At a bound that the variable cannot pass, a share at 0 and at 1 or a quantity at 0, the part of the kernel beyond it is
    reflected: f(x) + f(2a − x) + f(2b − x) between a and b (Silverman 1986, Density Estimation, section 2.10).

    Parameters
    ----------
    periods
        Some of the panel's periods; all by default.
    relative
        Divide by the mean of each period first, so that only the shape moves and not the level.
    bandwidth
        A rule of :class:`scipy.stats.gaussian_kde`, or a number in the unit of the (relative) variable.
    points
        Grid points, from three bandwidths below the least value to three above the largest, or to a bound.
    bounds
        The least and the largest value that is possible, of the values that are drawn.

    Raises
    ------
    DataError
        A blank cell, a variable that does not vary in a period, a mean of zero with ``relative``, or a value beyond the
        bounds.
    SpecificationError
        An unknown rule, a bandwidth that is not positive, fewer than two points, bounds that are no two numbers in order.

    Examples
    --------
    Values −1 and 1 with bandwidth 1: the density at zero is φ(1) = 0.2420.

    >>> panel = Panel([[[-1.0], [1.0]]], (2019,), pd.Index(["a", "b"]), ("x",))
    >>> d = kernel_densities(panel, "x", bandwidth=1.0, points=9)
    >>> d.grid.round(6).tolist()
    [-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0]
    >>> round(d.density[0, 4].item(), 4)
    0.242
    """
    from scipy.stats import gaussian_kde  # slow to import; only densities need it

    _check_density_options(bandwidth, points)
    chosen = panel if periods is None else panel.select(periods=periods)
    x = usable(chosen, variable)
    flat = [p for p, row in zip(chosen.periods, x, strict=True) if np.ptp(row) == 0]
    if flat:
        raise DataError(
            f"{variable!r} is the same for all units in {listed(flat)}: it has no density.",
            f"{variable!r}在{listed_zh(flat)}各地区相同：没有密度。",
        )
    if relative:
        x = x / _means(chosen, variable, x)
    _check_bounds(chosen, variable, x, bounds)
    rule = bandwidth if isinstance(bandwidth, str) else None
    kernels = [gaussian_kde(row, rule or float(bandwidth) / row.std(ddof=1)) for row in x]
    widths = np.array([np.sqrt(kernel.covariance[0, 0]) for kernel in kernels])
    margin = MARGIN * widths.max()
    low, high = max(x.min() - margin, bounds[0]), min(x.max() + margin, bounds[1])
    grid = np.linspace(low, high, points)
    mirrored = [2 * bound - grid for bound in bounds if np.isfinite(bound)]
    density = np.stack([sum((kernel(at) for at in mirrored), kernel(grid)) for kernel in kernels])
    return Densities(variable, chosen.periods, grid, density, widths)


def _check_density_options(bandwidth: Any, points: int) -> None:
    check_count(points, "points", 2)
    if isinstance(bandwidth, str):
        if bandwidth not in ("scott", "silverman"):
            raise SpecificationError(
                f'bandwidth must be "scott", "silverman" or a number, not {bandwidth!r}.',
                f'bandwidth须为"scott"、"silverman"或一个数，而不是{bandwidth!r}。',
            )
    elif not (isinstance(bandwidth, int | float | np.number) and bandwidth > 0):
        raise SpecificationError(
            f"bandwidth must be a positive number, not {bandwidth!r}.",
            f"bandwidth须为正数，而不是{bandwidth!r}。",
        )


def _check_bounds(panel: Panel, variable: str, values: np.ndarray, bounds: Any) -> None:
    """Refuse bounds that are none, and values (T, n) beyond them."""
    pair = isinstance(bounds, tuple | list) and len(bounds) == 2
    if not (pair and all(isinstance(b, int | float | np.number) for b in bounds) and bounds[0] < bounds[1]):
        raise SpecificationError(
            f"bounds must be the least and the largest possible value, such as (0, 1), not {bounds!r}.",
            f"bounds须为最小与最大可能取值，如(0, 1)，而不是{bounds!r}。",
        )
    beyond = (values < bounds[0]) | (values > bounds[1])
    if beyond.any():
        raise DataError(
            f"{variable!r} lies beyond its bounds, {bounds[0]:g} to {bounds[1]:g}, in {listed(cells(panel, beyond))}.",
            f"{variable!r}在{listed_zh(cells(panel, beyond))}超出其取值范围（{bounds[0]:g}至{bounds[1]:g}）。",
        )


def _means(panel: Panel, variable: str, values: np.ndarray) -> np.ndarray:
    means = values.mean(axis=1, keepdims=True)
    zero = [p for p, m in zip(panel.periods, means[:, 0], strict=True) if m == 0]
    if zero:
        raise DataError(
            f"The mean of {variable!r} is zero in {listed(zero)}: nothing is relative to it.",
            f"{variable!r}在{listed_zh(zero)}的均值为零，无法取相对值。",
        )
    return means
