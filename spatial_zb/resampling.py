"""Bootstrap of a single-equation fit: its coefficients and its effects."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.core.bootstrap import Generator, Scheme, bca_limits, draw_errors, refit
from spatial_zb.core.spatial_ml import Maximum
from spatial_zb.core.within import transformed_sample
from spatial_zb.effects import EFFECTS, average_effects_at
from spatial_zb.errors import SpatialZbError, SpatialZbWarning, SpecificationError, listed
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.fit import Fit

__all__ = ["Bootstrap", "bootstrap"]

Interval = Literal["percentile", "basic", "bca"]
#: Fewest periods from which leaving one out says something about skewness.
JACKKNIFE_PERIODS = 5
#: Share of replicates at the end of the admissible interval from which the intervals are doubted.
BOUND_WARNING = 0.05


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Re-estimates of a fit on resampled panels.

    Attributes
    ----------
    draws
        (R, p) parameters of every replicate, in the order of ``fit.params``.
    jackknife
        (T, p) parameters with one period left out, for the BCa limits; None where T is small.
    at_bound
        Number of replicates whose likelihood had no interior maximum; they are kept.
    """

    fit: Fit
    scheme: Scheme
    draws: NDArray[np.float64]
    jackknife: NDArray[np.float64] | None
    at_bound: int

    def tidy(self, interval: Interval = "percentile", alpha: float = 0.05) -> pd.DataFrame:
        """Term, estimate, bias, std_error, p_value, conf_low, conf_high of the coefficients.

        ``p_value`` is the share of replicates that are further from the estimate than zero is.
        """
        point = self.fit.params.to_numpy()
        table = _summary(point, self.draws, self.jackknife, interval, alpha)
        return pd.DataFrame({"term": self.fit.params.index, **table})

    def effects(self, interval: Interval = "percentile", alpha: float = 0.05) -> pd.DataFrame:
        """Term, effect, estimate, bias, std_error, p_value, conf_low, conf_high of the average effects."""
        point = average_effects_at(self.fit, self.fit.params.to_numpy()).ravel()
        draws = average_effects_at(self.fit, self.draws).reshape(len(self.draws), -1)
        jackknife = None
        if self.jackknife is not None:
            jackknife = average_effects_at(self.fit, self.jackknife).reshape(len(self.jackknife), -1)
        table = _summary(point, draws, jackknife, interval, alpha)
        index = pd.MultiIndex.from_product([self.fit.spec.regressors, EFFECTS], names=["term", "effect"])
        return pd.DataFrame(table, index=index).reset_index()

    def glance(self) -> pd.DataFrame:
        """The fit in one row, and how it was resampled."""
        return self.fit.glance().assign(
            scheme=self.scheme, replicates=len(self.draws), at_bound=self.at_bound
        )


