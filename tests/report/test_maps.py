"""Maps by property: classes, one patch for each unit, words that stay clear of each other and of polygons."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import matplotlib
import numpy as np
import pandas as pd
import pytest
import shapely
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from pictures import words_of

import spatial_zb as zb
from spatial_zb.base.errors import AlignmentError, DataError, OutputError, SpecificationError
from spatial_zb.base.text import Text
from spatial_zb.report import maps
from spatial_zb.report.drawing import places
from spatial_zb.report.drawing.frame import Look
from spatial_zb.report.drawing.placement import HALO, box_of, outside, overlaps, text_boxes
from spatial_zb.report.drawing.sheet import nice_length
from spatial_zb.report.drawing.style import class_colours, missing_glyphs, save_figure
from spatial_zb.report.maps.classes import class_breaks, class_labels, class_of, classify
from spatial_zb.report.maps.shaded import CLUSTERS
from spatial_zb.weights.matrix import Weights

ROOT = Path(__file__).resolve().parents[2]
DELTA = ROOT / "shapefiles" / "delta_cities.shp"
WORDS = Look(
    title=Text("Industry in the Yangtze River Delta", "长三角产业集聚水平"),
    legend=Text("Log location quotient", "区位熵（对数）"),
    source=Text("China City Statistical Yearbook; Tianditu", "《中国城市统计年鉴》；天地图"),
    review_number="GS（2024）0650号",
)
# Least difference in lightness (CIE L*, 0 to 100) that keeps two greys of a legend apart.
GREY_STEP = 4.0


@pytest.fixture(scope="module")
def delta() -> gpd.GeoDataFrame:
    return gpd.read_file(DELTA).set_index("adcode")


@pytest.fixture(scope="module")
def panels(delta) -> pd.DataFrame:
    numbers = np.random.default_rng(1).normal(size=(len(delta), 4))
    frame = pd.DataFrame(numbers, index=delta.index, columns=[2007, 2011, 2015, 2019])
    frame.loc["341300", 2015] = np.nan
    return frame.sample(frac=1, random_state=2)


@pytest.fixture
def grid() -> gpd.GeoDataFrame:
    """Nine squares of 40 km, the middle one with a hole, in the CRS of Zhejiang's maps."""
    squares = [
        shapely.box(x, y, x + 40_000, y + 40_000)
        for y, x in itertools.product(range(3_300_000, 3_420_000, 40_000), range(440_000, 560_000, 40_000))
    ]
    # Shell and hole run the same way round, as files of some programs have them.
    hole = squares[4].centroid.buffer(5_000).exterior.coords
    shell = squares[4].exterior.coords
    squares[4] = shapely.Polygon(shapely.LinearRing(shell).coords[::-1], [hole])
    assert shapely.is_ccw(squares[4].exterior) == shapely.is_ccw(squares[4].interiors[0])
    names = [f"Unit {number}" for number in range(9)]
    table = {"name_en": names, "name_zh": [f"单元{number}市" for number in range(9)], "geometry": squares}
    return gpd.GeoDataFrame(table, index=[f"{number:06d}" for number in range(9)], crs="EPSG:4549")


def regions_of(axes) -> list:
    return [part for part in axes.collections if part.get_gid() == "regions"]


def patches(axes) -> int:
    return sum(len(part.get_paths()) for part in regions_of(axes))


# -- Classes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "edges"),
    [
        pytest.param("quantile", [0, 2, 4, 6, 8], id="quantile"),
        pytest.param("equal", [0, 2, 4, 6, 8], id="equal"),
        pytest.param([1.5, 5], [0, 1.5, 5, 8], id="list"),
        pytest.param([-3, 5, 99], [0, 5, 8], id="list beyond the values"),
    ],
)
def test_breaks(scheme, edges):
    assert class_breaks(np.arange(9.0), scheme, 4) == pytest.approx(edges)


def test_standard_deviation_breaks():
    values = np.random.default_rng(0).normal(size=400)
    edges = class_breaks(values, "std")
    assert edges[1:-1] == pytest.approx(values.mean() + values.std() * np.array([-2, -1, 0, 1, 2]))


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_natural_breaks_reach_the_least_sum_of_squares(k):
    values = np.sort(np.random.default_rng(k).gamma(2, size=11).round(1))

    def within(parts) -> float:
        return sum(np.sum((part - part.mean()) ** 2) for part in parts if len(part))

    cuts = itertools.combinations(range(1, len(values)), k - 1)
    least = min(within(np.split(values, cut)) for cut in cuts)
    codes = class_of(values, class_breaks(values, "natural", k))
    assert within([values[codes == code] for code in range(k)]) == pytest.approx(least, abs=1e-10)


