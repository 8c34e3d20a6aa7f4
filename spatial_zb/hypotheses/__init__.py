"""Tests of hypotheses: the chain of a single-equation panel, tests between fits, their p-values in small samples.

Estimators live in :mod:`spatial_zb.models`; bootstrap and intervals of coefficients in :mod:`spatial_zb.inference`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from scipy import sparse

from spatial_zb.base.arguments import Rng, renamed, seed_of
from spatial_zb.base.errors import SpecificationError, listed, listed_zh, not_one_of
from spatial_zb.base.execute import Execution, by_execution
from spatial_zb.base.results import NAN, TestTable
from spatial_zb.base.text import Text
from spatial_zb.base.threads import one_thread
from spatial_zb.core import Array
from spatial_zb.core.likelihood import tests as core
from spatial_zb.core.likelihood.shape import Shape, ShapeEstimate, ShapeScore, estimate_at
from spatial_zb.core.likelihood.shape_covariance import ShapePoint
from spatial_zb.core.likelihood.shape_rows import DenseForm, RowFilter, RowWeights
from spatial_zb.core.transforms import FixedEffects
from spatial_zb.core.unit_rows import row_feedback, row_moran, row_places
from spatial_zb.data.panel import Panel, require_panel
from spatial_zb.hypotheses.case import TESTS, Case, Likelihood, effects_words, quiet_design
from spatial_zb.hypotheses.nulls import GROUPS, bootstrap_p_values, run_tests
from spatial_zb.hypotheses.sizes import with_measured_sizes
from spatial_zb.hypotheses.table import recommend
from spatial_zb.inference.bootstrap.static import ShapeSource
from spatial_zb.models.design import Design, build_design
from spatial_zb.models.fit import Fit
from spatial_zb.models.shape import (
    REASONS,
    Lags,
    ShapeDesign,
    build_shape,
    fit_shape,
    read_lags,
    reasons_for_shape,
)
from spatial_zb.models.spec import DurbinSpec

#: What the Wald, LR and score tests of the chain are made of.
ChainEstimator = Literal[Likelihood, "adjusted_score"]


@renamed(bootstrap="replicates")
@by_execution
@one_thread
def diagnose(
    spec: DurbinSpec,
    panel: Panel,
    W: Any,
    estimator: ChainEstimator = "lee_yu",
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
        Durbin terms are those of ``lag_x``, all of x where that is empty. ``"random"`` is tested as ``"unit"``, beside
        the tests of random effects, which need a complete panel under one W.
    panel, W
        The panel and the weights of its units, matched by id.
    estimator
        The likelihood of the Wald, LR and score tests: ``"lee_yu"`` or ``"direct"``. Panels of any shape (units that come
        and go, a W by period or for a lag of its own, any effects) have ``"adjusted_score"``, which may be asked for
        elsewhere: with time effects it needs no W whose rows sum to one.
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
        Endogenous regressors; lags in time or regimes; an unknown estimator; no regressor; random effects on a panel of
        any shape.
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
    facts = {
        "y": spec.y,
        "fixed_effects": case.design.spec.fixed_effects,
        "estimator": case.by,
        "weights": case.weights.label,
        "n_units": case.n,
        "n_periods": case.T,
    }
    table = TestTable(tuple(run_tests(case, tuple(GROUPS))), facts, TESTS, reading=recommend)
    if replicates:
        table = bootstrap_p_values(case, table, replicates, rng, workers)
    return with_measured_sizes(table, case.dense)


def make_case(
    spec: DurbinSpec,
    panel: Panel,
    W: Any,
    estimator: ChainEstimator,
    rng: Rng = None,
    W_x: Any = None,
    W_error: Any = None,
) -> Case:
    """Align and check what :func:`spatial_zb.diagnose` was given."""
    if estimator not in get_args(ChainEstimator):
        raise not_one_of("estimator", estimator, get_args(ChainEstimator))
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
    if estimator == "adjusted_score" or set(reasons) - {"rows of W"}:
        if estimator == "direct":
            raise SpecificationError(
                'The chain of a panel of this shape is by the adjusted score: leave estimator="direct" out.',
                '此形态面板的检验链用调整得分：请去掉estimator="direct"。',
            )
        if spec.fixed_effects == "random" and not set(reasons) - {"rows of W"}:
            raise SpecificationError(
                'Random effects have no adjusted score: leave estimator="adjusted_score" out.',
                '随机效应没有调整得分：请去掉estimator="adjusted_score"。',
            )
        if spec.fixed_effects == "random":
            why = [REASONS[name] for name in reasons]
            raise SpecificationError(
                'The tests of fixed_effects="random" need a complete panel under one W, and here '
                f'{listed(why)}. Set fixed_effects="unit" to test the model with fixed effects, or take '
                "the units that are always there (panel.select) and one W.",
                f'fixed_effects="random"的检验要求面板完整、W唯一，而此处{listed_zh(why)}。'
                '要检验固定效应模型，请设fixed_effects="unit"；或只取各期齐全的地区（panel.select）和一个W。',
            )
        made = build_shape(plain, panel, lags, reasons)
        return ShapeCase(spec, "lee_yu", made, seed, lags=lags, reasons=reasons)
    return Case(spec, estimator, build_design(plain, panel, lags.one), seed)


# --- panels of any shape, by the adjusted score


@dataclass(frozen=True, eq=False, kw_only=True)
class ShapeCase(Case):
    """The same on a panel of any shape, by the adjusted score: statistics on rows (N,), W of each period and lag."""

    lags: Lags
    reasons: tuple[str, ...]
    #: Of which this is a redraw.
    first: ShapeCase | None = None
    by: ClassVar[str] = "adjusted_score"
    #: Random effects have no estimator here, and CD pairs units over all periods.
    left_out: ClassVar[frozenset[str]] = frozenset(
        {
            "Hausman",
            "Mundlak",
            "Hausman, spatial",
            "Mundlak, spatial",
            "LM random effects (Breusch-Pagan)",
            "LM random effects and spatial error, joint (BSK)",
            "LM random effects, marginal (BSK)",
            "LM spatial error, marginal (BSK)",
            "LM spatial error given random effects (BSK)",
            "LM random effects given spatial error (BSK)",
            "CD (Pesaran)",
        }
    )
    undrawn: ClassVar[frozenset[str]] = frozenset({"Wald SDM to SEM"})
    together: ClassVar[bool] = False
    spread: ClassVar[Text] = Text(
        "; of an SEM whose effects spread as its errors do", "；对应效应与误差同样扩散的SEM"
    )
    score_words: ClassVar[Text] = Text("; adjusted score of the rows that there are", "；现有各行的调整得分")

    # --- what it is

    @property
    def n(self) -> int:
        return len(self.panel.units)

    @property
    def rows(self) -> int:
        return len(self.shape.Z)

    @property
    def observations(self) -> int:
        return self.shape.free

    @property
    def shape(self) -> Shape:
        """That of least squares."""
        return self.own(self.design).shape

    @property
    def words(self) -> Text:
        return effects_words(str(self.design.spec.fixed_effects))

    @property
    def likelihood_words(self) -> Text:
        return Text(f"adjusted score, {self.words.en}", f"调整得分，{self.words.zh}")

    @property
    def dense(self) -> bool:
        """Of the pairs that there are in any period, under the W of y."""
        there = self.own(self.design).present.sum(axis=1)
        return self.lag_y.matrix.nnz > 0.5 * float((there * (there - 1)).sum())

    @property
    def lag_y(self) -> RowWeights:
        """The W of y on these rows."""
        W = self.shaped(self.model(lag_y=True)).shape.W
        assert W is not None, "a lag of y"
        return W

    @property
    def within(self) -> bool:
        return bool(self.shape.effects.own)

    @property
    def period_means(self) -> bool:
        """Whether effects of periods are among the effects, alone or in a product."""
        return any("period" in name.split("*") for name in self.design.spec.effects)

    # --- models on these rows

    @staticmethod
    def own(design: Design) -> ShapeDesign:
        assert isinstance(design, ShapeDesign), "of any shape"
        return design

    def model(self, lag_y: bool = False, lag_x: Sequence[str] = (), lag_error: bool = False) -> DurbinSpec:
        fixed = self.design.spec.fixed_effects
        return DurbinSpec(self.spec.y, self.spec.x, lag_y, lag_x, lag_error, fixed_effects=fixed)

    def made(self, spec: DurbinSpec) -> ShapeDesign:
        if self.first is None:
            return build_shape(spec, self.panel, self.lags, self.reasons)
        return replace(self.first.shaped(spec), values=self.own(self.design).values)

    def shaped(self, spec: DurbinSpec) -> ShapeDesign:
        """A model on these rows."""
        return self.own(quiet_design(self, spec))

    def fitted(self, spec: DurbinSpec, estimator: Likelihood) -> Fit:
        """By the adjusted score, errors by the information."""
        return fit_shape(self.shaped(spec), "information", noted=False, kept=self.forms)

    @cached_property
    def forms(self) -> dict[tuple[float | None, float], DenseForm]:
        """Filters of the last estimates that tests were made at: all models of a case have the same W and effects."""
        return {}

    def redrawn(self, y: Array) -> ShapeCase:
        """The same with another y (N,): what depends on the shape alone is asked of this one."""
        return replace(self, design=replace(self.own(self.design), values=y), first=self.first or self)

    def drawn(self, fit: Fit, streams: Sequence[np.random.Generator]) -> Array:
        source = ShapeSource(fit, self.own(fit.design))
        return np.array([source.draw("residual", rng) for rng in streams])

    # --- what tests ask of it

    @cached_property
    def flat(self) -> Array:
        return self.shape.at(0.0).residual(self.own(self.design).values)

    def columns(self, spec: DurbinSpec | None = None) -> tuple[Array, Array]:
        design, off = self.design if spec is None else self.shaped(spec), self.shape.effects.off
        own = self.own(design)
        return off(own.values), off(own.shape.Z)

    @cached_property
    def taken(self) -> sparse.csr_array:
        """An orthonormal basis (N, r + k) of effects and regressors."""
        regressors = sparse.csr_array(self.shape.at(0.0).regressors.Q)
        return sparse.csr_array(sparse.hstack([self.shape.effects.entries, regressors]))

    def places(self) -> tuple[Array, Array]:
        W, unit, effects = self.lag_y, self.shape.unit, self.shape.effects
        feedback = row_feedback(RowFilter(W, self.rho), unit, effects.U, effects.others)
        return row_places(W.matrix, unit, self.period_means), feedback

    def lag_error_tests(self) -> core.LagErrorTests:
        """Where λ is not to be had, that of the lag alone."""
        e = self.flat
        try:
            point = self._point(self.model(lag_y=True, lag_error=True), 0.0, 0.0, e)
        except SpecificationError:
            point = self._point(self.model(lag_y=True), 0.0, 0.0, e)
        k = point.k
        linear = [*range(k), k + 2]

        def of(tested: list[int], beside: list[int]) -> Array:
            return np.asarray(core.adjusted_score_test(point, tested, [*linear, *beside]))

        if point.found.score.shape.V is None:
            return core.LagErrorTests(of([k], []), *[np.asarray(NAN)] * 4)
        robust = of([k], [k + 1]), of([k + 1], [k])
        return core.LagErrorTests(of([k], []), of([k + 1], []), *robust, of([k, k + 1], []))

    def score(self, larger: DurbinSpec, fit: Fit, delta: Array, rho: float, lam: float) -> float:
        """At the residuals of the fit, which hold all that a test needs of δ."""
        found = self._at(fit)
        point = self._point(larger, rho, lam, found.found.e)
        active, k = point.found.score.shape.active, point.k
        less = [i for i, term in enumerate(larger.terms) if term not in fit.spec.terms]
        less += [k] * (larger.lag_y and not fit.spec.lag_y) + [k + 1] * (
            larger.lag_error and not fit.spec.lag_error
        )
        factor = fit.spec.lag_error and not larger.lag_error  # an SEM seen as an SDM
        tested = active if factor else less
        others = [i for i in active if i not in tested]
        return core.adjusted_score_test(point, tested, others, found.traces.excess)

    def _point(self, spec: DurbinSpec, rho: float, lam: float, e: Array) -> ShapePoint:
        """A model at an estimate of a smaller one, whose residuals are e (N,)."""
        design = self.shaped(spec)
        score, free = ShapeScore(design.shape, design.values), design.shape.free
        delta = np.zeros(design.shape.Z.shape[1])  # what a test needs of it is in e
        estimate = ShapeEstimate(score, rho, lam, delta, float(e @ e) / free, e, True, ())
        return ShapePoint(estimate, kept=self.forms)

    def _at(self, fit: Fit) -> ShapePoint:
        own = self.own(fit.design)
        rho, lam = (float(fit.params.get(name, 0.0)) for name in ("rho", "lam"))
        return ShapePoint(estimate_at(ShapeScore(own.shape, own.values), rho, lam), kept=self.forms)

    def dummies(self, effects: FixedEffects) -> tuple[float, int]:
        design = self.own(self.design)
        own = self.shaped(replace(self.design.spec, fixed_effects=effects))
        off = own.shape.effects.off(np.column_stack([design.values, own.shape.Z]))
        taken = own.shape.effects.rank + own.shape.Z.shape[1]
        return float(core.sum_of_squares(off[:, 1:], off[:, 0])), taken

    def moran(self) -> list[tuple[str, core.MoranMoments, Text]]:
        """Under the W of y."""
        u, W = self.flat, self.lag_y
        parts = [("pooled", slice(None), W.matrix)]
        parts += [
            (str(t), rows, W.distinct[at])
            for t, (at, rows) in zip(self.panel.periods, W.slices(), strict=True)
        ]
        out = []
        for label, rows, matrix in parts:
            if matrix.nnz and matrix.shape[0] > 2:
                value, expected, deviation = row_moran(u[rows], self.taken[rows], matrix)
                out.append((label, core.MoranMoments(np.asarray(value), expected, deviation), self.after))
        return out

    def need_nested_weights(self) -> None:
        if self.lags.x is not self.lags.y:
            raise SpecificationError(
                "SEM is a case of SDM only when x and y have one W, and here x has its own. Drop W_x.",
                "只有x与y共用一个W时，SEM才是SDM的特例；此处x另有W。请去掉W_x。",
            )

    def need_nested_effects(self, fit: Fit) -> None:
        """By what the spatial filter of the fit makes of them."""
        if not self._at(fit).traces.likelihood:
            raise SpecificationError(
                "W does not map the effects of this panel into themselves: SEM is no case of SDM. Read the Wald test.",
                "W不把此面板的效应映射为自身，SEM因而不是SDM的特例。请看Wald检验。",
            )

    def need_likelihood(self) -> None:
        raise SpecificationError(
            "The adjusted score has no likelihood on a panel of this shape. Read the Wald test.",
            "此形态面板的调整得分没有似然。请看Wald检验。",
        )


__all__ = ["TESTS", "TestTable", "diagnose"]
