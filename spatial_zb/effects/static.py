"""Effects of one equation in the same period, with standard errors: E_k = (I − ρW)⁻¹(β_k I + θ_k W)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.base.arguments import Rng, check_draws, check_orders, random_generator
from spatial_zb.base.errors import (
    ConvergenceError,
    DataError,
    SpecificationError,
    listed,
    listed_zh,
)
from spatial_zb.base.notes import Note
from spatial_zb.base.results import Law, coefficient_columns, quantile
from spatial_zb.base.text import Text
from spatial_zb.core.likelihood.impacts import (
    Multipliers,
    average_effects,
    averaged_over_rows,
    multipliers,
    no_multipliers,
    order_multipliers,
    row_multipliers,
)
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.effects.table import (
    EFFECTS,
    REACH,
    Effects,
    Method,
    check_fit,
    drawn_radii,
    draws_detail,
    draws_reason,
    fieller_columns,
    interval_at_end,
    law_of_draws,
    no_estimate,
    not_computed,
    simulated_columns,
    tell_rejected,
)
from spatial_zb.models.fit import Fit
from spatial_zb.models.shape import ShapeDesign
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.models.system.design import SystemDesign
from spatial_zb.models.system.fit import SystemFit


def static_effects(fit: Fit, method: Method, draws: int, rng: Rng, alpha: float) -> Effects:
    """Effects in the same period, (I − ρW)⁻¹(β_k I + θ_k W), of one equation without regimes."""
    over = {"average_over": "rows"} if isinstance(fit.design, ShapeDesign) else {}
    if method == "simulate":
        return _simulated(fit, draws, rng, alpha)
    why = no_estimate() if not fit.converged else None
    if why is None and method == "delta":
        why = reason_of_equation(fit)
    if why is not None:
        return not_computed(_axes(fit), method, fit, why)
    beta, theta, rho = coefficients(fit, fit.params.to_numpy())
    point, gradient = average_effects(beta, theta, multipliers_of(fit, rho))
    df = fit.degrees(_over_parameters(fit, gradient))
    if method == "delta":
        std_error = delta_errors(fit.spec, gradient, fit.cov.to_numpy())
        columns = coefficient_columns(point.ravel(), std_error.ravel(), alpha, df)
        return Effects(_axes(fit), columns, method, fit, over, df=df)
    m = multipliers_of(fit, rho)
    slope = np.zeros((len(beta), 3, 3))  # of ln d in (β_k, θ_k, ρ), d the inverse of the multiplier of β
    slope[..., 2] = -np.array([m.da / m.a, m.dp / m.p, m.dp / m.p])
    variances = log_variances(gradient, slope, _blocks(fit.spec, fit.cov.to_numpy()))
    columns, gaps = fieller_columns(point.ravel(), variances, alpha, df)
    return Effects(_axes(fit), columns, method, fit, over, gaps=gaps, df=df)


def effects_of_periods(fit: Fit, method: Method, alpha: float) -> Effects:
    """Effects in each period, averages over the units that are there, where W or units change between periods.

    Raises
    ------
    SpecificationError
        A fit under one W on a complete panel; another method than ``"delta"``.
    """
    design = fit.design
    if not isinstance(design, ShapeDesign) or method != "delta":
        raise no_periods()
    axes = {"period": tuple(map(str, fit.panel.periods))} | _axes(fit)
    why = reason_of_equation(fit)
    if why is not None:
        return not_computed(axes, method, fit, why)
    beta, theta, rho = coefficients(fit, fit.params.to_numpy())
    sums = row_multipliers(rho, design.shape.W, design.rows_x) / design.present.sum(axis=1)
    beta, theta = (np.broadcast_to(part, (sums.shape[1], len(part))) for part in (beta, theta))
    point, gradient = average_effects(beta, theta, Multipliers(*sums))
    errors = np.array([delta_errors(fit.spec, part, fit.cov.to_numpy()) for part in gradient])
    df = fit.degrees(np.array([_over_parameters(fit, part) for part in gradient]))
    columns = coefficient_columns(point.ravel(), errors.ravel(), alpha, df)
    return Effects(axes, columns, method, fit, {"average_over": "units of the period"}, df=df)


def no_periods() -> SpecificationError:
    """For effects by period where they are the same in all."""
    return SpecificationError(
        'by="period" is for fits whose W or units change between periods, and for method="delta": elsewhere effects are '
        "the same in every period. Leave it out.",
        'by="period"用于各期W或地区不同的估计，且method="delta"：其他情形下各期效应相同。请去掉该选项。',
    )


def reason_of_equation(fit: Fit, fieller: bool = True) -> Note | None:
    """Why one equation without regimes has no effects in the same period; None where it has.

    Effects have poles at the ends of the admissible interval of ρ. Where its 95 % interval reaches an end they have no
    bound, and a standard error says nothing.
    """
    if not fit.converged:
        return no_estimate()
    if not fit.spec.lag_y:
        return None
    rho, error = float(fit.params["rho"]), float(fit.bse["rho"])
    df = fit.degrees((fit.params.index == "rho").astype(float))
    reach = float(np.ravel(quantile(0.025, df))[0])
    end = reached_end(rho, error, fit.design.interval, reach)
    return None if end is None else interval_at_end(Text.of("ρ"), rho, error, end, fieller)


def reached_end(
    rho: float, error: float, interval: tuple[float, float], reach: float = REACH
) -> float | None:
    """The end of the admissible interval that the 95 % interval of ρ, ± ``reach`` errors, reaches; None: it reaches none."""
    low, high = interval
    if rho + reach * error >= high:
        return high
    return low if rho - reach * error <= low else None


def refuse_without_effects(fit: Fit | SystemFit, why: Note | None) -> None:
    """For effects unit by unit or by order, which have no table that could be blank.

    Raises
    ------
    ConvergenceError
        There is a reason why the fit has no effects.
    """
    if why is not None:
        raise ConvergenceError(f"{fit!r}: {why.text.en}.", f"{fit!r}：{why.text.zh}。")


def log_variances(gradient: NDArray, log_slope: NDArray, blocks: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Var(E), Cov(E, ln d), Var(ln d) (k·e,): gradients (k, e, q) of E and of ln d, covariances (k, q, q)."""
    pairs = (gradient, gradient), (gradient, log_slope), (log_slope, log_slope)
    own, cross, of_log = (np.einsum("kei,kij,kej->ke", a, blocks, b).ravel() for a, b in pairs)
    return own, cross, of_log


