"""Median-unbiased ρ and λ (`zb.median_unbiased`) beside maximum likelihood: bias, spread, coverage.

The panels of :mod:`validation.small_sample`, and more of them where ρ is badly determined: the error of a median is
1.25 sd/√R, and sd is 0.5 with eleven units and a dense W. Every panel counts, also those without an interior maximum, whose
estimate is an end of the admissible interval. The limits of β, θ and the effects are those of the same object. Where two
lags are not told apart the object has no estimate (``reported``): the columns of ρ and λ then hold where their scores are at
their medians.
"""

from __future__ import annotations

import time
from dataclasses import astuple
from functools import partial
from itertools import product

import numpy as np
import pandas as pd

import spatial_zb as zb
from spatial_zb.base.execute import run_tasks

from . import resampled
from .places import KINDS, OUT, SIZES, complete
from .small_sample import NAMES, SEED, STRENGTHS, Cell, draw, estimate, truth

TABLE = OUT / "median_unbiased.csv"
#: Samples from which the law of a score is read: the limits are exact for any number.
DRAWS, DRAWS_BOTH = 199, 99
#: Panels by W and n; of a model with two spatial lags, whose samples are estimated one by one.
PANELS = {
    (KINDS[0], 11): 300,
    (KINDS[0], 41): 300,
    (KINDS[0], 90): 300,
    (KINDS[1], 11): 1500,
    (KINDS[1], 41): 1000,
    (KINDS[1], 90): 400,
}
PANELS_BOTH = {(KINDS[0], 11): 800, (KINDS[1], 11): 1600, (KINDS[1], 41): 1000, (KINDS[1], 90): 500}
#: The other coefficients and the effects are read in so many of the panels.
ALL_PARAMETERS = 300
COLUMNS = ["parameter", "ml", "estimate", "low", "high", "open", "at_bound", "ml_at_bound", "reported"]
KEYS = ["n", "weights", "model", "estimator", "spatial"]


def design() -> list[Cell]:
    """Every place and family with one spatial lag, SAC where its fit warns and is off; what warns comes first."""
    places = [(n, KINDS[1]) for n in SIZES] + [(n, KINDS[0]) for n in SIZES]
    one = [
        Cell(*place, model, "lee_yu", spatial)
        for place, spatial, model in product(places, STRENGTHS, ("SAR", "SDM", "SEM", "SDEM"))
    ]
    both = [cell for cell in resampled.design() if cell.model == "SAC"]
    return sorted(
        [*one, *both], key=lambda cell: (cell.weights == KINDS[0] and cell.n > SIZES[0], cell.model == "SAC")
    )


def panels(cell: Cell) -> int:
    """How many panels a cell has by default."""
    return (PANELS_BOTH if cell.model == "SAC" else PANELS)[cell.weights, cell.n]


def replicate(cell: Cell, seed: int, index: int) -> list[tuple]:
    """One panel: both estimates and the limits, by parameter; all parameters in the first panels only."""
    fit = estimate(cell, draw(cell, seed, index))
    number = DRAWS_BOTH if cell.model == "SAC" else DRAWS
    result = zb.median_unbiased(fit, number, rng=np.random.SeedSequence([seed, index, DRAWS]))
    ends = result.at_bound, bool(fit.convergence["at_bound"]), result.told_apart
    rows = [
        (term, fit.params[term], s.estimate, s.low, s.high, s.open_low or s.open_high, *ends)
        for term, s in result.solutions.items()
    ]
    if index >= ALL_PARAMETERS:
        return rows
    terms, effects = result.tidy(), result.effects()
    others = terms[~terms["term"].isin(result.solutions)]
    columns = ["ml_estimate", "estimate", "conf_low", "conf_high"]
    for names, table in ((others["term"], others), (effects["effect"], effects)):
        rows += [
            (NAMES.get(name, name), *values, bool(np.isinf(values[2:]).any()), *ends)
            for name, values in zip(names, table[columns].to_numpy(), strict=True)
        ]
    return rows


def run_cell(cell: Cell, replications: int, seed: int = SEED, workers: int = 1) -> pd.DataFrame:
    """Simulate one cell; one row per parameter."""
    start = time.perf_counter()
    rows = run_tasks(partial(replicate, cell, seed), range(replications), workers=workers)
    found = pd.DataFrame([row for one in rows for row in one], columns=COLUMNS)
    true = truth(cell)
    table = pd.DataFrame(
        [_row(name, value, found[found["parameter"] == name]) for name, value in true.items()]
    )
    head = dict(zip(KEYS, (cell.n, cell.weights, cell.model, cell.estimator, cell.spatial), strict=True))
    for position, (key, given) in enumerate((head | {"replications": replications, "seed": seed}).items()):
        table.insert(position, key, given)
    return table.assign(seconds=round(time.perf_counter() - start, 1))


def _row(name: str, value: float, found: pd.DataFrame) -> dict[str, float | str]:
    """Bias, of mean and median, spread and coverage; effects at an end have no estimate and count in the coverage."""
    number, out = len(found), {"parameter": name, "truth": value, "used": len(found)}
    for who in ("ml", "estimate"):
        off = found[who].dropna() - value
        out |= {
            f"{who}_bias": off.mean(),
            f"{who}_median_bias": off.median(),
            f"{who}_rmse": np.sqrt((off**2).mean()),
            f"{who}_above": (off > 0).mean(),
        }
    known = found["low"].notna()
    inside = (found["low"] <= value) & (value <= found["high"])
    return out | {
        "median_mcse": 1.2533 * (found["estimate"].dropna() - value).std(ddof=1) / np.sqrt(number),
        "coverage": inside[known].mean() if known.any() else np.nan,
        "coverage_mcse": np.sqrt(0.95 * 0.05 / number),
        "median_length": (found["high"] - found["low"]).median(),
        "open": found["open"].mean(),
        "at_bound": found["at_bound"].mean(),
        "ml_at_bound": found["ml_at_bound"].mean(),
        "reported": found["reported"].mean(),
    }


def run(replications: int | None = None, workers: int = 1, seed: int = SEED) -> None:
    """Simulate what is missing; the table is written after every cell."""
    wanted = {astuple(cell): cell for cell in design()}

    def number(cell: Cell) -> int:
        return replications or panels(cell)

    def kept(done: pd.DataFrame) -> list[bool]:
        keys = done[KEYS].itertuples(index=False, name=None)
        counts = [number(wanted[key]) if key in wanted else np.inf for key in keys]
        return list((done["replications"] >= counts) & (done["seed"] == seed))  # more panels are as good

    complete(TABLE, KEYS, wanted, lambda cell: run_cell(cell, number(cell), seed, workers), kept)
