"""The adjusted score of a panel of any shape against a slow dense one: explicit dummies, N × N, numerical derivatives."""

import gc
import weakref
from itertools import product

import numpy as np
import pytest
from scipy import linalg, sparse
from shape_oracle import Dense, take_the_sparse_road

from spatial_zb.core.likelihood import inner_interval, shape_covariance
from spatial_zb.core.likelihood import score as scores
from spatial_zb.core.likelihood.covariance import concentrated, sandwiched
from spatial_zb.core.likelihood.impacts import row_multipliers
from spatial_zb.core.likelihood.score import lean_of
from spatial_zb.core.likelihood.shape import Shape, ShapeScore, estimate_at, shape_estimate
from spatial_zb.core.likelihood.shape_covariance import (
    ShapePoint,
    any_law_meat,
    cluster_meat,
    clusters_at,
    expected_derivative,
    observed_derivative,
    period_meat,
    score_variance,
)
from spatial_zb.core.likelihood.shape_rows import RowFilter, row_weights
from spatial_zb.core.transforms import effect_space, lower_factor

#: Central differences of scores of some tens, at steps of 1e-5.
DIFFERENCED = 2e-6
EXACT = 1e-9
n, T = 9, 5


def normalised(A):
    return A / np.maximum(A.sum(axis=1, keepdims=True), 1)


def panel(seed, row=True):
    """Rows (N, 2), blocks of W and of V by period: units that come late, one that leaves, one hole; directed V."""
    r = np.random.default_rng(seed)
    there = np.ones((T, n), bool)
    there[:2, 0], there[:1, 3], there[4:, 5], there[2, 7] = False, False, False, False
    rows = np.argwhere(there)[:, ::-1]
    ring = np.eye(n, k=1) + np.eye(n, k=-1) + np.eye(n, k=3) + np.eye(n, k=-3)
    W, V = [], []
    for t in range(T):
        at = np.flatnonzero(there[t])
        own = ring[np.ix_(at, at)] * (1.0 if t < 3 else np.triu(r.uniform(0.5, 1.5, (len(at),) * 2)))
        own = own if t < 3 else np.triu(own) + np.triu(own, 1).T
        W.append(sparse.csr_array(normalised(own) if row else own / 3.7))
        directed = (r.random((len(at),) * 2) < 0.4) * (1 - np.eye(len(at)))
        V.append(sparse.csr_array(normalised(directed)))
    return rows, W, V


def dummies(rows, kind):
    unit, period = rows.T
    units, periods = (unit[:, None] == np.arange(n)) * 1.0, (period[:, None] == np.arange(T)) * 1.0
    province = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2])[unit]
    cells = (province[:, None] == np.arange(3)) * 1.0
    return {
        "none": np.zeros((len(rows), 0)),
        "unit": units,
        "time": periods,
        "two_way": np.hstack([units, periods]),
        "province": np.hstack([units, np.einsum("ij,ik->ijk", cells, periods).reshape(len(rows), -1)]),
        "trend": np.hstack([units, units * (period[:, None] - 2.0), periods]),
    }[kind]


def make(seed=1, kind="two_way", model="SAC", row=True, k=2):
    r = np.random.default_rng(seed)
    rows, W, V = panel(seed, row)
    N, D = len(rows), dummies(rows, kind)
    Wd, Vd = (linalg.block_diag(*[block.toarray() for block in blocks]) for blocks in (W, V))
    x = r.normal(size=(N, k))
    Z = np.hstack([np.ones((N, int(kind == "none"))), x, (Vd @ x)[:, :1]])
    rho, lam = 0.35 * (model in ("SAR", "SAC")), 0.3 * (model in ("SEM", "SAC"))
    u = np.linalg.solve(np.eye(N) - lam * Vd, r.normal(size=N))
    y = np.linalg.solve(
        np.eye(N) - rho * Wd, Z @ np.linspace(1, 0.4, Z.shape[1]) + D @ r.normal(size=D.shape[1]) + u
    )
    own = row_weights(W) if model in ("SAR", "SAC") else None
    error = row_weights(V) if model in ("SEM", "SAC") else None
    starts = (0, *np.cumsum([block.shape[0] for block in W]).tolist())
    shape = Shape(Z, rows[:, 0], starts, effect_space(sparse.csc_array(D), rows[:, 0]), own, error)
    zero = np.zeros((N, N))
    return shape, y, Dense(y, Z, Wd if own else zero, Vd if error else zero, D)


