"""A W for each period, and any W over the units that are there in each period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.base.errors import AlignmentError, WeightsError, listed, listed_zh, not_one_of
from spatial_zb.base.notes import Kind, Note
from spatial_zb.base.printing import Printed
from spatial_zb.base.text import Text
from spatial_zb.data.panel import Panel, require_panel
from spatial_zb.weights.entries import text_ids
from spatial_zb.weights.matrix import (
    PANEL,
    ROW_SUM_TOLERANCE,
    Normalisation,
    Weights,
    as_weights,
    match_units,
    named_weights,
)

#: What becomes of the weights of neighbours that are absent: given to those present, or lost.
Absent = Literal["renormalise", "keep"]


@dataclass(frozen=True, eq=False)
class PeriodWeights:
    """Spatial weights that differ by period, made by :func:`by_period`.

    Attributes
    ----------
    weights
        A :class:`Weights` for each period, by period in ascending order; several periods may share one.
    absent
        What becomes of neighbours that are absent in a period: ``"renormalise"`` scales what is left as the W was scaled,
        ``"keep"`` leaves the other weights as they are, so that rows sum to less.
    label
        Short name used in tables and messages.
    """

    weights: Mapping[int, Weights]
    absent: Absent = "renormalise"
    label: str = "W by period"
    ids: pd.Index = field(init=False)

    def __post_init__(self) -> None:
        ordered = {period: self.weights[period] for period in sorted(self.weights)}
        ids = dict.fromkeys(unit for W in dict.fromkeys(ordered.values()) for unit in W.ids)
        object.__setattr__(self, "weights", MappingProxyType(ordered))
        object.__setattr__(self, "ids", pd.Index(list(ids), dtype=str))

    def __repr__(self) -> str:
        several = len(set(self.weights.values()))
        return f"PeriodWeights({self.label!r}, {self.periods[0]}–{self.periods[-1]}, {several} different, n={len(self.ids)})"

    def __reduce__(self) -> tuple:
        return PeriodWeights, (dict(self.weights), self.absent, self.label)

    @property
    def periods(self) -> tuple[int, ...]:
        """The periods that have a W, ascending."""
        return tuple(self.weights)

    @property
    def row_normalised(self) -> bool:
        """Whether every row of every W sums to one."""
        return all(W.row_normalised for W in set(self.weights.values()))

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables that any of them was built from, each once."""
        return tuple(dict.fromkeys(name for W in self.weights.values() for name in W.variables))

    def at(self, period: int) -> Weights:
        """The W of one period.

        Raises
        ------
        AlignmentError
            A period without W, named with those that have one.
        """
        if period not in self.weights:
            raise _no_period(self, [period])
        return self.weights[period]

    def one_of(self, periods: Sequence[int]) -> Weights | PeriodWeights:
        """The one W of these periods, where there is one whose own rule for absent neighbours was asked for; else itself."""
        found = {self.weights[period] for period in periods if period in self.weights}
        if len(found) == 1 and set(periods) <= set(self.weights):
            (one,) = found
            return one if rule_for_absent(one) == self.absent else self
        return self

    def align(self, ids: Sequence[str] | pd.Index, what: str | Text = PANEL) -> PeriodWeights:
        """The same, where all of them together have the units ``ids``; each keeps its own and their order.

        Raises
        ------
        AlignmentError
            A unit that only one side has.
        """
        match_units(text_ids(ids), self.ids, Text.of(what), named_weights(self.label))
        return self

    def standardise(self, how: Normalisation = "row") -> PeriodWeights:
        """Each W scaled by :meth:`Weights.standardise`; those that are one stay one."""
        scaled = {W: W.standardise(how) for W in set(self.weights.values())}
        return PeriodWeights({p: scaled[W] for p, W in self.weights.items()}, self.absent, self.label)


