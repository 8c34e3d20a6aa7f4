"""The same model and tests by spreg, statistic by esda and W by libpysal, side by side, and why numbers differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.base.errors import SpecificationError
from spatial_zb.base.notes import Note
from spatial_zb.base.text import UNDATED, Text
from spatial_zb.base.threads import one_thread
from spatial_zb.compare.differences import (
    Crosscheck,
    Line,
    degrees_of_freedom,
    density,
    dummies,
    dummies_kept,
    islands,
    islands_are_components,
    lacks,
    lines_of,
    many_instruments,
    other_covariance,
    other_estimator,
    other_moments,
    program,
    pseudo_p,
    pysal,
    quiet,
    transformation,
    unexplained,
)
from spatial_zb.core.likelihood import tests as core
from spatial_zb.core.transforms import demean
from spatial_zb.data.panel import Panel
from spatial_zb.explore.checks import LocalTable, MoranTable
from spatial_zb.hypotheses import make_case
from spatial_zb.hypotheses.panel import LAG_ERROR
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.fit import Fit
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.models.system import fit_system
from spatial_zb.models.system.fit import SystemFit
from spatial_zb.weights.entries import describe
from spatial_zb.weights.matrix import Weights

#: Beyond so many observations spreg takes sparse factors for its determinants.
LARGE = 400
#: Permutations that esda is asked for at most.
MOST_PERMUTATIONS = 9999


@one_thread
def crosscheck(
    result: Fit | SystemFit | MoranTable | LocalTable | DurbinSpec | Weights,
    panel: Panel | None = None,
    W: Weights | None = None,
) -> Crosscheck:
    """Compute the same by spreg or esda, and say why numbers differ.

    A reason is checked, not supposed: the model is fitted once more here under the conventions of the other program, and
    what then agrees is explained by what was changed.

    Parameters
    ----------
    result
        A fit of :func:`fit_durbin`: OLS, SLX, SAR, SDM, SEM, SDEM in a cross-section, a pooled panel or one with fixed
        effects, SAC in a cross-section, and its estimates by ``"gmm"`` without effects; a system by ``"2sls"``;
        Moran's I, or local Moran's I; a specification, for the LM tests of a lag and of an error that its least-squares
        residuals give; weights, for their properties.
    panel, W
        For Moran's I: what it was computed of; for a specification: its data.

    Returns
    -------
    Crosscheck, whose ``tidy()`` has ``term, quantity, ours, theirs, difference, reason``.

    Raises
    ------
    SpecificationError
        What the other program does not have; a fit that did not converge; Moran's I or a specification without panel
        and W; spreg, esda or libpysal not being installed.

    Examples
    --------
    >>> import spatial_zb as zb
    >>> regions, panel, W = zb.example("counties")
    >>> one = panel.select(periods=panel.periods[-1:])
    >>> name = one.columns[0]
    >>> zb.crosscheck(zb.moran(one, name, W, permutations=99, rng=1), one, W).glance()["unexplained"].item()
    0
    """
    if isinstance(result, Fit):
        return _of_fit(result)
    if isinstance(result, SystemFit):
        return _of_system(result)
    if isinstance(result, Weights):
        return _of_weights(result)
    if isinstance(result, MoranTable | LocalTable | DurbinSpec):
        if panel is None or W is None:
            raise SpecificationError(
                "Moran's I and a specification keep no data: give panel and W too, crosscheck(table, panel, W).",
                "莫兰指数与模型设定不含数据：请一并给出面板与W，即crosscheck(table, panel, W)。",
            )
        return _of_lm(result, panel, W) if isinstance(result, DurbinSpec) else _of_moran(result, panel, W)
    raise SpecificationError(
        "crosscheck compares a fit, a system, Moran's I, the LM tests of a specification or weights, not a "
        f"{type(result).__name__}.",
        f"crosscheck用于单方程估计、方程组、莫兰指数、模型设定的LM检验或权重矩阵，而不是{type(result).__name__}。",
    )


# One equation -----------------------------------------------------------------------------------------------


def _of_fit(fit: Fit) -> Crosscheck:
    _refuse_unlike(fit)
    spec, panel, W = fit.spec, fit.panel, fit.weights
    gmm, effects = fit.estimator == "gmm", spec.fixed_effects
    spreg = program("spreg")
    with quiet():
        call, theirs, order = _estimate(spreg, fit)
        covariance = "robust" if gmm and (spec.lag_error or fit.covariance == "robust") else "information"
        how: dict[str, Any] = {"estimator": "gmm" if gmm else "direct", "covariance": covariance}
        how |= {"bias_correction": False} if gmm else {}
        twin = fit_durbin(spec, panel, W, **how)
    terms = [term for term in fit.params.index if term in order]
    at = [order.index(term) for term in terms]
    estimates, errors = np.ravel(theirs.betas)[at], np.ravel(theirs.std_err)[at]
    moved: list[Note] = []
    if spec.lag_y and spec.lag_error and not gmm:
        moved = [other_estimator(call)]
    elif gmm:
        moved += [many_instruments()] if fit.bias_correction else []
        moved += [other_moments(fit.covariance)] if spec.lag_error and fit.covariance != "robust" else []
    elif effects != "none" and fit.estimator == "lee_yu":
        moved = [transformation(str(effects))]
    spread = [
        *moved,
        *([other_covariance(fit.covariance, covariance)] if fit.covariance != covariance else []),
    ]
    own, same = fit.bse[terms].to_numpy(), twin.bse[terms].to_numpy()
    lines = lines_of(
        terms,
        "estimate",
        (fit.params[terms].to_numpy(), twin.params[terms].to_numpy(), estimates),
        own,
        tuple(moved),
    )
    lines += lines_of(terms, "std_error", (own, same, errors), own, tuple(spread))
    if not gmm and len(panel.periods) == 1 and not moved:
        ours = np.array([fit.log_likelihood])
        said = (ours, np.array([twin.log_likelihood]), np.array([float(theirs.logll)]))
        lines += lines_of(["ln L"], "log_likelihood", said, np.ones(1), ())
    return Crosscheck(fit.subject.subject, "spreg", metadata.version("spreg"), call, tuple(lines))


def _refuse_unlike(fit: Fit) -> None:
    """What spreg does not have, or not so that it could be told apart from something else."""
    spec = fit.spec
    if not fit.converged:
        raise SpecificationError(
            "The fit did not converge: there are no numbers to compare.", "估计未收敛，没有可比较的数值。"
        )
    if not isinstance(fit.weights, Weights) or fit.panel.uneven or getattr(fit.design, "own_lags", None):
        raise lacks(
            Text(
                "W by period or by lag, nor panels whose units come and go",
                "分时期或分滞后项的W，也没有非平衡面板",
            )
        )
    if spec.dynamic:
        raise lacks(Text("lags in time", "时间滞后"))
    if spec.regimes:
        raise lacks(Text("regimes of panels as here", "与此相同的面板分区制"))
    if fit.estimator == "robust_score":
        raise lacks(Text("adjusted score", "调整得分估计"))
    if spec.fixed_effects not in ("none", "unit", "time", "two_way"):
        raise lacks(
            Text(f"fixed effects by {spec.fixed_effects} of this form", f"这种形式的{spec.fixed_effects}效应")
        )
    both = spec.lag_y and spec.lag_error
    if fit.estimator == "gmm" and spec.fixed_effects != "none":
        raise lacks(Text("instrumental estimates of panels with effects", "含效应面板的工具变量估计"))
    if both and fit.estimator != "gmm" and (spec.fixed_effects != "none" or len(fit.panel.periods) > 1):
        raise lacks(Text("panel with both lags", "同时含两种滞后的面板模型"))


def _regressors(fit: Fit) -> tuple[list[str], NDArray]:
    """Names and long columns (T·n, k) of x and Wx, period by period."""
    spec, panel, M = fit.spec, fit.panel, fit.weights.matrix
    names = [*spec.x, *(f"W_{name}" for name in spec.lag_x if name in spec.x)]
    columns = [
        panel.array(name) if not name.startswith("W_") else (M @ panel.array(name[2:]).T).T for name in names
    ]
    return names, np.column_stack([column.ravel() for column in columns])


def _estimate(spreg: Any, fit: Fit) -> tuple[str, Any, list[str]]:
    """What was called, its result, and the names of its coefficients in their order."""
    spec, panel, M = fit.spec, fit.panel, fit.weights.matrix
    T, n = len(panel.periods), len(panel.units)
    names, X = _regressors(fit)
    y, effects = panel.array(spec.y).reshape(-1, 1), spec.fixed_effects
    if T > 1 and effects in ("unit", "two_way") and (spec.lag_y or spec.lag_error):
        time = dummies(T, n, "time" if effects == "two_way" else "none")
        call = "Panel_FE_Lag" if spec.lag_y else "Panel_FE_Error"
        found = getattr(spreg, call)(y, np.hstack([X, time]), pysal(M))
        order = [*names, *("" for _ in range(time.shape[1])), "rho" if spec.lag_y else "lam"]
        return call, found, order
    whole = M if T == 1 else sparse.kron(sparse.identity(T), M)
    X = np.hstack([X, dummies(T, n, str(effects))])
    order = ["(Intercept)", *names, *("" for _ in range(X.shape[1] - len(names)))]
    if not spec.lag_y and not spec.lag_error and fit.estimator != "gmm":
        return "OLS", spreg.OLS(y, X), order
    w = pysal(whole)
    if fit.estimator != "gmm" and not (spec.lag_y and spec.lag_error):
        method = "LU" if len(y) > LARGE else "full"
        if spec.lag_y:
            found = spreg.ML_Lag(y, X, w, method=method, spat_impacts=None, spat_diag=False)
            return "ML_Lag", found, [*order, "rho"]
        return "ML_Error", spreg.ML_Error(y, X, w, method=method), [*order, "lam"]
    pairs = {"yend": list(spec.endog), "q": list(spec.instruments)} if spec.endog else {}
    more = {key: panel.array(chosen).reshape(T * n, -1) for key, chosen in pairs.items()}
    order += list(spec.endog)
    if not spec.lag_error:
        robust = {"robust": "white"} if fit.covariance == "robust" else {}
        if not spec.lag_y:
            raise lacks(Text("lagged instruments without a lag of y", "没有y滞后项时的滞后工具变量"))
        found = spreg.GM_Lag(y, X, w=w, w_lags=2, spat_diag=False, spat_impacts=None, **robust, **more)
        return "GM_Lag", found, [*order, "rho"]
    if spec.lag_y:
        return "GM_Combo_Het", spreg.GM_Combo_Het(y, X, w=w, w_lags=2, **more), [*order, "rho", "lam"]
    if spec.endog:
        raise lacks(Text("error process with these instruments", "使用这些工具变量的误差过程"))
    return "GM_Error_Het", spreg.GM_Error_Het(y, X, w), [*order, "lam"]


# LM tests ---------------------------------------------------------------------------------------------------


def _of_lm(spec: DurbinSpec, panel: Panel, W: Weights) -> Crosscheck:
    """The five LM tests of a lag and of an error; spreg's are of least squares with dummies for the effects."""
    case = make_case(spec, panel, W, "lee_yu")
    if case.by != "lee_yu" or spec.fixed_effects == "random":
        en = "LM tests of W by period, of units that come and go, or beside effects but of units and periods"
        raise lacks(Text(en, "分时期W、非平衡面板或含个体与时间以外效应的LM检验"))
    T, n, M = len(panel.periods), len(panel.units), case.weights.matrix
    X = np.hstack([panel.array(list(spec.x)).reshape(T * n, -1), dummies(T, n, str(spec.fixed_effects))])
    spreg = program("spreg")
    with quiet():
        squares = spreg.OLS(panel.array(spec.y).reshape(-1, 1), X)
        found = spreg.LMtests(squares, pysal(M if T == 1 else sparse.kron(sparse.identity(T), M)))
    theirs = (found.lml, found.lme, found.rlml, found.rlme, found.sarma)
    u, Z, Wy = case.residuals, case.design.Z, case.design.Wy
    moments = core.weight_moments(M, centred=False)  # with dummies N = nT, and the traces are those of W
    twin = core.lm_lag_error(u, demean((M @ u.T).T, case.effects), Wy, Z, T, n * T, moments)
    numbers = [np.array(astuple(tests)) for tests in (case.lag_error_tests(), twin)]
    other = np.array([float(value) for value, _ in theirs])
    if np.isnan(numbers[0]).any():  # theirs are then quotients of rounding
        raise SpecificationError(
            "W times the fitted values lies in the span of the regressors: the LM tests are not defined.",
            "W乘以拟合值落在自变量张成的空间内：LM检验无定义。",
        )
    why = () if spec.fixed_effects == "none" else (dummies_kept(str(spec.fixed_effects)),)
    lines = lines_of(LAG_ERROR, "statistic", [*numbers, other], np.abs(numbers[0]), why)
    what = Text(f"LM tests of {spec.y} under {W.label}", f"{spec.y}的LM检验（{W.label}）")
    return Crosscheck(what, "spreg", metadata.version("spreg"), "OLS, LMtests", tuple(lines))


