"""Pictures of data and results: what ``panel.plot()``, ``W.plot()``, ``fit.plot()``, ``moran.plot()`` and the like draw.

Results do not know this module: they ask for it by the door ``"plot"`` of :mod:`spatial_zb.base`, and say by their
``pictures`` which kinds they have (decision 0022).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spatial_zb.base.errors import SpecificationError
from spatial_zb.base.text import Text
from spatial_zb.data.panel import Panel
from spatial_zb.effects import spatial_effects
from spatial_zb.effects.table import Effects
from spatial_zb.models.system.fit import SystemFit
from spatial_zb.report import figures, maps
from spatial_zb.report.drawing.frame import PLAIN, Look, Words, open_page
from spatial_zb.report.drawing.places import place_names
from spatial_zb.report.drawing.style import Drawing
from spatial_zb.report.figures.lines import Chart, LinePanel, Series, draw_chart
from spatial_zb.report.figures.moran import MORAN_OF
from spatial_zb.weights import by_period
from spatial_zb.weights.matrix import Weights
from spatial_zb.weights.periods import PeriodWeights, any_weights, weights_among

if TYPE_CHECKING:
    from geopandas import GeoDataFrame


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """How a result is to be drawn: see :meth:`spatial_zb.base.printing.Drawn.plot`."""

    terms: Sequence[str] | None
    periods: Sequence[int] | None
    regions: GeoDataFrame | None
    look: Look

    @property
    def polygons(self) -> GeoDataFrame:
        """The polygons of a map.

        Raises
        ------
        SpecificationError
            There are none.
        """
        if self.regions is None:
            raise SpecificationError(
                "A map needs polygons: plot(…, regions=regions).",
                "绘制地图须有多边形：plot(…, regions=regions)。",
            )
        return self.regions

    def term(self, known: Sequence[str]) -> str:
        """The one variable that is drawn; it needs no name where there is only one."""
        chosen = list(
            known if self.terms is None else [self.terms] if isinstance(self.terms, str) else self.terms
        )
        if len(chosen) != 1:
            raise SpecificationError(
                f'Name one variable: plot(…, terms=["{known[0]}"]).',
                f'请指定一个变量：plot(…, terms=["{known[0]}"])。',
            )
        return chosen[0]


def draw(
    result: Any,
    kind: str,
    *,
    terms: Sequence[str] | None = None,
    periods: Sequence[int] | None = None,
    regions: GeoDataFrame | None = None,
    look: Look | None = None,
) -> Drawing:
    """Draw a result by one of its ``pictures``; see :meth:`spatial_zb.base.printing.Drawn.plot`."""
    terms = [terms] if isinstance(terms, str) else terms
    asked = Asked(terms, periods, regions, look or PLAIN)
    return PICTURES[type(result).__name__, kind](result, asked)


def _worded(asked: Asked, panel: Panel) -> Look:
    """The look, with the labels of a panel for what the caller has no words for."""
    return replace(asked.look, words={**panel.labels, **asked.look.words})


# -- What a study starts from ------------------------------------------------------------------------------

#: Variables that are drawn where none is named.
MOST_VARIABLES = 6
MIDDLE = Text("Mean of the units; band: their middle half.", "各地区均值；阴影为中间一半地区的范围。")


def _variables(panel: Any, asked: Asked) -> Drawing:
    """Mean and quartiles over the units by period, a panel for each variable."""
    chosen = list(asked.terms or panel.columns[:MOST_VARIABLES])
    part = panel if asked.periods is None else panel.select(periods=list(asked.periods))
    x = np.asarray(part.periods, dtype=float)
    with open_page(_worded(asked, panel), "journal_double" if len(chosen) > 1 else "journal_single") as page:
        parts = []
        for name in chosen:
            values = part.array(name)  # (T, n); NaN where a unit is absent
            low, high = np.nanquantile(values, [0.25, 0.75], axis=1)
            line = Series("", x, np.nanmean(values, axis=1), low, high, interval="band")
            parts.append(LinePanel(page.say(panel.label(name)), (line,)))
        columns = min(len(chosen), 3)
        chart = Chart(page.say(PERIOD), "", page.title, page.note(page.say(MIDDLE)), columns, shared=False)
        return draw_chart(parts, chart, page.style)


def _map_of_variable(panel: Any, asked: Asked) -> Drawing:
    """One variable in classes, of the last period where none is named."""
    name, periods = asked.term(panel.columns), asked.periods or [panel.periods[-1]]
    return maps.choropleth(panel, name, regions=asked.polygons, periods=periods, look=asked.look)


def _links(W: Any, asked: Asked) -> Drawing:
    return maps.links(W, regions=asked.polygons, look=asked.look)


# -- Fits and their effects ------------------------------------------------------------------------------


def _effects(result: Any, asked: Asked) -> Drawing:
    effects = result if isinstance(result, Effects) else spatial_effects(result)
    if effects.reason is not None:
        raise SpecificationError(effects.reason.text.en, effects.reason.text.zh)
    fit, look = effects.fit, _worded(asked, effects.fit.panel)
    if isinstance(fit, SystemFit):
        frame = effects.tidy()
        frame["term"] = frame["source"] + " → " + frame["response"]
        labels = dict(zip(fit.spec.names, fit.spec.endogenous, strict=True))
        words = {
            pair: _arrow(source, labels, fit.panel) + " → " + _arrow(response, labels, fit.panel)
            for pair, source, response in frame[["term", "source", "response"]]
            .drop_duplicates()
            .itertuples(index=False)
        }
        return figures.effects(
            {"": frame}, terms=asked.terms, look=replace(look, words={**words, **asked.look.words})
        )
    if any("[" in name for name in effects.axes["term"]):
        return figures.regimes(effects, terms=asked.terms, look=look)
    return figures.effects({"": effects}, terms=asked.terms, look=look)


def _arrow(name: str, equations: Mapping[str, str], panel: Panel) -> str:
    own = name.removeprefix("shock:")
    return Text.of(panel.label(equations.get(own, own))).en


def _coefficients(fit: Any, asked: Asked) -> Drawing:
    frame = fit.tidy()
    if "equation" in frame.columns:
        frame = frame.assign(term=frame["equation"] + ": " + frame["term"])
    return figures.coefficients({"": frame}, terms=asked.terms, look=_worded(asked, fit.panel))


def _map_of_effects(result: Any, asked: Asked) -> Drawing:
    fit = getattr(result, "fit", result)
    if isinstance(fit, SystemFit):
        raise SpecificationError(
            "The map of an effect in a system is maps.effect(fit, (response, source), regions=regions).",
            "方程组的效应地图请用maps.effect(fit, (response, source), regions=regions)。",
        )
    return maps.effect(fit, asked.term(fit.spec.regressors), regions=asked.polygons, look=asked.look)


# -- Association, distributions, specifications ------------------------------------------------------------


def scatter_data(
    panel: Panel, variable: str, W: Any, periods: Sequence[int]
) -> tuple[pd.DataFrame, Weights | PeriodWeights]:
    """Values by unit and period, and a W of the same units: in each period those that are present."""
    part = panel.select(periods=list(periods))
    values = pd.DataFrame(part.array(variable).T, index=panel.units, columns=list(part.periods))
    weights: Weights | PeriodWeights = any_weights(W)
    if part.uneven or not isinstance(weights, Weights):
        here = zip(part.periods, part.rows(variable), strict=True)
        weights = by_period({p: weights_among(weights, part.units[row], p) for p, row in here})
        values = values.loc[weights.ids]
    return values, weights


def _scatter(table: Any, asked: Asked) -> Drawing:
    panel, W = table.given
    ends = asked.periods or list(dict.fromkeys([panel.periods[0], panel.periods[-1]]))
    values, weights = scatter_data(panel, table.variable, W, ends)
    p_values = list(table.table().set_index("period").loc[list(values.columns), "p_sim"])
    values = values.set_axis([""], axis=1) if len(panel.periods) == 1 else values
    label: Words = panel.label(table.variable)
    names = {} if asked.regions is None else _names(asked.regions)
    look = replace(asked.look, words={**names, **asked.look.words})
    return figures.moran_scatter(values, weights, label=label, p_values=p_values, look=look)


def _names(regions: GeoDataFrame) -> dict[str, Text]:
    """Words for the units, where the polygons have some."""
    en, zh = place_names(regions, "en"), place_names(regions, "zh")
    return {str(unit): Text(name, zh[unit]) for unit, name in en.items()}


EXPECTED = Text(
    "Hollow: p of at least 0.05. Dashed: expected without association.",
    "空心点：p不小于0.05；虚线：无空间关联时的期望值。",
)
PERIOD = Text("Period", "时期")


def _path(table: Any, asked: Asked) -> Drawing:
    """I by period."""
    frame = table.table()
    frame = frame if asked.periods is None else frame[frame["period"].isin(asked.periods)]
    p = frame["p_sim"].to_numpy(float)
    x, found = frame["period"].to_numpy(float), frame["I"].to_numpy(float)
    line = Series("", x, found, filled=np.where(np.isnan(p), 1.0, p) < 0.05)
    with open_page(asked.look, "journal_single") as page:
        label = page.say(table.given[0].label(table.variable)) if table.given else table.variable
        chart = Chart(page.say(PERIOD), page.say(MORAN_OF, label), page.title, page.note(page.say(EXPECTED)))
        panel = LinePanel("", (line,), (float(frame["expected"].mean()),))
        return draw_chart([panel], replace(chart, x_ticks=sorted(x)), page.style)


def _clusters(table: Any, asked: Asked) -> Drawing:
    return maps.clusters(table, regions=asked.polygons, look=asked.look)


def _lines(densities: Any, asked: Asked) -> Drawing:
    return figures.density(densities.tidy(), periods=asked.periods, label=densities.variable, look=asked.look)


def _ridges(densities: Any, asked: Asked) -> Drawing:
    frame = densities.tidy()
    return figures.density(
        frame, kind="ridges", periods=asked.periods, label=densities.variable, look=asked.look
    )


def _ellipses(path: Any, asked: Asked) -> Drawing:
    return maps.ellipses(path, regions=asked.polygons, periods=asked.periods, look=asked.look)


def _curve(grid: Any, asked: Asked) -> Drawing:
    known = [str(term) for term in dict.fromkeys(grid.tidy()["term"]) if term not in ("rho", "lam", "sigma2")]
    return figures.specification_curve(grid, asked.term(known), look=asked.look)


#: By kind of result and of picture; each kind of result lists its own in ``pictures``.
PICTURES: Mapping[tuple[str, str], Callable[[Any, Asked], Drawing]] = {
    **{(kind, "effects"): _effects for kind in ("Fit", "SystemFit", "Effects")},
    **{(kind, "coefficients"): _coefficients for kind in ("Fit", "SystemFit")},
    **{(kind, "map"): _map_of_effects for kind in ("Fit", "SystemFit", "Effects")},
    ("Panel", "path"): _variables,
    ("Panel", "map"): _map_of_variable,
    ("Weights", "links"): _links,
    ("MoranTable", "scatter"): _scatter,
    ("MoranTable", "path"): _path,
    ("LocalTable", "map"): _clusters,
    ("Densities", "lines"): _lines,
    ("Densities", "ridges"): _ridges,
    ("EllipsePath", "map"): _ellipses,
    ("Grid", "curve"): _curve,
}
