"""Median-unbiased ρ, λ and φ with random unit effects: dense algebra, identities, laws at the truth."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pytest
from scipy import optimize, stats
from small_examples import directed_knn

import spatial_zb as zb
from spatial_zb.core.laws.nuisance import Estimates, RandomErrorLaw, RandomLagLaw, RandomModel, VarianceLaw
from spatial_zb.core.laws.score import below_observed
from spatial_zb.models.random import _profile

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

T, N = 6, 12
W = directed_knn(N, seed=1)
#: lag of y, structure of the error (where there is one)
CASES = {"ρ": (True, "baltagi"), "λ, Baltagi": (False, "baltagi"), "λ, KKP": (False, "kkp")}
DERIVATIVE = 1e-6  # a search for a maximum stops there
ROUNDING = 1e-8


def specification(case: str) -> zb.DurbinSpec:
    lag_y, structure = CASES[case]
    return zb.DurbinSpec(
        "y",
        ["a", "b"],
        lag_y=lag_y,
        lag_x=["a"],
        lag_error=not lag_y,
        error_structure=structure,
        fixed_effects="random",
    )


def panel_of(case: str, seed: int = 0, phi: float = 0.8, strength: float = 0.3) -> zb.Panel:
    values = {"a": 1.0, "b": -0.5, "W_a": 0.4, "phi": phi, "sigma2": 1.0}
    values["rho" if CASES[case][0] else "lam"] = strength
    return zb.simulate.panel(specification(case), W, T, values, rng=seed)


@cache
def fitted(case: str, seed: int = 0, phi: float = 0.8) -> zb.models.fit.Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        return zb.fit_durbin(specification(case), panel_of(case, seed, phi), W)


def law_of(fit: zb.models.fit.Fit, draws: int = 99, seed: int = 1) -> RandomLagLaw | RandomErrorLaw:
    spec = fit.spec
    apart = bool(spec.lag_error) and spec.error_structure == "baltagi"
    model = RandomModel(fit.design.Z, W.matrix.toarray(), W.logdet, bool(spec.lag_y), apart)
    kind = RandomLagLaw if spec.lag_y else RandomErrorLaw
    return kind(model, fit.design.y, draws, np.random.SeedSequence(seed))


def dense_restricted(law, c: float, s: float) -> float:
    """Restricted log-likelihood of the filtered sample with the covariance of all of it, but for a constant."""
    model = law.model
    B = np.eye(N) - c * model.W
    Z = model.Z if model.lag_y else np.einsum("ij,tjk->tik", B, model.Z)
    V = np.eye(N * T) + np.expm1(s) / T * np.kron(np.ones((T, T)), B @ B.T if model.apart else np.eye(N))
    Z, z = Z.reshape(N * T, -1), (law.y @ B.T).ravel()
    inner = Z.T @ np.linalg.solve(V, Z)
    e = z - Z @ np.linalg.solve(inner, Z.T @ np.linalg.solve(V, z))
    ssr = e @ np.linalg.solve(V, e)
    logs = np.linalg.slogdet(V)[1] + np.linalg.slogdet(inner)[1]
    return float(-(logs + (N * T - Z.shape[1]) * np.log(ssr)) / 2)


@pytest.mark.parametrize("case", CASES)
def test_the_restricted_likelihood_is_the_dense_one(case):
    law = law_of(fitted(case))
    given, sample = law.given(0.25)
    ours = [given.solve(np.full(1, s), given.data(sample))[0][0] for s in (0.0, 0.7, 3.0)]
    theirs = [dense_restricted(law, 0.25, s) for s in (0.0, 0.7, 3.0)]
    assert np.diff(ours) == pytest.approx(np.diff(theirs), abs=ROUNDING)
    found = given.estimates(sample)
    options = {"bounds": (0, 9), "method": "bounded", "options": {"xatol": 1e-10}}
    best = optimize.minimize_scalar(lambda s: -dense_restricted(law, 0.25, s), **options)
    assert found.s[0] == pytest.approx(best.x, abs=1e-3)
    assert dense_restricted(law, 0.25, found.s[0]) == pytest.approx(-best.fun, abs=DERIVATIVE)


@pytest.mark.parametrize("case", CASES)
def test_the_score_is_that_of_the_likelihood(case):
    fit = fitted(case)
    law, profile = law_of(fit), _profile(fit.design)
    for c, s in ((-0.2, 0.4), (0.3, 2.0)):
        given, sample = law.given(c)
        _, delta, ssr = given.solve(np.full(1, s), given.data(sample))
        ours = law.score(c, given, sample, Estimates(delta, np.full(1, s), ssr))[0]
        at = (c, 0.0) if law.model.lag_y else (0.0, c)
        assert ours == pytest.approx(profile.score(*at, s)[0 if law.model.lag_y else 1], rel=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_every_sample_is_estimated_as_if_it_were_alone(case):
    law = law_of(fitted(case))
    given, sample = law.given(0.1)
    more = np.concatenate([sample, sample[:, ::-1] + 1, 2 * sample])
    together, first = given.estimates(more), given.estimates(sample)
    assert together.delta[0] == pytest.approx(first.delta[0], abs=ROUNDING)
    assert together.s[[0, 2]] == pytest.approx(np.repeat(first.s, 2), abs=1e-6)
    assert together.ssr[2] == pytest.approx(4 * first.ssr[0], rel=1e-6)


def test_the_law_of_phi_is_exact_at_the_truth():
    """Given λ the share of draws below the score is uniform, in samples of twelve units."""
    shares, phi = [], 0.8
    for seed in range(150):
        law = law_of(fitted("λ, Baltagi", seed, phi))
        own = VarianceLaw(*law.given(0.3), 99, np.random.SeedSequence([5, seed]))
        shares.append(below_observed(own, np.array([np.log1p(T * phi)]))[0])
    assert stats.kstest(shares, "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[] if case == next(iter(CASES)) else pytest.mark.slow) for case in CASES],
)
def test_the_score_at_the_truth_is_uniform_in_its_law(case):
    shares = [below_observed(law_of(fitted(case, s), seed=s), np.array([0.3]))[0] for s in range(150)]
    assert stats.kstest(shares, "uniform").pvalue > 0.01


@pytest.mark.parametrize("case", CASES)
def test_units_of_measurement_and_regressors_change_nothing(case):
    fit = fitted(case)
    found = zb.median_unbiased(fit, 99, rng=2)
    columns = {"y": 10 * fit.panel.array("y")}
    if not fit.spec.lag_y:  # what regressors explain of y plays no part for λ and φ
        columns["y"] = columns["y"] + 3 * fit.panel.array("a")
    moved = zb.fit_durbin(fit.spec, fit.panel.with_columns(columns), W)
    again = zb.median_unbiased(moved, 99, rng=2)
    term = fit.spec.spatial_terms[0]
    for name in (term, "phi"):
        ours, theirs = found.solutions[name], again.solutions[name]
        assert ours.estimate == pytest.approx(theirs.estimate, abs=2e-3)
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=2e-2)


@pytest.mark.parametrize("case", CASES)
def test_what_it_gives(case):
    fit = fitted(case)
    found = zb.median_unbiased(fit, 199, rng=1)
    table = found.tidy().set_index("term")
    term = fit.spec.spatial_terms[0]
    assert list(table.index) == list(fit.params.index)
    assert (table.loc[[term, "phi"], "limits"] == "score").all()
    assert (table["conf_low"] <= table["conf_high"]).all()
    assert table.loc[term, "conf_low"] < table.loc[term, "estimate"] < table.loc[term, "conf_high"]
    assert abs(table.loc[term, "estimate"] - fit.params[term]) < fit.bse[term]
    assert abs(table.loc["a", "conf_high"] - fit.conf_int().loc["a"].iloc[1]) < fit.bse["a"]
    effects = found.effects()
    assert not effects.isna().any(axis=None)
    assert np.isfinite(effects["estimate"]).all()
    same = zb.median_unbiased(fit, 199, rng=1).tidy()
    assert same["estimate"].to_numpy() == pytest.approx(table["estimate"].to_numpy(), abs=0)


def test_without_variance_between_units_phi_is_zero():
    found = [zb.median_unbiased(fitted("ρ", seed, 0.0), 99, rng=1) for seed in range(6)]
    values = np.array([result.solutions["phi"].estimate for result in found])
    assert (values >= 0).all()
    assert (values == 0).any()
    assert not any(result.at_bound for result in found)
    assert all(result.solutions["phi"].low == 0 for result in found[:3])


def test_phi_is_no_longer_too_low():
    """Eleven in a dozen units with four coefficients between them: maximum likelihood has φ a quarter too low."""
    off = []
    for seed in range(60):
        fit = fitted("λ, KKP", seed)
        law = law_of(fit)
        given, sample = law.given(0.3)
        off.append([fit.params["phi"], given.estimates(sample).phi(T)[0]])
    plain, restricted = np.median(off, axis=0)
    assert plain < restricted
    assert abs(restricted - 0.8) < 0.2


def test_refusals():
    both = zb.DurbinSpec("y", ["a"], lag_error=True, fixed_effects="random")
    with pytest.raises(zb.SpecificationError, match="one spatial lag"):
        zb.median_unbiased(zb.fit_durbin(both, panel_of("ρ"), W))
    none = zb.DurbinSpec("y", ["a"], lag_y=False, lag_x=[], fixed_effects="random")
    with pytest.raises(zb.SpecificationError, match="neither"):
        zb.median_unbiased(zb.fit_durbin(none, panel_of("ρ"), W))
