"""Scenarios: effect matrix times change, paths by brute force, derivatives and limits; predictions and back-tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_examples import MUTUAL, rook, weights_of

import spatial_zb as zb
from spatial_zb.core.system.paths import path_slopes, paths
from spatial_zb.effects.scenarios import _among, _checked, _delta, _process
from spatial_zb.effects.system import system_effect_matrix

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")

REFERENCE = Path(__file__).resolve().parents[1] / "reference" / "columbus"
EXACT = 1e-10  # the same number by another way
DYNAMIC = zb.simulate.Process(tau=0.5, eta=0.1)
CHANGES = {"u003": {"x1": 0.1, "x2": -0.3}, "u010": {"x1": 1.0}}


@pytest.fixture(scope="module")
def W() -> zb.Weights:
    return weights_of(rook(5, 6), "rook")


@pytest.fixture(scope="module")
def panel(W) -> zb.Panel:
    return zb.simulate.durbin(W, 9, {"x1": 1.0, "x2": -0.7}, theta={"x1": 0.6}, rho=0.4, rng=3)


@pytest.fixture(scope="module")
def fit(W, panel) -> zb.models.fit.Fit:
    return zb.fit_durbin(zb.DurbinSpec("y", ["x1", "x2"]), panel, W, covariance="cluster")


@pytest.fixture(scope="module")
def system(W) -> zb.models.system.fit.SystemFit:
    spec = zb.SystemSpec(
        {
            "industry": zb.Equation("ind", ["tal"], ["a"], lag_x=["a"]),
            "talent": zb.Equation("tal", ["ind"], ["c"]),
        },
        "two_way",
    )
    truth = zb.simulate.Truth(MUTUAL | {("industry", "W_a"): 0.4}, sigma=np.array([[1.0, 0.5], [0.5, 1.0]]))
    return zb.fit_system(spec, zb.simulate.system(spec, W, 10, truth, rng=5), W, "fiml", covariance="cluster")


def vector(units, changes, name) -> np.ndarray:
    return np.array([changes.get(unit, {}).get(name, 0.0) for unit in units])


# Scenarios ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "family", [{}, {"lag_y": False}, {"lag_x": []}, {"lag_y": False, "lag_x": [], "lag_error": True}]
)
def test_it_is_the_effect_matrix_times_the_change(W, panel, family):
    fit = zb.fit_durbin(zb.DurbinSpec("y", ["x1", "x2"], **family), panel, W)
    found = zb.scenario(fit, CHANGES).tidy()
    expected = sum(
        zb.effect_matrix(fit, name).to_numpy() @ vector(W.ids, CHANGES, name) for name in ("x1", "x2")
    )
    assert found["change"].to_numpy() == pytest.approx(expected, abs=EXACT)
    assert list(found.columns) == ["unit", "response", "change", "std_error", "conf_low", "conf_high"]
    never = found["change"] == 0
    assert (found.loc[never, ["std_error", "conf_low", "conf_high"]] == 0).all(axis=None)
    assert (found.loc[~never, "std_error"] > 0).all()


def test_everyone_changing_is_the_total_effect_with_its_limits(fit, W):
    """A change of one in all units: the mean over them is the total effect, and so is its error."""
    found = zb.scenario(fit, {unit: {"x1": 1.0} for unit in W.ids}).tidy()
    total = zb.spatial_effects(fit).tidy().query("term == 'x1' and effect == 'total'").iloc[0]
    for column in ("std_error", "conf_low", "conf_high"):
        assert found[column].to_numpy() == pytest.approx(total[column], rel=1e-7)
    assert found["change"].to_numpy() == pytest.approx(total["estimate"], abs=EXACT)


def test_a_system_is_its_matrices_times_the_changes(system, W):
    changes = {"u003": {"a": 0.4, "tal": 0.1}, "u020": {"shock:industry": -0.2, "talent": 0.3}}
    found = zb.scenario(system, changes).tidy()
    shocks = {
        "a": vector(W.ids, changes, "a"),
        "shock:talent": vector(W.ids, changes, "tal") + vector(W.ids, changes, "talent"),
        "shock:industry": vector(W.ids, changes, "shock:industry"),
    }
    for response in ("industry", "talent"):
        expected = sum(
            system_effect_matrix(system, response, name).to_numpy() @ d for name, d in shocks.items()
        )
        own = found[found["response"] == response]["change"].to_numpy()
        assert own == pytest.approx(expected, abs=EXACT)
    assert list(zb.scenario(system, changes).glance()["response"]) == ["industry", "talent"]


def test_everyone_shocked_is_the_total_effect_of_the_system(system, W):
    found = zb.scenario(system, {unit: {"tal": 1.0} for unit in W.ids}).tidy()
    total = (
        zb.spatial_effects(system)
        .tidy()
        .query("source == 'shock:talent' and effect == 'total'")
        .set_index("response")
    )
    for response in ("industry", "talent"):
        own = found[found["response"] == response]
        for mine, theirs in {"change": "estimate", "std_error": "std_error", "conf_low": "conf_low"}.items():
            assert own[mine].to_numpy() == pytest.approx(total.loc[response, theirs], rel=1e-6)


def test_a_path_over_time_is_what_simulation_gives(W):
    spec = zb.DurbinSpec("y", ["x1"], time_lag=True, lag_time_lag=True)
    panel = zb.simulate.durbin(W, 12, {"x1": 1.0}, theta={"x1": 0.5}, rho=0.3, process=DYNAMIC, rng=2)
    fit = zb.fit_durbin(spec, panel, W)
    dense, p, one = W.matrix.toarray(), fit.params, np.eye(W.n)
    S, A = one - p["rho"] * dense, p["tau"] * one + p["eta"] * dense
    dx = vector(W.ids, {"u003": {"x1": 0.2}}, "x1")
    for change in ("permanent", "one_off"):
        found = zb.scenario(fit, {"u003": {"x1": 0.2}}, 4, change=change).tidy()
        y = np.zeros(W.n)
        for h in range(5):
            moved = dx if h == 0 or change == "permanent" else 0 * dx
            y = np.linalg.solve(S, A @ y + p["x1"] * moved + p["W_x1"] * (dense @ moved))
            assert found[found["horizon"] == h]["change"].to_numpy() == pytest.approx(y, abs=EXACT)
    whole = zb.scenario(fit, {unit: {"x1": 1.0} for unit in W.ids}).tidy()
    path = zb.effects_path(fit, 10).tidy().query("effect == 'total'")
    last = whole[whole["horizon"] == 10].iloc[0]
    for mine, theirs in {"change": "estimate", "std_error": "std_error", "conf_high": "conf_high"}.items():
        assert last[mine] == pytest.approx(path.iloc[-1][theirs], rel=1e-5)


@pytest.fixture(scope="module")
def dynamic_system(W) -> zb.models.system.fit.SystemFit:
    spec = zb.SystemSpec(
        {"industry": zb.Equation("ind", ["tal"], ["a"]), "talent": zb.Equation("tal", x=["c"], lag_x=["c"])},
        time_lag=True,
        lag_time_lag=True,
    )
    truth = {
        ("industry", "L_ind"): 0.5,
        ("industry", "tal"): 0.2,
        ("industry", "W_ind"): 0.2,
        ("industry", "a"): 1.0,
        ("talent", "L_tal"): 0.4,
        ("talent", "L_ind"): 0.2,
        ("talent", "c"): 1.0,
        ("talent", "W_c"): 0.5,
    }
    return zb.fit_system(spec, zb.simulate.system(spec, W, 9, truth, rng=2), W)


def test_a_system_over_time_is_its_impulse_responses_and_what_simulation_gives(dynamic_system, W):
    fit = dynamic_system
    one = zb.scenario(fit, {"u007": {"tal": 1.0}}, 4, change="one_off").tidy()
    pulse = zb.impulse_responses(fit, 4, source="talent", at="u007").tidy()
    keys = ["response", "horizon", "unit"]
    both = one.merge(pulse, on=keys, suffixes=("", "_pulse"))
    assert len(both) == len(one) == len(pulse)
    assert both["change"].to_numpy() == pytest.approx(both["estimate"].to_numpy(), abs=1e-9)
    assert both["std_error"].to_numpy() == pytest.approx(
        both["std_error_pulse"].fillna(0.0).to_numpy(), abs=1e-7
    )
    p, dense, eye = fit.params, W.matrix.toarray(), np.eye(W.n)
    value = lambda equation, term: float(p.get((equation, term), 0.0))  # noqa: E731
    names, ys = ("industry", "talent"), ("ind", "tal")
    now = [[value(g, y) * eye + value(g, f"W_{y}") * dense for y in ys] for g in names]
    before = [[value(g, f"L_{y}") * eye + value(g, f"L_W_{y}") * dense for y in ys] for g in names]
    S, A = np.eye(2 * W.n) - np.block(now), np.block(before)
    moved = vector(W.ids, {"u003": {"c": 0.4}}, "c")
    right = np.concatenate([value(g, "c") * moved + value(g, "W_c") * (dense @ moved) for g in names])
    found, y = zb.scenario(fit, {"u003": {"c": 0.4}}, 3).tidy(), np.zeros(2 * W.n)
    for h in range(4):
        y = np.linalg.solve(S, A @ y + right)
        assert found[found["horizon"] == h]["change"].to_numpy() == pytest.approx(y, abs=EXACT)


@pytest.mark.parametrize("which", ["fit", "system"])
def test_derivatives_are_those_of_differences(which, request):
    fit = request.getfixturevalue(which)
    changes = {"u003": {"x1" if which == "fit" else "a": 0.4}} | (
        {"u004": {"tal": 1.0}} if which == "system" else {}
    )
    at = _among(fit, None)
    process = _process(fit, at, _checked(fit, at.units, changes), True)
    delta = _delta(fit)
    _, slopes = path_slopes(process, delta, 0)
    for j, step in enumerate(np.eye(len(delta)) * 1e-6):
        numeric = (paths(process, delta + step, 0) - paths(process, delta - step, 0)) / 2e-6
        assert slopes[..., j] == pytest.approx(numeric, abs=1e-7)


def test_percentiles_of_a_bootstrap_on_request(fit):
    boot = zb.bootstrap(fit, 99, rng=1)
    found, plain = zb.scenario(fit, CHANGES, bootstrap=boot), zb.scenario(fit, CHANGES)
    assert (found.glance()["method"].iloc[0], found.glance()["replicates"].iloc[0]) == ("bootstrap", 99)
    assert found.tidy()["change"].equals(plain.tidy()["change"])
    row = found.tidy().set_index("unit").loc["u003"]
    assert row["conf_low"] < row["change"] < row["conf_high"]
    assert row["std_error"] == pytest.approx(plain.tidy().set_index("unit").loc["u003", "std_error"], rel=0.5)


def test_wrong_scenarios_are_refused(fit, system, W, panel):
    cases = [
        (fit, {}, {}, "by unit and variable"),
        (fit, {"nowhere": {"x1": 1.0}}, {}, "not a unit of this fit"),
        (fit, {"u003": {"x9": 1.0}}, {}, "cannot be changed"),
        (fit, {"u003": {"x1": np.nan}}, {}, "must be a number"),
        (fit, {"u003": {"x1": 1.0}}, {"horizons": 3}, "no lags in time"),
        (fit, {"u003": {"x1": 1.0}}, {"change": "later"}, "change must be one of"),
        (system, {"u003": {"x1": 1.0}}, {}, "cannot be changed"),
    ]
    for model, changes, options, words in cases:
        with pytest.raises(zb.SpatialZbError, match=words):
            zb.scenario(model, changes, **options)
    with pytest.raises(zb.SpecificationError, match="of another fit"):
        zb.scenario(
            fit,
            CHANGES,
            bootstrap=zb.bootstrap(zb.fit_durbin(zb.DurbinSpec("y", ["x1"]), panel, W), 99, rng=1),
        )


# Predictions ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def columbus() -> tuple[zb.Panel, zb.Weights]:
    data = pd.read_csv(REFERENCE / "data.csv", dtype={"NEIG": str}).assign(period=1)
    edges = pd.read_csv(REFERENCE / "edges.csv", dtype={"i": str, "j": str})
    ids = list(data["NEIG"])
    dense = pd.crosstab(edges["i"], edges["j"]).reindex(index=ids, columns=ids, fill_value=0)
    W = zb.as_weights(dense.to_numpy(float), ids).standardise()
    return zb.build_panel(data, "NEIG", "period", units=W.ids), W


@pytest.mark.parametrize(
    ("model", "family"),
    [("SAR", {"lag_x": []}), ("SDM", {}), ("SEM", {"lag_y": False, "lag_x": [], "lag_error": True})],
)
def test_columbus_is_predicted_as_spatialreg_does(columbus, model, family):
    """To 1e-6 of what R's own estimates give: its coefficients and ours differ by its optimiser's tolerance."""
    panel, W = columbus
    expected = pd.read_csv(REFERENCE / "predictions.csv", skipinitialspace=True, dtype={"unit": str})
    expected = expected[expected["model"] == model]
    fit = zb.fit_durbin(zb.DurbinSpec("CRIME", ["INC", "HOVAL"], fixed_effects="none", **family), panel, W)
    kinds = set(expected["kind"]) - {"coefficient"}
    assert kinds == ({"TS"} if model == "SEM" else {"TS", "TC", "BP"})
    for kind in kinds:
        theirs = expected[expected["kind"] == kind].set_index("unit")["value"].reindex(W.ids)
        ours = zb.predict(fit, kind=kind).tidy()
        assert ours["predicted"].to_numpy() == pytest.approx(theirs.to_numpy(), rel=1e-6)


FAMILIES = {
    "SDM": {},
    "SEM": {"lag_y": False, "lag_x": [], "lag_error": True},
    "SAC": {"lag_x": [], "lag_error": True},
    "OLS": {"lag_y": False, "lag_x": []},
}


@pytest.mark.parametrize("effects", ["none", "unit", "time", "two_way"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_signal_leaves_are_the_residuals_of_the_fit(W, panel, family, effects):
    fit = zb.fit_durbin(zb.DurbinSpec("y", ["x1", "x2"], fixed_effects=effects, **FAMILIES[family]), panel, W)
    found = zb.predict(fit, kind="TS")
    assert found.tidy()["residual"].to_numpy() == pytest.approx(fit.residuals.ravel(), abs=1e-8)
    assert found.glance()["rmse"].iloc[0] == pytest.approx(np.sqrt(np.mean(fit.residuals**2)), abs=1e-8)


def test_the_best_prediction_is_the_mean_given_all_others(W, panel):
    """By the normal law of each period: E(y_i | y_j, j ≠ i) from its dense covariance."""
    fit = zb.fit_durbin(zb.DurbinSpec("y", ["x1", "x2"], lag_error=True), panel, W)
    dense, one = W.matrix.toarray(), np.eye(W.n)
    root = np.linalg.inv((one - fit.params["lam"] * dense) @ (one - fit.params["rho"] * dense))
    cov = root @ root.T
    mean, best = (
        zb.predict(fit, kind=kind).tidy()["predicted"].to_numpy().reshape(-1, W.n) for kind in ("TC", "BP")
    )
    y = panel.array("y")
    for i in (0, 7):
        others = np.delete(np.arange(W.n), i)
        weight = np.linalg.solve(cov[np.ix_(others, others)], cov[others, i])
        assert best[2, i] == pytest.approx(mean[2, i] + weight @ (y - mean)[2, others], abs=1e-8)


def test_other_periods_take_the_effects_that_are_known(W, panel):
    """The unit's own effect, and of a new period that of the last one."""
    spec = zb.DurbinSpec("y", ["x1", "x2"], lag_y=False, lag_x=[])
    early = panel.select(periods=panel.periods[:-1])
    fit = zb.fit_durbin(spec, early, W)
    frame = zb.predict(fit, panel).tidy()
    beta = fit.params[["x1", "x2"]].to_numpy()
    linear = panel.array(["x1", "x2"]) @ beta
    rest = early.array("y") - linear[:-1]
    expected = linear[-1] + rest.mean(axis=0) + rest[-1].mean() - rest.mean()
    assert frame[frame["period"] == panel.periods[-1]]["predicted"].to_numpy() == pytest.approx(
        expected, abs=1e-9
    )
    inside = zb.predict(fit).tidy()
    assert frame[frame["period"] < panel.periods[-1]]["predicted"].to_numpy() == pytest.approx(
        inside["predicted"].to_numpy()
    )


