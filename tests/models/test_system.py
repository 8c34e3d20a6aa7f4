"""Systems: equivalences with other estimators, invariances, recovery."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import linalg, optimize
from small_examples import MUTUAL, rook, weights_of

import spatial_zb as zb
from spatial_zb.core.system import system_solver
from spatial_zb.core.system.fiml import SystemLikelihood
from spatial_zb.core.system.scores import quasi_covariance
from spatial_zb.data.panel import Panel
from spatial_zb.hypotheses.nested import likelihood_ratio, restriction_tests
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.models.system import fit_system
from spatial_zb.models.system.design import build_system_design
from spatial_zb.models.system.spec import Equation, SystemSpec
from spatial_zb.simulate import system as simulate_system
from spatial_zb.weights.matrix import Weights, weights_eigenvalues

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")

ROUNDING = 1e-8  # two ways of computing one number
METHODS = ["2sls", "3sls", "gs2sls", "gs3sls", "fiml"]
SIGMA = np.array([[1.0, 0.5], [0.5, 1.0]])
TRUTH = MUTUAL | {
    ("industry", "W_tal"): 0.15,
    ("industry", "b"): -0.5,
    ("talent", "W_ind"): 0.1,
    ("talent", "d"): 0.7,
}


def two(fixed_effects: str = "two_way", lag_error: bool = False) -> SystemSpec:
    return SystemSpec(
        {
            "industry": Equation("ind", ["tal"], ["a", "b"], lag_endog=["tal"], lag_error=lag_error),
            "talent": Equation("tal", ["ind"], ["c", "d"], lag_endog=["ind"], lag_error=lag_error),
        },
        fixed_effects,
    )


def draw(W: Weights, T: int, seed: int = 1, lag_error: bool = False) -> Panel:
    errors = {("industry", "lam"): 0.4, ("talent", "lam"): -0.3} if lag_error else {}
    return simulate_system(
        two(lag_error=lag_error), W, T, zb.simulate.Truth(TRUTH | errors, sigma=SIGMA), rng=seed
    )


def options(method: str) -> dict:
    return {"lag_error": method.startswith("gs")}


@pytest.fixture(scope="module")
def W() -> Weights:
    return weights_of(rook(5, 6), "rook")


@pytest.fixture(scope="module")
def panel(W) -> Panel:
    return draw(W, 8, lag_error=True)


# Equivalences ---------------------------------------------------------------------------------------------


def classical() -> SystemSpec:
    return SystemSpec(
        {
            "demand": Equation("ind", ["tal"], ["a", "b"], lag_y=False),
            "supply": Equation("tal", ["ind"], ["c", "d"], lag_y=False),
        },
        "none",
    )


@pytest.mark.parametrize("method", ["2sls", "3sls"])
def test_without_spatial_lags_it_is_that_of_linearmodels(W, panel, method):
    from linearmodels.system import IV3SLS

    frame = panel.frame().assign(one=1.0)
    equations = {
        "demand": {"dependent": frame.ind, "exog": frame[["one", "a", "b"]], "endog": frame[["tal"]]},
        "supply": {"dependent": frame.tal, "exog": frame[["one", "c", "d"]], "endog": frame[["ind"]]},
    }
    equations["demand"]["instruments"] = frame[["c", "d"]]
    equations["supply"]["instruments"] = frame[["a", "b"]]
    oracle = IV3SLS(equations).fit(method="ols" if method == "2sls" else "gls", cov_type="unadjusted")
    fit = fit_system(classical(), panel, W, method)
    for (equation, term), value in fit.params.items():
        label = f"{equation}_{'one' if term == '(Intercept)' else term}"
        assert value == pytest.approx(oracle.params[label], abs=ROUNDING)
        assert fit.bse[equation, term] == pytest.approx(oracle.std_errors[label], abs=ROUNDING)


@pytest.mark.parametrize("covariance", ["classical", "robust"])
def test_one_spatial_equation_is_two_stage_least_squares(W, panel, covariance):
    from linearmodels.iv import IV2SLS

    spec = SystemSpec({"only": Equation("ind", x=["a", "b"])}, "none")
    fit = fit_system(spec, panel, W, "gs3sls", covariance=covariance, bias_correction=False)
    T, n = len(panel.periods), len(panel.units)

    def lag(values):
        return (W.matrix @ values.reshape(T, n).T).T.ravel()

    frame = panel.frame().assign(one=1.0)
    frame["Wy"] = lag(frame.ind.to_numpy())
    for x in ("a", "b"):
        frame[f"W{x}"] = lag(frame[x].to_numpy())
        frame[f"WW{x}"] = lag(frame[f"W{x}"].to_numpy())
    kind = {"classical": "unadjusted", "robust": "robust"}[covariance]
    oracle = IV2SLS(
        frame.ind, frame[["one", "a", "b"]], frame[["Wy"]], frame[["Wa", "Wb", "WWa", "WWb"]]
    ).fit(cov_type=kind)
    for term, label in (("W_ind", "Wy"), ("(Intercept)", "one"), ("a", "a"), ("b", "b")):
        assert fit.params["only", term] == pytest.approx(oracle.params[label], abs=ROUNDING)
        assert fit.bse["only", term] == pytest.approx(oracle.std_errors[label], abs=ROUNDING)
    if covariance == "classical":
        found = fit.identification().iloc[0]
        assert found["j"] == pytest.approx(oracle.sargan.stat, abs=1e-6)
        first = oracle.first_stage.diagnostics.loc["Wy"]
        assert fit.first_stage()["partial_r2"][0] == pytest.approx(first["partial.rsquared"], abs=1e-8)


@pytest.mark.parametrize("fixed_effects", ["none", "unit", "two_way"])
def test_one_equation_by_likelihood_is_the_single_equation_model(W, panel, fixed_effects):
    spec = SystemSpec({"only": Equation("ind", x=["a", "b"], lag_x="all", lag_error=True)}, fixed_effects)
    fit = fit_system(spec, panel, W, "fiml")
    single = fit_durbin(
        DurbinSpec("ind", ["a", "b"], lag_error=True, fixed_effects=fixed_effects),
        panel,
        W,
        covariance="hessian",
    )
    assert fit.log_likelihood == pytest.approx(single.log_likelihood, abs=1e-7)
    for theirs, ours in (("rho", "W_ind"), ("lam", "lam"), ("a", "a"), ("W_b", "W_b")):
        assert fit.params["only", ours] == pytest.approx(single.params[theirs], abs=1e-6)
        assert fit.bse["only", ours] == pytest.approx(single.bse[theirs], abs=1e-5)


def test_joint_estimation_of_just_identified_equations_is_2sls(W, panel):
    spec = SystemSpec(
        {
            "demand": Equation("ind", ["tal"], ["a"], lag_y=False),
            "supply": Equation("tal", ["ind"], ["c"], lag_y=False),
        }
    )
    alone, joint = (fit_system(spec, panel, W, method).params for method in ("2sls", "3sls"))
    np.testing.assert_allclose(alone, joint, atol=ROUNDING)


def test_without_spatial_errors_gs_is_plain(W, panel):
    for plain in ("2sls", "3sls"):
        a, b = fit_system(two(), panel, W, plain), fit_system(two(), panel, W, f"gs{plain}")
        np.testing.assert_array_equal(a.params, b.params)
        np.testing.assert_array_equal(a.cov, b.cov)


# FIML against an independent likelihood -------------------------------------------------------------------


class DenseSystem:
    """The likelihood of the transformed system written out: orthonormal bases, Kronecker products, no trick."""

    def __init__(self, panel: Panel, W: Weights, fixed_effects: str) -> None:
        T, n = len(panel.periods), len(panel.units)
        time = linalg.null_space(np.ones((1, T))) if fixed_effects in ("unit", "two_way") else np.eye(T)
        space = linalg.null_space(np.ones((1, n))) if fixed_effects in ("time", "two_way") else np.eye(n)
        self.W = space.T @ W.matrix.toarray() @ space
        names = ["ind", "tal", "a", "b", "c", "d"]
        if fixed_effects == "none":
            panel = panel.with_columns({"one": np.ones((T, n))})
            names.append("one")
        self.data = {k: time.T @ panel.array(k) @ space for k in names}
        self.own = [["a", "b"], ["c", "d"]]
        if fixed_effects == "none":
            self.own = [["one", "a", "b"], ["one", "c", "d"]]
        self.k = len(self.own[0])

    def value(self, p: np.ndarray, lam: tuple[float, float] = (0.0, 0.0)) -> float:
        """p = (γ12, ψ11, ψ12, β1, γ21, ψ22, ψ21, β2, Cholesky of Σ); λ of the two equations."""
        width = 3 + self.k
        first, second, chol = p[:width], p[width : 2 * width], p[2 * width :]
        gamma = np.array([[1, -first[0]], [-second[0], 1]])
        psi = np.array([[first[1], first[2]], [second[2], second[1]]])
        root = np.array([[chol[0], 0], [chol[1], chol[2]]])
        sigma = root @ root.T
        n = len(self.W)
        S = np.kron(gamma, np.eye(n)) - np.kron(psi, self.W)
        V = np.kron(sigma, np.eye(n))
        inverse = np.linalg.inv(V)
        B = linalg.block_diag(*(np.eye(n) - value * self.W for value in lam))
        half = np.linalg.slogdet(B @ S)[1] - 0.5 * np.linalg.slogdet(V)[1] - n * np.log(2 * np.pi)
        total = 0.0
        for t in range(len(self.data["a"])):
            y = np.concatenate([self.data["ind"][t], self.data["tal"][t]])
            mean = np.concatenate(
                [
                    sum(b * self.data[x][t] for b, x in zip(part[3:], own, strict=True))
                    for part, own in zip((first, second), self.own, strict=True)
                ]
            )
            e = B @ (S @ y - mean)
            total += half - 0.5 * e @ inverse @ e
        return total


def numerical_hessian(f, x: np.ndarray, step: float = 1e-4) -> np.ndarray:
    p = len(x)
    out = np.empty((p, p))
    eye = np.eye(p) * step
    for i in range(p):
        for j in range(i + 1):
            corners = [f(x + a * eye[i] + b * eye[j]) for a in (1, -1) for b in (1, -1)]
            out[i, j] = out[j, i] = (corners[0] - corners[1] - corners[2] + corners[3]) / (4 * step**2)
    return out


@pytest.mark.parametrize("fixed_effects", ["none", "unit", "two_way"])
def test_fiml_is_the_maximum_of_an_independent_dense_likelihood(fixed_effects):
    W = weights_of(rook(2, 5), "rook")
    panel = draw(W, 5, seed=4)
    spec = two(fixed_effects)
    fit = fit_system(spec, panel, W, "fiml")
    dense = DenseSystem(panel, W, fixed_effects)
    root = np.linalg.cholesky(fit.sigma.to_numpy())
    at = np.concatenate([fit.params.to_numpy(), [root[0, 0], root[1, 0], root[1, 1]]])
    assert dense.value(at) == pytest.approx(fit.log_likelihood, abs=1e-8)
    start = np.concatenate([np.zeros(len(fit.params)), [1.0, 0.0, 1.0]])
    found = optimize.minimize(lambda p: -dense.value(p), start, method="BFGS", options={"gtol": 1e-6})
    np.testing.assert_allclose(found.x[: len(fit.params)], fit.params, atol=2e-5)
    assert -found.fun == pytest.approx(fit.log_likelihood, abs=1e-7)
    cov = np.linalg.inv(-numerical_hessian(dense.value, at))
    np.testing.assert_allclose(np.sqrt(np.diag(cov))[: len(fit.params)], fit.bse, rtol=1e-4)


@pytest.mark.parametrize("fixed_effects", ["none", "unit", "time", "two_way"])
def test_fiml_with_spatial_errors_climbs_an_independent_dense_likelihood(fixed_effects):
    W = weights_of(rook(2, 5), "rook")
    panel = draw(W, 5, seed=4, lag_error=True)
    fit = fit_system(two(fixed_effects, lag_error=True), panel, W, "fiml")
    dense = DenseSystem(panel, W, fixed_effects)
    root = np.linalg.cholesky(fit.sigma.to_numpy())
    lam = fit.params[[name for name in fit.params.index if name[1] == "lam"]].to_numpy()
    rest = fit.params[[name for name in fit.params.index if name[1] != "lam"]].to_numpy()
    at = np.concatenate([rest, [root[0, 0], root[1, 0], root[1, 1]], lam])
    value = lambda p: dense.value(p[:-2], tuple(p[-2:]))  # noqa: E731
    assert value(at) == pytest.approx(fit.log_likelihood, abs=1e-8)
    slopes = [(value(at + step) - value(at - step)) / 2e-5 for step in 1e-5 * np.eye(len(at))]
    np.testing.assert_allclose(slopes, 0.0, atol=1e-3)  # of a likelihood that bends by 10 to 100


def test_fiml_modes_and_diagonal_sigma():
    W = weights_of(rook(4, 5), "rook")
    panel = draw(W, 6)
    full = fit_system(two(), panel, W, "fiml")
    diagonal = fit_system(two(), panel, W, "fiml", sigma="diagonal")
    assert diagonal.sigma.iloc[0, 1] == 0
    assert diagonal.log_likelihood < full.log_likelihood
    test = likelihood_ratio(diagonal, full).row("LR")
    assert test.df == 1
    assert test.statistic == pytest.approx(2 * (full.log_likelihood - diagonal.log_likelihood))


def test_likelihood_ratios_see_what_is_there_and_what_is_not():
    W = weights_of(rook(6, 7), "rook")
    truth = {
        key: value for key, value in TRUTH.items() if key not in {("talent", "ind"), ("talent", "W_ind")}
    }
    panel = simulate_system(two(), W, 10, zb.simulate.Truth(truth, sigma=SIGMA), rng=7)
    table = restriction_tests(fit_system(two(), panel, W, "fiml")).tidy().set_index("test")
    assert table.loc["no talent → industry", "p_value"] < 1e-6
    assert table.loc["no industry → talent", "p_value"] > 0.01
    assert table.loc["no own spillover", "p_value"] < 1e-6
    assert list(table["df"]) == [2, 2, 2, 2, 2, 1]


# Invariances ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_order_of_units_and_equations_changes_nothing(W, panel, method):
    spec = two(**options(method))
    fit = fit_system(spec, panel, W, method)
    order = np.random.default_rng(0).permutation(len(panel.units))
    shuffled = Panel(panel.values[:, order], panel.periods, panel.units[order], panel.columns)
    turned = SystemSpec({name: spec.equations[name] for name in reversed(spec.names)}, spec.fixed_effects)
    for other in (fit_system(spec, shuffled, W, method), fit_system(turned, panel, W, method)):
        index = fit.params.index
        np.testing.assert_allclose(other.params[index], fit.params, atol=1e-7)
        np.testing.assert_allclose(other.bse[index], fit.bse, atol=1e-7)
        np.testing.assert_allclose(
            other.identification().set_index("equation").loc[list(spec.names), ["kp_f", "j"]],
            fit.identification().set_index("equation")[["kp_f", "j"]],
            rtol=1e-6,
        )


@pytest.mark.parametrize("method", METHODS)
def test_units_of_measurement_carry_over(W, panel, method):
    """y × s and x × s change coefficients by known factors, and nothing else."""
    spec = two(**options(method))
    sizes = {"ind": 1e9, "tal": 1e-6, "a": 1e8, "c": 1e-5}
    scaled = panel.with_columns({name: panel.array(name) * size for name, size in sizes.items()})
    fit, other = fit_system(spec, panel, W, method), fit_system(spec, scaled, W, method)
    for (equation, term), value in fit.params.items():
        y = spec.equations[equation].y
        factor = 1.0 if term == "lam" else sizes[y] / sizes.get(term.removeprefix("W_"), 1.0)
        assert other.params[equation, term] == pytest.approx(factor * value, rel=1e-6, abs=1e-9 * factor)
        assert other.bse[equation, term] == pytest.approx(factor * fit.bse[equation, term], rel=1e-6)


def test_frozen_hashable_and_picklable(W, panel):
    import pickle

    spec = two()
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert hash(two()) == hash(spec)
    fit = fit_system(spec, panel, W, "gs3sls")
    again = pickle.loads(pickle.dumps(fit))
    pd.testing.assert_frame_equal(again.tidy(), fit.tidy())
    with pytest.raises(AttributeError):
        fit.method = "fiml"


# What the record says -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_words_of_the_record(W, panel, method):
    fit = fit_system(two(**options(method)), panel, W, method)
    expected = ["equation", "term", "estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high"]
    assert list(fit.tidy().columns) == expected
    assert ("industry", "W_tal") in fit.params.index
    assert (("industry", "lam") in fit.params.index) == method.startswith("gs")
    glance = fit.glance().iloc[0]
    assert len(fit.glance()) == 1
    assert (glance["method"], glance["nobs"]) == (method, 29 * 7)
    assert np.isfinite(glance["log_likelihood"]) == (method == "fiml")
    assert fit.residuals.shape == (8, 30, 2)
    assert fit.sigma.shape == (2, 2)
    assert "industry" in fit.summary()
    assert set(fit.identification()["equation"]) == {"industry", "talent"}
    assert fit.stability().stable
    roots = fit.stability().table()
    assert roots["outside"].all()
    assert len(roots) == 2


def test_instruments_are_named_and_the_dependent_ones_dropped(W):
    panel = draw(W, 8)
    doubled = panel.with_columns({"d": panel.array("c") + panel.array("a")})
    fit = fit_system(two(), doubled, W, "2sls")
    assert len(fit.instruments) == 9
    assert len(fit.dropped) == 3
    assert not any("ind" in name or "tal" in name for name in fit.instruments)
    assert fit.identification()["dropped"][0] == ", ".join(fit.dropped)


@pytest.mark.parametrize("method", ["gs2sls", "gs3sls", "fiml"])
def test_the_truth_is_recovered(method):
    W = weights_of(rook(9, 10), "rook")
    truth = pd.Series(TRUTH | {("industry", "lam"): 0.4, ("talent", "lam"): -0.3})
    fits = []
    for seed in range(6):
        panel = simulate_system(
            two(lag_error=True), W, 12, zb.simulate.Truth(truth.to_dict(), sigma=SIGMA), rng=100 + seed
        )
        fits.append(fit_system(two(lag_error=True), panel, W, method))
    estimates = np.array([fit.params[truth.index] for fit in fits])
    errors = np.array([fit.bse[truth.index] for fit in fits])
    pulls = (estimates.mean(axis=0) - truth) / (errors.mean(axis=0) / np.sqrt(len(fits)))
    assert np.abs(pulls).max() < 3.5
    assert np.mean(np.abs(estimates - truth.to_numpy()) < 1.96 * errors) > 0.85


@pytest.mark.parametrize("covariance", ["robust", "cluster"])
def test_robust_errors_are_near_the_classical_ones_when_errors_are_well_behaved(covariance):
    W = weights_of(rook(9, 10), "rook")
    panel = draw(W, 12, lag_error=True)
    plain = fit_system(two(lag_error=True), panel, W, "gs3sls").bse
    robust = fit_system(two(lag_error=True), panel, W, "gs3sls", covariance=covariance).bse
    np.testing.assert_allclose(robust / plain, 1, atol=0.3)


def test_sandwich_is_the_information_for_normal_errors():
    W = weights_of(rook(9, 10), "rook")
    panel = draw(W, 12)
    plain, quasi = (
        fit_system(two(), panel, W, "fiml", covariance=covariance).bse
        for covariance in ("information", "sandwich")
    )
    np.testing.assert_allclose(quasi / plain, 1, atol=0.05)


def test_sandwich_has_the_variance_of_the_score_when_errors_are_skewed():
    """A hub among 24 units, exponential errors: the information misses a quarter of the variance, C adds it."""
    n, T, draws = 24, 8, 600
    star = np.zeros((n, n))
    star[0, 1:] = star[1:, 0] = 1
    star += 0.3 * (np.eye(n, k=1) + np.eye(n, k=-1)) * (np.arange(n) > 0) * (np.arange(n) > 0)[:, None]
    W = weights_of(star, "star", "spectral")
    gamma, psi = np.array([[1, -0.3], [-0.2, 1]]), np.array([[0.5, 0.15], [0.1, 0.5]])
    solve = system_solver(gamma, psi, W.matrix)
    theta = np.array([0.3, 0.5, 0.15, 0.0, 0.0, 0.2, 0.5, 0.1, 0.0, 0.0])
    spec, root = two("unit"), np.linalg.cholesky(SIGMA)
    rng = np.random.default_rng(11)
    scores, information, correction = [], np.zeros((10, 10)), np.zeros((10, 10))
    for _ in range(draws):
        e = (rng.exponential(1, (T, n, 2)) - 1) @ root.T
        y = solve(e.transpose(2, 1, 0).reshape(2 * n, T)).reshape(2, n, T).transpose(2, 1, 0)
        values = np.concatenate([y, rng.standard_normal((T, n, 4))], axis=2)
        panel = Panel(values, tuple(range(T)), W.ids, ("ind", "tal", "a", "b", "c", "d"))
        arrays = build_system_design(spec, panel, W, 1, True).arrays
        likelihood = SystemLikelihood(arrays, weights_eigenvalues(W))
        gradient, hessian = likelihood.derivatives(theta)
        scores.append(gradient)
        information -= hessian / draws
        correction += (quasi_covariance(likelihood, theta, np.eye(10)) - np.eye(10)) / draws
    variance = np.var(scores, axis=0)
    spatial = [0, 1, 2, 6, 7]
    missed = np.diag(information)[spatial].sum() / variance[spatial].sum()
    found = np.diag(information + correction)[spatial].sum() / variance[spatial].sum()
    assert missed < 0.9
    assert found == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("fixed_effects", ["none", "unit", "two_way"])
@pytest.mark.parametrize("covariance", ["classical", "robust"])
@pytest.mark.parametrize("corrected", [True, False])
def test_one_equation_by_gs2sls_is_the_single_equation_gmm(W, panel, fixed_effects, covariance, corrected):
    spec = SystemSpec({"only": Equation("ind", x=["a", "b"], lag_error=True)}, fixed_effects)
    fit = fit_system(spec, panel, W, "gs2sls", covariance=covariance, bias_correction=corrected)
    single = fit_durbin(
        DurbinSpec("ind", ["a", "b"], lag_x=[], lag_error=True, fixed_effects=fixed_effects),
        panel,
        W,
        estimator="gmm",
        covariance={"classical": "information", "robust": "robust"}[covariance],
        bias_correction=corrected,
    )
    assert fit.bias_correction == single.bias_correction == corrected
    for theirs, ours in (("rho", "W_ind"), ("lam", "lam"), ("a", "a"), ("b", "b")):
        assert fit.params["only", ours] == pytest.approx(single.params[theirs], abs=ROUNDING)
        assert fit.bse["only", ours] == pytest.approx(single.bse[theirs], abs=ROUNDING)
    record = single.convergence
    found = fit.identification().iloc[0]
    assert found["j"] == pytest.approx(record.j_statistic, abs=1e-6)
    f_statistic = found["sw_f_min" if covariance == "classical" else "kp_f"]
    assert f_statistic == pytest.approx(record.first_stage["rho"], rel=1e-6)
