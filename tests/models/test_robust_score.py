"""``estimator="robust_score"``: reference values, restrictions, what reads a fit, refusals, and no bias from hubs."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from small_examples import durbin_fit, ring_with_chords

import spatial_zb as zb
from spatial_zb.core.likelihood import inner_interval
from spatial_zb.core.likelihood.error_score import ErrorScore, score_pairs
from spatial_zb.core.likelihood.score import robust_score, score_roots
from spatial_zb.core.transforms import orthogonal_base
from spatial_zb.models.design import stacked
from spatial_zb.models.notes import no_root
from spatial_zb.models.score import (
    error_sample,
    roots_alike,
    score_has_roots,
    score_sample,
    simpler_score,
)

CITIES = Path(__file__).parents[1] / "reference" / "cities"
SAME_ROOT = 1e-10
PRINTED = 5e-5  # of the numbers in the design notes
DENSE = 1e-7  # bisection, and conjugate gradients of another start

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")


@pytest.fixture(scope="module")
def cities(real_cities):
    """Panel and W of either sample."""
    return real_cities


def specification(model: str) -> tuple[str, zb.DurbinSpec]:
    sample, y = model.split()
    other = {"industry": "talent", "talent": "industry"}[y]
    return sample, zb.DurbinSpec(y, [other, "ln_pgdp"])


#: ρ by maximum likelihood, by one weight for each unit without and with regressors, and by a block for each unit.
ORACLE = {
    "delta industry": (0.3839, 0.3851, 0.3884, 0.4018),
    "delta talent": (0.0211, 0.0313, 0.0356, 0.0498),
    "zhejiang industry": (-0.2913, -0.2592, -0.2495, -0.1457),
    "zhejiang talent": (-0.0612, -0.0461, -0.0326, 0.0106),
}


@pytest.mark.parametrize("model", ORACLE)
def test_every_form_and_its_error_on_the_cities(cities, model):
    expected = pd.read_csv(CITIES / "expected.csv").set_index(["model", "param"])["value"][model]
    sample, spec = specification(model)
    fit = zb.fit_durbin(spec, *cities[sample], "robust_score", "cr1")
    assert fit.params["rho"] == pytest.approx(expected["rho"], abs=DENSE)
    assert fit.bse["rho"] == pytest.approx(expected["cr1"], rel=DENSE)
    adjusted = zb.fit_durbin(spec, *cities[sample], "robust_score")  # fewer than 50 units: CR2
    assert adjusted.bse["rho"] == pytest.approx(expected["cr2"], rel=DENSE)
    assert fit.convergence.form == "block"
    design = fit.design
    base = orthogonal_base(*map(stacked, (design.Z, design.y, design.Wy)), basis=design.basis)
    bounds, sample = inner_interval(fit.weights.logdet.interval), score_sample(design, base)
    found = [score_roots(robust_score(sample, f), bounds).found for f in ("equal", "bare", "scalar", "block")]
    assert np.concatenate(found) == pytest.approx(ORACLE[model], abs=PRINTED)
    likelihood = zb.fit_durbin(spec, fit.panel, fit.weights)
    assert found[0][0] == pytest.approx(likelihood.params["rho"], abs=SAME_ROOT)


@pytest.fixture(scope="module")
def fit():
    plain = durbin_fit(12, 5, lag_x=["a"])
    return zb.fit_durbin(plain.spec, plain.panel, plain.weights, "robust_score")


def test_given_rho_the_rest_is_least_squares(fit):
    design, rho = fit.design, fit.params["rho"]
    Z = stacked(design.Z)
    delta = np.linalg.lstsq(Z, stacked(design.y) - rho * stacked(design.Wy), rcond=None)[0]
    assert fit.params[:-2].to_numpy() == pytest.approx(delta, rel=1e-9)
    assert fit.sigma2 == pytest.approx((fit.residuals**2).sum() / fit.nobs, rel=1e-12)


def test_a_likelihood_is_not_claimed(fit):
    row = fit.glance().iloc[0]
    assert row[["log_likelihood", "aic", "bic"]].isna().all()
    assert (row["estimator"], row["covariance"], row["converged"]) == ("robust_score", "cluster", True)
    assert "ln L" not in fit.summary()
    assert np.isnan(fit.bse["sigma2"])


def test_effects_have_the_gradient_of_all_fits(fit):
    """Standard errors of effects against a finite difference of the effects."""
    effects = zb.spatial_effects(fit).tidy().set_index(["term", "effect"])
    theta, W, n = fit.params, fit.weights.matrix.toarray(), fit.weights.n

    def total(values):
        E = np.linalg.solve(np.eye(n) - values["rho"] * W, values["a"] * np.eye(n) + values["W_a"] * W)
        return E.sum() / n

    gradient = [(total(theta + step) - total(theta - step)) / 2e-5 for step in 1e-5 * np.eye(len(theta))][:-1]
    variance = gradient @ fit.cov.to_numpy()[:-1, :-1] @ gradient
    assert effects.loc[("a", "total"), "std_error"] == pytest.approx(np.sqrt(variance), rel=1e-6)


def test_order_of_units_and_units_of_measurement(fit):
    order = np.random.default_rng(0).permutation(fit.weights.n)
    moved = fit.panel.select(units=[fit.panel.units[i] for i in order])
    again = zb.fit_durbin(fit.spec, moved, fit.weights, "robust_score")
    pd.testing.assert_series_equal(again.params, fit.params, rtol=1e-8)
    pd.testing.assert_series_equal(again.bse, fit.bse, rtol=1e-8)
    larger = fit.panel.with_columns({"y": 1e6 * fit.panel.array("y"), "a": 1e-3 * fit.panel.array("a")})
    scaled = zb.fit_durbin(fit.spec, larger, fit.weights, "robust_score")
    assert scaled.params["rho"] == pytest.approx(fit.params["rho"], abs=1e-9)
    assert scaled.bse["rho"] == pytest.approx(fit.bse["rho"], rel=1e-7)


def test_without_rho_it_is_least_squares(fit):
    spec = zb.DurbinSpec("y", ["a", "b"], lag_y=False)
    one, other = (
        zb.fit_durbin(spec, fit.panel, fit.weights, estimator, "cluster")
        for estimator in ("robust_score", "lee_yu")
    )
    pd.testing.assert_frame_equal(one.tidy(), other.tidy())
    assert one.df_resid == other.df_resid


@pytest.mark.parametrize("lag_x", [[], ["a"]])
def test_lambda_by_one_weight_for_all_units_is_maximum_likelihood(fit, lag_x):
    spec = zb.DurbinSpec("y", ["a", "b"], lag_y=False, lag_x=lag_x, lag_error=True)
    like, own = (
        zb.fit_durbin(spec, fit.panel, fit.weights, name, "cluster") for name in ("lee_yu", "robust_score")
    )
    score = ErrorScore(error_sample(like.design, 1.0), "equal")
    found = score_roots(score, inner_interval(fit.weights.logdet.interval)).found
    assert found == pytest.approx([like.params["lam"]], abs=SAME_ROOT)
    assert own.converged
    assert list(own.params.index) == list(like.params.index)
    assert abs(own.params["lam"] - like.params["lam"]) < like.bse["lam"]
    larger = fit.panel.with_columns({"y": 1e6 * fit.panel.array("y")})
    scaled = zb.fit_durbin(spec, larger, fit.weights, "robust_score")
    assert scaled.params["lam"] == pytest.approx(own.params["lam"], abs=1e-8)
    assert scaled.bse["a"] == pytest.approx(1e6 * own.bse["a"], rel=1e-6)


# --- ρ and λ


@pytest.fixture(scope="module")
def sac():
    """A SAC with two-way effects, and its panel and W."""
    W = ring_with_chords(16)
    panel = zb.simulate_durbin(W, 6, {"a": 1.0, "b": 0.5}, rho=0.3, lam=0.3, rng=2)
    spec = zb.DurbinSpec("y", ["a", "b"], lag_x=[], lag_error=True)
    return zb.fit_durbin(spec, panel, W, "robust_score")


@pytest.mark.parametrize("lag_x", [[], ["a"]])
def test_both_by_one_weight_for_all_units_are_maximum_likelihood(sac, lag_x):
    spec = zb.DurbinSpec("y", ["a", "b"], lag_x=lag_x, lag_error=True)
    like = zb.fit_durbin(spec, sac.panel, sac.weights)
    score = ErrorScore(error_sample(like.design, 1.0), "equal")
    found, _ = score_pairs(score, inner_interval(sac.weights.logdet.interval))
    assert found[0] == pytest.approx(like.params[["rho", "lam"]], abs=SAME_ROOT)
    if lag_x:
        return
    assert list(sac.params.index) == list(like.params.index)
    assert sac.converged
    for name in ("rho", "lam"):
        assert abs(sac.params[name] - like.params[name]) < like.bse[name]
    # Given ρ and λ, δ is least squares of the filtered data, and σ² the mean square.
    WZ, WWy = like.design.lags
    rho, lam, design = sac.params["rho"], sac.params["lam"], like.design
    By = stacked(design.y - rho * design.Wy - lam * (design.Wy - rho * WWy))
    BZ = stacked(design.Z - lam * WZ)
    delta = np.linalg.lstsq(BZ, By, rcond=None)[0]
    assert sac.params[:-3].to_numpy() == pytest.approx(delta, rel=1e-9)
    assert sac.sigma2 == pytest.approx(((By - BZ @ delta) ** 2).sum() / sac.nobs, rel=1e-9)


def test_both_do_not_depend_on_order_and_units_of_measurement(sac):
    order = np.random.default_rng(0).permutation(sac.weights.n)
    moved = sac.panel.select(units=[sac.panel.units[i] for i in order])
    larger = moved.with_columns({"y": 1e6 * moved.array("y")})
    again = zb.fit_durbin(sac.spec, larger, sac.weights, "robust_score")
    scale = np.array([1e6, 1e6, 1.0, 1.0])
    assert again.params[:-1].to_numpy() == pytest.approx(scale * sac.params[:-1], rel=1e-7)
    assert again.bse[:-1].to_numpy() == pytest.approx(scale * sac.bse[:-1], rel=1e-5)


def test_both_are_followed_through(sac):
    """Effects with limits, the tables, the grid."""
    effects = zb.spatial_effects(sac, "fieller").tidy()
    assert np.isfinite(effects["estimate"]).all()
    plain = zb.spatial_effects(sac).tidy().set_index(["term", "effect"])
    assert plain.loc[("a", "total"), "estimate"] == pytest.approx(
        sac.params["a"] / (1 - sac.params["rho"]), rel=1e-9
    )
    assert sac.glance()["estimator"].item() == "robust_score"
    assert np.isfinite(sac.tidy().set_index("term").loc[["rho", "lam"], "df"]).all()
    grid = zb.specification_grid(
        sac.panel, {"SAC": sac.spec}, {"W": sac.weights}, estimators=["robust_score"]
    )
    found = grid.estimates.set_index("term")["estimate"]
    assert found[["rho", "lam"]].to_numpy() == pytest.approx(sac.params[["rho", "lam"]].to_numpy())


@pytest.mark.parametrize(("apart", "claimed"), [(0.5, False), (5.0, True)])
def test_roots_that_cannot_be_told_apart_claim_nothing(sac, monkeypatch, apart, claimed):
    from spatial_zb.models import score

    own = float(sac.params["rho"]), float(sac.params["lam"])
    monkeypatch.setattr(score, "score_pairs", lambda *_: ([own, (-0.5, 0.7)], own))
    monkeypatch.setattr(score, "climb", lambda *_: apart)
    found = zb.fit_durbin(sac.spec, sac.panel, sac.weights, "robust_score")
    kinds = {note.kind: note for note in found.notes}
    assert found.converged == claimed
    assert (score_has_roots if claimed else roots_alike) in kinds
    assert kinds[score_has_roots if claimed else roots_alike]["roots"] == (own, (-0.5, 0.7))
    assert found.tidy()["estimate"].notna().all() == claimed
    assert found.bse[:-1].notna().all() == claimed


def test_without_regressors_that_matter_rho_and_lambda_may_change_places():
    """β = 0: the two equations are one another's mirror, and the data say nothing of which is which."""
    W = ring_with_chords(16)
    panel = zb.simulate_durbin(W, 20, {"a": 0.0}, rho=0.6, lam=-0.3, rng=0)
    fit = zb.fit_durbin(zb.DurbinSpec("y", ["a"], lag_x=[], lag_error=True), panel, W, "robust_score")
    (note,) = (note for note in fit.notes if note.kind is roots_alike)
    (one, other) = note["roots"]
    assert one == pytest.approx(other[::-1], abs=0.1)
    assert not fit.converged


