"""Traces of G = W(I − ρW)⁻¹ and H = W(I − λW)⁻¹ that the information matrix needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import lapack

from spatial_zb.core.fill import ALWAYS_LIGHT, expected_fill
from spatial_zb.core.level_blocks import LevelBlocks, block_filter, column_sums, level_blocks, product_trace
from spatial_zb.core.logdet import LogDet
from spatial_zb.core.sparse_factors import factorise
from spatial_zb.core.stochastic_logdet import iterative_solver
from spatial_zb.core.weight_spectrum import largest_sums

__all__ = [
    "BLOCK",
    "DENSE_UNITS",
    "Solver",
    "Traces",
    "filter_applier",
    "filter_solver",
    "filter_traces",
    "unit_columns",
]

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

    g: float
    h: float
    gg: float
    gh: float
    hh: float
    gtg: float
    gth: float
    hth: float
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
    blocks = _blocks(matrix, rho, lam) if n <= DENSE_UNITS else None
    if blocks is None:
        return _column_traces(matrix, rho, lam, centred, solve)
    G = block_filter(blocks, rho)
    H = G if lam == rho else block_filter(blocks, lam)
    pairs = (G, G), (G, H), (H, H)
    gtg, gth, hth = (product_trace(*pair) for pair in pairs)
    if centred:
        g, h = column_sums(G), column_sums(H)
        gtg, gth, hth = (
            t - a @ b / g.size for t, (a, b) in zip((gtg, gth, hth), ((g, g), (g, h), (h, h)), strict=True)
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
    probes = None if exact else np.random.default_rng(n).choice([-1.0, 1.0], (n, PROBES))
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
    if exact:
        return (*map(float, per_column.sum(axis=1)), 0.0)
    means = per_column.mean(axis=1)
    return (*map(float, means), float(np.std(per_column[0]) / np.sqrt(PROBES) / max(means[0], 1e-300)))


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
    n = matrix.shape[0]
    if n <= DENSE_SOLVE:
        # Of the transpose, which LAPACK reads as it stands, without a copy.
        lu, pivots, _ = lapack.dgetrf((np.eye(n) - coefficient * matrix.toarray()).T, overwrite_a=True)
        return lambda right: lapack.dgetrs(lu, pivots, right, trans=1)[0].reshape(right.shape)
    system = sparse.csc_array(sparse.eye_array(n, format="csc") - coefficient * matrix)
    bound = largest_sums(matrix)
    if n > ALWAYS_LIGHT and abs(coefficient) * bound < ITERABLE and expected_fill(matrix).heavy:
        return iterative_solver(matrix, coefficient, bound)
    return factorise(system, abs(coefficient) * bound < 1).solve