def bootstrap(
    fit: Fit,
    replicates: int = 999,
    scheme: Scheme = "residual",
    *,
    rng: int | np.random.SeedSequence | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Bootstrap:
    """Resample a maximum-likelihood fit and estimate it again, ``replicates`` times.

    Parameters
    ----------
    fit
        A converged fit by ``lee_yu`` or ``direct``.
    replicates
        At least 99.
    scheme
        ``"residual"`` (default), ``"period"``, ``"unit"``, ``"wild"`` (by unit) or ``"parametric"``; see
        :func:`spatial_zb.core.bootstrap.draw_errors`.
    rng
        Seed; every replicate draws from its own stream.
    progress
        Called with (done, total).

    Raises
    ------
    SpecificationError
        A fit by another estimator or without an interior maximum, an unknown scheme, too few replicates.
    """
    _check(fit, replicates, scheme)
    model = _generator(fit)
    make = model.panels()
    seeds = (rng if isinstance(rng, np.random.SeedSequence) else np.random.SeedSequence(rng)).spawn(
        replicates
    )
    draws, at_bound = np.empty((replicates, len(fit.params))), 0
    for r, seed in enumerate(seeds):
        errors = draw_errors(fit.residuals, scheme, fit.sigma2, model.sample, np.random.default_rng(seed))
        best = refit(model, make(errors))
        draws[r], at_bound = _vector(fit, model, best), at_bound + best.at_bound
        progress(r + 1, replicates)
    if at_bound > BOUND_WARNING * replicates:
        warnings.warn(
            f"{at_bound} of {replicates} replicates had no interior maximum: the data say little about the spatial "
            "coefficient, and its interval ends at the admissible bound.",
            SpatialZbWarning,
            stacklevel=2,
        )
    return Bootstrap(fit, scheme, draws, _jackknife(fit), at_bound)


def _check(fit: Fit, replicates: int, scheme: str) -> None:
    if scheme not in get_args(Scheme):
        raise SpecificationError(f"scheme must be one of {listed(get_args(Scheme))}, not {scheme!r}.")
    if replicates < 99:
        raise SpecificationError(f"replicates must be at least 99 for limits of 95 %, not {replicates}.")
    if fit.estimator not in ("lee_yu", "direct"):
        raise SpecificationError(
            f"The bootstrap resamples maximum-likelihood fits; this one is by {fit.estimator!r}."
        )
    if not fit.converged:
        raise SpecificationError(f"{fit!r} has no interior maximum to resample from.")


def _generator(fit: Fit) -> Generator:
    spec, design = fit.spec, fit.design
    T, n = design.y.shape
    params = fit.params
    return Generator(
        matrix=fit.weights.matrix,
        logdet=fit.weights.logdet if spec.spatial_terms else None,
        sample=transformed_sample(n, T, spec.fixed_effects, fit.estimator),
        effects=spec.fixed_effects,
        Z=design.Z,
        WZ=design.WZ,
        delta=params[list(spec.terms)].to_numpy(),
        rho=float(params.get("rho", 0.0)),
        lam=float(params.get("lam", 0.0)),
        lag_y=bool(spec.lag_y),
        lag_error=bool(spec.lag_error),
    )


def _vector(fit: Fit, model: Generator, best: Maximum) -> NDArray[np.float64]:
    """Parameters of a replicate in the order of the fit; σ² of least squares with its degrees of freedom."""
    spatial = [v for v, on in ((best.rho, model.lag_y), (best.lam, model.lag_error)) if on]
    scale = model.sample.observations / fit.df_resid if fit.df_resid else 1.0
    return np.array([*best.delta, *spatial, best.sigma2 * scale])


def _jackknife(fit: Fit) -> NDArray[np.float64] | None:
    """Parameters with one period left out at a time; None when T is small or one of these fits fails."""
    periods = fit.panel.periods
    if len(periods) < JACKKNIFE_PERIODS:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        try:
            fits = [
                fit_durbin(
                    fit.spec,
                    fit.panel.select(periods=[p for p in periods if p != left]),
                    fit.weights,
                    fit.estimator,
                )
                for left in periods
            ]
        except SpatialZbError:
            return None
    return np.array([f.params.to_numpy() for f in fits])


def _summary(
    point: NDArray, draws: NDArray, jackknife: NDArray | None, interval: str, alpha: float
) -> dict[str, NDArray[np.float64]]:
    if interval not in get_args(Interval):
        raise SpecificationError(f"interval must be one of {listed(get_args(Interval))}, not {interval!r}.")
    if interval == "bca":
        low, high = bca_limits(point, draws, jackknife, alpha)
    else:
        low, high = np.quantile(draws, [alpha / 2, 1 - alpha / 2], axis=0)
        if interval == "basic":
            low, high = 2 * point - high, 2 * point - low
    further = np.sum(np.abs(draws - point) >= np.abs(point), axis=0)
    return {
        "estimate": point,
        "bias": draws.mean(axis=0) - point,
        "std_error": draws.std(axis=0, ddof=1),
        "p_value": (1 + further) / (1 + len(draws)),
        "conf_low": low,
        "conf_high": high,
    }