# Systems ----------------------------------------------------------------------------------------------------


def _of_system(fit: SystemFit) -> Crosscheck:
    """Every equation by spreg's 2SLS, with the instruments of the fit and dummies for its effects."""
    spec, panel = fit.spec, fit.panel
    if fit.method != "2sls" or spec.fixed_effects == "random" or getattr(spec, "dynamic", False):
        raise lacks(Text(f"systems by {fit.method} of this kind", f"这种{fit.method}方程组"))
    if not fit.converged or not isinstance(fit.weights, Weights) or panel.uneven:
        raise lacks(Text("systems of panels of this shape", "这种形状面板的方程组"))
    spreg, T, n = program("spreg"), len(panel.periods), len(panel.units)
    fixed = dummies(T, n, str(spec.fixed_effects))
    blocks: dict[str, list[NDArray]] = {"y": [], "x": [], "yend": [], "q": []}
    orders: list[list[str]] = []
    for equation in spec.equations.values():
        own, inner = list(equation.exogenous_terms), list(equation.endogenous_terms)
        outside = [name for name in fit.instruments if name not in own and name != "(Intercept)"]
        columns = {"y": [equation.y], "x": own, "yend": inner, "q": outside}
        for key, names in columns.items():
            block = _columns(fit, names)
            blocks[key].append(np.hstack([block, fixed]) if key == "x" else block)
        orders.append(["(Intercept)", *own, *("" for _ in range(fixed.shape[1])), *inner])
    with quiet():
        twin = fit_system(spec, panel, fit.weights, fit.method, bias_correction=False)
        found = [spreg.TSLS(*each) for each in zip(*blocks.values(), strict=True)]
    pairs = [(np.ravel(one.betas), np.ravel(one.std_err)) for one in found]
    reasons = (many_instruments(),) if fit.bias_correction else ()
    free = (degrees_of_freedom(fit.nobs, T * n),) if fit.nobs != T * n else ()
    other = (other_covariance(fit.covariance, "classical"),) if fit.covariance != "classical" else ()
    lines: list[Line] = []
    for name, order, (estimates, errors) in zip(spec.names, orders, pairs, strict=True):
        terms = [term for term in fit.params[name].index if term in order]
        at = [order.index(term) for term in terms]
        labels, keys = [f"{name}: {term}" for term in terms], [(name, term) for term in terms]
        own, same = fit.bse[keys].to_numpy(), twin.bse[keys].to_numpy() * np.sqrt(fit.nobs / (T * n))
        numbers = fit.params[keys].to_numpy(), twin.params[keys].to_numpy(), estimates[at]
        lines += lines_of(labels, "estimate", numbers, own, reasons)
        lines += lines_of(labels, "std_error", (own, same, errors[at]), own, (*reasons, *free, *other))
    return Crosscheck(fit.subject.subject, "spreg", metadata.version("spreg"), "TSLS", tuple(lines))


