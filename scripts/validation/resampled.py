"""How often intervals by resampling, and those that invert the likelihood ratio, cover the truth.

The panels are those of :mod:`validation.small_sample`, as many of the first as there are replications. Intervals:
``standard_error`` (estimate ± 1.96), ``percentile``, ``basic``, ``bca``, ``studentised`` (199 residual replicates, SAC 99),
``likelihood_ratio`` (ρ and λ only; also where there is no interior maximum, and its ``bias`` is that of all panels, those
whose estimate is an end of the admissible interval included). Point estimates: the fit, and less the bias of its
replicates.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import astuple
from functools import partial
from itertools import product

import numpy as np
import pandas as pd

import spatial_zb as zb
from spatial_zb.base.execute import run_tasks

from .places import KINDS, OUT, SIZES, complete
from .small_sample import NAMES, SEED, STRENGTHS, Cell, draw, estimate, truth

TABLE = OUT / "resampled.csv"
FAMILIES = ("SAR", "SDM", "SEM", "SDEM")
INTERVALS = ("percentile", "basic", "bca", "studentised")
REPLICATES = 199
#: With two spatial lags every replicate is a fit of its own: so many panels, and fewer replicates.
PANELS_BOTH, REPLICATES_BOTH = 120, 99
KEYS = ["n", "weights", "model", "estimator", "spatial"]


def design() -> list[Cell]:
    """Dense W, few units, and one place where standard errors are good; of SAC those whose fit warns and is off."""
    dense, sparse = [(n, KINDS[1]) for n in SIZES], [(n, KINDS[0]) for n in SIZES[:2]]
    one = [
        Cell(n, kind, model, "lee_yu", spatial)
        for spatial, model in product((0.3, 0.6, 0.0), FAMILIES)
        for n, kind in dense + sparse * (model != "SDEM")
    ]
    places = {sparse[0]: (0.0, 0.6), dense[0]: STRENGTHS, dense[1]: STRENGTHS, dense[2]: (0.3, 0.6)}
    return one + [
        Cell(*place, "SAC", "lee_yu", spatial) for place, strengths in places.items() for spatial in strengths
    ]


def replicate(cell: Cell, seed: int, index: int) -> pd.DataFrame:
    """One panel: parameter, interval, low, high, and the point estimates."""
    fit = estimate(cell, draw(cell, seed, index))
    both, rows = cell.model == "SAC", []
    if not both:
        spatial = fit.spec.spatial_terms[0]
        found = zb.profile_interval(fit, spatial)
        limits = found.conf_low, found.conf_high, found.estimate  # an end where there is no maximum
        rows = [(spatial, "likelihood_ratio", *limits, np.nan, np.nan)]
    if fit.converged:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", zb.SpatialZbWarning)
            number = REPLICATES_BOTH if both else REPLICATES
            result = zb.bootstrap(fit, number, rng=np.random.SeedSequence([seed, index]))
        rows += _rows(fit.tidy(), zb.spatial_effects(fit).tidy(), "standard_error")
        for interval in INTERVALS:
            rows += _rows(result.tidy(interval), result.effects(interval), interval)
        corrected = {NAMES.get(k, k): v for k, v in result.bias_corrected().items()}
        median = {NAMES.get(k, k): v for k, v in result.bias_corrected("median").items()}
        rows = [(*row[:5], corrected.get(row[0], np.nan), median.get(row[0], np.nan)) for row in rows]
    columns = ["parameter", "interval", "low", "high", "estimate", "corrected", "corrected_median"]
    return pd.DataFrame(rows, columns=columns)


def _rows(terms: pd.DataFrame, effects: pd.DataFrame, interval: str) -> list[tuple]:
    names = [*(NAMES.get(term, term) for term in terms["term"]), *effects["effect"]]
    columns = ["conf_low", "conf_high", "estimate"]
    numbers = np.concatenate([terms[columns].to_numpy(), effects[columns].to_numpy()])
    return [(name, interval, *row, np.nan, np.nan) for name, row in zip(names, numbers, strict=True)]


def run_cell(cell: Cell, replications: int, seed: int = SEED, workers: int = 1) -> pd.DataFrame:
    """Simulate one cell; one row per parameter and interval."""
    start = time.perf_counter()
    found = run_tasks(partial(replicate, cell, seed), range(replications), workers=workers)
    table = coverage_table(pd.concat(found), truth(cell))
    head = dict(zip(KEYS, (cell.n, cell.weights, cell.model, cell.estimator, cell.spatial), strict=True))
    for position, (key, given) in enumerate((head | {"replications": replications, "seed": seed}).items()):
        table.insert(position, key, given)
    return table.assign(seconds=round(time.perf_counter() - start, 1))


def coverage_table(draws: pd.DataFrame, truth: dict[str, float]) -> pd.DataFrame:
    """One row per parameter and interval, of rows with low, high and the point estimates of every panel."""
    rows = []
    for (name, interval), group in draws.groupby(["parameter", "interval"], sort=False):
        if name not in truth:
            continue
        value = truth[name]
        rows.append(
            {
                "parameter": name,
                "interval": interval,
                "truth": value,
                "used": len(group),
                "coverage": ((group["low"] <= value) & (value <= group["high"])).mean(),
                "median_length": (group["high"] - group["low"]).median(),
                "bias": group["estimate"].mean() - value,
                "bias_corrected": group["corrected"].mean() - value,
                "bias_corrected_median": group["corrected_median"].mean() - value,
            }
        )
    return pd.DataFrame(rows)


def panels(cell: Cell, replications: int) -> int:
    """How many panels a cell has."""
    return min(replications, PANELS_BOTH) if cell.model == "SAC" else replications


def run(replications: int = 200, workers: int = 1, seed: int = SEED) -> None:
    """Simulate what is missing; the table is written after every cell."""
    wanted = {astuple(cell): cell for cell in design()}

    def kept(done: pd.DataFrame) -> pd.Series:
        number = done["model"].map(lambda model: panels(Cell(0, "", model), replications))
        return (done["replications"] == number) & (done["seed"] == seed)

    complete(
        TABLE,
        KEYS,
        wanted,
        lambda cell: run_cell(cell, panels(cell, replications), seed, workers),
        kept,
    )
