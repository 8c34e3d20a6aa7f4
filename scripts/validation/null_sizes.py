"""Size of bootstrap p-values, for every test whose usual p-value may be off, wherever it is measured.

The panels of :mod:`validation.sizes`, in two ways. Tests whose null is a static model with fixed effects have the
bootstrap p-value of every panel, from 199 draws. Of the others one panel is drawn under the null of each, and its
statistic joins one pool per place, whose 95 % point is the critical value: the bootstrap test with many draws for the
price of one (Giacomini, Politis & White 2013, Econometric Theory 29: 567-589). The critical value has the noise of its
pool, so that the error at 5 % is √2 times the binomial one: 1.0 percentage points at 1,000 panels.
"""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pandas as pd

import spatial_zb as zb
from spatial_zb.base.execute import run_tasks
from spatial_zb.base.results import Row
from spatial_zb.base.text import Text
from spatial_zb.hypotheses import make_case
from spatial_zb.hypotheses.case import Case
from spatial_zb.hypotheses.nulls import GROUPS, extremeness, one_draw, run_tests, with_p_values
from spatial_zb.hypotheses.replicated import PREPIVOTED, REPLICATED, replicated_statistics

from .places import OUT, complete, weights
from .sizes import KEYS, LEVEL, SEED, SPATIAL_TRUTHS, STRENGTHS, TRUTHS, draw, jobs, strength

TABLE = OUT / "null_sizes.csv"
#: Draws per panel, and of a pool.
DRAWS, POOL = 199, 1
#: Truth → tests of it with a pool where they are not drawn: whose law is not exact, or that are read in place of one.
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
} | {name.format(f"{c:g}"): tests for c in STRENGTHS if c for name, tests in SPATIAL_TRUTHS.items()}
#: Truth → tests of it that every panel has a p-value of.
DRAWN = {truth: tuple(test for test in tests if test in REPLICATED) for truth, tests in TRUTHS.items()}
#: Where all of these are drawn; elsewhere only the robust ones. Those only where their null leaves a coefficient that is
#: not zero: at zero their usual p-values hold.
WHOLE = {("inverse distance", "unit", 11), ("inverse distance", "unit", 41)}
#: Degrees of freedom of tests whose both sides reject: none.
NORMAL = {"Moran of residuals": np.nan}
#: p-values are multiples of 1/200.
ROUNDING = 1e-9

Job = tuple[str, str, int, str]


def simulated(job: Job, seed: np.random.SeedSequence) -> Case:
    """One panel of a job."""
    truth, effects, n, kind = job
    W = weights(n, kind)
    panel = draw(truth, W, np.random.default_rng(seed))
    return make_case(zb.DurbinSpec("y", ["a", "b"], fixed_effects=effects), panel, W, "lee_yu")


def tests_drawn(job: Job) -> tuple[str, ...]:
    """What every panel of a job has a p-value of."""
    truth, effects, n, kind = job
    whole = (kind, effects, n) in WHOLE
    return tuple(test for test in DRAWN[truth] if (strength(truth) if test in PREPIVOTED else whole))


def tests_pooled(job: Job) -> tuple[str, ...]:
    """What is pooled of a job: two-way effects up to 41 units, unit effects under SEM and a dense W as well."""
    truth, effects, n, kind = job
    asked = effects == "two_way" or (truth.startswith("SEM") and kind != "contiguity")
    if n == 90 or not asked:
        return ()
    other = {*PREPIVOTED, *tests_drawn(job)}
    return tuple(test for test in POOLED.get(truth, ()) if test not in other)


def drawn(job: Job, seed: np.random.SeedSequence) -> list[tuple[str, float]]:
    """(test, bootstrap p-value) of one panel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        case = simulated(job, seed)
        own = replicated_statistics(case, tests_drawn(job), case.panel.array("y")[None])
        rows = [
            Row(test, float(value[0]), NORMAL.get(test, 1.0), 1.0, Text("", ""), of)
            for (test, of), value in own.items()
            if of in ("", "pooled")
        ]
        rows = with_p_values(case, rows, DRAWS, seed.spawn(1)[0], {})
    return [(row.test, row.p_bootstrap) for row in rows]


def pooled(job: Job, seed: np.random.SeedSequence) -> list[tuple[str, float, float]]:
    """(test, how far out its statistic is, how far out one drawn under its null is) of one panel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        case = simulated(job, seed)
        rows = run_tests(case, tuple(GROUPS), tests_pooled(job))
        far = one_draw(case, [row.test for row in rows], seed.spawn(1)[0])
    return [(row.test, float(extremeness(row, row.statistic)), far.get(row.test, np.nan)) for row in rows]


def measure_drawn(found: list[list[tuple[str, float]]]) -> pd.DataFrame:
    """Share of bootstrap p-values of 5 % or less, and of panels without one."""
    panels = pd.DataFrame([row for rows in found for row in rows], columns=["test", "p"])
    grouped = panels.groupby("test", sort=False)["p"]
    return pd.DataFrame(
        {
            "bootstrap": grouped.apply(lambda p: float((p.dropna() < LEVEL + ROUNDING).mean())),
            "undefined": grouped.apply(lambda p: float(p.isna().mean())),
        }
    ).reset_index()


def measure_pooled(found: list[list[tuple[str, float, float]]]) -> pd.DataFrame:
    """The same by the pool of draws."""
    panels = pd.DataFrame([row for rows in found for row in rows], columns=["test", "own", "drawn"])
    rows = []
    for test, group in panels.groupby("test", sort=False):
        own, pool = group["own"].dropna(), group["drawn"].dropna()
        size = float((own > pool.quantile(1 - LEVEL)).mean()) if len(pool) else np.nan
        rows.append({"test": test, "bootstrap": size, "undefined": float(group["own"].isna().mean())})
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


def run(replications: int = 1000, workers: int = 1) -> None:
    """Measure what is missing, job by job: few units and a dense W first."""
    every = jobs()
    roots = dict(zip(every, np.random.SeedSequence(SEED).spawn(len(every)), strict=True))
    order = sorted(every, key=lambda job: (job[2], job[3] == "contiguity", -strength(job[0])))
    cells = [(job, DRAWS) for job in order if tests_drawn(job)]
    cells += [(job, POOL) for job in order if tests_pooled(job)]
    complete(
        TABLE,
        [*KEYS, "replicates"],
        {(*job, replicates): (job, replicates) for job, replicates in cells},
        lambda cell: measure(cell, roots[cell[0]], replications, workers),
        lambda done: (done["replications"] >= replications) | (done["replicates"] == POOL),
    )
