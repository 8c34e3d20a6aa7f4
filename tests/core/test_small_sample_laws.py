"""Laws of test statistics when there are few units: exact cases, dense traces, simulated moments."""

from __future__ import annotations

import numpy as np
import pytest
from array_examples import data, weights
from scipy import stats

from spatial_zb.core.likelihood import tests as core
from spatial_zb.core.logdet import make_logdet
from spatial_zb.core.logdet.traces import filter_traces
from spatial_zb.core.random import tests as bsk
from spatial_zb.core.random import tests as random
from spatial_zb.core.random.tests import CentredLogDet, centred_weights, period_basis, rotated
from spatial_zb.core.transforms import demean

EXACT = 1e-9


@pytest.mark.parametrize(("tested", "left"), [(1, 40), (10, 99), (40, 399), (19, 90)])
def test_bartlett_gives_the_exact_p_value_of_many_dummies(tested: int, left: int) -> None:
    """In a normal regression LR is a function of F, whose law is exact; χ² of LR itself is far from it."""
    N = tested + left + 3
    for p in (0.01, 0.05, 0.2):
        ratio = N * np.log1p(tested / left * stats.f.isf(p, tested, left))
        assert core.likelihood_ratio_p_value(ratio, tested, N, left) == pytest.approx(p, rel=0.05)
    if tested > 1:
        ratio = N * np.log1p(tested / left * stats.f.isf(0.05, tested, left))
        assert stats.chi2.sf(ratio, tested) < 0.035


def test_wald_of_a_regression_has_the_p_value_of_its_f_test() -> None:
    rng = np.random.default_rng(2)
    Z, y = rng.standard_normal((30, 4)), rng.standard_normal(30)
    beta, *_ = np.linalg.lstsq(Z, y, rcond=None)
    ssr, smaller = core.sum_of_squares(Z, y), core.sum_of_squares(Z[:, :2], y)
    V = ssr / 30 * np.linalg.inv(Z.T @ Z)  # as maximum likelihood has it
    wald = core.quadratic_form(beta[2:], V[2:, 2:])
    F = (smaller - ssr) / 2 / (ssr / 26)
    assert core.wald_p_value(wald, 2, 30, 26) == pytest.approx(stats.f.sf(F, 2, 26), rel=EXACT)


def basis_of(X: np.ndarray, constant: bool) -> np.ndarray:
    if constant:
        X = np.concatenate([X, np.ones((*X.shape[:2], 1))], axis=2)
    return np.linalg.qr(X.reshape(-1, X.shape[2]))[0].reshape(X.shape)


def test_the_share_of_unit_sums_is_exact_without_regressors() -> None:
    """Then it is an increasing function of the F test of unit effects, intercept apart."""
    rng = np.random.default_rng(4)
    u = demean(rng.standard_normal((6, 9)), "time")
    share = float((u.sum(axis=0) ** 2).sum() / (u**2).sum()) / 6
    F = share / 8 / ((1 - share) / 40)
    p = bsk.unit_share_p_value(u, np.zeros((6, 9, 0)), 8)
    assert p == pytest.approx(stats.f.sf(F, 8, 40), rel=EXACT)
    z = (share - stats.beta.mean(4, 20)) / stats.beta.std(4, 20)
    assert bsk.unit_share_tail(z, 8, 6) == pytest.approx(p, rel=EXACT)


@pytest.mark.parametrize("period_means", [False, True], ids=["grand", "period"])
def test_moments_of_the_share_are_those_of_dense_matrices(period_means: bool) -> None:
    T, n = 5, 8
    X = data(T, n)[1]
    X = demean(X, "time") if period_means else X
    P = basis_of(X, not period_means)
    Q = np.kron(np.eye(T), np.eye(n) - period_means / n)
    flat = P.reshape(T * n, -1)
    M = Q - flat @ flat.T
    MD = M @ np.kron(np.ones((T, T)), np.eye(n))
    N, first, second = np.trace(M), np.trace(MD), np.trace(MD @ MD)
    mean, variance = first / N / T, 2 * (N * second - first**2) / (N**2 * (N + 2)) / T**2
    u = (M @ np.random.default_rng(3).standard_normal(T * n)).reshape(T, n)
    share = float((u.sum(axis=0) ** 2).sum() / (u**2).sum()) / T
    size = mean * (1 - mean) / variance - 1
    expected = stats.beta.sf(share, mean * size, (1 - mean) * size)
    assert bsk.unit_share_p_value(u, P, n - period_means) == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize("period_means", [False, True], ids=["grand", "period"])
