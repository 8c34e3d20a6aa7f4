"""Size of p-values by resampling, for the tests whose usual p-values are off at eleven units.

The panels of :mod:`validation.sizes` (contiguity, 11 units, two-way effects), as many of the first as there are
replications; 99 draws under the null of each test (:mod:`spatial_zb.null_panels`).
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

import spatial_zb as zb
from spatial_zb.execute import run_tasks
from spatial_zb.hypotheses.case import make_case
from spatial_zb.null_panels import bootstrap_p_values

from .places import OUT, complete, weights
from .sizes import KEYS, LEVEL, SEED, draw, jobs

TABLE = OUT / "null_sizes.csv"
REPLICATES = 99
#: Truth → tests of it that are off, or that stand beside one that is.
TESTS = {
    "independent errors, no effects": (
        "LR unit effects",
        "LR time effects",
        "LR unit and time effects",
        "LM random effects (Breusch-Pagan)",
        "LM random effects, marginal (BSK)",
    ),
    "SAR, rho = 0.3, unit effects": ("Wald SDM to SAR", "LR SDM to SAR"),
    "SEM, lam = 0.3, no unit effects": ("LM random effects given spatial error (BSK)",),
    "random unit effects unrelated to x": ("Hausman", "Mundlak"),
}


def replicate(job: tuple[str, str, int, str], seed: np.random.SeedSequence) -> list[tuple[str, float, float]]:
    """(test, p-value, bootstrap p-value) on one panel."""
    truth, effects, n, kind = job
    W = weights(n, kind)
    panel = draw(truth, W, np.random.default_rng(seed))
    spec = zb.DurbinSpec("y", ["a", "b"], fixed_effects=effects)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        table = zb.diagnose(spec, panel, W)
        table = replace(table, rows=tuple(row for row in table.rows if row.test in TESTS[truth]))
        found = bootstrap_p_values(
            make_case(spec, panel, W, "lee_yu"), table, REPLICATES, seed.spawn(1)[0], {}
        )
    return [(row.test, row.p_value, row.p_bootstrap) for row in found.rows]


def measure(
    job: tuple[str, str, int, str], root: np.random.SeedSequence, replications: int, workers: int
) -> pd.DataFrame:
    """Share of p-values below 5 % of each test, usual and bootstrap."""
    found = run_tasks(partial(replicate, job), root.spawn(replications), workers=workers)
    draws = pd.DataFrame([row for rows in found for row in rows], columns=["test", "usual", "bootstrap"])
    grouped = draws.groupby("test", sort=False)
    table = pd.DataFrame(
        {
            "usual": grouped["usual"].apply(lambda p: float((p.dropna() < LEVEL).mean())),
            "bootstrap": grouped["bootstrap"].apply(lambda p: float((p.dropna() <= LEVEL).mean())),
            "undefined": grouped["bootstrap"].apply(lambda p: float(p.isna().mean())),
        }
    ).reset_index()
    for position, (name, value) in enumerate(zip(KEYS, job, strict=True)):
        table.insert(position, name, value)
    return table.assign(replications=replications, replicates=REPLICATES)


def run(replications: int = 200, workers: int = 1) -> None:
    """Measure what is missing, job by job."""
    every = jobs()
    roots = dict(zip(every, np.random.SeedSequence(SEED).spawn(len(every)), strict=True))
    complete(
        TABLE,
        KEYS,
        {job: job for job in every if job[0] in TESTS and job[1:] == ("two_way", 11, "contiguity")},
        lambda job: measure(job, roots[job], replications, workers),
        lambda done: done["replications"] >= replications,
    )
