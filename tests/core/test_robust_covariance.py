"""Robust covariances: identities against dense algebra, linearmodels for least squares, simulation for coverage."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from spatial_zb import DurbinSpec, Panel, SpatialZbWarning, SpecificationError, Weights, fit_durbin
from spatial_zb.core.likelihood.covariance import (
    bartlett_bandwidth,
    error_moments,
    overlap_kernel,
)
from spatial_zb.core.logdet.entries import QuadraticForms, dissect
from spatial_zb.simulate import durbin as simulate_durbin

ROBUST = ("sandwich", "cr1", "cr2", "driscoll_kraay", "spatial_hac")
EFFECTS = ("none", "unit", "time", "two_way")
#: Both sides are the same closed form up to rounding.
EXACT = 1e-9


def grid(rows: int, columns: int, how: str = "row") -> Weights:
    n = rows * columns
    A = np.zeros((n, n))
    for i in range(n):
        if (i + 1) % columns:
            A[i, i + 1] = A[i + 1, i] = 1
        if i + columns < n:
            A[i, i + columns] = A[i + columns, i] = 1
    return Weights(sparse.csr_array(A), pd.Index([f"u{i:03d}" for i in range(n)])).standardise(how)


def sample(rows: int = 4, columns: int = 5, T: int = 12, seed: int = 0, how: str = "row"):
    W = grid(rows, columns, how)
    return W, simulate_durbin(
        W, T, {"a": 1.0, "b": -0.5}, theta={"a": 0.4}, rho=0.3 if how == "row" else 0, rng=seed
    )


def fitted(spec: DurbinSpec, panel: Panel, W: Weights, covariance: str, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        return fit_durbin(spec, panel, W, covariance=covariance, **more)


def spec(family: str = "SDM", effects: str = "two_way") -> DurbinSpec:
    lag_y, lag_x, lag_error = {
        "OLS": (False, [], False),
        "SLX": (False, "all", False),
        "SDM": (True, "all", False),
        "SEM": (False, [], True),
        "GNS": (True, "all", True),
    }[family]
    return DurbinSpec("y", ["a", "b"], lag_y, lag_x, lag_error, effects)


# --- the quadratic forms


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("how", ["row", "none"])
def test_diagonals_and_pairs_equal_dense_ones(how, centred):
    W = grid(8, 9, how).matrix  # more columns than one block holds
    n, T = W.shape[0], 4
    rho, lam = (0.4, -0.3) if how == "row" else (0.1, -0.05)
    J = np.eye(n) - centred / n
    G, H = (J @ W.toarray() @ np.linalg.inv(np.eye(n) - c * W.toarray()) @ J for c in (rho, lam))
    both = QuadraticForms(W, (rho, lam), centred, dissect(W))
    np.testing.assert_allclose(both.own, [np.diag(G), np.diag(H)], rtol=EXACT, atol=1e-12)
    e = np.random.default_rng(0).standard_normal((T, n))
    products = e.T @ e
    upper = np.triu_indices(n, 1)
    forms = [((M + M.T) * products)[upper] for M in (G, H, J)]
    np.testing.assert_allclose(both.pair_squares(e)[0], [[a @ b for b in forms] for a in forms], rtol=EXACT)


@pytest.mark.parametrize("effects", EFFECTS)
def test_moments_of_projected_errors_are_undone(effects):
    """E of the moments of Qε, by the rows of a dense Q, gives back μ₃ and κ₄."""
    T, n, mu3, kappa4, sigma2 = 5, 6, 1.7, 2.9, 1.3
    J_T = np.eye(T) - 1 / T if effects in ("unit", "two_way") else np.eye(T)
    J_n = np.eye(n) - 1 / n if effects in ("time", "two_way") else np.eye(n)
    row = np.kron(J_T, J_n)[0]
    third = mu3 * (row**3).sum()
    fourth = kappa4 * (row**4).sum() + 3 * sigma2**2 * (row**2).sum() ** 2
    e = _values_with(third, fourth)
    found = error_moments(e, sigma2, (T, n), effects)
    assert (found.third, found.fourth) == pytest.approx((mu3, kappa4), rel=1e-9)


def _values_with(third: float, fourth: float) -> np.ndarray:
    """Four values whose mean third and fourth powers are the given ones."""
    from scipy.optimize import fsolve

    solve = fsolve(
        lambda v: [(v[0] ** 3 + v[1] ** 3) / 2 - third, (v[0] ** 4 + v[1] ** 4) / 2 - fourth],
        (1.5, -0.5),
        xtol=1e-12,
    )
    return np.asarray(solve)


def test_third_moment_is_not_claimed_with_two_periods():
    assert error_moments(np.random.default_rng(0).standard_exponential(40), 1.0, (2, 20), "unit").third == 0.0


# --- least squares: equal to linearmodels


def linear(panel: Panel, W: Weights, effects: str, slx: bool):
    frame = panel.frame().set_index(["unit", "period"])
    if slx:
        for name in ("a", "b"):
            frame[f"W_{name}"] = (W.matrix @ panel.array(name).T).T.ravel()
    names = ["a", "b", *(["W_a", "W_b"] if slx else [])]
    models = pytest.importorskip("linearmodels.panel")
    unit, time = effects in ("unit", "two_way"), effects in ("time", "two_way")
    X = frame[names].assign(**({"const": 1.0} if effects == "none" else {}))
    return models.PanelOLS(frame["y"], X, entity_effects=unit, time_effects=time), names


@pytest.mark.parametrize("family", ["OLS", "SLX"])
@pytest.mark.parametrize("effects", EFFECTS)
def test_clusters_of_least_squares_equal_linearmodels(family, effects):
    """Theirs without small-sample factors, times n/(n − 1) and N/(N − k), N after the transform."""
    W, panel = sample()
    fit = fitted(spec(family, effects), panel, W, "cr1")
    model, names = linear(panel, W, effects, family == "SLX")
    theirs = model.fit(
        cov_type="clustered", cluster_entity=True, debiased=False, auto_df=False, count_effects=False
    )
    n, k = 20, len(fit.params) - 1
    factor = n / (n - 1) * fit.nobs / (fit.nobs - k)
    np.testing.assert_allclose(
        fit.cov.loc[names, names], factor * theirs.cov.loc[names, names], rtol=1e-7, atol=1e-12
    )
    assert fit.df_resid == n - 1


@pytest.mark.parametrize("bandwidth", [None, 0, 1, 4])
@pytest.mark.parametrize("effects", EFFECTS)
def test_driscoll_kraay_of_least_squares_equals_linearmodels(effects, bandwidth):
    W, panel = sample()
    fit = fitted(spec("SLX", effects), panel, W, "driscoll_kraay", bandwidth=bandwidth)
    model, names = linear(panel, W, effects, True)
    theirs = model.fit(
        cov_type="kernel",
        kernel="bartlett",
        bandwidth=bandwidth,
        debiased=False,
        auto_df=False,
        count_effects=False,
    )
    factor = fit.nobs / (fit.nobs - len(fit.params) + 1)
    np.testing.assert_allclose(
        fit.cov.loc[names, names], factor * theirs.cov.loc[names, names], rtol=1e-7, atol=1e-12
    )


def test_rule_of_the_bandwidth():
    assert [bartlett_bandwidth(T) for T in (3, 20, 100, 1000)] == [1, 2, 4, 6]


@pytest.mark.parametrize("family", ["OLS", "SDM", "SEM"])
def test_spatial_hac_of_order_zero_is_clusters_by_unit(family):
    """Without reach the kernel is the identity; only the factor n/(n − 1) differs."""
    W, panel = sample()
    hac = fitted(spec(family), panel, W, "spatial_hac", bandwidth=0)
    cluster = fitted(spec(family), panel, W, "cr1")
    np.testing.assert_allclose(hac.cov * 20 / 19, cluster.cov, rtol=EXACT, atol=1e-14)


def test_spatial_hac_of_least_squares_is_the_double_sum():
    W, panel = sample()
    fit = fitted(spec("SLX"), panel, W, "spatial_hac", bandwidth=2)
    Z, e = fit.design.Z, fit.residuals
    s = np.einsum("tik,ti->ik", Z, e)
    A = (W.matrix.toarray() > 0) | np.eye(20, dtype=bool)
    near = np.linalg.matrix_power(A.astype(int), 2) > 0
    K = np.array([[(p & q).sum() / np.sqrt(p.sum() * q.sum()) for q in near] for p in near])
    bread = np.linalg.inv(np.einsum("tik,til->kl", Z, Z))
    expected = bread @ s.T @ K @ s @ bread * fit.nobs / (fit.nobs - 4)
    np.testing.assert_allclose(fit.cov.to_numpy()[:4, :4], expected, rtol=1e-8)
    root = overlap_kernel(W.matrix, 2)
    np.testing.assert_allclose((root @ root.T).toarray(), K, atol=1e-12)


# --- with ρ and λ


@pytest.mark.parametrize("kind", ROBUST)
@pytest.mark.parametrize("family", ["OLS", "SDM", "SEM", "GNS"])
@pytest.mark.parametrize("effects", EFFECTS)
def test_positive_semi_definite_and_invariant(kind, family, effects):
    W, panel = sample(how="row")
    first = fitted(spec(family, effects), panel, W, kind)
    assert first.converged
    scale = np.sqrt(np.diag(first.cov))
    correlations = first.cov.to_numpy() / np.outer(scale, scale)
    assert np.linalg.eigvalsh(correlations).min() > -1e-9
    order = np.random.default_rng(1).permutation(20)
    moved = Panel(panel.values[:, order], panel.periods, panel.units[order], panel.columns)
    np.testing.assert_allclose(
        fitted(spec(family, effects), moved, W.align(moved.units), kind).cov, first.cov, rtol=1e-5, atol=1e-9
    )
    units = np.array([1e6, 1e-3, 1e4])
    scaled = Panel(panel.values * units, panel.periods, panel.units, panel.columns)
    by = pd.Series(1.0, first.params.index)
    for term in by.index:
        name = term.removeprefix("W_")
        by[term] = 1e6 / {"a": 1e-3, "b": 1e4}[name] if name in ("a", "b") else by[term]
    by["sigma2"] = 1e12
    if "(Intercept)" in by:
        by["(Intercept)"] = 1e6
    np.testing.assert_allclose(
        fitted(spec(family, effects), scaled, W, kind).cov / np.outer(by, by), first.cov, rtol=1e-5, atol=1e-9
    )


@pytest.mark.parametrize("family", ["SDM", "SEM", "GNS"])
@pytest.mark.parametrize("effects", EFFECTS)
def test_sandwich_meat_is_the_variance_of_the_score(family, effects):
    """At given parameters and by dense algebra: the variance of linear and quadratic forms in iid skewed errors."""
    from spatial_zb.core.likelihood.covariance import Residuals, information, sandwich_meat
    from spatial_zb.core.logdet import make_logdet
    from spatial_zb.core.logdet.traces import filter_traces
    from spatial_zb.core.transforms import demean, transformed_sample

    T, n, sigma2 = 4, 6, 1.0
    W = grid(2, 3).matrix
    rho, lam = (0.4 if family != "SEM" else 0.0), (0.3 if family != "SDM" else 0.0)
    J_T = np.eye(T) - (1 / T if effects in ("unit", "two_way") else 0)
    J_n = np.eye(n) - (1 / n if effects in ("time", "two_way") else 0)
    Q = np.kron(J_T, J_n)
    G, H = (W.toarray() @ np.linalg.inv(np.eye(n) - c * W.toarray()) for c in (rho, lam))
    rng = np.random.default_rng(2)
    BZ, BGm = Q @ rng.standard_normal((T * n, 2)), Q @ rng.standard_normal(T * n)
    draws = (rng.exponential(size=(400_000, T * n)) - 1.0) @ Q  # μ₃ = 2, κ₄ = 6
    P = [Q @ np.kron(np.eye(T), M) @ Q for M in (G, H)]
    quadratic = [np.einsum("ra,ra->r", draws @ M, draws) for M in P]
    score = np.column_stack(
        [draws @ BZ, draws @ BGm + quadratic[0], quadratic[1], (draws**2).sum(axis=1) / 2]
    )
    e = demean(rng.standard_normal((T, n)), effects).ravel()
    parts = Residuals(BZ, BGm, BGm, e, None, None, e)
    tr = transformed_sample(n, T, effects, "lee_yu")
    traces = filter_traces(W, make_logdet(W), rho, lam, tr.centred)
    own = QuadraticForms(W, (rho, lam), tr.centred, None).own
    import spatial_zb.core.likelihood.covariance as covariance

    known = covariance.Moments(2.0, 6.0)
    original = covariance.error_moments
    covariance.error_moments = lambda *_: known
    try:
        meat = sandwich_meat(parts, information(parts, traces, sigma2, tr), sigma2, (T, n), effects, own)
    finally:
        covariance.error_moments = original
    simulated = np.cov(score.T)
    size = np.sqrt(np.outer(np.diag(meat), np.diag(meat)))
    # 400,000 draws of a heavy-tailed square: a relative error below one per cent
    assert np.abs((meat - simulated) / size).max() < 0.015


def test_each_meat_equals_the_information_on_average_when_errors_are_normal():
    W = grid(8, 8)
    ratios = {kind: [] for kind in ROBUST}
    for seed in range(12):
        panel = simulate_durbin(W, 25, {"a": 1.0, "b": -0.5}, theta={"a": 0.4}, rho=0.3, rng=seed)
        base = np.diag(fitted(spec(), panel, W, "information").cov)
        for kind, found in ratios.items():
            found.append(np.diag(fitted(spec(), panel, W, kind).cov) / base)
    for kind, found in ratios.items():
        means = np.mean(found, axis=0)
        # Driscoll-Kraay from 25 periods is known to be some 10 % too small
        low, high = (0.7, 1.15) if kind == "driscoll_kraay" else (0.85, 1.15)
        assert ((means > low) & (means < high)).all(), (kind, means)


# --- refusals


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"covariance": "information", "bandwidth": 2}, "bandwidth goes with"),
        ({"covariance": "driscoll_kraay", "bandwidth": 12}, "from 0 to 11"),
        ({"covariance": "driscoll_kraay", "bandwidth": 1.5}, "whole number"),
        ({"covariance": "spatial_hac", "bandwidth": -1}, "whole number"),
        ({"covariance": "robust"}, "covariance must be one of"),
    ],
    ids=["not asked", "too long", "not whole", "negative", "not for ML"],
)
def test_refusals(more, words):
    W, panel = sample()
    with pytest.raises(SpecificationError, match=words):
        fit_durbin(spec(), panel, W, **more)


def test_spatial_hac_over_nearly_all_pairs_is_refused():
    """Scores sum to zero: under a kernel of ones their double sum is zero, and so were the standard errors."""
    W, panel = sample(3, 3)
    with pytest.raises(SpecificationError, match="overlap by 76% on average"):
        fit_durbin(spec(), panel, W, covariance="spatial_hac", bandwidth=2)
    with pytest.warns(SpatialZbWarning, match=r"41%.*units.*24%"):
        fit_durbin(spec(), panel, W, covariance="spatial_hac")


def test_driscoll_kraay_needs_periods():
    W, panel = sample()
    with pytest.raises(SpecificationError, match="from period to period"):
        fit_durbin(spec(), panel.select(periods=[2001, 2002]), W, covariance="driscoll_kraay")


@pytest.mark.parametrize(
    ("kind", "rows", "T", "words"),
    [("cr1", 3, 12, "with 9 units"), ("driscoll_kraay", 5, 9, "with 5 periods and 11 units")],
)
def test_few_clusters_are_said(kind, rows, T, words):
    W, panel = sample(rows, 3, T)
    with pytest.warns(SpatialZbWarning, match=words):
        fit_durbin(spec("OLS"), panel, W, covariance=kind)


# --- simulation


def errors(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    if kind == "skewed":
        return rng.exponential(size=shape) - 1.0
    if kind == "heavy":
        return rng.standard_t(5, size=shape) / np.sqrt(5 / 3)
    step = rng.standard_normal(shape)  # serially correlated
    for t in range(1, shape[0]):
        step[t] = 0.6 * step[t - 1] + 0.8 * step[t]
    return step


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "covariance", "terms"),
    [
        ("skewed", "sandwich", ["a", "W_a", "rho", "sigma2"]),
        ("heavy", "sandwich", ["a", "W_a", "rho", "sigma2"]),
        ("serial", "cluster", ["a", "W_a", "rho"]),
    ],
)
def test_coverage(kind, covariance, terms):
    """95 % intervals cover between 92 and 97 % of the time; those of the information do not, for σ² or β.

    σ² itself is skewed when errors have heavy tails, and the interval is symmetric: 87 % at least.
    """
    W = grid(7, 8)
    from spatial_zb.core.logdet.traces import filter_solver

    solve, rng = filter_solver(W.matrix, 0.4), np.random.default_rng(11)
    truth = pd.Series({"a": 1.0, "W_a": 0.5, "rho": 0.4, "sigma2": 1.0})
    hits, plain = [], []
    base = replace(spec(effects="unit"), x=("a",), lag_x=("a",))
    for _ in range(800):
        walk = errors("serial", (8, 56), rng)  # a regressor that is serially correlated too
        eps = errors(kind, (8, 56), rng)
        y = solve((walk + 0.5 * (W.matrix @ walk.T).T + eps).T).T
        panel = Panel(np.stack([y, walk], axis=2), tuple(range(8)), W.ids, ("y", "a"))
        for record, how in ((hits, covariance), (plain, "information")):
            fit = fitted(base, panel, W, how)
            record.append((fit.params - truth).abs() < 1.96 * fit.bse)
    share, classical = (pd.DataFrame(record)[terms].mean() for record in (hits, plain))
    least = pd.Series({term: 0.87 if term == "sigma2" else 0.92 for term in terms})
    assert ((share > least) & (share < 0.97)).all(), share
    assert classical.min() < 0.90, classical
