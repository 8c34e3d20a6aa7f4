"""Do units become more alike, and do those that start low grow faster?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from spatial_zb.base.arguments import alpha_of, check_count, gathered, renamed
from spatial_zb.base.errors import SpecificationError, listed, listed_zh
from spatial_zb.base.notes import warn
from spatial_zb.base.printing import Printed
from spatial_zb.base.results import coefficient_table
from spatial_zb.data.panel import Panel
from spatial_zb.explore.dynamics.densities import group_labels, positive
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.fit import Fit
from spatial_zb.models.spec import DurbinSpec, Effects, Estimation, Estimator, by_estimation
from spatial_zb.weights.matrix import Weights

#: Names that growth and the initial level have in the fits of :func:`beta_convergence`.
GROWTH, INITIAL = "growth", "initial"


@dataclass(frozen=True, eq=False, repr=False)
class SigmaConvergence(Printed):
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
    y = positive(panel, variable)
    members = {"all": np.ones(len(panel.units), bool)}
    if groups is not None:
        labels = np.array(group_labels(panel, groups))
        if "all" in labels:
            raise SpecificationError(
                "A group cannot be called 'all', which stands for all units; rename it.",
                "分组不能命名为'all'，它代表全部地区；请改名。",
            )
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


@dataclass(frozen=True, eq=False, repr=False)
class BetaConvergence(Printed):
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

    @renamed(alpha="level")
    def tidy(self, *, level: float = 0.95) -> pd.DataFrame:
        """``beta``, ``speed`` and ``half_life`` with limits at this level.

        speed λ = −ln(1 + βs)/s by year, its error by the delta method, NaN where β ≤ −1/s; half-life ln 2/λ,
        with the limits of the speed turned over, NaN where those are not positive.
        """
        s, error = self.years, float(self.fit.bse[INITIAL])
        inside = 1 + self.beta * s
        speed = -np.log(inside) / s if inside > 0 else np.nan
        table = coefficient_table(
            pd.Series({"beta": self.beta, "speed": speed}),
            pd.Series({"beta": error, "speed": error / inside if inside > 0 else np.nan}),
            alpha_of(level),
            self.fit.degrees(np.tile(self.fit.params.index == INITIAL, (2, 1)).astype(float)),
        )
        speeds = table.loc["speed", ["estimate", "conf_high", "conf_low"]].to_numpy(float)
        with np.errstate(divide="ignore", invalid="ignore"):
            estimate, low, high = np.where(speeds > 0, np.log(2) / speeds, np.nan)
        table.loc["half_life"] = {"estimate": estimate, "conf_low": low, "conf_high": high}
        return table.rename_axis("term").reset_index()

    def glance(self) -> pd.DataFrame:
        """The fit in one row."""
        return self.fit.glance()


def growth_spec(
    controls: Sequence[str] = (),
    *,
    lag_y: bool = False,
    lag_x: Literal["all"] | Sequence[str] = (),
    lag_error: bool = False,
    fixed_effects: Effects = "two_way",
) -> DurbinSpec:
    """The growth regression of :func:`beta_convergence`: ``"growth"`` on ``"initial"`` and controls.

    Parameters
    ----------
    controls
        Variables x, taken at the start of each growth period.
    lag_y, lag_x, lag_error, fixed_effects
        As in :class:`~spatial_zb.models.spec.DurbinSpec`; ``lag_x`` may name ``"initial"`` and controls.

    Raises
    ------
    SpecificationError
        A control called ``growth`` or ``initial``.

    Examples
    --------
    >>> growth_spec(["fdi"], lag_x="all").x
    ('initial', 'fdi')
    """
    clash = [name for name in controls if name in (GROWTH, INITIAL)]
    if clash:
        raise SpecificationError(
            f"A control cannot be called {listed(clash)}; rename it.",
            f"控制变量不能命名为{listed_zh(clash)}；请改名。",
        )
    lagged = lag_x if isinstance(lag_x, str) else tuple(lag_x)
    return DurbinSpec(GROWTH, [INITIAL, *controls], lag_y, lagged, lag_error, fixed_effects)


@gathered(
    "spec",
    lambda spec, **old: growth_spec(**old),
    "controls",
    "lag_y",
    "lag_x",
    "lag_error",
    "fixed_effects",
)
@by_estimation
def beta_convergence(
    panel: Panel,
    variable: str,
    W: Any = None,
    *,
    spec: DurbinSpec | None = None,
    horizon: int | None = 1,
    estimator: Estimator | Estimation = "lee_yu",
) -> BetaConvergence:
    """Do units that start low grow faster? A growth regression, absolute or conditional, spatial or not.

    ln(y_{t+s}/y_t)/s = β ln y_t + x_t γ [+ ρW growth + W(ln y_t, x_t)θ, λ] + effects + ε. Without controls and
    effects it is absolute β-convergence, otherwise conditional.

    Parameters
    ----------
    panel, variable
        y, positive.
    W
        Weights; needed with any spatial lag.
    spec
        The growth regression, as :func:`growth_spec` gives it; without it growth on the initial level with effects of
        units and periods.
    estimator
        The name of an estimator, or an :class:`~spatial_zb.models.spec.Estimation` that names a covariance too.
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
        A specification of anything but growth by its initial level; a horizon that does not fit, periods that are not
        evenly spaced, a spatial term without W.

    Notes
    -----
    Barro, R.J. & Sala-i-Martin, X. (1992), J. Political Economy 100: 223-251; Elhorst, Piras & Arbia (2010),
    Geographical Analysis 42: 338-355. With unit effects and few periods β is biased towards convergence
    (Nickell 1981, Econometrica 49: 1417-1426).
    """
    spec = growth_spec() if spec is None else spec
    if spec.y != GROWTH or INITIAL not in spec.x:
        raise SpecificationError(
            f"spec must be of {GROWTH!r} by {INITIAL!r} and controls, as growth_spec gives it, not of {spec.y!r} by "
            f"{listed(spec.x)}.",
            f"spec须为{GROWTH!r}对{INITIAL!r}和控制变量的回归（由growth_spec给出），而不是{spec.y!r}对{listed_zh(spec.x)}的回归。",
        )
    how = Estimation.of(estimator)
    growth, years = _growth_panel(panel, variable, horizon)
    if W is None:
        if spec.lag_y or spec.lag_error or spec.lag_x:
            raise SpecificationError("A spatial term needs weights: pass W.", "空间项需要权重矩阵：请给出W。")
        W = _unused_weights(growth.units)
    return BetaConvergence(variable, fit_durbin(spec, growth, W, how.estimator, how.covariance), years)


def _growth_panel(panel: Panel, variable: str, horizon: int | None) -> tuple[Panel, int]:
    """Growth by year, initial level and controls, by start of the growth period; and its length in years."""
    last = len(panel.periods) - 1
    step = last if horizon is None else horizon
    check_count(step, "horizon", 0)
    if not 1 <= step <= last:
        raise SpecificationError(
            f"horizon must be between 1 and {last} for {last + 1} periods, not {horizon}: growth needs a start and an end.",
            f"{last + 1}个时期的horizon须在1与{last}之间，而不是{horizon}：增长须有起点和终点。",
        )
    marks = range(0, last + 1, step)
    years = np.diff([panel.periods[i] for i in marks])
    if (years != years[0]).any():
        raise SpecificationError(
            f"Growth periods have {listed(sorted(set(years.tolist())))} years; keep evenly spaced periods only.",
            f"增长期长短不一（{listed_zh(sorted(set(years.tolist())))}年）；请只保留等间隔的时期。",
        )
    if marks[-1] != last:
        unused = panel.periods[marks[-1] + 1 :]
        warn(
            f"Periods after the last whole growth period are not used: {listed(unused)}.",
            f"最后一个完整增长期之后的时期未使用：{listed_zh(unused)}。",
        )
    logs = np.log(positive(panel, variable))[list(marks)]
    start = panel.select(periods=[panel.periods[i] for i in marks[:-1]])
    columns = {GROWTH: np.diff(logs, axis=0) / years[0], INITIAL: logs[:-1]}
    return start.with_columns(columns), int(years[0])


def _unused_weights(units: pd.Index) -> Weights:
    """A ring without a name. ``fit_durbin`` asks for weights; a model without spatial terms never looks at them."""
    n = len(units)
    ring = sparse.csr_array((np.ones(n), (np.arange(n), (np.arange(n) + 1) % n)), shape=(n, n))
    return Weights(ring, units, "", "row")
