"""Units that come and go: what the gate keeps, what it lists, and who refuses such a panel by name."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from small_examples import ring

import spatial_zb as zb
from spatial_zb import DataError, Panel, SpecificationError, WeightsError

UNITS = [f"u{i:02d}" for i in range(8)]
YEARS = list(range(2010, 2016))
#: u01 enters in 2012, u02 leaves after 2013, u03 is not there in 2012 and 2013.
GONE = {("u01", 2010), ("u01", 2011), ("u02", 2014), ("u02", 2015), ("u03", 2012), ("u03", 2013)}


def table() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    rows = [
        (u, p, *rng.normal(size=3), 1.0 + rng.random()) for p in YEARS for u in UNITS if (u, p) not in GONE
    ]
    return pd.DataFrame(rows, columns=["unit", "period", "y", "x", "z", "wage"])


def uneven() -> Panel:
    return zb.build_panel(table(), units=UNITS, balance="keep")


def test_what_the_table_does_not_have_is_absent_and_the_table_comes_back():
    panel = uneven()
    absent = {(panel.units[i], panel.periods[t]) for t, i in np.argwhere(~panel.present)}
    assert absent == GONE
    assert np.isnan(panel.values[~panel.present]).all()
    assert not np.isnan(panel.values[panel.present]).any()
    assert not panel.balanced
    assert "42 of 48 unit-periods present" in repr(panel)
    pd.testing.assert_frame_equal(panel.frame(), table(), check_dtype=False)
    with pytest.raises(ValueError, match="read-only"):
        panel.present[0, 0] = False


def test_a_blank_cell_is_not_an_absence():
    frame = table()
    frame.loc[3, ["y", "x", "z", "wage"]] = np.nan
    panel = zb.build_panel(frame, units=UNITS, balance="keep")
    assert panel.present.sum() == len(frame)
    assert len(panel.frame()) == len(frame)


def test_a_complete_table_is_present_everywhere_whatever_balance_says():
    frame = table()
    frame = frame[~frame["unit"].isin(["u01", "u02", "u03"])]
    for balance in ("error", "keep", "drop_units"):
        panel = zb.build_panel(frame, balance=balance)
        assert panel.balanced
        assert panel.present.shape == (6, 5)


def test_selection_order_columns_and_pickle_carry_presence():
    panel = uneven()
    part = panel.select(units=["u03", "u01"], periods=[2011, 2012])
    np.testing.assert_array_equal(part.present, [[False, True], [True, False]])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(panel)).present, panel.present)
    turned = zb.build_panel(table(), units=UNITS[::-1], balance="keep").by_id()
    np.testing.assert_array_equal(turned.present, panel.present)
    np.testing.assert_array_equal(turned.values, panel.values)
    more = panel.with_columns({"late": np.broadcast_to(np.array(YEARS)[:, None] > 2012, (6, 8))})
    assert np.isnan(more.array("late")[~panel.present]).all()
    assert panel.select(periods=[2010, 2011]).select(units=UNITS[2:]).balanced


def test_absences_are_listed_with_their_reasons():
    events = pd.DataFrame(
        {
            "unit": ["u02", "u01", "u03", "u03", "u00"],
            "period": [2014, 2012, 2009, 2012, 2012],
            "event": ["dissolved", "founded", "renamed", "split", "nothing"],
        }
    )
    listed = uneven().absent(events)
    assert listed.values.tolist() == [
        ["u01", 2010, 2011, 2, "enters late", "2012: founded"],
        ["u02", 2014, 2015, 2, "leaves", "2014: dissolved"],
        ["u03", 2012, 2013, 2, "gap", "2012: split"],
    ]
    assert listed["periods"].sum() == len(GONE)
    assert uneven().select(units=UNITS[4:]).absent().empty
    assert list(uneven().select(periods=[2010]).absent()["absence"]) == ["never there"]
    with pytest.raises(DataError, match="event"):
        uneven().absent(events.drop(columns="event"))


@pytest.mark.parametrize(
    ("present", "said"),
    [
        (np.ones((8, 6), bool), "shape"),
        (np.ones((6, 8)), "True or False"),
        (np.zeros((6, 8), bool), "u00 2010"),
    ],
)
def test_presence_that_does_not_fit_the_values_is_refused(present, said):
    panel = uneven().select(units=UNITS)
    with pytest.raises(DataError, match=said):
        Panel(panel.values, panel.periods, panel.units, panel.columns, present=present)


def test_the_hint_of_a_refused_table_names_keep():
    with pytest.raises(DataError, match='balance="keep"'):
        zb.build_panel(table())
    with pytest.raises(DataError, match="keep"):
        zb.build_panel(table(), balance="leave")


def test_means_of_units_are_those_of_the_periods_they_have():
    means = zb.weights.unit_means(uneven(), "wage")
    expected = table().groupby("unit")["wage"].mean()
    np.testing.assert_allclose(means.loc[UNITS], expected.loc[UNITS], rtol=1e-14)
    assert list(zb.weights.unit_means(uneven(), "wage", [2010, 2011]).index) == UNITS[:1] + UNITS[2:]


SPEC = zb.DurbinSpec("y", ["x"], fixed_effects="unit")
SYSTEM = zb.SystemSpec(
    {
        "one": zb.Equation("y", ["z"], ["x"], lag_y=False),
        "two": zb.Equation("z", ["y"], ["wage"], lag_y=False),
    },
    fixed_effects="unit",
)
GROUPS = {u: "ab"[i % 2] for i, u in enumerate(UNITS)}
#: What needs every unit in every period; each is told which are absent, and how to go on.
NEED_ALL = {
    "robust score": lambda p, W: zb.fit_durbin(SPEC, p, W, estimator="robust_score"),
    "direct": lambda p, W: zb.fit_durbin(SPEC, p, W, estimator="direct"),
    "random": lambda p, W: zb.fit_durbin(zb.DurbinSpec("y", ["x"], fixed_effects="random"), p, W),
    "dynamic": lambda p, W: zb.fit_durbin(
        zb.DurbinSpec("y", ["x"], time_lag=True, fixed_effects="unit"), p, W
    ),
    "fiml": lambda p, W: zb.fit_system(SYSTEM, p, W, "fiml"),
    "probabilities": lambda p, W: zb.compare.model_probabilities(p, "y", ["x"], {"ring": W}),
    "pooled moran": lambda p, W: zb.explore.pooled_moran(p, "y", W),
    "esda": lambda p, W: zb.explore.esda_statistic("Moran", p, "y", W),
    "densities": lambda p, W: zb.dynamics.kernel_densities(p, "y"),
    "sigma": lambda p, W: zb.dynamics.sigma_convergence(p, "wage"),
    "beta": lambda p, W: zb.dynamics.beta_convergence(p, "wage"),
    "theil": lambda p, W: zb.dynamics.theil_decomposition(p, "wage", GROUPS),
    "dagum": lambda p, W: zb.dynamics.dagum_decomposition(p, "wage", GROUPS),
}


@pytest.mark.parametrize("name", NEED_ALL)
def test_what_needs_every_unit_says_which_are_absent_and_how_to_go_on(name):
    panel, W = uneven(), ring(UNITS)
    with pytest.raises(DataError) as told:
        NEED_ALL[name](panel, W)
    message = str(told.value)
    assert "u01 2010–2011" in message
    assert "panel.select(units=panel.units[panel.present.all(axis=0)])" in message
    whole = panel.select(units=panel.units[panel.present.all(axis=0)])
    assert whole.balanced


#: What takes one W.
ONE_W = {
    "system": lambda p, W: zb.fit_system(SYSTEM, p, W, "fiml"),
    "pooled moran": lambda p, W: zb.explore.pooled_moran(p, "y", W),
    "combine": lambda p, W: zb.weights.combine(W, W),
}


@pytest.mark.parametrize("name", ONE_W)
def test_what_takes_one_w_says_so_of_a_w_by_period(name):
    panel = uneven().select(units=UNITS[4:])
    W = zb.weights.by_period(dict.fromkeys(YEARS, ring(UNITS[4:])))
    with pytest.raises(WeightsError, match=r"W\.at\(2015\)"):
        ONE_W[name](panel, W)


def test_a_table_is_still_no_panel():
    with pytest.raises(SpecificationError, match="build_panel"):
        zb.weights.report_by_period(ring(UNITS), table())
