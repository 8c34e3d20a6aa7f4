"""The profile likelihood: several modes, bounds, scores and scale."""

from __future__ import annotations

import numpy as np
import pytest
from dense_matrices import all_matrices

from spatial_zb.core.likelihood import (
    WINDOW_ERRORS,
    WINDOW_MOVES,
    _above_ends,
    _best_end,
    _exact_root,
    _Profile,
    given_spatial,
    inner_interval,
    maximise,
)
from spatial_zb.core.logdet import make_logdet
from spatial_zb.core.transforms import cross_products, transformed_sample

W = all_matrices()["knn_complex"]
LOGDET = make_logdet(W)
n, T = W.shape[0], 3
BIG = np.kron(np.eye(T), W.toarray())
SWITCHES = [(True, False), (False, True), (True, True)]


def products(seed: int, scale: float = 1.0, lagged: bool = True):
    rng = np.random.default_rng(seed)
    Z = np.column_stack([np.ones(n * T), rng.standard_normal((n * T, 2))])
    y = scale * (Z @ [1, 2, -1] + rng.standard_normal(n * T))
    Wy = BIG @ y
    return Z, y, cross_products(Z, y, Wy, (BIG @ Z, Wy, BIG @ Wy) if lagged else None)


SAMPLE = transformed_sample(n, T, "none", "lee_yu")


def dense_profile(Z, y, rho, lam):
    A, B = np.eye(len(y)) - rho * BIG, np.eye(len(y)) - lam * BIG
    target, regressors = B @ A @ y, B @ Z
    e = target - regressors @ np.linalg.lstsq(regressors, target, rcond=None)[0]
    N = len(y)
    determinants = np.linalg.slogdet(A)[1] + np.linalg.slogdet(B)[1]
    return determinants - N / 2 * (np.log(2 * np.pi * (e @ e) / N) + 1)


@pytest.mark.parametrize("point", [(0.0, 0.0), (0.3, 0.0), (0.0, -0.4), (0.5, 0.5), (-0.7, 0.9)])
def test_profile_equals_dense_least_squares(point):
    Z, y, p = products(1)
    profile = _Profile(p, LOGDET, SAMPLE)
    offset = dense_profile(Z, y, 0.0, 0.0) - profile.value(0.0, 0.0)
    assert profile.value(*point) + offset == pytest.approx(dense_profile(Z, y, *point), abs=1e-9)


@pytest.mark.parametrize("point", [(0.3, 0.1), (-0.5, 0.4), (0.05, -0.6)])
def test_score_equals_finite_differences(point):
    profile = _Profile(products(2)[2], LOGDET, SAMPLE)
    h = 1e-6
    slopes = [
        (profile.value(point[0] + h, point[1]) - profile.value(point[0] - h, point[1])) / (2 * h),
        (profile.value(point[0], point[1] + h) - profile.value(point[0], point[1] - h)) / (2 * h),
    ]
    np.testing.assert_allclose(profile.score(*point), slopes, rtol=1e-6, atol=1e-6)


def test_the_quick_score_of_lag_models_equals_the_general_one():
    profile = _Profile(products(3)[2], LOGDET, SAMPLE)
    rho = np.linspace(-0.9, 0.9, 7)
    general = [profile.score(r, 0.0)[0] for r in rho]
    np.testing.assert_allclose(profile.lag_score(rho), general, rtol=1e-9)


@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.parametrize("seed", range(4))
def test_no_point_of_a_fine_grid_is_higher(seed, switches):
    p = products(seed)[2]
    profile = _Profile(p, LOGDET, SAMPLE)
    best = maximise(p, LOGDET, SAMPLE, *switches)
    grid = np.linspace(*inner_interval(LOGDET.interval), 41)
    points = [(r, s) for r in (grid if switches[0] else [0.0]) for s in (grid if switches[1] else [0.0])]
    top = max(profile.value(*q) for q in points)
    assert profile.value(best.rho, best.lam) >= top - 1e-9
    if not best.at_bound:
        assert best.gradient < 1e-7


