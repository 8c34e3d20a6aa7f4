"""Predictions of one equation, and how they would have done against the random walk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy import sparse, special

from spatial_zb.base.errors import (
    ConvergenceError,
    DataError,
    SpecificationError,
    listed,
    listed_zh,
    not_one_of,
)
from spatial_zb.base.results import ResultTable
from spatial_zb.base.text import Text
from spatial_zb.base.threads import one_thread
from spatial_zb.core import Array
from spatial_zb.core.likelihood.shape_rows import RowFilter
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.core.transforms import spatial_lag
from spatial_zb.data.panel import Panel, require_consecutive, require_panel
from spatial_zb.effects.table import check_fit, refuse_shape
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.fit import Fit
from spatial_zb.models.shape import ShapeDesign
from spatial_zb.models.spec import DurbinSpec, Estimation, Estimator
from spatial_zb.weights.matrix import as_weights

Kind = Literal["TS", "TC", "BP"]
#: Fewest periods that a back-test leaves to estimate with.
FEWEST = 3


@one_thread
def predict(fit: Fit, panel: Panel | None = None, kind: Kind = "BP") -> ResultTable:
    r"""Predict y of every unit and period from the estimates.

    With the trend m = Xβ + WXθ + effects, S = I − ρW, B = I − λW and Q = S'B'BS:

    - ``"TS"`` trend and signal: m + ρWy + λW(y − ρWy − m), what the neighbours' observed y say;
    - ``"TC"`` S⁻¹m: from regressors and effects alone, no y of the period is used;
    - ``"BP"`` S⁻¹m − D⁻¹(Q − D)(y − S⁻¹m), D the diagonal of Q: best for each unit given y of all others.

    Parameters
    ----------
    fit
        One equation with a single set of coefficients; fixed effects or none.
    panel
        Other periods of the same units; without it those of the fit. Unit effects are the fit's; a period that the fit
        has not seen gets the effect of its last one. With lags in time it is needed, and holds the period before the
        first one. Not for a fit whose W or units change between periods: it predicts its own rows.
    kind
        As above. TS and BP use y of the same period of other units, so they say how well a missing unit could be filled in;
        TC is the one for forecasts.

    Returns
    -------
    ResultTable: unit, period, y, predicted, residual; ``glance()`` has the root mean square error.

    Raises
    ------
    SpecificationError
        Random effects or regimes; an unknown kind; lags in time without a panel; a panel for a fit whose W or units change
        between periods.
    ConvergenceError
        The fit did not converge.
    DataError
        A panel of other units, or without a variable.

    Notes
    -----
    Goulard, Laurent & Thomas-Agnan (2017), Spatial Economic Analysis 12: 304-325. Equal to R's
    spatialreg for a cross-section.

    Examples
    --------
    >>> import spatial_zb as zb, scipy.sparse as sp
    >>> path = sp.csr_array(sp.diags_array([1.0, 1.0], offsets=[1, -1], shape=(30, 30)))
    >>> W = zb.Weights(path, range(30), "path").standardise()
    >>> panel = zb.simulate.durbin(W, 8, {"x": 1.0}, rho=0.4, rng=1)
    >>> fit = zb.fit_durbin(zb.DurbinSpec("y", ["x"]), panel, W)
    >>> rmse = [zb.predict(fit, kind=kind).glance()["rmse"].iloc[0] for kind in ("BP", "TC")]
    >>> bool(rmse[0] < rmse[1])
    True
    """
    check_fit(fit, "predict")
    if kind not in get_args(Kind):
        raise not_one_of("kind", kind, get_args(Kind))
    if not fit.converged:
        raise ConvergenceError(
            f"{fit!r} did not converge: there is nothing to predict with.", f"{fit!r}没有收敛，无法用于预测。"
        )
    asked = _panel_of(fit, panel)
    rho, lam = (float(fit.params.get(name, 0.0)) for name in ("rho", "lam"))
    if isinstance(fit.design, ShapeDesign):
        return _of_rows(fit, fit.design, kind, rho, lam)
    W, spec = fit.weights.matrix, fit.spec
    linear = _linear(fit, asked)
    y = asked.array(spec.y)[int(spec.dynamic) :]
    trend = linear + _effects(fit, asked if spec.dynamic else fit.panel, asked, rho, lam)
    if kind == "TS":
        signal = rho * spatial_lag(W, y)
        predicted = trend + signal + lam * spatial_lag(W, y - signal - trend)
    else:
        solved = filter_solver(W, rho)(trend.T).T if rho else trend
        others = _from_others(rho * W, lam * W, (y - solved).T).T if kind == "BP" else 0.0
        predicted = solved - others
    periods = asked.periods[int(spec.dynamic) :]
    units = np.tile(np.asarray(asked.units), len(periods))
    return _table(fit, kind, units, np.repeat(periods, len(asked.units)), y.ravel(), predicted.ravel())


def _of_rows(fit: Fit, design: ShapeDesign, kind: Kind, rho: float, lam: float) -> ResultTable:
    """The same for the rows of a panel of any shape, W of each period among the units that are there.

    m = Sy − B⁻¹ê has the regressors and every effect in it, whatever its kind.
    """
    y, shape, e = design.values, design.shape, fit.residuals[design.present]
    rest = RowFilter(shape.V, lam).solve(e) if shape.V else e
    trend = y - rest - (rho * (shape.W.matrix @ y) if shape.W else 0.0)
    # with λ: m + ρWy + λV(y − ρWy − m), where y − ρWy − m = B⁻¹ê
    solved = RowFilter(shape.W, rho).solve(trend) if shape.W else trend
    predicted: Array = y - e if kind == "TS" else solved
    if kind == "BP":
        none = sparse.csr_array((len(y), len(y)))
        rho_W, lam_V = rho * shape.W.matrix if shape.W else none, lam * shape.V.matrix if shape.V else none
        predicted = predicted - _from_others(rho_W, lam_V, y - predicted)
    period, unit = np.nonzero(design.present)
    periods = np.asarray(fit.panel.periods)[period]
    return _table(fit, kind, np.asarray(fit.panel.units)[unit], periods, y, predicted)


def _table(fit: Fit, kind: Kind, unit: Any, period: Any, y: Array, predicted: Array) -> ResultTable:
    frame = pd.DataFrame(
        {"unit": unit, "period": period, "y": y, "predicted": predicted, "residual": y - predicted}
    )
    rmse = float(np.sqrt(np.mean((y - predicted) ** 2)))
    return ResultTable(frame, {"y": fit.spec.y, "kind": kind, "rmse": rmse, **fit.facts})


def _from_others(rho_W: sparse.csr_array, lam_V: sparse.csr_array, rest: Array) -> Array:
    """D⁻¹(Q − D) times rest (n,) or (n, T)."""
    one = sparse.eye_array(len(rest), format="csr")
    root = sparse.csr_array((one - lam_V) @ (one - rho_W))
    Q = sparse.csr_array(root.T @ root)
    diagonal = Q.diagonal()
    return (Q @ rest) / (diagonal if rest.ndim == 1 else diagonal[:, None]) - rest


def _panel_of(fit: Fit, panel: Panel | None) -> Panel:
    spec = fit.spec
    if spec.regimes or spec.fixed_effects == "random":
        what = Text("regimes", "区制") if spec.regimes else Text("random effects", "随机效应")
        raise SpecificationError(
            f"predict is for fixed effects, or none, and one set of coefficients; {fit!r} has {what.en}.",
            f"predict用于固定效应或无效应、且只有一组系数的模型；{fit!r}含{what.zh}。",
        )
    if panel is None:
        if spec.dynamic:
            raise SpecificationError(
                "With lags in time the first prediction needs the period before it: predict(fit, panel).",
                "含时间滞后时，首期预测需要前一期数据：请用predict(fit, panel)。",
            )
        return fit.panel
    require_panel(panel)
    if isinstance(fit.design, ShapeDesign):
        raise SpecificationError(
            "predict(fit, panel) is for one W on a complete panel: of other rows this fit knows neither W nor effects. "
            "predict(fit) has the rows it was fitted to.",
            "predict(fit, panel)用于面板完整、W唯一的估计：对其他行，此估计既无W也无效应。predict(fit)给出其样本内各行。",
        )
    if list(panel.units) != list(fit.panel.units):
        if set(panel.units) != set(fit.panel.units):
            missing = [unit for unit in fit.panel.units if unit not in set(panel.units)]
            raise DataError(
                f"The panel must have the units of the fit; it lacks {listed(missing)}."
                if missing
                else "The panel must have the units of the fit; it has more.",
                f"面板须为此估计的全部地区；缺少{listed_zh(missing)}。"
                if missing
                else "面板须为此估计的全部地区，现多于此。",
            )
        panel = panel.select(units=list(fit.panel.units))
    return panel


def _linear(fit: Fit, panel: Panel) -> Array:
    """Xβ + WXθ, with lags in time τy_{t−1} + ηWy_{t−1} too, (T, n); of the latter the first period is left out."""
    spec, W = fit.spec, fit.weights.matrix
    first = int(spec.dynamic)
    if first:
        require_consecutive(panel, "time_lag")
    shape = len(panel.periods) - first, len(panel.units)
    out = np.full(shape, float(fit.params.get("(Intercept)", 0.0)))
    for name in spec.regressors:
        values = panel.array(name)[first:]
        out = out + float(fit.params[name]) * values
        if name in spec.lag_x:
            out = out + float(fit.params[f"W_{name}"]) * spatial_lag(W, values)
    if first:
        before = panel.array(spec.y)[:-1]
        out = out + float(fit.params.get("tau", 0.0)) * before
        out = out + float(fit.params.get("eta", 0.0)) * spatial_lag(W, before)
    return out


def _effects(fit: Fit, known: Panel, asked: Panel, rho: float, lam: float) -> Array:
    """Fixed effects (T, n) of the periods that are asked for: means of the errors of the periods that the fit has seen.

    With λ they are means of the filtered errors, turned back: units and periods are then as far from their mean as the
    likelihood has them.
    """
    spec, W = fit.spec, fit.weights.matrix
    first = int(spec.dynamic)
    wanted = asked.periods[first:]
    shape = len(wanted), len(asked.units)
    if spec.fixed_effects == "none":
        return np.zeros(shape)
    y = known.array(spec.y)[first:]
    rest = y - rho * spatial_lag(W, y) - _linear(fit, known)
    rest = rest - lam * spatial_lag(W, rest)
    seen = np.isin(known.periods[first:], fit.panel.periods)
    if not seen.any():
        raise DataError(
            f"The panel must hold periods of the fit ({listed(fit.panel.periods)}), whose effects it needs.",
            f"面板须含估计所用的时期（{listed_zh(fit.panel.periods)}），其效应为预测所需。",
        )
    rest, periods = rest[seen], np.asarray(known.periods[first:])[seen]
    both = spec.fixed_effects == "two_way"
    units = rest.mean(axis=0) if spec.fixed_effects in ("unit", "two_way") else np.zeros(shape[1])
    times = rest.mean(axis=1) - (rest.mean() if both else 0.0) if spec.fixed_effects != "unit" else None
    out = np.tile(units, (shape[0], 1))
    if times is not None:
        place = {period: i for i, period in enumerate(periods)}
        out = out + times[[place.get(period, len(periods) - 1) for period in wanted], None]
    return filter_solver(W, lam)(out.T).T if lam else out


@one_thread
def backtest(
    spec: DurbinSpec,
    panel: Panel,
    W: Any,
    periods: int = 1,
    *,
    estimator: Estimator | Estimation = "lee_yu",
    x: Literal["known", "last"] = "known",
) -> ResultTable:
    """Predict each of the last periods from those before it, and compare with the random walk ŷ_t = y_{t−1}.

    For every such period the model is estimated on all periods before it, and predicts it by ``TC`` (no y of that period);
    a fixed effect of the new period is that of the last one.

    Parameters
    ----------
    spec, panel, W, estimator
        As :func:`spatial_zb.fit_durbin` takes them.
    periods
        How many of the last periods are predicted, each one ahead.
    x
        ``"known"``: regressors of the predicted period are taken as known, which a forecaster would not know; ``"last"``:
        those of the period before stand for them.

    Returns
    -------
    ResultTable: a row for each period and one for ``all``: rmse, rmse_walk, ratio (below one: the model is better), and
    p_value of equal squared errors (Diebold and Mariano's idea: t of their differences, each unit's mean over the periods
    one observation). Neighbours err together, so p is too small rather than too large: ``verdict`` calls a difference one
    only where p < 0.01.

    Raises
    ------
    SpecificationError
        Random effects or regimes; too few periods; an unknown ``x``.

    Notes
    -----
    Diebold & Mariano (1995), J. Business & Economic Statistics 13: 253-263.
    """
    require_panel(panel)
    if x not in ("known", "last"):
        raise not_one_of("x", x, ("known", "last"))
    needed = FEWEST + int(spec.dynamic)
    if (
        isinstance(periods, bool)
        or not isinstance(periods, int)
        or not 1 <= periods <= len(panel.periods) - needed
    ):
        raise SpecificationError(
            f"periods must be a whole number from 1 to {len(panel.periods) - needed}: {needed} periods stay to estimate "
            f"with, and the panel has {len(panel.periods)}.",
            f"periods须为1至{len(panel.periods) - needed}的整数：估计至少留{needed}期，而面板共{len(panel.periods)}期。",
        )
    how, weights = Estimation.of(estimator), as_weights(W).align(panel.units)
    losses, rows = [], []
    for t in range(len(panel.periods) - periods, len(panel.periods)):
        before, until = (panel.select(periods=panel.periods[:end]) for end in (t, t + 1))
        fit = fit_durbin(spec, before, weights, how.estimator, how.covariance)
        refuse_shape(fit, Text("A back-test", "回测"))
        if x == "last":
            names = list(spec.regressors)
            carried = until.array(names)
            carried[-1] = carried[-2]
            until = until.with_columns(dict(zip(names, np.moveaxis(carried, 2, 0), strict=True)))
        found = predict(fit, until, "TC").tidy()
        errors = found[found["period"] == panel.periods[t]]["residual"].to_numpy()
        walk = panel.array(spec.y)[t] - panel.array(spec.y)[t - 1]
        losses.append(walk**2 - errors**2)
        rows.append(_compared(str(panel.periods[t]), errors, walk, losses[-1:]))
        rows[-1]["_errors"], rows[-1]["_walk"] = errors, walk
    errors, walk = (np.concatenate([row.pop(name) for row in rows]) for name in ("_errors", "_walk"))
    rows.append(_compared("all", errors, walk, losses))
    frame = pd.DataFrame(rows)
    return ResultTable(
        frame, {"y": spec.y, "model": spec.title, "weights": weights.label, "periods": periods, "x": x}
    )


def _compared(period: str, errors: Array, walk: Array, losses: Sequence[Array]) -> dict[str, Any]:
    """Root mean square errors, and the test of equal squared errors with each unit's mean as one observation."""
    rmse, other = (float(np.sqrt(np.mean(values**2))) for values in (errors, walk))
    by_unit = np.mean(losses, axis=0)
    t = by_unit.mean() / (by_unit.std(ddof=1) / np.sqrt(len(by_unit)))
    p = float(2 * special.stdtr(len(by_unit) - 1, -abs(t)))
    verdict = "no clear difference" if p >= 0.01 else "better" if t > 0 else "worse"
    return {
        "period": period,
        "n": len(errors),
        "rmse": rmse,
        "rmse_walk": other,
        "ratio": rmse / other,
        "statistic": float(t),
        "p_value": p,
        "verdict": verdict,
    }
