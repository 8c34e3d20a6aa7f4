"""Fits in the tables of maketables, as its users write them."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from maketables import ETable
from maketables.extractors import PluginExtractor
from scipy import sparse

from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.models.system import fit_system
from spatial_zb.models.system.spec import Equation, SystemSpec
from spatial_zb.simulate import system as simulate_system
from spatial_zb.weights.matrix import Weights

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")

STATISTICS = {"N": "Observations", "ll": "Log-likelihood", "aic": "AIC"}


@pytest.fixture(scope="module")
def models():
    """Two fits of one equation and a system, on 20 units in a ring over 10 periods."""
    n = 20
    links = sparse.diags_array([1.0, 1.0, 1.0, 1.0], offsets=[1, -1, n - 1, 1 - n], shape=(n, n))
    W = Weights(sparse.csr_array(links), pd.Index([f"u{i}" for i in range(n)])).standardise("row")
    spec = SystemSpec(
        {"industry": Equation("ind", ["tal"], ["a"]), "talent": Equation("tal", ["ind"], ["b"])}, "unit"
    )
    truth = {("industry", "tal"): 0.3, ("industry", "a"): 1.0, ("talent", "b"): 1.0}
    panel = simulate_system(spec, W, 10, truth, rng=1)
    lag = fit_durbin(DurbinSpec("ind", ["a"], fixed_effects="unit"), panel, W)
    error = fit_durbin(
        DurbinSpec("ind", ["a", "b"], False, [], True, fixed_effects="unit"), panel, W, covariance="cluster"
    )
    return lag, error, fit_system(spec, panel, W)


def cell(table: pd.DataFrame, block: str, row: str, column: int) -> str:
    return table.iloc[:, column].loc[(block, row)]


def test_coefficients_and_statistics_of_two_fits_and_a_system_stand_in_one_table(models):
    table = ETable(list(models), model_stats=[*STATISTICS]).df
    names = [[term.replace("W_", "W × ") for term in fit.params.index] for fit in models[:2]]
    names.append([f"{term.replace('W_', 'W × ')} ({equation})" for equation, term in models[2].params.index])
    for column, (fit, rows) in enumerate(zip(models, names, strict=True)):
        for row, estimate, error in zip(rows, fit.params, fit.bse, strict=True):
            found = re.findall(r"-?\d+\.\d+", cell(table, "coef", row, column))
            assert found == [f"{estimate:.3f}", f"{error:.3f}"]
        assert cell(table, "stats", "Observations", column).replace(",", "") == str(fit.nobs)
    for fit, column in ((models[0], 0), (models[1], 1)):
        for key in ("ll", "aic"):
            shown = float(cell(table, "stats", STATISTICS[key], column).replace(",", ""))
            assert shown == pytest.approx(fit.llf if key == "ll" else fit.aic, abs=5e-3)
    assert cell(table, "stats", "Log-likelihood", 2) == "-"  # an instrumental method has none
    assert [top for top, _ in table.columns] == ["ind", "ind", "system"]


def test_making_a_table_leaves_the_fits_alone(models):
    ETable(list(models))
    assert [fit.tidy().columns[0] for fit in models] == ["term", "term", "equation"]


def test_every_record_answers_the_protocol(models):
    reader = PluginExtractor()
    for fit in models:
        assert reader.can_handle(fit)
        table = reader.coef_table(fit)
        assert {"b", "se", "t", "p", "ci95l", "ci95u"} <= set(table.columns)
        assert table["b"].to_numpy() == pytest.approx(fit.params.to_numpy())
        assert reader.fixef_string(fit) == "unit"
        assert reader.var_labels(fit)["W_a"] == "W × a"
        for key in reader.default_stat_keys(fit)[:4]:
            assert reader.stat(fit, key) is not None
    assert reader.depvar(models[0]) == "ind"
    assert reader.vcov_info(models[1]) == {"vcov_type": "cluster", "clustervar": "unit"}
    assert reader.stat(models[0], "ll") == models[0].log_likelihood
