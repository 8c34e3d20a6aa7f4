"""Where a quantity is: centre of gravity and deviation ellipse by period."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spatial_zb.core.dispersion import deviation_ellipse, ellipse_outline
from spatial_zb.data.panel import Panel
from spatial_zb.dynamics.values import refuse_negative, usable
from spatial_zb.errors import AlignmentError, DataError, listed, listed_zh
from spatial_zb.printing import Printed
from spatial_zb.weights.matrix import text_ids

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["EllipsePath", "deviation_ellipses"]


@dataclass(frozen=True, eq=False, repr=False)
class EllipsePath(Printed):
    """Centres of gravity and standard deviational ellipses by period, and how the centre moved."""

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

        from spatial_zb.core.dispersion import Ellipse

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
    Formulas: :func:`spatial_zb.core.dispersion.deviation_ellipse`. Lengths near the middle of a region of a
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
    shapes = regions.geometry.set_axis(text_ids(regions.index))
    missing = panel.units.difference(shapes.index)
    if len(missing):
        raise AlignmentError(
            f"{len(missing)} unit(s) of the panel have no polygon: {listed(missing)}.",
            f"面板中{len(missing)}个地区没有多边形：{listed_zh(missing)}。",
        )
    if shapes.crs is None:
        raise DataError(
            "The polygons have no coordinate reference system; set it, e.g. EPSG:4490.",
            "底图没有坐标参照系；请设定，如EPSG:4490。",
        )
    shapes = shapes.loc[panel.units]
    if crs is None:
        west, south, east, north = shapes.to_crs("EPSG:4326").total_bounds
        crs = f"+proj=laea +lat_0={(south + north) / 2:.4f} +lon_0={(west + east) / 2:.4f} +ellps=GRS80 +units=m"
    shapes = shapes.to_crs(crs)
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
