"""Global statistics other than Moran's I by period: enumeration, identities, R's and esda's values."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from spatial_zb import (
    AlignmentError,
    DurbinSpec,
    Panel,
    SpatialZbWarning,
    as_weights,
    build_panel,
    fit_durbin,
)
from spatial_zb.base.errors import DataError, SpecificationError
from spatial_zb.core import statistics as core
from spatial_zb.core.likelihood.tests import residual_moran_i
from spatial_zb.core.transforms import demean
from spatial_zb.explore import bivariate_moran, geary, general_g, lee, moran, pooled_moran, residual_moran

COLUMBUS = Path(__file__).parents[1] / "reference" / "columbus"
#: Sums of a few hundred terms in another order.
EXACT = 1e-10
#: R prints 15 digits.
PRINTED = 1e-12

RNG = np.random.default_rng(20)
W6 = np.where(RNG.random((6, 6)) < 0.5, RNG.uniform(0.2, 1.5, (6, 6)), 0.0) * (1 - np.eye(6))
W6[2] = 0  # receives from nobody, but others receive from it
X6, Y6 = RNG.gamma(2, size=(2, 6))
#: Histories of three periods.
Z6 = RNG.normal(size=(3, 6))


def panel_of(columns: dict[str, np.ndarray], units=None) -> Panel:
    values = np.stack([np.atleast_2d(v) for v in columns.values()], axis=2)
    T, n, _ = values.shape
    ids = pd.Index([f"u{i:03d}" for i in range(n)] if units is None else units)
    return Panel(values, tuple(range(2000, 2000 + T)), ids, tuple(columns))


def ring(n: int) -> sparse.csr_array:
    """Each unit has two neighbours, row-normalised."""
    one = np.roll(np.eye(n), 1, axis=1)
    return sparse.csr_array((one + one.T) / 2)


@pytest.fixture(scope="module")
def columbus():
    frame = pd.read_csv(COLUMBUS / "data.csv", dtype={"NEIG": str}).assign(year=1)
    edges = pd.read_csv(COLUMBUS / "edges.csv")
    matrix = sparse.coo_array((edges.w, (edges.i - 1, edges.j - 1)), shape=(49, 49))
    W = as_weights(matrix.tocsr(), ids=frame["NEIG"].tolist(), label="contiguity")
    return build_panel(frame, "NEIG", "year", units=W.ids), W


@pytest.fixture(scope="module")
def numbers_of_r():
    table = pd.read_csv(COLUMBUS / "expected.csv")
    return table.set_index(["model", "param"])["estimate"]


STATISTICS = {
    "pooled": (
        core.pooled_moran(Z6, sparse.csr_array(W6)),
        lambda p: sum(z[p] @ W6 @ z[p] for z in Z6) * 5 / (W6.sum() * np.sum(Z6**2)),
    ),
    "geary": (
        core.geary_c(X6, sparse.csr_array(W6)),
        lambda p: 5 * np.sum(W6 * np.subtract.outer(X6[p], X6[p]) ** 2) / (2 * W6.sum() * 6 * X6.var()),
    ),
    "general_g": (
        core.general_g(X6, sparse.csr_array(W6)),
        lambda p: np.sum(W6 * np.outer(X6[p], X6[p])) / np.sum(np.outer(X6, X6) * (1 - np.eye(6))),
    ),
    "lee": (
        core.lee_l(X6, Y6, sparse.csr_array(W6)),
        lambda p: (
            6
            / np.sum(W6.sum(axis=1) ** 2)
            * (W6 @ (X6 - X6.mean())[p])
            @ (W6 @ (Y6 - Y6.mean())[p])
            / (6 * X6.std() * Y6.std())
        ),
    ),
}


@pytest.mark.parametrize(("statistic", "by_hand"), STATISTICS.values(), ids=STATISTICS)
def test_value_and_moments_are_those_of_all_permutations(statistic, by_hand):
    every = np.array([by_hand(list(order)) for order in itertools.permutations(range(6))])
    result = core.cross_product(statistic)
    assert result.value == pytest.approx(by_hand(list(range(6))), rel=EXACT)
    assert result.expected == pytest.approx(every.mean(), rel=EXACT, abs=EXACT)
    assert result.std_dev == pytest.approx(every.std(), rel=EXACT)


@pytest.mark.parametrize(("statistic", "by_hand"), STATISTICS.values(), ids=STATISTICS)
def test_permutations_have_those_moments(statistic, by_hand, monkeypatch):
    monkeypatch.setattr(core, "CHUNK", 1_000)
    result = core.cross_product(statistic)
    drawn = core.cross_product_permutations(statistic, 20_000, np.random.default_rng(1))
    every = np.unique(np.round([by_hand(list(p)) for p in itertools.permutations(range(6))], 9))
    assert set(np.round(drawn, 9)) <= set(every)
    assert drawn.mean() == pytest.approx(result.expected, abs=5 * result.std_dev / np.sqrt(20_000))
    assert drawn.std() == pytest.approx(result.std_dev, rel=0.05)


def test_bivariate_moments_are_those_of_all_permutations():
    matrix, b = sparse.csr_array(W6), Y6 - Y6.mean()
    result = core.bivariate_moran(X6, Y6, matrix)
    scale = 5 / (W6.sum() * 6 * X6.std() * Y6.std())
    every = [scale * (X6 - X6.mean()) @ W6 @ b[list(p)] for p in itertools.permutations(range(6))]
    assert result.value == pytest.approx(every[0], rel=EXACT)
    assert result.expected == pytest.approx(np.mean(every), abs=EXACT)
    assert result.std_dev == pytest.approx(np.std(every), rel=EXACT)
    drawn = core.bivariate_moran_permutations(X6, Y6, matrix, 20_000, np.random.default_rng(1))
    assert drawn.std() == pytest.approx(result.std_dev, rel=0.05)


def test_numbers_of_r(columbus, numbers_of_r):
    C = geary(*(columbus[0], "CRIME", columbus[1]), permutations=0).table()["C"][0]
    assert pytest.approx(numbers_of_r["geary CRIME", "C"], abs=PRINTED) == C
    fit = fit_durbin(
        DurbinSpec("CRIME", ["INC", "HOVAL"], lag_y=False, lag_x=[], fixed_effects="none"), *columbus
    )
    row = residual_moran(fit, permutations=0).table().iloc[0]
    assert row["I"] == pytest.approx(numbers_of_r["moran OLS resid", "I"], abs=PRINTED)
    assert row["z"] == pytest.approx(numbers_of_r["moran OLS resid", "z"], abs=EXACT)


def test_values_of_esda(columbus):
    esda = pytest.importorskip("esda")
    from libpysal.weights import W as Neighbours

    panel, W = columbus
    x, y = panel.array("CRIME")[0], panel.array("INC")[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        w = Neighbours({i: list(W.matrix[[i]].indices) for i in range(49)}, silence_warnings=True)
        theirs = esda.Geary(x, w, permutations=0)
        I_xy = esda.Moran_BV(x, y, w, permutations=0).I
        L = esda.lee.Spatial_Pearson(W.matrix, permutations=0).fit(x[:, None], y[:, None]).association_[0, 1]
        G = esda.G(x, w, permutations=0)
    row = geary(panel, "CRIME", W, permutations=0).table().iloc[0]
    assert (row["C"], row["std_dev"]) == pytest.approx((theirs.C, theirs.VC_rand**0.5), abs=EXACT)
    assert bivariate_moran(panel, "CRIME", "INC", W, permutations=0).table()["I"][0] == pytest.approx(I_xy)
    assert lee(panel, "CRIME", "INC", W, permutations=0).table()["L"][0] == pytest.approx(L, abs=EXACT)
    binary = as_weights(sparse.csr_array((W.matrix > 0).astype(float)), ids=W.ids)
    row = general_g(panel, "CRIME", binary, permutations=0).table().iloc[0]
    assert tuple(row[["G", "expected", "std_dev", "z"]]) == pytest.approx((G.G, G.EG, G.VG**0.5, G.z_norm))


def test_pooled_of_one_period_is_moran(columbus):
    panel, W = columbus
    one = moran(panel, "CRIME", W, permutations=0).table()
    pooled = pooled_moran(panel, "CRIME", W, permutations=0).table()
    columns = ["I", "expected", "std_dev", "z", "p_value"]
    pd.testing.assert_frame_equal(one[columns], pooled[columns], rtol=EXACT)


def test_pooled_is_the_average_weighted_by_variance():
    panel, W = panel_of({"x": Z6}), as_weights(ring(6), ids=[f"u{i:03d}" for i in range(6)])
    by_period = moran(panel, "x", W, permutations=0).table()["I"]
    share = Z6.var(axis=1) / Z6.var(axis=1).sum()
    pooled = pooled_moran(panel, "x", W, permutations=0).table()["I"][0]
    assert pooled == pytest.approx(by_period @ share, rel=EXACT)


def test_a_common_trend_counts_only_when_asked():
    panel = panel_of({"x": Z6 + 100 * np.arange(3)[:, None]})
    W = as_weights(ring(6), ids=panel.units)
    trend = pooled_moran(panel, "x", W, centre="all", permutations=0).table()["I"][0]
    without = pooled_moran(panel, "x", W, permutations=0).table()["I"][0]
    plain = pooled_moran(panel_of({"x": Z6}), "x", W, permutations=0).table()["I"][0]
    assert trend > 0.99
    assert without == pytest.approx(plain, rel=1e-8)


def test_persistence_is_not_taken_for_evidence():
    """The same map repeated ten times says no more than once."""
    once, W = panel_of({"x": X6}), as_weights(ring(6), ids=[f"u{i:03d}" for i in range(6)])
    tables = [
        pooled_moran(p, "x", W, permutations=0).table() for p in (once, panel_of({"x": np.tile(X6, (10, 1))}))
    ]
    assert tables[0]["z"][0] == pytest.approx(tables[1]["z"][0], rel=1e-8)


def test_lee_is_symmetric_and_of_itself_is_the_smoothed_variance():
    panel, W = panel_of({"x": X6, "y": Y6}), as_weights(ring(6), ids=[f"u{i:03d}" for i in range(6)])
    xy, yx = (lee(panel, *pair, W, permutations=0).table() for pair in (("x", "y"), ("y", "x")))
    pd.testing.assert_frame_equal(xy, yx, rtol=EXACT)
    xx = lee(panel, "x", "x", W, permutations=0).table()["L"][0]
    z = X6 - X6.mean()
    assert xx == pytest.approx(np.sum((ring(6) @ z) ** 2) / np.sum(z**2), rel=EXACT)
    with_own = lee(panel, "x", "x", W, include_self=True, permutations=0).table()["L"][0]
    assert with_own == pytest.approx(np.sum(((2 * (ring(6) @ z) + z) / 3) ** 2) / np.sum(z**2), rel=EXACT)


@pytest.mark.parametrize("effects", ["none", "unit", "time", "two_way"])
def test_residual_moments_are_those_of_the_dense_projection(effects):
    T, n, k = 3, 6, 2
    Z = demean(np.random.default_rng(4).normal(size=(T, n, k)), effects)
    e = demean(Z6, effects)
    stacked = Z.reshape(T * n, k)
    Q = demean(np.eye(T * n).reshape(T, n, T * n), effects).reshape(T * n, T * n)
    M = Q - stacked @ np.linalg.solve(stacked.T @ stacked, stacked.T)
    e = (M @ e.ravel()).reshape(T, n)
    A = np.kron(np.eye(T), (W6 + W6.T) / 2)
    d, scale = np.trace(M), 5 / W6.sum()
    first, second = np.trace(M @ A) / d, (2 * np.trace(M @ A @ M @ A) + np.trace(M @ A) ** 2) / (d * (d + 2))
    result = residual_moran_i(e, Z, sparse.csr_array(W6), effects)
    assert result.value == pytest.approx(scale * e.ravel() @ A @ e.ravel() / np.sum(e**2), rel=EXACT)
    assert result.expected == pytest.approx(scale * first, rel=EXACT)
    assert result.std_dev == pytest.approx(scale * np.sqrt(second - first**2), rel=EXACT)


def test_residuals_as_fit_series_frame_and_array(columbus):
    panel, W = columbus
    spec = DurbinSpec("CRIME", ["INC", "HOVAL"], lag_y=False, lag_x=[], fixed_effects="none")
    fit = fit_durbin(spec, panel, W)
    e, X = fit.residuals, fit.design.Z
    options = {"permutations": 199, "rng": 1}
    tables = [
        residual_moran(fit, **options),
        residual_moran(pd.Series(e[0], panel.units), W, regressors=X, **options),
        residual_moran(pd.DataFrame(e, columns=panel.units), W, regressors=X[0], **options),
        residual_moran(e[0][::-1], W, units=panel.units[::-1], regressors=X[0, ::-1], **options),
    ]
    for other in tables[1:]:
        pd.testing.assert_frame_equal(tables[0].table(), other.table(), rtol=EXACT)
    bare = residual_moran(e, W, units=panel.units, **options).table()
    assert bare["p_sim"][0] == tables[0].table()["p_sim"][0]
    assert bare["z"][0] != pytest.approx(tables[0].table()["z"][0], rel=1e-3)


def test_residuals_of_a_spatial_model_claim_no_moments(columbus):
    fit = fit_durbin(DurbinSpec("CRIME", ["INC"], lag_x=[], fixed_effects="none"), *columbus)
    row = residual_moran(fit, permutations=99, rng=1).table().iloc[0]
    assert row[["expected", "std_dev", "z", "p_value"]].isna().all()
    assert 0 < row["p_sim"] <= 1


FUNCTIONS = {
    "geary": lambda panel, W, **o: geary(panel, "x", W, **o),
    "general_g": lambda panel, W, **o: general_g(panel, "x", W, **o),
    "pooled": lambda panel, W, **o: pooled_moran(panel, "x", W, **o),
    "lee": lambda panel, W, **o: lee(panel, "x", "y", W, **o),
    "bivariate": lambda panel, W, **o: bivariate_moran(panel, "x", "y", W, **o),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_order_of_units_and_scale_change_nothing(function):
    x, y = np.random.default_rng(3).gamma(2, size=(2, 2, 12))
    panel = panel_of({"x": x, "y": y})
    W = as_weights(ring(12), ids=panel.units)
    order = np.random.default_rng(1).permutation(12)
    other = Panel(panel.values[:, order] * 1e-7, panel.periods, panel.units[order], panel.columns)
    tables = [function(p, W, permutations=199, rng=1).table() for p in (panel, other)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-9)
    assert tables[0]["p_sim"].between(1 / 200, 1).all()


@pytest.mark.parametrize("scale", [1e-14, 1e9])
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_the_unit_of_weights_changes_nothing(function, scale):
    """G of weights 1/km³ is of the size 1e-14: what counts as a tie goes with it."""
    panel = panel_of(dict(zip("xy", np.random.default_rng(3).gamma(2, size=(2, 2, 12)), strict=True)))
    matrix = np.random.default_rng(4).gamma(1, size=(12, 12)) * (1 - np.eye(12))
    first, second = (
        function(panel, as_weights(matrix * by, ids=panel.units), permutations=199, rng=1).table()
        for by in (1.0, scale)
    )
    test = ["z", "p_value", "p_sim"]
    pd.testing.assert_frame_equal(first[test], second[test], rtol=1e-7)


@pytest.mark.parametrize("power", [1e-9, 1.0, 1e9])
def test_smoothing_over_all_units_leaves_nothing_to_test(power):
    """L of equal weights, the unit itself among them, is zero whatever the values: rounding is no evidence."""
    panel = panel_of(dict(zip("xy", np.random.default_rng(3).gamma(2, size=(2, 1, 9)), strict=True)))
    W = as_weights(power * (np.ones((9, 9)) - np.eye(9)), ids=panel.units)
    row = lee(panel, "x", "y", W, include_self=True, permutations=99, rng=1).table().iloc[0]
    assert np.isnan(row["z"])
    assert row["p_sim"] == 1


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_seeded_and_islands_named(function):
    x, y = np.random.default_rng(3).gamma(2, size=(2, 1, 12))
    panel = panel_of({"x": x, "y": y})
    matrix = ring(12).toarray()
    matrix[4] = 0
    matrix[:, 4] = 0
    W = as_weights(sparse.csr_array(matrix), ids=panel.units)
    with pytest.warns(SpatialZbWarning, match="u004") as caught:
        tables = [function(panel, W, permutations=99, rng=seed).table() for seed in (1, 1, 2)]
    assert caught[0].filename == __file__
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert np.isfinite(tables[0].to_numpy(float)).all()


def test_power_against_clustering():
    """A gradient over a line of units is seen by every statistic, on its own side."""
    line = sparse.csr_array(np.diag(np.ones(39), 1) + np.diag(np.ones(39), -1))
    panel = panel_of({"x": np.arange(40.0) ** 2})
    W = as_weights(line, ids=panel.units)
    assert geary(panel, "x", W, rng=1).table()["z"][0] < -4
    assert geary(panel, "x", W, rng=1, alternative="less").table()["p_sim"][0] == 1 / 1000
    assert general_g(panel, "x", W, rng=1, alternative="greater").table()["p_sim"][0] == 1 / 1000


BAD = {
    "blank": (lambda p, W: geary(p, "hole", W), DataError, "u001 2000"),
    "constant": (lambda p, W: lee(p, "x", "flat", W), DataError, "'flat' is the same"),
    "negative": (lambda p, W: general_g(p, "minus", W), DataError, "natural zero"),
    "centre": (lambda p, W: pooled_moran(p, "x", W, centre="unit"), SpecificationError, "period"),
    "side": (lambda p, W: geary(p, "x", W, alternative="up"), SpecificationError, "two-sided"),
    "no_ids": (lambda p, W: residual_moran(np.ones(6), W), AlignmentError, "units="),
    "no_W": (lambda p, W: residual_moran(pd.Series(X6, p.units)), SpecificationError, "pass W"),
    "shape": (lambda p, W: residual_moran(np.ones(5), W, units=p.units), AlignmentError, "6 units"),
    "regressors": (
        lambda p, W: residual_moran(X6, W, units=p.units, regressors=np.ones((5, 1))),
        SpecificationError,
        "regressors",
    ),
    "nan": (lambda p, W: residual_moran(np.append(X6[:5], np.nan), W, units=p.units), DataError, "u005"),
    "strangers": (lambda p, W: residual_moran(pd.Series(X6, list("abcdef")), W), AlignmentError, "residuals"),
}


@pytest.mark.parametrize(("call", "error", "words"), BAD.values(), ids=BAD)
def test_refusals(call, error, words):
    hole = X6.copy()
    hole[1] = np.nan
    panel = panel_of({"x": X6, "hole": hole, "flat": np.ones(6), "minus": X6 - 10})
    with pytest.raises(error, match=words):
        call(panel, as_weights(ring(6), ids=panel.units))
