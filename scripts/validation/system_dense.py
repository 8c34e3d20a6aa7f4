"""Systems under a dense W: instrumental estimates before and after their correction, FIML less its bootstrap's bias."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pandas as pd

import spatial_zb as zb
from spatial_zb.base.execute import run_tasks
from spatial_zb.core.system.instrumental import instrumental
from spatial_zb.core.system.instruments import weighted_spectrum
from spatial_zb.models.system import fit_system
from spatial_zb.models.system.design import build_system_design

from .places import OUT, complete, weights
from .system_cases import DENSE, FOLLOWED, SEED, drawn, median_error, system, true_value

# --- instrumental estimates before and after their correction

INSTRUMENTS = OUT / "system_instruments.csv"
INSTRUMENT_PANELS = 3000
INSTRUMENT_CELLS = [(n, errors) for n in (41, 90) for errors in (False, True)]


def estimate(n: int, lag_error: bool, _: int, seed: np.random.SeedSequence) -> list[dict]:
    """Coefficients of the first equation of one panel, by (GS)2SLS and (GS)3SLS with and without the bias.

    The arrays of the estimators themselves: `fit_system` without its record and its warnings.
    """
    W, spec = weights(n, DENSE), system(lag_error)
    arrays = build_system_design(spec, drawn(n, DENSE, lag_error, seed), W, 2, False).arrays
    keys = spec.terms("industry")
    rows = []
    for spectrum in (None, weighted_spectrum(arrays, 1.0)):
        for joint in (False, True):
            found = instrumental(arrays, joint, "classical", spectrum)
            method = f"{'gs' if lag_error else ''}{'3sls' if joint else '2sls'}"
            head = {
                "method": method,
                "textbook": spectrum is None,
                "uncorrected": spectrum is not None and not found.corrected,
            }
            values = dict(zip(keys, found.delta, strict=False)) | {"lam": found.lam[0]}
            names = [*(key[1] for key in FOLLOWED), *(["lam"] if lag_error else [])]
            rows += [head | {"parameter": name, "estimate": float(values[name])} for name in names]
    return rows


def run_instruments(workers: int = 1) -> pd.DataFrame:
    """Median bias of the instrumental methods under a dense W, cell by cell."""
    seeds = np.random.SeedSequence([SEED, 3]).spawn(len(INSTRUMENT_CELLS))
    roots = dict(zip(INSTRUMENT_CELLS, seeds, strict=True))

    def cell(key: tuple[int, bool]) -> pd.DataFrame:
        tasks = range(INSTRUMENT_PANELS)
        found = run_tasks(partial(estimate, *key), tasks, workers=workers, seed=roots[key])
        draws = pd.DataFrame([row for rows in found for row in rows])
        rows = []
        for names, group in draws.groupby(["method", "textbook", "parameter"], sort=False):
            off = group["estimate"] - true_value(names[-1])
            rows.append(
                dict(zip(("method", "textbook", "parameter"), names, strict=True))
                | {"panels": len(off), "uncorrected": int(group["uncorrected"].sum())}
                | {"median_bias": off.median(), "median_error": median_error(off)}
                | {
                    "rmse": np.sqrt((off**2).mean()),
                    "quartile_range": off.quantile(0.75) - off.quantile(0.25),
                }
            )
        table = pd.DataFrame(rows)
        table.insert(0, "errors", key[1])
        table.insert(0, "n", key[0])
        return table

    return complete(
        INSTRUMENTS,
        ["n", "errors"],
        {key: key for key in INSTRUMENT_CELLS},
        cell,
        lambda done: done["panels"] >= INSTRUMENT_PANELS,
    )


# --- FIML less the bias of its bootstrap

CORRECTED = OUT / "system_corrected.csv"
#: Units → panels; the median of ψ is then known to 0.015.
CORRECTED_CELLS = {41: 1000, 90: 600}


def correct(n: int, replicates: int, _: int, seed: np.random.SeedSequence) -> list[tuple[str, float, float]]:
    """(parameter, FIML, FIML less its bias) of the first equation, of one panel with dense W."""
    spec, W = system(False), weights(n, DENSE)
    draw, again = seed.spawn(2)
    panel = drawn(n, DENSE, False, draw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        fit = fit_system(spec, panel, W, "fiml")
        if not fit.converged:
            return []
        better = zb.bootstrap(fit, replicates, "parametric", rng=again).bias_corrected()
    return [(key[1], float(fit.params[key]), float(better[key])) for key in FOLLOWED]


def run_corrected(replicates: int = 99, workers: int = 1) -> pd.DataFrame:
    """Bias before and after the correction, cell by cell."""
    roots = dict(
        zip(CORRECTED_CELLS, np.random.SeedSequence([SEED, 2]).spawn(len(CORRECTED_CELLS)), strict=True)
    )

    def cell(n: int) -> pd.DataFrame:
        tasks = range(CORRECTED_CELLS[n])
        found = run_tasks(partial(correct, n, replicates), tasks, workers=workers, seed=roots[n])
        draws = pd.DataFrame(
            [row for rows in found for row in rows], columns=["parameter", "plain", "better"]
        )
        truth = draws["parameter"].map({name: true_value(name) for name in draws["parameter"].unique()})
        errors = draws[["plain", "better"]].sub(truth, axis=0).assign(parameter=draws["parameter"])
        grouped = errors.groupby("parameter", sort=False)
        table = pd.DataFrame(
            {
                "used": grouped.size(),
                "median_bias": grouped["plain"].median(),
                "median_bias_corrected": grouped["better"].median(),
                "rmse": grouped["plain"].apply(lambda e: float(np.sqrt((e**2).mean()))),
                "rmse_corrected": grouped["better"].apply(lambda e: float(np.sqrt((e**2).mean()))),
            }
        ).reset_index()
        table.insert(0, "n", n)
        return table.assign(replications=len(tasks), replicates=replicates)

    return complete(
        CORRECTED,
        ["n"],
        {(n,): n for n in CORRECTED_CELLS},
        cell,
        lambda done: done["replicates"] >= replicates,
    )
