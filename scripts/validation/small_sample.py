"""How well the single-equation estimators do on small panels with known truth: bias, errors, coverage.

The 11 cities of Zhejiang, the 41 cities of the delta, the 90 counties of Zhejiang, each with contiguity and with
dense inverse distances, 11 periods, two-way effects, ρ and λ of 0, 0.3 and 0.6. The table goes to
``docs/validation/small_sample.csv`` after every cell; a second run skips what is there already with the same seed
and number of replications. Every replicate has a seed of its own, so the number of workers changes nothing.
"""

from __future__ import annotations

import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

import spatial_zb as zb

from .places import KINDS, LEVEL, OUT, PERIODS, SIZES, complete, weights

TABLE = OUT / "small_sample.csv"
BETA, THETA, SEED = 1.0, 0.5, 20261124
#: Values of ρ and λ; the first was studied first, and its seeds have no mark of it.
STRENGTHS = (0.3, 0.0, 0.6)
#: lag of y, lag of x, lag of the error
MODELS = {
    "SAR": (True, [], False),
    "SDM": (True, ["x"], False),
    "SEM": (False, [], True),
    "SDEM": (False, ["x"], True),
    "SAC": (True, [], True),
}
#: Names of coefficients in the table.
NAMES = {"x": "beta", "W_x": "theta"}
KEYS = ["n", "weights", "model", "estimator", "spatial"]


@dataclass(frozen=True)
class Cell:
    """One line of the design."""

    n: int
    weights: str
    model: str
    estimator: str = "lee_yu"
    spatial: float = STRENGTHS[0]


def design() -> list[Cell]:
    """Every cell; direct ML only where its bias is to be shown, random effects with the Mundlak device."""
    own = list(MODELS)
    others = {
        "lee_yu": own,
        "direct": ("SAR", "SDM"),
        "gmm": ("SAR", "SDM", "SAC"),
        "random": ("SAR", "SDM", "SEM"),
    }
    return [
        Cell(n, kind, model, estimator, spatial)
        for spatial in STRENGTHS
        for estimator, models in others.items()
        for n, kind, model in product(SIZES, KINDS, models)
    ]


def specification(cell: Cell) -> zb.DurbinSpec:
    """What is estimated: two-way fixed effects, or random unit effects correlated with x (Mundlak)."""
    random = {"fixed_effects": "random", "mundlak": True} if cell.estimator == "random" else {}
    return zb.DurbinSpec("y", ["x"], *MODELS[cell.model], **random)


def truth(cell: Cell) -> dict[str, float]:
    """True parameters and effects of x."""
    lag_y, lag_x, lag_error = MODELS[cell.model]
    W = weights(cell.n, cell.weights).matrix.toarray()
    rho, theta = cell.spatial * lag_y, THETA * bool(lag_x)
    E = np.linalg.solve(np.eye(cell.n) - rho * W, BETA * np.eye(cell.n) + theta * W)
    direct, total = np.trace(E) / cell.n, E.sum() / cell.n
    out = {"beta": BETA, "direct": direct, "indirect": total - direct, "total": total}
    out |= {"rho": rho} if lag_y else {}
    out |= {"theta": theta} if lag_x else {}
    out |= {"lam": cell.spatial} if lag_error else {}
    if not lag_y and not lag_x:  # no spillover is estimated: its effect is zero by definition
        del out["indirect"]
    return out


def draw(cell: Cell, seed: int, index: int) -> zb.Panel:
    """One simulated panel; the seed of the first strength has no mark of it."""
    W = weights(cell.n, cell.weights)
    lag_y, lag_x, lag_error = MODELS[cell.model]
    mark = [] if cell.spatial == STRENGTHS[0] else [round(100 * cell.spatial)]
    place = [cell.n, len(cell.weights), list(MODELS).index(cell.model)]
    return zb.simulate.durbin(
        W,
        PERIODS,
        {"x": BETA},
        theta={"x": THETA} if lag_x else {},
        rho=cell.spatial * lag_y,
        lam=cell.spatial * lag_error,
        process=zb.simulate.Process(time_effects=0.0 if cell.estimator == "random" else 1.0),
        rng=np.random.default_rng([seed, *place, *mark, index]),
    )


def estimate(cell: Cell, panel: zb.Panel) -> Any:
    """The fit of a cell, without its warnings."""
    W = weights(cell.n, cell.weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        estimator = "lee_yu" if cell.estimator == "random" else cell.estimator
        return zb.fit_durbin(specification(cell), panel, W, estimator)


def replicate(cell: Cell, seed: int, index: int) -> dict[str, tuple[float, float]] | None:
    """Draw one panel and estimate; (estimate, standard error) by parameter, None without convergence."""
    fit = estimate(cell, draw(cell, seed, index))
    if not fit.converged:
        return None
    effects = zb.spatial_effects(fit).tidy()
    names = [NAMES.get(term, term) for term in fit.params.index]
    values = zip([*fit.params, *effects["estimate"]], [*fit.bse, *effects["std_error"]], strict=True)
    return dict(zip([*names, *effects["effect"]], values, strict=True))


def run_cell(
    cell: Cell, replications: int, seed: int = SEED, pool: ProcessPoolExecutor | None = None
) -> pd.DataFrame:
    """Simulate one cell; one row per parameter with bias, standard deviation, mean error and coverage."""
    start = time.perf_counter()
    mapper = pool.map if pool else map
    options = {"chunksize": 50} if pool else {}
    found = list(
        mapper(replicate, [cell] * replications, [seed] * replications, range(replications), **options)
    )
    kept = [f for f in found if f is not None]
    rows = [_row(name, value, kept) for name, value in truth(cell).items()]
    head = {"n": cell.n, "weights": cell.weights, "model": cell.model, "estimator": cell.estimator}
    head |= {
        "spatial": cell.spatial,
        "replications": replications,
        "seed": seed,
        "not_converged": replications - len(kept),
    }
    table = pd.DataFrame(rows)
    for position, (key, value) in enumerate(head.items()):
        table.insert(position, key, value)
    return table.assign(seconds=round(time.perf_counter() - start, 1))


def _row(name: str, value: float, kept: list[dict[str, tuple[float, float]]]) -> dict[str, float | str]:
    estimate, error = np.array([found[name] for found in kept]).T
    half = 1.959963984540054 * error
    return {
        "parameter": name,
        "truth": value,
        "mean": estimate.mean(),
        "bias": estimate.mean() - value,
        "bias_mcse": estimate.std(ddof=1) / np.sqrt(len(kept)),
        "median": np.median(estimate),
        "sd": estimate.std(ddof=1),
        "median_std_error": np.median(error),
        "coverage": np.mean(np.abs(estimate - value) <= half),
        "coverage_mcse": np.sqrt(LEVEL * (1 - LEVEL) / len(kept)),
    }


def run(replications: int = 1000, workers: int = 1, seed: int = SEED) -> None:
    """Simulate what is missing; the table is written after every cell."""
    pool = ProcessPoolExecutor(workers) if workers > 1 else None
    complete(
        TABLE,
        KEYS,
        {astuple(cell): cell for cell in design()},
        lambda cell: run_cell(cell, replications, seed, pool),
        lambda done: (done["replications"] == replications) & (done["seed"] == seed),
    )
    if pool:
        pool.shutdown()
