"""How far association and spillovers reach: Moran's I by distance, and effects under thresholds of distance."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy import sparse

from spatial_zb.base.arguments import Rng, gathered, renamed, seed_of
from spatial_zb.base.errors import (
    DataError,
    SpatialZbError,
    SpatialZbWarning,
    SpecificationError,
    listed,
    listed_zh,
    not_one_of,
)
from spatial_zb.base.results import ResultTable
from spatial_zb.base.text import Text
from spatial_zb.core.statistics import moran_i, moran_permutations, permutation_p_value
from spatial_zb.data.panel import Panel, require_complete
from spatial_zb.effects import spatial_effects
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.fit import Fit
from spatial_zb.models.spec import DurbinSpec, Estimation, Estimator, by_estimation
from spatial_zb.weights.build import Links, places
from spatial_zb.weights.entries import polygons_of
from spatial_zb.weights.matrix import Weights, text_ids

if TYPE_CHECKING:
    import geopandas as gpd


Reach = Literal["within", "beyond"]


@dataclass(frozen=True)
class Bands:
    """Bands of distance.

    Parameters
    ----------
    edges
        Increasing kilometres that separate the bands, the first usually 0; without it about eight bands of equal
        round width up to half the largest distance.
    cumulative
        Discs from the first edge up to each other edge in place of rings.

    Examples
    --------
    >>> Bands([0, 50, 100], cumulative=True).edges
    [0, 50, 100]
    """

    edges: Sequence[float] | None = None
    cumulative: bool = False

    @classmethod
    def of(cls, bands: Sequence[float] | Bands | None, **more: Any) -> Bands:
        """Of edges, or bands as they are; ``more`` replaces some of it."""
        return replace(bands if isinstance(bands, Bands) else Bands(bands), **more)


#: Bands without edges of the caller's: about so many of equal round width, up to about half the largest distance,
#: beyond which most units have few others in reach.
BANDS, SHARE = 8, 0.5
#: Fewest pairs in a band from which I says anything.
FEWEST_PAIRS = 10
#: What to do where all pairs of units do not fit into memory.
FEWER = Text("Leave units out.", "请减少地区。")


@gathered("bands", Bands.of, "edges", "cumulative")
def moran_by_distance(
    source: Panel | Fit | pd.Series,
    regions: gpd.GeoDataFrame,
    variable: str | None = None,
    *,
    periods: Sequence[int] | None = None,
    bands: Sequence[float] | Bands | None = None,
    permutations: int = 999,
    rng: Rng = None,
    level: float = 0.95,
) -> ResultTable:
    """Moran's I by distance between units: the spatial correlogram, with a permutation envelope.

    The weights of a band are one for pairs whose distance is in it and zero for others, not normalised; units
    without a pair in the band count in the mean and the variance only.

    Parameters
    ----------
    source
        A panel and the name of one of its variables; a fit, whose residuals are taken; or a Series by unit.
    regions
        Polygons with the units as index; more units are allowed and left out.
    periods
        Periods to compute; all without it.
    bands
        Increasing kilometres that separate the bands, or :class:`Bands` for discs; without it about eight bands of equal
        round width up to half the largest distance.
    permutations, rng
        Random assignments of the values to the units behind the envelope and ``p_sim``; each band and period
        draws from its own stream.
    level
        Share of the permutations inside the envelope.

    Returns
    -------
    Columns period, from_km, to_km, km (mean distance of the pairs), pairs, I, expected, env_low, env_high
    and p_sim (two-sided). A band with fewer than ten pairs has NaN.

    Raises
    ------
    AlignmentError
        A unit without polygon.
    DataError
        A blank cell, or a variable that does not vary in a period.
    SpecificationError
        Edges that do not increase, no variable of a panel, or fewer than 99 permutations.

    Notes
    -----
    Cliff, A.D. & Ord, J.K. (1981), Spatial Processes, ch. 5; Legendre, P. & Legendre, L. (2012), Numerical
    Ecology, §13.1.
    """
    values = _values(source, variable, periods).sort_index(
        axis=1
    )  # draws go by id, not by the order of units
    if permutations < 99 or not 0 < level < 1:
        raise SpecificationError(
            f"An envelope needs at least 99 permutations and a level within (0, 1), not {permutations}, {level}.",
            f"包络线至少需要99次置换，水平在(0, 1)内，而不是{permutations}、{level}。",
        )
    links = places(polygons_of(values.columns, regions, Text("the values", "所给数值"))).all_pairs(FEWER)
    steps = _bands(links, Bands.of(bands))
    root = seed_of(rng)
    streams = iter(root.spawn(len(steps) * len(values)))
    rows = []
    for low, high in steps:
        inside = (links.km > low) & (links.km <= high) if low > 0 else links.km <= high
        matrix = _binary(links, inside, values.shape[1])
        for period, x in values.iterrows():
            stream = np.random.default_rng(next(streams))
            head = {"period": period, "from_km": low, "to_km": high, "pairs": int(inside.sum())}
            head["km"] = float(links.km[inside].mean()) if inside.any() else np.nan
            rows.append(
                head | _band_row(x.to_numpy(), matrix, int(inside.sum()), permutations, stream, level)
            )
    columns = ["period", "from_km", "to_km", "km", "pairs", "I", "expected", "env_low", "env_high", "p_sim"]
    frame = pd.DataFrame(rows)[columns].sort_values(["period", "to_km"], ignore_index=True)
    facts = {"variable": variable or "residuals", "n_units": values.shape[1], "permutations": permutations}
    return ResultTable(frame, facts | {"level": level})


@renamed(alpha="level")
@by_estimation
def effects_by_distance(
    spec: DurbinSpec,
    panel: Panel,
    regions: gpd.GeoDataFrame,
    thresholds: Sequence[float],
    *,
    reach: Reach = "beyond",
    power: float = 1.0,
    estimator: Estimator | Estimation = "lee_yu",
    level: float = 0.95,
) -> ResultTable:
    """Estimate one model again and again under inverse-distance weights that a threshold cuts off.

    Parameters
    ----------
    spec, panel
        The model, as :func:`~spatial_zb.models.durbin.fit_durbin` takes it.
    regions
        Polygons with the units as index.
    thresholds
        Kilometres d.
    reach
        ``"beyond"``: w_ij = d_ij^−power where d_ij ≥ d and zero below, so that the effect shows what comes from at
        least that far; where it fades out, spillovers end. ``"within"``: only neighbours up to d.
    power
        Exponent of the distance. The weights are row-normalised; units without a neighbour have zero rows.
    estimator
        The name of an estimator, or an :class:`~spatial_zb.models.spec.Estimation` that names a covariance too.
    alpha
        One minus the confidence level.

    Returns
    -------
    Columns km, links (mean neighbours of a unit), term, effect and the columns of ``spatial_effects``; a
    threshold at which the model cannot be estimated has a row with ``reason`` and no term.

    Raises
    ------
    AlignmentError
        A unit without polygon.
    SpecificationError
        No threshold, one that is not positive, or an unknown reach.
    """
    if reach not in get_args(Reach):
        raise not_one_of("reach", reach, get_args(Reach))
    wrong = [d for d in thresholds if not (np.isfinite(d) and d > 0)]
    if wrong or not len(thresholds):
        raise SpecificationError(
            f"thresholds must be positive kilometres, at least one, not {listed(wrong)}.",
            f"thresholds须为一个或几个正的公里数，而不是{listed_zh(wrong)}。",
        )
    links = places(polygons_of(panel.units, regions, Text("the panel", "面板"))).all_pairs(FEWER)
    frames, how = [], Estimation.of(estimator)
    for d in thresholds:
        inside = links.km >= d if reach == "beyond" else links.km <= d
        head = {"km": float(d), "links": 2 * inside.sum() / len(panel.units)}
        with warnings.catch_warnings():
            # Islands and the like are expected here: the frame shows them by its number of links.
            warnings.simplefilter("ignore", SpatialZbWarning)
            try:
                W = _inverse(links, inside, panel.units, power, f"{reach} {d:g} km")
                fit = fit_durbin(spec, panel, W, how.estimator, how.covariance)
                frame = spatial_effects(fit, level=level).tidy()
                frame = frame if "reason" in frame.columns else frame.assign(reason="")
            except SpatialZbError as error:
                frame = pd.DataFrame({"reason": [str(error)]})
        frames.append(frame.assign(**head))
    out = pd.concat(frames, ignore_index=True)
    first = ["km", "links", *(name for name in ("term", "effect") if name in out.columns)]
    facts = {"model": spec.title, "reach": reach, "power": power, "n_units": len(panel.units), "level": level}
    return ResultTable(out[[*first, *(name for name in out.columns if name not in first)]], facts)


# --------------------------------------------------------------------------------------------------------


def _values(source: Any, variable: str | None, periods: Sequence[int] | None) -> pd.DataFrame:
    """Values by period (rows) and unit (columns), complete and varying."""
    if isinstance(source, pd.Series):
        out = pd.DataFrame([source.to_numpy(dtype=float)], index=[""], columns=text_ids(source.index))
    elif isinstance(source, Panel):
        if variable is None:
            raise SpecificationError("Name the variable of the panel.", "请指定面板中的变量。")
        require_complete(source, Text("Moran's I by distance", "按距离的莫兰指数"))
        out = pd.DataFrame(source.array(variable), index=source.periods, columns=source.units)
    else:
        residuals = source.residuals
        labels = (
            source.panel.periods if len(source.panel.periods) == len(residuals) else range(len(residuals))
        )
        out = pd.DataFrame(residuals, index=labels, columns=source.panel.units)
    if periods is not None:
        unknown = [period for period in periods if period not in out.index]
        if unknown:
            raise SpecificationError(
                f"There is no period {listed(unknown)}; there are {listed(out.index)}.",
                f"没有时期{listed_zh(unknown)}；已有{listed_zh(out.index)}。",
            )
        out = out.loc[list(periods)]
    blank = [f"{out.columns[i]} {out.index[t]}".strip() for t, i in np.argwhere(~np.isfinite(out.to_numpy()))]
    if blank:
        raise DataError(
            f"Values are blank or infinite at {listed(blank)}: fill or drop them first.",
            f"{listed_zh(blank)}的数值空缺或为无穷大：请先填补或剔除。",
        )
    flat = list(out.index[np.ptp(out.to_numpy(), axis=1) == 0])
    if flat:
        raise DataError(
            f"The values are the same for all units in {listed(flat)}: I is not defined.",
            f"{listed_zh(flat)}各地区的数值相同：莫兰指数没有定义。",
        )
    return out


def _bands(links: Links, bands: Bands) -> list[tuple[float, float]]:
    ends = np.asarray(_round_edges(links) if bands.edges is None else bands.edges, dtype=float)
    if ends.ndim != 1 or len(ends) < 2 or ends[0] < 0 or not np.all(np.diff(ends) > 0):
        raise SpecificationError(
            f"edges must be increasing kilometres, at least two: {listed(np.ravel(ends))}.",
            f"edges须为递增的公里数，至少两个：{listed_zh(np.ravel(ends))}。",
        )
    if bands.cumulative:
        return [(float(ends[0]), float(high)) for high in ends[1:]]
    return [(float(low), float(high)) for low, high in itertools.pairwise(ends)]


def _round_edges(links: Links) -> list[float]:
    """Multiples of a round number; the first band takes in the next ones until it has pairs enough."""
    step = float(SHARE * links.km.max() / BANDS)
    power = 10.0 ** math.floor(math.log10(step))
    step = min(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9))
    last = max(1, math.floor(SHARE * links.km.max() / step + 0.5))
    edges = [step * number for number in range(last + 1)]
    while len(edges) > 2 and np.count_nonzero(links.km <= edges[1]) < FEWEST_PAIRS:
        del edges[1]
    return edges


def _binary(links: Links, inside: np.ndarray, n: int) -> sparse.csr_array:
    i, j = links.i[inside], links.j[inside]
    ones = np.ones(2 * len(i))
    return sparse.csr_array((ones, (np.append(i, j), np.append(j, i))), shape=(n, n))


def _inverse(links: Links, inside: np.ndarray, units: pd.Index, power: float, label: str) -> Weights:
    i, j, value = links.i[inside], links.j[inside], links.km[inside] ** -power
    n = len(units)
    matrix = sparse.csr_array((np.append(value, value), (np.append(i, j), np.append(j, i))), shape=(n, n))
    return Weights(matrix, units, label).standardise("row")


def _band_row(
    x: np.ndarray,
    matrix: sparse.csr_array,
    pairs: int,
    permutations: int,
    rng: np.random.Generator,
    level: float,
) -> dict[str, float]:
    if pairs < FEWEST_PAIRS:
        return dict.fromkeys(("I", "expected", "env_low", "env_high", "p_sim"), np.nan)
    found = moran_i(x, matrix)
    reference = moran_permutations(x, matrix, permutations, rng)
    low, high = np.quantile(reference, [(1 - level) / 2, (1 + level) / 2])
    return {
        "I": found.value,
        "expected": found.expected,
        "env_low": float(low),
        "env_high": float(high),
        "p_sim": permutation_p_value(found.value, reference),
    }
