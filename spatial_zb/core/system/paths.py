"""What given changes do to every unit, now and period by period, with exact derivatives in the parameters.

m equations on n units, stacked equation by equation, follow 𝐒 y_h = 𝐀 y_{h−1} + r_h with

    𝐒 = Γ⊗I − Ψ⊗W,   𝐀 = Φ⊗I + Η⊗W,   r_h = Σ_q θ_q e_q⊗d_q + constant,

d_q (n,) the change that the coefficient θ_q multiplies (Δx for a β, WΔx for a θ) in equation e_q; the constant holds shocks
from outside. One equation is m = 1, Ψ = ρ, Φ = τ, Η = η; a static model has 𝐀 = 0. Deviations from the path without the
changes are Δ_0 = 𝐒⁻¹r and Δ_h = 𝐒⁻¹(𝐀Δ_{h−1} + r), r staying for a lasting change, or 𝐒⁻¹𝐀Δ_{h−1} for one of one period.
Their derivative in any coefficient follows the same recursion with what it multiplies on the right: Δ_h or WΔ_h of its
variable for one in 𝐒, Δ_{h−1} or WΔ_{h−1} for one in 𝐀, d_q for θ_q. One sparse factorisation serves all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.core import Array
from spatial_zb.core.system.arrays import Links, coefficient_matrices, system_solver


def no_links() -> Links:
    """Of a model without such coefficients."""
    none = np.empty(0, dtype=np.intp)
    return Links(none, none, none, none.astype(bool))


@dataclass(frozen=True, slots=True)
class Process:
    """Where coefficients stand, and what is changed.

    ``now`` and ``before`` are the places of γ and ψ, and of τ and η, in δ (p,); ``position`` (q,), ``row`` (q,) and
    ``change`` (q, n) are θ_q, its equation and d_q; ``constant`` (m, n) is added to the right side. ``lasting``: in every
    period.
    """

    matrix: sparse.csr_array
    m: int
    now: Links
    before: Links
    position: NDArray[np.intp]
    row: NDArray[np.intp]
    change: Array
    constant: Array
    lasting: bool

    def carried(self, delta: Array) -> tuple[Array, Array]:
        """Φ and Η (m, m)."""
        left, lagged = coefficient_matrices(delta, self.before, self.m)
        return np.eye(self.m) - left, lagged

    def right(self, delta: Array) -> Array:
        """r (m, n)."""
        out = self.constant.copy()
        np.add.at(out, self.row, delta[self.position, None] * self.change)
        return out

    def _carry(self, phi: Array, eta: Array, values: Array) -> Array:
        """𝐀 times values (m, n, c)."""
        flat = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
        lagged = np.moveaxis((self.matrix @ flat).reshape(values.shape[1], self.m, -1), 0, 1)
        return np.einsum("gl,lnc->gnc", phi, values) + np.einsum("gl,lnc->gnc", eta, lagged)


def paths(process: Process, delta: Array, horizons: int) -> Array:
    """Δ_h, (horizons + 1, m, n), at coefficients δ (p,)."""
    m, n = process.m, process.matrix.shape[0]
    solve = system_solver(*coefficient_matrices(delta, process.now, m), process.matrix)
    phi, eta = process.carried(delta)
    right, out = process.right(delta), np.empty((horizons + 1, m, n))
    for h in range(horizons + 1):
        total = right if h == 0 or process.lasting else np.zeros_like(right)
        if h:
            total = total + process._carry(phi, eta, out[h - 1][:, :, None])[:, :, 0]
        out[h] = solve(total.ravel()).reshape(m, n)
    return out


def path_slopes(process: Process, delta: Array, horizons: int) -> tuple[Array, Array]:
    """Δ_h and its derivatives in δ, (horizons + 1, m, n, p)."""
    m, n, p = process.m, process.matrix.shape[0], len(delta)
    solve = system_solver(*coefficient_matrices(delta, process.now, m), process.matrix)
    phi, eta = process.carried(delta)
    values = paths(process, delta, horizons)
    slopes = np.empty((horizons + 1, m, n, p))
    for h in range(horizons + 1):
        total = process._carry(phi, eta, slopes[h - 1]) if h else np.zeros((m, n, p))
        _add(total, process.now, values[h], process.matrix)
        if h:
            _add(total, process.before, values[h - 1], process.matrix)
        if h == 0 or process.lasting:
            for q, g, d in zip(process.position, process.row, process.change, strict=True):
                total[g, :, q] += d
        slopes[h] = solve(total.reshape(m * n, p)).reshape(m, n, p)
    return values, slopes


def _add(total: Array, links: Links, values: Array, matrix: sparse.csr_array) -> None:
    """Put what each coefficient multiplies, a variable (m, n) or its spatial lag, into its column."""
    for a, g, l, lagged in zip(links.position, links.row, links.column, links.lagged, strict=True):
        total[g, :, a] += matrix @ values[l] if lagged else values[l]
