"""The groups of the test chain, and its bootstrap p-values: each test on panels drawn under its own null hypothesis.

What a null hypothesis leaves is estimated and drawn from: residuals of the restricted fit (recentred, with their degrees
of freedom), or normal unit effects and errors where the null has random effects. Tests with the same null share its
panels. p = (1 + number of drawn statistics as far out as the one of the data) / (1 + number of those defined).

Panels of one null are tested together (:mod:`spatial_zb.hypotheses.replicated`), with many units and with random effects
beside a spatial error one by one. Where the null is a static model with fixed effects they are drawn from one stream,
elsewhere each has its own by its place among all, so that no number depends on how many are tested together.

The robust LM tests leave ρ or λ to a quadratic approximation at zero: far from it their law depends on the coefficient,
and they nearly follow its estimate, so that a p-value from panels drawn at the estimate is always middling. Their
p-values are therefore drawn as well: that of the data is compared with those of the panels, each at the panel's own
estimate (:mod:`spatial_zb.hypotheses.replicated`).

Davidson & MacKinnon (1999), Econometric Theory 15: 361-376; Beran (1988), JASA 83: 687-697 (prepivoting).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spatial_zb.base.arguments import Rng, child_of, seed_of
from spatial_zb.base.errors import SpatialZbError, SpecificationError
from spatial_zb.base.execute import Execution, run_tasks
from spatial_zb.base.results import Row, TestTable
from spatial_zb.base.text import Text
from spatial_zb.core import Array
from spatial_zb.core.laws import SPECTRAL_UNITS
from spatial_zb.core.random.tests import swamy_arora
from spatial_zb.core.transforms import demean, spatial_lag, varies
from spatial_zb.hypotheses.case import Case, Step, attempt, highest_fit
from spatial_zb.hypotheses.over_time import SERIAL
from spatial_zb.hypotheses.panel import (
    VARIANCES,
    collinearity,
    dependence,
    durbin,
    effects,
    errors,
    lag_error,
)
from spatial_zb.hypotheses.random import (
    RandomSource,
    bsk,
    common_means,
    random_effects,
    random_estimate,
    random_spatial,
)
from spatial_zb.hypotheses.replicated import (
    PREPIVOTED,
    can_be_replicated,
    prepivoted,
    replicated_statistics,
)
from spatial_zb.inference.bootstrap.static import draw_samples
from spatial_zb.models.fit import Fit
from spatial_zb.models.spec import Effects

#: The parts of the chain, in the order of the table.
GROUPS: dict[str, Callable[[Case], list[Step]]] = {
    "collinearity": collinearity,
    "lag_error": lag_error,
    "durbin": durbin,
    "effects": effects,
    "random": random_effects,
    "bsk": bsk,
    "random_spatial": random_spatial,
    "errors": errors,
    "dependence": dependence,
}


def run_tests(case: Case, groups: tuple[str, ...], wanted: Collection[str] | None = None) -> list[Row]:
    """Run groups of tests, or of them those wanted; one that cannot be computed says why."""
    out: list[Row] = []
    for group in groups:
        for names, run in GROUPS[group](case):
            if not case.left_out.issuperset(names) and (wanted is None or not set(names).isdisjoint(wanted)):
                out += [row for row in attempt(names, run) if wanted is None or row.test in wanted]
    return out


#: Fewest replicates for a p-value near 5 %.
FEWEST = 99
#: Panels that are tested together where each has a stream of its own.
BATCH = 250
#: Tests of which only large values of the statistic itself reject; of the others with a normal law both sides do.
ONE_SIDED = ("LM random effects, marginal (BSK)", "LM random effects given spatial error (BSK)")
#: Before the key of a test: what its draws are compared with, where that is not its statistic.
OWN = "own "


@dataclass(frozen=True, slots=True)
class FitSource:
    """Panels y* (R, T, n) from a fit of the null: its mean and residuals, at an end of the interval where it is highest."""

    case: Case
    fit: Fit

    def each(self, streams: Sequence[np.random.Generator]) -> Array:
        """One from each stream, as the case has them."""
        return self.case.drawn(self.fit, streams)

    def panels(self, rng: np.random.Generator, replicates: int) -> Array:
        """All from one stream."""
        return draw_samples(self.fit, rng, replicates)


@dataclass(frozen=True, slots=True)
class Null:
    """A null hypothesis: its tests, the groups of the chain that run them, and what to draw from."""

    tests: tuple[str, ...]
    groups: tuple[str, ...]
    source: Callable[[Case], FitSource | RandomSource]
    #: Whether the tests of a case can be computed on many panels at once.
    together: Callable[[Case], bool] = lambda case: can_be_replicated(case)
    #: Whether each panel is drawn from a stream of its own where they are tested together.
    apart: bool = True


def _without_spatial_error(case: Case) -> bool:
    return not case.spec.lag_error and can_be_replicated(case)


def _fitted(case: Case, fixed_effects: Effects, **lags: Any) -> FitSource:
    fit = highest_fit(case, replace(case.model(**lags), fixed_effects=fixed_effects), "lee_yu")
    if not (fit.converged or fit.convergence.at_bound):
        raise SpecificationError(
            f"the {fit.spec.family} fit of the null hypothesis has no covariance.",
            f"原假设的{fit.spec.family}估计没有协方差。",
        )
    return FitSource(case, fit)


def _own(case: Case, **lags: Any) -> FitSource:
    return _fitted(case, case.effects, **lags)


def _pooled(case: Case, **lags: Any) -> FitSource:
    return _fitted(case, "time" if case.period_means else "none", **lags)


def _random(case: Case) -> RandomSource:
    """Swamy and Arora's estimate without spatial lags; unit effects have no correlation with x."""
    y, X = common_means(case)
    varying = varies(X, demean(X, "unit"))
    if case.n - 1 - X.shape[2] <= 0:
        raise SpecificationError("too few units for random effects.", "地区过少，不能估计随机效应。")
    found = swamy_arora(y, X, varying, case.period_means)
    unit = np.sqrt(max(found.sigma2_one - found.sigma2, 0.0) / case.T)
    return RandomSource(
        case.panel.array(list(case.spec.x)) @ found.beta, float(unit), float(np.sqrt(found.sigma2))
    )


