"""Resampling of fits with random unit effects, with lags in time, and with regimes.

Lags in time: panels are drawn period after period from the first one, and estimated with the same correction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from spatial_zb.base.text import Text
from spatial_zb.core import Array
from spatial_zb.core.laws import SampleModel, Samples, lag_all, solve_all, spectral, transform_all
from spatial_zb.core.laws.bootstrap import (
    Scheme,
    draw_components,
    draw_errors,
    draw_whole_units,
    error_pool,
    independent_parts,
    moved_panels,
    one_variance_parts,
    recursive_parts,
)
from spatial_zb.core.laws.random import estimate_random
from spatial_zb.core.laws.replicates import estimate_all, replicated_correction
from spatial_zb.core.likelihood import Maximum, spatial_values
from spatial_zb.core.logdet.factors import Regimes
from spatial_zb.core.random import apply_between, make_spread
from spatial_zb.core.transforms import (
    TransformedSample,
    column_basis,
    demean,
    spatial_lag,
    transformed_sample,
)
from spatial_zb.inference.bootstrap.record import Replicated
from spatial_zb.inference.bootstrap.static import (
    LARGEST_POPULATION,
    again,
    quietly,
    sample_model,
    without_periods,
)
from spatial_zb.models.design import Design, stacked
from spatial_zb.models.dynamic import carried, dynamic_estimate, fit_dynamic
from spatial_zb.models.fit import Fit
from spatial_zb.models.regimes import (
    estimate_regimes,
    regime_lags,
    regime_split,
    regimes_of,
)

RANDOM_PERIOD = Text(
    "whole periods hold the deviations from the unit effects only; in their population the scores between units and within "
    "units, whose sum is zero at the estimate, do not add up to zero",
    "整期抽样只含对个体效应的离差；在其总体中，组间与组内得分之和（在估计值处为零）不再为零",
)
RANDOM_WILD = Text(
    "sign flips leave the squares of every unit as they are, and with them the variances of effects and noise, whose errors "
    "would be nil",
    "符号翻转不改变各地区的平方和，效应与噪声的方差因而不变，其标准误将近于零",
)
RANDOM_UNIT = Text(
    "with u = μ + (I − λW)⁻¹ε no filter makes the series of units exchangeable: what takes λ out of ε puts it into μ; with "
    'error_structure="kkp" one does',
    'u=μ+(I−λW)⁻¹ε时，没有滤波能使各地区的序列可交换：从ε中消去λ就会把它带入μ；error_structure="kkp"则可以',
)


@dataclass(frozen=True)
class RandomSource:
    """y* = (I − ρ̂W)⁻¹(Zδ̂ + u*), u* = μ* + (I − λ̂W)⁻¹ε* (Baltagi) or (I − λ̂W)⁻¹(μ* + ε*) (KKP)."""

    fit: Fit

    @property
    def refused(self) -> Mapping[Scheme, Text]:
        """Schemes that make no sense, and why."""
        out: dict[Scheme, Text] = {"period": RANDOM_PERIOD, "wild": RANDOM_WILD}
        if self.apart:
            out["unit"] = RANDOM_UNIT
        return out

    @property
    def apart(self) -> bool:
        """Whether the spatial error process covers ε only, not μ."""
        return bool(self.fit.spec.lag_error) and self.fit.spec.error_structure == "baltagi"

    def draw(self, scheme: Scheme, rng: np.random.Generator) -> dict[str, Array]:
        """y*, by its name."""
        mu, noise = self._errors(scheme, rng)
        return {self.fit.spec.y: self._panels(mu[None], noise[None])[0]}

    def _errors(self, scheme: Scheme, rng: np.random.Generator) -> tuple[Array, Array]:
        """μ* (n,) and ε* (T, n); of whole units both in one."""
        phi, sigma2, (T, n) = self._value("phi"), self.fit.sigma2, self.fit.residuals.shape
        if scheme == "unit":
            return np.zeros(n), draw_whole_units(self._filtered, phi, sigma2, rng)
        if scheme == "parametric":
            mu = np.sqrt(phi * sigma2) * rng.standard_normal(n)
            return mu, np.sqrt(sigma2) * rng.standard_normal((T, n))
        return draw_components(self._effects, self.fit.residuals, phi, sigma2, rng)

    def _panels(self, mu: Array, noise: Array) -> Array:
        """y* (R, T, n) of μ* (R, n) and ε* (R, T, n)."""
        fit, W, own = self.fit, self.fit.weights.matrix, mu[:, None]
        rho, lam = self._value("rho"), self._value("lam")
        u = own + solve_all(W, lam, noise) if self.apart else solve_all(W, lam, own + noise)
        return solve_all(W, rho, fit.design.Z @ fit.params[list(fit.spec.terms)].to_numpy() + u)

    @property
    def together(self) -> bool:
        """Whether many panels can be estimated at once: with a lag of y and no spatial error."""
        fit, spec = self.fit, self.fit.spec
        plain = fit.covariance == "information" and bool(spec.lag_y) and not spec.lag_error
        return plain and spectral(fit.weights.matrix, fit.design.logdet)

    @property
    def room(self) -> int:
        """Numbers that one panel takes then: its columns and what becomes of them."""
        return 2 * self.fit.residuals.size * (2 + len(self.fit.spec.terms))

    def all_at_once(
        self, scheme: Scheme, rngs: Sequence[np.random.Generator]
    ) -> tuple[Replicated, NDArray[np.bool_]]:
        """On the grid of starts of one fit, and by Newton's method from there."""
        fit, design = self.fit, self.fit.design
        mu, noise = (
            np.stack(part) for part in zip(*(self._errors(scheme, rng) for rng in rngs), strict=True)
        )
        n, T = design.weights.n, len(fit.residuals)
        sample = transformed_sample(n, T, "none", "direct")
        model = replace(sample_model(design, "direct"), effects="none", sample=sample)
        found = estimate_random(model, Samples(model.matrix, "none", self._panels(mu, noise)))
        values = np.column_stack([found.delta, found.rho, found.phi, found.sigma2])
        return Replicated(values, found.cov, found.at_bound), np.ones(len(rngs), dtype=bool)

    def estimate(self, drawn: dict[str, Array]) -> Fit:
        """As the fit."""
        return again(self.fit, drawn)

    def centre(self, scheme: Scheme) -> Array:
        """θ̂: the draws have the variances of the estimate, between units and within."""
        return self.fit.params.to_numpy()

    def without(self, kept: NDArray[np.bool_]) -> Array:
        """Parameters of some periods."""
        return without_periods(self.fit, kept)

    def _value(self, name: str) -> float:
        return float(self.fit.params.get(name, 0.0))

    @cached_property
    def _filtered(self) -> Array:
        """(I − λ̂W)û (T, n)."""
        fit, design, lam = self.fit, self.fit.design, self._value("lam")
        u = design.y - self._value("rho") * design.Wy - design.Z @ fit.params[list(fit.spec.terms)].to_numpy()
        return u - lam * spatial_lag(fit.weights.matrix, u) if lam else u

    @cached_property
    def _effects(self) -> Array:
        """Best linear predictions of μ (n,), up to a factor: of the filtered û, or φT B'K⁻¹B of its time means."""
        mean, W, lam = self._filtered.mean(axis=0), self.fit.weights.matrix, self._value("lam")
        if not self.apart:
            return mean
        T = len(self.fit.residuals)
        shrunk = apply_between(mean, make_spread(W), lam, self._value("phi"), T)
        return shrunk - lam * (W.T @ shrunk)


