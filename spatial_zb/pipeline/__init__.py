"""The road from a study file to its results; all input and output of the package is here.

``prepare`` reads and checks, ``weights`` builds weights, ``job`` writes, ``exploration``, ``equations``, ``systems``,
``figures`` and others hold the stages, ``made`` keeps what they make for ``report_page``, the last of them, and
``running`` locks, runs and publishes.
"""

from spatial_zb.pipeline.inputs import build_weights
from spatial_zb.pipeline.prepare import Prepared, prepare
from spatial_zb.pipeline.running import STAGES, Outcome, refuse_results_of_others, run

__all__ = ["STAGES", "Outcome", "Prepared", "build_weights", "prepare", "refuse_results_of_others", "run"]
