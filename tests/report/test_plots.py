"""Results draw and show themselves: every picture of every kind, and what ends a notebook cell."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from pictures import clean, words_of

import spatial_zb as zb
from spatial_zb.base import DOORS, through_door
from spatial_zb.base.errors import SpatialZbError, SpecificationError
from spatial_zb.base.text import Text
from spatial_zb.compare.grid import Grid
from spatial_zb.report.drawing.frame import Look
from spatial_zb.report.drawing.style import Drawing
from spatial_zb.report.plots import MOST_VARIABLES, PICTURES


@pytest.fixture(scope="module")
def results(example, effects_of_a_fit):
    """One result of each kind, by its name."""
    panel, W = example.panel, example.W
    spec = zb.SystemSpec(
        {
            "industry": zb.Equation("industry", endog=["talent"], x=["ln_pgdp", "fdi_gdp"], lag_y=False),
            "talent": zb.Equation("talent", endog=["industry"], x=["ln_wage", "sci_share"], lag_y=False),
        }
    )
    system = zb.fit_system(spec, panel, W, "3sls")
    return {
        "Panel": panel,
        "Weights": W,
        "Fit": effects_of_a_fit.fit,
        "SystemFit": system,
        "Effects": effects_of_a_fit,
        "MoranTable": zb.moran(panel, "industry", W, permutations=99, rng=1),
        "LocalTable": zb.local_moran(panel, "industry", W, period=2019, permutations=1999, rng=1),
        "Densities": zb.dynamics.kernel_densities(panel, "talent", periods=[2007, 2019], points=60),
        "EllipsePath": zb.dynamics.deviation_ellipses(
            zb.build_panel(panel.frame().assign(one=1.0), "unit", "period"), "one", example.regions
        ),
    }


DRAWN = [pair for pair in PICTURES if pair[0] != "Grid"]


@pytest.mark.parametrize(("kind", "picture"), DRAWN, ids=[" ".join(pair) for pair in DRAWN])
@pytest.mark.filterwarnings("ignore")
def test_every_result_draws_each_of_its_pictures(results, example, kind, picture):
    result = results[kind]
    assert type(result).__name__ == kind
    assert picture in result.pictures
    if (kind, picture) == ("SystemFit", "map"):
        with pytest.raises(SpecificationError, match=r"maps\.effect"):
            result.plot("map", regions=example.regions)
        return
    terms = ["talent"] if (kind, picture) in {("Fit", "map"), ("Effects", "map"), ("Panel", "map")} else None
    drawing = result.plot(picture, terms=terms, regions=example.regions, look=Look(language="zh"))
    assert isinstance(drawing, Drawing)
    if kind not in ("SystemFit",):
        clean(drawing.figure)


def test_every_kind_lists_the_pictures_that_there_are(results):
    for kind, result in results.items():
        assert {picture for name, picture in PICTURES if name == kind} == set(result.pictures)
    assert Grid.pictures == ("curve",)


def test_a_panel_draws_means_and_the_middle_half_of_its_units(example):
    panel = example.panel
    drawn = panel.plot(terms=["talent"], periods=[2007, 2013, 2019]).figure
    lines = [line.get_ydata() for line in drawn.axes[0].lines if len(line.get_xdata()) == 3]
    values = panel.select(periods=[2007, 2013, 2019]).array("talent")
    assert any(np.allclose(line, values.mean(axis=1)) for line in lines)
    bands = [c.get_paths()[0].vertices[:, 1] for c in drawn.axes[0].collections if c.get_paths()]
    quartiles = np.quantile(values, [0.25, 0.75], axis=1)
    assert any(np.allclose((band.min(), band.max()), (quartiles.min(), quartiles.max())) for band in bands)
    assert sum(bool(axes.lines) for axes in panel.plot().figure.axes) == MOST_VARIABLES
    with pytest.raises(SpecificationError, match="A map needs polygons"):
        example.W.plot()


def test_the_usual_pictures(results, example):
    """The first of its kind: effects with labels of the panel, and Moran's scatter of the first and the last year."""
    said = words_of(results["Fit"].plot().figure)
    assert example.panel.label("ln_pgdp").en.split(" (")[0] in said.replace("\n", " ")
    assert "standard deviation within units" in said.replace("\n", " ")
    chosen = results["Effects"].plot(terms=["talent"], look=Look(words={"talent": "People"}))
    assert "People" in words_of(chosen.figure)
    moran = results["MoranTable"]
    scatter = moran.plot()
    I = moran.table().set_index("period")["I"]
    said = words_of(scatter.figure)
    assert f"2007, Moran's I = {I[2007]:.3f}".replace("-", "−") in said
    assert f"2019, Moran's I = {I[2019]:.3f}".replace("-", "−") in said
    assert len(moran.plot(periods=[2010]).axes) == 1
    assert "Suzhou" in words_of(moran.plot(regions=example.regions).figure)
    path = moran.plot("path")
    points = np.concatenate(
        [line.get_xydata() for line in path.axes[0].lines if line.get_gid() in ("point", "hollow")]
    )
    assert sorted(points[:, 1]) == pytest.approx(sorted(I))