def period_effect_matrix(fit: Fit, term: str, period: int | None) -> pd.DataFrame:
    """E_k (n_t × n_t) among the units of one period, of a fit whose W or units change between periods.

    Raises
    ------
    SpecificationError
        No period, or one that the fit has not.
    """
    at, (beta, theta, rho) = rows_of_period(fit, period), coefficients(fit, fit.params.to_numpy())
    k = place_of(fit, term)
    refuse_without_effects(fit, reason_of_equation(fit, fieller=False))
    impulse = beta[k] * np.eye(len(at.units)) + theta[k] * at.Wx.toarray()
    if fit.spec.lag_y:
        impulse = filter_solver(at.W, float(rho))(impulse)
    return pd.DataFrame(impulse, index=at.units, columns=at.units)


@dataclass(frozen=True, slots=True, eq=False)
class Among:
    """The units of one period, and the W of y and of x among them."""

    units: pd.Index
    W: sparse.csr_array
    Wx: sparse.csr_array


def rows_of_period(fit: Fit | SystemFit, period: int | None) -> Among:
    """Who is there in a period of a fit whose W or units may change between periods.

    Raises
    ------
    SpecificationError
        No period, or one that the fit has not.
    """
    design = fit.design
    if period not in fit.panel.periods:
        raise SpecificationError(
            f"W or the units of this fit change between periods: give period, one of {listed(fit.panel.periods)}.",
            f"此估计各期的W或地区不同：请给出period，可为{listed_zh(fit.panel.periods)}。",
        )
    t = fit.panel.periods.index(period)
    if isinstance(design, ShapeDesign):
        present, Wx = design.present, design.rows_x
        W = design.shape.W or Wx
    else:
        assert isinstance(design, SystemDesign), "W or units change"
        assert design.rows is not None, "W or units change"
        present, W = design.rows.present, design.rows.weights
        Wx = W
    return Among(fit.panel.units[present[t]], W.distinct[W.which[t]], Wx.distinct[Wx.which[t]])


