"""Rows of a panel of any shape: W by period, filters of them, and the space of any effects.

Rows are the N unit-periods that exist, by period and then by unit. W = blockdiag(W_t) over the units of each period, so that
G = W(I − ρW)⁻¹ has such blocks too and nothing of N × N is formed. Blocks that are the same matrix are factorised once.

Effects are [U, C] of :class:`~spatial_zb.core.transforms.EffectSpace`, U with one unit in a column. UU' and G then meet on
their diagonals only, since the one joins rows of a unit and the other rows of a period: tr(UU'G) = Σ h_i G_ii, h the
diagonal of UU'. With M = I − UU' − CC',

    tr(MG) = Σ (1 − h_i) G_ii − tr(C'GC).

Where W_t is similar to a symmetric matrix, W_t = Δ^{−½}XωX'Δ^{½}, each of these is Σ_k a_k ω_k/(1 − ρω_k) with
a = diag(X'Δ^{½}M_ttΔ^{−½}X): one decomposition of each W_t, and the trace is known at every ρ.

Reference: Ord (1975), J. American Statistical Association 70: 120-126 (eigenvalues of W).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.core import Array, Values, made_once
from spatial_zb.core.logdet import EigenLogDet, SparseLogDet, admissible_interval, symmetriser
from spatial_zb.core.logdet.entries import Dissection, dissect, filter_diagonal
from spatial_zb.core.logdet.factors import Bordered, BorderedPencil, symmetric_form, weighted_filter_trace
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.core.transforms import EffectSpace

#: Up to this many units of a period filters are dense and decomposed.
DENSE_PERIOD = 700
#: F and H map the effects into themselves where this share of their squares at most is outside.
INSIDE = 1e-10


@dataclass(frozen=True, eq=False)
class RowWeights:
    """blockdiag(W_t) of N rows: made by :func:`row_weights`.

    ``distinct`` are the W_t that differ, ``which`` (T,) says which one a period has, ``starts`` (T + 1,) where its rows
    begin.
    """

    distinct: tuple[sparse.csr_array, ...]
    which: tuple[int, ...]
    starts: tuple[int, ...]

    @cached_property
    def matrix(self) -> sparse.csr_array:
        """W (N, N) of all rows."""
        return sparse.csr_array(sparse.block_diag([self.distinct[d] for d in self.which], format="csr"))

    @cached_property
    def symmetrisers(self) -> tuple[Array | None, ...]:
        """By distinct W_t, d with diag(d) W_t symmetric, or None."""
        return tuple(symmetriser(W) for W in self.distinct)

    @cached_property
    def trees(self) -> tuple[Dissection | None, ...]:
        """By distinct W_t, how its graph comes apart."""
        return tuple(dissect(W) for W in self.distinct)

    @cached_property
    def spectra(self) -> tuple[tuple[Array, Array, Array] | None, ...]:
        """By distinct W_t: ω (m,), Δ^{−½}X (m, m) and X'Δ^{½}; None where there is none or it is dear."""
        out: list[tuple[Array, Array, Array] | None] = []
        for W, d in zip(self.distinct, self.symmetrisers, strict=True):
            if d is None or W.shape[0] > DENSE_PERIOD:
                out.append(None)
                continue
            omega, X = np.linalg.eigh(symmetric_form(W, d).toarray())
            root = np.sqrt(d)
            out.append((omega, X / root[:, None], X.T * root))
        return tuple(out)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Where I − ρW_t is non-singular around zero for every t."""
        ends = []
        for W, spectrum, d in zip(self.distinct, self.spectra, self.symmetrisers, strict=True):
            if W.nnz == 0:
                continue
            if spectrum is not None:
                ends.append(admissible_interval(spectrum[0]))
            elif W.shape[0] <= DENSE_PERIOD:
                ends.append(EigenLogDet(np.linalg.eigvals(W.toarray()).astype(complex)).interval)
            else:
                ends.append(SparseLogDet(W, d).interval)
        return max((low for low, _ in ends), default=-1.0), min((high for _, high in ends), default=1.0)

    @property
    def dense(self) -> bool:
        """Whether every period has few enough units for dense filters."""
        return max((W.shape[0] for W in self.distinct), default=0) <= DENSE_PERIOD

    def slices(self) -> Iterator[tuple[int, slice]]:
        """Which W_t each period has, and its rows."""
        for d, start, stop in zip(self.which, self.starts[:-1], self.starts[1:], strict=True):
            yield d, slice(start, stop)

    def by_distinct(self, values: Array) -> list[Array]:
        """Σ over the periods of each distinct W_t of values (N, …), in the order of its units."""
        out = [np.zeros((W.shape[0], *values.shape[1:])) for W in self.distinct]
        for d, rows in self.slices():
            out[d] += values[rows]
        return out

    def grouped(self, values: Array) -> tuple[tuple[sparse.csr_array, Array], ...]:
        """Each distinct W_t with the values (N, m) of its periods, (T_t, n_t, m)."""
        found: dict[int, list[Array]] = {}
        for d, rows in self.slices():
            found.setdefault(d, []).append(values[rows])
        return tuple((self.distinct[d], np.array(parts)) for d, parts in found.items())

    def eigenvalues(self) -> NDArray:
        """Of W (N,): those of the W_t of every period."""
        known = [
            np.linalg.eigvals(W.toarray()) if spectrum is None else spectrum[0]
            for W, spectrum in zip(self.distinct, self.spectra, strict=True)
        ]
        return np.concatenate([known[d] for d in self.which])

    @cached_property
    def sums_to_one(self) -> bool:
        """Whether every row does."""
        return bool(np.abs(np.asarray(self.matrix.sum(axis=1)) - 1).max(initial=0.0) < 1e-9)

    def applied(self, functions: Sequence[Callable[[Array], Array]], values: Array) -> Array:
        """A function of each distinct W_t on the rows (N,) or (N, m) of its periods."""
        out = np.empty_like(values)
        for d, rows in self.slices():
            out[rows] = functions[d](values[rows])
        return out


def row_weights(blocks: Sequence[sparse.csr_array]) -> RowWeights:
    """Blocks W_t by period, each over the units of that period, equal ones found; equal W are one object.

    >>> W = sparse.csr_array(np.array([[0.0, 1.0], [1.0, 0.0]]))
    >>> row_weights([W, W.copy(), 2 * W]).which
    (0, 0, 1)
    """
    known: dict[tuple, int] = {}
    distinct: list[sparse.csr_array] = []
    which = []
    for block in blocks:
        W = sparse.csr_array(block, dtype=float)
        W.sum_duplicates()
        W.sort_indices()
        key = (W.shape, W.indptr.tobytes(), W.indices.tobytes(), W.data.tobytes())
        if key not in known:
            known[key] = len(distinct)
            distinct.append(W)
        which.append(known[key])
    starts = np.concatenate([[0], np.cumsum([block.shape[0] for block in blocks])])
    entries = [part for W in distinct for part in (W.indptr, W.indices, W.data)]
    return made_once(
        RowWeights,
        lambda: RowWeights(tuple(distinct), tuple(which), tuple(int(at) for at in starts)),
        *(np.array(which), starts, *entries),
    )


@dataclass(frozen=True, eq=False)
class RowFilter:
    """S = I − cW of all rows, and G = WS⁻¹, at one coefficient c."""

    weights: RowWeights
    coefficient: float

    @cached_property
    def _solvers(self) -> list[Callable[[Array], Array]]:
        return [filter_solver(W, self.coefficient) for W in self.weights.distinct]

    @cached_property
    def _transposed(self) -> list[Callable[[Array], Array]]:
        W = self.weights.distinct
        return [filter_solver(sparse.csr_array(block.T), self.coefficient) for block in W]

    @cached_property
    def full(self) -> list[Array]:
        """G of each distinct W_t, dense."""
        c, W = self.coefficient, self.weights.distinct
        return [block @ np.linalg.inv(np.eye(block.shape[0]) - c * block.toarray()) for block in W]

    def inverse(self, d: int) -> Array:
        """S⁻¹ = I + cG of one of the distinct W_t, dense."""
        return np.eye(len(self.full[d])) + self.coefficient * self.full[d]

    def solve(self, values: Array) -> Array:
        """S⁻¹v of rows (N,) or (N, m)."""
        if not self.coefficient:
            return values
        return self.weights.applied(self._solvers, values)

    def solve_back(self, values: Array) -> Array:
        """S'⁻¹v."""
        return self.weights.applied(self._transposed, values) if self.coefficient else values

    def ahead(self, values: Array) -> Array:
        """Gv."""
        return self.weights.matrix @ self.solve(values)

    def back(self, values: Array) -> Array:
        """G'v."""
        return self.solve_back(self.weights.matrix.T @ values)

    @cached_property
    def diagonals(self) -> list[Array]:
        """diag G of each distinct W_t."""
        W = self.weights
        if W.dense:
            return [G.diagonal() for G in self.full]
        pairs = zip(W.distinct, W.trees, strict=True)
        return [filter_diagonal(block, self.coefficient, tree) for block, tree in pairs]

    @property
    def diagonal(self) -> Array:
        """diag G of all rows (N,)."""
        return np.concatenate([self.diagonals[d] for d in self.weights.which])

    def trace(self) -> float:
        """tr G over all rows: by eigenvalues, else as a weighted one."""
        W, c = self.weights, self.coefficient
        if None in W.spectra:
            return self.weighted_trace(W.by_distinct(np.ones(W.starts[-1])))
        own = [float((s[0] / (1 - c * s[0])).sum()) for s in W.spectra if s is not None]
        return sum(own[d] for d in W.which)

    def weighted_trace(self, shares: list[Array]) -> float:
        """Σ_d a_d'diag G_d, a_d (n_d,) by distinct W_t: from G, or from a factor as ∂ln|S − r diag(a)W|/∂r."""
        return sum(self._weighted(d, a) for d, a in enumerate(shares))

    def _weighted(self, d: int, a: Array) -> float:
        W, c, found = self.weights.distinct[d], self.coefficient, None
        if c and W.shape[0] > DENSE_PERIOD:
            found = weighted_filter_trace(W, c, a)
        return float(self.diagonals[d] @ a) if found is None else found


