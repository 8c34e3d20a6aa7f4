"""The same quantities as PySAL's spreg computes them, on the same simulated panels.

Unit effects, SAR and SEM by ``Panel_FE_Lag`` and ``Panel_FE_Error`` (direct maximum likelihood after demeaning) beside
``fit_durbin``; LM tests of pooled least squares by ``panel_LMlag``, ``panel_LMerror``, their robust forms and
``BSK_tests`` beside ``diagnose``; ``panel_Hausman`` of SAR with random against fixed effects. Panels have unit effects
and x correlated with them for the estimators, no effects for the LM tests, and random effects for Hausman's.
"""

from __future__ import annotations

import contextlib
import io
import time
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

from .places import KINDS, OUT, PERIODS, SIZES, complete, weights

TABLE = OUT / "other_software.csv"
SEED = 20261126
KEYS = ["n", "weights", "model", "spatial"]
TESTS = {
    "LM lag": "panel_LMlag",
    "LM error": "panel_LMerror",
    "LM lag, robust": "panel_rLMlag",
    "LM error, robust": "panel_rLMerror",
}
#: Our names of the rows of spreg's ``BSK_tests``, in its order. Its tests of a spatial error are one-sided, ours are not.
BSK = (
    "LM random effects and spatial error, joint (BSK)",
    "LM random effects, marginal (BSK)",
    "LM spatial error, marginal (BSK)",
    "LM spatial error given random effects (BSK)",
    "LM random effects given spatial error (BSK)",
)
#: ρ of the panels of Hausman's test.
RHO = 0.3


def design() -> list[tuple[int, str, str, float]]:
    """n, W, SAR or SEM or the tests or Hausman's, ρ or λ."""
    places = list(product(SIZES, KINDS))
    fits = [(n, k, model, c) for c, model, (n, k) in product((0.3, 0.0, 0.6), ("SAR", "SEM"), places)]
    tests = [(n, k, "tests", 0.0) for n, k in places]
    return [*fits, *tests, *((n, k, "Hausman", RHO) for n, k in places)]


def pysal_weights(W: zb.Weights):
    """The same matrix as a libpysal W in the same order."""
    from libpysal.weights import W as PysalW

    rows = [W.matrix.indices[W.matrix.indptr[i] : W.matrix.indptr[i + 1]] for i in range(W.n)]
    data = [W.matrix.data[W.matrix.indptr[i] : W.matrix.indptr[i + 1]] for i in range(W.n)]
    ids = list(range(W.n))
    return PysalW(
        {i: list(map(int, rows[i])) for i in ids},
        {i: list(map(float, data[i])) for i in ids},
        id_order=ids,
        silence_warnings=True,
    )


def replicate(
    cell: tuple[int, str, str, float], seed: int, index: int
) -> list[tuple[str, str, float, float]]:
    """(program, parameter, estimate, standard error), or (program, test, p-value, NaN)."""
    n, kind, model, spatial = cell
    W = weights(n, kind)
    rng = np.random.default_rng([seed, n, len(kind), len(model), round(100 * spatial), index])
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if model == "tests":
            panel = zb.simulate.durbin(
                W, PERIODS, {"x": 1.0}, process=zb.simulate.Process(unit_effects=0, time_effects=0), rng=rng
            )
            return _tests(panel, W)
        if model == "Hausman":
            panel = zb.simulate.durbin(
                W,
                PERIODS,
                {"x": 1.0},
                rho=RHO,
                process=zb.simulate.Process(unit_effects=0, time_effects=0),
                rng=rng,
            )
            mu = filter_solver(W.matrix, RHO)(rng.standard_normal(n))
            return _hausman(panel.with_columns({"y": panel.array("y") + mu}), W)
        strength = {"rho" if model == "SAR" else "lam": spatial}
        panel = zb.simulate.durbin(
            W, PERIODS, {"x": 1.0}, process=zb.simulate.Process(time_effects=0), rng=rng, **strength
        )
        return _fits(panel, W, model)


