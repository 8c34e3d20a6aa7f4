"""Cases that fool common tools, each run with the tool and with spatial_zb, side by side.

    python scripts/validate_common_tools.py [--write]

The cases are in ``validation/common_tools.py``.
"""

from __future__ import annotations

import sys

from spatial_zb.base.text import Text
from spatial_zb.cli.options import BilingualParser, help_language


def main() -> int:
    """Read the options; what takes long to import comes after the help."""
    about = Text(
        "Cases that fool common tools, each run with the tool and with spatial_zb, side by side.",
        "常用工具会出错的情形，每种都用该工具和spatial_zb各运行一遍，并列比较。",
    )
    parser = BilingualParser(about, help_language(sys.argv[1:]))
    parser.add_argument(
        "--write",
        action="store_true",
        help=Text("write docs/validation/common_tools.md", "写入docs/validation/common_tools.md"),
    )
    parser.add_language()
    options = parser.parse_args()
    from validation.common_tools import show

    show(options.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
