"""Regimes of receiving units, each with a spatial coefficient of its own or all with one: estimates and their covariance.

S y_t = Z_t δ + μ + α_t ι + ε_t with S = I − (Σ_r ρ_r D_r)W, D_r the units of regime r. Unit effects go by the orthonormal
transform over time, right for any S: T* = T − 1 periods (T without unit effects, as in a cross-section) with

    ln L = −(N/2) ln(2πσ²) + T* ln|S| − e'e/(2σ²).

Effects of periods do not go by a transform over units, since the rows of (Σ_r ρ_r D_r)W do not have one sum. With α_t
concentrated out, e = J(Sy − Zδ), the score in ρ_r has the mean −T* tr[(I − J)D_rG], G = WS⁻¹, whatever α is. The estimate
solves the score less that mean,

    (D_rWy)'e/σ² − T* tr(J D_r G) = 0,   σ² = e'e/N,   N = (n − 1)T*,

which is unbiased at any n and T; with one ρ and Wι = ι the sum over r is the score of Lee & Yu (2010), J. Econometrics
154: 165-185, eq. 24. It is not the slope of a function, so that its Jacobian K and its variance Ω differ, and
V = K⁻¹ Ω K⁻ᵀ. For quasi-scores made unbiased in this way see Yang (2018), J. Econometrics 205: 423-447; for the model,
Elhorst & Fréret (2009), J. Regional Science 49: 931-951.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import linalg, sparse

from spatial_zb.core import Array
from spatial_zb.core.clusters import Clusters
from spatial_zb.core.likelihood.covariance import few_clusters_meat, scaled_pairs, unit_scores
from spatial_zb.core.logdet.entries import linked_pairs, probed_products
from spatial_zb.core.logdet.factors import factorise, largest_sums, random_signs
from spatial_zb.core.logdet.traces import BLOCK, DENSE_UNITS, Solver, unit_columns
from spatial_zb.core.transforms import ColumnBasis, TransformedSample

#: Up to this many units, and for a W as dense as DENSE_SHARE, determinants and traces come from dense factorisations.
SMALL_UNITS, DENSE_SHARE = 500, 0.05
#: Points per coefficient of the grid from which the search starts, and the most coefficients of a full grid.
GRID, FULL_GRID = 7, 2
#: Rounds over the coefficients, one at a time, where the grid is not full.
ROUNDS = 2
#: The search stays inside the admissible box by this share of its width.
END_MARGIN = 1e-3
#: Rademacher probes of the second-order traces of more than DENSE_UNITS units.
PROBES = 64
#: Step of the derivative of a sparse log-determinant.
STEP = 1e-5
#: Row sums of W this near to one count as one.
ONE_SUM = 1e-10
#: Largest score, in its standard deviations, at what counts as a solution.
SOLVED = 1e-6


@dataclass(frozen=True, slots=True)
class Regimes:
    """W (n, n), the regime 0, 1, … of every unit (n,), whether effects of periods are taken out, and the bound on |ρ_r|.

    ``bound`` is one over the spectral radius of |W|: within it S is not singular. ``own``: whether each regime has a ρ of
    its own.
    """

    matrix: sparse.csr_array
    regime: NDArray[np.intp]
    timed: bool
    bound: float
    own: bool = True

    @property
    def groups(self) -> int:
        """How many regimes there are."""
        return int(self.regime.max()) + 1

    @property
    def slot(self) -> NDArray[np.intp]:
        """Which ρ is that of a unit (n,)."""
        return self.regime if self.own else np.zeros_like(self.regime)

    @property
    def count(self) -> int:
        """How many ρ there are."""
        return self.groups if self.own else 1

    @property
    def dense(self) -> bool:
        """Whether a dense factorisation is faster than a sparse one."""
        n = self.matrix.shape[0]
        return n <= SMALL_UNITS or self.matrix.nnz > DENSE_SHARE * n**2

    def scaled(self, rho: Array) -> sparse.csr_array:
        """(Σ_r ρ_r D_r)W."""
        return sparse.csr_array(sparse.diags_array(rho[self.slot]) @ self.matrix)

    def part(self, values: Array, r: int) -> Array:
        """D_r times ``values`` (n, …), D_r the units of the r-th ρ."""
        return values * (self.slot == r).reshape(-1, *[1] * (values.ndim - 1))

    def part_of_rows(self, r: int) -> sparse.csr_array:
        """D_rW."""
        return sparse.csr_array(sparse.diags_array((self.slot == r).astype(float)) @ self.matrix)

    def summed(self, values: Array) -> Array:
        """Sums of ``values`` (n,) over the units of each ρ."""
        return np.array([values[self.slot == r].sum() for r in range(self.count)])

    def centre(self, values: Array) -> Array:
        """J times ``values`` (n, …) under effects of periods."""
        return values - values.mean(axis=0) if self.timed else values

    def solver(self, rho: Array) -> tuple[Solver, float]:
        """R ↦ S⁻¹R, and ln|S|."""
        ahead, _, value = self._factors(rho)
        return ahead, value

    def both_ways(self, rho: Array) -> tuple[Solver, Solver]:
        """R ↦ GR and R ↦ G'R, G = WS⁻¹."""
        (ahead, back, _), transposed = self._factors(rho), sparse.csr_array(self.matrix.T)
        return lambda right: self.matrix @ ahead(right), lambda right: back(transposed @ right)

    def _factors(self, rho: Array) -> tuple[Solver, Solver, float]:
        """R ↦ S⁻¹R, R ↦ S⁻ᵀR, and ln|S|."""
        n = self.matrix.shape[0]
        if self.dense:
            dense = np.eye(n) - rho[self.slot][:, None] * self.matrix.toarray()
            factor = linalg.lu_factor(dense, check_finite=False)
            ahead, back = (
                partial(linalg.lu_solve, factor, trans=trans, check_finite=False) for trans in (0, 1)
            )
            return ahead, back, float(np.log(np.abs(np.diag(factor[0]))).sum())
        system = sparse.csc_array(sparse.eye_array(n, format="csc") - self.scaled(rho))
        lu = factorise(system, safe=np.abs(rho).max() * largest_sums(self.matrix) < 1)
        return lu.solve, partial(lu.solve, trans="T"), float(np.log(np.abs(lu.U.diagonal())).sum())

    def traces(self, rho: Array) -> Array:
        """tr(J D_r G) for every ρ."""
        n = self.matrix.shape[0]
        solve, _ = self.solver(rho)
        if self.dense:
            G = self.matrix @ solve(np.eye(n))
            own, sums = np.diag(G), G.sum(axis=1) / n
        else:
            steps = STEP * np.eye(self.count)
            ends = [[self.solver(rho + sign * h)[1] for sign in (1, -1)] for h in steps]
            whole = np.array([(down - up) / (2 * STEP) for up, down in ends])
            own, sums = None, self.matrix @ solve(np.ones(n)) / n
        out = whole if own is None else self.summed(own)
        return out - self.timed * self.summed(sums)


