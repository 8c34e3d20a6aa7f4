"""Traces of G = W(I − ρW)⁻¹ and H = W(I − λW)⁻¹ for the information matrix, also for large graphs.

Where the graph of W is long, traces of products go block by block, along its levels. Units ordered by their distance (in
links) from one end of the graph fall into levels, and only units of the same or of neighbouring levels are linked: I − cW
is block tridiagonal. With A_k, U_k, L_k its blocks on, right of and below the diagonal, D_1 = A_1,
D_{k+1} = A_{k+1} − L_k D_k⁻¹ U_k, T_k = −D_k⁻¹U_k and S_k = −L_k D_k⁻¹, its inverse M = I + cG has

    M_kk = D_k⁻¹ + T_k M_{k+1,k+1} S_k,   M_ij = T_i … T_{j−1} M_jj (i < j),   M_ij = M_ii S_{i−1} … S_j (i > j),

so that Σ over all of its n² entries is a recursion over the blocks, and none is formed outside the diagonal ones.
For contiguity in the plane a level has about √n units, and all costs n² instead of n³.

Reference: Meurant (1992), A review on the inverse of symmetric tridiagonal and block tridiagonal matrices, SIAM J.
Matrix Anal. Appl. 13: 707-728.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import lapack
from scipy.sparse import csgraph

from spatial_zb.core import Array, Values
from spatial_zb.core.logdet import LogDet
from spatial_zb.core.logdet.factors import ALWAYS_LIGHT, expected_fill, factorise, largest_sums, random_signs
from spatial_zb.core.logdet.stochastic import iterative_solver

#: Answers about one W that are kept for whoever asks next: the fits of a test chain ask twice and more for each of theirs.
KEPT = 12
Answer = TypeVar("Answer")
Asked = ParamSpec("Asked")


def remembered(
    function: Callable[Concatenate[sparse.csr_array, Asked], Answer],
) -> Callable[Concatenate[sparse.csr_array, Asked], Answer]:
    """The last few answers of a function of W, known by its identity, and of numbers; W up to ``DENSE_UNITS`` units."""
    kept: dict[tuple[Any, ...], tuple[sparse.csr_array, Answer]] = {}

    @wraps(function)
    def asked(matrix: sparse.csr_array, *rest: Asked.args, **more: Asked.kwargs) -> Answer:
        if matrix.shape[0] > DENSE_UNITS:
            return function(matrix, *rest, **more)
        key = id(matrix), *rest
        if key not in kept:
            while len(kept) >= KEPT:
                kept.pop(next(iter(kept)), None)
            kept[key] = (
                matrix,
                function(matrix, *rest, **more),
            )  # holds W, so that its place is not taken by another
        return kept[key][1]

    return asked


@dataclass(frozen=True, slots=True)
class LevelBlocks:
    """W by levels: ``own`` blocks (b_k, b_k), ``up`` (b_k, b_{k+1}) to the next level and ``down`` from it.

    ``order`` (n,) are the units level by level.
    """

    order: NDArray[np.intp]
    own: list[Array]
    up: list[Array]
    down: list[Array]


@dataclass(frozen=True, slots=True)
class BlockFilter:
    """G by its ``coefficient`` c: blocks M_kk (``inverse``), steps T_k (``right``) and S_k (``below``), and W.

    At c = 0, where G is W, the three lists are empty.
    """

    coefficient: float
    inverse: list[Array]
    right: list[Array]
    below: list[Array]
    blocks: LevelBlocks

    def own(self, k: int) -> Array:
        """G_kk."""
        if not self.coefficient:
            return self.blocks.own[k]
        return (self.inverse[k] - np.eye(len(self.inverse[k]))) / self.coefficient


def level_blocks(matrix: sparse.csr_array, limit: float) -> LevelBlocks | None:
    """Cut W (n, n) into levels; None where the cubes of their sizes sum to more than ``limit``."""
    level = graph_levels(matrix)
    sizes = np.bincount(level)
    if (sizes.astype(float) ** 3).sum() > limit:
        return None
    order = np.argsort(level, kind="stable")
    place = np.empty(level.size, np.intp)  # within the level
    place[order] = np.arange(level.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    row = np.repeat(np.arange(level.size), np.diff(matrix.indptr))
    step = level[matrix.indices] - level[row]
    entries = [(step == way, level[row], place[row], place[matrix.indices]) for way in (0, 1, -1)]
    shapes = [(sizes, sizes), (sizes[:-1], sizes[1:]), (sizes[1:], sizes[:-1])]
    firsts = (0, 0, 1)  # the level whose rows the first block of each kind has
    own, up, down = (
        _filled(matrix.data[here], which[here] - first, i[here], j[here], *shape)
        for (here, which, i, j), shape, first in zip(entries, shapes, firsts, strict=True)
    )
    return LevelBlocks(order, own, up, down)


def _filled(
    data: Array,
    block: NDArray[np.intp],
    i: NDArray[np.intp],
    j: NDArray[np.intp],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
) -> list[Array]:
    """Dense blocks of the given sizes from their entries."""
    ends = np.cumsum(rows * columns)
    flat = np.zeros(int(ends[-1]) if ends.size else 0)
    flat[(ends - rows * columns)[block] + i * columns[block] + j] = data
    parts = np.split(flat, ends[:-1])
    return [part.reshape(r, c) for part, r, c in zip(parts, rows, columns, strict=True)]


def graph_levels(matrix: sparse.csr_array) -> NDArray[np.intp]:
    """Distance of each unit from a far end of its component, in links of either direction."""
    count, component = csgraph.connected_components(matrix, directed=False)
    roots = np.unique(component, return_index=True)[1]
    for _ in range(2):  # the unit furthest from anywhere lies at an end of the graph
        distance = _distances(matrix, roots)
        roots = np.empty(count, np.intp)
        ascending = np.argsort(distance, kind="stable")
        roots[component[ascending]] = ascending  # the last one written is the furthest
    return _distances(matrix, roots)


def _distances(matrix: sparse.csr_array, roots: NDArray[np.intp]) -> NDArray[np.intp]:
    """Links to the root of the same component, by one search from a further node that is linked to all roots."""
    n = matrix.shape[0]
    parts = (
        np.ones(matrix.nnz + roots.size),
        np.append(matrix.indices, roots),
        np.append(matrix.indptr, matrix.nnz + roots.size),
    )
    joined = sparse.csr_array(parts, shape=(n + 1, n + 1))
    _, parent = csgraph.breadth_first_order(joined, n, directed=False)
    parent = parent.astype(np.intp)
    parent[n] = n
    steps = np.ones(n + 1, np.intp)
    steps[n] = 0
    while np.any(parent != n):  # each round doubles the length of path that is counted
        steps, parent = steps + steps[parent], parent[parent]
    return steps[:n] - 1


def block_filter(blocks: LevelBlocks, coefficient: float) -> BlockFilter:
    """G at c, without pivoting between levels: for diagonally dominant I − cW."""
    pivots: list[Array] = []
    right: list[Array] = []
    below: list[Array] = []
    if not coefficient:
        return BlockFilter(coefficient, pivots, right, below, blocks)
    for k, own in enumerate(blocks.own):
        system = np.eye(len(own)) - coefficient * own
        if k:
            system -= coefficient * (blocks.down[k - 1] @ right[-1])
        pivots.append(np.asarray(np.linalg.inv(system), float))
        if k < len(blocks.up):
            right.append(coefficient * (pivots[k] @ blocks.up[k]))
            below.append(coefficient * (blocks.down[k] @ pivots[k]))
    for k in reversed(range(len(right))):
        pivots[k] += right[k] @ pivots[k + 1] @ below[k]
    return BlockFilter(coefficient, pivots, right, below, blocks)


def product_trace(one: BlockFilter, two: BlockFilter) -> float:
    """tr G₁'G₂, the sum of the products of all n² entries."""
    on = sum(float(np.vdot(one.own(k), two.own(k))) for k in range(len(one.blocks.own)))
    if one.coefficient and two.coefficient:
        return on + _off_diagonal(one, two) / (one.coefficient * two.coefficient)
    return on + _off_lag(two if two.coefficient else one)


