"""Two regimes of units: panels from S(ρ₁, ρ₂)⁻¹."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from spatial_zb.core.bootstrap import Scheme, draw_errors, error_pool, independent_parts
from spatial_zb.core.orthogonal import column_basis
from spatial_zb.core.regime_ml import Regimes
from spatial_zb.core.within import TransformedSample, demean, transformed_sample
from spatial_zb.models.design import stacked
from spatial_zb.models.fit import Fit
from spatial_zb.models.regimes import estimate_regimes, regime_lags, regime_split, regimes_of
from spatial_zb.resampling.sources import again, without_periods
from spatial_zb.resampling.static import LARGEST_POPULATION
from spatial_zb.text import Text

__all__ = ["RegimeSource"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RegimeSource:
    """y* = y + S⁻¹(ε* − ε̂): effects stay, since those of periods move the two regimes differently."""

    fit: Fit
    refused: ClassVar[Mapping[Scheme, Text]] = {}

    @property
    def sample(self) -> TransformedSample:
        """What the transform leaves."""
        T, n = self.fit.residuals.shape
        return transformed_sample(n, T, self.fit.spec.transform, "lee_yu")

    @property
    def regimes(self) -> Regimes:
        """W and its regimes."""
        _, regime = regime_split(self.fit.spec, self.fit.panel)
        return regimes_of(self.fit.weights, regime, self.fit.spec.fixed_effects == "two_way")

    def draw(self, scheme: Scheme, rng: np.random.Generator) -> dict[str, Array]:
        """y*, by its name."""
        fit = self.fit
        sigma2, effects = np.float64(fit.sigma2), fit.spec.transform
        errors = draw_errors(fit.residuals, scheme, sigma2, self.sample, effects, rng)
        return {fit.spec.y: fit.panel.array(fit.spec.y) + self._moved((errors - fit.residuals)[None])[0]}

    def estimate(self, drawn: dict[str, Array]) -> Fit:
        """As the fit."""
        return again(self.fit, drawn)

    def centre(self, scheme: Scheme) -> Array | None:
        """θ̂; where a scheme keeps what moves the estimate, the value in its population."""
        fit = self.fit
        if scheme not in ("wild", "period"):
            return fit.params.to_numpy()
        if scheme == "wild" and fit.residuals.size * fit.weights.n > LARGEST_POPULATION:
            return None
        pool = error_pool(fit.residuals, scheme, self.sample, fit.spec.transform)
        return self._population(independent_parts(pool, scheme, fit.spec.transform))

    def without(self, kept: NDArray[np.bool_]) -> Array:
        """Parameters of some periods."""
        return without_periods(self.fit, kept)

    def _moved(self, changes: Array) -> Array:
        """S⁻¹ of changes of the errors (R, T, n)."""
        if not self.fit.spec.lag_y:
            return changes
        R, T, n = changes.shape
        solve, _ = self.regimes.solver(self.fit.params.to_numpy()[-3:-1])
        return solve(changes.reshape(R * T, n).T).T.reshape(R, T, n)

    def _population(self, parts: Array) -> Array:
        """What the estimator finds where squares are those expected: one long sample, of the mean and of the parts."""
        fit, regimes, effects = self.fit, self.regimes, self.fit.spec.transform
        mean = fit.panel.array(fit.spec.y) + self._moved(-fit.residuals[None])[0]
        samples = [mean, *self._moved(parts)]
        y = np.concatenate([stacked(demean(one, effects)) for one in samples])
        lags = np.concatenate([regime_lags(fit.spec, one, regimes) for one in samples])
        Z = stacked(fit.design.Z)
        Z = np.vstack([Z, np.zeros((len(y) - len(Z), Z.shape[1]))])
        best = estimate_regimes(fit.spec, y, lags, Z, column_basis(Z), regimes, self.sample)
        return np.array([*best.delta, *(best.rho if fit.spec.lag_y else ()), best.sigma2])