def active(shape):
    k = shape.Z.shape[1]
    return [*range(k), *([k] if shape.W else []), *([k + 1] if shape.V else []), k + 2]


CASES = [
    ("two_way", "SAC", True),
    ("two_way", "SAR", False),
    ("province", "SAR", True),
    ("trend", "SAC", True),
    ("unit", "SEM", True),
    ("time", "SAR", False),
    ("none", "SAC", True),
]


@pytest.mark.parametrize(("kind", "model", "row"), CASES)
def test_scores_vanish_and_derivatives_are_theirs(kind, model, row):
    """The root solves the dense scores; Ω, E𝓗 and the observed derivative equal dense traces and finite differences."""
    shape, y, dense = make(3, kind, model, row)
    found = shape_estimate(shape, y)
    assert found.solved
    p = np.array([*found.delta, found.rho, found.lam, found.sigma2])
    on = active(shape)
    assert np.abs(dense.scores(p)[on]).max() < 1e-7
    assert shape.effects.rank == dense.r
    point = ShapePoint(found)
    observed = observed_derivative(point)[np.ix_(on, on)]
    np.testing.assert_allclose(
        observed, dense.slope(p)[np.ix_(on, on)], rtol=DIFFERENCED, atol=DIFFERENCED * 50
    )
    B, M, F, H = dense.parts(found.rho, found.lam)
    BZ, s2, N = M @ B @ dense.Z, found.sigma2, dense.N
    Q = linalg.orth(np.hstack([B @ dense.D, B @ dense.Z]))
    PQ, P, M_Z = Q @ Q.T, np.eye(N) - M, np.eye(N) - Q @ Q.T
    eta = M @ (B @ dense.W @ y - F @ found.e)
    k, tr = BZ.shape[1], np.trace
    omega = np.zeros((k + 3, k + 3))
    omega[:k, :k], omega[:k, k] = BZ.T @ BZ / s2, BZ.T @ eta / s2
    omega[k, :k] = omega[:k, k]
    omega[k, k] = eta @ eta / s2 - tr(M_Z @ F @ PQ @ F.T @ M_Z) + tr(F.T @ M @ F) + tr(M @ F @ M @ F)
    omega[k + 1, k + 1] = tr(M @ H @ M @ H) + tr(M @ H @ M @ H.T)
    omega[k, k + 1] = omega[k + 1, k] = tr(M @ H.T @ M @ F) + tr(M @ H @ M @ F)
    omega[k, -1] = omega[-1, k] = tr(M @ F) / s2
    omega[k + 1, -1] = omega[-1, k + 1] = tr(M @ H) / s2
    omega[-1, -1] = (N - dense.r) / (2 * s2**2)
    np.testing.assert_allclose(
        score_variance(point)[np.ix_(on, on)], omega[np.ix_(on, on)], rtol=EXACT, atol=EXACT
    )
    expected = omega.copy()
    expected[k, k] += tr(M @ F @ F) - tr(M @ F @ M @ F)
    expected[k, k + 1] = tr(M @ H.T @ M @ F) + tr(M @ F @ H) + tr(M @ F @ P @ H.T @ M)
    np.testing.assert_allclose(
        expected_derivative(point)[np.ix_(on, on)], expected[np.ix_(on, on)], rtol=EXACT, atol=EXACT
    )
    assert point.traces.excess_of_effects == pytest.approx(tr(M @ F @ P @ F.T @ M), abs=EXACT)


