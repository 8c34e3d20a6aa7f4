"""One HTML file: the skeleton of ``assets/``, filled with escaped words, tables, and numbers as inert JSON."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from spatial_zb.base.errors import SpecificationError, listed_zh
from spatial_zb.base.text import LANGUAGES, Language, Text
from spatial_zb.report.figures.moran import QUADRANTS
from spatial_zb.report.files import slug, write_atomic
from spatial_zb.report.maps.shaded import CLUSTERS
from spatial_zb.report.page.content import (
    ChartItem,
    Content,
    Paragraphs,
    Remarks,
    Section,
    TableItem,
    Words,
    atlas_data,
    effects_data,
    paths_data,
)
from spatial_zb.report.tables.table import TableStyle
from spatial_zb.report.tables.text import clean
from spatial_zb.report.tables.writers import markup

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
EVERYTHING = Text("Everything else in this part", "本部分其余全部结果")
BY_PLACE = Text("The effects place by place, on a map", "各地区的效应（地图）")
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
    made = _Made(words, languages, _anchors(content, languages))
    sections = "\n".join(_section(s, made) for s in content.sections)
    script, css = _script(), markup.CSS + _read("page.css")
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
        limits=_remarks(content.limits, languages),
        pointer=_pointer(content.warnings, languages),
        warnings=_warnings(content.warnings, languages),
        explorer=_read("explorer.html") if content.atlas else "",
        headline="" if content.headline is None else _headline(content.headline, made),
        sections=sections,
        sources=_list(content.sources, languages),
        review=_in_each(content.review_line, languages),
        colophon=_in_each(content.colophon, languages),
        hide_map="" if content.atlas else "hidden",
        hide_switch="" if len(languages) > 1 else "hidden",
        data=embedded(page_data(content, words, made.downloads)),
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


def _remarks(groups: Sequence[Remarks], languages: Sequence[Language]) -> str:
    """Each group folded under its title and number."""
    parts = []
    for group in groups:
        n = len(group.texts)
        title = Text(f"{group.title.en} ({n})", f"{group.title.zh}（{n}）")
        parts.append(
            f"<details><summary>{_in_each(title, languages)}</summary>{_list(group.texts, languages)}</details>"
        )
    return "".join(parts) or f"<p>{_in_each(NONE, languages)}</p>"


def _pointer(warnings: Sequence[Remarks], languages: Sequence[Language]) -> str:
    """Where the notes of the program are, which can be many."""
    if not warnings:
        return ""
    n = sum(len(group.texts) for group in warnings)
    many = Text(f"Notes of the program ({n}), below", f"程序提示（{n}条），见页末")
    return f'<p><a href="#notes">{_in_each(many, languages)}</a></p>'


def _warnings(warnings: Sequence[Remarks], languages: Sequence[Language]) -> str:
    """Notes of the program, by the stage that said them."""
    if not warnings:
        return ""
    title = f'<h2 id="notes" tabindex="-1">{_in_each(OF_THE_PROGRAM, languages)}</h2>'
    return f'{title}<div class="noted">{_remarks(warnings, languages)}</div>'


def _anchor(section: Section) -> str:
    """Apart from the other ids of the page, whatever the section is called."""
    return f"part-{slug(section.name)}"


def _link(section: Section, languages: Sequence[Language]) -> str:
    return f'<li><a href="#{_anchor(section)}">{_in_each(section.title, languages)}</a></li>'


@dataclass(frozen=True, eq=False)
class _Made:
    """What the items of the page share: words and languages, ids by exhibit, and the tables to be saved so far."""

    words: Words
    languages: Sequence[Language]
    anchors: Mapping[str, TableItem | ChartItem]
    downloads: dict[str, Any] = field(default_factory=dict)

    def id_of(self, item: TableItem | ChartItem | Paragraphs) -> str:
        """Attribute of the element; blank for what no table can name."""
        where = "" if isinstance(item, Paragraphs) else _where(item, self.languages)
        return f' id="{where}"' if where and self.anchors[where] is item else ""


def _where(item: TableItem | ChartItem, languages: Sequence[Language]) -> str:
    key = item.stem if isinstance(item, ChartItem) else item.tables[languages[0]].key
    return markup.anchor(key, figure=isinstance(item, ChartItem)) if key else ""


def _anchors(content: Content, languages: Sequence[Language]) -> dict[str, TableItem | ChartItem]:
    """The first table or figure of each name, by its id."""
    found: dict[str, TableItem | ChartItem] = {}
    every = [item for section in content.sections for item in (*section.items, *section.more)]
    for item in [*every, *([content.headline] if content.headline else [])]:
        if not isinstance(item, Paragraphs):
            found.setdefault(_where(item, languages), item)
    return {where: item for where, item in found.items() if where}


def _section(section: Section, made: _Made) -> str:
    """A heading, the place where a script puts the switches, and every table and paragraph."""
    name, languages = _anchor(section), made.languages
    items = "\n".join(_item(item, made) for item in section.items)
    if section.more:
        folded = "\n".join(_item(item, made) for item in section.more)
        items += f'\n<details class="more"><summary>{_in_each(EVERYTHING, languages)}</summary>\n{folded}</details>'
    effects = _read("effects.html") if section.effects else ""
    paths = _read("paths.html") if section.paths else ""
    if effects or paths:
        title = f"<summary>{_in_each(BY_PLACE, languages)}</summary>"
        effects, paths = f'<details class="more">{title}\n{effects}{paths}</details>\n', ""
    return (
        f'<section id="{name}" class="part" data-effects="{len(section.effects)}" '
        f'data-paths="{len(section.paths)}" '
        f'aria-labelledby="{name}-title">\n'
        f'<h2 id="{name}-title" tabindex="-1">{_in_each(section.title, languages)}</h2>\n'
        f'<div class="intro">{_in_each(section.intro, languages, "p")}</div>\n'
        f'<div class="choices"></div>\n{items}\n{effects}{paths}</section>'
    )


def _headline(chart: ChartItem, made: _Made) -> str:
    return (
        f'<section id="effects-first"><div{made.id_of(chart)}>{_chart(chart, made.languages)}</div></section>'
    )


def _item(item: TableItem | ChartItem | Paragraphs, made: _Made) -> str:
    chosen = escape(embedded(made.words.numbers(item.choices)))
    if isinstance(item, Paragraphs):
        inside = _paragraphs(item, made.languages)
    elif isinstance(item, ChartItem):
        inside = _chart(item, made.languages)
    else:
        inside = _table(item, made)
    return f'<div class="item"{made.id_of(item)} data-choices="{chosen}">{inside}</div>'


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


def _table(item: TableItem, made: _Made) -> str:
    """The table in each language, and its CSV (of the CSV writer) for the button below it."""
    languages, downloads = made.languages, made.downloads
    number = f"t{len(downloads)}"
    parts, texts = [], {}
    for language in languages:
        table, style = item.tables[language], item.styles.get(language, TableStyle(language=language))
        parts.append(f'<div class="{language}">{markup.fragment(table, style, made.anchors)}</div>')
        texts[language] = markup.render_csv(table, style).decode("utf-8-sig")
    key = slug(item.tables[languages[0]].key)
    downloads[number] = {"file": key, "text": texts}
    button = f'<button type="button" class="save" data-save="{number}">{_in_each(SAVE, languages)}</button>'
    return f"{''.join(parts)}{button}"


#: About how many classes a map of effects has, as on paper.


#: Characters that could end the element, open another or end a line of script, as JSON escapes.
_UNSAFE = {ord(ch): f"\\u{ord(ch):04x}" for ch in "<>&\u2028\u2029"}


def page_data(content: Content, words: Words, downloads: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the scripts of the page read. ``words`` also holds what the caller put there before."""
    effects = [part for section in content.sections for part in section.effects]
    paths = [part for section in content.sections for part in section.paths]
    units = {unit: number for number, unit in enumerate(content.atlas.units)} if content.atlas else {}
    data = {
        "study": content.name,
        "review": words.number(content.review_line),
        "atlas": atlas_data(content.atlas, words) if content.atlas else None,
        "effects": [effects_data(part, units, words) for part in effects],
        "paths": [paths_data(part, units, words) for part in paths],
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


# -- the index of a results folder ---------------------------------------------------------------------------

_KINDS = {
    "": Text("To read and to send", "阅读与投稿"),
    "tables": Text("Tables", "表格"),
    "figures": Text("Figures and maps", "图与地图"),
    "tidy": Text("Numbers in full precision", "全精度数据"),
}
#: What the files of the folder itself are.
_FILES = {
    "paper": Text(
        "The paper: findings, data, tables 1–6, figures 1–4, references",
        "论文：结论、数据、表1—6、图1—4、参考文献",
    ),
    "report": Text("The report: everything, to explore", "报告：全部结果，可交互浏览"),
    "manifest": Text("Inputs, versions, settings, notes and checksums", "输入、版本、设置、提示与校验值"),
}


def render_index(
    title: Text, files: Sequence[str], titles: Mapping[str, Text], languages: Sequence[Language] = LANGUAGES
) -> str:
    """A page with a line for every table, figure and frame among ``files``, and links to its formats.

    ``titles``: words by the stem of a file; one without is named by its stem. Nothing is loaded and no script is run.
    """
    groups: dict[str, dict[str, list[str]]] = {kind: {} for kind in _KINDS}
    for path in files:
        kind, _, rest = path.rpartition("/")
        stem = rest.partition(".")[0]
        groups.get(kind.partition("/")[0], groups[""]).setdefault(stem, []).append(path)
    parts = []
    for kind, entries in groups.items():
        if entries:
            lines = "".join(
                _index_line(stem, paths, titles, languages) for stem, paths in sorted(entries.items())
            )
            parts.append(f"<h2>{_both(_KINDS[kind], languages)} ({len(entries)})</h2>\n<ul>{lines}</ul>")
    css = _read("index.css")
    return (
        f'<!DOCTYPE html>\n<html lang="{TAGS[languages[0]]}"><head><meta charset="utf-8">\n'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src '{_digest(css)}'; "
        "base-uri 'none'; form-action 'none'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(clean(title.pick(languages[0])))}</title><style>{css}</style></head>\n"
        f"<body><h1>{_both(title, languages)}</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _both(text: Text, languages: Sequence[Language]) -> str:
    """All languages in a line, once where they are alike."""
    said = dict.fromkeys(clean(text.pick(language)) for language in languages)
    return " · ".join(map(escape, said))


def _index_line(
    stem: str, paths: Sequence[str], titles: Mapping[str, Text], languages: Sequence[Language]
) -> str:
    links = []
    for path in sorted(paths):
        inside = path.split("/")
        place = f"{inside[1]} " if len(inside) > 2 else ""
        ending = inside[-1].partition(".")[2]
        links.append(f'<a href="{quote(path)}">{escape(place + ending)}</a>')
    name = _FILES.get(stem) if "/" not in paths[0] else titles.get(stem)
    words = f"{_both(name, languages)} " if name is not None else ""
    return f"<li>{words}<code>{escape(stem)}</code> <span>{' '.join(links)}</span></li>\n"
