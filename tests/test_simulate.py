"""Simulated panels: what no process has is refused, whatever function draws it."""

from __future__ import annotations

import numpy as np
import pytest
from small_examples import circle

from spatial_zb import (
    AlignmentError,
    DataError,
    DurbinSpec,
    Equation,
    SpecificationError,
    SystemSpec,
    power_study,
    simulate_durbin,
    simulate_panel,
    simulate_system,
)

W = circle(8)
SPEC = DurbinSpec("y", ["a"], fixed_effects="unit")
SYSTEM = SystemSpec({"p": Equation("p", endog=["q"], x=["a"]), "q": Equation("q", endog=["p"], x=["b"])})


@pytest.mark.parametrize("value", [1.0, 1.5, -1.01])
@pytest.mark.parametrize("name", ["rho", "lam"])
def test_no_process_has_a_coefficient_outside_the_interval(name, value):
    """I − W is singular for a row-normalised W; what rounding leaves of it gave numbers of 1e16."""
    error_model = DurbinSpec("y", ["a"], lag_y=name == "rho", lag_error=name == "lam", fixed_effects="unit")
    with pytest.raises(SpecificationError, match="admissible interval"):
        simulate_durbin(W, 3, {"a": 1.0}, rng=0, **{name: value})
    with pytest.raises(SpecificationError, match="admissible interval"):
        simulate_panel(error_model, W, 3, {name: value}, rng=0)
    with pytest.raises(SpecificationError, match="admissible interval"):
        power_study(error_model, W, 3, {name: value}, replications=20, rng=0)


def test_the_interval_is_that_of_the_eigenvalues():
    """Unscaled weights of a circle: 1/ω is ±0.5."""
    raw = circle(8).matrix * 2
    wide = type(W)(raw, W.ids, "raw")
    assert simulate_durbin(wide, 3, {"a": 1.0}, rho=-0.49, rng=0).values.shape == (3, 8, 2)
    with pytest.raises(SpecificationError, match=r"-0.500, 0.500"):
        simulate_durbin(wide, 3, {"a": 1.0}, rho=-0.51, rng=0)


REFUSED = {
    "theta of a stranger": (lambda: simulate_durbin(W, 3, {"a": 1.0}, theta={"b": 1.0}), ["theta", "b"]),
    "no period": (lambda: simulate_durbin(W, 0, {"a": 1.0}), ["periods", "1"]),
    "half a period": (lambda: simulate_panel(SPEC, W, 2.5, {}), ["periods", "2.5"]),
    "negative burn-in": (lambda: simulate_durbin(W, 3, {"a": 1.0}, tau=0.5, burn_in=-1), ["burn_in"]),
    "negative deviation": (lambda: simulate_durbin(W, 3, {"a": 1.0}, sigma=-1.0), ["sigma"]),
    "a blank coefficient": (lambda: simulate_durbin(W, 3, {"a": np.nan}), ["a", "nan"]),
    "a blank rho": (lambda: simulate_durbin(W, 3, {"a": 1.0}, rho=np.nan), ["rho", "nan"]),
    "an intercept of text": (lambda: simulate_durbin(W, 3, {"a": 1.0}, intercept="1"), ["intercept", "'1'"]),
    "a blank deviation": (lambda: simulate_durbin(W, 3, {"a": 1.0}, sigma=np.nan), ["sigma", "nan"]),
    "a blank truth": (lambda: simulate_panel(SPEC, W, 3, {"sigma2": np.nan}), ["sigma2", "nan"]),
    "a blank coefficient of a system": (
        lambda: simulate_system(SYSTEM, W, 3, {("p", "q"): np.inf}),
        ["p q", "inf"],
    ),
    "no seed": (lambda: simulate_durbin(W, 3, {"a": 1.0}, rng="seed"), ["rng", "'seed'"]),
    "no seed of a study": (
        lambda: power_study(SPEC, W, 3, {}, replications=20, rng="seed"),
        ["rng", "'seed'"],
    ),
    "covariance not definite": (
        lambda: simulate_system(SYSTEM, W, 3, {}, sigma=[[1, 2], [2, 1]]),
        ["sigma", "positive definite"],
    ),
    "covariance not symmetric": (
        lambda: simulate_system(SYSTEM, W, 3, {}, sigma=[[1, 0.5], [0, 1]]),
        ["sigma", "symmetric"],
    ),
    "covariance of three": (lambda: simulate_system(SYSTEM, W, 3, {}, sigma=np.eye(3)), ["sigma", "2 × 2"]),
    "no reduced form": (
        lambda: simulate_system(SYSTEM, W, 3, {("p", "q"): 1.0, ("q", "p"): 1.0}),
        ["reduced form"],
    ),
    "half a replication": (lambda: power_study(SPEC, W, 3, {}, replications=20.5), ["replications", "20.5"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_words(case):
    action, words = REFUSED[case]
    with pytest.raises(SpecificationError) as caught:
        action()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_regressors_of_another_length_are_refused_for_a_system_too():
    other = simulate_system(SYSTEM, W, 4, {}, rng=1)
    with pytest.raises(DataError, match="4 periods"):
        simulate_system(SYSTEM, W, 3, {}, regressors=other)


def test_a_bare_matrix_has_no_ids():
    with pytest.raises(AlignmentError, match="ids="):
        simulate_durbin(W.matrix, 3, {"a": 1.0})


def test_a_whole_number_of_numpy_is_one():
    assert power_study(SPEC, W, np.int64(4), {"a": 1.0}, replications=20, rng=1).frame["periods"].eq(4).all()
