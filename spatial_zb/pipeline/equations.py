"""Stages tests and models: the test chain, the spatial Durbin models and their effects."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from spatial_zb.effects import Effects, spatial_effects
from spatial_zb.errors import ConvergenceError, SpatialZbWarning
from spatial_zb.hypotheses import diagnose
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.fit import Fit
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.pipeline.job import Job, sample_notes
from spatial_zb.pipeline.made import Estimated
from spatial_zb.pipeline.words import EFFECT_WORDS, weights_words
from spatial_zb.study import Model, Study
from spatial_zb.text import Text

__all__ = ["diagnose_models", "estimate"]


def diagnose_models(job: Job) -> list[Text]:
    """The test chain of every model of the main sample, and what it points to, in words."""
    from spatial_zb.report import layouts

    study, prepared = job.study, job.prepared
    for model in study.models.values():
        if study.samples_of(model) != (study.main_sample,):
            continue
        W = study.weights_of(model)[0]
        spec = _spec(model, model.fixed_effects[-1])
        chain = diagnose(spec, prepared.sample(study.main_sample), prepared.weights(W, study.main_sample))
        label = prepared.labels | weights_words(study)
        notes = [
            Text(f"Dependent variable: {label[model.y].en}.", f"被解释变量：{label[model.y].zh}。"),
            Text(f"Weights matrix: {label[W].en}.", f"空间权重矩阵：{label[W].zh}。"),
            *sample_notes(job, *job.study.samples_of(model)),
            *prepared.sources,
        ]
        job.table(
            lambda style, chain=chain, model=model, notes=notes: layouts.chain_table(
                chain.tidy(style.language),
                title=Text(f"{model.title.en}: specification tests", f"{model.title.zh}：设定检验"),
                key=f"tests_{model.name}",
                notes=notes,
                style=style,
            ),
            {"model": model.title},
        )
        job.tidy(f"tests_{model.name}", chain.tidy())
        job.prose(
            f"tests_{model.name}_reading",
            model.title,
            [Text(chain.recommend("en"), chain.recommend("zh"))],
            {"model": model.title},
        )
        job.tick(f"{model.name} · {W}")
    return []


@dataclass(frozen=True, eq=False)
class _Column:
    """One estimated column of a model's table."""

    sample: str
    weights: str
    effects: str
    heading: Text
    fit: Fit
    delta: Effects
    simulated: Effects | None


def estimate(job: Job) -> list[Text]:
    """Every model of the study: estimates, effects with delta and simulated errors, and their figure."""
    reading: list[Text] = []
    for model in job.study.models.values():
        columns = _fit_all(job, model)
        _write_model(job, model, columns)
        _draw_effects(job, model, columns)
        if columns[-1].sample == job.study.main_sample:
            reading.append(_model_reading(job, model, columns[-1]))
    return reading


def _fit_all(job: Job, model: Model) -> list[_Column]:
    study, prepared = job.study, job.prepared
    columns = []
    for sample in study.samples_of(model):
        for W in study.weights_of(model):
            for effects in model.fixed_effects:
                spec = _spec(model, effects)
                weights = prepared.weights(W, sample)
                fit = fit_durbin(spec, prepared.sample(sample), weights, model.estimator, model.covariance)
                simulated = _simulated(
                    fit, study.general.draws, job.seed("effects", model.name, sample, W, effects)
                )
                heading = _heading(study, model, sample, W, effects)
                delta = spatial_effects(fit)
                columns.append(_Column(sample, W, effects, heading, fit, delta, simulated))
                choices = _choices(study, model, [columns[-1]]) | {"fixed_effects": EFFECT_WORDS[effects]}
                job.made.fits.append(Estimated(job.stage, model.title, choices, fit, delta))
                job.tick(f"{model.name} · {sample} · {effects}")
    return columns


def _simulated(fit: Fit, draws: int, seed: np.random.SeedSequence) -> Effects | None:
    """Effects with simulated errors; none, with a warning, where the covariance cannot be drawn from."""
    try:
        return spatial_effects(fit, "simulate", draws=draws, rng=seed)
    except ConvergenceError as error:
        warnings.warn(f"No simulated errors: {error}", SpatialZbWarning, stacklevel=2)
        return None


def _spec(model: Model, effects: str) -> DurbinSpec:
    return DurbinSpec(model.y, model.x, model.lag_y, model.lag_x, model.lag_error, effects)


def _heading(study: Study, model: Model, sample: str, W: str, effects: str) -> Text:
    """What sets this column apart from the others of its table."""
    parts = []
    if len(study.samples_of(model)) > 1:
        parts.append(study.samples[sample].label)
    if len(study.weights_of(model)) > 1:
        parts.append(study.weights[W].label)
    if len(model.fixed_effects) > 1 or not parts:
        parts.append(EFFECT_WORDS[effects])
    return Text(", ".join(p.en for p in parts), "，".join(p.zh for p in parts))


