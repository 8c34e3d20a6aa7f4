"""What fits and the chain say of errors over time and of variances: real data, simulated ones, silence where it is due."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize
from small_examples import cities

import spatial_zb as zb
from spatial_zb.core.likelihood.errors import own_feedback, shift_without_equal_variances
from spatial_zb.hypotheses import make_case
from spatial_zb.hypotheses.nulls import run_tests
from spatial_zb.models.certainty import measured_short
from spatial_zb.models.ml import errors_of_fit
from spatial_zb.models.notes import ROBUST_SCORE, correlated_over_time, variances_tied
from spatial_zb.models.system.notes import correlated_equations, lam_of_system, tied_in_system

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

REFERENCE = Path(__file__).parents[1] / "reference" / "city_panels"
EXPECTED = json.loads((REFERENCE / "expected.json").read_text())
#: The dense side finds ρ̂ to 1e-9.
SAME = 1e-6


def autoregressive(a: float, T: int, n: int, rng: np.random.Generator) -> np.ndarray:
    u = rng.standard_normal((T, n))
    u[1:] *= np.sqrt(1 - a * a)
    for t in range(1, T):
        u[t] += a * u[t - 1]
    return u


def map_of(n: int, hubs: int = 0) -> zb.Weights:
    """Four neighbours each; with hubs two of the four are hubs."""
    rng = np.random.default_rng(1)
    W = np.zeros((n, n))
    for i in range(n):
        own = [j for j in range(hubs) if j != i][:2]
        rest = [j for j in range(hubs, n) if j != i]
        W[i, [*own, *rng.choice(rest, 4 - len(own), replace=False)]] = 0.25
    return zb.as_weights(W, ids=[f"{i:03d}" for i in range(n)])


def panel_of(W: zb.Weights, u: np.ndarray, rng: np.random.Generator, rho: float = 0.4) -> zb.Panel:
    T, n = u.shape
    x = rng.standard_normal((T, n))
    right = x + rng.standard_normal(n) + rng.standard_normal((T, 1)) + u
    y = np.linalg.solve(np.eye(n) - rho * W.matrix.toarray(), right.T).T
    return zb.Panel(np.stack([y, x], axis=2), tuple(range(T)), W.ids, ("y", "x"))


def kinds(fit: zb.Fit) -> set:
    return {note.kind for note in fit.notes}


@pytest.mark.parametrize("name", EXPECTED)
def test_real_panels_give_what_dense_loops_give(name: str) -> None:
    sample, y = name.split()
    spec = zb.DurbinSpec(y, ["talent" if y == "industry" else "industry", "ln_pgdp"])
    panel, W = cities(sample)
    rows = {row.test: row for row in run_tests(make_case(spec, panel, W, "lee_yu"), ("errors",))}
    for test, key in (
        ("Serial correlation (LM*)", "serial"),
        ("Serial correlation, forward and backward", "forward_backward"),
        ("Variances and diagonal of G", "tied"),
    ):
        assert rows[test].statistic == pytest.approx(EXPECTED[name][key], rel=SAME), test
    assert rows["Serial correlation (LM*)"].p_value < 0.007
    fit = zb.fit_durbin(spec, panel, W)
    (note,) = [note for note in fit.notes if note.kind is correlated_over_time]
    assert note["t"] == pytest.approx(EXPECTED[name]["serial"], rel=SAME)
    assert 'covariance="cluster"' in note.text.en
    assert 'covariance="cluster"' in note.text.zh
    assert "information" in note.text.en
    assert correlated_over_time not in kinds(zb.fit_durbin(spec, panel, W, covariance="cluster"))


@pytest.mark.parametrize(
    "more",
    [
        {"lag_y": False, "lag_x": []},
        {"lag_y": False, "lag_x": [], "lag_error": True},
        {"lag_x": [], "fixed_effects": "unit"},
        {"fixed_effects": "time"},
        {"lag_error": True},
    ],
    ids=["OLS", "SEM", "SAR, unit", "SDM, time", "GNS"],
)
def test_every_model_says_it_of_its_own_residuals(more: dict) -> None:
    W, rng = map_of(46), np.random.default_rng(3)
    spec = zb.DurbinSpec("y", ["x"], **more)
    loud = panel_of(W, autoregressive(0.6, 10, 46, rng), rng)
    for covariance, said in (
        ("information", True),
        ("hessian", True),
        ("sandwich", True),
        ("cluster", False),
    ):
        found = kinds(zb.fit_durbin(spec, loud, W, covariance=covariance))
        assert (correlated_over_time in found) == said, covariance


@pytest.mark.parametrize(
    "more",
    [
        {"fixed_effects": "random"},
        {"fixed_effects": "random", "lag_error": True, "error_structure": "kkp"},
        {"fixed_effects": "random", "mundlak": True},
        {"regimes": "core"},
    ],
    ids=["random", "random, error", "Mundlak", "regimes"],
)
def test_random_effects_and_regimes_say_it_of_what_changes_over_time(more: dict) -> None:
    """Unit effects are no correlation over time; in simulations 0–3 % of independent panels are warned of."""
    W, spec = map_of(46), zb.DurbinSpec("y", ["x"], **more)
    core = np.broadcast_to(np.arange(46) % 2, (10, 46)).astype(float)
    for a, said in ((0.6, True), (0.0, False)):
        rng = np.random.default_rng(3)
        panel = panel_of(W, autoregressive(a, 10, 46, rng), rng).with_columns({"core": core})
        fit = zb.fit_durbin(spec, panel, W)
        assert (correlated_over_time in kinds(fit)) == said, a
    loud = panel_of(W, autoregressive(0.6, 10, 46, np.random.default_rng(3)), np.random.default_rng(4))
    clustered = zb.fit_durbin(spec, loud.with_columns({"core": core}), W, covariance="cluster")
    assert correlated_over_time not in kinds(clustered)


@pytest.mark.parametrize(("method", "covariance"), [("fiml", "information"), ("gs3sls", "robust")])
def test_systems_say_it_by_equation(method: str, covariance: str) -> None:
    """Only the equation whose errors last is named; ``equations()`` has p of its LM*, as the test beside the fit."""
    W, rng = map_of(46), np.random.default_rng(5)
    spec = zb.SystemSpec(
        {"one": zb.Equation("p", ["q"], ["a"]), "two": zb.Equation("q", ["p"], ["b"])}, "two_way"
    )
    u = autoregressive(0.6, 10, 46, rng), autoregressive(0.0, 10, 46, rng)
    a, b = (autoregressive(0.7, 10, 46, rng) for _ in range(2))
    p = a + u[0]
    q = b + u[1] + 0.3 * p
    panel = zb.Panel(np.stack([p, q, a, b], axis=2), tuple(range(10)), W.ids, ("p", "q", "a", "b"))
    fit = zb.fit_system(spec, panel, W, method, covariance=covariance)
    (note,) = [note for note in fit.notes if note.kind is correlated_equations]
    assert note["equations"] == ("one",)
    assert 'covariance="cluster"' in note.text.en
    assert 'covariance="cluster"' in note.text.zh
    table = zb.tests.serial_correlation(fit)
    shown = fit.equations().set_index("equation")["serial_p"]
    for name in ("one", "two"):
        assert shown[name] == table.row("Serial correlation (LM*)", name).p_value
    assert note["p"] == shown["one"] < 1e-4 < shown["two"]
    clustered = zb.fit_system(spec, panel, W, method, covariance="cluster")
    assert correlated_equations not in kinds(clustered)


def test_variances_tied_to_hubs_are_said_of_lambda_too() -> None:
    """In simulations 93–100 % of such panels are warned of, none of equal variances; λ is then off by −0.4."""
    W = map_of(40, hubs=3)
    spec = zb.DurbinSpec("y", ["x"], lag_y=False, lag_x=[], lag_error=True)
    B = np.linalg.inv(np.eye(40) - 0.4 * W.matrix.toarray())
    for ratio, said in ((3.0, True), (1.0, False)):
        rng = np.random.default_rng(2)
        e = rng.standard_normal((8, 40))
        e[:, :3] *= ratio
        x = rng.standard_normal((8, 40))
        panel = zb.Panel(np.stack([x + e @ B.T, x], axis=2), tuple(range(8)), W.ids, ("y", "x"))
        found = [n for n in zb.fit_durbin(spec, panel, W).notes if n.kind is variances_tied]
        assert bool(found) == said
    robust = zb.fit_durbin(spec, panel_of(W, e, rng), W, estimator="robust_score")
    assert "without that λ would move" in variances_tied(5.0, 2, 37, 0.01, 0.3, 1.5, "λ").text.en
    assert "lam" in robust.params.index


def test_variances_tied_to_hubs_are_said_of_both_together() -> None:
    """In simulations 98 % of such panels are warned of, none of equal variances; λ is then off by −0.5, ρ hardly."""
    W = map_of(40, hubs=4)
    spec = zb.DurbinSpec("y", ["x"], lag_x=[], lag_error=True)
    B = np.linalg.inv(np.eye(40) - 0.4 * W.matrix.toarray())
    for ratio, said in ((3.0, True), (1.0, False)):
        rng = np.random.default_rng(2)
        e, x = rng.standard_normal((2, 8, 40))
        e[:, :4] *= ratio
        panel = zb.Panel(np.stack([(x + e @ B.T) @ B.T, x], axis=2), tuple(range(8)), W.ids, ("y", "x"))
        found = [
            n for n in zb.fit_durbin(spec, panel, W, covariance="cluster").notes if n.kind is variances_tied
        ]
        assert bool(found) == said
        assert all(note["of"] == "λ" for note in found)


def test_panels_like_those_that_fell_short_in_simulations_say_so() -> None:
    """11 units with lasting errors or few periods, ρ of 0.85 with lasting ones, hubs in few periods; else silence."""

    def cases(
        n: int, T: int, a: float, rho: float, covariance: str, ratio: float = 1.0, seed: int = 8, **more
    ) -> set[str]:
        W, rng = map_of(n, hubs=3), np.random.default_rng(seed)
        u = autoregressive(a, T, n, rng)
        u[:, :3] *= ratio
        estimator = more.pop("estimator", "lee_yu")
        spec = zb.DurbinSpec("y", ["x"], **more)
        fit = zb.fit_durbin(spec, panel_of(W, u, rng, rho), W, estimator, covariance=covariance)
        return {note["case"] for note in fit.notes if note.kind is measured_short}

    assert cases(11, 13, 0.8, 0.3, "cluster") == {"few"}
    assert cases(11, 13, 0.0, 0.3, "cluster") == set()
    assert cases(11, 4, 0.0, 0.3, "information") == {"short"}
    assert cases(11, 4, 0.0, 0.3, "cluster") == set()
    for estimator in ("lee_yu", "robust_score"):
        assert cases(40, 11, 0.7, 0.85, "cluster", 1.0, 1, estimator=estimator) == {"strong"}
        assert cases(40, 11, 0.7, 0.3, "cluster", 1.0, 1, estimator=estimator) == set()
        both = {"estimator": estimator, "lag_x": [], "lag_error": True}
        assert cases(40, 11, 0.8, 0.3, "cluster", 1.0, 1, **both) == {"both"}
        assert cases(40, 11, 0.0, 0.3, "cluster", 1.0, 1, **both) == set()
    assert all(cases(40, 11, 0.0, 0.4, "information", ratio) == set() for ratio in (1.0, 1.6))
    gmm = {"estimator": "gmm", "lag_x": []}
    assert cases(40, 20, 0.0, 0.85, "information", 1.0, 4, **gmm) == {"instruments"}
    assert cases(40, 20, 0.0, 0.3, "information", 1.0, 4, **gmm) == set()
    for ratio, said in ((1.0, set()), (3.0, {"random"})):
        assert cases(40, 8, 0.0, 0.4, "information", ratio, fixed_effects="random") == said


def test_systems_say_where_variances_go_with_the_place_in_w() -> None:
    """Of λ by any estimator; without it where errors are not clustered."""
    W = map_of(46, hubs=4)
    for ratio, said in ((1.0, [False] * 4), (3.0, [True, True, True, False])):
        rng = np.random.default_rng(5)
        u = rng.standard_normal((2, 10, 46))
        u[:, :, :4] *= ratio
        a, b = rng.standard_normal((2, 10, 46))
        p = a + u[0]
        q = b + u[1] + 0.3 * p
        panel = zb.Panel(np.stack([p, q, a, b], axis=2), tuple(range(10)), W.ids, ("p", "q", "a", "b"))
        found = []
        for lag_error, covariance in (
            (True, "cluster"),
            (True, "information"),
            (False, "information"),
            (False, "cluster"),
        ):
            equations = {
                "one": zb.Equation("p", ["q"], ["a"], lag_error=lag_error),
                "two": zb.Equation("q", ["p"], ["b"], lag_error=lag_error),
            }
            fit = zb.fit_system(zb.SystemSpec(equations, "two_way"), panel, W, "fiml", covariance=covariance)
            (note, *_) = [note for note in fit.notes if note.kind is tied_in_system] or [None]
            found.append(note is not None)
            alone = lag_error and note is None
            assert (lam_of_system in kinds(fit)) == alone
            if note is not None:
                assert note["equations"] == ("one", "two")
                assert ("lag_error=False" in note.text.en) == lag_error == ("lag_error=False" in note.text.zh)
        assert found == said


def test_instruments_say_it_too_unless_errors_are_clustered() -> None:
    W = map_of(46)
    rng = np.random.default_rng(3)
    spec = zb.DurbinSpec("y", ["x"], lag_x=[])
    loud = panel_of(W, autoregressive(0.6, 10, 46, rng), rng)
    said = {c: kinds(zb.fit_durbin(spec, loud, W, "gmm", c)) for c in ("information", "robust", "cluster")}
    assert [correlated_over_time in said[c] for c in said] == [True, True, False]
    quiet = zb.fit_durbin(spec, panel_of(W, rng.standard_normal((10, 46)), rng), W, "gmm")
    assert correlated_over_time not in kinds(quiet)


def test_independent_errors_of_equal_variance_are_not_spoken_of() -> None:
    W = map_of(46)
    found = []
    for i in range(25):
        rng = np.random.default_rng([4, i])
        found.append(
            kinds(zb.fit_durbin(zb.DurbinSpec("y", ["x"]), panel_of(W, rng.standard_normal((8, 46)), rng), W))
        )
    assert sum(correlated_over_time in one for one in found) <= 2
    assert sum(variances_tied in one for one in found) <= 3


def test_hubs_with_large_errors_are_said_to_move_rho_and_the_robust_score_is_named() -> None:
    """hub_variance of the review: 40 units, 6 periods, four hubs with three times the standard deviation."""
    W, spec = map_of(40, hubs=4), zb.DurbinSpec("y", ["x"], lag_x=[])
    size = np.where(np.arange(40) < 4, 3.0, 1.0)
    size = size / np.sqrt((size**2).mean())
    said, shifts, off = [], [], []
    for i in range(25):
        rng = np.random.default_rng([5, i])
        fit = zb.fit_durbin(
            spec, panel_of(W, rng.standard_normal((6, 40)) * size, rng), W, covariance="cluster"
        )
        notes = {note.kind: note for note in fit.notes}
        said.append(variances_tied in notes)
        off.append(fit.params["rho"] - 0.4)
        if said[-1]:
            note = notes[variances_tied]
            shifts.append(note["shift"])
            assert ROBUST_SCORE in note.text.en
            assert ROBUST_SCORE in note.text.zh
            assert not any("median_unbiased" in other.text.en for other in notes.values())
    assert np.mean(said) >= 0.8  # 96 % of 120; three errors of 25 panels
    assert np.mean(off) < -0.1
    assert np.mean(shifts) > 0.08  # towards the truth


def test_the_shift_is_the_first_step_to_the_root_of_the_score_without_equal_variances() -> None:
    """Σ_i k_i e_i'e_i in place of k̄ e'e, solved densely."""
    W, rng = map_of(40, hubs=4), np.random.default_rng(6)
    size = np.where(np.arange(40) < 4, 1.5, 1.0)
    T, n = 60, 40
    panel = panel_of(W, rng.standard_normal((T, n)) * size, rng)
    fit = zb.fit_durbin(zb.DurbinSpec("y", ["x"], lag_x=[]), panel, W)
    errors, dense = errors_of_fit(fit), W.matrix.toarray()
    design = fit.design
    H = design.basis.Q
    y, Wy = (v.ravel() - H @ (H.T @ v.ravel()) for v in (design.y, design.Wy))

    def score(rho: float) -> float:
        G = dense @ np.linalg.inv(np.eye(n) - rho * dense)
        g = np.diag(G) - G.mean(axis=0)
        k = n / (n - 2) * (g - g.sum() / (n * (n - 1)))
        e = (y - rho * Wy).reshape(T, n)
        return float(Wy @ e.ravel() - k @ (e * e).sum(axis=0))

    root = optimize.brentq(score, -0.5, 0.9)
    rho = fit.params["rho"]
    feedback = own_feedback(W.matrix, rho, True)
    shift = shift_without_equal_variances(errors, feedback, fit.sigma2) * fit.bse["rho"] ** 2
    assert shift == pytest.approx(root - rho, rel=0.25)
    assert abs(shift) > 0.02


def test_draws_of_the_chain_are_the_same_without_a_seed_and_follow_one() -> None:
    panel, W = cities("zhejiang")
    spec = zb.DurbinSpec("talent", ["industry", "ln_pgdp"])
    p = [
        next(
            r
            for r in run_tests(make_case(spec, panel, W, "lee_yu", rng), ("errors",))
            if r.test == "Cross-section dependence"
        )
        for rng in (None, None, 1, 1, 2)
    ]
    assert p[0].p_value == p[1].p_value
    assert p[2].p_value == p[3].p_value
    assert len({row.statistic for row in p}) == 1
    assert len({row.p_value for row in p}) > 1


def test_a_cross_section_has_its_own_tests_and_no_others() -> None:
    rng = np.random.default_rng(9)
    W = map_of(46)
    panel = panel_of(W, rng.standard_normal((1, 46)), rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        table = zb.diagnose(zb.DurbinSpec("y", ["x"], fixed_effects="none"), panel, W, replicates=99, rng=1)
    names = {row.test for row in table.rows}
    assert {"Breusch-Pagan", "Koenker-Bassett", "Jarque-Bera"} <= names
    assert not {name for name in names if "Serial" in name or "Variances" in name}
    for name in ("Breusch-Pagan", "Koenker-Bassett"):
        assert abs(table.row(name).p_bootstrap - table.row(name).p_value) < 0.2
    assert "Koenker-Bassett" in table.recommend()


def test_a_w_that_treats_units_alike_says_so() -> None:
    n, rng = 12, np.random.default_rng(2)
    ring = zb.as_weights(
        (np.roll(np.eye(n), 1, 1) + np.roll(np.eye(n), -1, 1)) / 2, ids=[f"{i:02d}" for i in range(n)]
    )
    case = make_case(
        zb.DurbinSpec("y", ["x"]), panel_of(ring, rng.standard_normal((6, n)), rng), ring, "lee_yu"
    )
    rows = {row.test: row for row in run_tests(case, ("errors",))}
    assert np.isnan(rows["Variances and diagonal of G"].statistic)
    assert "every unit" in rows["Variances and diagonal of G"].note.en
    assert np.isfinite(rows["Serial correlation (LM*)"].p_value)


@pytest.mark.parametrize("name", EXPECTED)
def test_serial_correlation_of_a_fit_is_that_of_the_chain(name: str) -> None:
    sample, y = name.split()
    panel, W = cities(sample)
    fit = zb.fit_durbin(zb.DurbinSpec(y, ["talent" if y == "industry" else "industry", "ln_pgdp"]), panel, W)
    table = zb.tests.serial_correlation(fit)
    assert [row.statistic for row in table.rows] == pytest.approx(
        [EXPECTED[name]["serial"], EXPECTED[name]["forward_backward"]], rel=SAME
    )
    assert "SDM" in table.tidy().loc[0, "note"]
    assert "序列相关" in table.tidy("zh").loc[0, "test"]


def test_a_system_is_tested_by_equation() -> None:
    """Slow errors in one of two equations: it is told apart from the other, whatever the method."""
    W = map_of(46)
    rows = {"q": [], "p": []}
    for i in range(4):
        rng = np.random.default_rng([11, i])
        T, n = 10, 46
        slow, quick = autoregressive(0.7, T, n, rng), rng.standard_normal((T, n))
        a, c = rng.standard_normal((2, T, n))
        p = a + slow + 0.3 * (c + quick)
        q = c + quick + 0.3 * p
        panel = zb.Panel(np.stack([p, q, a, c], axis=2), tuple(range(T)), W.ids, ("p", "q", "a", "c"))
        equations = {
            "p": zb.Equation("p", x=["a"], lag_x=[], endog=["q"], lag_y=False),
            "q": zb.Equation("q", x=["c"], lag_x=[], endog=["p"], lag_y=False),
        }
        for method in ("gs3sls", "fiml") if i == 0 else ("gs3sls",):
            table = zb.tests.serial_correlation(
                zb.fit_system(zb.SystemSpec(equations), panel, W, method=method)
            )
            for of in rows:
                rows[of].append(table.row("Serial correlation (LM*)", of).p_value)
            assert table.row("Serial correlation, forward and backward", "q") is not None
    assert max(rows["p"]) < 0.01
    assert min(rows["q"]) > 0.005


def test_what_serial_correlation_cannot_test_says_why() -> None:
    W, rng = map_of(20), np.random.default_rng(0)
    panel = panel_of(W, rng.standard_normal((4, 20)), rng)
    random = zb.fit_durbin(zb.DurbinSpec("y", ["x"], fixed_effects="random"), panel, W)
    with pytest.raises(zb.SpecificationError, match="static fits"):
        zb.tests.serial_correlation(random)
    short = zb.Panel(panel.values[:2], panel.periods[:2], panel.units, panel.columns)
    with pytest.raises(zb.SpecificationError, match="three periods"):
        zb.tests.serial_correlation(zb.fit_durbin(zb.DurbinSpec("y", ["x"]), short, W))
