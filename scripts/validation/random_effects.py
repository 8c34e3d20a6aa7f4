"""Random effects by maximum likelihood and median-unbiased: ρ or λ, φ, β, θ and effects of small panels with known truth.

The 11 and the 41 cities, contiguity and a dense W, 11 periods, random unit effects of the variance of the noise (φ = 1) that
have nothing to do with x, no time effects; SAR, SDM, and SEM whose noise alone spreads (Baltagi); ρ and λ of 0, 0.3 and 0.6.
199 draws a panel. ``random_effects.csv`` of ``docs/validation`` is written after every cell.
"""

from __future__ import annotations

import time
import warnings
from functools import partial
from itertools import product

import numpy as np
import pandas as pd

import spatial_zb as zb
from spatial_zb.base.execute import run_tasks

from .places import KINDS, LEVEL, OUT, PERIODS, complete, weights
from .small_sample import STRENGTHS

TABLE = OUT / "random_effects.csv"
SEED, DRAWS, SIZES = 20261126, 199, (11, 41)
BETA, THETA, PHI = 1.0, 0.5, 1.0
#: lag of y, lag of x, lag of the error
MODELS = {"SAR": (True, [], False), "SDM": (True, ["x"], False), "SEM": (False, [], True)}
KEYS = ["n", "weights", "model", "spatial"]
Cell = tuple[int, str, str, float]


def design() -> list[Cell]:
    """Every cell, the first strength of all before the next."""
    return [
        (n, kind, model, spatial)
        for spatial in STRENGTHS
        for model, kind, n in product(("SDM", "SEM", "SAR"), reversed(KINDS), SIZES)
    ]


def specification(model: str) -> zb.DurbinSpec:
    """Random effects; the error of SEM is Baltagi's."""
    return zb.DurbinSpec("y", ["x"], *MODELS[model], fixed_effects="random")


def truth(cell: Cell) -> dict[str, float]:
    """True parameters and effects of x; the intercept is zero."""
    n, kind, model, spatial = cell
    lag_y, lag_x, lag_error = MODELS[model]
    W = weights(n, kind).matrix.toarray()
    rho, theta = spatial * lag_y, THETA * bool(lag_x)
    out = {"x": BETA, "phi": PHI, "sigma2": 1.0}
    out |= {"W_x": theta} if lag_x else {}
    out |= {"rho": rho} if lag_y else {"lam": spatial * lag_error}
    if lag_y:
        E = np.linalg.solve(np.eye(n) - rho * W, BETA * np.eye(n) + theta * W)
        direct, total = np.trace(E) / n, E.sum() / n
        out |= {"direct": direct, "indirect": total - direct, "total": total}
    return out


def draw(cell: Cell, index: int) -> zb.Panel:
    """One simulated panel."""
    n, kind, model, spatial = cell
    place = [SEED, n, len(kind), list(MODELS).index(model), round(100 * spatial), index]
    values = {
        name: value for name, value in truth(cell).items() if name not in ("direct", "indirect", "total")
    }
    return zb.simulate.panel(
        specification(model), weights(n, kind), PERIODS, values, rng=np.random.default_rng(place)
    )


def replicate(cell: Cell, index: int) -> pd.DataFrame:
    """One panel: parameter, how, estimate, low, high; none where nothing converged."""
    n, kind, model, _ = cell
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        fit = zb.fit_durbin(specification(model), draw(cell, index), weights(n, kind))
        found = zb.median_unbiased(fit, DRAWS, rng=np.random.SeedSequence([SEED, index]))
        effects = zb.spatial_effects(fit).tidy() if fit.spec.lag_y and fit.converged else pd.DataFrame()
    columns = {"ml": [fit.tidy(), effects], "median_unbiased": [found.tidy(), found.effects()]}
    parts = []
    for how, tables in columns.items():
        for table in tables:
            if len(table):
                name = table["effect"] if "effect" in table else table["term"]
                limits = table[["estimate", "conf_low", "conf_high"]].set_axis(
                    ["estimate", "low", "high"], axis=1
                )
                parts.append(limits.assign(parameter=name, how=how))
    return pd.concat(parts, ignore_index=True)


def run_cell(cell: Cell, replications: int, workers: int = 1) -> pd.DataFrame:
    """Simulate one cell; one row per parameter and estimator."""
    start = time.perf_counter()
    found = pd.concat(run_tasks(partial(replicate, cell), range(replications), workers=workers))
    true, rows = truth(cell), []
    for (name, how), group in found.groupby(["parameter", "how"], sort=False):
        if name in true:
            rows.append({"parameter": name, "estimator": how} | _row(group, true[name]))
    table = pd.DataFrame(rows)
    head = dict(zip(KEYS, cell, strict=True)) | {"replications": replications, "seed": SEED}
    for position, (key, value) in enumerate(head.items()):
        table.insert(position, key, value)
    return table.assign(seconds=round(time.perf_counter() - start, 1))


def _row(group: pd.DataFrame, true: float) -> dict[str, float]:
    estimate = group["estimate"].dropna()
    covered = (group["low"] <= true) & (true <= group["high"])
    return {
        "truth": true,
        "used": len(estimate),
        "bias": estimate.mean() - true,
        "median_bias": estimate.median() - true,
        "median_error": np.sqrt(np.pi / 2) * estimate.std(ddof=1) / np.sqrt(len(estimate)),
        "rmse": np.sqrt(((estimate - true) ** 2).mean()),
        "coverage": covered.mean(),
        "coverage_mcse": np.sqrt(LEVEL * (1 - LEVEL) / len(group)),
        "median_length": (group["high"] - group["low"]).median(),
    }


def run(replications: int = 200, workers: int = 1) -> None:
    """Simulate what is missing; the table is written after every cell."""
    complete(
        TABLE,
        KEYS,
        {cell: cell for cell in design()},
        lambda cell: run_cell(cell, replications, workers),
        lambda done: (done["replications"] == replications) & (done["seed"] == SEED),
    )
