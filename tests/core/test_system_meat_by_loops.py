"""Clustered covariances of systems against loops over units: every sum of scores, and the factor n/(n − 1).

Instruments, transforms and estimates are those of the fit; what is made of them is written out with dense matrices.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import linalg, stats
from small_examples import directed_knn

import spatial_zb as zb
from spatial_zb.core.system import instrumental
from spatial_zb.core.system.components import error_components
from spatial_zb.core.system.scores import unit_scores
from spatial_zb.hypotheses.nested import _with_sigma, likelihood_ratio, restriction_tests
from spatial_zb.models.system import fit_system, system_likelihood
from spatial_zb.models.system.design import build_system_design
from spatial_zb.models.system.spec import Equation, SystemSpec
from spatial_zb.simulate import system as simulate_system

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")

#: Two orders of summation.
ROUNDING = 1e-8
N, T = 40, 5
TRUTH = {
    ("industry", "tal"): 0.3,
    ("industry", "W_ind"): 0.3,
    ("industry", "a"): 1.0,
    ("talent", "ind"): 0.2,
    ("talent", "c"): 1.0,
}


def two(effects: str, lag_error: bool = False) -> SystemSpec:
    """Talent has one endogenous regressor, so that the rank test of its instruments is a first-stage Wald test."""
    equations = {
        "industry": Equation("ind", ["tal"], ["a"], lag_error=lag_error),
        "talent": Equation("tal", ["ind"], ["c"], lag_y=False, lag_error=lag_error),
    }
    return SystemSpec(equations, effects)


@pytest.fixture(scope="module")
def W():
    return directed_knn(N)


@pytest.fixture(scope="module")
def panel(W):
    """Errors that grow over the units and last over time: clusters matter."""
    drawn = simulate_system(two("unit"), W, T, TRUTH, rng=7)
    lasting = np.random.default_rng(3).standard_normal((2, N)) * np.linspace(0.2, 2, N)
    trend = np.linspace(-1, 1, T)[:, None]
    return drawn.with_columns(
        {name: drawn.array(name) + trend * e for name, e in zip(("ind", "tal"), lasting, strict=True)}
    )


@pytest.fixture
def cr1(monkeypatch):
    """As with many units: residuals as they are, and the factor n/(n − 1)."""
    monkeypatch.setattr(instrumental, "MANY_CLUSTERS", 0)
    monkeypatch.setattr("spatial_zb.models.spec.MANY_CLUSTERS", 0)


def unit_sums(rows: np.ndarray) -> np.ndarray:
    """Rows (T*·n, …) of one period after another, summed unit by unit."""
    out = np.zeros((N, *rows.shape[1:]))
    for row, values in enumerate(rows):
        out[row % N] += values
    return out


def clustered(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """n/(n − 1) Σ_i (Σ_t s_it)(Σ_t r_it)'."""
    total = sum(np.outer(a, b) for a, b in zip(unit_sums(left), unit_sums(right), strict=True))
    return total * N / (N - 1)


