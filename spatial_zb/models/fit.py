"""What an estimation gives: a frozen record, with the same words for every model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from spatial_zb.core.within import demean
from spatial_zb.data.panel import Panel
from spatial_zb.models.design import Design
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.weights.matrix import Weights

__all__ = ["TABLE_COLUMNS", "Fit", "coefficient_columns", "coefficient_table"]

TABLE_COLUMNS = pd.Index(["estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high"])


@dataclass(frozen=True, eq=False)
class Fit:
    """An estimated single-equation model.

    Attributes
    ----------
    params, cov
        Estimates by term (x, ``W_x``, ``rho``, ``lam``, ``sigma2``, and ``phi`` = σ²_μ/σ²_ε with random
        effects) and their covariance; NaN where no standard error can be claimed.
    estimator
        ``"lee_yu"``, ``"direct"`` or ``"gmm"`` as asked; ``"ml"`` with random effects.
    log_likelihood
        With all constants; under ``lee_yu`` that of the transformed data; NaN with ``gmm``.
    residuals
        (T, n) ε̂ after the fixed-effects transform; with random effects, after the best linear prediction of
        the unit effects.
    convergence
        ``converged``, ``at_bound``, ``gradient``, ``modes`` (local maxima of the likelihood) and, for large
        W, ``probe_error``; with ``gmm`` the instruments used and dropped, first-stage strength and the test
        of over-identification.
    """

    spec: DurbinSpec
    weights: Weights
    panel: Panel
    design: Design
    estimator: str
    covariance: str
    params: pd.Series
    cov: pd.DataFrame
    log_likelihood: float
    nobs: int
    absorbed: int
    residuals: NDArray[np.float64]
    df_resid: int | None
    convergence: Mapping[str, Any]

    def __repr__(self) -> str:
        state = "" if self.converged else ", n.c."
        what = f"{self.spec.family} of {self.spec.y!r}, {self.spec.fixed_effects} effects"
        return f"Fit({what}, {self.weights.label!r}{state})"

    @property
    def converged(self) -> bool:
        """False when the likelihood has no interior maximum, or its information is not positive definite."""
        return bool(self.convergence["converged"])

    @property
    def sigma2(self) -> float:
        """Variance of ε."""
        return float(self.params["sigma2"])

    @property
    def bse(self) -> pd.Series:
        """Standard errors."""
        return pd.Series(np.sqrt(np.diag(self.cov)), index=self.params.index, name="std_error")

    @property
    def tvalues(self) -> pd.Series:
        """Estimates over standard errors."""
        return self.params / self.bse

    @property
    def pvalues(self) -> pd.Series:
        """Two-sided p-values, standard normal (Student's t where least squares gave the estimate)."""
        return self.tidy().set_index("term")["p_value"]

    @property
    def llf(self) -> float:
        """Log-likelihood."""
        return self.log_likelihood

    @property
    def aic(self) -> float:
        """−2 ln L + 2 × number of parameters (with ``direct``, the effects are parameters too)."""
        return -2 * self.log_likelihood + 2 * self._parameters

    @property
    def bic(self) -> float:
        """−2 ln L + ln(N) × number of parameters."""
        return -2 * self.log_likelihood + np.log(self.nobs) * self._parameters

    @property
    def resid(self) -> NDArray[np.float64]:
        """Residuals (T, n)."""
        return self.residuals

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
    def _parameters(self) -> int:
        return len(self.params) + (self.absorbed if self.estimator == "direct" else 0)

    def conf_int(self, alpha: float = 0.05) -> pd.DataFrame:
        """Confidence limits at level 1 − alpha."""
        return self.tidy(alpha).set_index("term")[["conf_low", "conf_high"]]

    def tidy(self, alpha: float = 0.05) -> pd.DataFrame:
        """One row per term: estimate, std_error, statistic, p_value, conf_low, conf_high."""
        table = coefficient_table(self.params, self.bse, alpha, self.df_resid)
        return table.rename_axis("term").reset_index()

    def glance(self) -> pd.DataFrame:
        """The fit in one row."""
        row = {
            "model": self.spec.family,
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
        if not self.converged:
            lines.append("n.c. — NOT CONVERGED: no standard errors are claimed.")
        body = self.tidy().to_string(index=False, float_format=lambda v: f"{v: .5f}")
        return "\n".join([*lines, "", body])


def coefficient_table(
    estimate: pd.Series, std_error: pd.Series, alpha: float = 0.05, df: int | None = None
) -> pd.DataFrame:
    """Statistic, two-sided p-value and limits from estimates and standard errors; NaN stays NaN."""
    numbers = coefficient_columns(estimate.to_numpy(float), std_error.to_numpy(float), alpha, df)
    return pd.DataFrame(numbers, index=estimate.index, columns=TABLE_COLUMNS)


def coefficient_columns(
    estimate: NDArray[np.float64], std_error: NDArray[np.float64], alpha: float, df: int | None
) -> NDArray[np.float64]:
    """The numbers of :func:`coefficient_table` (p, 6), from arrays (p,); normal, or Student's t with df."""
    with np.errstate(invalid="ignore", divide="ignore"):
        statistic = estimate / std_error
    if df is None:
        tail, quantile = special.ndtr(-np.abs(statistic)), -special.ndtri(alpha / 2)
    else:
        tail, quantile = special.stdtr(df, -np.abs(statistic)), -special.stdtrit(df, alpha / 2)
    half = quantile * std_error
    return np.column_stack([estimate, std_error, statistic, 2 * tail, estimate - half, estimate + half])
