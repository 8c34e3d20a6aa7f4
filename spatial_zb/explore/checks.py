"""Options, checks and result tables of every statistic of spatial association."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import numpy as np
import pandas as pd

from spatial_zb.base.arguments import Rng, random_generator, seed_of
from spatial_zb.base.errors import (
    DataError,
    SpecificationError,
    WeightsError,
    listed,
    listed_zh,
    not_one_of,
)
from spatial_zb.base.notes import Kind, Note, tell, warn
from spatial_zb.base.printing import Drawn, Printed
from spatial_zb.base.text import Text
from spatial_zb.core.statistics import ADJUSTMENTS, Adjustment, Alternative, adjusted_p_values
from spatial_zb.data.panel import Panel, require_complete, require_panel
from spatial_zb.weights.matrix import Weights, as_weights
from spatial_zb.weights.periods import PeriodWeights, any_weights, notes_on_absence, weights_among

#: Powers of two beyond which a variable is divided before its squares are summed: 2^166 is about 1e50.
EXTREME_POWER = 166


@dataclass(frozen=True, slots=True)
class Options:
    """How a statistic is tested.

    Raises
    ------
    SpecificationError
        An unknown alternative, permutations that are not a whole number from zero, or a seed of another kind.
    """

    permutations: int
    rng: Rng
    alternative: Alternative

    def __post_init__(self) -> None:
        if self.alternative not in get_args(Alternative):
            raise not_one_of("alternative", self.alternative, get_args(Alternative))
        if (
            not isinstance(self.permutations, int | np.integer)
            or isinstance(self.permutations, bool)
            or self.permutations < 0
        ):
            raise SpecificationError(
                f"permutations must be a whole number, zero or more, not {self.permutations!r}.",
                f"permutations须为非负整数，而不是{self.permutations!r}。",
            )
        random_generator(self.rng)  # refuses an invalid seed before anything is computed

    def streams(self, periods: Sequence[int]) -> list[np.random.SeedSequence]:
        """One seed for each period; the caller's SeedSequence stays as it was."""
        return seed_of(self.rng).spawn(len(periods))


def ready(panel: Panel, names: Sequence[str], W: Any, what: str, fate: Text) -> tuple[Panel, Weights]:
    """The panel and W, both in the order of ids, after checking values and saying what becomes of islands.

    The order in which units came must not steer random draws.

    Parameters
    ----------
    what, fate
        The statistic, and what islands do in it: ``Text("do not count in Moran's I", "不计入莫兰指数")``.

    Raises
    ------
    AlignmentError
        Units of the panel and of W differ.
    DataError
        A blank or infinite cell, a variable that is constant in a period, fewer than four units.
    SpecificationError
        ``panel`` is no panel.
    """
    require_panel(panel)
    require_complete(panel, Text.of(what))
    ordered = panel.by_id()
    weights = as_weights(W)
    if not weights.ids.equals(ordered.units):
        weights = weights.align(ordered.units)
    for name in dict.fromkeys(names):
        _refuse_unusable(ordered, name, what)
    mention_islands(weights, fate)
    return _within_range(ordered, names), weights


@dataclass(frozen=True, slots=True)
class Slice:
    """One period: ``values`` (k, n_t) of the variables, and W among the n_t units that have them, both by id."""

    period: int
    values: np.ndarray
    ids: pd.Index
    weights: Weights


def slices(panel: Panel, names: Sequence[str], W: Any, what: str, fate: Text) -> list[Slice]:
    """The periods of a panel, each with the units that are present in it and their W; parameters of :func:`ready`.

    A panel whose units are always there is checked as a whole. In an uneven one what is absent or blank is left out, and
    what that does to W is a note.

    Raises
    ------
    AlignmentError, DataError, SpecificationError
        As :func:`ready`; a period for which a W by period has none.
    """
    require_panel(panel)
    weights = any_weights(W)
    if isinstance(weights, Weights) and not panel.uneven:
        panel, weights = ready(panel, names, weights, what, fate)
        stacked = np.stack([panel.array(name) for name in names], axis=1)
        return [Slice(p, x, panel.units, weights) for p, x in zip(panel.periods, stacked, strict=True)]
    panel, weights = panel.by_id(), weights.align(panel.units)
    rows = panel.rows(names) if panel.uneven else panel.present
    tell(
        [*notes_on_absence(weights, panel.units, panel.periods, rows), *_notes_on_blanks(panel, names, rows)]
    )
    if isinstance(weights, Weights):
        mention_islands(weights, fate)
    return [_slice(panel, t, row, names, weights, what) for t, row in enumerate(rows)]


def _slice(
    panel: Panel, t: int, row: np.ndarray, names: Sequence[str], W: Weights | PeriodWeights, what: str
) -> Slice:
    period = panel.periods[t]
    one = panel.select(units=panel.units[row], periods=[period])
    for name in dict.fromkeys(names):
        _refuse_unusable(one, name, what)
    one = _within_range(one, names)
    values = np.stack([one.array(name)[0] for name in names])
    return Slice(period, values, one.units, weights_among(W, one.units, period))


