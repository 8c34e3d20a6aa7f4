"""May a spatial Durbin model be simplified? Wald and LR tests of SDM → SAR and SDM → SEM, from one fit."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd

from spatial_zb.core.diagnostics import (
    common_factor_wald,
    likelihood_ratio_p_value,
    quadratic_form,
    wald_p_value,
)
from spatial_zb.errors import ConvergenceError, SpatialZbWarning, SpecificationError
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.fit import Fit
from spatial_zb.models.spec import DurbinSpec

__all__ = [
    "can_be_simplified",
    "counts",
    "likelihood_ratio_of",
    "simplification_tests",
    "wald_common_factor",
    "wald_no_lags",
]


def wald_no_lags(fit: Fit) -> tuple[float, int]:
    """θ'[Var θ̂]⁻¹θ and its degrees of freedom: SDM → SAR, by the covariance of the fit."""
    names = [f"W_{name}" for name in fit.spec.lag_x]
    theta = fit.params[names].to_numpy()
    return float(quadratic_form(theta, fit.cov.loc[names, names].to_numpy())), len(names)


def wald_common_factor(fit: Fit) -> tuple[float, int]:
    """Wald statistic of θ + ρβ = 0 (SDM → SEM) by the covariance of the fit, and its degrees of freedom."""
    x = list(fit.spec.lag_x)
    lags = [f"W_{name}" for name in x]
    rho, beta, theta = fit.params["rho"], fit.params[x].to_numpy(), fit.params[lags].to_numpy()
    order = [*x, *lags, "rho"]
    return float(common_factor_wald(beta, theta, rho, fit.cov.loc[order, order].to_numpy())), len(x)


def can_be_simplified(fit: Fit) -> bool:
    """Whether the fit is an SDM that :func:`simplification_tests` can test."""
    spec = fit.spec
    plain = not (spec.dynamic or spec.regimes or spec.endog) and spec.fixed_effects != "random"
    return spec.family == "SDM" and fit.estimator in ("lee_yu", "direct") and plain and fit.converged


def simplification_tests(fit: Fit) -> pd.DataFrame:
    """Test a spatial Durbin model against the SAR and the SEM it contains.

    Wald tests use the covariance of the fit, so that they are as robust as its errors; LR tests refit the smaller
    models on the same panel, W, effects and likelihood, and assume independent errors.

    Returns
    -------
    DataFrame
        Columns ``test`` (``"Wald SDM to SAR"``, ``"LR SDM to SAR"``, ``"Wald SDM to SEM"``, ``"LR SDM to SEM"``),
        ``statistic``, ``df`` (q), ``p_value``: F(q, N − k) of the Wald statistic, Bartlett's correction of the ratio
        (``wald_p_value`` and ``likelihood_ratio_p_value`` of :mod:`spatial_zb.core.diagnostics`). The SEM is nested only
        where every regressor is lagged; else its rows are NaN. A likelihood of a smaller model that is highest at an end of
        the admissible interval is taken there.

    Raises
    ------
    SpecificationError
        The fit is not an SDM by maximum likelihood with fixed effects or none, or did not converge.
    """
    if not can_be_simplified(fit):
        raise SpecificationError(
            f"{fit!r} cannot be simplified by these tests: they need a converged SDM by maximum likelihood "
            "with fixed effects, without lags in time or regimes.",
            f"{fit!r}不能由这些检验简化：须为收敛的极大似然SDM，含固定效应，没有时间滞后或区制。",
        )
    spec = fit.spec
    sar, sem = replace(spec, lag_x=()), replace(spec, lag_y=False, lag_x=(), lag_error=True)
    nested = set(spec.lag_x) == set(spec.x)
    rows = [
        ("Wald SDM to SAR", *wald_no_lags(fit)),
        ("LR SDM to SAR", _likelihood_ratio(fit, sar), len(spec.lag_x)),
        ("Wald SDM to SEM", *(wald_common_factor(fit) if nested else (np.nan, len(spec.x)))),
        ("LR SDM to SEM", _likelihood_ratio(fit, sem) if nested else np.nan, len(spec.x)),
    ]
    law = {"Wald": wald_p_value, "LR": likelihood_ratio_p_value}
    p_values = [law[test.split()[0]](statistic, df, *counts(fit)) for test, statistic, df in rows]
    return pd.DataFrame(rows, columns=["test", "statistic", "df"]).assign(p_value=p_values)


def counts(fit: Fit) -> tuple[int, int]:
    """N of the likelihood of a fit, and its degrees of freedom: observations less effects less coefficients."""
    dummies = fit.absorbed if fit.estimator == "direct" else 0  # the Lee-Yu transform has taken them out of N
    return fit.nobs, fit.nobs - dummies - len(fit.spec.terms)


def likelihood_ratio_of(larger: Fit, smaller: Fit) -> float:
    """2(ln L − ln L₀) of nested fits of the same likelihood.

    Raises
    ------
    ConvergenceError
        The larger model has the lower likelihood.
    """
    value = 2 * (larger.log_likelihood - smaller.log_likelihood)
    if value < -1e-6:
        raise ConvergenceError(
            "the larger model has the lower likelihood: one of the fits is not at its maximum.",
            "较大的模型似然反而较低：有一个估计没有到达最大值。",
        )
    return max(value, 0.0)


def _likelihood_ratio(fit: Fit, smaller: DurbinSpec) -> float:
    """The ratio to the smaller model on the panel and W of the fit, where its likelihood is highest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)  # what there is to say was said of the larger model
        other = fit_durbin(smaller, fit.panel, fit.weights, fit.estimator)
    return likelihood_ratio_of(fit, other)
