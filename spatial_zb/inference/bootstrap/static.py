"""How panels of a static fit are drawn and estimated again, all at once where the estimator allows it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from spatial_zb.base.errors import SpatialZbError, SpatialZbWarning, SpecificationError
from spatial_zb.base.text import Text
from spatial_zb.core import Array
from spatial_zb.core.laws import SampleModel, fast, spectral, symmetric_in_both
from spatial_zb.core.laws.bootstrap import (
    Generator,
    Scheme,
    draw_errors,
    error_pool,
    independent_parts,
    population_value,
)
from spatial_zb.core.laws.replicates import Replicates, estimate_all
from spatial_zb.core.likelihood import spatial_values
from spatial_zb.core.likelihood.regimes import RowRegimes
from spatial_zb.core.likelihood.shape_rows import RowFilter
from spatial_zb.core.transforms import column_basis, demean, transformed_sample
from spatial_zb.data.panel import Panel
from spatial_zb.inference.bootstrap.record import Replicated
from spatial_zb.models.design import RANK_TOLERANCE, Design
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.fit import Fit
from spatial_zb.models.regimes import estimate_regime_rows, row_regimes
from spatial_zb.models.shape import ShapeDesign, fit_shape
from spatial_zb.models.spec import DurbinSpec

#: Fewest periods from which leaving one out says something about skewness.
JACKKNIFE_PERIODS = 5


class Source(Protocol):
    """A fitted model as a source of panels.

    ``refused`` says why a scheme makes no sense here.
    """

    @property
    def fit(self) -> Fit: ...
    @property
    def refused(self) -> Mapping[Scheme, Text]: ...

    def draw(self, scheme: Scheme, rng: np.random.Generator) -> Any:
        """One panel, in the form in which :meth:`estimate` takes it."""
        ...

    def estimate(self, drawn: Any) -> Fit:
        """The estimator of the fit on it."""
        ...

    def centre(self, scheme: Scheme) -> Array | None:
        """(p,) what the estimator finds in the population of the scheme; None where that is too dear to compute."""
        ...

    def without(self, kept: NDArray[np.bool_]) -> Array:
        """(p,) parameters from some of the periods."""
        ...


@runtime_checkable
class ManySource(Source, Protocol):
    """One whose panels may be estimated at once."""

    @property
    def together(self) -> bool:
        """Whether this fit allows it."""
        ...

    @property
    def room(self) -> int:
        """Numbers that one panel takes then."""
        ...

    def all_at_once(
        self, scheme: Scheme, rngs: Sequence[np.random.Generator]
    ) -> tuple[Replicated, NDArray[np.bool_]]:
        """Estimates of a panel for each stream, and which are settled (R,): others are to be estimated alone."""
        ...


def quietly(call: Callable[[], Any]) -> Any:
    """Give what a call gives, without the warnings of its fits, which repeat those of the resampled fit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        return call()


def again(fit: Fit, columns: Mapping[str, Array]) -> Fit:
    """Apply the estimator of a fit, with its options, to a panel in which some variables (T, n) are replaced."""
    options = {"covariance": fit.covariance} | fit.asked
    return _estimate(fit, fit.panel.with_columns(dict(columns)), options)


def again_by_instruments(fit: Fit, drawn: dict[str, Array]) -> Fit:
    """The same by instruments; at a bound where moments without the bias of many of them have no solution."""
    found = again(fit, drawn)
    if found.bias_correction == fit.bias_correction:
        return found
    return replace(found, convergence=replace(found.convergence, at_bound=True))


def without_periods(fit: Fit, kept: NDArray[np.bool_]) -> Array:
    """Parameters (p,) of some periods by the estimator of the fit."""
    periods = [period for period, keep in zip(fit.panel.periods, kept, strict=True) if keep]
    options = {
        name: value for name, value in fit.asked.items() if name != "bandwidth"
    }  # which moves no estimate
    return _estimate(fit, fit.panel.select(periods=periods), options).params.to_numpy()


def _estimate(fit: Fit, panel: Panel, options: Mapping[str, Any]) -> Fit:
    """The estimator of a fit on another panel."""
    return quietly(lambda: fit_durbin(fit.spec, panel, fit.weights, fit.estimator_asked, **options))


