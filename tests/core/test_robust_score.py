"""The robust score against dense matrices of all n·T rows, its derivative, and what its form promises."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pytest
from scipy import optimize, sparse

from spatial_zb.core.likelihood import error_score as sums
from spatial_zb.core.likelihood.error_score import (
    ErrorSample,
    ErrorScore,
    at_root,
    error_at_root,
    error_point,
    score_covariance,
    score_pairs,
)
from spatial_zb.core.likelihood.score import (
    ROBUST_FORMS,
    ScoreSample,
    blocks_of,
    period_basis,
    robust_score,
    score_roots,
)
from spatial_zb.core.logdet import entries
from spatial_zb.core.logdet.entries import Filters
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
    assert found.slope.item() == pytest.approx(
        (score.value(RHO - step) - score.value(RHO + step)) / (2 * step), rel=SLOPED
    )
    form = dense.M @ dense.G(RHO) - dense.M @ dense.K(RHO) @ dense.M
    form, total = (form + form.T) / 2, 0.0
    for i in range(N):
        for j in range(N):
            rows, columns = np.arange(T) * N + i, np.arange(T) * N + j
            total += 2 * (i != j) * (e[rows] @ form[np.ix_(rows, columns)] @ e[columns]) ** 2
    assert found.pairs.item() == pytest.approx(total, rel=SOLVED)


def test_covariance_by_loops_over_units(dense, score):
    sample, found = dense.sample(), at_root(score, RHO)
    Z, e = dense.Z.reshape(T * N, -1), dense.ey - RHO * dense.ew
    delta = np.linalg.lstsq(Z, dense.y.ravel() - RHO * dense.Wy.ravel(), rcond=None)[0]
    mean = demean((dense.G(RHO) @ Z @ delta).reshape(T, N), dense.effects).ravel()
    k, factor = Z.shape[1], N / (N - 1)
    inverse = np.zeros((k + 1, k + 1))  # of the Jacobian
    inverse[:k, :k] = np.linalg.inv(Z.T @ Z)
    shift = -inverse[:k, :k] @ Z.T @ dense.Wy.ravel()
    inverse[:k, k], inverse[k, k] = shift / found.slope.item(), 1 / found.slope.item()
    meat = np.zeros((k + 1, k + 1))
    for i in range(N):
        rows = np.arange(T) * N + i
        own = np.append(Z[rows].T @ e[rows], (dense.M @ mean)[rows] @ e[rows])
        meat += factor * np.outer(own, own)
    meat[k, k] += factor**2 * found.pairs.item()
    basis, F = column_basis(Z), period_basis(T, dense.within)
    back = np.linalg.inv(basis.R) / basis.scale[:, None]
    means, e = mean.reshape(T, N).T @ F, sample.y - RHO * sample.Wy
    cov, probed = score_covariance(sample, found, means, e, back, shift[:, None], factor)
    assert probed == 0
    np.testing.assert_allclose(cov, inverse @ meat @ inverse.T, rtol=SOLVED, atol=EXACT)


def test_sparse_filters_give_what_dense_ones_do(dense, score, monkeypatch):
    monkeypatch.setattr(entries, "DENSE_FILTER", 0)
    sparse_score = robust_score(dense.sample(), "block")
    assert sparse_score.filters.dense is None
    grid = np.array([-0.5, 0.0, 0.6])
    np.testing.assert_allclose(sparse_score.values(grid), score.values(grid), rtol=SOLVED)
    one, other = at_root(score, RHO), at_root(sparse_score, RHO)
    assert other.pairs == pytest.approx(one.pairs, rel=SOLVED)
    assert other.slope == pytest.approx(one.slope, rel=SLOPED)
    bounds = (-0.9, 0.95)
    assert score_roots(sparse_score, bounds).found == pytest.approx(
        score_roots(score, bounds).found, abs=SOLVED
    )


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
    assert at_root(robust_score(sample, "scalar"), RHO).slope.item() > 0


# --- λ

LAM = 0.3
OWN = [np.arange(T) * N + i for i in range(N)]


@pytest.fixture(scope="module")
def error_score(dense) -> ErrorScore:
    return both_scores(dense)


def both_scores(dense: Dense) -> ErrorScore:
    F = period_basis(T, dense.within)
    lag = lambda values: demean(np.einsum("ij,tj...->ti...", dense.W, values), dense.effects)  # noqa: E731
    y, Wy, Z, WZ, WWy = (
        np.moveaxis(np.tensordot(F, v, (0, 0)), 0, 1)
        for v in (dense.y, dense.Wy, dense.Z, lag(dense.Z), lag(dense.Wy))
    )
    filters = Filters(sparse.csr_array(dense.W))
    return ErrorScore(ErrorSample(y, Wy, Z, WZ, dense.centred, filters, WWy), "block")


def at_lambda(dense: Dense, lam: float, rho: float = 0.0) -> tuple[np.ndarray, ...]:
    """MHM − MKM, residuals, δ̂ and filtered regressors, all n·T rows; then MG − MKM of ρ, MBWy and M."""
    lag = np.kron(np.eye(T), dense.W)
    B = np.eye(T * N) - lam * lag
    off = np.kron(np.eye(T) - dense.within / T, np.eye(N) - dense.centred / N)
    Z = off @ B @ dense.Z.reshape(T * N, -1)
    y = off @ B @ (dense.y - rho * dense.Wy).ravel()
    M = off - Z @ np.linalg.solve(Z.T @ Z, Z.T)
    system = np.stack([own_entries(M @ part @ M) for part in dense.bases], axis=1)
    forms = []
    for seen in (M @ dense.G(lam) @ M, M @ dense.G(rho)):
        found = np.linalg.lstsq(system, own_entries(seen), rcond=None)[0]
        K = sum(c * part for c, part in zip(found, dense.bases, strict=True))
        forms.append(seen - M @ K @ M)
    delta = np.linalg.lstsq(Z, y, rcond=None)[0]
    return forms[0], M @ y, delta, Z, forms[1], M @ B @ dense.Wy.ravel(), M


def own_entries(A: np.ndarray) -> np.ndarray:
    """The own blocks of units of sym(A)."""
    return np.concatenate([(A + A.T)[np.ix_(rows, rows)].ravel() / 2 for rows in OWN])


def pair_total(forms: list[np.ndarray], e: np.ndarray) -> np.ndarray:
    """2 Σ_{i≠j} Y_ij Y_ij' by loops."""
    total = np.zeros((len(forms), len(forms)))
    for i in range(N):
        for j in range(N):
            Y = [e[OWN[i]] @ ((A + A.T) / 2)[np.ix_(OWN[i], OWN[j])] @ e[OWN[j]] for A in forms]
            total += 2 * (i != j) * np.outer(Y, Y)
    return total


