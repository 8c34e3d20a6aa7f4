"""U-shapes, turning points, marginal effects."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

import spatial_zb as zb

EXACT = 1e-9


@pytest.fixture(scope="module")
def W() -> zb.Weights:
    n = 40
    dense = np.roll(np.eye(n), 1, 1) + np.roll(np.eye(n), -1, 1) + np.roll(np.eye(n), 5, 1)
    return zb.as_weights(dense, [f"u{i:02d}" for i in range(n)]).standardise("row")


def panel_of(W: zb.Weights, b: float = -2.0, c: float = 0.5, rng: int = 1, T: int = 8) -> zb.Panel:
    """y = b x + c x² + z + 0.5 x z + …, x in (0, 4): turns at −b/2c."""
    generator = np.random.default_rng(rng)
    x, z = 4 * generator.random((T, W.n)), generator.standard_normal((T, W.n))
    mean = (
        b * x
        + c * x**2
        + z
        + 0.5 * x * z
        + generator.standard_normal(W.n)
        + generator.standard_normal((T, W.n))
    )
    y = mean @ np.linalg.inv(np.eye(W.n) - 0.3 * W.matrix.toarray()).T
    values = np.stack([y, x, x**2, z, x * z], axis=2)
    return zb.Panel(values, tuple(range(2001, 2001 + T)), W.ids, ("y", "x", "x_sq", "z", "x_z"))


def fitted(W, panel, **changes) -> zb.models.fit.Fit:
    given = {
        "y": "y",
        "x": ["x", "x_sq", "z", "x_z"],
        "lag_x": ["x", "x_sq"],
        "fixed_effects": "unit",
        **changes,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        return zb.fit_durbin(zb.DurbinSpec(**given), panel, W)


@pytest.fixture(scope="module")
def fit(W):
    return fitted(W, panel_of(W))


def test_the_test_of_sasabuchi_by_hand(fit):
    found = zb.tests.u_shape_test(fit, "x", "x_sq")
    b, c = fit.params[["x", "x_sq"]]
    V = fit.cov.loc[["x", "x_sq"], ["x", "x_sq"]].to_numpy()
    low, high = fit.panel.array("x").min(), fit.panel.array("x").max()
    t = [(b + 2 * c * v) / np.sqrt(np.array([1, 2 * v]) @ V @ np.array([1, 2 * v])) for v in (low, high)]
    assert found.shape == "U"
    assert found.inside
    assert np.allclose(found.statistics, t)
    assert found.p_value == pytest.approx(max(stats.norm.cdf(t[0]), stats.norm.sf(t[1])))
    assert found.turning_point == pytest.approx(-b / (2 * c))
    g = np.array([-1 / (2 * c), b / (2 * c**2)])
    assert found.std_error == pytest.approx(np.sqrt(g @ V @ g))


def test_fieller_limits_are_where_the_slope_is_just_not_significant(fit):
    for effect in (None, "direct", "total"):
        found = zb.tests.u_shape_test(fit, "x", "x_sq", effect, level=0.9)
        assert found.fieller_set == "interval"
        assert found.fieller[0] < found.turning_point < found.fieller[1]
        for end in found.fieller:
            at = zb.marginal_effects(fit, "x", "x", "x_sq", at=[end]).tidy().set_index("effect")
            assert abs(at.loc[effect or "coefficient", "statistic"]) == pytest.approx(
                stats.norm.isf(0.05), abs=1e-6
            )


def test_signs_turn_with_y_and_the_mirror_image_of_x(W, fit):
    panel = fit.panel
    turned = fitted(W, panel.with_columns({"y": -panel.array("y")}))
    a, b = (zb.tests.u_shape_test(f, "x", "x_sq", "total") for f in (fit, turned))
    assert (a.shape, b.shape) == ("U", "inverse U")
    assert b.p_value == pytest.approx(a.p_value)
    assert b.fieller == pytest.approx(a.fieller)
    mirrored = fitted(W, panel.with_columns({"x": -panel.array("x"), "x_z": -panel.array("x_z")}))
    c = zb.tests.u_shape_test(mirrored, "x", "x_sq", "total")
    assert c.turning_point == pytest.approx(-a.turning_point)
    assert c.p_value == pytest.approx(a.p_value)


def test_units_of_measurement_scale_the_turning_point(W, fit):
    panel = fit.panel
    scaled = {
        "x": 1e6 * panel.array("x"),
        "x_sq": 1e12 * panel.array("x_sq"),
        "x_z": 1e6 * panel.array("x_z"),
    }
    found = zb.tests.u_shape_test(fitted(W, panel.with_columns(scaled)), "x", "x_sq", "indirect")
    before = zb.tests.u_shape_test(fit, "x", "x_sq", "indirect")
    assert found.turning_point == pytest.approx(1e6 * before.turning_point, rel=1e-6)
    assert found.p_value == pytest.approx(before.p_value, rel=1e-5)


def test_a_monotone_relation_is_no_u(W):
    fit = fitted(W, panel_of(W, b=2.0, c=0.5))
    found = zb.tests.u_shape_test(fit, "x", "x_sq")
    assert not found.inside
    assert found.p_value > 0.5
    assert "outside the data" in found.reading()
    assert "单调" in found.reading("zh")


def test_without_curvature_any_turning_point_is_possible(W):
    fit = fitted(W, panel_of(W, b=0.0, c=0.0, T=3))
    assert zb.tests.u_shape_test(fit, "x", "x_sq", level=1 - 1e-6).fieller_set == "everything"
    steep = fitted(W, panel_of(W, b=3.0, c=0.0))
    found = zb.tests.u_shape_test(steep, "x", "x_sq", level=0.999)
    assert found.fieller_set == "outside"
    assert found.fieller[0] < found.fieller[1]


def test_effects_without_spatial_lags_are_the_coefficients(W):
    fit = fitted(W, panel_of(W), lag_y=False, lag_x=[])
    by_coefficient, by_effect = (
        zb.tests.u_shape_test(fit, "x", "x_sq", effect) for effect in (None, "direct")
    )
    assert by_coefficient.p_value == pytest.approx(by_effect.p_value)
    assert by_coefficient.fieller == pytest.approx(by_effect.fieller)
    assert fit.df_resid  # Student's t
    t = stats.t.sf(min(-by_effect.statistics[0], by_effect.statistics[1]), fit.df_resid)
    assert by_effect.p_value == pytest.approx(t)


def test_readings_say_what_was_found(fit):
    found = zb.tests.u_shape_test(fit, "x", "x_sq", "total")
    assert "U-shaped" in found.reading()
    assert "U形" in found.reading("zh")
    assert "拐点" in found.reading("zh")
    row = found.tidy().iloc[0]
    assert row["effect"] == "total"
    assert row["inside"]


def test_coefficients_of_lags_turn_too(fit):
    found = zb.tests.u_shape_test(fit, "W_x", "W_x_sq")
    assert found.data_range == zb.tests.u_shape_test(fit, "x", "x_sq").data_range


# --- marginal effects


def test_marginal_effects_are_derivatives_of_effects(W, fit):
    """Total effect of x at z = v: what a model in x and x·(z − v) calls the effect of x."""
    for v in (-1.0, 0.7):
        panel = fit.panel
        moved = fitted(W, panel.with_columns({"x_z": panel.array("x") * (panel.array("z") - v)}))
        expected = zb.spatial_effects(moved).tidy().query("term == 'x'")
        found = zb.marginal_effects(fit, "x", "z", "x_z", [v]).tidy()
        assert np.allclose(found["estimate"][1:], expected["estimate"], rtol=1e-6)
        assert np.allclose(found["std_error"][1:], expected["std_error"], rtol=1e-5)
        assert found["estimate"][0] == pytest.approx(moved.params["x"])
        assert found["std_error"][0] == pytest.approx(moved.bse["x"], rel=1e-5)


def test_quantiles_of_the_moderator_without_values(fit):
    found = zb.marginal_effects(fit, "x", "z", "x_z").tidy()
    assert found["at"].nunique() == 5
    assert found["at"].min() == pytest.approx(fit.panel.array("z").min())
    assert list(found["effect"].unique()) == ["coefficient", "direct", "indirect", "total"]


def test_slope_of_a_square_counts_twice(fit):
    found = zb.marginal_effects(fit, "x", "x", "x_sq", [1.5]).tidy()
    assert found["estimate"][0] == pytest.approx(fit.params["x"] + 3 * fit.params["x_sq"])


def test_refusals(W, fit):
    panel = fit.panel
    centred = (panel.array("x") - 2) ** 2
    other = fitted(W, panel.with_columns({"x_sq": centred}))
    with pytest.raises(zb.DataError, match="is not x × x"):
        zb.tests.u_shape_test(other, "x", "x_sq")
    with pytest.raises(zb.DataError, match="is not x × z"):
        zb.marginal_effects(fit, "x", "z", "x_sq")
    cases = [
        lambda: zb.tests.u_shape_test(fit, "x", "x_sq", "sideways"),
        lambda: zb.tests.u_shape_test(fit, "W_x_z", "x_sq"),
        lambda: zb.tests.u_shape_test(fit, "x", "x_sq", data_range=(3, 1)),
        lambda: zb.marginal_effects(fit, "x", "z", "x_z", []),
        lambda: zb.marginal_effects(fit, "x", "z", "x_z", [np.nan]),
    ]
    for ask in cases:
        with pytest.raises(zb.SpatialZbError):
            ask()


@pytest.mark.slow
def test_size_and_power_of_the_u_test(W):
    """b + 2c·0 = 0: the slope at the low end is zero, the edge of the hypothesis; 5 % ± 1.4 of 400 are rejected."""
    edge = [
        zb.tests.u_shape_test(fitted(W, panel_of(W, 0.0, 0.5, r)), "x", "x_sq", data_range=(0, 4)).p_value
        for r in range(400)
    ]
    assert 0.02 < np.mean(np.array(edge) < 0.05) < 0.085
    inside = [
        zb.tests.u_shape_test(fitted(W, panel_of(W, -2.0, 0.5, r)), "x", "x_sq").p_value for r in range(50)
    ]
    assert np.mean(np.array(inside) < 0.05) > 0.9
