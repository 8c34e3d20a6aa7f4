"""Effects by regime of the receiving units, of a fit with regimes.

E_k = S⁻¹(B_k + Θ_k W), S = I − (Σ_r ρ_r D_r)W, B_k and Θ_k diagonal with the β_k and θ_k of the regime of each unit. Over
the units i of a regime, direct is the mean of E_ii, total the mean of Σ_j E_ij: what x_k of all units, one unit higher,
does to y of these. Both are linear in β_s, θ_s with the multipliers, for regimes r, s,

    a_rs = mean (S⁻¹D_s)_ii,  b_rs = mean (S⁻¹D_sW)_ii,  p_rs = mean (S⁻¹D_sι)_i,  q_rs = mean (S⁻¹D_sWι)_i  over i in r.

Elhorst & Fréret (2009), J. Regional Science 49: 931-951; LeSage & Pace (2009), §2.7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg, sparse

from spatial_zb.base.arguments import Rng, alpha_of, check_draws, random_generator, renamed
from spatial_zb.base.errors import (
    ConvergenceError,
    SpecificationError,
    not_one_of,
)
from spatial_zb.base.notes import Note, about, tell
from spatial_zb.base.results import TABLE_COLUMNS, ResultTable, coefficient_columns, with_degrees
from spatial_zb.base.text import Text
from spatial_zb.base.threads import one_thread
from spatial_zb.core import Array
from spatial_zb.core.logdet.factors import Regimes
from spatial_zb.core.logdet.traces import DENSE_UNITS
from spatial_zb.effects.static import (
    law_of_parameters,
    log_variances,
    no_periods,
    place_of,
    refuse_without_effects,
    rows_of_period,
)
from spatial_zb.effects.table import (
    EFFECTS,
    REACH,
    Effects,
    Method,
    drawn_radii,
    draws_detail,
    draws_reason,
    fieller_columns,
    interval_at_end,
    no_estimate,
    not_computed,
    simulated_columns,
    tell_rejected,
)
from spatial_zb.models.fit import Fit
from spatial_zb.models.regimes import regime_labels, regime_split, regimes_of, row_regimes
from spatial_zb.models.shape import ShapeDesign
from spatial_zb.weights.matrix import Weights
from spatial_zb.weights.periods import row_blocks

#: Points of ρ from which multipliers are interpolated.
NODES = 24
#: With so many ρ the degree of the polynomial through their multipliers, its largest error, and draws it is compared with.
DEGREE, CLOSE, CHECKED = {2: 9, 3: 6, 4: 5}, 1e-4, 6


def regime_effects(fit: Fit, method: Method, *, draws: int, rng: Rng, alpha: float) -> Effects:
    """Effects on the units of each regime, ``x[core=0]`` and ``x[core=1]``, and on all units, ``x``.

    Raises
    ------
    SpecificationError
        More units than dense matrices allow, an unknown method, too few draws.
    """
    if method not in get_args(Method):
        raise not_one_of("method", method, get_args(Method))
    blocks = _blocks(fit)
    values, where = fit.params.to_numpy(), _positions(fit)
    labels = (*regime_labels(fit.spec, fit.convergence.regimes), "")
    axes = {"term": tuple(f"{x}{label}" for x in fit.spec.x for label in labels), "effect": EFFECTS}
    why = _reason(fit, blocks[0].regimes)
    if method == "fieller" and fit.converged:
        why = None  # its sets say what the data do not
    if method != "simulate":
        if why is not None:
            return not_computed(axes, method, fit, why)
        m, slopes = _multipliers(fit, blocks, values)
        gradient = _gradient(m, slopes, values, where)
        point, df = _combined(m, values, where), fit.degrees(gradient)
        if method == "fieller":
            slope = _log_slopes(m, slopes, gradient.shape)
            both = gradient.reshape(1, -1, len(values)), slope.reshape(1, -1, len(values))
            variances = log_variances(both[0], both[1], fit.cov.to_numpy()[None])
            columns, gaps = fieller_columns(point.ravel(), variances, alpha, df)
            return Effects(axes, columns, method, fit, gaps=gaps, df=df)
        columns = coefficient_columns(point.ravel(), _errors(fit, gradient).ravel(), alpha, df)
        return Effects(axes, columns, method, fit, df=df)
    check_draws(draws)
    if not fit.converged:
        return not_computed(axes, method, fit, no_estimate())
    sample = _draws(fit, draws, rng)
    inside = regimes_admit(fit, sample)
    rejected = int(draws - inside.sum())
    detail, why = draws_detail(rejected, draws), why or draws_reason(rejected, draws, "rho", fieller=False)
    if why is not None:
        return not_computed(axes, method, fit, why, detail)
    notes = tell_rejected(fit, rejected, draws, "rho")
    point = _combined(_multipliers(fit, blocks, values, False)[0], values, where)
    columns = simulated_columns(point, regime_values(fit, sample[inside]), alpha, law_of_parameters(fit))
    return Effects(axes, columns, "simulate", fit, detail, notes)


def _reason(fit: Fit, regimes: Regimes) -> Note | None:
    """Why there are no effects; None where there are."""
    if not fit.converged:
        return no_estimate()
    for name in fit.spec.spatial_terms:
        for term in (term for term in fit.params.index if term.partition("[")[0] == name == "rho"):
            rho, error = float(fit.params[term]), float(fit.bse[term])
            if abs(rho) + REACH * error >= regimes.bound:
                end = float(np.copysign(regimes.bound, rho))
                return interval_at_end(Text.of(term.replace("rho", "ρ")), rho, error, end, False)
    return None


def regime_effects_of_periods(fit: Fit, method: Method, alpha: float) -> Effects:
    """The same in each period, on the units that are there, where W or units change between periods.

    Raises
    ------
    SpecificationError
        A fit under one W on a complete panel; another method than ``"delta"``.
    """
    if not isinstance(fit.design, ShapeDesign) or method != "delta":
        raise no_periods()
    blocks, values, where = _blocks(fit), fit.params.to_numpy(), _positions(fit)
    labels = (*regime_labels(fit.spec, fit.convergence.regimes), "")
    terms = tuple(f"{x}{label}" for x in fit.spec.x for label in labels)
    axes = {"period": tuple(map(str, fit.panel.periods)), "term": terms, "effect": EFFECTS}
    why = _reason(fit, blocks[0].regimes)
    if why is not None:
        return not_computed(axes, method, fit, why)
    found: dict[int, tuple[Array, Array]] = {}
    for block in blocks:
        m, slopes = _multipliers(fit, [block], values)
        parts = _combined(m, values, where), _gradient(m, slopes, values, where)
        found |= dict.fromkeys(block.periods, parts)
    point, gradient = (np.array([found[t][i] for t in range(len(found))]) for i in (0, 1))
    df = fit.degrees(gradient)
    columns = coefficient_columns(point.ravel(), _errors(fit, gradient).ravel(), alpha, df)
    return Effects(axes, columns, method, fit, {"average_over": "units of the period"}, df=df)


def regime_effect_matrix(fit: Fit, term: str, period: int | None) -> pd.DataFrame:
    """The whole matrix E_k (n, n), of one ``period`` where W or units change between periods."""
    k = place_of(fit, term)
    units, at = fit.panel.units, 0
    if isinstance(fit.design, ShapeDesign):
        units = rows_of_period(fit, period).units
        at = fit.panel.periods.index(period)
    block = next(block for block in _blocks(fit) if at in block.periods)
    regimes = block.regimes
    refuse_without_effects(fit, _reason(fit, regimes))
    values, where = fit.params.to_numpy(), _positions(fit)
    beta, theta = _pick(values, where[k, 0]), _pick(values, where[k, 1])
    impulse = np.diag(beta[regimes.regime]) + theta[regimes.regime][:, None] * block.lagged.toarray()
    return pd.DataFrame(regimes.solver(_rho(fit, values))[0](impulse), index=units, columns=units)


@renamed(alpha="level")
@one_thread
def regime_spillovers(fit: Fit, term: str, *, level: float = 0.95) -> ResultTable:
    """Who lifts whom: what x of the units of one regime, one unit higher, does to the other units of each regime.

    Parameters
    ----------
    fit
        A fit with regimes.
    term
        A regressor.
    level
        Confidence level of the limits.

    Returns
    -------
    ResultTable with ``sender`` and ``receiver`` (``core=0``, ``core=1``), estimate, std_error (delta method), statistic,
    p_value, conf_low, conf_high. The estimate is the mean over receiving units i of Σ_j E_ij over the sending units j ≠ i;
    over all senders it adds up to the indirect effect on the receivers.

    Raises
    ------
    SpecificationError
        A fit without regimes; more units than dense matrices allow.
    DataError
        A term the fit does not have.
    """
    if not fit.spec.regimes:
        raise SpecificationError(
            f"{fit!r} has one regime: name a column in DurbinSpec(regimes=...).",
            f"{fit!r}只有一个区制：请在DurbinSpec(regimes=...)中指定列。",
        )
    k = place_of(fit, term)
    blocks, values, groups = _blocks(fit), fit.params.to_numpy(), len(fit.convergence.regimes)
    where = _positions(fit)[k]  # (β or θ, regime)
    picked, (m, slopes) = _pick(values, where), _multipliers(fit, blocks, values)
    gradient = np.zeros((groups, groups, len(values)))
    for lag, s in np.argwhere(where >= 0):  # linear in β and θ; a common coefficient is that of every regime
        unit = np.zeros(picked.shape)
        unit[lag, s] = 1.0
        gradient[..., where[lag, s]] += _between(m, unit)
    for i, slope in enumerate(slopes):
        gradient[..., len(values) - 1 - len(slopes) + i] = _between(slope, picked)
    point = _between(m, picked)
    std_error, df = _errors(fit, gradient), fit.degrees(np.moveaxis(gradient, 0, 1))
    names = [label.strip("[]") for label in regime_labels(fit.spec, fit.convergence.regimes)]
    rows = pd.MultiIndex.from_product([names, names], names=["sender", "receiver"]).to_frame(index=False)
    columns = coefficient_columns(point.T.ravel(), std_error.T.ravel(), alpha_of(level), df)
    why = _reason(fit, blocks[0].regimes)
    if why is not None:
        tell(about(fit.subject, [why]))
        columns = np.full_like(columns, np.nan)
        rows = rows.assign(reason=why.text.en)
    numbers = with_degrees(pd.DataFrame(columns, columns=TABLE_COLUMNS), df)
    return ResultTable(rows.join(numbers), fit.facts | {"term": term})


def _between(m: Array, coefficients: Array) -> Array:
    """Mean received, (receivers, senders), of coefficients (β or θ, regime), own effects left out."""
    (beta, theta), groups = coefficients, m.shape[1]
    out = m[:groups, :, 2] * beta + np.einsum("s,rsu->ru", theta, m[:groups, :, 3:])
    return out - np.diag(m[:groups, :, 0] @ beta + m[:groups, :, 1] @ theta)


@dataclass(frozen=True, slots=True)
class _Block:
    """The units of a period, the W of their x, and which periods are like it: one block of a complete panel."""

    regimes: Regimes
    lagged: sparse.csr_array
    periods: tuple[int, ...]


def _blocks(fit: Fit) -> list[_Block]:
    n = fit.weights.n if isinstance(fit.weights, Weights) else len(fit.weights.ids)
    if n > DENSE_UNITS:
        raise SpecificationError(
            f"Effects by regime need dense matrices and stop at {DENSE_UNITS} units; there are {n}.",
            f"分区制的效应需要稠密矩阵，上限为{DENSE_UNITS}个地区；这里有{n}个。",
        )
    _, regime = regime_split(fit.spec, fit.panel)
    design = fit.design
    if not isinstance(design, ShapeDesign):
        regimes = replace(regimes_of(fit.spec, fit.weights, regime), timed=False)
        return [_Block(regimes, regimes.matrix, (0,))]
    own, lagged = (
        row_blocks(W, fit.panel.units, fit.panel.periods, design.present)
        for W in (design.own.y, design.own.x)
    )
    apart = fit.spec.lag_y and "rho" not in fit.spec.common
    bound = row_regimes(design).bound if apart else float(design.interval[1])
    found: dict[tuple[int, int], _Block] = {}
    for t, (W, Wx, there) in enumerate(zip(own, lagged, design.present, strict=True)):
        regimes = Regimes(W, regime[there], int(regime.max()) + 1, False, bound, apart)
        block = found.setdefault((id(W), id(Wx)), _Block(regimes, Wx, ()))
        found[id(W), id(Wx)] = replace(block, periods=(*block.periods, t))
    return list(found.values())


def _positions(fit: Fit) -> NDArray[np.intp]:
    """Where β and θ of every x stand by regime, (k, 2, groups); the same place where they share it, −1 without lag."""
    place = {name: i for i, name in enumerate(fit.params.index)}
    labels = regime_labels(fit.spec, fit.convergence.regimes)

    def of(name: str) -> list[int]:
        return [place.get(f"{name}{label}", place.get(name, -1)) for label in labels]

    return np.array([[of(x), of(f"W_{x}")] for x in fit.spec.x])


def _pick(values: Array, where: NDArray[np.intp]) -> Array:
    return np.where(where >= 0, values[where], 0.0)


def _rho(fit: Fit, values: Array) -> Array:
    """ρ of each regime, or of all, (…, c), out of parameter vectors (…, p); they stand before σ²."""
    count = 1 if "rho" in fit.spec.common else len(fit.convergence.regimes)
    return values[..., -1 - count : -1] if fit.spec.lag_y else np.zeros((*values.shape[:-1], count))


def _multipliers(
    fit: Fit, blocks: Sequence[_Block], values: Array, slopes: bool = True
) -> tuple[Array, Array]:
    """a, b, p and, by sending regime, q, (groups + 1, groups, 3 + groups), by receiving group (each regime, all) and s.

    And, with ``slopes``, their derivatives (c, …) in every ρ: dS⁻¹ = S⁻¹D_rWS⁻¹.
    """
    groups, rho = len(fit.convergence.regimes), _rho(fit, values)
    count = len(rho) if slopes and fit.spec.lag_y else 0
    sums, rows = np.zeros((1 + count, groups + 1, groups, 3 + groups)), np.zeros(groups + 1)
    for block in blocks:
        W, Wx, slot = block.regimes.matrix, block.lagged, block.regimes.slot
        n, ones = W.shape[0], np.eye(groups)[block.regimes.regime]
        inverse = block.regimes.solver(rho)[0](np.eye(n))
        right = ones[:, :, None] * np.column_stack([np.ones(n), Wx @ ones])[:, None]  # D_sι, D_sW1_u
        by_unit = np.empty((1 + count, n, groups, 3 + groups))
        by_unit[0, ..., 0] = inverse.diagonal()[:, None] * ones
        by_unit[0, ..., 1] = Wx.T.multiply(inverse) @ ones
        by_unit[0, ..., 2:] = np.tensordot(inverse, right, 1)
        moved, lagged = W @ inverse, (W @ by_unit[0, ..., 2:].reshape(n, -1)).reshape(right.shape)
        behind = [(Wx.T @ (moved * own).T).T for own in ones.T] if count else []
        for r in range(count):
            there = slot == r
            left = inverse[:, there]
            by_unit[1 + r, ..., 0] = (left * moved[there].T).sum(axis=1)[:, None] * ones
            by_unit[1 + r, ..., 1] = np.column_stack([(left * part[there].T).sum(axis=1) for part in behind])
            by_unit[1 + r, ..., 2:] = np.tensordot(left, lagged[there], 1)
        into = np.column_stack([ones, np.ones(n)])
        sums += len(block.periods) * np.einsum("ng,dnsk->dgsk", into, by_unit, optimize=True)
        rows += len(block.periods) * into.sum(axis=0)
    means = sums / np.where(rows > 0, rows, np.nan)[:, None, None]  # a regime that is not there has none
    return means[0], means[1:]


def _combined(m: Array, values: Array, where: NDArray[np.intp]) -> Array:
    """Direct, indirect and total effects (k, groups + 1, 3)."""
    picked = _pick(values, where)
    beta, theta = picked[:, 0], picked[:, 1]  # (k, groups)
    direct = beta @ m[:, :, 0].T + theta @ m[:, :, 1].T
    total = beta @ m[:, :, 2].T + theta @ m[:, :, 3:].sum(axis=2).T
    return np.stack([direct, total - direct, total], axis=-1)


def _errors(fit: Fit, gradient: Array) -> Array:
    """√(g'Vg) of gradients (…, p); σ², the last, has no part in effects, and may have no error."""
    own = gradient[..., :-1]
    return np.sqrt(np.einsum("...i,ij,...j->...", own, fit.cov.to_numpy()[:-1, :-1], own))


def _gradient(m: Array, slopes: Array, values: Array, where: NDArray[np.intp]) -> Array:
    """Derivatives (k, groups + 1, 3, p) of the effects."""
    p, groups = len(values), m.shape[1]
    gradient = np.zeros((*where.shape[:1], groups + 1, 3, p))
    for i, slope in enumerate(slopes, p - 1 - len(slopes)):
        gradient[..., i] = _combined(slope, values, where)
    for k, r, s in np.ndindex(len(where), groups + 1, groups):
        for lag, (own, whole) in enumerate(((m[r, s, 0], m[r, s, 2]), (m[r, s, 1], m[r, s, 3:].sum()))):
            if where[k, lag, s] >= 0:
                gradient[k, r, :, where[k, lag, s]] += own, whole - own, whole
    return gradient


def _log_slopes(m: Array, slopes: Array, shape: tuple[int, ...]) -> Array:
    """Derivatives (k, groups + 1, 3, p) of ln d, d the inverse of what x = 1 everywhere does to each group of units.

    With one ρ and a row-normalised W that is 1 − ρ; with several, effects times d have no pole where it is zero.
    """
    slope, whole = np.zeros(shape), m.sum(axis=1)  # (groups + 1, …)
    for i, part in enumerate(slopes, shape[-1] - 1 - len(slopes)):
        slope[..., i] = -(part.sum(axis=1) / whole)[:, [0, 2, 2]]
    return slope


def regime_values(fit: Fit, values: Array) -> Array:
    """Effects (R, k, groups + 1, 3) at parameters (R, p) in the order of the fit's: on each regime, on all units."""
    where, found = _positions(fit), _multipliers_of(fit, values)
    return np.array([_combined(m, one, where) for m, one in zip(found, values, strict=True)])


def _multipliers_of(fit: Fit, values: Array) -> Array:
    """Multipliers (R, …) of many parameters (R, p): with one ρ from Chebyshev points of its range, to rounding."""
    blocks, rho = _blocks(fit), values[:, -2]
    if fit.spec.lag_y and blocks[0].regimes.count > 1:
        return _multipliers_between(fit, blocks, values)
    if not fit.spec.lag_y or len(values) <= NODES or not np.ptp(rho):
        return np.array([_multipliers(fit, blocks, one, False)[0] for one in values])
    turns = (2 * np.arange(NODES) + 1) * np.pi / (2 * NODES)
    nodes = (rho.max() + rho.min()) / 2 + np.ptp(rho) / 2 * np.cos(turns)
    at = [np.where(np.arange(values.shape[1]) == values.shape[1] - 2, node, values[0]) for node in nodes]
    known = np.array([_multipliers(fit, blocks, one, False)[0] for one in at])
    apart = rho[:, None] - nodes
    hit = np.abs(apart) < 1e-14
    weights = (-1.0) ** np.arange(NODES) * np.sin(turns) / np.where(hit, 1.0, apart)
    weights = np.where(hit.any(axis=1, keepdims=True), hit.astype(float), weights)
    return np.tensordot(weights / weights.sum(axis=1, keepdims=True), known, axes=1)


def _multipliers_between(fit: Fit, blocks: Sequence[_Block], values: Array) -> Array:
    """The same with several ρ: a polynomial through some of the draws, to CLOSE of the multipliers of others.

    Its points are those that a QR decomposition with pivots takes first, far apart (Sommariva & Vianello 2009, Computers &
    Mathematics with Applications 57: 1324-1336). Where it is not as close, or draws are few, each draw is computed.
    """
    rho = _rho(fit, values)
    low, high, degree = rho.min(axis=0), rho.max(axis=0), DEGREE.get(rho.shape[1], 0)
    powers = [p for p in product(range(degree + 1), repeat=rho.shape[1]) if sum(p) <= degree]
    if degree and len(values) > 2 * len(powers) and (high > low).all():
        angles = np.arccos(np.clip(2 * (rho - low) / (high - low) - 1, -1, 1))
        basis = np.cos(np.array(powers)[:, None] * angles).prod(axis=2)  # (P, R)
        order = linalg.qr(basis, mode="r", pivoting=True)[1]
        nodes, others = order[: len(powers)], order[len(powers) :: len(values) // CHECKED]
        known, own = (
            np.array([_multipliers(fit, blocks, v, False)[0] for v in values[at]]) for at in (nodes, others)
        )
        near = np.tensordot(np.linalg.solve(basis[:, nodes], basis).T, known, 1)
        if np.abs(near[others] - own).max() <= CLOSE * np.abs(own).max():
            return near
    return np.array([_multipliers(fit, blocks, one, False)[0] for one in values])


def regime_gradient(fit: Fit, values: Array) -> Array:
    """Derivatives (R, k, groups + 1, 3, p) of :func:`regime_values`."""
    blocks, where = _blocks(fit), _positions(fit)
    return np.array([_gradient(*_multipliers(fit, blocks, one), one, where) for one in values])


def regimes_admit(fit: Fit, values: Array) -> NDArray[np.bool_]:
    """Whether ρ of all regimes lies inside the admissible region, (R,), at parameters (R, p)."""
    return np.abs(_rho(fit, values)).max(axis=-1) < _blocks(fit)[0].regimes.bound


def _draws(fit: Fit, draws: int, rng: Rng) -> Array:
    """Parameter vectors (draws, p) from N(θ̂, V), where clusters are few from t; σ² as it is."""
    size, generator = np.sqrt(np.diag(fit.cov))[:-1], random_generator(rng)
    try:
        root = np.linalg.cholesky(fit.cov.to_numpy()[:-1, :-1] / np.outer(size, size))
    except np.linalg.LinAlgError:
        raise ConvergenceError(
            f'The {fit.covariance!r} covariance of {fit!r} is singular: use method="delta", or another covariance.',
            f'{fit!r}的{fit.covariance!r}协方差奇异：请用method="delta"，或另一种协方差。',
        ) from None
    noise = generator.standard_normal((draws, len(size))) @ root.T
    noise = noise * drawn_radii(law_of_parameters(fit), draws, generator)
    return fit.params.to_numpy() + np.column_stack([noise * size, np.zeros(draws)])
