"""Spatial association of variables: global statistics period by period, and local ones unit by unit."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from spatial_zb.core import cross_product as cross
from spatial_zb.core import local_statistics as local
from spatial_zb.core.local_statistics import Adjustment
from spatial_zb.core.moran import (
    Alternative,
    moran_i,
    moran_permutations,
    normal_p_value,
    permutation_p_value,
)
from spatial_zb.core.residual_moran import residual_moran_i
from spatial_zb.data.panel import Panel
from spatial_zb.errors import AlignmentError, DataError, SpatialZbWarning, SpecificationError, listed
from spatial_zb.weights.matrix import Weights, as_weights

__all__ = [
    "LocalTable",
    "MoranTable",
    "StatisticTable",
    "bivariate_moran",
    "geary",
    "general_g",
    "lee",
    "local_bivariate_moran",
    "local_g",
    "local_moran",
    "moran",
    "pooled_moran",
    "residual_moran",
]

Seed = int | np.random.SeedSequence | None
NOT_SIGNIFICANT, NO_NEIGHBOURS = "not significant", "no neighbours"
#: Words of `cluster` → codes of :func:`spatial_zb.report.maps.cluster_map`, where missing means no neighbours.
MAP_CODES = {NOT_SIGNIFICANT: "ns", NO_NEIGHBOURS: None}


# --- results -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class MoranTable:
    """Global Moran's I of one variable in every period."""

    variable: str
    weights: str
    permutations: int
    alternative: Alternative
    frame: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """One row per ``period``: ``I, expected, std_dev, z, p_value, p_sim``."""
        return self.frame.copy()

    tidy = table

    def glance(self) -> pd.DataFrame:
        """What was computed, in one row."""
        return pd.DataFrame(
            {
                "variable": [self.variable],
                "weights": [self.weights],
                "permutations": [self.permutations],
                "alternative": [self.alternative],
            }
        )


@dataclass(frozen=True, eq=False)
class StatisticTable:
    """Another global statistic, named ``statistic``, of one or two variables."""

    statistic: str
    variables: tuple[str, ...]
    weights: str
    permutations: int
    alternative: Alternative
    frame: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """One row per ``period``: the statistic, ``expected, std_dev, z, p_value, p_sim``."""
        return self.frame.copy()

    tidy = table

    def glance(self) -> pd.DataFrame:
        """What was computed, in one row."""
        return pd.DataFrame(
            {
                "statistic": [self.statistic],
                "variables": [", ".join(self.variables)],
                "weights": [self.weights],
                "permutations": [self.permutations],
                "alternative": [self.alternative],
            }
        )


@dataclass(frozen=True, eq=False)
class LocalTable:
    """A local statistic of every unit in one period.

    ``frame`` is indexed by unit, in the order of the panel; units without neighbours have NaN and the cluster
    ``"no neighbours"``.
    """

    statistic: str
    variables: tuple[str, ...]
    period: int
    weights: str
    permutations: int
    alternative: Alternative
    adjust: Adjustment | None
    alpha: float
    frame: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """One row per unit."""
        return self.frame.copy()

    def tidy(self) -> pd.DataFrame:
        """The same with the unit as a column."""
        return self.frame.reset_index()

    def glance(self) -> pd.DataFrame:
        """What was computed, in one row, with the number of units in each cluster."""
        row = {
            "statistic": self.statistic,
            "variables": ", ".join(self.variables),
            "period": self.period,
            "weights": self.weights,
            "permutations": self.permutations,
            "alternative": self.alternative,
            "adjust": self.adjust or "none",
            "alpha": self.alpha,
        }
        return pd.DataFrame([row | {str(k): v for k, v in self.frame["cluster"].value_counts().items()}])

    def codes(self) -> pd.Series:
        """Clusters by unit as the maps name them: ``"ns"`` for not significant, missing for no neighbours."""
        return self.frame["cluster"].map(lambda word: MAP_CODES.get(word, word)).astype(object)


