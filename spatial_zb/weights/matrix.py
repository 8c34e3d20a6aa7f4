"""The frozen spatial weights matrix: who is whose neighbour, by string id."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.base.errors import (
    AlignmentError,
    WeightsError,
    listed,
    listed_zh,
    not_one_of,
)
from spatial_zb.base.notes import warn
from spatial_zb.base.printing import Drawn, shown_in_html
from spatial_zb.base.text import Text
from spatial_zb.weights.entries import WeightsReport, as_sparse, check_entries, describe, text_ids

if TYPE_CHECKING:
    from spatial_zb.core.logdet import Determinant, LogDet
    from spatial_zb.core.logdet.entries import Dissection


Normalisation = Literal["none", "row", "spectral", "minmax"]
#: Row sums this near to one count as one.
ROW_SUM_TOLERANCE = 1e-10
PANEL = Text("panel", "面板")


@dataclass(frozen=True, eq=False)
class Weights(Drawn):
    """Spatial weights W with the ids of its units.

    Parameters
    ----------
    matrix
        (n, n) sparse, finite, non-negative, zero diagonal; row i receives from column j. Copied.
    ids
        n unique unit ids; kept as text, in the order of the rows.
    label
        Short name used in tables and messages, e.g. ``"queen"``.
    normalisation
        How the rows were scaled: ``"none"``, ``"row"``, ``"spectral"`` or ``"minmax"``.
    recipe
        How it was built, for the manifest.
    allow_negative
        Accept negative weights; :func:`as_weights` and :func:`~spatial_zb.weights.read` warn of them.
    determinant
        How ln|I − ρW| is computed, see :meth:`with_determinant`.

    Raises
    ------
    WeightsError
        Not square, not numbers, complex numbers, a weight that is not finite or (unless allowed) negative, a non-zero
        diagonal, or no link at all.
    AlignmentError
        Wrong number of ids, ids that are not text, or repeated.
    """

    pictures = ("links",)

    matrix: sparse.csr_array
    ids: pd.Index
    label: str = "W"
    normalisation: Normalisation = "none"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    allow_negative: bool = False
    determinant: Determinant = "auto"

    def __post_init__(self) -> None:
        ids = text_ids(self.ids)
        matrix = as_sparse(self.matrix, ids, self.label)
        check_entries(matrix, ids, self.label, self.allow_negative)
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "recipe", MappingProxyType(dict(self.recipe)))

    def __repr__(self) -> str:
        return f"Weights({self.label!r}, n={self.n}, links={self.matrix.nnz}, {self.normalisation})"

    def _repr_html_(self) -> str:
        counts = pd.Series(np.diff(self.matrix.indptr)).value_counts().sort_index()
        table = pd.DataFrame({"neighbours": counts.index, "units": counts.to_numpy()})
        alone = [f"No neighbours: {listed(self.islands)}"] if len(self.islands) else []
        return shown_in_html("Weights", repr(self), table, alone)

    def __reduce__(self) -> tuple:
        return Weights, (
            self.matrix,
            self.ids,
            self.label,
            self.normalisation,
            dict(self.recipe),
            self.allow_negative,
            self.determinant,
        )

    @property
    def n(self) -> int:
        """Number of units."""
        return self.matrix.shape[0]

    @cached_property
    def islands(self) -> pd.Index:
        """Ids of units without any neighbour."""
        return self.ids[np.diff(self.matrix.indptr) == 0]

    @cached_property
    def components(self) -> pd.Series:
        """Number of the connected component of each unit."""
        from scipy.sparse import csgraph  # loads scipy.sparse.linalg

        _, component = csgraph.connected_components(self.matrix, directed=False)
        return pd.Series(component, index=self.ids, name="component")

    @cached_property
    def row_normalised(self) -> bool:
        """True when every row sums to one, so that W ι = ι; a row of an island sums to zero."""
        with np.errstate(over="ignore"):
            return bool(np.all(np.abs(self.matrix.sum(axis=1) - 1) < ROW_SUM_TOLERANCE))

    @cached_property
    def all_equal(self) -> bool:
        """True when every unit is linked with every other by one weight.

        W y is then a combination of y and its mean: with a constant or time effects rho is not identified.
        """
        full = self.matrix.nnz == self.n * (self.n - 1)
        return full and float(np.ptp(self.matrix.data)) <= ROW_SUM_TOLERANCE * float(abs(self.matrix.data[0]))

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables it was built from (economic weights), each once."""
        return tuple(dict.fromkeys(_variables(self.recipe)))

    @cached_property
    def logdet(self) -> LogDet:
        """The log-determinant of I − ρW, built once and shared by all that use this W."""
        from spatial_zb.core.logdet import make_logdet

        return make_logdet(self.matrix, self.determinant)

    @cached_property
    def dissection(self) -> Dissection | None:
        """How the graph of W comes apart, for entries of (I − ρW)⁻¹; None where its links reach too far."""
        from spatial_zb.core.logdet.entries import dissect

        return dissect(self.matrix)

    def with_determinant(self, method: Determinant) -> Weights:
        """Give the same W with another way to ln|I − ρW|.

        ``"auto"`` chooses by size and structure. ``"eigenvalues"``: all of them, exact at every ρ, to 14,000 units.
        ``"factorisation"``: a few sparse factorisations, interpolated to some 1e-9; any size as long as links are local.
        ``"stochastic"``: random vectors, any links, with an error that ``W.logdet.error(rho)`` tells.
        """
        return replace(self, determinant=method)

    def standardise(self, how: Normalisation = "row") -> Weights:
        """Give a new Weights with scaled entries.

        ``"row"`` divides each row by its sum, ``"spectral"`` everything by the largest modulus of the
        eigenvalues, ``"minmax"`` by min(largest row sum, largest column sum) (Kelejian & Prucha 2010,
        J. Econometrics 157: 53-67). Islands keep an empty row.

        Raises
        ------
        WeightsError
            An unknown word; rows or columns of negative weights that have no positive sum to divide by; ``"spectral"``
            where links never lead back to where they came from, so that all eigenvalues are zero.
        """
        if how == "none":
            return self
        if how in ("row", "minmax") and (self.matrix.data < 0).any():
            raise WeightsError(
                f"Weights {self.label!r} have negative entries, so rows cannot be divided by their sums; "
                'use standardise("spectral").',
                f'权重矩阵{self.label!r}有负值，不能除以行和；请用standardise("spectral")。',
            )
        scaled = _within_range(self.matrix, by_row=how == "row")
        rows = np.asarray(scaled.sum(axis=1)).ravel()
        if how == "row":
            scale = np.divide(1.0, rows, out=np.zeros_like(rows), where=rows > 0)
        elif how == "spectral":
            scale = np.full(self.n, 1 / _spectral_radius(scaled, self.label))
        elif how == "minmax":
            scale = np.full(self.n, 1 / min(rows.max(), scaled.sum(axis=0).max()))
        else:
            raise not_one_of("normalisation", how, ("row", "spectral", "minmax", "none"), kind=WeightsError)
        matrix = sparse.csr_array(sparse.diags_array(scale) @ scaled)
        return replace(self, matrix=matrix, normalisation=how)

    def align(self, ids: Sequence[str] | pd.Index, what: str | Text = PANEL) -> Weights:
        """Give W with its rows and columns in the order of ``ids``, which must be the same set of units."""
        if isinstance(ids, pd.Index) and self.ids.equals(ids):
            return self
        wanted = text_ids(ids)
        if wanted.equals(self.ids):
            return self
        match_units(wanted, self.ids, Text.of(what), named_weights(self.label))
        order = self.ids.get_indexer(wanted)
        return replace(self, matrix=self.matrix[order][:, order], ids=wanted)

    def subset(self, ids: Sequence[str] | pd.Index) -> Weights:
        """Give the W of some of the units, in the order of ``ids``, normalised again in the same way.

        Raises
        ------
        AlignmentError
            An id that W does not have.
        WeightsError
            No link is left among them.
        """
        if isinstance(ids, pd.Index) and self.ids.equals(ids):
            return self
        wanted = text_ids(ids)
        if wanted.equals(self.ids):
            return self
        missing = wanted.difference(self.ids)
        if len(missing):
            raise AlignmentError(
                f"Weights {self.label!r} has no unit {listed(missing)}.",
                f"权重矩阵{self.label!r}没有地区{listed_zh(missing)}。",
            )
        order = self.ids.get_indexer(wanted)
        part = replace(self, matrix=self.matrix[order][:, order], ids=wanted, normalisation="none")
        return part.standardise(self.normalisation)

    def report(self) -> WeightsReport:
        """Describe the weights: components, islands, neighbours, density, asymmetry, interval of rho."""
        return describe(self)

    def lag(self, values: pd.Series) -> pd.Series:
        """Spatial lag W x of a series indexed by unit id; the answer has the order of ``ids``."""
        match_units(text_ids(values.index), self.ids, Text("series", "序列"), named_weights(self.label))
        ordered = values.set_axis(text_ids(values.index)).loc[self.ids]
        return pd.Series(self.matrix @ ordered.to_numpy(float), index=self.ids, name=values.name)

    @property
    def dense(self) -> bool:
        """Whether more than half of all pairs are linked, as under inverse distance without a cut-off."""
        return self.matrix.nnz > 0.5 * self.n * (self.n - 1)

    def to_graph(self):
        """Give the libpysal ``Graph`` with the same ids; islands stay, as libpysal's zero self-links."""
        from libpysal.graph import Graph

        return Graph.from_sparse(self.matrix, ids=list(self.ids))


