"""Milliseconds a resampled panel costs, by model: 41 units and 13 periods, two regressors and their lags.

    python benchmarks/bootstrap.py            # prints the table
    python benchmarks/bootstrap.py --write    # puts it into docs/performance.md as well

Processor time of 999 replicates (``REPLICATES``) of one fit, residual scheme, W and fit already there, divided by their
number; beside it the same with every panel estimated by the whole estimator, of which a twentieth is timed.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from page import put_table

import spatial_zb as zb
from spatial_zb.inference.bootstrap import _refit, source_of
from spatial_zb.inference.bootstrap import system as systems
from spatial_zb.models.system.fit import SystemFit

N, T, REPLICATES, SHARE = 41, 13, 999, 20
BETA, THETA = {"a": 1.0, "b": -0.5}, {"a": 0.3, "b": 0.2}


def ring(n: int) -> zb.Weights:
    """Two neighbours on either side of a circle."""
    A = sum(np.roll(np.eye(n), step, axis=1) for step in (-2, -1, 1, 2))
    return zb.as_weights(A, [f"{i:03d}" for i in range(n)]).standardise("row")


def single(W: zb.Weights, estimator: str = "lee_yu", draw: dict | None = None, **spec: Any) -> Any:
    """A fit of one equation on a panel with ρ = 0.3."""
    panel = zb.simulate.durbin(W, T, BETA, theta=THETA, rho=0.3, rng=1, **(draw or {}))
    wanted = zb.DurbinSpec("y", ["a", "b"], **({"fixed_effects": "two_way"} | spec))
    return zb.fit_durbin(wanted, panel, W, estimator)


def system(W: zb.Weights, **given: Any) -> Any:
    """Two equations, each with the other and the lag of its own."""
    spec = zb.SystemSpec(
        {
            "y1": zb.Equation("y1", x=["a"], endog=["y2"], lag_y=True),
            "y2": zb.Equation("y2", x=["b"], endog=["y1"], lag_y=True),
        }
    )
    truth = {("y1", "a"): 1.0, ("y1", "y2"): 0.3, ("y1", "W_y1"): 0.3}
    truth |= {("y2", "b"): 1.0, ("y2", "y1"): 0.2, ("y2", "W_y2"): 0.3}
    return zb.fit_system(spec, zb.simulate.system(spec, W, T, truth, rng=1), W, **given)


def models(W: zb.Weights) -> dict[str, Callable[[], Any]]:
    """What is resampled."""
    return {
        "SDM": lambda: single(W),
        "SAC": lambda: single(W, lag_x=[], lag_error=True),
        "GNS": lambda: single(W, lag_error=True),
        "SDM, random effects": lambda: single(W, fixed_effects="random"),
        "SAC, random effects (KKP)": lambda: single(
            W, fixed_effects="random", lag_x=[], lag_error=True, error_structure="kkp"
        ),
        "SEM, random effects (Baltagi)": lambda: single(
            W, fixed_effects="random", lag_y=False, lag_x=[], lag_error=True
        ),
        "SAR, 2SLS": lambda: single(W, "gmm", lag_x=[]),
        "SAC, GMM": lambda: single(W, "gmm", lag_x=[], lag_error=True),
        "dynamic SDM": lambda: single(W, time_lag=True, lag_time_lag=True),
        "system of two, GS3SLS": lambda: system(W, method="3sls"),
        "system of two, FIML": lambda: system(W, method="fiml"),
    }


def measured(replicates: int = REPLICATES) -> dict[str, dict[str, float]]:
    """Milliseconds a panel by model: together where the model allows it, and by the whole estimator."""
    warnings.simplefilter("ignore")
    W, out = ring(N), {}
    for name, make in models(W).items():
        fit = make()
        zb.bootstrap(fit, 99, rng=1)
        some = max(99, replicates // (1 if is_together(fit) else SHARE))
        start = time.process_time()
        zb.bootstrap(fit, some, rng=1)
        together = (time.process_time() - start) / some
        task, few = alone(fit), replicates // SHARE
        start = time.process_time()
        for place in range(few):
            task(place, np.random.SeedSequence(1, spawn_key=(place,)))
        out[name] = {"together": 1e3 * together, "alone": 1e3 * (time.process_time() - start) / few}
    return out


def is_together(fit: Any) -> bool:
    """Whether its panels are estimated at once."""
    if isinstance(fit, SystemFit):
        return systems._together(fit)
    return bool(getattr(source_of(fit), "together", False))


def alone(fit: Any) -> Callable[[int, np.random.SeedSequence], dict]:
    """One panel by the whole estimator."""
    if isinstance(fit, SystemFit):
        return partial(systems._refit, fit, systems._generator(fit), "residual")
    return partial(_refit, source_of(fit), "residual")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    write = parser.parse_args().write
    rows = ["| model, 41 × 13 | ms a panel | one by one | ratio |", "|---|---|---|---|"]
    for name, at in measured().items():
        ratio = f"{at['alone'] / at['together']:.0f}" if at["together"] < at["alone"] / 2 else "alone only"
        rows.append(f"| {name} | {at['together']:.2f} | {at['alone']:.1f} | {ratio} |")
    print("\n".join(rows))
    if write:
        put_table("bootstrap", "\n".join(rows))


if __name__ == "__main__":
    main()
