"""Polygon layers: read with text ids in the order of the file, checked, and never guessed at."""

from __future__ import annotations

import contextlib
import json
import sqlite3

import geopandas
import numpy as np
import pytest
from shapely.geometry import MultiPolygon, Polygon, box

from spatial_zb import AlignmentError, DataError, SpatialZbError, SpatialZbWarning, read_regions, weights
from spatial_zb.data import join_regions, select_regions


def layer(ids=("0330", "11", "2"), **columns) -> geopandas.GeoDataFrame:
    shapes = columns.pop("shapes", [box(i, 0, i + 1, 1) for i in range(3)])
    return geopandas.GeoDataFrame({"adcode": list(ids), **columns}, geometry=shapes, crs=4490)


@pytest.fixture
def written(tmp_path):
    def write(frame: geopandas.GeoDataFrame, name: str = "layer.gpkg"):
        frame.to_file(tmp_path / name)
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["layer.gpkg", "layer.shp", "layer.geojson"])
def test_ids_are_text_in_the_order_of_the_file(written, name):
    found = read_regions(written(layer(), name))
    assert list(found.index) == ["0330", "11", "2"]
    assert found.index.name == "adcode"
    assert found.crs.is_geographic


def test_delivered_layers(delta, counties):
    assert len(delta) == 41
    assert len(counties) == 90
    for regions in (delta, counties):
        assert {"name_zh", "name_en", "prov", "geometry"} <= set(regions.columns)
        assert regions.index.is_unique
        assert regions.crs.to_epsg() == 4490


def test_decimals_become_whole_numbers_and_it_is_said(written):
    path = written(layer((330100.0, 330200.0, 330300.0)))
    with pytest.warns(SpatialZbWarning, match=r"'adcode'.*decimals"):
        assert list(read_regions(path).index) == ["330100", "330200", "330300"]
    with pytest.raises(DataError, match="not whole numbers"):
        read_regions(written(layer((1.5, 2.0, 3.0)), "b.gpkg"))


@pytest.mark.parametrize("ids", [("1", None, "3"), ("1", "", "3"), (" ", "2", "")])
def test_blank_ids(written, ids):
    """Two of them were "more than one polygon for ." with advice to dissolve."""
    count = sum(not (i or "").strip() for i in ids)
    with pytest.raises(DataError, match=rf"{count} polygon.*without an id.*Give them ids"):
        read_regions(written(layer(ids)))


def test_heights_are_dropped(written):
    shapes = [Polygon([(i, 0, 9), (i + 1, 0, 9), (i + 1, 1, 9), (i, 1, 9)]) for i in range(3)]
    assert not read_regions(written(layer(shapes=shapes))).geometry.has_z.any()


def test_several_parts_are_one_unit(written):
    shapes = [MultiPolygon([box(0, 0, 1, 1), box(0, 5, 1, 6)]), box(1, 0, 2, 1), box(2, 0, 3, 1)]
    assert read_regions(written(layer(shapes=shapes))).geom_type.iloc[0] == "MultiPolygon"


def test_60_gaps_and_overlaps_are_named(written):
    shapes = [box(0, 0, 1.1, 1), box(1, 0, 2, 1), box(2, 0, 3, 1)]
    with pytest.warns(SpatialZbWarning, match=r"0330, 11\b.*overlap or leave gaps"):
        read_regions(written(layer(shapes=shapes)))


@pytest.mark.parametrize("path", ["/vsicurl/http://a.b/c.shp", "https://a.b/c.gpkg", "no/such.shp"])
def test_only_files_on_this_machine(path):
    with pytest.raises(DataError, match="no polygon file"):
        read_regions(path)


def test_select_keeps_the_order_of_the_layer(delta):
    some = [delta.index[7], delta.index[2]]
    assert list(select_regions(delta, some).index) == [delta.index[2], delta.index[7]]
    with pytest.raises(AlignmentError, match="999999"):
        select_regions(delta, ["999999"])


# --- two layers ---------------------------------------------------------------------------------------------


def halves(delta):
    """The first layer in degrees, the second in metres, as two surveys deliver them."""
    return delta.iloc[:20], delta.iloc[20:].to_crs(4549)


def test_parts_in_other_systems_are_reprojected_and_give_the_same_neighbours(delta, written):
    paths = [written(part, f"part{i}.gpkg") for i, part in enumerate(halves(delta))]
    with pytest.warns(SpatialZbWarning, match=r"part1\.gpkg is in CGCS2000 / 3.*reprojected to .*2000"):
        whole = read_regions(paths)
    assert whole.crs == delta.crs
    assert whole.index.equals(delta.index)
    queen = [weights.contiguity(layer, kind="queen", islands="nearest").matrix for layer in (whole, delta)]
    assert abs(queen[0] - queen[1]).nnz == 0


def test_joined_parts_of_one_system_are_the_layer_itself(delta, recwarn):
    whole = join_regions([delta.iloc[:20], delta.iloc[20:]])
    assert whole.equals(delta)
    assert not [w for w in recwarn if issubclass(w.category, SpatialZbWarning)]


def test_a_unit_of_two_parts_is_refused(delta):
    with pytest.raises(DataError, match=r"Layer 1, Layer 2 has polygons for 310000"):
        join_regions([delta, delta[delta.index == "310000"]])
    with pytest.raises(DataError, match="at least one"):
        join_regions([])


