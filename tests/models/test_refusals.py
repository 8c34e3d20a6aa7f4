"""Bad and hard inputs: the class of the error, the culprit by name, and the remedy in words.

Ids are the numbers of the catalogue of inputs; a letter tells cases of one number apart.
"""

from __future__ import annotations

from decimal import Decimal

import geopandas
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from shapely.geometry import Point, Polygon, box

from spatial_zb import (
    AlignmentError,
    DataError,
    DurbinSpec,
    Panel,
    SpatialZbError,
    SpatialZbWarning,
    SpecificationError,
    Weights,
    WeightsError,
    as_weights,
    build_panel,
    diagnose,
    fit_durbin,
    moran,
    read_regions,
    weights,
)
from spatial_zb import weights as zb_weights
from spatial_zb.simulate import durbin as simulate_durbin

IDS = [f"33{i:04d}" for i in range(12)]
RING = sparse.csr_array(np.roll(np.eye(12), 1, axis=1) + np.roll(np.eye(12), -1, axis=1))
W = Weights(RING, pd.Index(IDS), "ring").standardise("row")
PANEL = simulate_durbin(W, 4, {"a": 1.0, "b": -1.0}, rho=0.3, rng=0)
FRAME = PANEL.frame()
#: The third unit in the second period.
ONE_CELL = np.indices((4, 12))[0] * 12 + np.indices((4, 12))[1] == 14
EQUAL = Weights(np.ones((12, 12)) - np.eye(12), pd.Index(IDS), "everyone").standardise("row")


def gate(frame: pd.DataFrame, **options) -> Panel:
    return build_panel(frame, "unit", "period", units=W.ids, **options)


def fit(panel=PANEL, W=W, x=("a", "b"), estimator="lee_yu", **spec):
    return fit_durbin(DurbinSpec("y", list(x), **spec), panel, W, estimator)


def changed(column: str, value, row: int = 5) -> pd.DataFrame:
    out = FRAME.copy()
    if not isinstance(value, float):
        out[column] = out[column].astype(object)
    out.loc[row, column] = value
    return out


def with_column(name: str, values) -> Panel:
    return PANEL.with_columns({name: np.broadcast_to(values, (4, 12))})


def square(**columns) -> geopandas.GeoDataFrame:
    shapes = [box(i, 0, i + 1, 1) for i in range(3)]
    ids = columns.pop("adcode", ["1", "2", "3"])
    return geopandas.GeoDataFrame(
        {"adcode": ids}, geometry=columns.pop("shapes", shapes), crs=columns.pop("crs", 4490)
    )


def matrix_with(i: int, j: int, value: float) -> np.ndarray:
    out = RING.toarray()
    out[i, j] = value
    return out