def test_error_score_by_dense_matrices(dense, error_score):
    for lam in (-0.4, 0.0, LAM, 0.7):
        form, e, delta, *_ = at_lambda(dense, lam)
        point = error_point(error_score, lam)
        assert point.value() == pytest.approx(e @ form @ e, abs=SOLVED * (e @ e))
        np.testing.assert_allclose(point.delta(), delta, rtol=SOLVED, atol=SOLVED)
    assert np.abs(own_entries(form)).max() < 20 * EXACT  # zero mean for any Ω that is block-diagonal by unit


def test_error_covariance_by_loops(dense, error_score):
    form, e, _, Z, *_ = at_lambda(dense, LAM)
    total = pair_total([form], e)
    known, shift = error_at_root(error_score, LAM)
    step = 1e-5
    sides = [at_lambda(dense, LAM + s) for s in (-step, step)]
    slope = (sides[0][1] @ sides[0][0] @ sides[0][1] - sides[1][1] @ sides[1][0] @ sides[1][1]) / (2 * step)
    assert (known.slope.item(), known.pairs.item()) == pytest.approx((slope, total.item()), rel=SLOPED)
    np.testing.assert_allclose(
        shift[:, 0], (sides[1][2] - sides[0][2]) / (2 * step), rtol=SLOPED, atol=SLOPED
    )
    inverse, factor = np.linalg.inv(Z.T @ Z), N / (N - 1)
    expected = (
        factor * sum(inverse @ np.outer(Z[r].T @ e[r], Z[r].T @ e[r]) @ inverse for r in OWN)
        + factor**2 * known.pairs / known.slope**2 * shift @ shift.T
    )
    point = error_point(error_score, LAM)
    cov, _ = score_covariance(point.sample, known, None, point.sample.y, point.back, shift, factor)
    np.testing.assert_allclose(cov[:-1, :-1], expected, rtol=SOLVED, atol=EXACT)
    assert cov[-1, -1] == pytest.approx((factor**2 * total / known.slope**2).item(), rel=SLOPED)


