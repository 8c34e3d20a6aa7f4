"""Builders of weights: from borders, distances and numbers of the units, and what becomes of islands.

Every builder has the same shape; what they share stands here: ids, the final checks, memory, warnings. Reading and
writing files is next door.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from spatial_zb.base.errors import AlignmentError, WeightsError, listed, listed_zh
from spatial_zb.base.notes import warn
from spatial_zb.base.text import Text
from spatial_zb.weights.matrix import Weights, text_ids

if TYPE_CHECKING:
    import geopandas as gpd


#: A builder that would need more memory than this is refused before it starts.
LIMIT_BYTES = 2 * 1024**3
#: Peak bytes per link while a matrix is built: positions, distance, weight, and their copies in csr.
BYTES_PER_LINK = 64


def finish(
    matrix: sparse.csr_array,
    ids: pd.Index,
    label: str,
    recipe: Mapping[str, Any],
    *,
    groups: bool = False,
) -> Weights:
    """Make the Weights, and say what a reader must know: separate components, weights all equal.

    ``groups=True``: separate components are what was asked for, so nothing is said about them.
    """
    weights = Weights(matrix, ids, label, recipe=recipe)
    linked = weights.components[~weights.ids.isin(weights.islands)]
    sizes = linked.value_counts()
    if len(sizes) > 1 and not groups:
        parts = [(size, linked.index[linked == c][0]) for c, size in sizes.sort_index().items()]
        en = listed((f"{size} unit(s) around {unit}" for size, unit in parts), 5)
        zh = listed_zh((f"{unit}所在的{size}个地区" for size, unit in parts), 5)
        warn(
            f"Weights {label!r} fall into {len(sizes)} components without a link between them: {en}.",
            f"权重矩阵{label!r}分为{len(sizes)}个互不相连的部分：{zh}。",
        )
    if weights.all_equal and weights.n > 2:
        warn(
            f"Weights {label!r} link every unit with every other equally, so rho is not identified "
            "where a constant or time effects are in the model. Use a cut-off, fewer neighbours, or distances.",
            f"权重矩阵{label!r}中任意两个地区的权重都相同，模型含常数项或时间效应时ρ不可识别。请设距离上限、减少邻居数，或按距离赋权。",
        )
    return weights


def layer_ids(regions: gpd.GeoDataFrame) -> pd.Index:
    """Ids of a layer as text, once each; its geometry must be there.

    Raises
    ------
    AlignmentError
        Ids that are not text, or repeated.
    WeightsError
        Not a layer, a layer without units, a unit without geometry.
    """
    if not hasattr(regions, "geometry") or not hasattr(regions, "crs"):
        raise WeightsError(
            f"Weights are built from a GeoDataFrame indexed by unit id, not from a {type(regions).__name__}.",
            f"权重矩阵由以地区编码为索引的GeoDataFrame构建，而不是{type(regions).__name__}。",
        )
    ids = text_ids(regions.index)
    if ids.has_duplicates:
        raise AlignmentError(
            f"The layer has more than one polygon for {listed(ids[ids.duplicated()].unique())}. "
            "Dissolve it by id first.",
            f"图层中{listed_zh(ids[ids.duplicated()].unique())}有不止一个多边形。请先按编码合并。",
        )
    if len(ids) < 2:
        raise WeightsError(
            f"Weights need at least two units; the layer has {len(ids)}.",
            f"权重矩阵至少需要两个地区；图层中只有{len(ids)}个。",
        )
    empty = (regions.geometry.isna() | regions.geometry.is_empty).to_numpy()
    if empty.any():
        raise WeightsError(
            f"There is no geometry for {listed(ids[empty])}. Remove or mend these rows.",
            f"{listed_zh(ids[empty])}没有几何图形。请删去或修复这些行。",
        )
    return ids


def need_crs(regions: gpd.GeoDataFrame):
    """The coordinate reference system of a layer; without one no length means anything."""
    if regions.crs is None:
        raise WeightsError(
            "The polygons have no coordinate reference system; set it, e.g. EPSG:4490 for Chinese data.",
            "底图没有坐标参照系；请设定，中国数据如EPSG:4490。",
        )
    return regions.crs


def named(regions: gpd.GeoDataFrame | None, ids: pd.Index, i: int) -> Text:
    """A unit as messages call it: its id, and its name where the layer has one."""
    if regions is None or "name_en" not in regions:
        return Text.of(str(ids[i]))
    name = Text(*(regions[c if c in regions else "name_en"].iloc[i] for c in ("name_en", "name_zh")))
    return Text(f"{ids[i]} ({name.en})", f"{ids[i]}（{name.zh}）")


def need_memory(links: float, what: Text, remedy: Text) -> None:
    """Refuse a matrix of ``links`` stored weights that would not fit, before it is built."""
    needed = links * BYTES_PER_LINK
    if needed > LIMIT_BYTES:
        raise WeightsError(
            f"{what.en} would hold {links:,.0f} weights and need about {needed / 1024**3:.1f} GB of memory; "
            f"the limit is {LIMIT_BYTES / 1024**3:.1f} GB. {remedy.en}",
            f"{what.zh}共有{links:,.0f}个权重，约需内存{needed / 1024**3:.1f} GB，上限为{LIMIT_BYTES / 1024**3:.1f} GB。"
            f"{remedy.zh}",
        )


def unit_values(values: pd.Series, what: Text, *, positive: bool = False) -> pd.Series:
    """Check one number per unit: a Series of finite floats indexed by text ids.

    Raises
    ------
    WeightsError
        Not a Series, text, blank or infinite numbers, with ``positive`` also numbers not above zero.
    AlignmentError
        Ids that are not text, or repeated.
    """
    if not isinstance(values, pd.Series):
        raise WeightsError(
            f"{what.en} needs a Series indexed by unit id, not a {type(values).__name__}.",
            f"{what.zh}需要以地区编码为索引的Series，而不是{type(values).__name__}。",
        )
    ids = text_ids(values.index)
    if ids.has_duplicates:
        raise AlignmentError(
            f"{what.en}: units named twice: {listed(ids[ids.duplicated()].unique())}.",
            f"{what.zh}：有重复的地区：{listed_zh(ids[ids.duplicated()].unique())}。",
        )
    try:
        numbers = pd.Series(values.to_numpy(dtype=float, na_value=np.nan), index=ids, name=values.name)
    except (TypeError, ValueError):
        raise WeightsError(
            f"{what.en}: {values.name or 'the variable'} is not numeric. Convert it to numbers first.",
            f"{what.zh}：{values.name or '变量'}不是数值。请先转为数值。",
        ) from None
    wrong = ~np.isfinite(numbers.to_numpy())
    if wrong.any():
        raise WeightsError(
            f"{what.en}: no finite value of {values.name or 'the variable'} for {listed(ids[wrong])}. "
            "Fill them, or leave these units out.",
            f"{what.zh}：{values.name or '变量'}在{listed_zh(ids[wrong])}没有有限的数值。请填补，或剔除这些地区。",
        )
    if positive and (numbers <= 0).any():
        raise WeightsError(
            f"{what.en}: {values.name or 'the variable'} must be positive, but is not for "
            f"{listed(ids[(numbers <= 0).to_numpy()])}. Use a variable in levels, not in logs or differences.",
            f"{what.zh}：{values.name or '变量'}须为正，但在{listed_zh(ids[(numbers <= 0).to_numpy()])}不为正。"
            "请用水平值，不要用对数或差分。",
        )
    return numbers
