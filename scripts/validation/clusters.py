"""Coverage of intervals by clustered errors and by Driscoll-Kraay where clusters or periods are few.

Spatial Durbin models with two-way effects on the maps of the 11 cities of Zhejiang and the 41 of the delta, with what
real panels have: errors and regressors that last over time, unequal variances, few periods, and the study's own industry
and talent series with its own residuals, whose sign is drawn by city (so that they keep their dependence over time).
Driscoll-Kraay has errors with a common shock of every period. Every panel has a seed of its own. The table goes to
``docs/validation/clusters.csv`` after every cell; a second run keeps what is there with as many replications.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

import spatial_zb as zb

from .places import OUT, ROOT, complete, weights

TABLE = OUT / "clusters.csv"
SEED = 20261130
BETA, THETA, RHO = {"a": 1.0, "b": 0.5}, {"a": 0.5, "b": -0.3}, 0.3
PLACES = {11: "zhejiang", 41: "delta"}
#: Persistence of errors and regressors where they last.
LASTING = 0.7
KEYS = ["n", "T", "model", "errors", "covariance"]
MODELS: dict[str, dict[str, Any]] = {
    "SDM": {},
    "SLX": {"lag_y": False},
    "SDEM": {"lag_y": False, "lag_error": True},
    "SAC": {"lag_x": [], "lag_error": True},
    "SDM, random effects": {"fixed_effects": "random"},
    "SDM, gmm": {},
}


@dataclass(frozen=True)
class Cell:
    """One line of the design; all covariances of a line see the same panels."""

    n: int
    T: int
    model: str
    errors: str
    covariance: str


def design() -> list[Cell]:
    """Clusters first, then Driscoll-Kraay."""
    kinds = ("information", "cr1", "cluster")
    cells = [
        Cell(n, T, "SDM", errors, kind)
        for n in PLACES
        for T, errors in ((13, "iid"), (13, "lasting"), (13, "lasting, unequal"), (5, "lasting"))
        for kind in kinds
    ]
    own = [(11, "own industry"), (41, "own industry"), (41, "own talent")]
    cells += [Cell(n, 13, "SDM", errors, kind) for n, errors in own for kind in kinds]
    others = [name for name in MODELS if name != "SDM"]
    cells += [Cell(n, 13, model, "lasting", "cluster") for model in others for n in PLACES]
    return cells + [
        Cell(n, T, model, errors, "driscoll_kraay")
        for model in ("SLX", "SDM")  # with ρ units that share shocks move the estimate, not its errors alone
        for n in PLACES
        for T in (5, 10, 20, 40)
        for errors in ("shocks", "lasting shocks")
    ]


@dataclass(frozen=True)
class Truth:
    """Coefficients, and the study's own series where they are the panel: x by name, residuals (T, n)."""

    beta: dict[str, float]
    theta: dict[str, float]
    rho: float
    lam: float = 0.0
    x: dict[str, np.ndarray] | None = None
    residuals: np.ndarray | None = None