@pytest.mark.parametrize("scheme", ["quantile", "natural", "equal", "std"])
@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.r_[np.zeros(30), 1.0, 2.0], id="ties"),
        pytest.param(np.random.default_rng(3).normal(size=2500), id="many"),
        pytest.param(np.array([1e12, 1e12 + 1, 1e12 + 5]), id="far from zero"),
        pytest.param(np.array([2.0]), id="one value"),
    ],
)
def test_breaks_increase_and_hold_every_value(scheme, values):
    edges = class_breaks(values, scheme, 5)
    assert edges[0] == values.min()
    assert edges[-1] == values.max()
    assert len(edges) == 2 or np.all(np.diff(edges) > 0)
    codes = class_of(values, edges)
    assert set(codes) <= set(range(len(edges) - 1))
    assert np.all((values <= edges[codes + 1]) & ((values > edges[codes]) | (codes == 0)))


@pytest.mark.parametrize("scheme", ["quantile", "natural", "equal"])
@pytest.mark.parametrize(("share", "parted"), [(0.3, True), (0.05, True), (0.04, False), (0.0, False)])
def test_zero_parts_the_colours_where_values_lie_on_both_sides(scheme, share, parted):
    below = round(200 * share)
    values = np.r_[-np.linspace(0.13, 1, below), np.linspace(0.1, 3, 200 - below)]
    found = classify(values, scheme, 5)
    assert found.center == (0.0 if parted else None)
    assert (0.0 in found.breaks) is parted
    assert len(found.colours) == len(found.breaks) - 1
    signs = {(lo < 0, hi > 0) for lo, hi in itertools.pairwise(found.breaks)}
    assert ((True, True) in signs) is (not parted and below > 0)
    assert found.colours == class_colours(found.breaks, "diverging" if parted else "sequential")
    # Asked for and refused.
    assert classify(values, scheme, 5, "sequential").center is None
    assert 1.0 in classify(values, scheme, 5, center=1.0).breaks
    assert set(np.round(classify(values, [0.5], center=0.5).breaks, 9)) == {values.min(), 0.5, values.max()}


def test_classes_about_a_center():
    values = np.random.default_rng(0).normal(size=400)
    found = classify(values, "std")
    assert found.center == pytest.approx(values.mean())
    assert found.center in found.breaks
    # Classes of either side by its number of values, of equal size on each.
    breaks = classify(np.r_[-np.arange(1, 61.0), np.arange(1, 41.0)], "quantile", 5).breaks
    counts = np.histogram(np.r_[-np.arange(1, 61.0), np.arange(1, 41.0)], breaks)[0]
    assert counts.tolist() == [20, 20, 20, 20, 20]
    with pytest.raises(SpecificationError, match="finite"):
        classify(values, center=np.nan)


def test_missing_values_have_no_class():
    assert class_of(np.array([np.nan, 1.0]), np.array([0.0, 2.0])).tolist() == [-1, 0]


@pytest.mark.parametrize(
    ("values", "scheme", "k", "error"),
    [
        pytest.param([np.nan], "quantile", 5, DataError, id="no value"),
        pytest.param([1, np.inf], "quantile", 5, DataError, id="infinite"),
        pytest.param([1, 2], "jenks", 5, SpecificationError, id="unknown scheme"),
        pytest.param([1, 2], "equal", 0, SpecificationError, id="no class"),
        pytest.param([1, 2], [2, 1], 5, SpecificationError, id="edges fall"),
    ],
)
def test_breaks_refuse(values, scheme, k, error):
    with pytest.raises(error):
        class_breaks(values, scheme, k)


