"""Bootstrap p-values of the test chain."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from small_examples import ring

import spatial_zb as zb
from spatial_zb.base.results import Row
from spatial_zb.base.text import Text
from spatial_zb.hypotheses import make_case
from spatial_zb.hypotheses.case import TESTS
from spatial_zb.hypotheses.nulls import (
    NULLS,
    RandomSource,
    _p_value,
    _with_p_value,
    bootstrap_p_values,
    one_draw,
)

SPEC = zb.DurbinSpec("y", ["a"], fixed_effects="two_way")


def panel(seed: int = 1, n: int = 14, T: int = 7, **truth):
    return zb.simulate.durbin(ring(n), T, {"a": 1.0}, rng=seed, **truth)


def chained(data, tests: tuple[str, ...], replicates: int = 199, rng: int = 1, spec=SPEC):
    """Bootstrap p-values of some tests only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        table = zb.diagnose(spec, data, ring(len(data.units)))
        table = replace(table, rows=tuple(row for row in table.rows if row.test in tests))
        return bootstrap_p_values(
            make_case(spec, data, ring(len(data.units)), "lee_yu"), table, replicates, rng, 1
        )


#: No tests; a p-value from draws already; a law (of normal errors) that drawing residuals would take over.
NO_NULL = (
    "VIF",
    "Condition number",
    "Largest to smallest error sd of units",
    "Cross-section dependence",
    "Jarque-Bera",
)


def test_every_test_of_the_chain_has_one_null():
    named = [test for null in NULLS.values() for test in null.tests]
    assert sorted(named) == sorted(set(TESTS) - set(NO_NULL))


def test_exact_tests_have_the_p_value_of_their_law():
    """F tests of effects are exact for normal errors; the bootstrap agrees within its noise."""
    tests = ("F unit effects", "F time effects", "F unit and time effects")
    found = chained(panel(unit_effects=0.2, time_effects=0.2), tests, 499)
    for row in found.rows:
        noise = 4 * np.sqrt(row.p_value * (1 - row.p_value) / 499) + 1 / 499
        assert abs(row.p_bootstrap - row.p_value) < noise + 0.02, row.test


def test_monotone_tests_have_the_same_p_value():
    """LR is an increasing function of F, so on the same panels both have one bootstrap p-value."""
    found = chained(panel(), ("F unit effects", "LR unit effects"))
    first, second = (found.row(name) for name in ("F unit effects", "LR unit effects"))
    assert first.p_bootstrap == second.p_bootstrap


def test_a_strong_lag_is_found_and_its_own_model_is_not_rejected():
    found = chained(panel(n=30, rho=0.7), ("LM lag", "LR SDM to SAR"))
    assert found.row("LM lag").p_bootstrap == pytest.approx(1 / 200)
    assert found.row("LR SDM to SAR").p_bootstrap > 0.05


def test_streams_are_those_of_the_seed():
    one, two = (chained(panel(), ("LM lag", "LM error"), 99, rng=seed) for seed in (3, 3))
    assert [row.p_bootstrap for row in one.rows] == [row.p_bootstrap for row in two.rows]
    other = chained(panel(), ("LM lag", "LM error"), 99, rng=4)
    assert [row.p_bootstrap for row in one.rows] != [row.p_bootstrap for row in other.rows]


def test_two_sided_and_one_sided_tails():
    words = Text("", "")
    drawn = list(np.linspace(-1, 1, 101))
    two = Row("CD (Pesaran)", 0.9, np.nan, 0.3, words)
    one = Row("LM random effects, marginal (BSK)", 0.9, np.nan, 0.3, words)
    squares = Row("LM lag", 0.9, 1.0, 0.3, words)
    assert _p_value(two, drawn, 101, 0.9) == pytest.approx(13 / 102)
    assert _p_value(one, drawn, 101, 0.9) == pytest.approx(7 / 102)
    assert _p_value(squares, drawn, 101, 0.9) == pytest.approx(7 / 102)
    assert np.isnan(_p_value(two, drawn[:50], 101, 0.9))
    assert np.isnan(_p_value(two, drawn, 101, np.nan))


def test_random_panels_have_the_variances_asked_for():
    source = RandomSource(np.zeros((8, 400)), unit=2.0, noise=0.5)
    y = source.each([np.random.default_rng(0)])[0]
    assert y.mean(axis=0).std() == pytest.approx(2.0, rel=0.1)
    assert (y - y.mean(axis=0)).std() == pytest.approx(0.5 * np.sqrt(7 / 8), rel=0.05)


