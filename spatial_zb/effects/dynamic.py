"""Effects in the long run and their path over time, of a fit with lags in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from spatial_zb.base.arguments import Rng, alpha_of, renamed
from spatial_zb.base.errors import ConvergenceError, SpecificationError, not_one_of
from spatial_zb.base.notes import Kind, Note, about, tell
from spatial_zb.base.results import coefficient_columns
from spatial_zb.base.text import Text
from spatial_zb.base.threads import one_thread
from spatial_zb.core import Array
from spatial_zb.core.likelihood.dynamic import carry_over_radius
from spatial_zb.core.likelihood.impacts import long_run_multipliers, path_multipliers
from spatial_zb.core.logdet import EigenLogDet
from spatial_zb.effects.static import (
    coefficients,
    covariance_blocks,
    law_of_parameters,
    log_variances,
    parameter_draws,
    reason_of_equation,
    refuse_without_effects,
    spread_over_parameters,
)
from spatial_zb.effects.table import (
    EFFECTS,
    REACH,
    Effects,
    Method,
    check_fit,
    draws_detail,
    draws_reason,
    fieller_columns,
    interval_at_end,
    no_estimate,
    not_computed,
    simulated_columns,
    tell_rejected,
)
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
@one_thread
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
        A fit without a lag in time, an unknown option, ``fieller`` of a change of one period, ``simulate`` for a large
        sparse W.
    """
    check_fit(fit, "effects_path")
    _refuse_static(fit, "effects_path")
    if method == "fieller" and change == "one_off":
        raise SpecificationError(
            "What is left of a change of one period has no denominator that keeps its sign. Use method='simulate', or "
            "change='permanent'.",
            "单期变动的余波没有保号的分母。请用method='simulate'，或change='permanent'。",
        )
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
    asked = _Asked(
        fit, multiply, axes, method, {"change": change}, reason_of_equation(fit, fieller=False), False
    )
    return _effects(asked, draws, rng, alpha_of(level))


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
    axes = {"term": fit.spec.regressors, "effect": EFFECTS}
    why = _reason_of_long_run(fit)
    effects = _effects(
        _Asked(fit, _long_run(fit), axes, method, {"horizon": "long"}, why, True), draws, rng, alpha
    )
    notes = _tell_long_tail(fit) if method == "delta" and effects.reason is None else ()
    return replace(effects, notes=(*notes, *effects.notes))


