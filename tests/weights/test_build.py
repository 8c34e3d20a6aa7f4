"""Weights from polygons against libpysal on the delivered layers, and what builders promise."""

from __future__ import annotations

import geopandas
import numpy as np
import pandas as pd
import pytest
from dense_matrices import distances_km
from libpysal.graph import Graph
from shapely.affinity import translate
from shapely.geometry import box

from spatial_zb import SpatialZbWarning, WeightsError, weights

ISLAND = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")


def pairs(matrix, ids) -> set[tuple[str, str]]:
    coo = matrix.tocoo()
    return {(ids[i], ids[j]) for i, j, w in zip(coo.row, coo.col, coo.data, strict=True) if w}


def graph_pairs(graph: Graph) -> set[tuple[str, str]]:
    return {(i, j) for (i, j), w in graph.adjacency.items() if w}


@pytest.fixture(params=["delta", "counties"])
def layer(request):
    return request.getfixturevalue(request.param)


@ISLAND
@pytest.mark.parametrize("kind", ["queen", "rook"])
def test_contiguity_equals_libpysal(layer, kind):
    found = weights.contiguity(layer, kind, islands="zero")
    peer = Graph.build_contiguity(layer.geometry, rook=kind == "rook")
    assert pairs(found.matrix, found.ids) == graph_pairs(peer)
    assert set(found.islands) == set(peer.isolates)
    assert list(found.ids) == list(layer.index)


@pytest.mark.parametrize("k", [1, 4, 7])
def test_knn_equals_libpysal_on_a_projection_of_equal_distances(layer, k):
    """Centroids are those of an equal-area projection, distances those of the ellipsoid; over this region a
    transverse Mercator is true to 1e-4, so that neighbours may differ only where distances tie that nearly."""
    found = weights.knn(layer, k)
    points = layer.geometry.to_crs(4549).centroid
    peer = Graph.build_knn(points, k=k)
    ours, theirs = pairs(found.matrix, found.ids), graph_pairs(peer)
    assert len(ours) == len(theirs) == k * len(layer)
    place = {unit: i for i, unit in enumerate(layer.index)}
    km = distances_km(layer)
    for i, j in ours - theirs:
        limit = np.sort(km[place[i]])[k]
        assert km[place[i], place[j]] == pytest.approx(limit, rel=2e-3)
    assert len(ours - theirs) <= 2


def test_inverse_distance_is_the_power_of_the_distance(layer):
    km = distances_km(layer)
    found = weights.inverse_distance(layer, power=2.0).matrix.toarray()
    np.fill_diagonal(km, np.inf)
    np.testing.assert_allclose(found, km**-2.0, rtol=1e-12)
    near = weights.inverse_distance(layer, cutoff_km=150, islands="nearest").matrix.toarray()
    np.testing.assert_allclose(near, np.where(km <= 150, 1 / km, 0))


def test_distances_between_known_cities(delta):
    """Between centroids of whole prefectures, so within some 40 km of the distances between city centres:
    Hangzhou-Ningbo 140, Hangzhou-Wenzhou 240, Shanghai-Nanjing 270, Hefei-Shanghai 405, Wenzhou-Xuzhou 765 km."""
    km = pd.DataFrame(distances_km(delta), delta["name_en"], delta["name_en"])
    for a, b, known, slack in (
        ("Shanghai", "Nanjing", 270, 40),
        ("Hefei", "Shanghai", 405, 40),
        ("Hangzhou", "Wenzhou", 240, 60),
        ("Wenzhou", "Xuzhou", 765, 60),
    ):
        assert km.loc[a, b] == pytest.approx(known, abs=slack)
    assert np.allclose(km, km.T)
    assert (np.diag(km) == 0).all()


def test_distances_of_points_with_known_geodesics():
    """One degree of latitude at 30° N is 110.85 km, of longitude 96.49 km (ellipsoid GRS 80)."""
    shapes = [box(x - 0.001, y - 0.001, x + 0.001, y + 0.001) for x, y in ((120, 30), (120, 31), (121, 30))]
    km = distances_km(geopandas.GeoDataFrame(geometry=shapes, index=list("abc"), crs=4490))
    assert km[0, 1] == pytest.approx(110.86, abs=0.02)
    assert km[0, 2] == pytest.approx(96.49, abs=0.02)


@ISLAND
def test_distances_and_contiguity_do_not_depend_on_the_projection(layer):
    projected = layer.to_crs(4549)
    np.testing.assert_allclose(distances_km(projected), distances_km(layer), rtol=1e-4, atol=1e-3)
    a, b = (weights.contiguity(x, islands="zero") for x in (layer, projected))
    assert (a.matrix != b.matrix).nnz == 0


@ISLAND
def test_order_of_polygons_does_not_matter(layer):
    shuffled = layer.sample(frac=1, random_state=3)
    for build in (lambda x: weights.contiguity(x, islands="nearest"), weights.knn, weights.inverse_distance):
        a, b = build(layer), build(shuffled).align(layer.index)
        np.testing.assert_allclose(a.matrix.toarray(), b.matrix.toarray(), rtol=1e-9)


