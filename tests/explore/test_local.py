"""Local statistics: full enumeration, identities, invariances, islands, esda's values."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from spatial_zb import Panel, SpatialZbWarning, as_weights
from spatial_zb.base.errors import DataError, SpecificationError, WeightsError
from spatial_zb.core.statistics import adjusted_p_values
from spatial_zb.core.statistics import local as core
from spatial_zb.explore import lee, local_bivariate_moran, local_g, local_moran, moran
from spatial_zb.explore.checks import permutations_for
from spatial_zb.report.maps.shaded import CLUSTERS

#: Sums of ten terms in another order.
EXACT = 1e-10
PERMUTATIONS = 20_000
#: Five standard deviations of a share of one half among so many permutations.
NOISE = 5 * np.sqrt(0.25 / PERMUTATIONS)

LINKS = [(0, 1), (0, 2), (1, 2), (1, 5), (2, 6), (4, 5), (4, 6), (5, 6), (6, 7), (2, 7)]  # 3 is an island
N = 8


def binary() -> np.ndarray:
    A = np.zeros((N, N))
    for i, j in LINKS:
        A[i, j] = A[j, i] = 1
    return A


def matrix_of(kind: str) -> np.ndarray:
    A = binary()
    if kind == "row":
        return A / np.maximum(A.sum(axis=1, keepdims=True), 1)
    if kind == "unequal":
        return A * np.random.default_rng(5).uniform(0.1, 2, A.shape)
    if kind == "mixed":  # equal and unequal rows in one matrix, and a unit with all others as neighbours
        A[4] = 1
        A[4, 4] = 0
        A[6] *= np.arange(1, N + 1)
    return A


def values_of(kind: str, size: int = N) -> np.ndarray:
    rng = np.random.default_rng(11)
    return {"normal": rng.normal(size=size), "ties": rng.integers(0, 3, size).astype(float)}[kind]


def grid(side: int) -> sparse.csr_array:
    """Rook contiguity of a square, row-normalised."""
    line = sparse.diags_array([np.ones(side - 1), np.ones(side - 1)], offsets=[-1, 1])
    one = sparse.eye_array(side)
    A = sparse.csr_array(sparse.kron(line, one) + sparse.kron(one, line))
    return sparse.csr_array(sparse.diags_array(1 / A.sum(axis=1)) @ A)


def panel_of(columns: dict[str, np.ndarray], periods: int = 1) -> Panel:
    values = np.stack([np.atleast_2d(v) for v in columns.values()], axis=2)
    units = pd.Index([f"u{i:03d}" for i in range(values.shape[1])])
    return Panel(values, tuple(range(2000, 2000 + periods)), units, tuple(columns))


def weights_for(panel: Panel, matrix) -> object:
    return as_weights(sparse.csr_array(matrix), ids=panel.units, label="w")


def enumerated(y: np.ndarray, W: np.ndarray, i: int) -> np.ndarray:
    """The lag of unit i for every way to deal the other values to its neighbours."""
    near = np.flatnonzero(W[i])
    others = np.delete(y, i)
    return np.array([W[i, near] @ np.array(c) for c in itertools.permutations(others, len(near))])


@pytest.mark.parametrize("values", ["normal", "ties"])
@pytest.mark.parametrize("kind", ["binary", "row", "unequal", "mixed"])
def test_tails_are_those_of_full_enumeration(kind, values):
    W, y = matrix_of(kind), values_of(values)
    tails = core.conditional_tails(y, sparse.csr_array(W), PERMUTATIONS, np.random.SeedSequence(3))
    for i in np.flatnonzero(W.any(axis=1)):
        lags, observed = enumerated(y, W, i), W[i] @ y
        assert tails.above[i] / PERMUTATIONS == pytest.approx(np.mean(lags >= observed - EXACT), abs=NOISE)
        assert tails.below[i] / PERMUTATIONS == pytest.approx(np.mean(lags <= observed + EXACT), abs=NOISE)
    assert tails.alone.tolist() == (~W.any(axis=1)).tolist()


@pytest.mark.parametrize("kind", ["binary", "row", "unequal", "mixed"])
def test_moments_are_those_of_full_enumeration(kind):
    W, y = matrix_of(kind), values_of("normal")
    mean, std_dev = core.conditional_moments(y, sparse.csr_array(W))
    for i in np.flatnonzero(W.any(axis=1)):
        lags = enumerated(y, W, i)
        assert mean[i] == pytest.approx(lags.mean(), abs=EXACT)
        if np.ptp(lags) > EXACT:
            assert std_dev[i] == pytest.approx(lags.std(), abs=EXACT)
        else:
            assert np.isnan(std_dev[i])


def test_z_and_one_sided_p_are_those_of_the_enumerated_statistic():
    """Also for units below the mean, whose I falls when the lag rises."""
    W, x = matrix_of("unequal"), values_of("normal")
    result = core.local_moran_i(x, x, sparse.csr_array(W), PERMUTATIONS, np.random.SeedSequence(3), "greater")
    z = x - x.mean()
    assert (z < 0).any()
    for i in np.flatnonzero(W.any(axis=1)):
        I = 7 * z[i] * enumerated(z, W, i) / (z @ z)
        observed = 7 * z[i] * (W[i] @ z) / (z @ z)
        assert result.I[i] == pytest.approx(observed, abs=EXACT)
        assert result.z[i] == pytest.approx((observed - I.mean()) / I.std(), abs=EXACT)
        assert result.p_sim[i] == pytest.approx(np.mean(observed - EXACT <= I), abs=NOISE)


def test_p_values_by_hand():
    tails = core.Tails(
        np.zeros(4), np.array([0, 3, 9, 5]), np.array([9, 6, 0, 4]), 9, np.array([0, 0, 0, 1], bool)
    )
    np.testing.assert_allclose(tails.p_values(1.0, "greater"), [0.1, 0.4, 1, np.nan])
    np.testing.assert_allclose(tails.p_values(-1.0, "greater"), [1, 0.7, 0.1, np.nan])
    np.testing.assert_allclose(tails.p_values(1.0, "less"), [1, 0.7, 0.1, np.nan])
    np.testing.assert_allclose(tails.p_values(1.0, "two-sided"), [0.2, 0.8, 0.2, np.nan])
    np.testing.assert_allclose(tails.p_values(0.0, "two-sided"), [1, 1, 1, np.nan])


@pytest.mark.parametrize(("n", "size"), [(5, 5), (7, 3), (400, 4)])
def test_deals_are_distinct_and_uniform(n, size):
    deals = core.deal(n, size, 20_000, np.random.default_rng(1))
    assert (np.diff(np.sort(deals, axis=1), axis=1) > 0).all()
    for place in range(size):
        share = np.bincount(deals[:, place], minlength=n) / len(deals)
        assert np.abs(share - 1 / n).max() < 6 * np.sqrt((1 / n) / len(deals))


def test_equal_and_general_kernels_agree():
    W, y = grid(12), np.random.default_rng(2).normal(size=144)
    nearly = W.copy()
    nearly.data = W.data * np.random.default_rng(3).uniform(1 - 1e-9, 1 + 1e-9, W.nnz)
    seed = np.random.SeedSequence(4)
    equal, general = (core.conditional_tails(y, M, 2_500, seed) for M in (W, nearly))
    np.testing.assert_array_equal(equal.above, general.above)
    np.testing.assert_array_equal(equal.below, general.below)


HARD = {
    "normal": lambda rng: rng.normal(size=100),
    "far from zero": lambda rng: 1e7 + rng.normal(size=100),
    "tiny": lambda rng: 1e-30 * rng.normal(size=100),
    "huge": lambda rng: 1e30 * rng.normal(size=100),
    "heavy tails": lambda rng: rng.lognormal(sigma=4, size=100),
    "ties": lambda rng: rng.integers(0, 2, 100).astype(float),
    "near ties": lambda rng: rng.integers(0, 2, 100) + 1e-9 * rng.normal(size=100),
    "constant": lambda rng: np.ones(100),
}


@pytest.mark.parametrize("case", HARD)
def test_single_precision_gives_the_counts_of_double(case, monkeypatch):
    """Weights with many repeats, so that lags tie where values do; a row with all others; a negative weight."""
    rng = np.random.default_rng(1)
    y, W = HARD[case](rng), grid(10).toarray() * rng.integers(1, 3, (100, 100))
    W[3] = np.arange(100)
    W[3, 3], W[5, 6] = 0, -1
    matrix = sparse.csr_array(W)
    run = lambda: core.conditional_tails(y, matrix, 1500, np.random.SeedSequence(2))  # noqa: E731
    settled, single = [], core._count_single

    def watched(*args):
        above, sure = single(*args)
        settled.extend(sure)
        return above, sure

    monkeypatch.setattr(core, "_count_single", watched)
    mixed = run()
    if case in ("normal", "tiny", "huge", "far from zero"):
        assert np.mean(settled) > 0.95  # so that the fast path is what is tested
    monkeypatch.setattr(
        core,
        "_count_single",
        lambda *args: (single(*args)[0], np.zeros(len(args[1].size), bool)),
    )
    double = run()
    np.testing.assert_array_equal(mixed.above, double.above)
    np.testing.assert_array_equal(mixed.below, double.below)


def test_memory_does_not_change_the_result(monkeypatch):
    y, seed = values_of("normal"), np.random.SeedSequence(4)
    before = core.conditional_tails(y, sparse.csr_array(matrix_of("unequal")), 2_500, seed)
    monkeypatch.setattr(core, "CHUNK", 1)
    after = core.conditional_tails(y, sparse.csr_array(matrix_of("unequal")), 2_500, seed)
    np.testing.assert_array_equal(before.above, after.above)


@pytest.mark.parametrize("matrix", ["equal", "unequal"])
def test_sum_is_the_global_statistic(matrix):
    W = grid(7)
    if matrix == "unequal":
        W.data = np.random.default_rng(1).uniform(0.1, 2, W.nnz)
    panel = panel_of({"x": np.random.default_rng(8).gamma(2, size=49)})
    weights = weights_for(panel, W)
    total = local_moran(panel, "x", weights, permutations=0).table()["I"].sum()
    I = moran(panel, "x", weights, permutations=0).table()["I"][0]
    assert total == pytest.approx(48 / 49 * W.sum() * I, rel=EXACT)


def test_period_alone_or_among_others_is_the_same():
    panel = panel_of({"x": np.random.default_rng(8).normal(size=(3, 49))}, 3)
    weights = weights_for(panel, grid(7))
    whole = local_moran(panel, "x", weights, period=2002, permutations=99, rng=5)
    again = local_moran(panel, "x", weights, period=2002, permutations=99, rng=5)
    other = local_moran(panel, "x", weights, period=2001, permutations=99, rng=5)
    pd.testing.assert_frame_equal(whole.table(), again.table())
    assert not whole.table()["p_sim"].equals(other.table()["p_sim"])


def test_callers_seed_sequence_is_not_used_up():
    panel = panel_of({"x": np.random.default_rng(8).normal(size=49)})
    weights, seed = weights_for(panel, grid(7)), np.random.SeedSequence(5)
    tables = [local_moran(panel, "x", weights, permutations=99, rng=seed).table() for _ in range(2)]
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.parametrize("function", [local_moran, local_g], ids=lambda f: f.__name__)
def test_order_of_units_and_scale_change_nothing(function):
    x = np.random.default_rng(8).gamma(2, size=49)
    panel = panel_of({"x": x})
    weights = weights_for(panel, grid(7))
    order = np.random.default_rng(1).permutation(49)
    shuffled = Panel(panel.values[:, order] * 1e9, panel.periods, panel.units[order], panel.columns)
    before = function(panel, "x", weights, permutations=499, rng=1).table()
    after = function(shuffled, "x", weights, permutations=499, rng=1).table()
    assert after.index.equals(shuffled.units)
    pd.testing.assert_frame_equal(after.loc[before.index], before, rtol=1e-9)


@pytest.mark.parametrize("adjust", ["fdr", "bonferroni", None])
@pytest.mark.parametrize("function", [local_moran, local_g], ids=lambda f: f.__name__)
def test_islands_are_not_available(function, adjust):
    panel = panel_of({"x": np.abs(values_of("normal"))})
    with pytest.warns(SpatialZbWarning, match="u003"):
        table = function(panel, "x", weights_for(panel, binary()), permutations=99, rng=1).adjusted(
            adjust, alpha=0.9
        )
    row = table.table().loc["u003"]
    assert row.drop("cluster").isna().all()
    assert row["cluster"] == "no neighbours"
    assert table.table().drop(index="u003")["p_sim"].notna().all()
    assert table.codes().isna().tolist() == [unit == "u003" for unit in panel.units]


def test_codes_are_those_of_the_map():
    panel = panel_of({"x": np.random.default_rng(8).normal(size=49)})
    codes = (
        local_moran(panel, "x", weights_for(panel, grid(7)), permutations=999, rng=1)
        .adjusted(alpha=0.6)
        .codes()
    )
    assert "ns" in set(codes)
    assert set(codes) <= set(CLUSTERS)


def test_p_is_never_zero_and_one_where_nothing_can_vary():
    y = np.zeros(N)
    y[0], y[1], y[2] = 9.0, 8.0, 7.0
    everyone = np.ones((N, N)) - np.eye(N)
    panel = panel_of({"x": y})
    table = local_moran(
        panel, "x", weights_for(panel, binary() + 1e-9 * everyone), permutations=99, rng=1
    ).table()
    assert table["p_sim"].min() >= 1 / 100
    full = local_moran(panel, "x", weights_for(panel, everyone), permutations=99, rng=1).table()
    assert (full["p_sim"] == 1).all()  # every deal gives the same lag
    assert full["z"].isna().all()
    assert (full["cluster"] == "not significant").all()


def test_quadrants():
    x = np.array([4.0, 4.0, 4.0, 1.0, 1.0, 1.0, 1.0, 4.0])
    ring = np.roll(np.eye(N), 1, axis=1)
    panel = panel_of({"x": x, "y": -x})
    weights = weights_for(panel, ring)  # each unit looks at the next one
    own = local_moran(panel, "x", weights, permutations=99, rng=1).table()["quadrant"].tolist()
    assert own == ["HH", "HH", "HL", "LL", "LL", "LL", "LH", "HH"]
    cross = (
        local_bivariate_moran(panel, "x", "y", weights, permutations=99, rng=1).table()["quadrant"].tolist()
    )
    assert cross == ["HL", "HL", "HH", "LH", "LH", "LH", "LL", "HL"]


def test_bivariate_of_a_variable_with_itself_is_univariate():
    x = np.random.default_rng(8).normal(size=49)
    panel = panel_of({"x": x, "y": x.copy()})
    weights = weights_for(panel, grid(7))
    options = {"permutations": 499, "rng": 3}
    pd.testing.assert_frame_equal(
        local_bivariate_moran(panel, "x", "y", weights, **options).table(),
        local_moran(panel, "x", weights, **options).table(),
    )


def test_one_sided_tails_add_up():
    """Without ties the two tails share only the observed value."""
    panel = panel_of({"x": np.random.default_rng(8).normal(size=49)})
    weights = weights_for(panel, grid(7))
    p = {
        side: local_moran(panel, "x", weights, permutations=999, rng=1, alternative=side).table()["p_sim"]
        for side in ("greater", "less", "two-sided")
    }
    np.testing.assert_allclose(p["greater"] + p["less"], 1001 / 1000, atol=1.1e-3)
    np.testing.assert_allclose(p["two-sided"], np.minimum(1, 2 * np.minimum(p["greater"], p["less"])))


def test_false_positives_under_no_association():
    """Of tests at 5 % about 5 % reject; Bonferroni's family rejects in about 5 % of the maps."""
    W = grid(10)
    rng = np.random.default_rng(0)
    p = []
    for number in range(60):
        result = core.local_moran_i(*2 * (rng.normal(size=100),), W, 999, np.random.SeedSequence(number))
        p.append(result.p_sim)
    p = np.array(p)
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.01)
    any_false = np.mean([adjusted_p_values(row, "fdr").min() <= 0.05 for row in p])
    assert any_false <= 0.15