def named_weights(label: str) -> Text:
    """A weights matrix by its label, for :func:`match_units`."""
    return Text(f"weights {label!r}", f"权重矩阵{label!r}")


def match_units(left: pd.Index, right: pd.Index, left_name: Text, right_name: Text) -> None:
    """Raise AlignmentError unless both hold the same set of ids, naming what only one of them has."""
    sides = [(left.difference(right), left_name), (right.difference(left), right_name)]
    parts = [(ids, name) for ids, name in sides if len(ids)]
    if parts:
        english = ", ".join(f"{len(ids)} only in the {name.en} ({listed(ids)})" for ids, name in parts)
        chinese = "，".join(f"{len(ids)}个只在{name.zh}中（{listed_zh(ids)}）" for ids, name in parts)
        raise AlignmentError(
            f"The units of the {left_name.en} and of the {right_name.en} differ: {english}. "
            "Build both from the same list of ids.",
            f"{left_name.zh}与{right_name.zh}的地区不一致：{chinese}。请按同一份地区名单构建。",
        )


def as_weights(
    obj: Any, ids: Sequence[str] | None = None, label: str = "W", *, allow_negative: bool = False
) -> Weights:
    """Turn a Weights, a libpysal ``Graph`` or ``W``, or a matrix with ids into a Weights.

    Negative weights are refused unless ``allow_negative``; then they are kept with a warning.

    Raises
    ------
    AlignmentError
        A bare matrix without ``ids``: rows of a matrix say nothing about which unit they are.
    WeightsError
        Any other object; a matrix that cannot be weights, see :class:`Weights`.
    """
    if isinstance(obj, Weights):
        return obj if ids is None else obj.align(ids)
    if hasattr(obj, "unique_ids") and hasattr(obj, "sparse"):  # libpysal Graph
        matrix, own = _without_self_loops(obj.sparse), obj.unique_ids
    elif hasattr(obj, "id_order") and hasattr(obj, "sparse"):  # libpysal W
        matrix, own = obj.sparse, obj.id_order
    elif isinstance(obj, pd.DataFrame):
        # A table read from a file has numbers over its rows and text over its columns.
        if not text_ids(obj.index).equals(text_ids(obj.columns)):
            raise AlignmentError(
                "A weights DataFrame must have the same ids, in the same order, as rows and columns; of a file, read them "
                "by index_col=0, or the file by zb.weights.read.",
                "权重矩阵的DataFrame行列须为同样次序的同样编码；读自文件时请用index_col=0，或用zb.weights.read读取文件。",
            )
        matrix, own = obj.to_numpy(), obj.index
    elif isinstance(obj, np.ndarray) or sparse.issparse(obj):
        if ids is None:
            raise AlignmentError(
                "A bare matrix carries no unit ids: pass ids=[...] in the order of its rows.",
                "单纯的矩阵没有地区编码：请按行的次序给出ids=[...]。",
            )
        return _from_matrix(obj, ids, label, allow_negative)
    elif hasattr(obj, "weights") and hasattr(obj, "absent"):  # PeriodWeights, which stands above this module
        raise WeightsError(
            f"{obj!r} holds a W for each period, and one W is needed here. Take that of one period, W.at("
            f"{obj.periods[-1]}), or use what takes a W by period: zb.fit_durbin, zb.moran, zb.specification_grid.",
            f"{obj!r}每期各有一个权重矩阵，而此处需要单一的W。请取某一期的W.at({obj.periods[-1]})，"
            "或用可接受逐期权重的函数：zb.fit_durbin、zb.moran、zb.specification_grid。",
        )
    else:
        raise WeightsError(
            f"Cannot read weights from a {type(obj).__name__}; give a Weights, Graph, W or matrix with ids.",
            f"无法从{type(obj).__name__}读取权重矩阵；请给出Weights、Graph、W或带ids的矩阵。",
        )
    weights = _from_matrix(matrix, own, label, allow_negative)
    return weights if ids is None else weights.align(ids)


