"""Cells estimated together from shared moments are the single fits, whatever the model, effects and W."""

from __future__ import annotations

import functools
import sys

import numpy as np
import pandas as pd
import pytest
import task_functions
from scipy import sparse
from small_examples import ring

import spatial_zb as zb
from spatial_zb.compare import cells, grid, spec_family, specification_grid, subsets
from spatial_zb.compare.moments import interpolated

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

#: Moments lose at most this much to the interpolation in ρ and to the change of basis.
SAME = 1e-8
FAMILIES = ["OLS", "SLX", "SAR", "SDM", "SEM", "SDEM", "SAC", "GNS"]
EFFECTS = ["none", "unit", "time", "two_way"]


def contiguity(side: int) -> sparse.csr_array:
    line = sparse.diags_array([np.ones(side - 1)] * 2, offsets=[-1, 1])
    one = sparse.eye_array(side)
    return sparse.csr_array(sparse.kron(line, one) + sparse.kron(one, line))


def nearest(n: int, k: int) -> sparse.csr_array:
    points = np.random.default_rng(5).random((n, 2))
    apart = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    near = np.argsort(apart, axis=1)[:, 1 : k + 1]
    return sparse.csr_array((np.ones(n * k), (np.repeat(np.arange(n), k), near.ravel())), shape=(n, n))


IDS = [f"u{k:02d}" for k in range(64)]
WEIGHTS = {
    "row": zb.Weights(contiguity(8), IDS).standardise("row"),
    "spectral": zb.Weights(contiguity(8), IDS).standardise("spectral"),
    "one way": zb.Weights(nearest(64, 5), IDS).standardise("row"),
}


@pytest.fixture(scope="module")
def panel() -> zb.Panel:
    base = zb.simulate.durbin(WEIGHTS["row"], 8, {"a": 1.0, "b": -0.5}, theta={"a": 0.4}, rho=0.4, rng=1)
    rng = np.random.default_rng(2)
    noise = {name: 1e6 * rng.normal(size=(8, 64)) for name in ("c", "d")}
    y2 = base.array("y") * 1e-3 + 0.1 * rng.normal(size=(8, 64))
    hole = base.array("a").copy()
    hole[0, 0] = np.nan
    return base.with_columns(
        {**noise, "y2": y2, "flat": np.ones((8, 64)), "still": np.tile(noise["c"][0], (8, 1)),
         "hole": hole, "twin": 2 * base.array("a"), "near": base.array("a") + 1e-4 * rng.normal(size=(8, 64))}
    )  # fmt: skip


def one_by_one(monkeypatch, *args, **options) -> zb.compare.grid.Grid:
    with monkeypatch.context() as patch:
        patch.setattr(grid, "shares_moments", lambda *_: False)
        return specification_grid(*args, **options)


def assert_alike(fast, slow):
    assert fast.choices == slow.choices
    for kind in ("cells", "estimates", "effects"):
        a, b = getattr(fast, kind), getattr(slow, kind)
        pd.testing.assert_frame_equal(a, b, rtol=SAME, atol=SAME, check_dtype=False)


@pytest.mark.parametrize("label", WEIGHTS)
@pytest.mark.parametrize("estimator", ["lee_yu", "direct"])
def test_all_families_and_effects_are_single_fits(panel, monkeypatch, label, estimator):
    family = spec_family(
        zb.DurbinSpec("y", ["a"]),
        models=FAMILIES[:6],
        controls=[[], ["b"], ["c", "d"]] if estimator == "lee_yu" else [["b", "c"]],
        fixed_effects=EFFECTS,
    )
    args = panel, family, {label: WEIGHTS[label]}
    options = {"estimators": [estimator], "covariances": ["information", "hessian"]}
    fast = specification_grid(*args, **options)
    assert_alike(fast, one_by_one(monkeypatch, *args, **options))
    if label == "row":
        assert (fast.cells["reason"] == "").all()