# --- global statistics -------------------------------------------------------------------------------------


def moran(
    panel: Panel,
    variable: str,
    W: Any,
    *,
    permutations: int = 999,
    rng: Seed = None,
    alternative: Alternative = "two-sided",
) -> MoranTable:
    """Moran's I of a variable in every period, with analytic and permutation p-values.

    Parameters
    ----------
    panel, variable
        The panel and the name of one of its variables.
    W
        Weights, or anything :func:`as_weights` takes; units are matched by id.
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
    weights = _checked(panel, (variable,), W, permutations, alternative, "Moran's I")
    _mention_islands(weights, "do not count in Moran's I")
    rows = [
        _moran_row(period, x, weights, permutations, seed, alternative)
        for period, x, seed in zip(
            panel.periods, panel.array(variable), _streams(rng, panel.periods), strict=True
        )
    ]
    return MoranTable(variable, weights.label, permutations, alternative, pd.DataFrame(rows))


def bivariate_moran(
    panel: Panel,
    x: str,
    y: str,
    W: Any,
    *,
    permutations: int = 999,
    rng: Seed = None,
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
    panel = _by_id(panel)
    weights = _checked(panel, (x, y), W, permutations, alternative, "bivariate Moran's I")
    _mention_islands(weights, "do not count in bivariate Moran's I")

    def one(values: np.ndarray) -> tuple[cross.Result, Callable]:
        own, theirs = values
        return cross.bivariate_moran(
            own, theirs, weights.matrix
        ), lambda count, stream: cross.bivariate_moran_permutations(
            own, theirs, weights.matrix, count, stream
        )

    return _by_period("I", panel, (x, y), weights, (permutations, rng, alternative), one)


def geary(
    panel: Panel,
    variable: str,
    W: Any,
    *,
    permutations: int = 999,
    rng: Seed = None,
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
    panel = _by_id(panel)
    weights = _checked(panel, (variable,), W, permutations, alternative, "Geary's C")
    _mention_islands(weights, "have no pair in Geary's C")
    kernel = _exchange(lambda values: cross.geary_c(values[0], weights.matrix))
    return _by_period("C", panel, (variable,), weights, (permutations, rng, alternative), kernel)


def general_g(
    panel: Panel,
    variable: str,
    W: Any,
    *,
    permutations: int = 999,
    rng: Seed = None,
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
    panel = _by_id(panel)
    weights = _checked(panel, (variable,), W, permutations, alternative, "General G")
    _refuse_negative(panel, variable)
    _mention_islands(weights, "have no pair in General G")
    kernel = _exchange(lambda values: cross.general_g(values[0], weights.matrix))
    return _by_period("G", panel, (variable,), weights, (permutations, rng, alternative), kernel)


def lee(
    panel: Panel,
    x: str,
    y: str,
    W: Any,
    *,
    include_self: bool = False,
    permutations: int = 999,
    rng: Seed = None,
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
        Smooth over the unit itself too, as Lee does, with the largest weight of its row.

    Notes
    -----
    Lee, S.-I. (2001), J. Geographical Systems 3: 369-385; moments: Lee (2004), Environment and Planning A 36.
    """
    panel = _by_id(panel)
    weights = _checked(panel, (x, y), W, permutations, alternative, "Lee's L")
    _mention_islands(weights, "are smoothed to zero in Lee's L")
    matrix = local.with_self(weights.matrix) if include_self else weights.matrix
    kernel = _exchange(lambda values: cross.lee_l(values[0], values[1], matrix))
    return _by_period("L", panel, (x, y), weights, (permutations, rng, alternative), kernel)


