"""One cross-sectional spatial Durbin model with its effects at 10,000 to 1,000,000 units; run by hand, never by the tests.

    python benchmarks/large_n.py                      # prints the table
    python benchmarks/large_n.py --write              # puts it into docs/performance.md as well
    python benchmarks/large_n.py --units 10000 100000

Contiguity of a random triangulation (six neighbours on average), three regressors and their lags, ρ = 0.4, simulated. Each
size runs in a process of its own with one BLAS thread: W is given, everything after it is timed (checks, log-determinant,
fit, expected information, average effects with delta errors). Peak memory is that of the whole process, with the data. The
last columns: the estimate beside its true value, and the relative error of tr G'G, which is estimated from random probes.
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
from datetime import date
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from page import ROOT, put_table
from single_equation import NAMES, data


def measure(n: int) -> dict:
    """What a child process does."""
    import spatial_zb as zb

    warnings.simplefilter("ignore")
    W, panel = data(n, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    spec = zb.DurbinSpec("y", NAMES, fixed_effects="none")
    start, cpu = time.perf_counter(), time.process_time()
    fit = zb.fit_durbin(spec, panel, W)
    fitted = time.process_time() - cpu
    effects = zb.spatial_effects(fit).tidy()
    return {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "fit": fitted,
        "before_mb": before,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "rho": float(fit.params["rho"]),
        "error": float(fit.bse["rho"]),
        "indirect": float(effects.loc[1, "estimate"]),
        "indirect_error": float(effects.loc[1, "std_error"]),
        "probe_error": float(fit.convergence["probe_error"]),
        "method": type(W.logdet).__name__,
    }


def child(n: int) -> dict:
    """Run :func:`measure` in a clean process with one thread."""
    dropped = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    env = {k: v for k, v in os.environ.items() if k not in dropped}
    env |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    env["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, __file__, "--child", str(n)], env=env, capture_output=True, text=True, timeout=7200
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def table(sizes: list[int]) -> str:
    """Run every size; one row each."""
    rows = [
        "| units | fit and effects | of it the fit | peak memory (data alone) | ρ̂ (true 0.4) | indirect effect | "
        "error of tr G'G |",
        "|" + "---|" * 7,
    ]
    for n in sizes:
        m = child(n)
        rows.append(
            f"| {n:,} | {m['cpu']:.1f} s | {m['fit']:.1f} s | {m['peak_mb'] / 1024:.1f} GB ({m['before_mb'] / 1024:.1f}) | "
            f"{m['rho']:.4f} ({m['error']:.4f}) | {m['indirect']:.4f} ({m['indirect_error']:.4f}) | {m['probe_error']:.2%} |"
        )
        print(rows[-1], f"clock {m['seconds']:.1f} s, {m['method']}", flush=True)
    packages = ", ".join(f"{p} {version(p)}" for p in ("numpy", "scipy", "pandas"))
    note = f"{date.today():%d %B %Y}, Python {sys.version.split()[0]}, {packages}, one thread of {os.cpu_count()} cores."
    return "\n".join([*rows, "", note])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--units", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(given.child)))
        return
    result = table(given.units)
    print("\n" + result)
    if given.write:
        put_table("large_n", result)


if __name__ == "__main__":
    main()
