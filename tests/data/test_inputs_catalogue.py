"""The catalogue of bad and hard inputs, 1–35 and 53–68: one line each, with what it must get.

``E`` is refused with the class of the error, the culprit and the remedy; ``W`` is said and gone on with; ``N``
passes without a remark. Numbers are those of the catalogue; a letter tells cases of one number apart.
"""

from __future__ import annotations

import warnings
from datetime import date
from decimal import Decimal

import geopandas
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from shapely.geometry import MultiPolygon, Point, Polygon, box

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
    read_regions,
    weights,
)
from spatial_zb.data.panel import require_consecutive
from spatial_zb.simulate import durbin as simulate_durbin

IDS = [f"0{33 + i}" for i in range(6)]
NAMES = ["杭州市", "宁波市", "温州市", "嘉兴市", "湖州市", "绍兴市"]
RING = sparse.csr_array(np.roll(np.eye(6), 1, axis=1) + np.roll(np.eye(6), -1, axis=1))
W = Weights(RING, pd.Index(IDS), "ring").standardise("row")
FRAME = simulate_durbin(W, 5, {"a": 1.0, "b": -1.0}, rho=0.3, rng=0).frame()
MAP = geopandas.GeoDataFrame(
    {"name_zh": NAMES}, index=pd.Index(IDS), geometry=[box(i, 0, i + 1, 1) for i in range(6)], crs=4490
)
YEARS = FRAME["period"].map(lambda p: p + 18)
POSITIVE = FRAME.assign(a=FRAME["a"].abs() + 1)


def gate(frame=FRAME, units=IDS, **options):
    return build_panel(frame, "unit", "period", units=units, **options)


def with_cell(column, value, frame=FRAME):
    out = frame.astype({column: object}) if isinstance(value, str) else frame.copy()
    out.loc[7, column] = value
    return out


def fit(frame=FRAME, x=("a", "b"), effects="two_way", **spec):
    return fit_durbin(DurbinSpec("y", list(x), fixed_effects=effects, lag_x=[], **spec), gate(frame), W)


def renamed(old: str, new: str):
    return FRAME.assign(unit=FRAME["unit"].replace({old: new}))


# --- panel and alignment ------------------------------------------------------------------------------------