def _random_spatial(case: Case) -> RandomSource:
    """Maximum likelihood with random effects and the lags of the specification."""
    found = random_estimate(case)
    x, lagged = case.panel.array(list(case.spec.x)), case.panel.array(list(case.spec.lag_x))
    columns = np.concatenate([x, spatial_lag(case.weights.matrix, lagged)], axis=2)
    delta, _ = found.of([*case.spec.x, *(f"W_{name}" for name in case.spec.lag_x)])
    best = found.best
    noise = float(np.sqrt(best.sigma2))
    return RandomSource(
        columns @ delta,  # neither the intercept nor effects of periods move the tests
        float(noise * np.sqrt(max(best.phi, 0.0))),
        noise,
        case.weights.matrix,
        best.rho,
        best.lam,
        case.spec.error_structure == "kkp",
    )


#: Null hypotheses by name, in the order of their streams.
NULLS: dict[str, Null] = {
    "no spatial lag": Null(
        (
            "LM lag",
            "LM error",
            "LM lag and error, joint",
            "F Durbin terms, OLS to SLX",
            "Moran of residuals",
            "Breusch-Pagan",
            "Koenker-Bassett",
        ),
        ("lag_error", "durbin", "dependence", "errors"),
        _own,
        apart=False,
    ),
    "SAR": Null(
        (
            "LM error, robust",
            "LM Durbin terms from SAR",
            "Wald SDM to SAR",
            "LR SDM to SAR",
            "LM error from SAR",
        ),
        ("lag_error", "durbin"),
        partial(_own, lag_y=True),
        apart=False,
    ),
    "SEM": Null(
        (
            "LM lag, robust",
            "LM common factor from SEM",
            "Wald SDM to SEM",
            "LR SDM to SEM",
            "LM lag from SEM",
        ),
        ("lag_error", "durbin"),
        partial(_own, lag_error=True),
        apart=False,
    ),
    "SDM": Null(
        ("LM error from SDM", *SERIAL, *VARIANCES),
        ("durbin", "errors"),
        lambda case: _own(case, lag_y=True, lag_x=case.lagged),
        apart=False,
    ),
    "no unit effects": Null(
        ("F unit effects", "LR unit effects"),
        ("effects",),
        lambda case: _fitted(case, "time"),
        lambda case: True,
    ),
    "no time effects": Null(
        ("F time effects", "LR time effects", "CD (Pesaran)"),
        ("effects", "dependence"),
        lambda case: _fitted(case, "unit"),
        lambda case: True,
    ),
    "no effects": Null(
        ("F unit and time effects", "LR unit and time effects"),
        ("effects",),
        lambda case: _fitted(case, "none"),
        lambda case: True,
    ),
    "random effects": Null(
        ("Hausman", "Mundlak", "LM spatial error given random effects (BSK)"),
        ("random", "bsk"),
        _random,
        lambda case: True,
    ),
    "no unit effects and no spatial error": Null(
        (
            "LM random effects (Breusch-Pagan)",
            "LM random effects and spatial error, joint (BSK)",
            "LM random effects, marginal (BSK)",
            "LM spatial error, marginal (BSK)",
        ),
        ("bsk",),
        _pooled,
        lambda case: True,
    ),
    "spatial error without unit effects": Null(
        ("LM random effects given spatial error (BSK)",), ("bsk",), partial(_pooled, lag_error=True)
    ),
    "random effects and spatial lags": Null(
        ("Hausman, spatial", "Mundlak, spatial"), ("random_spatial",), _random_spatial, _without_spatial_error
    ),
}