@pytest.mark.parametrize(("kind", "model"), [("two_way", "SAC"), ("trend", "SAR"), ("unit", "SEM")])
def test_clusters_by_loops(kind, model):
    """CR2 residuals, degrees of freedom and the clustered Ω against explicit blocks and loops over pairs of units."""
    shape, y, dense = make(5, kind, model)
    found = shape_estimate(shape, y)
    point = ShapePoint(found)
    clusters = clusters_at(point)
    B, M, F, H = dense.parts(found.rho, found.lam)
    N, unit, s2 = dense.N, shape.unit, found.sigma2
    eta = M @ (B @ dense.W @ y - F @ found.e) if shape.W else np.zeros(N)
    X = np.column_stack([M @ B @ dense.Z, *([eta] if shape.W else [])])
    Q = linalg.orth(np.hstack([B @ dense.D, X]))
    M_X = np.eye(N) - Q @ Q.T
    rows = [np.flatnonzero(unit == i) for i in range(n)]

    def root(block):
        values, axes = np.linalg.eigh(block)
        kept = values > 1e-8
        return axes[:, kept] / np.sqrt(values[kept]) @ axes[:, kept].T

    roots = [root(M_X[np.ix_(at, at)]) for at in rows]
    star = np.empty(N)
    for at, half in zip(rows, roots, strict=True):
        star[at] = half @ found.e[at]
    np.testing.assert_allclose(clusters.adjusted(found.e), star, atol=1e-8)
    gradient = np.random.default_rng(0).normal(size=X.shape[1])
    full = np.append(gradient, [] if shape.W else [0.0])
    p = np.column_stack(
        [
            M_X[:, at] @ half @ X[at] @ np.linalg.solve(X.T @ X, gradient)
            for at, half in zip(rows, roots, strict=True)
        ]
    )
    gram = p.T @ p
    df = np.trace(gram) ** 2 / np.trace(gram @ gram)
    assert clusters.degrees(full) == pytest.approx(df, rel=1e-7)
    factor = n / (n - 1)
    k, free = dense.Z.shape[1], N - dense.r
    L = np.column_stack([M @ B @ dense.Z, eta, np.zeros(N)])
    C = {}
    for place, form, on in ((k, F, shape.W), (k + 1, H, shape.V)):
        if on:
            C[place] = M @ (form + form.T) @ M / 2 - np.trace(M @ form) / free * M
    expected = np.zeros((k + 2, k + 2))
    for i, at in enumerate(rows):
        own = L[at].T @ star[at]
        for place, form in C.items():
            own[place] += star[at] @ form[np.ix_(at, at)] @ star[at]
        expected += factor * np.outer(own, own)
        for j, other in enumerate(rows):
            if i != j:
                pair = np.zeros(k + 2)
                for place, form in C.items():
                    pair[place] = star[at] @ form[np.ix_(at, other)] @ star[other]
                expected += 2 * factor**2 * np.outer(pair, pair)
    np.testing.assert_allclose(cluster_meat(point, star, factor), expected / s2**2, rtol=1e-7, atol=1e-8)