def _columns(fit: SystemFit, names: Sequence[str]) -> NDArray:
    """Long columns (T·n, k) of variables and their spatial lags ``W_x``, ``W2_x``."""
    made = []
    for name in names:
        power, values = 0, None
        if name not in fit.panel.columns:
            lag, _, rest = name.partition("_")
            power, name = int(lag[1:] or 1), rest
        values = fit.panel.array(name)
        for _ in range(power):
            values = (fit.weights.matrix @ values.T).T
        made.append(values.ravel())
    return np.column_stack(made) if made else np.zeros((fit.panel.array(fit.spec.endogenous[0]).size, 0))


# Moran's I --------------------------------------------------------------------------------------------------


def _of_moran(table: MoranTable | LocalTable, panel: Panel, W: Weights) -> Crosscheck:
    name = table.variable if isinstance(table, MoranTable) else table.variables[0]
    if isinstance(table, LocalTable) and (table.statistic != "I" or len(table.variables) > 1):
        raise lacks(Text(f"local {table.statistic} of this kind", f"这种局部{table.statistic}"), "esda")
    if not isinstance(W, Weights) or panel.uneven:
        raise lacks(
            Text("W by period, nor panels whose units come and go", "分时期的W，也没有非平衡面板"), "esda"
        )
    esda, weights = program("esda"), W.align(panel.units)
    draws = min(table.permutations, MOST_PERMUTATIONS)
    values = dict(zip(panel.periods, panel.array(name), strict=True))
    with quiet():
        if isinstance(table, LocalTable):
            lines = _local_lines(esda, table, values[table.period], weights, draws)
        else:
            lines = _global_lines(esda, table, values, weights, draws)
    what = Text(f"Moran's I of {name} under {W.label}", f"{name}的莫兰指数（{W.label}）")
    call = "Moran_Local" if isinstance(table, LocalTable) else "Moran"
    return Crosscheck(what, "esda", metadata.version("esda"), call, tuple(lines))