@pytest.mark.parametrize(
    ("edges", "labels"),
    [
        pytest.param([-1.461, -0.13, 0.99], ["−1.46 to −0.13", "−0.13 to 0.99"], id="minus sign"),
        pytest.param([0, 1200, 250_000], ["0 to 1,200", "1,200 to 250,000"], id="thousands"),
        pytest.param([0, 0.001, 1], ["0.000 to 0.001", "0.001 to 1.000"], id="as many decimals as needed"),
        pytest.param([-0.001, 2, 100], ["0 to 2", "2 to 100"], id="no minus zero"),
    ],
)
def test_class_labels(edges, labels):
    assert class_labels(np.array(edges, dtype=float), "en") == labels


# -- Colours ---------------------------------------------------------------------------------------------


def lightness(colour: str) -> float:
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return 116 * np.cbrt(luminance) - 16 if luminance > 0.008856 else 903.3 * luminance


@pytest.mark.parametrize("k", range(2, 10))
def test_sequential_colours_darken(k):
    tones = [lightness(colour) for colour in class_colours(np.arange(k + 1))]
    assert np.all(np.diff(tones) < -GREY_STEP)


@pytest.mark.parametrize("below", range(5))
@pytest.mark.parametrize("above", range(5))
@pytest.mark.parametrize("middle", [0, 1])
def test_diverging_colours_differ_in_greyscale_and_change_hue_at_the_centre(below, middle, above):
    if below + middle + above == 0:
        return
    shift = 0.5 if middle else 0.0
    edges = np.arange(-below - (middle and 1), above + 1) + shift
    colours = class_colours(edges, "diverging")
    assert len(colours) == below + middle + above
    tones = [lightness(colour) for colour in colours]
    assert np.all(np.diff(tones[:below]) > 0)
    assert np.all(np.diff(tones[len(tones) - above :]) < 0)
    if len(tones) > 1:
        assert np.min(np.diff(np.sort(tones))) > GREY_STEP
    for colour, low, high in zip(colours, edges[:-1], edges[1:], strict=True):
        red, _, blue = to_rgb(colour)
        assert high > 0 or blue > red
        assert low < 0 or red > blue


@pytest.mark.parametrize(("value", "sides"), [(0.0, 0), (2.0, 1), (-2.0, 1)])
def test_one_value_alone_has_one_colour(value, sides):
    (colour,) = class_colours([value, value], "diverging")
    assert (lightness(colour) > 90) == (sides == 0)


def test_cluster_colours_differ_in_greyscale():
    tones = np.sort([lightness(colour) for _, colour in CLUSTERS.values()])
    assert np.min(np.diff(tones)) > GREY_STEP


# -- Choropleths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("labels", ["auto", "groups"])
def test_panels(delta, panels, language, labels):
    before = dict(matplotlib.rcParams)
    drawing = maps.choropleth(panels, regions=delta, look=replace(WORDS, labels=labels, language=language))
    assert dict(matplotlib.rcParams) == before
    assert overlaps(drawing.figure) == []
    assert outside(drawing.figure) == []
    assert [patches(axes) for axes in drawing.axes] == [len(delta)] * 4
    assert drawing.breaks == pytest.approx(classify(panels).breaks)
    assert 0.0 in drawing.breaks
    assert drawing.left_out == ("341300",)
    assert all(text.get_fontsize() >= 7 for text, _ in text_boxes(drawing.figure))
    assert missing_glyphs("".join(text.get_text() for text, _ in text_boxes(drawing.figure))) == ""
    if labels != "groups":
        assert set(drawing.labelled) | set(drawing.unlabelled) == set(delta.index)
        assert len(drawing.labelled) > 0.85 * len(delta)
    else:
        assert set(drawing.labelled) == set(delta["prov"])


def test_one_legend_for_all_panels_off_the_polygons(delta, panels):
    drawing = maps.choropleth(panels, regions=delta, scheme="natural", k=4, look=WORDS)
    (legend,) = drawing.figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names[:4] == class_labels(drawing.breaks, "en")
    assert names[4:] == ["No data", "Provincial boundary"]
    box = box_of(legend)
    for axes in drawing.axes:
        frame = box_of(axes.patch)
        assert box[3] <= frame[1] or box[1] >= frame[3]


def test_a_value_has_one_colour_in_every_panel(delta, panels):
    drawing = maps.choropleth(panels.assign(**{"2019": panels[2007]})[[2007, "2019"]], regions=delta)
    faces = [
        [(part.get_facecolor().tolist(), len(part.get_paths())) for part in regions_of(axes)]
        for axes in drawing.axes
    ]
    assert faces[0] == faces[1]


