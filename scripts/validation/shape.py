"""Panels of any shape: ρ, λ, β, θ and effects where units come late, rows are missing, and W changes.

The 11 cities of Zhejiang, the 41 of the delta and the 90 counties of Zhejiang, 4 and 11 periods, two-way effects. The habit
of dropping every unit that is not always there is estimated on the same panels, and what notes of fits name: clustered
errors of few units, and the bias that the expansion of the score and the bootstrap tell. By instruments: a SAR, a SAR with
an endogenous w, and a system of two such equations. ``shape.csv`` of ``docs/validation`` is written after every cell;
``shape_verdicts.csv`` judges them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

import spatial_zb as zb
from spatial_zb.base.results import quantile
from spatial_zb.core.likelihood.impacts import average_effects, averaged_over_rows, row_multipliers
from spatial_zb.core.likelihood.score import lean_of
from spatial_zb.core.likelihood.shape import Shape, ShapeEstimate, shape_estimate
from spatial_zb.core.likelihood.shape_covariance import ShapePoint, clusters_at, score_statistic
from spatial_zb.core.likelihood.shape_rows import RowFilter, RowWeights, row_weights
from spatial_zb.core.transforms import effect_space
from spatial_zb.hypotheses import make_case
from spatial_zb.hypotheses.nulls import run_tests
from spatial_zb.models.gmm import fit_gmm
from spatial_zb.models.ml import SMALL_N, notes_on_lean
from spatial_zb.models.shape import ShapeDesign, build_shape, placed, read_lags, shape_cov
from spatial_zb.models.system import _fit_instrumental
from spatial_zb.models.system.design import SystemDesign, design_of_rows
from spatial_zb.weights.periods import row_blocks

from .places import LARGE, OUT, SIZES, complete, weights
from .verdicts import shape_verdicts

TABLE, VERDICTS = OUT / "shape.csv", OUT / "shape_verdicts.csv"
SEED = 20261130
KEYS = ["design", "model", "errors", "n", "periods"]
LENGTHS = (4, 11)
#: Shapes over which the panels of a cell are spread, and the panels; by model and number of periods.
MANY, FEW = 24, 4
PANELS = {
    ("SDM", 4): 1440,
    ("SDM", 11): 480,
    ("SEM", 4): 480,
    ("SEM", 11): 240,
    ("SAC", 4): 480,
    ("SAC", 11): 240,
}
#: What notes name is estimated on every so many of them, by a bootstrap of so many replicates.
EVERY, REPLICATES = 8, 99
#: Rows of ``shape.csv`` that are what an estimator says of its own bias, and whether its note does.
OWN_BIAS = ("expansion", "bootstrap")
BETA, THETA, RHO, LAM = np.array([1.0, 0.5]), np.array([0.5, -0.3]), 0.3, 0.4
CORRELATED, RATIO = 0.7, 3.0
DESIGNS = ("late 25 %", "late 50 %", "holes 10 %", "W changes once", "W every year", "own W of x")
#: Models by 2SLS, and whether w, which shares half of its own error with that of y, is in them.
INSTRUMENTAL = {"SAR, 2SLS": False, "SAR with w, 2SLS": True}
GAMMA, FIRST, SHARED = 0.5, np.array([0.7, 0.5]), 0.5
#: y and g cause each other: γ, ψ of both equations, and the correlation of their errors.
MUTUAL, OWN, TOGETHER = np.array([0.4, -0.3]), np.array([0.3, 0.2]), 0.5
SYSTEM = zb.SystemSpec(
    {
        "one": zb.Equation("y", ["g"], ["x1", "x2"], lag_endog=[]),
        "two": zb.Equation("g", ["y"], ["x3", "x4"], lag_endog=[]),
    }
)
Cell = tuple[str, str, str, int, int]
Found = dict[str, tuple[float, float, float]] | None


def design() -> list[Cell]:
    """Every cell: what is uneven, model, errors, units, periods."""
    cells = [(name, "SDM", "iid", n, T) for name in DESIGNS for n in SIZES for T in LENGTHS]
    cells += [("late 50 %", model, "iid", n, T) for model in ("SEM", "SAC") for n in SIZES for T in LENGTHS]
    cells += [
        ("late 50 %", "SDM", errors, n, T) for errors in ("AR 0.7", "ratio 3") for n in SIZES for T in LENGTHS
    ]
    shapes = ("late 50 %", "holes 10 %", "W every year")
    larger = [(n, T) for n in SIZES[1:] for T in LENGTHS]
    cells += [(name, model, "iid", *size) for model in INSTRUMENTAL for name in shapes for size in larger]
    cells += [("late 50 %", model, "AR 0.7", *size) for model in INSTRUMENTAL for size in larger]
    cells += [("late 50 %", "system, 3SLS", "iid", *size) for size in larger]
    return cells


def many_units() -> list[Cell]:
    """Cells of more units than dense filters are for, with λ."""
    return [
        ("late 50 %", model, errors, LARGE, 4) for errors in ("iid", "AR 0.7") for model in ("SEM", "SAC")
    ]


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


def counts(cell: Cell) -> tuple[int, int]:
    """Shapes and panels of a cell: few where errors differ or units are many, by instruments fewer shapes as well."""
    _, model, errors, n, T = cell
    if n == LARGE:
        return FEW, 100
    if (model, T) not in PANELS:
        return FEW, 400
    return MANY, PANELS[model, T] if errors == "iid" else 240


def panels(cell: Cell, replications: int, shapes: int) -> Iterator[tuple[str, Found, dict[str, float]]]:
    """By panel and estimate: value, error and quantile of every parameter (None without a root), and what is true."""
    _, model, errors, n, T = cell
    root = np.random.SeedSequence([SEED, [*design(), *many_units()].index(cell)])
    for child in root.spawn(shapes):
        rng = np.random.default_rng(child)
        world = drawn(cell, rng)
        if model in INSTRUMENTAL:
            yield from by_instruments(cell, world, rng, replications // shapes)
            continue
        if model.startswith("system"):
            yield from by_system(cell, world, rng, replications // shapes)
            continue
        there = world.there
        x = np.stack([noise(cell, rng, 1)[0] + rng.standard_normal(n) for _ in range(2)], axis=-1)[there]
        shape, less = shape_of(world, x, model), dropped(world) if n < LARGE else None
        kept = world.kept[np.nonzero(there)[1]]
        smaller = shape_of(less, x[kept], model) if less is not None else None
        mean = x @ BETA + (world.Wx.matrix @ x @ THETA if model == "SDM" else 0.0)
        mean = mean + rng.standard_normal(n)[shape.unit] + rng.standard_normal(T)[np.nonzero(there)[0]]
        true = truths(model) | true_effects(cell, world)
        for number, e in enumerate(noise(cell, rng, replications // shapes)[:, there]):
            u = RowFilter(world.V, LAM).solve(e) if model != "SDM" else e
            y = RowFilter(world.W, RHO).solve(mean + u) if model != "SEM" else mean + u
            yield "adjusted score", estimated(shape, y, world.Wx, errors), true
            if number % EVERY == 0 and model != "SAC":
                for name, bias in own_bias(cell, shape, y, rng).items():
                    yield name, bias, dict.fromkeys(bias, 0.0)
            if number % (EVERY // 2) == 0 and n <= SMALL_N and errors == "iid":
                yield "clustered", estimated(shape, y, world.Wx, "cr2"), true
            if smaller is not None and less is not None:
                yield "units dropped", estimated(smaller, y[kept], less.Wx, errors), true


def own_bias(
    cell: Cell, shape: Shape, y: NDArray[np.float64], rng: np.random.Generator
) -> dict[str, dict[str, tuple[float, float, float]]]:
    """What the expansion of the score says of the bias of one estimate, with whether a note does; then a bootstrap, where
    a model is fast and the cell small."""
    found = shape_estimate(shape, y)
    if not found.solved:
        return {}
    told, lean = notes_on_lean(ShapePoint(found)), lean_of(found)
    rho = shape.W is not None
    known = {"rho" if rho else "lam": lean.of} | ({"theta": float(lean.delta[2])} if rho else {})
    out = {"expansion": {**known, "says": float(bool(told))}}
    if cell[3] <= SMALL_N or (rho and cell[3] < SIZES[-1] and cell[4] < LENGTHS[-1]):
        out["bootstrap"] = dict(zip(known, resampled_bias(found, rng)[[0, 2]], strict=False))
    return {
        name: {p: (float(value), np.nan, np.nan) for p, value in bias.items()} for name, bias in out.items()
    }


def resampled_bias(found: ShapeEstimate, rng: np.random.Generator) -> NDArray[np.float64]:
    """Mean of ρ̂ (or λ̂), β̂ and θ̂ of the first regressor over normal replicates, less the estimate."""
    score, shape = found.score, found.score.shape
    through = RowFilter(shape.V, found.lam).solve if shape.V is not None else lambda errors: errors
    right = score.y - found.rho * score.Wy - through(found.e)
    Y = right[:, None] + through(np.sqrt(found.sigma2) * rng.standard_normal((len(right), REPLICATES)))
    if shape.W is not None:
        Y = RowFilter(shape.W, found.rho).solve(Y)

    def own(one: ShapeEstimate) -> list[float]:
        return [
            one.rho if shape.W is not None else one.lam,
            one.delta[0],
            one.delta[2] if len(one.delta) > 2 else np.nan,
        ]

    again = [own(one) for one in (shape_estimate(shape, y) for y in Y.T) if one.solved]
    return np.mean(again, axis=0) - own(found)


def by_instruments(
    cell: Cell, world: World, rng: np.random.Generator, count: int
) -> Iterator[tuple[str, Found, dict[str, float]]]:
    """The same by 2SLS on the rows that exist, and on the units that are always there."""
    _, model, errors, n, T = cell
    there, endogenous = world.there, INSTRUMENTAL[model]
    period, unit = np.nonzero(there)
    x, z = (
        np.stack([noise(cell, rng, 1)[0] + rng.standard_normal(n) for _ in range(2)], axis=-1)[there]
        for _ in range(2)
    )
    effects = rng.standard_normal(n)[unit] + rng.standard_normal(T)[period]
    mean = x @ BETA + effects
    both = {"2SLS": (world, np.ones(len(unit), dtype=bool))}
    if (less := dropped(world)) is not None:
        both["2SLS, units dropped"] = less, world.kept[unit]
    designs = {
        name: (rows_of(part, x[kept], z[kept] if endogenous else None), kept)
        for name, (part, kept) in both.items()
    }
    m = averaged_over_rows(row_multipliers(RHO, world.W, world.W), there.sum(axis=1))
    direct, indirect = average_effects(np.array([GAMMA if endogenous else BETA[0]]), np.zeros(1), m)[0][0, :2]
    true = {"beta": float(BETA[0]), "rho": RHO, "direct": float(direct), "indirect": float(indirect)}
    true |= {"gamma": GAMMA} if endogenous else {}
    for e, v in zip(noise(cell, rng, count)[:, there], noise(cell, rng, count)[:, there], strict=True):
        w = z @ FIRST + SHARED * e + v * np.sqrt(1 - SHARED**2) + effects
        y = RowFilter(world.W, RHO).solve(mean + e + (GAMMA * w if endogenous else 0.0))
        for name, (rows, kept) in designs.items():
            yield name, two_stage(rows, y[kept], w[kept], errors), true


def rows_of(world: World, x: NDArray[np.float64], z: NDArray[np.float64] | None) -> ShapeDesign:
    """The design of a SAR on the rows of a world, w with instruments z beside x (N, 2) where given; y is to come."""
    more = {} if z is None else {"endog": ["w"], "instruments": ["z1", "z2"]}
    y = np.random.default_rng(0).standard_normal(len(x))
    columns = [y, *x.T] if z is None else [y, *x.T, y**2, *z.T]
    panel, W = panel_of(world, np.column_stack(columns), ("y", "x1", "x2", "w", "z1", "z2")[: len(columns)])
    spec = zb.DurbinSpec("y", ["x1", "x2"], lag_x=[], **more)
    return build_shape(spec, panel, read_lags(spec, panel, W, None, None), ("rows",))


def two_stage(rows: ShapeDesign, y: NDArray[np.float64], w: NDArray[np.float64], errors: str) -> Found:
    """Value, standard error and quantile of ρ, the coefficients and effects; None where ρ is outside its interval."""
    spec, shape = rows.spec, rows.shape
    W = shape.W
    assert W is not None, "a SAR"
    Z = rows.Z.copy()
    if spec.endog:
        Z[..., 2][rows.present] = shape.effects.off(w)
    off = (placed(shape.effects.off(values), rows.present) for values in (y, W.matrix @ y))
    drawn_design = replace(rows, values=y, Z=Z, **dict(zip(("y", "Wy"), off, strict=True)))
    fit = fit_gmm(drawn_design, "information" if errors == "iid" else "cr2", 2, None)
    if not fit.converged:
        return None
    source = "w" if spec.endog else "x1"
    m = averaged_over_rows(row_multipliers(float(fit.params["rho"]), W, W), np.diff(shape.starts))
    effects, slopes = average_effects(fit.params[[source]].to_numpy(), np.zeros(1), m)
    gradients = {"beta": {"x1": 1.0}, "rho": {"rho": 1.0}} | ({"gamma": {"w": 1.0}} if spec.endog else {})
    values = {"beta": fit.params["x1"], "rho": fit.params["rho"], "gamma": fit.params.get("w")}
    for at, name in enumerate(("direct", "indirect")):
        gradients[name] = {source: slopes[0, at, 0], "rho": slopes[0, at, 2]}
        values[name] = effects[0, at]
    out = {}
    for name, g in gradients.items():
        full = np.array([g.get(term, 0.0) for term in fit.params.index])
        used = np.flatnonzero(full)
        q = float(np.ravel(quantile(0.025, fit.degrees(full)))[0])
        variance = full[used] @ fit.cov.to_numpy()[np.ix_(used, used)] @ full[used]
        out[name] = float(values[name]), float(np.sqrt(variance)), q
    return out


def by_system(
    cell: Cell, world: World, rng: np.random.Generator, count: int
) -> Iterator[tuple[str, Found, dict[str, float]]]:
    """Two equations by 3SLS on the rows that exist, and on the units that are always there."""
    _, _, _, n, T = cell
    there = world.there
    period, unit = np.nonzero(there)
    x = np.stack([noise(cell, rng, 1)[0] + rng.standard_normal(n) for _ in range(4)], axis=-1)[there]
    own = rng.standard_normal((n, 2))[unit] + rng.standard_normal((T, 2))[period]
    mean = np.column_stack([x[:, :2] @ BETA, x[:, 2:] @ BETA]) + own
    both = {"3SLS": (world, np.ones(len(unit), dtype=bool))}
    if (less := dropped(world)) is not None:
        both["3SLS, units dropped"] = less, world.kept[unit]
    W, one = world.W.matrix.toarray(), np.eye(len(unit))
    inverse = np.linalg.inv(
        np.block([[one - OWN[0] * W, -MUTUAL[0] * one], [-MUTUAL[1] * one, one - OWN[1] * W]])
    )
    E = inverse[: len(unit), : len(unit)] * BETA[0]
    true = {"beta": float(BETA[0]), "gamma": float(MUTUAL[0]), "psi": float(OWN[0])}
    true |= {"direct": float(np.trace(E)) / len(E), "indirect": float(E.sum() - np.trace(E)) / len(E)}
    names = ("y", "g", "x1", "x2", "x3", "x4")
    first = np.column_stack([np.random.default_rng(0).standard_normal(mean.shape), x])  # y is to come
    designs = {
        name: (design_of_rows(SYSTEM, *panel_of(part, first[kept], names), 2, False, ("rows",), True), kept)
        for name, (part, kept) in both.items()
    }
    for e, v in zip(noise(cell, rng, count)[:, there], noise(cell, rng, count)[:, there], strict=True):
        errors = np.column_stack([e, TOGETHER * e + np.sqrt(1 - TOGETHER**2) * v])
        y = (inverse @ (mean + errors).T.ravel()).reshape(2, -1).T
        for name, (rows, kept) in designs.items():
            yield name, three_stage(rows, y[kept]), true


def three_stage(design: SystemDesign, y: NDArray[np.float64]) -> Found:
    """Value, standard error and quantile of the first equation's coefficients and of the effects of its x on it."""
    rows, whole = design.rows, design.whole
    assert rows is not None, "on rows"
    assert whole is not None, "on rows"
    cubes = [placed(column, rows.present) for column in y.T]
    own, lagged = (
        np.column_stack([rows.taken(part) for part in parts])
        for parts in (cubes, [rows.lag(cube) for cube in cubes])
    )
    Z = [block.copy() for block in whole.Z]
    for at, g, l, lag in zip(
        *(getattr(whole.links, k) for k in ("position", "row", "column", "lagged")), strict=True
    ):
        Z[g][:, at - whole.bounds[g]] = (lagged if lag else own)[:, l]
    drawn_arrays = replace(whole, y=own, Z=tuple(Z))
    drawn_design = replace(design, whole=drawn_arrays, arrays=rows.turned(drawn_arrays))
    fit = _fit_instrumental(drawn_design, "3sls", "classical", True)
    effects = zb.spatial_effects(fit) if fit.converged and fit.stability().stable else None
    if effects is None or effects.reason is not None:
        return None
    own_rows = fit.tidy().set_index(["equation", "term"]).loc["one"]
    found = effects.tidy().set_index(["response", "source", "effect"]).loc[("one", "x1")]
    names = {"beta": "x1", "gamma": "g", "psi": "W_y"}
    out = {name: own_rows.loc[term, ["estimate", "std_error"]] for name, term in names.items()}
    out |= {name: found.loc[name, ["estimate", "std_error"]] for name in ("direct", "indirect")}
    return {name: (float(value), float(error), 1.959964) for name, (value, error) in out.items()}