CELL = ["'a'", "034", "2002"]
REFUSED = {
    "1 unit in the panel, not on the map": (lambda: gate(units=IDS[:5]), AlignmentError, ["038", "inner"]),
    "2 unit on the map, not in the panel": (
        lambda: gate(units=[*IDS, "099"]),
        AlignmentError,
        ["099", "Add"],
    ),
    "4 a bare matrix": (lambda: as_weights(RING.toarray()), AlignmentError, ["ids="]),
    "5b two codes fit": (lambda: gate(renamed("033", "33"), [*IDS, "0033"]), AlignmentError, ["33", "033"]),
    "6b ids with a fraction": (lambda: gate(FRAME.assign(unit=1.5)), DataError, ["'unit'", "as text"]),
    "8 unit-period twice": (lambda: gate(pd.concat([FRAME, FRAME[:1]])), DataError, ["033 2001"]),
    "10 a name for a code": (
        lambda: gate(renamed("034", "宁波"), MAP),
        AlignmentError,
        ["宁波 may be 034 (宁波市)"],
    ),
    "10b the full name": (lambda: gate(renamed("035", "温州市"), MAP), AlignmentError, ["035 (温州市)"]),
    "11b a date": (
        lambda: gate(FRAME.assign(period=YEARS.map(lambda y: date(y, 12, 31)))),
        DataError,
        ["'period'", "keep the year"],
    ),
    "11c a time stamp": (
        lambda: gate(FRAME.assign(period=pd.to_datetime(YEARS.astype(str)))),
        DataError,
        ["'period'", "keep the year"],
    ),
    "11d two digits": (
        lambda: gate(FRAME.assign(period=FRAME["period"].astype(str).str[2:])),
        DataError,
        ["'01'", "four digits"],
    ),
    "12 a unit of some years": (
        lambda: gate(FRAME[~((FRAME["unit"] == "036") & (FRAME["period"] < 2003))]),
        DataError,
        ["036 2001", "constant boundaries"],
    ),
    "13 reserved": (lambda: gate(FRAME.rename(columns={"a": "rho"})), DataError, ["rho", "Rename"]),
    "13b reserved lag": (lambda: gate(FRAME.rename(columns={"a": "W_b"})), DataError, ["W_b", "Rename"]),
    "13c reserved after cleaning": (
        lambda: gate(FRAME.rename(columns={"a": " ｒho"})),
        DataError,
        ["Rename"],
    ),
    "13d alike after cleaning": (lambda: gate(FRAME.rename(columns={"a": "b "})), DataError, ["b", "Rename"]),
    "14 columns twice": (lambda: gate(pd.concat([FRAME, FRAME[["a"]]], axis=1)), DataError, ["a", "Rename"]),
    "16 holes": (lambda: gate(FRAME.drop(index=7)), DataError, ["034 2002", "drop_units"]),
    "17 a gap before a lag": (
        lambda: require_consecutive(gate(FRAME[FRAME["period"] != 2004]), "time_lag"),
        DataError,
        ["time_lag", "2005 follows 2003", "Add 2004", "range(2001, 2004, 1)"],
    ),
    "17b a lag of one period": (
        lambda: require_consecutive(gate(FRAME[:6])),
        DataError,
        ["two or more", "2001"],
    ),
    "18 one period with effects": (lambda: fit(FRAME[:6]), SpecificationError, ["single period", "none"]),
    "20 a blank cell": (lambda: fit(with_cell("a", np.nan)), DataError, ["a of", "034", "2002"]),
    "21 infinite": (lambda: gate(with_cell("a", np.inf)), DataError, [*CELL, "infinite"]),
    "22 thousands": (lambda: gate(with_cell("a", "1,234"), columns=["a"]), DataError, [*CELL, "thousands="]),
    "22b a dash": (lambda: gate(with_cell("a", "—"), columns=["a"]), DataError, [*CELL, "blank"]),
    "22c per cent": (
        lambda: gate(with_cell("a", "12%"), columns=["a"]),
        DataError,
        [*CELL, "write 12% as 12"],
    ),
    "22d not thousands": (
        lambda: gate(with_cell("a", "1,23"), columns=["a"], thousands=","),
        DataError,
        [*CELL, "1,23"],
    ),
    "25 constant": (lambda: fit(FRAME.assign(a=3.0)), DataError, ["'a'", "constant", "Drop"]),
    "26 constant within units": (
        lambda: fit(FRAME.assign(a=FRAME["unit"].map(int))),
        DataError,
        ["'a'", "absorbed"],
    ),
    "26b constant within periods": (
        lambda: fit(FRAME.assign(a=FRAME["period"] ** 2), effects="time"),
        DataError,
        ["'a'", "absorbed"],
    ),
    "27 collinear": (
        lambda: fit(FRAME.assign(c=FRAME["a"] - FRAME["b"]), ("a", "b", "c")),
        DataError,
        ["a", "b", "c", "Drop one"],
    ),
    "30 constant y": (lambda: fit(FRAME.assign(y=1.0)), DataError, ["'y'", "does not vary"]),
    "31 no degrees of freedom": (
        lambda: fit_durbin(
            DurbinSpec("y", ["a", "b"], lag_x=[]),
            gate(FRAME[FRAME["unit"].isin(IDS[:3]) & (FRAME["period"] < 2003)], IDS[:3]),
            Weights(np.ones((3, 3)) - np.eye(3), pd.Index(IDS[:3]), "t").standardise("row"),
        ),
        DataError,
        ["3 units", "Drop"],
    ),
    "34 perfect fit": (lambda: fit(FRAME.assign(y=2 * FRAME["a"])), DataError, ["'y'", "perfectly"]),
    "24b nothing to use": (lambda: gate(FRAME[["unit", "period"]]), DataError, ["no numeric column"]),
}
SAID = {
    "1b common units only": (lambda: gate(units=IDS[:5], how="inner"), ["038", "left out"]),
    "5 a lost zero": (lambda: gate(renamed("033", "33")), ["33 → 033", "as text"]),
    "5c all zeros lost": (lambda: gate(FRAME.assign(unit=FRAME["unit"].astype(int))), ["6 unit id(s)", "→"]),
    "6 ids as decimals": (
        lambda: build_panel(FRAME.assign(unit=FRAME["unit"].astype(float))),
        ["'unit'", "decimals"],
    ),
    "7 full-width digits": (lambda: gate(renamed("034", "０３４")), ["'unit'", "full-width"]),
    "7b blanks and a mark": (lambda: gate(renamed("034", "\ufeff034 ")), ["'unit'", "Blanks"]),
    "11 2019年": (
        lambda: gate(FRAME.assign(period=YEARS.astype(str) + "年")),
        ["'period'", "2019年", "years"],
    ),
    "11e full-width years": (
        lambda: gate(FRAME.assign(period=YEARS.astype(str).str.replace("2", "２"))),
        ["'period'", "years"],
    ),
    "16b drop units": (lambda: gate(FRAME.drop(index=7), balance="drop_units"), ["1 unit", "034"]),
    "16c drop periods": (lambda: gate(FRAME.drop(index=7), balance="drop_periods"), ["1 period", "2002"]),
    "23 numbers as text": (lambda: gate(with_cell("a", "1.5"), columns=["a"]), ["'a'", "text"]),
    "28 near collinearity": (
        lambda: fit(FRAME.assign(c=FRAME["a"] + 1e-4 * FRAME["b"]), ("a", "c")),
        ["nearly collinear", "condition number"],
    ),
    "32 few units": (lambda: fit(), ["6 units"]),
    "33 a slip by a thousand": (
        lambda: gate(with_cell("a", 1000 * POSITIVE["a"].median(), POSITIVE)),
        ["a stands out", "034 in 2002", "was kept"],
    ),
}


