"""Bootstrap of a system: its coefficients, and the effects that run through all its equations."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.core.bootstrap import Scheme, draw_errors
from spatial_zb.core.covariance import inverse_or_nan
from spatial_zb.core.system_arrays import SystemArrays, coefficient_matrices
from spatial_zb.core.system_bootstrap import SystemGenerator, sign_flip_population
from spatial_zb.core.system_gmm import instrumental
from spatial_zb.core.system_impacts import Sources, average_impacts, impact_gradient
from spatial_zb.core.system_ml import SystemLikelihood, maximise_system
from spatial_zb.core.system_sandwich import quasi_covariance
from spatial_zb.effects import EFFECTS
from spatial_zb.errors import ConvergenceError, SpatialZbError, SpatialZbWarning, SpecificationError
from spatial_zb.execute import run_tasks
from spatial_zb.models.system_fit import SystemFit, weights_eigenvalues
from spatial_zb.resampling import (
    BOUND_WARNING,
    JACKKNIFE_PERIODS,
    Interval,
    Sample,
    all_plus,
    less_bias,
    stacked_results,
)
from spatial_zb.system_effects import sources_of

__all__ = ["SystemBootstrap", "bootstrap_system"]

Array = NDArray[np.float64]
#: Share of the replicates that must be stable systems for intervals of effects.
STABLE_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class SystemBootstrap:
    """Re-estimates of a system on resampled panels.

    Attributes
    ----------
    draws
        (R, p) parameters of every replicate, in the order of ``fit.params``.
    covariances
        (R, p, p) their covariances, of the kind of the fit's; NaN where a replicate has none.
    centre
        (p,) what the estimator finds in the bootstrap population, see :class:`spatial_zb.resampling.Bootstrap`.
    at_bound
        Number of replicates without an interior maximum (or minimum of the moments of λ); they are kept.
    """

    fit: SystemFit
    scheme: Scheme
    draws: Array
    covariances: Array
    centre: Array
    at_bound: int

    @cached_property
    def stable(self) -> NDArray[np.bool_]:
        """(R,) whether the system of a replicate is stable, so that it has effects."""
        return _stable(self.fit, self.draws)

    def tidy(self, interval: Interval = "percentile", alpha: float = 0.05) -> pd.DataFrame:
        """Equation, term, estimate, bias, std_error, p_value, conf_low, conf_high of the coefficients."""
        errors = np.sqrt(np.einsum("rii->ri", self.covariances))
        jackknife = self._jackknife if interval == "bca" else None
        point, error = self.fit.params.to_numpy(), self.fit.bse.to_numpy()
        sample = Sample(point, error, self.draws, errors, self.centre, jackknife)
        return pd.DataFrame(sample.table(interval, alpha), index=self.fit.params.index).reset_index()

    def bias_corrected(self, of: Literal["mean", "median"] = "mean") -> pd.Series:
        """Estimates less their bias, by equation and term, see :meth:`spatial_zb.resampling.Bootstrap.bias_corrected`.

        Needed for the spatial lags under a dense W, which the likelihood puts too low (docs/validation/system.md).
        """
        return less_bias(self.fit.params, self.draws, self.centre, of)

    def effects(self, interval: Interval = "percentile", alpha: float = 0.05) -> pd.DataFrame:
        """Response, source, effect, estimate, bias, std_error, p_value, conf_low, conf_high.

        Sources are the exogenous variables and ``shock:<equation>``, whose total is the whole closed loop. Replicates of
        unstable systems have no effects: they are left out, and said.

        Raises
        ------
        ConvergenceError
            The fit is not stable, or fewer than half of the replicates are.
        """
        fit = self.fit
        if not fit.stability().stable:
            raise ConvergenceError(f"{fit!r} is not stable, so its effects are not defined.")
        self._say_unstable()
        names, sources = sources_of(fit.spec)
        kept, where = self.draws[self.stable], fit.coefficient_positions
        inner = np.ix_(where, where)
        point, error = _effects(fit, sources, fit.delta[None], fit.cov.to_numpy()[inner][None])
        draws, errors = _effects(
            fit, sources, kept[:, where], self.covariances[self.stable][:, where][:, :, where]
        )
        centre, _ = _effects(fit, sources, self.centre[None, where], None)
        jackknife = None
        if interval == "bca" and self._jackknife is not None:
            jackknife = _effects(fit, sources, self._jackknife[:, where], None)[0]
        sample = Sample(point[0], error[0], draws, errors, centre[0], jackknife)
        levels = [fit.spec.names, names, EFFECTS]
        index = pd.MultiIndex.from_product(levels, names=["response", "source", "effect"])
        return pd.DataFrame(sample.table(interval, alpha), index=index).reset_index()

    def glance(self) -> pd.DataFrame:
        """The system in one row, and how it was resampled."""
        return self.fit.glance().assign(
            scheme=self.scheme,
            replicates=len(self.draws),
            at_bound=self.at_bound,
            unstable=int((~self.stable).sum()),
        )

    def _say_unstable(self) -> None:
        kept, all_of_them = int(self.stable.sum()), len(self.draws)
        if kept < STABLE_SHARE * all_of_them:
            raise ConvergenceError(
                f"Only {kept} of {all_of_them} replicates of {self.fit!r} are stable systems: too few for intervals of "
                "effects."
            )
        if all_of_them - kept > BOUND_WARNING * all_of_them:
            warnings.warn(
                f"{all_of_them - kept} of {all_of_them} replicates are unstable systems without effects and were left out: "
                "intervals of effects are too short.",
                SpatialZbWarning,
                stacklevel=3,
            )

    @cached_property
    def _jackknife(self) -> Array | None:
        return _jackknife(self.fit)


def bootstrap_system(
    fit: SystemFit, replicates: int, scheme: Scheme, root: np.random.SeedSequence, options: dict[str, Any]
) -> SystemBootstrap:
    """Resample a system; the arguments are those of :func:`spatial_zb.resampling.bootstrap`."""
    if fit.spec.fixed_effects == "random":
        raise SpecificationError(
            "The bootstrap of a system draws from fixed effects; with random effects read the standard errors of the fit."
        )
    generator = _generator(fit)
    task = partial(_refit, fit, generator, scheme)
    found = run_tasks(task, range(replicates), seed=root, **options)
    draws, covariances, at_bound = stacked_results(found)
    if at_bound.sum() > BOUND_WARNING * replicates:
        warnings.warn(
            f"{at_bound.sum()} of {replicates} replicates of the system have no interior maximum: it is weakly identified, "
            "and its intervals are not to be relied on (docs/validation/system.md).",
            SpatialZbWarning,
            stacklevel=3,
        )
    return SystemBootstrap(
        fit, scheme, draws, covariances, _centre(fit, generator, scheme), int(at_bound.sum())
    )


def _generator(fit: SystemFit) -> SystemGenerator:
    lam = np.asarray(fit.convergence["lam"], float)
    return SystemGenerator(fit.design.arrays, fit.spec.transform, fit.delta, lam)


def _refit(
    fit: SystemFit, generator: SystemGenerator, scheme: Scheme, _: int, seed: np.random.SeedSequence
) -> dict[str, Any]:
    """One replicate: parameters, covariance, whether at a bound."""
    sample, effects = generator.arrays.sample, generator.effects
    rng = np.random.default_rng(seed)
    errors = draw_errors(fit.residuals, scheme, fit.sigma.to_numpy(), sample, effects, rng)
    params, cov, at_bound = _estimate(fit, generator.sample(errors))
    return {"params": params, "cov": cov, "at_bound": at_bound}


def _estimate(fit: SystemFit, arrays: SystemArrays) -> tuple[Array, Array, bool]:
    """The estimator of the fit on other arrays; a likelihood is climbed from the fit, where the truth is."""
    active = np.flatnonzero(arrays.lag_error)
    where = fit.coefficient_positions
    order = np.concatenate([where, np.setdiff1d(np.arange(len(fit.params)), where)])
    if fit.method != "fiml":
        found = instrumental(arrays, fit.method.endswith("3sls"), fit.covariance)
        theta, cov, at_bound = np.concatenate([found.delta, found.lam[active]]), found.cov, found.at_bound
    else:
        spatial = fit.spec.lags_endogenous or any(arrays.lag_error)
        omega = weights_eigenvalues(fit.weights) if spatial else np.empty(0)
        likelihood = SystemLikelihood(arrays, omega, fit.sigma_form)
        best = maximise_system(likelihood, [fit.params.to_numpy()[order]])
        theta, at_bound = best.theta, best.at_bound
        cov, positive = inverse_or_nan(-best.hessian)
        if positive and fit.covariance == "sandwich":
            cov = quasi_covariance(likelihood, theta, cov)
    back = np.argsort(order)
    cov = np.full_like(cov, np.nan) if at_bound else cov[np.ix_(back, back)]
    return theta[back], cov, bool(at_bound)


def _centre(fit: SystemFit, generator: SystemGenerator, scheme: Scheme) -> Array:
    """θ̂; under sign flips by unit the estimator's value in their population."""
    if scheme != "wild":
        return fit.params.to_numpy()
    sample = generator.arrays.sample
    pool = draw_errors(fit.residuals, "wild", fit.sigma.to_numpy(), sample, generator.effects, all_plus())
    return _estimate(fit, sign_flip_population(generator, pool))[0]


