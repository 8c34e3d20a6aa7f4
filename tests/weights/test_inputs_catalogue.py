"""The catalogue of bad and hard inputs, 36–52 (weights) and 83 (p-values): one line each, as for the others."""

from __future__ import annotations

import warnings

import geopandas
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import box

from spatial_zb import (
    AlignmentError,
    DataError,
    DurbinSpec,
    SpatialZbWarning,
    SpecificationError,
    Weights,
    WeightsError,
    as_weights,
    build_panel,
    fit_durbin,
    local_moran,
    moran,
    weights,
)
from spatial_zb.core.statistics import permutation_p_value
from spatial_zb.simulate import durbin as simulate_durbin
from spatial_zb.weights import build as common
from spatial_zb.weights.files import read

IDS = [f"0{33 + i}" for i in range(6)]
#: Five squares in a row and one that stands apart.
MAP = geopandas.GeoDataFrame(
    index=pd.Index(IDS), geometry=[*(box(i, 30, i + 1, 31) for i in range(5)), box(9, 30, 10, 31)], crs=4490
)
RING = np.roll(np.eye(6), 1, axis=1) + np.roll(np.eye(6), -1, axis=1)
EVERYONE = np.ones((6, 6)) - np.eye(6)
W = Weights(RING, IDS, "ring").standardise("row")
PANEL = simulate_durbin(W, 5, {"a": 1.0}, rho=0.3, rng=0)
LATTICE = geopandas.GeoDataFrame(
    index=pd.Index([f"{i:02d}" for i in range(16)]),
    geometry=[box(x, y, x + 1, y + 1) for x in range(4) for y in range(4)],
    crs=4490,
)


def with_entry(i: int, j: int, value: float, matrix: np.ndarray = RING) -> np.ndarray:
    out = matrix.astype(float).copy()
    out[i, j] = value
    return out


def with_small_memory(build) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(common, "LIMIT_BYTES", 1000)
        build()


def read_text(tmp_path, name: str, text: str):
    (tmp_path / name).write_text(text, "utf-8")
    return read(tmp_path / name)


def income(unit_values) -> Weights:
    return weights.economic_distance(pd.Series(unit_values, index=IDS, name="y")).standardise("row")


REFUSED = {
    "36 an island without a policy": (lambda d: weights.contiguity(MAP), WeightsError, ["038", "islands="]),
    "37 all islands": (lambda d: Weights(np.zeros((6, 6)), IDS), WeightsError, ["no link"]),
    "40 a negative weight": (
        lambda d: Weights(with_entry(0, 1, -1), IDS),
        WeightsError,
        ["034 → 033", "allow_negative"],
    ),
    "41 a neighbour of itself": (
        lambda d: Weights(with_entry(2, 2, 1), IDS),
        WeightsError,
        ["035", "diagonal"],
    ),
    "42 a blank weight": (
        lambda d: Weights(with_entry(0, 1, np.nan), IDS),
        WeightsError,
        ["033", "034", "not finite"],
    ),
    "42b an infinite weight": (
        lambda d: Weights(with_entry(4, 5, np.inf), IDS),
        WeightsError,
        ["037", "038"],
    ),
    "43 all equal beside time effects": (
        lambda d: fit_durbin(
            DurbinSpec("y", ["a"], lag_x=[]), PANEL, Weights(EVERYONE, IDS).standardise("row")
        ),
        SpecificationError,
        ["rho is not identified", "Use another W"],
    ),
    "45 a matrix larger than the memory": (
        lambda d: with_small_memory(lambda: weights.inverse_distance(MAP)),
        WeightsError,
        ["GB of memory"],
    ),
    "49 two units at one point": (
        lambda d: weights.inverse_distance(pd.concat([MAP, MAP.iloc[[0]].rename(index={"033": "twin"})])),
        WeightsError,
        ["033", "twin"],
    ),
    "50 a file without ids": (
        lambda d: read_text(d, "w.csv", "0,1\n1,0\n"),
        AlignmentError,
        ["w.csv", "ids"],
    ),
    "51 a file that lost its islands": (
        lambda d: read_text(d, "w.gal", "0 3 x id\na 1\nb\nb 1\na\n"),
        WeightsError,
        ["w.gal", "says 3 units, 2"],
    ),
}
SAID = {
    "36b an island that is linked": (
        lambda: weights.contiguity(MAP, islands="nearest"),
        ["038 is linked with 037", "islands policy"],
    ),
    "36c an island that stays": (lambda: weights.contiguity(MAP, islands="zero"), ["038"]),
    "38 two components": (
        lambda: weights.contiguity(MAP.drop(index="035"), islands="zero"),
        ["components", "033", "036"],
    ),
    "40b negative weights on request": (
        lambda: as_weights(with_entry(0, 1, -0.5), IDS, allow_negative=True),
        ["1 negative"],
    ),
    "43b all equal when built": (lambda: weights.distance_band(MAP, 5000), ["not identified"]),
    "46 two matrices that are nearly one": (
        lambda: weights.compare_weights({"a": W, "b": Weights(RING + 1e-9 * EVERYONE, IDS)}),
        ["a and b", "no robustness"],
    ),
    "47 weights made of y": (
        lambda: fit_durbin(
            DurbinSpec("y", ["a"], fixed_effects="unit", lag_x=[]), PANEL, income(np.arange(6.0) ** 2)
        ),
        ["built from 'y'", "endogenous"],
    ),
}


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, tmp_path):
    action, error, words = REFUSED[case]
    with pytest.raises(error) as caught:
        action(tmp_path)
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)


