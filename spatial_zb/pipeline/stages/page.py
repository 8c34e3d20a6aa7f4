"""Stage report: one page with what all stages of the run made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from spatial_zb.base.errors import SpatialZbError
from spatial_zb.base.notes import warn
from spatial_zb.base.text import Text
from spatial_zb.core.statistics import moran_i
from spatial_zb.data.panel import Panel
from spatial_zb.effects import effects_by_unit
from spatial_zb.effects.static import last_period
from spatial_zb.effects.system import units_of_system
from spatial_zb.models.fit import Fit
from spatial_zb.models.system.fit import SystemFit
from spatial_zb.pipeline.job import (
    Estimated,
    Job,
    MadeFigure,
    MadeTable,
    Prose,
    present,
    shown_regions,
    unit_names,
)
from spatial_zb.pipeline.stages.exploration import clusters_words, model_variables
from spatial_zb.pipeline.stages.paper import colophon, facts, limits, paper_exhibits, sources, write_paper
from spatial_zb.pipeline.words import STAGE_WORDS, step_of, warn_undone
from spatial_zb.study import Study
from spatial_zb.weights.matrix import Weights
from spatial_zb.weights.periods import weights_among

if TYPE_CHECKING:
    from spatial_zb.report.page import (
        Atlas,
        ChartItem,
        MoranSeries,
        Paragraphs,
        Section,
        TableItem,
        UnitEffects,
        Variable,
    )


REPORT = "report.html"
#: More maps of effects than these would make the page heavy (about three kilobytes each for 90 units).
MOST_EFFECTS = 300


def report_study(job: Job) -> list[Text]:
    """The page and the paper of a study, from what the stages before have made."""
    write_page(job)
    write_paper(job)
    return []


def write_page(job: Job) -> None:
    """Put the offline report together from what the stages before it have made."""
    from spatial_zb.report.page import ChartItem, Content, Remarks, write_report

    study, prepared = job.study, job.prepared
    if not study.output.report:
        return
    atlas = _atlas(job) if study.mapped else None
    headline = _headline(job)
    sections = _sections(job, atlas.units if atlas else (), headline)
    content = Content(
        name=study.name,
        title=study.general.title,
        facts=facts(job),
        sections=sections,
        atlas=atlas,
        findings=tuple(job.made.short_reading()),
        headline=None
        if headline is None
        else ChartItem(headline.title, headline.drawings, stem=headline.stem),
        limits=tuple(limits(job)),
        warnings=tuple(
            Remarks(title, tuple(remark.text for remark in group))
            for title, group in job.made.remarks(STAGE_WORDS).items()
        ),
        sources=tuple(sources(study)),
        review_number=study.review_number,
        colophon=colophon(study),
        choice_words=CHOICES,
    )
    write_report(content, job.place / REPORT, job.languages)
    job.tick(f"{REPORT} · {len(prepared.samples[study.main_sample])}")


CHOICES = {
    "model": Text("Model", "模型"),
    "sample": Text("Sample", "样本"),
    "weights": Text("Weights matrix", "空间权重矩阵"),
    "fixed_effects": Text("Fixed effects", "固定效应"),
    "method": Text("Estimation method", "估计方法"),
    "variable": Text("Variable", "变量"),
    "term": Text("Change in", "变动的变量"),
    "response": Text("Response of", "响应的变量"),
    "scenario": Text("Scenario", "情景"),
}

#: Heading and introduction of the part of the page that a stage fills.
PARTS = {
    "data": (
        Text("The sample", "样本与数据"),
        Text("What the variables are, and how they vary.", "变量定义与描述性统计。"),
    ),
    "moran": (
        Text("Spatial autocorrelation", "空间自相关"),
        Text(
            "Moran’s I: whether units are like their neighbours, under each weights matrix.",
            "莫兰指数：各权重矩阵下地区与其邻接地区是否相似。",
        ),
    ),
    "dynamics": (
        Text("Change over time", "动态演进"),
        Text(
            "How the distribution over units moves: densities, centres, inequality and its parts, convergence.",
            "各地区分布的变化：核密度、重心、差异及其分解、收敛。",
        ),
    ),
    "tests": (
        Text("Specification tests", "设定检验"),
        Text(
            "The chain of tests, and the model it points to. Tests guide the choice of a model; they do not prove it.",
            "检验序列及其所指向的模型。检验只为模型选择提供依据，并不证明模型成立。",
        ),
    ),
    "models": (
        Text("Spatial models", "空间计量模型"),
        Text(
            "Estimates and effects. Coefficients of a model with a spatial lag are no effects: read the table of effects.",
            "估计结果与效应。含空间滞后项时系数并非效应，应以效应表为准。",
        ),
    ),
    "systems": (
        Text("Simultaneous systems", "空间联立方程"),
        Text(
            "Equations that explain each other. Over time, the order of time tells them apart; within a year all rests on "
            "the exclusions, which the identification table judges.",
            "相互解释的方程组。动态系统以时间先后相区分；当期系统以排除约束成立为前提，见识别检验表。",
        ),
    ),
    "compare": (
        Text("Comparisons and robustness", "比较与稳健性"),
        Text("How much the results depend on choices.", "结果对各项选择的依赖程度。"),
    ),
    "claims": (
        Text("What the theory says", "理论论断"),
        Text(
            "Every claim of the theory that names something measurable, and what these figures say to it.",
            "理论中凡可测度的论断，以及这些数据给出的回答。",
        ),
    ),
    "crosscheck": (
        Text("Beside other programs", "与其他程序对照"),
        Text(
            "The same models and statistics by spreg and esda, with the reason for each difference.",
            "以spreg与esda计算的同一模型与统计量，及各差异的原因。",
        ),
    ),
    "maps": (Text("Scenarios, by distance, behind the maps", "情景模拟、距离与地图附表"), Text("", "")),
}

IN_WORDS = Text("In words", "文字解读")


# -- tables, paragraphs, effects ---------------------------------------------------------------------------


def _headline(job: Job) -> MadeFigure | None:
    """The effects of the first model, or what another stage than the sample draws first: below the map."""
    drawn = [item for item in job.made.items if isinstance(item, MadeFigure)]
    models = [item for item in drawn if item.stage == "models"]
    return next(iter(models or drawn), None)


def _folded(items: Sequence[MadeTable | MadeFigure | Prose], exhibits: Sequence[MadeTable]) -> list[bool]:
    """Whether an item is folded: all but words, claims, tables of the paper, and their like of other models and samples."""
    kinds = {(item.stage, _kind(item)) for item in exhibits if item.choices}
    return [
        not (
            isinstance(item, Prose)
            or item.stage == "claims"
            or item in exhibits
            or (isinstance(item, MadeTable) and (item.stage, _kind(item)) in kinds)
        )
        for item in items
    ]


def _kind(item: MadeTable) -> str:
    """What a table is of whatever the model: the key up to the first name in it."""
    return next(iter(item.tables.values())).key.split("_")[0]


def _sections(job: Job, units: Sequence[str], headline: MadeFigure | None) -> tuple[Section, ...]:
    """A part of the page for every stage that made something, in the order of work."""
    from spatial_zb.report.page import Section

    made = job.made
    exhibits = [table for tables, _ in paper_exhibits(job) for table in tables]
    if job.study.models:  # the words of a system are enough beside models; its tables are folded
        exhibits = [table for table in exhibits if table.stage != "systems"]
    sections = []
    for stage in made.stages:
        title, intro = PARTS.get(stage, (Text.of(stage.capitalize()), Text("", "")))
        own = [item for item in made.items if item.stage == stage and item is not headline]
        folded = _folded(own, exhibits)
        items = [_item(item) for item, away in zip(own, folded, strict=True) if not away]
        more = tuple(_item(item) for item, away in zip(own, folded, strict=True) if away)
        effects = _unit_effects(job, [fit for fit in made.fits if fit.stage == stage], units)
        paths = tuple(part for of, part in made.paths if of == stage and set(part.units) <= set(units))
        sections.append(Section(stage, title, intro, (*_in_words(job, stage), *items), effects, paths, more))
    return tuple(sections)


def _item(item: MadeTable | MadeFigure | Prose) -> TableItem | ChartItem | Paragraphs:
    from spatial_zb.report.page import ChartItem, Paragraphs, TableItem

    if isinstance(item, MadeFigure):
        return ChartItem(item.title, item.drawings, item.choices, item.stem)

    if isinstance(item, MadeTable):
        return TableItem(item.tables, item.styles, item.choices)
    return Paragraphs(item.title, item.paragraphs, item.choices)


def _in_words(job: Job, stage: str) -> list[Paragraphs]:
    from spatial_zb.report.page import Paragraphs

    lines = tuple(r.text for r in job.made.readings if r.stage == stage and not r.aside)
    return [Paragraphs(IN_WORDS, lines)] if lines else []


def _unit_effects(job: Job, fits: Sequence[Estimated], units: Sequence[str]) -> tuple[UnitEffects, ...]:
    """Maps of effects of the fits whose units are on the map, those of the last fixed effects first."""
    found: list[UnitEffects] = []
    for fit in sorted(fits, key=lambda fit: (_first_of(fits, fit), -fits.index(fit))):
        known = fit.effects is not None and fit.effects.reason is None
        if not known or not set(fit.fit.panel.units) <= set(units):
            continue
        try:
            found += _of_system(job, fit) if isinstance(fit.fit, SystemFit) else _of_equation(job, fit)
        except SpatialZbError as error:
            what = Text(f"No map of the effects of {fit.title.en}", f"未绘制{fit.title.zh}的效应地图")
            warn_undone(what, error)
    if len(found) > MOST_EFFECTS:
        warn(
            f"The report maps the first {MOST_EFFECTS} of {len(found)} effects; the tables have all.",
            f"效应共{len(found)}项，报告只绘制前{MOST_EFFECTS}项的地图，表格列出全部。",
        )
    return tuple(found[:MOST_EFFECTS])


def _first_of(fits: Sequence[Estimated], fit: Estimated) -> int:
    """Where the fits of the same model, sample and weights begin."""
    same = ("model", "sample", "weights")
    return next(i for i, f in enumerate(fits) if all(f.choices.get(k) == fit.choices.get(k) for k in same))


def _of_equation(job: Job, estimated: Estimated) -> Iterator[UnitEffects]:
    from spatial_zb.report.reading import effect_reading

    fit, effects = estimated.fit, estimated.effects
    assert isinstance(fit, Fit), "of one equation"
    assert effects is not None, "a fit that has effects"
    if not (fit.spec.lag_y or fit.spec.lag_x):
        return
    averages, where = effects.tidy(), _where(estimated)
    y = step_of(job.study, fit.panel, fit.spec.y)
    for term in fit.spec.regressors:
        reading = effect_reading(averages, term, step_of(job.study, fit.panel, term), y, where)
        choices = {**estimated.choices, "term": _dated(job.prepared.labels.get(term, Text.of(term)), fit)}
        yield _by_unit(effects_by_unit(fit, term, period=last_period(fit)), choices, reading)


def _of_system(job: Job, estimated: Estimated) -> Iterator[UnitEffects]:
    """What a shock in one equation does to the others."""
    from spatial_zb.report.reading import system_reading, system_verdict

    fit, effects, panel = estimated.fit, estimated.effects, job.prepared.panel
    assert isinstance(fit, SystemFit), "of a system"
    assert effects is not None, "a fit that has effects"
    labels = {
        equation: panel.label(y) for equation, y in zip(fit.spec.names, fit.spec.endogenous, strict=True)
    }
    endogenous = zip(fit.spec.names, fit.spec.endogenous, strict=True)
    steps = {equation: step_of(job.study, fit.panel, y) for equation, y in endogenous}
    averages, where = effects.tidy(), _where(estimated)
    found = fit.identification(), fit.exclusion_tests()
    verdict = system_verdict(*found, fit.method, labels, job.prepared.labels)
    for response in fit.spec.names:
        for cause in fit.spec.names:
            if cause == response:
                continue
            source = f"shock:{cause}"
            rows = averages[(averages["source"] == source) & (averages["response"] == response)]
            reading = system_reading(rows, steps, where, verdict)
            choices = {**estimated.choices, "term": _dated(labels[cause], fit), "response": labels[response]}
            yield _by_unit(units_of_system(fit, response, source, last_period(fit)), choices, reading)


def _dated(word: Text, fit: Fit | SystemFit) -> Text:
    """With the year of the map, where each has its own."""
    year = last_period(fit)
    return word if year is None else Text(f"{word.en} ({year})", f"{word.zh}（{year}年）")


def _by_unit(frame: pd.DataFrame, choices: dict[str, Text], reading: Text) -> UnitEffects:
    from spatial_zb.report.page import UnitEffects

    direct, received, emitted = (frame[name].to_numpy() for name in ("direct", "received", "emitted"))
    return UnitEffects(choices, tuple(frame.index), direct, received, emitted, reading)


def _where(estimated: Estimated) -> Text:
    parts = list(estimated.choices.values())
    return Text(", ".join(part.en for part in parts), "，".join(part.zh for part in parts))


# -- the map -----------------------------------------------------------------------------------------------


def _atlas(job: Job) -> Atlas:
    """The main sample, with the units that have no data, and all its variables."""
    from spatial_zb.report.page import Atlas, draw_outlines

    study, prepared = job.study, job.prepared
    sample = study.main_sample
    shown = shown_regions(job)
    names = unit_names(prepared)
    matrices = study.weights_of(study.moran) if study.moran else tuple(study.weights)
    return Atlas(
        units=tuple(shown.index),
        names=tuple(names.get(unit, Text.of(str(unit))) for unit in shown.index),
        outlines=draw_outlines(shown, crs=present(study.regions).projected_crs),
        periods=tuple(prepared.panel.periods),
        variables=tuple(_variable(job, name, shown.index, matrices) for name in _mapped(job)),
        weights={name: study.weights[name].label for name in matrices},
        clusters_note=_clusters_note(study, len(prepared.samples[sample])),
        scheme="quantile" if study.maps is None else study.maps.scheme,
        classes=5 if study.maps is None else study.maps.classes,
    )


def _mapped(job: Job) -> list[str]:
    """Variables of the maps and of Moran's I first, then those of the models."""
    study = job.study
    first = [name for part in (study.maps, study.moran) if part for name in part.variables]
    return list(dict.fromkeys([*first, *model_variables(study)]))