def _write_model(job: Job, model: Model, columns: Sequence[_Column]) -> None:
    """The tables of a model with all its columns; the report also shows one sample and W at a time."""
    family = columns[0].fit.spec.family
    _lay_out(job, model, columns, _choices(job.study, model, columns))
    pairs = dict.fromkeys((c.sample, c.weights) for c in columns)
    for pair in pairs if len(pairs) > 1 else ():
        own = [c for c in columns if (c.sample, c.weights) == pair]
        _lay_out(job, model, own, _choices(job.study, model, own), report_only=True)
    facts = [{"sample": c.sample, "weights": c.weights, "fixed_effects": c.effects} for c in columns]
    job.tidy(
        f"{family.lower()}_{model.name}",
        pd.concat([c.fit.tidy().assign(**f) for c, f in zip(columns, facts, strict=True)], ignore_index=True),
    )
    job.tidy(
        f"fit_{model.name}",
        pd.concat([c.fit.glance().assign(sample=c.sample) for c in columns], ignore_index=True),
    )
    both = [
        result.tidy().assign(method=result.method, **fact)
        for c, fact in zip(columns, facts, strict=True)
        for result in (c.delta, c.simulated)
        if result is not None
    ]
    job.tidy(f"effects_{model.name}", pd.concat(both, ignore_index=True))


def _choices(study: Study, model: Model, columns: Sequence[_Column]) -> dict[str, Text]:
    """Words that set these columns apart in the report."""
    samples = dict.fromkeys(c.sample for c in columns)
    weights = dict.fromkeys(c.weights for c in columns)
    return {
        "model": model.title,
        "sample": study.samples[next(iter(samples))].label if len(samples) == 1 else ALL_SAMPLES,
        "weights": study.weights[next(iter(weights))].label if len(weights) == 1 else ALL_WEIGHTS,
    }


ALL_SAMPLES = Text("All samples side by side", "全部样本并列")
ALL_WEIGHTS = Text("All matrices side by side", "全部矩阵并列")


def _lay_out(
    job: Job,
    model: Model,
    columns: Sequence[_Column],
    choices: dict[str, Text],
    *,
    report_only: bool = False,
) -> None:
    """The regression table and the effects table of some columns of a model."""
    from spatial_zb.report import layouts

    prepared = job.prepared
    labels = prepared.labels | weights_words(job.study)
    notes = [*sample_notes(job, *dict.fromkeys(c.sample for c in columns)), *prepared.sources]
    family = columns[0].fit.spec.family
    fits = [(c.heading, c.fit) for c in columns]
    job.table(
        lambda style: layouts.regression_table(
            fits,
            labels=labels,
            dependent=prepared.panel.label(model.y),
            title=Text(f"{model.title.en}: {family}", f"{model.title.zh}：{family}估计结果"),
            key=f"{family.lower()}_{model.name}",
            notes=notes,
            style=style,
        ),
        choices,
        report_only=report_only,
    )
    effects = [(c.heading, c.delta) for c in columns]
    job.table(
        lambda style: layouts.effects_table(
            effects,
            labels=labels,
            title=Text(
                f"{model.title.en}: direct, indirect and total effects",
                f"{model.title.zh}：直接、间接与总效应",
            ),
            key=f"effects_{model.name}",
            notes=notes,
            style=style,
        ),
        choices,
        report_only=report_only,
    )


def _draw_effects(job: Job, model: Model, columns: Sequence[_Column]) -> None:
    from spatial_zb.report.figures import effects_plot

    effects = {str(number): c.delta for number, c in enumerate(columns)}
    headings = {str(number): c.heading for number, c in enumerate(columns)}
    job.figure(
        f"effects_{model.name}",
        lambda style: effects_plot(
            effects,
            labels=job.prepared.labels,
            models=headings,
            title=model.title,
            note=job.source,
            style=style,
        ),
    )


def _model_reading(job: Job, model: Model, column: _Column) -> Text:
    from spatial_zb.report.reading import effect_reading

    study = job.study
    sample, effects = study.samples[column.sample].label, EFFECT_WORDS[column.effects]
    n, first, last = (
        len(job.prepared.samples[column.sample]),
        *job.prepared.panel.periods[:: len(job.prepared.panel.periods) - 1],
    )
    where = Text(
        f"{model.title.en} ({sample.en}, {n} units, {first}–{last}; {column.fit.spec.family}, {effects.en.lower()})",
        f"{model.title.zh}（{sample.zh}{n}个地区，{first}—{last}年；{column.fit.spec.family}，{effects.zh}）",
    )
    return effect_reading(
        column.delta.tidy(), model.x[0], job.prepared.panel.label(model.y), job.prepared.labels, where
    )
