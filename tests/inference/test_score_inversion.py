"""Median-unbiased ρ and λ: the law of the profile score, drawn and inverted."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pytest
from dense_oracle import helmert
from scipy import optimize, stats

import spatial_zb as zb
from spatial_zb.base.text import Text
from spatial_zb.core.laws import score as score_law
from spatial_zb.core.laws.nuisance import ErrorBesideLagLaw, LagBesideErrorLaw
from spatial_zb.core.laws.score import below_observed, one_coefficient_law
from spatial_zb.inference.bootstrap.static import generator_of
from spatial_zb.pipeline.stages.equations import median_note

DRAWS = 7
FAMILIES = {
    "SAR": {"lag_x": []},
    "SDM": {},
    "SEM": {"lag_x": [], "lag_y": False, "lag_error": True},
    "SDEM": {"lag_y": False, "lag_error": True},
}
#: Central differences of a smooth ln L with this step are right to about 1e-7 of its slope.
STEP, CLOSE = 1e-5, 2e-5
#: Standard errors by which a limit from 1,999 draws (0.06 each) may differ from that of large samples.
NOISE = 0.3


@cache
def weights(kind: str, n: int = 9) -> zb.Weights:
    """Distances of random places: all neighbours, or unequal links to the four nearest (complex eigenvalues)."""
    places = np.random.default_rng(4).random((n, 2))
    far = np.linalg.norm(places[:, None] - places, axis=2) + np.eye(n)
    links = 1 / far - np.eye(n)
    if kind == "nearest":
        near = np.argsort(np.argsort(far + 9 * np.eye(n), axis=1), axis=1) < 4
        links = near * np.random.default_rng(5).random((n, n))
    return zb.as_weights(links, ids=[f"u{i:02d}" for i in range(n)]).standardise("row")


def fitted(
    kind: str = "dense", seed: int = 1, T: int = 5, n: int = 9, change=None, **options
) -> zb.DurbinSpec:
    """A fit of simulated data; ``change`` turns y (T, n) into another."""
    W = weights(kind, n)
    truth = {
        "theta": {"a": 0.5},
        "rho": 0.3 * options.get("lag_y", True),
        "lam": 0.3 * options.get("lag_error", False),
    }
    panel = zb.simulate.durbin(W, T, {"a": 1.0, "b": -0.5}, rng=seed, **truth)
    if change is not None:
        panel = panel.with_columns({"y": change(panel.array("y"))})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        return zb.fit_durbin(zb.DurbinSpec("y", ["a", "b"], **options), panel, W)


class Dense:
    """Slow and independent: matrices of the size of the sample, ln L by least squares and determinants."""

    def __init__(self, fit) -> None:
        T, n = fit.design.y.shape
        effects = fit.spec.fixed_effects
        rows = helmert(T).T if effects in ("unit", "two_way") else np.eye(T)
        units = helmert(n).T if effects in ("time", "two_way") else np.eye(n)
        W = fit.weights.matrix.toarray()
        self.small, self.T = units @ W @ units.T, len(rows)
        self.off = np.kron(rows, units)  # from stacked periods
        self.W = np.kron(np.eye(len(rows)), self.small)
        X = fit.panel.array(list(fit.spec.regressors))
        columns = [
            X,
            np.stack([W @ X[t] for t in range(T)])[
                :, :, [fit.spec.regressors.index(x) for x in fit.spec.lag_x]
            ],
        ]
        if effects == "none":
            columns.insert(0, np.ones((T, n, 1)))
        self.Z = self.off @ np.concatenate(columns, axis=2).reshape(T * n, -1)
        self.y = self.off @ fit.panel.array("y").ravel()
        self.I = np.eye(len(self.y))

    def solved(self, rho: float, lam: float, y) -> tuple[np.ndarray, float]:
        """δ and SSR."""
        B = self.I - lam * self.W
        target, Z = B @ (y - rho * self.W @ y), B @ self.Z
        delta = np.linalg.lstsq(Z, target, rcond=None)[0]
        return delta, float(((target - Z @ delta) ** 2).sum())

    def value(self, rho: float, lam: float, y) -> float:
        determinants = sum(np.linalg.slogdet(np.eye(len(self.small)) - c * self.small)[1] for c in (rho, lam))
        return self.T * determinants - len(y) / 2 * np.log(self.solved(rho, lam, y)[1])

    def slope(self, place, c: float, y) -> float:
        return (self.value(*place(c + STEP), y) - self.value(*place(c - STEP), y)) / (2 * STEP)

    def drawn(self, rho: float, lam: float, errors) -> list[np.ndarray]:
        """Samples under estimates given ρ and λ, σ² unbiased."""
        delta, ssr = self.solved(rho, lam, self.y)
        sigma = np.sqrt(ssr / (len(self.y) - self.Z.shape[1]))
        A, B = self.I - rho * self.W, self.I - lam * self.W
        noise = [np.linalg.solve(B, sigma * self.off @ e.ravel()) for e in errors]
        return [np.linalg.solve(A, self.Z @ delta + u) for u in noise]


@pytest.mark.parametrize("engine", ["eigenvectors", "solves"])
@pytest.mark.parametrize("kind", ["dense", "nearest"])
@pytest.mark.parametrize("effects", ["none", "unit", "time", "two_way"])
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_the_slopes_of_the_likelihood_of_samples_drawn_under_the_value(
    family, effects, kind, engine, monkeypatch
):
    monkeypatch.setattr(score_law, "SPECTRAL_UNITS", 500 if engine == "eigenvectors" else 0)
    fit = fitted(kind, fixed_effects=effects, **FAMILIES[family])
    law = one_coefficient_law(generator_of(fit).model, fit.panel.array("y"), DRAWS, np.random.SeedSequence(3))
    assert law.dear == (engine == "solves")
    oracle, at = Dense(fit), np.array([-0.4, 0.2, 0.7])
    place = (lambda c: (c, 0.0)) if fit.spec.lag_y else (lambda c: (0.0, c))
    errors = np.concatenate(list(law.errors))
    observed, drawn = law.scores(at)
    for j, c in enumerate(at):
        assert observed[j] == pytest.approx(oracle.slope(place, c, oracle.y), rel=CLOSE, abs=CLOSE)
        expected = [oracle.slope(place, c, y) for y in oracle.drawn(*place(c), errors)]
        assert drawn[:, j] == pytest.approx(expected, rel=CLOSE, abs=CLOSE)


@pytest.mark.parametrize("term", ["rho", "lam"])
def test_with_both_lags_the_other_coefficient_is_at_its_best_for_data_and_draws(term):
    fit = fitted(lag_x=[], lag_error=True, fixed_effects="two_way")
    kind = {"rho": LagBesideErrorLaw, "lam": ErrorBesideLagLaw}[term]
    law = kind(generator_of(fit).model, fit.panel.array("y"), 3, np.random.SeedSequence(3))
    oracle, c = Dense(fit), 0.25

    def place(other: float, at: float = c) -> tuple[float, float]:
        return (at, other) if term == "rho" else (other, at)

    def best(y) -> float:
        grid = np.linspace(*law.bounds, 200)
        top = int(np.argmax([oracle.value(*place(v), y) for v in grid]))
        near = grid[max(top - 1, 0)], grid[min(top + 1, 199)]
        return optimize.minimize_scalar(
            lambda v: -oracle.value(*place(v), y), near, bounds=near, options={"xatol": 1e-10}
        ).x

    def slope(y) -> float:
        other = best(y)
        return oracle.slope(lambda at: place(other, at), c, y)

    errors = np.concatenate(list(law.errors))
    observed, drawn = law.scores(np.array([c]))
    assert observed[0] == pytest.approx(slope(oracle.y), rel=1e-3, abs=1e-3)
    samples = oracle.drawn(*place(best(oracle.y)), errors)
    assert drawn[:, 0] == pytest.approx([slope(y) for y in samples], rel=1e-3, abs=1e-3)


def shares_at_the_truth(family: str, panels: int) -> np.ndarray:
    """Share of draws below the score at the true value, of many simulated panels."""
    value, spec = 0.5, FAMILIES[family]
    W, found = weights("dense"), []
    truth = {"rho": value} if spec.get("lag_y", True) else {"lam": value}
    for seed in range(panels):
        panel = zb.simulate.durbin(W, 4, {"a": 1.0}, rng=seed, **truth)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", zb.SpatialZbWarning)
            fit = zb.fit_durbin(zb.DurbinSpec("y", ["a"], **spec), panel, W)
        seeds = np.random.SeedSequence([9, seed])
        law = one_coefficient_law(generator_of(fit).model, panel.array("y"), 99, seeds)
        found.append(below_observed(law, np.array([value]))[0])
    return np.array(found)


@pytest.mark.parametrize("family", ["SEM", "SAR"])
def test_the_score_at_the_truth_is_anywhere_in_its_law(family):
    """Uniform: exactly for λ, nearly for ρ. 400 panels: the 0.1 % point of Kolmogorov's distance is 0.097."""
    found = shares_at_the_truth(family, 400)
    assert stats.kstest(found + 0.005, "uniform").statistic < 0.097
    assert np.mean((found > 0.025) & (found < 0.975)) == pytest.approx(0.95, abs=0.035)  # three errors


