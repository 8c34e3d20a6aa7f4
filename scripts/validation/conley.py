"""Coverage of intervals by Conley's errors, beside errors clustered by unit, where errors go together by kilometres.

Spatial Durbin models and models without ρ, with two-way effects, on the maps of the 11 cities of Zhejiang, the 41 of the
delta and the 90 counties of Zhejiang. Errors and both regressors are AR(1) 0.6 over time and fall off in space by exp(−d/r),
r in median distances to the nearest unit (0: independent between units), which W does not describe. Of the 41 cities and 90
counties also SLX with three tenths of the rows absent, by the adjusted score. The table goes to
``docs/validation/conley.csv`` after every cell; a second run keeps what is there with as many replications.
"""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pandas as pd

import spatial_zb as zb

from .places import OUT, PERIODS, ROOT, SIZES, complete, weights

TABLE = OUT / "conley.csv"
SEED = 20261202
LASTING = 0.6
BETA, THETA = {"a": 1.0, "b": 0.5}, {"a": 0.5, "b": -0.3}
KEYS = ["n", "T", "model", "range", "covariance"]
#: Share of rows that are absent in "SLX uneven".
ABSENT = 0.3


@cache
def map_of(n: int) -> tuple[zb.Weights, np.ndarray]:
    """Kilometres between the units, as errors take them and as an array."""
    regions = zb.read_regions(
        ROOT / "shapefiles" / ("zhejiang_counties.shp" if n == 90 else "delta_cities.shp")
    )
    regions = regions[regions["prov"] == "浙江省"] if n == 11 else regions
    km = zb.weights.kilometres(regions)
    return km, km.matrix.toarray()


def field(km: np.ndarray, reach: float, T: int, rng: np.random.Generator) -> np.ndarray:
    """(T, n), of variance one, AR(1) over time and exp(−d/r) in space."""
    n = len(km)
    nearest = np.median(np.sort(km, axis=1)[:, 1])
    root = np.linalg.cholesky(np.exp(-km / (reach * nearest)) + 1e-9 * np.eye(n)) if reach else np.eye(n)
    out = rng.standard_normal((T, n)) @ root.T
    for t in range(1, T):
        out[t] = LASTING * out[t - 1] + np.sqrt(1 - LASTING**2) * out[t]
    return out


def cell(case: tuple[int, int, str, float], replications: int) -> pd.DataFrame:
    """Coverage of β, θ, ρ and effects by both errors, and how many fits give no effects."""
    n, T, model, reach = case
    W, (kilometres, km) = weights(n, "contiguity"), map_of(n)
    rho = 0.3 if model == "SDM" else 0.0
    spec, uneven = zb.DurbinSpec("y", list(BETA), lag_y=rho > 0), model.endswith("uneven")
    inverse = np.linalg.inv(np.eye(n) - rho * W.matrix.toarray())
    hits: dict[str, list[dict[str, float]]] = {"conley": [], "cluster": []}
    for replication in range(replications):
        rng = np.random.default_rng([SEED, n, T, int(10 * reach), rho > 0, replication])
        x = {name: field(km, reach, T, rng) for name in BETA}
        there = rng.random((T, n)) > ABSENT if uneven else np.ones((T, n), dtype=bool)
        mean = sum(BETA[k] * x[k] + THETA[k] * lagged(W, x[k], there) for k in x)
        y = (mean + field(km, reach, T, rng)) @ inverse.T
        values = np.where(there[..., None], np.stack([y, *x.values()], axis=2), np.nan)
        panel = zb.Panel(values, tuple(range(T)), W.ids, ("y", *x), present=there)
        for kind, found in hits.items():
            more = {"bandwidth": kilometres} if kind == "conley" else {}
            fit = zb.fit_durbin(spec, panel, W, covariance=kind, **more)
            found.append(covered(fit, rho))
    rows = []
    for kind, found in hits.items():
        frame = pd.DataFrame(found)
        for parameter in frame:
            used = frame[parameter].dropna()
            share = used.mean() if len(used) else np.nan
            rows.append((n, T, model, reach, kind, parameter, replications, len(used), share))
    return pd.DataFrame(rows, columns=[*KEYS, "parameter", "panels", "used", "coverage"])


def lagged(W: zb.Weights, x: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Means (T, n) of x over the neighbours that are there; zero without any."""
    matrix = W.matrix.toarray()
    sums, weights = (x * there) @ matrix.T, there @ matrix.T
    return np.divide(sums, weights, out=np.zeros_like(sums), where=weights > 0)


def covered(fit: zb.Fit, rho: float) -> dict[str, float]:
    """Whether each 95 % interval holds the truth; NaN where there is none."""
    truth = BETA | {f"W_{name}": value for name, value in THETA.items()} | {"rho": rho}
    table = fit.tidy().set_index("term")
    out = {
        term: holds(table.loc[term, "conf_low"], value, table.loc[term, "conf_high"])
        for term, value in truth.items()
        if term in table.index
    }
    if fit.panel.uneven:
        return out
    n = fit.weights.n
    S = np.linalg.inv(np.eye(n) - rho * fit.weights.matrix.toarray())
    effects = zb.spatial_effects(fit).tidy().set_index(["term", "effect"])
    for term in BETA:
        whole = S @ (BETA[term] * np.eye(n) + THETA[term] * fit.weights.matrix.toarray())
        total, direct = whole.sum() / n, np.trace(whole) / n
        for effect, value in (("direct", direct), ("indirect", total - direct), ("total", total)):
            low, high = effects.loc[(term, effect), ["conf_low", "conf_high"]]
            out[f"{effect} {term}"] = holds(low, value, high)
    return out


def holds(low: float, value: float, high: float) -> float:
    """1 or 0; NaN without limits."""
    return float(low <= value <= high) if np.isfinite([low, high]).all() else np.nan


def run(replications: int = 300, workers: int = 1) -> pd.DataFrame:
    """All cells."""
    warnings.simplefilter("ignore", zb.SpatialZbWarning)
    cases = {
        (n, T, model, reach): (n, T, model, reach)
        for T in (PERIODS,)
        for n in SIZES
        for model in ("SLX", "SDM")
        for reach in (0.0, 1.0, 3.0)
    } | {
        (n, PERIODS, "SLX uneven", reach): (n, PERIODS, "SLX uneven", reach)
        for n in SIZES[1:]
        for reach in (0.0, 1.0, 3.0)
    }
    return complete(
        TABLE,
        KEYS[:4],
        cases,
        lambda case: cell(case, replications),
        lambda done: done["panels"] == replications,
    )