def test_3_any_order_of_rows_and_units_gives_the_same():
    shuffled = gate(FRAME.sample(frac=1, random_state=1), IDS[::-1])
    np.testing.assert_array_equal(shuffled.values[:, ::-1], gate().values)


def test_15_names_may_hold_anything():
    frame = FRAME.rename(columns={"a": 'GDP "杭州"\n, 2'}).assign(unit=FRAME["unit"] + '"\n,')
    assert 'GDP "杭州"\n, 2' in build_panel(frame).columns


def test_gaps_between_periods_are_labels_of_a_panel_without_dynamics():
    assert gate(FRAME[FRAME["period"] != 2003]).periods == (2001, 2002, 2004, 2005)


def test_17c_equal_distances_are_no_gap():
    decades = gate(FRAME.assign(period=2000 + 10 * (FRAME["period"] - 2001)))
    assert require_consecutive(decades) == 10
    assert require_consecutive(gate()) == 1
    assert require_consecutive(gate(FRAME[FRAME["period"].isin([2001, 2003, 2005])])) == 2


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
def test_18b_a_cross_section_without_effects():
    assert fit(FRAME[:6], ("a",), "none").nobs == 6


def test_19_one_unit_has_no_neighbours():
    with pytest.raises(WeightsError, match="no link"):
        Weights(np.zeros((1, 1)), pd.Index(["033"]))


def test_22e_thousands_are_read_on_request():
    with pytest.warns(SpatialZbWarning, match="text"):
        panel = gate(with_cell("a", "-1,234,567.5"), columns=["a"], thousands=",")
    assert panel.array("a")[1, 1] == -1234567.5


