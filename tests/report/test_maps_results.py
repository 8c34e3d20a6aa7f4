"""Maps of results by property: two variables, effects, influence, hot spots, ellipses."""

from __future__ import annotations

import itertools
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from pictures import BLINDNESS, GREY_STEP, clean, grey_steps, lines_of, parts_of, seen_apart, words_of

import spatial_zb as zb
from spatial_zb.base.errors import AlignmentError, DataError, SpecificationError
from spatial_zb.base.text import Text
from spatial_zb.data.panel import Panel
from spatial_zb.explore.dynamics import deviation_ellipses
from spatial_zb.report import maps
from spatial_zb.report.drawing import places
from spatial_zb.report.drawing.frame import Look
from spatial_zb.report.drawing.placement import box_of
from spatial_zb.report.drawing.style import HATCH
from spatial_zb.report.maps.classes import class_breaks, class_of, round_edges
from spatial_zb.report.maps.results import legend_of_effect
from spatial_zb.report.maps.shaded import BIVARIATE, CLUSTERS, HOT_SPOTS, ISLAND_HATCH

NAMES = (Text("Industry agglomeration", "产业集聚"), Text("Talent agglomeration", "人才集聚"))
WORDS = Look(title=Text("A map", "地图"), source=Text("Made up", "虚构"), review_number="GS（2024）0650号")
#: Least distance in CIE Lab that two colours of a key keep for a colour-blind reader; 2.3 is just noticeable.
SEEN = 8.0


@pytest.fixture(scope="module")
def values(delta) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(3)
    one, two = (
        pd.DataFrame(rng.normal(size=(len(delta), 2)), index=delta.index, columns=[2007, 2019])
        for _ in range(2)
    )
    two.loc["341300", 2019] = np.nan
    return one, two.sample(frac=1, random_state=1)


@pytest.fixture(scope="module")
def grid() -> gpd.GeoDataFrame:
    """Sixteen squares of 40 km near Hangzhou."""
    corners = itertools.product(range(3_300_000, 3_460_000, 40_000), range(440_000, 600_000, 40_000))
    squares = [shapely.box(x, y, x + 40_000, y + 40_000) for y, x in corners]
    table = {"name_en": [f"U{n}" for n in range(16)], "name_zh": [f"单元{n}" for n in range(16)]}
    return gpd.GeoDataFrame(table, geometry=squares, index=[f"{n:06d}" for n in range(16)], crs="EPSG:4549")


def faces(axes, regions) -> dict[str, str]:
    """Colour of each unit on a map: polygons are told by their outermost corners."""
    # Nearly: borders are drawn with as many corners as the print can show.
    corners = places.project(regions).bounds.to_numpy()
    found = {}
    for part in parts_of(axes, "regions"):
        colour = HATCH if part.get_hatch() else to_hex(part.get_facecolor()[0])
        for path in part.get_paths():
            nearest = np.abs(corners - path.get_extents().extents).sum(axis=1).argmin()
            found[regions.index[nearest]] = colour
    assert len(found) == len(regions)
    return found


# -- Two variables ---------------------------------------------------------------------------------------


def test_nine_colours_are_apart_in_grey_and_to_the_colour_blind():
    colours = [colour for row in BIVARIATE for colour in row]
    assert grey_steps(colours).min() > GREY_STEP
    assert min(seen_apart(colours, kind) for kind in BLINDNESS) > SEEN
    # Higher classes of either variable are darker.
    tones = np.array([[sum(to_rgb(colour)) for colour in row] for row in BIVARIATE])
    assert np.all(np.diff(tones, axis=0) < 0)
    assert np.all(np.diff(tones, axis=1) < 0)