# --- Forms


@dataclass(frozen=True, eq=False)
class DenseForm:
    """A block-diagonal X, such as G, by its dense ``blocks`` of rows, beside a basis [U, C] of effects."""

    blocks: list[tuple[slice, Array]]
    space: EffectSpace

    @property
    def C(self) -> Array:
        """What of the basis is not of one unit (N, c)."""
        return self.space.others

    @cached_property
    def diagonal(self) -> Array:
        """The diagonal of X (N,)."""
        return np.concatenate([X.diagonal() for _, X in self.blocks])

    def times(self, values: Array, turned: bool = False) -> Array:
        """XV of rows (N, m), X'V when ``turned``."""
        out = np.empty_like(values)
        for rows, X in self.blocks:
            out[rows] = (X.T if turned else X) @ values[rows]
        return out

    @cached_property
    def XC(self) -> Array:
        """XC (N, c)."""
        return self.times(self.C)

    @cached_property
    def XtC(self) -> Array:
        """X'C (N, c)."""
        return self.times(self.C, turned=True)

    @property
    def trace(self) -> float:
        """tr MX."""
        return float(self.diagonal @ (1 - self.space.leverage)) - float(np.vdot(self.C, self.XC))

    @cached_property
    def inner(self) -> Array:
        """R = [U, C]'X[U, C]."""
        columns, values, r, c = self.space.columns, self.space.values, self.space.own, self.C.shape[1]
        own = np.zeros((r + 1, r + 1))  # zeros go to the last
        for a, b in np.ndindex(columns.shape[1], columns.shape[1]):
            for rows, X in self.blocks:
                place = np.ix_(columns[rows, a], columns[rows, b])
                own[place] += values[rows, a, None] * X * values[rows, b]
        out = np.zeros((r + c, r + c))
        out[:r, :r] = own[:r, :r]
        out[:, r:], out[r:, :r] = self.space.onto(self.XC), (self.space.U.T @ self.XtC).T
        return out

    def own_means(self, number: NDArray[np.intp], free: int) -> Array:
        """tr((MXM − kI)_ii M_ii) of every unit i (n,), k = tr(MX)/(N − r); ``number`` (N,) of the units."""
        C, k = self.space.full, self.trace / free
        places = np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number))[:-1])
        back, after, out = self.times(C, turned=True), self.times(C) - C @ self.inner, np.zeros(len(places))
        for i, rows in enumerate(places):
            X = np.diag(self.diagonal[rows] - k) - C[rows] @ back[rows].T - after[rows] @ C[rows].T
            out[i] = np.trace(X) - np.vdot(X @ C[rows], C[rows])
        return out

    def product(self, other: DenseForm, left: bool, right: bool) -> tuple[float, float]:
        """tr(XY) and its part in the effects tr(PXY); X' for X when ``left``, Y' for Y when ``right``."""
        whole = part = 0.0
        for (rows, X), (_, Y) in zip(self.blocks, other.blocks, strict=True):
            rowwise = np.einsum("ij,ij->i", X.T if left else X, Y if right else Y.T)
            whole += float(rowwise.sum())
            part += float(rowwise @ self.space.leverage[rows])
        inside = np.vdot(self.XC if left else self.XtC, other.XtC if right else other.XC)
        return whole, part + float(inside)

    def traces(self, other: DenseForm, q: Array) -> dict[str, float]:
        """Those of F and a second lag K, of another regime or F itself; ``q`` (N, k) an orthonormal basis of MBZ.

        tr MF, tr F'MK, tr MFK, tr MFMK, tr(M F P K'M) and tr(M_Z F P_Q K'M_Z) under the names of ``ShapeTraces``.
        """
        R, S, onto = self.inner, other.inner, self.space.onto
        squared, inside = self.product(other, False, False)  # tr FK, tr PFK
        norm, rows = other.product(self, False, True)  # tr KF', tr PKF' = <Q'F, Q'K>
        columns = other.product(self, True, False)[1]  # <FQ, KQ>
        after = inside if other is self else other.product(self, False, False)[1]  # tr PKF
        Fq, qF = self.times(q), self.times(q, turned=True)
        Kq, qK = (Fq, qF) if other is self else (other.times(q), other.times(q, turned=True))
        pairs = (onto(Fq), onto(Kq)), (onto(qF), onto(qK)), (q.T @ Fq, q.T @ Kq)
        size = float(np.vdot(R, S))
        return {
            "f": self.trace,
            "ftf": norm - rows,
            "f2": squared - inside,
            "ff": squared - inside - after + float(np.vdot(R.T, S)),
            "excess_of_effects": columns - size,
            "excess": columns + float(np.vdot(Fq, Kq)) - size - sum(float(np.vdot(a, b)) for a, b in pairs),
        }


