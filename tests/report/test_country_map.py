"""Maps of the whole country: its other land, the broken line, and the South China Sea in an inset that covers nothing."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection

from spatial_zb.report.drawing.frame import Country, Look
from spatial_zb.report.drawing.sheet import SEA_NORTH
from spatial_zb.report.maps import choropleth
from spatial_zb.study.values import CHINA, crs_code

SHAPES = Path(__file__).parents[2] / "shapefiles"


@pytest.fixture(scope="module")
def drawn():
    whole = gpd.read_file(SHAPES / "national_cities.shp").set_index("adcode")
    lines = gpd.read_file(SHAPES / "national_lines.shp")
    south = whole[whole["prov"].isin(["福建省", "海南省", "台湾省", "黑龙江省"])]
    units = south[(south["study"] == "1") & (south["prov"] != "黑龙江省")]
    around = south.drop(index=units.index)
    values = pd.DataFrame({2019: np.arange(len(units), dtype=float)}, index=units.index)
    values.iloc[0] = np.nan
    look = Look(country=Country(around, lines), crs=CHINA, labels="none")
    drawing = choropleth(values, regions=units, look=look)
    return drawing, units, around, lines


def test_the_map_ends_south_of_hainan_and_the_sea_has_an_inset(drawn):
    drawing, _, around, lines = drawn
    (axes,) = drawing.axes
    (small,) = axes.child_axes
    assert small.get_label() == "South China Sea"
    sansha = around.to_crs(CHINA).geometry["460300"].bounds
    assert axes.get_ylim()[0] > sansha[1]
    assert small.get_ylim()[0] < sansha[1] < sansha[3] < small.get_ylim()[1]
    south, north = lines.to_crs(CHINA).total_bounds[[1, 3]]
    assert small.get_ylim()[0] < south < north < small.get_ylim()[1]
    for one in (axes, small):
        (drawn_lines,) = [c for c in one.collections if c.get_label() == "lines in the sea"]
        assert isinstance(drawn_lines, LineCollection)
        assert len(drawn_lines.get_segments()) == 10


def test_no_land_lies_under_the_inset(drawn):
    drawing, units, around, _ = drawn
    drawing.figure.draw_without_rendering()
    (axes,) = drawing.axes
    (small,) = axes.child_axes
    left, top = axes.transData.inverted().transform(small.bbox.get_points()[[0, 1], [0, 1]])
    land = pd.concat([units.geometry, around.geometry]).to_crs(CHINA).explode()
    latitude = land.representative_point().to_crs(4326).y
    main = land[latitude > SEA_NORTH].bounds
    assert not ((main["maxx"] > left) & (main["miny"] < top)).any()


def test_what_is_not_studied_is_in_the_legend_beside_what_has_no_data(drawn):
    drawing, *_ = drawn
    said = [text.get_text() for legend in drawing.figure.legends for text in legend.get_texts()]
    assert {"No data", "Not in the study"} <= set(said)


def test_the_inset_keeps_the_proportions_of_the_projection(drawn):
    drawing, *_ = drawn
    (axes,) = drawing.axes
    (small,) = axes.child_axes
    scales = [
        np.diff(one.get_ylim())[0] / one.bbox.height * one.bbox.width / np.diff(one.get_xlim())[0]
        for one in (axes, small)
    ]
    assert scales[1] == pytest.approx(scales[0], rel=0.01)


def test_china_is_a_word_for_its_projection():
    assert crs_code("china") == CHINA
    assert crs_code("EPSG:4549") == "EPSG:4549"