def test_polygons_of_different_parts_that_overlap_are_named(delta):
    copy = delta[delta.index == "310000"].rename(index={"310000": "310001"})
    with pytest.warns(SpatialZbWarning, match="310000 and 310001"):
        join_regions([delta, copy])


def test_units_inside_an_outline_of_another_system(delta):
    outline = delta[delta["prov"] == "浙江省"].dissolve().to_crs(4549)
    with pytest.warns(SpatialZbWarning, match="outline is in CGCS2000 / 3"):
        inside = select_regions(delta, within=outline)
    assert set(inside["prov"]) == {"浙江省"}
    assert len(inside) == 11
    with pytest.warns(SpatialZbWarning):
        assert list(select_regions(delta, ["330100", "310000"], within=outline).index) == ["330100"]


def test_an_outline_elsewhere_or_without_a_system_is_refused(delta):
    away = geopandas.GeoDataFrame(geometry=[box(10, 50, 11, 51)], crs=4490)
    with pytest.raises(DataError, match="No unit lies inside"):
        select_regions(delta, within=away)
    with pytest.raises(DataError, match=r"outline.*coordinate reference system"):
        select_regions(delta, within=away.set_crs(None, allow_override=True))


# --- damaged files ------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["layer.shp", "layer.gpkg", "layer.geojson"])
def test_damaged_layers_raise_our_errors_only(tmp_path, name):
    layer().to_file(tmp_path / name)
    parts = {path: path.read_bytes() for path in tmp_path.iterdir()}
    rng = np.random.default_rng(1)
    refused = 0
    for number in range(40):
        for path, content in parts.items():
            path.write_bytes(content)
        path = list(parts)[rng.integers(len(parts))]
        damaged = bytearray(parts[path])
        if number % 3 == 0:
            damaged = damaged[: rng.integers(0, len(damaged))]
        for place in rng.integers(0, len(damaged), 6) if damaged else ():
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(bytes(damaged))
        try:
            read_regions(tmp_path / name)
        except SpatialZbError:
            refused += 1
    assert refused > 5


SECRET = "<OGRVRTDataSource><OGRVRTLayer name='a'><SrcDataSource>{}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>"
#: Contents that GDAL reads whatever the suffix says, each a way to another file or to a network.
DISGUISED = {
    "VRT": SECRET,
    "VRT behind a long comment": f"<!-- {'x' * 900} -->{SECRET}",
    "VRT behind a mark and blanks": "\ufeff" + " \n" * 300 + SECRET,
    "WFS": "<OGRWFSDataSource><URL>{}</URL></OGRWFSDataSource>",
    "KML": "<kml><Document><NetworkLink><Link><href>{}</href></Link></NetworkLink></Document></kml>",
    "an algorithm of GDAL": '{{"type": "gdal_streamed_alg", "command_line": "gdal vector pipeline ! read {}"}}',
    "a table with shapes": "WKT,adcode\n{},1\n",
    "JSON, cut": '{{"type": "FeatureCollection", "features": ["{}"',
}


@pytest.mark.parametrize("name", ["a.geojson", "a.json", "a.gpkg", "a.shp"])
@pytest.mark.parametrize("content", DISGUISED.values(), ids=DISGUISED)
def test_a_polygon_file_reaches_no_other_file(tmp_path, content, name):
    layer().to_file(tmp_path / "secret.gpkg")
    (tmp_path / name).write_text(content.format(tmp_path / "secret.gpkg"), encoding="utf-8")
    (tmp_path / "a.dbf").write_bytes(b"")
    with pytest.raises(DataError, match=name):
        read_regions(tmp_path / name)


@pytest.mark.parametrize("name", ["a.vrt", "a.kml", "a.gml", "a.csv", "a"])
def test_other_kinds_of_files_are_not_polygons(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(DataError, match=name):
        read_regions(tmp_path / name)


def test_a_geopackage_whose_rows_come_from_elsewhere_is_refused(tmp_path):
    layer().to_file(tmp_path / "a.gpkg")
    assert len(read_regions(tmp_path / "a.gpkg"))  # with its own index of places
    with contextlib.closing(sqlite3.connect(tmp_path / "a.gpkg")) as base:
        base.execute("PRAGMA writable_schema = ON")
        sql = "CREATE VIRTUAL TABLE more USING VirtualOGR('/etc/passwd')"
        base.execute("INSERT INTO sqlite_master VALUES ('table', 'more', 'more', 0, ?)", (sql,))
        base.commit()
    with pytest.raises(DataError, match=r"a\.gpkg"):
        read_regions(tmp_path / "a.gpkg")


def test_a_coordinate_that_is_nowhere_on_the_earth_is_named(tmp_path):
    rings = {
        "a": [[119, 29], [120, 29], [120, 30], [119, 29]],
        "b": [[1e308, 29], [1e308, 30], [119, 30], [1e308, 29]],
    }
    features = [
        {"type": "Feature", "properties": {"id": u}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        for u, ring in rings.items()
    ]
    path = tmp_path / "far.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    with pytest.raises(DataError, match=r"b has a coordinate of size 1e\+308"):
        read_regions(path, id="id")
