"""Entries of a weights matrix: which can be weights, and what a reader should know of them before using them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.base.errors import AlignmentError, WeightsError, listed, listed_zh
from spatial_zb.base.printing import Printed, written
from spatial_zb.base.text import Text

if TYPE_CHECKING:
    import geopandas as gpd

    from spatial_zb.core.logdet import LogDet

#: Above this size the eigenvalues are not computed for a report: dense algebra of n³.
MOST_UNITS_WITH_EIGENVALUES = 3000


def as_sparse(matrix: Any, ids: pd.Index, label: str) -> sparse.csr_array:
    """A copy as (n, n) floats: duplicates summed, zeros dropped, sorted, read-only.

    Raises
    ------
    WeightsError
        Not two-dimensional, not square, complex numbers, text, dates, or anything else that is not a number.
    AlignmentError
        As many ids as rows there are not.
    """
    if not sparse.issparse(matrix):
        matrix = _array(matrix, label)
    _check_shape(tuple(matrix.shape), ids, label)
    out = sparse.csr_array(_real(matrix, ids, label), dtype=float, copy=True)
    out.sum_duplicates()
    out.eliminate_zeros()
    out.sort_indices()
    for part in (out.data, out.indices, out.indptr):
        part.flags.writeable = False
    return out


def _array(matrix: Any, label: str) -> NDArray:
    try:
        return np.asarray(matrix)
    except ValueError:
        raise WeightsError(
            f"Weights {label!r} have rows of different lengths.", f"权重矩阵{label!r}各行长度不一。"
        ) from None


def _check_shape(shape: tuple[int, ...], ids: pd.Index, label: str) -> None:
    if len(shape) != 2:
        raise WeightsError(
            f"Weights {label!r} must be a table of rows and columns, n × n, not an array of {len(shape)} dimension(s).",
            f"权重矩阵{label!r}须为n × n的二维数组，而不是{len(shape)}维数组。",
        )
    if shape[0] != shape[1]:
        raise WeightsError(
            f"Weights {label!r} must be square, not {shape[0]} × {shape[1]}.",
            f"权重矩阵{label!r}须为方阵，而不是{shape[0]} × {shape[1]}。",
        )
    if len(ids) != shape[0]:
        raise AlignmentError(
            f"Weights {label!r} has {shape[0]} rows but {len(ids)} ids.",
            f"权重矩阵{label!r}有{shape[0]}行，而编码有{len(ids)}个。",
        )


def _real(matrix: Any, ids: pd.Index, label: str) -> Any:
    """The same, if its entries are real numbers; numbers kept as objects are unwrapped."""
    kind = matrix.dtype.kind
    if kind == "c":
        raise WeightsError(
            f"Weights {label!r} are complex numbers; weights are real. Pass their real part or their modulus, whichever "
            "is meant.",
            f"权重矩阵{label!r}为复数，而权重须为实数。请按本意取实部或模。",
        )
    if kind in "biuf":
        return matrix
    if kind != "O":
        raise _no_number(Text(f"are of type {matrix.dtype}", f"的类型为{matrix.dtype}"), label)
    cells = matrix.toarray() if sparse.issparse(matrix) else matrix
    numbers = np.array([[_number(cell) for cell in row] for row in cells], dtype=object).reshape(cells.shape)
    wrong = np.argwhere([[number is None for number in row] for row in numbers])
    if len(wrong):
        pairs = [f"{ids[j]} → {ids[i]} ({cells[i, j]!r})" for i, j in wrong]
        shown, shown_zh = listed(pairs, 5), listed_zh(pairs, 5)
        raise _no_number(Text(f"hold something else at {shown}", f"在{shown_zh}处不是数值"), label)
    return numbers.astype(float)


def _number(cell: Any) -> float | None:
    """Number in a cell of an array of objects: NaN where it is blank, None where it is not a number."""
    if isinstance(cell, str | bytes):
        return None
    try:
        return np.nan if cell is None or cell is pd.NA else float(cell)
    except (TypeError, ValueError):
        return None


def _no_number(said: Text, label: str) -> WeightsError:
    return WeightsError(
        f"Weights {label!r} must be numbers, but {said.en}. Convert them first, as with .astype(float).",
        f"权重矩阵{label!r}须为数值，但{said.zh}。请先转换，如用.astype(float)。",
    )


def check_entries(matrix: sparse.csr_array, ids: pd.Index, label: str, allow_negative: bool) -> None:
    """Refuse repeated ids, weights that are not finite or negative, self-weights, and a W without links."""
    if ids.has_duplicates:
        raise AlignmentError(
            f"Weights {label!r} names units twice: {listed(ids[ids.duplicated()].unique())}.",
            f"权重矩阵{label!r}中有重复的地区：{listed_zh(ids[ids.duplicated()].unique())}。",
        )
    coo = matrix.tocoo()
    for wrong, words in (
        (
            ~np.isfinite(coo.data),
            Text(
                "a weight that is not finite (leave out links that are not known)",
                "不是有限数值的权重（未知的联系请留出）",
            ),
        ),
        (
            (coo.data < 0) & (not allow_negative),
            Text("a negative weight (allow_negative=True keeps it)", "负的权重（allow_negative=True可保留）"),
        ),
        (
            coo.row == coo.col,
            Text(
                "a weight of a unit on itself (the diagonal must be zero)", "地区对自身的权重（对角线须为零）"
            ),
        ),
    ):
        _refuse(wrong, words, coo, ids, label)
    if not matrix.nnz:
        raise WeightsError(
            f"Weights {label!r} has no link: every unit is an island.",
            f"权重矩阵{label!r}没有任何联系：所有地区都没有邻居。",
        )


def _refuse(wrong: NDArray[np.bool_], words: Text, coo: sparse.coo_array, ids: pd.Index, label: str) -> None:
    if wrong.any():
        pairs = [f"{ids[i]} → {ids[j]}" for i, j in zip(coo.col[wrong], coo.row[wrong], strict=True)]
        raise WeightsError(
            f"Weights {label!r} has {words.en}: {listed(pairs, 5)}.",
            f"权重矩阵{label!r}含{words.zh}：{listed_zh(pairs, 5)}。",
        )


def text_ids(ids: Sequence | pd.Index) -> pd.Index:
    """Ids as text: integers are written out, anything else must already be text."""
    try:
        index = pd.Index(ids)
    except TypeError:
        raise AlignmentError(
            f"Unit ids must be a list of texts such as ['330100', '330200'], not {ids!r}.",
            f"地区编码须为文本列表，如['330100', '330200']，而不是{ids!r}。",
        ) from None
    if isinstance(index.dtype, pd.StringDtype) and not index.hasnans:
        return index
    if pd.api.types.is_integer_dtype(index.dtype):
        return index.astype(str)
    wrong = [value for value in index if not isinstance(value, str)]
    if wrong:
        raise AlignmentError(
            f"Unit ids must be text, such as '330100'; {listed(map(repr, wrong), 3)} is not. "
            "Convert the id column to text before building this object.",
            f"地区编码须为文本，如'330100'；{listed_zh(map(repr, wrong), 3)}不是。请先把编码列转为文本。",
        )
    return index.astype(str) if index.dtype != object else pd.Index(list(index), dtype=str)


def polygons_of(units: pd.Index, regions: gpd.GeoDataFrame, whose: Text) -> gpd.GeoDataFrame:
    """The rows of a layer that are these units, in their order; ``whose`` says in a message what the units are of.

    Raises
    ------
    AlignmentError
        A unit without polygon.
    """
    shapes = regions.set_axis(text_ids(regions.index))
    missing = units.difference(shapes.index)
    if len(missing):
        raise AlignmentError(
            f"{len(missing)} unit(s) of {whose.en} have no polygon: {listed(missing)}.",
            f"{whose.zh}中{len(missing)}个地区没有多边形：{listed_zh(missing)}。",
        )
    return shapes.loc[units]


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
        shapes = polygons_of(weights.ids, regions, Text("the weights", "权重矩阵")).geometry
        points = shapely.get_coordinates(shapes.representative_point())
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
