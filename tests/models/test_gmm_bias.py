"""One equation without the bias of many instruments, and the interval that weak instruments do not harm."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats
from small_examples import unequal_circle

import spatial_zb as zb
from spatial_zb.core.system import instruments as many_instruments

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

ROUNDING = 1e-8  # two ways of computing one number


@pytest.fixture(scope="module")
def W() -> zb.Weights:
    return unequal_circle(14)


@pytest.fixture(scope="module")
def panel(W) -> zb.Panel:
    """y = 0.3Wy + x1 − 0.7x2 + 0.5w + effects + u; w shares the errors of y, z1 and z2 do not."""
    rng, (T, n) = np.random.default_rng(3), (6, W.n)
    x, z, e = rng.standard_normal((T, n, 2)), rng.standard_normal((T, n, 2)), rng.standard_normal((T, n))
    w = z @ [1.0, 0.7] + 0.6 * e + 0.5 * rng.standard_normal((T, n))
    right = x @ [1.0, -0.7] + 0.5 * w + rng.standard_normal((1, n)) + rng.standard_normal((T, 1)) + e
    y = np.linalg.solve(np.eye(n) - 0.3 * W.matrix.toarray(), right.T).T
    values = np.concatenate([y[..., None], x, w[..., None], z], axis=2)
    return zb.Panel(values, tuple(range(2001, 2001 + T)), W.ids, ("y", "x1", "x2", "w", "z1", "z2"))


def fit(panel, W, correction=None, covariance="information", powers=2, **kwargs):
    base = {"lag_x": [], "fixed_effects": "two_way"}
    spec = zb.DurbinSpec("y", ["x1", "x2"], **{**base, **kwargs})
    return zb.fit_durbin(spec, panel, W, "gmm", covariance, powers=powers, bias_correction=correction)


# The correction --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("effects", ["none", "unit", "two_way"])
@pytest.mark.parametrize("lag_error", [False, True])
@pytest.mark.parametrize("covariance", ["information", "robust"])
@pytest.mark.parametrize("correction", [True, False])
def test_an_endogenous_regressor_is_an_equation_of_its_own(
    W, panel, effects, lag_error, covariance, correction
):
    """The single equation equals that of a system whose second equation is the reduced form of w."""
    ours = fit(
        panel,
        W,
        correction,
        covariance,
        1,
        endog=["w"],
        instruments=["z1", "z2"],
        lag_error=lag_error,
        fixed_effects=effects,
    )
    exogenous = ["x1", "x2", "z1", "z2"]
    spec = zb.SystemSpec(
        {
            "main": zb.Equation("y", ["w"], ["x1", "x2"], lag_endog=[], lag_error=lag_error),
            "reduced": zb.Equation("w", [], exogenous, lag_y=False, lag_x="all"),
        },
        effects,
    )
    options = {"instrument_powers": 1, "bias_correction": correction}
    kind = {"information": "classical"}.get(covariance, covariance)
    theirs = zb.fit_system(spec, panel, W, "gs2sls", covariance=kind, **options)
    for own, other in (("rho", "W_y"), ("w", "w"), ("x1", "x1"), *([("lam", "lam")] if lag_error else [])):
        assert ours.params[own] == pytest.approx(theirs.params["main", other], abs=ROUNDING)
        assert ours.bse[own] == pytest.approx(theirs.bse["main", other], abs=ROUNDING)
    assert ours.bias_correction == correction


def test_a_lag_of_an_endogenous_regressor_too(W, panel):
    ours = fit(panel, W, True, powers=1, endog=["w"], instruments=["z1", "z2"], lag_x=["w"])
    exogenous = ["x1", "x2", "z1", "z2"]
    spec = zb.SystemSpec(
        {
            "main": zb.Equation("y", ["w"], ["x1", "x2"], lag_endog=["w"]),
            # W²z is among the instruments of one equation: a system has it of x as well
            "reduced": zb.Equation("w", [], exogenous, lag_y=False, lag_x="all"),
        }
    )
    assert "W2_z1" in ours.convergence.instruments
    theirs = zb.fit_system(spec, panel, W, "2sls", instrument_powers=1)
    assert ours.params["W_w"] == pytest.approx(theirs.params["main", "W_w"], abs=theirs.bse["main", "W_w"])


def test_it_is_on_where_the_lag_of_an_endogenous_variable_enters(W, panel):
    more = {"endog": ["w"], "instruments": ["z1", "z2"]}
    assert fit(panel, W).bias_correction
    assert fit(panel, W, **more).bias_correction
    assert fit(panel, W, lag_y=False, **{**more, "lag_x": ["w"]}).bias_correction
    assert not fit(panel, W, lag_y=False, **more).bias_correction
    assert fit(panel, W, True, lag_y=False, **more).bias_correction
    assert not fit(panel, W, True, lag_y=False).bias_correction
    assert not fit(panel, W, False).bias_correction
    assert fit(panel, W).params["rho"] == fit(panel, W, True).params["rho"]
    assert abs(fit(panel, W).params["rho"] - fit(panel, W, False).params["rho"]) > 1e-4
    assert fit(panel, W).glance()["bias_correction"][0]
    assert "Liu & Lee" in fit(panel, W).summary()


@pytest.mark.parametrize("lag_error", [False, True])
def test_an_exactly_identified_equation_keeps_its_coefficients(W, panel, lag_error):
    spec = zb.DurbinSpec("y", ["x1"], lag_x=[], lag_error=lag_error)
    plain, corrected = (
        zb.fit_durbin(spec, panel, W, "gmm", powers=1, bias_correction=on) for on in (False, True)
    )
    if not lag_error:
        assert corrected.params.to_numpy() == pytest.approx(plain.params.to_numpy(), abs=ROUNDING)
    else:  # the moments of λ have lost what fitting the coefficients takes
        assert corrected.params["lam"] != pytest.approx(plain.params["lam"], abs=1e-6)


def test_clusters_are_those_of_the_textbook_estimator(W, panel):
    """The same sums over units, of residuals of the corrected estimate."""
    ours, plain = (fit(panel, W, on, "cluster") for on in (True, False))
    assert ours.params["rho"] == fit(panel, W, True).params["rho"]
    assert ours.bse["rho"] == pytest.approx(plain.bse["rho"], rel=0.1)


def test_period_effects_need_rows_that_sum_to_one(W, panel):
    spectral = unequal_circle(14, "spectral")
    assert not fit(panel, spectral).bias_correction
    assert fit(panel, spectral, fixed_effects="unit").bias_correction
    with pytest.raises(zb.SpecificationError, match="row-normalised"):
        fit(panel, spectral, True)


def test_it_is_refused_where_it_says_nothing(W, panel):
    with pytest.raises(zb.SpecificationError, match="many instruments"):
        zb.fit_durbin(zb.DurbinSpec("y", ["x1"]), panel, W, bias_correction=True)
    with pytest.raises(zb.SpecificationError, match="True, False or None"):
        fit(panel, W, "yes")


def test_without_a_solution_the_textbook_estimate_is_shown_and_said(W, panel, monkeypatch):
    plain = fit(panel, W, False)
    monkeypatch.setattr(many_instruments, "NEAR", 0.0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = fit(panel, W)
    assert any("no solution near" in str(w.message) for w in said)
    assert found.convergence.corrected is False
    assert found.params.to_numpy() == pytest.approx(plain.params.to_numpy(), abs=ROUNDING)


def test_the_bootstrap_estimates_as_the_fit_does(W, panel):
    """Of the population that it draws from the replicates find θ̂, with the correction and without."""
    for correction in (True, False):
        found = fit(panel, W, correction)
        again = zb.bootstrap(found, 99, rng=1)
        assert again.fit.bias_correction == correction
        middle = np.median(again.draws[:, list(found.params.index).index("rho")])
        assert middle == pytest.approx(found.params["rho"], abs=found.bse["rho"])


# Weak instruments ------------------------------------------------------------------------------------------


def statistic(fit: zb.models.fit.Fit, rho: float, powers: int) -> tuple[float, int]:
    """Hotelling's statistic of the instruments and y − ρWy, summed by unit, off dummies for the effects; and how many."""
    panel, dense = fit.panel, fit.weights.matrix.toarray()
    T, n = panel.array("y").shape
    lag = lambda values: values @ dense.T  # noqa: E731
    u = (panel.array("y") - rho * lag(panel.array("y"))).ravel()
    own = [panel.array(name) for name in ("x1", "x2")]
    more, last = [], own
    for _ in range(powers):
        last = [lag(values) for values in last]
        more += last
    dummies = [np.tile(np.eye(n), (T, 1)), np.repeat(np.eye(T), n, axis=0)[:, 1:]]
    small = np.column_stack([*(values.ravel() for values in own), *dummies])
    off = np.eye(T * n) - small @ np.linalg.pinv(small)
    Z = off @ np.column_stack([values.ravel() for values in more])
    h = ((off @ u)[:, None] * Z).reshape(T, n, -1).sum(axis=0)
    h = h - h.mean(axis=0)
    g = Z.T @ (off @ u)
    return float(g @ np.linalg.solve(h.T @ h * n / (n - 1), g)), len(more)


