"""Weights from numbers of the units, and weights put together from others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from spatial_zb.base.errors import WeightsError, listed, listed_zh, not_one_of
from spatial_zb.base.notes import warn
from spatial_zb.base.text import Text
from spatial_zb.weights.build import finish, need_memory, unit_values
from spatial_zb.weights.build.islands import position, settle
from spatial_zb.weights.matrix import Weights, as_weights, match_units, named_weights

if TYPE_CHECKING:
    from spatial_zb.data.panel import Panel


#: Parts of a mixture whose average weights differ by more than this factor are not on one scale.
SCALE_FACTOR = 10.0


def economic_distance(
    values: pd.Series,
    *,
    floor: float | None = None,
    variable: str | None = None,
    periods: Any = None,
    label: str | None = None,
) -> Weights:
    """w_ij = 1 / |v_i − v_j|: units that are alike in a variable are near.

    Parameters
    ----------
    values
        One number per unit, by unit id: the mean of a base period (:func:`unit_means`).
    floor
        Smallest difference that counts: |v_i − v_j| below it is taken as ``floor``. Without it two units
        with the same value are refused.
    variable, periods
        What ``values`` is and of when, for the recipe; ``variable`` defaults to the name of the series.
        ``Weights.variables`` gives it: as weights of its own equation the variable is endogenous.

    Raises
    ------
    WeightsError
        A blank value, fewer than two units, two units with the same value and no ``floor``, or more units
        than fit into memory.
    AlignmentError
        Ids that are not text, or repeated.
    """
    if floor is not None and not (np.isfinite(floor) and floor > 0):
        raise WeightsError(
            f"floor must be a positive number in units of the variable, not {floor!r}.",
            f"floor须为正数，单位与变量相同，而不是{floor!r}。",
        )
    v = unit_values(values, Text("Economic distance", "经济距离"))
    n = len(v)
    if n < 2:
        raise WeightsError(
            f"Economic distance needs at least two units, not {n}.",
            f"经济距离至少需要两个地区，而不是{n}个。",
        )
    need_memory(
        n * (n - 1),
        Text(f"Economic distances of {n:,} units", f"{n:,}个地区的经济距离"),
        Text("Multiply with knn of fewer links instead.", "请改为与联系更少的knn矩阵相乘。"),
    )
    gap = np.abs(v.to_numpy()[:, None] - v.to_numpy()[None, :])
    if floor is not None:
        gap = np.maximum(gap, floor)
    np.fill_diagonal(gap, np.inf)
    with np.errstate(divide="ignore", over="ignore"):
        matrix = 1 / gap
    i, j = np.nonzero(np.triu(~np.isfinite(matrix)))
    if len(i):
        pairs = [f"{v.index[a]} and {v.index[b]}" for a, b in zip(i, j, strict=True)]
        raise WeightsError(
            f"Units with the same {v.name or 'value'} have no economic distance: {listed(pairs, 5)}. "
            "State the smallest difference that counts: floor=.",
            f"{v.name or '数值'}相同的地区没有经济距离：{listed_zh(pairs, 5)}。请用floor=给出计入的最小差距。",
        )
    name = variable or (None if values.name is None else str(values.name))
    recipe = {"kind": "economic_distance", "variable": name, "periods": periods, "floor": floor}
    return finish(sparse.csr_array(matrix), v.index, label or "economic distance", recipe)


def unit_means(panel: Panel, variable: str, periods: Sequence[int] | None = None) -> pd.Series:
    """Mean of a variable over some periods of a panel (all without ``periods``), by unit id.

    Of a unit that is absent in some of them, the mean of those in which it is present; a unit that is present in none is
    left out. A blank cell of a unit that is present leaves its mean blank.

    Raises
    ------
    DataError, AlignmentError
        A variable or a period the panel does not have.
    """
    part = panel if periods is None else panel.select(periods=list(periods))
    counts = part.present.sum(axis=0)
    sums = np.where(part.present, part.array(variable), 0.0).sum(axis=0)
    there = counts > 0
    return pd.Series(sums[there] / counts[there], index=part.units[there], name=variable)


def combine(
    a: Weights,
    b: Weights,
    how: Literal["product", "mix"] = "product",
    *,
    alpha: float | None = None,
    islands: Literal["error", "zero", "drop"] = "error",
    label: str | None = None,
) -> Weights:
    """Put two weights together, matching units by id; the answer has the order of ``a``.

    Parameters
    ----------
    a, b
        Weights (or what :func:`as_weights` takes) of the same units.
    how
        ``"product"``: w_ij = a_ij b_ij, the nested matrix, not normalised. ``"mix"``: w_ij = α a_ij +
        (1 − α) b_ij; both must have the same normalisation, since 1/km and 1/yuan have no common scale.
    alpha
        Share of ``a`` in a mixture, between 0 and 1.
    islands
        What to do with units left without any neighbour, as in :func:`contiguity`.

    Raises
    ------
    WeightsError
        An unknown ``how``, an ``alpha`` outside (0, 1) or given for a product, different normalisations of
        a mixture, an island under ``islands="error"``.
    AlignmentError
        ``a`` and ``b`` do not hold the same units.
    """
    a, b = as_weights(a), as_weights(b)
    match_units(b.ids, a.ids, named_weights(b.label), named_weights(a.label))
    b = b.align(a.ids)
    if how == "product":
        if alpha is not None:
            raise WeightsError(
                'alpha belongs to how="mix"; a product has none.', 'alpha只用于how="mix"；乘积没有alpha。'
            )
        matrix = sparse.csr_array(a.matrix.multiply(b.matrix))
    elif how == "mix":
        share = _checked_share(a, b, alpha)
        matrix = sparse.csr_array(share * a.matrix + (1 - share) * b.matrix)
    else:
        raise not_one_of("how", how, ("product", "mix"), kind=WeightsError)
    matrix.eliminate_zeros()
    matrix, ids, record = settle(matrix, a.ids, islands)
    parts = [{**w.recipe, "label": w.label, "normalisation": w.normalisation} for w in (a, b)]
    recipe = {"kind": "combine", "how": how, "alpha": alpha, "parts": parts, **record}
    mark = " × " if how == "product" else " + "
    built = finish(matrix, ids, label or f"{a.label}{mark}{b.label}", recipe)
    mixed_rows = how == "mix" and a.normalisation == "row" and built.row_normalised
    return replace(built, normalisation="row") if mixed_rows else built


def bridges(
    weights: Weights, pairs: Sequence[tuple[str, str]], weight: float = 1.0, *, label: str | None = None
) -> Weights:
    """Add links between pairs of units, in both directions: ferries, bridges, tunnels.

    A link that exists keeps the larger of the two weights. Build bridges before normalising.

    Raises
    ------
    WeightsError
        Weights that are normalised, an unknown id, a pair of one unit, a weight that is not positive.
    """
    weights = as_weights(weights)
    if weights.normalisation != "none":
        raise WeightsError(
            f"Weights {weights.label!r} are normalised ({weights.normalisation}); add bridges first, then "
            "standardise.",
            f"权重矩阵{weights.label!r}已标准化（{weights.normalisation}）；请先加桥接，再标准化。",
        )
    if not (np.isfinite(weight) and weight > 0):
        raise WeightsError(
            f"The weight of a bridge must be a positive number, not {weight!r}.",
            f"桥接的权重须为正数，而不是{weight!r}。",
        )
    if isinstance(pairs, str) or any(isinstance(pair, str) or len(pair) != 2 for pair in pairs):
        raise WeightsError(
            f"Bridges are (id, id) pairs, not {pairs!r}.", f"桥接须为(id, id)形式，而不是{pairs!r}。"
        )
    at = np.array([[position(weights.ids, a), position(weights.ids, b)] for a, b in pairs], dtype=np.intp)
    i, j = at.reshape(-1, 2).T
    if (i == j).any():
        raise WeightsError(
            f"A bridge links {weights.ids[i[i == j][0]]} with itself; name two units.",
            f"桥接把{weights.ids[i[i == j][0]]}与其自身相连；请给出两个地区。",
        )
    both = np.unique(np.column_stack([np.r_[i, j], np.r_[j, i]]), axis=0).T
    links = sparse.csr_array(
        sparse.coo_array((np.full(both.shape[1], float(weight)), tuple(both)), shape=weights.matrix.shape)
    )
    made = [[str(a), str(b)] for a, b in pairs]
    recipe = {**weights.recipe, "bridges": [*weights.recipe.get("bridges", ()), *made]}
    joined = sparse.csr_array(weights.matrix.maximum(links))
    return replace(weights, matrix=joined, recipe=recipe, label=label or weights.label)


def _checked_share(a: Weights, b: Weights, alpha: float | None) -> float:
    number = isinstance(alpha, int | float | np.number) and not isinstance(alpha, bool)
    if alpha is None or not number or not 0 < alpha < 1:
        raise WeightsError(
            f"A mixture needs alpha between 0 and 1, not {alpha!r}.",
            f"混合矩阵的alpha须在0与1之间，而不是{alpha!r}。",
        )
    if a.normalisation != b.normalisation:
        raise WeightsError(
            f"The parts of a mixture must have one normalisation; {a.label!r} has {a.normalisation}, "
            f"{b.label!r} has {b.normalisation}. Standardise both the same way first.",
            f"混合矩阵的各部分须为同一种标准化；{a.label!r}为{a.normalisation}，{b.label!r}为{b.normalisation}。"
            "请先用同样的方法标准化。",
        )
    means = [np.abs(w.matrix.data).mean() for w in (a, b)]
    if a.normalisation == "none" and max(means) > SCALE_FACTOR * min(means):
        warn(
            f"The average weights of {a.label!r} and {b.label!r} are {means[0]:.3g} and {means[1]:.3g}: the "
            "mixture is ruled by one of them. Standardise both before mixing.",
            f"{a.label!r}与{b.label!r}的平均权重分别为{means[0]:.3g}和{means[1]:.3g}，混合后由其中一个主导。请先将两者标准化。",
        )
    return alpha
