r"""Effects over time of x in a model with y_{t−1} and Wy_{t−1}: multipliers by horizon, and in the long run.

A change of x_k in period t moves y_{t+h} by A^h E_k, E_k = S⁻¹(β_k I + θ_k W), A = S⁻¹(τI + ηW), S = I − ρW. As in
:mod:`spatial_zb.core.impacts` averages need four numbers only,

    a = tr(A^h S⁻¹)/n,  b = tr(A^h S⁻¹W)/n,  p = ι'A^hS⁻¹ι/n,  q = ι'A^hS⁻¹Wι/n,

for a change of one period; those of a lasting change are their sums over h, which tend to [(1 − τ)I − (ρ + η)W]⁻¹ in
the place of A^hS⁻¹: the multipliers of a static model with κ = (ρ + η)/(1 − τ), over 1 − τ.

Reference: Elhorst (2014), Spatial Econometrics, §4.6; LeSage & Pace (2009), Introduction to Spatial Econometrics, ch. 7.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.core.impacts import multipliers
from spatial_zb.core.logdet import EigenLogDet, LogDet
from spatial_zb.core.traces import filter_solver

__all__ = ["long_run_multipliers", "path_multipliers"]

Array = NDArray[np.float64]

#: Rademacher probes of the traces where eigenvalues are dear.
PROBES = 64


def long_run_multipliers(
    carried: Array, matrix: sparse.csr_array, logdet: LogDet, row_normalised: bool
) -> Array:
    """(…, 4) a, b, p, q of [(1 − τ)I − (ρ + η)W]⁻¹ at ``carried`` (…, 3), the (τ, η, ρ) of stable processes."""
    tau, eta, rho = np.moveaxis(carried, -1, 0)
    m = multipliers((rho + eta) / (1 - tau), matrix, logdet, row_normalised)
    return np.stack(np.broadcast_arrays(m.a, m.b, m.p, m.q), axis=-1) / (1 - tau)[..., None]


def path_multipliers(
    carried: Array, matrix: sparse.csr_array, logdet: LogDet, row_normalised: bool, periods: int
) -> Array:
    """(…, periods + 1, 4) a, b, p, q of a change of one period at ``carried`` (…, 3), the (τ, η, ρ)."""
    own = _spectral_means if isinstance(logdet, EigenLogDet) else _probed_means
    traces = own(carried, matrix, logdet, periods)
    if row_normalised:
        tau, eta, rho = (part[..., None] for part in np.moveaxis(carried, -1, 0))
        sums = ((tau + eta) / (1 - rho)) ** np.arange(periods + 1) / (1 - rho)
        return np.stack([*traces, sums, sums], axis=-1)
    flat = carried.reshape(-1, 3)
    ones = np.ones((matrix.shape[0], 1))
    sums = np.array([_carried_on(point, matrix, ones, periods).mean(axis=(1, 2)) for point in flat])
    lagged = np.array(
        [_carried_on(point, matrix, matrix @ ones, periods).mean(axis=(1, 2)) for point in flat]
    )
    shape = (*carried.shape[:-1], periods + 1)
    return np.stack([*traces, sums.reshape(shape), lagged.reshape(shape)], axis=-1)


def _spectral_means(
    carried: Array, matrix: sparse.csr_array, logdet: EigenLogDet, periods: int
) -> tuple[Array, Array]:
    """a and b (…, periods + 1) from the eigenvalues."""
    omega = logdet.omega
    tau, eta, rho = (part[..., None] for part in np.moveaxis(carried, -1, 0))
    term = 1 / (1 - rho * omega)
    factor = (tau + eta * omega) * term
    own, lagged = [], []
    for _ in range(periods + 1):
        own.append(np.real(term.mean(axis=-1)))
        lagged.append(np.real((omega * term).mean(axis=-1)))
        term = term * factor
    return np.stack(own, axis=-1), np.stack(lagged, axis=-1)


def _probed_means(
    carried: Array, matrix: sparse.csr_array, logdet: LogDet, periods: int
) -> tuple[Array, Array]:
    """a and b (…, periods + 1) from random probes (Hutchinson 1990), the same at every point."""
    n = matrix.shape[0]
    probes = np.random.default_rng(n).choice([-1.0, 1.0], (n, PROBES))
    lagged = matrix.T @ probes  # tr(XW) = E z'XWz = E (W'z)'…: W commutes with X
    out = []
    for point in carried.reshape(-1, 3):
        moved = _carried_on(point, matrix, probes, periods)
        out.append([(moved * probes).mean(axis=(1, 2)), (moved * lagged).mean(axis=(1, 2))])
    found = np.moveaxis(np.array(out), 1, 0).reshape(2, *carried.shape[:-1], periods + 1)
    return found[0], found[1]


def _carried_on(point: Array, matrix: sparse.csr_array, right: Array, periods: int) -> Array:
    """A^h S⁻¹ times ``right`` (n, m) for h = 0 … periods, (periods + 1, n, m)."""
    tau, eta, rho = point
    solve = filter_solver(matrix, float(rho)) if rho else lambda r: r
    steps = [solve(right)]
    for _ in range(periods):
        steps.append(solve(tau * steps[-1] + eta * (matrix @ steps[-1])))
    return np.array(steps)