def _global_lines(
    esda: Any, table: MoranTable, values: dict[int, NDArray], W: Weights, draws: int
) -> list[Line]:
    alone = (islands(len(W.islands)),) if len(W.islands) else ()
    rows = []
    for row in table.table().to_dict("records"):
        period = row["period"]
        theirs = esda.Moran(values[period], pysal(W.matrix), transformation="O", permutations=draws)
        numbers = {"I": theirs.I, "expected": theirs.EI, "std_dev": theirs.VI_rand**0.5, "z": theirs.z_rand}
        term = "I" if period == UNDATED else str(period)
        rows += [
            Line(term, key, float(row[key]), float(value), _why(row[key], value, alone))
            for key, value in numbers.items()
        ]
        if draws:
            rows.append(Line(term, "p_sim", float(row["p_sim"]), float(theirs.p_sim), (pseudo_p(draws),)))
    return rows


def _local_lines(esda: Any, table: LocalTable, values: NDArray, W: Weights, draws: int) -> list[Line]:
    alone = (islands(len(W.islands)),) if len(W.islands) else ()
    theirs = esda.Moran_Local(
        values, pysal(W.matrix), transformation="O", permutations=max(draws, 99), seed=0
    )
    frame = table.frame.loc[W.ids]
    rows = [
        Line(str(unit), "I", float(ours), float(value), _why(ours, value, alone))
        for unit, ours, value in zip(W.ids, frame["I"], theirs.Is, strict=True)
    ]
    rows += [
        Line(str(unit), "p_sim", float(ours), float(value), (pseudo_p(draws),))
        for unit, ours, value in zip(W.ids, frame["p_sim"], theirs.p_sim, strict=True)
        if draws
    ]
    return rows