REFUSALS = {
    # ids and alignment
    "1 units missing from the map": (
        lambda: gate(FRAME.assign(unit=FRAME["unit"].replace(IDS[3], "990000"))),
        AlignmentError,
        [IDS[3], "990000", "inner"],
    ),
    "2 units missing from the panel": (
        lambda: gate(FRAME[FRAME["unit"] != IDS[2]]),
        AlignmentError,
        [IDS[2], "1 unit"],
    ),
    "2b weights of other units": (
        lambda: fit(W=Weights(RING, pd.Index([f"x{i}" for i in range(12)]))),
        AlignmentError,
        ["x0", IDS[0], "same list"],
    ),
    "4 a bare matrix": (lambda: fit(W=RING.toarray()), AlignmentError, ["ids="]),
    "4b a bare matrix of another size": (lambda: as_weights(RING, ids=IDS[:5]), AlignmentError, ["12", "5"]),
    "8 duplicate unit-period": (
        lambda: gate(pd.concat([FRAME, FRAME.iloc[[7]]])),
        DataError,
        [f"{IDS[7]} 2001", "Keep one"],
    ),
    "14 duplicate columns": (
        lambda: gate(FRAME.set_axis(["unit", "period", "y", "a", "a"], axis=1)),
        DataError,
        ["a", "Rename"],
    ),
    "13 reserved names": (lambda: gate(FRAME.rename(columns={"a": "rho"})), DataError, ["rho", "Rename"]),
    # panel
    "16 holes": (
        lambda: gate(FRAME.drop(index=5)),
        DataError,
        [f"{IDS[5]} 2001", "drop_units", "drop_periods"],
    ),
    "18 one period with effects": (
        lambda: fit(PANEL.select(periods=[2001])),
        SpecificationError,
        ["single period", 'fixed_effects="none"'],
    ),
    "19 one unit": (lambda: Weights(np.zeros((1, 1)), pd.Index(["a"])), WeightsError, ["no link"]),
    "20 a blank cell": (lambda: fit(gate(changed("a", np.nan))), DataError, ["a of", IDS[5], "2001", "Fill"]),
    "20b a blank y": (lambda: fit(gate(changed("y", np.nan))), DataError, ["y of", IDS[5], "2001"]),
    "20c a blank cell for Moran": (
        lambda: moran(gate(changed("y", np.nan)), "y", W),
        DataError,
        ["'y'", IDS[5], "2001"],
    ),
    "21 infinite": (lambda: gate(changed("a", np.inf)), DataError, ["'a'", "infinite", IDS[5], "2001"]),
    "22 a thousands comma": (
        lambda: gate(changed("a", "1,234"), columns=["y", "a"]),
        DataError,
        ["'a'", "1,234", IDS[5], "2001"],
    ),
    "22b a dash": (lambda: gate(changed("a", "—"), columns=["y", "a"]), DataError, ["'a'", "—", IDS[5]]),
    "22c a percentage": (
        lambda: gate(changed("a", "12%"), columns=["y", "a"]),
        DataError,
        ["'a'", "12%", IDS[5]],
    ),
    "25 constant regressor": (lambda: fit(with_column("a", 3.0)), DataError, ["'a'", "constant", "Drop"]),
    "25b constant without effects": (
        lambda: fit(with_column("a", 3.0), fixed_effects="none"),
        DataError,
        ["'a'", "constant", "intercept"],
    ),
    "26 constant within units": (
        lambda: fit(with_column("a", np.arange(12.0)), fixed_effects="unit", lag_x=[]),
        DataError,
        ["'a'", "absorbed", "unit effects"],
    ),
    "26b constant within periods": (
        lambda: fit(with_column("a", np.arange(4.0)[:, None]), fixed_effects="time", lag_x=[]),
        DataError,
        ["'a'", "absorbed", "time effects"],
    ),
    "26c a unit part plus a time part": (
        lambda: fit(with_column("a", np.arange(4.0)[:, None] + np.arange(12.0)), lag_x=[]),
        DataError,
        ["'a'", "absorbed", "two-way"],
    ),
    "27 collinear": (
        lambda: fit(with_column("c", 2 * PANEL.array("a") - PANEL.array("b")), x=("a", "b", "c"), lag_x=[]),
        DataError,
        ["a", "b", "c", "exact linear combination", "Drop one"],
    ),
    "27b collinear with a lag": (
        lambda: fit(
            with_column("c", np.stack([W.matrix @ v for v in PANEL.array("a")])), x=("a", "c"), lag_x=["a"]
        ),
        DataError,
        ["c", "W_a", "Drop one"],
    ),
    "27c collinear after the effects": (
        lambda: fit(with_column("c", PANEL.array("a") + np.arange(12.0)), x=("a", "c"), lag_x=[]),
        DataError,
        ["a", "c", "Drop one"],
    ),
    "30 constant y": (lambda: fit(with_column("y", 5.0)), DataError, ["'y'", "does not vary"]),
    "30b y without within variation": (
        lambda: fit(with_column("y", np.arange(12.0)), fixed_effects="unit"),
        DataError,
        ["'y'", "does not vary"],
    ),
    "31 too few observations": (
        lambda: _too_few(),
        DataError,
        ["3 units", "2 periods", "parameters", "Drop"],
    ),
    "34 perfect fit": (
        lambda: fit(with_column("y", 2 * PANEL.array("a") + PANEL.array("b")), lag_x=[]),
        DataError,
        ["'y'", "perfectly", "identity"],
    ),
    "34b perfect fit up to effects": (
        lambda: fit(with_column("y", 2 * PANEL.array("a") + np.arange(12.0) + np.arange(4.0)[:, None])),
        DataError,
        ["'y'", "perfectly"],
    ),
    "110 empty table": (lambda: gate(FRAME.iloc[:0]), DataError, ["no rows"]),
    # weights
    "36 islands without a policy": (
        lambda: weights.contiguity(_with_island()),
        WeightsError,
        ["4", "nearest", "zero", "bridges"],
    ),
    "37 all islands": (lambda: Weights(np.zeros((3, 3)), pd.Index(list("abc"))), WeightsError, ["no link"]),
    "40 negative": (
        lambda: Weights(matrix_with(2, 3, -1.0), pd.Index(IDS)),
        WeightsError,
        ["negative", f"{IDS[3]} → {IDS[2]}"],
    ),
    "41 diagonal": (lambda: Weights(matrix_with(4, 4, 1.0), pd.Index(IDS)), WeightsError, ["itself", IDS[4]]),
    "42 NaN": (
        lambda: Weights(matrix_with(2, 3, np.nan), pd.Index(IDS)),
        WeightsError,
        ["not finite", f"{IDS[3]} → {IDS[2]}"],
    ),
    "42b infinite": (
        lambda: Weights(matrix_with(2, 3, np.inf), pd.Index(IDS)),
        WeightsError,
        ["not finite", IDS[2]],
    ),
    "43 everyone a neighbour, rho": (
        lambda: fit(W=EQUAL, lag_x=[]),
        SpecificationError,
        ["rho is not identified", "'everyone'", "another W"],
    ),
    "43c everyone a neighbour, WX": (lambda: fit(W=EQUAL), SpatialZbError, ["a", "W_a"]),
    "44 not row-normalised with time effects": (
        lambda: fit(W=Weights(RING, pd.Index(IDS), "raw"), estimator="robust_score"),
        SpecificationError,
        ["'raw'", 'standardise("row")', "unit effects"],
    ),
    "36b islands with time effects": (
        lambda: fit(W=_island_weights(), estimator="robust_score"),
        SpecificationError,
        [IDS[0], "no neighbour", "nearest"],
    ),
    "unknown estimator": (lambda: fit(estimator="ols"), SpecificationError, ["lee_yu", "direct", "'ols'"]),
    "unknown effects": (lambda: fit(fixed_effects="both"), SpecificationError, ["two_way", "'both'"]),
    "unknown variable": (lambda: fit(x=("aa",)), DataError, ["'aa'"]),
    "21 infinite y of a derived panel": (
        lambda: fit(panel=PANEL.with_columns({"y": np.where(ONE_CELL, np.inf, PANEL.array("y"))})),
        DataError,
        ["infinite", f"y of {IDS[2]} in 2002"],
    ),
    "21 infinite x of a derived panel": (
        lambda: fit(panel=PANEL.with_columns({"a": np.where(ONE_CELL, -np.inf, PANEL.array("a"))})),
        DataError,
        ["infinite", f"a of {IDS[2]} in 2002"],
    ),
    "a table for a panel": (
        lambda: fit(panel=FRAME),
        SpecificationError,
        ["Panel", "DataFrame", "build_panel"],
    ),
    "a formula for a specification": (
        lambda: fit_durbin("y ~ a", PANEL, W),
        SpecificationError,
        ["DurbinSpec", "str"],
    ),
    "a switch that is a word": (
        lambda: fit(lag_y="no"),
        SpecificationError,
        ["lag_y", "'no'", "True, False"],
    ),
    "no list of names": (lambda: DurbinSpec("y", None), SpecificationError, ["x must be a list", "None"]),
    "95 for a level": (lambda: fit().conf_int(95), SpecificationError, ["0.05 for 95 %", "95"]),
    "level of nan": (lambda: fit().tidy(level=float("nan")), SpecificationError, ["level", "nan"]),
    "x is one text": (lambda: DurbinSpec("y", "a"), SpecificationError, ["list", "'a'"]),
    "y among x": (lambda: DurbinSpec("y", ["y"]), SpecificationError, ["'y'"]),
    "x twice": (lambda: DurbinSpec("y", ["a", "a"]), SpecificationError, ["a", "more than once"]),
    "lag of a stranger": (lambda: DurbinSpec("y", ["a"], lag_x=["b"]), SpecificationError, ["b", "among x"]),
}


