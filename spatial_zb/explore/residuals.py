"""Moran's I of the residuals of a fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from spatial_zb.core import cross_product as cross
from spatial_zb.core.moran import Alternative
from spatial_zb.errors import AlignmentError, DataError, SpecificationError, listed, listed_zh
from spatial_zb.explore.checks import Options, Seed, mention_islands
from spatial_zb.explore.overall import analytic, pooled
from spatial_zb.explore.tables import StatisticTable
from spatial_zb.text import Text
from spatial_zb.weights.matrix import as_weights

__all__ = ["residual_moran"]


def residual_moran(
    residuals: Any,
    W: Any = None,
    *,
    units: Any = None,
    regressors: np.ndarray | None = None,
    permutations: int = 999,
    rng: Seed = None,
    alternative: Alternative = "two-sided",
) -> StatisticTable:
    """Moran's ``I`` of the residuals of a fit, all periods together.

    Parameters
    ----------
    residuals
        A :class:`~spatial_zb.models.fit.Fit`; a Series by unit; a DataFrame with periods as rows and units as
        columns; or an array (n,) or (T, n) with ``units``.
    W
        Weights; those of the fit by default.
    units
        Ids of the columns of an array.
    regressors
        The (n, k) or (T, n, k) regressors behind an array of least-squares residuals, intercept included. A
        fit brings its own.
    permutations, rng, alternative
        As in :func:`moran`; histories of units change places. With few observations this ignores that
        residuals were fitted: prefer ``p_value`` where there is one.

    Returns
    -------
    StatisticTable of one row. ``expected, std_dev, z, p_value`` are those of Cliff & Ord (1981) for normal
    errors after least squares (OLS and SLX, with fixed effects among the regressors). They are NaN for a fit
    with ρ, λ, random effects or instruments, whose residuals obey other laws: use ``diagnose`` there. For an
    array without ``regressors`` they are those of a variable, as in :func:`pooled_moran`.

    Raises
    ------
    AlignmentError
        An array without ``units``, or units that differ from those of W.
    DataError
        A residual that is not a number.
    SpecificationError
        No W, or as in :func:`moran`.
    """
    e, ids, Z, effects, fitted = _residual_arrays(residuals, units, regressors)
    order = np.argsort(ids.to_numpy())
    e, ids, Z = e[:, order], ids[order], None if Z is None else Z[:, order]
    if W is None and not fitted:
        raise SpecificationError(
            "Residuals alone do not say who is whose neighbour: pass W.", "单有残差不知谁与谁相邻：请给出W。"
        )
    options = Options(permutations, rng, alternative)
    weights = as_weights(residuals.weights if W is None else W).align(ids, Text("residuals", "残差"))
    if not np.isfinite(e).all():
        raise DataError(
            f"Residuals of {listed(ids[~np.isfinite(e).all(axis=0)])} are not finite numbers.",
            f"{listed_zh(ids[~np.isfinite(e).all(axis=0)])}的残差不是有限数值。",
        )
    mention_islands(weights, Text("do not count in Moran's I", "不计入莫兰指数"))
    out = pooled(e, "residuals", weights, options)
    if Z is None and not fitted:
        return out
    result = cross.Result(float(out.frame["I"].iloc[0]), np.nan, np.nan)
    if Z is not None:
        from spatial_zb.core.residual_moran import residual_moran_i  # loads scipy.linalg

        result = residual_moran_i(e, Z, weights.matrix, effects)
    for name, value in analytic("I", result, alternative).items():
        out.frame[name] = value
    return out


def _residual_arrays(
    residuals: Any, units: Any, regressors: np.ndarray | None
) -> tuple[np.ndarray, pd.Index, np.ndarray | None, Any, bool]:
    """(T, n) residuals, ids, transformed regressors where least squares gave them, effects, whether a fit."""
    if hasattr(residuals, "design"):
        spec = residuals.spec
        least_squares = not (
            spec.lag_y
            or spec.lag_error
            or spec.endog
            or spec.fixed_effects == "random"
            or residuals.estimator == "gmm"
        )
        Z = residuals.design.Z if least_squares else None
        return residuals.residuals, residuals.panel.units, Z, spec.fixed_effects, True
    if isinstance(residuals, pd.Series):
        units, residuals = residuals.index, residuals.to_numpy(float)
    elif isinstance(residuals, pd.DataFrame):
        units, residuals = residuals.columns, residuals.to_numpy(float)
    if units is None:
        raise AlignmentError(
            "An array of residuals carries no unit ids: pass units=[...] in the order of its columns.",
            "残差数组没有地区编码：请按列的次序给出units=[...]。",
        )
    e = np.atleast_2d(np.asarray(residuals, float))
    if e.ndim != 2 or e.shape[1] != len(units):
        raise AlignmentError(
            f"Residuals have shape {e.shape}, which does not fit {len(units)} units.",
            f"残差的形状为{e.shape}，与{len(units)}个地区不符。",
        )
    Z = None if regressors is None else np.asarray(regressors, float)
    if Z is not None:
        Z = Z[None] if Z.ndim == 2 else Z
        if Z.shape[:2] != e.shape:
            raise SpecificationError(
                f"regressors have shape {Z.shape}, which does not fit residuals of shape {e.shape}.",
                f"regressors的形状为{Z.shape}，与形状为{e.shape}的残差不符。",
            )
    return e, pd.Index(units), Z, "none", False