def jackknife(periods: int, without: Callable[[NDArray[np.bool_]], Array]) -> Array | None:
    """Parameters (T, p) with one period left out at a time; None when T is small or one of these fits fails."""
    if periods < JACKKNIFE_PERIODS:
        return None
    try:
        return np.array([quietly(partial(without, np.arange(periods) != t)) for t in range(periods)])
    except SpatialZbError:
        return None


#: Rows of the long sample that stands for the population of a scheme, at most.
LARGEST_POPULATION = 5_000_000


def check_single(fit: Fit) -> None:
    """Refuse fits that are not static maximum likelihood with fixed effects."""
    spec = fit.spec
    if fit.estimator not in ("lee_yu", "direct"):
        what = Text(f"is by {fit.estimator!r}", f"的估计方法为{fit.estimator!r}")
    elif spec.regimes or spec.dynamic:
        what = Text("has regimes", "分区制") if spec.regimes else Text("has a time lag", "含时间滞后项")
    else:
        return
    raise SpecificationError(
        f"This needs a static fit by maximum likelihood with fixed effects (lee_yu or direct); {fit!r} {what.en}. Use "
        "zb.bootstrap(fit).",
        f"此处需要固定效应静态模型的极大似然估计（lee_yu或direct），而{fit!r}{what.zh}。请用zb.bootstrap(fit)。",
    )


def sample_model(design: Design, estimator: str) -> SampleModel:
    """What samples of one specification on one panel share."""
    spec, weights = design.spec, design.weights
    return SampleModel(
        matrix=weights.matrix,
        logdet=design.logdet,
        sample=design.sample(estimator),
        effects=spec.transform,
        Z=design.Z,
        WZ=design.WZ,
        basis=design.basis,
        lag_y=bool(spec.lag_y),
        lag_error=bool(spec.lag_error),
    )


def generator_of(fit: Fit) -> Generator:
    """The fitted model as a source of samples."""
    spec, model = fit.spec, sample_model(fit.design, fit.estimator)
    values, k = fit.params.to_numpy(), len(spec.terms)
    spatial = dict(zip(spec.spatial_terms, values[k:], strict=False))
    return Generator(model, values[:k], float(spatial.get("rho", 0.0)), float(spatial.get("lam", 0.0)))


def draw_samples(fit: Fit, rng: np.random.Generator, replicates: int) -> Array:
    """y* (R, T, n) from a fit, its residuals drawn one by one."""
    generator, pool = _drawn_from(fit)
    return generator.panels(rng.choice(pool.ravel(), (replicates, *pool.shape)))


def draw_each(fit: Fit, streams: Sequence[np.random.Generator]) -> Array:
    """The same with a stream of its own for each of them."""
    generator, pool = _drawn_from(fit)
    return generator.panels(np.array([rng.choice(pool.ravel(), pool.shape) for rng in streams]))


def _drawn_from(fit: Fit) -> tuple[Generator, Array]:
    generator = generator_of(fit)
    model = generator.model
    return generator, error_pool(fit.residuals, "residual", model.sample, model.effects)


