"""Run the published simulation study, part by part, and write its tables (CSV) and figures to docs/validation.

    python scripts/validate.py [small_sample …] [--replications 1000] [--workers 1]

Without names all parts are run. What is there already, with the same seed and number of replications, is kept: an
interrupted study goes on where it stopped, and the number of workers changes no number.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from spatial_zb.base.text import Text
from spatial_zb.cli.options import BilingualParser, help_language

#: Part → module of ``validation`` and its function.
PARTS = {
    "small_sample": ("small_sample", "run"),
    "gmm": ("gmm", "run"),
    "sizes": ("sizes", "run"),
    "errors": ("errors", "run"),
    "lifelike": ("lifelike", "run"),
    "systems": ("systems", "run"),
    "resampled": ("resampled", "run"),
    "resampled_others": ("resampled_others", "run"),
    "random_effects": ("random_effects", "run"),
    "median_unbiased": ("median_unbiased", "run"),
    "other_software": ("other_software", "run"),
    "null_sizes": ("null_sizes", "run"),
    "planning": ("planning", "run"),
    "study": ("study", "run"),
    "comparison": ("comparison", "run"),
    "dynamic": ("dynamic", "run_dynamic"),
    "dynamic_system": ("dynamic_system", "run"),
    "long_run": ("dynamic", "run_long_run"),
    "regimes": ("dynamic", "run_regimes"),
    "regime_groups": ("dynamic", "run_regime_groups"),
    "robust_score": ("robust_score", "run"),
    "clusters": ("clusters", "run"),
    "shape": ("shape", "run"),
    "shape_large": ("shape", "run_large"),
    "shape_bias": ("shape", "run_bias"),
    "shape_tests": ("shape", "run_sizes"),
    "conley": ("conley", "run"),
    "sets": ("sets", "run"),
}


def main() -> None:
    """Read the options and run the parts."""
    about = Text(
        "Run the published simulation study, part by part, and write its tables (CSV) and figures to docs/validation.",
        "逐部分运行已发布的模拟研究，将表（CSV）和图写入docs/validation。",
    )
    parser = BilingualParser(about, help_language(sys.argv[1:]))
    parser.add_argument(
        "parts",
        nargs="*",
        choices=[*PARTS, []],
        metavar="PART",
        help=Text(
            f"parts to run, all without: {', '.join(PARTS)}",
            f"要运行的部分，不给则为全部：{'、'.join(PARTS)}",
        ),
    )
    parser.add_argument(
        "--replications",
        type=int,
        help=Text(
            "of every cell; each part has a default of its own", "每种情形的重复次数；各部分有自己的默认值"
        ),
    )
    parser.add_argument(
        "--workers", type=int, default=1, help=Text("processes (default: 1)", "进程数（默认：1）")
    )
    parser.add_language()
    options = parser.parse_args()
    given = {} if options.replications is None else {"replications": options.replications}
    for part in options.parts or PARTS:
        module, function = PARTS[part]
        getattr(import_module(f"validation.{module}"), function)(workers=options.workers, **given)


if __name__ == "__main__":
    main()
