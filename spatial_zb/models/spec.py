"""What to estimate, in the words of the field, and how an estimate was reached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.base.arguments import gathered
from spatial_zb.base.errors import SpecificationError, listed, listed_zh, not_one_of
from spatial_zb.base.notes import warn_old
from spatial_zb.base.text import Text, named_effects, refuse_repeats, refuse_strangers
from spatial_zb.core.likelihood.covariance import DistanceKernel
from spatial_zb.core.random.maximum import ErrorStructure
from spatial_zb.core.transforms import FixedEffects

Effects = Literal["none", "unit", "time", "two_way", "random"]
Estimator = Literal["lee_yu", "direct", "gmm", "robust_score", "yang", "uncorrected"]
Dependent = Literal["cluster", "cr1", "cr2", "driscoll_kraay", "spatial_hac", "conley"]
Covariance = Literal["information", "hessian", "sandwich", Dependent, "robust"]
#: Ways to ask for errors that are clustered by unit; ``"cluster"`` takes CR2 with fewer units than :data:`MANY_CLUSTERS`.
CLUSTERED: tuple[Covariance, ...] = ("cluster", "cr1", "cr2")
#: From this many clusters CR1 with t(G − 1) does as well (docs/validation/clusters.md).
MANY_CLUSTERS = 50

#: Which covariances each way of estimating offers; ``"ml"`` is maximum likelihood with fixed effects.
COVARIANCES: dict[str, tuple[Covariance, ...]] = {
    "ml": ("information", "hessian", "sandwich", *CLUSTERED, "driscoll_kraay", "spatial_hac", "conley"),
    "random": ("information", "hessian", *CLUSTERED),
    "gmm": ("information", "robust", *CLUSTERED),
    "regimes": ("information", *CLUSTERED, "driscoll_kraay"),
    "robust_score": CLUSTERED,
    "adjusted_score": ("information", "sandwich", *CLUSTERED, "driscoll_kraay", "conley"),
}

#: Name of the constant of a model without fixed effects.
INTERCEPT = "(Intercept)"
#: Name of each family by (lag of y, lag of x, lag of the error).
FAMILIES = {
    (False, False, False): "OLS",
    (False, True, False): "SLX",
    (True, False, False): "SAR",
    (True, True, False): "SDM",
    (False, False, True): "SEM",
    (False, True, True): "SDEM",
    (True, False, True): "SAC",
    (True, True, True): "GNS",
}


def covariance_of(estimator: str, asked: Covariance | None) -> Covariance:
    """The covariance that was asked for, or that an estimator has by default: ``robust_score`` clusters by unit."""
    return asked or ("cluster" if estimator == "robust_score" else "information")


def corrects_leverage(covariance: str, clusters: int) -> bool:
    """Whether errors of this name, by this many units, are CR2 with degrees of freedom by coefficient."""
    return covariance == "cr2" or (covariance == "cluster" and clusters < MANY_CLUSTERS)


@dataclass(frozen=True)
class Estimation:
    """How a model is estimated: what functions take as ``estimator`` where its name does not say it all.

    Parameters
    ----------
    estimator, covariance
        As :func:`~spatial_zb.models.durbin.fit_durbin` takes them.

    Examples
    --------
    >>> Estimation("direct", covariance="cluster").covariance
    'cluster'
    >>> Estimation("robust_score").covariance
    'cluster'
    """

    estimator: Estimator = "lee_yu"
    covariance: Covariance | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "covariance", covariance_of(self.estimator, self.covariance))

    @classmethod
    def of(cls, estimator: Estimator | Estimation, **more: Any) -> Estimation:
        """Of an estimator by its name, or an estimation as it is; ``more`` replaces some of it."""
        return replace(estimator if isinstance(estimator, Estimation) else Estimation(estimator), **more)


#: The argument of the last release that :class:`Estimation` holds now.
by_estimation = gathered("estimator", Estimation.of, "covariance")


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Convergence:
    """How an estimate was reached; NaN, None, zero or empty what its estimator does not have.

    Attributes
    ----------
    converged, at_bound
        Whether standard errors can be claimed, and whether the estimate is at the end of its region instead.
    gradient, probe_error, steps, decrement
        Slope of the likelihood and, for large W, the error of its traces; steps for a system, and what one more promises.
    modes, edge, reach
        Maxima of nearly the same height: coefficients, ln L (of a system that alone); the highest ln L without one; how
        far below its maximum 95 % intervals of a system reach.
    phi_at_zero, regimes
        Whether the variance of random effects is on its bound; the values that define regimes.
    corrected, uncorrected
        With lags in time whether their bias is corrected, and the estimates before; by instruments whether the moments
        are less the bias of many, False where these have no solution and the textbook estimate is shown.
    radius, radius_off_means, radius_error, weight, adjusted, serial, curvature
        Of lags in time: the largest eigenvalue, the same off the means of periods, its error; of a system the share of the
        correction carried, ln L with it, p of serial correlation by equation and of all, the least curvature.
    instruments, dropped_instruments, first_stage, effective_f, j_statistic, j_df, j_p_value
        Those used and left out as collinear, first-stage F of each endogenous regressor, test of over-identification.
    lam, sigma_unit, lam_first
        λ (m,) and covariance (m, m) of the unit effects of a system; λ of the step before, where moments are weighted.
    powers, bandwidth, kernel, form, roots
        Of the call; pairs of units that ``"conley"`` sums over; of the robust score what weighs residuals (``"block"``,
        ``"scalar"``, ``"bare"``) and every root of ρ, its own first.
    """

    converged: bool
    at_bound: bool
    gradient: float = np.nan
    steps: int = 0
    decrement: float = np.nan
    modes: tuple[Any, ...] = ()
    edge: float = np.nan
    reach: float = np.nan
    probe_error: float | None = None
    phi_at_zero: bool = False
    regimes: tuple[float, ...] = ()
    corrected: bool | None = None
    uncorrected: pd.Series | None = None
    radius: float = np.nan
    radius_off_means: float = np.nan
    weight: float = np.nan
    adjusted: float = np.nan
    radius_error: float = np.nan
    serial: tuple[float, ...] = ()
    curvature: float = np.nan
    instruments: tuple[str, ...] = ()
    dropped_instruments: tuple[str, ...] = ()
    first_stage: Mapping[str, float] = field(default_factory=dict)
    effective_f: float = np.nan
    j_statistic: float = np.nan
    j_df: int | None = None
    j_p_value: float = np.nan
    lam: tuple[float, ...] = ()
    lam_first: float = np.nan
    sigma_unit: NDArray[np.float64] | None = None
    powers: int = 0
    bandwidth: Any = None
    kernel: DistanceKernel | None = None
    form: str = ""
    roots: tuple[float, ...] = ()

    @property
    def unbounded(self) -> bool:
        """Whether the likelihood of a system falls off to an edge by no more than its 95 % intervals reach."""
        return self.converged and bool(np.isfinite(self.reach)) and self.edge > self.modes[0] - self.reach

    def __getitem__(self, name: str) -> Any:
        """A field by the name it had as the key of a dict."""
        if name not in self.__slots__:
            raise KeyError(name)
        warn_old(f"fit.convergence[{name!r}] is now fit.convergence.{name}.")
        return getattr(self, name)


@dataclass(frozen=True)
class DurbinSpec:
    """y_t = ρWy_t + X_t β + W X_t θ + effects + u_t, u_t = λWu_t + ε_t, and its restrictions.

    Parameters
    ----------
    y
        Name of the dependent variable.
    x
        Names of the regressors.
    lag_y
        Whether the spatial lag of y enters (ρ).
    lag_x
        Regressors whose spatial lags enter (θ): ``"all"`` of x, or a list, which may be empty and may name
        endogenous regressors.
    lag_error
        Whether the errors are spatially autoregressive (λ).
    fixed_effects
        ``"none"`` (an intercept is added), ``"unit"``, ``"time"``, ``"two_way"``, or ``"random"`` unit
        effects (with an intercept). Or a list of effects: ``"unit"``, ``"period"``, a column of the panel (an effect for
        each of its values), products such as ``"province*period"``, and trends, ``"unit*trend"``. It is kept as one text.
    error_structure
        With random effects and ``lag_error``: ``"baltagi"``, only ε spreads in space, or ``"kkp"``, the unit
        effects spread as ε does.
    mundlak
        With random effects: add the unit means of these regressors (``mean_<x>``, and ``mean_W_<x>`` where x
        is lagged), so that the effects may be correlated with them. ``True`` means all of x; a list leaves
        out those that do not change over time or do not differ between units.
    endog
        Endogenous regressors besides the lag of y; ``estimator="gmm"`` only.
    instruments
        Excluded instruments for them; the spatial lags of x and of these come on their own.
    time_lag, lag_time_lag
        Whether y_{t−1} (τ) and W y_{t−1} (η) enter: the first period is then what the others start from, and only
        unit or two-way effects are possible.
    regimes
        Name of a variable with two values or more that do not change over time, such as 1 for core cities and 0 for the
        rest: ρ, β and θ (without fixed effects the intercept too) then differ between the units of each value (see
        :mod:`spatial_zb.models.regimes`).
    common
        With regimes: coefficients that all of them share, by name, such as ``["rho"]`` or ``["z", "W_z"]``.

    Raises
    ------
    SpecificationError
        y among x, a repeated name, a lagged name that is not in x, an unknown kind of effects, fewer
        instruments than endogenous regressors, a lag in time without unit effects, regimes with what they do not
        go with.
    """

    y: str
    x: Sequence[str]
    lag_y: bool = True
    lag_x: Literal["all"] | Sequence[str] = "all"
    lag_error: bool = False
    fixed_effects: Effects | list[str] | tuple[str, ...] = "two_way"
    error_structure: ErrorStructure = "baltagi"
    mundlak: bool | Sequence[str] = False
    endog: Sequence[str] = ()
    instruments: Sequence[str] = ()
    time_lag: bool = False
    lag_time_lag: bool = False
    regimes: str | None = None
    common: Sequence[str] = ()

    def __post_init__(self) -> None:
        self._check_kinds()
        if isinstance(self.lag_x, str) and self.lag_x != "all":
            raise SpecificationError(
                f'lag_x must be "all" or a list of names, not {self.lag_x!r}.',
                f'lag_x须为"all"或名称列表，而不是{self.lag_x!r}。',
            )
        x, endog, instruments = tuple(self.x), tuple(self.endog), tuple(self.instruments)
        lagged = x if isinstance(self.lag_x, str) else tuple(self.lag_x)
        means = (x if self.mundlak else ()) if isinstance(self.mundlak, bool) else tuple(self.mundlak)
        for name, value in (
            ("x", x),
            ("lag_x", lagged),
            ("mundlak", means),
            ("endog", endog),
            ("instruments", instruments),
            ("common", tuple(self.common)),
        ):
            refuse_repeats(value, name)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "fixed_effects", named_effects(self.fixed_effects, get_args(Effects)))
        self._check_names()
        self._check_effects()
        self._check_dynamics()
        self._check_regimes()

    def _check_kinds(self) -> None:
        """Names are lists and switches are True or False: ``lag_y="no"`` would switch ρ on."""
        for option in ("x", "lag_x", "mundlak", "endog", "instruments", "common"):
            value = getattr(self, option)
            if isinstance(value, str) and option != "lag_x":
                raise SpecificationError(
                    f"{option} must be a list of names, such as [{value!r}], not one text.",
                    f"{option}须为名称列表，如[{value!r}]，而不是一段文字。",
                )
            if not (isinstance(value, Iterable) or (option == "mundlak" and isinstance(value, bool))):
                raise SpecificationError(
                    f"{option} must be a list of names, not {value!r}.",
                    f"{option}须为名称列表，而不是{value!r}。",
                )
        for option in ("lag_y", "lag_error", "time_lag", "lag_time_lag"):
            if getattr(self, option) not in (True, False):
                raise not_one_of(option, getattr(self, option), (True, False))

    def _check_names(self) -> None:
        if self.y in (*self.regressors, *self.instruments):
            raise SpecificationError(
                f"{self.y!r} cannot explain itself: it is y and also among x, endog or instruments.",
                f"{self.y!r}不能解释自身：它是y，又在x、endog或instruments中。",
            )
        refuse_strangers(self.lag_x, self.regressors, "lag_x", Text("x or endog", "x或endog"))
        refuse_strangers(self.means, self.x, "mundlak", Text("x", "x"))
        both = [name for name in (*self.endog, *self.instruments) if name in self.x]
        both += [name for name in self.instruments if name in self.endog]
        if both:
            raise SpecificationError(
                f"{listed(both)} can stand in only one of x, endog and instruments.",
                f"{listed_zh(both)}只能列在x、endog和instruments之一。",
            )
        if len(self.instruments) < len(self.endog):
            raise SpecificationError(
                f"{len(self.endog)} endogenous regressors ({listed(self.endog)}) need at least as many instruments; "
                f"{len(self.instruments)} are named.",
                f"{len(self.endog)}个内生解释变量（{listed_zh(self.endog)}）至少需要同样多的工具变量；"
                f"只列出{len(self.instruments)}个。",
            )
        if self.instruments and not self.endog:
            raise SpecificationError(
                f"instruments names {listed(self.instruments)}, but endog is empty. Name what they are for.",
                f"instruments列出了{listed_zh(self.instruments)}，而endog为空。请指明用于哪个内生变量。",
            )
        reserved = ("rho", "lam", "sigma2", *(("phi",) if self.fixed_effects == "random" else ()))
        refuse_repeats((*self.terms, *reserved), Text("the model", "模型"))

    def _check_dynamics(self) -> None:
        if not self.dynamic:
            return
        if self.fixed_effects not in ("unit", "two_way"):
            raise SpecificationError(
                'time_lag and lag_time_lag go with fixed_effects="unit" or "two_way", whose bias is corrected, not with '
                f"{self.fixed_effects!r}.",
                'time_lag和lag_time_lag用于fixed_effects="unit"或"two_way"（其偏误得到校正），'
                f"而不是{self.fixed_effects!r}。",
            )
        if self.endog:
            raise SpecificationError(
                f"A lag in time is estimated by maximum likelihood, and {listed(self.endog)} cannot be endogenous there. "
                "Drop one of the two.",
                f"时间滞后由极大似然估计，其中{listed_zh(self.endog)}不能为内生。请去掉其一。",
            )

    def _check_regimes(self) -> None:
        if self.regimes is None:
            if self.common:
                raise SpecificationError(
                    f"common names {listed(self.common)}, and there are no regimes to share them. Name a column in regimes, "
                    "or drop common.",
                    f"common列出了{listed_zh(self.common)}，但没有区制。请在regimes中指定列，或去掉common。",
                )
            return
        if not isinstance(self.regimes, str) or not self.regimes:
            raise SpecificationError(
                f"regimes must be the name of one variable, not {self.regimes!r}.",
                f"regimes须为一个变量的名称，而不是{self.regimes!r}。",
            )
        if self.fixed_effects in ("time", "random"):
            raise SpecificationError(
                f'regimes go with fixed_effects="none", "unit" or "two_way", not with {self.fixed_effects!r}.',
                f'regimes用于fixed_effects="none"、"unit"或"two_way"，而不是{self.fixed_effects!r}。',
            )
        refuse_strangers(self.common, (*self.terms, *self.spatial_terms), "common", Text("the model", "模型"))
        others = {
            "lag_error": self.lag_error,
            "endog": self.endog,
            "time_lag": self.dynamic,
            "mundlak": self.mundlak,
        }
        if any(others.values()):
            found = [name for name, on in others.items() if on]
            raise SpecificationError(
                f"regimes do not go with {listed(found)}. Drop one of the two.",
                f"regimes不能与{listed_zh(found)}同用。请去掉其一。",
            )
        if self.regimes in (self.y, *self.x):
            raise SpecificationError(
                f"{self.regimes!r} defines the regimes, so it cannot be y or one of x as well.",
                f"{self.regimes!r}区分区制：不能又是y或在x之中。",
            )

    def _check_effects(self) -> None:
        if self.error_structure not in get_args(ErrorStructure):
            raise not_one_of("error_structure", self.error_structure, get_args(ErrorStructure))
        if self.fixed_effects == "random":
            return
        if self.mundlak:
            raise SpecificationError(
                f'mundlak adds unit means of x to a model with random effects: use it with fixed_effects="random", not '
                f"with {self.fixed_effects!r}.",
                f'mundlak把x的地区均值加入随机效应模型：请与fixed_effects="random"同用，而不是{self.fixed_effects!r}。',
            )

    @property
    def regressors(self) -> tuple[str, ...]:
        """Names of x and endog: everything whose effect on y is asked."""
        return (*self.x, *self.endog)

    @property
    def effects(self) -> tuple[str, ...]:
        """The effects one by one, such as ``("unit", "province*period")``; none of random ones."""
        named = {"none": (), "random": (), "two_way": ("unit", "period"), "time": ("period",)}
        return named.get(str(self.fixed_effects), tuple(str(self.fixed_effects).split(" + ")))

    @property
    def transform(self) -> FixedEffects:
        """Effects removed by a transform before estimation; random effects are not.

        Raises
        ------
        SpecificationError
            Effects of other kinds: what asks is only for those of units and periods.
        """
        if self.fixed_effects in get_args(FixedEffects):
            return self.fixed_effects  # type: ignore[return-value]  # one of these by the line above
        if self.fixed_effects == "random":
            return "none"
        raise SpecificationError(
            f"This is for effects of units and periods, and the model has fixed_effects {listed(self.effects)}. Use "
            '"unit", "time" or "two_way".',
            f'此处只用于个体和时间效应，而模型的fixed_effects为{listed_zh(self.effects)}。请用"unit"、"time"或"two_way"。',
        )

    @property
    def dynamic(self) -> bool:
        """Whether y or its spatial lag of the period before enters."""
        return bool(self.time_lag or self.lag_time_lag)

    @property
    def time_terms(self) -> tuple[str, ...]:
        """Which of ``tau`` and ``eta`` are estimated."""
        return ("tau",) * bool(self.time_lag) + ("eta",) * bool(self.lag_time_lag)

    @property
    def title(self) -> str:
        """The family with what is added to it: dynamic SDM, regime SDM."""
        return f"{'dynamic ' * self.dynamic}{'regime ' * bool(self.regimes)}{self.family}"

    @property
    def family(self) -> str:
        """OLS, SLX, SAR, SEM, SDM, SDEM, SAC or GNS."""
        return FAMILIES[bool(self.lag_y), bool(self.lag_x), bool(self.lag_error)]

    @property
    def means(self) -> tuple[str, ...]:
        """Regressors whose unit means enter: ``mundlak`` as names."""
        return () if isinstance(self.mundlak, bool) else tuple(self.mundlak)

    @cached_property
    def terms(self) -> tuple[str, ...]:
        """Names of the coefficients of (X, endogenous, WX, unit means, lags in time), an intercept first if there is one."""
        first = (INTERCEPT,) if self.fixed_effects in ("none", "random") else ()
        lagged = tuple(f"W_{name}" for name in self.lag_x)
        means = (*self.means, *(f"W_{name}" for name in self.lag_x if name in self.means))
        return (*first, *self.regressors, *lagged, *(f"mean_{name}" for name in means), *self.time_terms)

    @property
    def spatial_terms(self) -> tuple[str, ...]:
        """Which of ``rho`` and ``lam`` are estimated."""
        return ("rho",) * bool(self.lag_y) + ("lam",) * bool(self.lag_error)