def _off_diagonal(one: BlockFilter, two: BlockFilter) -> float:
    """Σ of the products of the entries of M₁ and M₂ off the diagonal blocks.

    ``before`` and ``after`` are, at level k, Σ over the levels before it of T'…T'T…T and of S…SS'…S'.
    """
    total = 0.0
    size = len(one.inverse[0])
    before, after = np.zeros((size, size)), np.zeros((size, size))
    for k in range(len(one.right)):
        T, S, U, V = one.right[k], one.below[k], two.right[k], two.below[k]
        before, after = T.T @ (U + before @ U), (V + V @ after) @ S.T
        a, b = one.inverse[k + 1], two.inverse[k + 1]
        total += float(np.vdot(a, before @ b) + np.vdot(a, b @ after))
    return total


def _off_lag(one: BlockFilter) -> float:
    """Σ of the products of the entries of G and W off the diagonal blocks; of W with itself where c = 0."""
    up, down = one.blocks.up, one.blocks.down
    if not one.coefficient:
        return sum(float(np.vdot(block, block)) for block in (*up, *down))
    total = 0.0
    for k, (T, S) in enumerate(zip(one.right, one.below, strict=True)):
        M = one.inverse[k + 1]
        total += float(np.vdot(up[k], T @ M) + np.vdot(down[k], M @ S))
    return total / one.coefficient


