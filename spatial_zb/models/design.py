"""From labels to arrays: the design of a single-equation model, checked before anything is estimated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.notes import Note
from spatial_zb.base.text import Text, cell_of
from spatial_zb.core import Array
from spatial_zb.core.logdet import LogDet, NoLag
from spatial_zb.core.transforms import (
    ColumnBasis,
    TransformedSample,
    column_basis,
    demean,
    spatial_lag,
    transformed_sample,
)
from spatial_zb.data.panel import Panel, require_complete, require_consecutive, require_panel
from spatial_zb.models.notes import endogenous_weights, nearly_collinear
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.weights.matrix import Weights
from spatial_zb.weights.periods import PeriodWeights

#: What is left of a column after the effects, relative to what was there, when it was absorbed.
ABSORBED = 1e-9
#: Relative to its size, a column that varies by less is constant but for rounding.
ROUNDING = 16 * np.finfo(float).eps
#: Sizes beyond this, or below its inverse: with y of one size and x of the other, statistics are right up to it and
#: information about them is no number from 1e60 on.
EXTREME = 1e50
#: A diagonal of R this small, with unit columns, is an exact linear dependence.
RANK_TOLERANCE = 1e-9
#: Condition number of the unit-length columns from which near collinearity is mentioned.
CONDITION_WARNING = 100.0
#: A residual share of y below this is an identity, not a relation.
PERFECT_FIT = 1e-20


@dataclass(frozen=True, slots=True)
class Design:
    """One model of one panel under one W, and its arrays after the fixed-effects transform.

    Every lag is taken before the transform. ``panel`` has the T periods that are explained, without the first where a
    lag in time is taken. ``y, Wy`` (T, n); ``Z`` (T, n, k) in the order of ``spec.terms``, with regimes in that of the
    coefficients; ``WZ`` (T, n, k) and ``WWy`` (T, n) only where the error is spatial, else None; ``basis`` of the
    stacked columns of Z; ``notes`` on the data, which a fit takes over.
    """

    spec: DurbinSpec
    panel: Panel
    weights: Weights
    y: Array
    Wy: Array
    Z: Array
    WZ: Array | None
    WWy: Array | None
    basis: ColumnBasis
    notes: tuple[Note, ...] = ()

    def sample(self, estimator: str = "lee_yu") -> TransformedSample:
        """What the transform of an estimator leaves of the T · n observations: ``"direct"`` leaves all."""
        kind: Literal["lee_yu", "direct"] = "direct" if estimator == "direct" else "lee_yu"
        return transformed_sample(len(self.panel.units), len(self.panel.periods), self.spec.transform, kind)

    @property
    def interval(self) -> tuple[float, float]:
        """Where ρ may lie."""
        return self.weights.logdet.interval

    @property
    def own_lags(self) -> dict[str, Any]:
        """``W_x`` and ``W_error`` where they are not the W of y."""
        return {}

    @property
    def shape_facts(self) -> dict[str, Any]:
        """What ``glance()`` says of a panel of another shape: ``rows``, share ``present``, and the ``reason``."""
        return {}

    @property
    def logdet(self) -> LogDet:
        """ln|I − cW| as the likelihood has it: nothing without a spatial coefficient."""
        return self.weights.logdet if self.spec.spatial_terms else NoLag()

    @property
    def lags(self) -> tuple[Array, Array]:
        """WZ and WWy of a model whose error is spatial."""
        assert self.WZ is not None, "made where the error is spatial"
        assert self.WWy is not None, "made where the error is spatial"
        return self.WZ, self.WWy

    @property
    def lagged(self) -> tuple[Array, Array, Array] | None:
        """WZ, Wy and WWy, stacked, which a likelihood with λ asks for; None without λ."""
        if self.WZ is None or self.WWy is None:
            return None
        return stacked(self.WZ), stacked(self.Wy), stacked(self.WWy)


def build_design(spec: DurbinSpec, panel: Panel, weights: Weights) -> Design:
    """Take the model's variables out of the panel, lag them, transform them, and check them.

    Raises
    ------
    DataError
        Blank cells, constant or absorbed regressors, exact collinearity, too few observations, a constant
        or perfectly explained y: each with the names concerned.
    """
    W, effects = weights.matrix, spec.transform
    refuse_blanks(panel, (spec.y, *spec.regressors, *spec.instruments))
    before = _period_before(spec, panel, weights)
    panel = estimated_periods(spec, panel)
    y, X = panel.array(spec.y), panel.array(list(spec.regressors))
    T, n = y.shape
    if T == 1 and spec.fixed_effects != "none":
        raise SpecificationError(
            'Fixed effects need two periods or more: for a single period use fixed_effects="none".',
            '固定效应需要两个以上时期：只有一个时期时请用fixed_effects="none"。',
        )
    raw = np.concatenate([X, spatial_lag(W, panel.array(list(spec.lag_x)))], axis=2)
    raw = np.concatenate([raw, _unit_means(spec, raw), before], axis=2)
    if effects == "none":
        raw = np.concatenate([np.ones((T, n, 1)), raw], axis=2)
    Wy = spatial_lag(W, y)
    Z, yt, Wyt = (demean(values, effects) for values in (raw, y, Wy))
    left = transformed_sample(n, T, effects, "lee_yu").observations
    basis = checked_columns(spec, (y, Wy, raw), (yt, Wyt, Z), left, weights.label)
    WZ = WWy = None
    if spec.lag_error:
        WZ, WWy = demean(spatial_lag(W, raw), effects), demean(spatial_lag(W, Wy), effects)
        refuse_flat_error_lag(stacked(yt), stacked(Wyt), stacked(Z), stacked(WZ), weights.label)
    notes = tuple(notes_on_data(spec, weights, Z, basis))
    return Design(spec, panel, weights, yt, Wyt, Z, WZ, WWy, basis, notes)


def checked_columns(
    spec: DurbinSpec,
    raw: tuple[Array, Array, Array],
    off: tuple[Array, Array, Array],
    left: int,
    label: str,
) -> ColumnBasis:
    """Refuse a y, Wy or Z that cannot be used; an orthonormal basis of Z.

    Parameters
    ----------
    raw, off
        y and Wy (T, n) and Z (T, n, k), as they are and after the effects; rows of any panel are one period of N units.
    left
        Observations that the effects leave.
    label
        Of W.
    """
    names = spec.y, f"W_{spec.y}", *spec.terms
    for name, values in zip(names, (*raw[:2], *np.moveaxis(raw[2], 2, 0)), strict=True):
        refuse_extreme(name, values)
    y, Wy, Z = off
    _refuse_unusable_columns(spec, raw[2], Z)
    _refuse_unusable_y(spec, raw[0], y)
    _refuse_too_few(spec, y.shape, left)
    basis = _refuse_collinear(spec, Z)
    _refuse_perfect_fit(spec, stacked(y), basis.Q)
    if spec.lag_y:
        _refuse_flat_lag(spec, stacked(y), stacked(Wy), basis.Q, label)
    return basis


def stacked(values: Array) -> Array:
    """(T, n) → (T·n,) and (T, n, k) → (T·n, k)."""
    T, n, *rest = values.shape
    return values.reshape(T * n, *rest)


def estimated_periods(spec: DurbinSpec, panel: Panel) -> Panel:
    """The periods that are explained: all but the first where a lag in time is taken."""
    return panel.select(periods=panel.periods[1:]) if spec.dynamic else panel


def _period_before(spec: DurbinSpec, panel: Panel, weights: Weights) -> Array:
    """y and Wy of the period before, as far as they enter, (T − 1, n, 0 to 2); (T, n, 0) in a static model."""
    y = panel.array(spec.y)
    if not spec.dynamic:
        return np.empty((*y.shape, 0))
    require_consecutive(panel, "time_lag")
    y = y[:-1]
    columns = [y] * bool(spec.time_lag) + [spatial_lag(weights.matrix, y)] * bool(spec.lag_time_lag)
    return np.stack(columns, axis=2)


def _unit_means(spec: DurbinSpec, columns: Array) -> Array:
    """Means over time of the columns (x, endog, W_x) that ``mundlak`` names, the same in every period."""
    if not spec.mundlak:
        return columns[:, :, :0]
    names = (*spec.regressors, *(f"W_{name}" for name in spec.lag_x))
    wanted = [i for i, name in enumerate(names) if f"mean_{name}" in spec.terms]
    means = columns[:, :, wanted].mean(axis=0)
    return np.broadcast_to(means, (len(columns), *means.shape))


def check_kinds(spec: object, kind: type, panel: object) -> None:
    """Refuse a table instead of a panel, a formula instead of a specification, or the two exchanged.

    Raises
    ------
    SpecificationError
        ``spec`` is not a ``kind``, or ``panel`` not a :class:`Panel`.
    """
    if not isinstance(spec, kind):
        raise SpecificationError(
            f"spec must be a {kind.__name__}, not a {type(spec).__name__}.",
            f"spec须为{kind.__name__}，而不是{type(spec).__name__}。",
        )
    require_panel(panel)


def refuse_empty_rows(weights: Weights) -> None:
    """Refuse, under time effects, a row-normalised W in which some rows are empty and so do not sum to one."""
    if len(weights.islands) and weights.normalisation == "row":
        raise SpecificationError(
            f"With time effects every row of W must sum to one, and {listed(weights.islands)} have no neighbour under "
            f'{weights.label!r}. Give them one (islands="nearest"), leave them out, or use unit effects only.',
            f"有时间效应时W的每一行之和须为1，而在{weights.label!r}下{listed_zh(weights.islands)}没有邻居。"
            '请为其指定邻居（islands="nearest"）、剔除这些地区，或只用个体效应。',
        )


def refuse_blanks(panel: Panel, names: tuple[str, ...]) -> None:
    """Name the units that are absent in some periods, and the cells of these variables without a finite number."""
    require_complete(panel, Text("This estimator", "该估计方法"))
    values = panel.array(list(names))
    blank = np.isnan(values)
    if blank.any():
        cells = [cell_of(panel.units[i], panel.periods[t], names[k]) for t, i, k in np.argwhere(blank)]
        raise DataError(
            f"{len(cells)} cell(s) are blank: {listed(cells)}. Fill them by a stated rule, or drop the units or periods.",
            f"有{len(cells)}个空缺：{listed_zh(cells)}。请按说明的规则补齐，或剔除这些地区或时期。",
        )
    endless = ~np.isfinite(values)
    if endless.any():
        cells = [cell_of(panel.units[i], panel.periods[t], names[k]) for t, i, k in np.argwhere(endless)]
        raise DataError(
            f"{len(cells)} cell(s) are infinite: {listed(cells)}. Take logarithms and quotients of positive values only.",
            f"有{len(cells)}个无穷值：{listed_zh(cells)}。请只对正值取对数或作商。",
        )


def refuse_extreme(name: str, values: Array) -> None:
    """Refuse a variable so large or small that products of it with others leave the range of numbers."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest and not 1 / EXTREME <= largest <= EXTREME:
        raise DataError(
            f"{name!r} has values of size {largest:.0e}: squares and products of such numbers are beyond what a computer "
            f"holds. Measure it in another unit, such as divided by {largest:.0e}.",
            f"{name!r}的取值达{largest:.0e}：其平方和乘积超出计算机的范围。请换用其他计量单位，如除以{largest:.0e}。",
        )


