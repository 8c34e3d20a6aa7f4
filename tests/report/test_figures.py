"""Charts by property: the slope is Moran's I, every estimate is at its place, no words lie on each other."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from pictures import clean, lines_of

from spatial_zb.base.errors import AlignmentError, DataError, SpecificationError
from spatial_zb.base.text import Text
from spatial_zb.core.statistics import bivariate_moran, moran_i
from spatial_zb.core.statistics.dispersion import within_sd
from spatial_zb.report import figures
from spatial_zb.report.drawing.frame import Look
from spatial_zb.report.drawing.placement import HALO, outside, overlaps, text_boxes, wrap
from spatial_zb.report.drawing.style import context, new_figure, save_figure
from spatial_zb.report.figures.moran import QUADRANTS, THE_VARIABLE
from spatial_zb.weights.matrix import Weights

N = 40
IDS = pd.Index([f"{330000 + number}" for number in range(N)])
RNG = np.random.default_rng(7)
VALUES = pd.Series(RNG.normal(size=N).cumsum(), index=IDS)
HOSTILE = {
    "mathtext": "$\\frac$",
    "line breaks": "two\nlines",
    "very long": "很长的名字" * 60,
    "braces": "{0} %s {name}",
    "empty": "",
}


def ring(normalisation: str = "row", islands: int = 0) -> Weights:
    """Each unit linked to the two before and after it; the last units may be islands."""
    linked = N - islands
    matrix = np.zeros((N, N))
    for unit in range(linked):
        for step in (1, 2):
            matrix[unit, (unit + step) % linked] = matrix[(unit + step) % linked, unit] = 1.0 + 0.1 * step
    return Weights(matrix, IDS, "ring").standardise(normalisation)


def dots(axes) -> np.ndarray:
    """All points of the four quadrants, (m, 2)."""
    return np.concatenate([line.get_xydata() for name in QUADRANTS for line in lines_of(axes, name)])


def tidy(seed: int, terms: tuple[str, ...] = ("talent", "gdp", "fdi")) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    table = pd.MultiIndex.from_product([terms, ["direct", "indirect", "total"]], names=["term", "effect"])
    frame = pd.DataFrame({"estimate": rng.normal(size=len(table))}, index=table).reset_index()
    return frame.assign(conf_low=frame.estimate - 0.5, conf_high=frame.estimate + 0.7)


# -- Moran scatter ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("islands", [0, 3])
@pytest.mark.parametrize("normalisation", ["row", "none", "spectral"])
def test_slope_of_the_line_is_morans_i(normalisation, islands):
    weights = ring(normalisation, islands)
    drawing = figures.moran_scatter(VALUES, weights)
    (line,) = lines_of(drawing.axes[0], "slope")
    expected = moran_i(VALUES.to_numpy(), weights.matrix).value
    assert line.get_slope() == pytest.approx(expected, rel=1e-12)
    points = dots(drawing.axes[0])
    z = (VALUES - VALUES.mean()) / VALUES.std(ddof=0)
    # Islands have no lag: the dots alone give z'lag, all units give z'z = n.
    assert points.prod(axis=1).sum() / (z @ z) == pytest.approx(expected, rel=1e-12)
    assert any(f"{expected:.3f}" in text.get_text() for text, _ in text_boxes(drawing.figure))


@pytest.mark.parametrize("islands", [0, 3])
@pytest.mark.parametrize("normalisation", ["row", "none"])
def test_slope_of_two_variables_is_the_bivariate_i(normalisation, islands):
    """The other variable by id in any order; with the variable itself it is Moran's I."""
    weights, other = ring(normalisation, islands), pd.Series(RNG.normal(size=N), index=IDS)
    drawing = figures.moran_scatter(
        VALUES, weights, other=other[::-1], label=(THE_VARIABLE, "<other>"), look=Look(language="zh")
    )
    (line,) = lines_of(drawing.axes[0], "slope")
    expected = bivariate_moran(VALUES.to_numpy(), other.to_numpy(), weights.matrix).value
    assert line.get_slope() == pytest.approx(expected, rel=1e-12)
    assert "<other>的空间滞后项" in drawing.axes[0].get_ylabel()
    assert any("双变量莫兰指数" in text.get_text() for text, _ in text_boxes(drawing.figure))
    clean(drawing.figure)
    (own,) = lines_of(figures.moran_scatter(VALUES, weights, other=VALUES).axes[0], "slope")
    (alone,) = lines_of(figures.moran_scatter(VALUES, weights).axes[0], "slope")
    assert own.get_slope() == pytest.approx(alone.get_slope(), rel=1e-12)


