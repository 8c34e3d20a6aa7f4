"""Estimators, tests and systems where data look like city panels: few or many periods, errors that are not normal,
equal or independent, a W that is not symmetric, weak and strong dependence, weak and strong instruments.

Each cell has a place (n, T, W, ρ) and errors: independent; AR(1) 0.6; t(5); unequal between units; three times the spread
in the quarter of units with the largest (W²)_ii (hubs); or the study's own residuals, whole histories of cities drawn with
replacement and with a random sign. Regressors are AR(1) 0.7, as they are there. Tables are written after every cell; all
estimators of a cell see the same panels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

import spatial_zb as zb
from spatial_zb.base.errors import SpatialZbError
from spatial_zb.base.execute import run_tasks
from spatial_zb.base.notes import Note
from spatial_zb.base.results import Row
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.hypotheses import make_case
from spatial_zb.hypotheses.nested import wald_common_factor, wald_no_lags, wald_p
from spatial_zb.hypotheses.nulls import GROUPS, run_tests

from .errors import BETA, PERSISTENT, THETA, persistent, unit_errors
from .places import OUT, complete, weights
from .system_cases import TRUTH as SYSTEM
from .system_cases import true_value

ESTIMATES, TESTS, SYSTEMS = (OUT / f"lifelike{part}.csv" for part in ("", "_tests", "_systems"))
SEED, LEVEL = 20261201, 0.05
HUBS, OWN = "sd × 3 at high (W²)_ii", "own residuals"
ERRORS = ("AR 0.6", OWN, HUBS, "independent", "unit variances", "t(5)")
MOVING = ERRORS[:4]
#: Errors of which the spread is part of their name; all others have a variance of one.
SPREAD = ("unit variances", HUBS, OWN)
PLACE = ["n", "periods", "weights", "rho", "errors"]
#: Covariances, by the group that is run at once.
FITS = {
    "usual": [("lee_yu", "information"), ("gmm", None), ("random", None)],
    "clustered": [("lee_yu", "cluster"), ("robust_score", "cluster")],
    "random": [("random", "cluster")],
}
MODELS = {"SDM": ["a", "b"], "SAR": []}
STRENGTHS = {2: 0.17, 10: 0.43, 50: 1.0}
SYSTEM_FITS = [("fiml", "information"), ("fiml", "cluster"), ("gs3sls", None)]


@dataclass(frozen=True)
class Cell:
    """One place and its errors."""

    n: int
    periods: int
    weights: str
    rho: float
    errors: str


def design() -> list[Cell]:
    """Eleven periods, contiguity and ρ = 0.3 with all errors; other T, ρ and W, each in turn, with those that move most.

    The study's own residuals end after 13 periods.
    """
    places = [(4, "contiguity", 0.3), (11, "contiguity", 0.85), (20, "contiguity", 0.3)]
    places += [(11, "nearest 4", 0.3), (11, "contiguity", -0.4)]
    cells = [Cell(n, 11, "contiguity", 0.3, u) for u, n in product(ERRORS, (41, 11))]
    cells += [Cell(n, *place, u) for u, place, n in product(MOVING, places, (41, 11))]
    cells += [Cell(n, T, "contiguity", 0.3, u) for T, u, n in product((4, 20), ERRORS[4:], (41, 11))]
    return [cell for cell in cells if not (cell.errors == OWN and cell.periods == 20)]


# --- what is drawn


@cache
def histories(n: int) -> np.ndarray:
    """(T, cities): residuals of the study's Durbin model of industry, of Zhejiang (11) or of the delta (41)."""
    from .robust_score import world

    found = world("zhejiang" if n == 11 else "delta", "own industry").residuals
    if found is None:
        raise ValueError("the study has no residuals")
    return found


