"""How the layers, the table and the font that are delivered were made from their sources."""

from __future__ import annotations

import sys

from spatial_zb.base.text import Text
from spatial_zb.cli.options import BilingualParser, help_language

__all__ = ["parser"]


def parser(about: Text) -> BilingualParser:
    """The parser of a script that derives something: it writes it, or with ``--check`` compares it with what is there."""
    made = BilingualParser(about, help_language(sys.argv[1:]))
    made.add_argument(
        "--check",
        action="store_true",
        help=Text("compare with what is there, write nothing", "只与现有文件比较，不写任何文件"),
    )
    made.add_language()
    return made
