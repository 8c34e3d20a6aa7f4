"""What residuals say of errors: against loops over dense projections, numbers of real data, identities, sizes, power."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from array_examples import weights
from scipy import linalg, sparse, stats

from spatial_zb.core.likelihood import errors as core
from spatial_zb.core.likelihood import tests
from spatial_zb.core.transforms import demean
from spatial_zb.core.unit_rows import RowErrors

EFFECTS = ["none", "unit", "time", "two_way"]
#: Both sides are the same closed form up to rounding.
EXACT = 1e-9
#: The coefficient is read between grid points 0.04 apart.
GRID_ERROR = 2e-3
T, N, K = 6, 9, 3


def projector(effects: str, T: int, n: int) -> np.ndarray:
    A = np.eye(T) - 1 / T if effects in ("unit", "two_way") else np.eye(T)
    J = np.eye(n) - 1 / n if effects in ("time", "two_way") else np.eye(n)
    return np.kron(A, J)


def example(effects: str, seed: int = 0, T: int = T, n: int = N):
    """Errors of one sample, and the dense M (Tn, Tn) that leaves them."""
    rng = np.random.default_rng(seed)
    Q = projector(effects, T, n)
    X = demean(rng.standard_normal((T, n, K)), effects)
    derivative = demean(rng.standard_normal((T, n)), effects)
    basis = np.linalg.qr(X.reshape(T * n, K))[0]
    both = linalg.orth(np.column_stack([basis, derivative.ravel()]))
    M = Q - both @ both.T
    e = (M @ rng.standard_normal(T * n)).reshape(T, n)
    return core.errors_of(e, basis.reshape(T, n, K), derivative, effects), M.reshape(T, n, T, n)


@pytest.mark.parametrize("effects", EFFECTS)
def test_forms_are_traces_of_dense_blocks_unit_by_unit(effects: str) -> None:
    errors, M = example(effects)
    for Q in (core.lag_form(T, errors.within), core.crossing_form(T), np.eye(T)):
        values, traces = errors.form(Q)
        for i in range(N):
            e = errors.e[:, i]
            assert values[i] == pytest.approx(sum(e[t] * Q[t, s] * e[s] for t in range(T) for s in range(T)))
            assert traces[i] == pytest.approx(np.trace(Q @ M[:, i, :, i]), abs=EXACT)
    np.testing.assert_allclose(errors.squares, errors.form(np.eye(T)), rtol=EXACT)


@pytest.mark.parametrize("effects", EFFECTS)
def test_serial_correlation_is_the_sum_of_units_over_its_spread(effects: str) -> None:
    errors, M = example(effects)
    z = []
    for i in range(N):
        e, block = errors.e[:, i], M[:, i, :, i]
        product = sum(e[t] * e[t - 1] for t in range(1, T))
        expected = sum(block[t, t - 1] for t in range(1, T))
        if errors.within:
            product += sum(e[t] ** 2 for t in range(T - 1)) / (T - 1)
            expected += sum(block[t, t] for t in range(T - 1)) / (T - 1)
        z.append(product - e @ e * expected / np.trace(block))
    t = sum(z) / np.sqrt(N / (N - 1) * sum((one - np.mean(z)) ** 2 for one in z))
    assert core.serial_correlation(errors, core.lag_form(T, errors.within)) == pytest.approx(t)


def test_forward_and_backward_share_no_error() -> None:
    Q, e = core.crossing_form(7), np.random.default_rng(1).standard_normal(7)
    value = sum((e[t] - e[t:].mean()) * (e[t - 1] - e[:t].mean()) for t in range(2, 6))
    assert e @ Q @ e == pytest.approx(value)
    np.testing.assert_allclose(np.diag(Q), 0, atol=EXACT)  # mean zero whatever the variances
    np.testing.assert_allclose(Q.sum(axis=1), 0, atol=EXACT)  # and the mean of the unit


def with_correlation(r: float) -> np.ndarray:
    """(T, n) with Σ e_te_{t−1} / Σ e² = r: a unit that stands still and one that alternates."""
    share = (r * T / (T - 1) + 1) / 2
    e = np.zeros((T, N))
    e[:, 0], e[:, 1] = np.sqrt(share), np.sqrt(1 - share) * (-1.0) ** np.arange(T)
    return e


@pytest.mark.parametrize("effects", EFFECTS)
def test_autocorrelation_undoes_what_dense_projection_takes_out(effects: str) -> None:
    errors, M = example(effects)
    flat = M.reshape(T * N, T * N)
    for a in (-0.4, 0.0, 0.5, 0.9):
        spread = flat @ np.kron(linalg.toeplitz(a ** np.arange(T)), np.eye(N)) @ flat.T
        mean = sum(spread.reshape(T, N, T, N)[:, i, :, i] for i in range(N))
        r = sum(mean[t, t - 1] for t in range(1, T)) / np.trace(mean)
        seen = core.Errors(with_correlation(r), errors.shared, errors.own, effects)
        assert core.autocorrelation(seen) == pytest.approx(a, abs=GRID_ERROR), a


@pytest.mark.parametrize("centred", [False, True])
def test_own_feedback_is_the_diagonal_of_the_dense_inverse(centred: bool, monkeypatch) -> None:
    W = weights(20)
    J = np.eye(20) - 1 / 20 if centred else np.eye(20)
    for rho in (0.0, 0.4, -0.3):
        dense = np.diag(J @ W.toarray() @ np.linalg.inv(np.eye(20) - rho * W.toarray()))
        np.testing.assert_allclose(core.own_feedback(W, rho, centred), dense, atol=EXACT)
        with monkeypatch.context() as large:  # by six powers of W
            large.setattr(core, "DENSE_SOLVE", 0)
            np.testing.assert_allclose(
                core.own_feedback(W, rho, centred), dense, atol=max(abs(rho) ** 6, EXACT)
            )
            places = core.places(W, centred)
        np.testing.assert_allclose(core.places(W, centred), places, atol=EXACT)
    own = np.diag(W.toarray() @ W.toarray())
    np.testing.assert_allclose(places[:, 0], own - own.mean(), atol=EXACT)
    assert places.shape[1] == 1 + centred


def test_a_w_that_treats_units_alike_has_no_places() -> None:
    ring = sparse.csr_array((np.roll(np.eye(8), 1, 1) + np.roll(np.eye(8), -1, 1)) / 2)
    assert core.places(ring, True).shape == (8, 0)


def test_tied_variances_and_place_are_regressions() -> None:
    rng = np.random.default_rng(5)
    q, k = rng.chisquare(4, 30), rng.standard_normal(30)
    line = stats.linregress(k, q)
    assert core.tied_variances(q, k) == pytest.approx(line.slope / line.stderr)
    assert core.t_p_value(core.tied_variances(q, k), 28) == pytest.approx(line.pvalue)
    columns = rng.standard_normal((30, 2))
    columns -= columns.mean(axis=0)
    X = np.column_stack([np.ones(30), columns])
    off = np.cbrt(q) - X @ np.linalg.lstsq(X, np.cbrt(q), rcond=None)[0]
    total = ((np.cbrt(q) - np.cbrt(q).mean()) ** 2).sum()
    F = (total - off @ off) / 2 / (off @ off / 27)
    assert core.variances_by_place(q, columns) == pytest.approx(F)
    assert core.f_p_value(F, 2, 27) == pytest.approx(stats.f.sf(F, 2, 27))
    one = columns[:, :1]
    assert core.variances_by_place(q, one) == pytest.approx(core.tied_variances(np.cbrt(q), one[:, 0]) ** 2)


def test_squared_correlations_and_their_draws_are_those_of_loops() -> None:
    errors, M = example("two_way")
    e = errors.e
    pairs = [(i, j) for i in range(N) for j in range(N) if i != j]
    loops = sum((e[:, i] @ e[:, j]) ** 2 / (e[:, i] @ e[:, i] * (e[:, j] @ e[:, j])) for i, j in pairs)
    assert core.squared_correlations(e) == pytest.approx(loops)
    assert core.squared_correlations(np.stack([e, 3 * e])) == pytest.approx(np.full(2, loops))
    drawn = np.concatenate(list(core.independent_draws(errors, 0.5, np.random.default_rng(0), 4000)))
    flat = drawn.reshape(len(drawn), -1)
    np.testing.assert_allclose(flat @ M.reshape(T * N, T * N), flat, atol=1e-8)  # where residuals live
    size = np.sqrt((e * e).sum(axis=0))
    assert (core.period_sizes(errors) == 1).all()
    root = np.kron(linalg.cholesky(linalg.toeplitz(0.5 ** np.arange(T)), lower=True), np.diag(size))
    expected = M.reshape(T * N, T * N) @ root
    np.testing.assert_allclose(np.cov(flat.T), expected @ expected.T, atol=0.12 * size.max() ** 2)


def test_periods_of_large_errors_are_no_dependence() -> None:
    rng, v = np.random.default_rng(4), np.array([0.5, 1.0, 1.0, 2.0, 1.0, 1.0])
    u = demean(rng.standard_normal((T, 4000)) * v[:, None], "two_way")
    errors = core.Errors(u, np.zeros((T, 4000, 0)), np.zeros_like(u), "two_way")
    np.testing.assert_allclose(core.period_sizes(errors), v / np.sqrt((v**2).mean()), atol=0.05)
    assert core.dependence(errors, 0.0, rng, 39)[2] > 0.05


def test_lasting_differences_between_units_are_no_dependence_between_them() -> None:
    errors, _ = example("time")
    found = core.within(errors)
    np.testing.assert_allclose(found.e.sum(axis=0), 0, atol=EXACT)
    gram = found.shared.reshape(-1, found.shared.shape[2])
    np.testing.assert_allclose(gram.T @ gram, np.eye(gram.shape[1]), atol=EXACT)
    assert found.effects == "two_way"
    assert core.within(found) is found


def test_many_samples_are_one_at_a_time() -> None:
    one, two = (example("two_way", seed)[0] for seed in (0, 1))
    both = core.Errors(np.stack([one.e, two.e]), one.shared, np.stack([one.own, two.own]), "two_way")
    Q = core.lag_form(T, True)
    second = core.Errors(two.e, one.shared, two.own, "two_way")
    each = [core.serial_correlation(x, Q) for x in (one, second)]
    np.testing.assert_allclose(core.serial_correlation(both, Q), each, rtol=EXACT)
    np.testing.assert_allclose(both.variances, [one.variances, second.variances], rtol=EXACT)


def test_cross_section_statistics_are_those_of_spreg_and_of_loops() -> None:
    """Columbus; spreg 1.9.0 puts the squares of the regressors in place of them."""
    data = pd.read_csv(Path(__file__).parents[1] / "reference" / "columbus" / "data.csv")
    X = data[["INC", "HOVAL"]].to_numpy()
    Z = np.column_stack([np.ones(49), X])
    e = data["CRIME"].to_numpy()
    e = e - Z @ np.linalg.lstsq(Z, e, rcond=None)[0]
    np.testing.assert_allclose(
        tests.heteroskedasticity(e, X**2), [7.900441675960215, 5.694087931707428], rtol=EXACT
    )
    assert tests.normality(e) == pytest.approx(1.8357525200757145, rel=EXACT)
    bp, kb = tests.heteroskedasticity(e, Z)
    g = e**2 / (e @ e / 49)
    fitted = Z @ np.linalg.lstsq(Z, g, rcond=None)[0]
    assert bp == pytest.approx(((fitted - 1) ** 2).sum() / 2)
    assert kb == pytest.approx(49 * ((fitted - 1) ** 2).sum() / ((g - 1) ** 2).sum())


# --- small simulations; the others in docs/validation/errors.csv


def autoregressive(a: float, T: int, n: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    u = rng.standard_normal((draws, T, n))
    u[:, 1:] *= np.sqrt(1 - a * a)
    for t in range(1, T):
        u[:, t] += a * u[:, t - 1]
    return u


def residuals_of(u: np.ndarray, rng: np.random.Generator) -> core.Errors:
    """Two-way residuals of many samples on two slow regressors."""
    _, T, n = u.shape
    X = demean(autoregressive(0.7, T, n, 2, rng).transpose(1, 2, 0), "two_way")
    basis = np.linalg.qr(X.reshape(T * n, 2))[0]
    off = u - u.mean(axis=1, keepdims=True)
    flat = (off - off.mean(axis=2, keepdims=True)).reshape(len(u), -1)
    e = (flat - (flat @ basis) @ basis.T).reshape(u.shape)
    return core.errors_of(e, basis.reshape(T, n, 2), np.zeros_like(e), "two_way")


def test_serial_correlation_keeps_its_level_and_has_power() -> None:
    rng = np.random.default_rng(7)
    for a, low, high in ((0.0, 0.02, 0.09), (0.3, 0.95, 1.0)):
        u = autoregressive(a, 13, 41, 400, rng) * np.exp(0.5 * rng.standard_normal(41))
        t = core.serial_correlation(residuals_of(u, rng), core.lag_form(13, True))
        assert low <= (core.t_p_value(t, 40) < 0.05).mean() <= high, a


def test_dependence_keeps_its_level_under_slow_errors_and_sees_a_factor() -> None:
    rng = np.random.default_rng(8)
    rejects = []
    for loading in (0.0, 1.0):
        u = autoregressive(0.6, 13, 20, 60, rng)
        u = u + loading * rng.standard_normal((60, 13, 1)) * rng.standard_normal(20)
        many = residuals_of(u, rng)
        p = []
        for e in many.e:
            one = core.Errors(e, many.shared, np.zeros_like(e), "two_way")
            p.append(core.dependence(one, core.autocorrelation(one), rng, 99)[2])
        rejects.append(np.mean(np.array(p) <= 0.05))
    assert rejects[0] <= 0.13  # three binomial errors above 5 %
    assert rejects[1] >= 0.6


@pytest.mark.parametrize("shared", [2, 6])
def test_overlaps_of_uneven_units_by_loops(shared: int) -> None:
    """Σ of squares of M_ij, whether units or the columns that they share are the more."""
    r, n, rows = np.random.default_rng(4), 21, 4
    Q, A = r.normal(size=(n, rows, shared)), np.stack([np.eye(rows)] * n)
    when = np.tile(np.arange(rows), (n, 1))
    errors = RowErrors(r.normal(size=(n, rows)), when, A, Q, rows, False, np.arange(n))
    slow = [[((A[i] * (i == j) - Q[i] @ Q[j].T) ** 2).sum() for j in range(n)] for i in range(n)]
    np.testing.assert_allclose(errors.overlaps(), slow, rtol=1e-12)
