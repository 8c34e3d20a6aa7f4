"""Formulas of the test statistics against dense matrices, numerical derivatives of likelihoods, and identities."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from array_examples import data, weights
from scipy import optimize, sparse

from spatial_zb.core.likelihood import tests as core
from spatial_zb.core.logdet import make_logdet
from spatial_zb.core.logdet.traces import filter_traces
from spatial_zb.core.random import tests as bsk
from spatial_zb.core.random import tests as random_effects
from spatial_zb.core.transforms import (
    condition_number,
    demean,
    spatial_lag,
    transformed_sample,
    variance_inflation,
)

EFFECTS = ["none", "unit", "time", "two_way"]
#: Both sides are the same closed form up to rounding.
EXACT = 1e-9
#: One side is a numerical derivative or a numerical maximum.
NUMERICAL = 2e-5


def projector(effects: str, T: int, n: int) -> np.ndarray:
    J_T = np.eye(T) - 1 / T if effects in ("unit", "two_way") else np.eye(T)
    J_n = np.eye(n) - 1 / n if effects in ("time", "two_way") else np.eye(n)
    return np.kron(J_T, J_n)


def transformed(effects: str, y: np.ndarray, X: np.ndarray, W: sparse.csr_array):
    """u, Wu, Wy, Z as lm_lag_error takes them, with the counts of the sample."""
    T, n = y.shape
    Z = np.concatenate([np.ones((T, n, 1)), X], axis=2) if effects == "none" else X
    Z, yt = demean(Z, effects), demean(y, effects)
    u = core.residuals(Z.reshape(T * n, -1), yt.ravel()).reshape(T, n)
    sample = transformed_sample(n, T, effects, "lee_yu")
    lags = (demean(spatial_lag(W, v), effects) for v in (u, y))
    return u, *lags, Z, sample


def lag_error(effects: str, y: np.ndarray, X: np.ndarray, W: sparse.csr_array) -> core.LagErrorTests:
    u, Wu, Wy, Z, sample = transformed(effects, y, X, W)
    moments = core.weight_moments(W, sample.centred)
    return core.lm_lag_error(u, Wu, Wy, Z, sample.periods, sample.observations, moments)


def values(tests: core.LagErrorTests) -> np.ndarray:
    return np.array([tests.lag, tests.error, tests.robust_lag, tests.robust_error, tests.joint])


@pytest.mark.parametrize("how", ["row", "none"])
@pytest.mark.parametrize("centred", [False, True], ids=["W", "JWJ"])
def test_weight_moments_are_the_dense_traces(how: str, centred: bool) -> None:
    W = weights(how=how)
    J = np.eye(8) - centred / 8
    A = J @ W.toarray() @ J
    m = core.weight_moments(W, centred)
    dense = [np.trace(A), np.trace(A @ A), np.trace(A.T @ A)]
    np.testing.assert_allclose([m.trace, m.square, m.cross], dense, rtol=EXACT)
    assert m.dimension == 8 - centred
    if centred and how == "row":
        assert m.trace == pytest.approx(-1.0)  # why the usual formulas are off with time effects


@pytest.mark.parametrize("effects", EFFECTS)
@pytest.mark.parametrize("how", ["row", "none"])
def test_joint_is_either_sum(effects: str, how: str) -> None:
    t = lag_error(effects, *data(), weights(how=how))
    assert t.joint == pytest.approx(t.robust_lag + t.error, rel=EXACT)
    assert t.joint == pytest.approx(t.robust_error + t.lag, rel=EXACT)


@pytest.mark.parametrize("effects", EFFECTS)
def test_lm_does_not_depend_on_scale_order_or_effects(effects: str) -> None:
    y, X = data()
    W = weights()
    first = values(lag_error(effects, y, X, W))
    order = np.random.default_rng(0).permutation(8)
    permuted = lag_error(effects, y[:, order], X[:, order], W[order][:, order])
    np.testing.assert_allclose(values(permuted), first, rtol=EXACT)
    np.testing.assert_allclose(values(lag_error(effects, 1e6 * y, X * [1e-4, 1e8], W)), first, rtol=1e-7)
    shift = np.zeros_like(y)
    if effects in ("unit", "two_way"):
        shift = shift + np.arange(8.0)
    if effects in ("time", "two_way"):
        shift = shift + np.arange(5.0)[:, None] ** 2
    np.testing.assert_allclose(values(lag_error(effects, y + shift + 3, X, W)), first, rtol=1e-7)


def test_robust_tests_are_undefined_where_lag_and_error_are_one() -> None:
    y, X = data(T=1)
    W = sparse.csr_array((np.ones((8, 8)) - np.eye(8)) / 7)  # Wx lies in the span of x and the constant
    t = lag_error("none", y, X, W)
    assert np.isnan([t.robust_lag, t.robust_error, t.joint]).all()
    assert np.isfinite([t.lag, t.error]).all()


def test_quadratic_form_refuses_what_is_not_positive_definite() -> None:
    assert core.quadratic_form(np.array([1.0, 2.0]), np.diag([1.0, 4.0])) == pytest.approx(2.0)
    for bad in (
        np.diag([1.0, -1.0]),
        np.ones((2, 2)),
        np.array([[1.0, 2.0], [2.0, 1.0]]),
        np.diag([1, np.nan]),
    ):
        assert np.isnan(core.quadratic_form(np.array([1.0, 2.0]), bad))


# --- Moran


@pytest.mark.parametrize("effects", EFFECTS)
@pytest.mark.parametrize("how", ["row", "none"])
def test_residual_moran_has_the_moments_of_dense_projections(effects: str, how: str) -> None:
    y, X = data()
    W = weights(how=how)
    (T, n), big = y.shape, np.kron(np.eye(5), W.toarray())
    u, _, _, Z, sample = transformed(effects, y, X, W)
    basis = np.linalg.qr(Z.reshape(T * n, -1))[0]
    M = projector(effects, T, n) - basis @ basis.T
    d = round(np.trace(M))
    c = n / W.sum()
    A = (big + big.T) / 2
    mean = np.trace(M @ A) / d
    variance = (2 * np.trace(M @ A @ M @ A) + np.trace(M @ A) ** 2) / (d * (d + 2)) - mean**2
    m = core.residual_moran(
        u, basis.reshape(T, n, -1), W, core.weight_moments(W, sample.centred), effects, sample.periods
    )
    np.testing.assert_allclose(
        [m.expected, m.std_dev], [c * mean, c * np.sqrt(variance)], rtol=1e-8, atol=1e-12
    )
    assert pytest.approx(c * (u.ravel() @ big @ u.ravel()) / (u**2).sum(), rel=EXACT) == m.I


@pytest.mark.parametrize("effects", ["unit", "time", "two_way"])
def test_moran_of_one_period_has_nearly_the_simulated_moments(effects: str) -> None:
    y, X = data()
    W = weights()
    T, n = y.shape
    _, _, _, Z, sample = transformed(effects, y, X, W)
    basis = np.linalg.qr(Z.reshape(T * n, -1))[0]
    M = projector(effects, T, n) - basis @ basis.T
    draws = (np.random.default_rng(2).standard_normal((20000, T * n)) @ M).reshape(-1, T, n)[:, 1]
    simulated = np.einsum("ri,ri->r", draws @ W.toarray(), draws) / np.einsum("ri,ri->r", draws, draws)
    one = basis.reshape(T, n, -1)[1:2]
    share, kind = sample.periods / T, "time" if sample.centred else "none"
    m = core.residual_moran(draws[:1], one, W, core.weight_moments(W, sample.centred), kind, 1, share)
    # Monte Carlo error of the mean is 0.7 % of a standard deviation; the rest is the approximation
    assert abs(m.expected - simulated.mean()) < 0.04 * simulated.std()
    assert m.std_dev == pytest.approx(simulated.std(), rel=0.05)


def test_pesaran_cd_is_the_sum_of_correlations() -> None:
    u = np.random.default_rng(4).standard_normal((9, 6))
    r = np.corrcoef(u.T)
    dense = np.sqrt(2 * 9 / (6 * 5)) * r[np.triu_indices(6, 1)].sum()
    assert core.pesaran_cd(u) == pytest.approx(dense, rel=EXACT)
    assert core.pesaran_cd(u * np.arange(1, 7)) == pytest.approx(dense, rel=EXACT)


def test_collinearity_measures() -> None:
    X = np.random.default_rng(5).standard_normal((40, 3)) @ np.array([[1, 0.9, 0], [0, 0.3, 0], [0, 0, 1.0]])
    X = X - X.mean(axis=0)
    np.testing.assert_allclose(variance_inflation(X), np.diag(np.linalg.inv(np.corrcoef(X.T))), rtol=1e-9)
    assert condition_number(np.eye(3) * [1, 5, 1e9]) == pytest.approx(1.0)


# --- random effects


def system(effects: str, y: np.ndarray, X: np.ndarray, W: sparse.csr_array):
    """y, X and W after an explicit orthonormal basis of the period effects: F'y_t, F'X_t, F'WF."""
    n = y.shape[1]
    if effects == "none":
        return y, np.concatenate([np.ones((*y.shape, 1)), X], axis=2), W.toarray()
    values, vectors = np.linalg.eigh(np.eye(n) - 1 / n)
    F = vectors[:, values > 0.5]
    return y @ F, np.einsum("tik,ij->tjk", X, F), F.T @ W.toarray() @ F


