"""One spatial Durbin model with fixed effects and its effects, beside spreg; run by hand, never by the tests.

    python benchmarks/single_equation.py            # prints the tables
    python benchmarks/single_equation.py --write    # puts them into docs/performance.md as well
    python benchmarks/single_equation.py --no-big-peer

Each case runs in processes of its own, with one BLAS thread: one that times both in turn, and one for each that
measures its peak memory. "Cold" builds the log-determinant anew, as a first fit does; "warm" is the next model with the
same weights. Times are medians of processor time, which other work on the machine disturbs less than the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
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

#: (units, periods, repeats of ours, repeats of the peer)
CASES = ((90, 20, 200, 60), (1000, 10, 15, 5), (3000, 20, 7, 1), (10_000, 10, 5, 0), (100_000, 10, 1, 0))
#: The peer is stopped after this many seconds of processor time and above this much memory (GB).
PEER_SECONDS, PEER_MEMORY = 150, 10
NAMES = ["a", "b", "c"]


def data(n: int, T: int):
    """A panel with unit effects on the contiguity of a random triangulation: six neighbours on average."""
    import numpy as np
    import pandas as pd
    from scipy import sparse
    from scipy.spatial import Delaunay

    import spatial_zb as zb
    from spatial_zb.simulate import durbin as simulate_durbin

    corners = Delaunay(np.random.default_rng(1).random((n, 2))).simplices
    row, column = np.vstack([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]).T
    links = sparse.csr_array((np.ones(row.size), (row, column)), shape=(n, n))
    links = sparse.csr_array((links + links.T > 0).astype(float))
    W = zb.Weights(links, pd.Index([str(i) for i in range(n)])).standardise("row")
    beta, theta = (
        dict(zip(NAMES, (1.0, -0.5, 0.3), strict=True)),
        dict(zip(NAMES, (0.5, 0.2, -0.1), strict=True)),
    )
    return W, simulate_durbin(
        W, T, beta, theta=theta, rho=0.4, process=zb.simulate.Process(time_effects=0.0), rng=1
    )


def ours(W, panel):
    """The call that is timed: fit, and effects with delta errors, as arrays; frames are made when they are read."""
    import spatial_zb as zb

    spec = zb.DurbinSpec(y="y", x=NAMES, fixed_effects="unit")
    fit = zb.fit_durbin(spec, panel, W)
    return fit, zb.spatial_effects(fit)


def peer(W, panel):
    """spreg's Panel_FE_Lag on [X, WX]; the answer estimates, without effects."""
    import numpy as np
    import spreg
    from libpysal.weights import W as Neighbours

    entries = W.matrix.tocoo()
    near: dict = {i: [] for i in range(W.n)}
    share: dict = {i: [] for i in range(W.n)}
    for i, j, v in zip(entries.row.tolist(), entries.col.tolist(), entries.data.tolist(), strict=True):
        near[i].append(j)
        share[i].append(v)
    w = Neighbours(near, share, silence_warnings=True)
    x = panel.array(NAMES)
    lagged = np.stack([(W.matrix @ x[:, :, k].T).T for k in range(len(NAMES))], axis=2)
    y, X = panel.array("y").reshape(-1, 1), np.concatenate([x, lagged], axis=2).reshape(x[..., 0].size, -1)
    return lambda: spreg.Panel_FE_Lag(y, X, w)


def median_cpu(jobs: dict, rounds: int) -> dict:
    """Median processor time of each job, (function, repeats within a round); all take their turn in every round."""
    from statistics import median

    times: dict = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, (function, repeats) in jobs.items():
            for _ in range(repeats):
                start = time.process_time()
                function()
                times[name].append(time.process_time() - start)
    return {name: median(taken) for name, taken in times.items()}