def test_any_law_and_periods_by_loops():
    """Third and fourth moments, and sums by period, against explicit matrices."""
    shape, y, dense = make(7, "two_way", "SAC")
    point = ShapePoint(found := shape_estimate(shape, y))
    B, M, F, H = dense.parts(found.rho, found.lam)
    k, s2, e = dense.Z.shape[1], found.sigma2, found.e
    Q = linalg.orth(np.hstack([B @ dense.D, B @ dense.Z]))
    m = np.eye(dense.N) - Q @ Q.T
    third = (e**3).sum() / (m**3).sum()
    fourth = ((e**4).sum() - 3 * s2**2 * (np.diag(m) ** 2).sum()) / (m**4).sum()
    fourth = max(fourth, third**2 / s2 - 2 * s2**2)
    eta = M @ (B @ dense.W @ y - F @ e)
    linear = np.column_stack([M @ B @ dense.Z, eta, np.zeros((dense.N, 2))]) / s2
    forms = [M @ F @ M / s2, M @ H @ M / s2, M / (2 * s2**2)]
    # ψ_ρ = … + ε'F'Mε: M on one side, since Wy itself is not taken off the effects
    forms[0] = F.T @ M / s2
    quadratic = np.zeros((dense.N, k + 3))
    quadratic[:, k:] = np.column_stack([np.diag(form) for form in forms])
    mixed = linear.T @ quadratic
    expected = score_variance(point) + third * (mixed + mixed.T) + fourth * quadratic.T @ quadratic
    np.testing.assert_allclose(any_law_meat(point), expected, rtol=1e-8, atol=1e-8)
    columns = np.column_stack([M @ B @ dense.Z, M @ B @ dense.W @ y, M @ H @ e, e / (2 * s2)])
    columns *= e[:, None] / s2
    sums = np.array([columns[a:b].sum(axis=0) for a, b in zip(shape.starts, shape.starts[1:], strict=False)])
    sums -= sums.mean(axis=0)
    meat = sum(
        (1 - abs(s - t) / 2) * np.outer(sums[s], sums[t])
        for s in range(T)
        for t in range(T)
        if abs(s - t) < 2
    )
    np.testing.assert_allclose(period_meat(point, 1), meat, rtol=1e-8)


def test_curve_scan_and_exact_agree():
    """The root from decomposed W equals that from one ρ at a time, and more than one draw shares the shape."""
    shape, y, _ = make(11, "two_way", "SAR")
    root = shape_estimate(shape, y).rho
    directed, z, _ = make(11, "two_way", "SAR")
    object.__setattr__(directed.W, "spectra", (None,) * len(directed.W.distinct))
    object.__setattr__(directed.W, "interval", shape.W.interval)
    assert directed.curve.decomposed is None
    assert shape_estimate(directed, z).rho == pytest.approx(root, abs=1e-11)
    held = estimate_at(ShapeScore(shape, y), 0.1, 0.0)
    assert not held.solved
    assert held.rho == 0.1


def test_a_covariance_that_does_not_exist_is_not_repaired():
    blank, found = sandwiched(np.diag([1.0, -1.0]), np.eye(2))
    assert not found
    assert np.isnan(blank).all()
    assert concentrated(np.array([[2.0, 1.0], [1.0, 1.0]])) == pytest.approx(np.array([[1.0]]))


def test_order_of_units_does_not_matter():
    """Units renumbered and rows of a period exchanged: the same estimate."""
    shape, y, _ = make(13, "two_way", "SAC")
    found = shape_estimate(shape, y)
    order = np.concatenate(
        [np.arange(b - 1, a - 1, -1) for a, b in zip(shape.starts, shape.starts[1:], strict=False)]
    )
    turn = lambda weights: row_weights(  # noqa: E731
        [sparse.csr_array(weights.distinct[d].toarray()[::-1, ::-1]) for d in weights.which]
    )
    D = dummies(panel(13)[0], "two_way")[order]
    unit = n - 1 - shape.unit[order]
    other = Shape(
        shape.Z[order],
        unit,
        shape.starts,
        effect_space(sparse.csc_array(D), unit),
        turn(shape.W),
        turn(shape.V),
    )
    again = shape_estimate(other, y[order])
    assert (again.rho, again.lam) == pytest.approx((found.rho, found.lam), abs=1e-9)
    np.testing.assert_allclose(again.delta, found.delta, atol=1e-9)


