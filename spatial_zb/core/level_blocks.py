r"""Traces of products of G = W(I − cW)⁻¹ for a W whose graph is long: block by block, along its levels.

Units ordered by their distance (in links) from one end of the graph fall into levels, and only units of the same or of
neighbouring levels are linked: I − cW is block tridiagonal. With A_k, U_k, L_k its blocks on, right of and below the
diagonal, D_1 = A_1, D_{k+1} = A_{k+1} − L_k D_k⁻¹ U_k, T_k = −D_k⁻¹U_k and S_k = −L_k D_k⁻¹, its inverse M = I + cG has

    M_kk = D_k⁻¹ + T_k M_{k+1,k+1} S_k,   M_ij = T_i … T_{j−1} M_jj (i < j),   M_ij = M_ii S_{i−1} … S_j (i > j),

so that Σ over all of its n² entries is a recursion over the blocks, and none is formed outside the diagonal ones.
For contiguity in the plane a level has about √n units, and all costs n² instead of n³.

Reference: Meurant (1992), A review on the inverse of symmetric tridiagonal and block tridiagonal matrices, SIAM J.
Matrix Anal. Appl. 13: 707-728.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

__all__ = ["BlockFilter", "LevelBlocks", "block_filter", "column_sums", "level_blocks", "product_trace"]

Array = NDArray[np.float64]


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
    level = _levels(matrix)
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


def _levels(matrix: sparse.csr_array) -> NDArray[np.intp]:
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
        pivots.append(np.linalg.inv(system))
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