def test_what_cannot_be_drawn_is_refused_in_words(results, example):
    with pytest.raises(SpecificationError, match="kind must be one of"):
        results["Fit"].plot("pie")
    with pytest.raises(SpecificationError, match="regions=regions"):
        results["LocalTable"].plot()
    with pytest.raises(SpecificationError, match="Name one variable"):
        results["Fit"].plot("map", regions=example.regions)
    with pytest.raises(SpatialZbError):
        results["Fit"].plot(terms=["nothing"])


def test_doors_lead_to_modules_that_exist():
    for name, function in (("plot", "draw"), ("write", "write_file"), ("write", "shown")):
        assert callable(through_door(name, function))
    assert set(DOORS) == {"plot", "write"}


def test_a_drawing_shows_and_saves_itself(results, tmp_path):
    drawing = results["Effects"].plot()
    assert drawing._repr_png_().startswith(b"\x89PNG")
    assert drawing.save(tmp_path / "new" / "effects.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(SpecificationError, match="gif"):
        drawing.save(tmp_path / "effects.gif")


def test_tables_of_fits_are_written_by_the_ending_of_the_file(results, tmp_path):
    fit = results["Fit"]
    table = zb.tables.regression([fit, fit])
    for ending in ("docx", "xlsx", "tex", "md", "csv", "html"):
        assert table.write(tmp_path / "new" / f"t.{ending}").stat().st_size > 0
    text = (tmp_path / "new" / "t.md").read_text("utf-8")
    assert "(1)" in text
    assert "(2)" in text
    assert fit.panel.label("talent").en in text
    assert "Mine" in zb.tables.regression({"Mine": fit}).write(tmp_path / "one.csv").read_text("utf-8")
    with pytest.raises(SpecificationError, match="docx"):
        table.write(tmp_path / "t.doc")
    assert "<table>" in table._repr_html_()


# -- Notebooks -------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """Names of the elements of a fragment."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.found.add(tag)


EVIL = "<script>alert(1)</script>"


def test_what_ends_a_notebook_cell_is_a_table_and_escaped(results, example):
    chain = zb.diagnose(zb.DurbinSpec("industry", ["talent"]), example.panel, example.W)
    shown = {**results, "TestTable": chain, "Panel": example.panel, "Weights": example.W}
    for kind, result in shown.items():
        text = result._repr_html_()
        assert kind in text or kind == "TestTable"
        assert "<table" in text
        assert len(text) < 60_000
    assert "talent" in results["Fit"]._repr_html_()
    ids = pd.Index([EVIL, "b", "c", "d"])
    W = zb.Weights(np.eye(4)[[1, 0, 3, 2]], ids, EVIL)
    frame = pd.DataFrame({"unit": np.tile(ids, 3), "period": np.repeat([1, 2, 3], 4)})
    frame[EVIL], frame["y"] = np.random.default_rng(1).normal(size=(2, 12))
    panel = zb.build_panel(frame, "unit", "period", labels={"y": Text(EVIL, EVIL)})
    fit = zb.fit_durbin(zb.DurbinSpec("y", [EVIL], lag_y=False, lag_x=[], fixed_effects="none"), panel, W)
    local = zb.local_moran(panel, "y", W, period=1, permutations=199, rng=1)
    for result in (
        W,
        panel,
        fit,
        zb.moran(panel, "y", W, permutations=99, rng=1),
        local,
        zb.spatial_effects(fit),
    ):
        text = result._repr_html_()
        assert "script" not in Tags(text).found
        assert not re.search("<script", text)
