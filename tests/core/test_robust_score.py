"""The robust score against dense matrices of all n·T rows, its derivative, and what its form promises."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pytest
from scipy import optimize, sparse

from spatial_zb.core.likelihood import score as kernel
from spatial_zb.core.likelihood.error_score import (
    ErrorSample,
    ErrorScore,
    error_at_root,
    error_covariance,
    error_point,
)
from spatial_zb.core.likelihood.score import (
    ROBUST_FORMS,
    Filters,
    ScoreSample,
    at_root,
    blocks_of,
    period_basis,
    robust_score,
    score_covariance,
    score_roots,
)
from spatial_zb.core.transforms import column_basis, demean

N, T, K = 7, 4, 2
RHO = 0.35
EXACT = 1e-12  # algebra done in two ways
SOLVED = 1e-8  # conjugate gradients end at 1e-11 of their right side
SLOPED = 1e-6  # a central difference
EFFECTS = ("none", "unit", "time", "two_way")


class Dense:
    """All n·T rows, periods first; K is solved for as one linear system of its entries."""

    def __init__(self, effects: str) -> None:
        rng = np.random.default_rng(3)
        W = rng.random((N, N)) * (rng.random((N, N)) < 0.6) + 0.01
        np.fill_diagonal(W, 0.0)
        self.W = W / W.sum(axis=1, keepdims=True)
        self.effects = effects
        x = rng.standard_normal((T, N, K)).cumsum(axis=0)
        raw = np.concatenate([x, np.ones((T, N, 1))], axis=2) if effects == "none" else x
        y = np.linalg.solve(np.eye(N) - RHO * self.W, (x.sum(axis=2) + rng.standard_normal((T, N))).T).T
        self.shape = (T, N)
        within, centred = effects in ("unit", "two_way"), effects in ("time", "two_way")
        A, J = np.eye(T) - within / T, np.eye(N) - centred / N
        self.Z, self.y, self.Wy = (demean(v, effects) for v in (raw, y, y @ self.W.T))
        flat = self.Z.reshape(T * N, -1)
        self.M = np.kron(A, J) - flat @ np.linalg.solve(flat.T @ flat, flat.T)
        self.ey, self.ew = self.M @ self.y.ravel(), self.M @ self.Wy.ravel()
        self.within, self.centred = within, centred

    def sample(self) -> ScoreSample:
        F = period_basis(T, self.within)
        Q = column_basis(self.Z.reshape(T * N, -1)).Q.reshape(T, N, -1)
        return ScoreSample(
            self.ey.reshape(T, N).T @ F,
            self.ew.reshape(T, N).T @ F,
            np.einsum("tnk,ts->nsk", Q, F),
            self.centred,
            sparse.csr_array(self.W),
        )

    def G(self, rho: float) -> np.ndarray:
        return np.kron(np.eye(T), self.W @ np.linalg.inv(np.eye(N) - rho * self.W))

    @cached_property
    def bases(self) -> list[np.ndarray]:
        """Symmetric matrices of the periods of one unit, which span the blocks that K may have."""
        F, out = period_basis(T, self.within), []
        for i in range(N):
            for s in range(F.shape[1]):
                for t in range(s + 1):
                    block = np.outer(F[:, s], F[:, t])
                    out.append(np.kron(block + block.T, np.outer(np.eye(N)[i], np.eye(N)[i])))
        return out

    def K(self, rho: float) -> np.ndarray:
        """K whose own blocks of MKM are those of the symmetric part of MG, by least squares."""
        G, M, parts = self.G(rho), self.M, self.bases
        own = [np.arange(T) * N + i for i in range(N)]
        blocks = lambda A: np.concatenate([(A + A.T)[np.ix_(r, r)].ravel() / 2 for r in own])  # noqa: E731
        system = np.stack([blocks(M @ part @ M) for part in parts], axis=1)
        found = np.linalg.lstsq(system, blocks(M @ G), rcond=None)[0]
        return sum(c * part for c, part in zip(found, parts, strict=True))

    def psi(self, rho: float) -> float:
        e = self.ey - rho * self.ew
        return float(self.ew @ e - e @ self.K(rho) @ e)


@pytest.fixture(scope="module", params=EFFECTS)
def dense(request) -> Dense:
    return Dense(request.param)


@pytest.fixture(scope="module")
def score(dense):
    return robust_score(dense.sample(), "block")


def score_blocks(score, rho: float) -> np.ndarray | None:
    sample, filters = score.sample, score.filters
    U = sample.seen(score.form)
    own = filters.diagonal(rho) - sample.share * filters.moved(rho, np.ones((N, 1)))[:, 0]
    return blocks_of(sample, score.form, own, filters.moved(rho, U))


def whole(dense: Dense, blocks: np.ndarray) -> np.ndarray:
    """Blocks by unit as a matrix of all rows."""
    F = period_basis(T, dense.within)
    return sum(np.kron(F @ K @ F.T, np.outer(e, e)) for K, e in zip(blocks, np.eye(N), strict=True))


def test_score_and_root_by_dense_matrices(dense, score):
    for rho in (-0.4, 0.0, 0.3, 0.8):
        assert score.value(rho) == pytest.approx(dense.psi(rho), abs=SOLVED * abs(dense.ew @ dense.ew))
    found = score_roots(score, (-0.9, 0.95)).found
    near = optimize.brentq(dense.psi, found[0] - 0.05, found[0] + 0.05, xtol=1e-13)
    assert found == pytest.approx([near], abs=SOLVED)


@pytest.mark.parametrize("form", ROBUST_FORMS)
def test_mean_is_zero_for_any_variances_and_correlation_within_units(dense, form):
    """``"scalar"`` for variances by unit, ``"bare"`` where there are no regressors, ``"block"`` for any Ω by unit."""
    sample = dense.sample()
    M, rng = dense.M, np.random.default_rng(5)
    if form == "bare":
        sample = ScoreSample(sample.y, sample.Wy, sample.rows[:, :, :0], sample.centred, sample.matrix)
        within, centred = np.eye(T) - dense.within / T, np.eye(N) - dense.centred / N
        M = np.kron(within, centred)
    K = whole(dense, score_blocks(robust_score(sample, form), RHO))
    form_of_errors = M @ dense.G(RHO) - M @ K @ M
    for _ in range(3):
        omega = np.zeros((T * N, T * N))
        for i in range(N):
            root = rng.standard_normal((T, T)) * np.exp(rng.standard_normal())
            own = root @ root.T if form != "scalar" else np.eye(T) * rng.exponential()
            omega[np.ix_(np.arange(T) * N + i, np.arange(T) * N + i)] = own
        assert np.trace(form_of_errors @ omega) == pytest.approx(0.0, abs=20 * EXACT * np.trace(omega))


def test_slope_is_the_derivative_and_pairs_are_their_sum(dense, score):
    e, step = dense.ey - RHO * dense.ew, 1e-5
    found = at_root(score, RHO)
    assert found.slope == pytest.approx(
        (score.value(RHO - step) - score.value(RHO + step)) / (2 * step), rel=SLOPED
    )
    form = dense.M @ dense.G(RHO) - dense.M @ dense.K(RHO) @ dense.M
    form, total = (form + form.T) / 2, 0.0
    for i in range(N):
        for j in range(N):
            rows, columns = np.arange(T) * N + i, np.arange(T) * N + j
            total += 2 * (i != j) * (e[rows] @ form[np.ix_(rows, columns)] @ e[columns]) ** 2
    assert found.pairs == pytest.approx(total, rel=SOLVED)


def test_covariance_by_loops_over_units(dense, score):
    sample, found = dense.sample(), at_root(score, RHO)
    Z, e = dense.Z.reshape(T * N, -1), dense.ey - RHO * dense.ew
    delta = np.linalg.lstsq(Z, dense.y.ravel() - RHO * dense.Wy.ravel(), rcond=None)[0]
    mean = demean((dense.G(RHO) @ Z @ delta).reshape(T, N), dense.effects).ravel()
    k, factor = Z.shape[1], N / (N - 1)
    inverse = np.zeros((k + 1, k + 1))  # of the Jacobian
    inverse[:k, :k] = np.linalg.inv(Z.T @ Z)
    inverse[:k, k] = -inverse[:k, :k] @ Z.T @ dense.Wy.ravel() / found.slope
    inverse[k, k] = 1 / found.slope
    meat = np.zeros((k + 1, k + 1))
    for i in range(N):
        rows = np.arange(T) * N + i
        own = np.append(Z[rows].T @ e[rows], (dense.M @ mean)[rows] @ e[rows])
        meat += factor * np.outer(own, own)
    meat[k, k] += factor**2 * found.pairs
    basis, F = column_basis(Z), period_basis(T, dense.within)
    back = np.linalg.inv(basis.R) / basis.scale[:, None]
    cov = score_covariance(
        sample,
        found,
        mean.reshape(T, N).T @ F,
        sample.y - RHO * sample.Wy,
        np.column_stack([inverse[:k, :k] @ Z.T @ dense.Wy.ravel(), back]),
        factor,
    )
    np.testing.assert_allclose(cov, inverse @ meat @ inverse.T, rtol=SOLVED, atol=EXACT)


def test_sparse_filters_give_what_dense_ones_do(dense, score, monkeypatch):
    monkeypatch.setattr(kernel, "DENSE_FILTER", 0)
    sparse_score = robust_score(dense.sample(), "block")
    assert sparse_score.filters.dense is None
    grid = np.array([-0.5, 0.0, 0.6])
    np.testing.assert_allclose(sparse_score.values(grid), score.values(grid), rtol=SOLVED)
    one, other = at_root(score, RHO), at_root(sparse_score, RHO)
    assert (other.slope, other.pairs) == pytest.approx((one.slope, one.pairs), rel=SOLVED)


def test_order_of_units_and_scale_of_data_do_not_matter(dense, score):
    sample, order = dense.sample(), np.random.default_rng(0).permutation(N)
    moved = ScoreSample(
        1e6 * sample.y[order],
        1e6 * sample.Wy[order],
        sample.rows[order],
        sample.centred,
        sparse.csr_array(dense.W[np.ix_(order, order)]),
    )
    bounds = (-0.9, 0.95)
    expected = score_roots(score, bounds).found
    assert score_roots(robust_score(moved, "block"), bounds).found == pytest.approx(expected, abs=SOLVED)


class Curve:
    """A score of a given shape."""

    def __init__(self, shape) -> None:
        self.value, self.values = shape, shape
        self.filters = type("Filters", (), {"dense": 1})


def test_every_fall_through_zero_is_found():
    twice = Curve(lambda r: -(r - 0.2) * ((r + 0.1) ** 2 - 1e-6))  # two roots between the points of the scan
    assert score_roots(twice, (-0.99, 0.99)).found == pytest.approx([-0.101, 0.2], abs=1e-9)
    falling = score_roots(Curve(lambda r: -1.0 + 0 * r), (-0.99, 0.99))
    assert (falling.found, falling.end) == ((), -0.99)
    assert score_roots(Curve(lambda r: 1.0 + 0 * r), (-0.99, 0.99)).end == 0.99


def test_a_regressor_of_one_unit_in_one_period_leaves_the_simpler_form():
    """Its row of M is zero, and with it that of MKM, but not the row of the symmetric part of MG."""
    dense = Dense("two_way")
    one = np.zeros((T, N, 1))
    one[0, 0] = 1.0
    Z = np.concatenate([dense.Z, demean(one, "two_way")], axis=2)
    Q, F = column_basis(Z.reshape(T * N, -1)).Q, period_basis(T, True)
    off = [(v.ravel() - Q @ (Q.T @ v.ravel())).reshape(T, N).T @ F for v in (dense.y, dense.Wy)]
    rows = np.einsum("tnk,ts->nsk", Q.reshape(T, N, -1), F)
    sample = ScoreSample(*off, rows, True, sparse.csr_array(dense.W))
    assert score_blocks(robust_score(sample, "block"), RHO) is None
    assert at_root(robust_score(sample, "scalar"), RHO).slope > 0


# --- λ

LAM = 0.3


@pytest.fixture(scope="module")
def error_score(dense) -> ErrorScore:
    F = period_basis(T, dense.within)
    lag = lambda values: demean(np.einsum("ij,tj...->ti...", dense.W, values), dense.effects)  # noqa: E731
    parts = (
        np.moveaxis(np.tensordot(F, v, (0, 0)), 0, 1) for v in (dense.y, dense.Wy, dense.Z, lag(dense.Z))
    )
    return ErrorScore(ErrorSample(*parts, dense.centred, Filters(sparse.csr_array(dense.W))), "block")


def at_lambda(dense: Dense, lam: float) -> tuple[np.ndarray, ...]:
    """M, the matrix of the quadratic form MHM − MKM, residuals, δ̂ and filtered regressors, all n·T rows."""
    lag = np.kron(np.eye(T), dense.W)
    B, H = np.eye(T * N) - lam * lag, dense.G(lam)
    off = np.kron(np.eye(T) - dense.within / T, np.eye(N) - dense.centred / N)
    Z = off @ B @ dense.Z.reshape(T * N, -1)
    y = dense.y.ravel() - lam * dense.Wy.ravel()
    M = off - Z @ np.linalg.solve(Z.T @ Z, Z.T)
    own = [np.arange(T) * N + i for i in range(N)]
    blocks = lambda A: np.concatenate([(A + A.T)[np.ix_(r, r)].ravel() / 2 for r in own])  # noqa: E731
    system = np.stack([blocks(M @ part @ M) for part in dense.bases], axis=1)
    found = np.linalg.lstsq(system, blocks(M @ H @ M), rcond=None)[0]
    K = sum(c * part for c, part in zip(found, dense.bases, strict=True))
    return M @ H @ M - M @ K @ M, M @ y, np.linalg.lstsq(Z, y, rcond=None)[0], Z


def test_error_score_by_dense_matrices(dense, error_score):
    for lam in (-0.4, 0.0, LAM, 0.7):
        form, e, delta, _ = at_lambda(dense, lam)
        point = error_point(error_score, lam)
        assert point.value == pytest.approx(e @ form @ e, abs=SOLVED * (e @ e))
        np.testing.assert_allclose(point.delta, delta, rtol=SOLVED, atol=SOLVED)
    own = [np.arange(T) * N + i for i in range(N)]
    largest = max(np.abs((form + form.T)[np.ix_(rows, rows)]).max() for rows in own)
    assert largest < 20 * EXACT  # zero mean for any Ω that is block-diagonal by unit


def test_error_covariance_by_loops(dense, error_score):
    form, e, _, Z = at_lambda(dense, LAM)
    form, total = (form + form.T) / 2, 0.0
    own = [np.arange(T) * N + i for i in range(N)]
    for i in range(N):
        for j in range(N):
            total += 2 * (i != j) * (e[own[i]] @ form[np.ix_(own[i], own[j])] @ e[own[j]]) ** 2
    known, shift = error_at_root(error_score, LAM)
    step = 1e-5
    sides = [at_lambda(dense, LAM + s) for s in (-step, step)]
    slope = (sides[0][1] @ sides[0][0] @ sides[0][1] - sides[1][1] @ sides[1][0] @ sides[1][1]) / (2 * step)
    assert (known.slope, known.pairs) == pytest.approx((slope, total), rel=SLOPED)
    np.testing.assert_allclose(shift, (sides[1][2] - sides[0][2]) / (2 * step), rtol=SLOPED, atol=SLOPED)
    inverse, factor = np.linalg.inv(Z.T @ Z), N / (N - 1)
    expected = factor * sum(
        inverse @ np.outer(Z[r].T @ e[r], Z[r].T @ e[r]) @ inverse for r in own
    ) + factor**2 * known.pairs / known.slope**2 * np.outer(shift, shift)
    point = error_point(error_score, LAM)
    cov = error_covariance(point, known, shift, point.sample.y, factor)
    np.testing.assert_allclose(cov[:-1, :-1], expected, rtol=SOLVED, atol=EXACT)
    assert cov[-1, -1] == pytest.approx(factor**2 * total / known.slope**2, rel=SLOPED)


def test_sparse_filters_of_the_error_score(dense, error_score, monkeypatch):
    monkeypatch.setattr(kernel, "DENSE_FILTER", 0)
    other = ErrorScore(
        ErrorSample(
            *(getattr(error_score.sample, name) for name in ("y", "Wy", "Z", "WZ", "centred")),
            Filters(sparse.csr_array(dense.W)),
        ),
        "block",
    )
    assert other.value(LAM) == pytest.approx(error_score.value(LAM), rel=SOLVED)
    (one, shift), (two, moved) = error_at_root(error_score, LAM), error_at_root(other, LAM)
    assert (two.slope, two.pairs) == pytest.approx((one.slope, one.pairs), rel=1e-5)
    np.testing.assert_allclose(moved, shift, rtol=1e-5, atol=1e-8)
