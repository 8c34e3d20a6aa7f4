"""Weights of the same units beside each other, pair by pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from spatial_zb.base.errors import WeightsError, listed, listed_zh
from spatial_zb.base.notes import warn
from spatial_zb.base.printing import Printed
from spatial_zb.weights.entries import describe
from spatial_zb.weights.matrix import Weights, as_weights, match_units, named_weights

#: Two weights that are correlated at least so are one matrix for the purposes of a robustness table.
NEAR_EQUAL = 0.99
#: Entries that differ by no more than this, relative to the largest, are equal.
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False, repr=False)
class WeightsComparison(Printed):
    """Several weights of the same units, pair by pair.

    ``pairs`` has the columns ``a, b, links_a, links_b, links_common, jaccard, correlation, near_equal``:
    Jaccard is common links over links of either; the correlation runs over all n(n − 1) entries off the
    diagonal, as the weights are given. ``overview`` is one row of facts per matrix.
    """

    pairs: pd.DataFrame
    overview: pd.DataFrame

    def tidy(self) -> pd.DataFrame:
        """One row per pair."""
        return self.pairs.copy()

    def glance(self) -> pd.DataFrame:
        """One row per matrix."""
        return self.overview.copy()


def compare_weights(weights: Mapping[str, Weights]) -> WeightsComparison:
    """Compare weights of the same units, pair by pair, and warn of pairs that are nearly one matrix.

    Raises
    ------
    WeightsError
        Fewer than two matrices.
    AlignmentError
        Matrices of different units.
    """
    if not isinstance(weights, Mapping) or len(weights) < 2:
        raise WeightsError(
            "Give two or more weights to compare, by name: {'queen': W1, 'knn4': W2}.",
            "请按名称给出两个或更多可比较的权重矩阵：{'queen': W1, 'knn4': W2}。",
        )
    matched = {name: as_weights(W) for name, W in weights.items()}
    first = next(iter(matched.values()))
    for name, W in matched.items():
        match_units(W.ids, first.ids, named_weights(name), named_weights(next(iter(matched))))
    matched = {name: W.align(first.ids) for name, W in matched.items()}
    rows = [_pair(a, matched[a], b, matched[b]) for a, b in combinations(matched, 2)]
    near = [(row["a"], row["b"]) for row in rows if row["near_equal"]]
    if near:
        warn(
            f"Nearly the same weights: {listed(f'{a} and {b}' for a, b in near)}. Results that agree across them are "
            "no robustness check.",
            f"几乎相同的权重矩阵：{listed_zh(f'{a}与{b}' for a, b in near)}。在它们之间一致的结果不能算作稳健性检验。",
        )
    overview = pd.DataFrame([{**describe(W).summary, "weights": name} for name, W in matched.items()])
    return WeightsComparison(pd.DataFrame(rows), overview)


def _pair(name_a: str, a: Weights, name_b: str, b: Weights) -> dict[str, Any]:
    common = int(((a.matrix != 0).astype(np.int8).multiply(b.matrix != 0)).nnz)
    correlation = _correlation(a.matrix, b.matrix)
    return {
        "a": name_a,
        "b": name_b,
        "links_a": a.matrix.nnz,
        "links_b": b.matrix.nnz,
        "links_common": common,
        "jaccard": common / (a.matrix.nnz + b.matrix.nnz - common),
        "correlation": correlation,
        "near_equal": bool(correlation >= NEAR_EQUAL) or _same_entries(a.matrix, b.matrix),
    }


def _same_entries(a: sparse.csr_array, b: sparse.csr_array) -> bool:
    """Equal but for rounding and a factor: 1/km and 1/m are one matrix, and those of 1/yuan are of the size 1e-12."""
    return bool(abs(a / abs(a).max() - b / abs(b).max()).max() <= ROUNDING)


def _correlation(a: sparse.csr_array, b: sparse.csr_array) -> float:
    """Pearson correlation of the entries off the diagonal, zeros included; NaN where one has none varying."""
    entries = a.shape[0] * (a.shape[0] - 1)
    mean_a, mean_b = a.sum() / entries, b.sum() / entries
    between = a.multiply(b).sum() / entries - mean_a * mean_b
    spread_a = (a.data**2).sum() / entries - mean_a**2
    spread_b = (b.data**2).sum() / entries - mean_b**2
    if min(spread_a / mean_a**2, spread_b / mean_b**2) < ROUNDING:
        return float("nan")
    return float(between / np.sqrt(spread_a * spread_b))