def _refuse_unusable_columns(spec: DurbinSpec, raw: Array, Z: Array) -> None:
    low, high = _column_range(raw)
    size, left = np.maximum(high, -low), np.abs(_column_range(Z)).max(axis=0)
    constant, taken = high - low <= ABSORBED * size, left <= ABSORBED * size
    for at, (term, same, gone) in enumerate(zip(spec.terms, constant, taken, strict=True)):
        if term == "(Intercept)":
            continue
        if term in _BEFORE and (same or gone):
            word, option = _BEFORE[term]
            lag = Text(
                f"{word.en.format(spec.y)} (coefficient {term})", f"{word.zh.format(spec.y)}（系数{term}）"
            )
            raise absorbed(lag, spec.fixed_effects, remedy=Text(f"Set {option}=False", f"请设{option}=False"))
        if same:
            refuse_level(term, low[at], high[at])
            raise DataError(
                f"{term!r} is constant; an intercept or the effects stand for it already. Drop it.",
                f"{term!r}是常数，截距或固定效应已代表它。请去掉。",
            )
        if gone:
            raise absorbed(term, spec.fixed_effects)


#: Coefficients of the period before: what they belong to, and the option that adds it.
_BEFORE = {
    "tau": (Text("{!r} of the period before", "前一期的{!r}"), "time_lag"),
    "eta": (Text("the spatial lag of {!r} of the period before", "前一期{!r}的空间滞后"), "lag_time_lag"),
}