KINDS = ["int64", "Int64", "Float64", "boolean", "float32", "category", "decimal"]


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_24_kinds_of_numbers(kind):
    whole = (FRAME["a"] > 0).astype(int)
    column = whole.map(Decimal) if kind == "decimal" else whole.astype(kind)
    panel = gate(FRAME.assign(a=column), columns=["a"])
    np.testing.assert_array_equal(panel.array("a").ravel(), whole)


def test_29_magnitudes_pass():
    wide = gate(FRAME.assign(a=FRAME["a"] * 1e12, b=FRAME["b"] * 1e-6))
    np.testing.assert_allclose(wide.array("a"), gate().array("a") * 1e12, rtol=1e-15)


def test_33b_real_data_of_unlike_cities_are_not_called_slips():
    size = dict(zip(IDS, 10.0 ** np.arange(6) / 5, strict=True))
    sizes = POSITIVE.assign(a=POSITIVE["a"] * POSITIVE["unit"].map(size))
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialZbWarning)
        gate(sizes)


# --- polygons -----------------------------------------------------------------------------------------------

SQUARES = [box(119 + i, 29, 120 + i, 30) for i in range(3)]


def layer(shapes=SQUARES, ids=("0330", "0331", "0332"), crs=4490, column="adcode", **more):
    return geopandas.GeoDataFrame({column: list(ids), **more}, geometry=list(shapes), crs=crs)


def shapefile(folder, change=lambda path: None, **options):
    path = folder / "a.shp"
    layer(**options).to_file(path, encoding="utf-8")
    change(path)
    return path


def without(*suffixes):
    return lambda path: [path.with_suffix(s).unlink() for s in suffixes]


def cut(suffix: str, left: float = 0.6):
    def change(path):
        part = path.with_suffix(suffix)
        part.write_bytes(part.read_bytes()[: int(part.stat().st_size * left)])

    return change


def gbk(path):
    """Write the names of the .dbf in GBK, as old Chinese software does, without a .cpg."""
    table = path.with_suffix(".dbf")
    content = bytearray(table.read_bytes())
    for name in NAMES[:3]:
        old, new = name.encode(), name.encode("gbk")
        content[:] = bytes(content).replace(old, new + b" " * (len(old) - len(new)))
    content[29] = 0
    table.write_bytes(content)
    path.with_suffix(".cpg").unlink()


SWAPPED = [box(29, 119 + i, 30, 120 + i) for i in range(3)]
SWAPPED_WEST = [box(39, 75 + i, 40, 76 + i) for i in range(3)]
BOW = Polygon([(119, 29), (120, 30), (120, 29), (119, 30)])
SHAPES_REFUSED = {
    "9 polygon ids twice": ({"ids": ["1", "1", "3"]}, None, ["a.shp", "1", "Dissolve"]),
    "53 no reference system": ({"crs": None}, None, ["coordinate reference system", "4490", "4326"]),
    "57 swapped": ({"shapes": SWAPPED}, None, ["swapped", "122"]),
    "57b swapped in the far west": ({"shapes": SWAPPED_WEST}, None, ["swapped", "outside China"]),
    "59 no geometry": ({"shapes": [SQUARES[0], None, SQUARES[2]]}, None, ["0331", "no geometry"]),
    "62 points": ({"shapes": [Point(119 + i, 29) for i in range(3)]}, None, ["Point", "polygons are needed"]),
    "65 no .dbf": ({}, without(".dbf"), ["a.shp", ".dbf", "Copy"]),
    "65b .shp cut off": ({}, cut(".shp"), ["a.shp", "cut off", "again"]),
    "65c .dbf cut off": ({}, cut(".dbf"), ["a.dbf", "cut off", "again"]),
}
SHAPES_SAID = {
    "58 crossing borders": ({"shapes": [BOW, *SQUARES[1:]]}, None, ["0330", "make_valid"]),
    "60 overlap": ({"shapes": [box(119, 29, 120.2, 30), *SQUARES[1:]]}, None, ["0330", "0331", "overlap"]),
    "64 GBK without .cpg": ({"name": NAMES[:3]}, gbk, ["a.shp", "GB18030", ".cpg"]),
    "65d no .shx": ({}, without(".shx"), ["a.shp", ".shx"]),
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("case", SHAPES_REFUSED)
def test_polygons_refused(tmp_path, case):
    options, change, words = SHAPES_REFUSED[case]
    path = shapefile(tmp_path, change or (lambda path: None), **options)
    with pytest.raises(DataError) as caught:
        read_regions(path)
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)


