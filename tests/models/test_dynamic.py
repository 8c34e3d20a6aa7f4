"""Lags in time: the bias of the score, its correction, stability, effects over time."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from dense_oracle import helmert
from scipy import optimize, sparse
from small_examples import ring_with_chords

import spatial_zb as zb
from spatial_zb.core.likelihood.dynamic import (
    Recursion,
    bias_slope,
    carry_over_radius,
    limit_bias,
    score_bias,
)
from spatial_zb.core.likelihood.impacts import path_multipliers
from spatial_zb.core.logdet import EigenLogDet, SparseLogDet, make_logdet
from spatial_zb.effects.dynamic import LONG_RUN_ERRORS
from spatial_zb.effects.table import REACH

EXACT = 1e-10  # algebra done in two ways
SEARCHED = 2e-5  # a search over all parameters at once ends this near to the root
DIFFERENCED = 1e-6  # derivatives of the multipliers are central differences
PROBED = 0.03  # 64 random probes of 900 units
LAGS = {"time_lag": True, "lag_time_lag": True}


def draw(W: zb.Weights, T: int = 9, rng: int = 1, **truth: float) -> zb.Panel:
    truth = {"rho": 0.3, "tau": 0.4, "eta": 0.1, **truth}
    return zb.simulate.durbin(W, T + 1, {"x": 1.0}, theta={"x": 0.5}, rng=rng, **truth)


def sdm(effects: str = "two_way", **changes: object) -> zb.DurbinSpec:
    return zb.DurbinSpec(**{"y": "y", "x": ["x"], "fixed_effects": effects, **LAGS, **changes})


@pytest.fixture(scope="module")
def W() -> zb.Weights:
    return ring_with_chords(12)


@pytest.fixture(scope="module")
def panel(W) -> zb.Panel:
    return draw(W)


@pytest.fixture(scope="module")
def calm(W) -> zb.Panel:
    """A process far from a unit root, so that effects of the long run are told from infinity."""
    return draw(W, 25, rho=0.1, tau=0.2, eta=0.0)


@pytest.fixture(autouse=True)
def quiet():
    """Twelve units are few, and every fit says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        yield


# --- the bias of the score


