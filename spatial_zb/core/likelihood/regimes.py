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
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import linalg

from spatial_zb.core import Array
from spatial_zb.core.clusters import Clusters
from spatial_zb.core.likelihood.covariance import few_clusters_meat, scaled_pairs, unit_scores
from spatial_zb.core.likelihood.shape import Shape, ShapeEstimate, ShapeScore, shape_estimate
from spatial_zb.core.likelihood.shape_covariance import (
    ShapePoint,
    expected_derivative,
    observed_derivative,
)
from spatial_zb.core.likelihood.shape_rows import DenseForm, RowWeights, ShapeTraces
from spatial_zb.core.logdet.entries import linked_pairs, probed_products
from spatial_zb.core.logdet.factors import Regimes, random_signs
from spatial_zb.core.logdet.traces import BLOCK, DENSE_UNITS, unit_columns
from spatial_zb.core.transforms import ColumnBasis, TransformedSample

#: Points per coefficient of the grid from which the search starts, and the most coefficients of a full grid.
GRID, FULL_GRID = 7, 2
#: Rounds over the coefficients, one at a time, where the grid is not full.
ROUNDS = 2
#: The search stays inside the admissible box by this share of its width.
END_MARGIN = 1e-3
#: Rademacher probes of the second-order traces of more than DENSE_UNITS units.
PROBES = 64
#: Row sums of W this near to one count as one.
ONE_SUM = 1e-10
#: Largest score, in its standard deviations, at what counts as a solution.
SOLVED = 1e-6


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
    y: Array,
    lags: Array,
    Z: Array,
    basis: ColumnBasis,
    regimes: Regimes | RowRegimes,
    sample: TransformedSample,
    start: Array | None = None,
) -> RegimeMaximum:
    """Solve the score of the transformed arrays y (M,), D_rWy (M, c), Z (M, k), with ``basis`` that of Z.

    From ``start`` (c,), where that leads uphill to a root, else from the best point of a grid.
    """
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
        return float(sample.concentrated(regimes.height(rho), ssr(rho)[0]))

    def root(start: Array) -> tuple[Array, bool, bool]:
        """Where the search from there ends, whether it is a root inside, and whether one not lower than the start."""
        scale = 1 / np.sqrt(np.diag(gram)[1:] * N / ssr(start)[0] + T)
        at = scipy.optimize.root(lambda r: score(r) * scale, start, tol=1e-12).x
        inside = bool(np.abs(at).max() < edge and np.abs(score(at) * scale).max() < SOLVED)
        return at, inside, inside and height(at) >= height(start)

    rho, inside, uphill = (np.zeros(regimes.count), False, False) if start is None else root(start)
    if not uphill:
        start = _highest(height, np.linspace(-edge, edge, GRID + 2)[1:-1], regimes.count)
        rho, inside, uphill = root(start)
    if not uphill:
        climbed = scipy.optimize.minimize(
            lambda r: -height(r), start, method="L-BFGS-B", bounds=[(-edge, edge)] * regimes.count
        ).x
        rho, inside, _ = root(climbed)
        rho = rho if inside else np.clip(climbed, -edge, edge)
    total, _ = ssr(rho)
    solved = linalg.solve_triangular(basis.R, onto @ [1.0, *-rho]) if Z.shape[1] else np.zeros(0)
    sigma2 = total * size**2 / N
    return RegimeMaximum(
        rho=rho,
        delta=solved * size / basis.scale,
        sigma2=sigma2,
        at_bound=not inside,
        gradient=float(np.abs(score(rho)).max()),
        log_likelihood=_log_likelihood(rho, sigma2, regimes, sample)
        if isinstance(regimes, Regimes)
        else np.nan,
    )


def _log_likelihood(rho: Array, sigma2: float, regimes: Regimes, sample: TransformedSample) -> float:
    """ln L; NaN with effects of periods, but for one ρ and rows of W with the sum one."""
    if regimes.timed and (regimes.count > 1 or np.abs(regimes.matrix.sum(axis=1) - 1).max() > ONE_SUM):
        return np.nan
    value = sample.periods * (regimes.solver(rho)[1] - regimes.timed * np.log(1 - rho[0]))
    return float(value - sample.observations / 2 * (np.log(2 * np.pi * sigma2) + 1))


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


# --- panels of any shape


