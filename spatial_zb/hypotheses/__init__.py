"""Tests of hypotheses: the chain of a single-equation panel, tests between fits, their p-values in small samples.

Estimators live in :mod:`spatial_zb.models`; bootstrap and intervals of coefficients in :mod:`spatial_zb.inference`.
"""

from __future__ import annotations

from typing import Any

from spatial_zb.base.arguments import Rng, renamed, seed_of
from spatial_zb.base.execute import Execution, by_execution
from spatial_zb.base.results import TestTable
from spatial_zb.base.text import Text
from spatial_zb.base.threads import one_thread
from spatial_zb.data.panel import Panel, require_complete, require_panel
from spatial_zb.hypotheses.case import TESTS, Likelihood, make_case
from spatial_zb.hypotheses.nulls import GROUPS, bootstrap_p_values, run_tests
from spatial_zb.hypotheses.sizes import with_measured_sizes
from spatial_zb.hypotheses.table import recommend
from spatial_zb.models.spec import DurbinSpec


@renamed(bootstrap="replicates")
@by_execution
@one_thread
def diagnose(
    spec: DurbinSpec,
    panel: Panel,
    W: Any,
    estimator: Likelihood = "lee_yu",
    *,
    replicates: int = 0,
    rng: Rng = None,
    workers: int | Execution = 1,
) -> TestTable:
    """Run the whole test chain of a single-equation panel (or cross-section).

    Collinearity; LM tests for a spatial lag and error from the least-squares residuals with the effects of the
    specification; Durbin terms (LM, Wald, LR); fixed effects (F, LR); random against fixed effects (Hausman,
    Mundlak); random effects and spatial errors (Breusch-Pagan, Baltagi-Song-Koh); errors of the spatial Durbin model
    (correlation over time, variances, dependence between units; of a cross-section heteroskedasticity and normality
    of the least-squares residuals); what residuals still hold (Pesaran's CD without time effects, Moran's I).

    Parameters
    ----------
    spec
        y, x and the effects. The chain compares OLS, SAR, SEM and SDM whatever lags it switches on; the
        Durbin terms are those of ``lag_x``, all of x where that is empty. ``"random"`` is tested as ``"unit"``.
    panel, W
        The panel and the weights of its units, matched by id.
    estimator
        The likelihood of the Wald, LR and score tests: ``"lee_yu"`` or ``"direct"``.
    replicates
        Panels drawn under the null (0, or at least 99) for p-values under the null hypothesis of each test, see
        :mod:`spatial_zb.hypotheses.nulls`.
    rng
        Seed of these panels, and of the draws that the test of cross-section dependence is read from: without it those
        are the same in every call.
    workers
        Processes for the replicates, or an :class:`spatial_zb.Execution`; no number depends on it.

    Returns
    -------
    TestTable with a row for every test that is defined for this panel. A test that cannot be computed has a
    NaN statistic, and its note says why.

    Raises
    ------
    SpecificationError
        Endogenous regressors; lags in time or regimes; an unknown estimator; no regressor.
    DataError
        Variables that cannot be used, see :func:`spatial_zb.models.design.build_design`.
    AlignmentError
        Units of panel and W differ.

    Warns
    -----
    SpatialZbWarning
        Tests whose measured size at this number of units is not near 5 %, and what to read instead.
    """
    rng = None if rng is None else seed_of(rng)
    require_panel(panel)
    require_complete(panel, Text("The chain of tests", "检验链"))
    case = make_case(spec, panel, W, estimator, rng)
    facts = {
        "y": spec.y,
        "fixed_effects": case.effects,
        "estimator": estimator,
        "weights": case.weights.label,
        "n_units": case.weights.n,
        "n_periods": len(panel.periods),
    }
    table = TestTable(tuple(run_tests(case, tuple(GROUPS))), facts, TESTS, reading=recommend)
    if replicates:
        table = bootstrap_p_values(case, table, replicates, rng, workers)
    return with_measured_sizes(table, case.weights.dense)


__all__ = ["TESTS", "TestTable", "diagnose"]
