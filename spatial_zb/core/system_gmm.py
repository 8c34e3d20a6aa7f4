r"""Instrumental estimation of a spatial system: 2SLS, 3SLS, and GS2SLS, GS3SLS with spatial errors.

With orthonormal instruments H and A_g = H'Z*_g, 3SLS is δ̂ = [A'(Σ̂⁻¹⊗I)A]⁻¹A'(Σ̂⁻¹⊗I)H'y*: products of
(q, k_g) blocks, never a Kronecker product. λ_g solves two quadratic moments of the residuals.

References: Kelejian & Prucha (2004), J. Econometrics 118: 27-50 (GS2SLS, GS3SLS); Kelejian & Prucha (2010),
J. Econometrics 157: 53-67, and Drukker, Egger & Prucha (2013), Econometric Reviews 32: 686-733 (moments and
the law of λ̂).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from spatial_zb.core.system_arrays import SystemArrays
from spatial_zb.core.traces import DENSE_UNITS

__all__ = [
    "ErrorMoments",
    "InstrumentalEstimate",
    "error_moments",
    "independent_columns",
    "instrumental",
    "scaled_inverse",
]

Array = NDArray[np.float64]
Covariance = Literal["classical", "robust", "cluster"]

#: A unit-length column this near to the span of the others is dependent on them.
RANK_TOLERANCE = 1e-9


def independent_columns(first: Array, extra: Array) -> tuple[Array, list[int], list[int]]:
    """Choose independent columns: all that can be of ``first``, then of ``extra``, each by pivoted QR.

    Returns
    -------
    Q
        (M, q) orthonormal basis.
    kept, dropped
        Positions among the columns [first, extra]; ``kept`` in increasing order.
    """
    Q, kept, dropped = np.empty((len(first), 0)), [], []
    offset = 0
    for block in (first, extra):
        if block.shape[1]:
            size = np.sqrt((block**2).sum(axis=0))
            unit = block / np.where(size > 0, size, 1.0)
            for _ in range(2):  # twice is enough to be orthogonal to rounding
                unit = unit - Q @ (Q.T @ unit)
            basis, R, order = linalg.qr(unit, mode="economic", pivoting=True)
            rank = int(np.count_nonzero(np.abs(np.diag(R)) > RANK_TOLERANCE))
            Q = np.column_stack([Q, basis[:, :rank]])
            kept += [offset + int(j) for j in order[:rank]]
            dropped += [offset + int(j) for j in order[rank:]]
        offset += block.shape[1]
    return Q, sorted(kept), sorted(dropped)


@dataclass(frozen=True, slots=True)
class InstrumentalEstimate:
    """δ̂ (K,), λ̂ (m,), ε̂ (M, m), Σ̂ (m, m) and the covariance (K + L, K + L) of (δ̂, λ̂ of spatial errors).

    ``lam_filter`` (m,) is the λ of the Cochrane-Orcutt transform δ̂ was estimated with.
    """

    delta: Array
    lam: Array
    lam_filter: Array
    residuals: Array
    sigma: Array
    cov: Array


def instrumental(arrays: SystemArrays, joint: bool, covariance: Covariance) -> InstrumentalEstimate:
    """Estimate by (GS)2SLS, or by (GS)3SLS when ``joint``.

    2SLS → λ_g from its residuals → GS2SLS → λ_g again → GS2SLS → Σ̂ → GS3SLS → λ_g of its residuals, reported.
    Without spatial errors the steps between are empty.
    """
    m = arrays.m
    lam = np.zeros(m)
    delta, _ = _solve(arrays, lam, np.eye(m))
    moments = _moments(arrays)
    if moments is not None:
        for _ in range(2):
            lam = _lambdas(arrays, arrays.residuals(delta), moments)
            delta, _ = _solve(arrays, lam, np.eye(m))
    weight = np.eye(m)
    if joint:
        weight = scaled_inverse(_sigma(arrays, delta, lam))
        delta, _ = _solve(arrays, lam, weight)
    final = lam if moments is None else _lambdas(arrays, arrays.residuals(delta), moments)
    u = arrays.residuals(delta)
    e = u if moments is None else u - final * arrays.lag(u)
    sigma = e.T @ e / arrays.sample.observations
    cov = _covariance(arrays, delta, lam, final, e, sigma, weight, joint, covariance, moments)
    return InstrumentalEstimate(delta, final, lam, e, sigma, cov)


def _solve(arrays: SystemArrays, lam: Array, weight: Array) -> tuple[Array, list[Array]]:
    """δ̂ of the weighted moments, and A_g = H'Z*_g."""
    y, Z = arrays.filtered(lam)
    A = [arrays.H.T @ block for block in Z]
    right = arrays.H.T @ y
    lhs = np.block([[weight[g, l] * A[g].T @ A[l] for l in range(arrays.m)] for g in range(arrays.m)])
    rhs = np.concatenate([A[g].T @ (right @ weight[g]) for g in range(arrays.m)])
    scale = 1 / np.sqrt(np.diag(lhs))
    return scale * linalg.solve(lhs * np.outer(scale, scale), scale * rhs, assume_a="pos"), A


