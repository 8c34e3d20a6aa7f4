"""Cells that look like city panels: what is drawn, the verdicts, and what is committed of them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import spatial_zb as zb

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from validation import errors, lifelike, places, verdicts
from validation.lifelike import HUBS, OWN, Cell

NOT_LASTING = ("independent", "unit variances", "t(5)")
FOLDER = Path(__file__).parents[2] / "docs" / "validation"
KEYS = lifelike.PLACE


def test_own_residuals_are_whole_histories_with_a_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every column is one city's history times one number: what it has over time stays as it is."""
    histories = np.random.default_rng(1).standard_normal((13, 11))
    monkeypatch.setattr(lifelike, "histories", lambda n: histories)
    u = lifelike.errors_of(
        Cell(11, 4, "contiguity", 0.3, OWN), np.zeros((4, 11, 2)), np.random.default_rng(2)
    )
    assert (u**2).mean() == pytest.approx(1)
    slopes = []
    for column in u.T:
        ratios = column[:, None] / histories[-4:]
        (city,) = np.flatnonzero(np.ptp(ratios, axis=0) < 1e-9)
        slopes.append(ratios[0, city])
    assert np.ptp(np.abs(slopes)) < 1e-9
    assert {np.sign(s) for s in slopes} == {-1.0, 1.0}


def test_hubs_have_three_times_the_spread_and_all_errors_the_same_mean_square() -> None:
    cell, X = Cell(41, 20, "contiguity", 0.3, HUBS), np.zeros((20, 41, 2))
    squares = np.mean(
        [lifelike.errors_of(cell, X, np.random.default_rng(k)) ** 2 for k in range(200)], axis=(0, 1)
    )
    W = places.weights(41, "contiguity").matrix.toarray()
    own = [sum(W[i, j] * W[j, i] for j in range(41)) for i in range(41)]
    hubs = own > np.quantile(own, 0.75)
    assert squares[hubs].mean() / squares[~hubs].mean() == pytest.approx(9, rel=0.05)
    assert squares.mean() == pytest.approx(1)


def test_nearest_cities_are_not_mutual() -> None:
    W = places.weights(41, "nearest 4").matrix.toarray()
    assert ((W > 0).sum(axis=1) == 4).all()
    assert (W > 0).sum() - ((W > 0) & (W.T > 0)).sum() > 20


def test_a_panel_solves_its_model_and_its_truth_is_that_of_loops() -> None:
    """y − ρWy − Xβ − WXθ is what was drawn as errors and effects: with two-way effects taken out, the errors."""
    cell = Cell(11, 4, "nearest 4", 0.85, "independent")
    (seed,) = lifelike.seeds_of(cell, 1)
    W = places.weights(11, "nearest 4").matrix.toarray()
    panels = [lifelike.draw(cell, "SDM", seed, shocks) for shocks in (0.0, 1.0)]
    left = []
    for panel in panels:
        y, a, b = (panel.array(name) for name in ("y", "a", "b"))
        left.append(y - 0.85 * y @ W.T - a - 0.5 * b - 0.5 * a @ W.T + 0.3 * b @ W.T)
    assert np.ptp(left[1] - left[0], axis=1).max() < 1e-9  # shocks are those of periods
    rng = np.random.default_rng(seed)
    drawn = errors.unit_errors("independent", None, errors.persistent(0.7, (4, 11, 2), rng), rng)
    within = [e - e.mean(0) - e.mean(1)[:, None] + e.mean() for e in (left[1], drawn)]
    assert within[0] == pytest.approx(within[1])
    effects = np.zeros((11, 11))
    for k in range(200):
        effects += 0.85**k * np.linalg.matrix_power(W, k) @ (np.eye(11) + 0.5 * W)
    direct = sum(effects[i, i] for i in range(11)) / 11
    true = lifelike.truth(cell, "SDM")
    assert true["direct"] == pytest.approx(direct)
    assert true["indirect"] == pytest.approx(effects.sum() / 11 - direct)


def test_more_panels_go_on_where_fewer_ended() -> None:
    cell = lifelike.design()[0]
    few, more = lifelike.seeds_of(cell, 2), lifelike.seeds_of(cell, 3)
    assert [s.generate_state(2).tolist() for s in few] == [s.generate_state(2).tolist() for s in more[:2]]
    assert few[0].generate_state(1) != lifelike.seeds_of(lifelike.design()[1], 1)[0].generate_state(1)


