"""What given changes do to every unit, now and period by period, with exact derivatives in the parameters.

m equations on n units, stacked equation by equation, follow 𝐒 y_h = 𝐀 y_{h−1} + r_h with

    𝐒 = Γ⊗I − Ψ⊗W,   𝐀 = Φ⊗I + Η⊗W,   r_h = Σ_q θ_q e_q⊗d_q + constant,

d_q (n,) the change that the coefficient θ_q multiplies (Δx for a β, WΔx for a θ) in equation e_q; the constant holds shocks
from outside. One equation is m = 1, Ψ = ρ, Φ = τ, Η = η; a static model has 𝐀 = 0. Deviations from the path without the
changes are Δ_0 = 𝐒⁻¹r and Δ_h = 𝐒⁻¹(𝐀Δ_{h−1} + r), r staying for a lasting change, or 𝐒⁻¹𝐀Δ_{h−1} for one of one period.
Their derivative in any coefficient follows the same recursion with what it multiplies on the right: Δ_h or WΔ_h of its
variable for one in 𝐒, Δ_{h−1} or WΔ_{h−1} for one in 𝐀, d_q for θ_q. One sparse factorisation serves all.

Responses to one-period shocks in many cities at once, and their averages over W's eigenvalues, are below.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.core import Array
from spatial_zb.core.system import Links, coefficient_matrices, system_solver
from spatial_zb.core.system.dynamic import Carried


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


# What follows a shock -------------------------------------------------------------------------------------


def average_responses(
    carried: Carried, theta: Array, horizons: int, matrix: sparse.csr_array, row_normalised: bool
) -> tuple[Array, Array]:
    """Own and total responses (h + 1, m, m, 2) of y_g to a unit shock in equation l, and derivatives (h + 1, m, m, 2, p).

    Own: (1/n) Σ_i [𝒜_i^h S_i⁻¹]_gl over all eigenvalues; total: the same at ω = 1 where rows of W sum to one, else the mean
    over units of Φ_h(ι_l⊗ι). Φ_0 = 𝐒⁻¹ and Φ_h = 𝐒⁻¹𝐀 Φ_{h−1}, so that 𝐒 dΦ_h = d𝐀 Φ_{h−1} + 𝐀 dΦ_{h−1} − d𝐒 Φ_h.
    """
    links, now = carried.all_links(), len(carried.likelihood.arrays.links.position)
    own, own_slope = _powers(carried, theta, horizons, carried.spectrum, links, now)
    if row_normalised:
        total, total_slope = _powers(carried, theta, horizons, np.ones(1), links, now)
    else:
        m, n = carried.likelihood.arrays.m, matrix.shape[0]
        start = np.zeros((m, n, m))
        start[np.arange(m), :, np.arange(m)] = 1.0
        paths, slopes = shock_paths(carried, theta, horizons, matrix, start)
        total, total_slope = paths.mean(axis=2), slopes.mean(axis=2)
    return np.stack([own, total], axis=-1), np.stack([own_slope, total_slope], axis=-2)


def _powers(
    carried: Carried, theta: Array, horizons: int, omega: NDArray, links: Links, now: int
) -> tuple[Array, Array]:
    """Mean over ω of 𝒜^h S⁻¹ (h + 1, m, m), and its derivatives (h + 1, m, m, p)."""
    inverse, process = carried.process(theta, omega)
    m, p = inverse.shape[-1], len(theta)
    values, slopes = np.empty((horizons + 1, m, m)), np.zeros((horizons + 1, m, m, p))
    load = np.where(links.lagged, omega[:, None], 1.0).T[:, :, None, None]  # (q, n, 1, 1)
    into = load * inverse[:, :, links.row].transpose(2, 0, 1)[..., None]  # (q, n, m, 1)
    before, d_before = np.zeros_like(inverse), np.zeros((len(links.position), *inverse.shape), inverse.dtype)
    for h in range(horizons + 1):
        phi = process @ before if h else inverse
        moves = np.concatenate(
            [phi[:, links.column[:now]], before[:, links.column[now:]]], axis=1
        )  # (n, q, m)
        d_phi = into * moves.transpose(1, 0, 2)[:, :, None, :] + process @ d_before
        values[h] = phi.mean(axis=0).real
        slopes[h][..., links.position] = np.moveaxis(d_phi.mean(axis=1).real, 0, -1)
        before, d_before = phi, d_phi
    return values, slopes


def shock_paths(
    carried: Carried, theta: Array, horizons: int, matrix: sparse.csr_array, start: Array
) -> tuple[Array, Array]:
    """Φ_h applied to shocks ``start`` (m, n, c), (h + 1, m, n, c), and derivatives (h + 1, m, n, c, p)."""
    gamma, psi, tau, eta = carried.matrices(theta)
    m, n, c = start.shape
    solve = system_solver(gamma, psi, matrix)
    links, now = carried.all_links(), len(carried.likelihood.arrays.links.position)
    q = len(links.position)

    def lag(values: Array) -> Array:
        return (
            np.asarray(matrix @ values.transpose(1, 0, *range(2, values.ndim)).reshape(n, -1))
            .reshape(n, m, *values.shape[2:])
            .swapaxes(0, 1)
        )

    def carry(values: Array) -> Array:
        return np.tensordot(tau, values, 1) + np.tensordot(eta, lag(values), 1)

    def solved(values: Array) -> Array:
        return solve(values.reshape(m * n, -1)).reshape(values.shape)

    out, slopes = np.empty((horizons + 1, m, n, c)), np.zeros((horizons + 1, m, n, c, len(theta)))
    before, d_before = np.zeros_like(start), np.zeros((m, n, c, q))
    for h in range(horizons + 1):
        path = solved(carry(before) if h else start)
        right = carry(d_before) if h else np.zeros((m, n, c, q))
        moved, moved_before = lag(path), lag(before)
        for a, (g, l, lagged) in enumerate(zip(links.row, links.column, links.lagged, strict=True)):
            source = (moved if lagged else path) if a < now else (moved_before if lagged else before)
            right[g, ..., a] += source[l]
        d_path = solved(right)
        out[h], slopes[h][..., links.position] = path, d_path
        before, d_before = path, d_path
    return out, slopes