def test_the_axis_tells_a_scaled_lag():
    assert figures.moran_scatter(VALUES, ring("row", 2)).axes[0].get_ylabel() == "Spatial lag"
    assert "n/S₀" in figures.moran_scatter(VALUES, ring("none")).axes[0].get_ylabel()


def test_dots_stand_in_their_quadrants_and_islands_do_not():
    weights = ring(islands=3)
    drawing = figures.moran_scatter(VALUES, weights, look=Look(language="zh"))
    assert drawing.left_out == tuple(IDS[-3:])
    assert len(dots(drawing.axes[0])) == N - 3
    signs = {"HH": (1, 1), "LL": (-1, -1), "HL": (1, -1), "LH": (-1, 1)}
    for name, sign in signs.items():
        for line in lines_of(drawing.axes[0], name):
            assert np.all(line.get_xydata() * sign >= 0)
    note = "".join(text.get_text() for text, _ in text_boxes(drawing.figure))
    assert all(unit in note for unit in IDS[-3:])


def test_values_are_matched_by_id():
    one = figures.moran_scatter(VALUES, ring())
    other = figures.moran_scatter(VALUES.sample(frac=1, random_state=1), ring())
    assert np.allclose(dots(one.axes[0]), dots(other.axes[0]))


def test_names_of_the_farthest_or_of_those_asked_for():
    z = (VALUES - VALUES.mean()) / VALUES.std(ddof=0)
    lag = pd.Series(ring().matrix @ z.to_numpy(), index=IDS)
    far = np.hypot(z, lag).nlargest(5).index
    drawing = figures.moran_scatter(VALUES, ring(), notable=5)
    assert set(drawing.labelled) | set(drawing.unlabelled) == set(far)
    asked = figures.moran_scatter(
        VALUES, ring(islands=1), notable=[IDS[3], IDS[-1]], look=Look(words={IDS[3]: "杭州"})
    )
    assert asked.labelled == (IDS[3],)
    assert [text.get_text() for text in asked.axes[0].texts if text.get_gid() != HALO] == ["杭州"]


def test_all_names_at_once_do_not_collide_and_the_lost_are_told():
    names = {unit: f"City number {unit}" for unit in IDS}
    drawing = figures.moran_scatter(VALUES, ring(), notable=N, look=Look(words=names))
    assert set(drawing.labelled) | set(drawing.unlabelled) == set(IDS)
    assert drawing.unlabelled
    clean(drawing.figure)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("columns", [1, 2, 4])
def test_scatter_panels_share_their_limits(language, columns):
    frame = pd.DataFrame(
        {year: VALUES * (1 + year % 7) + RNG.normal(size=N) for year in (2007, 2011, 2015, 2019)}
    )
    before = dict(matplotlib.rcParams)
    label = Text("Log location quotient of manufacturing employment", "制造业就业区位熵（对数）")
    drawing = figures.moran_scatter(
        frame,
        ring(),
        label=label,
        look=Look(columns=columns, language=language, title=Text("Moran scatter", "莫兰散点图")),
    )
    assert dict(matplotlib.rcParams) == before
    assert len(drawing.axes) == 4
    assert len({axes.get_xlim() for axes in drawing.axes}) == 1
    assert len({axes.get_ylim() for axes in drawing.axes}) == 1
    clean(drawing.figure)


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        pytest.param(VALUES.drop(IDS[0]), AlignmentError, IDS[0], id="missing id"),
        pytest.param(VALUES.rename({IDS[0]: "x"}), AlignmentError, "x", id="unknown id"),
        pytest.param(VALUES.where(VALUES.index != IDS[4]), DataError, IDS[4], id="missing value"),
        pytest.param(VALUES.replace(VALUES.iloc[4], np.inf), DataError, IDS[4], id="infinite value"),
        pytest.param(VALUES * 0, DataError, "same", id="constant"),
    ],
)
def test_scatter_refuses(values, error, words):
    with pytest.raises(error, match=words):
        figures.moran_scatter(values, ring())


