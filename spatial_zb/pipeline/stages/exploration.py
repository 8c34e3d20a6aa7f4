"""Stages data and moran: the sample, its weights and concentration, and how variables cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import pandas as pd

from spatial_zb import indices
from spatial_zb.base.errors import DataError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.explore import bivariate_moran, moran, pooled_moran
from spatial_zb.explore.checks import MoranTable, permutations_for
from spatial_zb.pipeline.inputs import graded_frame, index_definition, index_weights_frame
from spatial_zb.pipeline.job import Job, Verdict, figure_note, present, sample_notes, unit_names, weights_note
from spatial_zb.pipeline.prepare import Prepared
from spatial_zb.pipeline.words import (
    ABSENT_RULE,
    RULE_WORDS,
    as_sentence,
    column_words,
    source_note,
    weights_words,
)
from spatial_zb.report import figures
from spatial_zb.report.drawing.frame import Look
from spatial_zb.report.tables.table import TableLook
from spatial_zb.study import Study
from spatial_zb.weights import compare_weights, report_by_period
from spatial_zb.weights.matrix import Weights


def write_concentration(job: Job, names: Mapping[str, Text]) -> None:
    """The tables of ``[concentration]``: sectors by period, pairs of sectors and units in the ends of the sample."""
    from spatial_zb.report.tables.layouts.exploration import pairs_table, sectors_table, units_table

    chosen, study = job.study.concentration, job.study
    if chosen is None:
        return
    panel = job.prepared.sample(study.main_sample)
    frame = panel.frame().set_index(["unit", "period"])
    amounts, total = frame[list(chosen.sectors)], None if chosen.total is None else frame[chosen.total]
    found = {"hhi": indices.herfindahl(amounts, "sectors"), "gini": indices.locational_gini(amounts, total)}
    if chosen.plant_hhi is not None:
        found["gamma"] = indices.ellison_glaeser(amounts, pd.Series(chosen.plant_hhi), total)
    pairs = indices.pairwise_coagglomeration(amounts)
    units = indices.krugman_specialisation(_with_rest(job, amounts)).unstack("period").loc[panel.units]
    ends = list(dict.fromkeys([panel.periods[0], panel.periods[-1]]))
    notes = [*sample_notes(job, study.main_sample), *job.prepared.sources]
    labels = panel.labels
    reference = None if chosen.total is None else panel.label(chosen.total)
    job.table(lambda look: sectors_table(found, reference, look=look), TableLook(notes=notes, words=labels))
    job.table(lambda look: pairs_table(pairs, ends[-1], look=look), TableLook(notes=notes, words=labels))
    job.table(
        lambda look: units_table(units[ends], reference, look=look), TableLook(notes=notes, words=names)
    )
    job.tidy("concentration", pd.concat(found, names=["index"]).reset_index())
    job.tidy("coagglomeration", pairs.reset_index())
    job.tidy("specialisation", units.rename_axis("unit").reset_index())


def _with_rest(job: Job, amounts: pd.DataFrame) -> pd.DataFrame:
    """The sectors, and what the total holds beside them."""
    name = present(job.study.concentration).total
    if name is None:
        return amounts
    total = job.prepared.sample(job.study.main_sample).frame().set_index(["unit", "period"])[name]
    rest = total - amounts.sum(axis=1)
    if (rest < 0).any():
        place = job.study.place("concentration.total")
        cells = [f"{unit} {period}" for unit, period in rest.index[rest < 0]]
        raise DataError(
            f"{place.en}: the sectors are more than {name!r} at {listed(cells)}.",
            f"{place.zh}：行业之和在{listed_zh(cells)}超过{name!r}。",
        )
    return amounts.assign(**{"": rest})


def write_weights(job: Job) -> None:
    """One row per matrix; with two or more, their overlap and correlation, and a warning of those nearly one."""
    from spatial_zb.report.tables.layouts.sample import overlap_table, weights_table

    study = job.study
    every = {name: job.prepared.weights(name, study.main_sample) for name in study.weights}
    matrices = {name: W for name, W in every.items() if isinstance(W, Weights)}  # others: by period, below
    words, notes = weights_words(study), sample_notes(job, study.main_sample)
    if len(matrices) == 1:
        facts = [{**W.report().summary, "weights": name} for name, W in matrices.items()]
        overview = pd.DataFrame(facts)
    else:
        compared = compare_weights(matrices)
        overview = compared.glance()
        job.table(lambda look: overlap_table(compared.tidy(), look=look), TableLook(notes=notes, words=words))
        job.tidy("weights_overlap", compared.tidy())
    job.table(lambda look: weights_table(overview, look=look), TableLook(notes=notes, words=words))
    job.tidy("weights", overview)
    if not job.prepared.panel.balanced or len(matrices) < len(every):
        _write_by_period(job)


def _write_by_period(job: Job) -> None:
    """What each W is among the units present in each period: a table for each, tidy all in one."""
    from spatial_zb.report.tables.layouts.sample import period_weights_table

    study, words = job.study, weights_words(job.study)
    panel, notes, found = job.prepared.sample(study.main_sample), sample_notes(job, study.main_sample), []
    for name in study.weights:
        report = report_by_period(job.prepared.weights(name, study.main_sample), panel)
        look = TableLook(key=f"weights_by_period_{name}", notes=[ABSENT_RULE[report.absent], *notes])
        build = partial(period_weights_table, report.tidy())
        job.table(lambda look, build=build: build(look=look), look, {"weights": words[name]})
        found.append(report.tidy().assign(weights=name))
    job.tidy("weights_by_period", pd.concat(found, ignore_index=True))


def describe(job: Job) -> list[Text]:
    """Definitions, descriptive statistics, the cells that were filled, indices and weights."""
    from spatial_zb.report.tables import layouts

    prepared, study = job.prepared, job.study
    panel = prepared.sample(study.main_sample)
    names = model_variables(study)
    rows = [_definition(study, prepared, name) for name in names]
    job.table(lambda look: layouts.definitions_table(rows, look=look), TableLook(notes=prepared.sources))
    job.table(
        lambda look: layouts.descriptives_table(panel, names, look=look),
        TableLook(notes=prepared.sources, words=prepared.labels),
    )
    related = list(dict.fromkeys(n for m in study.models.values() for n in (m.y, *m.x))) or names
    if len(related) > 1:
        job.table(
            lambda look: layouts.correlations_table(panel, related, _regressors(study), look=look),
            TableLook(notes=prepared.sources, words=prepared.labels),
        )
    if len(prepared.filled):
        words = prepared.labels | unit_names(prepared) | RULE_WORDS | column_words(study)
        reasons = [
            *(as_sentence(entry.reason) for entry in study.suspect if entry.rule == "blank"),
            *(as_sentence(entry.reason) for entry in study.missing),
        ]
        job.table(
            lambda look: layouts.missing_table(prepared.filled, look=look),
            TableLook(notes=[*reasons, *prepared.sources[:1]], words=words),
        )
        job.tidy("missing", prepared.filled)
    if not prepared.panel.balanced:
        said = [] if study.data.source is None else [source_note(study.data.source)]
        job.table(
            lambda look: layouts.absences_table(prepared.absences, look=look),
            TableLook(notes=said, words=unit_names(prepared)),
        )
        job.tidy("absences", prepared.absences)
    write_indices(job, unit_names(prepared))
    write_weights(job)
    write_concentration(job, unit_names(prepared))
    job.tidy("panel", prepared.panel.frame())
    job.tick("data")
    return []


def autocorrelation(job: Job) -> list[Text]:
    """Moran's I by period for every variable, weights matrix and sample; of two variables where the study asks for it."""
    from spatial_zb.report.verdict import moran_verdict

    study = job.study
    if study.moran is None:
        return []
    reading: list[Text] = []
    for sample in study.samples_of(study.moran):
        results = {
            variable: {W: _moran(job, sample, variable, W) for W in study.weights_of(study.moran)}
            for variable in study.moran.variables
        }
        frames = {
            variable: {W: _with_pooled(job, sample, W, result) for W, result in by_weights.items()}
            for variable, by_weights in results.items()
        }
        labels = {variable: job.prepared.panel.label(variable) for variable in frames}
        _write_moran(job, sample, "moran", frames, labels, Text("Moran's I", "莫兰指数"))
        _write_bivariate(job, sample)
        if sample == study.main_sample and not (study.models or study.systems):
            tables = {v: next(iter(by_weights.values())).table() for v, by_weights in results.items()}
            found = [Verdict(v, moran_verdict(table, labels[v])) for v, table in tables.items()]
            job.made.verdicts += found  # with models they are a description, and not what the study finds
        elif sample == study.main_sample:
            reading = [_moran_reading(job.prepared, v, by_weights) for v, by_weights in results.items()]
    return reading


