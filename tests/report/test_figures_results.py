"""Figures of results by property: every number at its place, what is not significant told without colour."""

from __future__ import annotations

import itertools

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from pictures import clean, lines_of, parts_of, words_of

from spatial_zb.base.errors import DataError, SpecificationError
from spatial_zb.base.text import Text
from spatial_zb.report import figures
from spatial_zb.report.drawing.frame import Look
from spatial_zb.report.drawing.style import PRESETS, context, lightness, save_figure
from spatial_zb.report.figures.distribution import _tones
from spatial_zb.report.figures.lines import Chart, LinePanel, Series, draw_chart, tick_words, ticks_between
from spatial_zb.report.figures.specification import LEGIBLE_STEP

LANGUAGES = pytest.mark.parametrize("language", ["en", "zh"])
#: Every preset and both languages, without every pair of them.
LOOKS = pytest.mark.parametrize(
    ("style", "language"), [("journal_single", "zh"), ("journal_double", "en"), ("slide", "zh")]
)
LABELS = {"talent": Text("Talent agglomeration (log location quotient)", "人才集聚（区位熵对数）")}
EFFECTS = ("direct", "indirect", "total")
HOSTILE = {
    "mathtext": "$\\frac$",
    "line breaks": "two\nlines",
    "very long": "很长的名字" * 60,
    "braces": "{0} %s {name}",
    "empty": "",
}


# -- Ticks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ticks", "words"),
    [
        pytest.param([-0.2, 0.0, 0.2], ["−0.2", "0.0", "0.2"], id="one decimal"),
        pytest.param([2007, 2011], ["2007", "2011"], id="years"),
        pytest.param([-0.0, 1e-3], ["0.000", "0.001"], id="no minus zero"),
        pytest.param([0.25, 0.5], ["0.25", "0.50"], id="as many as the finest needs"),
    ],
)
def test_tick_words(ticks, words):
    assert tick_words(ticks) == words


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 17), (1e-9, 2e-9), (1e6, 1.00001e6), (-7, -6.9)])
@pytest.mark.parametrize("most", [2, 3, 6])
def test_ticks_are_few_and_inside(low, high, most):
    found = ticks_between(low, high, most)
    assert 1 <= len(found) <= most
    slack = 1e-8 * (high - low)
    assert np.all((found >= low - slack) & (found <= high + slack))
    assert np.all(np.diff(found) > 0)
    assert len(set(tick_words(found))) == len(found)


def test_nothing_to_draw_is_refused():
    with context("journal_single") as style:
        x = np.arange(3.0)
        one = LinePanel("a", (Series("", x, x),))
        with pytest.raises(DataError, match="nothing"):
            draw_chart([], Chart("x", "y"), style)
        with pytest.raises(DataError, match="finite"):
            draw_chart([LinePanel("b", (Series("", x, x * np.nan),))], Chart("x", "y"), style)
        with pytest.raises(SpecificationError, match="2 panels"):
            draw_chart([one, one], Chart("x", "y"), style, Figure().add_subplot())


# -- Densities -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def densities() -> pd.DataFrame:
    grid = np.linspace(-3, 4, 60)
    parts = [
        pd.DataFrame(
            {"period": year, "value": grid, "density": np.exp(-((grid - 0.1 * n) ** 2)) / (1 + 0.1 * n)}
        )
        for n, year in enumerate(range(2007, 2020))
    ]
    return pd.concat(parts, ignore_index=True).sample(frac=1, random_state=1)


@LOOKS
@pytest.mark.parametrize("kind", ["lines", "ridges"])
def test_densities(densities, language, style, kind):
    before = dict(matplotlib.rcParams)
    periods = [2007, 2011, 2015, 2019]
    drawing = figures.density(
        densities,
        kind=kind,
        periods=periods,
        label=LABELS["talent"],
        look=Look(note="Note", style=style, language=language),
    )
    assert dict(matplotlib.rcParams) == before
    clean(drawing.figure)
    (axes,) = drawing.axes
    assert len(lines_of(axes, "line")) == 4
    said = words_of(drawing.figure)
    assert all(str(year) in said for year in periods)