def test_scatter_refuses_unknown_names_and_no_panel():
    with pytest.raises(AlignmentError, match="999"):
        figures.moran_scatter(VALUES, ring(), notable=["999"])
    with pytest.raises(DataError):
        figures.moran_scatter(pd.DataFrame(index=IDS), ring())


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_words_in_a_scatter(tmp_path, name):
    names = dict.fromkeys(IDS, name)
    drawing = figures.moran_scatter(
        VALUES, ring(islands=1), label=name, notable=9, look=Look(words=names, title=name)
    )
    clean(drawing.figure)
    save_figure(drawing.figure, tmp_path, "scatter")


def test_p_values_stand_beside_the_slopes():
    frame = pd.DataFrame({2007: VALUES, 2019: VALUES[::-1].to_numpy()}, index=IDS)
    for language, ends in (
        ("en", ("(p < 0.001)", "(p = 0.250)")),
        ("zh", ("（p < 0.001）", "（p = 0.250）")),
    ):
        drawing = figures.moran_scatter(frame, ring(), p_values=[0.0004, 0.25], look=Look(language=language))
        told = " ".join(text.get_text() for text, _ in text_boxes(drawing.figure))
        assert all(end in told for end in ends)
        clean(drawing.figure)
    assert "p =" not in "".join(
        t.get_text() for t, _ in text_boxes(figures.moran_scatter(frame, ring()).figure)
    )


@pytest.mark.parametrize("length", [8, 9, 10, 11])
def test_short_words_in_brackets_stay_in_one_line(length):
    drawing = figures.moran_scatter(
        VALUES, ring(), other=VALUES, label=(THE_VARIABLE, "产业集聚" * length), look=Look(language="zh")
    )
    upward = drawing.axes[0].get_ylabel()
    assert "\n" in upward
    assert "（标准化）" in upward


def test_scatter_in_the_axes_of_a_caller():
    axes = Figure().add_subplot()
    drawing = figures.moran_scatter(VALUES, ring(), ax=axes)
    assert drawing.axes == (axes,)
    assert len(dots(axes)) == N
    assert not axes.figure.legends


# -- Effects and coefficients ----------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["journal_single", "journal_double", "slide"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_effects(style, language):
    effects = {"SDM queen": tidy(1), "SDM distance": tidy(2)}
    labels = {"talent": Text("Talent agglomeration of the region", "地区人才集聚水平")}
    drawing = figures.effects(effects, look=Look(words=labels, style=style, language=language))
    clean(drawing.figure)
    heads = {"en": {"Direct", "Indirect", "Total"}, "zh": {"直接效应", "间接效应", "总效应"}}[language]
    assert heads <= {text.get_text() for text, _ in text_boxes(drawing.figure)}
    assert all(len(lines_of(axes, "zero")) == 1 for axes in drawing.axes)


def test_every_estimate_and_interval_is_drawn_at_its_place():
    effects = {"A": tidy(1), "B": tidy(2, ("gdp", "univ"))}
    drawing = figures.effects(effects)
    rows = ["talent", "gdp", "fdi", "univ"]
    for axes, effect in zip(drawing.axes, ("direct", "indirect", "total"), strict=True):
        bars = [part for part in axes.collections if part.get_gid() == "interval"]
        for number, (frame, bar) in enumerate(zip(effects.values(), bars, strict=True)):
            part = frame[frame.effect == effect].set_index("term")
            present = [row for row in rows if row in part.index]
            x, y = points_of(axes, number)
            assert x == pytest.approx(part.loc[present, "estimate"].to_numpy())
            assert np.round(y).tolist() == [rows.index(row) for row in present]
            ends = np.array([segment[:, 0] for segment in bar.get_segments()])
            assert ends == pytest.approx(part.loc[present, ["conf_low", "conf_high"]].to_numpy())
    assert drawing.left_out == ()