def test_adjusted_p_values_by_hand():
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.005])
    np.testing.assert_allclose(adjusted_p_values(p, "fdr"), [0.02, 0.04, np.nan, 0.04, 0.02])
    np.testing.assert_allclose(adjusted_p_values(p, "bonferroni"), [0.04, 0.16, np.nan, 0.12, 0.02])
    np.testing.assert_array_equal(adjusted_p_values(p, None), p)


def test_fdr_is_that_of_scipy():
    from scipy.stats import false_discovery_control

    p = np.random.default_rng(1).uniform(size=200) ** 2
    np.testing.assert_allclose(adjusted_p_values(p, "fdr"), false_discovery_control(p))


def test_g_star_moments_are_those_of_all_permutations():
    W, x = matrix_of("unequal")[:6, :6], np.abs(values_of("normal", 6))
    W[3, 4] = 0.7  # no island among six
    full = core.with_self(sparse.csr_array(W)).toarray()
    _, z, _, _ = core.local_g(x, sparse.csr_array(W), True, 0, np.random.SeedSequence(1))
    lags = np.array([full @ x[list(order)] for order in itertools.permutations(range(6))])
    np.testing.assert_allclose(z, (full @ x - lags.mean(axis=0)) / lags.std(axis=0), atol=EXACT)


