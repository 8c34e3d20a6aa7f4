"""What a report on weights says, and how weights compare."""

from __future__ import annotations

import warnings

import geopandas
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from shapely.geometry import box

from spatial_zb.base.errors import AlignmentError, SpatialZbWarning, WeightsError
from spatial_zb.base.text import Text
from spatial_zb.report.tables.layouts.sample import overlap_table, weights_table
from spatial_zb.report.tables.table import Number, TableLook
from spatial_zb.weights import compare_weights
from spatial_zb.weights.matrix import Weights

#: a–b–c in a path, d → a one way, e and f a pair, g alone.
IDS = list("abcdefg")
LINKS = [
    ("a", "b", 2),
    ("b", "a", 2),
    ("b", "c", 1),
    ("c", "b", 1),
    ("d", "a", 4),
    ("e", "f", 1),
    ("f", "e", 1),
]


def small(label: str = "small", scale: float = 1.0) -> Weights:
    dense = np.zeros((7, 7))
    for i, j, w in LINKS:
        dense[IDS.index(i), IDS.index(j)] = w * scale
    return Weights(sparse.csr_array(dense), pd.Index(IDS), label)


def rook_chain(n: int) -> Weights:
    dense = np.diag(np.ones(n - 1), 1)
    return Weights(sparse.csr_array(dense + dense.T), pd.Index([f"u{i}" for i in range(n)]), "chain")


def test_facts_of_a_matrix_counted_by_hand() -> None:
    report = small().report()
    facts = report.glance().iloc[0]
    assert facts["units"] == 7
    assert facts["links"] == 7
    assert facts["density"] == pytest.approx(7 / 42)
    assert facts["islands"] == 1
    assert facts["components"] == 2
    assert facts["one_way_links"] == 1
    assert facts["asymmetry"] == pytest.approx(8 / 24)  # |4 − 0| in both directions over 2 × 12
    assert (facts["weight_min"], facts["weight_median"], facts["weight_max"]) == (1, 1, 4)
    assert facts["neighbours_mean"] == 1
    assert not facts["all_equal"]


def test_units_one_by_one() -> None:
    units = small().report().tidy().set_index("unit")
    assert list(units.index) == IDS
    assert units["neighbours"].tolist() == [1, 2, 1, 1, 1, 1, 0]
    assert units["neighbour_of"].tolist() == [2, 2, 1, 0, 1, 1, 0]
    assert units["row_sum"].tolist() == [2, 3, 1, 4, 1, 1, 0]
    assert units["island"].tolist() == [False] * 6 + [True]
    assert units["component"].nunique() == 3


def test_degrees_and_components_add_up() -> None:
    report = small().report()
    assert report.degrees().to_dict() == {0: 1, 1: 5, 2: 1}
    assert report.components().tolist() == [4, 2, 1]


def test_interval_is_that_of_the_eigenvalues() -> None:
    facts = rook_chain(5).report().glance().iloc[0]
    radius = 2 * np.cos(np.pi / 6)  # a path of five: eigenvalues 2 cos(kπ/6)
    assert facts["rho_high"] == pytest.approx(1 / radius)
    assert facts["rho_low"] == pytest.approx(-1 / radius)
    assert rook_chain(5).standardise().report().glance()["rho_high"].iloc[0] == pytest.approx(1)


def test_interval_of_many_units_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spatial_zb.weights.entries.MOST_UNITS_WITH_EIGENVALUES", 4)
    report = rook_chain(5).report()
    assert np.isnan(report.glance()["rho_low"].iloc[0])
    assert any("not computed above 4" in note for note in report.notes)


def test_notes_and_text_name_what_to_look_at() -> None:
    text = str(small().report())
    for words in (
        "Without neighbours: g",
        "2 components of 4, 2 units",
        "1 links have no link back",
        "density",
    ):
        assert words in text
    economic = Weights(small().matrix, pd.Index(IDS), recipe={"kind": "gravity", "variable": "gdp"})
    assert any("Built from gdp" in note for note in economic.report().notes)
    full = Weights(np.ones((4, 4)) - np.eye(4), pd.Index(list("abcd")))
    assert any("rho is not identified" in note for note in full.report().notes)


def test_a_report_cannot_be_changed_through_its_frames() -> None:
    report = small().report()
    for frame, column in ((report.tidy(), "neighbours"), (report.glance(), "links")):
        frame[column] = 99
    assert report.tidy()["neighbours"].iloc[0] == 1
    assert report.glance()["links"].iloc[0] == 7
    with pytest.raises(AttributeError):
        report.label = "other"


