"""What identifies a system: the rank condition with spatial lags, first-stage F by clusters, what J says of exclusions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from small_examples import circle, ring, rook, weights_of

import spatial_zb as zb
from spatial_zb.base.errors import SpecificationError
from spatial_zb.core.system.identification import Exclusions, exclusions, instrument_strength, rank_condition
from spatial_zb.models.system import fit_system
from spatial_zb.models.system.spec import Equation, SystemSpec
from spatial_zb.simulate import system as simulate_system

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")

ROUNDING = 1e-8


# The rank condition ---------------------------------------------------------------------------------------


def hidden(second_x: tuple[str, ...] = ("x",), second_lags: tuple[str, ...] = ()) -> SystemSpec:
    """P + cW·Q obeys every restriction of P, for any c, as long as Q has nothing that P leaves out with its lag."""
    return SystemSpec(
        {
            "P": Equation("p", [], ["x"], lag_endog=["q"], lag_x=["x"]),
            "Q": Equation("q", ["p"], second_x, lag_y=False, lag_x=second_lags),
        },
        "unit",
    )


def drawn(spec: SystemSpec):
    truth = {("P", "W_p"): 0.2, ("P", "W_q"): 0.2, ("P", "x"): 1.0, ("Q", "p"): 0.3, ("Q", "x"): 1.0}
    W = circle(20)
    return simulate_system(spec, W, 6, truth, rng=0), W


def test_an_equation_that_hides_the_spatial_lag_of_another_is_refused_by_instruments():
    panel, W = drawn(hidden())
    with pytest.raises(
        SpecificationError, match=r"P' is not identified .rank condition.: the spatial lag of Q"
    ) as found:
        fit_system(hidden(), panel, W, "2sls", instrument_powers=3)
    assert "Q的空间滞后" in found.value.zh


def test_a_likelihood_says_that_only_its_errors_tell_the_equation_apart():
    panel, W = drawn(hidden())
    fit = fit_system(hidden(), panel, W, "fiml")
    found = fit.identification().set_index("equation")
    assert found.loc["P", ["rank", "rank_needed"]].tolist() == [3, 4]
    assert not found.loc["P", "identified"]
    assert found.loc["P", "unidentified"]
    assert found.loc["Q", "identified"]
    (note,) = [n for n in fit.notes if n.kind.name == "told_by_errors"]
    assert note["equation"] == "P"


def test_a_variable_that_the_equation_leaves_out_brings_identification_back():
    spec = hidden(("x", "z"))
    panel, W = drawn(spec)
    assert fit_system(spec, panel, W, "2sls").identification()["identified"].all()


def multipliers(now: np.ndarray, lagged: np.ndarray, g: int) -> int:
    """Dimension of the polynomials f(ω) of a high degree for which f'A obeys the restrictions of equation g."""
    m, c = now.shape
    rng, degree = np.random.default_rng(0), m + 1
    A = rng.uniform(0.5, 1.5, (2, m, c)) * [now, lagged]
    rows = []
    for power in range(degree + 2):
        for column in range(c):
            if (power == 0 and now[g, column]) or (power == 1 and lagged[g, column]):
                continue
            row = np.zeros((degree + 1, m))
            for step in (0, 1):
                if 0 <= power - step <= degree:
                    row[power - step] += A[step, :, column]
            rows.append(row.ravel())
    return m * (degree + 1) - int(np.linalg.matrix_rank(np.array(rows), tol=ROUNDING))


def test_the_rank_condition_counts_the_multipliers_that_leave_no_trace():
    """The reduced form against the other way about: which polynomials in W can mix equations unseen."""
    rng, failing = np.random.default_rng(1), 0
    for _ in range(150):
        m, k = rng.integers(1, 5, 2)
        now, lagged = rng.random((m, m + k)) < 0.5, rng.random((m, m + k)) < 0.35
        now[:, :m] |= np.eye(m, dtype=bool)
        now[np.arange(m), m + rng.integers(0, k, m)] = True  # every equation has an exogenous variable
        for g in range(m):
            found = rank_condition(now, lagged, g)
            assert found.needed - found.rank == multipliers(now, lagged, g) - 1
            assert found.holds == (not found.others)
            failing += not found.holds
    assert failing > 20


# Strength -------------------------------------------------------------------------------------------------


