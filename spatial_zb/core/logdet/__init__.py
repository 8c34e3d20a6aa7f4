"""ln|I − ρW|, its derivatives and the traces that follow from it, once per W.

With d(ρ) = ln|I − ρW| and G = W(I − ρW)⁻¹: d′ = −tr G, d″ = −tr G², tr(I − ρW)⁻¹ = n − ρ d′.
References: Ord (1975, JASA 70) for the eigenvalue form; LeSage & Pace (2009), Introduction to Spatial
Econometrics, ch. 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse import csgraph

from spatial_zb.base.errors import WeightsError, not_one_of
from spatial_zb.base.notes import warn
from spatial_zb.base.threads import threads_for
from spatial_zb.core.logdet.factors import ALWAYS_LIGHT, Fill, expected_fill, physical_memory, readable_bytes
from spatial_zb.core.logdet.interpolated import SparseLogDet
from spatial_zb.core.logdet.stochastic import StochasticLogDet

#: A symmetrised matrix may differ from its transpose by rounding only.
SYMMETRY_TOLERANCE = 1e-10
#: An eigenvalue this near to one is the unit root of a row-normalised matrix.
UNIT_ROOT_TOLERANCE = 1e-8
#: An eigenvalue below this share of the largest is a zero in rounding, which for a threefold root is the cube root of ε.
ZERO_TOLERANCE = 1e-5


#: Up to this many units all eigenvalues cost no more than the factorisations of one fit (docs/performance.md).
EIGEN_UNITS = 500
#: With more links than this share of all pairs a factorisation fills up, and eigenvalues are cheaper.
DENSE_SHARE = 0.05
#: Largest n for which a dense n × n matrix is built: 1.6 GB, and as much again to work on it.
DENSE_LIMIT = 14_000
#: Factors that need more than this share of the memory are not made unless they are asked for.
MEMORY_SHARE = 0.5

Determinant = Literal["auto", "eigenvalues", "factorisation", "stochastic"]


class LogDet(Protocol):
    """What estimators ask of a log-determinant; ρ may be a scalar or an array, the answers have its shape."""

    @property
    def n(self) -> int: ...
    @property
    def interval(self) -> tuple[float, float]: ...
    @property
    def rough(self) -> LogDet:
        """Approximation for scans of the whole interval where exact answers are costly, else itself."""
        ...

    @property
    def concave(self) -> bool:
        """Whether all eigenvalues are known to be real, so that d″ = −Σ (ω/(1 − ρω))² is negative everywhere."""
        ...

    def cover(self, low: float, high: float) -> None:
        """Say that many exact answers between two values of ρ will be asked for."""
        ...

    def value(self, rho: ArrayLike, centred: bool = False) -> NDArray[np.float64]: ...
    def first(self, rho: ArrayLike, centred: bool = False) -> NDArray[np.float64]: ...
    def second(self, rho: ArrayLike, centred: bool = False) -> NDArray[np.float64]: ...


@dataclass(frozen=True, slots=True)
class NoLag:
    """The log-determinant of I, of a model without spatial lags: zero, whatever the coefficient."""

    n: int = 0
    interval: tuple[float, float] = (-1.0, 1.0)
    concave: bool = True

    @property
    def rough(self) -> NoLag:
        """Itself."""
        return self

    def cover(self, low: float, high: float) -> None:
        """Nothing to prepare."""

    def value(self, rho: ArrayLike, centred: bool = False) -> NDArray[np.float64]:
        """ln|I| = 0, in the shape of ρ."""
        return np.zeros(np.shape(rho))

    first = second = value


def symmetriser(matrix: sparse.csr_array) -> NDArray[np.float64] | None:
    """Find d > 0 with diag(d) W symmetric, or None when W has no such d.

    Row-normalised, spectral and untransformed forms of a symmetric A all have one; k-nearest neighbours do
    not. W is then similar to the symmetric D^{1/2} W D^{-1/2}, whose eigenvalues are real and cheap.
    """
    transpose = matrix.T.tocsr()
    if not (_same_pattern(matrix, transpose) and np.all(matrix.data > 0)):
        return None
    ratio = np.log(matrix.data / transpose.data)
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    for log_d in (_constant_rows(matrix), None):
        if log_d is None:
            log_d = _along_trees(matrix, row, ratio)
        misfit = log_d[row] - log_d[matrix.indices] + ratio
        if np.all(np.abs(misfit) < SYMMETRY_TOLERANCE):
            return np.exp(log_d)
    return None


def _constant_rows(matrix: sparse.csr_array) -> NDArray[np.float64]:
    """ln d for scaled contiguity, where d_i is the inverse of the weight that all neighbours of i have."""
    filled = np.diff(matrix.indptr) > 0
    out = np.zeros(matrix.shape[0])
    out[filled] = -np.log(matrix.data[matrix.indptr[:-1][filled]])
    return out


def _along_trees(
    matrix: sparse.csr_array, row: NDArray[np.intp], step: NDArray[np.float64]
) -> NDArray[np.float64]:
    """ln d from the steps ln(w_ij/w_ji) along a spanning tree of each component, zero at its root."""
    parent, log_d = _spanning_forest(matrix, row, step)
    while np.any(parent != parent[parent]):  # each round doubles the length of path that is summed
        log_d, parent = log_d + log_d[parent], parent[parent]
    return log_d


def _same_pattern(matrix: sparse.csr_array, other: sparse.csr_array) -> bool:
    """Whether two matrices with sorted rows have the same entries, so that their data are aligned."""
    for one in (matrix, other):
        one.sum_duplicates()
    return np.array_equal(matrix.indptr, other.indptr) and np.array_equal(matrix.indices, other.indices)


def _spanning_forest(
    matrix: sparse.csr_array, row: NDArray[np.intp], step: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Parent of each unit in a breadth-first tree of its component (roots: themselves), and the step from it.

    ``row`` and ``step`` are those of the stored entries.
    """
    n, column = matrix.shape[0], matrix.indices
    _, component = csgraph.connected_components(matrix, directed=False)
    roots = np.unique(component, return_index=True)[1]
    # One more node, linked to the root of every component, makes a single tree of them.
    joined = sparse.csr_array(
        (
            np.ones(column.size + roots.size),
            np.append(column, roots),
            np.append(matrix.indptr, column.size + roots.size),
        ),
        shape=(n + 1, n + 1),
    )
    _, parent = csgraph.breadth_first_order(joined, n, directed=True)
    parent = parent[:n].astype(np.intp)
    parent[roots] = roots
    along = parent[column] == row
    out = np.zeros(n)
    out[column[along]] = step[along]
    return parent, out


