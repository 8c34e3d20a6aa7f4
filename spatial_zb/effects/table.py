"""The table of effects, whatever the fit: what it holds, when it holds nothing, its columns from draws and by Fieller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from math import prod
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from spatial_zb.base.errors import SpecificationError
from spatial_zb.base.notes import Kind, Note, about, tell
from spatial_zb.base.printing import Drawn, Printed
from spatial_zb.base.results import TABLE_COLUMNS, Degrees, Law, quantile, tail, with_degrees
from spatial_zb.base.text import Text
from spatial_zb.core import Array
from spatial_zb.core.likelihood.impacts import fieller_limits
from spatial_zb.models.fit import Fit
from spatial_zb.models.shape import REASONS, ShapeDesign
from spatial_zb.models.system.design import SystemDesign
from spatial_zb.models.system.fit import SystemFit

EFFECTS = ("direct", "indirect", "total")
Method = Literal["delta", "simulate", "fieller"]
Horizon = Literal["short", "long"]
#: Effects as one average, or of each period.
By = Literal["average", "period"]
#: Share of draws outside the admissible region from which the normal approximation is doubted.
REJECTED_WARNING = 0.01
#: Share of draws outside it from which effects are not computed: percentiles of the rest are those of another law.
MOST_OUTSIDE = 0.05
#: Standard errors to the ends of a 95 % interval.
REACH = float(special.ndtri(0.975))
#: Standard deviations of a normal law between its quartiles.
QUARTILES = float(2 * special.ndtri(0.75))


#: Why a draw of the parameters has no effects.
WITHOUT = {
    "rho": Text("had ρ outside the admissible region", "的ρ落在容许区域之外"),
    "process": Text("gave a process that is not stable", "不满足平稳性"),
    "system": Text("gave an unstable system", "得到不稳定的方程组"),
}


@Kind
def draws_left_out(rejected: int, draws: int, why: str) -> Text:
    """Draws without effects: of an estimate near the edge, whose errors are not normal."""
    without = WITHOUT[why]
    return Text(
        f"{rejected} of {draws} draws {without.en} and were left out: the normal approximation is poor here",
        f"{draws}次抽样中有{rejected}次{without.zh}，已剔除：此处正态近似较差",
    )


@Kind
def no_estimate() -> Text:
    """Of estimates without an interior solution nothing is computed."""
    return Text(
        "effects are n.c. (not computed): the estimate did not converge, or it is at the end of its admissible region. Use "
        "another W, or fewer coefficients",
        "效应未计算：估计未收敛，或位于容许区域的端点。请换用其他W，或减少系数",
    )


@Kind
def equations_alike(below: float, reach: float) -> Text:
    """Effects of a system whose likelihood does not keep its equations apart."""
    return Text(
        f"effects are n.c. (not computed): ln L falls by {below:.2f} only, less than the {reach:.2f} of a 95 % interval, on "
        "the way to equations that become one relation, where effects have no bound. Exclude a variable that matters from "
        "each equation",
        f"效应未计算：在各方程趋于同一关系的方向上lnL仅下降{below:.2f}，小于95%置信区间的{reach:.2f}，该处效应无界。"
        "请从每个方程中排除一个重要变量",
    )


@Kind
def interval_at_end(name: Text, estimate: float, error: float, end: float, fieller: bool) -> Text:
    """Effects are ratios, and the data do not keep the denominator away from zero."""
    also = (
        (
            ' Read method="fieller", whose limits say so, or use',
            '可改看method="fieller"，其界限如实反映这一点；或',
        )
        if fieller
        else (" Use", "")
    )
    return Text(
        f"effects are n.c. (not computed): {name.en} is {estimate:.3f} with standard error {error:.3f}, so that its 95 % "
        f"interval reaches {end:.3f}, where effects have no bound.{also[0]} a sparser W, fewer coefficients or more periods",
        f"效应未计算：{name.zh}为{estimate:.3f}，标准误{error:.3f}，其95%置信区间触及{end:.3f}，该处效应无界。{also[1]}请用更稀疏的W、"
        "更少的系数或更多的时期",
    )


@Kind
def draws_outside(rejected: int, draws: int, why: str, fieller: bool) -> Text:
    """So many draws have no effects that the others say little."""
    without = WITHOUT[why]
    also = (' Read method="fieller", or use', '可改看method="fieller"，或') if fieller else (" Use", "")
    return Text(
        f"effects are n.c. (not computed): {rejected} of {draws} draws {without.en}, and percentiles of the others leave "
        f"that out.{also[0]} a sparser W, fewer coefficients or more periods",
        f"效应未计算：{draws}次抽样中有{rejected}次{without.zh}，其余抽样的分位数不含这部分不确定性。{also[1]}请用更稀疏的W、更少的系数"
        "或更多的时期",
    )


def tell_rejected(fit: Fit | SystemFit, rejected: int, draws: int, why: str) -> tuple[Note, ...]:
    """Warn of draws that were left out, where they are more than a few; the notes told."""
    if rejected <= REJECTED_WARNING * draws:
        return ()
    notes = about(fit.subject, [draws_left_out(rejected, draws, why)])
    tell(notes)
    return notes


@dataclass(frozen=True, eq=False, repr=False)
class Effects(Drawn, Printed):
    """Average effects of every regressor.

    Attributes
    ----------
    axes
        What the effects are of, in the order of the rows: names by axis (``term`` and ``effect``; in a system
        ``response``, ``source`` and ``effect``), the last one varying fastest.
    columns
        (rows, 6): estimate, std_error, statistic, p_value, conf_low, conf_high.
    detail
        For simulated errors, the number of draws kept (``draws``) and left out (``rejected``), and the share of the latter
        (``outside``).
    notes
        What a reader of the effects should know, as it was warned of; that on the fit is in ``fit.notes``.
    reason
        Why there are no numbers; None where there are.
    df
        (rows,) degrees of freedom of the statistics, where each has its own; None where they share them or are normal.
    gaps
        (rows, 2), by ``fieller`` alone: ends of the values that a set without bounds leaves out; NaN where it leaves none.
    """

    pictures = ("effects", "map")

    axes: Mapping[str, tuple[str, ...]]
    columns: NDArray[np.float64]
    method: str
    fit: Fit | SystemFit
    detail: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    reason: Note | None = None
    gaps: NDArray[np.float64] | None = None
    df: Degrees = None

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row per term and effect; made when it is first read."""
        keys = list(product(*self.axes.values()))
        frame = with_degrees(pd.DataFrame(self.columns, columns=TABLE_COLUMNS), self.df)
        for i, axis in enumerate(self.axes):
            frame.insert(i, axis, [key[i] for key in keys])
        return frame

    def tidy(self) -> pd.DataFrame:
        """Columns term, effect, estimate, std_error, statistic, p_value, conf_low, conf_high; ``df`` of clustered errors.

        Numbers are NaN where effects are not computed, and a column ``reason`` then says why. By ``fieller`` std_error is
        NaN and there are columns ``gap_low`` and ``gap_high``: a set without bounds has the limits −∞ and ∞ and, where it is
        in two parts, all values but those between the two.
        """
        frame = self.frame.copy()
        if self.gaps is not None:
            frame = frame.assign(gap_low=self.gaps[:, 0], gap_high=self.gaps[:, 1])
        return frame if self.reason is None else frame.assign(reason=self.reason.text.en)

    def glance(self) -> pd.DataFrame:
        """The fit in one row, how the errors were computed, and the ``reason`` where they were not."""
        row = self.fit.glance().assign(method=self.method, **self.detail)
        return row if self.reason is None else row.assign(reason=self.reason.text.en)