def _write_moran(
    job: Job,
    sample: str,
    key: str,
    frames: Mapping[str, Mapping[str, pd.DataFrame]],
    labels: Mapping[str, Text],
    name: Text,
    notes: Sequence[Text] = (),
) -> None:
    """One table and tidy frame of a statistic by period, for all weights; several samples have one each."""
    from spatial_zb.report.tables import layouts

    study = job.study
    laid = {
        labels[v]: {study.weights[W].label: frame for W, frame in by_weights.items()}
        for v, by_weights in frames.items()
    }
    by_period = Text(f"{name.en} by period", f"各时期{name.zh}") if study.data.dated else name
    title = by_period if key != "moran" else ""
    if len(study.samples_of(present(study.moran))) > 1:
        key, label = f"{key}_{sample}", study.samples[sample].label
        title = Text(f"{name.en}, {label.en}", f"{name.zh}（{label.zh}）")
    job.table(
        lambda look: layouts.moran_table(laid, permutations=study.general.permutations, look=look),
        TableLook(title=title, key=key, notes=[*notes, *job.prepared.sources]),
    )
    flat = [
        frame.assign(variable=v, weights=W, sample=sample)
        for v, by_weights in frames.items()
        for W, frame in by_weights.items()
    ]
    job.tidy(key, pd.concat(flat, ignore_index=True))