# --- ρ and λ


def dense_pair(dense: Dense, rho: float, lam: float) -> np.ndarray:
    """(ψ_ρ, ψ_λ)."""
    of_lambda, e, _, _, of_rho, lagged, M = at_lambda(dense, lam, rho)
    K = M @ dense.G(rho) - of_rho  # MKM
    return np.array([lagged @ e - e @ K @ e, e @ of_lambda @ e])


def test_both_scores_by_dense_matrices_and_their_restrictions(dense, error_score, score):
    for rho, lam in ((0.3, 0.3), (-0.4, 0.6), (0.0, LAM)):
        expected = dense_pair(dense, rho, lam)
        assert error_score.raw(np.array([rho, lam])) == pytest.approx(expected, abs=1e-6)
    of_lambda, *_, of_rho, _, _ = at_lambda(dense, 0.6, -0.4)
    for form in (of_lambda, of_rho):  # zero mean for any Ω that is block-diagonal by unit
        assert np.abs(own_entries(form)).max() < 20 * EXACT
    assert error_score.raw(np.array([RHO, 0.0]))[0] == pytest.approx(score.value(RHO), abs=1e-6)
    assert error_score.raw(np.array([0.0, LAM]))[1] == pytest.approx(error_score.value(LAM), abs=1e-9)


def test_pairs_of_roots_by_a_slow_search():
    """From a grid of starts, on the dense scores."""
    dense = Dense("two_way")
    found, _ = score_pairs(both_scores(dense), (-0.95, 0.95))
    slow: list[np.ndarray] = []
    for start in np.stack(np.meshgrid(*[np.linspace(-0.7, 0.7, 3)] * 2), axis=-1).reshape(-1, 2):
        at = optimize.root(lambda both: dense_pair(dense, *np.clip(both, -0.97, 0.97)), start, tol=1e-10)
        step = 1e-5
        inside = at.success and np.abs(at.x).max() < 0.95
        if inside and all(np.abs(at.x - other).max() > 1e-4 for other in slow):
            sides = [
                dense_pair(dense, *(at.x + h)) - dense_pair(dense, *(at.x - h)) for h in step * np.eye(2)
            ]
            if np.linalg.det(sides) > 0 and np.trace(sides) < 0:
                slow.append(at.x)
    assert len(found) == len(slow)
    for root in slow:
        assert min(np.abs(np.array(found) - root).max(axis=1)) < 1e-6