def last_period(fit: Fit | SystemFit) -> int | None:
    """The last period of a fit whose W or units change between periods, for a map; None where they do not."""
    return fit.panel.periods[-1] if fit.design.shape_facts else None


def place_of(fit: Fit, term: str) -> int:
    """The place of a variable among the regressors of a fit; :class:`DataError` for one that it does not have."""
    if term not in fit.spec.regressors:
        raise DataError(
            f"{term!r} is not a regressor of this fit; it has {listed(fit.spec.regressors)}.",
            f"{term!r}不是此估计的解释变量；已有{listed_zh(fit.spec.regressors)}。",
        )
    return fit.spec.regressors.index(term)


def static_effect_matrix(fit: Fit, term: str, long_run: tuple[float, float] | None = None) -> pd.DataFrame:
    """E_k (n × n) of one equation without regimes; ``long_run``: (τ, ρ + η) of a lasting change instead."""
    k = place_of(fit, term)
    if long_run is None:
        refuse_without_effects(fit, reason_of_equation(fit, fieller=False))
    beta, theta, rho = coefficients(fit, fit.params.to_numpy())
    W = fit.weights.matrix
    impulse = beta[k] * np.eye(W.shape[0]) + theta[k] * W.toarray()
    if long_run is not None:
        impulse, rho = impulse / (1 - long_run[0]), np.asarray(long_run[1])
    solved = filter_solver(W, float(rho))(impulse) if rho else impulse
    return pd.DataFrame(solved, index=fit.panel.units, columns=fit.panel.units)


