"""How often the tests of errors reject, and fits warn of their errors: true hypotheses and false ones.

Simulated data on real maps, spatial Durbin model with two-way effects, two regressors with first-order correlation 0.7.
Errors are independent, of unequal variances between units or over time, of heavy tails, correlated over time, larger
where (W²)_ii is, or share a factor; a cross-section has the tests of one. A second run keeps what is there with as many
replications.
"""

from __future__ import annotations

import warnings
from functools import partial
from itertools import product

import numpy as np
import pandas as pd

import spatial_zb as zb
from spatial_zb.base.execute import run_tasks
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.hypotheses import make_case
from spatial_zb.hypotheses.nulls import run_tests

from .places import OUT, complete, weights

TABLE = OUT / "errors.csv"
SEED = 20261130
LEVEL = 0.05
KEYS = ["errors", "n", "periods"]
BETA, THETA, RHO, PERSISTENT = (1.0, 0.5), (0.5, -0.3), 0.3, 0.7
SERIAL = "Serial correlation (LM*)", "Serial correlation, forward and backward"
VARIANCES = "Variances and diagonal of G", "Variances and place in W"
BETWEEN = "Cross-section dependence"
#: What a fit may say: the kind of its note.
SAYS = {"correlated_over_time": "fit warns of serial correlation", "variances_tied": "fit warns of variances"}
#: Errors → the tests, and notes of a fit, whose hypothesis they make false.
PANEL: dict[str, tuple[str, ...]] = {
    "independent": (),
    "unit variances": (),
    "variance × 16 over time": (),
    "t(5)": (),
    "period shocks of sd 10": (),
    "AR 0.3": (*SERIAL, "correlated_over_time"),
    "AR 0.6": (*SERIAL, "correlated_over_time"),
    "AR 0.6, unit variances": (*SERIAL, "correlated_over_time"),
    "sd × 2 at high (W²)_ii": (*VARIANCES, "variances_tied"),
    "sd × 3 at high (W²)_ii": (*VARIANCES, "variances_tied"),
    "factor": (BETWEEN,),
}
CROSS_SECTION: dict[str, tuple[str, ...]] = {
    "independent": (),
    "t(5)": ("Jarque-Bera",),
    "sd by regressor": ("Breusch-Pagan", "Koenker-Bassett", "Jarque-Bera"),
}

Job = tuple[str, int, int]


def jobs() -> list[Job]:
    """Errors, n and T."""
    panels = product(PANEL, (11, 41), (5, 13))
    return [*panels, *product(CROSS_SECTION, (41, 90), (1,))]


def persistent(a: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Stationary AR(1) along the first axis, of unit variance."""
    out = rng.standard_normal(shape)
    out[1:] *= np.sqrt(1 - a * a)
    for t in range(1, shape[0]):
        out[t] += a * out[t - 1]
    return out


def draw_errors(name: str, W: zb.Weights, X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(T, n), with shocks of periods where there are several."""
    T = len(X)
    u = unit_errors(name, W, X, rng)
    return u + (10 if "shocks" in name else 1) * rng.standard_normal((T, 1)) if T > 1 else u


def unit_errors(name: str, W: zb.Weights, X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(T, n), without shocks of periods."""
    T, n = X.shape[:2]
    u = persistent(float(name[3:6]) if name.startswith("AR") else 0.0, (T, n), rng)
    if "unit variances" in name:
        u = u * np.exp(0.5 * rng.standard_normal(n))
    if "over time" in name:
        u = u * np.linspace(0.5, 2, T)[:, None]
    if name == "t(5)":
        u = u * np.sqrt(3 / rng.chisquare(5, (T, n)))
    if name.startswith("sd ×"):
        own = W.matrix.multiply(W.matrix.T).sum(axis=1)
        u = u * np.where(own > np.quantile(own, 0.75), float(name[5]), 1.0)
    if name == "sd by regressor":
        u = u * np.exp(0.4 * X[..., 0])
    if name == "factor":
        u = u + rng.standard_normal((T, 1)) * 0.7 * rng.standard_normal(n)
    return u


def draw(job: Job, W: zb.Weights, rng: np.random.Generator) -> zb.Panel:
    """One panel."""
    name, n, T = job
    X = persistent(PERSISTENT, (T, n, 2), rng)
    lagged = np.stack([X[..., j] @ W.matrix.T for j in range(2)], axis=2)
    y = X @ BETA + lagged @ THETA + rng.standard_normal(n) * (T > 1) + draw_errors(name, W, X, rng)
    y = filter_solver(W.matrix, RHO)(y.T).T
    values = np.concatenate([y[..., None], X], axis=2)
    return zb.Panel(values, tuple(range(2000, 2000 + T)), W.ids, ("y", "a", "b"))


def replicate(job: Job, seed: np.random.SeedSequence) -> pd.DataFrame:
    """p-values of one panel, and what its fit says (p = 0 where it does, else 1)."""
    _, n, T = job
    W = weights(n, "contiguity")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        panel = draw(job, W, np.random.default_rng(seed))
        spec = zb.DurbinSpec("y", ["a", "b"], fixed_effects="two_way" if T > 1 else "none")
        rows = run_tests(make_case(spec, panel, W, "lee_yu", seed), ("errors",))
        found = [(row.test, row.p_value) for row in rows if np.isfinite(row.p_value)]
        if T > 1:
            said = {note.kind.name for note in zb.fit_durbin(spec, panel, W).notes}
            found += [(kind, float(kind not in said)) for kind in SAYS]
    return pd.DataFrame(found, columns=["test", "p_value"])


def measure(job: Job, root: np.random.SeedSequence, replications: int, workers: int) -> pd.DataFrame:
    """Share of p-values of at most 5 % by test of one job."""
    frame = pd.concat(run_tasks(partial(replicate, job), root.spawn(replications), workers=workers))
    table = frame.groupby("test", sort=False)["p_value"].agg(lambda p: float((p <= LEVEL).mean()))
    false = (PANEL if job[2] > 1 else CROSS_SECTION)[job[0]]
    out = table.rename("rejects").reset_index()
    for position, (key, value) in enumerate(zip(KEYS, job, strict=True), start=1):
        out.insert(position, key, value)
    out["hypothesis"] = np.where(out["test"].isin(false), "violated", "holds")
    out["test"] = out["test"].replace(SAYS)
    return out.assign(replications=replications)


def run(replications: int = 400, workers: int = 1) -> None:
    """Measure what is missing; the table is written after every job."""
    every = jobs()
    roots = dict(zip(every, np.random.SeedSequence(SEED).spawn(len(every)), strict=True))
    complete(
        TABLE,
        KEYS,
        {job: job for job in every},
        lambda job: measure(job, roots[job], replications, workers),
        lambda done: done["replications"] >= replications,
    )