def test_random_given_error_is_centred_at_its_mean_given_lambda(period_means: bool) -> None:
    """The p-value at z + mean is the tail of the law at z; the mean by dense matrices."""
    T, n, lam = 5, 8, 0.3
    W = weights(n)
    X = data(T, n)[1]
    B = np.eye(n) - lam * W.toarray()
    J = np.eye(n) - period_means / n
    columns = np.einsum("ij,tjk->tik", J @ B, X)
    P = basis_of(columns, not period_means)
    flat = P.reshape(T * n, -1)
    M = np.kron(np.eye(T), J) - flat @ flat.T
    BB = J @ B @ B.T @ J
    D = np.kron(np.ones((T, T)), BB)
    moments = core.weight_moments(W, period_means)
    traces = filter_traces(W, make_logdet(W), 0.0, lam, period_means)
    # The score at σ² = 1 of residuals ε̂ = Mε scaled to σ̂² = 1, in its own standard deviation.
    e = (M @ np.random.default_rng(1).standard_normal(T * n)).reshape(T, n)
    e *= np.sqrt(moments.dimension * T / (e**2).sum())
    value = bsk.bsk_random_given_error(e, W, lam, 1.0, traces, moments)
    score = (e.ravel() @ D @ e.ravel() - T * np.trace(BB)) / 2
    deviation = score / value
    mean = (moments.dimension * T * np.trace(M @ D) / np.trace(M) - T * np.trace(BB)) / 2
    units = np.trace(BB) ** 2 / np.trace(BB @ BB)
    p = bsk.random_given_error_p_value(value, P, W, lam, traces, moments)
    assert p == pytest.approx(bsk.unit_share_tail(value - mean / deviation, units, T), rel=1e-8)


@pytest.mark.parametrize("period_means", [False, True], ids=["grand", "period"])
def test_hausman_with_one_variance_is_mundlak_over_it(period_means: bool) -> None:
    y, X = data(T=5, n=12)
    y, X = (demean(v, "time") if period_means else v - v.mean(axis=(0, 1)) for v in (y, X))
    varying = np.array([True, True])
    gls = random.swamy_arora(y, X, varying, period_means)
    fixed, cov = random.within_regression(demean(y, "unit"), demean(X, "unit"), period_means)
    one = random.hausman(fixed - gls.beta, cov * gls.variance / gls.sigma2, gls.cov)
    assert one == pytest.approx(random.mundlak(y, X, gls, varying) * gls.sigma2 / gls.variance, rel=1e-8)


# --- period effects transformed away


def test_the_rotation_keeps_the_model() -> None:
    n = 8
    W, F = weights(n), period_basis(n)
    np.testing.assert_allclose(F.T @ F, np.eye(n - 1), atol=1e-12)
    np.testing.assert_allclose(F.sum(axis=0), 0, atol=1e-12)
    own = centred_weights(W, F)
    np.testing.assert_allclose(F.T @ W.toarray(), own.toarray() @ F.T, atol=1e-12)
    y, X = data(4, n)
    np.testing.assert_allclose(rotated(y, F), np.array([F.T @ row for row in y]), atol=1e-12)
    np.testing.assert_allclose(rotated(X, F)[2, :, 1], F.T @ X[2, :, 1], atol=1e-12)
    np.testing.assert_allclose(rotated(y + np.arange(4.0)[:, None], F), rotated(y, F), atol=1e-12)
    logdet = CentredLogDet(make_logdet(W))
    for rho in (-0.4, 0.3, 0.8):
        dense = np.linalg.slogdet(np.eye(n - 1) - rho * own.toarray())[1]
        assert logdet.value(rho) == pytest.approx(dense, rel=1e-9)
        step = 1e-6
        slope = (logdet.value(rho + step) - logdet.value(rho - step)) / (2 * step)
        assert logdet.first(rho) == pytest.approx(slope, rel=1e-6)
    assert logdet.interval == make_logdet(W).interval
