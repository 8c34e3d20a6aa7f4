"""Names of arguments of the last release: each warns, and gives what the record in its place gives."""

import numpy as np
import pandas as pd
import pytest

import spatial_zb as zb

W = zb.as_weights(
    np.roll(np.eye(14), 1, 1) + np.roll(np.eye(14), -1, 1), ids=[f"u{i:02}" for i in range(14)]
).standardise("row")
DRAW = zb.simulate.durbin(W, 6, {"a": 1.0, "b": -0.5}, rho=0.3, rng=1)
PANEL = DRAW.with_columns({"c": DRAW.array("a") ** 2})
POSITIVE = PANEL.with_columns({"size": np.exp(PANEL.array("y"))})
SPEC = zb.DurbinSpec("y", ["a", "b"], lag_x="all")
GIVEN = {"x": 1.0, "rho": 0.3}
SYSTEM = zb.SystemSpec(
    {"p": zb.Equation("p", endog=["q"], x=["u"]), "q": zb.Equation("q", endog=["p"], x=["v"])}
)
COEFFICIENTS = {("p", "u"): 1.0, ("q", "v"): 1.0, ("p", "W_p"): 0.2}
DRAWN = zb.DurbinSpec("y", ["x"], lag_x=[])


def values(panel):
    return pd.DataFrame(panel.values.reshape(-1, panel.values.shape[-1]))


#: What is called, the old arguments, and the new ones.
OLD = {
    "grid": (
        lambda **k: zb.specification_grid(PANEL, [SPEC], {"w": W}, **k).cells,
        {"progress": print, "workers": 1},
        {"workers": zb.Execution(1, progress=print)},
    ),
    "local": (
        lambda adjust=None, **k: (
            zb.local_moran(PANEL, "y", W, period=2001, permutations=99, rng=1, **k).table()
            if adjust is None
            else zb.local_moran(PANEL, "y", W, period=2001, permutations=99, rng=1).adjusted(*adjust).table()
        ),
        {"alpha": 0.4},
        {"adjust": ("fdr", 0.4)},
    ),
    "robustness": (
        lambda **k: zb.compare.robustness(SPEC, PANEL, W, "a", **k).frame,
        {"winsorise": [0.05], "x": {"a": ["c"]}, "covariance": "cluster", "drop": None},
        {
            "changes": zb.compare.Changes(winsorise=[0.05], x={"a": ["c"]}),
            "estimator": zb.Estimation(covariance="cluster"),
        },
    ),
    "beta": (
        lambda **k: zb.dynamics.beta_convergence(POSITIVE, "size", W, **k).tidy(),
        {"controls": ["a"], "lag_y": True, "covariance": "hessian"},
        {
            "spec": zb.dynamics.growth_spec(["a"], lag_y=True),
            "estimator": zb.Estimation(covariance="hessian"),
        },
    ),
    "durbin": (
        lambda **k: values(zb.simulate.durbin(W, 4, GIVEN | {"rho": 0.0}, rng=1, **k)),
        {"tau": 0.3, "sigma": 2.0},
        {"process": zb.simulate.Process(tau=0.3, sigma=2.0)},
    ),
    "panel": (
        lambda truth=GIVEN, **k: values(zb.simulate.panel(DRAWN, W, 4, truth, rng=1, **k)),
        {"unit_effects": 0.0},
        {"truth": zb.simulate.Truth(GIVEN, unit_effects=0.0)},
    ),
    "system": (
        lambda truth=COEFFICIENTS, **k: values(zb.simulate.system(SYSTEM, W, 4, truth, rng=1, **k)),
        {"sigma": 2 * np.eye(2), "time_effects": 0.0},
        {"truth": zb.simulate.Truth(COEFFICIENTS, sigma=2 * np.eye(2), time_effects=0.0)},
    ),
    "power": (
        lambda truth=GIVEN, **k: zb.simulate.power(DRAWN, W, 4, truth, replicates=20, rng=1, **k).tidy(),
        {"effects": False, "alpha": 0.1, "unit_effects": 0.0},
        {
            "truth": zb.simulate.Truth(GIVEN, unit_effects=0.0),
            "plan": zb.simulate.Plan(effects=False, level=0.9),
        },
    ),
}


@pytest.mark.parametrize("case", OLD)
def test_old_arguments_warn_and_give_the_same(case):
    call, old, new = OLD[case]
    with pytest.warns(DeprecationWarning, match="is now") as caught:
        before = call(**old)
    assert {warning.filename for warning in caught} == {__file__}
    pd.testing.assert_frame_equal(before, call(**new))


def test_the_curve_takes_its_parts_as_before():
    options = {"term": "a", "replicates": 19, "rng": 1}
    with pytest.warns(DeprecationWarning, match="Choices"):
        before = zb.tests.curve_test(PANEL, [SPEC], {"w": W}, covariances=["cluster"], **options)
    after = zb.tests.curve_test(
        zb.compare.Choices(PANEL, [SPEC], {"w": W}, covariances=["cluster"]), **options
    )
    pd.testing.assert_frame_equal(before.draws, after.draws)


def test_marks_between_thousands_go_before_the_gate():
    frame = pd.DataFrame({"unit": list("abcd"), "period": 2001, "gdp": ["1,234", "2,345", "3", "4"]})
    with pytest.warns(DeprecationWarning, match="frame"):
        before = zb.build_panel(frame, columns=["gdp"], thousands=",")
    after = zb.build_panel(zb.data.without_marks(frame), columns=["gdp"])
    assert np.array_equal(before.values, after.values)
    assert before.values.ravel().tolist() == [1234, 2345, 3, 4]
