"""Bootstrap of a fit: its coefficients and its effects."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.core.bootstrap import (
    Generator,
    Scheme,
    bca_limits,
    draw_errors,
    population_value,
    studentised_limits,
)
from spatial_zb.core.impacts import average_effects, multipliers, no_multipliers
from spatial_zb.core.replicates import Replicates, SampleModel, estimate_all, fast
from spatial_zb.core.spatial_ml import column_basis
from spatial_zb.core.within import demean, transformed_sample
from spatial_zb.effects import EFFECTS, average_effects_at
from spatial_zb.errors import SpatialZbError, SpatialZbWarning, SpecificationError, listed
from spatial_zb.execute import run_tasks
from spatial_zb.models.design import RANK_TOLERANCE
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.fit import Fit
from spatial_zb.models.system_fit import SystemFit

if TYPE_CHECKING:
    from spatial_zb.result_store import ResultStore
    from spatial_zb.system_resampling import SystemBootstrap

__all__ = [
    "Bootstrap",
    "Sample",
    "all_plus",
    "bootstrap",
    "check_single",
    "draw_sample",
    "generator_of",
    "stacked_results",
]

Array = NDArray[np.float64]
Interval = Literal["percentile", "basic", "bca", "studentised"]
Progress = Callable[[int, int, float], None]
#: Fewest periods from which leaving one out says something about skewness.
JACKKNIFE_PERIODS = 5
#: Share of replicates at the end of the admissible interval from which the intervals are doubted.
BOUND_WARNING = 0.05
#: Numbers of simulated panels held at once.
CHUNK = 4_000_000
#: Rows of the long sample that stands for the population of sign flips, at most.
LARGEST_POPULATION = 5_000_000
#: Fewest replicates for limits of 95 %.
FEWEST = 99


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Re-estimates of a fit on resampled panels.

    Attributes
    ----------
    draws
        (R, p) parameters of every replicate, in the order of ``fit.params``.
    covariances
        (R, p, p) their covariances, of the kind of the fit's; NaN where a replicate has none.
    centre
        (p,) what the estimator finds in the bootstrap population: θ̂, except where ``wild`` keeps variances that differ
        between units. Replicates are read as deviations from it.
    at_bound
        Number of replicates whose likelihood had no interior maximum; they are kept.
    """

    fit: Fit
    scheme: Scheme
    draws: Array
    covariances: Array
    centre: Array
    at_bound: int

    @cached_property
    def jackknife(self) -> Array | None:
        """(T, p) parameters with one period left out, for the BCa limits; None where T is small."""
        return _jackknife(self.fit)

    def tidy(self, interval: Interval = "percentile", alpha: float = 0.05) -> pd.DataFrame:
        """Term, estimate, bias, std_error, p_value, conf_low, conf_high of the coefficients.

        ``bias`` is the mean of the replicates less what they are centred at; ``p_value`` the share of replicates
        whose deviation (studentised: over its standard error) is larger than that of the estimate from zero.
        """
        errors = np.sqrt(np.einsum("rii->ri", self.covariances))
        sample = Sample(
            self.fit.params.to_numpy(),
            self.fit.bse.to_numpy(),
            self.draws,
            errors,
            self.centre,
            self.jackknife,
        )
        return pd.DataFrame({"term": self.fit.params.index, **sample.table(interval, alpha)})

    def effects(self, interval: Interval = "percentile", alpha: float = 0.05) -> pd.DataFrame:
        """Term, effect, estimate, bias, std_error, p_value, conf_low, conf_high of the average effects."""
        fit, at = (
            self.fit,
            lambda values: average_effects_at(self.fit, values).reshape(*values.shape[:-1], -1),
        )
        point = fit.params.to_numpy()
        error = _effect_errors(fit, point[None], fit.cov.to_numpy()[None])[0]
        errors = _effect_errors(fit, self.draws, self.covariances)
        left_out = self.jackknife if interval == "bca" else None
        jackknife = None if left_out is None else at(left_out)
        sample = Sample(at(point), error, at(self.draws), errors, at(self.centre), jackknife)
        names = {
            "term": [name for name in fit.spec.regressors for _ in EFFECTS],
            "effect": list(EFFECTS) * len(fit.spec.regressors),
        }
        return pd.DataFrame({**names, **sample.table(interval, alpha)})

    def bias_corrected(self, of: Literal["mean", "median"] = "mean") -> pd.Series:
        """Estimates less their bias: θ̂ − (mean of the replicates − centre), or that which moves the median."""
        return less_bias(self.fit.params, self.draws, self.centre, of)

    def glance(self) -> pd.DataFrame:
        """The fit in one row, and how it was resampled."""
        return self.fit.glance().assign(
            scheme=self.scheme, replicates=len(self.draws), at_bound=self.at_bound
        )


