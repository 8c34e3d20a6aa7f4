"""The likelihood over (ρ, λ): derivatives against finite differences, maxima against a slow search."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, sparse

from spatial_zb.core.likelihood import _Profile, _surface, inner_interval, maximise
from spatial_zb.core.logdet import make_logdet
from spatial_zb.core.transforms import cross_products, transformed_sample

#: Two searches for the highest value, each until it is flat.
SEARCHES = 1e-7
#: Second differences of a function of the order of 100 in steps of 1e-4.
DIFFERENCES = 1e-5
n, T = 30, 4
SAMPLE = transformed_sample(n, T, "none", "direct")


def contiguity() -> sparse.csr_array:
    """Row-normalised links of a ring with chords."""
    ring = np.roll(np.eye(n), 1, axis=1) + np.roll(np.eye(n), 4, axis=1)
    links = ring + ring.T
    links[0, 15] = links[15, 0] = 1
    return sparse.csr_array(links / links.sum(axis=1, keepdims=True))


W = contiguity()
LOGDET = make_logdet(W)
BOUNDS = inner_interval(LOGDET.interval)


def profile(seed: int, columns: int) -> _Profile:
    """Data with ρ and λ anywhere; with the intercept alone the likelihood is symmetric in them."""
    rng = np.random.default_rng(seed)
    rho, lam = rng.uniform(-0.8, 0.8, 2)
    big, one = sparse.kron(sparse.eye_array(T), W).toarray(), np.eye(n * T)
    Z = np.hstack([np.ones((n * T, 1)), rng.standard_normal((n * T, columns))])
    e = np.linalg.solve(one - lam * big, rng.standard_normal(n * T))
    y = np.linalg.solve(one - rho * big, Z @ np.full(columns + 1, 0.2) + e)
    Wy = big @ y
    return _Profile(cross_products(Z, y, Wy, (big @ Z, Wy, big @ Wy)), LOGDET, SAMPLE)


def slow_maxima(case: _Profile) -> list[np.ndarray]:
    """Every point to which a fine grid of searches leads and around which all is lower."""
    found: list[np.ndarray] = []
    for start in np.stack(np.meshgrid(*[np.linspace(*BOUNDS, 9)] * 2), axis=-1).reshape(-1, 2):
        point = optimize.minimize(
            lambda v: -case.value(*v),
            start,
            jac=lambda v: -case.score(*v),
            method="L-BFGS-B",
            bounds=[BOUNDS] * 2,
            options={"ftol": 1e-15, "gtol": 1e-8},
        ).x
        turns = np.linspace(0, 2 * np.pi, 24)
        circle = point + 1e-2 * np.column_stack([np.cos(turns), np.sin(turns)])
        inside = BOUNDS[0] < circle.min() and circle.max() < BOUNDS[1]
        top = inside and max(case.value(*q) for q in circle) < case.value(*point)
        if top and not any(np.abs(point - other).max() < 1e-3 for other in found):
            found.append(point)
    return found


@pytest.mark.parametrize("columns", [0, 3])
def test_values_equal_the_profile_one_by_one(columns):
    case = profile(1, columns)
    rho, lam = np.linspace(-0.9, 0.9, 4), np.linspace(-0.8, 0.95, 5)
    one_by_one = [[case.value(r, s) for s in lam] for r in rho]
    assert _surface(case, BOUNDS).values(rho, lam) == pytest.approx(np.array(one_by_one), abs=1e-9)


@pytest.mark.parametrize("columns", [0, 3])
def test_derivatives_equal_finite_differences(columns):
    case = profile(2, columns)
    surface, step = _surface(case, BOUNDS), 1e-4
    for point in ((0.3, -0.4), (-0.6, 0.7)):
        value, slope, curve = surface._expansion(np.array(point))
        assert value == pytest.approx(case.value(*point), abs=1e-9)
        assert slope == pytest.approx(case.score(*point), rel=1e-9)
        for i, way in enumerate(np.eye(2) * step):
            ahead, behind = (case.score(*(point + sign * way)) for sign in (1, -1))
            assert curve[i] == pytest.approx((ahead - behind) / (2 * step), rel=DIFFERENCES)


@pytest.mark.parametrize(("seed", "columns"), [(s, c) for s in range(6) for c in (0, 2)])
def test_maxima_are_those_of_a_slow_search(seed, columns):
    case = profile(seed, columns)
    key = lambda point: (round(point[0], 3), round(point[1], 3))  # noqa: E731
    found = sorted(_surface(case, BOUNDS).modes(), key=key)
    slow = sorted(slow_maxima(case), key=key)
    assert len(found) == len(slow) >= 1
    np.testing.assert_allclose(found, slow, atol=2e-4)
    for mode in found:
        assert np.abs(case.score(*mode)).max() < 1e-7


def test_the_saddle_of_a_symmetric_likelihood_is_no_maximum():
    """ρ = λ is a line of symmetry: along it the likelihood has a top that is none across it."""
    case = profile(4, 0)
    line = np.linspace(*BOUNDS, 2001)
    top = line[np.argmax([case.value(c, c) for c in line])]
    surface = _surface(case, BOUNDS)
    end, curve = surface._climb((top, top))
    assert end[0] == pytest.approx(end[1], abs=1e-9)
    assert np.linalg.eigvalsh(curve)[1] > 0
    best = maximise(case.products, LOGDET, SAMPLE, True, True)
    assert best.exchangeable
    assert abs(best.rho) > abs(best.lam)
    assert case.value(best.rho, best.lam) > case.value(*end)


def test_a_climb_that_starts_on_the_ridge_finds_the_maxima_on_either_side():
    """The only peak of the grid lies on the line of symmetry, and Newton's method does not leave it."""
    surface = _surface(profile(113, 0), BOUNDS)
    ((rho, lam),) = surface._peaks()
    assert rho == lam
    (r1, s1), (r2, s2) = surface.modes()
    assert (r1, s1) == pytest.approx((s2, r2), abs=1e-8)
    assert abs(r1 - s1) > 0.2


