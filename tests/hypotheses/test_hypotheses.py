"""The test chain: values from R, score tests of a dense likelihood, invariances, refusals, sizes, sentences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dense_oracle import dense_system
from scipy import sparse, stats

from spatial_zb import DurbinSpec, Panel, SpecificationError, Weights, fit_durbin
from spatial_zb.base.results import TestTable
from spatial_zb.core.random.tests import period_basis
from spatial_zb.hypotheses import diagnose, make_case
from spatial_zb.hypotheses.case import TESTS
from spatial_zb.hypotheses.panel import CROSS_SECTION
from spatial_zb.hypotheses.random import random_estimate, spatial_hausman, within_covariance
from spatial_zb.hypotheses.sizes import SECTIONS, by_section
from spatial_zb.simulate import durbin as simulate_durbin

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "tests" / "reference"
EFFECTS = ["none", "unit", "time", "two_way"]
#: The dense side is exact; the package's maximum is polished to about 1e-8 in ρ.
SCORE = 1e-5
#: Values R prints with 15 digits; those that rest on its optimisers are good to about 1e-6.
CLOSED_FORM, OPTIMISED = 1e-9, 1e-6


def knn_weights(n: int, k: int = 3) -> Weights:
    points = np.random.default_rng(5).random((n, 2))
    distance = np.linalg.norm(points[:, None] - points[None], axis=2) + 9 * np.eye(n)
    near = np.argsort(distance, axis=1)[:, :k]
    A = sparse.csr_array((np.ones(n * k), (np.repeat(np.arange(n), k), near.ravel())), shape=(n, n))
    return Weights(A, pd.Index([f"u{i:02d}" for i in range(n)]), "knn").standardise("row")


def uneven_weights(n: int) -> Weights:
    """Symmetric links, unequal numbers of neighbours, divided by the spectral radius."""
    A = knn_weights(n).matrix
    return Weights(sparse.csr_array(((A + A.T) > 0).astype(float)), W9.ids, "links").standardise("spectral")


W9 = knn_weights(9)


def panel_of(W: Weights, T: int = 6, seed: int = 2, **truth) -> Panel:
    return simulate_durbin(
        W, T, {"a": 1.0, "b": -0.5}, rng=seed, **{"theta": {"a": 0.4}, "rho": 0.3, **truth}
    )


def spec_of(effects: str = "two_way", **more) -> DurbinSpec:
    return DurbinSpec("y", ["a", "b"], fixed_effects=effects, **more)


def statistics(table: TestTable) -> pd.Series:
    frame = table.tidy()
    return frame.set_index("test")["statistic"]


def expected(bench: str, model: str) -> pd.Series:
    frame = pd.read_csv(REFERENCE / bench / "expected.csv")
    return frame[frame["model"] == model].set_index("param")["estimate"]


def columbus() -> tuple[Panel, Weights]:
    data = pd.read_csv(REFERENCE / "columbus" / "data.csv")
    edges = pd.read_csv(REFERENCE / "columbus" / "edges.csv")
    ids = pd.Index([f"{i:02d}" for i in range(1, 50)])
    W = sparse.csr_array((edges["w"], (edges["i"] - 1, edges["j"] - 1)), shape=(49, 49))
    values = data[["CRIME", "INC", "HOVAL"]].to_numpy()[None]
    return Panel(values, (1980,), ids, ("CRIME", "INC", "HOVAL")), Weights(W, ids, normalisation="row")


def munnell() -> tuple[Panel, Weights]:
    data = pd.read_csv(REFERENCE / "munnell" / "data.csv").sort_values(["YR", "STATE"])
    edges = pd.read_csv(REFERENCE / "munnell" / "edges.csv")
    ids = pd.Index(sorted(data["STATE"].unique()))
    i, j = (ids.get_indexer(edges[c]) for c in ("i", "j"))
    W = Weights(sparse.csr_array((np.ones(len(i)), (i, j)), shape=(48, 48)), ids).standardise("row")
    columns = [np.log(data[c]) for c in ("GSP", "P_CAP", "PC", "EMP")] + [data["UNEMP"]]
    values = np.column_stack(columns).reshape(17, 48, 5)
    return Panel(values, tuple(range(1970, 1987)), ids, ("y", "pcap", "pc", "emp", "unemp")), W


# --- values from R


def test_columbus_is_what_spdep_gives() -> None:
    table = diagnose(DurbinSpec("CRIME", ["INC", "HOVAL"], fixed_effects="none"), *columbus())
    own, r = statistics(table), expected("columbus", "LM tests")
    pairs = {
        "LM lag": "RSlag",
        "LM error": "RSerr",
        "LM lag, robust": "adjRSlag",
        "LM error, robust": "adjRSerr",
        "LM lag and error, joint": "SARMA",
    }
    for name, there in pairs.items():
        assert own[name] == pytest.approx(r[there], rel=CLOSED_FORM), name
    moran = expected("columbus", "moran OLS resid")
    assert own["Moran of residuals"] == pytest.approx(moran["z"], rel=CLOSED_FORM)
    assert f"I = {moran['I']:.4f}" in table.row("Moran of residuals").note.en
    for family in ("lag", "err"):  # LR against the likelihoods R prints
        value = 2 * (expected("columbus", "sdm")["loglik"] - expected("columbus", family)["loglik"])
        assert own[f"LR SDM to {'SAR' if family == 'lag' else 'SEM'}"] == pytest.approx(value, rel=OPTIMISED)


def test_munnell_is_what_splm_gives() -> None:
    spec = DurbinSpec("y", ["pcap", "pc", "emp", "unemp"], fixed_effects="none")
    own, r = statistics(diagnose(spec, *munnell())), expected("munnell", "bsktest")
    assert own["LM random effects, marginal (BSK)"] == pytest.approx(r["LM1"], rel=CLOSED_FORM)
    assert own["LM random effects (Breusch-Pagan)"] == pytest.approx(r["LM1"] ** 2, rel=CLOSED_FORM)
    assert own["LM spatial error, marginal (BSK)"] == pytest.approx(r["LM2"], rel=CLOSED_FORM)
    joint = own["LM random effects and spatial error, joint (BSK)"]
    assert joint == pytest.approx(r["LMH"], rel=CLOSED_FORM)
    given_random = own["LM spatial error given random effects (BSK)"]
    assert given_random == pytest.approx(r["CLMlambda"], rel=OPTIMISED)
    given_error = own["LM random effects given spatial error (BSK)"]
    assert given_error == pytest.approx(r["CLMmu"], rel=OPTIMISED)


def test_the_spatial_hausman_of_splm_divides_by_a_matrix_that_is_no_variance_and_ours_does_not() -> None:
    panel, W = munnell()
    x = ["pcap", "pc", "emp", "unemp"]
    common = {"lag_y": False, "lag_x": [], "lag_error": True}
    fixed = fit_durbin(DurbinSpec("y", x, fixed_effects="unit", **common), panel, W, estimator="direct")
    random = fit_durbin(DurbinSpec("y", x, fixed_effects="random", **common), panel, W)
    V = (fixed.cov - random.cov).loc[x, x].to_numpy()
    d = (fixed.params - random.params)[x].to_numpy()
    r = expected("munnell", "spatial Hausman (SEM)")["chisq_df4"]
    assert abs(d @ np.linalg.solve(V, d)) == pytest.approx(r, rel=1e-4)
    assert np.linalg.eigvalsh(V).min() < 0
    case = make_case(DurbinSpec("y", x, fixed_effects="unit", **common), panel, W, "direct")
    (row,) = spatial_hausman(case)
    assert 0 < row.statistic < r


# --- score tests of an independent dense likelihood


def dense_score(
    model: str, theta: np.ndarray, panel: Panel, W: Weights, effects: str, estimator: str
) -> float:
    """g'ℐ⁻¹g of the larger model at a restricted estimate; gradient by complex steps, information exact."""
    system = dense_system(panel, W, ["a", "b"], model, effects, estimator)
    gradient = system.gradient(theta)
    return float(gradient @ np.linalg.solve(system.expected_information(theta), gradient))