@dataclass(frozen=True, slots=True)
class ShapeTraces:
    """Traces at an estimate; zero for a lag that the model has not, (c, c) each where regimes have c ρ of their own.

    ``f, h``: tr MF, tr MH. ``ftf, ff, f2``: tr F'MF, tr MFMF, tr MF². ``hh``: tr MHMH + tr MHMH'. ``cross, straight``:
    tr MH'MF, tr MHMF. ``across``: tr MFH + tr MFPH'. ``slope_h``: ∂tr(MH)/∂λ. ``excess``: tr(M_Z F P_Q F'M_Z); of effects
    and error: tr(M F P F'M), tr(M H P H'M). ``probe_error``: relative standard error of those of second order.
    """

    f: Any = 0.0
    h: float = 0.0
    ftf: Any = 0.0
    ff: Any = 0.0
    f2: Any = 0.0
    hh: float = 0.0
    cross: float = 0.0
    straight: float = 0.0
    across: float = 0.0
    slope_h: float = 0.0
    excess: Any = 0.0
    excess_of_effects: Any = 0.0
    excess_of_error: float = 0.0
    probe_error: float = 0.0

    @property
    def likelihood(self) -> bool:
        """Whether F and H map BD into itself: the score is then that of a likelihood, and Ω its information."""
        parts = self.excess_of_effects + self.excess_of_error, self.ftf + self.hh
        left, size = (float(np.trace(np.atleast_2d(part))) for part in parts)
        return not self.probe_error and left <= INSIDE * size