IN_TIME = transformed_sample(n, T, "time", "lee_yu")
CENTRED = np.kron(np.eye(T), np.eye(n) - 1 / n)


def smooth_profile(seed: int, columns: int) -> _Profile:
    """Time effects and a large ρ or λ: D does not vanish at one, so that an end may be higher than every mode."""
    rng = np.random.default_rng(seed)
    rho, lam = rng.choice([0.999, 0.98, 0.9, -0.9]), rng.uniform(-0.9, 0.9)
    big, one = sparse.kron(sparse.eye_array(T), W).toarray(), np.eye(n * T)
    Z = CENTRED @ rng.standard_normal((n * T, columns))
    e = np.linalg.solve(one - lam * big, rng.standard_normal(n * T))
    y = CENTRED @ np.linalg.solve(one - rho * big, e)
    Wy = CENTRED @ big @ y
    lags = CENTRED @ big @ Z, Wy, CENTRED @ big @ Wy
    return _Profile(cross_products(Z, y, Wy, lags), LOGDET, IN_TIME)


def slow_end(case: _Profile) -> float:
    """ln L at the highest point of the four edges: a fine grid, and a search between the neighbours of its best point."""
    along, tops = np.linspace(*BOUNDS, 801), []
    edges = [lambda c, b=b: (b, c) for b in BOUNDS] + [lambda c, b=b: (c, b) for b in BOUNDS]
    for edge in edges:
        lower = lambda c, edge=edge: -case.value(*edge(c))  # noqa: E731
        values = [lower(c) for c in along]
        best = int(np.argmin(values))
        near = along[max(best - 1, 0)], along[min(best + 1, 800)]
        found = optimize.minimize_scalar(lower, bounds=near, method="bounded", options={"xatol": 1e-9})
        tops.append(-min(values[best], found.fun))
    return max(tops)


@pytest.mark.parametrize("seed", [133, 662, 1375])
def test_an_end_above_the_only_mode_is_the_maximum(seed):
    case = smooth_profile(seed, 1)
    ((rho, lam),) = _surface(case, BOUNDS).modes()
    assert case.score(rho, lam) == pytest.approx(0, abs=1e-7)
    best, highest = maximise(case.products, LOGDET, IN_TIME, True, True), slow_end(case)
    assert best.at_bound
    assert case.value(best.rho, best.lam) == pytest.approx(highest, abs=SEARCHES)
    assert highest > case.value(rho, lam) + 0.9


@pytest.mark.parametrize(("seed", "columns"), [(21, 1), (37, 1), (47, 0), (14, 0), (41, 0)])
def test_a_mode_just_above_an_end_is_the_maximum(seed, columns):
    case = smooth_profile(seed, columns)
    modes, end = slow_maxima(case), slow_end(case)
    best, highest = maximise(case.products, LOGDET, IN_TIME, True, True), max(case.value(*m) for m in modes)
    assert not best.at_bound
    assert case.value(best.rho, best.lam) == pytest.approx(highest, abs=SEARCHES)
    assert 0 < highest - end < 0.1
    assert len(best.modes) == (1 if best.exchangeable else len(modes))
    assert best.exchangeable == (columns == 0)


@pytest.mark.parametrize("seed", [30, 35, 97, 5])
def test_of_a_pair_at_an_end_the_larger_comes_first(seed):
    """(ρ, λ) and (λ, ρ) are equally high, one of them at an end: which of the two edges is looked at is rounding."""
    case = smooth_profile(seed, 0)
    best = maximise(case.products, LOGDET, IN_TIME, True, True)
    assert (best.exchangeable, best.at_bound, slow_maxima(case)) == (True, True, [])
    assert best.rho == pytest.approx(BOUNDS[1], abs=1e-12)
    assert abs(best.lam) < 0.6
    assert case.value(best.rho, best.lam) == pytest.approx(slow_end(case), abs=SEARCHES)
    assert case.value(best.lam, best.rho) == pytest.approx(slow_end(case), abs=SEARCHES)