def by_period(
    weights: Mapping[int, Any], absent: Absent = "renormalise", *, label: str | None = None
) -> PeriodWeights:
    """Weights that differ by period, such as those of an economic distance of each year.

    Parameters
    ----------
    weights
        A :class:`Weights`, or what :func:`as_weights` takes, for each period. Each may hold only the units of its period.
    absent
        What becomes of neighbours that a panel with ``balance="keep"`` does not have in a period: ``"renormalise"`` scales
        the weights of those present as the W was scaled (rows that summed to one do so again), ``"keep"`` leaves them as
        they are: the absent neighbour counts as zero.
    label
        Name in tables; without it the label that all have in common, or ``"W by period"``.

    Raises
    ------
    WeightsError
        No period, a period that is not a whole number, another word for ``absent``; see also :func:`as_weights`.

    Examples
    --------
    >>> import spatial_zb as zb
    >>> import numpy as np
    >>> road = zb.as_weights(np.array([[0.0, 1.0], [1.0, 0.0]]), ids=["a", "b"])
    >>> rail = zb.as_weights(np.array([[0.0, 1.0], [0.5, 0.0]]), ids=["a", "b"])
    >>> zb.weights.by_period({2008: road, 2009: road, 2010: rail})
    PeriodWeights('W', 2008–2010, 2 different, n=2)
    """
    if absent not in get_args(Absent):
        raise not_one_of("absent", absent, get_args(Absent), kind=WeightsError)
    if not isinstance(weights, Mapping) or not weights:
        raise WeightsError(
            "Give a W for each period, by_period({2018: W1, 2019: W2}).",
            "请为每个时期给出权重矩阵，如by_period({2018: W1, 2019: W2})。",
        )
    wrong = [p for p in weights if isinstance(p, bool) or not isinstance(p, int | np.integer)]
    if wrong:
        raise WeightsError(
            f"Periods of weights must be whole numbers such as 2019, not {listed(map(repr, wrong), 3)}.",
            f"权重矩阵的时期须为整数（如2019），而不是{listed_zh(map(repr, wrong), 3)}。",
        )
    # what is given for several periods is read once, so that they share its determinant
    read = {id(W): as_weights(W) for W in weights.values()}
    found = {int(period): read[id(W)] for period, W in weights.items()}
    names = {W.label for W in found.values()}
    return PeriodWeights(found, absent, label or (names.pop() if len(names) == 1 else "W by period"))


def any_weights(W: Any, label: str | None = None) -> Weights | PeriodWeights:
    """A W by period as it is, anything else as :func:`as_weights` reads it; named ``label``, where one is given."""
    if isinstance(W, PeriodWeights):
        return W if label is None else replace(W, label=label)
    return as_weights(W) if label is None else as_weights(W, label=label)


def weights_at(W: Weights | PeriodWeights, period: int) -> Weights:
    """The W of a period: the same in all, unless it is by period."""
    return W.at(period) if isinstance(W, PeriodWeights) else W


def rule_for_absent(W: Weights | PeriodWeights) -> Absent:
    """What becomes of absent neighbours: as :func:`by_period` was told; one W is renormalised if its rows sum to one.

    Rows of islands are empty and do not count, so that a W that was scaled elsewhere is as one scaled here.
    """
    if isinstance(W, PeriodWeights):
        return W.absent
    return "renormalise" if W.normalisation == "row" or _sum_to_one(W) else "keep"


def _sum_to_one(W: Weights) -> bool:
    """Whether every row that has neighbours does."""
    linked = np.diff(W.matrix.indptr) > 0
    return bool(linked.any() and np.all(np.abs(W.matrix.sum(axis=1)[linked] - 1) < ROW_SUM_TOLERANCE))


def row_blocks(
    W: Weights | PeriodWeights, units: pd.Index, periods: Sequence[int], present: NDArray[np.bool_]
) -> tuple[sparse.csr_array, ...]:
    """W of each period over the units that are present in it.

    Parameters
    ----------
    W
        One W, or one by period; each may hold more units than are present, and in any order.
    units, periods, present
        n units, T periods, and (T, n) which rows there are: those of a panel, or fewer.

    Returns
    -------
    T matrices (n_t, n_t), rows and columns in the order of ``units``. Periods with the same W and units share one object,
    so that what is expensive about it is done once.

    Raises
    ------
    AlignmentError
        A period without W; a unit that is present and that W does not have.
    WeightsError
        ``"renormalise"`` of negative weights whose sum is not positive.
    """
    _check_periods(W, periods)
    rule, found = rule_for_absent(W), []
    known: dict[tuple[int, bytes], sparse.csr_array] = {}
    for period, there in zip(periods, present, strict=True):
        own = weights_at(W, period)
        key = id(own), there.tobytes()
        if key not in known:
            known[key] = _block(own, units[there], period, rule)
        found.append(known[key])
    return tuple(found)