def _too_few():
    triangle = Weights(np.ones((3, 3)) - np.eye(3), pd.Index(IDS[:3]), "t").standardise()
    return fit(PANEL.select(units=IDS[:3], periods=[2001, 2002]), W=triangle, lag_x=[])


def _with_island() -> geopandas.GeoDataFrame:
    shapes = [box(i, 0, i + 1, 1) for i in range(3)] + [box(9, 9, 10, 10)]
    return geopandas.GeoDataFrame(geometry=shapes, index=pd.Index(list("1234")), crs=4490)


def _island_weights() -> Weights:
    A = RING.toarray()
    A[0], A[:, 0] = 0, 0
    return Weights(A, pd.Index(IDS), "isle").standardise("row")


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
@pytest.mark.parametrize("case", REFUSALS)
def test_refused_with_culprit_and_remedy(case):
    action, error, words = REFUSALS[case]
    with pytest.raises(error) as caught:
        action()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"


WARNINGS = {
    "1b inner join": (lambda: gate(FRAME[FRAME["unit"] != IDS[2]], how="inner"), [IDS[2], "left out"]),
    "6 ids as decimals": (
        lambda: build_panel(FRAME.assign(unit=FRAME["unit"].astype(float)), "unit", "period"),
        ["decimals"],
    ),
    "7 full-width ids": (
        lambda: gate(FRAME.assign(unit=FRAME["unit"].str.replace("3", "３"))),
        ["full-width", "'unit'"],
    ),
    "16b units dropped": (lambda: gate(FRAME.drop(index=5), balance="drop_units"), [IDS[5], "1 unit"]),
    "16c periods dropped": (lambda: gate(FRAME.drop(index=5), balance="drop_periods"), ["2001", "1 period"]),
    "23 numbers as text": (
        lambda: gate(FRAME.assign(a=FRAME["a"].astype(str)), columns=["y", "a"]),
        ["'a'", "text"],
    ),
    "28 near collinearity": (
        lambda: fit(with_column("c", PANEL.array("a") + 1e-4 * PANEL.array("b")), x=("a", "c"), lag_x=[]),
        ["nearly collinear", "condition number"],
    ),
    "32 few units": (lambda: fit(), ["12 units", "48"]),
    "36c islands kept": (lambda: weights.contiguity(_with_island(), islands="zero"), ["4", "no neighbour"]),
    "36d islands linked": (
        lambda: weights.contiguity(_with_island(), islands="nearest"),
        ["4", "3", "linked"],
    ),
    "36e islands in Moran": (lambda: moran(PANEL, "y", _island_weights(), permutations=9, rng=0), [IDS[0]]),
    "GNS": (lambda: fit(lag_error=True), ["GNS", "weakly identified"]),
    "direct with time effects": (lambda: fit(estimator="direct"), ["biased", "lee_yu"]),
}


