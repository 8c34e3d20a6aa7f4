"""Size of p-values by resampling, for the tests whose usual p-values are off at eleven units.

The panels of :mod:`validation.sizes` (contiguity, 11 units, two-way effects), as many of the first as there are
replications; 99 draws under the null of each test (:mod:`spatial_zb.null_panels`).
"""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

import spatial_zb as zb
from spatial_zb.execute import run_tasks
from spatial_zb.hypotheses import _case
from spatial_zb.null_panels import bootstrap_p_values

from .places import OUT, weights
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
        found = bootstrap_p_values(_case(spec, panel, W, "lee_yu"), table, REPLICATES, seed.spawn(1)[0], {})
    return [(row.test, row.p_value, row.p_bootstrap) for row in found.rows]


def run(replications: int = 200, workers: int = 1) -> None:
    """Measure what is missing, job by job."""
    done = pd.read_csv(TABLE) if TABLE.exists() else pd.DataFrame(columns=[*KEYS, "replications"])
    every = jobs()
    roots = np.random.SeedSequence(SEED).spawn(len(every))
    parts = []
    for job, root in zip(every, roots, strict=True):
        if job[0] not in TESTS or job[1:] != ("two_way", 11, "contiguity"):
            continue
        here = done[(done[KEYS] == list(job)).all(axis=1) & (done["replications"] >= replications)]
        if len(here):
            parts.append(here)
            continue
        start = time.perf_counter()
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
        parts.append(table.assign(replications=replications, replicates=REPLICATES))
        pd.concat(parts, ignore_index=True).to_csv(TABLE, index=False, float_format="%.6g")
        print(job, f"{time.perf_counter() - start:.0f} s", flush=True)
