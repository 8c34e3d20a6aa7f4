"""Panels from any specification, and what a planned study would find."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_examples import ring
from small_study import write_study

import spatial_zb as zb
from spatial_zb import cli
from spatial_zb.pipeline import planned_power
from spatial_zb.report import figures
from spatial_zb.simulate.planning import PowerStudy, _rows

ROOT = Path(__file__).resolve().parents[2]
#: y recomputed from the structural equation: rounding only.
SAME = 1e-10
TRUTH = {"a": 1.0, "b": -0.5, "W_a": 0.4, "rho": 0.3, "sigma2": 0.49}


def spec(**options) -> zb.DurbinSpec:
    return zb.DurbinSpec("y", ["a", "b"], lag_x=["a"], **options)


def residual(panel: zb.Panel, W: zb.Weights, truth: dict) -> np.ndarray:
    """What is left of y after everything that the truth explains, from the equation written out with a dense W."""
    A = W.matrix.toarray()
    y, a, b = (panel.array(name) for name in ("y", "a", "b"))
    return y - truth.get("rho", 0) * y @ A.T - a * truth["a"] - b * truth["b"] - truth["W_a"] * a @ A.T


def test_without_noise_the_equation_holds():
    W = ring(20)
    truth = TRUTH | {"sigma2": 0.0}
    panel = zb.simulate.panel(spec(), W, 6, zb.simulate.Truth(truth, unit_effects=0, time_effects=0), rng=1)
    assert np.abs(residual(panel, W, truth)).max() < SAME


def test_the_effects_are_those_of_the_specification():
    W = ring(20)
    truth = TRUTH | {"sigma2": 0.0}
    unit = residual(zb.simulate.panel(spec(fixed_effects="unit"), W, 6, truth, rng=1), W, truth)
    assert np.allclose(unit, unit[0], atol=SAME)
    assert np.ptp(unit[0]) > 0.5
    time = residual(zb.simulate.panel(spec(fixed_effects="time"), W, 6, truth, rng=1), W, truth)
    assert np.allclose(time, time[:, [0]], atol=SAME)
    both = residual(zb.simulate.panel(spec(), W, 6, truth, rng=1), W, truth)
    flat = both - both.mean(axis=0) - both.mean(axis=1, keepdims=True) + both.mean()
    assert np.abs(flat).max() < SAME
    none = residual(zb.simulate.panel(spec(fixed_effects="none"), W, 6, truth, rng=1), W, truth)
    assert np.abs(none).max() < SAME


def test_errors_have_their_variance_and_their_spread():
    W = ring(40)
    truth = TRUTH | {"lam": 0.6}
    panel = zb.simulate.panel(spec(lag_error=True, fixed_effects="none"), W, 400, truth, rng=1)
    u = residual(panel, W, truth)
    e = u - 0.6 * u @ W.matrix.toarray().T
    assert e.var() == pytest.approx(0.49, rel=0.03)
    assert np.abs(np.corrcoef(e.ravel(), (e @ W.matrix.toarray().T).ravel())[0, 1]) < 0.03


def test_random_effects_have_the_share_asked_for_and_leave_x_alone():
    W = ring(2000)
    truth = TRUTH | {"phi": 4.0}
    panel = zb.simulate.panel(spec(fixed_effects="random"), W, 12, truth, rng=1)
    u = residual(panel, W, truth)
    between = u.mean(axis=0)
    assert between.var() == pytest.approx(0.49 * (4 + 1 / 12), rel=0.1)
    assert abs(np.corrcoef(between, panel.array("a").mean(axis=0))[0, 1]) < 0.07
    assert u.mean(axis=1).std() < 0.1  # no time effects


def test_unit_effects_that_go_with_the_means_of_x():
    W = ring(400)
    device = spec(fixed_effects="random", mundlak=["b"])
    panel = zb.simulate.panel(device, W, 5, TRUTH | {"mean_b": 2.0, "phi": 0.0}, rng=1)
    u = residual(panel, W, TRUTH).mean(axis=0) - 2.0 * panel.array("b").mean(axis=0)
    assert u.std() < 3 * 0.7 / np.sqrt(5)


def test_lags_in_time_hold():
    W = ring(20)
    truth = TRUTH | {"tau": 0.4, "eta": 0.2, "sigma2": 0.0}
    dynamic = spec(fixed_effects="unit", time_lag=True, lag_time_lag=True)
    panel = zb.simulate.panel(dynamic, W, 6, zb.simulate.Truth(truth, unit_effects=0), rng=1)
    y, A = panel.array("y"), W.matrix.toarray()
    left = residual(panel, W, truth)[1:] - 0.4 * y[:-1] - 0.2 * y[:-1] @ A.T
    assert np.abs(left).max() < SAME
    assert y.std() > 0.5


def test_given_regressors_are_used():
    W = ring(20)
    own = zb.simulate.panel(spec(), W, 6, TRUTH, rng=1)
    again = zb.simulate.panel(spec(), W, 6, zb.simulate.Truth(TRUTH, regressors=own), rng=2)
    assert np.array_equal(own.array("a"), again.array("a"))
    assert not np.array_equal(own.array("y"), again.array("y"))
    with pytest.raises(zb.DataError, match="6 periods"):
        zb.simulate.panel(spec(), W, 7, zb.simulate.Truth(TRUTH, regressors=own))


def test_a_system_is_drawn_as_by_its_own_function():
    system = zb.SystemSpec({"g": zb.Equation("p", ["q"], ["a"]), "h": zb.Equation("q", ["p"], ["b"])})
    truth = {("g", "q"): 0.2, ("g", "a"): 1.0, ("h", "b"): 1.0, ("g", "W_p"): 0.3}
    first = zb.simulate.panel(system, ring(12), 5, truth, rng=3)
    second = zb.simulate.system(system, ring(12), 5, truth, rng=3)
    assert np.array_equal(first.values, second.values)


REFUSED = {
    "stranger": (lambda: zb.simulate.panel(spec(), ring(9), 5, {"c": 1.0}), "parameter c"),
    "variance": (lambda: zb.simulate.panel(spec(), ring(9), 5, {"sigma2": -1.0}), "variance"),
    "periods": (lambda: zb.simulate.panel(spec(), ring(9), 0, TRUTH), "periods"),
    "endogenous": (
        lambda: zb.simulate.panel(
            zb.DurbinSpec("y", ["a"], endog=["e"], instruments=["z"]), ring(9), 5, {"a": 1.0}
        ),
        "endogenous",
    ),
    "few": (lambda: zb.simulate.power(spec(), ring(9), 5, TRUTH, replicates=5), "20"),
    "empty": (lambda: zb.simulate.power(spec(), {}, 5, TRUTH), "W"),
    "mixed": (lambda: zb.simulate.power(spec(), ring(9), 5, {"one": TRUTH, "two": 1.0}), "two"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    call, word = REFUSED[case]
    with pytest.raises(zb.SpecificationError, match=word):
        call()


# --- the study


@pytest.fixture(scope="module")
def study() -> PowerStudy:
    cases = {"none": {"a": 0.5}, "strong": {"a": 0.5, "W_a": 0.6, "rho": 0.4}}
    short = zb.DurbinSpec("y", ["a"])
    return zb.simulate.power(short, {"small": ring(12), "large": ring(40)}, 8, cases, replicates=60, rng=1)


def test_rows_are_settings_times_parameters(study):
    frame = study.tidy()
    assert len(frame) == 2 * 2 * 7
    assert set(frame["parameter"]) == {"a", "W_a", "rho", "sigma2", "a direct", "a indirect", "a total"}
    assert set(frame["n"]) == {12, 40}
    assert frame.loc[frame["truth"] == 0, "power"].isna().all()
    assert frame.loc[frame["truth"] != 0, "size"].isna().all()


def test_numbers_are_those_of_fits_done_by_hand():
    """Four columns of one parameter from the same panels, estimated one by one."""
    short, W = zb.DurbinSpec("y", ["a"], lag_x=[]), ring(12)
    truth = {"a": 0.5, "rho": 0.4}
    found = zb.simulate.power(short, W, 8, truth, replicates=20, rng=7)
    row = found.tidy().set_index("parameter").loc["rho"]
    entropy = [int(word) for word in np.random.SeedSequence(7).generate_state(4)]
    fits = []
    for r in range(20):
        panel = zb.simulate.panel(short, W, 8, truth, rng=np.random.default_rng([*entropy, 0, 8, r]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", zb.SpatialZbWarning)
            fits.append(zb.fit_durbin(short, panel, W))
    estimate = np.array([fit.params["rho"] for fit in fits])
    assert row["bias"] == pytest.approx(estimate.mean() - 0.4)
    assert row["rmse"] == pytest.approx(np.sqrt(((estimate - 0.4) ** 2).mean()))
    assert row["power"] == pytest.approx(np.mean([fit.pvalues["rho"] < 0.05 for fit in fits]))
    inside = [fit.conf_int().loc["rho"] for fit in fits]
    assert row["coverage"] == pytest.approx(np.mean([(low <= 0.4) & (high >= 0.4) for low, high in inside]))


def test_more_units_show_more(study):
    power = study.tidy().query("parameter == 'rho' and case == 'strong'").set_index("weights")["power"]
    assert power["large"] > power["small"]


def test_true_effects_are_those_of_the_matrices(study):
    frame = study.tidy().query("case == 'strong' and weights == 'small'").set_index("parameter")
    A = ring(12).matrix.toarray()
    E = np.linalg.solve(np.eye(12) - 0.4 * A, 0.5 * np.eye(12) + 0.6 * A)
    assert frame.loc["a direct", "truth"] == pytest.approx(np.trace(E) / 12)
    assert frame.loc["a total", "truth"] == pytest.approx(E.sum() / 12)


def test_true_effects_of_a_system_are_those_of_its_matrices():
    system = zb.SystemSpec({"g": zb.Equation("p", ["q"], ["a"]), "h": zb.Equation("q", ["p"], ["b"])})
    truth = {("g", "q"): 0.2, ("g", "a"): 1.0, ("h", "b"): 1.0, ("h", "p"): 0.1, ("g", "W_p"): 0.3}
    found = zb.simulate.power(
        system, ring(20), 6, truth, replicates=20, rng=1, plan=zb.simulate.Plan(estimator="2sls")
    ).tidy()
    A = ring(20).matrix.toarray()
    S = np.block([[np.eye(20) - 0.3 * A, -0.2 * np.eye(20)], [-0.1 * np.eye(20), np.eye(20)]])
    inverse = np.linalg.inv(S)
    true = found.set_index("parameter")["truth"]
    assert true["g ← shock:h total"] == pytest.approx(inverse[:20, 20:].sum() / 20)
    assert true["h ← a direct"] == pytest.approx(np.trace(inverse[20:, :20]) / 20)
    assert true["h: p"] == 0.1


def test_tables_and_the_figure_read_the_frame(study):
    assert "检验功效" in study.table(language="zh").columns
    assert set(study.table(["rho"])["parameter"]) == {"rho"}
    with pytest.raises(zb.SpecificationError, match="psi"):
        study.table(["psi"])
    assert "60 replications" in study.summary()
    drawing = figures.power(study.tidy(), measures=["bias", "coverage"], parameter="rho", by="n")
    assert drawing is not None


def test_small_coefficients_keep_their_digits(study):
    """Of an error of 1.234e-6 three digits are left, of large ones three decimals."""
    frame = study.frame.head(2).assign(bias=[-2.0e-7, 0.0123], rmse=[1.234e-6, 12.34])
    shown = replace(study, frame=frame).table()
    assert shown["RMSE"].tolist() == ["0.00000123", "12.340"]
    assert shown["bias"].tolist() == ["-0.00000020", "0.012"]


def test_replications_without_a_maximum_are_counted():
    rows = _rows({"n": 1}, {"rho": 0.3, "sigma2": 1.0}, [{}, {"rho": (0.3, 0.1), "sigma2": (1.0, 0.1)}], 0.05)
    assert [row["converged"] for row in rows] == [0.5, 0.5]
    assert rows[0]["power"] == 1.0
    assert np.isnan(rows[1]["power"])
    nothing = _rows({"n": 1}, {"rho": 0.3}, [{}], 0.05)[0]
    assert nothing["converged"] == 0
    assert np.isnan(nothing["bias"])


@pytest.mark.slow
def test_workers_and_a_store_change_no_number(tmp_path):
    short, truth = zb.DurbinSpec("y", ["a"]), {"a": 0.5, "rho": 0.4}
    options = {"replicates": 20, "rng": 3}
    alone = zb.simulate.power(short, ring(12), 6, truth, **options).tidy()
    assert alone.equals(zb.simulate.power(short, ring(12), 6, truth, workers=2, **options).tidy())
    store = zb.base.result_store.ResultStore(tmp_path)
    for _ in range(2):
        assert alone.equals(
            zb.simulate.power(short, ring(12), 6, truth, workers=zb.Execution(store=store), **options).tidy()
        )


def test_the_command_simulates_a_model_of_a_study(tmp_path, capsys):
    study, out = ROOT / "studies" / "bay_area.toml", tmp_path / "power.csv"
    words = ["--model", "industry", "--replications", "20", "--language", "zh"]
    assert cli.main(["power", str(study), *words, "--set", "rho=0.2", "--out", str(out)]) == 0
    assert "talent indirect" in capsys.readouterr().out
    found = pd.read_csv(out).set_index("parameter")
    assert found.loc["rho", "converged"] > 0.5
    assert found.loc["rho", "truth"] == 0.2


def test_power_names_what_the_study_does_not_have(tmp_path):
    prepared = zb.prepare(zb.load_study(write_study(tmp_path)))
    for model, given, said in (("mm", {}, "研究中没有模型'mm'"), ("m", {"rh": 1.0}, "没有参数'rh'")):
        with pytest.raises(zb.SpecificationError) as refused:
            planned_power(prepared, model, given)
        assert said in refused.value.zh
