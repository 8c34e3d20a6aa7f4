"""Results show themselves as tables, short, safe and without raising."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

import spatial_zb as zb
from spatial_zb.base.errors import ConvergenceError
from spatial_zb.base.printing import ROWS, Printed


@pytest.fixture(scope="module")
def fit():
    ring = np.roll(np.eye(12), 1, axis=1) + np.roll(np.eye(12), -1, axis=1)
    W = zb.as_weights(ring, ids=[f"u{i:02d}" for i in range(12)]).standardise("row")
    panel = zb.simulate.durbin(W, 8, {"a": 1.0}, theta={"a": 0.5}, rho=0.3, rng=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        return zb.fit_durbin(zb.DurbinSpec("y", ["a"]), panel, W)


RESULTS = {
    "effects": zb.spatial_effects,
    "bootstrap": lambda fit: zb.bootstrap(fit, 199, rng=1),
    "median_unbiased": lambda fit: zb.median_unbiased(fit, 99, rng=1),
    "diagnose": lambda fit: zb.diagnose(fit.spec, fit.panel, fit.weights),
    "moran": lambda fit: zb.moran(fit.panel, "y", fit.weights, rng=1),
    "local_moran": lambda fit: zb.local_moran(
        fit.panel, "y", fit.weights, period=fit.panel.periods[0], rng=1
    ),
    "grid": lambda fit: zb.specification_grid(fit.panel, specs=[fit.spec], weights={"ring": fit.weights}),
    "weights": lambda fit: fit.weights.report(),
}


@pytest.mark.parametrize("kind", RESULTS)
@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
def test_a_result_is_printed_as_its_table_and_not_as_its_fields(fit, kind):
    result = RESULTS[kind](fit)
    text, page = repr(result), result._repr_html_()
    assert "array(" not in text
    assert "DataFrame" not in text
    assert "<table" in page
    assert len(text.splitlines()) < ROWS + 25


def test_the_table_is_that_of_tidy_with_four_digits(fit):
    effects = zb.spatial_effects(fit)
    text = repr(effects)
    assert text.startswith("Effects\n")
    assert "model SDM · y y" in text
    assert "log likelihood" not in text
    for value in effects.tidy()["estimate"]:
        assert f"{value:.4g}" in text


def test_a_fit_is_printed_as_its_summary_and_named_in_a_line(fit):
    assert str(fit) == fit.summary()
    assert len(repr(fit).splitlines()) == 1
    assert fit._repr_html_().startswith("<p><b>Fit</b><br>SDM of y")
    assert "<table" in fit._repr_html_()


@dataclass(frozen=True, repr=False)
class Table(Printed):
    frame: pd.DataFrame
    fails: bool = False

    def tidy(self) -> pd.DataFrame:
        if self.fails:
            raise ConvergenceError("Half of the replicates have no estimate.")
        warnings.warn("three replicates are left out", zb.SpatialZbWarning, stacklevel=2)
        return self.frame


def test_a_long_table_is_shortened_and_says_so():
    shown = repr(Table(pd.DataFrame({"x": np.arange(1000.0)})))
    assert "999" in shown
    assert "500" not in shown.replace("1,000", "")
    assert f"{ROWS} of 1,000 rows" in shown


def test_long_texts_are_left_to_the_table_itself_and_named():
    result = Table(pd.DataFrame({"test": ["LM lag"], "note": ["a very long note " * 9]}))
    assert "very long" not in repr(result)
    assert "not shown: note" in repr(result)
    assert "very long" in result._repr_html_()


def test_names_in_data_reach_no_page():
    page = Table(pd.DataFrame({"<script>": ["<img src=x>"]}))._repr_html_()
    assert "<script>" not in page
    assert "<img" not in page
    assert "&lt;img" in page


def test_showing_warns_nobody_and_never_raises():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "three replicates are left out" in repr(Table(pd.DataFrame({"x": [1.0]})))
        assert "Half of the replicates" in repr(Table(pd.DataFrame(), fails=True))
        assert "Half of the replicates" in Table(pd.DataFrame(), fails=True)._repr_html_()
