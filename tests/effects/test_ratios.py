"""Effects are ratios: what is said of them near the end of the admissible region, and by which spread."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import optimize, stats
from small_examples import MUTUAL, cities, lopsided_circle, ring_with_chords

import spatial_zb as zb
from spatial_zb.core.likelihood.impacts import fieller_limits
from spatial_zb.effects.table import MOST_OUTSIDE, REACH, simulated_columns
from spatial_zb.models.system.spec import Equation, SystemSpec

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")

DELTA_METHOD = 1e-6  # derivatives of denominators are central differences


def sdm(rho: float, T: int = 6, n: int = 20, rng: int = 1):
    W = ring_with_chords(n)
    panel = zb.simulate.durbin(W, T, {"x": 1.0}, theta={"x": 0.5}, rho=rho, rng=rng)
    return zb.fit_durbin(zb.DurbinSpec("y", ["x"]), panel, W)


def mutual_system() -> SystemSpec:
    return SystemSpec(
        {
            "industry": Equation("ind", ["tal"], ["a", "b"]),
            "talent": Equation("tal", ["ind"], ["c", "b"]),
        },
        "two_way",
    )


@pytest.fixture(scope="module")
def near():
    """A fit whose 95 % interval of ρ reaches one."""
    fit = sdm(0.9, T=3)
    assert fit.converged
    assert fit.params["rho"] + REACH * fit.bse["rho"] > 1
    return fit


@pytest.fixture(scope="module")
def far():
    return sdm(0.4, T=10)


# --- Fieller


def test_the_set_is_that_of_a_test_of_the_numerator_by_search(far):
    """{c : |(β + θ) − c(1 − ρ)| ≤ q·se}, its ends found by bisection, no formula of ours in between."""
    table = zb.spatial_effects(far, "fieller").tidy().set_index("effect")
    beta, theta, rho = far.params[["x", "W_x", "rho"]]
    V = far.cov.loc[["x", "W_x", "rho"], ["x", "W_x", "rho"]].to_numpy()

    def rejected(c: float) -> float:
        g = np.array([1.0, 1.0, c])  # of β + θ − c(1 − ρ)
        return abs(beta + theta - c * (1 - rho)) / np.sqrt(g @ V @ g) - REACH

    total = (beta + theta) / (1 - rho)
    low, high = (optimize.brentq(rejected, total, total + side * 20) for side in (-1, 1))
    assert table.loc["total", ["conf_low", "conf_high"]].tolist() == pytest.approx([low, high], rel=1e-9)
    at_zero = rejected(0.0) + REACH
    assert table.loc["total", "statistic"] == pytest.approx(at_zero)
    assert table.loc["total", "p_value"] == pytest.approx(2 * stats.norm.sf(at_zero))
    assert table["std_error"].isna().all()


@pytest.mark.parametrize("seed", range(6))
def test_every_kind_of_set_holds_what_the_test_holds(seed):
    """Bounded, in two parts, and the whole line, against the inequality itself on a grid."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(2, 2)) * (0.3 if seed < 2 else 1.0)
    own, cross, of_log = a[0] @ a[0], a[0] @ a[1], a[1] @ a[1]
    point = rng.normal()
    limits, gaps = fieller_limits(*np.array([[point], [own], [cross], [of_log]]), 1.96)
    c = np.linspace(-300, 300, 200_001)
    u = point - c
    inside = u**2 <= 1.96**2 * (own + 2 * u * cross + u**2 * of_log)
    said = (c >= limits[0, 0]) & (c <= limits[0, 1])
    if np.isfinite(gaps).all():
        said &= ~((c > gaps[0, 0]) & (c < gaps[0, 1]))
    assert (said == inside).all()
    assert np.isinf(limits).any() == (1.96**2 * of_log >= 1)


def test_without_a_spatial_lag_limits_are_those_of_the_delta_method():
    W = ring_with_chords(20)
    panel = zb.simulate.durbin(W, 5, {"x": 1.0}, theta={"x": 0.5}, rng=1)
    for spec in (
        zb.DurbinSpec("y", ["x"], lag_y=False),
        zb.DurbinSpec("y", ["x"], lag_y=False, lag_error=True),
    ):
        fit = zb.fit_durbin(spec, panel, W)
        delta, ratio = (zb.spatial_effects(fit, m).columns for m in ("delta", "fieller"))
        assert ratio[:, 2:] == pytest.approx(delta[:, 2:])


