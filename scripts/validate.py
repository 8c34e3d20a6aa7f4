"""Run the published simulation study, part by part, and write its tables, pages and figures to docs/validation.

    python scripts/validate.py [small_sample …] [--replications 1000] [--workers 1]

Without names all parts are run. What is there already, with the same seed and number of replications, is kept: an
interrupted study goes on where it stopped, and the number of workers changes no number.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from validation import (
    comparison,
    dynamic,
    gmm,
    median_unbiased,
    null_sizes,
    other_software,
    planning,
    random_effects,
    resampled,
    resampled_others,
    sizes,
    small_sample,
    study,
    systems,
)

PARTS = {
    "small_sample": small_sample.run,
    "gmm": gmm.run,
    "sizes": sizes.run,
    "systems": systems.run,
    "resampled": resampled.run,
    "resampled_others": resampled_others.run,
    "random_effects": random_effects.run,
    "median_unbiased": median_unbiased.run,
    "other_software": other_software.run,
    "null_sizes": null_sizes.run,
    "planning": planning.run,
    "study": study.run,
    "comparison": comparison.run,
    "dynamic": dynamic.run_dynamic,
    "long_run": dynamic.run_long_run,
    "regimes": dynamic.run_regimes,
}


def main() -> None:
    """Read the options and run the parts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="parts to run, all without")
    parser.add_argument("--replications", type=int, help="of every cell; each part has a default of its own")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    given = {} if options.replications is None else {"replications": options.replications}
    for part in options.parts or PARTS:
        PARTS[part](workers=options.workers, **given)


if __name__ == "__main__":
    main()