def test_scores_have_mean_zero_and_the_variance_that_is_claimed():
    """40,000 panels of one uneven shape at the truth: means of ψ, and their covariance beside Ω with the true effects."""
    shape, _, dense = make(17, "two_way", "SAC")
    r, N, truth = np.random.default_rng(1), dense.N, (0.35, 0.3)
    B, M, F, H = dense.parts(*truth)
    effects = dense.Z @ np.linspace(1, 0.4, 3) + dense.D @ r.normal(size=dense.r)
    S, free = np.eye(N) - truth[0] * dense.W, N - dense.r
    mean = M @ B @ dense.W @ np.linalg.solve(S, effects)
    draws = r.normal(size=(40_000, N))
    e = draws @ M
    moved = draws @ F.T @ M + mean  # MBWy
    scores = np.column_stack(
        [(moved * e).sum(axis=1) - np.trace(M @ F), (e @ H.T * e).sum(axis=1) - np.trace(M @ H)]
    )
    found = shape_estimate(shape, np.linalg.solve(S, effects + np.linalg.solve(B, draws[0])))
    point = ShapePoint(estimate_at(found.score, *truth))
    t = point.traces
    assert np.abs(scores.mean(axis=0) / scores.std(axis=0) * 40_000**0.5).max() < 3.5
    omega = [[mean @ mean + t.ftf + t.ff, t.cross + t.straight], [t.cross + t.straight, t.hh]]
    np.testing.assert_allclose(
        np.cov(scores.T), omega, rtol=0.15
    )  # of the smallest entry three of its errors
    assert free > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["two_way", "trend"])
def test_intervals_cover_in_uneven_panels(kind):
    """SAR under a W that changes, units that come late: ρ ± 1.96 standard errors over 400 panels."""
    shape, _, dense = make(19, kind, "SAR")
    r, S = np.random.default_rng(2), np.eye(dense.N) - 0.35 * dense.W
    effects = dense.Z @ np.linspace(1, 0.4, 3) + dense.D @ r.normal(size=dense.r)
    hits, off = [], []
    for _ in range(400):
        found = shape_estimate(shape, np.linalg.solve(S, effects + r.normal(size=dense.N)))
        point, on = ShapePoint(found), np.ix_(shape.active, shape.active)
        cov, positive = sandwiched(observed_derivative(point)[on], score_variance(point)[on])
        off.append(found.rho - 0.35)
        hits.append(positive and abs(off[-1]) <= 1.96 * cov[-2, -2] ** 0.5)
    assert 0.88 <= np.mean(hits) <= 0.98
    assert abs(np.mean(off)) < 0.08


@pytest.mark.parametrize(
    ("kind", "model", "row"), [*CASES, ("two_way", "SEM", False), ("time", "SAC", False)]
)
def test_the_sparse_road_is_the_dense_one(kind, model, row, monkeypatch):
    """Factors of D'B'BD and probes give the roots, traces and Ω of dense columns: any effects, W by period, V of its own."""
    shape, y, _ = make(3, kind, model, row)
    found = shape_estimate(shape, y)
    traces, omega = ShapePoint(found).traces, score_variance(ShapePoint(found))
    take_the_sparse_road(monkeypatch)
    shape, y, _ = make(3, kind, model, row)
    assert not shape.few
    other = shape_estimate(shape, y)
    assert (other.rho, other.lam) == pytest.approx((found.rho, found.lam), abs=EXACT)
    np.testing.assert_allclose(other.delta, found.delta, atol=EXACT * 10)
    probed = ShapePoint(other).traces
    for name in set(traces.__slots__) - {"excess_of_error", "probe_error", "slope_h"}:
        assert getattr(probed, name) == pytest.approx(getattr(traces, name), abs=1e-7), name
    assert probed.slope_h == pytest.approx(traces.slope_h, rel=1e-5)
    np.testing.assert_allclose(score_variance(ShapePoint(other)), omega, rtol=1e-7, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["SEM", "SAC"])