def test_limits_are_those_of_the_delta_method_where_the_denominator_is_certain(far):
    from dataclasses import replace

    sure = replace(far, cov=far.cov * 1e-8)
    delta, ratio = (zb.spatial_effects(sure, m).columns for m in ("delta", "fieller"))
    assert ratio[:, 4:] == pytest.approx(delta[:, 4:], rel=1e-6)


def test_a_set_without_bounds_says_so(near):
    found = zb.spatial_effects(near, "fieller")
    table = found.tidy().set_index("effect")
    assert found.reason is None
    assert table.loc["total", ["conf_low", "conf_high"]].tolist() == [-np.inf, np.inf]
    # zero is left out of the set exactly where it is rejected
    gap = table[["gap_low", "gap_high"]]
    holds_zero = ~((gap["gap_low"] < 0) & (gap["gap_high"] > 0))
    unbounded = np.isinf(table["conf_low"])
    assert ((table["p_value"] > 0.05) == holds_zero)[unbounded].all()


def test_the_long_run_has_limits_of_its_ratio():
    W = ring_with_chords(12)
    panel = zb.simulate.durbin(W, 20, {"x": 1.0}, theta={"x": 0.5}, rho=0.2, tau=0.3, eta=0.0, rng=1)
    spec = zb.DurbinSpec("y", ["x"], time_lag=True, lag_time_lag=True)
    fit = zb.fit_durbin(spec, panel, W)
    table = zb.spatial_effects(fit, "fieller", horizon="long").tidy().set_index("effect")
    names = ["x", "W_x", "tau", "eta", "rho"]
    beta, theta, *carried = fit.params[names]
    V, d = fit.cov.loc[names, names].to_numpy(), 1 - sum(carried)
    for end in table.loc["total", ["conf_low", "conf_high"]]:
        g = np.array([1.0, 1.0, end, end, end])
        assert abs(beta + theta - end * d) / np.sqrt(g @ V @ g) == pytest.approx(REACH, rel=DELTA_METHOD)
    path = zb.effects_path(fit, 60, method="fieller").tidy().query("period == 60").set_index("effect")
    for column in ("conf_low", "conf_high"):
        assert path[column].to_numpy() == pytest.approx(table[column].to_numpy(), rel=1e-4)
    now = zb.effects_path(fit, 0, method="fieller").tidy().set_index("effect")
    short = zb.spatial_effects(fit, "fieller").tidy().set_index("effect")
    assert now["conf_high"].to_numpy() == pytest.approx(short["conf_high"].to_numpy(), rel=1e-4)
    with pytest.raises(zb.SpecificationError, match="permanent"):
        zb.effects_path(fit, change="one_off", method="fieller")


def test_fieller_limits_of_regimes_are_those_of_one_model_where_regimes_share_everything():
    """One ρ for both and equal x: the total on all units is a ratio over 1 − ρ, whose test the ends just pass."""
    W, panel = _two_kinds()
    spec = zb.DurbinSpec("y", ["x"], lag_x=[], regimes="core", common=["rho", "x"], fixed_effects="unit")
    fit = zb.fit_durbin(spec, panel, W)
    alone = zb.fit_durbin(zb.DurbinSpec("y", ["x"], lag_x=[], fixed_effects="unit"), panel, W)
    found = zb.spatial_effects(fit, "fieller").tidy().set_index(["term", "effect"])
    rho, beta = fit.params["rho"], fit.params["x"]
    assert rho == pytest.approx(alone.params["rho"], abs=1e-5)
    V = fit.cov.loc[["x", "rho"], ["x", "rho"]].to_numpy()
    for end in found.loc[("x", "total"), ["conf_low", "conf_high"]]:
        g = np.array([1.0, end])
        assert abs(beta - end * (1 - rho)) / np.sqrt(g @ V @ g) == pytest.approx(REACH, rel=DELTA_METHOD)
    delta = zb.spatial_effects(fit).tidy().set_index(["term", "effect"])
    skew = found["conf_high"] - found["estimate"] - (found["estimate"] - found["conf_low"])
    assert skew[("x", "total")] > 0
    assert delta["std_error"].notna().all()


def _two_kinds() -> tuple[zb.Weights, zb.Panel]:
    W = ring_with_chords(30)
    rng, T = np.random.default_rng(2), 6
    x, u = rng.standard_normal((2, T, W.n))
    y = np.linalg.solve(np.eye(W.n) - 0.6 * W.matrix.toarray(), (x + u).T).T
    core = np.broadcast_to(np.arange(W.n) % 2, (T, W.n))
    return W, zb.Panel(np.stack([y, x, core], axis=2), tuple(range(T)), W.ids, ("y", "x", "core"))