@pytest.mark.parametrize("correction", [True, False])
def test_limits_are_where_the_test_just_rejects(correction):
    """36 units carry seven instruments: x1 and x2 lagged once and twice are four."""
    W = unequal_circle(36)
    found = fit(zb.simulate.durbin(W, 6, {"x1": 2.0, "x2": -1.0}, rho=0.3, rng=1), W, correction)
    limits = zb.anderson_rubin(found)
    assert not limits.is_open[0]
    powers = limits.facts["instruments"] // 2
    for end in ("conf_low", "conf_high"):
        value, k = statistic(found, getattr(limits, end), powers)
        assert (value, k) == (pytest.approx(limits.critical, rel=1e-7), limits.facts["instruments"])
    wider = zb.anderson_rubin(found, level=0.99)
    assert wider.conf_low < limits.conf_low < limits.conf_high < wider.conf_high


def test_it_holds_the_truth_as_often_as_it_says_with_the_weakest_instruments():
    """x explains nothing of Wy: 95 % of the sets hold ρ all the same."""
    W, spec = unequal_circle(10), zb.DurbinSpec("y", ["x"], lag_x=[])
    held = []
    for seed in range(250):
        panel = zb.simulate.durbin(W, 4, {"x": 0.0}, rho=0.3, rng=seed)
        limits = zb.anderson_rubin(zb.fit_durbin(spec, panel, W, "gmm"))
        held.append(0.3 in limits)
    assert stats.binomtest(sum(held), len(held), 0.95).pvalue > 0.01


