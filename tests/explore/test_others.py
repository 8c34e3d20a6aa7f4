"""esda behind the gate: its own numbers, whatever the order of units, and no island."""

from __future__ import annotations

import numpy as np
import pytest

import spatial_zb as zb

esda = pytest.importorskip("esda")


@pytest.fixture(scope="module")
def W(delta):
    return zb.weights.contiguity(delta, islands="nearest").standardise("row")


@pytest.fixture(scope="module")
def panel(W):
    return zb.simulate.durbin(W, 2, {"a": 1.0}, rho=0.5, rng=1)


def test_moran_and_geary_are_ours(panel, W):
    theirs = zb.explore.esda_statistic("Moran", panel, "y", W, permutations=0)
    assert np.allclose([m.I for m in theirs.values()], zb.moran(panel, "y", W).table()["I"], atol=1e-12)
    assert list(theirs) == list(panel.periods)
    theirs = zb.explore.esda_statistic("Geary", panel, "y", W, permutations=0)
    assert np.allclose(
        [g.C for g in theirs.values()], zb.explore.geary(panel, "y", W).table()["C"], atol=1e-12
    )


def test_lee_by_an_estimator_with_fit(panel, W):
    theirs = zb.explore.esda_statistic("Spatial_Pearson", panel, ["y", "a"], W, permutations=0)
    ours = zb.explore.lee(panel, "y", "a", W).table()["L"]
    assert np.allclose([s.association_[0, 1] for s in theirs.values()], ours, atol=1e-10)


def test_units_are_matched_by_id(panel, W):
    order = np.random.default_rng(0).permutation(W.n)
    other = W.align(W.ids[order])
    one, two = (zb.explore.esda_statistic("Moran", panel, "y", w, permutations=99, rng=5) for w in (W, other))
    for a, b in zip(one.values(), two.values(), strict=True):
        assert pytest.approx(b.I, abs=1e-14) == a.I
        assert a.p_sim == b.p_sim


def test_draws_come_from_the_seed_and_leave_the_global_stream_alone(panel, W):
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = (
        zb.explore.esda_statistic("Moran", panel, "a", W, permutations=99, rng=r)[panel.periods[0]].sim
        for r in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_islands_are_refused_by_name(panel, delta):
    W = zb.weights.contiguity(delta, islands="zero").standardise("row")
    with pytest.raises(zb.DataError, match="330900"):
        zb.explore.esda_statistic("Moran", panel, "y", W)


def test_what_esda_does_not_have_or_take(panel, W):
    with pytest.raises(zb.SpecificationError, match="no statistic 'Morann'"):
        zb.explore.esda_statistic("Morann", panel, "y", W)
    with pytest.raises(zb.SpecificationError, match="not called as it needs"):
        zb.explore.esda_statistic("Moran", panel, "y", W, permutation=9)
