"""Instrumental estimation of a spatial system: 2SLS, 3SLS, and GS2SLS, GS3SLS with spatial errors.

With orthonormal instruments H and A_g = H'Z*_g, 3SLS is δ̂ = [A'(Σ̂⁻¹⊗I)A]⁻¹A'(Σ̂⁻¹⊗I)H'y*: products of
(q, k_g) blocks, never a Kronecker product. λ_g solves the quadratic moments of :mod:`spatial_zb.core.system.moments`;
with one equation all of it is the single-equation estimator there. Given the spectrum of W as the instruments see it,
the moments are less the bias of many instruments (:mod:`spatial_zb.core.system.instruments`).

References: Zellner & Theil (1962), Econometrica 30 (3SLS); Kelejian & Prucha (2004), J. Econometrics 118:
27-50 (GS2SLS, GS3SLS); Drukker, Egger & Prucha (2013), Econometric Reviews 32 (law of λ̂), here across
equations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from spatial_zb.core import Array
from spatial_zb.core.clusters import Clusters, clusters_of
from spatial_zb.core.logdet.traces import DENSE_UNITS, filter_solver
from spatial_zb.core.system import SystemArrays
from spatial_zb.core.system.identification import Covariance
from spatial_zb.core.system.instruments import WeightedSpectrum, recentred
from spatial_zb.core.system.moments import (
    ErrorMoments,
    classical_moments,
    hadamard,
    kelejian_prucha,
    robust_moments,
    solve_lambda,
)
from spatial_zb.core.transforms import TransformedSample
from spatial_zb.core.unit_rows import RowClusters, row_clusters

#: From this many clusters CR1 with t(n − 1) does as well.
MANY_CLUSTERS = 50
#: λ stays inside the interval that the sums of W admit by this share.
INSIDE = 0.999


@dataclass(frozen=True, slots=True)
class InstrumentalEstimate:
    """δ̂ (K,), λ̂ (m,), ε̂ (M, m), Σ̂ (m, m) and the covariance (K + L, K + L) of (δ̂, λ̂ of spatial errors).

    ``at_bound`` says that a λ̂ is at an end of its interval; ``corrected`` that the moments were recentred, which is
    False where they have no solution near the uncorrected one and the estimate is that. ``clusters`` those of CR2 errors.
    """

    delta: Array
    lam: Array
    residuals: Array
    sigma: Array
    cov: Array
    at_bound: bool
    corrected: bool
    clusters: Clusters | RowClusters | None = None


def few_clusters(sample: TransformedSample) -> bool:
    """Whether errors clustered by unit are CR2, with degrees of freedom of their own for each coefficient."""
    return sample.n_units < MANY_CLUSTERS


def instrumental(
    arrays: SystemArrays,
    joint: bool,
    covariance: Covariance,
    spectrum: WeightedSpectrum | None = None,
    interval: tuple[float, float] | None = None,
    leverage: bool | None = None,
) -> InstrumentalEstimate:
    """Estimate by (GS)2SLS, or by (GS)3SLS when ``joint``; with recentred moments given a ``spectrum``.

    2SLS → λ_g from its residuals → GS2SLS → Σ̂ → GS3SLS with the same λ_g. Under a robust or cluster
    covariance the moments are those with a zero diagonal, and the λ_g reported are estimated once more from
    the GS2SLS residuals, weighted by the inverse variance of the moments. With recentred moments λ_g and GS2SLS are
    found a second time, since 2SLS of the unfiltered data does not know the errors that its instruments pick up.
    Errors clustered by fewer than 50 units, or with ``leverage``, are CR2 without λ, CR1 with it.
    ``interval``: where λ is looked for, without it that of every W with the row and column sums of this one.
    """
    few = few_clusters(arrays.sample) if leverage is None else leverage
    found = None if spectrum is None else _estimate(arrays, joint, covariance, spectrum, interval, few)
    found = found or _estimate(arrays, joint, covariance, None, interval, few)
    assert found is not None, "moments that are not recentred have a solution"
    return found


def _estimate(
    arrays: SystemArrays,
    joint: bool,
    covariance: Covariance,
    spectrum: WeightedSpectrum | None,
    interval: tuple[float, float] | None,
    few: bool,
) -> InstrumentalEstimate | None:
    """The estimate; None where recentred moments have no solution."""
    m = arrays.m
    identity, zero = np.eye(m), np.zeros(m)
    first = _stage(arrays, zero, None, spectrum)
    if first is None:
        return None
    second, lam, errors = first, zero, None
    if any(arrays.lag_error):
        errors = _Errors(arrays, covariance, spectrum is not None, interval)
        for _ in range(1 if spectrum is None else 2):
            lam = errors.plain(second, lam)
            again = _stage(arrays, lam, None, spectrum, second)
            if again is None:
                return None
            second = again
    final = lam if errors is None else errors.last(lam, second)
    delta, weight = second, identity
    if joint:
        e = arrays.noise(second, lam)
        weight = scaled_inverse(e.T @ e / arrays.sample.observations)
        joined = _stage(arrays, lam, weight, spectrum, second)
        if joined is None:
            return None
        delta = joined
    e = arrays.noise(delta, final)
    sigma = e.T @ e / arrays.sample.observations
    # a covariance that is robust looks at the data filtered with the λ it reports
    infl, clusters = _influence(arrays, final, weight), None
    if covariance == "cluster" and errors is None and few:
        root = whitening(scaled_inverse(weight) if joint else np.diag(np.diag(sigma)))
        clusters, adjusted = _with_leverage(arrays, root, e)
        scores = _scores(infl, adjusted)
        by_unit = scores.reshape(-1, arrays.sample.n_units, scores.shape[1]).sum(axis=0)
        cov = by_unit.T @ by_unit
    else:
        cov = _linear_covariance(arrays, infl, e, scaled_inverse(weight) if joint else sigma, covariance)
    if errors is not None:
        cov = errors.joint_covariance(cov, infl, first, delta, e, lam, final)
    at_bound = errors is not None and errors.outside(final)
    cov, corrected = (cov + cov.T) / 2, spectrum is not None
    return InstrumentalEstimate(delta, final, e, sigma, cov, at_bound, corrected, clusters)


def _stage(
    arrays: SystemArrays,
    lam: Array,
    weight: Array | None,
    spectrum: WeightedSpectrum | None,
    start: Array | None = None,
) -> Array | None:
    """δ̂ of the data filtered with λ, moments weighted by Φ⊗I (equation by equation without Φ) and recentred.

    Recentred moments are solved from the estimate of a stage before, or from the one that is not recentred.
    """
    if spectrum is None or start is None:
        plain = _solve(arrays, lam, np.eye(arrays.m) if weight is None else weight)
        if spectrum is None:
            return plain
        start = plain
    if weight is None:  # as good as I where equations stand alone; one size for all of them
        weight = np.diag(arrays.sample.observations / (arrays.noise(start, lam) ** 2).sum(axis=0))
    return recentred(arrays, lam, weight, spectrum, start)


def scaled_inverse(matrix: Array) -> Array:
    """Inverse of a symmetric positive definite matrix, its diagonal brought to one first."""
    scale = 1 / np.sqrt(np.diag(matrix))
    return np.linalg.inv(matrix * np.outer(scale, scale)) * np.outer(scale, scale)


def weighted_blocks(A: list[Array], weight: Array) -> Array:
    """A'(Φ⊗I)A, (K, K)."""
    m = len(A)
    return np.block([[weight[g, l] * A[g].T @ A[l] for l in range(m)] for g in range(m)])