def test_densities_are_drawn_as_they_are(densities):
    (axes,) = figures.density(densities, periods=[2019, 2007]).axes
    for year, line in zip((2019, 2007), lines_of(axes, "line"), strict=True):
        part = densities[densities.period == year].sort_values("value")
        assert line.get_xydata() == pytest.approx(part[["value", "density"]].to_numpy())
    # Told apart in greyscale by their dashes, and later ones are darker.
    assert len({str(line._dash_pattern) for line in lines_of(axes, "line")}) == 2
    assert np.all(np.diff([lightness(np.array(to_rgb(tone))) for tone in _tones(13)]) < 0)
    ridges = figures.density(densities, kind="ridges").axes[0]
    heights = [row - line.get_ydata().min() for row, line in enumerate(lines_of(ridges, "line"))]
    highest = [densities[densities.period == year]["density"].max() for year in range(2007, 2020)]
    assert np.divide(heights, highest) == pytest.approx(heights[0] / highest[0])
    assert [label.get_text() for label in ridges.get_yticklabels()] == [str(y) for y in range(2007, 2020)]


def test_densities_refuse_and_draw_in_given_axes(densities):
    axes = Figure().add_subplot()
    assert figures.density(densities, ax=axes).axes == (axes,)
    assert figures.density(densities, kind="ridges", ax=Figure().add_subplot()).figure is not axes.figure
    with pytest.raises(SpecificationError, match="1999"):
        figures.density(densities, periods=[1999])
    with pytest.raises(SpecificationError, match="hills"):
        figures.density(densities, kind="hills")
    with pytest.raises(DataError, match="density"):
        figures.density(densities.drop(columns="density"))
    with pytest.raises(DataError, match="negative"):
        figures.density(densities.assign(density=-1.0))


# -- Effects by order and over time ----------------------------------------------------------------------


def by_order(terms=("talent", "gdp"), bounded=True, system=False) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = pd.DataFrame(itertools.product(terms, EFFECTS, range(6)), columns=["term", "effect", "order"])
    rows["estimate"] = rng.normal(0.3, 0.1, len(rows)) * 0.5 ** rows["order"]
    rows["cumulative"] = rows.groupby(["term", "effect"])["estimate"].cumsum()
    if bounded:
        for name, point in (("conf", "estimate"), ("cumulative_conf", "cumulative")):
            half = 0.2 * 0.5 ** rows["order"] if name == "conf" else 0.5
            rows[f"{name}_low"], rows[f"{name}_high"] = rows[point] - half, rows[point] + half
    if system:
        rows = rows.rename(columns={"term": "source"}).assign(response="industry", source="shock:talent")
        rows = rows.drop_duplicates(["source", "effect", "order"])
    return rows.sample(frac=1, random_state=2)


@LOOKS
def test_effects_by_order(language, style):
    drawing = figures.effects_by_order(
        by_order(), terms=["talent", "gdp"], look=Look(words=LABELS, style=style, language=language)
    )
    clean(drawing.figure)
    assert len(drawing.axes) == 6
    said = words_of(drawing.figure)
    assert {"en": "Up to this round", "zh": "累积效应"}[language] in said
    assert {"en": "Hollow", "zh": "空心点"}[language] in said


def test_orders_are_drawn_as_they_are_and_hollow_where_the_interval_holds_zero():
    frame = by_order()
    drawing = figures.effects_by_order(frame, terms=["gdp"])
    for axes, effect in zip(drawing.axes, EFFECTS, strict=True):
        part = frame[(frame.term == "gdp") & (frame.effect == effect)].sort_values("order")
        (line,) = lines_of(axes, "line")
        assert line.get_xydata() == pytest.approx(part[["order", "cumulative"]].to_numpy())
        total, each = lines_of(axes, "point")
        for dots, name, limits in ((total, "cumulative", "cumulative_conf"), (each, "estimate", "conf")):
            sure = (part[f"{limits}_low"] > 0) | (part[f"{limits}_high"] < 0)
            assert dots.get_ydata() == pytest.approx(part.loc[sure, name].to_numpy())
        (bars,) = parts_of(axes, "interval")
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        assert ends == pytest.approx(part[["conf_low", "conf_high"]].to_numpy())
        assert len(parts_of(axes, "band")) == 1


