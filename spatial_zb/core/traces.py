"""Traces of G = W(I − ρW)⁻¹ and H = W(I − λW)⁻¹ that the information matrix needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from spatial_zb.core.logdet import LogDet

__all__ = ["DENSE_UNITS", "Traces", "filter_traces"]

#: Up to this many units tr(G'G) comes from the dense G, exactly; above, from random probes.
DENSE_UNITS = 2000
#: Rademacher probes for tr(G'G) of large W (Hutchinson 1990, Commun. Statist. Simul. 19).
PROBES = 64
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


def filter_traces(matrix: sparse.csr_array, logdet: LogDet, rho: float, lam: float, centred: bool) -> Traces:
    """Compute the traces: those of products from the log-determinant, those of G'G from G itself.

    Since all filters are functions of one W, tr GH = (tr G − tr H)/(ρ − λ). With time effects and Wι = ι,
    JGJ = JG, so tr (JG)'(JH) = tr G'H − (G'ι)'(H'ι)/n.
    """
    g, h = (-float(logdet.first(c, centred)) for c in (rho, lam))
    gg, hh = (-float(logdet.second(c, centred)) for c in (rho, lam))
    if abs(rho - lam) < NEAR:
        gh = -float(logdet.second((rho + lam) / 2, centred))
    else:
        gh = (g - h) / (rho - lam)
    n = matrix.shape[0]
    # Tr G'H = Σ over columns of (G e)'(H e); the identity gives it exactly, ±1 probes without bias.
    exact = n <= DENSE_UNITS
    probes = np.eye(n) if exact else np.random.default_rng(n).choice([-1.0, 1.0], (n, PROBES))
    G = _apply(matrix, rho, probes)
    H = G if lam == rho else _apply(matrix, lam, probes)
    if centred:
        G, H = (M - M.mean(axis=0) for M in (G, H))
    per_probe = [np.einsum("ij,ij->j", a, b) for a, b in ((G, G), (G, H), (H, H))]
    share = 1.0 if exact else 1 / PROBES
    error = (
        0.0 if exact else float(np.std(per_probe[0]) / np.sqrt(PROBES) / max(np.mean(per_probe[0]), 1e-300))
    )
    gtg, gth, hth = (float(v.sum() * share) for v in per_probe)
    return Traces(g, h, gg, gh, hh, gtg, gth, hth, error)


def _apply(matrix: sparse.csr_array, coefficient: float, right: NDArray[np.float64]) -> NDArray[np.float64]:
    """W(I − cW)⁻¹ R."""
    lagged = matrix @ right
    if coefficient == 0:
        return lagged
    return filter_solver(matrix, coefficient)(lagged)


def filter_solver(matrix: sparse.csr_array, coefficient: float):
    """Factorise I − cW once; the answer solves for any right-hand side (n,) or (n, m)."""
    n = matrix.shape[0]
    system = (sparse.eye_array(n, format="csc") - coefficient * matrix.tocsc()).tocsc()
    return splu(system).solve
