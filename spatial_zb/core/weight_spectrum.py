"""What is known of the eigenvalues of a large sparse W without computing them all.

Reference: Paige (1980), Linear Algebra Appl. 34: 235-258 (Lanczos without orthogonalising again).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import ArpackNoConvergence, eigs

__all__ = [
    "extreme_eigenvalue",
    "is_row_normalised",
    "largest_sums",
    "spectral_radius",
    "symmetric_form",
    "unit_eigenvalues",
]

Array = NDArray[np.float64]

#: Row sums this near to one count as one.
ROW_SUM_TOLERANCE = 1e-10
#: Accuracy of the Lanczos eigenvalue at an end of the interval; what is left is bounded by its residual.
LANCZOS_TOLERANCE = 1e-5
#: Its steps at most, and those between two looks at how accurate it is.
LANCZOS_STEPS, LANCZOS_CHECK = 1000, 12
#: Accuracy of the largest eigenvalue, by which weights are divided.
RADIUS_TOLERANCE = 1e-12
#: A spectral radius below this share of its bound is that of a W without cycles, whose eigenvalues are all zero.
NO_CYCLE = 1e-2


def largest_sums(matrix: sparse.csr_array) -> float:
    """The smaller of the largest absolute row sum and the largest absolute column sum: a bound on every |ω|.

    I − ρW is diagonally dominant, by rows or by columns, while |ρ| times this is below one.
    """
    size = matrix if matrix.data.min(initial=0.0) >= 0 else abs(matrix)
    ones = np.ones(matrix.shape[0])
    return min(float((size @ ones).max()), float((size.T @ ones).max()))


def is_row_normalised(matrix: sparse.csr_array) -> bool:
    """True when every row that has a neighbour sums to one; islands keep empty rows."""
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    return bool(np.all(np.abs(sums[np.diff(matrix.indptr) > 0] - 1) < ROW_SUM_TOLERANCE))


def unit_eigenvalues(matrix: sparse.csr_array) -> int:
    """Multiplicity of the eigenvalue one of a row-normalised non-negative W: its closed classes.

    A strongly connected set of units without a link out of it is a Markov chain of its own; connected components,
    for symmetric links. Islands have none.
    """
    count, label = csgraph.connected_components(matrix, directed=True, connection="strong")
    closed = np.ones(count, dtype=bool)
    row, column = matrix.nonzero()
    closed[label[row[label[row] != label[column]]]] = False
    closed[label[np.diff(matrix.indptr) == 0]] = False  # the row of an island sums to zero
    return int(closed.sum())


def symmetric_form(matrix: sparse.csr_array, d: Array) -> sparse.csr_array:
    """D^{1/2} W D^{-1/2}, symmetric and similar to W, from the d of :func:`spatial_zb.core.logdet.symmetriser`."""
    root = np.sqrt(d)
    form = sparse.diags_array(root) @ matrix @ sparse.diags_array(1 / root)
    return sparse.csr_array((form + form.T) / 2)


def spectral_radius(matrix: sparse.csr_array) -> float:
    """The largest eigenvalue of a large sparse non-negative W, by Arnoldi; at worst its largest row sum."""
    bound = largest_sums(matrix)
    try:
        found = eigs(matrix, 1, which="LR", v0=np.ones(matrix.shape[0]), tol=RADIUS_TOLERANCE)[0]
    except ArpackNoConvergence:
        return bound
    value = float(found[0].real)
    if value < NO_CYCLE * bound:  # links that hardly lead back: the eigenvalue is rounding
        return bound
    return min(value * (1 + 10 * RADIUS_TOLERANCE), bound)


def extreme_eigenvalue(form: sparse.csr_array, which: str) -> float:
    """Smallest ("SA") or largest ("LA") eigenvalue of a symmetric matrix, moved outwards by its residual.

    A Ritz value lies inside the spectrum and within its residual of an eigenvalue: what is given here is outside,
    so that its inverse is an admissible ρ. Without convergence: Gershgorin's bound.
    """
    n = form.shape[0]
    sign = 1.0 if which == "LA" else -1.0
    v = np.random.default_rng(n).standard_normal(n)
    v, before = v / np.sqrt(v @ v), np.zeros(n)
    diagonal, side = [], [0.0]
    for step in range(1, LANCZOS_STEPS + 1):
        w = form @ v - side[-1] * before
        diagonal.append(float(w @ v))
        w -= diagonal[-1] * v
        side.append(float(np.sqrt(w @ w)))
        if step % LANCZOS_CHECK == 0 or side[-1] < LANCZOS_TOLERANCE:
            place = (0, 0) if which == "SA" else (step - 1, step - 1)
            value, weights = linalg.eigh_tridiagonal(diagonal, side[1:-1], select="i", select_range=place)
            residual = side[-1] * abs(weights[-1, 0])  # without the vector itself (Paige 1980)
            if residual <= LANCZOS_TOLERANCE * abs(value[0]):
                return float(value[0] + sign * residual)
        v, before = w / side[-1], v
    return sign * largest_sums(form)