def test_orders_without_intervals_and_of_systems():
    bare = figures.effects_by_order(by_order(bounded=False))
    assert not parts_of(bare.axes[0], "band")
    assert "Hollow" not in words_of(bare.figure)
    system = figures.effects_by_order(
        by_order(("talent",), system=True),
        terms=[("industry", "shock:talent")],
        look=Look(words=LABELS, language="zh"),
    )
    clean(system.figure)
    assert "人才集聚（区位熵对数） → industry" in words_of(system.figure).replace("\n", "")


def test_effects_over_time():
    frame = by_order().rename(columns={"order": "horizon"})
    ends = pd.DataFrame({"term": "talent", "effect": EFFECTS, "estimate": [0.4, 0.5, 0.6]})
    drawing = figures.effects_path(frame, long_run=ends)
    clean(drawing.figure)
    for axes, value in zip(drawing.axes, ends["estimate"], strict=True):
        (dashed,) = lines_of(axes, "reference")
        assert set(dashed.get_ydata()) == {value}
        assert len(parts_of(axes, "band")) == 1


@pytest.mark.parametrize("draw", [figures.effects_by_order, figures.effects_path])
def test_effects_refuse(draw):
    frame = by_order().assign(period=lambda rows: rows["order"])
    with pytest.raises(SpecificationError, match="nothing"):
        draw(frame, terms=["nothing"])
    with pytest.raises(SpecificationError, match="sideways"):
        draw(frame, effects=["sideways"])
    with pytest.raises(DataError, match="estimate"):
        draw(frame.drop(columns="estimate"))
    with pytest.raises(DataError, match="no row"):
        draw(frame.iloc[:0])
    again = frame[(frame["term"] == "talent") & (frame["effect"] == "total") & (frame["order"] == 2)]
    twice = pd.concat([frame, again])
    with pytest.raises(DataError, match=r"total of talent \((order|period) 2\)"):
        draw(twice)
    assert draw(twice, terms=["gdp"]).axes  # what is not drawn is not asked about
    axes = Figure().add_subplot()
    assert draw(frame, effects=["total"], ax=axes).axes == (axes,)
    with pytest.raises(SpecificationError, match="3 panels"):
        draw(frame, ax=axes)


# -- Distance --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bands() -> pd.DataFrame:
    km = np.arange(25.0, 400, 50)
    parts = [
        pd.DataFrame(
            {"period": year, "km": km, "I": 0.6 * np.exp(-km / 100), "env_low": -0.2, "env_high": 0.2}
        )
        for year in (2007, 2019)
    ]
    out = pd.concat(parts, ignore_index=True)
    out.loc[0, "I"] = np.nan
    return out


@LOOKS
def test_correlogram(bands, language, style):
    drawing = figures.correlogram(bands, look=Look(language=language, style=style))
    clean(drawing.figure)
    for axes, year in zip(drawing.axes, (2007, 2019), strict=True):
        part = bands[(bands.period == year) & bands["I"].notna()]
        (outside,), (inside,) = lines_of(axes, "point"), lines_of(axes, "hollow")
        assert outside.get_ydata() == pytest.approx(part.loc[part["I"] > 0.2, "I"].to_numpy())
        assert inside.get_ydata() == pytest.approx(part.loc[part["I"] <= 0.2, "I"].to_numpy())
        assert len(parts_of(axes, "band")) == 1
    with pytest.raises(SpecificationError, match="1999"):
        figures.correlogram(bands, periods=[1999])
    with pytest.raises(DataError, match="env_low"):
        figures.correlogram(bands.drop(columns="env_low"))


