"""Direct, indirect and total effects: functions of a fit, whatever its kind.

No estimation, and no words of a table: fits come from :mod:`spatial_zb.models`.
"""

from __future__ import annotations

from typing import get_args

import numpy as np
import pandas as pd

from spatial_zb.base.arguments import Rng, alpha_of, renamed
from spatial_zb.base.errors import SpecificationError, listed, listed_zh, not_one_of
from spatial_zb.base.notes import warn_old
from spatial_zb.base.threads import one_thread
from spatial_zb.effects.dynamic import long_run_effects, long_run_filter
from spatial_zb.effects.regimes import regime_effect_matrix, regime_effects
from spatial_zb.effects.static import static_effect_matrix, static_effects
from spatial_zb.effects.system import system_effects, units_of_system
from spatial_zb.effects.table import Effects, Horizon, Method, check_fit
from spatial_zb.models.fit import Fit
from spatial_zb.models.system.fit import SystemFit


@renamed(alpha="level")
@one_thread
def spatial_effects(
    fit: Fit | SystemFit,
    method: Method = "delta",
    *,
    draws: int = 2000,
    rng: Rng = None,
    level: float = 0.95,
    horizon: Horizon = "short",
) -> Effects:
    r"""Average effects of a change of x_k in all units: E_k = (I − ρW)⁻¹(β_k I + θ_k W).

    direct = tr(E_k)/n: of a unit's own x on its own y, feedback included. total = ι'E_kι/n. indirect =
    total − direct: the spillover. The estimate is always the value at θ̂.

    Parameters
    ----------
    fit
        Any single-equation fit; models without ρ (OLS, SLX, SEM, SDEM) have ρ = 0. A system gives the effects
        of :func:`spatial_zb.effects.system.system_effects`, on every equation; a fit with regimes those on the units
        of each (``x[core=0]``, ``x[core=1]``) and on all (``x``).
    method
        ``"delta"``: first-order standard errors.
        ``"simulate"``: parameters drawn from N(θ̂, V), those outside the admissible region left out and counted. Limits are
        percentiles; std_error is from the quartiles, since draws of ratios have no variance; p counts the draws on the other
        side of zero, and the statistic is the normal value of that p.
        ``"fieller"``: limits of effect = numerator / denominator without dividing. The denominator is one over the
        multiplier of β, ι'S⁻¹ι/n (of direct effects tr S⁻¹/n), S = I − ρW. For totals under a row-normalised W it is 1 − ρ,
        in the long run 1 − τ − ρ − η, and limits are exact. They keep their level next to ρ = 1 and may have no bounds: they
        are then −∞ and ∞, and gap_low and gap_high what is left out between.
    draws, rng
        Number of draws and seed, for ``"simulate"``.
    level
        Confidence level of the limits.
    horizon
        With lags in time: ``"short"``, the effects in the same period, or ``"long"``, those of a lasting change once
        it has worked itself out, [(1 − τ)I − (ρ + η)W]⁻¹(β_k I + θ_k W); what lies between: ``effects_path``.

    Raises
    ------
    ConvergenceError
        A singular covariance by ``"simulate"``; ``"long"`` when the process is not stable; an unstable system.
    SpecificationError
        Unknown method or horizon, fewer than 100 draws, ``"long"`` of a model without a lag in time, ``"fieller"`` of
        regimes.

    Warns
    -----
    SpatialZbWarning
        Effects are not computed: all numbers are NaN and ``reason`` says why. The fit did not converge or is at an end; or
        (not by ``"fieller"``) the 95 % interval of ρ or of τ + ρ + η reaches the end of its region, that of a system's
        determinant reaches zero, or more than 5 % of the draws lie outside it.

    Notes
    -----
    LeSage & Pace (2009), Introduction to Spatial Econometrics, §2.7 and §5.6; Fieller (1954), J. Royal Statistical Society B
    16: 175-185.
    """
    check_fit(fit, "spatial_effects", Fit | SystemFit)
    alpha = alpha_of(level)
    if isinstance(fit, SystemFit):
        return system_effects(fit, method, draws=draws, rng=rng, alpha=alpha)
    if method not in get_args(Method):
        raise not_one_of("method", method, get_args(Method))
    if fit.spec.regimes and horizon == "short":
        return regime_effects(fit, method, draws=draws, rng=rng, alpha=alpha)
    if horizon not in get_args(Horizon):
        raise not_one_of("horizon", horizon, get_args(Horizon))
    if horizon == "long":
        return long_run_effects(fit, method, draws=draws, rng=rng, alpha=alpha)
    return static_effects(fit, method, draws, rng, alpha)


@one_thread
def effects_by_unit(
    fit: Fit | SystemFit, term: str, horizon: Horizon = "short", *, response: str | None = None
) -> pd.DataFrame:
    """Effects of one regressor unit by unit, for maps; ``horizon`` as in :func:`spatial_effects`.

    Of a system, ``term`` is a source (a variable, or ``"shock:talent"``) and ``response`` the equation that it acts on.

    Returns
    -------
    DataFrame indexed by unit id: ``direct`` (own x on own y), ``received`` (row sums off the diagonal: a
    change in all others on this unit) and ``emitted`` (column sums off the diagonal: this unit on all
    others). The means of ``received`` and of ``emitted`` are the indirect effect.
    """
    check_fit(fit, "effects_by_unit", Fit | SystemFit)
    if isinstance(fit, SystemFit):
        return units_of_system(fit, _response_of(fit, response), term)
    matrix = effect_matrix(fit, term, horizon).to_numpy()
    own = np.diag(matrix)
    columns = {"direct": own, "received": matrix.sum(axis=1) - own, "emitted": matrix.sum(axis=0) - own}
    return pd.DataFrame(columns, index=fit.panel.units)


def _response_of(fit: SystemFit, response: str | None) -> str:
    if response is None:
        raise SpecificationError(
            f"Effects of a system are on one equation: give response, one of {listed(fit.spec.names)}.",
            f"系统的效应针对某一方程：请给出response，可为{listed_zh(fit.spec.names)}。",
        )
    return response


def system_effects_by_unit(fit: SystemFit, response: str, source: str) -> pd.DataFrame:
    """The name of the last release for ``effects_by_unit(fit, source, response=response)``."""
    warn_old(
        "spatial_zb.system_effects_by_unit(fit, response, source) is now "
        "spatial_zb.effects_by_unit(fit, source, response=response)."
    )
    return effects_by_unit(fit, source, response=response)


@one_thread
def effect_matrix(fit: Fit, term: str, horizon: Horizon = "short") -> pd.DataFrame:
    """The whole matrix E_k (n × n): row i receives from column j; ``horizon`` as in :func:`spatial_effects`."""
    check_fit(fit, "effect_matrix")
    if horizon not in get_args(Horizon):
        raise not_one_of("horizon", horizon, get_args(Horizon))
    if fit.spec.regimes and horizon == "short":
        return pd.DataFrame(regime_effect_matrix(fit, term), index=fit.panel.units, columns=fit.panel.units)
    return static_effect_matrix(fit, term, long_run_filter(fit) if horizon == "long" else None)