def _from_matrix(matrix: Any, ids: Any, label: str, allow_negative: bool) -> Weights:
    weights = Weights(
        matrix,
        ids,
        label,
        recipe={"kind": "user"},
        allow_negative=allow_negative,
    )
    if (negative := int((weights.matrix.data < 0).sum())) > 0:
        warn(
            f"Weights {label!r} keep {negative} negative weight(s); rho and Moran's I lose their usual reading.",
            f"权重矩阵{label!r}保留了{negative}个负权重，ρ与莫兰指数不再有通常的含义。",
        )
        return weights
    return replace(weights, normalisation="row") if weights.row_normalised else weights


def _without_self_loops(matrix: Any) -> sparse.csr_array:
    """Drop the zero self-links by which a Graph marks islands; real self-weights stay, to be refused."""
    out = sparse.csr_array(matrix)
    out.eliminate_zeros()
    return out


def _variables(recipe: Mapping[str, Any]) -> Iterator[str]:
    if recipe.get("variable"):
        yield str(recipe["variable"])
    for part in recipe.get("parts", ()):
        yield from _variables(part)


def _within_range(matrix: sparse.csr_array, *, by_row: bool) -> sparse.csr_array:
    """W times a power of two, of each row or of all, that brings its largest entry to about one.

    Sums of weights of 1e308 would be infinite, and one divided by a sum of 1e-320 too. A power of two takes no digit.
    """
    counts = np.diff(matrix.indptr)
    if by_row:
        filled = np.flatnonzero(counts)
        largest = np.zeros(matrix.shape[0])
        largest[filled] = (
            np.maximum.reduceat(np.abs(matrix.data), matrix.indptr[filled]) if len(filled) else 0.0
        )
        power = np.repeat(np.frexp(largest)[1], counts)
    else:
        power = np.frexp(np.abs(matrix.data).max(initial=0.0))[1]
    return sparse.csr_array(
        (np.ldexp(matrix.data, -power), matrix.indices, matrix.indptr), shape=matrix.shape
    )


