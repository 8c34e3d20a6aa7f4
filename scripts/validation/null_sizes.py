"""Size of bootstrap p-values, for every test whose usual p-value may be off, wherever it is measured.

The panels of :mod:`validation.sizes`, in two ways. Tests whose null is a static model with fixed effects have the
bootstrap p-value of every panel, from 199 draws. Of the others one panel is drawn under the null of each, and its
statistic joins one pool per place, whose 95 % point is the critical value: the bootstrap test with many draws for the
price of one (Giacomini, Politis & White 2013, Econometric Theory 29: 567-589). The critical value has the noise of its
pool, so that the error at 5 % is √2 times the binomial one: 1.0 percentage points at 1,000 panels.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

import spatial_zb as zb
from spatial_zb.execute import run_tasks
from spatial_zb.hypotheses.case import make_case
from spatial_zb.hypotheses.chain import GROUPS, run_tests
from spatial_zb.hypotheses.replicated import REPLICATED
from spatial_zb.null_panels import extremeness, one_draw, with_p_values
from spatial_zb.recommendation import Row

from .places import OUT, complete, weights
from .sizes import KEYS, LEVEL, SEED, SPATIAL_TRUTHS, STRENGTHS, TRUTHS, draw, jobs, strength

TABLE = OUT / "null_sizes.csv"
#: Draws per panel, and of a pool.
DRAWS, POOL = 199, 1
#: Truth → tests of it with a pool: whose law is not exact, or that are read in place of one.
POOLED = {
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
} | {
    name.format(f"{c:g}"): tuple(test for test in tests if test not in REPLICATED)
    for c in STRENGTHS
    if c
    for name, tests in SPATIAL_TRUTHS.items()
}
#: Truth → tests of it that every panel has a p-value of.
DRAWN = {truth: tuple(test for test in tests if test in REPLICATED) for truth, tests in TRUTHS.items()}

Job = tuple[str, str, int, str]


def tested(job: Job, seed: np.random.SeedSequence, tests: Sequence[str]) -> tuple:
    """One panel of a job, and the rows of its tests: the pooled one of those that periods have as well."""
    truth, effects, n, kind = job
    W = weights(n, kind)
    panel = draw(truth, W, np.random.default_rng(seed))
    case = make_case(zb.DurbinSpec("y", ["a", "b"], fixed_effects=effects), panel, W, "lee_yu")
    return case, [row for row in run_tests(case, tuple(GROUPS), tests) if row.of in ("", "pooled")]


def drawn(job: Job, seed: np.random.SeedSequence) -> list[tuple[str, float, float]]:
    """(test, usual p-value, bootstrap p-value) of one panel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        case, rows = tested(job, seed, DRAWN[job[0]])
        rows = with_p_values(case, rows, DRAWS, seed.spawn(1)[0], {})
    return [(row.test, row.p_value, row.p_bootstrap) for row in rows]


def pooled(job: Job, seed: np.random.SeedSequence) -> list[tuple[str, float, float, float]]:
    """(test, usual p-value, how far out the statistic is, how far out one drawn under the null is) of one panel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        case, rows = tested(job, seed, POOLED[job[0]])
        far = one_draw(case, [row.test for row in rows], seed.spawn(1)[0])
    return [(row.test, row.p_value, _far(row), far.get(row.test, np.nan)) for row in rows]


def _far(row: Row) -> float:
    return float(extremeness(row, row.statistic))


def measure_drawn(found: list[list[tuple[str, float, float]]]) -> pd.DataFrame:
    """Share of rejections at 5 % of each test, by its usual law and by its bootstrap p-value."""
    panels = pd.DataFrame([row for rows in found for row in rows], columns=["test", "usual", "p"])
    grouped = panels.groupby("test", sort=False)
    return pd.DataFrame(
        {
            "usual": grouped["usual"].apply(lambda p: float((p.dropna() < LEVEL).mean())),
            "bootstrap": grouped["p"].apply(lambda p: float((p.dropna() <= LEVEL + 1e-9).mean())),
            "undefined": grouped["usual"].apply(lambda p: float(p.isna().mean())),
            "undefined_draws": grouped["p"].apply(lambda p: float(p.isna().mean())),
        }
    ).reset_index()


def measure_pooled(found: list[list[tuple[str, float, float, float]]]) -> pd.DataFrame:
    """The same by the pool of draws."""
    panels = pd.DataFrame([row for rows in found for row in rows], columns=["test", "usual", "own", "drawn"])
    rows = []
    for test, group in panels.groupby("test", sort=False):
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
    return pd.DataFrame(rows)


def measure(
    cell: tuple[Job, int], root: np.random.SeedSequence, replications: int, workers: int
) -> pd.DataFrame:
    """The table of one job."""
    job, replicates = cell
    one, summary = (drawn, measure_drawn) if replicates == DRAWS else (pooled, measure_pooled)
    table = summary(run_tasks(partial(one, job), root.spawn(replications), workers=workers))
    for position, (name, value) in enumerate(zip(KEYS, job, strict=True)):
        table.insert(position, name, value)
    return table.assign(replications=replications, replicates=replicates)


def _pool_asked(job: Job) -> bool:
    """Two-way effects up to 41 units; unit effects under SEM and a dense W as well."""
    truth, effects, n, kind = job
    asked = effects == "two_way" or (truth.startswith("SEM") and kind != "contiguity")
    return n < 90 and bool(POOLED.get(truth)) and asked


def run(replications: int = 1000, workers: int = 1) -> None:
    """Measure what is missing, job by job: few units and a dense W first."""
    every = jobs()
    roots = dict(zip(every, np.random.SeedSequence(SEED).spawn(len(every)), strict=True))
    order = sorted(every, key=lambda job: (job[2], job[3] == "contiguity", -strength(job[0])))
    cells = [(job, DRAWS) for job in order if DRAWN[job[0]]]
    cells += [(job, POOL) for job in order if _pool_asked(job)]
    complete(
        TABLE,
        [*KEYS, "replicates"],
        {(*job, replicates): (job, replicates) for job, replicates in cells},
        lambda cell: measure(cell, roots[cell[0]], replications, workers),
        lambda done: (
            (done["replications"] >= replications) & (done["replicates"] == DRAWS)
            | (done["replicates"] == POOL) & ~done["test"].isin(REPLICATED)
        ),
    )
