"""What a reader should know about weights before using them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from scipy import sparse

from spatial_zb.base.errors import AlignmentError, listed, listed_zh
from spatial_zb.base.printing import Printed, written
from spatial_zb.weights.entries import text_ids

if TYPE_CHECKING:
    import geopandas as gpd

    from spatial_zb.core.logdet import LogDet


#: Above this size the eigenvalues are not computed for a report: dense algebra of n³.
MOST_UNITS_WITH_EIGENVALUES = 3000


class Described(Protocol):
    """What is read of a :class:`spatial_zb.weights.matrix.Weights`, which stands above this module."""

    @property
    def matrix(self) -> sparse.csr_array: ...
    @property
    def ids(self) -> pd.Index: ...
    @property
    def label(self) -> str: ...
    @property
    def normalisation(self) -> str: ...
    @property
    def variables(self) -> tuple[str, ...]: ...
    @property
    def n(self) -> int: ...
    @property
    def components(self) -> pd.Series: ...
    @property
    def islands(self) -> pd.Index: ...
    @property
    def all_equal(self) -> bool: ...
    @property
    def logdet(self) -> LogDet: ...


@dataclass(frozen=True, eq=False, repr=False)
class WeightsReport(Printed):
    """A description of weights.

    Attributes
    ----------
    units
        By unit id: ``neighbours`` (row entries), ``neighbour_of`` (column entries), ``row_sum``,
        ``component`` (number), ``island``.
    summary
        The facts of :meth:`glance`, by name.
    notes
        Sentences on what to look at: components, islands, equal weights, asymmetry.
    weights
        What it describes.

    :meth:`links` gives the link map; :func:`spatial_zb.report.maps.links` draws it for print.
    """

    label: str
    units: pd.DataFrame
    summary: Mapping[str, Any]
    notes: tuple[str, ...] = field(default=())
    weights: Described | None = field(default=None, repr=False)

    def tidy(self) -> pd.DataFrame:
        """One row per unit: ``unit, neighbours, neighbour_of, row_sum, component, island``."""
        return self.units.rename_axis("unit").reset_index()

    def glance(self) -> pd.DataFrame:
        """One row of facts about the whole matrix; ``rho_low`` and ``rho_high`` are NaN above 3,000 units."""
        return pd.DataFrame([dict(self.summary)])

    def degrees(self) -> pd.Series:
        """Histogram of neighbours: number of units by number of neighbours."""
        counts = self.units["neighbours"].value_counts().sort_index()
        return counts.rename_axis("neighbours").rename("units")

    def links(self, regions: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
        """The link map: a line from every unit to each of its neighbours, ready to ``plot()`` or ``explore()``.

        Parameters
        ----------
        regions
            Polygons indexed by unit id; more units are allowed.

        Returns
        -------
        GeoDataFrame with ``unit, neighbour, weight``, lines between points inside the polygons, in their reference
        system. Row i of W is unit i, which receives from its neighbour.

        Raises
        ------
        AlignmentError
            A unit without polygon.
        """
        import geopandas
        import shapely

        weights = self.weights
        assert weights is not None, "of a whole matrix"
        shapes = regions.geometry.set_axis(text_ids(regions.index))
        missing = weights.ids.difference(shapes.index)
        if len(missing):
            raise AlignmentError(
                f"{len(missing)} unit(s) of the weights have no polygon: {listed(missing)}.",
                f"权重矩阵中{len(missing)}个地区没有多边形：{listed_zh(missing)}。",
            )
        points = shapely.get_coordinates(shapes.loc[weights.ids].representative_point())
        found = weights.matrix.tocoo()
        lines = shapely.linestrings(np.stack([points[found.row], points[found.col]], axis=1))
        ids = weights.ids
        columns = {"unit": ids[found.row], "neighbour": ids[found.col], "weight": found.data}
        return geopandas.GeoDataFrame(columns, geometry=lines, crs=regions.crs)

    def components(self) -> pd.Series:
        """Number of units by component, islands included, largest first."""
        return self.units["component"].value_counts().rename("units")

    def __repr__(self) -> str:
        facts = [f"  {name.replace('_', ' ')}: {written(value)}" for name, value in self.summary.items()]
        degrees = ", ".join(f"{units} × {degree}" for degree, units in self.degrees().items())
        return "\n".join([f"Weights {self.label!r}", *facts, f"  degrees: {degrees}", *self.notes])


def describe(weights: Described) -> WeightsReport:
    """Components, islands, neighbours, density, asymmetry, interval of rho, and summary of the weights."""
    matrix, n = weights.matrix, weights.n
    neighbours = np.diff(matrix.indptr)
    units = pd.DataFrame(
        {
            "neighbours": neighbours,
            "neighbour_of": np.bincount(matrix.indices, minlength=n),
            "row_sum": np.asarray(matrix.sum(axis=1)).ravel(),
            "component": weights.components,
            "island": neighbours == 0,
        },
        index=weights.ids,
    )
    linked = weights.components[neighbours > 0].nunique()
    low, high = weights.logdet.interval if n <= MOST_UNITS_WITH_EIGENVALUES else (np.nan, np.nan)
    links, weighted = _asymmetry(matrix)
    summary = {
        "weights": weights.label,
        "normalisation": weights.normalisation,
        "units": n,
        "links": matrix.nnz,
        "density": matrix.nnz / (n * (n - 1)),
        "islands": len(weights.islands),
        "components": linked,
        "neighbours_min": int(neighbours.min()),
        "neighbours_mean": float(neighbours.mean()),
        "neighbours_max": int(neighbours.max()),
        "weight_min": float(matrix.data.min()),
        "weight_median": float(np.median(matrix.data)),
        "weight_max": float(matrix.data.max()),
        "one_way_links": links,
        "asymmetry": weighted,
        "all_equal": weights.all_equal,
        "rho_low": low,
        "rho_high": high,
    }
    return WeightsReport(weights.label, units, summary, tuple(_notes(weights, summary)), weights)


def _asymmetry(matrix: sparse.csr_array) -> tuple[int, float]:
    """Links without a link back, and Σ|w_ij − w_ji| / Σ(|w_ij| + |w_ji|)."""
    there = (matrix != 0).astype(np.int8)
    mutual = there.multiply(there.T).nnz
    return int(matrix.nnz - mutual), float(abs(matrix - matrix.T).sum() / (2 * abs(matrix).sum()))


def _notes(weights: Described, summary: Mapping[str, Any]) -> list[str]:
    notes = []
    if len(weights.islands):
        notes.append(f"Without neighbours: {listed(weights.islands)}; their spatial lags are zero.")
    if summary["components"] > 1:
        sizes = weights.components[~weights.ids.isin(weights.islands)].value_counts()
        notes.append(
            f"{len(sizes)} components of {listed(sizes, 5)} units: nothing spills from one to another."
        )
    if summary["all_equal"]:
        notes.append("All weights are equal: rho is not identified beside a constant or time effects.")
    if summary["one_way_links"]:
        notes.append(f"{summary['one_way_links']} links have no link back: eigenvalues may be complex.")
    if weights.variables:
        notes.append(f"Built from {listed(weights.variables)}; do not use with these as dependent variable.")
    if np.isnan(summary["rho_low"]):
        notes.append(f"The interval of rho is not computed above {MOST_UNITS_WITH_EIGENVALUES:,} units.")
    return notes
