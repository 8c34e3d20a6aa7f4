"""The simulated systems of the validation: their equations, their truth, and the words for it."""

from __future__ import annotations

import numpy as np
import pandas as pd

import spatial_zb as zb
from spatial_zb import Equation, Panel, SystemSpec
from spatial_zb.simulate import system as simulate_system

from .places import PERIODS, weights

__all__ = [
    "DENSE",
    "ERRORS",
    "FOLLOWED",
    "SEED",
    "SIGMA",
    "TRUTH",
    "drawn",
    "median_error",
    "system",
    "true_value",
]

SEED = 20261125
SIGMA = np.array([[1.0, 0.4], [0.4, 1.0]])
TRUTH = {
    ("industry", "tal"): 0.25,
    ("industry", "W_ind"): 0.3,
    ("industry", "W_tal"): 0.15,
    ("industry", "a"): 1.0,
    ("industry", "b"): -0.5,
    ("talent", "ind"): 0.2,
    ("talent", "W_tal"): 0.25,
    ("talent", "W_ind"): 0.1,
    ("talent", "c"): 1.0,
    ("talent", "d"): 0.5,
}
ERRORS = {("industry", "lam"): 0.3, ("talent", "lam"): 0.3}
#: What is followed: the coefficients of the first equation.
FOLLOWED = [("industry", term) for term in ("tal", "W_ind", "W_tal", "a")]
DENSE = "inverse distance"


def system(lag_error: bool) -> SystemSpec:
    return SystemSpec(
        {
            "industry": Equation("ind", ["tal"], ["a", "b"], lag_endog=["tal"], lag_error=lag_error),
            "talent": Equation("tal", ["ind"], ["c", "d"], lag_endog=["ind"], lag_error=lag_error),
        }
    )


def drawn(n: int, kind: str, lag_error: bool, seed: np.random.SeedSequence) -> Panel:
    """A panel of the system on one of the maps."""
    truth = TRUTH | (ERRORS if lag_error else {})
    rng = np.random.default_rng(seed)
    return simulate_system(
        system(lag_error), weights(n, kind), PERIODS, zb.simulate.Truth(truth, sigma=SIGMA), rng=rng
    )


def true_value(parameter: str) -> float:
    if parameter == "effect":  # W ι = ι: the total effect of a shock is (Γ − Ψ)⁻¹
        gamma = np.array([[1, -0.25], [-0.2, 1]])
        psi = np.array([[0.3, 0.15], [0.1, 0.25]])
        return float(np.linalg.inv(gamma - psi)[0, 1])
    return (TRUTH | ERRORS)["industry", parameter]


def median_error(off: pd.Series) -> float:
    """Standard error of the median of a normal sample with this spread between its quartiles."""
    spread = off.quantile(0.75) - off.quantile(0.25)
    return float(np.sqrt(np.pi / 2) * spread / 1.349 / np.sqrt(len(off)))
