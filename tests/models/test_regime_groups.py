"""Any number of regimes, in a cross-section too, with coefficients of their own or shared: spreg and dense."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import linalg, optimize
from small_examples import ring_with_chords, rook, weights_of

import spatial_zb as zb
from spatial_zb.core.likelihood.regimes import RegimePoint, RowRegimes, regime_point
from spatial_zb.core.likelihood.shape import ShapeEstimate, ShapeScore
from spatial_zb.core.likelihood.shape_covariance import score_variance
from spatial_zb.models.regimes import few_rows_by_regime, fit_regime_rows, row_regimes
from spatial_zb.models.shape import read_lags, shape_cov

REFERENCE = Path(__file__).parents[1] / "reference" / "regimes"
#: spreg's search for ρ stops near 1e-9.
SPREG = 2e-7
T, N = 7, 16
REGION = np.repeat([1.0, 2.0, 4.0], [5, 5, 6])


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        yield


@pytest.fixture(scope="module")
def W() -> zb.Weights:
    return ring_with_chords(N)


@pytest.fixture(scope="module")
def panel(W) -> zb.Panel:
    rng = np.random.default_rng(6)
    dense, group = W.matrix.toarray(), np.searchsorted([1, 2, 4], REGION)
    x, z = rng.standard_normal((2, T, N))
    mean = rng.standard_normal(N) + rng.standard_normal((T, 1)) + np.array([0.5, 1.0, 1.5])[group] * x - z
    mean = mean + 0.3 * x @ dense.T + rng.standard_normal((T, N))
    left = np.eye(N) - np.array([0.0, 0.3, 0.5])[group][:, None] * dense
    values = np.stack([mean @ np.linalg.inv(left).T, x, z, np.broadcast_to(REGION, (T, N))], axis=2)
    return zb.Panel(values, tuple(range(2001, 2001 + T)), W.ids, ("y", "x", "z", "region"))


def spec(effects: str = "two_way", **changes: object) -> zb.DurbinSpec:
    given = {"y": "y", "x": ["x", "z"], "lag_x": ["x"], "fixed_effects": effects, "regimes": "region"}
    return zb.DurbinSpec(**{**given, **changes})


# --- a cross-section: spreg


@pytest.fixture(scope="module")
def lattice() -> tuple[zb.Panel, zb.Weights, dict]:
    frame = pd.read_csv(REFERENCE / "data.csv").assign(year=2020)
    W = weights_of(rook(8, 8), "rook")
    frame["unit"] = list(W.ids)
    expected = json.loads((REFERENCE / "expected.json").read_text("utf-8"))
    return zb.build_panel(frame, period="year", units=W.ids), W, expected


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("OLS", {"lag_y": False, "lag_x": []}),
        ("OLS, z common", {"lag_y": False, "lag_x": [], "common": ["z"]}),
        ("SLX", {"lag_y": False}),
        ("SAR", {"lag_x": [], "common": ["rho"]}),
        ("SDM", {"common": ["rho"]}),
    ],
)
def test_a_cross_section_equals_spreg(lattice, model, options):
    panel, W, expected = lattice
    known = expected[model]
    fit = zb.fit_durbin(
        zb.DurbinSpec("y", ["x", "z"], fixed_effects="none", regimes="region", **options), panel, W
    )
    named = {"W_y": "rho", "CONSTANT": "(Intercept)"}

    def ours(theirs: str) -> str:
        group, _, name = theirs.removeprefix("_").partition("_")
        name = named.get(name, name)
        return name if group == "Global" else f"{name}[region={group}]"

    terms = [ours(name) for name in known["x"]]
    np.testing.assert_allclose(fit.params[terms], known["betas"], rtol=SPREG, atol=SPREG)
    np.testing.assert_allclose(fit.bse[terms], known["std_errors"], rtol=SPREG)
    assert fit.sigma2 == pytest.approx(known["sig2"], rel=SPREG)
    tests = zb.tests.regime_tests(fit).tidy().set_index("term")
    parts = tests.drop(index="all")
    np.testing.assert_allclose(parts[["statistic", "p_value"]], known["chow"], rtol=50 * SPREG)
    assert (parts["df"] == 2).all()
    np.testing.assert_allclose(
        tests.loc["all", ["statistic", "p_value"]].astype(float), known["joint"], rtol=5e-6
    )
    assert len(fit.params) == len(terms) + 1


def test_least_squares_have_the_degrees_of_freedom_of_least_squares(lattice):
    panel, W, _ = lattice
    fit = zb.fit_durbin(
        zb.DurbinSpec("y", ["x", "z"], False, [], fixed_effects="none", regimes="region"), panel, W
    )
    assert fit.df_resid == 64 - 9


# --- three groups in a panel


def dense_score(panel: zb.Panel, W: zb.Weights, effects: str):
    """The score of (ρ, δ) with three ρ by loops over regimes: its root is the estimate."""
    dense = W.matrix.toarray()
    y, x, z = (panel.array(name) for name in "yxz")
    groups = [(value == REGION).astype(float) for value in (1, 2, 4)]
    Z = np.stack([v * d for v in (x, z, x @ dense.T) for d in groups], axis=-1).reshape(T * N, -1)
    lags = np.stack([(y @ dense.T) * d for d in groups], axis=-1).reshape(T * N, -1)
    J = np.eye(N) - (effects == "two_way") / N
    Q = np.kron(np.eye(T) - 1 / T, J)

    def score(v: np.ndarray) -> np.ndarray:
        e = Q @ (y.ravel() - lags @ v[:3] - Z @ v[3:])
        sigma2 = e @ e / ((T - 1) * (N - (effects == "two_way")))
        left = np.eye(N) - sum(rho * np.diag(d) for rho, d in zip(v[:3], groups, strict=True)) @ dense
        G = dense @ np.linalg.inv(left)
        traces = [np.trace(J @ np.diag(d) @ G) for d in groups]
        return np.r_[lags.T @ e / sigma2 - (T - 1) * np.array(traces), Z.T @ e / sigma2]

    return score


@pytest.mark.parametrize("effects", ["unit", "two_way"])
def test_three_regimes_solve_the_score_by_loops(panel, W, effects):
    fit = zb.fit_durbin(spec(effects), panel, W)
    labels = ["[region=1]", "[region=2]", "[region=4]"]
    names = [f"{name}{k}" for name in ("rho", "x", "z", "W_x") for k in labels]
    assert list(fit.params.index[-4:-1]) == names[:3]
    score = dense_score(panel, W, effects)
    at = fit.params[names].to_numpy()
    root = optimize.root(score, at + 0.01, tol=1e-12)
    assert root.success
    np.testing.assert_allclose(at, root.x, atol=1e-6)
    assert np.isnan(fit.log_likelihood) == (effects == "two_way")


def test_errors_of_three_regimes_are_the_spread_of_estimates(panel, W):
    """The panel with errors drawn anew, its effects kept: the spread of the estimates is what the errors say."""
    fit = zb.fit_durbin(spec(lag_x=[]), panel, W)
    rng, group = np.random.default_rng(1), np.searchsorted([1, 2, 4], REGION)
    rho = fit.params[[f"rho[region={g}]" for g in (1, 2, 4)]].to_numpy()[group]
    left = np.eye(N) - rho[:, None] * W.matrix.toarray()
    mean, size = panel.array("y") @ left.T - fit.residuals, np.sqrt(fit.sigma2)
    draws = []
    for _ in range(100):
        y = (mean + size * rng.standard_normal((T, N))) @ np.linalg.inv(left).T
        draws.append(zb.fit_durbin(spec(lag_x=[]), panel.with_columns({"y": y}), W).params.to_numpy()[:-1])
    ratio = np.std(draws, axis=0) / fit.bse.to_numpy()[:-1]
    assert ((ratio > 0.8) & (ratio < 1.3)).all(), ratio


def test_shared_coefficients_are_the_smaller_model(panel, W):
    """All shared: the model without regimes. ρ shared: the plain model of variables that were split by hand."""
    plain = zb.fit_durbin(zb.DurbinSpec("y", ["x", "z"], lag_x=["x"]), panel, W)
    every = zb.fit_durbin(spec(common=["rho", "x", "z", "W_x"]), panel, W)
    np.testing.assert_allclose(every.params, plain.params, rtol=1e-7)
    np.testing.assert_allclose(every.bse, plain.bse, rtol=1e-7)
    assert every.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-8)
    one = zb.fit_durbin(spec(common=["rho"]), panel, W)
    dense = W.matrix.toarray()
    parts = {f"{name}{g}": panel.array(name) * (g == REGION) for name in "xz" for g in (1, 2, 4)}
    parts |= {f"l{g}": (panel.array("x") @ dense.T) * (g == REGION) for g in (1, 2, 4)}
    hand = zb.fit_durbin(zb.DurbinSpec("y", list(parts), lag_x=[]), panel.with_columns(parts), W)
    np.testing.assert_allclose(one.params, hand.params, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(one.bse, hand.bse, rtol=1e-7)
    assert one.log_likelihood == pytest.approx(hand.log_likelihood, abs=1e-8)
    for covariance in ("cluster", "cr1", "driscoll_kraay"):
        ours = zb.fit_durbin(spec(common=["rho"]), panel, W, covariance=covariance)
        theirs = zb.fit_durbin(
            zb.DurbinSpec("y", list(parts), lag_x=[]), panel.with_columns(parts), W, covariance=covariance
        )
        ratio = ours.bse / theirs.bse.to_numpy()
        assert ratio.drop("rho").between(0.9, 1.1).all(), (
            covariance
        )  # the bread differs: expected and observed
        assert 0.8 < ratio["rho"] < 1.2, covariance


def test_order_of_units_and_values_of_the_column_do_not_matter(panel, W):
    fit = zb.fit_durbin(spec(), panel, W)
    turned = np.random.default_rng(2).permutation(N)
    moved = zb.Panel(panel.values[:, turned], panel.periods, panel.units[turned], panel.columns)
    np.testing.assert_allclose(zb.fit_durbin(spec(), moved, W).params, fit.params, atol=1e-7)
    other = panel.with_columns({"region": np.broadcast_to(10 - REGION, (T, N))})
    swapped = zb.fit_durbin(spec(), other, W)
    for value in (1, 2, 4):
        assert swapped.params[f"rho[region={10 - value}]"] == pytest.approx(
            fit.params[f"rho[region={value}]"], abs=1e-7
        )


# --- effects


@pytest.mark.parametrize("common", [[], ["rho"], ["rho", "z", "W_x"]])
def test_effects_and_spillovers_between_three_groups_by_matrices(panel, W, common):
    fit = zb.fit_durbin(spec(common=common), panel, W)
    dense, group = W.matrix.toarray(), np.searchsorted([1, 2, 4], REGION)

    def at(values: np.ndarray) -> np.ndarray:
        p = pd.Series(values, fit.params.index)

        def pick(name):
            return np.array([p.get(f"{name}[region={g}]", p.get(name, 0.0)) for g in (1, 2, 4)])[group]

        left, rows = np.eye(N) - pick("rho")[:, None] * dense, []
        for name in ("x", "z"):
            E = np.linalg.solve(left, np.diag(pick(name)) + pick(f"W_{name}")[:, None] * dense)
            for mask in (*(group == r for r in range(3)), np.ones(N, bool)):
                direct, total = np.diag(E)[mask].mean(), E.sum(axis=1)[mask].mean()
                rows += [direct, total - direct, total]
            if name == "x":
                off = E - np.diag(np.diag(E))
                between = [
                    off[np.ix_(group == to, group == of)].sum() / (group == to).sum()
                    for of in range(3)
                    for to in range(3)
                ]
        return np.array([*rows, *between])

    table, spill = zb.spatial_effects(fit).tidy(), zb.regime_spillovers(fit, "x").tidy()
    values, V = fit.params.to_numpy(), fit.cov.to_numpy()
    found = np.r_[table["estimate"], spill["estimate"]]
    np.testing.assert_allclose(found, at(values), atol=1e-9)
    steps = 1e-6 * np.eye(len(values))
    g = np.column_stack([(at(values + h) - at(values - h)) / 2e-6 for h in steps])
    errors = np.r_[table["std_error"], spill["std_error"]]
    np.testing.assert_allclose(errors, np.sqrt(np.diag(g @ V @ g.T)), rtol=1e-5)
    received = spill.groupby("receiver", sort=False)["estimate"].sum().to_numpy()
    indirect = table[(table["effect"] == "indirect") & table["term"].str.startswith("x[")]["estimate"]
    np.testing.assert_allclose(received, indirect, atol=1e-10)


def test_tests_of_three_regimes_are_wald_tests_of_all_contrasts(panel, W):
    fit = zb.fit_durbin(spec(), panel, W)
    table = zb.tests.regime_tests(fit).tidy().set_index("term")
    assert table["df"].to_dict() == {"x": 2, "z": 2, "W_x": 2, "rho": 2, "all": 8}
    names = [f"x[region={g}]" for g in (1, 2, 4)]
    R = np.array([[-1.0, 0.0, 1.0], [0.0, -1.0, 1.0]])  # other contrasts, the same test
    difference, V = R @ fit.params[names], R @ fit.cov.loc[names, names] @ R.T
    assert table.loc["x", "statistic"] == pytest.approx(difference @ np.linalg.solve(V, difference))
    assert table["difference"].isna().all()


def test_the_bootstrap_knows_three_groups(panel, W):
    result = zb.bootstrap(zb.fit_durbin(spec("unit", lag_x=[]), panel, W), 99, rng=1)
    table = result.differences()
    assert list(table["term"][:6]) == [f"{x}[region={g}]" for x in ("x", "z", "rho") for g in (2, 4)]
    assert table["estimate"].notna().all()
    assert len(result.effects()) == 2 * 4 * 3


def test_words_and_refusals(panel, W):
    fit = zb.fit_durbin(spec(), panel, W)
    assert fit.glance()["model"].iloc[0] == "regime SDM"
    for wrong in ({"common": ["W_z"]}, {"common": "rho"}, {"regimes": None, "common": ["rho"]}):
        with pytest.raises(zb.SpecificationError, match="common"):
            spec(**wrong)
    with pytest.raises(zb.SpecificationError, match="one regime"):
        zb.tests.regime_tests(replace(fit, design=replace(fit.design, spec=replace(fit.spec, regimes=None))))


# --- panels of any shape


def uneven(panel: zb.Panel) -> zb.Panel:
    """The panel without two units at its start and one at its end, and with a blank cell."""
    frame = panel.frame()
    gone = frame["unit"].isin(panel.units[[1, 9]]) & (frame["period"] < 2003)
    frame = frame[~(gone | (frame["unit"].eq(panel.units[4]) & frame["period"].gt(2005)))].copy()
    frame.loc[frame["unit"].eq(panel.units[12]) & frame["period"].eq(2004), "z"] = np.nan
    return zb.build_panel(frame, units=panel.units, balance="keep")


def test_regimes_of_an_uneven_panel_are_variables_split_by_hand(panel, W):
    part = uneven(panel)
    fit = zb.fit_durbin(spec(common=["rho"]), part, W, covariance="cluster")
    assert fit.estimator == "adjusted_score"
    used = part.rows(["y", "x", "z"])
    split = {f"{name}{g}": part.array(name) * (g == REGION) for name in "xz" for g in (1, 2, 4)}
    for g in (1, 2, 4):
        lag = np.full(used.shape, np.nan)
        for t in range(T):
            block = W.matrix.toarray()[np.ix_(used[t], used[t])]
            block = block / np.where(block.sum(axis=1) > 0, block.sum(axis=1), 1)[:, None]
            lag[t, used[t]] = (block @ part.array("x")[t, used[t]]) * (g == REGION)[used[t]]
        split[f"l{g}"] = lag
    hand = zb.fit_durbin(
        zb.DurbinSpec("y", list(split), lag_x=[]), part.with_columns(split), W, covariance="cluster"
    )
    np.testing.assert_allclose(fit.params, hand.params, rtol=1e-10)
    np.testing.assert_allclose(fit.cov, hand.cov, rtol=1e-8, atol=1e-14)
    assert fit.params.index[0] == "x[region=1]"
    tests = zb.tests.regime_tests(fit).tidy().set_index("term")
    assert tests["df"].to_dict() == {"x": 2, "z": 2, "W_x": 2, "all": 6}
    by_unit = zb.fit_durbin(spec(common=["rho"]), part, W, covariance="cr1")
    assert np.isnan(by_unit.bse["sigma2"])  # and nothing else is lost by that
    assert zb.tests.regime_tests(by_unit).tidy()["p_value"].notna().all()
    for method in ("delta", "simulate"):
        table = zb.spatial_effects(
            by_unit, method, **({"draws": 200, "rng": 1} if method == "simulate" else {})
        )
        assert table.tidy()["std_error"].notna().all()


def blocks(panel: zb.Panel, W: zb.Weights) -> list[tuple[np.ndarray, np.ndarray]]:
    """Who is there in each period, and W among them with rows that sum to one."""
    out = []
    for on in panel.rows(["y", "x", "z"]):
        part = W.matrix.toarray()[np.ix_(on, on)]
        out.append((on, part / np.where(part.sum(axis=1) > 0, part.sum(axis=1), 1)[:, None]))
    return out


def slow_fit(panel: zb.Panel, parts: list, dummies: np.ndarray, own: list | None = None) -> dict:
    """The score of three ρ with every dummy a column and W one matrix; Ω and the derivative by the definition."""
    there = np.array([on for on, _ in parts])
    unit = np.nonzero(there)[1]
    group = np.searchsorted([1, 2, 4], REGION)[unit]
    big, of_x = linalg.block_diag(*[w for _, w in parts]), linalg.block_diag(*(own or [w for _, w in parts]))
    y, x, z = (panel.array(name)[there] for name in "yxz")
    R = [np.diag((group == g).astype(float)) for g in range(3)]
    Z = np.column_stack([r @ v for v in (x, z, of_x @ x) for r in R])
    D = dummies[:, np.ptp(dummies, axis=0) > 0]
    D = np.linalg.svd(D, full_matrices=False)[0][:, : np.linalg.matrix_rank(D)]
    Q = np.linalg.qr(np.column_stack([D, Z]))[0]
    N, free, M = len(y), len(y) - D.shape[1], np.eye(len(y)) - D @ D.T
    P_Q, lags = Q @ Q.T, [r @ big @ y for r in R]

    def G(rho: np.ndarray) -> np.ndarray:
        return big @ np.linalg.inv(np.eye(N) - sum(a * r for a, r in zip(rho, R, strict=True)) @ big)

    def score(v: np.ndarray) -> np.ndarray:
        rho, delta, s2 = v[:3], v[3:-1], v[-1]
        e = M @ (y - sum(a * lag for a, lag in zip(rho, lags, strict=True)) - Z @ delta)
        own = [lag @ e / s2 - np.trace(M @ r @ G(rho)) for lag, r in zip(lags, R, strict=True)]
        return np.r_[Z.T @ e / s2, own, e @ e / (2 * s2**2) - free / (2 * s2)]

    def concentrated(rho: np.ndarray) -> np.ndarray:
        return score(np.r_[rho, best(rho)])[9:12]

    def best(rho: np.ndarray) -> np.ndarray:
        right = y - sum(a * lag for a, lag in zip(rho, lags, strict=True))
        delta = np.linalg.lstsq(M @ Z, M @ right, rcond=None)[0]
        e = M @ (right - Z @ delta)
        return np.r_[delta, e @ e / free]

    rho = optimize.root(concentrated, [0.05, 0.2, 0.35], tol=1e-12).x
    at = np.r_[rho, best(rho)]
    h = 1e-5 * np.eye(13)
    H = -np.column_stack([(score(at + step) - score(at - step)) / 2e-5 for step in h])[
        :, [*range(3, 12), 0, 1, 2, 12]
    ]
    s2, F = at[-1], [r @ G(rho) for r in R]
    e = M @ (y - sum(a * lag for a, lag in zip(rho, lags, strict=True)) - Z @ at[3:-1])
    means = np.column_stack([M @ (lag - f @ e) for lag, f in zip(lags, F, strict=True)])
    linear, off = np.column_stack([M @ Z, means, np.zeros(N)]), np.eye(N) - P_Q
    forms = [np.zeros((N, N))] * 9 + [M @ f @ M / s2 for f in F] + [M / (2 * s2**2)]
    variance = linear.T @ linear / s2 + s2**2 * np.array(
        [[np.sum(a.T * b + a * b) for b in forms] for a in forms]
    )
    # what lies in M F and outside F M, and what the estimated coefficients add to the squares of the means
    more = [
        [
            np.trace(f.T @ M @ k) - np.trace(M @ f @ M @ k.T @ M) - np.trace(off @ f @ P_Q @ k.T @ off)
            for k in F
        ]
        for f in F
    ]
    variance[9:12, 9:12] += more
    K = [(a + a.T) / 2 for a in (s2 * form for form in forms[9:12])]
    K = [a - np.trace(a) / free * np.eye(len(a)) for a in K]
    n = len(np.unique(unit))
    sums = np.zeros((n, 12))
    pairs = np.zeros((12, 12))
    Y = np.array(
        [
            [
                [e[unit == i] @ a[np.ix_(unit == i, unit == j)] @ e[unit == j] for j in range(n)]
                for i in range(n)
            ]
            for a in K
        ]
    )
    for i in range(n):
        sums[i] = linear[unit == i, :12].T @ e[unit == i]
        sums[i, 9:] += Y[:, i, i]
        own = np.ix_(unit == i, unit == i)
        sums[i, 9:] -= [s2 * np.trace(a[own] @ M[own]) for a in K]
    sums -= sums.mean(axis=0)
    f = n / (n - 1)
    for a, b in np.ndindex(3, 3):
        pairs[9 + a, 9 + b] = 2 * f * (np.sum(Y[a] * Y[b]) - np.sum(np.diag(Y[a]) * np.diag(Y[b])))
    one = H[:12, :12] - np.outer(H[:12, 12], H[12, :12]) / H[12, 12]
    bread = np.linalg.inv(one)
    whole = np.linalg.inv(H)
    return {
        "params": np.r_[at[3:12], rho, s2],
        "information": whole @ variance @ whole.T,
        "cr1": bread @ ((f * sums.T @ sums + pairs) / s2**2) @ bread.T,
    }


@pytest.mark.parametrize("case", ["late", "W by period, trends"])
def test_rho_by_regime_of_any_shape_is_the_dense_score(panel, W, case):
    """Three ρ where units come and go: estimates, the sandwich and clusters, by dummies and dense matrices."""
    part = uneven(panel)
    parts = blocks(part, W)
    when, unit = np.nonzero(np.array([on for on, _ in parts]))
    dummies, weights, effects, own = np.column_stack([np.eye(N)[unit], np.eye(T)[when]]), W, "two_way", None
    options = {}
    if case != "late":  # each year another W, that of x the first; rows that do not sum to one
        drift = {
            t: zb.Weights(
                W.matrix * (0.5 + 0.5 * np.random.default_rng(t).random(N))[:, None], W.ids, f"W{t}"
            )
            for t in panel.periods
        }
        weights, own = zb.weights.by_period(drift, absent="keep"), [w for _, w in parts]
        parts = [
            (on, drift[t].matrix.toarray()[np.ix_(on, on)])
            for t, (on, _) in zip(panel.periods, parts, strict=True)
        ]
        effects, options = ["unit", "period", "unit*trend"], {"W_x": W}
        dummies = np.column_stack([dummies, np.eye(N)[unit] * when[:, None]])
    known = slow_fit(part, parts, dummies, own)
    for covariance in ("information", "cr1"):
        fit = zb.fit_durbin(spec(effects), part, weights, covariance=covariance, **options)
        assert fit.estimator == "adjusted_score"
        np.testing.assert_allclose(fit.params, known["params"], rtol=1e-6, atol=1e-8)
        used = slice(None, -1 if covariance == "cr1" else None)
        np.testing.assert_allclose(fit.cov.to_numpy()[used, used], known[covariance], rtol=1e-6, atol=1e-9)
    assert np.isnan(fit.log_likelihood)
    assert np.isnan(fit.bse["sigma2"])


@pytest.mark.parametrize("normalisation", ["row", "spectral"])
@pytest.mark.parametrize("effects", ["unit", "two_way"])
def test_the_two_roads_are_one_on_complete_panels(panel, effects, normalisation):
    W = ring_with_chords(N, normalisation)
    for covariance in ("information", "cr1", "cr2", "driscoll_kraay"):
        fast = zb.fit_durbin(spec(effects), panel, W, covariance=covariance)
        lags = read_lags(spec(effects), panel, W, None, None)
        general = fit_regime_rows(spec(effects), panel, lags, (), covariance, None)
        assert (fast.estimator, general.estimator) == ("lee_yu", "adjusted_score")
        np.testing.assert_allclose(general.params, fast.params, rtol=1e-8, atol=1e-10)
        known = fast.bse.notna() & general.bse.notna()  # σ² has no clustered error there
        assert known[:-1].all()
        np.testing.assert_allclose(general.bse[known], fast.bse[known], rtol=1e-8)


def test_one_regime_is_the_score_of_one_rho(panel, W):
    part = uneven(panel)
    plain = zb.DurbinSpec("y", ["x", "z"], lag_x=["x"])
    for covariance in ("information", "sandwich", "cr1", "cr2", "driscoll_kraay"):
        fit = zb.fit_durbin(plain, part, W, covariance=covariance)
        shape = fit.design.shape
        regimes = RowRegimes(shape, np.zeros(len(shape.Z), dtype=int), 1, float(shape.W.interval[1]))
        point, best = regime_point(regimes, fit.design.values)
        cov, found = shape_cov(point, covariance, None)
        assert found
        np.testing.assert_allclose([*best.delta, *best.rho, best.sigma2], fit.params, rtol=1e-8)
        np.testing.assert_allclose(cov, fit.cov, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("common", [["rho", "z"], ["z"]])
def test_effects_of_regimes_in_an_uneven_panel_by_loops_over_periods(panel, W, common):
    part = uneven(panel)
    fit = zb.fit_durbin(spec(common=common), part, W)
    group, parts = np.searchsorted([1, 2, 4], REGION), blocks(part, W)

    def matrices(values: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        p, out = pd.Series(values, fit.params.index), []
        for on, w in parts:
            rho, beta, theta = (
                np.array([p.get(f"{n}[region={g}]", p.get(n)) for g in (1, 2, 4)])[group[on]]
                for n in ("rho", "x", "W_x")
            )
            E = np.linalg.solve(np.eye(on.sum()) - rho[:, None] * w, np.diag(beta) + theta[:, None] * w)
            out.append((group[on], E))
        return out

    def means(found: list) -> np.ndarray:
        sums, rows, between = np.zeros((4, 2)), np.zeros(4), np.zeros((3, 3))
        for here, E in found:
            for r, mask in enumerate((here == 0, here == 1, here == 2, here >= 0)):
                sums[r] += np.diag(E)[mask].sum(), E.sum(axis=1)[mask].sum()
                rows[r] += mask.sum()
            off = E - np.diag(np.diag(E))
            for sender, receiver in np.ndindex(3, 3):
                between[sender, receiver] += off[np.ix_(here == receiver, here == sender)].sum()
        direct, total = (sums / rows[:, None]).T
        return np.r_[np.column_stack([direct, total - direct, total]).ravel(), (between / rows[:3]).ravel()]

    def at(values: np.ndarray) -> np.ndarray:
        return means(matrices(values))

    table, spill = zb.spatial_effects(fit).tidy(), zb.regime_spillovers(fit, "x").tidy()
    mine = table[table["term"].str.startswith("x")]
    values, V = fit.params.to_numpy(), fit.cov.to_numpy()
    np.testing.assert_allclose(np.r_[mine["estimate"], spill["estimate"]], at(values), atol=1e-10)
    g = np.column_stack([(at(values + h) - at(values - h)) / 2e-6 for h in 1e-6 * np.eye(len(values))])
    errors = np.sqrt(np.diag(g @ V @ g.T))
    np.testing.assert_allclose(np.r_[mine["std_error"], spill["std_error"]], errors, rtol=1e-5)
    by_period = zb.spatial_effects(fit, by="period").tidy()
    for t in (0, 4, 6):
        year = str(part.periods[t])
        E = matrices(values)[t][1]
        found = by_period[(by_period["period"] == year) & by_period["term"].str.startswith("x")]
        np.testing.assert_allclose(found["estimate"], means([matrices(values)[t]])[:12], atol=1e-10)
        assert found["std_error"].notna().all()
        matrix = zb.effect_matrix(fit, "x", period=part.periods[t])
        np.testing.assert_allclose(matrix, E, atol=1e-10)
        units = zb.effects_by_unit(fit, "x", period=part.periods[t])
        assert list(units.index) == list(part.units[parts[t][0]])


def test_what_regimes_of_any_shape_refuse(panel, W, monkeypatch):
    fit = zb.fit_durbin(spec(), uneven(panel), W)
    with pytest.raises(zb.SpecificationError, match="period"):
        zb.effect_matrix(fit, "x")
    with pytest.raises(zb.SpecificationError, match="bootstrap"):
        zb.profile_interval(fit)
    with pytest.raises(zb.SpecificationError, match="covariance"):
        zb.fit_durbin(spec(), uneven(panel), W, covariance="sandwich")
    monkeypatch.setattr("spatial_zb.core.likelihood.shape_rows.DENSE_PERIOD", 10)
    with pytest.raises(zb.SpecificationError, match=r'common=\["rho"\]'):
        zb.fit_durbin(spec(), uneven(panel), W)


def test_redraws_of_regimes_keep_what_the_data_have(panel, W):
    from spatial_zb.inference.bootstrap import source_of

    fit = zb.fit_durbin(spec(), uneven(panel), W)
    source, y = source_of(fit), fit.design.values
    own = source.estimate(y)
    np.testing.assert_allclose(own.params, fit.params, atol=1e-10)
    np.testing.assert_allclose(own.cov, fit.cov, atol=1e-10)
    np.testing.assert_allclose(source.solve(source.mean + fit.residuals[fit.design.present]), y)
    assert not own.notes


@pytest.mark.parametrize("common", [["rho"], pytest.param([], marks=pytest.mark.slow)])
def test_the_bootstrap_of_an_uneven_panel_redraws_its_rows(panel, W, common):
    """The estimate of a redraw is that of the variables split by hand; differences and effects by regime come of it."""
    from spatial_zb.inference.bootstrap import source_of

    fit = zb.fit_durbin(spec(common=common), uneven(panel), W)
    source = source_of(fit)
    own = source.estimate(fit.design.values)
    np.testing.assert_allclose(own.params, fit.params, atol=1e-10)
    assert list(own.params.index) == list(fit.params.index)
    result = zb.bootstrap(fit, 99, rng=1)
    table = result.differences()
    assert list(table["term"][:2]) == ["x[region=2]", "x[region=4]"]
    assert np.isfinite(table["std_error"]).all()
    ratio = np.std(result.draws[result.solved], axis=0)[:-1] / fit.bse.to_numpy()[:-1]
    assert ((ratio > 0.7) & (ratio < 1.5)).all(), ratio
    assert "x[region=4]" in set(result.effects()["term"])


@pytest.mark.parametrize("common", [["rho"], [], ["rho", "(Intercept)"]])
def test_without_effects_each_regime_has_its_intercept_in_any_shape(panel, W, common):
    """Rows that come and go: intercepts split by hand. Pooled periods: the likelihood, and another W of x."""
    part = uneven(panel)
    fit = zb.fit_durbin(spec("none", common=common, lag_x=[]), part, W)
    assert fit.estimator == "adjusted_score"
    dummies = {f"d{g}": np.where(part.present, g == REGION, np.nan) for g in (2, 4)}
    split = {f"{name}{g}": part.array(name) * (g == REGION) for name in "xz" for g in (1, 2, 4)}
    alone = zb.DurbinSpec(
        "y", [*([] if "(Intercept)" in common else dummies), *split], lag_x=[], fixed_effects="none"
    )
    if "rho" in common:
        hand = zb.fit_durbin(alone, part.with_columns({**dummies, **split}), W)
        expected = hand.params.to_numpy().copy()
        if "(Intercept)" not in common:
            expected[1:3] += expected[0]
        np.testing.assert_allclose(fit.params, expected, rtol=1e-8, atol=1e-10)
    assert fit.params.index[0] == ("(Intercept)" if "(Intercept)" in common else "(Intercept)[region=1]")
    first = panel.select(periods=list(panel.periods[:3]))
    other = zb.Weights(W.matrix.T, W.ids, "turned").standardise()
    cross = spec("none", common=common)
    lags = read_lags(cross, first, W, None, None)
    plain, general = (
        zb.fit_durbin(cross, first, W),
        fit_regime_rows(cross, first, lags, (), "information", None),
    )
    np.testing.assert_allclose(general.params, plain.params, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(general.bse, plain.bse, rtol=1e-7)
    assert zb.fit_durbin(cross, first, W, W_x=other).estimator == "adjusted_score"


def test_effects_of_any_kind_go_with_regimes(panel, W):
    groups = panel.with_columns({"side": np.broadcast_to(np.arange(N) % 2, (T, N))})
    fit = zb.fit_durbin(spec(["unit", "side*period"], common=["rho"]), groups, W)
    assert fit.estimator == "adjusted_score"
    assert zb.spatial_effects(fit).tidy()["std_error"].notna().all()


def test_many_draws_with_one_rho_are_interpolated_to_rounding(panel, W):
    from spatial_zb.effects.regimes import regime_values

    fit = zb.fit_durbin(spec(common=["rho"]), uneven(panel), W)
    noise = np.random.default_rng(1).standard_normal((40, len(fit.params))) * 0.1
    draws = fit.params.to_numpy() + noise
    one_by_one = np.concatenate([regime_values(fit, draws[i : i + 10]) for i in range(0, 40, 10)])
    np.testing.assert_allclose(regime_values(fit, draws), one_by_one, rtol=1e-10, atol=1e-10)


def test_many_draws_with_several_rho_are_near_those_one_by_one(panel, W):
    from spatial_zb.effects import regimes

    fit = zb.fit_durbin(spec(), uneven(panel), W)
    draws = fit.params.to_numpy() + np.random.default_rng(1).standard_normal((400, len(fit.params))) * 0.1
    some = draws[::40]
    one_by_one, near = regimes.regime_values(fit, some), regimes.regime_values(fit, draws)[::40]
    np.testing.assert_allclose(near, one_by_one, atol=1e-4 * np.abs(one_by_one).max())
    assert not np.array_equal(near, one_by_one)


@pytest.mark.parametrize("case", ["late", "W by period"])
def test_scores_of_any_shape_have_mean_zero_and_the_variance_that_is_said(panel, W, case):
    """At the true ρ, from 600 draws of the errors; of the variance the mean of 40 fits, each with its own effects."""
    part, weights = uneven(panel), W
    if case != "late":
        drift = {t: ring_with_chords(N, "spectral" if t % 2 else "row") for t in panel.periods}
        weights = zb.weights.by_period(drift, absent="keep")
    fit = zb.fit_durbin(spec(lag_x=[]), part, weights)
    design, rng, rho = fit.design, np.random.default_rng(3), np.array([0.1, 0.3, 0.4])
    regimes, shape = row_regimes(design), design.shape
    e = rng.standard_normal((len(shape.Z), 600))
    mean = shape.Z @ [1, 0.5, 1, -1, -1, 0.5] + rng.standard_normal(N)[shape.unit]
    y = regimes.solve(rho, mean[:, None] + e)
    at, Wy = shape.at(0.0), regimes.weights.matrix @ y
    lags = [at.off(Wy * (regimes.slot == r)[:, None]) for r in range(3)]
    left = at.residual(y - sum(a * Wy * (regimes.slot == r)[:, None] for r, a in enumerate(rho)))
    sigma2 = (left**2).sum(axis=0) / (shape.free - len(shape.Z[0]))
    scores = np.array([(lag * left).sum(axis=0) for lag in lags]) / sigma2
    scores -= regimes.traces(rho)[:, None]
    spread = scores.std(axis=1, ddof=1)
    # what k coefficients take out of the traces is a fraction of a unit here, so that the mean is nearly zero
    assert (np.abs(scores.mean(axis=1)) < 4 * spread / np.sqrt(600) + 0.15 * spread).all()
    said = []
    for i in range(40):
        found = ShapeEstimate(ShapeScore(shape, y[:, i]), np.nan, 0.0, np.zeros(6), 1.0, left[:, i], True, ())
        omega = score_variance(RegimePoint(found, regimes, rho))
        own, others = [6, 7, 8], [0, 1, 2, 3, 4, 5, 10]
        cross = omega[np.ix_(own, others)]
        said.append(omega[np.ix_(own, own)] - cross @ np.linalg.solve(omega[np.ix_(others, others)], cross.T))
    ratio = np.sqrt(np.diag(np.mean(said, axis=0))) / spread
    assert ((ratio > 0.88) & (ratio < 1.14)).all(), ratio


def test_few_observations_for_each_rho_are_said():
    """41 cities and four years, half late: it is said with a ρ for each region, and not with one for all."""
    W = ring_with_chords(41)
    rng, group = np.random.default_rng(4), np.arange(41) % 3
    y, x = rng.standard_normal((2, 4, 41))
    there = np.ones((4, 41), bool)
    there[:2, 1::2] = False
    values = np.stack([np.where(there, v, np.nan) for v in (y, x, np.broadcast_to(group, (4, 41)))], axis=2)
    panel = zb.Panel(values, (1, 2, 3, 4), W.ids, ("y", "x", "group"), present=there)
    apart, one = (
        zb.fit_durbin(zb.DurbinSpec("y", ["x"], regimes="group", common=common), panel, W)
        for common in ([], ["rho"])
    )
    (note,) = [note for note in apart.notes if note.kind is few_rows_by_regime]
    assert str(apart.nobs) in note.text.en
    assert "bias_corrected" in note.text.zh
    assert not any(note.kind is few_rows_by_regime for note in one.notes)