def average_effects_at(fit: Fit, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Effects (…, k, 3) of the model of ``fit`` at any parameter vectors (…, p) in the order of its params."""
    beta, theta, rho = coefficients(fit, values)
    return average_effects(beta, theta, multipliers_of(fit, rho))[0]


def effects_gradient(fit: Fit) -> NDArray[np.float64]:
    """Derivatives (k, 3, p) of the effects of every regressor in the parameters, in the order of the fit's."""
    beta, theta, rho = coefficients(fit, fit.params.to_numpy())
    _, gradient = average_effects(beta, theta, multipliers_of(fit, rho))
    return _over_parameters(fit, gradient)


def _over_parameters(fit: Fit, gradient: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gradients (k, 3, 3) in (β_k, θ_k, ρ) as (k, 3, p)."""
    return spread_over_parameters(gradient, _places(fit.spec), len(fit.params))


def spread_over_parameters(
    gradient: NDArray[np.float64], where: NDArray[np.intp], parameters: int
) -> NDArray[np.float64]:
    """Gradients (k, …, q) in k groups of q parameters as (k, …, p), from where (k, q) each stands; −1: it is not there."""
    out = np.zeros((*gradient.shape[:-1], parameters))
    for k, i in np.argwhere(where >= 0):
        out[k, ..., where[k, i]] = gradient[k, ..., i]
    return out


def orders_of_equation(fit: Fit, orders: int = 5) -> pd.DataFrame:
    """Cumulative effects up to each power of W: ρ^j W^j (β + θW) for j = 0 … orders.

    Returns
    -------
    DataFrame with term, effect, order, estimate, cumulative; the last order tends to the full effect.
    """
    check_fit(fit, "effects_by_order")
    check_orders(orders)
    beta, theta, rho = coefficients(fit, fit.params.to_numpy())
    refuse_without_effects(fit, reason_of_equation(fit, fieller=False))
    rows = []
    for order, (a, b, p, q) in enumerate(order_terms(fit, float(rho), orders)):
        direct, total = beta * a + theta * b, beta * p + theta * q
        for values in zip(fit.spec.regressors, direct, total - direct, total, strict=True):
            rows += [
                (values[0], effect, order, value) for effect, value in zip(EFFECTS, values[1:], strict=True)
            ]
    frame = pd.DataFrame(rows, columns=["term", "effect", "order", "estimate"])
    return frame.assign(cumulative=frame.groupby(["term", "effect"])["estimate"].cumsum())


def order_terms(fit: Fit, rho: float, orders: int) -> NDArray[np.float64]:
    """a, b, p, q of every power of ρW (orders + 1, 4); averages over its rows where W or units change between periods."""
    design = fit.design
    if not isinstance(design, ShapeDesign):
        return order_multipliers(rho, fit.weights.matrix, orders)
    W, Wx = design.shape.W or design.rows_x, design.rows_x
    return order_multipliers(rho, W.matrix, orders, None if Wx is W else Wx.matrix)


@lru_cache(maxsize=256)
def _positions(spec: DurbinSpec) -> tuple[NDArray[np.intp], NDArray[np.intp], int | None]:
    """Where β_k, θ_k (−1 where x_k is not lagged) and ρ stand among the parameters."""
    place = {term: i for i, term in enumerate((*spec.terms, *spec.spatial_terms))}
    beta = [place[name] for name in spec.regressors]
    theta = [place[f"W_{name}"] if name in spec.lag_x else -1 for name in spec.regressors]
    return np.array(beta, int), np.array(theta, int), place["rho"] if spec.lag_y else None


def _used(fit: Fit) -> list[int]:
    """Positions of the parameters that effects depend on; the others may have no standard error."""
    beta, theta, rho = _positions(fit.spec)
    return [*beta, *theta[theta >= 0], *([] if rho is None else [rho])]


def coefficients(fit: Fit, values: NDArray[np.float64]) -> tuple[NDArray, NDArray, NDArray]:
    """β (…, k), θ (…, k) with zeros where x_k is not lagged, and ρ (…) out of parameter vectors (…, p)."""
    if fit.spec.regimes:
        raise SpecificationError(
            f"{fit!r} has one set of coefficients per regime. Use spatial_effects, effect_matrix or effects_by_unit.",
            f"{fit!r}的每个区制各有一组系数。请用spatial_effects、effect_matrix或effects_by_unit。",
        )
    return coefficients_of(fit.spec, values)


def coefficients_of(spec: DurbinSpec, values: NDArray[np.float64]) -> tuple[NDArray, NDArray, NDArray]:
    """:func:`coefficients` of a model with one regime."""
    beta, theta, rho = _positions(spec)
    lagged = np.where(theta >= 0, values[..., theta], 0.0)
    return values[..., beta], lagged, values[..., rho] if rho is not None else np.zeros(values.shape[:-1])


def multipliers_of(fit: Fit, rho: NDArray[np.float64]) -> Multipliers:
    """Multipliers at any ρ under the W of a fit; averages over its rows where W or units change between periods."""
    W, design = fit.weights, fit.design
    if isinstance(design, ShapeDesign):
        return averaged_over_rows(
            row_multipliers(rho, design.shape.W, design.rows_x), design.present.sum(axis=1).astype(float)
        )
    if not fit.spec.lag_y:
        return no_multipliers(W.matrix)
    return multipliers(rho, W.matrix, W.logdet, W.row_normalised)


def delta_errors(
    spec: DurbinSpec, gradient: NDArray[np.float64], cov: NDArray[np.float64]
) -> NDArray[np.float64]:
    """√(g'Vg) per term and effect, (k, 3), with g in (β_k, θ_k, ρ)."""
    return np.sqrt(((gradient @ _blocks(spec, cov)) * gradient).sum(axis=2))


def _blocks(spec: DurbinSpec, cov: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariances (k, 3, 3) of (β_k, θ_k, ρ)."""
    return covariance_blocks(cov, _places(spec))


def _places(spec: DurbinSpec) -> NDArray[np.intp]:
    """Where (β_k, θ_k, ρ) stand among the parameters, (k, 3); −1 where one is not there."""
    beta, theta, rho = _positions(spec)
    return np.stack([beta, theta, np.full(beta.shape, -1 if rho is None else rho)], axis=1)


def covariance_blocks(cov: NDArray[np.float64], where: NDArray[np.intp]) -> NDArray[np.float64]:
    """Covariances (k, q, q) of k groups of q parameters, zero for those that are not there (−1 in ``where``)."""
    absent = where < 0
    blocks = cov[where[:, :, None], where[:, None, :]]
    blocks[absent[:, :, None] | absent[:, None, :]] = 0.0  # what is held at zero may have no variance at all
    return blocks


def parameter_draws(fit: Fit, draws: int, rng: Rng, more: tuple[str, ...] = ()) -> NDArray[np.float64]:
    """Parameter vectors (draws, p) from N(θ̂, V), from t where clusters are few.

    Those that effects do not depend on stay at the estimate.

    ``more`` names parameters beside β, θ and ρ that are drawn where the fit has them.
    """
    check_draws(draws)
    if not fit.converged:
        raise ConvergenceError(
            f"{fit!r} has no covariance to draw from: its estimates did not converge.",
            f"{fit!r}没有可供抽样的协方差：估计没有收敛。",
        )
    generator = random_generator(rng)
    used = [*_used(fit), *(i for i, name in enumerate(fit.params.index) if name in more)]
    try:
        root = np.linalg.cholesky(_unit_diagonal(fit.cov.to_numpy()[np.ix_(used, used)]))
    except np.linalg.LinAlgError:
        raise ConvergenceError(
            f"The {fit.covariance!r} covariance of {fit!r} is singular, as when there are fewer clusters than "
            'coefficients: use method="delta", or another covariance.',
            f"{fit.spec.y!r}的{fit.spec.title}（{fit.weights.label!r}）的{fit.covariance!r}协方差矩阵奇异，聚类数少于系数个数时"
            '即如此：请用method="delta"，或改用其他协方差估计。',
        ) from None
    noise = generator.standard_normal((draws, len(used))) @ root.T
    noise = noise * drawn_radii(law_of_parameters(fit), draws, generator)
    sample = np.tile(fit.params.to_numpy(), (draws, 1))
    sample[:, used] += noise * np.sqrt(np.diag(fit.cov))[used]
    return sample


def law_of_parameters(fit: Fit) -> float | Law | None:
    """Of draws of the parameters of a fit: Student's t or the law of a kernel where clusters or periods are few."""
    return law_of_draws(fit.degrees(np.eye(len(fit.params))))


def _simulated(fit: Fit, draws: int, rng: Rng, alpha: float) -> Effects:
    check_draws(draws)
    if not fit.converged:
        return not_computed(_axes(fit), "simulate", fit, no_estimate())
    sample = parameter_draws(fit, draws, rng)
    beta, theta, rho = coefficients(fit, sample)
    low, high = fit.design.interval if fit.spec.lag_y else (-np.inf, np.inf)
    inside = (rho > low) & (rho < high)
    rejected = int(draws - inside.sum())
    detail = draws_detail(rejected, draws)
    why = reason_of_equation(fit) or draws_reason(rejected, draws, "rho")
    if why is not None:
        return not_computed(_axes(fit), "simulate", fit, why, detail)
    notes = tell_rejected(fit, rejected, draws, "rho")
    simulated, _ = average_effects(beta[inside], theta[inside], multipliers_of(fit, rho[inside]))
    detail |= {"average_over": "rows"} if isinstance(fit.design, ShapeDesign) else {}
    point = average_effects_at(fit, fit.params.to_numpy())
    return Effects(
        _axes(fit),
        simulated_columns(point, simulated, alpha, law_of_parameters(fit)),
        "simulate",
        fit,
        detail,
        notes,
    )


def _unit_diagonal(cov: NDArray[np.float64]) -> NDArray[np.float64]:
    sizes = np.sqrt(np.diag(cov))
    return cov / np.outer(sizes, sizes)


def _axes(fit: Fit) -> dict[str, tuple[str, ...]]:
    return {"term": fit.spec.regressors, "effect": EFFECTS}
