"""Maps of results: effects received and emitted by each unit, and what leaving a unit out does to an estimate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.notes import warn_old
from spatial_zb.base.text import Text
from spatial_zb.effects import effects_by_unit
from spatial_zb.effects.system import SHOCK
from spatial_zb.report.drawing.frame import PLAIN, Look, Words, open_page, require_columns
from spatial_zb.report.drawing.places import unique_ids
from spatial_zb.report.drawing.style import Drawing
from spatial_zb.report.maps.classes import Scheme, class_labels, class_of, classify, round_edges
from spatial_zb.report.maps.drawing import MapClass, MapKey, draw_panels
from spatial_zb.report.maps.shaded import choropleth

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from matplotlib.axes import Axes


#: Headings of the panels, by column of ``effects_by_unit``.
SIDES = {
    "direct": Text("Direct (own change)", "直接效应（自身变化）"),
    "received": Text("Received from all others", "接收效应（来自其他地区）"),
    "emitted": Text("Emitted to all others", "发出效应（作用于其他地区）"),
}
EFFECT = Text("Effect on {} of one unit more of {}", "{1}增加一单位对{0}的效应")
MOVED = Text("Change", "变化")
UNSURE = Text("Interval holds zero", "区间包含零")
#: Where some polygons are of units that were not there.
UNSURE_OR_ABSENT = Text("Interval holds zero, or unit absent", "区间含零，或地区缺失")
CHANGE = Text("Change of the estimate when the unit is left out", "剔除该地区后估计值的变化")
INFLUENCE = Text(
    "With all units the estimate is {}; without one of them it lies between {} and {}.",
    "全样本估计值为{}；逐一剔除地区后介于{}与{}之间。",
)


def effect(
    found: Any,
    term: str | tuple[str, str] | None = None,
    *,
    regions: GeoDataFrame,
    sides: Sequence[str] | None = None,
    scheme: Scheme | Sequence[float] | None = None,
    k: int = 6,
    look: Look = PLAIN,
    ax: Axes | None = None,
) -> Drawing:
    """Map the effects of one variable by unit, in common classes: red above zero, blue below it.

    Parameters
    ----------
    found
        A fit and the ``term`` whose change is meant (of a system the pair response, source); effects of a fit do as well;
        or effects by unit id, as :func:`~spatial_zb.effects.effects_by_unit` gives them, without a term.
    regions
        Polygons indexed by unit id; those without an effect are hatched.
    sides
        Columns to map, one panel each: ``"received"``, ``"emitted"``, ``"direct"``. Without it the first two, but one that
        is the same everywhere, as what is received is nearly where rows of W sum to one, is told in the note instead.
    scheme, k
        As in :func:`~spatial_zb.report.maps.shaded.choropleth`; by default about k classes of equal width between
        round numbers, zero among them, so that colours follow the size of the effect.
    look, ax
        As there, and so are the other errors.

    Raises
    ------
    SpecificationError
        No term; a side that the frame does not have; ``ax`` for more than one.
    DataError
        A term that the fit does not have.

    Examples
    --------
    >>> zb.maps.effect(fit, "talent", regions=regions)  # doctest: +SKIP
    """
    frame, words = _by_unit(found, term)
    unknown = [side for side in sides or () if side not in frame.columns]
    if unknown or (sides is not None and not sides):
        raise SpecificationError(
            f"There is no side {listed(unknown)}; the frame has {listed(frame.columns)}.",
            f"没有{listed_zh(unknown)}一侧；表中有{listed_zh(frame.columns)}。",
        )
    values = frame.set_axis(unique_ids(frame.index)).astype(float)
    values = values.reindex(unique_ids(regions.index).union(values.index, sort=False))
    flat: list[str] = []
    # Classes are of both sides, whether both are drawn or not: those of the page.
    every = values[list(sides or ("received", "emitted"))]
    if sides is None:
        sides, flat = _that_vary(every)
    said = Text("", "")
    for side in flat:
        said = _both(said, _flat_words(side, values[side]))
    values = values[list(sides)]
    scheme = round_edges(every, k) if scheme is None else scheme
    values.columns = [SIDES.get(side, Text.of(side)) for side in sides]
    look = replace(look, legend=look.legend or words, note=_both(said, look.note))
    look = look if len(sides) == 1 else replace(look, style=look.style or "journal_double")
    return choropleth(values, regions=regions, scheme=scheme, k=k, look=_diverging(look), ax=ax)


def effects(
    frame: pd.DataFrame,
    *,
    regions: GeoDataFrame,
    sides: Sequence[str] = ("received", "emitted"),
    names: tuple[Words, Words] = ("", ""),
    scheme: Scheme | Sequence[float] | None = None,
    k: int = 6,
    look: Look = PLAIN,
    ax: Axes | None = None,
) -> Drawing:
    """Map effects by unit: the name of the last release for :func:`effect`; it goes with the next one."""
    warn_old(
        "maps.effects(frame, …) is now maps.effect(frame, …), with the words of names in the legend of the look."
    )
    look = replace(look, legend=look.legend or legend_of_effect(*names))
    return effect(frame, regions=regions, sides=sides, scheme=scheme, k=k, look=look, ax=ax)


def _by_unit(found: Any, term: str | tuple[str, str] | None) -> tuple[pd.DataFrame, Text | str]:
    """Effects by unit id, and the title of their legend."""
    if isinstance(found, pd.DataFrame):
        return found, ""
    fit = getattr(found, "fit", found)
    if term is None:
        raise SpecificationError(
            'Name the variable whose effect is mapped: maps.effect(fit, "talent", …).',
            '请指定绘制其效应的变量，如maps.effect(fit, "talent", …)。',
        )
    if isinstance(term, str):
        return effects_by_unit(fit, term), legend_of_effect(
            fit.panel.label(fit.spec.y), fit.panel.label(term)
        )
    response, source = term
    labels = {name: fit.panel.label(y) for name, y in zip(fit.spec.names, fit.spec.endogenous, strict=True)}
    plain = source.removeprefix(SHOCK)
    said = legend_of_effect(labels.get(response, response), labels.get(plain) or fit.panel.label(plain))
    return effects_by_unit(fit, source, response=response), said


#: Share of the range of all values below which a side is the same everywhere, as far as a map can show.
FLAT = 0.1


def _that_vary(values: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Sides of which a map shows more than one colour, and the others."""
    spans = values.max() - values.min()
    vary = [side for side in values if spans[side] > FLAT * (values.max().max() - values.min().min())]
    vary = vary or [values.columns[-1]]
    return vary, [side for side in values if side not in vary]