def refuse_level(name: str, low: float, high: float) -> None:
    """Refuse a variable that does vary, but about a level so high that its digits are lost."""
    size = max(high, -low)
    if high - low > ROUNDING * size:
        raise DataError(
            f"{name!r} varies by only {high - low:.3g} about a level of {size:.3g}, so that its digits are lost in "
            "rounding. Subtract a round number near its mean first.",
            f"{name!r}的水平约为{size:.3g}，而变动仅{high - low:.3g}，有效数字在舍入中丢失。请先减去接近均值的整数。",
        )


NOWHERE = Text("", "")
DROP = Text("Drop it, or the effects", "请去掉该变量，或去掉固定效应")


def absorbed(name: str | Text, effects: Any, where: Text = NOWHERE, remedy: Text = DROP) -> DataError:
    """The refusal of a variable of which the effects leave nothing; ``where`` names its equation."""
    what = name if isinstance(name, Text) else Text.of(repr(name))
    intercept = Text("the intercept (it is constant)", "截距（它是常数）")
    words = {
        "none": intercept,
        "random": intercept,
        "unit": Text("the unit effects (it does not change over time)", "个体效应（不随时间变化）"),
        "time": Text("the time effects (it is the same for all units)", "时间效应（各地区相同）"),
        "two_way": Text(
            "the two-way effects (it is a unit part plus a time part)",
            "双向固定效应（可分解为个体部分与时间部分）",
        ),
    }
    by = words.get(effects, Text(f"the effects of {effects}", f"固定效应（{effects}）"))
    return DataError(
        f"{where.en}{what.en} is absorbed by {by.en}. {remedy.en}.",
        f"{where.zh}{what.zh}被{by.zh}吸收。{remedy.zh}。",
    )


