"""Instrumental variables and generalised moments: endogenous regressors are drawn with the errors of y.

A regressor that is endogenous has no model besides its reduced form, w = HΠ + v. ε̂ and v̂ of a cell (a period, a unit) are
drawn together, so that what makes w endogenous stays, and Π̂ is estimated with ε̂ among the regressors: Davidson & MacKinnon
(2010), J. Business & Economic Statistics 28: 128-144, at the estimate instead of under a hypothesis. The instruments stay
exogenous in every scheme, whose population therefore has θ̂; where the moments of λ are not zero in it, it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spatial_zb.core.bootstrap import Scheme, draw_errors
from spatial_zb.core.lag import spatial_lag
from spatial_zb.core.traces import filter_solver
from spatial_zb.core.within import transformed_sample
from spatial_zb.models.fit import Fit
from spatial_zb.models.gmm_sample import reduced_form_residuals
from spatial_zb.resampling.sources import again, without_periods
from spatial_zb.text import Text

__all__ = ["InstrumentalSource"]

Array = NDArray[np.float64]
PERIOD = Text(
    "whole periods keep what is left of the moments of λ, of which there are more than coefficients and none is zero",
    "整期抽样保留了λ各矩条件的剩余值：矩条件多于系数，且均不为零",
)
WILD = Text(
    'the moments of λ take one variance here, and sign flips keep those of the units: fit with covariance="robust", whose '
    "moments hold under any",
    'λ的矩条件此处假定同方差，而符号翻转保留各地区的方差：请以covariance="robust"估计，其矩条件对任意方差成立',
)


@dataclass(frozen=True)
class InstrumentalSource:
    """y* = y + S⁻¹[Δw δ̂ + WΔw θ̂ + B⁻¹(ε* − ε̂)], w* = w + Δw, Δw = v* − v̂."""

    fit: Fit

    @property
    def refused(self) -> Mapping[Scheme, Text]:
        """Schemes that make no sense where there is λ, and why."""
        if not self.fit.spec.lag_error:
            return {}
        return {"period": PERIOD} | ({"wild": WILD} if self.fit.covariance == "information" else {})

    @cached_property
    def residuals(self) -> Array:
        """(T, n), or ε̂ and v̂ (T, n, 1 + q) with endogenous regressors."""
        fit = self.fit
        if not fit.spec.endog:
            return fit.residuals
        return np.concatenate([fit.residuals[:, :, None], reduced_form_residuals(fit)], axis=2)

    def draw(self, scheme: Scheme, rng: np.random.Generator) -> dict[str, Array]:
        """y* and w*, by their names."""
        spec, residuals = self.fit.spec, self.residuals
        T, n = residuals.shape[:2]
        rows = residuals.reshape(T * n, -1)
        sigma = rows.T @ rows / self.fit.nobs
        sigma = sigma if spec.endog else np.float64(sigma[0, 0])
        sample = transformed_sample(n, T, spec.transform, "lee_yu")
        changes = draw_errors(residuals, scheme, sigma, sample, spec.transform, rng) - residuals
        return self._moved(changes if spec.endog else changes[:, :, None])

    def estimate(self, drawn: dict[str, Array]) -> Fit:
        """As the fit; at a bound where moments without the bias of many instruments have no solution."""
        found = again(self.fit, drawn)
        if found.bias_correction == self.fit.bias_correction:
            return found
        return replace(found, convergence={**found.convergence, "at_bound": True})

    def centre(self, scheme: Scheme) -> Array:
        """θ̂: draws have mean zero at every place, whatever the instruments there."""
        return self.fit.params.to_numpy()

    def without(self, kept: NDArray[np.bool_]) -> Array:
        """Parameters of some periods."""
        return without_periods(self.fit, kept)

    def _moved(self, changes: Array) -> dict[str, Array]:
        """The variables where errors have changed by (T, n, 1 + q)."""
        spec, W, params = self.fit.spec, self.fit.weights.matrix, self.fit.params
        rho, lam = (float(params.get(name, 0.0)) for name in ("rho", "lam"))
        right = changes[:, :, 0]
        if lam:
            right = filter_solver(W, lam)(right.T).T
        out = {}
        for j, name in enumerate(spec.endog, start=1):
            own = changes[:, :, j]
            right = right + params[name] * own
            if name in spec.lag_x:
                right = right + params[f"W_{name}"] * spatial_lag(W, own)
            out[name] = self.fit.panel.array(name) + own
        right = filter_solver(W, rho)(right.T).T if rho else right
        return {spec.y: self.fit.panel.array(spec.y) + right, **out}