@Kind
def blank_left_out(variables: tuple[str, ...], cells: int, periods: int) -> Text:
    """Units that are present and whose figure is not known."""
    return Text(
        f"{listed(variables)} blank in {cells} unit-period(s) of {periods} period(s), which are left out there",
        f"{listed_zh(variables)}在{periods}个时期共有{cells}处空缺，当期未纳入",
    )


def _notes_on_blanks(panel: Panel, names: Sequence[str], rows: np.ndarray) -> list[Note]:
    blank = panel.present & ~rows
    if not blank.any():
        return []
    return [blank_left_out(tuple(dict.fromkeys(names)), int(blank.sum()), int(blank.any(axis=1).sum()))]


def _within_range(panel: Panel, names: Sequence[str]) -> Panel:
    """Variables whose squares leave the range of numbers divided by a power of two.

    That changes no digit, and the statistics are free of the unit of measurement.
    """
    wanted = list(dict.fromkeys(names))
    columns = panel.array(wanted)
    _, size = np.frexp(np.abs(columns).max(axis=(0, 1)))
    shift = np.where(np.abs(size) > EXTREME_POWER, -size, 0)
    if not shift.any():
        return panel
    values = panel.values.copy()
    values[:, :, [panel.columns.index(name) for name in wanted]] = np.ldexp(columns, shift)
    return replace(panel, values=values)


def cells(panel: Panel, where: np.ndarray) -> list[str]:
    """Unit and period of the cells marked in ``where`` (T, n)."""
    return [f"{panel.units[i]} {panel.periods[t]}" for t, i in np.argwhere(where)]


def finite_values(panel: Panel, variable: str) -> np.ndarray:
    """Values (T, n) of a variable, none blank or infinite.

    Raises
    ------
    DataError
        Naming unit and period of those that are.
    """
    values = panel.array(variable)
    blank, infinite = np.isnan(values), np.isinf(values)
    if blank.any():
        raise DataError(
            f"{variable!r} is blank at {listed(cells(panel, blank))}. Fill these cells by a stated rule, or drop the units.",
            f"{variable!r}在{listed_zh(cells(panel, blank))}空缺。请按明示的规则填补，或剔除这些地区。",
        )
    if infinite.any():
        where = cells(panel, infinite)
        raise DataError(
            f"{variable!r} is infinite at {listed(where)}, as after a division by zero or the logarithm of zero. "
            "Correct these cells, or drop the units.",
            f"{variable!r}在{listed_zh(where)}为无穷大，如除以零或对零取对数所致。请更正，或剔除这些地区。",
        )
    return values


def _refuse_unusable(panel: Panel, variable: str, what: str) -> None:
    values = finite_values(panel, variable)
    flat = [p for p, x in zip(panel.periods, values, strict=True) if np.ptp(x) == 0]
    if flat:
        raise DataError(
            f"{variable!r} is the same for all units in {listed(flat)}: {what} is not defined.",
            f"{variable!r}在{listed_zh(flat)}各地区相同：{what}没有定义。",
        )
    if values.shape[1] < 4:
        raise DataError(
            f"{what} needs at least 4 units for its variance; the panel has {values.shape[1]}.",
            f"{what}的方差至少需要4个地区；面板只有{values.shape[1]}个。",
        )


def refuse_negative(panel: Panel, variable: str) -> None:
    """Refuse values for which Getis and Ord's G is not defined."""
    values = panel.array(variable)
    if (values < 0).any():
        where = cells(panel, values < 0)
        raise DataError(
            f"{variable!r} is negative at {listed(where)}: G needs a variable with a natural zero. "
            "Use Moran's I, or a variable such as a level or a share.",
            f"{variable!r}在{listed_zh(where)}为负：G要求变量有自然零点。请用Moran's I，或换用水平值、份额之类的变量。",
        )
    bare = [p for p, x in zip(panel.periods, values, strict=True) if np.count_nonzero(x) < 2]
    if bare:
        raise DataError(
            f"{variable!r} is positive in fewer than two units in {listed(bare)}: G is not defined.",
            f"{variable!r}在{listed_zh(bare)}只有不到两个地区为正：G没有定义。",
        )


def refuse_negative_weights(W: Weights, what: str) -> None:
    """Refuse negative weights where a unit counts itself with the largest weight of its row."""
    if (W.matrix.data < 0).any():
        raise WeightsError(
            f"{what} counts a unit with the largest weight of its row, which means nothing for the negative weights of "
            f"{W.label!r}. Use positive weights, or leave the unit itself out.",
            f"{what}以所在行的最大权重计入地区自身，{W.label!r}含负权重，这没有意义。请用正权重，或不计入自身。",
        )


def mention_islands(W: Weights, fate: Text) -> None:
    """Warn of units without neighbours."""
    if len(W.islands):
        warn(
            f"Units without neighbours {fate.en} under {W.label!r}: {listed(W.islands)}.",
            f"权重矩阵{W.label!r}下没有邻居的地区{fate.zh}：{listed_zh(W.islands)}。",
        )


