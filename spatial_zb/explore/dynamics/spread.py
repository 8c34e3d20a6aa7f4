"""Spread by period: inequality within and between groups, centre of gravity and deviation ellipse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spatial_zb.base.errors import DataError, listed, listed_zh
from spatial_zb.base.printing import Drawn, Printed
from spatial_zb.base.text import Text
from spatial_zb.core.statistics.dispersion import dagum_gini, deviation_ellipse, ellipse_outline, theil
from spatial_zb.data.panel import Panel
from spatial_zb.explore.checks import cells
from spatial_zb.explore.dynamics.densities import group_labels, refuse_negative, usable
from spatial_zb.weights.build import local_equal_area
from spatial_zb.weights.entries import polygons_of

if TYPE_CHECKING:
    import geopandas as gpd


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
    Dagum (1997); formulas and an example in :func:`spatial_zb.core.statistics.dispersion.dagum_gini`.
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


@dataclass(frozen=True, eq=False, repr=False)
class EllipsePath(Drawn, Printed):
    """Centres of gravity and standard deviational ellipses by period, and how the centre moved."""

    pictures = ("map",)

    variable: str
    crs: Any
    frame: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """One row per ``period``.

        ``lon, lat`` of the centre in degrees (WGS 84); ``x_km, y_km`` projected; ``semi_major_km,
        semi_minor_km, angle`` (degrees clockwise from north), ``area_km2``; ``shift_km`` and ``bearing``
        (degrees clockwise from north) from the centre of the period before, NaN in the first.
        """
        return self.frame.copy()

    tidy = table

    def glance(self) -> pd.DataFrame:
        """The whole way of the centre in one row: ``path_km`` along it, ``net_km`` from first to last."""
        ends = self.frame[["x_km", "y_km"]].iloc[[0, -1]].to_numpy()
        return pd.DataFrame(
            {
                "variable": [self.variable],
                "path_km": [self.frame["shift_km"].sum()],
                "net_km": [np.hypot(*(ends[1] - ends[0]))],
            }
        )

    def outlines(self, points: int = 181) -> gpd.GeoDataFrame:
        """The ellipses as polygons by period, in ``crs``."""
        import geopandas
        from shapely.geometry import Polygon

        from spatial_zb.core.statistics.dispersion import Ellipse

        columns = ["x_km", "y_km", "semi_major_km", "semi_minor_km", "angle"]
        shapes = [
            Polygon(1000 * ellipse_outline(Ellipse(*row), points))
            for row in self.frame[columns].itertuples(index=False)
        ]
        return geopandas.GeoDataFrame({"period": self.frame["period"]}, geometry=shapes, crs=self.crs)


def deviation_ellipses(
    panel: Panel, variable: str, regions: gpd.GeoDataFrame, *, crs: Any = None, scale: float = 2**0.5
) -> EllipsePath:
    """Where a quantity is and how it spreads: centre of gravity and deviation ellipse in every period.

    Units count at their centroid with the value of the variable, which should be an amount (employees,
    output), not a ratio.

    Parameters
    ----------
    panel, variable
        Values as weights; not negative.
    regions
        Polygons with the panel's units as index; more units are allowed and left out.
    crs
        A projected reference system in metres. Default: Lambert's equal-area projection about the middle of
        the regions used.
    scale
        √2 (default) as ArcGIS draws it: about 63 % of a normal distribution lies inside. 1 gives standard
        deviations along the axes.

    Raises
    ------
    DataError
        A blank or negative value, all zero in a period, no reference system, one that is not in metres.
    AlignmentError
        A unit without polygon.

    Notes
    -----
    Formulas: :func:`spatial_zb.core.statistics.dispersion.deviation_ellipse`. Lengths near the middle of a region of a
    few hundred kilometres are true to about one in a thousand.
    """
    values = usable(panel, variable)
    refuse_negative(panel, variable, values)
    metres = _projected(panel, regions, crs)
    centroids = metres.centroid
    xy = np.column_stack([centroids.x, centroids.y]) / 1000
    ellipses = [deviation_ellipse(xy, row, scale) for row in values]
    path = np.array([(e.x, e.y) for e in ellipses])
    lon_lat = _degrees(path, metres.crs)
    shift, bearing = _moves(path)
    frame = pd.DataFrame(
        {
            "period": panel.periods,
            "lon": lon_lat[:, 0],
            "lat": lon_lat[:, 1],
            "x_km": path[:, 0],
            "y_km": path[:, 1],
            "semi_major_km": [e.semi_major for e in ellipses],
            "semi_minor_km": [e.semi_minor for e in ellipses],
            "angle": [e.angle for e in ellipses],
            "area_km2": [e.area for e in ellipses],
            "shift_km": shift,
            "bearing": bearing,
        }
    )
    return EllipsePath(variable, metres.crs, frame)


def _projected(panel: Panel, regions: gpd.GeoDataFrame, crs: Any) -> gpd.GeoSeries:
    """Polygons of the panel's units, in its order, in metres."""
    own = polygons_of(panel.units, regions, Text("the panel", "面板"))
    if own.crs is None:
        raise DataError(
            "The polygons have no coordinate reference system; set it, e.g. EPSG:4490.",
            "底图没有坐标参照系；请设定，如EPSG:4490。",
        )
    shapes = own.geometry.to_crs(local_equal_area(own) if crs is None else crs)
    if not shapes.crs.is_projected or shapes.crs.axis_info[0].unit_conversion_factor != 1:
        raise DataError(
            f"{shapes.crs.name} does not measure in metres; name a projected system with crs=.",
            f"{shapes.crs.name}不以米为单位；请用crs=指定投影坐标系。",
        )
    return shapes


def _degrees(path_km: np.ndarray, crs: Any) -> np.ndarray:
    from pyproj import Transformer

    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    return np.column_stack(to_degrees.transform(*(1000 * path_km).T))


def _moves(path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Length and bearing of each step, NaN first; a centre that stays has no bearing."""
    step = np.diff(path, axis=0)
    length = np.hypot(*step.T)
    bearing = np.where(length > 0, np.degrees(np.arctan2(step[:, 0], step[:, 1])) % 360, np.nan)
    return np.append(np.nan, length), np.append(np.nan, bearing)