def _with_pooled(job: Job, sample: str, W: str, result: MoranTable) -> pd.DataFrame:
    """I by period and, where the study asks for it, of all periods together in a last row."""
    frame = result.table()
    if not present(job.study.moran).pooled:
        return frame
    row = pooled_moran(
        job.prepared.sample(sample),
        result.variable,
        job.prepared.weights(W, sample),
        permutations=job.study.general.permutations,
        rng=job.seed("moran", sample, result.variable, W, "pooled"),
    ).table()
    return pd.concat([frame, row.assign(period="pooled")[list(frame)]], ignore_index=True)


def _write_bivariate(job: Job, sample: str) -> None:
    """Of every pair: the first variable of a unit with the second of its neighbours."""
    study, panel = job.study, job.prepared.panel
    asked = present(study.moran)
    frames, labels = {}, {}
    for x, y in asked.bivariate:
        pair = f"{x}, W_{y}"
        labels[pair] = Text(
            f"{panel.label(x).en}; {panel.label(y).en} of the neighbours",
            f"{panel.label(x).zh}；邻居的{panel.label(y).zh}",
        )
        frames[pair] = {
            W: bivariate_moran(
                job.prepared.sample(sample),
                x,
                y,
                job.prepared.weights(W, sample),
                permutations=study.general.permutations,
                rng=job.seed("bivariate", sample, x, y, W),
            ).table()
            for W in study.weights_of(asked)
        }
        job.tick(pair)
    if frames:
        name = Text("Bivariate Moran's I", "双变量莫兰指数")
        _write_moran(job, sample, "moran_bivariate", frames, labels, name, [BIVARIATE])
    for x, y in asked.bivariate if sample == study.main_sample else ():
        pair = f"{x}, W_{y}"
        _draw_bivariate(job, sample, (x, y), labels[pair], frames[pair])


def scatter_note(job: Job, W: str) -> Text:
    """What the p-values and the colours of a Moran scatter are."""
    weights, draws = weights_note(job, W), f"{job.study.general.permutations:,}"
    return Text(
        f"p: pseudo p-values from {draws} random permutations. Colours are quadrants, not tests of single units. "
        f"{weights.en}",
        f"p为{draws}次随机置换的伪p值。颜色表示象限，不是对单个地区的检验。{weights.zh}",
    )


def _draw_bivariate(
    job: Job, sample: str, pair: tuple[str, str], label: Text, tables: Mapping[str, pd.DataFrame]
) -> None:
    """The scatter behind the first and the last of the table, under the first W."""
    (x, y), (W, table), panel = pair, next(iter(tables.items())), job.prepared.sample(sample)
    ends = list(dict.fromkeys([panel.periods[0], panel.periods[-1]]))
    first, second = (
        pd.DataFrame(panel.select(periods=ends).array(name).T, index=panel.units, columns=ends)
        for name in (x, y)
    )
    p_values = list(table.set_index("period").loc[ends, "p_sim"])
    job.figure(
        f"moran_bivariate_{x}_{y}",
        partial(
            figures.moran_scatter,
            first,
            job.prepared.weights(W, sample),
            label=(panel.label(x), panel.label(y)),
            other=second,
            p_values=p_values,
        ),
        Look(words=unit_names(job.prepared), note=figure_note(job, sample, said=scatter_note(job, W))),
        shown=Text(f"Bivariate Moran scatter: {label.en}", f"双变量莫兰散点图：{label.zh}"),
    )


#: Without it the statistic is read as a spillover.
BIVARIATE = Text(
    "The first variable of a unit with the second of its neighbours. Where the two go together within units and the "
    "second is clustered, I differs from zero without any influence of neighbours.",
    "本地区前一变量与邻居后一变量的相关。若两变量在地区内部相关且后者存在集聚，即使邻居之间没有影响，I也会偏离零。",
)