def omega(v: np.ndarray, W: np.ndarray, T: int) -> np.ndarray:
    """Variance of the errors at (σ²_μ, λ, σ²)."""
    root = np.linalg.inv(np.eye(len(W)) - v[1] * W)
    return v[0] * np.kron(np.ones((T, T)), np.eye(len(W))) + v[2] * np.kron(np.eye(T), root @ root.T)


def dense_score_test(v: np.ndarray, u: np.ndarray, W: np.ndarray, tested: list[int], h: float = 1e-5):
    """s'ℐ⁻¹s and s√ℐ⁻¹ of the tested parameters, from numerical derivatives of Ω and the Gaussian likelihood."""
    T = u.shape[0]
    size = np.abs(v) + (v == 0)
    steps = h * np.diag(size)
    slopes = [(omega(v + s, W, T) - omega(v - s, W, T)) / (2 * s.max()) for s in steps]
    inverse = np.linalg.inv(omega(v, W, T))
    weighted = inverse @ u.ravel()
    score = np.array([(weighted @ D @ weighted - np.trace(inverse @ D)) / 2 for D in slopes])
    info = np.array([[np.trace(inverse @ A @ inverse @ B) / 2 for B in slopes] for A in slopes])
    block = np.linalg.inv(info)[np.ix_(tested, tested)]
    return score[tested] @ block @ score[tested], score[tested[0]] * np.sqrt(block[0, 0]), score