def points_of(axes, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Estimates of one model from top to bottom, those whose interval holds zero among them."""
    parts = [lines_of(axes, gid)[number].get_xydata() for gid in ("estimate", "hollow")]
    found = np.concatenate(parts)
    return tuple(found[np.argsort(found[:, 1])].T)


def test_an_estimate_is_hollow_where_its_interval_holds_zero():
    frame = tidy(1)
    drawing = figures.effects({"A": frame})
    for axes, effect in zip(drawing.axes, ("direct", "indirect", "total"), strict=True):
        part = frame[frame.effect == effect]
        sure = part[(part.conf_low > 0) | (part.conf_high < 0)]
        (filled,), (hollow,) = lines_of(axes, "estimate"), lines_of(axes, "hollow")
        assert filled.get_xdata() == pytest.approx(sure["estimate"].to_numpy())
        assert len(filled.get_xdata()) + len(hollow.get_xdata()) == len(part)
        assert hollow.get_markerfacecolor() == "white"
        # Lengths can be compared over the panels.
        assert axes.get_xlim() == drawing.axes[0].get_xlim()


def test_effects_are_of_the_change_that_stands_beside_the_variable(effects_of_a_fit):
    panel = effects_of_a_fit.fit.panel
    frame = effects_of_a_fit.tidy()
    rows = list(dict.fromkeys(frame["term"]))
    sizes = {name: within_sd(panel.array(name)) for name in rows}
    given = {name: 10.0 * (1 + number) for number, name in enumerate(rows)}
    for per, size in (("sd", sizes), ("unit", dict.fromkeys(rows, 1.0)), (given, given)):
        drawing = figures.effects({"A": effects_of_a_fit}, per=per)
        part = frame[frame.effect == "total"].set_index("term").loc[rows, "estimate"]
        x, _ = points_of(drawing.axes[2], 0)
        assert x == pytest.approx([size[name] * part[name] for name in rows])
        said = " ".join(text.get_text() for text, _ in text_boxes(drawing.figure))
        assert ("one more unit" in said) is (per == "unit")
        assert ("standard deviation within units" in said.replace("\n", " ")) is (per == "sd")
        if per == given:
            assert "+10" in drawing.axes[0].get_yticklabels()[0].get_text()
    for wrong in ("year", {rows[0]: 0.0}, {rows[0]: np.nan}):
        with pytest.raises(SpecificationError, match="must be"):
            figures.effects({"A": effects_of_a_fit}, per=wrong)


def test_models_do_not_lie_on_each_other():
    drawing = figures.effects({name: tidy(1) for name in "ABCDEFGHI"})
    heights = np.concatenate([points_of(drawing.axes[0], n)[1] for n in range(9)])
    assert len(np.unique(heights)) == len(heights)
    looks = {(line.get_color(), line.get_marker()) for line in drawing.figure.legends[0].get_lines()}
    assert len(looks) == 9
    clean(drawing.figure)


def test_terms_in_the_order_asked_for():
    drawing = figures.effects({"A": tidy(1)}, terms=["fdi", "talent"])
    assert [label.get_text() for label in drawing.axes[0].get_yticklabels()] == ["fdi", "talent"]
    with pytest.raises(SpecificationError, match="nothing"):
        figures.effects({"A": tidy(1)}, terms=["nothing"])


def test_what_has_no_interval_is_a_cross_and_told():
    frame = tidy(1)
    frame.loc[0, ["conf_low", "conf_high"]] = np.nan
    frame.loc[4, "estimate"] = np.nan
    drawing = figures.effects({"A": frame})
    assert drawing.left_out == ("A: talent, direct", "A: gdp, indirect")
    bare = [len(line.get_xdata()) for axes in drawing.axes for line in lines_of(axes, "bare")]
    assert bare == [1, 0, 0]
    assert [len(points_of(axes, 0)[0]) for axes in drawing.axes] == [2, 2, 3]
    said = " ".join(text.get_text() for text, _ in text_boxes(drawing.figure))
    assert "A / talent / Direct" in said.replace("\n", " ")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_effects_by_regime(language):
    parts = [
        tidy(n).assign(term=lambda f, end=end: f.term + end)
        for n, end in enumerate(("[core=0]", "", "[core=1]"))
    ]
    words = {"core=1": Text("Core cities", "核心城市")}
    drawing = figures.regimes(
        pd.concat(parts), names=words, terms=["talent", "gdp"], look=Look(language=language)
    )
    clean(drawing.figure)
    names = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert names == [
        "core=0",
        words["core=1"].pick(language),
        {"en": "All units", "zh": "全部地区"}[language],
    ]
    first, second, all_ = (points_of(drawing.axes[0], number)[0] for number in range(3))
    for drawn, part in ((first, parts[0]), (second, parts[2]), (all_, parts[1])):
        assert drawn == pytest.approx(part.loc[part.effect == "direct", "estimate"].to_numpy()[:2])


class Result:
    """A fit as far as a coefficient plot knows it."""

    def __init__(self, seed: int) -> None:
        terms = ["(Intercept)", "talent", "W_talent", "rho", "lam", "sigma2"]
        estimate = np.random.default_rng(seed).normal(size=6)
        self.frame = pd.DataFrame({"term": terms, "estimate": estimate})
        self.frame = self.frame.assign(conf_low=estimate - 1, conf_high=estimate + 1)

    def tidy(self) -> pd.DataFrame:
        return self.frame


@pytest.mark.parametrize(
    ("language", "labels"),
    [
        pytest.param("en", ["Talent", "W × Talent", "Spatial lag ρ", "Spatial error λ"], id="en"),
        pytest.param("zh", ["人才", "W × 人才", "空间自回归系数 ρ", "空间误差系数 λ"], id="zh"),
    ],
)
def test_coefficients(language, labels):
    words = {"talent": Text("Talent", "人才")}
    drawing = figures.coefficients(
        {"A": Result(1), "B": Result(2)}, look=Look(words=words, language=language)
    )
    shown = [label.get_text().replace("\n", "") for label in drawing.axes[0].get_yticklabels()]
    assert [label.replace(" ", "") for label in shown] == [label.replace(" ", "") for label in labels]
    clean(drawing.figure)
    all_terms = figures.coefficients({"A": Result(1)}, terms=["(Intercept)", "sigma2"])
    assert len(all_terms.axes[0].get_yticks()) == 2


@pytest.mark.parametrize(
    "effects",
    [
        pytest.param({}, id="no model"),
        pytest.param({"A": tidy(1).drop(columns="conf_low")}, id="missing column"),
        pytest.param({"A": tidy(1).iloc[:0]}, id="no row"),
    ],
)
def test_effects_refuse(effects):
    with pytest.raises(DataError):
        figures.effects(effects)


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_words_in_effects(tmp_path, name):
    drawing = figures.effects(
        {name: tidy(1), "B": tidy(2)},
        models={"B": name},
        look=Look(words={"gdp": name}, title=name, note=name),
    )
    clean(drawing.figure)
    save_figure(drawing.figure, tmp_path, "effects")


# -- Placing and wrapping --------------------------------------------------------------------------------------------


def test_overlaps_and_words_outside_are_found():
    with context("journal_single") as style:
        figure = new_figure(style, 50)
        for x, text in ((0.5, "left"), (0.52, "right"), (0.99, "leaves the figure")):
            figure.text(x, 0.5, text)
        axes = figure.add_axes((0.2, 0.8, 0.6, 0.1))
        axes.set(xlim=(0, 1), xticks=[0, 0.01, 5], xticklabels=["aa", "bb", "not drawn"])
        assert {frozenset(pair) for pair in overlaps(figure)} == {
            frozenset(("left", "right")),
            frozenset(("aa", "bb")),
        }
        assert outside(figure) == ["leaves the figure"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("The quick brown fox jumps over the lazy dog and more", id="words"),
        pytest.param("资料来源：《中国城市统计年鉴》，天地图，二〇二四年行政区划。", id="ideographs"),
        pytest.param("x" * 200, id="one long word"),
        pytest.param("人均GDP（log）and mixed 文字", id="mixed"),
        pytest.param("横向（→）：就业密度（对数）；纵向（↑）：增长与（《书》）及其他。" * 3, id="signs"),
    ],
)
def test_wrapped_lines_fit_and_lose_nothing(text):
    with context("journal_single") as style:
        figure = new_figure(style, 50)
        lines = wrap(figure, text, 8, 300)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
        renderer = figure.canvas.get_renderer()
        for line in lines:
            artist = figure.text(0, 0, line, fontsize=8)
            assert artist.get_window_extent(renderer).width <= 301
        assert not any(line[0] in "，。：、；）》" for line in lines)
        assert not any(line[-1] in "（《" for line in lines)