def bootstrap(
    fit: Fit | SystemFit,
    replicates: int = 999,
    scheme: Scheme = "residual",
    *,
    rng: int | np.random.SeedSequence | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    store: ResultStore | None = None,
    progress: Progress | None = None,
) -> Bootstrap | SystemBootstrap:
    """Resample a fit and estimate it again, ``replicates`` times.

    Parameters
    ----------
    fit
        A converged fit of one equation by ``lee_yu`` or ``direct``, or a system with fixed effects by any method.
    replicates
        At least 99.
    scheme
        ``"residual"`` (default), ``"period"``, ``"unit"``, ``"wild"`` (by unit) or ``"parametric"``; see
        :func:`spatial_zb.core.bootstrap.draw_errors`.
    rng
        Seed; every replicate draws from its own stream, so that the numbers do not depend on ``workers``.
    workers, scheduler, store, progress
        As in :func:`spatial_zb.execute.run_tasks`, where replicates are estimated one by one: systems, models with two
        spatial lags, covariances other than ``"information"``, large n. The others take less than a second together.

    Raises
    ------
    SpecificationError
        A fit by another estimator or without an interior maximum, an unknown scheme, too few replicates.

    Warns
    -----
    SpatialZbWarning
        More than 5 % of the replicates without an interior maximum.
    """
    _check(fit, replicates, scheme)
    options = {"workers": workers, "scheduler": scheduler, "store": store, "progress": progress}
    root = rng if isinstance(rng, np.random.SeedSequence) else np.random.SeedSequence(rng)
    if isinstance(fit, SystemFit):
        from spatial_zb.system_resampling import bootstrap_system

        return bootstrap_system(fit, replicates, scheme, root, options)
    check_single(fit)
    generator = generator_of(fit)
    if _together(fit):
        draws, covariances, at_bound = _all_at_once(fit, generator, replicates, scheme, root, progress)
    else:
        draws, covariances, at_bound = _one_by_one(fit, generator, replicates, scheme, root, options)
    if at_bound.sum() > BOUND_WARNING * replicates:
        warnings.warn(
            f"{at_bound.sum()} of {replicates} replicates had no interior maximum: the data say little about the spatial "
            f"coefficient (docs/validation/study.md). {_instead(fit)}",
            SpatialZbWarning,
            stacklevel=2,
        )
    centre = _centre(fit, generator, scheme, draws)
    return Bootstrap(fit, scheme, draws, covariances, centre, int(at_bound.sum()))


def _instead(fit: Fit) -> str:
    if len(fit.spec.spatial_terms) > 1:
        return f"{fit.spec.family} has two spatial coefficients: prefer a model with one."
    return "Read percentile limits, and zb.profile_interval(fit), which needs no standard error."


def _check(fit: Any, replicates: int, scheme: str) -> None:
    if not isinstance(fit, Fit | SystemFit):
        raise SpecificationError(
            f"bootstrap takes a fit of fit_durbin or fit_system, not {type(fit).__name__}."
        )
    if scheme not in get_args(Scheme):
        raise SpecificationError(f"scheme must be one of {listed(get_args(Scheme))}, not {scheme!r}.")
    if replicates < FEWEST:
        raise SpecificationError(
            f"replicates must be at least {FEWEST} for limits of 95 %, not {replicates}."
        )
    if not fit.converged:
        raise SpecificationError(
            f"{fit!r} has no interior maximum to resample from; zb.profile_interval needs none."
        )