@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_of_y_change_nothing_but_its_units(scale, switches):
    plain = maximise(products(5)[2], LOGDET, SAMPLE, *switches)
    scaled = maximise(products(5, scale)[2], LOGDET, SAMPLE, *switches)
    assert scaled.rho == pytest.approx(plain.rho, abs=1e-9)
    assert scaled.lam == pytest.approx(plain.lam, abs=1e-9)
    np.testing.assert_allclose(scaled.delta, plain.delta * scale, rtol=1e-8)
    assert scaled.log_likelihood == pytest.approx(plain.log_likelihood - n * T * np.log(scale), abs=1e-6)


def test_a_mirror_image_is_one_pair_with_the_larger_first():
    """With one regressor, the intercept, (ρ, λ) and (λ, ρ) fit alike: the likelihood is symmetric."""
    rng = np.random.default_rng(0)
    Z = np.ones((n * T, 1))
    y = np.linalg.solve(np.eye(n * T) - 0.7 * BIG, rng.standard_normal(n * T))
    y = np.linalg.solve(np.eye(n * T) + 0.5 * BIG, y)
    Wy = BIG @ y
    products = cross_products(Z, y, Wy, (BIG @ Z, Wy, BIG @ Wy))
    best = maximise(products, LOGDET, SAMPLE, True, True)
    assert best.exchangeable
    assert [(rho, lam) for rho, lam, _ in best.modes] == [(best.rho, best.lam)]
    assert abs(best.rho) > abs(best.lam) + 0.1
    assert given_spatial(products, SAMPLE, best.lam, best.rho)[1] == pytest.approx(best.sigma2, rel=1e-10)


def rising(sample, lag_y: bool, lag_error: bool):
    """Data whose likelihood rises up to ρ = 1: one smooth surface, under time effects."""
    rng = np.random.default_rng(0)
    values, vectors = np.linalg.eig(W.toarray())
    order = np.argsort(-values.real)
    smooth = np.real(vectors[:, order[1]])
    y = np.concatenate([smooth * c for c in (1.0, 2.0, -1.0)]) + 0.01 * rng.standard_normal(n * T)
    J = np.kron(np.eye(T), np.eye(n) - np.full((n, n), 1 / n))
    Z = J @ rng.standard_normal((n * T, 1))
    Wy = J @ BIG @ y
    return cross_products(Z, J @ y, Wy, (J @ BIG @ Z, Wy, J @ BIG @ BIG @ y))


@pytest.mark.parametrize("switches", SWITCHES)
def test_the_bound_is_told_and_is_the_highest_point(switches):
    sample = transformed_sample(n, T, "time", "lee_yu")
    p = rising(sample, *switches)
    best = maximise(p, LOGDET, sample, *switches)
    assert best.at_bound
    profile = _Profile(p, LOGDET, sample)
    grid = np.linspace(*inner_interval(LOGDET.interval), 41)
    points = [(r, s) for r in (grid if switches[0] else [0.0]) for s in (grid if switches[1] else [0.0])]
    assert profile.value(best.rho, best.lam) >= max(profile.value(*q) for q in points) - 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_the_best_end_is_not_only_looked_for_in_the_corners(seed):
    profile = _Profile(products(seed)[2], LOGDET, SAMPLE)
    bounds = inner_interval(LOGDET.interval)
    found = profile.value(*_best_end(profile, bounds, True, True))
    fine = np.linspace(*bounds, 301)
    edges = [(b, c) for b in bounds for c in fine] + [(c, b) for b in bounds for c in fine]
    assert found >= max(profile.value(*e) for e in edges) - 1e-3
    corners = max(profile.value(a, b) for a in bounds for b in bounds)
    assert found > corners + 1


