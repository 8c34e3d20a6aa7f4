"""Distribution dynamics: examples by hand, identities, invariances, refusals."""

from __future__ import annotations

import doctest
import importlib

import geopandas
import numpy as np
import pandas as pd
import pytest
from scipy import integrate
from shapely.geometry import Point

import spatial_zb as zb
from spatial_zb import AlignmentError, DataError, Panel, SpecificationError, as_weights
from spatial_zb.core.statistics import dispersion as core
from spatial_zb.explore import dynamics

#: Sums of a hundred terms in another order.
EXACT = 1e-10


def panel_of(columns: dict[str, np.ndarray], periods=None) -> Panel:
    values = np.stack([np.atleast_2d(v) for v in columns.values()], axis=2)
    T, n, _ = values.shape
    years = tuple(range(2010, 2010 + T)) if periods is None else tuple(periods)
    return Panel(values, years, pd.Index([f"u{i:02d}" for i in range(n)]), tuple(columns))


@pytest.fixture(scope="module")
def random_panel():
    rng = np.random.default_rng(7)
    level = 5 + 0.05 * np.arange(6)[:, None] + rng.normal(size=20) + 0.2 * rng.normal(size=(6, 20))
    return panel_of({"y": np.exp(level), "x": rng.normal(size=(6, 20)), "people": rng.gamma(3, size=(6, 20))})


@pytest.fixture(scope="module")
def groups(random_panel):
    return {unit: "abc"[i % 3] for i, unit in enumerate(random_panel.units)}


@pytest.mark.parametrize(
    "name",
    [
        "explore.dynamics.densities",
        "explore.dynamics.spread",
        "explore.dynamics.convergence",
        "core.statistics.dispersion",
    ],
)
def test_examples_of_the_docstrings(name):
    found = doctest.testmod(importlib.import_module(f"spatial_zb.{name}"))
    assert found.failed == 0
    assert found.attempted > 1


# --- densities ---


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("bandwidth", ["scott", "silverman", 40.0])
def test_densities_integrate_to_one(random_panel, bandwidth, relative):
    width = bandwidth if isinstance(bandwidth, str) or not relative else 0.2
    d = dynamics.kernel_densities(random_panel, "y", bandwidth=width, relative=relative, points=2_000)
    area = integrate.trapezoid(d.density, d.grid, axis=1)
    np.testing.assert_allclose(area, 1, atol=0.003)
    means = integrate.trapezoid(d.density * d.grid, d.grid, axis=1)
    target = np.ones(6) if relative else random_panel.array("y").mean(axis=1)
    np.testing.assert_allclose(means, target, rtol=0.01)


def test_a_density_stays_between_its_bounds():
    x = np.random.default_rng(3).beta(0.8, 0.8, (2, 400))
    panel = panel_of({"x": x})
    plain = dynamics.kernel_densities(panel, "x", points=4_000)
    kept = dynamics.kernel_densities(panel, "x", points=4_000, bounds=(0, 1))
    assert plain.grid[0] < 0 < 1 < plain.grid[-1]
    assert (kept.grid[0], kept.grid[-1]) == (0, 1)
    np.testing.assert_allclose(integrate.trapezoid(kept.density, kept.grid, axis=1), 1, atol=1e-4)
    # By hand: what lies beyond a bound is folded back.
    at = np.array([0.0, 0.05, 0.97])
    beyond = [np.interp(place, plain.grid, plain.density[0], 0, 0) for place in (at, -at, 2 - at)]
    np.testing.assert_allclose(np.interp(at, kept.grid, kept.density[0]), np.sum(beyond, axis=0), rtol=1e-3)
    # Far from the values a bound changes nothing.
    far = dynamics.kernel_densities(panel, "x", points=4_000, bounds=(-5, np.inf))
    np.testing.assert_array_equal(far.density, plain.density)
    # At the end of a bounded law it is nearer to the truth than without.
    flat = panel_of({"x": np.random.default_rng(4).uniform(size=(1, 2_000))})
    ends = [dynamics.kernel_densities(flat, "x", bounds=b).density[0] for b in ((0, 1), (-np.inf, np.inf))]
    assert abs(ends[0][0] - 1) < 0.15
    assert np.interp(0.0, dynamics.kernel_densities(flat, "x").grid, ends[1]) < 0.65
    for bounds in ((1, 0), (0,), "unit"):
        with pytest.raises(SpecificationError, match="bounds"):
            dynamics.kernel_densities(panel, "x", bounds=bounds)
    with pytest.raises(DataError, match="beyond its bounds"):
        dynamics.kernel_densities(panel, "x", bounds=(0.2, 1))