# --- Either


@pytest.mark.parametrize("effects", ["none", "unit", "time"])
def test_other_effects_and_a_lopsided_W(effects):
    W = ring_with_chords(15)
    panel = zb.simulate_durbin(W, 6, {"a": 1.0}, rho=0.4, rng=3)
    spec = zb.DurbinSpec("y", ["a"], lag_x=[], fixed_effects=effects)
    fit = zb.fit_durbin(spec, panel, W, "robust_score")
    assert fit.converged
    assert fit.params["rho"] == pytest.approx(0.4, abs=4 * fit.bse["rho"])


def test_unit_effects_need_no_row_normalisation_and_effects_of_periods_do():
    W = ring_with_chords(15, "spectral")
    panel = zb.simulate_durbin(W, 6, {"a": 1.0}, rho=0.4, rng=3)
    spec = zb.DurbinSpec("y", ["a"], lag_x=[], fixed_effects="unit")
    assert zb.fit_durbin(spec, panel, W, "robust_score").converged
    with pytest.raises(zb.SpecificationError, match="robust score"):
        zb.fit_durbin(zb.DurbinSpec("y", ["a"], lag_x=[]), panel, W, "robust_score")


def test_no_root_claims_no_numbers(fit):
    """Neighbours nearly the same: the score falls nowhere below one."""
    W = fit.weights
    rng = np.random.default_rng(0)
    u = rng.standard_normal((5, W.n))
    y = np.linalg.solve(np.eye(W.n) - 0.999 * W.matrix.toarray(), u.T).T
    panel = fit.panel.with_columns({"y": y - y.mean(axis=1, keepdims=True)})
    found = zb.fit_durbin(zb.DurbinSpec("y", ["a"], lag_x=[], fixed_effects="time"), panel, W, "robust_score")
    assert no_root in {note.kind for note in found.notes}
    assert not found.converged
    assert found.convergence.at_bound
    assert found.bse.isna().all()


