"""The road from a study file to its results; all input and output of the package is here.

``prepare`` reads and checks, ``job`` writes, ``exploration``, ``equations``, ``systems`` and ``figures`` hold the
stages, ``running`` locks, runs and publishes.
"""

from spatial_zb.pipeline.prepare import Prepared, build_weights, prepare
from spatial_zb.pipeline.running import STAGES, Outcome, run

__all__ = ["STAGES", "Outcome", "Prepared", "build_weights", "prepare", "run"]