#: Own value, and neighbours among the others' 110 to 120.
OUTLIERS = {"hot": (1000.0, [120, 119, 118]), "cold": (0.0, [110, 111, 112])}


@pytest.mark.parametrize("star", [False, True])
@pytest.mark.parametrize("spot", OUTLIERS)
def test_spots_are_on_the_side_of_their_p_value_beside_an_outlier_of_their_own(spot, star):
    """The mean of all units holds the own value, which the permutations keep in place."""
    own, near = OUTLIERS[spot]
    far = [v for v in range(110, 121) if v not in near]
    A = np.zeros((12, 12))
    A[0, 1:4] = A[1:, 0] = 1
    panel = panel_of({"x": np.array([own, *near, *far])})
    weights = weights_for(panel, A).standardise("row")
    row = local_g(panel, "x", weights, star=star, rng=1).adjusted(None).table().iloc[0]
    assert row["p_sim"] < 0.03
    assert row["cluster"] == spot
    side = {"hot": "greater", "cold": "less"}[spot]
    one_sided = local_g(panel, "x", weights, rng=1, alternative=side).adjusted(None).table().iloc[0]
    assert (one_sided["p_sim"] < 0.02, one_sided["cluster"]) == (True, spot)


def test_a_spot_is_hot_though_one_far_unit_pulls_the_mean_above_it():
    """Higher than 98 % of the other values, and lower than their mean."""
    x = np.array([5.0, 20.0, 1e5, *np.linspace(1, 10, 97)])
    panel = panel_of({"x": x})
    row = local_g(panel, "x", weights_for(panel, np.roll(np.eye(100), 1, axis=1)), rng=1).adjusted(None)
    first = row.table().iloc[0]
    assert first["z"] < 0
    assert (first["p_sim"] < 0.05, first["cluster"]) == (True, "hot")