def solved(fit, **options) -> dict:
    return zb.median_unbiased(fit, 199, rng=5, **options).tidy().set_index("term").to_dict("index")


@pytest.mark.parametrize("family", FAMILIES)
def test_units_of_y_and_fixed_effects_do_not_matter(family):
    """Exact: the same draws, and a score without units."""
    n, T = 9, 5
    move = np.arange(n) * 3.0 + np.arange(T)[:, None] ** 2

    def of(change):
        fit = fitted(change=change, **FAMILIES[family])
        term = fit.spec.spatial_terms[0]
        return np.array([solved(fit)[term][key] for key in ("estimate", "conf_low", "conf_high")])

    assert of(None) == pytest.approx(of(lambda y: 1e6 * y), abs=1e-6)
    assert of(None) == pytest.approx(of(lambda y: y + move), abs=1e-6)


def test_the_law_of_the_error_score_knows_neither_beta_nor_sigma():
    """y + Xγ has the same residuals: for λ nothing moves, to rounding."""
    plain = fitted(**FAMILIES["SEM"])
    X = plain.panel.array(["a", "b"])
    moved = fitted(change=lambda y: y + X @ np.array([5.0, -2.0]), **FAMILIES["SEM"])
    for key in ("estimate", "conf_low", "conf_high"):
        assert solved(plain)["lam"][key] == pytest.approx(solved(moved)["lam"][key], abs=1e-7)