def eigenvalues(matrix: sparse.csr_array) -> NDArray[np.float64] | NDArray[np.complex128]:
    """Give all eigenvalues of W: real where W is similar to a symmetric matrix, else complex.

    Raises
    ------
    WeightsError
        More than ``DENSE_LIMIT`` units: a dense matrix of them would not fit.
    """
    n = matrix.shape[0]
    if n > DENSE_LIMIT:
        raise WeightsError(
            f"All eigenvalues of weights of {n} units would need {n**2 * 16 / 2**30:.0f} GB. Up to {DENSE_LIMIT} units are "
            "possible: use an estimator that needs no eigenvalues, sparser weights, or fewer units.",
            f"{n}个地区的权重矩阵求全部特征值约需{n**2 * 16 / 2**30:.0f} GB内存，最多可处理{DENSE_LIMIT}个地区："
            "请改用不需要特征值的估计方法、更稀疏的权重矩阵或较少的地区。",
        )
    return _eigenvalues(matrix, symmetriser(matrix))


def _eigenvalues(matrix: sparse.csr_array, d: NDArray[np.float64] | None) -> NDArray:
    dense = matrix.toarray()
    with threads_for(len(dense)):
        if d is None:
            return np.linalg.eigvals(dense).astype(complex)
        root = np.sqrt(d)
        return np.linalg.eigvalsh(
            root[:, None] * dense / root[None, :]
        )  # which reads the lower triangle only


def admissible_interval(omega: NDArray[np.float64] | NDArray[np.complex128]) -> tuple[float, float]:
    """Give the interval of ρ around zero on which I − ρW stays non-singular: (1/ω_min, 1/ω_max).

    Only real eigenvalues make I − ρW singular at a real ρ. Without a negative (positive) real eigenvalue, zeros in
    rounding aside, the lower (upper) end is −1/max|ω| (1/max|ω|), the radius within which the power series of the
    inverse converges; (−1, 1) when all are zero.
    """
    radius = float(np.abs(omega).max())
    if radius == 0:  # links that never lead back: no ρ is singular
        return -1.0, 1.0
    real = omega.real[np.abs(omega.imag) <= UNIT_ROOT_TOLERANCE * radius] if np.iscomplexobj(omega) else omega
    low, high, none = float(real.min(initial=0.0)), float(real.max(initial=0.0)), ZERO_TOLERANCE * radius
    return (1 / low if low < -none else -1 / radius, 1 / high if high > none else 1 / radius)