def coefficients(fit) -> np.ndarray:
    return fit.params[list(fit.spec.terms)].to_numpy()


@pytest.mark.parametrize("effects", EFFECTS)
def test_lm_tests_are_score_tests_of_the_transformed_likelihood(effects: str) -> None:
    panel = panel_of(W9)
    own = statistics(diagnose(spec_of(effects), panel, W9))
    system = dense_system(panel, W9, ["a", "b"], "OLS", effects)
    delta = np.linalg.lstsq(system.Z, system.y, rcond=None)[0]
    s2 = np.mean((system.y - system.Z @ delta) ** 2)
    args = panel, W9, effects, "lee_yu"
    assert own["LM lag"] == pytest.approx(dense_score("SAR", np.array([*delta, 0, s2]), *args), rel=SCORE)
    assert own["LM error"] == pytest.approx(dense_score("SEM", np.array([*delta, 0, s2]), *args), rel=SCORE)
    joint = dense_score("SAC", np.array([*delta, 0, 0, s2]), *args)
    assert own["LM lag and error, joint"] == pytest.approx(joint, rel=SCORE)


@pytest.mark.parametrize("effects", EFFECTS)
def test_lm_tests_from_spatial_models_are_score_tests(effects: str) -> None:
    panel = panel_of(W9)
    own = statistics(diagnose(spec_of(effects), panel, W9))
    sar, sem, sdm = (
        fit_durbin(spec_of(effects, lag_y=y, lag_x=x, lag_error=e), panel, W9)
        for y, x, e in ((True, [], False), (False, [], True), (True, "all", False))
    )
    args = panel, W9, effects, "lee_yu"
    rho, lam = sar.params["rho"], sem.params["lam"]
    durbin = dense_score("SDM", np.array([*coefficients(sar), 0, 0, rho, sar.sigma2]), *args)
    assert own["LM Durbin terms from SAR"] == pytest.approx(durbin, rel=SCORE)
    error = dense_score("SAC", np.array([*coefficients(sar), rho, 0, sar.sigma2]), *args)
    assert own["LM error from SAR"] == pytest.approx(error, rel=SCORE)
    lag = dense_score("SAC", np.array([*coefficients(sem), 0, lam, sem.sigma2]), *args)
    assert own["LM lag from SEM"] == pytest.approx(lag, rel=SCORE)
    constant = [(1 - lam) * sem.params["(Intercept)"]] if effects == "none" else []
    beta = sem.params[["a", "b"]].to_numpy()
    factor = dense_score("SDM", np.array([*constant, *beta, *(-lam * beta), lam, sem.sigma2]), *args)
    assert own["LM common factor from SEM"] == pytest.approx(factor, rel=SCORE)
    left = dense_score("GNS", np.array([*coefficients(sdm), sdm.params["rho"], 0, sdm.sigma2]), *args)
    assert own["LM error from SDM"] == pytest.approx(left, rel=SCORE)