def test_gaps_and_overlaps_of_centimetres_do_not_cut_neighbours():
    """Three squares of a kilometre in a row: a gap of 3 cm, an overlap of 3 cm; then a gap of five metres."""
    km = [box(1000 * i, 0, 1000 * (i + 1), 1000) for i in range(3)]
    shapes = [translate(km[0], -0.03), km[1], translate(km[2], -0.03)]
    layer = geopandas.GeoDataFrame(geometry=shapes, index=list("abc"), crs=4549)
    for kind in ("queen", "rook"):
        assert pairs(weights.contiguity(layer, kind).matrix, layer.index) == {
            *(("a", "b"), ("b", "a"), ("b", "c"), ("c", "b"))
        }
    far = geopandas.GeoDataFrame(geometry=[translate(km[0], -5), *km[1:]], index=list("abc"), crs=4549)
    with pytest.raises(WeightsError, match="a"):
        weights.contiguity(far)
    wide = weights.contiguity(far, tolerance=6.0)
    assert ("a", "b") in pairs(wide.matrix, far.index)


def test_queen_takes_corners_and_rook_does_not():
    shapes = [box(1000 * x, 1000 * y, 1000 * (x + 1), 1000 * (y + 1)) for x, y in ((0, 0), (1, 0), (1, 1))]
    layer = geopandas.GeoDataFrame(geometry=shapes, index=list("abc"), crs=4549)
    assert ("a", "c") in pairs(weights.contiguity(layer, "queen").matrix, layer.index)
    assert ("a", "c") not in pairs(weights.contiguity(layer, "rook").matrix, layer.index)


@ISLAND
@pytest.mark.parametrize("order", [1, 2, 3])
def test_orders_are_steps_on_the_graph(layer, order):
    from scipy.sparse.csgraph import shortest_path

    first = weights.contiguity(layer, islands="zero")
    steps = shortest_path(first.matrix, unweighted=True)
    expected = ((steps > 0) & (steps <= order)).astype(float)
    found = weights.contiguity(layer, order=order, islands="zero")
    np.testing.assert_array_equal(found.matrix.toarray(), expected)


def test_island_policies(delta):
    """Zhoushan (330900) has no neighbour by land."""
    with pytest.raises(WeightsError, match=r"330900 \(Zhoushan\)"):
        weights.contiguity(delta)
    with pytest.warns(SpatialZbWarning, match=r"330900 \(Zhoushan\).*no neighbour|no neighbour: 330900"):
        zero = weights.contiguity(delta, islands="zero")
    assert list(zero.islands) == ["330900"]
    with pytest.warns(SpatialZbWarning, match=r"Zhoushan\) is linked with 330200 \(Ningbo\)"):
        nearest = weights.contiguity(delta, islands="nearest")
    assert not len(nearest.islands)
    new = pairs(nearest.matrix, nearest.ids) - pairs(zero.matrix, zero.ids)
    assert new == {("330900", "330200"), ("330200", "330900")}
    assert nearest.recipe["bridges"] == [["330900", "330200"]]
    with pytest.warns(SpatialZbWarning, match="linked"):
        chosen = weights.contiguity(delta, islands=[("330900", "310000"), ("330900", "330200")])
    assert {("330900", "310000"), ("330200", "330900")} <= pairs(chosen.matrix, chosen.ids)
    with pytest.raises(WeightsError, match="999999"):
        weights.contiguity(delta, islands=[("330900", "999999")])
    with pytest.raises(WeightsError, match="nearest, zero"):
        weights.contiguity(delta, islands="ignore")


def test_two_islands_next_to_each_other_are_told_apart(counties):
    with pytest.warns(SpatialZbWarning):
        found = weights.contiguity(counties, islands="nearest")
    assert not len(found.islands)


BAD = {
    "kind": (lambda d: weights.contiguity(d, "bishop"), "queen, rook"),
    "order": (lambda d: weights.contiguity(d, order=0), "1 or more"),
    "k": (lambda d: weights.knn(d, 41), "between 1 and 40"),
    "power": (lambda d: weights.inverse_distance(d, power=0), "positive"),
    "cutoff": (lambda d: weights.inverse_distance(d, cutoff_km=-1), "positive"),
    "no CRS": (lambda d: weights.contiguity(d.set_crs(None, allow_override=True)), "4490"),
    "isolated by the cutoff": (lambda d: weights.inverse_distance(d, cutoff_km=20), "no neighbour"),
    "same point": (lambda d: weights.inverse_distance(pd.concat([d, d.iloc[[0]].rename(index=lambda _: "twin")])), "twin"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_refusals(delta, case):
    action, words = BAD[case]
    with pytest.raises(WeightsError, match=words):
        action(delta)


@ISLAND
def test_the_callers_layer_is_not_changed(delta):
    before = delta.copy()
    weights.contiguity(delta, islands="nearest")
    weights.inverse_distance(delta)
    weights.knn(delta)
    pd.testing.assert_frame_equal(pd.DataFrame(delta), pd.DataFrame(before))