def _reason_of_long_run(fit: Fit) -> Note | None:
    """Why there are no effects of the long run, whose denominator is 1 − τ − ρ − η; None where there are."""
    if not fit.converged:
        return no_estimate()
    found = stability_test(fit).rows[0]
    if -found.statistic < REACH:
        persistence, error = found.more["persistence"], found.more["std_error"]
        return interval_at_end(Text.of("τ + ρ + η"), persistence, error, 1.0, True)
    return None


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
        The process is not stable, or the interval of τ + ρ + η reaches one.
    SpecificationError
        A fit without a lag in time.
    """
    _refuse_no_long_run(fit)
    refuse_without_effects(fit, _reason_of_long_run(fit))
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


@dataclass(frozen=True, slots=True)
class _Asked:
    """Effects of a fit by their multipliers; ``why`` there are none, and whether they have limits by Fieller."""

    fit: Fit
    multiply: Multiply
    axes: dict[str, tuple]
    method: Method
    detail: dict[str, Any]
    why: Note | None
    fieller: bool


def _effects(asked: _Asked, draws: int, rng: Rng, alpha: float) -> Effects:
    fit, axes, method, why = asked.fit, asked.axes, asked.method, asked.why
    if method not in get_args(Method):
        raise not_one_of("method", method, get_args(Method))
    if method == "fieller" and fit.converged:
        why = None  # its sets say what the data do not
    if method == "simulate" and fit.converged:
        return _simulated(asked, draws, rng, alpha)
    if why is not None:
        return not_computed(axes, method, fit, why, asked.detail)
    values = fit.params.to_numpy()
    point = _combined(fit, asked.multiply, values).ravel()
    gradient, where = _gradient(fit, asked.multiply, values)
    df = fit.degrees(spread_over_parameters(gradient, where, len(values)))
    if method == "delta":
        std_error = _delta_errors(fit, asked.multiply, values, fit.cov.to_numpy())
        columns = coefficient_columns(point, std_error.ravel(), alpha, df)
        return Effects(axes, columns, method, fit, asked.detail, df=df)
    blocks = covariance_blocks(fit.cov.to_numpy(), where)
    m, slopes = _slopes(fit, asked.multiply, values)
    slope = np.zeros_like(
        gradient
    )  # of ln d, d the inverse of the multiplier of β: 1 − τ − ρ − η for totals of the long run
    slope[..., 2:] = -np.moveaxis(slopes / m, 0, -1)[:, [0, 2, 2]]
    every = (len(gradient), -1, gradient.shape[-1])
    variances = log_variances(gradient.reshape(every), slope.reshape(every), blocks)
    columns, gaps = fieller_columns(point, variances, alpha, df)
    return Effects(axes, columns, method, fit, asked.detail, gaps=gaps, df=df)


def _simulated(asked: _Asked, draws: int, rng: Rng, alpha: float) -> Effects:
    fit = asked.fit
    sample = parameter_draws(fit, draws, rng, ("tau", "eta"))
    kept = sample[stable_processes(fit, sample)]
    rejected = draws - len(kept)
    detail = asked.detail | draws_detail(rejected, draws)
    why = asked.why or draws_reason(rejected, draws, "process", asked.fieller)
    if why is not None:
        return not_computed(asked.axes, "simulate", fit, why, detail)
    notes = tell_rejected(fit, rejected, draws, "process")
    point = _combined(fit, asked.multiply, fit.params.to_numpy())
    columns = simulated_columns(point, _combined(fit, asked.multiply, kept), alpha, law_of_parameters(fit))
    return Effects(asked.axes, columns, "simulate", fit, detail, notes)


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
    """√(g'Vg) (k, H, 3)."""
    gradient, where = _gradient(fit, multiply, values)
    blocks = covariance_blocks(cov, where)
    return np.sqrt(np.einsum("khei,kij,khej->khe", gradient, blocks, gradient))


def _gradient(fit: Fit, multiply: Multiply, values: Array) -> tuple[Array, NDArray[np.intp]]:
    """Derivatives (k, H, 3, 5) in (β_k, θ_k, τ, η, ρ), the last three by differences, and where (k, 5) these stand."""
    place = {name: i for i, name in enumerate(fit.params.index)}
    own = [[place[x], place.get(f"W_{x}", -1)] for x in fit.spec.regressors]
    where = np.array([[*pair, *(place.get(c, -1) for c in ("tau", "eta", "rho"))] for pair in own])
    beta, theta, _ = (part[..., None] for part in coefficients(fit, values))
    m, slopes = _slopes(fit, multiply, values)
    k = len(own)
    parts = [np.broadcast_to(m[:, [c, c + 2]], (k, len(m), 2)) for c in (0, 1)]
    parts += [beta[..., None] * slope[:, [0, 2]] + theta[..., None] * slope[:, [1, 3]] for slope in slopes]
    direct, total = np.moveaxis(np.stack(parts), -1, 0)  # (5, k, H) each
    return np.moveaxis(np.stack([direct, total - direct, total]), (2, 3, 0), (0, 1, 2)), where


def _slopes(fit: Fit, multiply: Multiply, values: Array) -> tuple[Array, Array]:
    """Multipliers (H, 4) and their derivatives (3, H, 4) in (τ, η, ρ)."""
    carried, steps = _carried(fit, values), STEP * np.eye(3)
    return multiply(carried), (multiply(carried + steps) - multiply(carried - steps)) / (2 * STEP)


def stable_processes(fit: Fit, sample: Array) -> NDArray[np.bool_]:
    """Which parameters (R, p) have ρ in its interval and shocks that die out over time, (R,)."""
    low, high = fit.weights.logdet.interval
    tau, eta, rho = _carried(fit, sample).T
    inside = (rho > low) & (rho < high)
    points = zip(tau, eta, rho, strict=True)
    return inside & np.array([carry_over_radius(*point, fit.weights.logdet, False) < 1 for point in points])
