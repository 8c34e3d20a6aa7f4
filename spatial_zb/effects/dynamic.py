"""Effects in the long run and their path over time, of a fit with lags in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from spatial_zb.base.arguments import Rng, alpha_of, renamed
from spatial_zb.base.errors import ConvergenceError, SpecificationError, not_one_of
from spatial_zb.base.notes import Kind, Note, about, tell
from spatial_zb.base.results import coefficient_columns
from spatial_zb.base.text import Text
from spatial_zb.core import Array
from spatial_zb.core.likelihood.dynamic import carry_over_radius
from spatial_zb.core.likelihood.impacts import long_run_multipliers, path_multipliers
from spatial_zb.core.logdet import EigenLogDet
from spatial_zb.effects.static import coefficients, covariance_blocks, parameter_draws
from spatial_zb.effects.table import EFFECTS, Effects, Method, check_fit, simulated_columns, tell_rejected
from spatial_zb.models.dynamic import stability_test
from spatial_zb.models.fit import Fit

Change = Literal["permanent", "one_off"]
#: (…, 3) (τ, η, ρ) ↦ multipliers (…, H, 4) of H horizons.
Multiply = Callable[[Array], Array]

#: With 1 − τ − ρ − η nearer to zero than so many standard errors, delta intervals of total effects of the long run cover
#: less than 92 % in most cells of docs/validation/long_run.md (90 % at 3.3, 93 % at 4.5); simulated ones keep their level.
LONG_RUN_ERRORS = 4.0
#: Step of the derivatives of multipliers in (τ, η, ρ): central differences of rational functions.
STEP = 1e-6


@renamed(alpha="level")
def effects_path(
    fit: Fit,
    periods: int = 10,
    change: Change = "permanent",
    method: Method = "delta",
    *,
    draws: int = 2000,
    rng: Rng = None,
    level: float = 0.95,
) -> Effects:
    """Effects of a change of x_k in period t on y_t, y_{t+1} … y_{t+periods}.

    Parameters
    ----------
    fit
        A fit with ``time_lag`` or ``lag_time_lag``.
    periods
        How far ahead.
    change
        ``"permanent"``: x_k stays higher, and the effects tend to those of the long run; ``"one_off"``: x_k is higher
        in period t only.
    method, draws, rng, level
        As in :func:`spatial_zb.spatial_effects`; draws of processes that are not stable are left out and counted.

    Returns
    -------
    Effects with an axis ``period`` (0 … periods) more.

    Raises
    ------
    SpecificationError
        A fit without a lag in time, an unknown option, ``simulate`` for a large sparse W.
    """
    check_fit(fit, "effects_path")
    _refuse_static(fit, "effects_path")
    if change not in get_args(Change):
        raise not_one_of("change", change, get_args(Change))
    if not isinstance(periods, int) or isinstance(periods, bool) or periods < 0:
        raise SpecificationError(
            f"periods must be a whole number from 0, not {periods!r}.",
            f"periods须为非负整数，而不是{periods!r}。",
        )
    W = fit.weights
    if method == "simulate" and not isinstance(W.logdet, EigenLogDet):
        raise SpecificationError(
            f"Simulated paths of effects need all eigenvalues of W, which a sparse W of {W.n} units does not have: "
            'use method="delta".',
            f'效应路径的模拟需要W的全部特征值，{W.n}个地区的稀疏W没有：请用method="delta"。',
        )

    def multiply(carried: Array) -> Array:
        found = path_multipliers(carried, W.matrix, W.logdet, W.row_normalised, periods)
        return found.cumsum(axis=-2) if change == "permanent" else found

    axes = {"term": fit.spec.regressors, "period": tuple(range(periods + 1)), "effect": EFFECTS}
    return _effects(fit, multiply, axes, method, draws, rng, alpha_of(level), {"change": change})


def long_run_effects(fit: Fit, method: Method, *, draws: int, rng: Rng, alpha: float) -> Effects:
    """Effects once a lasting change has worked itself out: [(1 − τ)I − (ρ + η)W]⁻¹(β_k I + θ_k W).

    Raises
    ------
    ConvergenceError
        The process is not stable: it has no long run.

    Warns
    -----
    SpatialZbWarning
        By ``delta`` near a unit root, where the normal approximation is poor.
    """
    _refuse_no_long_run(fit)
    notes = _tell_long_tail(fit) if method == "delta" else ()
    axes = {"term": fit.spec.regressors, "effect": EFFECTS}
    effects = _effects(fit, _long_run(fit), axes, method, draws, rng, alpha, {"horizon": "long"})
    return replace(effects, notes=(*notes, *effects.notes))


def long_run_statistics(
    fit: Fit,
) -> tuple[Callable[[Array], Array], Callable[[Array, Array], Array], Callable[[Array], NDArray[np.bool_]]]:
    """Effects of the long run as functions of parameters (R, p), in the order of the fit's.

    Returns
    -------
    Their values (R, 3k), their delta errors from covariances (R, p, p), and whether the process is stable (R,).

    Raises
    ------
    ConvergenceError
        The process of the fit is not stable.
    SpecificationError
        A fit without a lag in time.
    """
    _refuse_no_long_run(fit)
    multiply = _long_run(fit)

    def at(values: Array) -> Array:
        return _combined(fit, multiply, values).reshape(len(values), -1)

    def errors(values: Array, covariances: Array) -> Array:
        pairs = zip(values, covariances, strict=True)
        return np.array([_delta_errors(fit, multiply, one, cov).ravel() for one, cov in pairs])

    return at, errors, lambda values: stable_processes(fit, values)


def _long_run(fit: Fit) -> Multiply:
    W = fit.weights
    return lambda carried: long_run_multipliers(carried, W.matrix, W.logdet, W.row_normalised)[..., None, :]


def long_run_filter(fit: Fit) -> tuple[float, float]:
    """τ and κ = (ρ + η)/(1 − τ): the long run is that of a static model with κ, over 1 − τ.

    Raises
    ------
    ConvergenceError
        The process is not stable.
    SpecificationError
        A fit without a lag in time.
    """
    _refuse_no_long_run(fit)
    tau, eta, rho = _carried(fit, fit.params.to_numpy())
    return float(tau), float((rho + eta) / (1 - tau))


def _refuse_no_long_run(fit: Fit) -> None:
    _refuse_static(fit, 'horizon="long"')
    if fit.convergence.radius >= 1:
        found = stability_test(fit).rows[0].more
        raise ConvergenceError(
            f"{fit!r} has no long run: τ + ρ + η = {found['persistence']:.3f} and the largest eigenvalue is "
            f"{found['radius']:.3f}, not below one. Read the short-run effects or effects_path, or model differences of y.",
            f"{fit!r}没有长期：τ + ρ + η = {found['persistence']:.3f}，最大特征值为{found['radius']:.3f}，不小于1。"
            "请看短期效应或effects_path，或对y的差分建模。",
        )


@Kind
def near_unit_root(apart: float) -> Text:
    """A long run whose errors are not normal."""
    return Text(
        f"1 − τ − ρ − η is only {apart:.1f} standard errors from zero. In simulations intervals of long-run effects by the "
        'delta method are then too short: read method="simulate", or zb.bootstrap(fit).effects(horizon="long")',
        f'1−τ−ρ−η距零仅{apart:.1f}个标准误。模拟表明此时Delta方法的长期效应区间偏窄，应以method="simulate"'
        '或zb.bootstrap(fit).effects(horizon="long")为准',
    )


def _tell_long_tail(fit: Fit) -> tuple[Note, ...]:
    apart = -stability_test(fit).rows[0].statistic
    notes = about(fit.subject, [near_unit_root(apart)] if apart < LONG_RUN_ERRORS else [])
    tell(notes)
    return notes


def _refuse_static(fit: Fit, what: str) -> None:
    if not fit.spec.dynamic:
        raise SpecificationError(
            f"{what} needs a model with time_lag or lag_time_lag; {fit!r} has none: all its effects are immediate.",
            f"{what}需要含time_lag或lag_time_lag的模型；{fit!r}没有：其效应都是即期的。",
        )


def _effects(
    fit: Fit,
    multiply: Multiply,
    axes: dict[str, tuple],
    method: str,
    draws: int,
    rng: Rng,
    alpha: float,
    detail: dict[str, Any],
) -> Effects:
    if method not in get_args(Method):
        raise not_one_of("method", method, get_args(Method))
    values = fit.params.to_numpy()
    point = _combined(fit, multiply, values)
    if method == "delta":
        std_error = _delta_errors(fit, multiply, values, fit.cov.to_numpy())
        columns = coefficient_columns(point.ravel(), std_error.ravel(), alpha, fit.df_resid)
        return Effects(axes, columns, method, fit, detail)
    sample = parameter_draws(fit, draws, rng, ("tau", "eta"))
    kept = sample[stable_processes(fit, sample)]
    rejected = draws - len(kept)
    notes = tell_rejected(fit, rejected, draws, "process")
    if len(kept) < 2:
        raise ConvergenceError(
            f'No draw of {fit!r} is stable: use method="delta".',
            f'{fit!r}没有稳定的抽样：请用method="delta"。',
        )
    columns = simulated_columns(point, _combined(fit, multiply, kept), alpha)
    detail = {**detail, "draws": len(kept), "rejected": rejected}
    return Effects(axes, columns, "simulate", fit, detail, notes)


def _carried(fit: Fit, values: Array) -> Array:
    """(τ, η, ρ) (…, 3) out of parameter vectors (…, p), zero for those not in the model."""
    place = {name: i for i, name in enumerate(fit.params.index)}
    zero = np.zeros(values.shape[:-1])
    return np.stack([values[..., place[c]] if c in place else zero for c in ("tau", "eta", "rho")], axis=-1)


def _combined(fit: Fit, multiply: Multiply, values: Array) -> Array:
    """Direct, indirect and total effects (…, k, H, 3): β a + θ b and β p + θ q."""
    beta, theta, _ = coefficients(fit, values)
    m = multiply(_carried(fit, values))[..., None, :, :]
    beta, theta = beta[..., None], theta[..., None]
    direct = beta * m[..., 0] + theta * m[..., 1]
    total = beta * m[..., 2] + theta * m[..., 3]
    return np.stack([direct, total - direct, total], axis=-1)


def _delta_errors(fit: Fit, multiply: Multiply, values: Array, cov: Array) -> Array:
    """√(g'Vg) (k, H, 3), g in (β_k, θ_k, τ, η, ρ): exact in the first two, differenced in the others."""
    place = {name: i for i, name in enumerate(fit.params.index)}
    own = [[place[x], place.get(f"W_{x}", -1)] for x in fit.spec.regressors]
    where = np.array([[*pair, *(place.get(c, -1) for c in ("tau", "eta", "rho"))] for pair in own])
    beta, theta, _ = (part[..., None] for part in coefficients(fit, values))
    carried = _carried(fit, values)
    m, steps = multiply(carried), STEP * np.eye(3)
    slopes = (multiply(carried + steps) - multiply(carried - steps)) / (2 * STEP)
    k = len(own)
    parts = [np.broadcast_to(m[:, [c, c + 2]], (k, len(m), 2)) for c in (0, 1)]
    parts += [beta[..., None] * slope[:, [0, 2]] + theta[..., None] * slope[:, [1, 3]] for slope in slopes]
    direct, total = np.moveaxis(np.stack(parts), -1, 0)  # (5, k, H) each
    gradient = np.stack([direct, total - direct, total])
    blocks = covariance_blocks(cov, where)
    return np.sqrt(np.einsum("eikh,kij,ejkh->khe", gradient, blocks, gradient))


def stable_processes(fit: Fit, sample: Array) -> NDArray[np.bool_]:
    """Which parameters (R, p) have ρ in its interval and shocks that die out over time, (R,)."""
    low, high = fit.weights.logdet.interval
    tau, eta, rho = _carried(fit, sample).T
    inside = (rho > low) & (rho < high)
    points = zip(tau, eta, rho, strict=True)
    return inside & np.array([carry_over_radius(*point, fit.weights.logdet, False) < 1 for point in points])
