"""A system of m spatial equations on arrays: its rows, the places of its coefficients, and its effects.

    Γ = I − [γ_gl], Ψ = [ψ_gl]:   Γ y_t − Ψ W y_t = X_t β + W X_t θ + u_t,   u_g = λ_g W u_g + ε_g.

Rows of every array are units of one transformed period after another: row t·n + i, t = 0 … T* − 1. Unit effects
are taken out by forward orthogonal deviations, so that transformed noise stays uncorrelated over time.

Effects are blocks of 𝐒⁻¹(b⊗I + t⊗W), 𝐒 = Γ⊗I − Ψ⊗W, without forming 𝐒⁻¹. A source has an m-vector b (its coefficients)
and t (those of its spatial lag). With M_i = Γ − ω_iΨ,

    direct = (1/n) Σ_i M_i⁻¹(b + ω_i t),        total = (1/n) ι'𝐒⁻¹(b⊗ι + t⊗Wι)  [= (Γ−Ψ)⁻¹(b+t) if Wι = ι],

each an m-vector over the responses: traces of functions of W are sums over its eigenvalues. Derivatives
follow from ∂M⁻¹ = −M⁻¹ ∂M M⁻¹.

Beside it: estimation by instruments and by likelihood, resampling. One equation by instruments is a system of one; names of
equations live in :mod:`spatial_zb.models.system`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from spatial_zb.core import Array
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.core.system.moments import forward_deviations
from spatial_zb.core.transforms import EffectSpace, FixedEffects, TransformedSample, spatial_lag


@dataclass(frozen=True, slots=True)
class Links:
    """Which of the stacked coefficients are γ or ψ: four arrays of one length.

    ``position`` in the stacked δ, ``row`` and ``column`` of the m × m matrix, ``lagged`` True for ψ.
    """

    position: NDArray[np.intp]
    row: NDArray[np.intp]
    column: NDArray[np.intp]
    lagged: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SystemArrays:
    """One system, transformed. M = n·T* rows, K = Σ k_g coefficients.

    ``y`` (M, m); ``Z`` m arrays (M, k_g) in the order [Y, WY, 1, X, WX] of each equation; ``H`` (M, q)
    orthonormal instruments; ``endogenous`` the number of leading columns of Z_g that are endogenous;
    ``Wy`` (M, m) and ``WZ`` m arrays, spatial lags of the former, None unless an error is spatial;
    ``lag_error`` which errors are. Where W or units change between periods ``rows`` are the W_t that differ, each with
    the instruments (T_t, n_t, q) of its periods, ``present`` (T, n) says which rows there are, and ``effects`` are those of
    these; the arrays then have n rows for every period, zero where none is.
    """

    y: Array
    Z: tuple[Array, ...]
    H: Array
    endogenous: tuple[int, ...]
    links: Links
    lag_error: tuple[bool, ...]
    Wy: Array | None
    WZ: tuple[Array, ...] | None
    matrix: sparse.csr_array
    sample: TransformedSample
    rows: tuple[tuple[sparse.csr_array, Array], ...] = ()
    present: NDArray[np.bool_] | None = None
    effects: EffectSpace | None = None

    @property
    def by_weights(self) -> tuple[tuple[sparse.csr_array, Array], ...]:
        """Each W, and the instruments (T_t, n_t, q) of the periods that it is the W of."""
        if self.rows:
            return self.rows
        return ((self.matrix, self.H.reshape(-1, self.matrix.shape[0], self.H.shape[1])),)

    @property
    def m(self) -> int:
        """Number of equations."""
        return len(self.Z)

    @property
    def bounds(self) -> NDArray[np.intp]:
        """Where the coefficients of each equation begin in the stacked δ, and K at the end."""
        return np.concatenate([[0], np.cumsum([block.shape[1] for block in self.Z])])

    def block(self, g: int) -> slice:
        """The coefficients of equation g in the stacked δ."""
        first = sum(block.shape[1] for block in self.Z[:g])
        return slice(first, first + self.Z[g].shape[1])

    @property
    def lagged(self) -> tuple[Array, tuple[Array, ...]]:
        """``Wy`` and ``WZ``, of a system with spatial errors."""
        assert self.Wy is not None, "made where an error is spatial"
        assert self.WZ is not None, "made where an error is spatial"
        return self.Wy, self.WZ

    def residuals(self, delta: Array) -> Array:
        """u = y − Zδ, (M, m)."""
        parts = [self.y[:, g] - self.Z[g] @ delta[self.block(g)] for g in range(self.m)]
        return np.column_stack(parts)

    def noise(self, delta: Array, lam: Array) -> Array:
        """ε = (I − λ_gW)u, (M, m)."""
        u = self.residuals(delta)
        return u - lam * self.lag(u) if np.any(lam) else u

    def filtered(self, lam: Array) -> tuple[Array, tuple[Array, ...]]:
        """(I − λ_g W) applied to y_g and Z_g: the spatial Cochrane-Orcutt transform."""
        if self.WZ is None or not np.any(lam):
            return self.y, self.Z
        Z = tuple(a - c * b for a, b, c in zip(self.Z, self.WZ, lam, strict=True))
        return self.y - lam * self.lagged[0], Z

    def lag(self, values: Array) -> Array:
        """W applied to transformed rows; the effects stay out."""
        return lag_stacked(self.matrix, values, self.sample.centred)


def lag_stacked(matrix: sparse.csr_array, values: Array, centred: bool) -> Array:
    """W times stacked (M,) or (M, k) rows of transformed data, off the period effects again when ``centred``.

    W commutes with what takes unit effects out. Under time effects J W J = J W needs W ι = ι, which the design
    has checked.
    """
    cube = values.reshape(-1, matrix.shape[0], *values.shape[1:])
    lagged = spatial_lag(matrix, cube)
    if centred:
        lagged = lagged - lagged.mean(axis=1, keepdims=True)
    return lagged.reshape(values.shape)


def coefficient_matrices(delta: Array, links: Links, m: int) -> tuple[Array, Array]:
    """Γ = I − [γ] and Ψ = [ψ], each (…, m, m), from coefficients (…, K)."""
    shape = (*delta.shape[:-1], m, m)
    gamma = np.broadcast_to(np.eye(m), shape).copy()
    psi = np.zeros(shape)
    values, now = delta[..., links.position], ~links.lagged
    gamma[..., links.row[now], links.column[now]] -= values[..., now]
    psi[..., links.row[~now], links.column[~now]] += values[..., ~now]
    return gamma, psi


def within_residuals(e: Array, sample: TransformedSample) -> Array:
    """Turn rows (M, m) back into all periods, (T, n, m): F'e, with forward deviations F of orthonormal rows."""
    cube = e.reshape(sample.periods, sample.n_units, -1)
    if sample.periods == sample.n_periods:
        return cube
    F = forward_deviations(np.eye(sample.n_periods), "unit")
    return np.einsum("st,snm->tnm", F, cube)