def panel_of(
    world: World, values: NDArray[np.float64], names: Sequence[str]
) -> tuple[zb.Panel, zb.weights.PeriodWeights]:
    """The rows (N, k) of a world as a panel, and its W by period."""
    there = world.there
    ids = pd.Index([f"u{i:03d}" for i in range(there.shape[1])])
    panel = zb.Panel(placed(values, there), tuple(range(len(there))), ids, tuple(names), present=there)
    own = {t: zb.Weights(world.W.distinct[d], ids[there[t]], "W") for t, d in enumerate(world.W.which)}
    return panel, zb.weights.by_period(own, "keep")


def estimated(shape: Shape, y: NDArray[np.float64], Wx: RowWeights, errors: str) -> Found:
    """Value, standard error and quantile of ρ, λ, β and θ of the first regressor and its effects; None without a root."""
    found = shape_estimate(shape, y)
    if not found.solved:
        return None
    point, k = ShapePoint(found), shape.Z.shape[1]
    cov, positive = shape_cov(
        point, "information" if errors == "iid" else "cr2" if shape.few else "cr1", None
    )
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
    clusters = clusters_at(point) if errors != "iid" and shape.few else None
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


def compute(cell: Cell, replications: int | None = None, shapes: int | None = None) -> pd.DataFrame:
    """One row by estimate and parameter; by default with the panels and shapes that the table has."""
    start = time.perf_counter()
    found: dict[str, list] = {}
    shapes, replications = (
        given or own for given, own in zip((shapes, replications), counts(cell), strict=True)
    )
    for name, values, true in panels(cell, replications, shapes):
        found.setdefault(name, []).append((values, true))
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
    table.loc[table["estimator"].isin(OWN_BIAS), ["error_over_sd", "coverage"]] = np.nan
    front = dict(zip(KEYS, cell, strict=True)) | {"replications": replications, "seed": SEED}
    return table.assign(**front)[[*front, *rows[0]]]


