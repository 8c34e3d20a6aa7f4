"""Effects by order: errors against differences and draws, the limit of all orders is the whole effect."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from small_examples import MUTUAL, circle

from spatial_zb import (
    DurbinSpec,
    Equation,
    SpecificationError,
    SystemSpec,
    fit_durbin,
    fit_system,
    spatial_effects,
    weights,
)
from spatial_zb.data.panel import Panel
from spatial_zb.effects import effects_by_order
from spatial_zb.effects.static import average_effects_at, orders_of_equation
from spatial_zb.effects.system import orders_of_system
from spatial_zb.simulate import durbin as simulate_durbin
from spatial_zb.simulate import system as simulate_system

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

#: All orders against the closed form: the rest of the series after so many orders, |ρ|^ORDERS < 1e-12.
ORDERS, REST = 150, 1e-9
#: What the delta method, linear in ρ, misses of the spread of 1/(1 − ρ) here, and noise of 4,000 draws.
CURVATURE = 0.2
#: Central differences with a step of 1e-5 in a system: their error against the analytic derivatives.
DIFFERENCE = 1e-6
BOTH = ["term", "effect"]


MUTUAL_SPEC = SystemSpec(
    {
        "industry": Equation("ind", endog=["tal"], x=["a"]),
        "talent": Equation("tal", endog=["ind"], x=["c"]),
    },
    fixed_effects="unit",
)


@pytest.fixture(scope="module", params=["row", "spectral"])
def fit(request, delta):
    W = weights.knn(delta, 5).standardise(request.param)
    spec = DurbinSpec("y", ["a", "b"], lag_x=["a"], fixed_effects="unit")
    panel = simulate_durbin(W, 6, {"a": 1.0, "b": -0.5}, theta={"a": 0.4}, rho=0.35, rng=3)
    return fit_durbin(spec, panel, W)


def test_numbers_are_those_of_effects_by_order(fit):
    frame = effects_by_order(fit, 4)
    pd.testing.assert_frame_equal(
        frame[["term", "effect", "order", "estimate", "cumulative"]], orders_of_equation(fit, 4)
    )


def test_all_orders_together_are_the_effect_with_its_delta_error(fit):
    last = effects_by_order(fit, ORDERS).query(f"order == {ORDERS}").set_index(BOTH)
    whole = spatial_effects(fit).tidy().set_index(BOTH)
    for name, column in (("cumulative", "estimate"), ("cumulative_std_error", "std_error"),
                         ("cumulative_conf_low", "conf_low"), ("cumulative_conf_high", "conf_high")):  # fmt: skip
        assert last[name].to_numpy() == pytest.approx(whole.loc[last.index, column].to_numpy(), abs=REST)


def test_errors_are_those_of_differences(fit):
    """Slow and independent: perturb each parameter and compute Σ ρ^j W^j (β + θW) from dense powers."""
    point, W, cov = fit.params.to_numpy(), fit.weights.matrix.toarray(), fit.cov.to_numpy()
    names = list(fit.params.index)

    def direct_of_order_two(values):
        rho, beta, theta = (values[names.index(name)] for name in ("rho", "a", "W_a"))
        power = np.linalg.matrix_power(rho * W, 2) @ (beta * np.eye(len(W)) + theta * W)
        return np.trace(power) / len(W)

    steps = 1e-6 * np.eye(len(point))
    g = np.array([(direct_of_order_two(point + h) - direct_of_order_two(point - h)) / 2e-6 for h in steps])
    row = effects_by_order(fit, 2).query("term == 'a' and effect == 'direct' and order == 2").iloc[0]
    assert row["estimate"] == pytest.approx(direct_of_order_two(point), rel=1e-10)
    assert row["std_error"] == pytest.approx(np.sqrt(g @ cov @ g), rel=1e-6)


def test_errors_are_about_those_of_draws(fit):
    """Draws from N(θ̂, V) through the closed form: the delta method is right to first order."""
    rng = np.random.default_rng(1)
    draws = rng.multivariate_normal(fit.params.to_numpy(), fit.cov.to_numpy(), 4000)
    spread = average_effects_at(fit, draws).std(axis=0)
    last = effects_by_order(fit, ORDERS).query(f"order == {ORDERS}")
    assert last["cumulative_std_error"].to_numpy().reshape(spread.shape) == pytest.approx(
        spread, rel=CURVATURE
    )


def test_order_zero_of_a_model_without_lags_is_everything(delta):
    W = weights.knn(delta, 4).standardise("row")
    spec = DurbinSpec("y", ["a"], lag_y=False, lag_x=[], fixed_effects="none")
    panel = simulate_durbin(W, 3, {"a": 1.0}, rng=1)
    fit = fit_durbin(spec, panel, W)
    frame = effects_by_order(fit, 2).set_index(["effect", "order"])
    assert frame.loc[("direct", 0), "std_error"] == pytest.approx(fit.bse["a"])
    # Student's t with the degrees of freedom of least squares, as in the fit.
    assert frame.loc[("direct", 0), "conf_low"] == pytest.approx(
        fit.tidy().set_index("term").loc["a", "conf_low"]
    )
    assert (frame.xs(1, level="order")["estimate"] == 0).all()


def test_a_system(delta):
    W = weights.knn(delta, 5).standardise("row")
    equations = {
        "p": Equation("p", endog=["q"], x=["a"], lag_endog=["q"]),
        "q": Equation("q", endog=["p"], x=["b"], lag_endog=[]),
    }
    spec = SystemSpec(equations, fixed_effects="unit")
    truth = {
        ("p", "q"): 0.3,
        ("p", "a"): 1.0,
        ("p", "W_p"): 0.2,
        ("q", "p"): 0.2,
        ("q", "b"): 1.0,
        ("q", "W_q"): 0.2,
    }
    panel = simulate_system(spec, W, 8, truth, rng=2)
    fit = fit_system(spec, panel, W, "gs2sls")
    frame = effects_by_order(fit, ORDERS)
    plain = orders_of_system(fit, ORDERS)
    pd.testing.assert_frame_equal(frame[plain.columns], plain)
    keys = ["response", "source", "effect"]
    last = frame[frame["order"] == ORDERS].set_index(keys)
    whole = spatial_effects(fit).tidy().set_index(keys).loc[last.index]
    assert last["cumulative"].to_numpy() == pytest.approx(whole["estimate"].to_numpy(), abs=1e-6)
    assert last["cumulative_std_error"].to_numpy() == pytest.approx(
        whole["std_error"].to_numpy(), rel=1e-4, abs=DIFFERENCE
    )


def test_errors_of_a_system_do_not_depend_on_units_of_measurement():
    """p in millions: γ of the two equations are then 1e6 and 1e−6 times what they were."""
    W = circle(12)
    panel = simulate_system(MUTUAL_SPEC, W, 40, MUTUAL, rng=2)
    scaled = panel.with_columns({"ind": 1e6 * panel.array("ind")})
    plain, other = (effects_by_order(fit_system(MUTUAL_SPEC, p, W, "gs2sls"), 3) for p in (panel, scaled))
    unit = np.where(plain["response"] == "industry", 1e6, 1.0)
    unit = unit / np.where(plain["source"] == "shock:industry", 1e6, 1.0)
    for name in ("estimate", "std_error", "cumulative_std_error"):
        assert other[name].to_numpy() / unit == pytest.approx(plain[name].to_numpy(), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("orders", [-1, 2.5, True, "3"])
def test_orders_that_are_no_whole_number_are_refused(fit, orders):
    for function in (effects_by_order, orders_of_equation):
        with pytest.raises(SpecificationError, match="orders must be"):
            function(fit, orders)


def test_a_fit_with_regimes_is_refused(delta):
    W = weights.knn(delta, 4).standardise("row")
    panel = simulate_durbin(W, 6, {"a": 1.0}, rho=0.2, rng=1)
    half = np.tile((np.arange(len(delta)) % 2).astype(float), (6, 1))[..., None]
    columns = [panel.array(name)[..., None] for name in ("y", "a")]
    panel = Panel(np.concatenate([*columns, half], axis=2), panel.periods, panel.units, ("y", "a", "half"))
    fit = fit_durbin(DurbinSpec("y", ["a"], fixed_effects="unit", regimes="half"), panel, W)
    with pytest.raises(SpecificationError, match="regime"):
        effects_by_order(fit, 2)
