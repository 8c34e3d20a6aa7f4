"""What the bootstrap needs to know of a fitted model: how panels are drawn from it, and estimated again."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spatial_zb.core.bootstrap import Scheme
from spatial_zb.data.panel import Panel
from spatial_zb.errors import SpatialZbError, SpatialZbWarning
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.fit import Fit
from spatial_zb.text import Text

__all__ = ["Source", "again", "jackknife", "quietly", "without_periods"]

Array = NDArray[np.float64]
#: Fewest periods from which leaving one out says something about skewness.
JACKKNIFE_PERIODS = 5


class Source(Protocol):
    """A fitted model as a source of panels.

    ``refused`` says why a scheme makes no sense here.
    """

    fit: Fit

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


def quietly(call: Callable[[], Any]) -> Any:
    """What a call gives, without the warnings of its fits: those of the fit that is resampled have been said."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        return call()


def again(fit: Fit, columns: Mapping[str, Array]) -> Fit:
    """The estimator of a fit, with its options, where some variables (T, n) are others."""
    options = {"covariance": fit.covariance} | fit.convergence.get("asked", {})
    return _estimate(fit, fit.panel.with_columns(dict(columns)), options)


def without_periods(fit: Fit, kept: NDArray[np.bool_]) -> Array:
    """Parameters (p,) of some periods by the estimator of the fit."""
    periods = [period for period, keep in zip(fit.panel.periods, kept, strict=True) if keep]
    asked = fit.convergence.get("asked", {})
    options = {name: asked[name] for name in asked if name != "bandwidth"}  # which moves no estimate
    return _estimate(fit, fit.panel.select(periods=periods), options).params.to_numpy()


def _estimate(fit: Fit, panel: Panel, options: Mapping[str, Any]) -> Fit:
    """The estimator of a fit on another panel."""
    estimator = "lee_yu" if fit.estimator == "ml" else fit.estimator
    return quietly(lambda: fit_durbin(fit.spec, panel, fit.weights, estimator, **options))


def jackknife(periods: int, without: Callable[[NDArray[np.bool_]], Array]) -> Array | None:
    """Parameters (T, p) with one period left out at a time; None when T is small or one of these fits fails."""
    if periods < JACKKNIFE_PERIODS:
        return None
    try:
        return np.array([quietly(lambda t=t: without(np.arange(periods) != t)) for t in range(periods)])
    except SpatialZbError:
        return None
