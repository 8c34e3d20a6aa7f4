"""The likelihood of a model with fixed effects at an estimate, and the covariances that are made of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.base.errors import SpecificationError
from spatial_zb.core import Array
from spatial_zb.core.clusters import Clusters, clusters_of
from spatial_zb.core.likelihood import Maximum
from spatial_zb.core.likelihood.covariance import (
    Residuals,
    bartlett_bandwidth,
    driscoll_kraay_meat,
    few_clusters_meat,
    hessian,
    information,
    inverse_or_nan,
    mean_overlap,
    overlap_kernel,
    robust_covariance,
    sandwich_meat,
    scaled_pairs,
    unit_meat,
)
from spatial_zb.core.logdet.entries import QuadraticForms
from spatial_zb.core.logdet.traces import Solver, Traces, filter_solver, filter_traces
from spatial_zb.core.transforms import (
    TransformedSample,
    demean,
    spatial_lag,
)
from spatial_zb.models.design import Design, stacked
from spatial_zb.models.spec import (
    CLUSTERED,
    Covariance,
    DurbinSpec,
    Estimator,
    corrects_leverage,
)
from spatial_zb.weights.matrix import Weights

#: Mean entry of a kernel above which spatial HAC is refused: what it sums over cancels.
WIDEST_OVERLAP = 0.5
#: A derivative of the mean in ρ of at most this share of BWy is rounding: without regressors there is none.
ROUNDING = 1e-10


@dataclass(frozen=True)
class Evaluated:
    """A likelihood at an estimate: what the covariance, the record and the notes are made of."""

    design: Design
    estimator: Estimator
    best: Maximum
    sample: TransformedSample
    traces: Traces
    parts: Residuals

    @cached_property
    def clusters(self) -> Clusters:
        """What effects and the regressors [BZ, BGm] left of the residuals of each unit; BGm where there is ρ."""
        parts, spec = self.parts, self.design.spec
        slope = parts.BGm * (np.linalg.norm(parts.BGm) > ROUNDING * np.linalg.norm(parts.BWy))
        columns = [parts.BZ, *([slope[:, None]] if spec.lag_y else [])]
        return clusters_of(
            np.hstack(columns).reshape(*self.design.y.shape, len(columns[0].T) + bool(spec.lag_y)),
            spec.transform,
        )


def evaluated(design: Design, estimator: Estimator, best: Maximum, sample: TransformedSample) -> Evaluated:
    """Traces, residuals and their derivatives at an estimate; I − ρ̂W is factorised once."""
    spec, W = design.spec, design.weights
    solve = filter_solver(W.matrix, best.rho) if spec.lag_y and best.rho else None
    traces = Traces(*[0.0] * 9)
    if spec.spatial_terms:
        traces = filter_traces(W.matrix, W.logdet, best.rho, best.lam, sample.centred, solve)
    return Evaluated(design, estimator, best, sample, traces, residual_arrays(design, best, solve))


def residual_arrays(design: Design, best: Maximum, solve: Solver | None = None) -> Residuals:
    """ε and its derivatives at the estimate, stacked, from the transformed design.

    ``solve`` is the :func:`filter_solver` at ρ̂, where there is one already.
    """
    spec, W = design.spec, design.weights.matrix
    rho, lam, delta = best.rho, best.lam, best.delta
    u = design.y - rho * design.Wy - design.Z @ delta
    lags: tuple[Array, Array] | tuple[None, None]
    if design.WZ is None:
        BZ, BWy, Wu, lags = design.Z, design.Wy, np.zeros_like(u), (None, None)
    else:
        WZ, WWy = design.lags
        BZ, BWy = design.Z - lam * WZ, design.Wy - lam * WWy
        Wu = design.Wy - rho * WWy - WZ @ delta
        lags = stacked(WZ), stacked(WWy)
    BGm = (
        # BG(mean) as B(Wy − Gu): the dummies are part of the mean, and JGι is zero only when Wι = ι.
        demean(BWy - filtered_mean(W, u, rho, lam, solve), spec.transform) if spec.lag_y else np.zeros_like(u)
    )
    return Residuals(
        stacked(BZ), stacked(BGm), stacked(BWy), stacked(Wu), lags[0], lags[1], stacked(u - lam * Wu)
    )


def filtered_mean(
    W, mean: NDArray[np.float64], rho: float, lam: float, solve: Solver | None = None
) -> NDArray[np.float64]:
    """(I − λW) W (I − ρW)⁻¹ applied to the mean of every period, (T, n)."""
    solve = solve or (filter_solver(W, rho) if rho else lambda right: right)
    solved = spatial_lag(W, solve(mean.T).T)
    return solved - lam * spatial_lag(W, solved) if lam else solved


@dataclass(frozen=True, slots=True, eq=False)
class Certainty:
    """A covariance of (δ, [ρ], [λ], σ²), and whether it exists.

    ``overlap``: :func:`hac_overlap` of its kernel. ``probe_error``: the largest relative standard error that random signs
    leave in a standard error, zero where it is exact.
    """

    cov: NDArray[np.float64]
    exists: bool
    overlap: float = 0.0
    probe_error: float = 0.0


def likelihood_covariance(at: Evaluated, kind: Covariance, bandwidth: int | None = None) -> Certainty:
    """Covariance of an estimate by its likelihood.

    The bread of a robust one is the observed information, which the dependence that it allows does not bias; that
    of ``"sandwich"`` the expected one.
    """
    if bandwidth is None:
        bandwidth = bartlett_bandwidth(at.sample.n_periods) if kind == "driscoll_kraay" else 1
    overlap, active = hac_overlap(at.design, kind, bandwidth), estimated(at.design.spec)
    if at.best.at_bound:
        return Certainty(np.full((len(active), len(active)), np.nan), False, overlap)
    expected, chosen = kind in ("information", "sandwich"), np.ix_(active, active)
    matrix = (information if expected else hessian)(at.parts, at.traces, at.best.sigma2, at.sample)
    if kind in ("information", "hessian"):
        return Certainty(*inverse_or_nan(matrix[chosen]), overlap, at.traces.probe_error * expected)
    meat, error = _meat(at, kind, matrix, bandwidth)
    cov, exists = robust_covariance(matrix[chosen], meat[chosen])
    probed = at.traces.probe_error * expected + probe_error(
        cov, inverse_or_nan(matrix[chosen])[0], error[chosen]
    )
    return Certainty(cov, exists, overlap, probed)


def probe_error(cov: Array, bread: Array, error: Array) -> float:
    """Largest relative standard error of a standard error when those of the meat are ``error`` and go together."""
    if not error.any():
        return 0.0
    return float(np.max(np.einsum("ab,bc,ca->a", abs(bread), error, abs(bread)) / (2 * cov.diagonal())))


def estimated(spec: DurbinSpec) -> list[int]:
    """Which of (δ, ρ, λ, σ²) are estimated."""
    k = len(spec.terms)
    return [*range(k), *([k] if spec.lag_y else []), *([k + 1] if spec.lag_error else []), k + 2]


def _meat(at: Evaluated, kind: str, matrix: Array, bandwidth: int) -> tuple[Array, Array]:
    """Variance of the score, (k + 3, k + 3), and the standard errors that random signs leave in it."""
    design, parts, best = at.design, at.parts, at.best
    probed = np.zeros(matrix.shape)
    spec, W, shape = design.spec, design.weights, design.y.shape
    if kind == "driscoll_kraay":
        return driscoll_kraay_meat(parts, best.sigma2, shape, bandwidth), probed
    centred = spec.transform in ("time", "two_way")
    spatial = bool(spec.spatial_terms)
    tree = W.dissection if spatial else None
    forms = QuadraticForms(W.matrix, (best.rho, best.lam), centred, tree)
    own = forms.own if spatial else np.zeros((2, shape[1]))
    if kind == "sandwich":
        return sandwich_meat(parts, matrix, best.sigma2, shape, spec.transform, own), probed
    e, few = parts.e.reshape(shape), corrects_leverage(kind, shape[1])
    pairs, error = np.zeros((2, 3, 3))
    if spatial:
        pairs, error = forms.pair_squares(at.clusters.adjusted(e) if few else e)
    probed[-3:, -3:] = scaled_pairs(error, best.sigma2)
    if few:
        columns = np.column_stack([parts.BZ, parts.BGm, np.zeros(e.size)])
        return few_clusters_meat(columns, e, best.sigma2, own, pairs, at.clusters), probed
    root = _hac_root(design.weights, bandwidth) if kind == "spatial_hac" else None
    return unit_meat(parts, best.sigma2, shape, at.sample.observations, own, pairs, root), probed


def hac_overlap(design: Design, covariance: Covariance, bandwidth: int) -> float:
    """Mean entry of the kernel of a covariance that sums over pairs of units; zero for others."""
    if covariance == "spatial_hac":
        return mean_overlap(overlap_kernel(design.weights.matrix, bandwidth))
    return 0.0


def _hac_root(weights: Weights, bandwidth: int) -> sparse.csr_array:
    """Root of the kernel of spatial HAC; refused where it covers so many pairs that scores, which sum to zero, cancel."""
    root = overlap_kernel(weights.matrix, bandwidth)
    share = mean_overlap(root)
    if share > WIDEST_OVERLAP:
        raise SpecificationError(
            f'covariance="spatial_hac": neighbourhoods of {bandwidth} link(s) of {weights.label!r} overlap by '
            f"{share:.0%} on average, and what it sums over them cancels. Use a smaller bandwidth, or covariance="
            '"cluster".',
            f'covariance="spatial_hac"：{weights.label!r}上{bandwidth}步之内的邻域平均重叠{share:.0%}，'
            '其求和会相互抵消。请用较小的bandwidth，或covariance="cluster"。',
        )
    return root


def least_squares(
    sample: TransformedSample, k: int, sigma2: float, cov: NDArray[np.float64], corrected: bool = False
) -> tuple[float, NDArray[np.float64], int]:
    """s² and the covariance of (δ̂, s²) with the degrees of freedom N − k, and these.

    ``corrected``: a covariance that has the leverage of regressors in it needs no such factor.
    """
    df = sample.n_units * sample.n_periods - sample.absorbed - k
    inflate = sample.observations / df
    if not corrected:
        cov = cov * inflate
    scale = np.append(np.ones(len(cov) - 1), inflate)  # Var(s²) = 2σ⁴/df
    return sigma2 * inflate, cov * np.outer(scale, scale), df


def degrees_of(covariance: str, units: int, classical: int | None = None) -> int | None:
    """Degrees of freedom of statistics: clusters less one, at most those of least squares; None where they are normal."""
    return min(units - 1, classical or units) if covariance in CLUSTERED else classical
