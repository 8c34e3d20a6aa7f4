"""Statistics that this package does not compute itself: esda's, behind the gate of this one."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from spatial_zb.data.panel import Panel
from spatial_zb.errors import DataError, SpecificationError, listed, listed_zh
from spatial_zb.explore.checks import ready
from spatial_zb.text import Text

__all__ = ["esda_statistic"]


def esda_statistic(
    name: str,
    panel: Panel,
    variables: str | Sequence[str],
    W: Any,
    *,
    rng: int = 0,
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
    np.random.set_state(np.random.RandomState(rng).get_state())  # noqa: NPY002 - put back below
    try:
        for period, values in zip(ordered.periods, ordered.array(names), strict=True):
            out[period] = _one(statistic, name, period, [np.array(v) for v in values.T], graph, options)
    finally:
        np.random.set_state(before)  # noqa: NPY002
    return out


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
