"""Panels of any shape: ρ, λ, β, θ and effects where units come late, rows are missing, and W changes.

The 11 cities of Zhejiang, the 41 of the delta and the 90 counties of Zhejiang, 4 and 11 periods, two-way effects. The habit
of dropping every unit that is not always there is estimated on the same panels. ``shape.csv`` of ``docs/validation`` is
written after every cell.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

import spatial_zb as zb
from spatial_zb.base.results import quantile
from spatial_zb.core.likelihood.impacts import average_effects, averaged_over_rows, row_multipliers
from spatial_zb.core.likelihood.shape import Shape, shape_estimate
from spatial_zb.core.likelihood.shape_covariance import ShapePoint, clusters_at, score_statistic
from spatial_zb.core.likelihood.shape_rows import RowFilter, RowWeights, row_weights
from spatial_zb.core.transforms import effect_space
from spatial_zb.models.shape import shape_cov
from spatial_zb.weights.periods import row_blocks

from .places import OUT, SIZES, complete, weights

TABLE = OUT / "shape.csv"
SEED = 20261130
KEYS = ["design", "model", "errors", "n", "periods"]
LENGTHS = (4, 11)
#: Shapes that are drawn in every cell, over which its panels are spread.
SHAPES = 4
BETA, THETA, RHO, LAM = np.array([1.0, 0.5]), np.array([0.5, -0.3]), 0.3, 0.4
CORRELATED, RATIO = 0.7, 3.0
DESIGNS = ("late 25 %", "late 50 %", "holes 10 %", "W changes once", "W every year", "own W of x")
Cell = tuple[str, str, str, int, int]
Found = dict[str, tuple[float, float, float]] | None


def design() -> list[Cell]:
    """Every cell: what is uneven, model, errors, units, periods."""
    cells = [(name, "SDM", "iid", n, T) for name in DESIGNS for n in SIZES for T in LENGTHS]
    cells += [("late 50 %", model, "iid", n, T) for model in ("SEM", "SAC") for n in SIZES for T in LENGTHS]
    cells += [
        ("late 50 %", "SDM", errors, n, T) for errors in ("AR 0.7", "ratio 3") for n in SIZES for T in LENGTHS
    ]
    return cells


@dataclass(frozen=True)
class World:
    """One drawn shape: rows (T, n), the W of y, of x and of the error of these rows, and the units that are always there."""

    there: NDArray[np.bool_]
    W: RowWeights
    Wx: RowWeights
    V: RowWeights
    kept: NDArray[np.bool_]


def drawn(cell: Cell, rng: np.random.Generator) -> World:
    """A shape of the kind that the cell names."""
    name, _, _, n, T = cell
    near, far = weights(n, "contiguity"), weights(n, "nearest 4")
    there = np.ones((T, n), dtype=bool)
    if name.startswith("late"):
        late = rng.permutation(n)[: round(n * int(name.split()[1]) / 100)]
        there[:, late] = np.arange(T)[:, None] >= rng.integers(1, T - 1, len(late))
    if name.startswith("holes"):
        there = rng.random((T, n)) >= 0.1
    by_year: zb.Weights | zb.weights.PeriodWeights = near
    if name == "W changes once":
        by_year = zb.weights.by_period({t: near if t < T / 2 else far for t in range(T)})
    if name == "W every year":
        sizes = np.exp(0.5 * rng.standard_normal(n) + 0.3 * rng.standard_normal((T, n)).cumsum(axis=0))
        drift = {
            t: zb.Weights(sparse.csr_array(near.matrix * sizes[t]), near.ids, "y").standardise()
            for t in range(T)
        }
        by_year = zb.weights.by_period(drift)
    rows = partial(row_blocks, units=near.ids, periods=range(T), present=there)
    own = row_weights(rows(by_year))
    other = row_weights(rows(far)) if name == "own W of x" else own
    return World(there, own, other, row_weights(rows(far)), there.all(axis=0))


def shape_of(world: World, x: NDArray[np.float64], model: str) -> Shape:
    """The shape of a model on the rows of a world, with regressors x (N, 2)."""
    unit, period = np.nonzero(world.there)[1], np.nonzero(world.there)[0]
    N, (T, n) = len(unit), world.there.shape
    places = np.tile(np.arange(N), 2), np.concatenate([unit, n + period])
    effects = effect_space(
        sparse.csc_array(sparse.coo_array((np.ones(2 * N), places), shape=(N, n + T))), unit
    )
    lagged = np.hstack([x, world.Wx.matrix @ x]) if model == "SDM" else x
    lags = (world.W if model != "SEM" else None), (world.V if model != "SDM" else None)
    return Shape(lagged, unit, tuple(world.W.starts), effects, *lags)


def dropped(world: World) -> World | None:
    """What is left by the habit: units that are always there, and the same W among them; None with too few."""
    if world.kept.all() or world.kept.sum() < 5:
        return None
    rows = [np.flatnonzero(world.kept[there]) for there in world.there]
    parts = []
    for weights_of in (world.W, world.Wx, world.V):
        blocks = [weights_of.distinct[d][at][:, at] for d, at in zip(weights_of.which, rows, strict=True)]
        scale = [
            1 / np.where(sums > 0, sums, 1.0) for sums in (np.asarray(b.sum(axis=1)).ravel() for b in blocks)
        ]
        parts.append(
            row_weights(
                [sparse.csr_array(sparse.diags_array(s) @ b) for s, b in zip(scale, blocks, strict=True)]
            )
        )
    there = np.ones((len(rows), int(world.kept.sum())), dtype=bool)
    return World(there, *parts, np.ones(there.shape[1], dtype=bool))


def noise(cell: Cell, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """(count, T, n) of the kind that the cell names."""
    _, _, kind, n, T = cell
    out = rng.standard_normal((count, T, n))
    if kind == "AR 0.7":
        for t in range(1, T):
            out[:, t] = CORRELATED * out[:, t - 1] + np.sqrt(1 - CORRELATED**2) * out[:, t]
    if kind == "ratio 3":
        out *= np.linspace(1.0, RATIO, n) / np.sqrt((np.linspace(1.0, RATIO, n) ** 2).mean())
    return out


def panels(cell: Cell, replications: int) -> Iterator[tuple[str, Found, dict[str, float]]]:
    """By panel and estimate: value, error and quantile of every parameter (None without a root), and what is true."""
    _, model, errors, n, T = cell
    root = np.random.SeedSequence([SEED, design().index(cell)])
    for child in root.spawn(SHAPES):
        rng = np.random.default_rng(child)
        world = drawn(cell, rng)
        there = world.there
        x = np.stack([noise(cell, rng, 1)[0] + rng.standard_normal(n) for _ in range(2)], axis=-1)[there]
        shape, less = shape_of(world, x, model), dropped(world)
        kept = world.kept[np.nonzero(there)[1]]
        smaller = shape_of(less, x[kept], model) if less is not None else None
        mean = x @ BETA + (world.Wx.matrix @ x @ THETA if model == "SDM" else 0.0)
        mean = mean + rng.standard_normal(n)[shape.unit] + rng.standard_normal(T)[np.nonzero(there)[0]]
        true = truths(model) | true_effects(cell, world)
        for e in noise(cell, rng, replications // SHAPES)[:, there]:
            u = RowFilter(world.V, LAM).solve(e) if model != "SDM" else e
            y = RowFilter(world.W, RHO).solve(mean + u) if model != "SEM" else mean + u
            yield "adjusted score", estimated(shape, y, world.Wx, errors), true
            if smaller is not None and less is not None:
                yield "units dropped", estimated(smaller, y[kept], less.Wx, errors), true


def estimated(shape: Shape, y: NDArray[np.float64], Wx: RowWeights, errors: str) -> Found:
    """Value, standard error and quantile of ρ, λ, β and θ of the first regressor and its effects; None without a root."""
    found = shape_estimate(shape, y)
    if not found.solved:
        return None
    point, k = ShapePoint(found), shape.Z.shape[1]
    cov, positive = shape_cov(point, "information" if errors == "iid" else "cr2", None)
    if not positive or cov is None:
        return None
    names = ["beta", "", "theta", ""][:k] + ["rho"] * (shape.W is not None) + ["lam"] * (shape.V is not None)
    gradients = {name: np.eye(len(names) + 1)[i] for i, name in enumerate(names) if name}
    values = dict(
        zip(
            names,
            [*found.delta, *([found.rho] if shape.W else []), *([found.lam] if shape.V else [])],
            strict=True,
        )
    )
    if shape.W is not None:
        theta = np.array([found.delta[2] if k == 4 else 0.0])
        m = averaged_over_rows(row_multipliers(found.rho, shape.W, Wx), np.diff(shape.starts))
        effects, slopes = average_effects(found.delta[:1], theta, m)
        for at, name in enumerate(("direct", "indirect")):
            gradients[name] = np.zeros(len(names) + 1)
            gradients[name][[0, names.index("rho")]] = slopes[0, at, [0, 2]]
            if k == 4:
                gradients[name][2] = slopes[0, at, 1]
            values[name] = float(effects[0, at])
    out = {}
    clusters = clusters_at(point) if errors != "iid" else None
    for name, g in gradients.items():
        df = None if clusters is None else clusters.degrees(g[: k + 1])
        q = float(np.ravel(quantile(0.025, None if df is None else np.atleast_1d(df)))[0])
        used = np.flatnonzero(g)
        out[name] = values[name], float(np.sqrt(g[used] @ cov[np.ix_(used, used)] @ g[used])), q
    if (shape.W is None) != (shape.V is None):  # by a root of the statistic, as an error of one
        true = RHO if shape.W is not None else LAM
        statistic = score_statistic(found.score, true, errors != "iid")
        out["set"] = true + float(np.sqrt(statistic)), 1.0, 1.96
    return out


def truths(model: str) -> dict[str, float]:
    """What coefficients are true; of ``set``, the score set, the coverage says whether it holds ρ or λ, and no more."""
    return {"beta": float(BETA[0])} | {
        "SDM": {"theta": float(THETA[0]), "rho": RHO, "set": RHO},
        "SAC": {"rho": RHO, "lam": LAM},
        "SEM": {"lam": LAM, "set": LAM},
    }[model]


def true_effects(cell: Cell, world: World) -> dict[str, float]:
    """Direct and indirect effect of the first regressor, averages over the rows of a world."""
    if cell[1] == "SEM":
        return {}
    m = averaged_over_rows(row_multipliers(RHO, world.W, world.Wx), world.there.sum(axis=1))
    effects, _ = average_effects(BETA[:1], THETA[:1] if cell[1] == "SDM" else np.zeros(1), m)
    return {"direct": float(effects[0, 0]), "indirect": float(effects[0, 1])}


def compute(cell: Cell, replications: int) -> pd.DataFrame:
    """One row by estimate and parameter."""
    start = time.perf_counter()
    found: dict[str, list] = {"adjusted score": [], "units dropped": []}
    for name, values, true in panels(cell, replications):
        found[name].append((values, true))
    rows = []
    for name, both in found.items():
        solved = [(values, true) for values, true in both if values is not None]
        for parameter in both[0][1] if solved else ():
            value, error, q = np.array([values[parameter] for values, _ in solved]).T
            true = np.array([known[parameter] for _, known in solved])
            off = value - true
            rows.append(
                {
                    "estimator": name,
                    "parameter": parameter,
                    "truth": true.mean(),
                    "used": len(solved),
                    "no_root": len(both) - len(solved),
                    "bias": off.mean(),
                    "bias_mcse": off.std(ddof=1) / np.sqrt(len(off)),
                    "median_bias": np.median(off),
                    "sd": off.std(ddof=1),
                    "error_over_sd": np.median(error) / off.std(ddof=1),
                    "coverage": (np.abs(off) <= q * error).mean(),
                    "seconds": time.perf_counter() - start,
                }
            )
    table = pd.DataFrame(rows)
    table.loc[table["parameter"] == "set", ["bias", "bias_mcse", "median_bias", "sd", "error_over_sd"]] = (
        np.nan
    )
    front = dict(zip(KEYS, cell, strict=True)) | {"replications": replications, "seed": SEED}
    return table.assign(**front)[[*front, *rows[0]]]


def run(replications: int = 400, workers: int = 1) -> pd.DataFrame:
    """Compute what the table lacks; one process, a cell takes seconds."""
    return complete(
        TABLE,
        KEYS,
        {cell: cell for cell in design()},
        partial(compute, replications=replications),
        lambda done: (done["seed"] == SEED) & (done["replications"] == replications),
        "%.4g",
    )