def check_fit(fit: Any, function: str, kinds: Any = Fit) -> None:
    """Refuse anything but a fit, naming the ``function`` that was called.

    Raises
    ------
    SpecificationError
        ``fit`` is not of one of the ``kinds``.
    """
    if not isinstance(fit, kinds):
        more, more_zh = (" or fit_system", "或fit_system") if kinds is not Fit else ("", "")
        found = type(fit).__name__
        raise SpecificationError(
            f"{function} takes a fit of fit_durbin{more}, not {found}.",
            f"{function}的对象是fit_durbin{more_zh}的估计结果，而不是{found}。",
        )


def refuse_shape(fit: Fit | SystemFit, function: str | Text) -> None:
    """Refuse a fit whose W or units change between periods where one W is meant.

    Raises
    ------
    SpecificationError
        Units, W or effects of the fit are of another kind.
    """
    design = fit.design
    if design.shape_facts:
        assert isinstance(design, ShapeDesign | SystemDesign), "what has rows of its own"
        what, words = Text.of(function), [REASONS[name] for name in design.reasons]
        why = Text("; ".join(word.en for word in words), "；".join(word.zh for word in words))
        raise SpecificationError(
            f"{what.en} is for one W on a complete panel with effects of units and periods, and this fit is not: "
            f"{why.en}. Take the units that are always there (panel.select) and one W.",
            f"{what.zh}用于面板完整、W唯一、仅有个体与时间效应的估计，而此估计不是（{why.zh}）。"
            "请只取各期齐全的地区（panel.select）和一个W。",
        )


