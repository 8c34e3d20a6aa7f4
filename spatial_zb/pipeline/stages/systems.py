"""Stage systems: simultaneous equations, their identification and cross-equation effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import pandas as pd

from spatial_zb.base.errors import SpatialZbError
from spatial_zb.base.text import Text
from spatial_zb.core.statistics.dispersion import within_sd
from spatial_zb.effects import spatial_effects
from spatial_zb.effects.table import Effects
from spatial_zb.hypotheses.nested import RESTRICTIONS, restriction_tests
from spatial_zb.inference.sets import ConfidenceSets, confidence_set
from spatial_zb.models.spec import CLUSTERED
from spatial_zb.models.system import fit_system
from spatial_zb.models.system.fit import SystemFit
from spatial_zb.models.system.spec import Equation, SystemSpec
from spatial_zb.pipeline.job import Estimated, Job, Verdict, figure_note, sample_notes
from spatial_zb.pipeline.prepare import Prepared
from spatial_zb.pipeline.stages.over_time import write_over_time
from spatial_zb.pipeline.words import (
    METHOD_WORDS,
    column_heading,
    naming_sample,
    sets_words,
    short_words,
    step_of,
    warn_undone,
    weights_words,
)
from spatial_zb.report import figures
from spatial_zb.report.drawing.frame import Look
from spatial_zb.report.drawing.style import Drawing
from spatial_zb.report.tables.table import TableLook
from spatial_zb.study import Study, System


@dataclass(frozen=True, eq=False)
class _SystemColumn:
    """One estimated system: a sample, a weights matrix and a method."""

    facts: dict[str, str]
    heading: Text
    fit: SystemFit
    effects: Effects | None


def estimate_systems(job: Job) -> list[Text]:
    """Every system of the study: estimates, identification, mutual effects and their figure.

    A method that cannot estimate a system on a sample is left out with a warning; the study fails only when none can.
    """
    for system in job.study.systems.values():
        columns = _fit_systems(job, system)
        if system_spec(system).dynamic:
            for column in columns:
                write_over_time(job, system, column.facts, column.fit)
            _tidy_system(job, system, columns)
            continue
        _write_system(job, system, columns)
        _draw_system(job, system, columns)
        _read_system(job, system, columns)
        if system.sets:
            _write_sets(job, system, columns)
    return []


def _fit_systems(job: Job, system: System) -> list[_SystemColumn]:
    study, prepared = job.study, job.prepared
    spec = system_spec(system)
    columns: list[_SystemColumn] = []
    failure: SpatialZbError | None = None
    for sample, W, method in product(study.samples_of(system), study.weights_of(system), system.methods):
        key, facts = (system.name, sample, W, method), {"sample": sample, "weights": W, "method": method}
        try:
            with naming_sample(study, sample):
                fit = fit_system(
                    spec,
                    prepared.sample(sample),
                    prepared.weights(W, sample),
                    method,
                    **method_options(system, method),
                )
            effects = spatial_effects(fit) if fit.stability().stable and not spec.dynamic else None
        except SpatialZbError as error:
            failure = job.made.refused[key] = error
            where = facts.values()
            warn_undone(
                Text(
                    f"System {system.name}, {', '.join(where)}", f"方程组{system.name}（{'，'.join(where)}）"
                ),
                error,
            )
            continue
        heading = column_heading(study, system, sample, W, METHOD_WORDS[method], len(system.methods) > 1)
        columns.append(_SystemColumn(facts, heading, fit, effects))
        choices = _choices(study, system, **facts)
        job.made.fits.append(Estimated(key, job.stage, system.title, choices, fit, effects))
        job.tick(f"{system.name} · {sample} · {W} · {method}")
    if not columns and failure is not None:
        raise failure
    return columns


#: Errors of FIML by what the study asks for: unequal variances move its information too, and scores by unit bear them.
FIML_COVARIANCES = {"classical": "information", "robust": "cluster"}


def system_spec(system: System) -> SystemSpec:
    """The system of a study as it is estimated."""
    equations = {name: Equation(**entry.model_dump()) for name, entry in system.equations.items()}
    return SystemSpec(equations, system.fixed_effects, system.time_lag, system.lag_time_lag)


def method_options(system: System, method: str) -> dict[str, Any]:
    """What the study asks of a method; errors that FIML has under another name, or clustered where it has no other."""
    if method == "fiml":
        return {"covariance": FIML_COVARIANCES.get(system.covariance, system.covariance)}
    return {"covariance": system.covariance, "bias_correction": system.bias_correction}


def _choices(study: Study, system: System, sample: str, weights: str, method: str) -> dict[str, Text]:
    """Words that set an estimate apart in the report."""
    where = {"sample": study.samples[sample].label, "weights": study.weights[weights].label}
    return {"model": system.title, **where, "method": METHOD_WORDS[method]}


def _write_system(job: Job, system: System, columns: Sequence[_SystemColumn]) -> None:
    from spatial_zb.report.tables import layouts

    study, prepared = job.study, job.prepared
    labels = prepared.labels | weights_words(study)
    labels |= {name: prepared.panel.label(e.y) for name, e in system.equations.items()}
    for sample, W in product(study.samples_of(system), study.weights_of(system)):
        own = [c for c in columns if (c.facts["sample"], c.facts["weights"]) == (sample, W)]
        if not own:
            continue
        key = "_".join([system.name, sample, W])
        where = study.samples[sample].label, study.weights[W].label
        title = Text(
            f"{system.title.en}: {where[0].en}, {where[1].en}",
            f"{system.title.zh}：{where[0].zh}，{where[1].zh}",
        )
        notes = [*sample_notes(job, sample), *prepared.sources]
        caveats = [said] if (said := _caveats(own)) else []
        choices = {"model": system.title, "sample": where[0], "weights": where[1]}
        fits = [(METHOD_WORDS[c.facts["method"]], c.fit) for c in own]
        job.table(
            partial(layouts.regression_table, fits),
            TableLook(title=title, key=f"system_{key}", notes=notes, words=labels),
            choices,
        )
        stable = [(METHOD_WORDS[c.facts["method"]], c.effects) for c in own if c.effects is not None]
        if stable:
            words, told = labels | _shock_words(system, prepared), [*caveats, *notes]
            job.table(
                partial(layouts.effects_table, stable),
                TableLook(
                    title=title,
                    key=f"system_effects_{key}",
                    notes=told,
                    words=words,
                ),
                choices,
            )
    reports = [(c.heading, c.fit.identification()) for c in columns]
    title = Text(f"{system.title.en}: identification", f"{system.title.zh}：识别检验")
    job.table(
        lambda look: layouts.identification_table(reports, look=look),
        TableLook(
            title=title, key=f"system_{system.name}_identification", notes=prepared.sources, words=labels
        ),
        {"model": system.title},
    )
    _write_restrictions(job, system, columns)
    _tidy_system(job, system, columns)


def _write_restrictions(job: Job, system: System, columns: Sequence[_SystemColumn]) -> None:
    """Tests of the restrictions a reader asks about, for the first FIML estimate."""
    from spatial_zb.report.tables import layouts

    fitted = [c for c in columns if c.facts["method"] == "fiml" and c.fit.converged]
    if not fitted:
        return
    column, study = fitted[0], job.study
    tests = restriction_tests(column.fit).tidy()
    sample, W = study.samples[column.facts["sample"]].label, study.weights[column.facts["weights"]].label
    title = Text(
        f"{system.title.en}: restrictions, FIML, {sample.en}, {W.en}",
        f"{system.title.zh}：约束检验（FIML，{sample.zh}，{W.zh}）",
    )
    notes = [RESTRICTION_NOTES[column.fit.covariance in CLUSTERED], *job.prepared.sources]
    words = tests.assign(test=[_restriction_words(name, system, job.prepared) for name in tests["test"]])
    job.table(
        lambda look: layouts.chain_table(words, look=look),
        TableLook(title=title, key=f"system_{system.name}_restrictions", notes=notes),
        {"model": system.title},
    )
    job.tidy(f"system_{system.name}_restrictions", tests)


def _restriction_words(name: str, system: System, prepared: Prepared) -> Text:
    if name in RESTRICTION_WORDS:
        return RESTRICTION_WORDS[name]
    source, _, response = name.removeprefix("no ").partition(" → ")
    a, b = (short_words(prepared.panel.label(system.equations[part].y)) for part in (source, response))
    return Text(f"No effect of {a.en} on {b.en}", f"{a.zh}对{b.zh}无影响")


RESTRICTION_WORDS = {
    name: Text(f"{name[0].upper()}{name[1:]}", words.zh) for name, words in RESTRICTIONS.items()
} | {"no feedback": Text("No local feedback", "无当地反馈")}

#: By whether errors are clustered.
RESTRICTION_NOTES = {
    False: Text(
        "Likelihood-ratio tests; they hold for errors that are independent over time and under the exclusions of the "
        "system, which the identification table judges.",
        "似然比检验；以误差在时间上独立、系统的排除约束成立为前提，后者见识别检验表。",
    ),
    True: Text(
        "Wald tests by the covariance clustered by unit, against F(q, units − q); they hold under the exclusions of the "
        "system, which the identification table judges.",
        "按地区聚类协方差的Wald检验，以F(q, 地区数 − q)为准；以系统的排除约束成立为前提，见识别检验表。",
    ),
}


def _tidy_system(job: Job, system: System, columns: Sequence[_SystemColumn]) -> None:
    """Full-precision frames: estimates, effects, feedback, identification, exclusions, one file for each."""
    from spatial_zb.effects.system import feedback_decomposition

    stable = [(c, c.effects) for c in columns if c.effects is not None]
    frames = {
        "": [(c, c.fit.tidy()) for c in columns],
        "_identification": [(c, c.fit.identification()) for c in columns],
        "_exclusions": [(c, c.fit.exclusion_tests()) for c in columns],
        "_effects": [(c, effects.tidy()) for c, effects in stable],
        "_feedback": [(c, feedback_decomposition(c.fit).tidy()) for c, _ in stable],
    }
    for ending, parts in frames.items():
        if parts:
            job.tidy(
                f"system_{system.name}{ending}",
                pd.concat([f.assign(**c.facts) for c, f in parts], ignore_index=True),
            )


def _write_sets(job: Job, system: System, columns: Sequence[_SystemColumn]) -> None:
    """Sets that hold however weak the instruments: a table for each sample and W, a frame of all, and what they say."""
    from spatial_zb.report.tables import layouts

    study, prepared = job.study, job.prepared
    labels = prepared.labels | {name: prepared.panel.label(e.y) for name, e in system.equations.items()}
    frames, paragraphs, told = [], [], []
    for sample, W in product(study.samples_of(system), study.weights_of(system)):
        own = [c for c in columns if (c.facts["sample"], c.facts["weights"]) == (sample, W)]
        found = [
            one for name in system.equations if own and (one := _sets_of(study, own[0], name)) is not None
        ]
        if not found:
            continue
        where = study.samples[sample].label, study.weights[W].label
        title = Text(
            f"{system.title.en}: sets for weak instruments, {where[0].en}, {where[1].en}",
            f"{system.title.zh}：弱工具变量下的置信集（{where[0].zh}，{where[1].zh}）",
        )
        method = METHOD_WORDS[own[0].facts["method"]]
        said = Text(f"Estimates and Wald intervals: {method.en}.", f"估计值与Wald区间：{method.zh}。")
        choices = {"model": system.title, "sample": where[0], "weights": where[1]}
        job.table(
            partial(layouts.sets_table, found),
            TableLook(
                title=title,
                key=f"system_sets_{system.name}_{sample}_{W}",
                notes=[said, *sample_notes(job, sample), *prepared.sources],
                words=labels,
            ),
            choices,
        )
        facts = {"sample": sample, "weights": W}
        frames += [one.tidy().assign(**facts, **one.facts) for one in found]
        place = Text(f"{where[0].en}, {where[1].en}", f"{where[0].zh}，{where[1].zh}")
        paragraphs.append(
            sets_words(found, {name: short_words(words) for name, words in labels.items()}, place)
        )
        told.append(choices)
        job.tick(f"{system.name} · {sample} · {W} · sets")
    if frames:
        job.tidy(f"system_{system.name}_sets", pd.concat(frames, ignore_index=True))
        title = Text(f"{system.title.en}: what is known", f"{system.title.zh}：数据能说明什么")
        job.prose(f"system_{system.name}_sets_reading", title, paragraphs, told)


def _sets_of(study: Study, column: _SystemColumn, equation: str) -> ConfidenceSets | None:
    """Sets of one equation; None where it cannot have them, which is warned of."""
    try:
        with naming_sample(study, column.facts["sample"]):
            return confidence_set(column.fit, equation=equation)
    except SpatialZbError as error:
        what = Text(f"Sets of equation {equation}", f"方程{equation}的置信集")
        warn_undone(what, error)
        return None


def _shock_words(system: System, prepared: Prepared) -> dict[str, Text]:
    """Words for a structural shock of each equation."""
    labels = {name: prepared.panel.label(e.y) for name, e in system.equations.items()}
    return {f"shock:{name}": Text(f"Shock to {w.en}", f"{w.zh}的冲击") for name, w in labels.items()}


def _mutual_effects(frames: Mapping[str, pd.DataFrame], sizes: Mapping[str, float], look: Look) -> Drawing:
    return figures.effects(frames, models=METHOD_WORDS, per=sizes, look=look)


def _draw_system(job: Job, system: System, columns: Sequence[_SystemColumn]) -> None:
    """One figure for each sample and W: effects of a shock in one equation on the others, by method."""
    study = job.study
    names = {name: short_words(job.prepared.panel.label(e.y)) for name, e in system.equations.items()}
    arrows = {
        f"{a} → {b}": Text(f"{x.en} → {y.en}", f"{x.zh} → {y.zh}")
        for (a, x), (b, y) in product(names.items(), repeat=2)
    }
    for sample, W in product(study.samples_of(system), study.weights_of(system)):
        own = [c for c in columns if (c.facts["sample"], c.facts["weights"]) == (sample, W)]
        frames = {
            c.facts["method"]: _mutual(c.effects.tidy())
            for c in own
            if c.effects and c.effects.reason is None
        }
        if not frames:
            continue
        where = study.samples[sample].label, study.weights[W].label
        title = Text(
            f"{system.title.en}: {where[0].en}, {where[1].en}",
            f"{system.title.zh}：{where[0].zh}，{where[1].zh}",
        )
        panel = job.prepared.sample(sample)
        usual = {name: within_sd(panel.array(e.y)) for name, e in system.equations.items()}
        sizes = {pair: usual[pair.split(" → ")[0]] for pair in arrows}
        job.figure(
            f"system_{system.name}_{sample}_{W}",
            partial(_mutual_effects, frames, sizes),
            Look(title=title, note=figure_note(job, sample, said=_below_figure(own)), words=arrows),
            shown=title,
            choices={"model": system.title, "sample": where[0], "weights": where[1]},
        )


def _below_figure(columns: Sequence[_SystemColumn]) -> Text | None:
    """Caveats, and the methods that are not drawn because their effects are not computed: the table says why."""
    lost = [METHOD_WORDS[c.facts["method"]] for c in columns if c.effects and c.effects.reason is not None]
    said = _caveats(columns)
    parts = [said] if said is not None else []
    if lost:
        en, zh = ", ".join(m.en for m in lost), "、".join(m.zh for m in lost)
        parts.append(
            Text(f"Not computed (see the table), not drawn: {en}.", f"未计算（见表），未绘出：{zh}。")
        )
    return Text(" ".join(p.en for p in parts), "".join(p.zh for p in parts)) if parts else None


def _caveats(columns: Sequence[_SystemColumn]) -> Text | None:
    """Notes below effects: which methods have none, whether instruments are weak, and whether exclusions are rejected."""
    parts = []
    if methods := [METHOD_WORDS[c.facts["method"]] for c in columns if c.effects is None]:
        parts.append(
            Text(
                f"Without effects, since the estimated system is not stable: {', '.join(m.en for m in methods)}.",
                f"所估系统不稳定而无效应：{'、'.join(m.zh for m in methods)}。",
            )
        )
    found = {c.facts["method"]: c.fit.identification() for c in columns}
    if methods := [METHOD_WORDS[m] for m, frame in found.items() if m != "fiml" and frame["weak"].any()]:
        which = Text(", ".join(m.en for m in methods), "、".join(m.zh for m in methods))
        weak = f"Instruments are weak (see the identification table): intervals of {which.en} are too short."
        parts.append(Text(weak, f"工具变量较弱（见识别检验表）：{which.zh}的区间偏窄。"))
    if any((frame["j_p"] < 0.05).any() for frame in found.values()):
        rejected = "The data reject exclusions of the system (J, see the identification table)."
        parts.append(Text(rejected, "数据拒绝方程组的部分排除约束（J检验，见识别检验表）。"))
    return Text(" ".join(p.en for p in parts), "".join(p.zh for p in parts)) if parts else None


def _read_system(job: Job, system: System, columns: Sequence[_SystemColumn]) -> None:
    """The mutual effects in words: a paragraph for every sample and W, in which methods say once what they share."""
    from spatial_zb.report.reading import system_reading, system_verdict

    study, panel = job.study, job.prepared.panel
    names = {name: short_words(panel.label(e.y)) for name, e in system.equations.items()}
    paragraphs, choices = [], []
    for sample, W in dict.fromkeys((c.facts["sample"], c.facts["weights"]) for c in columns):
        own = [c for c in columns if (c.facts["sample"], c.facts["weights"]) == (sample, W)]
        labels = study.samples[sample].label, study.weights[W].label
        steps = {name: step_of(study, own[0].fit.panel, e.y) for name, e in system.equations.items()}
        said: list[Text] = []
        told = Text("", "")
        for column in own:
            where = METHOD_WORDS[column.facts["method"]]
            if not said:
                en, zh = ", ".join(place.en for place in labels), "，".join(place.zh for place in labels)
                where = Text(f"{en}, {where.en}", f"{zh}，{where.zh}")
            found = column.fit.identification(), column.fit.exclusion_tests()
            verdict = system_verdict(*found, column.facts["method"], names, job.prepared.labels)
            verdict, told = (Text("", "") if verdict == told else verdict), verdict
            first = Text(f"{where.en}. {verdict.en}".rstrip(), f"{where.zh}。{verdict.zh}")
            if column.effects is None:
                unstable = Text(
                    "The estimated system is not stable; it has no effects.", "所估系统不稳定，不报告效应。"
                )
                said.append(Text(f"{first.en} {unstable.en}", f"{first.zh}{unstable.zh}"))
            elif column.effects.reason is not None:
                why = Text(_sentence(column.effects.reason.text.en), column.effects.reason.text.zh)
                said.append(Text(f"{first.en} {why.en}.", f"{first.zh}{why.zh}。"))
            else:
                said.append(system_reading(_mutual(column.effects.tidy()), steps, where, verdict))
        paragraphs.append(Text("\n".join(line.en for line in said), "\n".join(line.zh for line in said)))
        choices.append({"model": system.title, "sample": labels[0], "weights": labels[1]})
    job.prose(f"system_{system.name}_reading", system.title, paragraphs, choices)
    job.made.verdicts.append(Verdict(system.name, _system_sentence(job, system, columns)))


def _system_sentence(job: Job, system: System, columns: Sequence[_SystemColumn]) -> Text:
    """What the first sample and W say, by the first method that gives bounded effects."""
    from spatial_zb.report.verdict import system_sentence

    first = columns[0].facts
    own = [c for c in columns if all(c.facts[name] == first[name] for name in ("sample", "weights"))]
    bounded = [c for c in own if c.effects is not None and c.effects.reason is None]
    chosen = (bounded or own)[0]
    names = {name: job.prepared.panel.label(e.y) for name, e in system.equations.items()}
    mutual = _mutual(chosen.effects.tidy()) if bounded and chosen.effects is not None else None
    return system_sentence(chosen.fit.identification(), mutual, names)


def _mutual(effects: pd.DataFrame) -> pd.DataFrame:
    """Effects of a shock in one equation on another, with the term "source → response"."""
    shocks = effects[effects["source"].str.startswith("shock:")]
    source = shocks["source"].str.removeprefix("shock:")
    return shocks.assign(term=source + " → " + shocks["response"])[source != shocks["response"]]


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]