def test_wald_of_the_common_factor_uses_the_derivative_of_what_it_tests() -> None:
    panel = panel_of(W9)
    fit = fit_durbin(spec_of(), panel, W9)

    def tested(values: np.ndarray) -> np.ndarray:
        p = pd.Series(values, fit.params.index)
        return (p[["W_a", "W_b"]].to_numpy()) + p["rho"] * p[["a", "b"]].to_numpy()

    theta = fit.params.to_numpy()
    steps = 1e-6 * np.eye(len(theta))
    R = np.array([(tested(theta + s) - tested(theta - s)) / 2e-6 for s in steps]).T
    value = tested(theta)
    wald = value @ np.linalg.solve(R @ fit.cov.to_numpy() @ R.T, value)
    assert statistics(diagnose(spec_of(), panel, W9))["Wald SDM to SEM"] == pytest.approx(wald, rel=1e-6)


# --- identities and invariances


@pytest.mark.parametrize("effects", ["unit", "two_way"])
def test_nothing_depends_on_the_order_of_units_or_on_scale(effects: str) -> None:
    panel = panel_of(W9)
    first = diagnose(spec_of(effects), panel, W9).tidy()
    order = np.random.default_rng(1).permutation(9)
    shuffled = panel.select(units=list(panel.units))
    shuffled = Panel(panel.values[:, order], panel.periods, panel.units[order], panel.columns)
    scaled = panel.with_columns({"y": 1e5 * panel.array("y"), "a": 1e-3 * panel.array("a")})
    for other in (diagnose(spec_of(effects), p, W9).tidy() for p in (shuffled, scaled)):
        assert list(other["test"]) == list(first["test"])
        np.testing.assert_allclose(other["statistic"], first["statistic"], rtol=2e-5, atol=1e-7)