def test_no_data_is_hatched_and_only_where_data_are_missing(delta, panels):
    drawing = maps.choropleth(panels, regions=delta)
    hatched = [
        sum(len(part.get_paths()) for part in regions_of(axes) if part.get_hatch()) for axes in drawing.axes
    ]
    assert hatched == [0, 0, 1, 0]
    whole = maps.choropleth(panels.fillna(0.0), regions=delta)
    assert "No data" not in [text.get_text() for text in whole.figure.legends[0].get_texts()]


@pytest.mark.parametrize("turned", ["values", "regions"])
def test_values_are_matched_by_id(grid, turned):
    values = pd.Series(np.arange(9.0), index=grid.index)
    one = maps.choropleth(values, regions=grid, k=9, scheme="equal")
    values, regions = (values[::-1], grid) if turned == "values" else (values, grid[::-1])
    other = maps.choropleth(values, regions=regions, k=9, scheme="equal")
    for left, right in zip(regions_of(one.axes[0]), regions_of(other.axes[0]), strict=True):
        assert np.array_equal(left.get_paths()[0].vertices, right.get_paths()[0].vertices)
        assert np.array_equal(left.get_facecolor(), right.get_facecolor())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda values: values.drop("000003"), id="missing id"),
        pytest.param(lambda values: values.rename({"000003": "999999"}), id="unknown id"),
        pytest.param(lambda values: pd.concat([values, values.iloc[:1]]), id="id twice"),
        pytest.param(lambda values: values.set_axis(np.arange(9.0)), id="ids are numbers"),
    ],
)
def test_other_ids_are_refused(grid, change):
    values = pd.Series(np.arange(9.0), index=grid.index)
    with pytest.raises(AlignmentError):
        maps.choropleth(change(values), regions=grid)


def test_inputs_are_not_changed(grid):
    values = pd.Series(np.arange(9.0), index=grid.index)
    kept, shapes = values.copy(), grid.copy()
    maps.choropleth(values, regions=grid, look=Look(labels="all"))
    pd.testing.assert_series_equal(values, kept)
    assert grid.equals(shapes)


def test_holes_stay_empty(grid):
    drawing = maps.choropleth(pd.Series(1.0, index=grid.index), regions=grid, look=Look(labels="none"))
    middle = grid.geometry.iloc[4].centroid
    drawing.figure.canvas.draw()
    image = np.asarray(drawing.figure.canvas.buffer_rgba())
    spots = drawing.axes[0].transData.transform([(middle.x, middle.y), (middle.x + 15_000, middle.y)])
    inside, beside = (image[image.shape[0] - int(y), int(x), :3].tolist() for x, y in spots)
    assert inside == [255, 255, 255]
    assert beside != inside


def test_a_label_stands_in_its_own_polygon_or_in_none(delta, panels):
    drawing = maps.choropleth(panels[2007], regions=delta, look=Look(labels="all", style="journal_single"))
    axes = drawing.axes[0]
    shapes = places.project(delta)
    units = {name: unit for unit, name in delta["name_en"].items()}
    moved = 0
    for text in axes.texts:
        if text.get_gid() == HALO:
            continue
        unit, box = units[text.get_text()], box_of(text)
        spot = shapely.Point(axes.transData.inverted().transform((box[:2] + box[2:]) / 2))
        assert set(shapes.index[shapes.covers(spot)]) <= {unit}
        moved += spot.distance(places.label_point(shapes.geometry[unit])) > 10_000
    assert moved


def test_chosen_labels_come_first_and_the_rest_stay_away(delta, panels):
    drawing = maps.choropleth(panels[2007], regions=delta, look=Look(labels=["330100", "310000"]))
    assert drawing.labelled == ("330100", "310000")
    with pytest.raises(AlignmentError, match="999999"):
        maps.choropleth(panels[2007], regions=delta, look=Look(labels=["999999"]))
    with pytest.raises(SpecificationError):
        maps.choropleth(panels[2007], regions=delta, look=Look(labels="some"))


