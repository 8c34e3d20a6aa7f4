"""Sets for weak instruments: how often they hold the truth, how often they have no bounds, and how long they are.

One equation of a system, y = γq + ψ₁Wy + ψ₂Wq + xβ + u, two-way effects, 13 periods, contiguity of the 41 cities of the
delta and of the 11 of Zhejiang. q has instruments z₁, z₂ of ``strength`` and an error correlated 0.8 with u; regressors and
instruments last over time (AR 0.7), errors are independent or AR 0.7. Instruments are z₁, z₂ and lags up to W or W². With 11
units three endogenous terms need three instruments, more than a fifth: the package refuses, the study shows why, and takes
γ alone with two instruments beside it. The table ``sets.csv`` of ``docs/validation`` is written after every cell.
"""

from __future__ import annotations

import time
from itertools import product

import numpy as np
import pandas as pd

from spatial_zb.core.system.sets import Scalar, WeakMoments, lowest, scalar_pieces, weak_moments
from spatial_zb.core.transforms import demean

from .places import OUT, complete, weights

TABLE = OUT / "sets.csv"
SEED, PERIODS, BURN, LEVEL = 20490146, 13, 30, 0.95
GAMMA, OWN, CROSS, CORRELATION = 0.3, 0.3, 0.2, 0.8
KEYS = ["n", "terms", "instruments", "strength", "errors"]
Cell = tuple[int, int, int, float, str]
#: Of so many panels of a cell the sets themselves are found; of all others their values at the truth and at infinity.
FOUND = 100


def design() -> list[Cell]:
    """n, endogenous terms, instruments, strength, errors."""
    errors = ("iid", "ar")
    return [
        *product((41,), (3,), (8, 5), (0.0, 0.2, 1.0), errors),
        *product((11,), (1,), (2,), (0.0, 0.2, 1.0), errors),
        *product((11,), (3,), (3,), (0.0, 1.0), errors),
    ]


def drawn(cell: Cell, index: int) -> tuple[WeakMoments, np.ndarray]:
    """The moments of one panel, and the truth (γ, ψ₁, ψ₂) or (γ,)."""
    n, terms, k, strength, errors = cell
    rng = np.random.default_rng([SEED, n, terms, k, round(100 * strength), len(errors), index])
    W = weights(n, "contiguity").matrix.toarray()
    one = np.eye(n)

    def series(count: int, phi: float) -> np.ndarray:
        noise = rng.standard_normal((PERIODS + BURN, count, n))
        out = np.zeros((count, n))
        kept = []
        for shock in noise:
            out = phi * out + np.sqrt(1 - phi**2) * shock
            kept.append(out)
        return np.array(kept[BURN:]).transpose(1, 0, 2)

    x, z1, z2 = series(3, 0.7)
    u, v = series(2, 0.7 if errors == "ar" else 0.0)
    v = CORRELATION * u + np.sqrt(1 - CORRELATION**2) * v
    own, cross = (OWN, CROSS) if terms == 3 else (0.0, 0.0)
    solve = np.linalg.inv(
        np.block([[one - own * W, -GAMMA * one - cross * W], [-0.2 * one - 0.1 * W, one - 0.2 * W]])
    )
    both = np.concatenate([strength * x + u, strength * (z1 + z2) + v], axis=1) @ solve.T
    y, q = both[:, :n], both[:, n:]
    once = {"x": x @ W.T, "z1": z1 @ W.T, "z2": z2 @ W.T}
    instruments = {
        8: [z1, z2, *once.values(), *(lag @ W.T for lag in once.values())],
        5: [z1, z2, *once.values()],
        3: [z1, once["x"], once["z1"]],
        2: [z1, z2],
    }[k]
    included = [x, z2] if k == 3 else [x]
    endogenous = [q, y @ W.T, q @ W.T][:terms]
    columns = [
        np.column_stack([demean(values, "two_way").ravel() for values in group])
        for group in ([y], endogenous, included, instruments)
    ]
    truth = np.array([GAMMA, OWN, CROSS])[:terms]
    return weak_moments(columns[0][:, 0], *columns[1:], n, True), truth