@cache
def study() -> Any:
    """The prepared study of the cities."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return zb.prepare(zb.load_study(ROOT / "studies" / "bay_area.toml"))


@cache
def truth(cell_errors: str, n: int, model: str) -> Truth:
    """What the panels of a cell are drawn from."""
    if cell_errors.startswith("own"):
        y = cell_errors.removeprefix("own ")
        x = [{"industry": "talent", "talent": "industry"}[y], "ln_pgdp"]
        panel, W = study().sample(PLACES[n]), study().weights("queen", PLACES[n])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", zb.SpatialZbWarning)
            fit = zb.fit_durbin(zb.DurbinSpec(y, x), panel, W)
        values = {name: fit.panel.array(old) for name, old in zip("ab", x, strict=True)}
        beta = {name: fit.params[old] for name, old in zip("ab", x, strict=True)}
        theta = {name: fit.params[f"W_{old}"] for name, old in zip("ab", x, strict=True)}
        return Truth(beta, theta, fit.params["rho"], x=values, residuals=fit.residuals)
    lags = MODELS[model]
    return Truth(
        BETA,
        {} if lags.get("lag_x") == [] else THETA,
        RHO if lags.get("lag_y", True) else 0.0,
        RHO if lags.get("lag_error") else 0.0,
    )


def lasting(rng: np.random.Generator, shape: tuple[int, ...], persistence: float) -> np.ndarray:
    """Stationary AR(1) over the first axis, of variance one."""
    out = rng.standard_normal(shape)
    out[1:] *= np.sqrt(1 - persistence**2)
    for t in range(1, len(out)):
        out[t] += persistence * out[t - 1]
    return out


def place(cell: Cell) -> zb.Weights:
    """W of the study where its series are used, else contiguity of the same cities."""
    if cell.errors.startswith("own"):
        return study().weights("queen", PLACES[cell.n])
    return weights(cell.n, "contiguity")


def draw(cell: Cell, seed: int) -> zb.Panel:
    """One panel with unit and period effects."""
    rng, W = np.random.default_rng([SEED, seed]), place(cell)
    A, known = W.matrix.toarray(), truth(cell.errors, cell.n, cell.model)
    n = W.n  # of the study's own series as many cities as its rules leave
    shape = (cell.T, n)
    persistence = LASTING if "lasting" in cell.errors else 0.0
    if known.residuals is None:
        x = {name: lasting(rng, shape, persistence) for name in "ab"}
        u = lasting(rng, shape, persistence)
    else:
        x, u = known.x or {}, known.residuals * rng.choice([-1.0, 1.0], n)
    if "unequal" in cell.errors:
        twice = np.diag(A @ A)
        size = np.where(twice > np.median(twice), 2.0, 1.0)
        u = u * size / np.sqrt((size**2).mean())
    if "shocks" in cell.errors:  # loadings with mean zero, or effects of periods would take the shock out
        loadings = rng.standard_normal(n)
        u = (u + lasting(rng, (cell.T, 1), persistence) * loadings) / np.sqrt(2)
        moved = rng.standard_normal(n)
        x["a"] = (x["a"] + lasting(rng, (cell.T, 1), persistence) * moved) / np.sqrt(2)
    u = np.linalg.solve(np.eye(n) - known.lam * A, u.T).T
    mean = sum(known.beta[k] * x[k] + known.theta.get(k, 0.0) * x[k] @ A.T for k in x)
    effects = 0.0 if "random" in cell.model else rng.standard_normal((cell.T, 1))
    right = mean + u + rng.standard_normal(n) + effects
    y = np.linalg.solve(np.eye(n) - known.rho * A, right.T).T
    values = np.stack([y, *x.values()], axis=2)
    return zb.Panel(values, tuple(range(cell.T)), list(W.ids), ["y", *x])


def covered(cell: Cell, seed: int) -> dict[str, tuple[float, ...]] | None:
    """By quantity: whether the interval holds the truth, error, degrees of freedom and estimate less truth."""
    known, W = truth(cell.errors, cell.n, cell.model), place(cell)
    spec = zb.DurbinSpec("y", ["a", "b"], **MODELS[cell.model])
    estimator = "gmm" if "gmm" in cell.model else "lee_yu"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        try:
            fit = zb.fit_durbin(spec, draw(cell, seed), W, estimator, cell.covariance)
        except zb.SpatialZbError:
            return None
        if not fit.converged:
            return None
        table = fit.tidy().set_index("term")
        effects = zb.spatial_effects(fit).tidy().query("term == 'a'").set_index("effect")
    right = {"a": known.beta["a"], "W_a": known.theta.get("a", 0.0), "rho": known.rho, "lam": known.lam}
    E = np.linalg.inv(np.eye(W.n) - known.rho * W.matrix.toarray())
    E = E @ (known.beta["a"] * np.eye(W.n) + known.theta.get("a", 0.0) * W.matrix.toarray())
    direct = np.trace(E) / W.n
    rows = {name: (table.loc[name], right[name]) for name in right if name in table.index}
    rows |= {
        name: (effects.loc[name], true)
        for name, true in (("direct", direct), ("indirect", E.sum() / W.n - direct))
    }
    return {
        name: (
            float(row["conf_low"] <= true <= row["conf_high"]) if np.isfinite(row["conf_low"]) else np.nan,
            row["std_error"],
            row.get("df", np.nan),
            row["estimate"] - true,
        )
        for name, (row, true) in rows.items()
    }


def summarise(cell: Cell, replications: int) -> pd.DataFrame:
    """One row per quantity: coverage where there is an interval, error over spread, bias, median degrees of freedom.

    ``blank`` counts panels whose effects are not computed, ``failed`` those without errors.
    """
    found = [covered(cell, seed) for seed in range(replications)]
    kept = [one for one in found if one is not None]
    rows = []
    for name in kept[0]:
        values = np.array([one[name] for one in kept])
        rows.append(
            {
                **{key: getattr(cell, key) for key in KEYS},
                "quantity": name,
                "coverage": np.nanmean(values[:, 0]),
                "error_ratio": np.nanmedian(values[:, 1]) / np.nanstd(values[:, 3]),
                "bias": np.nanmean(values[:, 3]),
                "df": np.nanmedian(values[:, 2]),
                "blank": int(np.isnan(values[:, 0]).sum()),
                "failed": len(found) - len(kept),
                "replications": replications,
            }
        )
    return pd.DataFrame(rows)


def run(replications: int = 200, workers: int = 1) -> pd.DataFrame:
    """Compute what the table lacks; one process, a cell takes seconds."""
    cells = {tuple(getattr(cell, key) for key in KEYS): cell for cell in design()}
    return complete(
        TABLE,
        KEYS,
        cells,
        lambda cell: summarise(cell, replications),
        lambda done: done["replications"] == replications,
        "%.4g",
    )
