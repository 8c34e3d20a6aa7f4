"""Few clusters: CR2 residuals and degrees of freedom against explicit M_X and eigenvalues, unit by unit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spatial_zb.core.clusters import bartlett_law, clusters_of
from spatial_zb.core.transforms import demean

#: Two orders of the same operations on matrices of some hundred rows.
EXACT = 1e-10


def slow(X, effects, e, gradients):
    """e* and degrees of freedom with M_X (rows by unit), its blocks' eigenvalues and Γ, all explicit."""
    *lead, T, n, q = X.shape
    m = int(np.prod(lead))
    A = np.eye(T) - (effects in ("unit", "two_way")) / T
    J = np.eye(n) - (effects in ("time", "two_way")) / n
    rows = np.moveaxis(X, -2, 0).reshape(n * m * T, q)
    M = np.kron(J, np.kron(np.eye(m), A)) - rows @ np.linalg.pinv(rows)
    errors = np.moveaxis(e, -1, 0).reshape(n, m * T)
    stars, roots = np.zeros_like(errors), []
    for i in range(n):
        at = slice(i * m * T, (i + 1) * m * T)
        values, vectors = np.linalg.eigh(M[at, at])
        kept = values > 1e-8
        root = vectors[:, kept] @ np.diag(values[kept] ** -0.5) @ vectors[:, kept].T
        stars[i] = root @ errors[i]
        roots.append(M[:, at] @ root @ rows[at])
    degrees = []
    for c in gradients:
        P = np.array([root @ np.linalg.solve(rows.T @ rows, c) for root in roots])
        gamma = P @ P.T
        degrees.append(np.trace(gamma) ** 2 / np.trace(gamma @ gamma))
    return np.moveaxis(stars.reshape(n, *lead, T), 0, -1), np.array(degrees), M


@pytest.mark.parametrize("effects", ["none", "unit", "time", "two_way"])
@pytest.mark.parametrize("lead", [(), (2,)], ids=["equation", "system"])
def test_equal_the_explicit_projection(effects, lead):
    rng = np.random.default_rng(3)
    T, n, q = 4, 7, 3
    X = rng.normal(size=(*lead, T, n, q)) * [1.0, 30.0, 0.1]
    X[..., 2, 0] *= 9  # one unit with leverage
    X = np.array([demean(x, effects) for x in X]) if lead else demean(X, effects)
    e = rng.normal(size=(*lead, T, n))
    e = np.array([demean(x, effects) for x in e]) if lead else demean(e, effects)
    gradients = rng.normal(size=(5, q)) * [1.0, 30.0, 0.1]
    stars, degrees, M = slow(X, effects, e, gradients)
    found = clusters_of(X, effects)
    np.testing.assert_allclose(found.adjusted(e), stars, rtol=0, atol=EXACT)
    np.testing.assert_allclose(found.degrees(gradients), degrees, rtol=EXACT)
    rows = T * max(1, 2 * len(lead))
    traces = [np.trace(M[i * rows : (i + 1) * rows, i * rows : (i + 1) * rows]) for i in range(n)]
    np.testing.assert_allclose(found.left(), traces, rtol=EXACT)


def test_a_collinear_column_changes_nothing_and_a_unit_alone_has_no_degrees():
    rng = np.random.default_rng(4)
    X = demean(rng.normal(size=(5, 6, 2)), "two_way")
    e = demean(rng.normal(size=(5, 6)), "two_way")
    twice = np.concatenate([X, X[..., :1] - 2 * X[..., 1:], np.zeros((5, 6, 1))], axis=-1)
    np.testing.assert_allclose(
        clusters_of(twice, "two_way").adjusted(e), clusters_of(X, "two_way").adjusted(e)
    )
    alone = np.zeros((5, 6, 1))
    alone[:, 2, 0] = rng.normal(size=5)
    alone = demean(alone, "unit")
    assert np.isnan(clusters_of(alone, "unit").degrees(np.ones(1)))
    spread = demean(alone, "two_way")  # the other units have −1/n of it, by the effects of periods alone
    assert np.isnan(clusters_of(spread, "two_way").degrees(np.ones(1)))
    nothing = clusters_of(np.zeros((5, 6, 0)), "two_way")
    assert nothing.degrees(np.zeros((2, 0))).tolist() == [5.0, 5.0]
    np.testing.assert_allclose(nothing.adjusted(e), e / np.sqrt(5 / 6))


def test_equal_variances_give_an_unbiased_variance_whatever_the_leverage():
    """E Σ (c'(X'X)⁻¹X_i'e*_i)² = c'(X'X)⁻¹c for ε ~ (0, I), exactly: traces of the quadratic forms."""
    rng = np.random.default_rng(5)
    X = demean(rng.normal(size=(4, 6, 2)), "two_way")
    X[:, 1] *= 5
    X = demean(X, "two_way")
    units = np.eye(24).reshape(24, 4, 6)
    found = clusters_of(X, "two_way")
    inverse = np.linalg.inv(np.einsum("tnk,tnl->kl", X, X))
    c = np.array([1.0, -0.4])
    scores = []
    for one in units:
        e = demean(one, "two_way")
        e = e - X @ (inverse @ np.einsum("tnk,tn->k", X, e))
        scores.append(np.einsum("tnk,tn,k->n", X, found.adjusted(e), inverse @ c))
    np.testing.assert_allclose((np.array(scores) ** 2).sum(), c @ inverse @ c)


def test_the_law_of_few_periods_is_that_of_t_without_lags():
    law = bartlett_law(9, 0)
    s = np.array([0.0, 0.5, 2.0, 6.0])
    np.testing.assert_allclose(law.tail(s), stats.t.sf(s * np.sqrt(8 / 9), 8), rtol=1e-9)
    assert law.quantile(0.025) == pytest.approx(stats.t.isf(0.025, 8) * np.sqrt(9 / 8), rel=1e-9)


@pytest.mark.parametrize("b", [0.1, 0.5, 1.0])
def test_the_law_of_few_periods_tends_to_the_published_one(b):
    """Kiefer & Vogelsang (2005), Table 1: Bartlett, 97.5 %, a cubic fitted to simulated values (within 1 to 2 %)."""
    published = 1.96 + 2.9694 * b + 0.4160 * b**2 - 0.5324 * b**3
    assert bartlett_law(300, round(300 * b) - 1).quantile(0.025) == pytest.approx(published, rel=0.02)


def test_the_law_of_few_periods_is_that_of_simulated_sums():
    rng, T, lags = np.random.default_rng(0), 7, 2
    h = rng.normal(size=(40_000, T))
    e = h - h.mean(axis=1, keepdims=True)
    variance = (e**2).sum(axis=1)
    for lag in (1, 2):
        variance += 2 * (1 - lag / (lags + 1)) * (e[:, lag:] * e[:, :-lag]).sum(axis=1)
    t = np.sqrt(T) * h.mean(axis=1) / np.sqrt(variance / T)
    law = bartlett_law(T, lags)
    for share in (0.025, 0.1):
        assert (t > law.quantile(share)).mean() == pytest.approx(share, abs=4 * np.sqrt(share / 40_000))