@pytest.mark.parametrize("case", SAID)
def test_said(case):
    action, words = SAID[case]
    with pytest.warns(SpatialZbWarning) as caught:
        action()
    said = " / ".join(str(w.message) for w in caught)
    assert not [word for word in words if word not in said], said


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
def test_36d_an_island_has_no_local_statistic_and_is_never_significant():
    W = weights.contiguity(MAP, islands="zero").standardise("row")
    panel = build_panel(pd.DataFrame({"unit": IDS, "period": 1, "x": [9.0, 8, 7, 1, 2, 0]}), units=IDS)
    table = local_moran(panel, "x", W, permutations=99, rng=1).table()
    assert table.loc["038"].drop("cluster").isna().all()
    assert table.loc["038", "cluster"] == "no neighbours"


def test_39_an_asymmetric_matrix_passes_with_its_complex_eigenvalues():
    shift = Weights(np.roll(np.eye(6), 1, axis=1), IDS, "next")
    for rho in (-0.9, 0.5):
        direct = np.linalg.slogdet(np.eye(6) - rho * shift.matrix.toarray())[1]
        assert float(shift.logdet.value(rho)) == pytest.approx(direct, abs=1e-12)


def test_44_weights_that_are_not_row_normalised_pass_and_say_so():
    raw = Weights(RING, IDS, "ring")
    facts = raw.report().glance().iloc[0]
    assert facts["normalisation"] == "none"
    np.testing.assert_allclose([facts["rho_low"], facts["rho_high"]], [-0.5, 0.5], atol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialZbWarning)
        moran(PANEL, "a", raw, permutations=9, rng=1)


def test_52_what_the_caller_gave_is_not_changed():
    mine = RING.copy()
    frame, layer = PANEL.frame(), MAP.copy()
    before = frame.copy(), layer.copy()
    as_weights(mine, IDS).standardise("row")
    build_panel(frame)
    with pytest.warns(SpatialZbWarning):
        weights.contiguity(layer, islands="nearest")
    np.testing.assert_array_equal(mine, RING)
    pd.testing.assert_frame_equal(frame, before[0])
    assert layer.equals(before[1])


def test_83_a_permutation_p_value_is_never_zero():
    x = np.repeat([0.0, 100.0], 8)
    queen = weights.contiguity(LATTICE).standardise("row")
    panel = build_panel(pd.DataFrame({"unit": LATTICE.index, "period": 1, "x": x}))
    assert moran(panel, "x", queen, permutations=99, rng=1).table()["p_sim"].item() == 2 / 100


def test_83b_a_statistic_that_is_no_number_has_no_p_value():
    assert np.isnan(permutation_p_value(np.nan, np.zeros(99)))


def test_83c_no_statistic_of_a_constant():
    panel = build_panel(pd.DataFrame({"unit": IDS, "period": 1, "x": 3.0}))
    with pytest.raises(DataError, match="same for all units"):
        moran(panel, "x", W)
