"""Local Moran beside esda's: cold start with 90 units, and 10,000 units warm, in one run.

    python benchmarks/exploration.py

Prints seconds and ratios, and how much each program's p-values move from seed to seed, so that a fast but
noisy answer would show. esda compiles in every new process; its warm time is taken after that.
"""

from __future__ import annotations

import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd
from scipy import sparse

FLOOR = "import pandas, scipy.sparse"
OURS = """
import numpy as np, pandas as pd
from scipy import sparse
from spatial_zb.data.panel import Panel
from spatial_zb.explore import local_moran
from spatial_zb.weights.matrix import as_weights
line = lambda n: sparse.diags_array([np.ones(n - 1), np.ones(n - 1)], offsets=[-1, 1])
A = sparse.csr_array(sparse.kron(line(9), sparse.eye_array(10)) + sparse.kron(sparse.eye_array(9), line(10)))
units = pd.Index([f"{i:02d}" for i in range(90)])
panel = Panel(np.random.default_rng(1).normal(size=(1, 90, 1)), (2019,), units, ("x",))
local_moran(panel, "x", as_weights(A, ids=units).standardise("row"), rng=1)
"""
ESDA = """
import warnings; warnings.simplefilter("ignore")
import numpy as np
from libpysal.weights import lat2W
from esda.moran import Moran_Local
Moran_Local(np.random.default_rng(1).normal(size=90), lat2W(9, 10), permutations=999, seed=1)
"""


def cold(code: str, repeats: int = 3) -> float:
    """Least wall-clock seconds of a new process."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - start)
    return min(times)


def grid(side: int) -> sparse.csr_array:
    """Queen contiguity of a square."""
    line = sparse.diags_array([np.ones(side - 1), np.ones(side), np.ones(side - 1)], offsets=[-1, 0, 1])
    A = sparse.lil_array(sparse.kron(line, line))
    A.setdiag(0)
    return sparse.csr_array(A)


def noise(p: np.ndarray) -> tuple[float, float]:
    """Standard deviation over seeds of a unit's one-sided p (average), and of the number of units below 5 %."""
    return float(p.std(axis=0, ddof=1).mean()), float((p < 0.05).sum(axis=1).std(ddof=1))


def warm(matrix: sparse.csr_array, title: str, seeds: int = 12) -> None:
    from esda.moran import Moran_Local
    from libpysal.graph import Graph

    from spatial_zb.data.panel import Panel
    from spatial_zb.explore import local_moran
    from spatial_zb.weights.matrix import as_weights

    n = matrix.shape[0]
    units = pd.Index([f"{i:05d}" for i in range(n)])
    x = np.random.default_rng(1).normal(size=n)
    W = as_weights(matrix, ids=units).standardise("row")
    panel = Panel(x[None, :, None], (2019,), units, ("x",))
    graph = Graph.from_sparse(matrix).to_W()

    def ours(permutations: int, seed: int) -> np.ndarray:
        return local_moran(panel, "x", W, permutations=permutations, rng=seed).table()["p_sim"].to_numpy() / 2

    def theirs(permutations: int, seed: int) -> np.ndarray:
        return Moran_Local(
            x, graph, permutations=permutations, seed=seed, n_jobs=1, keep_simulations=False
        ).p_sim

    rows = []
    for name, call, permutations in (
        ("esda", theirs, 999),
        ("spatial_zb", ours, 999),
        ("spatial_zb", ours, 9_999),
    ):
        call(permutations, 0)  # compiles, fills caches
        p, times = [], []
        for seed in range(seeds):
            start = time.perf_counter()
            p.append(call(permutations, seed))
            times.append(time.perf_counter() - start)
        rows.append((name, permutations, min(times), float(np.median(times)), *noise(np.array(p))))
    print(f"\n{n} units, {title}, warm, {seeds} seeds")
    print("program      permutations  least s  median s  ratio  sd of p   sd of units below 5 %")
    for name, permutations, least, median, sd, sd_count in rows:
        ratio = rows[0][3] / median
        print(
            f"{name:12} {permutations:12} {least:8.4f} {median:9.4f} {ratio:6.1f} {sd:9.5f} {sd_count:8.1f}"
        )


def main() -> None:
    warnings.simplefilter("ignore")
    times = {name: cold(code) for name, code in (("imports", FLOOR), ("spatial_zb", OURS))}
    times["esda"] = cold(ESDA, repeats=1)
    print("90 units, new process: seconds, and ratio to importing pandas and scipy.sparse alone")
    for name, value in times.items():
        print(f"{name:12} {value:8.3f} {value / times['imports']:8.2f}")
    matrix = grid(100)
    warm(matrix, "equal weights in a row")
    matrix.data = np.random.default_rng(2).uniform(0.1, 2, matrix.nnz)
    warm(matrix, "unequal weights", seeds=4)


if __name__ == "__main__":
    main()
