"""Entries of G = W(I − cW)⁻¹ that robust covariances need, without n solves: its diagonal, and sums over pairs of units.

**The diagonal** is exact, by a selected inverse along nested dissections of the graph. A set of units that cuts the map in
two, its separator, is eliminated last; each half is cut again, down to parts of :data:`LEAF` units. Of such a tree every
node has its own units P and a boundary B, the units of nodes above it that its part touches. With F the block of P ∪ B once
the nodes below are eliminated, X = F_PP⁻¹F_PB and Y = F_BP F_PP⁻¹, a node passes F_BB − F_BP X up; and from the inverse Z
at B, which the node above knows, follow downwards

    Z_PB = −X Z_BB,   Z_BP = −Z_BB Y,   Z_PP = F_PP⁻¹ + X Z_BB Y.

Only entries inside such blocks are formed. For n units in the plane that is n^1.5 work, for all columns of the inverse n².

**Sums over pairs** Σ_{i<j} (g_ij + g_ji)² (ε_i'ε_j)² are half of ‖M‖², M = (A − diag A) ∘ E'E with A = JGJ + (JGJ)'. Up to
:data:`PAIR_UNITS` units the columns of G give them exactly. Above, ‖M‖² = E|Mv|² for signs v (Hutchinson 1990), and
Mv = Σ_t ε_t ∘ A(ε_t ∘ v), so that a probe takes T solves with I − cW and T with its transpose. What W + cW² alone has of
it is known exactly, and only the rest is left to the probes: |Mv|² − |M₀v|² varies little where G falls off quickly.

George (1973), Nested dissection of a regular finite element mesh, SIAM J. Numer. Anal. 10: 345-363; Erisman & Tinney (1975),
On computing certain elements of the inverse of a sparse matrix, Commun. ACM 18: 177-179; Hutchinson (1990), Commun. Statist.
Simul. 19: 433-450.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.core import Array, Values
from spatial_zb.core.logdet import symmetriser
from spatial_zb.core.logdet.factors import largest_sums, random_signs
from spatial_zb.core.logdet.traces import (
    BLOCK,
    DENSE_SOLVE,
    Solver,
    filter_applier,
    filter_both_ways,
    graph_levels,
    unit_columns,
)

#: Parts of a dissection of at most this many units are not cut further.
LEAF = 48
#: A separator is looked for between these shares of the units of a part, by distance from one end of it.
MIDDLE = (0.3, 0.7)
#: A part of which a cut leaves more than this in one piece is not cut: its links reach everywhere.
UNCUT = 0.9
#: By dissection costs Σ |P| |P ∪ B|²; columns, as much as this many times n² (measured).
COLUMN_COST = 40.0
#: Up to this many units sums over pairs are exact; above, from random signs, so many that they times n come to PAIR_SIGNS,
#: at least FEWEST: their standard error stays near a hundredth of the sum, and falls as n grows.
PAIR_UNITS, PAIR_SIGNS, FEWEST = 1000, 60_000, 12
#: Up to this many units G is held as a dense matrix; above, so many coefficients have their factors and diagonals kept.
DENSE_FILTER, REMEMBERED = 150, 24
#: W² is left out of what is known exactly where it may have more entries than this for each unit.
WIDE = 200

Index = NDArray[np.intp]
Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class Dissection:
    """Units in the order of elimination, and the tree of their nodes, each after those below it.

    ``order`` (n,) units; ``matrix`` W in that order, ``across`` its transpose; node k has the places ``bounds[k]`` to
    ``bounds[k + 1]``, the ascending places ``boundary[k]`` of units above it and the ``parent[k]`` (−1 for the root).
    ``definite``: W is similar to a symmetric matrix, so that I − cW is to a positive definite one on the whole admissible
    interval, and needs no pivots between nodes.
    """

    order: Index
    matrix: sparse.csr_array
    across: sparse.csr_array
    bounds: Index
    boundary: list[Index]
    parent: Index
    definite: bool

    def places(self, k: int, units: Index) -> Index:
        """Where units of P ∪ B of a node stand in its block; ``units`` are places in the order of elimination."""
        first, last = self.bounds[k], self.bounds[k + 1]
        return np.where(units < last, units - first, last - first + np.searchsorted(self.boundary[k], units))

    def holds(self, coefficient: complex) -> bool:
        """Whether blocks can be eliminated one after the other at this coefficient."""
        return self.definite or abs(coefficient) * largest_sums(self.matrix) < 1


def dissect(matrix: sparse.csr_array) -> Dissection | None:
    """Dissect the graph of W (n, n); None where that costs more than its columns (few units, links that reach far)."""
    n = matrix.shape[0]
    if n <= DENSE_SOLVE:
        return None
    label, parents = _separators(matrix)
    order = np.argsort(label, kind="stable")
    permuted = sparse.csr_array(matrix[order][:, order])
    across = sparse.csr_array(permuted.T)
    bounds = np.searchsorted(label[order], np.arange(len(parents) + 1))
    boundary, cost = [], 0.0
    below: list[list[Index]] = [[] for _ in parents]
    for k, parent in enumerate(parents):
        first, last = bounds[k], bounds[k + 1]
        linked = [m.indices[m.indptr[first] : m.indptr[last]] for m in (permuted, across)]
        seen = np.unique(np.concatenate([*linked, *below[k]]))
        seen = seen[np.searchsorted(seen, last) :].astype(np.intp)
        boundary.append(seen)
        if parent >= 0:
            below[parent].append(seen)
        below[k] = []
        cost += (last - first) * float(last - first + seen.size) ** 2
        if cost > COLUMN_COST * n**2:
            return None
    definite = symmetriser(matrix) is not None
    return Dissection(order, permuted, across, bounds, boundary, np.asarray(parents), definite)


def _separators(matrix: sparse.csr_array) -> tuple[Index, list[int]]:
    """The node of every unit, numbered so that those below come first, and the node above each (−1 for none)."""
    n = matrix.shape[0]
    row, column = np.repeat(np.arange(n), np.diff(matrix.indptr)), matrix.indices
    part, node = np.zeros(n, np.intp), np.zeros(n, np.intp)  # part −1: in a separator
    above = [-1]  # of every node made so far; a part that is cut leaves its node to the separator
    while True:
        ids, sizes = np.unique(part[part >= 0], return_counts=True)
        big = ids[sizes > LEAF]
        if not big.size:
            break
        active = np.isin(part, big)
        units = np.flatnonzero(active)
        place = np.cumsum(active) - 1
        inside = active[row] & (part[row] == part[column])
        row, column = row[inside], column[inside]
        graph = sparse.csr_array((np.ones(row.size), (place[row], place[column])), shape=2 * (units.size,))
        which = np.searchsorted(big, part[units])
        side = _cut(graph, which, big.size)
        new = len(above) + 2 * which + side - 1
        above += [int(b) for b in big for _ in (1, 2)]
        node[units] = np.where(side == 0, part[units], new)
        part[units] = np.where(side == 0, -1, new)
    # Below before above: the latest made first.
    return len(above) - 1 - node, [len(above) - 1 - a if a >= 0 else -1 for a in reversed(above)]


def _cut(graph: sparse.csr_array, part: Index, parts: int) -> Index:
    """0 for units of the separator of their part, 1 and 2 for those on either side."""
    level = graph_levels(graph)
    row, column = np.repeat(np.arange(part.size), np.diff(graph.indptr)), graph.indices
    outward = np.zeros(part.size, bool)  # has a link to the next level
    up, down = level[column] > level[row], level[column] < level[row]
    outward[row[up]] = True
    outward[column[down]] = True
    depth = int(level.max()) + 1
    flat = part * depth + level
    sizes = np.bincount(flat, minlength=parts * depth).reshape(parts, depth)
    thin = np.bincount(flat[outward], minlength=parts * depth).reshape(parts, depth)
    share = (np.cumsum(sizes, axis=1) - sizes / 2) / sizes.sum(axis=1, keepdims=True)
    allowed = (share > MIDDLE[0]) & (share < MIDDLE[1]) & (sizes > 0)
    none = ~allowed.any(axis=1)
    nearest = np.argmin(np.where(sizes > 0, np.abs(share - 0.5), np.inf), axis=1)
    allowed[none, nearest[none]] = True
    chosen = np.argmin(np.where(allowed, thin, np.iinfo(np.int64).max), axis=1)
    at = chosen[part]
    side = np.where((level == at) & outward, 0, np.where(level <= at, 1, 2))
    larger = np.bincount(part * 3 + side, minlength=parts * 3).reshape(parts, 3)[:, 1:].max(axis=1)
    whole = larger > UNCUT * sizes.sum(axis=1)
    return np.where(whole[part], 0, side)


def inverse_diagonal(tree: Dissection, coefficient: Any) -> Any:
    """diag (I − cW)⁻¹ (n,), in the order of the units; c may be complex."""
    passed: list[list[tuple[Index, Array]]] = [[] for _ in tree.parent]
    kept: list[tuple[Array, Array, Array]] = []
    for k, above in enumerate(tree.parent):
        B, p = tree.boundary[k], tree.bounds[k + 1] - tree.bounds[k]
        F = _front(tree, coefficient, k)
        for where, update in passed[k]:
            at = tree.places(k, where)
            F[at[:, None], at] -= update
        passed[k] = []
        D: Any = np.linalg.inv(F[:p, :p])
        X, Y = D @ F[:p, p:], F[p:, :p] @ D
        if above >= 0 and B.size:
            passed[above].append((B, F[p:, :p] @ X - F[p:, p:]))
        kept.append((D, X, Y))
    return _downwards(tree, kept)


def _front(tree: Dissection, coefficient: Any, k: int) -> Array:
    """Entries of I − cW in rows and columns of P ∪ B that have one end in P; zero elsewhere."""
    first, last = tree.bounds[k], tree.bounds[k + 1]
    p, size = last - first, last - first + tree.boundary[k].size
    F = np.zeros((size, size), np.result_type(coefficient, float))
    for W, into in ((tree.matrix, F), (tree.across, F.T)):
        rows = np.repeat(np.arange(p), np.diff(W.indptr[first : last + 1]))
        columns, data = (a[W.indptr[first] : W.indptr[last]] for a in (W.indices, W.data))
        here = columns >= first
        into[rows[here], tree.places(k, columns[here])] = -coefficient * data[here]
    F[np.arange(p), np.arange(p)] += 1.0
    return F


def _downwards(tree: Dissection, kept: list[tuple[Array, Array, Array]]) -> Array:
    out = np.empty(len(tree.order), kept[-1][0].dtype)
    waiting = np.bincount(tree.parent[tree.parent >= 0], minlength=len(tree.parent))
    inverse: dict[int, Array] = {}  # on P ∪ B of nodes that others below still need
    for k in reversed(range(len(tree.parent))):
        D, X, Y = kept.pop()
        above = int(tree.parent[k])
        Z_B = np.empty((0, 0))
        if above >= 0:
            at = tree.places(above, tree.boundary[k])
            Z_B = inverse[above][at[:, None], at]
            waiting[above] -= 1
            if not waiting[above]:
                del inverse[above]
        XZ = X @ Z_B
        Z_P = D + XZ @ Y
        out[tree.order[tree.bounds[k] : tree.bounds[k + 1]]] = Z_P.diagonal()
        if waiting[k]:
            inverse[k] = np.block([[Z_P, -XZ], [-Z_B @ Y, Z_B]])
    return out


def filter_diagonal(matrix: sparse.csr_array, coefficient: float, tree: Dissection | None) -> Array:
    """diag G (n,), G = W(I − cW)⁻¹: along a dissection of W (:func:`dissect`), else by its columns."""
    if not coefficient:
        return matrix.diagonal()
    if tree is not None and tree.holds(coefficient):
        return (inverse_diagonal(tree, coefficient) - 1) / coefficient
    out = np.empty(matrix.shape[0])
    apply = filter_applier(matrix, coefficient)
    for first in range(0, out.size, BLOCK):
        unit = unit_columns(out.size, first, min(out.size, first + BLOCK))
        out[first : first + BLOCK] = np.einsum("ij,ij->j", unit, apply(unit))
    return out


@dataclass(frozen=True, eq=False)
class QuadraticForms:
    """JGJ and JHJ, G = W(I − ρW)⁻¹ and H = W(I − λW)⁻¹, and what robust covariances ask of them.

    ``coefficients`` (ρ, λ); J = I − ιι'/n when ``centred``, else I; ``tree``: :func:`dissect` of W.
    """

    matrix: sparse.csr_array
    coefficients: tuple[float, float]
    centred: bool
    tree: Dissection | None

    @cached_property
    def ways(self) -> list[tuple[Solver, Solver]]:
        """R ↦ GR and R ↦ G'R, and those of H."""
        return [filter_both_ways(self.matrix, c) for c in self.coefficients]

    @cached_property
    def own(self) -> Array:
        """Diagonals of both, (2, n)."""
        n = self.matrix.shape[0]
        out = np.array([filter_diagonal(self.matrix, c, self.tree) for c in self.coefficients])
        if self.centred:
            for row, ways in zip(out, self.ways, strict=True):
                rows, columns = (way(np.full(n, 1 / n)) for way in ways)
                row += rows.mean() - rows - columns
        return out

    def pair_squares(self, e: Array) -> tuple[Array, Array]:
        """Σ over pairs i < j of q q', q = [(g_ij + g_ji), (h_ij + h_ji), 2J_ij] ε_i'ε_j, (3, 3), from residuals e (T, n).

        And the standard errors (3, 3) that come of its random signs: zero up to :data:`PAIR_UNITS` units.
        """
        n = self.matrix.shape[0]
        if n > PAIR_UNITS:
            return self._probed_pairs(e)
        out = np.zeros((3, 3))
        for first in range(0, n, BLOCK):
            columns = np.arange(first, min(n, first + BLOCK))
            products = e.T @ e[:, columns]
            products[columns, np.arange(columns.size)] = 0.0
            unit = self._off_mean(unit_columns(n, first, columns[-1] + 1))
            forms = [self._off_mean(ahead(unit) + back(unit)) * products for ahead, back in self.ways]
            forms.append(-2 / n * self.centred * products)
            out += [[np.vdot(a, b) for b in forms] for a in forms]
        return out / 2, np.zeros((3, 3))

    def _off_mean(self, values: Array) -> Array:
        """J values."""
        return values - values.mean(axis=0) if self.centred else values

    def _probed_pairs(self, e: Array) -> tuple[Array, Array]:
        """:meth:`pair_squares` from random signs, the same in every call."""
        n, size = self.matrix.shape[0], (e**2).sum(axis=0)

        def images(v: Array) -> Array:
            right = np.ascontiguousarray((e * v).T)
            off = self._off_mean(right)
            forms = []
            for own, (ahead, back) in zip(self.own, self.ways, strict=True):
                image = self._off_mean(ahead(off) + back(off))
                forms.append(np.einsum("tn,nt->n", e, image) - 2 * own * size * v)
            forms.append(-2 / n * self.centred * (e.T @ right.sum(axis=0) - size * v))
            return np.array(forms)

        values, errors = probed_products(images, linked_pairs(self.matrix, self.coefficients, e), n)
        return values / 2, errors / 2


