"""Systems whose instruments are weak, and systems whose errors last over time: errors, coverage, and the tests beside them.

Weak: the simulated system on the 41 cities with all exogenous coefficients made smaller, so that the smallest first-stage F
is about 1.7, 10 and 50. Lasting: AR(1) of 0.7 in errors and regressors, 11 and 41 cities and 30 squares, without
cross spillover and with errors that are not correlated between equations, so that both restrictions are true.
"""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pandas as pd
from scipy import sparse

import spatial_zb as zb
from spatial_zb import Equation, Panel, SystemSpec
from spatial_zb.base.errors import SpatialZbError
from spatial_zb.base.execute import run_tasks
from spatial_zb.effects import spatial_effects
from spatial_zb.hypotheses.nested import restriction_tests
from spatial_zb.models.system import fit_system
from spatial_zb.models.system.fit import SystemFit
from spatial_zb.simulate import system as simulate_system

from .places import KINDS, OUT, PERIODS, complete, weights
from .system_cases import FOLLOWED, SEED, SIGMA, TRUTH, system

EXOGENOUS = ("a", "b", "c", "d")
#: What all exogenous coefficients are multiplied by → the smallest first-stage F it gives.
STRENGTHS = {0.17: 1.7, 0.43: 10.0, 1.0: 50.0}
WEAK, LASTING = OUT / "system_weak.csv", OUT / "system_lasting.csv"
WEAK_METHODS = [("2sls", False), ("2sls", None), ("3sls", False), ("3sls", None), ("fiml", None)]
LASTING_METHODS = [("fiml", "information"), ("fiml", "cluster"), ("2sls", "cluster"), ("3sls", "cluster")]
#: (units, periods, AR(1) of errors and regressors).
LASTING_CELLS = [(11, 11, 0.7), (41, 13, 0.7), (30, 8, 0.7)]


def _row(fit: SystemFit, truth: dict[tuple[str, str], float]) -> list[dict]:
    """Error of each coefficient that is followed, and whether its limits hold the truth."""
    tidy = fit.tidy().set_index(["equation", "term"])
    found = fit.identification().iloc[0]
    head = {name: found[name] for name in ("sw_f_min", "kp_f", "effective_f", "weak", "j_p")}
    head["uncorrected"] = fit.convergence.corrected is False
    rows = []
    for key in FOLLOWED:
        row, true = tidy.loc[key], truth.get(key, 0.0)
        inside = row["conf_low"] <= true <= row["conf_high"] if fit.converged else np.nan
        off = row["estimate"] - true if fit.converged else np.nan
        rows.append(head | {"parameter": key[1], "off": off, "inside": inside})
    return rows


def weak_panel(strength: float, _: int, seed: np.random.SeedSequence) -> list[dict]:
    """All methods on one panel."""
    truth = {key: value * (strength if key[1] in EXOGENOUS else 1) for key, value in TRUTH.items()}
    W, rows = weights(41, KINDS[0]), []
    law = zb.simulate.Truth(truth, sigma=SIGMA)
    panel = simulate_system(system(False), W, PERIODS, law, rng=np.random.default_rng(seed))
    for method, correction in WEAK_METHODS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", zb.SpatialZbWarning)
            fit = fit_system(system(False), panel, W, method, bias_correction=correction)
        head = {"method": method, "textbook": correction is False}
        rows += [head | row for row in _row(fit, truth)]
    return rows


