"""The chain of tests on panels of any shape: that of a complete panel where both apply, dense matrices elsewhere."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from small_examples import ring_with_chords

import spatial_zb as zb
from spatial_zb import hypotheses
from spatial_zb.base.errors import SpecificationError
from spatial_zb.core.likelihood import errors as core
from spatial_zb.hypotheses import ShapeCase, make_case
from spatial_zb.hypotheses.nulls import GROUPS, run_tests, with_p_values
from spatial_zb.models.ml import errors_of_fit, tied_in_rows
from spatial_zb.models.notes import correlated_over_time

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")

#: The same number by another way.
SAME, DENSE = 1e-8, 1e-9
n, T = 13, 6


@pytest.fixture(scope="module")
def W() -> zb.Weights:
    return ring_with_chords(n)


@pytest.fixture(scope="module")
def complete(W) -> zb.Panel:
    return zb.simulate.durbin(W, T, {"a": 1.0, "b": 0.5}, theta={"a": 0.4}, rho=0.3, rng=3)


def with_holes(panel: zb.Panel) -> zb.Panel:
    """Three units come late, one is away for a year."""
    there = np.ones(panel.present.shape, dtype=bool)
    there[:3, [1, 4, 8]], there[3, 2] = False, False
    values = np.where(there[..., None], panel.values, np.nan)
    return zb.Panel(values, panel.periods, panel.units, panel.columns, present=there)


@pytest.fixture(scope="module")
def uneven(complete) -> zb.Panel:
    return with_holes(complete)


@pytest.fixture(scope="module")
def case(uneven, W) -> ShapeCase:
    found = make_case(zb.DurbinSpec("y", ["a", "b"]), uneven, W, "lee_yu")
    assert isinstance(found, ShapeCase)
    return found


@pytest.fixture(scope="module")
def rows(case) -> dict:
    return {(row.test, row.of): row for row in run_tests(case, tuple(GROUPS))}


@pytest.fixture(scope="module")
def dense(case, W) -> dict[str, np.ndarray]:
    """y, Z, D, W and M of the rows, by loops over periods and explicit dummies."""
    period, unit = np.nonzero(case.panel.present)
    own = np.zeros((len(unit), len(unit)))
    for t in range(T):
        at = np.flatnonzero(period == t)
        block = W.matrix.toarray()[np.ix_(unit[at], unit[at])]
        own[np.ix_(at, at)] = block / block.sum(axis=1, keepdims=True)
    D = np.column_stack([unit[:, None] == np.arange(n), period[:, None] == np.arange(T)]).astype(float)
    y, Z = case.panel.array("y")[period, unit], case.panel.array(["a", "b"])[period, unit]
    M = np.eye(len(y)) - D @ np.linalg.pinv(D, rcond=1e-10)
    return {"y": y, "Z": Z, "D": D, "W": own, "M": M, "unit": unit, "period": period}


@pytest.mark.parametrize("effects", ["two_way", "time"])
def test_a_complete_panel_gives_the_chain_of_the_likelihood(complete, W, effects):
    spec = zb.DurbinSpec("y", ["a", "b"], fixed_effects=effects)
    usual = make_case(spec, complete, W, "lee_yu")
    shaped = make_case(spec, complete, W, "adjusted_score")
    assert isinstance(shaped, ShapeCase)
    known = {(row.test, row.of): row for row in run_tests(usual, tuple(GROUPS))}
    found = {(row.test, row.of): row for row in run_tests(shaped, tuple(GROUPS))}
    assert found.keys() == {key for key in known if key[0] not in ShapeCase.left_out}
    for key, row in found.items():
        if key[0].startswith("LR SDM"):
            assert np.isnan(row.statistic)
            assert "Wald" in row.note.en
            continue
        assert row.statistic == pytest.approx(known[key].statistic, rel=SAME), key
        if key[0] != "Cross-section dependence":  # whose draws differ in size by unit
            assert row.p_value == pytest.approx(known[key].p_value, rel=1e-6, nan_ok=True), key


def test_rows_that_do_not_sum_to_one_have_the_chain_of_the_adjusted_score(complete, W):
    """Asked for by name: with time effects there is no likelihood, and the usual chain says what to ask for."""
    spec = zb.DurbinSpec("y", ["a", "b"])
    heavy = zb.Weights(W.matrix * np.linspace(0.5, 1, n)[:, None], W.ids, "heavy")
    usual, found = (zb.diagnose(spec, complete, heavy, way) for way in ("lee_yu", "adjusted_score"))
    fit = zb.fit_durbin(spec, complete, heavy)
    wald = zb.tests.simplification_tests(fit).row("Wald SDM to SAR")
    row = found.row("Wald SDM to SAR")
    assert (row.statistic, row.p_value) == pytest.approx((wald.statistic, wald.p_value), rel=SAME)
    assert np.isfinite(found.row("LM error from SAR").statistic)
    note = usual.row("Wald SDM to SAR").note
    assert 'estimator="adjusted_score"' in note.en
    assert 'estimator="adjusted_score"' in note.zh
    assert found.row("F Durbin terms, OLS to SLX").statistic == pytest.approx(
        usual.row("F Durbin terms, OLS to SLX").statistic, rel=SAME
    )
    with pytest.raises(SpecificationError, match="no adjusted score"):
        zb.diagnose(zb.DurbinSpec("y", ["a"], fixed_effects="random"), complete, W, "adjusted_score")


def test_no_step_asks_which_case_it_has():
    """What differs between panels is a method of the case; the front alone chooses one."""
    folder = Path(hypotheses.__file__).parent
    code = {path.name: ast.walk(ast.parse(path.read_text("utf-8"))) for path in folder.glob("*.py")}
    named = {
        file
        for file, nodes in code.items()
        for node in nodes
        if "ShapeCase" in (getattr(node, "id", ""), getattr(node, "name", ""))
    }
    assert ShapeCase.left_out < set(hypotheses.TESTS)
    assert named == {"__init__.py"}


def test_lag_and_error_by_dense_matrices(rows, dense):
    y, Z, W, M, D = (dense[name] for name in ("y", "Z", "W", "M", "D"))
    free = len(y) - np.linalg.matrix_rank(D)
    X = M @ Z
    residual = M - X @ np.linalg.pinv(X)
    e = residual @ y
    s2, F = e @ e / free, W
    trace = np.trace(M @ F)
    squares = np.trace(F.T @ M @ F) + np.trace(M @ F @ M @ F)
    error = e @ F @ e / s2 - trace
    spread = np.trace(M @ F @ M @ F) + np.trace(M @ F @ M @ F.T) - 2 * trace**2 / free
    assert rows["LM error", ""].statistic == pytest.approx(error**2 / spread, rel=DENSE)
    lag, mean = (W @ y) @ e / s2 - trace, F @ (y - e)
    P = np.eye(len(y)) - residual
    excess = np.trace(residual @ F @ P @ F.T)
    variance = mean @ residual @ mean / s2 - excess + squares - 2 * trace**2 / free
    assert rows["LM lag", ""].statistic == pytest.approx(lag**2 / variance, rel=DENSE)
    cross = np.trace(M @ F.T @ M @ F) + np.trace(M @ F @ M @ F) - 2 * trace**2 / free
    joint = np.array([lag, error])
    both = np.array([[variance, cross], [cross, spread]])
    assert rows["LM lag and error, joint", ""].statistic == pytest.approx(
        joint @ np.linalg.solve(both, joint), rel=DENSE
    )


def test_effects_and_durbin_terms_with_explicit_dummies(rows, dense):
    y, Z, D, W = (dense[name] for name in ("y", "Z", "D", "W"))

    def left(*columns):
        X = np.column_stack(columns)
        return np.sum((y - X @ np.linalg.lstsq(X, y, rcond=None)[0]) ** 2), len(y) - np.linalg.matrix_rank(X)

    larger, df = left(D, Z)
    for name, dummies in (("unit", D[:, n:]), ("time", D[:, :n]), ("unit and time", np.ones((len(y), 1)))):
        smaller, more = left(dummies, Z)
        row = rows[f"F {name} effects", ""]
        assert row.statistic == pytest.approx((smaller - larger) / (more - df) / (larger / df), rel=DENSE)
        assert row.df == more - df
    wider, rest = left(D, Z, W @ Z)
    assert rows["F Durbin terms, OLS to SLX", ""].statistic == pytest.approx(
        (larger - wider) / 2 / (wider / rest), rel=DENSE
    )


def test_moran_by_the_moments_of_quadratic_forms(rows, dense):
    y, Z, W, M = (dense[name] for name in ("y", "Z", "W", "M"))
    X = M @ Z
    S = M - X @ np.linalg.pinv(X)
    e, A = S @ y, (W + W.T) / 2
    for label, at in (("pooled", np.arange(len(y))), ("2004", np.flatnonzero(dense["period"] == 3))):
        V, a = S[np.ix_(at, at)], A[np.ix_(at, at)]
        mean = np.trace(a @ V) / np.trace(V)
        centred = (a - mean * np.eye(len(at))) @ V
        d = np.trace(V) ** 2 / np.trace(V @ V)
        spread = np.sqrt(2 * np.trace(centred @ centred) / np.trace(V) ** 2 * d / (d + 2))
        z = (e[at] @ a @ e[at] / (e[at] @ e[at]) - mean) / spread
        assert rows["Moran of residuals", label].statistic == pytest.approx(z, rel=DENSE)


# --- errors of units with rows of any number


@pytest.fixture(scope="module")
def errors(case):
    return case.errors


@pytest.fixture(scope="module")
def taken(case, dense) -> np.ndarray:
    """M of SDM (N, N), with the derivative of its mean in ρ."""
    W, rho = dense["W"], case.rho
    fit = case.sdm
    e = fit.residuals[case.own(fit.design).present]
    mean = W @ dense["y"] - W @ np.linalg.solve(np.eye(len(W)) - rho * W, e)
    X = dense["M"] @ np.column_stack([dense["Z"], W @ dense["Z"], mean])
    return dense["M"] - X @ np.linalg.pinv(X)


def test_forms_of_units_by_loops(case, errors, taken, dense):
    unit, period = dense["unit"], dense["period"]
    e, z = case.sdm.residuals[case.own(case.sdm.design).present], []
    for i in range(n):
        at = np.flatnonzero(unit == i)
        block = taken[np.ix_(at, at)]
        assert errors.variances[i] == pytest.approx(e[at] @ e[at] / np.trace(block))
        Q = np.zeros((len(at), len(at)))
        for t in range(1, len(at)):
            if period[at[t]] == period[at[t - 1]] + 1:
                Q[t, t - 1], Q[t - 1, t - 1] = 1.0, 1 / (len(at) - 1)
        if Q.any():
            z.append(e[at] @ Q @ e[at] - e[at] @ e[at] * np.trace(Q @ block) / np.trace(block))
    np.testing.assert_allclose(errors.left_over(errors.lag_form), z, atol=DENSE)
    t = sum(z) / np.sqrt(len(z) / (len(z) - 1) * np.sum((z - np.mean(z)) ** 2))
    assert core.serial_correlation(errors, errors.lag_form) == pytest.approx(t)
    assert core.serial_correlation(errors, errors.crossing_form) != pytest.approx(t)


def test_what_was_taken_out_by_dense_matrices(errors, taken, dense):
    unit, period, rng = dense["unit"], dense["period"], np.random.default_rng(1)
    squares = [[np.sum(taken[np.ix_(unit == i, unit == j)] ** 2) for j in range(n)] for i in range(n)]
    np.testing.assert_allclose(errors.overlaps(), squares, atol=DENSE)
    u = rng.standard_normal((T, n, 2))
    off = errors.taken_out(u)
    np.testing.assert_allclose(off[period, unit], taken @ u[period, unit], atol=DENSE)
    assert (off[errors.grid == 0] == 0).all()
    seen, ahead, total = errors.by_shift()
    follows = (unit[:, None] == unit) & (period[:, None] == period + 1)
    for s in range(T):
        R = ((unit[:, None] == unit) & (np.abs(period[:, None] - period) == s)).astype(float)
        both = taken @ R @ taken
        assert ahead[s] == pytest.approx(both[follows].sum(), abs=DENSE)
        assert total[s] == pytest.approx(np.trace(both), abs=DENSE)
    assert -1 < seen < 1


def noisy(panel: zb.Panel, W: zb.Weights, scale: np.ndarray, last: float, seed: int) -> zb.Panel:
    """y of one regressor with errors of these sizes by unit that last."""
    rng = np.random.default_rng(seed)
    e = rng.standard_normal((len(panel.periods), W.n))
    for t in range(1, len(e)):
        e[t] = last * e[t - 1] + np.sqrt(1 - last**2) * e[t]
    left = np.eye(W.n) - 0.4 * W.matrix.toarray()
    y = (panel.array("a") + scale * e) @ np.linalg.inv(left).T
    return with_holes(panel.with_columns({"y": y}))


def test_fits_warn_of_errors_that_last_and_name_the_remedy():
    W = ring_with_chords(40)
    panel = noisy(zb.simulate.durbin(W, 9, {"a": 1.0}, rho=0.0, rng=5), W, np.ones(40), 0.8, 2)
    spec = zb.DurbinSpec("y", ["a"])
    (note,) = [one for one in zb.fit_durbin(spec, panel, W).notes if one.kind is correlated_over_time]
    assert "cluster" in note.text.en
    clustered = zb.fit_durbin(spec, panel, W, covariance="cluster")
    assert correlated_over_time not in [one.kind for one in clustered.notes]
    row = zb.tests.serial_correlation(clustered).row("Serial correlation (LM*)")
    assert row.statistic == pytest.approx(core.correlation_test(errors_of_fit(clustered))[0])


def test_fits_warn_of_variances_that_go_with_the_place_in_w():
    """A hub whose errors are large: ρ would be another without equal variances."""
    A = np.zeros((30, 30))
    A[0, 1:], A[1:, 0] = 1.0, 1.0
    for i in range(1, 30):
        A[i, 1 + i % 29] = A[1 + i % 29, i] = 1.0
    W = zb.as_weights(A, ids=[f"u{i:03d}" for i in range(30)], label="hub").standardise()
    scale = np.where(np.arange(30) == 0, 4.0, 0.7)
    panel = noisy(zb.simulate.durbin(W, 9, {"a": 1.0}, rho=0.0, rng=5), W, scale, 0.0, 2)
    (note,) = [
        one for one in zb.fit_durbin(zb.DurbinSpec("y", ["a"]), panel, W).notes if one.kind is tied_in_rows
    ]
    assert "robust_score" in note.text.zh


# --- as a user has it


def test_the_chain_says_how_it_was_made(uneven, W):
    spec = zb.DurbinSpec("y", ["a", "b"], fixed_effects=["unit", "unit*trend", "period"])
    table = zb.diagnose(spec, uneven, W)
    assert table.glance()["estimator"].iloc[0] == "adjusted_score"
    assert np.isfinite(table.row("Wald SDM to SEM").p_value)
    assert "unit*trend" in table.recommend("en")
    assert "LR" not in table.recommend("en")
    with pytest.raises(zb.SpecificationError, match="direct"):
        zb.diagnose(spec, uneven, W, "direct")
    with pytest.raises(zb.SpecificationError, match='fixed_effects="unit"') as random:
        zb.diagnose(zb.DurbinSpec("y", ["a"], fixed_effects="random"), uneven, W)
    assert "缺失" in random.value.zh


def test_bootstrap_p_values_are_drawn_from_the_rows(case, rows):
    wanted = [
        rows["LM lag", ""],
        rows["LM error", ""],
        rows["LM lag, robust", ""],
        rows["F unit effects", ""],
    ]
    lag, error, robust, unit = with_p_values(case, wanted, 99, 1, 1)
    assert lag.p_bootstrap == pytest.approx(lag.p_value, abs=0.1)
    assert error.p_bootstrap == pytest.approx(error.p_value, abs=0.15)
    assert unit.p_bootstrap == pytest.approx(unit.p_value, abs=0.1)
    assert np.isnan(robust.p_bootstrap)
    again = case.redrawn(case.own(case.design).values)
    assert run_tests(again, ("lag_error",))[0].statistic == pytest.approx(rows["LM lag", ""].statistic)


def test_a_redraw_is_a_case_with_that_y(case, uneven, W):
    """Of a case that has made no fit as well, as in another process."""
    period, unit = np.nonzero(uneven.present)
    other = uneven.array("y")[period, unit] + np.random.default_rng(3).standard_normal(len(unit))
    values = uneven.array("y").copy()
    values[period, unit] = other
    spec = zb.DurbinSpec("y", ["a", "b"])
    made = make_case(spec, uneven.with_columns({"y": values}), W, "lee_yu")
    expected = {(row.test, row.of): row.statistic for row in run_tests(made, tuple(GROUPS))}
    fresh = make_case(spec, uneven, W, "lee_yu")
    for one in (fresh.redrawn(other), case.redrawn(other).redrawn(other)):
        for row in run_tests(one, tuple(GROUPS)):
            assert row.statistic == pytest.approx(expected[row.test, row.of], nan_ok=True), row.test


def test_a_unit_of_one_row_says_nothing_of_errors(uneven, W, case):
    """Its effect takes all of it; the tests are those without it where W leaves the others as they are."""
    there = uneven.present.copy()
    there[1:, 6] = False
    values = np.where(there[..., None], uneven.values, np.nan)
    less = zb.Panel(values, uneven.periods, uneven.units, uneven.columns, present=there)
    found = make_case(case.spec, less, W, "lee_yu")
    assert list(found.errors.units) == [i for i in range(n) if i != 6]
    assert all(np.isfinite(row.statistic) for row in run_tests(found, ("errors",)))
