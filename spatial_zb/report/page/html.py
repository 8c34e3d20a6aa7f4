"""One HTML file: the skeleton of ``assets/``, filled with escaped words, tables, and numbers as inert JSON."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, get_args

import numpy as np

from spatial_zb.base.errors import SpecificationError, listed_zh
from spatial_zb.base.text import LANGUAGES, Language, Text
from spatial_zb.report.figures.moran import QUADRANTS
from spatial_zb.report.files import slug, write_atomic
from spatial_zb.report.maps.classes import Scheme, class_labels, class_of, classify, round_edges
from spatial_zb.report.maps.shaded import CLUSTERS
from spatial_zb.report.page.content import (
    Atlas,
    ChartItem,
    Content,
    MoranSeries,
    Paragraphs,
    Section,
    TableItem,
    UnitEffects,
    UnitPaths,
    Variable,
)
from spatial_zb.report.tables.table import TableStyle
from spatial_zb.report.tables.text import clean
from spatial_zb.report.tables.writers import plain, web

#: Scripts of the page in the order they are read; together they are one function.
SCRIPTS = (
    "words.js",
    "dom.js",
    "csv.js",
    "map.js",
    "brush.js",
    "scatter.js",
    "rows.js",
    "explorer.js",
    "effects.js",
    "paths.js",
    "choices.js",
    "start.js",
)
TAGS: Mapping[Language, str] = {"en": "en", "zh": "zh-CN"}

NONE = Text("None.", "无。")
OF_THE_PROGRAM = Text("Notes of the program", "程序提示")
SAVE = Text("Table as CSV", "下载表格（CSV）")


def write_report(content: Content, path: str | Path, languages: Sequence[Language] = LANGUAGES) -> Path:
    """Write the offline report: one file that loads nothing and runs only its own script.

    Parameters
    ----------
    content
        What is shown.
    path
        The file to make or replace, whole or not at all.
    languages
        The page opens in the reader's language if it is among these, else in the first; with two it has a switch.

    Raises
    ------
    SpecificationError
        No language, or one that is not known.
    OutputError
        The file cannot be written.
    """
    return write_atomic(path, render(content, languages))


def render(content: Content, languages: Sequence[Language] = LANGUAGES) -> str:
    """Put the page together; the same content gives the same text."""
    if not languages or not set(languages) <= set(LANGUAGES):
        raise SpecificationError(
            f"languages must be some of {', '.join(LANGUAGES)}, not {list(languages)!r}.",
            f"languages须取自{listed_zh(LANGUAGES)}，而不是{list(languages)!r}。",
        )
    words = Words(languages)
    downloads: dict[str, Any] = {}
    sections = "\n".join(_section(s, words, downloads, languages) for s in content.sections)
    script, css = _script(), web.CSS + _read("page.css")
    return Template(_read("page.html")).substitute(
        tag=TAGS[languages[0]],
        language=languages[0],
        policy=_policy(script, css),
        title=escape(clean(content.title.pick(languages[0]))),
        css=css,
        heading=_in_each(content.title, languages),
        facts=_in_each(content.facts, languages),
        links="".join(_link(section, languages) for section in content.sections),
        findings=_list(content.findings, languages),
        limits=_list(content.limits, languages),
        pointer=_pointer(content.warnings, languages),
        warnings=_warnings(content.warnings, languages),
        explorer=_read("explorer.html") if content.atlas else "",
        sections=sections,
        sources=_list(content.sources, languages),
        review=_in_each(content.review_line, languages),
        colophon=_in_each(content.colophon, languages),
        hide_map="" if content.atlas else "hidden",
        hide_switch="" if len(languages) > 1 else "hidden",
        data=embedded(page_data(content, words, downloads)),
        script=script,
    )


def _read(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _script() -> str:
    """All scripts as one function that leaves no name behind."""
    return '"use strict";\n(() => {\n' + "\n".join(_read(name) for name in SCRIPTS) + "})();\n"


def _policy(script: str, css: str) -> str:
    """Nothing may be loaded, sent or framed; this script and this style sheet may run, by their hashes."""
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(css)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _in_each(text: Text | str, languages: Sequence[Language], element: str = "span") -> str:
    """The words in every language, of which the style sheet shows one."""
    text = Text.of(text)
    return "".join(
        f'<{element} class="{language}" lang="{TAGS[language]}">{escape(clean(text.pick(language)))}</{element}>'
        for language in languages
    )


def _list(texts: Iterable[Text | str], languages: Sequence[Language]) -> str:
    items = "".join(f"<li>{_in_each(text, languages)}</li>" for text in texts)
    return f"<ul>{items}</ul>" if items else f"<p>{_in_each(NONE, languages)}</p>"


def _pointer(warnings: Sequence[Text], languages: Sequence[Language]) -> str:
    """Where the notes of the program are, which can be many."""
    if not warnings:
        return ""
    many = Text(f"Notes of the program ({len(warnings)}), below", f"程序提示（{len(warnings)}条），见页末")
    return f'<p><a href="#notes">{_in_each(many, languages)}</a></p>'


def _warnings(warnings: Sequence[Text], languages: Sequence[Language]) -> str:
    """Notes of the program."""
    if not warnings:
        return ""
    items = "".join(f"<li>{_in_each(warning, languages)}</li>" for warning in warnings)
    return f'<h2 id="notes" tabindex="-1">{_in_each(OF_THE_PROGRAM, languages)}</h2><ul class="noted">{items}</ul>'


def _anchor(section: Section) -> str:
    """Apart from the other ids of the page, whatever the section is called."""
    return f"part-{slug(section.name)}"


def _link(section: Section, languages: Sequence[Language]) -> str:
    return f'<li><a href="#{_anchor(section)}">{_in_each(section.title, languages)}</a></li>'


def _section(section: Section, words: Words, downloads: dict[str, Any], languages: Sequence[Language]) -> str:
    """A heading, the place where a script puts the switches, and every table and paragraph."""
    name = _anchor(section)
    items = "\n".join(_item(item, words, downloads, languages) for item in section.items)
    effects = _read("effects.html") if section.effects else ""
    paths = _read("paths.html") if section.paths else ""
    return (
        f'<section id="{name}" class="part" data-effects="{len(section.effects)}" '
        f'data-paths="{len(section.paths)}" '
        f'aria-labelledby="{name}-title">\n'
        f'<h2 id="{name}-title" tabindex="-1">{_in_each(section.title, languages)}</h2>\n'
        f'<div class="intro">{_in_each(section.intro, languages, "p")}</div>\n'
        f'<div class="choices"></div>\n{items}\n{effects}{paths}</section>'
    )


def _item(
    item: TableItem | ChartItem | Paragraphs,
    words: Words,
    downloads: dict[str, Any],
    languages: Sequence[Language],
) -> str:
    chosen = escape(embedded(words.numbers(item.choices)))
    if isinstance(item, Paragraphs):
        inside = _paragraphs(item, languages)
    elif isinstance(item, ChartItem):
        inside = _chart(item, languages)
    else:
        inside = _table(item, downloads, languages)
    return f'<div class="item" data-choices="{chosen}">{inside}</div>'


def _paragraphs(item: Paragraphs, languages: Sequence[Language]) -> str:
    """A reading; every line of a paragraph is one of the page."""
    parts = []
    for language in languages:
        lines = [line for text in item.paragraphs for line in text.pick(language).splitlines()]
        body = "".join(f"<p>{escape(clean(line))}</p>" for line in lines if line.strip())
        title = escape(clean(item.title.pick(language)))
        parts.append(f'<div class="{language}" lang="{TAGS[language]}"><h3>{title}</h3>{body}</div>')
    return f'<div class="reading">{"".join(parts)}</div>'


def _chart(item: ChartItem, languages: Sequence[Language]) -> str:
    """The figure in each language, which goes on to the right where the screen is narrow."""
    labels = "".join(f' data-label-{one}="{escape(clean(item.title.pick(one)))}"' for one in LANGUAGES)
    title = _in_each(item.title, languages)
    return f'<p class="chart-title">{title}</p>' + "".join(
        f'<div class="{language} chart" lang="{TAGS[language]}" role="group" tabindex="0"{labels}>'
        f"{item.drawings[language]}</div>"
        for language in languages
    )


def _table(item: TableItem, downloads: dict[str, Any], languages: Sequence[Language]) -> str:
    """The table in each language, and its CSV (of the CSV writer) for the button below it."""
    number = f"t{len(downloads)}"
    parts, texts = [], {}
    for language in languages:
        table, style = item.tables[language], item.styles.get(language, TableStyle(language=language))
        parts.append(f'<div class="{language}">{web.fragment(table, style)}</div>')
        texts[language] = plain.render_csv(table, style).decode("utf-8-sig")
    key = slug(item.tables[languages[0]].key)
    downloads[number] = {"file": key, "text": texts}
    button = f'<button type="button" class="save" data-save="{number}">{_in_each(SAVE, languages)}</button>'
    return f"{''.join(parts)}{button}"


#: About how many classes a map of effects has, as on paper.
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