def bootstrap_p_values(
    case: Case,
    table: TestTable,
    replicates: int,
    rng: Rng,
    workers: int | Execution,
) -> TestTable:
    """Fill ``p_bootstrap`` of every test of the table that has a null to draw from."""
    rows = with_p_values(case, table.rows, replicates, rng, workers)
    return replace(table, rows=rows, replicates=replicates)


def with_p_values(
    case: Case,
    rows: Sequence[Row],
    replicates: int,
    rng: Rng,
    workers: int | Execution,
) -> tuple[Row, ...]:
    """Rows of the chain with ``p_bootstrap``."""
    if replicates < FEWEST:
        raise SpecificationError(
            f"replicates must be 0 or at least {FEWEST}, not {replicates}.",
            f"replicates须为0或至少{FEWEST}，而不是{replicates}。",
        )
    present = {row.test for row in rows if np.isfinite(row.p_value)}
    sources = {name: source for name, null in NULLS.items() if (source := _source(case, null, present))}
    tasks: list[tuple[str, int, int]] = []
    place = 0
    for name in sources:
        together = _together(case, NULLS[name])
        one = together and not NULLS[name].apart
        size = replicates if one else BATCH if together else 1
        tasks += [(name, place + r, min(size, replicates - r)) for r in range(0, replicates, size)]
        place += 1 if one else replicates
    task = partial(_statistics, case, sources, tuple(present), seed_of(rng))
    found = run_tasks(task, tasks, workers=workers)
    drawn: dict[str, list[float]] = {}
    for statistics in found:
        for key, values in statistics.items():
            drawn.setdefault(key, []).extend(values)
    if not can_be_replicated(case):
        rows = [_too_many(row) if row.test in PREPIVOTED else row for row in rows]
    keyed = [(row, _key(row.test, row.of)) for row in rows]
    return tuple(
        _with_p_value(row, drawn.get(key, []), replicates, *drawn.get(OWN + key, [])) for row, key in keyed
    )


def one_draw(case: Case, tests: Sequence[str], seed: np.random.SeedSequence) -> dict[str, float]:
    """How far out the statistic of each test is on one panel drawn under its null; absent where there is none."""
    wanted: set[str] = set(tests)
    out: dict[str, float] = {}
    for null, stream in zip(NULLS.values(), seed.spawn(len(NULLS)), strict=True):
        source = _source(case, null, wanted)
        if source is not None:
            rows = _drawn_rows(case, source, null, wanted, stream)
            out |= {row.test: float(extremeness(row, row.statistic)) for row in rows}
    return out