def test_row_normalising_binary_weights_changes_no_z():
    """esda's z of G does change: its variance holds for binary weights only."""
    panel = panel_of({"x": np.abs(values_of("normal"))})
    with pytest.warns(SpatialZbWarning):
        tables = [
            local_g(
                panel, "x", weights_for(panel, matrix_of(kind)), star=star, permutations=99, rng=1
            ).table()
            for kind in ("binary", "row")
            for star in (False, True)
        ]
    for first, second in ((0, 2), (1, 3)):
        np.testing.assert_allclose(tables[first]["z"], tables[second]["z"], atol=EXACT)
        np.testing.assert_array_equal(tables[first]["p_sim"], tables[second]["p_sim"])


def test_values_of_esda():
    esda = pytest.importorskip("esda")
    from libpysal.weights import lat2W

    x, y = np.random.default_rng(8).gamma(2, size=(2, 36))
    panel = panel_of({"x": x, "y": y})
    row = weights_for(panel, grid(6))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        w = lat2W(6, 6)
        I = esda.Moran_Local(x, w, permutations=0).Is
        I_xy = esda.Moran_Local_BV(x, y, w, permutations=0).Is
        G = {s: esda.G_Local(x, lat2W(6, 6), transform="B", star=s, permutations=0) for s in (False, True)}
    np.testing.assert_allclose(local_moran(panel, "x", row, permutations=0).table()["I"], I, atol=EXACT)
    ours = local_bivariate_moran(panel, "x", "y", row, permutations=0).table()["I"]
    np.testing.assert_allclose(ours, I_xy, atol=EXACT)
    bands = weights_for(panel, (grid(6) > 0).astype(float))
    for star, theirs in G.items():
        table = local_g(panel, "x", bands, star=star, permutations=0).table()
        np.testing.assert_allclose(table["G"], theirs.Gs, atol=EXACT)
        np.testing.assert_allclose(table["z"], theirs.Zs, atol=EXACT)


