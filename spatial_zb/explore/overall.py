"""Global statistics of spatial association, period by period or for all periods together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from spatial_zb.base.arguments import Rng
from spatial_zb.base.errors import not_one_of
from spatial_zb.base.text import Text
from spatial_zb.base.threads import one_thread
from spatial_zb.core import statistics as cross
from spatial_zb.core.statistics import (
    Alternative,
    moran_i,
    moran_permutations,
    normal_p_value,
    permutation_p_value,
)
from spatial_zb.core.statistics.local import with_self
from spatial_zb.data.panel import Panel
from spatial_zb.explore.checks import (
    MoranTable,
    Options,
    Slice,
    StatisticTable,
    ready,
    refuse_negative,
    refuse_negative_weights,
    slices,
)
from spatial_zb.weights.matrix import Weights
from spatial_zb.weights.periods import any_weights


@one_thread
def moran(
    panel: Panel,
    variable: str,
    W: Any,
    *,
    permutations: int = 999,
    rng: Rng = None,
    alternative: Alternative = "two-sided",
) -> MoranTable:
    """Moran's I of a variable in every period, with analytic and permutation p-values.

    In a panel whose units come and go each period is that of the units present, and the table counts them (``units``).

    Parameters
    ----------
    panel, variable
        The panel and the name of one of its variables.
    W
        Weights, a W by period (:func:`zb.weights.by_period`), or anything :func:`as_weights` takes; units are matched by id.
    permutations
        Random assignments of values to units behind ``p_sim``; 0 leaves ``p_sim`` NaN.
    rng
        Seed. Each period draws from its own stream, so that results do not depend on the order of work.
    alternative
        ``"two-sided"`` (default), ``"greater"`` (clustering) or ``"less"`` (dispersion), for both p-values.

    Raises
    ------
    DataError
        A blank cell or a constant variable, naming unit and period.
    SpecificationError
        An unknown alternative or a negative number of permutations.
    """
    options = Options(permutations, rng, alternative)
    found = slices(panel, (variable,), W, "Moran's I", Text("do not count in Moran's I", "不计入莫兰指数"))

    def one(values: np.ndarray, weights: Weights) -> tuple[cross.Result, Callable]:
        x, matrix = values[0], weights.matrix
        return moran_i(x, matrix), lambda count, stream: moran_permutations(x, matrix, count, stream)

    frame, label = _periods("I", panel, found, options, one), any_weights(W).label
    return MoranTable(variable, label, options.permutations, options.alternative, frame, (panel, W))


def bivariate_moran(
    panel: Panel,
    x: str,
    y: str,
    W: Any,
    *,
    permutations: int = 999,
    rng: Rng = None,
    alternative: Alternative = "two-sided",
) -> StatisticTable:
    """Is x of a unit associated with y of its neighbours? ``I`` in every period.

    I = (n/S₀) a'Wb / √(a'a b'b), a and b the deviations of x and y from their means. Under the null the values
    of y change places and those of x stay, so that ``z`` has exact moments. Where x and y go together within a
    unit and y is clustered, I differs from zero without any influence of neighbours: read it with the
    correlation of x and y, or use :func:`lee`.

    Parameters
    ----------
    panel, x, y, W
        x of the unit itself, y of its neighbours; the other parameters and errors are those of :func:`moran`.

    Notes
    -----
    Anselin, L., Syabri, I. & Smirnov, O. (2002), Visualizing multivariate spatial correlation with dynamically
    linked windows. CSISS, Santa Barbara.
    """
    options = Options(permutations, rng, alternative)
    found = slices(
        panel,
        (x, y),
        W,
        "bivariate Moran's I",
        Text("do not count in bivariate Moran's I", "不计入双变量莫兰指数"),
    )

    def one(values: np.ndarray, weights: Weights) -> tuple[cross.Result, Callable]:
        own, theirs = values
        return cross.bivariate_moran(
            own, theirs, weights.matrix
        ), lambda count, stream: cross.bivariate_moran_permutations(
            own, theirs, weights.matrix, count, stream
        )

    return _by_period("I", panel, (x, y), W, found, options, one)


def geary(
    panel: Panel,
    variable: str,
    W: Any,
    *,
    permutations: int = 999,
    rng: Rng = None,
    alternative: Alternative = "two-sided",
) -> StatisticTable:
    """Geary's ``C`` in every period: below 1 where neighbours are alike, above 1 where they differ.

    C = (n−1) Σ_ij w_ij (x_i − x_j)² / (2 S₀ Σ_i z_i²). ``alternative`` speaks of the value of C, so that
    ``"less"`` is clustering. Units without neighbours stay in n, in the mean and among the permuted values, so
    that E C = 1. The parameters and errors are those of :func:`moran`.

    Notes
    -----
    Geary, R.C. (1954), The Incorporated Statistician 5: 115-145; variance under randomisation.
    """
    options = Options(permutations, rng, alternative)
    found = slices(
        panel, (variable,), W, "Geary's C", Text("have no pair in Geary's C", "在Geary's C中没有配对")
    )
    kernel = _exchange(lambda values, weights: cross.geary_c(values[0], weights.matrix))
    return _by_period("C", panel, (variable,), W, found, options, kernel)


def general_g(
    panel: Panel,
    variable: str,
    W: Any,
    *,
    permutations: int = 999,
    rng: Rng = None,
    alternative: Alternative = "two-sided",
) -> StatisticTable:
    """Getis and Ord's general ``G`` in every period: above its mean where high values meet, below where low do.

    G = Σ_ij w_ij x_i x_j / Σ_{i≠j} x_i x_j for a variable with a natural zero. Usual with binary W (a distance
    band or contiguity, not row-normalised). The parameters are those of :func:`moran`.

    Raises
    ------
    DataError
        As in :func:`moran`; also a negative value, or fewer than two positive ones.

    Notes
    -----
    Getis, A. & Ord, J.K. (1992), Geographical Analysis 24: 189-206; variance under randomisation.
    """
    options = Options(permutations, rng, alternative)
    found = slices(
        panel, (variable,), W, "General G", Text("have no pair in General G", "在General G中没有配对")
    )
    refuse_negative(panel, variable)
    kernel = _exchange(lambda values, weights: cross.general_g(values[0], weights.matrix))
    return _by_period("G", panel, (variable,), W, found, options, kernel)


def lee(
    panel: Panel,
    x: str,
    y: str,
    W: Any,
    *,
    include_self: bool = False,
    permutations: int = 999,
    rng: Rng = None,
    alternative: Alternative = "two-sided",
) -> StatisticTable:
    """Lee's ``L`` in every period: the correlation of x and y after smoothing both over neighbours.

    L = n/Σ_i(Σ_j w_ij)² · Σ_i (Wa)_i (Wb)_i / √(a'a b'b). Under the null pairs (x, y) change places together,
    so the correlation within units is part of the null and not taken for a spatial one.

    Parameters
    ----------
    panel, x, y, W
        The order of x and y does not matter; the other parameters and errors are those of :func:`moran`.
    include_self
        Smooth over the unit itself too, as Lee does, with the largest weight of its row; not with negative weights.

    Notes
    -----
    Lee, S.-I. (2001), J. Geographical Systems 3: 369-385; moments: Lee (2004), Environment and Planning A 36.
    """
    options = Options(permutations, rng, alternative)
    found = slices(
        panel, (x, y), W, "Lee's L", Text("are smoothed to zero in Lee's L", "在Lee's L中平滑为零")
    )

    def build(values: np.ndarray, weights: Weights) -> cross.CrossProduct:
        if include_self:
            refuse_negative_weights(weights, "Lee's L with include_self")
        return cross.lee_l(
            values[0], values[1], with_self(weights.matrix) if include_self else weights.matrix
        )

    return _by_period("L", panel, (x, y), W, found, options, _exchange(build))


def pooled_moran(
    panel: Panel,
    variable: str,
    W: Any,
    *,
    centre: Literal["period", "all"] = "period",
    permutations: int = 999,
    rng: Rng = None,
    alternative: Alternative = "two-sided",
) -> StatisticTable:
    """One Moran's ``I`` for all periods together, W linking units within each period.

    I = (n/S₀) Σ_t z_t'Wz_t / Σ_t z_t'z_t. Under the null whole histories change places between units, so that
    persistence over time does not pass for many independent observations; ``z`` has the exact moments of it.

    Parameters
    ----------
    centre
        ``"period"``: z is the deviation from the mean of its period, a common trend plays no part. ``"all"``:
        from the mean of all cells, so that a trend counts as association.
    panel, variable, W, permutations, rng, alternative
        As in :func:`moran`, and so are the errors.

    Returns
    -------
    StatisticTable of one row, with ``n_periods`` in place of ``period``.
    """
    if centre not in ("period", "all"):
        raise not_one_of("centre", centre, ("period", "all"))
    options = Options(permutations, rng, alternative)
    panel, weights = ready(
        panel, (variable,), W, "Moran's I", Text("do not count in Moran's I", "不计入莫兰指数")
    )
    x = panel.array(variable)
    z = x - (x.mean(axis=1, keepdims=True) if centre == "period" else x.mean())
    return pooled(z, variable, weights, options)


def _exchange(build: Callable[[np.ndarray, Weights], cross.CrossProduct]) -> Callable:
    """A kernel for :func:`_by_period` from a statistic whose units change places."""

    def one(values: np.ndarray, weights: Weights) -> tuple[cross.Result, Callable]:
        statistic = build(values, weights)
        return cross.cross_product(statistic), lambda count, stream: cross.cross_product_permutations(
            statistic, count, stream
        )

    return one


def _periods(
    statistic: str,
    panel: Panel,
    found: Sequence[Slice],
    options: Options,
    kernel: Callable[[np.ndarray, Weights], tuple[cross.Result, Callable]],
) -> pd.DataFrame:
    """A row for each period, with the number of units where that differs."""
    rows = []
    for one, seed in zip(found, options.streams(panel.periods), strict=True):
        result, draw = kernel(one.values, one.weights)
        row = {"period": one.period, **_tested(statistic, result, draw, seed, options)}
        rows.append(row | ({"units": len(one.ids)} if panel.uneven else {}))
    return pd.DataFrame(rows)


def _by_period(
    statistic: str,
    panel: Panel,
    names: tuple[str, ...],
    W: Any,
    found: Sequence[Slice],
    options: Options,
    kernel: Callable[[np.ndarray, Weights], tuple[cross.Result, Callable]],
) -> StatisticTable:
    frame, label = _periods(statistic, panel, found, options, kernel), any_weights(W).label
    return StatisticTable(statistic, names, label, options.permutations, options.alternative, frame)


def pooled(z: np.ndarray, name: str, weights: Weights, options: Options) -> StatisticTable:
    result, draw = _exchange(lambda values, W: cross.pooled_moran(values, W.matrix))(z, weights)
    seed = options.streams((0,))[0]
    row = {"n_periods": len(z), **_tested("I", result, draw, seed, options)}
    return StatisticTable(
        "I", (name,), weights.label, options.permutations, options.alternative, pd.DataFrame([row])
    )


def _tested(
    name: str,
    result: cross.Result,
    draw: Callable,
    seed: np.random.SeedSequence,
    options: Options,
) -> dict[str, float]:
    p_sim = float("nan")
    if options.permutations and np.isnan(result.std_dev):
        p_sim = 1.0  # it cannot vary: every permutation ties, and differs by rounding only
    elif options.permutations:
        reference = draw(options.permutations, np.random.default_rng(seed))
        p_sim = permutation_p_value(result.value, reference, options.alternative)
    return {**analytic(name, result, options.alternative), "p_sim": p_sim}


def analytic(name: str, result: cross.Result, alternative: Alternative) -> dict[str, float]:
    return {
        name: result.value,
        "expected": result.expected,
        "std_dev": result.std_dev,
        "z": result.z,
        "p_value": float(normal_p_value(result.z, alternative)),
    }