def test_a_set_stays_within_what_is_admissible(panel, W):
    """Whatever the covariance of the fit: the set has one of its own."""
    found = fit(panel, W)
    bounds = W.logdet.interval
    limits = zb.anderson_rubin(found, level=0.9999)
    assert all(bounds[0] <= low < high <= bounds[1] for low, high in limits.pieces)
    clustered = zb.fit_durbin(found.spec, panel, W, "gmm", "robust")
    assert zb.anderson_rubin(clustered).pieces == zb.anderson_rubin(found).pieces


def test_more_instruments_than_the_units_carry_are_refused(W):
    names = [f"x{i}" for i in range(1, 10)]
    panel = zb.simulate.durbin(W, 6, dict.fromkeys(names, 1.0), rng=1)
    found = zb.fit_durbin(zb.DurbinSpec("y", names, lag_x=[]), panel, W, "gmm")
    with pytest.raises(zb.SpecificationError, match="one for 5 units"):
        zb.anderson_rubin(found)


REFUSED = {
    "by maximum likelihood": ({}, "lee_yu", "information", "instruments"),
    "with λ": ({"lag_error": True}, "gmm", "information", "only spatial coefficient"),
    "without ρ": ({"lag_y": False}, "gmm", "information", "only spatial coefficient"),
    "with an endogenous regressor": (
        {"endog": ["w"], "instruments": ["z1"]},
        "gmm",
        "information",
        "only spatial coefficient",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused(W, panel, case):
    options, estimator, covariance, words = REFUSED[case]
    spec = zb.DurbinSpec("y", ["x1", "x2"], lag_x=[], **options)
    found = zb.fit_durbin(spec, panel, W, estimator, covariance)
    with pytest.raises(zb.SpecificationError, match=words):
        zb.anderson_rubin(found)


def test_it_takes_a_fit_and_a_level(W, panel):
    with pytest.raises(zb.SpecificationError, match="not str"):
        zb.anderson_rubin("fit")
    with pytest.raises(zb.SpecificationError, match="between 0 and 1"):
        zb.anderson_rubin(fit(panel, W), level=1.5)