def column_sums(one: BlockFilter) -> Array:
    """G'ι (n,), level by level."""
    ones = [np.ones(len(block)) for block in one.blocks.own]
    if not one.coefficient:
        sums = [block.sum(axis=0) for block in one.blocks.own]
        for k, (up, down) in enumerate(zip(one.blocks.up, one.blocks.down, strict=True)):
            sums[k + 1] += up.sum(axis=0)
            sums[k] += down.sum(axis=0)
        return np.concatenate(sums)
    above, sums = ones[0], []
    for k, M in enumerate(one.inverse):
        above = ones[k] + one.right[k - 1].T @ above if k else ones[0]
        sums.append(M.T @ above)
    below = np.zeros(len(ones[-1]))
    for k in reversed(range(len(one.below))):
        below = one.below[k].T @ (one.inverse[k + 1].T @ ones[k + 1] + below)
        sums[k] = sums[k] + below
    return (np.concatenate(sums) - 1) / one.coefficient


#: R ↦ (I − cW)⁻¹R for right-hand sides (n,) or (n, m).
Solver = Callable[[NDArray[np.float64]], NDArray[np.float64]]

#: Up to this many units tr(G'G) is exact, by levels of the graph or columns of G; above, from random probes.
DENSE_UNITS = 2000
#: Rademacher probes for tr(G'G) of large W (Hutchinson 1990, Commun. Statist. Simul. 19).
PROBES = 64
#: Up to this many units a dense factorisation is quicker than setting up a sparse one.
DENSE_SOLVE = 150
#: By levels, tr(G'G) costs Σ of their sizes cubed; by columns, as much as this many times n² (measured).
LEVEL_COST = 15.0
#: Columns that are solved for at a time.
BLOCK = 32
#: (I − cW)⁻¹ is not expanded in powers of cW when their norm, at most |c| times the largest sums, is above this.
ITERABLE = 0.995
#: ρ and λ nearer than this: tr(GH) is taken at their midpoint, its limit.
NEAR = 1e-5


@dataclass(frozen=True, slots=True)
class Traces:
    """Traces of JGJ and JHJ (J = I when not centred).

    ``g, h``: tr G, tr H; ``gg, gh, hh``: tr G², tr GH, tr H²; ``gtg, gth, hth``: tr G'G, tr G'H, tr H'H.
    ``probe_error`` is the relative standard error of the last three, zero when they are exact.
    """

    g: Values
    h: Values
    gg: Values
    gh: Values
    hh: Values
    gtg: Values
    gth: Values
    hth: Values
    probe_error: float