def gls(v: np.ndarray, y: np.ndarray, X: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Residuals (T, m) of generalised least squares at (σ²_μ, λ, σ²)."""
    Z, inverse = X.reshape(y.size, -1), np.linalg.inv(omega(v, W, len(y)))
    beta = np.linalg.solve(Z.T @ inverse @ Z, Z.T @ inverse @ y.ravel())
    return (y.ravel() - Z @ beta).reshape(y.shape)


def maximum(y: np.ndarray, X: np.ndarray, W: np.ndarray, free: list[int]) -> np.ndarray:
    """(σ²_μ, λ, σ²) of highest dense likelihood, those not free at zero, by a blind search."""
    T = len(y)

    def loss(values: np.ndarray) -> float:
        v = np.zeros(3)
        v[free] = values
        if v[2] <= 0 or v[0] < 0 or abs(v[1]) >= 0.95:
            return np.inf
        u = gls(v, y, X, W).ravel()
        big = omega(v, W, T)
        return np.linalg.slogdet(big)[1] / 2 + u @ np.linalg.solve(big, u) / 2

    start = np.array([0.5, 0.1, 1.0])[free]
    found = optimize.minimize(
        loss, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 5000}
    )
    v = np.zeros(3)
    v[free] = found.x
    return v


@pytest.mark.parametrize("effects", ["none", "time"])
def test_bsk_marginal_and_joint_are_score_tests(effects: str) -> None:
    y, X = data()
    W = weights()
    ys, Xs, Ws = system(effects, y, X, W)
    u = gls(np.array([0.0, 0.0, 1.0]), ys, Xs, Ws)
    v = np.array([0.0, 0.0, float((u**2).mean())])
    centre = demean(y, "time"), demean(X, "time")
    if effects == "none":
        centre = y - y.mean(), X - X.mean(axis=(0, 1))
    own = core.residuals(centre[1].reshape(y.size, -1), centre[0].ravel()).reshape(y.shape)
    mu, lam = bsk.bsk_marginal(own, spatial_lag(W, own), core.weight_moments(W, effects == "time"))
    joint, _, score = dense_score_test(v, u, Ws, [0, 1])
    assert mu**2 + lam**2 == pytest.approx(joint, rel=NUMERICAL)
    assert np.sign([mu, lam]) == pytest.approx(np.sign(score[:2]))


@pytest.mark.parametrize("effects", ["none", "time"])
def test_bsk_error_given_random_effects_is_a_score_test(effects: str) -> None:
    y, X = data()
    W = weights()
    ys, Xs, Ws = system(effects, y, X, W)
    v = maximum(ys, Xs, Ws, [0, 2])
    assert v[0] > 0.1  # the effects are there
    centre = demean(y, "time"), demean(X, "time")
    if effects == "none":
        centre = y - y.mean(), X - X.mean(axis=(0, 1))
    moments = core.weight_moments(W, effects == "time")
    found = random_effects.random_effects_ml(centre[0][None], centre[1], moments.dimension)
    u, sigma2, sigma2_one = (part[0] for part in found)
    assert [sigma2, (sigma2_one - sigma2) / 5] == pytest.approx([v[2], v[0]], rel=NUMERICAL)
    _, signed, _ = dense_score_test(v, gls(v, ys, Xs, Ws), Ws, [1])
    assert bsk.bsk_error_given_random(u, W, sigma2, sigma2_one, moments) == pytest.approx(signed, rel=1e-4)


@pytest.mark.parametrize("effects", ["none", "time"])
def test_bsk_random_effects_given_error_is_a_score_test(effects: str) -> None:
    y, X = data()
    W = weights()
    ys, Xs, Ws = system(effects, y, X, W)
    v = maximum(ys, Xs, Ws, [1, 2])
    assert abs(v[1]) > 0.02
    u = gls(v, ys, Xs, Ws)
    e = u @ (np.eye(len(Ws)) - v[1] * Ws).T
    moments = core.weight_moments(W, effects == "time")
    if effects == "time":  # back from the basis to deviations from period means: any F will do
        values, vectors = np.linalg.eigh(np.eye(8) - 1 / 8)
        e = e @ vectors[:, values > 0.5].T
    traces = filter_traces(W, make_logdet(W), 0.0, v[1], effects == "time")
    _, signed, _ = dense_score_test(v, u, Ws, [0])
    assert bsk.bsk_random_given_error(e, W, v[1], v[2], traces, moments) == pytest.approx(signed, rel=1e-4)


@pytest.mark.parametrize("period_means", [False, True], ids=["grand", "period"])
def test_mundlak_is_hausman_with_one_variance(period_means: bool) -> None:
    y, X = data(T=5, n=12)
    y, X = (demean(v, "time") if period_means else v - v.mean(axis=(0, 1)) for v in (y, X))
    varying = np.array([True, True])
    random = random_effects.swamy_arora(y, X, varying, period_means)
    fixed, cov = random_effects.within_regression(demean(y, "unit"), demean(X, "unit"), period_means)
    keep = random.keep
    Z = (X - (1 - keep) * X.mean(axis=0)).reshape(-1, 2)
    hausman = random_effects.hausman(fixed - random.beta, cov, random.sigma2 * np.linalg.inv(Z.T @ Z))
    assert random_effects.mundlak(y, X, random, varying) == pytest.approx(hausman, rel=1e-8)


def test_swamy_arora_is_what_linearmodels_gives() -> None:
    panel = pytest.importorskip("linearmodels.panel")
    y, X = data(T=5, n=12)
    index = pd.MultiIndex.from_product([range(12), range(5)])
    flat = {"y": y.T.ravel(), "a": X[:, :, 0].T.ravel(), "b": X[:, :, 1].T.ravel(), "c": 1.0}
    frame = pd.DataFrame(flat, index=index)
    other = panel.RandomEffects(frame["y"], frame[["c", "a", "b"]]).fit()
    own = random_effects.swamy_arora(y - y.mean(), X - X.mean(axis=(0, 1)), np.array([True, True]), False)
    np.testing.assert_allclose(own.beta, other.params[["a", "b"]], rtol=1e-9)
    np.testing.assert_allclose(np.sqrt(np.diag(own.cov)), other.std_errors[["a", "b"]], rtol=1e-9)


def test_half_and_half_chi_square() -> None:
    rng = np.random.default_rng(6)
    z = rng.standard_normal((200000, 2))
    draws = np.maximum(z[:, 0], 0) ** 2 + z[:, 1] ** 2
    for point in (1.0, 3.0, 5.138):  # the last is the 5 % point
        assert bsk.chi_square_bar(point) == pytest.approx((draws > point).mean(), abs=0.003)