# Lags in time ------------------------------------------------------------------------------------------

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
        """d (T, n) of the explained periods."""
        return self._moved((self._errors(scheme, rng) - self.fit.residuals)[None])[0]

    def _errors(self, scheme: Scheme, rng: np.random.Generator) -> Array:
        """ε* (T, n); sign flips are by unit and period."""
        fit = self.fit
        if scheme == "wild":
            pool = error_pool(fit.residuals, "residual", self.sample, fit.spec.transform)
            return pool * rng.choice([-1.0, 1.0], pool.shape)
        sigma2, effects = np.float64(fit.sigma2), fit.spec.transform
        return draw_errors(fit.residuals, scheme, sigma2, self.sample, effects, rng)

    def estimate(self, drawn: Array) -> Fit:
        """As the fit, from its arrays."""
        fit = self.fit
        panel = fit.panel.with_columns({fit.spec.y: fit.panel.array(fit.spec.y) + drawn})
        design = replace(_moved_design(fit.design, drawn), panel=panel)
        return quietly(lambda: fit_dynamic(design, fit.estimator_asked, fit.covariance, **fit.asked))

    @property
    def together(self) -> bool:
        """Whether many panels can be estimated at once: by the correction in one step or none, with a spatial lag."""
        fit, model = self.fit, sample_model(self.fit.design, "lee_yu")
        plain = fit.covariance == "information" and fit.estimator_asked in ("lee_yu", "uncorrected")
        return plain and bool(fit.spec.spatial_terms) and spectral(model.matrix, model.logdet)

    @property
    def room(self) -> int:
        """Numbers that one panel takes then: its columns and their lags, twice."""
        return 4 * self.fit.residuals.size * (2 + len(self.fit.spec.terms))

    def all_at_once(
        self, scheme: Scheme, rngs: Sequence[np.random.Generator]
    ) -> tuple[Replicated, NDArray[np.bool_]]:
        """Regressors differ between panels by the lags of y."""
        fit, design = self.fit, self.fit.design
        model = sample_model(design, "lee_yu")
        moved = self._moved(np.stack([self._errors(scheme, rng) - fit.residuals for rng in rngs]))
        Z, WZ = _moved_regressors(design, model, moved)
        model = replace(model, Z=Z, WZ=WZ)
        samples = Samples(model.matrix, model.effects, fit.panel.array(fit.spec.y) + moved)
        found = estimate_all(model, samples, covariance=False)
        values, cov = replicated_correction(
            model, samples, found, self._biased, fit.estimator_asked == "lee_yu"
        )
        settled = np.ones(len(rngs), dtype=bool) if found.settled is None else found.settled
        return Replicated(values, cov, found.at_bound), settled

    @property
    def _biased(self) -> tuple[int | None, int | None]:
        """Where τ and η stand among the coefficients."""
        terms = self.fit.spec.terms
        tau, eta = (terms.index(name) if name in terms else None for name in ("tau", "eta"))
        return tau, eta

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


