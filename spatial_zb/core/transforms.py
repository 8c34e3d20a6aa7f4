"""Spatial lags, the fixed-effects transform, and the orthonormal sample that likelihoods use.

The transform is that of Lee, L.F. & Yu, J. (2010), Estimation of spatial autoregressive panel data models with fixed
effects, Journal of Econometrics 154: 165-185; effects of any kind, on rows of panels of any shape, are an orthonormal
basis of what they span. A likelihood needs a basis of the regressors, and cross-products off it. Nothing is lost to scale
or to a good fit: columns are brought to unit length, and y and Wy to their parts off Z.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.linalg import lapack

from spatial_zb.core import Array, Values, made_once


def spatial_lag(matrix: sparse.csr_array, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Apply W to every period: ``out[t] = W @ values[t]``.

    Parameters
    ----------
    matrix
        W, (n, n).
    values
        (T, n) or (T, n, k).

    Returns
    -------
    ndarray of the shape of ``values``; computed as one sparse product on (n, T·k), never as I_T ⊗ W.
    """
    units_first = np.moveaxis(values, 1, 0)
    lagged = matrix @ units_first.reshape(units_first.shape[0], -1)
    return np.moveaxis(lagged.reshape(units_first.shape), 0, 1)


FixedEffects = Literal["none", "unit", "time", "two_way"]


def demean(values: NDArray[np.float64], effects: FixedEffects) -> NDArray[np.float64]:
    """Project a (T, n) or (T, n, k) array off the unit and/or time effects.

    With time effects this must come *after* multiplying by W: J W y differs from W J y unless W ι = ι and
    W is symmetric.
    """
    if effects in ("unit", "two_way"):
        values = values - values.mean(axis=0, keepdims=True)
    if effects in ("time", "two_way"):
        values = values - values.mean(axis=1, keepdims=True)
    return values


@dataclass(frozen=True, slots=True)
class TransformedSample:
    """How many observations a likelihood has, and which log-determinant it needs.

    ``observations`` is N in −(N/2) ln 2πσ²; ``periods`` is T* in T*·ln|I − ρW|; ``centred`` says that the
    eigenvalue of ι is removed from the determinant (ln|I − ρW| − ln(1 − ρ)); ``absorbed`` counts the effects
    concentrated out, for residual degrees of freedom.
    """

    n_units: int
    n_periods: int
    observations: int
    periods: int
    centred: bool
    absorbed: int

    @overload
    def concentrated(self, determinants: float, ssr: float) -> float: ...
    @overload
    def concentrated(self, determinants: Array, ssr: Values) -> Array: ...
    @overload
    def concentrated(self, determinants: float, ssr: Array) -> Array: ...
    def concentrated(self, determinants: Values, ssr: Values) -> Values:
        """ln L with δ and σ² concentrated out, up to its constant: T*[D(ρ) + D(λ)] − (N/2) ln SSR."""
        return self.periods * determinants - self.observations / 2 * np.log(ssr)

    def concentrated_score(self, first: Array, ssr: Values, slope: Values) -> Array:
        """Its derivative, T* D′ − (N/2) SSR′/SSR."""
        return self.periods * first - self.observations / 2 * slope / ssr


def transformed_sample(
    n_units: int, n_periods: int, effects: FixedEffects, estimator: Literal["lee_yu", "direct"]
) -> TransformedSample:
    """Count the transformed sample of Lee & Yu (2010, sections 3.1 and 3.2), or of direct ML with dummies."""
    n, T = n_units, n_periods
    unit, time = effects in ("unit", "two_way"), effects in ("time", "two_way")
    absorbed = n * unit + T * time - (unit and time)
    if estimator == "direct":
        return TransformedSample(n, T, n * T, T, False, absorbed)
    return TransformedSample(n, T, (n - time) * (T - unit), T - unit, time, absorbed)


#: A lag of Z whose part outside Z has at most this share of its square is inside.
INSIDE = 1e-12


