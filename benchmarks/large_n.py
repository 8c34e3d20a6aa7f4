"""One cross-sectional spatial Durbin model with its effects at 10,000 to 1,000,000 units; run by hand, never by the tests.

    python benchmarks/large_n.py                      # prints the table
    python benchmarks/large_n.py --write              # puts it into docs/performance.md as well
    python benchmarks/large_n.py --units 10000 100000
    python benchmarks/large_n.py --late               # panels of 10 periods to which half of the units come late

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

#: Panels with late units: their periods, models, and what is measured.
PERIODS = 10
MODELS: dict[str, dict] = {
    "SDM": {},
    "SEM": {"lag_y": False, "lag_x": [], "lag_error": True},
    "GNS": {"lag_x": NAMES[:1], "lag_error": True},
}
LATE = [
    *((2_852, model, covariance) for model in MODELS for covariance in ("information", "cluster")),
    *((10_000, model, "information") for model in MODELS),
]


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


def measure_late(n: int, model: str, covariance: str) -> dict:
    """What a child process does for a panel of ten periods, half of whose units come late."""
    import numpy as np

    import spatial_zb as zb

    warnings.simplefilter("ignore")
    W, panel = data(n, PERIODS)
    r, periods = np.random.default_rng(n), np.repeat(np.arange(PERIODS), n)
    first = np.where(r.random(n) < 0.5, r.integers(1, PERIODS - 1, n), 0)
    frame = panel.frame()[periods >= np.tile(first, PERIODS)]
    late = zb.build_panel(frame, "unit", "period", units=panel.units, balance="keep")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu = time.process_time()
    fit = zb.fit_durbin(zb.DurbinSpec("y", NAMES, **MODELS[model]), late, W, covariance=covariance)
    fitted = time.process_time() - cpu
    if fit.spec.lag_y:
        zb.spatial_effects(fit)
    return {
        "fit": fitted,
        "effects": time.process_time() - cpu - fitted,
        "before_mb": before,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "probe_error": float(fit.convergence["probe_error"]),
        "rows": len(frame),
    }


def late_table() -> str:
    """Run every size, model and kind of errors of panels with late units; one row each."""
    rows = [
        "| units × periods | rows | model | errors | fit | effects | peak memory (data alone) | error of traces |",
        "|" + "---|" * 8,
    ]
    for n, model, covariance in LATE:
        m = child(n, model, covariance)
        rows.append(
            f"| {n:,} × {PERIODS} | {m['rows']:,} | {model} | `{covariance}` | {m['fit']:.1f} s | {m['effects']:.1f} s | "
            f"{m['peak_mb']:.0f} MB ({m['before_mb']:.0f}) | {m['probe_error']:.2%} |"
        )
        print(rows[-1], flush=True)
    return "\n".join([*rows, "", note()])


def child(*what: object) -> dict:
    """Run :func:`measure`, or :func:`measure_late`, in a clean process with one thread."""
    dropped = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    env = {k: v for k, v in os.environ.items() if k not in dropped}
    env |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    env["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, __file__, "--child", *map(str, what)],
        env=env,
        capture_output=True,
        text=True,
        timeout=7200,
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
    return "\n".join([*rows, "", note()])


def note() -> str:
    """Date, versions and machine."""
    packages = ", ".join(f"{p} {version(p)}" for p in ("numpy", "scipy", "pandas"))
    return f"{date.today():%d %B %Y}, Python {sys.version.split()[0]}, {packages}, one thread of {os.cpu_count()} cores."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--units", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument(
        "--late", action="store_true", help="panels of ten periods to which half of the units come late"
    )
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        n, *late = given.child
        print(json.dumps(measure_late(int(n), *late) if late else measure(int(n))))
        return
    result = late_table() if given.late else table(given.units)
    print("\n" + result)
    if given.write:
        put_table("late" if given.late else "large_n", result)


if __name__ == "__main__":
    main()