def test_other_estimators_and_covariances_fall_back(panel, monkeypatch):
    family = spec_family(zb.DurbinSpec("y", ["a"]), models=["SAR", "SAC", "GNS", "OLS"])
    args = (
        panel,
        {**family, "random": zb.DurbinSpec("y", ["a"], fixed_effects="random")},
        {"w": WEIGHTS["row"]},
    )
    options = {
        "estimators": ["lee_yu", "gmm"],
        "covariances": ["information", "sandwich", "cluster", "driscoll_kraay", "spatial_hac", "robust"],
    }
    fast = specification_grid(*args, **options)
    assert_alike(fast, one_by_one(monkeypatch, *args, **options))
    wrong = fast.cells.query("spec == 'random' and covariance == 'sandwich' and estimator == 'lee_yu'")
    assert wrong["reason"].str.contains("covariance must be one of").all()


def test_unusual_cells_carry_the_words_of_single_fits(panel, monkeypatch):
    specs = {
        name: zb.DurbinSpec("y", ["a", name], lag_x=[])
        for name in ("flat", "still", "hole", "twin", "near", "nobody", "b")
    }
    specs["no y"] = zb.DurbinSpec("nobody", ["a"])
    specs["identity"] = zb.DurbinSpec("twin", ["a"], lag_x=[])
    # nearly collinear about their means only, so that an intercept must be taken out before that is seen
    specs["apart"] = zb.DurbinSpec("y", ["up", "down"], lag_x=[], fixed_effects="none")
    panel = panel.with_columns({"up": panel.array("a") + 1, "down": panel.array("near") - 1})
    args = panel, specs, {"w": WEIGHTS["row"]}
    fast, slow = specification_grid(*args), one_by_one(monkeypatch, *args)
    assert_alike(fast, slow)
    assert set(fast.cells.loc[fast.cells["reason"] == "", "spec"]) == {"near", "apart", "b"}
    notes = fast.cells.set_index("spec")["notes"]
    assert notes[["near", "apart"]].str.contains("the regressors are nearly collinear").all()


def test_cells_with_hardly_more_observations_than_parameters_are_single_fits(monkeypatch):
    """Six observations after unit effects: with three regressors and ρ there are five parameters, with four six."""
    W, rng = ring(6), np.random.default_rng(3)
    values = rng.normal(size=(2, 6, 5))
    small = zb.Panel(values, (1, 2), W.ids, ("y", "a", "b", "c", "d"))
    specs = {
        f"{k} {lag_y}": zb.DurbinSpec("y", list("abcd")[:k], lag_x=[], lag_y=lag_y, fixed_effects="unit")
        for k in (2, 3, 4)
        for lag_y in (True, False)
    }
    fast, slow = specification_grid(small, specs, {"w": W}), one_by_one(monkeypatch, small, specs, {"w": W})
    assert_alike(fast, slow)
    refused = fast.cells.loc[fast.cells["reason"].str.contains("leave 6 observations"), "spec"]
    assert list(refused) == ["4 True"]


def test_shared_cells_are_really_shared(panel, monkeypatch):
    alone = []
    fitted = cells.fit_durbin
    monkeypatch.setattr(cells, "fit_durbin", lambda *given: alone.append(given) or fitted(*given))
    family = spec_family(
        zb.DurbinSpec("y", ["a"]), models=FAMILIES[:6], controls=subsets(["b", "c", "d"]), y=["y", "y2"]
    )
    found = specification_grid(panel, family, {"w": WEIGHTS["row"]})
    assert len(found.cells) == 6 * 8 * 2
    # only where a look at the residuals leaves open whether a single fit has something to say of its errors: of their
    # correlation over time and, with ρ or λ, of their variances
    assert len(alone) <= 0.35 * len(found.cells)


