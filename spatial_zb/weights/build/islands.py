"""Units without neighbours: what to do with them is the caller's choice, and everything done is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.base.errors import WeightsError, listed, listed_zh
from spatial_zb.base.notes import warn
from spatial_zb.base.text import Text
from spatial_zb.weights.build import named, places

if TYPE_CHECKING:
    import geopandas as gpd


Islands = Literal["error", "nearest", "zero", "drop"] | Sequence[tuple[str, str]]
Strength = Callable[[NDArray[np.intp], NDArray[np.intp]], NDArray[np.float64]]


class Settled(NamedTuple):
    """Weights after the island policy, the ids that remain, and what was done (for the recipe)."""

    matrix: sparse.csr_array
    ids: pd.Index
    record: dict[str, Any]


def settle(
    first: sparse.csr_array,
    ids: pd.Index,
    islands: Islands,
    regions: gpd.GeoDataFrame | None = None,
    strength: Strength | None = None,
) -> Settled:
    """Apply the island policy to first-order links.

    Parameters
    ----------
    first
        (n, n) weights before the policy.
    islands
        ``"error"``, ``"nearest"``, ``"zero"``, ``"drop"`` or (id, id) pairs.
    regions
        The layer, for names and for ``"nearest"``; without it that policy is refused.
    strength
        Weight of a new link from positions i and j; one without it.

    Raises
    ------
    WeightsError
        An unknown policy, an island under ``"error"``, an unknown id in a pair, or nobody left.
    """
    check_islands(islands)
    alone = np.flatnonzero(np.diff(first.indptr) == 0)
    units = [named(regions, ids, i) for i in alone.tolist()]
    if not isinstance(islands, str):
        pairs = [(position(ids, a), position(ids, b)) for a, b in islands]
    elif not len(alone):
        return Settled(first, ids, {"islands": islands, "bridges": []})
    elif islands == "error":
        choices = Text(
            '"zero" keeps them without neighbours, "drop" leaves them out', '"zero"保持无邻居，"drop"剔除'
        )
        if regions is not None:
            choices = Text(
                f'"nearest" links each with its nearest unit, {choices.en}, a list of (id, id) pairs builds bridges',
                f'"nearest"与最近的地区相连，{choices.zh}，或用编码对指定联系',
            )
        raise WeightsError(
            f"{len(alone)} unit(s) have no neighbour: {listed(unit.en for unit in units)}. Say what to do with "
            f"them with islands=: {choices.en}.",
            f"{len(alone)}个地区没有邻居：{listed_zh(unit.zh for unit in units)}。请用islands说明处理办法："
            f"{choices.zh}。",
        )
    elif islands == "zero":
        warn(
            f"{len(alone)} unit(s) keep no neighbour: {listed(unit.en for unit in units)}. Their spatial lags are zero.",
            f"{len(alone)}个地区没有邻居：{listed_zh(unit.zh for unit in units)}，其空间滞后为零。",
        )
        return Settled(first, ids, {"islands": "zero", "bridges": []})
    elif islands == "drop":
        return _dropped(first, ids, regions)
    elif regions is None:
        raise WeightsError(
            'islands="nearest" needs polygons to measure distances between.',
            'islands="nearest"需要多边形以量取距离。',
        )
    else:
        pairs = _nearest(regions, alone)
    return _bridged(first, ids, regions, pairs, islands, strength)


def check_islands(islands: Islands) -> None:
    """Refuse an unknown policy for islands."""
    if isinstance(islands, str):
        good = islands in ("error", "nearest", "zero", "drop")
    else:
        good = isinstance(islands, Sequence) and all(
            isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2 for pair in islands
        )
    if not good:
        raise WeightsError(
            f"islands must be error, nearest, zero, drop or a list of (id, id) pairs, not {islands!r}.",
            f"islands须为error、nearest、zero、drop或(id, id)列表，而不是{islands!r}。",
        )


def position(ids: pd.Index, unit: str) -> int:
    """Place of a unit that a bridge names."""
    if unit not in ids:
        raise WeightsError(
            f"The bridge names unit {unit!r}, which is not among the units: {listed(ids)}.",
            f"桥接中的地区{unit!r}不在地区之中：{listed_zh(ids)}。",
        )
    return int(ids.get_loc(unit))


def _nearest(regions: gpd.GeoDataFrame, alone: NDArray[np.intp]) -> list[tuple[int, int]]:
    """Each island with the unit whose centroid is nearest; ties go to the lower id."""
    where = places(regions)
    pairs = []
    for i in alone:
        others = np.delete(np.arange(where.n), i)
        km = where.km(np.full(len(others), i), others)
        pairs.append((int(i), int(others[np.lexsort((where.rank[others], km))[0]])))
    return pairs


def _bridged(
    first: sparse.csr_array,
    ids: pd.Index,
    regions: gpd.GeoDataFrame | None,
    pairs: list[tuple[int, int]],
    islands: Islands,
    strength: Strength | None,
) -> Settled:
    pairs = [pair for m, pair in enumerate(pairs) if set(pair) not in map(set, pairs[:m])]
    for a, b in pairs:
        if a == b:
            raise WeightsError(
                f"A bridge links {ids[a]} with itself; name two units.",
                f"桥接把{ids[a]}与其自身相连；请给出两个地区。",
            )
        alone, near = named(regions, ids, a), named(regions, ids, b)
        warn(
            f"{alone.en} is linked with {near.en} (bridge, islands policy).",
            f"{alone.zh}与{near.zh}之间按孤岛处理规则建立联系。",
        )
    rows, cols = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    weight = np.ones(len(pairs)) if strength is None else strength(rows, cols)
    links = sparse.csr_array(sparse.coo_array((weight, (rows, cols)), shape=first.shape))
    joined = sparse.csr_array(first.maximum(links).maximum(links.T))
    left = np.flatnonzero(np.diff(joined.indptr) == 0).tolist()
    if left:
        raise WeightsError(
            f"The bridges leave {listed(named(regions, ids, i).en for i in left)} without neighbour; add a pair "
            "for each.",
            f"桥接之后{listed_zh(named(regions, ids, i).zh for i in left)}仍没有邻居；请各加一对。",
        )
    policy = islands if isinstance(islands, str) else "bridges"
    return Settled(
        joined, ids, {"islands": policy, "bridges": [[str(ids[a]), str(ids[b])] for a, b in pairs]}
    )


def _dropped(first: sparse.csr_array, ids: pd.Index, regions: gpd.GeoDataFrame | None) -> Settled:
    """Leave islands out, and units that only had islands as neighbours in turn."""
    kept = np.arange(len(ids))
    matrix = first
    while len(kept) and (linked := np.diff(matrix.indptr) > 0).sum() < len(kept):
        kept, matrix = kept[linked], sparse.csr_array(matrix[linked][:, linked])
    gone = np.setdiff1d(np.arange(len(ids)), kept)
    if not len(kept):
        raise WeightsError(
            "Every unit is an island: nothing is left after islands are dropped.",
            "所有地区都没有邻居：剔除之后一无所剩。",
        )
    units = [named(regions, ids, int(i)) for i in gone]
    warn(
        f"{len(gone)} unit(s) without neighbour are left out of the weights: {listed(u.en for u in units)}.",
        f"{len(gone)}个没有邻居的地区未纳入权重矩阵：{listed_zh(u.zh for u in units)}。",
    )
    return Settled(matrix, ids[kept], {"islands": "drop", "dropped": [str(ids[i]) for i in gone]})
