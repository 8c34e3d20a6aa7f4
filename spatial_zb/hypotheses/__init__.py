"""Tests of hypotheses: the chain of a single-equation panel, tests between fits, their p-values in small samples.

Estimators live in :mod:`spatial_zb.models`; bootstrap and intervals of coefficients in :mod:`spatial_zb.inference`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

from spatial_zb.base.arguments import Rng, renamed, seed_of
from spatial_zb.base.errors import SpecificationError, listed, listed_zh, not_one_of
from spatial_zb.base.execute import Execution, by_execution
from spatial_zb.base.results import TestTable
from spatial_zb.base.threads import one_thread
from spatial_zb.data.panel import Panel, require_panel
from spatial_zb.hypotheses.case import TESTS, Case, Likelihood
from spatial_zb.hypotheses.durbin import ShapeCase
from spatial_zb.hypotheses.nulls import GROUPS, bootstrap_p_values, run_tests
from spatial_zb.hypotheses.sizes import with_measured_sizes
from spatial_zb.hypotheses.table import recommend
from spatial_zb.models.design import build_design
from spatial_zb.models.shape import build_shape, read_lags, reasons_for_shape
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
    W_x: Any = None,
    W_error: Any = None,
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
        The likelihood of the Wald, LR and score tests: ``"lee_yu"`` or ``"direct"``. Panels of any shape (units that come
        and go, a W by period or for a lag of its own, any effects) have the adjusted score instead.
    W_x, W_error
        Weights of the lags of x and of the error, where they are not W.
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
    case = make_case(spec, panel, W, estimator, rng, W_x, W_error)
    shaped = isinstance(case, ShapeCase)
    facts = {
        "y": spec.y,
        "fixed_effects": case.design.spec.fixed_effects,
        "estimator": "adjusted_score" if shaped else estimator,
        "weights": case.weights.label,
        "n_units": case.n,
        "n_periods": case.T,
    }
    table = TestTable(tuple(run_tests(case, tuple(GROUPS))), facts, TESTS, reading=recommend)
    if replicates:
        table = bootstrap_p_values(case, table, replicates, rng, workers)
    return table if shaped else with_measured_sizes(table, case.weights.dense)


def make_case(
    spec: DurbinSpec,
    panel: Panel,
    W: Any,
    estimator: Likelihood,
    rng: Rng = None,
    W_x: Any = None,
    W_error: Any = None,
) -> Case:
    """Align and check what :func:`spatial_zb.diagnose` was given."""
    if estimator not in get_args(Likelihood):
        raise not_one_of("estimator", estimator, get_args(Likelihood))
    if spec.endog:
        raise SpecificationError(
            f"The chain tests models whose regressors are exogenous; {listed(spec.endog)} are not. Drop them, or "
            'read the tests of fit_durbin(..., estimator="gmm").',
            f"检验链用于解释变量外生的模型；{listed_zh(spec.endog)}不是。请去掉，"
            '或看fit_durbin(..., estimator="gmm")的检验。',
        )
    if spec.dynamic or spec.regimes:
        raise SpecificationError(
            f"The chain tests static models with one regime, and this is a {spec.title}. Test it without time_lag, "
            "lag_time_lag and regimes. To test the fit itself, use stability_test or regime_tests.",
            f"检验链用于单一区制的静态模型，而这是{spec.title}。请去掉time_lag、lag_time_lag和regimes再检验；"
            "要检验该估计本身，请用stability_test或regime_tests。",
        )
    if not spec.x:
        raise SpecificationError(
            "The chain needs at least one regressor in x.", "检验链需要x中至少有一个解释变量。"
        )
    effects = "unit" if spec.fixed_effects == "random" else spec.fixed_effects
    plain = DurbinSpec(spec.y, spec.x, lag_y=False, lag_x=[], fixed_effects=effects)
    seed = seed_of(0 if rng is None else rng)
    every = replace(plain, lag_y=True, lag_x=spec.lag_x or spec.x, lag_error=True)  # what the chain compares
    lags = read_lags(every, panel, W, W_x, W_error)
    reasons = reasons_for_shape(every, panel, lags)
    if set(reasons) - {"rows of W"}:
        if estimator != "lee_yu":
            raise SpecificationError(
                'The chain of a panel of this shape is by the adjusted score: leave estimator="direct" out.',
                '此形态面板的检验链用调整得分：请去掉estimator="direct"。',
            )
        made = build_shape(plain, panel, lags, reasons)
        return ShapeCase(spec, estimator, made, seed, lags=lags, reasons=reasons)
    return Case(spec, estimator, build_design(plain, panel, lags.one), seed)


__all__ = ["TESTS", "TestTable", "diagnose"]