@dataclass(frozen=True, slots=True)
class RegimeMaximum:
    """The estimate: ``rho`` (c,), of each regime or of all, ``delta`` (k,), σ², whether inside the box, largest score."""

    rho: Array
    delta: Array
    sigma2: float
    at_bound: bool
    gradient: float
    log_likelihood: float


def regime_maximum(
    y: Array, lags: Array, Z: Array, basis: ColumnBasis, regimes: Regimes, sample: TransformedSample
) -> RegimeMaximum:
    """Solve the score of the transformed arrays y (M,), D_rWy (M, c), Z (M, k), with ``basis`` that of Z."""
    size = float(np.sqrt(y @ y))
    both = np.column_stack([y, lags]) / size
    onto = basis.Q.T @ both
    off = both - basis.Q @ onto
    gram = off.T @ off
    T, N, edge = sample.periods, sample.observations, regimes.bound * (1 - END_MARGIN)

    def ssr(rho: Array) -> tuple[float, Array]:
        residual = gram @ np.array([1.0, *-rho])
        return float(residual @ [1.0, *-rho]), residual[1:]

    def score(rho: Array) -> Array:
        total, slope = ssr(rho)
        return N * slope / total - T * regimes.traces(rho)

    def height(rho: Array) -> float:
        """Where to start: exact with unit effects, near it with effects of periods."""
        solve, value = regimes.solver(rho)
        if regimes.timed:
            value += np.log(np.abs(solve(np.ones(len(regimes.regime))).mean()))
        return float(sample.concentrated(value, ssr(rho)[0]))

    start = _highest(height, np.linspace(-edge, edge, GRID + 2)[1:-1], regimes.count)
    climbed = scipy.optimize.minimize(
        lambda r: -height(r), start, method="L-BFGS-B", bounds=[(-edge, edge)] * regimes.count
    ).x
    scale = 1 / np.sqrt(np.diag(gram)[1:] * N / ssr(climbed)[0] + T)
    found = scipy.optimize.root(lambda r: score(r) * scale, climbed, tol=1e-12)
    inside = np.abs(found.x).max() < edge and np.abs(score(found.x) * scale).max() < SOLVED
    rho = found.x if inside else np.clip(climbed, -edge, edge)
    total, _ = ssr(rho)
    solved = linalg.solve_triangular(basis.R, onto @ [1.0, *-rho]) if Z.shape[1] else np.zeros(0)
    sigma2 = total * size**2 / N
    value = -N / 2 * (np.log(2 * np.pi * sigma2) + 1) + T * regimes.solver(rho)[1]
    return RegimeMaximum(
        rho=rho,
        delta=solved * size / basis.scale,
        sigma2=sigma2,
        at_bound=not inside,
        gradient=float(np.abs(score(rho)).max()),
        log_likelihood=_log_likelihood(value, float(rho[0]), regimes, T),
    )


