"""Average direct, indirect and total effects with gradients: of static models, over time, and in the long run.

LeSage, J. & Pace, R.K. (2009), Introduction to Spatial Econometrics, §2.7. direct = tr(E_k)/n,
total = ι'E_kι/n, indirect = total − direct. Everything follows from four functions of ρ and their
derivatives, so no n × n matrix is formed:

    a(ρ) = tr(S⁻¹)/n,  b(ρ) = tr(S⁻¹W)/n,  p(ρ) = ι'S⁻¹ι/n,  q(ρ) = ι'S⁻¹Wι/n,   S = I − ρW,

direct = β a + θ b and total = β p + θ q.

With y_{t−1} or Wy_{t−1} among the regressors a change of x_k in period t moves y_{t+h} by A^h E_k,
E_k = S⁻¹(β_k I + θ_k W), A = S⁻¹(τI + ηW), S = I − ρW. Averages need four numbers again,

    a = tr(A^h S⁻¹)/n,  b = tr(A^h S⁻¹W)/n,  p = ι'A^hS⁻¹ι/n,  q = ι'A^hS⁻¹Wι/n,

for a change of one period; those of a lasting change are their sums over h, which tend to [(1 − τ)I − (ρ + η)W]⁻¹ in
the place of A^hS⁻¹: the multipliers of a static model with κ = (ρ + η)/(1 − τ), over 1 − τ.

Reference: Elhorst (2014), Spatial Econometrics, §4.6; LeSage & Pace (2009), Introduction to Spatial Econometrics, ch. 7.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from spatial_zb.core import Array
from spatial_zb.core.likelihood.shape_rows import RowFilter, RowWeights
from spatial_zb.core.logdet import EigenLogDet, LogDet
from spatial_zb.core.logdet.entries import filter_diagonal
from spatial_zb.core.logdet.factors import random_signs
from spatial_zb.core.logdet.interpolated import Nodes
from spatial_zb.core.logdet.traces import filter_solver


@dataclass(frozen=True, slots=True)
class Multipliers:
    """a, b, p, q at one or many ρ (shape of ρ), and their derivatives in ρ."""

    a: Array | np.float64
    b: Array | np.float64
    p: Array | np.float64
    q: Array | np.float64
    da: Array | np.float64
    db: Array | np.float64
    dp: Array | np.float64
    dq: Array | np.float64


def multipliers(
    rho: ArrayLike, matrix: sparse.csr_array, logdet: LogDet, row_normalised: bool
) -> Multipliers:
    """Evaluate the multipliers: traces from d = ln|S| (tr S⁻¹ = n − ρd′, tr S⁻¹W = −d′), sums from ι'S⁻¹.

    With Wι = ι, p = q = 1/(1 − ρ); otherwise one sparse factorisation for each ρ.
    """
    rho = np.asarray(rho, dtype=float)
    n = matrix.shape[0]
    first, second = logdet.first(rho), logdet.second(rho)
    a, b = 1 - rho * first / n, -first / n
    da, db = -(first + rho * second) / n, -second / n
    if row_normalised:
        p = 1 / (1 - rho)
        return Multipliers(a, b, p, p, da, db, p**2, p**2)
    sums = np.array([_sums(matrix, r) for r in rho.ravel()]).reshape(*rho.shape, 4)
    return Multipliers(a, b, sums[..., 0], sums[..., 1], da, db, sums[..., 2], sums[..., 3])


def row_multipliers(rho: ArrayLike, W: RowWeights | None, Wx: RowWeights) -> Array:
    """Sums by period of rows of any shape, (…, 8, T): a, b, p, q and their derivatives in ρ, times n_t.

    a = tr S⁻¹, b = tr S⁻¹W^x, p = ι'S⁻¹ι, q = ι'S⁻¹W^xι of each period, S = I − ρW_t, W^x the W of x; W None is ρ = 0. At
    more than a few ρ they are interpolated between their least and greatest.
    """
    at = np.asarray(rho, dtype=float)
    if W is None or at.size <= FEW_RHO:
        return np.array([_row_sums(float(one), W, Wx) for one in at.ravel()]).reshape(*at.shape, 8, -1)
    low, high = W.interval
    nodes = Nodes((float(np.nanmin(at)), float(np.nanmax(at))), RHO_NODES)
    known = np.array([_row_sums(float(one), W, Wx) for one in nodes.places])
    # the poles at the ends of the admissible interval are double in the derivatives: they are taken out first
    known *= (((high - nodes.places) * (nodes.places - low)) ** 2)[:, None, None]
    return np.tensordot(nodes.weights(at), known, 1) / (((high - at) * (at - low)) ** 2)[..., None, None]


def _row_sums(rho: float, W: RowWeights | None, Wx: RowWeights) -> Array:
    """(8, T) at one ρ."""
    ones = np.ones(Wx.starts[-1])
    counts = np.diff(Wx.starts).astype(float)

    def by_period(values: Array) -> Array:
        return np.add.reduceat(values, Wx.starts[:-1])

    lagged = np.asarray(Wx.matrix @ ones)
    zero = np.zeros_like(counts)
    if W is None:
        own = by_period(Wx.matrix.diagonal())
        return np.array([counts, own, counts, by_period(lagged), zero, zero, zero, zero])
    found = RowFilter(W, rho)
    both = np.column_stack([ones, lagged])
    if all(spectrum is not None for spectrum in W.spectra):
        sums, slopes = _decomposed_sums(found, both)
    else:
        right = found.solve(both)
        left = ones + rho * found.back(ones)  # S⁻ᵀι
        moved = W.matrix @ right
        sums, slopes = by_period(right), by_period(left[:, None] * moved)
    own, square = np.array([_traces(found, d) for d in range(len(W.distinct))])[list(W.which)].T
    a, da = counts + rho * own, own + rho * square
    b, db = own, square
    if Wx is not W:
        b, db = np.array([_mixed_traces(found, W.which[t], Wx.distinct[v]) for t, v in enumerate(Wx.which)]).T
    return np.array([a, b, sums[:, 0], sums[:, 1], da, db, slopes[:, 0], slopes[:, 1]])


def _decomposed_sums(found: RowFilter, both: Array) -> tuple[Array, Array]:
    """ι'S⁻¹v and ι'S⁻¹WS⁻¹v of each period, (T, 2), for v the columns of ``both`` (N, 2): from the spectra of every W_t."""
    out = []
    for d, rows in found.weights.slices():
        spectrum = found.weights.spectra[d]
        assert spectrum is not None, "every W_t is decomposed"
        omega, left, right = spectrum
        inside = left.sum(axis=0)[:, None] * (right @ both[rows])
        share = 1 / (1 - found.coefficient * omega)
        out.append((share @ inside, (omega * share**2) @ inside))
    sums, slopes = np.moveaxis(np.array(out), 1, 0)
    return sums, slopes


def _traces(found: RowFilter, d: int) -> tuple[float, float]:
    """tr G and tr G² of one W_t; the second as the derivative of the first where filters are not dense."""
    W, spectrum, rho = found.weights, found.weights.spectra[d], found.coefficient
    if spectrum is not None:
        share = spectrum[0] / (1 - rho * spectrum[0])
        return float(share.sum()), float((share**2).sum())
    if W.dense:
        G = found.full[d]
        return float(np.trace(G)), float(np.vdot(G.T, G))
    block, tree = W.distinct[d], W.trees[d]
    low, middle, high = (float(filter_diagonal(block, c, tree).sum()) for c in (rho - STEP, rho, rho + STEP))
    return middle, (high - low) / (2 * STEP)


def _mixed_traces(found: RowFilter, d: int, Wx: sparse.csr_array) -> tuple[float, float]:
    """tr S⁻¹W^x and tr S⁻¹WS⁻¹W^x of one period, in blocks of columns."""
    W = found.weights.distinct[d]
    solve = filter_solver(W, found.coefficient)
    n, out = W.shape[0], np.zeros(2)
    for first in range(0, n, COLUMNS):
        columns = np.arange(first, min(n, first + COLUMNS))
        one = solve(Wx[:, columns].toarray())
        two = solve(W @ one)
        out += [float(part[columns, np.arange(len(columns))].sum()) for part in (one, two)]
    return float(out[0]), float(out[1])


def averaged_over_rows(sums: Array, counts: Array) -> Multipliers:
    """Multipliers from :func:`row_multipliers`, averages over all rows: periods count by n_t/N."""
    return Multipliers(*np.moveaxis(sums.sum(axis=-1) / counts.sum(), -1, 0))


def no_multipliers(matrix: sparse.csr_array) -> Multipliers:
    """Multipliers at ρ = 0 of a model without lag of y (SLX, SDEM): q = ι'Wι/n, the rest trivial."""
    one, zero = np.float64(1), np.float64(0)
    return Multipliers(
        one,
        np.float64(matrix.trace() / matrix.shape[0]),
        one,
        matrix.sum() / matrix.shape[0],
        zero,
        zero,
        zero,
        zero,
    )