def check_single(fit: Fit) -> None:
    """Refuse fits that cannot be drawn from."""
    if fit.estimator not in ("lee_yu", "direct"):
        raise SpecificationError(
            f"The bootstrap resamples maximum-likelihood fits; this one is by {fit.estimator!r}."
        )
    for option, what in (("time_lag", "a time lag"), ("lag_time_lag", "a time lag"), ("regimes", "regimes")):
        if getattr(fit.spec, option, None):
            raise SpecificationError(
                f"The bootstrap does not resample models with {what}; read the standard errors of the fit."
            )


def _together(fit: Fit) -> bool:
    """Whether all replicates can be estimated at once."""
    spec, weights = fit.spec, fit.weights
    logdet = weights.logdet if spec.spatial_terms else None
    return fit.covariance == "information" and fast(
        weights.matrix, logdet, bool(spec.lag_y), bool(spec.lag_error)
    )


def generator_of(fit: Fit) -> Generator:
    """The fitted model as a source of samples."""
    spec, design = fit.spec, fit.design
    T, n = design.y.shape
    model = SampleModel(
        matrix=fit.weights.matrix,
        logdet=fit.weights.logdet if spec.spatial_terms else None,
        sample=transformed_sample(n, T, spec.fixed_effects, fit.estimator),
        effects=spec.fixed_effects,
        Z=design.Z,
        WZ=design.WZ,
        basis=design.basis,
        lag_y=bool(spec.lag_y),
        lag_error=bool(spec.lag_error),
    )
    values, k = fit.params.to_numpy(), len(spec.terms)
    spatial = dict(zip(spec.spatial_terms, values[k:], strict=False))
    return Generator(model, values[:k], float(spatial.get("rho", 0.0)), float(spatial.get("lam", 0.0)))


def _errors(fit: Fit, generator: Generator, scheme: Scheme, seed: np.random.SeedSequence) -> Array:
    model = generator.model
    rng = np.random.default_rng(seed)
    return draw_errors(fit.residuals, scheme, np.float64(fit.sigma2), model.sample, model.effects, rng)


def draw_sample(fit: Fit, rng: np.random.Generator) -> Array:
    """One y* (T, n) from a fit, its residuals drawn one by one."""
    generator = generator_of(fit)
    model = generator.model
    errors = draw_errors(fit.residuals, "residual", np.float64(fit.sigma2), model.sample, model.effects, rng)
    return generator.panels(errors[None])[0]


