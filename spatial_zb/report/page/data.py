"""Numbers and words of the offline report as inert JSON, which the scripts of the page read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_args

import numpy as np

from spatial_zb.base.text import Language, Text
from spatial_zb.report.figures.moran import QUADRANTS
from spatial_zb.report.maps.classes import Scheme, class_labels, class_of, classify, round_edges
from spatial_zb.report.maps.shaded import CLUSTERS
from spatial_zb.report.page.content import Atlas, Content, MoranSeries, UnitEffects, UnitPaths, Variable
from spatial_zb.report.tables.text import clean

CLASSES = 6
#: Significant digits of values, and decimals of standardised lags (a hundredth of a dot on the screen).
DIGITS, LAG_DECIMALS = 6, 3

SCHEME_WORDS: Mapping[str, Text] = {
    "quantile": Text("Quantiles", "分位数"),
    "natural": Text("Natural breaks", "自然断点"),
    "equal": Text("Equal intervals", "等间距"),
    "std": Text("Standard deviations", "标准差"),
}
#: The classes of the printed maps where their edges were chosen; what another variable has in their place.
OWN, OWN_SCHEME = "own", Text("As printed", "与印刷图相同")
CLUSTER_SCHEME = Text("Local Moran clusters", "局部莫兰聚类")

#: Characters that could end the element, open another or end a line of script, as JSON escapes.
_UNSAFE = {ord(ch): f"\\u{ord(ch):04x}" for ch in "<>&\u2028\u2029"}


class Words:
    """Every text once, called by its number."""

    def __init__(self, languages: Sequence[Language]) -> None:
        self.languages = tuple(languages)
        self._numbers: dict[tuple[str, ...], int] = {}

    def number(self, text: Text | str) -> int:
        """Number of a text; the same text has the same number."""
        key = tuple(clean(Text.of(text).pick(language)) for language in self.languages)
        return self._numbers.setdefault(key, len(self._numbers))

    def numbers(self, choices: Mapping[str, Text]) -> dict[str, int]:
        return {name: self.number(text) for name, text in choices.items()}

    def table(self) -> dict[Language, list[str]]:
        """All texts by language, in the order of their numbers."""
        return {language: [key[i] for key in self._numbers] for i, language in enumerate(self.languages)}


def page_data(content: Content, words: Words, downloads: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the scripts of the page read. ``words`` also holds what the caller put there before."""
    effects = [part for section in content.sections for part in section.effects]
    paths = [part for section in content.sections for part in section.paths]
    units = {unit: number for number, unit in enumerate(content.atlas.units)} if content.atlas else {}
    data = {
        "study": content.name,
        "review": words.number(content.review_line),
        "atlas": _atlas(content.atlas, words) if content.atlas else None,
        "effects": [_effects(part, units, words) for part in effects],
        "paths": [_paths(part, units, words) for part in paths],
        "clusters": {code: [words.number(text), colour] for code, (text, colour) in CLUSTERS.items()},
        "quadrants": {code: words.number(look[0]) for code, look in QUADRANTS.items()},
        "dimensions": words.numbers(content.choice_words),
        "downloads": downloads,
    }
    return {"languages": list(words.languages), "words": words.table(), **data}