def _spectral_radius(matrix: sparse.csr_array, label: str) -> float:
    from scipy.sparse import csgraph

    from spatial_zb.core.logdet import EIGEN_UNITS, eigenvalues
    from spatial_zb.core.logdet.factors import spectral_radius

    classes, _ = csgraph.connected_components(matrix, directed=True, connection="strong")
    if classes == matrix.shape[0]:  # each unit alone in its class: without circles all eigenvalues are zero
        raise WeightsError(
            f"Links of {label!r} never lead back to where they came from, so all its eigenvalues are zero and "
            '"spectral" has nothing to divide by. Use "row" or "minmax".',
            f'{label!r}中的联系从不回到起点，特征值全为零，"spectral"无从作除数。请用"row"或"minmax"。',
        )
    if matrix.shape[0] > EIGEN_UNITS:
        return spectral_radius(matrix)
    return float(np.abs(eigenvalues(matrix)).max())


#: Eigenvalues by Weights, forgotten with it.
_EIGENVALUES: weakref.WeakKeyDictionary[Weights, NDArray] = weakref.WeakKeyDictionary()


def weights_eigenvalues(weights: Weights) -> NDArray:
    """All eigenvalues of W, computed once for each Weights.

    Raises
    ------
    WeightsError
        More units than a dense matrix can hold (``spatial_zb.core.logdet.DENSE_LIMIT``).
    """
    from spatial_zb.core.logdet import EIGEN_UNITS, EigenLogDet, eigenvalues

    if weights not in _EIGENVALUES:
        logdet = weights.logdet if weights.n <= EIGEN_UNITS else None
        _EIGENVALUES[weights] = (
            logdet.omega if isinstance(logdet, EigenLogDet) else eigenvalues(weights.matrix)
        )
    return _EIGENVALUES[weights]