def _moved_regressors(design: Design, model: SampleModel, d: Array) -> tuple[Array, Array | None]:
    """Z and WZ (R, T, n, k) of a model whose y has moved by d (R, T, n)."""
    spec, matrix = design.spec, model.matrix
    before = np.concatenate([np.zeros_like(d[:, :1]), d[:, :-1]], axis=1)
    after = lag_all(matrix, before)
    chain = [before, after, lag_all(matrix, after)] if design.WZ is not None else [before, after]
    kept = [0] * bool(spec.time_lag) + [1] * bool(spec.lag_time_lag)
    first = len(spec.terms) - len(kept)

    def moved(columns: Array, power: int) -> Array:
        out = np.repeat(columns[None], len(d), axis=0)
        for place, lag in enumerate(kept, start=first):
            out[..., place] += transform_all(model, chain[lag + power])
        return out

    return moved(design.Z, 0), None if design.WZ is None else moved(design.WZ, 1)


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


# --- Regimes


@dataclass(frozen=True, slots=True)
class RegimeSource:
    """y* = y + S⁻¹(ε* − ε̂): effects stay, since those of periods move the regimes differently."""

    fit: Fit
    refused: ClassVar[Mapping[Scheme, Text]] = {}

    @property
    def sample(self) -> TransformedSample:
        """What the transform leaves."""
        return self.fit.design.sample()

    @property
    def regimes(self) -> Regimes:
        """W and its regimes."""
        _, regime = regime_split(self.fit.spec, self.fit.panel)
        return regimes_of(self.fit.spec, self.fit.weights, regime)

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
        parts = independent_parts(pool, scheme, fit.spec.transform)
        assert parts is not None, "made for sign flips and whole periods"
        return self._population(parts)

    def without(self, kept: NDArray[np.bool_]) -> Array:
        """Parameters of some periods."""
        return without_periods(self.fit, kept)

    def _moved(self, changes: Array) -> Array:
        """S⁻¹ of changes of the errors (R, T, n)."""
        if not self.fit.spec.lag_y:
            return changes
        R, T, n = changes.shape
        regimes = self.regimes
        solve, _ = regimes.solver(self.fit.params.to_numpy()[-1 - regimes.count : -1])
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