def test_each_unit_has_the_colour_of_its_pair_of_classes(grid):
    rng = np.random.default_rng(1)
    one, two = (pd.Series(rng.normal(size=16), index=grid.index) for _ in range(2))
    two.iloc[5] = np.nan
    drawing = maps.bivariate(one, two[::-1], regions=grid, names=NAMES)
    across, up = class_of(one.to_numpy(), drawing.breaks[0]), class_of(two.to_numpy(), drawing.breaks[1])
    expected = {
        unit: HATCH if v < 0 else BIVARIATE[v][h] for unit, h, v in zip(grid.index, across, up, strict=True)
    }
    assert faces(drawing.axes[0], grid) == expected
    assert drawing.left_out == (grid.index[5],)


@pytest.mark.parametrize(("style", "language"), [("journal_single", "zh"), ("journal_double", "en")])
def test_two_variables_by_period(delta, values, language, style):
    one, two = values
    drawing = maps.bivariate(
        one, two, regions=delta, names=NAMES, look=replace(WORDS, style=style, language=language)
    )
    clean(drawing.figure)
    assert len(drawing.axes) == 2
    for row, frame in zip(drawing.breaks, values, strict=True):
        assert row == pytest.approx(class_breaks(frame, "quantile", 3))
    said = words_of(drawing.figure).replace(" ", "")
    assert all(name.pick(language).replace(" ", "") in said for name in NAMES)
    (key,) = (axes for axes in drawing.figure.axes if axes.get_label() == "key")
    assert len(key.patches) == 9
    for axes in drawing.axes:
        frame = box_of(axes.patch)
        for part in (key.patch, drawing.figure.legends[0]):
            assert box_of(part)[3] <= frame[1] + 1 or box_of(part)[1] >= frame[3] - 1
    assert box_of(key.patch)[2] <= box_of(drawing.figure.legends[0])[0]


def test_edges_of_the_callers_and_refusals(grid):
    one = pd.Series(np.arange(16.0), index=grid.index)
    drawing = maps.bivariate(
        one, -one, regions=grid, names=NAMES, scheme=([3, 9], [-9, -3]), look=Look(language="zh")
    )
    assert drawing.breaks.tolist() == [[0, 3, 9, 15], [-15, -9, -3, 0]]
    with pytest.raises(DataError, match=r"Industry.*2 classes"):
        maps.bivariate(one, one, regions=grid, names=NAMES, scheme=[5.5])
    with pytest.raises(DataError, match="classes"):
        maps.bivariate(one * 0, one, regions=grid, names=NAMES)
    with pytest.raises(AlignmentError, match="000003"):
        maps.bivariate(one, one.drop("000003"), regions=grid, names=NAMES)
    with pytest.raises(AlignmentError, match="2019"):
        maps.bivariate(one.to_frame(2007), one.to_frame(2019), regions=grid, names=NAMES)
    with pytest.raises(DataError, match="column"):
        maps.bivariate(one.to_frame().iloc[:, :0], one.to_frame().iloc[:, :0], regions=grid, names=NAMES)
    axes = Figure().add_subplot()
    assert maps.bivariate(one, one, regions=grid, names=NAMES, ax=axes).axes == (axes,)


# -- Effects and influence -------------------------------------------------------------------------------


@pytest.mark.parametrize("low", [-1.0, 0.2, -3.0])
def test_round_edges_do_not_mix_signs(low):
    values = np.linspace(low, 1.0, 50) * 0.37
    edges = round_edges(values, 6)
    assert edges == sorted(edges)
    assert (0.0 in edges) == (low < 0)
    assert len(edges) <= 7
    with pytest.raises(DataError):
        round_edges([np.nan])
    with pytest.raises(SpecificationError):
        round_edges([1, 2], 1)