def carried_forward(dense: np.ndarray, tau: float, eta: float, rho: float, T: int) -> np.ndarray:
    """The (nT, nT) matrix that gives y_0 … y_{T−1} from ε_1 … ε_T, block by block."""
    n = len(dense)
    S_inverse = np.linalg.inv(np.eye(n) - rho * dense)
    A = S_inverse @ (tau * np.eye(n) + eta * dense)
    out = np.zeros((T * n, T * n))
    for t in range(T):
        for s in range(t):
            block = np.linalg.matrix_power(A, t - 1 - s) @ S_inverse
            out[t * n : (t + 1) * n, s * n : (s + 1) * n] = block
    return out


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("point", [(0.4, 0.1, 0.3), (0.9, -0.3, 0.4), (1.2, -0.2, 0.1)])
def test_the_bias_is_the_mean_of_the_score(W, centred, point):
    tau, eta, rho = point
    n, T, dense = W.n, 7, W.matrix.toarray()
    J = np.eye(n) - centred / n
    Q = np.kron(np.eye(T) - 1 / T, J)
    before = carried_forward(dense, tau, eta, rho, T)
    G = dense @ np.linalg.inv(np.eye(n) - rho * dense)
    lagged = np.kron(np.eye(T), dense)
    from_before = np.kron(np.eye(T), G @ (tau * np.eye(n) + eta * dense)) @ before
    means = [np.trace(Q @ matrix) for matrix in (before, lagged @ before, from_before)]
    found = score_bias(tau, eta, rho, Recursion(W.matrix, W.logdet, T, centred))
    assert np.allclose(found, -np.array(means), rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("point", [(0.4, 0.1, 0.3), (0.4, -0.12, 0.3), (0.5, 0.0, 0.0), (0.0, 0.2, 0.2)])
def test_the_bias_tends_to_that_of_yu_de_jong_and_lee(W, centred, point):
    """At (0.4, −0.12, 0.3) κ = ρ: the quotients of the formula are then limits."""
    tau, eta, rho = point
    n, dense = W.n, W.matrix.toarray()
    J = np.eye(n) - centred / n
    S_inverse = np.linalg.inv(np.eye(n) - rho * dense)
    P = tau * np.eye(n) + eta * dense
    F = np.linalg.inv(np.eye(n) - S_inverse @ P) @ S_inverse
    G = dense @ S_inverse
    published = [np.trace(J @ F), np.trace(J @ dense @ F), np.trace(J @ (tau * G @ F + eta * G @ dense @ F))]
    model = Recursion(W.matrix, W.logdet, 4000, centred)
    assert np.allclose(limit_bias(tau, eta, rho, model), published, rtol=1e-7)
    assert np.allclose(score_bias(tau, eta, rho, model), published, rtol=2e-3)  # what is left falls with 1/T


def test_probes_stand_in_for_eigenvalues_of_a_large_sparse_matrix():
    n = 900
    dense = np.roll(np.eye(n), 1, 1) + np.roll(np.eye(n), -1, 1) + np.roll(np.eye(n), 30, 1)
    W = zb.as_weights(dense, [str(i) for i in range(n)]).standardise("row").matrix
    sparse_one = Recursion(W, make_logdet(sparse.csr_array(W.toarray())), 6, True)
    assert isinstance(sparse_one.logdet, SparseLogDet)
    known = Recursion(W, EigenLogDet(np.linalg.eigvals(W.toarray())), 6, True)
    assert np.allclose(
        score_bias(0.5, 0.1, 0.2, sparse_one),
        score_bias(0.5, 0.1, 0.2, known),
        rtol=PROBED,
        atol=PROBED * n / 6,
    )
    at = np.array([[0.5, 0.1, 0.2]])
    probed, found = (path_multipliers(at, W, m.logdet, True, 3) for m in (sparse_one, known))
    assert np.allclose(probed, found, atol=PROBED)
    assert carry_over_radius(0.5, 0.1, 0.2, sparse_one.logdet, False) == pytest.approx(
        carry_over_radius(0.5, 0.1, 0.2, known.logdet, False), abs=1e-6
    )


def test_slope_of_the_bias_is_its_derivative(W):
    model = Recursion(W.matrix, W.logdet, 8, True)
    for bias in (score_bias, limit_bias):
        slope = bias_slope(bias, 0.4, 0.1, 0.3, model)
        for i, step in enumerate(1e-4 * np.eye(3)):
            wide = (
                bias(*np.array([0.4, 0.1, 0.3]) + step, model)
                - bias(*np.array([0.4, 0.1, 0.3]) - step, model)
            ) / 2e-4
            assert np.allclose(slope[:, i], wide, rtol=1e-5, atol=1e-5)


# --- the estimates


@pytest.mark.parametrize("lag_error", [False, True])
@pytest.mark.parametrize("effects", ["unit", "two_way"])
def test_uncorrected_is_the_static_fit_with_the_lags_as_regressors(W, panel, effects, lag_error):
    y = panel.array("y")
    later = panel.select(periods=panel.periods[1:])
    Wy = (W.matrix @ y.T).T
    later = later.with_columns(
        {"before": y[:-1], "around": Wy[:-1], "Wx": (W.matrix @ panel.array("x")[1:].T).T}
    )
    static = zb.fit_durbin(
        zb.DurbinSpec("y", ["x", "Wx", "before", "around"], True, [], lag_error, effects), later, W
    )
    dynamic = zb.fit_durbin(sdm(effects, lag_error=lag_error), panel, W, "uncorrected")
    assert np.allclose(static.params, dynamic.params, rtol=1e-8, atol=1e-10)
    assert np.allclose(static.cov, dynamic.cov, rtol=1e-6, atol=1e-10)
    assert dynamic.log_likelihood == pytest.approx(static.log_likelihood)
    assert dynamic.panel.periods == later.periods
    assert dynamic.residuals.shape == (9, 12)


def dense_score(W, panel, effects):
    """Score of the transformed likelihood at (β, θ, τ, η, ρ, σ²), by matrices of the full transformed system."""
    dense, n = W.matrix.toarray(), W.n
    y, x = panel.array("y"), panel.array("x")[1:]
    T = len(x)
    F = helmert(n) if effects == "two_way" else np.eye(n)
    H = helmert(T)
    star = F.T @ dense @ F
    over = lambda values: H.T @ values @ F  # noqa: E731
    Z = np.stack([over(x), over(x @ dense.T), over(y[:-1]), over(y[:-1] @ dense.T)], axis=2)
    yt, Wyt = over(y[1:]), over(y[1:] @ dense.T)

    def score(values):
        *delta, rho, sigma2 = values
        e = yt - rho * Wyt - Z @ np.array(delta)
        S = np.eye(len(star)) - rho * star
        own = np.einsum("tnk,tn->k", Z, e) / sigma2
        spatial = (Wyt * e).sum() / sigma2 - (T - 1) * np.trace(np.linalg.solve(S, star))
        return np.array([*own, spatial, (e**2).sum() / (2 * sigma2**2) - e.size / (2 * sigma2)])

    def log_likelihood(values):
        *delta, rho, sigma2 = values
        e = yt - rho * Wyt - Z @ np.array(delta)
        determinant = np.linalg.slogdet(np.eye(len(star)) - rho * star)[1]
        return -e.size / 2 * np.log(2 * np.pi * sigma2) + (T - 1) * determinant - (e**2).sum() / (2 * sigma2)

    def information(values):
        *delta, rho, sigma2 = values
        S = np.eye(len(star)) - rho * star
        G = star @ np.linalg.inv(S)
        e = yt - rho * Wyt - Z @ np.array(delta)
        mean = Wyt - e @ G.T
        columns = np.concatenate([Z.reshape(e.size, -1), mean.reshape(-1, 1)], axis=1)
        out = np.zeros((6, 6))
        out[:5, :5] = columns.T @ columns / sigma2
        out[4, 4] += (T - 1) * np.trace(G @ G + G.T @ G)
        out[4, 5] = out[5, 4] = (T - 1) * np.trace(G) / sigma2
        out[5, 5] = e.size / (2 * sigma2**2)
        return out

    def bias(values, powers):
        *_, tau, eta, rho, _ = values
        S_inverse = np.linalg.inv(np.eye(len(star)) - rho * star)
        P = tau * np.eye(len(star)) + eta * star
        A = S_inverse @ P
        terms = [
            (1 - (h + 1) / T if powers else 1) * np.linalg.matrix_power(A, h)
            for h in range(T - 1 if powers else 400)
        ]
        inner = sum(terms) @ S_inverse
        parts = (inner, star @ inner, star @ S_inverse @ P @ inner)
        return np.array([0, 0, *(np.trace(part) for part in parts), 0])

    return score, log_likelihood, information, bias


@pytest.mark.parametrize("effects", ["unit", "two_way"])
def test_corrections_by_a_slow_second_implementation(W, panel, effects):
    score, log_likelihood, information, bias = dense_score(W, panel, effects)
    start = np.array([1, 0.5, 0.4, 0.1, 0.3, 1.0])
    found = optimize.root(score, start, tol=1e-12).x
    raw = zb.fit_durbin(sdm(effects), panel, W, "uncorrected")
    assert np.allclose(raw.params, found, rtol=1e-6, atol=1e-8)
    assert raw.log_likelihood == pytest.approx(log_likelihood(found), abs=1e-7)
    one_step = found + np.linalg.solve(information(found), bias(found, powers=False))
    corrected = zb.fit_durbin(sdm(effects), panel, W)
    assert np.allclose(corrected.params, one_step, rtol=1e-6, atol=1e-8)
    assert corrected.log_likelihood == pytest.approx(raw.log_likelihood)
    root = optimize.root(lambda v: score(v) + bias(v, powers=True), one_step, tol=1e-12).x
    yang = zb.fit_durbin(sdm(effects), panel, W, "yang")
    assert np.allclose(yang.params, root, rtol=1e-6, atol=1e-8)


def test_derivative_of_the_score_is_the_bread_of_yang(W, panel):
    """V = (I − ∂b)⁻¹ I (I − ∂b)⁻ᵀ, with I the information at the solution."""
    _, _, information, bias = dense_score(W, panel, "two_way")
    fit = zb.fit_durbin(sdm(), panel, W, "yang")
    at = fit.params.to_numpy()
    slope = np.column_stack([(bias(at + h, True) - bias(at - h, True)) / 2e-5 for h in 1e-5 * np.eye(6)])
    bread = np.linalg.inv(information(at) - slope)
    assert np.allclose(fit.cov, bread @ information(at) @ bread.T, rtol=1e-5, atol=1e-9)


def test_errors_count_that_the_correction_is_estimated(W, panel):
    raw = zb.fit_durbin(sdm(), panel, W, "uncorrected")
    one, all_steps = (zb.fit_durbin(sdm(), panel, W, estimator) for estimator in ("lee_yu", "yang"))
    assert one.bse["tau"] > 1.05 * raw.bse["tau"]
    assert all_steps.bse["tau"] > 1.05 * raw.bse["tau"]
    for covariance in ("hessian", "sandwich", "cluster", "driscoll_kraay", "spatial_hac"):
        assert np.isfinite(zb.fit_durbin(sdm(), panel, W, covariance=covariance).bse).all()


def test_without_space_it_is_the_correction_of_hahn_and_kuersteiner(W):
    """τ̂ + (1 + τ̂)/T in large samples; with the information of the sample in the place of (1 − τ²)⁻¹."""
    panel = draw(ring_with_chords(300), 30, rng=3, rho=0.0, eta=0.0, tau=0.5)
    panel = panel.with_columns({"y": panel.array("y") - panel.array("x")})
    alone = zb.simulate.durbin(
        ring_with_chords(300), 31, {}, process=zb.simulate.Process(tau=0.5, time_effects=0.0), rng=5
    )
    spec = zb.DurbinSpec("y", [], False, [], fixed_effects="unit", time_lag=True)
    raw, corrected = (
        zb.fit_durbin(spec, alone, ring_with_chords(300), name) for name in ("uncorrected", "lee_yu")
    )
    y = alone.array("y")
    before = y[:-1] - y[:-1].mean(axis=0)
    after = y[1:] - y[1:].mean(axis=0)
    tau = (before * after).sum() / (before**2).sum()
    sigma2 = ((after - tau * before) ** 2).sum() / (300 * 29)
    assert raw.params["tau"] == pytest.approx(tau)
    assert corrected.params["tau"] == pytest.approx(tau + 300 * sigma2 / (1 - tau) / (before**2).sum())
    assert corrected.params["tau"] == pytest.approx(tau + (1 + tau) / 30, abs=0.01)


# --- invariances


@pytest.mark.parametrize("estimator", ["lee_yu", "yang"])
def test_order_of_units_units_of_measurement_and_effects_do_not_matter(W, panel, estimator):
    fit = zb.fit_durbin(sdm(), panel, W, estimator)
    order = np.random.default_rng(0).permutation(W.n)
    turned = zb.Panel(panel.values[:, order], panel.periods, panel.units[order], panel.columns)
    assert np.allclose(zb.fit_durbin(sdm(), turned, W, estimator).params, fit.params, rtol=1e-7)
    y = panel.array("y")
    moved = y + np.arange(W.n) + 3 * np.random.default_rng(1).standard_normal((len(y), 1))
    shifted = zb.fit_durbin(sdm(), panel.with_columns({"y": moved}), W, estimator)
    assert np.allclose(shifted.params, fit.params, rtol=1e-6)
    large = zb.fit_durbin(sdm(), panel.with_columns({"y": 1e8 * y}), W, estimator)
    spatial = ["tau", "eta", "rho"]
    assert np.allclose(large.params[spatial], fit.params[spatial], rtol=1e-7)
    assert np.allclose(large.bse[spatial], fit.bse[spatial], rtol=1e-6)


# --- stability


def test_stability_is_read_from_the_eigenvalues(W, panel):
    fit = zb.fit_durbin(sdm(), panel, W)
    tau, eta, rho = fit.params[["tau", "eta", "rho"]]
    dense = W.matrix.toarray()
    A = np.linalg.solve(np.eye(W.n) - rho * dense, tau * np.eye(W.n) + eta * dense)
    row = zb.tests.stability_test(fit).tidy().iloc[0]
    assert row["radius"] == pytest.approx(np.abs(np.linalg.eigvals(A)).max())
    assert row["persistence"] == pytest.approx(tau + eta + rho)
    g = np.isin(fit.params.index, ["tau", "eta", "rho"]).astype(float)
    assert row["std_error"] == pytest.approx(np.sqrt(g @ fit.cov.to_numpy() @ g))
    assert row["stable"]
    assert row["p_value"] < 0.5


def explosive(W) -> zb.Panel:
    return draw(W, 12, rng=2, tau=0.8, rho=0.5, eta=-0.25, burn_in=0)


def test_an_unstable_process_is_named_and_has_no_long_run(W):
    panel = explosive(W)
    with pytest.warns(zb.SpatialZbWarning, match="not stable"):
        fit = zb.fit_durbin(sdm(), panel, W)
    assert fit.convergence.radius > 1
    with pytest.raises(zb.ConvergenceError, match="no long run"):
        zb.spatial_effects(fit, horizon="long")
    assert np.isfinite(zb.effects_path(fit, 4).tidy()["estimate"]).all()


def test_without_stability_nothing_is_corrected():
    W = ring_with_chords(30)
    panel = zb.simulate.durbin(
        W,
        13,
        {"x": 1.0},
        process=zb.simulate.Process(tau=1.06, eta=-0.2, time_effects=0, burn_in=0),
        rho=0.2,
        rng=2,
    )
    with pytest.warns(zb.SpatialZbWarning, match="bias correction does not exist"):
        fit = zb.fit_durbin(sdm("unit"), panel, W)
    assert not fit.convergence.corrected
    assert np.allclose(fit.params, zb.fit_durbin(sdm("unit"), panel, W, "uncorrected").params)


# --- effects over time


def slow_effects(fit: zb.models.fit.Fit, left: np.ndarray) -> np.ndarray:
    dense = fit.weights.matrix.toarray()
    E = np.linalg.solve(left, fit.params["x"] * np.eye(len(dense)) + fit.params["W_x"] * dense)
    direct, total = np.trace(E) / len(E), E.sum() / len(E)
    return np.array([direct, total - direct, total])


@pytest.mark.parametrize("normalisation", ["row", "spectral"])
def test_effects_over_time_by_matrices(normalisation):
    W = ring_with_chords(12, normalisation=normalisation)
    panel = draw(W, 25, rho=0.1, tau=0.2, eta=0.0, time_effects=0.0)
    fit = zb.fit_durbin(sdm("unit"), panel, W)
    tau, eta, rho = fit.params[["tau", "eta", "rho"]]
    dense, one = W.matrix.toarray(), np.eye(W.n)
    S, P = one - rho * dense, tau * one + eta * dense
    path = zb.effects_path(fit, 3, "one_off").tidy()["estimate"].to_numpy().reshape(4, 3)
    steps = [slow_effects(fit, S @ np.linalg.matrix_power(np.linalg.solve(P, S), h)) for h in range(4)]
    assert np.allclose(path, steps, rtol=1e-7)
    lasting = zb.effects_path(fit, 3).tidy()["estimate"].to_numpy().reshape(4, 3)
    assert np.allclose(lasting, np.cumsum(steps, axis=0), rtol=1e-7)
    long = zb.spatial_effects(fit, horizon="long").tidy()["estimate"]
    assert np.allclose(long, slow_effects(fit, (1 - tau) * one - (rho + eta) * dense), rtol=1e-8)


def test_maps_of_the_long_run_average_to_its_effects(W, calm):
    fit = zb.fit_durbin(sdm(), calm, W)
    long = zb.spatial_effects(fit, horizon="long").tidy().set_index("effect")["estimate"]
    by_unit = zb.effects_by_unit(fit, "x", "long").mean()
    assert np.allclose(by_unit, long[["direct", "indirect", "indirect"]])
    assert not np.allclose(zb.effects_by_unit(fit, "x").mean(), by_unit)
    with pytest.raises(zb.SpecificationError, match="horizon"):
        zb.effect_matrix(fit, "x", "medium")


def test_static_and_dynamic_fits_of_the_same_sample_are_compared(W, panel):
    later = panel.select(periods=panel.periods[1:])
    static, dynamic = zb.fit_durbin(zb.DurbinSpec("y", ["x"]), later, W), zb.fit_durbin(sdm(), panel, W)
    raw = zb.fit_durbin(sdm(), panel, W, "uncorrected")
    table = zb.compare.compare_fits({"static": static, "dynamic": dynamic}).tidy()
    assert table["df"].iloc[0] == 2
    assert table["statistic"].iloc[0] == pytest.approx(2 * (raw.log_likelihood - static.log_likelihood))
    with pytest.raises(zb.SpecificationError, match="periods"):
        zb.compare.compare_fits(
            {"static": zb.fit_durbin(zb.DurbinSpec("y", ["x"]), panel, W), "dynamic": dynamic}
        )


def test_the_path_leads_from_the_short_to_the_long_run(W, calm):
    fit = zb.fit_durbin(sdm(), calm, W)
    columns = ["estimate", "std_error"]
    path = zb.effects_path(fit, 200).tidy().set_index("period")[columns]
    short, long = (zb.spatial_effects(fit, horizon=h).tidy()[columns] for h in ("short", "long"))
    assert np.allclose(path.loc[0], short, rtol=DIFFERENCED)
    assert np.allclose(path.loc[200], long, rtol=DIFFERENCED)


def test_errors_of_effects_by_numerical_differences(W, calm):
    fit = zb.fit_durbin(sdm(), calm, W)
    dense, one = W.matrix.toarray(), np.eye(W.n)

    def long(values):
        beta, theta, tau, eta, rho, _ = values
        E = np.linalg.solve((1 - tau) * one - (rho + eta) * dense, beta * one + theta * dense)
        return np.array([np.trace(E) / W.n, E.sum() / W.n - np.trace(E) / W.n, E.sum() / W.n])

    at = fit.params.to_numpy()
    g = np.column_stack([(long(at + h) - long(at - h)) / 2e-6 for h in 1e-6 * np.eye(6)])
    errors = np.sqrt(np.diag(g @ fit.cov.to_numpy() @ g.T))
    assert np.allclose(zb.spatial_effects(fit, horizon="long").tidy()["std_error"], errors, rtol=1e-5)


def test_a_long_run_near_a_unit_root_is_warned_of(W, panel):
    near = zb.fit_durbin(sdm(), panel, W)
    assert 0 < -zb.tests.stability_test(near).rows[0].statistic < REACH
    with pytest.warns(zb.SpatialZbWarning, match=r"reaches 1\.000"):
        assert zb.spatial_effects(near, horizon="long").frame["estimate"].isna().all()
    with pytest.raises(zb.ConvergenceError, match=r"reaches 1\.000"):
        zb.effects_by_unit(near, "x", "long")
    fit = zb.fit_durbin(sdm(), draw(W, 15, rho=0.2, tau=0.3, eta=0.0), W)
    apart = -zb.tests.stability_test(fit).rows[0].statistic
    assert REACH < apart < LONG_RUN_ERRORS
    with pytest.warns(zb.SpatialZbWarning, match=f"only {apart:.1f} standard errors"):
        zb.spatial_effects(fit, horizon="long")
    calm = zb.fit_durbin(
        sdm(), draw(ring_with_chords(60), 25, rho=0.1, tau=0.2, eta=0.0), ring_with_chords(60)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", zb.SpatialZbWarning)
        zb.spatial_effects(calm, horizon="long")
        zb.spatial_effects(calm, "simulate", horizon="long", rng=1)


def test_few_periods_with_a_long_memory_are_warned_of():
    W = ring_with_chords(40)
    with pytest.warns(zb.SpatialZbWarning, match="off by 0.02 to 0.04"):
        zb.fit_durbin(sdm(), draw(W, 10, tau=0.7, rho=0.1, eta=-0.1), W)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        zb.fit_durbin(sdm(), draw(W, 20, tau=0.7, rho=0.1, eta=-0.1), W)
    assert not any("off by" in str(w.message) for w in said)


def test_simulated_errors_are_near_those_of_the_delta_method():
    W = ring_with_chords(60)
    fit = zb.fit_durbin(sdm(), draw(W, 25, rho=0.2, tau=0.3, eta=0.0), W)
    delta, drawn = (zb.effects_path(fit, 5, "one_off", m, rng=1).tidy() for m in ("delta", "simulate"))
    assert np.allclose(delta["estimate"], drawn["estimate"])
    ratio = (drawn["std_error"] / delta["std_error"])[delta["period"] <= 2]
    assert ratio.between(0.85, 1.25).all()
    result = zb.spatial_effects(fit, "simulate", rng=1, horizon="long")
    assert result.detail["draws"] + result.detail["rejected"] == 2000
    assert np.allclose(result.tidy()["estimate"], zb.spatial_effects(fit, horizon="long").tidy()["estimate"])


# --- refusals


def test_what_a_lag_in_time_does_not_go_with(W, panel):
    for effects in ("none", "time", "random"):
        with pytest.raises(zb.SpecificationError, match="two_way"):
            sdm(effects)
    with pytest.raises(zb.SpecificationError, match="endogenous"):
        zb.DurbinSpec("y", ["x"], endog=["z"], instruments=["q"], time_lag=True)
    with pytest.raises(zb.SpecificationError, match="tau"):
        zb.DurbinSpec("y", ["tau"], time_lag=True)
    for estimator in ("direct", "gmm"):
        with pytest.raises(zb.SpecificationError, match="uncorrected"):
            zb.fit_durbin(sdm(), panel, W, estimator)
    with pytest.raises(zb.SpecificationError, match="bias of a lag in time"):
        zb.fit_durbin(zb.DurbinSpec("y", ["x"]), panel, W, "yang")
    with pytest.raises(zb.DataError, match="2005 follows 2003"):
        zb.fit_durbin(sdm(), panel.select(periods=[p for p in panel.periods if p != 2004]), W)
    with pytest.raises(zb.SpecificationError, match="row-normalised"):
        zb.fit_durbin(sdm(lag_y=False), panel, ring_with_chords(12, normalisation="spectral"))
    with pytest.raises(zb.SpecificationError, match="static"):
        zb.diagnose(sdm(), panel, W)


def test_what_a_static_model_does_not_have(W, panel):
    fit = zb.fit_durbin(zb.DurbinSpec("y", ["x"]), panel, W)
    for ask in (zb.effects_path, zb.tests.stability_test, lambda f: zb.spatial_effects(f, horizon="long")):
        with pytest.raises(zb.SpecificationError):
            ask(fit)
    dynamic = zb.fit_durbin(sdm(), panel, W)
    for wrong in ({"periods": -1}, {"periods": 2.5}, {"change": "for ever"}, {"method": "guess"}):
        with pytest.raises(zb.SpecificationError):
            zb.effects_path(dynamic, **wrong)
    with pytest.raises(zb.SpecificationError, match="horizon"):
        zb.spatial_effects(dynamic, horizon="medium")


def test_simulated_panels_follow_the_recursion(W):
    panel = draw(W, sigma=0.0, unit_effects=0.0, time_effects=0.0)
    y, x, matrix = panel.array("y"), panel.array("x"), W.matrix
    right = (
        0.4 * y[:-1]
        + 0.3 * (matrix @ y[1:].T).T
        + 0.1 * (matrix @ y[:-1].T).T
        + x[1:]
        + 0.5 * (matrix @ x[1:].T).T
    )
    assert np.allclose(y[1:], right)
    assert not np.allclose(
        y[0], draw(W, sigma=0.0, unit_effects=0.0, time_effects=0.0, burn_in=0).array("y")[0]
    )


# --- the simulation


@pytest.mark.slow
def test_the_correction_takes_the_bias_away():
    """41 units, 10 periods: 500 replications move the mean of τ̂ by 0.002, of ρ̂ by 0.004."""
    W, found = ring_with_chords(41), {"uncorrected": [], "lee_yu": [], "yang": []}
    for index in range(500):
        panel = draw(W, 10, rng=[9, index])
        for estimator, kept in found.items():
            fit = zb.fit_durbin(sdm(), panel, W, estimator)
            kept.append([*fit.params[["tau", "eta", "rho"]], *fit.bse[["tau", "eta", "rho"]]])
    truth = np.array([0.4, 0.1, 0.3])
    values = {name: np.array(kept) for name, kept in found.items()}
    off = {name: kept[:, :3].mean(axis=0) - truth for name, kept in values.items()}
    assert off["uncorrected"][0] < -0.05
    for name in ("lee_yu", "yang"):
        assert np.abs(off[name]).max() < 0.02
        covered = (np.abs(values[name][:, :3] - truth) <= 1.96 * values[name][:, 3:]).mean(axis=0)
        assert np.all((covered > 0.9) & (covered < 0.975))  # ± 2 points of simulation
