"""Derive the font in ``spatial_zb/report/fonts/`` from Noto Sans SC at weight 400.

Usage::

    uv sync --group derive                              # fonttools
    npm pack @expo-google-fonts/noto-sans-sc@0.4.3      # writes the .tgz named below
    python scripts/derive_font.py expo-google-fonts-noto-sans-sc-0.4.3.tgz            # write the font
    python scripts/derive_font.py expo-google-fonts-noto-sans-sc-0.4.3.tgz --check    # compare, write nothing

How: ``derivation/font.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from derivation import parser

from spatial_zb.base.text import Text


def main() -> int:
    """Read the options; what takes long to import comes after the help."""
    about = Text(
        "Derive the font in spatial_zb/report/fonts/ from Noto Sans SC at weight 400.",
        "由Noto Sans SC（字重400）生成spatial_zb/report/fonts/中的字体。",
    )
    made = parser(about)
    made.add_argument(
        "archive",
        type=Path,
        help=Text(
            "the archive that `npm pack @expo-google-fonts/noto-sans-sc@0.4.3` writes",
            "`npm pack @expo-google-fonts/noto-sans-sc@0.4.3`所写的压缩包",
        ),
    )
    options = made.parse_args()
    from derivation.font import derive_files

    derive_files(options.archive, options.check)
    return 0


if __name__ == "__main__":
    sys.exit(main())
