"""Derive the data of the examples that the package carries, out of the shipped studies.

Usage::

    python scripts/derive_examples.py          # write spatial_zb/pipeline/examples/*/data
    python scripts/derive_examples.py --check  # derive again and compare, write nothing

How: ``derivation/examples.py``.
"""

from __future__ import annotations

import sys

from derivation import parser

from spatial_zb.base.text import Text


def main() -> int:
    """Read the options; what takes long to import comes after the help."""
    about = Text(
        "Derive the data of the examples that the package carries, out of the shipped studies.",
        "由随附的研究生成程序包自带的示例数据。",
    )
    check = parser(about).parse_args().check
    from derivation.examples import derive_examples

    return derive_examples(check)


if __name__ == "__main__":
    sys.exit(main())