def _solve(arrays: SystemArrays, lam: Array, weight: Array) -> Array:
    """δ̂ of the data filtered with λ, moments weighted by Φ⊗I."""
    y, Z = arrays.filtered(lam)
    A = [arrays.H.T @ block for block in Z]
    right = arrays.H.T @ y
    lhs = weighted_blocks(A, weight)
    rhs = np.concatenate([A[g].T @ (right @ weight[g]) for g in range(arrays.m)])
    scale = 1 / np.sqrt(np.diag(lhs))
    return scale * linalg.solve(lhs * np.outer(scale, scale), scale * rhs, assume_a="pos")


def whitening(sigma: Array) -> Array:
    """L (m, m) with Σ⁻¹ = LL'."""
    return linalg.cholesky(scaled_inverse(sigma), lower=True)


def _with_leverage(arrays: SystemArrays, root: Array, e: Array) -> tuple[Clusters | RowClusters, Array]:
    """Clusters of the equations on their instruments, and the residuals (M, m) less what leverage took."""
    fitted = [arrays.H @ (arrays.H.T @ Z) for Z in arrays.Z]
    if arrays.present is None or arrays.effects is None:
        clusters = system_clusters(fitted, root, arrays.sample)
        return clusters, stretched(e, root, clusters).reshape(e.shape)
    m, space, there = arrays.m, arrays.effects, arrays.present.ravel()
    X = np.concatenate(
        [np.concatenate([root[g, h] * X[there] for h in range(m)]) for g, X in enumerate(fitted)], axis=1
    )
    unit = np.tile(np.nonzero(arrays.present)[1], m)
    own = np.concatenate([space.columns + h * (space.own + 1) for h in range(m)])
    shared = linalg.block_diag(*[space.others] * m)
    rows = row_clusters(unit, X, (own, np.tile(space.values, (m, 1))), shared)
    out = np.zeros_like(e)
    white = rows.adjusted((e[there] @ root).T.ravel()).reshape(m, -1).T
    out[there] = white @ np.linalg.inv(root)
    return rows, out


