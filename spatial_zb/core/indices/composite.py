"""Composite indices on arrays: entropy weights, TOPSIS, and the coupling coordination of two indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spatial_zb.base.errors import DataError, SpecificationError
from spatial_zb.base.text import Text
from spatial_zb.core.indices import Floats, amounts, numbers, refuse, shares_along

Direction = Literal["more", "less"]


@dataclass(frozen=True, slots=True)
class EntropyWeights:
    """Weights of indicators by the spread of their values, and the index they make.

    Attributes
    ----------
    weights : array (p,)
        Sum to 1.
    entropy : array (p,)
        e_j, at most 1.
    scores : array, shape of the values without the last axis
        Weighted sum of the indicators scaled to [0, 1].
    zeros : array (p,)
        Number of scaled values that are 0, where p ln p is taken as its limit 0.
    """

    weights: Floats
    entropy: Floats
    scores: Floats
    zeros: NDArray[np.int64]


def entropy_weights(
    values: ArrayLike, directions: Sequence[Direction] | None = None, *, shift: float = 0.0
) -> EntropyWeights:
    """Weigh indicators by entropy, with all units and periods pooled so that years can be compared.

    Scaled to [0, 1] over the pool, ``p_ij = z_ij / Σ_i z_ij``, ``e_j = -(1/ln N) Σ_i p_ij ln p_ij``,
    ``w_j = (1 - e_j) / Σ_j (1 - e_j)``; score ``Σ_j w_j z_ij``.

    Parameters
    ----------
    values : array_like (..., p)
        Indicators along the last axis, for a panel (T, n, p).
    directions : sequence of "more" | "less", optional
        Whether more of an indicator is better. Default: all "more".
    shift : float
        Added to the scaled values before p is formed, as some authors do; 0 uses the limit of p ln p.

    Raises
    ------
    DataError
        A value is not a number, an indicator is constant, or there are fewer than two rows.
    SpecificationError
        A direction is unknown, their number is wrong, or the shift is negative.

    References
    ----------
    Shannon, C. E. (1948). A mathematical theory of communication. Bell System Technical Journal 27, 379-423;
    Zeleny, M. (1982). Multiple Criteria Decision Making. McGraw-Hill.

    Examples
    --------
    Scaled columns (0, 1, 1) and (0, 0, 1): entropies ln 2/ln 3 = 0.6309 and 0.

    >>> result = entropy_weights([[0.0, 0.0], [2.0, 0.0], [2.0, 5.0]])
    >>> result.entropy.round(4), result.weights.round(4)
    (array([0.6309, 0.    ]), array([0.2696, 0.7304]))
    """
    values = numbers(values, "values")
    if not (isinstance(shift, Real) and 0 <= shift < np.inf):
        raise SpecificationError(
            f"shift must be a number, zero or more, not {shift!r}.", f"shift须为非负数，而不是{shift!r}。"
        )
    pool = _scaled(values.reshape(-1, values.shape[-1]), directions)
    parts = shares_along(pool + shift, 0)
    logs = np.log(parts, out=np.zeros_like(parts), where=parts > 0)
    entropy = np.abs(-np.sum(parts * logs, axis=0) / np.log(len(parts)))
    spread = 1.0 - entropy
    weights = spread / spread.sum()
    return EntropyWeights(
        weights, entropy, (pool @ weights).reshape(values.shape[:-1]), np.sum(pool == 0, axis=0)
    )


def topsis(values: ArrayLike, weights: ArrayLike, directions: Sequence[Direction] | None = None) -> Floats:
    """Closeness to the ideal, ``C_i = d⁻ / (d⁺ + d⁻)``, from 0 (worst in all) to 1 (best in all).

    Indicators are divided by their root sum of squares over the pool and weighted; d⁺ and d⁻ are the
    Euclidean distances to the best and the worst value of each indicator.

    Parameters
    ----------
    values : array_like (..., p)
        Indicators along the last axis; all other axes are pooled.
    weights : array_like (p,)
        Not negative; scaled to sum 1.
    directions : sequence of "more" | "less", optional
        Default: all "more".

    Returns
    -------
    array, shape of the values without the last axis

    Raises
    ------
    DataError
        A value is not a number, an indicator is constant, or there are fewer than two rows.
    SpecificationError
        A direction is unknown, or the number of directions or weights is wrong.

    References
    ----------
    Hwang, C.-L., Yoon, K. (1981). Multiple Attribute Decision Making. Springer.

    Examples
    --------
    The first is best in both, the last worst in both, the middle one half way.

    >>> topsis([[4.0, 8.0], [3.0, 6.0], [2.0, 4.0]], [0.5, 0.5])
    array([1. , 0.5, 0. ])
    """
    values = numbers(values, "values")
    pool = values.reshape(-1, values.shape[-1])
    weights = amounts(weights, "weights")
    if weights.shape != pool.shape[1:]:
        raise SpecificationError(
            f"{pool.shape[1]} indicators need as many weights, not {weights.size}.",
            f"{pool.shape[1]}个指标须有同样多的权重，而不是{weights.size}个。",
        )
    sign = _signs(directions, pool.shape[1])
    _refuse_constant(pool)
    scale = shares_along(weights, -1) / np.sqrt(np.sum(pool**2, axis=0))
    better = sign * pool
    # Differences before scaling: a column that hardly varies keeps its digits.
    to_best = np.linalg.norm(scale * (better - better.max(axis=0)), axis=1)
    to_worst = np.linalg.norm(scale * (better - better.min(axis=0)), axis=1)
    return (to_worst / (to_best + to_worst)).reshape(values.shape[:-1])


@dataclass(frozen=True, slots=True)
class CouplingCoordination:
    """Coupling C, joint level T and coordination D of two systems, each with the shape of the inputs."""

    coupling: Floats
    level: Floats
    coordination: Floats


def coupling_coordination(first: ArrayLike, second: ArrayLike, *, alpha: float = 0.5) -> CouplingCoordination:
    """Coupling coordination of two indices in [0, 1].

    ``C = 2 √(U₁U₂) / (U₁ + U₂)``, ``T = α U₁ + (1 - α) U₂``, ``D = √(C T)``.

    Parameters
    ----------
    first, second : array_like, same shape
        U₁ and U₂, for example scores of :func:`entropy_weights`. Both 0 gives C = D = 0.
    alpha : float
        Weight of the first system.

    Raises
    ------
    DataError
        An index is outside [0, 1] or not a number, or the shapes differ.
    SpecificationError
        alpha is outside [0, 1].

    References
    ----------
    Liao, C. (1999). Quantitative judgement and classification system for coordinated development of
    environment and economy. Tropical Geography 19(2), 171-177 (廖重斌, 热带地理).

    Examples
    --------
    0.64 and 0.16: C = 2 · 0.32 / 0.8 = 0.8, T = 0.4, D = √0.32.

    >>> result = coupling_coordination([0.64], [0.16])
    >>> result.coupling.round(4), result.level.round(4), result.coordination.round(4)
    (array([0.8]), array([0.4]), array([0.5657]))
    """
    first, second = numbers(first, "first"), numbers(second, "second")
    if first.shape != second.shape:
        raise DataError(
            f"The two indices have different shapes, {first.shape} and {second.shape}.",
            f"两个指数的形状不同：{first.shape}与{second.shape}。",
        )
    if not (isinstance(alpha, Real) and 0 <= alpha <= 1):
        raise SpecificationError(
            f"alpha must be between 0 and 1, not {alpha!r}.", f"alpha须在0与1之间，而不是{alpha!r}。"
        )
    refuse(
        (first < 0) | (first > 1) | (second < 0) | (second > 1),
        Text("an index lies outside 0 to 1", "指数超出0至1"),
    )
    both = first + second
    coupling = np.divide(2 * np.sqrt(first * second), both, out=np.zeros_like(both), where=both > 0)
    level = alpha * first + (1 - alpha) * second
    return CouplingCoordination(coupling, level, np.sqrt(coupling * level))


# Liao (1999), ten grades of equal width; each with its lower bound.
COORDINATION_GRADES: tuple[tuple[float, Text], ...] = (
    (0.0, Text("extreme imbalance", "极度失调")),
    (0.1, Text("severe imbalance", "严重失调")),
    (0.2, Text("moderate imbalance", "中度失调")),
    (0.3, Text("mild imbalance", "轻度失调")),
    (0.4, Text("near imbalance", "濒临失调")),
    (0.5, Text("barely coordinated", "勉强协调")),
    (0.6, Text("primary coordination", "初级协调")),
    (0.7, Text("intermediate coordination", "中级协调")),
    (0.8, Text("good coordination", "良好协调")),
    (0.9, Text("high-quality coordination", "优质协调")),
)


def coordination_grade(coordination: float) -> Text:
    """Name the grade of a coordination degree in [0, 1]; a bound belongs to the grade above it.

    Raises
    ------
    DataError
        The degree is outside [0, 1] or not a number.

    Examples
    --------
    >>> coordination_grade(0.5657).en
    'barely coordinated'
    """
    if not 0 <= coordination <= 1:
        raise DataError(
            f"A coordination degree lies between 0 and 1, not {coordination}.",
            f"协调度在0与1之间，而不是{coordination}。",
        )
    return [words for bound, words in COORDINATION_GRADES if coordination >= bound][-1]


# --- checks ----------------------------------------------------------------------------------------------


def _signs(directions: Sequence[Direction] | None, count: int) -> Floats:
    directions = ["more"] * count if directions is None else list(directions)
    unknown = sorted({str(word) for word in directions} - {"more", "less"})
    if unknown or len(directions) != count:
        raise SpecificationError(
            f"directions must be {count} words, each 'more' or 'less', not {list(directions)!r}.",
            f"directions须为{count}个词，每个为'more'或'less'，而不是{list(directions)!r}。",
        )
    return np.array([1.0 if word == "more" else -1.0 for word in directions])


def _refuse_constant(pool: Floats) -> None:
    if len(pool) < 2:
        raise DataError("An index needs at least two rows to compare.", "指数至少要有两行可比较。")
    refuse(
        np.ptp(pool, axis=0) == 0,
        Text("an indicator is constant and tells nothing apart", "有指标为常数，无法区分"),
    )


def _scaled(pool: Floats, directions: Sequence[Direction] | None) -> Floats:
    """Indicators on [0, 1] over all rows, 1 the best."""
    sign = _signs(directions, pool.shape[1])
    _refuse_constant(pool)
    scaled = (pool - pool.min(axis=0)) / np.ptp(pool, axis=0)
    return np.where(sign > 0, scaled, 1.0 - scaled)