def weights_among(W: Weights | PeriodWeights, ids: pd.Index, period: int) -> Weights:
    """The W of a period among some of its units, as :func:`row_blocks` scales it.

    Raises
    ------
    AlignmentError
        As :func:`row_blocks`.
    WeightsError
        No link is left among them.
    """
    own = weights_at(W, period)
    if own.ids.equals(ids):
        return own
    return replace(own, matrix=_block(own, ids, period, rule_for_absent(W)), ids=ids)


def of_units(W: Weights | PeriodWeights, units: pd.Index) -> Weights | PeriodWeights:
    """The same without units that are not among ``units``, such as those that have no row.

    Itself where it has no others, and where no link would be left.
    """

    def less(own: Weights, period: int) -> Weights:
        kept = own.ids.isin(units)
        linked = not kept.all() and own.matrix[kept][:, kept].nnz
        return weights_among(W, own.ids[kept], period) if linked else own

    if isinstance(W, Weights):
        return less(W, 0)
    found = {
        own: less(own, period) for own, period in {own: period for period, own in W.weights.items()}.items()
    }
    return replace(W, weights={period: found[own] for period, own in W.weights.items()})


def _block(W: Weights, ids: pd.Index, period: int, rule: Absent) -> sparse.csr_array:
    """W over some of its units, scaled again by the rule."""
    if W.ids.equals(ids):
        return W.matrix
    order = W.ids.get_indexer(ids)
    if (order < 0).any():
        lacking = ids[order < 0]
        raise AlignmentError(
            f"Weights {W.label!r} have no row for {listed(lacking)}, present in {period}. Build W of all units of the "
            "panel, or leave these out of it (panel.select).",
            f"权重矩阵{W.label!r}中没有{period}年存在的{listed_zh(lacking)}。"
            "请为面板的全部地区构建权重矩阵，或从面板中剔除这些地区（panel.select）。",
        )
    part = sparse.csr_array(W.matrix[order][:, order])
    if rule == "keep" or not part.nnz:
        return part
    how = "row" if _sum_to_one(W) else W.normalisation
    return Weights(part, ids, W.label, allow_negative=W.allow_negative).standardise(how).matrix


def _check_periods(W: Weights | PeriodWeights, periods: Sequence[int]) -> None:
    if isinstance(W, PeriodWeights):
        lacking = [p for p in periods if p not in W.weights]
        if lacking:
            raise _no_period(W, lacking)


def _no_period(W: PeriodWeights, lacking: Sequence[int]) -> AlignmentError:
    return AlignmentError(
        f"Weights {W.label!r} have no W for {listed(lacking)}; they have {listed(W.periods)}. Give one to by_period, or "
        "leave these periods out of the panel (panel.select).",
        f"权重矩阵{W.label!r}没有{listed_zh(lacking)}的矩阵；已有{listed_zh(W.periods)}。"
        "请在by_period中给出，或从面板中去掉这些时期（panel.select）。",
    )


@Kind
def neighbours_absent(weights: str, periods: int, rows: int, islands: int, rule: str) -> Text:
    """What absence does to W: rows that lose neighbours, and rows left without any."""
    done = (
        Text("the weights of the others were scaled up to the same sum", "其余邻居的权重按原和重新标准化")
        if rule == "renormalise"
        else Text(
            "the weights of the others were kept, so that these rows sum to less",
            "其余邻居的权重不变，行和因而变小",
        )
    )
    alone = Text("", "")
    if islands:
        alone = Text(
            f"; {islands} of them are left without any neighbour, and their spatial lag is zero",
            f"；其中{islands}行不再有邻居，空间滞后为零",
        )
    return Text(
        f"under {weights!r} {rows} rows in {periods} period(s) have neighbours that are absent: {done.en}{alone.en}",
        f"在{weights!r}下，{periods}个时期共{rows}行有邻居不存在：{done.zh}{alone.zh}",
    )