def first_stage(n: int, T: int, L: int, p: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    Z, Y = rng.standard_normal((n * T, L)), rng.standard_normal((n * T, p))
    return Y, np.empty((n * T, 0)), np.linalg.qr(Z)[0]


def test_useless_instruments_have_an_f_near_one_by_cluster_or_none():
    """The raw Wald of nine directions of 30 clusters has a median above 1.3; rescaled it is an F, blank for 11 clusters."""
    found = [instrument_strength(*first_stage(30, 4, 10, 2, seed), 120, 30, "cluster") for seed in range(60)]
    for values in ([f.kleibergen_paap for f in found], [f.sw_f[0] for f in found]):
        assert np.median(values) < 1.3
        assert np.mean(np.array(values) > stats.f.ppf(0.95, 9, 21)) < 0.15
    few = instrument_strength(*first_stage(11, 6, 10, 2), 66, 11, "cluster")
    assert np.isnan(few.kleibergen_paap)
    assert np.isnan(few.sw_f).all()
    assert few.effective < 3


@pytest.mark.parametrize("kind", ["robust", "cluster"])
def test_clustered_f_of_one_of_two_regressors_by_loops(kind):
    """Directions that the other regressor leaves, one Wald test of them; the effective F from traces of 2 × 2 blocks."""
    n, T, L = 30, 4, 5
    Y, X, H = first_stage(n, T, L, 2)
    Y = Y + 3 * H[:, :2] @ [[4.0, 1.0], [2.0, 5.0]]
    found = instrument_strength(Y, X, H, n * T, n, kind)

    def grouped(scores):
        if kind == "robust":
            return scores * np.sqrt(n * T / (n * T - L))
        return np.array([scores[i::n].sum(axis=0) for i in range(n)]) * np.sqrt(n / (n - 1))

    b = (H.T @ Y[:, 0]) @ (H.T @ Y[:, 1]) / ((H.T @ Y[:, 1]) @ (H.T @ Y[:, 1]))
    v = Y[:, 0] - b * Y[:, 1]
    direction = H.T @ Y[:, 1]
    Q = H @ np.linalg.svd(direction[None])[2][1:].T
    scores = grouped(Q * (v - H @ (H.T @ v))[:, None])
    wald, r = (Q.T @ v) @ np.linalg.solve(scores.T @ scores, Q.T @ v), L - 1
    assert found.sw_f[0] == pytest.approx(wald / r * ((n - r) / (n - 1) if kind == "cluster" else 1))

    rest, phi = Y - H @ (H.T @ Y), np.zeros((2, 2))
    for l in range(L):
        s = grouped(H[:, [l]] * rest)
        phi += s.T @ s
    roots = np.linalg.eigvals(np.linalg.solve(phi, (H.T @ Y).T @ (H.T @ Y)))
    assert found.effective == pytest.approx(min(roots.real))


def test_under_one_variance_the_effective_f_is_that_of_cragg_and_donald():
    rng = np.random.default_rng(3)
    Z = rng.standard_normal((40_000, 4))
    Y = Z[:, :2] * 0.05 + rng.standard_normal((40_000, 2))
    found = instrument_strength(Y, np.empty((40_000, 0)), np.linalg.qr(Z)[0], 40_000, 400, "robust")
    assert found.effective == pytest.approx(found.cragg_donald, rel=0.02)


# Exclusions -----------------------------------------------------------------------------------------------


def wrongly_left_out(size: float, covariance: str = "classical", method: str = "3sls"):
    """ "b" acts in talent too, by ``size``, and its equation leaves it out."""
    W = weights_of(rook(5, 6), "rook")
    made = {
        "industry": Equation("ind", ["tal"], ["a", "b"]),
        "talent": Equation("tal", ["ind"], ["b", "c", "d"]),
    }
    truth = {
        ("industry", "tal"): 0.2,
        ("industry", "W_ind"): 0.2,
        ("industry", "a"): 1.0,
        ("industry", "b"): 0.5,
        ("talent", "ind"): 0.2,
        ("talent", "b"): size,
        ("talent", "c"): 1.0,
        ("talent", "d"): -0.7,
    }
    panel = simulate_system(SystemSpec(made), W, 10, truth, rng=4)
    spec = SystemSpec(made | {"talent": Equation("tal", ["ind"], ["c", "d"])})
    return fit_system(spec, panel, W, method, covariance=covariance)


@pytest.mark.parametrize(
    ("covariance", "method"), [("classical", "3sls"), ("cluster", "2sls"), ("cluster", "fiml")]
)
def test_a_variable_that_is_wrongly_left_out_is_named(covariance, method):
    fit = wrongly_left_out(1.0, covariance, method)
    found = fit.identification().set_index("equation")
    assert found.loc["talent", "j_p"] < 1e-3
    assert found.loc["industry", "j_p"] > 0.01
    (note,) = [n for n in fit.notes if n.kind.name == "exclusions_rejected"]
    assert (note["equation"], note["variables"]) == ("talent", ("b",))
    tests = fit.exclusion_tests().set_index(["equation", "variable"])
    assert tests.loc[("talent", "b"), "p_value"] < 1e-3
    assert tests.loc[("talent", "b"), "p_others"] > 0.05
    assert tests.loc[("talent", "b"), "terms"] == "b, W_b, W2_b"
    assert tests.loc[("talent", "c"), "terms"] == "W_c, W2_c"


def test_true_exclusions_are_not_noted():
    fit = wrongly_left_out(0.0)
    assert not [n for n in fit.notes if n.kind.name == "exclusions_rejected"]


def moments(kind: str, n: int = 24, T: int = 5) -> tuple[Exclusions, dict]:
    rng = np.random.default_rng(5)
    Z, H = rng.standard_normal((n * T, 3)), np.linalg.qr(rng.standard_normal((n * T, 7)))[0]
    Z = Z + H[:, :3] * 9
    y, e = rng.standard_normal((2, n * T))
    S = {
        "classical": np.eye(7) * (e @ e) / 100,
        "robust": (H * e[:, None]).T @ (H * e[:, None]),
        "cluster": sum(np.outer(s, s) for s in ((H * e[:, None])[i::n].sum(axis=0) for i in range(n)))
        * n
        / (n - 1),
    }[kind]
    return exclusions(e, y, Z, H, 100, n, kind), {"y": y, "Z": Z, "H": H, "S": S, "n": n}


@pytest.mark.parametrize("kind", ["classical", "robust", "cluster"])
def test_j_and_c_are_least_squares_of_weighted_moments(kind):
    found, at = moments(kind)

    def least(columns):
        weight = np.linalg.inv(at["S"])
        A, b = at["H"].T @ columns, at["H"].T @ at["y"]
        rest = b - A @ np.linalg.solve(A.T @ weight @ A, A.T @ weight @ b)
        return rest @ weight @ rest

    J, df, p = found.test()
    assert pytest.approx(least(at["Z"])) == J
    assert df == 4
    extra = at["H"][:, 3:5]
    C, freed, p_c, p_left = found.without(at["H"].T @ extra)
    left = least(np.column_stack([at["Z"], extra]))
    assert pytest.approx(J - left) == C
    assert freed == 2
    if kind == "cluster":  # n R² of ones on the moments by unit, as in a regression
        n, scale = at["n"], at["n"] / (at["n"] - 1)
        assert p == pytest.approx(stats.f.sf(scale * J / 4 * (n - 4) / (n - scale * J), 4, n - 4))
        assert p_c == pytest.approx(stats.f.sf(scale * C / 2 * (n - 4) / (n - scale * J), 2, n - 4))
    else:
        assert (p, p_c, p_left) == pytest.approx(
            (stats.chi2.sf(J, 4), stats.chi2.sf(C, 2), stats.chi2.sf(left, 2))
        )


def test_columns_that_the_equation_has_or_too_many_of_them_have_no_test():
    found, at = moments("classical")
    assert np.isnan(found.without(at["H"].T @ at["Z"][:, :1])[0])
    assert np.isnan(found.without(np.eye(7)[:, :5])[0])


def test_clustered_j_keeps_its_level_with_few_units():
    """Moments of 24 units in eight directions: χ² of a J that cannot exceed n − 1 hardly ever rejects."""
    rng, n, chi2, own = np.random.default_rng(6), 24, [], []
    for _ in range(400):
        H = np.linalg.qr(rng.standard_normal((n * 4, 9)))[0]
        e = np.repeat(rng.standard_normal(n)[None], 4, 0).ravel() + rng.standard_normal(n * 4)
        J, df, p = exclusions(e, e, H[:, :1], H, n * 4, n, "cluster").test()
        chi2.append(stats.chi2.sf(J, df) < 0.05)
        own.append(p < 0.05)
    assert np.mean(chi2) < 0.03
    assert 0.02 < np.mean(own) < 0.09


def test_few_units_have_no_clustered_j():
    assert np.isnan(exclusions(*moments_of_few(), 40, 7, "cluster").test()[0])


def moments_of_few():
    rng = np.random.default_rng(7)
    return (
        *rng.standard_normal((2, 42)),
        rng.standard_normal((42, 2)),
        np.linalg.qr(rng.standard_normal((42, 6)))[0],
    )


def test_notes_of_a_likelihood_say_nothing_of_instruments():
    W = ring(12)
    spec = SystemSpec(
        {"industry": Equation("ind", ["tal"], ["a"]), "talent": Equation("tal", ["ind"], ["c"])}
    )
    truth = {("industry", "a"): 0.1, ("talent", "c"): 0.1, ("industry", "tal"): 0.2}
    panel = simulate_system(spec, W, 6, truth, rng=1)
    kinds = {
        method: {note.kind.name for note in fit_system(spec, panel, W, method).notes}
        for method in ("fiml", "2sls")
    }
    assert "weak_equation" in kinds["2sls"]
    assert "weak_equation" not in kinds["fiml"]
    assert zb.fit_system(spec, panel, W, method="fiml").equations()["effective_f"].isna().all()
