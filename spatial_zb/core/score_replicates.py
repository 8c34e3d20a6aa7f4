"""Score tests of many samples at once: what :func:`spatial_zb.core.diagnostics.score_test` takes, with samples first.

As in :mod:`spatial_zb.core.replicates` the samples share Z and W, and G = W(I − ρW)⁻¹ = P diag(ω/(1 − ρω)) P⁻¹ serves
all their ρ and λ. tests/test_replicated_tests.py holds the statistics to those of single samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spatial_zb.core.covariance import Residuals
from spatial_zb.core.diagnostics import score_tests
from spatial_zb.core.replicates import Replicates, spectrum, trace_kernel
from spatial_zb.core.samples import SampleModel, Samples, transform_all
from spatial_zb.core.traces import NEAR, Traces

__all__ = ["replicated_score_tests"]

Array = NDArray[np.float64]


def replicated_score_tests(
    model: SampleModel, samples: Samples, at: Replicates, active: Sequence[Sequence[int]]
) -> list[Array]:
    """LM statistics (R,) of restricted estimates in larger models.

    Parameters
    ----------
    model
        With both spatial lags and all regressors that a larger model has.
    at
        Restricted estimates, ``delta`` (R, k) on the Z of ``model``.
    active
        For each larger model the positions in (δ, ρ, λ, σ²) of its parameters.
    """
    basis = spectrum(model.matrix)
    parts = _residuals(model, samples, at, basis)
    return score_tests(parts, _traces(model, at, basis), at.sigma2, model.sample, active)


def _residuals(
    model: SampleModel, samples: Samples, at: Replicates, basis: tuple[Array, Array, Array]
) -> Residuals:
    """As ``residual_arrays`` of one fit (models/ml.py)."""
    rho, lam = at.rho[:, None, None], at.lam[:, None, None]
    u = samples.y - rho * samples.Wy - _mean(model.Z, at.delta)
    Wu = samples.Wy - rho * samples.WWy - _mean(model.WZ, at.delta)
    BZ, BWy, e = model.Z, samples.Wy, u
    if at.lam.any():
        BZ, BWy, e = BZ - lam[..., None] * model.WZ, BWy - lam * samples.WWy, u - lam * Wu
    P, inverse, omega = basis
    # BG(mean) as B(Wy − Gu)
    g = omega * (1 - at.lam[:, None] * omega) / (1 - at.rho[:, None] * omega)
    BGm = transform_all(model, BWy - np.real((u @ inverse.T * g[:, None, :]) @ P.T))
    flat = (v.reshape(len(v), -1) for v in (BGm, BWy, Wu))
    rows = BZ.reshape(*BZ.shape[:-3], -1, BZ.shape[-1])
    return Residuals(rows, *flat, None, None, e.reshape(len(e), -1))


def _mean(Z: Array, delta: Array) -> Array:
    """Zδ (R, T, n)."""
    T, n, k = Z.shape
    return (delta @ Z.reshape(T * n, k).T).reshape(-1, T, n)


def _traces(model: SampleModel, at: Replicates, basis: tuple[Array, Array, Array]) -> Traces:
    """Traces (R,) of G and H; those of G'H are g'[P'JP ∘ (P⁻¹P⁻ᵀ)']h in the eigenbasis."""
    P, inverse, omega = basis
    logdet, centred = model.logdet, model.sample.centred
    own = [-logdet.first(c, centred) for c in (at.rho, at.lam)]
    squares = [-logdet.second(c, centred) for c in (at.rho, at.lam)]
    apart = at.rho - at.lam
    near = np.abs(apart) < NEAR
    middle = -logdet.second((at.rho + at.lam) / 2, centred)
    product = np.where(near, middle, (own[0] - own[1]) / np.where(near, 1.0, apart))
    kernel = trace_kernel(model, P, inverse)
    g, h = (omega / (1 - c[:, None] * omega) for c in (at.rho, at.lam))
    cross = [np.real(((a.conj() @ kernel) * b).sum(axis=1)) for a, b in ((g, g), (g, h), (h, h))]
    return Traces(*own, squares[0], product, squares[1], *cross, 0.0)
