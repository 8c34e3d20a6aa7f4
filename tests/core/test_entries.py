"""Entries of (I − cW)⁻¹ without n solves: dissections against dense inverses, random signs against all pairs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.spatial import cKDTree

from spatial_zb import DurbinSpec, Weights, fit_durbin
from spatial_zb.core.logdet import entries
from spatial_zb.core.logdet.entries import QuadraticForms, dissect, filter_diagonal, inverse_diagonal
from spatial_zb.core.system import scores
from spatial_zb.models.system import system_likelihood
from spatial_zb.models.system.design import build_system_design
from spatial_zb.models.system.spec import Equation, SystemSpec
from spatial_zb.simulate import durbin
from spatial_zb.simulate import system as simulate_system
from tests.core.test_level_blocks import one_way, planar

#: Both sides are the same inverse but for rounding.
EXACT = 1e-12
#: Standard errors of random signs that a sum may be off by.
FAR = 4.0


def nearest(n: int, k: int) -> sparse.csr_array:
    """Row-normalised k nearest neighbours of random points: links of one direction."""
    points = np.random.default_rng(n).random((n, 2))
    found = cKDTree(points).query(points, k + 1)[1][:, 1:]
    parts = (np.full(n * k, 1 / k), found.ravel(), np.arange(0, n * k + 1, k))
    return sparse.csr_array(parts, shape=(n, n))


MATRICES = {
    "planar": planar(400),
    "one way": one_way(300),
    "nearest": nearest(700, 5),
    "parts and islands": sparse.csr_array(sparse.block_diag([planar(170), np.zeros((3, 3)), one_way(90)])),
    "line": sparse.csr_array(0.5 * (np.eye(200, k=1) + np.eye(200, k=-1))),
}


@pytest.mark.parametrize("name", MATRICES)
def test_dissection_gives_the_diagonal_of_the_dense_inverse(name):
    W = MATRICES[name]
    tree = dissect(W)
    assert len(tree.parent) > 4
    assert sorted(tree.order) == list(range(W.shape[0]))
    for c in (0.4, -0.7, 0.97):
        dense = np.linalg.inv(np.eye(W.shape[0]) - c * W.toarray())
        assert inverse_diagonal(tree, c) == pytest.approx(dense.diagonal(), rel=EXACT)
        assert filter_diagonal(W, c, tree) == pytest.approx((W @ dense).diagonal(), abs=1e-11)


def test_coefficients_without_diagonal_dominance_need_a_symmetric_form():
    """ρ beyond one over the largest sums: safe for a W similar to a symmetric matrix, by columns for others."""
    scaled, lopsided = sparse.csr_array(planar(300) * 2.0), sparse.csr_array(one_way(300) * 2.0)
    assert dissect(scaled).holds(-0.6)
    assert not dissect(lopsided).holds(-0.6)
    for W in (scaled, lopsided):
        dense = W @ np.linalg.inv(np.eye(300) + 0.6 * W.toarray())
        assert filter_diagonal(W, -0.6, dissect(W)) == pytest.approx(dense.diagonal(), abs=1e-10)


def test_links_that_reach_everywhere_are_not_dissected():
    links = np.random.default_rng(0).random((400, 400)) > 0.8
    assert dissect(sparse.csr_array(links * 1.0)) is None
    assert dissect(planar(60)) is None  # few units: columns are quicker


@pytest.mark.parametrize(("name", "centred"), [("planar", True), ("nearest", True), ("nearest", False)])
def test_random_signs_give_sums_over_pairs_within_their_stated_error(monkeypatch, name, centred):
    W = MATRICES[name]
    rng = np.random.default_rng(3)
    e = rng.standard_t(5, (4, W.shape[0])) * np.exp(0.4 * rng.standard_normal(W.shape[0]))
    forms = QuadraticForms(W, (0.5, 0.3), centred, dissect(W))
    exact, none = forms.pair_squares(e - e.mean(axis=1, keepdims=True) * centred)
    monkeypatch.setattr(entries, "PAIR_UNITS", 0)
    found, error = forms.pair_squares(e - e.mean(axis=1, keepdims=True) * centred)
    assert not none.any()
    assert (np.abs(found - exact) <= FAR * error + 1e-9 * exact[0, 0]).all()
    assert 0 < error[0, 0] < 0.02 * exact[0, 0]


def test_clustered_errors_of_many_units_say_how_exact_they_are(monkeypatch):
    W = Weights(planar(1100), pd.Index([f"u{i:04d}" for i in range(1100)]))
    panel = durbin(W, 3, {"a": 1.0}, theta={"a": 0.3}, rho=0.4, rng=1)
    probed = fit_durbin(DurbinSpec("y", ["a"]), panel, W, covariance="cluster")
    monkeypatch.setattr(entries, "PAIR_UNITS", 2000)
    exact = fit_durbin(DurbinSpec("y", ["a"]), panel, W, covariance="cluster")
    assert exact.convergence.probe_error == 0.0
    error = probed.convergence.probe_error
    assert 0 < error < 0.01
    assert (np.abs(probed.bse / exact.bse - 1) <= FAR * error).all()
    assert probed.params.equals(exact.params)


@pytest.mark.parametrize("lag_error", [False, True])
def test_diagonals_of_a_system_in_partial_fractions_equal_those_of_its_columns(monkeypatch, lag_error):
    matrix = one_way(320)
    W = Weights(matrix, pd.Index([f"u{i:03d}" for i in range(320)]))
    spec = SystemSpec(
        {
            "one": Equation("p", ["q"], ["a"], lag_endog="all", lag_error=lag_error),
            "two": Equation("q", ["p"], ["b"], lag_error=lag_error),
        },
        "two_way",
    )
    panel = simulate_system(spec, W, 3, {("one", "a"): 1.0, ("two", "b"): 1.0}, rng=2)
    likelihood = system_likelihood(build_system_design(spec, panel, W, 1, True), "full")
    theta = np.array([0.3, 0.25, 0.2, 1.0, -0.4, 0.3, 1.0, *([0.35, -0.2] if lag_error else [])])
    found, owner = scores.score_diagonals(likelihood, theta)
    monkeypatch.setattr(scores, "FEW", 10**6)
    slow, same = scores.score_diagonals(likelihood, theta)
    assert found == pytest.approx(slow, abs=1e-11)
    assert (np.abs(slow).max(axis=(0, 2)) > 0.01).sum() == 5 + 2 * lag_error
    assert (owner == same).all()