@pytest.mark.parametrize("label", WEIGHTS)
def test_interpolation_serves_many_cells(panel, monkeypatch, label):
    used = []

    def spied(function, points, interval):
        answer = interpolated(function, points, interval)
        used.append(answer is not None)
        return answer

    monkeypatch.setattr(cells, "interpolated", spied)
    family = spec_family(
        zb.DurbinSpec("y", ["a"], fixed_effects="unit"), models=["SAR", "SDM", "SEM", "SDEM"],
        controls=subsets(["b", "c", "d"]),
    )  # fmt: skip
    args = panel, family, {label: WEIGHTS[label]}
    fast = specification_grid(*args)
    assert used == [True]
    assert_alike(fast, one_by_one(monkeypatch, *args))


def test_interpolation_gives_up_where_it_does_not_converge():
    points = np.linspace(-0.5, 0.5, 200)

    def rough(c):
        return np.array([abs(c)])

    assert interpolated(rough, points, (-1, 1)) is None
    smooth = interpolated(lambda c: np.array([np.exp(c), 1 / (1.2 - c)]), points, (-1.0, 1.0))
    assert np.allclose(smooth(0.31), [np.exp(0.31), 1 / 0.89], rtol=1e-10)
    assert interpolated(rough, points[:3], (-1, 1)) is None


def test_large_sparse_weights_use_the_interpolated_determinant(monkeypatch):
    W = zb.Weights(contiguity(24), [str(i) for i in range(576)]).standardise("row")
    big = zb.simulate.durbin(W, 3, {"a": 1.0, "b": 1.0}, rho=0.4, rng=3)
    big = big.with_columns({"c": np.random.default_rng(0).normal(size=(3, 576))})
    family = spec_family(
        zb.DurbinSpec("y", ["a"]), models=["SAR", "SDM", "SEM", "SDEM"], controls=subsets(["b", "c"])
    )
    args = big, family, {"w": W}
    assert_alike(specification_grid(*args), one_by_one(monkeypatch, *args))


def test_families_name_their_choices(panel):
    family = spec_family(
        zb.DurbinSpec("y", ["a"], lag_x=[]),
        models=["SAR", "SDM"],
        controls={"few": [], "many": ["c", "d"]},
        y=["y", "y2"],
        x_swaps={"a": ["b"]},
        fixed_effects=["unit", "two_way"],
    )
    assert len(family) == 2**5
    assert list(family.choices.columns) == ["model", "y", "x", "controls", "fixed_effects"]
    spec = family["SDM · y2 · b · many · unit"]
    assert (spec.y, spec.x, spec.lag_x, spec.fixed_effects) == (
        "y2",
        ("b", "c", "d"),
        ("b", "c", "d"),
        "unit",
    )
    found = specification_grid(panel, family, {"w": WEIGHTS["row"]})
    assert found.choices == (
        "spec", "model", "y", "x", "controls", "fixed_effects", "weights", "sample", "estimator", "covariance"
    )  # fmt: skip
    for frame in (found.cells, found.estimates, found.effects):
        assert tuple(frame.columns[: len(found.choices)]) == found.choices
    swapped = found.estimates[(found.estimates["x"] == "b") & (found.estimates["model"] == "SDM")]
    assert set(swapped["role"]) >= {"a", "W_a"}
    assert set(swapped.loc[swapped["role"] == "a", "term"]) == {"b"}
    assert found.shares("a")["cells"] == len(family)
    assert len(found.table()) == len(family)


def test_controls_need_not_be_lagged():
    family = spec_family(zb.DurbinSpec("y", ["a"]), models=["SDM"], controls=[["b"]], lag_controls=False)
    assert family["SDM · b"].lag_x == ("a",)


def test_subsets():
    assert subsets("ab") == [(), ("a",), ("b",), ("a", "b")]
    assert subsets("abc", 1, 2) == [("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c")]