def _summary(draws: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    rows = []
    for names, group in draws.groupby([*keys, "parameter"], sort=False):
        off, used = group["off"].dropna(), group["inside"].dropna().astype(float)
        rows.append(
            dict(zip([*keys, "parameter"], names, strict=True))
            | {
                "used": len(used),
                "left_out": len(group) - len(used),
                "uncorrected": int(group["uncorrected"].sum()),
            }
            | {"median_bias": off.median(), "rmse": np.sqrt((off**2).mean())}
            | {"median_absolute_error": off.abs().median(), "coverage": used.mean()}
            | {f"median_{name}": group[name].median() for name in ("sw_f_min", "kp_f", "effective_f")}
            | {"weak": group["weak"].mean(), "j_rejects": (group["j_p"].dropna() < 0.05).mean()}
        )
    return pd.DataFrame(rows)


def run_weak(replications: int = 600, workers: int = 1) -> pd.DataFrame:
    """Estimates, coverage and what the first stage says, by the strength of instruments."""
    seeds = np.random.SeedSequence([SEED, 5]).spawn(len(STRENGTHS))
    roots = dict(zip(STRENGTHS, seeds, strict=True))

    def cell(key: tuple[float]) -> pd.DataFrame:
        found = run_tasks(
            partial(weak_panel, key[0]), range(replications), workers=workers, seed=roots[key[0]]
        )
        table = _summary(pd.DataFrame([row for rows in found for row in rows]), ["method", "textbook"])
        table.insert(0, "first_stage_f", STRENGTHS[key[0]])
        table.insert(0, "strength", key[0])
        return table.assign(replications=replications)

    cells = {(strength,): (strength,) for strength in STRENGTHS}
    return complete(
        WEAK, ["strength"], cells, cell, lambda done: done["replications"] >= replications, "%.5f"
    )


# --- errors that last

#: What is drawn has the errors as two exogenous variables, which may last.
DRAWN = SystemSpec(
    {
        "industry": Equation("ind", ["tal"], ["a", "b", "u1"], lag_endog=["tal"]),
        "talent": Equation("tal", ["ind"], ["c", "d", "u2"], lag_endog=["ind"]),
    }
)
LASTING_TRUTH = TRUTH | {("industry", "W_tal"): 0.0, ("talent", "W_ind"): 0.0}


def place(n: int) -> zb.Weights:
    """Cities of the delta or of Zhejiang, or squares of five by six."""
    if n != 30:
        return weights(n, KINDS[0])
    steps = [sparse.diags_array([np.ones(k - 1)] * 2, offsets=[-1, 1], shape=(k, k)) for k in (5, 6)]
    sides = sparse.kron(steps[0], sparse.eye_array(6)) + sparse.kron(sparse.eye_array(5), steps[1])
    return zb.as_weights(sides.toarray(), [f"u{i:02d}" for i in range(30)]).standardise("row")


def lasting(rng: np.random.Generator, shape: tuple[int, int, int], ar: float) -> np.ndarray:
    """Stationary AR(1) of variance one along the first axis."""
    out = rng.standard_normal(shape)
    for t in range(1, shape[0]):
        out[t] = ar * out[t - 1] + np.sqrt(1 - ar**2) * out[t]
    return out


def lasting_panel(cell: tuple[int, int, float], _: int, seed: np.random.SeedSequence) -> list[dict]:
    """All methods on one panel, and the tests of two true restrictions."""
    n, T, ar = cell
    W, rng, names = place(n), np.random.default_rng(seed), (*EXOGENOUS, "u1", "u2")
    given = Panel(lasting(rng, (T, n, 6), ar), tuple(range(2001, 2001 + T)), W.ids, names)
    truth = LASTING_TRUTH | {("industry", "u1"): 1.0, ("talent", "u2"): 1.0}
    law = zb.simulate.Truth(truth, sigma=1e-16 * np.eye(2), regressors=given)
    panel, rows = simulate_system(DRAWN, W, T, law, rng=rng), []
    for method, covariance in LASTING_METHODS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", zb.SpatialZbWarning)
            fit = fit_system(system(False), panel, W, method, covariance=covariance)
        head = {"method": method, "covariance": covariance}
        if method == "fiml":
            p = restriction_tests(fit).tidy().set_index("test")["p_value"]
            head |= {"spillover_p": p["no cross spillover"], "uncorrelated_p": p["uncorrelated errors"]}
        found = _row(fit, LASTING_TRUTH)
        try:
            shock = spatial_effects(fit).tidy().set_index(["response", "source", "effect"])
            row = shock.loc["industry", "shock:talent", "total"]
            true = np.linalg.inv([[0.7, -0.25], [-0.2, 0.75]])[0, 1]
            blank = not fit.converged or np.isnan(row["conf_low"])  # an effect that is not computed
            inside = np.nan if blank else row["conf_low"] <= true <= row["conf_high"]
            found.append(found[0] | {"parameter": "effect", "off": row["estimate"] - true, "inside": inside})
        except SpatialZbError:
            pass
        rows += [head | one for one in found]
    return rows


def run_lasting(replications: int = 200, workers: int = 1) -> pd.DataFrame:
    """Coverage and the size of J and of restriction tests where errors last."""
    seeds = np.random.SeedSequence([SEED, 6]).spawn(len(LASTING_CELLS))
    roots = dict(zip(LASTING_CELLS, seeds, strict=True))

    def cell(key: tuple[int, int, float]) -> pd.DataFrame:
        found = run_tasks(partial(lasting_panel, key), range(replications), workers=workers, seed=roots[key])
        draws = pd.DataFrame([row for rows in found for row in rows])
        table = _summary(draws, ["method", "covariance"])
        for name in ("spillover", "uncorrelated"):
            p = draws.groupby(["method", "covariance"])[f"{name}_p"].agg(lambda p: (p.dropna() < 0.05).mean())
            keys = zip(table["method"], table["covariance"], strict=True)
            table[f"{name}_rejects"] = [p[each] for each in keys]
        for position, (name, value) in enumerate(zip(("n", "T", "ar"), key, strict=True)):
            table.insert(position, name, value)
        return table.assign(replications=replications)

    cells = {key: key for key in LASTING_CELLS}
    return complete(
        LASTING, ["n", "T", "ar"], cells, cell, lambda done: done["replications"] >= replications, "%.5f"
    )
