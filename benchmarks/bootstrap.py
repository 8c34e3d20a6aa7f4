"""Milliseconds a resampled panel costs, by model: 41 units and 13 periods, two regressors and their lags.

    python benchmarks/bootstrap.py            # prints the table
    python benchmarks/bootstrap.py --write    # puts it into docs/performance.md as well

Processor time of 999 replicates (``REPLICATES``) of one fit, residual scheme, W and fit already there, divided by their
number; beside it the same with every panel estimated by the whole estimator, of which a twentieth is timed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np

import spatial_zb as zb

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
