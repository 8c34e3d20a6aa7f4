"""Moran's I against its double sum, and its moments against the enumeration of all permutations."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from dense_matrices import all_matrices
from scipy import sparse, stats

from spatial_zb.core.statistics import moran_i, moran_permutations, normal_p_value, permutation_p_value

MATRICES = all_matrices()
FULL = [name for name in MATRICES if "islands" not in name]


def double_sum(x: np.ndarray, W: np.ndarray) -> float:
    n, z = len(x), x - sum(x) / len(x)
    top = sum(W[i, j] * z[i] * z[j] for i in range(n) for j in range(n))
    return n / W.sum() * top / sum(v**2 for v in z)


def small(kind: str) -> np.ndarray:
    rng = np.random.default_rng(3)
    W = rng.random((7, 7)) * (rng.random((7, 7)) < 0.5)
    np.fill_diagonal(W, 0)
    W += np.roll(np.eye(7), 1, axis=1)  # nobody without neighbours
    if kind == "symmetric":
        return W + W.T
    if kind == "islands":  # four of seven, so that −1/(m − 1) would be far off and (m − 3) zero
        W[3:] = W[:, 3:] = 0
    return W / W.sum(axis=1, keepdims=True) if kind == "row" else W


@pytest.mark.parametrize("name", FULL)
def test_equals_the_double_sum(name):
    x = np.random.default_rng(1).gamma(2, size=MATRICES[name].shape[0])
    found = moran_i(x, MATRICES[name])
    assert pytest.approx(double_sum(x, MATRICES[name].toarray()), rel=1e-12) == found.value
    assert found.expected == pytest.approx(-1 / (len(x) - 1), rel=1e-12)


@pytest.mark.parametrize("kind", ["symmetric", "row", "asymmetric", "islands"])
def test_moments_equal_the_enumeration_of_all_5040_permutations(kind):
    W = small(kind)
    x = np.array([0.3, 1.1, 4.0, -2.0, 0.9, 0.0, 7.5])
    z = x - x.mean()
    orders = np.array(list(permutations(range(7))))
    assigned = z[orders]
    every = (
        np.count_nonzero(W.any(axis=1)) / W.sum() * np.einsum("pi,ij,pj->p", assigned, W, assigned) / (z @ z)
    )
    found = moran_i(x, sparse.csr_array(W))
    assert found.expected == pytest.approx(every.mean(), abs=1e-12)
    assert found.std_dev == pytest.approx(every.std(), rel=1e-10)


@pytest.mark.parametrize("kind", ["symmetric", "row", "asymmetric"])
def test_permutations_are_draws_from_that_distribution(kind):
    W = small(kind)
    x = np.array([0.3, 1.1, 4.0, -2.0, 0.9, 0.0, 7.5])
    draws = moran_permutations(x, sparse.csr_array(W), 20_000, np.random.default_rng(0))
    found = moran_i(x, sparse.csr_array(W))
    assert draws.mean() == pytest.approx(found.expected, abs=4 * found.std_dev / np.sqrt(len(draws)))
    assert draws.std() == pytest.approx(found.std_dev, rel=0.03)
    z = x - x.mean()
    assert set(np.round(draws, 9)) <= {
        round(float(7 / W.sum() * (p @ W @ p) / (z @ z)), 9)
        for p in z[np.array(list(permutations(range(7))))]
    }


@pytest.mark.parametrize("factor", [1e-9, 1.0, 1e9])
def test_does_not_depend_on_location_or_scale(factor):
    W = MATRICES["row"]
    x = np.random.default_rng(2).standard_normal(12)
    plain, moved = moran_i(x, W), moran_i(factor * x + 3 * factor, W)
    assert pytest.approx(plain.value, rel=1e-9) == moved.value
    assert moved.std_dev == pytest.approx(plain.std_dev, rel=1e-9)
    assert moran_i(x, W * factor).z == pytest.approx(plain.z, rel=1e-9)


def test_p_values_are_never_zero_and_count_the_observed_arrangement():
    reference = np.linspace(-1, 1, 99)
    assert permutation_p_value(5.0, reference, "greater") == 1 / 100
    assert permutation_p_value(5.0, reference, "less") == 1.0
    assert permutation_p_value(5.0, reference) == 2 / 100
    assert permutation_p_value(0.0, reference) == 1.0
    assert np.isnan(permutation_p_value(float("nan"), reference))


def test_ties_with_the_observed_value_count_in_both_tails():
    assert permutation_p_value(0.5, np.full(9, 0.5), "greater") == 1.0
    assert permutation_p_value(0.5, np.full(9, 0.5 + 1e-15), "less") == 1.0


def test_the_p_value_is_uniform_under_randomness():
    """Size of the test at 10 %: 400 random arrangements, binomial bounds at ± 4 standard errors."""
    W, rng = MATRICES["row"], np.random.default_rng(5)
    rejected = 0
    for _ in range(400):
        x = rng.standard_normal(12)
        rejected += permutation_p_value(moran_i(x, W).value, moran_permutations(x, W, 199, rng)) <= 0.1
    assert abs(rejected / 400 - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 400)


def test_chunks_do_not_change_the_draws(monkeypatch):
    W, x = MATRICES["row"], np.arange(12.0)
    whole = moran_permutations(x, W, 50, np.random.default_rng(9))
    monkeypatch.setattr("spatial_zb.core.statistics.CHUNK", 36)
    np.testing.assert_allclose(moran_permutations(x, W, 50, np.random.default_rng(9)), whole, rtol=1e-12)


@pytest.mark.parametrize(
    ("alternative", "tail"),
    [
        ("greater", stats.norm.sf),
        ("less", stats.norm.cdf),
        ("two-sided", lambda z: 2 * stats.norm.sf(np.abs(z))),
    ],
)
def test_normal_p_values_are_tails_of_the_normal_law(alternative, tail):
    """Far out as well, where 1 − Φ(z) would be rounded to nothing."""
    z = np.array([-30.0, -8.5, -1.96, -0.3, 0.0, 0.7, 1.645, 8.5, 30.0])
    np.testing.assert_allclose(normal_p_value(z, alternative), tail(z), rtol=1e-12)
    assert np.isnan(normal_p_value(np.nan, alternative))
    found = moran_i(np.arange(9.0), MATRICES["row"][:9, :9])
    assert normal_p_value(found.z, alternative) == pytest.approx(tail(found.z), rel=1e-12)