def test_a_regressor_of_one_cell_leaves_the_simpler_form_and_a_note(fit):
    only = np.zeros((5, fit.weights.n))
    only[0, 0] = 1.0
    panel = fit.panel.with_columns({"only": only})
    found = zb.fit_durbin(zb.DurbinSpec("y", ["a", "only"], lag_x=[]), panel, fit.weights, "robust_score")
    assert found.convergence.form == "scalar"
    assert simpler_score in {note.kind for note in found.notes}


def test_several_roots_are_listed(fit, monkeypatch):
    from spatial_zb.core.likelihood.score import Roots
    from spatial_zb.models import score

    monkeypatch.setattr(score, "score_roots", lambda *_: Roots((-0.6, fit.params["rho"]), 0.99))
    found = zb.fit_durbin(fit.spec, fit.panel, fit.weights, "robust_score")
    (note,) = (note for note in found.notes if note.kind is score_has_roots)
    assert note["roots"] == ((fit.params["rho"], 0.0), (-0.6, 0.0))
    assert found.convergence.roots == (fit.params["rho"], -0.6)
    assert found.params["rho"] == fit.params["rho"]


@pytest.mark.parametrize(
    ("changes", "options", "named"),
    [
        ({"fixed_effects": "random"}, {}, "fixed_effects"),
        ({"time_lag": True}, {}, "robust_score"),
        ({}, {"covariance": "information"}, "cluster"),
        ({"endog": ["b"], "x": ["a"], "instruments": ["b2"]}, {}, "gmm"),
    ],
)
def test_refusals_name_the_remedy(fit, changes, options, named):
    spec = zb.DurbinSpec(**{"y": "y", "x": ["a", "b"], "lag_x": []} | changes)
    with pytest.raises(zb.SpecificationError, match=named):
        zb.fit_durbin(spec, fit.panel, fit.weights, "robust_score", **options)


