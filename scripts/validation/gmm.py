"""Spatial 2SLS and GMM with and without the bias of many instruments, and an interval that holds with weak ones.

The panels of the small-sample study (11, 41, 90 units, contiguity and a dense W, 11 periods, two-way effects), and SAR with
a further endogenous regressor; each panel is fitted by the textbook and by the corrected estimator. Medians count all fits;
means and coverage those inside the admissible interval, which alone claim a standard error. The table ``gmm.csv`` of
``docs/validation`` is written after every cell. Every panel has a seed of its own.
"""

from __future__ import annotations

import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product

import numpy as np
import pandas as pd

import spatial_zb as zb
from spatial_zb.models.durbin import WEAK_SPATIAL_ERROR
from spatial_zb.models.gmm import WEAK

from . import small_sample
from .places import KINDS, LEVEL, OUT, PERIODS, SIZES, complete, weights

TABLE = OUT / "gmm.csv"
SEED, ENDOGENEITY = small_sample.SEED, 0.6
MODELS = ("SAR", "SDM", "SAC", "SAR, endogenous w")
KEYS = ["n", "weights", "model", "spatial"]
Cell = tuple[int, str, str, float]
#: Of a fit: estimate and standard error by parameter; F of the first stage of Wy, whether inside and whether corrected.
Found = dict[str, tuple[float, float]]


def design() -> list[Cell]:
    """Every cell."""
    return [
        (n, kind, model, spatial)
        for spatial in small_sample.STRENGTHS
        for n, kind, model in product(SIZES, KINDS, MODELS)
    ]


def truth(cell: Cell) -> dict[str, float]:
    """True coefficients."""
    n, kind, model, spatial = cell
    if model in small_sample.MODELS:
        own = small_sample.truth(small_sample.Cell(n, kind, model, "gmm", spatial))
        return {name: own[name] for name in ("rho", "lam", "beta", "theta") if name in own}
    return {"rho": spatial, "beta": small_sample.BETA, "w": small_sample.THETA}


def draw(cell: Cell, index: int, seed: int = SEED) -> zb.Panel:
    """One panel; w = 0.8z + v, v correlated with the errors of y, both with unit and period effects."""
    n, kind, model, spatial = cell
    if model in small_sample.MODELS:
        return small_sample.draw(small_sample.Cell(n, kind, model, "gmm", spatial), seed, index)
    return endogenous_panel(
        weights(n, kind),
        np.random.default_rng([seed, n, len(kind), 90, round(100 * spatial), index]),
        spatial,
    )


def endogenous_panel(W: zb.Weights, rng: np.random.Generator, rho: float) -> zb.Panel:
    """y = ρWy + xβ + w/2 + effects + e with an instrument z for w."""
    panel = zb.simulate.durbin(W, PERIODS, {"x": small_sample.BETA}, rng=rng)
    shape = panel.array("x").shape
    e, z = rng.standard_normal(shape), rng.standard_normal(shape)
    v = ENDOGENEITY * e + np.sqrt(1 - ENDOGENEITY**2) * rng.standard_normal(shape)
    w = 0.8 * z + v
    effects = rng.standard_normal((1, W.n)) + rng.standard_normal((PERIODS, 1))
    right = small_sample.BETA * panel.array("x") + small_sample.THETA * w + effects + e
    y = np.linalg.solve(np.eye(W.n) - rho * W.matrix.toarray(), right.T).T
    return panel.with_columns({"y": y, "w": w, "z": z})


def specification(model: str) -> zb.DurbinSpec:
    """What is estimated, with two-way effects."""
    if model in small_sample.MODELS:
        return zb.DurbinSpec("y", ["x"], *small_sample.MODELS[model])
    return zb.DurbinSpec("y", ["x"], lag_x=[], endog=["w"], instruments=["z"])