@pytest.mark.parametrize("case", WARNINGS)
def test_said_and_gone_on(case):
    action, words = WARNINGS[case]
    with pytest.warns(SpatialZbWarning) as caught:
        action()
    said = " / ".join(str(w.message) for w in caught)
    missing = [word for word in words if word not in said]
    assert not missing, f"{missing} not in: {said}"


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
def test_43b_everyone_a_neighbour_leaves_lam_unidentified_too():
    with pytest.raises(SpecificationError, match="not identified"):
        fit(W=EQUAL, lag_y=False, lag_x=[], lag_error=True)


def test_33_an_outlier_of_a_thousand_times_is_mentioned_and_left():
    with pytest.warns(SpatialZbWarning, match=IDS[5]):
        panel = gate(changed("a", float(1000 * FRAME["a"].abs().max())))
    assert panel.array("a").max() == 1000 * FRAME["a"].abs().max()


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
@pytest.mark.parametrize(
    "dtype", ["int64", "Int64", "Float64", "bool", "boolean", "float32", "category", "decimal", "object"]
)
def test_24_kinds_of_numbers(dtype):
    """Integers, nullable numbers, decimals, booleans and categories of numbers are numbers."""
    whole = (FRAME["a"] > 0).astype(int)
    column = whole.map(Decimal) if dtype == "decimal" else whole.astype(dtype)
    panel = gate(FRAME.assign(a=column), columns=["y", "a"])
    np.testing.assert_array_equal(panel.array("a").ravel(), whole)


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
def test_18_a_cross_section_needs_no_remark():
    assert fit(PANEL.select(periods=[2002]), fixed_effects="none").nobs == 12


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
def test_19_two_periods_are_enough():
    assert fit(PANEL.select(periods=[2001, 2003]), x=("a",)).nobs == 11


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
def test_20_rows_with_blanks_in_unused_columns_stay():
    assert fit(gate(changed("b", np.nan)), x=("a",)).nobs == 33


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
def test_44_without_normalisation_the_interval_comes_from_the_eigenvalues():
    raw = Weights(RING, pd.Index(IDS), "raw")
    found = fit(W=raw, fixed_effects="unit")
    assert raw.logdet.interval == pytest.approx((-0.5, 0.5))
    assert -0.5 < found.params["rho"] < 0.5
    assert found.glance()["normalisation"].item() == "none"


