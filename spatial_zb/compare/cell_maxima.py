"""The models of a grid at the maximum of their likelihood, from moments that they share.

A model in which something is unusual has no maximum here: a variable that cannot be used, near collinearity, a y that
is nearly explained, no interior maximum. It is left to a single fit, which has words for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spatial_zb.compare.moments import Moments
from spatial_zb.core.orthogonal import ColumnBasis, column_basis, cross_products
from spatial_zb.core.spatial_ml import Maximum, maximise
from spatial_zb.core.within import TransformedSample, transformed_sample
from spatial_zb.data.panel import Panel
from spatial_zb.models.design import CONDITION_WARNING, RANK_TOLERANCE
from spatial_zb.models.spec import DurbinSpec

__all__ = ["Option", "SharedCell", "SharedModel", "shared_cells"]

Array = NDArray[np.float64]

#: Shares of y left by W and the regressors below which a cell is left to the checks of a single fit.
NEARLY_NOTHING = 1e-12
#: A single fit refuses or warns from a limit; a cell that comes this near to it is left to the single fit.
CAUTION = 0.5


@dataclass(frozen=True, slots=True)
class Option:
    """What distinguishes the cells of a block."""

    spec: DurbinSpec
    estimator: str
    covariance: str


@dataclass(frozen=True, slots=True)
class SharedModel:
    """A model at its maximum: which columns of the moments it has, their basis, and where the likelihood is highest."""

    option: Option
    where: NDArray[np.intp]
    basis: ColumnBasis
    sample: TransformedSample
    best: Maximum

    @property
    def coefficient(self) -> float:
        """ρ̂, or λ̂."""
        return self.best.rho + self.best.lam


@dataclass(frozen=True, slots=True)
class SharedCell:
    """A model at its maximum, and the covariance asked for."""

    covariance: str
    point: SharedModel

    @property
    def expected(self) -> bool:
        """Whether tr G'G and products with G are needed for the information matrix."""
        return self.covariance == "information" and bool(self.point.option.spec.spatial_terms)


def shared_cells(mine: Mapping[int, Option], moments: Moments, panel: Panel) -> dict[int, SharedCell]:
    """The maximum of every model, once for all its covariances."""
    points: dict[tuple[DurbinSpec, str], SharedModel | None] = {}
    for option in mine.values():
        key = option.spec, option.estimator
        if key not in points:
            points[key] = _maximum(option, moments, panel)
    found = {i: points[option.spec, option.estimator] for i, option in mine.items()}
    return {i: SharedCell(mine[i].covariance, point) for i, point in found.items() if point is not None}


def _maximum(option: Option, moments: Moments, panel: Panel) -> SharedModel | None:
    """The maximum of the likelihood; None where the model is left to a single fit."""
    spec = option.spec
    T, n = len(panel.periods), len(panel.units)
    sample = transformed_sample(n, T, spec.transform, option.estimator)
    side = moments.sides.get(spec.y)
    if side is None or not side.usable or not moments.usable.issuperset(spec.terms):
        return None
    left = transformed_sample(n, T, spec.transform, "lee_yu").observations
    if left <= len(spec.terms) + len(spec.spatial_terms) + 1:
        return None
    where = np.array([moments.place[term] for term in spec.terms], dtype=int)
    Z = moments.columns[:, where]
    basis = column_basis(Z)
    if _doubtful(spec, basis, Z, side.y, side.Wy):
        return None
    lagged = (moments.lags[:, where], side.Wy, side.WWy) if spec.lag_error else None
    if lagged and _only_multiplies(side.y, side.Wy, Z, lagged[0]):
        return None
    products = cross_products(Z, side.y, side.Wy, lagged, basis)
    logdet = moments.weights.logdet if spec.spatial_terms else None
    best = maximise(products, logdet, sample, bool(spec.lag_y), bool(spec.lag_error))
    return None if best.at_bound else SharedModel(option, where, basis, sample, best)


def _doubtful(spec: DurbinSpec, basis: ColumnBasis, Z: Array, y: Array, Wy: Array) -> bool:
    """Whether regressors are nearly collinear, or y or Wy nearly explained."""
    if np.abs(basis.R.diagonal()).min() * CAUTION <= RANK_TOLERANCE:
        return True
    R = basis.R
    if spec.transform == "none":
        if Z.shape[1] == 1:
            return False
        one = Z[:, 0]
        deviations = Z[:, 1:] - np.outer(one, one @ Z[:, 1:]) / (one @ one)
        R = column_basis(deviations).R
    values = np.linalg.svd(R, compute_uv=False)
    if values[0] > CAUTION * CONDITION_WARNING * values[-1]:
        return True
    both = np.column_stack([y, Wy])
    off = both - basis.Q @ (basis.Q.T @ both)
    size, left = (both**2).sum(axis=0), (off**2).sum(axis=0)
    flat = spec.lag_y and (
        left[1] <= NEARLY_NOTHING * left[0] or (off[:, 0] @ off[:, 1]) ** 2 >= (1 - 1e-9) * left.prod()
    )
    return bool(left[0] <= NEARLY_NOTHING * size[0] or flat)


def _only_multiplies(y: Array, Wy: Array, Z: Array, WZ: Array) -> bool:
    """Whether W nearly multiplies y and every regressor by one number."""
    before, after = np.column_stack([y, Z]), np.column_stack([Wy, WZ])
    off = after - (y @ Wy) / (y @ y) * before
    return bool(np.all((off**2).sum(axis=0) <= NEARLY_NOTHING * (before**2).sum(axis=0)))