def _variable(job: Job, name: str, units: pd.Index, matrices: Sequence[str]) -> Variable:
    from spatial_zb.report.page import Variable

    panel = job.prepared.sample(job.study.main_sample)
    values = pd.DataFrame(panel.array(name).T, index=panel.units).reindex(units).to_numpy().T
    codes = {
        period: tuple(found.reindex(units).astype(object).where(lambda c: c.notna(), None))
        for (variable, period), found in job.made.clusters.items()
        if variable == name
    }
    series = {W: _series(job, name, W, units) for W in matrices} if _has_moran(panel, name) else {}
    maps = job.study.maps
    if maps is None:
        return Variable(name, panel.label(name), values, series, codes, of_period=job.study.own_period(name))
    center = maps.center_of(name)
    return Variable(
        name,
        panel.label(name),
        values,
        series,
        codes,
        breaks=maps.breaks_of(name) if name in maps.variables else None,
        palette="sequential" if center == "none" else None,
        center=None if isinstance(center, str) else center,
        of_period=job.study.own_period(name),
    )


def _has_moran(panel: Panel, name: str) -> bool:
    """Whether Moran's I is defined in every period, of the units that are there where they come and go."""
    rows = panel.rows(name) if panel.uneven else panel.present
    values = [x[row] for x, row in zip(panel.array(name), rows, strict=True)]
    return all(len(x) and np.isfinite(x).all() and np.ptp(x) > 0 for x in values)