@dataclass(frozen=True, eq=False)
class EigenLogDet:
    """Log-determinant from the eigenvalues ω (n,) of W: Σ ln(1 − ρ ω_i), exact at every ρ.

    ``centred=True`` leaves out the eigenvalue of ι, which only a row-normalised W has: ln|I − ρW| − ln(1 − ρ).
    """

    omega: NDArray[np.float64] | NDArray[np.complex128]

    @property
    def n(self) -> int:
        """Number of units."""
        return self.omega.size

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The admissible interval of ρ."""
        return admissible_interval(self.omega)

    @property
    def rough(self) -> EigenLogDet:
        """Itself: every answer is exact and cheap."""
        return self

    @property
    def concave(self) -> bool:
        """True for real eigenvalues."""
        return not np.iscomplexobj(self.omega)

    def cover(self, low: float, high: float) -> None:
        """Nothing to prepare."""

    @cached_property
    def _without_iota(self) -> NDArray:
        return np.delete(self.omega, np.argmin(np.abs(self.omega - 1)))

    def _ratio(self, rho: ArrayLike, centred: bool) -> tuple[NDArray, NDArray]:
        omega = self._without_iota if centred else self.omega
        one_minus = 1 - np.asarray(rho, float)[..., None] * omega
        return omega, one_minus

    def value(self, rho: ArrayLike, centred: bool = False) -> NDArray[np.float64]:
        """ln|I − ρW|; complex eigenvalues come in pairs, so Σ ln|1 − ρω| is the real sum."""
        _, one_minus = self._ratio(rho, centred)
        return np.log(np.abs(one_minus)).sum(axis=-1)

    def first(self, rho: ArrayLike, centred: bool = False) -> NDArray[np.float64]:
        """d′(ρ) = −tr G."""
        omega, one_minus = self._ratio(rho, centred)
        return -(omega / one_minus).sum(axis=-1).real

    def second(self, rho: ArrayLike, centred: bool = False) -> NDArray[np.float64]:
        """d″(ρ) = −tr G²."""
        omega, one_minus = self._ratio(rho, centred)
        return -((omega / one_minus) ** 2).sum(axis=-1).real


def make_logdet(matrix: sparse.csr_array, method: Determinant = "auto") -> LogDet:
    """Choose the log-determinant for a W (n, n), and say what it needs before it is made.

    ``"auto"``: eigenvalues for a small or dense W, else sparse factorisations; random vectors where neither is possible
    (a dense W of more than ``DENSE_LIMIT`` units, links that reach everywhere within a few steps, factors larger than half
    of the memory), with a :class:`SpatialZbWarning` that tells the error. ``"eigenvalues"``, ``"factorisation"``,
    ``"stochastic"``: that one.

    Raises
    ------
    WeightsError
        An unknown method; eigenvalues of more than ``DENSE_LIMIT`` units; factors larger than the memory.
    """
    if method not in get_args(Determinant):
        raise not_one_of("determinant", method, get_args(Determinant), kind=WeightsError)
    n = matrix.shape[0]
    dense = matrix.nnz > DENSE_SHARE * n**2
    small = n <= EIGEN_UNITS or (dense and n <= DENSE_LIMIT)
    if method == "eigenvalues" or (method == "auto" and small):
        return EigenLogDet(eigenvalues(matrix))
    fill = expected_fill(matrix) if dense or n > ALWAYS_LIGHT else None
    if method == "stochastic" or (method == "auto" and fill and (dense or _too_much(fill))):
        return _stochastic(matrix, fill if method == "auto" else None)
    if fill:
        _say_memory(fill)
    return SparseLogDet(matrix, symmetriser(matrix))


def _too_much(fill: Fill) -> bool:
    memory = physical_memory()
    return fill.heavy or (memory is not None and fill.bytes > MEMORY_SHARE * memory)


def _say_memory(fill: Fill) -> None:
    """Refuse factors too large for the memory, and warn of those that take much of it."""
    memory = physical_memory()
    if memory is None or fill.bytes <= MEMORY_SHARE / 2 * memory:
        return
    needed, all_there_is = readable_bytes(fill.bytes), readable_bytes(memory)
    en = f"The factors of I − ρW ({fill.n} units) need about {needed} of the {all_there_is} of this machine"
    zh = f"{fill.n}个地区的I−ρW分解约需内存{needed}，本机共{all_there_is}"
    if fill.bytes > memory:
        raise WeightsError(
            f'{en}. Use weights with fewer or nearer neighbours, or W.with_determinant("stochastic").',
            f'{zh}。请用邻居更少或更近的权重矩阵，或用W.with_determinant("stochastic")。',
        )
    warn(f"{en}.", f"{zh}。")


def _stochastic(matrix: sparse.csr_array, fill: Fill | None) -> StochasticLogDet:
    """The estimate by random vectors; where it was not asked for, its reason and its error are said."""
    found = StochasticLogDet.of(matrix, symmetriser(matrix))
    if fill is not None:
        middle, high = (float(found.error(share / found.radius)) for share in (0.5, 0.9))
        near, far, needed = 0.5 / found.radius, 0.9 / found.radius, readable_bytes(fill.bytes)
        warn(
            f"ln|I − ρW| of {fill.n} units is estimated from random vectors, with a standard error of {middle:.2g} at "
            f"ρ = {near:.2g} and {high:.2g} at ρ = {far:.2g}: links reach too far for a factorisation (about "
            f"{needed}, cuts of {fill.front} units). Weights with nearer neighbours allow an exact value.",
            f"{fill.n}个地区的ln|I−ρW|由随机向量估计，ρ={near:.2g}时标准误为{middle:.2g}，ρ={far:.2g}时为{high:.2g}："
            f"联系范围过大，无法精确分解（约需{needed}，割集{fill.front}个地区）。邻居更近的权重矩阵可精确计算。",
        )
    return found
