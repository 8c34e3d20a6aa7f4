"""Stage compare: one term of one model over a grid of choices, models and weights side by side, the robustness battery."""

from __future__ import annotations

import warnings

from spatial_zb.errors import SpatialZbWarning
from spatial_zb.pipeline.comparison_base import Base
from spatial_zb.pipeline.comparison_battery import robustness_battery
from spatial_zb.pipeline.comparison_grid import grid_and_curve
from spatial_zb.pipeline.comparison_models import models_side_by_side
from spatial_zb.pipeline.job import Job
from spatial_zb.text import Text

__all__ = ["compare"]


def compare(job: Job) -> list[Text]:
    """The comparison of a study: grid and curve, models and weights, probabilities, robustness.

    A part that cannot be computed is left out with a warning that says why.
    """
    asked = job.study.compare
    if asked is None:
        return []
    base = Base(job, asked, job.study.models[asked.model], job.study.samples_of(asked)[0])
    if base.spec.regimes:
        place = job.study.place("compare.model")
        warnings.warn(
            SpatialZbWarning(
                f"{place.en}: {asked.model!r} has regimes, and with them two estimates of every term: nothing was compared.",
                f"{place.zh}：{asked.model!r}分区制，每个变量有两个估计值，未作比较。",
            ),
            stacklevel=2,
        )
        return []
    readings = [grid_and_curve(base), models_side_by_side(base), robustness_battery(base)]
    said = [reading for reading in readings if reading is not None]
    if said:
        title = Text("Comparisons and robustness in words", "比较与稳健性解读")
        job.prose("compare_reading", title, said)
    return said[:1]
