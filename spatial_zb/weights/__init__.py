"""Spatial weights: the matrix and the ways to build it."""

from spatial_zb.weights.build import contiguity, inverse_distance, knn
from spatial_zb.weights.matrix import Weights, as_weights

__all__ = ["Weights", "as_weights", "contiguity", "inverse_distance", "knn"]
