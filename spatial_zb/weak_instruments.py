"""An interval of ρ that holds however weak the instruments are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from spatial_zb.arguments import check_alpha
from spatial_zb.core.anderson_rubin import anderson_rubin_pieces
from spatial_zb.errors import SpecificationError
from spatial_zb.models.fit import Fit
from spatial_zb.models.gmm_sample import gmm_sample

__all__ = ["anderson_rubin"]


def anderson_rubin(fit: Fit, alpha: float = 0.05) -> pd.Series:
    """Invert the Anderson-Rubin test: all values of ρ that it does not reject.

    It asks nothing of the first stage and is exact under normal errors; where instruments are weak it is wide, up to the
    whole admissible interval, which is then what the instruments say. Measured in docs/validation/gmm.md.

    Parameters
    ----------
    fit
        Of one equation with ρ by ``gmm``, without λ or further endogenous regressors; converged or not.
    alpha
        One minus the confidence level.

    Returns
    -------
    Series with estimate, conf_low, conf_high; open_low, open_high (an end of the admissible interval is not rejected);
    gap_low, gap_high (values in between that are rejected, NaN without); critical (of F). Limits are NaN where every value
    is rejected: the instruments are then not exogenous, or the model is another one.

    Raises
    ------
    SpecificationError
        Another estimator, λ or endogenous regressors, a robust covariance.

    Notes
    -----
    Anderson & Rubin (1949), Annals of Mathematical Statistics 20: 46-63.
    """
    _check(fit, alpha)
    sample = gmm_sample(fit.design, fit.panel, fit.convergence["asked"]["powers"])
    bounds = fit.weights.logdet.interval
    pieces, critical = anderson_rubin_pieces(sample.y, sample.Z[:, -1], sample.instruments, alpha, bounds)
    low, high = (pieces[0][0], pieces[-1][1]) if pieces else (np.nan, np.nan)
    gap = (pieces[0][1], pieces[1][0]) if len(pieces) > 1 else (np.nan, np.nan)
    return pd.Series(
        {
            "estimate": float(fit.params["rho"]),
            "conf_low": low,
            "conf_high": high,
            "open_low": low == bounds[0],
            "open_high": high == bounds[1],
            "gap_low": gap[0],
            "gap_high": gap[1],
            "critical": critical,
        },
        name="rho",
        dtype=object,
    )


def _check(fit: Any, alpha: float) -> None:
    if not isinstance(fit, Fit):
        raise SpecificationError(
            f"anderson_rubin takes a fit of fit_durbin, not {type(fit).__name__}.",
            f"anderson_rubin须给出fit_durbin的估计，而不是{type(fit).__name__}。",
        )
    spec = fit.spec
    if fit.estimator != "gmm":
        raise SpecificationError(
            f'anderson_rubin is about instruments: it takes a fit by estimator="gmm"; this one is by {fit.estimator!r}.',
            f'anderson_rubin针对工具变量：用于estimator="gmm"的估计；这里是{fit.estimator!r}。',
        )
    if not spec.lag_y or spec.lag_error or spec.endog:
        raise SpecificationError(
            "anderson_rubin tests one value of ρ, with nothing else to estimate but coefficients of exogenous regressors: "
            f"{spec.title} has more, or no ρ. Read zb.bootstrap(fit).",
            f"anderson_rubin检验ρ的一个取值，其余只估计外生解释变量的系数：{spec.title}还有其他参数，或没有ρ。"
            "请用zb.bootstrap(fit)。",
        )
    if fit.covariance != "information":
        raise SpecificationError(
            f'The Anderson-Rubin test takes errors of one variance; this fit is with covariance="{fit.covariance}".',
            f'Anderson-Rubin检验要求误差同方差；此估计的covariance="{fit.covariance}"。',
        )
    check_alpha(alpha)
