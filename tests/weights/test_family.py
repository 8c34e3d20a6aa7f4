"""Every weights builder: its formula, its refusals, and that the order of rows changes nothing."""

from __future__ import annotations

import warnings

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from dense_matrices import distances_km
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from spatial_zb import weights as zw
from spatial_zb.base.errors import AlignmentError, DataError, SpatialZbError, SpatialZbWarning, WeightsError
from spatial_zb.weights import build as common
from spatial_zb.weights.build import adjacency as borders
from spatial_zb.weights.build import places
from spatial_zb.weights.matrix import Weights

#: Geodesic distances are computed to nanometres; products of a few of them lose a few more bits.
EXACT = 1e-12


def cells(n: int, seed: int = 1, size: float = 1e5) -> gpd.GeoDataFrame:
    """A clean coverage of n Voronoi cells, in metres, with ids that are not in order."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, size, (n, 2)) + np.array([500_000, 3_000_000])
    box = shapely.box(500_000, 3_000_000, 500_000 + size, 3_000_000 + size)
    parts = shapely.voronoi_polygons(shapely.multipoints(points), extend_to=box, ordered=True)
    names = [f"{number:03d}" for number in rng.permutation(n)]
    frame = {"prov": rng.integers(0, 3, n).astype(str), "name_en": [f"Unit {name}" for name in names]}
    return gpd.GeoDataFrame(frame, geometry=list(parts.geoms), index=names, crs="EPSG:4549")


def mass(regions: gpd.GeoDataFrame) -> pd.Series:
    """A positive number that belongs to the id, whatever the order of the rows."""
    return pd.Series(
        [1 + int(name) % 17 + int(name) / 1000 for name in regions.index], regions.index, name="gdp"
    )


BUILDERS = {
    "queen": lambda r: zw.contiguity(r),
    "rook": lambda r: zw.contiguity(r, "rook"),
    "second order": lambda r: zw.contiguity(r, order=2),
    "exactly second order": lambda r: zw.contiguity(r, order=2, cumulative=False),
    "knn": lambda r: zw.knn(r, 3),
    "knn projected": lambda r: zw.knn(r, 3, metric="projected"),
    "band": lambda r: zw.distance_band(r),
    "band of 30 km": lambda r: zw.distance_band(r, 30, islands="nearest"),
    "inverse": lambda r: zw.inverse_distance(r, 2),
    "inverse within 40 km": lambda r: zw.inverse_distance(r, cutoff_km=40, islands="nearest"),
    "decay": lambda r: zw.exponential_decay(r, 0.02),
    "gravity": lambda r: zw.gravity(r, mass(r)),
    "block": lambda r: zw.block(r, "prov", islands="nearest"),
    "economic": lambda r: zw.economic_distance(mass(r), floor=0.5),
    "nested": lambda r: zw.combine(zw.contiguity(r), zw.economic_distance(mass(r))),
    "mixture": lambda r: zw.combine(
        zw.contiguity(r).standardise(), zw.inverse_distance(r).standardise(), "mix", alpha=0.4
    ),
}


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        yield


# --- identities --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILDERS, ids=str)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(8, 25))
def test_permuting_polygons_permutes_the_weights(name: str, seed: int, n: int) -> None:
    regions = cells(n, seed)
    shuffled = regions.iloc[np.random.default_rng(seed).permutation(n)]
    before = regions.copy()
    W, V = BUILDERS[name](regions), BUILDERS[name](shuffled)
    assert list(V.ids) == list(shuffled.index)
    back, dense = V.align(W.ids).matrix.toarray(), W.matrix.toarray()
    assert np.array_equal(back != 0, dense != 0)
    np.testing.assert_allclose(back, dense, rtol=EXACT)  # row sums are added up in another order
    assert regions.equals(before)


@pytest.mark.parametrize(
    "name", [n for n in BUILDERS if n not in ("knn", "knn projected", "mixture")], ids=str
)
def test_weights_of_two_sided_relations_are_symmetric(name: str) -> None:
    dense = BUILDERS[name](cells(20)).matrix.toarray()
    assert np.array_equal(dense, dense.T)


def test_formulas_entry_by_entry() -> None:
    regions = cells(15)
    v, d = mass(regions).to_numpy(), distances_km(regions)
    np.fill_diagonal(d, np.inf)
    gap = np.abs(v[:, None] - v)
    np.fill_diagonal(gap, np.inf)
    expected = {
        "band": (zw.distance_band(regions, 40, islands="zero"), d <= 40),
        "inverse": (zw.inverse_distance(regions, 1.5), d**-1.5),
        "decay": (zw.exponential_decay(regions, 0.03), np.exp(-0.03 * d)),
        "decay within": (
            zw.exponential_decay(regions, 0.03, cutoff_km=50, islands="zero"),
            np.exp(-0.03 * d) * (d <= 50),
        ),
        "gravity": (zw.gravity(regions, mass(regions)), np.outer(v, v) / d**2),
        "economic": (zw.economic_distance(mass(regions)), 1 / gap),
        "floor": (zw.economic_distance(mass(regions), floor=2.0), 1 / np.maximum(gap, 2.0)),
    }
    for name, (W, dense) in expected.items():
        np.testing.assert_allclose(W.matrix.toarray(), dense, rtol=EXACT, err_msg=name)


def test_nearest_neighbours_are_the_smallest_distances() -> None:
    regions = cells(30)
    d = distances_km(regions)
    np.fill_diagonal(d, np.inf)
    for at, row in enumerate(zw.knn(regions, 5).matrix.toarray()):
        assert set(np.flatnonzero(row)) == set(np.argsort(d[at])[:5])


def test_default_band_is_the_smallest_without_islands() -> None:
    regions = cells(30)
    W = zw.distance_band(regions)
    assert not len(W.islands)
    smaller = np.nextafter(W.recipe["cutoff_km"], 0)
    assert len(zw.distance_band(regions, smaller, islands="zero").islands) > 0


def test_projected_and_geodesic_kilometres_agree_near_the_meridian() -> None:
    regions = cells(12)
    np.testing.assert_allclose(distances_km(regions, "projected"), distances_km(regions), rtol=1e-3)


def test_geographic_degrees_are_never_lengths() -> None:
    regions = cells(20)
    degrees = regions.to_crs("EPSG:4490")
    np.testing.assert_allclose(distances_km(degrees), distances_km(regions), rtol=1e-4)
    with pytest.raises(WeightsError, match="not metres"):
        zw.knn(degrees, 3, metric="projected")


@pytest.mark.parametrize("order", [2, 3])
def test_orders_follow_paths_on_the_graph(order: int) -> None:
    regions = cells(40)
    steps = sparse.csgraph.shortest_path(zw.contiguity(regions).matrix, unweighted=True)
    upto = zw.contiguity(regions, order=order).matrix.toarray()
    exact = zw.contiguity(regions, order=order, cumulative=False).matrix.toarray()
    assert np.array_equal(upto, (steps >= 1) & (steps <= order))
    assert np.array_equal(exact, steps == order)


def test_block_links_equal_values_only() -> None:
    regions = cells(20)
    same = regions["prov"].to_numpy()[:, None] == regions["prov"].to_numpy()
    np.fill_diagonal(same, False)
    assert np.array_equal(zw.block(regions, "prov").matrix.toarray(), same)


def test_combinations_match_by_id() -> None:
    regions = cells(12)
    a, b = zw.inverse_distance(regions), zw.economic_distance(mass(regions)[::-1])
    A, B = a.matrix.toarray(), b.align(a.ids).matrix.toarray()
    np.testing.assert_allclose(zw.combine(a, b).matrix.toarray(), A * B, rtol=EXACT)
    mixed = zw.combine(a.standardise(), b.standardise(), "mix", alpha=0.3)
    expected = 0.3 * A / A.sum(1, keepdims=True) + 0.7 * B / B.sum(1, keepdims=True)
    np.testing.assert_allclose(mixed.matrix.toarray(), expected, rtol=1e-10)
    assert mixed.normalisation == "row"
    assert mixed.variables == ("gdp",)
    assert mixed.recipe["parts"][1]["kind"] == "economic_distance"


def test_bridges_link_both_ways_and_keep_the_rest() -> None:
    regions = cells(12)
    W = zw.contiguity(regions)
    far = np.argwhere(W.matrix.toarray() + np.eye(12) == 0)[0]
    pair = (W.ids[far[0]], W.ids[far[1]])
    joined = zw.bridges(W, [pair, pair[::-1]])
    change = joined.matrix.toarray() - W.matrix.toarray()
    assert change.sum() == 2
    assert change[far[0], far[1]] == change[far[1], far[0]] == 1
    assert joined.recipe["bridges"][-1] == list(pair[::-1])


def test_means_over_base_periods() -> None:
    from spatial_zb.data.gate import build_panel

    frame = pd.DataFrame({"unit": list("aabb"), "period": [1, 2, 1, 2], "gdp": [1.0, 3.0, 5.0, 9.0]})
    panel = build_panel(frame)
    assert zw.unit_means(panel, "gdp").to_dict() == {"a": 2, "b": 7}
    assert zw.unit_means(panel, "gdp", [2]).to_dict() == {"a": 3, "b": 9}
    assert zw.unit_means(panel, "gdp").name == "gdp"
    with pytest.raises(DataError, match="gdq"):
        zw.unit_means(panel, "gdq")


# --- contacts of polygons ----------------------------------------------------------------------------------


def by_distance(shapes: np.ndarray, rule: str) -> np.ndarray:
    """Contacts by the tolerant index alone, for all polygons."""
    pairs = borders.near_pairs(shapes, np.arange(len(shapes)), rule, 1.0)
    out = np.zeros((len(shapes),) * 2)
    out[pairs.i, pairs.j] = out[pairs.j, pairs.i] = 1
    return out


@pytest.mark.parametrize("rule", ["queen", "rook"])
@pytest.mark.parametrize("n", [60, 400])
def test_both_paths_and_libpysal_agree_on_a_clean_coverage(rule: str, n: int) -> None:
    from libpysal.graph import Graph

    regions = cells(n, seed=7, size=1e6)
    shapes = regions.geometry.to_numpy()
    joined = borders.touching(shapes, rule, 1.0).toarray()
    assert np.array_equal(joined, by_distance(shapes, rule))
    theirs = Graph.build_contiguity(regions, rook=rule == "rook").sparse.toarray()
    assert np.array_equal(joined, theirs)


@pytest.mark.parametrize("rule", ["queen", "rook"])
def test_real_layers_equal_libpysal(delta, counties, rule: str) -> None:
    from libpysal.graph import Graph

    for layer in (delta, counties):
        theirs = sparse.csr_array(Graph.build_contiguity(layer, rook=rule == "rook").sparse)
        theirs.eliminate_zeros()
        assert abs(zw.contiguity(layer, rule, islands="zero").matrix - theirs).sum() == 0


@pytest.mark.parametrize("rule", ["queen", "rook"])
def test_centimetre_gaps_and_overlaps_cut_no_neighbours(rule: str) -> None:
    regions = cells(80, seed=3, size=1e6)
    clean = zw.contiguity(regions, rule).matrix.toarray()
    for change in (-0.2, 0.2):
        moved = regions.set_geometry(regions.geometry.buffer(change, join_style="mitre"))
        assert len(borders.loose_polygons(borders._segments(moved.geometry.to_numpy()))) == 80
        assert np.array_equal(zw.contiguity(moved, rule).matrix.toarray(), clean)
    one = regions.geometry.copy()
    one.iloc[5] = one.iloc[5].buffer(-0.2, join_style="mitre")
    assert np.array_equal(zw.contiguity(regions.set_geometry(one), rule).matrix.toarray(), clean)
    apart = regions.set_geometry(regions.geometry.buffer(-5, join_style="mitre"))
    assert len(zw.contiguity(apart, rule, islands="zero", tolerance=11).islands) == 0
    with pytest.raises(WeightsError, match="no link"):
        zw.contiguity(apart, rule, islands="zero")


@pytest.mark.parametrize("crs", ["EPSG:4549", "EPSG:4490"])
def test_a_vertex_on_a_long_border_touches_it(crs: str) -> None:
    """Two units beside one long unit: their common corner is no vertex of its border."""
    unit = 1.0 if crs == "EPSG:4490" else 1e5
    boxes = [shapely.box(0, 0, unit, unit / 2), shapely.box(unit, 0, 2 * unit, unit / 2)]
    boxes.append(shapely.box(0, unit / 2, 2 * unit, unit))
    shifted = shapely.transform(boxes, lambda xy: xy + ([118, 28] if crs == "EPSG:4490" else [500_000, 3e6]))
    layer = gpd.GeoDataFrame(geometry=list(shifted), index=list("abc"), crs=crs)
    for rule in ("queen", "rook"):
        assert zw.contiguity(layer, rule).matrix.toarray().tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]


def test_a_corner_is_queen_and_not_rook() -> None:
    boxes = [shapely.box(x, y, x + 1000, y + 1000) for y in (0, 1000) for x in (0, 1000)]
    layer = gpd.GeoDataFrame(geometry=boxes, index=list("abcd"), crs="EPSG:4549")
    assert zw.contiguity(layer).matrix.nnz == 12
    assert zw.contiguity(layer, "rook").matrix.nnz == 8


def test_enclaves_multiparts_and_third_dimension() -> None:
    outer = shapely.box(0, 0, 9000, 9000)
    inner = shapely.box(3000, 3000, 6000, 6000)
    part = shapely.box(20_000, 0, 21_000, 1000)
    beside = shapely.box(21_000, 0, 22_000, 1000)
    shapes = [outer - inner, shapely.MultiPolygon([inner, part]), shapely.force_3d(beside, 5.0)]
    layer = gpd.GeoDataFrame(geometry=shapes, index=list("abc"), crs="EPSG:4549")
    for rule in ("queen", "rook"):
        assert zw.contiguity(layer, rule).matrix.toarray().tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]


def test_vertices_with_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(borders, "MIX_Y", np.uint64(0))
    regions = cells(30)
    monkeypatch.undo()
    expected = borders.touching(regions.geometry.to_numpy(), "queen", 1.0)
    monkeypatch.setattr(borders, "MIX_Y", np.uint64(0))
    assert abs(borders.touching(regions.geometry.to_numpy(), "queen", 1.0) - expected).sum() == 0


# --- policies ----------------------------------------------------------------------------------------------


def with_island() -> gpd.GeoDataFrame:
    boxes = [shapely.box(x, 0, x + 1000, 1000) for x in (0, 1000, 2000, 50_000)]
    return gpd.GeoDataFrame(geometry=boxes, index=["a", "b", "c", "far"], crs="EPSG:4549")


def test_islands_are_dropped_bridged_or_kept() -> None:
    layer = with_island()
    assert list(zw.contiguity(layer, islands="drop").ids) == ["a", "b", "c"]
    assert zw.contiguity(layer, islands="drop").recipe["dropped"] == ["far"]
    assert list(zw.contiguity(layer, islands="zero").islands) == ["far"]
    near = zw.contiguity(layer, islands="nearest")
    assert near.recipe["bridges"] == [["far", "c"]]
    assert near.lag(pd.Series({"a": 0, "b": 0, "c": 1, "far": 0}))["far"] == 1
    assert zw.contiguity(layer, islands=[("far", "a")]).recipe["bridges"] == [["far", "a"]]
    band = zw.inverse_distance(layer, cutoff_km=5, islands="nearest")
    assert band.matrix.toarray()[3, 2] == pytest.approx(1 / distances_km(layer)[3, 2], rel=EXACT)


def test_a_bridge_list_must_reach_every_island() -> None:
    with pytest.raises(WeightsError, match="leave far without neighbour"):
        zw.contiguity(with_island(), islands=[("a", "c")])


def test_components_and_equal_weights_are_said() -> None:
    layer = with_island()
    two = pd.concat([layer, layer.iloc[3:].translate(1000).to_frame("geometry").set_axis(["far2"])])
    with pytest.warns(SpatialZbWarning, match=r"2 components.*3 unit\(s\) around a, 2 unit\(s\) around far"):
        zw.contiguity(gpd.GeoDataFrame(two, crs="EPSG:4549"))
    with pytest.warns(SpatialZbWarning, match="rho is not identified"):
        assert zw.knn(cells(6), 5).all_equal
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialZbWarning)
        zw.block(cells(20), "prov")  # separate by intent


REFUSED = {
    "unknown rule": (lambda r: zw.contiguity(r, "bishop"), WeightsError, "bishop"),
    "order of zero": (lambda r: zw.contiguity(r, order=0), WeightsError, "order"),
    "order of a half": (lambda r: zw.contiguity(r, order=1.5), WeightsError, "whole number"),
    "negative tolerance": (lambda r: zw.contiguity(r, tolerance=-1), WeightsError, "tolerance"),
    "unknown policy": (lambda r: zw.contiguity(r, islands="keep"), WeightsError, "keep"),
    "bridge to nowhere": (lambda r: zw.contiguity(r, islands=[("000", "x")]), WeightsError, "'x'"),
    "no crs": (lambda r: zw.contiguity(r.set_crs(None, allow_override=True)), WeightsError, "EPSG:4490"),
    "points": (lambda r: zw.contiguity(r.set_geometry(r.centroid)), WeightsError, "polygons"),
    "no layer": (lambda r: zw.contiguity(pd.DataFrame(r)), WeightsError, "GeoDataFrame"),
    "ids twice": (lambda r: zw.knn(r.set_axis(["a"] * len(r)), 2), AlignmentError, "Dissolve"),
    "empty geometry": (
        lambda r: zw.contiguity(r.set_geometry(r.geometry.where(r.index != "003"))),
        WeightsError,
        "003",
    ),
    "k too large": (lambda r: zw.knn(r, 10), WeightsError, "between 1 and 9"),
    "unknown metric": (lambda r: zw.knn(r, 2, metric="euclid"), WeightsError, "euclid"),
    "negative power": (lambda r: zw.inverse_distance(r, -1), WeightsError, "power"),
    "power of text": (lambda r: zw.inverse_distance(r, "2"), WeightsError, "number"),
    "cutoff of zero": (lambda r: zw.distance_band(r, 0), WeightsError, "kilometres"),
    "band of islands": (lambda r: zw.distance_band(r, 0.001), WeightsError, "Unit"),
    "rate of nan": (lambda r: zw.exponential_decay(r, float("nan")), WeightsError, "rate"),
    "same point": (
        lambda r: zw.inverse_distance(r.set_geometry([r.geometry.iloc[0]] * 2 + list(r.geometry[2:]))),
        WeightsError,
        "same point",
    ),
    "power too high": (
        lambda r: zw.inverse_distance(r.set_geometry(r.scale(1e-6, 1e-6, origin=(5e5, 3e6))), 200),
        WeightsError,
        "lower power",
    ),
    "no column": (lambda r: zw.block(r, "province"), WeightsError, "prov, name_en"),
    "blank group": (
        lambda r: zw.block(r.assign(g=[None, *"abcdefghi"]), "g"),
        WeightsError,
        "blank for",
    ),
    "negative mass": (lambda r: zw.gravity(r, -mass(r)), WeightsError, "positive"),
    "mass of others": (lambda r: zw.gravity(r, mass(r).iloc[1:]), AlignmentError, "only in the layer"),
    "blank value": (lambda r: zw.economic_distance(mass(r).where(r.index != "003")), WeightsError, "003"),
    "equal values": (lambda r: zw.economic_distance(mass(r) * 0), WeightsError, "floor="),
    "text values": (lambda r: zw.economic_distance(mass(r).astype(str) + "x"), WeightsError, "numeric"),
    "values without ids": (lambda r: zw.economic_distance(mass(r).to_numpy()), WeightsError, "Series"),
    "floor of zero": (lambda r: zw.economic_distance(mass(r), floor=0), WeightsError, "floor"),
    "alpha of a product": (
        lambda r: zw.combine(zw.knn(r, 2), zw.knn(r, 3), alpha=0.5),
        WeightsError,
        "alpha",
    ),
    "mixture without alpha": (lambda r: zw.combine(zw.knn(r, 2), zw.knn(r, 3), "mix"), WeightsError, "alpha"),
    "mixture of scales": (
        lambda r: zw.combine(zw.knn(r, 2), zw.knn(r, 3).standardise(), "mix", alpha=0.5),
        WeightsError,
        "one normalisation",
    ),
    "other units": (lambda r: zw.combine(zw.knn(r, 2), zw.knn(r.iloc[1:], 2)), AlignmentError, "differ"),
    "bridge after rows": (
        lambda r: zw.bridges(zw.knn(r, 2).standardise(), []),
        WeightsError,
        "bridges first",
    ),
    "bridge to itself": (lambda r: zw.bridges(zw.knn(r, 2), [("001", "001")]), WeightsError, "itself"),
    "no order so high": (lambda r: zw.contiguity(r, order=10, cumulative=False), WeightsError, "lower order"),
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_bad_input_is_refused_by_name(case: str) -> None:
    build, error, words = REFUSED[case]
    with pytest.raises(error, match=words):
        build(cells(10))


@pytest.mark.parametrize(
    "build",
    [
        lambda r: zw.inverse_distance(r),
        lambda r: zw.distance_band(r, 500),
        lambda r: zw.economic_distance(mass(r)),
        lambda r: zw.block(r.assign(one=1), "one"),
    ],
    ids=["inverse", "band", "economic", "block"],
)
def test_a_matrix_too_large_for_memory_is_refused_before_it_is_built(build, monkeypatch) -> None:
    regions = cells(60)
    build(regions)
    monkeypatch.setattr(common, "LIMIT_BYTES", 60 * 59 * common.BYTES_PER_LINK - 1)
    with pytest.raises(WeightsError, match="GB of memory"):
        build(regions)


def test_weights_of_many_units_stay_sparse() -> None:
    regions = cells(3000, size=1e6)
    where = places(regions, "projected")
    assert zw.knn(regions, 4, metric="projected").matrix.nnz == 12_000
    assert len(where.within(30).i) < 3000 * 30


def test_negative_weights_are_refused_unless_allowed() -> None:
    matrix = np.array([[0, 1, -1], [1, 0, 2], [1, 1, 0]])
    with pytest.raises(WeightsError, match=r"negative weight.*c → a"):
        Weights(matrix, list("abc"))
    with pytest.warns(SpatialZbWarning, match="1 negative"):
        W = zw.as_weights(matrix, list("abc"), allow_negative=True)
    assert W.align(list("cba")).matrix.toarray()[2, 0] == -1
    with pytest.raises(SpatialZbError, match="spectral"):
        W.standardise("minmax")