@pytest.fixture(scope="module")
def effects(delta) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    return pd.DataFrame(rng.normal(0.1, 0.2, (len(delta), 3)), delta.index, ["direct", "received", "emitted"])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_effect_map(delta, effects, language):
    look = replace(WORDS, language=language, legend=legend_of_effect(NAMES[0], NAMES[1]))
    drawing = maps.effect(effects, regions=delta, look=look)
    clean(drawing.figure)
    assert len(drawing.axes) == 2
    said = words_of(drawing.figure)
    assert {"en": "Received from all others", "zh": "接收效应"}[language] in said
    assert NAMES[0].pick(language) in said
    for axes, side in zip(drawing.axes, ("received", "emitted"), strict=True):
        for unit, colour in faces(axes, delta).items():
            red, _, blue = to_rgb(colour)
            assert (red > blue) == (effects.loc[unit, side] > 0)


def test_effect_map_refuses_and_draws_in_given_axes(grid):
    frame = pd.DataFrame({"received": np.linspace(-1, 1, 16)}, index=grid.index)
    axes = Figure().add_subplot()
    assert maps.effect(frame, regions=grid, sides=["received"], ax=axes).axes == (axes,)
    with pytest.warns(DeprecationWarning, match="maps.effect"):
        maps.effects(frame, regions=grid, sides=["received"], names=NAMES)
    for sides in (["emitted"], []):
        with pytest.raises(SpecificationError, match="side"):
            maps.effect(frame, regions=grid, sides=sides)
    with pytest.raises(SpecificationError, match="2 maps"):
        maps.effect(frame.assign(emitted=0.0), regions=grid, sides=["received", "emitted"], ax=axes)


def test_an_effect_of_a_fit_leaves_out_the_side_that_is_flat(example, effects_of_a_fit):
    fit, regions = effects_of_a_fit.fit, example.regions
    by_unit = zb.effects_by_unit(fit, "talent")
    more = pd.concat([regions, regions.iloc[:1].set_axis(["999999"]).translate(3).to_frame("geometry")])
    drawing = maps.effect(effects_of_a_fit, "talent", regions=more)
    assert len(drawing.axes) == 1
    assert drawing.left_out == ("999999",)
    said = words_of(drawing.figure)
    assert "Emitted" in said
    # W sums to one by rows: what is received is the same but for the own part.
    assert f"Received from all others: between −{-by_unit['received'].min():.3f}" in said
    both = maps.effect(fit, "talent", regions=regions, sides=["received", "emitted"])
    assert len(both.axes) == 2
    for wrong in ({}, {"term": "nothing"}):
        with pytest.raises((SpecificationError, DataError)):
            maps.effect(fit, regions=regions, **wrong)


def test_influence_map(delta):
    change = np.random.default_rng(1).normal(0, 0.01, len(delta))
    frame = pd.DataFrame({"unit": delta.index, "estimate": 0.12 + change, "change": change})
    drawing = maps.influence(
        frame.iloc[1:].sample(frac=1, random_state=1), regions=delta, look=replace(WORDS, language="zh")
    )
    clean(drawing.figure)
    assert drawing.left_out == (delta.index[0],)
    far = frame.iloc[1:].set_index("unit")["change"].abs().nlargest(6).index
    assert set(drawing.labelled) | set(drawing.unlabelled) == set(far)
    ends = frame.iloc[1:]["estimate"].agg(["min", "max"])
    assert f"全样本估计值为0.120；逐一剔除地区后介于{ends['min']:.3f}与{ends['max']:.3f}之间" in words_of(
        drawing.figure
    )
    with pytest.raises(DataError, match="change"):
        maps.influence(frame.drop(columns="change"), regions=delta)
    with pytest.raises(AlignmentError, match="twice"):
        maps.influence(pd.concat([frame, frame.iloc[:1]]), regions=delta)
    with pytest.raises(DataError, match="finite"):
        maps.influence(frame.assign(estimate=np.nan), regions=delta)