def test_labels_without_room_are_told(grid):
    grid["name_en"] = [f"A rather long place name {number}" for number in range(9)]
    grid.geometry = grid.geometry.translate(-500_000, -3_360_000).scale(0.02, 0.02, origin=(0, 0))
    far = grid.geometry.copy()
    far.iloc[0] = shapely.box(300_000, 300_000, 400_000, 400_000)
    grid = grid.set_geometry(far.set_crs("EPSG:4549", allow_override=True))
    drawing = maps.choropleth(
        pd.Series(np.arange(9.0), index=grid.index), regions=grid, look=Look(labels="all")
    )
    assert drawing.unlabelled
    assert set(drawing.labelled) | set(drawing.unlabelled) == set(grid.index)
    assert overlaps(drawing.figure) == []


HOSTILE = {
    "mathtext": "$\\frac$",
    "broken mathtext": "$x_{",
    "line breaks": "two\nlines\r\nand more",
    "very long": "长" * 400,
    "html": "</script><b>x",
    "braces": "{0} %s {name}",
    "controls": "a\x00b\u202ec",
    "empty": "",
}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_words_are_drawn_as_they_are(grid, tmp_path, name):
    grid["name_zh"] = grid["name_en"] = [name, *(f"U{number}" for number in range(8))]
    words = Look(name, name, name, name, name)
    values = pd.Series(np.arange(9.0), index=grid.index)
    drawing = maps.choropleth(values, regions=grid, look=replace(words, labels="all", language="zh"))
    assert overlaps(drawing.figure) == []
    assert outside(drawing.figure) == []
    save_figure(drawing.figure, tmp_path, "map", ("pdf", "png", "svg"))
    if name in ("$\\frac$", "</script><b>x"):
        assert any(text.get_text() == name for text, _ in text_boxes(drawing.figure))


def test_drawing_in_the_axes_of_a_caller(grid):
    axes = Figure().add_subplot()
    drawing = maps.choropleth(pd.Series(np.arange(9.0), index=grid.index), regions=grid, ax=axes)
    assert drawing.axes == (axes,)
    assert drawing.figure is axes.figure
    assert patches(axes) == 9
    assert not drawing.figure.legends


# -- Projection and furniture ----------------------------------------------------------------------------


def test_degrees_are_projected(delta, panels):
    assert places.project(delta).crs.to_epsg() == 4549
    drawing = maps.choropleth(panels[2007], regions=delta)
    left, right = drawing.axes[0].get_xlim()
    assert right - left > 100_000


def test_far_from_zhejiang_the_projection_is_another(delta):
    west = delta.set_geometry(delta.geometry.translate(-40, 0))
    crs = places.project(west).crs
    assert crs.is_projected
    assert crs.to_epsg() != 4549


def test_refuses_degrees_and_no_crs(delta, grid):
    with pytest.raises(SpecificationError, match="projected"):
        places.project(delta, "EPSG:4326")
    with pytest.raises(SpecificationError):
        places.project(delta, "no such thing")
    with pytest.raises(DataError, match="set_crs"):
        places.project(grid.set_crs(None, allow_override=True))


@pytest.mark.parametrize(
    "geometry",
    [
        pytest.param(None, id="null"),
        pytest.param(shapely.Polygon(), id="empty"),
        pytest.param(shapely.Point(500_000, 3_300_000), id="point"),
    ],
)
def test_what_is_no_polygon_is_refused(grid, geometry):
    shapes = grid.geometry.copy()
    shapes.iloc[0] = geometry
    with pytest.raises(DataError):
        maps.choropleth(pd.Series(np.arange(9.0), index=grid.index), regions=grid.set_geometry(shapes))


@pytest.mark.parametrize("unit", [1.0, 0.3048], ids=["metres", "feet"])
def test_scale_bar_is_as_long_as_it_says(grid, unit):
    crs = f"+proj=tmerc +lon_0=120 +x_0=500000 +ellps=GRS80 +to_meter={unit}"
    drawing = maps.choropleth(pd.Series(np.arange(9.0), index=grid.index), regions=grid, look=Look(crs=crs))
    (scale,) = (axes for axes in drawing.figure.axes if axes.get_label() == "scale")
    bars = [patch for patch in scale.patches if patch.get_label() == "scale bar"]
    pixels = box_of(bars[-1])[2] - box_of(bars[0])[0]
    axes = drawing.axes[0]
    across = axes.transData.transform([[axes.get_xlim()[0], 0], [axes.get_xlim()[1], 0]])[:, 0]
    km = pixels / np.ptp(across) * np.ptp(axes.get_xlim()) * unit / 1000
    label = next(text.get_text() for text in scale.texts if text.get_text().endswith("km"))
    assert km == pytest.approx(float(label.removesuffix("km")), rel=1e-6)


