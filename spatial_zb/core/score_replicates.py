"""Score tests of many samples at once: what :func:`spatial_zb.core.diagnostics.score_test` takes, with samples first.

As in :mod:`spatial_zb.core.replicates` the samples share Z and W, and G = W(I − ρW)⁻¹ = P diag(ω/(1 − ρω)) P⁻¹ serves
all their ρ and λ. tests/test_replicated_tests.py holds the statistics to those of single samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spatial_zb.core.covariance import Residuals
from spatial_zb.core.diagnostics import score_test
from spatial_zb.core.replicates import SampleModel, lag_all, spectrum, transform_all
from spatial_zb.core.traces import NEAR, Traces

__all__ = ["Restricted", "score_tests"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Restricted:
    """Restricted estimates of R samples in a larger model: ``delta`` (R, k) on its Z, ``rho``, ``lam``, ``sigma2`` (R,)."""

    delta: Array
    rho: Array
    lam: Array
    sigma2: Array


def score_tests(model: SampleModel, Y: Array, at: Restricted) -> Array:
    """LM statistics (R,) of restricted estimates of samples Y (R, T, n) in the larger ``model``."""
    k = model.Z.shape[2]
    active = [*range(k), *([k] if model.lag_y else []), *([k + 1] if model.lag_error else []), k + 2]
    basis = spectrum(model.matrix)
    return score_test(
        _residuals(model, Y, at, basis), _traces(model, at, basis), at.sigma2, model.sample, active
    )


def _residuals(model: SampleModel, Y: Array, at: Restricted, basis: tuple[Array, Array, Array]) -> Residuals:
    """As ``residual_arrays`` of the fits; arrays of a model without a spatial error are those at λ = 0."""
    R, T, n = Y.shape
    Wy_raw = lag_all(model.matrix, Y)
    y, Wy = transform_all(model, Y), transform_all(model, Wy_raw)
    rho, lam = at.rho[:, None, None], at.lam[:, None, None]
    u = y - rho * Wy - _mean(model.Z, at.delta)
    BZ, BWy, Wu = model.Z.reshape(T * n, -1), Wy, np.zeros_like(u)
    if model.lag_error:
        WWy = transform_all(model, lag_all(model.matrix, Wy_raw))
        BWy, Wu = Wy - lam * WWy, Wy - rho * WWy - _mean(model.WZ, at.delta)
        if at.lam.any():
            BZ = BZ - lam * model.WZ.reshape(T * n, -1)
    P, inverse, omega = basis
    # BG(mean) as B(Wy − Gu), as in models/ml.py
    g = omega * (1 - at.lam[:, None] * omega) / (1 - at.rho[:, None] * omega)
    BGm = transform_all(model, BWy - np.real((u @ inverse.T * g[:, None, :]) @ P.T))
    flat = (v.reshape(R, T * n) for v in (BGm, BWy, Wu, u - lam * Wu))
    BGm, BWy, Wu, e = flat
    return Residuals(BZ, BGm, BWy, Wu, None, None, e)


def _mean(Z: Array, delta: Array) -> Array:
    """Zδ (R, T, n)."""
    T, n, k = Z.shape
    return (delta @ Z.reshape(T * n, k).T).reshape(-1, T, n)


def _traces(model: SampleModel, at: Restricted, basis: tuple[Array, Array, Array]) -> Traces:
    """Traces (R,) of G and H; those of G'H are g'[P'JP ∘ (P⁻¹P⁻ᵀ)']h in the eigenbasis."""
    P, inverse, omega = basis
    logdet, centred = model.logdet, model.sample.centred
    first = [-logdet.first(c, centred) for c in (at.rho, at.lam)]
    gg, hh = (-logdet.second(c, centred) for c in (at.rho, at.lam))
    apart = at.rho - at.lam
    near = np.abs(apart) < NEAR
    middle = -logdet.second((at.rho + at.lam) / 2, centred)
    gh = np.where(near, middle, (first[0] - first[1]) / np.where(near, 1.0, apart))
    left = P - P.mean(axis=0) if centred else P
    kernel = (left.conj().T @ left) * (inverse @ inverse.conj().T).T
    g, h = (omega / (1 - c[:, None] * omega) for c in (at.rho, at.lam))
    cross = [np.real(((a.conj() @ kernel) * b).sum(axis=1)) for a, b in ((g, g), (g, h), (h, h))]
    return Traces(*first, gg, gh, hh, *cross, 0.0)
