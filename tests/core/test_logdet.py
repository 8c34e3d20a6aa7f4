"""ln|I − ρW| and its derivatives against slogdet, dense traces and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from dense_matrices import ROW_NORMALISED, all_matrices
from scipy import sparse

from spatial_zb.core.likelihood import inner_interval
from spatial_zb.core.logdet import eigenvalues, make_logdet, symmetriser

MATRICES = all_matrices()
#: Shares of the admissible interval, the last ones very near its ends.
SHARES = (0.0, 0.05, 0.5, 0.9, 0.999)
#: I − ρW loses digits as it nears singularity; relative to the size of the answer.
TOLERANCE = 1e-8


def inside(logdet) -> np.ndarray:
    low, high = logdet.interval
    return np.array([share * end for end in (low, high) for share in SHARES])


@pytest.mark.parametrize("name", MATRICES)
def test_value_equals_slogdet(name):
    W = MATRICES[name]
    logdet = make_logdet(W)
    rhos = inside(logdet)
    expected = [np.linalg.slogdet(np.eye(W.shape[0]) - r * W.toarray()) for r in rhos]
    assert all(sign > 0 for sign, _ in expected)  # no root of the determinant inside the interval
    np.testing.assert_allclose(logdet.value(rhos), [v for _, v in expected], rtol=TOLERANCE, atol=1e-10)


@pytest.mark.parametrize("name", MATRICES)
def test_derivatives_equal_dense_traces(name):
    W = MATRICES[name].toarray()
    logdet = make_logdet(MATRICES[name])
    for rho in inside(logdet):
        G = W @ np.linalg.inv(np.eye(len(W)) - rho * W)
        assert logdet.first(rho) == pytest.approx(-np.trace(G), rel=TOLERANCE, abs=1e-9)
        assert logdet.second(rho) == pytest.approx(-np.trace(G @ G), rel=TOLERANCE, abs=1e-9)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("name", MATRICES)
def test_derivatives_equal_finite_differences(name, centred):
    if centred and name not in ROW_NORMALISED:
        pytest.skip("only a row-normalised W has the eigenvalue of ι")
    logdet = make_logdet(MATRICES[name])
    for rho in inside(logdet)[[1, 2, 3, 6, 7, 8]]:
        h = 1e-6 * abs(rho)
        for f, df in ((logdet.value, logdet.first), (logdet.first, logdet.second)):
            slope = (f(rho + h, centred) - f(rho - h, centred)) / (2 * h)
            assert df(rho, centred) == pytest.approx(slope, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", ROW_NORMALISED)
def test_centred_leaves_out_one_minus_rho_and_equals_the_determinant_of_the_transform(name):
    W = MATRICES[name].toarray()
    n = len(W)
    F = np.linalg.eigh(np.eye(n) - np.full((n, n), 1 / n))[1][:, 1:]
    star = F.T @ W @ F
    logdet = make_logdet(MATRICES[name])
    for rho in inside(logdet):
        dense = np.linalg.slogdet(np.eye(n - 1) - rho * star)[1]
        assert logdet.value(rho, centred=True) == pytest.approx(dense, rel=TOLERANCE, abs=1e-9)
        minus = logdet.value(rho) - np.log(1 - rho)
        assert logdet.value(rho, centred=True) == pytest.approx(minus, rel=TOLERANCE, abs=1e-9)


@pytest.mark.parametrize("name", MATRICES)
def test_eigenvalues_equal_the_unsymmetric_solver(name):
    W = MATRICES[name].toarray()
    found = np.sort_complex(np.asarray(eigenvalues(MATRICES[name]), complex))
    for power in range(1, 6):  # moments: a defective matrix has ill-conditioned eigenvalues
        trace = np.trace(np.linalg.matrix_power(W, power))
        assert (found**power).sum() == pytest.approx(trace, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("name", MATRICES)
def test_symmetriser_exists_exactly_for_matrices_that_have_one(name):
    d = symmetriser(MATRICES[name])
    has_one = name not in ("knn_complex", "directed_cycle")
    assert (d is not None) == has_one
    if has_one:
        scaled = d[:, None] * MATRICES[name].toarray()
        np.testing.assert_allclose(scaled, scaled.T, atol=1e-9 * np.abs(scaled).max())
        assert np.isrealobj(eigenvalues(MATRICES[name]))


def test_complex_eigenvalues_are_not_replaced_by_their_real_parts():
    """A directed 5-cycle has |I − ρW| = 1 − ρ⁵; real parts alone give another number."""
    logdet = make_logdet(MATRICES["directed_cycle"])
    assert logdet.value(0.5) == pytest.approx(np.log(1 - 0.5**5), abs=1e-12)
    wrong = np.log(np.abs(1 - 0.5 * np.real(eigenvalues(MATRICES["directed_cycle"])))).sum()
    assert abs(wrong - logdet.value(0.5)) > 0.05


@pytest.mark.parametrize("name", MATRICES)
def test_interval_ends_where_the_determinant_vanishes(name):
    W = MATRICES[name].toarray()
    logdet = make_logdet(MATRICES[name])
    low, high = logdet.interval
    assert low < 0 < high
    assert np.linalg.det(np.eye(len(W)) - high * W) == pytest.approx(0, abs=1e-8)
    if name != "directed_cycle":
        assert np.linalg.det(np.eye(len(W)) - low * W) == pytest.approx(0, abs=1e-8)


def test_a_one_way_W_has_a_determinant_of_one_everywhere():
    """Links that never lead back (upstream to downstream): every eigenvalue is zero."""
    W = sparse.csr_array(np.triu(np.ones((5, 5)), 1))
    logdet = make_logdet(W)
    low, high = logdet.interval
    assert low < 0 < high
    np.testing.assert_allclose(logdet.value([-0.5, 0.0, 0.5]), 0, atol=1e-12)


#: Each unit's two neighbours: no real eigenvalue is negative, and one is zero, which rounding may put below it.
TWO_NEIGHBOURS = ([2, 3], [0, 4], [3, 4], [0, 4], [2, 5], [0, 1])


def test_a_zero_eigenvalue_in_rounding_ends_no_interval():
    A = np.zeros((6, 6))
    for i, near in enumerate(TWO_NEIGHBOURS):
        A[i, near] = 0.5
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(6)
        interval = make_logdet(sparse.csr_array(A[np.ix_(order, order)])).interval
        assert interval == pytest.approx((-1, 1), rel=1e-12)


def test_the_far_end_of_a_lopsided_interval_leaves_the_near_one_in_reach():
    low, high = inner_interval((-1e5, 1.0))
    assert low == pytest.approx(-1e5, rel=1e-3)
    assert 0.998 < high < 1
    assert inner_interval((-2.0, 1.0)) == pytest.approx((-1.9997, 0.9997), rel=1e-12)


def test_answers_have_the_shape_of_rho():
    logdet = make_logdet(MATRICES["row"])
    for rho in (0.3, np.array([0.1, 0.2]), np.full((2, 3), 0.1)):
        for f in (logdet.value, logdet.first, logdet.second):
            assert np.shape(f(rho)) == np.shape(rho)
