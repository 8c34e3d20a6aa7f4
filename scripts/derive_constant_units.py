"""Derive ``data/zhejiang_constant_units_2000_2010.csv``: census population within constant boundaries.

Usage::

    python scripts/derive_constant_units.py          # write the table
    python scripts/derive_constant_units.py --check  # derive again and compare, write nothing

How: ``derivation/constant_units.py``.
"""

from __future__ import annotations

import sys

from derivation import parser

from spatial_zb.base.text import Text


def main() -> int:
    """Read the options; what takes long to import comes after the help."""
    about = Text(
        "Derive data/zhejiang_constant_units_2000_2010.csv: census population within constant boundaries.",
        "生成data/zhejiang_constant_units_2000_2010.csv：不变边界内的普查人口。",
    )
    check = parser(about).parse_args().check
    from derivation.constant_units import derive_table

    return derive_table(check)


if __name__ == "__main__":
    sys.exit(main())
