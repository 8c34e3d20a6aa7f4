"""What follows a shock in a system with lags in time: responses by horizon, by city, and shares of variance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from spatial_zb.base.arguments import alpha_of
from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.results import ResultTable, coefficient_columns, quantile
from spatial_zb.core import Array
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.core.system.dynamic import Carried
from spatial_zb.core.system.paths import average_responses, shock_paths
from spatial_zb.effects.system import SHOCK
from spatial_zb.effects.table import Effects, check_fit, no_estimate, not_computed
from spatial_zb.models.system.dynamic import array_order, carried_fit
from spatial_zb.models.system.fit import SystemFit

#: Parts of an average response: of the city that was shocked, of all others together, and both.
PARTS = ("own", "others", "total")
#: Where a shock came from that moves a variable of a city.
PLACES = ("own", "others")
#: Units times equations from which shares of variance, which need all responses of all to all, are not computed.
MOST_ROWS = 3000


@dataclass(frozen=True, eq=False, repr=False)
class Responses(Effects):
    """Responses by horizon; ``tidy()`` has response, source, horizon and effect (or unit), and the columns of effects.

    ``detail`` has the ``horizons``, and ``at``, the unit that was shocked, where it is one.
    """

    def variance_shares(self, *, level: float = 0.95) -> ResultTable:
        """How much of what cannot be foreseen of a variable, h periods ahead, comes from shocks in each equation, and where.

        Shares of the forecast error variance, averaged over units: from shocks of a source in the ``own`` city or in the
        ``others``. Errors of the equations go together (Σ), so that part of a shock may be counted with either:
        ``share_first`` counts what is common with the source, ``share_last`` with the others. Both are the ends of what can
        be said.

        Returns
        -------
        ResultTable: response, source, horizon, place, share_low, share_high (the lower and the higher of the two), and
        conf_low, conf_high, limits at ``level`` of the two together by the delta method (errors of θ̂ and of Σ̂), within 0
        and 1.

        Raises
        ------
        SpecificationError
            More than 3,000 units times equations.

        Notes
        -----
        Spatial errors u = (I − λW)⁻¹ε: a shock is ε, of one city, and what of it reaches others within the period counts as
        from that city. Its responses are Φ_h(I − λW)⁻¹.
        """
        assert isinstance(self.fit, SystemFit), "made of a system"
        return _variance_shares(self.fit, self.detail["horizons"], level)


def impulse_responses(
    fit: SystemFit,
    horizons: int = 10,
    *,
    source: str | Sequence[str] | None = None,
    at: str | None = None,
    level: float = 0.95,
) -> Responses:
    """What a unit shock in one equation does to every variable, in the same period and h = 1 … ``horizons`` periods later.

    Φ_0 = 𝐒⁻¹, Φ_h = (𝐒⁻¹𝐀)^h 𝐒⁻¹: a city's variable is one higher from outside the system, once; what follows runs through
    the other variables, the other cities and time. Without ``at``, averages over the city that is shocked: ``own`` is the
    response of that city, ``others`` that of all others together, ``total`` their sum. With ``at``, the response of every
    city to a shock in that one.

    Parameters
    ----------
    fit
        A system with lags in time.
    horizons
        How many periods ahead.
    source
        Names of the equations that are shocked; all without it.
    at
        The unit that is shocked.
    level
        Of the limits, by the delta method; ``zb.bootstrap(fit).responses()`` has percentile limits, which are better far
        ahead, where responses are products of many estimates and skewed.

    Returns
    -------
    Responses, whose ``tidy()`` has response, source, horizon, effect (or ``unit``), estimate, std_error, statistic, p_value,
    conf_low, conf_high. What is zero by construction has no error and no limits. ``.variance_shares()``: of the forecast
    errors.

    Raises
    ------
    SpecificationError
        A system without lags in time, an invalid number of horizons.
    DataError
        An unknown equation or unit.

    Examples
    --------
    Talent follows industry by a year (drawn with 0.3), and stays by half:

    >>> import spatial_zb as zb, scipy.sparse as sp
    >>> ring = sp.csr_array(sp.diags_array([1.0, 1.0, 1.0, 1.0], offsets=[1, -1, 39, -39], shape=(40, 40)))
    >>> W = zb.Weights(ring, [f"c{i:02d}" for i in range(40)], "ring").standardise()
    >>> spec = zb.SystemSpec({"industry": zb.Equation("ind"), "talent": zb.Equation("tal")}, time_lag=True,
    ...                      lag_time_lag=True)
    >>> truth = {("industry", "L_ind"): 0.6, ("talent", "L_tal"): 0.5, ("talent", "L_ind"): 0.3}
    >>> fit = zb.fit_system(spec, zb.simulate.system(spec, W, 14, truth, rng=1), W)
    >>> frame = zb.impulse_responses(fit, 2, source="industry").tidy()
    >>> own = frame[(frame["response"] == "talent") & (frame["effect"] == "own")]
    >>> own["estimate"].round(1).tolist()
    [0.0, 0.3, 0.3]
    """
    check_fit(fit, "impulse_responses", SystemFit)
    carried = carried_fit(fit)
    _check_horizons(horizons)
    sources = _sources(fit, source)
    axes: dict[str, tuple] = {
        "response": fit.spec.names,
        "source": tuple(fit.spec.names[l] for l in sources),
        "horizon": tuple(range(horizons + 1)),
    }
    detail: dict[str, Any] = {"horizons": horizons}
    if at is None:
        axes["effect"] = PARTS
    else:
        axes["unit"], detail["at"] = tuple(fit.panel.units), _known_unit(fit, at)
    if not fit.converged:
        empty = not_computed(axes, "delta", fit, no_estimate(), detail)
        return Responses(axes, empty.columns, "delta", fit, detail, empty.notes, empty.reason)
    order = array_order(fit)
    theta = fit.params.to_numpy()[order]
    values, slopes = _averages(fit, carried, theta, horizons, sources)
    if at is not None:
        values, slopes = _of_one(fit, carried, theta, horizons, sources, at)
    gradient = np.zeros_like(slopes)
    gradient[..., order] = slopes
    gradient = gradient.reshape(-1, gradient.shape[-1])
    errors = np.sqrt(np.einsum("ri,ij,rj->r", gradient, fit.cov.to_numpy(), gradient, optimize=True))
    df = fit.degrees(gradient)
    columns = coefficient_columns(values.ravel(), errors, alpha_of(level), df)
    columns[~gradient.any(axis=1), 1:] = np.nan  # zero, or one, by construction
    return Responses(axes, columns, "delta", fit, detail, df=df)


def responses_at(fit: SystemFit, values: Array, horizons: int) -> Array:
    """Average responses (R, rows) at parameters (R, p), rows in the order of ``tidy()``; all sources."""
    carried, order = carried_fit(fit), array_order(fit)
    sources = list(range(len(fit.spec.names)))
    return np.array([_averages(fit, carried, v[order], horizons, sources)[0].ravel() for v in values])


def responses_errors(fit: SystemFit, values: Array, covariances: Array, horizons: int) -> Array:
    """Their standard errors (R, rows) by the delta method, from covariances (R, p, p)."""
    carried, order = carried_fit(fit), array_order(fit)
    sources, out = list(range(len(fit.spec.names))), []
    for v, V in zip(values, covariances, strict=True):
        slopes = _averages(fit, carried, v[order], horizons, sources)[1]
        flat = slopes.reshape(-1, slopes.shape[-1])
        out.append(np.sqrt(np.einsum("ri,ij,rj->r", flat, V[np.ix_(order, order)], flat, optimize=True)))
    return np.array(out)


def responses_axes(fit: SystemFit, horizons: int) -> dict[str, tuple]:
    """Axes of the average responses of all sources."""
    _check_horizons(horizons)
    names = fit.spec.names
    return {"response": names, "source": names, "horizon": tuple(range(horizons + 1)), "effect": PARTS}


# --------------------------------------------------------------------------------------------------------


def _check_horizons(horizons: Any) -> None:
    if not isinstance(horizons, int) or isinstance(horizons, bool) or not 0 <= horizons <= 100:
        raise SpecificationError(
            f"horizons must be a whole number from 0 to 100, not {horizons!r}.",
            f"horizons须为0至100的整数，而不是{horizons!r}。",
        )


def _sources(fit: SystemFit, asked: str | Sequence[str] | None) -> list[int]:
    names = fit.spec.names
    if asked is None:
        return list(range(len(names)))
    chosen = [name.removeprefix(SHOCK) for name in ([asked] if isinstance(asked, str) else asked)]
    strangers = [name for name in chosen if name not in names]
    if strangers or not chosen:
        raise DataError(
            f"source must name equations of this system, which has {listed(names)}; not {listed(strangers)}.",
            f"source须为此系统的方程（{listed_zh(names)}），而不是{listed_zh(strangers)}。",
        )
    return [names.index(name) for name in chosen]


def _known_unit(fit: SystemFit, at: str) -> str:
    if at not in fit.panel.units:
        raise DataError(
            f"at must be a unit of the panel, by its id; {at!r} is none. The ids are in fit.panel.units.",
            f"at须为面板中的地区代码；{at!r}不在其中。代码见fit.panel.units。",
        )
    return at


def _averages(
    fit: SystemFit, carried: Carried, theta: Array, horizons: int, sources: Sequence[int]
) -> tuple[Array, Array]:
    """Own, others, total (m, s, h + 1, 3), and derivatives (m, s, h + 1, 3, p) in the order of the arrays."""
    row = fit.weights.row_normalised or not fit.spec.uses_weights
    found, slopes = average_responses(carried, theta, horizons, fit.weights.matrix, row)
    found, slopes = found[:, :, sources], slopes[:, :, sources]
    values = np.stack([found[..., 0], found[..., 1] - found[..., 0], found[..., 1]], axis=-1)
    parts = [slopes[..., 0, :], slopes[..., 1, :] - slopes[..., 0, :], slopes[..., 1, :]]
    return np.moveaxis(values, 0, 2), np.moveaxis(np.stack(parts, axis=-2), 0, 2)


def _of_one(
    fit: SystemFit, carried: Carried, theta: Array, horizons: int, sources: Sequence[int], at: str
) -> tuple[Array, Array]:
    """Responses (m, s, h + 1, n) to a shock in one unit, and derivatives."""
    start = np.zeros((len(fit.spec.names), len(fit.panel.units), len(sources)))
    start[sources, fit.panel.units.get_loc(at), range(len(sources))] = 1.0
    paths, slopes = shock_paths(carried, theta, horizons, fit.weights.matrix, start)
    return paths.transpose(1, 3, 0, 2), slopes.transpose(1, 3, 0, 2, 4)


# Shares of variance ---------------------------------------------------------------------------------------


def _variance_shares(fit: SystemFit, horizons: int, level: float) -> ResultTable:
    n, m = len(fit.panel.units), len(fit.spec.names)
    if n * m > MOST_ROWS:
        raise SpecificationError(
            f"Shares of variance need the response of all to all, of {n * m:,} rows here; {MOST_ROWS:,} are the most. Read "
            "impulse_responses(fit).tidy().",
            f"方差分解需要全部地区对全部地区的响应，此处{n * m}行，上限{MOST_ROWS}行。请看impulse_responses(fit).tidy()。",
        )
    order = array_order(fit)
    theta, cov = fit.params.to_numpy()[order], fit.cov.to_numpy()[np.ix_(order, order)]
    moments, slopes = _second_moments(fit, carried_fit(fit), theta, horizons)
    sigma, N = fit.sigma.to_numpy(), fit.nobs
    point = _shares(moments, sigma)  # (2 orders, m sources, h + 1, 2 places, m responses)
    by_theta = _share_slopes(moments, slopes, sigma, point)
    variance = np.einsum("...p,pq,...q->...", by_theta, cov, by_theta, optimize=True)
    rows, columns = np.triu_indices(m)
    steps = []
    for a, b in zip(rows, columns, strict=True):
        h = 1e-6 * np.sqrt(sigma[a, a] * sigma[b, b])
        step = np.zeros((m, m))
        step[a, b] = step[b, a] = h
        steps.append((_shares(moments, sigma + step) - _shares(moments, sigma - step)) / (2 * h))
    by_sigma = np.stack(steps, axis=-1)
    own = sigma[np.ix_(rows, rows)] * sigma[np.ix_(columns, columns)]
    own = (own + sigma[np.ix_(rows, columns)] * sigma[np.ix_(columns, rows)]) / N
    variance = variance + np.einsum("...p,pq,...q->...", by_sigma, own, by_sigma, optimize=True)
    reach = np.ravel(quantile(alpha_of(level) / 2, fit.df_resid))[0] * np.sqrt(variance)
    keys = [fit.spec.names, fit.spec.names, tuple(range(horizons + 1)), PLACES]
    index = pd.MultiIndex.from_product(keys, names=["response", "source", "horizon", "place"])
    frame = index.to_frame(index=False)

    def ends(values: Array, take: Any) -> Array:
        return np.moveaxis(take(values, axis=0), -1, 0).ravel()

    frame["share_low"], frame["share_high"] = ends(point, np.min), ends(point, np.max)
    frame["conf_low"] = np.clip(ends(point - reach, np.min), 0, 1)
    frame["conf_high"] = np.clip(ends(point + reach, np.max), 0, 1)
    return ResultTable(frame, fit.facts | {"horizons": horizons})


def _second_moments(fit: SystemFit, carried: Carried, theta: Array, horizons: int) -> tuple[Array, Array]:
    """M (h + 1, 2, m, m, m): Σ over horizons so far of the mean over units i of Φ_gi,lj Φ_gi,kj, own (j = i) and all j.

    And derivatives (h + 1, 2, m, m, m, p). Φ is of ε: with spatial errors what comes first is (I − λ_lW)⁻¹.
    """
    m, n, p = len(fit.spec.names), len(fit.panel.units), len(theta)
    matrix, lam = fit.weights.matrix, carried.likelihood.split(theta)[1]
    filters = {l: filter_solver(matrix, lam[l]) for l in carried.likelihood.active}
    M, dM = np.zeros((horizons + 1, 2, m, m, m)), np.zeros((horizons + 1, 2, m, m, m, p))
    size = max(1, MOST_ROWS * 40 // (m * m * n))
    for first in range(0, n, size):
        chosen = np.arange(first, min(n, first + size))
        start = np.zeros((m, n, m, len(chosen)))
        for l in range(m):
            start[l, chosen, l, np.arange(len(chosen))] = 1.0
            if l in filters:
                start[l, :, l] = filters[l](start[l, :, l])
        paths, slopes = shock_paths(carried, theta, horizons, matrix, start.reshape(m, n, -1))
        paths = paths.reshape(horizons + 1, m, n, m, len(chosen))
        slopes = slopes.reshape(horizons + 1, m, n, m, len(chosen), p)
        for place, l in enumerate(filters, start=p - len(filters)):  # ∂(I − λW)⁻¹/∂λ = (I − λW)⁻¹W(I − λW)⁻¹
            moved = np.zeros((m, n, len(chosen)))
            moved[l] = filters[l](matrix @ start[l, :, l])
            slopes[:, :, :, l, :, place] = shock_paths(carried, theta, horizons, matrix, moved)[0]
        own = paths[:, :, chosen, :, np.arange(len(chosen))]  # (j, h, g, l)
        d_own = slopes[:, :, chosen, :, np.arange(len(chosen))]
        M[:, 0] += np.einsum("jhgl,jhgk->hglk", own, own) / n
        half = np.einsum("jhglp,jhgk->hglkp", d_own, own) / n
        dM[:, 0] += half + half.swapaxes(2, 3)
        M[:, 1] += np.einsum("hgilj,hgikj->hglk", paths, paths) / n
        half = np.einsum("hgiljp,hgikj->hglkp", slopes, paths, optimize=True) / n
        dM[:, 1] += half + half.swapaxes(2, 3)
    return M.cumsum(axis=0), dM.cumsum(axis=0)


def _impulses(sigma: Array) -> Array:
    """d (2, m, m) by order and source: what a shock of one standard deviation in it moves, counted first or last."""
    m, deviations = len(sigma), np.sqrt(np.diag(sigma))
    first = (sigma / deviations).T
    alone = 1 / np.sqrt(np.diag(np.linalg.inv(sigma))) if m > 1 else deviations
    return np.stack([first, np.diag(alone)])


def _numerators(moments: Array, sigma: Array) -> Array:
    """d'Md by order, source, horizon, place (own, all), response."""
    d = _impulses(sigma)
    return np.einsum("osl,hwglk,osk->oshwg", d, moments, d, optimize=True)


def _shares(moments: Array, sigma: Array) -> Array:
    """Own and others, (2, m, h + 1, 2, m)."""
    top = _numerators(moments, sigma)
    whole = np.einsum("hglk,lk->hg", moments[:, 1], sigma)
    own, every = top[..., 0, :] / whole, top[..., 1, :] / whole
    return np.stack([own, every - own], axis=3)


def _share_slopes(moments: Array, slopes: Array, sigma: Array, shares: Array) -> Array:
    """∂shares/∂θ."""
    d = _impulses(sigma)
    top = np.einsum("osl,hwglkp,osk->oshwgp", d, slopes, d, optimize=True)
    top = np.stack([top[..., 0, :, :], top[..., 1, :, :] - top[..., 0, :, :]], axis=3)
    whole = np.einsum("hglk,lk->hg", moments[:, 1], sigma)
    d_whole = np.einsum("hglkp,lk->hgp", slopes[:, 1], sigma)
    ratio = d_whole / whole[..., None]  # (h, g, p)
    return top / whole[:, None, :, None] - shares[..., None] * ratio[:, None]
