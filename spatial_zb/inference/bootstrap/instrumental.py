"""The bootstrap of one equation by instruments: endogenous regressors are drawn with the errors of y.

A regressor that is endogenous has no model besides its reduced form, w = HΠ + v. ε̂ and v̂ of a cell (a period, a unit) are
drawn together, so that what makes w endogenous stays, and Π̂ is estimated with ε̂ among the regressors: Davidson & MacKinnon
(2010), J. Business & Economic Statistics 28: 128-144, at the estimate instead of under a hypothesis. The instruments stay
exogenous in every scheme, whose population therefore has θ̂; where the moments of λ are not zero in it, it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spatial_zb.base.text import Text
from spatial_zb.core import Array, Values
from spatial_zb.core.laws import lag_all, solve_all
from spatial_zb.core.laws.bootstrap import Scheme, draw_errors
from spatial_zb.core.system import SystemArrays
from spatial_zb.core.system.instruments import (
    WeightedSpectrum,
    many_columns,
    products_of,
    spectrum_near,
)
from spatial_zb.core.system.moments import forward_deviations
from spatial_zb.core.system.samples import instrumental_many
from spatial_zb.inference.bootstrap.record import Replicated
from spatial_zb.inference.bootstrap.static import (
    ShapeSource,
    again_by_instruments,
    draw_rows,
    without_periods,
)
from spatial_zb.models.fit import Fit
from spatial_zb.models.gmm_sample import gmm_sample, reduced_form_residuals, system_of
from spatial_zb.models.shape import placed

PERIOD = Text(
    "the moments of λ outnumber the coefficients and are not exactly zero at the estimate, and whole periods would carry "
    "that remainder into every replicate",
    "λ的矩条件多于系数，在估计值处不恰为零，而整期抽样会把这一余值带入每次抽样",
)
WILD = Text(
    "the moments of λ assume equal variances here, and sign flips keep a variance for each unit: fit with "
    'covariance="robust", whose moments hold under unequal variances',
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
        out: dict[Scheme, Text] = {"period": PERIOD}
        if self.fit.covariance == "information":
            out["wild"] = WILD
        return out

    @cached_property
    def residuals(self) -> Array:
        """(T, n), or ε̂ and v̂ (T, n, 1 + q) with endogenous regressors."""
        fit = self.fit
        if not fit.spec.endog:
            return fit.residuals
        return np.concatenate([fit.residuals[:, :, None], reduced_form_residuals(fit)], axis=2)

    def draw(self, scheme: Scheme, rng: np.random.Generator) -> dict[str, Array]:
        """y* and w*, by their names."""
        moved = self._moved(self._changes(scheme, rng)[None])
        return {name: values[0] for name, values in moved.items()}

    def _changes(self, scheme: Scheme, rng: np.random.Generator) -> Array:
        """What the errors change by, (T, n, 1 + q)."""
        spec, residuals = self.fit.spec, self.residuals
        T, n = residuals.shape[:2]
        rows = residuals.reshape(T * n, -1)
        whole = rows.T @ rows / self.fit.nobs
        sigma: Values = whole if spec.endog else float(whole[0, 0])
        sample = self.fit.design.sample()
        changes = draw_errors(residuals, scheme, sigma, sample, spec.transform, rng) - residuals
        return changes if spec.endog else changes[:, :, None]

    @property
    def together(self) -> bool:
        """Whether many panels can be estimated at once: two-stage least squares with classical errors."""
        fit = self.fit
        return fit.covariance == "information" and bool(self._system.endogenous[0]) and not fit.spec.lag_error

    @property
    def room(self) -> int:
        """Numbers that one panel takes then."""
        return 3 * self.fit.residuals.size * (2 + len(self.fit.spec.terms) + len(self._system.y.T))

    @cached_property
    def _system(self) -> SystemArrays:
        """The equation as the first of a system, which has those of the endogenous regressors behind it."""
        design = self.fit.design
        return system_of(gmm_sample(design, self.fit.convergence.powers), design)

    @cached_property
    def _spectrum(self) -> WeightedSpectrum | None:
        if not self.fit.bias_correction:
            return None
        delta, arrays = self.fit.params.to_numpy()[: len(self._system.Z[0].T)], self._system
        reduced = (arrays.H.T @ arrays.y[:, 1:]).T.ravel()
        return spectrum_near(arrays, np.concatenate([delta, reduced]))

    def all_at_once(
        self, scheme: Scheme, rngs: Sequence[np.random.Generator]
    ) -> tuple[Replicated, NDArray[np.bool_]]:
        """From products of all panels; instruments and exogenous regressors stay."""
        fit, arrays = self.fit, self._system
        moved = self._moved(np.stack([self._changes(scheme, rng) for rng in rngs]))
        raw = np.stack([moved[name] for name in (fit.spec.y, *fit.spec.endog)], axis=-1)  # (R, T, n, 1 + q)
        lags = np.stack([lag_all(fit.weights.matrix, one) for one in np.moveaxis(raw, 3, 0)], axis=3)
        both = (np.moveaxis(values, 0, 2) for values in (raw, lags))
        done = [forward_deviations(values, fit.spec.transform) for values in both]
        Y, WY = (part.reshape(-1, len(rngs), raw.shape[-1]) for part in done)
        products = products_of(many_columns(arrays, Y, WY), arrays.H)
        delta, sigma, cov, settled = instrumental_many(arrays, products, False, self._spectrum)
        if self._spectrum is not None and np.isfinite(self._spectrum.reach):
            settled[:] = False  # powers of W reach as far as each panel needs
        k = len(arrays.Z[0].T)
        covariances = np.full((len(rngs), k + 1, k + 1), np.nan)
        inside = np.ones(len(rngs), dtype=bool)
        if fit.spec.lag_y:
            low, high = fit.weights.logdet.interval
            inside = (low < delta[:, k - 1]) & (delta[:, k - 1] < high)
        covariances[inside, :k, :k] = cov[inside, :k, :k]
        values = np.column_stack([delta[:, :k], sigma[:, 0, 0]])
        return Replicated(values, covariances, np.zeros(len(rngs), dtype=bool)), settled

    def estimate(self, drawn: dict[str, Array]) -> Fit:
        """As the fit; at a bound where moments without the bias of many instruments have no solution."""
        return again_by_instruments(self.fit, drawn)

    def centre(self, scheme: Scheme) -> Array:
        """θ̂: draws have mean zero at every place, whatever the instruments there."""
        return self.fit.params.to_numpy()

    def without(self, kept: NDArray[np.bool_]) -> Array:
        """Parameters of some periods."""
        return without_periods(self.fit, kept)

    def _moved(self, changes: Array) -> dict[str, Array]:
        """The variables (R, T, n) where errors have changed by (R, T, n, 1 + q)."""
        spec, W, params = self.fit.spec, self.fit.weights.matrix, self.fit.params
        rho, lam = (float(params.get(name, 0.0)) for name in ("rho", "lam"))
        right, out = solve_all(W, lam, changes[..., 0]), {}
        for j, name in enumerate(spec.endog, start=1):
            own = changes[..., j]
            right = right + params[name] * own
            if name in spec.lag_x:
                right = right + params[f"W_{name}"] * lag_all(W, own)
            out[name] = self.fit.panel.array(name) + own
        return {spec.y: self.fit.panel.array(spec.y) + solve_all(W, rho, right), **out}


@dataclass(frozen=True)
class InstrumentalRows(ShapeSource):
    """The same on the rows of a panel of any shape: y* = S⁻¹(Zδ̂ + Dα̂ + Δw δ̂ + W_xΔw θ̂ + ε*)."""

    @cached_property
    def errors(self) -> Array:
        """ε̂ and v̂ of the rows, (N, 1 + q)."""
        own = self.fit.residuals[self.design.present][:, None]
        return (
            np.hstack([own, reduced_form_residuals(self.fit)[self.design.present]])
            if self.fit.spec.endog
            else own
        )

    def draw(self, scheme: Scheme, rng: np.random.Generator) -> dict[str, Array]:  # type: ignore[override]
        """y* and w* (T, n), by their names."""
        fit, shape, there = self.fit, self.design.shape, self.design.present
        drawn = draw_rows(self.errors, scheme, shape.free, shape.unit, rng)
        right, out = self.mean + drawn[:, 0], {}
        for j, name in enumerate(fit.spec.endog, start=1):
            moved = drawn[:, j] - self.errors[:, j]
            right = right + fit.params[name] * moved
            if name in fit.spec.lag_x:
                right = right + fit.params[f"W_{name}"] * (self.design.rows_x.matrix @ moved)
            out[name] = fit.panel.array(name) + placed(moved, there)
        return {fit.spec.y: placed(self.solve(right), there), **out}

    def estimate(self, drawn: dict[str, Array]) -> Fit:  # type: ignore[override]
        """As :class:`InstrumentalSource`."""
        return again_by_instruments(self.fit, drawn)