def not_computed(
    axes: Mapping[str, tuple],
    method: str,
    fit: Fit | SystemFit,
    why: Note,
    detail: Mapping[str, Any] | None = None,
) -> Effects:
    """Effects without numbers; says why."""
    notes = about(fit.subject, [why])
    tell(notes)
    columns = np.full((prod(map(len, axes.values())), len(TABLE_COLUMNS)), np.nan)
    return Effects(axes, columns, method, fit, detail or {}, notes, notes[0])


def draws_reason(rejected: int, draws: int, why: str, fieller: bool = True) -> Note | None:
    """Why draws say nothing of effects; None where few are outside the admissible region."""
    return draws_outside(rejected, draws, why, fieller) if rejected > MOST_OUTSIDE * draws else None


def draws_detail(rejected: int, draws: int) -> dict[str, Any]:
    """What is kept of draws in ``Effects.detail``."""
    return {"draws": draws - rejected, "rejected": rejected, "outside": rejected / draws}


def law_of_draws(degrees: Degrees) -> float | Law | None:
    """One law for all parameters that are drawn together: of degrees by estimate the fewest, which errs on the wide side."""
    if not isinstance(degrees, np.ndarray):
        return degrees
    known = degrees[np.isfinite(degrees)]
    return float(known.min()) if known.size else None


def drawn_radii(
    law: float | Law | None, draws: int, generator: np.random.Generator
) -> NDArray[np.float64] | float:
    """By what normal deviations are multiplied (draws, 1), so that each coefficient has its law: t where units are few."""
    if law is None:
        return 1.0
    if isinstance(law, float | int):
        return np.sqrt(law / generator.chisquare(law, (draws, 1)))
    return law.radii(draws, generator)[:, None]


def simulated_columns(
    point: NDArray[np.float64], simulated: NDArray[np.float64], alpha: float, law: float | Law | None = None
) -> NDArray[np.float64]:
    """Columns of :class:`Effects` from draws (draws, …) of effects (…).

    Effects are ratios, whose draws have neither mean nor variance. std_error is the distance of their quartiles over that
    of the ``law`` of the draws, standard normal or Student's t; limits are percentiles; p = 2(1 + k)/(1 + draws), k the
    draws on the other side of zero; the statistic is the normal value that has this p. What cannot vary has neither.
    """
    values = simulated.reshape(len(simulated), -1)
    columns = np.empty((values.shape[1], len(TABLE_COLUMNS)))
    columns[:, 4:] = np.quantile(values, [alpha / 2, 1 - alpha / 2], axis=0).T
    other = np.minimum((values <= 0).sum(axis=0), (values >= 0).sum(axis=0))
    p = np.minimum(1.0, 2 * (other + 1) / (len(values) + 1))
    p = np.where((values == values[0]).all(axis=0), np.nan, p)
    columns[:, 0], columns[:, 1] = point.ravel(), spread(values) * QUARTILES / (2 * quantile(0.25, law))
    columns[:, 2], columns[:, 3] = np.copysign(-special.ndtri(p / 2), columns[:, 0]), p
    return columns


def spread(values: Array) -> Array:
    """Distance of the quartiles of draws (R, …) over that of a standard normal law: a spread where there is no variance."""
    first, third = np.quantile(values, [0.25, 0.75], axis=0)
    return (third - first) / QUARTILES


def fieller_columns(
    point: Array, variances: tuple[Array, Array, Array], alpha: float, df: Degrees
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Columns and gaps of :class:`Effects` by :func:`spatial_zb.core.likelihood.impacts.fieller_limits`.

    ``variances`` (rows,) are Var(E), Cov(E, ln d) and Var(ln d), with d the denominator of the effects. The test of E = 0 is
    that of E·d = 0, so that p < alpha where zero is not in the set.
    """
    own, cross, of_log = variances
    limits, gaps = fieller_limits(point, own, cross, of_log, quantile(alpha / 2, df))
    with np.errstate(invalid="ignore", divide="ignore"):
        statistic = point / np.sqrt(own + 2 * point * cross + point**2 * of_log)
    blank = np.full_like(point, np.nan)
    return np.column_stack([point, blank, statistic, 2 * tail(np.abs(statistic), df), limits]), gaps
