"""Fits of panels of any shape: equal to the balanced ones where both apply, and to a slow dense estimator elsewhere."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy
from scipy import linalg
from scipy.sparse import csr_array
from shape_oracle import Dense, take_the_sparse_road

import spatial_zb as zb
from spatial_zb import (
    DataError,
    DurbinSpec,
    SpatialZbWarning,
    SpecificationError,
    fit_durbin,
    spatial_effects,
)
from spatial_zb.core.likelihood.covariance import DistanceKernel, sandwiched
from spatial_zb.core.likelihood.score import lean_of
from spatial_zb.core.likelihood.shape import ShapeScore, shape_estimate
from spatial_zb.core.likelihood.shape_covariance import (
    ShapePoint,
    expected_derivative,
    score_statistic,
    score_variance,
)
from spatial_zb.effects.static import average_effects_at, effects_gradient
from spatial_zb.inference.bootstrap import source_of
from spatial_zb.models.ml import lasting_moves, leans
from spatial_zb.models.notes import correlated_over_time
from spatial_zb.models.shape import build_shape, fit_shape, read_lags, rows_left_out
from spatial_zb.weights.periods import neighbours_absent

#: Two estimators with the same root, each solved to rounding; that of two coefficients by its gradient.
SAME = 1e-8
#: Root and errors against dense numerical ones.
DENSE = 1e-6
n, T = 12, 5
UNITS = [f"u{i:02d}" for i in range(n)]
MODELS = {
    "OLS": {"lag_y": False, "lag_x": []},
    "SLX": {"lag_y": False},
    "SAR": {"lag_x": []},
    "SDM": {},
    "SEM": {"lag_y": False, "lag_x": [], "lag_error": True},
    "SDEM": {"lag_y": False, "lag_error": True},
    "SAC": {"lag_x": [], "lag_error": True},
    "GNS": {"lag_x": ["x"], "lag_error": True},
}
pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")


def links(*steps, seed=None):
    A = np.zeros((n, n))
    for i in range(n):
        for step in steps:
            A[i, (i + step) % n] = A[(i + step) % n, i] = 1.0
    if seed is not None:
        A *= np.random.default_rng(seed).uniform(0.5, 1.5, A.shape)
    return A


@pytest.fixture(scope="module")
def ring():
    return zb.as_weights(links(1, 2), ids=UNITS, label="ring").standardise()


@pytest.fixture(scope="module")
def second():
    return zb.as_weights(links(3, 5, seed=2), ids=UNITS, label="second").standardise()


@pytest.fixture(scope="module")
def frame(ring):
    r = np.random.default_rng(8)
    table = pd.DataFrame([(u, 2010 + t) for t in range(T) for u in UNITS], columns=["unit", "year"])
    x, z = r.normal(size=(2, n * T))
    province = np.tile(np.arange(n) // 4, T)
    effects = np.tile(r.normal(size=n), T) + np.repeat(r.normal(size=T), n)
    S = np.eye(n * T) - 0.4 * np.kron(np.eye(T), ring.matrix.toarray())
    y = np.linalg.solve(S, x + 0.5 * z + effects + 0.3 * r.normal(size=n * T))
    return table.assign(x=x, z=z, province=province, y=y)


@pytest.fixture(scope="module")
def panel(frame):
    return zb.build_panel(frame, "unit", "year", units=UNITS)


@pytest.fixture(scope="module")
def uneven(frame):
    """Four units come late, one row is missing and one cell is blank."""
    late = frame[~(frame["unit"].isin(UNITS[:4]) & (frame["year"] < 2012))].drop(index=frame.index[40])
    late.loc[frame.index[55], "x"] = np.nan
    return zb.build_panel(late, "unit", "year", units=UNITS, balance="keep")


@pytest.mark.parametrize("effects", ["none", "unit", "time", "two_way"])
def test_balanced_panels_give_the_same_either_way(panel, ring, effects):
    """Every model through the score that is written for any shape: estimates, errors and σ² of maximum likelihood."""
    for model, options in MODELS.items():
        spec = DurbinSpec("y", ["x", "z"], fixed_effects=effects, **options)
        fit = fit_durbin(spec, panel, ring)
        assert fit.estimator == "lee_yu"
        design = build_shape(spec, panel, read_lags(spec, panel, ring, None, None), ())
        found = shape_estimate(design.shape, design.values)
        spatial = [v for v, on in ((found.rho, spec.lag_y), (found.lam, spec.lag_error)) if on]
        if (
            not fit.converged
        ):  # both coefficients: maximum likelihood ends at a border, where no score vanishes
            assert model in ("SAC", "GNS")
            continue
        k = len(spec.terms) + len(spatial)
        np.testing.assert_allclose([*found.delta, *spatial], fit.params.iloc[:-1], atol=SAME, err_msg=model)
        factor = 1.0 if spatial else design.shape.free / (design.shape.free - k)
        assert found.sigma2 * factor == pytest.approx(fit.sigma2, rel=SAME)
        again = fit_shape(design, "information")
        np.testing.assert_allclose(again.bse, fit.bse, rtol=SAME, err_msg=model)
        if not spatial:
            assert again.log_likelihood == pytest.approx(fit.log_likelihood)
        assert design.shape.free == fit.nobs


#: SHAPE: industry on talent and GDP per head, cities of Zhejiang and of the delta, as printed in the design of the score.
CITIES = {
    ("zhejiang", "two_way", "SEM"): {"lam": (-0.29410687, 0.132764)},
    ("zhejiang", "two_way", "SAC"): {"rho": (-0.11020342, 2.446061), "lam": (-0.18847372, 2.428357)},
    ("zhejiang", "unit", "SAC"): {"rho": (-0.80718286, 0.141015), "lam": (0.65971876, 0.090682)},
    ("delta", "two_way", "SEM"): {"lam": (0.40611869, 0.059392)},
    ("delta", "two_way", "SAC"): {"rho": (-0.81563717, 0.089027), "lam": (0.85861770, 0.039423)},
}


@pytest.mark.parametrize("case", CITIES, ids=str)
def test_numbers_of_the_cities(real_cities, case):
    """Numbers of the throw-away dense code that the formulas were checked with."""
    sample, effects, model = case
    cities, W = real_cities[sample]
    spec = DurbinSpec("industry", ["talent", "ln_pgdp"], fixed_effects=effects, **MODELS[model])
    design = build_shape(spec, cities, read_lags(spec, cities, W, None, None), ())
    point = ShapePoint(found := shape_estimate(design.shape, design.values))
    on = np.ix_(design.shape.active, design.shape.active)
    left = point.traces.excess_of_effects
    cov, _ = sandwiched(expected_derivative(point, left)[on], score_variance(point, left)[on])
    errors = dict(zip((*spec.terms, *spec.spatial_terms), np.sqrt(np.diag(cov)), strict=False))
    for name, (value, error) in CITIES[case].items():
        assert (found.rho if name == "rho" else found.lam) == pytest.approx(value, abs=1e-7)
        assert errors[name] == pytest.approx(error, abs=2e-6)


def dense_of(panel, spec, weights, dummies):
    """:class:`Dense` of a panel: rows by hand, dummies by pandas, blocks put on the diagonal."""
    table = panel.frame()
    table = table[table[["y", "x", "z"]].notna().all(axis=1)]
    blocks = {}
    for name, by_period in weights.items():
        parts = []
        for period, rows in table.groupby("period"):
            W = by_period[period]
            at = W.ids.get_indexer(rows["unit"])
            block = W.matrix.toarray()[np.ix_(at, at)]
            sums = block.sum(axis=1, keepdims=True)
            parts.append(np.divide(block, sums, out=np.zeros_like(block), where=sums > 0))
        blocks[name] = linalg.block_diag(*parts)
    X = table[["x", "z"]].to_numpy()
    Z = np.hstack([X, blocks["x"] @ X[:, [spec.x.index(name) for name in spec.lag_x]]])
    D = np.hstack(
        [
            pd.get_dummies(table[list(names)].astype(str).agg("|".join, axis=1)).to_numpy(float)
            for names in dummies
        ]
    )
    zero = np.zeros((len(table), len(table)))
    lags = (blocks["y"] if spec.lag_y else zero, blocks["error"] if spec.lag_error else zero)
    return Dense(table["y"].to_numpy(), Z, *lags, D)


def test_fits_equal_a_dense_estimator(uneven, ring, second):
    """Late units, holes, W that changes, another W for x and for the error, province × year: roots and errors."""
    years = uneven.periods
    changing = zb.weights.by_period({p: ring if p < 2013 else second for p in years})
    same = dict.fromkeys(years, ring)
    cases = [
        ({}, ring, {}, {"y": same, "x": same}, [("unit",), ("period",)]),
        ({}, changing, {"W_x": ring}, {"y": changing.weights, "x": same}, [("unit",), ("period",)]),
        (
            {"fixed_effects": ["unit", "province*period"], "lag_error": True, "lag_x": ["x"]},
            ring,
            {"W_error": second},
            {"y": same, "x": same, "error": dict.fromkeys(years, second)},
            [("unit",), ("province", "period")],
        ),
    ]
    for options, W, own, weights, dummies in cases:
        spec = DurbinSpec("y", ["x", "z"], **options)
        fit = fit_durbin(spec, uneven, W, **own)
        assert fit.estimator == "adjusted_score"
        dense = dense_of(uneven, spec, weights, dummies)
        on = [
            i for i, used in enumerate([*[True] * len(spec.terms), spec.lag_y, spec.lag_error, True]) if used
        ]

        def scores(p, dense=dense, on=on):
            full = np.zeros(on[-1] + 1)
            full[on] = p
            return dense.scores(full)[on]

        root = scipy.optimize.root(scores, fit.params.to_numpy() + 0.01, tol=1e-12)
        np.testing.assert_allclose(fit.params, root.x, atol=DENSE)
        assert fit.nobs == dense.N - dense.r
        assert np.isfinite(fit.residuals).sum() == dense.N
        direct, _, total = average_effects_at(fit, fit.params.to_numpy())[0]
        Wy = dense.W
        Wx = linalg.block_diag(*[fit.design.rows_x.distinct[d].toarray() for d in fit.design.rows_x.which])
        E = np.linalg.solve(
            np.eye(dense.N) - fit.params["rho"] * Wy,
            fit.params["x"] * np.eye(dense.N) + fit.params["W_x"] * Wx,
        )
        assert direct == pytest.approx(np.trace(E) / dense.N, rel=DENSE)
        assert total == pytest.approx(E.sum() / dense.N, rel=DENSE)
        theta, steps = fit.params.to_numpy(), np.eye(len(fit.params)) * 1e-6
        slopes = [
            (average_effects_at(fit, theta + s) - average_effects_at(fit, theta - s)) / 2e-6 for s in steps
        ]
        np.testing.assert_allclose(effects_gradient(fit), np.stack(slopes, axis=-1), atol=1e-7)


def test_the_shape_chooses_the_estimator(panel, uneven, ring, second):
    """Maximum likelihood wherever it reaches, the score elsewhere, and ``glance()`` says why."""
    spec = DurbinSpec("y", ["x", "z"])
    one = fit_durbin(spec, panel, ring)
    same = zb.weights.by_period(dict.fromkeys(panel.periods, ring))
    for W, own in ((same, {}), (ring, {"W_x": ring}), (ring, {"W_x": same})):
        other = fit_durbin(spec, panel, W, **own)
        assert other.estimator == "lee_yu"
        np.testing.assert_array_equal(other.params, one.params)
    assert "reason" not in one.glance()
    listed = fit_durbin(DurbinSpec("y", ["x", "z"], fixed_effects=["unit", "time"]), panel, ring)
    assert listed.spec.fixed_effects == "two_way"
    spectral = zb.as_weights(links(1, 2, seed=4), ids=UNITS, label="spectral").standardise("spectral")
    reasons = {
        "absent": fit_durbin(spec, uneven, ring),
        "differs by period": fit_durbin(
            spec, panel, zb.weights.by_period({p: ring if p < 2012 else second for p in panel.periods})
        ),
        "its own for x": fit_durbin(spec, panel, ring, W_x=second),
        "beside those of units": fit_durbin(
            DurbinSpec("y", ["x", "z"], fixed_effects=["unit", "period", "unit*trend"]), panel, ring
        ),
        "do not sum to one": fit_durbin(spec, panel, spectral),
    }
    for word, fit in reasons.items():
        row = fit.glance().iloc[0]
        assert row["estimator"] == "adjusted_score"
        assert word in row["reason"]
        assert fit.converged
        assert word in fit.summary()
        assert spatial_effects(fit).reason is None
    assert reasons["absent"].glance()["rows"].iloc[0] == 50
    assert reasons["absent"].estimator_asked == "lee_yu"
    assert (
        fit_durbin(DurbinSpec("y", ["x", "z"], fixed_effects="unit"), panel, spectral).estimator == "lee_yu"
    )


@pytest.mark.parametrize("covariance", ["sandwich", "cluster", "cr1", "driscoll_kraay"])
def test_covariances_of_a_shape(uneven, ring, covariance):
    fit = fit_durbin(DurbinSpec("y", ["x", "z"]), uneven, ring, covariance=covariance)
    assert fit.converged
    table = fit.tidy().set_index("term").drop(index="sigma2")
    assert np.isfinite(table.drop(columns="df", errors="ignore").to_numpy()).all()
    assert ("df" in table) == (covariance in ("cluster", "cr1"))
    effects = spatial_effects(
        fit
    )  # with few degrees of freedom the interval of ρ reaches the end of its region
    assert (
        effects.reason is not None
        if covariance == "cluster"
        else np.isfinite(effects.tidy()["std_error"]).all()
    )


def test_effects_by_period(uneven, ring):
    fit = fit_durbin(DurbinSpec("y", ["x", "z"]), uneven, ring)
    table = spatial_effects(fit, by="period").tidy()
    assert list(table.columns[:3]) == ["period", "term", "effect"]
    counts = fit.design.present.sum(axis=1)
    direct = table[(table["term"] == "x") & (table["effect"] == "direct")]["estimate"].to_numpy()
    overall = spatial_effects(fit).tidy()["estimate"].iloc[0]
    assert (counts * direct).sum() / counts.sum() == pytest.approx(overall)
    period = zb.effects_by_unit(fit, "x", period=2011)
    assert len(period) == counts[1]
    assert period["direct"].mean() == pytest.approx(direct[1])
    with pytest.raises(SpecificationError, match="2010"):
        zb.effects_by_unit(fit, "x")
    with pytest.raises(SpecificationError, match="average"):
        spatial_effects(fit, by="year")


def test_refusals(panel, uneven, ring, second):
    spec = DurbinSpec("y", ["x", "z"])
    with pytest.raises(DataError, match="robust_score"):
        fit_durbin(spec, uneven, ring, "robust_score")
    with pytest.raises(SpecificationError, match="W_error"):
        fit_durbin(spec, panel, ring, W_error=second)
    with pytest.raises(SpecificationError, match="W_x"):
        fit_durbin(DurbinSpec("y", ["x", "z"], lag_x=[]), panel, ring, W_x=second)
    with pytest.raises(SpecificationError, match="hessian"):
        fit_durbin(spec, uneven, ring, covariance="hessian")
    with pytest.raises(SpecificationError, match=r"unit\*period"):
        fit_durbin(DurbinSpec("y", ["x", "z"], fixed_effects=["unit*period"]), panel, ring)
    with pytest.raises(DataError, match="provinces"):
        fit_durbin(DurbinSpec("y", ["x", "z"], fixed_effects=["unit", "provinces*period"]), panel, ring)
    with pytest.raises(DataError, match="province"):
        fit_durbin(DurbinSpec("y", ["x", "province"], fixed_effects=["unit", "province*period"]), panel, ring)
    with pytest.raises(SpecificationError, match="two_way"):
        DurbinSpec("y", ["x"], fixed_effects=["two_way", "province"])
    with pytest.raises(DataError, match="time_lag"):
        fit_durbin(DurbinSpec("y", ["x"], time_lag=True), uneven, ring)
    fit = fit_durbin(spec, uneven, ring)
    with pytest.raises(SpecificationError, match="adjusted score"):
        zb.median_unbiased(fit)


def test_a_note_says_what_is_left_out(uneven, ring):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpatialZbWarning)
        fit = fit_durbin(DurbinSpec("y", ["x", "z"]), uneven, ring)
    kinds = [note.kind for note in fit.notes]
    assert rows_left_out in kinds
    assert neighbours_absent in kinds
    assert caught


def test_a_dropped_period_and_unit_are_no_rows(frame, ring):
    """A period without rows and a unit that is never complete are not counted."""
    table = frame.copy()
    table.loc[table["year"] == 2011, "x"] = np.nan
    table.loc[table["unit"] == "u03", "z"] = np.nan
    found = fit_durbin(
        DurbinSpec("y", ["x", "z"]), zb.build_panel(table, "unit", "year", units=UNITS, balance="keep"), ring
    )
    kept = frame[(frame["year"] != 2011) & (frame["unit"] != "u03")]
    left = zb.build_panel(kept, "unit", "year")
    plain = fit_durbin(DurbinSpec("y", ["x", "z"]), left, ring.subset(left.units))
    assert found.glance()[["n_units", "n_periods"]].to_numpy().tolist() == [[n - 1, T - 1]]
    np.testing.assert_allclose(found.params, plain.params, atol=SAME)


def test_another_weights_of_the_error_equals_spatialreg():
    """A cross-section with W of y and another of the error: sacsarlm with listw2, estimates and standard errors."""
    folder = Path(__file__).parents[1] / "reference" / "columbus"
    data = pd.read_csv(folder / "data.csv", dtype={"NEIG": str})
    edges, ids = pd.read_csv(folder / "edges.csv", dtype=str), list(data["NEIG"])
    A = np.zeros((len(ids), len(ids)))
    A[[ids.index(i) for i in edges["i"]], [ids.index(j) for j in edges["j"]]] = 1
    second = ((A @ A > 0) & (A == 0)) * 1.0
    np.fill_diagonal(second, 0)
    W, W_error = (zb.as_weights(M, ids=ids, label=str(i)).standardise() for i, M in enumerate((A, second)))
    panel = zb.build_panel(data.assign(year=1), "NEIG", "year", units=ids)
    spec = DurbinSpec("CRIME", ["INC", "HOVAL"], lag_x=[], lag_error=True, fixed_effects="none")
    fit = fit_durbin(spec, panel, W, W_error=W_error)
    expected = pd.read_csv(folder / "two_weights.csv").set_index("param").loc[list(fit.params.index)]
    np.testing.assert_allclose(
        fit.params, expected["estimate"], rtol=3e-7, atol=1e-7
    )  # where its optimiser stops
    np.testing.assert_allclose(fit.bse.iloc[:-1], expected["se"].iloc[:-1].astype(float), rtol=1e-6)


def test_sets_and_replicates(uneven, ring):
    """The score set holds the estimate and ends where the score test does; replicates are fits of the same rows."""
    fit = fit_durbin(DurbinSpec("y", ["x", "z"]), uneven, ring)
    found = zb.profile_interval(fit)
    assert fit.params["rho"] in found
    score = ShapeScore(fit.design.shape, fit.design.values)
    for end in {*found.pieces[0]} - {*found.bounds}:
        assert score_statistic(score, end, clustered=False) == pytest.approx(found.critical, abs=1e-3)
    clustered = fit_durbin(DurbinSpec("y", ["x", "z"]), uneven, ring, covariance="cluster")
    assert zb.profile_interval(clustered).pieces != found.pieces
    boot = zb.bootstrap(fit, replicates=99, rng=1)
    assert boot.tidy()["std_error"].iloc[0] == pytest.approx(fit.bse["x"], rel=0.5)
    lean, drawn = lean_of(shape_estimate(score.shape, score.y)), boot.tidy().set_index("term")
    for name, by in {"rho": lean.of, "W_x": lean.delta[2]}.items():
        assert by == pytest.approx(drawn["bias"][name], abs=3 * drawn["std_error"][name] / 99**0.5)
    again = source_of(fit).estimate(fit.design.values)
    np.testing.assert_allclose(again.params, fit.params, atol=SAME)
    with pytest.raises(SpecificationError, match="period"):
        zb.bootstrap(fit, replicates=99, scheme="period")


@pytest.mark.parametrize("model", ["SDM", "SDEM"])
def test_the_lean_is_said_of_a_complete_panel_too(model):
    """36 units, 8 periods: by the likelihood and by the adjusted score the same numbers; with 48 nothing."""
    size = 36
    A = sum(np.eye(size, k=way * step) for step in (1, 2, 3) for way in (1, -1))
    W = zb.as_weights(A, ids=[f"u{i:02d}" for i in range(size)], label="band").standardise()

    def told(periods):
        values = np.random.default_rng(5).normal(size=(periods, size, 3))
        own = zb.Panel(values, tuple(range(2010, 2010 + periods)), W.ids, ("y", "x", "z"))
        spec = DurbinSpec("y", ["x", "z"], **MODELS[model])
        there = fit_shape(build_shape(spec, own, read_lags(spec, own, W, None, None), ()), "information")
        fits = fit_durbin(spec, own, W), there
        return [[dict(note.numbers) for note in fit.notes if note.kind is leans] for fit in fits]

    [one], [two] = told(8)
    assert one["of"] == two["of"] == ("ρ" if model == "SDM" else "λ")
    for name in ("by", "share"):
        assert one[name] == pytest.approx(two[name], rel=1e-6)
    assert told(48) == [[], []]


@pytest.fixture(scope="module")
def gns(uneven, ring, second):
    """Uneven, W that changes, a W of its own for x and for the error."""
    by_year = zb.weights.by_period({2010 + t: ring if t < 3 else second for t in range(T)})
    spec = DurbinSpec("y", ["x", "z"], lag_x=["x"], lag_error=True)
    return fit_durbin(spec, uneven, by_year, W_x=second, W_error=ring)


def test_orders_add_up_to_the_effect(uneven, ring, second):
    """Round by round with W_t and a W of x: powers of the block-diagonal W of all rows, and in the limit the effect."""
    by_year = zb.weights.by_period({2010 + t: ring if t < 3 else second for t in range(T)})
    fit = fit_durbin(DurbinSpec("y", ["x", "z"], lag_x=["x"]), uneven, by_year, W_x=second)
    found = zb.effects_by_order(fit, 60).set_index(["order", "term", "effect"])
    W, Wx = fit.design.shape.W.matrix.toarray(), fit.design.rows_x.matrix.toarray()
    rho, beta, theta = fit.params[["rho", "x", "W_x"]]
    E = np.linalg.matrix_power(rho * W, 2) @ (beta * np.eye(len(W)) + theta * Wx)
    assert found.loc[(2, "x", "direct"), "estimate"] == pytest.approx(np.trace(E) / len(E))
    assert found.loc[(2, "x", "total"), "estimate"] == pytest.approx(E.sum() / len(E))
    whole = spatial_effects(fit).tidy().set_index(["term", "effect"])
    last = found.loc[60].loc[whole.index]
    for mine, theirs in (("cumulative", "estimate"), ("cumulative_std_error", "std_error")):
        np.testing.assert_allclose(last[mine], whole[theirs], rtol=1e-7)


def test_a_scenario_is_of_one_period(gns):
    """The effect matrix of the period times the change; absent units neither change nor are changed."""
    units = gns.panel.units[gns.design.present[1]]
    changes = {units[1]: {"x": 0.5}, units[4]: {"x": -0.2, "z": 1.0}}
    found = zb.scenario(gns, changes, period=2011)
    table = found.tidy().set_index("unit")
    dx = {name: np.array([changes.get(u, {}).get(name, 0.0) for u in units]) for name in ("x", "z")}
    expected = sum(zb.effect_matrix(gns, k, period=2011).to_numpy() @ d for k, d in dx.items())
    np.testing.assert_allclose(table.loc[units, "change"], expected, atol=1e-12)
    assert len(table) == len(units)
    assert found.glance()["period"].iloc[0] == 2011
    everyone = zb.scenario(gns, {u: {"x": 1.0} for u in units}, period=2011).tidy()
    total = (
        spatial_effects(gns, by="period")
        .tidy()
        .query("period == '2011' and term == 'x' and effect == 'total'")
    )
    assert everyone["change"].mean() == pytest.approx(total["estimate"].iloc[0])
    with pytest.raises(DataError, match="absent"):
        zb.scenario(gns, {UNITS[0]: {"x": 1.0}}, period=2010)
    with pytest.raises(SpecificationError, match="period"):
        zb.scenario(gns, changes)


def test_a_period_is_for_fits_by_period(panel, ring):
    with pytest.raises(SpecificationError, match="period"):
        zb.scenario(fit_durbin(DurbinSpec("y", ["x"]), panel, ring), {UNITS[0]: {"x": 1.0}}, period=2011)


def test_predictions_of_any_shape(gns):
    """Trend with explicit dummies; TS leaves the residuals of the fit, TC and BP by dense matrices."""
    design, p = gns.design, gns.params
    y, W, V = design.values, design.shape.W.matrix.toarray(), design.shape.V.matrix.toarray()
    rho, lam = p["rho"], p["lam"]
    S, B = np.eye(len(y)) - rho * W, np.eye(len(y)) - lam * V
    rest = S @ y - design.shape.Z @ p[["x", "z", "W_x"]].to_numpy()
    D = design.shape.effects.full
    alpha = np.linalg.lstsq(B @ D, B @ rest, rcond=None)[0]
    trend = design.shape.Z @ p[["x", "z", "W_x"]].to_numpy() + D @ alpha
    TC = np.linalg.solve(S, trend)
    Q = S.T @ B.T @ B @ S
    expected = {
        "TS": trend + rho * W @ y + lam * V @ (S @ y - trend),
        "TC": TC,
        "BP": TC - (Q - np.diag(np.diag(Q))) @ (y - TC) / np.diag(Q),
    }
    for kind, values in expected.items():
        table = zb.predict(gns, kind=kind).tidy()
        np.testing.assert_allclose(table["predicted"], values, atol=1e-9)
        np.testing.assert_allclose(table["y"], y)
    np.testing.assert_allclose(
        zb.predict(gns, kind="TS").tidy()["residual"], gns.residuals[design.present], atol=1e-9
    )
    assert list(table["unit"]) == list(np.asarray(gns.panel.units)[np.nonzero(design.present)[1]])
    with pytest.raises(SpecificationError, match="rows"):
        zb.predict(gns, gns.panel)


WIDE = {
    "SDM": ({}, ["cr1", "cr2", "driscoll_kraay"], {}),
    "SDEM": ({"lag_y": False, "lag_error": True}, ["information", "cr1"], {}),
    "SAC": (
        {"lag_x": [], "lag_error": True},
        ["information", "cr1", "driscoll_kraay"],
        {"W_error": "second"},
    ),
}


@pytest.mark.parametrize("model", WIDE)
def test_wide_periods_are_estimated_as_others(uneven, ring, second, monkeypatch, model):
    """More units than dense filters are for: sparse factors, and probes for what is summed over pairs of units."""
    options, covariances, own = WIDE[model]
    own = dict.fromkeys(own, second)
    spec = DurbinSpec("y", ["x", "z"], **options)
    dense = {name: fit_durbin(spec, uneven, ring, covariance=name, **own) for name in covariances}
    take_the_sparse_road(monkeypatch)
    for name, exact in dense.items():
        fit = fit_durbin(spec, uneven, ring, covariance=name, **own)
        np.testing.assert_allclose(fit.params, exact.params, atol=SAME)
        rtol = 0.01 if name in ("cr1", "cr2") else 1e-7  # pairs of units are summed by probes
        np.testing.assert_allclose(fit.bse.drop("sigma2"), exact.bse.drop("sigma2"), rtol=rtol, err_msg=name)
        assert fit.convergence["probe_error"] > 0
    assert correlated_over_time not in [note.kind for note in fit.notes]
    if model != "SDEM":
        np.testing.assert_allclose(
            spatial_effects(fit).tidy()["estimate"], spatial_effects(exact).tidy()["estimate"], rtol=1e-7
        )


def test_refusals_of_wide_periods(uneven, ring, monkeypatch):
    spec = DurbinSpec("y", ["x", "z"], lag_error=True)
    take_the_sparse_road(monkeypatch)
    for covariance, remedy in (("cr2", "cr1"), ("cluster", "cr1"), ("sandwich", "driscoll_kraay")):
        with pytest.raises(SpecificationError, match=remedy):
            fit_durbin(spec, uneven, ring, covariance=covariance)
    with pytest.raises(SpecificationError, match="conf_int"):
        zb.profile_interval(fit_durbin(DurbinSpec("y", ["x", "z"]), uneven, ring))


def test_a_model_without_lags_takes_a_w_by_period(panel, ring, second):
    """W is not used: least squares, whatever W is."""
    turning = zb.weights.by_period({t: ring if t % 2 else second for t in panel.periods})
    spec = DurbinSpec("y", ["x", "z"], **MODELS["OLS"])
    found, usual = (fit_durbin(spec, panel, W).tidy() for W in (turning, ring))
    np.testing.assert_allclose(found["std_error"], usual["std_error"], rtol=1e-9)
    with pytest.raises(SpecificationError, match="trends alone"):
        DurbinSpec("y", ["x"], fixed_effects=["unit*trend"])


def test_every_covariance_is_the_dense_one(panel, uneven, ring, second):
    """Rows that come and go, W that changes, a W for each lag, province × year; a complete panel."""
    turning = zb.weights.by_period({t: ring if t < 2013 else second for t in uneven.periods})
    cases = [
        (uneven, {}, turning, None, ["unit", "period"]),
        (uneven, MODELS["SAC"], ring, second, ["unit", "province*period"]),
        (uneven, MODELS["SDEM"], turning, None, ["unit"]),
        (panel, MODELS["SEM"], ring, None, ["unit", "period"]),
    ]
    near = (np.eye(n) + second.matrix.toarray()) @ (np.eye(n) + second.matrix.toarray()).T
    near /= np.sqrt(np.outer(near.diagonal(), near.diagonal()))
    for given, options, W, W_error, effects in cases:
        spec = DurbinSpec("y", ["x", "z"], fixed_effects=effects, **options)
        design = build_shape(spec, given, read_lags(spec, given, W, None, W_error), ("rows",))
        by_year = W.weights if W is turning else dict.fromkeys(given.periods, W)
        lags = {"y": by_year, "x": by_year}
        lags["error"] = by_year if W_error is None else dict.fromkeys(given.periods, W_error)
        dense = dense_of(given, spec, lags, [tuple(name.split("*")) for name in effects])
        flags = [*[True] * len(spec.terms), spec.lag_y, spec.lag_error, True]
        on = [i for i, used in enumerate(flags) if used]
        p, slope = np.zeros(len(flags)), None
        period, unit = np.nonzero(design.present)
        for kind in ("information", "sandwich", "cr1", "cr2", "driscoll_kraay", "conley"):
            fit = fit_shape(design, kind, kernel=DistanceKernel(csr_array(near), 1.0), noted=False)
            p[on] = fit.params
            slope = dense.slope(p) if slope is None else slope
            expected = dense.covariance(p, slope, kind, on, unit, period, near)
            found = fit.cov.to_numpy()[: len(expected), : len(expected)]
            scale = np.sqrt(np.outer(expected.diagonal(), expected.diagonal()))
            np.testing.assert_allclose(found / scale, expected / scale, atol=DENSE, err_msg=kind)


def test_robust_errors_are_those_of_the_likelihood_where_both_apply(panel, ring):
    for model in ("SDM", "SDEM", "GNS"):
        spec = DurbinSpec("y", ["x", "z"], **MODELS[model])
        design = build_shape(spec, panel, read_lags(spec, panel, ring, None, None), ())
        for kind in ("sandwich", "cr1", "cr2", "driscoll_kraay"):
            fit, again = fit_durbin(spec, panel, ring, covariance=kind), fit_shape(design, kind, noted=False)
            np.testing.assert_allclose(again.bse[:-1], fit.bse[:-1], rtol=SAME, err_msg=f"{model} {kind}")


def test_errors_that_last_are_told_beside_lambda(ring):
    """Units unevenly present, autocorrelation 0.9: said of a model with λ under clustered errors too, not of an SDM."""
    r, periods = np.random.default_rng(12), 20
    e = r.normal(size=(periods, n))
    for t in range(1, periods):
        e[t] += 0.9 * e[t - 1]
    table = pd.DataFrame([(u, 2000 + t) for t in range(periods) for u in UNITS], columns=["unit", "year"])
    x = r.normal(size=len(table))
    table = table.assign(x=x, y=x + e.ravel())[~(table["unit"].isin(UNITS[:5]) & (table["year"] < 2003))]
    late = zb.build_panel(table, "unit", "year", units=UNITS, balance="keep")
    for model, told in (("SEM", 1), ("SAR", 0)):
        fit = fit_durbin(DurbinSpec("y", ["x"], **MODELS[model]), late, ring, covariance="cr1")
        said = [note for note in fit.notes if note.kind is lasting_moves]
        assert len(said) == told
        assert all("SDM" in str(note) and "λ" in str(note) for note in said)
