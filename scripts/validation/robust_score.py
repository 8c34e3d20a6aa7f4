"""The robust score beside maximum likelihood: ρ, λ and effects where errors are as on real panels.

Both samples of the study with its own regressors and residuals (signs drawn by city), with regressors and errors of
autocorrelation 0.7, or with independent ones, also under a W that links all; 40 units of which 4 are neighbours of all
others, with errors of 1, 2 and 3 times the spread. ρ and λ together (SAC, GNS) on cities, counties and hubs. Errors
clustered by unit. ``robust_score.csv`` of ``docs/validation`` is written after every cell.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import pandas as pd
from scipy import sparse

import spatial_zb as zb
from spatial_zb.base.execute import run_tasks

from .places import OUT, ROOT, complete, weights

TABLE = OUT / "robust_score.csv"
SEED = 20261130
KEYS = ["place", "errors", "periods"]
HUBS, UNITS, CORRELATED = 4, 40, 0.7
#: β and θ of the two regressors, and ρ, where they are not those of the study.
BETA, THETA, RHO = (1.0, 0.5), (0.5, -0.3), 0.3
Cell = tuple[str, str, int]


def design() -> list[Cell]:
    """Every cell: place, errors, periods."""
    own = [(place, f"own {y}", 13) for place in ("zhejiang", "delta") for y in ("industry", "talent")]
    made = [
        ("zhejiang", "AR 0.7", 13),
        ("zhejiang", "AR 0.7", 5),
        ("delta", "AR 0.7", 13),
        ("delta", "iid", 13),
        ("zhejiang dense", "iid", 13),
        ("delta dense", "iid", 13),
    ]
    hubs = [("hubs", f"spread {ratio}{more}", 6) for more in ("", " AR 0.7") for ratio in (1, 2, 3)]
    hubs += [("hubs SEM", f"spread {ratio}", 6) for ratio in (1, 2, 3)]
    both = [
        ("delta SAC", "iid", 13),
        ("delta SAC", "AR 0.7", 13),
        ("counties SAC", "AR 0.7", 8),
        ("zhejiang SAC", "AR 0.7", 13),
        ("delta GNS", "AR 0.7", 13),
        *(("hubs SAC", f"spread {ratio}", 8) for ratio in (1, 2, 3)),
        ("hubs SAC", "spread 3 AR 0.7", 8),
        ("hubs GNS", "spread 3", 8),
    ]
    return [*own, *made, *hubs, *both]


@dataclass(frozen=True)
class World:
    """What the panels of a cell share: W, β, θ (none: a SAR) and ρ; own regressors (T, n, 2) and residuals (T, n).

    ``error``: ρ is λ of a SEM. ``lam``: λ beside ρ.
    """

    W: zb.Weights
    beta: tuple[float, ...]
    theta: tuple[float, ...]
    rho: float
    x: np.ndarray | None = None
    residuals: np.ndarray | None = None
    error: bool = False
    lam: float = 0.0

    @property
    def spec(self) -> zb.DurbinSpec:
        """The model with two-way effects."""
        names = [f"x{j}" for j in range(len(self.beta))]
        return zb.DurbinSpec(
            "y",
            names,
            lag_y=not self.error,
            lag_x=names if self.theta else [],
            lag_error=self.error or bool(self.lam),
        )

    @property
    def truth(self) -> dict[str, float]:
        """ρ (or λ) and the effects of the first regressor."""
        if self.error:
            return {"lam": self.rho}
        n, W = self.W.n, self.W.matrix.toarray()
        own = self.beta[0] * np.eye(n) + (self.theta[0] if self.theta else 0.0) * W
        E = np.linalg.solve(np.eye(n) - self.rho * W, own)
        direct = np.trace(E) / n
        spatial = {"rho": self.rho} | ({"lam": self.lam} if self.lam else {})
        return {**spatial, "direct": direct, "indirect": E.sum() / n - direct}


@cache
def _study() -> zb.Prepared:
    return zb.prepare(zb.load_study(ROOT / "studies" / "bay_area.toml"))


@cache
def world(place: str, errors: str) -> World:
    """The world of a cell, whatever its periods."""
    if place.startswith("hubs"):
        lam, theta = 0.4 if place.endswith(("SAC", "GNS")) else 0.0, (0.5,) if place.endswith("GNS") else ()
        return World(_hubs(), (1.0,), theta, 0.4, error=place.endswith("SEM"), lam=lam)
    place, *dense = place.split()
    if dense and dense[0] in ("SAC", "GNS"):
        W = weights({"zhejiang": 11, "delta": 41, "counties": 90}[place], "contiguity")
        return World(W, BETA, THETA if dense == ["GNS"] else (), RHO, lam=RHO)
    panel = _study().sample(place)
    if dense:
        return World(weights(len(panel.units), "inverse distance"), BETA, THETA, RHO)
    W = _study().weights("queen", place).align(panel.units)
    if not errors.startswith("own"):
        return World(W, BETA, THETA, RHO)
    y = errors.split()[1]
    x = [{"industry": "talent", "talent": "industry"}[y], "ln_pgdp"]
    fit = zb.fit_durbin(zb.DurbinSpec(y, x), panel, W)
    beta, theta = fit.params[x], fit.params[[f"W_{name}" for name in x]]
    return World(W, tuple(beta), tuple(theta), float(fit.params["rho"]), panel.array(x), fit.residuals)


def _hubs() -> zb.Weights:
    """Each unit has two hubs and two others as neighbours."""
    places, matrix = np.random.default_rng(1), np.zeros((UNITS, UNITS))
    for i in range(UNITS):
        near = [j for j in range(HUBS) if j != i][:2]
        far = places.choice([j for j in range(HUBS, UNITS) if j != i], 2, replace=False)
        matrix[i, [*near, *far]] = 1.0
    return zb.Weights(
        sparse.csr_array(matrix), pd.Index([f"{i:02d}" for i in range(UNITS)]), "hubs"
    ).standardise()


def draw(cell: Cell, index: int) -> zb.Panel:
    """One simulated panel."""
    place, errors, periods = cell
    given, rng = (
        world(place, errors),
        np.random.default_rng([SEED, *map(ord, place + errors), periods, index]),
    )
    n, k = given.W.n, len(given.beta)
    correlation = CORRELATED if errors.endswith("AR 0.7") else 0.0
    if given.residuals is not None and given.x is not None:
        x, u = given.x, given.residuals * rng.choice([-1.0, 1.0], n)
    else:
        x = _correlated(
            rng.standard_normal((periods, n, k)), 0.0 if place.startswith("hubs") else correlation
        )
        u = _correlated(rng.standard_normal((periods, n)), correlation)
    if place.startswith("hubs"):
        spread = np.where(np.arange(n) < HUBS, float(errors[7]), 1.0)
        u = (
            u * spread / np.sqrt((spread**2).mean())
            + rng.standard_normal(n)
            + rng.standard_normal((periods, 1))
        )
    W = given.W.matrix.toarray()
    mean = x @ np.array(given.beta) + (x @ np.array(given.theta) @ W.T if given.theta else 0.0)
    through = np.linalg.inv(np.eye(n) - given.rho * W).T
    if given.lam:
        u = u @ np.linalg.inv(np.eye(n) - given.lam * W).T
    y = mean + u @ through if given.error else (mean + u) @ through
    names = ("y", *(f"x{j}" for j in range(k)))
    return zb.Panel(
        np.concatenate([y[..., None], x], axis=2), tuple(range(1, len(y) + 1)), given.W.ids, names
    )


def _correlated(shocks: np.ndarray, correlation: float) -> np.ndarray:
    """Stationary AR(1) of variance one over the first axis."""
    out = shocks.copy()
    for t in range(1, len(out)):
        out[t] = correlation * out[t - 1] + np.sqrt(1 - correlation**2) * shocks[t]
    return out


def replicate(cell: Cell, index: int) -> pd.DataFrame:
    """One panel: estimator, parameter, estimate, std_error, low, high; NaN where nothing is claimed."""
    given, panel, parts = world(*cell[:2]), draw(cell, index), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        for estimator in ("lee_yu", "robust_score"):
            fit = zb.fit_durbin(given.spec, panel, given.W, estimator, "cluster")
            names = list(given.truth)
            spatial = given.spec.spatial_terms
            table = pd.DataFrame({"parameter": names})
            if fit.converged:
                found = fit.tidy().set_index("term").loc[list(spatial)]
                if len(names) > len(spatial):
                    effects = zb.spatial_effects(fit).tidy().query("term == 'x0'").set_index("effect")
                    found = pd.concat([found, effects.loc[names[len(spatial) :]]])
                limits = found.reset_index(drop=True)[["estimate", "std_error", "conf_low", "conf_high"]]
                table = table.join(limits)
            parts.append(table.assign(estimator=estimator))
    return pd.concat(parts, ignore_index=True)


def run_cell(cell: Cell, replications: int, workers: int = 1) -> pd.DataFrame:
    """Simulate one cell; one row per estimator and parameter."""
    start, rows = time.perf_counter(), []
    found = pd.concat(run_tasks(partial(replicate, cell), range(replications), workers=workers))
    for (estimator, name), group in found.groupby(["estimator", "parameter"], sort=False):
        rows.append(
            {"estimator": estimator, "parameter": name} | _row(group, world(*cell[:2]).truth[str(name)])
        )
    table = pd.DataFrame(rows)
    head = dict(zip(KEYS, cell, strict=True)) | {"replications": replications, "seed": SEED}
    for position, (key, value) in enumerate(head.items()):
        table.insert(position, key, value)
    return table.assign(seconds=round(time.perf_counter() - start, 1))


def _row(group: pd.DataFrame, true: float) -> dict[str, float]:
    """Of the panels in which something is claimed."""
    kept = group[group["std_error"].notna()]
    covered = (kept["conf_low"] <= true) & (true <= kept["conf_high"])
    spread = kept["estimate"].std(ddof=1)
    return {
        "truth": true,
        "used": len(kept),
        "bias": kept["estimate"].mean() - true,
        "bias_mcse": spread / np.sqrt(len(kept)),
        "median_bias": kept["estimate"].median() - true,
        "sd": spread,
        "error_over_sd": kept["std_error"].median() / spread,
        "coverage": covered.mean(),
    }


def run(replications: int = 1000, workers: int = 1) -> None:
    """Simulate what is missing, half as many panels of ρ and λ together; the table is written after every cell."""

    def asked(place: str) -> int:
        return replications // 2 if place.endswith(("SAC", "GNS")) else replications

    complete(
        TABLE,
        KEYS,
        {cell: cell for cell in design()},
        lambda cell: run_cell(cell, asked(cell[0]), workers),
        lambda done: (done["replications"] >= done["place"].map(asked)) & (done["seed"] == SEED),
    )