def test_lags_in_time_predict_from_the_period_before(W):
    panel = zb.simulate.durbin(W, 10, {"x1": 1.0}, rho=0.3, process=DYNAMIC, rng=5)
    fit = zb.fit_durbin(zb.DurbinSpec("y", ["x1"], time_lag=True, lag_time_lag=True), panel, W)
    found = zb.predict(fit, panel, "TS").tidy()
    assert found["residual"].to_numpy() == pytest.approx(fit.residuals.ravel(), abs=1e-8)
    with pytest.raises(zb.SpecificationError, match="period before"):
        zb.predict(fit)


def test_a_back_test_is_one_fit_for_each_period(W, panel):
    spec = zb.DurbinSpec("y", ["x1", "x2"])
    found = zb.backtest(spec, panel, W, 2).tidy().set_index("period")
    last = panel.periods[-1]
    fit = zb.fit_durbin(spec, panel.select(periods=panel.periods[:-1]), W)
    errors = zb.predict(fit, panel, "TC").tidy().query("period == @last")["residual"]
    walk = panel.array("y")[-1] - panel.array("y")[-2]
    assert found.loc[str(last), "rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)))
    assert found.loc[str(last), "rmse_walk"] == pytest.approx(np.sqrt(np.mean(walk**2)))
    both = found.loc[[str(p) for p in panel.periods[-2:]], "rmse"]
    assert found.loc["all", "rmse"] == pytest.approx(np.sqrt((both**2).mean()))
    assert found.loc["all", "ratio"] < 1  # x moves y at random, a walk cannot know it
    assert (found.loc["all", "verdict"] == "better") == (found.loc["all", "p_value"] < 0.01)
    carried = zb.backtest(spec, panel, W, 1, x="last").tidy()
    assert carried["rmse"].iloc[0] > found.loc[str(last), "rmse"]


def test_wrong_predictions_are_refused(W, panel, fit):
    cases = [
        (lambda: zb.predict(fit, kind="BPN"), "kind must be one of"),
        (lambda: zb.predict(fit, panel.select(units=W.ids[:5])), "must have the units of the fit"),
        (lambda: zb.backtest(fit.spec, panel, W, 9), "whole number from 1 to 6"),
        (lambda: zb.backtest(fit.spec, panel, W, x="next"), "x must be one of"),
        (lambda: zb.predict("fit"), "not str"),
    ]
    for call, words in cases:
        with pytest.raises(zb.SpatialZbError, match=words):
            call()