@dataclass(frozen=True, slots=True)
class StaticSource:
    """y* = (I − ρ̂W)⁻¹[Z̃δ̂ + (I − λ̂W)⁻¹ε*]."""

    fit: Fit
    generator: Generator
    refused: ClassVar[Mapping[Scheme, Text]] = {}

    def errors(self, scheme: Scheme, rng: np.random.Generator) -> Array:
        """ε* (T, n)."""
        fit, model = self.fit, self.generator.model
        return draw_errors(fit.residuals, scheme, np.float64(fit.sigma2), model.sample, model.effects, rng)

    def draw(self, scheme: Scheme, rng: np.random.Generator) -> dict[str, Array]:
        """y*, by its name."""
        return {self.fit.spec.y: self.generator.panels(self.errors(scheme, rng)[None])[0]}

    def estimate(self, drawn: Any) -> Fit:
        """As the fit."""
        return again(self.fit, drawn)

    def centre(self, scheme: Scheme) -> Array | None:
        """θ̂; where a scheme keeps what moves the estimate, the value in its population.

        Sign flips by unit keep the variances of units, which the robust score allows; whole periods keep dependence between
        units, which it does not: None.
        """
        fit, model = self.fit, self.generator.model
        if fit.estimator == "robust_score":
            return None if scheme == "period" else fit.params.to_numpy()
        if scheme not in ("wild", "period"):
            return fit.params.to_numpy()
        if scheme == "wild" and fit.residuals.size * model.sample.n_units > LARGEST_POPULATION:
            return None
        pool = error_pool(fit.residuals, scheme, model.sample, model.effects)
        parts = independent_parts(pool, scheme, model.effects)
        assert parts is not None, "made for sign flips and whole periods"
        value = population_value(self.generator, parts)
        if fit.least_squares_df:
            value[-1] *= model.sample.observations / fit.least_squares_df
        return value

    def without(self, kept: NDArray[np.bool_]) -> Array:
        """From the arrays of the fit where its samples share a likelihood."""
        return self._cut(kept) if self.together and not self._both else without_periods(self.fit, kept)

    @property
    def together(self) -> bool:
        """Whether many replicates can be estimated at once."""
        fit, model = self.fit, self.generator.model
        if fit.covariance != "information":
            return False
        if self._both:
            return spectral(model.matrix, model.logdet) and not symmetric_in_both(model)
        return fast(model.matrix, model.logdet, model.lag_y, model.lag_error)

    @property
    def _both(self) -> bool:
        return self.generator.model.lag_y and self.generator.model.lag_error

    @property
    def room(self) -> int:
        """Numbers that one panel takes while they are: its columns and their lags, and those of the lags."""
        return self.fit.residuals.size * (2 * (2 + self.generator.model.Z.shape[-1]) if self._both else 1)

    def all_at_once(
        self, scheme: Scheme, rngs: Sequence[np.random.Generator]
    ) -> tuple[Replicated, NDArray[np.bool_]]:
        """Many replicates at a time."""
        errors = np.stack([self.errors(scheme, rng) for rng in rngs])
        found = estimate_all(self.generator.model, self.generator.panels(errors))
        settled = np.ones(len(rngs), dtype=bool) if found.settled is None else found.settled
        return Replicated(*self._in_order(found), found.at_bound), settled

    def _in_order(self, found: Replicates) -> tuple[Array, Array]:
        """Parameters in the order of the fit; σ² of least squares with its degrees of freedom, as in the fit."""
        fit, model = self.fit, self.generator.model
        scale = model.sample.observations / fit.least_squares_df if fit.least_squares_df else 1.0
        assert found.cov is not None, "estimated with covariances"
        cov = found.cov * scale
        cov[:, -1, -1] *= scale**2
        return np.column_stack([found.delta, *spatial_values(model, found), found.sigma2 * scale]), cov

    def _cut(self, kept: NDArray[np.bool_]) -> Array:
        """Cut transformed arrays and transform them again."""
        fit, model = self.fit, self.generator.model
        Z = demean(model.Z[kept], model.effects)
        WZ = None if model.WZ is None else demean(model.WZ[kept], model.effects)
        kind: Literal["lee_yu", "direct"] = "direct" if fit.estimator == "direct" else "lee_yu"
        sample = transformed_sample(model.sample.n_units, len(Z), model.effects, kind)
        basis = column_basis(Z.reshape(-1, Z.shape[2]))
        if not (basis.scale > 0).all() or np.abs(basis.R.diagonal()).min(initial=1.0) <= RANK_TOLERANCE:
            raise SpecificationError(
                "A regressor has no variation of its own outside one period.",
                "解释变量在单一时期之外没有自身的变动。",
            )
        smaller = replace(model, sample=sample, Z=Z, WZ=WZ, basis=basis)
        found = estimate_all(smaller, fit.panel.array(fit.spec.y)[kept][None], covariance=False)
        spatial = [values[0] for values in spatial_values(model, found)]
        degrees = sample.observations - found.delta.shape[1] if fit.least_squares_df else sample.observations
        if fit.estimator == "direct" and fit.least_squares_df:
            degrees -= sample.absorbed
        return np.array([*found.delta[0], *spatial, found.sigma2[0] * sample.observations / degrees])


# --- Panels of any shape

UNEVEN = Text(
    "periods and units have rows of different numbers, which cannot be exchanged",
    "各时期、各地区的行数不同，不能互换",
)


