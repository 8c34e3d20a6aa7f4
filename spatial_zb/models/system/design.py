"""From labels to arrays: the design of a system, its instruments, and the checks before anything is estimated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.notes import Note
from spatial_zb.base.text import Text
from spatial_zb.core import Array
from spatial_zb.core.likelihood.shape_rows import row_weights
from spatial_zb.core.system import SystemArrays, lag_stacked, within_residuals
from spatial_zb.core.system.components import Strata, split_strata
from spatial_zb.core.system.identification import Identification
from spatial_zb.core.system.instruments import WeightedSpectrum
from spatial_zb.core.system.moments import forward_deviations, independent_columns
from spatial_zb.core.transforms import (
    FixedEffects,
    TransformedSample,
    demean,
    effect_space,
    spatial_lag,
    transformed_sample,
)
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
from spatial_zb.models.gmm_sample import Rows
from spatial_zb.models.notes import nearly_collinear
from spatial_zb.models.shape import aligned_weights, effect_columns, rows_left_out
from spatial_zb.models.system.spec import SystemSpec, identified_by, refuse_unidentified, system_links
from spatial_zb.weights.matrix import Weights, weights_eigenvalues
from spatial_zb.weights.periods import PeriodWeights, notes_on_absence, of_units, row_blocks

#: Residual share below which y is an identity of its regressors.
PERFECT_FIT = 1e-18


@dataclass(frozen=True, slots=True)
class SystemDesign:
    """A system on a panel under one W, made of arrays: ``arrays`` after the transform, and the words for their columns.

    ``instruments`` name the columns of H before they were made orthonormal; ``dropped`` those that were linear
    combinations of the others; ``powers`` of W were asked for. ``strata`` within and between units for random effects, else
    None. ``spectrum`` of W as the instruments see it, where the estimate takes off the bias of many instruments, else None.
    ``panel`` has the periods that are explained; with lags in time, ``levels`` (T + 1, n, m) are the dependent variables
    with the first period, else None. ``rows`` where units or W change between periods, ``whole`` the arrays before rows were
    brought into deviations; ``weights`` may be by period then.
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
    rows: Rows | None = None
    whole: SystemArrays | None = None
    reasons: tuple[str, ...] = ()

    @property
    def shape_facts(self) -> dict[str, Any]:
        """What ``glance()`` says of a panel of another shape, as for one equation."""
        return {} if self.rows is None else self.rows.facts(self.reasons)

    @property
    def outcomes(self) -> Array:
        """y (T, n, m) after the effects, NaN where there is no row; with random effects as it is."""
        if self.strata is not None:
            return self.panel.array(list(self.spec.endogenous))
        if self.rows is None:
            return within_residuals(self.arrays.y, self.arrays.sample)
        return self.rows.placed((self.whole or self.arrays).y)

    def residuals(self, e: Array, delta: Array) -> Array:
        """ε̂ (T, n, m) of transformed errors (M, m): of rows that are in deviations for now, from coefficients (K,)."""
        if self.rows is None:
            return within_residuals(e, self.arrays.sample)
        return self.rows.placed((self.whole or self.arrays).residuals(delta))

    @property
    def eigenvalues(self) -> NDArray:
        """Of W; of the W of every row where it changes; a single zero stands for all when nothing depends on them."""
        if not self.spec.uses_weights:
            return np.zeros(1)
        return weights_eigenvalues(self.weights) if self.rows is None else self.rows.weights.eigenvalues()

    @property
    def matrix(self) -> sparse.csr_array:
        """W, of all rows that exist where it changes."""
        return self.weights.matrix if self.rows is None else self.rows.weights.matrix

    @property
    def rows_sum_to_one(self) -> bool:
        """Whether all rows of W do, or none is used."""
        if not self.spec.uses_weights:
            return True
        return self.weights.row_normalised if self.rows is None else self.rows.weights.sums_to_one