def test_lambda_of_eight_hundred_units(model):
    """Four periods, half of the units late, V of more distant units: bias and coverage of λ (and ρ) over 40 panels."""
    units, r = 800, np.random.default_rng(6)
    first = np.where(r.random(units) < 0.5, r.integers(1, 3, units), 0)
    there = [np.flatnonzero(first <= t) for t in range(4)]

    def lags(*steps):
        whole = sum(np.eye(units, k=k) + np.eye(units, k=-k) for k in steps)
        return row_weights([sparse.csr_array(normalised(whole[np.ix_(at, at)])) for at in there])

    W, V, unit = lags(1, 2), lags(3, 5), np.concatenate(there)
    N, period = len(unit), np.repeat(np.arange(4), [len(at) for at in there])
    places = np.tile(np.arange(N), 2), np.concatenate([unit, units + period])
    effects = effect_space(sparse.csc_array((np.ones(2 * N), places), shape=(N, units + 4)), unit)
    x = r.normal(size=(N, 2))
    shape = Shape(x, unit, tuple(W.starts), effects, W if model == "SAC" else None, V)
    assert not shape.few
    off, errors = [], []
    for _ in range(40):
        y = x @ [1.0, 0.5] + RowFilter(V, 0.4).solve(r.normal(size=N))
        found = shape_estimate(shape, RowFilter(W, 0.3).solve(y) if model == "SAC" else y)
        point, on = ShapePoint(found), np.ix_(shape.active, shape.active)
        cov, positive = sandwiched(observed_derivative(point)[on], score_variance(point)[on])
        assert positive
        off.append([found.rho - 0.3, found.lam - 0.4][-len(shape.active[2:-1]) :])
        errors.append(np.sqrt(np.diag(cov)[2:-1]))
    off, errors = np.array(off), np.array(errors)
    assert np.all(np.abs(off.mean(axis=0)) < 4 * off.std(axis=0) / 40**0.5)
    assert np.all((np.abs(off) <= 1.96 * errors).mean(axis=0) >= 0.85)


@pytest.mark.parametrize("model", ["SAR", "SEM", "SAC"])
def test_pairs_of_units_from_probes_are_those_of_dense_blocks(model, monkeypatch):
    """Clustered variances from every ±1 vector of nine units, less the noise that so many random ones would leave."""
    shape, y, _ = make(4, "two_way", model)
    point = ShapePoint(shape_estimate(shape, y))
    e, forms = point.found.e, point.forms
    exact, usual = (cluster_meat(point, e, 9 / 8, way) for way in (False, True))
    assert point.traces.probe_error == 0.0
    signs = np.array(list(product((-1.0, 1.0), repeat=9))).T
    draws = np.tile(linalg.hadamard(64)[: len(e)], 8) * 1.0  # at right angles: their means are exact
    monkeypatch.setattr(shape_covariance, "random_signs", lambda _, size: signs if size[0] == 9 else draws)
    monkeypatch.setattr(shape_covariance, "PAIR_PROBES", 512)
    point.found.score.shape.__dict__["few"] = False
    number = np.unique(shape.unit, return_inverse=True)[1]
    known, drawn = (
        way(point, e, number, False) for way in (shape_covariance._pairs, shape_covariance._probed_pairs)
    )
    for place, (Y, own, _) in known.items():
        np.testing.assert_allclose(drawn[place][1].mean(axis=1), own[:, 0], atol=1e-12 * np.abs(Y).max())
        for other, (X, *_) in known.items():
            assert np.vdot(drawn[place][0], drawn[other][0]) == pytest.approx(np.vdot(Y, X), rel=1e-9)
    np.testing.assert_allclose(
        cluster_meat(point, e, 9 / 8), exact, rtol=0.01, atol=0.01 * np.abs(exact).max()
    )
    M = np.eye(len(e)) - point.space.full @ point.space.full.T
    drawn = shape_covariance._probed_pairs(point, e, number, True)
    for name, form in forms.items():
        X = M @ linalg.block_diag(*[block for _, block in form.blocks]) @ M
        means = point.found.sigma2 * np.diag(X - np.trace(X) / shape.free * M)
        found = drawn[point.places[name]][2].mean(axis=1)
        np.testing.assert_allclose(found, np.bincount(number, weights=means), atol=1e-12)
    # These take M_ij of two units for zero, which nine units have not
    np.testing.assert_allclose(cluster_meat(point, e, 9 / 8, True), usual, atol=0.03 * np.abs(usual).max())