def test_two_way_statistics_do_not_see_the_effects() -> None:
    panel = panel_of(W9)
    shift = 7 * np.arange(9.0) + np.arange(6.0)[:, None] ** 2
    names = [n for n in TESTS if n.startswith("LM") and "random" not in n and "BSK" not in n]
    a, b = (
        statistics(diagnose(spec_of(), p, W9))[names]
        for p in (panel, panel.with_columns({"y": panel.array("y") + shift}))
    )
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_f_and_lr_of_effects_are_one_function_of_each_other() -> None:
    own = diagnose(spec_of(), panel_of(W9), W9)
    for kind, left in (("unit", 9 * 6 - 14 - 2), ("time", 9 * 6 - 14 - 2)):
        F, lr = own.row(f"F {kind} effects"), own.row(f"LR {kind} effects")
        assert lr.statistic == pytest.approx(54 * np.log1p(F.df * F.statistic / left))
        assert lr.p_value == pytest.approx(F.p_value, rel=0.15)  # by Bartlett's correction
        assert stats.chi2.sf(lr.statistic, lr.df) < F.p_value


def test_f_of_effects_is_what_dummies_give() -> None:
    panel = panel_of(W9)
    y, X = panel.array("y").ravel(), panel.array(["a", "b"]).reshape(54, 2)
    time = np.kron(np.eye(6), np.ones((9, 1)))
    both = np.hstack([time, np.kron(np.ones((6, 1)), np.eye(9))[:, 1:]])
    ssr = []
    for dummies in (time, both):
        Z = np.hstack([X, dummies])
        ssr.append(((y - Z @ np.linalg.lstsq(Z, y, rcond=None)[0]) ** 2).sum())
    F = (ssr[0] - ssr[1]) / 8 / (ssr[1] / (54 - 16))
    assert diagnose(spec_of(), panel, W9).row("F unit effects").statistic == pytest.approx(F)


def test_hausman_tests_are_defined_where_variances_of_their_own_would_not_be() -> None:
    undefined = 0
    for seed in range(8):
        table = diagnose(spec_of("unit"), panel_of(W9, seed=seed, rho=0.0, theta={}), W9)
        for name in ("Hausman", "Mundlak", "Hausman, spatial", "Mundlak, spatial"):
            assert table.row(name).statistic >= 0
        row = table.row("Hausman")
        assert row.p_value == pytest.approx(stats.f.sf(row.statistic / 2, 2, 9 - 1 - 2))
        undefined += "by default: undefined" in row.note.en
    assert 0 < undefined < 8


@pytest.mark.parametrize("effects", ["unit", "two_way"])
def test_variance_within_is_that_of_the_fixed_effects_fit_at_its_own_estimate(effects: str) -> None:
    panel = panel_of(W9)
    case = make_case(spec_of(effects), panel, W9, "lee_yu")
    fixed, random = fit_durbin(spec_of(effects), panel, W9), random_estimate(case)
    terms = list(fixed.spec.terms)
    delta = random.best.delta.copy()
    delta[[random.terms.index(name) for name in terms]] = fixed.params[terms]
    best = replace(random.best, delta=delta, rho=float(fixed.params["rho"]), sigma2=fixed.sigma2)
    own = within_covariance(case, fixed, replace(random, best=best))
    np.testing.assert_allclose(own, fixed.cov.loc[terms, terms], rtol=1e-6)


