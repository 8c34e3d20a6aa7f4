"""Tests of many panels at once: the same statistics as one panel at a time."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from small_examples import directed_knn, twelve_units

import spatial_zb as zb
from spatial_zb.hypotheses import make_case
from spatial_zb.hypotheses.nulls import NULLS, run_tests
from spatial_zb.hypotheses.random import random_estimate
from spatial_zb.hypotheses.replicated import REPLICATED, replicated_statistics

#: Roots are found to 1e-13; sums differ by rounding.
SAME = 1e-8
T, SAMPLES = 6, 5
GROUPS_OF_TESTS = "lag_error", "durbin", "errors", "dependence", "effects", "random", "bsk", "random_spatial"


def panels(kind: str, effects: str, W: zb.Weights | None = None, **truth):
    """Several y on one X, and the case of the first."""
    W = W or twelve_units(kind)
    drawn = [zb.simulate.durbin(W, T, {"a": 1.0, "b": -0.5}, rng=i, **truth) for i in range(SAMPLES)]
    cases = []
    for one in drawn:
        panel = drawn[0].with_columns({"y": one.array("y")})
        cases.append(make_case(zb.DurbinSpec("y", ["a", "b"], fixed_effects=effects), panel, W, "lee_yu"))
    return cases, np.stack([one.array("y") for one in drawn])


@pytest.mark.parametrize("kind", ["symmetric", "asymmetric", "dense"])
@pytest.mark.parametrize("effects", ["none", "unit", "time", "two_way"])
def test_statistics_are_those_of_single_panels(kind: str, effects: str) -> None:
    truth = {"rho": 0.3} if (kind == "dense") == (effects in ("unit", "two_way")) else {"lam": 0.6}
    same_statistics(*panels(kind, effects, **truth))


def test_likelihood_ratios_are_defined_at_an_end_and_nothing_else_is() -> None:
    cases, Y = panels("dense", "two_way", rho=0.8)
    ends = [case.highest_sdm.convergence.at_bound for case in cases]
    assert set(ends) == {True, False}
    found = same_statistics(cases, Y)
    assert np.isfinite(found["LR SDM to SAR", ""]).all()
    assert (np.isnan(found["Wald SDM to SAR", ""]) == ends).all()
    assert (np.isnan(found["LM error from SDM", ""]) == ends).all()
    note = run_tests(cases[ends.index(True)], ("durbin",), ["LR SDM to SAR"])[0].note
    assert "highest at an end of the admissible interval" in note.en
    assert "端点" in note.zh


@pytest.mark.parametrize("effects", ["unit", "two_way"])
def test_a_directed_w_has_next_to_no_eigenbasis_and_the_same_statistics(effects: str) -> None:
    """Of nearest neighbours: its eigenvectors are so nearly parallel that traces of their products are lost."""
    W = directed_knn(19, 4)
    assert np.linalg.cond(np.linalg.eig(W.matrix.toarray())[1]) > 1e7
    same_statistics(*panels("", effects, W, rho=0.3, unit_effects=0.3), same=1e-6)


@pytest.mark.parametrize("effects", ["unit", "two_way"])
def test_statistics_with_a_regressor_that_stays_and_without_variance_between_units(effects: str) -> None:
    """What stays is in random effects and not in fixed ones; where φ = 0 it is no parameter."""
    W = twelve_units("asymmetric")
    sizes = (0.0, 0.0, 0.0, 1.0, 3.0)
    drawn = [zb.simulate.durbin(W, T, {"a": 1.0}, rho=0.3, unit_effects=size, rng=5) for size in sizes]
    stays = np.broadcast_to(np.random.default_rng(0).normal(size=12), (T, 12))
    both = [drawn[0].with_columns({"y": one.array("y"), "s": stays}) for one in drawn]
    spec = zb.DurbinSpec("y", ["s", "a"], lag_x=[], fixed_effects="time" if effects == "two_way" else "none")
    cases = [make_case(spec, one, W, "lee_yu") for one in both]
    assert {random_estimate(case).best.at_zero for case in cases} == {True, False}
    same_statistics(cases, np.stack([one.array("y") for one in drawn]))


def test_statistics_of_a_cross_section_are_those_of_single_panels() -> None:
    W = twelve_units("asymmetric")
    drawn = [zb.simulate.durbin(W, 1, {"a": 1.0, "b": -0.5}, rng=i, unit_effects=0.0) for i in range(3)]
    spec = zb.DurbinSpec("y", ["a", "b"], fixed_effects="none")
    panels = [drawn[0].with_columns({"y": one.array("y")}) for one in drawn]
    cases = [make_case(spec, panel, W, "lee_yu") for panel in panels]
    found = same_statistics(cases, np.stack([one.array("y") for one in drawn]))
    assert {("Breusch-Pagan", ""), ("Koenker-Bassett", "")} <= set(found)


def same_statistics(cases, Y, same: float = SAME):
    """The statistics of all panels at once, held to those of each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        there = {row.test for row in run_tests(cases[0], GROUPS_OF_TESTS, REPLICATED)}
        found = replicated_statistics(cases[0], there, Y)
        for r, case in enumerate(cases):
            rows = run_tests(case, GROUPS_OF_TESTS, REPLICATED)
            assert {(row.test, row.of) for row in rows} == set(found)
            for row in rows:
                assert found[row.test, row.of][r] == pytest.approx(row.statistic, rel=same, nan_ok=True), row
    return found


@pytest.mark.parametrize("null", ["no unit effects", "random effects", "random effects and spatial lags"])
def test_panels_are_those_of_their_streams_however_many_are_drawn_together(null: str) -> None:
    cases, _ = panels("dense", "two_way", rho=0.3)
    source = NULLS[null].source(cases[0])
    streams = [np.random.SeedSequence(7, spawn_key=(r,)) for r in range(3)]
    together = source.each([np.random.default_rng(one) for one in streams])
    alone = [source.each([np.random.default_rng(one)])[0] for one in streams]
    np.testing.assert_allclose(together, alone, rtol=1e-12, atol=1e-12)