def test_69_at_the_bound_it_is_said_loudly_and_no_error_is_claimed():
    """A y that is one smooth surface in every period: the likelihood rises up to ρ = 1."""
    smooth = np.cos(2 * np.pi * np.arange(12) / 12)
    y = np.outer([1.0, 2.0, -1.0, 3.0], smooth) + 0.001 * PANEL.array("b")
    with pytest.warns(SpatialZbWarning, match="admissible interval.*no standard error"):
        found = fit(with_column("y", y), x=("a",), lag_x=[])
    assert not found.converged
    assert found.tidy()[["std_error", "p_value", "conf_low", "conf_high"]].isna().all(axis=None)
    assert "NOT CONVERGED" in found.summary()
    assert "n.c." in repr(found)


def test_71_a_covariance_that_is_not_positive_definite_is_not_repaired(monkeypatch):
    import spatial_zb.models.certainty as ml

    monkeypatch.setattr(ml, "information", lambda parts, *rest: -np.eye(parts.BZ.shape[1] + 3))
    with pytest.warns(SpatialZbWarning, match="not positive definite"):
        found = fit()
    assert not found.converged
    assert found.bse.isna().all()
    assert found.pvalues.isna().all()


def test_52_the_callers_objects_are_not_changed():
    matrix, frame = RING.toarray(), FRAME.copy()
    kept, ids = matrix.copy(), list(IDS)
    made = Weights(matrix, ids, "w").standardise("row")
    matrix[0, 1] = 99.0
    assert made.matrix[0, 1] == 0.5
    np.testing.assert_array_equal(np.where(matrix == 99.0, kept, matrix), kept)
    gate(frame)
    pd.testing.assert_frame_equal(frame, FRAME)
    with pytest.raises(ValueError, match="read-only"):
        made.matrix.data[0] = 3.0
    with pytest.raises(ValueError, match="read-only"):
        PANEL.values[0, 0, 0] = 1.0