class Dense:
    """The filtered system of a fit as one stacked regression: rows of equation after equation."""

    def __init__(self, fit, W, weight: np.ndarray) -> None:
        arrays = fit.design.arrays
        m = arrays.m
        lags = np.kron(
            np.eye(len(arrays.y) // N), W.matrix.toarray()
        )  # unit effects: W is applied period by period
        lam = [fit.params.get((name, "lam"), 0.0) for name in fit.spec.names]
        self.u = [
            arrays.y[:, g] - arrays.Z[g] @ fit.params[name].drop("lam", errors="ignore")
            for g, name in enumerate(fit.spec.names)
        ]
        self.lags, self.lam = lags, lam
        filters = [np.eye(len(lags)) - c * lags for c in lam]
        self.Z = [f @ block for f, block in zip(filters, arrays.Z, strict=True)]
        self.e = [f @ u for f, u in zip(filters, self.u, strict=True)]
        projection = arrays.H @ arrays.H.T
        stacked = linalg.block_diag(*self.Z)
        middle = stacked.T @ np.kron(weight, projection)
        infl = np.linalg.solve(middle @ stacked, middle).T  # δ̂ − δ = infl'ε
        self.infl = np.split(infl, m)
        self.scores = sum(block * e[:, None] for block, e in zip(self.infl, self.e, strict=True))


def residual_weight(panel, W) -> np.ndarray:
    """Σ̂⁻¹ of two-stage least squares."""
    fit = fit_system(two("unit"), panel, W, "2sls")
    e = np.column_stack(Dense(fit, W, np.eye(2)).e)
    return np.linalg.inv(e.T @ e / len(e))


@pytest.mark.parametrize("method", ["2sls", "3sls"])
def test_coefficients_of_two_and_three_stage_least_squares(method, panel, W, cr1):
    fit = fit_system(two("unit"), panel, W, method, covariance="cluster")
    dense = Dense(fit, W, np.eye(2) if method == "2sls" else residual_weight(panel, W))
    np.testing.assert_allclose(fit.cov, clustered(dense.scores, dense.scores), rtol=ROUNDING, atol=1e-12)


def test_coefficients_and_spatial_errors_of_gs2sls(panel, W):
    """λ̂_g − λ_g = ℓ'(ε'A_rε + a_r'ε)/N: pairs of units for the quadratic forms, sums by unit for the linear ones."""
    fit = fit_system(two("unit", lag_error=True), panel, W, "gs2sls", covariance="cluster")
    dense = Dense(fit, W, np.eye(2))
    A = W.matrix.toarray()
    moments = [A.T @ A - np.diag(np.diag(A.T @ A)), (A + A.T) / 2]
    large = [np.kron(np.eye(T - 1), M) for M in moments]
    rows = len(dense.e[0])
    width = [block.shape[1] for block in dense.Z]
    own = [dense.infl[0][:, : width[0]], dense.infl[1][:, width[0] :]]
    shifts = [
        np.column_stack([-2 * own[g] @ (dense.Z[g].T @ (M @ dense.e[g])) for M in large]) for g in (0, 1)
    ]
    linear = [shifts[g] * dense.e[g][:, None] for g in (0, 1)]

    def variance(g, l):
        pairs = np.zeros((2, 2))
        products = (dense.e[g] * dense.e[l]).reshape(-1, N)
        for r in (0, 1):
            for s in (0, 1):
                for i in range(N):
                    for j in range(N):
                        pairs[r, s] += (
                            2 * moments[r][i, j] * moments[s][i, j] * (products[:, i] @ products[:, j])
                        )
        return (pairs + clustered(linear[g], linear[l])) / rows

    left = []
    for g in (0, 1):
        slope = np.array([2 * (dense.lags @ dense.u[g]) @ (M @ dense.e[g]) for M in large]) / rows
        weight = np.linalg.inv(variance(g, g))
        left.append(weight @ slope / (slope @ weight @ slope))
    K = sum(width)
    expected = np.empty((K + 2, K + 2))
    expected[:K, :K] = clustered(dense.scores, dense.scores)
    for g in (0, 1):
        expected[:K, K + g] = expected[K + g, :K] = clustered(dense.scores, linear[g]) @ left[g] / rows
        for l in (0, 1):
            expected[K + g, K + l] = left[g] @ variance(g, l) @ left[l] / rows
    order = [k for k, (_, term) in enumerate(fit.params.index) if term != "lam"]
    order += [k for k, (_, term) in enumerate(fit.params.index) if term == "lam"]
    np.testing.assert_allclose(fit.cov.to_numpy()[np.ix_(order, order)], expected, rtol=ROUNDING, atol=1e-12)


def test_tests_of_the_instruments(panel, W):
    """Hansen's J of two-step GMM, and the Wald test of the first stage."""
    fit = fit_system(two("unit"), panel, W, "2sls", covariance="cluster")
    found = fit.identification().set_index("equation").loc["talent"]
    arrays = fit.design.arrays
    y, Z, H = arrays.y[:, 1], arrays.Z[1], arrays.H
    across = H.T @ Z
    e = y - Z @ fit.params["talent"].to_numpy()
    weight = np.linalg.inv(clustered(H * e[:, None], H * e[:, None]))
    delta = np.linalg.solve(across.T @ weight @ across, across.T @ weight @ (H.T @ y))
    moments = H.T @ (y - Z @ delta)
    assert found["j"] == pytest.approx(moments @ weight @ moments, rel=ROUNDING)

    endogenous, x = Z[:, :1], Z[:, 1:]
    off = lambda block: block - x @ np.linalg.lstsq(x, block, rcond=None)[0]  # noqa: E731
    Q = linalg.orth(off(H), rcond=1e-8)
    slopes = Q.T @ off(endogenous)[:, 0]
    scores = Q * (off(endogenous)[:, 0] - Q @ slopes)[:, None]
    wald = slopes @ np.linalg.solve(clustered(scores, scores), slopes)
    r = Q.shape[1]
    assert found["kp_f"] == pytest.approx(wald / r * (N - r) / (N - 1), rel=ROUNDING)
    assert found["sw_f_min"] == pytest.approx(found["kp_f"], rel=ROUNDING)
    effective = slopes @ slopes / np.trace(clustered(scores, scores))
    assert found["effective_f"] == pytest.approx(effective, rel=ROUNDING)


@pytest.mark.parametrize("joint", [False, True])
def test_error_components(joint, panel, W):
    """Scores within units and between them belong to the same cluster."""
    strata = build_system_design(two("random"), panel, W, 1, True).strata
    found = error_components(strata, joint, "cluster")
    one = found.sigma_noise + T * found.sigma_unit
    stacked, scores = 0.0, 0.0
    for arrays, sigma in ((strata.within, found.sigma_noise), (strata.between, one)):
        weight = np.linalg.inv(sigma if joint else np.diag(np.diag(sigma)))
        Z = linalg.block_diag(*arrays.Z)
        middle = Z.T @ np.kron(weight, arrays.H @ arrays.H.T)
        e = arrays.y.T.ravel() - Z @ found.delta
        terms = middle.T * e[:, None]
        stacked = stacked + middle @ Z
        scores = scores + sum(unit_sums(block) for block in np.split(terms, 2))
    bread = np.linalg.inv(stacked)
    expected = bread @ (scores.T @ scores * N / (N - 1)) @ bread
    np.testing.assert_allclose(found.cov, expected, rtol=ROUNDING, atol=1e-12)


# Full-information likelihood ------------------------------------------------------------------------------


def unit_scores_of_all(
    fit, W, theta: np.ndarray, sigma: np.ndarray, diagonal: bool, paired: bool = False
) -> np.ndarray:
    """Scores by unit of (δ, λ, vech Σ) of the transformed likelihood, one unit, period and coefficient at a time.

    Every determinant is a dense inverse of the whole system; unit i has the diagonal of what the filter B_g leaves of it.
    ``paired``: in their place their meat, in which the products of errors of units i and j are one term.
    """
    arrays = fit.design.arrays
    sample, m = arrays.sample, arrays.m
    A = W.matrix.toarray()
    J = np.eye(N) - sample.centred / N
    K = sum(block.shape[1] for block in arrays.Z)
    active = np.flatnonzero(arrays.lag_error)
    lam = np.zeros(m)
    lam[active] = theta[K:]
    B = [np.eye(N) - c * A for c in lam]
    gamma, psi = np.eye(m), np.zeros((m, m))
    for at, g, l, lagged in zip(*[getattr(arrays.links, f) for f in arrays.links.__slots__], strict=True):
        (psi if lagged else gamma)[g, l] += theta[at] if lagged else -theta[at]
    S = np.linalg.inv(np.kron(gamma, np.eye(N)) - np.kron(psi, A))
    Y = arrays.y.reshape(-1, N, m)
    inverse = np.linalg.inv(sigma)
    e, D = np.empty_like(Y), []
    for g in range(m):
        Z = arrays.Z[g].reshape(len(Y), N, -1)
        u = Y[..., g] - Z @ theta[arrays.block(g)]
        for t in range(len(Y)):
            e[t, :, g] = J @ B[g] @ u[t]
        D.append((u, [np.array([J @ B[g] @ z[:, k] for z in Z]) for k in range(Z.shape[2])]))
    q = e @ inverse
    out = np.zeros((N, len(theta) + 3))
    for g in range(m):
        for k, column in enumerate(D[g][1]):
            at = arrays.block(g).start + k
            out[:, at] = sum(q[t, :, g] * column[t] for t in range(len(Y)))
    for at, g, l, lagged in zip(*[getattr(arrays.links, f) for f in arrays.links.__slots__], strict=True):
        block = S[l * N : (l + 1) * N, g * N : (g + 1) * N]
        whole = B[g] @ (A if lagged else np.eye(N)) @ block @ np.linalg.inv(B[g])
        out[:, at] -= len(Y) * np.diag(J @ whole)
    for row, g in enumerate(active):
        out[:, K + row] = sum(q[t, :, g] * (J @ A @ D[g][0][t]) for t in range(len(Y)))
        out[:, K + row] -= len(Y) * np.diag(J @ A @ np.linalg.inv(B[g]))
    squares = np.einsum("tia,tib->iab", q, q) - len(Y) * np.trace(J) / N * inverse
    out[:, -3], out[:, -2], out[:, -1] = squares[:, 0, 0] / 2, squares[:, 0, 1], squares[:, 1, 1] / 2
    if not paired:
        return np.delete(out, -2, axis=1) if diagonal else out
    reaches = {}
    for at, g, l, lagged in zip(*[getattr(arrays.links, f) for f in arrays.links.__slots__], strict=True):
        first = J @ B[g] @ (A if lagged else np.eye(N))
        parts = [first @ S[l * N : (l + 1) * N, h * N : (h + 1) * N] @ np.linalg.inv(B[h]) for h in range(m)]
        reaches[at] = g, parts
    for row, g in enumerate(active):
        alone = [J @ A @ np.linalg.inv(B[g]) if h == g else np.zeros((N, N)) for h in range(m)]
        reaches[K + row] = g, alone
    pairs = np.zeros((N, N, out.shape[1]))
    for at, (g, parts) in reaches.items():
        for i in range(N):
            for j in range(N):
                if i != j:
                    pairs[i, j, at] = sum(parts[h][i, j] * (q[:, i, g] @ e[:, j, h]) for h in range(m))
    out -= pairs.sum(axis=1)
    out -= out.mean(axis=0)
    both = [pairs[i, j] + pairs[j, i] for i in range(N) for j in range(i)]
    meat = out.T @ out + np.array(both).T @ np.array(both)
    keep = np.delete(np.arange(len(meat)), -2) if diagonal else np.arange(len(meat))
    return meat[np.ix_(keep, keep)]


@pytest.mark.parametrize(
    ("effects", "lag_error", "sigma"),
    [("two_way", False, "full"), ("unit", True, "full"), ("none", False, "diagonal")],
)
def test_likelihood_of_a_system(effects, lag_error, sigma, panel, W, cr1):
    """H⁻¹MH⁻¹ over all parameters, Σ too, with H the differences of the scores.

    With the scores by unit alone it is what an independent script of the review gives on the real data.
    """
    fit = fit_system(two(effects, lag_error), panel, W, "fiml", covariance="cluster", sigma=sigma)
    order = [k for k, (_, term) in enumerate(fit.params.index) if term != "lam"]
    order += [k for k, (_, term) in enumerate(fit.params.index) if term == "lam"]
    theta, S = fit.params.to_numpy()[order], fit.sigma.to_numpy()
    free = [S[0, 0], S[1, 1]] if sigma == "diagonal" else [S[0, 0], S[0, 1], S[1, 1]]

    def scores(p):
        a, b, c = (p[-2], 0.0, p[-1]) if sigma == "diagonal" else p[-3:]
        values = p[: len(theta)]
        return unit_scores_of_all(fit, W, values, np.array([[a, b], [b, c]]), sigma == "diagonal")

    at, h = np.concatenate([theta, free]), 1e-6
    s = scores(at)
    assert np.abs(s.sum(axis=0)).max() < 1e-6 * np.abs(s).sum(axis=0).max()
    H = np.array(
        [(scores(at + d).sum(axis=0) - scores(at - d).sum(axis=0)) / (2 * h) for d in h * np.eye(len(at))]
    )
    V = np.linalg.inv(-(H + H.T) / 2)
    alone = V @ (s.T @ s) @ V * N / (N - 1)
    keep = np.arange(len(theta))
    likelihood = system_likelihood(fit.design, sigma)
    own = unit_scores(likelihood, theta) @ np.linalg.inv(-likelihood.derivatives(theta)[1])
    np.testing.assert_allclose(own.T @ own * N / (N - 1), alone[np.ix_(keep, keep)], rtol=1e-6, atol=1e-9)
    expected = V @ unit_scores_of_all(fit, W, theta, S, sigma == "diagonal", paired=True) @ V * N / (N - 1)
    np.testing.assert_allclose(
        fit.cov.to_numpy()[np.ix_(order, order)], expected[np.ix_(keep, keep)], rtol=1e-6, atol=1e-9
    )
    found = _with_sigma(fit)
    places = [*keep, *([len(theta) + 1] if sigma == "full" else [])]  # the covariance between the equations
    np.testing.assert_allclose(found[0], at[places], rtol=ROUNDING)
    np.testing.assert_allclose(found[1], expected[np.ix_(places, places)], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found[2], V[np.ix_(places, places)], rtol=1e-6, atol=1e-9)


def test_restrictions_by_the_clustered_covariance(panel, W, cr1):
    """One Wald test for each restriction; the ratio of one restriction is scaled by one variance over another."""
    spec = two("two_way")
    fit, plain = (fit_system(spec, panel, W, "fiml", covariance=c) for c in ("cluster", "information"))
    found = restriction_tests(fit).tidy().set_index("test")
    keys = [("industry", "tal"), ("talent", "ind")]
    b = fit.params[keys].to_numpy()
    wald = b @ np.linalg.solve(fit.cov.loc[keys, keys].to_numpy(), b)
    assert found.loc["no feedback", "statistic"] == pytest.approx(wald)
    assert found.loc["no feedback", "p_value"] == pytest.approx(
        stats.f.sf(wald * (N - 2) / (2 * (N - 1)), 2, N - 2)
    )
    assert set(found.index) == set(restriction_tests(plain).tidy()["test"])

    smaller = SystemSpec(
        dict(spec.equations) | {"talent": Equation("tal", [], ["c"], lag_y=False)}, "two_way"
    )
    one = fit_system(smaller, panel, W, "fiml")
    (row,), (raw,) = likelihood_ratio(one, fit).rows, likelihood_ratio(one, plain).rows
    key = ("talent", "ind")
    ratio = fit.cov.loc[key, key] / plain.cov.loc[key, key]
    assert row.statistic == pytest.approx(raw.statistic / ratio)
    assert row.p_value == pytest.approx(stats.f.sf(row.statistic, 1, N - 1))


# Few units ------------------------------------------------------------------------------------------------


def stretched_by_loops(e: np.ndarray, slopes: list[np.ndarray], sigma: np.ndarray, centred: bool):
    """e* (T*, n, m) = L⁻¹'M_ii^{−1/2}L'e and Bell and McCaffrey's degrees of freedom, from M of all rows at once."""
    rows, m = e.shape
    periods = rows // N
    root = np.linalg.cholesky(np.linalg.inv(sigma))
    X = np.zeros((m * rows, sum(block.shape[1] for block in slopes)))  # equations, periods, units
    first = 0
    for g, block in enumerate(slopes):
        for h in range(m):
            X[h * rows : (h + 1) * rows, first : first + block.shape[1]] = root[g, h] * block
        first += block.shape[1]
    J = np.eye(N) - centred / N
    M = np.kron(np.eye(m * periods), J) - X @ np.linalg.solve(X.T @ X, X.T)
    white, out, p = (e @ root).T.ravel(), np.zeros(m * rows), []
    for i in range(N):
        own = np.arange(i, m * rows, N)
        values, vectors = np.linalg.eigh(M[np.ix_(own, own)])
        power = np.where(values > 1e-9, 1 / np.sqrt(np.maximum(values, 1e-9)), 0)
        half = vectors * power @ vectors.T
        out[own] = half @ white[own]
        p.append(M[:, own] @ half @ X[own] @ np.linalg.inv(X.T @ X))
    df = []
    for k in range(X.shape[1]):
        gram = np.array([[a[:, k] @ b[:, k] for a in p] for b in p])
        df.append(np.trace(gram) ** 2 / np.trace(gram @ gram))
    back = np.linalg.solve(root.T, out.reshape(m, rows)).T
    return back.reshape(periods, N, m), np.array(df)


@pytest.mark.parametrize("method", ["2sls", "3sls"])
def test_few_units_by_instruments(method, panel, W):
    fit = fit_system(two("two_way"), panel, W, method, covariance="cluster")
    arrays = fit.design.arrays
    e = arrays.residuals(fit.delta)
    sigma = np.diag(np.diag(e.T @ e / arrays.sample.observations))
    weight = np.eye(2)
    if method == "3sls":
        first = arrays.residuals(fit_system(two("two_way"), panel, W, "2sls").delta)
        sigma = first.T @ first / arrays.sample.observations
        weight = np.linalg.inv(sigma)
    projected = [arrays.H @ (arrays.H.T @ Z) for Z in arrays.Z]
    longer, df = stretched_by_loops(e, projected, sigma, True)
    dense = Dense(fit, W, weight)
    scores = sum(block * longer[..., [g]].reshape(-1, 1) for g, block in enumerate(dense.infl))
    sums = unit_sums(scores)
    np.testing.assert_allclose(fit.cov, sums.T @ sums, rtol=ROUNDING, atol=1e-12)
    tidy = fit.tidy()
    np.testing.assert_allclose(tidy["df"], df, rtol=ROUNDING)
    limit = stats.t.ppf(0.975, df) * fit.bse
    np.testing.assert_allclose(tidy["conf_high"], fit.params + limit, rtol=ROUNDING)


def with_errors(fit, W, noise: np.ndarray):
    """The fit with the y and the endogenous regressors of other transformed errors (T*, n, m), by dense inverses."""
    arrays, A = fit.design.arrays, W.matrix.toarray()
    m, J = arrays.m, np.eye(N) - fit.design.arrays.sample.centred / N
    gamma, psi = fit.matrices()
    lam = np.asarray(fit.convergence.lam)
    S = np.linalg.inv(np.kron(gamma, np.eye(N)) - np.kron(psi, A))
    right = np.empty_like(noise)
    for g in range(m):
        Z, first, b = arrays.Z[g], arrays.endogenous[g], fit.delta[arrays.block(g)]
        own = np.linalg.solve(np.eye(N) - lam[g] * A, noise[..., g].T).T
        right[..., g] = (Z[:, first:] @ b[first:]).reshape(-1, N) + own
    y = np.array([(S @ period.T.ravel()).reshape(m, N).T for period in right])
    y = np.einsum("ij,tjg->tig", J, y).reshape(-1, m)
    lagged = np.einsum("ij,tjg->tig", J @ A, y.reshape(-1, N, m)).reshape(-1, m)
    Z = [block.copy() for block in arrays.Z]
    for at, g, l, lag in zip(*[getattr(arrays.links, f) for f in arrays.links.__slots__], strict=True):
        Z[g][:, at - arrays.block(g).start] = (lagged if lag else y)[:, l]
    return replace(arrays, y=y, Z=tuple(Z))


@pytest.mark.parametrize(("effects", "lag_error"), [("two_way", False), ("unit", True)])
def test_few_units_by_the_likelihood(effects, lag_error, panel, W):
    """Scores, those of Σ too, of a system whose errors are the stretched residuals, at the Hessian of the data."""
    fit = fit_system(two(effects, lag_error), panel, W, "fiml", covariance="cluster")
    order = [k for k, (_, term) in enumerate(fit.params.index) if term != "lam"]
    order += [k for k, (_, term) in enumerate(fit.params.index) if term == "lam"]
    theta, S, arrays = fit.params.to_numpy()[order], fit.sigma.to_numpy(), fit.design.arrays
    lam = np.asarray(fit.convergence.lam)
    e = arrays.noise(fit.delta, lam)
    mean = with_errors(fit, W, np.zeros((len(e) // N, N, 2)))
    J = np.kron(np.eye(len(e) // N), np.eye(N) - arrays.sample.centred / N)
    filters = [J @ np.kron(np.eye(len(e) // N), np.eye(N) - c * W.matrix.toarray()) for c in lam]
    slopes = [f @ Z for f, Z in zip(filters, mean.Z, strict=True)]
    noise, df = stretched_by_loops(e, slopes, S, arrays.sample.centred)
    drawn = replace(fit, design=replace(fit.design, arrays=with_errors(fit, W, noise)))

    def scores(at, of):
        a, b, c = at[-3:]
        return unit_scores_of_all(of, W, at[: len(theta)], np.array([[a, b], [b, c]]), False)

    at, h = np.concatenate([theta, [S[0, 0], S[0, 1], S[1, 1]]]), 1e-6
    slope = [
        (scores(at + d, fit).sum(axis=0) - scores(at - d, fit).sum(axis=0)) / (2 * h)
        for d in h * np.eye(len(at))
    ]
    bread = np.linalg.inv(-np.array(slope))
    meat = unit_scores_of_all(drawn, W, theta, S, False, paired=True)
    expected = (bread.T @ meat @ bread)[: len(theta), : len(theta)]
    np.testing.assert_allclose(fit.cov.to_numpy()[np.ix_(order, order)], expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(fit.tidy()["df"].to_numpy()[order][: len(df)], df, rtol=ROUNDING)


def test_pairs_of_many_units_come_of_random_signs(panel, W, monkeypatch):
    """Above PAIR_UNITS: the same sums by unit, pairs within four of the standard errors that are recorded."""
    for effects, lag_error in (("two_way", False), ("unit", True)):
        spec = two(effects, lag_error)
        exact = fit_system(spec, panel, W, "fiml", covariance="cr1")
        with monkeypatch.context() as patch:
            patch.setattr("spatial_zb.core.system.scores.PAIR_UNITS", N - 1)
            patch.setattr("spatial_zb.core.system.scores.PAIR_SIGNS", 100 * N)
            probed = fit_system(spec, panel, W, "fiml", covariance="cr1")
        assert exact.convergence.probe_error == 0
        assert 0 < probed.convergence.probe_error < 0.05
        off = np.abs(probed.bse / exact.bse - 1)
        assert 1e-6 < off.max() < 4 * probed.convergence.probe_error


def test_a_system_of_one_equation_has_the_clustered_errors_of_its_equation(panel, W):
    """The restriction: FIML of one equation is maximum likelihood, by unit and by pairs of units too.

    Effects of periods (own terms JGJ or JG) and stretched squares (about their own mean or that of Σ) differ a little.
    """
    for effects, kind, same in (
        ("unit", "cr1", 1e-8),
        ("two_way", "cr1", 2e-4),
        ("two_way", "cluster", 0.01),
    ):
        system = fit_system(
            SystemSpec({"industry": Equation("ind", [], ["a"])}, effects), panel, W, "fiml", covariance=kind
        )
        alone = zb.DurbinSpec("ind", ["a"], lag_x=[], fixed_effects=effects)
        single = zb.fit_durbin(alone, panel, W, covariance=kind).bse
        found = system.bse.loc[[("industry", "W_ind"), ("industry", "a")]].to_numpy()
        assert found == pytest.approx(single[["rho", "a"]].to_numpy(), rel=same)


@pytest.mark.parametrize("method", ["fiml", "gs3sls"])
def test_words_for_either_clustered_covariance(method, panel, W):
    """40 units: ``"cluster"`` is CR2, and CR1 is what it would be of many; random effects and λ by moments have no CR2."""
    fits = {
        kind: fit_system(two("two_way"), panel, W, method, covariance=kind)
        for kind in ("cluster", "cr2", "cr1")
    }
    assert fits["cr2"].cov.equals(fits["cluster"].cov)
    assert fits["cr1"].clusters is None
    assert fits["cr1"].df_resid == N - 1
    assert (fits["cr1"].bse != fits["cr2"].bse).all()
    assert fits["cr1"].bse.to_numpy() == pytest.approx(fits["cr2"].bse.to_numpy(), rel=0.25)
    if method == "fiml":
        tests = [restriction_tests(fits[kind]).tidy() for kind in ("cr1", "cluster")]
        assert (tests[0]["test"] == tests[1]["test"]).all()
    else:
        with pytest.raises(zb.SpecificationError, match="cr2"):
            fit_system(two("two_way", lag_error=True), panel, W, method, covariance="cr2")
