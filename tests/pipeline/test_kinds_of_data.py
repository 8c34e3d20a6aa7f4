"""Data of usual kinds run from study files alone: 46 states × 30 years with a given W, 3,085 counties of one year.

The cigarette panel and the counties of the United States are not ours to ship. Panels of their shape are made here, with
known coefficients; units, years, islands, codes with leading zeros, and a W in a workbook without ids are as there.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spatial_zb import cli
from spatial_zb.pipeline import check, run
from spatial_zb.study import load_study

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
RHO, BETA, THETA = 0.25, (-1.0, 0.6), (0.2, -0.2)

STATES = """version = 1
[study]
name = "cigarettes"
title = "Demand over the border"
permutations = 199
[data]
file = "panel.csv"
unit = "state"
period = "year"
periods = [63, 92]
[variables.recession]
expression = "year >= 80 and year <= 82"
[weights.border]
kind = "file"
file = "border.xlsx"
ids = "order of table"
[moran]
variables = "logc"
[models.demand]
y = "logc"
x = ["logp", "logy"]
[models.unit]
y = "logc"
x = ["logp", "logy", "recession"]
lag_x = ["logp", "logy"]
fixed_effects = "unit"
[output]
tables = ["csv"]
figures = "png"
report = false
"""


def neighbours(rows: int, columns: int) -> np.ndarray:
    """Cells of a grid that share a side, (n, n)."""
    place = np.arange(rows * columns).reshape(rows, columns)
    pairs = np.vstack(
        [np.c_[place[:, :-1].ravel(), place[:, 1:].ravel()], np.c_[place[:-1].ravel(), place[1:].ravel()]]
    )
    W = np.zeros((place.size, place.size))
    W[pairs[:, 0], pairs[:, 1]] = W[pairs[:, 1], pairs[:, 0]] = 1
    return W


def write_states(home: Path, years: range) -> Path:
    """46 states on two rows of 23, years as two digits, and their W as a bare square of numbers in a workbook."""
    rng = np.random.default_rng(46)
    W = neighbours(2, 23)
    pd.DataFrame(W).to_excel(home / "border.xlsx", index=False, header=False)
    W /= W.sum(axis=1, keepdims=True)
    own, frames = rng.normal(size=46), []
    for year in years:
        x = rng.normal(size=(46, 2)) + own[:, None]
        mean = x @ BETA + (W @ x) @ THETA + own + rng.normal()
        y = np.linalg.solve(np.eye(46) - RHO * W, mean + 0.1 * rng.normal(size=46))
        columns = {"state": np.arange(1, 47), "year": year, "logc": y, "logp": x[:, 0], "logy": x[:, 1]}
        frames.append(pd.DataFrame(columns))
    pd.concat(frames).to_csv(home / "panel.csv", index=False)
    text = STATES.replace("[63, 92]", f"[{years[0]}, {years[-1]}]")
    (home / "cigarettes.toml").write_text(text, "utf-8")
    return home / "cigarettes.toml"


def test_a_panel_of_states_is_checked(tmp_path, capsys):
    assert cli.main(["check", str(write_states(tmp_path, range(63, 93)))]) == 0
    assert "46 units, 30 periods (63-92)" in capsys.readouterr().out


@pytest.mark.slow
def test_a_panel_of_states_runs_from_its_study_file(tmp_path):
    assert cli.main(["run", str(write_states(tmp_path, range(63, 93))), "--quiet"]) == 0
    tidy = pd.read_csv(tmp_path / "results/cigarettes/tidy/sdm_demand.csv").set_index("term")
    wanted = {"logp": BETA[0], "logy": BETA[1], "W_logp": THETA[0], "W_logy": THETA[1], "rho": RHO}
    for term, value in wanted.items():
        assert abs(tidy.loc[term, "estimate"] - value) < 4 * tidy.loc[term, "std_error"], term


COUNTIES = """version = 1
[study]
name = "homicides"
title = "Homicide in 3,085 counties"
permutations = 99
[regions]
file = "counties.geojson"
id = "FIPS"
crs = "EPSG:4326"
projected_crs = "EPSG:5070"
[variables.south]
expression = "region == 'South'"
[weights.queen]
kind = "contiguity"
islands = "zero"
[moran]
variables = ["HR"]
[models.lag]
y = "HR"
x = ["RD", "south"]
lag_x = []
[maps]
variables = "HR"
[output]
tables = ["csv"]
figures = "png"
dpi = 72
report = false
"""


def write_counties(home: Path, rows: int = 61, columns: int = 50, more: int = 35) -> Path:
    """A grid of 3,050 counties and 35 that touch no other; figures among the attributes, leading zeros in the codes."""
    rng = np.random.default_rng(3085)
    n, side = rows * columns, 0.5
    y, x = np.divmod(np.arange(n), columns)
    places = [(-115 + side * i, 25 + 0.3 * j) for i, j in zip(x, y, strict=True)]
    places += [(-124.0, 25 + 0.6 * k) for k in range(more)]
    hr = np.cumsum(rng.normal(size=n + more)) / 30
    features = []
    for k, (west, south) in enumerate(places):
        ring = [[west + a * side, south + b * 0.3] for a, b in ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0))]
        attributes = {
            "FIPS": f"{k + 1001:05d}",
            "region": "South" if south < 32 else "North",
            "RD": float(rng.normal()),
        }
        attributes["HR"] = float(hr[k] + 0.5 * attributes["RD"] + 0.3 * rng.normal())
        shape = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "properties": attributes, "geometry": shape})
    (home / "counties.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    (home / "homicides.toml").write_text(COUNTIES, "utf-8")
    return home / "homicides.toml"


def test_a_hundred_counties_are_checked(tmp_path):
    checked = check(load_study(write_counties(tmp_path, 8, 12, 4)))
    assert checked.prepared.panel.units[0] == "01001"
    assert len(checked.weights[0].islands) == 4


@pytest.mark.slow
def test_counties_run_from_their_study_file(tmp_path):
    path = write_counties(tmp_path)
    begun = time.process_time()
    checked = check(load_study(path))
    assert time.process_time() - begun < 6
    assert (len(checked.prepared.panel.units), len(checked.weights[0].islands)) == (3085, 35)
    outcome = run(load_study(path))
    tidy = pd.read_csv(outcome.folder / "tidy" / "sar_lag.csv").set_index("term")
    assert abs(tidy.loc["RD", "estimate"] - 0.5) < 0.1
    assert 0 < tidy.loc["rho", "estimate"] < 1
