"""Effects in a system: what a variable or a shock does to every equation, at home, next door and in all.

Functions of a fit. A source is an exogenous variable, by name, or ``shock:<equation>``: one more unit of that
equation's dependent variable from outside the system ("a unit of talent in a city"), whose consequences run
through γ and ψ until they settle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.base.arguments import Rng, alpha_of, check_draws, check_orders, random_generator, renamed
from spatial_zb.base.errors import (
    ConvergenceError,
    DataError,
    listed,
    listed_zh,
    not_one_of,
)
from spatial_zb.base.notes import Note
from spatial_zb.base.results import ResultTable, coefficient_columns
from spatial_zb.base.text import Text
from spatial_zb.core import Array
from spatial_zb.core.system import (
    Links,
    Sources,
    average_impacts,
    coefficient_matrices,
    impact_columns,
    impact_gradient,
    order_impacts,
    system_solver,
    unit_impacts,
)
from spatial_zb.effects.static import log_variances, refuse_without_effects, rows_of_period
from spatial_zb.effects.table import (
    EFFECTS,
    REACH,
    Effects,
    Method,
    drawn_radii,
    draws_detail,
    draws_reason,
    equations_alike,
    fieller_columns,
    interval_at_end,
    law_of_draws,
    no_estimate,
    not_computed,
    simulated_columns,
    tell_rejected,
)
from spatial_zb.models.system.fit import SystemFit
from spatial_zb.models.system.spec import SystemSpec

SHOCK = "shock:"
#: Step of derivatives of the strength, in standard errors of each coefficient.
STEP = 1e-4


def system_effects(
    fit: SystemFit,
    method: Method = "delta",
    *,
    draws: int = 2000,
    rng: Rng = None,
    alpha: float = 0.05,
) -> Effects:
    r"""Average effects of every source on every equation: blocks of 𝐒⁻¹(b⊗I + t⊗W), 𝐒 = Γ⊗I − Ψ⊗W.

    direct: of a change in a unit on the same unit; indirect: of a change in all others on it (which on average
    is what a unit does to all others); total: their sum. The estimate is the value at θ̂.

    Parameters
    ----------
    fit
        A system.
    method
        ``"delta"``: first-order standard errors. ``"simulate"``: coefficients drawn from N(θ̂, V); draws of
        unstable systems are rejected and counted; standard deviation and percentile limits.
    draws, rng
        Number of draws and seed, for ``"simulate"``.
    alpha
        One minus the confidence level.

    Returns
    -------
    Effects, whose ``tidy()`` has response, source, effect, estimate, std_error, statistic, p_value, conf_low,
    conf_high.

    Raises
    ------
    ConvergenceError
        An unstable system, whose effects are not defined.
    SpecificationError
        Unknown method, or fewer than 100 draws.
    """
    if method not in get_args(Method):
        raise not_one_of("method", method, get_args(Method))
    refuse_unstable(fit)
    names, sources = sources_of(fit.spec)
    if method == "simulate":
        return _simulated(fit, names, sources, draws, rng, alpha)
    limits = method == "fieller" and fit.converged and not fit.convergence.unbounded
    why = None if limits else reason_of_system(fit)
    if why is not None:
        return not_computed(_axes(fit, names), method, fit, why)
    point = average_system_effects(fit, sources, fit.delta).ravel()
    gradient = system_gradient(fit, sources, fit.delta)
    df = fit.df_resid if fit.clusters is None else fit.clusters.degrees(gradient).ravel()
    if method == "delta":
        columns = coefficient_columns(point, _delta_errors(fit, gradient).ravel(), alpha, df)
        return Effects(_axes(fit, names), columns, method, fit, df=df)
    where = fit.coefficient_positions
    gradient = gradient.reshape(1, -1, gradient.shape[-1])
    cov = fit.cov.to_numpy()[np.ix_(where, where)]
    slopes = np.tile(_log_slopes(fit, cov), (len(point) // 3, 1))
    variances = log_variances(gradient, slopes[None], cov[None])
    columns, gaps = fieller_columns(point, variances, alpha, df)
    return Effects(_axes(fit, names), columns, method, fit, gaps=gaps, df=df)


def _log_slopes(fit: SystemFit, cov: Array) -> Array:
    """Derivatives (3, p) in δ of ln d for direct, indirect and total effects.

    d is det(Γ − ωΨ) at the largest eigenvalue ω of W; for direct effects, which are means over all eigenvalues, the harmonic
    mean of these determinants.
    """
    links, m = fit.design.arrays.links, len(fit.spec.names)
    omega = np.append(eigenvalues_of(fit), fit.stability().radius)

    def logs(delta: Array) -> Array:
        gamma, psi = coefficient_matrices(delta, links, m)
        det = np.linalg.det(gamma - omega[:, None, None] * psi)
        return np.array([-np.log(np.real(1 / det[:-1]).mean()), np.log(np.real(det[-1]))])

    return _differences(logs, fit.delta, cov)[[0, 1, 1]]


def _differences(function: Callable[[Array], Array], at: Array, cov: Array) -> Array:
    """Derivatives (q, p) by central differences of a small part of each standard error."""
    out = np.zeros((len(function(at)), len(at)))
    for j, step in enumerate(np.diag(STEP * np.sqrt(np.diag(cov)))):
        out[:, j] = (function(at + step) - function(at - step)) / (2 * step[j])
    return out


def reason_of_system(fit: SystemFit, fieller: bool = True) -> Note | None:
    """Why a stable system has no effects: no solution, or a denominator that the data do not tell from zero.

    Effects are over det(Γ − ωΨ), ω the eigenvalues of W, and over det Γ. Of the former the real ends are looked at, as of ρ
    in one equation; the strength itself, a modulus, has no derivative where roots are a pair.
    """
    if not fit.converged:
        return no_estimate()
    if fit.convergence.unbounded:
        return equations_alike(fit.log_likelihood - fit.convergence.edge, fit.convergence.reach)
    links, m = fit.design.arrays.links, len(fit.spec.names)
    spectrum = np.real(eigenvalues_of(fit))
    omega = np.array([spectrum.max(), spectrum.min(), 0.0])
    where = fit.coefficient_positions
    cov = fit.cov.to_numpy()[np.ix_(where, where)]

    def determinants(delta: Array) -> Array:
        gamma, psi = coefficient_matrices(delta, links, m)
        return np.linalg.det(gamma - omega[:, None, None] * psi)

    gradient = _differences(determinants, fit.delta, cov)
    errors = np.sqrt(((gradient @ cov) * gradient).sum(axis=1))
    for at, det, error in zip(omega, determinants(fit.delta), errors, strict=True):
        if det <= REACH * error:
            inside = (
                "Γ" if at == 0 else "Γ − Ψ" if np.isclose(at, 1) else f"Γ − {at:.2f}Ψ".replace("− -", "+ ")
            )
            name = Text(f"the denominator of effects, det({inside}),", f"效应的分母det({inside})")
            return interval_at_end(name, float(det), float(error), 0.0, fieller)
    return None


def orders_of_system(fit: SystemFit, orders: int = 5) -> pd.DataFrame:
    """Effects by power of W: order 0 is the local loop alone, order q what passes q borders.

    Returns
    -------
    DataFrame with response, source, effect, order, estimate, cumulative; cumulative tends to the full effect.
    """
    check_orders(orders)
    refuse_unstable(fit)
    refuse_without_effects(fit, reason_of_system(fit, fieller=False))
    names, sources = sources_of(fit.spec)
    arrays = fit.design.arrays
    found = order_impacts(fit.delta, arrays.links, sources, fit.design.matrix, eigenvalues_of(fit), orders)
    frames = [_long(fit, names, _three(values, -1)).rename("estimate").reset_index() for values in found]
    frame = pd.concat([f.assign(order=q) for q, f in enumerate(frames)], ignore_index=True)
    frame = frame[["response", "source", "effect", "order", "estimate"]]
    return frame.assign(cumulative=frame.groupby(["response", "source", "effect"])["estimate"].cumsum())


def units_of_system(fit: SystemFit, response: str, source: str, period: int | None = None) -> pd.DataFrame:
    """Effects of one source on one equation, unit by unit, for maps; of one ``period`` where W or units change between them.

    Returns
    -------
    DataFrame indexed by unit id: ``direct`` (own change on own response), ``received`` (a change in all others
    on this unit) and ``emitted`` (a change in this unit on all others). The means of ``received`` and of
    ``emitted`` are the indirect effect.
    """
    units, W = _among(fit, period)
    g, b, t = _one(fit, response, source)
    gamma, psi = fit.matrices()
    own, rows, columns = unit_impacts(gamma, psi, b, t, g, W)
    return pd.DataFrame({"direct": own, "received": rows - own, "emitted": columns - own}, index=units)


def _among(fit: SystemFit, period: int | None) -> tuple[pd.Index, sparse.csr_array]:
    """The units, and W among them, in a period where these change."""
    if not fit.design.shape_facts:
        return fit.panel.units, fit.weights.matrix
    at = rows_of_period(fit, period)
    return at.units, at.W


def system_effect_matrix(
    fit: SystemFit, response: str, source: str, period: int | None = None
) -> pd.DataFrame:
    """The whole matrix (n × n) of one source on one equation: row i receives from column j.

    "Does Ningbo's talent raise Shaoxing's industry?" is the entry (Shaoxing, Ningbo) of response industry and
    source ``shock:talent``.
    """
    units, matrix = _among(fit, period)
    g, b, t = _one(fit, response, source)
    gamma, psi = fit.matrices()
    n = len(units)
    columns = impact_columns(system_solver(gamma, psi, matrix), b, t, matrix, np.arange(n))
    return pd.DataFrame(columns[g * n : (g + 1) * n], index=units, columns=units)


@renamed(alpha="level")
def feedback_decomposition(fit: SystemFit, *, level: float = 0.95) -> ResultTable:
    """What one equation's variable does to another's, step by step, for every ordered pair of equations.

    Parts of the pair (response g, source l): ``local`` γ_gl; ``spillover`` ψ_gl, own for g = l, cross
    otherwise; then the closed loop, responses to ``shock:l`` of all rounds together: ``direct``, ``indirect``,
    ``total``. For g = l the shock itself, one, is part of ``direct`` and ``total``.

    Returns
    -------
    ResultTable with response, source, part, estimate, std_error, statistic, p_value, conf_low, conf_high. A γ
    or ψ that the system leaves out is zero without standard error.
    """
    effects = system_effects(fit, "delta", alpha=alpha_of(level)).tidy().rename(columns={"effect": "part"})
    effects = effects[effects["source"].str.startswith(SHOCK)]
    reasons = {"reason": ""} if "reason" in effects else {}
    effects = effects.assign(source=effects["source"].str.removeprefix(SHOCK))
    tidy = fit.tidy(level=level).set_index(["equation", "term"])
    rows = []
    for g, response in enumerate(fit.spec.names):
        for l, source in enumerate(fit.spec.names):
            y = fit.spec.endogenous[l]
            if g != l:
                rows.append(_structural(tidy, response, source, "local", y))
            rows.append(_structural(tidy, response, source, "spillover", f"W_{y}"))
    frame = pd.concat([pd.DataFrame(rows).assign(**reasons), effects], ignore_index=True)
    rank = {name: i for i, name in enumerate(("local", "spillover", *EFFECTS))}
    places = {name: i for i, name in enumerate(fit.spec.names)}
    order = np.lexsort([frame["part"].map(rank), frame["source"].map(places), frame["response"].map(places)])
    return ResultTable(frame.iloc[order].reset_index(drop=True), fit.facts)


# --------------------------------------------------------------------------------------------------------


def _structural(tidy: pd.DataFrame, response: str, source: str, part: str, term: str) -> dict[str, Any]:
    head = {"response": response, "source": source, "part": part}
    if (response, term) in tidy.index:
        return head | tidy.loc[(response, term)].to_dict()
    return head | dict.fromkeys(tidy.columns, np.nan) | {"estimate": 0.0}


def refuse_unstable(fit: SystemFit) -> None:
    found = fit.stability()
    if found.stable:
        return
    why = (
        Text(
            f"det Γ = {found.determinant:.3f} is not positive: within a unit the equations feed back on each "
            "other (γ) too strongly",
            f"det Γ = {found.determinant:.3f}不为正，同一地区内各方程之间的反馈（γ）过强",
        )
        if found.determinant <= 0
        else Text(
            f"the roots of det(Γ − ωΨ) reach inside the eigenvalues of W (strength {found.strength:.3f}, not below 1): "
            "rounds of spillovers do not die out",
            f"det(Γ − ωΨ)的根进入W的特征值之内（强度{found.strength:.3f}，不小于1），溢出循环不衰减",
        )
    )
    raise ConvergenceError(
        f"{fit!r} is not stable, so its effects are not defined: {why.en}. Drop a spatial lag or an endogenous regressor, "
        "or try other weights; fit.stability().table() shows the roots.",
        f"{fit!r}不稳定，其效应没有定义：{why.zh}。请去掉一个空间滞后或内生解释变量，或换权重矩阵；"
        "fit.stability().table()给出特征根。",
    )


def sources_of(spec: SystemSpec) -> tuple[list[str], Sources]:
    """Names of the sources, and where their coefficients stand in δ: exogenous variables, then shocks."""
    m = len(spec.names)
    names = [*spec.exogenous, *(f"{SHOCK}{name}" for name in spec.names)]
    b, t = np.full((m, len(names)), -1), np.full((m, len(names)), -1)
    start = 0
    for g, name in enumerate(spec.names):
        terms = spec.terms(name)
        for k, x in enumerate(spec.exogenous):
            if x in spec.equations[name].x:
                b[g, k] = start + terms.index(x)
            if x in spec.equations[name].lag_x:
                t[g, k] = start + terms.index(f"W_{x}")
        start += len(terms)
    constant = np.hstack([np.zeros((m, len(spec.exogenous))), np.eye(m)])
    return names, Sources(b, t, constant)


def _one(fit: SystemFit, response: str, source: str) -> tuple[int, Array, Array]:
    """Position of the response, and b, t (m,) of the source."""
    refuse_unstable(fit)
    refuse_without_effects(fit, reason_of_system(fit, fieller=False))
    if response not in fit.spec.names:
        raise DataError(
            f"{response!r} is not an equation of this system; it has {listed(fit.spec.names)}.",
            f"{response!r}不是此系统的方程；已有{listed_zh(fit.spec.names)}。",
        )
    names, sources = sources_of(fit.spec)
    if source not in names:
        raise DataError(
            f"{source!r} is not a source of this system; it has {listed(names)}.",
            f"{source!r}不是此系统的来源；已有{listed_zh(names)}。",
        )
    b, t = sources.coefficients(fit.delta)
    k = names.index(source)
    return fit.spec.names.index(response), b[:, k], t[:, k]


def eigenvalues_of(fit: SystemFit) -> NDArray:
    """Eigenvalues of W; a single zero stands for all when nothing depends on them."""
    return fit.design.eigenvalues


def average_system_effects(fit: SystemFit, sources: Sources, delta: Array) -> Array:
    """Effects (…, m, K, 3) at coefficients (…, p)."""
    return _three(average_impacts(delta, *_space(fit, sources)), -1)


def _space(fit: SystemFit, sources: Sources) -> tuple[Links, Sources, NDArray, sparse.csr_array, bool]:
    """Links, sources, the eigenvalues of W, W, and whether its rows sum to one."""
    design = fit.design
    return design.arrays.links, sources, design.eigenvalues, design.matrix, design.rows_sum_to_one


def _three(values: Array, axis: int) -> Array:
    """Direct, total → direct, indirect, total along an axis."""
    direct, total = np.take(values, 0, axis), np.take(values, 1, axis)
    return np.stack([direct, total - direct, total], axis=axis)


def system_gradient(fit: SystemFit, sources: Sources, delta: Array) -> Array:
    """Derivatives (m, K, 3, p) of :func:`average_system_effects` at coefficients (p,)."""
    return _three(impact_gradient(delta, *_space(fit, sources)), 2)


def _delta_errors(fit: SystemFit, gradient: Array) -> Array:
    """√(g'Vg), (m, K, 3)."""
    where = fit.coefficient_positions
    cov = fit.cov.to_numpy()[np.ix_(where, where)]
    return np.sqrt(np.einsum("gkei,ij,gkej->gke", gradient, cov, gradient, optimize=True))


def _simulated(
    fit: SystemFit, names: list[str], sources: Sources, draws: int, rng: Rng, alpha: float
) -> Effects:
    check_draws(draws)
    axes, why = _axes(fit, names), reason_of_system(fit)
    if not fit.converged:
        return not_computed(axes, "simulate", fit, no_estimate())
    sample = _draw(fit, draws, random_generator(rng))
    inside = stable_systems(fit, sample)
    rejected = draws - int(inside.sum())
    detail, why = draws_detail(rejected, draws), why or draws_reason(rejected, draws, "system")
    if why is not None:
        return not_computed(axes, "simulate", fit, why, detail)
    notes = tell_rejected(fit, rejected, draws, "system")
    point = average_system_effects(fit, sources, fit.delta)
    law = law_of_draws(fit.degrees(np.eye(len(fit.params))))
    columns = simulated_columns(point, average_system_effects(fit, sources, sample[inside]), alpha, law)
    return Effects(axes, columns, "simulate", fit, detail, notes)


def _draw(fit: SystemFit, draws: int, generator: np.random.Generator) -> Array:
    """Coefficients (draws, K) from N(δ̂, V), where clusters are few from t."""
    where = fit.coefficient_positions
    cov = fit.cov.to_numpy()[np.ix_(where, where)]
    size = np.sqrt(np.diag(cov))
    root = np.linalg.cholesky(cov / np.outer(size, size))
    noise = generator.standard_normal((draws, len(size))) @ root.T
    law = law_of_draws(fit.degrees(np.eye(len(fit.params))))
    return fit.delta + noise * drawn_radii(law, draws, generator) * size


def stable_systems(fit: SystemFit, sample: Array) -> NDArray[np.bool_]:
    """Which coefficients (R, p) are those of a stable system, (R,)."""
    gamma, psi = coefficient_matrices(sample, fit.design.arrays.links, len(fit.spec.names))
    radius = fit.stability().radius
    strength = radius * np.abs(np.linalg.eigvals(np.linalg.solve(gamma, psi))).max(axis=1)
    return (strength < 1) & (np.linalg.det(gamma) > 0)


def _long(fit: SystemFit, names: list[str], values: Array) -> pd.Series:
    """(m, K, 3) → series indexed by (response, source, effect)."""
    axes = _axes(fit, names)
    return pd.Series(values.ravel(), index=pd.MultiIndex.from_product(axes.values(), names=axes.keys()))


def _axes(fit: SystemFit, names: list[str]) -> dict[str, tuple[str, ...]]:
    return {"response": tuple(fit.spec.names), "source": tuple(names), "effect": EFFECTS}
