"""Every line of the table of goals and the growth of every estimator, in one run of less than eight minutes.

    python benchmarks/all.py                       # prints both tables
    python benchmarks/all.py --write               # puts them into docs/performance.md as well
    python benchmarks/all.py --only bootstrap grid # some lines, printed

One thread of linear algebra but for the line on threads, a process of its own for every measurement, processor seconds
where nothing else is said. Peers run beside: esda and spreg, the same panels or cells one by one, one process for two.
*Growth* is the exponent of the time of a first fit between two numbers of units, ten periods (systems: six), and the memory
that a unit and period takes more. To be run on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import bootstrap as resampled
import doorstep
from page import ROOT, put_table
from single_equation import NAMES, data

ROUNDS = 3


@contextmanager
def processor(out: dict, name: str):
    """Write the processor seconds of a block under a name."""
    start = time.process_time()
    yield
    out[name] = time.process_time() - start


# --- what a child measures


def fits(n: int, T: int, names: list[str]) -> dict:
    """First fits, each with a fresh W: SDM by default, else as its name says."""
    import spatial_zb as zb

    W, panel = data(n, T)
    out: dict[str, Any] = {"before_mb": peak()}
    both = {"lag_x": [], "lag_error": True}
    ways: dict[str, tuple[dict, str, str]] = {
        "sdm": ({}, "lee_yu", "information"),
        "cross": ({"fixed_effects": "none"}, "lee_yu", "information"),
        "cluster": ({}, "lee_yu", "cluster"),
        "sandwich": ({}, "lee_yu", "sandwich"),
        "sac": (both, "lee_yu", "information"),
        "random": ({"fixed_effects": "random"}, "lee_yu", "information"),
        "random_hessian": ({"fixed_effects": "random"}, "lee_yu", "hessian"),
        "gmm": ({"lag_x": []}, "gmm", "information"),
        "dynamic": ({"time_lag": True, "lag_time_lag": True}, "lee_yu", "information"),
        "robust_score": ({}, "robust_score", "cluster"),
    }
    small, few = data(100, T)
    for name in names:
        spec, estimator, covariance = ways[name]
        asked = zb.DurbinSpec("y", NAMES, **({"fixed_effects": "two_way"} | spec))
        fresh = zb.Weights(W.matrix, W.ids, normalisation=W.normalisation)
        zb.spatial_effects(
            zb.fit_durbin(asked, few, small, estimator, covariance)
        )  # what is imported on the way
        with processor(out, name):
            zb.spatial_effects(zb.fit_durbin(asked, panel, fresh, estimator, covariance))
    out["peak_mb"] = peak()
    return out


def system(n: int, method: str) -> dict:
    """A first fit of two equations, six periods."""
    W, _ = data(n, 1)
    out: dict[str, Any] = {"before_mb": peak()}
    resampled.T = 6
    resampled.system(resampled.ring(30), method=method)  # what is imported on the way
    with processor(out, method):
        resampled.system(W, method=method)
    out["peak_mb"] = peak()
    return out


def chain(n: int, T: int, replicates: int) -> dict:
    """``diagnose`` of new panels with a W that was used before; with bootstrap p-values, and these one by one."""
    import test_chain

    import spatial_zb as zb

    if not replicates:
        W, panel = data(n, T)
        spec = zb.DurbinSpec("y", NAMES, fixed_effects="two_way")
    else:
        W = resampled.ring(n)
        panel = zb.simulate.durbin(W, T, {"a": 1.0, "b": -0.5, "c": 0.3}, rho=0.3, rng=1)
        spec = zb.DurbinSpec("y", ["a", "b", "c"], fixed_effects="two_way")
    out: dict[str, Any] = {}
    zb.diagnose(spec, panel, W)
    if replicates:
        with processor(out, "together"):
            zb.diagnose(spec, panel, W, replicates=replicates, rng=1)
        share = 10
        with test_chain.one_by_one(), processor(out, "alone"):
            zb.diagnose(spec, panel, W, replicates=replicates // share, rng=1)
        out["alone"] *= share
        return out
    truth = dict(zip(NAMES, (1.0, -0.5, 0.3), strict=True))
    others = [zb.simulate.durbin(W, T, truth, rho=0.4, rng=i) for i in range(6)]
    taken = []
    for other in others:
        with processor(out, "one"):
            zb.diagnose(spec, other, W)
        taken.append(out["one"])
    return {"together": sorted(taken)[len(taken) // 2]}


def grid(workers: int) -> dict:
    """16 specifications with two kinds of errors, one W and one sample, 90 × 20, by the clock."""
    import spatial_zb as zb

    W, panel = data(90, 20)
    family = zb.compare.spec_family(
        zb.DurbinSpec("y", NAMES[:1]),
        models=["SAR", "SDM", "SEM", "SDEM"],
        controls=zb.compare.subsets(NAMES[1:]),
    )
    start = time.perf_counter()
    zb.compare.specification_grid(
        panel, family, {"W": W}, covariances=["information", "cluster"], workers=workers
    )
    return {"clock": time.perf_counter() - start}


def job() -> dict:
    """The bay study, from its file to its results, as the command runs it."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "spatial_zb", "run", str(ROOT / "studies" / "bay_area.toml")]
        subprocess.run([*command, "--out", folder + "/out", "--quiet"], check=True)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)  # with the second process, which it waits for
    return {
        "cpu": spent.ru_utime + spent.ru_stime,
        "clock": time.perf_counter() - start,
        "peak_mb": spent.ru_maxrss / 1024,
    }