def _all_at_once(
    fit: Fit,
    generator: Generator,
    replicates: int,
    scheme: Scheme,
    root: np.random.SeedSequence,
    progress: Progress | None,
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Draws (R, p), covariances (R, p, p) and which are at a bound, many replicates at a time."""
    seeds = root.spawn(replicates)
    size = max(1, CHUNK // fit.residuals.size)
    parts = []
    for first in range(0, replicates, size):
        errors = [_errors(fit, generator, scheme, seed) for seed in seeds[first : first + size]]
        found = estimate_all(generator.model, generator.panels(np.stack(errors)))
        parts.append((*_in_order(fit, generator.model, found), found.at_bound))
        if progress:
            progress(min(first + size, replicates), replicates, 0.0)
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def _in_order(fit: Fit, model: SampleModel, found: Replicates) -> tuple[Array, Array]:
    """Parameters in the order of the fit; σ² of least squares with its degrees of freedom, as in the fit."""
    spatial = [v for v, on in ((found.rho, model.lag_y), (found.lam, model.lag_error)) if on]
    scale = model.sample.observations / fit.df_resid if fit.df_resid else 1.0
    cov = found.cov * scale
    cov[:, -1, -1] *= scale**2
    return np.column_stack([found.delta, *spatial, found.sigma2 * scale]), cov


def _one_by_one(
    fit: Fit,
    generator: Generator,
    replicates: int,
    scheme: Scheme,
    root: np.random.SeedSequence,
    options: dict[str, Any],
) -> tuple[Array, Array, NDArray[np.bool_]]:
    found = run_tasks(partial(_refit, fit, generator, scheme), range(replicates), seed=root, **options)
    return stacked_results(found)


def stacked_results(found: list[dict[str, Any]]) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Parameters (R, p), covariances (R, p, p) and which are at a bound, out of replicates."""
    parts = (np.stack([one[name] for one in found]) for name in ("params", "cov", "at_bound"))
    draws, covariances, at_bound = parts
    return draws, covariances, at_bound.astype(bool)


def _refit(
    fit: Fit, generator: Generator, scheme: Scheme, _: int, seed: np.random.SeedSequence
) -> dict[str, Any]:
    """One replicate by the estimator of the fit: parameters, covariance, whether at a bound."""
    y = generator.panels(_errors(fit, generator, scheme, seed)[None])[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        again = fit_durbin(
            fit.spec, fit.panel.with_columns({fit.spec.y: y}), fit.weights, fit.estimator, fit.covariance
        )
    return {
        "params": again.params.to_numpy(),
        "cov": again.cov.to_numpy(),
        "at_bound": bool(again.convergence["at_bound"]),
    }


def _centre(fit: Fit, generator: Generator, scheme: Scheme, draws: Array) -> Array:
    """θ̂; under sign flips by unit the value in the population (for large n the mean of the replicates)."""
    if scheme != "wild":
        return fit.params.to_numpy()
    model = generator.model
    if fit.residuals.size * model.sample.n_units > LARGEST_POPULATION:
        return draws.mean(axis=0)
    pool = draw_errors(fit.residuals, "wild", np.float64(fit.sigma2), model.sample, model.effects, all_plus())
    value = population_value(generator, pool)
    if fit.df_resid:
        value[-1] *= model.sample.observations / fit.df_resid
    return value


def all_plus() -> Any:
    """A generator whose signs are all +1: the errors before they are flipped."""
    return SimpleNamespace(choice=lambda values, size: np.ones(size))


def _effect_errors(fit: Fit, values: Array, covariances: Array) -> Array:
    """Standard errors (R, 3 × regressors) of the average effects at parameters (R, p), by the delta method."""
    spec, index = fit.spec, fit.params.index
    at = {name: index.get_loc(name) for name in index}
    rho = values[:, at["rho"]] if spec.lag_y else np.zeros(len(values))
    W = fit.weights
    factors = (
        multipliers(rho, W.matrix, W.logdet, W.row_normalised) if spec.lag_y else no_multipliers(W.matrix)
    )
    beta = values[:, [at[name] for name in spec.regressors]]
    theta = np.stack(
        [values[:, at[f"W_{x}"]] if x in spec.lag_x else rho * 0 for x in spec.regressors], axis=1
    )
    gradient = np.broadcast_to(average_effects(beta, theta, factors)[1], (*beta.shape, 3, 3))
    out = np.empty((*beta.shape, 3))
    for k, name in enumerate(spec.regressors):
        places = [at[name], at.get(f"W_{name}", -1) if name in spec.lag_x else -1, at.get("rho", -1)]
        used = [i for i, place in enumerate(places) if place >= 0]
        where = [places[i] for i in used]
        g, V = gradient[:, k][:, :, used], covariances[:, where][:, :, where]
        out[:, k] = np.sqrt(np.einsum("rei,rij,rej->re", g, V, g))
    return out.reshape(len(values), -1)


def _jackknife(fit: Fit) -> Array | None:
    """Parameters with one period left out at a time; None when T is small or one of these fits fails."""
    T = len(fit.panel.periods)
    if T < JACKKNIFE_PERIODS:
        return None
    leave = (
        partial(_left_out_together, fit, generator_of(fit).model)
        if _together(fit)
        else partial(_left_out_fit, fit)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        try:
            return np.array([leave(np.arange(T) != t) for t in range(T)])
        except SpatialZbError:
            return None


def _left_out_fit(fit: Fit, kept: NDArray[np.bool_]) -> Array:
    """Parameters of some periods by the estimator of the fit."""
    periods = [period for period, keep in zip(fit.panel.periods, kept, strict=True) if keep]
    panel = fit.panel.select(periods=periods)
    return fit_durbin(fit.spec, panel, fit.weights, fit.estimator).params.to_numpy()


def _left_out_together(fit: Fit, model: SampleModel, kept: NDArray[np.bool_]) -> Array:
    """The same from the arrays of the fit: what is transformed may be cut and transformed again."""
    Z = demean(model.Z[kept], model.effects)
    WZ = None if model.WZ is None else demean(model.WZ[kept], model.effects)
    sample = transformed_sample(model.sample.n_units, len(Z), model.effects, fit.estimator)
    basis = column_basis(Z.reshape(-1, Z.shape[2]))
    if not (basis.scale > 0).all() or np.abs(basis.R.diagonal()).min(initial=1.0) <= RANK_TOLERANCE:
        raise SpecificationError("A regressor has no variation of its own outside one period.")
    smaller = replace(model, sample=sample, Z=Z, WZ=WZ, basis=basis)
    found = estimate_all(smaller, fit.panel.array(fit.spec.y)[kept][None], covariance=False)
    spatial = [v[0] for v, on in ((found.rho, model.lag_y), (found.lam, model.lag_error)) if on]
    degrees = sample.observations - found.delta.shape[1] if fit.df_resid else sample.observations
    if fit.estimator == "direct" and fit.df_resid:
        degrees -= sample.absorbed
    return np.array([*found.delta[0], *spatial, found.sigma2[0] * sample.observations / degrees])


def less_bias(params: pd.Series, draws: Array, centre: Array, of: Literal["mean", "median"]) -> pd.Series:
    """θ̂ − (mean or median of the replicates − centre), by term; refuses another ``of``."""
    if of not in ("mean", "median"):
        raise SpecificationError(f'of must be "mean" or "median", not {of!r}.')
    middle = draws.mean(axis=0) if of == "mean" else np.median(draws, axis=0)
    return (params - (middle - centre)).rename("estimate")


@dataclass(frozen=True, slots=True)
class Sample:
    """Statistics (q,), their errors (q,), those of R replicates (R, q), and what these are centred at (q,)."""

    point: Array
    error: Array
    draws: Array
    errors: Array
    centre: Array
    jackknife: Array | None

    def table(self, interval: Interval, alpha: float) -> dict[str, Array]:
        """Columns of a tidy table."""
        if interval not in get_args(Interval):
            raise SpecificationError(
                f"interval must be one of {listed(get_args(Interval))}, not {interval!r}."
            )
        low, high = self._limits(interval, alpha)
        deviations = self.draws - self.centre
        return {
            "estimate": self.point,
            "bias": deviations.mean(axis=0),
            "std_error": self.draws.std(axis=0, ddof=1),
            "p_value": self._p_value(interval),
            "conf_low": low,
            "conf_high": high,
        }

    def _limits(self, interval: Interval, alpha: float) -> Array:
        moved = self.draws - self.centre + self.point
        if interval == "studentised":
            return studentised_limits(self.point, self.error, self.draws - self.centre, self.errors, alpha)
        if interval == "bca":
            return bca_limits(self.point, moved, self.jackknife, alpha)
        low, high = np.quantile(moved, [alpha / 2, 1 - alpha / 2], axis=0)
        return np.array([2 * self.point - high, 2 * self.point - low] if interval == "basic" else [low, high])

    def _p_value(self, interval: Interval) -> Array:
        size, target = np.abs(self.draws - self.centre), np.abs(self.point)
        if interval == "studentised":
            with np.errstate(invalid="ignore", divide="ignore"):
                size, target = size / self.errors, target / self.error
        known = np.isfinite(size)
        further = np.sum(known & (size >= target), axis=0)
        return (1 + further) / (1 + known.sum(axis=0))