def system_design(
    spec: SystemSpec, panel: Panel, W: Any, powers: int, likelihood: bool, by_row: bool = False
) -> SystemDesign:
    """The design of a system by moments: that of a complete panel under one W, or of the rows that have all its variables.

    ``by_row``: scores are not only summed by unit; the others as in :func:`build_system_design`.
    """
    weights, names = aligned_weights(W, panel), (*spec.endogenous, *spec.exogenous)
    there = panel.rows(list(names)) if panel.uneven else panel.present
    found = {"rows": not there.all(), "periods": isinstance(weights, PeriodWeights)}
    reasons = tuple(name for name, on in found.items() if on)
    if not reasons:
        return build_system_design(spec, panel, cast(Weights, weights), powers, likelihood)
    return design_of_rows(spec, panel, weights, powers, likelihood, reasons, by_row)


def design_of_rows(
    spec: SystemSpec,
    panel: Panel,
    weights: Weights | PeriodWeights,
    powers: int,
    likelihood: bool,
    reasons: tuple[str, ...],
    by_row: bool,
) -> SystemDesign:
    """The rows that have all variables, W among their units; ``reasons`` why they are needed."""
    names = (*spec.endogenous, *spec.exogenous)
    if "rows" not in reasons:
        refuse_blanks(panel, names)
    there = panel.rows(list(names))
    blank = int((panel.present & ~there).sum())
    units, periods = there.any(axis=0), there.any(axis=1)
    panel = panel.select(list(panel.units[units]), [panel.periods[t] for t in np.flatnonzero(periods)])
    there = there[np.ix_(periods, units)]
    effects = {"none": (), "two_way": ("unit", "period"), "time": ("period",)}.get(
        spec.fixed_effects, ("unit",)
    )
    space = effect_space(effect_columns(effects, panel, there), np.nonzero(there)[1])
    own = row_weights(row_blocks(weights, panel.units, panel.periods, there))
    rows = Rows(there, own, space, by_row and "unit" in effects)
    left = cast(Weights, of_units(weights, panel.units))
    design = build_system_design(spec, panel, left, powers, likelihood, rows)
    absent = notes_on_absence(weights, panel.units, panel.periods, there) if spec.uses_weights else ()
    without = (rows_left_out(blank, int(there.sum())),) if blank else ()
    return replace(design, notes=(*design.notes, *absent, *without), reasons=reasons)


def build_system_design(
    spec: SystemSpec,
    panel: Panel,
    weights: Weights,
    powers: int,
    likelihood: bool,
    rows: Rows | None = None,
) -> SystemDesign:
    """Take the variables out of the panel, lag them, transform them, choose instruments, and check.

    Parameters
    ----------
    powers
        Highest power of W among the instruments.
    likelihood
        Whether identification may rest on the likelihood alone (FIML), without an instrument for each
        endogenous regressor.
    rows
        Those that exist, by :func:`system_rows`, where units or W change between periods.

    Raises
    ------
    DataError
        Blank cells, absorbed or collinear regressors, too few observations, a y that is an identity.
    SpecificationError
        An equation that is not identified, with what it lacks.
    """
    if rows is None:
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
    columns = _Columns(spec, panel, weights, levels, rows)
    Z = {name: columns.take(spec.terms(name), name) for name in spec.names}
    y = columns.take(spec.endogenous, None)
    sample = transformed_sample(n, T, spec.transform, "lee_yu") if rows is None else rows.sample
    _refuse_too_few(spec, sample, Z)
    H, instruments, dropped = _instruments(spec, columns, powers)
    identification = {name: identified_by(spec, name, H.shape[1], Z[name].shape[1]) for name in spec.names}
    _refuse_same_variable(spec, y)
    notes: list[Note] = []
    for name in spec.names:
        notes += _check_dependence(spec, name, Z[name], y[:, spec.names.index(name)], weights.label)
        refuse_unidentified(spec, name, identification[name], likelihood)
    arrays = _arrays(spec, weights, y, Z, H, sample)
    found = instruments, dropped, identification, powers
    if rows is not None:
        whole = rows.arrays(arrays)
        return SystemDesign(
            spec, panel, weights, rows.turned(whole), *found, notes=tuple(notes), rows=rows, whole=whole
        )
    strata = None
    if spec.fixed_effects == "random":
        strata = split_strata(arrays, columns.take(instruments, None), T)
        _refuse_too_few_units(spec, strata, n)
    return SystemDesign(spec, panel, weights, arrays, *found, strata, notes=tuple(notes), levels=levels)


