"""Spatial weights: the frozen matrix, and how to build, read, describe and combine it.

Statistics and models that use weights live above.
"""

from spatial_zb.weights.build.adjacency import block, contiguity
from spatial_zb.weights.build.economic import bridges, combine, economic_distance, unit_means
from spatial_zb.weights.build.nearness import distance_band, exponential_decay, gravity, inverse_distance, knn
from spatial_zb.weights.compare import WeightsComparison, compare_weights
from spatial_zb.weights.describe import WeightsReport
from spatial_zb.weights.files import read, write
from spatial_zb.weights.matrix import Weights, as_weights

__all__ = [
    "Weights",
    "WeightsComparison",
    "WeightsReport",
    "as_weights",
    "block",
    "bridges",
    "combine",
    "compare_weights",
    "contiguity",
    "distance_band",
    "economic_distance",
    "exponential_decay",
    "gravity",
    "inverse_distance",
    "knn",
    "read",
    "unit_means",
    "write",
]
