"""The battery: every variant is the single fit it stands for, and failures are rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import spatial_zb as zb
from spatial_zb.compare.battery import robustness

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

N = 18
IDS = [f"u{i:02d}" for i in range(N)]
SPEC = zb.DurbinSpec("y", ["a", "b"])


def ring(step: int, n: int = N, tail: bool = False) -> zb.Weights:
    """A ring; with ``tail`` the last unit hangs on the one before it only."""
    matrix = np.zeros((n, n))
    inner = n - tail
    for i in range(inner):
        matrix[i, (i + step) % inner] = matrix[i, (i - step) % inner] = 1.0
    if tail:
        matrix[n - 1, n - 2] = matrix[n - 2, n - 1] = 1.0
    return zb.as_weights(matrix, ids=IDS[:n], label=f"ring{step}").standardise()


W, FAR = ring(1, tail=True), ring(3)


@pytest.fixture(scope="module")
def panel():
    made = zb.simulate.durbin(W, 8, {"a": 1.0, "b": -0.5}, rho=0.4, rng=2)
    rng = np.random.default_rng(0)
    return made.with_columns(
        {
            "a2": made.array("a") + 0.3 * rng.standard_normal((8, N)),
            "y2": 2 * made.array("y") + rng.standard_normal((8, N)),
        }
    )


@pytest.fixture(scope="module")
def battery(panel):
    return robustness(
        SPEC,
        panel,
        W,
        "a",
        "total",
        changes=zb.compare.Changes(
            weights={"far": FAR},
            lag_x=True,
            drop={"pair": ["u03", "u04"], "hub": ["u16"]},
            y=["y2"],
            x={"a": ["a2"]},
            winsorise=[0.05],
            periods={"late": range(2004, 2009)},
            covariances=["cluster"],
            leave_one_out=True,
        ),
    )


def total(spec, panel, weights, term="a", covariance="information") -> pd.Series:
    effects = zb.spatial_effects(zb.fit_durbin(spec, panel, weights, covariance=covariance)).tidy()
    return effects[(effects["term"] == term) & (effects["effect"] == "total")].iloc[0]


def earlier(panel: zb.Panel) -> zb.Panel:
    frame = panel.frame().set_index(["unit", "period"]).sort_index()
    frame[["a", "b"]] = frame.groupby("unit")[["a", "b"]].shift(1)
    return zb.build_panel(frame.dropna().reset_index(), units=IDS)


def clipped(panel: zb.Panel) -> zb.Panel:
    frame = panel.frame()
    for name in ("y", "a", "b"):
        frame[name] = frame[name].clip(*frame[name].quantile([0.05, 0.95]))
    return zb.build_panel(frame, units=IDS)


def without(panel: zb.Panel, units: list[str]) -> tuple[zb.Panel, zb.Weights]:
    left = [u for u in IDS if u not in units]
    return panel.select(units=left), W.subset(left)


SINGLE = {
    ("base", "base"): lambda p: total(SPEC, p, W),
    ("weights", "far"): lambda p: total(SPEC, p, FAR),
    ("lag_x", "lag_x"): lambda p: total(SPEC, earlier(p), W),
    ("drop", "pair"): lambda p: total(SPEC, *without(p, ["u03", "u04"])),
    ("y", "y2"): lambda p: total(zb.DurbinSpec("y2", ["a", "b"]), p, W),
    ("x", "a2"): lambda p: total(zb.DurbinSpec("y", ["a2", "b"]), p, W, "a2"),
    ("winsorise", "0.05"): lambda p: total(SPEC, clipped(p), W),
    ("periods", "late"): lambda p: total(SPEC, p.select(periods=range(2004, 2009)), W),
    ("covariance", "cluster"): lambda p: total(SPEC, p, W, covariance="cluster"),
}


@pytest.mark.parametrize("variant", SINGLE, ids=lambda v: v[0])
def test_a_variant_is_the_single_fit(panel, battery, variant):
    row = battery.frame.set_index(["kind", "variant"]).loc[variant]
    want = SINGLE[variant](panel)
    for name in ("estimate", "std_error", "p_value", "conf_low", "conf_high"):
        assert row[name] == pytest.approx(want[name], rel=1e-9), name
    assert row["reason"] == ""


def test_rows_say_their_sample(battery):
    rows = battery.frame.set_index("variant")
    assert rows.loc["base", ["n_units", "n_periods", "nobs"]].tolist() == [N, 8, 17 * 7]
    assert rows.loc["pair", "n_units"] == N - 2
    assert rows.loc["lag_x", "n_periods"] == 7
    assert rows.loc["a2", "term"] == "a2"


def test_a_unit_left_without_neighbours_stays_by_the_adjusted_score(panel, battery):
    """Its neighbour u16 gone, u17 has no other: rows of W do not sum to one any more."""
    row = battery.frame.set_index("variant").loc["hub"]
    alone, W_left = without(panel, ["u16"])
    assert list(W_left.islands) == ["u17"]
    assert zb.fit_durbin(SPEC, alone, W_left).estimator == "adjusted_score"
    assert row["estimate"] == pytest.approx(total(SPEC, alone, W_left)["estimate"])
    assert "By the adjusted score: time effects, and rows of W that do not sum to one." in row["notes"]
    assert "adjusted" not in battery.frame["notes"].iloc[0]


def test_a_variant_that_fails_is_a_row_with_its_reason(panel):
    failed = robustness(SPEC, panel, W, "a", changes=zb.compare.Changes(periods={"one": [2001]}))
    row = failed.frame.set_index("variant").loc["one"]
    assert np.isnan(row["estimate"])
    assert row["reason"] != ""
    assert failed.tidy("zh").set_index("variant").loc["one", "reason"] != row["reason"]
    assert failed.glance()["failed"].item() == 1
    chinese = failed.tidy("zh")
    pd.testing.assert_frame_equal(chinese.drop(columns="reason"), failed.frame.drop(columns="reason"))


def test_weights_can_be_rebuilt_for_the_units_left(panel):
    def rebuild(units):
        matrix = W.subset(units).matrix.toarray()
        if "u16" not in units:
            matrix[units.index("u17"), units.index("u15")] = 1.0
        return zb.as_weights(matrix, ids=units).standardise()

    again = robustness(
        SPEC, panel, W, "a", changes=zb.compare.Changes(drop={"hub": ["u16"]}, rebuild=rebuild)
    )
    assert again.frame["reason"].tolist() == ["", ""]


def test_influence_is_the_change_without_each_unit(panel, battery):
    influence = battery.influence.set_index("unit")
    assert list(influence.index) == IDS
    base = total(SPEC, panel, W)
    want = total(SPEC, *without(panel, ["u05"]))["estimate"] - base["estimate"]
    assert influence.loc["u05", "change"] == pytest.approx(want, rel=1e-8)
    assert influence.loc["u05", "change_se"] == pytest.approx(want / base["std_error"], rel=1e-8)
    assert influence.loc["u16", "reason"] == ""


def test_an_influential_unit_is_found(panel):
    values = panel.array("y").copy()
    values[:, 7] += 6 * panel.array("a")[:, 7]
    odd = panel.with_columns({"y": values})
    found = robustness(
        zb.DurbinSpec("y", ["a", "b"], lag_x=[]), odd, W, "a", changes=zb.compare.Changes(leave_one_out=True)
    )
    assert found.glance()["most_influential"].item() == "u07"


def test_coefficients_and_rho_can_be_followed(panel):
    fit = zb.fit_durbin(SPEC, panel, W)
    for term in ("rho", "W_a", "b"):
        row = robustness(
            SPEC, panel, W, term, changes=zb.compare.Changes(covariances=["cluster"])
        ).frame.iloc[0]
        assert row["estimate"] == pytest.approx(fit.params[term])
        assert row["p_value"] == pytest.approx(fit.pvalues[term])


def test_glance_counts(battery):
    row = battery.glance().iloc[0]
    assert (row["variants"], row["failed"]) == (len(battery.frame) - 1, 0)
    assert row["same_sign"] >= row["significant"]


@pytest.mark.slow
def test_workers_do_not_change_a_number(panel):
    one, two = (
        robustness(
            SPEC,
            panel,
            W,
            "a",
            changes=zb.compare.Changes(winsorise=[0.01, 0.05], leave_one_out=True),
            workers=k,
        )
        for k in (1, 2)
    )
    pd.testing.assert_frame_equal(one.frame, two.frame)
    pd.testing.assert_frame_equal(one.influence, two.influence)


REFUSED = {
    "unknown term": ({"term": "c"}, zb.SpecificationError, "no term"),
    "unknown effect": ({"effect": "all"}, zb.SpecificationError, "effect"),
    "effect of rho": ({"term": "rho", "effect": "total"}, zb.SpecificationError, "rho"),
    "regimes": ({"spec": zb.DurbinSpec("y", ["a"], regimes="b")}, zb.SpecificationError, "regimes"),
    "winsorise half": ({"winsorise": [0.5]}, zb.SpecificationError, "0.5"),
    "swap of a stranger": ({"x": {"c": ["a2"]}}, zb.SpecificationError, "'c'|c,? not|of c"),
    "swap as text": ({"x": {"a": "a2"}}, zb.SpecificationError, "list"),
    "unknown unit": ({"drop": {"who": ["nobody"]}}, zb.AlignmentError, "nobody"),
    "unknown variable": ({"y": ["y3"]}, zb.DataError, "y3"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_say_why(panel, case):
    changes, kind, words = REFUSED[case]
    arguments = {"spec": SPEC, "term": "a"} | changes
    with pytest.raises(kind, match=words):
        robustness(panel=panel, W=W, **arguments)


def test_a_gap_in_the_periods_is_the_reason_of_the_lagged_row(panel):
    gap = panel.select(periods=[2001, 2002, 2003, 2006, 2007, 2008])
    row = (
        robustness(SPEC, gap, W, "a", changes=zb.compare.Changes(lag_x=True))
        .frame.set_index("kind")
        .loc["lag_x"]
    )
    assert "gap" in row["reason"]


def test_a_battery_takes_a_w_by_period(panel):
    """As the base, as another weights, and without a unit: each is the single fit."""
    turning = zb.weights.by_period({t: W if t % 2 else FAR for t in panel.periods})
    changes = zb.compare.Changes(weights={"turns": turning}, drop={"pair": ["u03", "u04"]})
    found = robustness(SPEC, panel, W, "a", changes=changes).tidy().set_index("variant")["estimate"]
    assert found["turns"] == pytest.approx(zb.fit_durbin(SPEC, panel, turning).params["a"], rel=1e-9)
    left = [unit for unit in IDS if unit not in ("u03", "u04")]
    own = zb.weights.by_period({t: turning.at(t).subset(left) for t in panel.periods})
    base = robustness(SPEC, panel, turning, "a", changes=changes).tidy().set_index("variant")["estimate"]
    expected = zb.fit_durbin(SPEC, panel.select(units=left), own).params["a"]
    assert base["pair"] == pytest.approx(expected, rel=1e-9)
