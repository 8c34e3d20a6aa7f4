"""Derive the page of claims, docs/claims.md, out of runs of all shipped studies that confront a theory.

Usage::

    python scripts/derive_claims.py          # write docs/claims.md
    python scripts/derive_claims.py --check  # derive again and compare, write nothing

How: ``derivation/claims.py``.
"""

from __future__ import annotations

import sys

from derivation import parser

from spatial_zb.base.text import Text


def main() -> int:
    """Read the options; what takes long to import comes after the help."""
    about = Text(
        "Derive docs/claims.md out of runs of all shipped studies that confront a theory.",
        "运行全部含理论论断的随附研究，生成docs/claims.md。",
    )
    check = parser(about).parse_args().check
    from derivation.claims import derive_claims

    return derive_claims(check)


if __name__ == "__main__":
    sys.exit(main())
