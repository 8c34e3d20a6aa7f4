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

from spatial_zb.bilingual_parser import BilingualParser, help_language
from spatial_zb.text import Text


def main() -> int:
    """Read the options; what takes long to import comes after the help."""
    about = Text(
        "Derive the font in spatial_zb/report/fonts/ from Noto Sans SC at weight 400.",
        "由Noto Sans SC（字重400）生成spatial_zb/report/fonts/中的字体。",
    )
    parser = BilingualParser(about, help_language(sys.argv[1:]))
    parser.add_argument(
        "archive",
        type=Path,
        help=Text(
            "the archive that `npm pack @expo-google-fonts/noto-sans-sc@0.4.3` writes",
            "`npm pack @expo-google-fonts/noto-sans-sc@0.4.3`所写的压缩包",
        ),
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help=Text("compare with what is there, write nothing", "只与现有文件比较，不写任何文件"),
    )
    parser.add_language()
    options = parser.parse_args()
    from derivation.font import derive_files

    derive_files(options.archive, options.check)
    return 0


if __name__ == "__main__":
    sys.exit(main())