@LANGUAGES
def test_effects_by_threshold_of_distance(language):
    km = np.repeat([100.0, 150.0, 200.0], 3)
    frame = pd.DataFrame({"km": km, "term": "talent", "effect": list(EFFECTS) * 3, "estimate": km / 400})
    frame = frame.assign(conf_low=frame.estimate - 0.4, conf_high=frame.estimate + 0.4)
    frame = pd.concat([frame, pd.DataFrame({"km": [250.0, 300.0]})], ignore_index=True)
    drawing = figures.effects_by_distance(frame, "talent", effects=["indirect"], look=Look(language=language))
    clean(drawing.figure)
    assert drawing.left_out == ("250 km", "300 km")
    assert {"en": "250, 300 km", "zh": "250、300 km"}[language] in words_of(drawing.figure)
    (axes,) = drawing.axes
    assert lines_of(axes, "hollow")[0].get_xdata().tolist() == [100, 150]
    assert lines_of(axes, "point")[0].get_xdata().tolist() == [200]
    with pytest.raises(SpecificationError, match="wages"):
        figures.effects_by_distance(frame, "wages")
    with pytest.raises(SpecificationError, match="sideways"):
        figures.effects_by_distance(frame, "talent", effects=["sideways"])


# -- Specification curve ---------------------------------------------------------------------------------


def cells(**levels) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    rows = pd.DataFrame(list(itertools.product(*levels.values())), columns=list(levels))
    estimate, half = rng.normal(0.05, 0.08, len(rows)), rng.uniform(0.02, 0.2, len(rows))
    rows = rows.assign(term="talent", effect="indirect", estimate=estimate)
    rows = rows.assign(conf_low=estimate - half, conf_high=estimate + half)
    rows["p_value"] = np.where(np.abs(estimate) > half, 0.01, 0.3)
    return rows


FEW = cells(spec=["SDM", "SAR", "SDEM"], weights=["queen", "inverse"], covariance=["cluster", "information"])
MANY = cells(
    spec=["SDM", "SAR", "SDEM", "SLX", "SEM", "SAC"],
    weights=["queen", "knn4", "inverse", "economic"],
    sample=["delta", "zhejiang", "bay"],
    fixed_effects=["two_way", "unit"],
    estimator=["lee_yu", "direct"],
    covariance=["cluster", "information"],
    controls=["all", "none"],
)


@LOOKS
def test_few_specifications(language, style):
    main = {"spec": "SDM", "weights": "queen", "covariance": "cluster"}
    drawing = figures.specification_curve(
        FEW,
        "talent",
        "indirect",
        main=main,
        look=Look(words=LABELS, title="Curve", style=style, language=language),
    )
    clean(drawing.figure)
    top, below = drawing.axes
    ordered = FEW.sort_values("estimate").reset_index(drop=True)
    strong = (ordered["p_value"] < 0.05).to_numpy()
    (filled,), (hollow,) = lines_of(top, "strong"), lines_of(top, "weak")
    for dots, mask in ((filled, strong), (hollow, ~strong)):
        assert dots.get_xdata().tolist() == (np.flatnonzero(mask) + 1).tolist()
        assert dots.get_ydata() == pytest.approx(ordered.loc[mask, "estimate"].to_numpy())
    assert (filled.get_markerfacecolor(), hollow.get_markerfacecolor())[1] == "white"
    assert filled.get_markerfacecolor() != "white"
    (diamond,) = lines_of(top, "main")
    match = (ordered[list(main)] == pd.Series(main)).all(axis=1)
    assert diamond.get_xdata().tolist() == [match.to_numpy().argmax() + 1]
    # The row below the curve repeats significance, and each choice marks the cells that made it.
    rows = [part for part in below.collections if str(part.get_gid()).startswith("row")]
    marked = [{segment[0, 0] for segment in part.get_segments()} for part in rows]
    assert marked[0] == set(np.flatnonzero(strong) + 1)
    values = [("spec", v) for v in ("SDM", "SAR", "SDEM")] + [("weights", v) for v in ("queen", "inverse")]
    for (name, value), found in zip(values, marked[1:6], strict=True):
        assert found == set(np.flatnonzero(ordered[name] == value) + 1)


def test_many_specifications():
    assert len(MANY) == 1152
    drawing = figures.specification_curve(MANY, "talent", "indirect", look=Look(words=LABELS))
    clean(drawing.figure)
    assert drawing.figure.get_size_inches()[1] * 25.4 <= PRESETS["journal_double"].height_mm + 1e-6
    said = words_of(drawing.figure)
    assert "1,152" in said
    assert f"{(MANY.p_value < 0.05).sum():,}" in said
    top = drawing.axes[0]
    step = top.get_window_extent().width / len(MANY) * 72 / drawing.figure.dpi
    assert step < LEGIBLE_STEP
    drawn = sum(
        len(part.get_segments())
        for gid in ("weak interval", "strong interval")
        for part in parts_of(top, gid)
    )
    assert drawn == 1152