@pytest.mark.parametrize(("kind", "model", "row"), [CASES[1], CASES[4]])
def test_what_a_root_leans_by_has_the_moments_of_dense_forms(kind, model, row, monkeypatch):
    """Q(c) as a matrix of (e, 1), differentiated by differences: means, variances and covariances of its derivatives."""
    shape, y, dense = make(kind=kind, model=model, row=row)
    found, N = shape_estimate(shape, y), len(y)
    e, left, lag = found.e, shape.free - shape.Z.shape[1], model == "SAR"
    X, at = (dense.W, found.rho) if lag else (dense.V, found.lam)
    G, B = X @ np.linalg.inv(np.eye(N) - at * X), np.eye(N) - (0 if lag else at) * X
    D = shape.effects.full

    def off(*columns):
        C = np.hstack(columns)
        return np.eye(N) - C @ np.linalg.pinv(C)

    M = off(B @ D, B @ shape.Z)
    mean = M @ (X @ y - G @ e) / np.sqrt(e @ e / left)

    def squares(step):
        move = np.eye(N) - step * G
        now = M if lag else off(move @ B @ D, move @ B @ shape.Z)
        R = np.column_stack([now @ move @ M, -step * mean * lag])
        return R.T @ R

    def trace(c):
        return np.trace(off(D if lag else D - c * X @ D) @ X @ np.linalg.inv(np.eye(N) - c * X))

    h = 2e-2
    K = [squares(j * h) for j in range(-3, 4)]
    one = (45 * (K[4] - K[2]) - 9 * (K[5] - K[1]) + K[6] - K[0]) / (60 * h)
    two = (270 * (K[4] + K[2]) - 27 * (K[5] + K[1]) + 2 * (K[6] + K[0]) - 490 * K[3]) / (180 * h**2)
    three = (13 * (K[2] - K[4]) + 8 * (K[5] - K[1]) - (K[6] - K[0])) / (8 * h**3)
    seen = []
    lean = scores._Forms.lean
    monkeypatch.setattr(
        scores._Forms, "lean", lambda self, *rest: (seen.append((self, rest)), lean(self, *rest))[1]
    )
    exact = lean_of(found)
    (forms, (free, rest, traces)) = seen[0]
    assert (free, rest) == (shape.free, left)
    np.testing.assert_allclose(forms.means, [np.trace(k) for k in (one, two, three)], rtol=1e-4, atol=1e-4)

    def between(a, b):
        return 2 * np.vdot(a[:N, :N], b[:N, :N]) + 4 * a[:N, N] @ b[:N, N]

    assert forms.variance == pytest.approx(between(one, one), rel=1e-5)
    assert forms.covariance == pytest.approx(between(one, two), rel=1e-5)
    assert forms.quadratic == pytest.approx(np.trace(two[:N, :N]), rel=1e-5)
    t = [trace(at + j * 1e-3) for j in (-1, 0, 1)]
    np.testing.assert_allclose(
        traces, [t[1], (t[2] - t[0]) / 2e-3, (t[2] - 2 * t[1] + t[0]) / 1e-6], rtol=1e-2
    )
    if lag:  # what ρ̂ takes along, and its covariance with the error in Wy
        on = np.linalg.lstsq(off(D) @ shape.Z, off(D), rcond=None)[0]
        shared = shape.free / left * on @ G @ mean * np.sqrt(e @ e / left)
        size = (exact.delta + exact.of * on @ (X @ y - G @ e)) / -shared  # 1/h
        assert np.ptp(size) < 1e-8 * size.mean()
        assert exact.error**2 == pytest.approx(size.mean(), rel=0.3)
    else:
        assert not exact.delta.any()
    monkeypatch.setattr(scores, "EXACT_ROWS", 0)
    monkeypatch.setattr(scores, "LEAN_PROBES", 4000)
    assert lean_of(found).of == pytest.approx(exact.of, rel=0.05)


