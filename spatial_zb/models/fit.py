"""What an estimation gives: a frozen record, with the same words for every model."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from spatial_zb.core.within import demean
from spatial_zb.models.design import Design
from spatial_zb.models.estimates import Estimates
from spatial_zb.models.spec import DurbinSpec

__all__ = ["Fit"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Fit(Estimates):
    """An estimated single-equation model.

    Attributes
    ----------
    params, cov
        Estimates by term (x, ``W_x``, ``rho``, ``lam``, ``sigma2``, and ``phi`` = σ²_μ/σ²_ε with random
        effects) and their covariance; NaN where no standard error can be claimed.
    estimator
        ``"lee_yu"``, ``"direct"``, ``"gmm"``, ``"yang"`` or ``"uncorrected"`` as asked; ``"ml"`` with random effects.
    log_likelihood
        With all constants; under ``lee_yu`` that of the transformed data, with lags in time at its maximum before the
        correction; NaN with ``gmm``, and with regimes under two-way effects.
    residuals
        (T, n) ε̂ after the fixed-effects transform; with random effects, after the best linear prediction of
        the unit effects.
    convergence
        ``converged``, ``at_bound``, ``gradient``, ``modes`` (local maxima of the likelihood), ``asked`` (the ``powers`` or
        ``bandwidth`` of the call) and, for large W, ``probe_error``; with lags in time ``uncorrected`` estimates,
        ``corrected`` and the largest eigenvalue of the process (``radius``, and off period means); with ``regimes`` their
        two values; with ``gmm`` the instruments used and dropped, first-stage strength, the test of over-identification and,
        where moments were to be less the bias of many instruments, ``corrected`` (False: they have no solution).
    """

    spec: DurbinSpec
    design: Design
    estimator: str
    absorbed: int

    def __repr__(self) -> str:
        state = "" if self.converged else ", n.c."
        what = f"{self.spec.title} of {self.spec.y!r}, {self.spec.fixed_effects} effects"
        return f"Fit({what}, {self.weights.label!r}{state})"

    @property
    def sigma2(self) -> float:
        """Variance of ε."""
        return float(self.params["sigma2"])

    @property
    def pvalues(self) -> pd.Series:
        """Two-sided p-values, standard normal (Student's t where least squares gave the estimate)."""
        return self._table()["p_value"]

    @property
    def endog_names(self) -> str:
        """Name of y, as statsmodels calls it."""
        return self.spec.y

    @property
    def cov_type(self) -> str:
        """Which covariance it is, as statsmodels calls it."""
        return self.covariance

    @property
    def r2_within(self) -> float:
        """1 − ε'ε / y'y after the transform; from unit means (mean) with random (without any) effects."""
        y, residuals = self.design.y, self.residuals
        if self.spec.fixed_effects == "none":
            y = y - y.mean()
        if self.spec.fixed_effects == "random":
            y, residuals = demean(y, "unit"), demean(residuals, "unit")
        return float(1 - (residuals**2).sum() / (y**2).sum())

    @property
    def n_parameters(self) -> int:
        """Coefficients and variances; with ``direct``, the effects are parameters too."""
        return len(self.params) + (self.absorbed if self.estimator == "direct" else 0)

    @property
    def bias_correction(self) -> bool:
        """Whether the moments of ``gmm`` are less the bias of many instruments (Liu & Lee 2010)."""
        return self.estimator == "gmm" and bool(self.convergence.get("corrected", False))

    def glance(self) -> pd.DataFrame:
        """The fit in one row."""
        row = {
            "model": self.spec.title,
            "y": self.spec.y,
            "fixed_effects": self.spec.fixed_effects,
            "estimator": self.estimator,
            "weights": self.weights.label,
            "normalisation": self.weights.normalisation,
            "covariance": self.covariance,
            "nobs": self.nobs,
            "n_units": len(self.panel.units),
            "n_periods": len(self.panel.periods),
            "log_likelihood": self.log_likelihood,
            "aic": self.aic,
            "bic": self.bic,
            "sigma2": self.sigma2,
            "r2_within": self.r2_within,
            "converged": self.converged,
        }
        row |= {"bias_correction": self.bias_correction} if self.estimator == "gmm" else {}
        return pd.DataFrame([row])

    def summary(self) -> str:
        """The fit as text, for a terminal."""
        head = self.glance().iloc[0]
        lines = [
            f"{head['model']} of {self.spec.y}   effects: {head['fixed_effects']}   W: {head['weights']} "
            f"({head['normalisation']})",
            f"estimator: {head['estimator']}   covariance: {head['covariance']}   "
            f"{head['n_units']} units × {head['n_periods']} periods, {head['nobs']} observations",
            f"ln L = {self.log_likelihood:.4f}   AIC = {self.aic:.2f}   within R² = {self.r2_within:.4f}",
        ]
        if self.bias_correction:
            lines.append("moments less the bias of many instruments (Liu & Lee 2010)")
        if not self.converged:
            lines.append("n.c. — NOT CONVERGED: no standard errors are claimed.")
        body = self.tidy().to_string(index=False, float_format=lambda v: f"{v: .5f}")
        return "\n".join([*lines, "", body])
