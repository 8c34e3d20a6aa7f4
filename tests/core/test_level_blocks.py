"""Traces by levels of the graph against dense inverses: symmetric, one-way and disconnected links, islands."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial import Delaunay

from spatial_zb.core.logdet import traces
from spatial_zb.core.logdet.traces import block_filter, column_sums, level_blocks, product_trace

#: Rounding of sums of n² products of order one.
ROUNDING = 1e-11
COEFFICIENTS = (0.4, -0.7, 0.97, 0.0, 1e-7)


def planar(n: int) -> sparse.csr_array:
    """Row-normalised contiguity of a random triangulation."""
    corners = Delaunay(np.random.default_rng(n).random((n, 2))).simplices
    links = np.zeros((n, n))
    for i, j in ((0, 1), (1, 2), (2, 0)):
        links[corners[:, i], corners[:, j]] = links[corners[:, j], corners[:, i]] = 1
    return sparse.csr_array(links / links.sum(axis=1, keepdims=True))


def one_way(n: int) -> sparse.csr_array:
    """Row-normalised, with a third of the links of one direction only and unequal weights."""
    rng = np.random.default_rng(n)
    links = planar(n).toarray() * rng.random((n, n)) * (rng.random((n, n)) > 1 / 3)
    return sparse.csr_array(links / links.sum(axis=1, keepdims=True))


MATRICES = {
    "planar": planar(160),
    "one way": one_way(160),
    "parts and islands": sparse.csr_array(sparse.block_diag([planar(70), np.zeros((3, 3)), one_way(40)])),
    "line": sparse.csr_array(0.5 * (np.eye(30, k=1) + np.eye(30, k=-1))),
}


@pytest.mark.parametrize("name", MATRICES)
def test_levels_hold_every_link(name):
    W = MATRICES[name]
    blocks = level_blocks(W, np.inf)
    sizes = [len(block) for block in blocks.own]
    bounds = np.cumsum([0, *sizes])
    rebuilt = np.zeros(W.shape)
    for k in range(len(sizes)):
        here = slice(bounds[k], bounds[k + 1])
        rebuilt[here, here] = blocks.own[k]
        if k + 1 < len(sizes):
            following = slice(bounds[k + 1], bounds[k + 2])
            rebuilt[here, following], rebuilt[following, here] = blocks.up[k], blocks.down[k]
    np.testing.assert_array_equal(rebuilt, W.toarray()[np.ix_(blocks.order, blocks.order)])
    assert len(sizes) > 4


def test_a_line_has_a_unit_in_each_level():
    assert [len(block) for block in level_blocks(MATRICES["line"], np.inf).own] == [1] * 30


@pytest.mark.parametrize("name", MATRICES)
def test_traces_and_sums_equal_those_of_the_dense_inverse(name):
    W, blocks = MATRICES[name].toarray(), level_blocks(MATRICES[name], np.inf)
    dense = {c: W @ np.linalg.inv(np.eye(len(W)) - c * W) for c in COEFFICIENTS}
    found = {c: block_filter(blocks, c) for c in COEFFICIENTS}
    for c in COEFFICIENTS:
        assert column_sums(found[c]) == pytest.approx(dense[c].sum(axis=0)[blocks.order], rel=1e-7, abs=1e-8)
        for d in COEFFICIENTS:
            # entries of the order of 1e-7 are known to 1e-9 of themselves only
            accuracy = 1e-8 if 1e-7 in (c, d) else ROUNDING
            assert product_trace(found[c], found[d]) == pytest.approx(
                (dense[c] * dense[d]).sum(), rel=accuracy
            )


def test_a_graph_without_length_is_refused():
    full = sparse.csr_array((np.ones((40, 40)) - np.eye(40)) / 39)
    assert level_blocks(full, traces.LEVEL_COST * 40**2) is None
    assert level_blocks(MATRICES["planar"], traces.LEVEL_COST * 160**2) is not None


@pytest.mark.parametrize("centred", [False, True])
def test_levels_and_columns_give_the_same_traces(centred, monkeypatch):
    W, found, blocks_of = MATRICES["one way"], [], traces.level_blocks
    monkeypatch.setattr(traces, "level_blocks", lambda *given: found.append(blocks_of(*given)) or found[-1])
    monkeypatch.setattr(traces, "_level_traces", traces._level_traces.__wrapped__)  # not what it remembers
    by_levels = traces._cross_traces(W, 0.4, -0.2, centred, None)
    monkeypatch.setattr(traces, "LEVEL_COST", 0.0)
    by_columns = traces._cross_traces(W, 0.4, -0.2, centred, None)
    assert by_levels == pytest.approx(by_columns, rel=ROUNDING)
    assert [blocks is None for blocks in found] == [False, True]  # both ways were taken


def test_answers_are_those_of_the_matrix_that_asks():
    asked = []
    known = traces.remembered(lambda matrix, factor: asked.append(factor) or factor * matrix.sum())
    first, other = (sparse.csr_array(c * np.eye(4)) for c in (1.0, 2.0))
    assert [known(first, 2.0), known(other, 2.0), known(first, 2.0)] == [8.0, 16.0, 8.0]
    assert len(asked) == 2
    for factor in range(traces.KEPT):
        known(other, float(factor))
    assert known(first, 2.0) == 8.0
    assert len(asked) == traces.KEPT + 2  # one was known; the first was forgotten by then