def _log_likelihood(value: float, rho: float, regimes: Regimes, periods: int) -> float:
    """ln L, ``value`` being that without effects of periods: NaN with these, but for one ρ and rows with the sum one."""
    if not regimes.timed:
        return float(value)
    if regimes.count > 1 or np.abs(regimes.matrix.sum(axis=1) - 1).max() > ONE_SUM:
        return np.nan
    return float(value - periods * np.log(1 - rho))


def _highest(height: Callable[[Array], float], grid: Array, count: int) -> Array:
    """The point of the grid from which to climb: of all points, or of a few rounds over one coefficient at a time."""
    if count <= FULL_GRID:
        return max(map(np.array, product(grid, repeat=count)), key=height)
    at = max((np.full(count, value) for value in grid), key=height)
    for r in [*range(count)] * ROUNDS:
        at = max((np.where(np.arange(count) == r, value, at) for value in grid), key=height)
    return at


@dataclass(frozen=True, slots=True)
class RegimeMoments:
    """Jacobian K and variance Ω of the score (k + c + 1, k + c + 1) in (δ, ρ_1 … ρ_c, σ²), for independent normal errors."""

    jacobian: Array
    variance: Array


def regime_moments(
    Z: Array, means: Array, rho: Array, sigma2: float, regimes: Regimes, sample: TransformedSample
) -> RegimeMoments:
    """K and Ω from Z (M, k) and the derivatives of the mean (M, c), J D_rG(mean), stacked.

    K_rs = m_r'm_s/σ² + T*[tr(J G_r'J G_s) + tr(J G_rG_s)], Ω_rs = m_r'm_s/σ² + T*[tr(J G_r'J G_s) + tr(J G_rJ G_s)], with
    G_r = D_rG. The means are estimated with the period means of ε in them, which is why G_r stands between two J.
    """
    k, T = Z.shape[1], sample.periods
    crossed, plain, centred, own = _second_traces(rho, regimes)
    columns = np.column_stack([Z, means])
    size = columns.shape[1] + 1
    spatial = slice(k, size - 1)
    base = np.zeros((size, size))
    base[:-1, :-1] = columns.T @ columns / sigma2
    base[spatial, spatial] += T * crossed
    base[spatial, -1] = base[-1, spatial] = T * own / sigma2
    base[-1, -1] = sample.observations / (2 * sigma2**2)
    jacobian, variance = base.copy(), base
    jacobian[spatial, spatial] += T * plain
    variance[spatial, spatial] += T * centred
    return RegimeMoments(jacobian, variance)


def _second_traces(rho: Array, regimes: Regimes) -> tuple[Array, Array, Array, Array]:
    """tr(J G_r'J G_s), tr(J G_rG_s), tr(J G_rJ G_s), (c, c) each, and tr(J G_r): exact, or by random probes."""
    n = regimes.matrix.shape[0]
    exact = n <= DENSE_UNITS
    right = np.eye(n) if exact else random_signs(np.random.default_rng(n), (n, PROBES))
    weight = 1.0 if exact else 1 / PROBES
    solve, _ = regimes.solver(rho)
    right = regimes.centre(right)
    moved = regimes.matrix @ solve(right)
    parts = [regimes.part(moved, r) for r in range(regimes.count)]
    off = [regimes.centre(part) for part in parts]
    once = [regimes.matrix @ solve(part) for part in parts]
    twice = [regimes.matrix @ solve(part) for part in off]
    pairs, square = [*product(range(regimes.count), repeat=2)], (regimes.count,) * 2
    crossed = np.array([(off[r] * off[s]).sum() for r, s in pairs]).reshape(square)
    plain = np.array([(right * regimes.part(once[s], r)).sum() for r, s in pairs]).reshape(square)
    centred = np.array([(right * regimes.part(twice[s], r)).sum() for r, s in pairs]).reshape(square)
    own = np.array([(right * part).sum() for part in parts])
    return crossed * weight, plain * weight, centred * weight, own * weight


