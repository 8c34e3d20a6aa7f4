"""The replication package of a study: put together from its results, run again, compared."""

from spatial_zb.pipeline.replication.compare import VERDICTS, Comparison, compare_results
from spatial_zb.pipeline.replication.package import replicate, verify

__all__ = ["VERDICTS", "Comparison", "compare_results", "replicate", "verify"]
