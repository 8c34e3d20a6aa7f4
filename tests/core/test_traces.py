"""Traces of the information matrix against dense G and H."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from dense_matrices import ROW_NORMALISED, all_matrices

from spatial_zb.core.logdet import make_logdet
from spatial_zb.core.logdet.traces import filter_solver, filter_traces

MATRICES = all_matrices()
POINTS = [(0.5, 0.2), (0.0, 0.4), (0.4, 0.0), (-0.3, 0.6), (0.4, 0.4), (0.4, 0.4 + 1e-7), (0.9, -0.9)]


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("name", MATRICES)
def test_traces_equal_dense(name, centred):
    if centred and name not in ROW_NORMALISED:
        pytest.skip("centring needs Wι = ι")
    W = MATRICES[name].toarray()
    logdet = make_logdet(MATRICES[name])
    low, high = logdet.interval
    n = len(W)
    J = np.eye(n) - centred * np.full((n, n), 1 / n)
    for shares in POINTS:
        rho, lam = (s * (high if s > 0 else -low) for s in shares)
        G, H = (J @ W @ np.linalg.inv(np.eye(n) - c * W) @ J for c in (rho, lam))
        found = dataclasses.asdict(filter_traces(MATRICES[name], logdet, rho, lam, centred))
        assert found.pop("probe_error") == 0.0
        dense = {
            "g": np.trace(G),
            "h": np.trace(H),
            "gg": np.trace(G @ G),
            "gh": np.trace(G @ H),
            "hh": np.trace(H @ H),
            "gtg": np.trace(G.T @ G),
            "gth": np.trace(G.T @ H),
            "hth": np.trace(H.T @ H),
        }
        scale = max(map(abs, dense.values()))
        for key, value in dense.items():
            # tr GH is taken as a difference quotient: a share of the largest trace is what can be asked
            assert found[key] == pytest.approx(value, rel=1e-7, abs=1e-8 * scale), key


@pytest.mark.parametrize("name", MATRICES)
def test_solver_solves(name):
    W = MATRICES[name].toarray()
    c = 0.7 * make_logdet(MATRICES[name]).interval[1]
    right = np.random.default_rng(0).standard_normal((len(W), 3))
    solved = filter_solver(MATRICES[name], c)(right)
    np.testing.assert_allclose((np.eye(len(W)) - c * W) @ solved, right, atol=1e-9)
