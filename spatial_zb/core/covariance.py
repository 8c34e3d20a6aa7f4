r"""Covariances of the maximum-likelihood estimator; parameters are ordered (δ, ρ, λ, σ²).

References: Anselin (1988), Spatial Econometrics, §6.3; Lee & Yu (2010), J. Econometrics 154, eqs 12 and 27.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from spatial_zb.core.traces import Traces
from spatial_zb.core.within import TransformedSample

__all__ = ["Residuals", "hessian", "information", "inverse_or_nan"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Residuals:
    """The stacked, transformed arrays a covariance looks at, all evaluated at the estimate; M rows.

    ``BZ`` (M, k) filtered regressors; ``BGm`` (M,) B·G·Zδ, the derivative of the mean in ρ; ``BWy`` (M,);
    ``Wu`` (M,) lag of u = Ay − Zδ; ``WZ`` (M, k) and ``WWy`` (M,) needed with an error process, else None;
    ``e`` (M,) ε = Bu.
    """

    BZ: Array
    BGm: Array
    BWy: Array
    Wu: Array
    WZ: Array | None
    WWy: Array | None
    e: Array


def information(r: Residuals, traces: Traces, sigma2: float, sample: TransformedSample) -> Array:
    """Expected information (k + 3, k + 3) of (δ, ρ, λ, σ²); rows of coefficients held at zero are to be cut."""
    k, T, t = r.BZ.shape[1], sample.periods, traces
    info = np.zeros((k + 3, k + 3))
    info[:k, :k] = r.BZ.T @ r.BZ / sigma2
    info[:k, k] = info[k, :k] = r.BZ.T @ r.BGm / sigma2
    info[k, k] = r.BGm @ r.BGm / sigma2 + T * (t.gg + t.gtg)
    info[k, k + 1] = info[k + 1, k] = T * (t.gh + t.gth)
    info[k + 1, k + 1] = T * (t.hh + t.hth)
    info[k, k + 2] = info[k + 2, k] = T * t.g / sigma2
    info[k + 1, k + 2] = info[k + 2, k + 1] = T * t.h / sigma2
    info[k + 2, k + 2] = sample.observations / (2 * sigma2**2)
    return info


def hessian(r: Residuals, traces: Traces, sigma2: float, sample: TransformedSample) -> Array:
    """Observed information, −∂² ln L, (k + 3, k + 3) of (δ, ρ, λ, σ²), analytic."""
    k, T = r.BZ.shape[1], sample.periods
    slopes = np.column_stack([r.BZ, r.BWy, r.Wu])  # −∂ε/∂(δ, ρ, λ)
    out = np.zeros((k + 3, k + 3))
    out[:-1, :-1] = slopes.T @ slopes / sigma2
    out[k, k] += T * traces.gg
    out[k + 1, k + 1] += T * traces.hh
    if r.WZ is not None:
        cross = np.append(r.WZ.T @ r.e, r.WWy @ r.e) / sigma2  # ε'∂²ε/∂λ∂(δ, ρ)
        out[: k + 1, k + 1] += cross
        out[k + 1, : k + 1] += cross
    out[:-1, -1] = out[-1, :-1] = slopes.T @ r.e / sigma2**2
    out[-1, -1] = r.e @ r.e / sigma2**3 - sample.observations / (2 * sigma2**2)
    return out


def inverse_or_nan(information_matrix: Array) -> tuple[Array, bool]:
    """Invert a positive definite matrix after scaling its diagonal to one; NaN and False when it is not.

    Never a pseudo-inverse: a covariance that does not exist is not repaired.
    """
    diagonal = np.diag(information_matrix)
    if not (np.all(np.isfinite(information_matrix)) and np.all(diagonal > 0)):
        return np.full_like(information_matrix, np.nan), False
    scale = 1 / np.sqrt(diagonal)
    try:
        factor = linalg.cho_factor(information_matrix * np.outer(scale, scale))
    except linalg.LinAlgError:
        return np.full_like(information_matrix, np.nan), False
    return linalg.cho_solve(factor, np.eye(len(scale))) * np.outer(scale, scale), True