def run(replications: int = 0, workers: int = 1) -> pd.DataFrame:
    """Compute what the table lacks, and judge it; ``replications`` other than 0 for all cells. A cell takes 5 to 30 s."""

    def whole(done: pd.DataFrame) -> pd.Series:
        wanted = [replications or counts(tuple(row))[1] for row in done[KEYS].itertuples(index=False)]
        return (done["seed"] == SEED) & (done["replications"] == wanted)

    cells = {cell: cell for cell in design()}
    table = complete(TABLE, KEYS, cells, partial(compute, replications=replications), whole, "%.4g")
    shape_verdicts(pd.read_csv(TABLE)).to_csv(VERDICTS, index=False, float_format="%.4g")
    return table


def run_large(replications: int = 0, workers: int = 1) -> pd.DataFrame:
    """The same of many units: ``shape_large.csv``, a cell takes minutes."""
    cells = {cell: cell for cell in many_units()}
    whole = partial(complete, OUT / "shape_large.csv", KEYS, cells)
    return whole(partial(compute, replications=replications), lambda done: done["seed"] == SEED, "%.4g")


# --- where bias comes from

BIAS_TABLE = OUT / "shape_bias.csv"


def compute_bias(cell: tuple[int, int], replications: int) -> pd.DataFrame:
    """Bias of ρ, β and θ in mean and median, as it is and less that of a bootstrap; of ρ what theory says of it.

    ``score`` is the mean of ψ_ρ at the truth in its standard deviations, ``curvature`` the bias that its second derivative
    and its correlation with the first give: Cov(ψ, ψ')/h² + ψ''Var(ψ)/2h³, h = −ψ'.
    """
    n, T = cell
    start, kind = time.perf_counter(), ("late 50 %", "SDM", "iid", n, T)
    off, moved, parts = [], [], []
    for child in np.random.SeedSequence([SEED, 1, n, T]).spawn(MANY):
        rng = np.random.default_rng(child)
        world = drawn(kind, rng)
        period, unit = np.nonzero(world.there)
        x = np.stack([noise(kind, rng, 1)[0] + rng.standard_normal(n) for _ in range(2)], axis=-1)[
            world.there
        ]
        shape, true = shape_of(world, x, "SDM"), np.array([RHO, BETA[0], THETA[0]])
        mean = (
            x @ BETA
            + world.Wx.matrix @ x @ THETA
            + rng.standard_normal(n)[unit]
            + rng.standard_normal(T)[period]
        )
        for e in noise(kind, rng, replications // MANY)[:, world.there]:
            found = shape_estimate(shape, RowFilter(world.W, RHO).solve(mean + e))
            if not found.solved:
                continue
            at = [float(found.score.of_rho(RHO + step)) for step in (-1e-3, 0.0, 1e-3)]
            parts.append([at[1], (at[2] - at[0]) / 2e-3, (at[2] - 2 * at[1] + at[0]) / 1e-6])
            own = np.array([found.rho, *found.delta[[0, 2]]])
            off.append(own - true)
            moved.append(resampled_bias(found, rng))
    raw, less = np.array(off), np.array(off) - np.array(moved)
    score, slope, curve = np.array(parts).T
    h = -slope.mean()
    curvature = np.cov(score, slope)[0, 1] / h**2 + curve.mean() * score.var() / (2 * h**3)
    rows = []
    for k, name in enumerate(("rho", "beta", "theta")):
        of_rho = name == "rho"
        rows.append(
            {
                "parameter": name,
                "used": len(raw),
                "bias": raw[:, k].mean(),
                "bias_mcse": raw[:, k].std(ddof=1) / np.sqrt(len(raw)),
                "median_bias": np.median(raw[:, k]),
                "sd": raw[:, k].std(ddof=1),
                "corrected_bias": less[:, k].mean(),
                "corrected_median_bias": np.median(less[:, k]),
                "corrected_sd": less[:, k].std(ddof=1),
                "score": score.mean() / score.std(ddof=1) if of_rho else np.nan,
                "curvature": curvature if of_rho else np.nan,
            }
        )
    front = dict(zip(("n", "periods"), cell, strict=True)) | {"replications": replications, "seed": SEED}
    table = pd.DataFrame(rows).assign(**front, seconds=time.perf_counter() - start)
    return table[[*front, *rows[0], "seconds"]]


def run_bias(replications: int = 720, workers: int = 1) -> pd.DataFrame:
    """Where the bias of short panels comes from, and what a bootstrap takes off; half the units late."""
    cells = [(11, 4), (41, 4), (90, 4), (41, 11)]
    return complete(
        BIAS_TABLE,
        ["n", "periods"],
        {cell: cell for cell in cells},
        partial(compute_bias, replications=replications),
        lambda done: (done["seed"] == SEED) & (done["replications"] == replications),
        "%.4g",
    )


# --- sizes of the chain of tests

TESTS_TABLE = OUT / "shape_tests.csv"
#: By what is true (ρ, λ, θ): tests whose hypothesis holds.
NULLS = {
    "no lags": ((0.0, 0.0, 0.0), ("LM lag", "LM error", "F Durbin terms, OLS to SLX", "Moran of residuals")),
    "SAR": (
        (RHO, 0.0, 0.0),
        ("LM Durbin terms from SAR", "Wald SDM to SAR", "LM error from SAR", "LM error, robust"),
    ),
    "SEM": ((0.0, LAM, 0.0), ("LM lag from SEM", "LM lag, robust", "Wald SDM to SEM")),
    "SDM": (
        (RHO, 0.0, 1.0),
        (
            "LM error from SDM",
            "Serial correlation (LM*)",
            "Serial correlation, forward and backward",
            "Variances and diagonal of G",
            "Variances and place in W",
            "Cross-section dependence",
        ),
    ),
}
#: The robust tests allow for a small coefficient only: the same far from zero, and with effects of units alone.
STRONG = 0.6
NULLS |= {
    f"{model} = {STRONG:g}{effects}": (truth, tests)
    for effects in ("", ", unit effects")
    for model, truth, tests in (
        ("SAR, rho", (STRONG, 0.0, 0.0), ("LM error from SAR", "LM error, robust")),
        ("SEM, lam", (0.0, STRONG, 0.0), ("LM lag from SEM", "LM lag, robust")),
    )
}


def compute_tests(cell: tuple[str, int, int], replications: int) -> pd.DataFrame:
    """Share of panels in which each true hypothesis is rejected at 5 %, half the units late."""
    null, n, T = cell
    start, (truth, tests) = time.perf_counter(), NULLS[null]
    alone = null.endswith("unit effects")
    spec = zb.DurbinSpec("y", ["a", "b"], fixed_effects="unit" if alone else "two_way")
    rng = np.random.default_rng([SEED, list(NULLS).index(null), n, T])
    kind: Cell = ("late 50 %", "SDM", "iid", n, T)
    near = weights(n, "contiguity")
    found: dict[str, list[float]] = {test: [] for test in tests}
    for _ in range(FEW):
        world = drawn(kind, rng)
        there, (rho, lam, theta) = world.there, truth
        x = np.stack([noise(kind, rng, 1)[0] + rng.standard_normal(n) for _ in range(2)], axis=-1)
        rows, (period, unit) = x[there], np.nonzero(there)
        mean = rows @ BETA + theta * (world.W.matrix @ rows @ THETA)
        mean = mean + rng.standard_normal(n)[unit] + (0.0 if alone else rng.standard_normal(T)[period])
        values = np.where(
            there[..., None], np.concatenate([noise(kind, rng, 1)[0][..., None], x], axis=2), np.nan
        )
        panel = zb.Panel(values, tuple(range(2001, 2001 + T)), near.ids, ("y", "a", "b"), present=there)
        case = make_case(spec, panel, near, "lee_yu")  # its y is drawn anew below
        for e in noise(kind, rng, replications // FEW)[:, there]:
            u = RowFilter(world.W, lam).solve(e)
            y = RowFilter(world.W, rho).solve(mean + u)
            for row in run_tests(case.redrawn(y), ("lag_error", "durbin", "errors", "dependence"), tests):
                if row.of in ("", "pooled"):
                    found[row.test].append(row.p_value)
    table = pd.DataFrame(
        [
            {
                "test": test,
                "rejects": np.mean(np.array(p)[np.isfinite(p)] < 0.05),
                "used": np.isfinite(p).sum(),
            }
            for test, p in found.items()
        ]
    ).assign(replications=replications, seed=SEED, seconds=time.perf_counter() - start)
    front = dict(zip(("null", "n", "periods"), cell, strict=True))
    return table.assign(**front)[[*front, *table.columns]]


def run_sizes(replications: int = 400, workers: int = 1) -> pd.DataFrame:
    """Sizes of the chain on panels of which half the units come late."""
    cells = [(null, n, T) for n in SIZES for T in LENGTHS for null in NULLS]
    return complete(
        TESTS_TABLE,
        ["null", "n", "periods"],
        {cell: cell for cell in cells},
        partial(compute_tests, replications=replications),
        lambda done: (done["seed"] == SEED) & (done["replications"] == replications),
        "%.4g",
    )
