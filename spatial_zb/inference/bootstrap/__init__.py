"""The bootstrap of a fit or a system: its coefficients and its effects, by every scheme that the model allows.

Bootstrap p-values of tests live in :mod:`spatial_zb.hypotheses`, the drawing of arrays in :mod:`spatial_zb.core.laws`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.base.arguments import Rng, check_count, child_of, renamed, seed_of
from spatial_zb.base.errors import ConvergenceError, SpecificationError, listed, listed_zh
from spatial_zb.base.execute import Execution, by_execution, run_tasks
from spatial_zb.base.notes import Note, about, tell
from spatial_zb.base.text import Text
from spatial_zb.base.threads import one_thread
from spatial_zb.core import Array
from spatial_zb.core.laws.bootstrap import Scheme
from spatial_zb.effects.dynamic import stable_processes
from spatial_zb.effects.table import Horizon
from spatial_zb.inference.bootstrap.record import (
    BOUND_WARNING,
    Interval,
    Replicated,
    Resampled,
    by_the_room,
    differences_of,
    effects_of,
    explosive_replicates,
    few_at_edge,
    studentised_long_run,
    unsolved_replicates,
    without_maximum,
)
from spatial_zb.inference.bootstrap.static import (
    ManySource,
    ShapeSource,
    Source,
    StaticSource,
    generator_of,
    jackknife,
    regime_rows,
)
from spatial_zb.inference.bootstrap.variants import (
    DynamicSource,
    RandomSource,
    RegimeSource,
)
from spatial_zb.models.fit import Fit
from spatial_zb.models.shape import ShapeDesign
from spatial_zb.models.system.fit import SystemFit

if TYPE_CHECKING:
    from spatial_zb.inference.bootstrap.system import SystemBootstrap


#: Fewest replicates for limits of 95 %.
FEWEST = 99


@dataclass(frozen=True, eq=False, repr=False)
class Bootstrap(Resampled):
    """Re-estimates of a fit of one equation on resampled panels; see :class:`Resampled`."""

    fit: Fit

    @cached_property
    def jackknife(self) -> Array | None:
        """(T, p) parameters with one period left out, for the BCa limits; None where T is small or an estimate is missing.

        With lags in time a period is left out as one that is explained; it still explains the next.
        """
        return jackknife(len(self.fit.residuals), source_of(self.fit).without)

    @cached_property
    def explosive(self) -> NDArray[np.bool_]:
        """(R,) whether the process of a replicate is not stable; False for models without a lag in time."""
        out = np.zeros(len(self.draws), dtype=bool)
        if self.fit.spec.dynamic:
            out[self.solved] = ~stable_processes(self.fit, self.draws[self.solved])
        return out

    @renamed(alpha="level")
    def effects(
        self, interval: Interval = "percentile", *, level: float = 0.95, horizon: Horizon = "short"
    ) -> pd.DataFrame:
        """Term, effect, estimate, bias, std_error, p_value, conf_low, conf_high of the average effects.

        ``horizon`` as in :func:`spatial_zb.spatial_effects`. With regimes: on the units of each, and on all.

        Raises
        ------
        SpecificationError
            An unknown interval or horizon, the long run of a model without a lag in time.
        ConvergenceError
            The fit has no long run, or fewer than half of the replicates have effects.

        Warns
        -----
        SpatialZbWarning
            Replicates without effects; studentised limits of the long run.
        """
        if horizon == "long" and interval == "studentised":
            tell(about(self.fit.subject, [studentised_long_run()]))
        return self.table_of(effects_of(self.fit, horizon), interval, level)

    @renamed(alpha="level")
    def differences(self, interval: Interval = "percentile", *, level: float = 0.95) -> pd.DataFrame:
        """Each further regime less the first: of every coefficient (``effect`` is "coefficient"), and of effects on each.

        Raises
        ------
        SpecificationError
            A fit without regimes, an unknown interval.
        """
        return self.table_of(differences_of(self.fit), interval, level)

    def glance(self) -> pd.DataFrame:
        """The fit in one row, and how it was resampled."""
        row = super().glance()
        return row.assign(explosive=int(self.explosive.sum())) if self.fit.spec.dynamic else row


@by_execution
@one_thread
def bootstrap(
    fit: Fit | SystemFit,
    replicates: int = 999,
    scheme: Scheme = "residual",
    *,
    rng: Rng = None,
    workers: int | Execution = 1,
) -> Bootstrap | SystemBootstrap:
    """Resample a fit and estimate it again by the same estimator, ``replicates`` times.

    Parameters
    ----------
    fit
        A converged fit of one equation (fixed or random effects, lags in time, regimes, GMM), or a system with fixed
        effects, by any method.
    replicates
        At least 99.
    scheme
        ``"residual"`` (default), ``"period"``, ``"unit"``, ``"wild"`` or ``"parametric"``; see
        :func:`spatial_zb.core.laws.bootstrap.draw_errors`. Which of them a model allows: spatial-zb docs bootstrap.
    rng
        Seed; every replicate draws from its own stream, so that the numbers do not depend on ``workers``.
    workers
        Processes, or an :class:`spatial_zb.Execution`, where replicates are estimated one by one: the store then holds
        parameters, covariance and ``at_bound`` of each. Most models with classical errors and few units estimate all
        replicates together, in less than a second: nothing is shared out or stored then. Which models: spatial-zb docs
        bootstrap.

    Raises
    ------
    SpecificationError
        A fit without an interior maximum, an unknown scheme or one that makes no sense for the model, too few replicates,
        an invalid seed, store or number of workers.
    ConvergenceError
        Fewer than half of the replicates have a solution.
    OutputError
        The store cannot be written.

    Warns
    -----
    SpatialZbWarning
        More than 5 % of the replicates without an interior maximum (fewer are in ``notes``); any without a solution;
        any explosive ones.
    """
    _check(fit, replicates, scheme)
    how = Execution.of(workers)
    root = seed_of(rng)
    if isinstance(fit, SystemFit):
        from spatial_zb.inference.bootstrap.system import bootstrap_system

        return bootstrap_system(fit, replicates, scheme, root, how)
    source = source_of(fit)
    _check_scheme(source, scheme)
    if isinstance(source, ManySource) and source.together:
        run_tasks(_refit, [], workers=replace(how, scheduler=None))  # refuses what it refuses elsewhere
        found = all_at_once(source, scheme, replicates, root, how)
    else:
        found = one_by_one(source, scheme, replicates, root, how)
    solved = np.isfinite(found.draws).all(axis=1)
    centre = source.centre(scheme)
    if centre is None:
        centre = found.draws[solved].mean(axis=0)
    result = Bootstrap(fit, scheme, found.draws, found.covariances, centre, found.at_bound.astype(bool))
    notes = _notes_on(result)
    tell(note for note in notes if note.kind is not few_at_edge)
    return replace(result, notes=notes)


def source_of(fit: Fit) -> Source:
    """The fitted model as a source of panels."""
    if fit.spec.regimes:
        return regime_rows(fit, fit.design) if isinstance(fit.design, ShapeDesign) else RegimeSource(fit)
    if fit.spec.dynamic:
        return DynamicSource(fit)
    if fit.estimator == "gmm":
        from spatial_zb.inference.bootstrap.instrumental import InstrumentalRows, InstrumentalSource

        design = fit.design
        return InstrumentalRows(fit, design) if isinstance(design, ShapeDesign) else InstrumentalSource(fit)
    if isinstance(fit.design, ShapeDesign):
        return ShapeSource(fit, fit.design)
    if fit.spec.fixed_effects == "random":
        return RandomSource(fit)
    return StaticSource(fit, generator_of(fit))


def _check(fit: Any, replicates: int, scheme: str) -> None:
    if not isinstance(fit, Fit | SystemFit):
        what = type(fit).__name__
        raise SpecificationError(
            f"bootstrap takes a fit of fit_durbin or fit_system, not {what}.",
            f"bootstrap的对象是fit_durbin或fit_system的估计结果，不能是{what}。",
        )
    if scheme not in get_args(Scheme):
        raise SpecificationError(
            f"scheme must be one of {listed(get_args(Scheme))}, not {scheme!r}.",
            f"scheme须为{listed_zh(get_args(Scheme))}之一，不能是{scheme!r}。",
        )
    check_count(replicates, "replicates", FEWEST)
    if not fit.converged:
        raise SpecificationError(
            f"{fit!r} did not converge, so there is nothing to resample from. Use another W or fewer coefficients; "
            "zb.median_unbiased(fit) needs no interior maximum where ρ or λ alone is estimated by lee_yu.",
            f"{fit!r}未收敛，无从抽样。请换用其他W或减少系数；以lee_yu仅估计ρ或λ之一时，zb.median_unbiased(fit)不要求内点极大值。",
        )


def _check_scheme(source: Source, scheme: Scheme) -> None:
    if scheme in source.refused:
        others = [f'"{name}"' for name in get_args(Scheme) if name not in source.refused]
        why = source.refused[scheme]
        raise SpecificationError(
            f'scheme="{scheme}" makes no sense for {source.fit!r}: {why.en}. Use {listed(others)}.',
            f'scheme="{scheme}"不适用于{source.fit!r}：{why.zh}。请用{listed_zh(others)}。',
        )
    if scheme == "period" and len(source.fit.residuals) < 2:
        raise SpecificationError(
            f'scheme="period" draws whole periods, and {source.fit!r} has one.',
            f'scheme="period"以整个时期为单位抽样，而{source.fit!r}只有一期。',
        )


def one_by_one(
    source: Source, scheme: Scheme, replicates: int, root: np.random.SeedSequence, workers: Execution
) -> Replicated:
    """Replicates by :func:`spatial_zb.base.execute.run_tasks`.

    Raises
    ------
    ConvergenceError
        Fewer than half of them have a solution.
    """
    tasks = run_tasks(partial(_refit, source, scheme), range(replicates), seed=root, workers=workers)
    draws, cov, at_bound = (np.stack([one[name] for one in tasks]) for name in ("params", "cov", "at_bound"))
    return _enough(source, Replicated(draws, cov, at_bound.astype(bool)))


def all_at_once(
    source: ManySource, scheme: Scheme, replicates: int, root: np.random.SeedSequence, workers: Execution
) -> Replicated:
    """The same numbers by as many replicates at a time as there is room for; those that are not settled one by one.

    Raises
    ------
    ConvergenceError
        Fewer than half of them have a solution.
    """
    many, alone = partial(source.all_at_once, scheme), partial(_refit, source, scheme)
    seeds = [child_of(root, place) for place in range(replicates)]
    return _enough(source, by_the_room(many, alone, seeds, source.room, workers.progress))


def _enough(source: Source, found: Replicated) -> Replicated:
    replicates, solved = len(found.draws), np.isfinite(found.draws).all(axis=1).sum()
    if 2 * solved < replicates:
        raise ConvergenceError(
            f"Only {solved} of {replicates} replicates of {source.fit!r} have a solution: too few for intervals.",
            f"{source.fit!r}的{replicates}次自助抽样中仅{solved}次有解：太少，无法给出区间。",
        )
    return found


def _refit(source: Source, scheme: Scheme, _: int, seed: np.random.SeedSequence) -> dict[str, Any]:
    """One replicate: parameters, covariance, whether at a bound; NaN where its panel has no solution."""
    drawn = source.draw(scheme, np.random.default_rng(seed))
    try:
        again = source.estimate(drawn)
    except (
        ConvergenceError,
        SpecificationError,
    ):  # no root of a corrected score; instruments that do not identify
        p = len(source.fit.params)
        return {"params": np.full(p, np.nan), "cov": np.full((p, p), np.nan), "at_bound": False}
    return {
        "params": again.params.to_numpy(),
        "cov": again.cov.to_numpy(),
        "at_bound": bool(again.convergence.at_bound),
    }


def _notes_on(result: Bootstrap) -> tuple[Note, ...]:
    notes: list[Note] = []
    fit, replicates = result.fit, len(result.draws)
    if result.at_bound > BOUND_WARNING * replicates:
        notes.append(without_maximum(result.at_bound, replicates, _instead(fit)))
    elif result.at_bound:
        notes.append(few_at_edge(result.at_bound, replicates))
    unsolved, explosive = int((~result.solved).sum()), int(result.explosive.sum())
    if unsolved:
        notes.append(unsolved_replicates(unsolved, replicates))
    if explosive:
        notes.append(explosive_replicates(explosive, replicates))
    return about(fit.subject, notes)


def _instead(fit: Fit) -> Text:
    random = fit.spec.fixed_effects == "random" and len(fit.spec.spatial_terms) == 1
    likelihood = fit.estimator in ("lee_yu", "direct") or random
    if not likelihood or fit.spec.dynamic or fit.spec.regimes:
        return Text("Use a sparser W, or fewer coefficients", "请用更稀疏的W，或减少系数")
    if len(fit.spec.spatial_terms) > 1:
        family = fit.spec.family
        return Text(
            f"{family} has two spatial coefficients: prefer a model with one",
            f"{family}有两个空间系数：宜用只有一个的模型",
        )
    other = "zb.profile_interval(fit)" if fit.estimator == "direct" else "zb.median_unbiased(fit)"
    return Text(
        f"Read percentile limits, and {other}, which needs no standard error",
        f"请看百分位区间，以及不依赖标准误的{other}",
    )
