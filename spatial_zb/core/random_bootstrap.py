r"""Resampled errors of a model with random unit effects: arrays only.

Errors are e = μ + ε of each unit and period where both spread alike (KKP, or no spatial error), and μ besides ε where only ε
spreads (Baltagi). What is estimated of μ and ε is shrunk or mixed; for the draws to have the variances φσ² and σ² that were
estimated it is centred and brought to them (Carpenter, Goldstein & Rasbash 2003, J. Royal Statistical Society C 52: 431-443;
for error components Andersson & Karlsson 2001, Computational Statistics 16: 221-231).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_components", "draw_whole_units", "reflated"]

Array = NDArray[np.float64]


def reflated(values: Array, variance: float, over: int | None = None) -> Array:
    """Values less their mean (over one axis, or all), with this mean square; zero where they are all alike."""
    centred = values - values.mean(axis=over, keepdims=True)
    size = np.mean(centred**2)
    return centred * np.sqrt(variance / size) if size > 0 else centred


def draw_components(
    mu: Array, noise: Array, phi: float, sigma2: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """μ* (n,) and ε* (T, n), drawn apart with replacement from estimates of either of the same shapes."""
    units, cells = reflated(mu, phi * sigma2), reflated(noise, sigma2).ravel()
    return units[rng.integers(units.size, size=units.size)], cells[
        rng.integers(cells.size, size=cells.size)
    ].reshape(noise.shape)


def draw_whole_units(errors: Array, phi: float, sigma2: float, rng: np.random.Generator) -> Array:
    """e* (T, n): the series of whole units, drawn with replacement from e (T, n).

    Time means are brought to the variance (φ + 1/T)σ² and deviations from them to (1 − 1/T)σ², those of the model.
    """
    T, n = errors.shape
    mean = errors.mean(axis=0)
    between = reflated(mean, (phi + 1 / T) * sigma2)
    within = reflated(errors - mean, (1 - 1 / T) * sigma2, over=1)
    return (between + within)[:, rng.integers(n, size=n)]
