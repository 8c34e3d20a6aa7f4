"""Polygons as small paths on a grid of whole numbers, simplified so that neighbours keep one border."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spatial_zb.report.places import checked, north_angle, project

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

__all__ = ["Outlines", "draw_outlines"]

#: Steps of the grid across the longer side: on a screen of 1000 points a step is a quarter of a point.
STEPS = 4000
# Vertices within this many steps of a straight line are left out: about a point on a screen.
TOLERANCE = 5.0
# Parts smaller than this (steps², about two points across) would be specks; the largest part always stays.
SPECK = 120.0
# The scale bar is the roundest length below this share of the width.
BAR_SHARE = 0.25

Ring = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Outlines:
    """Paths for SVG, y down, in steps of a grid of ``size`` (width, height).

    Attributes
    ----------
    paths
        One path (``d``) for each unit; the borders of neighbours share their vertices.
    centres
        A point inside each unit.
    borders
        The path between units of different groups (provinces); empty where there is one group.
    bar
        Length of the scale bar in kilometres and in steps.
    north
        Degrees of true north clockwise from straight up, at the middle.
    """

    paths: tuple[str, ...]
    centres: tuple[tuple[int, int], ...]
    borders: str
    size: tuple[int, int]
    bar: tuple[float, int]
    north: float


def draw_outlines(regions: GeoDataFrame, *, crs: Any = None, groups: str | None = "prov") -> Outlines:
    """Draw regions in a projected CRS (see ``crs`` of :func:`~spatial_zb.report.maps.choropleth`).

    Vertices are rounded to the grid, thinned by Douglas & Peucker (1973) polygon by polygon, and a vertex that
    one polygon needs is kept in all: a border that has the same vertices on both sides in the data has them on the
    page, so that nothing gapes or overlaps.

    Raises
    ------
    DataError, SpecificationError
        Regions without a geometry or a CRS; ``crs`` in degrees.
    """
    shapes = project(checked(regions), crs)
    left, _, right, top = bounds = shapes.total_bounds
    metres = max(right - left, top - bounds[1]) / STEPS
    rings = [_grid_rings(shape, left, top, metres) for shape in shapes.geometry]
    needed = {vertex for unit in rings for ring in unit for vertex in _thinned(ring)}
    kept = [[thin for ring in unit if len(thin := [v for v in ring if v in needed]) >= 3] for unit in rings]
    whole = [thin or unit[:1] for thin, unit in zip(kept, rings, strict=True)]
    named = shapes[groups].astype(str).tolist() if groups and groups in shapes else [""] * len(shapes)
    width = math.ceil((right - left) / metres)
    return Outlines(
        paths=tuple("".join(map(_path, unit)) for unit in whole),
        centres=tuple(_centre(unit[0]) for unit in whole),
        borders=_between(whole, named),
        size=(width, math.ceil((top - bounds[1]) / metres)),
        bar=_bar(width * metres / 1000, metres / 1000),
        north=round(math.degrees(north_angle(shapes)), 1),
    )


def _grid_rings(shape: Any, left: float, top: float, metres: float) -> list[Ring]:
    """Rings of all parts that are large enough, the largest first, on the grid."""
    from shapely import get_parts

    parts = sorted(get_parts(shape), key=lambda part: -part.area)
    large = [part for part in parts if part.area >= SPECK * metres**2] or parts[:1]
    rings = [ring for part in large for ring in (part.exterior, *part.interiors)]
    return [_rounded(np.asarray(ring.coords)[:, :2], left, top, metres) for ring in rings]


def _rounded(points: np.ndarray, left: float, top: float, metres: float) -> Ring:
    """Vertices (m, 2) on the grid, y down, without repetitions; the last is not the first again."""
    steps = np.rint((points - [left, top]) / [metres, -metres]).astype(int)
    fresh = np.r_[True, np.any(np.diff(steps, axis=0) != 0, axis=1)]
    ring = [(int(x), int(y)) for x, y in steps[fresh]]
    return ring[:-1] if len(ring) > 1 and ring[0] == ring[-1] else ring


def _thinned(ring: Ring) -> Ring:
    from shapely import Polygon

    if len(ring) < 3:
        return ring
    return [(int(x), int(y)) for x, y in Polygon(ring).simplify(TOLERANCE).exterior.coords]


def _path(ring: Ring) -> str:
    """``M x y l dx dy … z`` with as few characters as SVG allows."""
    return f"{_line(ring)}z"


def _line(points: Sequence[tuple[int, int]]) -> str:
    (x, y), *rest = points
    words = [f"M{x} {y}"]
    for number, (to_x, to_y) in enumerate(rest):
        words.append(f"{'' if number else 'l'}{_pair(to_x - x, to_y - y, bool(number))}")
        x, y = to_x, to_y
    return "".join(words)


def _pair(dx: int, dy: int, following: bool) -> str:
    """Two numbers; a minus sign parts as well as a blank does."""
    before = " " if following and dx >= 0 else ""
    return f"{before}{dx}{' ' if dy >= 0 else ''}{dy}"


def _between(units: Sequence[Sequence[Ring]], groups: Sequence[str]) -> str:
    """The edges that units of different groups share."""
    owners: dict[frozenset, set[str]] = defaultdict(set)
    for rings, group in zip(units, groups, strict=True):
        for ring in rings:
            for edge in _edges(ring):
                owners[frozenset(edge)].add(group)
    lines: list[Ring] = []
    for rings in units:
        for ring in rings:
            for start, end in _edges(ring):
                if len(owners.pop(frozenset((start, end)), ())) < 2:
                    continue
                if lines and lines[-1][-1] == start:
                    lines[-1].append(end)
                else:
                    lines.append([start, end])
    return "".join(map(_line, lines))


def _edges(ring: Ring) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    return list(zip(ring, [*ring[1:], ring[0]], strict=True))


def _centre(ring: Ring) -> tuple[int, int]:
    """Middle of the largest circle inside."""
    from shapely import Polygon, make_valid

    from spatial_zb.report.places import label_point

    if len(ring) < 3:
        return ring[0]
    shape = Polygon(ring)
    point = label_point(shape) if shape.is_valid else make_valid(shape).representative_point()
    return round(point.x), round(point.y)


def _bar(width_km: float, step_km: float) -> tuple[float, int]:
    most = BAR_SHARE * width_km
    power = 10.0 ** math.floor(math.log10(most))
    km = next(power * m for m in (5, 2, 1) if power * m <= most)
    return km, round(km / step_km)
