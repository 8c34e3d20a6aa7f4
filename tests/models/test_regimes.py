"""Two regimes: the unbiased score, its Jacobian and variance, effects by regime, tests of equality."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize
from small_examples import ring_with_chords

import spatial_zb as zb
from spatial_zb.core.likelihood import regimes as regime_ml
from spatial_zb.core.likelihood.regimes import regime_moments
from spatial_zb.core.logdet import factors
from spatial_zb.core.transforms import transformed_sample
from spatial_zb.models.regimes import regimes_of

EXACT = 1e-9  # algebra done in two ways
EXACT_BEFORE = 1e-8  # the root of one score, found in two ways
SEARCHED = 1e-5  # a search over all parameters at once ends this near to the root
#: Numbers of the last release that knew two regimes only.
BEFORE = Path(__file__).parents[1] / "reference" / "regimes" / "two_regimes.json"
PROBED = 0.15  # 64 probes of 60 units
T, N = 8, 15
CORE = np.arange(N) % 3 == 0


def draw(W: zb.Weights, effects: str = "two_way", rho: tuple[float, float] = (0.2, 0.5)) -> zb.Panel:
    generator = np.random.default_rng(1)
    dense = W.matrix.toarray()
    x = generator.standard_normal((T, N, 2))
    beta = np.where(CORE, 0.5, 1.0)
    periods = (effects == "two_way") * generator.standard_normal((T, 1))
    mean = generator.standard_normal(N) + periods + beta * x[..., 0] - x[..., 1]
    mean = mean + 0.4 * CORE * (x[..., 0] @ dense.T) + generator.standard_normal((T, N))
    y = mean @ np.linalg.inv(np.eye(N) - np.where(CORE, *rho[::-1])[:, None] * dense).T
    values = np.concatenate([y[..., None], x, np.broadcast_to(CORE[:, None], (T, N, 1))], axis=2)
    return zb.Panel(values, tuple(range(2001, 2001 + T)), W.ids, ("y", "x", "z", "core"))


def spec(effects: str = "two_way", **changes: object) -> zb.DurbinSpec:
    given = {"y": "y", "x": ["x", "z"], "lag_x": ["x"], "fixed_effects": effects, "regimes": "core"}
    return zb.DurbinSpec(**{**given, **changes})


@pytest.fixture(scope="module")
def W() -> zb.Weights:
    return ring_with_chords(N)


@pytest.fixture(scope="module")
def panel(W) -> zb.Panel:
    return draw(W)


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        yield


def within(effects: str) -> np.ndarray:
    """The projection off the effects, (TN, TN)."""
    in_time = np.eye(T) - 1 / T
    return np.kron(in_time, np.eye(N) - (effects == "two_way") / N)


def slow(W, panel, effects):
    """y, D_rWy, Z (all stacked, not transformed), Q, and the functions S(ρ) and tr(JD_rG)."""
    dense = W.matrix.toarray()
    y, x, z = (panel.array(name) for name in "yxz")
    parts = [v * (r == CORE) for v in (x, z, x @ dense.T) for r in (0, 1)]
    lags = [(y @ dense.T) * (r == CORE) for r in (0, 1)]
    Z, D = (np.stack(v, axis=-1).reshape(T * N, -1) for v in (parts, lags))
    J = np.eye(N) - (effects == "two_way") / N

    def S(rho):
        return np.eye(N) - np.where(CORE, rho[1], rho[0])[:, None] * dense

    def traces(rho):
        G = dense @ np.linalg.inv(S(rho))
        return np.array([np.trace(J @ np.diag((r == CORE).astype(float)) @ G) for r in (0, 1)])

    return y.ravel(), D, Z, within(effects), S, traces


# --- estimates


@pytest.mark.parametrize("normalisation", ["row", "spectral"])
def test_with_unit_effects_it_is_the_maximum_of_the_likelihood(normalisation):
    W = ring_with_chords(N, normalisation)
    panel = draw(W, "unit")
    y, D, Z, Q, S, _ = slow(W, panel, "unit")

    def negative(v):
        e = Q @ (y - D @ v[:2] - Z @ v[2:8])
        sigma2 = np.exp(v[8])
        determinant = np.linalg.slogdet(S(v[:2]))[1]
        return (T - 1) * N / 2 * np.log(2 * np.pi * sigma2) - (T - 1) * determinant + e @ e / (2 * sigma2)

    found = optimize.minimize(negative, np.r_[0.2, 0.4, 1, 0.5, -1, -1, 0, 0.4, 0.0], method="BFGS", tol=1e-9)
    fit = zb.fit_durbin(spec("unit"), panel, W)
    assert fit.log_likelihood == pytest.approx(-found.fun, abs=1e-7)
    names = [f"{x}[core={c}]" for x in ("x", "z", "W_x") for c in (0, 1)]
    assert np.allclose(fit.params[["rho[core=0]", "rho[core=1]"]], found.x[:2], atol=SEARCHED)
    assert np.allclose(fit.params[names], found.x[2:8], atol=SEARCHED)
    assert fit.sigma2 == pytest.approx(np.exp(found.x[8]), rel=SEARCHED)


@pytest.mark.parametrize("normalisation", ["row", "spectral"])
def test_with_two_way_effects_it_solves_the_unbiased_score(normalisation):
    W = ring_with_chords(N, normalisation)
    panel = draw(W)
    y, D, Z, Q, _, traces = slow(W, panel, "two_way")

    def score(v):
        e = Q @ (y - D @ v[:2] - Z @ v[2:8])
        sigma2 = e @ e / ((T - 1) * (N - 1))
        return np.r_[D.T @ e / sigma2 - (T - 1) * traces(v[:2]), Z.T @ e / sigma2]

    found = optimize.root(score, np.r_[0.2, 0.4, 1, 0.5, -1, -1, 0, 0.4], tol=1e-12).x
    fit = zb.fit_durbin(spec(), panel, W)
    assert np.allclose(fit.params[["rho[core=0]", "rho[core=1]"]], found[:2], atol=SEARCHED)
    assert np.allclose(fit.params.iloc[:6], found[2:], atol=SEARCHED)
    assert np.isnan(fit.log_likelihood)  # a score that is not the slope of a likelihood


def test_with_one_rho_the_score_is_that_of_lee_and_yu(W):
    regimes = regimes_of(spec(), W, CORE.astype(int))
    for rho in (-0.4, 0.0, 0.6):
        both = regimes.traces(np.full(2, rho)).sum()
        assert both == pytest.approx(-float(W.logdet.first(rho, True)), abs=EXACT)


def test_without_a_lag_of_y_it_is_least_squares(W, panel):
    dense = W.matrix.toarray()
    made = {f"{n}{r}": panel.array(n) * (r == CORE) for n in ("x", "z") for r in (0, 1)}
    made |= {f"l{r}": (panel.array("x") @ dense.T) * (r == CORE) for r in (0, 1)}
    plain = zb.fit_durbin(zb.DurbinSpec("y", list(made), False, []), panel.with_columns(made), W)
    fit = zb.fit_durbin(spec(lag_y=False), panel, W)
    assert np.allclose(fit.params.iloc[:-1], plain.params.iloc[:-1])
    assert [name for name in fit.params.index if name.startswith("rho")] == []
    assert zb.spatial_effects(fit).tidy()["std_error"].notna().all()


def test_names_order_and_units_of_measurement_do_not_matter(W, panel):
    fit = zb.fit_durbin(spec(), panel, W)
    turned = panel.with_columns({"core": 1 - panel.array("core")})
    swapped = zb.fit_durbin(spec(), turned, W)
    for first, second in (("0", "1"), ("1", "0")):
        assert swapped.params[f"rho[core={first}]"] == pytest.approx(
            fit.params[f"rho[core={second}]"], abs=1e-7
        )
        assert swapped.bse[f"x[core={first}]"] == pytest.approx(fit.bse[f"x[core={second}]"], rel=1e-6)
    order = np.random.default_rng(3).permutation(N)
    shuffled = zb.Panel(panel.values[:, order], panel.periods, panel.units[order], panel.columns)
    assert np.allclose(zb.fit_durbin(spec(), shuffled, W).params, fit.params, atol=1e-7)
    large = zb.fit_durbin(spec(), panel.with_columns({"y": 1e9 * panel.array("y")}), W)
    assert np.allclose(large.params[["rho[core=0]", "rho[core=1]"]], fit.params.iloc[6:8], atol=1e-8)
    assert np.allclose(large.bse.iloc[6:8], fit.bse.iloc[6:8], rtol=1e-6)


# --- what was there before there were more


def test_two_regimes_are_what_they_were_before_there_were_more():
    expected = json.loads(BEFORE.read_text("utf-8"))
    for name, known in expected.items():
        how, effects, covariance = name.split()
        W = ring_with_chords(N, how)
        fit = zb.fit_durbin(spec(effects), draw(W, effects), W, covariance=covariance)
        table, between = zb.spatial_effects(fit).tidy(), zb.regime_spillovers(fit, "x").tidy()
        found = {
            "params": fit.params,
            "bse": fit.bse,
            "effects": table["estimate"],
            "effect_errors": table["std_error"],
            "spillovers": between["estimate"],
            "spillover_errors": between["std_error"],
            "tests": zb.tests.regime_tests(fit).tidy()["statistic"],
        }
        for what, values in found.items():
            np.testing.assert_allclose(values, known[what], rtol=EXACT_BEFORE, err_msg=f"{name} {what}")


# --- covariance


@pytest.mark.parametrize("lag_y", [True, False])
def test_a_share_beside_an_output_in_yuan(W, panel, lag_y):
    """Regressors 1e18 apart: least squares without scaling took the small one for rounding and gave it zero."""
    scaled = panel.with_columns({"x": 1e-9 * panel.array("x"), "z": 1e9 * panel.array("z")})
    plain, other = (zb.fit_durbin(spec("unit", lag_y=lag_y), one, W) for one in (panel, scaled))
    unit = np.array([1e9 if "x[" in name else 1e-9 if "z[" in name else 1.0 for name in plain.params.index])
    assert other.params.to_numpy() / unit == pytest.approx(plain.params.to_numpy(), rel=1e-6)
    assert other.bse.to_numpy() / unit == pytest.approx(plain.bse.to_numpy(), rel=1e-6)


@pytest.mark.parametrize("effects", ["unit", "two_way"])
@pytest.mark.parametrize("normalisation", ["row", "spectral"])
def test_jacobian_and_variance_of_the_score_are_exact(effects, normalisation):
    """E s(θ) in closed form, differentiated; Var s(θ₀) of normal errors: against the traces of the package.

    The package takes the mean in ρ_r from y less its residuals, which holds period means of ε: in expectation
    T*ι'G_r'JG_sι/n more than with the mean itself. That part is added here.
    """
    W = ring_with_chords(N, normalisation)
    rho0, sigma2, generator = np.array([0.2, 0.5]), 1.3, np.random.default_rng(2)
    _, _, Z, Q, S, traces = slow(W, draw(W), effects)
    delta, dense = generator.standard_normal(6), W.matrix.toarray()
    fixed = np.kron(np.ones(T), generator.standard_normal(N))
    fixed = fixed + (effects == "two_way") * np.repeat(generator.standard_normal(T), N)
    inverse = np.linalg.inv(S(rho0))
    mean = np.kron(np.eye(T), inverse) @ (Z @ delta + fixed)
    parts = [np.kron(np.eye(T), (r == CORE)[:, None] * dense) for r in (0, 1)]
    periods, n_left = T - 1, N - (effects == "two_way")

    def expected(v):
        d, rho, s2 = v[:6], v[6:8], v[8]
        left = np.kron(np.eye(T), S(rho))
        residual = Q @ (left @ mean - Z @ d)
        spread = np.kron(np.eye(T), inverse)
        noise = [sigma2 * np.trace((part @ spread).T @ Q @ left @ spread) for part in parts]
        spatial = [(part @ mean) @ residual + extra for part, extra in zip(parts, noise, strict=True)]
        square = residual @ residual + sigma2 * np.trace((left @ spread).T @ Q @ (left @ spread))
        own = np.array(spatial) / s2 - periods * traces(rho)
        return np.r_[Z.T @ residual / s2, own, square / (2 * s2**2) - n_left * periods / (2 * s2)]

    at = np.r_[delta, rho0, sigma2]
    # effects of periods are parameters of the mean that Q takes out: they do not move E s(θ₀)
    assert np.allclose(expected(at), 0, atol=1e-8)
    steps = 1e-5 * np.eye(9)
    exact = -np.column_stack([(expected(at + h) - expected(at - h)) / 2e-5 for h in steps])
    means = np.column_stack([Q @ (part @ mean) for part in parts])
    sample = transformed_sample(N, T, effects, "lee_yu")
    found = regime_moments(Q @ Z, means, rho0, sigma2, regimes_of(spec(effects), W, CORE.astype(int)), sample)
    G = [(r == CORE)[:, None] * (dense @ inverse) for r in (0, 1)]
    J = np.eye(N) - (effects == "two_way") / N
    iota = np.ones(N) * (effects == "two_way")
    more = np.zeros((9, 9))
    more[6:8, 6:8] = [[periods * (iota @ G[r].T @ J @ G[s] @ iota) / N for s in (0, 1)] for r in (0, 1)]
    assert np.allclose(found.jacobian + more, exact, rtol=1e-6, atol=1e-5)
    linear = np.column_stack([Q @ Z, means, np.zeros(T * N)]) / sigma2
    forms = [*[np.zeros_like(Q)] * 6, *(Q @ np.kron(np.eye(T), g) / sigma2 for g in G), Q / (2 * sigma2**2)]
    variance = sigma2 * linear.T @ linear
    variance += [[sigma2**2 * np.sum(a.T * b + a * b) for b in forms] for a in forms]
    assert np.allclose(found.variance + more, variance, rtol=1e-8, atol=1e-8)


def test_other_covariances_are_there_and_differ(W, panel):
    fits = [
        zb.fit_durbin(spec(), panel, W, covariance=c) for c in ("information", "cluster", "driscoll_kraay")
    ]
    assert all(np.allclose(fit.params, fits[0].params) for fit in fits)
    assert all(np.isfinite(fit.bse).all() for fit in fits)
    assert not np.allclose(fits[0].bse, fits[1].bse, rtol=1e-3)


def test_what_few_periods_cover_is_said(W, panel):
    with pytest.warns(zb.SpatialZbWarning, match=r"simulations with \d+ periods"):
        zb.fit_durbin(spec(), panel, W, covariance="driscoll_kraay", bandwidth=len(panel.periods) - 1)


def test_sparse_factorisations_and_probes_stand_in_for_dense_matrices(monkeypatch):
    W = ring_with_chords(60)
    regimes = regimes_of(spec(), W, (np.arange(60) % 2).astype(int))
    rho = np.array([0.3, -0.2])
    Z, means = np.random.default_rng(0).standard_normal((60 * T, 2)), np.zeros((60 * T, 2))
    sample = transformed_sample(60, T, "two_way", "lee_yu")

    def everything():
        moments = regime_moments(Z, means, rho, 1.0, regimes, sample)
        return regimes.solver(rho)[1], regimes.traces(rho), moments.jacobian[2:4, 2:4]

    dense = everything()
    monkeypatch.setattr(regime_ml, "DENSE_UNITS", 10)
    for name, value in (("SMALL_UNITS", 10), ("DENSE_SHARE", 1.0)):
        monkeypatch.setattr(factors, name, value)
    sparse = everything()
    assert sparse[0] == pytest.approx(dense[0], abs=EXACT)
    assert np.allclose(sparse[1], dense[1], atol=1e-6)
    assert np.allclose(np.diag(sparse[2]), np.diag(dense[2]), rtol=PROBED)


@pytest.mark.parametrize("covariance", ["cr1", "cr2"])
def test_clusters_of_many_units_without_their_matrices(monkeypatch, covariance):
    """Own terms by columns are exact; sums over pairs by random signs are as near as they say."""
    W = ring_with_chords(N)
    panel = draw(W)
    exact = zb.fit_durbin(spec(), panel, W, covariance=covariance)
    monkeypatch.setattr(regime_ml, "DENSE_UNITS", 10)
    for name, value in (("SMALL_UNITS", 10), ("DENSE_SHARE", 1.0)):
        monkeypatch.setattr(factors, name, value)
    monkeypatch.setattr("spatial_zb.core.logdet.entries.PAIR_SIGNS", 400 * N)
    regimes = regimes_of(spec(), W, CORE.astype(int))
    e, rho = exact.residuals, exact.params.filter(like="rho").to_numpy()
    own, pairs, none = regime_ml._exact_forms(e, rho, regimes)
    close, probed, error = regime_ml._probed_forms(e, rho, regimes)
    assert np.allclose(close, own, atol=EXACT)
    assert not none.any()
    assert np.all(error[:2, :2].diagonal() > 0)
    assert np.all(np.abs(probed - pairs) <= 4 * error + EXACT)
    many = zb.fit_durbin(spec(), panel, W, covariance=covariance)
    assert many.convergence.probe_error > 0
    assert exact.convergence.probe_error == 0


# --- effects and tests


def slow_effects(fit) -> np.ndarray:
    dense = fit.weights.matrix.toarray()
    p = fit.params
    pick = lambda name: np.where(CORE, p.get(f"{name}[core=1]", 0.0), p.get(f"{name}[core=0]", 0.0))  # noqa: E731
    left = np.eye(N) - pick("rho")[:, None] * dense
    rows = []
    for name in fit.spec.x:
        E = np.linalg.solve(left, np.diag(pick(name)) + pick(f"W_{name}")[:, None] * dense)
        for group in (~CORE, CORE, np.ones(N, bool)):
            direct, total = np.diag(E)[group].mean(), E.sum(axis=1)[group].mean()
            rows += [direct, total - direct, total]
    return np.array(rows)


@pytest.mark.parametrize("normalisation", ["row", "spectral"])
def test_effects_by_regime_by_matrices(normalisation):
    W = ring_with_chords(N, normalisation)
    fit = zb.fit_durbin(spec(), draw(W), W)
    table = zb.spatial_effects(fit).tidy()
    assert list(table["term"].unique()) == ["x[core=0]", "x[core=1]", "x", "z[core=0]", "z[core=1]", "z"]
    assert np.allclose(table["estimate"], slow_effects(fit), atol=EXACT)
    E = zb.effect_matrix(fit, "x").to_numpy()
    assert np.diag(E)[CORE].mean() == pytest.approx(table["estimate"][3])
    assert E.sum(axis=1).mean() == pytest.approx(table["estimate"][8])

    def at(values):
        return slow_effects(replace(fit, params=fit.params * 0 + values))

    values = fit.params.to_numpy()
    g = np.column_stack([(at(values + h) - at(values - h)) / 2e-6 for h in 1e-6 * np.eye(len(values))])
    errors = np.sqrt(np.diag(g @ fit.cov.to_numpy() @ g.T))
    assert np.allclose(table["std_error"], errors, rtol=1e-5)


def test_spillovers_between_regimes_add_up_to_the_indirect_effects(W, panel):
    fit = zb.fit_durbin(spec(), panel, W)
    table = zb.regime_spillovers(fit, "x").tidy()
    effects = zb.spatial_effects(fit).tidy().set_index(["term", "effect"])["estimate"]
    for c in (0, 1):
        received = table.loc[table["receiver"] == f"core={c}", "estimate"].sum()
        assert received == pytest.approx(effects[f"x[core={c}]", "indirect"])
    E = zb.effect_matrix(fit, "x").to_numpy()
    to_rest = table.set_index(["sender", "receiver"]).loc[("core=1", "core=0")]
    assert to_rest["estimate"] == pytest.approx(E[np.ix_(~CORE, CORE)].sum() / (~CORE).sum())

    def at(values):
        moved = replace(fit, params=fit.params * 0 + values)
        return zb.regime_spillovers(moved, "x").tidy()["estimate"].to_numpy()

    values = fit.params.to_numpy()
    g = np.column_stack([(at(values + h) - at(values - h)) / 2e-6 for h in 1e-6 * np.eye(len(values))])
    assert np.allclose(table["std_error"], np.sqrt(np.diag(g @ fit.cov.to_numpy() @ g.T)), rtol=1e-5)
    for wrong in (lambda: zb.regime_spillovers(fit, "core"), lambda: zb.regime_spillovers(fit, "W_x")):
        with pytest.raises(zb.DataError, match="not a regressor"):
            wrong()
    with pytest.raises(zb.SpecificationError, match="regimes"):
        zb.regime_spillovers(zb.fit_durbin(zb.DurbinSpec("y", ["x"]), panel, W), "x")


def test_simulated_errors_of_effects(W, panel):
    fit = zb.fit_durbin(spec(), panel, W)
    result = zb.spatial_effects(fit, "simulate", draws=1000, rng=2)
    delta = zb.spatial_effects(fit).tidy()
    assert np.allclose(result.tidy()["estimate"], delta["estimate"])
    assert (result.tidy()["std_error"] / delta["std_error"]).between(0.8, 1.6).all()
    assert result.detail["draws"] + result.detail["rejected"] == 1000


def test_tests_of_equality(W, panel):
    fit = zb.fit_durbin(spec(), panel, W)
    table = zb.tests.regime_tests(fit).tidy().set_index("term")
    assert list(table.index) == ["x", "z", "W_x", "rho", "all"]
    d = fit.params["z[core=1]"] - fit.params["z[core=0]"]
    names = ["z[core=1]", "z[core=0]"]
    variance = np.array([1, -1]) @ fit.cov.loc[names, names] @ np.array([1, -1])
    assert table.loc["z", "statistic"] == pytest.approx(d**2 / variance)
    assert table.loc["all", "df"] == 4
    assert table.loc["all", "statistic"] >= table["statistic"].iloc[:-1].max()
    R = np.zeros((4, len(fit.params)))
    for row, name in enumerate(("x", "z", "W_x", "rho")):
        for sign, c in ((1, 1), (-1, 0)):
            R[row, list(fit.params.index).index(f"{name}[core={c}]")] = sign
    joint = (R @ fit.params) @ np.linalg.solve(R @ fit.cov.to_numpy() @ R.T, R @ fit.params)
    assert table.loc["all", "statistic"] == pytest.approx(joint)


# --- refusals


def test_what_regimes_do_not_go_with(W, panel):
    wrong = [
        {"lag_error": True},
        {"time_lag": True},
        {"regimes": "x"},
        {"regimes": 1},
        {"fixed_effects": "time"},
    ]
    wrong += [{"endog": ["q"], "instruments": ["r"]}]
    for changes in wrong:
        with pytest.raises(zb.SpecificationError):
            spec(**changes)
    for options in ({"estimator": "direct"}, {"estimator": "gmm"}, {"covariance": "hessian"}):
        with pytest.raises(zb.SpecificationError):
            zb.fit_durbin(spec(), panel, W, **options)
    fit = zb.fit_durbin(spec(), panel, W)
    for ask in (zb.effects_by_order, zb.effects_path, zb.tests.stability_test):
        with pytest.raises(zb.SpecificationError):
            ask(fit)
    with pytest.raises(zb.SpecificationError, match="regimes"):
        zb.tests.regime_tests(zb.fit_durbin(zb.DurbinSpec("y", ["x"]), panel, W))


def test_what_a_regime_column_must_be(W, panel):
    core = panel.array("core").copy()
    cases = {
        "changes over time": np.where(np.arange(T)[:, None] > 3, 0, core),
        "fewer than 2 units: it": core + np.r_[2.0, np.zeros(N - 1)],
        "one value": np.zeros((T, N)),
        "fewer than 2 units": np.broadcast_to(np.r_[1.0, np.zeros(N - 1)], (T, N)),
        "blank": np.where(np.arange(N) == 2, np.nan, core),
    }
    for words, values in cases.items():
        with pytest.raises(zb.DataError, match=words):
            zb.fit_durbin(spec(), panel.with_columns({"core": values}), W)
    with pytest.raises(zb.DataError, match="no variable"):
        zb.fit_durbin(spec(regimes="kore"), panel, W)