@pytest.mark.parametrize(("longest", "length"), [(1, 1), (3.9, 2), (4, 4), (99, 50), (0.07, 0.05)])
def test_nice_lengths(longest, length):
    assert nice_length(longest) == pytest.approx(length)


def test_provincial_outlines_and_words_below(delta, panels):
    drawing = maps.choropleth(panels[2007], regions=delta, look=WORDS)
    assert any(part.get_gid() == "outlines" for part in drawing.axes[0].collections)
    lines = [text.get_text() for text, _ in text_boxes(drawing.figure)]
    assert "Map review number: GS（2024）0650号" in lines
    assert not any(
        part.get_gid() == "outlines"
        for part in maps.choropleth(panels[2007], regions=delta, look=Look(outlines=None)).axes[0].collections
    )


@pytest.mark.parametrize("style", ["journal_single", "journal_double", "slide"])
def test_printed_size(delta, panels, style):
    drawing = maps.choropleth(panels[2007], regions=delta, look=replace(WORDS, style=style))
    width, height = drawing.figure.get_size_inches() * 25.4
    assert width == pytest.approx({"journal_single": 88, "journal_double": 178, "slide": 254}[style])
    assert height <= {"journal_single": 220, "journal_double": 225, "slide": 143}[style] + 1e-6
    assert overlaps(drawing.figure) == []
    assert outside(drawing.figure) == []


# -- Clusters and links ----------------------------------------------------------------------------------


@pytest.fixture
def panel(grid):
    frame = pd.DataFrame(
        [
            (unit, year, number + year - 2018)
            for number, unit in enumerate(grid.index[:8])
            for year in (2018, 2019)
        ],
        columns=["unit", "period", "industry"],
    )
    labels = {"industry": Text("Industry", "产业集聚")}
    return zb.build_panel(frame, unit="unit", period="period", labels=labels)


def test_panels_are_mapped_by_the_name_of_a_variable(grid, panel):
    drawing = maps.choropleth(panel, "industry", regions=grid)
    assert len(drawing.axes) == 2
    assert drawing.left_out == (grid.index[8],)
    wide = panel.frame().pivot(index="unit", columns="period", values="industry")
    frame = maps.choropleth(wide.reindex(grid.index), regions=grid, look=Look(legend="Industry"))
    assert list(drawing.breaks) == list(frame.breaks)
    assert drawing.breaks == pytest.approx(class_breaks(panel.array("industry")))
    assert {t.get_text() for t, _ in text_boxes(drawing.figure)} == {
        t.get_text() for t, _ in text_boxes(frame.figure)
    }
    one = maps.choropleth(panel, "industry", periods=[2019], regions=grid)
    assert len(one.axes) == 1
    # Maps of other years have the same classes.
    assert list(one.breaks) == list(drawing.breaks)
    alone = maps.choropleth(wide[2019].reindex(grid.index).to_frame("a"), "a", regions=grid)
    assert list(alone.breaks) == list(class_breaks(wide[2019]))
    for wrong in ({"variable": None}, {"variable": "talent"}, {"variable": "industry", "periods": [2020]}):
        with pytest.raises((SpecificationError, DataError)):
            maps.choropleth(panel, regions=grid, **wrong)
    with pytest.raises(SpecificationError, match="2 maps"):
        maps.choropleth(panel, "industry", regions=grid, ax=drawing.axes[0])


def test_clusters_of_a_local_statistic_are_mapped(grid, panel):
    W = zb.weights.contiguity(grid.iloc[:8], islands="nearest").standardise("row")
    local = zb.local_moran(panel, "industry", W, period=2019, permutations=99, rng=1)
    drawing = maps.clusters(local, regions=grid.iloc[:8])
    again = maps.clusters(local.table()["cluster"], regions=grid.iloc[:8])
    for one, other in zip(drawing.axes[0].collections, again.axes[0].collections, strict=True):
        assert one.get_label() == other.get_label()