def filter_traces(
    matrix: sparse.csr_array,
    logdet: LogDet,
    rho: float,
    lam: float,
    centred: bool,
    solve: Solver | None = None,
) -> Traces:
    """Compute the traces: those of products from the log-determinant, those of G'G from G itself.

    ``solve`` is the :func:`filter_solver` at ρ, where there is one already.

    Since all filters are functions of one W, tr GH = (tr G − tr H)/(ρ − λ). With time effects and Wι = ι,
    JGJ = JG, so tr (JG)'(JH) = tr G'H − (G'ι)'(H'ι)/n.
    """
    g, h = (-float(logdet.first(c, centred)) for c in (rho, lam))
    gg, hh = (-float(logdet.second(c, centred)) for c in (rho, lam))
    near = abs(rho - lam) < NEAR
    gh = -float(logdet.second((rho + lam) / 2, centred)) if near else (g - h) / (rho - lam)
    gtg, gth, hth, error = _cross_traces(matrix, rho, lam, centred, solve)
    return Traces(g, h, gg, gh, hh, gtg, gth, hth, error)


def _cross_traces(
    matrix: sparse.csr_array, rho: float, lam: float, centred: bool, solve: Solver | None
) -> tuple[float, float, float, float]:
    """tr G'G, tr G'H, tr H'H and the relative error of the first."""
    n = matrix.shape[0]
    if n <= DENSE_SOLVE:
        return _dense_traces(matrix, rho, lam, centred, solve)
    exact = _level_traces(matrix, rho, lam, centred) if n <= DENSE_UNITS else None
    return exact or _column_traces(matrix, rho, lam, centred, solve)


@remembered
def _level_traces(
    matrix: sparse.csr_array, rho: float, lam: float, centred: bool
) -> tuple[float, float, float, float] | None:
    """:func:`_cross_traces` by levels of the graph, where that is cheap."""
    blocks = _blocks(matrix, rho, lam)
    if blocks is None:
        return None
    G = block_filter(blocks, rho)
    H = G if lam == rho else block_filter(blocks, lam)
    pairs = (G, G), (G, H), (H, H)
    gtg, gth, hth = (product_trace(*pair) for pair in pairs)
    if centred:
        g, h = column_sums(G), column_sums(H)
        gtg, gth, hth = (
            t - float(a @ b) / g.size
            for t, (a, b) in zip((gtg, gth, hth), ((g, g), (g, h), (h, h)), strict=True)
        )
    return gtg, gth, hth, 0.0


def _dense_traces(
    matrix: sparse.csr_array, rho: float, lam: float, centred: bool, solve: Solver | None
) -> tuple[float, float, float, float]:
    """:func:`_cross_traces` from the dense G and H."""
    W = matrix.toarray()
    G = (solve or filter_solver(matrix, rho))(W) if rho else W
    H = G if lam == rho else filter_solver(matrix, lam)(W) if lam else W
    if centred:
        G, H = G - G.mean(axis=0), H - H.mean(axis=0)
    return float(np.vdot(G, G)), float(np.vdot(G, H)), float(np.vdot(H, H)), 0.0


def _blocks(matrix: sparse.csr_array, rho: float, lam: float) -> LevelBlocks | None:
    """W by levels where that is cheap and both filters are diagonally dominant."""
    if max(abs(rho), abs(lam)) * largest_sums(matrix) >= 1:
        return None
    return level_blocks(matrix, LEVEL_COST * matrix.shape[0] ** 2)


