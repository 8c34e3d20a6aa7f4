"""Derive the tables on innovation of the delta and of Zhejiang from that of all cities.

Usage::

    python scripts/derive_innovation.py          # write the tables
    python scripts/derive_innovation.py --check  # derive again and compare, write nothing

How: ``derivation/innovation.py``.
"""

from __future__ import annotations

import sys

from derivation import parser

from spatial_zb.base.text import Text


def main() -> int:
    """Read the options; what takes long to import comes after the help."""
    about = Text(
        "Derive data/delta_innovation_2017_2022.csv and data/zhejiang_standing_2017_2022.csv from the table of all cities.",
        "由全国城市表生成data/delta_innovation_2017_2022.csv和data/zhejiang_standing_2017_2022.csv。",
    )
    check = parser(about).parse_args().check
    from derivation.innovation import derive_tables

    return derive_tables(check)


if __name__ == "__main__":
    sys.exit(main())