def system_clusters(slopes: list[Array], root: Array, sample: TransformedSample) -> Clusters:
    """Clusters of the slopes (M, k_g) of m equations, whitened by the root L (m, m) of Σ⁻¹ = LL'.

    Rows are forward deviations, in which unit effects have left nothing out.
    """
    m = len(slopes)
    columns = [np.stack([root[g, h] * X for h in range(m)]) for g, X in enumerate(slopes)]
    X = np.concatenate(columns, axis=2).reshape(m, sample.periods, sample.n_units, -1)
    return clusters_of(X, "time" if sample.centred else "none")


def stretched(e: Array, root: Array, clusters: Clusters) -> Array:
    """Residuals (M, m) less what leverage took, (T*, n, m)."""
    n, m = clusters.number, e.shape[1]
    white = np.moveaxis((e @ root).reshape(-1, n, m), 2, 0)
    return np.moveaxis(clusters.adjusted(white), 0, 2) @ np.linalg.inv(root)


def _influence(arrays: SystemArrays, lam: Array, weight: Array) -> list[Array]:
    """I_l (M, K) with δ̂ − δ ≈ Σ_l I_l'ε_l: one array for the errors of each equation."""
    _, Z = arrays.filtered(lam)
    A = [arrays.H.T @ block for block in Z]
    inverse = scaled_inverse(weighted_blocks(A, weight))
    out = []
    for l in range(arrays.m):
        loads = np.vstack([weight[g, l] * A[g].T for g in range(arrays.m)])  # (K, q)
        out.append(arrays.H @ (inverse @ loads).T)
    return out


def _linear_covariance(
    arrays: SystemArrays, infl: list[Array], e: Array, sigma: Array, kind: Covariance
) -> Array:
    """Σ_gl I_g'I_l σ_gl, or the sum of squared scores by row or by unit."""
    if kind == "classical":
        m = arrays.m
        parts = (sigma[g, l] * infl[g].T @ infl[l] for g in range(m) for l in range(m))
        return sum(parts, np.zeros((infl[0].shape[1],) * 2))
    scores = _grouped(arrays, _scores(infl, e), kind)
    return scores.T @ scores


def _scores(infl: list[Array], e: Array) -> Array:
    """Σ_l I_l ε_l by row, (M, K)."""
    return sum((block * e[:, [l]] for l, block in enumerate(infl)), np.zeros_like(infl[0]))


def _grouped(arrays: SystemArrays, scores: Array, kind: Covariance) -> Array:
    """Scores as they are, or summed over the periods of each unit with the factor √(n/(n−1))."""
    if kind != "cluster":
        return scores
    n = arrays.sample.n_units
    return scores.reshape(-1, n, scores.shape[1]).sum(axis=0) * np.sqrt(n / (n - 1))