def _column_range(values: Array) -> tuple[Array, Array]:
    """Least and greatest value of each column of (T, n, k), along contiguous rows: many times faster."""
    rows = stacked(values).T.copy()
    return rows.min(axis=1), rows.max(axis=1)


def _refuse_unusable_y(spec: DurbinSpec, y: Array, transformed: Array) -> None:
    if np.ptp(y) <= ABSORBED * np.abs(y).max():
        refuse_level(spec.y, float(y.min()), float(y.max()))
    if np.ptp(y) <= ABSORBED * np.abs(y).max() or np.abs(transformed).max() <= ABSORBED * np.abs(y).max():
        raise DataError(
            f"{spec.y!r} does not vary once the effects are taken out: there is nothing to explain.",
            f"{spec.y!r}扣除固定效应后没有变异，没有可解释的内容。",
        )


def _refuse_too_few(spec: DurbinSpec, shape: tuple[int, ...], left: int) -> None:
    needed = len(spec.terms) + len(spec.spatial_terms) + 1
    if left <= needed:
        T, n = shape
        cells = Text(f"{n} units × {T} periods", f"{n}个地区×{T}个时期")
        cells = cells if T > 1 else Text(f"{n} observations", f"{n}个观测值")
        raise DataError(
            f"{cells.en} leave {left} observations after the effects, for {needed} parameters. Drop regressors or lags, "
            "or use more units or periods.",
            f"{cells.zh}扣除效应后剩{left}个，而参数有{needed}个。请减少解释变量或滞后项，或增加地区、时期。",
        )


def _refuse_collinear(spec: DurbinSpec, Z: Array) -> ColumnBasis:
    """Give an orthonormal basis of Z, or name the columns of an exact linear dependence.

    A column that depends on those before it has a zero on the diagonal of R.
    """
    flat = stacked(Z)
    basis = column_basis(flat)
    if not flat.shape[1]:
        return basis
    if np.abs(basis.R.diagonal()).min() <= RANK_TOLERANCE:
        R, order, rank = pivoted(flat / basis.scale)
        involved = dependent(spec.terms, R, order, min(rank, len(order) - 1))
        raise DataError(
            f"These regressors are an exact linear combination of each other: {listed(involved)}. Drop one.",
            f"以下解释变量完全共线：{listed_zh(involved)}。请去掉一个。",
        )
    return basis


