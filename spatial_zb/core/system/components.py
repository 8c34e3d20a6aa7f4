"""Error-components two- and three-stage least squares of a system with random unit effects (EC2SLS, EC3SLS).

u_g,it = μ_g,i + ν_g,it with Cov(μ_i) = Σ_μ and Cov(ν_it) = Σ_ν between equations. Forward deviations of every unit
and √T times its mean are two strata without covariance, with noise Σ_ν and Σ_1 = Σ_ν + TΣ_μ, so that

    δ̂ = [Σ_s A_s'(Σ_s⁻¹⊗I)A_s]⁻¹ Σ_s A_s'(Σ_s⁻¹⊗I)H_s'y_s,   s = within, between,   A_s = H_s'Z_s.

Instruments are projected stratum by stratum: the set [QH, PH] of Baltagi.

References: Baltagi (1981), J. Econometrics 17: 189-200; Baltagi & Deng (2015), Econometric Reviews 34: 658-693.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from spatial_zb.core import Array
from spatial_zb.core.system import SystemArrays
from spatial_zb.core.system.identification import Covariance
from spatial_zb.core.system.instrumental import scaled_inverse, weighted_blocks
from spatial_zb.core.system.moments import by_unit, forward_deviations, independent_columns, white
from spatial_zb.core.transforms import transformed_sample

#: What a transform leaves of a column when it takes all of it, relative to what was there.
GONE = 1e-9


@dataclass(frozen=True, slots=True)
class Strata:
    """The system within units (M = n(T−1) rows) and between them (n rows); absorbed columns are zero within."""

    within: SystemArrays
    between: SystemArrays


@dataclass(frozen=True, slots=True)
class ComponentsEstimate:
    """δ̂ (K,), its covariance (K, K), Σ_ν and Σ_μ (m, m), and the arrays scaled equation by equation.

    2SLS of ``scaled`` is EC2SLS: rows within over √Σ_ν,gg, rows between over √Σ_1,gg, instruments apart.
    """

    delta: Array
    cov: Array
    sigma_noise: Array
    sigma_unit: Array
    scaled: SystemArrays


def split_strata(arrays: SystemArrays, instruments: Array, periods: int) -> Strata:
    """Transform raw rows (n·T, …) and raw instruments (n·T, q) into the two strata."""
    n = arrays.sample.n_units

    def within(values: Array) -> Array:
        cube = values.reshape(periods, n, -1)
        out = forward_deviations(cube, "unit")
        gone = np.abs(out).max(axis=(0, 1)) <= GONE * np.abs(cube).max(axis=(0, 1))
        return np.where(gone, 0.0, out).reshape(-1, cube.shape[2])

    def between(values: Array) -> Array:
        return np.sqrt(periods) * values.reshape(periods, n, -1).mean(axis=0)

    samples = transformed_sample(n, periods, "unit", "lee_yu"), transformed_sample(n, 1, "none", "lee_yu")
    parts = [
        replace(
            arrays,
            y=turn(arrays.y),
            Z=tuple(turn(block) for block in arrays.Z),
            H=_orthonormal(turn(instruments)),
            sample=sample,
        )
        for turn, sample in zip((within, between), samples, strict=True)
    ]
    return Strata(*parts)


def _orthonormal(columns: Array) -> Array:
    kept = columns[:, independent_columns(np.empty((len(columns), 0)), columns)]
    return np.linalg.qr(kept / np.sqrt((kept**2).sum(axis=0)))[0]


def error_components(strata: Strata, joint: bool, kind: Covariance) -> ComponentsEstimate:
    """EC2SLS, or EC3SLS when ``joint``; variance components from 2SLS within and 2SLS between units."""
    within, between = strata.within, strata.between
    n, T = within.sample.n_units, within.sample.n_periods
    e_w, e_b = _two_stage_residuals(within), _two_stage_residuals(between)
    spare = np.sqrt([n - block.shape[1] for block in between.Z])
    noise = e_w.T @ e_w / within.sample.observations
    mean = e_b.T @ e_b / np.outer(spare, spare)
    parts = [(within, noise), (between, mean)]
    weights = [scaled_inverse(s) if joint else np.diag(1 / np.diag(s)) for _, s in parts]
    A = [[arrays.H.T @ block for block in arrays.Z] for arrays, _ in parts]
    bread: Array = np.sum([weighted_blocks(a, w) for a, w in zip(A, weights, strict=True)], axis=0)
    right = sum(_right(arrays, a, w) for (arrays, _), a, w in zip(parts, A, weights, strict=True))
    inverse = scaled_inverse(bread)
    delta = inverse @ right
    if kind == "classical":
        inner = [w @ s @ w for (_, s), w in zip(parts, weights, strict=True)]
        meat = sum(weighted_blocks(a, c) for a, c in zip(A, inner, strict=True))
    else:
        scores = np.vstack(
            [_scores(arrays, a, w, delta) for (arrays, _), a, w in zip(parts, A, weights, strict=True)]
        )
        meat = _robust_meat(scores, n, kind)
    cov = inverse @ meat @ inverse
    scaled = _scaled(strata, np.sqrt(np.diag(noise)), np.sqrt(np.diag(mean)))
    return ComponentsEstimate(delta, (cov + cov.T) / 2, noise, (mean - noise) / T, scaled)


def _two_stage_residuals(arrays: SystemArrays) -> Array:
    """2SLS residuals equation by equation, on the columns that the stratum has."""
    out = np.empty_like(arrays.y)
    for g, Z in enumerate(arrays.Z):
        size = np.sqrt((Z**2).sum(axis=0))
        there = Z[:, size > 0] / size[size > 0]
        coefficient = linalg.lstsq(arrays.H.T @ there, arrays.H.T @ arrays.y[:, g])[0]
        out[:, g] = arrays.y[:, g] - there @ coefficient
    return out


def _right(arrays: SystemArrays, A: list[Array], weight: Array) -> Array:
    """A'(Φ⊗I)H'y."""
    along = arrays.H.T @ arrays.y
    return np.concatenate([A[g].T @ (along @ weight[g]) for g in range(arrays.m)])


def _scores(arrays: SystemArrays, A: list[Array], weight: Array, delta: Array) -> Array:
    """Ẑ_g (eΦ)_g by row, (M, K)."""
    weighted = arrays.residuals(delta) @ weight
    return np.column_stack([(arrays.H @ A[g]) * weighted[:, [g]] for g in range(arrays.m)])


def _robust_meat(scores: Array, n: int, kind: Covariance) -> Array:
    return white(scores) if kind == "robust" else by_unit(n)(scores) * n / (n - 1)


def _scaled(strata: Strata, noise: Array, mean: Array) -> SystemArrays:
    """Both strata in one, (n·T, …), each equation divided by its standard deviation there."""
    w, b = strata.within, strata.between
    return replace(
        w,
        y=np.vstack([w.y / noise, b.y / mean]),
        Z=tuple(np.vstack([x / s, z / t]) for x, z, s, t in zip(w.Z, b.Z, noise, mean, strict=True)),
        H=linalg.block_diag(w.H, b.H),
        sample=transformed_sample(w.sample.n_units, w.sample.n_periods, "none", "lee_yu"),
    )