def measure(n: int, T: int, own_repeats: int, peer_repeats: int, part: str) -> dict:
    """What a child process does: ``part`` is "time", "memory" (ours) or "peer" (one run of it, with memory)."""
    warnings.simplefilter("ignore")
    W, panel = data(n, T)
    out: dict = {}
    if part == "memory":
        ours(W, panel)
    elif part == "peer":
        resource.setrlimit(resource.RLIMIT_AS, (PEER_MEMORY * 2**30,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (PEER_SECONDS,) * 2)
        run = peer(W, panel)
        start = time.process_time()
        run()
        out["peer"] = time.process_time() - start
    else:
        fit, _ = ours(W, panel)
        rounds = peer_repeats if peer_repeats > 1 else own_repeats
        each = own_repeats // rounds
        fresh = [replace(W) for _ in range(rounds * each)]
        jobs = {"cold": (lambda: ours(fresh.pop(), panel), each), "warm": (lambda: ours(W, panel), each)}
        if peer_repeats > 1:
            run = peer(W, panel)
            out["rho_gap"] = abs(float(run().rho) - float(fit.params["rho"]))
            jobs["peer"] = run, 1
        out |= median_cpu(jobs, rounds)
        if n <= 3000:
            out |= exact_gaps(W, panel, fit)
    out["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return out


def exact_gaps(W, panel, fit) -> dict:
    """Distance of ρ̂ and ln L from the fit that uses all eigenvalues."""
    from spatial_zb.core.logdet import EigenLogDet, eigenvalues

    exact = replace(W)
    exact.__dict__["logdet"] = EigenLogDet(eigenvalues(W.matrix))
    other, _ = ours(exact, panel)
    return {
        "rho_error": abs(float(fit.params["rho"] - other.params["rho"])),
        "likelihood_error": abs(fit.log_likelihood - other.log_likelihood),
    }


def child(case: tuple[int, int, int, int], part: str) -> dict | None:
    """Run :func:`measure` in a clean process; None when it was stopped or ran out of memory."""
    dropped = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    env = {k: v for k, v in os.environ.items() if k not in dropped}
    env |= {
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, __file__, "--child", part, *map(str, case)]
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=3600)
    except subprocess.TimeoutExpired:
        return None
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def seconds(value: float) -> str:
    return f"{value * 1e3:.1f} ms" if value < 1 else f"{value:.2f} s"


def table(big_peer: bool) -> str:
    """Run every case; one row each."""
    head = "| n × T | cold | warm | peak memory | spreg fit alone | its memory | spreg / cold | off exact: ρ̂, ln L |"
    rows = [head, "|" + "---|" * 8]
    for case in CASES:
        n, T, _, peer_repeats = case
        found, memory = child(case, "time") or {}, child(case, "memory") or {}
        beside = child(case, "peer") if peer_repeats and (big_peer or peer_repeats > 1) else None
        spent = found.get("peer", (beside or {}).get("peer"))
        gap = f"{found['rho_error']:.0e}, {found['likelihood_error']:.0e}" if "rho_error" in found else "–"
        if spent:
            other, ratio = seconds(spent), f"{spent / found['cold']:.1f}"
            other_memory = f"{beside['peak_mb']:.0f} MB" if beside else "–"
        else:
            stopped = bool(peer_repeats) and big_peer
            other, ratio, other_memory = ("stopped" if stopped else "not run"), "–", "–"
        rows.append(
            f"| {n:,} × {T} | {seconds(found['cold'])} | {seconds(found['warm'])} | {memory['peak_mb']:.0f} MB | {other} | "
            f"{other_memory} | {ratio} | {gap} |"
        )
        print(rows[-1], flush=True)
    packages = ", ".join(f"{p} {version(p)}" for p in ("numpy", "scipy", "pandas", "spreg"))
    note = f"{date.today():%d %B %Y}, Python {sys.version.split()[0]}, {packages}, one thread of {os.cpu_count()} cores."
    return "\n".join([*rows, "", note])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument(
        "--no-big-peer", action="store_true", help="leave out spreg where it takes a minute or more"
    )
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        part, *case = given.child
        print(json.dumps(measure(*map(int, case), part)))
        return
    result = table(not given.no_big_peer)
    print("\n" + result)
    if given.write:
        put_table("single_equation", result)


if __name__ == "__main__":
    main()
