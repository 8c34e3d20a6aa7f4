"""Instrumental variables for ρ and endogenous regressors, generalised moments for λ.

y = Zδ + u, u = λWu + ε; Z holds the exogenous columns, Wy and further endogenous ones, H the instruments.

    2SLS     δ̂ = (Z'P_H Z)⁻¹ Z'P_H y                         Kelejian & Prucha (1998), JREFE 17: 99-121
    moments  m_r(λ) = Σ_t ε_t'A_r ε_t / N,  ε = u − λWu       Kelejian & Prucha (1999), IER 40: 509-533
    GS2SLS   2SLS of y* = y − λ̂Wy on Z* = Z − λ̂WZ
    A_r with zero diagonal: heteroskedasticity does no harm   Kelejian & Prucha (2010), J. Econometrics 157: 53-67
    joint covariance of δ̂ and λ̂, endogenous regressors        Drukker, Egger & Prucha (2013), Econometric Reviews 32

Rows are units of one transformed period after another. Unit effects are taken out by forward orthogonal
deviations, so that transformed noise stays uncorrelated (Mutl & Pfaffermayr 2011, Econometrics Journal 14);
period effects by J = I − ιι'/n, under which the A_r are made to have zero diagonal again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from spatial_zb.core import Array
from spatial_zb.core.transforms import FixedEffects

Matrix: TypeAlias = sparse.csr_array | Array

#: What is left of an instrument of unit length after the others, when it depends on them.
DEPENDENT = 1e-9


def forward_deviations(values: Array, effects: FixedEffects) -> Array:
    """Take effects out of (T, n, …): unit effects by forward orthogonal deviations, (T − 1, n, …).

    Row t is √(m/(m + 1)) (x_t − mean of the m later periods): the rows are orthonormal and orthogonal to ι
    (Arellano & Bover 1995, J. Econometrics 68: 29-51). Period effects by demeaning each period.
    """
    if effects in ("time", "two_way"):
        values = values - values.mean(axis=1, keepdims=True)
    if effects not in ("unit", "two_way"):
        return values
    T = len(values)
    later = np.arange(T - 1, 0, -1).reshape(-1, *[1] * (values.ndim - 1))
    ahead = np.cumsum(values[:0:-1], axis=0)[::-1] / later
    return np.sqrt(later / (later + 1)) * (values[:-1] - ahead)


def row_deviations(values: Array, present: NDArray[np.bool_]) -> Array:
    """Forward orthogonal deviations of units with rows of any number: (T, n, …) in, (T, n, …) out.

    ``present`` (T, n) says which rows there are. Row t of a unit is off the mean of its later rows, as in
    :func:`forward_deviations`; its last row, and all that are absent, are zero, so that sums over rows do not see them.
    """
    there = present.reshape(*present.shape, *[1] * (values.ndim - 2))
    kept = np.where(there, values, 0.0)
    later = there.sum(axis=0) - np.cumsum(there, axis=0)
    ahead = kept.sum(axis=0) - np.cumsum(kept, axis=0)
    off = kept - ahead / np.maximum(later, 1)
    return np.where(there & (later > 0), np.sqrt(later / (later + 1)) * off, 0.0)


def independent_columns(included: Array, candidates: Array) -> NDArray[np.intp]:
    """Positions of candidates (M, c) that are independent of ``included`` (M, k) and of each other.

    Pivoted QR of the unit-length columns off ``included``.
    """
    sizes = np.sqrt((candidates**2).sum(axis=0))
    alive = np.flatnonzero(sizes > 0)
    unit = candidates[:, alive] / sizes[alive]
    if included.shape[1]:
        Q = np.linalg.qr(included / np.sqrt((included**2).sum(axis=0)))[0]
        unit = unit - Q @ (Q.T @ unit)
        unit = unit - Q @ (Q.T @ unit)
    if not unit.shape[1]:
        return alive
    _, R, order = linalg.qr(unit, mode="economic", pivoting=True)
    rank = int(np.count_nonzero(np.abs(np.diag(R)) > DEPENDENT))
    return np.sort(alive[order[:rank]])


@dataclass(frozen=True, slots=True)
class Instruments:
    """An orthonormal basis (M, h) of the instruments; ``included`` (M, k₁) are the exogenous columns of Z."""

    basis: Array
    included: Array
    observations: int

    @property
    def count(self) -> int:
        """Number of independent instruments h."""
        return self.basis.shape[1]


@dataclass(frozen=True, slots=True)
class Projected:
    """δ̂ (k,) of two-stage least squares, residuals (M,), Ẑ = P_H Z (M, k), and (Ẑ'Ẑ)⁻¹ (k, k)."""

    delta: Array
    residuals: Array
    fitted: Array
    bread: Array


def two_stage(y: Array, Z: Array, basis: Array) -> Projected | None:
    """2SLS of y (M,) on Z (M, k) with an orthonormal basis of the instruments; None if not identified.

    Columns are scaled to unit length inside.
    """
    scale = np.sqrt((Z**2).sum(axis=0))
    onto = basis.T @ (Z / scale)
    if onto.shape[0] < onto.shape[1] or np.linalg.cond(onto) > 1 / DEPENDENT:
        return None
    Q, R = np.linalg.qr(onto)
    inverse = linalg.solve_triangular(R, np.eye(len(R))) / scale[:, None]
    delta = inverse @ (Q.T @ (basis.T @ y))
    return Projected(delta, y - Z @ delta, basis @ onto * scale, inverse @ inverse.T)


#: Sum of outer products of the scores (M, p), their variance times N; None stands for σ² times the Gram matrix.
Meat = Callable[[Array], Array]


def white(scores: Array) -> Array:
    """Scores are uncorrelated, whatever their variances (White 1980, Econometrica 48: 817-838)."""
    return scores.T @ scores


def by_unit(n: int) -> Meat:
    """Scores of one of n units may be correlated over time: they are summed first (Arellano 1987)."""

    def meat(scores: Array) -> Array:
        sums = scores.reshape(-1, n, scores.shape[1]).sum(axis=0)
        return sums.T @ sums

    return meat


def linear_covariance(fit: Projected, sigma2: float, meat: Meat | None) -> Array:
    """σ²(Ẑ'Ẑ)⁻¹, or (Ẑ'Ẑ)⁻¹ meat (Ẑ'Ẑ)⁻¹ of the scores Ẑe; no degrees-of-freedom correction."""
    if meat is None:
        return sigma2 * fit.bread
    return fit.bread @ meat(fit.fitted * fit.residuals[:, None]) @ fit.bread


# ------------------------------------------------------------------ moments of the error process


@dataclass(frozen=True, slots=True)
class ErrorMoments:
    """Symmetric matrices A_r (n, n) of the quadratic moments, and how they are weighted at first.

    ``weight`` (r, r) is I, or I − ττ'/τ'τ where E m_r = σ²τ_r and σ² is concentrated out.
    """

    matrices: tuple[Matrix, ...]
    weight: Array


def classical_moments(W: sparse.csr_array, centred: bool) -> ErrorMoments:
    """The three moments of Kelejian & Prucha (1999): I, W'W and W, for ε of one variance σ²."""
    n = W.shape[0]
    if centred:
        J = np.eye(n) - 1 / n
        lag = J @ W.toarray() @ J
        matrices = (J, lag.T @ lag, (lag + lag.T) / 2)
    else:
        matrices = (sparse.eye_array(n, format="csr"), sparse.csr_array(W.T @ W), (W + W.T) / 2)
    tau = np.array([A.trace() for A in matrices]) / (n - centred)
    return ErrorMoments(matrices, np.eye(3) - np.outer(tau, tau) / (tau @ tau))


def robust_moments(W: sparse.csr_array, centred: bool) -> ErrorMoments:
    """The two moments of Kelejian & Prucha (2010): W'W and W, each less the diagonal that heteroskedasticity reads."""
    if not centred:
        product = sparse.csr_array(W.T @ W)
        product = product - sparse.diags_array(product.diagonal(), format="csr")
        return ErrorMoments((product, (W + W.T) / 2), np.eye(2))
    n = W.shape[0]
    J = np.eye(n) - 1 / n
    lag = J @ W.toarray() @ J
    matrices = tuple(_without_diagonal(A, J) for A in (lag.T @ lag, (lag + lag.T) / 2))
    return ErrorMoments(matrices, np.eye(2))


def _without_diagonal(A: Array, J: Array) -> Array:
    """A − JDJ with the diagonal D for which nothing is left on the diagonal; A = JAJ.

    (JDJ)_ii = d_i(1 − 2/n) + tr(D)/n², so D follows from the diagonal of A.
    """
    n = len(A)
    wanted = np.diag(A)
    trace = wanted.sum() / (1 - 1 / n)
    d = (wanted - trace / n**2) / (1 - 2 / n)
    return A - J @ (d[:, None] * J)


def kelejian_prucha(moments: ErrorMoments, u: Array, lag: Array, observations: int) -> tuple[Array, Array]:
    """g (r,) and G (r, 2) with m(λ) = g − G(λ, λ²)'; u and its spatial lag are (T*, n)."""
    g, G = [], []
    for A in moments.matrices:
        Au, Alag = ((A @ v.T).T for v in (u, lag))
        g.append((u * Au).sum())
        G.append([2 * (lag * Au).sum(), -(lag * Alag).sum()])
    return np.array(g) / observations, np.array(G) / observations


def solve_lambda(g: Array, G: Array, weight: Array, interval: tuple[float, float]) -> tuple[float, bool]:
    """Global minimum of m(λ)'Υm(λ), a quartic, on the interval; True when it lies at an end."""
    m = np.array([g, -G[:, 0], -G[:, 1]])  # m(λ) = m₀ + m₁λ + m₂λ²
    products = m @ weight @ m.T
    quartic = np.zeros(5)
    np.add.at(quartic, np.add.outer(range(3), range(3)), products)
    objective = np.polynomial.Polynomial(quartic)
    roots = objective.deriv().roots()
    inner = roots.real[np.abs(roots.imag) < 1e-8 * (1 + np.abs(roots.real))]
    inner = inner[(inner > interval[0]) & (inner < interval[1])]
    candidates = np.concatenate([inner, interval])
    best = int(np.argmin(objective(candidates)))
    return float(candidates[best]), best >= inner.size


@dataclass(frozen=True, slots=True)
class ErrorEstimate:
    """What the covariance of (δ̂, λ̂) is made of, at the estimate.

    ``noise`` (T*, n) ε̂; ``influence`` (M, k) with δ̂ − δ ≈ influence'ε; ``behind`` (M, k) the same for the
    δ̂ whose residuals gave λ̂; ``slope`` (M, k) Z* where a column of Z is endogenous, else None: exogenous
    columns leave the moments undisturbed.
    """

    noise: Array
    influence: Array
    behind: Array
    slope: Array | None
    observations: int


def moment_variance(moments: ErrorMoments, e: ErrorEstimate, robust: bool) -> tuple[Array, Array]:
    """Ψ (r, r), the variance of √N m, and N Cov(δ̂, m) (k, r).

    m_r = ε'A_rε/N + a_r'ε/N with a_r = −2 behind Z*'A_rε, the part that comes from estimating δ.
    ``robust``: Drukker, Egger & Prucha (2013, eqs 17-19) with Σ = diag(ε̂²); else with one σ² and the third
    and fourth moments of ε, exact for transformed noise when ε is normal.
    """
    N, noise = e.observations, e.noise
    a = _shifts(moments, e)
    count = len(moments.matrices)
    pairs = [[hadamard(p, q) for q in moments.matrices] for p in moments.matrices]
    psi = np.empty((count, count))
    if robust:
        s = noise**2
        for i in range(count):
            for j in range(count):
                psi[i, j] = 2 * (s * (pairs[i][j] @ s.T).T).sum() / N
        weighted = a * s.reshape(-1, 1)
        return psi + a.T @ weighted / N, e.influence.T @ weighted
    sigma2, mu3 = (noise**2).sum() / N, (noise**3).sum() / N
    excess = (noise**4).sum() / N - 3 * sigma2**2
    diagonals = np.tile(np.column_stack([A.diagonal() for A in moments.matrices]), (len(noise), 1))
    traces = np.array([[pairs[i][j].sum() for j in range(count)] for i in range(count)])
    psi = 2 * sigma2**2 * len(noise) * traces + excess * diagonals.T @ diagonals
    mixed = mu3 * a.T @ diagonals
    psi = (psi + sigma2 * a.T @ a + mixed + mixed.T) / N
    return psi, e.influence.T @ (sigma2 * a + mu3 * diagonals)


def hadamard(A: Matrix, B: Matrix) -> Matrix:
    """Elementwise product; its sum is tr AB for symmetric A and B."""
    return A * B if isinstance(A, np.ndarray) else sparse.csr_array(A.multiply(B))


def _shifts(moments: ErrorMoments, e: ErrorEstimate) -> Array:
    """a_r (M, r)."""
    count = len(moments.matrices)
    if e.slope is None:
        return np.zeros((len(e.influence), count))
    turned = np.column_stack([(A @ e.noise.T).T.ravel() for A in moments.matrices])
    return -2 * e.behind @ (e.slope.T @ turned)


def error_covariance(
    moments: ErrorMoments, e: ErrorEstimate, slopes: Array, robust: bool, weight: Array | None = None
) -> Array:
    """Joint covariance (k + 1, k + 1) of (δ̂, λ̂).

    Parameters
    ----------
    slopes
        (r,) −∂m/∂λ = G(1, 2λ)'.
    weight
        Υ with which λ̂ was found; Ψ⁻¹ when None.
    """
    psi, cross = moment_variance(moments, e, robust)
    upsilon = np.linalg.inv(psi) if weight is None else weight
    left = upsilon @ slopes / (slopes @ upsilon @ slopes)
    k = e.influence.shape[1]
    out = np.empty((k + 1, k + 1))
    scale = e.noise.reshape(-1, 1) ** 2 if robust else (e.noise**2).sum() / e.observations
    out[:k, :k] = e.influence.T @ (scale * e.influence)
    out[:k, k] = out[k, :k] = cross @ left / e.observations
    out[k, k] = left @ psi @ left / e.observations
    return out
