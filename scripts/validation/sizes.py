"""How often every test of the chain rejects a true null hypothesis.

Simulated data on real maps, T = 11, normal errors, two regressors; contiguity and dense inverse distance, 11, 41 and 90
units. Each block of tests gets a truth under which its null hypothesis holds, at ρ or λ of 0, 0.3 and 0.6 where the null
leaves one open. A binomial standard error at 5 % is 0.5 percentage points at 2,000 replications, 0.7 at 1,000. A second
run keeps what is there with as many replications.
"""

from __future__ import annotations

import re
import warnings
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
from scipy import stats

import spatial_zb as zb
from spatial_zb.base.execute import run_tasks
from spatial_zb.core.likelihood.tests import weight_moments
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.hypotheses import make_case
from spatial_zb.hypotheses.case import lag_error_with
from spatial_zb.hypotheses.nulls import GROUPS, run_tests

from .places import KINDS, OUT, PERIODS, SIZES, complete, weights

TABLE = OUT / "test_size.csv"
SEED = 20240607
LEVEL = 0.05
#: A size outside these, by more than twice the error of its simulation, is off.
BOUNDS = 0.04, 0.06
BETA = {"a": 1.0, "b": -1.0}
#: Truth → the tests whose null hypothesis it satisfies.
TRUTHS = {
    "independent errors, no effects": (
        "LM lag",
        "LM error",
        "LM lag, robust",
        "LM error, robust",
        "LM lag and error, joint",
        "F Durbin terms, OLS to SLX",
        "F unit effects",
        "LR unit effects",
        "F time effects",
        "LR time effects",
        "F unit and time effects",
        "LR unit and time effects",
        "LM random effects (Breusch-Pagan)",
        "LM random effects and spatial error, joint (BSK)",
        "LM random effects, marginal (BSK)",
        "LM spatial error, marginal (BSK)",
        "CD (Pesaran)",
        "Moran of residuals",
    ),
    "random unit effects unrelated to x": (
        "Hausman",
        "Mundlak",
        "LM spatial error given random effects (BSK)",
    ),
}
#: The same for truths with a spatial coefficient, {} in their name.
SPATIAL_TRUTHS = {
    "SAR, rho = {}, unit effects": (
        "LM error, robust",
        "LM Durbin terms from SAR",
        "Wald SDM to SAR",
        "LR SDM to SAR",
        "LM error from SAR",
        "LM error from SDM",
    ),
    "SEM, lam = {}, no unit effects": (
        "LM lag, robust",
        "LM common factor from SEM",
        "Wald SDM to SEM",
        "LR SDM to SEM",
        "LM lag from SEM",
        "LM random effects given spatial error (BSK)",
    ),
    "SAR, rho = {}, random effects unrelated to x": ("Hausman, spatial", "Mundlak, spatial"),
}
STRENGTHS = (0.3, 0.6, 0.0)
TRUTHS |= {name.format(f"{c:g}"): tests for c, (name, tests) in product(STRENGTHS, SPATIAL_TRUTHS.items())}
#: Measured first, and first in the order of their streams.
FIRST = (
    "independent errors, no effects",
    "SAR, rho = 0.3, unit effects",
    "SEM, lam = 0.3, no unit effects",
    "random unit effects unrelated to x",
    "SAR, rho = 0.3, random effects unrelated to x",
)


KEYS = ["truth", "effects", "n", "weights"]


def strength(truth: str) -> float:
    """ρ or λ of a truth."""
    found = re.search(r"= ([\d.]+)", truth)
    return float(found[1]) if found else 0.0