def moran_of(job: Job, sample: str, variable: str, W: str) -> MoranTable:
    """Moran's I of a variable by period, with the same draws whichever stage asks; of its own one where it has one."""
    panel, own = job.prepared.sample(sample), job.study.own_period(variable)
    table = moran(
        panel if own is None else panel.select(periods=[panel.periods[-1]]),
        variable,
        job.prepared.weights(W, sample),
        permutations=job.study.general.permutations,
        rng=job.seed("moran", sample, variable, W),
    )
    return table if own is None else replace(table, frame=table.frame.assign(period=own))


def local_permutations(study: Study, units: int) -> int:
    """Permutations of local Moran's I: those of the study, or as many more as a single unit needs to pass a correction."""
    return max(
        study.general.permutations, permutations_for(units, "fdr", min(present(study.maps).alpha, 0.05))
    )


#: Words for the corrections of p-values for the number of units.
ADJUSTED = {
    "fdr": Text("false discovery rate {}", "错误发现率{}"),
    "bonferroni": Text("Bonferroni’s correction, {}", "Bonferroni校正，{}"),
    "none": Text("each unit at {}, without correction for their number", "各地区{}，未作多重检验校正"),
}


def clusters_words(study: Study, weights: str, units: int) -> Text:
    """How the clusters on maps were found: W, permutations and correction."""
    wanted = present(study.maps)
    W, how, level = (
        study.weights[weights].label,
        ADJUSTED[wanted.adjust],
        f"{100 * wanted.alpha:g}%",
    )
    draws = f"{local_permutations(study, units):,}"
    return Text(
        f"Local Moran’s I, {W.en}, {draws} permutations, {how.en.format(level)}.",
        f"局部莫兰指数，{W.zh}，{draws}次置换，{how.zh.format(level)}。",
    )


def _moran(job: Job, sample: str, variable: str, W: str) -> MoranTable:
    result = job.made.moran[sample, variable, W] = moran_of(job, sample, variable, W)
    job.tick(f"{variable} · {W}")
    return result


def _moran_reading(prepared: Prepared, variable: str, by_weights: Mapping[str, MoranTable]) -> Text:
    from spatial_zb.report.reading import moran_reading

    name, result = next(iter(by_weights.items()))
    return moran_reading(result.table(), prepared.panel.label(variable), prepared.study.weights[name].label)


def model_variables(study: Study) -> list[str]:
    """Variables of all models, then those only mapped or tested, each once."""
    names = [name for model in study.models.values() for name in (model.y, *model.x)]
    names += [name for index in study.indices.values() for name in (*index.columns, index.name)]
    names += study.coupling
    for part in (study.moran, study.concentration, study.dynamics, study.maps):
        names += part.variables if part else ()
    names += [name for pair in (study.moran.bivariate if study.moran else ()) for name in pair]
    return list(dict.fromkeys(names))


def _regressors(study: Study) -> dict[Text, tuple[str, ...]]:
    """Heading of a column of inflation factors → the regressors of a model; models with the same ones share it."""
    sets = {frozenset(model.x): model for model in reversed([*study.models.values()])}
    if len(sets) == 1:
        return {Text.of("VIF"): model.x for model in sets.values()}
    return {
        Text(f"VIF, {model.title.en}", f"VIF（{model.title.zh}）"): model.x
        for model in reversed(sets.values())
    }


def _definition(study: Study, prepared: Prepared, name: str) -> dict[str, Text | str]:
    variable = study.variables.get(name)
    return {
        "name": name,
        "label": prepared.panel.label(name),
        "definition": variable.expression if variable else index_definition(study, name) or name,
    }


def write_indices(job: Job, names: Mapping[str, Text]) -> None:
    """The entropy weights of every index, and the graded table of every coupling by unit and period."""
    from spatial_zb.report.tables.layouts import coordination_table, entropy_table
    from spatial_zb.report.verdict import coupling_verdict

    study, prepared = job.study, job.prepared
    if study.indices:
        weights = pd.concat([index_weights_frame(study, prepared.panel, i) for i in study.indices.values()])
        labels = prepared.labels | {c: prepared.panel.label(c) for c in weights["variable"]}
        job.table(
            lambda look: entropy_table(weights, look=look), TableLook(notes=prepared.sources, words=labels)
        )
        job.tidy("entropy_weights", weights)
    for pair in study.coupling.values():
        frame = graded_frame(prepared.panel, pair)
        job.tidy(pair.name, frame)
        panel = prepared.sample(study.main_sample)
        degree = pd.DataFrame(panel.array(pair.name), index=panel.periods, columns=panel.units)
        job.made.verdicts.append(Verdict(pair.name, coupling_verdict(degree, pair.label, names)))
        job.table(
            partial(coordination_table, frame),
            TableLook(title=pair.label, key=pair.name, notes=prepared.sources, words=names),
        )