def scaled_inverse(matrix: Array) -> Array:
    """Inverse of a symmetric positive definite matrix, its diagonal brought to one first."""
    scale = 1 / np.sqrt(np.diag(matrix))
    return np.linalg.inv(matrix * np.outer(scale, scale)) * np.outer(scale, scale)


def _sigma(arrays: SystemArrays, delta: Array, lam: Array) -> Array:
    u = arrays.residuals(delta)
    e = u - lam * arrays.lag(u) if np.any(lam) else u
    return e.T @ e / arrays.sample.observations


# The spatial error ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ErrorMoments:
    """Symmetric A_1, A_2 (n, n) with E ε'A ε = 0 after the transform, and P_ij = A_i ∘ A_j, tr(A_iA_j).

    A_1 is W'W off its diagonal, A_2 is (W + W')/2; both are projected off the time effects and made
    trace-free there, which matters for dense W. Sparse, and without that O(1/n) correction, for large n.
    """

    A: tuple
    products: tuple
    traces: Array


def error_moments(matrix: sparse.csr_array, centred: bool) -> ErrorMoments:
    """Build the two quadratic forms for a W; ``centred`` with time effects."""
    n = matrix.shape[0]
    square = sparse.csr_array(matrix.T @ matrix)
    first = square - sparse.diags_array(square.diagonal())
    second = (matrix + matrix.T) / 2
    if centred and n <= DENSE_UNITS:
        A = tuple(_trace_free(form.toarray()) for form in (first, second))
        products = tuple(tuple(a * b for b in A) for a in A)
        traces = np.array([[p.sum() for p in row] for row in products])
        return ErrorMoments(A, products, traces)
    A = (sparse.csr_array(first), sparse.csr_array(second))
    products = tuple(tuple(sparse.csr_array(a.multiply(b)) for b in A) for a in A)
    return ErrorMoments(A, products, np.array([[p.sum() for p in row] for row in products]))


def _trace_free(form: Array) -> Array:
    """J A J − c J with trace zero."""
    n = len(form)
    out = form - form.mean(axis=0) - form.mean(axis=1)[:, None] + form.mean()
    J = np.eye(n) - 1 / n
    return out - np.trace(out) / (n - 1) * J


def _moments(arrays: SystemArrays) -> ErrorMoments | None:
    return error_moments(arrays.matrix, arrays.sample.centred) if any(arrays.lag_error) else None


def _by_period(arrays: SystemArrays, values: Array) -> Array:
    """(M,) → (n, T)."""
    return values.reshape(arrays.sample.n_periods, -1).T


def _quadratics(arrays: SystemArrays, u: Array, moments: ErrorMoments) -> Array:
    """Coefficients (2, 3) of the moments ε'A_iε, ε = u − λWu, as polynomials c0 + c1 λ + c2 λ²."""
    now, lag = _by_period(arrays, u), _by_period(arrays, arrays.lag(u))
    rows = []
    for A in moments.A:
        a_now, a_lag = A @ now, A @ lag
        rows.append([(now * a_now).sum(), -2 * (lag * a_now).sum(), (lag * a_lag).sum()])
    return np.array(rows)


def _lambdas(arrays: SystemArrays, u: Array, moments: ErrorMoments) -> Array:
    """λ̂_g where the error is spatial, 0 elsewhere."""
    weight = np.linalg.inv(moments.traces)
    low, high = _lam_bounds(arrays.matrix)
    out = np.zeros(arrays.m)
    for g in np.flatnonzero(arrays.lag_error):
        out[g] = _minimise(_quadratics(arrays, u[:, g], moments) / (u[:, g] @ u[:, g]), weight, low, high)
    return out


def _lam_bounds(matrix: sparse.csr_array) -> tuple[float, float]:
    """(−1/τ, 1/τ), τ the smaller of the largest row and column sums (Kelejian & Prucha 2010, Lemma 1)."""
    radius = min(matrix.sum(axis=1).max(), matrix.sum(axis=0).max())
    return -0.999 / radius, 0.999 / radius


def _minimise(c: Array, weight: Array, low: float, high: float) -> float:
    """Minimise m(λ)'V m(λ), a quartic, over [low, high]: exactly, through the roots of its slope."""
    square = np.zeros(5)
    for i in range(2):
        for j in range(2):
            square += weight[i, j] * np.convolve(c[i], c[j])
    polynomial = np.polynomial.Polynomial(square)
    roots = polynomial.deriv().roots()
    inside = [float(r.real) for r in roots if abs(r.imag) < 1e-9 and low < r.real < high]
    return min([low, high, *inside], key=polynomial)


# Covariances ----------------------------------------------------------------------------------------------


