"""Derive ``data/zhejiang_constant_units_2000_2010.csv``: census population within constant boundaries.

Usage::

    python scripts/derive_constant_units.py          # write the table
    python scripts/derive_constant_units.py --check  # derive again and compare, write nothing

How: ``derivation/constant_units.py``.
"""

from __future__ import annotations

import sys

from spatial_zb.bilingual_parser import BilingualParser, help_language
from spatial_zb.text import Text


def main() -> int:
    """Read the options; what takes long to import comes after the help."""
    about = Text(
        "Derive data/zhejiang_constant_units_2000_2010.csv: census population within constant boundaries.",
        "生成data/zhejiang_constant_units_2000_2010.csv：不变边界内的普查人口。",
    )
    parser = BilingualParser(about, help_language(sys.argv[1:]))
    parser.add_argument(
        "--check",
        action="store_true",
        help=Text("compare with what is there, write nothing", "只与现有文件比较，不写任何文件"),
    )
    parser.add_language()
    options = parser.parse_args()
    from derivation.constant_units import derive_table

    return derive_table(options.check)


if __name__ == "__main__":
    sys.exit(main())
