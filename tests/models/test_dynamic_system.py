"""Systems with lags in time: identities, a dense likelihood, derivatives, refusals, and what the fit says of itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_examples import directed_knn

import spatial_zb as zb
from spatial_zb.core.system.dynamic import Carried, compressed, follow, follow_restricted
from spatial_zb.core.system.fiml import maximise_system
from spatial_zb.core.system.scores import paired_scores
from spatial_zb.models.system import system_likelihood
from spatial_zb.models.system.dynamic import (
    adjusted_curvature,
    array_order,
    carried_fit,
    carried_generator,
    least_squares,
    serial_correlation,
)

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")

N, T = 16, 9
TRUTH = {
    ("a", "W_a"): 0.3,
    ("a", "x"): 0.5,
    ("a", "L_a"): 0.5,
    ("a", "L_b"): 0.3,
    ("a", "L_W_b"): 0.2,
    ("b", "W_b"): 0.2,
    ("b", "L_b"): 0.3,
    ("b", "x"): 0.3,
}
#: Optima of two algorithms.
SOLVED = 1e-8


def spec_of(lag_endog: bool = False, effects: str = "two_way", **equation) -> zb.SystemSpec:
    cross = {"a": ["b"], "b": ["a"]} if lag_endog else {"a": (), "b": ()}
    equations = {g: zb.Equation(g, x=["x"], lag_x="all", lag_endog=cross[g], **equation) for g in ("a", "b")}
    return zb.SystemSpec(equations, effects, time_lag=True, lag_time_lag=True)


@pytest.fixture(scope="module")
def W():
    """Not symmetric: its eigenvalues are complex."""
    return directed_knn(N)


@pytest.fixture(scope="module")
def panel(W):
    return zb.simulate.system(
        spec_of(), W, T + 1, zb.simulate.Truth(TRUTH, sigma=[[1, 0.3], [0.3, 1]]), rng=5
    )


@pytest.fixture(scope="module")
def fit(W, panel):
    return zb.fit_system(spec_of(True), panel, W)


def theta_of(fit) -> np.ndarray:
    return fit.params.to_numpy()[array_order(fit)]


# Identities -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("effects", "lag_error"), [("two_way", False), ("unit", True)])
def test_one_equation_is_the_single_equation_fit(effects, lag_error):
    W, truth = directed_knn(30), {"x": 1.0, "rho": 0.3, "tau": 0.4, "eta": -0.1}
    spec = zb.DurbinSpec("y", ["x"], True, "all", lag_error, effects, time_lag=True, lag_time_lag=True)
    panel = zb.simulate.panel(spec, W, 13, truth, rng=2)
    one = zb.fit_durbin(spec, panel, W, estimator="yang")
    equation = zb.Equation("y", x=["x"], lag_x="all", lag_error=lag_error)
    system = zb.fit_system(
        zb.SystemSpec({"a": equation}, effects, time_lag=True, lag_time_lag=True), panel, W
    )
    names = {"x": "x", "W_x": "W_x", "tau": "L_y", "eta": "L_W_y", "rho": "W_y", "lam": "lam"}
    for name, term in names.items():
        if name in one.params:
            assert system.params["a", term] == pytest.approx(one.params[name], abs=SOLVED)
    assert system.log_likelihood == pytest.approx(one.log_likelihood, abs=SOLVED)
    assert system.convergence.radius == pytest.approx(one.convergence.radius, abs=SOLVED)


def test_without_lags_in_time_it_is_full_information_maximum_likelihood(W, panel):
    plain = replace(spec_of(), time_lag=False, lag_time_lag=False)
    fiml = zb.fit_system(plain, panel, W, "fiml")
    likelihood = system_likelihood(fiml.design, "full")
    carried = Carried(likelihood, replace_links_by_none(likelihood))
    found = follow(carried, [least_squares(fiml.design)])
    np.testing.assert_allclose(found.theta, theta_of(fiml), atol=SOLVED)
    assert found.adjusted == pytest.approx(fiml.log_likelihood, abs=SOLVED)
    best = maximise_system(likelihood, [least_squares(fiml.design)])
    np.testing.assert_allclose(found.theta, best.theta, atol=SOLVED)


def replace_links_by_none(likelihood):
    links = likelihood.arrays.links
    return type(links)(*(getattr(links, f)[:0] for f in ("position", "row", "column", "lagged")))


def test_names_of_lags_are_a_choice_of_each_equation(W, panel):
    few = {
        "a": zb.Equation("a", x=["x"], time_lag=["b"], lag_time_lag=False),
        "b": zb.Equation("b", x=["x"], time_lag=True),
    }
    spec = zb.SystemSpec(few, lag_time_lag=True)
    assert spec.time_terms("a") == ("L_b",)
    assert spec.time_terms("b") == ("L_a", "L_b", "L_W_a", "L_W_b")
    found = zb.fit_system(spec, panel, W)
    assert found.converged
    assert ("a", "L_a") not in found.params
    assert spec == zb.SystemSpec(few, lag_time_lag=True)
    assert spec != zb.SystemSpec(few)


def test_order_of_units_and_scale_of_a_variable_do_not_matter(W, panel, fit):
    shuffled = np.random.default_rng(0).permutation(N)
    units = list(W.ids[shuffled])
    again = zb.fit_system(fit.spec, panel.select(units=units), W)
    np.testing.assert_allclose(again.params, fit.params, atol=SOLVED)
    scaled = zb.fit_system(fit.spec, panel.with_columns({"b": 1e6 * panel.array("b")}), W)
    assert scaled.params["a", "L_b"] * 1e6 == pytest.approx(fit.params["a", "L_b"], rel=1e-6)
    assert scaled.params["b", "L_W_b"] == pytest.approx(fit.params["b", "L_W_b"], rel=1e-6)


# Brute force ----------------------------------------------------------------------------------------------


def dense_adjusted(fit, theta: np.ndarray) -> tuple[float, float]:
    """ℓ and a from the raw panel: residuals by loops, an orthonormal basis off both effects, matrix powers."""
    matrix, spec = fit.weights.matrix.toarray(), fit.spec
    y, x = fit.design.levels, fit.panel.array("x")
    n, periods, m = N, T, 2
    gamma, psi, tau, eta = (np.zeros((m, m)) for _ in range(4))
    beta, slope, value = np.zeros(m), np.zeros(m), iter(theta)
    place = {name: i for i, name in enumerate(spec.endogenous)}
    for g, name in enumerate(spec.names):
        for term in spec.terms(name):
            number = next(value)
            if term == "x":
                beta[g] = number
            elif term == "W_x":
                slope[g] = number
            elif term.startswith("L_W_"):
                eta[g, place[term[4:]]] = number
            elif term.startswith("L_"):
                tau[g, place[term[2:]]] = number
            else:
                psi[g, place[term[2:]]] = number
    S = np.kron(np.eye(m) - gamma, np.eye(n)) - np.kron(psi, matrix)
    A = np.kron(tau, np.eye(n)) + np.kron(eta, matrix)
    e = np.zeros((periods, m, n))
    for t in range(periods):
        mean = np.concatenate([beta[g] * x[t] + slope[g] * matrix @ x[t] for g in range(m)])
        e[t] = (S @ y[t + 1].T.ravel() - A @ y[t].T.ravel() - mean).reshape(m, n)
    off_units = np.linalg.svd(np.eye(n) - 1 / n)[0][:, : n - 1]
    off_periods = np.linalg.svd(np.eye(periods) - 1 / periods)[0][:, : periods - 1]
    moved = np.einsum("ts,tgi,ij->sjg", off_periods, e, off_units).reshape(-1, m)
    sigma, rows = moved.T @ moved / len(moved), len(moved)
    basis = np.kron(np.eye(m), off_units)
    inner = basis.T @ S @ basis
    value_of = -rows / 2 * (m * np.log(2 * np.pi) + np.linalg.slogdet(sigma)[1] + m)
    value_of += (periods - 1) * np.linalg.slogdet(inner)[1]
    process = np.linalg.solve(inner, basis.T @ A @ basis)
    a, power = 0.0, np.eye(len(process))
    for k in range(1, periods):
        power = power @ process
        a += (periods - k) / (periods * k) * np.trace(power)
    return float(value_of), float(a)


def test_the_likelihood_and_its_correction_are_those_of_dense_matrices(fit):
    theta = theta_of(fit)
    value, a = dense_adjusted(fit, theta)
    assert value + fit.convergence.weight * a == pytest.approx(fit.convergence.adjusted, abs=1e-6)
    before = fit.convergence.uncorrected.to_numpy()[array_order(fit)]
    assert dense_adjusted(fit, before)[0] == pytest.approx(fit.log_likelihood, abs=1e-6)


def test_the_estimate_is_a_maximum_of_the_dense_adjusted_likelihood(fit):
    assert fit.convergence.weight == 1
    theta = theta_of(fit)
    height = sum(dense_adjusted(fit, theta))
    for step in 1e-3 * np.eye(len(theta)):
        for side in (-1, 1):
            assert sum(dense_adjusted(fit, theta + side * step)) < height


def test_derivatives_of_the_correction_with_same_period_effects(W, panel):
    """Of γ, ψ own and cross, τ and η, by central differences."""
    equations = {
        "a": zb.Equation("a", ["b"], ["x"], lag_endog=["b"]),
        "b": zb.Equation("b", x=["x"], lag_x="all", time_lag=False, lag_endog=["a"]),
    }
    found = zb.fit_system(zb.SystemSpec(equations, time_lag=True, lag_time_lag=True), panel, W)
    carried, p = carried_fit(found), len(found.params)
    theta = np.random.default_rng(1).uniform(-0.2, 0.3, p)
    gradient, hessian = carried.adjustment_derivatives(theta)
    steps = 1e-5 * np.eye(len(theta))
    by_value = [(carried.adjustment(theta + h) - carried.adjustment(theta - h)) / 2e-5 for h in steps]
    np.testing.assert_allclose(gradient, by_value, rtol=1e-4, atol=1e-4)
    slopes = [
        (carried.adjustment_derivatives(theta + h)[0] - carried.adjustment_derivatives(theta - h)[0]) / 2e-5
        for h in steps
    ]
    np.testing.assert_allclose(hessian, slopes, rtol=1e-4, atol=1e-4)
    by_radius = [(carried.radius(theta + h, False) - carried.radius(theta - h, False)) / 2e-5 for h in steps]
    np.testing.assert_allclose(carried.radius_slope(theta), by_radius, rtol=1e-4, atol=1e-4)


def test_few_rows_hold_what_the_likelihood_sees(W, panel):
    found = zb.fit_system(spec_of(lag_error=True), panel, W)
    carried, theta = carried_fit(found), theta_of(found)
    likelihood = carried.likelihood
    small = replace(likelihood, arrays=compressed(likelihood.arrays))
    assert len(small.arrays.y) < len(likelihood.arrays.y)
    assert small.value(theta) == pytest.approx(likelihood.value(theta), abs=1e-9)
    np.testing.assert_allclose(small.derivatives(theta)[1], likelihood.derivatives(theta)[1], rtol=1e-8)


def test_covariances_by_their_definitions(W, panel, fit):
    """D⁻¹ by differences of the dense adjusted likelihood; by unit with pairs of units, in loops."""
    theta, order = theta_of(fit), array_order(fit)
    step = 1e-4
    p = len(theta)
    H = np.zeros((p, p))
    for a in range(p):
        for b in range(a + 1):
            ea, eb = step * np.eye(p)[a], step * np.eye(p)[b]
            corners = [
                sum(dense_adjusted(fit, theta + s * ea + r * eb)) * s * r for s in (1, -1) for r in (1, -1)
            ]
            H[a, b] = H[b, a] = -sum(corners) / (4 * step**2)
    found = fit.cov.to_numpy()[np.ix_(order, order)]
    np.testing.assert_allclose(np.sqrt(np.diag(found)), np.sqrt(np.diag(np.linalg.inv(H))), rtol=1e-4)


def test_products_of_two_units_are_counted_once(fit):
    """The meat of ψ by loops over units and pairs of units."""
    likelihood, theta = carried_fit(fit).likelihood, theta_of(fit)
    arrays = likelihood.arrays
    n, m, links = N, 2, arrays.links
    e = likelihood.residuals(theta)
    sigma = e.T @ e / arrays.sample.observations
    q = (e @ np.linalg.inv(sigma)).reshape(-1, n, m)
    e = e.reshape(-1, n, m)
    matrix = fit.weights.matrix.toarray()
    gamma, psi = fit.matrices()
    inverse = np.linalg.inv(np.kron(gamma, np.eye(n)) - np.kron(psi, matrix)).reshape(m, n, m, n)
    J = np.eye(n) - 1 / n
    sums, squares, _ = paired_scores(likelihood, theta)
    meat = (sums.T @ sums + squares) * n / (n - 1)
    a, g, l = int(links.position[0]), int(links.row[0]), int(links.column[0])
    Wy = arrays.Z[g][:, a - arrays.block(g).start].reshape(-1, n)
    K = [J @ matrix @ inverse[l, :, h, :] for h in range(m)]
    reach = sum(e[:, :, h] @ K[h].T for h in range(m))
    own, pairs = np.zeros(n), 0.0
    for i in range(n):
        own[i] = ((Wy - reach)[:, i] * q[:, i, g]).sum()
        own[i] += sum(K[h][i, i] * (q[:, i, g] * e[:, i, h]).sum() for h in range(m))
        own[i] -= arrays.sample.periods * K[g][i, i]
        for j in range(i):
            product = sum(
                K[h][i, j] * (q[:, i, g] * e[:, j, h]).sum() + K[h][j, i] * (q[:, j, g] * e[:, i, h]).sum()
                for h in range(m)
            )
            pairs += product**2
    block = arrays.block(g)
    D, v = arrays.Z[g][:, a - block.start], e.reshape(-1, m).T @ arrays.Z[g][:, a - block.start]
    flat = q.reshape(-1, m)
    along = ((flat @ v) * flat[:, g]).reshape(-1, n).sum(axis=0)
    own -= (
        along - arrays.sample.observations / n * (np.linalg.inv(sigma) @ v)[g]
    ) / arrays.sample.observations
    assert len(D) == len(flat)
    own -= own.mean()
    assert meat[a, a] == pytest.approx((own @ own + pairs) * n / (n - 1), rel=1e-8)


def test_clustered_errors_have_degrees_of_freedom_of_few_units(W, panel):
    found = zb.fit_system(spec_of(), panel, W, covariance="cluster")
    assert found.clusters is not None
    assert found.tidy()["df"].between(1, N).all()


# The path -------------------------------------------------------------------------------------------------


def test_nearly_a_unit_root_carries_part_of_the_correction_and_says_so(W):
    truth = {("a", "L_a"): 0.97, ("b", "L_b"): 0.97}
    spec = zb.SystemSpec({"a": zb.Equation("a"), "b": zb.Equation("b")}, time_lag=True, lag_time_lag=True)
    weights, carry = [], []
    for seed in range(6):
        drawn = zb.simulate.system(spec, W, 8, truth, rng=seed)
        found = zb.fit_system(spec, drawn, W)
        assert found.converged
        weights.append(found.convergence.weight)
        carry.append(found.params["a", "L_a"] > found.convergence.uncorrected["a", "L_a"])
        said = {note.kind.name for note in found.notes}
        assert ("part_of_the_correction" in said) == (weights[-1] < 1)
        assert found.glance()["path_weight"].iloc[0] == weights[-1]
    assert min(weights) < 1
    assert all(carry)


def test_a_restricted_maximum_is_that_of_its_own_path(fit):
    carried, theta = carried_fit(fit), theta_of(fit)
    gone = carried.links.position[(carried.links.row == 1) & (carried.links.column == 0)]
    direct = follow_restricted(carried, theta, gone)
    own = {
        name: replace(e, time_lag=["b"], lag_time_lag=["b"]) if name == "b" else e
        for name, e in fit.spec.equations.items()
    }
    again = zb.fit_system(replace(fit.spec, equations=own), fit_panel(fit), fit.weights)
    assert direct.adjusted == pytest.approx(again.convergence.adjusted, abs=1e-7)


def fit_panel(fit):
    """The panel with its first period again."""
    levels = fit.design.levels
    values = np.concatenate([levels, np.full((T + 1, N, 1), 0.0)], axis=2)
    values[1:, :, 2] = fit.panel.array("x")
    return zb.Panel(values, (fit.panel.periods[0] - 1, *fit.panel.periods), fit.panel.units, ("a", "b", "x"))


# Identification and refusals ------------------------------------------------------------------------------


def test_time_order_identifies_every_spatial_lag_but_no_same_period_effect_beside_them(W, panel, fit):
    report = fit.identification().set_index("equation")
    assert report["identified"].all()
    assert (report["told_by"] == "time order").all()
    assert (report["curvature"] > 0).all()
    full = {
        "a": zb.Equation("a", ["b"], ["x"], lag_endog=["b"]),
        "b": zb.Equation("b", x=["x"], lag_endog=["a"]),
    }
    with pytest.raises(zb.SpecificationError, match="time order") as refused:
        zb.fit_system(zb.SystemSpec(full, time_lag=True, lag_time_lag=True), panel, W)
    assert "时间先后" in refused.value.zh
    fewer = full | {"a": replace(full["a"], lag_endog=())}
    found = zb.fit_system(zb.SystemSpec(fewer, time_lag=True, lag_time_lag=True), panel, W)
    assert found.identification().set_index("equation").loc["a", "told_by"] == "exclusions"


def test_three_equations(W):
    truth = {("a", "L_a"): 0.5, ("b", "L_a"): 0.4, ("c", "L_W_b"): 0.4}
    spec = zb.SystemSpec({g: zb.Equation(g) for g in "abc"}, time_lag=True, lag_time_lag=True)
    found = zb.fit_system(spec, zb.simulate.system(spec, W, 14, truth, rng=2), W)
    assert found.converged
    assert found.params["b", "L_a"] == pytest.approx(0.4, abs=0.25)


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        ({"fixed_effects": "time"}, "time"),
        ({"time_lag": "a"}, "time_lag"),
        ({"equations": {"a": zb.Equation("a", time_lag=["z"])}}, "z"),
        ({"equations": {"a": zb.Equation("a", x=["L_a"])}}, "L_a"),
    ],
)
def test_a_specification_that_makes_no_sense_is_refused(change, culprit):
    parts = {"equations": {"a": zb.Equation("a")}, "time_lag": True} | change
    with pytest.raises(zb.SpecificationError, match=culprit):
        zb.SystemSpec(**parts)


def test_other_methods_gaps_and_weights_are_refused(W, panel, fit):
    with pytest.raises(zb.SpecificationError, match="fiml"):
        zb.fit_system(spec_of(), panel, W, "gs3sls")
    with pytest.raises(zb.SpecificationError, match="row"):
        zb.fit_system(spec_of(), panel, zb.Weights(2 * W.matrix, W.ids, "twice"))
    gap = panel.select(periods=[p for p in panel.periods if p != panel.periods[3]])
    with pytest.raises(zb.DataError, match=str(panel.periods[3])):
        zb.fit_system(spec_of(), gap, W)
    with pytest.raises(zb.SpecificationError, match="granger"):
        zb.tests.restriction_tests(fit)
    static = zb.fit_system(replace(spec_of(), time_lag=False, lag_time_lag=False), panel, W, "fiml")
    for function in (zb.granger, zb.impulse_responses):
        with pytest.raises(zb.SpecificationError, match="time_lag"):
            function(static)


# What it says of itself -----------------------------------------------------------------------------------


def test_serial_correlation_is_seen_and_warned_of(W):
    """Errors AR(1) 0.6, made by lasting x that the model leaves out."""
    spec = zb.SystemSpec({"a": zb.Equation("a"), "b": zb.Equation("b")}, time_lag=True, lag_time_lag=True)
    rng, big = np.random.default_rng(4), directed_knn(60)
    noise = rng.standard_normal((70, 60))
    for t in range(1, 70):
        noise[t] += 0.6 * noise[t - 1]
    lasting = zb.Panel(noise[:, :, None], tuple(range(1940, 2010)), big.ids, ("u",))
    wide = zb.SystemSpec(
        {"a": zb.Equation("a", x=["u"]), "b": zb.Equation("b")}, time_lag=True, lag_time_lag=True
    )
    truth = zb.simulate.Truth({("a", "u"): 2.0, ("a", "L_a"): 0.3}, regressors=lasting)
    drawn = zb.simulate.system(wide, big, 70, truth, rng=1)
    found = zb.fit_system(spec, drawn.select(periods=drawn.periods[-14:]), big)
    rows = {row.of: row for row in serial_correlation(found).rows}
    assert rows["a"].p_value < 0.05
    assert rows["a"].more["autocorrelation"] > 0
    assert rows["b"].p_value > 0.01
    note = next(note for note in found.notes if note.kind.name == "errors_last")
    assert "a" in note.text.en
    assert "持续性" in note.text.zh
    assert zb.tests.serial_correlation(found).tidy().equals(serial_correlation(found).tidy())


def test_glance_and_summary_tell_of_persistence(fit):
    row = fit.glance().iloc[0]
    assert row["radius_low"] < row["radius"] < row["radius_high"]
    assert row["n_periods"] == T
    assert "radius" in fit.summary()
    assert fit.tidy().set_index(["equation", "term"]).loc[("a", "L_W_b"), "std_error"] > 0


def test_data_are_drawn_again_from_their_own_errors(W, panel):
    found = zb.fit_system(spec_of(lag_error=True), panel, W)
    generator = carried_generator(found)
    again = generator.sample(found.residuals)
    for mine, given in zip((again.y, *again.Z), (found.design.arrays.y, *found.design.arrays.Z), strict=True):
        np.testing.assert_allclose(mine, given, atol=1e-9)
    doubled = generator.sample(2 * found.residuals)
    lam = generator.carried.likelihood.split(generator.theta)[1]
    e = doubled.noise(generator.theta[: len(doubled.bounds) and int(doubled.bounds[-1])], lam)
    np.testing.assert_allclose(e, 2 * found.design.arrays.noise(found.delta, lam), atol=1e-8)


@pytest.mark.slow
def test_the_adjusted_score_has_mean_zero_at_the_truth():
    """200 panels: |t| below 3.5 for every coefficient, where the score itself is far from zero."""
    W = directed_knn(20)
    spec, scores, plain = spec_of(), [], []
    for seed in range(200):
        drawn = zb.simulate.system(spec, W, 9, zb.simulate.Truth(TRUTH), rng=seed)
        found = zb.fit_system(spec, drawn, W)
        carried = carried_fit(found)
        theta = np.array([TRUTH.get((g, term), 0.0) for g in spec.names for term in spec.terms(g)])
        e = carried.likelihood.residuals(theta)
        known = np.linalg.inv(np.eye(2))
        D = np.hstack(carried.likelihood.arrays.Z)
        owner = np.repeat([0, 1], [Z.shape[1] for Z in carried.likelihood.arrays.Z])
        score = (D * (e @ known)[:, owner]).sum(axis=0)
        links = carried.likelihood.arrays.links
        inverse, _ = carried.process(theta, carried.likelihood.determinant_eigenvalues)
        omega = carried.likelihood.determinant_eigenvalues
        for a, g, l in zip(links.position, links.row, links.column, strict=True):
            score[a] -= 7 * (omega * inverse[:, l, g]).sum().real
        plain.append(score)
        scores.append(score + carried.adjustment_derivatives(theta)[0])
    scores, plain = np.array(scores), np.array(plain)
    t = scores.mean(axis=0) / scores.std(axis=0) * np.sqrt(len(scores))
    assert np.abs(t).max() < 3.5
    assert np.abs(plain.mean(axis=0) / plain.std(axis=0) * np.sqrt(len(plain))).max() > 10


def test_curvature_is_that_of_the_adjusted_likelihood(fit):
    carried, theta = carried_fit(fit), theta_of(fit)
    D = adjusted_curvature(carried, theta, 1.0)
    step = 1e-5 * np.eye(len(theta))
    first = [
        carried.likelihood.derivatives(theta + h)[0] + carried.adjustment_derivatives(theta + h)[0]
        for h in step
    ]
    second = [
        carried.likelihood.derivatives(theta - h)[0] + carried.adjustment_derivatives(theta - h)[0]
        for h in step
    ]
    np.testing.assert_allclose(-(np.array(first) - np.array(second)) / 2e-5, D, rtol=1e-4, atol=1e-3)