def errors_of(cell: Cell, X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(T, n), of mean square one."""
    if cell.errors == OWN:
        every = histories(cell.n)[-cell.periods :]
        u = every[:, rng.integers(every.shape[1], size=cell.n)] * rng.choice([-1.0, 1.0], cell.n)
    else:
        u = unit_errors(cell.errors, weights(cell.n, cell.weights), X, rng)
    return u / np.sqrt((u**2).mean()) if cell.errors in SPREAD else u


def draw(cell: Cell, model: str, seed: np.random.SeedSequence, shocks: float = 1.0) -> zb.Panel:
    """One panel of a SDM, SAR, SEM (λ is ρ of the cell) or of no spatial dependence (OLS)."""
    n, T, rng = cell.n, cell.periods, np.random.default_rng(seed)
    W = weights(n, cell.weights)
    X = persistent(PERSISTENT, (T, n, 2), rng)
    u = errors_of(cell, X, rng)
    through = filter_solver(W.matrix, cell.rho)
    mean = X @ BETA + rng.standard_normal(n) + shocks * rng.standard_normal((T, 1))
    if model == "SDM":
        mean += np.stack([X[..., j] @ W.matrix.T for j in range(2)], axis=2) @ THETA
    made: dict[str, Callable[[], np.ndarray]] = {
        "OLS": lambda: mean + u,
        "SEM": lambda: mean + through(u.T).T,
    }
    y = made.get(model, lambda: through((mean + u).T).T)()
    values = np.concatenate([y[..., None], X], axis=2)
    return zb.Panel(values, tuple(range(2001, 2001 + T)), W.ids, ("y", "a", "b"))


def truth(cell: Cell, model: str) -> dict[str, float]:
    """ρ, and coefficient and effects of the first regressor."""
    W, n = weights(cell.n, cell.weights).matrix.toarray(), cell.n
    own = BETA[0] * np.eye(n) + (THETA[0] if model == "SDM" else 0.0) * W
    E = np.linalg.solve(np.eye(n) - cell.rho * W, own)
    direct = float(np.trace(E)) / n
    return {"rho": cell.rho, "a": BETA[0], "direct": direct, "indirect": float(E.sum()) / n - direct}


# --- estimators


def estimates(cell: Cell, group: str, seed: np.random.SeedSequence) -> list[dict]:
    """All fits of a group on one panel of each model: estimate, limits, and the kinds of their notes."""
    rows = []
    for model, lag_x in MODELS.items():
        for name, covariance in FITS[group]:
            alone = name == "random"  # without effects of periods, SDM only
            if alone and model != "SDM":
                continue
            spec = zb.DurbinSpec("y", ["a", "b"], lag_x=lag_x, fixed_effects="random" if alone else "two_way")
            panel = draw(cell, model, seed, 0.0 if alone else 1.0)
            how = "lee_yu" if alone else name, covariance
            found = attempt(spec, panel, weights(cell.n, cell.weights), *how)
            head = {"model": model, "estimator": name, "covariance": covariance or "default"}
            rows += [head | row for row in found]
    return rows


def attempt(spec: zb.DurbinSpec, panel: zb.Panel, W: zb.Weights, *how: Any) -> list[dict]:
    """Rows of one fit by parameter; without convergence or effects their numbers are missing."""
    fit = zb.fit_durbin(spec, panel, W, *how)
    notes, found = tuple(map(told, fit.notes)), {}
    if fit.converged:
        found = limits(fit.tidy(), "term")
        try:
            effects = zb.spatial_effects(fit).tidy()
            found |= limits(effects[effects["term"] == "a"], "effect")
        except SpatialZbError:
            pass
    blank = (np.nan, np.nan, np.nan)
    return [
        dict(zip(("parameter", "estimate", "low", "high"), (name, *found.get(name, blank)), strict=True))
        | {"notes": notes}
        for name in ("rho", "a", "direct", "indirect")
    ]


def told(note: Note) -> str:
    """The kind of a note; of what was measured of panels like this one with its case."""
    name = note.kind.name
    return f"{name}({note['case']})" if name == "measured_short" else name


def limits(table: pd.DataFrame, by: str) -> dict[str, tuple[float, float, float]]:
    """Estimate and limits by the names of a column: lists, for a frame's own look-up takes longer than the fit."""
    columns = (table[name].tolist() for name in (by, "estimate", "conf_low", "conf_high"))
    return {row[0]: row[1:] for row in zip(*columns, strict=True)}


def summary(draws: pd.DataFrame, keys: list[str], true: Callable[[Any], float]) -> pd.DataFrame:
    """One row per estimator and parameter, with the share of panels that had each kind of note."""
    rows = []
    for key, part in draws.groupby([*keys, "parameter"], sort=False):
        value = true(key)
        kept = part[part["low"].notna() & part["high"].notna()]
        off = part["estimate"].dropna() - value
        covered = (kept["low"] <= value) & (value <= kept["high"])
        kinds = sorted({kind for notes in part["notes"] for kind in notes})
        said = {kind: np.mean([kind in notes for notes in part["notes"]]) for kind in kinds}
        quartiles = off.quantile([0.25, 0.75])
        rows.append(
            dict(zip([*keys, "parameter"], key, strict=True))
            | {
                "truth": value,
                "used": len(kept),
                "panels": len(part),
                "bias": off.mean(),
                "median_bias": off.median(),
                "sd": off.std(),
                "median_mcse": 1.2533 * (quartiles[0.75] - quartiles[0.25]) / 1.349 / np.sqrt(len(off)),
                "coverage": covered.mean(),
                "says": " ".join(f"{kind}:{share:.2f}" for kind, share in said.items()),
                "heard_in": len(part),
            }
        )
    return pd.DataFrame(rows)


def estimate_cell(job: tuple[Cell, str], panels: int, workers: int) -> pd.DataFrame:
    """All fits of a group in one cell."""
    cell, group = job
    found = run_tasks(partial(_quiet, estimates, cell, group), seeds_of(cell, panels), workers=workers)
    draws = pd.DataFrame([row for rows in found for row in rows])
    table = summary(draws, ["model", "estimator", "covariance"], lambda key: truth(cell, key[0])[key[-1]])
    return _placed(table.assign(group=group), cell)


# --- tests

#: What is drawn → the tests whose hypothesis it satisfies, in any errors.
TRUE = {
    "SAR": ("LM Durbin terms from SAR", "Wald SDM to SAR", "LR SDM to SAR", "LM error from SAR"),
    "SEM": ("LM common factor from SEM", "Wald SDM to SEM", "LR SDM to SEM", "LM lag from SEM"),
    "OLS": ("LM lag", "LM error", "LM lag, robust", "LM error, robust", "LM lag and error, joint"),
}
CLUSTER = ", clustered"
OF_ERRORS = {
    "Serial correlation (LM*)": ("AR 0.6", OWN),
    "Serial correlation, forward and backward": ("AR 0.6", OWN),
    "Variances and diagonal of G": (HUBS,),
    "Variances and place in W": (HUBS,),
    "Cross-section dependence": (OWN,),  # a city drawn twice has residuals of correlation 1 or −1 with itself
}


def tests(cell: Cell, seed: np.random.SeedSequence) -> list[dict]:
    """p-values of one panel of each truth, and whether `diagnose` says of a test that its level is off here."""
    rows, W = [], weights(cell.n, cell.weights)
    for model, names in TRUE.items():
        case = make_case(zb.DurbinSpec("y", ["a", "b"]), draw(cell, model, seed), W, "lee_yu", seed)
        wanted = (*names, *OF_ERRORS) if model == "SAR" else names
        found = [row for row in run_tests(case, tuple(GROUPS), wanted) if row.of in ("", "pooled")]
        if f"Wald SDM to {model}" in names:
            found.append(clustered(case.panel, W, f"Wald SDM to {model}"))
        rows += [{"test": row.test, "p_value": row.p_value, "drawn": model} for row in found]
    return rows


def clustered(panel: zb.Panel, W: zb.Weights, test: str) -> Row:
    """What `diagnose` names under correlation over time: Wald as ``zb.tests.simplification_tests`` of a clustered fit."""
    fit = zb.fit_durbin(zb.DurbinSpec("y", ["a", "b"], lag_x=["a", "b"]), panel, W, covariance="cluster")
    statistic, q = (wald_no_lags if test.endswith("SAR") else wald_common_factor)(fit)
    p = wald_p(fit, statistic, q) if fit.converged else np.nan
    return Row(test + CLUSTER, statistic, float(q), p)


def test_cell(cell: Cell, panels: int, workers: int) -> pd.DataFrame:
    """Share of p-values of at most 5 % by test."""
    found = run_tasks(partial(_quiet, tests, cell), seeds_of(cell, panels), workers=workers)
    frame = pd.DataFrame([row for rows in found for row in rows])
    grouped = frame.groupby(["test", "drawn"], sort=False)["p_value"]
    table = pd.DataFrame(
        {
            "rejects": grouped.agg(lambda p: float((p.dropna() <= LEVEL).mean())),
            "undefined": grouped.agg(lambda p: float(p.isna().mean())),
        }
    ).reset_index()
    table["hypothesis"] = [
        "violated" if cell.errors in OF_ERRORS.get(test, ()) else "holds" for test in table["test"]
    ]
    return _placed(table.assign(panels=panels), cell)


# --- systems


def system_design() -> list[tuple[Cell, int]]:
    """Places with their first-stage F; ρ is that of the first equation."""
    pairs = [*product(("AR 0.6", OWN), (50, 10, 2)), *product((HUBS, "independent"), (50, 10, 2))]
    pairs = sorted(pairs, key=lambda pair: pair[0] not in MOVING[:2] and pair[1] < 50)
    base = [(Cell(41, 11, "contiguity", 0.3, u), F) for u, F in pairs]
    others = [(11, 11, "contiguity"), (41, 4, "contiguity"), (41, 20, "contiguity"), (41, 11, "nearest 4")]
    more = [(Cell(*place, 0.3, u), 50) for u, place in product(("AR 0.6", OWN, HUBS), others)]
    more += [(Cell(41, 11, "contiguity", 0.3, u), 50) for u in ERRORS[4:]]
    return [(cell, F) for cell, F in (*base, *more) if not (cell.errors == OWN and cell.periods == 20)]


def systems(job: tuple[Cell, int], seed: np.random.SeedSequence) -> list[dict]:
    """All methods on one panel of the system of the validation, spatial errors of λ = 0.3 in both equations."""
    from .system_cases import system
    from .system_weak import DRAWN, EXOGENOUS

    cell, F = job
    rng, W = np.random.default_rng(seed), weights(cell.n, cell.weights)
    X = persistent(PERSISTENT, (cell.periods, cell.n, 4), rng)
    one, two = (errors_of(cell, X, rng) for _ in range(2))
    through = filter_solver(W.matrix, 0.3)
    u = [through(e.T).T[..., None] for e in (one, 0.4 * one + np.sqrt(1 - 0.4**2) * two)]
    years = tuple(range(2001, 2001 + cell.periods))
    given = zb.Panel(np.concatenate([X, *u], axis=2), years, W.ids, (*EXOGENOUS, "u1", "u2"))
    factor = STRENGTHS[F]
    scaled = {key: value * (factor if key[1] in EXOGENOUS else 1) for key, value in SYSTEM.items()}
    scaled |= {("industry", "u1"): 1.0, ("talent", "u2"): 1.0}
    law = zb.simulate.Truth(scaled, sigma=1e-16 * np.eye(2), regressors=given)
    panel, rows = zb.simulate.system(DRAWN, W, cell.periods, law, rng=rng), []
    for method, covariance in SYSTEM_FITS:
        fit = zb.fit_system(system(True), panel, W, method, covariance=covariance)
        terms = fit.tidy().set_index(["equation", "term"])
        head = {"method": method, "covariance": covariance or "default"}
        head["notes"] = tuple(map(told, fit.notes))
        head["first_stage_f"] = fit.identification().iloc[0]["sw_f_min"]
        for name in ("tal", "W_ind", "W_tal", "a", "lam"):
            row = terms.loc[("industry", name)]
            low, high = (row[k] if fit.converged else np.nan for k in ("conf_low", "conf_high"))
            estimate = row["estimate"] if fit.converged else np.nan
            rows.append(head | {"parameter": name, "estimate": estimate, "low": low, "high": high})
    return rows


def system_cell(job: tuple[Cell, int], panels: int, workers: int) -> pd.DataFrame:
    """All methods in one cell."""
    cell, F = job
    found = run_tasks(partial(_quiet, systems, job), seeds_of(cell, panels, F), workers=workers)
    draws = pd.DataFrame([row for rows in found for row in rows])
    factor = {"a": STRENGTHS[F]}
    table = summary(draws, ["method", "covariance"], lambda k: true_value(k[-1]) * factor.get(k[-1], 1.0))
    seen = draws.groupby("method")["first_stage_f"].median()
    return _placed(table.assign(strength=F, median_f=table["method"].map(seen)), cell)


# --- running


def _quiet(run: Callable, *args: Any) -> list[dict]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return run(*args)


def seeds_of(cell: Cell, panels: int, *more: int) -> list[np.random.SeedSequence]:
    """One per panel: more panels go on where fewer ended."""
    mark = [cell.n, cell.periods, round(100 * cell.rho) + 1000, *map(ord, cell.weights + cell.errors), *more]
    return np.random.SeedSequence([SEED, *mark]).spawn(panels)


def _placed(table: pd.DataFrame, cell: Cell) -> pd.DataFrame:
    for position, (name, value) in enumerate(zip(PLACE, astuple(cell), strict=True)):
        table.insert(position, name, value)
    return table


def run(replications: int = 200, workers: int = 1) -> None:
    """Simulate what the tables lack."""
    run_estimates(replications, workers)
    run_tests_of(replications, workers)
    run_systems(replications // 2, workers)


def run_estimates(replications: int = 200, workers: int = 1) -> None:
    """Simulate what the table of estimators lacks."""
    complete(
        ESTIMATES,
        [*PLACE, "group"],
        {(*astuple(cell), group): (cell, group) for cell in design() for group in FITS},
        lambda job: estimate_cell(job, replications, workers),
        lambda done: done["panels"] >= replications,
    )


def run_tests_of(replications: int = 200, workers: int = 1) -> None:
    """Simulate what the table of tests lacks, contiguity and ρ of 0.3 first."""
    cells = sorted(design(), key=lambda cell: (cell.weights, cell.rho) != ("contiguity", 0.3))
    complete(
        TESTS,
        PLACE,
        {astuple(cell): cell for cell in cells},
        lambda cell: test_cell(cell, replications, workers),
        lambda done: done["panels"] >= replications,
    )


def run_systems(replications: int = 100, workers: int = 1) -> None:
    """Simulate what the table of systems lacks."""
    complete(
        SYSTEMS,
        [*PLACE, "strength"],
        {(*astuple(cell), F): (cell, F) for cell, F in system_design()},
        lambda job: system_cell(job, replications, workers),
        lambda done: done["panels"] >= replications,
    )