class _Grid:
    """A grid as far as the curve knows it."""

    estimates = FEW.drop(columns="effect")
    effects = FEW


def test_a_grid_by_coefficient_and_by_effect_and_cells_without_interval():
    assert figures.specification_curve(_Grid, "talent").axes
    frame = FEW.copy()
    frame.loc[3, ["conf_low", "conf_high"]] = np.nan
    frame.loc[4, "estimate"] = np.nan
    drawing = figures.specification_curve(frame, "talent", "indirect", choices=["weights"])
    assert drawing.left_out == (" / ".join(map(str, FEW.loc[3, ["spec", "weights", "covariance"]])),)
    assert "Of 11 estimates" in words_of(drawing.figure)
    assert "SDM" not in words_of(drawing.figure)


@LANGUAGES
def test_an_estimate_at_the_edge_of_what_can_be_estimated_does_not_flatten_the_rest(language):
    frame = FEW.copy()
    frame.loc[3, ["estimate", "conf_low", "conf_high"]] = -800.0, np.nan, np.nan
    drawing = figures.specification_curve(frame, "talent", "indirect", look=Look(language=language))
    clean(drawing.figure)
    assert drawing.axes[0].get_ylim() == pytest.approx(
        figures.specification_curve(FEW.drop(index=3), "talent", "indirect").axes[0].get_ylim()
    )
    beyond = [line for line in lines_of(drawing.axes[0], "beyond") if len(line.get_xdata())]
    assert [line.get_marker() for line in beyond] == ["v"]
    assert "−800" in words_of(drawing.figure)


def test_other_measures_of_a_variable_are_in_its_curve_and_choices_are_the_grids():
    class Named(_Grid):
        effects = FEW.assign(term=["talent"] * 6 + ["teachers"] * 6, role="talent")
        choices = ("spec", "weights")

    drawing = figures.specification_curve(Named, "talent", "indirect")
    assert "Of 12 estimates" in words_of(drawing.figure)
    assert "Standard errors" not in words_of(drawing.figure)


def test_curves_refuse():
    with pytest.raises(SpecificationError, match="wages"):
        figures.specification_curve(FEW, "wages")
    with pytest.raises(SpecificationError, match="nothing"):
        figures.specification_curve(FEW, "talent", "indirect", choices=["nothing"])
    with pytest.raises(DataError, match="conf_low"):
        figures.specification_curve(FEW.drop(columns="conf_low"), "talent")
    with pytest.raises(DataError, match="finite"):
        figures.specification_curve(FEW.assign(estimate=np.nan), "talent")
    tall = cells(sample=[f"s{n}" for n in range(80)])
    with pytest.raises(SpecificationError, match="choices"):
        figures.specification_curve(tall, "talent")


# -- Power and probability -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study() -> pd.DataFrame:
    rows = pd.DataFrame(
        itertools.product(["rho", "theta"], [11, 41, 400], [0, 0.2, 0.4]), columns=["parameter", "n", "truth"]
    )
    return rows.assign(
        power=lambda r: 0.05 + 0.9 * (1 - np.exp(-r.n * r.truth**2)),
        coverage=lambda r: 0.95 - 1 / r.n,
        bias=0.0,
        rmse=1.0,
    )


@LOOKS
def test_power(study, language, style):
    measures = ("power", "coverage", "bias", "rmse")
    drawing = figures.power(
        study, measures=measures, parameter="theta", look=Look(style=style, language=language)
    )
    clean(drawing.figure)
    for axes, measure in zip(drawing.axes, measures, strict=True):
        part = study[study.parameter == "theta"]
        for n, line in zip((11, 41, 400), lines_of(axes, "line"), strict=True):
            assert line.get_ydata() == pytest.approx(part.loc[part.n == n, measure].to_numpy())
    (nominal,) = lines_of(drawing.axes[1], "reference")
    assert set(nominal.get_ydata()) == {0.95}
    looks = {(line.get_marker(), str(line._dash_pattern)) for line in drawing.figure.legends[0].get_lines()}
    assert len(looks) == 3


