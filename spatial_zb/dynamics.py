"""How a distribution over regions moves: densities, ellipses, inequality and its parts, convergence."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from spatial_zb.core.dispersion import dagum_gini, deviation_ellipse, ellipse_outline
from spatial_zb.data.agglomeration import theil
from spatial_zb.data.panel import Panel
from spatial_zb.errors import (
    AlignmentError,
    DataError,
    SpatialZbWarning,
    SpecificationError,
    listed,
    listed_zh,
)
from spatial_zb.models.durbin import Covariance, fit_durbin
from spatial_zb.models.estimates import coefficient_table
from spatial_zb.models.fit import Fit
from spatial_zb.models.spec import DurbinSpec, Effects, Estimator
from spatial_zb.weights.matrix import Weights, text_ids

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = [
    "BetaConvergence",
    "Decomposition",
    "Densities",
    "EllipsePath",
    "SigmaConvergence",
    "beta_convergence",
    "dagum_decomposition",
    "deviation_ellipses",
    "kernel_densities",
    "sigma_convergence",
    "theil_decomposition",
]

#: Bandwidths beyond the outermost value at which a density is still drawn.
MARGIN = 3.0
#: Names that growth and the initial level have in the fits of :func:`beta_convergence`.
GROWTH, INITIAL = "growth", "initial"


# --- kernel densities --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Densities:
    """Kernel densities of one variable by period, on one grid.

    ``grid`` (m,); ``density`` (T, m); ``bandwidths`` (T,) in the unit of the variable.
    """

    variable: str
    periods: tuple[int, ...]
    grid: np.ndarray
    density: np.ndarray
    bandwidths: np.ndarray

    def tidy(self) -> pd.DataFrame:
        """Long table ``period, value, density``."""
        T, m = self.density.shape
        return pd.DataFrame(
            {
                "period": np.repeat(self.periods, m),
                "value": np.tile(self.grid, T),
                "density": self.density.ravel(),
            }
        )

    def glance(self) -> pd.DataFrame:
        """One row per period: ``bandwidth, mode, height`` of the highest peak, and the number of ``peaks``."""
        padded = np.pad(self.density, ((0, 0), (1, 1)))
        rising = np.diff(padded, axis=1) > 0
        top = self.density.argmax(axis=1)
        return pd.DataFrame(
            {
                "period": self.periods,
                "bandwidth": self.bandwidths,
                "mode": self.grid[top],
                "height": self.density.max(axis=1),
                "peaks": (rising[:, :-1] & ~rising[:, 1:]).sum(axis=1),
            }
        )


def kernel_densities(
    panel: Panel,
    variable: str,
    *,
    periods: Sequence[int] | None = None,
    relative: bool = False,
    bandwidth: Literal["scott", "silverman"] | float = "scott",
    points: int = 256,
) -> Densities:
    """Gaussian kernel density of a variable over units, for each period on one common grid.

    Parameters
    ----------
    periods
        Some of the panel's periods; all by default.
    relative
        Divide by the mean of each period first, so that only the shape moves and not the level.
    bandwidth
        A rule of :class:`scipy.stats.gaussian_kde`, or a number in the unit of the (relative) variable.
    points
        Grid points, from three bandwidths below the least value to three above the largest.

    Raises
    ------
    DataError
        A blank cell, a variable that does not vary in a period, or a mean of zero with ``relative``.
    SpecificationError
        An unknown rule, a bandwidth that is not positive, fewer than two points.

    Examples
    --------
    Values −1 and 1 with bandwidth 1: the density at zero is φ(1) = 0.2420.

    >>> panel = Panel([[[-1.0], [1.0]]], (2019,), pd.Index(["a", "b"]), ("x",))
    >>> d = kernel_densities(panel, "x", bandwidth=1.0, points=9)
    >>> d.grid.round(6).tolist()
    [-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0]
    >>> round(d.density[0, 4].item(), 4)
    0.242
    """
    from scipy.stats import gaussian_kde  # slow to import; only densities need it

    _check_density_options(bandwidth, points)
    chosen = panel if periods is None else panel.select(periods=periods)
    x = _usable(chosen, variable)
    flat = [p for p, row in zip(chosen.periods, x, strict=True) if np.ptp(row) == 0]
    if flat:
        raise DataError(f"{variable!r} is the same for all units in {listed(flat)}: it has no density.")
    if relative:
        x = x / _means(chosen, variable, x)
    rule = bandwidth if isinstance(bandwidth, str) else None
    kernels = [gaussian_kde(row, rule or float(bandwidth) / row.std(ddof=1)) for row in x]
    widths = np.array([np.sqrt(kernel.covariance[0, 0]) for kernel in kernels])
    margin = MARGIN * widths.max()
    grid = np.linspace(x.min() - margin, x.max() + margin, points)
    density = np.stack([kernel(grid) for kernel in kernels])
    return Densities(variable, chosen.periods, grid, density, widths)


def _check_density_options(bandwidth: Any, points: int) -> None:
    if points < 2:
        raise SpecificationError(f"points must be at least 2, not {points}.")
    if isinstance(bandwidth, str):
        if bandwidth not in ("scott", "silverman"):
            raise SpecificationError(
                f'bandwidth must be "scott", "silverman" or a number, not {bandwidth!r}.'
            )
    elif not bandwidth > 0:
        raise SpecificationError(f"bandwidth must be positive, not {bandwidth}.")


# --- ellipses ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class EllipsePath:
    """Centres of gravity and standard deviational ellipses by period, and how the centre moved."""

    variable: str
    crs: Any
    frame: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """One row per ``period``.

        ``lon, lat`` of the centre in degrees (WGS 84); ``x_km, y_km`` projected; ``semi_major_km,
        semi_minor_km, angle`` (degrees clockwise from north), ``area_km2``; ``shift_km`` and ``bearing``
        (degrees clockwise from north) from the centre of the period before, NaN in the first.
        """
        return self.frame.copy()

    tidy = table

    def glance(self) -> pd.DataFrame:
        """The whole way of the centre in one row: ``path_km`` along it, ``net_km`` from first to last."""
        ends = self.frame[["x_km", "y_km"]].iloc[[0, -1]].to_numpy()
        return pd.DataFrame(
            {
                "variable": [self.variable],
                "path_km": [self.frame["shift_km"].sum()],
                "net_km": [np.hypot(*(ends[1] - ends[0]))],
            }
        )

    def outlines(self, points: int = 181) -> gpd.GeoDataFrame:
        """The ellipses as polygons by period, in ``crs``."""
        import geopandas
        from shapely.geometry import Polygon

        from spatial_zb.core.dispersion import Ellipse

        columns = ["x_km", "y_km", "semi_major_km", "semi_minor_km", "angle"]
        shapes = [
            Polygon(1000 * ellipse_outline(Ellipse(*row), points))
            for row in self.frame[columns].itertuples(index=False)
        ]
        return geopandas.GeoDataFrame({"period": self.frame["period"]}, geometry=shapes, crs=self.crs)


def deviation_ellipses(
    panel: Panel, variable: str, regions: gpd.GeoDataFrame, *, crs: Any = None, scale: float = 2**0.5
) -> EllipsePath:
    """Where a quantity is and how it spreads: centre of gravity and deviation ellipse in every period.

    Units count at their centroid with the value of the variable, which should be an amount (employees,
    output), not a ratio.

    Parameters
    ----------
    panel, variable
        Values as weights; not negative.
    regions
        Polygons with the panel's units as index; more units are allowed and left out.
    crs
        A projected reference system in metres. Default: Lambert's equal-area projection about the middle of
        the regions used.
    scale
        √2 (default) as ArcGIS draws it: about 63 % of a normal distribution lies inside. 1 gives standard
        deviations along the axes.

    Raises
    ------
    DataError
        A blank or negative value, all zero in a period, no reference system, one that is not in metres.
    AlignmentError
        A unit without polygon.

    Notes
    -----
    Formulas: :func:`spatial_zb.core.dispersion.deviation_ellipse`. Lengths near the middle of a region of a
    few hundred kilometres are true to about one in a thousand.
    """
    values = _usable(panel, variable)
    _refuse_negative(panel, variable, values)
    metres = _projected(panel, regions, crs)
    centroids = metres.centroid
    xy = np.column_stack([centroids.x, centroids.y]) / 1000
    ellipses = [deviation_ellipse(xy, row, scale) for row in values]
    path = np.array([(e.x, e.y) for e in ellipses])
    lon_lat = _degrees(path, metres.crs)
    shift, bearing = _moves(path)
    frame = pd.DataFrame(
        {
            "period": panel.periods,
            "lon": lon_lat[:, 0],
            "lat": lon_lat[:, 1],
            "x_km": path[:, 0],
            "y_km": path[:, 1],
            "semi_major_km": [e.semi_major for e in ellipses],
            "semi_minor_km": [e.semi_minor for e in ellipses],
            "angle": [e.angle for e in ellipses],
            "area_km2": [e.area for e in ellipses],
            "shift_km": shift,
            "bearing": bearing,
        }
    )
    return EllipsePath(variable, metres.crs, frame)


def _projected(panel: Panel, regions: gpd.GeoDataFrame, crs: Any) -> gpd.GeoSeries:
    """Polygons of the panel's units, in its order, in metres."""
    shapes = regions.geometry.set_axis(text_ids(regions.index))
    missing = panel.units.difference(shapes.index)
    if len(missing):
        raise AlignmentError(f"{len(missing)} unit(s) of the panel have no polygon: {listed(missing)}.")
    if shapes.crs is None:
        raise DataError("The polygons have no coordinate reference system; set it, e.g. EPSG:4490.")
    shapes = shapes.loc[panel.units]
    if crs is None:
        west, south, east, north = shapes.to_crs("EPSG:4326").total_bounds
        crs = f"+proj=laea +lat_0={(south + north) / 2:.4f} +lon_0={(west + east) / 2:.4f} +ellps=GRS80 +units=m"
    shapes = shapes.to_crs(crs)
    if not shapes.crs.is_projected or shapes.crs.axis_info[0].unit_conversion_factor != 1:
        raise DataError(f"{shapes.crs.name} does not measure in metres; name a projected system with crs=.")
    return shapes


