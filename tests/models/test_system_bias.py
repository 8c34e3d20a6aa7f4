"""Instrumental estimates of systems without the bias of many instruments: dense algebra, identities, simulation."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_examples import MUTUAL, circle, directed_knn, lopsided_circle, unequal_circle, weights_of

import spatial_zb as zb
from spatial_zb.base.errors import SpatialZbWarning, SpecificationError
from spatial_zb.core.system import SystemArrays, coefficient_matrices
from spatial_zb.core.system import instruments as many_instruments
from spatial_zb.core.system.instrumental import instrumental
from spatial_zb.core.system.instruments import recentred, weighted_spectrum
from spatial_zb.models.system import fit_system
from spatial_zb.models.system.design import build_system_design
from spatial_zb.models.system.spec import Equation, SystemSpec
from spatial_zb.simulate import system as simulate_system
from spatial_zb.weights.matrix import Weights

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")

ROUNDING = 1e-8  # two ways of computing one number
CUT = 1e-5  # a series in W that is cut at a millionth
SIGMA = np.array([[1.0, 0.5], [0.5, 1.0]])
TRUTH = MUTUAL | {("industry", "W_tal"): 0.15, ("talent", "W_ind"): 0.1, ("talent", "d"): 0.7}
TABLE = Path(__file__).parents[2] / "docs" / "validation" / "system.csv"


def two(fixed_effects: str = "two_way", lag_error: bool = False) -> SystemSpec:
    return SystemSpec(
        {
            "industry": Equation("ind", ["tal"], ["a", "b"], lag_endog=["tal"], lag_error=lag_error),
            "talent": Equation("tal", ["ind"], ["c", "d"], lag_endog=["ind"], lag_error=lag_error),
        },
        fixed_effects,
    )


def draw(W: Weights, T: int = 5, seed: int = 1, spec: SystemSpec | None = None):
    return simulate_system(spec or two(), W, T, zb.simulate.Truth(TRUTH, sigma=SIGMA), rng=seed)


def arrays_of(W: Weights, spec: SystemSpec, seed: int = 1, T: int = 5) -> SystemArrays:
    return build_system_design(spec, draw(W, T, seed, spec), W, 2, False).arrays


def far_and_near(n: int) -> Weights:
    """Inverse distances of random points: every unit is a neighbour."""
    points = np.random.default_rng(5).random((n, 2))
    apart = np.linalg.norm(points[:, None] - points[None], axis=2) + np.diag(np.full(n, np.inf))
    return weights_of(1 / apart, "inverse distance")


# The bias, written out -------------------------------------------------------------------------------------


def dense_bias(arrays: SystemArrays, delta: np.ndarray, lam: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """E[V'(Φ⊗P)(I − Π)ε] with every matrix in full, rows equation by equation."""
    m, n, sample = arrays.m, arrays.sample.n_units, arrays.sample
    J = np.eye(n) - sample.centred / n
    W = J @ arrays.matrix.toarray() @ J
    gamma, psi = coefficient_matrices(delta, arrays.links, m)
    inverse = np.linalg.inv(np.kron(gamma, np.eye(n)) - np.kron(psi, W))
    filters = [np.eye(n) - c * W for c in lam]
    noise = inverse @ np.linalg.inv(np.block([[filters[g] * (g == l) for l in range(m)] for g in range(m)]))
    periods = len(arrays.y) // n
    y, Z = arrays.filtered(lam)
    M, K = len(y), len(delta)
    stacked = np.zeros((m * M, K))
    for g, block in enumerate(Z):
        stacked[g * M : (g + 1) * M, arrays.block(g)] = block
    e = y - np.column_stack([Z[g] @ delta[arrays.block(g)] for g in range(m)])
    sigma = np.kron(e.T @ e / sample.observations, np.eye(M))
    P = np.kron(weight, arrays.H @ arrays.H.T)
    left = P - P @ stacked @ np.linalg.solve(stacked.T @ P @ stacked, stacked.T @ P)
    out = np.zeros(K)
    links = arrays.links
    for position, row, column, lagged in zip(
        links.position, links.row, links.column, links.lagged, strict=True
    ):
        own = noise[column * n : (column + 1) * n]
        own = filters[row] @ (W @ own if lagged else own)  # (n, m·n): of one period
        V = np.zeros((m * M, m * M))
        for k in range(m):
            V[row * M : (row + 1) * M, k * M : (k + 1) * M] = np.kron(
                np.eye(periods), own[:, k * n : (k + 1) * n]
            )
        out[position] = np.trace(V.T @ left @ sigma)
    return out


def recentring(arrays, lam, weight, spectrum):
    """The problem of one sample."""
    products = many_instruments.own_products(arrays, lam)
    return many_instruments._Recentred(arrays, products, lam, weight[None], spectrum)


def bias_at(problem, delta):
    """b and its slopes of the one sample."""
    return tuple(part[0] for part in problem._bias(delta[None], np.array([0])))


CASES = {
    "two_way": (unequal_circle(9), "two_way", [0.0, 0.0]),
    "errors": (unequal_circle(9), "two_way", [0.3, -0.2]),
    "unit": (unequal_circle(9, "spectral"), "unit", [0.2, 0.1]),
    "dense": (far_and_near(9), "two_way", [0.0, 0.0]),
    "complex": (directed_knn(12, seed=1), "none", [0.0, 0.4]),
    "lopsided": (lopsided_circle(9), "time", [0.1, 0.0]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_solution_has_the_bias_of_dense_algebra(case):
    W, effects, lam = CASES[case]
    arrays, lam = arrays_of(W, two(effects, any(lam))), np.array(lam)
    weight = np.array([[1.3, -0.4], [-0.4, 0.9]])
    plain = instrumental(arrays, False, "classical").delta
    delta = recentred(arrays, lam, weight, weighted_spectrum(arrays, 0.9), plain)
    y, Z = arrays.filtered(lam)
    P = arrays.H @ arrays.H.T
    e = y - np.column_stack([Z[g] @ delta[arrays.block(g)] for g in range(2)])
    moments = np.concatenate([Z[g].T @ P @ e @ weight[g] for g in range(2)])
    bias = dense_bias(arrays, delta, lam, weight)
    assert np.abs(bias).max() > 0.1
    np.testing.assert_allclose(moments, bias, atol=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_the_bias_moves_as_its_differences_say(case):
    W, effects, lam = CASES[case]
    arrays = arrays_of(W, two(effects, any(lam)))
    problem = recentring(arrays, np.array(lam), np.eye(2), weighted_spectrum(arrays, 0.9))
    delta, h = instrumental(arrays, False, "classical").delta, 1e-5
    differences = [
        (bias_at(problem, delta + h * side)[0] - bias_at(problem, delta - h * side)[0]) / (2 * h)
        for side in np.eye(len(delta))
    ]
    slopes = bias_at(problem, delta)[1]
    np.testing.assert_allclose(slopes, np.array(differences).T, atol=1e-6 * (1 + np.abs(slopes).max()))


@pytest.mark.parametrize("case", CASES)
def test_powers_of_w_give_what_its_eigenvectors_give(case, monkeypatch):
    W, effects, lam = CASES[case]
    lam = 0.5 * np.array(lam)
    arrays = arrays_of(W, two(effects, any(lam)))
    weak = 0.2 * instrumental(arrays, False, "classical").delta
    exact = recentring(arrays, lam, np.eye(2), weighted_spectrum(arrays, 0.7))
    monkeypatch.setattr(many_instruments, "EIGEN_UNITS", 0)
    series = recentring(arrays, lam, np.eye(2), weighted_spectrum(arrays, 0.7))
    assert not np.array_equal(series.spectrum.nodes, exact.spectrum.nodes)
    bias = bias_at(exact, weak)[0]
    np.testing.assert_allclose(bias_at(series, weak)[0], bias, atol=CUT * np.abs(bias).max())


def test_powers_of_a_dense_w_reach_beyond_the_unit_circle(monkeypatch):
    """What period effects leave of a dense W is far smaller than W, so that strong systems have a series too."""
    arrays = arrays_of(far_and_near(30), two())
    exact = instrumental(arrays, True, "classical", weighted_spectrum(arrays, 1.1)).delta
    monkeypatch.setattr(many_instruments, "EIGEN_UNITS", 0)
    spectrum = weighted_spectrum(arrays, 1.1)
    assert spectrum.reach > 1.1
    np.testing.assert_allclose(instrumental(arrays, True, "classical", spectrum).delta, exact, atol=CUT)


def test_weights_without_independent_eigenvectors_take_powers():
    """Nearest neighbours that nobody looks back at: W cannot be made diagonal."""
    W = directed_knn(9, 2)
    arrays, lam, weight = arrays_of(W, two("unit")), np.zeros(2), np.eye(2)
    assert np.linalg.cond(np.linalg.eig(W.matrix.toarray())[1]) > many_instruments.CONDITION
    spectrum = weighted_spectrum(arrays, 0.6)
    assert np.isfinite(spectrum.reach)
    weak = 0.2 * instrumental(arrays, False, "classical").delta
    bias = dense_bias(arrays, weak, lam, weight)
    problem = recentring(arrays, lam, weight, spectrum)
    np.testing.assert_allclose(bias_at(problem, weak)[0], bias, atol=CUT * np.abs(bias).max())


# Identities ------------------------------------------------------------------------------------------------


def same(a, b) -> None:
    np.testing.assert_allclose(a.params, b.params, atol=ROUNDING)
    np.testing.assert_allclose(a.cov, b.cov, atol=ROUNDING)


@pytest.mark.parametrize("method", ["2sls", "3sls"])
def test_without_endogenous_regressors_nothing_changes(method):
    spec = SystemSpec(
        {
            "industry": Equation("ind", x=["a", "b"], lag_y=False),
            "talent": Equation("tal", x=["c", "d"], lag_y=False),
        }
    )
    W = circle(12)
    panel = draw(W)
    corrected, plain = (fit_system(spec, panel, W, method, bias_correction=on) for on in (True, False))
    assert corrected.bias_correction
    assert not plain.bias_correction
    same(corrected, plain)


@pytest.mark.parametrize("method", ["2sls", "3sls"])
def test_an_exactly_identified_system_is_left_as_it_is(method):
    spec = SystemSpec(
        {
            "industry": Equation("ind", x=["a"]),
            "talent": Equation("tal", x=["a"], lag_endog=["ind"], lag_y=False),
        }
    )
    W = unequal_circle(12)
    options = {"instrument_powers": 1, "method": method}
    corrected, plain = (fit_system(spec, draw(W), W, bias_correction=on, **options) for on in (True, False))
    assert corrected.bias_correction
    same(corrected, plain)


@pytest.mark.parametrize("method", ["2sls", "gs3sls"])
def test_it_is_on_by_default_where_a_lag_is_endogenous(method):
    W = unequal_circle(12)
    spec = two(lag_error=method.startswith("gs"))
    panel = draw(W, 6)
    fit, forced, plain = (
        fit_system(spec, panel, W, method, bias_correction=on) for on in (None, True, False)
    )
    same(fit, forced)
    assert fit.bias_correction
    assert np.abs(fit.params - plain.params).max() > 1e-4
    assert bool(fit.glance()["bias_correction"][0])
    assert "Liu & Lee" in fit.summary()
    assert "Liu & Lee" not in plain.summary()
    local = SystemSpec(
        {
            "industry": Equation("ind", ["tal"], ["a", "b"], lag_y=False),
            "talent": Equation("tal", ["ind"], ["c", "d"], lag_y=False),
        }
    )
    assert not fit_system(local, panel, W, method).bias_correction
    assert not fit_system(spec, panel, W, "fiml").bias_correction


@pytest.mark.parametrize("effects", ["none", "two_way"])
def test_local_feedback_alone_can_be_corrected(effects):
    """γ without any W: the bias has no traces of W in it, and the dense algebra agrees."""
    spec = SystemSpec(
        {
            "industry": Equation("ind", ["tal"], ["a", "b"], lag_y=False),
            "talent": Equation("tal", ["ind"], ["c", "d"], lag_y=False),
        },
        effects,
    )
    W = circle(9)
    fit = fit_system(spec, draw(W), W, "2sls", bias_correction=True)
    arrays, delta = fit.design.arrays, fit.delta
    weight = np.diag(1 / np.diag(fit.sigma))
    e = arrays.residuals(delta)
    moments = [arrays.Z[g].T @ arrays.H @ arrays.H.T @ e @ weight[g] for g in range(2)]
    bias = dense_bias(arrays, delta, np.zeros(2), np.eye(2)) * np.repeat(
        np.diag(weight), [len(v) for v in moments]
    )
    np.testing.assert_allclose(np.concatenate(moments), bias, atol=1e-7)


def test_weights_of_equations_that_stand_alone_do_not_matter():
    arrays = arrays_of(unequal_circle(9), two())
    spectrum, zero = weighted_spectrum(arrays, 0.9), np.zeros(2)
    start = instrumental(arrays, False, "classical").delta
    a, b = (recentred(arrays, zero, np.diag(w), spectrum, start) for w in ([1.0, 1.0], [0.01, 70.0]))
    np.testing.assert_allclose(a, b, atol=ROUNDING)


# What it is for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("joint", [False, True])
def test_a_dense_w_no_longer_biases_the_spillover(joint):
    W, own = far_and_near(41), 1  # the second coefficient is ψ of the first equation
    off = []
    for seed in range(150):
        arrays = arrays_of(W, two(), seed, 8)
        both = (None, weighted_spectrum(arrays, 1.0))
        off.append([instrumental(arrays, joint, "classical", each).delta[own] for each in both])
    off = np.array(off) - TRUTH["industry", "W_ind"]
    plain, corrected = np.median(off, axis=0)
    noise = np.sqrt(np.pi / 2) * np.subtract(*np.quantile(off[:, 1], [0.75, 0.25])) / 1.35 / np.sqrt(150)
    assert plain > 2 * noise
    assert abs(corrected) < noise
    assert abs(corrected) < plain / 2


def test_the_table_of_the_simulations_is_near_the_truth():
    """What docs/validation/system.md and the warnings say: γ and ψ of every default within 0.03 from 41 units on."""
    table = pd.read_csv(TABLE)
    shown = table[
        (table["n"] >= 41) & ~table["textbook"] & table["parameter"].isin(["tal", "W_ind", "W_tal"])
    ]
    assert set(shown["method"]) == {"2sls", "3sls", "gs2sls", "gs3sls", "fiml"}
    beyond = shown[shown["median_bias"].abs() > 0.03 + 2 * shown["median_error"]]
    assert beyond.empty, beyond[["n", "W", "design", "method", "parameter", "median_bias"]]


# What can go wrong -----------------------------------------------------------------------------------------


def test_it_is_refused_where_it_says_nothing():
    W = circle(12)
    panel = draw(W, 6)
    with pytest.raises(SpecificationError, match="fiml"):
        fit_system(two(), panel, W, "fiml", bias_correction=True)
    with pytest.raises(SpecificationError, match="random"):
        fit_system(two("random"), panel, W, "3sls", bias_correction=True)
    with pytest.raises(SpecificationError, match="True, False or None"):
        fit_system(two(), panel, W, "3sls", bias_correction="yes")
    assert not fit_system(two("random"), panel, W, "3sls").bias_correction


def test_without_a_solution_the_textbook_estimate_is_shown_and_said(monkeypatch):
    W = circle(12)
    panel = draw(W, 6)
    plain = fit_system(two(), panel, W, "3sls", bias_correction=False)
    monkeypatch.setattr(many_instruments, "NEAR", 0.0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit = fit_system(two(), panel, W, "3sls")
    assert any(
        issubclass(w.category, SpatialZbWarning) and "no solution near" in str(w.message) for w in said
    )
    assert fit.convergence.corrected is False
    assert not fit.bias_correction
    same(fit, plain)


def test_a_system_out_of_reach_of_the_series_has_no_solution(monkeypatch):
    arrays = arrays_of(directed_knn(12), two("unit"))
    monkeypatch.setattr(many_instruments, "EIGEN_UNITS", 0)
    assert weighted_spectrum(arrays, 1.2) is None
    plain = instrumental(arrays, False, "classical").delta
    near = replace(weighted_spectrum(arrays, 0.9), reach=1e-3)
    assert recentred(arrays, np.zeros(2), np.eye(2), near, plain) is None
    assert not instrumental(arrays, True, "classical", near).corrected