def test_the_table_shows_them_and_the_sentences_read_them():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        found = zb.diagnose(zb.DurbinSpec("y", ["a"], lag_x=[]), panel(), ring(14), replicates=99, rng=1)
    frame = found.tidy()
    tested = frame["p_value"].notna()
    assert list(frame.columns) == ["test", "statistic", "df", "p_value", "p_bootstrap", "note"]
    tested &= frame["test"] != "Cross-section dependence"  # its p-value is from draws already
    assert frame.loc[tested, "p_bootstrap"].between(0.01, 1).all()
    assert frame.loc[~tested, "p_bootstrap"].isna().all()
    row = found.row("LM lag")
    assert row.p == row.p_bootstrap != row.p_value
    assert f"LM lag {row.statistic:.2f}, p = {row.p_bootstrap:.3f}" in found.recommend()
    assert "99 draws" in found.recommend("en")
    assert "99 次" in found.recommend("zh")


def test_too_few_replicates_are_refused():
    with pytest.raises(zb.SpecificationError, match="99"):
        zb.diagnose(SPEC, panel(), ring(14), replicates=20)


def test_undefined_draws_are_counted():
    words = Text("", "")
    row = _with_p_value(Row("Hausman", 3.0, 1.0, 0.1, words), [1.0] * 60 + [np.nan] * 39, 99)
    assert row.p_bootstrap == pytest.approx(1 / 61)
    assert "60 of 99" in row.note.en
    assert "60" in row.note.zh


@pytest.mark.slow
def test_sizes_that_are_off_are_put_right():
    """χ² of LR of unit effects rejects 11 % of true nulls at n = 11; drawn p-values 5 %."""
    p = [
        chained(panel(seed, 11, 11, unit_effects=0.0), ("LR unit effects",), 99, seed).rows[0].p_bootstrap
        for seed in range(300)
    ]
    assert (
        0.05 - 3 * np.sqrt(0.05 * 0.95 / 300)
        < np.mean(np.array(p) <= 0.05)
        < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    )


@pytest.mark.slow
def test_workers_and_a_store_change_no_number(tmp_path):
    options = {"bootstrap": 99, "rng": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        alone = zb.diagnose(SPEC, panel(), ring(14), **options).tidy()
        assert alone.equals(zb.diagnose(SPEC, panel(), ring(14), workers=2, **options).tidy())
        store = zb.base.result_store.ResultStore(tmp_path)
        for _ in range(2):
            assert alone.equals(
                zb.diagnose(SPEC, panel(), ring(14), workers=zb.Execution(store=store), **options).tidy()
            )


def test_one_draw_of_each_null():
    """What a study of sizes pools: how far out each test is on one panel under its own null."""
    tests = ("LM lag", "F unit effects", "Serial correlation (LM*)", "Hausman, spatial")
    spec = zb.DurbinSpec("y", ["a"])
    case = make_case(spec, panel(), ring(14), "lee_yu")
    first, again, other = (one_draw(case, tests, np.random.SeedSequence(s)) for s in (1, 1, 2))
    assert set(first) == set(tests)
    assert first == again != other
    assert min(first.values()) > 0  # the size of CD, whichever its sign


def test_the_null_of_random_effects_is_drawn_without_period_effects():
    """It is estimated with them transformed away: shifting whole periods changes no draw."""
    spec, data = zb.DurbinSpec("y", ["a"]), panel()
    shifted = data.with_columns({"y": data.array("y") + 5.0 * np.arange(7.0)[:, None]})
    draws = [
        NULLS["random effects and spatial lags"]
        .source(make_case(spec, d, ring(14), "lee_yu"))
        .each([np.random.default_rng(0)])[0]
        for d in (data, shifted)
    ]
    np.testing.assert_allclose(*draws, rtol=1e-4, atol=1e-6)


def test_one_by_one_the_robust_tests_have_no_p_value(monkeypatch):
    """Where panels cannot be tested together, as above 500 units: theirs would come from one estimate, and mislead."""
    monkeypatch.setattr("spatial_zb.hypotheses.nulls.can_be_replicated", lambda case: False)
    data = panel(n=8, T=5)
    found = chained(data, ("LM lag", "LM lag, robust"), 99)
    assert np.isfinite(found.row("LM lag").p_bootstrap)
    robust = found.row("LM lag, robust")
    assert np.isnan(robust.p_bootstrap)
    assert "500 units" in robust.note.en
    assert "500" in robust.note.zh