class _Errors:
    """The spatial errors of a system: their moments, λ̂ and the covariance of λ̂ with δ̂.

    ``recentred``: moments are those of ε, no longer those of the smaller residuals ε̂, and the last λ̂ is that of
    GS2SLS residuals.
    """

    def __init__(
        self,
        arrays: SystemArrays,
        kind: Covariance,
        recentred: bool,
        interval: tuple[float, float] | None,
    ) -> None:
        self.arrays, self.kind, self.recentred = arrays, kind, recentred
        self.from_first = kind == "classical" and not recentred
        self.active: list[int] = np.flatnonzero(arrays.lag_error).tolist()
        # for large n the period effects move traces by O(1/n), not worth a dense W
        centred = arrays.sample.centred and arrays.sample.n_units <= DENSE_UNITS
        build = classical_moments if kind == "classical" else robust_moments
        self.moments: ErrorMoments = build(arrays.matrix, centred)
        self.pairs = [[hadamard(p, q) for q in self.moments.matrices] for p in self.moments.matrices]
        self.traces = np.array([[pair.sum() for pair in row] for row in self.pairs])
        self.diagonal = np.column_stack([A.diagonal() for A in self.moments.matrices])
        self.interval = interval or _admissible(arrays.matrix)

    def outside(self, lam: Array) -> bool:
        """Whether a λ̂ is at an end of the interval."""
        return bool(np.any((lam <= self.interval[0]) | (lam >= self.interval[1])))

    def plain(self, delta: Array, filtered: Array) -> Array:
        """λ̂ from residuals of 2SLS of the data that were filtered with the given λ."""
        out = np.zeros(self.arrays.m)
        for g in self.active:
            polynomial = self._of_noise(delta, g, filtered)
            out[g], _ = solve_lambda(*polynomial, self.moments.weight, self.interval)
        return out

    def last(self, lam: Array, delta: Array) -> Array:
        """The λ̂ to report: the first under one variance, else re-estimated with optimal weights."""
        if self.kind == "classical":
            return lam
        out = np.zeros(self.arrays.m)
        e = self.arrays.noise(delta, lam)
        shifts = self._shifts(self._own_influence(lam), e, lam)
        for g in self.active:
            weight = np.asarray(np.linalg.inv(self._variance(e, shifts, g, g)), float)
            out[g], _ = solve_lambda(*self._of_noise(delta, g, lam), weight, self.interval)
        return out

    def joint_covariance(
        self, cov: Array, infl: list[Array], first: Array, delta: Array, e: Array, lam: Array, final: Array
    ) -> Array:
        """Covariance of (δ̂, λ̂): λ̂_g − λ_g ≈ ℓ_g'm_g, m_g = ε_g'A ε_g/N + a_g'ε_g/N."""
        N, K, L = self.arrays.sample.observations, len(cov), len(self.active)
        own = self._first_influence(lam) if self.from_first else self._own_influence(final)
        shifts = self._shifts(own, e, final)
        source = first if self.from_first else delta
        lefts = {g: self._left(source, e, shifts, g, final[g]) for g in self.active}
        out = np.empty((K + L, K + L))
        out[:K, :K] = cov
        for i, g in enumerate(self.active):
            cross = self._cross(infl, e, shifts[g], g) @ lefts[g] / N
            out[:K, K + i] = out[K + i, :K] = cross
            for j, l in enumerate(self.active):
                out[K + i, K + j] = lefts[g] @ self._variance(e, shifts, g, l) @ lefts[l] / N
        return out

    def _polynomial(self, delta: Array, g: int) -> tuple[Array, Array]:
        """g, G of the moments of u_g."""
        u = self.arrays.residuals(delta)[:, g]
        shape = (-1, self.arrays.sample.n_units)
        lag = self.arrays.lag(u)
        return kelejian_prucha(
            self.moments, u.reshape(shape), lag.reshape(shape), self.arrays.sample.observations
        )

    def _of_noise(self, delta: Array, g: int, lam: Array) -> tuple[Array, Array]:
        """The same; when recentred with what δ̂, fitted to data filtered with λ, has taken off the moments of ε."""
        constant, slopes = self._polynomial(delta, g)
        return (constant + self._lost(delta, g, lam) if self.recentred else constant), slopes

    def _lost(self, delta: Array, g: int, lam: Array) -> Array:
        """σ̂²tr(A_r P_Ẑ)/N with Ẑ = P_H Z*: what fitting δ_g takes from the moments of ε_g."""
        arrays = self.arrays
        Z = arrays.Z[g] if arrays.WZ is None else arrays.Z[g] - lam[g] * arrays.WZ[g]
        Q = np.linalg.qr(arrays.H.T @ Z)[0]
        e = arrays.noise(delta, lam)[:, g]
        by_period = (arrays.H @ Q).reshape(-1, arrays.sample.n_units, Q.shape[1])
        lost = [sum(float((X * (A @ X)).sum()) for X in by_period) for A in self.moments.matrices]
        N = arrays.sample.observations
        return np.array(lost) * (e @ e) / (N - Q.shape[1]) / N

    def _left(self, delta: Array, e: Array, shifts: dict[int, Array], g: int, lam: float) -> Array:
        """ℓ = Υs/(s'Υs) with the slopes s of the moments and the weight Υ that gave λ̂."""
        slopes = self._polynomial(delta, g)[1] @ [1.0, 2 * lam]
        weight = self.moments.weight
        if self.kind != "classical":
            weight = np.asarray(np.linalg.inv(self._variance(e, shifts, g, g)), float)
        return weight @ slopes / (slopes @ weight @ slopes)

    def _own_influence(self, lam: Array) -> dict[int, Array]:
        """(M, k_g) of GS2SLS, equation by equation: δ̂_g − δ_g ≈ I'ε_g."""
        infl = _influence(self.arrays, lam, np.eye(self.arrays.m))
        return {g: infl[g][:, self.arrays.block(g)] for g in self.active}

    def _first_influence(self, lam: Array) -> dict[int, Array]:
        """The same for 2SLS of the unfiltered data, whose error is (I − λW)⁻¹ε."""
        infl = self._own_influence(np.zeros(self.arrays.m))
        return {g: self._backward(block, lam[g]) for g, block in infl.items()}

    def _backward(self, block: Array, lam: float) -> Array:
        """(I − λW')⁻¹ applied to every period."""
        n, k = self.arrays.sample.n_units, block.shape[1]
        by_unit = np.moveaxis(block.reshape(-1, n, k), 1, 0)
        solved = filter_solver(sparse.csr_array(self.arrays.matrix.T), lam)(by_unit.reshape(n, -1))
        return np.moveaxis(solved.reshape(by_unit.shape), 0, 1).reshape(-1, k)

    def _shifts(self, own: dict[int, Array], e: Array, lam: Array) -> dict[int, Array]:
        """a_g (M, r) = −2 I_g Z*_g'A_r ε_g: what estimating δ_g adds to the moments."""
        _, Z = self.arrays.filtered(lam)
        out = {}
        for g in self.active:
            by_period = e[:, g].reshape(-1, self.arrays.sample.n_units)
            turned = np.column_stack([(A @ by_period.T).T.ravel() for A in self.moments.matrices])
            out[g] = -2 * own[g] @ (Z[g].T @ turned)
        return out

    def _variance(self, e: Array, shifts: dict[int, Array], g: int, l: int) -> Array:
        """N Cov(m_g, m_l), (r, r)."""
        n, N = self.arrays.sample.n_units, self.arrays.sample.observations
        s = (e[:, g] * e[:, l]).reshape(-1, n)
        a, b = shifts[g], shifts[l]
        if self.kind == "classical":
            cov = s.sum() / N
            excess = (s**2).sum() / N - (e[:, g] ** 2).sum() * (e[:, l] ** 2).sum() / N**2 - 2 * cov**2
            quadratic = 2 * cov**2 * self.traces + excess * self.diagonal.T @ self.diagonal
            mixed = self._skew(e, g, l) * a.T @ self._rows + self._skew(e, l, g) * self._rows.T @ b
            return (quadratic * len(s) + cov * a.T @ b + mixed) / N
        entries = np.array([[2 * (s * (pair @ s.T).T).sum() for pair in row] for row in self.pairs])
        left, right = (_grouped(self.arrays, x * e[:, [h]], self.kind) for x, h in ((a, g), (b, l)))
        return (entries + left.T @ right) / N

    def _cross(self, infl: list[Array], e: Array, shift: Array, g: int) -> Array:
        """N Cov(δ̂, m_g), (K, r)."""
        if self.kind != "classical":
            scores = _grouped(self.arrays, _scores(infl, e), self.kind)
            return scores.T @ _grouped(self.arrays, shift * e[:, [g]], self.kind)
        N = self.arrays.sample.observations
        out = np.zeros((infl[0].shape[1], shift.shape[1]))
        for l, block in enumerate(infl):
            out = out + block.T @ (e[:, l] @ e[:, g] / N * shift + self._skew(e, l, g) * self._rows)
        return out

    @property
    def _rows(self) -> Array:
        """Diagonals of the A_r, repeated for every period, (M, r)."""
        return np.tile(self.diagonal, (len(self.arrays.y) // len(self.diagonal), 1))

    def _skew(self, e: Array, g: int, l: int) -> float:
        """E ε_g ε_l²."""
        return float((e[:, g] * e[:, l] ** 2).sum() / self.arrays.sample.observations)


def _admissible(matrix: sparse.csr_array) -> tuple[float, float]:
    """Where I − λW is invertible (Kelejian & Prucha 2010, Lemma 1)."""
    radius = min(matrix.sum(axis=1).max(), matrix.sum(axis=0).max())
    return -INSIDE / radius, INSIDE / radius