def test_bootstrap_takes_it_and_median_unbiased_sends_there(fit):
    found = zb.bootstrap(fit, 99, scheme="wild", rng=1)
    np.testing.assert_array_equal(found.centre, fit.params)
    assert zb.bootstrap(fit, 99, scheme="period", rng=1).draws.shape == (99, len(fit.params))
    with pytest.raises(zb.SpecificationError, match="bootstrap"):
        zb.median_unbiased(fit, 199, rng=1)


def test_grid_and_battery_have_it_beside_the_others(fit):
    spec = fit.spec
    grid = zb.specification_grid(
        fit.panel, {"SDM": spec}, {"W": fit.weights}, estimators=["lee_yu", "robust_score"]
    )
    cells = grid.cells.set_index("estimator")
    assert cells.loc["robust_score", "covariance"] == "cluster"
    rho = grid.estimates.query("term == 'rho' and estimator == 'robust_score'")["estimate"]
    assert rho.to_numpy() == pytest.approx([fit.params["rho"]])
    rows = (
        zb.robustness(spec, fit.panel, fit.weights, "rho", estimators=["robust_score"])
        .tidy()
        .set_index("kind")
    )
    assert rows.loc["estimator", "estimate"] == pytest.approx(fit.params["rho"])
    assert rows.loc["estimator", "std_error"] == pytest.approx(fit.bse["rho"])


