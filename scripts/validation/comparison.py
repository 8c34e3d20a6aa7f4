"""Does a comparison find the truth: posterior probabilities, J and Vuong tests, and the joint test of a curve.

Simulated data on the real map of the 41 cities of the delta, T = 11, unit and time effects, normal errors, two regressors.
Every truth lives on contiguity; the rival W is that of the four nearest neighbours. A binomial standard error at 5 % is
1.5 percentage points at 200 replications.
"""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pandas as pd

import spatial_zb as zb
from spatial_zb.base.execute import run_tasks

from .places import OUT, PERIODS, ROOT, weights

TABLE = OUT / "comparison.csv"
SEED = 20240611
BETA, THETA = {"a": 1.0, "b": -1.0}, {"a": 0.4, "b": -0.4}
#: θ that is no multiple of β. As a multiple of it, W X θ looks like the first step of a spatial lag of y.
OTHER = {"a": 0.4, "b": 0.4}
TRUTHS = {
    "OLS": {},
    "SLX": {"theta": THETA},
    "SAR": {"rho": 0.3},
    "SDM": {"rho": 0.3, "theta": THETA},
    "SEM": {"lam": 0.3},
    "SDEM": {"lam": 0.3, "theta": THETA},
    "SLX, other θ": {"theta": OTHER},
    "SDM, other θ": {"rho": 0.3, "theta": OTHER},
    "SDEM, other θ": {"lam": 0.3, "theta": OTHER},
}
LAGS = {
    "SAR": (True, [], False),
    "SDM": (True, "all", False),
    "SEM": (False, [], True),
    "SDEM": (False, "all", True),
}
LEVEL = 0.05


def _weights() -> dict[str, zb.Weights]:
    regions = zb.read_regions(ROOT / "shapefiles" / "delta_cities.shp")
    return {"contiguity": weights(41, "contiguity"), "knn4": zb.weights.knn(regions, 4).standardise("row")}


def _spec(family: str) -> zb.DurbinSpec:
    lag_y, lag_x, lag_error = LAGS[family]
    return zb.DurbinSpec("y", ["a", "b"], lag_y, lag_x, lag_error)


def choice(W: dict[str, zb.Weights], truth: str, seed: np.random.SeedSequence) -> dict[str, float]:
    """One panel: who wins, how sure the winner is, and what the tests between the two W say."""
    warnings.simplefilter("ignore", zb.SpatialZbWarning)
    panel = zb.simulate.durbin(
        W["contiguity"], PERIODS, BETA, rng=np.random.default_rng(seed), **TRUTHS[truth]
    )
    family = truth.split(",")[0]
    frame = zb.compare.model_probabilities(panel, "y", ["a", "b"], W).tidy()
    best = frame.loc[frame["probability"].idxmax()]
    row = {
        "family": best["model"] == family,
        "W": best["weights"] == ("" if family == "OLS" else "contiguity"),
        "probability": frame.query("model == @family and weights != 'knn4'")["probability"].sum(),
    }
    if family not in LAGS:
        return row
    right, wrong = (zb.fit_durbin(_spec(family), panel, W[name]) for name in W)
    vuong = zb.tests.vuong_test(right, wrong).rows[0].more["favours"]
    return row | {
        "J size": zb.tests.j_test(right, wrong).rows[0].p_value < LEVEL,
        "J size, clustered": zb.tests.j_test(right, wrong, covariance="cluster").rows[0].p_value < LEVEL,
        "J power": zb.tests.j_test(wrong, right).rows[0].p_value < LEVEL,
        "Vuong for the true W": vuong == "first",
        "Vuong for the other W": vuong == "second",
    }


def curve(W: dict[str, zb.Weights], beta: float, seed: np.random.SeedSequence) -> dict[str, float]:
    """One panel in which the coefficient of a is ``beta``: does the joint test see it?"""
    warnings.simplefilter("ignore", zb.SpatialZbWarning)
    panel = zb.simulate.durbin(
        W["contiguity"], PERIODS, {"a": beta, "b": -1.0}, rho=0.3, rng=np.random.default_rng(seed)
    )
    specs = {family: _spec(family) for family in ("SAR", "SDM", "SDEM")}
    found = zb.tests.curve_test(
        zb.compare.Choices(panel, specs, W, covariances=["cluster"]), "a", "total", replicates=99, rng=seed
    )
    p = found.tidy().set_index("statistic")["p_value"]
    return (p <= LEVEL).to_dict()


def run(workers: int = 1, replications: int = 200) -> None:
    """Run the study, writing its table after every truth; rows that are there already are kept.

    A curve costs a hundred times as much as a choice: it has a quarter of the replications.
    """
    W = _weights()
    todo = [(truth, partial(_choice_task, W, truth), replications) for truth in TRUTHS]
    todo += [
        (f"curve, β = {beta:g}", partial(_curve_task, W, beta), replications // 4) for beta in (0.0, 0.1)
    ]
    old = pd.read_csv(TABLE).to_dict("records") if TABLE.exists() else []
    kept = {(row["truth"], row["replications"], row.get("seed")): row for row in old}
    rows = []
    for number, (what, work, count) in enumerate(todo):
        row = kept.get((what, count, SEED))
        if row is None:
            seed = np.random.SeedSequence([SEED, number])
            found = pd.DataFrame(run_tasks(work, range(count), workers=workers, seed=seed))
            row = {"truth": what, "replications": count, "seed": SEED} | found.mean().to_dict()
        rows.append(row)
        pd.DataFrame(rows).to_csv(TABLE, index=False, lineterminator="\n")


def _choice_task(W: dict[str, zb.Weights], truth: str, number: int, seed: np.random.SeedSequence) -> dict:
    return choice(W, truth, seed)


def _curve_task(W: dict[str, zb.Weights], beta: float, number: int, seed: np.random.SeedSequence) -> dict:
    return curve(W, beta, seed)
