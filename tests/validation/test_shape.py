"""Panels of any shape: the verdict of every published cell, its rule, and a small cell made again."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from validation import places, shape, verdicts

from spatial_zb.core.likelihood.score import lean_of
from spatial_zb.core.likelihood.shape import shape_estimate
from spatial_zb.core.likelihood.shape_rows import RowFilter
from spatial_zb.models.ml import SMALL_N
from spatial_zb.models.shape import WEAK_PAIR

FOLDER = Path(__file__).parents[2] / "docs" / "validation"
KEYS = list(verdicts.SHAPE)


def test_every_published_cell_holds_or_says_what_holds():
    """The table is that of the rule, has every cell of the design, and none that is off or silent."""
    table = pd.read_csv(FOLDER / "shape.csv")
    found, again = pd.read_csv(FOLDER / "shape_verdicts.csv"), verdicts.shape_verdicts(table)
    assert found["verdict"].tolist() == again["verdict"].tolist()
    assert found[[*KEYS, "parameter"]].equals(again[[*KEYS, "parameter"]])
    cells = {cell for cell in shape.design() if (cell[1], cell[4]) in shape.PANELS}
    known = {tuple(row) for row in found[KEYS].itertuples(index=False)}
    assert {cell for cell in cells if cell[3] in places.SIZES} <= known <= cells
    assert set(found["verdict"]) <= {"holds", "warns, what it names holds", "warns, says by how much"}
    assert set(found.loc[found["verdict"] == "warns, says by how much", "model"]) <= {"SAC"}
    assert SMALL_N == verdicts.WARNED_UNITS
    assert WEAK_PAIR == verdicts.SAYS_WEAK_PAIR


def cell(n=41, bias=0.0, coverage=0.95, says=0.0, own=0.0, clustered=0.95, model="SDM"):
    """Rows of one cell as the study writes them, ρ alone beside its score set."""
    head = {"design": "late 50 %", "model": model, "errors": "iid", "n": n, "periods": 4, "bias_mcse": 0.002}
    head |= {"used": 2000, "parameter": "rho"}
    rows = [
        {"estimator": "adjusted score", "bias": bias, "coverage": coverage},
        {"estimator": "expansion", "bias": own},
        {"estimator": "expansion", "bias": says, "parameter": "says"},
        {"estimator": "clustered", "bias": 0.0, "coverage": clustered},
    ]
    return pd.DataFrame([head | row for row in rows])


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({}, "holds"),
        ({"bias": 0.023}, "holds"),
        ({"bias": -0.05}, "silent"),
        ({"bias": -0.05, "says": 0.4, "own": -0.05}, "silent"),
        ({"bias": -0.05, "says": 0.9, "own": -0.04}, "warns, what it names holds"),
        ({"bias": -0.05, "says": 0.9, "own": 0.02}, "warns, off"),
        ({"coverage": 0.90}, "silent"),
        ({"coverage": 0.90, "n": 11}, "warns, what it names holds"),
        ({"coverage": 0.90, "n": 11, "clustered": 0.90}, "warns, off"),
        ({"coverage": 0.90, "n": 11, "model": "SAC"}, "warns, says by how much"),
    ],
)
def test_verdicts_follow_from_bias_coverage_and_what_is_said(given, verdict):
    assert verdicts.shape_verdicts(cell(**given))["verdict"].tolist() == [verdict]


def test_the_expansion_tells_the_bias_of_a_small_cell():
    """Half of 11 units late, 4 periods: 320 estimates of ρ over 8 shapes, and what 80 say of themselves."""
    kind, off, own = ("late 50 %", "SDM", "iid", 11, 4), [], []
    for child in np.random.SeedSequence(7).spawn(8):
        rng = np.random.default_rng(child)
        world = shape.drawn(kind, rng)
        x = rng.standard_normal((world.there.sum(), 2))
        there, mean = shape.shape_of(world, x, "SDM"), x @ shape.BETA + world.Wx.matrix @ x @ shape.THETA
        solve = RowFilter(world.W, shape.RHO).solve
        for number, e in enumerate(rng.standard_normal((40, len(x)))):
            found = shape_estimate(there, solve(mean + e))
            off.append(found.rho - shape.RHO)
            own += [lean_of(found).of] if number % 4 == 0 else []
    error = np.hypot(np.std(off) / len(off) ** 0.5, np.std(own) / len(own) ** 0.5)
    assert np.mean(own) == pytest.approx(np.mean(off), abs=3 * error)
    assert np.mean(off) < -2 * error


def test_many_units_with_lambda_as_the_page_says():
    """Of 1,000 units: right with independent errors; errors that last move λ of SEM and ρ of SAC by about 0.02."""
    table = pd.read_csv(FOLDER / "shape_large.csv")
    assert {tuple(row) for row in table[KEYS[:5]].itertuples(index=False)} == set(shape.many_units())
    own = table[table["estimator"] == "adjusted score"].set_index(["model", "errors", "parameter"])
    assert own["no_root"].eq(0).all()
    iid = own.xs("iid", level="errors")
    assert iid["bias"].drop("set", level="parameter").abs().max() < 0.005
    assert iid["coverage"].between(0.92, 0.97).all()
    for model, moved in (("SEM", "lam"), ("SAC", "rho")):
        assert 0.015 < own.loc[(model, "AR 0.7", moved), "bias"] < 0.025
