"""From a study file to its results: ``prepare`` reads and checks, ``stages`` work, ``running`` locks and publishes.

All input and output of a study is here; no formula and no layout is.
"""

from spatial_zb.pipeline.prepare import Prepared, prepare
from spatial_zb.pipeline.running import STAGES, Checked, Outcome, check, refuse_results_of_others, run
from spatial_zb.pipeline.stages.models import planned_power
from spatial_zb.pipeline.units import build_weights

__all__ = [
    "STAGES",
    "Checked",
    "Outcome",
    "Prepared",
    "build_weights",
    "check",
    "planned_power",
    "prepare",
    "refuse_results_of_others",
    "run",
]