GEOMETRY = {
    "9 duplicate ids": (lambda: square(adcode=["1", "1", "3"]), ["1", "Dissolve"]),
    "53 no CRS, degrees": (lambda: square(crs=None), ["coordinate reference system", "4490", "4326"]),
    "57 swapped latitude and longitude": (
        lambda: square(shapes=[box(30 + i, 120, 31 + i, 121) for i in range(3)]),
        ["swapped", "121"],
    ),
    "59 empty geometry": (
        lambda: square(shapes=[box(0, 0, 1, 1), Polygon(), box(2, 0, 3, 1)]),
        ["2", "no geometry"],
    ),
    "59b null geometry": (
        lambda: square(shapes=[box(0, 0, 1, 1), None, box(2, 0, 3, 1)]),
        ["2", "no geometry"],
    ),
    "62 points": (lambda: square(shapes=[Point(i, 0) for i in range(3)]), ["Point", "polygons are needed"]),
    "no id column": (lambda: square().rename(columns={"adcode": "code"}), ["'adcode'", "code", "id="]),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", GEOMETRY)
def test_layers_refused(case, tmp_path):
    make, words = GEOMETRY[case]
    path = tmp_path / "layer.gpkg"
    make().to_file(path)
    with pytest.raises(DataError) as caught:
        read_regions(path)
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"


def test_58_a_bow_tie_is_mended_and_named(tmp_path):
    bow = Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
    path = tmp_path / "layer.gpkg"
    square(shapes=[bow, box(5, 0, 6, 1), box(7, 0, 8, 1)]).to_file(path)
    with pytest.warns(SpatialZbWarning, match="1 .*mended"):
        layer = read_regions(path)
    assert layer.geometry.is_valid.all()


def test_54_distances_are_kilometres_on_the_ellipsoid_not_degrees(delta):
    from dense_matrices import distances_km

    pair = delta[delta["name_en"].isin(["Hangzhou", "Ningbo"])]
    assert distances_km(pair)[0, 1] == pytest.approx(distances_km(pair.to_crs(4549))[0, 1], rel=1e-3)
    assert 100 < distances_km(pair)[0, 1] < 250


def test_missing_file_and_parts(tmp_path):
    with pytest.raises(DataError, match=r"no polygon file .*gone\.shp"):
        read_regions(tmp_path / "gone.shp")
    square().to_file(tmp_path / "a.shp")
    (tmp_path / "a.dbf").unlink()
    with pytest.raises(DataError, match=r"a\.shp .*\.dbf"):
        read_regions(tmp_path / "a.shp")
    (tmp_path / "b.gpkg").write_bytes(b"not a package")
    with pytest.raises(DataError, match=r"b\.gpkg"):
        read_regions(tmp_path / "b.gpkg")


@pytest.mark.filterwarnings("ignore:.*read standard errors.*")
def test_47_weights_built_from_the_dependent_variable_are_mentioned():
    W = zb_weights.economic_distance(zb_weights.unit_means(PANEL, "y"), variable="y").standardise("row")
    with pytest.warns(SpatialZbWarning, match="built from 'y'"):
        fit(W=W)


@pytest.mark.parametrize("variable", ["y", "a"])
@pytest.mark.parametrize("power", [80, -99, 200])
def test_sizes_beyond_what_squares_can_hold_are_refused_by_name(variable, power):
    """Standard errors were no number, or regressors "an exact linear combination", where squares overflow."""
    extreme = gate(FRAME.assign(**{variable: FRAME[variable] * 10.0**power}))
    with pytest.raises(DataError, match=f"'{variable}' has values of size .*another unit"):
        fit(extreme)


@pytest.mark.parametrize(("of_y", "of_a"), [(1e49, 1e-49), (1e-49, 1e49)])
def test_statistics_are_right_up_to_the_sizes_refused(of_y, of_a):
    usual, extreme = PANEL, gate(FRAME.assign(y=FRAME["y"] * of_y, a=FRAME["a"] * of_a))
    for made in (
        lambda panel: fit(panel).tidy()["p_value"],
        lambda panel: diagnose(fit(panel).spec, panel, W).tidy()["statistic"],
    ):
        np.testing.assert_allclose(made(extreme), made(usual), rtol=1e-5, atol=1e-9)