def _covariance(
    arrays: SystemArrays,
    delta: Array,
    lam: Array,
    final: Array,
    e: Array,
    sigma: Array,
    weight: Array,
    joint: bool,
    kind: Covariance,
    moments: ErrorMoments | None,
) -> Array:
    """Covariance of (δ̂, λ̂): λ does not disturb the law of δ̂, but δ̂ disturbs that of λ̂."""
    _, A = _solve(arrays, lam, weight)
    m = arrays.m
    bread = np.block([[weight[g, l] * A[g].T @ A[l] for l in range(m)] for g in range(m)])
    inverse = scaled_inverse(bread)
    if kind != "classical":
        cov = inverse @ _robust_meat(arrays, A, e, weight, kind) @ inverse
    elif joint:  # weighted by Σ̂⁻¹, the bread is the covariance (Zellner & Theil 1962)
        cov = inverse
    else:
        cov = inverse @ _classical_meat(A, sigma) @ inverse
    if moments is None:
        return (cov + cov.T) / 2
    return _with_lambdas(arrays, cov, final, e, sigma, kind, moments)


def _classical_meat(A: list[Array], sigma: Array) -> Array:
    m = len(A)
    return np.block([[sigma[g, l] * A[g].T @ A[l] for l in range(m)] for g in range(m)])


def _robust_meat(arrays: SystemArrays, A: list[Array], e: Array, weight: Array, kind: Covariance) -> Array:
    """Σ s s' of the scores s_g = Ẑ_g (eΦ)_g by row, or summed over the periods of each unit first.

    The within transform shrinks squared residuals by N/M on average; sums over a unit's periods it does not.
    """
    weighted = e @ weight
    scores = np.column_stack([(arrays.H @ A[g]) * weighted[:, [g]] for g in range(arrays.m)])
    n, T = arrays.sample.n_units, arrays.sample.n_periods
    if kind == "robust":
        return scores.T @ scores * (len(scores) / arrays.sample.observations)
    by_unit = scores.reshape(T, n, -1).sum(axis=0)
    return by_unit.T @ by_unit * n / (n - 1)


def _with_lambdas(
    arrays: SystemArrays,
    cov: Array,
    lam: Array,
    e: Array,
    sigma: Array,
    kind: Covariance,
    moments: ErrorMoments,
) -> Array:
    """Extend the covariance by λ̂: λ̂ − λ ≈ −b'(m + α(δ̂ − δ)) with m the quadratic moments at the truth."""
    K, active = len(cov), np.flatnonzero(arrays.lag_error)
    influence, own = np.zeros((len(active), K)), np.zeros((len(active), len(active)))
    u = _unfiltered(arrays, e, lam)
    loads = {}
    for row, g in enumerate(active):
        slope = _quadratics(arrays, u[:, g], moments) @ np.array([0.0, 1.0, 2 * lam[g]])
        weight = np.linalg.inv(moments.traces)
        load = weight @ slope / (slope @ weight @ slope)
        influence[row, arrays.block(g)] = -load @ _alpha(arrays, e[:, g], lam[g], g, moments)
        loads[row] = load
    for i, g in enumerate(active):
        for j, l in enumerate(active):
            own[i, j] = loads[i] @ _moment_covariance(arrays, e, sigma, g, l, kind, moments) @ loads[j]
    cross = influence @ cov
    full = np.block([[cov, cross.T], [cross, own + influence @ cov @ influence.T]])
    return (full + full.T) / 2


def _unfiltered(arrays: SystemArrays, e: Array, lam: Array) -> Array:
    """u from ε = (I − λ_gW)u, by sparse solves."""
    from spatial_zb.core.traces import filter_solver

    out = e.copy()
    for g in np.flatnonzero(lam):
        out[:, g] = filter_solver(arrays.matrix, lam[g])(_by_period(arrays, e[:, g])).T.ravel()
    return out


def _alpha(arrays: SystemArrays, e: Array, lam: float, g: int, moments: ErrorMoments) -> Array:
    """∂m/∂δ_g = −2 Z*'A_iε, (2, k_g)."""
    Z = arrays.Z[g] - lam * arrays.WZ[g]
    by_period = _by_period(arrays, e)
    return np.array([-2 * Z.T @ (A @ by_period).T.ravel() for A in moments.A])


def _moment_covariance(
    arrays: SystemArrays, e: Array, sigma: Array, g: int, l: int, kind: Covariance, moments: ErrorMoments
) -> Array:
    """Cov(ε_g'A_iε_g, ε_l'A_jε_l) = 2 T* σ_gl² tr(A_iA_j), or with squared residuals in place of σ_gl."""
    if kind == "classical":
        return 2 * arrays.sample.periods * sigma[g, l] ** 2 * moments.traces
    product = _by_period(arrays, e[:, g] * e[:, l])
    if kind == "cluster":  # variances may differ by unit; a unit's periods estimate them together
        product = np.repeat(product.mean(axis=1, keepdims=True), product.shape[1], axis=1)
    inflate = (len(e) / arrays.sample.observations) ** 2 * arrays.sample.periods / arrays.sample.n_periods
    entries = [[2 * (product * (P @ product)).sum() for P in row] for row in moments.products]
    return inflate * np.array(entries)