def test_columns_and_glance():
    panel = panel_of({"x": np.random.default_rng(8).gamma(2, size=49)})
    weights = weights_for(panel, grid(7))
    result = local_moran(panel, "x", weights, permutations=99, rng=1)
    assert list(result.table()) == ["I", "z", "p_sim", "p_adjusted", "quadrant", "cluster"]
    assert result.table().index.name == "unit"
    assert result.glance()["period"][0] == 2000
    spots = local_g(panel, "x", weights, permutations=0).table()
    assert list(spots) == ["G", "z", "p_value", "p_sim", "p_adjusted", "cluster"]
    assert spots[["p_sim", "p_adjusted", "cluster"]].isna().all(axis=None)


BAD = {
    "no_period": ({"period": None}, SpecificationError, "2000, 2001"),
    "alternative": ({"alternative": "up"}, SpecificationError, "two-sided"),
    "permutations": ({"permutations": -1}, SpecificationError, "zero or more"),
}


@pytest.mark.parametrize(("options", "error", "words"), BAD.values(), ids=BAD)
def test_refusals_of_options(options, error, words):
    panel = panel_of({"x": np.random.default_rng(8).gamma(2, size=(2, 9))}, 2)
    with pytest.raises(error, match=words):
        local_moran(panel, "x", weights_for(panel, grid(3)), **{"period": 2001, **options})


