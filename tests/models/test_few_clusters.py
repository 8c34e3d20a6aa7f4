"""Few clusters: CR2 and its degrees of freedom through fits, effects, tables and notes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from small_examples import directed_knn

import spatial_zb as zb
from spatial_zb.models.notes import correlated_over_time
from spatial_zb.simulate import durbin as simulate_durbin

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
#: Errors of ρ by maximum likelihood and by the robust score, degrees of freedom of ρ and of the direct effect of the first
#: regressor by maximum likelihood: all by independent dense code.
KNOWN = {
    ("delta", "industry"): (0.1169, 0.1095, 26.0, 15.6),
    ("delta", "talent"): (0.0850, 0.0849, 23.8, 19.1),
    ("zhejiang", "industry"): (0.3974, 0.3691, 6.9, 6.8),
    ("zhejiang", "talent"): (0.3495, 0.2452, 6.2, 5.7),
}


@pytest.mark.parametrize(("sample", "y"), KNOWN)
def test_errors_on_the_real_cities_are_those_of_independent_code(real_cities, sample, y):
    x = [{"industry": "talent", "talent": "industry"}[y], "ln_pgdp"]
    spec = zb.DurbinSpec(y, x, fixed_effects="two_way")
    panel, W = real_cities[sample]
    fit = zb.fit_durbin(spec, panel, W, covariance="cluster")
    error, robust, df, direct = KNOWN[sample, y]
    assert zb.fit_durbin(spec, panel, W, "robust_score").bse["rho"] == pytest.approx(robust, abs=5e-5)
    row = fit.tidy().set_index("term").loc["rho"]
    assert row["std_error"] == pytest.approx(error, abs=5e-5)
    assert row["df"] == pytest.approx(df, abs=0.05)
    effect = zb.spatial_effects(fit).tidy().iloc[0]
    assert effect["df"] == pytest.approx(direct, abs=0.05)


def example(n: int = 12, T: int = 5, seed: int = 1):
    W = directed_knn(n, seed=5)
    return W, simulate_durbin(W, T, {"a": 1.0, "b": -0.5}, theta={"a": 0.4}, rho=0.3, rng=seed)


def fitted(W, panel, covariance="cluster", estimator="lee_yu", **more):
    spec = zb.DurbinSpec("y", ["a", "b"], **({"fixed_effects": "two_way"} | more))
    return zb.fit_durbin(spec, panel, W, estimator, covariance)


def test_fewer_than_fifty_units_have_cr2_and_more_cr1():
    few, many = (fitted(*example(n)) for n in (12, 50))
    assert few.clusters is not None
    assert few.cov.equals(fitted(*example(12), "cr2").cov)
    assert many.clusters is None
    assert many.cov.equals(fitted(*example(50), "cr1").cov)
    assert (many.tidy()["df"] == 49).all()
    assert many.glance()["df_max"].item() == 49
    assert few.glance()["df_min"].item() < few.glance()["df_max"].item() < 11
    assert "df" not in fitted(*example(), "information").tidy()


def test_units_and_scales_do_not_matter():
    W, panel = example()
    ours = fitted(W, panel).tidy().set_index("term")
    order = np.random.default_rng(0).permutation(panel.units)
    moved = fitted(W, panel.select(units=list(order))).tidy().set_index("term")
    pd.testing.assert_frame_equal(ours, moved, rtol=1e-6)
    large = panel.with_columns({"a": 1e6 * panel.array("a")})
    scaled = fitted(W, large).tidy().set_index("term")
    assert scaled["df"].to_numpy() == pytest.approx(ours["df"].to_numpy(), rel=1e-6)
    assert scaled["statistic"].to_numpy() == pytest.approx(ours["statistic"].to_numpy(), rel=1e-5)


@pytest.mark.parametrize(
    "family", [{"lag_y": False}, {"lag_y": False, "lag_error": True}, {"lag_error": True}]
)
def test_degrees_follow_the_gradient_of_every_function(family):
    """One coefficient is a gradient of one; effects without ρ are coefficients."""
    fit = fitted(*example(20), **family)
    table = fit.tidy().set_index("term")
    assert table["p_value"].notna().all()
    if fit.spec.lag_y:
        return
    effects = zb.spatial_effects(fit).tidy().set_index(["term", "effect"])
    for x in ("a", "b"):
        assert effects.loc[(x, "direct"), "df"] == pytest.approx(table.loc[x, "df"])
        for column in ("p_value", "conf_low", "conf_high"):
            assert effects.loc[(x, "direct"), column] == pytest.approx(table.loc[x, column])


def test_other_functions_of_the_fit_take_the_same_degrees():
    W, panel = example()
    fit = fitted(W, panel)
    effects = zb.spatial_effects(fit).tidy().set_index(["term", "effect"])
    orders = zb.effects_by_order(fit, 60).set_index(["term", "effect", "order"])
    for place, row in effects.iterrows():
        last = orders.loc[(*place, 60)]
        assert last["cumulative_df"] == pytest.approx(row["df"], rel=1e-6)
        assert last["cumulative_conf_high"] == pytest.approx(row["conf_high"], rel=1e-6)
    squares = panel.with_columns({"a2": panel.array("a") ** 2})
    curved = zb.fit_durbin(zb.DurbinSpec("y", ["a", "a2"], lag_x=[]), squares, W, covariance="cluster")
    at_zero = zb.marginal_effects(curved, "a", "a", "a2", at=[0.0]).tidy().iloc[0]
    coefficient = curved.tidy().set_index("term").loc["a"]
    assert at_zero["df"] == pytest.approx(coefficient["df"])
    assert at_zero["p_value"] == pytest.approx(coefficient["p_value"])
    shape = zb.u_shape_test(curved, "a", "a2", data_range=(0.0, 1.0))
    assert shape.p_value >= at_zero["p_value"] / 2 - 1e-12


def test_least_squares_needs_no_factor_under_cr2():
    """For one regressor and equal clusters CR2 is known in closed form: the variance of unit means, of the mean."""
    n, T = 8, 3
    y = np.random.default_rng(0).normal(size=(T, n))
    panel = zb.Panel(y[..., None], tuple(range(T)), [f"u{i}" for i in range(n)], ["y"])
    W = directed_knn(n, seed=5)
    W = zb.as_weights(W.matrix.toarray(), panel.units)
    fit = zb.fit_durbin(
        zb.DurbinSpec("y", [], lag_y=False, fixed_effects="none"), panel, W, covariance="cluster"
    )
    row = fit.tidy().set_index("term").loc["(Intercept)"]
    assert row["std_error"] == pytest.approx(y.mean(axis=0).std(ddof=1) / np.sqrt(n))
    assert row["df"] == pytest.approx(n - 1)


def test_instruments_have_clusters_of_their_fitted_regressors():
    """CR2 of two-stage least squares by loops over units, on the forward deviations of the fit."""
    from spatial_zb.models.gmm_sample import gmm_sample

    W, panel = example()
    fit = fitted(W, panel, estimator="gmm", fixed_effects="unit")
    plain = fitted(W, panel, "cr1", "gmm", fixed_effects="unit")
    sample = gmm_sample(fit.design, 2)
    T, n = sample.shape
    Q = sample.instruments.basis
    X = Q @ (Q.T @ sample.Z)
    e = sample.y - sample.Z @ fit.params.to_numpy()[:-1]
    bread, V = np.linalg.inv(X.T @ X), np.linalg.qr(X)[0]
    by_unit = np.arange(T * n).reshape(T, n).T
    meat, lines = np.zeros_like(bread), []
    for rows in by_unit:
        block = np.eye(T) - V[rows] @ V[rows].T
        values, vectors = np.linalg.eigh(block)
        root = vectors @ np.diag(values**-0.5) @ vectors.T
        score = X[rows].T @ root @ e[rows]
        meat += np.outer(score, score)
        whole = np.zeros((T * n, T))
        whole[rows] = root
        lines.append((whole - V @ (V.T @ whole)) @ X[rows] @ bread)
    assert fit.cov.to_numpy()[:-1, :-1] == pytest.approx(bread @ meat @ bread, rel=1e-8)
    gamma = np.array([line[:, 0] for line in lines]) @ np.array([line[:, 0] for line in lines]).T
    assert fit.tidy()["df"][0] == pytest.approx(np.trace(gamma) ** 2 / np.sum(gamma**2))
    assert fit.bse["a"] > plain.bse["a"] * 0.9
    assert (plain.tidy()["df"] == n - 1).all()


def test_regimes_that_are_one_model_have_its_errors():
    """OLS by regimes without effects of periods: two samples with nothing in common, each with its own clusters."""
    W, panel = example(14)
    half = (np.arange(14) % 2).astype(float)
    panel = panel.with_columns({"core": np.tile(half, (5, 1))})
    both = (
        fitted(W, panel, lag_y=False, lag_x=[], fixed_effects="unit", regimes="core").tidy().set_index("term")
    )
    other = panel.select(units=list(panel.units[half == 1]))
    W1 = zb.as_weights(directed_knn(7, seed=5).matrix.toarray(), other.units)
    alone = fitted(W1, other, lag_y=False, lag_x=[], fixed_effects="unit").tidy().set_index("term")
    for x in ("a", "b"):
        for column in ("std_error", "df", "p_value"):
            assert both.loc[f"{x}[core=1]", column] == pytest.approx(alone.loc[x, column])


def test_tables_name_the_degrees_and_notes_the_units_that_decide():
    W, panel = example()
    fits = [("one", fitted(W, panel)), ("two", fitted(*example(60)))]
    for table in (
        zb.tables.regression_table(fits),
        zb.tables.effects_table([(name, zb.spatial_effects(fit)) for name, fit in fits]),
    ):
        assert "Bell and McCaffrey" in table.notes[0].en
        assert "(2) 59" in table.notes[0].en
        assert "自由度" in table.notes[0].zh
    lonely = panel.array("b") * 1e-3
    lonely[:, [2, 7]] = 40 * panel.array("b")[:, [2, 7]]
    with pytest.warns(zb.SpatialZbWarning, match=r"few degrees of freedom for .*b \("):
        fitted(W, panel.with_columns({"b": lonely}), lag_x=["a"])
    lonely[:, np.arange(12) != 2] = 0.0
    with pytest.warns(zb.SpatialZbWarning, match="b rests on single units alone"):
        fit = fitted(W, panel.with_columns({"b": lonely}), lag_x=["a"])
    row = fit.tidy().set_index("term").loc["b"]
    assert np.isnan([row["p_value"], row["std_error"], row["conf_low"]]).all()


class RandomSample:
    """Random effects at the estimate, dense; parameters are (β, ρ, λ, φ, σ²), λ in both errors (KKP)."""

    def __init__(self, fit):
        self.W, self.y = fit.weights.matrix.toarray(), fit.panel.array("y")
        self.T, self.n = self.y.shape
        ones = np.ones_like(self.y)
        self.Z = np.stack([ones, fit.panel.array("a"), fit.panel.array("b")], axis=-1)
        get = fit.params.get
        self.p = np.array([*fit.params[:3], get("rho", 0.0), get("lam", 0.0), get("phi"), get("sigma2")])
        self.free = [0, 1, 2, *([3] if fit.spec.lag_y else []), *([4] if fit.spec.lag_error else []), 5, 6]

    def filters(self, p):
        return np.eye(self.n) - p[3] * self.W, np.eye(self.n) - p[4] * self.W

    def log_likelihood(self, p):
        S, B = self.filters(p)
        v = (self.y @ S.T - self.Z @ p[:3]) @ B.T
        omega = p[6] * (np.eye(self.T) + p[5])
        square = sum(v[:, i] @ np.linalg.solve(omega, v[:, i]) for i in range(self.n))
        logdets = self.T * (np.linalg.slogdet(S)[1] + np.linalg.slogdet(B)[1])
        return logdets - self.n / 2 * np.linalg.slogdet(omega)[1] - square / 2

    def bread(self):
        steps = np.diag(1e-4 * np.maximum(np.abs(self.p), 0.1))
        pairs = [(i, j) for i in self.free for j in self.free]
        f = self.log_likelihood
        found = [
            sum(s * r * f(self.p + s * steps[i] + r * steps[j]) for s in (1, -1) for r in (1, -1))
            / (4 * steps[i, i] * steps[j, j])
            for i, j in pairs
        ]
        return np.linalg.inv(-np.reshape(found, (len(self.free), -1)))

    def meat(self, few):
        T, n, (phi, s2) = self.T, self.n, self.p[5:]
        S, B = self.filters(self.p)
        G, H = (self.W @ np.linalg.inv(F) for F in (S, B))
        values, vectors = np.linalg.eigh(np.eye(T) + phi)
        root = vectors @ np.diag(values**-0.5) @ vectors.T
        e = root @ (self.y @ S.T - self.Z @ self.p[:3]) @ B.T
        slopes = [root @ self.Z[:, :, k] @ B.T for k in range(3)]
        slopes += [root @ (self.Z @ self.p[:3]) @ G.T @ B.T] * (3 in self.free)
        if few:
            X = np.stack([slope.T.ravel() for slope in slopes], axis=1)
            M = np.eye(n * T) - X @ np.linalg.solve(X.T @ X, X.T)
            for i in range(n):
                at = slice(i * T, (i + 1) * T)
                sizes, axes = np.linalg.eigh(M[at, at])
                e[:, i] = axes @ np.diag(sizes**-0.5) @ axes.T @ e[:, i]
        sums, meat = np.zeros((n, 7)), np.zeros((7, 7))
        shares = [np.trace(P) / n * few for P in (G, H)]
        mean = (e**2).sum(axis=0).mean() / s2
        for i in range(n):
            square = e[:, i] @ e[:, i] / s2
            about = square - (mean if few else T)
            linear = [slope[:, i] @ e[:, i] / s2 for slope in slopes]
            sums[i, : len(linear)] = linear
            for c, (P, share) in enumerate(zip((G, H), shares, strict=True)):
                sums[i, 3 + c] += (P[i, i] - share) * (square if few else about) + share * about
            sums[i, 5] = T / (2 * (1 + T * phi)) * e[:, i].mean() ** 2 * T / s2
            sums[i, 6] = about / (2 * s2)
            for j in range(i):
                q = np.zeros(7)
                q[3:5] = [(P[i, j] + P[j, i]) * (e[:, i] @ e[:, j]) / s2 for P in (G, H)]
                meat += np.outer(q, q)
        sums[:, 5] -= sums[:, 5].mean()
        if not few:
            sums -= sums.mean(axis=0)
        return (meat + sums.T @ sums) * (1 if few else n / (n - 1))


@pytest.mark.parametrize("lag_error", [False, True])
def test_random_effects_have_the_errors_of_loops(lag_error):
    W, panel = example(9, 4, seed=3)
    level = np.random.default_rng(1).normal(size=9)
    S = np.eye(9) - 0.3 * W.matrix.toarray()
    panel = panel.with_columns({"y": panel.array("y") + np.linalg.solve(S, level)})
    more = {"fixed_effects": "random", "lag_x": [], "lag_error": lag_error, "error_structure": "kkp"}
    for kind in ("cr1", "cluster"):
        fit = fitted(W, panel, kind, **more)
        assert fit.params["phi"] > 0.1
        dense = RandomSample(fit)
        middle = dense.meat(kind == "cluster")[np.ix_(dense.free, dense.free)]
        expected = dense.bread() @ middle @ dense.bread()
        assert fit.bse.to_numpy() == pytest.approx(np.sqrt(np.diag(expected)), rel=2e-3)
        df = fit.tidy()["df"].to_numpy()
        assert (df == 8).all() if kind == "cr1" else (df[: 3 + 1] < 8).all()


def test_random_effects_that_do_not_spread_with_the_errors_have_no_clusters():
    W, panel = example()
    with pytest.raises(zb.SpecificationError, match='"kkp"'):
        fitted(W, panel, fixed_effects="random", lag_error=True)


def covered_by_guidance(real, y: str, panels: int) -> dict[str, float]:
    """study_het of the review: the delta's own fit, each city's residuals with a random sign; what the fit names is read."""
    panel, W = real["delta"]
    x = ["talent" if y == "industry" else "industry", "ln_pgdp"]
    spec = zb.DurbinSpec(y, x)
    fit = zb.fit_durbin(spec, panel, W)
    A, p = W.matrix.toarray(), fit.params
    S = np.eye(len(A)) - p["rho"] * A
    mean = sum(p[k] * panel.array(k) + p[f"W_{k}"] * panel.array(k) @ A.T for k in x)
    E = np.linalg.solve(S, p[x[0]] * np.eye(len(A)) + p[f"W_{x[0]}"] * A)
    direct = np.trace(E) / len(A)
    truth = {"rho": p["rho"], "direct": direct, "indirect": E.sum() / len(A) - direct}
    inside: dict[str, list[bool]] = {name: [] for name in truth}
    for k in range(panels):
        signs = np.random.default_rng([3, k]).choice([-1.0, 1.0], len(A))
        drawn = panel.with_columns({y: np.linalg.solve(S, (mean + fit.residuals * signs).T).T})
        found = zb.fit_durbin(spec, drawn, W)
        if any(note.kind is correlated_over_time for note in found.notes):
            found = zb.fit_durbin(spec, drawn, W, covariance="cluster")
        effects = zb.spatial_effects(found).tidy().query("term == @x[0]").set_index("effect")
        rows = {"rho": found.tidy().set_index("term").loc["rho"]} | {
            name: effects.loc[name] for name in ("direct", "indirect")
        }
        for name, row in rows.items():
            inside[name].append(row["conf_low"] <= truth[name] <= row["conf_high"])
    return {name: float(np.mean(held)) for name, held in inside.items()}


def test_what_the_fit_names_covers_the_delta_itself(real_cities):
    """25 panels: 95 % less three errors; the textbook errors cover 52 to 80 %."""
    assert min(covered_by_guidance(real_cities, "industry", 25).values()) >= 0.82


@pytest.mark.slow
@pytest.mark.parametrize("y", ["industry", "talent"])
def test_what_the_fit_names_covers_the_delta_itself_in_many_panels(real_cities, y):
    """400 panels: 94 to 97 %; two errors are 2.2 points."""
    assert all(0.92 <= held <= 0.985 for held in covered_by_guidance(real_cities, y, 400).values())