# --- tr(MG) at every ρ


@dataclass(frozen=True, eq=False)
class TraceCurve:
    """tr(MG(ρ)) as a function of ρ: Σ a_k ω_k/(1 − ρω_k) where every W_t is decomposed, else one ρ at a time."""

    weights: RowWeights
    effects: EffectSpace

    @cached_property
    def decomposed(self) -> tuple[Array, Array] | None:
        """a and ω of all distinct W_t."""
        if any(spectrum is None for spectrum in self.weights.spectra):
            return None
        free = self.weights.by_distinct(1 - self.effects.leverage)
        known = [spectrum for spectrum in self.weights.spectra if spectrum is not None]
        parts = [np.einsum("ik,ki,i->k", *known[d][1:], share) for d, share in enumerate(free)]
        for d, rows in self.weights.slices():
            C = self.effects.others[rows]
            parts[d] -= ((known[d][2] @ C) * (C.T @ known[d][1]).T).sum(axis=1)
        return np.concatenate(parts), np.concatenate([omega for omega, _, _ in known])

    def at(self, rho: Values) -> Values:
        """tr(MG), at one ρ or at many (…)."""
        if self.decomposed is None:
            found = (self.of(RowFilter(self.weights, float(c))) for c in np.ravel(rho))
            return np.array(list(found)).reshape(np.shape(rho))
        a, omega = self.decomposed
        return (a * omega / (1 - np.asarray(rho)[..., None] * omega)).sum(axis=-1)

    def of(self, found: RowFilter) -> float:
        """tr(MG) from G itself."""
        free = self.weights.by_distinct(1 - self.effects.leverage)
        C = self.effects.others
        return found.weighted_trace(free) - float(np.vdot(C, found.ahead(C)))