def pooled_moran(
    panel: Panel,
    variable: str,
    W: Any,
    *,
    centre: Literal["period", "all"] = "period",
    permutations: int = 999,
    rng: Seed = None,
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
        raise SpecificationError(f'centre must be "period" or "all", not {centre!r}.')
    panel = _by_id(panel)
    weights = _checked(panel, (variable,), W, permutations, alternative, "Moran's I")
    _mention_islands(weights, "do not count in Moran's I")
    x = panel.array(variable)
    z = x - (x.mean(axis=1, keepdims=True) if centre == "period" else x.mean())
    return _pooled(z, variable, weights, (permutations, rng, alternative))


def residual_moran(
    residuals: Any,
    W: Any = None,
    *,
    units: Any = None,
    regressors: np.ndarray | None = None,
    permutations: int = 999,
    rng: Seed = None,
    alternative: Alternative = "two-sided",
) -> StatisticTable:
    """Moran's ``I`` of the residuals of a fit, all periods together.

    Parameters
    ----------
    residuals
        A :class:`~spatial_zb.models.fit.Fit`; a Series by unit; a DataFrame with periods as rows and units as
        columns; or an array (n,) or (T, n) with ``units``.
    W
        Weights; those of the fit by default.
    units
        Ids of the columns of an array.
    regressors
        The (n, k) or (T, n, k) regressors behind an array of least-squares residuals, intercept included. A
        fit brings its own.
    permutations, rng, alternative
        As in :func:`moran`; histories of units change places. With few observations this ignores that
        residuals were fitted: prefer ``p_value`` where there is one.

    Returns
    -------
    StatisticTable of one row. ``expected, std_dev, z, p_value`` are those of Cliff & Ord (1981) for normal
    errors after least squares (OLS and SLX, with fixed effects among the regressors). They are NaN for a fit
    with ρ, λ, random effects or instruments, whose residuals obey other laws: use ``diagnose`` there. For an
    array without ``regressors`` they are those of a variable, as in :func:`pooled_moran`.

    Raises
    ------
    AlignmentError
        An array without ``units``, or units that differ from those of W.
    DataError
        A residual that is not a number.
    SpecificationError
        No W, or as in :func:`moran`.
    """
    e, ids, Z, effects, fitted = _residual_arrays(residuals, units, regressors)
    order = np.argsort(ids.to_numpy())
    e, ids, Z = e[:, order], ids[order], None if Z is None else Z[:, order]
    if W is None and not fitted:
        raise SpecificationError("Residuals alone do not say who is whose neighbour: pass W.")
    _check_options(permutations, alternative)
    weights = as_weights(residuals.weights if W is None else W).align(ids, "residuals")
    if not np.isfinite(e).all():
        raise DataError(f"Residuals of {listed(ids[~np.isfinite(e).all(axis=0)])} are not finite numbers.")
    _mention_islands(weights, "do not count in Moran's I")
    out = _pooled(e, "residuals", weights, (permutations, rng, alternative))
    if Z is None and not fitted:
        return out
    result = cross.Result(float(out.frame["I"].iloc[0]), np.nan, np.nan)
    if Z is not None:
        result = residual_moran_i(e, Z, weights.matrix, effects)
    for name, value in _analytic("I", result, alternative).items():
        out.frame[name] = value
    return out


# --- local statistics --------------------------------------------------------------------------------------


def local_moran(
    panel: Panel,
    variable: str,
    W: Any,
    *,
    period: int | None = None,
    permutations: int = 9999,
    rng: Seed = None,
    adjust: Adjustment | None = "fdr",
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> LocalTable:
    """Local Moran's I of every unit in one period.

    I_i = (n−1) z_i Σ_j w_ij z_j / Σ_i z_i², as in GeoDa and esda, so that Σ I_i = (n−1)/n · S₀ · I. (R's spdep
    has n in place of n−1.)

    Parameters
    ----------
    panel, variable, W
        As in :func:`moran`.
    period
        May be left out when the panel has only one.
    permutations
        Deals of the other units' values to a unit's neighbours, its own value in place. All units share them;
        0 leaves p-values NaN and clusters empty.
    rng
        Seed. The stream belongs to the position of the period in the panel: results do not depend on what else
        is computed, nor in which order.
    adjust
        Correction of p-values for their number: ``"fdr"`` (Benjamini–Hochberg, as Caldas de Castro & Singer
        2006), ``"bonferroni"`` or None.
    alpha
        A unit is in a cluster when ``p_adjusted`` is below it.
    alternative
        ``"two-sided"`` (default), ``"greater"`` (like its neighbours) or ``"less"`` (unlike them).

    Returns
    -------
    LocalTable with ``I, z, p_sim, p_adjusted, quadrant, cluster``. ``z`` has the exact moments of the
    permutation distribution. ``quadrant`` is HH, LL, HL or LH, the unit first, its neighbours second, high
    meaning above the mean; ``cluster`` is the quadrant, "not significant" or "no neighbours".

    Raises
    ------
    DataError, SpecificationError, AlignmentError
        As in :func:`moran`; a period the panel does not have, or none named.

    Notes
    -----
    Anselin, L. (1995), Geographical Analysis 27: 93-115.
    """
    return _local_moran(
        panel, (variable,), W, period, _LocalOptions(permutations, rng, adjust, alpha, alternative)
    )


def local_bivariate_moran(
    panel: Panel,
    x: str,
    y: str,
    W: Any,
    *,
    period: int | None = None,
    permutations: int = 9999,
    rng: Seed = None,
    adjust: Adjustment | None = "fdr",
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> LocalTable:
    """Is x of this unit associated with y of its neighbours? Local bivariate Moran's I in one period.

    I_i = (n−1) a_i Σ_j w_ij b_j / √(a'a b'b), a and b deviations of x and y. The values of y of all other units
    are dealt to the neighbours. Quadrants are x of the unit first, y of its neighbours second: HL is a unit
    high in x among neighbours low in y. Everything else as in :func:`local_moran`.
    """
    return _local_moran(
        panel, (x, y), W, period, _LocalOptions(permutations, rng, adjust, alpha, alternative)
    )


def local_g(
    panel: Panel,
    variable: str,
    W: Any,
    *,
    period: int | None = None,
    star: bool = False,
    permutations: int = 9999,
    rng: Seed = None,
    adjust: Adjustment | None = "fdr",
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> LocalTable:
    """Getis and Ord's local G of every unit in one period, or G* with ``star``: hot and cold spots.

    G_i = Σ_j w_ij x_j / Σ_j x_j over j ≠ i. In G*_i the unit itself counts, with the largest weight of its
    row; a row that sums to one keeps that sum. The other parameters are those of :func:`local_moran`.

    Returns
    -------
    LocalTable with ``G, z, p_value, p_sim, p_adjusted, cluster``; ``cluster`` is "hot", "cold", "not
    significant" or "no neighbours". ``z`` and ``p_value`` follow Ord & Getis (1995). ``p_sim`` keeps the
    unit's own value in place, as GeoDa and esda do, so that it is the same for G and G*; it is what
    ``p_adjusted`` starts from.

    Raises
    ------
    DataError
        As in :func:`general_g`.
    """
    options = _LocalOptions(permutations, rng, adjust, alpha, alternative)
    weights, one, seed = _local_inputs(panel, (variable,), W, period, options, "Local G")
    _refuse_negative(one, variable)
    x = one.array(variable)[0]
    G, z, p_sim = local.local_g(x, weights.matrix, star, permutations, seed, alternative)
    frame = pd.DataFrame(
        {"G": G, "z": z, "p_value": normal_p_value(z, alternative), "p_sim": p_sim},
        index=one.units.rename("unit"),
    )
    lag = weights.matrix @ (x - x.mean())
    return _local_table(
        "G*" if star else "G", (variable,), one, weights, options, frame, _spots(lag), panel.units
    )


@dataclass(frozen=True, slots=True)
class _LocalOptions:
    permutations: int
    rng: Seed
    adjust: Adjustment | None
    alpha: float
    alternative: Alternative


def _local_moran(
    panel: Panel, names: tuple[str, ...], W: Any, period: int | None, options: _LocalOptions
) -> LocalTable:
    weights, one, seed = _local_inputs(panel, names, W, period, options, "Local Moran's I")
    x, y = one.array(names[0])[0], one.array(names[-1])[0]
    result = local.local_moran_i(x, y, weights.matrix, options.permutations, seed, options.alternative)
    index = one.units.rename("unit")
    frame = pd.DataFrame({"I": result.I, "z": result.z, "p_sim": result.p_sim}, index=index)
    quadrant = np.where(result.high, "H", "L").astype(object) + np.where(result.high_lag, "H", "L")
    frame["quadrant"] = pd.Series(quadrant, index).mask(result.alone)
    return _local_table("I", names, one, weights, options, frame, quadrant, panel.units)


def _local_inputs(
    panel: Panel, names: tuple[str, ...], W: Any, period: int | None, options: _LocalOptions, what: str
) -> tuple[Weights, Panel, np.random.SeedSequence]:
    """Check everything; give W and the panel of this period, both by id, and the period's own seed."""
    if period is None and len(panel.periods) > 1:
        raise SpecificationError(f"Name one period: {listed(panel.periods)}.")
    one = _by_id(panel.select(periods=[panel.periods[0] if period is None else period]))
    if options.adjust is not None and options.adjust not in local.ADJUSTMENTS:
        raise SpecificationError(
            f"adjust must be one of {listed(local.ADJUSTMENTS)} or None, not {options.adjust!r}."
        )
    if not 0 < options.alpha < 1:
        raise SpecificationError(f"alpha must be between 0 and 1, not {options.alpha}.")
    weights = _checked(one, names, W, options.permutations, options.alternative, what)
    _mention_islands(weights, f"have no {what}")
    _mention_coarse(options, weights)
    return weights, one, _streams(options.rng, panel.periods)[panel.periods.index(one.periods[0])]


def _local_table(
    statistic: str,
    names: tuple[str, ...],
    one: Panel,
    weights: Weights,
    options: _LocalOptions,
    frame: pd.DataFrame,
    words: np.ndarray,
    units: pd.Index,
) -> LocalTable:
    """Adjust p-values, say in ``cluster`` which of the ``words`` are significant, and order by ``units``."""
    adjusted = local.adjusted_p_values(frame["p_sim"].to_numpy(), options.adjust)
    cluster = pd.Series(np.where(adjusted < options.alpha, words, NOT_SIGNIFICANT), frame.index, dtype=object)
    cluster = cluster.mask(np.isnan(adjusted))
    alone = np.diff(weights.matrix.indptr) == 0
    frame.insert(frame.columns.get_loc("p_sim") + 1, "p_adjusted", adjusted)
    frame["cluster"] = cluster.mask(alone, NO_NEIGHBOURS)
    if not frame.index.equals(units):
        frame = frame.loc[units].rename_axis("unit")
    return LocalTable(
        statistic,
        names,
        one.periods[0],
        weights.label,
        options.permutations,
        options.alternative,
        options.adjust,
        options.alpha,
        frame,
    )


def _spots(lag: np.ndarray) -> np.ndarray:
    return np.where(lag > 0, "hot", "cold").astype(object)


# --- what they share ---------------------------------------------------------------------------------------


def _checked(
    panel: Panel, names: tuple[str, ...], W: Any, permutations: int, alternative: str, what: str
) -> Weights:
    """Check options, weights and values; give W in the order of the panel."""
    _check_options(permutations, alternative)
    weights = as_weights(W)
    if not weights.ids.equals(panel.units):
        weights = weights.align(panel.units)
    for name in dict.fromkeys(names):
        _refuse_unusable(panel, name, panel.array(name), what)
    return weights


def _by_id(panel: Panel) -> Panel:
    """The panel in the order of its ids: the order in which units came must not steer random draws."""
    if panel.units.is_monotonic_increasing:
        return panel
    order = np.argsort(panel.units.to_numpy())
    return replace(panel, values=panel.values[:, order], units=panel.units[order])


def _check_options(permutations: int, alternative: str) -> None:
    if alternative not in get_args(Alternative):
        raise SpecificationError(
            f"alternative must be one of {listed(get_args(Alternative))}, not {alternative!r}."
        )
    if permutations < 0:
        raise SpecificationError(f"permutations must be zero or more, not {permutations}.")


def _streams(rng: Seed, periods: tuple[int, ...]) -> list[np.random.SeedSequence]:
    """One seed for each period; the caller's SeedSequence stays as it was."""
    root = rng if isinstance(rng, np.random.SeedSequence) else np.random.SeedSequence(rng)
    fresh = np.random.SeedSequence(root.entropy, spawn_key=root.spawn_key, pool_size=root.pool_size)
    return fresh.spawn(len(periods))


def _exchange(build: Callable[[np.ndarray], cross.CrossProduct]) -> Callable:
    """A kernel for :func:`_by_period` from a statistic whose units change places."""

    def one(values: np.ndarray) -> tuple[cross.Result, Callable]:
        statistic = build(values)
        return cross.cross_product(statistic), lambda count, stream: cross.cross_product_permutations(
            statistic, count, stream
        )

    return one


def _by_period(
    statistic: str,
    panel: Panel,
    names: tuple[str, ...],
    weights: Weights,
    options: tuple[int, Seed, Alternative],
    kernel: Callable[[np.ndarray], tuple[cross.Result, Callable]],
) -> StatisticTable:
    permutations, rng, alternative = options
    stacked = np.stack([panel.array(name) for name in names], axis=1)
    rows = []
    for period, values, seed in zip(panel.periods, stacked, _streams(rng, panel.periods), strict=True):
        result, draw = kernel(values)
        rows.append({"period": period, **_tested(statistic, result, draw, permutations, seed, alternative)})
    return StatisticTable(statistic, names, weights.label, permutations, alternative, pd.DataFrame(rows))


def _pooled(
    z: np.ndarray, name: str, weights: Weights, options: tuple[int, Seed, Alternative]
) -> StatisticTable:
    permutations, rng, alternative = options
    result, draw = _exchange(lambda values: cross.pooled_moran(values, weights.matrix))(z)
    seed = _streams(rng, (0,))[0]
    row = {"n_periods": len(z), **_tested("I", result, draw, permutations, seed, alternative)}
    return StatisticTable("I", (name,), weights.label, permutations, alternative, pd.DataFrame([row]))


def _tested(
    name: str,
    result: cross.Result,
    draw: Callable,
    permutations: int,
    seed: np.random.SeedSequence,
    alternative: Alternative,
) -> dict[str, float]:
    p_sim = float("nan")
    if permutations:
        reference = draw(permutations, np.random.default_rng(seed))
        p_sim = permutation_p_value(result.value, reference, alternative)
    return {**_analytic(name, result, alternative), "p_sim": p_sim}


def _analytic(name: str, result: cross.Result, alternative: Alternative) -> dict[str, float]:
    return {
        name: result.value,
        "expected": result.expected,
        "std_dev": result.std_dev,
        "z": result.z,
        "p_value": float(normal_p_value(result.z, alternative)),
    }


def _moran_row(
    period: int,
    x: np.ndarray,
    W: Weights,
    permutations: int,
    seed: np.random.SeedSequence,
    alternative: Alternative,
) -> dict[str, float]:
    result = moran_i(x, W.matrix)
    p_sim = float("nan")
    if permutations:
        reference = moran_permutations(x, W.matrix, permutations, np.random.default_rng(seed))
        p_sim = permutation_p_value(result.I, reference, alternative)
    return {
        "period": period,
        "I": result.I,
        "expected": result.expected,
        "std_dev": result.std_dev,
        "z": result.z,
        "p_value": result.p_value(alternative),
        "p_sim": p_sim,
    }


def _residual_arrays(
    residuals: Any, units: Any, regressors: np.ndarray | None
) -> tuple[np.ndarray, pd.Index, np.ndarray | None, Any, bool]:
    """(T, n) residuals, ids, transformed regressors where least squares gave them, effects, whether a fit."""
    if hasattr(residuals, "design"):
        spec = residuals.spec
        least_squares = not (
            spec.lag_y
            or spec.lag_error
            or spec.endog
            or spec.fixed_effects == "random"
            or residuals.estimator == "gmm"
        )
        Z = residuals.design.Z if least_squares else None
        return residuals.residuals, residuals.panel.units, Z, spec.fixed_effects, True
    if isinstance(residuals, pd.Series):
        units, residuals = residuals.index, residuals.to_numpy(float)
    elif isinstance(residuals, pd.DataFrame):
        units, residuals = residuals.columns, residuals.to_numpy(float)
    if units is None:
        raise AlignmentError(
            "An array of residuals carries no unit ids: pass units=[...] in the order of its columns."
        )
    e = np.atleast_2d(np.asarray(residuals, float))
    if e.ndim != 2 or e.shape[1] != len(units):
        raise AlignmentError(f"Residuals have shape {e.shape}, which does not fit {len(units)} units.")
    Z = None if regressors is None else np.asarray(regressors, float)
    if Z is not None:
        Z = Z[None] if Z.ndim == 2 else Z
        if Z.shape[:2] != e.shape:
            raise SpecificationError(
                f"regressors have shape {Z.shape}, which does not fit residuals of shape {e.shape}."
            )
    return e, pd.Index(units), Z, "none", False


def _refuse_unusable(panel: Panel, variable: str, values: np.ndarray, what: str) -> None:
    blank = np.argwhere(np.isnan(values))
    if len(blank):
        cells = [f"{panel.units[i]} {panel.periods[t]}" for t, i in blank]
        raise DataError(
            f"{variable!r} is blank at {listed(cells)}. Fill these cells by a stated rule, or drop the units."
        )
    flat = [p for p, x in zip(panel.periods, values, strict=True) if np.ptp(x) == 0]
    if flat:
        raise DataError(f"{variable!r} is the same for all units in {listed(flat)}: {what} is not defined.")
    if values.shape[1] < 4:
        raise DataError(f"{what} needs at least 4 units for its variance; the panel has {values.shape[1]}.")


def _refuse_negative(panel: Panel, variable: str) -> None:
    values = panel.array(variable)
    negative = np.argwhere(values < 0)
    if len(negative):
        cells = [f"{panel.units[i]} {panel.periods[t]}" for t, i in negative]
        raise DataError(
            f"{variable!r} is negative at {listed(cells)}: G needs a variable with a natural zero. "
            "Use Moran's I, or a variable such as a level or a share."
        )
    bare = [p for p, x in zip(panel.periods, values, strict=True) if np.count_nonzero(x) < 2]
    if bare:
        raise DataError(
            f"{variable!r} is positive in fewer than two units in {listed(bare)}: G is not defined."
        )


def _mention_islands(W: Weights, fate: str) -> None:
    if len(W.islands):
        warnings.warn(
            f"Units without neighbours {fate} under {W.label!r}: {listed(W.islands)}.",
            SpatialZbWarning,
            stacklevel=_caller(),
        )


def _mention_coarse(options: _LocalOptions, weights: Weights) -> None:
    """With too few permutations no p-value can ever pass Bonferroni's bar."""
    tested = weights.n - len(weights.islands)
    smallest = (1 + (options.alternative == "two-sided")) / (1 + options.permutations)
    if options.adjust == "bonferroni" and options.permutations and smallest * tested >= options.alpha:
        needed = int(np.ceil(tested * smallest * (1 + options.permutations) / options.alpha))
        warnings.warn(
            f"{options.permutations} permutations cannot give a p-value that stays below {options.alpha} after "
            f"Bonferroni's correction for {tested} units; use at least {needed}, or adjust='fdr'.",
            SpatialZbWarning,
            stacklevel=_caller(),
        )


def _caller() -> int:
    """How many frames up the code outside this module is, for warnings."""
    import sys

    depth = 1
    frame = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        depth, frame = depth + 1, frame.f_back
    return depth