def panels() -> dict:
    """Milliseconds a resampled panel."""
    return resampled.measured()


def peak() -> float:
    """Peak memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


CHILDREN: dict[str, Callable[..., dict]] = {
    "fits": fits,
    "system": system,
    "chain": chain,
    "grid": grid,
    "job": job,
    "panels": panels,
}


def child(name: str, *arguments: Any) -> dict:
    """Run a measurement in a clean process with one thread."""
    env = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    env |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    env |= {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    command = [sys.executable, __file__, "--child", name, json.dumps(arguments)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=1800)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


# --- the lines


def said(seconds: float) -> str:
    """1.6 ms, 0.24 s, 12 s."""
    if seconds < 0.1:
        return f"{1e3 * seconds:.1f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"


Line = tuple[str, str, str, str]


def threads() -> list[Line]:
    doorstep.ROUNDS = ROUNDS
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        ours, one = (
            doorstep.middle(doorstep.SETUP + doorstep.OURS + doorstep.WARM, n)[1] for n in (None, "1")
        )
    finally:
        busy.kill()
        busy.wait()
    work = "fit and effects 90 × 20, warm, own threads, the other core busy (clock)"
    return [(work, f"{said(ours)} = {ours / one:.2f} ×", f"one thread from outside {said(one)}", "≤ 1.3 ×")]


def cold() -> list[Line]:
    doorstep.ROUNDS, begun = ROUNDS, "import time\nbegun = time.perf_counter()\n"
    ours = doorstep.middle(begun + doorstep.SETUP + doorstep.OURS + doorstep.COLD + doorstep.END)
    peer = doorstep.middle(begun + doorstep.SETUP + doorstep.PEER + doorstep.END)
    bare = doorstep.middle(begun + "import json, numpy, pandas, scipy.sparse, scipy.linalg\n" + doorstep.END)
    limit = f"esda and spreg {said(peer[0])}; NumPy, SciPy and pandas alone {said(bare[0])}"
    return [("cold process: import, Moran, LISA, fit and effects 90 × 20", said(ours[0]), limit, "≤ 0.8 s")]


def test_chain_lines() -> list[Line]:
    one, other = child("chain", 41, 13, 999), child("chain", 1000, 10, 0)
    return [
        (
            "`diagnose(replicates=999)` 41 × 13",
            said(one["together"]),
            f"one by one {said(one['alone'])}",
            "≤ 3 s",
        ),
        ("`diagnose` 1,000 × 10, a new panel", said(other["together"]), "–", "≤ 0.2 s"),
    ]


def errors() -> list[Line]:
    small, large = (
        child("fits", 10_000, 10, ["sdm", "cluster", "sandwich"]),
        child("fits", 100_000, 10, ["cluster"]),
    )
    few = child("fits", 3_000, 10, ["random", "random_hessian"])
    beside = f"`information` {said(small['sdm'])}"
    ratio = few["random"] / few["random_hessian"]
    return [
        ("first fit with `cluster` errors 10,000 × 10", said(small["cluster"]), beside, "≤ 1.5 s"),
        ("… with `sandwich`", said(small["sandwich"]), beside, "≤ 1.5 s"),
        ("… `cluster`, 100,000 × 10", said(large["cluster"]), "–", "≤ 30 s"),
        (
            "random effects, default errors, 3,000 × 10",
            said(few["random"]),
            f"`hessian` {said(few['random_hessian'])}: {ratio:.1f} ×",
            "≤ 2 ×",
        ),
    ]


def both_lags() -> list[Line]:
    small, large = (child("fits", n, 10, ["sac", "random"]) for n in (10_000, 100_000))
    return [
        (f"{name}, first fit {n:,} × 10", said(found[key]), "–", goal)
        for n, found, goal in ((10_000, small, "≤ 0.7 s"), (100_000, large, "≤ 15 s"))
        for name, key in (("SAC", "sac"), ("random effects", "random"))
    ]


def large_n(million: bool) -> list[Line]:
    hundred = child("fits", 100_000, 1, ["cross"])
    note = 'R `lagsarlm(method="Matrix")`, measured apart: about 15 s'
    out = [("SDM, cross-section of 100,000, with effects", said(hundred["cross"]), note, "≤ 3 s")]
    if million:
        all_of_it = child("fits", 1_000_000, 1, ["cross"])
        found = f"{said(all_of_it['cross'])}, {all_of_it['peak_mb'] / 1024:.1f} GB"
        out.append(("… of 1,000,000", found, "–", "≤ 120 s"))
    return out


def bootstraps() -> list[Line]:
    return [
        (
            f"bootstrap: {name}",
            f"{at['together']:.2f} ms a panel",
            f"one by one {at['alone']:.1f} ms",
            "≤ 1 ms",
        )
        for name, at in child("panels").items()
    ]


def grids() -> list[Line]:
    one, two = (child("grid", workers)["clock"] for workers in (1, 2))
    work = "grid of one W and one sample, 32 cells, 2 workers (clock)"
    return [(work, said(two), f"1 worker {said(one)}", "≥ 1.5 × or in one process")]


def main_job() -> list[Line]:
    found = child("job")
    measured = f"{found['cpu']:.0f} s, clock {found['clock']:.0f} s, {found['peak_mb']:.0f} MB"
    return [("main job (`studies/bay_area.toml`)", measured, "–", "≤ 45 s, clock ≤ 30 s, ≤ 400 MB")]


LINES: dict[str, Callable[[], list[Line]]] = {
    "threads": threads,
    "chain": test_chain_lines,
    "cold": cold,
    "job": main_job,
    "errors": errors,
    "both": both_lags,
    "large": partial(large_n, True),
    "bootstrap": bootstraps,
    "grid": grids,
}

#: Estimators, their sizes, and the step whose share grows.
GROWTH: tuple[tuple[str, str, tuple[int, int], str], ...] = (
    ("SDM, two-way effects", "sdm", (10_000, 40_000), "factorisations of I − ρW"),
    ("SAC", "sac", (10_000, 40_000), "factorisations of I − ρW"),
    ("SDM, random effects", "random", (10_000, 40_000), "factorisations of I − ρW"),
    ("SDM, `cluster` errors", "cluster", (10_000, 40_000), "factorisations, products of random signs"),
    ("SDM with lags in time", "dynamic", (10_000, 40_000), "factorisations of I − ρW"),
    ("SAR, 2SLS recentred", "gmm", (2_500, 10_000), "powers of W times the instruments"),
    ("SDM, robust score", "robust_score", (1_000, 4_000), "pairs of units in the score"),
    ("system of two, GS3SLS", "3sls", (1_000, 4_000), "powers of W times the instruments"),
    ("system of two, FIML", "fiml", (500, 1_000), "all eigenvalues of W"),
)


def growth() -> str:
    """Exponents between two sizes, and memory."""
    rows = [
        "| estimator | first fit at | and at | exponent | bytes a unit-period | what grows |",
        "|" + "---|" * 6,
    ]
    for name, key, sizes, step in GROWTH:
        a_system = key in ("3sls", "fiml")
        found = [child("system", n, key) if a_system else child("fits", n, 10, [key]) for n in sizes]
        times, periods = [one[key] for one in found], 6 if a_system else 10
        power = math.log(times[1] / times[0]) / math.log(sizes[1] / sizes[0])
        memory = (found[1]["peak_mb"] - found[0]["peak_mb"]) * 2**20 / (sizes[1] - sizes[0]) / periods
        first, second = (f"{said(t)} ({n:,})" for t, n in zip(times, sizes, strict=True))
        rows.append(f"| {name} | {first} | {second} | {power:.1f} | {memory:,.0f} | {step} |")
        print(rows[-1], flush=True)
    return "\n".join(rows)


def goals(names: list[str]) -> str:
    """The table of goals."""
    rows = ["| work | measured | beside it | goal |", "|---|---|---|---|"]
    for name in names:
        for line in LINES[name]():
            rows.append("| " + " | ".join(line) + " |")
            print(rows[-1], flush=True)
    return "\n".join(rows)


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument(
        "--only", nargs="+", choices=[*LINES, "growth"], help="some of it, which is not written"
    )
    parser.add_argument(
        "--no-million", action="store_true", help="leave out 1,000,000 units, three minutes of it"
    )
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        name, arguments = given.child
        print(json.dumps(CHILDREN[name](*json.loads(arguments))))
        return
    start, only = time.perf_counter(), given.only or [*LINES, "growth"]
    LINES["large"] = partial(large_n, not given.no_million)
    table = goals([name for name in LINES if name in only])
    exponents = growth() if "growth" in only else ""
    packages = ", ".join(f"{p} {version(p)}" for p in ("numpy", "scipy", "pandas", "spreg"))
    note = f"{date.today():%d %B %Y}, Python {sys.version.split()[0]}, {packages}, {os.cpu_count()} cores"
    print(f"\n{note}; {time.perf_counter() - start:.0f} s in all.")
    if given.write and not given.only:
        put_table("goals", f"{table}\n\n{note}.")
        put_table("growth", exponents)


if __name__ == "__main__":
    main()