def extremeness(row: Row, statistic: ArrayLike) -> Array:
    """What is compared between data and draws: the statistic, or its size where both sides of a normal law reject."""
    return (
        np.abs(statistic) if not np.isfinite(row.df) and row.test not in ONE_SIDED else np.asarray(statistic)
    )


def _together(case: Case, null: Null) -> bool:
    return case.together and null.together(case)


def _source(case: Case, null: Null, present: set[str]) -> FitSource | RandomSource | None:
    """What to draw from; None where no test of this null is in the table or the null cannot be estimated."""
    if not present.intersection(null.tests):
        return None
    try:
        return null.source(case)
    except SpatialZbError:
        return None


def _statistics(
    case: Case,
    sources: dict[str, Any],
    present: tuple[str, ...],
    seed: np.random.SeedSequence,
    task: tuple[str, int, int],
) -> dict[str, Array]:
    """Statistics (R,) of the tests of one null on panels drawn under it: so many, from that place among all."""
    name, place, replicates = task
    source, null = sources[name], NULLS[name]
    if not _together(case, null):
        rows = _drawn_rows(case, source, null, set(present), child_of(seed, place))
        return {_key(row.test, row.of): np.array([row.statistic]) for row in rows}
    tests = set(present).intersection(null.tests)
    if null.apart:
        Y = source.each([np.random.default_rng(child_of(seed, place + r)) for r in range(replicates)])
        return {_key(*key): values for key, values in replicated_statistics(case, tests, Y).items()}
    first, second = child_of(seed, place).spawn(2)
    Y = source.panels(np.random.default_rng(first), replicates)
    found = {_key(*key): values for key, values in replicated_statistics(case, tests, Y).items()}
    for test in tests.intersection(PREPIVOTED):
        own, drawn = prepivoted(case, source.fit, test, Y, found[_key(test, "")], second)
        found |= {_key(test, ""): drawn, OWN + _key(test, ""): np.array([own])}
    return found


def _drawn_rows(
    case: Case, source: FitSource | RandomSource, null: Null, present: set[str], seed: np.random.SeedSequence
) -> list[Row]:
    try:
        drawn = case.redrawn(source.each([np.random.default_rng(seed)])[0])
    except SpatialZbError:
        return []
    # one by one the robust tests have no p-value: from panels at one estimate it would mislead
    return run_tests(
        drawn, null.groups, present.intersection(null.tests).difference(PREPIVOTED, case.undrawn)
    )


def _key(test: str, of: str) -> str:
    return f"{test} | {of}"


def _too_many(row: Row) -> Row:
    note = Text(
        f"{row.note.en}; bootstrap p for complete panels of up to {SPECTRAL_UNITS} units only",
        f"{row.note.zh}；自助 p 值仅用于不超过 {SPECTRAL_UNITS} 个地区的完整面板",
    )
    return replace(row, note=note)


def _with_p_value(row: Row, drawn: list[float], replicates: int, own: float | None = None) -> Row:
    """The row with its p-value, and in its note how many draws that is read from where some are undefined.

    ``own`` is what the draws are compared with, the statistic where it is not given.
    """
    p = _p_value(row, drawn, replicates, row.statistic if own is None else own)
    defined = int(np.isfinite(drawn).sum())
    if not np.isfinite(p) or defined == replicates:
        return replace(row, p_bootstrap=p)
    note = Text(
        f"{row.note.en}; bootstrap p from {defined} of {replicates} draws, undefined in the others",
        f"{row.note.zh}；自助 p 值取自 {replicates} 次抽样中的 {defined} 次，其余无定义",
    )
    return replace(row, p_bootstrap=p, note=note)


def _p_value(row: Row, drawn: list[float], replicates: int, own: float) -> float:
    """NaN where the test is undefined in the data, or in more than half of the draws."""
    values = np.array(drawn)
    values = values[np.isfinite(values)]
    if not np.isfinite(own) or len(values) < replicates / 2:
        return float("nan")
    far = extremeness(row, values) >= extremeness(row, own)
    return float((1 + far.sum()) / (1 + len(values)))
