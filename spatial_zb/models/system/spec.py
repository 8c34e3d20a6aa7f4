"""What a system of spatial equations is, in the words of the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np

from spatial_zb.base.errors import SpecificationError, listed, listed_zh, not_one_of
from spatial_zb.base.text import Text
from spatial_zb.core.system import Links
from spatial_zb.core.system.identification import Identification, generic_rank, rank_condition
from spatial_zb.core.transforms import FixedEffects
from spatial_zb.models.design import refuse_empty_rows
from spatial_zb.weights.matrix import Weights

#: What of a system needs a complete panel.
NOT_BY_MOMENTS = Text(
    'A system by "fiml", with lag_error, random effects or lags in time (by "3sls" without these it takes rows as they are)',
    '用"fiml"或含lag_error、随机效应、时间滞后的系统（不含这些时可用"3sls"，按实有的行估计）',
)


@dataclass(frozen=True)
class Equation:
    """y = Σ γ_l y_l + ψ W y + Σ ψ_l W y_l + Xβ + W Xθ + effects + u, u = λWu + ε: one row of a system.

    Parameters
    ----------
    y
        Name of the dependent variable.
    endog
        Dependent variables of other equations that enter here (γ, the local feedback).
    x
        Exogenous regressors.
    lag_y
        Whether the spatial lag of y enters (ψ, own spillover).
    lag_endog
        Dependent variables of other equations whose spatial lags enter (ψ, cross spillover); ``"all"`` means
        those in ``endog``.
    lag_x
        Exogenous regressors whose spatial lags enter (θ): a list, or ``"all"``.
    lag_error
        Whether the errors are spatially autoregressive (λ).
    time_lag, lag_time_lag
        Dependent variables of the system whose values of the period before (τ), and spatial lags of these (η), enter: a
        list, True for all, False for none; None as the system has it.

    Raises
    ------
    SpecificationError
        A text where a list is needed, a repeated name, y among its own regressors, a lagged x not in x.
    """

    y: str
    endog: Sequence[str] = ()
    x: Sequence[str] = ()
    lag_y: bool = True
    lag_endog: Literal["all"] | Sequence[str] = ()
    lag_x: Literal["all"] | Sequence[str] = ()
    lag_error: bool = False
    time_lag: bool | Sequence[str] | None = None
    lag_time_lag: bool | Sequence[str] | None = None

    def __post_init__(self) -> None:
        for option in ("time_lag", "lag_time_lag"):
            asked = getattr(self, option)
            if asked is not None and not isinstance(asked, bool):
                object.__setattr__(self, option, self._names(option, asked))
        endog, x = self._names("endog", self.endog), self._names("x", self.x)
        lag_endog = endog if self.lag_endog == "all" else self._names("lag_endog", self.lag_endog)
        lag_x = x if self.lag_x == "all" else self._names("lag_x", self.lag_x)
        if self.y in (*endog, *x):
            raise SpecificationError(
                f"{self.y!r} cannot explain itself: drop it from endog and x.",
                f"{self.y!r}不能解释自身：请从endog和x中去掉。",
            )
        if self.y in lag_endog:
            raise SpecificationError(
                f"The spatial lag of {self.y!r} in its own equation is lag_y=True; drop it from lag_endog.",
                f"{self.y!r}在自身方程中的空间滞后即lag_y=True；请从lag_endog中去掉。",
            )
        both = [name for name in x if name in (*endog, *lag_endog)]
        if both:
            raise SpecificationError(
                f"{listed(both)} cannot be endogenous and exogenous in one equation.",
                f"{listed_zh(both)}在一个方程中不能既是内生又是外生。",
            )
        strangers = [name for name in lag_x if name not in x]
        if strangers:
            raise SpecificationError(
                f"lag_x names {listed(strangers)}, not among x ({listed(x)}). Add or drop.",
                f"lag_x列出的{listed_zh(strangers)}不在x（{listed_zh(x)}）之中。请加入或去掉。",
            )
        for name, value in (("endog", endog), ("x", x), ("lag_endog", lag_endog), ("lag_x", lag_x)):
            object.__setattr__(self, name, value)

    def _names(self, what: str, value: Sequence[str]) -> tuple[str, ...]:
        if isinstance(value, str):
            raise SpecificationError(
                f"{what} must be a list of names, such as [{value!r}], not one text.",
                f"{what}须为名称列表，如[{value!r}]，而不是一段文字。",
            )
        names = tuple(value)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SpecificationError(
                f"{what} of {self.y!r} names {listed(twice)} more than once.",
                f"{self.y!r}的{what}重复列出{listed_zh(twice)}。",
            )
        return names

    @property
    def lagged(self) -> tuple[str, ...]:
        """Endogenous variables whose spatial lags enter, the own one first."""
        return (*((self.y,) if self.lag_y else ()), *self.lag_endog)

    @property
    def endogenous_terms(self) -> tuple[str, ...]:
        """Names of the coefficients γ, then ψ."""
        return (*self.endog, *(f"W_{name}" for name in self.lagged))

    @property
    def exogenous_terms(self) -> tuple[str, ...]:
        """Names of the coefficients β, then θ, without an intercept."""
        return (*self.x, *(f"W_{name}" for name in self.lag_x))


@dataclass(frozen=True, eq=False)
class SystemSpec:
    """Equations by name, the fixed effects all of them have, and whether the period before enters.

    Parameters
    ----------
    equations
        Name → :class:`Equation`.
    fixed_effects
        ``"none"`` (intercepts are added), ``"unit"``, ``"time"``, ``"two_way"``, or ``"random"`` unit effects
        (intercepts are added; instrumental methods, without spatial errors).
    time_lag, lag_time_lag
        Whether every equation has the values of the period before of all dependent variables, y_{t−1} (τ), and their spatial
        lags, Wy_{t−1} (η), where it does not say itself. Their terms are ``L_<name>`` and ``L_W_<name>``. They go with unit
        or two-way effects, and the first period is then given and not explained.

    Raises
    ------
    SpecificationError
        No equation, two equations of one variable, an endogenous regressor that no equation explains, an
        exogenous regressor that one does, random effects with spatial errors, an unknown kind of effects; lags in time
        under other effects, or of a variable that no equation explains.
    """

    equations: Mapping[str, Equation]
    fixed_effects: FixedEffects | Literal["random"] = "two_way"
    time_lag: bool = False
    lag_time_lag: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.equations, Mapping) or not self.equations:
            raise SpecificationError(
                'Give the equations by name: SystemSpec({"industry": Equation(...), ...}).',
                '请按名称给出方程：SystemSpec({"industry": Equation(...), ...})。',
            )
        for name, equation in self.equations.items():
            if not isinstance(equation, Equation):
                raise SpecificationError(
                    f"{name!r} must be an Equation, not a {type(equation).__name__}.",
                    f"{name!r}须为Equation，而不是{type(equation).__name__}。",
                )
        object.__setattr__(self, "equations", MappingProxyType(dict(self.equations)))
        self._check_effects()
        self._check_variables()
        self._check_time()

    def __reduce__(self) -> tuple:
        return SystemSpec, (dict(self.equations), self.fixed_effects, self.time_lag, self.lag_time_lag)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SystemSpec):
            return NotImplemented
        return (
            dict(self.equations) == dict(other.equations)
            and self.names == other.names
            and self.fixed_effects == other.fixed_effects
            and all(self.carried(name) == other.carried(name) for name in self.names)
        )

    def __hash__(self) -> int:
        return hash((tuple(self.equations.items()), self.fixed_effects, self.time_lag, self.lag_time_lag))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the equations."""
        return tuple(self.equations)

    @property
    def endogenous(self) -> tuple[str, ...]:
        """The dependent variable of each equation."""
        return tuple(equation.y for equation in self.equations.values())

    @property
    def exogenous(self) -> tuple[str, ...]:
        """Every exogenous variable of the system, once, in the order of appearance."""
        return tuple(dict.fromkeys(name for equation in self.equations.values() for name in equation.x))

    @property
    def intercept(self) -> bool:
        """Whether every equation has an intercept."""
        return self.transform == "none"

    @property
    def transform(self) -> FixedEffects:
        """The effects that are taken out of the data; random ones stay in."""
        return "none" if self.fixed_effects == "random" else self.fixed_effects

    @property
    def lags_endogenous(self) -> bool:
        """Whether the spatial lag of any dependent variable enters."""
        return any(equation.lagged for equation in self.equations.values())

    @property
    def by_moments(self) -> bool:
        """Whether 2SLS and 3SLS alone estimate it: no λ, random effects or lags in time."""
        spatial = any(equation.lag_error for equation in self.equations.values())
        return not (spatial or self.dynamic or self.fixed_effects == "random")

    @property
    def uses_weights(self) -> bool:
        """Whether any spatial lag enters."""
        others = any(e.lag_x or e.lag_error for e in self.equations.values())
        return self.lags_endogenous or others or any(self.carried(name)[1] for name in self.names)

    @property
    def dynamic(self) -> bool:
        """Whether the period before enters."""
        return any(any(self.carried(name)) for name in self.names)

    def carried(self, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Dependent variables of the period before that enter an equation (τ), and those whose spatial lags do (η)."""
        equation = self.equations[name]
        found = []
        for own, shared in ((equation.time_lag, self.time_lag), (equation.lag_time_lag, self.lag_time_lag)):
            asked = shared if own is None else own
            found.append((self.endogenous if asked else ()) if isinstance(asked, bool) else tuple(asked))
        return found[0], found[1]

    def time_terms(self, name: str) -> tuple[str, ...]:
        """Names of the coefficients τ, then η, of an equation."""
        own, spatial = self.carried(name)
        return (*(f"L_{y}" for y in own), *(f"L_W_{y}" for y in spatial))

    def terms(self, name: str) -> tuple[str, ...]:
        """Names of the coefficients of an equation: γ, ψ, intercept, β, θ, τ, η; ``lam`` is not among them."""
        equation = self.equations[name]
        constant = ("(Intercept)",) if self.intercept else ()
        return (*equation.endogenous_terms, *constant, *equation.exogenous_terms, *self.time_terms(name))

    def _check_effects(self) -> None:
        allowed = (*get_args(FixedEffects), "random")
        if self.fixed_effects not in allowed:
            raise not_one_of("fixed_effects", self.fixed_effects, allowed)
        spatial = [name for name, equation in self.equations.items() if equation.lag_error]
        if self.fixed_effects == "random" and spatial:
            raise SpecificationError(
                f"Random effects and spatial errors ({listed(spatial)}) together are not available for systems: use "
                'lag_error=False, or fixed_effects="unit".',
                f"系统不能同时含随机效应和空间误差（{listed_zh(spatial)}）：请用lag_error=False，"
                '或fixed_effects="unit"。',
            )

    def _check_variables(self) -> None:
        endogenous = self.endogenous
        for y in dict.fromkeys(endogenous):
            same = [name for name, equation in self.equations.items() if equation.y == y]
            if len(same) > 1:
                raise SpecificationError(
                    f"Equations {listed(same)} explain the same variable {y!r}. Keep one.",
                    f"方程{listed_zh(same)}解释同一变量{y!r}。请保留一个。",
                )
        for name, equation in self.equations.items():
            orphans = [v for v in (*equation.endog, *equation.lag_endog) if v not in endogenous]
            if orphans:
                raise SpecificationError(
                    f"Equation {name!r}: no equation of the system explains {listed(dict.fromkeys(orphans))}. "
                    "Add its equation, or move it to x if it is exogenous.",
                    f"方程{name!r}：系统中没有方程解释{listed_zh(dict.fromkeys(orphans))}。请加上其方程，外生的请移入x。",
                )
            claimed = [v for v in equation.x if v in endogenous]
            if claimed:
                raise SpecificationError(
                    f"Equation {name!r}: {listed(claimed)} is explained by the system, so it is endogenous. "
                    "Move it from x to endog.",
                    f"方程{name!r}：{listed_zh(claimed)}由系统解释，因此是内生的。请从x移到endog。",
                )

    def _check_time(self) -> None:
        for option in ("time_lag", "lag_time_lag"):
            if not isinstance(getattr(self, option), bool):
                raise SpecificationError(
                    f"{option} of a system must be True or False, not {getattr(self, option)!r}. To choose variables, give "
                    "their names to an Equation.",
                    f"系统的{option}须为True或False，而不是{getattr(self, option)!r}。要选择变量，请在Equation中列出名称。",
                )
        for name in self.names:
            strangers = [v for v in dict.fromkeys(sum(self.carried(name), ())) if v not in self.endogenous]
            if strangers:
                raise SpecificationError(
                    f"Equation {name!r}: no equation of the system explains {listed(strangers)}, so that its value of the "
                    "period before is exogenous. Make a column of it and give it as x.",
                    f"方程{name!r}：系统中没有方程解释{listed_zh(strangers)}，其前一期的值是外生的。请做成一列并放入x。",
                )
            doubled = [term for term in self.time_terms(name) if term in self.equations[name].exogenous_terms]
            if doubled:
                raise SpecificationError(
                    f"Equation {name!r}: {listed(doubled)} in x has the name of a lag in time of the system. Give the "
                    "column another name, or leave it out.",
                    f"方程{name!r}：x中的{listed_zh(doubled)}与系统的时间滞后项同名。请改列名，或去掉它。",
                )
        if self.dynamic and self.fixed_effects not in ("unit", "two_way"):
            raise SpecificationError(
                'time_lag and lag_time_lag go with fixed_effects="unit" or "two_way", whose bias is corrected, not with '
                f"{self.fixed_effects!r}.",
                'time_lag和lag_time_lag用于fixed_effects="unit"或"two_way"（其偏误得到校正），'
                f"不能与{self.fixed_effects!r}同用。",
            )


# What can be told apart ------------------------------------------------------------------------------------


def identified_by(spec: SystemSpec, name: str, instruments: int, regressors: int) -> Identification:
    """Order and rank condition of an equation with so many independent instruments and regressors."""
    equation, g, m = spec.equations[name], spec.names.index(name), len(spec.names)
    present = [_presence(spec, each) for each in spec.names]
    now, lagged = (np.array(each, bool) for each in zip(*present, strict=True))
    excluded, alike = generic_rank(np.hstack([now, lagged]), g)
    found = rank_condition(now, lagged, g)
    return Identification(
        excluded=excluded,
        equations=m,
        rank=found.rank,
        rank_needed=found.needed,
        outside=instruments - (regressors - len(equation.endogenous_terms)),
        endogenous=len(equation.endogenous_terms),
        behind=tuple(spec.names[l] for l in found.others),
        alike=alike < m - 1,
    )


def _presence(spec: SystemSpec, name: str) -> tuple[list[bool], list[bool]]:
    """Which y, x and y of the period before the equation has, of the whole system, and of which it has the spatial lag."""
    equation, before = spec.equations[name], spec.carried(name)
    own = [y == equation.y or y in equation.endog for y in spec.endogenous]
    lagged = [y in equation.lagged for y in spec.endogenous]
    own += [x in equation.x for x in spec.exogenous] + [y in before[0] for y in spec.endogenous]
    lagged += [x in equation.lag_x for x in spec.exogenous] + [y in before[1] for y in spec.endogenous]
    return own, lagged


def refuse_unidentified(spec: SystemSpec, name: str, found: Identification, likelihood: bool) -> None:
    needed = found.equations - 1
    if spec.dynamic and (found.excluded < needed or found.alike):
        raise SpecificationError(
            f"Equation {name!r} is not identified: time order tells what was before, not what happens at once. Beside the "
            f"same-period effects {listed(spec.equations[name].endog)} (γ) the equation leaves out too little of the others "
            "to be told from a mixture with them. Drop endog (the lags in time then answer who leads), drop a spatial lag "
            "(lag_endog, lag_y) or a lag in time from it, or give the other equations an exogenous variable that it does "
            "not have.",
            f"方程{name!r}不可识别：时间先后说明的是前期的影响，不能区分同期的影响。它含同期效应"
            f"{listed_zh(spec.equations[name].endog)}（γ），而排除的变量太少，无法与其他方程的混合相区分。请去掉endog"
            "（由时间滞后项回答谁领先于谁），或从该方程去掉一个空间滞后（lag_endog、lag_y）或时间滞后，"
            "或给其他方程加一个它所没有的外生变量。",
        )
    if found.excluded < needed:
        raise SpecificationError(
            f"Equation {name!r} is not identified: with {len(spec.names)} equations at least {needed} variable(s) of the "
            f"others must be left out of it; only {found.excluded} is left out. Drop a regressor or a spatial lag that "
            "theory does not need from it, or give another equation an exogenous variable of its own.",
            f"方程{name!r}不可识别：共{len(spec.names)}个方程，至少须有其他方程的{needed}个变量不在其中，"
            f"而只有{found.excluded}个。请去掉理论上不需要的解释变量或空间滞后，或给其他方程加一个自己的外生变量。",
        )
    if found.alike:
        raise SpecificationError(
            f"Equation {name!r} is not identified (rank condition): a multiple of another equation can be added to it "
            f"without using anything that it leaves out. Give that equation a variable that {name!r} does not have.",
            f"方程{name!r}不可识别（秩条件）：可以把另一方程的倍数加到它上面，而不用到它所排除的变量。"
            f"请给那个方程加一个{name!r}没有的变量。",
        )
    if found.outside < found.endogenous and not likelihood:
        raise SpecificationError(
            f"Equation {name!r} is not identified: {found.endogenous} endogenous regressor(s) "
            f"({listed(spec.equations[name].endogenous_terms)}) but only {found.outside} instrument(s) outside the "
            "equation. Add exogenous variables to other equations, raise instrument_powers, or drop an endogenous one.",
            f"方程{name!r}不可识别：有{found.endogenous}"
            f"个内生解释变量（{listed_zh(spec.equations[name].endogenous_terms)}），"
            f"方程之外的工具变量只有{found.outside}个。请给其他方程加外生变量，提高instrument_powers，"
            "或去掉一个内生变量。",
        )
    if found.rank < found.rank_needed and not likelihood:
        raise SpecificationError(_hidden(name, found).en, _hidden(name, found).zh)


def _hidden(name: str, found: Identification) -> Text:
    """Why an equation fails the rank condition though no other equation looks like it, and what helps."""
    lost = found.rank_needed - found.rank
    if not found.behind:
        return Text(
            f"Equation {name!r} is not identified (rank condition): no exogenous variable of the system moves some of its "
            "endogenous regressors. Give the equations of these an exogenous variable.",
            f"方程{name!r}不可识别（秩条件）：系统中没有外生变量影响它的某些内生解释变量。请给这些变量的方程加外生变量。",
        )
    return Text(
        f"Equation {name!r} is not identified (rank condition): the spatial lag of {listed(found.behind)} can be added to "
        f"it without using anything that {name!r} leaves out, so that {lost} of its coefficients cannot be told. Give "
        f"{listed(found.behind)} a variable that is not in {name!r} with its spatial lag, drop a spatial lag from {name!r}, "
        'or use method="fiml", which tells them apart by errors that are independent over space.',
        f"方程{name!r}不可识别（秩条件）：可以把{listed_zh(found.behind)}的空间滞后加到它上面，而不用到它所排除的变量，"
        f"因此有{lost}个系数无法确定。请给{listed_zh(found.behind)}加一个变量，其空间滞后不在{name!r}之中，"
        f'或从{name!r}去掉一个空间滞后，或用method="fiml"，它凭误差在空间上独立来区分。',
    )


def system_links(spec: SystemSpec) -> Links:
    """Which parameters of the system stand before endogenous variables, and before which."""
    rows = []
    start = 0
    for g, (name, equation) in enumerate(spec.equations.items()):
        for offset, variable in enumerate((*equation.endog, *equation.lagged)):
            lagged = offset >= len(equation.endog)
            rows.append((start + offset, g, spec.endogenous.index(variable), lagged))
        start += len(spec.terms(name))
    table = np.array(rows, dtype=int).reshape(-1, 4)
    return Links(table[:, 0], table[:, 1], table[:, 2], table[:, 3].astype(bool))


def check_system_weights(spec: SystemSpec, weights: Weights) -> None:
    """Refuse time effects under a W whose rows do not sum to one."""
    timed = spec.fixed_effects in ("time", "two_way")
    if not timed or not spec.uses_weights or weights.row_normalised:
        return
    refuse_empty_rows(weights)
    raise SpecificationError(
        f"With time effects the transform of a system needs a row-normalised W; {weights.label!r} is not. "
        'Use W.standardise("row"), or unit effects only.',
        f'含时间效应的系统变换需要行标准化的W；{weights.label!r}不是。请用W.standardise("row")，或只用地区效应。',
    )
