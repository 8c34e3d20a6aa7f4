"""Size of bootstrap p-values, for every test whose usual p-value may be off, wherever it is measured.

The panels of :mod:`validation.sizes`. Of each panel one more is drawn under the null of every test
(:mod:`spatial_zb.null_panels`), and its statistic joins one pool per place, whose 95 % point is the critical value: the
bootstrap test with many draws for the price of one (Giacomini, Politis & White 2013, Econometric Theory 29: 567-589).
The critical value has the noise of its pool, so that the error at 5 % is √2 times the binomial one: 1.0 percentage
points at 1,000 panels, 1.8 at 300.
"""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pandas as pd

import spatial_zb as zb
from spatial_zb.execute import run_tasks
from spatial_zb.hypotheses.case import make_case
from spatial_zb.hypotheses.chain import GROUPS, run_tests
from spatial_zb.null_panels import extremeness, one_draw

from .places import OUT, complete, weights
from .sizes import KEYS, LEVEL, SEED, SPATIAL_TRUTHS, STRENGTHS, draw, jobs, strength

TABLE = OUT / "null_sizes.csv"
#: Truth → tests of it whose law is not exact, or that are read in place of one.
TESTS = {
    "independent errors, no effects": (
        "LR unit effects",
        "LR time effects",
        "LR unit and time effects",
        "LM random effects (Breusch-Pagan)",
        "LM random effects and spatial error, joint (BSK)",
        "LM random effects, marginal (BSK)",
        "LM spatial error, marginal (BSK)",
    ),
    "random unit effects unrelated to x": (
        "Hausman",
        "Mundlak",
        "LM spatial error given random effects (BSK)",
    ),
} | {name.format(f"{c:g}"): tests for c in STRENGTHS if c for name, tests in SPATIAL_TRUTHS.items()}


def replicate(
    job: tuple[str, str, int, str], seed: np.random.SeedSequence
) -> list[tuple[str, float, float, float]]:
    """(test, p-value, how far out the statistic is, how far out one drawn under the null is) of one panel."""
    truth, effects, n, kind = job
    W = weights(n, kind)
    panel = draw(truth, W, np.random.default_rng(seed))
    case = make_case(zb.DurbinSpec("y", ["a", "b"], fixed_effects=effects), panel, W, "lee_yu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        rows = run_tests(case, tuple(GROUPS), TESTS[truth])
        drawn = one_draw(case, [row.test for row in rows], seed.spawn(1)[0])
    return [
        (row.test, row.p_value, extremeness(row, row.statistic), drawn.get(row.test, np.nan)) for row in rows
    ]


def measure(
    job: tuple[str, str, int, str], root: np.random.SeedSequence, replications: int, workers: int
) -> pd.DataFrame:
    """Share of rejections at 5 % of each test, by its usual law and by the pool of draws."""
    found = run_tasks(partial(replicate, job), root.spawn(replications), workers=workers)
    draws = pd.DataFrame([row for rows in found for row in rows], columns=["test", "usual", "own", "drawn"])
    rows = []
    for test, group in draws.groupby("test", sort=False):
        own, pool = group["own"].dropna(), group["drawn"].dropna()
        rows.append(
            {
                "test": test,
                "usual": float((group["usual"].dropna() < LEVEL).mean()),
                "bootstrap": float((own > pool.quantile(1 - LEVEL)).mean()) if len(pool) else np.nan,
                "undefined": float(group["own"].isna().mean()),
                "undefined_draws": float(group["drawn"].isna().mean()),
            }
        )
    table = pd.DataFrame(rows)
    for position, (name, value) in enumerate(zip(KEYS, job, strict=True)):
        table.insert(position, name, value)
    return table.assign(replications=replications, replicates=1)


def _asked(job: tuple[str, str, int, str]) -> bool:
    """Two-way effects everywhere; unit effects where simplifications of SDM are off, under a dense W."""
    truth, effects, _, kind = job
    return effects == "two_way" or (truth.startswith("SEM") and kind != "contiguity")


def run(replications: int = 300, workers: int = 1) -> None:
    """Measure what is missing, job by job."""
    every = jobs()
    roots = dict(zip(every, np.random.SeedSequence(SEED).spawn(len(every)), strict=True))
    wanted = [job for job in every if job[0] in TESTS and job[2] < 90 and _asked(job)]
    complete(
        TABLE,
        KEYS,
        {job: job for job in sorted(wanted, key=lambda job: -strength(job[0]))},
        lambda job: measure(job, roots[job], replications, workers),
        lambda done: (done["replications"] >= replications) & (done["replicates"] == 1),
    )
