"""Drawings inside the page: polygons as small paths, and figures as SVG elements."""

from __future__ import annotations

import io
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from spatial_zb.report.drawing.places import checked, north_angle, project
from spatial_zb.report.drawing.style import context

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from matplotlib.figure import Figure


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
    """Draw regions in a projected CRS (see ``crs`` of :class:`~spatial_zb.report.drawing.frame.Look`).

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

    from spatial_zb.report.drawing.places import label_point

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


_SVG, _LINK = "http://www.w3.org/2000/svg", "{http://www.w3.org/1999/xlink}href"
#: Parts of a CSS ``font`` before the families: weight and style words, then the size.
_FONT = re.compile(r"(?P<words>(?:[a-z0-9-]+ )*?)(?P<size>[\d.]+)px (?P<families>.+)")
_NUMBER = re.compile(r"-?\d+\.\d+")
_REFERENCE = re.compile(r"#([\w-]+)")
#: What the page's own type says, or what is the default.
_LEFT_OUT = {"font-family", "font-stretch", "font-variant", "line-height"}
_DEFAULTS = {"stroke-miterlimit": "10", "font-weight": "normal", "font-style": "normal", "opacity": "1"}
#: Shorter words than these fit in any font.
_SHORT = 4
#: CSS pixels of a point.
_PIXELS = 96 / 72


def inline_svg(figure: Figure, label: str, mark: str) -> str:
    """Give a figure as an ``<svg>`` element.

    Parameters
    ----------
    figure
        Drawn already.
    label
        What a screen reader says of it.
    mark
        Beginning of every id, which is to be the figure's own on its page.

    Notes
    -----
    Styles become presentation attributes, since a content-security policy without ``unsafe-inline`` forbids
    ``style=""``; ids that nothing refers to go; numbers keep a tenth of a point. Words keep the width of the
    figure's own font: in the wider one of a reader they would run into each other. Same figure, same text.
    """
    stream = io.StringIO()
    with context("journal_double"):
        import matplotlib

        matplotlib.rcParams["svg.fonttype"] = "none"
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
        root = ElementTree.fromstring(stream.getvalue())
        for parent in root.iter():
            for child in [c for c in parent if _name(c) in ("metadata", "style") or _is_empty(c)]:
                parent.remove(child)
        elements = list(root.iter())
        for element in elements:
            _plain(element)
            _keep_width(element)
    _own_ids(elements, mark)
    width, height = (float(part) for part in root.attrib["viewBox"].split()[2:])
    inside = "".join(_written(child) for child in root)
    return (
        f'<svg class="{"broad" if width * _PIXELS > 480 else "narrow"}" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width * _PIXELS:.0f}" height="{height * _PIXELS:.0f}" role="img" aria-label="{escape(label)}">'
        f"{inside}</svg>"
    )


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _is_empty(element: ElementTree.Element) -> bool:
    return _name(element) == "defs" and not any(_name(child) != "style" for child in element)


def _plain(element: ElementTree.Element) -> None:
    """Styles as attributes, numbers short."""
    for entry in element.attrib.pop("style", "").split(";"):
        key, _, value = (part.strip() for part in entry.partition(":"))
        if key == "font" and (font := _FONT.fullmatch(value)):
            element.set("font-size", font["size"])
            element.attrib |= (
                {"font-weight": "bold"} if "bold" in font["words"] or "700" in font["words"] else {}
            )
        elif key and key not in _LEFT_OUT and _DEFAULTS.get(key) != value:
            element.set(key, value.removesuffix("px") if key == "font-size" else value)
    if _LINK in element.attrib:
        element.set("href", element.attrib.pop(_LINK))
    for key, value in element.attrib.items():
        if key in ("id", "href", "clip-path", "fill", "stroke"):
            continue
        element.set(key, " ".join(_NUMBER.sub(_short, value).split()))
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
    if element.text and not element.text.strip():
        element.text = None
    element.tail = None


def _keep_width(element: ElementTree.Element) -> None:
    """The width that matplotlib gave a text, in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    text, size = element.text or "", element.get("font-size")
    if _name(element) == "text" and size is not None and len(text) >= _SHORT:
        font = FontProperties(size=float(size), weight=element.get("font-weight", "normal"))
        width = text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]
        element.attrib |= {"textLength": f"{width:.1f}", "lengthAdjust": "spacingAndGlyphs"}


def _short(number: re.Match[str]) -> str:
    text = f"{float(number.group()):.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def _own_ids(elements: list[ElementTree.Element], mark: str) -> None:
    """Ids in use are counted under the mark; others go."""
    links = [
        (element, key)
        for element in elements
        for key, value in element.attrib.items()
        if key == "href" or value.startswith("url(#")
    ]
    used = dict.fromkeys(_REFERENCE.findall(element.attrib[key])[0] for element, key in links)
    names = {old: f"{mark}-{number}" for number, old in enumerate(used)}
    for element, key in links:
        element.set(key, _REFERENCE.sub(lambda found: f"#{names[found[1]]}", element.attrib[key]))
    for element in elements:
        old = element.attrib.pop("id", None)
        if old in names:
            element.set("id", names[old])


def _written(element: ElementTree.Element) -> str:
    """Markup of an element: groups that say nothing are left out, what is written is escaped."""
    name, inside = _name(element), escape(element.text or "", quote=False)
    inside += "".join(map(_written, element))
    if name == "g" and not element.attrib:
        return inside
    attributes = "".join(f' {key}="{escape(value)}"' for key, value in element.attrib.items())
    return f"<{name}{attributes}>{inside}</{name}>" if inside else f"<{name}{attributes}/>"
