"""Local Moran beside esda's: cold start with 90 units, and 10,000 units warm, in one run.

    python benchmarks/exploration.py

Prints seconds and ratios. Both programs deal one sample of values to all units, so that at equal permutations the
p-values have the same Monte Carlo error, sqrt(p(1 - p)/permutations); how much p-values and the number of units
below 5 % move from seed to seed is printed beside it, so that a fast but noisy answer would show. Calls of the
programs take turns and are timed in processor seconds, since other work on the machine slows both. esda compiles in
every new process; its warm time is taken after that. Set OPENBLAS_NUM_THREADS=1 for times of one core.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import pandas as pd
from scipy import sparse

CACHE = tempfile.TemporaryDirectory(prefix="bytecode")
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
local_moran(panel, "x", as_weights(A, ids=units).standardise("row"), permutations=999, rng=1)
"""
ESDA = """
import warnings; warnings.simplefilter("ignore")
import numpy as np
from libpysal.weights import lat2W
from esda.moran import Moran_Local
Moran_Local(np.random.default_rng(1).normal(size=90), lat2W(9, 10), permutations=999, seed=1)
"""


def cold(code: str, repeats: int) -> tuple[float, float]:
    """Least wall-clock and least processor seconds of a new process with one thread.

    A first process, not counted, leaves the bytecode that an installed package has.
    """
    wall, processor = [], []
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPYCACHEPREFIX": CACHE.name}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    for _ in range(repeats):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)
        wall.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(wall), min(processor)


def grid(side: int) -> sparse.csr_array:
    """Queen contiguity of a square."""
    line = sparse.diags_array([np.ones(side - 1), np.ones(side), np.ones(side - 1)], offsets=[-1, 0, 1])
    A = sparse.lil_array(sparse.kron(line, line))
    A.setdiag(0)
    return sparse.csr_array(A)


def noise(p: np.ndarray, permutations: int) -> tuple[float, float, float]:
    """Standard deviation over seeds of a unit's one-sided p (root mean square), in theory, and of units below 5 %."""
    mean = p.mean(axis=0)
    theory = np.sqrt(np.mean(mean * (1 - mean)) / permutations)
    return float(np.sqrt(p.var(axis=0, ddof=1).mean())), theory, float((p < 0.05).sum(axis=1).std(ddof=1))


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

    programs = [("esda", theirs, 999), ("spatial_zb", ours, 999), ("spatial_zb", ours, 9_999)]
    for _, call, permutations in programs:
        call(permutations, 0)  # compiles, fills caches
    p = [[] for _ in programs]
    times = [[] for _ in programs]
    for seed in range(seeds):
        for number, (_, call, permutations) in enumerate(programs):
            start = time.process_time()
            p[number].append(call(permutations, seed))
            times[number].append(time.process_time() - start)
    print(f"\n{n} units, {title}, warm, {seeds} seeds")
    print(
        "program      permutations  least s  median s  ratio of least, median  sd of p  in theory  sd of units < 5 %"
    )
    for number, (name, _, permutations) in enumerate(programs):
        least, median = min(times[number]), float(np.median(times[number]))
        ratios = min(times[0]) / least, float(np.median(times[0])) / median
        sd, theory, count = noise(np.array(p[number]), permutations)
        print(
            f"{name:12} {permutations:12} {least:8.4f} {median:9.4f} {ratios[0]:15.1f} {ratios[1]:7.1f}"
            f" {sd:8.5f} {theory:10.5f} {count:18.1f}"
        )


def main() -> None:
    warnings.simplefilter("ignore")
    cases = (("imports", FLOOR, 7), ("spatial_zb", OURS, 7), ("esda", ESDA, 1))
    print("90 units, import and 999 permutations in a new process: seconds, processor seconds")
    for name, code, repeats in cases:
        print("{:12} {:8.3f} {:8.3f}".format(name, *cold(code, repeats)))
    matrix = grid(100)
    warm(matrix, "equal weights in a row")
    matrix.data = np.random.default_rng(2).uniform(0.1, 2, matrix.nnz)
    warm(matrix, "unequal weights")


if __name__ == "__main__":
    main()