def test_the_sets_of_a_system_are_those_of_a_test_by_dense_differences():
    """|E·d − c·d| is REACH standard errors at both ends, d the determinant (direct: harmonic mean of determinants)."""
    W, spec = lopsided_circle(20), mutual_system()
    fit = zb.fit_system(spec, zb.simulate.system(spec, W, 8, MUTUAL, rng=1), W, "fiml")
    table = zb.spatial_effects(fit, "fieller").tidy().set_index(["response", "source", "effect"])
    dense = W.matrix.toarray()
    omega = np.linalg.eigvals(dense)
    keys = list(fit.params.index)

    def numbers(values: np.ndarray, effect: str) -> tuple[float, float]:
        """E of a on talent, and d."""
        at = dict(zip(keys, values, strict=True))
        gamma = np.array([[1, -at["industry", "tal"]], [-at["talent", "ind"], 1]])
        psi = np.diag([at["industry", "W_ind"], at["talent", "W_tal"]])
        psi[0, 1] = at.get(("industry", "W_tal"), 0.0)
        psi[1, 0] = at.get(("talent", "W_ind"), 0.0)
        whole = np.linalg.inv(np.kron(gamma, np.eye(20)) - np.kron(psi, dense))[20:, :20]
        E = at["industry", "a"] * whole + at.get(("industry", "W_a"), 0.0) * whole @ dense
        direct, total = np.trace(E) / 20, E.sum() / 20
        dets = [np.linalg.det(gamma - w * psi) for w in omega]
        if effect == "direct":
            return direct, 1 / np.real(np.mean([1 / d for d in dets]))
        return (total if effect == "total" else total - direct), float(np.linalg.det(gamma - psi))

    values, V = fit.params.to_numpy(), fit.cov.to_numpy()
    for effect in ("direct", "indirect", "total"):
        row = table.loc[("talent", "a", effect)]
        assert row["estimate"] == pytest.approx(numbers(values, effect)[0])
        for c in row[["conf_low", "conf_high"]]:
            found = [
                np.subtract(
                    *[(e - c) * d for e, d in (numbers(values + h, effect), numbers(values - h, effect))]
                )
                / 2e-6
                for h in 1e-6 * np.eye(len(values))
            ]
            E, d = numbers(values, effect)
            assert abs(E - c) * d / np.sqrt(np.array(found) @ V @ found) == pytest.approx(REACH, rel=1e-5)


# --- draws


def test_a_spread_of_draws_is_not_moved_by_one_of_them():
    """FINDINGS A5: the standard deviation was 16.8 with one seed and 82.4 with another."""
    rng = np.random.default_rng(1)
    draws = rng.normal(2.0, 1.0, (4000, 1))
    before = simulated_columns(np.array([2.0]), draws, 0.05)
    draws[0] = 1e9
    after = simulated_columns(np.array([2.0]), draws, 0.05)
    assert after[0, 1] == pytest.approx(before[0, 1], rel=1e-3)
    assert before[0, 1] == pytest.approx(1.0, rel=0.05)


def test_statistic_p_and_interval_of_draws_say_the_same():
    """No row has |statistic| < 1.5 beside p < 0.05, however skewed the draws are."""
    rng = np.random.default_rng(2)
    top = rng.normal(1.0, 0.3, (2000, 40)) + np.linspace(-1, 1, 40)
    draws = top / np.abs(rng.normal(1.0, 0.4, (2000, 40)))
    columns = simulated_columns(np.median(draws, axis=0), draws, 0.05)
    statistic, p, low, high = columns[:, 2:].T
    assert p == pytest.approx(2 * stats.norm.sf(np.abs(statistic)))
    assert not ((np.abs(statistic) < 1.5) & (p < 0.05)).any()
    assert (np.abs((p < 0.05).astype(int) - ((low > 0) | (high < 0))) <= (np.abs(p - 0.05) < 0.002)).all()
    smaller = np.minimum((draws <= 0).sum(axis=0), (draws >= 0).sum(axis=0))
    assert p == pytest.approx(np.minimum(1, 2 * (1 + smaller) / 2001))


def contradictions(table) -> list[str]:
    """Rows that are significant by p and not by their statistic, or whose interval says otherwise than p."""
    clear = (table["conf_low"] > 0) | (table["conf_high"] < 0)
    small = (table["statistic"].abs() < 1.5) & (table["p_value"] < 0.05)
    other = (table["p_value"] < 0.05) != clear
    return list(table["effect"][small | (other & ((table["p_value"] - 0.05).abs() > 0.002))])