def _stable(fit: SystemFit, draws: Array) -> NDArray[np.bool_]:
    delta = draws[:, fit.coefficient_positions]
    gamma, psi = coefficient_matrices(delta, fit.design.arrays.links, len(fit.spec.names))
    strength = np.abs(np.linalg.eigvals(np.linalg.solve(gamma, psi))).max(axis=1)
    return (fit.stability().radius * strength < 1) & (np.linalg.det(gamma) > 0)


def _effects(
    fit: SystemFit, sources: Sources, delta: Array, covariances: Array | None
) -> tuple[Array, Array | None]:
    """Effects (R, m·K·3) at coefficients (R, K) and their standard errors by the delta method."""
    row = fit.weights.row_normalised or not fit.spec.uses_weights
    omega = weights_eigenvalues(fit.weights) if fit.spec.uses_weights else np.zeros(1)
    links, matrix = fit.design.arrays.links, fit.weights.matrix
    values = _three(average_impacts(delta, links, sources, omega, matrix, row), -1).reshape(len(delta), -1)
    if covariances is None:
        return values, None
    errors = np.empty_like(values)
    for r, (at, V) in enumerate(zip(delta, covariances, strict=True)):
        gradient = _three(impact_gradient(at, links, sources, omega, matrix, row), 2)
        gradient = gradient.reshape(-1, gradient.shape[-1])
        errors[r] = np.sqrt(np.einsum("ei,ei->e", gradient @ V, gradient))
    return values, errors


def _three(values: Array, axis: int) -> Array:
    """Direct, total → direct, indirect, total along an axis."""
    direct, total = np.take(values, 0, axis), np.take(values, 1, axis)
    return np.stack([direct, total - direct, total], axis=axis)


def _jackknife(fit: SystemFit) -> Array | None:
    """Parameters with one period left out at a time; None when T is small or one of these fits fails."""
    from spatial_zb.models.simultaneous import fit_system

    periods = fit.panel.periods
    if len(periods) < JACKKNIFE_PERIODS:
        return None
    powers = max((int(name[1:].split("_")[0] or 1) for name in fit.instruments if _is_lag(name)), default=0)
    sigma = {"sigma": fit.sigma_form} if fit.method == "fiml" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        try:
            fits = [
                fit_system(
                    fit.spec,
                    fit.panel.select(periods=[p for p in periods if p != left]),
                    fit.weights,
                    fit.method,
                    instrument_powers=powers,
                    **sigma,
                )
                for left in periods
            ]
        except SpatialZbError:
            return None
    return np.array([f.params.to_numpy() for f in fits])


def _is_lag(name: str) -> bool:
    head = name.split("_")[0]
    return name.startswith("W") and "_" in name and (head == "W" or head[1:].isdigit())
