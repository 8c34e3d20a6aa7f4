"""A grid of 1,152 specifications beside the same models one by one; run by hand, never by the tests.

    python benchmarks/grid.py            # prints the table
    python benchmarks/grid.py --write    # puts it into docs/performance.md as well

Four models (SAR, SDM, SEM, SDEM) × sixteen sets of controls × two measures of y × three W × three samples, unit effects,
with average effects and delta errors. One process per case with one BLAS thread; the three ways are timed in turn by
processor time. The grid is timed whole and cold: log-determinants included. Our own single fits and spreg (which gives no
effects: ``Panel_FE_Lag`` and ``Panel_FE_Error`` on [X, WX]) are measured on every so-many-th specification, and their time
is multiplied up.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from page import ROOT, put_table
from single_equation import data, seconds

#: (units, periods, every so-many-th specification by our single fits, and by spreg)
CASES = ((90, 20, 8, 24), (1000, 10, 24, 48))
MODELS = ["SAR", "SDM", "SEM", "SDEM"]
CONTROLS = ["b", "c", "d", "e"]


def problem(n: int, T: int):
    """Panel, family, weights and samples."""
    import numpy as np
    from scipy import sparse
    from scipy.spatial import cKDTree

    import spatial_zb as zb
    from spatial_zb.compare import spec_family, subsets

    W, panel = data(n, T)
    generator = np.random.default_rng(2)
    more = {name: generator.normal(size=(T, n)) + 0.3 * panel.array("a") for name in ("d", "e")}
    panel = panel.with_columns({**more, "y2": panel.array("y") + 0.3 * generator.normal(size=(T, n))})
    links = sparse.csr_array((W.matrix @ W.matrix + W.matrix) != 0).astype(float)
    links.setdiag(0)
    links.eliminate_zeros()
    points = np.random.default_rng(1).random((n, 2))  # those of the triangulation
    near = cKDTree(points).query(points, 7)[1][:, 1:]
    pairs = sparse.csr_array((np.ones(6 * n), (np.repeat(np.arange(n), 6), near.ravel())), shape=(n, n))
    weights = {
        "contiguity": W,
        "second order": zb.Weights(links, W.ids).standardise("row"),
        "six nearest": zb.Weights(pairs, W.ids).standardise("row"),
    }
    half = len(panel.periods) // 2
    samples = {
        "all": {},
        "early": {"periods": panel.periods[:half]},
        "late": {"periods": panel.periods[half:]},
    }
    family = spec_family(
        zb.DurbinSpec("y", ["a"], fixed_effects="unit"),
        models=MODELS,
        controls=subsets(CONTROLS),
        y=["y", "y2"],
    )
    return panel, family, weights, samples


def peer(W, panel, spec):
    """Estimate by spreg; its data are prepared before the clock starts."""
    import numpy as np
    import spreg

    x = panel.array(list(spec.x))
    lagged = (
        np.stack([(W.matrix @ panel.array(name).T).T for name in spec.lag_x], axis=2)
        if spec.lag_x
        else x[..., :0]
    )
    y = panel.array(spec.y).reshape(-1, 1)
    X = np.concatenate([x, lagged], axis=2).reshape(y.size, -1)
    model = spreg.Panel_FE_Lag if spec.lag_y else spreg.Panel_FE_Error
    w = neighbours(W)
    start = time.process_time()
    fit = model(y, X, w)
    return time.process_time() - start, float(fit.rho if spec.lag_y else fit.lam)


_KEPT: dict[int, object] = {}


def neighbours(W):
    """libpysal's form of W, once per W, with the parts that it derives on first use."""
    from libpysal.weights import W as Neighbours

    if id(W) not in _KEPT:
        entries = W.matrix.tocoo()
        near: dict = {i: [] for i in range(W.n)}
        share: dict = {i: [] for i in range(W.n)}
        for i, j, v in zip(entries.row.tolist(), entries.col.tolist(), entries.data.tolist(), strict=True):
            near[i].append(j)
            share[i].append(v)
        _KEPT[id(W)] = Neighbours(near, share, silence_warnings=True)
    return _KEPT[id(W)]


def measure(n: int, T: int, own_step: int, peer_step: int) -> dict:
    """What a child process does."""
    import numpy as np

    import spatial_zb as zb

    warnings.simplefilter("ignore")
    panel, family, weights, samples = problem(n, T)
    few = dict(list(family.items())[:2])
    zb.specification_grid(panel, few, {"w": replace(weights["contiguity"])})  # imports
    fresh = {name: replace(W) for name, W in weights.items()}
    start = time.process_time()
    grid = zb.specification_grid(panel, family, fresh, samples)
    out: dict = {"cells": len(grid.cells), "failed": int((grid.cells["reason"] != "").sum())}
    out["grid"] = time.process_time() - start
    found = grid.estimates.set_index(["sample", "weights", "spec", "term"])["estimate"]
    cells = [(s, w, name) for s in samples for w in weights for name in family]
    parts = {s: panel.select(**chosen) for s, chosen in samples.items()}
    spent, gap = 0.0, 0.0
    fresh = {name: replace(W) for name, W in weights.items()}
    for s, w, name in cells[::own_step]:
        start = time.process_time()
        fit = zb.fit_durbin(family[name], parts[s], fresh[w])
        zb.spatial_effects(fit).tidy()
        spent += time.process_time() - start
        gap = max(gap, float(np.abs(found[(s, w, name)].loc[fit.params.index] - fit.params).max()))
    out["own"], out["own_cells"], out["own_gap"] = spent, len(cells[::own_step]), gap
    spent, gap = 0.0, 0.0
    for s, w, name in cells[1::peer_step]:
        used, value = peer(weights[w], parts[s], family[name])
        spent += used
        gap = max(gap, abs(float(found[(s, w, name, "rho" if family[name].lag_y else "lam")]) - value))
    out["peer"], out["peer_cells"], out["peer_gap"] = spent, len(cells[1::peer_step]), gap
    return out


def child(case: tuple[int, ...]) -> dict:
    """Run :func:`measure` in a clean process with one thread."""
    dropped = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    env = {k: v for k, v in os.environ.items() if k not in dropped}
    env |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    env["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, __file__, "--child", *map(str, case)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=3600)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def table() -> str:
    """Run every case; one row each."""
    head = "| n × T | grid of 1,152 | our single fits | spreg fits alone | single / grid | spreg / grid | "
    head += "off single fits | off spreg: ρ̂, λ̂ |"
    rows = [head, "|" + "---|" * 8]
    for case in CASES:
        m = child(case)
        own, other = (m[k] / m[f"{k}_cells"] * m["cells"] for k in ("own", "peer"))
        rows.append(
            f"| {case[0]:,} × {case[1]} | {seconds(m['grid'])} | {seconds(own)} ({m['own_cells']} measured) | "
            f"{seconds(other)} ({m['peer_cells']} measured) | {own / m['grid']:.0f} | {other / m['grid']:.0f} | "
            f"{m['own_gap']:.0e} | {m['peer_gap']:.0e} |"
        )
        print(rows[-1], f"cells {m['cells']}, failed {m['failed']}", flush=True)
    packages = ", ".join(f"{p} {version(p)}" for p in ("numpy", "scipy", "pandas", "spreg"))
    note = f"{date.today():%d %B %Y}, Python {sys.version.split()[0]}, {packages}, one thread of {os.cpu_count()} cores."
    return "\n".join([*rows, "", note])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(*map(int, given.child))))
        return
    result = table()
    print("\n" + result)
    if given.write:
        put_table("grid", result)


if __name__ == "__main__":
    main()