def test_cluster_map(delta):
    codes = pd.Series(np.resize(["HH", "LL", "HL", "LH", "ns"], len(delta)), index=delta.index, dtype=object)
    codes["330900"] = None
    drawing = maps.clusters(codes, regions=delta, look=Look(language="zh"))
    assert drawing.left_out == ("330900",)
    assert patches(drawing.axes[0]) == len(delta)
    assert "无邻接或无数据" in [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    with pytest.raises(DataError, match="XX"):
        maps.clusters(codes.replace("HH", "XX"), regions=delta)


@pytest.fixture
def chain(grid) -> Weights:
    """Each unit linked to the next, but for the last, which is an island."""
    matrix = np.zeros((9, 9))
    for unit in range(7):
        matrix[unit, unit + 1] = matrix[unit + 1, unit] = 1.0
    return Weights(matrix, grid.index).standardise("row")


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)], ids=["same order", "other order"])
def test_links_join_neighbours_once(grid, chain, order):
    drawing = maps.links(chain, regions=grid.iloc[order])
    lines = [line for part in links_of(drawing) for line in part.get_segments()]
    points = {unit: places.label_point(shape) for unit, shape in grid.geometry.items()}
    drawn = {frozenset(map(tuple, np.round(line, 3))) for line in lines}
    wanted = {
        frozenset((round(points[unit].x, 3), round(points[unit].y, 3)) for unit in grid.index[[i, i + 1]])
        for i in range(7)
    }
    assert drawn == wanted
    assert len(lines) == 7


def links_of(drawing) -> list:
    return [part for part in drawing.axes[0].collections if part.get_gid() == "links"]


def test_a_link_is_as_wide_as_it_weighs_and_dense_weights_show_the_strongest(grid, chain):
    own = chain.matrix.toarray()
    own[0, 1] = own[1, 0] = 5.0
    own[2, 3] = own[3, 2] = 2.5
    drawing = maps.links(Weights(own, grid.index), regions=grid)
    parts = links_of(drawing)
    widths = [part.get_linewidth()[0] for part in parts]
    assert [len(part.get_segments()) for part in parts] == [5, 1, 1]
    assert widths == sorted(widths)
    assert len(set(widths)) == 3
    # Borders twice in one place, once with weights of its own: the maps differ.
    assert len(links_of(maps.links(Weights((own > 0).astype(float), grid.index), regions=grid))) == 1
    distance = 1.0 / (1.0 + np.abs(np.arange(9)[:, None] - np.arange(9)))
    dense = Weights(distance - np.diag(np.diag(distance)), grid.index)
    few = maps.links(dense, regions=grid, strongest=1)
    assert sum(len(part.get_segments()) for part in links_of(few)) < 9
    assert "strongest links of each unit" in words_of(few.figure)
    assert "strongest" not in words_of(maps.links(dense, regions=grid).figure)
    with pytest.raises(SpecificationError, match="strongest"):
        maps.links(dense, regions=grid, strongest=0)


def test_a_unit_without_weights_is_hatched_on_the_map_of_links(grid, chain):
    drawing = maps.links(chain.subset(grid.index[:7]), regions=grid)
    assert "Not in the weights matrix" in words_of(drawing.figure)
    hatched = [part for part in regions_of(drawing.axes[0]) if part.get_hatch()]
    assert sum(len(part.get_paths()) for part in hatched) == 2


# -- The review number, the scale, sizes of files --------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "line"),
    [(None, "审图号：待填"), ("", ""), ("GS（2024）0650号", "审图号：GS（2024）0650号")],
)
def test_the_review_number_is_asked_for_in_china_only(grid, number, line):
    values = pd.Series(np.arange(9.0), index=grid.index)
    look = Look(review_number=number, language="zh")
    said = words_of(maps.choropleth(values, regions=grid, look=look).figure)
    assert (line in said) if line else ("审图号" not in said)
    elsewhere = grid.set_crs("EPSG:32632", allow_override=True)
    said = words_of(maps.choropleth(values, regions=elsewhere, look=look).figure)
    assert ("审图号" in said) is bool(number)


def test_scale_bars_say_the_same_in_both_languages(delta, panels):
    found = []
    for language in ("en", "zh"):
        look = replace(WORDS, language=language, note=Text("A long note. " * 40, "注。"), labels="none")
        drawing = maps.choropleth(panels, regions=delta, look=look)
        (scale,) = (axes for axes in drawing.figure.axes if axes.get_label() == "scale")
        found.append([text.get_text() for text in scale.texts][:3])
    assert found[0] == found[1]


