"""A W by period, and any W among the units that are there: blocks, rules for absent neighbours, the report."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from small_examples import ring, ring_with_chords

import spatial_zb as zb
from spatial_zb import AlignmentError, Panel, WeightsError
from spatial_zb.weights.periods import any_weights, notes_on_absence, row_blocks

YEARS = (2018, 2019, 2020)
N = 9
UNITS = pd.Index([f"u{i:02d}" for i in range(N)])
#: u01 and u03, both neighbours of u02 on the ring, are absent in 2018 and 2019, u08 in 2020.
PRESENT = np.ones((3, N), dtype=bool)
PRESENT[0, [1, 3]] = PRESENT[1, [1, 3]] = PRESENT[2, 8] = False


def by_loops(W: dict[int, zb.Weights], rule: str, present: np.ndarray) -> list[np.ndarray]:
    """Each block by a loop over pairs of names."""
    out = []
    for t, year in enumerate(YEARS):
        here = [u for u, there in zip(UNITS, present[t], strict=True) if there]
        dense = pd.DataFrame(W[year].matrix.toarray(), W[year].ids, W[year].ids)
        block = np.zeros((len(here), len(here)))
        for i, one in enumerate(here):
            for j, other in enumerate(here):
                block[i, j] = dense.loc[one, other]
            if rule == "renormalise" and block[i].sum() > 0:
                block[i] /= block[i].sum()
        out.append(block)
    return out


@pytest.mark.parametrize("rule", ["renormalise", "keep"])
def test_blocks_equal_a_loop_over_names(rule):
    one, other = ring(N), ring_with_chords(N).align(UNITS[::-1])
    W = zb.weights.by_period({2018: one, 2019: one, 2020: other}, absent=rule)
    blocks = row_blocks(W, UNITS, YEARS, PRESENT)
    for block, dense in zip(
        blocks, by_loops({2018: one, 2019: one, 2020: other}, rule, PRESENT), strict=True
    ):
        np.testing.assert_allclose(block.toarray(), dense, atol=1e-15)
    assert blocks[0] is blocks[1]  # what is expensive about them is done once


def test_one_w_is_renormalised_if_its_rows_sum_to_one_and_kept_if_not():
    W = ring(N)
    for given, rule in ((W, "renormalise"), (ring_with_chords(N, "spectral"), "keep")):
        blocks = row_blocks(given, UNITS, YEARS, PRESENT)
        for block, dense in zip(blocks, by_loops(dict.fromkeys(YEARS, given), rule, PRESENT), strict=True):
            np.testing.assert_allclose(block.toarray(), dense, atol=1e-15)
    whole = row_blocks(W, UNITS, YEARS, np.ones_like(PRESENT))
    assert all(block is W.matrix for block in whole)


def test_islands_do_not_hinder_that_a_w_scaled_elsewhere_is_scaled_again():
    """Rows of islands are empty: the W as a bare matrix and as one that was scaled here are the same."""
    dense = ring(N).matrix.toarray()
    dense[0] = dense[:, 0] = 0
    sums = dense.sum(axis=1, keepdims=True)
    bare = zb.as_weights(np.divide(dense, sums, where=sums > 0, out=dense), ids=UNITS)
    blocks = row_blocks(bare, UNITS, YEARS, PRESENT)
    for one, other in zip(blocks, row_blocks(bare.standardise(), UNITS, YEARS, PRESENT), strict=True):
        np.testing.assert_allclose(one.toarray(), other.toarray(), atol=1e-15)


def test_renormalise_scales_as_the_w_was_scaled():
    W = zb.weights.by_period(dict.fromkeys(YEARS, ring_with_chords(N, "spectral")))
    block = row_blocks(W, UNITS, YEARS, PRESENT)[0]
    assert np.abs(np.linalg.eigvals(block.toarray())).max() == pytest.approx(1, abs=1e-10)


def test_order_of_units_does_not_matter():
    W, turned = ring(N), np.random.default_rng(1).permutation(N)
    for block, moved, there in zip(
        row_blocks(W, UNITS, YEARS, PRESENT),
        row_blocks(W.align(UNITS[::-1]), UNITS[turned], YEARS, PRESENT[:, turned]),
        PRESENT,
        strict=True,
    ):
        place = pd.Index(UNITS[turned][there[turned]]).get_indexer(UNITS[there])
        np.testing.assert_array_equal(moved.toarray()[np.ix_(place, place)], block.toarray())


def test_the_report_counts_what_absence_does():
    panel = Panel(np.where(PRESENT[..., None], 1.0, np.nan), YEARS, UNITS, ("x",), present=PRESENT)
    report = zb.weights.report_by_period(ring(N), panel)
    frame = report.tidy().set_index("period")
    # 2018: u02 loses both neighbours, u00 and u04 one each
    assert frame.loc[2018, ["units", "links", "islands", "islands_by_absence"]].tolist() == [7, 10, 1, 1]
    assert frame.loc[2018, ["rows_losing", "links_lost", "renormalised"]].tolist() == [3, 4, 2]
    assert frame.loc[2020, ["units", "links", "islands", "rows_losing", "renormalised"]].tolist() == [
        8,
        14,
        0,
        2,
        2,
    ]
    assert frame["row_sum_min"].tolist() == [1, 1, 1]
    assert report.glance().loc[0, ["islands_by_absence", "rows_losing", "matrices"]].tolist() == [2, 8, 1]
    kept = zb.weights.report_by_period(
        zb.weights.by_period(dict.fromkeys(YEARS, ring(N)), "keep"), panel
    ).tidy()
    assert kept["row_sum_min"].tolist() == [0.5] * 3
    assert kept["renormalised"].tolist() == [0, 0, 0]
    assert "2018" in repr(report)
    late = ring([u for u in UNITS if u not in ("u01", "u03", "u05")])
    alone = zb.weights.report_by_period(zb.weights.by_period({2018: late, 2019: late, 2020: ring(N)}), panel)
    assert alone.tidy()["without_row"].tolist() == [1, 1, 0]
    assert alone.tidy()["units"].tolist() == [6, 6, 8]


def test_notes_say_what_absence_does_to_w():
    (note,) = notes_on_absence(ring(N), UNITS, YEARS, PRESENT)
    assert [note[name] for name in ("periods", "rows", "islands", "rule")] == [3, 8, 2, "renormalise"]
    assert "8 rows in 3 period(s)" in note.text.en
    assert "2行不再有邻居" in note.text.zh
    assert notes_on_absence(ring(N), UNITS, YEARS, np.ones_like(PRESENT)) == ()


def test_each_w_may_have_the_units_of_its_period_only():
    late = ring([u for u in UNITS if u not in ("u01", "u03")])
    W = zb.weights.by_period({2018: late, 2019: late, 2020: ring(N)})
    assert set(W.ids) == set(UNITS)
    assert W.align(UNITS) is W
    np.testing.assert_array_equal(row_blocks(W, UNITS, YEARS, PRESENT)[0].toarray(), late.matrix.toarray())
    with pytest.raises(AlignmentError, match=r"u01, u03.*2018"):
        row_blocks(W, UNITS, YEARS, np.ones_like(PRESENT))
    with pytest.raises(AlignmentError, match="u99"):
        W.align([*UNITS, "u99"])


def test_a_w_by_period_is_frozen_and_travels():
    W = zb.weights.by_period({2020: ring(N, 2), 2019: ring(N)}, label="roads")
    assert W.periods == (2019, 2020)
    assert W.label == "roads"
    assert W.at(2020).label == "ring2"
    assert W.row_normalised
    assert W.standardise("row").row_normalised
    assert any_weights(W) is W
    back = pickle.loads(pickle.dumps(W))
    np.testing.assert_array_equal(back.at(2020).matrix.toarray(), W.at(2020).matrix.toarray())
    with pytest.raises(TypeError):
        W.weights[2021] = ring(N)
    with pytest.raises(AlignmentError, match=r"2018.*2019, 2020"):
        W.at(2018)
    with pytest.raises(AlignmentError, match="2018"):
        row_blocks(W, UNITS, YEARS, PRESENT)


@pytest.mark.parametrize("given", [{}, [ring(N)], {"early": ring(N)}, {2019: "queen"}])
def test_what_is_no_w_by_period_is_refused(given):
    with pytest.raises(WeightsError):
        zb.weights.by_period(given)
    with pytest.raises(WeightsError, match="drop"):
        zb.weights.by_period({2019: ring(N)}, absent="drop")


def test_a_w_by_period_that_is_one_keeps_the_rule_that_was_asked_for():
    """A spectral W keeps its weights by itself: with "renormalise" it stays by period, so that it is scaled again."""
    spectral, row = ring_with_chords(N, "spectral"), ring(N)
    for W, rule, one in (
        (spectral, "renormalise", False),
        (spectral, "keep", True),
        (row, "renormalise", True),
    ):
        several = zb.weights.by_period(dict.fromkeys(YEARS, W), absent=rule)
        assert (several.one_of(YEARS) is W) == one