def _sums(matrix: sparse.csr_array, rho: float) -> tuple[float, float, float, float]:
    """p, q, p′, q′ at one ρ, from S⁻¹ι, S⁻¹Wι and ι'S⁻¹W: p′ = ι'S⁻¹WS⁻¹ι."""
    n = matrix.shape[0]
    ones = np.ones(n)
    solve = filter_solver(matrix, rho)
    right = solve(np.column_stack([ones, matrix @ ones]))
    left = matrix.T @ filter_solver(sparse.csr_array(matrix.T), rho)(ones)  # (ι'S⁻¹W)'
    return (*(right.sum(axis=0) / n), *(left @ right / n))


def average_effects(beta: Array, theta: Array, m: Multipliers) -> tuple[Array, Array]:
    """Effects (…, k, 3) as (direct, indirect, total) and gradients (…, k, 3, 3) in (β_k, θ_k, ρ).

    ``beta`` and ``theta`` are (…, k); the leading axes are those of ρ.
    """
    a, b, p, q, da, db, dp, dq = (
        np.asarray(v)[..., None] for v in (m.a, m.b, m.p, m.q, m.da, m.db, m.dp, m.dq)
    )
    effects, gradient = np.empty((*beta.shape, 3)), np.empty((*beta.shape, 3, 3))
    effects[..., 0], effects[..., 2] = beta * a + theta * b, beta * p + theta * q
    gradient[..., 0, 0], gradient[..., 0, 1], gradient[..., 0, 2] = a, b, beta * da + theta * db
    gradient[..., 2, 0], gradient[..., 2, 1], gradient[..., 2, 2] = p, q, beta * dp + theta * dq
    effects[..., 1] = effects[..., 2] - effects[..., 0]
    gradient[..., 1, :] = gradient[..., 2, :] - gradient[..., 0, :]
    return effects, gradient


