"""A figure as an SVG element inside a page: small, with type that stays type, without styles that a strict page refuses."""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from spatial_zb.report.style import context

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["inline_svg"]

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
    used = dict.fromkeys(_REFERENCE.search(element.attrib[key])[1] for element, key in links)  # type: ignore[index]
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