@dataclass(frozen=True, slots=True)
class CrossProducts:
    """Cross-products of [e_y, e_Wy, Q] and of their spatial lags, all after the fixed-effects transform.

    ``Q`` is an orthonormal basis of the columns of Z, and e_y, e_Wy are the parts of y and Wy off Q, so that
    nothing is lost to scale or to a good fit. ``gram0``, ``gram01``, ``gram1`` are (2 + k, 2 + k):
    M'M, M'M₁ and M₁'M₁ with M₁ the lag of M; the last two are None when no error process is estimated.
    ``back`` (k, 2 + k) turns coefficients on Q into coefficients on Z.
    """

    gram0: Array
    gram01: Array | None
    gram1: Array | None
    back: Array
    y_norm: float

    @property
    def lagged(self) -> tuple[Array, Array]:
        """gram01 + gram01' and gram1, of products that were made with lags."""
        assert self.gram01 is not None, "made with lags"
        assert self.gram1 is not None, "made with lags"
        return self.gram01 + self.gram01.T, self.gram1

    def filtered(self, lam: float) -> tuple[Array, Array]:
        """Gram matrix of B[e_y, e_Wy, Q], where B = I − λW, and its derivative in λ."""
        if self.gram1 is None:
            return self.gram0, np.zeros_like(self.gram0)
        cross, gram1 = self.lagged
        return self.gram0 - lam * cross + lam**2 * gram1, 2 * lam * gram1 - cross


@dataclass(frozen=True, slots=True)
class Base:
    """Columns [e_y, e_Wy, Q] (M, 2 + k), their lags (M, 2 + k) or None, and the way back to Z and y.

    ``back`` and ``y_norm`` as in :class:`CrossProducts`.
    """

    columns: Array
    lags: Array | None
    back: Array
    y_norm: float


@dataclass(frozen=True, slots=True)
class ColumnBasis:
    """Z = Q R diag(scale): ``Q`` (M, k) orthonormal, ``R`` (k, k) upper triangular with columns of unit length."""

    Q: Array
    R: Array
    scale: Array


def column_basis(Z: Array) -> ColumnBasis:
    """Orthonormalise the columns of Z (M, k), none of them zero.

    They are brought to unit length first: GDP in yuan gives the same ρ̂ as GDP in billions.
    """
    k = Z.shape[1]
    scale = np.sqrt(np.einsum("ij,ij->j", Z, Z))
    if not k:
        return ColumnBasis(Z, np.zeros((0, 0)), scale)
    factor, tau, _, _ = lapack.dgeqrf(np.asfortranarray(Z / scale), overwrite_a=True)
    R = np.triu(factor[:k])
    return ColumnBasis(lapack.dorgqr(factor, tau, overwrite_a=True)[0], R, scale)


def orthogonal_base(
    Z: Array,
    y: Array,
    Wy: Array,
    lagged: tuple[Array, Array, Array] | None = None,
    basis: ColumnBasis | None = None,
) -> Base:
    """Orthonormalise stacked columns Z (M, k), y (M,), Wy (M,) and carry their lags (WZ, Wy, WWy) along.

    ``basis`` is that of Z, where there is one already.
    """
    k = Z.shape[1]
    basis = basis or column_basis(Z)
    Q, R, scale = basis.Q, basis.R, basis.scale
    y_norm = float(np.sqrt(y @ y))
    both = np.column_stack([y, Wy]) / y_norm
    onto = Q.T @ both
    off = both - Q @ onto
    again = Q.T @ off  # one more projection keeps Q'e at rounding level when the fit is very good
    off, onto = off - Q @ again, onto + again
    inverse = lapack.dtrtri(R)[0] if k else np.zeros((0, 0))
    back = (inverse @ np.hstack([onto, np.eye(k)])) * (y_norm / scale)[:, None]
    columns = np.hstack([off, Q])
    if lagged is None:
        return Base(columns, None, back, y_norm)
    WZ, W_y, WWy = lagged
    WQ = (WZ / scale) @ inverse
    lags = np.hstack([np.column_stack([W_y, WWy]) / y_norm - WQ @ onto, WQ])
    return Base(columns, lags, back, y_norm)


def cross_products(
    Z: Array,
    y: Array,
    Wy: Array,
    lagged: tuple[Array, Array, Array] | None = None,
    basis: ColumnBasis | None = None,
) -> CrossProducts:
    """Build the cross-products of :func:`orthogonal_base`."""
    base = orthogonal_base(Z, y, Wy, lagged, basis)
    M, L = base.columns, base.lags
    if L is None:
        return CrossProducts(M.T @ M, None, None, base.back, base.y_norm)
    return CrossProducts(M.T @ M, M.T @ L, L.T @ L, base.back, base.y_norm)