def _degrees(path_km: np.ndarray, crs: Any) -> np.ndarray:
    from pyproj import Transformer

    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    return np.column_stack(to_degrees.transform(*(1000 * path_km).T))


def _moves(path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Length and bearing of each step, NaN first; a centre that stays has no bearing."""
    step = np.diff(path, axis=0)
    length = np.hypot(*step.T)
    bearing = np.where(length > 0, np.degrees(np.arctan2(step[:, 0], step[:, 1])) % 360, np.nan)
    return np.append(np.nan, length), np.append(np.nan, bearing)


# --- inequality --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Decomposition:
    """An index of inequality by period, its parts, and what each group or pair of groups gives.

    ``parts`` names the columns of the table that add up to ``total``.
    """

    index: str
    variable: str
    parts: tuple[str, ...]
    frame: pd.DataFrame
    by_group: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """One row per ``period``: ``total``, the parts, and each part's share ``share_<part>`` of the total."""
        return self.frame.copy()

    tidy = table

    def glance(self) -> pd.DataFrame:
        """What was computed, in one row."""
        return pd.DataFrame(
            {"index": [self.index], "variable": [self.variable], "periods": [len(self.frame)]}
        )

    def groups(self) -> pd.DataFrame:
        """Long table of groups (Theil) or pairs of groups (Dagum)."""
        return self.by_group.copy()


def theil_decomposition(
    panel: Panel, variable: str, groups: Mapping[str, object] | pd.Series, population: str | None = None
) -> Decomposition:
    """Theil's T in every period, within and between groups of units.

    T = Σ_i s_i ln(s_i/p_i) with s and p shares of the variable and of the population;
    T = Σ_g S_g T_g + Σ_g S_g ln(S_g/P_g).

    Parameters
    ----------
    groups
        Group of each unit, e.g. its province.
    population
        A variable of the panel; by default every unit counts as one.

    Returns
    -------
    Decomposition with parts ``within, between``. ``groups()`` has ``period, group, theil, share`` (S_g) and
    ``contribution`` (S_g T_g), which add up to ``within``.

    Raises
    ------
    DataError
        A blank or negative value, all zero in a period, a population that is not positive.
    AlignmentError
        A unit without group.

    Examples
    --------
    Values 1, 3 | 4, 4: only the first group is uneven, T_a = (1/4)ln(1/2) + (3/4)ln(3/2) = 0.1308, and it
    has 4 of 12. Between: (1/3)ln(2/3) + (2/3)ln(4/3) = 0.0566.

    >>> panel = Panel([[[1.0], [3.0], [4.0], [4.0]]], (2019,), pd.Index(list("wxyz")), ("v",))
    >>> theil_decomposition(panel, "v", dict(w="a", x="a", y="b", z="b")).table().round(4).iloc[0].tolist()
    [2019.0, 0.1002, 0.0436, 0.0566, 0.435, 0.565]
    """
    values = _usable(panel, variable)
    _refuse_negative(panel, variable, values)
    people = np.ones_like(values) if population is None else _usable(panel, population)
    if (people <= 0).any():
        raise DataError(f"{population!r} is not positive at {listed(_cells(panel, people <= 0))}.")
    labels = _group_labels(panel, groups)
    rows, by_group = [], []
    for period, x, n in zip(panel.periods, values, people, strict=True):
        whole = theil(x, n, labels)
        rows.append((period, whole.total, whole.within, whole.between))
        for name in dict.fromkeys(labels):
            inside = np.array([label == name for label in labels])
            share = x[inside].sum() / x.sum()
            own = theil(x[inside], n[inside]).total if share > 0 else np.nan
            by_group.append((period, name, own, share, share * own if share > 0 else 0.0))
    columns = ["period", "group", "theil", "share", "contribution"]
    return _decomposition(
        "Theil", variable, ("within", "between"), rows, pd.DataFrame(by_group, columns=columns)
    )


def dagum_decomposition(
    panel: Panel, variable: str, groups: Mapping[str, object] | pd.Series
) -> Decomposition:
    """Gini coefficient in every period, split within groups, between them (net), and by their overlap.

    Parameters
    ----------
    groups
        Group of each unit, e.g. its province.

    Returns
    -------
    Decomposition with parts ``within, between, transvariation``. ``groups()`` has ``period, group, other,
    gini`` (of one group where both names are the same) and ``affluence`` (D, NaN there).

    Raises
    ------
    DataError
        A blank or negative value, or all zero in a period.
    AlignmentError
        A unit without group.

    Notes
    -----
    Dagum (1997); formulas and an example in :func:`spatial_zb.core.dispersion.dagum_gini`.
    """
    values = _usable(panel, variable)
    _refuse_negative(panel, variable, values)
    labels = _group_labels(panel, groups)
    rows, pairs = [], []
    for period, x in zip(panel.periods, values, strict=True):
        d = dagum_gini(x, labels)
        rows.append((period, d.total, d.within, d.between, d.transvariation))
        for j, group in enumerate(d.groups):
            for h, other in enumerate(d.groups[: j + 1]):
                pairs.append((period, group, other, d.ginis[j, h], d.affluence[j, h] if j != h else np.nan))
    table = pd.DataFrame(pairs, columns=["period", "group", "other", "gini", "affluence"])
    return _decomposition("Dagum Gini", variable, ("within", "between", "transvariation"), rows, table)


def _decomposition(
    index: str, variable: str, parts: tuple[str, ...], rows: list[tuple], by_group: pd.DataFrame
) -> Decomposition:
    frame = pd.DataFrame(rows, columns=["period", "total", *parts])
    total = frame["total"].where(frame["total"] > 0)
    return Decomposition(
        index, variable, parts, frame.assign(**{f"share_{p}": frame[p] / total for p in parts}), by_group
    )


def _group_labels(panel: Panel, groups: Mapping[str, object] | pd.Series) -> list[str]:
    series = pd.Series(dict(groups), dtype=object)
    series.index = text_ids(series.index)
    missing = panel.units.difference(series.index[series.notna()])
    if len(missing):
        raise AlignmentError(f"{len(missing)} unit(s) have no group: {listed(missing)}.")
    return [str(label) for label in series.loc[panel.units]]


# --- convergence -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SigmaConvergence:
    """Dispersion by period, and its trend.

    ``frame``: one row per ``period`` (and ``group``); ``trend``: slope of ``std_dev`` and ``cv`` on the period.
    """

    variable: str
    frame: pd.DataFrame
    trend: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """One row per ``group`` and ``period``: ``mean, std_dev`` (of the logarithm), ``cv`` (of the level)."""
        return self.frame.copy()

    def tidy(self) -> pd.DataFrame:
        """Trend per period by ``group`` and ``term``, with standard errors of least squares."""
        return self.trend.copy()

    def glance(self) -> pd.DataFrame:
        """What was computed, in one row."""
        return pd.DataFrame({"variable": [self.variable], "periods": [self.frame["period"].nunique()]})


def sigma_convergence(
    panel: Panel, variable: str, groups: Mapping[str, object] | pd.Series | None = None
) -> SigmaConvergence:
    """Do units become more alike? Standard deviation of ln y and coefficient of variation of y, by period.

    σ_t = √(Σ_i (ln y_it − mean)²/n) and CV_t = √(Σ_i (y_it − ȳ_t)²/n)/ȳ_t, for all units and, with ``groups``,
    for each group. A negative trend is σ-convergence; with a few periods its p-value (Student's t, T − 2
    degrees of freedom) is a description rather than a test.

    Raises
    ------
    DataError
        A blank cell, or a value that is not positive.
    AlignmentError
        A unit without group.

    Examples
    --------
    Values e⁻¹ and e¹ have logarithms −1 and 1: σ = 1.

    >>> panel = Panel([[[np.exp(-1)], [np.exp(1)]]], (2019,), pd.Index(["a", "b"]), ("v",))
    >>> sigma_convergence(panel, "v").table()["std_dev"].round(6).tolist()
    [1.0]
    """
    y = _positive(panel, variable)
    members = {"all": np.ones(len(panel.units), bool)}
    if groups is not None:
        labels = np.array(_group_labels(panel, groups))
        members |= {str(name): labels == name for name in dict.fromkeys(labels.tolist())}
    frames, trends = [], []
    for name, inside in members.items():
        part = y[:, inside]
        frame = pd.DataFrame(
            {
                "group": name,
                "period": panel.periods,
                "mean": part.mean(axis=1),
                "std_dev": np.log(part).std(axis=1),
                "cv": part.std(axis=1) / part.mean(axis=1),
            }
        )
        frames.append(frame)
        if len(panel.periods) > 2:
            trends.append(_trend(frame).assign(group=name))
    columns = ["group", "term", *coefficient_table(pd.Series(dtype=float), pd.Series(dtype=float)).columns]
    trend = pd.concat(trends)[columns] if trends else pd.DataFrame(columns=columns)
    return SigmaConvergence(variable, pd.concat(frames, ignore_index=True), trend.reset_index(drop=True))


def _trend(frame: pd.DataFrame) -> pd.DataFrame:
    """Least-squares slope of each measure on the period."""
    t = frame["period"].to_numpy(float)
    t = t - t.mean()
    slopes, errors = {}, {}
    for term in ("std_dev", "cv"):
        v = frame[term].to_numpy() - frame[term].mean()
        slope = (t @ v) / (t @ t)
        rest = v - slope * t
        slopes[term], errors[term] = slope, np.sqrt((rest @ rest) / (len(t) - 2) / (t @ t))
    table = coefficient_table(pd.Series(slopes), pd.Series(errors), df=len(t) - 2)
    return table.rename_axis("term").reset_index()


@dataclass(frozen=True, eq=False)
class BetaConvergence:
    """A growth regression and what its coefficient of the initial level says.

    ``fit`` is the regression, whose terms are ``initial``, the controls, their lags, ρ, λ; ``years`` the
    length s of a growth period.
    """

    variable: str
    fit: Fit
    years: int

    @property
    def beta(self) -> float:
        """Coefficient of the initial level; negative is convergence."""
        return float(self.fit.params[INITIAL])

    def tidy(self, alpha: float = 0.05) -> pd.DataFrame:
        """``beta``, ``speed`` and ``half_life`` with limits at level 1 − alpha.

        speed λ = −ln(1 + βs)/s by year, its error by the delta method, NaN where β ≤ −1/s; half-life ln 2/λ,
        with the limits of the speed turned over, NaN where those are not positive.
        """
        s, error = self.years, float(self.fit.bse[INITIAL])
        inside = 1 + self.beta * s
        speed = -np.log(inside) / s if inside > 0 else np.nan
        table = coefficient_table(
            pd.Series({"beta": self.beta, "speed": speed}),
            pd.Series({"beta": error, "speed": error / inside if inside > 0 else np.nan}),
            alpha,
            self.fit.df_resid,
        )
        speeds = table.loc["speed", ["estimate", "conf_high", "conf_low"]].to_numpy(float)
        with np.errstate(divide="ignore", invalid="ignore"):
            estimate, low, high = np.where(speeds > 0, np.log(2) / speeds, np.nan)
        table.loc["half_life"] = {"estimate": estimate, "conf_low": low, "conf_high": high}
        return table.rename_axis("term").reset_index()

    def glance(self) -> pd.DataFrame:
        """The fit in one row."""
        return self.fit.glance()


def beta_convergence(
    panel: Panel,
    variable: str,
    W: Any = None,
    *,
    controls: Sequence[str] = (),
    lag_y: bool = False,
    lag_x: Literal["all"] | Sequence[str] = (),
    lag_error: bool = False,
    fixed_effects: Effects = "two_way",
    horizon: int | None = 1,
    estimator: Estimator = "lee_yu",
    covariance: Covariance = "information",
) -> BetaConvergence:
    """Do units that start low grow faster? A growth regression, absolute or conditional, spatial or not.

    ln(y_{t+s}/y_t)/s = β ln y_t + x_t γ [+ ρW growth + W(ln y_t, x_t)θ, λ] + effects + ε. Without controls and
    effects it is absolute β-convergence, otherwise conditional.

    Parameters
    ----------
    panel, variable
        y, positive.
    W
        Weights; needed with any of ``lag_y``, ``lag_x``, ``lag_error``.
    controls
        Variables x, taken at the start of each growth period.
    lag_y, lag_x, lag_error, fixed_effects, estimator, covariance
        As in :class:`~spatial_zb.models.spec.DurbinSpec` and :func:`~spatial_zb.models.durbin.fit_durbin`;
        ``lag_x`` may name ``"initial"`` and controls.
    horizon
        Periods from start to end of a growth period; they do not overlap. None takes the first and the last
        period of the panel: one cross-section, which needs ``fixed_effects="none"``.

    Returns
    -------
    BetaConvergence. With ρ or θ the coefficient is not the whole effect: take
    ``spatial_effects(result.fit)`` for that of the initial level on growth.

    Raises
    ------
    DataError
        A blank cell, a value that is not positive; and as in ``fit_durbin``.
    SpecificationError
        A horizon that does not fit, periods that are not evenly spaced, a spatial term without W, a control
        called ``growth`` or ``initial``.

    Notes
    -----
    Barro, R.J. & Sala-i-Martin, X. (1992), J. Political Economy 100: 223-251; Elhorst, Piras & Arbia (2010),
    Geographical Analysis 42: 338-355. With unit effects and few periods β is biased towards convergence
    (Nickell 1981, Econometrica 49: 1417-1426).
    """
    growth, years = _growth_panel(panel, variable, tuple(controls), horizon)
    lagged = lag_x if isinstance(lag_x, str) else tuple(lag_x)
    if W is None:
        if lag_y or lag_error or lagged:
            raise SpecificationError("A spatial term needs weights: pass W.")
        W = _unused_weights(growth.units)
    spec = DurbinSpec(
        GROWTH,
        [INITIAL, *controls],
        lag_y=lag_y,
        lag_x=lagged,
        lag_error=lag_error,
        fixed_effects=fixed_effects,
    )
    return BetaConvergence(variable, fit_durbin(spec, growth, W, estimator, covariance), years)


def _growth_panel(
    panel: Panel, variable: str, controls: tuple[str, ...], horizon: int | None
) -> tuple[Panel, int]:
    """Growth by year, initial level and controls, by start of the growth period; and its length in years."""
    last = len(panel.periods) - 1
    step = last if horizon is None else horizon
    if not 1 <= step <= last:
        raise SpecificationError(
            f"horizon must be between 1 and {last} for {last + 1} periods, not {horizon}: growth needs a start and an end."
        )
    clash = [name for name in controls if name in (GROWTH, INITIAL)]
    if clash:
        raise SpecificationError(f"A control cannot be called {listed(clash)}; rename it.")
    marks = range(0, last + 1, step)
    years = np.diff([panel.periods[i] for i in marks])
    if (years != years[0]).any():
        raise SpecificationError(
            f"Growth periods have {listed(sorted(set(years.tolist())))} years; keep evenly spaced periods only."
        )
    if marks[-1] != last:
        unused = panel.periods[marks[-1] + 1 :]
        warnings.warn(
            SpatialZbWarning(
                f"Periods after the last whole growth period are not used: {listed(unused)}.",
                f"最后一个完整增长期之后的时期未使用：{listed_zh(unused)}。",
            ),
            stacklevel=3,
        )
    logs = np.log(_positive(panel, variable))[list(marks)]
    start = panel.select(periods=[panel.periods[i] for i in marks[:-1]])
    columns = {GROWTH: np.diff(logs, axis=0) / years[0], INITIAL: logs[:-1]}
    return start.with_columns(columns), int(years[0])


def _unused_weights(units: pd.Index) -> Weights:
    """A ring without a name. ``fit_durbin`` asks for weights; a model without spatial terms never looks at them."""
    n = len(units)
    ring = sparse.csr_array((np.ones(n), (np.arange(n), (np.arange(n) + 1) % n)), shape=(n, n))
    return Weights(ring, units, "", "row")


# --- what they share ---------------------------------------------------------------------------------------


def _usable(panel: Panel, variable: str) -> np.ndarray:
    """Values (T, n) without blanks."""
    values = panel.array(variable)
    blank = np.isnan(values)
    if blank.any():
        raise DataError(
            f"{variable!r} is blank at {listed(_cells(panel, blank))}. Fill these cells by a stated rule, or drop the units."
        )
    return values


def _positive(panel: Panel, variable: str) -> np.ndarray:
    values = _usable(panel, variable)
    if (values <= 0).any():
        raise DataError(
            f"{variable!r} is not positive at {listed(_cells(panel, values <= 0))}: it has no logarithm there."
        )
    return values


def _refuse_negative(panel: Panel, variable: str, values: np.ndarray) -> None:
    if (values < 0).any():
        raise DataError(
            f"{variable!r} is negative at {listed(_cells(panel, values < 0))}: it is not an amount."
        )
    empty = [p for p, row in zip(panel.periods, values, strict=True) if not row.sum() > 0]
    if empty:
        raise DataError(f"{variable!r} is zero in all units in {listed(empty)}: there is nothing to spread.")


def _means(panel: Panel, variable: str, values: np.ndarray) -> np.ndarray:
    means = values.mean(axis=1, keepdims=True)
    zero = [p for p, m in zip(panel.periods, means[:, 0], strict=True) if m == 0]
    if zero:
        raise DataError(f"The mean of {variable!r} is zero in {listed(zero)}: nothing is relative to it.")
    return means


def _cells(panel: Panel, where: np.ndarray) -> list[str]:
    return [f"{panel.units[i]} {panel.periods[t]}" for t, i in np.argwhere(where)]