def notes_on_data(
    spec: DurbinSpec, weights: Weights | PeriodWeights, Z: Array, basis: ColumnBasis
) -> Iterator[Note]:
    """Regressors that say nearly the same, and a W built from y, which is not exogenous."""
    if Z.shape[-1]:
        condition = float(np.linalg.cond(_without_intercept(spec, stacked(Z), basis)))
        if condition > CONDITION_WARNING:
            yield nearly_collinear(condition, None)
    if spec.y in weights.variables and (spec.spatial_terms or spec.lag_x):
        yield endogenous_weights(weights.label, spec.y)


def pivoted(unit: Array) -> tuple[Array, NDArray[np.intp], int]:
    """R of columns of unit length, their order by pivoting, and how many are independent."""
    _, R, order = linalg.qr(unit, mode="economic", pivoting=True)
    return R, order, int(np.count_nonzero(np.abs(np.diag(R)) > RANK_TOLERANCE))


def dependent(terms: tuple[str, ...], R: Array, order: NDArray[np.intp], rank: int) -> list[str]:
    """Terms of one exact linear dependence: the first column beyond the rank, and those that it is made of."""
    combination = linalg.solve_triangular(R[:rank, :rank], R[:rank, rank])
    return [terms[order[rank]], *(terms[order[j]] for j in np.flatnonzero(np.abs(combination) > 1e-6))]


def _without_intercept(spec: DurbinSpec, flat: Array, basis: ColumnBasis) -> Array:
    """Triangle whose condition number tells of collinearity: that of deviations where there is an intercept.

    A level far from zero is no collinearity, though the raw column is nearly parallel to the intercept.
    """
    if spec.terms[:1] != ("(Intercept)",) or flat.shape[1] == 1:
        return basis.R
    return column_basis(flat[:, 1:] - flat[:, 1:].mean(axis=0)).R


def _refuse_perfect_fit(spec: DurbinSpec, y: Array, basis: Array) -> None:
    off = y - basis @ (basis.T @ y)
    if off @ off <= PERFECT_FIT * (y @ y):
        raise DataError(
            f"The regressors explain {spec.y!r} perfectly: it is an identity of them. Drop what defines it.",
            f"解释变量完全解释了{spec.y!r}：它是这些变量的恒等式。请去掉构成它的变量。",
        )


def refuse_flat_error_lag(y: Array, Wy: Array, Z: Array, WZ: Array, label: str) -> None:
    """Refuse λ when W only multiplies y and every regressor by one number: filtering then changes nothing."""
    before, after = np.column_stack([y, Z]), np.column_stack([Wy, WZ])
    factor = (y @ Wy) / (y @ y)
    off = np.sqrt(((after - factor * before) ** 2).sum(axis=0))
    if np.all(off <= ABSORBED * np.sqrt((before**2).sum(axis=0))):
        raise SpecificationError(
            f"lam is not identified: once the effects are removed, {label!r} multiplies every variable by {factor:.3f}, as "
            "happens when all units are neighbours with equal weights. Use another W.",
            f"λ不可识别：扣除固定效应后，{label!r}只是将每个变量乘以{factor:.3f}，如所有地区互为等权邻居时。请换用其他W。",
        )


def _refuse_flat_lag(spec: DurbinSpec, y: Array, Wy: Array, basis: Array, label: str) -> None:
    off = np.column_stack([y, Wy])
    off = off - basis @ (basis.T @ off)
    sizes = np.sqrt((off**2).sum(axis=0))
    if sizes[1] <= ABSORBED * sizes[0] or abs(off[:, 0] @ off[:, 1]) >= (1 - 1e-12) * sizes.prod():
        raise SpecificationError(
            f"rho is not identified: under {label!r} the spatial lag of {spec.y!r} is a multiple of it once effects and "
            "regressors are removed, as happens when all units are neighbours with equal weights. Use another W.",
            f"ρ不可识别：在{label!r}下，扣除固定效应与解释变量后{spec.y!r}的空间滞后是其自身的倍数，如所有地区互为等权邻居时。"
            "请换用其他W。",
        )