def test_covariance_of_both_by_loops_over_units(dense, error_score):
    of_lambda, e, delta, Z, of_rho, lagged, M = at_lambda(dense, LAM, RHO)
    known, shift = error_at_root(error_score, LAM, rho=RHO)
    step = 1e-5
    slope = -np.column_stack(
        [
            (dense_pair(dense, *at) - dense_pair(dense, *back)) / (2 * step)
            for at, back in (
                ((RHO + step, LAM), (RHO - step, LAM)),
                ((RHO, LAM + step), (RHO, LAM - step)),
            )
        ]
    )
    total = pair_total([of_rho, of_lambda], e)
    np.testing.assert_allclose(known.slope, slope, rtol=1e-5, atol=1e-5 * np.abs(slope).max())
    np.testing.assert_allclose(known.pairs, total, rtol=1e-6, atol=1e-7 * np.abs(total).max())
    inverse, factor = np.linalg.inv(Z.T @ Z), N / (N - 1)
    expected_shift = np.column_stack(
        [
            -inverse @ Z.T @ lagged - inverse @ Z.T @ (M @ lagged - lagged),
            (at_lambda(dense, LAM + step, RHO)[2] - at_lambda(dense, LAM - step, RHO)[2]) / (2 * step),
        ]
    )
    lag = np.kron(np.eye(T), dense.W)
    BWy = (np.eye(T * N) - LAM * lag) @ dense.Wy.ravel()
    expected_shift[:, 0] = -inverse @ Z.T @ BWy
    np.testing.assert_allclose(shift, expected_shift, rtol=1e-5, atol=1e-6)
    mean = M @ (np.eye(T * N) - LAM * lag) @ dense.G(RHO) @ dense.Z.reshape(T * N, -1) @ delta
    k = len(delta)
    expected = np.zeros((k + 2, k + 2))
    bread = np.linalg.inv(known.slope)
    for rows in OWN:
        steps = bread @ [mean[rows] @ e[rows], 0.0]
        own = np.append(inverse @ Z[rows].T @ e[rows] + shift @ steps, steps)
        expected += factor * np.outer(own, own)
    both = np.vstack([shift, np.eye(2)]) @ bread
    expected += factor**2 * both @ known.pairs @ both.T
    point = error_point(error_score, LAM)
    F = period_basis(T, dense.within)
    means = demean(
        ((np.eye(T * N) - LAM * lag) @ dense.G(RHO) @ dense.Z.reshape(T * N, -1) @ delta).reshape(T, N),
        dense.effects,
    )
    cov, _ = score_covariance(
        point.sample, known, means.T @ F, point.residuals(RHO), point.back, shift, factor
    )
    np.testing.assert_allclose(cov, expected, rtol=SOLVED, atol=EXACT)


def test_sums_over_pairs_by_random_signs(monkeypatch):
    """Many draws of signs have the mean of the exact sums, and the errors that they state."""
    dense = Dense("two_way")
    error_score = both_scores(dense)
    monkeypatch.setattr(entries, "DENSE_FILTER", 0)
    sample = error_score.sample
    parts = (getattr(sample, name) for name in ("y", "Wy", "Z", "WZ", "centred"))
    many = ErrorScore(ErrorSample(*parts, Filters(sparse.csr_array(dense.W)), sample.WWy), "block")
    exact, _ = error_at_root(many, LAM, rho=RHO)
    assert not exact.error.any()
    monkeypatch.setattr(sums, "PAIR_UNITS", 0)
    monkeypatch.setattr(entries, "PAIR_SIGNS", 1500 * N)
    probed, _ = error_at_root(many, LAM, rho=RHO)
    assert probed.error.diagonal().min() > 0
    assert np.all(np.abs(probed.pairs - exact.pairs) < 4 * probed.error + 1e-12)


def test_sparse_filters_of_the_error_score(dense, error_score, monkeypatch):
    monkeypatch.setattr(entries, "DENSE_FILTER", 0)
    sample = error_score.sample
    parts = (getattr(sample, name) for name in ("y", "Wy", "Z", "WZ", "centred"))
    other = ErrorScore(ErrorSample(*parts, Filters(sparse.csr_array(dense.W)), sample.WWy), "block")
    assert other.value(LAM) == pytest.approx(error_score.value(LAM), rel=SOLVED)
    for rho in (None, RHO):
        (one, shift), (two, moved) = (error_at_root(s, LAM, rho=rho) for s in (error_score, other))
        np.testing.assert_allclose(two.slope, one.slope, rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(two.pairs, one.pairs, rtol=1e-5)
        np.testing.assert_allclose(moved, shift, rtol=1e-5, atol=1e-8)
    (found, _), (expected, _) = score_pairs(other, (-0.95, 0.95)), score_pairs(error_score, (-0.95, 0.95))
    np.testing.assert_allclose(found, expected, atol=1e-7)