@dataclass(frozen=True, eq=False)
class RowRegimes:
    """The regime of every row of a panel of any shape, each with a ρ of its own: S = I − (Σ_r ρ_r D_r)W, D_r rows.

    ``shape`` has a lag of y and none of the error, ``slot`` (N,) says which ρ a row has, of ``count``; ``bound`` is that on
    |ρ_r|. With M the annihilator of the effects ψ_r = (D_rWy)'ê/σ̂² − tr(M D_rG), which for M = (I − T⁻¹ιι') ⊗ J is the score
    of complete panels.
    """

    shape: Shape
    slot: NDArray[np.intp]
    count: int
    bound: float

    @property
    def weights(self) -> RowWeights:
        """W of all rows."""
        assert self.shape.W is not None, "there is a lag of y"
        return self.shape.W

    @cached_property
    def blocks(self) -> list[tuple[Regimes, list[slice]]]:
        """The units of a period, W among them and their regimes, with the rows of all periods that are alike."""
        found: dict[tuple[int, bytes], tuple[Regimes, list[slice]]] = {}
        for d, rows in self.weights.slices():
            slot = self.slot[rows]
            block = Regimes(self.weights.distinct[d], slot, self.count, False, self.bound)
            found.setdefault((d, slot.tobytes()), (block, []))[1].append(rows)
        return list(found.values())

    def filters(self, rho: Array) -> list[Array]:
        """G = WS⁻¹ of every block, dense."""
        return [block.matrix @ block.solver(rho)[0](np.eye(len(block.regime))) for block, _ in self.blocks]

    def solve(self, rho: Array, values: Array) -> Array:
        """S⁻¹v of rows (N,) or (N, m)."""
        out = np.empty_like(values)
        for block, periods in self.blocks:
            solve = block.solver(rho)[0]
            for rows in periods:
                out[rows] = solve(values[rows])
        return out

    def parts(self, values: Array) -> Array:
        """D_rv of rows (N,), (N, c)."""
        return values[:, None] * (self.slot[:, None] == np.arange(self.count))

    def height(self, rho: Array) -> float:
        """ln|S| by the share of the rows that effects leave, from which the search starts."""
        whole = sum(len(periods) * block.solver(rho)[1] for block, periods in self.blocks)
        return self.shape.free / len(self.slot) * whole

    def traces(self, rho: Array) -> Array:
        """tr(M D_rG) for every ρ."""
        effects, own = self.shape.effects, np.empty(len(self.slot))
        C, free = effects.others, 1 - effects.leverage
        for (_, periods), G in zip(self.blocks, self.filters(rho), strict=True):
            diagonal = G.diagonal()
            for rows in periods:
                own[rows] = free[rows] * diagonal - (C[rows] * (G @ C[rows])).sum(axis=1)
        return np.bincount(self.slot, weights=own, minlength=self.count).astype(float)


@dataclass(frozen=True, eq=False)
class RegimePoint(ShapePoint):
    """An estimate with a ρ for each regime, ``values`` (c,), and what its covariances are made of.

    As for one ρ, with F_r = D_rG and the derivatives M D_rG(mean) of the mean in each: Ω_rs = η_r'Mη_s/σ² + tr(F_r'MF_s) +
    tr(MF_rMF_s), 𝓗_rs the same with tr(MF_rF_s) last.
    """

    regimes: RowRegimes
    values: Array

    @property
    def rho(self) -> slice:
        """Where the ρ stand."""
        return slice(self.k, self.k + self.regimes.count)

    @property
    def places(self) -> dict[str, int]:
        """Where the ρ of each form stands."""
        return {f"rho {r}": self.k + r for r in range(self.regimes.count)}

    @property
    def active(self) -> list[int]:
        """All but λ."""
        return [*range(self.rho.stop), self.rho.stop + 1]

    @cached_property
    def BWy(self) -> Array:
        """M D_rWy (N, c)."""
        return self.found.at.off(self.regimes.parts(self.found.score.Wy))

    @cached_property
    def mean(self) -> Array:
        """M(D_rWy − F_rê) (N, c)."""
        moved = self.regimes.weights.matrix @ self.regimes.solve(self.values, self.found.e)
        return self.BWy - self.found.at.off(self.regimes.parts(moved))

    @cached_property
    def forms(self) -> dict[str, DenseForm]:
        """F_r of every ρ."""
        pairs = zip(self.regimes.blocks, self.regimes.filters(self.values), strict=True)
        known = {rows.start: G for (_, periods), G in pairs for rows in periods}
        out = {}
        for r, name in enumerate(self.places):
            inside = self.regimes.slot == r
            blocks = [
                (rows, inside[rows, None] * known[rows.start]) for _, rows in self.regimes.weights.slices()
            ]
            out[name] = DenseForm(blocks, self.space)
        return out

    @cached_property
    def traces(self) -> ShapeTraces:
        """Of every pair of ρ, (c, c); tr MF_r (c,)."""
        forms, q = [*self.forms.values()], self.found.at.regressors.Q
        pairs = [[one.traces(two, q) for two in forms] for one in forms]
        names = [name for name in pairs[0][0] if name != "f"]
        found: dict[str, Any] = {
            name: np.array([[pair[name] for pair in row] for row in pairs]) for name in names
        }
        return ShapeTraces(f=np.array([form.trace for form in forms]), **found)

    @property
    def whole(self) -> bool:
        """Whether all periods have the same units and W: the figures are then those of the transform."""
        return len(self.regimes.blocks) == 1

    @property
    def excess(self) -> Any:
        """Of effects alone where panels are complete."""
        return self.traces.excess_of_effects if self.whole else self.traces.excess

    @property
    def derivative(self) -> Array:
        """The expected one where panels are complete, else as observed."""
        return expected_derivative(self) if self.whole else observed_derivative(self)


def regime_point(
    regimes: RowRegimes, y: Array, start: Array | None = None
) -> tuple[RegimePoint, RegimeMaximum]:
    """The estimate from y (N,), and how the search ended: from ``start`` (c,), else from the estimate of one ρ for all."""
    shape = regimes.shape
    score, at = ShapeScore(shape, y), shape.at(0.0)
    lags = at.off(regimes.parts(score.Wy))
    sample = TransformedSample(
        len(np.unique(shape.unit)), len(shape.starts) - 1, shape.free, 1, False, shape.effects.rank
    )
    if start is None:
        start = np.full(regimes.count, shape_estimate(shape, y).rho)
    best = regime_maximum(at.off(y), lags, at.off(shape.Z), at.regressors, regimes, sample, start)
    e = at.residual(y - regimes.parts(score.Wy) @ best.rho)
    found = ShapeEstimate(score, np.nan, 0.0, best.delta, float(e @ e) / shape.free, e, not best.at_bound, ())
    return RegimePoint(found, regimes, best.rho), best