def embedded(data: Any) -> str:
    """JSON that cannot end its element: no ``<``, ``>`` or ``&``, and no line separator of JavaScript."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_UNSAFE)


def _atlas(atlas: Atlas, words: Words) -> dict[str, Any]:
    outlines = atlas.outlines
    return {
        "size": outlines.size,
        "bar": outlines.bar,
        "north": outlines.north,
        "borders": outlines.borders,
        "units": list(atlas.units),
        "names": [words.number(name) for name in atlas.names],
        "paths": list(outlines.paths),
        "centres": list(outlines.centres),
        "periods": [int(period) for period in atlas.periods],
        "weights": words.numbers(atlas.weights),
        "schemes": words.numbers({OWN: OWN_SCHEME, **SCHEME_WORDS, "clusters": CLUSTER_SCHEME}),
        "scheme": OWN if any(variable.breaks for variable in atlas.variables) else atlas.scheme,
        "clustersNote": words.number(atlas.clusters_note),
        "variables": [_variable(variable, atlas, words) for variable in atlas.variables],
    }


def _variable(variable: Variable, atlas: Atlas, words: Words) -> dict[str, Any]:
    values = np.asarray(variable.values, float)
    schemes: dict[str, Any] = {scheme: scheme for scheme in get_args(Scheme)}
    if any(part.breaks for part in atlas.variables):
        schemes[OWN] = variable.breaks or atlas.scheme
    shown = {
        "name": variable.name,
        "label": words.number(variable.label),
        "ofPeriod": variable.of_period,
        "values": [_numbers(row) for row in values],
        "mean": _numbers(_by_period(np.mean, values)),
        "sd": _numbers(_by_period(np.std, values)),
        "schemes": {
            name: classes
            for name, scheme in schemes.items()
            if (classes := _classes(variable, values, (scheme, atlas.classes), words))
        },
        "moran": {name: _series(series) for name, series in variable.moran.items()},
        "clusters": [variable.clusters.get(period) for period in atlas.periods],
    }
    return shown


def _by_period(statistic: Callable[[np.ndarray], float], values: np.ndarray) -> list[float]:
    known = [row[np.isfinite(row)] for row in values]
    return [float(statistic(row)) if len(row) else math.nan for row in known]


def _series(series: MoranSeries) -> dict[str, Any]:
    return {
        "lag": [_numbers(row, lambda v: round(v, LAG_DECIMALS)) for row in np.asarray(series.lag, float)],
        "I": _numbers(series.statistic),
        "p": _numbers(series.p_value),
    }


def _classes(
    variable: Variable, values: np.ndarray, how: tuple[Any, int], words: Words
) -> dict[str, Any] | None:
    """Edges common to all periods with their colours and words; None where there is nothing to classify."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    found = classify(known, *how, variable.palette, variable.center)
    return _legend(found.breaks, found.colours, values, words)


def _legend(edges: np.ndarray, colours: list[str], values: np.ndarray, words: Words) -> dict[str, Any]:
    """Colours and words of the classes, and the class of every value; −1 is no data."""
    languages = [class_labels(edges, language) for language in ("en", "zh")]
    codes = np.where(np.isfinite(values), class_of(values, edges), -1)
    return {
        "colours": colours,
        "labels": [words.number(Text(*pair)) for pair in zip(*languages, strict=True)],
        "codes": codes.tolist(),
    }


def _effects(part: UnitEffects, units: Mapping[str, int], words: Words) -> dict[str, Any]:
    """One regressor's effects; what is received and what is emitted share their classes."""
    own, given = (np.asarray(part.direct, float), np.array([part.received, part.emitted], float))
    return {
        "choices": words.numbers(part.choices),
        "units": [units[unit] for unit in part.units],
        "reading": words.number(part.reading),
        "values": {
            "received": _numbers(part.received),
            "emitted": _numbers(part.emitted),
            "direct": _numbers(own),
        },
        "classes": {
            **_shared(given, ("received", "emitted"), words),
            **_shared(own[None], ("direct",), words),
        },
    }


def _paths(part: UnitPaths, units: Mapping[str, int], words: Words) -> dict[str, Any]:
    """A scenario: every step has the classes of all of them, so that colours can be compared."""
    values = np.asarray(part.values, float)
    found = classify(values, round_edges(values, CLASSES), palette="diverging")
    return {
        "choices": words.numbers(part.choices),
        "title": words.number(part.title),
        "slider": words.number(part.slider),
        "steps": [words.number(step) for step in part.steps],
        "start": part.start,
        "units": [units[unit] for unit in part.units],
        "reading": words.number(part.reading),
        **{name: [_numbers(row) for row in getattr(part, of)] for name, of in PATHS.items()},
        "classes": [_legend(found.breaks, found.colours, row, words) for row in values],
    }


#: Names in the script, and attributes of :class:`UnitPaths`.
PATHS = {"value": "values", "low": "low", "high": "high"}


def _shared(values: np.ndarray, names: Iterable[str], words: Words) -> dict[str, Any]:
    """Classes of equal width between round numbers, zero among them, common to all rows: those of the printed maps."""
    found = classify(values, round_edges(values, CLASSES), palette="diverging")
    return {
        name: _legend(found.breaks, found.colours, row, words)
        for name, row in zip(names, values, strict=True)
    }


def _numbers(values: Iterable[float], rounded: Callable[[float], float] | None = None) -> list[float | None]:
    """Rounded numbers; None for what is not a number."""
    shorten = rounded or (lambda v: float(f"{v:.{DIGITS}g}"))
    return [_short(shorten(float(v))) if math.isfinite(v) else None for v in values]


def _short(value: float) -> float | int:
    return int(value) if value == int(value) else value
