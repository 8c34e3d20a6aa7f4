"""The simulated system satisfies its own equations."""

from __future__ import annotations

import numpy as np
import pytest
from small_examples import circle

import spatial_zb as zb
from spatial_zb.base.errors import SpecificationError
from spatial_zb.models.system.spec import Equation, SystemSpec
from spatial_zb.simulate import system as simulate_system

SPEC = SystemSpec(
    {
        "one": Equation("y", ["z"], ["a"], lag_endog=["z"], lag_x=["a"], lag_error=True),
        "two": Equation("z", ["y"], ["b"], lag_y=False),
    },
    "none",
)
TRUTH = {
    ("one", "z"): 0.4,
    ("one", "W_y"): 0.3,
    ("one", "W_z"): -0.2,
    ("one", "a"): 1.5,
    ("one", "W_a"): 0.5,
    ("one", "(Intercept)"): 2.0,
    ("one", "lam"): 0.6,
    ("two", "y"): 0.3,
    ("two", "b"): -1.0,
}


def test_noise_left_over_has_the_covariance_asked_for():
    W, sigma = circle(50), np.array([[1.0, 0.6], [0.6, 2.0]])
    panel = simulate_system(
        SPEC, W, 80, zb.simulate.Truth(TRUTH, sigma=sigma, unit_effects=0, time_effects=0), rng=1
    )
    y, z, a, b = (panel.array(name).T for name in ("y", "z", "a", "b"))
    L = W.matrix
    u = y - 0.4 * z - 0.3 * (L @ y) + 0.2 * (L @ z) - 1.5 * a - 0.5 * (L @ a) - 2.0
    first, second = u - 0.6 * (L @ u), z - 0.3 * y + b
    found = np.cov(first.ravel(), second.ravel())
    np.testing.assert_allclose(found, sigma, atol=0.15)
    assert abs(np.corrcoef(first.ravel(), (L @ first).ravel())[0, 1]) < 0.05


def test_the_seed_decides():
    W = circle(10)
    same = [simulate_system(SPEC, W, 4, TRUTH, rng=seed).values for seed in (3, 3, 4)]
    np.testing.assert_array_equal(same[0], same[1])
    assert not np.allclose(same[0], same[2])


def test_a_coefficient_the_system_has_not_is_refused():
    with pytest.raises(SpecificationError, match=r"no coefficient \('two', 'W_z'\)"):
        simulate_system(SPEC, circle(10), 4, TRUTH | {("two", "W_z"): 0.1})