class _Columns:
    """Transformed columns by name: ``x``, ``W_x``, ``W2_x``, …, ``(Intercept)``; each is built once."""

    def __init__(
        self,
        spec: SystemSpec,
        panel: Panel,
        weights: Weights,
        levels: Array | None = None,
        rows: Rows | None = None,
    ) -> None:
        self.effects: FixedEffects = spec.transform
        self.panel, self.weights, self.rows = panel, weights, rows
        periods = len(panel.periods) - (rows is None and spec.fixed_effects in ("unit", "two_way"))
        self.count = periods * len(panel.units)
        self.raw: dict[str, Array] = {}
        if levels is not None:
            for l, y in enumerate(spec.endogenous):
                self.raw[f"L_{y}"] = levels[:-1, :, l]
                self.raw[f"L_W_{y}"] = self.lag(levels[:-1, :, l])
        self.done: dict[str, Array | None] = {}

    def lag(self, values: Array) -> Array:
        """W times (T, n)."""
        return spatial_lag(self.weights.matrix, values) if self.rows is None else self.rows.lag(values)

    def take(self, names: tuple[str, ...], equation: str | None) -> Array:
        """Stack columns (M, k); a column that the effects absorb is refused when an equation needs it."""
        columns = []
        for name in names:
            column = self.column(name)
            if column is None:
                self._refuse_absorbed(name, equation)
            columns.append(column)
        return np.column_stack(columns) if names else np.empty((self.count, 0))

    def column(self, name: str) -> Array | None:
        """(M,), or None when the effects absorb it."""
        if name not in self.done:
            raw = self._raw(name)
            known = raw if self.rows is None else raw[self.rows.present]
            refuse_extreme(name, known)
            after = demean(raw, self.effects) if self.rows is None else self.rows.taken(raw)
            size = np.abs(known).max()
            flat = name != "(Intercept)" and np.ptp(known) <= ABSORBED * size
            if flat:
                refuse_level(name, float(known.min()), float(known.max()))
            gone = flat or np.abs(after).max() <= ABSORBED * size
            rows = after if self.rows is not None else stacked(forward_deviations(raw, self.effects))
            self.done[name] = None if gone else rows
        return self.done[name]

    def _raw(self, name: str) -> Array:
        if name not in self.raw:
            if name == "(Intercept)":
                self.raw[name] = np.ones((len(self.panel.periods), len(self.panel.units)))
            elif name in self.panel.columns:
                self.raw[name] = self.panel.array(name)
            elif name.startswith("W_"):
                self.raw[name] = self.lag(self._raw(name.removeprefix("W_")))
            elif name.startswith("W") and "_" in name:
                power, variable = name[1:].split("_", 1)
                before = f"W{int(power) - 1}_{variable}" if int(power) > 2 else f"W_{variable}"
                self.raw[name] = self.lag(self._raw(before))
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
    kept = independent_columns(np.empty((columns.count, 0)), first)
    added = independent_columns(first[:, kept], more)
    used = [*(included[j] for j in kept), *(extra[j] for j in added)]
    basis = np.hstack([first[:, kept], more[:, added]])
    Q = np.linalg.qr(basis / np.sqrt((basis**2).sum(axis=0)))[0]
    dropped = [name for name in (*included, *extra, *absorbed) if name not in used]
    return Q, tuple(used), tuple(dropped)


def instrument_columns(design: SystemDesign, names: tuple[str, ...]) -> Array:
    """Transformed columns (M, k) of instruments by name."""
    columns = _Columns(design.spec, design.panel, design.weights, None, design.rows).take(names, None)
    return columns if design.rows is None else design.rows.deviated(columns)


def _refuse_too_few(spec: SystemSpec, sample: TransformedSample, Z: dict[str, Array]) -> None:
    n, T, left = sample.n_units, sample.n_periods, sample.observations
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
    spec: SystemSpec,
    weights: Weights,
    y: Array,
    Z: dict[str, Array],
    H: Array,
    sample: TransformedSample,
) -> SystemArrays:
    spatial = any(e.lag_error for e in spec.equations.values())

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
        matrix=sparse.csr_array((0, 0)) if isinstance(weights, PeriodWeights) else weights.matrix,
        sample=sample,
    )