@pytest.mark.parametrize("sample", ["delta", "zhejiang"])
def test_simulated_effects_of_real_panels_do_not_contradict_themselves(sample):
    """FINDINGS A5 had p < 0.05 beside |statistic| < 1.5. Rows are there, some of them significant in the delta."""
    panel, W = cities(sample)
    for covariance in ("information", "cluster"):
        spec = zb.DurbinSpec("industry", ["talent", "ln_pgdp"])
        fit = zb.fit_durbin(spec, panel, W, covariance=covariance)
        table = zb.spatial_effects(fit, "simulate", draws=1000, rng=1).tidy()
        assert table[["estimate", "std_error", "p_value", "conf_low"]].notna().all(axis=None)
        assert contradictions(table) == []
        assert (table["p_value"] < 0.05).any() == (sample == "delta")
        wrong = table.assign(statistic=1.2, p_value=0.01)
        assert len(contradictions(wrong)) == len(table)  # the check sees it


def test_draws_outside_are_part_of_the_result(near, far):
    found = zb.spatial_effects(near, "simulate", draws=500, rng=1)
    assert found.glance()["outside"].iloc[0] == found.detail["rejected"] / 500 > MOST_OUTSIDE
    assert np.isnan(found.columns).all()
    assert "reaches 1.000" in found.glance()["reason"].iloc[0]
    inside = zb.spatial_effects(far, "simulate", draws=500, rng=1).glance()
    assert inside["outside"].iloc[0] == 0
    assert "reason" not in inside


# --- no effects


def test_an_interval_that_reaches_one_leaves_effects_blank(near, far):
    with pytest.warns(zb.SpatialZbWarning, match=r'reaches 1\.000.*method="fieller"'):
        found = zb.spatial_effects(near)
    assert np.isnan(found.columns).all()
    assert found.tidy()["reason"].str.contains("reaches 1.000", regex=False).all()
    assert "触及1.000" in found.reason.text.zh
    assert "reason" not in zb.spatial_effects(far).tidy()
    for ask in (
        lambda: zb.effects_by_unit(near, "x"),
        lambda: zb.effect_matrix(near, "x"),
        lambda: zb.effects_by_order(near),
    ):
        with pytest.raises(zb.ConvergenceError, match=r"reaches 1\.000"):
            ask()


# --- simulation


def coverage(rho: float, T: int, panels: int) -> dict[str, float]:
    """Shares of panels of 20 units whose limits hold the true total effect; a blank one holds nothing."""
    true = 1.5 / (1 - rho)
    held = {"fieller": [], "delta": []}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        for seed in range(panels):
            fit = sdm(rho, T, rng=seed)
            for method, found in held.items():
                low, high = (
                    zb.spatial_effects(fit, method).columns[2, 4:] if fit.converged else (np.nan, np.nan)
                )
                found.append(low <= true <= high if np.isfinite(fit.bse["rho"]) else np.nan)
    return {method: float(np.nanmean(found)) for method, found in held.items()}


def test_fieller_limits_hold_the_truth_in_a_small_cell():
    assert coverage(0.6, 4, 40)["fieller"] >= 0.87


@pytest.mark.slow
@pytest.mark.parametrize(("rho", "T"), [(0.6, 4), (0.85, 4), (0.85, 8)])
def test_fieller_limits_keep_their_level_next_to_one(rho, T):
    """300 panels know a share to ± 2.5 points; estimates of ρ are low where n·T is small."""
    assert 0.91 <= coverage(rho, T, 300)["fieller"] <= 0.99


def test_draws_of_few_clusters_are_of_t():
    """11 units: limits of a total as wide as by the delta method with its degrees of freedom, errors as large."""
    found = zb.example("delta")
    units = (
        found.regions.index[found.regions["prov"] == "浙江省"]
        if "prov" in found.regions
        else found.W.ids[:11]
    )
    panel = found.panel.select(units=list(units)[:11])
    W = found.W.subset(panel.units)
    spec = zb.DurbinSpec("industry", ["talent"], lag_y=False)
    fit = zb.fit_durbin(spec, panel, W, covariance="cluster")
    drawn = zb.spatial_effects(fit, "simulate", draws=40_000, rng=1).tidy().set_index(["term", "effect"])
    delta = zb.spatial_effects(fit).tidy().set_index(["term", "effect"])
    fewest = float(fit.tidy()["df"].min())
    for effect in ("direct", "indirect", "total"):
        row, same = drawn.loc[("talent", effect)], delta.loc[("talent", effect)]
        assert row["std_error"] == pytest.approx(same["std_error"], rel=0.03)
        half = (row["conf_high"] - row["conf_low"]) / 2
        assert half == pytest.approx(stats.t(fewest).ppf(0.975) * same["std_error"], rel=0.05)
