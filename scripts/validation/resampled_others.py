"""How often the bootstrap of dynamic, two-regime, random-effects and GMM fits covers the truth, and what bias it takes off.

The 11 cities of Zhejiang and the 41 cities of the delta, contiguity, and inverse distances where the fit warns of them; 11
periods (dynamic: 10 that are explained). Intervals: ``standard_error`` (estimate ± 1.96), ``percentile``, ``bca`` and
``studentised`` (199 residual replicates); ``median_unbiased`` with random effects (199 draws, its own estimate beside it),
``anderson_rubin`` of ρ by 2SLS. The table ``resampled_others.csv`` of ``docs/validation`` is written after every cell, and
the page from it.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

import spatial_zb as zb
from spatial_zb.base.execute import run_tasks
from spatial_zb.inference.bootstrap import Bootstrap

from .dynamic import BETA, THETA, dynamic_effects, regime_panel, regime_truth
from .gmm import endogenous_panel
from .places import KINDS, OUT, PERIODS, complete, weights
from .resampled import coverage_table

TABLE = OUT / "resampled_others.csv"
SEED, REPLICATES = 20261125, 199
INTERVALS = ("percentile", "bca", "studentised")
#: Limits that some models have besides.
OTHERS = ("median_unbiased", "anderson_rubin")
KEYS = ["model", "n", "weights"]
#: (τ, ρ, η) of the dynamic panels; ρ or λ, and φ, of the others.
CARRIED, SPATIAL, PHI = (0.6, 0.3, -0.1), 0.3, 1.0
Limits = list[tuple[str, float, float, float]]


@dataclass(frozen=True)
class Model:
    """How panels are drawn and fitted, what is true, and what tables give of a fit or of its bootstrap."""

    draw: Callable[[zb.Weights, np.random.Generator], zb.Panel]
    fit: Callable[[zb.Panel, zb.Weights], zb.Fit]
    truth: Callable[[zb.Weights], dict[str, float]]
    dense: bool
    panels: int = 100


def _static_effects(W: zb.Weights, rho: float, beta: float, theta: float, name: str) -> dict[str, float]:
    E = np.linalg.solve(
        np.eye(W.n) - rho * W.matrix.toarray(), beta * np.eye(W.n) + theta * W.matrix.toarray()
    )
    direct, total = np.trace(E) / W.n, E.sum() / W.n
    effects = {"direct": direct, "indirect": total - direct, "total": total}
    if not (rho or theta):  # a SEM has none, whatever the data
        del effects["indirect"]
    return {f"{effect} of {name}": value for effect, value in effects.items()}


def _fit(spec: zb.DurbinSpec, estimator: str = "lee_yu") -> Callable[[zb.Panel, zb.Weights], zb.Fit]:
    return lambda panel, W: zb.fit_durbin(spec, panel, W, estimator)


def _dynamic_panel(W: zb.Weights, rng: np.random.Generator) -> zb.Panel:
    tau, rho, eta = CARRIED
    return zb.simulate.durbin(
        W,
        11,
        {"x": BETA},
        theta={"x": THETA},
        rho=rho,
        process=zb.simulate.Process(tau=tau, eta=eta),
        rng=rng,
    )


def _dynamic_truth(W: zb.Weights) -> dict[str, float]:
    tau, rho, eta = CARRIED
    effects = {f"{name} of x": value for name, value in dynamic_effects(W, CARRIED).items()}
    effects = {name.removeprefix("short "): value for name, value in effects.items()}
    return {"tau": tau, "eta": eta, "rho": rho, "x": BETA, "W_x": THETA} | effects


def _regime_truth(W: zb.Weights) -> dict[str, float]:
    """In the names of the tables."""
    names = {"rho": "rho", "beta": "x", "theta": "W_x"}
    out = {}
    for name, value in regime_truth(W).items():
        for short, long in names.items():
            if name == f"difference of {short}":
                out[f"difference of {long}"] = value
            elif name[:-3] == short:
                out[f"{long}[core={name[-2]}]"] = value
        if name.startswith(("direct", "indirect")):
            out[f"{name[:-3]} of x[core={name[-2]}]"] = value
    return out


def _random(spec: zb.DurbinSpec, truth: dict[str, float]) -> Model:
    values = truth | {"phi": PHI, "sigma2": 1.0}
    rho, theta = truth.get("rho", 0.0), truth.get("W_x", 0.0)
    return Model(
        draw=lambda W, rng: zb.simulate.panel(spec, W, PERIODS, values, rng=rng),
        fit=_fit(spec),
        truth=lambda W: values | _static_effects(W, rho, BETA, theta, "x"),
        dense="rho" in truth,
        panels=200,
    )


MODELS = {
    "dynamic SDM": Model(
        _dynamic_panel,
        _fit(zb.DurbinSpec("y", ["x"], time_lag=True, lag_time_lag=True)),
        _dynamic_truth,
        dense=True,
    ),
    "SAR by 2SLS": Model(
        lambda W, rng: zb.simulate.durbin(W, PERIODS, {"x": BETA}, rho=SPATIAL, rng=rng),
        _fit(zb.DurbinSpec("y", ["x"], lag_x=[]), "gmm"),
        lambda W: {"rho": SPATIAL, "x": BETA} | _static_effects(W, SPATIAL, BETA, 0.0, "x"),
        dense=True,
    ),
    "SAR by 2SLS, endogenous w": Model(
        lambda W, rng: endogenous_panel(W, rng, SPATIAL),
        _fit(zb.DurbinSpec("y", ["x"], lag_x=[], endog=["w"], instruments=["z"]), "gmm"),
        lambda W: {"rho": SPATIAL, "x": BETA, "w": THETA} | _static_effects(W, SPATIAL, THETA, 0.0, "w"),
        dense=False,
    ),
    "random-effects SDM": _random(
        zb.DurbinSpec("y", ["x"], fixed_effects="random"), {"x": BETA, "W_x": THETA, "rho": SPATIAL}
    ),
    "two-regime SDM": Model(
        lambda W, rng: regime_panel(W, PERIODS, "two_way", rng),
        _fit(zb.DurbinSpec("y", ["x"], regimes="core")),
        _regime_truth,
        dense=False,
        panels=200,
    ),
    "random-effects SEM (Baltagi)": _random(
        zb.DurbinSpec("y", ["x"], lag_y=False, lag_x=[], lag_error=True, fixed_effects="random"),
        {"x": BETA, "lam": SPATIAL},
    ),
}


def design() -> list[tuple[str, int, str]]:
    """Contiguity at both sizes; inverse distances at 41 units where there is ρ (random effects: at 11 too); slowest last."""
    *others, slowest = MODELS
    cells = [(name, n, KINDS[0]) for n in (41, 11) for name in others]
    cells += [(name, 41, KINDS[1]) for name in others if MODELS[name].dense]
    cells.append(("random-effects SDM", 11, KINDS[1]))
    return cells + [(slowest, n, KINDS[0]) for n in (41, 11)]


def replicate(cell: tuple[str, int, str], seed: int, index: int) -> pd.DataFrame:
    """One panel: parameter, interval, low, high and the point estimates; none where nothing converged."""
    name, n, kind = cell
    model, W = MODELS[name], weights(n, kind)
    rng = np.random.default_rng([seed, n, len(kind), list(MODELS).index(name), index])
    columns = ["parameter", "interval", "estimate", "low", "high"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        fit = model.fit(model.draw(W, rng), W)
        if not fit.converged:
            return pd.DataFrame(columns=[*columns, "corrected", "corrected_median"])
        result = zb.bootstrap(fit, REPLICATES, rng=np.random.SeedSequence([seed, index]))
        rows = [(*row[:1], "standard_error", *row[1:]) for row in _analytic(fit)]
        for interval in INTERVALS:
            rows += [(*row[:1], interval, *row[1:]) for row in _resampled(result, interval)]
        rows += _others(fit, np.random.SeedSequence([seed, index, 1]))
    table = pd.DataFrame(rows, columns=columns)
    corrected = {of: result.bias_corrected(of) for of in ("mean", "median")}
    return table.assign(
        corrected=table["parameter"].map(corrected["mean"]),
        corrected_median=table["parameter"].map(corrected["median"]),
    )


def _analytic(fit: zb.Fit) -> Limits:
    rows = _limits(fit.tidy(), "term")
    rows += _limits(zb.spatial_effects(fit).tidy(), "effect")
    if fit.spec.dynamic and fit.convergence["radius"] < 1:
        rows += _limits(zb.spatial_effects(fit, horizon="long").tidy(), "effect", "long ")
    if fit.spec.regimes:
        tests = zb.tests.regime_tests(fit).tidy().iloc[:-1]
        half = 1.959963984540054 * tests["std_error"]
        found = zip(tests["term"], tests["difference"], half, strict=True)
        rows += [(f"difference of {term}", value, value - h, value + h) for term, value, h in found]
    return rows


def _resampled(result: Bootstrap, interval: str) -> Limits:
    fit = result.fit
    rows = _limits(result.tidy(interval), "term")
    with suppress(
        zb.ConvergenceError
    ):  # half of the replicates have no effects: the panel has no limits of them
        rows += _limits(result.effects(interval), "effect")
    if fit.spec.dynamic and fit.convergence["radius"] < 1 and result.explosive.mean() < 0.5:
        rows += _limits(result.effects(interval, horizon="long"), "effect", "long ")
    if fit.spec.regimes:
        table = result.differences(interval)
        rows += _limits(table[table["effect"] == "coefficient"], "term", "difference of ")
    return rows


def _others(fit: zb.Fit, seed: np.random.SeedSequence) -> list[tuple]:
    """Median-unbiased estimates and limits with random effects, Anderson-Rubin limits of 2SLS where the set has no gap."""
    if fit.spec.fixed_effects == "random":
        found = zb.median_unbiased(fit, REPLICATES, rng=seed)
        rows = _limits(found.tidy(), "term") + _limits(found.effects(), "effect")
        return [(*row[:1], OTHERS[0], *row[1:]) for row in rows]
    if fit.estimator == "gmm" and not fit.spec.endog:
        found = zb.anderson_rubin(fit)
        return [("rho", OTHERS[1], found.estimate, found.conf_low, found.conf_high)]
    return []


def _limits(table: pd.DataFrame, by: str, before: str = "") -> Limits:
    """(name, estimate, low, high) of the rows; effects are named with their regressor."""
    names = table["term"] if by == "term" else table["effect"] + " of " + table["term"]
    numbers = table[["estimate", "conf_low", "conf_high"]].itertuples(index=False)
    return [(f"{before}{name}", *row) for name, row in zip(names, numbers, strict=True)]


def run_cell(
    cell: tuple[str, int, str], replications: int, seed: int = SEED, workers: int = 1
) -> pd.DataFrame:
    """Simulate one cell; one row per parameter and interval."""
    start = time.perf_counter()
    found = run_tasks(partial(replicate, cell, seed), range(replications), workers=workers)
    drawn = pd.concat([f for f in found if len(f)])
    truth = MODELS[cell[0]].truth(weights(*cell[1:]))
    table = coverage_table(drawn, truth)
    medians = drawn.groupby(["parameter", "interval"])["estimate"].median()
    table["median_bias"] = [
        medians[p, i] - truth[p] for p, i in zip(table["parameter"], table["interval"], strict=True)
    ]
    head = dict(zip(KEYS, cell, strict=True)) | {"replications": replications, "seed": seed}
    for position, (key, given) in enumerate(head.items()):
        table.insert(position, key, given)
    return table.assign(seconds=round(time.perf_counter() - start, 1))


def run(replications: int | None = None, workers: int = 1, seed: int = SEED) -> None:
    """Simulate what is missing, without ``replications`` as many panels as each model has.

    The table is written after every cell.
    """
    wanted = {name: replications or model.panels for name, model in MODELS.items()}
    complete(
        TABLE,
        KEYS,
        {cell: cell for cell in design()},
        lambda cell: run_cell(cell, wanted[cell[0]], seed, workers),
        lambda done: (done["replications"] == done["model"].map(wanted)) & (done["seed"] == seed),
    )