def test_borders_have_the_corners_of_the_print_and_stay_shared(tmp_path):
    """339 units with rugged borders."""
    rng = np.random.default_rng(1)
    corners = list(itertools.product(range(0, 3_400_000, 200_000), range(0, 4_000_000, 200_000)))[:339]
    cells = shapely.segmentize([shapely.box(x, y, x + 200_000, y + 200_000) for x, y in corners], 1_000)
    # Whole metres: the same corners from both sides.
    rugged = shapely.transform(cells, lambda xy: np.round(xy + 700 * np.sin(xy[:, ::-1] / 1500)))
    shapes = gpd.GeoDataFrame(geometry=rugged, index=[f"{n:04d}" for n in range(339)], crs="EPSG:4549")
    before = shapely.get_num_coordinates(rugged).sum()
    assert shapely.coverage_is_valid(rugged)
    frame = pd.DataFrame(rng.normal(size=(339, 4)), shapes.index)
    drawing = maps.choropleth(frame, regions=shapes, look=Look(labels="none"))
    assert [patches(axes) for axes in drawing.axes] == [339] * 4
    (svg,) = save_figure(drawing.figure, tmp_path, "map", ("svg",))
    assert svg.stat().st_size < 2_000_000
    drawn = places.thinned(shapes, 4_000_000 / 87 * 25.4 / 300)
    assert shapely.get_num_coordinates(drawn.geometry.to_numpy()).sum() < before / 8
    assert shapely.coverage_is_valid(drawn.geometry.to_numpy())
    assert drawn.area.sum() == pytest.approx(shapes.area.sum(), rel=1e-3)


def test_islands_are_ringed_and_named(grid, chain):
    drawing = maps.links(chain, regions=grid, look=Look(language="zh"))
    (rings,) = (line for line in drawing.axes[0].lines if line.get_gid() == "islands")
    assert len(rings.get_xdata()) == 1
    assert drawing.left_out == drawing.labelled == ("000008",)
    assert "单元8" in [text.get_text() for text in drawing.axes[0].texts]
    with pytest.raises(AlignmentError):
        maps.links(chain, regions=grid.iloc[:8])


# -- Files -----------------------------------------------------------------------------------------------


def test_files_are_the_same_for_the_same_map(grid, tmp_path):
    values = pd.Series(np.arange(9.0), index=grid.index)
    blobs = []
    for folder in (tmp_path / "one", tmp_path / "new" / "two"):
        drawing = maps.choropleth(values, regions=grid, look=replace(WORDS, labels="all"))
        paths = save_figure(drawing.figure, folder, "map", ("pdf", "png", "svg"))
        assert [path.name for path in paths] == ["map.pdf", "map.png", "map.svg"]
        assert sorted(folder.iterdir()) == sorted(paths)
        blobs.append([path.read_bytes() for path in paths])
    assert blobs[0] == blobs[1]
    pdf, _, svg = blobs[0]
    assert b"/CreationDate" not in pdf
    assert b"/FontFile2" in pdf  # TrueType, embedded
    assert b"/Type3" not in pdf
    assert b"<dc:date>" not in svg


def test_files_refuse(grid, tmp_path):
    drawing = maps.choropleth(pd.Series(np.arange(9.0), index=grid.index), regions=grid)
    with pytest.raises(SpecificationError, match="gif"):
        save_figure(drawing.figure, tmp_path, "map", ("gif",))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        save_figure(drawing.figure, tmp_path / "file", "map")


def test_a_unit_that_was_not_there_is_named_in_the_legend_of_a_scenario():
    squares = [shapely.box(1000 * k, 0, 1000 * (k + 1), 1000) for k in range(3)]
    regions = gpd.GeoDataFrame(geometry=squares, index=list("abc"), crs=32650)
    numbers = {"change": [1.0, 2.0, 3.0], "conf_low": [0.5, 0.5, -1.0], "conf_high": [2.0, 3.0, 4.0]}
    frame = pd.DataFrame({"unit": list("abc"), **numbers})
    whole, less = (words_of(maps.changes(rows, regions=regions).figure) for rows in (frame, frame.iloc[:2]))
    assert "absent" not in whole
    assert "absent" in less