NOT_SIGNIFICANT, NO_NEIGHBOURS = "not significant", "no neighbours"
#: Words of `cluster` → codes of :func:`spatial_zb.report.maps.clusters`, where missing means no neighbours.
MAP_CODES = {NOT_SIGNIFICANT: "ns", NO_NEIGHBOURS: None}


@dataclass(frozen=True, eq=False, repr=False)
class MoranTable(Drawn, Printed):
    """Global Moran's I of one variable in every period; ``given`` are the panel and the W, for :meth:`plot`."""

    pictures = ("scatter", "path")

    variable: str
    weights: str
    permutations: int
    alternative: Alternative
    frame: pd.DataFrame
    given: tuple[Panel, Any] | None = field(default=None, repr=False)

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


@dataclass(frozen=True, eq=False, repr=False)
class StatisticTable(Printed):
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


def permutations_for(
    units: int, adjust: Adjustment | None, alpha: float, alternative: Alternative = "two-sided"
) -> int:
    """Permutations by which a single one of so many units can pass ``alpha`` after the correction for their number.

    The smallest p-value, (1 + [two-sided]) / (1 + permutations), times the units has to be below alpha; of the false
    discovery rate that is the bar of the first unit.
    """
    sides = 1 + (alternative == "two-sided")
    return int(np.ceil((units if adjust else 1) * sides / alpha))


@dataclass(frozen=True, eq=False, repr=False)
class LocalTable(Drawn, Printed):
    """A local statistic of every unit in one period.

    ``frame`` is indexed by unit, in the order of the panel; units without neighbours have NaN and the cluster
    ``"no neighbours"``.
    """

    pictures = ("map",)

    statistic: str
    variables: tuple[str, ...]
    period: int
    weights: str
    permutations: int
    alternative: Alternative
    frame: pd.DataFrame
    #: What each unit is when it is significant; ``"no neighbours"`` whatever it is.
    words: pd.Series
    adjust: Adjustment | None = "fdr"
    alpha: float = 0.05

    def adjusted(self, adjust: Adjustment | None = "fdr", alpha: float = 0.05) -> LocalTable:
        """The same draws, with p-values corrected otherwise for their number, and the clusters that follow.

        Parameters
        ----------
        adjust
            ``"fdr"`` (Benjamini–Hochberg, as Caldas de Castro & Singer 2006), ``"bonferroni"`` or None.
        alpha
            A unit is in a cluster when ``p_adjusted`` is below it.

        Raises
        ------
        SpecificationError
            An unknown correction, or alpha outside (0, 1).

        Warns
        -----
        SpatialZbWarning
            So few permutations that a single unit cannot pass (:func:`permutations_for`): under Bonferroni's bar no cluster
            is possible then, and under the false discovery rate their number depends on the seed.
        """
        if adjust is not None and adjust not in ADJUSTMENTS:
            raise SpecificationError(
                f"adjust must be one of {listed(ADJUSTMENTS)} or None, not {adjust!r}.",
                f"adjust须为{listed_zh(ADJUSTMENTS)}之一或None，而不是{adjust!r}。",
            )
        if not 0 < alpha < 1:
            raise SpecificationError(
                f"alpha must be between 0 and 1, not {alpha}.", f"alpha须在0与1之间，而不是{alpha}。"
            )
        self._mention_coarse(adjust, alpha)
        frame = self.frame.copy()
        frame["p_adjusted"] = adjusted_p_values(frame["p_sim"].to_numpy(), adjust)
        shown = self.words.where(frame["p_adjusted"] < alpha, NOT_SIGNIFICANT)
        shown = shown.mask(frame["p_adjusted"].isna())
        frame["cluster"] = shown.mask(self.words == NO_NEIGHBOURS, NO_NEIGHBOURS).astype(object)
        return replace(self, frame=frame, adjust=adjust, alpha=alpha)

    def _mention_coarse(self, adjust: Adjustment | None, alpha: float) -> None:
        """With too few permutations a single unit can never pass; under Bonferroni's bar then no unit can."""
        tested = int((self.words != NO_NEIGHBOURS).sum())
        needed = permutations_for(tested, adjust, alpha, self.alternative)
        if not self.permutations or self.permutations >= needed:
            return
        if adjust == "fdr":
            warn(
                f"With {self.permutations} permutations no unit passes the false discovery rate of {alpha} alone, and how "
                f"many of {tested} units pass depends on the seed; use at least {needed}.",
                f"置换{self.permutations}次时，任何单个地区都无法单独通过{alpha}的错误发现率，{tested}个地区中有多少通过"
                f"取决于随机种子；请至少置换{needed}次。",
            )
        elif adjust is None:
            warn(
                f"{self.permutations} permutations cannot give a p-value below {alpha}; use at least {needed}.",
                f"{self.permutations}次置换不可能得到低于{alpha}的p值；请至少置换{needed}次。",
            )
        else:
            warn(
                f"{self.permutations} permutations cannot give a p-value that stays below {alpha} after "
                f"Bonferroni's correction for {tested} units; use at least {needed}, or adjust='fdr'.",
                f"对{tested}个地区作Bonferroni校正后，{self.permutations}次置换不可能得到低于{alpha}的p值；"
                f"请至少置换{needed}次，或用adjust='fdr'。",
            )

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