def _flat_words(side: str, values: pd.Series) -> Text:
    name = SIDES[side]
    low, high = _figures([values.min(), values.max()])
    if low == high:
        return Text(f"{name.en}: {low} in every unit, not drawn.", f"{name.zh}：各地区均为{low}，未绘出。")
    return Text(
        f"{name.en}: between {low} and {high} in every unit, not drawn.",
        f"{name.zh}：各地区均在{low}与{high}之间，未绘出。",
    )


def influence(
    frame: pd.DataFrame,
    *,
    regions: GeoDataFrame,
    named: int = 6,
    scheme: Scheme | Sequence[float] | None = None,
    k: int = 6,
    look: Look = PLAIN,
    ax: Axes | None = None,
) -> Drawing:
    """Map what leaving out one unit at a time does to an estimate; the most influential units are named.

    Parameters
    ----------
    frame
        One row for each unit left out: ``unit`` (a column or the index), ``estimate`` without it, and
        ``change`` from the estimate with all units.
    regions
        Polygons indexed by unit id; those that were never left out are drawn as "no data".
    named
        How many units to name, from the largest change.
    scheme, k
        As in :func:`effects`.
    look, ax
        As in :func:`~spatial_zb.report.maps.shaded.choropleth`, and so are the other errors; ``labels`` are not used.

    Raises
    ------
    DataError
        A missing column, a unit twice, or no finite change.
    """
    rows = _checked(frame, ("estimate", "change"), Text("frame of influence", "影响表"))
    change = rows["change"].astype(float)
    everywhere = unique_ids(regions.index)
    values = change.reindex(everywhere.union(change.index, sort=False))
    note = _both(_influence_words(rows), look.note)
    look = replace(look, labels=_largest(change, named), legend=look.legend or CHANGE, note=note)
    scheme = round_edges(change, k) if scheme is None else scheme
    return choropleth(values, regions=regions, scheme=scheme, k=k, look=_diverging(look), ax=ax)