def test_power_refuses(study):
    with pytest.raises(SpecificationError, match="rho, theta"):
        figures.power(study)
    with pytest.raises(DataError, match="luck"):
        figures.power(study, parameter="rho", measures=["luck"])
    with pytest.raises(DataError, match="Several rows"):
        figures.power(pd.concat([study, study]), parameter="rho")


@LOOKS
def test_probabilities(language, style):
    pairs = list(itertools.product(["queen", "inverse", "nested"], ["SAR", "SEM", "SDM", "SDEM"]))
    numbers = np.random.default_rng(1).dirichlet([0.3] * 12)
    frame = pd.DataFrame(pairs, columns=["weights", "model"]).assign(probability=numbers)
    labels = {"nested": Text("Nested: contiguity × economic distance", "嵌套：邻接×经济距离")}
    drawing = figures.probabilities(
        frame.sample(frac=1, random_state=1), look=Look(words=labels, style=style, language=language)
    )
    clean(drawing.figure)
    (axes,) = drawing.axes
    shown = {text.get_text() for text in axes.texts}
    assert f"{100 * numbers.max():.1f}" in shown
    # Darker is more probable.
    cells_ = [(patch.get_facecolor()[0], patch.get_xy()) for patch in axes.patches]
    assert len(cells_) == 12
    with pytest.raises(DataError, match="between 0 and 1"):
        figures.probabilities(frame.assign(probability=2.0))
    with pytest.raises(DataError, match="twice"):
        figures.probabilities(pd.concat([frame, frame]))
    with pytest.raises(DataError, match="model"):
        figures.probabilities(frame.drop(columns="model"))


# -- Words and files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_words(tmp_path, densities, study, name):
    labels = {"talent": name, "SDM": name, "11": name}
    drawings = [
        figures.density(densities, label=name, look=Look(title=name, note=name)),
        figures.effects_by_order(
            by_order(),
            terms=["talent", "gdp"],
            effects=["total"],
            look=Look(words=labels, title=name, note=name),
        ),
        figures.specification_curve(
            FEW, "talent", "indirect", look=Look(words=labels, title=name, note=name)
        ),
        figures.power(study, parameter="rho", label=name, look=Look(words=labels)),
        figures.probabilities(
            pd.DataFrame({"model": [name, "b"], "probability": [0.4, 0.6]}), look=Look(title=name)
        ),
    ]
    for drawing in drawings:
        clean(drawing.figure)
    save_figure(drawings[-1].figure, tmp_path, "figure", ("pdf",))


@pytest.mark.parametrize("style", PRESETS)
def test_presets_have_the_width_they_say_and_pdfs_embed_truetype(tmp_path, densities, style):
    drawing = figures.density(
        densities, periods=[2007, 2019], look=Look(style=style, language="zh", note="注：虚构数据。")
    )
    width, height = drawing.figure.get_size_inches() * 25.4
    assert width == pytest.approx(PRESETS[style].width_mm)
    assert height <= PRESETS[style].height_mm + 1e-6
    assert drawing.figure.dpi == PRESETS[style].dpi
    (path,) = save_figure(drawing.figure, tmp_path, "figure", ("pdf",))
    raw = path.read_bytes()
    assert raw.count(b"/FontFile2") >= 1  # TrueType, embedded
    assert b"/Type3" not in raw
    assert raw.count(b"/Type /Font ") <= 2 * raw.count(b"/FontFile2") + raw.count(b"/CIDFontType2")


def test_tiff_is_compressed_and_knows_its_resolution(tmp_path, densities):
    from PIL import Image

    drawing = figures.density(densities, periods=[2007])
    one, two = (save_figure(drawing.figure, tmp_path / name, "figure", ("tiff",))[0] for name in "ab")
    assert one.read_bytes() == two.read_bytes()
    with Image.open(one) as image:
        assert image.info["compression"] == "tiff_lzw"
        assert float(image.info["dpi"][0]) == pytest.approx(drawing.figure.dpi)
        assert image.width / drawing.figure.dpi * 25.4 == pytest.approx(
            PRESETS["journal_single"].width_mm, abs=0.1
        )