def holds_its_lags(onto: Array, lags: Array) -> bool:
    """Whether W maps the space of Z into itself, as with no regressors, or a constant and rows that sum to one.

    From ``onto`` Q'WQ and ``lags`` (WQ)'WQ, (k, k): what WQ has outside Q is nothing.
    """
    return bool(np.abs(lags - onto.T @ onto).max(initial=0.0) <= INSIDE * np.abs(lags).max(initial=0.0))


# --- Effects of any kind


#: A column of which the others leave this share of its square is their combination.
DEPENDENT = 1e-10


@dataclass(frozen=True, eq=False)
class EffectSpace:
    """An orthonormal basis [U, C] of what effects span: made by :func:`effect_space`.

    ``columns`` (N, q) and ``values`` (N, q) are the entries of U by row: a row has those of its unit, at most q dummies and
    trends, and zeros in a column beyond the last where it has fewer; ``own`` counts the columns of U. ``others`` C (N, r_C).
    """

    columns: NDArray[np.intp]
    values: Array
    own: int
    others: Array

    @property
    def rank(self) -> int:
        """Effects that are estimated."""
        return self.own + self.others.shape[1]

    @cached_property
    def U(self) -> sparse.csr_array:
        """U (N, r_U) as a sparse matrix."""
        N, q = self.columns.shape
        entries = (self.values.ravel(), (np.repeat(np.arange(N), q), self.columns.ravel()))
        return sparse.csr_array(sparse.coo_array(entries, shape=(N, self.own + 1)))[:, : self.own]

    @cached_property
    def leverage(self) -> Array:
        """h (N,), the diagonal of UU'."""
        return (self.values**2).sum(axis=1)

    @cached_property
    def full(self) -> Array:
        """[U, C] (N, r), dense."""
        return np.hstack([self.U.toarray(), self.others])

    @property
    def entries(self) -> sparse.csr_array:
        """[U, C] (N, r), sparse."""
        return sparse.csr_array(sparse.hstack([self.U, sparse.csr_array(self.others)]))

    def off(self, values: Array) -> Array:
        """Mv: rows (N,) or (N, m) off the effects."""
        if not self.rank:
            return values
        out = values - self.U @ (self.U.T @ values) if self.own else values
        return out - self.others @ (self.others.T @ out) if self.others.shape[1] else out

    def onto(self, values: Array) -> Array:
        """[U, C]'v, (r,) or (r, m)."""
        return np.concatenate([self.U.T @ values, self.others.T @ values])

    def spread(self, coefficients: Array) -> Array:
        """[U, C]a of coefficients (r,) or (r, m)."""
        return self.U @ coefficients[: self.own] + self.others @ coefficients[self.own :]


def effect_space(D: sparse.sparray, unit: NDArray[np.intp]) -> EffectSpace:
    """The space of effects D (N, m), any columns; ``unit`` (N,) numbers the unit of each row.

    Columns that are not zero for one unit only go into U, which is made unit by unit; the others into C. Equal effects are
    one object.

    Examples
    --------
    Two units in two periods, dummies of both: a rank of three.

    >>> D = sparse.csc_array(np.array([[1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1], [0, 1, 0, 1.0]]))
    >>> effect_space(D, np.array([0, 1, 0, 1])).rank
    3
    """
    D = sparse.csc_array(D, dtype=float)
    D.eliminate_zeros()
    return made_once(EffectSpace, lambda: _space(D, unit), D.indptr, D.indices, D.data, unit)


def _space(D: sparse.csc_array, unit: NDArray[np.intp]) -> EffectSpace:
    N = D.shape[0]
    filled = np.diff(D.indptr) > 0
    of_unit = unit[D.indices]
    first = np.full(D.shape[1], -1)
    first[filled] = of_unit[D.indptr[:-1][filled]]
    column_of = np.repeat(np.arange(D.shape[1]), np.diff(D.indptr))
    alone = filled.copy()
    alone[column_of[of_unit != first[column_of]]] = False
    nothing = np.zeros((N, 0), dtype=np.intp), np.zeros((N, 0)), 0
    columns, values, own = _own_basis(D[:, alone], first[alone], unit) if alone.any() else nothing
    space = EffectSpace(columns, values, own, np.zeros((N, 0)))
    rest = D[:, filled & ~alone].toarray()
    return EffectSpace(columns, values, own, _orthonormal(space.off(rest), rest)) if rest.size else space


