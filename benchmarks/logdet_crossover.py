"""Up to how many units all eigenvalues are cheaper than sparse factorisations, for one fit; run by hand.

python benchmarks/logdet_crossover.py [--write]
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and os.environ.get("OPENBLAS_NUM_THREADS") != "1":
    settings = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    os.execve(sys.executable, [sys.executable, *sys.argv], settings | {"OPENBLAS_NUM_THREADS": "1"})

import warnings
from dataclasses import replace
from statistics import median
from time import process_time

import numpy as np
import pandas as pd
from page import ROOT, put_table
from scipy import sparse
from scipy.spatial import cKDTree
from single_equation import NAMES, data, ours

sys.path.insert(0, str(ROOT))
UNITS, PERIODS, NEIGHBOURS = (200, 300, 400, 500, 700, 1000), 10, 6


def nearest(n: int):
    """Six nearest neighbours of random points, and a panel on them."""
    from spatial_zb import Weights
    from spatial_zb.simulate import Process
    from spatial_zb.simulate import durbin as simulate_durbin

    points = np.random.default_rng(3).random((n, 2))
    near = cKDTree(points).query(points, NEIGHBOURS + 1)[1][:, 1:]
    entries = np.full(near.size, 1 / NEIGHBOURS), (np.repeat(np.arange(n), NEIGHBOURS), near.ravel())
    W = Weights(sparse.csr_array(entries, shape=(n, n)), pd.Index(map(str, range(n))), normalisation="row")
    return W, simulate_durbin(
        W, PERIODS, dict.fromkeys(NAMES, 1.0), rho=0.4, process=Process(time_effects=0.0), rng=1
    )


def timed(W, panel, limit: int, repeats: int) -> float:
    """Median processor seconds of a cold fit with eigenvalues up to ``limit`` units."""
    from spatial_zb.core import logdet

    kept, logdet.EIGEN_UNITS = logdet.EIGEN_UNITS, limit
    times = []
    for _ in range(repeats):
        fresh = replace(W)
        start = process_time()
        ours(fresh, panel)
        times.append(process_time() - start)
    logdet.EIGEN_UNITS = kept
    return median(times)


def main() -> None:
    warnings.simplefilter("ignore")
    rows = [
        "| units | contiguity: eigenvalues | factorisations | nearest: eigenvalues | factorisations |",
        "|" + "---|" * 5,
    ]
    for n in UNITS:
        cells = []
        for W, panel in (data(n, PERIODS), nearest(n)):
            repeats = 15 if n < 500 else 5
            cells += [f"{1e3 * timed(W, panel, limit, repeats):.0f} ms" for limit in (10**9, 0)]
        rows.append(f"| {n:,} | " + " | ".join(cells) + " |")
        print(rows[-1], flush=True)
    if "--write" in sys.argv:
        put_table("logdet_crossover", "\n".join(rows))


if __name__ == "__main__":
    main()
