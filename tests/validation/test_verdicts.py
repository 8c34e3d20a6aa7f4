"""The published study and the warnings of the code say the same."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from validation import median_unbiased, places, resampled, sizes, small_sample, verdicts

from spatial_zb.core.likelihood.tests import weight_moments
from spatial_zb.inference.median import APART
from spatial_zb.models.durbin import WEAK_SPATIAL_ERROR
from spatial_zb.models.ml import SMALL_N

FOLDER = Path(__file__).parents[2] / "docs" / "validation"


def test_the_thresholds_of_the_verdicts_are_those_of_the_warnings():
    assert verdicts.WARNED_ERROR == WEAK_SPATIAL_ERROR
    assert verdicts.WARNED_UNITS == SMALL_N


def test_no_cell_is_off_in_silence():
    """Every cell of the design is in the table, and one that leaves the bands warns."""
    table = pd.read_csv(FOLDER / "study_verdicts.csv")
    cells = {(c.weights, c.n, c.model, c.spatial) for c in small_sample.design() if c.estimator == "lee_yu"}
    assert {
        tuple(row) for row in table[["weights", "n", "model", "spatial"]].itertuples(index=False)
    } == cells
    assert set(table["verdict"]) <= set(verdicts.VERDICTS) - {"silent"}
    assert not table["verdict"].isin(["warns, off", "warns, not judged"]).any()
    alone = table[table["verdict"] == "warns, limits hold"]
    assert set(alone["model"]) <= {"SAC"}  # with one spatial lag there is an estimate in the bands
    assert set(alone["weights"]) == {"inverse distance"}


def test_verdicts_follow_from_their_parts():
    assert verdicts.verdict(True, False, None, None) == "holds"
    assert verdicts.verdict(False, False, True, True) == "silent"
    assert verdicts.verdict(False, True, True, True) == "warns, resampling holds"
    assert verdicts.verdict(False, True, False, True) == "warns, off"
    assert verdicts.verdict(False, True, True, False) == "warns, off"
    assert verdicts.verdict(False, True, True, None) == "warns, not judged"
    assert verdicts.verdict(False, True, None, False) == "warns, off"
    assert verdicts.verdict(False, True, True, True, reported=False) == "warns, limits hold"
    assert verdicts.verdict(False, True, False, True, reported=False) == "warns, off"
    assert verdicts.in_band(0.95, 0.0)
    assert not verdicts.in_band(0.90, 0.005)


def test_a_median_off_by_more_than_its_error_is_off():
    """Rows of one cell as the part writes them: 0.05 is outside 0.02 + 2 · 0.01, 0.03 inside."""
    row = {"coverage": 0.95, "coverage_mcse": 0.01, "median_mcse": 0.01, "reported": 1.0}
    rows = [{"parameter": p, "estimate_median_bias": 0.03, **row} for p in ("rho", "beta", "indirect")]
    holds = verdicts._median_unbiased(pd.DataFrame(rows), ["rho"], ["beta", "indirect"])
    assert [holds["holds"], holds["covers_others"]] == [True, True]
    rows[0]["estimate_median_bias"] = -0.05
    off = verdicts._median_unbiased(pd.DataFrame(rows), ["rho"], ["beta", "indirect"])
    assert [off["holds"], off["bias"]] == [False, -0.05]
    rows[0] |= {"estimate_median_bias": 0.01, "median_mcse": 0.1}
    assert verdicts._median_unbiased(pd.DataFrame(rows), ["rho"], ["beta"])["holds"] is None


def test_limits_without_an_estimate_are_judged_by_their_coverage():
    def holds(**values) -> bool | None:
        row = {"parameter": "rho", "estimate_median_bias": -0.08, "median_mcse": 0.02, "reported": 0.0}
        row |= {"coverage": 0.96, "coverage_mcse": 0.005} | values
        return verdicts._median_unbiased(pd.DataFrame([row]), ["rho"], [])["holds"]

    assert holds() is True
    assert holds(coverage=0.90) is False
    assert holds(coverage=0.99) is False
    assert holds(coverage_mcse=0.02) is None
    assert holds(reported=1.0) is False
    assert holds(reported=0.5) is False  # reported in some panels is reported


def test_the_table_reports_estimates_of_two_lags_where_the_package_does():
    table = pd.read_csv(FOLDER / "median_unbiased.csv")
    for (model, n, kind), rows in table.groupby(["model", "n", "weights"]):
        variance = weight_moments(places.weights(n, kind).matrix, centred=True).variance
        apart = (places.PERIODS - 1) * variance >= APART**-2
        assert (rows["reported"] == (model != "SAC" or apart)).all()


@pytest.mark.parametrize("part", [resampled, median_unbiased, sizes])
def test_designs_have_no_cell_twice(part):
    cells = part.jobs() if part is sizes else part.design()
    assert len(cells) == len(set(cells))


def test_an_interrupted_table_loses_nothing_and_goes_on(tmp_path):
    """Cells that are there are kept, wherever they stand; an interruption leaves all that was done."""
    table, asked = tmp_path / "table.csv", []

    def compute(cell: int) -> pd.DataFrame:
        asked.append(cell)
        if cell == 3 and len(asked) < 4:
            raise KeyboardInterrupt
        return pd.DataFrame({"cell": [cell, cell], "value": [cell / 3, 0.5]})

    def run() -> pd.DataFrame:
        return places.complete(
            table, ["cell"], {(c,): c for c in (1, 2, 3, 4)}, compute, lambda done: done["value"] >= 0
        )

    compute(4).to_csv(table, index=False, float_format="%.6g")
    asked.clear()
    with pytest.raises(KeyboardInterrupt):
        run()
    assert list(pd.read_csv(table)["cell"].unique()) == [1, 2, 4]
    whole = run()
    assert asked == [1, 2, 3, 3]
    assert list(whole["cell"].unique()) == [1, 2, 3, 4]
    assert list(pd.read_csv(table)["cell"].unique()) == [1, 2, 3, 4]


def test_a_replicate_is_that_of_its_seed():
    """The first rows of the committed table can be made again; here one panel of one cell, twice."""
    cell = small_sample.Cell(11, "contiguity", "SAR", "lee_yu", 0.6)
    first, again, other = (small_sample.replicate(cell, seed, 3) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_means_of_the_committed_table_lie_where_a_few_replicates_put_them():
    """Ten replicates of the published seed: their mean is within four of its standard errors of the table's."""
    cell = small_sample.Cell(11, "contiguity", "SAR", "lee_yu", 0.6)
    table = pd.read_csv(FOLDER / "small_sample.csv")
    row = table[
        (table[small_sample.KEYS] == [cell.n, cell.weights, cell.model, cell.estimator, cell.spatial]).all(
            axis=1
        )
        & (table["parameter"] == "rho")
    ].iloc[0]
    found = [small_sample.replicate(cell, small_sample.SEED, index)["rho"][0] for index in range(10)]
    assert abs(np.mean(found) - row["mean"]) < 4 * row["sd"] / np.sqrt(10)
