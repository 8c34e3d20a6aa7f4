"""Random unit effects: EC2SLS and EC3SLS against dense formulas, single-equation random effects, and the truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from small_examples import MUTUAL, lopsided_circle

import spatial_zb as zb
from spatial_zb.base.errors import SpecificationError
from spatial_zb.models.system import fit_system
from spatial_zb.models.system.spec import Equation, SystemSpec
from spatial_zb.simulate import system as simulate_system
from spatial_zb.weights.matrix import Weights

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")

TRUTH = MUTUAL | {("industry", "(Intercept)"): 1.0}


def system(lag_error: bool = False) -> SystemSpec:
    return SystemSpec(
        {
            "industry": Equation("ind", ["tal"], ["a", "d"], lag_error=lag_error),
            "talent": Equation("tal", ["ind"], ["c"]),
        },
        "random",
    )


def draw(W: Weights, T: int, seed: int):
    """Unit effects unrelated to x, with a time-invariant d."""
    rng = np.random.default_rng(seed)
    panel = simulate_system(system(), W, T, zb.simulate.Truth(TRUTH, unit_effects=0, time_effects=0), rng=rng)
    gamma, psi = np.array([[1, -0.3], [-0.2, 1]]), np.diag([0.3, 0.25])
    reduced = np.linalg.inv(np.kron(gamma, np.eye(W.n)) - np.kron(psi, W.matrix.toarray()))
    d = np.repeat(rng.standard_normal((1, W.n)), T, axis=0)
    mu = rng.standard_normal((W.n, 2)) + np.column_stack([0.8 * d[0], np.zeros(W.n)])
    shift = (reduced @ mu.T.ravel()).reshape(2, W.n)
    return panel.with_columns(
        {"ind": panel.array("ind") + shift[0], "tal": panel.array("tal") + shift[1], "d": d}
    )


def root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return vectors @ np.diag(values**-0.5) @ vectors.T


@pytest.mark.parametrize("method", ["2sls", "3sls"])
def test_it_is_the_dense_formula_of_baltagi(method):
    """Ω^{-1/2} = Σ_ν^{-1/2}⊗Q + Σ_1^{-1/2}⊗P, instruments [QH, PH], everything written out."""
    W, T = lopsided_circle(15), 5
    panel = draw(W, T, 1)
    fit = fit_system(system(), panel, W, method)
    n = W.n
    flat = {name: panel.array(name).ravel() for name in ("ind", "tal", "a", "c", "d")}

    def lag(values):
        return (W.matrix @ values.reshape(T, n).T).T.ravel()

    one = np.ones(n * T)
    Z1 = np.column_stack([flat["tal"], lag(flat["ind"]), one, flat["a"], flat["d"]])
    Z2 = np.column_stack([flat["ind"], lag(flat["tal"]), one, flat["c"]])
    H = [one]
    for x in ("a", "d", "c"):
        H += [flat[x], lag(flat[x]), lag(lag(flat[x]))]
    H = np.column_stack(H)
    P = np.kron(np.ones((T, T)) / T, np.eye(n))
    Q = np.eye(n * T) - P
    noise = fit.sigma.to_numpy()
    mean = noise + T * fit.convergence.sigma_unit
    if method == "2sls":
        noise, mean = np.diag(np.diag(noise)), np.diag(np.diag(mean))
    half = np.kron(root(noise), Q) + np.kron(root(mean), P)
    Z = half @ np.block([[Z1, np.zeros_like(Z2)], [np.zeros_like(Z1), Z2]])
    y = half @ np.concatenate([flat["ind"], flat["tal"]])
    A = np.kron(np.eye(2), np.column_stack([Q @ H, P @ H]))
    U, s, _ = np.linalg.svd(A, full_matrices=False)
    U = U[:, s > 1e-9 * s[0]]
    onto = U.T @ Z
    np.testing.assert_allclose(fit.params, np.linalg.lstsq(onto, U.T @ y, rcond=None)[0], atol=1e-8)
    if method == "3sls":
        np.testing.assert_allclose(fit.bse, np.sqrt(np.diag(np.linalg.inv(onto.T @ onto))), rtol=1e-8)


def test_without_endogenous_regressors_it_is_generalised_least_squares():
    from linearmodels.panel import RandomEffects

    W = lopsided_circle(40)
    panel = draw(W, 6, 2)
    spec = SystemSpec({"only": Equation("ind", x=["a", "d"], lag_y=False)}, "random")
    fit = fit_system(spec, panel, W, "2sls")
    frame = panel.frame().assign(one=1.0).set_index(["unit", "period"])
    oracle = RandomEffects(frame["ind"], frame[["one", "a", "d"]]).fit()
    for term, label in (("(Intercept)", "one"), ("a", "a"), ("d", "d")):
        # variance components differ by degrees of freedom, so the weights by O(1/n)
        assert fit.params["only", term] == pytest.approx(oracle.params[label], abs=0.01)
        assert fit.bse["only", term] == pytest.approx(oracle.std_errors[label], rel=0.06)


@pytest.mark.parametrize("covariance", ["classical", "cluster"])
def test_the_truth_is_recovered_with_a_time_invariant_regressor(covariance):
    W = lopsided_circle(60)
    truth = pd.Series(TRUTH | {("industry", "d"): 0.8, ("talent", "(Intercept)"): 0.0})
    fits = [fit_system(system(), draw(W, 6, 10 + s), W, "3sls", covariance=covariance) for s in range(6)]
    estimates = np.array([f.params[truth.index] for f in fits])
    errors = np.array([f.bse[truth.index] for f in fits])
    pulls = (estimates.mean(axis=0) - truth) / (errors.mean(axis=0) / np.sqrt(len(fits)))
    assert np.abs(pulls).max() < 3.5
    unit = np.mean([f.convergence.sigma_unit for f in fits], axis=0)
    np.testing.assert_allclose(unit, np.eye(2), atol=0.3)
    assert fits[0].identification()["identified"].all()
    assert np.isfinite(fits[0].equations()["j"]).all()


def test_what_is_not_available_is_said():
    W = lopsided_circle(40)
    panel = draw(W, 5, 3)
    with pytest.raises(SpecificationError, match=r"industry.*together are not available"):
        system(lag_error=True)
    with pytest.raises(SpecificationError, match="3sls"):
        fit_system(system(), panel, W, "fiml")
    few = lopsided_circle(6)
    with pytest.raises(SpecificationError, match="means of 6 units, too few"):
        fit_system(system(), panel.select(units=few.ids), few, "3sls")
