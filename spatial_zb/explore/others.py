"""Moran's I of the residuals of a fit, and statistics of esda behind this package's checks."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from spatial_zb.base.arguments import Rng, seed_of
from spatial_zb.base.errors import AlignmentError, DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.core import statistics as cross
from spatial_zb.core.statistics import Alternative
from spatial_zb.data.panel import Panel
from spatial_zb.explore.checks import Options, StatisticTable, mention_islands, ready
from spatial_zb.explore.overall import analytic, pooled
from spatial_zb.weights.matrix import as_weights


def residual_moran(
    residuals: Any,
    W: Any = None,
    *,
    units: Any = None,
    regressors: np.ndarray | None = None,
    permutations: int = 999,
    rng: Rng = None,
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
        from spatial_zb.core.likelihood.tests import residual_moran_i

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
        if getattr(residuals.design, "shape_facts", {}):
            raise SpecificationError(
                "Moran's I of residuals over all periods is for a complete panel under one W with effects of units and "
                "periods. By period, among units that are there: "
                'zb.moran(fit.panel.with_columns({"e": fit.residuals}), "e", W).',
                "残差的莫兰指数（各期合并）用于面板完整、W唯一、仅有个体与时间效应的估计。按期、在存在的地区之间："
                'zb.moran(fit.panel.with_columns({"e": fit.residuals}), "e", W)。',
            )
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


def esda_statistic(
    name: str,
    panel: Panel,
    variables: str | Sequence[str],
    W: Any,
    *,
    rng: Rng = 0,
    **options: Any,
) -> dict[Any, Any]:
    """Compute a statistic of the package esda for every period, with this package's checks in front.

    Values and weights are matched by id, blank cells and constant variables are refused, and a W with islands is
    refused too: esda gives units without neighbours a value, and at times a p-value, that means nothing. What esda
    draws, it draws from numpy's global stream, which is set to ``rng`` for the call and put back after it.

    Parameters
    ----------
    name
        A class of esda that takes one or more variables and weights, such as ``"Join_Counts"``, ``"Spatial_Pearson"`` or
        ``"Moran_BV"``.
    variables
        One or more variables, in the order in which esda takes them.
    rng
        Seed.
    options
        Handed to esda as they are, such as ``permutations``.

    Returns
    -------
    dict
        By period, the object that esda makes.

    Raises
    ------
    SpecificationError
        esda is not installed, has no such statistic, or does not take these options.
    DataError
        Blank or constant variables, units without neighbours, or values that esda refuses.
    AlignmentError
        Units of the panel and of W differ.
    """
    statistic = _statistic(name)
    names = [variables] if isinstance(variables, str) else list(variables)
    ordered, weights = ready(panel, names, W, name, Text("are refused", "不被接受"))
    if len(weights.islands):
        raise DataError(
            f"{name} of esda is not defined for units without neighbours ({listed(weights.islands)}): give W another "
            "islands policy, such as islands='nearest', or leave these units out.",
            f"esda的{name}对没有邻居的地区没有定义（{listed_zh(weights.islands)}）：请为W改用其他孤岛处理，"
            "如islands='nearest'，或剔除这些地区。",
        )
    graph, out = weights.to_graph(), {}
    before = np.random.get_state()  # noqa: NPY002 - the stream that esda draws from
    np.random.set_state(_legacy_stream(rng).get_state())  # noqa: NPY002 - put back below
    try:
        for period, values in zip(ordered.periods, ordered.array(names), strict=True):
            out[period] = _one(statistic, name, period, [np.array(v) for v in values.T], graph, options)
    finally:
        np.random.set_state(before)  # noqa: NPY002
    return out


def _legacy_stream(rng: Rng) -> np.random.RandomState:
    """The old kind of stream that esda draws from; a whole number seeds it as ``numpy.random.seed`` does."""
    if isinstance(rng, int | np.integer) and 0 <= rng < 2**32:
        return np.random.RandomState(rng)
    return np.random.RandomState(np.random.MT19937(seed_of(rng)))


def _statistic(name: str) -> Any:
    """The class of esda of this name that takes weights."""
    try:
        import esda
    except ImportError as error:
        raise SpecificationError(
            "esda is not installed: pip install esda.", "未安装esda：pip install esda。"
        ) from error
    found = {
        key: value
        for key, value in vars(esda).items()
        if inspect.isclass(value) and {"w", "connectivity", "W"} & set(_parameters(value))
    }
    if name not in found:
        raise SpecificationError(
            f"esda has no statistic {name!r} that takes weights; it has {listed(sorted(found))}.",
            f"esda没有使用权重矩阵的统计量{name!r}；已有{listed_zh(sorted(found))}。",
        )
    return found[name]


def _parameters(statistic: Any) -> list[str]:
    try:
        return list(inspect.signature(statistic.__init__).parameters)
    except (TypeError, ValueError):
        return []


def _one(statistic: Any, name: str, period: Any, values: list, graph: Any, options: dict) -> Any:
    """One period; esda's estimators take the data in fit(), its older classes at once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of esda and what it is built on, about their own futures
        try:
            if hasattr(statistic, "fit"):
                columns = values if len(values) == 1 else [v[:, None] for v in values]
                return statistic(connectivity=graph.transform("r").sparse, **options).fit(*columns)
            return statistic(*values, graph, **options)
        except TypeError as error:
            raise SpecificationError(
                f"esda's {name} was not called as it needs to be: {error}",
                f"esda的{name}调用方式不符：{error}",
            ) from error
        except (ValueError, KeyError, AttributeError, IndexError, ArithmeticError) as error:
            raise DataError(
                f"esda's {name} refuses the values of {period}: {error}",
                f"esda的{name}不接受{period}的取值：{error}",
            ) from error