@pytest.mark.parametrize("case", SHAPES_SAID)
def test_polygons_said(tmp_path, case):
    options, change, words = SHAPES_SAID[case]
    path = shapefile(tmp_path, change or (lambda path: None), **options)
    before = sorted(tmp_path.iterdir())
    with pytest.warns(SpatialZbWarning) as caught:
        found = read_regions(path)
    said = " / ".join(str(w.message) for w in caught)
    assert not [word for word in words if word not in said], said
    assert list(found.index) == ["0330", "0331", "0332"]
    assert set(found.geom_type) <= {"Polygon", "MultiPolygon"}
    assert found.geometry.is_valid.all()
    assert sorted(tmp_path.iterdir()) == before
    if "name" in options:
        assert list(found["name"].str.strip()) == NAMES[:3]


def test_54_distances_on_degrees_are_kilometres():
    found = weights.distance_band(layer().set_index("adcode"), 100.0)
    assert found.matrix.nnz == 4  # a degree of longitude at 29.5° N is 97 km


def test_56_layers_of_mixed_systems_are_reprojected_and_said(tmp_path):
    parts = [layer(SQUARES[:2], ("0330", "0331")), layer(SQUARES[2:], ("0332",)).to_crs(4549)]
    paths = [tmp_path / "east.gpkg", tmp_path / "west.gpkg"]
    for part, path in zip(parts, paths, strict=True):
        part.to_file(path)
    with pytest.warns(SpatialZbWarning, match=r"west\.gpkg is in CGCS2000 / 3.*reprojected"):
        found = read_regions(paths)
    assert list(found.index) == ["0330", "0331", "0332"]
    np.testing.assert_allclose(found.total_bounds, [119, 29, 122, 30], atol=1e-6)


def test_61_several_parts_are_one_unit(tmp_path):
    parts = MultiPolygon([SQUARES[0], box(118, 25, 118.5, 25.5)])
    assert len(read_regions(shapefile(tmp_path, shapes=[parts, *SQUARES[1:]]))) == 3


def test_63_heights_are_dropped(tmp_path):
    solid = [Polygon([(x, y, 5.0) for x, y in s.exterior.coords]) for s in SQUARES]
    assert not read_regions(shapefile(tmp_path, shapes=solid)).geometry.has_z.any()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_66_names_of_ten_characters(tmp_path):
    path = shapefile(tmp_path, column="division_code")
    with pytest.warns(SpatialZbWarning, match=r"ten characters.*'division_code'.*'division_c'"):
        assert list(read_regions(path, id="division_code").index) == ["0330", "0331", "0332"]


def test_68_places_outside_china_pass(tmp_path):
    arctic = [box(20 + i, 78, 21 + i, 79) for i in range(3)]
    assert len(read_regions(shapefile(tmp_path, shapes=arctic, crs=4326))) == 3


# --- running the tables -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    action, error, words = REFUSED[case]
    with pytest.raises(error) as caught:
        action()
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)


@pytest.mark.parametrize("case", SAID)
def test_said(case):
    action, words = SAID[case]
    with pytest.warns(SpatialZbWarning) as caught:
        action()
    said = " / ".join(str(w.message) for w in caught)
    assert not [word for word in words if word not in said], said