def changes(
    frame: pd.DataFrame,
    *,
    regions: GeoDataFrame,
    named: int = 6,
    scheme: Scheme | Sequence[float] | None = None,
    k: int = 6,
    look: Look = PLAIN,
    ax: Axes | None = None,
) -> Drawing:
    """Map what a scenario does to every unit: red gains, blue losses, hatched where the interval holds zero.

    Parameters
    ----------
    frame
        ``zb.scenario(...).tidy()`` of one response and horizon: ``unit`` (a column or the index), ``change``, ``conf_low``
        and ``conf_high``.
    regions
        Polygons indexed by unit id; those without a change are hatched too, and the legend says so.
    named
        How many units to name, from the largest change of those that are not hatched.
    scheme, k, look, ax
        As in :func:`influence`.

    Raises
    ------
    DataError
        A missing column, a unit twice, or no finite change.
    """
    rows = _checked(frame, ("change", "conf_low", "conf_high"), Text("frame of a scenario", "情景表"))
    sure = (rows["conf_low"] > 0) | (rows["conf_high"] < 0)
    known = rows["change"].astype(float)
    everywhere = unique_ids(regions.index).union(rows.index, sort=False)
    values = known.where(sure).reindex(everywhere)
    scheme = round_edges(known, k) if scheme is None else scheme
    found = classify(known, scheme, k, look.palette or "diverging", look.center)
    codes = pd.DataFrame({"": class_of(values.to_numpy(), found.breaks)}, index=everywhere)
    look = replace(look, labels=look.labels or _largest(values, named), legend=look.legend or MOVED)
    with open_page(look, "journal_single") as page:
        labels = class_labels(found.breaks, page.language)
        classes = [MapClass(label, colour) for label, colour in zip(labels, found.colours, strict=True)]
        classes = (
            classes if values.notna().any() else []
        )  # nothing is sure: a legend of colours would promise some
        unsure = UNSURE if set(regions.index.astype(str)) <= set(rows.index.astype(str)) else UNSURE_OR_ABSENT
        return draw_panels(regions, codes, MapKey(classes, unsure, breaks=found.breaks), page, ax=ax)


def _checked(frame: pd.DataFrame, columns: tuple[str, ...], what: Text) -> pd.DataFrame:
    """The frame, which must have these columns, by unit id."""
    rows = frame.set_index("unit") if "unit" in frame.columns else frame
    require_columns(rows, columns, what)
    return rows.set_axis(unique_ids(rows.index))


def _largest(values: pd.Series, named: int) -> list[str]:
    """The units with the largest values, in either direction."""
    return list(values.abs().sort_values(ascending=False, kind="stable").dropna().index[: max(named, 0)])


def _diverging(look: Look) -> Look:
    """Red above zero and blue below it, where the caller wants no other colours."""
    return replace(look, palette=look.palette or "diverging")


def legend_of_effect(response: Words, source: Words) -> Text | str:
    """Title of the legend of a map of effects; nothing where a word is missing."""
    if not response or not source:
        return ""
    y, x = Text.of(response), Text.of(source)
    return Text(EFFECT.en.format(y.en, x.en), EFFECT.zh.format(y.zh, x.zh))


def _influence_words(rows: pd.DataFrame) -> Text:
    estimate, change = (rows[name].to_numpy(dtype=float) for name in ("estimate", "change"))
    known = np.isfinite(estimate) & np.isfinite(change)
    if not known.any():
        raise DataError(
            "No row of the frame of influence has a finite estimate and change.",
            "影响表中没有估计值和变化都有限的行。",
        )
    numbers = [float(np.median((estimate - change)[known])), estimate[known].min(), estimate[known].max()]
    shown = _figures(numbers)
    return Text(INFLUENCE.en.format(*shown), INFLUENCE.zh.format(*shown))


def _figures(numbers: Sequence[float]) -> list[str]:
    """Numbers with as many decimals as give the largest three digits."""
    decimals = max(0, 2 - math.floor(math.log10(max(map(abs, numbers)) or 1.0)))
    return [f"{number:.{decimals}f}".replace("-", "−") for number in numbers]


def _both(first: Text, second: Words) -> Text:
    second = Text.of(second)
    return Text(f"{first.en} {second.en}".strip(), first.zh + second.zh)