def fieller_limits(
    point: Array, own: Array, cross: Array, of_log: Array, quantile: float | Array
) -> tuple[Array, Array]:
    r"""Values c of ratios E = N/d that the test of N − c·d = 0 does not reject: without dividing by d.

    With u = E − c, N − c·d = u·d has the gradient d(∇E + u∇ln d), so that the set is
    {c : u² ≤ q²(V_E + 2u V_El + u² V_l)}, quadratic in u. N and d linear in the parameters, as for totals under Wι = ι, give
    the test exactly its normal law; elsewhere N is linearised where E would have been, which has no pole.

    Parameters
    ----------
    point, own, cross, of_log
        (k,) E, V_E = Var(E), V_El = Cov(E, ln d), V_l = Var(ln d), by the delta method.
    quantile
        q, such as 1.96; one for all, or (k,).

    Returns
    -------
    Limits (k, 2), −∞ and ∞ where the set has no bounds (q²V_l ≥ 1: d is not told from zero), and gaps (k, 2), the ends of
    what such a set leaves out; NaN where it leaves out nothing.

    Notes
    -----
    Fieller (1954), J. Royal Statistical Society B 16: 175-185.

    >>> limits, gaps = fieller_limits(*np.array([[2.0], [0.25], [0.0], [0.0]]), 2.0)
    >>> limits.tolist()
    [[1.0, 3.0]]
    """
    q = quantile**2
    lead = 1 - q * of_log
    half = q * cross
    below = half**2 + lead * q * own
    with np.errstate(invalid="ignore", divide="ignore"):
        roots = np.stack([(half + sign * np.sqrt(below)) / lead for sign in (1, -1)], axis=-1)
    ends = np.sort(point[:, None] - roots, axis=-1)
    bounded, fixed = lead > 0, own == 0  # what cannot vary is known, whatever d is
    limits = np.where(bounded[:, None], ends, np.array([-np.inf, np.inf]))
    limits = np.where(fixed[:, None], point[:, None], limits)
    limits = np.where(np.isfinite(point + own + cross + of_log)[:, None], limits, np.nan)
    apart = ~bounded & ~fixed & (below > 0) & (lead < 0)
    return limits, np.where(apart[:, None], ends, np.nan)