@pytest.mark.parametrize("options", [{"adjust": "holm"}, {"alpha": 1.0}])
def test_refusals_of_corrections(options):
    panel = panel_of({"x": np.random.default_rng(8).gamma(2, size=9)})
    table = local_moran(panel, "x", weights_for(panel, grid(3)), permutations=19, rng=1)
    with pytest.raises(SpecificationError, match=next(iter(options))):
        table.adjusted(**options)


VALUES = {
    "blank": (local_moran, [1, np.nan, 2, 3, 4, 5, 6, 7, 8], "u001 2000"),
    "infinite": (local_moran, [1, np.inf, 2, 3, -np.inf, 5, 6, 7, 8], r"infinite at u001 2000, u004 2000"),
    "constant": (local_moran, [2] * 9, "2000"),
    "negative": (local_g, [1, -1, 2, 3, 4, 5, 6, 7, 8], "u001 2000"),
    "one_positive": (local_g, [0, 1, 0, 0, 0, 0, 0, 0, 0], "fewer than two"),
}


@pytest.mark.parametrize(("function", "values", "words"), VALUES.values(), ids=VALUES)
def test_refusals_of_values(function, values, words):
    panel = panel_of({"x": np.array(values, float)})
    with pytest.raises(DataError, match=words):
        function(panel, "x", weights_for(panel, grid(3)))


@pytest.mark.filterwarnings("ignore:Weights .* negative")
def test_a_weight_of_its_own_means_nothing_among_negative_ones():
    panel = panel_of({"x": np.random.default_rng(8).gamma(2, size=9)})
    W = as_weights(-grid(3), ids=panel.units, allow_negative=True)
    with pytest.raises(WeightsError, match=r"G\* counts a unit with"):
        local_g(panel, "x", W, star=True)
    with pytest.raises(WeightsError, match="include_self"):
        lee(panel, "x", "x", W, include_self=True)
    assert local_g(panel, "x", W, permutations=99).table()["p_sim"].notna().all()


def test_bonferroni_out_of_reach_is_said():
    panel = panel_of({"x": np.random.default_rng(8).gamma(2, size=49)})
    weights = weights_for(panel, grid(7))
    with pytest.warns(SpatialZbWarning, match="1960"):
        local_moran(panel, "x", weights, permutations=999, rng=1).adjusted("bonferroni")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        local_moran(panel, "x", weights, permutations=1_960, rng=1).adjusted("bonferroni")


def test_too_few_permutations_for_one_unit_alone_are_said():
    """Of 81 units the first bar of the false discovery rate is 0.05 / 81; two tails of 999 permutations reach 0.002."""
    panel = panel_of({"x": np.random.default_rng(1).normal(size=81)})
    W = weights_for(panel, grid(9))
    needed = permutations_for(81, "fdr", 0.05)
    assert needed == 3_240
    assert 2 * 81 / (1 + needed) < 0.05 <= 2 * 81 / needed
    assert permutations_for(81, None, 0.05, "greater") == 20
    with pytest.warns(SpatialZbWarning, match=r"depends on the seed; use at least 3240"):
        local_moran(panel, "x", W, permutations=999, rng=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        local_moran(panel, "x", W, permutations=needed, rng=1)
        table = local_moran(panel, "x", W, permutations=0)
    with pytest.warns(SpatialZbWarning, match="below 0.05"):
        replace(table, permutations=19).adjusted(None)