def _fits(panel: zb.Panel, W: zb.Weights, model: str) -> list[tuple[str, str, float, float]]:
    import spreg

    name = "rho" if model == "SAR" else "lam"
    spec = zb.DurbinSpec("y", ["x"], model == "SAR", [], model == "SEM", "unit")
    fit = zb.fit_durbin(spec, panel, W)
    rows = []
    if fit.converged:
        rows = [("spatial_zb", term, fit.params[term], fit.bse[term]) for term in ("x", name)]
    estimator = spreg.Panel_FE_Lag if model == "SAR" else spreg.Panel_FE_Error
    other = estimator(panel.array("y").T, panel.array("x").T, pysal_weights(W))
    values, errors = np.ravel(other.betas), np.ravel(other.std_err)
    if np.isfinite(errors[:2]).all():
        rows += [("spreg", term, v, e) for term, v, e in zip(("x", name), values, errors, strict=False)]
    return rows


def _tests(panel: zb.Panel, W: zb.Weights) -> list[tuple[str, str, float, float]]:
    from spreg import PooledOLS, diagnostics_panel

    case = make_case(zb.DurbinSpec("y", ["x"], fixed_effects="none"), panel, W, "lee_yu")
    found = run_tests(case, ("lag_error", "bsk"), (*TESTS, *BSK))
    rows = [("spatial_zb", r.test, r.p_value, np.nan) for r in found]
    y, x, other = panel.array("y").reshape(-1, 1), panel.array("x").reshape(-1, 1), pysal_weights(W)
    rows += [
        ("spreg", test, float(getattr(diagnostics_panel, name)(y, x, other)[1]), np.nan)
        for test, name in TESTS.items()
    ]
    table = diagnostics_panel.BSK_tests(PooledOLS(y, x, w=other), other)
    return rows + [("spreg", test, float(p), np.nan) for test, p in zip(BSK, table["p-value"], strict=True)]


def _hausman(panel: zb.Panel, W: zb.Weights) -> list[tuple[str, str, float, float]]:
    import spreg
    from spreg.diagnostics_panel import panel_Hausman

    case = make_case(zb.DurbinSpec("y", ["x"], lag_x=[], fixed_effects="unit"), panel, W, "lee_yu")
    found = run_tests(case, ("random_spatial",))
    rows = [("spatial_zb", r.test, r.p_value, np.nan) for r in found if np.isfinite(r.p_value)]
    y, x, other = panel.array("y").T, panel.array("x").T, pysal_weights(W)
    _, p = panel_Hausman(spreg.Panel_FE_Lag(y, x, other), spreg.Panel_RE_Lag(y, x, other))
    return [*rows, ("spreg", "Hausman, spatial", float(p), np.nan)]


def run_cell(cell: tuple[int, str, str, float], replications: int, seed: int, workers: int) -> pd.DataFrame:
    """One row per program and parameter (bias, sd, coverage) or test (size)."""
    start = time.perf_counter()
    found = run_tasks(partial(replicate, cell, seed), range(replications), workers=workers)
    draws = pd.DataFrame(
        [row for rows in found for row in rows], columns=["program", "parameter", "estimate", "std_error"]
    )
    rows = []
    for (program, name), group in draws.groupby(["program", "parameter"], sort=False):
        row = {"program": program, "parameter": name, "used": len(group)}
        if cell[2] in ("tests", "Hausman"):
            row |= {"size": (group["estimate"] < 0.05).mean()}
        else:
            off = group["estimate"] - (1.0 if name == "x" else cell[3])
            row |= {
                "bias": off.mean(),
                "sd": off.std(),
                "median_std_error": group["std_error"].median(),
                "coverage": (off.abs() <= 1.959964 * group["std_error"]).mean(),
            }
        rows.append(row)
    table = pd.DataFrame(rows)
    for position, (key, value) in enumerate(zip(KEYS, cell, strict=True)):
        table.insert(position, key, value)
    return table.assign(replications=replications, seed=seed, seconds=round(time.perf_counter() - start, 1))


def run(replications: int = 400, workers: int = 1, seed: int = SEED) -> None:
    """Simulate what is missing; the table is written after every cell."""
    complete(
        TABLE,
        KEYS,
        {cell: cell for cell in design()},
        lambda cell: run_cell(cell, replications, seed, workers),
        lambda done: (done["replications"] >= replications) & (done["seed"] == seed),
    )