def test_a_scenario_hatches_what_is_not_sure(delta):
    change = np.linspace(-0.3, 0.3, len(delta))
    frame = pd.DataFrame(
        {"unit": delta.index, "change": change, "conf_low": change - 0.1, "conf_high": change + 0.1}
    )
    look = replace(WORDS, legend="", language="en")
    drawing = maps.changes(frame.sample(frac=1, random_state=1), regions=delta, look=look)
    clean(drawing.figure)
    assert "Interval holds zero" in words_of(drawing.figure)
    sure = frame.set_index("unit")["change"].abs().loc[lambda size: size > 0.1]
    assert set(drawing.labelled) | set(drawing.unlabelled) == set(sure.nlargest(6).index)
    nothing = maps.changes(frame.assign(conf_low=-1.0, conf_high=1.0), regions=delta, look=look)
    entries = [text.get_text() for legend in nothing.figure.legends for text in legend.get_texts()]
    assert entries == ["Interval holds zero", "Provincial boundary"]
    with pytest.raises(DataError, match="conf_low"):
        maps.changes(frame.drop(columns="conf_low"), regions=delta)


# -- Clusters --------------------------------------------------------------------------------------------


def test_hot_spots_and_islands(delta):
    codes = pd.Series(
        np.resize(["hot", "cold", "not significant"], len(delta)), index=delta.index, dtype=object
    )
    codes["330900"], codes["310000"] = "no neighbours", None
    drawing = maps.clusters(codes, regions=delta, look=Look(language="zh"))
    clean(drawing.figure)
    entries = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert entries == ["热点", "冷点", "不显著", "无邻接单元", "无数据", "省级界线"]
    assert drawing.left_out == ("330900", "310000")
    seen = faces(drawing.axes[0], delta)
    hot = [unit for unit, code in codes.items() if code == "hot"]
    assert {seen[unit] for unit in hot} == {HOT_SPOTS["hot"][1]}
    hatches = [part.get_hatch() for part in parts_of(drawing.axes[0], "regions") if part.get_hatch()]
    assert sorted(hatches) == sorted([ISLAND_HATCH, HATCH])
    with pytest.raises(DataError, match="HH"):
        maps.clusters(codes.replace("hot", "HH"), regions=delta)


def test_bivariate_clusters_say_which_variable_comes_first(grid):
    codes = pd.Series(np.resize(["HH", "LH", "ns"], 16), index=grid.index, dtype=object)
    said = words_of(maps.clusters(codes, regions=grid, names=NAMES).figure)
    assert said.index("Industry agglomeration of the unit") < said.index(
        "Talent agglomeration of its neighbours"
    )
    axes = Figure().add_subplot()
    assert maps.clusters(codes, regions=grid, ax=axes).axes == (axes,)


def test_fixed_colours_are_apart_in_grey_and_to_the_colour_blind():
    for family in (CLUSTERS, HOT_SPOTS):
        colours = [colour for _, colour in family.values()]
        assert grey_steps(colours).min() > GREY_STEP
        assert min(seen_apart(colours, kind) for kind in BLINDNESS) > SEEN


# -- Ellipses --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def path(delta):
    rng = np.random.default_rng(4)
    amounts = rng.gamma(1.0, size=len(delta)) * np.exp(np.cumsum(rng.normal(0, 0.3, (5, len(delta))), axis=0))
    return deviation_ellipses(
        Panel(amounts[..., None], (2015, 2016, 2017, 2018, 2019), delta.index, ("x",)), "x", delta
    )


@pytest.mark.parametrize(("style", "language"), [("journal_single", "zh"), ("journal_double", "en")])
def test_ellipses_and_the_path_of_the_centre(delta, path, language, style):
    drawing = maps.ellipses(
        path, regions=delta, periods=[2015, 2017, 2019], look=replace(WORDS, style=style, language=language)
    )
    clean(drawing.figure)
    (land, way) = drawing.axes
    assert len(lines_of(land, "ellipse")) == 3
    assert len(lines_of(way, "centres")[0].get_xdata()) == 5
    assert len({line.get_color() for line in lines_of(land, "ellipse")}) == 3
    assert len({str(line._dash_pattern) for line in lines_of(land, "ellipse")}) == 3
    box = shapely.box(*np.ravel([way.get_xlim()[0], way.get_ylim()[0], way.get_xlim()[1], way.get_ylim()[1]]))
    assert box.covers(shapely.MultiPoint(lines_of(way, "centres")[0].get_xydata()))


