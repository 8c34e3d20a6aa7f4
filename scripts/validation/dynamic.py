"""Simulate dynamic panels and those of two and three regimes with known truth: bias, coverage, size of tests.

The 11 cities of Zhejiang and the 41 cities of the delta (three regimes: these and the 90 counties of Zhejiang), contiguity;
10 and 20 explained periods for the dynamic model, 11 for regimes. The tables ``dynamic.csv``, ``long_run.csv``,
``regimes.csv`` and ``regime_groups.csv`` of ``docs/validation`` are written after every cell; what is there already with
the same seed and number of replications is kept.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import pandas as pd

import spatial_zb as zb
from spatial_zb.base.execute import run_tasks

from .places import LEVEL, OUT, complete, weights

SEED, BETA, THETA = 20261125, 1.0, 0.5
ESTIMATORS = ("uncorrected", "lee_yu", "yang")
#: (τ, ρ, η): moderate, high and very high persistence.
CARRIED = ((0.3, 0.3, 0.0), (0.6, 0.3, -0.1), (0.8, 0.3, -0.2))
#: (ρ, β, θ) of the rest and of the core.
REGIMES = ((0.2, 1.0, 0.5), (0.5, 0.5, 0.0))
QUANTILE = 1.959963984540054
Found = dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Cell:
    """One line of a design: a replicate gives, by estimator, estimates with errors, or None.

    One ``share``-th of the replications is enough for it.
    """

    keys: dict[str, object]
    truth: dict[str, float]
    replicate: Callable[[int], dict[str, Found | None]]
    share: int = 1


def dynamic_cells() -> Iterator[Cell]:
    """Two-way effects at every persistence, unit effects at the moderate one."""
    for n, T, carried in product((11, 41), (10, 20), CARRIED):
        yield _dynamic_cell(n, T, carried, "two_way")
    for n, T in product((11, 41), (10, 20)):
        yield _dynamic_cell(n, T, CARRIED[0], "unit")


def _dynamic_cell(n: int, T: int, carried: tuple[float, float, float], effects: str) -> Cell:
    tau, rho, eta = carried
    W, model = weights(n, "contiguity"), ("y", ["x"], True, ["x"], False, effects)
    spec = zb.DurbinSpec(*model, time_lag=True, lag_time_lag=True)
    parameters = {"tau": tau, "rho": rho, "eta": eta, "beta": BETA, "theta": THETA}

    def replicate(index: int) -> dict[str, Found | None]:
        rng = np.random.default_rng([SEED, n, T, round(100 * tau), len(effects), index])
        panel = zb.simulate.durbin(
            W,
            T + 1,
            {"x": BETA},
            theta={"x": THETA},
            rho=rho,
            process=zb.simulate.Process(tau=tau, eta=eta, time_effects=float(effects == "two_way")),
            rng=rng,
        )
        return {name: _dynamic_fit(spec, panel, W, name) for name in ESTIMATORS}

    keys = {"n": n, "T": T, "tau": tau, "rho": rho, "eta": eta, "effects": effects}
    return Cell(keys, parameters | dynamic_effects(W, carried), replicate)


def long_run_cells() -> Iterator[Cell]:
    """Effects of the long run with delta and simulated limits, two-way effects."""
    for n, T, carried in product((11, 41), (10, 20), CARRIED):
        yield _long_run_cell(n, T, carried)


def _long_run_cell(n: int, T: int, carried: tuple[float, float, float]) -> Cell:
    W, (tau, rho, eta) = weights(n, "contiguity"), carried
    spec = zb.DurbinSpec("y", ["x"], True, ["x"], time_lag=True, lag_time_lag=True)
    effects = {
        name.removeprefix("long "): v for name, v in dynamic_effects(W, carried).items() if "long" in name
    }

    def replicate(index: int) -> dict[str, Found | None]:
        rng = np.random.default_rng([SEED, n, T, round(100 * tau), index])
        panel = zb.simulate.durbin(
            W,
            T + 1,
            {"x": BETA},
            theta={"x": THETA},
            rho=rho,
            process=zb.simulate.Process(tau=tau, eta=eta),
            rng=rng,
        )
        fit = zb.fit_durbin(spec, panel, W)
        if not fit.converged or fit.convergence["radius"] >= 1:
            return {"delta": None, "simulate": None}
        own = {
            "persistence": tuple(zb.tests.stability_test(fit).tidy().iloc[0][["persistence", "std_error"]])
        }
        out = {}
        for method in ("delta", "simulate"):
            table = zb.spatial_effects(fit, method, draws=500, rng=index, horizon="long").tidy()
            columns = table[["effect", "estimate", "std_error", "conf_low", "conf_high"]]
            out[method] = own | {effect: tuple(rest) for effect, *rest in columns.itertuples(index=False)}
        return out

    keys = {"n": n, "T": T, "tau": tau, "rho": rho, "eta": eta}
    return Cell(keys, effects | {"persistence": tau + rho + eta}, replicate)


def regime_cells() -> Iterator[Cell]:
    """Every third unit is core; W row-normalised, and divided by its spectral radius."""
    for n, effects, normalisation in product((11, 41), ("two_way", "unit"), ("row", "spectral")):
        yield _regime_cell(n, effects, normalisation)


def _regime_cell(n: int, effects: str, normalisation: str) -> Cell:
    W = _contiguity(n, normalisation)
    spec = zb.DurbinSpec("y", ["x"], fixed_effects=effects, regimes="core")

    def replicate(index: int) -> dict[str, Found | None]:
        rng = np.random.default_rng([SEED, n, len(effects), len(normalisation), index])
        return {"lee_yu": _regime_fit(spec, regime_panel(W, 11, effects, rng), W)}

    keys = {"n": n, "effects": effects, "normalisation": normalisation}
    return Cell(keys, regime_truth(W), replicate)


def regime_truth(W: zb.Weights) -> dict[str, float]:
    """Coefficients and effects by regime, and differences."""
    core, (rho, beta, theta) = _core(W), _by_unit(W)
    dense = W.matrix.toarray()
    E = np.linalg.solve(np.eye(W.n) - rho[:, None] * dense, np.diag(beta) + theta[:, None] * dense)
    truth = {f"{name}[{c}]": REGIMES[c][k] for k, name in enumerate(("rho", "beta", "theta")) for c in (0, 1)}
    truth |= {
        f"difference of {name}": REGIMES[1][k] - REGIMES[0][k]
        for k, name in enumerate(("rho", "beta", "theta"))
    }
    for c, group in enumerate((~core, core)):
        direct, total = np.diag(E)[group].mean(), E.sum(axis=1)[group].mean()
        truth |= {f"direct[{c}]": direct, f"indirect[{c}]": total - direct}
    return truth


def regime_panel(W: zb.Weights, T: int, effects: str, rng: np.random.Generator) -> zb.Panel:
    """y, x and core of two regimes; x correlated with the unit effects."""
    n, dense, (rho, beta, theta) = W.n, W.matrix.toarray(), _by_unit(W)
    mu, alpha = rng.standard_normal(n), (effects == "two_way") * rng.standard_normal((T, 1))
    x = rng.standard_normal((T, n)) + 0.5 * mu
    right = mu + alpha + beta * x + theta * (x @ dense.T) + rng.standard_normal((T, n))
    y = right @ np.linalg.inv(np.eye(n) - rho[:, None] * dense).T
    values = np.stack([y, x, np.broadcast_to(_core(W), (T, n))], axis=2)
    return zb.Panel(values, tuple(range(2001, 2001 + T)), W.ids, ("y", "x", "core"))


def _core(W: zb.Weights) -> np.ndarray:
    """Every third unit."""
    return np.arange(W.n) % 3 == 0


def _by_unit(W: zb.Weights) -> tuple[np.ndarray, ...]:
    """ρ, β, θ of every unit."""
    return tuple(np.where(_core(W), second, first) for first, second in zip(*REGIMES, strict=True))


def _contiguity(n: int, normalisation: str) -> zb.Weights:
    if normalisation == "row":
        return weights(n, "contiguity")
    row = weights(n, "contiguity")
    links = (row.matrix != 0).astype(float)
    return zb.as_weights(links.toarray(), row.ids).standardise(normalisation)


def _regime_fit(spec: zb.DurbinSpec, panel: zb.Panel, W: zb.Weights) -> Found | None:
    fit = zb.fit_durbin(spec, panel, W)
    if not fit.converged:
        return None
    names = {"x": "beta", "W_x": "theta", "rho": "rho"}
    short = {f"{long}[core={c}]": f"{name}[{c}]" for long, name in names.items() for c in (0, 1)}
    out = {short[name]: (fit.params[name], fit.bse[name]) for name in fit.params.index[:-1]}
    tests = zb.tests.regime_tests(fit).tidy().set_index("term")
    out |= {
        f"difference of {names[t]}": tuple(tests.loc[t, ["difference", "std_error"]])
        for t in tests.index[:-1]
    }
    for term, effect, estimate, error in zb.spatial_effects(fit).tidy().iloc[:, :4].itertuples(index=False):
        out[f"{effect}[{term[-2:-1]}]"] = (estimate, error)
    return out


#: (ρ, β, θ) of regimes that differ, of two the first and the last, and that are equal.
GROUPS = {"apart": ((0.1, 1.0, 0.5), (0.3, 0.7, 0.2), (0.5, 0.4, 0.0)), "equal": ((0.3, 0.7, 0.2),) * 3}
AR = 0.7


def group_cells() -> Iterator[Cell]:
    """Two and three regimes, apart and equal; independent errors by the information, lasting ones clustered.

    Complete panels, and half the units late with a ρ for each regime or one for all.
    """
    both = ("iid", "AR 0.7")
    for n, kind, errors in product((41, 90), GROUPS, both):
        yield _group_cell(n, 11, 3, kind, errors, "complete", "each")
    for n, errors in product((41, 90), both):
        yield _group_cell(n, 11, 3, "equal", errors, "late 50 %", "one")
    for T, groups, kind, errors in product((4, 11), (2, 3), GROUPS, both):
        yield _group_cell(41, T, groups, kind, errors, "late 50 %", "each")
    for T, kind, errors in product((4, 11), GROUPS, both):
        yield _group_cell(90, T, 3, kind, errors, "late 50 %", "each", share=2)


def _group_cell(
    n: int, T: int, groups: int, kind: str, errors: str, shape: str, rho: str, share: int = 1
) -> Cell:
    W, truth = weights(n, "contiguity"), np.array(GROUPS[kind])[[0, 2] if groups == 2 else [0, 1, 2]]
    group, one = np.arange(n) % groups, rho == "one"
    spec = zb.DurbinSpec("y", ["x"], regimes="group", common=["rho"] if one else [])
    names = {"rho": "rho", "x": "beta", "W_x": "theta"}
    seed = [SEED, n, len(kind), len(errors), len(shape)]
    seed += [T, groups] if shape.startswith("late") and not one else []

    def replicate(index: int) -> dict[str, Found | None]:
        rng = np.random.default_rng([*seed, index])
        panel = _group_panel(W, truth[group].T, group, T, errors, shape, rng)
        fit = zb.fit_durbin(spec, panel, W, covariance="information" if errors == "iid" else "cluster")
        if not fit.converged:
            return {fit.estimator: None}
        out: Found = {}
        for _, row in fit.tidy().iterrows():
            name, _, label = str(row["term"]).partition("[")
            if name in names:
                key = f"{names[name]}[{label[-2]}]" if label else names[name]
                out[key] = tuple(row[["estimate", "std_error", "conf_low", "conf_high"]])
        if kind == "equal":
            for test in zb.tests.regime_tests(fit).rows:
                inside = float(test.p_value >= 1 - LEVEL)
                out[f"equal {names.get(test.of, test.of)}"] = (np.nan, np.nan, -inside, inside - 0.5)
        return {fit.estimator: out}

    keys = {
        "n": n,
        "T": T,
        "groups": groups,
        "truth_of_groups": kind,
        "errors": errors,
        "shape": shape,
        "rho": rho,
    }
    values = {f"{name}[{g}]": truth[g, k] for k, name in enumerate(names.values()) for g in range(groups)}
    tested = [name for name in names.values() if not (one and name == "rho")]
    if one:
        values = {"rho": truth[0, 0]} | {key: value for key, value in values.items() if "rho" not in key}
    tests = dict.fromkeys([f"equal {name}" for name in (*tested, "all")], 0.0)
    return Cell(keys, values | (tests if kind == "equal" else {}), replicate, share)


def _group_panel(
    W: zb.Weights,
    truth: np.ndarray,
    group: np.ndarray,
    T: int,
    errors: str,
    shape: str,
    rng: np.random.Generator,
) -> zb.Panel:
    """y, x and group of the regimes, x correlated with the unit effects; half the units late where ``shape`` says so."""
    (rho, beta, theta), n = truth, W.n
    there = np.ones((T, n), dtype=bool)
    if shape.startswith("late"):
        late = rng.permutation(n)[: n // 2]
        there[:, late] = np.arange(T)[:, None] >= rng.integers(1, T - 1, len(late))
    mu, alpha, e = rng.standard_normal(n), rng.standard_normal((T, 1)), rng.standard_normal((T, n))
    x = rng.standard_normal((T, n)) + 0.5 * mu
    if errors != "iid":
        for t in range(1, T):
            e[t] = AR * e[t - 1] + np.sqrt(1 - AR**2) * e[t]
    y = np.full((T, n), np.nan)
    for t, on in enumerate(there):
        part = W.matrix.toarray()[np.ix_(on, on)]
        sums = part.sum(axis=1, keepdims=True)
        part = part / np.where(sums > 0, sums, 1.0)
        mean = (mu + alpha[t] + beta * x[t] + e[t])[on] + theta[on] * (part @ x[t, on])
        y[t, on] = np.linalg.solve(np.eye(on.sum()) - rho[on, None] * part, mean)
    values = np.stack([y, np.where(there, x, np.nan), np.where(there, group, np.nan)], axis=2)
    return zb.Panel(values, tuple(range(2001, 2001 + T)), W.ids, ("y", "x", "group"), present=there)


def dynamic_effects(W: zb.Weights, carried: tuple[float, float, float]) -> dict[str, float]:
    tau, rho, eta = carried
    dense, one = W.matrix.toarray(), np.eye(W.n)
    out = {}
    for horizon, left in (("short", one - rho * dense), ("long", (1 - tau) * one - (rho + eta) * dense)):
        E = np.linalg.solve(left, BETA * one + THETA * dense)
        direct, total = np.trace(E) / W.n, E.sum() / W.n
        out |= {f"{horizon} direct": direct, f"{horizon} indirect": total - direct, f"{horizon} total": total}
    return out


def _dynamic_fit(spec: zb.DurbinSpec, panel: zb.Panel, W: zb.Weights, estimator: str) -> Found | None:
    try:
        fit = zb.fit_durbin(spec, panel, W, estimator)
    except zb.ConvergenceError:
        return None
    if not fit.converged:
        return None
    names = {"x": "beta", "W_x": "theta"}
    out = {names.get(name, name): (fit.params[name], fit.bse[name]) for name in fit.params.index[:-1]}
    for horizon in ("short", "long"):
        if horizon == "long" and fit.convergence["radius"] >= 1:
            continue
        table = zb.spatial_effects(fit, horizon=horizon).tidy()
        rows = zip(table["effect"], table["estimate"], table["std_error"], strict=True)
        out |= {f"{horizon} {effect}": (estimate, error) for effect, estimate, error in rows}
    return out


def _silent(cell: Cell, index: int) -> dict[str, Found | None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        return cell.replicate(index)


def run_cell(cell: Cell, replications: int, workers: int) -> pd.DataFrame:
    """Simulate one cell: a row per estimator and parameter with bias, standard deviation, mean error, coverage."""
    start, rows, replications = time.perf_counter(), [], replications // cell.share
    found = run_tasks(partial(_silent, cell), range(replications), workers=workers)
    for estimator in found[0]:
        kept = [f[estimator] for f in found if f[estimator] is not None]
        for name, value in cell.truth.items():
            pairs = np.array([f[name] for f in kept if name in f])
            head = {**cell.keys, "estimator": estimator, "parameter": name, "truth": value}
            rows.append(head | _row(pairs, value) | {"kept": len(pairs)})
    table = pd.DataFrame(rows).assign(replications=replications, seed=SEED)
    return table.assign(seconds=round(time.perf_counter() - start, 1))


def _row(found: np.ndarray, value: float) -> dict[str, float]:
    """Of columns estimate and error and, where limits are not symmetric, low and high."""
    estimate, error, *limits = found.T
    low, high = limits or (estimate - QUANTILE * error, estimate + QUANTILE * error)
    return {
        "bias": estimate.mean() - value,
        "bias_mcse": estimate.std(ddof=1) / np.sqrt(len(estimate)),
        "median": np.median(estimate),
        "sd": estimate.std(ddof=1),
        "median_std_error": np.median(error),
        "coverage": np.mean((low <= value) & (value <= high)),
        "coverage_mcse": np.sqrt(LEVEL * (1 - LEVEL) / len(estimate)),
    }


def run(name: str, replications: int, workers: int = 1) -> None:
    """Simulate what is missing of one study; its table is written after every cell."""
    design = {tuple(cell.keys.values()): cell for cell in STUDIES[name]()}
    keys = next(iter(design.values())).keys
    complete(
        OUT / f"{name}.csv",
        list(keys),
        design,
        lambda cell: run_cell(cell, replications, workers),
        lambda done: done["replications"].isin([replications, replications // 2]) & (done["seed"] == SEED),
    )


def run_dynamic(replications: int = 1000, workers: int = 1) -> None:
    """Dynamic panels: estimates and their effects, short run and long."""
    run("dynamic", replications, workers)


def run_long_run(replications: int = 500, workers: int = 1) -> None:
    """Limits of long-run effects, by the delta method and by simulated draws."""
    run("long_run", replications, workers)


def run_regimes(replications: int = 1000, workers: int = 1) -> None:
    """Two regimes."""
    run("regimes", replications, workers)


def run_regime_groups(replications: int = 400, workers: int = 1) -> None:
    """Two and three regimes in panels of any shape."""
    run("regime_groups", replications, workers)


STUDIES: dict[str, Callable[[], Iterator[Cell]]] = {
    "dynamic": dynamic_cells,
    "long_run": long_run_cells,
    "regimes": regime_cells,
    "regime_groups": group_cells,
}
