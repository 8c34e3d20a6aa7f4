"""What a notebook and a cold process meet: threads of linear algebra, and the way from import to the first effects.

    python benchmarks/doorstep.py            # prints the tables
    python benchmarks/doorstep.py --write    # puts them into docs/performance.md as well

*Threads*: a fit with its effects, 90 × 20, with the number of threads that the library's build chooses, while another
process keeps one core busy: as it is, with one thread set from outside, and with the package's own limit taken away.
*Cold*: import, Moran's I, its local form, one fit and its effects in a new process, beside the same by esda and spreg.
Processor time of the process and the clock beside it, medians of several processes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from page import ROOT, put_table

ROUNDS = 5
SETUP = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np
n, T = 90, 20
rng = np.random.default_rng(1)
near = np.abs(np.subtract.outer(np.arange(n) % 10, np.arange(n) % 10)) + np.abs(
    np.subtract.outer(np.arange(n) // 10, np.arange(n) // 10)) == 1
rows = near / near.sum(1, keepdims=True)
x = rng.normal(size=(T, n, 2))
y = np.linalg.solve(np.eye(n) - 0.3 * rows, (x @ [1.0, 0.5] + rng.normal(size=(T, n))).T).T
"""
OURS = """
import pandas as pd
import spatial_zb as zb
units = [f"u{i}" for i in range(n)]
W = zb.Weights(rows, units, normalisation="row")
frame = pd.DataFrame({"unit": units * T, "year": np.repeat(range(T), n), "y": y.ravel(),
                      "a": x[..., 0].ravel(), "b": x[..., 1].ravel()})
panel = zb.build_panel(frame, unit="unit", period="year", units=W.ids)
spec = zb.DurbinSpec("y", ["a", "b"], fixed_effects="two_way")
"""
COLD = """
zb.moran(panel, "y", W, permutations=999, rng=1)
zb.local_moran(panel, "y", W, period=T - 1, permutations=999, rng=1)
zb.spatial_effects(zb.fit_durbin(spec, panel, W)).tidy()
"""
PEER = """
import libpysal, esda, spreg
w = libpysal.weights.util.full2W(rows)
for t in range(T):
    esda.Moran(y[t], w, permutations=999)
esda.Moran_Local(y[-1], w, permutations=999, seed=1)
wx = rows @ x
spreg.Panel_FE_Lag(y.reshape(-1, 1), np.concatenate([x, wx], 2).reshape(-1, 4), w)
"""
WARM = """
def one():
    start = time.process_time(), time.perf_counter()
    zb.spatial_effects(zb.fit_durbin(spec, panel, zb.Weights(rows, units, normalisation="row"))).tidy()
    return time.process_time() - start[0], time.perf_counter() - start[1]
one()
found = sorted(one() for _ in range(60))
print(json.dumps(found[30]))
"""
FREE = """
from spatial_zb.base import threads
class Free:
    limit = lambda self, **given: self
    restore_original_limits = lambda self: None
threads._libraries = lambda: Free()
"""
END = "print(json.dumps((time.process_time(), time.perf_counter() - begun)))"


def run(code: str, threads: str | None) -> tuple[float, float]:
    """Processor seconds and seconds of the clock that the code in a new process reports."""
    given = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    if threads:
        given["OPENBLAS_NUM_THREADS"] = threads
    given["PYTHONPATH"] = str(ROOT)
    out = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=True)
    return tuple(json.loads(out.stdout.splitlines()[-1]))


def middle(code: str, threads: str | None = None) -> tuple[float, float]:
    found = [run(code, threads) for _ in range(ROUNDS)]
    return statistics.median(f[0] for f in found), statistics.median(f[1] for f in found)


def threads_table() -> str:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        ways = {
            "as it is": middle(SETUP + OURS + WARM),
            "one thread set from outside": middle(SETUP + OURS + WARM, "1"),
            "without the limit": middle(SETUP + OURS + FREE + WARM),
        }
    finally:
        busy.kill()
        busy.wait()
    base = ways["one thread set from outside"][1]
    lines = ["| threads | processor | clock | × one thread |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {1e3 * cpu:.1f} ms | {1e3 * clock:.1f} ms | {clock / base:.2f} |"
        for name, (cpu, clock) in ways.items()
    ]
    return "\n".join(lines)


def cold_table() -> str:
    begun = "import time\nbegun = time.perf_counter()\n"
    rows = {
        "ours": middle(begun + SETUP + OURS + COLD + END),
        "esda and spreg": middle(begun + SETUP + PEER + END),
    }
    base = rows["ours"][0]
    lines = ["| from import to effects | processor | clock | × ours |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {cpu:.2f} s | {clock:.2f} s | {cpu / base:.1f} |" for name, (cpu, clock) in rows.items()
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    for name, table in (("threads", threads_table()), ("cold", cold_table())):
        print(table, end="\n\n")
        if write:
            put_table(name, table)


if __name__ == "__main__":
    main()
