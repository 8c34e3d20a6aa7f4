"""Generalised method of moments."""

from __future__ import annotations

from spatial_zb.data.panel import Panel
from spatial_zb.errors import SpecificationError
from spatial_zb.models.fit import Fit
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.weights.matrix import Weights

__all__ = ["GMM_COVARIANCES", "fit_gmm"]

GMM_COVARIANCES = ("information", "robust")


def fit_gmm(spec: DurbinSpec, panel: Panel, weights: Weights, covariance: str, powers: int) -> Fit:
    """Not there yet."""
    raise SpecificationError('estimator="gmm" is not available yet: use "lee_yu" or "direct".')