def scalars(moments: WeakMoments, truth: np.ndarray) -> dict[str, tuple[Scalar, float, float]]:
    """Each coefficient and the total effect: its scalar around 2SLS, its standard error there, and its true value."""
    unit, terms = np.eye(len(truth) + 1), len(truth)
    b = moments.two_stage()
    c = np.array([1.0, *-b]) * moments.scale
    omega = np.einsum("j,l,jlqr->qr", c, c, moments.blocks)
    turn = np.linalg.pinv(moments.sums[:, 1:] * moments.scale[1:])
    cov = turn @ omega @ turn.T
    out = {}
    for j, name in enumerate(("gamma", "psi_own", "psi_cross")[:terms]):
        N = np.delete(unit[:, 1:], j, axis=1)
        error = float(np.sqrt(cov[j, j]))
        out[name] = Scalar(unit[0], -unit[j + 1], N, float(b[j]), 2 * error), error, float(truth[j])
    if terms == 3:
        rest = 1 - b[1]
        estimate, slope = (b[0] + b[2]) / rest, np.array([1, (b[0] + b[2]) / rest, 1]) / rest
        error = float(np.sqrt(slope @ cov @ slope))
        N = np.column_stack([unit[0] - unit[2], unit[1] - unit[3]])
        total = Scalar(unit[0], -unit[1], N, float(estimate), 2 * error)
        out["total"] = total, error, float((truth[0] + truth[2]) / (1 - truth[1]))
    return out


def run_cell(cell: Cell, replications: int) -> pd.DataFrame:
    """One cell: a row for the joint set, and one for each scalar."""
    from scipy import stats

    start, rows = time.perf_counter(), []
    for index in range(replications):
        moments, truth = drawn(cell, index)
        joint, terms = moments.critical(LEVEL), len(truth)
        unit = np.eye(terms + 1)
        away = float(lowest(moments, unit[None, :, 1:])[0][0])
        held = float(moments.value(np.array([1.0, *-truth])))
        rows.append(
            {"of": "joint", "held": held <= joint, "open": away <= joint, "f": moments.f(away, terms - 1)[0]}
        )
        t = stats.t.ppf((1 + LEVEL) / 2, moments.clusters - 1)
        for name, (scalar, error, true) in scalars(moments, truth).items():
            r = scalar.N.shape[1]
            spans = [
                np.column_stack([scalar.c0 + true * scalar.c1, scalar.N]),
                np.column_stack([scalar.c1, scalar.N]),
            ]
            here, far = lowest(moments, np.array(spans))[0]
            shorter = moments.critical(LEVEL, r)
            row = {
                "of": name,
                "held": here <= shorter,
                "held_projection": here <= joint,
                "held_wald": abs(scalar.centre - true) <= t * error,
                "open": far <= shorter,
                "open_projection": far <= joint,
            }
            if index < FOUND and cell[3] == 1.0:
                for label, pieces in zip(
                    ("length", "length_projection"),
                    scalar_pieces(moments, scalar, (shorter, joint)),
                    strict=True,
                ):
                    whole = sum(high - low for low, high in pieces) if pieces else np.nan
                    row[label] = whole / (2 * t * error)
                    row[f"empty{label.removeprefix('length')}"] = not pieces
            rows.append(row)
    frame = pd.DataFrame(rows).groupby("of", sort=False)
    shares = ["held", "held_projection", "held_wald", "open", "open_projection", "empty", "empty_projection"]
    every = pd.DataFrame(rows).columns
    table = frame[[name for name in shares if name in every]].agg(lambda column: column.astype(float).mean())
    table = table.rename(columns={name: name.replace("held", "coverage") for name in shares})
    for name in ("length", "length_projection", "f"):
        if name in every:
            table[f"median_{name}"] = frame[name].median()
    table = table.reset_index()
    head = dict(zip(KEYS, cell, strict=True)) | {"replications": replications, "seed": SEED}
    for position, (key, value) in enumerate(head.items()):
        table.insert(position, key, value)
    return table.assign(seconds=round(time.perf_counter() - start, 1))


def run(replications: int = 1000, workers: int = 1) -> None:
    """Simulate what is missing; the table is written after every cell."""
    complete(
        TABLE,
        KEYS,
        {cell: cell for cell in design()},
        lambda cell: run_cell(cell, replications),
        lambda done: (done["replications"] == replications) & (done["seed"] == SEED),
    )