def _why(ours: float, theirs: float, alone: tuple[Note, ...]) -> tuple[Note, ...]:
    """The exact numbers of both programs agree but for units without neighbours."""
    if abs(ours - theirs) <= 1e-6 * max(abs(ours), abs(theirs), 1e-6):
        return ()
    return alone or (unexplained(),)


# Weights ----------------------------------------------------------------------------------------------------


def _of_weights(W: Weights) -> Crosscheck:
    """Counts and sums of the links, and the moments that tests of Moran and LM rest on, as libpysal has them."""
    program("libpysal")
    M, facts = W.matrix, describe(W).summary
    with quiet():
        w = pysal(M)
        alone, links = len(w.islands), w.nonzero
        theirs = {
            "units": w.n,
            "links": links,
            "neighbours_min": w.min_neighbors,
            "neighbours_mean": w.mean_neighbors,
            "neighbours_max": w.max_neighbors,
            "islands": alone,
            "components": w.n_components,
            "one_way_links": len(w.asymmetry(intrinsic=False)),
            "density": w.pct_nonzero / 100,
            "s0": w.s0,
            "s1": w.s1,
            "s2": w.s2,
            "traces": w.trcWtW_WW,
        }
    both, rows, columns = M + M.T, M.sum(axis=1), M.sum(axis=0)
    ours = {
        **facts,
        "s0": float(M.sum()),
        "s1": float(both.multiply(both).sum()) / 2,
        "s2": float(((np.ravel(rows) + np.ravel(columns)) ** 2).sum()),
        "traces": float(M.multiply(M).sum() + M.multiply(M.T).sum()),
    }
    twins = {"components": (facts["components"] + alone, islands_are_components(alone))}
    twins["density"] = (facts["density"] * (W.n - 1) / W.n, density())
    lines = []
    for name, value in theirs.items():
        twin, *why = twins.get(name, (ours[name],))
        numbers = (np.array([float(number)]) for number in (ours[name], twin, value))
        size = np.array([max(abs(float(value)), 1e-6)])
        lines += lines_of([name], "property", list(numbers), size, tuple(why))
    what = Text(f"weights {W.label}", f"权重矩阵{W.label}")
    return Crosscheck(what, "libpysal", metadata.version("libpysal"), "W", tuple(lines))