def test_comparison_against_dense_numbers() -> None:
    rng = np.random.default_rng(3)
    a, b = (rng.uniform(size=(9, 9)) * (rng.uniform(size=(9, 9)) < 0.5) for _ in range(2))
    for matrix in (a, b):
        np.fill_diagonal(matrix, 0)
    ids = pd.Index([f"u{i}" for i in range(9)])
    A, B = Weights(a, ids), Weights(b, ids).align(ids[::-1])
    row = compare_weights({"A": A, "B": B}).tidy().iloc[0]
    off = ~np.eye(9, dtype=bool)
    assert row["jaccard"] == pytest.approx(((a > 0) & (b > 0)).sum() / ((a > 0) | (b > 0)).sum())
    assert row["correlation"] == pytest.approx(np.corrcoef(a[off], b[off])[0, 1])
    assert row["links_common"] == ((a > 0) & (b > 0)).sum()
    assert not row["near_equal"]


def test_nearly_equal_weights_are_pointed_out() -> None:
    with pytest.warns(SpatialZbWarning, match="one and two"):
        table = compare_weights({"one": small(), "two": small(scale=3.0), "chain": rook(7)})
    assert table.tidy().set_index(["a", "b"])["near_equal"].to_dict() == {
        ("one", "two"): True,
        ("one", "chain"): False,
        ("two", "chain"): False,
    }
    assert table.glance()["weights"].tolist() == ["one", "two", "chain"]


def rook(n: int) -> Weights:
    W = rook_chain(n)
    return Weights(W.matrix, pd.Index(IDS[:n]), "chain")


def test_equal_weights_without_spread_have_no_correlation_but_are_equal() -> None:
    full = Weights(np.ones((3, 3)) - np.eye(3), pd.Index(list("abc")))
    with pytest.warns(SpatialZbWarning, match="Nearly the same"):
        row = compare_weights({"a": full, "b": full}).tidy().iloc[0]
    assert np.isnan(row["correlation"])
    assert row["near_equal"]


def test_small_weights_are_not_one_because_they_are_small() -> None:
    """Economic distances in yuan are of the size 1e-13, and so is what they differ by."""
    rng = np.random.default_rng(2)
    ids = pd.Index(list("abcdef"))
    one, other = (Weights(1e-13 * rng.uniform(size=(6, 6)) * (1 - np.eye(6)), ids) for _ in range(2))
    assert not compare_weights({"one": one, "other": other}).tidy()["near_equal"].iloc[0]
    full = Weights(np.ones((6, 6)) - np.eye(6), ids)
    with pytest.warns(SpatialZbWarning, match="Nearly the same"):
        assert (
            compare_weights({"km": full, "m": Weights(full.matrix / 1000, ids)}).tidy()["near_equal"].iloc[0]
        )


def test_comparisons_that_make_no_sense_are_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for wrong in ({"a": small()}, [small(), small()]):
            with pytest.raises(WeightsError, match="two or more"):
                compare_weights(wrong)
        with pytest.raises(AlignmentError, match="'chain'"):
            compare_weights({"small": small(), "chain": rook_chain(4)})


# --- link map and tables ------------------------------------------------------------------------------------


def squares(ids: list[str]) -> geopandas.GeoDataFrame:
    return geopandas.GeoDataFrame(
        geometry=[box(i, 0, i + 1, 1) for i in range(len(ids))], index=ids, crs=4490
    )


def test_the_link_map_has_a_line_for_every_entry_whatever_the_order_of_polygons() -> None:
    W = small()
    regions = squares([*IDS, "z"])
    found = W.report().links(regions.iloc[::-1])
    assert len(found) == len(LINKS)
    assert {(row.unit, row.neighbour, row.weight) for row in found.itertuples()} == set(LINKS)
    line = found.set_index(["unit", "neighbour"]).geometry["d", "a"]
    assert list(line.coords) == [(3.5, 0.5), (0.5, 0.5)]
    assert found.crs == regions.crs


def test_a_link_map_needs_every_polygon() -> None:
    with pytest.raises(AlignmentError, match=r"1 unit.*no polygon: g"):
        small().report().links(squares(IDS[:-1]))


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
def test_tables_of_weights_say_what_the_reports_say() -> None:
    chain = np.diag(np.ones(6), 1) + np.diag(np.ones(6), -1)
    compared = compare_weights({"chain": Weights(chain, IDS).standardise("row"), "small": small()})
    table = weights_table(compared.glance(), look=TableLook(words={"chain": Text("Chain", "链")}))
    assert table.rows[0].cells[0] == Text("Chain", "链")
    assert table.rows[0].cells[1].zh == "行标准化"
    assert table.rows[0].cells[2] == Number(12, 0)
    assert table.rows[0].cells[6:] == ("1–1.7–2", "(−1.00, 1.00)")
    assert table.rows[1].cells[4:6] == (Number(1, 0), Number(2, 0))
    pair = compared.tidy().iloc[0]
    overlap = overlap_table(compared.tidy(), look=TableLook(words={}))
    assert overlap.rows[0].cells[2:] == ("", Number(pair["correlation"], 3))
    assert overlap.rows[1].cells[2:] == (Number(pair["jaccard"], 3), "")


def test_an_interval_that_was_not_computed_is_a_dash() -> None:
    facts = small().report().glance().assign(rho_low=np.nan, rho_high=np.nan)
    assert weights_table(facts, look=TableLook(words={})).rows[0].cells[-1] == "–"