def test_ellipses_lie_where_the_outlines_say_and_a_table_is_nearly_as_good(delta, path):
    frame = path.outlines().to_crs(places.project(delta).crs).set_index("period")
    exact = lines_of(maps.ellipses(path, regions=delta).axes[0], "ellipse")
    table = lines_of(maps.ellipses(path.table(), regions=delta).axes[0], "ellipse")
    for year, drawn, about in zip((2015, 2019), exact, table, strict=True):
        ring = shapely.Polygon(drawn.get_xydata())
        outside = ring.symmetric_difference(frame.geometry[year]).area
        assert outside < 1e-3 * ring.area  # straight chords of the same points in two projections
        # Within these few hundred kilometres true and grid north differ by less than a degree.
        assert shapely.Polygon(about.get_xydata()).symmetric_difference(ring).area < 0.02 * ring.area


def test_units_that_do_not_count_are_hatched_under_ellipses(delta, path):
    drawing = maps.ellipses(path, regions=delta, units=delta.index[1:])
    hatched = [part for part in parts_of(drawing.axes[0], "regions") if part.get_hatch()]
    assert [len(part.get_paths()) for part in hatched] == [1]
    assert "No data" in words_of(drawing.figure)
    assert "No data" not in words_of(maps.ellipses(path, regions=delta).figure)


def test_the_bar_of_the_path_is_as_long_as_it_says(delta, path):
    way = maps.ellipses(path, regions=delta).axes[1]
    (bar,) = lines_of(way, "own bar")
    label = next(text.get_text() for text in way.texts if text.get_text().endswith("km"))
    assert np.ptp(bar.get_xdata()) / 1000 == pytest.approx(float(label.removesuffix(" km")))


def test_ellipses_refuse(delta, path):
    with pytest.raises(SpecificationError, match="1999"):
        maps.ellipses(path, regions=delta, periods=[1999])
    with pytest.raises(DataError, match="angle"):
        maps.ellipses(path.table().drop(columns="angle"), regions=delta)
    with pytest.raises(DataError, match="finite"):
        maps.ellipses(path.table().assign(lon=np.nan), regions=delta)
    axes = Figure().add_subplot()
    assert maps.ellipses(path, regions=delta, ax=axes).axes == (axes,)


# -- Locator ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("style", "language"), [("journal_single", "zh"), ("journal_double", "en")])
def test_a_small_map_shows_where_the_regions_are(delta, effects, style, language):
    bay = delta.loc[["330100", "330200", "330400", "330500", "330600", "330900"]]
    drawing = maps.effects(
        effects.loc[bay.index],
        regions=bay,
        look=replace(WORDS, locator=delta, style=style, language=language),
    )
    clean(drawing.figure)
    (small,) = (axes for axes in drawing.figure.axes if axes.get_label() == "locator")
    wide, own = (part.get_paths() for part in small.collections)
    assert (len(wide), len(own)) == (len(delta) + len(bay), len(bay))
    # Both lie in the frame, at one scale, and the frame is off the maps, the legend and the scale bar.
    limits = shapely.box(small.get_xlim()[0], small.get_ylim()[0], small.get_xlim()[1], small.get_ylim()[1])
    assert all(limits.covers(shapely.box(*path.get_extents().extents)) for path in (*wide, *own))
    box = shapely.box(*box_of(small.patch))
    others = [axes for axes in drawing.figure.axes if axes is not small]
    for part in (*(axes.patch for axes in others), drawing.figure.legends[0]):
        assert box.intersection(shapely.box(*box_of(part))).area < 1