@pytest.mark.parametrize("family", ["SDM", "SDEM"])
def test_the_other_coefficients_are_least_squares_given_rho_or_lambda(family):
    fit = fitted(**FAMILIES[family])
    result, oracle = zb.median_unbiased(fit, 99, rng=1), Dense(fit)
    spatial = {"rho": 0.0, "lam": 0.0} | {term: result.params[term] for term in fit.spec.spatial_terms}
    delta, ssr = oracle.solved(*spatial.values(), oracle.y)
    assert result.params.to_numpy()[: len(delta)] == pytest.approx(delta)
    assert result.params["sigma2"] == pytest.approx(ssr / len(oracle.y))


@pytest.mark.parametrize("family", FAMILIES)
def test_where_data_are_plenty_it_is_the_fit(family):
    fit = fitted("nearest", T=60, n=25, **FAMILIES[family])
    result = zb.median_unbiased(fit, 1999, rng=1)
    found = result.tidy()[["estimate", "conf_low", "conf_high"]].to_numpy()
    expected = np.column_stack([fit.params, fit.conf_int()])
    assert np.all(np.abs(found - expected) < NOISE * fit.bse.to_numpy()[:, None])
    effects, close = zb.spatial_effects(fit).tidy(), result.effects()
    for column in ("estimate", "conf_low", "conf_high"):
        assert np.all(np.abs(close[column] - effects[column]) < NOISE * effects["std_error"] + 1e-9)


def test_a_seed_gives_the_same_numbers():
    fit = fitted()
    one, other = (zb.median_unbiased(fit, 99, rng=3) for _ in range(2))
    assert one.tidy().equals(other.tidy())
    assert one.effects().equals(other.effects())


