"""From a study file to its results: ``prepare`` reads and checks, ``stages`` work, ``running`` locks and publishes.

All input and output of a study is here; no formula and no layout is.
"""

from spatial_zb.pipeline.inputs import build_weights
from spatial_zb.pipeline.prepare import Prepared, prepare
from spatial_zb.pipeline.running import STAGES, Outcome, refuse_results_of_others, run

__all__ = ["STAGES", "Outcome", "Prepared", "build_weights", "prepare", "refuse_results_of_others", "run"]