@pytest.mark.parametrize("lag_y", [True, False])
def test_ends_are_passed_over_only_where_they_are_lower(lag_y):
    """The bound by the tangent says so for ordinary data, and never where an end is higher."""
    matrix = all_matrices()["row"]
    logdet, size = make_logdet(matrix), matrix.shape[0]
    big, sample = np.kron(np.eye(T), matrix.toarray()), transformed_sample(size, T, "time", "lee_yu")
    J = np.kron(np.eye(T), np.eye(size) - np.full((size, size), 1 / size))
    bounds = inner_interval(logdet.interval)
    place = (lambda c: (c, 0.0)) if lag_y else (lambda c: (0.0, c))
    ends, found = [place(end) for end in bounds], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        Z = J @ rng.standard_normal((size * T, 1))
        y = J @ np.linalg.solve(
            np.eye(size * T) - (0.0, 0.6, 0.999)[seed % 3] * big, rng.standard_normal(size * T)
        )
        Wy = big @ y
        case = _Profile(cross_products(Z, y, Wy, (big @ Z, Wy, big @ Wy)), logdet, sample)
        for c in np.linspace(*bounds, 9)[1:-1]:
            lower = max(case.value(*end) for end in ends) < case.value(*place(c))
            found.append((_above_ends(case, place(c), ends), lower))
    assert (True, False) not in found
    assert found.count((True, True)) > 10
    assert (False, False) in found
    one_way = _Profile(products(1)[2], LOGDET, SAMPLE)  # eigenvalues are complex: D need not be concave
    assert not _above_ends(one_way, (0.0, 0.0), [(end, 0.0) for end in inner_interval(LOGDET.interval)])


class Searched:
    """A score that falls straight through ``root`` with slope −1/error², asked only inside the windows made ready for it."""

    def __init__(self, root: float, error: float = 0.01) -> None:
        self.root, self.error = root, error
        self.windows: list[tuple[float, float]] = []

    def cover(self, low: float, high: float) -> None:
        self.windows.append((low, high))

    def exact(self, rho):
        assert any(low <= rho <= high for low, high in self.windows)
        return (self.root - rho) / self.error**2

    def search(self, start: float, bounds=(-1.0, 1.0)) -> float | None:
        return _exact_root(self.exact, lambda rho: (start - rho) / self.error**2, start, bounds, self.cover)


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(("errors", "moves"), [(0, 1), (5.9, 1), (6.1, 2), (11.9, 2), (17.9, 3), (23.9, 4)])
def test_a_window_of_six_standard_errors_moves_uphill_until_it_holds_the_root(errors, moves, side):
    """Each following window begins in the middle of the one before: its centre is the end at which the score was left."""
    start, reach = 0.1, WINDOW_ERRORS * 0.01
    case = Searched(start + side * errors * 0.01)
    assert case.search(start) == pytest.approx(case.root, abs=1e-14)
    centres = start + side * reach * np.arange(moves)
    np.testing.assert_allclose(case.windows, np.column_stack([centres - reach, centres + reach]), atol=1e-12)


@pytest.mark.parametrize("side", [1, -1])
def test_a_root_too_many_windows_away_is_left_to_the_whole_interval(side):
    case = Searched(0.1 + side * (WINDOW_MOVES * WINDOW_ERRORS + 0.1) * 0.01)
    assert case.search(0.1) is None
    assert len(case.windows) == WINDOW_MOVES


@pytest.mark.parametrize("side", [1, -1])
def test_windows_end_where_the_interval_does(side):
    """A root just inside the end is found; a score that still rises there has none."""
    inside, outside = Searched(side * 0.149), Searched(side * 0.151)
    assert inside.search(side * 0.12, (-0.15, 0.15)) == pytest.approx(inside.root, abs=1e-14)
    assert outside.search(side * 0.12, (-0.15, 0.15)) is None
    assert len(outside.windows) == 1
    for low, high in inside.windows + outside.windows:
        assert -0.15 <= low < high <= 0.15
