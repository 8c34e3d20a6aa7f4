"""Direct, indirect and total effects: functions of a fit, whatever its kind.

No estimation, and no words of a table: fits come from :mod:`spatial_zb.models`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import pandas as pd

from spatial_zb.base.arguments import Rng, alpha_of, check_orders, renamed
from spatial_zb.base.errors import SpecificationError, listed, listed_zh, not_one_of
from spatial_zb.base.notes import warn_old
from spatial_zb.base.results import Degrees, coefficient_columns
from spatial_zb.base.threads import one_thread
from spatial_zb.core import Array
from spatial_zb.core.system import order_impacts
from spatial_zb.effects.dynamic import long_run_effects, long_run_filter
from spatial_zb.effects.regimes import regime_effect_matrix, regime_effects, regime_effects_of_periods
from spatial_zb.effects.static import (
    effects_of_periods,
    order_terms,
    orders_of_equation,
    period_effect_matrix,
    static_effect_matrix,
    static_effects,
)
from spatial_zb.effects.system import (
    eigenvalues_of,
    orders_of_system,
    sources_of,
    system_effects,
    units_of_system,
)
from spatial_zb.effects.table import By, Effects, Horizon, Method, check_fit
from spatial_zb.models.fit import Fit
from spatial_zb.models.system.fit import SystemFit

#: Step of central differences in sizes of the coefficient: their error is of its square, rounding of its inverse.
STEP = 1e-5
COLUMNS = ("std_error", "conf_low", "conf_high")


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
    by: By = "average",
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
    by
        Where units come and go or W changes: ``"average"`` over all rows, so that a period counts by its units (n_t/N), or
        ``"period"``, the effects of each period, over the units that are there, by ``"delta"``.

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
    if fit.spec.regimes and horizon == "short" and by == "average":
        return regime_effects(fit, method, draws=draws, rng=rng, alpha=alpha)
    if horizon not in get_args(Horizon):
        raise not_one_of("horizon", horizon, get_args(Horizon))
    if by not in get_args(By):
        raise not_one_of("by", by, get_args(By))
    if by == "period":
        return (regime_effects_of_periods if fit.spec.regimes else effects_of_periods)(fit, method, alpha)
    if horizon == "long":
        return long_run_effects(fit, method, draws=draws, rng=rng, alpha=alpha)
    return static_effects(fit, method, draws, rng, alpha)


@one_thread
def effects_by_unit(
    fit: Fit | SystemFit,
    term: str,
    horizon: Horizon = "short",
    *,
    response: str | None = None,
    period: int | None = None,
) -> pd.DataFrame:
    """Effects of one regressor unit by unit, for maps; ``horizon`` as in :func:`spatial_effects`.

    Of a fit whose W or units change between periods they are those of one ``period``, on the units that are there.

    Of a system, ``term`` is a source (a variable, or ``"shock:talent"``) and ``response`` the equation that it acts on.

    Returns
    -------
    DataFrame indexed by unit id: ``direct`` (own x on own y), ``received`` (row sums off the diagonal: a
    change in all others on this unit) and ``emitted`` (column sums off the diagonal: this unit on all
    others). The means of ``received`` and of ``emitted`` are the indirect effect.
    """
    check_fit(fit, "effects_by_unit", Fit | SystemFit)
    if isinstance(fit, SystemFit):
        return units_of_system(fit, _response_of(fit, response), term, period)
    found = effect_matrix(fit, term, horizon, period=period)
    matrix = found.to_numpy()
    own = np.diag(matrix)
    columns = {"direct": own, "received": matrix.sum(axis=1) - own, "emitted": matrix.sum(axis=0) - own}
    return pd.DataFrame(columns, index=found.index)


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
def effect_matrix(
    fit: Fit, term: str, horizon: Horizon = "short", *, period: int | None = None
) -> pd.DataFrame:
    """The whole matrix E_k (n × n): row i receives from column j; ``horizon`` as in :func:`spatial_effects`.

    Of a fit whose W or units change between periods it is that of one ``period``.
    """
    check_fit(fit, "effect_matrix")
    if fit.design.shape_facts:
        return (regime_effect_matrix if fit.spec.regimes else period_effect_matrix)(fit, term, period)
    if horizon not in get_args(Horizon):
        raise not_one_of("horizon", horizon, get_args(Horizon))
    if fit.spec.regimes and horizon == "short":
        return regime_effect_matrix(fit, term, None)
    return static_effect_matrix(fit, term, long_run_filter(fit) if horizon == "long" else None)


# By order of neighbour ----------------------------------------------------------------------------------


@renamed(alpha="level")
@one_thread
def effects_by_order(fit: Fit | SystemFit, orders: int = 5, *, level: float = 0.95) -> pd.DataFrame:
    """Effects by round of feedback, each round and all up to it, with errors by the delta method.

    Round j (``order`` in the table) of one equation is ρ^j W^j (β + θW): round 0 is the effect of x before any feedback,
    that of neighbours (θW) included, and each further round goes through the y of neighbours once more. Where W or units
    change between periods, and where x has a W of its own, it is ρ^j W_t^j (β + θW^x_t), averaged over the rows. It is
    linear in β and θ, with derivative j ρ^{j−1} W^j (β + θW) in ρ; in a system the derivatives are central differences of
    :func:`~spatial_zb.core.system.order_impacts`.

    Parameters
    ----------
    fit
        One equation, or a system (then by response and source in place of term).
    orders
        The last round: the highest power of ρW.
    level
        Confidence level of the limits.

    Returns
    -------
    DataFrame with the columns of :func:`~spatial_zb.effects.static.orders_of_equation` or of
    :func:`~spatial_zb.effects.system.orders_of_system`, then std_error, conf_low, conf_high of the order,
    and cumulative_std_error, cumulative_conf_low, cumulative_conf_high; under CR2 their degrees of freedom, ``df`` and
    ``cumulative_df``. With growing order the cumulative
    numbers tend to those of ``spatial_effects``.

    Raises
    ------
    SpecificationError
        Negative ``orders``; a fit with regimes.
    ConvergenceError
        An unstable system, whose effects are not defined.
    """
    check_fit(fit, "effects_by_order", Fit | SystemFit)
    check_orders(orders)
    alpha = alpha_of(level)
    if isinstance(fit, SystemFit):
        frame, gradient, cov, degrees = _system(fit, orders)
    else:
        frame, gradient, cov, degrees = _equation(fit, orders)
    # Rows of the frame run over order, term (or pair), effect, as the arrays do.
    for prefix, point, slope in (
        ("", "estimate", gradient),
        ("cumulative_", "cumulative", gradient.cumsum(axis=0)),
    ):
        df = degrees(slope)
        numbers = coefficient_columns(frame[point].to_numpy(), _errors(slope, cov).ravel(), alpha, df)
        columns = {f"{prefix}{name}": numbers[:, at] for name, at in zip(COLUMNS, (1, 4, 5), strict=True)}
        if isinstance(df, np.ndarray):
            columns[f"{prefix}df"] = df.ravel()
        frame = frame.assign(**columns)
    return frame


def _errors(gradient: Array, cov: Array) -> Array:
    """√(g'Vg) of gradients (…, p)."""
    return np.sqrt(np.maximum(((gradient @ cov) * gradient).sum(axis=-1), 0.0))


def _equation(fit: Fit, orders: int) -> tuple[pd.DataFrame, Array, Array, Callable[[Array], Degrees]]:
    """Frame, gradient (orders + 1, K, 3, p), covariance (p, p), degrees of freedom of gradients."""
    frame = orders_of_equation(fit, orders)  # refuses fits that have no effects by order
    names, spec = list(fit.params.index), fit.spec
    rho = float(fit.params["rho"]) if spec.lag_y else 0.0
    raw = order_terms(fit, 1.0, orders)
    power = np.arange(orders + 1)
    scale = rho**power
    slope = power * rho ** np.maximum(power - 1, 0)
    gradient = np.zeros((orders + 1, len(spec.regressors), 3, len(names)))
    for k, name in enumerate(spec.regressors):
        # Own change a, b; sum of all p, q: direct, indirect, total.
        for first, place in ((0, name), (1, f"W_{name}")):
            if place not in names:
                continue
            own, every = raw[:, first], raw[:, first + 2]
            parts = np.stack([own, every - own, every], axis=-1)
            gradient[:, k, :, names.index(place)] = scale[:, None] * parts
            if spec.lag_y:
                gradient[:, k, :, names.index("rho")] += slope[:, None] * parts * float(fit.params[place])
    return frame, gradient, fit.cov.to_numpy(), fit.degrees


def _system(fit: SystemFit, orders: int) -> tuple[pd.DataFrame, Array, Array, Callable[[Array], Degrees]]:
    """Frame, gradient (orders + 1, m, K, 3, p), covariance (p, p)."""
    frame = orders_of_system(fit, orders)
    _, sources = sources_of(fit.spec)
    links, matrix = fit.design.arrays.links, fit.design.matrix
    omega = eigenvalues_of(fit)

    def at(delta: Array) -> Array:
        own, every = np.moveaxis(order_impacts(delta, links, sources, matrix, omega, orders), -1, 0)
        return np.stack([own, every - own, every], axis=-1)

    where = fit.coefficient_positions
    cov = fit.cov.to_numpy()[np.ix_(where, where)]
    return (
        frame,
        _differences(at, fit.delta, np.hypot(fit.delta, np.sqrt(np.diag(cov)))),
        cov,
        lambda slope: fit.df_resid,
    )


def _differences(function: Callable[[Array], Array], point: Array, sizes: Array) -> Array:
    """Jacobian by central differences, the parameters last.

    ``sizes`` carry the units of measurement: a γ is large where its variable is counted in yuan and the other in billions.
    """
    columns = []
    for step in np.diag(STEP * sizes):
        columns.append((function(point + step) - function(point - step)) / (2 * step.sum()))
    return np.stack(columns, axis=-1)
