"""Estimates and standard errors against R's spatialreg and splm, on data and values kept beside this file.

Not compared, and why:

- splm's models with time or two-way effects multiply by W after demeaning. J W y and W J y differ unless W is
  doubly stochastic, so theirs is not the likelihood of the model; ``test_splm_with_time_effects_…`` holds both
  sides of that. ``test_dense_likelihood.py`` has the exact answer for these models.
- splm's log-likelihood of error models (56.47 for the SEM with unit effects) lacks about 1577.5 of the value of
  the density of the data at the same estimates, which agree to 1e-8; that of its lag models is complete.
- stsls, gstsls, GMerrorsar, sphet and random effects are not maximum likelihood with fixed effects.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dense_oracle import MODELS
from scipy import sparse

from spatial_zb import DurbinSpec, Panel, Weights, build_panel, fit_durbin, moran, spatial_effects
from spatial_zb.core.likelihood import maximise
from spatial_zb.core.statistics import moran_i
from spatial_zb.core.transforms import cross_products, demean, spatial_lag, transformed_sample

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")

HERE = Path(__file__).parent
#: Asked of every estimate and standard error, relative. R's optimisers stop near 1e-8.
ESTIMATE = 1e-5
LOG_LIKELIHOOD = 1e-6
HOUSE = ["NROOM", "NBATH", "PATIO", "FIREPL", "AC", "GAR", "AGE", "LOTSZ", "SQFT"]
PRODUCTION = ["log(pcap)", "log(pc)", "log(emp)", "unemp"]


def expected(folder: str, model: str) -> pd.DataFrame:
    table = pd.read_csv(HERE / folder / "expected.csv")
    return table[table["model"] == model].set_index("param")


def weights(folder: str, ids: list[str]) -> Weights:
    """Row-normalised W of the edges, named or numbered from one."""
    edges = pd.read_csv(HERE / folder / "edges.csv", dtype=str)
    place = {name: i for i, name in enumerate(ids)}
    i, j = ([place[v] if v in place else int(v) - 1 for v in edges[c]] for c in ("i", "j"))
    shape = (len(ids), len(ids))
    return Weights(
        sparse.csr_array((np.ones(len(edges)), (i, j)), shape=shape), pd.Index(ids), folder
    ).standardise()


def cross_section(folder: str, unit: str) -> tuple[Panel, Weights]:
    frame = pd.read_csv(HERE / folder / "data.csv", dtype={unit: str}).assign(year=1)
    W = weights(folder, frame[unit].tolist())
    return build_panel(frame, unit, "year", units=W.ids), W


@pytest.fixture(scope="module")
def columbus():
    return cross_section("columbus", "NEIG")


@pytest.fixture(scope="module")
def baltimore():
    return cross_section("baltimore", "STATION")


@pytest.fixture(scope="module")
def munnell():
    frame = pd.read_csv(HERE / "munnell" / "data.csv")
    logs = {"log(gsp)": "GSP", "log(pcap)": "P_CAP", "log(pc)": "PC", "log(emp)": "EMP"}
    frame = frame.assign(unemp=frame["UNEMP"], **{new: np.log(frame[old]) for new, old in logs.items()})
    W = weights("munnell", sorted(frame["STATE"].unique()))
    columns = ["log(gsp)", *PRODUCTION]
    return build_panel(frame, "STATE", "YR", units=W.ids, columns=columns), W


def agree(fit, table: pd.DataFrame, names: dict[str, str], tolerance: float = ESTIMATE) -> int:
    """Compare every estimate and standard error that the table has; return how many."""
    count = 0
    for param, row in table.iterrows():
        name = names.get(param, param.replace("lag.", "W_"))
        if name in fit.params:
            assert fit.params[name] == pytest.approx(row["estimate"], rel=tolerance), param
            if not np.isnan(row["se"]):
                assert fit.bse[name] == pytest.approx(row["se"], rel=tolerance), f"s.e. of {param}"
            count += 1
    return count


def test_columbus_edges_give_the_weights_that_r_used(columbus):
    edges = pd.read_csv(HERE / "columbus" / "edges.csv")
    W = columbus[1].matrix.toarray()
    np.testing.assert_allclose(W[edges["i"] - 1, edges["j"] - 1], edges["w"], rtol=1e-12)
    assert np.count_nonzero(W) == len(edges)


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("lag", "SAR"),
        ("sdm", "SDM"),
        ("err", "SEM"),
        ("sdem", "SDEM"),
        ("sac", "SAC"),
        ("gns", "GNS"),
        ("slx", "SLX"),
    ],
)
def test_columbus(columbus, model, family):
    """spatialreg's standard errors are those of the expected information; SLX is R's lm."""
    panel, W = columbus
    fit = fit_durbin(DurbinSpec("CRIME", ["INC", "HOVAL"], *MODELS[family], "none"), panel, W)
    table = expected("columbus", model)
    effects = sum(":" in param for param in table.index)
    assert agree(fit, table, {"lambda": "lam"}) == len(table) - effects - ("loglik" in table.index)
    if "loglik" in table.index:
        assert fit.log_likelihood == pytest.approx(table.loc["loglik", "estimate"], abs=LOG_LIKELIHOOD)


@pytest.mark.parametrize(("model", "family"), [("lag", "SAR"), ("sdm", "SDM")])
def test_columbus_effects(columbus, model, family):
    panel, W = columbus
    fit = fit_durbin(DurbinSpec("CRIME", ["INC", "HOVAL"], *MODELS[family], "none"), panel, W)
    found = spatial_effects(fit).tidy().set_index(["effect", "term"])["estimate"]
    rows = [r for r in expected("columbus", model)["estimate"].items() if ":" in r[0]]
    assert len(rows) == 6
    for key, value in rows:
        assert found[tuple(key.split(":"))] == pytest.approx(value, rel=ESTIMATE), key


def test_columbus_printed_in_anselin_1988(columbus):
    panel, W = columbus
    fit = fit_durbin(DurbinSpec("CRIME", ["INC", "HOVAL"], True, [], False, "none"), panel, W)
    assert round(fit.params["rho"], 5) == 0.43102
    assert round(fit.log_likelihood, 4) == -182.3904


def test_columbus_moran(columbus):
    panel, W = columbus
    table = expected("columbus", "moran CRIME")["estimate"]
    row = moran(panel, "CRIME", W, permutations=0).table().iloc[0]
    assert row["I"] == pytest.approx(table["I"], rel=1e-10)
    assert row["expected"] == pytest.approx(table["E"], rel=1e-10)
    assert row["std_dev"] ** 2 == pytest.approx(table["VarRand"], rel=1e-10)


def test_columbus_moran_of_residuals(columbus):
    """I of least-squares residuals. R's z uses the moments of residuals, which depend on X, not those of
    randomisation; so z is not compared here."""
    panel, W = columbus
    fit = fit_durbin(DurbinSpec("CRIME", ["INC", "HOVAL"], False, [], False, "none"), panel, W)
    found = moran_i(fit.residuals[0], W.matrix).value
    assert found == pytest.approx(expected("columbus", "moran OLS resid").loc["I", "estimate"], rel=1e-10)


@pytest.mark.parametrize("model", ["lag"])
def test_baltimore(baltimore, model):
    panel, W = baltimore
    fit = fit_durbin(DurbinSpec("PRICE", HOUSE, True, [], False, "none"), panel, W)
    table = expected("baltimore", model)
    assert agree(fit, table, {}) == len(HOUSE) + 3
    assert fit.log_likelihood == pytest.approx(table.loc["loglik", "estimate"], abs=LOG_LIKELIHOOD)


PANEL_MODELS = {
    "sem": ("SEM", {"rho": "lam"}),
    "sar": ("SAR", {"lambda": "rho"}),
    "sarar": ("SAC", {"lambda": "rho", "rho": "lam"}),
}


@pytest.mark.parametrize("model", PANEL_MODELS)
def test_munnell_unit_effects(munnell, model):
    """splm is direct maximum likelihood; σ² of its own has nT in the denominator."""
    panel, W = munnell
    family, names = PANEL_MODELS[model]
    spec = DurbinSpec("log(gsp)", PRODUCTION, *MODELS[family], "unit")
    fit = fit_durbin(spec, panel, W, estimator="direct")
    table = expected("munnell", f"{model} within individual")
    assert agree(fit, table, names) == len(fit.params)
    if model == "sar":
        assert fit.log_likelihood == pytest.approx(
            table.loc["loglik_as_reported", "estimate"], abs=LOG_LIKELIHOOD
        )


def test_munnell_printed_in_millo_and_piras_2012(munnell):
    panel, W = munnell
    spec = DurbinSpec("log(gsp)", PRODUCTION, False, [], True, "unit")
    assert round(fit_durbin(spec, panel, W).params["lam"], 7) == 0.5574013


@pytest.mark.parametrize("effects", ["time", "two_way"])
@pytest.mark.parametrize("model", PANEL_MODELS)
def test_splm_with_time_effects_multiplies_by_W_after_demeaning(munnell, model, effects):
    """splm's numbers come back when y and X are demeaned first and then multiplied by W, without intercept;
    the exact likelihood gives others."""
    panel, W = munnell
    family, names = PANEL_MODELS[model]
    lag_y, _, lag_error = MODELS[family]
    table = expected("munnell", f"{model} within {'time' if effects == 'time' else 'twoways'}")
    exact = fit_durbin(
        DurbinSpec("log(gsp)", PRODUCTION, lag_y, [], lag_error, effects), panel, W, estimator="direct"
    )
    y, X = (demean(panel.array(v), effects) for v in ("log(gsp)", PRODUCTION))
    T, n, k = X.shape
    Wy, WX = spatial_lag(W.matrix, y), spatial_lag(W.matrix, X)
    lagged = WX.reshape(-1, k), Wy.ravel(), spatial_lag(W.matrix, Wy).ravel()
    products = cross_products(X.reshape(-1, k), y.ravel(), Wy.ravel(), lagged if lag_error else None)
    best = maximise(products, W.logdet, transformed_sample(n, T, "none", "direct"), lag_y, lag_error)
    swapped = {**dict(zip(PRODUCTION, best.delta, strict=True)), "rho": best.rho, "lam": best.lam}
    compared = {names.get(p, p): v for p, v in table["estimate"].items() if names.get(p, p) in swapped}
    assert len(compared) == k + lag_y + lag_error
    for name, value in compared.items():
        assert swapped[name] == pytest.approx(value, rel=1e-4), name  # R's optimiser on a flat likelihood
    assert max(abs(exact.params[name] / value - 1) for name, value in compared.items()) > 5e-4