def probed_products(
    images: Callable[[Array], Array], known: list[sparse.csr_array], n: int
) -> tuple[Array, Array]:
    """⟨M_a, M_b⟩ (m, m) of matrices (n, n) from ``images`` M_a v (m, n) of random signs v, and its standard errors.

    The first of them have a part that is ``known``, of which the product is exact: signs tell the rest. They are the same in
    every call.
    """
    found = []
    for v in random_signs(np.random.default_rng(n), (n, max(FEWEST, -(-PAIR_SIGNS // n)))).T:
        forms = images(v)
        beside = np.zeros(forms.shape)
        beside[: len(known)] = [M @ v for M in known]
        found.append(forms @ forms.T - beside @ beside.T)
    each, exact = np.array(found), np.zeros(found[0].shape)
    exact[: len(known), : len(known)] = [[a.multiply(b).sum() for b in known] for a in known]
    return exact + each.mean(axis=0), each.std(axis=0, ddof=1) / len(each) ** 0.5


def linked_pairs(matrix: sparse.csr_array, coefficients: Sequence[float], e: Array) -> list[sparse.csr_array]:
    """(A ∘ E'E) off the diagonal for each c, A = W + cW² + its transpose, residuals e (T, n).

    Without W² where that has many links.
    """
    n, wide = matrix.shape[0], np.diff(matrix.indptr)[matrix.indices].sum() > WIDE * matrix.shape[0]
    square = sparse.csr_array((n, n)) if wide else matrix @ matrix
    return [_known(sparse.csr_array(matrix + c * square), e) for c in coefficients]


def _known(start: sparse.csr_array, e: Array) -> sparse.csr_array:
    """(A ∘ E'E) off the diagonal, A = ``start`` + its transpose, (n, n)."""
    both = sparse.coo_array(start + start.T)
    row, column = both.coords
    weights = np.zeros(row.size)
    for period in e:
        weights += period[row] * period[column]
    return sparse.csr_array((both.data * weights * (row != column), (row, column)), shape=start.shape)


class Filters:
    """G at any ρ of the admissible interval: dense for few units, else by factorisation, of which the last are kept."""

    def __init__(self, matrix: sparse.csr_array) -> None:
        self.matrix, self.n = matrix, matrix.shape[0]
        self.dense = matrix.toarray() if self.n <= DENSE_FILTER else None
        self._ways: dict[float, tuple[Solver, Solver]] = {}
        self._diagonals: dict[float, Array] = {}

    @cached_property
    def tree(self) -> Dissection | None:
        """W along a dissection of its graph."""
        return dissect(self.matrix)

    def full(self, rho: Values) -> Array:
        """G (…, n, n) at one ρ or at many, for few units."""
        assert self.dense is not None, "few units"
        at = np.asarray(rho)[..., None, None]
        return np.linalg.solve(
            np.eye(self.n) - at * self.dense, np.broadcast_to(self.dense, (*at.shape[:-2], *self.dense.shape))
        )

    def ways(self, rho: float) -> tuple[Solver, Solver]:
        """R ↦ GR and R ↦ G'R of (n, m)."""
        if self.dense is not None:
            G = self.full(rho)
            return G.__matmul__, G.T.__matmul__
        return _kept(self._ways, rho, lambda: filter_both_ways(self.matrix, rho))

    def diagonal(self, rho: float) -> Array:
        """diag G (n,)."""
        if self.dense is not None:
            return self.full(rho).diagonal()
        return _kept(self._diagonals, rho, lambda: filter_diagonal(self.matrix, rho, self.tree))

    def moved(self, rho: float, right: Array) -> Array:
        """G'R for R (n, …)."""
        return self.ways(rho)[1](right.reshape(self.n, -1)).reshape(right.shape)

    def ahead(self, rho: float, right: Array) -> Array:
        """GR for R (n, …)."""
        return self.ways(rho)[0](right.reshape(self.n, -1)).reshape(right.shape)

    def columns(self, rho: float) -> Iterator[tuple[NDArray[np.intp], Array, Array]]:
        """Columns of G and of G', (n, b) at a time, with their positions."""
        if self.dense is not None:
            G = self.full(rho)
            yield np.arange(self.n), G, G.T
            return
        one, other = self.ways(rho)
        for first in range(0, self.n, BLOCK):
            unit = unit_columns(self.n, first, min(self.n, first + BLOCK))
            yield np.arange(first, first + unit.shape[1]), one(unit), other(unit)


def _kept(known: dict[float, Kept], at: float, make: Callable[[], Kept]) -> Kept:
    """The value at a coefficient, made once while it is among the last."""
    if at not in known:
        if len(known) >= REMEMBERED:
            del known[next(iter(known))]
        known[at] = make()
    return known[at]
