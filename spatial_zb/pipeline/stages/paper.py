"""The paper of a study: what an article shows, in its order; words on the sample and its data, which the page shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import spatial_zb
from spatial_zb.base.errors import listed, listed_zh
from spatial_zb.base.text import Language, Text
from spatial_zb.pipeline.job import Job, MadeTable, Prose, sample_notes, span_words, unit_names
from spatial_zb.pipeline.stages.models import (
    Column,
    choices_of,
    effect_columns,
    regime_notes,
    term_words,
)
from spatial_zb.pipeline.words import (
    as_sentence,
    blank_sentence,
    column_heading,
    paper_figures,
    shares_of_one_total,
)
from spatial_zb.report.tables.table import TableLook
from spatial_zb.study import Model, Study

if TYPE_CHECKING:
    from spatial_zb.report.page import Remarks
    from spatial_zb.report.paper import Exhibit, Paper, Words
    from spatial_zb.report.tables.table import Table


def write_paper(job: Job) -> None:
    """``paper.docx`` and ``paper.tex``; in a second language ``paper.zh.docx`` and ``paper.zh.tex``."""
    from spatial_zb.report.files import write_atomic
    from spatial_zb.report.paper import render_latex, render_word

    if not job.study.output.paper:
        return
    for number, language in enumerate(job.languages):
        paper = _paper(job, language)
        stem = f"paper.{language}" if number else "paper"
        write_atomic(job.place / f"{stem}.docx", render_word(paper))
        write_atomic(job.place / f"{stem}.tex", render_latex(paper))
        job.tick(stem)


DATA, FINDINGS, RESULTS = Text("Data", "数据"), Text("Findings", "主要结论"), Text("Results", "实证结果")
REFERENCES = Text("References", "参考文献")


def _paper(job: Job, language: Language) -> Paper:
    """Findings, data, results with their tables and figures, references."""
    from spatial_zb.report.paper import Heading, Paper, Words

    study, made = job.study, job.made
    blocks: list[Heading | Words | Exhibit] = []
    verdicts = [text.pick(language) for text in made.short_reading()]
    if verdicts:
        joined = (" " if language == "en" else "").join(verdicts)
        blocks += [Heading(FINDINGS.pick(language)), Words(joined)]
    blocks.append(Heading(DATA.pick(language)))
    blocks += [Words(text.pick(language)) for text in sources(study)]
    for group in limits(job):
        blocks.append(Words(f"{group.title.pick(language)}{'.' if language == 'en' else '。'}"))
        blocks += [Words(text.pick(language), "item") for text in group.texts]
    blocks += [Heading(RESULTS.pick(language)), Words(_shown_in(job).pick(language))]
    for tables, figure in paper_exhibits(job):
        for table in tables:
            blocks += _before(job, table, language)
            blocks.append(_table(table, language))
        plate = job.made.plates.get(figure, {}).get(language)
        if plate is not None:
            blocks.append(_figure(plate[0], plate[1]))
    blocks.append(Heading(REFERENCES.pick(language)))
    blocks += [Words(text, "reference") for text in _references(study)]
    blocks.append(Words(colophon(study).pick(language), "item"))
    return Paper(study.general.title.pick(language), facts(job).pick(language), language, tuple(blocks))


def _shown_in(job: Job) -> Text:
    """Where the results are: a heading with tables alone below it would part from them."""
    exhibits = list(paper_exhibits(job))
    tables = sum(len(found) for found, _ in exhibits)
    figures = sum(figure in job.made.plates for _, figure in exhibits)
    said = [(n, a, b) for n, a, b in ((tables, "table", "表"), (figures, "figure", "图")) if n]
    en = " and ".join(f"{word} 1" if n == 1 else f"{word}s 1–{n}" for n, word, _ in said)
    zh = "、".join(f"{word}1" if n == 1 else f"{word}1—{n}" for n, _, word in said)
    return Text(f"The results are in {en}.", f"结果见{zh}。") if said else Text("No results.", "没有结果。")


def _table(item: MadeTable, language: Language) -> Exhibit:
    from spatial_zb.report.paper import Exhibit

    return Exhibit(item.tables[language], item.styles[language])


def _figure(title: str, plate: object) -> Exhibit:
    from spatial_zb.report.paper import Exhibit, Plate

    assert isinstance(plate, Plate)
    return Exhibit(title=title, plate=plate)


def _before(job: Job, table: MadeTable, language: Language) -> list[Words]:
    """What the stages say of what a table shows, above it: what tests point to, effects of each model, a system."""
    from spatial_zb.report.paper import Words

    key = next(iter(table.tables.values())).key
    if table.stage in ("tests", "systems"):
        before = [item for tables, _ in paper_exhibits(job) for item in tables]
        first = next(item for item in before if (item.stage, item.choices) == (table.stage, table.choices))
        said = [item for item in job.made.items if isinstance(item, Prose) and item.stage == table.stage]
        own = [item for item in said if item.choices == table.choices] if table is first else []
        lines = [
            line for item in own[:1] for text in item.paragraphs for line in text.pick(language).splitlines()
        ]
        return [Words(line, "item") for line in lines if line.strip()]
    readings = [r for r in job.made.readings if r.stage == table.stage]
    if table.stage == "compare":
        said = [item for item in job.made.items if isinstance(item, Prose) and item.stage == "compare"]
        return [Words(item.paragraphs[0].pick(language)) for item in said[:1]]
    named = [key.removeprefix("effects_")] if key.startswith("effects_") else []
    told = dict(zip(("effects", "variants", "regimes"), _groups(job.study), strict=True))
    of = next((names for group, names in told.items() if key == SIDE_BY_SIDE[group][0]), named)
    return [Words(r.text.pick(language)) for name in of for r in readings if r.about == name]


# -- the models of a study in one table --------------------------------------------------------------------

#: Keys and titles of the tables of several models.
SIDE_BY_SIDE = {
    "models": ("models_side_by_side", Text("The models side by side", "各模型估计结果")),
    "effects": ("effects_side_by_side", Text("Effects of the models side by side", "各模型的效应")),
    "variants": (
        "models_varied",
        Text("The same under other samples, weights and effects", "更换样本、权重与固定效应的结果"),
    ),
    "regimes": ("models_by_regime", Text("The same by regime", "分区制结果")),
}
ALL_MODELS = Text("All models side by side", "全部模型并列")
#: More columns of all coefficients are too long for a page.
MOST_COLUMNS = 4


def _groups(study: Study) -> tuple[list[str], list[str], list[str]]:
    """Names of the models that an article tells first, of those that vary them, and of those with regimes.

    The first model of each response comes first; so do all where their columns fit one table.
    """
    plain = [model for model in study.models.values() if not model.regimes]
    width = sum(len(study.samples_of(model)) * len(study.weights_of(model)) for model in plain)
    first = {model.y: model for model in reversed(plain)}.values()
    chosen = [model.name for model in plain if model in first or width <= MOST_COLUMNS]
    varied = [model.name for model in plain if model.name not in chosen]
    return chosen, varied, [model.name for model in study.models.values() if model.regimes]


def side_by_side(job: Job, made: Mapping[str, Sequence[Column]]) -> None:
    """The models of a study in one table of estimates and one of effects; in short what varies them."""
    from spatial_zb.report.tables import layouts

    if len(made) < 2:
        return
    study = job.study
    first, varied, regimes = _groups(study)

    def of(names: Sequence[str], *, last: bool) -> list[tuple[Model, Column]]:
        """Columns of the last fixed effects of these models, or of the others."""
        models = [study.models[name] for name in names]
        return [(m, c) for m in models for c in made[m.name] if (c.effects == m.fixed_effects[-1]) == last]

    if main := of(first, last=True):
        columns = _headed(job, main)
        fits = [(c.heading, c.fit) for c in columns]
        _lay_out(job, "models", columns, partial(layouts.regression_table, fits))
        effects = [pair for c in columns for pair in effect_columns([c])]
        _lay_out(job, "effects", columns, partial(layouts.effects_table, effects))
    for group, pairs in (
        ("variants", [*of(first, last=False), *of(varied, last=True)]),
        ("regimes", of(regimes, last=True)),
    ):
        if pairs:
            columns = _headed(job, pairs)
            fits = [(c.heading, c.fit) for c in columns]
            _lay_out(job, group, columns, partial(layouts.regression_table, fits, **_in_short(columns)))


def _headed(job: Job, pairs: Sequence[tuple[Model, Column]]) -> list[Column]:
    """Columns of several models under the titles of these, and what tells columns of one model apart."""
    found = []
    for model, c in pairs:
        several, alike = c.effects != model.fixed_effects[-1], [other for m, other in pairs if m is model]
        heading = model.title
        if len(alike) > 1 or several:
            more = column_heading(job.study, model, c.sample, c.weights, c.kind, several)
            heading = Text(f"{heading.en}: {more.en}", f"{heading.zh}：{more.zh}")
        found.append(replace(c, heading=heading))
    return found


def _in_short(columns: Sequence[Column]) -> dict[str, Any]:
    """The first regressor of each model with its effects; the others are told as controls."""
    first = {c.fit.spec.x[0] for c in columns}
    names = dict.fromkeys(name.removeprefix("W_") for c in columns for name in c.fit.params.index)
    others = {x for c in columns for x in c.fit.spec.x} - first
    effects = [c.delta if c.long is None else c.long for c in columns]
    return {
        "terms": [name for name in names if name.partition("[")[0] in first],
        "controls": [name for name in names if name.partition("[")[0] in others],
        "effects": effects,
    }


def _lay_out(job: Job, group: str, columns: Sequence[Column], build: Callable[..., Table]) -> None:
    from spatial_zb.report.tables.layouts.common import reason_note

    key, title = SIDE_BY_SIDE[group]
    words: dict[str, Text] = {}
    for c in columns:
        words |= {**term_words(job, [c]), c.fit.spec.y: job.prepared.panel.label(c.fit.spec.y)}
    said = regime_notes(columns) if group == "regimes" else []
    if group in ("variants", "regimes"):
        said += [LONG_RUN] if any(c.long is not None for c in columns) else []
        said += [reason_note(c.heading, c.delta.reason.text) for c in columns if c.delta.reason is not None]
    specs = {(c.fit.spec.y, *c.fit.spec.x) for c in columns}
    said += dict.fromkeys(note for names in sorted(specs) for note in shares_of_one_total(job.study, names))
    notes = [*said, *sample_notes(job, *dict.fromkeys(c.sample for c in columns)), *job.prepared.sources]
    look = TableLook(title=title, key=key, notes=notes, words=words)
    job.table(build, look, choices_of(job.study, ALL_MODELS, columns))


LONG_RUN = Text("Effects of dynamic models are those of the long run.", "动态模型的效应为长期效应。")


def paper_exhibits(job: Job) -> Iterator[tuple[list[MadeTable], str]]:
    """Tables and the figure below them, in the order of an article; what a study does not have is left out."""
    found: dict[str, MadeTable] = {}
    for item in job.made.items:
        if isinstance(item, MadeTable):
            found.setdefault(next(iter(item.tables.values())).key, item)
    figures = dict(zip(("map", "moran", "effects", "robustness"), paper_figures(job.study), strict=True))
    models, systems = list(job.study.models.values()), list(job.study.systems)
    of = models[0].name if models else ""
    regression = [key for key in found if models and found[key].stage == "models" and key.endswith(f"_{of}")]
    system = [key for key in found if systems and found[key].stage == "systems"]
    effects = [key for key in (regression or system) if "effects_" in key][:1]
    main = [key for key in (regression or system) if "effects_" not in key][:1]
    together = {name: [key] if key in found else [] for name, (key, _) in SIDE_BY_SIDE.items()}
    main, effects = together["models"] or main, together["effects"] or effects
    also = [key for key in system if key.startswith(f"system_{systems[0]}_")] if models else []
    also = [key for k, key in enumerate(also) if not k or key.endswith(("_granger", "_identification"))]
    tests = [f"tests_{of}"] if models else [key for key in system if key.endswith("_identification")]
    robust = [key for key in ("compare_robustness", "compare_weights", "compare_models") if key in found][:1]
    moran = [key for key in found if found[key].stage == "moran"][:1]
    order: Sequence[tuple[Sequence[str], str]] = (
        (["descriptives"], figures["map"]),
        (moran or [key for key in found if key in job.study.coupling], figures["moran"]),
        (tests, ""),
        (main, ""),
        (effects, figures["effects"]),
        ([*together["variants"], *together["regimes"]], ""),
        (robust, figures["robustness"]),
        (also, ""),
    )
    for keys, figure in order:
        yield [found[key] for key in keys if key in found], figure


def _references(study: Study) -> Iterator[str]:
    """Works that the methods of a study rest on, by the name of the first author."""
    fits = len(study.models) + len(study.systems)
    errors = {m.covariance for m in study.models.values()} | {m.covariance for m in study.systems.values()}
    maps, asked = study.maps, study.compare
    lag = any(model.time_lag for model in study.models.values())
    used: dict[str, Callable[[], bool]] = {
        "anselin_lisa": lambda: maps is not None and maps.clusters is not None,
        "anselin_lm": lambda: bool(study.models),
        "barro": lambda: study.dynamics is not None and bool(study.dynamics.beta),
        "bell": lambda: "cluster" in errors,
        "benjamini": lambda: maps is not None and maps.clusters is not None,
        "dagum": lambda: study.dynamics is not None and bool(study.dynamics.inequality),
        "driscoll": lambda: "driscoll_kraay" in errors,
        "kelejian": lambda: bool(study.systems),
        "lee_yu": lambda: bool(study.models),
        "lesage_bayes": lambda: asked is not None and asked.probabilities is not None,
        "lesage_pace": lambda: bool(fits),
        "montiel": lambda: bool(study.systems),
        "moran": lambda: study.moran is not None,
        "simonsohn": lambda: asked is not None,
        "yu": lambda: lag,
    }
    yield from (WORKS[name] for name, wanted in used.items() if wanted())


WORKS = {
    "anselin_lisa": "Anselin, L. (1995). Local indicators of spatial association—LISA. Geographical Analysis 27: 93–115.",
    "anselin_lm": (
        "Anselin, L., Bera, A. K., Florax, R. and Yoon, M. J. (1996). Simple diagnostic tests for spatial "
        "dependence. Regional Science and Urban Economics 26: 77–104."
    ),
    "barro": "Barro, R. J. and Sala-i-Martin, X. (1992). Convergence. Journal of Political Economy 100: 223–251.",
    "bell": (
        "Bell, R. M. and McCaffrey, D. F. (2002). Bias reduction in standard errors for linear regression "
        "with multi-stage samples. Survey Methodology 28: 169–181."
    ),
    "benjamini": (
        "Benjamini, Y. and Hochberg, Y. (1995). Controlling the false discovery rate: a practical and "
        "powerful approach to multiple testing. Journal of the Royal Statistical Society B 57: 289–300."
    ),
    "dagum": (
        "Dagum, C. (1997). A new approach to the decomposition of the Gini income inequality ratio. Empirical"
        " Economics 22: 515–531."
    ),
    "driscoll": (
        "Driscoll, J. C. and Kraay, A. C. (1998). Consistent covariance matrix estimation with spatially "
        "dependent panel data. Review of Economics and Statistics 80: 549–560."
    ),
    "kelejian": (
        "Kelejian, H. H. and Prucha, I. R. (2004). Estimation of simultaneous systems of spatially "
        "interrelated cross sectional equations. Journal of Econometrics 118: 27–50."
    ),
    "lee_yu": (
        "Lee, L. F. and Yu, J. (2010). Estimation of spatial autoregressive panel data models with fixed "
        "effects. Journal of Econometrics 154: 165–185."
    ),
    "lesage_bayes": (
        "LeSage, J. P. (2014). Spatial econometric panel data model specification: a Bayesian approach. "
        "Spatial Statistics 9: 122–145."
    ),
    "lesage_pace": "LeSage, J. P. and Pace, R. K. (2009). Introduction to Spatial Econometrics. Boca Raton: CRC Press.",
    "montiel": (
        "Montiel Olea, J. L. and Pflueger, C. (2013). A robust test for weak instruments. Journal of Business"
        " & Economic Statistics 31: 358–369."
    ),
    "moran": "Moran, P. A. P. (1950). Notes on continuous stochastic phenomena. Biometrika 37: 17–23.",
    "simonsohn": (
        "Simonsohn, U., Simmons, J. P. and Nelson, L. D. (2020). Specification curve analysis. Nature Human "
        "Behaviour 4: 1208–1214."
    ),
    "yu": (
        "Yu, J., de Jong, R. and Lee, L. F. (2008). Quasi-maximum likelihood estimators for spatial dynamic "
        "panel data with fixed effects when both n and T are large. Journal of Econometrics 146: 118–134."
    ),
}


# -- words on the sample, which the page shares ------------------------------------------------------------

SUSPECT = {
    "blank": Text("Treated as blank", "按空缺处理"),
    "keep": Text("Kept as printed, though suspect", "存疑但按刊印值保留"),
}
FILLED = Text("Blank cells", "空缺处理")


def facts(job: Job) -> Text:
    study = job.study
    label, n = study.samples[study.main_sample].label, len(job.prepared.samples[study.main_sample])
    years = span_words(job.prepared.panel.periods)
    return Text(f"{label.en}, {n} units, {years.en}", f"{label.zh}，{n}个地区，{years.zh}")


def limits(job: Job) -> Iterator[Remarks]:
    """What is a proxy, simulated, filled or left out, by what it is about."""
    from spatial_zb.report.page import Remarks

    groups = (
        (OF_THE_DATA, job.study.data.limits),
        (OF_FIGURES, _doubtful(job)),
        (OF_NUMBERS, _computed(job)),
    )
    for title, texts in groups:
        said = tuple(map(as_sentence, texts))
        if said:
            yield Remarks(title, said)


OF_THE_DATA = Text("Limits of the data", "数据的局限")
OF_FIGURES = Text("Figures that are blank, suspect or left out", "空缺、存疑与未纳入的数据")
OF_NUMBERS = Text("How it was computed", "计算说明")


def _computed(job: Job) -> Iterator[Text]:
    general = job.study.general
    if not job.study.mapped:
        yield Text(
            "No maps: the study names no polygons ([regions])", "没有地图：研究文件未给出底图（[regions]）"
        )
    if job.study.moran is not None:
        yield Text(
            f"P-values of Moran’s I come from {general.permutations:,} random permutations (seed {general.seed}).",
            f"莫兰指数的p值由{general.permutations:,}次随机置换得到（随机种子{general.seed}）。",
        )


def _doubtful(job: Job) -> Iterator[Text]:
    """Cells and units that the study does not take as they are printed, and why."""
    study = job.study
    if len(job.prepared.filled):
        yield blank_sentence(job.prepared.filled)
    if not job.prepared.panel.balanced:
        there, cells = job.prepared.panel.present.sum(), job.prepared.panel.present.size
        yield Text(
            f"Not every unit is there in every year: {there:,} of {cells:,} unit-periods (table “Units absent in some "
            "periods”); spatial lags and statistics are those among the units present.",
            f"并非各地区每年都存在：{cells:,}个地区-时期中有{there:,}个（见“部分时期不存在的地区”表）；"
            "空间滞后与统计量均在当期存在的地区之间计算。",
        )
    doubtful = [(SUSPECT[entry.rule], entry.reason) for entry in study.suspect]
    if study.data.flags is not None:
        file, kinds = study.data.flags, study.data.flag_kinds
        said = Text(
            f"cells flagged as {listed(kinds)} in {file}", f"{file}中标记为{listed_zh(kinds)}的单元格"
        )
        doubtful.append((SUSPECT["blank"], said))
    for words, reason in (*doubtful, *((FILLED, entry.reason) for entry in study.missing)):
        yield Text(f"{words.en}: {reason.en}", f"{words.zh}：{reason.zh}")
    names = unit_names(job.prepared)
    gone = [names.get(unit, Text.of(unit)) for unit in job.prepared.left_out(study.main_sample)]
    if gone:
        yield Text(
            f"Left out for lack of data: {', '.join(name.en for name in gone)}",
            f"因缺数据未纳入：{'、'.join(name.zh for name in gone)}",
        )


def sources(study: Study) -> Iterator[Text]:
    if study.data.source is not None:
        yield as_sentence(Text(f"Data: {study.data.source.en}", f"数据：{study.data.source.zh}"))
    if study.regions is not None and study.regions.source is not None:
        yield as_sentence(Text(f"Polygons: {study.regions.source.en}", f"底图：{study.regions.source.zh}"))
    for constant in study.constants.values():
        yield as_sentence(
            Text(f"{constant.label.en}: {constant.source.en}", f"{constant.label.zh}：{constant.source.zh}")
        )


def colophon(study: Study) -> Text:
    version, seed, print_ = spatial_zb.__version__, study.general.seed, study.sha256[:12]
    return Text(
        f"Made by spatial_zb {version} from {study.path.name} (SHA-256 {print_}…), seed {seed}. "
        "manifest.json beside this page names every input and result.",
        f"由spatial_zb {version}根据{study.path.name}生成（SHA-256 {print_}…），随机种子{seed}。"
        "同一文件夹中的manifest.json列出全部输入与结果。",
    )