def order_multipliers(
    rho: float, matrix: sparse.csr_array, orders: int, lagged: sparse.csr_array | None = None
) -> Array:
    """Terms of the series by power of W, (orders + 1, 4): a, b, p, q of ρ^j W^j for j = 0 … orders.

    b and q of order j belong to ρ^j W^j W^x, W^x = ``lagged`` the W of x where it is another. Exact: diagonals and sums of
    sparse powers.
    """
    n = matrix.shape[0]
    power, turned = sparse.eye_array(n, format="csr"), None if lagged is None else sparse.csr_array(lagged.T)
    sums, moved = np.ones(n), (matrix if lagged is None else lagged) @ np.ones(n)
    out = np.empty((orders + 1, 4))
    for j in range(orders + 1):
        following = sparse.csr_array(power @ matrix)
        own = following.trace() if turned is None else power.multiply(turned).sum()
        out[j] = rho**j * np.array([power.trace(), own, sums.sum(), moved.sum()]) / n
        power, sums, moved = following, matrix @ sums, matrix @ moved
    return out


#: Up to so many ρ multipliers of rows are exact; of more they are interpolated from so many.
FEW_RHO, RHO_NODES = 8, 33
#: Step of the numerical derivative of tr G, and columns of W^x at a time.
STEP, COLUMNS = 1e-4, 128
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
    if isinstance(logdet, EigenLogDet):
        traces = _spectral_means(carried, logdet.omega, periods)
    else:
        traces = _probed_means(carried, matrix, periods)
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


def _spectral_means(carried: Array, omega: NDArray, periods: int) -> tuple[Array, Array]:
    """a and b (…, periods + 1) from the eigenvalues."""
    tau, eta, rho = (part[..., None] for part in np.moveaxis(carried, -1, 0))
    term = 1 / (1 - rho * omega)
    factor = (tau + eta * omega) * term
    own, lagged = [], []
    for _ in range(periods + 1):
        own.append(np.real(term.mean(axis=-1)))
        lagged.append(np.real((omega * term).mean(axis=-1)))
        term = term * factor
    return np.stack(own, axis=-1), np.stack(lagged, axis=-1)


def _probed_means(carried: Array, matrix: sparse.csr_array, periods: int) -> tuple[Array, Array]:
    """a and b (…, periods + 1) from random probes (Hutchinson 1990), the same at every point."""
    n = matrix.shape[0]
    probes = random_signs(np.random.default_rng(n), (n, PROBES))
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