def at_an_end():
    """The likelihood rises to the end of the interval."""
    return next(fit for fit in (fitted(seed=s, T=3, lag_x=[]) for s in range(60)) if fit.convergence.at_bound)


def test_a_fit_without_a_maximum_has_an_estimate_or_says_that_it_is_an_end():
    fit = at_an_end()
    result = zb.median_unbiased(fit, 199, rng=1)
    row, (low, high) = result.tidy().set_index("term").loc["rho"], fit.weights.logdet.interval
    assert low < row["conf_low"] < row["estimate"] <= row["conf_high"] < high
    assert row["open_high"]
    effects = result.effects()
    assert np.isinf(effects["conf_high"]).any()
    assert effects["estimate"].isna().all() == result.at_bound


def test_progress_is_told_where_it_takes_long(monkeypatch):
    import spatial_zb.inference.median as module

    monkeypatch.setattr(module, "SILENT", 0.0)
    told = []
    fit = fitted(lag_x=[], lag_error=True)
    zb.median_unbiased(fit, 99, rng=1, progress=lambda *state: told.append(state))
    assert told
    assert all(done <= expected and left >= 0 for done, expected, left in told)


def test_two_lags_have_estimates_only_where_w_and_the_sample_tell_them_apart():
    """1/√(T* T_w) with T_w written out: 0.3 and above, limits alone, in the table of a study too."""
    for kind, T, n, apart in (("nearest", 25, 20, True), ("dense", 12, 9, False), ("dense", 400, 9, True)):
        fit = fitted(kind, T=T, n=n, lag_x=[], lag_error=True, fixed_effects="two_way")
        small = Dense(fit).small
        alone = (T - 1) * (np.trace(small @ small + small @ small.T) - 2 * np.trace(small) ** 2 / (n - 1))
        assert (alone**-0.5 < 0.3) == apart
        result = zb.median_unbiased(fit, 99, rng=1)
        rows = result.tidy().set_index("term").loc[["rho", "lam"]]
        assert result.told_apart == apart
        assert (rows["conf_low"] < rows["conf_high"]).all()
        assert result.params.isna().to_numpy().tolist() == [not apart] * len(result.params)
        assert result.effects()["estimate"].isna().all() == (not apart)
        assert rows["estimate"].between(rows["conf_low"], rows["conf_high"]).all() == apart
        note = median_note(Text("All", "全部"), result)
        assert ("do not tell ρ from λ" in note.en, "无法区分ρ与λ" in note.zh) == (not apart, not apart)
        assert f"[{rows.loc['rho', 'conf_low']:.3f}, {rows.loc['rho', 'conf_high']:.3f}]" in note.en


def other(**options):
    W = weights("dense")
    estimator = options.pop("estimator", "lee_yu")
    panel = zb.simulate.durbin(W, 8, {"a": 1.0, "b": 1.0}, rho=0.2, rng=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        return zb.fit_durbin(zb.DurbinSpec("y", ["a", "b"], lag_x=[], **options), panel, W, estimator)


REFUSED = {
    "random effects": (
        lambda: zb.median_unbiased(other(fixed_effects="random", lag_error=True)),
        "one spatial lag",
    ),
    "gmm": (lambda: zb.median_unbiased(other(estimator="gmm")), "gmm"),
    "direct": (lambda: zb.median_unbiased(other(estimator="direct")), "direct"),
    "time lag": (lambda: zb.median_unbiased(other(time_lag=True)), "time lag"),
    "no lag": (lambda: zb.median_unbiased(other(lag_y=False)), "neither"),
    "few": (lambda: zb.median_unbiased(other(), 10), "99"),
    "a high level": (lambda: zb.median_unbiased(other(), 99, level=0.999), "at most 0.98"),
    "level": (lambda: zb.median_unbiased(other(), 99, level="x"), "0.95 for 95 %"),
    "seed": (lambda: zb.median_unbiased(other(), 99, rng="x"), "rng.*'x'"),
    "half a replicate": (lambda: zb.median_unbiased(other(), 99.5), "replicates.*whole number"),
    "not a fit": (lambda: zb.median_unbiased(3), "fit_durbin"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    call, word = REFUSED[case]
    with pytest.raises(zb.SpecificationError, match=word):
        call()
