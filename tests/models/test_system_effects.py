"""Effects of a system against the dense inverse, finite changes and each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from small_examples import MUTUAL, lopsided_circle, weights_of

import spatial_zb as zb
from spatial_zb.base.errors import ConvergenceError, DataError, SpecificationError
from spatial_zb.effects import spatial_effects
from spatial_zb.effects.system import (
    feedback_decomposition,
    orders_of_system,
    system_effect_matrix,
    units_of_system,
)
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.models.system import fit_system
from spatial_zb.models.system.spec import Equation, SystemSpec
from spatial_zb.simulate import system as simulate_system
from spatial_zb.weights.matrix import Weights

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")

ROUNDING = 1e-9
TRUTH = MUTUAL | {
    ("industry", "W_tal"): 0.15,
    ("industry", "b"): -0.5,
    ("industry", "W_a"): 0.4,
    ("talent", "b"): 0.6,
}


def chain(n: int) -> Weights:
    """A line, not row-normalised: ends have half the weight of the others."""
    return weights_of(0.4 * (np.eye(n, k=1) + np.eye(n, k=-1)), "chain", "none")


def system(fixed_effects: str) -> SystemSpec:
    return SystemSpec(
        {
            "industry": Equation("ind", ["tal"], ["a", "b"], lag_endog=["tal"], lag_x=["a"]),
            "talent": Equation("tal", ["ind"], ["c", "b"]),
        },
        fixed_effects,
    )


@pytest.fixture(scope="module", params=["row", "other"])
def fit(request):
    W, effects = (lopsided_circle(20), "two_way") if request.param == "row" else (chain(20), "unit")
    panel = simulate_system(system(effects), W, 10, TRUTH, rng=5)
    return fit_system(system(effects), panel, W, "fiml")


def dense(fit, response: str, source: str) -> np.ndarray:
    """The n × n block, from the full inverse."""
    gamma, psi = fit.matrices()
    W, n = fit.weights.matrix.toarray(), fit.weights.n
    names = fit.spec.names
    inverse = np.linalg.inv(np.kron(gamma, np.eye(n)) - np.kron(psi, W))
    out = np.zeros((n, n))
    g = names.index(response)
    for h, name in enumerate(names):
        impulse = np.eye(n) * (source == f"shock:{name}")
        for term, matrix in ((source, np.eye(n)), (f"W_{source}", W)):
            if (name, term) in fit.params.index:
                impulse = impulse + fit.params[name, term] * matrix
        out += inverse[g * n : (g + 1) * n, h * n : (h + 1) * n] @ impulse
    return out


SOURCES = ["a", "b", "c", "shock:industry", "shock:talent"]


def test_effects_are_those_of_the_dense_inverse(fit):
    frame = spatial_effects(fit).tidy()
    expected = ["response", "source", "effect", "estimate", "std_error", "statistic", "p_value"]
    assert list(frame.columns) == [*expected, "conf_low", "conf_high"]
    table = frame.set_index(["response", "source", "effect"])["estimate"]
    assert set(frame["source"]) == set(SOURCES)
    for response in fit.spec.names:
        for source in SOURCES:
            block = dense(fit, response, source)
            n = len(block)
            assert table[response, source, "direct"] == pytest.approx(np.trace(block) / n, abs=ROUNDING)
            assert table[response, source, "total"] == pytest.approx(block.sum() / n, abs=ROUNDING)
            indirect = (block.sum() - np.trace(block)) / n
            assert table[response, source, "indirect"] == pytest.approx(indirect, abs=ROUNDING)
            np.testing.assert_allclose(system_effect_matrix(fit, response, source), block, atol=ROUNDING)
            by_unit = units_of_system(fit, response, source)
            np.testing.assert_allclose(by_unit["direct"], np.diag(block), atol=ROUNDING)
            np.testing.assert_allclose(by_unit["received"], block.sum(1) - np.diag(block), atol=ROUNDING)
            np.testing.assert_allclose(by_unit["emitted"], block.sum(0) - np.diag(block), atol=ROUNDING)


def test_delta_errors_are_those_of_a_numerical_gradient(fit):
    table = spatial_effects(fit).tidy()
    step, where = 1e-6, fit.coefficient_positions
    gradient = np.empty((len(table), len(where)))
    for column, position in enumerate(where):
        moved = []
        for sign in (1, -1):
            params = fit.params.copy()
            params.iloc[position] += sign * step
            moved.append(spatial_effects(replace(fit, params=params)).tidy()["estimate"].to_numpy())
        gradient[:, column] = (moved[0] - moved[1]) / (2 * step)
    cov = fit.cov.to_numpy()[np.ix_(where, where)]
    expected = np.sqrt(np.einsum("ei,ij,ej->e", gradient, cov, gradient))
    np.testing.assert_allclose(table["std_error"], expected, rtol=1e-5, atol=1e-8)


def test_simulated_errors_agree_with_delta(fit):
    delta = spatial_effects(fit).tidy()
    simulated = spatial_effects(fit, "simulate", draws=1000, rng=1)
    few, again = (spatial_effects(fit, "simulate", draws=100, rng=1).tidy() for _ in range(2))
    pd.testing.assert_frame_equal(few, again)
    np.testing.assert_array_equal(simulated.tidy()["estimate"], delta["estimate"])
    ratio = simulated.tidy()["std_error"] / delta["std_error"]
    assert ratio.between(0.85, 1.3).all()
    assert simulated.detail["draws"] + simulated.detail["rejected"] == 1000
    assert simulated.glance().iloc[0]["draws"] == simulated.detail["draws"]


def test_orders_tend_to_the_effects(fit):
    frame = orders_of_system(fit, 60)
    last = frame[frame["order"] == 60].set_index(["response", "source", "effect"])["cumulative"]
    full = spatial_effects(fit).tidy().set_index(["response", "source", "effect"])["estimate"]
    np.testing.assert_allclose(last[full.index], full, atol=1e-6)
    zero = frame[(frame["order"] == 0) & (frame["source"] == "shock:talent")]
    gamma, _ = fit.matrices()
    local = zero[(zero["response"] == "industry") & (zero["effect"] == "direct")]["estimate"].item()
    assert local == pytest.approx(np.linalg.inv(gamma)[0, 1])


def test_a_change_of_x_in_the_reduced_form_has_the_total_effect():
    """Two draws from the same noise whose x differs by one everywhere differ by the total effect."""
    W, spec = lopsided_circle(12), system("unit")
    panel = simulate_system(spec, W, 6, TRUTH, rng=2)
    fit = fit_system(spec, panel, W, "fiml")
    params = pd.Series(TRUTH).reindex(fit.params.index).fillna(0.0)
    table = spatial_effects(replace(fit, params=params)).tidy().set_index(["response", "source", "effect"])
    gamma = np.array([[1.0, -0.3], [-0.2, 1.0]])
    psi = np.array([[0.3, 0.15], [0.0, 0.25]])
    shift = np.linalg.solve(gamma - psi, [1.0 + 0.4, 0.0])  # W ι = ι
    for response, value in zip(("industry", "talent"), shift, strict=True):
        assert table.loc[(response, "a", "total"), "estimate"] == pytest.approx(value)


def test_one_equation_has_the_effects_of_the_single_equation_model():
    W = lopsided_circle(20)
    panel = simulate_system(system("two_way"), W, 8, TRUTH, rng=3)
    spec = SystemSpec({"only": Equation("ind", x=["a", "b"], lag_x="all")})
    ours = spatial_effects(fit_system(spec, panel, W, "fiml")).tidy()
    single = fit_durbin(DurbinSpec("ind", ["a", "b"]), panel, W, covariance="hessian")
    theirs = spatial_effects(single).tidy().set_index(["term", "effect"])
    for row in ours[~ours["source"].str.startswith("shock")].itertuples():
        assert row.estimate == pytest.approx(theirs.loc[(row.source, row.effect), "estimate"], abs=1e-6)
        assert row.std_error == pytest.approx(theirs.loc[(row.source, row.effect), "std_error"], abs=1e-5)


def test_feedback_decomposition_lists_every_pair(fit):
    table = feedback_decomposition(fit).tidy().set_index(["response", "source", "part"])
    assert table.loc[("industry", "talent", "local"), "estimate"] == fit.params["industry", "tal"]
    assert table.loc[("industry", "talent", "spillover"), "std_error"] == fit.bse["industry", "W_tal"]
    assert table.loc[("industry", "industry", "spillover"), "estimate"] == fit.params["industry", "W_ind"]
    assert table.loc[("talent", "industry", "spillover"), "estimate"] == 0
    assert np.isnan(table.loc[("talent", "industry", "spillover"), "std_error"])
    effects = spatial_effects(fit).tidy().set_index(["response", "source", "effect"])
    for part in ("direct", "indirect", "total"):
        assert (
            table.loc[("talent", "industry", part), "estimate"]
            == effects.loc[("talent", "shock:industry", part), "estimate"]
        )
    assert len(table) == 2 * 2 * 4 + 2


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        pytest.param({("industry", "tal"): 2.0, ("talent", "ind"): 1.0}, "det Γ", id="local-loop-explodes"),
        pytest.param({("industry", "W_ind"): 1.4}, "rounds of spillovers", id="spillovers-explode"),
    ],
)
def test_an_unstable_system_has_no_effects(changes, word):
    W, spec = lopsided_circle(12), system("unit")
    fit = fit_system(spec, simulate_system(spec, W, 6, TRUTH, rng=2), W, "gs3sls")
    params = fit.params.copy()
    for key, value in changes.items():
        params[key] = value
    unstable = replace(fit, params=params)
    assert not unstable.stability().stable
    for call in (
        spatial_effects,
        orders_of_system,
        feedback_decomposition,
        lambda f: units_of_system(f, "talent", "a"),
    ):
        with pytest.raises(ConvergenceError, match=word):
            call(unstable)


def test_unknown_names_and_options(fit):
    with pytest.raises(DataError, match="industry, talent"):
        units_of_system(fit, "labour", "a")
    with pytest.raises(DataError, match="shock:talent"):
        units_of_system(fit, "talent", "z")
    with pytest.raises(SpecificationError, match="delta, simulate"):
        spatial_effects(fit, "bootstrap")
    with pytest.raises(SpecificationError, match="at least 100"):
        spatial_effects(fit, "simulate", draws=10)


def test_a_system_whose_denominator_is_not_told_from_zero_has_no_effects():
    """FINDINGS A6: strength 0.994 gave 130 ± 271 without a word."""
    W, spec = lopsided_circle(12), system("unit")
    fit = fit_system(spec, simulate_system(spec, W, 6, TRUTH, rng=2), W, "gs3sls")
    wide = replace(fit, cov=fit.cov * 40)
    assert wide.stability().stable
    for method in ("delta", "simulate"):
        with pytest.warns(UserWarning, match="denominator of effects"):
            found = spatial_effects(wide, method, draws=500, rng=0)
        assert np.isnan(found.columns).all()
        assert "denominator" in found.tidy()["reason"].iloc[0]
    assert found.detail["rejected"] == 500 * found.detail["outside"] > 5
    with pytest.raises(ConvergenceError, match="denominator"):
        zb.effects_by_order(wide)
    with pytest.raises(ConvergenceError, match="denominator"):
        zb.effects_by_unit(wide, "a", response="talent")
    assert feedback_decomposition(wide).tidy().query("part == 'total'")["estimate"].isna().all()
    open_ended = spatial_effects(wide, "fieller").tidy()
    assert np.isinf(open_ended["conf_low"]).any()


def test_one_function_gives_effects_by_unit_and_by_order_of_any_fit():
    W = lopsided_circle(12)
    panel = simulate_system(system("two_way"), W, 8, TRUTH, rng=1)
    fit = fit_system(system("two_way"), panel, W, "gs2sls")
    by_unit = zb.effects_by_unit(fit, "a", response="talent")
    pd.testing.assert_frame_equal(by_unit, units_of_system(fit, "talent", "a"))
    with pytest.raises(SpecificationError, match="industry, talent"):
        zb.effects_by_unit(fit, "a")
    with pytest.warns(DeprecationWarning, match="response=response"):
        pd.testing.assert_frame_equal(zb.system_effects_by_unit(fit, "talent", "a"), by_unit)
    for old in ("order_effects", "system_effects_by_order"):
        with pytest.warns(DeprecationWarning, match="effects_by_order"):
            assert getattr(zb, old) is zb.effects_by_order