def test_period_effects_do_not_move_the_spatial_tests_of_random_effects() -> None:
    panel = panel_of(W9)
    shifted = panel.with_columns({"y": panel.array("y") + 3.0 * np.arange(6.0)[:, None] ** 2})
    names = ["Hausman, spatial", "Mundlak, spatial"]
    a, b = (statistics(diagnose(spec_of(), p, W9))[names] for p in (panel, shifted))
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_random_effects_without_period_effects_climb_a_dense_likelihood() -> None:
    """ln L of F'y_t, F'(I − ρW)F and Ω = φσ²J ⊗ I + σ²I by dense matrices, and no better point around."""
    panel, T, F = panel_of(W9), 6, period_basis(9)
    found = random_estimate(make_case(spec_of(), panel, W9, "lee_yu"))
    best, W = found.best, W9.matrix.toarray()
    y, X = panel.array("y"), panel.array(["a", "b"])
    Z = np.concatenate([X, np.einsum("ij,tjk->tik", W, X)], axis=2)

    def likelihood(rho: float, delta: np.ndarray, phi: float, sigma2: float) -> float:
        e = ((y - rho * y @ W.T - Z @ delta) @ F).ravel()
        omega = sigma2 * (np.eye(T * 8) + phi * np.kron(np.ones((T, T)), np.eye(8)))
        jacobian = T * np.linalg.slogdet(np.eye(8) - rho * F.T @ W @ F)[1]
        half = np.linalg.slogdet(2 * np.pi * omega)[1] + e @ np.linalg.solve(omega, e)
        return jacobian - half / 2

    point = best.rho, best.delta, best.phi, best.sigma2
    top = likelihood(*point)
    assert best.log_likelihood == pytest.approx(top, rel=1e-9)
    for i, step in ((0, 1e-3), (2, 1e-3), (3, 1e-3)):
        for sign in (-1, 1):
            assert likelihood(*(v + sign * step * (j == i) for j, v in enumerate(point))) < top


def test_spatial_mundlak_has_the_degrees_of_freedom_of_unit_means() -> None:
    panel, W = panel_of(knn_weights(12)), knn_weights(12)
    fit = fit_durbin(spec_of("random", mundlak=True), panel, W)
    means = [term for term in fit.params.index if term.startswith("mean_")]
    d, V = fit.params[means].to_numpy(), fit.cov.loc[means, means].to_numpy()
    row = diagnose(spec_of("unit"), panel, W).row("Mundlak, spatial")
    assert row.statistic == pytest.approx(d @ np.linalg.solve(V, d) / 4 * 7 / 12, rel=1e-6)
    assert row.p_value == pytest.approx(stats.f.sf(row.statistic, 4, 7))


def test_a_negative_variance_does_not_count_in_the_joint_test() -> None:
    for seed in range(20):
        panel = panel_of(W9, seed=seed, rho=0.0, theta={}, unit_effects=0.0, time_effects=0.0)
        table = diagnose(spec_of("none"), panel, W9)
        if table.row("LM random effects, marginal (BSK)").statistic < 0:
            break
    error = table.row("LM spatial error, marginal (BSK)").statistic
    joint = table.row("LM random effects and spatial error, joint (BSK)").statistic
    assert table.row("LM random effects, marginal (BSK)").p_value > 0.5
    assert joint == pytest.approx(error**2)


def test_bsk_given_error_is_the_same_whatever_likelihood_the_chain_uses() -> None:
    name, panel = "LM random effects given spatial error (BSK)", panel_of(W9)
    a, b = (diagnose(spec_of(), panel, W9, estimator=e).row(name).statistic for e in ("lee_yu", "direct"))
    assert a == pytest.approx(b)
    uneven = diagnose(spec_of(), panel, uneven_weights(9), estimator="direct").row(name)
    assert np.isnan(uneven.statistic)
    assert "row-normalised" in uneven.note.en


# --- the shape of the table, refusals, unavailable tests


