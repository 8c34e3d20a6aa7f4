"""Fixed effects: (quasi) maximum likelihood of the transformed data."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.base.errors import SpecificationError
from spatial_zb.base.text import Text
from spatial_zb.core.likelihood import Maximum, maximise
from spatial_zb.core.likelihood.covariance import (
    Residuals,
    bartlett_bandwidth,
    bartlett_overlap,
    driscoll_kraay_meat,
    filter_diagonals,
    hessian,
    information,
    inverse_or_nan,
    mean_overlap,
    overlap_kernel,
    pair_squares,
    robust_covariance,
    sandwich_meat,
    unit_meat,
)
from spatial_zb.core.logdet import NoLag
from spatial_zb.core.logdet.traces import Solver, Traces, filter_solver, filter_traces
from spatial_zb.core.transforms import (
    CrossProducts,
    TransformedSample,
    cross_products,
    demean,
    spatial_lag,
    transformed_sample,
)
from spatial_zb.data.panel import Panel
from spatial_zb.models.design import Design, build_design, stacked
from spatial_zb.models.fit import Fit, term_index
from spatial_zb.models.notes import (
    EXCHANGEABLE,
    GNS_WEAK,
    NOT_POSITIVE,
    PERIODS,
    UNITS,
    few_clusters,
    fit_words,
    many_peaks,
    warn_together,
    wide_kernel,
)
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.weights.matrix import Weights

#: Up to this many units the size of n itself is worth a warning (docs/validation/study.md: n = 11 covers 90–94 %).
SMALL_N = 30


#: With fewer clusters (units, or periods for Driscoll-Kraay) robust standard errors are too small.
FEW_CLUSTERS = 10
#: Mean entry of a kernel above which its standard errors are said to be small, and spatial HAC is refused.
WIDE_OVERLAP, WIDEST_OVERLAP = 0.2, 0.5


def fit_ml(
    spec: DurbinSpec,
    panel: Panel,
    weights: Weights,
    estimator: str,
    covariance: str,
    bandwidth: int | None = None,
) -> Fit:
    """Estimate by maximum likelihood after the Lee-Yu transform (``lee_yu``) or with dummies (``direct``)."""
    design = build_design(spec, panel, weights)
    T, n = design.y.shape
    sample = transformed_sample(n, T, spec.transform, estimator)
    best = maximise(
        cross_products_of(design),
        weights.logdet if spec.spatial_terms else NoLag(),
        sample,
        spec.lag_y,
        spec.lag_error,
    )
    solve = filter_solver(weights.matrix, best.rho) if spec.lag_y and best.rho else None
    traces = traces_at(spec, weights, best, sample, solve)
    parts = residual_arrays(design, best, solve)
    if bandwidth is None:
        bandwidth = bartlett_bandwidth(T) if covariance == "driscoll_kraay" else 1
    cov, positive = likelihood_covariance(covariance, parts, traces, best, sample, design, bandwidth)
    converged = positive and not best.at_bound
    overlap = hac_overlap(weights, covariance, bandwidth, T)
    say_what_matters(spec, weights, estimator, covariance, best, n, T, positive, overlap)
    return assembled(spec, panel, design, estimator, covariance, best, sample, parts, cov, converged, traces)


def cross_products_of(design: Design) -> CrossProducts:
    """What the likelihood knows of the data."""
    lagged = None
    if design.WZ is not None:
        lagged = stacked(design.WZ), stacked(design.Wy), stacked(design.WWy)
    Z, y, Wy = map(stacked, (design.Z, design.y, design.Wy))
    return cross_products(Z, y, Wy, lagged, design.basis)


def traces_at(
    spec: DurbinSpec, weights: Weights, best: Maximum, sample: TransformedSample, solve: Solver | None
) -> Traces:
    """Traces of G and H at the estimate; ``solve`` is the :func:`filter_solver` at ρ̂, where there is one."""
    if not spec.spatial_terms:
        return Traces(*[0.0] * 9)
    return filter_traces(weights.matrix, weights.logdet, best.rho, best.lam, sample.centred, solve)


def residual_arrays(design: Design, best: Maximum, solve: Solver | None = None) -> Residuals:
    """ε and its derivatives at the estimate, stacked, from the transformed design.

    ``solve`` is the :func:`filter_solver` at ρ̂, where there is one already.
    """
    spec, W = design.spec, design.weights.matrix
    rho, lam, delta = best.rho, best.lam, best.delta
    u = design.y - rho * design.Wy - design.Z @ delta
    if design.WZ is None:
        BZ, BWy, Wu, WZ, WWy = design.Z, design.Wy, np.zeros_like(u), None, None
    else:
        BZ, BWy = design.Z - lam * design.WZ, design.Wy - lam * design.WWy
        Wu = design.Wy - rho * design.WWy - design.WZ @ delta
        WZ, WWy = stacked(design.WZ), stacked(design.WWy)
    BGm = (
        # BG(mean) as B(Wy − Gu): the dummies are part of the mean, and JGι is zero only when Wι = ι.
        demean(BWy - filtered_mean(W, u, rho, lam, solve), spec.transform) if spec.lag_y else np.zeros_like(u)
    )
    arrays = (BZ, BGm, BWy, Wu)
    return Residuals(*map(stacked, arrays), WZ, WWy, stacked(u - lam * Wu))


def filtered_mean(
    W, mean: NDArray[np.float64], rho: float, lam: float, solve: Solver | None = None
) -> NDArray[np.float64]:
    """(I − λW) W (I − ρW)⁻¹ applied to the mean of every period, (T, n)."""
    solve = solve or (filter_solver(W, rho) if rho else lambda right: right)
    solved = spatial_lag(W, solve(mean.T).T)
    return solved - lam * spatial_lag(W, solved) if lam else solved


def likelihood_covariance(
    kind: str,
    parts: Residuals,
    traces: Traces,
    best: Maximum,
    sample: TransformedSample,
    design: Design,
    bandwidth: int,
) -> tuple[NDArray[np.float64], bool]:
    """Covariance of (δ, [ρ], [λ], σ²), and whether it exists.

    The bread of a robust one is the observed information, which the dependence that it allows does not bias; that
    of ``"sandwich"`` the expected one.
    """
    spec, k = design.spec, parts.BZ.shape[1]
    active = [*range(k), *([k] if spec.lag_y else []), *([k + 1] if spec.lag_error else []), k + 2]
    chosen = np.ix_(active, active)
    if best.at_bound:
        return np.full((len(active), len(active)), np.nan), False
    expected = kind in ("information", "sandwich")
    matrix = (information if expected else hessian)(parts, traces, best.sigma2, sample)
    if kind in ("information", "hessian"):
        return inverse_or_nan(matrix[chosen])
    meat = _meat(kind, parts, matrix, best, sample, design, bandwidth)
    return robust_covariance(matrix[chosen], meat[chosen])


def _meat(
    kind: str,
    parts: Residuals,
    matrix: NDArray[np.float64],
    best: Maximum,
    sample: TransformedSample,
    design: Design,
    bandwidth: int,
) -> NDArray[np.float64]:
    """Variance of the score, (k + 3, k + 3)."""
    spec, W, shape = design.spec, design.weights.matrix, design.y.shape
    if kind == "driscoll_kraay":
        return driscoll_kraay_meat(parts, best.sigma2, shape, bandwidth)
    centred = spec.transform in ("time", "two_way")
    forms = (W, best.rho, best.lam, centred)
    own = filter_diagonals(*forms) if spec.spatial_terms else np.zeros((2, shape[1]))
    if kind == "sandwich":
        return sandwich_meat(parts, matrix, best.sigma2, shape, spec.transform, own)
    root = _hac_root(design.weights, bandwidth) if kind == "spatial_hac" else None
    pairs = pair_squares(*forms, parts.e.reshape(shape)) if spec.spatial_terms else np.zeros((2, 2))
    return unit_meat(parts, best.sigma2, shape, sample.observations, own, pairs, root)


def hac_overlap(weights: Weights, covariance: str, bandwidth: int, periods: int) -> float:
    """Mean entry of the kernel of a covariance that sums over pairs of units or of periods; zero for others."""
    if covariance == "driscoll_kraay":
        return bartlett_overlap(periods, bandwidth)
    return mean_overlap(overlap_kernel(weights.matrix, bandwidth)) if covariance == "spatial_hac" else 0.0


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


def assembled(
    spec: DurbinSpec,
    panel: Panel,
    design: Design,
    estimator: str,
    covariance: str,
    best: Maximum,
    sample: TransformedSample,
    parts: Residuals,
    cov: NDArray[np.float64],
    converged: bool,
    traces: Traces,
) -> Fit:
    """The record of a fit, with classical degrees of freedom where no spatial coefficient is estimated."""
    T, n = design.y.shape
    k = len(spec.terms)
    spatial = [value for value, on in ((best.rho, spec.lag_y), (best.lam, spec.lag_error)) if on]
    df = None
    sigma2 = best.sigma2
    if not spec.spatial_terms:  # ordinary least squares: classical degrees of freedom
        df = n * T - sample.absorbed - k
        inflate = sample.observations / df
        sigma2, cov = sigma2 * inflate, cov * inflate
        cov[-1, -1] *= inflate**2  # Var(s²) = 2σ⁴/df
        df = min(df, {"cluster": n - 1, "driscoll_kraay": T - 1}.get(covariance, df))
    index = term_index((*spec.terms, *spec.spatial_terms, "sigma2"))
    return Fit(
        spec=spec,
        weights=design.weights,
        panel=panel,
        design=design,
        estimator=estimator,
        covariance=covariance,
        params=pd.Series(np.array([*best.delta, *spatial, sigma2]), index=index, name="estimate"),
        cov=pd.DataFrame(cov, index=index, columns=index),
        log_likelihood=best.log_likelihood,
        nobs=sample.observations,
        absorbed=sample.absorbed,
        residuals=parts.e.reshape(T, n),
        df_resid=df,
        convergence={
            "converged": converged,
            "at_bound": best.at_bound,
            "gradient": best.gradient,
            "modes": best.modes,
            "probe_error": traces.probe_error,
        },
    )


def _interval_of(spec: DurbinSpec, estimator: str) -> Text:
    """What gives an interval where there is no standard error, as the end of a sentence."""
    if spec.dynamic:
        return Text("", "")
    name = "median_unbiased" if estimator == "lee_yu" else "profile_interval"
    return Text(f"; zb.{name}(fit) needs none", f"；zb.{name}(fit)不依赖标准误")


def say_what_matters(
    spec: DurbinSpec,
    weights: Weights,
    estimator: str,
    covariance: str,
    best: Maximum,
    n: int,
    T: int,
    positive: bool,
    overlap: float = 0.0,
) -> None:
    """Warn once of what a reader of this fit should know; ``overlap`` is that of :func:`hac_overlap`."""
    notes: list[Text] = []
    clusters = {"cluster": (n, UNITS), "spatial_hac": (n, UNITS), "driscoll_kraay": (T, PERIODS)}
    if covariance in clusters and clusters[covariance][0] < FEW_CLUSTERS:
        number, what = clusters[covariance]
        notes.append(few_clusters(number, what, covariance))
    if overlap > WIDE_OVERLAP:
        notes.append(wide_kernel(overlap, clusters[covariance][1], covariance))
    if best.at_bound:
        low, high = weights.logdet.interval
        needless = _interval_of(spec, estimator)
        notes.append(
            Text(
                f"the likelihood still rises at the end of the admissible interval ({low:.3f}, {high:.3f}): there is no "
                f"interior maximum and no standard error is claimed{needless.en}",
                f"似然函数在容许区间({low:.3f}, {high:.3f})的端点处仍在上升：没有内点极大值，不给出标准误"
                f"{needless.zh}",
            )
        )
    elif not positive:
        notes.append(NOT_POSITIVE)
    if best.exchangeable:
        notes.append(EXCHANGEABLE)
    if len(best.modes) > 1:
        shown = "; ".join(f"ρ = {r:.3f}, λ = {s:.3f}, ln L = {v:.3f}" for r, s, v in best.modes)
        notes.append(many_peaks(len(best.modes), shown))
    if spec.family == "GNS":
        notes.append(GNS_WEAK)
    if estimator == "direct" and spec.fixed_effects in ("time", "two_way") and spec.spatial_terms:
        notes.append(
            Text(
                "direct ML with time effects is biased towards negative ρ; lee_yu is not",
                "含时间效应的直接极大似然使ρ偏向负值，lee_yu则不会",
            )
        )
    if n <= SMALL_N and spec.spatial_terms:
        exact = estimator == "lee_yu" and not spec.dynamic and len(spec.spatial_terms) == 1
        beside = "zb.median_unbiased(fit)" if exact else "zb.bootstrap(fit)"
        notes.append(
            Text(
                f"only {n} units ({n * T} unit-periods): read standard errors as approximate, beside {beside} "
                "(docs/validation/study.md)",
                f"仅{n}个地区（{n * T}个观测值），标准误只是近似值，请与{beside}对照（docs/validation/study.md）",
            )
        )
    warn_together(fit_words(spec.family, spec.y, weights.label), notes, stacklevel=4)