def draw(truth: str, W: zb.Weights, rng: np.random.Generator) -> zb.Panel:
    """One panel under a truth."""
    plain, c = {"unit_effects": 0.0, "time_effects": 0.0, "rng": rng}, strength(truth)
    if "random effects" in truth:
        panel, mu = zb.simulate.durbin(W, PERIODS, BETA, rho=c, **plain), rng.standard_normal(W.n)
        return panel.with_columns({"y": panel.array("y") + (filter_solver(W.matrix, c)(mu) if c else mu)})
    if truth.startswith("SAR"):
        return zb.simulate.durbin(
            W, PERIODS, BETA, rho=c, process=zb.simulate.Process(time_effects=0.0), rng=rng
        )
    if truth.startswith("SEM"):
        return zb.simulate.durbin(W, PERIODS, BETA, lam=c, **plain)
    panel = zb.simulate.durbin(W, PERIODS, BETA, **plain)
    if truth.startswith("random"):
        return panel.with_columns({"y": panel.array("y") + rng.standard_normal(W.n)})
    return panel


def usual(case) -> dict[str, float]:
    """p-values of the usual formulas: neither centred, nor counted on n − 1 dimensions."""
    tests = lag_error_with(case, weight_moments(case.weights.matrix, False))
    return {
        "LM lag": stats.chi2.sf(tests.lag, 1),
        "LM error": stats.chi2.sf(tests.error, 1),
        "LM lag, robust": stats.chi2.sf(tests.robust_lag, 1),
        "LM error, robust": stats.chi2.sf(tests.robust_error, 1),
        "LM lag and error, joint": stats.chi2.sf(tests.joint, 2),
    }


def one(truth: str, effects: str, W: zb.Weights, seed: np.random.SeedSequence) -> pd.DataFrame:
    """p-values of one simulated panel."""
    panel = draw(truth, W, np.random.default_rng(seed))
    case = make_case(zb.DurbinSpec("y", ["a", "b"], fixed_effects=effects), panel, W, "lee_yu")
    found = run_tests(case, tuple(GROUPS), TRUTHS[truth])
    rows = [(r.test, r.of, r.p_value, False) for r in found]
    if "LM lag" in TRUTHS[truth]:
        rows += [(name, "", p, True) for name, p in usual(case).items()]
    return pd.DataFrame(rows, columns=["test", "of", "p_value", "usual"])


def jobs() -> list[tuple[str, str, int, str]]:
    """Truth, effects, n and W; contiguity of 11 and 41 units was measured first, and its streams come first."""
    effects = ("unit", "two_way")
    first = list(product(FIRST, effects, SIZES[:2], KINDS[:1]))
    later = [job for job in product(FIRST, effects, SIZES, KINDS) if job not in first]
    others = [truth for truth in TRUTHS if truth not in FIRST]
    return [*first, *later, *product(others, effects, SIZES, KINDS)]


def replicate(job: tuple[str, str, int, str], seed: np.random.SeedSequence) -> pd.DataFrame:
    """One panel, in silence."""
    truth, effects, n, kind = job
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        return one(truth, effects, weights(n, kind), seed)


def measure(
    job: tuple[str, str, int, str], root: np.random.SeedSequence, replications: int, workers: int
) -> pd.DataFrame:
    """Share of p-values below 5 %, share undefined, by test of one job."""
    frame = pd.concat(run_tasks(partial(replicate, job), root.spawn(replications), workers=workers))
    frame["of"] = frame["of"].where(frame["of"].isin(["", "pooled"]), "each period")
    grouped = frame.groupby(["test", "of", "usual"], sort=False)["p_value"]
    table = pd.DataFrame(
        {
            "size": grouped.apply(lambda p: float((p.dropna() < LEVEL).mean())),
            "undefined": grouped.apply(lambda p: float(p.isna().mean())),
        }
    ).reset_index()
    for position, (name, value) in enumerate(zip(KEYS, job, strict=True), start=2):
        table.insert(position, name, value)
    return table.assign(replications=replications, periods=PERIODS, nominal=LEVEL)


def run(replications: int = 400, workers: int = 1) -> None:
    """Measure what is missing; the table is written after every job."""
    every = jobs()
    roots = dict(zip(every, np.random.SeedSequence(SEED).spawn(len(every)), strict=True))
    complete(
        TABLE,
        KEYS,
        {job: job for job in every},
        lambda job: measure(job, roots[job], replications, workers),
        lambda done: done.groupby(KEYS)["replications"].transform("min") >= replications,
    )
