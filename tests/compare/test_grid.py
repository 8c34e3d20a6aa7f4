"""The grid gives the numbers of single fits; comparisons refuse what cannot be compared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from small_examples import ring

import spatial_zb as zb
from spatial_zb.compare import compare_fits, specification_grid
from spatial_zb.compare import grid as module
from spatial_zb.compare.grid import CHOICES

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

IDS = [f"u{k:02d}" for k in range(20)]


@pytest.fixture(scope="module")
def panel() -> zb.Panel:
    base = zb.simulate.durbin(ring(IDS), 8, {"a": 1.0, "b": -0.5}, theta={"a": 0.4}, rho=0.3, rng=1)
    return base.with_columns({"flat": np.ones((8, 20))})


SPECS = {
    "sdm": zb.DurbinSpec("y", ["a", "b"]),
    "sar unit": zb.DurbinSpec("y", ["a"], lag_x=[], fixed_effects="unit"),
    "broken": zb.DurbinSpec("y", ["a", "flat"]),
}
SAMPLES = {"all": {}, "half": IDS[:10], "late": {"periods": [2004, 2005, 2006, 2007, 2008]}}


@pytest.fixture(scope="module")
def grid(panel):
    return specification_grid(
        panel, SPECS, {"near": ring(IDS), "far": ring(IDS, 2)}, SAMPLES, estimators=["lee_yu", "direct"]
    )


def test_every_combination_is_one_row(grid):
    assert len(grid.glance()) == 3 * 2 * 3 * 2
    assert not grid.glance().duplicated(list(CHOICES)).any()
    assert len(grid.table()) == len(grid.glance())


@pytest.mark.parametrize("spec", ["sdm", "sar unit"])
@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("estimator", ["lee_yu", "direct"])
def test_cells_are_single_fits(grid, panel, spec, sample, estimator):
    choice = SAMPLES[sample] if isinstance(SAMPLES[sample], dict) else {"units": SAMPLES[sample]}
    part = panel.select(**choice)
    fit = zb.fit_durbin(SPECS[spec], part, ring(IDS, 2).subset(part.units), estimator)
    chosen = grid.tidy().query(
        "spec == @spec and sample == @sample and estimator == @estimator and weights == 'far'"
    )
    assert np.allclose(chosen["estimate"], fit.tidy()["estimate"], rtol=1e-10)
    assert np.allclose(chosen["std_error"], fit.tidy()["std_error"], rtol=1e-10)
    effects = grid.effects.query(
        "spec == @spec and sample == @sample and estimator == @estimator and weights == 'far'"
    )
    assert np.allclose(effects["estimate"], zb.spatial_effects(fit).tidy()["estimate"], rtol=1e-10)


def test_failed_cells_are_rows_with_their_reason(grid):
    broken = grid.glance()[grid.glance()["spec"] == "broken"]
    assert len(broken) == 12
    assert broken["reason"].str.contains("flat").all()
    assert (grid.glance().loc[grid.glance()["spec"] != "broken", "reason"] == "").all()


@pytest.mark.parametrize("start", [0.0, 1e9])
def test_workers_do_not_change_a_number(grid, panel, monkeypatch, start):
    """Whether they are started, or the work is done in this process since it is little."""
    how = []
    monkeypatch.setattr(module, "START", start)
    asked = module.run_tasks
    monkeypatch.setattr(
        module, "run_tasks", lambda *args, workers: how.append(workers) or asked(*args, workers=workers)
    )
    parallel = specification_grid(
        panel,
        SPECS,
        {"near": ring(IDS), "far": ring(IDS, 2)},
        SAMPLES,
        estimators=["lee_yu", "direct"],
        workers=2,
    )
    assert [one.workers for one in how] == [1 if start else 2]
    pd.testing.assert_frame_equal(parallel.tidy(), grid.tidy())
    pd.testing.assert_frame_equal(parallel.glance(), grid.glance())


def test_order_of_units_does_not_matter(panel, grid):
    order = np.random.default_rng(0).permutation(20)
    shuffled = zb.build_panel(panel.frame().sample(frac=1, random_state=1), units=[IDS[i] for i in order])
    again = specification_grid(
        shuffled, {"sdm": SPECS["sdm"]}, {"near": ring(IDS)}, {"half": SAMPLES["half"]}
    )
    old = grid.tidy().query(
        "spec == 'sdm' and weights == 'near' and sample == 'half' and estimator == 'lee_yu'"
    )
    assert np.allclose(again.tidy()["estimate"], old["estimate"], rtol=1e-8)


def test_shares_count_signs_and_significance(grid):
    rows = grid.estimates[grid.estimates["term"] == "rho"]
    shares = grid.shares("rho")
    assert shares["cells"] == len(rows) == 24
    assert shares["positive"] == pytest.approx((rows["estimate"] > 0).mean())
    with pytest.raises(zb.SpecificationError, match="rho"):
        grid.shares("nothing")


def test_wide_table_holds_the_long_one(grid):
    wide = grid.table().set_index(list(CHOICES))
    key = ("sdm", "near", "all", "lee_yu", "information")
    long = grid.tidy().set_index([*CHOICES, "term"])
    assert wide.loc[key, "rho"] == long.loc[(*key, "rho"), "estimate"]
    assert wide.loc[key, "a:std_error"] == long.loc[(*key, "a"), "std_error"]
    assert np.isfinite(wide.loc[key, "a:indirect:p_value"])


REFUSED = {
    "words": lambda p: specification_grid(p, ["SAR"], {"near": ring(IDS)}),
    "one specification": lambda p: specification_grid(p, SPECS["sdm"], {"near": ring(IDS)}),
    "no specification": lambda p: specification_grid(p, None, {"near": ring(IDS)}),
    "a table": lambda p: specification_grid(p.frame(), SPECS, {"near": ring(IDS)}),
    "weights without a name": lambda p: specification_grid(p, SPECS, ring(IDS)),
    "samples without a name": lambda p: specification_grid(p, SPECS, {"near": ring(IDS)}, ["u00"]),
    "nothing": lambda p: specification_grid(p, [], {"near": ring(IDS)}),
    "strange sample": lambda p: specification_grid(p, SPECS, {"near": ring(IDS)}, {"s": {"years": [2001]}}),
    "unknown unit": lambda p: specification_grid(p, SPECS, {"near": ring(IDS)}, {"s": ["nobody"]}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(panel, case):
    with pytest.raises(zb.SpatialZbError):
        REFUSED[case](panel)


@pytest.fixture(scope="module")
def fits(panel):
    W = ring(IDS)
    spec = {
        "ols": zb.DurbinSpec("y", ["a", "b"], lag_y=False, lag_x=[]),
        "sar": zb.DurbinSpec("y", ["a", "b"], lag_x=[]),
        "sem": zb.DurbinSpec("y", ["a", "b"], lag_y=False, lag_x=[], lag_error=True),
        "sdm": zb.DurbinSpec("y", ["a", "b"]),
    }
    return {name: zb.fit_durbin(s, panel, W) for name, s in spec.items()}


def test_likelihood_ratios_of_nested_pairs_only(fits):
    tests = compare_fits(fits).tidy().set_index(["restricted", "general"])
    assert set(tests.index) == {("ols", "sar"), ("ols", "sem"), ("ols", "sdm"), ("sar", "sdm")}
    row = tests.loc[("sar", "sdm")]
    assert row["statistic"] == pytest.approx(2 * (fits["sdm"].llf - fits["sar"].llf))
    assert row["df"] == 2
    sdm = fits["sdm"]
    left = sdm.nobs - len(sdm.spec.terms)  # Bartlett's correction, as in the test chain
    corrected = row["statistic"] * (left + 2 / 2 - 1) / sdm.nobs
    assert row["p_value"] == pytest.approx(stats.chi2.sf(corrected, 2))
    assert (tests["statistic"] >= 0).all()


def test_fits_under_different_weights_are_not_nested(fits, panel):
    other = zb.fit_durbin(SPECS["sdm"], panel, ring(IDS, 2))
    tests = compare_fits({"sar": fits["sar"], "sdm far": other}).tidy()
    assert tests.empty


def test_akaike_weights_sum_to_one(fits):
    table = compare_fits(fits).glance().set_index("fit")
    assert table["akaike_weight"].sum() == pytest.approx(1)
    assert table["delta_aic"].min() == 0


UNLIKE = {
    "effects": lambda p, f: {
        "a": f["sdm"],
        "b": zb.fit_durbin(zb.DurbinSpec("y", ["a"], fixed_effects="unit"), p, ring(IDS)),
    },
    "estimator": lambda p, f: {"a": f["sdm"], "b": zb.fit_durbin(SPECS["sdm"], p, ring(IDS), "direct")},
    "y": lambda p, f: {"a": f["sdm"], "b": zb.fit_durbin(zb.DurbinSpec("a", ["b"]), p, ring(IDS))},
    "periods": lambda p, f: {
        "a": f["sdm"],
        "b": zb.fit_durbin(SPECS["sdm"], p.select(periods=list(p.periods[1:])), ring(IDS)),
    },
    "values of y": lambda p, f: {
        "a": f["sdm"],
        "b": zb.fit_durbin(SPECS["sdm"], p.with_columns({"y": p.array("y") * 2}), ring(IDS)),
    },
}


@pytest.mark.parametrize("what", UNLIKE)
def test_unlike_likelihoods_are_refused(panel, fits, what):
    with pytest.raises(zb.SpecificationError, match=what):
        compare_fits(UNLIKE[what](panel, fits))


def test_a_grid_takes_a_w_by_period_and_samples_of_it(panel):
    several = zb.weights.by_period(
        {period: ring(IDS, 1 + period % 2) for period in panel.periods}, label="turning"
    )
    found = specification_grid(
        panel, SPECS, {"near": ring(IDS), "turns": several}, {"all": {}, "half": IDS[:10]}
    )
    cell = found.cells.set_index(["spec", "weights", "sample"]).loc[("sdm", "turns", "half")]
    assert cell["reason"] == ""
    assert "adjusted score" in cell["notes"]
    half = panel.select(units=IDS[:10])
    own = zb.weights.by_period({t: several.at(t).subset(IDS[:10]) for t in panel.periods})
    single = zb.fit_durbin(SPECS["sdm"], half, own)
    rows = found.estimates
    rows = rows[(rows["spec"] == "sdm") & (rows["weights"] == "turns") & (rows["sample"] == "half")]
    np.testing.assert_allclose(rows["estimate"], single.tidy()["estimate"], rtol=1e-9)