def _series(job: Job, variable: str, name: str, units: pd.Index) -> MoranSeries:
    """The Moran scatter of every period: (n/S₀) Wz, with the tested I where stage moran has it.

    As in :func:`spatial_zb.report.figures.moran.moran_scatter`: with the factor the slope is I for any W.
    """
    from spatial_zb.report.page import MoranSeries

    study = job.study
    panel, every = job.prepared.sample(study.main_sample), job.prepared.weights(name, study.main_sample)
    rows = panel.rows(variable) if panel.uneven else panel.present
    lags, values = [], []
    for period, x, row in zip(panel.periods, panel.array(variable), rows, strict=True):
        weights = weights_among(every, panel.units[row], period)
        z = pd.Series((x[row] - x[row].mean()) / x[row].std(), panel.units[row])[weights.ids].to_numpy()
        lag = pd.Series(_scale(weights) * (weights.matrix @ z), weights.ids)
        lags.append(lag.drop(weights.islands).reindex(units).to_numpy())
        values.append(moran_i(z, weights.matrix).value)
    tested = job.made.moran.get((study.main_sample, variable, name))
    if tested is None:
        statistic, p_value = np.array(values), np.full(len(values), np.nan)
    else:
        # Of a variable that is of one year there is one test for all rows.
        numbers = tested.table()[["I", "p_sim"]].to_numpy(float)
        statistic, p_value = np.broadcast_to(numbers, (len(values), 2)).T
    return MoranSeries(np.array(lags), statistic, p_value)


def _scale(weights: Weights) -> float:
    """n/S₀ with n the units that have neighbours: one for row-normalised weights."""
    return (weights.n - len(weights.islands)) / weights.matrix.sum()


def _clusters_note(study: Study, units: int) -> Text:
    if study.maps is None or not study.maps.clusters:
        return Text("", "")
    return clusters_words(study, study.maps.clusters[0], units)
