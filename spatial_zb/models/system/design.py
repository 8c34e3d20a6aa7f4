"""From labels to arrays: the design of a system, its instruments, and the checks before anything is estimated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.notes import Note
from spatial_zb.base.text import Text
from spatial_zb.core import Array
from spatial_zb.core.system.arrays import Links, SystemArrays, lag_stacked
from spatial_zb.core.system.components import Strata, split_strata
from spatial_zb.core.system.identification import generic_rank, rank_condition
from spatial_zb.core.system.instruments import WeightedSpectrum
from spatial_zb.core.system.moments import forward_deviations, independent_columns
from spatial_zb.core.transforms import FixedEffects, demean, spatial_lag, transformed_sample
from spatial_zb.data.panel import Panel, require_consecutive
from spatial_zb.models.design import (
    ABSORBED,
    CONDITION_WARNING,
    NOWHERE,
    absorbed,
    dependent,
    pivoted,
    refuse_blanks,
    refuse_extreme,
    refuse_level,
    stacked,
)
from spatial_zb.models.notes import nearly_collinear
from spatial_zb.models.system.spec import SystemSpec
from spatial_zb.weights.matrix import Weights

#: Residual share below which y is an identity of its regressors.
PERFECT_FIT = 1e-18


@dataclass(frozen=True, slots=True)
class Identification:
    """Order and rank condition of one equation.

    ``excluded`` variables of the system are not in the equation; at least ``equations`` − 1 must be. The reduced form tells
    ``rank`` of its ``rank_needed`` coefficients apart, and where these differ hides a multiple of the equations ``behind``,
    or of their spatial lags. ``outside`` instruments are not regressors of the equation; there must be one for each of its
    ``endogenous`` regressors. ``alike``: another equation itself could be added to it.
    """

    excluded: int
    equations: int
    rank: int
    rank_needed: int
    outside: int
    endogenous: int
    behind: tuple[str, ...]
    alike: bool

    @property
    def order(self) -> bool:
        """Enough exclusions, and enough instruments."""
        return self.excluded >= self.equations - 1 and self.outside >= self.endogenous

    @property
    def identified(self) -> bool:
        """Order and rank condition hold."""
        return self.order and self.rank == self.rank_needed


@dataclass(frozen=True, slots=True)
class SystemDesign:
    """A system on a panel under one W, made of arrays: ``arrays`` after the transform, and the words for their columns.

    ``instruments`` name the columns of H before they were made orthonormal; ``dropped`` those that were linear
    combinations of the others; ``powers`` of W were asked for. ``strata`` within and between units for random effects, else
    None. ``spectrum`` of W as the instruments see it, where the estimate takes off the bias of many instruments, else None.
    ``panel`` has the periods that are explained; with lags in time, ``levels`` (T + 1, n, m) are the dependent variables
    with the first period, else None.
    """

    spec: SystemSpec
    panel: Panel
    weights: Weights
    arrays: SystemArrays
    instruments: tuple[str, ...]
    dropped: tuple[str, ...]
    identification: dict[str, Identification]
    powers: int
    strata: Strata | None = None
    spectrum: WeightedSpectrum | None = None
    notes: tuple[Note, ...] = ()
    levels: Array | None = None


def build_system_design(
    spec: SystemSpec, panel: Panel, weights: Weights, powers: int, likelihood: bool
) -> SystemDesign:
    """Take the variables out of the panel, lag them, transform them, choose instruments, and check.

    Parameters
    ----------
    powers
        Highest power of W among the instruments.
    likelihood
        Whether identification may rest on the likelihood alone (FIML), without an instrument for each
        endogenous regressor.

    Raises
    ------
    DataError
        Blank cells, absorbed or collinear regressors, too few observations, a y that is an identity.
    SpecificationError
        An equation that is not identified, with what it lacks.
    """
    refuse_blanks(panel, (*spec.endogenous, *spec.exogenous))
    levels = None
    if spec.dynamic:
        require_consecutive(panel, "time_lag")
        levels = panel.array(list(spec.endogenous))
        panel = panel.select(periods=panel.periods[1:])
    T, n = len(panel.periods), len(panel.units)
    if T == 1 and spec.fixed_effects != "none":
        raise SpecificationError(
            'Fixed effects need two periods or more: for a single period use fixed_effects="none".',
            '固定效应需要两个以上时期：只有一个时期时请用fixed_effects="none"。',
        )
    columns = _Columns(spec, panel, weights, levels)
    Z = {name: columns.take(spec.terms(name), name) for name in spec.names}
    y = columns.take(spec.endogenous, None)
    _refuse_too_few(spec, n, T, Z)
    H, instruments, dropped = _instruments(spec, columns, powers)
    identification = {name: _identify(spec, name, H, Z[name]) for name in spec.names}
    _refuse_same_variable(spec, y)
    notes: list[Note] = []
    for name in spec.names:
        notes += _check_dependence(spec, name, Z[name], y[:, spec.names.index(name)], weights.label)
        _refuse_unidentified(spec, name, identification[name], likelihood)
    arrays = _arrays(spec, weights, y, Z, H, n, T)
    strata = None
    if spec.fixed_effects == "random":
        strata = split_strata(arrays, columns.take(instruments, None), T)
        _refuse_too_few_units(spec, strata, n)
    found = (instruments, dropped, identification, powers, strata)
    return SystemDesign(spec, panel, weights, arrays, *found, notes=tuple(notes), levels=levels)


class _Columns:
    """Transformed columns by name: ``x``, ``W_x``, ``W2_x``, …, ``(Intercept)``; each is built once."""

    def __init__(self, spec: SystemSpec, panel: Panel, weights: Weights, levels: Array | None = None) -> None:
        self.effects: FixedEffects = spec.transform
        self.matrix = weights.matrix
        self.panel = panel
        periods = len(panel.periods) - (spec.fixed_effects in ("unit", "two_way"))
        self.rows = periods * len(panel.units)
        self.raw: dict[str, Array] = {}
        if levels is not None:
            for l, y in enumerate(spec.endogenous):
                self.raw[f"L_{y}"] = levels[:-1, :, l]
                self.raw[f"L_W_{y}"] = spatial_lag(self.matrix, levels[:-1, :, l])
        self.done: dict[str, Array | None] = {}

    def take(self, names: tuple[str, ...], equation: str | None) -> Array:
        """Stack columns (M, k); a column that the effects absorb is refused when an equation needs it."""
        columns = []
        for name in names:
            column = self.column(name)
            if column is None:
                self._refuse_absorbed(name, equation)
            columns.append(column)
        return np.column_stack(columns) if names else np.empty((self.rows, 0))

    def column(self, name: str) -> Array | None:
        """(M,), or None when the effects absorb it."""
        if name not in self.done:
            raw = self._raw(name)
            refuse_extreme(name, raw)
            after = demean(raw, self.effects)
            flat = name != "(Intercept)" and np.ptp(raw) <= ABSORBED * np.abs(raw).max()
            if flat:
                refuse_level(name, float(raw.min()), float(raw.max()))
            gone = flat or np.abs(after).max() <= ABSORBED * np.abs(raw).max()
            self.done[name] = None if gone else stacked(forward_deviations(raw, self.effects))
        return self.done[name]

    def _raw(self, name: str) -> Array:
        if name not in self.raw:
            if name == "(Intercept)":
                self.raw[name] = np.ones((len(self.panel.periods), len(self.panel.units)))
            elif name in self.panel.columns:
                self.raw[name] = self.panel.array(name)
            elif name.startswith("W_"):
                self.raw[name] = spatial_lag(self.matrix, self._raw(name.removeprefix("W_")))
            elif name.startswith("W") and "_" in name:
                power, variable = name[1:].split("_", 1)
                before = f"W{int(power) - 1}_{variable}" if int(power) > 2 else f"W_{variable}"
                self.raw[name] = spatial_lag(self.matrix, self._raw(before))
            else:
                self.raw[name] = self.panel.array(name)  # raises with near names
        return self.raw[name]

    def _refuse_absorbed(self, name: str, equation: str | None) -> NoReturn:
        where = Text(f"Equation {equation!r}: ", f"方程{equation!r}：") if equation else NOWHERE
        raise absorbed(name, self.effects, where)


def _instruments(
    spec: SystemSpec, columns: _Columns, powers: int
) -> tuple[Array, tuple[str, ...], tuple[str, ...]]:
    """Independent columns of [X, WX, W²X, …]: regressors of the system first, then the other lags."""
    constant = ("(Intercept)",) if spec.intercept else ()
    own = dict.fromkeys(term for e in spec.equations.values() for term in e.exogenous_terms)
    included = [*constant, *dict.fromkeys([*spec.exogenous, *own])]
    lags = [f"W{p if p > 1 else ''}_{x}" for p in range(1, powers + 1) for x in spec.exogenous]
    extra = [name for name in lags if name not in included]
    absorbed = [name for name in extra if columns.column(name) is None]
    extra = [name for name in extra if name not in absorbed]
    first, more = columns.take(tuple(included), None), columns.take(tuple(extra), None)
    kept = independent_columns(np.empty((columns.rows, 0)), first)
    added = independent_columns(first[:, kept], more)
    used = [*(included[j] for j in kept), *(extra[j] for j in added)]
    basis = np.hstack([first[:, kept], more[:, added]])
    Q = np.linalg.qr(basis / np.sqrt((basis**2).sum(axis=0)))[0]
    dropped = [name for name in (*included, *extra, *absorbed) if name not in used]
    return Q, tuple(used), tuple(dropped)


def _identify(spec: SystemSpec, name: str, H: Array, Z: Array) -> Identification:
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
        outside=H.shape[1] - (Z.shape[1] - len(equation.endogenous_terms)),
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


def _refuse_unidentified(spec: SystemSpec, name: str, found: Identification, likelihood: bool) -> None:
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


def instrument_columns(design: SystemDesign, names: tuple[str, ...]) -> Array:
    """Transformed columns (M, k) of instruments by name."""
    return _Columns(design.spec, design.panel, design.weights).take(names, None)


def _refuse_too_few(spec: SystemSpec, n: int, T: int, Z: dict[str, Array]) -> None:
    left = transformed_sample(n, T, spec.transform, "lee_yu").observations
    for name, block in Z.items():
        if left <= block.shape[1] + len(spec.names):
            raise DataError(
                f"Equation {name!r}: {n} units × {T} periods leave {left} observations after the effects, for "
                f"{block.shape[1]} coefficients. Drop regressors or lags, or use more units or periods.",
                f"方程{name!r}：{n}个地区 × {T}个时期扣除效应后剩{left}个观测，系数有{block.shape[1]}个。"
                "请去掉解释变量或滞后，或用更多地区或时期。",
            )


def _refuse_too_few_units(spec: SystemSpec, strata: Strata, n: int) -> None:
    """The variance of random effects needs 2SLS between units."""
    for name, Z in zip(spec.names, strata.between.Z, strict=True):
        k, q = Z.shape[1], strata.between.H.shape[1]
        if n <= k + 1 or q < k:
            raise SpecificationError(
                f"Equation {name!r}: random effects compare the means of {n} units, too few for its {k} coefficients and "
                f'{q} instruments. Use fixed_effects="unit", or fewer regressors.',
                f"方程{name!r}：随机效应比较{n}个地区的均值，对{k}个系数和{q}个工具变量来说太少。"
                '请用fixed_effects="unit"，或减少解释变量。',
            )


def _check_dependence(spec: SystemSpec, name: str, Z: Array, y: Array, label: str) -> list[Note]:
    """Refuse exactly collinear regressors and a y that is an exact combination of its regressors; note the nearly so."""
    notes = []
    terms = spec.terms(name)
    unit = np.column_stack([Z, y]) / np.sqrt(np.sum(np.column_stack([Z, y]) ** 2, axis=0))
    if Z.shape[1]:
        R, order, rank = pivoted(unit[:, :-1])
        if rank < len(order):
            involved = dependent(terms, R, order, rank)
            lagged = any(term in spec.equations[name].endogenous_terms for term in involved)
            remedy = (
                Text(
                    f"Drop one, or use other weights than {label!r}.",
                    f"请去掉一个，或换用{label!r}以外的权重矩阵。",
                )
                if lagged
                else Text("Drop one.", "请去掉一个。")
            )
            raise DataError(
                f"Equation {name!r}: these regressors are an exact linear combination of each other: "
                f"{listed(involved)}. {remedy.en}",
                f"方程{name!r}：这些解释变量互为精确的线性组合：{listed_zh(involved)}。{remedy.zh}",
            )
        condition = float(np.linalg.cond(R))
        if condition > CONDITION_WARNING:
            notes.append(nearly_collinear(condition, name))
    coefficient = np.linalg.lstsq(unit[:, :-1], unit[:, -1], rcond=None)[0]
    rest = unit[:, -1] - unit[:, :-1] @ coefficient
    if rest @ rest <= PERFECT_FIT:
        involved = [term for term, c in zip(terms, coefficient, strict=True) if abs(c) > 1e-6]
        own = f"W_{spec.equations[name].y}"
        if involved == [own]:
            raise SpecificationError(
                f"Equation {name!r}: the spatial lag of {own[2:]!r} under {label!r} is a multiple of it once effects are "
                "removed, as happens when all units are neighbours with equal weights. Use another W.",
                f"方程{name!r}：消除效应后，{own[2:]!r}在{label!r}下的空间滞后是它自身的倍数，"
                "所有地区以相等权重互为邻居时即如此。请换一个W。",
            )
        raise DataError(
            f"Equation {name!r}: {listed(involved)} explain {spec.equations[name].y!r} perfectly; it is an identity, not "
            "a relation. Drop what defines it.",
            f"方程{name!r}：{listed_zh(involved)}完全解释了{spec.equations[name].y!r}；这是恒等式，不是关系。"
            "请去掉定义它的变量。",
        )
    return notes


def _refuse_same_variable(spec: SystemSpec, y: Array) -> None:
    unit = y / np.sqrt((y**2).sum(axis=0))
    close = np.abs(np.triu(unit.T @ unit, 1)) > 1 - 1e-10
    for g, l in np.argwhere(close):
        raise SpecificationError(
            f"Equations {spec.names[g]!r} and {spec.names[l]!r} explain the same thing: {spec.endogenous[g]!r} and "
            f"{spec.endogenous[l]!r} are multiples of each other after the effects. Keep one.",
            f"方程{spec.names[g]!r}与{spec.names[l]!r}解释同一事物：消除效应后{spec.endogenous[g]!r}"
            f"与{spec.endogenous[l]!r}互为倍数。请保留一个。",
        )


def _arrays(
    spec: SystemSpec, weights: Weights, y: Array, Z: dict[str, Array], H: Array, n: int, T: int
) -> SystemArrays:
    spatial = any(e.lag_error for e in spec.equations.values())
    sample = transformed_sample(n, T, spec.transform, "lee_yu")

    def lag(values: Array) -> Array:
        return lag_stacked(weights.matrix, values, sample.centred)

    return SystemArrays(
        y=y,
        Z=tuple(Z.values()),
        H=H,
        endogenous=tuple(len(e.endogenous_terms) for e in spec.equations.values()),
        links=system_links(spec),
        lag_error=tuple(bool(e.lag_error) for e in spec.equations.values()),
        Wy=lag(y) if spatial else None,
        WZ=tuple(lag(block) for block in Z.values()) if spatial else None,
        matrix=weights.matrix,
        sample=sample,
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