def moved_effects(V: sparse.csr_array, effects: EffectSpace, dense: bool) -> BorderedPencil:
    """D'B'BD of an orthonormal D = [U, C] at every λ; not ``dense``: sparse within U, bordered by C."""
    U = sparse.csc_array((V.shape[0], 0)) if dense else sparse.csc_array(effects.U)
    C = effects.full if dense else effects.others
    VU, VC = sparse.csc_array(V @ U), V @ C
    UVU, CVC = sparse.csc_array(U.T @ VU), C.T @ VC
    once = Bordered(sparse.csc_array(UVU + UVU.T), U.T @ VC + VU.T @ C, CVC + CVC.T)
    return BorderedPencil(once, Bordered(sparse.csc_array(VU.T @ VU), VU.T @ VC, VC.T @ VC))


def between_units(form: DenseForm, e: Array, number: NDArray[np.intp], free: int, usual: bool) -> Array:
    """Y (n, n) of sym(MXM) − kM, X = F or H, k = tr(MX)/(N − r); of sym(MXM) − kI where ``usual``."""
    n, r, c = int(number.max()) + 1, form.space.own, form.C.shape[1]
    columns, values = form.space.columns, form.space.values
    straight = np.zeros((n, n))
    # E'[U, C], E'X[U, C] and E'X'[U, C], E the residuals in a column for each unit; zeros of U go to one column more
    own, shared = np.zeros((3, n, r + 1)), np.zeros((3, n, c))
    for rows, X in form.blocks:
        at, weighted = number[rows], e[rows, None] * X
        straight[np.ix_(at, at)] += weighted * e[rows]
        for a in range(columns.shape[1]):
            place = columns[rows, a]
            own[1][np.ix_(at, place)] += weighted * values[rows, a]
            own[2][np.ix_(at, place)] += (e[rows, None] * X.T) * values[rows, a]
    for a in range(columns.shape[1]):
        np.add.at(own[0], (number, columns[:, a]), e * values[:, a])
    summed = sparse.csr_array((e, (number, np.arange(len(e)))), shape=(n, len(e)))
    shared[:] = [summed @ part for part in (form.C, form.XC, form.XtC)]
    onto, ahead, behind = np.concatenate([own[..., :r], shared], axis=2)
    Y = straight - onto @ behind.T - ahead @ onto.T + onto @ form.inner @ onto.T
    squares = np.bincount(number, weights=e**2, minlength=n)
    return (Y + Y.T) / 2 - form.trace / free * (np.diag(squares) - (0 if usual else onto @ onto.T))