def _column_traces(
    matrix: sparse.csr_array, rho: float, lam: float, centred: bool, solve: Solver | None
) -> tuple[float, float, float, float]:
    """:func:`_cross_traces` as Σ over columns of (G e)'(H e).

    The columns of the identity give them exactly, ±1 probes without bias; in blocks, so that no n × n matrix is
    held.
    """
    n = matrix.shape[0]
    exact = n <= DENSE_UNITS
    probes = np.empty((n, 0)) if exact else random_signs(np.random.default_rng(n), (n, PROBES))
    apply_g = filter_applier(matrix, rho, solve)
    apply_h = apply_g if lam == rho else filter_applier(matrix, lam)
    blocks = []
    for first in range(0, n if exact else PROBES, BLOCK):
        right = unit_columns(n, first, min(n, first + BLOCK)) if exact else probes[:, first : first + BLOCK]
        G = apply_g(right)
        H = G if lam == rho else apply_h(right)
        if centred:
            G, H = (G - G.mean(axis=0), H - H.mean(axis=0)) if H is not G else [G - G.mean(axis=0)] * 2
        blocks.append([np.einsum("ij,ij->j", a, b) for a, b in ((G, G), (G, H), (H, H))])
    per_column = np.concatenate(blocks, axis=1)
    gtg, gth, hth = map(float, per_column.sum(axis=1) if exact else per_column.mean(axis=1))
    if exact:
        return gtg, gth, hth, 0.0
    return gtg, gth, hth, float(np.std(per_column[0]) / np.sqrt(PROBES) / max(gtg, 1e-300))


def unit_columns(n: int, first: int, last: int) -> NDArray[np.float64]:
    """Columns first … last − 1 of the identity, (n, last − first)."""
    out = np.zeros((n, last - first))
    out[np.arange(first, last), np.arange(last - first)] = 1.0
    return out


def filter_applier(matrix: sparse.csr_array, coefficient: float, solve: Solver | None = None) -> Solver:
    """R ↦ W(I − cW)⁻¹ R, with one factorisation; W and (I − cW)⁻¹ commute."""
    if coefficient == 0:
        return lambda right: matrix @ right
    solve = solve or filter_solver(matrix, coefficient)
    return lambda right: solve(matrix @ right)


def filter_solver(matrix: sparse.csr_array, coefficient: float) -> Solver:
    """Factorise I − cW once; the answer solves for any right-hand side (n,) or (n, m).

    Without pivoting where I − cW is diagonally dominant, as for every |c| < 1 and row-normalised W. Where the factors
    would be dense (:func:`expected_fill`): by products with W.
    """
    return (_known_solvers if matrix.shape[0] > DENSE_SOLVE else _solvers)(matrix, coefficient)[0]


def filter_both_ways(matrix: sparse.csr_array, coefficient: float) -> tuple[Solver, Solver]:
    """R ↦ GR and R ↦ G'R, G = W(I − cW)⁻¹, with one factorisation."""
    transposed = sparse.csr_array(matrix.T)
    if coefficient == 0:
        return lambda right: matrix @ right, lambda right: transposed @ right
    solve, back = _solvers(matrix, coefficient)
    return lambda right: solve(matrix @ right), lambda right: back(transposed @ right)


def _solvers(matrix: sparse.csr_array, coefficient: float) -> tuple[Solver, Solver]:
    """With I − cW, and with its transpose."""
    n = matrix.shape[0]
    if n <= DENSE_SOLVE:
        # Of the transpose, which LAPACK reads as it stands, without a copy.
        lu, pivots, _ = lapack.dgetrf((np.eye(n) - coefficient * matrix.toarray()).T, overwrite_a=True)
        ahead, back = (partial(_dense_solve, lu, pivots, trans) for trans in (1, 0))
        return ahead, back
    system = sparse.csc_array(sparse.eye_array(n, format="csc") - coefficient * matrix)
    bound = largest_sums(matrix)
    if n > ALWAYS_LIGHT and abs(coefficient) * bound < ITERABLE and expected_fill(matrix).heavy:
        transposed = sparse.csr_array(matrix.T)
        return iterative_solver(matrix, coefficient, bound), iterative_solver(transposed, coefficient, bound)
    factors = factorise(system, abs(coefficient) * bound < 1)
    return factors.solve, partial(factors.solve, trans="T")


_known_solvers = remembered(_solvers)


def _dense_solve(lu: Array, pivots: NDArray[np.intp], trans: int, right: Array) -> Array:
    return lapack.dgetrs(lu, pivots, right, trans=trans)[0].reshape(right.shape)
