"""What a sparse factorisation of I − ρW will need, before it is made, and how much memory there is.

The fill of a factorisation comes from separators: sets of units that cut the map in two. Their size is seen from the levels
of a breadth-first search (units at one, two, three … links from a unit at the edge): a level of the middle is such a cut.
With s its size, ½ nnz(I + W) log₂ n + 0.7 s² entries come within a factor of about two of what SuperLU makes of
triangulations, nearest neighbours and random graphs (tests/core/test_logdet_large.py).

Lipton, R., Rose, D. & Tarjan, R. (1979), Generalized nested dissection, SIAM J. Numer. Anal. 16: 346-358 (n log n entries
for planar graphs, s² in general).
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

__all__ = ["Fill", "expected_fill", "physical_memory", "readable_bytes"]

#: Bytes per entry of the factors: value, index, and the room that SuperLU takes while it grows them.
ENTRY_BYTES = 24
#: A dense front of so many units takes a minute to factorise, and a fit takes eight factorisations.
HEAVY_FRONT = 5_000
#: Up to this many units every factorisation is quick, whatever the links.
ALWAYS_LIGHT = 5_000


@dataclass(frozen=True, slots=True)
class Fill:
    """Expected size of the factors of I − ρW.

    ``entries`` of both factors, ``front`` the units of a middle level of the search, ``levels`` their number.
    """

    n: int
    entries: int
    front: int
    levels: int

    @property
    def bytes(self) -> int:
        """Memory of one factorisation."""
        return ENTRY_BYTES * self.entries

    @property
    def heavy(self) -> bool:
        """Whether links reach everywhere within a few steps, so that the factors become dense and slow."""
        return self.n > ALWAYS_LIGHT and self.front > HEAVY_FRONT and self.levels < 2 * math.log2(self.n)


def expected_fill(matrix: sparse.csr_array) -> Fill:
    """Estimate the fill of I − ρW from the levels of a breadth-first search of the largest component."""
    n = matrix.shape[0]
    _, component = csgraph.connected_components(matrix, directed=False)
    start = int(np.argmax(component == np.bincount(component).argmax()))
    far = _levels(matrix, start)[0][-1]
    order, depth = _levels(matrix, int(far))
    sizes = np.bincount(depth[order])
    front = int(sizes[np.searchsorted(np.cumsum(sizes), order.size / 2)])
    entries = (matrix.nnz + n) * math.log2(max(n, 2)) / 2 + 0.7 * front**2
    return Fill(n, int(min(entries, n * n)), front, sizes.size)


def _levels(matrix: sparse.csr_array, start: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Units in the order of the search, and for all units the links from the start (0 where not reached)."""
    order, before = csgraph.breadth_first_order(matrix, start, directed=False)
    parent = np.arange(matrix.shape[0])
    parent[order[1:]] = before[order[1:]]
    depth = np.zeros(matrix.shape[0], dtype=np.intp)
    depth[order[1:]] = 1
    while np.any(parent != parent[parent]):  # each round doubles the length of path that is summed
        depth, parent = depth + depth[parent], parent[parent]
    return order, depth


def physical_memory() -> int | None:
    """Bytes of memory of this machine; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def readable_bytes(size: float) -> str:
    """``"3.2 GB"``, or in MB below one."""
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{size / 2**20:.0f} MB"