def test_the_curve_takes_it_with_its_own_errors(fit):
    choices = zb.compare.Choices(
        fit.panel, {"SDM": fit.spec}, {"W": fit.weights}, estimators=["robust_score"]
    )
    found = zb.compare.curve_test(choices, "a", "total", replicates=19, rng=1)
    effects = zb.spatial_effects(fit).tidy().set_index(["term", "effect"])
    assert found.curve["estimate"].to_numpy() == pytest.approx([effects.loc[("a", "total"), "estimate"]])


def test_fits_without_a_likelihood_are_not_compared_by_it(fit):
    with pytest.raises(zb.SpecificationError, match="score"):
        zb.compare.compare_fits({"one": fit, "other": fit})


# --- Hubs of unequal variance


def hubs(
    ratio: float, index: int, correlation: float = 0.0, error: bool = False
) -> tuple[zb.Panel, zb.Weights]:
    """40 units, 4 of them hubs that all others have as neighbours; errors of hubs have ``ratio`` times the spread."""
    n, T, places = 40, 6, np.random.default_rng(1)
    matrix = np.zeros((n, n))
    for i in range(n):
        near = [j for j in range(4) if j != i][:2]
        far = places.choice([j for j in range(4, n) if j != i], 2, replace=False)
        matrix[i, [*near, *far]] = 0.25
    ids = pd.Index([f"{i:02d}" for i in range(n)])
    W = zb.Weights(sparse.csr_array(matrix), ids, "hubs").standardise()
    spread = np.where(np.arange(n) < 4, ratio, 1.0)
    rng = np.random.default_rng([9, index])
    x, unit, period, u = (rng.standard_normal(shape) for shape in ((T, n), n, (T, 1), (T, n)))
    for t in range(1, T):
        u[t] = correlation * u[t - 1] + np.sqrt(1 - correlation**2) * u[t]
    mean, u = x + unit + period, u * spread / np.sqrt((spread**2).mean())
    through = np.linalg.inv(np.eye(n) - 0.4 * matrix)
    y = mean + u @ through.T if error else (mean + u) @ through.T
    return zb.Panel(np.stack([y, x], axis=2), tuple(range(2001, 2001 + T)), ids, ("y", "x")), W


def simulated(ratio: float, replications: int, correlation: float = 0.0, error: bool = False) -> pd.DataFrame:
    """How far ρ̂ (``error``: λ̂ of a SEM) is off and whether 1.96 standard errors cover, by estimator."""
    spec, rows = zb.DurbinSpec("y", ["x"], lag_y=not error, lag_x=[], lag_error=error), []
    for index in range(replications):
        panel, W = hubs(ratio, index, correlation, error)
        for estimator in ("lee_yu", "robust_score"):
            fit = zb.fit_durbin(spec, panel, W, estimator, "cluster")
            name = spec.spatial_terms[0]
            off = fit.params[name] - 0.4
            rows.append((estimator, off, abs(off) < 1.96 * fit.bse[name]))
    return pd.DataFrame(rows, columns=["estimator", "off", "covers"])


def test_hubs_of_unequal_variance_move_likelihood_and_not_the_score():
    """40 panels: the difference of the two estimators has a small error, since both see the same panels."""
    found = simulated(3.0, 40)
    off = {name: part["off"].to_numpy() for name, part in found.groupby("estimator")}
    assert (off["robust_score"] - off["lee_yu"]).mean() > 0.12
    assert abs(off["robust_score"].mean()) < 3 * off["robust_score"].std() / np.sqrt(40)


def test_hubs_of_unequal_variance_move_lambda_by_likelihood_too():
    found = simulated(3.0, 10, error=True)
    off = {name: part["off"].to_numpy() for name, part in found.groupby("estimator")}
    assert (off["robust_score"] - off["lee_yu"]).mean() > 0.25
    assert abs(off["robust_score"].mean()) < 3 * off["robust_score"].std() / np.sqrt(10)


@pytest.mark.slow
@pytest.mark.parametrize(("ratio", "correlation"), [(1.0, 0.0), (2.0, 0.0), (3.0, 0.0), (3.0, 0.7)])
def test_hub_design(ratio, correlation):
    """|bias| ≤ 0.02 whatever the spread of the hubs, and intervals cover 91 to 98 %."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        found = simulated(ratio, 400, correlation)
    own = found[found["estimator"] == "robust_score"]
    assert abs(own["off"].mean()) <= 0.02
    assert 0.91 <= own["covers"].mean() <= 0.98
