"""Sizes of the tests: short here, all of them in docs/validation/test_size.md, and what the package says of them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from small_examples import directed_knn

import spatial_zb as zb
from spatial_zb import DurbinSpec, SpatialZbWarning, diagnose, weights
from spatial_zb.core.likelihood.tests import weight_moments
from spatial_zb.data import select_regions
from spatial_zb.hypotheses import make_case
from spatial_zb.hypotheses.case import TESTS, lag_error_with
from spatial_zb.hypotheses.sizes import (
    CORRELATED,
    HIDDEN,
    INSTEAD,
    MEASURED,
    READ,
    SPATIAL,
    TIED,
    UNDER,
    UNSEEN,
    tests_off_on_rows,
    tests_under_errors,
)
from spatial_zb.simulate import durbin as simulate_durbin

ROOT = Path(__file__).parents[2]
SPEC = DurbinSpec("y", ["a", "b"])
NO_TESTS = "VIF", "Condition number", "Largest to smallest error sd of units"
KINDS = {"contiguity": "sparse", "inverse distance": "dense"}


def test_centred_lm_tests_keep_their_size_where_the_usual_formula_does_not(delta) -> None:
    zhejiang = select_regions(delta, [i for i in delta.index if i.startswith("33")])
    W = weights.contiguity(zhejiang, islands="nearest").standardise("row")
    usual, replications = weight_moments(W.matrix, False), 600
    rng = np.random.default_rng(11)
    counts = np.zeros((2, 5))
    limits = stats.chi2.ppf(0.95, [1, 1, 1, 1, 2])
    for _ in range(replications):
        panel = simulate_durbin(W, 11, {"a": 1.0, "b": -1.0}, rng=rng)
        case = make_case(SPEC, panel, W, "lee_yu")
        for i, moments in enumerate((case.moments, usual)):
            t = lag_error_with(case, moments)
            counts[i] += np.array([t.lag, t.error, t.robust_lag, t.robust_error, t.joint]) > limits
    centred, plain = counts / replications
    # Three binomial standard errors at 5 % and 600 replications are 2.7 points.
    assert np.all(np.abs(centred - 0.05) < 0.027), centred
    assert plain[:2].min() > 0.12, plain


def table_of_sizes() -> pd.DataFrame:
    table = pd.read_csv(ROOT / "docs" / "validation" / "test_size.csv", keep_default_na=False)
    return table[~table["usual"] & table["of"].isin(["", "pooled"])]


def is_off(rows: pd.DataFrame) -> pd.Series:
    error = 2 * np.sqrt(0.05 * 0.95 / rows["replications"])
    return (rows["size"] < 0.04 - error) | (rows["size"] > 0.06 + error)


def test_the_measured_sizes_are_those_of_the_committed_simulation() -> None:
    """Every test that is off at some place is in the package with its worst size there, and no other."""
    table = table_of_sizes()
    errors = pd.read_csv(ROOT / "docs" / "validation" / "errors.csv")
    assert set(table["test"]) | {t for t in errors["test"] if t in TESTS} == set(TESTS) - set(NO_TESTS)
    rows = table[is_off(table)]
    rows = rows.assign(far=(rows["size"] - 0.05).abs(), kind=rows["weights"].map(KINDS))
    worst = rows.groupby(["test", "kind", "effects", "n"])["far"].max()
    here = {
        (t, *place): abs(size.share - 0.05)
        for t, found in MEASURED.items()
        for place, size in found.items()
        if place[0] != "uneven"
    }
    assert set(here) == set(worst.index)
    assert all(here[key] == pytest.approx(worst[key], abs=1e-3) for key in here)


def test_what_is_off_on_panels_of_any_shape_is_that_of_the_committed_simulation() -> None:
    """Tests that reject too often where half the units come late; at 4 or 11 periods, whichever is worse."""
    table = pd.read_csv(ROOT / "docs" / "validation" / "shape_tests.csv")
    alone, rows = table["null"].str.endswith("unit effects"), table.rename(columns={"rejects": "size"})
    rows = rows.assign(effects=np.where(alone, "unit", "two_way"))[is_off(rows) & (rows["size"] > 0.05)]
    worst = rows.sort_values("size").groupby(["test", "effects", "n"])[["size", "periods", "null"]].last()
    here = {
        (test, *place[1:]): size
        for test, found in MEASURED.items()
        for place, size in found.items()
        if place[0] == "uneven"
    }
    assert set(here) == set(worst.index)
    for key, size in here.items():
        assert size.share == pytest.approx(worst["size"][key], abs=1e-3)
        assert size.periods == worst["periods"][key]
        assert f"{size.coefficient} = {size.value:g}" in worst["null"][key]


def test_the_tests_of_errors_hold_their_level_and_have_power_in_the_committed_simulation() -> None:
    """What docs/validation/errors.md says, with the error of 300 panels."""
    found = pd.read_csv(ROOT / "docs" / "validation" / "errors.csv").set_index(
        ["test", "errors", "n", "periods"]
    )
    serial = "Serial correlation (LM*)"
    assert found.loc[(serial, "AR 0.3", 41, 13), "rejects"] >= 0.95
    true = found[found["hypothesis"] == "holds"].drop("factor", level="errors")["rejects"]
    for test in (serial, "Variances and diagonal of G", "Variances and place in W", "Koenker-Bassett"):
        assert true[test].between(0.015, 0.09).all(), test
    shocks = true["Cross-section dependence"]["period shocks of sd 10"]
    assert len(shocks) == 4
    assert (shocks <= 0.08).all()
    assert (true["fit warns of serial correlation"] <= 0.02).all()
    assert (true["fit warns of variances"] <= 0.05).all()


def test_the_bootstrap_sizes_are_those_of_the_committed_simulation() -> None:
    """Of every test that is off at some place: the size furthest from 5 % there, from p-values where there are some."""
    drawn = pd.read_csv(ROOT / "docs" / "validation" / "null_sizes.csv")
    drawn = drawn.assign(kind=drawn["weights"].map(KINDS), far=(drawn["bootstrap"] - 0.05).abs())
    most = drawn.groupby(["test", "kind", "effects", "n"])["replicates"].transform("max")
    worst = drawn[drawn["replicates"] == most].groupby(["test", "kind", "effects", "n"])["far"].max()
    drawn_sizes = {
        t: {p: size.drawn for p, size in found.items() if size.drawn is not None}
        for t, found in MEASURED.items()
    }
    here = {(t, *p): abs(size - 0.05) for t, found in drawn_sizes.items() for p, size in found.items()}
    assert set(here) == {key for key in worst.index if key[1:] in MEASURED.get(key[0], {})}
    assert all(here[key] == pytest.approx(worst[key], abs=1e-3) for key in here)
    # as far on the other side of 5 % is another size
    sizes = drawn.groupby(["test", "kind", "effects", "n"])["bootstrap"].agg(list)
    for test, found in drawn_sizes.items():
        assert all(any(abs(one - size) < 1e-3 for one in sizes[test, *p]) for p, size in found.items())


def test_no_cell_is_off_in_silence() -> None:
    """The verdicts of the study, from which cells can be counted, are those of the two tables."""
    found = pd.read_csv(ROOT / "docs" / "validation" / "test_verdicts.csv")
    assert len(found) == len(table_of_sizes())
    assert set(found["verdict"]) <= {
        "holds",
        "warns, bootstrap holds",
        "warns, bootstrap off",
        "warns, not drawn",
    }
    off = (found["size"] < 0.04 - found["size_error"]) | (found["size"] > 0.06 + found["size_error"])
    assert ((found["verdict"] != "holds") == off).all()
    assert found.loc[off, "warned"].all()


def test_every_place_has_no_moderate_and_strong_dependence() -> None:
    table = table_of_sizes()
    for name in ("LM error from SAR", "LM lag from SEM", "Wald SDM to SEM", "Mundlak, spatial"):
        found = table[table["test"] == name]
        strengths = found["truth"].str.extract(r"= ([\d.]+)")[0]
        places = found.assign(c=strengths).groupby(["weights", "n", "effects"])["c"].agg(set)
        assert len(places) == 12
        assert (places == {"0", "0.3", "0.6"}).all()


def test_what_is_recommended_instead_is_a_test_of_the_chain() -> None:
    assert set(INSTEAD.values()) <= set(TESTS) - set(INSTEAD)
    assert {*INSTEAD.values(), None} == set(READ)


OFF = [(test, place) for test, found in MEASURED.items() for place in found]


@pytest.mark.parametrize(("kind", "periods"), [("sparse", 9), ("dense", 6)])
def test_tests_that_do_not_keep_their_level_are_named_with_what_to_read(
    delta, kind: str, periods: int
) -> None:
    """At another number of periods than was measured that is said first."""
    W = weights.contiguity(delta, islands="nearest") if kind == "sparse" else weights.inverse_distance(delta)
    W = W.standardise("row")
    panel = simulate_durbin(W, periods, {"a": 1.0, "b": -1.0}, rng=1)
    place = next(place for _, place in OFF if place[0] == kind and place[2] == 41)
    named = [test for test, found in MEASURED.items() if place in found]
    said = "^With 41 units and 9" if periods == 9 else "measured at 11 periods, not at 6"
    with pytest.warns(SpatialZbWarning, match=said) as caught:
        table = diagnose(replace(SPEC, fixed_effects=place[1]), panel, W)
    assert len(caught) == 1
    (note,) = table.notes
    assert (note["units"], note["periods"], {off[0] for off in note["tests"]}) == (41, periods, set(named))
    assert caught[0].message.notes == table.notes
    assert W.dense == (kind == "dense")
    for test in named:
        measured = MEASURED[test][place]
        note = table.row(test).note
        where = f"n = 41, T = 11, {measured.where}"
        assert f"rejects {100 * measured.share:.1f} % of true hypotheses at {where}" in note.en
        assert "拒绝率" in note.zh
        by_draws = measured.drawn
        assert by_draws is None or f"{100 * by_draws:.1f} % by bootstrap" in note.en
        assert test in str(caught[0].message)
    assert all("true hypotheses" not in row.note.en for row in table.rows if row.test not in named)


def test_a_bootstrap_p_value_silences_the_warning(delta) -> None:
    W = weights.contiguity(delta, islands="nearest").standardise("row")
    panel = simulate_durbin(W, 5, {"a": 1.0}, rng=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialZbWarning)
        table = diagnose(DurbinSpec("y", ["a"]), panel, W, replicates=99, rng=1)
    assert all(np.isfinite(table.row(test).p_bootstrap) for test, _ in OFF)


def late(panel: zb.Panel, units: int) -> zb.Panel:
    """The same with some units that come in the second half."""
    there = np.ones(panel.present.shape, dtype=bool)
    there[: len(there) // 2, :units] = False
    values = np.where(there[..., None], panel.values, np.nan)
    return zb.Panel(values, panel.periods, panel.units, panel.columns, present=there)


@pytest.mark.parametrize("effects", ["unit", "two_way"])
def test_panels_of_any_shape_say_what_was_measured_of_the_robust_tests(effects: str) -> None:
    """At the row and as a warning, and where to look; no bootstrap is promised, which these tests have not there."""
    W = directed_knn(12)
    panel = late(zb.simulate.durbin(W, 6, {"a": 1.0, "b": 1.0}, rng=2), 5)
    with pytest.warns(SpatialZbWarning, match="half the units late"):
        table = diagnose(replace(SPEC, fixed_effects=effects), panel, W)
    (told,) = (note for note in table.notes if note.kind is tests_off_on_rows)
    named = {test: found for test, found in MEASURED.items() if ("uneven", effects, 11) in found}
    assert {off[0] for off in told["tests"]} == set(named)
    for test, found in named.items():
        note, measured = table.row(test).note, found["uneven", effects, 11]
        assert f"rejects {100 * measured.share:.1f} % of true hypotheses at n = 11" in note.en
        assert f"half the units late: read {INSTEAD[test]}" in note.en
        assert "半数地区晚进入" in note.zh
        assert "bootstrap" not in note.en
    assert "no bootstrap" in told.text.en


def test_errors_that_last_are_told_on_panels_of_any_shape_without_a_number() -> None:
    W, rng = directed_knn(30), np.random.default_rng(5)
    panel = zb.simulate.durbin(W, 12, {"a": 1.0, "b": -1.0}, rng=rng)
    e = rng.standard_normal((12, 30))
    for t in range(1, 12):
        e[t] += 0.8 * e[t - 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        table = diagnose(SPEC, late(panel.with_columns({"y": panel.array("y") + 2 * e}), 9), W)
    (note,) = (note for note in table.notes if note.kind is tests_under_errors)
    assert note["measured"] is None
    assert 'covariance="cluster"' in note.text.zh


def test_beyond_what_was_measured_the_robust_tests_say_what_they_allow_for() -> None:
    W = directed_knn(131)
    panel = zb.simulate.durbin(W, 3, {"a": 1.0, "b": 1.0}, rng=2)
    table = diagnose(DurbinSpec("y", ["a", "b"], fixed_effects="unit"), panel, W)
    assert table.row("LM lag, robust").note.en.endswith("small λ only: read LM lag from SEM")
    assert table.row("LM error, robust").note.zh.endswith("较小的 ρ：应看 SAR 之上空间误差的 LM 检验")


def test_beyond_what_was_measured_nothing_is_claimed() -> None:
    W = directed_knn(131)
    panel = zb.simulate.durbin(W, 3, {"a": 1.0, "b": 1.0}, rng=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialZbWarning)
        diagnose(DurbinSpec("y", ["a", "b"], fixed_effects="unit"), panel, W)


LIFELIKE = ROOT / "docs" / "validation" / "lifelike_tests.csv"
MADE = {"AR 0.6": CORRELATED, "sd × 3 at high (W²)_ii": TIED}


def test_what_errors_do_to_tests_is_that_of_the_committed_simulation() -> None:
    """The range over the tests of spatial terms, and the clustered Wald tests, at every place that was simulated."""
    found = pd.read_csv(LIFELIKE).query("weights == 'contiguity' and rho == 0.3")
    here = {(cause, place): shares for cause, places in UNDER.items() for place, shares in places.items()}
    there = {}
    for (errors, n, T), part in found[found["errors"].isin(MADE)].groupby(["errors", "n", "periods"]):
        shares = part.set_index("test")["rejects"]
        spatial, wald = shares[list(SPATIAL)], shares[shares.index.str.endswith("clustered")]
        there[MADE[errors], (n, T)] = (spatial.min(), spatial.max(), wald.max())
    assert set(here) == set(there)
    for key, shares in here.items():
        assert shares == pytest.approx(there[key], abs=1e-3), key


@pytest.mark.parametrize("periods", [11, 40])
def test_correlated_errors_say_what_they_do_to_the_other_tests(delta, periods: int) -> None:
    """Where it was not measured, that is said; independent errors say nothing."""
    W = weights.contiguity(delta, islands="nearest").standardise("row")
    rng = np.random.default_rng(5)
    panel = simulate_durbin(W, periods, {"a": 1.0, "b": -1.0}, rng=rng)
    e = rng.standard_normal((periods, 41))
    for t in range(1, periods):
        e[t] += 0.6 * e[t - 1]
    with pytest.warns(SpatialZbWarning, match="correlated over time"):
        table = diagnose(SPEC, panel.with_columns({"y": panel.array("y") + 2 * e}), W)
    (note,) = (note for note in table.notes if note.kind is tests_under_errors)
    measured = UNDER[CORRELATED].get((41, 11)) if periods == 11 else None
    assert note["measured"] == (measured and (41, 11, *measured))
    words = str(note)
    assert ("not measured" in words) == (periods == 40)
    assert ("未经实测" in note.text.zh) == (periods == 40)
    assert 'covariance="cluster"' in words
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        plain = diagnose(SPEC, panel, W)
    assert all(note.kind is not tests_under_errors for note in plain.notes)


def test_few_cities_in_few_periods_hear_that_lasting_errors_are_not_seen() -> None:
    """The shares are those of the table; 41 units or 11 periods hear nothing of the kind."""
    found = pd.read_csv(LIFELIKE).query(
        "weights == 'contiguity' and rho == 0.3 and errors == 'own residuals'"
    )
    for (n, T), shares in UNSEEN.items():
        here = found[(found["n"] == n) & (found["periods"] == T)].set_index("test")["rejects"]
        assert here[CORRELATED] < 0.1
        wald = here[here.index.str.endswith("clustered")].max()
        spatial = here[[name for name in SPATIAL if name in here.index]]
        assert shares == pytest.approx((spatial.min(), spatial.max(), wald), abs=1e-3)
    W = zb.as_weights(np.roll(np.eye(11), 1, 0) + np.roll(np.eye(11), -1, 0), [str(k) for k in range(11)])
    for T, said in ((4, 1), (11, 0)):
        panel = zb.simulate.durbin(W, T, {"x": 1.0}, rho=0.2, rng=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SpatialZbWarning)
            table = diagnose(DurbinSpec("y", ["x"]), panel, W)
        notes = [n for n in table.notes if n.kind is tests_under_errors and n["cause"] == HIDDEN]
        assert len(notes) == said
        assert all("cluster" in text for note in notes for text in (note.text.en, note.text.zh))