def test_a_fit_lets_go_of_its_shape_and_shares_what_is_equal(no_collector):
    """No circle holds a shape, its filters or a score; equal W and effects of models on the same rows are one object."""
    shape, y, _ = make(5, "two_way", "SAC")
    other = make(5, "two_way", "SEM")[0]
    assert other.V is shape.V
    assert other.effects is shape.effects
    point = ShapePoint(shape_estimate(shape, y))
    score_variance(point)
    gone = [weakref.ref(held) for held in (shape, shape.at(0.1), point.found.score, shape.W)]
    del shape, other, point
    assert [held() for held in gone] == [None] * 4


@pytest.fixture
def no_collector():
    gc.disable()
    yield
    gc.enable()


def test_sums_of_a_decomposed_w_are_those_of_solves():
    """ι'S⁻¹v and ι'S⁻¹WS⁻¹v by eigenvalues of every W_t against an N × N inverse, with another W of x."""
    rows, W, V = panel(6)
    own, other, rho = row_weights(W), row_weights(V), 0.4
    assert all(spectrum is not None for spectrum in own.spectra)
    dense, S = own.matrix.toarray(), np.linalg.inv(np.eye(len(rows)) - rho * own.matrix.toarray())
    at = np.repeat(np.arange(T), np.diff(own.starts))[:, None] == np.arange(T)
    v = np.column_stack([np.ones(len(rows)), other.matrix @ np.ones(len(rows))])
    found = row_multipliers(rho, own, other)
    np.testing.assert_allclose(found[2:4], (at.T @ (S @ v)).T, rtol=1e-12)
    np.testing.assert_allclose(found[6:], (at.T @ (S @ dense @ S @ v)).T, rtol=1e-12)


def test_a_defective_weights_is_followed_to_the_end_of_its_interval():
    """Five units, four periods: −1/2 is a double eigenvalue of V with one vector, so that D'B'BD is singular to rounding."""
    V = np.zeros((5, 5))
    V[[0, 0, 1, 1, 2, 2, 3, 3, 4, 4], [2, 3, 3, 4, 0, 3, 0, 1, 1, 3]] = 0.5
    rows = np.array([(i, t) for t in range(4) for i in range(5)])
    D = np.hstack([rows[:, :1] == np.arange(5), rows[:, 1:] == np.arange(4)]) * 1.0
    effects = effect_space(sparse.csc_array(D), rows[:, 0])
    weights = row_weights([sparse.csr_array(V)] * 4)
    shape = Shape(np.empty((20, 0)), rows[:, 0], (0, 5, 10, 15, 20), effects, None, weights)
    v, low = np.random.default_rng(1).normal(size=20), float(inner_interval(weights.interval)[0])
    assert np.isfinite(shape.at(low).off(v)).all()
    A = np.diag([1.0, -1e-17])  # what rounding may make of it
    L = lower_factor(A)
    np.testing.assert_allclose(L @ L.T, A, atol=1e-15)
    assert np.all(np.diag(L) != 0)
    B = np.eye(20) - 0.99 * low * linalg.block_diag(V, V, V, V)
    basis = linalg.orth(B @ D, rcond=1e-10)
    np.testing.assert_allclose(shape.at(0.99 * low).off(v), v - basis @ (basis.T @ v), atol=1e-6)
