"""Lags in time: panels drawn period after period from the first one, estimated with the same correction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from spatial_zb.base.text import Text
from spatial_zb.core import Array
from spatial_zb.core.laws.bootstrap import (
    Scheme,
    draw_errors,
    error_pool,
    moved_panels,
    one_variance_parts,
    recursive_parts,
)
from spatial_zb.core.likelihood import Maximum, spatial_values
from spatial_zb.core.transforms import (
    TransformedSample,
    column_basis,
    demean,
    spatial_lag,
    transformed_sample,
)
from spatial_zb.inference.bootstrap.static import quietly
from spatial_zb.models.design import Design, stacked
from spatial_zb.models.dynamic import carried, dynamic_estimate, fit_dynamic
from spatial_zb.models.fit import Fit

#: Numbers in the regressors of the long sample that stands for the population of a scheme, at most.
LARGEST_SAMPLE = 20_000_000
REFUSED: dict[Scheme, Text] = {
    "unit": Text(
        "a unit's series would meet the start and the effects of another unit, and keep the products of its errors over "
        "time, which are zero in the model",
        "某地区的误差序列会与另一地区的初值和效应相配，并保留误差跨期乘积，而模型中其期望为零",
    )
}


@dataclass(frozen=True, slots=True)
class DynamicSource:
    """y*_t = y_t + d_t, see :mod:`spatial_zb.core.laws.bootstrap`."""

    fit: Fit
    refused: ClassVar[Mapping[Scheme, Text]] = REFUSED

    @property
    def sample(self) -> TransformedSample:
        """What the transform leaves."""
        return self.fit.design.sample()

    def draw(self, scheme: Scheme, rng: np.random.Generator) -> Array:
        """d (T, n) of the explained periods; sign flips are by unit and period."""
        fit = self.fit
        if scheme == "wild":
            pool = error_pool(fit.residuals, "residual", self.sample, fit.spec.transform)
            errors = pool * rng.choice([-1.0, 1.0], pool.shape)
        else:
            sigma2, effects = np.float64(fit.sigma2), fit.spec.transform
            errors = draw_errors(fit.residuals, scheme, sigma2, self.sample, effects, rng)
        return self._moved((errors - fit.residuals)[None])[0]

    def estimate(self, drawn: Array) -> Fit:
        """As the fit, from its arrays."""
        fit = self.fit
        panel = fit.panel.with_columns({fit.spec.y: fit.panel.array(fit.spec.y) + drawn})
        design = replace(_moved_design(fit.design, drawn), panel=panel)
        return quietly(lambda: fit_dynamic(design, fit.estimator_asked, fit.covariance, **fit.asked))

    def centre(self, scheme: Scheme) -> Array | None:
        """θ̂, moved as far as the population of the scheme moves the estimate from that of one variance.

        What is left of the bias of short panels in both stays in the replicates: it is theirs to show.
        """
        fit = self.fit
        if scheme not in ("wild", "period"):
            return fit.params.to_numpy()
        T, n = fit.residuals.shape
        if (T * n) ** 2 * len(fit.spec.terms) > LARGEST_SAMPLE:
            return None
        single = error_pool(fit.residuals, "residual", self.sample, fit.spec.transform)
        whole = error_pool(fit.residuals, "period", self.sample, fit.spec.transform)
        kept = self._population(recursive_parts(single if scheme == "wild" else whole, scheme))
        plain = self._population(one_variance_parts((single**2).mean(), (T, n)))
        return fit.params.to_numpy() + kept - plain

    def without(self, kept: NDArray[np.bool_]) -> Array:
        """A period left out as one that is explained: it still explains the next."""
        design = self.fit.design
        effects = design.spec.transform
        cut = _with_arrays(design, lambda name: demean(getattr(design, name)[kept], effects))
        sample = transformed_sample(self.sample.n_units, int(kept.sum()), effects, "lee_yu")
        return self._values(dynamic_estimate(cut, sample, self.fit.estimator_asked)[0])

    def _moved(self, changes: Array) -> Array:
        fit = self.fit
        rho, lam = (float(fit.params.get(name, 0.0)) for name in ("rho", "lam"))
        return moved_panels(changes, fit.weights.matrix, rho, lam, *carried(fit.spec, fit.params.to_numpy()))

    def _population(self, parts: Array) -> Array:
        """What the estimator finds where squares are those expected: one long sample, of the mean and of the parts."""
        design = self.fit.design
        mean = _moved_design(design, self._moved(-self.fit.residuals[None])[0])
        zero = np.zeros_like
        nothing = replace(
            design,
            y=zero(design.y),
            Wy=zero(design.y),
            Z=zero(design.Z),
            WZ=None if design.WZ is None else zero(design.WZ),
            WWy=None if design.WWy is None else zero(design.y),
        )
        alone = [_moved_design(nothing, d, basis=False) for d in self._moved(parts)]
        pieces = (mean, *alone)
        long = _with_arrays(design, lambda name: np.concatenate([getattr(part, name) for part in pieces]))
        return self._values(dynamic_estimate(long, self.sample, self.fit.estimator_asked)[0])

    def _values(self, best: Maximum) -> Array:
        """(δ, [ρ], [λ], σ²), in the order of the fit, and σ² with its degrees of freedom."""
        spec, k = self.fit.spec, len(self.fit.spec.terms)
        scale = 1.0 if spec.spatial_terms else self.sample.observations / (self.sample.observations - k)
        return np.array([*best.delta, *spatial_values(spec, best), best.sigma2 * scale])


def _with_arrays(design: Design, made: Callable[[str], Array]) -> Design:
    """A design of the same model with other arrays; those it does not have it goes on without."""
    arrays: dict[str, Any] = {
        name: None if getattr(design, name) is None else made(name) for name in ("y", "Wy", "Z", "WZ", "WWy")
    }
    return replace(design, **arrays, basis=column_basis(stacked(arrays["Z"])))


def _moved_design(design: Design, d: Array, basis: bool = True) -> Design:
    """The arrays of a model whose y has moved by d (T, n); the basis of Z is left alone where it is not asked for."""
    spec, W, effects = design.spec, design.weights.matrix, design.spec.transform
    before = np.concatenate([np.zeros_like(d[:1]), d[:-1]])
    lagged = [before] * bool(spec.time_lag) + [spatial_lag(W, before)] * bool(spec.lag_time_lag)
    first, Wd = len(spec.terms) - len(lagged), spatial_lag(W, d)
    lags = np.stack(lagged, axis=2)
    Z, WZ, WWy = design.Z.copy(), design.WZ, design.WWy
    Z[:, :, first:] += demean(lags, effects)
    if WZ is not None:
        WZ = WZ.copy()
        WZ[:, :, first:] += demean(spatial_lag(W, lags), effects)
        WWy = design.lags[1] + demean(spatial_lag(W, Wd), effects)
    return replace(
        design,
        y=design.y + demean(d, effects),
        Wy=design.Wy + demean(Wd, effects),
        Z=Z,
        WZ=WZ,
        WWy=WWy,
        basis=column_basis(stacked(Z)) if basis else design.basis,
    )