def test_the_table_has_its_columns_names_and_both_languages() -> None:
    table = diagnose(spec_of(), panel_of(W9), W9)
    frame = table.tidy()
    assert list(frame.columns) == ["test", "statistic", "df", "p_value", "note"]
    assert {r.test for r in table.rows} == set(TESTS) - {*CROSS_SECTION, "CD (Pesaran)"}
    assert (frame["note"].str.len() > 5).all()
    assert frame["p_value"].dropna().between(0, 1).all()
    chinese = table.tidy("zh")
    assert (chinese["statistic"].fillna(-9) == frame["statistic"].fillna(-9)).all()
    assert chinese["note"].str.contains("[\u4e00-\u9fff]").all()
    assert frame.loc[frame["test"] == "LM lag", "note"].str.contains("centred for two-way effects").all()
    assert table.glance().loc[0, "n_units"] == 9


def test_every_test_has_one_section_and_every_row_is_printed() -> None:
    assert sorted(test for tests in SECTIONS.values() for test in tests) == sorted(TESTS)
    table = diagnose(spec_of(), panel_of(W9), W9)
    parts = by_section(table, "zh")
    printed = pd.concat([frame for _, frame in parts])
    assert [heading for heading, _ in parts] == list(SECTIONS)
    columns = ["test", "statistic", "note"]
    expected = table.tidy("zh").sort_values(columns, ignore_index=True)
    pd.testing.assert_frame_equal(printed.sort_values(columns, ignore_index=True), expected)
    assert printed["test"].iloc[0] == TESTS["LM lag"].zh
    assert printed["test"].iloc[-1] == TESTS["Condition number"].zh


def test_a_cross_section_has_no_panel_tests() -> None:
    names = set(
        diagnose(DurbinSpec("CRIME", ["INC", "HOVAL"], fixed_effects="none"), *columbus()).tidy()["test"]
    )
    assert "LM lag" in names
    assert not [n for n in names if n.startswith(("F unit", "Hausman", "CD")) or "BSK" in n]


def test_random_effects_are_tested_as_unit_effects() -> None:
    panel = panel_of(W9)
    a, b = (statistics(diagnose(spec_of(e), panel, W9)) for e in ("random", "unit"))
    pd.testing.assert_series_equal(a, b)


def test_weights_that_are_not_row_normalised_keep_what_is_defined() -> None:
    W = uneven_weights(9)
    table = diagnose(spec_of(), panel_of(W9), W)
    for name in ("LM lag", "LM error", "LM lag, robust", "LM lag and error, joint"):
        assert np.isfinite(table.row(name).statistic)
    for name in ("Wald SDM to SAR", "LR SDM to SEM", "LM error from SAR"):
        assert np.isnan(table.row(name).statistic)
        assert "row" in table.row(name).note.en
    unit = diagnose(spec_of("unit"), panel_of(W9), W)
    assert np.isfinite(unit.row("Wald SDM to SEM").statistic)
    pooled = diagnose(spec_of("none"), panel_of(W9), W)
    assert "row-normalised" in pooled.row("LR SDM to SEM").note.en


def test_a_partial_durbin_model_has_no_common_factor() -> None:
    table = diagnose(spec_of(lag_x=["a"]), panel_of(W9), W9)
    assert table.row("Wald SDM to SAR").df == 1
    assert np.isnan(table.row("Wald SDM to SEM").statistic)
    assert "b is not" in table.row("Wald SDM to SEM").note.en


def test_more_regressors_than_units_leave_hausman_out() -> None:
    W = knn_weights(5, k=2)
    panel = simulate_durbin(W, 9, dict.fromkeys("abcde", 1.0), rng=3)
    table = diagnose(DurbinSpec("y", list("abcde"), lag_x=["a"]), panel, W)
    assert "5 units cannot carry" in table.row("Hausman").note.en


@pytest.mark.parametrize(
    ("spec", "estimator", "word"),
    [
        (DurbinSpec("y", ["a"], endog=["b"], instruments=["c"]), "lee_yu", "b"),
        (DurbinSpec("y", [], lag_x=[]), "lee_yu", "at least one regressor"),
        (spec_of(), "gmm", "gmm"),
    ],
    ids=["endogenous", "empty", "estimator"],
)
def test_what_the_chain_refuses(spec: DurbinSpec, estimator: str, word: str) -> None:
    with pytest.raises(SpecificationError, match=word):
        diagnose(spec, panel_of(W9), W9, estimator=estimator)
