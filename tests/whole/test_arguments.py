"""Arguments that many functions share: seeds of three kinds, names of the last release."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from small_examples import circle

import spatial_zb as zb
from spatial_zb.base.arguments import renamed, seed_of

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

W = circle(12)
SPEC = zb.DurbinSpec("y", ["a", "b"], lag_x="all", fixed_effects="unit")
PANEL = zb.simulate.durbin(W, 4, {"a": 1.0, "b": -0.5}, rho=0.3, rng=3)


@pytest.fixture(scope="module")
def fit():
    return zb.fit_durbin(SPEC, PANEL, W)


#: A number that depends on the draws, of every kind of function that draws.
DRAWS = {
    "moran": lambda fit, rng: zb.moran(PANEL, "y", W, permutations=99, rng=rng).table()["p_sim"],
    "local": lambda fit, rng: zb.local_moran(
        PANEL, "y", W, period=PANEL.periods[0], permutations=99, rng=rng
    ).table()["p_sim"],
    "effects": lambda fit, rng: zb.spatial_effects(fit, "simulate", draws=100, rng=rng).tidy()["std_error"],
    "bootstrap": lambda fit, rng: zb.bootstrap(fit, 99, rng=rng).tidy()["conf_low"],
    "tests": lambda fit, rng: zb.diagnose(SPEC, PANEL, W, replicates=99, rng=rng).tidy()["p_bootstrap"],
    "data": lambda fit, rng: zb.simulate.durbin(W, 2, {"a": 1.0}, rng=rng).values,
}


@pytest.mark.parametrize("name", DRAWS)
def test_every_kind_of_seed_serves_and_a_generator_goes_on(fit, name):
    def drawn(rng):
        return np.nan_to_num(np.asarray(DRAWS[name](fit, rng), float))

    assert np.array_equal(drawn(7), drawn(np.random.SeedSequence(7)))
    generator = np.random.default_rng(7)
    first, second = drawn(generator), drawn(generator)
    assert np.array_equal(first, drawn(np.random.default_rng(7)))
    assert not np.array_equal(first, second)


def test_a_sequence_that_a_caller_holds_counts_no_children():
    sequence = np.random.SeedSequence(5)
    seed_of(sequence).spawn(3)
    assert sequence.n_children_spawned == 0


def test_an_old_name_is_passed_on_with_a_warning_at_the_line_of_the_caller():
    @renamed(alpha="level", replications="replicates")
    def interval(level: float = 0.95, replicates: int = 5) -> tuple[float, int]:
        return level, replicates

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert interval(0.9) == (0.9, 5)
    with pytest.warns(DeprecationWarning, match="level") as caught:
        assert interval(alpha=0.1, replicates=9) == (0.9, 9)
    assert caught[0].filename == __file__
    with pytest.raises(zb.SpecificationError, match="old name of level"):
        interval(level=0.9, alpha=0.1)
    with pytest.warns(DeprecationWarning, match="alpha"), pytest.raises(zb.SpecificationError, match="alpha"):
        interval(alpha=95)
