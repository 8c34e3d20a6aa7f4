"""Robust LM tests: their p-value at the estimate, and its own law."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from small_examples import twelve_units

import spatial_zb as zb
from spatial_zb.core.laws.bootstrap import places_among
from spatial_zb.hypotheses import make_case
from spatial_zb.hypotheses.nulls import NULLS, run_tests, with_p_values
from spatial_zb.hypotheses.replicated import (
    PREPIVOTED,
    SHARE,
    _sources,
    prepivoted,
    replicated_statistics,
)
from spatial_zb.inference.bootstrap.static import draw_samples, generator_of

T = 8


def case_of(test: str, seed: int = 1):
    """A case under the null of a robust test, and what that null is drawn from."""
    null, truth = ("SAR", {"rho": 0.6}) if "error" in test else ("SEM", {"lam": 0.6})
    W = twelve_units("dense")
    panel = zb.simulate.durbin(
        W, T, {"a": 1.0, "b": -1.0}, process=zb.simulate.Process(time_effects=0.0), rng=seed, **truth
    )
    case = make_case(zb.DurbinSpec("y", ["a", "b"], fixed_effects="unit"), panel, W, "lee_yu")
    return case, NULLS[null].source(case)


def test_each_has_a_null_that_leaves_a_coefficient() -> None:
    nulls = {test: name for name, null in NULLS.items() for test in null.tests}
    assert {test: nulls[test] for test in PREPIVOTED} == {"LM lag, robust": "SEM", "LM error, robust": "SAR"}


def test_places_are_counts_read_between_neighbours_and_never_tie() -> None:
    drawn = np.tile([1.0, 2.0, 4.0, 8.0], (7, 1))
    found = places_among(drawn, np.array([0.0, 0.5, 1.5, 3.0, 8.0, 16.0, 80.0]))
    np.testing.assert_allclose(found, [-1.0, -0.5, 0.5, 1.5, 3.0, 3.5, 3.9])


@pytest.mark.parametrize("test", PREPIVOTED)
def test_panels_of_the_grid_at_the_estimate_are_those_of_the_fit(test: str) -> None:
    _, source = case_of(test)
    fit, size = source.fit, (3, T, len(source.fit.panel.units))
    value = float(fit.params[fit.spec.spatial_terms[0]])
    panels = next(_sources(fit.design, generator_of(fit).model, np.array([value])))
    chosen = np.random.default_rng(0).integers(size[1] * size[2], size=size)
    np.testing.assert_allclose(panels(chosen), draw_samples(fit, np.random.default_rng(0), 3), rtol=1e-8)


@pytest.mark.parametrize("test", PREPIVOTED)
def test_p_values_at_the_estimate_are_those_of_fits_one_by_one(test: str) -> None:
    """Panels estimated and drawn from one at a time, each at its own estimate: the slow double bootstrap."""
    case, source = case_of(test)
    Y = source.panels(np.random.default_rng(0), 40)
    drawn = replicated_statistics(case, [test], Y)[test, ""]
    own, found = prepivoted(case, source.fit, test, Y, drawn, np.random.SeedSequence(0))
    slow = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        for y, statistic in zip([case.panel.array("y"), *Y], [np.nan, *drawn], strict=True):
            panel = case.panel.with_columns({"y": y})
            one = make_case(case.spec, panel, case.weights, "lee_yu")
            statistic = run_tests(one, ("lag_error",), [test])[0].statistic
            inner = (
                NULLS["SAR" if "error" in test else "SEM"].source(one).panels(np.random.default_rng(1), 400)
            )
            slow.append((replicated_statistics(one, [test], inner)[test, ""] < statistic).mean())
    # Shares of 20 draws on the grid have an error of up to 11 points; the inner panels of the slow one that of 2.5.
    fast = (np.append(own, found) + 1) / (SHARE * len(Y) + 1)
    assert np.abs(fast - slow).max() < 0.35
    assert np.corrcoef(fast, slow)[0, 1] > 0.9


def test_an_error_process_is_still_found() -> None:
    """Prepivoting takes the level back, not the power."""
    W = twelve_units("symmetric")
    p = []
    for seed in range(6):
        panel = zb.simulate.durbin(
            W, 20, {"a": 1.0, "b": -1.0}, lam=0.7, process=zb.simulate.Process(time_effects=0.0), rng=seed
        )
        case = make_case(zb.DurbinSpec("y", ["a", "b"], fixed_effects="unit"), panel, W, "lee_yu")
        rows = run_tests(case, ("lag_error",), ["LM error, robust"])
        p.append(with_p_values(case, rows, 199, seed, 1)[0].p_bootstrap)
    assert np.median(p) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("test", PREPIVOTED)
def test_they_keep_their_level_far_from_zero(test: str) -> None:
    """The usual p-values reject a true hypothesis in a third to two thirds of such panels."""
    p, usual = [], []
    for seed in range(400):
        case, _ = case_of(test, seed)
        rows = run_tests(case, ("lag_error",), [test])
        usual.append(rows[0].p_value)
        p.append(with_p_values(case, rows, 99, seed, 1)[0].p_bootstrap)
    assert np.mean(np.array(usual) < 0.05) > 0.15
    assert abs(np.mean(np.array(p) < 0.05 + 1e-9) - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 400)