#: Numbers held at once over draws × eigenvalues × m²; keeps memory near 100 MB.
CHUNK = 4_000_000
#: Columns solved at once for the diagonal of a block.
COLUMNS = 256


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the coefficients of K sources stand among the parameters.

    ``b`` and ``t`` (m, K): position in δ, −1 where a source does not enter; ``constant`` (m, K) is added to b
    (a structural shock in equation l has a one there).
    """

    b: NDArray[np.intp]
    t: NDArray[np.intp]
    constant: Array

    def coefficients(self, delta: Array) -> tuple[Array, Array]:
        """b and t, each (…, m, K), from δ (…, p)."""
        b = np.where(self.b >= 0, delta[..., self.b], 0.0) + self.constant
        return b, np.where(self.t >= 0, delta[..., self.t], 0.0)


def average_impacts(
    delta: Array,
    links: Links,
    sources: Sources,
    omega: NDArray,
    matrix: sparse.csr_array,
    row_normalised: bool,
) -> Array:
    """Direct and total effects (…, m, K, 2) at one or many δ (…, p)."""
    b, t = sources.coefficients(delta)
    m = b.shape[-2]
    gamma, psi = coefficient_matrices(delta, links, m)
    lead = delta.shape[:-1]
    g, p, own, lagged = (a.reshape(-1, *a.shape[len(lead) :]) for a in (gamma, psi, b, t))
    size = max(1, CHUNK // max(1, len(omega) * m * max(m, b.shape[-1])))
    cuts = [slice(i, i + size) for i in range(0, len(g), size)]
    parts = [_direct(g[cut], p[cut], own[cut], lagged[cut], omega) for cut in cuts]
    direct = np.concatenate(parts)
    if row_normalised:
        total = np.linalg.solve(g - p, own + lagged)
    else:
        total = np.array([_total(*each, matrix) for each in zip(g, p, own, lagged, strict=True)])
    return np.stack([direct, total], axis=-1).reshape(*lead, *b.shape[-2:], 2)


def _direct(gamma: Array, psi: Array, b: Array, t: Array, omega: NDArray) -> Array:
    """(draws, m, K): mean over ω of M⁻¹(b + ωt)."""
    w = omega[:, None, None]
    M = gamma[:, None] - w * psi[:, None]
    return np.real(np.linalg.solve(M, b[:, None] + w * t[:, None])).mean(axis=1)


def _total(gamma: Array, psi: Array, b: Array, t: Array, matrix: sparse.csr_array) -> Array:
    """(m, K): mean over units of 𝐒⁻¹(b⊗ι + t⊗Wι)."""
    n = matrix.shape[0]
    return system_solver(gamma, psi, matrix)(_sums(b, t, matrix)).reshape(len(b), n, -1).mean(axis=1)


def _sums(b: Array, t: Array, matrix: sparse.csr_array) -> Array:
    """b⊗ι + t⊗Wι, (m·n, K)."""
    ones = np.ones(matrix.shape[0])
    return (b[:, None, :] + t[:, None, :] * (matrix @ ones)[None, :, None]).reshape(-1, b.shape[1])


def impact_gradient(
    delta: Array,
    links: Links,
    sources: Sources,
    omega: NDArray,
    matrix: sparse.csr_array,
    row_normalised: bool,
) -> Array:
    """Derivatives of :func:`average_impacts` in δ, (m, K, 2, p)."""
    b, t = sources.coefficients(delta)
    m, K = b.shape
    gamma, psi = coefficient_matrices(delta, links, m)
    out = np.zeros((m, K, 2, len(delta)))
    w = omega[:, None, None]
    inverse = np.linalg.inv(gamma - w * psi)  # (n, m, m)
    response = inverse @ (b + w * t)  # (n, m, K)
    if row_normalised:
        inner = np.linalg.inv(gamma - psi)[None]
        totals = (inner, inner @ (b + t))
    else:
        totals = _total_pieces(gamma, psi, b, t, matrix)
    for a, row, column, lagged in zip(links.position, links.row, links.column, links.lagged, strict=True):
        weight = omega if lagged else np.ones(len(omega))
        product = weight[:, None, None] * inverse[:, :, [row]] * response[:, [column], :]
        out[:, :, 0, a] = np.real(product).mean(axis=0)
        out[:, :, 1, a] = _total_slope(totals, row, column, bool(lagged), row_normalised, matrix)
    into_b, into_t = np.real(inverse).mean(axis=0), np.real(w * inverse).mean(axis=0)
    sum_b, sum_t = _total_loads(totals, row_normalised, matrix)
    for place, direct, total in ((sources.b, into_b, sum_b), (sources.t, into_t, sum_t)):
        for h, k in np.argwhere(place >= 0):
            out[:, k, 0, place[h, k]] += direct[:, h]
            out[:, k, 1, place[h, k]] += total[:, h]
    return out


def _total_pieces(gamma: Array, psi: Array, b: Array, t: Array, matrix: sparse.csr_array) -> tuple:
    """Left vectors a_g = 𝐒⁻ᵀ(ι_g⊗ι) (m, m, n) and right vectors r_k = 𝐒⁻¹(b_k⊗ι + t_k⊗Wι) (m, n, K)."""
    m, n = len(gamma), matrix.shape[0]
    right = system_solver(gamma, psi, matrix)(_sums(b, t, matrix)).reshape(m, n, -1)
    ends = np.repeat(np.eye(m), n, axis=0)
    left = system_solver(gamma.T, psi.T, sparse.csr_array(matrix.T))(ends)
    return left.T.reshape(m, m, n), right


def _total_slope(
    pieces: tuple, row: int, column: int, lagged: bool, row_normalised: bool, matrix: sparse.csr_array
) -> Array:
    """∂total/∂γ or ∂ψ at (row, column), (m, K)."""
    if row_normalised:
        inner, response = pieces[0][0], pieces[1][0]
        return np.outer(inner[:, row], response[column])
    left, right = pieces
    moved = matrix @ right[column] if lagged else right[column]
    return left[:, row] @ moved / matrix.shape[0]


def _total_loads(pieces: tuple, row_normalised: bool, matrix: sparse.csr_array) -> tuple[Array, Array]:
    """∂total/∂b and ∂total/∂t, (m, m): response by equation of the source."""
    if row_normalised:
        return pieces[0][0], pieces[0][0]
    left = pieces[0]
    n = matrix.shape[0]
    return left.sum(axis=2) / n, left @ (matrix @ np.ones(n)) / n


def order_impacts(
    delta: Array, links: Links, sources: Sources, matrix: sparse.csr_array, omega: NDArray, orders: int
) -> Array:
    """Direct and total effects by power of W, (orders + 1, m, K, 2); they sum to the effects if stable.

    𝐒⁻¹ = Σ_q C_q ⊗ W^q with C_q = (Γ⁻¹Ψ)^q Γ⁻¹, so order q is C_q b ⊗ W^q + C_{q−1} t ⊗ W^q.
    """
    b, t = sources.coefficients(delta)
    gamma, psi = coefficient_matrices(delta, links, len(b))
    inverse = np.linalg.inv(gamma)
    step, n = inverse @ psi, matrix.shape[0]
    now, before, sums = inverse, np.zeros_like(inverse), np.ones(n)
    out = np.empty((orders + 1, *b.shape, 2))
    for q in range(orders + 1):
        block = now @ b + before @ t
        out[q] = np.stack([block * np.real(omega**q).mean(), block * sums.mean()], axis=-1)
        now, before, sums = step @ now, now, matrix @ sums
    return out


def unit_impacts(
    gamma: Array, psi: Array, b: Array, t: Array, response: int, matrix: sparse.csr_array
) -> tuple[Array, Array, Array]:
    """Diagonal, row sums and column sums of block ``response`` of 𝐒⁻¹(b⊗I + t⊗W); b, t (m,); each (n,)."""
    m, n = len(gamma), matrix.shape[0]
    solve = system_solver(gamma, psi, matrix)
    rows = solve(_sums(b[:, None], t[:, None], matrix)).reshape(m, n)[response]
    end = np.zeros((m, n))
    end[response] = 1.0
    left = system_solver(gamma.T, psi.T, sparse.csr_array(matrix.T))(end.ravel()).reshape(m, n)
    columns = b @ left + matrix.T @ (t @ left)
    diagonal = np.empty(n)
    for first in range(0, n, COLUMNS):
        chosen = np.arange(first, min(n, first + COLUMNS))
        block = impact_columns(solve, b, t, matrix, chosen).reshape(m, n, -1)[response]
        diagonal[chosen] = block[chosen, np.arange(len(chosen))]
    return diagonal, rows, columns


def impact_columns(
    solve: Callable[[Array], Array], b: Array, t: Array, matrix: sparse.csr_array, chosen: NDArray[np.intp]
) -> Array:
    """Columns ``chosen`` of 𝐒⁻¹(b⊗I + t⊗W), (m·n, len(chosen))."""
    n = matrix.shape[0]
    unit = np.zeros((n, len(chosen)))
    unit[chosen, np.arange(len(chosen))] = 1.0
    lagged = matrix[:, chosen].toarray()
    return solve((b[:, None, None] * unit + t[:, None, None] * lagged).reshape(-1, len(chosen)))


def system_solver(gamma: Array, psi: Array, matrix: sparse.csr_array) -> Callable[[Array], Array]:
    """Factorise 𝐒 = Γ⊗I − Ψ⊗W once, sparse; rows are equation by equation, g·n + i."""
    m, n = len(gamma), matrix.shape[0]
    identity = sparse.eye_array(n, format="csr")
    blocks = [[gamma[g, l] * identity - psi[g, l] * matrix for l in range(m)] for g in range(m)]
    return splu(sparse.csc_array(sparse.block_array(blocks))).solve


# Samples --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SystemGenerator:
    """The fitted system as a source of samples: ``arrays`` of the data, ``delta`` (K,), ``lam`` (m,).

    y* = 𝐒̂⁻¹[Xβ̂ + B̂⁻¹ε*]. Exogenous columns and instruments stay; y and the columns Y and WY of every equation are
    drawn. Errors of all equations are drawn together, so that their correlation stays.
    """

    arrays: SystemArrays
    effects: FixedEffects
    delta: Array
    lam: Array

    def sample(self, errors: Array) -> SystemArrays:
        """The system with y drawn anew from errors (T, n, m), not yet transformed."""
        return self.of_noise(forward_deviations(errors, self.effects))

    def of_noise(self, noise: Array) -> SystemArrays:
        """The same from transformed errors (T*, n, m)."""
        return self._arrays(self.responses(noise))

    def responses(self, noise: Array) -> Array:
        """y* (M, …, m), period effects out, from transformed errors (T*, n, …, m)."""
        periods, n, *more, m = noise.shape
        mean = self._mean().reshape(periods, n, *[1] * len(more), m)
        gamma, psi = coefficient_matrices(self.delta, self.arrays.links, m)
        flat = np.moveaxis(mean + self._filtered(noise), (-1, 1), (0, 1)).reshape(m * n, -1)
        solved = system_solver(gamma, psi, self.arrays.matrix)(flat).reshape(m, n, periods, *more)
        y = np.moveaxis(solved, (0, 1), (-1, 1))
        if self.arrays.sample.centred:
            y = y - y.mean(axis=1, keepdims=True)
        return y.reshape(periods * n, *more, m)

    def _mean(self) -> Array:
        """Xβ̂ by equation, (M, m)."""
        arrays = self.arrays
        columns = []
        for g, (Z, first) in enumerate(zip(arrays.Z, arrays.endogenous, strict=True)):
            columns.append(Z[:, first:] @ self.delta[arrays.block(g)][first:])
        return np.column_stack(columns)

    def _filtered(self, noise: Array) -> Array:
        """B̂⁻¹ε by equation, (T*, n, …, m)."""
        out = np.moveaxis(noise, 1, 0).copy()
        for g in np.flatnonzero(self.lam):
            solve = filter_solver(self.arrays.matrix, self.lam[g])
            out[..., g] = solve(out[..., g].reshape(len(out), -1)).reshape(out.shape[:-1])
        return np.moveaxis(out, 0, 1)

    def _arrays(self, y: Array) -> SystemArrays:
        """The system with responses y (M, m) in place of those of the data."""
        arrays, links = self.arrays, self.arrays.links
        Wy = lag_stacked(arrays.matrix, y, arrays.sample.centred)
        Z = [block.copy() for block in arrays.Z]
        places = links.position - arrays.bounds[links.row]
        for g, l, place, lagged in zip(links.row, links.column, places, links.lagged, strict=True):
            Z[g][:, place] = (Wy if lagged else y)[:, l]
        if arrays.WZ is None:
            return replace(arrays, y=y, Z=tuple(Z))
        WZ = [block.copy() for block in arrays.WZ]
        WWy = lag_stacked(arrays.matrix, Wy, arrays.sample.centred)
        for g, l, place, lagged in zip(links.row, links.column, places, links.lagged, strict=True):
            WZ[g][:, place] = (WWy if lagged else Wy)[:, l]
        return replace(arrays, y=y, Z=tuple(Z), Wy=Wy, WZ=tuple(WZ))


def system_population(generator: SystemGenerator, parts: Array) -> SystemArrays:
    """One long sample whose moments are those expected over errors made of independent ``parts`` (K, T, n, m).

    Expected squares are those of the mean and of what the parts add, which have no regressors and no instruments.
    """
    alone = replace(generator, arrays=_without_regressors(generator.arrays))
    return _stacked([generator.sample(np.zeros_like(parts[0])), *(alone.sample(part) for part in parts)])


def _without_regressors(arrays: SystemArrays) -> SystemArrays:
    none = tuple(np.zeros_like(block) for block in arrays.Z)
    return replace(arrays, Z=none, H=np.zeros_like(arrays.H), WZ=None if arrays.WZ is None else none)


def _stacked(parts: list[SystemArrays]) -> SystemArrays:
    first, m = parts[0], parts[0].m
    Z = tuple(np.vstack([p.Z[g] for p in parts]) for g in range(m))
    y, H = np.vstack([p.y for p in parts]), np.vstack([p.H for p in parts])
    if first.WZ is None:
        return replace(first, y=y, H=H, Z=Z)
    lags = [p.lagged for p in parts]
    WZ = tuple(np.vstack([blocks[g] for _, blocks in lags]) for g in range(m))
    return replace(first, y=y, H=H, Z=Z, WZ=WZ, Wy=np.vstack([Wy for Wy, _ in lags]))