def replicate(cell: Cell, index: int) -> dict[str, Found]:
    """One panel by both estimators, and the Anderson-Rubin limits where they are defined."""
    n, kind, model, _ = cell
    panel, out = draw(cell, index), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        for name, corrected in (("textbook", False), ("corrected", True)):
            fit = zb.fit_durbin(
                specification(model), panel, weights(n, kind), "gmm", bias_correction=corrected
            )
            names = [small_sample.NAMES.get(term, term) for term in fit.params.index]
            out[name] = dict(zip(names, zip(fit.params, fit.bse, strict=True), strict=True))
            out[name]["F"] = (fit.convergence.first_stage["rho"], np.nan)
            out[name]["inside"] = (fit.converged, fit.bias_correction)
    if model in ("SAR", "SDM"):
        limits = zb.anderson_rubin(fit)
        out["anderson_rubin"] = {
            "limits": (limits.conf_low, limits.conf_high),
            "held": (truth(cell)["rho"] in limits, np.nan),
            "open": limits.is_open,
        }
    return out


def run_cell(cell: Cell, replications: int, pool: ProcessPoolExecutor | None = None) -> pd.DataFrame:
    """Simulate one cell; one row per estimator and parameter."""
    start = time.perf_counter()
    mapper, options = (pool.map, {"chunksize": 50}) if pool else (map, {})
    found = list(mapper(partial(replicate, cell), range(replications), **options))
    true = truth(cell)
    rows = [
        {"estimator": estimator, "parameter": name} | _row([f[estimator] for f in found], name, value)
        for estimator in ("textbook", "corrected")
        for name, value in true.items()
    ]
    if "anderson_rubin" in found[0]:
        rows.append(_limits([f["anderson_rubin"] for f in found], true["rho"]))
    table = pd.DataFrame(rows)
    head = dict(zip(KEYS, cell, strict=True)) | {"replications": replications, "seed": SEED}
    for position, (key, value) in enumerate(head.items()):
        table.insert(position, key, value)
    return table.assign(seconds=round(time.perf_counter() - start, 1))


def _row(fits: list[Found], name: str, true: float) -> dict[str, float]:
    estimate, error = np.array([fit[name] for fit in fits]).T
    inside, corrected = np.array([fit["inside"] for fit in fits]).astype(bool).T
    strength = np.array([fit["F"][0] for fit in fits])
    quarter = np.subtract(*np.quantile(estimate, [0.75, 0.25])) / 1.349
    covered = np.abs(estimate - true)[inside] <= 1.959963984540054 * error[inside]
    warned = ~inside | (strength < WEAK) | (np.nan_to_num(error, nan=np.inf) > WEAK_SPATIAL_ERROR)
    return {
        "truth": true,
        "median_bias": np.median(estimate) - true,
        "median_error": np.sqrt(np.pi / 2) * quarter / np.sqrt(len(estimate)),
        "spread": quarter,
        "bias": estimate[inside].mean() - true,
        "bias_mcse": estimate[inside].std(ddof=1) / np.sqrt(inside.sum()),
        "coverage": covered.mean(),
        "coverage_mcse": np.sqrt(LEVEL * (1 - LEVEL) / inside.sum()),
        "inside": inside.mean(),
        "corrected": corrected.mean(),
        "median_std_error": np.median(error[inside]),
        "median_f": np.median(strength),
        "weak_f": (strength < WEAK).mean(),
        "warned": warned.mean(),
    }


def _limits(found: list[Found], true: float) -> dict[str, float | str]:
    """How often the Anderson-Rubin set holds ρ, is without bound above or on both sides, and is empty."""
    (low, high), (held, _), (open_low, open_high) = (
        np.array([f[name] for f in found], dtype=float).T for name in ("limits", "held", "open")
    )
    return {
        "estimator": "anderson_rubin",
        "parameter": "rho",
        "truth": true,
        "coverage": held.mean(),
        "coverage_mcse": np.sqrt(LEVEL * (1 - LEVEL) / len(held)),
        "open_high": open_high.mean(),
        "unbounded": (open_low * open_high).mean(),
        "empty": np.isnan(low).mean(),
        "length": np.nanmedian(high - low),
    }


def run(replications: int = 1000, workers: int = 1) -> None:
    """Simulate what is missing; the table is written after every cell."""
    pool = ProcessPoolExecutor(workers) if workers > 1 else None
    complete(
        TABLE,
        KEYS,
        {cell: cell for cell in design()},
        lambda cell: run_cell(cell, replications, pool),
        lambda done: (done["replications"] == replications) & (done["seed"] == SEED),
    )
    if pool:
        pool.shutdown()