def test_periods_are_an_axis_of_their_own(panel):
    years = list(panel.periods)
    found = specification_grid(
        panel, {"s": zb.DurbinSpec("y", ["a"])}, {"w": WEIGHTS["row"]}, {"all": {}, "half": IDS[:40]},
        periods={"early": years[:4], "late": years[4:]},
    )  # fmt: skip
    assert list(found.cells[["sample", "period"]].itertuples(index=False, name=None)) == [
        ("all", "early"), ("all", "late"), ("half", "early"), ("half", "late")
    ]  # fmt: skip
    part = panel.select(units=IDS[:40], periods=years[4:])
    fit = zb.fit_durbin(zb.DurbinSpec("y", ["a"]), part, WEIGHTS["row"].subset(part.units))
    last = found.estimates.query("sample == 'half' and period == 'late'")
    assert np.allclose(last["estimate"], fit.params, rtol=SAME)


def test_a_store_and_a_second_run_give_the_same_grid(panel, tmp_path, monkeypatch):
    specs = {"sdm": zb.DurbinSpec("y", ["a"]), "gns": zb.DurbinSpec("y", ["a"], lag_error=True),
             "bad": zb.DurbinSpec("y", ["flat"])}  # fmt: skip
    args = panel, specs, {"w": WEIGHTS["row"], "k": WEIGHTS["one way"]}
    plain = specification_grid(*args)
    assert_alike(specification_grid(*args, workers=zb.Execution(store=tmp_path)), plain)
    monkeypatch.setattr(grid, "run_tasks", _only_stored(grid.run_tasks))
    assert_alike(specification_grid(*args, workers=zb.Execution(store=tmp_path)), plain)


def _only_stored(run_tasks):
    def stored(function, tasks, **options):
        def never(_):
            raise AssertionError("computed again")

        never.__module__, never.__qualname__ = function.__module__, function.__qualname__
        return run_tasks(never, tasks, **options)

    return stored


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_worker_killed_in_the_middle_changes_nothing(panel, tmp_path, monkeypatch):
    specs = {"sdm": zb.DurbinSpec("y", ["a"]), "gmm": zb.DurbinSpec("y", ["b"])}
    args = panel, specs, {"w": WEIGHTS["row"], "k": WEIGHTS["one way"]}
    options = {"covariances": ["information", "cluster"]}
    plain = specification_grid(*args, **options)
    monkeypatch.setattr(grid, "START", 0.0)  # else so little work is done in this process
    run_tasks, dying = grid.run_tasks, functools.partial(task_functions.block_after_a_death, str(tmp_path))
    monkeypatch.setattr(grid, "run_tasks", lambda _, tasks, **how: run_tasks(dying, tasks, **how))
    assert_alike(specification_grid(*args, **options, workers=2), plain)
    assert (tmp_path / "died").exists()


def test_a_grid_without_any_result_says_why(panel):
    found = specification_grid(panel, {"bad": zb.DurbinSpec("y", ["flat"])}, {"w": WEIGHTS["row"]})
    assert found.cells["reason"].str.contains("constant").all()
    assert not found.cells["converged"].any()
    assert len(found.tidy()) == 1
    assert len(found.table()) == 1


REFUSED = {
    "family": lambda s: spec_family(s, models=["SDN"]),
    "swap": lambda s: spec_family(s, x_swaps={"z": ["b"]}),
    "swap text": lambda s: spec_family(s, x_swaps={"a": "b"}),
    "control text": lambda s: spec_family(s, controls=["b"]),
    "control in x": lambda s: spec_family(s, controls=[["a"]]),
    "twice": lambda s: spec_family(s, models=["SAR", "SAR"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_families(case):
    with pytest.raises(zb.SpecificationError):
        REFUSED[case](zb.DurbinSpec("y", ["a"]))


def test_samples_with_periods_and_an_axis_of_periods_are_refused(panel):
    with pytest.raises(zb.SpecificationError, match="periods of their own"):
        specification_grid(
            panel, {"s": zb.DurbinSpec("y", ["a"])}, {"w": WEIGHTS["row"]}, {"late": {"periods": [2005, 2006]}},
            periods={"p": [2005]},
        )  # fmt: skip