def draw_rows(e: Array, scheme: Scheme, free: int, unit: NDArray[np.intp], rng: np.random.Generator) -> Array:
    """Errors (N, m) like the residuals e of rows, m drawn together: normal ones, other rows, or signs flipped by unit."""
    if scheme == "parametric":
        return rng.standard_normal(e.shape) @ np.linalg.cholesky(e.T @ e / free).T
    pool = (e - (scheme == "residual") * e.mean(axis=0)) * np.sqrt(len(e) / free)
    if scheme == "residual":
        return rng.choice(pool, len(e))
    return pool * rng.choice([-1.0, 1.0], int(unit.max()) + 1)[unit][:, None]


@dataclass(frozen=True)
class ShapeSource:
    """y* = S⁻¹(Zδ̂ + Dα̂ + B⁻¹ε*) on the rows of a panel of any shape, effects as estimated."""

    fit: Fit
    design: ShapeDesign
    refused: ClassVar[Mapping[Scheme, Text]] = {"period": UNEVEN, "unit": UNEVEN}

    @cached_property
    def mean(self) -> Array:
        """Zδ̂ + Dα̂ (N,): Sy less what the residuals make of it."""
        shape, y = self.design.shape, self.design.values
        u = self.spread(self.fit.residuals[self.design.present])
        return (y - self._rho * (shape.W.matrix @ y) if shape.W is not None else y) - u

    @property
    def _rho(self) -> float:
        return float(self.fit.params.get("rho", 0.0))

    def spread(self, e: Array) -> Array:
        """B⁻¹e."""
        V = self.design.shape.V
        return e if V is None else RowFilter(V, float(self.fit.params["lam"])).solve(e)

    def draw(self, scheme: Scheme, rng: np.random.Generator) -> Array:
        """y* (N,): errors drawn row by row, normal ones, or residuals whose signs are flipped by unit."""
        shape, e = self.design.shape, self.fit.residuals[self.design.present]
        drawn = draw_rows(e[:, None], scheme, shape.free, shape.unit, rng)[:, 0]
        return self.solve(self.mean + self.spread(drawn))

    def solve(self, right: Array) -> Array:
        """S⁻¹ of rows (N,)."""
        W = self.design.shape.W
        return right if W is None else RowFilter(W, self._rho).solve(right)

    def estimate(self, drawn: Array) -> Fit:
        """As the fit, on the same rows."""
        how = self.fit.convergence
        design = replace(self.design, values=drawn)
        return fit_shape(design, self.fit.covariance, how.bandwidth, how.kernel, noted=False)

    def centre(self, scheme: Scheme) -> Array | None:
        """θ̂; sign flips keep what units have of their own: the mean of the draws."""
        return None if scheme == "wild" else self.fit.params.to_numpy()

    def without(self, kept: NDArray[np.bool_]) -> Array:
        """Parameters of some periods."""
        return without_periods(self.fit, kept)


@dataclass(frozen=True)
class RegimeRows(ShapeSource):
    """Rows of a panel of any shape with a ρ for each regime; each redraw is searched from the estimate."""

    @cached_property
    def regimes(self) -> RowRegimes:
        """The regimes of the rows."""
        return row_regimes(self.design)

    @property
    def _own(self) -> Array:
        return self.fit.params.to_numpy()[-1 - self.regimes.count : -1]

    @cached_property
    def mean(self) -> Array:
        """Zδ̂ + Dα̂ (N,)."""
        y = self.design.values
        lag = self.regimes.parts(self.regimes.weights.matrix @ y) @ self._own
        return y - lag - self.fit.residuals[self.design.present]

    def solve(self, right: Array) -> Array:
        """S⁻¹ of rows (N,)."""
        return self.regimes.solve(self._own, right)

    def estimate(self, drawn: Array) -> Fit:
        """As the fit, on the same rows."""
        how, design = self.fit.convergence, replace(self.design, values=drawn)
        return estimate_regime_rows(design, self.fit.covariance, how.bandwidth, start=self._own)


def regime_rows(fit: Fit, design: ShapeDesign) -> ShapeSource:
    """Regimes of a panel of any shape; with one ρ, x and Wx of each are variables of their own."""
    spec, fixed = fit.spec, fit.spec.fixed_effects
    if spec.lag_y and "rho" not in spec.common:
        return RegimeRows(fit, design)
    terms = [name for name in fit.params.index if name not in ("rho", "sigma2")][fixed == "none" :]
    plain = DurbinSpec(spec.y, terms, spec.lag_y, [], fixed_effects=fixed)
    return ShapeSource(fit, replace(design, spec=plain))