def notes_on_absence(
    W: Weights | PeriodWeights, units: pd.Index, periods: Sequence[int], present: NDArray[np.bool_]
) -> tuple[Note, ...]:
    """What a result on these rows (T, n) has to say of absent neighbours: one note, or none where no row lost any."""
    table = _links(W, units, periods, present)
    lost = table[table["rows_losing"] > 0]
    if lost.empty:
        return ()
    rows, islands = int(lost["rows_losing"].sum()), int(lost["islands_by_absence"].sum())
    return (neighbours_absent(W.label, len(lost), rows, islands, rule_for_absent(W)),)


@dataclass(frozen=True, eq=False, repr=False)
class PeriodReport(Printed):
    """What a W is in each period of a panel: :meth:`tidy` has a row for each period."""

    weights: str
    absent: Absent
    frame: pd.DataFrame

    def tidy(self) -> pd.DataFrame:
        """One row per ``period``.

        ``units`` that are present; ``links`` among them; ``islands`` among them, and ``islands_by_absence``, of which all
        neighbours are absent; ``rows_losing`` some neighbour, ``links_lost`` by that, and ``renormalised``, how many of
        these rows were scaled again; ``row_sum_min`` over rows with neighbours; ``matrix`` (1, 2, … numbers the
        different W); ``without_row``, units that are present and that a W of the period alone does not have, such as one
        whose GDP is not known in an economic W: no model can use them there.
        """
        return self.frame.copy()

    def glance(self) -> pd.DataFrame:
        """All periods in one row: the label, the rule for absent neighbours, and sums over periods."""
        frame = self.frame
        sums = frame[["islands_by_absence", "rows_losing", "links_lost", "renormalised"]].sum()
        row = {
            "weights": self.weights,
            "absent": self.absent,
            "periods": len(frame),
            "matrices": frame["matrix"].nunique(),
        }
        return pd.DataFrame([row | sums.to_dict()])


def report_by_period(W: Any, panel: Panel) -> PeriodReport:
    """Describe a W, or a W by period, among the units that a panel has in each period.

    Raises
    ------
    AlignmentError
        Units of W and panel differ, or a period has no W.
    SpecificationError
        ``panel`` is no :class:`~spatial_zb.Panel`.
    """
    require_panel(panel)
    weights = any_weights(W).align(panel.units)
    _check_periods(weights, panel.periods)
    known = np.array([panel.units.isin(weights_at(weights, period).ids) for period in panel.periods])
    frame = _links(weights, panel.units, panel.periods, panel.present & known)
    frame["without_row"] = (panel.present & ~known).sum(axis=1)
    return PeriodReport(weights.label, rule_for_absent(weights), frame)


def _links(
    W: Weights | PeriodWeights, units: pd.Index, periods: Sequence[int], present: NDArray[np.bool_]
) -> pd.DataFrame:
    """The frame of :class:`PeriodReport`."""
    blocks, rule = row_blocks(W, units, periods, present), rule_for_absent(W)
    numbers: dict[int, int] = {}
    rows = []
    for period, there, block in zip(periods, present, blocks, strict=True):
        own = weights_at(W, period)
        number = numbers.setdefault(id(own), len(numbers) + 1)
        here = own.ids.isin(units[there])
        linked = (own.matrix != 0)[here]
        before, after = np.diff(linked.indptr), linked @ here.astype(int)
        losing, sums = before > after, np.asarray(block.sum(axis=1)).ravel()
        scaled = rule == "renormalise" and (_sum_to_one(own) or own.normalisation != "none")
        rows.append(
            {
                "period": period,
                "units": int(there.sum()),
                "links": block.nnz,
                "islands": int((after == 0).sum()),
                "islands_by_absence": int((losing & (after == 0)).sum()),
                "rows_losing": int(losing.sum()),
                "links_lost": int((before - after).sum()),
                "renormalised": int((losing & (after > 0)).sum()) if scaled else 0,
                "row_sum_min": float(sums[np.diff(block.indptr) > 0].min(initial=np.inf)),
                "matrix": number,
            }
        )
    return pd.DataFrame(rows)
