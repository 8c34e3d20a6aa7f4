"""Effects by order of neighbour with standard errors: how far a change travels before it is lost in noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from spatial_zb.base.arguments import alpha_of, check_orders, renamed
from spatial_zb.base.results import Degrees, coefficient_columns
from spatial_zb.base.threads import one_thread
from spatial_zb.core import Array
from spatial_zb.core.likelihood.impacts import order_multipliers
from spatial_zb.core.system.arrays import order_impacts
from spatial_zb.effects.static import orders_of_equation
from spatial_zb.effects.system import eigenvalues_of, orders_of_system, sources_of
from spatial_zb.effects.table import check_fit
from spatial_zb.models.fit import Fit
from spatial_zb.models.system.fit import SystemFit

#: Step of central differences in sizes of the coefficient: their error is of its square, rounding of its inverse.
STEP = 1e-5
COLUMNS = ("std_error", "conf_low", "conf_high")


@renamed(alpha="level")
@one_thread
def effects_by_order(fit: Fit | SystemFit, orders: int = 5, *, level: float = 0.95) -> pd.DataFrame:
    """Effects by power of W, each order and all up to it, with errors by the delta method.

    Order j of one equation is ρ^j W^j (β + θW), linear in β and θ, with derivative j ρ^{j−1} W^j (β + θW) in ρ;
    in a system the derivatives are central differences of
    :func:`~spatial_zb.core.system.arrays.order_impacts`.

    Parameters
    ----------
    fit
        One equation, or a system (then by response and source in place of term).
    orders
        The highest power of W.
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
    raw = order_multipliers(1.0, fit.weights.matrix, orders)
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
    links, matrix = fit.design.arrays.links, fit.weights.matrix
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