def unit_scores_meat(
    Z: Array,
    means: Array,
    e: Array,
    rho: Array,
    sigma2: float,
    shape: tuple[int, int],
    regimes: Regimes,
    observations: int,
    clusters: Clusters | None = None,
) -> tuple[Array, Array]:
    """Variance of the score when errors of a unit may be correlated over time and differ in variance, × n/(n − 1).

    And the standard errors that random signs leave in it. As ``covariance.unit_meat``: linear forms and own terms summed by
    unit, terms of two units squared and summed over pairs. With ``clusters`` by CR2, as ``covariance.few_clusters_meat``.
    """
    n = shape[1]
    c, residuals = regimes.count, e.reshape(shape)
    star = residuals if clusters is None else clusters.adjusted(residuals)
    own, pairs, error = (_exact_forms if n <= DENSE_UNITS else _probed_forms)(star, rho, regimes)
    columns, probed = np.column_stack([Z, means]), np.zeros((Z.shape[1] + c + 1,) * 2)
    probed[-c - 1 :, -c - 1 :] = scaled_pairs(error, sigma2)
    if clusters is not None:
        return few_clusters_meat(columns, residuals, sigma2, own, pairs, clusters), probed
    sums = unit_scores(columns, residuals, sigma2, own, observations / n)
    meat = sums.T @ sums
    meat[-c - 1 : -1, -c - 1 : -1] += pairs[:c, :c] / sigma2**2
    return meat * n / (n - 1), probed


def _exact_forms(e: Array, rho: Array, regimes: Regimes) -> tuple[Array, Array, Array]:
    """Own terms (c, n) of J D_rG J; Σ_{i<j} q q', q = [both entries of each, 2J_ij] e_i'e_j (c + 1, c + 1); no error.

    ``e`` (T, n) residuals.
    """
    n, products = e.shape[1], e.T @ e
    moved = regimes.both_ways(rho)[0](regimes.centre(np.eye(n)))
    forms = [regimes.centre(regimes.part(moved, r)) for r in range(regimes.count)]
    both = [*((form + form.T) * products for form in forms), -2 / n * regimes.timed * products]
    pairs = np.array([[np.triu(a * b, 1).sum() for b in both] for a in both])
    return np.array([np.diag(form) for form in forms]), pairs, np.zeros(pairs.shape)


def _probed_forms(e: Array, rho: Array, regimes: Regimes) -> tuple[Array, Array, Array]:
    """The same of many units: own terms by columns of G, sums over pairs by random signs, with their standard errors."""
    n, c, size = e.shape[1], regimes.count, (e**2).sum(axis=0)
    ahead, back = regimes.both_ways(rho)
    diagonal = np.empty(n)
    for first in range(0, n, BLOCK):
        unit = unit_columns(n, first, min(n, first + BLOCK))
        diagonal[first : first + BLOCK] = (unit * ahead(unit)).sum(axis=0)
    own, flat = np.array([regimes.part(diagonal, r) for r in range(c)]), np.full(n, 1 / n)
    if regimes.timed:
        rows = ahead(flat)
        for r in range(c):
            part = regimes.part(rows, r)
            own[r] += part.mean() - part - back(regimes.part(flat, r))

    def images(v: Array) -> Array:
        right = (e * v).T
        off, out = regimes.centre(right), []
        moved = ahead(off)
        for r in range(c):
            both = regimes.centre(regimes.part(moved, r)) + regimes.centre(back(regimes.part(off, r)))
            out.append((e * both.T).sum(axis=0) - 2 * own[r] * size * v)
        out.append(-2 / n * regimes.timed * (e.T @ right.sum(axis=0) - size * v))
        return np.array(out)

    # W itself is what is known of each form: row i is that of the regime of i
    known = [linked_pairs(regimes.part_of_rows(r), [0.0], e)[0] for r in range(c)]
    values, errors = probed_products(images, known, n)
    return own, values / 2, errors / 2
