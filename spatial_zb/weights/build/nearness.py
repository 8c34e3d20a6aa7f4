"""Weights by the distance between centroids: the nearest, a band, and functions that fall with it.

Every builder takes regions and gives :class:`Weights` not yet normalised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.base.arguments import gathered
from spatial_zb.base.errors import WeightsError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.weights.build import Links, Metric, finish, layer_ids, places, unit_values
from spatial_zb.weights.build.islands import Islands, check_islands, settle
from spatial_zb.weights.matrix import Weights, match_units

if TYPE_CHECKING:
    import geopandas as gpd


FULL_REMEDY = Text("Give cutoff_km, or use knn.", "请给出cutoff_km，或用knn。")


def knn(
    regions: gpd.GeoDataFrame, k: int = 4, *, metric: Metric = "geodesic", label: str | None = None
) -> Weights:
    """Neighbours are the k units with the nearest centroids; the relation is not symmetric.

    Of units at the same distance the one with the lower id is nearer, whatever the order of the rows.

    Raises
    ------
    WeightsError
        k below one or not below the number of units, or two units at the same point.
    """
    where, ids = places(regions, metric), layer_ids(regions)
    n = len(ids)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k < n:
        raise WeightsError(
            f"k must be a whole number between 1 and {n - 1} for {n} units, not {k!r}.",
            f"{n}个地区的k须为1至{n - 1}的整数，而不是{k!r}。",
        )
    found, km = where.nearest(k)
    i = np.repeat(np.arange(n), k)
    _refuse_coincident(Links(i, found.ravel(), km.ravel()), ids, Text("order of nearness", "远近次序"))
    matrix = sparse.csr_array((np.ones(n * k), (i, found.ravel())), shape=(n, n))
    return finish(matrix, ids, label or f"knn{k}", {"kind": "knn", "k": int(k), "metric": metric})


def distance_band(
    regions: gpd.GeoDataFrame,
    cutoff_km: float | None = None,
    *,
    islands: Islands = "error",
    metric: Metric = "geodesic",
    label: str | None = None,
) -> Weights:
    """Neighbours are units with centroids at most ``cutoff_km`` apart.

    ``None`` takes the smallest band in which every unit has a neighbour; the recipe keeps it.

    Raises
    ------
    WeightsError
        A cut-off that is not positive, an island under ``islands="error"``.
    """
    _check_positive(cutoff_km=cutoff_km)
    chosen = cutoff_km
    if chosen is None:
        chosen = float(places(regions, metric).nearest(1)[1].max())
        if chosen == 0:
            raise WeightsError(
                "Every unit lies at the same point as another, so no distance band follows; give cutoff_km.",
                "每个地区都与另一地区同点，无法定出距离带；请给出cutoff_km。",
            )
    recipe = {"kind": "distance_band", "cutoff_km": chosen}
    return _by_distance(regions, _one, recipe, chosen, islands, metric, label or "distance band")


def inverse_distance(
    regions: gpd.GeoDataFrame,
    power: float = 1.0,
    *,
    cutoff_km: float | None = None,
    islands: Islands = "error",
    metric: Metric = "geodesic",
    label: str | None = None,
) -> Weights:
    """w_ij = d_ij^(−power), d in kilometres between centroids; zero beyond ``cutoff_km``.

    ``islands`` says what happens to units with nobody within the cut-off, as in :func:`spatial_zb.weights.contiguity`; a
    bridge has the weight of its own distance.

    Raises
    ------
    WeightsError
        A power or cut-off that is not positive, two units with the same centroid, or an island under
        ``islands="error"``.
    """
    _check_positive(power=power, cutoff_km=cutoff_km)
    recipe = {"kind": "inverse_distance", "power": power, "cutoff_km": cutoff_km}
    weigh = lambda links: links.km**-power  # noqa: E731
    return _by_distance(
        regions,
        weigh,
        recipe,
        cutoff_km,
        islands,
        metric,
        label or "inverse distance",
        apart=Text("inverse distance", "反距离"),
    )


def kilometres(
    regions: gpd.GeoDataFrame,
    within_km: float | None = None,
    *,
    lags: int | None = None,
    metric: Metric = "geodesic",
) -> Weights:
    """Distances d_ij between centroids in kilometres, as the entries of a matrix; pairs beyond ``within_km`` are left out.

    For errors that go together by distance, ``fit_durbin(..., covariance="conley", bandwidth=kilometres(regions))``: up to
    ``within_km`` kilometres and, with ``lags``, over so many periods of a Bartlett kernel; without, all periods of a unit go
    together, as in clusters. As a W it would give far units the larger weight.

    Raises
    ------
    WeightsError
        A distance that is not positive, two units with the same centroid.
    """
    _check_positive(cutoff_km=within_km)
    recipe = {"kind": "kilometres", "cutoff_km": within_km, "lags": lags}
    apart = Text("distance to each other", "相互距离")
    measure = lambda links: links.km  # noqa: E731
    return _by_distance(regions, measure, recipe, within_km, "zero", metric, "kilometres", apart=apart)


def exponential_decay(
    regions: gpd.GeoDataFrame,
    rate: float,
    *,
    cutoff_km: float | None = None,
    islands: Islands = "error",
    metric: Metric = "geodesic",
    label: str | None = None,
) -> Weights:
    """w_ij = exp(−rate · d_ij), d in kilometres between centroids; zero beyond ``cutoff_km``.

    ``rate`` is per kilometre: 0.01 lets a weight fall to 37 % in 100 km. ``islands`` as in
    :func:`inverse_distance`.

    Raises
    ------
    WeightsError
        A rate or cut-off that is not positive, an island under ``islands="error"``.
    """
    _check_positive(rate=rate, cutoff_km=cutoff_km)
    recipe = {"kind": "exponential_decay", "rate": rate, "cutoff_km": cutoff_km}
    weigh = lambda links: np.exp(-rate * links.km)  # noqa: E731
    return _by_distance(regions, weigh, recipe, cutoff_km, islands, metric, label or "exponential decay")


@gathered("values", lambda values, variable: values.rename(variable or values.name), "variable")
def gravity(
    regions: gpd.GeoDataFrame,
    values: pd.Series,
    power: float = 2.0,
    *,
    cutoff_km: float | None = None,
    islands: Islands = "error",
    metric: Metric = "geodesic",
    periods: Any = None,
    label: str | None = None,
) -> Weights:
    """w_ij = v_i v_j / d_ij^power, d in kilometres between centroids; zero beyond ``cutoff_km``.

    Parameters
    ----------
    values
        One positive number per unit, by unit id: a mass such as mean GDP of a base period. The recipe keeps its name.
    periods
        Of when ``values`` are, for the recipe.

    Raises
    ------
    WeightsError
        As :func:`inverse_distance`; a value that is blank or not positive.
    AlignmentError
        ``values`` and ``regions`` do not hold the same units.
    """
    _check_positive(power=power, cutoff_km=cutoff_km)
    ids = layer_ids(regions)
    mass = unit_values(values, Text("Gravity weights", "引力权重矩阵"), positive=True)
    match_units(mass.index, ids, Text("series", "序列"), Text("layer", "图层"))
    v = mass.loc[ids].to_numpy()
    recipe = {"kind": "gravity", "power": power, "cutoff_km": cutoff_km}
    recipe |= {"variable": _name_of(values), "periods": periods}
    weigh = lambda links: v[links.i] * v[links.j] * links.km**-power  # noqa: E731
    return _by_distance(
        regions, weigh, recipe, cutoff_km, islands, metric, label or "gravity", apart=Text("gravity", "引力")
    )


def _by_distance(
    regions: gpd.GeoDataFrame,
    weigh: Callable[[Links], NDArray[np.float64]],
    recipe: dict[str, Any],
    cutoff_km: float | None,
    islands: Islands,
    metric: Metric,
    label: str,
    *,
    apart: Text | None = None,
) -> Weights:
    """Symmetric weights that are a function of distance; ``apart``: what they are called where distance zero is refused."""
    check_islands(islands)
    ids, where = layer_ids(regions), places(regions, metric)
    links = where.all_pairs(FULL_REMEDY) if cutoff_km is None else where.within(cutoff_km)
    if apart:
        _refuse_coincident(links, ids, apart)
    weight = _finite(weigh(links), links, ids)
    _refuse_vanished(weight, links, ids)
    half = sparse.coo_array((weight, (links.i, links.j)), shape=(len(ids),) * 2)
    matrix = sparse.csr_array(half + half.T)
    matrix.eliminate_zeros()
    strength = lambda i, j: weigh(Links(i, j, where.km(i, j)))  # noqa: E731
    matrix, ids, record = settle(matrix, ids, islands, regions, strength)
    return finish(matrix, ids, label, {**recipe, "metric": metric, **record})


def _one(links: Links) -> NDArray[np.float64]:
    return np.ones(len(links.km))


def _refuse_coincident(links: Links, ids: pd.Index, what: Text) -> None:
    """Refuse pairs at distance zero, by name."""
    at = np.flatnonzero(links.km == 0)
    if len(at):
        pairs = [f"{ids[links.i[m]]} and {ids[links.j[m]]}" for m in at]
        raise WeightsError(
            f"Units at the same point have no {what.en}: {listed(pairs, 5)}. Merge them, or use a band.",
            f"位于同一点的地区没有{what.zh}：{listed_zh(pairs, 5)}。请合并，或用距离带。",
        )


def _finite(weight: NDArray[np.float64], links: Links, ids: pd.Index) -> NDArray[np.float64]:
    at = np.flatnonzero(~np.isfinite(weight))
    if len(at):
        pairs = [f"{ids[links.i[m]]} and {ids[links.j[m]]}" for m in at]
        raise WeightsError(
            f"The weight is too large to be stored for {listed(pairs, 5)}. Use a lower power.",
            f"{listed_zh(pairs, 5)}之间的权重过大，无法存储。请降低幂次。",
        )
    return weight


def _refuse_vanished(weight: NDArray[np.float64], links: Links, ids: pd.Index) -> None:
    """Refuse units that have links and lose them all because their weights are below the smallest number."""
    linked, left = (
        np.bincount(np.concatenate([links.i[of], links.j[of]]), minlength=len(ids)) > 0
        for of in (slice(None), weight > 0)
    )
    lost = np.flatnonzero(linked & ~left)
    if len(lost):
        raise WeightsError(
            f"All weights of {listed(ids[lost], 5)} are too small to be stored (below 1e-308), at distances of "
            f"{links.km.min():.4g} km and more. Use a lower rate or power, in terms of one kilometre.",
            f"{listed_zh(ids[lost], 5)}的全部权重过小，无法存储（低于1e-308），而距离为{links.km.min():.4g}公里以上。"
            "请降低以公里计的衰减率或幂次。",
        )


def _check_positive(**numbers: float | None) -> None:
    for name, value in numbers.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise WeightsError(
                f"{name} must be a number, not {value!r}.", f"{name}须为数值，而不是{value!r}。"
            )
        if not (value > 0 and np.isfinite(value)):
            measure, measure_zh = (" of kilometres", "（公里）") if name == "cutoff_km" else ("", "")
            raise WeightsError(
                f"{name} must be a positive number{measure}, not {value}.",
                f"{name}须为正数{measure_zh}，而不是{value}。",
            )


def _name_of(values: pd.Series) -> str | None:
    return None if values.name is None else str(values.name)
