"""The log-determinant of large W by factorisations against all eigenvalues, and the fits that rest on it."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.spatial import Delaunay, cKDTree

import spatial_zb as zb
from spatial_zb import DurbinSpec, SpatialZbWarning, Weights, WeightsError, fit_durbin, spatial_effects
from spatial_zb.core import likelihood
from spatial_zb.core import logdet as module
from spatial_zb.core.logdet import (
    EigenLogDet,
    SparseLogDet,
    StochasticLogDet,
    eigenvalues,
    make_logdet,
    symmetriser,
)
from spatial_zb.core.logdet import interpolated as sparse_logdet
from spatial_zb.core.logdet.factors import expected_fill, factorise, spectral_radius, unit_eigenvalues
from spatial_zb.core.logdet.stochastic import iterative_solver
from spatial_zb.core.logdet.traces import filter_solver
from spatial_zb.core.random import maximum
from spatial_zb.simulate import durbin as simulate_durbin

#: The accuracy that is promised: value × T below 1e-6 for a hundred periods, ρ̂ within 1e-6, ln L within 1e-4.
VALUE, RHO, LIKELIHOOD = 1e-8, 1e-6, 1e-4


def planar(n: int, seed: int = 1) -> sparse.csr_array:
    """Binary contiguity of a random triangulation."""
    corners = Delaunay(np.random.default_rng(seed).random((n, 2))).simplices
    row, column = np.vstack([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]).T
    links = sparse.csr_array((np.ones(row.size), (row, column)), shape=(n, n))
    return sparse.csr_array((links + links.T > 0).astype(float))


def row(A: sparse.csr_array) -> sparse.csr_array:
    sums = np.asarray(A.sum(axis=1)).ravel()
    return sparse.csr_array(
        sparse.diags_array(np.divide(1, sums, out=np.zeros_like(sums), where=sums > 0)) @ A
    )


def knn(n: int, k: int = 6, seed: int = 3) -> sparse.csr_array:
    points = np.random.default_rng(seed).random((n, 2))
    near = cKDTree(points).query(points, k + 1)[1][:, 1:]
    return sparse.csr_array((np.full(n * k, 1 / k), (np.repeat(np.arange(n), k), near.ravel())), shape=(n, n))


def blocks(*parts: sparse.csr_array) -> sparse.csr_array:
    return sparse.csr_array(sparse.block_diag(parts))


def grid(side: int) -> sparse.csr_array:
    line = sparse.diags_array([np.ones(side - 1)] * 2, offsets=[-1, 1])
    eye = sparse.eye_array(side)
    return sparse.csr_array(sparse.kron(line, eye) + sparse.kron(eye, line))


A = planar(300)
MATRICES = {
    "row": row(A),
    "binary": A,
    "scaled": sparse.csr_array(A / 7.0),
    "distances": row(sparse.csr_array(A + (A @ A).multiply(A))),
    "disconnected": blocks(row(A), row(planar(60, 2)), row(planar(20, 3))),
    "islands": blocks(row(A), sparse.csr_array((4, 4))),
    "bipartite": row(grid(15)),
    "knn": knn(250),
    "knn_parts": blocks(knn(150), knn(90, 3, 5)),
    "knn_islands": blocks(knn(150), sparse.csr_array((3, 3))),
    "knn_scaled": sparse.csr_array(knn(200) * 2.5),
}
SYMMETRIC = tuple(name for name in MATRICES if not name.startswith("knn"))
#: Wι = ι.
ROW = ("row", "distances", "disconnected", "bipartite", "knn", "knn_parts")


def both(name: str) -> tuple[SparseLogDet, EigenLogDet]:
    W = MATRICES[name]
    return SparseLogDet(W, symmetriser(W)), EigenLogDet(eigenvalues(W))


def relative(found: np.ndarray, exact: np.ndarray) -> float:
    """Largest error as a share of the largest exact value."""
    return float(np.abs(found - exact).max() / np.abs(exact).max())


@pytest.mark.parametrize("centred", [False, True], ids=["W", "JWJ"])
@pytest.mark.parametrize("share", [-0.9, -0.4, 0.0, 0.3, 0.8, 0.99])
@pytest.mark.parametrize("name", MATRICES)
def test_a_window_is_exact(name, share, centred):
    if centred and name not in ROW:
        pytest.skip("centring needs Wι = ι")
    found, exact = both(name)
    low, high = found.interval
    middle, half = share * (high if share >= 0 else -low), 0.002 * (high - low)
    found.cover(middle - half, middle + half)
    rho = np.linspace(middle - half, middle + half, 21)
    assert np.abs(found.value(rho, centred) - exact.value(rho, centred)).max() < VALUE
    assert relative(found.first(rho, centred), exact.first(rho, centred)) < VALUE
    assert relative(found.second(rho, centred), exact.second(rho, centred)) < 1e-6


@pytest.mark.parametrize("name", ["row", "knn", "scaled"])
def test_one_value_is_what_many_are(name):
    found, _ = both(name)
    high = found.interval[1]
    found.cover(0.1 * high, 0.12 * high)
    found.cover(-0.5 * high, 0.9 * high)
    for rho in np.array([-0.4, 0.11, 0.3, 0.85]) * high:
        for answer in (found.value, found.first, found.second):
            many = answer(np.array([rho]))
            assert float(answer(rho)) == pytest.approx(float(many[0]), rel=1e-12)
            assert np.shape(answer(rho)) == ()


@pytest.mark.parametrize("name", ["row", "knn"])
def test_fewer_nodes_of_very_many_units_are_enough(name, monkeypatch):
    monkeypatch.setattr(sparse_logdet, "MANY_UNITS", 100)
    found, exact = both(name)
    found.cover(0.39, 0.41)
    assert len(found._known) <= (6 if name == "row" else 8)
    rho = np.linspace(0.39, 0.41, 21)
    assert np.abs(found.value(rho) - exact.value(rho)).max() < 1e-7
    assert relative(found.first(rho), exact.first(rho)) < 1e-7


@pytest.mark.parametrize("name", MATRICES)
def test_the_whole_interval_is_exact(name):
    found, exact = both(name)
    low, high = found.interval
    margin = 1e-4 * (high - low)
    rho = np.linspace(low + margin, high - margin, 401)
    found.cover(rho[0], rho[-1])
    assert len(found._windows) == 1
    assert np.abs(found.value(rho) - exact.value(rho)).max() < VALUE
    assert relative(found.first(rho), exact.first(rho)) < 1e-8
    assert relative(found.second(rho), exact.second(rho)) < 1e-6


@pytest.mark.parametrize("name", MATRICES)
def test_answers_do_not_depend_on_what_was_asked_before(name):
    found, exact = both(name)
    low, high = found.interval
    generator = np.random.default_rng(0)
    for _ in range(12):  # scalars here and there, until the whole interval is covered
        rho = generator.uniform(0.95 * low, 0.95 * high)
        assert float(found.value(rho)) == pytest.approx(float(exact.value(rho)), abs=VALUE)
        assert float(found.first(rho)) == pytest.approx(float(exact.first(rho)), rel=1e-6, abs=1e-6 / high)
    assert found.value(np.full((2, 3), 0.1 * high)).shape == (2, 3)


@pytest.mark.parametrize("name", MATRICES)
def test_zero_is_exact_and_outside_is_nan(name):
    W = MATRICES[name]
    found, _ = both(name)
    assert float(found.value(0.0)) == 0.0
    assert float(found.first(0.0)) == pytest.approx(-W.trace(), abs=1e-12)
    assert float(found.second(0.0)) == pytest.approx(-(W @ W).trace(), rel=1e-12)
    low, high = found.interval
    outside = np.array([low - 0.1, low, high, high + 0.1])
    with np.errstate(all="ignore"):
        for f in (found.value, found.first, found.second):
            assert np.isnan(f(outside)).all()
    assert not found._known  # nothing was factorised


@pytest.mark.parametrize("name", MATRICES)
def test_interval(name):
    found, exact = both(name)
    low, high = found.interval
    assert high == pytest.approx(exact.interval[1], rel=1e-4)
    assert exact.interval[0] * (1 + 1e-12) <= low < 0 < high <= exact.interval[1] * (1 + 1e-9)
    if name in SYMMETRIC:
        assert low == pytest.approx(exact.interval[0], rel=1e-4)
    else:  # the safe end: no admissible ρ is claimed that is not one, some are left out
        assert low == pytest.approx(-high)
    if name in ROW or name.endswith("islands"):
        assert high == 1.0


@pytest.mark.parametrize("name", MATRICES)
def test_unit_eigenvalues_are_counted(name):
    if name in ROW or name.endswith("islands"):
        omega = eigenvalues(MATRICES[name])
        assert unit_eigenvalues(MATRICES[name]) == np.count_nonzero(np.abs(omega - 1) < 1e-7)


def test_a_closed_class_behind_one_way_links_is_counted():
    """Two pairs, and a unit that looks at both: the eigenvalue one is double, though there is one component."""
    W = np.zeros((5, 5))
    W[0, 1] = W[1, 0] = W[2, 3] = W[3, 2] = 1.0
    W[4, [0, 2]] = 0.5
    matrix = sparse.csr_array(W)
    assert unit_eigenvalues(matrix) == 2
    found, exact = SparseLogDet(matrix, symmetriser(matrix)), EigenLogDet(eigenvalues(matrix))
    for rho in (-0.7, 0.3, 0.9):
        assert float(found.value(rho)) == pytest.approx(float(exact.value(rho)), abs=1e-10)
        assert float(found.first(rho)) == pytest.approx(float(exact.first(rho)), rel=1e-7)


def test_complex_eigenvalues_are_not_taken_for_real_ones():
    """A directed cycle of m units has |I − ρW| = 1 − ρ^m."""
    cycle = sparse.csr_array(np.roll(np.eye(41), 1, axis=1))
    found = SparseLogDet(cycle, symmetriser(cycle))
    for rho in (-0.95, 0.5, 0.97):
        assert float(found.value(rho)) == pytest.approx(np.log(1 - rho**41), abs=1e-9)


@pytest.mark.parametrize("name", MATRICES)
def test_the_rough_one_is_near(name):
    """Good enough to start from: its first derivative is off by less than a standard error of ρ̂ at T = 1."""
    found, exact = both(name)
    low, high = found.interval
    rho = np.linspace(0.7 * low, 0.7 * high, 31)
    information = np.sqrt(-2 * exact.second(rho))  # tr G² + tr G'G is of this size
    assert (np.abs(found.rough.first(rho) - exact.first(rho)) < 2 * information).all()
    slopes = np.gradient(found.rough.value(rho), rho)[1:-1]
    np.testing.assert_allclose(
        found.rough.first(rho)[1:-1], slopes, rtol=0.05, atol=0.05 * np.abs(slopes).max()
    )


@pytest.mark.parametrize("name", ["scaled", "knn_scaled", "knn_islands", "row"])
def test_spectral_radius(name):
    exact = float(np.abs(eigenvalues(MATRICES[name])).max())
    assert spectral_radius(MATRICES[name]) == pytest.approx(exact, rel=1e-10)


def test_links_that_never_lead_back():
    """Each unit looks at the next ones only: every eigenvalue is zero and |I − ρW| = 1."""
    W = sparse.csr_array(
        sparse.diags_array([np.full(59, 0.5), np.full(58, 0.5)], offsets=[1, 2], shape=(60, 60))
    )
    found = SparseLogDet(W, symmetriser(W))
    assert found.interval == (-1.0, 1.0)
    np.testing.assert_allclose(found.value([-0.9, 0.4]), 0, atol=1e-12)
    np.testing.assert_allclose(found.first(np.linspace(-0.9, 0.9, 7)), 0, atol=1e-9)


def test_spectral_normalisation_of_many_units():
    W = Weights(planar(600), pd.Index([str(i) for i in range(600)])).standardise("spectral")
    assert float(np.abs(eigenvalues(W.matrix)).max()) == pytest.approx(1, abs=1e-9)
    assert W.logdet.interval[1] == pytest.approx(1, abs=1e-4)


# --- the choice


def test_choice_by_size_and_density(monkeypatch):
    assert isinstance(make_logdet(row(planar(400))), EigenLogDet)
    assert isinstance(make_logdet(row(planar(600))), SparseLogDet)
    dense = sparse.csr_array(np.ones((520, 520)) - np.eye(520))
    assert isinstance(make_logdet(dense), EigenLogDet)
    monkeypatch.setattr(module, "DENSE_LIMIT", 510)
    with pytest.raises(WeightsError, match="520 units"):
        eigenvalues(dense)
    with pytest.warns(SpatialZbWarning, match="520 units"):
        found = make_logdet(sparse.csr_array(dense / 519))
    assert isinstance(found, StochasticLogDet)
    # one eigenvalue is one, all others are −1/519, and the traces of low order are exact
    assert float(found.value(0.5)) == pytest.approx(np.log(0.5) + 519 * np.log(1 + 0.5 / 519), abs=1e-6)


def everywhere(n: int, links: int = 4, seed: int = 0) -> sparse.csr_array:
    """Random links without any geography: a few steps reach all."""
    generator = np.random.default_rng(seed)
    A = sparse.csr_array((np.ones(n * links), (np.repeat(np.arange(n), links), generator.integers(0, n, n * links))),
                         shape=(n, n))  # fmt: skip
    A = sparse.csr_array((A + A.T > 0).astype(float))
    A.setdiag(0)
    A.eliminate_zeros()
    return row(A)


def test_methods_can_be_chosen_and_travel_with_the_weights():
    import pickle

    W = weights(row(planar(600)))
    kinds = {"eigenvalues": EigenLogDet, "factorisation": SparseLogDet, "stochastic": StochasticLogDet}
    for method, kind in kinds.items():
        chosen = pickle.loads(pickle.dumps(W.with_determinant(method)))
        assert isinstance(chosen.logdet, kind)
        assert isinstance(chosen.subset(W.ids[:550]).standardise("row").logdet, kind)
    with pytest.raises(WeightsError, match="determinant must be one of"):
        _ = W.with_determinant("magic").logdet


#: The estimate of the fill is meant to be right within this factor.
FILL_FACTOR = 3.0


@pytest.mark.parametrize(
    "matrix",
    [row(planar(4000)), row(grid(60)), knn(4000, 6), knn(3000, 20), everywhere(1500), blocks(row(planar(2000)), knn(300))],
    ids=["planar", "grid", "knn6", "knn20", "everywhere", "parts"],
)  # fmt: skip
def test_fill_is_foreseen(matrix):
    symmetric = sparse.csr_array(matrix + matrix.T)
    system = sparse.csc_array(sparse.eye_array(matrix.shape[0]) - 0.1 * symmetric)
    factor = factorise(system, True)
    entries = factor.L.nnz + factor.U.nnz
    assert 1 / FILL_FACTOR < expected_fill(symmetric).entries / entries < FILL_FACTOR


def test_links_that_reach_everywhere_are_told_from_local_ones():
    assert expected_fill(everywhere(20_000)).heavy
    assert not expected_fill(row(planar(20_000))).heavy
    assert not expected_fill(knn(20_000, 12)).heavy


def test_memory_is_estimated_before_it_is_used(monkeypatch):
    W = row(planar(6000))
    monkeypatch.setattr(module, "physical_memory", lambda: 25 * 2**20)
    with pytest.warns(SpatialZbWarning, match=r"need about \d+ MB of the 25 MB"):
        assert isinstance(make_logdet(W), SparseLogDet)
    monkeypatch.setattr(module, "physical_memory", lambda: 4 * 2**20)
    with pytest.raises(WeightsError, match="need about"):
        make_logdet(W, "factorisation")
    with pytest.warns(SpatialZbWarning, match="estimated from random vectors"):
        assert isinstance(make_logdet(W), StochasticLogDet)


class Cholesky:
    """Stands in for scikit-sparse: the calls that are made of it, by a dense determinant."""

    orders = 0

    @classmethod
    def analyze(cls, system):
        cls.orders += 1
        return cls()

    def cholesky(self, system):
        self.system = system
        return self

    def logdet(self):
        return np.linalg.slogdet(self.system.toarray())[1]


def test_cholmod_is_used_where_it_is_installed(monkeypatch):
    monkeypatch.setattr(sparse_logdet, "cholmod_module", lambda: Cholesky)
    found, exact = both("row")
    found.cover(0.2, 0.3)
    assert np.abs(found.value(0.25) - exact.value(0.25)) < VALUE
    assert Cholesky.orders == 1
    oneway, exact = both("knn")  # not symmetric: the usual way
    assert np.abs(oneway.value(0.25) - exact.value(0.25)) < VALUE
    assert Cholesky.orders == 1


# --- random vectors

#: A gap of so many standard errors happens once in ten thousand.
ERRORS = 4.0


@pytest.mark.parametrize("name", MATRICES)
def test_random_vectors_are_right_within_their_error(name):
    W = MATRICES[name]
    found, exact = StochasticLogDet.of(W, symmetriser(W)), EigenLogDet(eigenvalues(W))
    rho = np.array([-0.99, -0.9, -0.5, -0.1, 0.0, 0.2, 0.5, 0.8, 0.95, 0.99]) * found.interval[1]
    for derivative, answer in enumerate(("value", "first", "second")):
        gap = np.abs(getattr(found, answer)(rho) - getattr(exact, answer)(rho))
        assert np.all(gap <= ERRORS * found.error(rho, derivative) + 1e-8)
    assert np.isnan(found.value(1.01 * found.interval[1]))
    if name in ROW:
        centred = found.value(0.5, True) - found.value(0.5)
        assert centred == pytest.approx(-np.log(0.5), abs=1e-12)


@pytest.mark.parametrize("name", ["row", "knn_scaled"])
def test_derivatives_of_random_vectors_are_derivatives(name):
    W = MATRICES[name]
    found = StochasticLogDet.of(W, symmetriser(W))
    rho, h = 0.6 * found.interval[1], 1e-5
    assert (found.value(rho + h) - found.value(rho - h)) / (2 * h) == pytest.approx(
        float(found.first(rho)), rel=1e-6
    )
    assert (found.first(rho + h) - found.first(rho - h)) / (2 * h) == pytest.approx(
        float(found.second(rho)), rel=1e-6
    )


@pytest.mark.parametrize("c", [-0.9, 0.0, 0.5, 0.97])
def test_products_solve_as_factors_do(c):
    W = MATRICES["knn"]
    right = np.random.default_rng(0).normal(size=(W.shape[0], 3))
    expected = np.linalg.solve(np.eye(W.shape[0]) - c * W.toarray(), right)
    assert np.allclose(iterative_solver(W, c, 1.0)(right), expected, rtol=1e-9, atol=1e-11)


def test_a_graph_without_geography_is_fitted_without_factors():
    n = 12_000
    W = weights(everywhere(n))
    panel = simulate_durbin(
        weights(everywhere(n)),
        1,
        {"a": 1.0},
        theta={"a": 0.5},
        rho=0.4,
        rng=1,
        process=zb.simulate.Process(unit_effects=0.0, time_effects=0.0),
    )
    with pytest.warns(SpatialZbWarning, match="random vectors"):
        fit = fit_durbin(DurbinSpec("y", ["a"], fixed_effects="none"), panel, W)
    assert abs(fit.params["rho"] - 0.4) < 4 * fit.bse["rho"]
    assert np.isfinite(spatial_effects(fit).tidy()["std_error"]).all()


# --- fits


def weights(matrix: sparse.csr_array) -> Weights:
    ids = pd.Index([f"u{i:04d}" for i in range(matrix.shape[0])])
    return Weights(matrix, ids, normalisation="row")


RANDOM = {"fixed_effects": "random", "error_structure": "kkp"}
FITS = {
    "SAR": DurbinSpec("y", ["a"], True, []),
    "SDM": DurbinSpec("y", ["a"]),
    "SDM unit": DurbinSpec("y", ["a"], fixed_effects="unit"),
    "SEM": DurbinSpec("y", ["a"], False, [], True),
    "SAC": DurbinSpec("y", ["a"], True, [], True),
    "SDM random": DurbinSpec("y", ["a"], fixed_effects="random"),
    "SAC random": DurbinSpec("y", ["a"], True, [], True, **RANDOM),
}


@pytest.mark.parametrize("rho", [-0.6, 0.0, 0.5, 0.95])
@pytest.mark.parametrize("kind", ["row", "knn", "disconnected"])
@pytest.mark.parametrize("name", FITS)
def test_fits_and_effects_equal_those_of_eigenvalues(name, kind, rho):
    if "random" in name and (kind != "row" or rho == 0.95):
        pytest.skip("what is special there is held by the fits with fixed effects")
    matrix = MATRICES[kind]
    given = {"lam": rho} if name == "SEM" else {"rho": rho}
    panel = simulate_durbin(weights(matrix), 5, {"a": 1.0}, rng=4, **given)
    fits = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        for logdet in both(kind):
            W = weights(matrix)
            W.__dict__["logdet"] = logdet
            fits.append(fit_durbin(FITS[name], panel, W))
    found, exact = fits
    assert found.converged == exact.converged
    np.testing.assert_allclose(found.params, exact.params, rtol=0, atol=RHO)
    assert found.log_likelihood == pytest.approx(exact.log_likelihood, abs=LIKELIHOOD)
    np.testing.assert_allclose(found.bse, exact.bse, rtol=1e-6)
    assert len(found.convergence.modes) == len(exact.convergence.modes)
    if FITS[name].lag_y:
        one, two = (spatial_effects(fit).tidy() for fit in fits)
        np.testing.assert_allclose(one["estimate"], two["estimate"], atol=1e-6)
        np.testing.assert_allclose(one["std_error"], two["std_error"], rtol=1e-6)


def test_a_single_fit_needs_few_factorisations():
    matrix = row(planar(700, 5))
    W = weights(matrix)
    panel = simulate_durbin(W, 8, {"a": 1.0}, rho=0.4, rng=1)
    fit_durbin(FITS["SDM"], panel, W)
    first = len(W.logdet._known)
    assert first <= 12  # a window, and both ends
    fit_durbin(FITS["SAR"], panel, W)
    assert len(W.logdet._known) <= first + 9
    spatial_effects(fit_durbin(FITS["SDM"], panel, W), method="simulate", draws=200, rng=1)
    assert len(W.logdet._known) <= first + 9


@pytest.mark.parametrize(("name", "most"), [("SAC", 28), ("SDM random", 10), ("SAC random", 50)])
def test_searches_over_both_coefficients_need_few_factorisations_too(name, most):
    """Windows around the maximum, and for SAC the points that show every edge to be lower; the interval takes 83."""
    panel = simulate_durbin(weights(row(planar(700, 5))), 8, {"a": 1.0}, rho=0.4, rng=1)
    fresh = weights(row(planar(700, 5)))
    fit_durbin(FITS[name], panel, fresh)
    assert len(fresh.logdet._known) <= most


def test_a_maximum_over_both_that_is_not_found_again_has_the_whole_interval_searched(monkeypatch):
    panel = simulate_durbin(weights(row(planar(700, 5))), 8, {"a": 1.0}, rho=0.4, rng=1)
    fits = []
    for where, name in ((likelihood, "SAC"), (maximum, "SAC random")):
        one, other = (weights(row(planar(700, 5))) for _ in range(2))
        fits.append(fit_durbin(FITS[name], panel, one))
        monkeypatch.setattr(where, "WINDOW_ERRORS", 1e-3)  # no window holds the maximum
        fits.append(fit_durbin(FITS[name], panel, other))
        assert len(other.logdet._known) > 60
    for near, whole in (fits[:2], fits[2:]):
        np.testing.assert_allclose(near.params, whole.params, atol=RHO)


def test_a_bad_start_is_followed_to_the_root():
    """The approximate curve is made to point elsewhere; the window moves until the exact score falls inside."""
    matrix = row(planar(600, 6))
    W, other = weights(matrix), weights(matrix)
    panel = simulate_durbin(W, 8, {"a": 1.0}, rho=0.5, rng=2)
    exact = fit_durbin(FITS["SDM"], panel, W).params["rho"]
    logdet = SparseLogDet(matrix, symmetriser(matrix))
    rough = logdet.rough
    shifted = type(rough)(
        rough.n, rough.interval, rough.nodes, rough.weights, rough.units, (rough.correction[0] + 60.0, 0.0)
    )
    logdet.__dict__["rough"] = shifted
    other.__dict__["logdet"] = logdet
    assert fit_durbin(FITS["SDM"], panel, other).params["rho"] == pytest.approx(exact, abs=RHO)
    assert len(logdet._windows) > 1


def test_permuted_units_give_the_same_fit():
    matrix = row(planar(600, 7))
    W = weights(matrix)
    panel = simulate_durbin(W, 4, {"a": 1.0}, rho=0.4, rng=3)
    order = np.random.default_rng(0).permutation(600)
    moved = type(panel)(panel.values[:, order], panel.periods, panel.units[order], panel.columns)
    one, two = fit_durbin(FITS["SDM"], panel, W), fit_durbin(FITS["SDM"], moved, W)
    np.testing.assert_allclose(one.params, two.params, atol=1e-9)
    np.testing.assert_allclose(one.bse, two.bse, rtol=1e-7)


@pytest.mark.parametrize("name", MATRICES)
def test_solver_without_pivoting_solves(name):
    W = MATRICES[name]
    low, high = both(name)[0].interval
    right = np.random.default_rng(0).standard_normal((W.shape[0], 2))
    for c in (0.9 * low, 0.5 * high, 0.999 * high):
        solved = filter_solver(W, c)(right)
        np.testing.assert_allclose(solved - c * (W @ solved), right, atol=1e-9)
