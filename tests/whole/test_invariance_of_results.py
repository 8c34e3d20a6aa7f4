"""Any order of rows, of units and of polygons leaves every public result as it is; so does the scale of an amount."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import spatial_zb as zb

#: Sums in another order, and what iterations make of them.
ROUNDING = 1e-7
pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")


def results(frame: pd.DataFrame, layer, groups: dict[str, str]) -> dict[str, pd.DataFrame]:
    """Public results of a table and a layer, in whatever order the two come, by name and in the order of ids."""
    W = zb.weights.contiguity(layer, islands="nearest").standardise("row")
    panel = zb.build_panel(frame, "city", "year", units=W.ids)
    last = panel.periods[-1]
    seeded = {"permutations": 99, "rng": 1}
    fit = zb.fit_durbin(zb.DurbinSpec("y", ["x"]), panel, W)
    amounts = panel.frame().set_index(["unit", "period"])[["x", "size"]].abs()
    by_unit = {
        "weights": W.report().tidy().set_index("unit").drop(columns="component"),
        "local Moran": zb.local_moran(panel, "y", W, period=last, **seeded).table(),
        "local bivariate": zb.explore.local_bivariate_moran(
            panel, "x", "y", W, period=last, **seeded
        ).table(),
        "local G": zb.explore.local_g(panel, "size", W, period=last, star=True, **seeded).table(),
        "effects by unit": zb.effects_by_unit(fit, "x"),
        "location quotients": zb.indices.location_quotients(amounts),
    }
    whole = {
        "Moran": zb.moran(panel, "y", W, **seeded).table(),
        "Geary": zb.explore.geary(panel, "y", W, **seeded).table(),
        "Lee": zb.explore.lee(panel, "x", "y", W, **seeded).table(),
        "pooled": zb.explore.pooled_moran(panel, "y", W, **seeded).table(),
        "residuals": zb.explore.residual_moran(fit, **seeded).table(),
        "estimates": fit.tidy(),
        "effects": zb.spatial_effects(fit).tidy(),
        "densities": zb.dynamics.kernel_densities(panel, "y", points=20).tidy(),
        "ellipses": zb.dynamics.deviation_ellipses(panel, "size", layer).table(),
        "Theil": zb.dynamics.theil_decomposition(panel, "size", groups).table(),
        "Dagum": zb.dynamics.dagum_decomposition(panel, "size", groups).table(),
        "sigma": zb.dynamics.sigma_convergence(panel, "size").table(),
        "beta": zb.dynamics.beta_convergence(
            panel, "size", W, spec=zb.dynamics.growth_spec(lag_y=True)
        ).tidy(),
        "Gini": zb.indices.locational_gini(amounts),
    }
    return whole | {name: table.sort_index() for name, table in by_unit.items()}


@pytest.fixture(scope="module")
def study(delta):
    layer = delta[["geometry", "prov"]]
    W = zb.weights.contiguity(layer, islands="nearest").standardise("row")
    panel = zb.simulate.durbin(W, 4, {"x": 1.0}, theta={"x": 0.5}, rho=0.3, rng=3)
    frame = panel.frame().rename(columns={"unit": "city", "period": "year"})
    frame["size"] = np.random.default_rng(4).lognormal(3.0, 1.0, len(frame))
    groups = layer["prov"].to_dict()
    return frame, layer, groups, results(frame, layer, groups)


def compare(found: dict[str, pd.DataFrame], expected: dict[str, pd.DataFrame]) -> None:
    for name, table in expected.items():
        pd.testing.assert_frame_equal(
            found[name], table, rtol=ROUNDING, atol=ROUNDING, check_freq=False, obj=name
        )


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_order_of_rows_units_and_polygons_changes_nothing(study, seed):
    frame, layer, groups, expected = study
    rng = np.random.default_rng(seed)
    rows = frame.iloc[rng.permutation(len(frame))][list(rng.permutation(frame.columns))]
    units = layer.iloc[rng.permutation(len(layer))]
    compare(results(rows, units, dict(rng.permutation(list(groups.items())))), expected)


def test_the_unit_of_an_amount_changes_no_share_of_it(study):
    frame, layer, groups, expected = study
    found = results(frame.assign(size=frame["size"] * 1e9), layer, groups)
    names = ("local G", "ellipses", "Theil", "Dagum", "beta")
    compare({name: found[name] for name in names}, {name: expected[name] for name in names})
    np.testing.assert_allclose(found["sigma"]["cv"], expected["sigma"]["cv"], rtol=ROUNDING)