def _rows(covariance: str, coverage: float, says: str, used: int = 200) -> list[dict]:
    head = {"cell": 1, "estimator": "lee_yu", "covariance": covariance, "panels": 200, "says": says}
    numbers = {"median_bias": 0.0, "median_mcse": 0.005, "coverage": coverage}
    return [
        head | numbers | {"parameter": "rho", "used": 200},
        head | numbers | {"parameter": "indirect", "used": used},
    ]


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        (_rows("information", 0.93, ""), "holds"),
        (_rows("information", 0.93, "", used=60), "holds, effects blank"),
        (_rows("information", 0.80, ""), "silent"),
        (_rows("information", 0.80, "correlated_over_time:0.40"), "silent"),
        (_rows("information", 0.80, "few_units:1.00"), "warns of something else"),
        (_rows("information", 0.80, "correlated_over_time:0.90"), "warns, not judged"),
        (_rows("cluster", 0.80, "measured_short(strong):0.82"), "warns, says by how much"),
        (_rows("information", 0.80, "measured_short(hubs):0.98"), "warns, not judged"),
        (
            [*_rows("information", 0.8, "correlated_over_time:0.90"), *_rows("cluster", 0.98, "")],
            "warns, what it names holds",
        ),
        ([*_rows("information", 0.8, "correlated_over_time:0.90"), *_rows("cluster", 0.8, "")], "warns, off"),
    ],
)
def test_verdicts_follow_from_coverage_and_from_what_is_said(rows: list[dict], verdict: str) -> None:
    found = verdicts.lifelike_verdicts(pd.DataFrame(rows), ["cell"], ("rho",))
    assert found["verdict"].iloc[0] == verdict


def test_a_median_off_by_more_than_its_error_does_not_hold() -> None:
    rows = pd.DataFrame(_rows("information", 0.95, ""))
    rows.loc[0, "median_bias"] = 0.031
    assert verdicts.lifelike_verdicts(rows, ["cell"], ("rho",))["verdict"].iloc[0] == "silent"


def test_committed_cells_are_of_the_design_with_their_panels() -> None:
    fits = pd.read_csv(FOLDER / "lifelike.csv")
    cells = {tuple(row) for row in fits[KEYS].drop_duplicates().itertuples(index=False)}
    assert cells <= {(c.n, c.periods, c.weights, c.rho, c.errors) for c in lifelike.design()}
    assert (fits["panels"] >= 60).all()
    # Fewer panels only of errors other than those that last elsewhere, and of random effects with clustered errors.
    few = fits[fits["panels"] < 200]
    usual = (few["periods"] == 11) & (few["weights"] == "contiguity") & (few["rho"] == 0.3)
    assert ((few["estimator"] == "random") | (few["errors"].isin([HUBS, *NOT_LASTING]) & ~usual)).all()
    found = pd.read_csv(FOLDER / "lifelike_verdicts.csv")
    assert set(found["verdict"]) <= set(verdicts.LIFELIKE)
    own = found[found["what"] == "fit"]
    assert len(own) == len(fits.groupby([*KEYS, "model", "estimator", "covariance"]))


def test_four_periods_say_where_hubs_have_more_spread() -> None:
    """In 200 panels of either cell 98 % and 3 to 6 %; intervals of ρ then hold the truth in 81 to 84 %."""
    spec, W = zb.DurbinSpec("y", ["a", "b"]), places.weights(41, "contiguity")
    said = {}
    for u in (HUBS, "independent"):
        cell = Cell(41, 4, "contiguity", 0.3, u)
        panels = [lifelike.draw(cell, "SDM", seed) for seed in lifelike.seeds_of(cell, 12)]
        fits = [lifelike._quiet(zb.fit_durbin, spec, panel, W) for panel in panels]
        said[u] = [{note.kind.name for note in fit.notes} for fit in fits]
    heard = {u: [bool(kinds & {"variances_tied", "measured_short"}) for kinds in said[u]] for u in said}
    assert sum(heard[HUBS]) >= 10
    assert sum(heard["independent"]) <= 3