def _own_basis(
    D: sparse.csc_array, owner: NDArray[np.intp], unit: NDArray[np.intp]
) -> tuple[NDArray[np.intp], Array, int]:
    """U by unit as entries (N, q) and positions (N, q), and how many columns it has."""
    N, sizes = len(unit), np.diff(D.indptr)
    if len(np.unique(owner)) == len(owner) and np.all(D.data == 1):  # dummies: no loop over units
        basis = sparse.csc_array((np.repeat(1 / np.sqrt(sizes), sizes), D.indices, D.indptr), shape=D.shape)
        return _entries(sparse.csr_array(basis))
    rows_of, columns_of, values_of, own = [], [], [], 0
    order = np.argsort(owner, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(owner[order])) + 1):
        block = D[:, group]
        rows = np.unique(block.indices)
        dense = block[rows].toarray()
        basis = _orthonormal(dense, dense)
        if basis.shape[1] == len(rows):  # nothing of the unit is left: the sparsest basis there is
            basis = np.eye(len(rows))
        at, column = np.nonzero(basis)
        rows_of.append(rows[at])
        columns_of.append(own + column)
        values_of.append(basis[at, column])
        own += basis.shape[1]
    places = np.concatenate(rows_of), np.concatenate(columns_of)
    return _entries(sparse.csr_array(sparse.coo_array((np.concatenate(values_of), places), shape=(N, own))))


def _entries(U: sparse.csr_array) -> tuple[NDArray[np.intp], Array, int]:
    """Positions and values (N, q) of the entries of each row, and the columns there are; zeros stand beyond the last one."""
    counts = np.diff(U.indptr)
    q, row = int(counts.max(initial=0)), np.repeat(np.arange(U.shape[0]), counts)
    place = np.arange(U.nnz) - np.repeat(U.indptr[:-1], counts)
    columns, values = np.full((U.shape[0], q), U.shape[1], dtype=np.intp), np.zeros((U.shape[0], q))
    columns[row, place], values[row, place] = U.indices, U.data
    return columns, values, U.shape[1]


def _orthonormal(left: Array, before: Array) -> Array:
    """An orthonormal basis of columns ``left``, judged beside what they were ``before``."""
    size = np.sqrt((before**2).sum(axis=0))
    scaled = left / np.where(size > 0, size, 1.0)
    for _ in range(2):  # once more: columns of small eigenvalues are orthonormal to their rounding only
        share, axes = np.linalg.eigh(scaled.T @ scaled)
        kept = share > DEPENDENT * max(share.max(initial=0.0), 1.0)
        scaled = scaled @ (axes[:, kept] / np.sqrt(share[kept]))
    return scaled


# --- collinearity


def variance_inflation(X: Array) -> Array:
    """1/(1 − R²) of each column (M, k) on the others, columns as they enter the regression (already centred)."""
    scaled = X / np.abs(X).max(axis=0)  # squares of extreme columns would leave the range of numbers
    basis = scaled / np.sqrt((scaled**2).sum(axis=0))
    R: Array = np.linalg.qr(basis, mode="r")  # type: ignore[assignment]  # its hints name a pair for every mode
    inverse = linalg.solve_triangular(R, np.eye(R.shape[1]))
    return (inverse**2).sum(axis=1)


def condition_number(X: Array) -> float:
    """Largest over smallest singular value of the columns at unit length (Belsley, Kuh & Welsch 1980)."""
    return float(np.linalg.cond(X / np.sqrt((X**2).sum(axis=0))))


def lower_factor(A: Array) -> Array:
    """L with LL' = A, positive definite; of the nearest such matrix where A is singular to rounding.

    So is D'B'BD next to the end of λ of a W with one eigenvector for a double eigenvalue.
    """
    try:
        return np.asarray(linalg.cholesky(A, lower=True))
    except linalg.LinAlgError:
        values, vectors = linalg.eigh(A)
        kept = np.maximum(values, len(A) * np.finfo(float).eps * values[-1]) ** 0.5
        return np.asarray(linalg.qr((vectors * kept).T, mode="r")[0].T)


def varies(before: Array, after: Array) -> NDArray[np.bool_]:
    """(k,) which columns of (T, n, k) still vary after a transform."""
    return np.asarray(np.abs(after).max(axis=(0, 1)) > 1e-9 * np.abs(before).max(axis=(0, 1)))