def test_density_by_hand_and_bandwidth_in_units_of_the_variable(random_panel):
    d = dynamics.kernel_densities(random_panel, "y", bandwidth=30.0, periods=[2012])
    y = random_panel.array("y")[2]
    by_hand = np.exp(-0.5 * ((d.grid[:, None] - y) / 30) ** 2).mean(axis=1) / (30 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(d.density[0], by_hand, rtol=1e-8)
    assert d.glance()["bandwidth"][0] == pytest.approx(30)


def test_two_camps_have_two_peaks():
    x = np.array([[0.0, 0.1, 0.2, 10, 10.1, 10.2], [0.0, 0.1, 0.2, 0.15, 0.05, 0.3]])
    d = dynamics.kernel_densities(panel_of({"x": x}), "x", bandwidth=0.5, points=512)
    assert d.glance()["peaks"].tolist() == [2, 1]
    assert len(d.tidy()) == 2 * 512


# --- ellipses ---


def cloud() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.normal(size=(30, 2)) @ [[3, 1], [0, 1]], rng.gamma(2, size=30)


@pytest.mark.parametrize("degrees", [10, 90, 200])
def test_ellipse_turns_with_its_points(degrees):
    xy, w = cloud()
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    before = core.deviation_ellipse(xy, w)
    after = core.deviation_ellipse(xy @ np.array([[c, -s], [s, c]]), w)  # clockwise
    assert after.semi_major == pytest.approx(before.semi_major, rel=EXACT)
    assert after.semi_minor == pytest.approx(before.semi_minor, rel=EXACT)
    assert (after.angle - before.angle - degrees + 90) % 180 == pytest.approx(90, abs=1e-8)


def test_ellipse_moves_and_grows_with_its_points():
    xy, w = cloud()
    before, after = core.deviation_ellipse(xy, w), core.deviation_ellipse(5 * xy + [100, -7], 3 * w)
    assert (after.x, after.y) == pytest.approx((5 * before.x + 100, 5 * before.y - 7))
    assert after.area == pytest.approx(25 * before.area)
    assert after.angle == pytest.approx(before.angle)


def test_ellipse_is_that_of_the_printed_formulas():
    """tan θ = [A + √(A² + 4C²)]/2C, A = Σx² − Σy², C = Σxy; σ = √(2Σ(x cos θ − y sin θ)²/n) (as ArcGIS)."""
    xy, _ = cloud()
    x, y = (xy - xy.mean(axis=0)).T
    A, C = x @ x - y @ y, x @ y
    theta = np.arctan((A + np.sqrt(A**2 + 4 * C**2)) / (2 * C))
    across = np.sqrt(2 * np.mean((x * np.cos(theta) - y * np.sin(theta)) ** 2))
    along = np.sqrt(2 * np.mean((x * np.sin(theta) + y * np.cos(theta)) ** 2))
    e = core.deviation_ellipse(xy, np.ones(30))
    assert (e.semi_minor, e.semi_major) == pytest.approx((across, along), rel=EXACT)
    assert e.angle == pytest.approx(np.degrees(theta) % 180, rel=EXACT)


def test_outline_lies_on_the_ellipse_and_has_its_area():
    xy, w = cloud()
    e = core.deviation_ellipse(xy, w, scale=1)
    line = core.ellipse_outline(e, 2_001)
    centre, share = np.array([e.x, e.y]), w / w.sum()
    inverse = np.linalg.inv(((xy - centre) * share[:, None]).T @ (xy - centre))
    np.testing.assert_allclose(np.einsum("ij,jk,ik->i", line - centre, inverse, line - centre), 1, rtol=1e-9)


def test_a_circle_has_no_direction():
    assert np.isnan(core.deviation_ellipse([[1, 0], [-1, 0], [0, 1], [0, -1]], np.ones(4)).angle)


def squares(points_km: np.ndarray, units: pd.Index) -> geopandas.GeoDataFrame:
    shapes = [Point(*(1000 * p)).buffer(500, cap_style="square") for p in points_km]
    return geopandas.GeoDataFrame(geometry=shapes, index=units, crs="EPSG:4549")


def test_path_of_the_centre():
    """All weight on one unit, then on one 30 km east and 40 km north of it."""
    panel = panel_of({"v": np.array([[1.0, 0, 0], [0, 1, 0]])})
    regions = squares(np.array([[500, 3300], [530, 3340], [600, 3300]]), panel.units)
    path = dynamics.deviation_ellipses(panel, "v", regions, crs="EPSG:4549")
    last = path.table().iloc[1]
    assert last["shift_km"] == pytest.approx(50)
    assert last["bearing"] == pytest.approx(np.degrees(np.arctan2(30, 40)))
    assert path.table()["area_km2"].tolist() == pytest.approx([0, 0])
    assert np.isnan(path.table()["shift_km"][0])
    assert path.glance()["net_km"][0] == pytest.approx(50)


def test_kilometres_do_not_depend_on_the_projection(delta):
    rng = np.random.default_rng(1)
    units = pd.Index(delta.index, dtype=str)
    panel = Panel(rng.gamma(2, size=(3, len(units), 1)), (2003, 2011, 2019), units, ("v",))
    shuffled = delta.sample(frac=1, random_state=1)
    equal_area = dynamics.deviation_ellipses(panel, "v", delta).table()
    transverse = dynamics.deviation_ellipses(panel, "v", shuffled, crs="EPSG:4549").table()
    lengths = ["semi_major_km", "semi_minor_km", "area_km2", "shift_km"]
    pd.testing.assert_frame_equal(equal_area[lengths], transverse[lengths], rtol=0.01)
    pd.testing.assert_frame_equal(equal_area[["lon", "lat"]], transverse[["lon", "lat"]], atol=0.01)
    assert equal_area["lon"].between(116, 123).all()
    assert equal_area["lat"].between(27, 35).all()


def test_outlines_have_the_area_of_the_table(delta):
    units = pd.Index(delta.index, dtype=str)
    panel = Panel(np.random.default_rng(1).gamma(2, size=(2, len(units), 1)), (2003, 2019), units, ("v",))
    path = dynamics.deviation_ellipses(panel, "v", delta)
    outlines = path.outlines(1_001)
    np.testing.assert_allclose(outlines.area / 1e6, path.table()["area_km2"], rtol=1e-4)
    assert outlines.crs == path.crs


# --- inequality ---


@pytest.mark.parametrize("population", [None, "people"])
def test_theil_adds_up(random_panel, groups, population):
    result = dynamics.theil_decomposition(random_panel, "y", groups, population)
    table, by_group = result.table(), result.groups()
    np.testing.assert_allclose(table["within"] + table["between"], table["total"], rtol=EXACT)
    np.testing.assert_allclose(by_group.groupby("period")["contribution"].sum(), table["within"], rtol=EXACT)
    np.testing.assert_allclose(by_group.groupby("period")["share"].sum(), 1, rtol=EXACT)
    assert (table[["within", "between"]] >= 0).all(axis=None)
    np.testing.assert_allclose(table["share_within"] + table["share_between"], 1, rtol=EXACT)


def test_theil_by_its_definition(random_panel, groups):
    y, n = random_panel.array("y")[0], random_panel.array("people")[0]
    s, p = y / y.sum(), n / n.sum()
    label = np.array([groups[u] for u in random_panel.units])
    between = sum(
        s[label == g].sum() * np.log(s[label == g].sum() / p[label == g].sum()) for g in np.unique(label)
    )
    row = dynamics.theil_decomposition(random_panel, "y", groups, "people").table().iloc[0]
    assert row["total"] == pytest.approx(s @ np.log(s / p), rel=EXACT)
    assert row["between"] == pytest.approx(between, rel=EXACT)


@pytest.mark.parametrize(
    ("grouping", "empty"),
    [(lambda i: "one", "between"), (lambda i: f"own{i}", "within")],
    ids=["one_group", "each_its_own"],
)
def test_extreme_groupings_leave_one_part(random_panel, grouping, empty):
    labels = {u: grouping(i) for i, u in enumerate(random_panel.units)}
    for decompose in (dynamics.theil_decomposition, dynamics.dagum_decomposition):
        table = decompose(random_panel, "y", labels).table()
        np.testing.assert_allclose(table[empty], 0, atol=EXACT)


def test_dagum_adds_up(random_panel, groups):
    result = dynamics.dagum_decomposition(random_panel, "y", groups)
    table = result.table()
    np.testing.assert_allclose(table[list(result.parts)].sum(axis=1), table["total"], rtol=EXACT)
    assert (table[list(result.parts)] > 0).all(axis=None)
    pairs = result.groups()
    assert len(pairs) == 6 * 6  # six periods; three groups and three pairs
    assert pairs.loc[pairs["group"] == pairs["other"], "affluence"].isna().all()
    assert pairs["affluence"].dropna().between(0, 1).all()


def test_dagum_by_its_definition(random_panel, groups):
    y = random_panel.array("y")[0]
    label = np.array([groups[u] for u in random_panel.units])
    d = core.dagum_gini(y, label)
    assert d.total == pytest.approx(np.abs(np.subtract.outer(y, y)).mean() / (2 * y.mean()), rel=EXACT)
    net = overlap = 0.0
    for h in range(3):
        for j in range(h):
            a, b = y[label == d.groups[j]], y[label == d.groups[h]]
            if a.mean() < b.mean():
                a, b = b, a
            apart = np.subtract.outer(a, b)
            up, down = np.maximum(apart, 0).mean(), np.maximum(-apart, 0).mean()
            G, D = (up + down) / (a.mean() + b.mean()), (up - down) / (up + down)
            weight = (len(a) * b.sum() + len(b) * a.sum()) / (len(y) * y.sum())
            net, overlap = net + G * weight * D, overlap + G * weight * (1 - D)
            assert (d.ginis[j, h], d.affluence[j, h]) == pytest.approx((G, D), rel=EXACT)
    assert (d.between, d.transvariation) == pytest.approx((net, overlap), rel=EXACT)


@pytest.mark.parametrize("decompose", [dynamics.theil_decomposition, dynamics.dagum_decomposition])
def test_inequality_knows_no_currency_and_no_order(random_panel, groups, decompose):
    order = np.random.default_rng(1).permutation(20)
    other = Panel(
        random_panel.values[:, order] * 1e6,
        random_panel.periods,
        random_panel.units[order],
        random_panel.columns,
    )
    pd.testing.assert_frame_equal(
        decompose(random_panel, "y", groups).table(),
        decompose(other, "y", pd.Series(groups)).table(),
        rtol=1e-9,
    )


def test_a_group_with_nothing_counts_as_nothing():
    panel = panel_of({"v": np.array([1.0, 3.0, 0.0, 0.0])})
    result = dynamics.theil_decomposition(panel, "v", dict(zip(panel.units, "aabb", strict=True)))
    row = result.groups().set_index("group").loc["b"]
    assert np.isnan(row["theil"])
    assert row["contribution"] == 0
    assert result.table()["between"][0] == pytest.approx(np.log(2))


# --- convergence ---


def test_sigma_trend_is_that_of_a_regression(random_panel, groups):
    result = dynamics.sigma_convergence(random_panel, "y", groups)
    table = result.table()
    everyone = table[table["group"] == "all"]
    np.testing.assert_allclose(everyone["std_dev"], np.log(random_panel.array("y")).std(axis=1), rtol=EXACT)
    from scipy.stats import linregress

    expected = linregress(everyone["period"], everyone["std_dev"])
    row = result.tidy().set_index(["group", "term"]).loc[("all", "std_dev")]
    assert tuple(row[["estimate", "std_error", "p_value"]]) == pytest.approx(
        (expected.slope, expected.stderr, expected.pvalue)
    )
    assert set(table["group"]) == {"all", "a", "b", "c"}


def test_halving_of_distances_is_sigma_convergence():
    logs = np.linspace(-1, 1, 9) * 0.5 ** np.arange(4)[:, None]
    table = dynamics.sigma_convergence(panel_of({"y": np.exp(logs)}), "y").table()
    np.testing.assert_allclose(table["std_dev"].to_numpy()[1:] / table["std_dev"].to_numpy()[:-1], 0.5)


def test_absolute_beta_is_that_of_a_regression(random_panel):
    result = dynamics.beta_convergence(
        random_panel, "y", horizon=None, spec=zb.dynamics.growth_spec(fixed_effects="none")
    )
    logs = np.log(random_panel.array("y"))
    from scipy.stats import linregress

    expected = linregress(logs[0], (logs[-1] - logs[0]) / 5)
    beta = result.tidy().set_index("term").loc["beta"]
    assert tuple(beta[["estimate", "std_error", "p_value"]]) == pytest.approx(
        (expected.slope, expected.stderr, expected.pvalue)
    )
    assert result.years == 5


def test_conditional_beta_is_that_of_dummies(random_panel):
    result = dynamics.beta_convergence(random_panel, "y", spec=zb.dynamics.growth_spec(controls=["x"]))
    logs, x = np.log(random_panel.array("y")), random_panel.array("x")[:-1]
    growth = np.diff(logs, axis=0)
    units, periods = np.tile(np.eye(20), (5, 1)), np.repeat(np.eye(5), 20, axis=0)
    X = np.column_stack([logs[:-1].ravel(), x.ravel(), units, periods[:, 1:]])
    expected = np.linalg.lstsq(X, growth.ravel(), rcond=None)[0][:2]
    np.testing.assert_allclose(result.fit.params[["initial", "x"]], expected, rtol=1e-8)


def test_speed_and_half_life_of_a_known_process():
    """ln y falls back to its mean by a fifth a year: λ = −ln 0.8, whatever the horizon."""
    rng = np.random.default_rng(5)
    logs = [rng.normal(size=200)]
    for _ in range(6):
        logs.append(0.8 * logs[-1] + 1e-6 * rng.normal(size=200))
    panel = panel_of({"y": np.exp(logs)})
    for horizon in (1, 2, 3, None):
        result = dynamics.beta_convergence(
            panel, "y", horizon=horizon, spec=zb.dynamics.growth_spec(fixed_effects="none")
        ).tidy()
        estimate = result.set_index("term")["estimate"]
        assert estimate["speed"] == pytest.approx(-np.log(0.8), rel=1e-4)
        assert estimate["half_life"] == pytest.approx(np.log(2) / -np.log(0.8), rel=1e-4)


def test_error_of_the_speed_is_that_of_the_delta_method(random_panel):
    short = random_panel.select(periods=random_panel.periods[:5])
    result = dynamics.beta_convergence(
        short, "y", horizon=2, spec=zb.dynamics.growth_spec(fixed_effects="none")
    )
    rows = result.tidy().set_index("term")
    beta, s, step = result.beta, result.years, 1e-6
    slope = (np.log(1 + (beta - step) * s) - np.log(1 + (beta + step) * s)) / (2 * step * s)
    error = abs(slope) * rows.loc["beta", "std_error"]
    assert s == 2
    assert rows.loc["speed", "std_error"] == pytest.approx(error, rel=1e-6)


def test_a_level_that_overshoots_has_no_speed(random_panel):
    """With β ≤ −1/s the path does not approach its end from one side."""
    result = dynamics.beta_convergence(
        random_panel, "y", spec=zb.dynamics.growth_spec(fixed_effects="two_way"), horizon=1
    )
    assert 1 + result.beta < 0
    rows = result.tidy().set_index("term")
    assert rows.loc["beta"].notna().all()
    assert rows.loc[["speed", "half_life"]].isna().all(axis=None)


def test_divergence_has_no_half_life(random_panel):
    rng = np.random.default_rng(5)
    logs = [rng.normal(size=50)]
    for _ in range(3):
        logs.append(1.1 * logs[-1] + 0.01 * rng.normal(size=50))
    table = dynamics.beta_convergence(
        panel_of({"y": np.exp(logs)}), "y", spec=zb.dynamics.growth_spec(fixed_effects="none")
    ).tidy()
    row = table.set_index("term").loc["half_life"]
    assert row.isna().all()


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
def test_spatial_beta_is_a_durbin_fit(random_panel):
    ring = np.roll(np.eye(20), 1, axis=1)
    W = as_weights((ring + ring.T) / 2, ids=random_panel.units)
    result = dynamics.beta_convergence(
        random_panel, "y", W, spec=zb.dynamics.growth_spec(controls=["x"], lag_y=True, lag_x="all")
    )
    logs = np.log(random_panel.array("y"))
    by_hand = random_panel.select(periods=random_panel.periods[:-1]).with_columns(
        {"g": np.diff(logs, axis=0), "l": logs[:-1]}
    )
    fit = zb.fit_durbin(zb.DurbinSpec("g", ["l", "x"]), by_hand, W)
    np.testing.assert_allclose(result.fit.params, fit.params, rtol=1e-9)
    assert result.glance()["model"][0] == "SDM"
    assert set(zb.spatial_effects(result.fit).tidy()["term"]) == {"initial", "x"}


# --- refusals ---


def values(**cells: float) -> np.ndarray:
    y = np.random.default_rng(2).gamma(3, size=(4, 6))
    for place, value in cells.items():
        t, i = (int(part) for part in place[1:].split("_"))
        y[t, i] = value
    return y


GROUPS = dict(zip([f"u{i:02d}" for i in range(6)], "aabbcc", strict=True))
BAD = {
    "density_blank": (lambda p: dynamics.kernel_densities(p, "hole"), DataError, "u02 2011"),
    "density_flat": (lambda p: dynamics.kernel_densities(p, "flat"), DataError, "2010"),
    "density_rule": (
        lambda p: dynamics.kernel_densities(p, "y", bandwidth="best"),
        SpecificationError,
        "scott",
    ),
    "density_width": (
        lambda p: dynamics.kernel_densities(p, "y", bandwidth=0.0),
        SpecificationError,
        "positive",
    ),
    "density_points": (lambda p: dynamics.kernel_densities(p, "y", points=1), SpecificationError, "2"),
    "theil_negative": (lambda p: dynamics.theil_decomposition(p, "minus", GROUPS), DataError, "u03 2012"),
    "theil_zero": (lambda p: dynamics.theil_decomposition(p, "zero", GROUPS), DataError, "2010"),
    "theil_people": (
        lambda p: dynamics.theil_decomposition(p, "y", GROUPS, "zero"),
        DataError,
        "population|zero",
    ),
    "dagum_negative": (lambda p: dynamics.dagum_decomposition(p, "minus", GROUPS), DataError, "u03 2012"),
    "group_missing": (
        lambda p: dynamics.dagum_decomposition(p, "y", {k: v for k, v in GROUPS.items() if k != "u04"}),
        AlignmentError,
        "u04",
    ),
    "sigma_log": (lambda p: dynamics.sigma_convergence(p, "minus"), DataError, "u03 2012"),
    "beta_log": (lambda p: dynamics.beta_convergence(p, "zero"), DataError, "logarithm"),
    "beta_horizon": (
        lambda p: dynamics.beta_convergence(p, "y", horizon=4),
        SpecificationError,
        "between 1 and 3",
    ),
    "beta_weights": (
        lambda p: dynamics.beta_convergence(p, "y", spec=zb.dynamics.growth_spec(lag_y=True)),
        SpecificationError,
        "pass W",
    ),
    "beta_name": (
        lambda p: dynamics.beta_convergence(p, "y", spec=zb.dynamics.growth_spec(controls=["growth"])),
        SpecificationError,
        "growth",
    ),
}


@pytest.mark.parametrize(("call", "error", "words"), BAD.values(), ids=BAD)
def test_refusals(call, error, words):
    panel = panel_of(
        {
            "y": values(),
            "hole": values(c1_2=np.nan),
            "minus": values(c2_3=-1.0),
            "zero": np.zeros((4, 6)),
            "flat": np.ones((4, 6)),
            "growth": values(),
        }
    )
    with pytest.raises(error, match=words):
        call(panel)


def test_uneven_years_and_leftover_periods():
    y = values()
    with pytest.raises(SpecificationError, match="1, 3"):
        dynamics.beta_convergence(
            panel_of({"y": y}, [2000, 2001, 2002, 2005]),
            "y",
            spec=zb.dynamics.growth_spec(fixed_effects="none"),
        )
    with pytest.warns(zb.SpatialZbWarning, match="2013"):
        dynamics.beta_convergence(
            panel_of({"y": y}), "y", horizon=2, spec=zb.dynamics.growth_spec(fixed_effects="none")
        )


ELLIPSES = {
    "no_polygon": (lambda p, r: (p, r.drop(index="u01")), {}, AlignmentError, "u01"),
    "no_crs": (lambda p, r: (p, r.set_crs(None, allow_override=True)), {}, DataError, "EPSG:4490"),
    "degrees": (lambda p, r: (p, r), {"crs": "EPSG:4326"}, DataError, "metres"),
    "negative": (lambda p, r: (panel_of({"y": -p.array("y")}), r), {}, DataError, "u00 2010"),
}


@pytest.mark.parametrize(("change", "options", "error", "words"), ELLIPSES.values(), ids=ELLIPSES)
def test_refusals_of_ellipses(change, options, error, words):
    panel = panel_of({"y": values()})
    regions = squares(np.array([[500 + 10 * i, 3300 + i**2] for i in range(6)]), panel.units)
    panel, regions = change(panel, regions)
    with pytest.raises(error, match=words):
        dynamics.deviation_ellipses(panel, "y", regions, **options)


def test_a_group_called_all_is_not_taken_for_all_units():
    panel = Panel(np.exp(np.arange(8.0)).reshape(2, 4, 1), (1, 2), pd.Index(list("abcd")), ("v",))
    with pytest.raises(SpecificationError, match="'all'"):
        dynamics.sigma_convergence(panel, "v", dict.fromkeys("ab", "all") | dict.fromkeys("cd", "rest"))


@pytest.mark.parametrize(
    ("groups", "error"),
    [(None, SpecificationError), (pd.Series(list("ggh"), index=list("aab")), AlignmentError)],
)
def test_groups_that_are_none_or_name_a_unit_twice_are_refused(groups, error):
    panel = Panel(np.ones((1, 2, 1)), (1,), pd.Index(list("ab")), ("v",))
    with pytest.raises(error, match="groups"):
        dynamics.theil_decomposition(panel, "v", groups)


def test_infinite_cells_are_named():
    panel = Panel([[[1.0], [np.inf]]], (2019,), pd.Index(list("ab")), ("v",))
    with pytest.raises(DataError, match="infinite at b 2019"):
        dynamics.kernel_densities(panel, "v")
