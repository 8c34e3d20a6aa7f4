"""Stage models: spatial Durbin models, their effects, and median-unbiased ρ and λ."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd

from spatial_zb.base.errors import ConvergenceError
from spatial_zb.base.text import Text
from spatial_zb.base.threads import give_back_memory
from spatial_zb.effects import spatial_effects
from spatial_zb.effects.dynamic import effects_path
from spatial_zb.effects.regimes import regime_spillovers
from spatial_zb.effects.table import Effects
from spatial_zb.hypotheses.nested import regime_tests
from spatial_zb.inference.median import MedianUnbiased, has_median_unbiased, median_unbiased
from spatial_zb.models.dynamic import stability_test
from spatial_zb.models.fit import Fit
from spatial_zb.pipeline.job import Estimated, Job, Reading, Verdict, sample_notes, span_words
from spatial_zb.pipeline.stages.models import (
    PATH_PERIODS,
    Column,
    choices_of,
    draw_effects,
    effect_columns,
    fit_model,
    kind_of,
    regime_notes,
    simplifications,
    term_words,
)
from spatial_zb.pipeline.stages.paper import side_by_side
from spatial_zb.pipeline.words import (
    column_heading,
    effect_words,
    naming_sample,
    saying_where,
    shares_of_one_total,
    step_of,
    warn_undone,
)
from spatial_zb.report.tables.table import TableLook
from spatial_zb.study import Model

_SIGNS = {"rho": "ρ", "lam": "λ", "phi": "φ"}


def median_estimates(job: Job, fit: Fit, *key: str) -> MedianUnbiased | None:
    """Of a fit, from as many draws as the study asks for; None where it asks for none or the model has no such estimate."""
    number = job.study.general.bootstrap
    if not number or not has_median_unbiased(fit):
        return None
    return median_unbiased(
        fit,
        number,
        rng=job.seed("median", *key),
        progress=lambda done, total, left: job.tick(f"{done}/{total}, {left:.0f} s"),
    )


def median_frame(found: Sequence[tuple[MedianUnbiased, dict[str, str]]]) -> pd.DataFrame:
    """Coefficients (``effect`` empty) and effects of all columns, with what each column is of."""
    parts = []
    for result, fact in found:
        parts += [result.tidy().assign(effect="", **fact), result.effects().assign(**fact)]
    return pd.concat(parts, ignore_index=True)


def median_note(heading: Text, result: MedianUnbiased) -> Text:
    """The estimates and their limits in words, below a table; limits alone where there are no estimates."""
    level = f"{100 * result.level:g}"
    draws = Text(
        f"{level} % intervals that hold in small samples, from {result.replicates:,} draws of the law of the score.",
        f"{level}%区间在小样本下成立，由得分分布的{result.replicates:,}次抽样得到。",
    )
    en, zh = [], []
    for term, found in result.solutions.items():
        value = f"{_SIGNS[term]} = {found.estimate:.3f} " if result.told_apart else f"{_SIGNS[term]} "
        limits = f"[{found.low:.3f}, {found.high:.3f}]"
        end = result.told_apart and found.at_bound
        en.append(f"{value}{'(the end of the admissible interval) ' if end else ''}{limits}")
        zh.append(f"{value}{'（容许区间的端点） ' if end else ''}{limits}")
    if not result.told_apart:
        return Text(
            f"{heading.en}: {', '.join(en)}, {draws.en} W and the sample do not tell ρ from λ: no estimate of one is free "
            "of the other, read the intervals.",
            f"{heading.zh}：{'，'.join(zh)}；{draws.zh}该W与样本无法区分ρ与λ，二者的点估计互相牵连，请只看区间。",
        )
    return Text(
        f"{heading.en}: median-unbiased {', '.join(en)}; {draws.en}",
        f"{heading.zh}：中位数无偏估计{'，'.join(zh)}；{draws.zh}",
    )


#: Columns of the files of Wald tests of regimes and of stability.
REGIME_COLUMNS = ["term", "difference", "std_error", "statistic", "df", "p_value"]
STABILITY_COLUMNS = ["persistence", "std_error", "statistic", "p_value", "radius", "stable"]


def estimate(job: Job) -> list[Text]:
    """Every model of the study: estimates, effects with delta and simulated errors, and their figure."""
    made: dict[str, list[Column]] = {}
    for model in job.study.models.values():
        columns = made[model.name] = _fit_all(job, model)
        _write_model(job, model, columns)
        draw_effects(job, model, columns)
        shown = list({(c.sample, c.weights): c for c in columns}.values())  # the last of its fixed effects
        job.made.verdicts += _model_verdicts(job, model, shown)
        own = next((c for c in shown if c.sample == job.study.main_sample), None)
        job.made.readings += [
            Reading(job.stage, _model_reading(job, model, c), model.name, aside=c is not own) for c in shown
        ]
    side_by_side(job, made)
    return []


def _model_verdicts(job: Job, model: Model, columns: Sequence[Column]) -> list[Verdict]:
    """The sentences of a model, that of the main sample first; samples and W of which the same is to be said share one."""
    from spatial_zb.report.verdict import LONGEST

    main = job.study.main_sample
    said: dict[Text, list[Column]] = {}
    for column in sorted(columns, key=lambda c: c.sample != main):
        said.setdefault(_model_verdict(job, model, column, None), []).append(column)
    groups: list[list[Column]] = []
    for alike in said.values():
        together = _model_verdict(job, model, alike[0], _place(job, alike))
        groups += [alike] if len(together.en.split()) <= LONGEST else [[column] for column in alike]
    found = []
    for k, group in enumerate(groups):
        text, label = (
            _model_verdict(job, model, group[0], _place(job, group)),
            _label(job, model, group),
        )
        if label is not None:
            text = Text(f"{label.en}: {text.en[:1].lower()}{text.en[1:]}", f"{label.zh}：{text.zh}")
        found.append(Verdict(model.name, text, rank=2 if k else 0))
    return found


def _place(job: Job, columns: Sequence[Column]) -> Text | None:
    """The samples of which a sentence is true; None for the main one."""
    samples = dict.fromkeys(c.sample for c in columns)
    if set(samples) == {job.study.main_sample}:
        return None
    labels = [job.study.samples[sample].label for sample in samples]
    return Text(" and ".join(f"in {label.en}" for label in labels), "、".join(label.zh for label in labels))


def _model_verdict(job: Job, model: Model, column: Column, place: Text | None) -> Text:
    """The sentence of a model: of its last fixed effects, in the long run where it has one."""
    from spatial_zb.report.verdict import effect_verdict

    study, panel = job.study, column.fit.panel
    result = column.long if column.long is not None else column.delta
    return effect_verdict(
        result.tidy() if result.reason is None else None,
        step_of(study, panel, model.x[0]),
        step_of(study, panel, model.y),
        term=model.x[0],
        place=place,
        lasting=column.long is not None,
    )


def _label(job: Job, model: Model, columns: Sequence[Column]) -> Text | None:
    """What stands before a sentence where an earlier model, or another W, says the like: the title of the model, W."""
    study = job.study
    alike = [m for m in study.models.values() if (m.y, m.x[0]) == (model.y, model.x[0])]
    first = study.samples_of(alike[0])[0]
    parts = [model.title] if alike[0] is not model and columns[0].sample == first else []
    if len(study.weights_of(model)) > 1:
        parts += dict.fromkeys(study.weights[c.weights].label for c in columns)
    return Text(", ".join(p.en for p in parts), "，".join(p.zh for p in parts)) if parts else None


def _fit_all(job: Job, model: Model) -> list[Column]:
    study, prepared = job.study, job.prepared
    columns = []
    for sample in study.samples_of(model):
        for W in study.weights_of(model):
            for effects in model.fixed_effects:
                with saying_where(study.place(f"models.{model.name}")), naming_sample(study, sample):
                    fit = fit_model(prepared, model, effects, sample, W)
                seed = job.seed("effects", model.name, sample, W, effects)
                one = len(fit.panel.periods) == 1
                last = kind_of(fit.spec) if one else effect_words(effects, prepared.labels)
                heading = column_heading(study, model, sample, W, last, len(model.fixed_effects) > 1)
                draws = study.general.draws
                shown = partial(spatial_effects, fit, model.effects, draws=draws, rng=seed)
                delta, simulated = shown(), _simulated(fit, model.effects, draws, seed)
                long = _long_run(fit, model.effects, draws, seed)
                median = median_estimates(job, fit, model.name, sample, W, effects)
                columns.append(Column(sample, W, effects, heading, fit, delta, simulated, *long, median))
                choices = choices_of(study, model.title, [columns[-1]])
                if not one:
                    choices |= {"fixed_effects": effect_words(effects, prepared.labels)}
                key = model.name, sample, W, effects
                job.made.fits.append(Estimated(key, job.stage, model.title, choices, fit, delta))
                job.tick(f"{model.name} · {sample} · {effects}")
                give_back_memory()
    return columns


def _long_run(
    fit: Fit, method: Literal["delta", "simulate", "fieller"], draws: int, seed: np.random.SeedSequence
) -> tuple[Effects | None, Effects | None]:
    """Effects of the long run, as the model asks and with simulated errors; none without a lag in time or stability."""
    if not fit.spec.dynamic or fit.convergence.radius >= 1:  # the fit has warned of it
        return None, None
    delta = spatial_effects(fit, method, draws=draws, rng=seed, horizon="long")
    return delta, _simulated(fit, method, draws, seed, "long")


def _simulated(
    fit: Fit,
    shown: Literal["delta", "simulate", "fieller"],
    draws: int,
    seed: np.random.SeedSequence,
    horizon: Literal["short", "long"] = "short",
) -> Effects | None:
    """Effects with simulated errors; None without a solution or where these are shown; warns without a covariance."""
    if not fit.converged or shown == "simulate":  # the fit has warned of it
        return None
    try:
        return spatial_effects(fit, "simulate", draws=draws, rng=seed, horizon=horizon)
    except ConvergenceError as error:
        warn_undone(Text("No simulated errors", "未给出模拟标准误"), error)
        return None


def _write_model(job: Job, model: Model, columns: Sequence[Column]) -> None:
    """The tables of a model with all its columns; the report also shows one sample and W at a time."""
    family = columns[0].fit.spec.family
    _lay_out(job, model, columns, choices_of(job.study, model.title, columns))
    pairs = dict.fromkeys((c.sample, c.weights) for c in columns)
    for pair in pairs if len(pairs) > 1 else ():
        own = [c for c in columns if (c.sample, c.weights) == pair]
        _lay_out(job, model, own, choices_of(job.study, model.title, own), report_only=True)
    facts = [{"sample": c.sample, "weights": c.weights, "fixed_effects": c.effects} for c in columns]
    job.tidy(
        f"{family.lower()}_{model.name}",
        pd.concat([c.fit.tidy().assign(**f) for c, f in zip(columns, facts, strict=True)], ignore_index=True),
    )
    job.tidy(
        f"fit_{model.name}",
        pd.concat([c.fit.glance().assign(sample=c.sample) for c in columns], ignore_index=True),
    )
    dynamic = columns[0].fit.spec.dynamic
    both = [
        result.tidy().assign(method=result.method, **({"horizon": horizon} if dynamic else {}), **fact)
        for c, fact in zip(columns, facts, strict=True)
        for horizon, results in (("short", (c.delta, c.simulated)), ("long", (c.long, c.long_simulated)))
        for result in results
        if result is not None
    ]
    job.tidy(f"effects_{model.name}", pd.concat(both, ignore_index=True))
    medians = [(c.median, f) for c, f in zip(columns, facts, strict=True) if c.median is not None]
    if medians:
        job.tidy(f"median_unbiased_{model.name}", median_frame(medians))
    if dynamic:
        _write_dynamics(job, model, columns, facts)
    if model.regimes:
        tests = [
            regime_tests(c.fit).tidy()[REGIME_COLUMNS].assign(**f)
            for c, f in zip(columns, facts, strict=True)
        ]
        job.tidy(f"regimes_{model.name}", pd.concat(tests, ignore_index=True))
        between = [
            regime_spillovers(c.fit, x).tidy().assign(term=x, **f)
            for c, f in zip(columns, facts, strict=True)
            for x in model.x
        ]
        job.tidy(f"regime_spillovers_{model.name}", pd.concat(between, ignore_index=True))


def _write_dynamics(
    job: Job, model: Model, columns: Sequence[Column], facts: Sequence[dict[str, str]]
) -> None:
    """The paths of effects after a lasting change and after one of one period, and the tests of stability."""
    paths = [
        effects_path(c.fit, PATH_PERIODS, change).tidy().assign(change=change, **fact)
        for c, fact in zip(columns, facts, strict=True)
        for change in ("permanent", "one_off")
    ]
    job.tidy(f"effects_path_{model.name}", pd.concat(paths, ignore_index=True))
    tests = [
        stability_test(c.fit).tidy()[STABILITY_COLUMNS].assign(**fact)
        for c, fact in zip(columns, facts, strict=True)
    ]
    job.tidy(f"stability_{model.name}", pd.concat(tests, ignore_index=True))


def _dynamics_notes(columns: Sequence[Column]) -> list[Text]:
    """What a reader of a table of dynamic models needs: initial period, stability."""
    first = columns[0].fit
    if not first.spec.dynamic:
        return []
    corrected = all(c.fit.convergence.corrected for c in columns)
    how = Text("bias-corrected", "已作偏差修正") if corrected else Text("not bias-corrected", "未作偏差修正")
    notes = [
        Text(
            f"Dynamic model: the period before {first.panel.periods[0]} is the initial one; {how.en}.",
            f"动态模型：{first.panel.periods[0]}年的前一期为初始期；{how.zh}。",
        )
    ]
    for c in columns:
        if not c.fit.converged:
            continue
        found = stability_test(c.fit).rows[0].more
        notes.append(
            Text(
                f"{c.heading.en}: τ + ρ + η = {found['persistence']:.3f} (standard error {found['std_error']:.3f}), largest "
                f"eigenvalue {found['radius']:.3f}{'' if found['stable'] else ': not stable, no long run'}.",
                f"{c.heading.zh}：τ+ρ+η={found['persistence']:.3f}（标准误{found['std_error']:.3f}），最大特征根"
                f"{found['radius']:.3f}{'' if found['stable'] else '，不满足平稳性，无长期效应'}。",
            )
        )
    return notes


def _lay_out(
    job: Job,
    model: Model,
    columns: Sequence[Column],
    choices: dict[str, Text],
    *,
    report_only: bool = False,
) -> None:
    """The regression table and the effects table of some columns of a model."""
    from spatial_zb.report.tables import layouts

    prepared = job.prepared
    labels = term_words(job, columns)
    more = [*_dynamics_notes(columns), *regime_notes(columns)]
    more += shares_of_one_total(job.study, (model.y, *model.x))
    more += [median_note(c.heading, c.median) for c in columns if c.median is not None]
    notes = [*more, *sample_notes(job, *dict.fromkeys(c.sample for c in columns)), *prepared.sources]
    family, kind = columns[0].fit.spec.family, kind_of(columns[0].fit.spec)
    fits = [(c.heading, c.fit) for c in columns]
    tests = simplifications(columns)
    job.table(
        lambda look: layouts.regression_table(
            fits, tests=tests, dependent=prepared.panel.label(model.y), look=look
        ),
        TableLook(
            title=Text(f"{model.title.en}: {kind.en}", f"{model.title.zh}：{kind.zh}估计结果"),
            key=f"{family.lower()}_{model.name}",
            notes=notes,
            words=labels,
        ),
        choices,
        report_only=report_only,
    )
    effects = effect_columns(columns)
    job.table(
        lambda look: layouts.effects_table(effects, look=look),
        TableLook(
            title=Text(
                f"{model.title.en}: direct, indirect and total effects",
                f"{model.title.zh}：直接、间接与总效应",
            ),
            key=f"effects_{model.name}",
            notes=notes,
            words=labels,
        ),
        choices,
        report_only=report_only,
    )


def _model_reading(job: Job, model: Model, column: Column) -> Text:
    from spatial_zb.report.reading import effect_reading

    study = job.study
    sample, effects = study.samples[column.sample].label, effect_words(column.effects, job.prepared.labels)
    n, years = len(job.prepared.samples[column.sample]), span_words(job.prepared.panel.periods)
    kind, W = kind_of(column.fit.spec), Text("", "")
    if len(study.weights_of(model)) > 1:
        label = study.weights[column.weights].label
        W = Text(f", {label.en}", f"，{label.zh}")
    added = Text(f", {effects.en.lower()}", f"，{effects.zh}")
    if len(column.fit.panel.periods) == 1:
        added = Text("", "")
    where = Text(
        f"{model.title.en} ({sample.en}, {n} units, {years.en}; {kind.en}{added.en}{W.en})",
        f"{model.title.zh}（{sample.zh}{n}个地区，{years.zh}；{kind.zh}{added.zh}{W.zh}）",
    )
    why = None if column.delta.reason is None else column.delta.reason.text
    x, y = (step_of(study, column.fit.panel, name) for name in (model.x[0], model.y))
    return effect_reading(column.delta.tidy(), model.x[0], x, y, where, why=why, spatial=column.fit.tidy())
